//! How the endpoints that a server names are asked.
//!
//! Invariant: they are at public addresses and over https; one inside is asked only where the operator lists it and the
//! group's own server is one of those, so a server elsewhere cannot send us there.

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Result};
use frontdesk_http::place;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{config::Config, endpoint::struck, http_server::Clients, rpc::words_of};

/// Bytes of an answer.
const LARGEST: usize = 256 << 10;

/// What stands as it is in a form and in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(crate) struct Asker<'a> {
    pub(crate) clients: &'a Clients,
    pub(crate) config: &'a Config,
    /// The group's server is one that the operator lists.
    pub(crate) inside: bool,
}

impl Asker<'_> {
    /// An address that a server named, held to the rules.
    ///
    /// # Errors
    /// `Upstream` naming `what` it is the address of.
    pub(crate) fn place(&self, what: &str, written: &str) -> Result<Uri> {
        let wrong = |why: &str| Error::upstream(format!("the server's {what} '{}' {why}", words_of(written)));
        let uri: Uri = written.parse().map_err(|_| wrong("is no URL"))?;
        if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
            return Err(wrong("must name a host, without a password"));
        }
        match uri.scheme_str() {
            Some("https") => Ok(uri),
            Some("http") if self.is_inside(&uri) => Ok(uri),
            _ => Err(wrong("must begin with https://")),
        }
    }

    fn is_inside(&self, uri: &Uri) -> bool {
        self.inside && self.config.is_inside(uri)
    }

    /// A document; None: there is none.
    ///
    /// # Errors
    /// As [`frontdesk_http::Client::send`].
    pub(crate) async fn get(&self, cx: &Cx, uri: &Uri) -> Result<Option<Map<String, Value>>> {
        let mut headers = HeaderMap::new();
        // Servers that know the protocol's revisions answer by them.
        headers.insert("mcp-protocol-version", HeaderValue::from_static("2025-11-25"));
        let (status, body) = self.send(cx, Method::GET, uri, headers, Bytes::new()).await?;
        Ok(body.filter(|_| status == StatusCode::OK))
    }

    /// Sends a form, or JSON.
    ///
    /// # Errors
    /// As [`frontdesk_http::Client::send`].
    pub(crate) async fn post(
        &self,
        cx: &Cx,
        uri: &Uri,
        kind: &'static str,
        mut headers: HeaderMap,
        body: String,
    ) -> Result<(StatusCode, Option<Map<String, Value>>)> {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        self.send(cx, Method::POST, uri, headers, body.into()).await
    }

    async fn send(
        &self,
        cx: &Cx,
        method: Method,
        uri: &Uri,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<(StatusCode, Option<Map<String, Value>>)> {
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let client = if self.is_inside(uri) { &self.clients.inside } else { &self.clients.public };
        let mut answer = client.send(cx, method, uri, headers, body).await?;
        let body = answer.body.whole(LARGEST).await?;
        let object = match serde_json::from_slice(&body) {
            Ok(Value::Object(members)) => Some(members),
            _ => None,
        };
        Ok((answer.status, object))
    }
}

/// As forms and queries are written.
pub(crate) fn form(members: &[(&str, &str)]) -> String {
    let pairs: Vec<String> = members.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    pairs.join("&")
}

pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

/// What an endpoint says when it refuses (RFC 6749, section 5.2): its code, and its words without these secrets.
pub(crate) fn refusal(
    uri: &Uri,
    status: StatusCode,
    body: Option<&Map<String, Value>>,
    secrets: &[String],
) -> (Option<String>, String) {
    let text = |name: &str| body.and_then(|body| body.get(name)).and_then(Value::as_str);
    let text = |name: &str| text(name).map(|said| words_of(&struck(secrets, said.to_owned())));
    let code = text("error");
    let said = [code.clone(), text("error_description")].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let said = if said.is_empty() { status.to_string() } else { said };
    (code, format!("{} answered {said}", place(uri)))
}
