//! An earlier version of a group, registered again.
//!
//! What a group was registered as stands in its changes; what it was made from is read anew and looked into anew. Invariant:
//! what is brought back is what it was, by hash, the whole and each tool, or it is refused.

use std::collections::BTreeMap;

use frontdesk_api::{
    Cx, Error, PageRequest, Result,
    tools::{Effect, Risk, ToolDef},
};
use frontdesk_store::{sign_ins::Over, tools::StoredToolgroup};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{Group, Override, Registration, Registry, Trust, changes::REGISTERED, registration::Bound};

/// What [`crate::changes::detail`] wrote.
#[derive(Deserialize)]
struct Version {
    provider_id: String,
    trust: Trust,
    args: Map<String, Value>,
    grants: Vec<String>,
    hash: String,
    tools: Vec<Pinned>,
    /// None: it was written before this was noted.
    secret_args: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Pinned {
    name: String,
    effect: Effect,
    risk: Risk,
    bind: Bound,
    hash: String,
}

impl Registry {
    /// Registers a group as the change of this id says that it was registered once. One that was deleted is there again,
    /// without the data that its tools kept; one that is switched off stays off. `newest`: the newest change of the group
    /// that the caller has seen; None: the version is brought back over whatever came meanwhile.
    ///
    /// # Errors
    /// `NotFound` for the change; `Invalid` for one that registered nothing; `Conflict` where the group was changed after
    /// `newest`, and where what it was made from is another by now, held secrets, or nobody had signed in; as
    /// [`Registry::register`] where something of it is gone.
    pub async fn restore(&self, cx: &Cx, change_id: &str, newest: Option<&str>) -> Result<Group> {
        let change = self.setting.store.tenant(cx).find_toolgroup_change(change_id).await?.ok_or_else(|| {
            Error::not_found(format!("no change of a tool group has the id '{change_id}'"))
                .with_code("toolgroup_change_not_found")
        })?;
        if change.action != REGISTERED {
            let message =
                format!("'{}' was {} by this change: name one that registered it", change.toolgroup_id, change.action);
            return Err(Error::invalid("change_id", message));
        }
        let over = match newest {
            Some(newest) => Some(self.as_of(cx, &change.toolgroup_id, newest).await?),
            None => None,
        };
        let version: Version = serde_json::from_value(change.detail)
            .map_err(|e| Error::internal("reading what a tool group was registered as", e))?;
        let told = |mut e: Error| {
            e.message = format!("this version of '{}' cannot be brought back: {}", change.toolgroup_id, e.message);
            e
        };
        let provider = self.setting.providers.get(&version.provider_id);
        let may_hold = provider.is_some_and(|provider| !provider.secret_args().is_empty());
        let registration = version.registration(&change.toolgroup_id, may_hold).map_err(told)?;
        let checked = self.check(cx, registration, None, false).await;
        let mut checked = checked.map_err(told)?;
        version.is(&checked.row, &checked.tools).map_err(told)?;
        checked.restored = Some(change.id);
        // Looking into it took its time.
        checked.over = over.unwrap_or(checked.over);
        self.write(cx, checked).await
    }

    /// The registration that a group has, its newest change being this one.
    async fn as_of(&self, cx: &Cx, group: &str, newest: &str) -> Result<Over> {
        // First: a change that comes between is found below, and one that comes later by the write.
        let there = self.setting.store.tenant(cx).find_toolgroup(group).await?;
        let page = PageRequest { limit: 1, ..PageRequest::default() };
        if let Some(last) = self.changes(cx, group, &page).await?.items.pop().filter(|last| last.id != newest) {
            let message = format!(
                "'{group}' was {} since, by the change '{}': look at that one, and name it to bring the version back over it",
                last.action, last.id
            );
            return Err(Error::conflict(message).with_code("toolgroup_changed").with_param("newest_change_id"));
        }
        Ok(there.map_or(Over::Nothing, |(row, _)| Over::Revision(row.revision)))
    }
}

impl Version {
    /// `may_hold`: its provider takes secrets among the args.
    fn registration(&self, id: &str, may_hold: bool) -> Result<Registration> {
        if may_hold && self.secret_args.is_none() {
            return Err(Error::conflict(
                "it was registered before secrets among its args were noted, and may have held some: register it anew",
            ));
        }
        if let Some(secret) = self.secret_args.iter().flatten().next() {
            return Err(Error::conflict(format!(
                "args.{secret} held a secret, which is shown to nobody again: register it with that"
            )));
        }
        let over =
            |tool: &Pinned| Override { effect: Some(tool.effect), risk: Some(tool.risk), bind: tool.bind.clone() };
        let mut args = self.args.clone();
        args.insert("grants".into(), self.grants.clone().into());
        Ok(Registration {
            toolgroup_id: id.to_owned(),
            provider_id: self.provider_id.clone(),
            args,
            mcp_endpoint: None,
            trust: self.trust,
            tools: self.tools.iter().map(|tool| (tool.name.clone(), over(tool))).collect(),
        })
    }

    /// # Errors
    /// `Conflict` where a group that was looked into anew is not this one.
    fn is(&self, row: &StoredToolgroup, tools: &[ToolDef]) -> Result<()> {
        if row.overrides.is_some() {
            return Err(Error::conflict("a person has to sign in at its server first: register it, and authorize it"));
        }
        let changed = |what: String| {
            Err(Error::conflict(format!("{what}; register it to accept that")).with_code("tool_changed"))
        };
        let were: BTreeMap<&str, &str> = self.tools.iter().map(|tool| (&*tool.name, &*tool.hash)).collect();
        for tool in tools {
            match were.get(&*tool.name) {
                Some(hash) if **hash == *tool.hash => {}
                Some(_) => return changed(format!("its tool '{}' is described otherwise by now", tool.name)),
                None => return changed(format!("what it is made from has the tool '{}' too by now", tool.name)),
            }
        }
        if row.hash != self.hash {
            return changed("what it is made from is another by now".to_owned());
        }
        Ok(())
    }
}
