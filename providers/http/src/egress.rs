//! The way out for tools: one request to an address that others than the operator named.
//!
//! Invariants: the address a name leads to is judged when it is looked up for the connection, and that very one is
//! connected to; a redirect is an answer; headers that would change where a request goes or where it ends are refused;
//! an answer is read under a limit of size and time, and only as it stands (nothing is decompressed).

use async_trait::async_trait;
use bytes::BytesMut;
use frontdesk_api::{
    Cx, Egress, Error, Kind, Result,
    egress::{Outbound, OutboundAnswer, OutboundLimits},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use crate::{Client, Limits, guard::NOT_PUBLIC, network::Network, place};

/// Headers that belong to the connection, or to us.
const OURS: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers of a request. A map of headers has an end of its own, far beyond.
const MOST_HEADERS: usize = 64;

/// Headers of an answer, in bytes, beyond which further ones are left out.
const HEADERS: usize = 32 << 10;

/// Sends tools' requests.
pub struct Outside(Client);

impl Outside {
    /// `inside`: what may be reached beside the public internet.
    #[must_use]
    pub fn new(inside: Vec<Network>) -> Self {
        Self(Client::public_and(Limits::default(), inside))
    }
}

#[async_trait]
impl Egress for Outside {
    async fn send(&self, cx: &Cx, request: Outbound, limits: OutboundLimits) -> Result<OutboundAnswer> {
        let uri: Uri = request.url.parse().map_err(|_| Error::invalid("url", "the address is no URL"))?;
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT && *method != Method::TRACE)
            .ok_or_else(|| Error::invalid("method", "the method is none that is sent"))?;
        let headers = headers(&request.headers)?;
        let asked = async {
            let mut answer = self.0.send(cx, method, &uri, headers, request.body).await.map_err(refused)?;
            if is_packed(&answer.headers) {
                // Not in the server's words: they go past what strikes secrets out of answers.
                return Err(Error::upstream(format!("{} packs its answer, which nobody asked for", place(&uri))));
            }
            let too_large = || {
                let message = format!("the answer of {} is longer than {} bytes", place(&uri), limits.answer);
                Error::new(Kind::TooLarge, message)
            };
            let declared = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
            if declared.is_some_and(|length| length > limits.answer) && uri_has_body(&request.method) {
                return Err(too_large());
            }
            let mut body = BytesMut::new();
            while let Some(piece) = answer.body.piece().await? {
                if body.len() + piece.len() > limits.answer {
                    return Err(too_large());
                }
                body.extend_from_slice(&piece);
            }
            Ok(OutboundAnswer { status: answer.status.as_u16(), headers: shown(&answer.headers), body: body.freeze() })
        };
        tokio::time::timeout(limits.time, asked).await.unwrap_or_else(|_| {
            let message = format!("{} gave no whole answer within {} s", place(&uri), limits.time.as_secs_f32());
            Err(Error::new(Kind::Timeout, message))
        })
    }
}

fn is_packed(headers: &HeaderMap) -> bool {
    let plain = |coding: &[u8]| coding.trim_ascii().is_empty() || coding.trim_ascii().eq_ignore_ascii_case(b"identity");
    let all = headers.get_all(header::CONTENT_ENCODING);
    !all.iter().flat_map(|value| value.as_bytes().split(|b| *b == b',')).all(plain)
}

/// The answer to a HEAD says a length and has no body.
fn uri_has_body(method: &str) -> bool {
    method != "HEAD"
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap> {
    let too_many = || Error::invalid("headers", format!("at most {MOST_HEADERS} headers are sent"));
    if given.len() > MOST_HEADERS {
        return Err(too_many());
    }
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let shown = name.escape_default();
        let read = HeaderName::from_bytes(name.as_bytes());
        let read = read.map_err(|_| Error::invalid("headers", format!("'{shown}' is no name of a header")))?;
        if OURS.contains(&read.as_str()) {
            return Err(Error::invalid("headers", format!("the header '{shown}' is not a tool's to set")));
        }
        // What it holds may be a secret.
        let value = HeaderValue::from_str(value).map_err(|_| {
            Error::invalid("headers", format!("the value of '{shown}' holds characters that a header cannot carry"))
        })?;
        headers.try_append(read, value).map_err(|_| too_many())?;
    }
    if !headers.contains_key(header::USER_AGENT) {
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("frontdesk/", env!("CARGO_PKG_VERSION"))));
    }
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    Ok(headers)
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = HEADERS;
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    let fits = |(name, value): &(String, String)| {
        room = room.saturating_sub(name.len() + value.len());
        room > 0
    };
    headers.iter().filter_map(text).take_while(fits).collect()
}

/// An address that may not be reached is not the other server's fault.
fn refused(e: Error) -> Error {
    if e.kind == Kind::Upstream && e.message.ends_with(NOT_PUBLIC) { Error { kind: Kind::Forbidden, ..e } } else { e }
}

#[cfg(test)]
mod tests;
