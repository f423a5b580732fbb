//! A person lets a group in: they are shown what they are asked for, go to its server, and come back.
//!
//! Invariants: what they bring back is taken once, within [`ATTEMPT`], at the address that is the group's own, in the browser
//! that said yes here, for the registration that it was begun for, and while the key that began it opens; nobody goes on
//! without having been shown tenant, group and server.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{
    Cx, Error, Kind, Result, SignIn,
    sign_in::{Ask, Brought, Unauthorized, Way},
    tools::{SecretArgs, ToolSource},
};
use frontdesk_store::{
    sign_ins::{Entry, Over, changed},
    tools::StoredToolgroup,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{damaged, in_time, micros};
use crate::{Group, Override, Registration, Registry, registry::no_group};

/// How long a person may take from the address they are sent to until they are back.
pub const ATTEMPT: Duration = Duration::from_secs(10 * 60);

/// A person came back, and the group was let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Landed {
    pub group: Group,
}

/// What a person is asked for. Whoever knows the state may read it; it holds nothing else of the installation.
#[derive(Clone)]
pub struct Visit {
    pub tenant: String,
    pub group: String,
    /// The server that is called as them.
    pub server: String,
    /// Who asks them.
    pub issuer: String,
    /// Where they come back to.
    pub redirect_uri: String,
    /// Where they go, once they have said yes.
    pub url: String,
    /// What their browser keeps meanwhile.
    pub cookie: String,
}

/// What is kept of a person on their way; sealed.
#[derive(Serialize, Deserialize)]
struct Attempt {
    /// The provider's own.
    kept: Map<String, Value>,
    key_id: String,
    revision: String,
    server: String,
    issuer: String,
    redirect_uri: String,
    url: String,
    cookie: String,
}

impl Registry {
    /// The last part of the address that people come back to for this group: another for each, so that no server is told
    /// another's secrets (RFC 9700, section 4.4.2), and one that names nothing of the tenant.
    #[must_use]
    pub fn sign_in_place(&self, cx: &Cx, id: &str) -> String {
        let whose = json!(["toolgroup-sign-in", cx.tenant, id]).to_string();
        blake3::hash(whose.as_bytes()).to_hex()[..32].to_owned()
    }

    /// Begins to let the group in: the state by which the person is known, who comes back to `redirect_uri`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where there is nothing to sign in at; what the provider says of the server.
    pub async fn authorize(&self, cx: &Cx, id: &str, redirect_uri: &str) -> Result<String> {
        let tenant = self.setting.store.tenant(cx);
        let (row, _) = tenant.find_toolgroup(id).await?.ok_or_else(|| no_group(id))?;
        let provider = self.provider(&row.provider_id)?;
        let sign_in = provider.sign_in().ok_or_else(|| nowhere(&row.provider_id))?;
        let revision = row.revision.clone();
        let source = self.source(cx, row)?;
        let renewal = self.renewal(cx, &provider, &source, Way::Person);
        let secret = renewal.secret(sign_in).await?;
        let row = tenant.find_sign_in(id).await?;
        // Where tokens cannot be renewed their client may be none any more, and that of whoever was sent with it.
        let good = row.as_ref().is_none_or(|row| row.failures == 0);
        let kept = row.as_ref().filter(|_| good).map(|row| renewal.opened(row)).transpose()?.flatten();
        let tried = tenant.last_sign_in_attempt(id).await?.filter(|_| good);
        let tried = tried.map(|(hash, sealed)| self.opened(&cx.tenant, id, &hash, &sealed)).transpose()?;
        // A client that was registered for what the group was before is another's.
        let tried = tried.filter(|tried| tried.revision == revision).map(|tried| SecretArgs(tried.kept));
        let state = drawn()?;
        let scope = row.as_ref().and_then(|row| row.scope.as_deref());
        let ask = Ask { redirect_uri, state: &state, scope, kept: kept.as_ref(), tried: tried.as_ref() };
        let begun = in_time(sign_in.begin(cx, &source, secret.as_ref(), ask)).await?;
        let attempt = Attempt {
            kept: begun.kept.0,
            key_id: cx.principal.key_id.clone(),
            revision,
            server: begun.server,
            issuer: begun.issuer,
            redirect_uri: redirect_uri.to_owned(),
            url: begun.url,
            cookie: drawn()?,
        };
        let hash = hash(&state);
        let sealed = self.setting.seal.seal(&about(&cx.tenant, id, &hash), json!(attempt).to_string().as_bytes())?;
        tenant.add_sign_in_attempt(&hash, id, &sealed, micros(ATTEMPT)).await?;
        Ok(state)
    }

    /// What the person of this state is asked for, at the place that is the group's.
    ///
    /// # Errors
    /// `NotFound` for a state that is not known (any more), or not here.
    pub async fn visit(&self, place: &str, state: &str) -> Result<Visit> {
        let (cx, group, attempt) = self.attempt("", place, &hash(state)).await?;
        let Attempt { server, issuer, redirect_uri, url, cookie, .. } = attempt;
        Ok(Visit { tenant: cx.tenant, group, server, issuer, redirect_uri, url, cookie })
    }

    /// Someone is back at `place` with `state`: they let the group in, or say why not. `cookie`: what their browser brings.
    ///
    /// # Errors
    /// `NotFound` as [`Registry::visit`]; `Forbidden` for another browser; what the server or the provider says.
    pub async fn land(
        &self,
        request: &str,
        place: &str,
        state: &str,
        cookie: Option<&str>,
        brought: Result<Brought, String>,
    ) -> Result<Landed> {
        let hash = hash(state);
        let (mut cx, id, attempt) = self.attempt(request, place, &hash).await?;
        // Hashes are compared in one time.
        if cookie.is_none_or(|cookie| blake3::hash(cookie.as_bytes()) != blake3::hash(attempt.cookie.as_bytes())) {
            let message = "whoever comes back has to be the one who was shown what it is for, in the same browser";
            return Err(Error::new(Kind::Forbidden, message).with_code("another_browser"));
        }
        if !self.setting.store.system().take_sign_in_attempt(&hash).await? {
            return Err(unknown());
        }
        cx.principal.key_id.clone_from(&attempt.key_id);
        let tenant = self.setting.store.tenant(&cx);
        let (row, _) = tenant.find_toolgroup(&id).await?.ok_or_else(|| no_group(&id))?;
        if row.revision != attempt.revision {
            return Err(changed(&id));
        }
        self.check_key(&cx).await?;
        let done = self.landed(&cx, row, &attempt, brought).await;
        if let Err(error) = &done {
            tenant.note_landing(&id, &error.message).await?;
        }
        done
    }

    async fn attempt(&self, request: &str, place: &str, hash: &str) -> Result<(Cx, String, Attempt)> {
        let known = self.setting.store.system().find_sign_in_attempt(hash).await?.ok_or_else(unknown)?;
        let (group, cx) = (known.toolgroup_id, Cx::internal(known.tenant, request));
        if self.sign_in_place(&cx, &group) != place {
            return Err(unknown());
        }
        let attempt = self.opened(&cx.tenant, &group, hash, &known.sealed)?;
        Ok((cx, group, attempt))
    }

    fn opened(&self, tenant: &str, group: &str, hash: &str, sealed: &[u8]) -> Result<Attempt> {
        let plain = self.setting.seal.open(&about(tenant, group, hash), sealed)?;
        // What the parser says would show a part of it.
        serde_json::from_slice(&plain).map_err(|_| damaged())
    }

    /// Whoever lost their key lets nobody in by it.
    async fn check_key(&self, cx: &Cx) -> Result<()> {
        let key = self.setting.store.tenant(cx).find_key(&cx.principal.key_id).await?;
        let now = self.setting.clock.now();
        let opens = |end: Option<i64>| end.is_none_or(|end| end > now);
        if key.is_some_and(|key| key.revoked_at.is_none() && opens(key.expires_at)) {
            return Ok(());
        }
        Err(Error::new(Kind::Forbidden, "the key that this was begun with opens nothing any more"))
    }

    async fn landed(
        &self,
        cx: &Cx,
        row: StoredToolgroup,
        attempt: &Attempt,
        brought: Result<Brought, String>,
    ) -> Result<Landed> {
        let brought = brought.map_err(|why| Error::new(Kind::Refused, why))?;
        let (id, over) = (row.id.clone(), Over::Revision(attempt.revision.clone()));
        let provider = self.provider(&row.provider_id)?;
        let sign_in: &dyn SignIn = provider.sign_in().ok_or_else(|| nowhere(&row.provider_id))?;
        let (waits, source) = (row.overrides.clone(), self.source(cx, row.clone())?);
        let renewal = self.renewal(cx, &provider, &source, Way::Person);
        let secret = renewal.secret(sign_in).await?;
        let begun = SecretArgs(attempt.kept.clone());
        let signed = in_time(sign_in.finish(cx, &source, secret.as_ref(), &begun, &brought)).await?;
        match waits {
            None => {
                let change = self.change(cx, &id, "authorized", json!({ "issuer": signed.issuer }));
                let entry = Entry::Given(renewal.tokens(&signed)?);
                self.setting.store.tenant(cx).put_sign_in(&id, None, &entry, &over, &[change]).await?;
            }
            Some(overrides) => {
                let registration = as_registered(row, overrides, source)?;
                self.register_over(cx, registration, &signed, over).await.map_err(|error| {
                    match Unauthorized::of(&error) {
                        Some(_) => Error::conflict(format!("signed in, and still not let in: {}", error.message)),
                        None => error,
                    }
                })?;
            }
        }
        Ok(Landed { group: self.load_group(cx, &id).await? })
    }
}

/// What was registered before anyone could look into it.
fn as_registered(row: StoredToolgroup, overrides: Value, source: ToolSource) -> Result<Registration> {
    let tools: BTreeMap<String, Override> = serde_json::from_value(overrides)
        .map_err(|e| Error::internal("what is said of a group's tools is damaged", e))?;
    let Value::Object(mut args) = source.args else { return Err(damaged()) };
    args.extend(source.secrets.0);
    let group = Group::from(row);
    Ok(Registration {
        toolgroup_id: group.id,
        provider_id: group.provider_id,
        args,
        mcp_endpoint: None,
        trust: group.trust,
        tools,
    })
}

fn about<'a>(tenant: &'a str, group: &'a str, hash: &'a str) -> [&'a str; 4] {
    ["sign_in_attempt", tenant, group, hash]
}

/// 256 random bits.
fn drawn() -> Result<String> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| {
        Error::new(Kind::Internal, "the operating system gives no random bytes").with_source(e.to_string())
    })?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is kept of it: who reads the database cannot come back with it.
fn hash(state: &str) -> String {
    blake3::hash(state.as_bytes()).to_hex().to_string()
}

fn unknown() -> Error {
    let minutes = ATTEMPT.as_secs() / 60;
    let message = format!("this was used already, or is older than {minutes} minutes: begin anew");
    Error::not_found(message).with_code("attempt_not_found")
}

fn nowhere(provider: &str) -> Error {
    Error::conflict(format!("groups of the provider '{provider}' sign in nowhere")).with_code("no_sign_in")
}
