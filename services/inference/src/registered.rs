//! Models that tenants register: names of their own that lead to a model of a configured provider.
//!
//! They stand before the router: a registered name becomes `provider/model`, and the router knows of no tenants. A name
//! that the configuration knows is never looked up, so what the operator wrote costs no look at the database.
//! Invariant: a registered name never means anything else than before to whoever used what
//! the operator configured: no route's name, and nothing under a provider's.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Clock, Cx, Error, Inference, Result,
    chat::Usage,
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model, ModelKind},
    provider::Health,
    rerank::{Ranking, RerankRequest},
};
use frontdesk_store::{Store, models::StoredModel};
use serde_json::{Map, Value};

use crate::LONGEST;

/// The names that tenants gave, before the models of the house. Clones share it.
#[derive(Clone)]
pub struct Registered {
    inner: Arc<dyn Inference>,
    store: Store,
    clock: Arc<dyn Clock>,
    providers: Arc<BTreeSet<String>>,
    routes: Arc<BTreeSet<String>>,
}

/// What is to be registered.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    pub id: String,
    /// None: the one inference provider there is.
    pub provider_id: Option<String>,
    /// None: as `id`.
    pub upstream_id: Option<String>,
    pub kind: ModelKind,
    pub metadata: Map<String, Value>,
}

impl Registered {
    /// `providers` and `routes`: the names of the configuration.
    pub fn new(
        inner: Arc<dyn Inference>,
        store: Store,
        clock: Arc<dyn Clock>,
        providers: impl IntoIterator<Item = String>,
        routes: impl IntoIterator<Item = String>,
    ) -> Self {
        let (providers, routes) = (providers.into_iter().collect(), routes.into_iter().collect());
        Self { inner, store, clock, providers: Arc::new(providers), routes: Arc::new(routes) }
    }

    /// Registers a model, or registers it anew. Its provider is not asked whether it has it.
    ///
    /// # Errors
    /// `Conflict` for a name that the configuration has; `Invalid` naming the member.
    pub async fn register(&self, cx: &Cx, registration: Registration) -> Result<StoredModel> {
        let id = registration.id;
        self.free(&id)?;
        let model = StoredModel {
            provider_id: self.provider(registration.provider_id)?,
            upstream_id: registration.upstream_id.filter(|id| !id.is_empty()).unwrap_or_else(|| id.clone()),
            id,
            kind: registration.kind,
            metadata: registration.metadata,
            created_at: self.clock.now(),
        };
        self.store.tenant(cx).put_model(&model).await
    }

    /// # Errors
    /// `Conflict` for a name of the configuration, `NotFound`.
    pub async fn delete(&self, cx: &Cx, id: &str) -> Result<()> {
        if let Some(whose) = self.configured(id) {
            return Err(Error::conflict(format!("model '{id}' is {whose} and is removed there, not by the API"))
                .with_param("model_id")
                .with_code("configured"));
        }
        self.store.tenant(cx).delete_model(id).await
    }

    /// What the router is to be asked for.
    async fn meant(&self, cx: &Cx, name: &str) -> Result<Option<String>> {
        if self.configured(name).is_some() {
            return Ok(None);
        }
        // Boxed, since few calls get here and every one would carry room for the query.
        let found = Box::pin(self.store.tenant(cx).find_model(name)).await?;
        // One whose provider has left the configuration leads nowhere.
        let found = found.filter(|model| self.providers.contains(&model.provider_id));
        Ok(found.map(|model| format!("{}/{}", model.provider_id, model.upstream_id)))
    }

    /// Those of the caller's tenant, by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn list(&self, cx: &Cx) -> Result<Vec<StoredModel>> {
        let mut models = self.store.tenant(cx).list_models().await?;
        models.retain(|model| self.providers.contains(&model.provider_id) && self.configured(&model.id).is_none());
        Ok(models)
    }

    /// Whose a name is, where the configuration has it.
    fn configured(&self, id: &str) -> Option<String> {
        if self.routes.contains(id) {
            return Some("named in the configuration (models)".into());
        }
        let (provider, _) = id.split_once('/')?;
        self.providers.contains(provider).then(|| format!("the configured provider '{provider}'s own"))
    }

    fn free(&self, id: &str) -> Result<()> {
        let invalid = |message: String| Err(Error::invalid("model_id", message));
        if id.is_empty() || id.chars().count() > LONGEST || id.chars().any(char::is_control) {
            return invalid(format!("'model_id' must have 1 to {LONGEST} characters, all of them printable"));
        }
        if id.starts_with("agent/") {
            return invalid("names under 'agent/' are those of agents".into());
        }
        match self.configured(id) {
            Some(whose) => Err(Error::conflict(format!("model '{id}' is {whose}: register another name"))
                .with_param("model_id")
                .with_code("configured")),
            None => Ok(()),
        }
    }

    fn provider(&self, named: Option<String>) -> Result<String> {
        let known = || self.providers.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        match named.filter(|id| !id.is_empty()) {
            Some(id) if self.providers.contains(&id) => Ok(id),
            Some(id) => {
                let message = format!("there is no inference provider '{id}'; there are: {}", known());
                Err(Error::invalid("provider_id", message))
            }
            None => match self.providers.iter().collect::<Vec<_>>().as_slice() {
                [one] => Ok((*one).clone()),
                _ => {
                    let message = format!("missing member 'provider_id': name one of {}", known());
                    Err(Error::invalid("provider_id", message))
                }
            },
        }
    }
}

#[async_trait]
impl Inference for Registered {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        match self.meant(cx, &request.model).await? {
            Some(meant) => self.inner.chat(cx, request.to(meant)).await,
            None => self.inner.chat(cx, request).await,
        }
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        match self.meant(cx, &request.model).await? {
            Some(meant) => self.inner.embed(cx, request.to(meant)).await,
            None => self.inner.embed(cx, request).await,
        }
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        match self.meant(cx, &request.model).await? {
            Some(meant) => self.inner.rerank(cx, request.to(meant)).await,
            None => self.inner.rerank(cx, request).await,
        }
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        match self.meant(cx, &request.model).await? {
            Some(meant) => self.inner.count_tokens(cx, request.to(meant)).await,
            None => self.inner.count_tokens(cx, request).await,
        }
    }

    /// The house's models, then those of the caller's tenant.
    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        let mut models = self.inner.models(cx).await?;
        models.extend(self.list(cx).await?.into_iter().map(offered));
        Ok(models)
    }

    /// Of the house's models only: nobody says here whose name it is.
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

/// A registered model as offered.
fn offered(model: StoredModel) -> Model {
    let description = model.metadata.get("description").and_then(Value::as_str).map(str::to_owned);
    Model {
        id: model.id,
        provider: model.provider_id,
        upstream_id: model.upstream_id,
        kind: model.kind,
        created: model.created_at / 1_000_000,
        description,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use frontdesk_api::{Effort, Kind, chat::Chat, clock::FixedClock, embed::Embed};
    use frontdesk_store::testing::{each_database, two_tenants};
    use serde_json::json;

    use super::*;

    /// Notes what it is asked for.
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);

    #[async_trait]
    impl Inference for Notes {
        async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
            self.0.lock().expect("unpoisoned").push(request.model);
            Err(Error::unavailable("as told"))
        }
        async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
            Ok(vec![])
        }
        async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
            self.0.lock().expect("unpoisoned").push(request.model.clone());
            let (provider, usage) = ("up".to_owned(), Some(Usage::default()));
            Ok(Embeddings {
                provider,
                model: request.model,
                raw: None,
                vectors: vec![],
                usage,
                reuse: None,
                effort: Effort::default(),
            })
        }
    }

    fn registered(store: &Store) -> (Registered, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let clock = Arc::new(FixedClock::at(7_000_000));
        let providers = ["local", "up"].map(str::to_owned);
        (Registered::new(notes.clone(), store.clone(), clock, providers, ["default".to_owned()]), notes)
    }

    fn registration(id: &str, provider: Option<&str>, upstream: Option<&str>) -> Registration {
        Registration {
            id: id.into(),
            provider_id: provider.map(str::to_owned),
            upstream_id: upstream.map(str::to_owned),
            ..Registration::default()
        }
    }

    #[tokio::test]
    async fn a_registered_name_leads_to_its_model_for_its_tenant_alone() {
        each_database(async |store: Store| {
            let (a, b) = two_tenants(&store).await;
            let (models, notes) = registered(&store);
            let mut wanted = registration("org/mine", Some("up"), Some("big/one"));
            wanted.kind = ModelKind::Embedding;
            wanted.metadata.insert("description".into(), json!("for search"));
            let made = models.register(&a, wanted).await.expect("registered");
            assert_eq!((made.provider_id.as_str(), made.upstream_id.as_str()), ("up", "big/one"));

            let ask = async |cx: &Cx, model: &str| {
                let _ = models.chat(cx, ChatRequest::typed(model, Chat::default())).await;
                notes.0.lock().expect("unpoisoned").pop().expect("asked")
            };
            assert_eq!(ask(&a, "org/mine").await, "up/big/one");
            assert_eq!(ask(&b, "org/mine").await, "org/mine", "another tenant's name means nothing here");
            assert_eq!(ask(&a, "default").await, "default");
            let vectors = models.embed(&a, EmbedRequest::typed("org/mine", Embed::default())).await;
            assert_eq!(vectors.expect("vectors").model, "up/big/one");

            let listed = models.models(&a).await.expect("a list");
            let [one] = listed.as_slice() else { panic!("{listed:?}") };
            assert_eq!((one.id.as_str(), one.provider.as_str(), one.kind), ("org/mine", "up", ModelKind::Embedding));
            assert_eq!((one.created, one.description.as_deref()), (7, Some("for search")));
            assert_eq!(models.models(&b).await.expect("a list"), []);

            assert_eq!(models.delete(&b, "org/mine").await.expect_err("not theirs").kind, Kind::NotFound);
            models.delete(&a, "org/mine").await.expect("deleted");
            assert_eq!(ask(&a, "org/mine").await, "org/mine");
        })
        .await;
    }

    #[tokio::test]
    async fn no_registration_shadows_the_configuration() {
        each_database(async |store: Store| {
            let (a, _) = two_tenants(&store).await;
            let (models, _) = registered(&store);
            for (id, provider, kind, param) in [
                ("default", Some("up"), Kind::Conflict, "model_id"),
                ("up/anything", Some("up"), Kind::Conflict, "model_id"),
                ("agent/x", Some("up"), Kind::Invalid, "model_id"),
                ("", Some("up"), Kind::Invalid, "model_id"),
                ("mine", Some("down"), Kind::Invalid, "provider_id"),
                ("mine", None, Kind::Invalid, "provider_id"),
            ] {
                let refused = models.register(&a, registration(id, provider, None)).await.expect_err(id);
                assert_eq!((refused.kind, refused.param.as_deref()), (kind, Some(param)), "{id}");
            }
            for id in ["default", "up/anything"] {
                assert_eq!(models.delete(&a, id).await.expect_err("the operator's").kind, Kind::Conflict);
            }
            let same = models.register(&a, registration("mine", Some("local"), None)).await.expect("registered");
            assert_eq!(same.upstream_id, "mine");
        })
        .await;
    }

    #[tokio::test]
    async fn a_name_whose_provider_has_left_leads_nowhere() {
        each_database(async |store: Store| {
            let (a, _) = two_tenants(&store).await;
            let (models, _) = registered(&store);
            models.register(&a, registration("mine", Some("local"), None)).await.expect("registered");
            let notes = Arc::new(Notes::default());
            let clock = Arc::new(FixedClock::at(0));
            let left = Registered::new(notes.clone(), store.clone(), clock, ["up".to_owned()], []);
            let _ = left.chat(&a, ChatRequest::typed("mine", Chat::default())).await;
            assert_eq!(*notes.0.lock().expect("unpoisoned"), ["mine"]);
            assert_eq!(left.models(&a).await.expect("a list"), []);
            left.delete(&a, "mine").await.expect("it can still be removed");
        })
        .await;
    }
}
