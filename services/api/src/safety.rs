//! Safety: shields look at text at five places of a turn and say what happens to it.
//!
//! Fail-closed by default: a shield that cannot answer blocks, unless its entry says otherwise.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{Cx, Result, turn::HandOffReason};

/// Where in a turn a text stands. Tool output and retrieved text are untrusted like input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    Input,
    Retrieved,
    ToolInput,
    ToolOutput,
    Output,
}

impl Stage {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Retrieved => "retrieved",
            Self::ToolInput => "tool_input",
            Self::ToolOutput => "tool_output",
            Self::Output => "output",
        }
    }
}

/// What a shield says of a text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Verdict {
    Allow,
    /// Replace these parts.
    Redact {
        spans: Vec<Span>,
    },
    /// Stop here and show `message` to the customer.
    Block {
        category: String,
        message: String,
    },
    /// Stop here and hand over to a person.
    HandOff {
        reason: HandOffReason,
        message: String,
    },
}

/// Byte range `start..end` of the checked text (on character boundaries) and what to put there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub replacement: String,
    /// What was found (`card_number`).
    pub category: String,
}

/// How much of a streamed text a shield must see before any of it may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Hold back this many characters behind the newest, then stream.
    Window(usize),
    /// Nothing until the whole text is judged.
    Whole,
}

/// One kind of check.
#[async_trait]
pub trait Shield: Send + Sync {
    fn hold(&self) -> Hold;

    /// Whether it has anything to say at `stage`; where not, it is not asked and nothing is held back.
    fn guards(&self, stage: Stage) -> bool {
        let _ = stage;
        true
    }

    async fn check(&self, cx: &Cx, stage: Stage, text: &str) -> Result<Verdict>;
}

/// The shields of the house by id.
#[async_trait]
pub trait Safety: Send + Sync {
    /// Runs the named shields that guard `stage` over `text`, in the order named. Redactions of one are
    /// what the next one sees. Stops at the first block or hand-off.
    ///
    /// # Errors
    /// `NotFound` naming the shield. A failing shield is a `Block`, not an error (fail-closed).
    async fn check(&self, cx: &Cx, shields: &[String], stage: Stage, text: &str) -> Result<Checked>;

    /// # Errors
    /// `NotFound` naming the first of the shields that does not exist.
    fn knows(&self, shields: &[String]) -> Result<()>;

    /// The strictest hold of the named shields at `stage`; None when none of them guards it.
    fn hold(&self, shields: &[String], stage: Stage) -> Option<Hold>;
}

/// What all shields together say.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// The text with redactions applied.
    pub text: String,
    /// Each shield that ran, with its verdict, in order.
    pub verdicts: Vec<(String, Verdict)>,
}

impl Checked {
    /// The verdict that stops the text, if any, with the shield's id.
    #[must_use]
    pub fn stop(&self) -> Option<(&str, &Verdict)> {
        let stops = |v: &Verdict| matches!(v, Verdict::Block { .. } | Verdict::HandOff { .. });
        self.verdicts.iter().find(|(_, v)| stops(v)).map(|(id, v)| (id.as_str(), v))
    }
}
