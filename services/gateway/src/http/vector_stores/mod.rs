//! Knowledge in OpenAI's shape: vector stores, the files in them, search.
//!
//! A file is read when it is put in: the answer says whether it could be (`status`, `last_error`).

pub mod add_file;
pub mod create;
pub mod delete;
pub mod file;
pub mod files;
pub mod list;
pub mod remove_file;
pub mod search;
pub mod show;
pub mod update;
pub mod update_file;

use frontdesk_api::{attributes::Attributes, clock::unix_seconds};
use frontdesk_memory::{KnowledgeStore, StoreFile};
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VectorStoreInfo {
    pub id: String,
    #[schema(example = "vector_store")]
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    pub name: String,
    /// Always 0: storage is not billed here.
    pub usage_bytes: i64,
    pub file_counts: FileCounts,
    /// `in_progress` while a file is being read, else `completed`.
    pub status: &'static str,
    pub last_active_at: Option<i64>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FileCounts {
    pub in_progress: i64,
    pub completed: i64,
    pub failed: i64,
    pub cancelled: i64,
    pub total: i64,
}

impl From<KnowledgeStore> for VectorStoreInfo {
    fn from(KnowledgeStore { store, files }: KnowledgeStore) -> Self {
        Self {
            id: store.id,
            object: "vector_store",
            created_at: unix_seconds(store.created_at),
            name: store.name,
            usage_bytes: 0,
            file_counts: FileCounts {
                in_progress: files.in_progress,
                completed: files.completed,
                failed: files.failed,
                cancelled: 0,
                total: files.total(),
            },
            status: if files.in_progress > 0 { "in_progress" } else { "completed" },
            last_active_at: None,
            metadata: store.metadata,
        }
    }
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct VectorStoreFile {
    /// The file's id.
    pub id: String,
    #[schema(example = "vector_store.file")]
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    pub vector_store_id: String,
    /// `in_progress`, `completed` or `failed`.
    pub status: String,
    pub last_error: Option<LastError>,
    pub usage_bytes: i64,
    /// As they were set.
    #[schema(value_type = Object)]
    pub attributes: Attributes,
    #[schema(value_type = Object)]
    pub chunking_strategy: Value,
    pub filename: String,
    /// How many it was cut into.
    pub passages: i64,
    /// Where the page lives, for citations: what `url` among the attributes says, or what came with the page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Why a file could not be read.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct LastError {
    pub code: String,
    pub message: String,
}

impl From<StoreFile> for VectorStoreFile {
    fn from(file: StoreFile) -> Self {
        let message = file.error.unwrap_or_default();
        Self {
            id: file.file_id,
            object: "vector_store.file",
            created_at: unix_seconds(file.created_at),
            vector_store_id: file.store_id,
            status: file.status,
            last_error: file.error_code.map(|code| LastError { code, message }),
            usage_bytes: file.bytes,
            attributes: file.attributes,
            // By headings and sentences; the client has no say in it.
            chunking_strategy: json!({ "type": "other" }),
            filename: file.filename,
            passages: file.passages,
            url: file.url,
        }
    }
}
