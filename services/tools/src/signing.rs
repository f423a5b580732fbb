//! Groups whose servers ask for OAuth: who is sent there, what they bring back, and the tokens of every call.
//!
//! The provider knows the protocol ([`SignIn`]); here is what has to outlive a request and hold across processes.
//! Invariants: what a person brings back is taken once, within [`ATTEMPT`], for the tenant and group it was begun for; one
//! process at a time renews tokens, and goes on when the call that wanted them is dropped; tokens lie sealed, and are in
//! no error and no log.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{
    Clock, Cx, Error, Kind, Micros, Result, Seal, Secrets, SignIn,
    chat::ToolCall,
    secret::Secret,
    sign_in::{Ask, Brought, Signed, Unauthorized},
    tools::{Inspected, Outcome, SecretArgs, ToolHost, ToolProvider, ToolSource},
};
use frontdesk_store::{Store, sign_ins::StoredSignIn, tools::StoredToolgroup};
use serde_json::{Map, Value, json};

use crate::{Group, Override, Registration, Registry, group::NOBODY, registry::no_group, sealing};

/// How long a person may take from the address they are sent to until they are back.
pub const ATTEMPT: Duration = Duration::from_secs(10 * 60);

/// How long one process has for renewing before another may try.
const HOLD: Duration = Duration::from_secs(60);

/// How long before its end a token is renewed at most; a short one a quarter of its time before.
const EARLY: Micros = 30 * 1_000_000;

/// How often those look who wait for another's renewing.
const LOOK: Duration = Duration::from_millis(100);

/// A person came back, and the group was let in.
#[derive(Debug, Clone, PartialEq)]
pub struct Landed {
    pub group: Group,
}

/// What looking into a group came to.
pub(crate) struct Looked {
    /// None: a person has to sign in first.
    pub(crate) found: Option<Inspected>,
    /// How it is let in; None: as before, or it need not be.
    pub(crate) sign_in: Option<StoredSignIn>,
}

/// Tokens as they are at one version.
struct Held {
    kept: SecretArgs,
    version: i64,
}

impl Registry {
    /// The address that a person opens to let the group in, which sends them back to `redirect_uri`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` where there is nothing to sign in at; what the provider says of the server.
    pub async fn authorize(&self, cx: &Cx, id: &str, redirect_uri: &str) -> Result<String> {
        let tenant = self.setting.store.tenant(cx);
        let (row, _) = tenant.find_toolgroup(id).await?.ok_or_else(|| no_group(id))?;
        let provider = self.provider(&row.provider_id)?;
        let sign_in = provider.sign_in().ok_or_else(|| nowhere(&row.provider_id))?;
        let source = self.source(cx, row)?;
        let secret = self.renewal(cx, &provider, &source).secret(sign_in).await?;
        let scope = tenant.find_sign_in(id).await?.and_then(|row| row.scope);
        let state = drawn()?;
        let ask = Ask { redirect_uri, state: &state, scope: scope.as_deref() };
        let begun = sign_in.begin(cx, &source, secret.as_ref(), ask).await?;
        let hash = hash(&state);
        let kept = json!({ "kept": begun.kept.0, "key_id": cx.principal.key_id }).to_string();
        let sealed = self.setting.seal.seal(&attempt(cx, id, &hash), kept.as_bytes())?;
        tenant.add_sign_in_attempt(&hash, id, &sealed, micros(ATTEMPT)).await?;
        Ok(begun.url)
    }

    /// Someone is back with `state`: they let the group in, or say why not.
    ///
    /// # Errors
    /// `NotFound` for a state that is not known (any more); what the server or the provider says.
    pub async fn land(&self, request: &str, state: &str, brought: Result<Brought, String>) -> Result<Landed> {
        let hash = hash(state);
        let taken = self.setting.store.system().take_sign_in_attempt(&hash).await?.ok_or_else(|| {
            let minutes = ATTEMPT.as_secs() / 60;
            let message = format!("this was used already, or is older than {minutes} minutes: begin anew");
            Error::not_found(message).with_code("attempt_not_found")
        })?;
        let (group, mut cx) = (taken.toolgroup_id, Cx::internal(taken.tenant, request));
        let kept = self.setting.seal.open(&attempt(&cx, &group, &hash), &taken.sealed)?;
        let mut kept: Map<String, Value> = serde_json::from_slice(&kept).map_err(|_| damaged())?;
        cx.principal.key_id = kept.get("key_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let begun = match kept.remove("kept") {
            Some(Value::Object(begun)) => SecretArgs(begun),
            _ => return Err(damaged()),
        };
        let done = self.landed(&cx, &group, &begun, brought).await;
        if let Err(error) = &done {
            self.note(&cx, &group, &error.message).await?;
        }
        done
    }

    async fn landed(&self, cx: &Cx, id: &str, begun: &SecretArgs, brought: Result<Brought, String>) -> Result<Landed> {
        let brought = brought.map_err(|why| Error::new(Kind::Refused, why))?;
        let tenant = self.setting.store.tenant(cx);
        let (row, _) = tenant.find_toolgroup(id).await?.ok_or_else(|| no_group(id))?;
        let provider = self.provider(&row.provider_id)?;
        let sign_in = provider.sign_in().ok_or_else(|| nowhere(&row.provider_id))?;
        let (waits, source) = (row.overrides.clone(), self.source(cx, row.clone())?);
        let renewal = self.renewal(cx, &provider, &source);
        let secret = renewal.secret(sign_in).await?;
        let signed = sign_in.finish(cx, &source, secret.as_ref(), begun, &brought).await?;
        tenant.put_sign_in(&renewal.row(&signed, 0)?).await?;
        let group = match waits {
            None => self.load_group(cx, id).await?,
            Some(overrides) => self.register(cx, self.as_registered(row, overrides, source)?).await?,
        };
        if let Some(problem) = group.authorization.as_ref().and_then(|authorization| authorization.problem.as_ref()) {
            return Err(Error::conflict(problem.clone()).with_code("needs_authorization"));
        }
        Ok(Landed { group })
    }

    /// What was registered before anyone could look into it.
    fn as_registered(&self, row: StoredToolgroup, overrides: Value, source: ToolSource) -> Result<Registration> {
        let tools: std::collections::BTreeMap<String, Override> = serde_json::from_value(overrides)
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

    /// Notes why a group could not be let in, unless it is.
    async fn note(&self, cx: &Cx, group: &str, problem: &str) -> Result<()> {
        let tenant = self.setting.store.tenant(cx);
        let Some((registered, _)) = tenant.find_toolgroup(group).await? else { return Ok(()) };
        let row = match tenant.find_sign_in(group).await? {
            Some(row) if row.problem.is_none() && registered.overrides.is_none() => return Ok(()),
            Some(row) => row,
            None => StoredSignIn { toolgroup_id: group.to_owned(), ..StoredSignIn::default() },
        };
        let row = StoredSignIn { problem: Some(problem.to_owned()), updated_at: self.setting.clock.now(), ..row };
        tenant.put_sign_in(&row).await
    }

    /// Looks into what is being registered, signing in where that takes no person.
    pub(crate) async fn look(
        &self,
        cx: &Cx,
        provider: &Arc<dyn ToolProvider>,
        source: &mut ToolSource,
    ) -> Result<Looked> {
        let Some(sign_in) = provider.sign_in() else {
            return Ok(Looked { found: Some(provider.inspect(cx, source).await?), sign_in: None });
        };
        let renewal = self.renewal(cx, provider, source);
        let secret = renewal.secret(sign_in).await?;
        source.signed = match renewal.clone().held(None).await {
            Ok(held) => held.map(|held| held.kept),
            Err(e) if Unauthorized::of(&e).is_some() => None,
            Err(e) => return Err(e),
        };
        let refused = match provider.inspect(cx, source).await {
            Ok(found) => return Ok(Looked { found: Some(found), sign_in: None }),
            Err(error) => error,
        };
        let Some(wants) = Unauthorized::of(&refused) else { return Err(refused) };
        match sign_in.alone(cx, source, secret.as_ref()).await? {
            Some(signed) => {
                source.signed = Some(signed.kept.clone());
                let found = provider.inspect(cx, source).await?;
                Ok(Looked { found: Some(found), sign_in: Some(renewal.row(&signed, 0)?) })
            }
            None => {
                let asked = source.signed.take().is_some();
                let sign_in = StoredSignIn {
                    toolgroup_id: source.toolgroup.clone(),
                    problem: Some(if asked { refused.message.clone() } else { NOBODY.to_owned() }),
                    scope: wants.scope.clone(),
                    updated_at: self.setting.clock.now(),
                    ..StoredSignIn::default()
                };
                Ok(Looked { found: None, sign_in: Some(sign_in) })
            }
        }
    }

    /// Calls a tool, with the group's tokens where its server asks for them. Where it refuses them they are renewed and the
    /// call is made once more: who is not let in has done nothing.
    pub(crate) async fn let_in(
        &self,
        cx: &Cx,
        provider: &Arc<dyn ToolProvider>,
        source: &ToolSource,
        call: &ToolCall,
        host: Arc<dyn ToolHost>,
    ) -> Result<Outcome> {
        if provider.sign_in().is_none() {
            return provider.call(cx, source, call, host).await;
        }
        let renewal = self.renewal(cx, provider, source);
        let mut refused: Option<i64> = None;
        loop {
            let (held, known) = match renewal.clone().held(refused).await {
                Ok(held) => (held, None),
                // Whoever calls may bring credentials of their own.
                Err(e) if refused.is_none() && Unauthorized::of(&e).is_some() => (None, Some(e)),
                Err(e) => return Err(e),
            };
            let version = held.as_ref().map(|held| held.version);
            let signed = ToolSource { signed: held.map(|held| held.kept), ..source.clone() };
            let done = provider.call(cx, &signed, call, Arc::clone(&host)).await;
            let Some(wants) = done.as_ref().err().and_then(Unauthorized::of).cloned() else { return done };
            if let Some(known) = known {
                return Err(known);
            }
            let again = version.is_some() && refused.is_none() && wants.scope.is_none();
            if again {
                refused = version;
                continue;
            }
            let problem = done.err().map(|error| error.message).unwrap_or_default();
            renewal.refused(version, &problem, wants.scope.clone()).await?;
            return Err(needs(&source.toolgroup, &problem, wants.scope));
        }
    }

    fn source(&self, cx: &Cx, row: StoredToolgroup) -> Result<ToolSource> {
        let secrets = match &row.sealed {
            Some(sealed) => sealing::opened(&*self.setting.seal, cx, &row.id, sealed)?,
            None => SecretArgs::default(),
        };
        Ok(ToolSource { toolgroup: row.id, args: row.args, secrets, grants: row.grants, ..ToolSource::default() })
    }

    fn renewal(&self, cx: &Cx, provider: &Arc<dyn ToolProvider>, source: &ToolSource) -> Renewal {
        Renewal {
            store: self.setting.store.clone(),
            seal: Arc::clone(&self.setting.seal),
            clock: Arc::clone(&self.setting.clock),
            secrets: Arc::clone(&self.setting.secrets),
            provider: Arc::clone(provider),
            // Not the caller's: it goes on when they leave.
            cx: Cx::internal(cx.tenant.clone(), cx.request.clone()),
            source: ToolSource { signed: None, ..source.clone() },
        }
    }
}

/// Everything that renewing takes, so that it can go on by itself.
#[derive(Clone)]
struct Renewal {
    store: Store,
    seal: Arc<dyn Seal>,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn Secrets>,
    provider: Arc<dyn ToolProvider>,
    cx: Cx,
    source: ToolSource,
}

impl Renewal {
    /// The tokens, renewed where they end soon or were refused at this version. None: nobody ever had to sign in.
    async fn held(self, refused: Option<i64>) -> Result<Option<Held>> {
        let group = &self.source.toolgroup;
        // Whoever holds them is done by then, or gone; then it is this one's turn once.
        let (mut renewed, mut looks) = (false, 2 * HOLD.as_millis() / LOOK.as_millis());
        loop {
            let Some(row) = self.store.tenant(&self.cx).find_sign_in(group).await? else { return Ok(None) };
            let Some(sealed) = &row.sealed else {
                return Err(needs(group, row.problem.as_deref().unwrap_or(NOBODY), row.scope));
            };
            let early = |end: Micros| EARLY.min((end - row.updated_at) / 4);
            let due = row.expires_at.is_some_and(|end| end - early(end) <= self.clock.now());
            // What was renewed just now is as good as it gets.
            if renewed || !(due || refused == Some(row.version)) {
                let plain = self.seal.open(&["sign_in", &self.cx.tenant, group], sealed)?;
                let kept = serde_json::from_slice(&plain).map_err(|_| damaged())?;
                return Ok(Some(Held { kept: SecretArgs(kept), version: row.version }));
            }
            if self.store.tenant(&self.cx).hold_sign_in(group, row.version, micros(HOLD)).await? {
                // Tokens that were exchanged and not written would be lost: this goes on when the call is dropped.
                let work = self.clone();
                let done = tokio::spawn(async move { work.renew(row).await });
                renewed = true;
                done.await.map_err(|e| Error::internal("renewing a tool group's tokens failed", e))??;
            } else if looks == 0 {
                return Err(Error::unavailable(format!("the tokens of the tool group '{group}' are being renewed")));
            } else {
                looks -= 1;
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    async fn renew(&self, row: StoredSignIn) -> Result<()> {
        let (group, version) = (row.toolgroup_id.clone(), row.version);
        match self.renewed(row).await {
            Ok(()) => Ok(()),
            Err(error) => match Unauthorized::of(&error) {
                Some(wants) => {
                    self.refused(Some(version), &error.message, wants.scope.clone()).await?;
                    Err(needs(&group, &error.message, wants.scope.clone()))
                }
                None => {
                    self.store.tenant(&self.cx).release_sign_in(&group, version).await?;
                    Err(error)
                }
            },
        }
    }

    async fn renewed(&self, row: StoredSignIn) -> Result<()> {
        let sign_in = self.provider.sign_in().ok_or_else(|| nowhere(&row.toolgroup_id))?;
        let secret = self.secret(sign_in).await?;
        let sealed = row.sealed.as_deref().unwrap_or_default();
        let plain = self.seal.open(&["sign_in", &self.cx.tenant, &row.toolgroup_id], sealed)?;
        let kept = SecretArgs(serde_json::from_slice(&plain).map_err(|_| damaged())?);
        // Less than the time for which it is held.
        let asked = tokio::time::timeout(HOLD / 2, sign_in.renew(&self.cx, &self.source, secret.as_ref(), &kept));
        let signed =
            asked.await.map_err(|_| Error::new(Kind::Timeout, "the server did not renew the token in time"))??;
        let renewed = StoredSignIn { problem: row.problem, scope: row.scope, ..self.row(&signed, row.version)? };
        // Not written: somebody signed in meanwhile, and what they brought is newer.
        self.store.tenant(&self.cx).replace_sign_in(&renewed).await?;
        Ok(())
    }

    /// The server does not take these tokens, or wants more than they are good for.
    async fn refused(&self, version: Option<i64>, problem: &str, scope: Option<String>) -> Result<()> {
        let (tenant, group) = (self.store.tenant(&self.cx), &self.source.toolgroup);
        tracing::warn!(tenant = self.cx.tenant, toolgroup = group, "a tool group has to be authorized: {problem}");
        let known = tenant.find_sign_in(group).await?;
        if known.as_ref().is_some_and(|row| Some(row.version) != version) {
            return Ok(());
        }
        let row = known.unwrap_or_else(|| StoredSignIn { toolgroup_id: group.clone(), ..StoredSignIn::default() });
        // With less than a tool wants, others may still work.
        let (sealed, expires_at) = if scope.is_some() { (row.sealed, row.expires_at) } else { (None, None) };
        let problem = Some(problem.to_owned());
        let row = StoredSignIn { sealed, expires_at, problem, scope, updated_at: self.clock.now(), ..row };
        match version {
            Some(_) => tenant.replace_sign_in(&row).await.map(|_| ()),
            None => tenant.put_sign_in(&row).await,
        }
    }

    fn row(&self, signed: &Signed, version: i64) -> Result<StoredSignIn> {
        let (now, group) = (self.clock.now(), &self.source.toolgroup);
        let plain = Value::Object(signed.kept.0.clone()).to_string();
        Ok(StoredSignIn {
            toolgroup_id: group.clone(),
            sealed: Some(self.seal.seal(&["sign_in", &self.cx.tenant, group], plain.as_bytes())?),
            expires_at: signed.expires_in.map(|left| now.saturating_add(micros(left))),
            problem: None,
            scope: None,
            version,
            updated_at: now,
        })
    }

    /// The tenant's secret that the group's client proves itself by.
    async fn secret(&self, sign_in: &dyn SignIn) -> Result<Option<Secret>> {
        let Some(name) = sign_in.secret_name(&self.source) else { return Ok(None) };
        let found = self.secrets.find(&self.cx, &name).await?;
        found.map(Some).ok_or_else(|| {
            let message = format!("there is no secret '{name}': an admin puts it at /v1/secrets first");
            Error::invalid("args.oauth.client_secret", message)
        })
    }
}

fn attempt<'a>(cx: &'a Cx, group: &'a str, hash: &'a str) -> [&'a str; 4] {
    ["sign_in_attempt", &cx.tenant, group, hash]
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

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn needs(group: &str, problem: &str, scope: Option<String>) -> Error {
    let message = format!(
        "the tool group '{group}' is not let in by its server ({problem}): whoever runs it signs in by POST \
         /v1/toolgroups/{group}/authorize"
    );
    Unauthorized::error(message, scope)
}

fn nowhere(provider: &str) -> Error {
    Error::conflict(format!("groups of the provider '{provider}' sign in nowhere")).with_code("no_sign_in")
}

fn damaged() -> Error {
    Error::new(Kind::Internal, "what is kept of signing in is damaged")
}
