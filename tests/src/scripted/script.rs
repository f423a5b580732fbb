//! The script's language: which request a step answers, and with what. For tests only.
//!
//! Parsed strictly, so that a misspelt member fails the test that wrote it instead of meaning nothing.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A list of steps; the first that matches a request and is not used up answers it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    #[serde(default)]
    pub steps: Vec<Step>,
    /// What `GET /v1/models` lists.
    #[serde(default = "default_models")]
    pub models: Vec<String>,
}

/// Nothing to say yet, but a model to offer: whoever lists models between two scripts keeps what it saw.
impl Default for Script {
    fn default() -> Self {
        Self { steps: Vec::new(), models: default_models() }
    }
}

/// One answer and the requests it is for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    #[serde(default)]
    pub when: When,
    /// How often the step answers. Without it: once where `when` is empty (a queue), else always (a rule).
    pub times: Option<u64>,
    pub reply: Reply,
}

/// Conditions on the request, all of which must hold. Empty holds for every request.
#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The path begins with this; needed to answer anything but a POST.
    pub path: Option<String>,
    pub model: Option<String>,
    pub stream: Option<bool>,
    /// Role of the last message.
    pub last_role: Option<String>,
    /// The last message, whatever its role, contains this.
    pub last_contains: Option<String>,
    /// The last message of role `user` contains this.
    pub last_user_contains: Option<String>,
    /// A tool of this name is offered.
    pub has_tool: Option<String>,
    /// The body, as text, contains this.
    pub body_contains: Option<String>,
}

/// What is answered. Exactly one kind of content: `json`, `body`, `sse`, `binary`, `embed`, `rank`, `hangup`, or a message
/// (`text`, `reasoning`, `refusal`, `tool_call`, `tool_calls`, `quote_source`), which is rendered as
/// one JSON answer or as a stream, as the request asks.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// HTTP status, 200 if absent.
    pub status: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// A gate that holds the whole answer, head included.
    pub hold: Option<String>,

    /// Answered as it is, as `application/json`.
    pub json: Option<Value>,
    /// Answered as these very bytes; set the content type in `headers`.
    pub body: Option<String>,
    /// An event stream, frame by frame.
    pub sse: Option<Vec<Chunk>>,
    /// A vector of this many numbers for each input.
    pub embed: Option<usize>,
    /// An order of the request's documents by these scores, one for each.
    pub rank: Option<Vec<f64>>,
    /// A stream of bytes that are no text, each piece in Base64, with fills and gates; set the content type in `headers`.
    pub binary: Option<Vec<Chunk>>,
    /// The connection is closed without an answer.
    #[serde(default)]
    pub hangup: bool,

    /// May carry `{last_user}`, `{last_user_number}`, `{tool_content}` and `{tool_content.MEMBER}`.
    pub text: Option<String>,
    /// Sent as `reasoning_content`, before the text.
    pub reasoning: Option<String>,
    pub refusal: Option<String>,
    pub tool_call: Option<ToolCall>,
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
    /// Answers with source 1 of the request's `<sources>` block, quoted and cited.
    #[serde(default)]
    pub quote_source: bool,
    /// `stop`, or `tool_calls` where there are any, if absent.
    pub finish_reason: Option<String>,
    /// Token counts; counted in words if absent.
    pub usage: Option<Value>,
    /// More top-level members of the answer and of every chunk.
    #[serde(default)]
    pub extra: Map<String, Value>,

    /// Characters per text delta; a word each if absent.
    pub piece: Option<usize>,
    /// Characters per delta of a tool call's arguments; all at once if absent.
    pub argument_piece: Option<usize>,
    /// Lines end with CR LF.
    #[serde(default)]
    pub crlf: bool,
    /// Bytes per write, cutting frames anywhere; a frame each if absent.
    pub split: Option<usize>,
    /// Whether `data: [DONE]` closes a message's stream; it does if absent.
    pub done: Option<bool>,
    /// The connection is cut after this many frames.
    pub cut_after: Option<usize>,
    /// Gate name → number of the frame (from 0) it holds back.
    #[serde(default)]
    pub gates: BTreeMap<String, usize>,
}

/// A call the model asks for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// `call_N`, N counted from 1 over the request, if absent.
    pub id: Option<String>,
    pub name: String,
    /// An object, or a string that is sent as it is (invalid JSON, say). Placeholders work as in `text`.
    #[serde(default)]
    pub arguments: Value,
}

/// One frame of an explicit stream.
#[derive(Debug, Deserialize)]
#[serde(from = "Value")]
pub enum Chunk {
    /// These bytes, nothing added.
    Raw(String),
    /// These very bytes, which need not be text.
    Bytes(Vec<u8>),
    /// So many letters x without a line's end.
    Fill(usize),
    /// So many letters x, one every [`super::reply::TRICKLE`].
    Trickle(usize),
    /// Holds the stream until released.
    Gate(String),
    /// `event:` if named, then one `data:` line.
    Event { name: Option<String>, data: Value },
}

impl From<Value> for Chunk {
    fn from(value: Value) -> Self {
        match value {
            Value::String(raw) => Self::Raw(raw),
            Value::Object(mut object) => {
                if object.len() == 1
                    && let Some(Value::String(gate)) = object.get("gate")
                {
                    return Self::Gate(gate.clone());
                }
                if object.len() == 1
                    && let Some(Value::Array(bytes)) = object.get("bytes")
                {
                    let byte = |value: &Value| value.as_u64().and_then(|byte| u8::try_from(byte).ok());
                    return Self::Bytes(bytes.iter().filter_map(byte).collect());
                }
                if object.len() == 1
                    && let Some(size) = object.get("fill").and_then(Value::as_u64)
                {
                    return Self::Fill(usize::try_from(size).unwrap_or(usize::MAX));
                }
                if object.len() == 1
                    && let Some(size) = object.get("trickle").and_then(Value::as_u64)
                {
                    return Self::Trickle(usize::try_from(size).unwrap_or(usize::MAX));
                }
                let named = object.keys().all(|k| k == "event" || k == "data");
                match object.remove("data") {
                    Some(data) if named => {
                        let name = object.get("event").and_then(Value::as_str).map(str::to_owned);
                        Self::Event { name, data }
                    }
                    Some(data) => {
                        object.insert("data".into(), data);
                        Self::Event { name: None, data: object.into() }
                    }
                    None => Self::Event { name: None, data: object.into() },
                }
            }
            other => Self::Event { name: None, data: other },
        }
    }
}

fn default_models() -> Vec<String> {
    vec!["scripted".into()]
}

impl Script {
    /// Reads a script: an array of steps, or an object with `steps` and `models`.
    ///
    /// # Errors
    /// Names the member that is unknown, missing or of the wrong type, or the reply that has no
    /// content or two kinds of it.
    pub fn parse(value: Value) -> Result<Self, String> {
        let script: Self = match value {
            Value::Array(steps) => {
                let steps = serde_json::from_value(Value::Array(steps)).map_err(|e| e.to_string())?;
                Self { steps, models: default_models() }
            }
            other => serde_json::from_value(other).map_err(|e| e.to_string())?,
        };
        for (i, step) in script.steps.iter().enumerate() {
            step.reply.check().map_err(|e| format!("step {i}: {e}"))?;
        }
        Ok(script)
    }
}

impl Step {
    /// How often this step may answer; `None` is without end.
    #[must_use]
    pub fn limit(&self) -> Option<u64> {
        match self.times {
            Some(n) => Some(n),
            None if self.when == When::default() => Some(1),
            None => None,
        }
    }
}

impl Reply {
    /// Whether the content is a message, to be rendered in the form the request asks for.
    #[must_use]
    pub fn is_message(&self) -> bool {
        self.text.is_some()
            || self.reasoning.is_some()
            || self.refusal.is_some()
            || self.tool_call.is_some()
            || !self.tool_calls.is_empty()
            || self.quote_source
    }

    fn check(&self) -> Result<(), String> {
        let made = [self.embed.is_some(), self.rank.is_some(), self.hangup, self.is_message()];
        let given = [self.json.is_some(), self.body.is_some(), self.sse.is_some(), self.binary.is_some()];
        let binary = self.binary.iter().flatten().all(|chunk| match chunk {
            Chunk::Raw(raw) => BASE64_STANDARD.decode(raw).is_ok(),
            Chunk::Gate(_) | Chunk::Fill(_) | Chunk::Trickle(_) => true,
            Chunk::Bytes(_) | Chunk::Event { .. } => false,
        });
        let kinds = given.iter().chain(&made);
        match kinds.filter(|present| **present).count() {
            1 if !binary => {
                Err("binary holds something that is neither Base64 nor a fill nor a trickle nor a gate".into())
            }
            1 => Ok(()),
            0 => Err("the reply has no content (json, body, sse, binary, embed, rank, hangup or a message)".into()),
            _ => Err(
                "the reply has more than one kind of content (json, body, sse, binary, embed, rank, hangup, message)"
                    .into(),
            ),
        }
    }
}
