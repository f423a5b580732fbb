//! Decodes a `GenerateContentResponse`, which is a whole answer or one event of a stream, into chat events.
//!
//! One [`Answer`] reads one answer: calls are counted and words are kept across its events. Invariant: every
//! `ChatEvent::Usage` is the whole count so far, so the last one is the answer's; what no event has a place for
//! (pictures, code that ran, what the answer rests on) rides, as Gemini wrote it, in an `Extra` named [`EXTRA`] before
//! the candidate's end.

use std::collections::BTreeMap;

use frontdesk_api::{ChatEvent, chat::FinishReason};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    calls,
    grounding::annotations,
    tokens::{Counts, LogprobsResult, logprobs},
};

/// The member of `ChatEvent::Extra`.
pub const EXTRA: &str = "gemini";

/// One decoded piece of an answer.
#[derive(Debug, Default, PartialEq)]
pub struct Decoded {
    pub events: Vec<ChatEvent>,
    /// The server reports a fault inside its answer: `{"code", "message", "status", …}`.
    pub error: Option<Value>,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Answer {
    /// Stands for the ids that Gemini does not give.
    made: String,
    /// Whether the client takes one call a message at most. The API cannot be told, so further calls are left out.
    one_call: bool,
    begun: bool,
    usage: Counts,
    candidates: BTreeMap<u32, Said>,
}

/// What a candidate said so far.
#[derive(Debug, Default)]
struct Said {
    text: String,
    calls: u32,
    /// Members for [`EXTRA`].
    more: Map<String, Value>,
}

impl Answer {
    /// `made`: an id that begins with [`calls::MADE`] and `_`, new for every answer. `one_call`: whether calls after
    /// the first are left out (`parallel_tool_calls: false`).
    #[must_use]
    pub fn new(made: String, one_call: bool) -> Self {
        Self { made, one_call, begun: false, usage: Counts::default(), candidates: BTreeMap::new() }
    }

    /// Reads a whole body or one event's data.
    ///
    /// # Errors
    /// The JSON error, when the text is no such answer.
    pub fn read(&mut self, json: &[u8]) -> serde_json::Result<Decoded> {
        let wire: Response<'_> = serde_json::from_slice(json)?;
        if wire.error.is_some() {
            return Ok(Decoded { events: vec![], error: wire.error });
        }
        let mut events = vec![];
        if !std::mem::replace(&mut self.begun, true) {
            let (id, model) = (wire.response_id.unwrap_or_default(), wire.model_version.unwrap_or_default());
            events.push(ChatEvent::Start { id, model, created: 0 });
        }
        for (place, candidate) in wire.candidates.unwrap_or_default().into_iter().enumerate() {
            let choice = candidate.index.unwrap_or(u32::try_from(place).unwrap_or(u32::MAX));
            self.candidate(choice, candidate, &mut events)?;
        }
        if let Some(feedback) = wire.prompt_feedback {
            blocked(feedback, &mut events);
        }
        if let Some(counts) = wire.usage_metadata {
            self.usage.take(counts);
            events.push(ChatEvent::Usage(self.usage.shown()));
        }
        Ok(Decoded { events, error: None })
    }

    fn candidate(&mut self, choice: u32, wire: Candidate<'_>, events: &mut Vec<ChatEvent>) -> serde_json::Result<()> {
        for part in wire.content.and_then(|content| content.parts).unwrap_or_default() {
            self.part(choice, part, events)?;
        }
        if let Some(value) = wire.logprobs_result.as_ref().and_then(logprobs) {
            events.push(ChatEvent::Logprobs { choice, value });
        }
        let said = self.candidates.entry(choice).or_default();
        let kept = [
            ("groundingMetadata", wire.grounding_metadata),
            ("citationMetadata", wire.citation_metadata),
            ("urlContextMetadata", wire.url_context_metadata),
            ("safetyRatings", wire.safety_ratings),
            ("finishMessage", wire.finish_message.clone().map(Value::from)),
        ];
        said.more.extend(kept.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        let Some(reason) = wire.finish_reason else { return Ok(()) };
        let notes = annotations(&said.text, said.more.get("groundingMetadata"), said.more.get("citationMetadata"));
        if !notes.is_empty() {
            events.push(ChatEvent::Annotations { choice, value: notes.into() });
        }
        let reason = finish(&reason, said.calls > 0);
        if let (FinishReason::ContentFilter, Some(text)) = (&reason, wire.finish_message.filter(|t| !t.is_empty())) {
            events.push(ChatEvent::Refusal { choice, text });
        }
        events.extend(self.extra());
        events.push(ChatEvent::Finish { choice, reason });
        Ok(())
    }

    fn part(&mut self, choice: u32, raw: &RawValue, events: &mut Vec<ChatEvent>) -> serde_json::Result<()> {
        let part: Part<'_> = serde_json::from_str(raw.get())?;
        let said = self.candidates.entry(choice).or_default();
        if let Some(call) = part.function_call {
            // Behind the pieces of one, Vertex AI may send a call without a name.
            let Some(name) = call.name.filter(|name| !name.is_empty()) else { return Ok(()) };
            if self.one_call && said.calls > 0 {
                return Ok(());
            }
            let index = said.calls;
            said.calls += 1;
            let made = format!("{}_{choice}_{index}", self.made);
            let id = calls::join(call.id.as_deref(), &made, part.thought_signature.as_deref());
            let arguments = call.args.map_or("{}", RawValue::get).to_owned();
            events.push(ChatEvent::ToolCall { choice, index, id: Some(id), name: Some(name), arguments });
            return Ok(());
        }
        match part.text {
            Some(text) if text.is_empty() => {}
            Some(text) if part.thought => events.push(ChatEvent::Reasoning { choice, text }),
            Some(text) => {
                said.text.push_str(&text);
                events.push(ChatEvent::Text { choice, text });
            }
            None => {
                let part: Map<String, Value> = serde_json::from_str(raw.get())?;
                // A signature alone is no content.
                let speaks = part.keys().any(|name| !["thought", "thoughtSignature"].contains(&name.as_str()));
                if speaks && let Value::Array(kept) = said.more.entry("parts").or_insert_with(|| json!([])) {
                    kept.push(Value::Object(part));
                }
            }
        }
        Ok(())
    }

    /// What no event has a place for, of all candidates so far.
    fn extra(&self) -> Option<ChatEvent> {
        let candidates = self.candidates.iter().filter(|(_, said)| !said.more.is_empty());
        let shown = candidates.map(|(index, said)| {
            let mut shown = said.more.clone();
            shown.insert("index".into(), json!(index));
            Value::Object(shown)
        });
        let shown: Vec<Value> = shown.collect();
        (!shown.is_empty()).then(|| extra(json!({ "candidates": shown })))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    #[serde(borrow, default)]
    candidates: Option<Vec<Candidate<'a>>>,
    #[serde(default)]
    prompt_feedback: Option<Value>,
    #[serde(default)]
    usage_metadata: Option<Counts>,
    #[serde(default)]
    model_version: Option<String>,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(default)]
    error: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate<'a> {
    #[serde(default)]
    index: Option<u32>,
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    finish_message: Option<String>,
    #[serde(default)]
    logprobs_result: Option<LogprobsResult>,
    #[serde(default)]
    grounding_metadata: Option<Value>,
    #[serde(default)]
    citation_metadata: Option<Value>,
    #[serde(default)]
    url_context_metadata: Option<Value>,
    #[serde(default)]
    safety_ratings: Option<Value>,
}

#[derive(Deserialize)]
struct Content<'a> {
    /// Absent where there is nothing to say.
    #[serde(borrow, default)]
    parts: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Part<'a> {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    thought: bool,
    #[serde(default)]
    thought_signature: Option<String>,
    #[serde(borrow, default)]
    function_call: Option<Call<'a>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    name: Option<String>,
    /// Kept as it was written: numbers lose nothing.
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
}

fn extra(value: Value) -> ChatEvent {
    ChatEvent::Extra(Map::from_iter([(EXTRA.to_owned(), value)]))
}

/// A prompt that was refused has no candidate; the answer is the refusal.
fn blocked(feedback: Value, events: &mut Vec<ChatEvent>) {
    let text = |name: &str| feedback.get(name).and_then(Value::as_str).map(str::to_owned);
    let Some(reason) = text("blockReason") else { return };
    let said = text("blockReasonMessage")
        .unwrap_or_else(|| format!("The prompt was blocked by the model's provider: {reason}."));
    events.push(ChatEvent::Refusal { choice: 0, text: said });
    events.push(extra(json!({ "promptFeedback": feedback })));
    events.push(ChatEvent::Finish { choice: 0, reason: FinishReason::ContentFilter });
}

/// Why a candidate ended. Gemini ends with `STOP` whether it called tools or not.
fn finish(reason: &str, called: bool) -> FinishReason {
    match reason {
        "STOP" if called => FinishReason::ToolCalls,
        "STOP" => FinishReason::Stop,
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "LANGUAGE"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "ESCALATION"
        | "MODEL_ARMOR" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::chat::Usage;

    use super::*;

    fn answer() -> Answer {
        Answer::new("fdcall_01".into(), false)
    }

    fn read(events: &[&str]) -> Vec<ChatEvent> {
        let mut answer = answer();
        events.iter().flat_map(|e| answer.read(e.as_bytes()).expect("an answer").events).collect()
    }

    fn call(index: u32, id: &str, name: &str, arguments: &str) -> ChatEvent {
        let (id, name) = (Some(id.to_owned()), Some(name.to_owned()));
        ChatEvent::ToolCall { choice: 0, index, id, name, arguments: arguments.to_owned() }
    }

    fn text(text: &str) -> ChatEvent {
        ChatEvent::Text { choice: 0, text: text.into() }
    }

    fn end(reason: FinishReason) -> ChatEvent {
        ChatEvent::Finish { choice: 0, reason }
    }

    const HEAD: &str = r#""modelVersion":"gemini-3-pro","responseId":"r1""#;

    // Oracle: the streams of Google's pages "Thinking" and "Thought signatures".
    #[test]
    fn a_stream_of_thought_words_and_calls() {
        let got = read(&[
            r#"{"candidates":[{"content":{"parts":[{"text":"hm","thought":true}],"role":"model"},"index":0}],
                "usageMetadata":{"promptTokenCount":5,"totalTokenCount":9,"thoughtsTokenCount":4},"modelVersion":"gemini-3-pro","responseId":"r1"}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"Hello"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":5,
                "candidatesTokenCount":1,"cachedContentTokenCount":3,"toolUsePromptTokenCount":2,"thoughtsTokenCount":4},"responseId":"r1"}"#,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"id":"g1","name":"f","args":{"a": 1.50}},"thoughtSignature":"Ea+/AA=="},
                {"functionCall":{"name":"g","args":{}}}],"role":"model"}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"g"}}, {"functionCall":{}}],"role":"model"}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"","thoughtSignature":"AAAA"}, {"thoughtSignature":"AAAA"}],"role":"model"},
                "finishReason":"STOP","index":0}],"usageMetadata":{"candidatesTokenCount":7}}"#,
        ]);
        let usage = |output_tokens, cached_input_tokens, input_tokens| {
            ChatEvent::Usage(Usage {
                input_tokens,
                output_tokens,
                cached_input_tokens,
                reasoning_tokens: 4,
                ..Usage::default()
            })
        };
        let want = [
            ChatEvent::Start { id: "r1".into(), model: "gemini-3-pro".into(), created: 0 },
            ChatEvent::Reasoning { choice: 0, text: "hm".into() },
            usage(4, 0, 5),
            text("Hello"),
            usage(5, 3, 7),
            call(0, "g1__thought__Ea-_AA", "f", r#"{"a": 1.50}"#),
            call(1, "fdcall_01_0_1", "g", "{}"),
            call(2, "fdcall_01_0_2", "g", "{}"),
            end(FinishReason::ToolCalls),
            usage(11, 3, 7),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn one_call_at_a_time_is_kept_though_gemini_knows_no_such_rule() {
        let body = br#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{}}},{"functionCall":{"name":"g","args":{}}}]},
            "finishReason":"STOP"}]}"#;
        let events = Answer::new("fdcall_01".into(), true).read(body).expect("an answer").events;
        assert_eq!(events[1..], [call(0, "fdcall_01_0_0", "f", "{}"), end(FinishReason::ToolCalls)]);
    }

    #[test]
    fn several_candidates_are_several_choices() {
        let got = read(&[&format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"STOP"}},
            {{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{{}}}}}}]}},"finishReason":"STOP","index":1}}],{HEAD}}}"#
        )]);
        let of = |event: &ChatEvent| match event {
            ChatEvent::Text { choice, .. } | ChatEvent::ToolCall { choice, .. } => Some((*choice, None)),
            ChatEvent::Finish { choice, reason } => Some((*choice, Some(reason.clone()))),
            _ => None,
        };
        let seen: Vec<_> = got.iter().filter_map(of).collect();
        let (stop, calls) = (Some(FinishReason::Stop), Some(FinishReason::ToolCalls));
        assert_eq!(seen, [(0, None), (0, stop), (1, None), (1, calls)]);
    }

    #[test]
    fn every_reason_has_a_meaning() {
        let filtered = ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR"];
        let filtered = filtered.map(|reason| (reason, FinishReason::ContentFilter));
        let others = [
            ("STOP", FinishReason::Stop),
            ("MAX_TOKENS", FinishReason::Length),
            ("MALFORMED_FUNCTION_CALL", FinishReason::Other("malformed_function_call".into())),
            ("A_REASON_OF_TOMORROW", FinishReason::Other("a_reason_of_tomorrow".into())),
        ];
        for (reason, want) in filtered.into_iter().chain(others) {
            let event = format!(r#"{{"candidates":[{{"content":{{"role":"model"}},"finishReason":"{reason}"}}]}}"#);
            assert_eq!(read(&[event.as_str()])[1..], [end(want)], "{reason}");
        }
        let told = r#"{"candidates":[{"finishReason":"SAFETY","finishMessage":"Not that."}]}"#;
        assert_eq!(read(&[told])[1], ChatEvent::Refusal { choice: 0, text: "Not that.".into() });
    }

    #[test]
    fn a_blocked_prompt_is_a_refusal() {
        let got = read(&[
            r#"{"promptFeedback":{"blockReason":"SAFETY","safetyRatings":[]},"usageMetadata":{"promptTokenCount":5}}"#,
        ]);
        assert!(matches!(&got[1], ChatEvent::Refusal { text, .. } if text.contains("SAFETY")), "{got:?}");
        assert!(matches!(&got[2], ChatEvent::Extra(more) if more[EXTRA]["promptFeedback"]["blockReason"] == "SAFETY"));
        assert_eq!(got[3], end(FinishReason::ContentFilter));
        assert!(matches!(got[4], ChatEvent::Usage(Usage { input_tokens: 5, .. })));
        let fine = r#"{"promptFeedback":{"safetyRatings":[]},"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#;
        assert_eq!(read(&[fine])[1..], [text("a")]);
    }

    #[test]
    fn what_has_no_event_rides_before_the_end() {
        let got = read(&[
            r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"aGk="}}]}}]}"#,
            r#"{"candidates":[{"content":{"parts":[{"executableCode":{"code":"1"}},{"text":"Spain"}]},"groundingMetadata":{"groundingChunks":
                [{"web":{"uri":"https://a","title":"a"}}],"groundingSupports":[{"segment":{"endIndex":5},"groundingChunkIndices":[0]}]},
                "finishReason":"STOP"}]}"#,
        ]);
        let ChatEvent::Annotations { value, .. } = &got[2] else { panic!("{got:?}") };
        assert_eq!(value[0]["url_citation"]["end_index"], 5);
        let ChatEvent::Extra(more) = &got[3] else { panic!("{got:?}") };
        let shown = &more[EXTRA]["candidates"][0];
        assert_eq!(
            (&shown["parts"][0]["inlineData"]["data"], &shown["parts"][1]["executableCode"]["code"]),
            (&json!("aGk="), &json!("1"))
        );
        assert_eq!(
            (&shown["index"], &shown["groundingMetadata"]["groundingChunks"][0]["web"]["title"]),
            (&json!(0), &json!("a"))
        );
        assert_eq!(got[4], end(FinishReason::Stop));
    }

    #[test]
    fn a_fault_is_not_an_event_and_nonsense_not_an_answer() {
        let json = br#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
        let decoded = answer().read(json).expect("an event");
        assert!(decoded.events.is_empty() && decoded.error.expect("a fault")["status"] == "UNAVAILABLE");
        for nonsense in [&b"<html>"[..], b"7", br#"{"candidates":[{"content":{"parts":[7]}}]}"#] {
            assert!(answer().read(nonsense).is_err());
        }
    }
}
