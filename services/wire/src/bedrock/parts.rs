//! Parts of a message as Converse's content blocks.
//!
//! Parts of OpenAI's kinds are translated, and so are Anthropic's thoughts. A block of Bedrock's own has no `type` but
//! one member that names its kind; it goes on as it came. Blank text is left out: the API refuses it. Pictures,
//! documents, films and sound are carried as Base64, or named by an S3 address; the service fetches nothing else.

use std::collections::HashSet;

use frontdesk_api::{Error, Result, chat::Part};
use serde_json::{Value, json};

/// Members that make a block of Bedrock's own (service model, `ContentBlock`).
const BLOCKS: [&str; 14] = [
    "text",
    "image",
    "document",
    "video",
    "audio",
    "toolUse",
    "toolResult",
    "guardContent",
    "cachePoint",
    "reasoningContent",
    "citationsContent",
    "searchResult",
    "toolAddition",
    "toolRemoval",
];

/// The longest name of a document, in characters.
const LONGEST_NAME: usize = 200;

/// A part's block, and behind it the mark of a cached prefix where the part asks for one.
#[derive(Default)]
pub(super) struct Block {
    pub(super) wire: Option<Value>,
    pub(super) mark: Option<Value>,
}

/// A part in a user's, assistant's or tool's message.
///
/// # Errors
/// `Invalid` at `place` for a part without data, in a format that the service does not take, or of an unknown kind.
pub(super) fn block(part: &Part, place: &str) -> Result<Block> {
    let wire = match part {
        Part::Text(words) => return Ok(Block { wire: said(words), mark: None }),
        Part::Other(wire) => wire,
    };
    Ok(Block { wire: translated(wire, place)?, mark: mark(wire.get("cache_control")) })
}

fn translated(wire: &Value, place: &str) -> Result<Option<Value>> {
    let cannot = |why: &str| Error::invalid(place, format!("{place} {why}"));
    let text = |name: &str| wire.get(name).and_then(Value::as_str);
    let Some(kind) = text("type") else {
        let own = wire.as_object().is_some_and(|members| members.keys().any(|name| BLOCKS.contains(&name.as_str())));
        return if own { Ok(Some(wire.clone())) } else { Err(cannot("has no type")) };
    };
    let url = |member: &str| {
        let url = wire.get(member).and_then(|inner| inner.get("url").unwrap_or(inner).as_str());
        url.ok_or_else(|| cannot(&format!("has no {member}.url")))
    };
    Ok(match kind {
        "text" | "refusal" => said(text(kind).ok_or_else(|| cannot("has no text"))?),
        "image_url" => Some(json!({ "image": media(url(kind)?, image_format, &cannot)? })),
        "video_url" => Some(json!({ "video": media(url(kind)?, video_format, &cannot)? })),
        "input_audio" => {
            let sound = wire.get(kind).unwrap_or(&Value::Null);
            match (sound.get("format").and_then(Value::as_str), sound.get("data").and_then(Value::as_str)) {
                (Some(format), Some(data)) => {
                    Some(json!({ "audio": { "format": format, "source": { "bytes": data } } }))
                }
                _ => return Err(cannot("must carry its sound as input_audio.data and input_audio.format")),
            }
        }
        "file" => Some(json!({ "document": document(wire.get(kind).unwrap_or(&Value::Null), &cannot)? })),
        "thinking" => {
            let mut thought = json!({ "text": text("thinking").ok_or_else(|| cannot("has no thinking"))? });
            if let Some(signature) = text("signature").filter(|s| !s.is_empty()) {
                thought["signature"] = signature.into();
            }
            Some(json!({ "reasoningContent": { "reasoningText": thought } }))
        }
        "redacted_thinking" => {
            let data = text("data").ok_or_else(|| cannot("has no data"))?;
            Some(json!({ "reasoningContent": { "redactedContent": data } }))
        }
        other => return Err(cannot(&format!("is of type '{other}', which Amazon Bedrock has no block for"))),
    })
}

/// A part of the instructions, which are text, marks and guarded text.
///
/// # Errors
/// `Invalid` at `place` for any other part.
pub(super) fn instruction(part: &Part, place: &str) -> Result<Block> {
    let block = block(part, place)?;
    let fits = |wire: &Value| ["text", "guardContent", "cachePoint"].iter().any(|kind| wire.get(kind).is_some());
    if block.wire.as_ref().is_some_and(|wire| !fits(wire)) {
        return Err(Error::invalid(place, format!("{place} must be text: instructions hold nothing else")));
    }
    Ok(block)
}

/// What Anthropic's `cache_control` asks for, in Bedrock's words; None where nothing is asked for.
pub(super) fn mark(cache_control: Option<&Value>) -> Option<Value> {
    let asked = cache_control.filter(|asked| asked.is_object())?;
    let mut point = json!({ "type": "default" });
    if let Some(ttl) = asked.get("ttl") {
        point["ttl"] = ttl.clone();
    }
    Some(json!({ "cachePoint": point }))
}

/// Text as a block; None where it is blank.
pub(super) fn said(words: &str) -> Option<Value> {
    (!words.trim().is_empty()).then(|| json!({ "text": words }))
}

/// Gives every document of these blocks a name of its own: the service refuses two of one name in a conversation.
pub(super) fn name_apart<'a>(blocks: impl Iterator<Item = &'a mut Value>) {
    let mut taken = HashSet::new();
    for block in blocks {
        if let Some(inner) = block.pointer_mut("/toolResult/content").and_then(Value::as_array_mut) {
            inner.iter_mut().for_each(|block| rename(block, &mut taken));
        } else {
            rename(block, &mut taken);
        }
    }
}

fn rename(block: &mut Value, taken: &mut HashSet<String>) {
    let Some(Value::String(name)) = block.pointer_mut("/document/name") else { return };
    let first = name.clone();
    let mut number = 2;
    while !taken.insert(name.to_lowercase()) {
        *name = format!("{first}-{number}");
        number += 1;
    }
}

/// An image or a film: its format and where it is.
fn media(url: &str, format: fn(&str) -> Option<&'static str>, cannot: &dyn Fn(&str) -> Error) -> Result<Value> {
    let (hint, source) = source(url, cannot)?;
    match format(&hint) {
        Some(format) => Ok(json!({ "format": format, "source": source })),
        None => Err(cannot(&format!("is of the type '{hint}', which Amazon Bedrock does not take here"))),
    }
}

/// OpenAI's `file` with its data in it.
fn document(file: &Value, cannot: &dyn Fn(&str) -> Error) -> Result<Value> {
    let text = |name: &str| file.get(name).and_then(Value::as_str);
    let data = text("file_data").ok_or_else(|| cannot("must carry its file as file.file_data, a data: URL"))?;
    let (hint, source) = source(data, cannot)?;
    let name = text("filename").unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let Some(format) = document_format(&hint).or_else(|| document_format(extension)) else {
        return Err(cannot(&format!("is of the type '{hint}', which Amazon Bedrock does not take as a document")));
    };
    Ok(json!({ "format": format, "name": neutral(stem), "source": source }))
}

/// A name with nothing but what the service takes: letters and digits, single blanks, hyphens, parentheses, square
/// brackets (API reference, `DocumentBlock`).
fn neutral(name: &str) -> String {
    let kept: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' }).collect();
    // Room for the number that tells two of one name apart.
    let words = kept.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(LONGEST_NAME - 10).collect();
    if short.is_empty() { "document".into() } else { short }
}

/// The type of what an address leads to, a media type or an extension, and its source.
fn source(url: &str, cannot: &dyn Fn(&str) -> Error) -> Result<(String, Value)> {
    if url.starts_with("s3://") {
        let extension = url.rsplit_once('.').map_or("", |(_, extension)| extension);
        return Ok((extension.to_ascii_lowercase(), json!({ "s3Location": { "uri": url } })));
    }
    let Some(rest) = url.strip_prefix("data:") else {
        return Err(cannot("is an address: Amazon Bedrock takes the bytes, as a data: URL, or an s3:// address"));
    };
    // RFC 2397, Base64 only; parameters of the type (`;charset=…`) are not part of it.
    let inline = rest.split_once(',').and_then(|(head, data)| Some((head.strip_suffix(";base64")?, data)));
    let (head, data) = inline.ok_or_else(|| cannot("is a data: URL that is not Base64"))?;
    let media_type = head.split(';').next().unwrap_or_default();
    Ok((media_type.to_ascii_lowercase(), json!({ "bytes": data })))
}

// Formats by media type or extension (service model, `ImageFormat`, `VideoFormat`, `DocumentFormat`).

fn image_format(hint: &str) -> Option<&'static str> {
    Some(match hint {
        "image/png" | "png" => "png",
        "image/jpeg" | "image/jpg" | "jpeg" | "jpg" => "jpeg",
        "image/gif" | "gif" => "gif",
        "image/webp" | "webp" => "webp",
        _ => return None,
    })
}

fn video_format(hint: &str) -> Option<&'static str> {
    Some(match hint {
        "video/mp4" | "mp4" => "mp4",
        "video/x-matroska" | "video/matroska" | "mkv" => "mkv",
        "video/quicktime" | "mov" => "mov",
        "video/webm" | "webm" => "webm",
        "video/x-flv" | "flv" => "flv",
        "video/mpeg" | "mpeg" => "mpeg",
        "mpg" => "mpg",
        "video/x-ms-wmv" | "wmv" => "wmv",
        "video/3gpp" | "3gp" => "three_gp",
        _ => return None,
    })
}

fn document_format(hint: &str) -> Option<&'static str> {
    Some(match hint.to_ascii_lowercase().as_str() {
        "application/pdf" | "pdf" => "pdf",
        "text/csv" | "csv" => "csv",
        "application/msword" | "doc" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" | "docx" => "docx",
        "application/vnd.ms-excel" | "xls" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" | "xlsx" => "xlsx",
        "text/html" | "html" | "htm" => "html",
        "text/markdown" | "md" => "md",
        "text/plain" | "txt" => "txt",
        _ => return None,
    })
}
