//! Inference over many providers: resolves a model's name, asks the provider, falls back before the
//! first byte.
//!
//! Look-up order: alias or route (no slash) → `provider/rest`, split at the first slash → a bare upstream
//! id if exactly one provider has it → not found, with the nearest names.
//! Invariant: knows no provider, only `dyn Inference`.

mod catalog;
mod registered;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Error, Inference, Kind, Result,
    embed::{EmbedRequest, Embeddings},
    inference::{Model, ModelKind, NOT_OFFERED},
    rerank::{Ranking, RerankRequest},
};

use catalog::Catalog;
pub use registered::{Registered, Registration};

/// A name of the operator's that leads to models, tried in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Without a slash.
    pub id: String,
    /// `provider/upstream-id`, at least one.
    pub targets: Vec<String>,
    /// For people: a note such as "demo model".
    pub description: Option<String>,
}

/// A route as it is used.
struct Way {
    targets: Vec<Target>,
    description: Option<String>,
}

/// Where a name leads.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    provider: String,
    upstream_id: String,
}

/// All models of the house behind one address.
pub struct Router {
    providers: BTreeMap<String, Arc<dyn Inference>>,
    routes: BTreeMap<String, Way>,
    catalog: Catalog,
}

impl Router {
    /// # Errors
    /// `Invalid` with the configuration path (`models[1].targets[0]`) when a route leads nowhere.
    pub fn new(providers: BTreeMap<String, Arc<dyn Inference>>, routes: Vec<Route>) -> Result<Self> {
        let mut table = BTreeMap::new();
        for (i, route) in routes.into_iter().enumerate() {
            if route.id.contains('/') {
                return Err(Error::invalid(format!("models[{i}].id"), format!("'{}' must not contain '/'", route.id)));
            }
            let mut targets = vec![];
            for (k, name) in route.targets.iter().enumerate() {
                let param = format!("models[{i}].targets[{k}].model");
                let split = name.split_once('/').filter(|(provider, _)| providers.contains_key(*provider));
                let Some((provider, rest)) = split else {
                    let known = providers.keys().cloned().collect::<Vec<_>>().join(", ");
                    let message = format!("'{name}' must be provider/model; the inference providers are: {known}");
                    return Err(Error::invalid(param, message));
                };
                targets.push(Target { provider: provider.to_owned(), upstream_id: rest.to_owned() });
            }
            if targets.is_empty() {
                return Err(Error::invalid(
                    format!("models[{i}].targets"),
                    format!("route '{}' has no targets", route.id),
                ));
            }
            table.insert(route.id, Way { targets, description: route.description });
        }
        Ok(Self { providers, routes: table, catalog: Catalog::new(Duration::from_secs(30)) })
    }

    /// Where a name leads that says so itself: a route, or `provider/rest`.
    fn written(&self, name: &str) -> Option<Vec<Target>> {
        if let Some(way) = self.routes.get(name) {
            let copy = |t: &Target| Target { provider: t.provider.clone(), upstream_id: t.upstream_id.clone() };
            return Some(way.targets.iter().map(copy).collect());
        }
        let (provider, rest) = name.split_once('/')?;
        let known = self.providers.contains_key(provider) && !rest.is_empty();
        known.then(|| vec![Target { provider: provider.to_owned(), upstream_id: rest.to_owned() }])
    }

    async fn resolve(&self, cx: &Cx, name: &str) -> Result<Vec<Target>> {
        if let Some(targets) = self.written(name) {
            return Ok(targets);
        }
        let models = self.catalog.models(cx, &self.providers).await;
        let same: Vec<&Model> = models.iter().filter(|m| m.upstream_id == name).collect();
        match same.as_slice() {
            [one] => Ok(vec![Target { provider: one.provider.clone(), upstream_id: one.upstream_id.clone() }]),
            [] => Err(self.unknown(name, &models)),
            many => {
                let ids = many.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ");
                Err(Error::invalid(
                    "model",
                    format!("model '{name}' is offered by several providers: use one of {ids}"),
                ))
            }
        }
    }

    /// Asks the targets of a name in order, each for its own name of the model, until one answers.
    async fn ask<T, F: Future<Output = Result<T>> + Send>(
        &self,
        cx: &Cx,
        asked: &str,
        ask: impl Fn(Arc<dyn Inference>, String) -> F + Sync,
    ) -> Result<T> {
        let mut targets = self.resolve(cx, asked).await?.into_iter().peekable();
        while let Some(Target { provider: id, upstream_id }) = targets.next() {
            let Some(provider) = self.providers.get(&id) else { continue };
            match ask(Arc::clone(provider), upstream_id).await {
                Err(e) if targets.peek().is_some() && worth_another(e.kind) && !cx.cancel.is_cancelled() => {
                    tracing::warn!(model = asked, provider = id, error = %e, "falling back to the next target");
                }
                Err(e) if e.code.as_deref() == Some(NOT_OFFERED) => {
                    let message = format!("provider '{id}' of model '{asked}' {}", e.message);
                    return Err(Error { message, ..e });
                }
                Err(e) if e.kind == Kind::NotFound => return Err(self.explained(cx, asked, e).await),
                answer => return answer,
            }
        }
        Err(Error::new(Kind::Internal, format!("route '{asked}' has no target")))
    }

    /// A provider's "not found" with the nearest names, where the provider lists models and not this one.
    async fn explained(&self, cx: &Cx, asked: &str, error: Error) -> Error {
        let models = self.catalog.models(cx, &self.providers).await;
        let provider = asked.split_once('/').map_or("", |(provider, _)| provider);
        let mut listed = models.iter().filter(|m| m.provider == provider).peekable();
        if listed.peek().is_none() || listed.any(|m| m.id == asked) {
            return error;
        }
        let unknown = self.unknown(asked, &models);
        Error { source: Some(error.into()), ..unknown }
    }

    fn unknown(&self, name: &str, models: &[Model]) -> Error {
        let names = self.routes.keys().map(String::as_str).chain(models.iter().map(|m| m.id.as_str()));
        let likeness = |known: &str| {
            let tail = known.split_once('/').map_or(known, |(_, rest)| rest);
            strsim::jaro_winkler(known, name).max(strsim::jaro_winkler(tail, name))
        };
        let mut near: Vec<(f64, &str)> = names.map(|known| (likeness(known), known)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<&str> = near.into_iter().take(3).map(|(_, known)| known).collect();
        let hint = match near.as_slice() {
            [] => "no model is available: configure a provider, see 'frontdesk doctor'".to_owned(),
            some => format!("the nearest are: {}", some.join(", ")),
        };
        let message = format!("model '{name}' does not exist; {hint}");
        Error::not_found(message).with_param("model").with_code("model_not_found")
    }
}

/// Whether another target may do better.
fn worth_another(kind: Kind) -> bool {
    matches!(kind, Kind::Upstream | Kind::Timeout | Kind::Unavailable | Kind::RateLimited)
}

#[async_trait]
impl Inference for Router {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let asked = request.model.clone();
        let mut targets = self.resolve(cx, &asked).await?.into_iter().peekable();
        while let Some(target) = targets.next() {
            let Some(provider) = self.providers.get(&target.provider) else { continue };
            let mut attempt = request.clone();
            attempt.model = target.upstream_id;
            match provider.chat(cx, attempt).await {
                Err(e) if targets.peek().is_some() && worth_another(e.kind) && !cx.cancel.is_cancelled() => {
                    tracing::warn!(model = asked, provider = target.provider, error = %e, "falling back to the next target");
                }
                Err(e) if e.kind == Kind::NotFound => return Err(self.explained(cx, &asked, e).await),
                answer => return answer,
            }
        }
        Err(Error::new(Kind::Internal, format!("route '{asked}' has no target")))
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let ask = |provider: Arc<dyn Inference>, model| {
            let request = request.to(model);
            async move { provider.embed(cx, request).await }
        };
        self.ask(cx, &request.model, ask).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let ask = |provider: Arc<dyn Inference>, model| {
            let request = request.to(model);
            async move { provider.rerank(cx, request).await }
        };
        self.ask(cx, &request.model, ask).await
    }

    /// The first target of a route counts: it is the one that answers while all is well, and models count differently.
    async fn count_tokens(&self, cx: &Cx, mut request: ChatRequest) -> Result<Option<u64>> {
        let asked = request.model.clone();
        let Some(target) = self.resolve(cx, &asked).await?.into_iter().next() else { return Ok(None) };
        let Some(provider) = self.providers.get(&target.provider) else { return Ok(None) };
        request.model = target.upstream_id;
        match provider.count_tokens(cx, request).await {
            Err(e) if e.kind == Kind::NotFound => Err(self.explained(cx, &asked, e).await),
            counted => counted,
        }
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        let models = self.catalog.models(cx, &self.providers).await;
        let routes = self.routes.iter().map(|(id, way)| {
            let first = way.targets.first().map(|t| format!("{}/{}", t.provider, t.upstream_id)).unwrap_or_default();
            // A route does what its models do.
            let kind = models.iter().find(|model| model.id == first).map_or(ModelKind::Llm, |model| model.kind);
            let description = way.description.clone();
            Model { id: id.clone(), provider: String::new(), upstream_id: first, kind, created: 0, description }
        });
        Ok(routes.chain(models.iter().cloned()).collect())
    }

    /// Any target of a route may be the one that answers: the smallest window that is known holds.
    fn context_window(&self, model: &str) -> Option<usize> {
        let Some(targets) = self.written(model) else {
            return self.providers.values().find_map(|provider| provider.context_window(model));
        };
        let of = |target: &Target| self.providers.get(&target.provider)?.context_window(&target.upstream_id);
        targets.iter().filter_map(of).min()
    }
}

#[cfg(test)]
mod tests;
