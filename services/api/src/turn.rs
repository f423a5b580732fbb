//! The turn: one run of an agent, as rows. Sessions, turns, steps, items and events.
//!
//! History is items; what a stream shows is events; what was done is steps. Every event is a row before
//! anyone sees it (`seq` counts from 0 without a gap within a turn). Event names are those of OpenAI's
//! Responses stream where it has one, else `frontdesk.*`; other wires are projections of these.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value, json};

use crate::{
    Kind, Micros,
    approval::{Asked, Decision},
    chat::{Role, ToolCall, Usage},
    memory::Passage,
    question::{Action, OpenQuestion},
    safety::{Stage, Verdict},
    servers::{Filter, WaitingCall},
    tools::{ToolDef, ToolResult},
};

/// A conversation with one agent.
#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub id: String,
    pub agent_id: String,
    /// The agent version the conversation began with and stays on.
    pub agent_version: i64,
    pub name: String,
    /// The newest turn of the conversation.
    pub head: Option<String>,
    pub created_at: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// It stands behind the open turn of its session.
    Queued,
    Running,
    AwaitingInput,
    Completed,
    Failed,
    Cancelled,
    /// Ended at a limit; what was said stands.
    Incomplete,
    /// Given up: it was taken up again and again and no step of it ended. Kept for people to look at.
    DeadLetter,
}

impl TurnState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::AwaitingInput => "awaiting_input",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Incomplete => "incomplete",
            Self::DeadLetter => "dead_letter",
        }
    }
    /// # Errors
    /// The unknown word, as `Internal`.
    pub fn parse(word: &str) -> crate::Result<Self> {
        let all = [
            Self::Queued,
            Self::Running,
            Self::AwaitingInput,
            Self::Completed,
            Self::Failed,
            Self::Cancelled,
            Self::Incomplete,
            Self::DeadLetter,
        ];
        all.into_iter()
            .find(|s| s.as_str() == word)
            .ok_or_else(|| crate::Error::new(Kind::Internal, format!("unknown turn state '{word}' in the database")))
    }
    #[must_use]
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Running | Self::AwaitingInput)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Turn {
    pub id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub agent_version: i64,
    /// The turn this one continues.
    pub parent: Option<String>,
    pub state: TurnState,
    /// Why it ended, for every end but `Completed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TurnError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<HandOff>,
    #[serde(default)]
    pub usage: Usage,
    pub created_at: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Micros>,
}

/// `code` is stable (`attempts_exhausted`, `max_steps`, `upstream`), `message` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TurnError {
    pub code: String,
    pub message: String,
    /// What the caller can do about it, where something the turn needed failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// A typed transition, never text: the conversation now belongs to a person, or to another agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HandOff {
    pub reason: HandOffReason,
    /// What the customer was told.
    pub message: String,
    /// The name of the agent that hands over, where another takes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The agent that takes over; None: people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Successor>,
}

impl HandOff {
    #[must_use]
    pub fn to_people(reason: HandOffReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), from: None, to: None }
    }
}

/// The agent that answers from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Successor {
    /// Its name.
    pub agent: String,
    pub agent_id: String,
    /// The version that answers.
    pub version: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HandOffReason {
    CustomerRequest,
    MissingKnowledge,
    UnsupportedRequest,
    PolicyRestriction,
    ToolFailure,
    PendingClarification,
    UsageLimit,
}

impl HandOffReason {
    pub const ALL: [Self; 7] = [
        Self::CustomerRequest,
        Self::MissingKnowledge,
        Self::UnsupportedRequest,
        Self::PolicyRestriction,
        Self::ToolFailure,
        Self::PendingClarification,
        Self::UsageLimit,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CustomerRequest => "customer_request",
            Self::MissingKnowledge => "missing_knowledge",
            Self::UnsupportedRequest => "unsupported_request",
            Self::PolicyRestriction => "policy_restriction",
            Self::ToolFailure => "tool_failure",
            Self::PendingClarification => "pending_clarification",
            Self::UsageLimit => "usage_limit",
        }
    }
}

/// One thing done in a turn. `n` counts from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: String,
    pub n: i64,
    pub kind: StepKind,
    pub state: StepState,
    pub started_at: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Micros>,
    /// Present once the step ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<StepOutput>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    Inference,
    ToolExecution,
    ShieldCall,
    MemoryRetrieval,
    Approval,
    /// What a tool asks a person in the middle of its call.
    Question,
    Guidelines,
}

impl StepKind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::ToolExecution => "tool_execution",
            Self::ShieldCall => "shield_call",
            Self::MemoryRetrieval => "memory_retrieval",
            Self::Approval => "approval",
            Self::Question => "question",
            Self::Guidelines => "guidelines",
        }
    }
}

/// `Intent` is written before the effect; `Unknown` means the effect may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Intent,
    Done,
    Failed,
    Unknown,
}

impl StepState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }
}

/// What a step produced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepOutput {
    Inference {
        model: String,
        text: String,
        tool_calls: Vec<ToolCall>,
        finish_reason: String,
        usage: Usage,
        /// None: the model has no price.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_nano_usd: Option<i64>,
    },
    /// Which guidelines hold in this turn, by their ids. With an `error` that could not be found, and all were given.
    Guidelines {
        matched: Vec<String>,
        model: String,
        usage: Usage,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_nano_usd: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<TurnError>,
    },
    ToolExecution {
        call: ToolCall,
        result: ToolResult,
    },
    ShieldCall {
        stage: Stage,
        shield_id: String,
        verdict: Verdict,
    },
    MemoryRetrieval {
        query: String,
        stores: Vec<String>,
        passages: Vec<Passage>,
    },
    Approval {
        call: ToolCall,
        decision: Decision,
    },
    /// What was answered is in the turn's inbox.
    Question {
        action: Action,
    },
    Failed {
        error: TurnError,
    },
}

/// A piece of the conversation. `pos` counts within its turn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    pub id: String,
    pub turn_id: String,
    pub pos: i64,
    pub body: ItemBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ItemBody {
    /// Words of the customer or the agent. `citations` come from retrieval.
    Message {
        role: Role,
        text: String,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Citation>,
    },
    /// Words with which the model refused to answer, in the place of an answer.
    Refusal {
        text: String,
    },
    /// Words with pictures, sound or files among them, as the customer sent them: parts in the shape of OpenAI's chat
    /// completions.
    Content {
        role: Role,
        parts: Vec<Value>,
    },
    /// Words to the customer by a person who had taken the conversation, in the place of the agent's.
    Person {
        /// The person's name, as given when the conversation was taken.
        by: String,
        text: String,
    },
    FunctionCall {
        call: ToolCall,
        /// The container it runs in, where it is code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
    },
    FunctionCallOutput {
        call_id: String,
        /// In words: of `parts` all their texts.
        output: String,
        is_error: bool,
        /// The whole of it, where a client's function answered with pictures or files: parts as of [`Self::Content`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parts: Vec<Value>,
    },
    /// What the model thought before it spoke, or what a client hands back of it.
    Reasoning {
        /// Shown, and put before no model again.
        text: String,
        /// The same with what its maker signed of it, sealed for the client to keep; None where it was not asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sealed: Option<String>,
        /// What was signed, out of what a client handed back: blocks that go before models of that maker again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        kept: Vec<Value>,
    },
    /// Passages put before the customer's message of this turn.
    Retrieval {
        query: String,
        passages: Vec<Passage>,
    },
    HandOff {
        hand_off: HandOff,
    },
    /// The tools of a server that the request named itself, as this turn's model is offered them.
    ServerTools {
        server: String,
        url: Option<String>,
        /// The request's choice among them.
        allowed: Filter,
        tools: Vec<ToolDef>,
        /// Those whose calls wait for the word of whoever asked, by the names the model calls them by.
        waits: Vec<String>,
        /// Why there are none.
        error: Option<String>,
        /// They were listed in an earlier turn, and are not shown again.
        known: bool,
        /// The item of that turn, which has their descriptions and schemas; those of `tools` are empty then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        of: Option<String>,
    },
    /// A call that waits for the word of whoever asked. Written by the platform alone: nothing that comes in becomes one.
    ApprovalRequest {
        waiting: Box<WaitingCall>,
    },
    /// That word.
    ApprovalResponse {
        /// The id of the item that asked.
        request_id: String,
        approved: bool,
        reason: Option<String>,
        /// What was asked about, out of the row that asked; None while the request is read.
        waiting: Option<Box<WaitingCall>>,
    },
}

impl ItemBody {
    /// What a call came to, in words.
    #[must_use]
    pub fn output(call_id: impl Into<String>, output: impl Into<String>, is_error: bool) -> Self {
        Self::FunctionCallOutput { call_id: call_id.into(), output: output.into(), is_error, parts: vec![] }
    }

    /// What a client's function came to, with pictures or files.
    #[must_use]
    pub fn output_of(call_id: impl Into<String>, parts: Vec<Value>) -> Self {
        Self::FunctionCallOutput { call_id: call_id.into(), output: texts(&parts), is_error: false, parts }
    }

    /// What the item says, of [`ItemBody::Content`] all its texts; None where it is no words of anyone.
    #[must_use]
    pub fn words(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Message { text, .. } | Self::Refusal { text } | Self::Person { text, .. } => Some(text.into()),
            Self::FunctionCallOutput { output, .. } => Some(output.into()),
            Self::Content { parts, .. } => Some(texts(parts).into()),
            _ => None,
        }
    }

    /// The words of a model's answer, said or refused with; None where it is none.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        match self {
            Self::Message { role: Role::Assistant, text, .. } | Self::Refusal { text } => Some(text),
            _ => None,
        }
    }

    /// Says other words instead; what stands among them stays behind them.
    pub fn set_words(&mut self, words: &str) {
        match self {
            Self::Message { text, .. } | Self::Refusal { text } | Self::Person { text, .. } => words.clone_into(text),
            Self::FunctionCallOutput { output, parts, .. } => {
                words.clone_into(output);
                if !parts.is_empty() {
                    say(parts, words);
                }
            }
            Self::Content { parts, .. } => say(parts, words),
            _ => {}
        }
    }

    /// Puts words in the place of all that it shows: pictures and files too.
    pub fn withhold(&mut self, words: &str) {
        if let Self::FunctionCallOutput { parts, .. } | Self::Content { parts, .. } = self {
            parts.clear();
        }
        self.set_words(words);
    }

    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Message { .. } => "message",
            Self::Refusal { .. } => "refusal",
            Self::Content { .. } => "content",
            Self::Person { .. } => "person",
            Self::FunctionCall { .. } => "function_call",
            Self::FunctionCallOutput { .. } => "function_call_output",
            Self::Reasoning { .. } => "reasoning",
            Self::Retrieval { .. } => "retrieval",
            Self::HandOff { .. } => "hand_off",
            Self::ServerTools { .. } => "server_tools",
            Self::ApprovalRequest { .. } => "approval_request",
            Self::ApprovalResponse { .. } => "approval_response",
        }
    }
}

/// The texts among parts.
#[must_use]
pub fn texts(parts: &[Value]) -> String {
    let texts: Vec<&str> = parts.iter().filter_map(|part| part.get("text")?.as_str()).collect();
    texts.join("\n")
}

/// Puts other words in the place of the texts.
fn say(parts: &mut Vec<Value>, words: &str) {
    parts.retain(|part| part.get("text").is_none());
    parts.insert(0, json!({ "type": "text", "text": words }));
}

/// Where an answer's words come from, or a file they speak of; made by the platform from a retrieval step, a search of
/// the web or a run of code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Citation {
    /// Number shown in the text, from 1; of a file in a container, which of the places it is that speak of it.
    pub number: usize,
    /// Empty where it is a page of the web, by its `url`, as `filename` is.
    pub file_id: String,
    /// Of a file that code wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    pub filename: String,
    pub title: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The quoted passage; of a page of the web the words of the answer that rest on it.
    pub quote: String,
}

/// An event row: `seq` is the SSE id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub seq: i64,
    pub body: EventBody,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum EventBody {
    #[serde(rename = "response.created")]
    Created { turn: Turn },
    /// What the turn was asked, as the input shields let it pass.
    #[serde(rename = "frontdesk.turn.input")]
    Input { items: Vec<Item> },
    #[serde(rename = "frontdesk.step.started")]
    StepStarted { step: Step },
    #[serde(rename = "response.output_item.added")]
    ItemAdded { step_id: String, item: Item },
    #[serde(rename = "response.output_text.delta")]
    TextDelta {
        step_id: String,
        item_id: String,
        delta: String,
        /// Of its tokens, as chat completions have them, where the turn asked for them and they come.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        logprobs: Vec<Value>,
    },
    #[serde(rename = "response.refusal.delta")]
    RefusalDelta { step_id: String, item_id: String, delta: String },
    #[serde(rename = "response.reasoning_text.delta")]
    ReasoningDelta { step_id: String, item_id: String, delta: String },
    /// A tool call as the model writes it; one that it wrote at once comes as one delta.
    #[serde(rename = "response.function_call_arguments.delta")]
    ArgumentsDelta { step_id: String, item_id: String, call_id: String, name: String, delta: String },
    #[serde(rename = "response.output_item.done")]
    ItemDone { step_id: String, item: Item },
    /// How far the call of a tool is, in units of the tool's own; `total` is where it ends, `message` is for people.
    #[serde(rename = "frontdesk.tool.progress")]
    ToolProgress {
        step_id: String,
        progress: Number,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        total: Option<Number>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
    },
    #[serde(rename = "frontdesk.step.completed")]
    StepCompleted { step: Step },
    #[serde(rename = "frontdesk.hand_off")]
    HandedOff { hand_off: HandOff },
    /// The turn waits: for the results of these calls of client tools, for a person's word on these, and for answers to
    /// what tools ask.
    #[serde(rename = "frontdesk.turn.awaiting_input")]
    AwaitingInput {
        turn: Turn,
        calls: Vec<ToolCall>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        approvals: Vec<Asked>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        questions: Vec<OpenQuestion>,
    },
    #[serde(rename = "frontdesk.turn.resumed")]
    Resumed { results: Vec<Value> },
    /// Another worker has the turn and begins this step anew: the events from `from_seq` up to this one are void, and
    /// what they showed of the step does not count.
    #[serde(rename = "frontdesk.turn.restarted")]
    Restarted { step_id: String, from_seq: i64 },
    #[serde(rename = "response.completed")]
    Completed { turn: Turn },
    #[serde(rename = "response.failed")]
    Failed { turn: Turn },
    #[serde(rename = "response.incomplete")]
    Incomplete { turn: Turn },
    #[serde(rename = "frontdesk.turn.cancelled")]
    Cancelled { turn: Turn },
}

impl EventBody {
    /// Whether nothing follows in this turn's stream.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed { .. } | Self::Incomplete { .. } | Self::Cancelled { .. })
    }
}
