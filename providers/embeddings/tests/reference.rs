//! The numbers of the reference implementation: `tests/fixtures/embeddings` has models with random weights and what
//! sentence-transformers makes of them, and for all-MiniLM-L6-v2, where `FRONTDESK_MINILM` names its folder, that too.
//!
//! Only built with what computes: the feature `candle`.

#![cfg(feature = "candle")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use frontdesk_api::{
    Cx, Error, Inference, Kind, Result,
    clock::FixedClock,
    embed::{Embed, EmbedRequest, Input},
    id::CountingIds,
    provider::{Build, Setting},
    rerank::{Rerank, RerankRequest},
};
use frontdesk_embeddings::PROVIDERS;
use serde_json::{Value, json};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/embeddings")
}

fn golden(name: &str) -> Value {
    let text = std::fs::read_to_string(fixtures().join(format!("{name}.json"))).expect("a golden");
    serde_json::from_str(&text).expect("JSON")
}

fn built(config: Value) -> Result<Arc<dyn Inference>> {
    let setting = Setting {
        id: "vec".into(),
        data_dir: "data".into(),
        runtime_dir: "run".into(),
        program: "frontdesk".into(),
        clock: Arc::new(FixedClock::at(0)),
        ids: Arc::new(CountingIds::default()),
    };
    let Build::Inference(build) = PROVIDERS[0].build else { panic!("an inference provider") };
    build(&setting, config)
}

fn model(path: &Path) -> Arc<dyn Inference> {
    built(json!({ "models": [{ "id": "m", "path": path }], "threads": 2 })).expect("a model")
}

fn texts(golden: &Value, name: &str) -> Vec<String> {
    golden[name].as_array().expect("texts").iter().map(|text| text.as_str().expect("text").to_owned()).collect()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().expect("numbers").iter().map(|n| n.as_f64().expect("a number")).collect()
}

async fn embed(model: &Arc<dyn Inference>, embed: Embed) -> Result<Vec<Vec<f32>>> {
    Ok(model.embed(&Cx::internal("t", "r"), EmbedRequest::typed("m", embed)).await?.vectors)
}

fn of(texts: &[String]) -> Embed {
    Embed { input: texts.iter().cloned().map(Input::Text).collect(), ..Embed::default() }
}

/// The largest difference of any number.
fn apart(vector: &[f32], reference: &[f64]) -> f64 {
    assert_eq!(vector.len(), reference.len());
    vector.iter().zip(reference).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max)
}

async fn as_the_reference(name: &str, path: &Path) {
    let (golden, model) = (golden(name), model(path));
    let texts = texts(&golden, "texts");
    let together = embed(&model, of(&texts)).await.expect("vectors");
    for (i, text) in texts.iter().enumerate() {
        let reference = numbers(&golden["vectors"][i]);
        let largest = reference.iter().fold(0f64, |most, x| most.max(x.abs()));
        let bound = 1e-4 * largest.max(1.0);
        assert!(apart(&together[i], &reference) < bound, "{name}: {text:?}: {}", apart(&together[i], &reference));
        // Alone as in company.
        let alone = embed(&model, of(&texts[i..=i])).await.expect("a vector");
        assert!(apart(&alone[0], &reference) < bound, "{name}: {text:?} alone");
    }
}

#[tokio::test]
async fn the_vectors_are_those_of_sentence_transformers() {
    for name in ["tiny-bert", "tiny-xlmr", "tiny-max"] {
        as_the_reference(name, &fixtures().join(name)).await;
    }
}

// A test reads its own environment; the rule is for the rooms of the product.
#[allow(clippy::disallowed_methods)]
#[tokio::test]
async fn the_vectors_of_a_real_model_are_those_of_sentence_transformers() {
    if let Some(folder) = std::env::var_os("FRONTDESK_MINILM") {
        as_the_reference("all-MiniLM-L6-v2", Path::new(&folder)).await;
    }
}

#[tokio::test]
async fn the_scores_are_those_of_a_cross_encoder() {
    for name in ["tiny-ranker", "tiny-xlmr-ranker"] {
        let (golden, model) = (golden(name), model(&fixtures().join(name)));
        let documents = texts(&golden, "documents");
        let rerank = Rerank {
            query: golden["query"].as_str().expect("a query").to_owned(),
            documents: documents.iter().map(|text| Value::from(text.as_str())).collect(),
            ..Rerank::default()
        };
        let ranked = model.rerank(&Cx::internal("t", "r"), RerankRequest::typed("m", rerank)).await.expect("a ranking");
        let reference = numbers(&golden["scores"]);
        assert_eq!(ranked.results.len(), reference.len());
        for found in &ranked.results {
            assert!((found.score - reference[found.index]).abs() < 1e-4, "{name}: {:?}", documents[found.index]);
        }
        assert!(ranked.results.windows(2).all(|two| two[0].score >= two[1].score));
    }
}

#[tokio::test]
async fn tokens_are_read_as_the_text_they_stand_for() {
    let model = model(&fixtures().join("tiny-bert"));
    let tokenizer = fixtures().join("tiny-bert/tokenizer.json");
    let file: Value = serde_json::from_slice(&std::fs::read(tokenizer).expect("a tokenizer")).expect("JSON");
    let id = |word: &str| {
        let id = file["model"]["vocab"][word].as_u64().unwrap_or_else(|| panic!("no token {word}"));
        u32::try_from(id).expect("an id")
    };
    let asked = vec![Input::Text("hello world".into()), Input::Tokens(vec![id("hello"), id("world")])];
    let request = EmbedRequest::typed("m", Embed { input: asked, ..Embed::default() });
    let answer = model.embed(&Cx::internal("t", "r"), request).await.expect("vectors");
    assert_eq!(answer.vectors[0], answer.vectors[1]);
    assert_eq!(answer.usage.map(|usage| usage.input_tokens), Some(8), "a beginning and an end each");
    let unknown = Embed { input: vec![Input::Tokens(vec![1]), Input::Tokens(vec![99_999])], ..Embed::default() };
    let refused = embed(&model, unknown).await.expect_err("unknown");
    assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some("input[1]")));
}

#[tokio::test]
async fn what_a_folder_lacks_is_said_and_tried_again() {
    let folder = tempfile::tempdir().expect("a folder");
    for entry in std::fs::read_dir(fixtures().join("tiny-ranker")).expect("a model") {
        let entry = entry.expect("a file");
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    let file = folder.path().join("model.safetensors");
    let whole = std::fs::read(&file).expect("weights");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("written");
    let model = model(folder.path());
    let ask = async || -> Result<(), Error> {
        let documents = vec!["a".into()];
        let rerank = Rerank { query: "q".into(), documents, ..Rerank::default() };
        model.rerank(&Cx::internal("t", "r"), RerankRequest::typed("m", rerank)).await.map(drop)
    };
    let refused = ask().await.expect_err("half a file");
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Unavailable, Some("model_not_loaded")));
    assert!(refused.message.contains("model.safetensors"), "{}", refused.message);
    assert!(model.health().await.message.expect("words").contains("model.safetensors"));
    std::fs::write(&file, &whole).expect("written");
    ask().await.expect("it is whole again");
    assert_eq!(model.health().await.message.as_deref(), Some("1 models"));
}
