//! One server that answers chats: how it is asked, how its refusals and its answers are taken.
//!
//! What is the same for every dialect. Invariant: an error names the provider unless it is the client's own.

use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{
    ChatReply, Cx, Effort, Error, Result,
    chat::{Dialect, ReplyHead},
    inference::{Model, ModelKind},
};
use frontdesk_wire::{eventstream, sse};
use http::{HeaderMap, HeaderValue, Method, Uri, header};

use crate::{
    Answer, Client,
    client_key::{self, ClientKey},
    frames::{self, Framing, Reads, named},
};

/// The most of an error body that is read, in bytes.
const ERROR_BODY: usize = 64 * 1024;

/// Headers that are added to a request here and by the client below (content type, trace, host, length), for which there
/// is room at once: a map that is full is hashed anew.
const OURS: usize = 4;

/// An answer that is not a success.
pub struct Refusal<'a> {
    pub status: u16,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
    /// When it may be asked again, as its headers say.
    pub retry_after: Option<Duration>,
}

/// What a refusal means; beside it the provider's id.
pub type ReadsError = fn(&str, &Refusal<'_>) -> Error;

/// A server and its ways.
pub struct Upstream {
    /// Id of the provider.
    pub id: String,
    pub client: Client,
    /// Sent with every request.
    pub headers: HeaderMap,
    /// How a client's own key is sent; None: it is not.
    pub client_key: Option<ClientKey>,
    pub dialect: Dialect,
    pub error: ReadsError,
    /// The header in which the server names a request of ours.
    pub request_id: &'static str,
    /// Largest single event of a stream, in bytes.
    pub max_event: usize,
    /// Largest whole answer, in bytes.
    pub max_answer: usize,
}

impl Upstream {
    /// Sends a request, JSON where `body` is not empty, and waits for the head of a good answer.
    ///
    /// # Errors
    /// As [`Client::send`]; what [`Upstream::error`] makes of an answer that is not a success.
    pub async fn send(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Answer> {
        self.send_with(cx, method, uri, &HeaderMap::new(), body).await
    }

    /// As `send`. `more`: headers of this request alone, unless the configured ones say otherwise.
    ///
    /// # Errors
    /// As `send`.
    pub async fn send_with(&self, cx: &Cx, method: Method, uri: &Uri, more: &HeaderMap, body: Bytes) -> Result<Answer> {
        let mut headers = self.headers.clone();
        headers.reserve(more.len() + OURS);
        for name in more.keys().filter(|name| !self.headers.contains_key(*name)) {
            for value in more.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if !body.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(Ok(trace)) = cx.traceparent.as_deref().map(HeaderValue::from_str) {
            headers.insert("traceparent", trace);
        }
        let own = self.client_key.as_ref().and_then(|key| Some((key, key.given(cx)?)));
        if let Some((place, key)) = own {
            place.put(&mut headers, key)?;
        }
        let sent = self.client.send(cx, method, uri, headers, body).await;
        let mut answer = sent.map_err(|e| named(&self.id, e))?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        let retry_after = answer.retry_after();
        let body = answer.body.beginning(ERROR_BODY).await;
        let status = answer.status.as_u16();
        let error = (self.error)(&self.id, &Refusal { status, headers: &answer.headers, body: &body, retry_after });
        Err(match own {
            Some((_, key)) => client_key::refused(&self.id, key, status, error),
            None => error,
        })
    }

    /// A good answer's body, whole.
    ///
    /// # Errors
    /// As `send`, and `Upstream` when the body is longer than `max_answer`.
    pub async fn fetch(&self, cx: &Cx, method: Method, uri: &Uri, body: Bytes) -> Result<Bytes> {
        let answer = self.send(cx, method, uri, body).await?;
        self.whole(answer).await
    }

    /// The body of a good answer.
    ///
    /// # Errors
    /// As [`crate::Body::whole`], at most `max_answer`.
    pub async fn whole(&self, mut answer: Answer) -> Result<Bytes> {
        answer.body.whole(self.max_answer).await.map_err(|e| named(&self.id, e))
    }

    /// The frames of a good answer to a chat. `stream`: whether one in pieces was asked for.
    ///
    /// # Errors
    /// `Upstream` when the answer has another form than asked for (a page of HTML, say).
    pub fn reply<R: Reads>(&self, answer: Answer, model: String, stream: bool, reads: R) -> Result<ChatReply> {
        let kind = answer.header("content-type").unwrap_or_default().to_ascii_lowercase();
        let streaming = kind.starts_with(R::FRAMING.content_type());
        if streaming != stream || (!stream && !kind.contains("json")) {
            let want = if stream { "an event stream" } else { "JSON" };
            let got = if kind.is_empty() { "no content type" } else { &kind };
            let message = format!("provider '{}' answered with {got} where {want} was asked for", self.id);
            return Err(Error::upstream(message));
        }
        let head = ReplyHead {
            provider: self.id.clone(),
            model,
            dialect: self.dialect,
            streaming,
            upstream_request: answer.header(self.request_id).map(str::to_owned),
            effort: Effort::default(),
            reuse: None,
        };
        let (id, body) = (self.id.clone(), answer.body);
        let frames = match R::FRAMING {
            _ if !streaming => frames::whole(id, body, reads, self.max_answer),
            Framing::ServerSentEvents => frames::stream(id, body, sse::Decoder::new(self.max_event), reads),
            Framing::AwsEventStream => frames::stream(id, body, eventstream::Decoder::new(self.max_event), reads),
        };
        Ok(ChatReply { head, frames })
    }

    /// A model that the server offers. `created`: Unix seconds, 0 where it does not say.
    #[must_use]
    pub fn model(&self, upstream_id: &str, created: i64) -> Model {
        Model {
            id: format!("{}/{upstream_id}", self.id),
            provider: self.id.clone(),
            upstream_id: upstream_id.to_owned(),
            kind: ModelKind::Llm,
            created,
            description: None,
        }
    }
}
