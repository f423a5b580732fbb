//! Answers that need not be asked for again: kept from an equal request before, or shared with one that is under way.
//!
//! A layer around the meter, for the routes whose operator wants it; every other request passes untouched. What is kept
//! are the frames of a whole good answer, bytes and events, so that they can be told again to clients of any dialect.
//! Invariants: nothing of one tenant is ever told to another; only an answer that came to its own end is kept; what was
//! kept or shared is marked ([`Reuse`]), and nobody is asked or paid for it.

mod flight;
mod kept;
mod key;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Frame, Inference, Result,
    chat::Reuse,
    cx::CancellationToken,
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};
use futures::{FutureExt, StreamExt};

use crate::{
    policy::{Cache, Include, Route},
    time::{Machine, Time},
};
use flight::Flights;
use kept::{Answer, Kept, Recorder};
use key::{Key, Read};

/// See the module.
pub struct Reusing {
    inner: Arc<dyn Inference>,
    routes: HashMap<String, Own>,
    time: Arc<dyn Time>,
}

/// What one route keeps and shares.
struct Own {
    cache: Option<(Arc<Kept>, Vec<Include>)>,
    coalesce: Option<(Arc<Flights>, Vec<Include>)>,
}

impl Reusing {
    /// None where no route keeps or shares anything. The routes are taken as checked ([`Route::check`]).
    #[must_use]
    pub fn over(inner: Arc<dyn Inference>, routes: &[Route]) -> Option<Self> {
        Self::with(inner, routes, Arc::new(Machine))
    }

    pub(crate) fn with(inner: Arc<dyn Inference>, routes: &[Route], time: Arc<dyn Time>) -> Option<Self> {
        let own = |route: &Route| {
            let cache = |cache: &Cache| (Arc::new(Kept::new(cache)), cache.include.clone());
            let cache = route.cache.as_ref().map(cache);
            let coalesce = route.coalesce.as_ref().map(|coalesce| (Arc::default(), coalesce.include.clone()));
            let any = cache.is_some() || coalesce.is_some();
            any.then(|| (route.id.clone(), Own { cache, coalesce }))
        };
        let routes: HashMap<String, Own> = routes.iter().filter_map(own).collect();
        (!routes.is_empty()).then_some(Self { inner, routes, time })
    }

    /// A kept answer, told again.
    fn told(answer: &Arc<Answer>, request: &ChatRequest) -> ChatReply {
        let head = answer.head.clone();
        let all = request.needs_events(head.dialect);
        let answer = Arc::clone(answer);
        let frames = (0..answer.frames().len()).map(move |i| Ok(answer.frame(i, all)));
        ChatReply { head, frames: futures::stream::iter(frames).boxed() }
    }

    /// Asks; a whole good answer is kept.
    async fn ask(
        inner: Arc<dyn Inference>,
        cx: Cx,
        mut request: ChatRequest,
        keep: Option<(Arc<Kept>, Key, Arc<dyn Time>)>,
    ) -> Result<ChatReply> {
        // Who it is told to later may read another dialect, and an end can only be seen where events are decoded.
        request.wants_events = true;
        let ChatReply { mut head, frames } = inner.chat(&cx, request).await?;
        head.reuse = Some(Reuse::Miss);
        let Some((kept, key, time)) = keep else { return Ok(ChatReply { head, frames }) };
        let frames = Recorder::new(&head, frames, kept, key, time).boxed();
        Ok(ChatReply { head, frames })
    }
}

#[async_trait]
impl Inference for Reusing {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let Some(own) = self.routes.get(&request.model) else { return self.inner.chat(cx, request).await };
        let read = Read::of(cx, &request)?;
        // What a client pays for itself is its own: it is neither kept nor shared, and neither is a refusal of its key.
        let ours = cx.client_keys.is_empty();
        let cache = own.cache.as_ref().filter(|(_, include)| ours && read.is_within(include));
        // A turn's deadline is its own, and so must be its calls.
        let shares = |(_, include): &&(_, Vec<Include>)| ours && cx.deadline.is_none() && read.is_within(include);
        let coalesce = own.coalesce.as_ref().filter(shares);
        if cache.is_none() && coalesce.is_none() {
            let mut reply = self.inner.chat(cx, request).await?;
            reply.head.reuse = Some(Reuse::Bypass);
            return Ok(reply);
        }
        if let Some((kept, _)) = cache
            && let Some(answer) = kept.find(&read.key, self.time.now())
            && answer.serves(&request)
        {
            return Ok(Self::told(&answer, &request));
        }
        let keep = cache.map(|(kept, _)| (Arc::clone(kept), read.key, Arc::clone(&self.time)));
        let Some((flights, _)) = coalesce else {
            return Self::ask(Arc::clone(&self.inner), cx.clone(), request, keep).await;
        };
        // Whoever asks first may leave first: what is under way for several is nobody's own.
        let ours = Cx { cancel: CancellationToken::new(), ..cx.clone() };
        let key = (read.key, request.wants_usage);
        let ask = Self::ask(Arc::clone(&self.inner), ours, request, keep);
        flights.join(key, ask.boxed()).reply(cx).await
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        self.inner.models(cx).await
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.inner.count_tokens(cx, request).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        self.inner.embed(cx, request).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.inner.rerank(cx, request).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.inner.context_window(model)
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

/// About what a frame takes in memory, in bytes.
fn size(frame: &Frame) -> usize {
    frame.raw.len() + size_of::<Frame>() + frame.events.iter().map(kept::event_size).sum::<usize>()
}
