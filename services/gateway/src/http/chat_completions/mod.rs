//! OpenAI's chat completions, and those of them that were stored.

pub mod create;
pub mod delete;
pub mod list;
pub mod messages;
mod named_files;
pub mod show;
pub mod update;

use frontdesk_api::{Error, Result};
use frontdesk_store::completions::StoredCompletion;
use frontdesk_wire::openai::peek::Metadata;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// A chat completion that was stored: the answer as the client had it, and its metadata.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct StoredChatCompletion {
    pub id: String,
    #[schema(value_type = Object)]
    pub metadata: Metadata,
    /// Every other member of the answer.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub answer: Map<String, Value>,
}

impl StoredChatCompletion {
    /// # Errors
    /// `Internal`: a row holds something this program does not understand.
    fn read(row: StoredCompletion) -> Result<Self> {
        let mut answer: Map<String, Value> = parsed(&row.answer)?;
        answer.retain(|name, _| name != "id" && name != "metadata");
        Ok(Self { metadata: parsed(&row.metadata)?, answer, id: row.id })
    }
}

fn parsed<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::internal("could not read a chat completion from its row", e))
}

/// Metadata as rows hold it.
fn json(metadata: &Metadata) -> Result<String> {
    serde_json::to_string(metadata).map_err(|e| Error::internal("could not write metadata", e))
}
