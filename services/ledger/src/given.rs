//! The meter for what costs nothing, around a layer that keeps or shares answers.
//!
//! That layer stands around [`crate::Metered`], so what it answers by itself never gets there: nothing is reserved for
//! it, and here it gets its row. Invariants: a call has one row, there or here; an answer is booked when it has ended or
//! is let go of, in a place that was taken before its first word.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Instant,
};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Frame, Inference, Result,
    chat::{Reuse, Usage},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};
use frontdesk_store::usage::UsageRow;
use futures::{Stream, StreamExt as _, stream::BoxStream};
use tokio::sync::mpsc::OwnedPermit;

use crate::{
    Inner, Ledger,
    call::{Settled, Status, micros, named, row},
};

/// See the module.
pub struct Given {
    inner: Arc<dyn Inference>,
    ledger: Ledger,
}

impl Given {
    #[must_use]
    pub fn new(inner: Arc<dyn Inference>, ledger: Ledger) -> Self {
        Self { inner, ledger }
    }
}

/// A call that costs nothing, under way; dropping it books it.
struct Free {
    ledger: Arc<Inner>,
    /// None once booked.
    place: Option<OwnedPermit<Settled>>,
    row: UsageRow,
    began: Instant,
}

impl Free {
    /// # Errors
    /// `Unavailable` when the books cannot take another call.
    async fn begin(
        ledger: &Arc<Inner>,
        (cx, operation, asked): (&Cx, &'static str, &str),
        (provider, model, reuse): (&str, &str, Option<Reuse>),
        began: Instant,
    ) -> Result<Self> {
        let place = Some(ledger.place().await?);
        let status = if reuse == Some(Reuse::Shared) { Status::Shared } else { Status::Hit };
        let row = UsageRow {
            model: named(provider, model),
            status: status.as_str(),
            cost: Some(0),
            ..row(cx, operation, asked, ledger.clock.now())
        };
        Ok(Self { ledger: Arc::clone(ledger), place, row, began })
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let row = UsageRow { latency_us: micros(self.began), ..std::mem::take(&mut self.row) };
        let number = self.ledger.next.fetch_add(1, Ordering::Relaxed);
        place.send(Settled { number, row, others: Vec::new(), purse: None });
    }
}

/// An answer that costs nothing, on its way.
struct Watched {
    frames: BoxStream<'static, Result<Frame>>,
    /// None once its end was seen.
    call: Option<Free>,
}

impl Stream for Watched {
    type Item = Result<Frame>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = ready!(this.frames.poll_next_unpin(cx));
        match (&next, &mut this.call) {
            (Some(Ok(_)), Some(call)) => {
                call.row.first_us.get_or_insert_with(|| micros(call.began));
            }
            _ => this.call = None,
        }
        Poll::Ready(next)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.frames.size_hint()
    }
}

#[async_trait]
impl Inference for Given {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let (began, asked) = (Instant::now(), request.model.clone());
        let ChatReply { head, frames } = self.inner.chat(cx, request).await?;
        if !head.is_free() {
            return Ok(ChatReply { head, frames });
        }
        let by = (head.provider.as_str(), head.model.as_str(), head.reuse);
        let call = Free::begin(&self.ledger.0, (cx, "chat", &asked), by, began).await?;
        Ok(ChatReply { frames: Watched { frames, call: Some(call) }.boxed(), head })
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.inner.models(cx).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let (began, asked) = (Instant::now(), request.model.clone());
        let reply = self.inner.embed(cx, request).await?;
        if reply.reuse.is_some_and(Reuse::is_free) {
            let by = (reply.provider.as_str(), reply.model.as_str(), reply.reuse);
            drop(Free::begin(&self.ledger.0, (cx, "embeddings", &asked), by, began).await?);
        }
        Ok(reply)
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.inner.rerank(cx, request).await
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.inner.count_tokens(cx, request).await
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
