//! Registration: read what a group is made from, look into it, hold it to the rules, pin it in rows.
//!
//! Invariant: a dry run goes the same way to the last step and writes nothing.

use std::sync::Arc;

use bytes::Bytes;
use frontdesk_api::sign_in::Signed;
use frontdesk_api::{
    Cx, Error, Kind, Result,
    egress::{Outbound, OutboundLimits},
    tools::{Reads, ToolDef, ToolProvider, ToolSource},
};
use frontdesk_store::{
    sign_ins::{Entry, Over, Registered},
    tools::StoredToolgroup,
};
use serde_json::{Value, json};

use crate::{
    Authorization, Group, Registration, Registry,
    changes::{self, REGISTERED},
    fetch::Policy,
    group::Ready,
    sealing,
    signing::Looked,
};

/// What is read from an address at registration: at most this much, and no longer.
const READ: OutboundLimits = OutboundLimits { time: std::time::Duration::from_secs(60), answer: 32 << 20 };

/// What a registration would come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    pub group: Group,
    pub tools: Vec<ToolDef>,
    /// Powers it asks for; all of them are granted.
    pub requests: Vec<String>,
    /// What the provider says for people: hosts, secrets, what was left out.
    pub report: Value,
}

/// A registration that went through every check.
pub(crate) struct Checked {
    pub(crate) row: StoredToolgroup,
    pub(crate) tools: Vec<ToolDef>,
    kept: Option<Bytes>,
    ready: Ready,
    requests: Vec<String>,
    report: Value,
    entry: Entry,
    pub(crate) over: Over,
    /// Who let the group in just now.
    issuer: Option<String>,
    /// The change whose version this is.
    pub(crate) restored: Option<String>,
}

impl Registry {
    /// Registers a group, or registers it anew with what it is now; data its tools kept stays.
    ///
    /// # Errors
    /// `Invalid` naming what is wrong (`provider_id`, `args.…`, `tools.…`), `TooLarge`, `NotFound` for a file.
    pub async fn register(&self, cx: &Cx, registration: Registration) -> Result<Group> {
        let checked = self.check(cx, registration, None, false).await?;
        self.write(cx, checked).await
    }

    /// As [`Registry::register`], of a group that a person has let in just now, over what it was when they set out.
    pub(crate) async fn register_over(
        &self,
        cx: &Cx,
        registration: Registration,
        signed: &Signed,
        over: Over,
    ) -> Result<Group> {
        let checked = self.check(cx, registration, Some(signed), false).await?;
        self.write(cx, Checked { over, issuer: Some(signed.issuer.clone()), ..checked }).await
    }

    pub(crate) async fn write(&self, cx: &Cx, checked: Checked) -> Result<Group> {
        let Checked { row, tools, kept, ready, entry, over, issuer, restored, .. } = checked;
        let let_in = issuer.map(|issuer| self.change(cx, &row.id, "authorized", json!({ "issuer": issuer })));
        let tenant = self.setting.store.tenant(cx);
        let lost =
            entry == Entry::Forgotten && tenant.find_sign_in(&row.id).await?.is_some_and(|row| row.sealed.is_some());
        let lost = lost.then(|| self.change(cx, &row.id, "deauthorized", json!({ "problem": "registered otherwise" })));
        let secret_args: Vec<&str> = ready.source.secrets.0.keys().map(String::as_str).collect();
        let detail = changes::detail(&row, &tools, &secret_args, restored.as_deref());
        let change = self.change(cx, &row.id, REGISTERED, detail);
        let changes: Vec<_> = let_in.into_iter().chain(lost).chain([change]).collect();
        let registered = Registered { group: &row, tools: &tools, kept: kept.as_deref() };
        tenant.put_sign_in(&row.id, Some(registered), &entry, &over, &changes).await?;
        // One that was off stays off: the row says it.
        let group = self.load_group(cx, &row.id).await?;
        if group.disabled {
            self.forget(cx, &row.id);
        } else {
            self.keep(cx, &row.id, Arc::new(ready));
        }
        Ok(group)
    }

    /// What [`Registry::register`] would do, without doing it.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub async fn preview(&self, cx: &Cx, registration: Registration) -> Result<Preview> {
        let checked = self.check(cx, registration, None, true).await?;
        let Checked { row, tools, requests, report, entry, .. } = checked;
        let authorization = match entry {
            Entry::AsBefore | Entry::Forgotten => None,
            Entry::Good | Entry::Given(_) => Some(Authorization { problem: None }),
            Entry::Needed { problem, .. } => Some(Authorization { problem: Some(problem) }),
        };
        Ok(Preview { group: Group { authorization, ..row.into() }, tools, requests, report })
    }

    pub(crate) async fn check(
        &self,
        cx: &Cx,
        registration: Registration,
        signed: Option<&Signed>,
        dry: bool,
    ) -> Result<Checked> {
        registration.check()?;
        let provider = self.provider(&registration.provider_id)?;
        let args = registration.provider_args();
        let grants = registration.grants()?;
        // Before anything is read: what is named may be wrong.
        Policy::of(&args)?;
        let (args, secrets) = sealing::taken_out(args, provider.secret_args());
        let body = self.read(cx, &*provider, &args).await?;
        let toolgroup = registration.toolgroup_id.clone();
        let sealed = sealing::sealed(&*self.setting.seal, cx, &toolgroup, &secrets)?;
        let mut source = ToolSource { toolgroup, args, secrets, body, grants, ..ToolSource::default() };
        let what = (registration.provider_id.as_str(), &mut source);
        let Looked { found, entry, over, issuer } = Box::pin(self.look(cx, &provider, what, signed, dry)).await?;
        // Nobody can look in before a person has signed in: what is said of its tools waits for them.
        let overrides = found.is_none().then(|| json!(registration.tools));
        let mut found = found.unwrap_or_default();
        let (hash, requests) = (found.hash.clone(), found.requests.clone());
        let (kept, report) = (found.kept.take(), std::mem::take(&mut found.report));
        if kept.is_none()
            && let Some(Reads::File(file)) = provider.reads(&source.args)?
            && !self.setting.bodies.stays(cx, &file).await?
        {
            let message = format!("the file '{file}' expires, and the group with it: upload it without expires_after");
            return Err(Error::invalid(file_param(&source.args), message));
        }
        if let Some(args) = found.args.take() {
            source.args = args;
        }
        let tools = if overrides.is_some() { vec![] } else { registration.apply(found, &source.grants)? };
        let row = StoredToolgroup {
            id: registration.toolgroup_id,
            provider_id: registration.provider_id,
            trust: registration.trust.as_str().to_owned(),
            args: source.args,
            sealed,
            overrides,
            grants: source.grants,
            hash,
            revision: self.setting.ids.next("rev"),
            created_at: self.setting.clock.now(),
            disabled_at: None,
        };
        // Parsed before it is written: a schema that does not compile is refused here, not in a turn.
        let body = kept.clone().or(source.body);
        let ready = Ready::new(row.clone(), tools.clone(), provider, body, source.secrets)?;
        for secret in &ready.policy.secrets {
            if self.setting.secrets.find(cx, secret).await?.is_none() {
                let message = format!("there is no secret '{secret}': an admin puts it at /v1/secrets first");
                return Err(Error::invalid("args.secrets", message));
            }
        }
        Ok(Checked { row, tools, kept, ready, requests, report, entry, over, issuer, restored: None })
    }

    /// What the group is made from, where it lies somewhere else.
    pub(crate) async fn read(&self, cx: &Cx, provider: &dyn ToolProvider, args: &Value) -> Result<Option<Bytes>> {
        match provider.reads(args)? {
            None => Ok(None),
            Some(Reads::File(file)) => {
                let loaded = self.setting.bodies.load(cx, &file).await;
                loaded.map(Some).map_err(|e| if e.kind == Kind::NotFound { e.with_param(file_param(args)) } else { e })
            }
            Some(Reads::Url(url)) => self.download(cx, url).await.map(Some).map_err(|e| e.with_param("args.url")),
        }
    }

    async fn download(&self, cx: &Cx, url: String) -> Result<Bytes> {
        let accept = ("accept".to_owned(), "application/json, application/yaml, */*;q=0.5".to_owned());
        let request = Outbound { method: "GET".into(), url: url.clone(), headers: vec![accept], body: Bytes::new() };
        let answer = self.setting.egress.send(cx, request, READ).await?;
        match answer.status {
            200..=299 => Ok(answer.body),
            300..=399 => {
                let to = answer.header("location").unwrap_or("nowhere");
                Err(Error::new(
                    Kind::Invalid,
                    format!("the address leads on to {to}: name that one if it is the right one"),
                ))
            }
            status => Err(Error::new(Kind::Invalid, format!("the address answered with status {status}"))),
        }
    }
}

/// The argument that names a file.
fn file_param(args: &Value) -> &'static str {
    if args.get("component").is_some() { "args.component" } else { "args.file_id" }
}
