//! The turn stream: each event of a turn becomes at most one chunk of Llama Stack's stream.
//!
//! `turn_complete` carries the whole turn, so the projection remembers what passed: feed it a turn's
//! events from sequence number 0 and show what lies after the client's last id.
//! A turn that failed ends with `{"error": …}`, as Llama Stack's server does; its client looks for that
//! member before it looks at the event.

use std::collections::HashMap;

use frontdesk_api::{
    approval::Asked,
    chat::ToolCall as Call,
    question::OpenQuestion,
    turn::{Event, EventBody, Item, ItemBody, Step as Done, StepKind, Turn as Run},
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    step::{Step, StepType, step},
    tool::ToolCall,
    turn::{Turn, turn},
};

/// In the metadata of a step that begins once more: chunks of it with this id or a later one, up to this chunk, are void.
pub const RESTARTED_FROM: &str = "frontdesk_restarted_from";

/// One chunk: `data:` of a server-sent event.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Chunk {
    Event { event: Payloaded },
    Error { error: Failure },
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Payloaded {
    pub payload: Payload,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Failure {
    pub message: String,
    pub code: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(tag = "event_type", rename_all = "snake_case")]
pub enum Payload {
    TurnStart {
        turn_id: String,
    },
    StepStart {
        step_type: StepType,
        step_id: String,
        #[schema(value_type = Object)]
        metadata: Map<String, Value>,
    },
    StepProgress {
        step_type: StepType,
        step_id: String,
        delta: Delta,
    },
    StepComplete {
        step_type: StepType,
        step_id: String,
        step_details: Box<Step>,
    },
    TurnAwaitingInput {
        turn: Box<Turn>,
    },
    TurnComplete {
        turn: Box<Turn>,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Delta {
    Text { text: String },
    ToolCall { parse_status: ParseStatus, tool_call: CallOrText },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParseStatus {
    InProgress,
    Succeeded,
}

/// A piece of a call's arguments, or the whole call.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum CallOrText {
    Text(String),
    Call(ToolCall),
}

/// The fold over a turn's events.
#[derive(Debug, Default)]
pub struct Projection {
    turn_id: String,
    kinds: HashMap<String, StepKind>,
    items: Vec<Item>,
    steps: Vec<Done>,
}

impl Projection {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The chunk of the next event, if the protocol shows it; the event's `seq` is the chunk's id.
    pub fn push(&mut self, event: &Event) -> Option<Chunk> {
        let payload = match &event.body {
            EventBody::Created { turn } => {
                self.turn_id.clone_from(&turn.id);
                Payload::TurnStart { turn_id: turn.id.clone() }
            }
            EventBody::Input { items } => {
                self.items.extend(items.iter().cloned());
                return None;
            }
            EventBody::StepStarted { step } => {
                self.kinds.insert(step.id.clone(), step.kind);
                let step_type = StepType::of(step.kind)?;
                Payload::StepStart { step_type, step_id: step.id.clone(), metadata: Map::new() }
            }
            // The protocol has no place for a refusal.
            EventBody::TextDelta { step_id, delta, .. } | EventBody::RefusalDelta { step_id, delta, .. } => {
                self.progress(step_id, Delta::Text { text: delta.clone() })?
            }
            EventBody::ArgumentsDelta { step_id, delta, .. } => {
                let tool_call = CallOrText::Text(delta.clone());
                self.progress(step_id, Delta::ToolCall { parse_status: ParseStatus::InProgress, tool_call })?
            }
            EventBody::ItemDone { step_id, item } => {
                self.items.push(item.clone());
                let ItemBody::FunctionCall { call, .. } = &item.body else { return None };
                let tool_call = CallOrText::Call(call.into());
                self.progress(step_id, Delta::ToolCall { parse_status: ParseStatus::Succeeded, tool_call })?
            }
            EventBody::ToolProgress { step_id, progress, total, message } => {
                let of = total.as_ref().map(|total| format!(" of {total}")).unwrap_or_default();
                let words = message.as_ref().map(|words| format!(": {words}")).unwrap_or_default();
                self.progress(step_id, Delta::Text { text: format!("{progress}{of}{words}\n") })?
            }
            EventBody::StepCompleted { step } => self.completed(step)?,
            EventBody::AwaitingInput { turn, calls, approvals, questions } => {
                Payload::TurnAwaitingInput { turn: Box::new(self.turn(turn, calls, approvals, questions)) }
            }
            EventBody::Completed { turn } | EventBody::Incomplete { turn } => {
                Payload::TurnComplete { turn: Box::new(self.turn(turn, &[], &[], &[])) }
            }
            EventBody::Failed { turn } => return Some(failure(turn, "failed", "the turn failed")),
            EventBody::Cancelled { turn } => return Some(failure(turn, "cancelled", "the turn was cancelled")),
            // The protocol has no word for it: the step begins once more, and its metadata says from where it counts.
            EventBody::Restarted { step_id, from_seq } => {
                let step_type = StepType::of(*self.kinds.get(step_id)?)?;
                let metadata = Map::from_iter([(RESTARTED_FROM.to_owned(), Value::from(*from_seq))]);
                Payload::StepStart { step_type, step_id: step_id.clone(), metadata }
            }
            EventBody::ItemAdded { .. }
            | EventBody::ReasoningDelta { .. }
            | EventBody::HandedOff { .. }
            | EventBody::Resumed { .. } => return None,
        };
        Some(Chunk::Event { event: Payloaded { payload } })
    }

    fn progress(&self, step_id: &str, delta: Delta) -> Option<Payload> {
        let step_type = StepType::of(*self.kinds.get(step_id)?)?;
        Some(Payload::StepProgress { step_type, step_id: step_id.to_owned(), delta })
    }

    fn completed(&mut self, done: &Done) -> Option<Payload> {
        self.steps.push(done.clone());
        let step_type = StepType::of(done.kind)?;
        let step_details = Box::new(step(&self.turn_id, done)?);
        Some(Payload::StepComplete { step_type, step_id: done.id.clone(), step_details })
    }

    fn turn(&self, run: &Run, waiting: &[Call], approvals: &[Asked], questions: &[OpenQuestion]) -> Turn {
        turn(run, &self.items, &self.steps, waiting, approvals, questions)
    }
}

fn failure(turn: &Run, code: &str, message: &str) -> Chunk {
    let (code, message) = match &turn.error {
        Some(error) => (error.code.clone(), error.message.clone()),
        None => (code.to_owned(), message.to_owned()),
    };
    Chunk::Error { error: Failure { message, code } }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::turn::StepState;

    use super::*;

    #[test]
    fn a_step_that_begins_again_says_from_where_it_counts() {
        let mut projection = Projection::new();
        let step = Done {
            id: "step_1".into(),
            n: 0,
            kind: StepKind::Inference,
            state: StepState::Intent,
            started_at: 0,
            completed_at: None,
            output: None,
        };
        let (step_id, item_id, delta) = ("step_1".into(), "msg_1".into(), "Hm".into());
        let delta = EventBody::TextDelta { step_id, item_id, delta, logprobs: vec![] };
        let again = EventBody::Restarted { step_id: "step_1".into(), from_seq: 3 };
        let stranger = EventBody::Restarted { step_id: "step_2".into(), from_seq: 3 };
        let bodies = [EventBody::StepStarted { step }, delta, again, stranger];
        let chunks: Vec<Option<Value>> = (2..)
            .zip(bodies)
            .map(|(seq, body)| projection.push(&Event { seq, body }))
            .map(|chunk| chunk.map(|chunk| serde_json::to_value(chunk).expect("JSON")))
            .collect();
        let start = |metadata: Value| {
            let payload = serde_json::json!({
                "event_type": "step_start", "step_type": "inference", "step_id": "step_1", "metadata": metadata
            });
            Some(serde_json::json!({ "event": { "payload": payload } }))
        };
        assert_eq!(chunks[0], start(serde_json::json!({})));
        assert_eq!(chunks[2], start(serde_json::json!({ "frontdesk_restarted_from": 3 })));
        assert_eq!(chunks[3], None, "what was never shown does not begin again");
    }
}
