//! Who we are at an authorization server: a client that the operator registered there, or one that is registered now
//! (RFC 7591).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::time::Duration;

use frontdesk_api::{Cx, Error, Result, egress::Place, secret::Secret, sign_in::Unauthorized};
use frontdesk_http::place;
use http::{HeaderMap, HeaderValue, Uri, header};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    Settings,
    asker::{Asker, encoded, form, refusal},
    discovery::Found,
};
use crate::endpoint::remember;

/// Bytes of a token: what servers commonly take as a header.
const LONGEST: usize = 16 << 10;

/// How a client proves itself (RFC 6749, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Proof {
    #[serde(rename = "client_secret_basic")]
    Basic,
    #[serde(rename = "client_secret_post")]
    Post,
    #[serde(rename = "none")]
    None,
}

impl Proof {
    fn named(name: &str) -> Option<Self> {
        [Self::Basic, Self::Post, Self::None].into_iter().find(|proof| proof.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
        }
    }
}

/// Not `Debug`: it may hold a secret.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Client {
    pub(super) id: String,
    /// Of one that was registered by us; the operator's is looked up each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    proof: Proof,
}

/// The operator's client, where there is one.
pub(super) fn configured(settings: &Settings, found: &Found) -> Option<Client> {
    let id = settings.client_id.clone()?;
    let knows = |proof: Proof| found.methods.iter().any(|method| method == proof.name());
    let proof = match settings.client_secret {
        None => Proof::None,
        // What holds where nothing is said (RFC 8414, section 2).
        Some(_) if found.methods.is_empty() || knows(Proof::Basic) || !knows(Proof::Post) => Proof::Basic,
        Some(_) => Proof::Post,
    };
    Some(Client { id, secret: None, proof })
}

/// Registers a client for this redirect.
///
/// # Errors
/// `Conflict` where clients are not registered so; `Upstream`.
pub(super) async fn registered(
    cx: &Cx,
    asker: &Asker<'_>,
    found: &Found,
    redirect_uri: &str,
    scope: Option<&str>,
) -> Result<Client> {
    let Some(at) = &found.registration_endpoint else {
        let message = format!(
            "{} registers no client by itself: register one there with the redirect address {redirect_uri}, and name it in \
             args.oauth.client_id",
            found.issuer
        );
        return Err(Error::conflict(message).with_param("args.oauth.client_id").with_code("client_needed"));
    };
    let wanted = [Proof::Basic, Proof::Post, Proof::None]
        .into_iter()
        .find(|proof| found.methods.iter().any(|method| method == proof.name()));
    let wanted = wanted.unwrap_or(Proof::Basic);
    let mut about = json!({
        "client_name": "Frontdesk",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": wanted.name(),
    });
    if let Some(scope) = scope {
        about["scope"] = json!(scope);
    }
    let (status, body) = asker.post(cx, at, "application/json", HeaderMap::new(), about.to_string()).await?;
    let text = |name: &str| body.as_ref().and_then(|body| body.get(name)).and_then(Value::as_str).map(str::to_owned);
    let id = text("client_id").filter(|_| status.is_success());
    let Some(id) = id else {
        let (_, said) = refusal(at, status, body.as_ref(), &[]);
        return Err(Error::upstream(format!("registering as a client failed: {said}")));
    };
    let secret = text("client_secret").filter(|secret| !secret.is_empty());
    let proof = text("token_endpoint_auth_method").and_then(|name| Proof::named(&name)).unwrap_or(wanted);
    let proof = if secret.is_none() { Proof::None } else { proof };
    Ok(Client { id, secret, proof })
}

/// What an endpoint gave.
pub(super) struct Given {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    pub(super) expires_in: Option<Duration>,
    pub(super) scope: Option<String>,
}

/// Asks for tokens. `members`: of the form, without what the client proves itself by.
///
/// # Errors
/// One that is an [`Unauthorized`] where the endpoint says that what was granted is good no more; `Invalid` where the secret
/// may not be sent there.
pub(super) async fn tokens(
    cx: &Cx,
    asker: &Asker<'_>,
    at: &Uri,
    client: &Client,
    secret: Option<&Secret>,
    members: &[(&str, &str)],
) -> Result<Given> {
    let secret = match (&client.secret, client.proof) {
        (_, Proof::None) => None,
        (Some(own), _) => Some(own.as_str()),
        (None, _) => secret.map(|secret| allowed(secret, at)).transpose()?,
    };
    let (mut headers, mut members) = (HeaderMap::new(), members.to_vec());
    // What was sent may come back in its words.
    let mut secrets = vec![];
    // Also beside a proof in a header: there are servers that look nowhere else.
    members.push(("client_id", &client.id));
    match (secret, client.proof) {
        (Some(secret), Proof::Basic) => {
            let both = STANDARD.encode(format!("{}:{}", encoded(&client.id), encoded(secret)));
            remember(&mut secrets, &both);
            let mut value = HeaderValue::from_str(&format!("Basic {both}"))
                .map_err(|_| Error::upstream("the client's secret cannot be sent"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        (Some(secret), _) => members.push(("client_secret", secret)),
        (None, _) => {}
    }
    let sent = asker.post(cx, at, "application/x-www-form-urlencoded", headers, form(&members)).await;
    let (status, body) = sent?;
    let given = body.as_ref().filter(|_| status.is_success()).and_then(given);
    given.ok_or_else(|| {
        for (name, value) in &members {
            if ["code", "code_verifier", "refresh_token", "client_secret"].contains(name) {
                remember(&mut secrets, value);
            }
        }
        if let Some(secret) = secret {
            remember(&mut secrets, secret);
            remember(&mut secrets, &encoded(secret));
        }
        let (code, said) = refusal(at, status, body.as_ref(), &secrets);
        // Whatever else it says may be over tomorrow (RFC 6749, section 5.2), and tokens that were let go are lost.
        if code.as_deref() == Some("invalid_grant") && status.is_client_error() {
            return Unauthorized::error(said, None);
        }
        Error::upstream(format!("no token: {said}"))
    })
}

fn given(body: &Map<String, Value>) -> Option<Given> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let fits = |token: &String| token.len() <= LONGEST && token.bytes().all(|b| b.is_ascii_graphic());
    let seconds = |value: &Value| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    // Others (DPoP, MAC) are no good without a proof beside them (RFC 6749, section 7.1).
    text("token_type").is_none_or(|kind| kind.eq_ignore_ascii_case("bearer")).then_some(())?;
    Some(Given {
        access_token: text("access_token").filter(fits)?,
        refresh_token: text("refresh_token").filter(|token| token.len() <= LONGEST),
        expires_in: body.get("expires_in").and_then(seconds).and_then(|s| Duration::try_from_secs_f64(s).ok()),
        scope: text("scope"),
    })
}

/// A tenant's secret goes to the hosts it is bound to alone.
fn allowed<'s>(secret: &'s Secret, at: &Uri) -> Result<&'s str> {
    let to = Place::of(&at.to_string()).map_err(Error::upstream)?;
    if secret.hosts.iter().any(|rule| rule.admits(&to)) {
        return Ok(&secret.value);
    }
    let message = format!("the client's secret may not be sent to {}: name that among the secret's hosts", place(at));
    Err(Error::invalid("args.oauth.client_secret", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_a_token_is_taken_for_one() {
        let read = |body: Value| given(body.as_object().expect("an object"));
        let good = read(json!({ "access_token": "a.b-c", "token_type": "Bearer", "expires_in": "60", "scope": "s" }));
        let good = good.expect("tokens");
        let minute = Some(Duration::from_secs(60));
        assert_eq!((good.access_token.as_str(), good.expires_in, good.refresh_token), ("a.b-c", minute, None));
        let good = read(json!({ "access_token": "a", "token_type": "bearer", "expires_in": 60.0 })).expect("tokens");
        assert_eq!(good.expires_in, minute);
        for bad in [
            json!({}),
            json!({ "access_token": "" }),
            json!({ "access_token": "a\r\nb" }),
            json!({ "access_token": 7 }),
            json!({ "access_token": "a", "token_type": "DPoP" }),
            json!({ "access_token": "a", "token_type": "mac" }),
        ] {
            assert!(read(bad).is_none());
        }
    }

    #[test]
    fn a_tenants_secret_goes_to_its_hosts_alone() {
        let secret = Secret { value: "sesame".into(), hosts: vec!["auth.example".parse().expect("a rule")] };
        let at = |uri: &str| allowed(&secret, &uri.parse().expect(uri)).map(str::to_owned);
        assert_eq!(at("https://auth.example/token").expect("its host"), "sesame");
        for elsewhere in ["https://evil.example/token", "http://auth.example/token", "https://auth.example:8/token"] {
            assert_eq!(at(elsewhere).expect_err(elsewhere).param.as_deref(), Some("args.oauth.client_secret"));
        }
    }
}
