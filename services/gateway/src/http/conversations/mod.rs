//! OpenAI's Conversations: sessions that belong to no one agent.
//!
//! What is said in one stands in the turns of its responses and of the items that clients add; the items shown here are
//! those, in order, but for what a shield has hidden from models.

pub mod create;
pub mod delete;
pub mod items;
pub mod show;
pub mod update;

use frontdesk_api::{Error, Result};
use frontdesk_store::conversations::Conversation;
use frontdesk_wire::openai::{peek::Metadata, responses::conversation};
use serde_json::Value;

fn shown(conversation: &Conversation) -> Result<Value> {
    let metadata: Value = serde_json::from_str(&conversation.metadata)
        .map_err(|e| Error::internal("could not read a conversation from its row", e))?;
    Ok(conversation::shown(&conversation.id, conversation.created_at, &metadata))
}

/// Metadata as rows hold it.
fn json(metadata: &Metadata) -> Result<String> {
    serde_json::to_string(metadata).map_err(|e| Error::internal("could not write metadata", e))
}

/// The request's members, for the documentation.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct ConversationRequest {
    /// At most 20.
    items: Option<Vec<Value>>,
    /// At most 16 texts.
    metadata: Option<std::collections::BTreeMap<String, String>>,
}
