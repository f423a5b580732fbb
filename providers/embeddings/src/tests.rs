//! Requests over a model that is none: order, limits, places, panics; what is computed is not looked at here.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use frontdesk_api::{
    ChatRequest, Cx, Error, Inference, Kind, Result,
    chat::Chat,
    embed::{Embed, EmbedRequest, Input},
    inference::{ModelKind, NOT_OFFERED},
    rerank::{Rerank, RerankRequest},
};
use serde_json::{Value, json};

use crate::{Ask, Config, Encoder, Folder, Local, Tokens};

/// While it is closed, a text "wait" is being read.
static CLOSED: AtomicBool = AtomicBool::new(false);

/// A token for each letter, of which the folder's limit are read; a vector is the text's length and the batch's, then
/// zeros.
struct Counts {
    most: usize,
}

impl Encoder for Counts {
    fn tokens(&self, ask: Ask<'_>) -> Result<Tokens> {
        let length = match ask {
            Ask::One(Input::Tokens(ids)) => ids.len(),
            Ask::One(Input::Text(text)) if text == "wait" => {
                while CLOSED.load(Ordering::SeqCst) {
                    std::thread::yield_now();
                }
                text.len()
            }
            Ask::One(Input::Text(text)) => text.chars().count(),
            Ask::Pair(query, document) => query.chars().count() + document.chars().count(),
        };
        let (ids, types) = (vec![1; length.min(self.most)], vec![0; length.min(self.most)]);
        Ok(Tokens { ids, types, cut: length > self.most })
    }

    fn run(&self, batch: &[&Tokens]) -> Result<Vec<Vec<f32>>> {
        assert!(batch.iter().all(|tokens| tokens.ids.len() != 13), "thirteen letters fall over");
        let vector = |tokens: &&Tokens| {
            let mut vector = vec![0.0; 16];
            (vector[0], vector[1]) = (tokens.ids.len() as f32, batch.len() as f32);
            vector
        };
        Ok(batch.iter().map(vector).collect())
    }
}

fn counts(folder: &Folder) -> Result<Arc<dyn Encoder>> {
    Ok(Arc::new(Counts { most: folder.max_tokens }))
}

fn local(model: &str, more: Value) -> Local {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/embeddings").join(model);
    let mut own = json!({ "id": "m", "path": path });
    own.as_object_mut().expect("members").extend(more.as_object().expect("members").clone());
    let config = json!({ "models": [own], "threads": 1, "max_requests": 1 });
    Local::new("vec", Config::read(config).expect("a configuration"), counts).expect("a model")
}

fn cx() -> Cx {
    Cx::internal("t", "r")
}

fn of(texts: &[&str]) -> Embed {
    Embed { input: texts.iter().map(|text| Input::Text((*text).to_owned())).collect(), ..Embed::default() }
}

async fn embed(local: &Local, embed: Embed) -> Result<Vec<Vec<f32>>> {
    Ok(local.embed(&cx(), EmbedRequest::typed("m", embed)).await?.vectors)
}

fn told(error: &Error) -> (Kind, Option<&str>) {
    (error.kind, error.param.as_deref())
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts() {
    let local = local("tiny-bert", json!({}));
    let texts: Vec<String> = (0..700).map(|i| "x".repeat(1 + (i * 7) % 12)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let answer = local.embed(&cx(), EmbedRequest::typed("m", of(&texts))).await.expect("vectors");
    let lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
    assert_eq!(answer.vectors.iter().map(|vector| vector[0] as usize).collect::<Vec<_>>(), lengths);
    assert!(answer.vectors.iter().any(|vector| vector[1] > 1.0), "they were computed together");
    let total = u64::try_from(lengths.iter().sum::<usize>()).expect("few");
    assert_eq!(answer.usage.map(|usage| (usage.input_tokens, usage.output_tokens)), Some((total, 0)));
    assert_eq!((answer.provider.as_str(), answer.model.as_str(), answer.raw), ("vec", "m", None));
}

#[tokio::test]
async fn a_long_text_is_cut_or_refused_by_its_place() {
    let long = "x".repeat(60);
    let with = |truncate: Value, texts: &[&str]| {
        let mut embed = of(texts);
        embed.extra.insert("truncate".into(), truncate);
        embed
    };
    for (operator, request, cut) in [
        (true, Value::Null, true),
        (true, json!(false), false),
        (false, Value::Null, false),
        (false, json!(true), true),
    ] {
        let local = local("tiny-bert", json!({ "truncate": operator }));
        let answer = embed(&local, with(request.clone(), &["a", &long])).await;
        match (cut, answer) {
            (true, answer) => assert_eq!(answer.expect("vectors")[1][0], 48.0, "{operator} {request}"),
            (false, answer) => {
                let refused = answer.expect_err("too long");
                assert_eq!(told(&refused), (Kind::Invalid, Some("input[1]")), "{operator} {request}");
                assert_eq!(refused.code.as_deref(), Some("context_length_exceeded"));
            }
        }
    }
    let local = local("tiny-bert", json!({ "truncate": false, "max_tokens": 20 }));
    let refused = embed(&local, of(&[&"x".repeat(21)])).await.expect_err("too long");
    assert!(refused.param.as_deref() == Some("input") && refused.message.contains("20 tokens"), "{refused}");
    let refused = embed(&local, with(json!("yes"), &["a"])).await.expect_err("no word for it");
    assert_eq!(told(&refused), (Kind::Invalid, Some("truncate")));
}

#[tokio::test]
async fn dimensions_are_for_models_that_were_trained_for_them() {
    let asks = |dimensions| Embed { dimensions: Some(dimensions), ..of(&["four"]) };
    let own = local("tiny-bert", json!({}));
    assert_eq!(embed(&own, asks(16)).await.expect("its own")[0].len(), 16);
    let refused = embed(&own, asks(8)).await.expect_err("not trained for it");
    assert!(
        told(&refused) == (Kind::Invalid, Some("dimensions")) && refused.message.contains("must be 16"),
        "{refused}"
    );
    let trained = local("tiny-bert", json!({ "matryoshka": true }));
    // 4 and 1, of length 1 again.
    let shorter = embed(&trained, asks(2)).await.expect("shorter").remove(0);
    assert!((shorter[0] * shorter[0] + shorter[1] * shorter[1] - 1.0).abs() < 1e-6 && shorter[0] == 4.0 * shorter[1]);
    for odd in [0, 17] {
        assert_eq!(told(&embed(&trained, asks(odd)).await.expect_err("odd")), (Kind::Invalid, Some("dimensions")));
    }
    // A model that does not normalise keeps its lengths.
    let plain = local("tiny-xlmr", json!({ "matryoshka": true }));
    assert_eq!(embed(&plain, asks(2)).await.expect("shorter"), [[4.0, 1.0]]);
}

#[tokio::test]
async fn a_panic_ends_its_request_alone() {
    let local = local("tiny-bert", json!({}));
    for _ in 0..3 {
        assert_eq!(embed(&local, of(&["a", "thirteen char"])).await.expect_err("fallen over").kind, Kind::Internal);
        assert_eq!(embed(&local, of(&["twelve chars"])).await.expect("vectors")[0][0], 12.0);
    }
}

#[tokio::test]
async fn who_finds_no_place_is_told_to_come_back_and_who_leaves_gives_his_up() {
    let local = local("tiny-bert", json!({}));
    CLOSED.store(true, Ordering::SeqCst);
    let cx = cx();
    let mut first = local.embed(&cx, EmbedRequest::typed("m", of(&["wait"])));
    assert!(futures::poll!(&mut first).is_pending());
    let refused = embed(&local, of(&["a"])).await.expect_err("no place");
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Unavailable, Some("no_capacity")));
    assert!(refused.retry_after.is_some());
    assert_eq!(local.health().await.facts.expect("facts")["requests"], 1);
    cx.cancel.cancel();
    assert_eq!(first.await.expect_err("stopped").kind, Kind::Cancelled);
    CLOSED.store(false, Ordering::SeqCst);
    embed(&local, of(&["a"])).await.expect("a place");
}

#[tokio::test]
async fn documents_come_best_first_and_top_n_of_them() {
    let local = local("tiny-ranker", json!({}));
    let documents = vec![json!("aa"), json!({ "text": "aaaa" }), json!("a")];
    let rerank = Rerank { query: "q".into(), documents, top_n: Some(2), ..Rerank::default() };
    let ranking = local.rerank(&cx(), RerankRequest::typed("m", rerank.clone())).await.expect("a ranking");
    let order: Vec<(usize, f64)> = ranking.results.iter().map(|ranked| (ranked.index, ranked.score)).collect();
    assert_eq!((order, ranking.usage.map(|usage| usage.input_tokens)), (vec![(1, 5.0), (0, 3.0)], Some(10)));
    let odd = Rerank { documents: vec![json!("a"), json!({ "body": "b" })], ..rerank };
    let refused = local.rerank(&cx(), RerankRequest::typed("m", odd)).await.expect_err("no text");
    assert_eq!(told(&refused), (Kind::Invalid, Some("documents[1]")));
}

#[tokio::test]
async fn a_model_does_what_it_is_for() {
    let (embeds, ranks) = (local("tiny-bert", json!({ "description": "small" })), local("tiny-ranker", json!({})));
    for (local, kind) in [(&embeds, ModelKind::Embedding), (&ranks, ModelKind::Rerank)] {
        let [model] = &local.models(&cx()).await.expect("a list")[..] else { panic!("one model") };
        assert_eq!((model.id.as_str(), model.upstream_id.as_str(), model.kind), ("vec/m", "m", kind));
    }
    let rerank = Rerank { query: "q".into(), documents: vec!["a".into()], ..Rerank::default() };
    let refusals = [
        embed(&ranks, of(&["a"])).await.expect_err("it ranks"),
        embeds.rerank(&cx(), RerankRequest::typed("m", rerank)).await.expect_err("it embeds"),
        embeds.chat(&cx(), ChatRequest::typed("m", Chat::default())).await.err().expect("it does not talk"),
    ];
    assert!(refusals.iter().all(|refused| refused.code.as_deref() == Some(NOT_OFFERED)));
    let unknown = embeds.embed(&cx(), EmbedRequest::typed("other", of(&["a"]))).await.expect_err("unknown");
    assert_eq!((unknown.kind, unknown.message.contains("it has: m")), (Kind::NotFound, true));
    let many = vec!["a"; 2_049];
    assert_eq!(told(&embed(&embeds, of(&many)).await.expect_err("too many")), (Kind::Invalid, Some("input")));
}

#[test]
fn a_wrong_folder_is_refused_by_its_key() {
    let config = json!({ "models": [{ "id": "m", "path": "/there/is/none" }] });
    let refused = Local::new("vec", Config::read(config).expect("a configuration"), counts).err().expect("refused");
    assert_eq!(told(&refused), (Kind::Invalid, Some("models[0].path")));
}
