//! Groups whose servers ask for OAuth: how a registration is let in, and every call.
//!
//! The provider knows the protocol ([`SignIn`]); here is what has to outlive a request and hold across processes.
//! Invariants: whoever is not let in by the group's tokens causes no query; a call is made a second time only where the
//! server said that it did not make it; looking into a registration writes nothing, and takes neither tools nor tokens from
//! a group that has them; tokens lie sealed, and what servers say of them reaches no model.

mod attempts;
mod renewal;

use std::{sync::Arc, time::Duration};

use frontdesk_api::{
    Cx, Error, Kind, Result,
    chat::ToolCall,
    sign_in::{Signed, Unauthorized, Way},
    tools::{Inspected, Outcome, SecretArgs, ToolHost, ToolProvider, ToolSource},
};
use frontdesk_store::{
    sign_ins::{Entry, Over},
    tools::StoredToolgroup,
};

pub use self::attempts::{ATTEMPT, Landed, Visit};
use self::renewal::{Renewal, in_time};
use crate::{Registry, group::NOBODY, sealing};

/// What looking into a registration came to.
pub(crate) struct Looked {
    /// None: a person has to sign in first.
    pub(crate) found: Option<Inspected>,
    pub(crate) entry: Entry,
    /// What the entry holds over.
    pub(crate) over: Over,
    /// Who gave tokens just now.
    pub(crate) issuer: Option<String>,
}

impl Looked {
    fn found(found: Inspected, entry: Entry) -> Self {
        Self { found: Some(found), entry, over: Over::Any, issuer: None }
    }
}

impl Registry {
    /// Looks into what is being registered, signing in where that takes no person. `signed`: someone did just now. `dry`: no
    /// tokens are renewed for it.
    pub(crate) async fn look(
        &self,
        cx: &Cx,
        provider: &Arc<dyn ToolProvider>,
        (provider_id, source): (&str, &mut ToolSource),
        signed: Option<&Signed>,
        dry: bool,
    ) -> Result<Looked> {
        // The group's way, whatever this caller brings along.
        let own = Cx::internal(cx.tenant.clone(), cx.request.clone());
        let sign_in = provider.sign_in();
        let way = sign_in.map_or(Ok(Way::Otherwise), |sign_in| sign_in.way(&own, source))?;
        let (Some(sign_in), true) = (sign_in, way != Way::Otherwise) else {
            return Ok(Looked::found(provider.inspect(cx, source).await?, Entry::Forgotten));
        };
        if let Some(signed) = signed {
            source.signed = Some(signed.kept.clone());
            let found = provider.inspect(cx, source).await?;
            let renewal = self.renewal(&own, provider, source, way);
            return Ok(Looked::found(found, Entry::Given(renewal.tokens(signed)?)));
        }
        let tenant = self.setting.store.tenant(cx);
        let stored = tenant.find_toolgroup(&source.toolgroup).await?.map(|(row, _)| row);
        let held = match stored.as_ref().filter(|row| row.provider_id == provider_id) {
            Some(row) => self.stands(&own, provider, source, row, dry).await?,
            None => None,
        };
        if sign_in.way(cx, source)? == Way::Otherwise {
            let entry = if held.is_some() { Entry::AsBefore } else { Entry::Forgotten };
            return Ok(Looked::found(provider.inspect(cx, source).await?, entry));
        }
        if let Some((renewal, mut held)) = held {
            source.signed = Some(held.kept.clone());
            let mut found = provider.inspect(cx, source).await;
            let refused = found.as_ref().is_err_and(|e| Unauthorized::of(e).is_some());
            if refused && way == Way::Alone {
                // It signs in anew, by what is proposed.
                source.signed = None;
            } else {
                if refused && !dry {
                    held = renewal.held(Some(held.version)).await?.unwrap_or(held);
                    source.signed = Some(held.kept);
                    found = provider.inspect(cx, source).await;
                }
                return Ok(Looked::found(found?, Entry::Good));
            }
        }
        let refused = match provider.inspect(cx, source).await {
            Ok(found) => return Ok(Looked::found(found, Entry::Forgotten)),
            Err(error) => error,
        };
        let Some(wants) = Unauthorized::of(&refused) else { return Err(refused) };
        let renewal = self.renewal(&own, provider, source, way);
        let secret = renewal.secret(sign_in).await?;
        if let Some(signed) = in_time(sign_in.alone(&own, source, secret.as_ref())).await? {
            source.signed = Some(signed.kept.clone());
            let found = provider.inspect(cx, source).await?;
            let entry = Entry::Given(renewal.tokens(&signed)?);
            return Ok(Looked { issuer: Some(signed.issuer), ..Looked::found(found, entry) });
        }
        let over = match stored {
            Some(row) if row.overrides.is_none() => return Err(keeps_its_tools(&row.id, &refused)),
            Some(row) => Over::Revision(row.revision),
            None => Over::Nothing,
        };
        let (problem, at) = (NOBODY.to_owned(), self.setting.clock.now());
        let entry = Entry::Needed { problem, scope: wants.scope.clone(), at };
        Ok(Looked { found: None, entry, over, issuer: None })
    }

    /// The tokens of a registered group, where they are for what it is registered as and for `source` too.
    async fn stands(
        &self,
        cx: &Cx,
        provider: &Arc<dyn ToolProvider>,
        source: &ToolSource,
        row: &StoredToolgroup,
        dry: bool,
    ) -> Result<Option<(Renewal, renewal::Held)>> {
        let Some(sign_in) = provider.sign_in() else { return Ok(None) };
        // As it is registered: what is proposed names other secrets and servers perhaps. Whatever was registered is no
        // reason to refuse what is proposed in its place.
        let before = self.source(cx, row.clone())?;
        let Ok(way) = sign_in.way(cx, &before) else { return Ok(None) };
        let renewal = self.renewal(cx, provider, &before, way);
        let held = match renewal.clone().kept().await? {
            Some(held) if sign_in.fits(source, &held.kept) => held,
            _ => return Ok(None),
        };
        if dry {
            return Ok(Some((renewal, held)));
        }
        match renewal.clone().held(None).await {
            Ok(held) => Ok(held.map(|held| (renewal, held))),
            // Let go just now; or it signs in by itself, and may as well by what is proposed.
            Err(e) if Unauthorized::of(&e).is_some() || way == Way::Alone => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Calls a tool, with the group's tokens where that is how it is let in. Where the server refuses them they are renewed
    /// and the call is made once more: who is not let in has done nothing.
    pub(crate) async fn let_in(
        &self,
        cx: &Cx,
        provider: &Arc<dyn ToolProvider>,
        source: &ToolSource,
        call: &ToolCall,
        host: Arc<dyn ToolHost>,
    ) -> Result<Outcome> {
        // What is wrong with the source is the provider's to say.
        let way = provider.sign_in().and_then(|sign_in| sign_in.way(cx, source).ok());
        let Some(way) = way.filter(|way| *way != Way::Otherwise) else {
            return provider.call(cx, source, call, host).await;
        };
        let group = &source.toolgroup;
        let renewal = self.renewal(cx, provider, source, way);
        let mut held = renewal.clone().held(None).await?;
        for last in [false, true] {
            let version = held.as_ref().map_or(0, |held| held.version);
            let signed = ToolSource { signed: held.map(|held| held.kept), ..source.clone() };
            let refused = match provider.call(cx, &signed, call, Arc::clone(&host)).await {
                Err(error) if Unauthorized::of(&error).is_some() => error,
                done => return done,
            };
            let scope = Unauthorized::of(&refused).and_then(|wants| wants.scope.clone());
            tracing::warn!(tenant = cx.tenant, toolgroup = group, "a tool group is not let in: {refused}");
            // Where nobody signed in yet one refusal is this call's alone, unless it says what is wanted.
            if scope.is_some() || (version == 0 && way == Way::Alone) {
                renewal.note(version, &refused.message, scope.as_deref()).await?;
            }
            // With less than a tool wants, others may still work; and nobody can be asked for what nobody gave.
            if scope.is_some() || (version == 0 && way == Way::Person) {
                return Err(needs(group, way));
            }
            if last {
                break;
            }
            held = renewal.clone().held(Some(version)).await?;
            if held.as_ref().is_some_and(|held| held.version == version) {
                break;
            }
        }
        // New tokens, and no better. A caller may be able to bring that about, so nothing comes of it for others.
        Err(Error::upstream(format!("the server of the tool group '{group}' did not take its tokens, which are new")))
    }

    fn source(&self, cx: &Cx, row: StoredToolgroup) -> Result<ToolSource> {
        let secrets = match &row.sealed {
            Some(sealed) => sealing::opened(&*self.setting.seal, cx, &row.id, sealed)?,
            None => SecretArgs::default(),
        };
        Ok(ToolSource { toolgroup: row.id, args: row.args, secrets, grants: row.grants, ..ToolSource::default() })
    }
}

/// What models and whoever may only use tools are told: nothing that a server said.
fn needs(group: &str, way: Way) -> Error {
    let message = match way {
        Way::Alone => {
            format!("the tool group '{group}' is not let in by its server; it signs in by itself and will try again")
        }
        _ => format!(
            "the tool group '{group}' is not let in by its server: whoever runs it signs in by POST \
             /v1/toolgroups/{group}/authorize"
        ),
    };
    Unauthorized::error(message, None)
}

fn keeps_its_tools(group: &str, refused: &Error) -> Error {
    let message = format!(
        "{}: registered so, the tool group '{group}' would have no tools until a person signs in, so it stays as it was; \
         sign in by POST /v1/toolgroups/{group}/authorize, or delete it first",
        refused.message
    );
    Error::conflict(message).with_code("needs_authorization")
}

fn damaged() -> Error {
    Error::new(Kind::Internal, "what is kept of signing in is damaged")
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}
