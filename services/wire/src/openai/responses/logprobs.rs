//! What a model's server says of the tokens of an answer: chat completions' `logprobs` as Responses show them.
//!
//! Source of the shapes: OpenAI's API reference, "Chat completions", `logprobs.content`, and "Responses", `output_text`,
//! whose events leave out what bytes a token has.

use serde_json::{Value, json};

/// The most alternatives of a token (OpenAI's API reference, `top_logprobs`).
pub const MOST: u32 = 20;

/// As a part of a message keeps them.
pub fn kept(tokens: &[Value]) -> impl Iterator<Item = Value> {
    tokens.iter().map(|token| {
        let mut kept = with_bytes(token);
        kept["top_logprobs"] = others(token).map(with_bytes).collect();
        kept
    })
}

/// As events tell of them.
#[must_use]
pub fn told(tokens: &[Value]) -> Vec<Value> {
    let told = |token: &Value| {
        let mut told = plain(token);
        told["top_logprobs"] = others(token).map(plain).collect();
        told
    };
    tokens.iter().map(told).collect()
}

fn others(token: &Value) -> impl Iterator<Item = &Value> {
    token["top_logprobs"].as_array().into_iter().flatten()
}

fn plain(token: &Value) -> Value {
    json!({ "token": token["token"].as_str().unwrap_or_default(), "logprob": token["logprob"].as_f64().unwrap_or_default() })
}

fn with_bytes(token: &Value) -> Value {
    let mut shown = plain(token);
    // A server may leave them out; a token that is text has those of the text.
    let text = shown["token"].as_str().unwrap_or_default().as_bytes().to_vec();
    shown["bytes"] = token.get("bytes").filter(|bytes| bytes.is_array()).cloned().unwrap_or_else(|| json!(text));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the example of OpenAI's API reference, "Chat completions", and the official package's types.
    #[test]
    fn tokens_are_kept_with_their_bytes_and_told_without() {
        let other = json!({ "token": "Hi", "logprob": -1.5, "bytes": null });
        let chat = [json!({ "token": "\u{e9}", "logprob": -0.25, "bytes": [195, 169], "top_logprobs": [other] })];
        let kept: Vec<Value> = kept(&chat).collect();
        let shown = json!({ "token": "Hi", "logprob": -1.5, "bytes": [72, 105] });
        assert_eq!(
            kept,
            [json!({ "token": "\u{e9}", "logprob": -0.25, "bytes": [195, 169], "top_logprobs": [shown] })]
        );
        let plain = json!({ "token": "Hi", "logprob": -1.5 });
        let want = json!([{ "token": "\u{e9}", "logprob": -0.25, "top_logprobs": [plain] }]);
        assert_eq!(json!(told(&chat)), want);
        assert_eq!(json!(told(&kept)), want, "of what is kept the same is told");
    }
}
