//! A loaded model: its engine, its limits, its seats, and how its templates write calls.
//!
//! Invariant: every conversation with the engine thread goes through here, so that a dead engine is noticed, started
//! again and counted in one place.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use either::Either;
use mistralrs::core::TokenizationRequest;
use mistralrs::{ModelGenerationDefaults, Request, Tool};
use tokio::sync::mpsc;

use super::admission::Admission;
use super::kept::Kept;
use super::metrics::Counters;
use super::prompt::TemplateMessage;
use super::sight::Sight;

/// How long a dead engine may take to come back before the process gives up on it.
const REVIVAL: Duration = Duration::from_secs(30);
const REVIVAL_PAUSE: Duration = Duration::from_millis(20);
const LEAVING_PAUSE: Duration = Duration::from_millis(5);

/// A model that can be asked.
pub(crate) struct LoadedModel {
    pub(crate) id: String,
    pub(crate) engine: mistralrs::Model,
    /// Tokens of prompt and answer together.
    pub(crate) context: usize,
    /// Most tokens of an answer when the client does not say.
    pub(crate) max_tokens: Option<usize>,
    /// The model's own sampling, from generation_config.json.
    pub(crate) defaults: ModelGenerationDefaults,
    pub(crate) style: Style,
    /// Its answers are vectors, and it chats with nobody.
    pub(crate) embeds: bool,
    pub(crate) admission: Admission,
    /// Who counts tokens: one after another, so that a count waits for no other in the engine's line.
    pub(crate) counting: Admission,
    /// Numbers of tokens are below this, where that matters.
    pub(crate) vocabulary: Option<usize>,
    /// How it reads images, or why it does not.
    pub(crate) sight: Result<Sight, String>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) kept: Kept,
    /// Longest silence of a working engine.
    pub(crate) watchdog: Duration,
    pub(crate) alive: AtomicBool,
    /// The way to the engine thread as it was last; another one means another thread.
    pub(crate) thread: Arc<Mutex<Option<mpsc::Sender<Request>>>>,
    /// How long its first prompt took; none where none was sent.
    pub(crate) warmed: Option<Duration>,
    /// When a request last came or ended.
    pub(crate) touched: Mutex<Instant>,
}

/// How a chat template writes tool calls, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// The template prints a string of arguments as it stands.
    pub(crate) arguments_as_text: bool,
    /// The member that holds the arguments in the model's own calls.
    pub(crate) arguments_key: &'static str,
    /// Calls stand in `<tool_call>` blocks, of which there can be several.
    pub(crate) blocks: bool,
}

impl Style {
    /// Reads the style off a Jinja template.
    pub(crate) fn of(template: &str) -> Self {
        let as_text = ["arguments is string", "arguments'] is string", "arguments\"] is string"];
        let blocks = template.contains("<tool_call>");
        let parameters = !blocks && template.contains("\"parameters\"");
        Self {
            arguments_as_text: as_text.iter().any(|written| template.contains(written)),
            arguments_key: if parameters { "parameters" } else { "arguments" },
            blocks,
        }
    }
}

/// Why a prompt could not be counted.
#[derive(Debug)]
pub(crate) enum NotCounted {
    /// The template or the tokenizer refused.
    Refused(String),
    /// The engine thread is dead.
    Gone,
}

/// What the template is given.
pub(crate) struct TemplateInput<'a> {
    pub(crate) messages: &'a [TemplateMessage],
    /// How many images the messages hold.
    pub(crate) images: usize,
    pub(crate) tools: &'a [Tool],
    pub(crate) thinking: Option<bool>,
    pub(crate) effort: Option<mistralrs::core::ReasoningEffort>,
}

impl LoadedModel {
    /// Sends a request to the engine; false when its thread is dead.
    pub(crate) async fn send(&self, request: Request) -> bool {
        // Starts a new thread when the last one has ended.
        let Ok(sender) = self.engine.inner().get_sender(None) else { return false };
        self.notice(&sender);
        sender.send(request).await.is_ok()
    }

    fn notice(&self, sender: &mpsc::Sender<Request>) {
        let Ok(mut thread) = self.thread.lock() else { return };
        if thread.as_ref().is_none_or(|last| !last.same_channel(sender)) {
            let first = thread.replace(sender.clone()).is_none();
            self.counters.engine_restarts.fetch_add(u64::from(!first), Relaxed);
        }
    }

    /// Counts the tokens of a prompt as the engine will see it.
    ///
    /// Must run to its end: the engine panics when the reader of a count has left.
    pub(crate) async fn count(&self, input: &TemplateInput<'_>) -> Result<usize, NotCounted> {
        let (response, mut counted) = mpsc::channel(1);
        let request = TokenizationRequest {
            text: Either::Left(input.messages.to_vec()),
            tools: (!input.tools.is_empty()).then(|| input.tools.to_vec()),
            add_generation_prompt: true,
            add_special_tokens: true,
            enable_thinking: input.thinking,
            reasoning_effort: input.effort,
            response,
        };
        if !self.send(Request::Tokenize(request)).await {
            return Err(NotCounted::Gone);
        }
        match self.in_time(counted.recv()).await {
            Some(Ok(tokens)) => match &self.sight {
                Ok(sight) if input.images > 0 => sight.length(&tokens, input.images).map_err(NotCounted::Refused),
                _ => Ok(tokens.len()),
            },
            Some(Err(cause)) => Err(NotCounted::Refused(format!("{cause:#}"))),
            None => Err(NotCounted::Gone),
        }
    }

    /// The tokens of a text, those included that the tokenizer puts around it. Must run to its end, as `count`.
    pub(crate) async fn tokens(&self, text: &str) -> Result<Vec<u32>, NotCounted> {
        let (response, mut answer) = mpsc::channel(1);
        let request = TokenizationRequest {
            text: Either::Right(text.to_owned()),
            tools: None,
            add_generation_prompt: false,
            add_special_tokens: true,
            enable_thinking: None,
            reasoning_effort: None,
            response,
        };
        if !self.send(Request::Tokenize(request)).await {
            return Err(NotCounted::Gone);
        }
        match self.in_time(answer.recv()).await {
            Some(tokens) => tokens.map_err(|cause| NotCounted::Refused(format!("{cause:#}"))),
            None => Err(NotCounted::Gone),
        }
    }

    /// Whether the engine thread answers.
    pub(crate) async fn answers(&self) -> bool {
        !matches!(self.tokens("a").await, Err(NotCounted::Gone))
    }

    /// Waits for the engine; ends the process when it gives no sign of life for too long.
    ///
    /// A stuck engine thread cannot be stopped from within; whoever watches this process starts a fresh one.
    pub(crate) async fn in_time<T>(&self, sign: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.watchdog, sign).await {
            Ok(sign) => sign,
            Err(_silent) => {
                tracing::error!(model = %self.id, "no sign of life from the engine for {:?}; ending", self.watchdog);
                std::process::exit(1);
            }
        }
    }

    /// A request has come, or has ended.
    pub(crate) fn touch(&self) {
        *self.touched.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long ago that was.
    pub(crate) fn idle(&self) -> Duration {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Drops this handle; resolves when everyone else has too, and the engine thread has stopped. It drops the weights last,
    /// a moment later.
    pub(crate) fn gone(self: Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        if let Ok(sender) = self.engine.inner().get_sender(None) {
            self.notice(&sender);
        }
        let (thread, left) = (Arc::clone(&self.thread), Arc::downgrade(&self));
        drop(self);
        async move {
            // The thread is asked for when all have left: an answer that still ran may have started another one.
            while left.strong_count() > 0 {
                tokio::time::sleep(LEAVING_PAUSE).await;
            }
            let thread = thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                thread.closed().await;
            }
        }
    }

    /// Brings a dead engine thread back; ends the process when that fails.
    pub(crate) async fn revive(&self) {
        self.alive.store(false, Relaxed);
        tracing::warn!(model = %self.id, "the engine thread died; starting it again");
        // A thread that is still unwinding refuses; asking for its sender starts a new one once it is gone.
        let back = async {
            while !self.answers().await {
                tokio::time::sleep(REVIVAL_PAUSE).await;
            }
        };
        if tokio::time::timeout(REVIVAL, back).await.is_err() {
            tracing::error!(model = %self.id, "the engine thread did not come back; ending");
            std::process::exit(1);
        }
        self.alive.store(true, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_read_off_the_template() {
        let llama = Style::of("{\"name\": \"x\", \"parameters\": {{ call.arguments | tojson }}");
        assert_eq!(llama, Style { arguments_as_text: false, arguments_key: "parameters", blocks: false });
        let qwen = Style::of("{% if content is string %}<tool_call>{\"name\": {% if tool_call.arguments is string %}");
        assert_eq!(qwen, Style { arguments_as_text: true, arguments_key: "arguments", blocks: true });
    }
}
