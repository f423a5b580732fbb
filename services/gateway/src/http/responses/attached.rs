//! Files in a response's input, and in a chat: those that are named by their ids are read, and those that are texts become
//! words.
//!
//! A provider knows no file of ours, and few models read files at all; texts every model reads. What is no text goes on
//! as it is, and the provider says whether its model takes it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use frontdesk_api::{
    Cx, Error, Kind, Result,
    turn::{ItemBody, texts},
};
use frontdesk_memory::document;
use serde_json::{Value, json};

use super::wrong;
use crate::{
    app::App,
    http::room::{SMALL, Taken},
};

/// How often a file that is brought in lies in memory: as it is, as Base64, and in the request that it goes on in.
const COPIES: usize = 3;

/// What a request brings in by the ids of files: together as many bytes as it could hold itself, in the room of uploads.
pub struct Brought<'a> {
    app: &'a App,
    left: usize,
    /// Of what has no room yet.
    small: usize,
    held: Option<Taken>,
}

impl<'a> Brought<'a> {
    /// Nothing yet.
    pub fn new(app: &'a App) -> Self {
        Self { app, left: app.config.limits.max_body_mb.saturating_mul(1 << 20), small: 0, held: None }
    }

    /// The room that it takes, to be held as long as what was read.
    pub fn held(self) -> Option<Taken> {
        self.held
    }

    /// A file's name, type and content.
    async fn load(&mut self, cx: &Cx, id: &str, at: &str) -> Result<(String, Option<String>, Vec<u8>)> {
        let knowledge = &self.app.knowledge;
        let file = knowledge.load_file(cx, id).await.map_err(|error| wrong(error, at))?;
        let size = usize::try_from(file.bytes).unwrap_or(usize::MAX);
        let Some(left) = self.left.checked_sub(size) else {
            // It goes on in a request of its own, and into the rows of this one.
            let message = format!(
                "with the file '{id}' the input is larger than a request may be (limits.max_body_mb): send less"
            );
            return Err(Error::new(Kind::TooLarge, message).with_param(at));
        };
        self.left = left;
        self.small += size;
        if self.small > SMALL {
            let need = std::mem::take(&mut self.small).saturating_mul(COPIES);
            self.app.uploads.grow(&mut self.held, need).await?;
        }
        let content = knowledge.load_content(cx, id).await.map_err(|error| wrong(error, at))?;
        Ok((file.filename, file.media_type, content.to_vec()))
    }
}

/// Puts contents where files are named.
///
/// # Errors
/// `Invalid` naming a file that does not exist; `TooLarge` naming the one that has no room any more; `Unavailable` where
/// too many others bring in theirs.
pub async fn read(cx: &Cx, body: &mut ItemBody, brought: &mut Brought<'_>) -> Result<()> {
    let (parts, output) = match body {
        ItemBody::Content { parts, .. } => (parts, None),
        ItemBody::FunctionCallOutput { parts, output, .. } if !parts.is_empty() => (parts, Some(output)),
        _ => return Ok(()),
    };
    for part in parts.iter_mut() {
        match part["type"].as_str() {
            Some("image_url") => {
                if let Some(id) = part["image_url"]["file_id"].as_str() {
                    let (name, kind, bytes) = brought.load(cx, id, "input").await?;
                    let kind = kind.or_else(|| picture(&name).map(str::to_owned)).ok_or_else(|| {
                        let message =
                            format!("the file '{id}' ({name}) is no picture by its name: png, jpg, gif and webp are");
                        Error::invalid("input", message)
                    })?;
                    let url = data_url(&kind, &bytes);
                    let image =
                        json!({ "url": url, "detail": part["image_url"].get("detail").unwrap_or(&json!("auto")) });
                    part["image_url"] = image;
                }
            }
            Some("file") => *part = file(cx, part, "input", brought).await?,
            _ => {}
        }
    }
    if let Some(output) = output {
        *output = texts(parts);
        if parts.iter().all(|part| part["type"] == "text") {
            parts.clear();
        }
    }
    Ok(())
}

/// A part with its file's content. `at`: where the file is named, as errors tell it.
///
/// # Errors
/// As [`read`], on `at`.
pub async fn file(cx: &Cx, part: &Value, at: &str, brought: &mut Brought<'_>) -> Result<Value> {
    let given = part["file"]["filename"].as_str().map(str::to_owned);
    let (name, kind, bytes) = match part["file"]["file_id"].as_str() {
        Some(id) => brought.load(cx, id, at).await?,
        None => {
            let Some((kind, bytes)) = part["file"]["file_data"].as_str().and_then(decoded) else {
                return Ok(part.clone());
            };
            (given.clone().unwrap_or_default(), Some(kind), bytes)
        }
    };
    let name = given.unwrap_or(name);
    if let Ok(document) = document::read(&name, kind.as_deref(), &bytes) {
        return Ok(json!({ "type": "text", "text": format!("{name}:\n{}", document.text()) }));
    }
    let kind = kind.unwrap_or_else(|| match name.to_ascii_lowercase().ends_with(".pdf") {
        true => "application/pdf".to_owned(),
        false => "application/octet-stream".to_owned(),
    });
    Ok(json!({ "type": "file", "file": { "filename": name, "file_data": data_url(&kind, &bytes) } }))
}

fn picture(name: &str) -> Option<&'static str> {
    match name.rsplit_once('.')?.1.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        _ => None,
    }
}

fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

fn decoded(url: &str) -> Option<(String, Vec<u8>)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    Some((head.strip_suffix(";base64")?.to_owned(), STANDARD.decode(data).ok()?))
}
