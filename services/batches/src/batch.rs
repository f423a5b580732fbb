//! A batch: what was asked, and how far it is.

use frontdesk_api::Micros;
use frontdesk_store::jobs::Job;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::JobState;

/// A batch as it stands. Its payload is the [`Request`].
pub type Batch = Job<Request, Progress>;

/// What every line of a batch asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    ChatCompletions,
    Completions,
    Embeddings,
    /// Anthropic's Messages; such a batch has no files.
    Messages,
}

impl Endpoint {
    /// Those that an input file may name.
    pub const OF_FILES: [Self; 3] = [Self::ChatCompletions, Self::Completions, Self::Embeddings];

    /// The path as clients write it.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::ChatCompletions => "/v1/chat/completions",
            Self::Completions => "/v1/completions",
            Self::Embeddings => "/v1/embeddings",
            Self::Messages => "/v1/messages",
        }
    }

    /// Which jobs these are; the prefix of their ids too.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Messages => MESSAGES,
            _ => FILES,
        }
    }
}

/// The kind of a batch that reads and writes files, in OpenAI's way.
pub(crate) const FILES: &str = "batch";

/// The kind of a batch whose requests and results are rows only, in Anthropic's way.
pub(crate) const MESSAGES: &str = "msgbatch";

/// What was asked; never changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    pub endpoint: Endpoint,
    /// None: its lines came with the request.
    pub files: Option<Files>,
    pub metadata: Map<String, Value>,
    /// The key that asked; what the lines cost is booked on it.
    pub key_id: String,
    /// When its time is over.
    pub expires_at: Micros,
    /// How long its output and error files are kept, in seconds from their creation; None: until they are deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_expires_after_s: Option<u64>,
}

/// Ids of a batch's files. Those it writes are drawn when it begins, so that finishing twice writes them once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Files {
    pub input: String,
    pub output: String,
    pub errors: String,
}

/// How far a batch is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub stage: Stage,
    /// Lines in all; 0 until they were read.
    pub total: u64,
    pub succeeded: u64,
    pub failed: u64,
    /// Not asked any more, because it was cancelled.
    pub cancelled: u64,
    /// Not asked any more, because its time was over.
    pub expired: u64,
    pub in_progress_at: Option<Micros>,
    pub finalizing_at: Option<Micros>,
    /// How it ends, once every line has its outcome.
    pub ending: Option<JobState>,
    /// Why it failed as a whole.
    pub faults: Vec<Fault>,
    /// Whether the output file is there.
    pub has_output: bool,
    /// Whether the error file is there.
    pub has_errors: bool,
    /// How often it was put aside since it last got on, because its contents could not be reached.
    #[serde(default)]
    pub waits: u32,
}

impl Progress {
    /// Lines without an outcome.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.total.saturating_sub(self.succeeded + self.failed + self.cancelled + self.expired)
    }
}

/// What a batch is at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Its input file is being read.
    #[default]
    Reading,
    Asking,
    /// Every line has its outcome; its files are being written.
    Finishing,
}

/// What is wrong with an input file, or with a batch as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    pub code: String,
    pub message: String,
    /// The member at fault.
    pub param: Option<String>,
    /// Line of the input file, from 1.
    pub line: Option<u64>,
}
