//! Uploaded files in OpenAI's shape.

pub mod content;
pub mod create;
pub mod delete;
pub mod expiry;
pub mod list;
pub mod show;

use frontdesk_api::clock::unix_seconds;
use frontdesk_memory::StoredFile;
use serde::Serialize;

/// A file without its bytes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct FileInfo {
    pub id: String,
    #[schema(example = "file")]
    pub object: &'static str,
    pub bytes: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; absent: it is kept until it is deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    pub filename: String,
    pub purpose: String,
    /// Always `processed`: a file is kept whole or not at all.
    pub status: &'static str,
}

impl From<StoredFile> for FileInfo {
    fn from(file: StoredFile) -> Self {
        Self {
            id: file.id,
            object: "file",
            bytes: file.bytes,
            created_at: unix_seconds(file.created_at),
            expires_at: file.expires_at.map(unix_seconds),
            filename: file.filename,
            purpose: file.purpose,
            status: "processed",
        }
    }
}

/// What is gone, in OpenAI's shape.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Deleted {
    pub id: String,
    pub object: &'static str,
    pub deleted: bool,
}
