//! Model calls, watched: a decorator over the router that counts every call and, where traces are on, makes it a span.
//!
//! It sees what the router is asked and what it answers, so agents and clients are watched alike. A call ends with
//! its answer's last frame, with an error, or when whoever asked lets go of it; it is counted exactly once.
//! Invariants: frames pass through as they came; without a collector there is no span and no clone of anything but
//! handles; a prompt or an answer is looked at only where the operator asked for content.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use async_trait::async_trait;
use frontdesk_api::{
    Attempt, ChatEvent, ChatReply, ChatRequest, Cx, Error, Frame, Inference, Kind, Result,
    chat::{FinishReason, ReplyHead, Reuse, Usage},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};
use futures::{Stream, StreamExt, stream::BoxStream};
use tracing::{Instrument, Span};

use super::{
    Telemetry,
    calls::{Calls, Operation, Series, error_type, outcome_word},
    content,
    spans::{self, SpanExt as _},
};

/// An `Inference` whose calls are counted.
pub(crate) struct Observed {
    inner: Arc<dyn Inference>,
    calls: Arc<Calls>,
    /// Whether calls are spans.
    traces: bool,
    /// Whether spans carry what was asked and answered.
    content: bool,
}

impl Observed {
    pub(crate) fn new(inner: Arc<dyn Inference>, telemetry: &Telemetry) -> Self {
        Self {
            inner,
            calls: Arc::clone(&telemetry.calls),
            traces: telemetry.traces,
            content: telemetry.content && telemetry.traces,
        }
    }

    fn begin(&self, operation: Operation, cx: &Cx, model: &str) -> Call {
        let series = Arc::clone(self.calls.expected(operation, model));
        let span = if self.traces { spans::call(operation, cx, model) } else { Span::none() };
        let asked = (series.asked != model).then(|| model.to_owned());
        let told = (self.traces && !span.is_disabled()).then(Box::default);
        Call {
            at: Instant::now(),
            calls: Arc::clone(&self.calls),
            clients: cx.turn.is_none(),
            operation,
            series,
            asked,
            span,
            told,
            seen: Seen::default(),
        }
    }
}

#[async_trait]
impl Inference for Observed {
    async fn chat(&self, cx: &Cx, mut request: ChatRequest) -> Result<ChatReply> {
        let mut call = self.begin(Operation::Chat, cx, &request.model);
        if self.content && call.told.is_some() {
            content::asked(&call.span, &request);
            request.wants_events = true;
        }
        let ours = call.span.carried(cx);
        let asked = self.inner.chat(ours.as_ref().unwrap_or(cx), request);
        match asked.instrument(call.span.clone()).await {
            Err(error) => Err(call.failed(error)),
            Ok(ChatReply { head, frames }) => {
                call.answered(&head, self.content);
                Ok(ChatReply { head, frames: Watched { frames, call }.boxed() })
            }
        }
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let mut call = self.begin(Operation::Embeddings, cx, &request.model);
        let ours = call.span.carried(cx);
        let asked = self.inner.embed(ours.as_ref().unwrap_or(cx), request);
        match asked.instrument(call.span.clone()).await {
            Err(error) => Err(call.failed(error)),
            Ok(reply) => {
                call.reused(reply.reuse);
                call.lost(&reply.effort.others);
                call.done(&reply.provider, &reply.model, reply.usage);
                Ok(reply)
            }
        }
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let mut call = self.begin(Operation::Rerank, cx, &request.model);
        let ours = call.span.carried(cx);
        let asked = self.inner.rerank(ours.as_ref().unwrap_or(cx), request);
        match asked.instrument(call.span.clone()).await {
            Err(error) => Err(call.failed(error)),
            Ok(reply) => {
                call.lost(&reply.effort.others);
                call.done(&reply.provider, &reply.model, reply.usage);
                Ok(reply)
            }
        }
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        let mut call = self.begin(Operation::CountTokens, cx, &request.model);
        let ours = call.span.carried(cx);
        let asked = self.inner.count_tokens(ours.as_ref().unwrap_or(cx), request);
        let counted = asked.instrument(call.span.clone()).await;
        match counted {
            Err(error) => Err(call.failed(error)),
            Ok(counted) => {
                call.seen.ended = true;
                Ok(counted)
            }
        }
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.inner.models(cx).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.inner.context_window(model)
    }

    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<i64> {
        self.inner.cost(provider, model, usage)
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

/// A call under way; dropping it is its end.
struct Call {
    at: Instant,
    calls: Arc<Calls>,
    /// A client asked, and no agent in its turn.
    clients: bool,
    operation: Operation,
    series: Arc<Series>,
    /// The model's name where `series` has another.
    asked: Option<String>,
    span: Span,
    /// What only the span tells; None without one.
    told: Option<Box<Told>>,
    seen: Seen,
}

/// What was seen of an answer.
#[derive(Default)]
struct Seen {
    streaming: bool,
    /// When the first and the latest pieces of a stream came, in seconds.
    first: Option<f64>,
    last: f64,
    /// When the first piece with content came; where pieces are not decoded that is the first of all.
    content: Option<f64>,
    usage: Option<Usage>,
    finished: bool,
    /// To its last frame.
    ended: bool,
    /// Nobody was asked: no provider's time, no provider's tokens.
    free: bool,
    error: Option<Kind>,
}

/// What a span tells of an answer, beyond what is counted.
#[derive(Default)]
struct Told {
    id: String,
    model: String,
    reasons: Vec<String>,
    content: Option<content::Answer>,
}

impl Call {
    fn failed(&mut self, error: Error) -> Error {
        self.lost(error.attempts());
        self.seen.error = Some(error.kind);
        error
    }

    fn answered(&mut self, head: &ReplyHead, content: bool) {
        self.seen.streaming = head.streaming;
        self.lost(&head.effort.others);
        self.reused(head.reuse);
        self.by(&head.provider, &head.model);
        if let Some(told) = &mut self.told {
            told.content = content.then(content::Answer::default);
        }
    }

    /// Attempts that did not become the answer: counted, and told by the span in the order in which they were made.
    fn lost(&self, attempts: &[Attempt]) {
        self.calls.lost(attempts);
        if self.told.is_some() && !attempts.is_empty() {
            let told = attempts.iter().map(|Attempt { provider, model, outcome, took, .. }| {
                format!("{provider}/{model}: {} after {} ms", outcome_word(*outcome), took.as_millis())
            });
            self.span.tell_all("frontdesk.attempts.lost", told.collect());
        }
    }

    /// What a route that keeps or shares answers did.
    fn reused(&mut self, reuse: Option<Reuse>) {
        let Some(reuse) = reuse else { return };
        self.calls.reused(self.asked.as_deref().unwrap_or(&self.series.asked), reuse);
        self.seen.free = reuse.is_free();
        self.span.tell("frontdesk.cache.result", reuse.as_str());
    }

    /// A whole answer that is no chat came.
    fn done(&mut self, provider: &str, model: &str, usage: Option<Usage>) {
        self.by(provider, model);
        self.seen.usage = usage;
        self.seen.ended = true;
    }

    /// It is `provider` that answers.
    fn by(&mut self, provider: &str, model: &str) {
        let asked = self.asked.as_deref().unwrap_or(&self.series.asked);
        if !self.series.is(self.operation, asked, provider, model) {
            self.series = Arc::clone(self.calls.answered(self.operation, asked, provider, model));
        }
        if let Some(told) = &mut self.told {
            self.span.tell("gen_ai.provider.name", provider.to_owned());
            model.clone_into(&mut told.model);
        }
    }

    fn take(&mut self, frame: &Frame) {
        if self.seen.streaming && !self.seen.free {
            let now = self.at.elapsed().as_secs_f64();
            match self.seen.first {
                None => {
                    self.seen.first = Some(now);
                    self.series.began(now);
                }
                Some(_) => self.series.went_on(now - self.seen.last),
            }
            self.seen.last = now;
            if self.seen.content.is_none() && !frame.preamble {
                let has = frame.events.is_empty() || frame.events.iter().any(ChatEvent::is_content);
                self.seen.content = has.then_some(now);
            }
        }
        for event in &frame.events {
            match event {
                ChatEvent::Usage(usage) => self.seen.usage = Some(*usage),
                ChatEvent::Finish { .. } => self.seen.finished = true,
                _ => {}
            }
            if let Some(told) = &mut self.told {
                told.take(event);
            }
        }
    }
}

impl Told {
    fn take(&mut self, event: &ChatEvent) {
        match event {
            ChatEvent::Start { id, model, .. } => {
                self.id.clone_from(id);
                if !model.is_empty() {
                    self.model.clone_from(model);
                }
            }
            ChatEvent::Finish { reason, .. } => self.reasons.push(word(reason)),
            _ => {}
        }
        if let Some(content) = &mut self.content {
            content.take(event);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (seen, seconds) = (&self.seen, self.at.elapsed().as_secs_f64());
        // Let go of before its end: a client that left, or an agent that had heard enough of a finished answer.
        let error = seen.error.or_else(|| (!seen.ended && !seen.finished).then_some(Kind::Cancelled));
        if !seen.free {
            self.series.took(seconds, error);
        }
        if self.clients {
            self.series.served(seconds, error);
        }
        if let Some(usage) = seen.usage.filter(|_| !seen.free) {
            self.series.used(usage);
        }
        if let (Some(first), None) = (seen.content, error) {
            self.series.streamed(first, seen.last, seen.usage.unwrap_or_default().output_tokens);
        }
        let Some(told) = self.told.take() else { return };
        let span = &self.span;
        // A span ends when it was left last, which is now.
        let _inside = span.enter();
        if let Some(error) = error {
            span.tell("error.type", error_type(error));
        }
        if let Some(first) = seen.first {
            span.tell("gen_ai.response.time_to_first_chunk", first);
        }
        if let Some(usage) = seen.usage.filter(|_| !seen.free) {
            span.used(usage);
        }
        told.tell(span);
    }
}

impl Told {
    fn tell(self, span: &Span) {
        if !self.model.is_empty() {
            span.tell("gen_ai.response.model", self.model);
        }
        if !self.id.is_empty() {
            span.tell("gen_ai.response.id", self.id);
        }
        if let Some(content) = self.content {
            content.tell(span, &self.reasons);
        }
        if !self.reasons.is_empty() {
            span.tell_all("gen_ai.response.finish_reasons", self.reasons);
        }
    }
}

/// OpenTelemetry's word where it has one, else the provider's own.
fn word(reason: &FinishReason) -> String {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::ToolCalls => "tool_call",
        FinishReason::ContentFilter => "content_filter",
        FinishReason::Other(word) => word,
    }
    .to_owned()
}

/// The frames of an answer under way.
struct Watched {
    frames: BoxStream<'static, Result<Frame>>,
    call: Call,
}

impl Stream for Watched {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame>>> {
        let Self { frames, call } = self.get_mut();
        let polled = {
            let _inside = call.span.enter();
            frames.as_mut().poll_next(cx)
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) => call.take(frame),
            Poll::Ready(Some(Err(error))) => call.seen.error = Some(error.kind),
            Poll::Ready(None) => call.seen.ended = true,
            Poll::Pending => {}
        }
        polled
    }
}
