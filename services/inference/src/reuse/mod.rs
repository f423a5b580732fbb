//! Answers that need not be asked for again: kept from an equal request before, or shared with one that is under way.
//!
//! A layer around the meter, for the routes whose operator wants it; every other request passes untouched. What is kept
//! are the frames of a whole good answer, bytes and events, so that they can be told again to clients of any dialect;
//! and vectors. A caller may have it otherwise, in HTTP's words ([`CacheControl`]).
//! Invariants: nothing of one tenant is ever told to another; only an answer that came to its own end is kept; what was
//! kept or shared is marked ([`Reuse`]), and nobody is asked or paid for it.

mod flight;
mod kept;
mod key;
mod tape;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Effort, Frame, Inference, Result,
    chat::{Reuse, Usage},
    cx::CancellationToken,
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model},
    provider::Health,
    rerank::{Ranking, RerankRequest},
    reuse::CacheControl,
};
use futures::{FutureExt, StreamExt};

use crate::{
    policy::{Cache, Include, Route},
    time::{Machine, Time},
};
use flight::Flights;
use kept::{Answer, Kept};
use key::{Key, Read};
use tape::{Recorder, Told};

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
    fn again(told: Arc<Told>, request: &ChatRequest) -> ChatReply {
        let head = told.head.clone();
        let all = request.needs_events(head.dialect);
        let frames = (0..told.frames().len()).map(move |i| Ok(told.frame(i, all)));
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
            && let Some(Answer::Told(told)) = kept.find(&read.key, self.time.now(), cx.cache)
            && told.serves(&request)
        {
            return Ok(Self::again(told, &request));
        }
        let CacheControl { no_store, .. } = cx.cache;
        let cache = cache.filter(|_| !no_store);
        let keep = cache.map(|(kept, _)| (Arc::clone(kept), read.key, Arc::clone(&self.time)));
        // What somebody else asked for is not fresh, and what is not to be kept is not to be told to others.
        let Some((flights, _)) = coalesce.filter(|_| !no_store && !cx.cache.wants_fresh()) else {
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
        let Some((kept, include)) = self.routes.get(&request.model).and_then(|own| own.cache.as_ref()) else {
            return self.inner.embed(cx, request).await;
        };
        let read = Read::of_embedding(cx, &request)?;
        if !cx.client_keys.is_empty() || !read.is_within(include) {
            let reply = self.inner.embed(cx, request).await?;
            return Ok(Embeddings { reuse: Some(Reuse::Bypass), ..reply });
        }
        if let Some(Answer::Vectors(vectors)) = kept.find(&read.key, self.time.now(), cx.cache) {
            return Ok(Embeddings::clone(&vectors));
        }
        let reply = self.inner.embed(cx, request).await?;
        if !cx.cache.no_store {
            let raw = reply.raw.as_ref().map(|(dialect, raw)| (*dialect, Bytes::copy_from_slice(raw)));
            let answer = Embeddings { raw, reuse: Some(Reuse::Hit), effort: Effort::default(), ..reply.clone() };
            let size = kept::OVERHEAD + vectors_size(&answer);
            kept.put(read.key, Answer::Vectors(Arc::new(answer)), size, self.time.now());
        }
        Ok(Embeddings { reuse: Some(Reuse::Miss), ..reply })
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        self.inner.rerank(cx, request).await
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

/// About what a frame takes in memory, in bytes.
fn size(frame: &Frame) -> usize {
    frame.raw.len() + size_of::<Frame>() + frame.events.iter().map(tape::event_size).sum::<usize>()
}

/// As [`size`], of vectors.
fn vectors_size(answer: &Embeddings) -> usize {
    let vectors: usize = answer.vectors.iter().map(|vector| size_of_val(&**vector) + size_of::<Vec<f32>>()).sum();
    answer.provider.len() + answer.model.len() + answer.raw.as_ref().map_or(0, |(_, raw)| raw.len()) + vectors
}
