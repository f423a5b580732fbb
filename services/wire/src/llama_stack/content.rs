//! `InterleavedContent`: text that may be mixed with images. Frontdesk's turns carry text.

use frontdesk_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

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
    /// `Invalid` on `param` when an image is among them: turns carry text.
    pub fn to_text(&self, param: &str) -> Result<String> {
        let items = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::Item(item) => std::slice::from_ref(item),
            Self::Items(items) => items,
        };
        let mut words = Vec::with_capacity(items.len());
        for item in items {
            let ContentItem::Text { text } = item else {
                return Err(Error::invalid(param, format!("{param} holds an image; an agent's turn takes text")));
            };
            words.push(text.as_str());
        }
        Ok(words.join("\n"))
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
    fn an_image_is_refused_by_the_name_of_its_field() {
        let image = read(r#"[{"type":"image","image":{"url":{"uri":"data:image/png;base64,AA=="}}}]"#);
        let refused = image.to_text("messages[0].content").expect_err("images are not taken");
        assert_eq!(refused.param.as_deref(), Some("messages[0].content"));
    }
}
