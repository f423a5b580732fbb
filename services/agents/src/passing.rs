//! Turns that nobody can find again: they are stopped and deleted once whoever asked has read them, or has left.

use frontdesk_api::{
    Cx, Error, Kind, Result,
    turn::{ItemBody, Turn},
};
use frontdesk_store::transcript;

use crate::{Agents, NewTurn, access};

/// A turn that goes when this is dropped. One that a conversation holds stays in it.
pub struct Passing(Option<Held>);

struct Held {
    agents: Agents,
    cx: Cx,
    turn: String,
}

impl Passing {
    /// Lets the turn stay until its time has passed.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(Held { agents, cx, turn }) = self.0.take() {
            agents.forget(&cx, &turn);
        }
    }
}

impl Agents {
    /// As [`Agents::create_turn`], of a turn that goes with its reader unless it is to be `kept`: also where the reader
    /// leaves before this resolves.
    ///
    /// # Errors
    /// As [`Agents::create_turn`].
    pub async fn begin_passing(&self, cx: &Cx, new: NewTurn, kept: bool) -> Result<(Turn, Option<Passing>)> {
        let (agents, cx) = (self.clone(), cx.clone());
        self.detached(async move {
            let turn = Box::pin(agents.begin(&cx, new)).await?;
            let held = Held { agents, cx, turn: turn.id.clone() };
            Ok((turn, (!kept).then(|| Passing(Some(held)))))
        })
        .await
    }

    /// What the agent said and did in a turn that was not to be stored, for the request that goes on from it.
    ///
    /// # Errors
    /// `NotFound`, also for a turn of another agent or customer and one that still runs.
    pub(crate) async fn brought_by(&self, cx: &Cx, agent_id: &str, turn: &str) -> Result<Vec<ItemBody>> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let stored = frontdesk_store::turns::load(&mut tx, turn).await?;
        let ours = stored.turn.agent_id == agent_id
            && stored.turn.session_id.is_none()
            && !stored.stored
            && stored.turn.state.is_terminal()
            && access::continues(&mut tx, cx, &stored).await?;
        if !ours {
            return Err(Error::new(Kind::NotFound, "no such turn to go on from"));
        }
        let begun_with = i64::try_from(stored.request.inputs).unwrap_or(i64::MAX);
        let items = transcript::items(&mut tx, turn).await?.into_iter().filter(|item| item.pos >= begun_with);
        let told = |body: &ItemBody| {
            matches!(
                body,
                ItemBody::Message { .. }
                    | ItemBody::Refusal { .. }
                    | ItemBody::FunctionCall { .. }
                    | ItemBody::FunctionCallOutput { .. }
            )
        };
        Ok(items.map(|item| item.body).filter(told).collect())
    }
}
