//! What a message is made of: OpenAI's parts of a response, and of a chat, which is how they are kept and asked with.
//!
//! Pictures, sound and files go as they are to the model's provider, which takes them or refuses them. A file that is
//! only named by its id here is read where files are (`{"file_id": …}` stands in its place until then).

use frontdesk_api::{Error, Result};
use serde_json::{Map, Value, json};

use crate::fields::Fields;

/// Where OpenAI's cache of prompts is to end, which servers of chat completions choose themselves.
const BREAKPOINT: &str = "prompt_cache_breakpoint";

/// What stood in a member.
#[derive(Debug, Clone, PartialEq)]
pub enum Sent {
    /// Texts alone, joined.
    Words(String),
    /// Words with which a model refused, and what it said beside them, which is mostly nothing.
    Refused { refusal: String, text: String },
    /// Parts in the shape of a chat, at least one of them no text.
    Parts(Vec<Value>),
}

/// What a member takes beside texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    Nothing,
    /// Pictures and files.
    Files,
    /// Pictures, sound and files.
    Media,
    Refusals,
}

/// A text, or parts.
///
/// # Errors
/// `Invalid` naming the part, or a member of it that nobody here knows.
pub fn parts(fields: &mut Fields, name: &str, takes: Takes) -> Result<Sent> {
    let path = fields.path(name);
    let list = match fields.take(name) {
        None => return Err(fields.missing(name)),
        Some(Value::String(text)) => return Ok(Sent::Words(text)),
        Some(Value::Array(parts)) => parts,
        Some(_) => return Err(Error::invalid(path.clone(), format!("'{path}' must be a string or a list of parts"))),
    };
    let (mut parts, mut refusal) = (vec![], None::<String>);
    for (i, value) in list.into_iter().enumerate() {
        let mut part = Fields::of(value, &format!("{path}[{i}]"))?;
        let kind = part.needed("type")?;
        parts.push(match kind.as_str() {
            // Of an answer that is sent back, whatever else it holds.
            "output_text" => text(part.needed("text")?),
            "input_text" | "text" => {
                let text = text(part.needed("text")?);
                part.pass_over(&[BREAKPOINT]);
                part.end()?;
                text
            }
            "refusal" if takes == Takes::Refusals => {
                refusal.get_or_insert_default().push_str(&part.needed("refusal")?);
                continue;
            }
            "input_image" if matches!(takes, Takes::Media | Takes::Files) => image(part)?,
            "input_file" if matches!(takes, Takes::Media | Takes::Files) => file(part)?,
            "input_audio" if takes == Takes::Media => {
                let audio = part.object("input_audio")?.ok_or_else(|| part.missing("input_audio"))?;
                part.end()?;
                json!({ "type": "input_audio", "input_audio": audio.into_value() })
            }
            other => {
                let path = part.path("type");
                let message = format!(
                    "'{path}' is '{other}', which is not taken here: texts are, of users pictures, sound and files, and of \
                     functions pictures and files"
                );
                return Err(Error::invalid(path, message).with_code("unsupported_content"));
            }
        });
    }
    if parts.iter().any(|part| part["type"] != "text") {
        return Ok(Sent::Parts(parts));
    }
    let text = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    Ok(match refusal {
        None => Sent::Words(text),
        Some(refusal) => Sent::Refused { refusal, text },
    })
}

fn text(text: String) -> Value {
    json!({ "type": "text", "text": text })
}

fn image(mut part: Fields) -> Result<Value> {
    let mut image = Map::new();
    match (part.text("image_url")?, part.id("file_id")?) {
        (Some(url), None) => image.insert("url".into(), url.into()),
        (None, Some(id)) => image.insert("file_id".into(), id.into()),
        _ => {
            let path = part.path("image_url");
            return Err(Error::invalid(path.clone(), format!("one of '{path}' and 'file_id' must be given")));
        }
    };
    if let Some(detail) = part.word("detail", &["auto", "low", "high", "original"])? {
        image.insert("detail".into(), detail.into());
    }
    part.pass_over(&[BREAKPOINT]);
    part.end()?;
    Ok(json!({ "type": "image_url", "image_url": image }))
}

fn file(mut part: Fields) -> Result<Value> {
    if part.has("file_url") {
        let path = part.path("file_url");
        let message = format!(
            "'{path}' is not supported: nothing is fetched here; send 'file_data', or upload it and name its 'file_id'"
        );
        return Err(Error::invalid(path, message).with_code("unsupported_parameter"));
    }
    let mut file = Map::new();
    match (part.text("file_data")?, part.id("file_id")?) {
        (Some(data), None) => file.insert("file_data".into(), data.into()),
        (None, Some(id)) => file.insert("file_id".into(), id.into()),
        _ => {
            let path = part.path("file_data");
            return Err(Error::invalid(path.clone(), format!("one of '{path}' and 'file_id' must be given")));
        }
    };
    if let Some(name) = part.text("filename")? {
        file.insert("filename".into(), name.into());
    }
    // Chat completions have no such word for a file.
    part.word("detail", &["auto", "low", "high"])?;
    part.pass_over(&[BREAKPOINT]);
    part.end()?;
    Ok(json!({ "type": "file", "file": file }))
}

/// A part of a chat as a response shows it; of a picture its address where `images` are to be seen.
#[must_use]
pub fn shown(part: &Value, images: bool) -> Value {
    match part["type"].as_str() {
        Some("text") => json!({ "type": "input_text", "text": part["text"] }),
        Some("image_url") => {
            let detail = part["image_url"].get("detail").cloned().unwrap_or_else(|| "auto".into());
            let url = if images { &part["image_url"]["url"] } else { &Value::Null };
            json!({ "type": "input_image", "image_url": url, "detail": detail })
        }
        Some("file") => {
            let file = &part["file"];
            json!({ "type": "input_file", "file_data": file["file_data"], "filename": file["filename"] })
        }
        _ => part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: Value, takes: Takes) -> Result<Sent> {
        parts(&mut Fields::of(json!({ "content": content }), "input[0]").expect("an object"), "content", takes)
    }

    #[test]
    fn parts_become_those_of_a_chat_and_come_back() {
        let sent = json!([
            { "type": "input_text", "text": "What is it?" },
            { "type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "low" },
            { "type": "input_file", "file_data": "data:application/pdf;base64,JVBE", "filename": "a.pdf" },
        ]);
        let Ok(Sent::Parts(parts)) = read(sent.clone(), Takes::Media) else { panic!("parts") };
        assert_eq!(
            parts[1],
            json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO", "detail": "low" } })
        );
        assert_eq!(parts[2]["file"]["filename"], "a.pdf");
        assert_eq!(Value::Array(parts.iter().map(|part| shown(part, true)).collect()), sent);
        assert_eq!(shown(&parts[1], false), json!({ "type": "input_image", "image_url": null, "detail": "low" }));
        let words = json!([{ "type": "input_text", "text": "a" }, { "type": "output_text", "text": "b" }]);
        assert_eq!(read(words, Takes::Nothing).expect("words"), Sent::Words("ab".into()));
        let refused = json!([{ "type": "refusal", "refusal": "No, " }, { "type": "refusal", "refusal": "never." }]);
        let want = Sent::Refused { refusal: "No, never.".into(), text: String::new() };
        assert_eq!(read(refused, Takes::Refusals).expect("a refusal"), want);
    }

    #[test]
    fn what_is_not_taken_is_named() {
        for (part, takes, member) in [
            (json!({ "type": "input_image", "image_url": "u" }), Takes::Nothing, "type"),
            (json!({ "type": "refusal", "refusal": "no" }), Takes::Media, "type"),
            (json!({ "type": "input_audio", "input_audio": {} }), Takes::Files, "type"),
            (json!({ "type": "input_video" }), Takes::Media, "type"),
            (json!({ "type": "input_image", "detail": "auto" }), Takes::Media, "image_url"),
            (json!({ "type": "input_file", "file_url": "https://x" }), Takes::Media, "file_url"),
            (json!({ "type": "input_audio" }), Takes::Media, "input_audio"),
            (json!({ "type": "input_text", "text": "a", "weight": 2 }), Takes::Media, "weight"),
            (json!({ "type": "input_image", "image_url": "u", "size": 2 }), Takes::Media, "size"),
            (json!({ "type": "input_file", "file_data": "d", "pages": "1-2" }), Takes::Media, "pages"),
        ] {
            let error = read(json!([part]), takes).expect_err("refused");
            assert_eq!(error.param, Some(format!("input[0].content[0].{member}")), "{error}");
        }
    }
}
