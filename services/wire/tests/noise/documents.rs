//! Requests and answers of every dialect with all members that are read here, and where a future API may put new words.
//!
//! Source of each: the API reference of its owner, as named beside it.

use serde_json::{Value, json};

use super::Noise;

/// OpenAI's API reference, "Create chat completion".
pub fn chat_request() -> Value {
    json!({
        "model": "up/m",
        "messages": [
            { "role": "developer", "content": "be brief" },
            { "role": "user", "name": "ops", "content": [
                { "type": "text", "text": "look" }, { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } } ] },
            { "role": "assistant", "content": null, "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "f", "arguments": "{\"a\": 1.50}" } } ] },
            { "role": "tool", "tool_call_id": "c1", "content": "42" } ],
        "tools": [{ "type": "function", "function": { "name": "f", "parameters": { "type": "object", "properties": {} } } }],
        "tool_choice": { "type": "function", "function": { "name": "f" } },
        "max_completion_tokens": 9, "temperature": 0.5, "top_p": 1, "seed": 7, "stop": ["END"], "user": "u",
        "service_tier": "auto", "reasoning_effort": "low", "response_format": { "type": "text" },
    })
}

/// OpenAI's API reference, "Create completion".
pub fn completion_request() -> Value {
    json!({ "model": "up/m", "prompt": "Once", "max_tokens": 5, "logprobs": 1, "stop": "END", "user": "u" })
}

/// OpenAI's API reference, "Create embeddings".
pub fn embeddings_request() -> Value {
    json!({ "model": "up/m", "input": ["a", "b"], "encoding_format": "float", "dimensions": 2 })
}

/// Cohere's API reference, "Rerank" (v1).
pub fn rerank_request() -> Value {
    json!({ "model": "up/m", "query": "q", "documents": ["a", { "text": "b" }], "top_n": 2, "return_documents": true })
}

/// Anthropic's API reference, "Create a Message".
pub fn message_request() -> Value {
    json!({
        "model": "up/m", "max_tokens": 64,
        "system": [{ "type": "text", "text": "be brief", "cache_control": { "type": "ephemeral" } }],
        "messages": [
            { "role": "user", "content": "look" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": "Eq==" },
                { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } } ] },
            { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t1", "content": "42" }] } ],
        "tools": [{ "name": "f", "input_schema": { "type": "object" } }],
        "tool_choice": { "type": "auto" }, "thinking": { "type": "enabled", "budget_tokens": 1024 },
        "metadata": { "user_id": "u" }, "stop_sequences": ["END"], "service_tier": "auto",
    })
}

/// OpenAI's API reference, "The chat completion object".
pub fn chat_answer() -> Value {
    json!({
        "id": "x", "object": "chat.completion", "created": 3, "model": "m", "service_tier": "default", "system_fingerprint": "fp",
        "choices": [{ "index": 0, "logprobs": null, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "hi", "reasoning_content": "hm", "refusal": null, "annotations": [],
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] } }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7,
            "prompt_tokens_details": { "cached_tokens": 3 }, "completion_tokens_details": { "reasoning_tokens": 1 } },
    })
}

/// OpenAI's API reference, "The chat completion chunk object".
pub fn chat_chunks() -> Vec<Value> {
    let chunk = |delta: Value, finish: Value| {
        json!({ "id": "x", "object": "chat.completion.chunk", "created": 3, "model": "m", "service_tier": "default",
            "choices": [{ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish }], "usage": null })
    };
    vec![
        chunk(json!({ "role": "assistant", "content": "" }), Value::Null),
        chunk(json!({ "content": "hi" }), Value::Null),
        chunk(
            json!({ "tool_calls": [{ "index": 0, "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } }] }),
            Value::Null,
        ),
        chunk(json!({}), json!("tool_calls")),
        json!({ "id": "x", "object": "chat.completion.chunk", "created": 3, "model": "m", "choices": [],
            "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 } }),
    ]
}

/// OpenAI's API reference, "The completion object"; the chunks have its shape.
pub fn completion_answer() -> Value {
    json!({ "id": "x", "object": "text_completion", "created": 3, "model": "m",
        "choices": [{ "index": 0, "text": "hi", "logprobs": null, "finish_reason": "length" }],
        "usage": { "prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7 } })
}

/// OpenAI's API reference, "The embedding object".
pub fn embeddings_answer() -> Value {
    json!({ "object": "list", "model": "m", "usage": { "prompt_tokens": 5, "total_tokens": 5 },
        "data": [{ "object": "embedding", "index": 0, "embedding": [0.5, -1.0] }, { "object": "embedding", "index": 1, "embedding": [1.0, 2.0] }] })
}

/// Google's references of `batchEmbedContents`, `embedContent` and `predict`; the user guide of Bedrock on Titan and
/// Cohere.
pub fn cloud_embeddings_answers() -> Vec<Value> {
    vec![
        json!({ "embeddings": [{ "values": [0.5, -1.0] }], "usageMetadata": { "promptTokenCount": 3 } }),
        json!({ "embedding": { "values": [0.5] }, "usageMetadata": { "promptTokenCount": 3 }, "truncated": false }),
        json!({ "predictions": [{ "embeddings": { "values": [0.5], "statistics": { "token_count": 4.0, "truncated": false } } }] }),
        json!({ "embedding": [0.5], "inputTextTokenCount": 3, "embeddingsByType": { "float": [0.5] } }),
        json!({ "id": "x", "texts": ["a"], "response_type": "embeddings_by_type", "embeddings": { "float": [[0.5]] } }),
    ]
}

/// Cohere's and Jina's API references, "Rerank" and "Reranker".
pub fn rerank_answer() -> Value {
    json!({ "id": "r", "model": "m", "results": [{ "index": 1, "relevance_score": 0.9, "document": { "text": "b" } }, { "index": 0, "relevance_score": 0.1 }],
        "usage": { "total_tokens": 12 }, "meta": { "api_version": { "version": "2" }, "billed_units": { "search_units": 1 }, "tokens": { "input_tokens": 12 } } })
}

/// Anthropic's API reference, "The Message object".
pub fn message_answer() -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "container": null,
        "content": [
            { "type": "thinking", "thinking": "hm", "signature": "Eq==" }, { "type": "text", "text": "hi", "citations": null },
            { "type": "tool_use", "id": "t1", "name": "f", "input": { "a": 1 } } ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": { "input_tokens": 5, "cache_creation_input_tokens": 2, "cache_creation": { "ephemeral_1h_input_tokens": 1 },
            "cache_read_input_tokens": 3, "output_tokens": 4, "service_tier": "standard" },
    })
}

/// Anthropic's page "Streaming messages". An event's name is its `type`.
pub fn message_events() -> Vec<Value> {
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": { "input_tokens": 5, "cache_read_input_tokens": 3, "output_tokens": 1 } });
    let delta = |index: u32, delta: Value| json!({ "type": "content_block_delta", "index": index, "delta": delta });
    let start =
        |index: u32, block: Value| json!({ "type": "content_block_start", "index": index, "content_block": block });
    let stop = |index: u32| json!({ "type": "content_block_stop", "index": index });
    vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "ping" }),
        start(0, json!({ "type": "thinking", "thinking": "", "signature": "" })),
        delta(0, json!({ "type": "thinking_delta", "thinking": "hm" })),
        delta(0, json!({ "type": "signature_delta", "signature": "Eq==" })),
        stop(0),
        start(1, json!({ "type": "text", "text": "" })),
        delta(1, json!({ "type": "text_delta", "text": "hi" })),
        stop(1),
        start(2, json!({ "type": "tool_use", "id": "t1", "name": "f", "input": {} })),
        delta(2, json!({ "type": "input_json_delta", "partial_json": "{}" })),
        stop(2),
        json!({ "type": "message_delta", "delta": { "stop_reason": "tool_use", "stop_sequence": null }, "usage": { "output_tokens": 4 } }),
        json!({ "type": "message_stop" }),
    ]
}

/// Google's API reference, "GenerateContentResponse", and its page "Thought signatures".
pub fn gemini_chunks() -> Vec<Value> {
    let usage =
        json!({ "promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 8 });
    let chunk = |parts: Value, finish: Value| {
        json!({ "candidates": [{ "content": { "role": "model", "parts": parts }, "finishReason": finish, "index": 0 }],
            "usageMetadata": usage, "modelVersion": "m", "responseId": "r" })
    };
    let last = json!({ "content": { "parts": [{ "text": "" }] }, "finishReason": "STOP", "index": 0, "finishMessage": "done",
        "groundingMetadata": { "groundingChunks": [{ "web": { "uri": "https://x", "title": "t" } }],
            "groundingSupports": [{ "segment": { "startIndex": 0, "endIndex": 2, "text": "hi" }, "groundingChunkIndices": [0] }] },
        "citationMetadata": { "citations": [{ "startIndex": 0, "endIndex": 1, "uri": "https://y" }] },
        "safetyRatings": [{ "category": "C", "probability": "LOW" }],
        "logprobsResult": { "topCandidates": [{ "candidates": [{ "token": "hi", "tokenId": 1, "logProbability": -0.5 }] }],
            "chosenCandidates": [{ "token": "hi", "tokenId": 1, "logProbability": -0.5 }] } });
    vec![
        chunk(json!([{ "text": "hm", "thought": true }]), Value::Null),
        chunk(json!([{ "text": "hi" }, { "inlineData": { "mimeType": "image/png", "data": "aGk=" } }]), Value::Null),
        chunk(
            json!([{ "functionCall": { "id": "g", "name": "f", "args": { "a": 1 } }, "thoughtSignature": "AAAA" }]),
            Value::Null,
        ),
        json!({ "candidates": [last], "usageMetadata": usage }),
        json!({ "promptFeedback": { "blockReason": "SAFETY", "blockReasonMessage": "no" } }),
        json!({ "error": { "code": 503, "message": "overloaded", "status": "UNAVAILABLE" } }),
    ]
}

/// The API reference of Amazon Bedrock, "Converse".
pub fn converse_answer() -> Value {
    json!({ "output": { "message": { "role": "assistant", "content": [
            { "reasoningContent": { "reasoningText": { "text": "hm", "signature": "Eq==" } } },
            { "reasoningContent": { "redactedContent": "eA==" } },
            { "text": "hi" }, { "citationsContent": { "content": [{ "text": "lo" }], "citations": [{}] } },
            { "toolUse": { "toolUseId": "t", "name": "f", "input": { "a": 1 } } } ] } },
        "stopReason": "tool_use", "metrics": { "latencyMs": 1 }, "trace": { "guardrail": {} },
        "usage": { "inputTokens": 20, "outputTokens": 9, "totalTokens": 29, "cacheReadInputTokens": 1,
            "cacheDetails": [{ "ttl": "1h", "inputTokens": 2 }] } })
}

/// The API reference of Amazon Bedrock, "ConverseStream": the type of each event and its payload.
pub fn converse_events() -> Vec<(&'static str, Value)> {
    let delta =
        |block: u32, new: Value| ("contentBlockDelta", json!({ "contentBlockIndex": block, "delta": new, "p": "ab" }));
    let stop = |block: u32| ("contentBlockStop", json!({ "contentBlockIndex": block }));
    vec![
        ("messageStart", json!({ "role": "assistant" })),
        delta(0, json!({ "reasoningContent": { "text": "hm" } })),
        delta(0, json!({ "reasoningContent": { "signature": "Eq==" } })),
        stop(0),
        delta(1, json!({ "text": "hi" })),
        stop(1),
        (
            "contentBlockStart",
            json!({ "contentBlockIndex": 2, "start": { "toolUse": { "toolUseId": "t", "name": "f" } } }),
        ),
        delta(2, json!({ "toolUse": { "input": "{}" } })),
        stop(2),
        ("messageStop", json!({ "stopReason": "tool_use" })),
        (
            "metadata",
            json!({ "usage": { "inputTokens": 2, "outputTokens": 9, "totalTokens": 11 }, "metrics": { "latencyMs": 1 } }),
        ),
    ]
}

/// Llama Stack's own requests: its OpenAPI document, "inference" and "agents".
pub fn llama_stack_bodies() -> Vec<Value> {
    let sampling =
        json!({ "strategy": { "type": "top_p", "temperature": 0.5, "top_p": 0.9 }, "max_tokens": 9, "stop": ["END"] });
    let call = json!({ "call_id": "c", "tool_name": "f", "arguments": { "a": 1 }, "arguments_json": "{\"a\":1}" });
    vec![
        json!({ "model_id": "m", "stream": true, "sampling_params": sampling, "logprobs": { "top_k": 2 }, "tool_choice": "auto",
            "messages": [
                { "role": "system", "content": "be brief" },
                { "role": "user", "content": [{ "type": "text", "text": "look" }, { "type": "image", "image": { "url": { "uri": "https://x/y.png" } } }], "context": "c" },
                { "role": "assistant", "content": "", "stop_reason": "end_of_turn", "tool_calls": [call] },
                { "role": "tool", "call_id": "c", "content": "42" } ],
            "tools": [{ "tool_name": "f", "description": "d", "parameters": { "a": { "param_type": "int", "description": "n", "required": true } } }],
            "response_format": { "type": "json_schema", "json_schema": { "type": "object" } } }),
        json!({ "model_id": "m", "content": "Once", "sampling_params": sampling }),
        json!({ "model_id": "m", "contents": ["a", { "type": "text", "text": "b" }], "output_dimension": 2 }),
        json!({ "model": "m", "instructions": "Be brief.", "sampling_params": sampling, "toolgroups": ["g", { "name": "g/t", "args": {} }],
            "client_tools": [{ "name": "f", "description": "d", "parameters": [{ "name": "a", "parameter_type": "int", "description": "n" }] }],
            "input_shields": ["s"], "output_shields": [], "max_infer_iters": 3, "enable_session_persistence": true }),
        json!({ "messages": [{ "role": "user", "content": "hi" }, { "role": "tool", "call_id": "c", "content": "42" }], "stream": true,
            "documents": [{ "content": "text", "mime_type": "text/plain" }] }),
        json!({ "tool_responses": [{ "call_id": "c", "tool_name": "f", "content": "42" }], "stream": true }),
        json!({ "shield_id": "s", "messages": [{ "role": "user", "content": "hi" }], "params": {} }),
        json!({ "model": "m", "query": "q", "items": ["a", { "type": "text", "text": "b" }], "max_num_results": 1 }),
        json!({ "toolgroup_id": "g", "provider_id": "mcp", "mcp_endpoint": { "uri": "https://x" }, "args": {} }),
    ]
}

/// Error bodies of all four clouds.
pub fn errors() -> Vec<Value> {
    vec![
        json!({ "error": { "message": "no", "type": "invalid_request_error", "param": "messages", "code": "x" } }),
        json!({ "type": "error", "error": { "type": "overloaded_error", "message": "no" }, "request_id": "r" }),
        json!({ "error": { "code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED", "details": [{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3.5s" }] } }),
        json!({ "__type": "com.amazon.coral.service#ThrottlingException", "message": "no" }),
    ]
}

/// Members whose words an API may add to.
const ENUMS: [&str; 9] = [
    "type",
    "role",
    "object",
    "finish_reason",
    "stop_reason",
    "service_tier",
    "tool_choice",
    "encoding_format",
    "reasoning_effort",
];

/// The document with one such word replaced by one of tomorrow, or as it was where it has none.
pub fn of_tomorrow(noise: &mut Noise, mut document: Value) -> Value {
    let mut places = vec![];
    find(&document, String::new(), &mut places);
    if !places.is_empty() {
        let place = places.swap_remove(noise.below(places.len()));
        if let Some(word) = document.pointer_mut(&place) {
            *word = "a_word_of_tomorrow".into();
        }
    }
    document
}

fn find(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}/{name}");
                if ENUMS.contains(&name.as_str()) && value.is_string() {
                    places.push(at.clone());
                }
                find(value, at, places);
            }
        }
        Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| find(value, format!("{at}/{i}"), places)),
        _ => {}
    }
}

pub fn response_request() -> Value {
    json!({
        "model": "m", "instructions": "Be kind.", "max_output_tokens": 64, "temperature": 0.5, "stream": true, "store": true,
        "metadata": { "order": "99999" }, "include": ["file_search_call.results", "code_interpreter_call.outputs"],
        "reasoning": { "effort": "low" }, "text": { "format": { "type": "json_schema", "name": "n", "schema": { "type": "object" } } },
        "tool_choice": { "type": "function", "name": "look" }, "parallel_tool_calls": false, "truncation": "auto",
        "tools": [
            { "type": "function", "name": "look", "description": "Looks.", "parameters": { "type": "object" }, "strict": true },
            { "type": "file_search", "vector_store_ids": ["vs_1"], "max_num_results": 3,
              "filters": { "type": "or", "filters": [{ "type": "in", "key": "lang", "value": ["de", 1] }, { "type": "gt", "key": "year", "value": 2020 }] } },
            { "type": "code_interpreter", "container": { "type": "auto", "file_ids": ["file_1"] } }
        ],
        "input": [
            { "type": "message", "role": "user", "content": [
                { "type": "input_text", "text": "hi \u{fc}" },
                { "type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low" }
            ] },
            { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"n\":7}", "id": "fc_1" },
            { "type": "function_call_output", "call_id": "c1", "output": "42" },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "yes", "annotations": [] }], "id": "msg_1", "status": "completed" }
        ]
    })
}

/// One line of a file, and Anthropic's list.
pub fn batches() -> Vec<Value> {
    vec![
        json!({ "custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat_request() }),
        json!({ "requests": [{ "custom_id": "a", "params": message_request() }, { "custom_id": "b", "params": {} }] }),
    ]
}
