//! Reranking as Cohere, Jina and vLLM do it, and as text-embeddings-inference does: requests and answers.
//!
//! The first three agree on `POST …/rerank` with `query`, `documents` and `top_n`, answered by `results`; that shape
//! is the one clients speak here. Sources: the API references of Cohere (v1 and v2, "Rerank") and Jina ("Reranker"),
//! vLLM's documentation ("Re-rank API") and the OpenAPI document of text-embeddings-inference.

use bytes::Bytes;
use frontdesk_api::{
    Error, Result,
    chat::{Dialect, Source, Usage},
    rerank::{Ranked, Rerank, RerankRequest},
};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, json, value::RawValue};

use crate::openai::peek::{marks, model, not_json};

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    query: Option<&'a RawValue>,
    #[serde(borrow)]
    documents: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/rerank` just enough to route it.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn request(bytes: Bytes) -> Result<RerankRequest> {
    let peek: Peek<'_> = serde_json::from_slice(&bytes).map_err(not_json)?;
    let model = model(peek.model)?;
    for (there, name) in [(peek.query.is_some(), "query"), (peek.documents.is_some(), "documents")] {
        if !there {
            return Err(Error::invalid(name, format!("missing member '{name}'")));
        }
    }
    let marks = marks(&bytes, peek.model, None);
    Ok(RerankRequest::from_source(model, Source { dialect: Dialect::Rerank, bytes, decode, marks }))
}

/// The request, typed.
///
/// # Errors
/// `Invalid` naming the member (`documents[2]`).
pub fn decode(body: &[u8]) -> Result<Rerank> {
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(not_json)?;
    body.remove("model");
    let Some(Value::String(query)) = body.remove("query") else {
        return Err(Error::invalid("query", "'query' must be text"));
    };
    let documents = match body.remove("documents") {
        Some(Value::Array(documents)) if !documents.is_empty() => documents,
        _ => return Err(Error::invalid("documents", "'documents' must be a list with at least one document")),
    };
    if let Some(i) = documents.iter().position(|document| !document.is_string() && !document.is_object()) {
        let at = format!("documents[{i}]");
        return Err(Error::invalid(at.clone(), format!("'{at}' must be text or an object")));
    }
    let top_n = match body.remove("top_n") {
        None | Some(Value::Null) => None,
        Some(n) => Some(n.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).ok_or_else(|| {
            Error::invalid("top_n", "'top_n' must be how many of the best documents to tell, at least 1")
        })?),
    };
    let return_documents = body.remove("return_documents").is_some_and(|wanted| wanted == true);
    let rank_fields = match body.remove("rank_fields") {
        None | Some(Value::Null) => vec![],
        Some(fields) => serde_json::from_value(fields)
            .map_err(|_| Error::invalid("rank_fields", "'rank_fields' must be a list of members' names"))?,
    };
    Ok(Rerank { query, documents, top_n, return_documents, rank_fields, extra: body })
}

/// The request in the shape of Cohere, Jina and vLLM.
#[must_use]
pub fn encode(model: &str, rerank: &Rerank) -> Bytes {
    let mut out = rerank.extra.clone();
    out.insert("model".into(), model.into());
    out.insert("query".into(), rerank.query.as_str().into());
    out.insert("documents".into(), json!(rerank.documents));
    if let Some(n) = rerank.top_n {
        out.insert("top_n".into(), n.into());
    }
    if rerank.return_documents {
        out.insert("return_documents".into(), true.into());
    }
    if !rerank.rank_fields.is_empty() {
        out.insert("rank_fields".into(), json!(rerank.rank_fields));
    }
    Bytes::from(Value::Object(out).to_string())
}

/// The request as text-embeddings-inference reads it.
#[must_use]
pub fn encode_tei(query: &str, texts: &[String]) -> Bytes {
    Bytes::from(json!({ "query": query, "texts": texts, "truncate": true }).to_string())
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Entry>,
    /// Its cost, as Jina and vLLM tell it.
    #[serde(default)]
    usage: Option<WireUsage>,
    /// Its cost, as Cohere tells it.
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Entry {
    index: usize,
    #[serde(default)]
    relevance_score: Option<f64>,
    /// Text-embeddings-inference's name for it.
    #[serde(default)]
    score: Option<f64>,
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Meta {
    #[serde(default)]
    tokens: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tokens {
    #[serde(default)]
    input_tokens: Option<f64>,
}

/// None: the server did not count.
fn counted(usage: Option<WireUsage>, meta: Option<Meta>) -> Option<Usage> {
    let told = usage.and_then(|usage| usage.total_tokens.or(usage.prompt_tokens));
    // Cohere's document says number, and means a whole one.
    let billed = || Some(meta?.tokens?.input_tokens? as u64);
    Some(Usage { input_tokens: told.or_else(billed)?, ..Usage::default() })
}

/// The order in an answer of Cohere, Jina or vLLM, best first, and what it cost.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode_answer(json: &[u8]) -> serde_json::Result<(Vec<Ranked>, Option<Usage>)> {
    let answer: Answer = serde_json::from_slice(json)?;
    Ok((sorted(answer.results)?, counted(answer.usage, answer.meta)))
}

/// The same of text-embeddings-inference, which does not count.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode_tei(json: &[u8]) -> serde_json::Result<Vec<Ranked>> {
    sorted(serde_json::from_slice(json)?)
}

fn sorted(entries: Vec<Entry>) -> serde_json::Result<Vec<Ranked>> {
    let ranked = |entry: Entry| {
        let score = entry.relevance_score.or(entry.score);
        Ok(Ranked {
            index: entry.index,
            score: score.ok_or_else(|| serde_json::Error::missing_field("relevance_score"))?,
        })
    };
    let mut out: Vec<Ranked> = entries.into_iter().map(ranked).collect::<serde_json::Result<_>>()?;
    out.sort_by(|a, b| b.score.total_cmp(&a.score));
    Ok(out)
}

/// The answer as clients of Cohere, Jina and vLLM read it. Documents are repeated as they were sent where the request
/// asks for them, a text as `{"text": …}`.
#[must_use]
pub fn encode_answer(id: &str, model: &str, rerank: &Rerank, results: &[Ranked], usage: Option<Usage>) -> Bytes {
    let shown = |ranked: &Ranked| {
        let mut out = json!({ "index": ranked.index, "relevance_score": ranked.score });
        match rerank.documents.get(ranked.index).filter(|_| rerank.return_documents) {
            Some(Value::String(text)) => out["document"] = json!({ "text": text }),
            Some(document) => out["document"] = document.clone(),
            None => {}
        }
        out
    };
    let mut answer = json!({ "id": id, "model": model, "results": results.iter().map(shown).collect::<Value>() });
    if let Some(Usage { input_tokens: tokens, .. }) = usage {
        answer["usage"] = json!({ "prompt_tokens": tokens, "total_tokens": tokens });
        answer["meta"] = json!({ "tokens": { "input_tokens": tokens } });
    }
    Bytes::from(answer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the request examples of Cohere's v1 and Jina's API references.
    const SENT: &str = r#"{"model":"m","query":"capital?","documents":["Carson City",{"title":"DC","text":"Washington"}],
        "top_n":1,"return_documents":true,"rank_fields":["title","text"],"max_chunks_per_doc":10}"#;

    #[test]
    fn what_was_decoded_encodes_to_the_same_request() {
        let rerank = decode(SENT.as_bytes()).expect("a good request");
        let want: Value = serde_json::from_str(SENT).expect("JSON");
        assert_eq!(serde_json::from_slice::<Value>(&encode("m", &rerank)).expect("JSON"), want);
    }

    #[test]
    fn each_fault_names_its_member() {
        for (body, param) in [
            (r#"{"query":7,"documents":["a"]}"#, "query"),
            (r#"{"query":"q","documents":[]}"#, "documents"),
            (r#"{"query":"q","documents":["a",7]}"#, "documents[1]"),
            (r#"{"query":"q","documents":["a"],"top_n":0}"#, "top_n"),
            (r#"{"query":"q","documents":["a"],"rank_fields":"text"}"#, "rank_fields"),
        ] {
            assert_eq!(decode(body.as_bytes()).expect_err(body).param.as_deref(), Some(param), "{body}");
        }
        for (body, param) in [(r#"{"query":"q"}"#, "model"), (r#"{"model":"m","query":"q"}"#, "documents")] {
            let refused = request(Bytes::from_static(body.as_bytes())).err().expect("refused");
            assert_eq!(refused.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn objects_become_the_texts_that_count() {
        let mut rerank = decode(SENT.as_bytes()).expect("a good request");
        assert_eq!(rerank.texts().expect("texts"), ["Carson City", "title: DC\ntext: Washington"]);
        rerank.rank_fields = vec!["title".into()];
        assert_eq!(rerank.texts().expect("texts")[1], "DC");
        rerank.rank_fields.clear();
        assert_eq!(rerank.texts().expect("texts")[1], "Washington");
        rerank.documents[1] = json!({ "body": "x" });
        assert_eq!(rerank.texts().expect_err("no text").param.as_deref(), Some("documents[1]"));
    }

    #[test]
    fn answers_of_every_server_read_as_one_order() {
        // As the references of Cohere, Jina and vLLM, and of text-embeddings-inference, show them; unsorted on purpose.
        let cohere = br#"{"id":"x","results":[{"index":0,"relevance_score":0.1},{"index":1,"relevance_score":0.9}],
            "meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1},"tokens":{"input_tokens":12}}}"#;
        let jina = br#"{"model":"m","usage":{"total_tokens":12},"results":[
            {"index":1,"document":{"text":"b"},"relevance_score":0.9},{"index":0,"document":{"text":"a"},"relevance_score":0.1}]}"#;
        let vllm = br#"{"id":"x","model":"m","usage":{"prompt_tokens":12,"total_tokens":12},"results":[
            {"index":1,"document":{"text":"b","multi_modal":null},"relevance_score":0.9},{"index":0,"relevance_score":0.1}]}"#;
        let want = vec![Ranked { index: 1, score: 0.9 }, Ranked { index: 0, score: 0.1 }];
        let usage = Usage { input_tokens: 12, ..Usage::default() };
        for answer in [&cohere[..], jina, vllm] {
            assert_eq!(decode_answer(answer).expect("an answer"), (want.clone(), Some(usage)));
        }
        let tei = br#"[{"index":0,"score":0.1},{"index":1,"score":0.9}]"#;
        assert_eq!(decode_tei(tei).expect("an answer"), want);
        assert!(decode_answer(br#"{"error":"no"}"#).is_err() && decode_tei(br#"{"error":"no"}"#).is_err());
    }

    #[test]
    fn an_answer_repeats_documents_only_for_who_asked() {
        let mut rerank = decode(SENT.as_bytes()).expect("a good request");
        let results = [Ranked { index: 1, score: 0.9 }, Ranked { index: 0, score: 0.5 }];
        let written = |rerank: &Rerank, usage| -> Value {
            serde_json::from_slice(&encode_answer("r", "m", rerank, &results, usage)).expect("JSON")
        };
        let want = json!({ "id": "r", "model": "m", "results": [
            { "index": 1, "relevance_score": 0.9, "document": { "title": "DC", "text": "Washington" } },
            { "index": 0, "relevance_score": 0.5, "document": { "text": "Carson City" } },
        ] });
        assert_eq!(written(&rerank, None), want);
        rerank.return_documents = false;
        let counted = written(&rerank, Some(Usage { input_tokens: 7, ..Usage::default() }));
        assert_eq!(counted["results"][0], json!({ "index": 1, "relevance_score": 0.9 }));
        assert_eq!(
            (&counted["usage"]["total_tokens"], &counted["meta"]["tokens"]["input_tokens"]),
            (&json!(7), &json!(7))
        );
    }
}
