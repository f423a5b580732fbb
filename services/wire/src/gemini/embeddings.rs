//! Texts to vectors as Google's servers do it: by which method a model is asked, the requests, the answers.
//!
//! The Gemini API has one method for every model, `batchEmbedContents`. On Vertex AI Gemini's own models have
//! `embedContent` for one text and `batchEmbedContents` for several, open models (`…-maas`) `embedContent` alone, and
//! all others `predict`. Source: `embed_content` of the official SDK `google-genai` 3.6.1, which tells them apart by
//! their names as is done here, and Google's pages "Embeddings" and "Text embeddings API".
//! Invariant: tokens are what the server counted; an answer that does not count all of its texts counts none.

use frontdesk_api::{Error, Result, embed::Embed};
use serde::{Deserialize, de::Error as _};
use serde_json::{Map, Value, json};

use super::request::camel;

/// The most texts that `batchEmbedContents` takes: more are refused with "at most 100 requests can be in one batch".
/// Of Vertex AI's method of that name no number is documented; it is asked for no more.
const BATCH: usize = 100;

/// The most texts that `predict` takes (Google's page "Get text embeddings").
const PREDICTED: usize = 250;

/// The most tokens of all texts that `predict` takes (the same page), here of bytes: no text has more tokens than bytes.
const PREDICTED_BYTES: usize = 20_000;

/// How one request for vectors is made of a model.
pub struct Way<'a> {
    method: Method,
    /// The model's full name, `models/…` or `projects/…`.
    model: &'a str,
    dimensions: Option<u32>,
    task_type: Option<&'a str>,
    title: Option<&'a str>,
    auto_truncate: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// The Gemini API.
    GeminiApi,
    /// Vertex AI, Gemini's own models.
    Gemini,
    /// Vertex AI, open models.
    Open,
    /// Vertex AI, all others.
    Predict,
}

impl<'a> Way<'a> {
    /// `model`: its full name. Google's own members of the request are `task_type`, `title` and, on Vertex AI,
    /// `auto_truncate`, in either spelling.
    ///
    /// # Errors
    /// `Invalid` naming the member that is of the wrong type.
    pub fn of(model: &'a str, vertex: bool, embed: &'a Embed) -> Result<Self> {
        let name = model.rsplit('/').next().unwrap_or_default();
        let method = match name {
            _ if !vertex => Method::GeminiApi,
            open if open.contains("maas") => Method::Open,
            own if own.contains("gemini") => Method::Gemini,
            _ => Method::Predict,
        };
        Ok(Self {
            method,
            model,
            dimensions: embed.dimensions,
            task_type: member(embed, "task_type", "a string", Value::as_str)?,
            title: member(embed, "title", "a string", Value::as_str)?,
            auto_truncate: member(embed, "auto_truncate", "true or false", Value::as_bool)?,
        })
    }

    /// The most texts of one call.
    #[must_use]
    pub fn most(&self) -> usize {
        match self.method {
            Method::GeminiApi | Method::Gemini => BATCH,
            Method::Open => 1,
            Method::Predict => PREDICTED,
        }
    }

    /// The texts of each call, in their order. A single text that is over a limit is the server's to judge.
    #[must_use]
    pub fn calls<'t>(&self, texts: &'t [&'t str]) -> Vec<&'t [&'t str]> {
        let room = if self.method == Method::Predict { PREDICTED_BYTES } else { usize::MAX };
        let (mut calls, mut from, mut bytes) = (vec![], 0, 0_usize);
        for (place, text) in texts.iter().enumerate() {
            if place > from && (place - from == self.most() || bytes.saturating_add(text.len()) > room) {
                calls.push(&texts[from..place]);
                (from, bytes) = (place, 0);
            }
            bytes = bytes.saturating_add(text.len());
        }
        calls.push(&texts[from..]);
        calls
    }

    /// What stands behind the model's name in the address, for a call of so many texts.
    #[must_use]
    pub fn method(&self, texts: usize) -> &'static str {
        match self.method {
            Method::GeminiApi => "batchEmbedContents",
            Method::Gemini if texts > 1 => "batchEmbedContents",
            Method::Gemini | Method::Open => "embedContent",
            Method::Predict => "predict",
        }
    }

    /// The body of a call, at least one text.
    #[must_use]
    pub fn body(&self, texts: &[&str]) -> Value {
        match (self.method, texts) {
            (Method::GeminiApi, _) => {
                json!({ "requests": texts.iter().map(|text| self.of_gemini(text)).collect::<Value>() })
            }
            (Method::Predict, _) => self.predicted(texts),
            (Method::Gemini | Method::Open, &[text]) => Value::Object(self.of_vertex(text)),
            (Method::Gemini | Method::Open, _) => {
                json!({ "requests": texts.iter().map(|text| self.of_vertex(text)).collect::<Vec<_>>() })
            }
        }
    }

    fn of_gemini(&self, text: &str) -> Value {
        let mut out = json!({ "model": self.model, "content": content(text) });
        put(&mut out, "taskType", self.task_type);
        put(&mut out, "title", self.title);
        put(&mut out, "outputDimensionality", self.dimensions);
        out
    }

    fn of_vertex(&self, text: &str) -> Map<String, Value> {
        let mut config = json!({});
        put(&mut config, "taskType", self.task_type);
        put(&mut config, "title", self.title);
        put(&mut config, "outputDimensionality", self.dimensions);
        put(&mut config, "autoTruncate", self.auto_truncate);
        with(("content", content(text)), "embedContentConfig", config)
    }

    fn predicted(&self, texts: &[&str]) -> Value {
        let instance = |text: &&str| {
            let mut out = json!({ "content": text });
            // The one member that this method does not spell as all others.
            put(&mut out, "task_type", self.task_type);
            put(&mut out, "title", self.title);
            out
        };
        let mut parameters = json!({});
        put(&mut parameters, "outputDimensionality", self.dimensions);
        put(&mut parameters, "autoTruncate", self.auto_truncate);
        Value::Object(with(("instances", texts.iter().map(instance).collect()), "parameters", parameters))
    }
}

/// A member of Google's that the client sent beside OpenAI's; null counts as left out.
fn member<'a, T>(embed: &'a Embed, name: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
    let found = embed.extra.get(name).or_else(|| embed.extra.get(&camel(name)));
    let Some(value) = found.filter(|value| !value.is_null()) else { return Ok(None) };
    read(value).map(Some).ok_or_else(|| Error::invalid(name, format!("'{name}' must be {what}")))
}

fn content(text: &str) -> Value {
    json!({ "role": "user", "parts": [{ "text": text }] })
}

fn put(out: &mut Value, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        out[name] = value.into();
    }
}

/// An object of the member and, where it says something, of what else there is.
fn with((name, value): (&str, Value), more: &str, settings: Value) -> Map<String, Value> {
    let mut out = Map::from_iter([(name.to_owned(), value)]);
    if settings != json!({}) {
        out.insert(more.to_owned(), settings);
    }
    out
}

/// The answer of any of the methods.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    embeddings: Option<Vec<Embedding>>,
    #[serde(default)]
    embedding: Option<Embedding>,
    #[serde(default)]
    predictions: Option<Vec<Prediction>>,
    #[serde(default)]
    usage_metadata: Option<UsageMetadata>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Embedding,
}

#[derive(Deserialize)]
struct Embedding {
    values: Vec<f32>,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    /// A whole number, which the SDK's types and Google's examples write as one with a point.
    #[serde(default)]
    token_count: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsageMetadata {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

/// Counts of tokens that a number with a point holds exactly.
const COUNTS: std::ops::RangeInclusive<f64> = 0.0..=9_007_199_254_740_992.0;

/// The vectors of an answer in the order of the texts, and the tokens that were read; None: the server did not count.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode(json: &[u8]) -> serde_json::Result<(Vec<Vec<f32>>, Option<u64>)> {
    let answer: Answer = serde_json::from_slice(json)?;
    let embeddings = match (answer.embeddings, answer.embedding, answer.predictions) {
        (Some(several), ..) => several,
        (None, Some(one), _) => vec![one],
        (None, None, Some(predicted)) => predicted.into_iter().map(|one| one.embeddings).collect(),
        (None, None, None) => return Err(serde_json::Error::missing_field("embeddings")),
    };
    let whole = answer.usage_metadata.and_then(|usage| usage.prompt_token_count);
    let each = embeddings.iter().try_fold(0.0, |sum, one| Some(sum + one.statistics.as_ref()?.token_count?));
    let counted = whole.or_else(|| {
        each.filter(|tokens| !embeddings.is_empty() && COUNTS.contains(tokens)).map(|tokens| tokens as u64)
    });
    Ok((embeddings.into_iter().map(|one| one.values).collect(), counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embed(dimensions: Option<u32>, extra: Value) -> Embed {
        let Value::Object(extra) = extra else { panic!("an object") };
        Embed { dimensions, extra, ..Embed::default() }
    }

    // Oracle: tests/conformance compares each of these, member by member, with what the SDK sends.
    #[test]
    fn a_model_is_asked_by_the_method_it_has() {
        let plain = embed(None, json!({}));
        for (model, vertex, most, one, several) in [
            ("models/gemini-embedding-001", false, 100, "batchEmbedContents", "batchEmbedContents"),
            ("models/text-embedding-004", false, 100, "batchEmbedContents", "batchEmbedContents"),
            (
                "projects/p/publishers/google/models/gemini-embedding-001",
                true,
                100,
                "embedContent",
                "batchEmbedContents",
            ),
            ("projects/p/publishers/google/models/text-embedding-005", true, 250, "predict", "predict"),
            ("projects/gemini-p/publishers/google/models/text-embedding-005", true, 250, "predict", "predict"),
            (
                "projects/p/publishers/intfloat/models/multilingual-e5-large-instruct-maas",
                true,
                1,
                "embedContent",
                "embedContent",
            ),
        ] {
            let way = Way::of(model, vertex, &plain).expect("a way");
            assert_eq!((way.most(), way.method(1), way.method(2)), (most, one, several), "{model}");
        }
    }

    #[test]
    fn a_call_has_no_more_than_its_method_takes() {
        let plain = embed(None, json!({}));
        let long = "x".repeat(15_000);
        let many: Vec<&str> = vec!["a"; 251];
        for (model, vertex, texts, want) in [
            ("p/text-x", true, &many[..], vec![250, 1]),
            ("p/text-x", true, &[&long, "b", &long, &long, "c"], vec![2, 1, 2]),
            // Over the limit by itself: nobody here knows how many tokens it has.
            ("p/text-x", true, &["a", &long.repeat(2), "b"], vec![1, 1, 1]),
            ("p/maas", true, &["a", "b"], vec![1, 1]),
            ("models/m", false, &many[..], vec![100, 100, 51]),
            ("models/m", false, &[&long, &long], vec![2]),
        ] {
            let calls = Way::of(model, vertex, &plain).expect("a way").calls(texts);
            assert_eq!(calls.iter().map(|call| call.len()).collect::<Vec<_>>(), want, "{model}");
            assert_eq!(calls.concat(), texts);
        }
    }

    #[test]
    fn settings_stand_where_each_method_has_them() {
        let set = embed(
            Some(8),
            json!({ "task_type": "RETRIEVAL_DOCUMENT", "title": "T", "autoTruncate": false, "user": "u" }),
        );
        let body = |model: &str, vertex, texts: &[&str]| Way::of(model, vertex, &set).expect("a way").body(texts);
        let text = |text: &str| json!({ "role": "user", "parts": [{ "text": text }] });
        let one = json!({ "model": "models/m", "content": text("a"), "taskType": "RETRIEVAL_DOCUMENT", "title": "T", "outputDimensionality": 8 });
        assert_eq!(body("models/m", false, &["a"]), json!({ "requests": [one] }));
        let config =
            json!({ "taskType": "RETRIEVAL_DOCUMENT", "title": "T", "outputDimensionality": 8, "autoTruncate": false });
        let one = |said: &str| json!({ "content": text(said), "embedContentConfig": config });
        assert_eq!(body("p/gemini-x", true, &["a"]), one("a"));
        assert_eq!(body("p/gemini-x", true, &["a", "b"]), json!({ "requests": [one("a"), one("b")] }));
        let predicted = json!({ "instances": [{ "content": "a", "task_type": "RETRIEVAL_DOCUMENT", "title": "T" }],
            "parameters": { "outputDimensionality": 8, "autoTruncate": false } });
        assert_eq!(body("p/text-x", true, &["a"]), predicted);
        let plain = embed(None, json!({ "task_type": null }));
        assert_eq!(
            Way::of("p/text-x", true, &plain).expect("a way").body(&["a"]),
            json!({ "instances": [{ "content": "a" }] })
        );
        assert_eq!(Way::of("p/gemini-x", true, &plain).expect("a way").body(&["a"]), json!({ "content": text("a") }));
    }

    #[test]
    fn a_setting_of_the_wrong_type_is_named() {
        for (extra, param) in [
            (json!({ "taskType": 7 }), "task_type"),
            (json!({ "title": ["T"] }), "title"),
            (json!({ "auto_truncate": "yes" }), "auto_truncate"),
        ] {
            let embed = embed(None, extra);
            assert_eq!(Way::of("m", true, &embed).err().expect("refused").param.as_deref(), Some(param));
        }
    }

    // Oracle: the answers in Google's references; tests/conformance has the SDK read the same shapes.
    #[test]
    fn answers_of_every_method_are_read_and_tokens_only_where_all_are_counted() {
        for (answer, vectors, tokens) in [
            (json!({ "embeddings": [{ "values": [0.5] }, { "values": [1.0] }] }), vec![vec![0.5], vec![1.0]], None),
            (
                json!({ "embeddings": [{ "values": [0.5] }], "usageMetadata": { "promptTokenCount": 7 } }),
                vec![vec![0.5]],
                Some(7),
            ),
            (
                json!({ "embedding": { "values": [0.5] }, "usageMetadata": { "promptTokenCount": 3 }, "truncated": false }),
                vec![vec![0.5]],
                Some(3),
            ),
            (
                json!({ "predictions": [
                    { "embeddings": { "values": [0.5], "statistics": { "token_count": 4.0, "truncated": false } } },
                    { "embeddings": { "values": [1.0], "statistics": { "token_count": 2 } } },
                ], "metadata": { "billableCharacterCount": 9 } }),
                vec![vec![0.5], vec![1.0]],
                Some(6),
            ),
            (
                json!({ "predictions": [
                    { "embeddings": { "values": [0.5], "statistics": { "token_count": 4 } } }, { "embeddings": { "values": [1.0] } },
                ] }),
                vec![vec![0.5], vec![1.0]],
                None,
            ),
            (
                json!({ "predictions": [{ "embeddings": { "values": [0.5], "statistics": { "token_count": 1e300 } } }] }),
                vec![vec![0.5]],
                None,
            ),
            (json!({ "embeddings": [] }), vec![], None),
        ] {
            assert_eq!(decode(answer.to_string().as_bytes()).expect("an answer"), (vectors, tokens), "{answer}");
        }
        for odd in ["{}", "[]", r#"{"embeddings":[{}]}"#, r#"{"embeddings":[{"values":["a"]}]}"#, "<html>"] {
            assert!(decode(odd.as_bytes()).is_err(), "{odd}");
        }
    }
}
