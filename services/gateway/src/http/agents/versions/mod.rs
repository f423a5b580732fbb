//! Versions of an agent: drafts, and which one is published.

pub mod create;
pub mod list;
pub mod publish;
pub mod show;

use frontdesk_api::{
    Error, Result,
    agent::{AgentSpec, AgentVersion},
    clock::rfc3339,
};
use serde::Serialize;

/// One version of an agent. What stands in it never changes.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = AgentVersion)]
pub struct VersionView {
    pub agent_id: String,
    /// Counts from 1.
    pub version: i64,
    /// New conversations begin with this one.
    pub published: bool,
    /// Why it was written.
    pub note: Option<String>,
    /// RFC 3339.
    pub created_at: String,
    /// Id of the key that wrote it; null: written before this was kept.
    pub created_by: Option<String>,
    /// When it last became the published one, RFC 3339; null: never.
    pub published_at: Option<String>,
    /// Id of the key that published it then.
    pub published_by: Option<String>,
    pub spec: AgentSpec,
}

impl From<AgentVersion> for VersionView {
    fn from(version: AgentVersion) -> Self {
        Self {
            agent_id: version.agent_id,
            version: version.version,
            published: version.published,
            note: version.note,
            created_at: rfc3339(version.created_at),
            created_by: version.created_by,
            published_at: version.published_at.map(rfc3339),
            published_by: version.published_by,
            spec: version.spec,
        }
    }
}

/// The number in a path.
pub(super) fn number(agent: &str, word: &str) -> Result<i64> {
    let message = || format!("the agent '{agent}' has no version '{word}'; versions are numbers from 1");
    word.parse().map_err(|_| Error::not_found(message()).with_code("version_not_found"))
}
