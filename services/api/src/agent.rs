//! An agent: what a shop configures, as one plain document that is stored, versioned and exported whole.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Micros,
    approval::ApprovalRule,
    chat::{ToolChoice, ToolSpec},
};

/// A stored agent at its published version, which new conversations begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: String,
    /// Counts from 1.
    pub version: i64,
    /// The newest version; above `version` there are drafts.
    pub newest: i64,
    pub spec: AgentSpec,
    pub created_at: Micros,
    pub updated_at: Micros,
}

/// One version of an agent. What stands in it never changes; which one is published does.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentVersion {
    pub agent_id: String,
    /// Counts from 1.
    pub version: i64,
    pub spec: AgentSpec,
    /// Why it was written, for people.
    pub note: Option<String>,
    pub created_at: Micros,
    /// Id of the key that wrote it; None: written before this was kept.
    pub created_by: Option<String>,
    /// When it last became the published one; None: never.
    pub published_at: Option<Micros>,
    /// Id of the key that published it then.
    pub published_by: Option<String>,
    /// It is the published one now.
    pub published: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentSpec {
    /// For people; unique within the tenant where given.
    #[serde(default)]
    pub name: Option<String>,
    /// Model id, alias or route.
    pub model: String,
    #[serde(default)]
    pub instructions: String,
    /// First words to a customer.
    #[serde(default)]
    pub greeting: Option<String>,
    /// Tool groups it may use.
    #[serde(default)]
    pub toolgroups: Vec<String>,
    /// Uploaded files that code of the code interpreter finds in its working folder, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub code_files: Vec<String>,
    /// The container that its code runs in; None: one of the conversation's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_container: Option<String>,
    /// Searches of the web bring pages of these domains alone, and of those below them; empty: of all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub web_domains: Vec<String>,
    /// Tools that run at the client.
    #[serde(default)]
    pub client_tools: Vec<ToolSpec>,
    #[serde(default)]
    pub tool_choice: Option<ToolChoice>,
    /// Knowledge stores that are searched before the model is asked.
    #[serde(default)]
    pub knowledge: Vec<String>,
    /// Passages shown to the model per turn, 1 to 20.
    #[serde(default = "default_passages")]
    pub max_passages: usize,
    /// Shields by id; each shield says at which stages it works.
    #[serde(default)]
    pub shields: Vec<String>,
    /// Shields that look at what the customer writes only (Llama Stack's `input_shields`).
    #[serde(default)]
    pub input_shields: Vec<String>,
    /// Shields that look at what the agent writes only (Llama Stack's `output_shields`).
    #[serde(default)]
    pub output_shields: Vec<String>,
    /// Other agents that it may ask; each is a tool of its own to the model, named `ask_` and its name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentTool>,
    /// Offers the model the `hand_off` action; None: the agent never hands over.
    #[serde(default)]
    pub hand_off: Option<HandOffSpec>,
    /// Which calls of tools wait for a person; the first rule that fits a call decides. Without a rule, calls of tools
    /// with the risk `approval_required` wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRule>,
    /// What a message does that comes while the turn of its conversation runs.
    #[serde(default, skip_serializing_if = "OnMessage::is_reject")]
    pub on_message: OnMessage,
    #[serde(default)]
    pub sampling: Sampling,
    /// Rules that hold under a condition; which of them do is found once a turn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guidelines: Vec<Guideline>,
    /// Whether a model is asked which guidelines hold.
    #[serde(default, skip_serializing_if = "GuidelineMatch::is_default")]
    pub guideline_match: GuidelineMatch,
    /// The model that finds which guidelines hold; None: the agent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guideline_model: Option<String>,
    /// Languages it answers in, as tags of BCP 47 (`de`, `pt-BR`), the first for customers who write in another; none:
    /// as the model does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
    /// OpenAI's `response_format`; None: free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    /// Whether the model may call several tools at once; None: as it is used to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// No turn is left out of a prompt: a conversation that is too long is the provider's to refuse.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_all_turns: bool,
    /// Further members of every model call, by their names in OpenAI's chat completions.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub model_params: Map<String, Value>,
    #[serde(default)]
    pub limits: Limits,
    /// Wire-side members kept for the client that set them (Llama Stack's config as sent).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl AgentSpec {
    /// An agent over `model` with every default: no name, no tools, no knowledge, no shields.
    #[must_use]
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            name: None,
            model: model.into(),
            instructions: String::new(),
            greeting: None,
            toolgroups: vec![],
            code_files: vec![],
            code_container: None,
            web_domains: vec![],
            client_tools: vec![],
            tool_choice: None,
            knowledge: vec![],
            max_passages: default_passages(),
            shields: vec![],
            input_shields: vec![],
            output_shields: vec![],
            agents: vec![],
            hand_off: None,
            approvals: vec![],
            on_message: OnMessage::Reject,
            sampling: Sampling::default(),
            guidelines: vec![],
            guideline_match: GuidelineMatch::default(),
            guideline_model: None,
            languages: vec![],
            response_format: None,
            parallel_tool_calls: None,
            keep_all_turns: false,
            model_params: Map::new(),
            limits: Limits::default(),
            metadata: Map::new(),
        }
    }
}

/// What becomes of a message that comes while the turn of its conversation runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnMessage {
    /// It is refused (`turn_running`).
    #[default]
    Reject,
    /// Its turn stands behind the running one and begins when that has ended.
    Queue,
    /// The running turn is cancelled, and those that stand behind it; its own begins when their worker has let go.
    Interrupt,
}

impl OnMessage {
    #[must_use]
    pub fn is_reject(&self) -> bool {
        *self == Self::Reject
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOffSpec {
    /// What the customer reads when the agent hands over; ours, never the model's words.
    pub message: String,
    /// To whom it may; empty: to people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<HandOffTarget>,
}

impl HandOffSpec {
    /// To people, with these words to the customer.
    #[must_use]
    pub fn to_people(message: impl Into<String>) -> Self {
        Self { message: message.into(), targets: vec![] }
    }
}

/// Someone an agent may hand a conversation to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HandOffTarget {
    /// `people`, or the name of an agent.
    pub to: String,
    /// When the model should choose it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the customer reads then; None: the message of the hand-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// An agent that another may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentTool {
    /// Its name.
    pub agent: String,
    /// When the model should ask it, and what for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// A rule of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Guideline {
    /// Unique within the agent: 1 to 64 letters, digits, `_` and `-`.
    pub id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When it holds, in words that follow "when": `the customer asks for a refund`. Empty: always.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub condition: String,
    /// What the model is told then.
    pub action: String,
    /// The greater, the earlier it stands; 0 where it is left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Ids of guidelines that do not hold where this one does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
}

/// Whether a model is asked which guidelines hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GuidelineMatch {
    /// Where more than three have a condition.
    #[default]
    Auto,
    /// Never: all guidelines stand in every prompt with their conditions.
    Always,
}

impl GuidelineMatch {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn yes() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(value: &i32) -> bool {
    *value == 0
}

/// None everywhere: the model's own defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sampling {
    pub temperature: Option<f64>,
    pub top_p: Option<f64>,
    pub max_tokens: Option<u32>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
}

/// Hard stops of one turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Model calls.
    pub max_steps: u32,
    pub max_tool_calls: u32,
    /// Wall time of a turn's work, in seconds; it begins anew when a turn goes on after input.
    pub timeout_s: u64,
    /// Tokens of all the turn's model calls, prompts and answers together, looked at between steps: what a call takes
    /// beyond it is taken. None: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// What the turn's model calls may cost, in micro-USD, looked at between steps. A model without a price costs
    /// nothing here. None: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_micro_usd: Option<u64>,
}

/// The most model calls of one turn.
pub const MOST_STEPS: u32 = 100;

impl Default for Limits {
    fn default() -> Self {
        Self { max_steps: 10, max_tool_calls: 20, timeout_s: 300, max_tokens: None, max_cost_micro_usd: None }
    }
}

fn default_passages() -> usize {
    4
}
