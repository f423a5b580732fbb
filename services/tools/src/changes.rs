//! Who changed a group, and a group switched off.
//!
//! Invariant: a change and the note of it are one transaction.

use frontdesk_api::{Cx, Page, PageRequest, Result, tools::ToolDef};
use frontdesk_store::tools::{StoredToolgroup, StoredToolgroupChange};
use serde_json::{Value, json};

use crate::{Group, Registry};

impl Registry {
    /// The changes of one group (of all: the empty id), newest first unless asked otherwise. Groups that are gone have
    /// theirs still.
    ///
    /// # Errors
    /// As any query.
    pub async fn changes(&self, cx: &Cx, group: &str, page: &PageRequest) -> Result<Page<StoredToolgroupChange>> {
        self.setting.store.tenant(cx).list_toolgroup_changes(group, page).await
    }

    /// Switches a group off, or on again: while it is off no model is offered its tools and none runs. This process
    /// knows at once, others with the next turn.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn set_disabled(&self, cx: &Cx, id: &str, disabled: bool) -> Result<Group> {
        let at = disabled.then(|| self.setting.clock.now());
        let change = self.change(cx, id, if disabled { "disabled" } else { "enabled" }, Value::Null);
        let revision = self.setting.ids.next("rev");
        self.setting.store.tenant(cx).set_toolgroup_disabled(id, at, &revision, &change).await?;
        self.forget(cx, id);
        self.load_group(cx, id).await
    }

    pub(crate) fn change(&self, cx: &Cx, group: &str, action: &str, detail: Value) -> StoredToolgroupChange {
        StoredToolgroupChange {
            id: self.setting.ids.next("tgc"),
            toolgroup_id: group.to_owned(),
            action: action.to_owned(),
            key_id: cx.principal.key_id.clone(),
            detail,
            created_at: self.setting.clock.now(),
        }
    }
}

/// The action of a change that holds a version.
pub(crate) const REGISTERED: &str = "registered";

/// What a group was registered as. Its args hold names of secrets and none itself: of those that did, `secret_args` are the
/// names. `restored`: the change whose version it brings back.
pub(crate) fn detail(row: &StoredToolgroup, tools: &[ToolDef], secret_args: &[&str], restored: Option<&str>) -> Value {
    let tools = tools.iter().map(|tool| {
        json!({ "name": tool.name, "effect": tool.effect, "risk": tool.risk, "bind": tool.bound_args, "hash": tool.hash })
    });
    let mut detail = json!({ "provider_id": row.provider_id, "trust": row.trust, "args": row.args, "grants": row.grants,
                             "hash": row.hash, "tools": tools.collect::<Vec<_>>(), "secret_args": secret_args });
    if let Some(restored) = restored {
        detail["restored"] = json!(restored);
    }
    detail
}
