//! How turns end: by their worker, or by someone else when the worker is lost or the turn only waits.

use frontdesk_api::{
    Result,
    approval::{Asked, Decision},
    chat::ToolCall,
    dispatch::Word,
    question::{Answer, OpenQuestion},
    safety::Stage,
    tools::ToolResult,
    turn::{EventBody, HandOff, Item, ItemBody, StepKind, StepOutput, StepState, Turn, TurnError, TurnState},
};
use frontdesk_store::{
    Tx, agents, transcript,
    transcript::{INTERRUPTED, StoredStep},
    turns,
    turns::StoredTurn,
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Note, Room,
    asking::asked_turn,
    behind::why_stopped,
    halt::{Halt, failed},
    handing::Handed,
    questions::{in_open_call, is_open_for, unanswered},
    running::Why,
    servers,
    tools::outcome_unknown,
    worker::{Worker, call_in, call_of},
};

/// Where a turn's work came to its end.
#[derive(Debug)]
pub(crate) enum Closing {
    Completed,
    HandedOff(HandOff),
    /// A person has the conversation: what was said stands, and nothing is answered.
    Quiet(HandOff),
    /// A limit ended it; what was said stands.
    Incomplete(TurnError),
    /// It waits for the results of these calls of client tools, for a person's word on these, and for these answers.
    Waiting {
        calls: Vec<ToolCall>,
        approvals: Vec<Asked>,
        questions: Vec<OpenQuestion>,
    },
}

impl Worker {
    /// Writes the end, with everything that still waited to be written.
    pub(crate) async fn close(mut self, outcome: Result<Closing, Halt>) {
        self.leave_servers();
        let outcome = match outcome {
            // Stopped while it was about to wait: nobody would come to stop it later.
            Ok(Closing::Waiting { .. }) if self.stop.token().is_cancelled() => Err(Halt::Stopped(self.stop.why())),
            outcome => outcome,
        };
        let stopped = match outcome {
            Err(Halt::Stopped(Why::Asked)) => self.why_stopped().await,
            _ => failed("internal", "the turn was not stopped"),
        };
        if stopped.code == INTERRUPTED && !self.received && !self.shields(Stage::Input).is_empty() {
            // What no shield has seen is put before no model, in this turn or in the next.
            self.pen.hide();
        }
        let handed = match &outcome {
            Ok(Closing::HandedOff(hand_off)) => self.hands_on(hand_off),
            _ => None,
        };
        let noted = handed
            .as_ref()
            .map(|Handed { hand_off, .. }| Note::HandOff { to_agent: hand_off.to.is_some(), reason: hand_off.reason });
        // A person reads what was said in it.
        self.pen.lingers |= handed.as_ref().is_some_and(|handed| handed.hand_off.to.is_none());
        self.pen.hand_on(handed);
        let turn = &mut self.pen.turn;
        let mut waiting = None;
        match outcome {
            Ok(Closing::Completed) => turn.state = TurnState::Completed,
            Ok(Closing::HandedOff(hand_off) | Closing::Quiet(hand_off)) => {
                turn.state = TurnState::Completed;
                turn.hand_off = Some(hand_off);
            }
            Ok(Closing::Incomplete(error)) => {
                turn.state = TurnState::Incomplete;
                turn.error = Some(error);
            }
            Ok(Closing::Waiting { calls, approvals, questions }) => {
                turn.state = TurnState::AwaitingInput;
                waiting = Some((calls, approvals, questions));
            }
            Err(Halt::Fenced) => {
                tracing::info!(turn = turn.id, "another worker has the turn, or it is gone; dropped");
                return;
            }
            Err(Halt::Rows(error)) => {
                tracing::error!(turn = turn.id, error = %error, cause = ?error.source, "the turn's rows cannot be written; it will count as lost");
                return;
            }
            Err(Halt::Stopped(Why::Asked)) => {
                turn.state = TurnState::Cancelled;
                turn.error = Some(stopped);
            }
            Err(Halt::Stopped(Why::Lost)) => {
                tracing::info!(turn = turn.id, "another worker has the turn; dropped");
                return;
            }
            Err(Halt::Stopped(Why::Shutdown)) => return self.give_back().await,
            Err(Halt::Deadline) => {
                turn.state = TurnState::Incomplete;
                turn.error =
                    Some(failed("timeout", format!("the turn took longer than {} s", self.spec.limits.timeout_s)));
            }
            Err(Halt::Failed(error)) => {
                tracing::warn!(turn = turn.id, code = error.code, message = error.message, "the turn failed");
                turn.state = TurnState::Failed;
                turn.error = Some(error);
            }
        }
        let error =
            self.pen.turn.error.clone().unwrap_or_else(|| failed("cut_off", "the turn ended before this step did"));
        // What was begun here, and what an earlier worker had begun and this one came to no more.
        let mut open = std::mem::take(&mut self.open);
        open.append(&mut self.left);
        open.sort_by_key(|step| step.step.n);
        for step in open {
            self.end_open(step, &error);
        }
        if waiting.is_none() {
            self.end_questions(&error);
            for step in std::mem::take(&mut self.asked) {
                self.pen.end(step, StepState::Failed, Some(StepOutput::Failed { error: error.clone() }));
            }
        }
        if self.pen.turn.state.is_terminal() {
            self.end_unmade();
            self.pen.turn.completed_at = Some(self.pen.now());
        }
        let last = last_event(&self.pen.turn, waiting);
        self.pen.event(last);
        self.pen.stand();
        tell(&self.pen.turn);
        let written = self.pen.commit().await;
        self.room.stop_asked(&self.cx, &self.pen.stopped).await;
        if written.is_ok() {
            self.room.note(&self.pen.turn, Some(self.model_calls));
            noted.into_iter().for_each(|note| self.room.deps.observer.noted(note));
        }
        match written {
            Ok(()) if self.pen.turn.state == TurnState::AwaitingInput => {
                // Somebody may have asked it to stop while it let go.
                if let Err(error) = self.room.end_if_waiting(&self.cx, &self.pen.turn.id).await {
                    tracing::warn!(turn = self.pen.turn.id, error = %error, "could not look whether a waiting turn is to be cancelled");
                }
            }
            Ok(()) if self.pen.next_began => self.room.tell(Word::Claimable).await,
            Ok(()) | Err(Halt::Fenced) => {}
            Err(halt) => tracing::error!(
                turn = self.pen.turn.id,
                ?halt,
                "the turn's end cannot be written; it will count as lost"
            ),
        }
    }
}

impl Worker {
    /// Ends a step that did not come to its end. What its call had come to ends it all the same.
    fn end_open(&mut self, step: StoredStep, error: &TurnError) {
        let call = call_of(&step);
        if let Some(call) = call.clone()
            && let Some(result) = self.inbox.remove(&call.id)
        {
            // Words of ours: no shield has to see them.
            if result == unanswered() {
                return self.end_unanswered(step, call);
            }
            let result = if self.shields(Stage::ToolOutput).is_empty() { result } else { unseen(&result) };
            self.answer(&step.step.id, &call, &result);
            self.pen.end(step, StepState::Done, Some(StepOutput::ToolExecution { call, result }));
            return;
        }
        if let Some(call) = call.clone().filter(|call| self.questions.iter().any(|asked| is_open_for(asked, &call.id)))
        {
            return self.end_unanswered(step, call);
        }
        match call.filter(|call| !self.runs_at_client(call)) {
            Some(_) => self.cut_off(step, error.clone()),
            None => self.pen.end(step, StepState::Failed, Some(StepOutput::Failed { error: error.clone() })),
        }
    }

    /// Whether somebody asked it to stop, or a newer message cut it off.
    async fn why_stopped(&self) -> TurnError {
        let asked = async {
            let mut tx = self.room.deps.store.tenant(&self.cx).read().await?;
            why_stopped(&mut tx, &self.pen.turn.id).await
        };
        asked.await.unwrap_or_else(|error| {
            tracing::warn!(turn = self.pen.turn.id, error = %error, "why a turn was stopped could not be read");
            failed("cancelled", "the turn was cancelled")
        })
    }

    /// Lets another go on with the turn: what was not written is as if it had not been done.
    async fn give_back(&self) {
        let (turn, tenant) = (&self.pen.turn.id, self.room.deps.store.tenant(&self.cx));
        match tenant.give_back_turn(turn, self.pen.epoch()).await {
            Ok(given) => {
                tracing::info!(turn, given, "a turn was given back");
                self.room.tell(Word::Claimable).await;
            }
            Err(error) => {
                tracing::warn!(turn, error = %error, cause = ?error.source, "a turn could not be given back; it is taken up when its lease passes");
            }
        }
    }
}

/// What the turn came to, on the span it was worked on in.
fn tell(turn: &Turn) {
    let span = tracing::Span::current();
    span.record("state", turn.state.as_str());
    span.record("gen_ai.usage.input_tokens", turn.usage.input_tokens);
    span.record("gen_ai.usage.output_tokens", turn.usage.output_tokens);
    if let (TurnState::Failed, Some(error)) = (turn.state, &turn.error) {
        span.record("error.type", error.code.as_str());
    }
}

fn last_event(turn: &Turn, waiting: Option<(Vec<ToolCall>, Vec<Asked>, Vec<OpenQuestion>)>) -> EventBody {
    let turn = turn.clone();
    match turn.state {
        TurnState::AwaitingInput | TurnState::Running | TurnState::Queued => {
            let (calls, approvals, questions) = waiting.unwrap_or_default();
            EventBody::AwaitingInput { turn, calls, approvals, questions }
        }
        TurnState::Completed => EventBody::Completed { turn },
        TurnState::Failed | TurnState::DeadLetter => EventBody::Failed { turn },
        TurnState::Cancelled => EventBody::Cancelled { turn },
        TurnState::Incomplete => EventBody::Incomplete { turn },
    }
}

/// A turn that was ended in its rows, to be noted once they are committed ([`Room::note_closed`]).
pub(crate) struct Closed {
    pub(crate) turn: Turn,
    /// None where the fence refused it: nothing was written.
    pub(crate) notes: Option<Vec<Note>>,
}

/// Ends a turn that no worker holds (it was just claimed under `stored.epoch`), then comes the closing event. What came
/// in from outside ends its step with it. A tool that was called and whose end nobody saw becomes `left`; other steps
/// without an end failed. The caller commits, then wakes the followers.
pub(crate) async fn close_rows(
    tx: &mut Tx,
    room: &Room,
    mut stored: StoredTurn,
    left: StepState,
    state: TurnState,
    error: TurnError,
) -> Result<Closed> {
    let now = room.deps.clock.now();
    let id = stored.turn.id.clone();
    let inbox = transcript::inbox(tx, &id).await?;
    let mut open = transcript::steps(tx, &id).await?;
    open.retain(|s| s.step.state == StepState::Intent);
    let mut events = vec![];
    let before = transcript::items(tx, &id).await?;
    let mut pos = before.last().map_or(0, |item| item.pos + 1);
    let (mut items, mut asked) = (vec![], vec![]);
    let questions: Vec<StoredStep> = open.iter().filter(|s| s.step.kind == StepKind::Question).cloned().collect();
    for step in &mut open {
        if let Some(turn) = asked_turn(step) {
            asked.push(turn.to_owned());
        }
        let call = call_in(step).unwrap_or_default();
        let (state, output, result) = match step.step.kind {
            StepKind::Approval => match came::<Decision>(&inbox, &step.step.id) {
                Some(decision) => (StepState::Done, Some(StepOutput::Approval { call: call.clone(), decision }), None),
                None => (StepState::Failed, None, None),
            },
            // Whoever waits with its call open hears an answer before the step ends: this one reached nobody.
            StepKind::Question => match came::<Answer>(&inbox, &step.step.id).filter(|_| !in_open_call(step)) {
                Some(Answer { action, .. }) => (StepState::Done, Some(StepOutput::Question { action }), None),
                None => (StepState::Failed, None, None),
            },
            // It asked, and nothing was sent to it since.
            StepKind::ToolExecution if questions.iter().any(|question| is_open_for(question, &call.id)) => {
                let output = StepOutput::ToolExecution { call: call.clone(), result: unanswered() };
                (StepState::Failed, Some(output), Some(unanswered()))
            }
            StepKind::ToolExecution => match came::<ToolResult>(&inbox, &call.id) {
                Some(result) => {
                    let result = if shielded(tx, &stored, Stage::ToolOutput).await? { unseen(&result) } else { result };
                    let output = StepOutput::ToolExecution { call: call.clone(), result: result.clone() };
                    (StepState::Done, Some(output), Some(result))
                }
                None => (left, None, (left == StepState::Unknown).then(outcome_unknown)),
            },
            _ => (StepState::Failed, None, None),
        };
        if let Some(result) = result {
            let body = ItemBody::output(call.id, result.content, result.is_error);
            let item = Item { id: room.deps.ids.next("fco"), turn_id: id.clone(), pos, body };
            pos += 1;
            events.push(EventBody::ItemDone { step_id: step.step.id.clone(), item: item.clone() });
            items.push(item);
        }
        step.step.state = state;
        step.step.completed_at = Some(now);
        step.step.output = Some(output.unwrap_or_else(|| StepOutput::Failed { error: error.clone() }));
        events.push(EventBody::StepCompleted { step: step.step.clone() });
    }
    for call in servers::unmade(&[&before[..], &items[..]].concat()) {
        let (call_id, result) = (call.id, servers::not_made());
        let body = ItemBody::output(call_id, result.content, result.is_error);
        let item = Item { id: room.deps.ids.next("fco"), turn_id: id.clone(), pos, body };
        pos += 1;
        events.push(EventBody::ItemDone { step_id: servers::NO_STEP.into(), item: item.clone() });
        items.push(item);
    }
    // Nothing but its creation was written: it was cut off before it was begun.
    let unheard = error.code == INTERRUPTED && stored.next_seq <= 1;
    stored.turn.state = state;
    stored.turn.error = Some(error);
    stored.turn.completed_at = Some(now);
    events.push(last_event(&stored.turn, None));
    let first = turns::fence_and_stand(tx, &stored.turn, stored.epoch, events.len(), true, None).await?;
    let Some(first) = first else { return Ok(Closed { turn: stored.turn, notes: None }) };
    transcript::put_steps(tx, &id, &open).await?;
    transcript::add_items(tx, &items).await?;
    transcript::add_events(tx, &id, first, &events).await?;
    if unheard && shielded(tx, &stored, Stage::Input).await? {
        // What no shield has seen is put before no model, in this turn or in the next.
        transcript::hide_items(tx, &id).await?;
    }
    for turn in &asked {
        turns::request_cancel(tx, turn).await?;
    }
    turns::end(tx, &stored.turn).await?;
    turns::forget_sealed(tx, &id).await?;
    let notes = Some(Note::of(&open, stored.turn.error.as_ref()));
    Ok(Closed { turn: stored.turn, notes })
}

/// What came in from outside under this key.
fn came<T: DeserializeOwned>(inbox: &[(String, Value)], key: &str) -> Option<T> {
    let (_, payload) = inbox.iter().find(|(came, _)| came == key)?;
    serde_json::from_value(payload.clone()).ok()
}

/// Whether shields look at what comes in at this stage before a model reads it.
async fn shielded(tx: &mut Tx, stored: &StoredTurn, stage: Stage) -> Result<bool> {
    let spec = agents::works_by(tx, stored).await?;
    Ok(!spec.shields.is_empty() || (stage == Stage::Input && !spec.input_shields.is_empty()))
}

/// In the place of a result that no shield has looked at, and none will: that there was one must not be forgotten.
fn unseen(result: &ToolResult) -> ToolResult {
    let words = json!({ "note": "the call was made; what it came to was not looked at before the turn ended" });
    ToolResult { content: words.to_string(), is_error: result.is_error, details: None }
}
