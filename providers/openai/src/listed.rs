//! What a server's own list of models says of one, beyond its name.
//!
//! Invariant: only what the server says counts; nothing is guessed from a name, but for the sizes of OpenAI's own models
//! in OpenAI's own list, which does not say them.

use frontdesk_api::inference::ModelKind;
use serde_json::Value;

/// The entries of a list of models: in an object, or bare (Together's). Servers in Go write an empty list as null.
/// None: it is no list.
pub(crate) fn entries(list: &Value) -> Option<&[Value]> {
    match list.get("data").unwrap_or(list) {
        Value::Array(entries) => Some(entries),
        Value::Null => Some(&[]),
        _ => None,
    }
}

/// Tokens that the model takes, where the list says it: `max_model_len` (vLLM, our own engine), `context_length`
/// (OpenRouter, Together), `context_window` (Groq). OpenAI's own list does not.
pub(crate) fn window(entry: &Value) -> Option<usize> {
    let said = ["max_model_len", "context_length", "context_window"].iter().find_map(|key| entry.get(key)?.as_u64());
    said.and_then(|tokens| usize::try_from(tokens).ok()).filter(|tokens| *tokens > 0)
}

/// Tokens that a model of OpenAI's own takes, or fewer: of a family, and of models that came later, the least that any of
/// them is known to take. None where that is not known. Gathered in 2026-11 from others' lists of what OpenAI's pages say
/// ("Context Window Sizes for Every GPT Model", chatai.guide, and older ones), not from the pages: an operator's
/// `context_window` goes before.
pub(crate) fn of_openai(model: &str) -> Option<usize> {
    // No texts, or no chats.
    const OTHERS: [&str; 7] = ["instruct", "realtime", "audio", "transcribe", "tts", "image", "search"];
    const KNOWN: [(&str, usize); 8] = [
        ("gpt-3.5-turbo", 16_385),
        ("gpt-4o", 128_000),
        ("gpt-4.1", 1_047_576),
        ("gpt-4-turbo", 128_000),
        ("gpt-", 128_000),
        ("o1", 128_000),
        ("o3", 200_000),
        ("o4-mini", 200_000),
    ];
    if OTHERS.iter().any(|word| model.contains(word)) {
        return None;
    }
    match model {
        "gpt-4" | "gpt-4-0314" | "gpt-4-0613" => Some(8_192),
        _ => KNOWN.iter().find(|(begins, _)| model.starts_with(begins)).map(|(_, tokens)| *tokens),
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
    fn a_list_is_an_array_somewhere_or_nothing() {
        let one = json!([{ "id": "m" }]);
        assert_eq!(entries(&one).map(<[Value]>::len), Some(1));
        assert_eq!(entries(&json!({ "object": "list", "data": one })).map(<[Value]>::len), Some(1));
        assert_eq!(entries(&json!({ "object": "list", "data": null })).map(<[Value]>::len), Some(0));
        for other in [json!({ "models": one }), json!({}), json!("welcome"), json!({ "data": "none" })] {
            assert!(entries(&other).is_none(), "{other}");
        }
    }

    #[test]
    fn openais_own_models_have_a_size_and_what_is_no_chat_has_none() {
        for (model, tokens) in [
            ("gpt-4o-mini", Some(128_000)),
            ("gpt-4.1-nano", Some(1_047_576)),
            ("gpt-7", Some(128_000)),
            ("o4-mini", Some(200_000)),
            ("gpt-4", Some(8_192)),
            ("gpt-4-turbo", Some(128_000)),
            ("gpt-3.5-turbo-0125", Some(16_385)),
            ("gpt-3.5-turbo-instruct", None),
            ("gpt-4o-realtime-preview", None),
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
