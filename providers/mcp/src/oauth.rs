//! Signing in at servers by OAuth 2.1 (Model Context Protocol 2025-11-25, "Authorization").
//!
//! Written here over the one egress client, as the rest of the protocol is. Invariants: a token goes to the server it was
//! asked for and to no other; a proof (PKCE, S256) and the resource (RFC 8707) go with every request that a person makes;
//! whoever brings a person back is who they were sent to (RFC 9207, where it says so).

mod asker;
mod challenge;
mod client;
mod discovery;
mod settings;

use async_trait::async_trait;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{
    Cx, Error, Kind, Result, SignIn,
    secret::Secret,
    sign_in::{Ask, Begun, Brought, NO_RENEWAL, Signed, Way},
    tools::{SecretArgs, ToolSource},
};
use http::{HeaderMap, Uri};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::{
    asker::{Asker, form},
    client::{Client, Given, tokens},
    discovery::{Found, discover},
    settings::{Grant, wanted},
};
pub(crate) use self::{challenge::Challenge, settings::Settings};
use crate::{
    endpoint::{At, Endpoint},
    http_server::HttpServer,
    provider::McpTools,
};

/// What is kept of a group that is let in.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Told apart by who signed in: a server's session is theirs.
    id: String,
    /// The server it is for, as it was registered.
    server: String,
    resource: String,
    issuer: String,
    token_endpoint: String,
    client: Client,
    /// Who that is, where the operator said so.
    client_id: Option<String>,
    grant: Grant,
    /// What the operator said is to be asked for, and whether the client proves itself.
    asked: Option<String>,
    #[serde(default)]
    proves: bool,
    /// Where the client of ours is registered to be sent back to.
    #[serde(default)]
    redirect_uri: Option<String>,
    scope: Option<String>,
    access_token: String,
    refresh_token: Option<String>,
}

/// What is kept of a person who is on their way.
#[derive(Serialize, Deserialize)]
struct OnTheWay {
    server: String,
    resource: String,
    issuer: String,
    says_iss: bool,
    token_endpoint: String,
    client: Client,
    redirect_uri: String,
    verifier: String,
    scope: Option<String>,
}

/// The token for this server, and whose it is.
pub(crate) fn token(signed: Option<&SecretArgs>, server: &Uri) -> Option<(String, String)> {
    let kept: Kept = read(signed?)?;
    (kept.server == server.to_string()).then_some((kept.access_token, kept.id))
}

/// How endpoints are asked for a server of this kind.
#[cfg(test)]
pub(crate) fn asker(provider: &McpTools, inside: bool) -> Asker<'_> {
    Asker { clients: &provider.clients, config: &provider.config, inside }
}

#[async_trait]
impl SignIn for McpTools {
    fn way(&self, cx: &Cx, source: &ToolSource) -> Result<Way> {
        let endpoint = Endpoint::of(&self.config, cx, &ToolSource { signed: None, ..source.clone() })?;
        Ok(match endpoint.oauth.grant {
            _ if !endpoint.signs => Way::Otherwise,
            Grant::AuthorizationCode => Way::Person,
            Grant::ClientCredentials => Way::Alone,
        })
    }

    fn fits(&self, source: &ToolSource, kept: &SecretArgs) -> bool {
        let door = self.door(&Cx::internal("", "fits"), source);
        door.is_ok_and(|door| read(kept).is_some_and(|kept| door.fits(&kept)))
    }

    fn secret_name(&self, source: &ToolSource) -> Option<String> {
        source.args.get("oauth")?.get("client_secret")?.as_str().map(str::to_owned)
    }

    async fn begin(&self, cx: &Cx, source: &ToolSource, _: Option<&Secret>, ask: Ask<'_>) -> Result<Begun> {
        let door = self.door(cx, source)?;
        let found = door.found(cx).await?;
        if door.settings.grant == Grant::ClientCredentials {
            let message = "this group signs in by itself (args.oauth.grant), with its next call";
            return Err(Error::conflict(message).with_code("no_sign_in"));
        }
        let Some(at) = found.authorization_endpoint.clone().filter(|_| found.proves) else {
            let lacks = if found.proves { "an authorization_endpoint" } else { "PKCE by S256" };
            return Err(Error::upstream(format!("the authorization server {} does not offer {lacks}", found.issuer)));
        };
        let kept: Option<Kept> = ask.kept.and_then(read).filter(|kept| door.fits(kept));
        let given = kept.as_ref().and_then(|kept| kept.scope.as_deref());
        let scope = wanted(&door.settings, &found, given, ask.scope)?;
        let client = match client::configured(&door.settings, &found) {
            Some(client) => client,
            None => match ours(kept, ask.tried.and_then(read), &found, ask.redirect_uri) {
                Some(client) => client,
                None => client::registered(cx, &door.asker(), &found, ask.redirect_uri, scope.as_deref()).await?,
            },
        };
        let verifier = drawn()?;
        let proof = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", &client.id),
            ("redirect_uri", ask.redirect_uri),
            ("state", ask.state),
            ("code_challenge", &proof),
            ("code_challenge_method", "S256"),
            ("resource", &found.resource),
        ];
        if let Some(scope) = &scope {
            query.push(("scope", scope));
        }
        let url = format!("{at}{}{}", if at.query().is_some() { '&' } else { '?' }, form(&query));
        let (server, issuer) = (door.server.to_string(), found.issuer.clone());
        let kept = OnTheWay {
            server: server.clone(),
            resource: found.resource,
            issuer: found.issuer,
            says_iss: found.says_iss,
            token_endpoint: found.token_endpoint.to_string(),
            client,
            redirect_uri: ask.redirect_uri.to_owned(),
            verifier,
            scope,
        };
        Ok(Begun { url, kept: written(&kept)?, server, issuer })
    }

    async fn finish(
        &self,
        cx: &Cx,
        source: &ToolSource,
        secret: Option<&Secret>,
        begun: &SecretArgs,
        brought: &Brought,
    ) -> Result<Signed> {
        let door = self.door(cx, source)?;
        let begun: OnTheWay = read(begun).ok_or_else(damaged)?;
        if begun.server != door.server.to_string() {
            return Err(Error::conflict("the group was registered with another server meanwhile: begin anew"));
        }
        let other = brought.iss.as_ref().is_some_and(|iss| *iss != begun.issuer);
        if other || (begun.says_iss && brought.iss.is_none()) {
            return Err(Error::upstream("whoever sent you back is not the server that you were sent to"));
        }
        let at = door.asker().place("token_endpoint", &begun.token_endpoint)?;
        let members = [
            ("grant_type", "authorization_code"),
            ("code", &brought.code),
            ("redirect_uri", &begun.redirect_uri),
            ("code_verifier", &begun.verifier),
            ("resource", &begun.resource),
        ];
        let given = tokens(cx, &door.asker(), &at, &begun.client, secret, &members).await?;
        let OnTheWay { server, resource, issuer, token_endpoint, client, redirect_uri, scope, .. } = begun;
        signed(
            Kept {
                id: drawn()?,
                server,
                resource,
                issuer,
                token_endpoint,
                client,
                client_id: door.settings.client_id.clone(),
                grant: Grant::AuthorizationCode,
                asked: door.settings.scope.clone(),
                proves: door.settings.client_secret.is_some(),
                redirect_uri: Some(redirect_uri),
                scope,
                access_token: String::new(),
                refresh_token: None,
            },
            given,
        )
    }

    async fn alone(&self, cx: &Cx, source: &ToolSource, secret: Option<&Secret>) -> Result<Option<Signed>> {
        let door = self.door(cx, source)?;
        let found = door.found(cx).await?;
        if door.settings.grant != Grant::ClientCredentials {
            return Ok(None);
        }
        let client = client::configured(&door.settings, &found).ok_or_else(damaged)?;
        let kept = Kept {
            id: drawn()?,
            server: door.server.to_string(),
            resource: found.resource,
            issuer: found.issuer,
            token_endpoint: found.token_endpoint.to_string(),
            client,
            client_id: door.settings.client_id.clone(),
            grant: Grant::ClientCredentials,
            asked: door.settings.scope.clone(),
            proves: door.settings.client_secret.is_some(),
            redirect_uri: None,
            scope: door.settings.scope.clone().or(found.scope),
            access_token: String::new(),
            refresh_token: None,
        };
        door.renewed(cx, secret, kept).await.map(Some)
    }

    async fn renew(&self, cx: &Cx, source: &ToolSource, secret: Option<&Secret>, kept: &SecretArgs) -> Result<Signed> {
        let door = self.door(cx, source)?;
        let kept: Kept = read(kept).ok_or_else(damaged)?;
        if !door.fits(&kept) {
            return Err(Error::conflict("the group was let in as another one"));
        }
        door.renewed(cx, secret, kept).await
    }
}

/// A server that may ask for OAuth, and what the registration says of that.
struct Door<'p> {
    provider: &'p McpTools,
    server: Uri,
    inside: bool,
    settings: Settings,
    /// As it is asked by whom nobody let in, with these headers.
    stranger: HttpServer,
    headers: HeaderMap,
}

impl McpTools {
    fn door(&self, cx: &Cx, source: &ToolSource) -> Result<Door<'_>> {
        // Whoever asks, nothing of theirs goes along.
        let cx = Cx::internal(cx.tenant.clone(), cx.request.clone());
        let source = ToolSource { signed: None, ..source.clone() };
        let endpoint = Endpoint::of(&self.config, &cx, &source)?;
        let (At::Http { uri, inside }, true) = (&endpoint.at, endpoint.signs) else {
            let message = "this group brings its credentials with it, so there is nothing to sign in at";
            return Err(Error::conflict(message).with_code("no_sign_in"));
        };
        let (server, inside, stranger) = (uri.clone(), *inside, self.http_server(uri, *inside));
        Ok(Door { provider: self, server, inside, stranger, settings: endpoint.oauth, headers: endpoint.headers })
    }
}

impl Door<'_> {
    fn asker(&self) -> Asker<'_> {
        Asker { clients: &self.provider.clients, config: &self.provider.config, inside: self.inside }
    }

    fn fits(&self, kept: &Kept) -> bool {
        let Settings { client_id, client_secret, grant, scope } = &self.settings;
        kept.server == self.server.to_string()
            && (kept.grant, &kept.client_id, &kept.asked) == (*grant, client_id, scope)
            && kept.proves == client_secret.is_some()
    }

    async fn found(&self, cx: &Cx) -> Result<Found> {
        let challenge = self.stranger.challenge(cx, &self.headers).await?;
        discover(cx, &self.asker(), &self.server, challenge.as_ref()).await
    }

    async fn renewed(&self, cx: &Cx, secret: Option<&Secret>, kept: Kept) -> Result<Signed> {
        let at = self.asker().place("token_endpoint", &kept.token_endpoint)?;
        let mut members = vec![("resource", kept.resource.as_str())];
        match (kept.grant, &kept.refresh_token) {
            (Grant::ClientCredentials, _) => {
                members.push(("grant_type", "client_credentials"));
                members.extend(kept.scope.as_deref().map(|scope| ("scope", scope)));
            }
            (Grant::AuthorizationCode, Some(token)) => {
                members.extend([("grant_type", "refresh_token"), ("refresh_token", token.as_str())]);
            }
            (Grant::AuthorizationCode, None) => {
                let message = "the token has ended or is refused, and the server gave none to renew it by";
                return Err(Error::conflict(message).with_code(NO_RENEWAL));
            }
        }
        let given = tokens(cx, &self.asker(), &at, &kept.client, secret, &members).await?;
        signed(kept, given)
    }
}

/// The client that was registered there for this redirect before: of the tokens that are kept, or of whoever was sent last.
fn ours(kept: Option<Kept>, tried: Option<OnTheWay>, found: &Found, redirect_uri: &str) -> Option<Client> {
    let kept = kept.filter(|kept| kept.client_id.is_none());
    let kept = kept.and_then(|kept| Some((kept.issuer, kept.redirect_uri?, kept.client)));
    let tried = tried.map(|tried| (tried.issuer, tried.redirect_uri, tried.client));
    let here = |(issuer, back, _): &(String, String, Client)| *issuer == found.issuer && back == redirect_uri;
    kept.filter(here).or(tried.filter(here)).map(|(.., client)| client)
}

/// The new tokens in place of the old ones.
fn signed(mut kept: Kept, given: Given) -> Result<Signed> {
    kept.access_token = given.access_token;
    // One that is not replaced goes on (RFC 6749, section 6).
    kept.refresh_token = given.refresh_token.or(kept.refresh_token);
    kept.scope = given.scope.or(kept.scope);
    Ok(Signed { kept: written(&kept)?, expires_in: given.expires_in, issuer: kept.issuer })
}

fn read<T: serde::de::DeserializeOwned>(kept: &SecretArgs) -> Option<T> {
    serde_json::from_value(Value::Object(kept.0.clone())).ok()
}

fn written<T: Serialize>(kept: &T) -> Result<SecretArgs> {
    match json!(kept) {
        Value::Object(members) => Ok(SecretArgs(members)),
        _ => Err(damaged()),
    }
}

/// What the parser says would show a part of it.
fn damaged() -> Error {
    Error::new(Kind::Internal, "what is kept of signing in is damaged")
}

/// 256 random bits.
fn drawn() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::new(Kind::Internal, "the operating system gives no random bytes").with_source(e.to_string())
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_what_the_operator_said_when_they_were_given() {
        let provider = McpTools::new(json!({})).expect("a configuration");
        let source = |oauth: Value| ToolSource {
            toolgroup: "shop".into(),
            args: json!({ "mcp_endpoint": { "uri": "https://tools.example/mcp" }, "oauth": oauth }),
            ..ToolSource::default()
        };
        let asked = json!({ "client_id": "c", "scope": "orders:read orders:write" });
        let kept = written(&Kept {
            id: "1".into(),
            server: "https://tools.example/mcp".into(),
            resource: "https://tools.example/mcp".into(),
            issuer: "https://issuer.example".into(),
            token_endpoint: "https://issuer.example/token".into(),
            client: serde_json::from_value(json!({ "id": "c", "proof": "none" })).expect("a client"),
            client_id: Some("c".into()),
            grant: Grant::AuthorizationCode,
            asked: Some("orders:read orders:write".into()),
            proves: false,
            redirect_uri: None,
            scope: None,
            access_token: "a".into(),
            refresh_token: None,
        })
        .expect("kept");
        assert!(provider.fits(&source(asked.clone()), &kept));
        for (name, value) in [("scope", json!("orders:read")), ("client_secret", json!("s")), ("client_id", json!("d"))]
        {
            let mut other = asked.clone();
            other[name] = value;
            assert!(!provider.fits(&source(other), &kept), "{name}");
        }
    }
}
