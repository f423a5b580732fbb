//! The meter around the router: what passes through is counted, and nothing of it is changed.
//!
//! Invariant: every call that costs something goes through here, the edge's and the agents'.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Frame, Inference, Result,
    chat::{Message, Part, Usage},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};
use futures::{Stream, StreamExt as _, stream::BoxStream};

use crate::{
    Ledger,
    call::{Call, Status},
};

/// See the module.
pub struct Metered {
    inner: Arc<dyn Inference>,
    ledger: Ledger,
}

impl Metered {
    #[must_use]
    pub fn new(inner: Arc<dyn Inference>, ledger: Ledger) -> Self {
        Self { inner, ledger }
    }
}

#[async_trait]
impl Inference for Metered {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let mut call = self.ledger.0.begin(cx, "chat", &request.model, size(&request)).await?;
        match self.inner.chat(cx, request).await {
            Ok(reply) => {
                call.answered(&reply.head);
                let whole = !reply.head.streaming;
                Ok(ChatReply { head: reply.head, frames: Watched { call, frames: reply.frames, whole }.boxed() })
            }
            Err(error) => {
                call.failed(&error);
                Err(error)
            }
        }
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.inner.models(cx).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let call = self.ledger.0.begin(cx, "embeddings", &request.model, request.size()).await?;
        match self.inner.embed(cx, request).await {
            Ok(reply) => {
                call.done(&reply.provider, &reply.model, &reply.other_attempts, reply.usage);
                Ok(reply)
            }
            Err(error) => {
                call.failed(&error);
                Err(error)
            }
        }
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let call = self.ledger.0.begin(cx, "rerank", &request.model, request.size()).await?;
        match self.inner.rerank(cx, request).await {
            Ok(reply) => {
                call.done(&reply.provider, &reply.model, &reply.other_attempts, reply.usage);
                Ok(reply)
            }
            Err(error) => {
                call.failed(&error);
                Err(error)
            }
        }
    }

    /// Counting is free with every vendor that offers it.
    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.inner.count_tokens(cx, request).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.inner.context_window(model)
    }

    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<i64> {
        self.ledger.0.prices.cost(provider, model, usage, self.ledger.0.clock.now())
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

/// An answer on its way; dropped, it is settled with what has passed.
struct Watched {
    call: Call,
    frames: BoxStream<'static, Result<Frame>>,
    whole: bool,
}

impl Stream for Watched {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.frames.poll_next_unpin(cx));
        match &next {
            Some(Ok(frame)) => this.call.see(frame, this.whole),
            Some(Err(error)) => this.call.fail(error),
            None => this.call.settle(Status::Ok),
        }
        Poll::Ready(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.frames.size_hint()
    }
}

/// About how many bytes the prompt has.
fn size(request: &ChatRequest) -> usize {
    if let Some(source) = request.source() {
        return source.bytes.len();
    }
    // A request made in the house is typed already.
    request.chat().map_or(0, |chat| chat.messages.iter().map(words).sum())
}

fn words(message: &Message) -> usize {
    let text = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
    let calls = message.tool_calls.iter().map(|call| call.arguments.len());
    message.content.iter().map(text).chain(calls).sum()
}
