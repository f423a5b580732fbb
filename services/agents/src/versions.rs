//! Versions of an agent: written as drafts, published, rolled back.

use frontdesk_api::{
    Cx, Error, Page, PageRequest, Result,
    agent::{AgentSpec, AgentVersion},
};
use frontdesk_store::versions::Change;

use crate::Agents;

/// The longest note of a version, in bytes.
const MOST_NOTE: usize = 2_000;

/// How a version is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writing {
    /// Why, for people; at most 2,000 bytes.
    pub note: Option<String>,
    /// Written only while this is the newest version.
    pub expected_newest: Option<i64>,
    /// Published at once.
    pub publish: bool,
}

/// A version's note, if it says anything.
///
/// # Errors
/// `Invalid` where it is too long.
pub(crate) fn check_note(note: Option<&str>) -> Result<Option<&str>> {
    if note.is_some_and(|note| note.len() > MOST_NOTE || note.contains('\0')) {
        return Err(Error::invalid("note", format!("note must have at most {MOST_NOTE} bytes and no zero byte")));
    }
    Ok(note.filter(|note| !note.is_empty()))
}

impl Agents {
    /// Writes the agent's next version, as a draft unless it is to be published. Conversations stay on theirs.
    ///
    /// # Errors
    /// As [`Agents::create_agent`], and `NotFound`; `Conflict` with the code `version_changed` when another version is
    /// the newest.
    pub async fn write_version(
        &self,
        cx: &Cx,
        agent: &str,
        spec: &AgentSpec,
        writing: &Writing,
    ) -> Result<AgentVersion> {
        let note = check_note(writing.note.as_deref())?;
        self.check(cx, spec).await?;
        self.check_price(cx, spec).await?;
        let deps = &self.0.deps;
        let change = Change {
            spec,
            note,
            by: Some(&cx.principal.key_id),
            at: deps.clock.now(),
            after: writing.expected_newest,
            publish: writing.publish,
        };
        deps.store.tenant(cx).add_agent_version(agent, &change).await
    }

    /// Makes a version, newer or older, the one that new conversations begin with.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where what it names (tools, knowledge, shields) is gone; `Conflict` with the code
    /// `version_changed` when another one than `expected` is published, and when its name is taken.
    pub async fn publish_version(
        &self,
        cx: &Cx,
        agent: &str,
        version: i64,
        expected: Option<i64>,
    ) -> Result<AgentVersion> {
        let wanted = self.load_version(cx, agent, version).await?;
        self.check(cx, &wanted.spec).await?;
        let deps = &self.0.deps;
        let by = Some(cx.principal.key_id.as_str());
        deps.store.tenant(cx).publish_agent_version(agent, version, expected, by, deps.clock.now()).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_version(&self, cx: &Cx, agent: &str, version: i64) -> Result<AgentVersion> {
        self.0.deps.store.tenant(cx).load_version(agent, version).await
    }

    /// The newest version, a draft or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_newest_version(&self, cx: &Cx, agent: &str) -> Result<AgentVersion> {
        self.0.deps.store.tenant(cx).load_newest_version(agent).await
    }

    /// Versions by number.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn list_versions(&self, cx: &Cx, agent: &str, page: &PageRequest) -> Result<Page<AgentVersion>> {
        self.0.deps.store.tenant(cx).list_agent_versions(agent, page).await
    }
}
