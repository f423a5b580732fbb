//! Answers to embeddings and rerank requests, made of what was sent. For tests only.
//!
//! A vector holds the length of its text in bytes and then counts up, so that a test can say which text it belongs
//! to. Shapes: OpenAI's embeddings object; the rerank answer of Cohere, Jina and vLLM; text-embeddings-inference's
//! list for a request with `texts`.

use super::message::Asked;
use super::reply::LABEL;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// Vectors of `size` numbers, or of as many as the request asks for.
pub(super) fn embeddings(size: usize, asked: &Asked<'_>) -> Value {
    let size = asked.json["dimensions"].as_u64().map_or(size, |n| n as usize);
    let inputs = inputs(&asked.json["input"]);
    let tokens: usize = inputs.iter().map(|input| input.len()).sum();
    let entries = inputs.iter().enumerate().map(|(index, input)| {
        let vector = (0..size).map(|i| if i == 0 { input.len() as f32 } else { i as f32 / 2.0 });
        let embedding = if asked.json["encoding_format"] == "base64" {
            json!(STANDARD.encode(vector.flat_map(f32::to_le_bytes).collect::<Vec<_>>()))
        } else {
            json!(vector.collect::<Vec<_>>())
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    });
    json!({
        "object": "list", "model": asked.model(), "data": entries.collect::<Value>(),
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}, "system_fingerprint": LABEL,
    })
}

/// Text, texts, tokens, or lists of tokens: what each vector is of, as text.
fn inputs(input: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match input.as_array() {
        Some(many) if many.first().is_some_and(|one| !one.is_number()) => many.iter().map(text).collect(),
        _ => vec![text(input)],
    }
}

/// The request's documents by `scores`, one for each, best first.
pub(super) fn ranking(scores: &[f64], asked: &Asked<'_>) -> Value {
    let tei = asked.json["texts"].as_array();
    let documents = tei.or(asked.json["documents"].as_array()).map(Vec::as_slice).unwrap_or_default();
    let mut order: Vec<(usize, f64)> = scores.iter().copied().enumerate().take(documents.len()).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    if tei.is_some() {
        return order.iter().map(|(index, score)| json!({"index": index, "score": score})).collect();
    }
    order.truncate(asked.json["top_n"].as_u64().map_or(usize::MAX, |n| n as usize));
    let shown = order.iter().map(|(index, score)| {
        let mut result = json!({"index": index, "relevance_score": score});
        if asked.json["return_documents"] == true {
            let document = &documents[*index];
            result["document"] = if document.is_string() { json!({ "text": document }) } else { document.clone() };
        }
        result
    });
    json!({
        "id": "rerank-scripted", "model": asked.model(), "results": shown.collect::<Value>(),
        "usage": {"total_tokens": documents.len()}, "meta": {"api_version": {"version": "2"}, "label": LABEL},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: Value) -> Asked<'static> {
        Asked { method: "POST", path: "/v1/embeddings", text: "", json }
    }

    #[test]
    fn a_vector_says_whose_it_is_in_both_encodings() {
        let floats = embeddings(3, &asked(json!({"input": ["ab", "c"]})));
        assert_eq!(floats["data"][0]["embedding"], json!([2.0, 0.5, 1.0]));
        assert_eq!(floats["data"][1]["embedding"][0], json!(1.0));
        let base64 = embeddings(9, &asked(json!({"input": [7, 8], "dimensions": 1, "encoding_format": "base64"})));
        assert_eq!(base64["data"], json!([{"object": "embedding", "index": 0, "embedding": "AACgQA=="}]));
    }

    #[test]
    fn a_ranking_is_sorted_and_cut_in_the_shape_that_was_asked_for() {
        let cohere = json!({"documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": true});
        let want = json!([{"index": 1, "relevance_score": 0.9, "document": {"text": "b"}}]);
        assert_eq!(ranking(&[0.1, 0.9], &asked(cohere))["results"], want);
        let want = json!([{"index": 1, "score": 0.9}, {"index": 0, "score": 0.1}]);
        assert_eq!(ranking(&[0.1, 0.9], &asked(json!({"texts": ["a", "b"]}))), want);
    }
}
