//! The configured shields in Llama Stack's shape. They come from the operator's configuration and are
//! read-only here.

pub mod list;
pub mod show;

use frontdesk_safety::ShieldInfo;
use frontdesk_wire::llama_stack::safety::Shield;
use serde_json::json;

/// A shield as the wire shows it.
fn shown(shield: &ShieldInfo) -> Shield {
    let params = json!({ "type": shield.kind, "stages": shield.stages, "on_error": shield.on_error });
    Shield::new(&shield.id, &shield.id, params.as_object().cloned())
}
