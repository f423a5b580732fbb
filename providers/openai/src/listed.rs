//! What a server's own list of models says of one, beyond its name.
//!
//! Invariant: only what the server says counts; nothing is guessed from a name.

use frontdesk_api::inference::ModelKind;
use serde_json::Value;

/// Tokens that the model takes, where the list says it: `max_model_len` (vLLM, our own engine), `context_length`
/// (OpenRouter, Together), `context_window` (Groq). OpenAI's own list does not.
pub(crate) fn window(entry: &Value) -> Option<usize> {
    let said = ["max_model_len", "context_length", "context_window"].iter().find_map(|key| entry.get(key)?.as_u64());
    said.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
}

/// What the model does: `type` (Together, LM Studio), `model_type` (Frontdesk, Llama Stack) and `output_modalities`
/// (OpenRouter) say so. An `llm` where the list is silent, as OpenAI's, vLLM's and Ollama's are.
pub(crate) fn kind(entry: &Value) -> ModelKind {
    let modalities = entry.get("architecture").and_then(|own| own.get("output_modalities")).and_then(Value::as_array);
    let mut said = ["type", "model_type"]
        .iter()
        .filter_map(|key| entry.get(key)?.as_str())
        .chain(modalities.into_iter().flatten().filter_map(Value::as_str));
    let known = said.find_map(|word| match word {
        "embedding" | "embeddings" => Some(ModelKind::Embedding),
        "rerank" | "reranker" => Some(ModelKind::Rerank),
        _ => None,
    });
    known.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_is_what_the_server_says_and_never_what_a_name_looks_like() {
        for (entry, want) in [
            (json!({ "id": "text-embedding-3-small", "object": "model" }), ModelKind::Llm),
            (json!({ "id": "m", "type": "embedding" }), ModelKind::Embedding),
            (json!({ "id": "m", "type": "embeddings" }), ModelKind::Embedding),
            (json!({ "id": "m", "type": "rerank" }), ModelKind::Rerank),
            (json!({ "id": "m", "type": "model", "model_type": "rerank" }), ModelKind::Rerank),
            (json!({ "id": "m", "architecture": { "output_modalities": ["embeddings"] } }), ModelKind::Embedding),
            (json!({ "id": "m", "type": "chat" }), ModelKind::Llm),
        ] {
            assert_eq!(kind(&entry), want, "{entry}");
        }
    }
}
