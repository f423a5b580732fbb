//! Chat: one request type, one reply type, streaming and not.
//!
//! Lossless by construction: a request keeps the bytes the client sent (`Source`) and is decoded only
//! when someone must look inside; a reply's `Frame`s keep the upstream's bytes beside the decoded
//! events. The edge forwards bytes when the dialects match; agents read events only.
//! A whole JSON answer is simply a stream of one frame, so no loop is written twice.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use crate::asked::{Marks, Source};
pub use crate::reuse::Reuse;
use crate::{Effort, Result, asked::Asked};

/// Whose JSON some bytes are. The codecs live in the wire crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    OpenaiChat,
    /// Text completions, from before chats.
    OpenaiCompletions,
    OpenaiResponses,
    OpenaiEmbeddings,
    /// What Cohere, Jina and vLLM share.
    Rerank,
    AnthropicMessages,
    /// Google's `generateContent`.
    Gemini,
    /// Amazon Bedrock's `Converse`.
    BedrockConverse,
    LlamaStack,
}

/// A chat request on its way to a provider. Clones share the client's bytes and what was decoded of them.
#[derive(Clone)]
pub struct ChatRequest {
    /// The model to call: what the client asked for at the edge, the provider's own name behind routing.
    pub model: String,
    /// Whether the caller wants the answer in pieces.
    pub stream: bool,
    /// Whether the caller asked for the usage frame of a stream (`stream_options.include_usage`).
    /// Providers ask upstream for usage in any case and mark the frame (`Frame::usage_only`).
    pub wants_usage: bool,
    /// Whether the caller reads events; `needs_events` is what a provider asks. False on a passthrough: usage
    /// and finish are enough there.
    pub wants_events: bool,
    /// Whether the caller may yet turn to another provider and so must know where the answer itself begins
    /// (`Frame::preamble`), and that a whole answer is one.
    pub wants_preamble: bool,
    /// Requests with the same number have a prefix in common that their provider may have kept: see [`affinity`].
    pub affinity: Option<u64>,
    /// Headers of the client's own with which its dialect chooses what the request means, names in lower case: a
    /// version, features in beta. Only a provider of that dialect sends them on. Never who asks, and never a secret.
    pub headers: Vec<(&'static str, String)>,
    /// The client's key for repeating the request, where whoever answers can find its first answer again (agents).
    pub idempotency_key: Option<String>,
    asked: Asked<Chat>,
}

/// The number of a conversation's name (`prompt_cache_key`, `user`, a session's id), the same in every process of one
/// build.
#[must_use]
pub fn affinity(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}

impl ChatRequest {
    /// A request made in the house (agents): typed, streamed, all events wanted.
    #[must_use]
    pub fn typed(model: impl Into<String>, chat: Chat) -> Self {
        Self {
            model: model.into(),
            stream: true,
            wants_usage: true,
            wants_events: true,
            wants_preamble: false,
            affinity: None,
            headers: vec![],
            idempotency_key: None,
            asked: Asked::typed(chat),
        }
    }

    /// A client's request, kept as its bytes.
    #[must_use]
    pub fn from_source(model: impl Into<String>, stream: bool, wants_usage: bool, source: Source<Chat>) -> Self {
        Self {
            model: model.into(),
            stream,
            wants_usage,
            wants_events: false,
            wants_preamble: false,
            affinity: None,
            headers: vec![],
            idempotency_key: None,
            asked: Asked::sent(source),
        }
    }

    /// The same request for another model.
    #[must_use]
    pub fn to(&self, model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            stream: self.stream,
            wants_usage: self.wants_usage,
            wants_events: self.wants_events,
            wants_preamble: self.wants_preamble,
            affinity: self.affinity,
            headers: self.headers.clone(),
            idempotency_key: self.idempotency_key.clone(),
            asked: self.asked.clone(),
        }
    }

    #[must_use]
    pub fn source(&self) -> Option<&Source<Chat>> {
        self.asked.source()
    }

    /// Whether a provider that answers in `dialect` must decode every event: the caller asked for them, or sent
    /// its request in another dialect and cannot read the answer's bytes.
    #[must_use]
    pub fn needs_events(&self, dialect: Dialect) -> bool {
        self.wants_events || self.source().is_some_and(|source| source.dialect != dialect)
    }

    /// The typed request; decodes the source on first use.
    ///
    /// # Errors
    /// `Invalid` naming the field when the source does not read as a chat request.
    pub fn chat(&self) -> Result<&Chat> {
        self.asked.read()
    }
}

/// The typed core of a chat request: what the house itself reads and writes. Other members ride in `extra`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Chat {
    pub messages: Vec<Message>,
    pub tools: Vec<ToolSpec>,
    pub tool_choice: Option<ToolChoice>,
    pub parallel_tool_calls: Option<bool>,
    /// Upper bound of generated tokens.
    pub max_tokens: Option<u32>,
    /// 0 to 2; None: the model's own default.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    pub seed: Option<i64>,
    pub stop: Vec<String>,
    /// OpenAI's `response_format`, as sent.
    pub response_format: Option<Value>,
    /// Everything else, by its member name.
    pub extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    System,
    Developer,
    User,
    Assistant,
    Tool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub role: Role,
    pub content: Vec<Part>,
    /// Calls the assistant made in this message.
    pub tool_calls: Vec<ToolCall>,
    /// On `Role::Tool`: the call this answers.
    pub tool_call_id: Option<String>,
    /// Members we do not know, by name.
    pub extra: Map<String, Value>,
}

impl Message {
    #[must_use]
    pub fn text(role: Role, text: impl Into<String>) -> Self {
        Self { role, content: vec![Part::Text(text.into())], tool_calls: vec![], tool_call_id: None, extra: Map::new() }
    }

    /// All text parts joined.
    #[must_use]
    pub fn joined(&self) -> String {
        self.content.iter().filter_map(|p| if let Part::Text(t) = p { Some(t.as_str()) } else { None }).collect()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    Text(String),
    /// An image, sound, file or future part, in OpenAI's shape; of a thought that was signed, in Anthropic's.
    Other(Value),
}

/// A tool as offered to the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolSpec {
    /// `^[a-zA-Z0-9_-]{1,64}$`.
    pub name: String,
    #[serde(default)]
    pub description: Option<String>,
    /// JSON Schema of the arguments object.
    #[serde(default)]
    pub parameters: Option<Value>,
    #[serde(default)]
    pub strict: Option<bool>,
    /// Anthropic's mark that the prompt is to be cached up to here; only providers of Claude's models read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<Value>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolChoice {
    Auto,
    None,
    Required,
    Named(String),
}

/// A call the model asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolCall {
    /// The model's id of the call.
    pub id: String,
    pub name: String,
    /// JSON text as the model wrote it; may be invalid.
    pub arguments: String,
}

/// A provider's answer: a head, then frames. Dropping the stream cancels the work upstream.
#[derive(Debug, Clone)]
pub struct ReplyHead {
    /// Id of the provider that answers.
    pub provider: String,
    /// The model name upstream was asked for.
    pub model: String,
    /// Dialect of the frames' raw bytes.
    pub dialect: Dialect,
    /// False: the one frame is a whole JSON body. True: the frames are server-sent events.
    pub streaming: bool,
    /// The upstream's own request id, for support tickets.
    pub upstream_request: Option<String>,
    /// What it took to get this answer.
    pub effort: Effort,
    /// What a route that keeps or shares answers did with this one; None from any other.
    pub reuse: Option<Reuse>,
}

impl ReplyHead {
    /// Nobody was asked for it, so nothing is to be paid.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.reuse.is_some_and(Reuse::is_free)
    }
}

pub struct ChatReply {
    pub head: ReplyHead,
    /// Ends after the upstream's last frame. An `Err` item is the last one: the answer broke off there.
    pub frames: BoxStream<'static, Result<Frame>>,
}

/// A piece of an answer: the upstream's bytes (whole events with their delimiters) and what they mean.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    pub raw: Bytes,
    /// Decoded events; content events are left out when the request did not want them.
    pub events: Vec<ChatEvent>,
    /// The frame carries nothing but usage: hidden from a client that did not ask for usage.
    pub usage_only: bool,
    /// The frame holds nothing of the answer itself yet (a role, an id, a ping), so its reader may still turn to another
    /// provider. Marked where `ChatRequest::wants_preamble` asks for it, and never after the answer has begun.
    pub preamble: bool,
}

/// What happened in an answer, in any dialect. A small closed set; `choice` is the index of the candidate.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    Start {
        id: String,
        model: String,
        created: i64,
    },
    Text {
        choice: u32,
        text: String,
    },
    Reasoning {
        choice: u32,
        text: String,
    },
    /// A thought that has ended, as its maker's servers take it back: a block of Anthropic's (`thinking` with its signature,
    /// `redacted_thinking`). Its words came before.
    Signed {
        choice: u32,
        block: Value,
    },
    Refusal {
        choice: u32,
        text: String,
    },
    /// A piece of a tool call; pieces with the same `index` belong together, `arguments` pieces concatenate.
    ToolCall {
        choice: u32,
        index: u32,
        id: Option<String>,
        name: Option<String>,
        arguments: String,
    },
    Logprobs {
        choice: u32,
        value: Value,
    },
    Annotations {
        choice: u32,
        value: Value,
    },
    Finish {
        choice: u32,
        reason: FinishReason,
    },
    Usage(Usage),
    /// Members no other event carries.
    Extra(Map<String, Value>),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
    #[serde(untagged)]
    Other(String),
}

/// Token counts of one call. Cached, written and reasoning tokens are parts of input and output, not additions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Input that was read from the provider's prompt cache.
    #[serde(default)]
    pub cached_input_tokens: u64,
    /// Input that was written into that cache, where the provider charges for it.
    #[serde(default)]
    pub cache_write_tokens: u64,
    /// Those of the written tokens that are kept for longer than is usual, at a price of their own.
    #[serde(default)]
    pub long_cache_write_tokens: u64,
    /// Output that the model thought and did not say.
    #[serde(default)]
    pub reasoning_tokens: u64,
}

impl ChatEvent {
    /// Whether the event is part of the answer itself: words, calls, its end. The others tell of it.
    #[must_use]
    pub fn is_content(&self) -> bool {
        match self {
            Self::Text { text, .. } | Self::Reasoning { text, .. } | Self::Refusal { text, .. } => !text.is_empty(),
            Self::Start { .. } | Self::Signed { .. } | Self::Usage(_) | Self::Extra(_) => false,
            _ => true,
        }
    }
}

impl Usage {
    /// Counts come from elsewhere, so they may be anything: none passes the end of its type.
    pub fn add(&mut self, other: Self) {
        let sum = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        sum(&mut self.input_tokens, other.input_tokens);
        sum(&mut self.output_tokens, other.output_tokens);
        sum(&mut self.cached_input_tokens, other.cached_input_tokens);
        sum(&mut self.cache_write_tokens, other.cache_write_tokens);
        sum(&mut self.long_cache_write_tokens, other.long_cache_write_tokens);
        sum(&mut self.reasoning_tokens, other.reasoning_tokens);
    }
}
