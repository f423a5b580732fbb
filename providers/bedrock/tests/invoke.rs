//! Embeddings and reranking through `InvokeModel`: what is sent, how a long list is split and put together again, and
//! what is no answer.

mod server;

use frontdesk_api::{
    Cx, Error, Inference, Kind,
    chat::Usage,
    embed::{Embed, EmbedRequest, Embeddings, Input},
    inference::NOT_OFFERED,
    rerank::{Ranked, Rerank, RerankRequest},
};
use frontdesk_bedrock::Bedrock;
use serde_json::{Value, json};
use server::{body_of, cx, json_answer, server, together, with_key};

const TITAN: &str = "amazon.titan-embed-text-v2:0";
const COHERE: &str = "cohere.embed-multilingual-v3";
const RERANK: &str = "cohere.rerank-v3-5:0";

fn embed(texts: impl IntoIterator<Item = String>) -> Embed {
    Embed { input: texts.into_iter().map(Input::Text).collect(), ..Embed::default() }
}

/// Each as long as its number.
fn texts(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|n| "x".repeat(n))
}

async fn asked(up: &Bedrock, model: &str, embed: Embed) -> Result<Embeddings, Error> {
    up.embed(&cx(), EmbedRequest::typed(model, embed)).await
}

fn counted(input_tokens: u64) -> Option<Usage> {
    Some(Usage { input_tokens, ..Usage::default() })
}

#[tokio::test]
async fn titan_is_asked_text_by_text_and_tells_its_tokens() {
    // A vector tells which text it is of, and so does the count.
    let (up, server) = together(with_key(), 3, |asked| {
        let n = body_of(asked)["inputText"].as_str().expect("a text").len();
        json_answer("200 OK", "", &json!({ "embedding": [n], "inputTextTokenCount": n }).to_string())
    })
    .await;
    let mut three = embed(texts(1..4));
    three.dimensions = Some(256);
    three.extra.insert("normalize".into(), false.into());
    let got = asked(&up, TITAN, three).await.expect("vectors");
    assert_eq!((got.provider.as_str(), got.model.as_str(), got.raw), ("aws", TITAN, None));
    assert_eq!((got.vectors, got.usage), (vec![vec![1.0], vec![2.0], vec![3.0]], counted(6)));
    for request in server.await.expect("the requests") {
        assert!(request.starts_with("POST /model/amazon.titan-embed-text-v2%3A0/invoke HTTP"), "{request}");
        let body = body_of(&request);
        assert_eq!(body, json!({ "inputText": body["inputText"], "dimensions": 256, "normalize": false }));
    }
}

fn by_cohere(asked: &str, counted: &str) -> Vec<u8> {
    let body = body_of(asked);
    let vectors: Vec<Value> =
        body["texts"].as_array().expect("texts").iter().map(|text| json!([text.as_str().map(str::len)])).collect();
    let answer =
        json!({ "id": "1", "texts": [], "response_type": "embeddings_by_type", "embeddings": { "float": vectors } });
    json_answer("200 OK", counted, &answer.to_string())
}

#[tokio::test]
async fn a_long_list_goes_to_cohere_in_parts_and_comes_back_in_order() {
    let (up, server) =
        together(with_key(), 3, |asked| by_cohere(asked, "X-Amzn-Bedrock-Input-Token-Count: 5\r\n")).await;
    let got = asked(&up, COHERE, embed(texts(0..200))).await.expect("vectors");
    let want: Vec<Vec<f32>> = (0_u16..200).map(|n| vec![f32::from(n)]).collect();
    assert_eq!((got.vectors, got.usage), (want, counted(15)));
    let mut lengths: Vec<usize> = server
        .await
        .expect("the requests")
        .iter()
        .map(|request| body_of(request)["texts"].as_array().expect("texts").len())
        .collect();
    lengths.sort_unstable();
    assert_eq!(lengths, [8, 96, 96]);
}

#[tokio::test]
async fn tokens_that_one_part_does_not_tell_are_told_of_none() {
    let (up, _server) = together(with_key(), 2, |asked| {
        let first = body_of(asked)["texts"][0] == "";
        by_cohere(asked, if first { "x-amzn-bedrock-input-token-count: 5\r\n" } else { "" })
    })
    .await;
    let got = asked(&up, COHERE, embed(texts(0..100))).await.expect("vectors");
    assert_eq!((got.vectors.len(), got.usage), (100, None));
}

#[tokio::test]
async fn the_error_of_one_part_is_that_of_the_request() {
    let (up, _server) = together(with_key(), 2, |asked| {
        if body_of(asked)["texts"][0] == "" {
            return by_cohere(asked, "");
        }
        json_answer("429 Busy", "x-amzn-errortype: ThrottlingException\r\n", r#"{"message":"slow down"}"#)
    })
    .await;
    let error = asked(&up, COHERE, embed(texts(0..100))).await.expect_err("one part failed");
    assert_eq!(error.kind, Kind::RateLimited);
    assert!(error.message.contains("slow down"), "{}", error.message);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_and_nobody_is_asked() {
    let (up, _server) = server(with_key(), vec![]).await;
    let one = || embed(["a".to_owned()]);
    let error = asked(&up, "anthropic.claude-v1:0", one()).await.expect_err("no such family");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Invalid, Some(NOT_OFFERED)));
    assert!(error.message.contains("amazon.titan-embed-text-v2"), "{}", error.message);
    let error = asked(&up, COHERE, Embed { dimensions: Some(8), ..one() }).await.expect_err("one size");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("dimensions")));
    let error = asked(&up, TITAN, Embed { input: vec![Input::Tokens(vec![1])], ..one() }).await.expect_err("no text");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("input")));
}

#[tokio::test]
async fn what_is_no_answer_is_the_upstream_s_fault() {
    for (model, answer, says) in [
        (COHERE, r#"{"embeddings":{"float":[[1.0]]}}"#, "1 vectors for 2 inputs"),
        (COHERE, r#"{"embeddings":{"float":[[1.0],[1.0],[1.0]]}}"#, "3 vectors for 2 inputs"),
        (COHERE, "<html>", "not embeddings"),
    ] {
        let (up, _server) = server(with_key(), vec![json_answer("200 OK", "", answer)]).await;
        let error = asked(&up, model, embed(texts(1..3))).await.expect_err(answer);
        assert_eq!(error.kind, Kind::Upstream);
        assert!(error.message.contains("'aws'") && error.message.contains(says), "{}", error.message);
    }
}

fn ranked(documents: usize, top_n: Option<usize>) -> RerankRequest {
    let documents = (0..documents).map(|n| json!(format!("d{n}"))).collect();
    RerankRequest::typed(RERANK, Rerank { query: "q".into(), documents, top_n, ..Rerank::default() })
}

async fn order(up: &Bedrock, request: RerankRequest) -> Result<(Vec<Ranked>, Option<Usage>), Error> {
    up.rerank(&Cx::internal("t", "r"), request).await.map(|got| (got.results, got.usage))
}

#[tokio::test]
async fn documents_are_put_in_order() {
    let answer = r#"{"results":[{"index":1,"relevance_score":0.9},{"index":0,"relevance_score":0.1}]}"#;
    let told = "X-Amzn-Bedrock-Input-Token-Count: 12\r\n";
    let answers = vec![json_answer("200 OK", told, answer), json_answer("200 OK", "", answer)];
    let (up, server) = server(with_key(), answers).await;
    let want = vec![Ranked { index: 1, score: 0.9 }, Ranked { index: 0, score: 0.1 }];
    assert_eq!(order(&up, ranked(3, Some(2))).await.expect("an order"), (want.clone(), counted(12)));
    let amazon = ranked(2, None).to("us.amazon.rerank-v1:0");
    assert_eq!(order(&up, amazon).await.expect("an order"), (want, None));
    let asked = server.await.expect("the requests");
    assert!(asked[0].starts_with("POST /model/cohere.rerank-v3-5%3A0/invoke HTTP"), "{}", asked[0]);
    let body = json!({ "query": "q", "documents": ["d0", "d1", "d2"], "top_n": 2, "api_version": 2 });
    assert_eq!(body_of(&asked[0]), body);
    assert_eq!(body_of(&asked[1]), json!({ "query": "q", "documents": ["d0", "d1"], "top_n": 2 }));
}

#[tokio::test]
async fn an_order_that_does_not_fit_the_documents_is_the_upstream_s_fault() {
    let place = |index: usize| json!({ "index": index, "relevance_score": 0.5 });
    for (results, says) in [
        (json!([place(0)]), "1 places where 2 were asked for"),
        (json!([place(0), place(2)]), "place 2 of 2 documents"),
        (json!([place(1), place(1)]), "document 1 twice"),
        (json!("none"), "not a ranking"),
    ] {
        let answer = json!({ "results": results }).to_string();
        let (up, _server) = server(with_key(), vec![json_answer("200 OK", "", &answer)]).await;
        let error = order(&up, ranked(2, None)).await.expect_err("no order");
        assert_eq!(error.kind, Kind::Upstream);
        assert!(error.message.contains(says), "{}", error.message);
    }
    let (up, _server) = server(with_key(), vec![]).await;
    let error = order(&up, ranked(2, None).to(TITAN)).await.expect_err("no such family");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Invalid, Some(NOT_OFFERED)));
}
