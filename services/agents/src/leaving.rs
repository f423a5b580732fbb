//! An agent that is deleted: what goes with it, and what stays.
//!
//! Its conversations go, with their turns, whoever answered in them; a turn of them that runs stops without a word.
//! Invariant: what belongs to others stays: responses, and the turns in conversations of other agents that were handed to
//! it, with the hand-overs to people that they made. What of this has not ended ends, and says why; the next message in
//! line then begins, and is answered by the agent that the conversation began with, unless a person has it.

use frontdesk_api::{
    Cx, Result,
    turn::{StepState, TurnError, TurnState},
};
use frontdesk_store::{Tx, agents, claims, transcript, turns, turns::StoredTurn};
use serde_json::json;

use crate::{
    Agents, Room,
    close::{Closed, close_rows},
    halt::failed,
};

/// The key, in a turn's inbox, that says that its agent is gone.
pub(crate) const GONE: &str = "agent deleted";

/// Why such a turn ended.
pub(crate) fn gone() -> TurnError {
    failed("agent_deleted", "the agent that worked on the turn was deleted")
}

impl Agents {
    /// Deletes an agent with its sessions. Its responses stay, and so does what it did in sessions of other agents; what
    /// of this runs or waits is cancelled, with the code `agent_deleted`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_agent(&self, cx: &Cx, id: &str) -> Result<()> {
        let room = &self.0;
        let (mut running, mut ended) = (vec![], vec![]);
        let mut tx = room.deps.store.tenant(cx).write().await?;
        for open in agents::part(&mut tx, id, room.deps.clock.now()).await? {
            let turn = open.turn.id.clone();
            match Box::pin(room.end_without_agent(&mut tx, open)).await? {
                Some(closed) => ended.push(closed),
                None => running.push(turn),
            }
        }
        let workspaces = agents::workspaces(&mut tx, id).await?;
        agents::delete(&mut tx, id).await?;
        tx.commit().await?;
        room.deps.tools.forget_conversations(cx, &workspaces);
        for closed in ended {
            room.note_ended(cx, closed).await;
        }
        for turn in &running {
            room.stop_work(cx, turn).await;
        }
        Ok(())
    }
}

impl Room {
    /// Ends an open turn whose agent goes. None: its worker ends it, and finds in its rows why.
    async fn end_without_agent(&self, tx: &mut Tx, open: StoredTurn) -> Result<Option<Closed>> {
        let id = &open.turn.id;
        transcript::add_inbox(tx, id, GONE, &json!({}), self.deps.clock.now()).await?;
        turns::request_cancel(tx, id).await?;
        let free = match open.turn.state {
            TurnState::AwaitingInput => return self.give_up(tx, open.turn, gone()).await.map(Some),
            TurnState::Queued => claims::take_queued(tx, id).await?,
            _ => claims::take_unheld(tx, id).await?,
        };
        let Some(free) = free else { return Ok(None) };
        close_rows(tx, self, free, StepState::Unknown, TurnState::Cancelled, gone()).await.map(Some)
    }
}
