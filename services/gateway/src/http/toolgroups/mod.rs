//! Tool groups in Llama Stack's shape, with what safety needs beside it.

pub mod delete;
pub mod list;
pub mod register;
pub mod show;

use frontdesk_tools::Group;
use frontdesk_wire::llama_stack::tool::ToolGroup;

/// A group as the wire shows it.
fn shown(group: &Group) -> ToolGroup {
    ToolGroup::new(&group.id, &group.provider_id, &group.args)
}
