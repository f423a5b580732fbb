//! Who lets a group in: from a server to its authorization server (RFC 9728, RFC 8414, OpenID Connect Discovery 1.0).
//!
//! Servers by revision 2025-03-26 have no metadata of a resource; then the server's own origin is asked for those of an
//! authorization server, and where it has none either, the endpoints have the names that the revision gives them.
//! Invariant: metadata are believed for the resource they were looked up for, and for the issuer that they were asked of.

use frontdesk_api::{Cx, Error, Result};
use frontdesk_http::place;
use http::Uri;
use serde_json::{Map, Value};

use super::{asker::Asker, challenge::Challenge};
use crate::rpc::words_of;

/// Where and how to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Option<Uri>,
    pub(super) token_endpoint: Uri,
    pub(super) registration_endpoint: Option<Uri>,
    /// How clients prove themselves there; empty: it does not say.
    pub(super) methods: Vec<String>,
    /// It knows proofs by SHA-256 (RFC 7636).
    pub(super) proves: bool,
    /// It says by whom a person comes back (RFC 9207).
    pub(super) says_iss: bool,
    /// What tokens are asked for (RFC 8707).
    pub(super) resource: String,
    /// What a token has to allow; None: that is not said.
    pub(super) scope: Option<String>,
    /// It knows a scope for tokens that can be renewed.
    pub(super) offline: bool,
}

/// # Errors
/// `Conflict` where there is nothing to sign in at, `Upstream` for metadata that break a rule.
pub(super) async fn discover(cx: &Cx, asker: &Asker<'_>, server: &Uri, challenge: Option<&Challenge>) -> Result<Found> {
    let named = challenge.and_then(|challenge| challenge.resource_metadata.as_deref());
    let resource = match named {
        Some(written) => {
            let at = asker.place("resource_metadata", written)?;
            let found = asker.get(cx, &at).await?;
            Some(found.ok_or_else(|| Error::upstream(format!("there are no metadata at {}", words_of(written))))?)
        }
        None => first(cx, asker, &well_known(server, "oauth-protected-resource", server.path())).await?,
    };
    let text = |members: &Map<String, Value>, name: &str| members.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut scope = challenge.and_then(|challenge| challenge.scope.clone());
    let origin = place(server);
    let (issuer, wanted) = match &resource {
        None => (origin.clone(), server.to_string()),
        Some(metadata) => {
            let wanted = text(metadata, "resource").unwrap_or_default();
            if !covers(&wanted, server) {
                let wanted = words_of(&wanted);
                return Err(Error::upstream(format!(
                    "the server's metadata are those of another resource, '{wanted}'"
                )));
            }
            scope = scope.or_else(|| joined(metadata.get("scopes_supported")));
            let issuer = metadata.get("authorization_servers").and_then(Value::as_array).and_then(|all| all.first());
            let issuer = issuer.and_then(Value::as_str).ok_or_else(nobody)?;
            (issuer.to_owned(), wanted)
        }
    };
    let at = asker.place("authorization server", &issuer)?;
    let mut places = well_known(&at, "oauth-authorization-server", at.path());
    places.truncate(1);
    places.extend(well_known(&at, "openid-configuration", at.path()).into_iter().take(1));
    places.extend(appended(&at, "openid-configuration"));
    let Some(metadata) = first(cx, asker, &places).await? else {
        if resource.is_some() {
            return Err(Error::upstream(format!("there are no metadata of the authorization server {}", place(&at))));
        }
        // Without a word of bearer tokens it may want anything.
        challenge.ok_or_else(nobody)?;
        let end = |name: &str| asker.place(name, &format!("{origin}/{name}"));
        return Ok(Found {
            authorization_endpoint: Some(end("authorize")?),
            token_endpoint: end("token")?,
            registration_endpoint: Some(end("register")?),
            issuer,
            methods: vec![],
            proves: true,
            says_iss: false,
            resource: wanted,
            scope,
            offline: false,
        });
    };
    let named = text(&metadata, "issuer").unwrap_or_default();
    // RFC 8414, section 3.3 wants the very same.
    if named.trim_end_matches('/') != issuer.trim_end_matches('/') {
        let named = words_of(&named);
        return Err(Error::upstream(format!("the metadata of {} are those of another issuer, '{named}'", place(&at))));
    }
    let end = |name: &str| text(&metadata, name).map(|written| asker.place(name, &written)).transpose();
    let list = |name: &str| {
        let words = metadata.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        words.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(Found {
        authorization_endpoint: end("authorization_endpoint")?,
        token_endpoint: end("token_endpoint")?
            .ok_or_else(|| Error::upstream(format!("the metadata of {} name no token_endpoint", place(&at))))?,
        registration_endpoint: end("registration_endpoint")?,
        methods: list("token_endpoint_auth_methods_supported"),
        proves: list("code_challenge_methods_supported").iter().any(|method| method == "S256"),
        says_iss: metadata.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true)),
        // As it calls itself: that is compared with what a person brings back.
        issuer: named,
        resource: wanted,
        scope,
        offline: list("scopes_supported").iter().any(|scope| scope == "offline_access"),
    })
}

fn nobody() -> Error {
    Error::conflict(
        "the server asks for credentials and names nobody to sign in at: put a token into args.authorization, or what it \
         wants into args.headers",
    )
    .with_code("no_sign_in")
}

/// The first of these documents that is there.
async fn first(cx: &Cx, asker: &Asker<'_>, places: &[String]) -> Result<Option<Map<String, Value>>> {
    for written in places {
        let at = asker.place("address", written)?;
        if let Some(found) = asker.get(cx, &at).await? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Where a document is, behind the host: for the path, and for the whole of it.
fn well_known(at: &Uri, name: &str, path: &str) -> Vec<String> {
    let (origin, path) = (place(at), path.trim_end_matches('/'));
    let root = format!("{origin}/.well-known/{name}");
    if path.is_empty() { vec![root] } else { vec![format!("{root}{path}"), root] }
}

/// Where OpenID Connect puts it: behind the path.
fn appended(at: &Uri, name: &str) -> Option<String> {
    let path = at.path().trim_end_matches('/');
    (!path.is_empty()).then(|| format!("{}{path}/.well-known/{name}", place(at)))
}

/// Whether the resource is this server, or what it is a part of.
fn covers(resource: &str, server: &Uri) -> bool {
    let Ok(resource) = resource.parse::<Uri>() else { return false };
    let (path, whole) = (resource.path().trim_end_matches('/'), server.path());
    let below = whole.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    place(&resource).eq_ignore_ascii_case(&place(server)) && below
}

fn joined(scopes: Option<&Value>) -> Option<String> {
    let scopes: Vec<&str> = scopes?.as_array()?.iter().filter_map(Value::as_str).collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(text: &str) -> Uri {
        text.parse().expect(text)
    }

    #[test]
    fn documents_are_looked_for_where_the_standards_put_them() {
        let at = uri("https://h:8/tenant/a");
        assert_eq!(
            well_known(&at, "oauth-authorization-server", at.path()),
            [
                "https://h:8/.well-known/oauth-authorization-server/tenant/a",
                "https://h:8/.well-known/oauth-authorization-server"
            ]
        );
        assert_eq!(well_known(&uri("https://h/"), "x", "/"), ["https://h/.well-known/x"]);
        assert_eq!(appended(&at, "x").as_deref(), Some("https://h:8/tenant/a/.well-known/x"));
        assert_eq!(appended(&uri("https://h/"), "x"), None);
    }

    #[test]
    fn a_resource_is_the_server_or_what_holds_it() {
        let server = uri("https://h/a/mcp");
        for good in ["https://h/a/mcp", "https://H/a/mcp/", "https://h/a", "https://h", "https://h/"] {
            assert!(covers(good, &server), "{good}");
        }
        for bad in [
            "",
            "https://h/b",
            "https://h/a/m",
            "https://h/a/mcp/x",
            "http://h/a/mcp",
            "https://h:8/a/mcp",
            "https://i/",
        ] {
            assert!(!covers(bad, &server), "{bad}");
        }
    }
}
