//! Tool groups in Llama Stack's shape, with what safety needs beside it.
//!
//! Invariant: who may only use tools is not shown how they were registered: args name hosts inside, secrets, addresses; nor
//! what servers say that let nobody in.

pub mod authorize;
pub mod changes;
pub mod delete;
pub mod list;
pub mod register;
pub mod restore;
pub mod show;
pub mod update;

use frontdesk_api::{Cx, Scope};
use frontdesk_tools::Group;
use frontdesk_wire::llama_stack::tool::{GroupAuthorization, ToolGroup};

/// A group as the wire shows it to this caller; args and problems only to one who may write.
fn shown(cx: &Cx, group: &Group) -> ToolGroup {
    let (disabled, writes) = (group.disabled.then_some(true), cx.require(Scope::Write).is_ok());
    let authorization = group.authorization.as_ref().map(|authorization| GroupAuthorization {
        status: if authorization.problem.is_some() { "needed" } else { "given" }.into(),
        problem: authorization.problem.clone().filter(|_| writes),
    });
    let mut shown = ToolGroup { disabled, authorization, ..ToolGroup::new(&group.id, &group.provider_id, &group.args) };
    if !writes {
        shown.args.retain(|name, _| name == "mcp_endpoint");
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use frontdesk_tools::{Authorization, Trust};
    use serde_json::json;

    use super::*;

    #[test]
    fn args_and_problems_are_shown_to_those_who_may_write() {
        let group = Group {
            id: "crm".into(),
            provider_id: "openapi".into(),
            args: json!({ "hosts": ["crm.internal"], "secrets": { "key": "crm" } }),
            trust: Trust::Own,
            grants: vec![],
            hash: String::new(),
            created_at: 0,
            disabled: false,
            authorization: Some(Authorization { problem: Some("the server said".into()) }),
        };
        let mut cx = Cx::internal("t", "r");
        assert_eq!(shown(&cx, &group).args.len(), 2);
        let problem = |cx: &Cx| shown(cx, &group).authorization.expect("how it stands");
        assert_eq!(problem(&cx).problem.as_deref(), Some("the server said"));
        cx.principal.scopes = BTreeSet::from([Scope::Use]);
        assert!(shown(&cx, &group).args.is_empty());
        assert_eq!((problem(&cx).status.as_str(), problem(&cx).problem), ("needed", None));
    }
}
