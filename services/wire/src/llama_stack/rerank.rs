//! `POST /v1alpha/inference/rerank`, as OGX's and Llama Stack's newer clients send and read it.

use frontdesk_api::{
    Error, Result,
    rerank::{Ranked, Rerank},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[derive(Debug, Clone, PartialEq, Deserialize, utoipa::ToSchema)]
pub struct RerankItems {
    /// `provider/model` or an alias.
    pub model: String,
    pub query: RerankText,
    pub items: Vec<RerankText>,
    /// How many of the best to tell; all where it is left out.
    #[serde(default)]
    pub max_num_results: Option<usize>,
}

/// Text, or a part of a chat's content.
#[derive(Debug, Clone, PartialEq, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum RerankText {
    Text(String),
    /// `{"type": "text", "text": …}`; pictures are refused.
    #[schema(value_type = Object)]
    Part(Map<String, Value>),
}

impl RerankItems {
    /// # Errors
    /// `Invalid` naming the place of what is not text, or that there is nothing to put in order.
    pub fn to_domain(&self) -> Result<Rerank> {
        if self.items.is_empty() {
            return Err(Error::invalid("items", "'items' is empty: send at least one document"));
        }
        if self.max_num_results == Some(0) {
            return Err(Error::invalid("max_num_results", "'max_num_results' must be at least 1"));
        }
        let documents =
            self.items.iter().enumerate().map(|(i, item)| item.text(&format!("items[{i}]")).map(Value::from));
        Ok(Rerank {
            query: self.query.text("query")?,
            documents: documents.collect::<Result<_>>()?,
            top_n: self.max_num_results,
            ..Rerank::default()
        })
    }
}

impl RerankText {
    fn text(&self, at: &str) -> Result<String> {
        let text = match self {
            Self::Text(text) => Some(text.as_str()),
            Self::Part(part) => part.get("text").and_then(Value::as_str),
        };
        text.map(str::to_owned)
            .ok_or_else(|| Error::invalid(at, format!("'{at}' must be text: models here read no pictures")))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RankedItems {
    /// Best first.
    pub data: Vec<RankedItem>,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RankedItem {
    pub index: usize,
    pub relevance_score: f64,
}

impl RankedItems {
    #[must_use]
    pub fn of(results: &[Ranked]) -> Self {
        let item = |ranked: &Ranked| RankedItem { index: ranked.index, relevance_score: ranked.score };
        Self { data: results.iter().map(item).collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(json: Value) -> RerankItems {
        serde_json::from_value(json).expect("a request")
    }

    #[test]
    fn texts_and_parts_become_documents() {
        let wire = read(json!({ "model": "m", "query": { "type": "text", "text": "q" }, "max_num_results": 1,
            "items": ["a", { "type": "text", "text": "b" }] }));
        let rerank = wire.to_domain().expect("a request");
        assert_eq!((rerank.query.as_str(), rerank.top_n), ("q", Some(1)));
        assert_eq!(rerank.documents, [json!("a"), json!("b")]);
    }

    #[test]
    fn a_picture_is_refused_by_its_place() {
        let picture = json!({ "type": "image_url", "image_url": { "url": "data:," } });
        let refused = read(json!({ "model": "m", "query": "q", "items": ["a", picture] })).to_domain();
        assert_eq!(refused.expect_err("a picture").param.as_deref(), Some("items[1]"));
        let empty = read(json!({ "model": "m", "query": "q", "items": [] })).to_domain();
        assert_eq!(empty.expect_err("nothing").param.as_deref(), Some("items"));
    }
}
