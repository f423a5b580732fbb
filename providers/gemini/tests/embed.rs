//! Embeddings by the Gemini API and by Vertex AI: what is sent, how a long list is split and put together again, and
//! what is no answer.

mod server;

use std::ops::Range;

use frontdesk_api::{
    Error, Inference, Kind,
    chat::Usage,
    embed::{Embed, EmbedRequest, Embeddings, Input},
    inference::ModelKind,
};
use frontdesk_gemini::Gemini;
use serde_json::{Value, json};
use server::{body_of, cx, gemini, json_answer, serve, together};

const OWN: &str = "gemini-embedding-001";
const OLD: &str = "text-multilingual-embedding-002";
const OPEN: &str = "publishers/intfloat/models/multilingual-e5-large-instruct-maas";

fn vertex() -> Value {
    json!({ "vertex": { "project": "p", "location": "eu", "access_token": "t" },
        "models": ["gemini-2.5-flash", { "id": OWN, "kind": "embedding" }] })
}

/// Each as long as its number.
fn embed(numbers: Range<usize>) -> Embed {
    Embed { input: numbers.map(|n| Input::Text("x".repeat(n))).collect(), ..Embed::default() }
}

async fn asked(up: &Gemini, model: &str, embed: Embed) -> Result<Embeddings, Error> {
    up.embed(&cx(), EmbedRequest::typed(model, embed)).await
}

fn counted(input_tokens: u64) -> Option<Usage> {
    Some(Usage { input_tokens, ..Usage::default() })
}

/// The vectors of texts that are as long as their numbers: each is its text's length.
fn vectors(numbers: Range<u16>) -> Vec<Vec<f32>> {
    numbers.map(|n| vec![f32::from(n)]).collect()
}

/// What a model answers that gives each text its length.
fn answer(asked: &str) -> String {
    let body = body_of(asked);
    let length = |content: &Value| content["parts"][0]["text"].as_str().expect("a text").len();
    let told = if let Some(instances) = body["instances"].as_array() {
        let one = |instance: &Value| {
            let n = instance["content"].as_str().expect("a text").len();
            json!({ "embeddings": { "values": [n], "statistics": { "token_count": n, "truncated": false } } })
        };
        json!({ "predictions": instances.iter().map(one).collect::<Value>() })
    } else if let Some(requests) = body["requests"].as_array() {
        json!({ "embeddings": requests.iter().map(|one| json!({ "values": [length(&one["content"])] })).collect::<Value>() })
    } else {
        let n = length(&body["content"]);
        json!({ "embedding": { "values": [n] }, "usageMetadata": { "promptTokenCount": n }, "truncated": false })
    };
    json_answer("200 OK", &told.to_string())
}

/// Method and number of texts of each request, in no order.
fn calls(seen: &[String]) -> Vec<(String, usize)> {
    let call = |request: &String| {
        let (_, method) = request.split_once(':').expect("a method");
        let body = body_of(request);
        let texts = ["requests", "instances"].iter().find_map(|name| body[name].as_array()).map_or(1, Vec::len);
        (method.split(' ').next().unwrap_or_default().to_owned(), texts)
    };
    let mut calls: Vec<(String, usize)> = seen.iter().map(call).collect();
    calls.sort_unstable();
    calls
}

#[tokio::test]
async fn the_gemini_api_gets_at_most_a_hundred_texts_at_once_and_the_order_stays() {
    let server = together(3, answer).await;
    let up = gemini(&server, json!({ "api_key": "secret" }));
    let got = asked(&up, OWN, Embed { dimensions: Some(1), ..embed(0..250) }).await.expect("vectors");
    assert_eq!((got.provider.as_str(), got.model.as_str(), got.raw), ("gem", OWN, None));
    // What the server does not count is not counted.
    assert_eq!((got.vectors, got.usage), (vectors(0..250), None));
    let seen = server.asked().await;
    let batch = |n| ("batchEmbedContents".to_owned(), n);
    assert_eq!(calls(&seen), [batch(50), batch(100), batch(100)]);
    for request in &seen {
        assert!(request.starts_with("POST /v1beta/models/gemini-embedding-001:batchEmbedContents HTTP"), "{request}");
        assert!(request.contains("x-goog-api-key: secret\r\n"), "{request}");
        for one in body_of(request)["requests"].as_array().expect("requests") {
            let content = json!({ "role": "user", "parts": [{ "text": one["content"]["parts"][0]["text"] }] });
            assert_eq!(
                one,
                &json!({ "model": "models/gemini-embedding-001", "content": content, "outputDimensionality": 1 })
            );
        }
    }
}

#[tokio::test]
async fn vertex_is_asked_by_the_method_that_the_model_has() {
    for (model, texts, want, usage) in [
        // As many as have 20,000 bytes.
        (OLD, 1..300, vec![("predict", 18), ("predict", 82), ("predict", 199)], counted(299 * 300 / 2)),
        (OWN, 1..2, vec![("embedContent", 1)], counted(1)),
        (OWN, 1..102, vec![("batchEmbedContents", 100), ("embedContent", 1)], None),
        (OPEN, 1..4, vec![("embedContent", 1); 3], counted(6)),
    ] {
        let server = together(want.len(), answer).await;
        let got = asked(&gemini(&server, vertex()), model, embed(texts.clone())).await.expect("vectors");
        let end = u16::try_from(texts.end).expect("small");
        assert_eq!((got.vectors, got.usage), (vectors(1..end), usage), "{model}");
        let seen = server.asked().await;
        let want: Vec<(String, usize)> = want.into_iter().map(|(method, n)| (method.to_owned(), n)).collect();
        assert_eq!(calls(&seen), want, "{model}");
        let name = if model == OPEN { model.to_owned() } else { format!("publishers/google/models/{model}") };
        let path = format!("POST /v1beta/projects/p/locations/eu/{name}:");
        assert!(seen.iter().all(|request| request.starts_with(&path)), "{seen:?}");
    }
}

#[tokio::test]
async fn the_error_of_one_part_is_that_of_the_request() {
    let server = together(2, |asked| {
        if body_of(asked)["requests"].as_array().expect("requests").len() == 100 {
            return answer(asked);
        }
        json_answer("429 Busy", r#"{"error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#)
    })
    .await;
    let error = asked(&gemini(&server, json!({})), OWN, embed(0..150)).await.expect_err("one part failed");
    assert_eq!(error.kind, Kind::RateLimited);
    assert!(error.message.contains("slow down"), "{}", error.message);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_nobody_is_asked() {
    let server = serve(vec![]).await;
    let up = gemini(&server, json!({}));
    let tokens = Embed { input: vec![Input::Text("a".into()), Input::Tokens(vec![1])], ..Embed::default() };
    let error = asked(&up, OWN, tokens).await.expect_err("no text");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("input")));
    let mut typed = embed(1..2);
    typed.extra.insert("task_type".into(), 7.into());
    let error = asked(&up, OWN, typed).await.expect_err("no task");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("task_type")));
    let error = asked(&up, "../files/x", embed(1..2)).await.expect_err("no model");
    assert_eq!(error.kind, Kind::NotFound);
}

#[tokio::test]
async fn what_is_no_answer_is_the_upstream_s_fault() {
    for (config, answer, says) in [
        (json!({}), r#"{"embeddings":[{"values":[1.0]}]}"#, "1 vectors for 2 inputs"),
        (json!({}), r#"{"embeddings":[{"values":[1]},{"values":[1]},{"values":[1]}]}"#, "3 vectors for 2 inputs"),
        (vertex(), r#"{"embedding":{"values":[1.0]}}"#, "1 vectors for 2 inputs"),
        (json!({}), "{}", "not embeddings"),
        (json!({}), "<html>", "not embeddings"),
    ] {
        let server = serve(vec![json_answer("200 OK", answer)]).await;
        let error = asked(&gemini(&server, config), OWN, embed(1..3)).await.expect_err(answer);
        assert_eq!(error.kind, Kind::Upstream);
        assert!(error.message.contains("'gem'") && error.message.contains(says), "{}", error.message);
    }
}

#[tokio::test]
async fn a_configured_model_says_what_it_is() {
    let up = gemini(&serve(vec![]).await, vertex());
    let kinds: Vec<ModelKind> = up.models(&cx()).await.expect("a list").into_iter().map(|model| model.kind).collect();
    assert_eq!(kinds, [ModelKind::Llm, ModelKind::Embedding]);
}
