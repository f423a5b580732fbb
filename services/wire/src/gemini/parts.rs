//! Parts of a message as Gemini's parts.
//!
//! Parts of OpenAI's kinds are translated; a part without `type` that has one of Gemini's members (`fileData`,
//! `executableCode`, …) is Gemini's own and goes on as it came. Blank text is left out: Vertex AI refuses it.

use frontdesk_api::{Error, Result, chat::Part};
use serde_json::{Value, json};

/// Members by which a part of Gemini's own is known.
const OWN: [&str; 9] = [
    "text",
    "inlineData",
    "fileData",
    "executableCode",
    "codeExecutionResult",
    "functionCall",
    "functionResponse",
    "toolCall",
    "toolResponse",
];

/// Types of files by the ending of their address. Vertex AI demands a type; the Gemini API looks for itself.
const TYPES: [(&str, &str); 14] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("gif", "image/gif"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("mp3", "audio/mpeg"),
    ("wav", "audio/wav"),
    ("mp4", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
];

/// A part in a user's, assistant's or tool's message; None: nothing to say.
///
/// # Errors
/// `Invalid` at `place` for a kind that Gemini has no part for, and for a picture, sound or file that names neither
/// data nor an address.
pub(super) fn part(part: &Part, place: &str) -> Result<Option<Value>> {
    let wire = match part {
        Part::Text(words) => return Ok((!blank(words)).then(|| text(words))),
        Part::Other(wire) => wire,
    };
    let cannot = |why: &str| Error::invalid(place, format!("{place} {why}"));
    let member = |of: &str, name: &str| wire.get(of).and_then(|inner| inner.get(name)).and_then(Value::as_str);
    let out = match wire.get("type").and_then(Value::as_str) {
        Some(kind @ ("text" | "refusal")) => {
            let words = wire.get(kind).and_then(Value::as_str).ok_or_else(|| cannot("has no text"))?;
            return Ok((!blank(words)).then(|| text(words)));
        }
        Some("image_url") => {
            let url = member("image_url", "url").or_else(|| wire.get("image_url").and_then(Value::as_str));
            media(url.ok_or_else(|| cannot("has no image_url.url"))?, &cannot)?
        }
        Some("input_audio") => {
            let data = member("input_audio", "data").ok_or_else(|| cannot("has no input_audio.data"))?;
            let format = member("input_audio", "format").ok_or_else(|| cannot("has no input_audio.format"))?;
            inline(&format!("audio/{format}"), data)
        }
        Some("file") => match (member("file", "file_data"), member("file", "file_id")) {
            (Some(data), _) if data.starts_with("data:") => media(data, &cannot)?,
            (Some(_), _) => return Err(cannot("must carry its file as a data: URL, which names its type")),
            (None, Some(address)) if address.contains("://") => media(address, &cannot)?,
            _ => {
                return Err(cannot(
                    "must carry its file as file.file_data, a data: URL, or name its address as file.file_id",
                ));
            }
        },
        // Thoughts of another model mean nothing to this one.
        Some("thinking" | "redacted_thinking") => return Ok(None),
        Some(other) => return Err(cannot(&format!("is of type '{other}', which Gemini's API does not take"))),
        None if OWN.iter().any(|name| wire.get(name).is_some()) => wire.clone(),
        None => return Err(cannot("has no type")),
    };
    Ok(Some(out))
}

/// A part of the instructions, which are text alone.
///
/// # Errors
/// `Invalid` at `place` for any other part.
pub(super) fn instruction(wire: &Part, place: &str) -> Result<Option<Value>> {
    if let Part::Other(other) = wire
        && other.get("type").and_then(Value::as_str) != Some("text")
    {
        return Err(Error::invalid(place, format!("{place} must be text: instructions hold nothing else")));
    }
    part(wire, place)
}

pub(super) fn text(words: &str) -> Value {
    json!({ "text": words })
}

pub(super) fn blank(words: &str) -> bool {
    words.trim().is_empty()
}

/// What an address names, or the data in it (RFC 2397, Base64 only).
fn media(url: &str, cannot: &dyn Fn(&str) -> Error) -> Result<Value> {
    let Some(rest) = url.strip_prefix("data:") else {
        let mut file = json!({ "fileUri": url });
        if let Some(kind) = kind_of(url) {
            file["mimeType"] = kind.into();
        }
        return Ok(json!({ "fileData": file }));
    };
    let split = rest.split_once(',').and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
    let (head, data) = split.ok_or_else(|| cannot("is a data: URL that is not Base64"))?;
    // Parameters of the type (`;charset=…`) are not part of it.
    match head.split(';').next().filter(|kind| !kind.is_empty()) {
        Some(kind) => Ok(inline(kind, data)),
        None => Err(cannot("is a data: URL that names no type")),
    }
}

fn inline(kind: &str, data: &str) -> Value {
    json!({ "inlineData": { "mimeType": kind, "data": data } })
}

/// The type that an address's ending tells; None: none of [`TYPES`].
fn kind_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let (_, ending) = path.rsplit('/').next()?.rsplit_once('.')?;
    TYPES.iter().find(|(known, _)| known.eq_ignore_ascii_case(ending)).map(|(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(wire: Value) -> Value {
        part(&Part::Other(wire), "p").expect("translatable").expect("something")
    }

    // Oracle: Google's pages "Image understanding", "Audio understanding" and "File input methods".
    #[test]
    fn pictures_sounds_and_files_are_data_or_addresses() {
        let image = |url: &str| sent(json!({ "type": "image_url", "image_url": { "url": url, "detail": "low" } }));
        assert_eq!(
            image("data:image/png;charset=x;base64,aGk="),
            json!({ "inlineData": { "mimeType": "image/png", "data": "aGk=" } })
        );
        for (url, kind) in [
            ("https://x/ant.JPG?sig=a.b#c", Some("image/jpeg")),
            ("gs://bucket/ant.webp", Some("image/webp")),
            ("https://x.png/v1beta/files/abc", None),
        ] {
            let mut want = json!({ "fileUri": url });
            if let Some(kind) = kind {
                want["mimeType"] = json!(kind);
            }
            assert_eq!(image(url), json!({ "fileData": want }));
        }
        let sound = json!({ "type": "input_audio", "input_audio": { "data": "aGk=", "format": "wav" } });
        assert_eq!(sent(sound), json!({ "inlineData": { "mimeType": "audio/wav", "data": "aGk=" } }));
        let file =
            json!({ "type": "file", "file": { "file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf" } });
        assert_eq!(sent(file), json!({ "inlineData": { "mimeType": "application/pdf", "data": "aGk=" } }));
        let file = json!({ "type": "file", "file": { "file_id": "gs://bucket/a.pdf" } });
        assert_eq!(
            sent(file),
            json!({ "fileData": { "fileUri": "gs://bucket/a.pdf", "mimeType": "application/pdf" } })
        );
    }

    #[test]
    fn a_part_of_gemini_s_own_goes_on_as_it_came() {
        let own = json!({ "fileData": { "fileUri": "https://youtu.be/x" }, "videoMetadata": { "startOffset": "5s" } });
        assert_eq!(sent(own.clone()), own);
        assert_eq!(part(&Part::Text(" \n".into()), "p").expect("fine"), None);
        assert_eq!(part(&Part::Other(json!({ "type": "thinking", "thinking": "hm" })), "p").expect("fine"), None);
    }

    #[test]
    fn what_cannot_be_said_names_its_place() {
        for wire in [
            json!({ "type": "image_url", "image_url": { "url": "data:image/png,hi" } }),
            json!({ "type": "image_url", "image_url": { "url": "data:;base64,aGk=" } }),
            json!({ "type": "image_url" }),
            json!({ "type": "file", "file": { "file_id": "file-abc" } }),
            json!({ "type": "file", "file": { "file_data": "aGk=" } }),
            json!({ "type": "input_audio", "input_audio": { "data": "aGk=" } }),
            json!({ "type": "hologram" }),
            json!({ "no": "type" }),
        ] {
            let error = part(&Part::Other(wire), "messages[0].content[1]").expect_err("refused");
            assert_eq!(error.param.as_deref(), Some("messages[0].content[1]"), "{}", error.message);
        }
        assert!(instruction(&Part::Other(json!({ "type": "image_url" })), "p").is_err());
    }
}
