//! Embeddings in OpenAI's shapes: requests routed by a look, read, and written; answers read and written.
//!
//! Source: OpenAI's API reference, "Embeddings", and what the official SDK sends (Base64, unless told otherwise) and
//! reads. Invariant: Base64 is of little-endian 32-bit floats, so both encodings hold the same numbers.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use frontdesk_api::{
    Error, Result,
    chat::{Dialect, Source, Usage},
    embed::{Embed, EmbedRequest, Embeddings, Input},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::peek::{marks, model, not_json};

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/embeddings` just enough to route it; the input is the provider's to judge.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn request(bytes: Bytes) -> Result<EmbedRequest> {
    let peek: Peek<'_> = serde_json::from_slice(&bytes).map_err(not_json)?;
    let model = model(peek.model)?;
    if peek.input.is_none() {
        return Err(Error::invalid("input", "missing member 'input': send the text or texts to embed"));
    }
    let marks = marks(&bytes, peek.model, None);
    Ok(EmbedRequest::from_source(model, Source { dialect: Dialect::OpenaiEmbeddings, bytes, decode, marks }))
}

/// The answer to `request` as an OpenAI client reads it: a provider's own bytes where they are of this dialect, else
/// written out of the vectors, in the encoding that was asked for.
///
/// # Errors
/// `Invalid` naming the member at fault, where the request must be read for it.
pub fn answer_in(request: &EmbedRequest, reply: Embeddings) -> Result<Bytes> {
    if let Some((Dialect::OpenaiEmbeddings, bytes)) = reply.raw {
        return Ok(bytes);
    }
    let base64 = wants_base64(request.embed()?)?;
    Ok(encode_answer(&reply.model, &reply.vectors, reply.usage.unwrap_or_default(), base64))
}

/// The request, typed.
///
/// # Errors
/// `Invalid` naming the member (`input[2]`).
pub fn decode(body: &[u8]) -> Result<Embed> {
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(not_json)?;
    body.remove("model");
    let input = input(body.remove("input").unwrap_or_default())?;
    let dimensions = match body.remove("dimensions") {
        None | Some(Value::Null) => None,
        Some(n) => Some(n.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0).ok_or_else(|| {
            Error::invalid("dimensions", "'dimensions' must be how many numbers a vector shall have, at least 1")
        })?),
    };
    Ok(Embed { input, dimensions, extra: body })
}

/// Text, texts, tokens, or lists of tokens.
fn input(wire: Value) -> Result<Vec<Input>> {
    let bad = |at: String| {
        let message = format!("'{at}' must be text, or a list of a model's tokens");
        Error::invalid(at, message)
    };
    let list = match wire {
        Value::String(text) => return Ok(vec![Input::Text(text)]),
        Value::Array(list) if !list.is_empty() => list,
        Value::Array(_) => return Err(Error::invalid("input", "'input' is empty: send at least one text")),
        _ => return Err(bad("input".into())),
    };
    if let Some(tokens) = tokens(&list) {
        return Ok(vec![Input::Tokens(tokens)]);
    }
    let one = |(i, value): (usize, Value)| match value {
        Value::String(text) => Ok(Input::Text(text)),
        Value::Array(list) => tokens(&list).map(Input::Tokens).ok_or_else(|| bad(format!("input[{i}]"))),
        _ => Err(bad(format!("input[{i}]"))),
    };
    list.into_iter().enumerate().map(one).collect()
}

fn tokens(list: &[Value]) -> Option<Vec<u32>> {
    list.iter().map(|n| n.as_u64().and_then(|n| u32::try_from(n).ok())).collect()
}

/// Whether vectors are wanted as Base64.
///
/// # Errors
/// `Invalid` for an encoding that there is not.
pub fn wants_base64(embed: &Embed) -> Result<bool> {
    match embed.extra.get("encoding_format") {
        None | Some(Value::Null) => Ok(false),
        Some(format) if format == "float" => Ok(false),
        Some(format) if format == "base64" => Ok(true),
        Some(_) => Err(Error::invalid("encoding_format", "'encoding_format' must be float or base64")),
    }
}

/// The request as an OpenAI-compatible server reads it.
#[must_use]
pub fn encode(model: &str, embed: &Embed) -> Bytes {
    let one = |input: &Input| match input {
        Input::Text(text) => json!(text),
        Input::Tokens(tokens) => json!(tokens),
    };
    let mut out = embed.extra.clone();
    out.insert("model".into(), model.into());
    out.insert("input".into(), embed.input.iter().map(one).collect());
    if let Some(dimensions) = embed.dimensions {
        out.insert("dimensions".into(), dimensions.into());
    }
    Bytes::from(Value::Object(out).to_string())
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Entry>,
    #[serde(default)]
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    index: usize,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Floats(Vec<f32>),
    Base64(String),
}

#[derive(Deserialize)]
struct WireUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
}

/// None: the server did not count.
fn counted(wire: Option<WireUsage>) -> Option<Usage> {
    let wire = wire?;
    Some(Usage { input_tokens: wire.prompt_tokens.or(wire.total_tokens)?, ..Usage::default() })
}

/// The vectors of an answer, in the order of the inputs, and what they cost.
///
/// # Errors
/// What does not fit, for people who know the server.
pub fn decode_answer(json: &[u8]) -> Result<(Vec<Vec<f32>>, Option<Usage>), String> {
    let mut answer: Answer = serde_json::from_slice(json).map_err(|e| e.to_string())?;
    answer.data.sort_by_key(|entry| entry.index);
    let vectors: Result<Vec<_>, _> = answer.data.into_iter().map(|entry| floats(entry.embedding)).collect();
    Ok((vectors?, counted(answer.usage)))
}

fn floats(vector: Vector) -> Result<Vec<f32>, String> {
    let text = match vector {
        Vector::Floats(floats) => return Ok(floats),
        Vector::Base64(text) => text,
    };
    let bytes = STANDARD.decode(text).map_err(|e| format!("an embedding is no Base64: {e}"))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(format!("an embedding of {} bytes is no list of 32-bit floats", bytes.len()));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

/// What an answer cost, for one that is passed on and not read.
///
/// # Errors
/// The JSON error, when the text is not an answer.
pub fn decode_usage(json: &[u8]) -> serde_json::Result<Option<Usage>> {
    #[derive(Deserialize)]
    struct Report<'a> {
        #[serde(borrow, rename = "data")]
        _data: &'a RawValue,
        #[serde(default)]
        usage: Option<WireUsage>,
    }
    serde_json::from_slice::<Report<'_>>(json).map(|report| counted(report.usage))
}

/// The answer as OpenAI's clients read it.
#[must_use]
pub fn encode_answer(model: &str, vectors: &[Vec<f32>], usage: Usage, base64: bool) -> Bytes {
    let shown = |vector: &[f32]| {
        if base64 {
            let bytes: Vec<u8> = vector.iter().flat_map(|n| n.to_le_bytes()).collect();
            return json!(STANDARD.encode(bytes));
        }
        json!(vector)
    };
    let entry = |(index, vector): (usize, &Vec<f32>)| json!({ "object": "embedding", "index": index, "embedding": shown(vector) });
    let answer = json!({
        "object": "list",
        "data": vectors.iter().enumerate().map(entry).collect::<Value>(),
        "model": model,
        "usage": { "prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens },
    });
    Bytes::from(answer.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: the bodies that the official openai Python client sends for these calls.
    #[test]
    fn every_form_of_input_is_read_and_written_back() {
        let text = |text: &str| Input::Text(text.into());
        for (wire, want) in [
            (r#""hi""#, vec![text("hi")]),
            (r#"["hi","you"]"#, vec![text("hi"), text("you")]),
            ("[1,2]", vec![Input::Tokens(vec![1, 2])]),
            ("[[1],[2,3]]", vec![Input::Tokens(vec![1]), Input::Tokens(vec![2, 3])]),
        ] {
            let body =
                format!(r#"{{"model":"m","input":{wire},"dimensions":8,"encoding_format":"base64","user":"u"}}"#);
            let embed = decode(body.as_bytes()).expect("a good request");
            assert_eq!((&embed.input, embed.dimensions), (&want, Some(8)), "{wire}");
            assert!(wants_base64(&embed).expect("an encoding"));
            let written: Value = serde_json::from_slice(&encode("n", &embed)).expect("JSON");
            let input = input(written["input"].clone()).expect("input");
            assert_eq!(input, want);
            assert_eq!(
                (&written["model"], &written["user"], &written["dimensions"]),
                (&json!("n"), &json!("u"), &json!(8))
            );
        }
    }

    #[test]
    fn each_fault_names_its_member() {
        for (body, param) in [
            (r#"{"input":[]}"#, "input"),
            (r#"{"input":7}"#, "input"),
            (r#"{"input":["a",7]}"#, "input[1]"),
            (r#"{"input":[[1],[-2]]}"#, "input[1]"),
            (r#"{"input":"a","dimensions":0}"#, "dimensions"),
        ] {
            assert_eq!(decode(body.as_bytes()).expect_err(body).param.as_deref(), Some(param), "{body}");
        }
        for (body, param) in [(r#"{"input":"a"}"#, "model"), (r#"{"model":"m"}"#, "input")] {
            let refused = request(Bytes::from_static(body.as_bytes())).err().expect("refused");
            assert_eq!(refused.param.as_deref(), Some(param));
        }
        let odd = decode(br#"{"input":"a","encoding_format":"hex"}"#).expect("read");
        assert_eq!(wants_base64(&odd).expect_err("no such encoding").param.as_deref(), Some("encoding_format"));
    }

    #[test]
    fn both_encodings_hold_the_same_numbers() {
        let vectors = vec![vec![0.1, -2.5e-7], vec![3.0, f32::MAX]];
        let usage = Usage { input_tokens: 9, ..Usage::default() };
        for base64 in [false, true] {
            let written = encode_answer("m", &vectors, usage, base64);
            assert_eq!(decode_answer(&written).expect("an answer"), (vectors.clone(), Some(usage)));
            assert_eq!(decode_usage(&written).expect("an answer"), Some(usage));
        }
    }

    #[test]
    fn an_answer_is_put_in_order_and_nonsense_is_none() {
        let mixed = br#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
        assert_eq!(decode_answer(mixed).expect("an answer"), (vec![vec![1.0], vec![2.0]], None));
        for odd in [r#"{"data":[{"embedding":"AAA="}]}"#, r#"{"data":[{"embedding":"?"}]}"#, r#"{"error":"no"}"#] {
            assert!(decode_answer(odd.as_bytes()).is_err(), "{odd}");
        }
        assert!(decode_usage(br#"{"error":"no"}"#).is_err());
    }
}
