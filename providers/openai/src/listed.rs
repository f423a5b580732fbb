//! What a server's own list of models says of one, beyond its name.
//!
//! Invariant: only what the server says counts; nothing is guessed from a name, but for the sizes of OpenAI's own models
//! at OpenAI, which its pages say and its list does not.

use frontdesk_api::inference::ModelKind;
use serde_json::Value;

/// Tokens that the model takes, where the list says it: `max_model_len` (vLLM, our own engine), `context_length`
/// (OpenRouter, Together), `context_window` (Groq). OpenAI's own list does not.
pub(crate) fn window(entry: &Value) -> Option<usize> {
    let said = ["max_model_len", "context_length", "context_window"].iter().find_map(|key| entry.get(key)?.as_u64());
    said.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
}

/// Tokens that a model of OpenAI's own takes, or fewer ("Models", platform.openai.com/docs/models, the page of each,
/// 2026-11): GPT-3.5 16,385, the first GPT-4 8,192, every later one for text 128,000 or more.
pub(crate) fn of_openai(model: &str) -> Option<usize> {
    let first = ["gpt-4", "gpt-4-0314", "gpt-4-0613"].contains(&model);
    let later = model.starts_with("gpt-")
        || model.starts_with("chatgpt-")
        || model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    match model {
        _ if first => Some(8_192),
        _ if model.starts_with("gpt-3.5") => Some(16_385),
        _ if later => Some(128_000),
        _ => None,
    }
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
    fn openais_own_models_take_what_its_pages_say_and_no_others() {
        for (model, tokens) in [
            ("gpt-4o-mini", Some(128_000)),
            ("gpt-5", Some(128_000)),
            ("o4-mini", Some(128_000)),
            ("gpt-4", Some(8_192)),
            ("gpt-4-turbo", Some(128_000)),
            ("gpt-3.5-turbo-0125", Some(16_385)),
            ("text-embedding-3-small", None),
            ("omni-moderation-latest", None),
        ] {
            assert_eq!(of_openai(model), tokens, "{model}");
        }
    }

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
