//! Inference over many providers: resolves a model's name and asks whoever it leads to, again and elsewhere where an
//! operator's route says so, until the first content of an answer has come.
//!
//! `table.rs` knows names, `policy.rs` what an operator may say, `way.rs` a route in use, `ask.rs` the path of a request
//! through it. Invariants: knows no provider, only `dyn Inference`; after the first content of an answer nobody else is
//! asked; a plain `provider/model` costs no more than asking the provider.

mod ask;
mod begin;
mod breaker;
mod budget;
mod catalog;
mod flow;
mod gate;
mod line;
mod order;
pub mod policy;
mod registered;
mod reuse;
mod table;
mod ticket;
mod time;
mod verdict;
mod way;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use frontdesk_api::{
    Attempt, ChatReply, ChatRequest, Cx, Effort, Error, Inference, Kind, Result,
    attempt::Outcome,
    chat::affinity,
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model, NOT_OFFERED, UNKNOWN_WINDOW},
    rerank::{Ranking, RerankRequest},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};

use ask::{Ask, Fault};
use begin::{Begun, begun};
pub use catalog::ListInfo;
use flow::Flow;
pub use policy::Route;
use policy::{Affinity, millis};
pub use registered::{Registered, Registration};
pub use reuse::Reusing;
use table::{Found, Name, Table};
use time::{Dice, Machine, Time, mix};
pub use way::TargetInfo;
use way::{Target, Way};

/// The longest name of a model, in characters.
const LONGEST: usize = 256;

/// All models of the house behind one address.
pub struct Router {
    table: Table,
    time: Arc<dyn Time>,
    dice: Dice,
}

impl Router {
    /// # Errors
    /// `Invalid` with the configuration path (`models[1].targets[0].model`) when a route leads nowhere or a value is out
    /// of range.
    pub fn new(providers: BTreeMap<String, Arc<dyn Inference>>, routes: Vec<Route>) -> Result<Self> {
        Self::with(providers, routes, Arc::new(Machine), Dice::random())
    }

    fn with(
        providers: BTreeMap<String, Arc<dyn Inference>>,
        routes: Vec<Route>,
        time: Arc<dyn Time>,
        dice: Dice,
    ) -> Result<Self> {
        Ok(Self { table: Table::new(providers, routes, &time)?, time, dice })
    }

    /// The targets of all routes and how they are.
    #[must_use]
    pub fn targets(&self) -> Vec<TargetInfo> {
        self.table.targets()
    }

    /// How the list of models of a provider is; None: there is no such provider.
    #[must_use]
    pub fn list(&self, provider: &str) -> Option<ListInfo> {
        self.table.list(provider)
    }

    /// Asks one model of which nothing is configured, once.
    async fn plain<T>(&self, name: Name, answer: impl Future<Output = Result<T>> + Send) -> Result<(T, Effort)> {
        let began = self.time.now();
        let answer = answer.await;
        let took = self.time.now().saturating_duration_since(began);
        let error = match answer {
            Ok(answer) => return Ok((answer, Effort { took, others: vec![] })),
            Err(error) => error,
        };
        let Name { provider, upstream_id: model } = name;
        let asked = format!("{provider}/{model}");
        let usage = error.attempts().last().and_then(|attempt| attempt.usage);
        let attempt = Attempt { provider, model, outcome: Outcome::Failed(error.kind), took, usage };
        Err(self.explained(&asked, error.with_tried(vec![attempt])).await)
    }

    /// Asks the targets of a route for a chat.
    async fn along(&self, cx: &Cx, mut request: ChatRequest, way: &Way) -> Result<ChatReply> {
        request.wants_preamble = way.may_move_on;
        let limited = self.limited(cx, way);
        let cx = limited.as_ref().unwrap_or(cx);
        let streamed = |ms: Option<u64>| ms.filter(|_| request.stream).map(millis);
        let ask = Ask {
            patience: streamed(way.timeouts.first_token_ms),
            hedge_after: streamed(way.hedge.as_ref().map(|hedge| hedge.after_ms)),
            ..self.ask(cx, way)
        };
        let (seed, wait) = (self.seed(cx, request.affinity, way), way.may_move_on);
        let request = &request;
        let call = move |target: Arc<Target>| {
            async move {
                let reply = target.inference.chat(cx, request.to(&target.upstream_id)).await?;
                if wait { begun(reply).await } else { Ok::<_, Box<Fault>>(Begun::at_once(reply)) }
            }
            .boxed()
        };
        let answered = match ask.ask(seed, &call).await {
            Ok(answered) => answered,
            Err(error) => return Err(self.explained(&way.id, error).await),
        };
        let Begun { mut head, held, rest } = answered.value;
        head.effort = answered.effort;
        let limits = (way.timeouts.idle_ms.map(millis), cx.deadline, &self.time);
        let flow = Flow::new(&head.provider, held, rest, Some(answered.ticket), limits);
        Ok(ChatReply { head, frames: flow.boxed() })
    }

    /// Asks whoever a name leads to for something that comes whole; with it what that took.
    async fn whole<'a, T: Send>(
        &'a self,
        cx: &'a Cx,
        asked: &'a str,
        call: impl Fn(Arc<dyn Inference>, String) -> BoxFuture<'a, Result<T>> + Send + Sync + 'a,
    ) -> Result<(T, Effort)> {
        let way = match self.table.find(asked).await? {
            Found::Way(way) => way,
            Found::Plain(inference, name) => {
                let answer = call(Arc::clone(inference), name.upstream_id.clone());
                return self.plain(name, answer).await;
            }
        };
        // The call took its own copy of what it needs; the limit of time holds around all attempts.
        let limited = self.limited(cx, way);
        let ask = self.ask(limited.as_ref().unwrap_or(cx), way);
        let call = |target: Arc<Target>| {
            let answer = call(Arc::clone(&target.inference), target.upstream_id.clone());
            answer.map(|answer| answer.map_err(Box::<Fault>::from)).boxed()
        };
        match ask.ask(self.seed(cx, None, way), &call).await {
            Ok(answered) => Ok((answered.value, answered.effort)),
            Err(error) => Err(self.explained(&way.id, error).await),
        }
    }

    /// A request's way through a route, in no hurry.
    fn ask<'a>(&'a self, cx: &'a Cx, way: &'a Way) -> Ask<'a> {
        Ask { way, cx, time: &self.time, dice: &self.dice, patience: None, hedge_after: None, log: Mutex::default() }
    }

    /// The caller with the route's deadline; None: the route sets none.
    fn limited(&self, cx: &Cx, way: &Way) -> Option<Cx> {
        let at = self.time.now() + millis(way.timeouts.total_ms?);
        Some(Cx { deadline: Some(cx.deadline.map_or(at, |own| own.min(at))), ..cx.clone() })
    }

    /// What the order of equal targets is drawn from: the conversation where it is known, else chance.
    fn seed(&self, cx: &Cx, of_request: Option<u64>, way: &Way) -> u64 {
        let session = || cx.session.as_deref().map(affinity).or(of_request);
        match way.affinity {
            Affinity::Session => session().map(|of| mix(of ^ affinity(&cx.tenant))),
            Affinity::None => None,
        }
        .unwrap_or_else(|| self.dice.roll())
    }

    /// The error of a provider with what only the house knows: the nearest names, or which provider it is.
    async fn explained(&self, asked: &str, error: Error) -> Error {
        if error.code.as_deref() == Some(NOT_OFFERED) {
            let provider = error.attempts().last().map_or("", |last| &last.provider);
            let message = format!("provider '{provider}' of model '{asked}' {}", error.message);
            return Error { message, ..error };
        }
        match error.kind {
            Kind::NotFound => self.table.explained(asked, error).await,
            _ => error,
        }
    }
}

#[async_trait]
impl Inference for Router {
    async fn chat(&self, cx: &Cx, mut request: ChatRequest) -> Result<ChatReply> {
        let (inference, name) = match self.table.find(&request.model).await? {
            Found::Way(way) => return self.along(cx, request, way).await,
            Found::Plain(inference, name) => (inference, name),
        };
        request.model.clone_from(&name.upstream_id);
        let (ChatReply { mut head, frames }, effort) = self.plain(name, inference.chat(cx, request)).await?;
        head.effort = effort;
        if cx.deadline.is_none() {
            return Ok(ChatReply { head, frames });
        }
        let flow = Flow::new(&head.provider, vec![], frames, None, (None, cx.deadline, &self.time));
        Ok(ChatReply { head, frames: flow.boxed() })
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let call = |provider: Arc<dyn Inference>, model: String| {
            let request = request.to(model);
            async move { provider.embed(cx, request).await }.boxed()
        };
        let (reply, effort) = self.whole(cx, &request.model, call).await?;
        Ok(Embeddings { effort, ..reply })
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let call = |provider: Arc<dyn Inference>, model: String| {
            let request = request.to(model);
            async move { provider.rerank(cx, request).await }.boxed()
        };
        let (reply, effort) = self.whole(cx, &request.model, call).await?;
        Ok(Ranking { effort, ..reply })
    }

    /// The target of a route that would answer now counts: models count differently. A count is no answer: it takes nobody's
    /// place, and however it ends it says nothing to a target's breaker.
    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        let asked = request.model.as_str();
        let way = match self.table.find(asked).await? {
            Found::Way(way) => way,
            Found::Plain(inference, name) => {
                let counting = inference.count_tokens(cx, request.to(&name.upstream_id));
                return Ok(self.plain(name, counting).await?.0);
            }
        };
        let limited = self.limited(cx, way);
        let (cx, now) = (limited.as_ref().unwrap_or(cx), self.time.now());
        let order = order::order(way.targets.iter().map(|target| target.rank), self.seed(cx, request.affinity, way));
        let in_order = order.iter().map(|i| &way.targets[*i]);
        let (well, unwell): (Vec<_>, Vec<_>) = in_order.partition(|target| target.breaker.shut_until(now).is_none());
        let mut last = None;
        for target in well.into_iter().chain(unwell) {
            match target.inference.count_tokens(cx, request.to(&target.upstream_id)).await {
                Err(e) if verdict::of(&e).elsewhere => last = Some(e),
                Err(e) => return Err(self.explained(&way.id, e).await),
                counted => return counted,
            }
        }
        match last {
            Some(e) => Err(self.explained(&way.id, e).await),
            None => Ok(None),
        }
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(self.table.models().await)
    }

    /// Any target of a route may be the one that answers: where the route does not say it, the smallest window that is
    /// known holds.
    fn context_window(&self, model: &str) -> Option<usize> {
        match self.table.written(model) {
            Some(Found::Way(way)) => way.context_window.or_else(|| {
                let said = way.targets.iter().map(|target| target.inference.context_window(&target.upstream_id));
                let said: Vec<Option<usize>> = said.collect();
                // One that does not say it takes no more than is thought of such a one.
                let known = said.iter().any(Option::is_some);
                said.into_iter().map(|window| window.unwrap_or(UNKNOWN_WINDOW)).min().filter(|_| known)
            }),
            Some(Found::Plain(inference, name)) => inference.context_window(&name.upstream_id),
            None => self.table.providers.values().find_map(|provider| provider.context_window(model)),
        }
    }
}

#[cfg(test)]
mod tests;
