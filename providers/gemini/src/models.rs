//! The Gemini API's list of models, page by page.

use frontdesk_api::{Error, Result, inference::ModelKind};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

/// The most models a page may hold (API reference, "models.list").
const PAGE: usize = 1000;

/// The most pages that are read: a list that never ends is a fault of the server.
pub(crate) const PAGES: usize = 20;

/// The methods of models that are offered, a chat's first; others of the list make films.
const METHODS: [(&str, ModelKind); 2] = [("generateContent", ModelKind::Llm), ("embedContent", ModelKind::Embedding)];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page {
    #[serde(default)]
    models: Vec<Entry>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Entry {
    name: String,
    #[serde(default)]
    supported_generation_methods: Vec<String>,
    /// Largest prompt in tokens; the answer has a limit of its own beside it.
    #[serde(default)]
    pub(crate) input_token_limit: Option<usize>,
}

impl Page {
    /// # Errors
    /// `Upstream` when the body is no such page.
    pub(crate) fn read(provider: &str, body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|e| {
            Error::upstream(format!("provider '{provider}' sent something that is not a list of models")).with_source(e)
        })
    }

    pub(crate) fn first() -> String {
        format!("models?pageSize={PAGE}")
    }

    /// The path of this page's successor; None: it was the last.
    pub(crate) fn next(&self) -> Option<String> {
        let token = self.next_page_token.as_deref().filter(|token| !token.is_empty())?;
        Some(format!("{}&pageToken={}", Self::first(), utf8_percent_encode(token, NON_ALPHANUMERIC)))
    }

    /// Those that answer chats or embed texts.
    pub(crate) fn offered(self) -> impl Iterator<Item = (Entry, ModelKind)> {
        self.models.into_iter().filter_map(|model| {
            let has = |method: &str| model.supported_generation_methods.iter().any(|m| m == method);
            let (_, kind) = METHODS.iter().find(|(method, _)| has(method))?;
            Some((model, *kind))
        })
    }
}

impl Entry {
    /// As it is asked for: `models/gemini-2.5-pro` without `models/`.
    pub(crate) fn id(&self) -> &str {
        self.name.strip_prefix("models/").unwrap_or(&self.name)
    }
}
