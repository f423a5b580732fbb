//! The tokens of one group: kept, renewed, refused.
//!
//! Invariants: one process at a time renews; it goes on when the call that wanted it is dropped, and writes what it was
//! given until its time is over; only the authorization server's word that a grant is over lets tokens go; what could not
//! be renewed is tried again after a pause that grows.

use std::{sync::Arc, time::Duration};

use frontdesk_api::{
    Clock, Cx, Error, Ids, Kind, Micros, Result, Seal, Secrets, SignIn,
    secret::Secret,
    sign_in::{NO_RENEWAL, Signed, Unauthorized, Way},
    tools::{SecretArgs, ToolProvider, ToolSource},
};
use frontdesk_store::{
    Store,
    sign_ins::{StoredSignIn, Tokens},
    tools::StoredToolgroupChange,
};
use serde_json::{Value, json};

use super::{damaged, micros, needs};
use crate::Registry;

/// How long all that a provider asks of servers for one step may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one process has for renewing before another may try: to ask, and to write.
const HOLD: Duration = Duration::from_secs(60);

/// The pauses between tries to write what was given: all within the hold, after asking took as long as it may.
const WRITES: [Duration; 5] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// How long before its end a token is renewed at most; a short one a quarter of its time before.
const EARLY: Micros = 30 * 1_000_000;

/// How soon those look who wait for another's renewing; twice as long each time, up to [`LOOKS`].
const LOOK: Duration = Duration::from_millis(50);

const LOOKS: Duration = Duration::from_secs(1);

/// Tokens that were renewed since are not renewed again because a call was refused: whoever may call could have that done
/// each time.
const FRESH: Micros = 5 * 1_000_000;

/// The pause after a first failure; doubled with each further one, up to 2^6 times.
const PAUSE: Duration = Duration::from_secs(1);

/// Failures before this one after which people are told: the next success takes that back.
const MANY: i64 = 2;

/// Tokens as they are at one version.
pub(crate) struct Held {
    pub(crate) kept: SecretArgs,
    pub(crate) version: i64,
}

/// Everything that renewing takes, so that it can go on by itself.
#[derive(Clone)]
pub(crate) struct Renewal {
    store: Store,
    seal: Arc<dyn Seal>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    secrets: Arc<dyn Secrets>,
    provider: Arc<dyn ToolProvider>,
    cx: Cx,
    source: ToolSource,
    way: Way,
}

impl Registry {
    pub(super) fn renewal(&self, cx: &Cx, provider: &Arc<dyn ToolProvider>, source: &ToolSource, way: Way) -> Renewal {
        Renewal {
            store: self.setting.store.clone(),
            seal: Arc::clone(&self.setting.seal),
            clock: Arc::clone(&self.setting.clock),
            ids: Arc::clone(&self.setting.ids),
            secrets: Arc::clone(&self.setting.secrets),
            provider: Arc::clone(provider),
            // Not the caller's: it goes on when they leave.
            cx: Cx::internal(cx.tenant.clone(), cx.request.clone()),
            source: ToolSource { signed: None, ..source.clone() },
            way,
        }
    }
}

impl Renewal {
    /// The tokens as they lie, where they are for this group as it is.
    pub(super) async fn kept(self) -> Result<Option<Held>> {
        let row = self.store.tenant(&self.cx).find_sign_in(&self.source.toolgroup).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(self.opened(&row)?.map(|kept| Held { kept, version: row.version }))
    }

    /// The tokens of a row, where they are for this group as it is.
    pub(super) fn opened(&self, row: &StoredSignIn) -> Result<Option<SecretArgs>> {
        let (Some(sealed), Some(sign_in)) = (&row.sealed, self.provider.sign_in()) else { return Ok(None) };
        let plain = self.seal.open(&["sign_in", &self.cx.tenant, &self.source.toolgroup], sealed)?;
        let kept = SecretArgs(serde_json::from_slice(&plain).map_err(|_| damaged())?);
        Ok(Some(kept).filter(|kept| sign_in.fits(&self.source, kept)))
    }

    /// The tokens, renewed where they end soon, or were refused at this version and not renewed just now. None: there are
    /// none, and nobody knows yet whether there have to be.
    ///
    /// # Errors
    /// An [`Unauthorized`] where somebody has to sign in; `Upstream` where renewing failed, with nothing of why.
    pub(super) async fn held(self, refused: Option<i64>) -> Result<Option<Held>> {
        let group = &self.source.toolgroup;
        let (mut renewed, mut look, mut waited) = (false, LOOK, Duration::ZERO);
        // What another was seen to hold, and until when: nobody asks for that again before it changes.
        let mut taken = None;
        loop {
            let Some(row) = self.store.tenant(&self.cx).find_sign_in(group).await? else { return Ok(None) };
            let kept = self.opened(&row)?;
            if kept.is_none() && (renewed || self.way != Way::Alone) {
                // Those of another server are none, and where nobody ever signed in the server lets in whom it likes.
                let open = row.sealed.is_some() || row.version == 0;
                return if open { Ok(None) } else { Err(needs(group, self.way)) };
            }
            let left = row.expires_at.map(|end| end - self.clock.now());
            let early = row.expires_at.map_or(0, |end| EARLY.min((end - row.updated_at) / 4));
            // A version that begins with its time was brought, not renewed.
            let fresh = row.version != row.updated_at && self.clock.now() - row.updated_at < FRESH;
            let due = left.is_some_and(|left| left <= early) || (refused == Some(row.version) && !fresh);
            // What was renewed just now is as good as it gets.
            let good = kept.as_ref().filter(|_| renewed || !due);
            // Good until it ends, where it cannot be renewed.
            let at_need = kept.as_ref().filter(|_| refused != Some(row.version) && left.is_none_or(|left| left > 0));
            let held = |kept: &SecretArgs| Held { kept: kept.clone(), version: row.version };
            if let Some(kept) = good {
                return Ok(Some(held(kept)));
            }
            let free = taken != Some((row.version, row.held_until)) || waited >= HOLD;
            if free && self.store.tenant(&self.cx).hold_sign_in(group, row.version, micros(HOLD)).await? {
                // Tokens that were exchanged and not written would be lost: this goes on when the call is dropped.
                let (work, version, failures, before) = (self.clone(), row.version, row.failures, kept.clone());
                let done = tokio::spawn(async move { work.renew(version, failures, before).await });
                renewed = true;
                let done = done.await.map_err(|e| Error::internal("renewing a tool group's tokens failed", e))?;
                match (done, at_need) {
                    (Err(error), Some(kept)) if Unauthorized::of(&error).is_none() => return Ok(Some(held(kept))),
                    (done, _) => done?,
                }
            } else if row.failures > 0 {
                return at_need.map(|kept| Some(held(kept))).ok_or_else(|| self.not_now(row.problem.is_some()));
            } else if waited >= 2 * HOLD {
                // Whoever held them is done by then, or gone, and it was this one's turn.
                return Err(Error::unavailable(format!("the tokens of the tool group '{group}' are being renewed")));
            } else {
                taken = Some((row.version, row.held_until));
                tokio::time::sleep(look).await;
                (waited, look) = (waited + look, LOOKS.min(2 * look));
            }
        }
    }

    /// Renews what this process holds. `failures`: how often that failed before.
    async fn renew(&self, version: i64, failures: i64, before: Option<SecretArgs>) -> Result<()> {
        let (tenant, group) = (&self.store.tenant(&self.cx), &self.source.toolgroup);
        let error = match self.exchanged(before.as_ref()).await {
            Ok(tokens) => {
                let tokens = &tokens;
                // False: somebody signed in meanwhile, and what they brought is newer.
                return insist(move || tenant.renew_sign_in(group, version, tokens)).await.map(|_| ());
            }
            Err(error) => error,
        };
        tracing::warn!(tenant = self.cx.tenant, toolgroup = group, "a tool group's tokens were not renewed: {error}");
        if Unauthorized::of(&error).is_some() && self.way == Way::Person {
            let change = StoredToolgroupChange {
                id: self.ids.next("tgc"),
                toolgroup_id: group.clone(),
                action: "deauthorized".into(),
                key_id: self.cx.principal.key_id.clone(),
                detail: json!({ "problem": error.message }),
                created_at: self.clock.now(),
            };
            let (why, change) = (error.message.as_str(), &change);
            insist(move || tenant.drop_sign_in(group, version, why, change)).await?;
            return Err(needs(group, self.way));
        }
        // Tokens may be refused to one caller's call and good for the next: without the server's word they are kept.
        let stays = before.is_none() || error.code.as_deref() == Some(NO_RENEWAL) || failures >= MANY;
        let problem = Some(error.message.as_str()).filter(|_| stays);
        let pause = PAUSE.saturating_mul(1 << failures.clamp(0, 6));
        tenant.pause_sign_in(group, version, problem, micros(pause)).await?;
        Err(self.not_now(stays))
    }

    /// New tokens, from the server.
    async fn exchanged(&self, before: Option<&SecretArgs>) -> Result<Tokens> {
        let sign_in = self.provider.sign_in().ok_or_else(damaged)?;
        let secret = self.secret(sign_in).await?;
        let signed = in_time(async {
            match before {
                Some(kept) if self.way == Way::Person => {
                    sign_in.renew(&self.cx, &self.source, secret.as_ref(), kept).await
                }
                // Anew each time: what it signs in with, and where, may have changed.
                _ => {
                    let alone = sign_in.alone(&self.cx, &self.source, secret.as_ref()).await?;
                    alone.ok_or_else(|| needs(&self.source.toolgroup, Way::Person))
                }
            }
        })
        .await?;
        self.tokens(&signed)
    }

    pub(super) fn tokens(&self, signed: &Signed) -> Result<Tokens> {
        let (at, group) = (self.clock.now(), &self.source.toolgroup);
        let plain = Value::Object(signed.kept.0.clone()).to_string();
        Ok(Tokens {
            sealed: self.seal.seal(&["sign_in", &self.cx.tenant, group], plain.as_bytes())?,
            expires_at: signed.expires_in.map(|left| at.saturating_add(micros(left))),
            at,
        })
    }

    /// Notes why the tokens of this version do not let the group in; 0: there were none.
    pub(super) async fn note(&self, version: i64, problem: &str, scope: Option<&str>) -> Result<()> {
        let (tenant, at) = (self.store.tenant(&self.cx), self.clock.now());
        tenant.note_sign_in(&self.source.toolgroup, version, problem, scope, at).await
    }

    /// The tenant's secret that the group's client proves itself by.
    pub(super) async fn secret(&self, sign_in: &dyn SignIn) -> Result<Option<Secret>> {
        let Some(name) = sign_in.secret_name(&self.source) else { return Ok(None) };
        let found = self.secrets.find(&self.cx, &name).await?;
        found.map(Some).ok_or_else(|| {
            let message = format!("there is no secret '{name}': an admin puts it at /v1/secrets first");
            Error::invalid("args.oauth.client_secret", message)
        })
    }

    /// Why there are no tokens just now, without what servers say: a model may read it. `stays`: that is not over by itself.
    fn not_now(&self, stays: bool) -> Error {
        let group = &self.source.toolgroup;
        if stays {
            return Error { source: None, ..needs(group, self.way) };
        }
        let message = format!("the tool group '{group}' could not be let in by its server just now; it is tried again");
        Error::upstream(message)
    }
}

/// What a provider asks of servers, or that it takes too long.
pub(super) async fn in_time<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let seconds = PATIENCE.as_secs();
    let late = || Error::new(Kind::Timeout, format!("the server that lets in took more than {seconds} s"));
    tokio::time::timeout(PATIENCE, asked).await.map_err(|_| late())?
}

/// Writes what would be lost otherwise, a few times where that fails.
async fn insist<T, F: Future<Output = Result<T>>>(write: impl Fn() -> F) -> Result<T> {
    for pause in WRITES {
        match write().await {
            Err(error) => tracing::warn!("a tool group's tokens were not written, which is tried again: {error}"),
            done => return done,
        }
        tokio::time::sleep(pause).await;
    }
    write().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_was_given_is_written_though_the_database_fails_at_first() {
        let tries = AtomicUsize::new(0);
        let written = insist(|| {
            let n = tries.fetch_add(1, Ordering::SeqCst);
            std::future::ready(if n < 2 { Err(Error::unavailable("no connection")) } else { Ok(n) })
        });
        assert_eq!(written.await.expect("written"), 2);
        let all: Duration = WRITES.into_iter().sum();
        assert!(PATIENCE + all < HOLD, "another would renew the same tokens");
    }
}
