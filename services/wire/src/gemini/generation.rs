//! What tunes an answer, as Gemini's `generationConfig`.

use frontdesk_api::{Error, Result, chat::Chat};
use serde_json::{Map, Value, json};

use super::request::{camel, own};

/// Members of the configuration that go on as a client sent them, by Google's older spelling.
const PASSED: [&str; 6] =
    ["top_k", "response_modalities", "speech_config", "media_resolution", "image_config", "audio_timestamp"];

/// The configuration; what a client wrote into a `generation_config` of its own wins. None: nothing was asked for.
///
/// # Errors
/// `Invalid` naming `modalities` or `response_format`.
pub(super) fn config(model: &str, chat: &Chat) -> Result<Option<Value>> {
    let extra = |name: &str| chat.extra.get(name).filter(|value| !value.is_null()).cloned();
    let asked = |name: &str| extra(name).filter(|value| *value != Value::Bool(false));
    let mut out = Map::new();
    let optional = [
        ("maxOutputTokens", chat.max_tokens.map(Value::from)),
        ("temperature", chat.temperature.map(Value::from)),
        ("topP", chat.top_p.map(Value::from)),
        ("seed", chat.seed.map(|seed| json!(short(seed)))),
        ("stopSequences", (!chat.stop.is_empty()).then(|| json!(chat.stop))),
        ("candidateCount", extra("n")),
        ("presencePenalty", extra("presence_penalty")),
        ("frequencyPenalty", extra("frequency_penalty")),
        ("responseLogprobs", asked("logprobs")),
        ("logprobs", extra("top_logprobs")),
        ("responseModalities", modalities(chat)?),
        ("thinkingConfig", thinking(model, chat)),
    ];
    out.extend(optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    for name in PASSED {
        if let Some(value) = own(chat, name) {
            out.insert(camel(name), value.clone());
        }
    }
    format(chat, &mut out)?;
    if let Some(Value::Object(members)) = own(chat, "generation_config") {
        out.extend(members.iter().map(|(name, value)| (camel(name), value.clone())));
    }
    Ok((!out.is_empty()).then_some(Value::Object(out)))
}

/// The API takes 32 bits; the lower ones of a longer seed are as repeatable.
fn short(seed: i64) -> i64 {
    if i32::try_from(seed).is_ok() { seed } else { seed & i64::from(i32::MAX) }
}

fn modalities(chat: &Chat) -> Result<Option<Value>> {
    let Some(asked) = chat.extra.get("modalities").and_then(Value::as_array) else { return Ok(None) };
    let mut out = vec![];
    for kind in asked {
        match kind.as_str() {
            Some("text") => out.push("TEXT"),
            Some("image") => out.push("IMAGE"),
            _ => {
                let message = format!("'modalities' holds {kind}: Gemini models answer in text and image here");
                return Err(Error::invalid("modalities", message));
            }
        }
    }
    // Text alone is what an answer is without the member.
    Ok((out != ["TEXT"] && !out.is_empty()).then(|| json!(out)))
}

fn format(chat: &Chat, out: &mut Map<String, Value>) -> Result<()> {
    let Some(wanted) = chat.response_format.as_ref().filter(|wanted| !wanted.is_null()) else { return Ok(()) };
    match wanted.get("type").and_then(Value::as_str) {
        Some("text") => return Ok(()),
        Some("json_object") => {}
        Some("json_schema") => {
            let schema = wanted.get("json_schema").and_then(|s| s.get("schema")).ok_or_else(|| {
                let param = "response_format.json_schema.schema";
                Error::invalid(param, format!("missing member '{param}'"))
            })?;
            out.insert("responseJsonSchema".into(), schema.clone());
        }
        other => {
            let other = other.unwrap_or("of no type");
            let message = format!("response_format '{other}' is not known to Gemini's API: use json_schema");
            return Err(Error::invalid("response_format.type", message));
        }
    }
    out.insert("responseMimeType".into(), "application/json".into());
    Ok(())
}

/// How much to think, and whether to show it: `thinking_config` as Gemini has it, else Anthropic's `thinking`, else
/// OpenAI's `reasoning_effort`. Who asks for thought is shown it.
fn thinking(model: &str, chat: &Chat) -> Option<Value> {
    if let Some(own) = own(chat, "thinking_config") {
        let Value::Object(members) = own else { return Some(own.clone()) };
        return Some(members.iter().map(|(name, value)| (camel(name), value.clone())).collect());
    }
    let effort = chat.extra.get("reasoning_effort").and_then(Value::as_str);
    let effort = effort.and_then(Depth::of).map(|depth| depth.shown(model));
    let Some(thinking) = chat.extra.get("thinking") else { return effort };
    match thinking.get("type").and_then(Value::as_str) {
        Some("disabled") => Some(Depth::None.shown(model)),
        Some("enabled") => match thinking.get("budget_tokens") {
            Some(budget) => Some(json!({ "includeThoughts": true, "thinkingBudget": budget })),
            None => effort.or_else(|| Some(json!({ "includeThoughts": true }))),
        },
        Some("adaptive") => effort.or_else(|| Some(json!({ "includeThoughts": true }))),
        _ => effort,
    }
}

/// OpenAI's efforts, and Anthropic's `max`.
#[derive(Clone, Copy)]
enum Depth {
    None,
    Minimal,
    Low,
    Medium,
    High,
    Highest,
}

impl Depth {
    fn of(effort: &str) -> Option<Self> {
        Some(match effort {
            "none" => Self::None,
            "minimal" => Self::Minimal,
            "low" => Self::Low,
            "medium" => Self::Medium,
            "high" => Self::High,
            "xhigh" | "max" => Self::Highest,
            _ => return None,
        })
    }

    /// Models before Gemini 3 know a budget in tokens, the others a level. Source of the numbers: Google's page "OpenAI
    /// compatibility", `reasoning_effort`. A model that cannot do without thought thinks as little as it can, or
    /// says in an error of its own that it must.
    fn shown(self, model: &str) -> Value {
        if version(model).is_some_and(|(major, _)| major < 3) {
            let budget = match self {
                Self::None => return json!({ "thinkingBudget": 0 }),
                Self::Minimal | Self::Low => 1024,
                Self::Medium => 8192,
                Self::High | Self::Highest => 24_576,
            };
            return json!({ "includeThoughts": true, "thinkingBudget": budget });
        }
        let level = match self {
            Self::None => return json!({ "thinkingLevel": "MINIMAL" }),
            Self::Minimal => "MINIMAL",
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Highest => "XHIGH",
        };
        json!({ "includeThoughts": true, "thinkingLevel": level })
    }
}

/// Whether the model refuses calls without their signatures: Gemini 3 and later, and names that follow the newest.
pub(super) fn checks_signatures(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or_default();
    match version(model) {
        Some((major, _)) => major >= 3,
        None => name.starts_with("gemini-") && name.ends_with("-latest"),
    }
}

/// The number in a model's name: `gemini-2.5-pro` is 2 and 5. None: the name has none.
fn version(model: &str) -> Option<(u32, u32)> {
    let name = model.rsplit('/').next()?.strip_prefix("gemini-")?;
    let number = name.split('-').next()?;
    let (major, minor) = number.split_once('.').unwrap_or((number, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::decode;

    fn of(model: &str, mut openai: Value) -> Result<Option<Value>> {
        openai["messages"] = json!([]);
        config(model, &decode(openai.to_string().as_bytes()).expect("a good request"))
    }

    fn sent(openai: Value) -> Value {
        of("gemini-3-flash", openai).expect("translatable").unwrap_or_default()
    }

    #[test]
    fn every_knob_has_its_name() {
        let got = sent(json!({ "max_completion_tokens": 5, "temperature": 1.5, "top_p": 0.5, "top_k": 3, "seed": 7,
            "stop": "x", "n": 2, "presence_penalty": 0.5, "frequency_penalty": -0.5, "logprobs": true, "top_logprobs": 4,
            "modalities": ["text", "image"], "mediaResolution": "MEDIA_RESOLUTION_LOW" }));
        let want = json!({ "maxOutputTokens": 5, "temperature": 1.5, "topP": 0.5, "topK": 3, "seed": 7,
            "stopSequences": ["x"], "candidateCount": 2, "presencePenalty": 0.5, "frequencyPenalty": -0.5,
            "responseLogprobs": true, "logprobs": 4, "responseModalities": ["TEXT", "IMAGE"],
            "mediaResolution": "MEDIA_RESOLUTION_LOW" });
        assert_eq!(got, want);
        assert_eq!(
            sent(json!({ "modalities": ["text"], "logprobs": false, "response_format": { "type": "text" } })),
            Value::Null
        );
        assert_eq!(
            sent(json!({ "temperature": 1, "generation_config": { "temperature": 0, "top_k": 1 } })),
            json!({ "temperature": 0, "topK": 1 }),
            "the client's own words win"
        );
    }

    #[test]
    fn a_seed_fits_into_32_bits() {
        assert_eq!((short(-7), short(i64::from(i32::MAX)), short(1 << 40 | 5)), (-7, i64::from(i32::MAX), 5));
        assert!(i32::try_from(short(i64::MIN + 1)).is_ok());
    }

    #[test]
    fn structured_output_is_json_of_a_schema() {
        let schema = json!({ "type": "object", "properties": {} });
        let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": schema, "strict": true } });
        let want = json!({ "responseMimeType": "application/json", "responseJsonSchema": schema });
        assert_eq!(sent(json!({ "response_format": format })), want);
        let want = json!({ "responseMimeType": "application/json" });
        assert_eq!(sent(json!({ "response_format": { "type": "json_object" } })), want);
    }

    #[test]
    fn effort_is_a_level_or_for_older_models_a_budget() {
        for (effort, level, budget) in [
            ("none", json!({ "thinkingLevel": "MINIMAL" }), json!({ "thinkingBudget": 0 })),
            (
                "low",
                json!({ "includeThoughts": true, "thinkingLevel": "LOW" }),
                json!({ "includeThoughts": true, "thinkingBudget": 1024 }),
            ),
            (
                "medium",
                json!({ "includeThoughts": true, "thinkingLevel": "MEDIUM" }),
                json!({ "includeThoughts": true, "thinkingBudget": 8192 }),
            ),
            (
                "xhigh",
                json!({ "includeThoughts": true, "thinkingLevel": "XHIGH" }),
                json!({ "includeThoughts": true, "thinkingBudget": 24576 }),
            ),
        ] {
            let asked = json!({ "reasoning_effort": effort });
            for (model, want) in
                [("gemini-3-pro", &level), ("gemini-flash-latest", &level), ("models/gemini-2.5-flash", &budget)]
            {
                let got = of(model, asked.clone()).expect("translatable").unwrap_or_default();
                assert_eq!(&got["thinkingConfig"], want, "{model} {effort}");
            }
        }
        for (asked, want) in [
            (
                json!({ "thinking": { "type": "enabled", "budget_tokens": 2000 }, "reasoning_effort": "low" }),
                json!({ "includeThoughts": true, "thinkingBudget": 2000 }),
            ),
            (json!({ "thinking": { "type": "adaptive" } }), json!({ "includeThoughts": true })),
            (json!({ "thinking": { "type": "disabled" } }), json!({ "thinkingLevel": "MINIMAL" })),
            (
                json!({ "extra_body": { "google": { "thinking_config": { "thinking_budget": -1, "include_thoughts": true } } },
                "reasoning_effort": "low" }),
                json!({ "includeThoughts": true, "thinkingBudget": -1 }),
            ),
        ] {
            assert_eq!(sent(asked)["thinkingConfig"], want);
        }
        assert_eq!(sent(json!({ "reasoning_effort": "enormous" })), Value::Null);
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        for (asked, param) in [
            (json!({ "modalities": ["text", "audio"] }), "modalities"),
            (json!({ "response_format": { "type": "grammar" } }), "response_format.type"),
            (json!({ "response_format": { "type": "json_schema" } }), "response_format.json_schema.schema"),
        ] {
            assert_eq!(of("m", asked).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
