//! What comes in for a turn that waits: results of client tools, people's words to approvals, and answers to questions.
//!
//! Invariants: what came in is in the turn's inbox before anyone is answered; the turn goes on when nothing is open any
//! more, and by whoever brought the last of it, or by the next who looks.

use frontdesk_api::{
    Cx, Error, Result,
    approval::Decision,
    question::{Action, Answer},
    tools::{MOST_GIVEN, ToolResult},
    turn::{EventBody, Turn},
};
use frontdesk_store::{Tx, agents, claims, claims::Claimed, transcript, turns};
use serde_json::{Value, json};

use crate::{
    Agents, Approval, access,
    begin::{SOON, time_of},
    keeper::{Entered, asker},
    read::Open,
};

/// A turn that goes on, or waits for more.
#[derive(Debug, Clone, PartialEq)]
pub struct Resumed {
    pub turn: Turn,
    /// Follow its events after this one to see what is new.
    pub after: i64,
}

/// What comes in.
enum Input {
    Results(Vec<(String, ToolResult)>),
    /// For the approval of this id.
    Word(String, Decision),
    /// For the question of this id.
    Answer(String, Answer),
}

impl Agents {
    /// Gives a waiting turn the results of its client tools, by call id; it then runs on, or goes on waiting where
    /// people have to say a word too.
    ///
    /// # Errors
    /// `NotFound`, `Conflict` when the turn does not wait, `Invalid` when a result is missing or belongs to
    /// no waiting call.
    pub async fn resume(&self, cx: &Cx, turn_id: &str, results: Vec<(String, ToolResult)>) -> Result<Resumed> {
        let (room, cx, turn_id) = (self.clone(), cx.clone(), turn_id.to_owned());
        self.detached(async move {
            access::load_turn(&mut room.0.deps.store.tenant(&cx).read().await?, &cx, &turn_id).await?;
            let Some(resumed) = Box::pin(room.take_in(&cx, &turn_id, Input::Results(results))).await? else {
                let mut tx = room.0.deps.store.tenant(&cx).read().await?;
                let state = turns::load(&mut tx, &turn_id).await?.turn.state;
                let message = format!("the turn does not wait for input; it is {}", state.as_str().replace('_', " "));
                return Err(Error::conflict(message).with_code("turn_not_waiting"));
            };
            Ok(resumed)
        })
        .await
    }

    /// Puts a person's word into the turn's inbox, unless it has one or does not wait any more.
    pub(crate) async fn put_decision(&self, cx: &Cx, approval: &Approval, decision: Decision) -> Result<()> {
        let (room, cx, turn_id) = (self.clone(), cx.clone(), approval.turn_id.clone());
        let word = Input::Word(approval.id.clone(), decision);
        self.detached(async move { Box::pin(room.take_in(&cx, &turn_id, word)).await.map(|_| ()) }).await
    }

    /// Puts an answer into the turn's inbox, unless the question has one or the turn does not wait any more.
    pub(crate) async fn put_answer(&self, cx: &Cx, turn_id: &str, question: &str, answer: Answer) -> Result<()> {
        let (room, cx, turn_id, question) = (self.clone(), cx.clone(), turn_id.to_owned(), question.to_owned());
        self.detached(async move {
            if room.0.put_open_answer(&cx, &turn_id, &question, &answer).await? {
                return Ok(());
            }
            Box::pin(room.take_in(&cx, &turn_id, Input::Answer(question, answer))).await.map(|_| ())
        })
        .await
    }

    /// None when the turn does not wait for it any more.
    async fn take_in(&self, cx: &Cx, turn_id: &str, input: Input) -> Result<Option<Resumed>> {
        let room = &self.0;
        if room.stopping.is_cancelled() {
            return Err(Error::unavailable("the server is stopping").with_retry_after(SOON));
        }
        let tenant = room.deps.store.tenant(cx);
        let mut tx = tenant.read().await?;
        let stored = turns::load(&mut tx, turn_id).await?;
        let spec = agents::works_by(&mut tx, &stored).await?;
        drop(tx);
        let place = room.place();
        let mut tx = tenant.write().await?;
        let Some(waiting) = claims::take_waiting(&mut tx, turn_id).await? else { return Ok(None) };
        let steps = transcript::steps(&mut tx, turn_id).await?;
        let open = Open::of(&steps, &transcript::inbox(&mut tx, turn_id).await?);
        let by_another = !matches!(input, Input::Results(..));
        let shown = match input {
            Input::Results(results) => self.put_results(&mut tx, turn_id, &open, results).await?,
            Input::Word(id, decision) => {
                if waiting.left < 0 || !open.approvals.iter().any(|asked| asked.approval_id == id) {
                    return Ok(None);
                }
                let at = decision.at;
                transcript::add_inbox(&mut tx, turn_id, &id, &decision, at).await?;
                vec![json!({ "approval_id": id, "approved": decision.approved })]
            }
            Input::Answer(id, answer) => {
                if waiting.left < 0 || !open.questions.iter().any(|asked| asked.question_id == id) {
                    return Ok(None);
                }
                transcript::add_inbox(&mut tx, turn_id, &id, &answer, answer.at).await?;
                vec![said(&id, answer.action)]
            }
        };
        let rest = Open::of(&steps, &transcript::inbox(&mut tx, turn_id).await?);
        if !rest.is_empty() {
            let Claimed { stored, .. } = waiting;
            let Open { calls, approvals, questions } = rest;
            let waits = EventBody::AwaitingInput { turn: stored.turn.clone(), calls, approvals, questions };
            let events = [EventBody::Resumed { results: shown }, waits];
            let after = write(&mut tx, turn_id, stored.epoch, &events).await?;
            tx.commit().await?;
            room.hub.wake(&cx.tenant, turn_id);
            return Ok(Some(Resumed { turn: stored.turn, after }));
        }
        let lease = place.is_some().then(|| room.lease());
        let claimed = claims::take_up(&mut tx, turn_id, lease, time_of(&spec)).await?;
        let Some(mut claimed) = claimed else { return Ok(None) };
        let after = resumed(&mut tx, turn_id, claimed.stored.epoch, shown).await?;
        // Entered once it is ours and before anyone can see it run: nobody takes it for lost in between, and a
        // request that was refused has touched nobody's entry.
        let entered = place.map(|place| Entered::new(room, cx, turn_id, Some(place)));
        tx.commit().await?;
        claimed.stored.next_seq = after + 1;
        let turn = claimed.stored.turn.clone();
        room.hub.wake(&cx.tenant, turn_id);
        // Who says a word is not who asked: the turn goes on in the name of the one who did.
        // Whoever lets it go on, it stays the customer's who began it.
        let customer = claimed.stored.request.customer.clone();
        let asker = if by_another { asker(&claimed) } else { Cx { customer, ..cx.clone() } };
        room.hand_on(&asker, spec, claimed, entered, None).await;
        Ok(Some(Resumed { turn, after }))
    }

    async fn put_results(
        &self,
        tx: &mut Tx,
        turn_id: &str,
        open: &Open,
        results: Vec<(String, ToolResult)>,
    ) -> Result<Vec<Value>> {
        check_results(open, &results)?;
        let now = self.0.deps.clock.now();
        for (call_id, result) in &results {
            transcript::add_inbox(tx, turn_id, call_id, result, now).await?;
        }
        Ok(results.iter().map(|(id, result)| json!({ "call_id": id, "is_error": result.is_error })).collect())
    }
}

/// What a stream is told of an answer: not its content.
pub(crate) fn said(question: &str, action: Action) -> Value {
    json!({ "question_id": question, "action": action })
}

/// Writes that the turn goes on; the event's number.
pub(crate) async fn resumed(tx: &mut Tx, turn_id: &str, epoch: i64, results: Vec<Value>) -> Result<i64> {
    write(tx, turn_id, epoch, &[EventBody::Resumed { results }]).await
}

/// Writes events behind the fence; the number of the first.
async fn write(tx: &mut Tx, turn_id: &str, epoch: i64, events: &[EventBody]) -> Result<i64> {
    let first = turns::fence(tx, turn_id, epoch, events.len(), false).await?;
    let first = first.ok_or_else(|| Error::conflict("the turn was taken over meanwhile"))?;
    transcript::add_events(tx, turn_id, first, events).await?;
    Ok(first)
}

fn check_results(open: &Open, results: &[(String, ToolResult)]) -> Result<()> {
    let mut missing: Vec<&str> = open.calls.iter().map(|call| call.id.as_str()).collect();
    for (given, result) in results {
        if result.content.len() > MOST_GIVEN {
            let message = format!(
                "the result of the call '{given}' has {} bytes; at most {MOST_GIVEN} are taken: send less of it",
                result.content.len()
            );
            return Err(Error::invalid("tool_responses", message).with_code("tool_result_too_large"));
        }
        let Some(at) = missing.iter().position(|id| id == given) else {
            let asked = open.approvals.iter().find(|asked| asked.call.id == *given);
            let asked = asked.map(|asked| format!("approvals/{}", asked.approval_id));
            let question = || open.questions.iter().find(|asked| asked.call_id == *given);
            let asked = asked.or_else(|| question().map(|asked| format!("questions/{}", asked.question_id)));
            let message = match asked {
                Some(at) => format!("the call '{given}' waits for a person and not for a result: see /v1/{at}"),
                None => format!("the turn does not wait for a call '{given}'"),
            };
            return Err(Error::invalid("tool_responses", message));
        };
        missing.remove(at);
    }
    if missing.is_empty() && !results.is_empty() {
        return Ok(());
    }
    let message = match (missing.is_empty(), results.is_empty()) {
        (false, _) => format!("the results of these calls are missing: {}", missing.join(", ")),
        _ => "the turn waits for a person and for no result of a call: see /v1/approvals and /v1/questions".to_owned(),
    };
    Err(Error::invalid("tool_responses", message))
}
