//! Approvals as people look for them: those that are open, and one by its id (`asked.rs`).
//!
//! What a person said to one stands in the step too, once the turn went on.

use frontdesk_api::{
    Error, Micros, Page, PageRequest, Result,
    approval::{Cause, Decision},
    chat::ToolCall,
    customer::Sight,
    turn::TurnError,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    Tenant,
    asked::{As, Stored, Which},
    json,
};

/// A call that waits, or waited, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredApproval {
    pub id: String,
    pub turn_id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub cause: Cause,
    pub call: ToolCall,
    /// Arguments that the server fills, as they were when it was asked; null where the customer's token said nothing.
    pub bound: Map<String, Value>,
    pub asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None once its turn does not wait any more.
    pub until: Option<Micros>,
    /// Whether that time is over.
    pub overdue: bool,
    pub decision: Option<Decision>,
    pub turn_error: Option<TurnError>,
}

/// What stands in an approval's input beside its call.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Beside {
    bound: Map<String, Value>,
    cause: Cause,
}

impl StoredApproval {
    fn read(stored: Stored) -> Result<Self> {
        let Beside { bound, cause } = json::read("an approval", &stored.input)?;
        Ok(Self {
            cause,
            call: json::read("the call of an approval", &stored.input)?,
            bound,
            decision: stored.word.as_deref().map(|word| json::read("a decision", word)).transpose()?,
            turn_error: stored.turn_error,
            overdue: stored.overdue,
            until: stored.until,
            id: stored.id,
            turn_id: stored.turn_id,
            session_id: stored.session_id,
            agent_id: stored.agent_id,
            asked_at: stored.asked_at,
        })
    }
}

/// The error for an approval that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no approval has the id '{id}'")).with_code("approval_not_found")
}

impl Tenant<'_> {
    /// # Errors
    /// `NotFound`.
    pub async fn load_approval(&self, id: &str) -> Result<StoredApproval> {
        StoredApproval::read(self.find_asked(As::Approval, id).await?.ok_or_else(|| missing(id))?)
    }

    /// The approvals that nobody answered and that may be answered still.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_approvals(&self, page: &PageRequest) -> Result<Page<StoredApproval>> {
        let open = self.open_asked(As::Approval, Which::default(), &Sight::All, page).await?;
        let items = open.items.into_iter().map(StoredApproval::read).collect::<Result<_>>()?;
        Ok(Page { items, more: open.more })
    }
}
