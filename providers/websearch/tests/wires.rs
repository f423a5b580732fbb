//! The three wires: what an engine is asked, and what becomes of its answer or its refusal.
//!
//! Shapes of requests and answers as the engines' pages describe them; the addresses are in `src/engine.rs`.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::sync::Arc;

use frontdesk_api::{
    Cx, Error, Result,
    chat::ToolCall,
    clock::FixedClock,
    id::RandomIds,
    provider::Setting,
    tools::{Outcome, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::oneshot,
};

/// Nothing is asked of the platform.
struct NoHost;

#[async_trait::async_trait]
impl ToolHost for NoHost {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
}

fn provider(kind: &str, config: Value) -> Result<Arc<dyn ToolProvider>> {
    let setting = Setting {
        id: "search".into(),
        data_dir: "/nowhere".into(),
        runtime_dir: "/nowhere".into(),
        program: "/nowhere".into(),
        clock: Arc::new(FixedClock::at(0)),
        ids: Arc::new(RandomIds),
    };
    frontdesk_websearch::provider(&setting, kind, config)
}

/// Asks an engine that answers so; what it was asked, and what the model is told.
async fn search(kind: &str, status: &str, answer: &Value, query: &str) -> (String, ToolResult) {
    search_in(&[], kind, status, answer, query).await
}

/// As [`search`], for pages of these domains.
async fn search_in(domains: &[&str], kind: &str, status: &str, answer: &Value, query: &str) -> (String, ToolResult) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/base", listener.local_addr().unwrap());
    let said = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{answer}", answer.to_string().len());
    let (told, asked) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        // The body is JSON on one line, where there is one.
        while !text.contains("\r\n\r\n") || text.starts_with("POST") && !text.trim_end().ends_with('}') {
            let mut piece = [0; 4096];
            let n = stream.read(&mut piece).await.unwrap();
            text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
        stream.write_all(said.as_bytes()).await.unwrap();
        told.send(text).unwrap();
    });
    let config = json!({ "base_url": base_url, "api_key": "hunter2", "max_results": 2 });
    let provider = provider(kind, config).unwrap();
    assert_eq!(provider.builtin(), Some("builtin::websearch"));
    let call = ToolCall { id: "c".into(), name: "web_search".into(), arguments: json!({ "query": query }).to_string() };
    let web_domains = domains.iter().map(|domain| (*domain).to_owned()).collect();
    let cx = Cx { web_domains, ..Cx::internal("t", "r") };
    let outcome = provider.call(&cx, &ToolSource::default(), &call, Arc::new(NoHost)).await.unwrap();
    let Outcome::Done(result) = outcome else { panic!("unexpected {outcome:?}") };
    assert!(!result.content.contains("hunter2"), "{}", result.content);
    (asked.await.unwrap(), result)
}

fn page(n: usize, words: &str) -> Value {
    json!({ "title": format!("Page {n}"), "url": format!("https://{n}.example/"), words: format!("text <strong>{n}</strong>") })
}

const TOLD: &str = "Results of a web search for \"desk lamps & more\":\n\n[1] Page 1\nhttps://1.example/\ntext 1\n\n\
    [2] Page 2\nhttps://2.example/\ntext 2\n";

#[tokio::test]
async fn brave_is_asked_and_read() {
    let answer =
        json!({ "web": { "results": [page(1, "description"), page(2, "description"), page(3, "description")] } });
    let (asked, told) = search("brave", "200 OK", &answer, "desk lamps & more").await;
    assert!(asked.starts_with("GET /base/web/search?q=desk%20lamps%20%26%20more&count=2 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("x-subscription-token: hunter2"), "{asked}");
    assert_eq!((told.content.as_str(), told.is_error), (TOLD, false));
    assert_eq!(told.details.unwrap()["sources"][1], json!({ "title": "Page 2", "url": "https://2.example/" }));
}

#[tokio::test]
async fn tavily_is_asked_and_read() {
    let answer = json!({ "query": "x", "results": [page(1, "content"), page(2, "content")] });
    let (asked, told) = search("tavily", "200 OK", &answer, "desk lamps & more").await;
    assert!(asked.starts_with("POST /base/search HTTP/1.1\r\n"), "{asked}");
    assert!(asked.to_lowercase().contains("authorization: bearer hunter2"), "{asked}");
    let body: Value = serde_json::from_str(asked.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body, json!({ "query": "desk lamps & more", "max_results": 2, "search_depth": "basic" }));
    assert_eq!(told.content, TOLD);
}

#[tokio::test]
async fn searxng_is_asked_and_read() {
    let answer = json!({ "results": [page(1, "content"), { "title": "x", "url": "ftp://x" }, page(2, "content")] });
    let (asked, told) = search("searxng", "200 OK", &answer, "desk lamps & more").await;
    assert!(asked.starts_with("GET /base/search?q=desk%20lamps%20%26%20more&format=json HTTP/1.1\r\n"), "{asked}");
    assert_eq!(told.content, TOLD);
}

#[tokio::test]
async fn pages_of_other_domains_are_left_out_whatever_the_engine_brings() {
    let results = json!([page(1, "content"), page(2, "content")]);
    for (kind, answer, told_so) in [
        ("searxng", json!({ "results": results }), "?q=lamps%20%28site%3A2%2Eexample%29&format=json"),
        ("tavily", json!({ "results": results }), r#""include_domains":["2.example"]"#),
        ("brave", json!({ "web": { "results": results } }), "?q=lamps%20%28site%3A2%2Eexample%29&count=2"),
    ] {
        let (asked, told) = search_in(&["2.example"], kind, "200 OK", &answer, "lamps").await;
        assert!(asked.contains(told_so), "{asked}");
        assert_eq!(told.details.unwrap()["sources"], json!([{ "title": "Page 2", "url": "https://2.example/" }]));
    }
}

#[tokio::test]
async fn a_refusal_is_told_to_the_model_without_the_key() {
    for (kind, status, words) in [
        ("brave", "401 Unauthorized", "refuses its key"),
        ("searxng", "403 Forbidden", "allow 'json' under search.formats"),
        ("tavily", "429 Too Many Requests", "too many questions"),
        ("brave", "500 Oops", "status 500"),
    ] {
        let (_, told) = search(kind, status, &json!({ "key": "hunter2" }), "x").await;
        assert!(told.is_error && told.content.contains(words), "{}", told.content);
    }
    let (_, none) = search("brave", "200 OK", &json!({}), "x").await;
    assert!(none.content.contains("nothing was found"));
}

#[test]
fn a_bad_entry_names_its_key() {
    let refusal = |kind: &str, config: Value| -> Error { provider(kind, config).err().expect("refused") };
    for (kind, config, key) in [
        ("brave", json!({}), "api_key"),
        ("tavily", json!({ "api_key": "" }), "api_key"),
        ("searxng", json!(null), "base_url"),
        ("searxng", json!({ "base_url": "nowhere" }), "base_url"),
        ("brave", json!({ "api_key": "k", "max_results": 21 }), "max_results"),
        ("brave", json!({ "api_key": "k", "max_resluts": 2 }), "max_resluts"),
        ("brave", json!({ "api_key": "k\n" }), "api_key"),
    ] {
        assert_eq!(refusal(kind, config).param.as_deref(), Some(key));
    }
}
