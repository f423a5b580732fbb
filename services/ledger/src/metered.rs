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
                call.done(&reply.provider, &reply.model, &reply.effort.others, reply.usage);
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
                call.done(&reply.provider, &reply.model, &reply.effort.others, reply.usage);
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

/// The most that a picture, a sound or a document in a prompt counts as where nobody counted it, in bytes of words: 1,500
/// tokens, a rule of thumb (gpt-4o's tiles make 765 of a picture of 1,024 by 1,024: 85 and 170 for each of four). Its own
/// bytes say nothing: they are packed, and not read as words.
const FILE: usize = 6_000;

/// About how many bytes of words the prompt has.
fn size(request: &ChatRequest) -> usize {
    if let Some(source) = request.source() {
        return spoken(&source.bytes);
    }
    // A request made in the house is typed already.
    request.chat().map_or(0, |chat| chat.messages.iter().map(words).sum())
}

/// The length of a JSON text in which each file (a long run of Base64) counts as [`FILE`] at most. Looked at in steps, so a body of
/// many megabytes costs microseconds, and a file's ends are known to a step.
fn spoken(json: &[u8]) -> usize {
    const STEP: usize = 1_024;
    /// So many characters in a row that are Base64's, and no word of any language in a JSON text.
    const RUN: usize = 128;
    let packed = |at: &usize| {
        let run = json.get(*at..at + RUN);
        run.is_some_and(|run| {
            run.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'='))
        })
    };
    let (mut spoken, mut run) = (json.len(), 0);
    for at in (0..json.len().saturating_add(STEP)).step_by(STEP) {
        if packed(&at) {
            run += STEP;
        } else {
            // What is shorter than a file counts as, counts by its length.
            spoken -= run.saturating_sub(FILE);
            run = 0;
        }
    }
    spoken
}

fn words(message: &Message) -> usize {
    let text = |part: &Part| match part {
        Part::Text(text) => text.len(),
        // A picture, or a thought that was signed.
        Part::Other(value) => value.to_string().len().min(FILE),
    };
    let calls = message.tool_calls.iter().map(|call| call.arguments.len());
    message.content.iter().map(text).chain(calls).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_counts_as_one_and_not_by_its_bytes() {
        let body = |file: &str, words: &str| {
            format!(
                r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"{words}"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{file}"}}}}]}}]}}"#
            )
        };
        let file = |bytes: usize| "iVBORw0KGgo+/A".repeat(bytes / 14);
        let said = "What is on this picture? Bitte auf Deutsch: gr\u{fc}n oder blau? ".repeat(200);
        for bytes in [100_000, 5_000_000] {
            let with = spoken(body(&file(bytes), &said).as_bytes());
            let without = said.len() + FILE;
            assert!(with.abs_diff(without) < 3_000, "{bytes}: {with} instead of {without}");
        }
        let two = format!("[{}, {}]", body(&file(50_000), &said), body(&file(70_000), "and this?"));
        assert!(spoken(two.as_bytes()).abs_diff(said.len() + 2 * FILE) < 5_000);
        assert_eq!(spoken(said.as_bytes()), said.len());
        assert_eq!(spoken(b""), 0);
    }
}
