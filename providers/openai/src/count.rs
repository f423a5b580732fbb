//! Tokens of a prompt, counted by the server that would read it.
//!
//! OpenAI's API counts for responses alone, and servers that one runs oneself have ways of their own; which server has
//! which is in its row of `preset`. Invariant: a count is the server's own or there is none.

use bytes::Bytes;
use frontdesk_api::{ChatRequest, Cx, Error, Kind, Result, inference::Counted};
use frontdesk_http::setting;
use frontdesk_wire::openai::{chat, error, responses};
use http::{Method, Uri};
use serde_json::{Map, Value};

use crate::{Config, OpenAi};

/// How a server is asked how many tokens a prompt has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// At `responses/input_tokens`, in that API's shapes.
    Responses,
    /// At `chat/completions/input_tokens`: the chat as it would be asked for.
    Chats,
    /// At `/tokenize`, beside the API and not below it.
    Tokenize,
}

/// What decides how a chat is put into tokens (vLLM, `TokenizeChatRequest`). Left out, a generation prompt is added, as
/// for a chat.
const TOKENIZED: [&str; 6] =
    ["model", "messages", "tools", "chat_template", "chat_template_kwargs", "mm_processor_kwargs"];

impl Counts {
    /// Where this server is asked.
    ///
    /// # Errors
    /// `Invalid` on `base_url` or `api_version`.
    pub(crate) fn uri(self, config: &Config) -> Result<Uri> {
        match self {
            Self::Responses => config.uri("responses/input_tokens"),
            Self::Chats => config.uri("chat/completions/input_tokens"),
            Self::Tokenize => {
                let base = config.base_url.trim_end_matches('/');
                let below = format!("/{}", config.preset.path);
                setting::uri(base.strip_suffix(&below).unwrap_or(base), "tokenize")
            }
        }
    }

    /// Whether a server of one's own says that it has no such address: vLLM tells that of a model in words, llama.cpp of
    /// a page.
    fn absent(self, error: &Error) -> bool {
        let no_address = error.code.as_deref() == Some(error::NO_ADDRESS);
        match self {
            Self::Responses => false,
            Self::Chats => no_address || error.kind == Kind::NotFound,
            Self::Tokenize => no_address,
        }
    }

    /// The member of the answer that is the count.
    fn member(self) -> &'static str {
        match self {
            Self::Responses | Self::Chats => "input_tokens",
            Self::Tokenize => "count",
        }
    }
}

impl OpenAi {
    /// What is asked, where `how` is this server's way.
    ///
    /// # Errors
    /// `Invalid` for what this server cannot count.
    pub(crate) fn to_count(&self, how: Counts, request: &ChatRequest) -> Result<Bytes> {
        match how {
            Counts::Responses => Ok(responses::count::encode(&request.model, request.chat()?)?.into()),
            Counts::Chats => self.outgoing(request).map(|(_, _, body)| body),
            Counts::Tokenize => {
                let body = chat::encode(&request.model, false, request.chat()?);
                let mut asked: Map<String, Value> = serde_json::from_slice(&body).unwrap_or_default();
                asked.retain(|name, _| TOKENIZED.contains(&name.as_str()));
                Ok(Value::Object(asked).to_string().into())
            }
        }
    }

    /// The tokens of a prompt; None: this server does not count.
    ///
    /// # Errors
    /// As [`frontdesk_http::Upstream::fetch`]; `Upstream` where the answer is no count.
    pub(crate) async fn counted(&self, cx: &Cx, request: &ChatRequest) -> Result<Option<Counted>> {
        let Some((how, uri)) = &self.counts else { return Ok(None) };
        let body = self.to_count(*how, request)?;
        let said = match self.upstream.fetch(cx, Method::POST, uri, body).await {
            // A server of one's own may be older than the address.
            Err(e) if how.absent(&e) => return Ok(None),
            said => said?,
        };
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        said[how.member()].as_u64().map(|tokens| Some(tokens.into())).ok_or_else(|| {
            Error::upstream(format!("provider '{}' sent something that is not a count of tokens", self.upstream.id))
        })
    }
}
