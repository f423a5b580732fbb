//! Names and where they lead, seen through a provider that answers with what it was asked.

mod failover;
mod limits;
mod reuse;
mod shared;
pub(crate) mod stage;
mod wishes;

use std::sync::Mutex;

use frontdesk_api::{
    ChatEvent, Effort,
    chat::{Chat, Dialect, Frame, ReplyHead},
    embed::{Embed, Input},
    inference::{ModelKind, not_offered},
    rerank::Rerank,
};
use futures::stream;

use super::*;

/// Answers with its name and the model it was asked for, or fails as told.
struct Echo {
    id: &'static str,
    models: Vec<&'static str>,
    fails: Option<Kind>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Inference for Echo {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        self.asked.lock().expect("unpoisoned").push(request.model.clone());
        if let Some(kind) = self.fails {
            return Err(Error::new(kind, "as told"));
        }
        let text = format!("{}:{}", self.id, request.model);
        let head = ReplyHead {
            provider: self.id.into(),
            model: request.model,
            dialect: Dialect::OpenaiChat,
            streaming: true,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        let frame = Frame { events: vec![ChatEvent::Text { choice: 0, text }], ..Frame::default() };
        Ok(ChatReply { head, frames: stream::iter([Ok(frame)]).boxed() })
    }
    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        if let Some(kind) = self.fails {
            return Err(Error::new(kind, "as told"));
        }
        let model = |name: &&str| Model {
            id: format!("{}/{name}", self.id),
            provider: self.id.into(),
            upstream_id: (*name).into(),
            kind: ModelKind::Llm,
            created: 0,
            description: None,
        };
        Ok(self.models.iter().map(model).collect())
    }
    async fn count_tokens(&self, _: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        self.asked.lock().expect("unpoisoned").push(request.model);
        match self.fails {
            Some(kind) => Err(Error::new(kind, "as told")),
            None => Ok((self.id != "mute").then(|| 7.into())),
        }
    }
    /// Only the model `v` has vectors.
    async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        match self.fails {
            Some(kind) => Err(Error::new(kind, "as told")),
            None if request.model != "v" => Err(not_offered("embeddings", ModelKind::Embedding)),
            None => {
                let (provider, vectors) = (self.id.to_owned(), vec![vec![0.5]]);
                Ok(Embeddings {
                    provider,
                    model: request.model,
                    raw: None,
                    vectors,
                    usage: None,
                    reuse: None,
                    effort: Effort::default(),
                })
            }
        }
    }
    fn context_window(&self, model: &str) -> Option<usize> {
        let window = match self.id {
            "small" => 4_096,
            "large" => 128_000,
            _ => return None,
        };
        self.models.contains(&model).then_some(window)
    }
}

fn echo(id: &'static str, models: &[&'static str], fails: Option<Kind>) -> Arc<Echo> {
    Arc::new(Echo { id, models: models.to_vec(), fails, asked: Mutex::default() })
}

fn router(echoes: &[&Arc<Echo>], routes: &[(&str, &[&str])]) -> Router {
    let providers = echoes.iter().map(|e| (e.id.to_owned(), Arc::clone(e) as Arc<dyn Inference>)).collect();
    let routes = routes.iter().map(|(id, targets)| Route::to(*id, targets));
    Router::new(providers, routes.collect()).expect("a good table")
}

async fn ask(router: &Router, model: &str) -> Result<String> {
    let reply = router.chat(&Cx::internal("t", "r"), ChatRequest::typed(model, Chat::default())).await?;
    let frames: Vec<Frame> = reply.frames.map(|f| f.expect("a frame")).collect().await;
    match &frames[0].events[0] {
        ChatEvent::Text { text, .. } => Ok(text.clone()),
        other => panic!("unexpected {other:?}"),
    }
}

#[tokio::test]
async fn names_are_looked_up_in_order() {
    let (a, b) = (echo("a", &["x", "org/y"], None), echo("b", &["z", "a/x"], None));
    let router = router(&[&a, &b], &[("default", &["b/z"])]);
    assert_eq!(ask(&router, "default").await.expect("an alias"), "b:z");
    assert_eq!(ask(&router, "a/org/y").await.expect("split at the first slash"), "a:org/y");
    assert_eq!(ask(&router, "org/y").await.expect("a bare upstream id"), "a:org/y");
    // The provider's own namespace wins over another provider's upstream id of the same spelling.
    assert_eq!(ask(&router, "a/x").await.expect("provider first"), "a:x");
}

#[tokio::test]
async fn an_unknown_model_names_the_nearest() {
    let a = echo("openai", &["gpt-4o", "gpt-4o-mini", "o3"], None);
    let error = ask(&router(&[&a], &[("default", &["openai/o3"])]), "gpt4o").await.expect_err("unknown");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
    assert!(error.message.contains("nearest are: openai/gpt-4o, "), "{}", error.message);
}

#[tokio::test]
async fn a_name_is_no_longer_than_a_name_may_be() {
    let a = echo("a", &["x"], None);
    let router = router(&[&a], &[]);
    let name = |characters: usize| format!("a/{}", "ü".repeat(characters - 2));
    ask(&router, &name(256)).await.expect("a provider may know it");
    let error = ask(&router, &name(257)).await.expect_err("too long");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("model")));
    assert!(error.message.len() < 100, "{}", error.message);
}

#[tokio::test]
async fn a_name_of_two_providers_is_ambiguous() {
    let (a, b) = (echo("a", &["m"], None), echo("b", &["m"], None));
    let error = ask(&router(&[&a, &b], &[]), "m").await.expect_err("ambiguous");
    assert!(error.message.contains("a/m, b/m"), "{}", error.message);
}

#[tokio::test]
async fn a_route_falls_back_on_trouble_but_not_on_a_bad_request() {
    let (down, up) = (echo("down", &[], Some(Kind::Unavailable)), echo("up", &["m"], None));
    let table: &[(&str, &[&str])] = &[("default", &["down/m", "up/m"])];
    assert_eq!(ask(&router(&[&down, &up], table), "default").await.expect("the second target"), "up:m");

    let picky = echo("down", &[], Some(Kind::Invalid));
    let error = ask(&router(&[&picky, &up], table), "default").await.expect_err("the caller's own fault");
    assert_eq!(error.kind, Kind::Invalid);
    assert_eq!(up.asked.lock().expect("unpoisoned").len(), 1);
}

#[tokio::test]
async fn vectors_are_asked_of_the_targets_in_order_and_a_provider_without_them_is_named() {
    let (down, up) = (echo("down", &[], Some(Kind::Unavailable)), echo("up", &["m"], None));
    let table: &[(&str, &[&str])] = &[("default", &["down/v", "up/v"]), ("chats", &["up/m", "up/v"])];
    let router = router(&[&down, &up], table);
    let input = vec![Input::Text("hi".into())];
    let embed = async |model: &str| {
        let asked = EmbedRequest::typed(model, Embed { input: input.clone(), ..Embed::default() });
        router.embed(&Cx::internal("t", "r"), asked).await
    };
    let answer = embed("default").await.expect("the second target");
    assert_eq!((answer.provider.as_str(), answer.model.as_str()), ("up", "v"));
    let refused = embed("chats").await.expect_err("a model that chats");
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Invalid, Some(NOT_OFFERED)));
    assert!(refused.message.starts_with("provider 'up' of model 'chats' has no embeddings"), "{}", refused.message);
    let refused = router.rerank(&Cx::internal("t", "r"), RerankRequest::typed("up/v", Rerank::default())).await;
    assert!(refused.expect_err("no provider ranks").message.contains("has no reranking"));
}

#[tokio::test]
async fn a_provider_that_is_down_hides_only_its_own_models() {
    let (down, up) = (echo("down", &["n"], Some(Kind::Upstream)), echo("up", &["m"], None));
    let models = router(&[&down, &up], &[]).models(&Cx::internal("t", "r")).await.expect("a list");
    assert_eq!(models.iter().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["up/m"]);
}

#[tokio::test]
async fn tokens_are_counted_by_who_would_answer() {
    let (a, mute, down) =
        (echo("a", &["x"], None), echo("mute", &["m"], None), echo("down", &[], Some(Kind::Upstream)));
    let table: &[(&str, &[&str])] =
        &[("default", &["a/x", "mute/m"]), ("silent", &["mute/m", "a/x"]), ("off", &["down/y", "a/x"])];
    let router = router(&[&a, &mute, &down], table);
    let count = async |model: &str| {
        router.count_tokens(&Cx::internal("t", "r"), ChatRequest::typed(model, Chat::default())).await
    };
    assert_eq!(count("default").await.expect("a count"), Some(7.into()));
    assert_eq!(count("x").await.expect("a count"), Some(7.into()));
    assert_eq!(count("silent").await.expect("no fault"), None);
    assert_eq!(count("off").await.expect("the next target's count"), Some(7.into()));
    assert_eq!(count("down/y").await.expect_err("there is no other").kind, Kind::Upstream);
    assert_eq!(count("none").await.expect_err("unknown").code.as_deref(), Some("model_not_found"));
    assert_eq!(*a.asked.lock().expect("unpoisoned"), ["x", "x", "x"]);
}

#[test]
fn a_window_is_found_by_every_name_and_a_route_has_its_smallest() {
    // Providers that fail every request: nobody is asked.
    let down = |id, models: &[&'static str]| echo(id, models, Some(Kind::Unavailable));
    let (silent, small, large) = (down("a", &["x"]), down("small", &["s"]), down("large", &["org/l"]));
    let table: &[(&str, &[&str])] =
        &[("default", &["a/x", "large/org/l", "small/s"]), ("silent", &["a/x"]), ("half", &["large/org/l", "a/x"])];
    let router = router(&[&silent, &small, &large], table);
    let names = ["default", "half", "large/org/l", "org/l", "s", "silent", "a/x", "large/unknown", "unknown"];
    let windows = names.map(|name| router.context_window(name));
    let known = [Some(4_096), Some(32_768), Some(128_000), Some(128_000), Some(4_096), None, None, None, None];
    assert_eq!(windows, known);
    let routes = vec![Route { context_window: Some(9_000), ..Route::to("said", &["a/x"]) }];
    let providers = [("a".to_owned(), down("a", &["x"]) as Arc<dyn Inference>)].into();
    let said = Router::new(providers, routes).expect("a router");
    assert_eq!((said.context_window("said"), said.context_window("a/x")), (Some(9_000), None));
}

#[test]
fn a_route_to_nowhere_names_its_place() {
    let refused = |targets: &[&str]| {
        let routes = vec![Route::to("r", targets)];
        let providers = [("a".to_owned(), echo("a", &[], None) as Arc<dyn Inference>)].into();
        Router::new(providers, routes).err().expect("refused").param.expect("a place")
    };
    assert_eq!(refused(&["b/m"]), "models[0].targets[0].model");
    assert_eq!(refused(&[]), "models[0].targets");
}

/// Lists one model and knows no other.
struct Strict;

#[async_trait]
impl Inference for Strict {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        Err(Error::not_found(format!("no {}", request.model)).with_code("model_not_found"))
    }
    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        echo("up", &["gpt-small"], None).models(cx).await
    }
}

#[tokio::test]
async fn a_name_that_the_provider_does_not_know_gets_the_nearest_it_lists() {
    let providers = BTreeMap::from([("up".to_owned(), Arc::new(Strict) as Arc<dyn Inference>)]);
    let router = Router::new(providers, vec![Route::to("r", &["up/gone"])]).expect("a good table");
    let refused = ask(&router, "up/gpt-smal").await.expect_err("unknown");
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
    assert!(refused.message.contains("up/gpt-small"), "{}", refused.message);
    for own_words in ["up/gpt-small", "r"] {
        let said = ask(&router, own_words).await.expect_err("unknown").message;
        assert!(said.starts_with("no "), "{said}");
    }
}
