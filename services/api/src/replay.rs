//! Replays as data: a recorded turn, the same turn answered again, and what differs.
//!
//! Invariant: two answers are the same where words, calls and end are; what they took (tokens, money, time) is told
//! and makes no difference.

use serde::{Deserialize, Serialize};

use crate::{
    chat::{ToolCall, Usage},
    turn::{HandOff, TurnError, TurnState},
};

/// A recorded turn, and what became of it when it was asked again.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Replayed {
    pub conversation_id: String,
    /// The recorded turn.
    pub turn_id: String,
    /// Its place among the turns of this replay, from 1.
    pub n: usize,
    /// What the customer said.
    pub input: String,
    /// Why it was not asked again; null: it was.
    pub skipped: Option<Skip>,
    /// Null where it was skipped.
    pub comparison: Option<Comparison>,
}

/// Why a recorded turn is history only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// It has not ended.
    Open,
    /// It was cancelled, cut off by a newer message or given up.
    CutOff,
    /// Another agent answered it.
    OtherAgent,
    /// No agent was asked: a person had the conversation, or its client only wrote it down.
    NotAnswered,
}

/// Two answers to one message.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Comparison {
    /// What differs, of: text, tool_calls, outcome.
    pub differs: Vec<Aspect>,
    pub recorded: Answered,
    pub replayed: Answered,
    /// The recorded text as it became the replayed one, word by word; empty where they are the same.
    pub text_diff: Vec<Piece>,
    /// The recorded calls as they became the replayed ones, by tool and arguments.
    pub call_diff: Vec<CallChange>,
    /// Calls that were answered with words that they were not made.
    pub not_made: Vec<NotMade>,
    /// The replayed turn failed because something it needs did; this says nothing about the agent.
    pub fault: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    Text,
    ToolCalls,
    /// How it ended: its state, the code of its error, who it was handed to and why, what it waits for.
    Outcome,
}

/// What a turn came to.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Answered {
    /// The agent's version; null: a spec that is none of its versions.
    pub version: Option<i64>,
    /// What the agent said.
    pub text: String,
    pub calls: Vec<Called>,
    pub state: TurnState,
    pub error: Option<TurnError>,
    /// Of a replayed turn: it would have been handed on so. Nobody was told.
    pub hand_off: Option<HandOff>,
    /// Calls that wait for the word of a person. Of a replayed turn nobody is asked.
    pub waits_for: Vec<ToolCall>,
    /// Of the turn's own model calls, without those of agents that it asked.
    pub usage: Usage,
    /// As `usage`; null where a model has no price.
    pub cost_nano_usd: Option<i64>,
    pub model_calls: usize,
    /// What the model calls took, in milliseconds.
    pub model_ms: i64,
}

/// A call with its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Called {
    pub name: String,
    /// JSON, as the model wrote it.
    pub arguments: String,
    /// What the model read, its first 4,000 characters; null where the call was not answered.
    pub output: Option<String>,
    pub is_error: bool,
}

/// What became of a piece of the recorded answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Same,
    /// It stood in the recorded answer alone.
    Removed,
    /// It stands in the replayed answer alone.
    Added,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Piece {
    pub change: Change,
    pub text: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CallChange {
    pub change: Change,
    pub name: String,
    pub arguments: String,
}

/// A call that a replayed turn asked for and that nothing answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct NotMade {
    pub name: String,
    pub arguments: String,
    pub why: WhyNot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhyNot {
    /// The recording has no answer to it.
    NotRecorded,
    /// Its tool has effects, which were not allowed, and the recording has no answer to it either.
    HasEffects,
}
