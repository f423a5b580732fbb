//! Containers of the code interpreter and their files, in OpenAI's shapes.
//!
//! A conversation whose code runs has one; a client may make others beforehand. Whose they are is asked in the agents'
//! room, before anything is read here. Source of the shapes: OpenAI's API reference, "Containers" and "Container files".

pub mod content;
pub mod create;
pub mod create_file;
pub mod delete;
pub mod delete_file;
pub mod file;
pub mod files;
pub mod list;
pub mod show;

use frontdesk_agents::{ContainerFile, StoredContainer};
use frontdesk_api::{clock::unix_seconds, code};
use serde::Serialize;

/// What code runs in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContainerInfo {
    pub id: String,
    #[schema(example = "container")]
    pub object: &'static str,
    /// As its maker called it; of a conversation's own the id of the session, or of the response that began it.
    pub name: String,
    /// Always `running`: one whose time is over is not found.
    pub status: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub last_active_at: i64,
    pub expires_after: ContainerExpiresAfter,
    pub network_policy: NetworkPolicy,
}

/// When a container goes with its files.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContainerExpiresAfter {
    #[schema(example = "last_active_at")]
    pub anchor: &'static str,
    pub minutes: i64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct NetworkPolicy {
    /// Always `disabled`: code has no network.
    #[serde(rename = "type")]
    pub kind: &'static str,
}

impl From<StoredContainer> for ContainerInfo {
    fn from(container: StoredContainer) -> Self {
        Self {
            id: container.id,
            object: "container",
            name: container.name,
            status: "running",
            created_at: unix_seconds(container.created_at),
            last_active_at: unix_seconds(container.last_active_at),
            expires_after: ContainerExpiresAfter { anchor: "last_active_at", minutes: container.expire_minutes },
            network_policy: NetworkPolicy { kind: "disabled" },
        }
    }
}

/// A file of a container, without its bytes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ContainerFileInfo {
    pub id: String,
    #[schema(example = "container.file")]
    pub object: &'static str,
    pub container_id: String,
    /// Unix seconds.
    pub created_at: i64,
    pub bytes: i64,
    /// In the working folder of the code.
    #[schema(example = "/mnt/data/report.csv")]
    pub path: String,
    /// `assistant`: code wrote it; `user`: a client put it there.
    pub source: String,
}

impl From<ContainerFile> for ContainerFileInfo {
    fn from(file: ContainerFile) -> Self {
        Self {
            id: file.id,
            object: "container.file",
            container_id: file.container_id,
            created_at: unix_seconds(file.created_at),
            bytes: file.bytes,
            path: format!("{}{}", code::FOLDER, file.name),
            source: file.source,
        }
    }
}
