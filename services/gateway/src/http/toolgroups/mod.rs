//! Tool groups in Llama Stack's shape, with what safety needs beside it.

pub mod changes;
pub mod delete;
pub mod list;
pub mod register;
pub mod show;
pub mod update;

use frontdesk_tools::Group;
use frontdesk_wire::llama_stack::tool::ToolGroup;

/// A group as the wire shows it.
fn shown(group: &Group) -> ToolGroup {
    let disabled = group.disabled.then_some(true);
    ToolGroup { disabled, ..ToolGroup::new(&group.id, &group.provider_id, &group.args) }
}
