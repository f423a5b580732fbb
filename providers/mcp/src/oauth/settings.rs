//! What a registration says of OAuth, and the scope that comes of it.
//!
//! Invariant: where the operator names a scope, no server is asked for more.

use frontdesk_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::discovery::Found;
use crate::rpc::words_of;

/// `args.oauth` of a registration; all of it may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// A client that is registered at the authorization server.
    pub(crate) client_id: Option<String>,
    /// The name of the tenant's secret that it proves itself by.
    pub(crate) client_secret: Option<String>,
    pub(crate) grant: Grant,
    /// What to ask for; None: what the server says.
    pub(crate) scope: Option<String>,
}

/// By what tokens are given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Grant {
    /// A person's word.
    #[default]
    AuthorizationCode,
    /// The client's own.
    ClientCredentials,
}

impl Settings {
    /// # Errors
    /// `Invalid` on the member of `args.oauth`.
    pub(crate) fn read(args: &Map<String, Value>) -> Result<Self> {
        let Some(written) = args.get("oauth").filter(|written| !written.is_null()) else { return Ok(Self::default()) };
        let settings: Self = serde_path_to_error::deserialize(written).map_err(|e| {
            let path = e.path().to_string();
            let param = if path == "." { "args.oauth".to_owned() } else { format!("args.oauth.{path}") };
            let message = format!("{param}: {}", e.into_inner());
            Error::invalid(param, message)
        })?;
        let lacks = |name: &str| {
            let param = format!("args.oauth.{name}");
            let message = format!(
                "{param} is needed: the client that is registered at the authorization server, and the name of \
                                   its secret in /v1/secrets"
            );
            Error::invalid(param, message)
        };
        let by_itself = settings.grant == Grant::ClientCredentials;
        if settings.client_id.is_none() && (by_itself || settings.client_secret.is_some()) {
            return Err(lacks("client_id"));
        }
        if settings.client_secret.is_none() && by_itself {
            return Err(lacks("client_secret"));
        }
        Ok(settings)
    }
}

/// The scope to ask for: what the operator says and never more; else all that the server wants. `given`: what it gave, which
/// new tokens would be without; `more`: what it wanted beside that.
///
/// # Errors
/// `Conflict`: it wants more than the operator says.
pub(super) fn wanted(
    settings: &Settings,
    found: &Found,
    given: Option<&str>,
    more: Option<&str>,
) -> Result<Option<String>> {
    let more = || more.into_iter().flat_map(str::split_whitespace);
    if let Some(said) = &settings.scope {
        if let Some(beyond) = more().find(|scope| !has(said, scope)) {
            let message = format!(
                "the server wants the scope '{}', which args.oauth.scope does not name: register the group with it to allow it",
                words_of(beyond)
            );
            return Err(Error::conflict(message).with_param("args.oauth.scope").with_code("scope_not_allowed"));
        }
        return Ok(Some(said.clone()));
    }
    let mut all: Vec<&str> = vec![];
    let usual = found.scope.iter().flat_map(|scope| scope.split_whitespace());
    let given = given.into_iter().flat_map(str::split_whitespace);
    for scope in usual.chain(given).chain(more()) {
        if !all.contains(&scope) {
            all.push(scope);
        }
    }
    if !all.is_empty() && found.offline && !all.contains(&"offline_access") {
        all.push("offline_access");
    }
    Ok((!all.is_empty()).then(|| all.join(" ")))
}

fn has(scopes: &str, scope: &str) -> bool {
    scopes.split_whitespace().any(|one| one == scope)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(scope: Option<&str>, offline: bool) -> Found {
        let at: http::Uri = "https://h/token".parse().expect("a URL");
        Found {
            issuer: "https://h".into(),
            authorization_endpoint: None,
            token_endpoint: at,
            registration_endpoint: None,
            methods: vec![],
            proves: true,
            says_iss: false,
            resource: "https://h/mcp".into(),
            scope: scope.map(str::to_owned),
            offline,
        }
    }

    #[test]
    fn a_server_gets_the_scopes_it_wants_and_none_beyond_the_operators() {
        let said = |scope: Option<&str>| {
            let args = json!({ "oauth": { "scope": scope } });
            Settings::read(args.as_object().expect("an object")).expect("settings")
        };
        for (operators, usual, given, more, want) in [
            (None, None, None, None, Ok(None)),
            (None, Some("a"), None, Some("b a"), Ok(Some("a b offline_access"))),
            (None, None, None, Some("b"), Ok(Some("b offline_access"))),
            (None, Some("a"), Some("d a offline_access"), Some("b"), Ok(Some("a d offline_access b"))),
            (Some("a c"), Some("a b"), None, None, Ok(Some("a c"))),
            (Some("a c"), Some("a b"), Some("a b"), Some("c"), Ok(Some("a c"))),
            (Some("a c"), None, None, Some("c admin"), Err("'admin'")),
        ] {
            match (wanted(&said(operators), &found(usual, true), given, more), want) {
                (Ok(scope), Ok(want)) => assert_eq!(scope.as_deref(), want),
                (Err(error), Err(words)) => {
                    assert!(error.message.contains(words), "{error}");
                    assert_eq!(error.code.as_deref(), Some("scope_not_allowed"));
                }
                (got, want) => panic!("{got:?} where {want:?} was due"),
            }
        }
        assert_eq!(wanted(&said(None), &found(Some("a"), false), None, None).expect("a scope").as_deref(), Some("a"));
    }
}
