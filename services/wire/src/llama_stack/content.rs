//! `InterleavedContent`: text that may be mixed with images, which are kept and asked with as parts of a chat.

use frontdesk_api::{Error, Result, chat::Part};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Text, one item, or a list of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum InterleavedContent {
    Text(String),
    Item(ContentItem),
    Items(Vec<ContentItem>),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ContentItem {
    Text {
        text: String,
    },
    /// `{data}` (base64) or `{url: {uri}}`.
    Image {
        #[schema(value_type = Object)]
        image: Map<String, Value>,
    },
}

impl ContentItem {
    /// A text item.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }

    fn into_part(self, param: &str) -> Result<Part> {
        let image = match self {
            Self::Text { text } => return Ok(Part::Text(text)),
            Self::Image { image } => image,
        };
        let uri = image.get("url").and_then(|url| url.get("uri")).and_then(Value::as_str);
        let url = match (uri, image.get("data").and_then(Value::as_str)) {
            (Some(uri), _) => uri.to_owned(),
            (None, Some(data)) => format!("data:{};base64,{data}", format_of(data)),
            (None, None) => {
                let message = format!("{param} holds an image without 'data' and without 'url': {{'uri': ...}}");
                return Err(Error::invalid(param, message));
            }
        };
        Ok(Part::Other(json!({ "type": "image_url", "image_url": { "url": url } })))
    }
}

/// The format of data in Base64, which the protocol does not say and some servers believe: by the first bytes of JPEG
/// (FF D8 FF), GIF ("GIF") and WebP ("RIFF"); else PNG.
fn format_of(data: &str) -> &'static str {
    match data {
        _ if data.starts_with("/9j/") => "image/jpeg",
        _ if data.starts_with("R0lG") => "image/gif",
        _ if data.starts_with("UklGR") => "image/webp",
        _ => "image/png",
    }
}

impl From<&str> for InterleavedContent {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl InterleavedContent {
    /// The words; items are joined by line breaks.
    ///
    /// # Errors
    /// `Invalid` on `param` when an image is among them.
    pub fn to_text(&self, param: &str) -> Result<String> {
        let items = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Item(item) => std::slice::from_ref(item),
            Self::Items(items) => items,
        };
        let mut words = Vec::with_capacity(items.len());
        for item in items {
            let ContentItem::Text { text } = item else {
                return Err(Error::invalid(param, format!("{param} holds an image, and text alone is taken there")));
            };
            words.push(text.as_str());
        }
        Ok(words.join("\n"))
    }

    #[must_use]
    pub fn has_images(&self) -> bool {
        let is_image = |item: &ContentItem| matches!(item, ContentItem::Image { .. });
        match self {
            Self::Text(_) => false,
            Self::Item(item) => is_image(item),
            Self::Items(items) => items.iter().any(is_image),
        }
    }

    /// Text and images as parts of a chat.
    ///
    /// # Errors
    /// `Invalid` on `param` for an image that is not there.
    pub fn into_parts(self, param: &str) -> Result<Vec<Part>> {
        let items = match self {
            Self::Text(text) => return Ok(vec![Part::Text(text)]),
            Self::Item(item) => vec![item],
            Self::Items(items) => items,
        };
        items.into_iter().map(|item| item.into_part(param)).collect()
    }

    /// Parts of a chat as this protocol has them. It has no word for sound and files, which are named by what they are.
    #[must_use]
    pub fn of_parts(parts: &[Value]) -> Self {
        let item = |part: &Value| match (part["image_url"]["url"].as_str(), part["text"].as_str()) {
            (Some(url), _) => ContentItem::Image { image: Map::from_iter([("url".into(), json!({ "uri": url }))]) },
            (None, Some(text)) => ContentItem::text(text),
            (None, None) => ContentItem::text(format!("[{}]", part["type"].as_str().unwrap_or_default())),
        };
        Self::Items(parts.iter().map(item).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> InterleavedContent {
        serde_json::from_str(json).expect("content")
    }

    #[test]
    fn every_form_of_text_reads_as_its_words() {
        assert_eq!(read(r#""hi""#).to_text("m").expect("text"), "hi");
        assert_eq!(read(r#"{"type":"text","text":"hi"}"#).to_text("m").expect("text"), "hi");
        let two = read(r#"[{"type":"text","text":"a"},{"type":"text","text":"b"}]"#);
        assert_eq!(two.to_text("m").expect("text"), "a\nb");
    }

    #[test]
    fn an_image_is_refused_by_the_name_of_its_field_where_it_is_not_taken_or_not_there() {
        let image = read(r#"[{"type":"image","image":{"url":{"uri":"data:image/png;base64,AA=="}}}]"#);
        let refused = image.to_text("messages[0].content").expect_err("images are not taken");
        assert_eq!(refused.param.as_deref(), Some("messages[0].content"));
        let nothing = read(r#"{"type":"image","image":{}}"#);
        let refused = nothing.into_parts("messages[0].content").expect_err("there is none");
        assert_eq!(refused.param.as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn images_become_parts_and_come_back() {
        let sent = read(
            r#"[{"type":"text","text":"a"},{"type":"image","image":{"url":{"uri":"http://h/i.png"}}},
                {"type":"image","image":{"data":"/9j/4AAQ"}}]"#,
        );
        assert!(sent.has_images());
        let parts = sent.into_parts("m").expect("parts");
        let url = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Other(wire) => wire["image_url"]["url"].as_str().unwrap_or_default().to_owned(),
        };
        let urls: Vec<String> = parts.iter().map(url).collect();
        assert_eq!(urls, ["a", "http://h/i.png", "data:image/jpeg;base64,/9j/4AAQ"]);
        let kept = [
            json!({ "type": "text", "text": "a" }),
            json!({ "type": "image_url", "image_url": { "url": "http://h/i.png" } }),
            json!({ "type": "file", "file": { "filename": "a.pdf" } }),
        ];
        let shown = r#"[{"type":"text","text":"a"},{"type":"image","image":{"url":{"uri":"http://h/i.png"}}},
                        {"type":"text","text":"[file]"}]"#;
        assert_eq!(InterleavedContent::of_parts(&kept), read(shown));
    }
}
