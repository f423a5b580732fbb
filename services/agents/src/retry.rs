//! Turns that were given up, put right by an operator: asked again, or set aside.
//!
//! What ended their workers may be gone: too little memory, a broken library, a machine. A turn that is asked again is a
//! new one with the same words, in the same conversation and in the name of the customer who said them; what the one that
//! was given up did stands before it, where the model reads it and need not do it again. Invariants: a turn is asked again
//! once, however often that is said; either way it is no dead letter any more but a turn that failed, and its rows stay.

use frontdesk_api::{
    Cx, Error, Result,
    turn::{Turn, TurnState},
};
use frontdesk_store::{sessions, transcript, turns};

use crate::{Agents, NewTurn, access, sent};

impl Agents {
    /// Asks a turn that was given up again; the new turn.
    ///
    /// # Errors
    /// `Forbidden` on behalf of a customer, `NotFound`, `Conflict` with the code `turn_not_given_up`, or
    /// `turn_not_repeatable` where only its client can ask again; as [`Agents::create_turn`].
    pub async fn retry(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        access::no_customers(cx, "turns that were given up")?;
        let tenant = self.0.deps.store.tenant(cx);
        let mut tx = tenant.read().await?;
        let stored = turns::load(&mut tx, turn_id).await?;
        let cx = Cx { customer: stored.request.customer.clone(), ..cx.clone() };
        let (key, said) = (format!("retry:{turn_id}"), sent("retry", turn_id.as_bytes()));
        let session = match (&stored.turn.session_id, &stored.request.response, &stored.request.asked_by) {
            (Some(session), None, None) => session,
            _ => {
                let message = format!(
                    "the turn '{turn_id}' belongs to who asked for it (a response, or another agent's turn): it can be dismissed, and \
                     only its client can ask again"
                );
                return Err(Error::conflict(message).with_code("turn_not_repeatable"));
            }
        };
        let before = sessions::agent(&mut tx, session).await?;
        let agent_id = before.ok_or_else(|| Error::not_found("the conversation of the turn was deleted"))?;
        let mut items = transcript::items(&mut tx, turn_id).await?;
        drop(tx);
        if let Some(again) = self.begun_before(&cx, &key, &said).await? {
            return Ok(again.turn);
        }
        given_up(&stored.turn)?;
        items.truncate(stored.request.inputs);
        let new = NewTurn {
            agent_id,
            session_id: Some(session.clone()),
            items: items.into_iter().map(|item| item.body).collect(),
            idempotency_key: Some(key),
            sent: Some(said),
            toolgroups: stored.request.toolgroups,
            knowledge: stored.request.knowledge,
            tool_choice: stored.request.tool_choice,
            ..NewTurn::default()
        };
        let again = self.create_turn(&cx, new).await?;
        tenant.set_aside(turn_id).await?;
        Ok(again)
    }

    /// Sets a turn that was given up aside.
    ///
    /// # Errors
    /// `Forbidden` on behalf of a customer, `NotFound`, `Conflict` with the code `turn_not_given_up`.
    pub async fn dismiss(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        access::no_customers(cx, "turns that were given up")?;
        let tenant = self.0.deps.store.tenant(cx);
        given_up(&tenant.load_turn(turn_id).await?.turn)?;
        tenant.set_aside(turn_id).await?;
        Ok(tenant.load_turn(turn_id).await?.turn)
    }
}

fn given_up(turn: &Turn) -> Result<()> {
    if turn.state == TurnState::DeadLetter {
        return Ok(());
    }
    let state = turn.state.as_str().replace('_', " ");
    let message = format!("the turn '{}' was not given up: it is {state}", turn.id);
    Err(Error::conflict(message).with_code("turn_not_given_up"))
}
