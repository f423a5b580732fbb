//! What an answer tells of its tokens: how many, and how probable they were.

use frontdesk_api::chat::Usage;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogprobsResult {
    #[serde(default)]
    chosen_candidates: Vec<Token>,
    #[serde(default)]
    top_candidates: Vec<TopTokens>,
}

#[derive(Deserialize)]
struct TopTokens {
    #[serde(default)]
    candidates: Vec<Token>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    #[serde(default)]
    token: String,
    #[serde(default)]
    log_probability: f64,
}

impl Token {
    /// Gemini does not say which bytes a token stands for.
    fn shown(&self) -> Value {
        json!({ "token": self.token, "logprob": self.log_probability, "bytes": null })
    }
}

/// As OpenAI's `logprobs` of a choice; None: there are none.
pub(super) fn logprobs(wire: &LogprobsResult) -> Option<Value> {
    let token = |(i, chosen): (usize, &Token)| {
        let top = wire.top_candidates.get(i).map(|top| top.candidates.as_slice()).unwrap_or_default();
        let mut shown = chosen.shown();
        shown["top_logprobs"] = top.iter().map(Token::shown).collect();
        shown
    };
    let content: Vec<Value> = wire.chosen_candidates.iter().enumerate().map(token).collect();
    (!content.is_empty()).then(|| json!({ "content": content, "refusal": null }))
}

/// Cumulative counts. Thoughts are counted beside the answer, what Google's own tools read beside the prompt, cached
/// tokens within the prompt (the SDK's `GenerateContentResponseUsageMetadata`).
#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Counts {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
}

impl Counts {
    /// A member that is absent stands as it was.
    pub(super) fn take(&mut self, new: Self) {
        self.prompt_token_count = new.prompt_token_count.or(self.prompt_token_count);
        self.tool_use_prompt_token_count = new.tool_use_prompt_token_count.or(self.tool_use_prompt_token_count);
        self.cached_content_token_count = new.cached_content_token_count.or(self.cached_content_token_count);
        self.candidates_token_count = new.candidates_token_count.or(self.candidates_token_count);
        self.thoughts_token_count = new.thoughts_token_count.or(self.thoughts_token_count);
    }

    pub(super) fn shown(&self) -> Usage {
        let sum = |a: Option<u64>, b: Option<u64>| a.unwrap_or(0).saturating_add(b.unwrap_or(0));
        Usage {
            input_tokens: sum(self.prompt_token_count, self.tool_use_prompt_token_count),
            output_tokens: sum(self.candidates_token_count, self.thoughts_token_count),
            cached_input_tokens: self.cached_content_token_count.unwrap_or(0),
            reasoning_tokens: self.thoughts_token_count.unwrap_or(0),
            // Google charges for keeping a cache, not for writing one by a request.
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_told_as_openai_tells_them() {
        let wire = r#"{"topCandidates":[{"candidates":[{"token":"hi","tokenId":1,"logProbability":-0.5},{"token":"ho","logProbability":-1.5}]}],
            "chosenCandidates":[{"token":"hi","tokenId":1,"logProbability":-0.5},{"token":"!","logProbability":-0.25}]}"#;
        let token = |token: &str, p: f64| json!({ "token": token, "logprob": p, "bytes": null });
        let (mut hi, mut end) = (token("hi", -0.5), token("!", -0.25));
        hi["top_logprobs"] = json!([token("hi", -0.5), token("ho", -1.5)]);
        end["top_logprobs"] = json!([]);
        let got = logprobs(&serde_json::from_str(wire).expect("a result"));
        assert_eq!(got, Some(json!({ "content": [hi, end], "refusal": null })));
        assert_eq!(logprobs(&serde_json::from_str("{}").expect("a result")), None);
    }

    #[test]
    fn a_count_that_is_not_repeated_stands() {
        let mut counts = Counts::default();
        for wire in [
            r#"{"promptTokenCount":5,"toolUsePromptTokenCount":2,"cachedContentTokenCount":3}"#,
            r#"{"candidatesTokenCount":7,"thoughtsTokenCount":4,"totalTokenCount":18}"#,
        ] {
            counts.take(serde_json::from_str(wire).expect("counts"));
        }
        let want = Usage {
            input_tokens: 7,
            output_tokens: 11,
            cached_input_tokens: 3,
            reasoning_tokens: 4,
            ..Usage::default()
        };
        assert_eq!(counts.shown(), want);
    }
}
