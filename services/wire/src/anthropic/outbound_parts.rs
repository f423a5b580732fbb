//! Parts of a message as Anthropic's content blocks.
//!
//! Parts of OpenAI's kinds are translated; a part of any other kind is taken for a block of Anthropic's own
//! (`thinking`, `document`, `search_result`, …) and goes on as it came. Blank text is left out: the API refuses it.

use frontdesk_api::{Error, Result, chat::Part};
use serde_json::{Map, Value, json};

/// A part in a user's, assistant's or tool's message; None: nothing to say.
///
/// # Errors
/// `Invalid` at `place` for sound, and for an image or file that names neither data nor an address.
pub(super) fn block(part: &Part, place: &str) -> Result<Option<Value>> {
    let wire = match part {
        Part::Text(words) => return Ok((!blank(words)).then(|| text(words))),
        Part::Other(wire) => wire,
    };
    let cannot = |why: &str| Error::invalid(place, format!("{place} {why}"));
    let (mut block, known) = match wire.get("type").and_then(Value::as_str) {
        Some(kind @ ("text" | "refusal")) => {
            let words = wire.get(kind).and_then(Value::as_str).ok_or_else(|| cannot("has no text"))?;
            if blank(words) {
                return Ok(None);
            }
            (text(words), "citations")
        }
        Some("image_url") => {
            let url = wire.get("image_url").and_then(|image| image.get("url").unwrap_or(image).as_str());
            let url = url.ok_or_else(|| cannot("has no image_url.url"))?;
            (json!({ "type": "image", "source": source(url, &cannot)? }), "transformations")
        }
        Some("file") => {
            let data = wire.get("file").and_then(|file| file.get("file_data")).and_then(Value::as_str);
            let data = data.ok_or_else(|| cannot("must carry its file as file.file_data, a data: URL"))?;
            let mut block = json!({ "type": "document", "source": source(data, &cannot)? });
            if let Some(name) = wire["file"].get("filename").and_then(Value::as_str) {
                block["title"] = name.into();
            }
            (block, "citations")
        }
        Some("input_audio") => return Err(cannot("is sound, which Anthropic's API does not take")),
        Some(_) => return Ok(Some(wire.clone())),
        None => return Err(cannot("has no type")),
    };
    for member in ["cache_control", known] {
        if let Some(value) = wire.get(member) {
            block[member] = value.clone();
        }
    }
    Ok(Some(block))
}

/// A part of the instructions, which are text alone.
///
/// # Errors
/// `Invalid` at `place` for any other part.
pub(super) fn instruction(part: &Part, place: &str) -> Result<Option<Value>> {
    if let Part::Other(wire) = part
        && wire.get("type").and_then(Value::as_str) != Some("text")
    {
        return Err(Error::invalid(place, format!("{place} must be text: instructions hold nothing else")));
    }
    block(part, place)
}

pub(super) fn text(words: &str) -> Value {
    json!({ "type": "text", "text": words })
}

pub(super) fn blank(words: &str) -> bool {
    words.trim().is_empty()
}

/// Where an image or document comes from: an address, or the data in it (RFC 2397, Base64 only).
fn source(url: &str, cannot: &dyn Fn(&str) -> Error) -> Result<Value> {
    let Some(rest) = url.strip_prefix("data:") else {
        return Ok(json!({ "type": "url", "url": url }));
    };
    let inline = rest.split_once(',').and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
    let (head, data) = inline.ok_or_else(|| cannot("is a data: URL that is not Base64"))?;
    // Parameters of the type (`;charset=…`) are not part of it.
    let media_type = head.split(';').next().unwrap_or_default();
    Ok(Value::Object(Map::from_iter([
        ("type".to_owned(), json!("base64")),
        ("media_type".to_owned(), json!(media_type)),
        ("data".to_owned(), json!(data)),
    ])))
}
