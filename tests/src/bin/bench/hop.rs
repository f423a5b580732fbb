//! Reference hops on axum and hyper: the least a gateway in Rust can cost.
//!
//! raw     nothing is looked at
//! peek    the request is parsed once, borrowed, for `model` and `stream`, and sent on unchanged
//! splice  peek, then the model's name is replaced in the body's bytes: the work a same-dialect
//!         gateway cannot avoid, so this is the row ours is held against
//! full    request and answer (each SSE event) are parsed to a value and written again

use crate::options::Options;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::serve::ListenerExt;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Clone)]
struct Hop {
    http: Client<HttpConnector, Body>,
    upstream: String,
    mode: Mode,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Raw,
    Peek,
    Splice,
    Full,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: &'a RawValue,
    #[serde(default)]
    stream: bool,
}

/// What the model is called upstream, as a JSON string.
const UPSTREAM_MODEL: &[u8] = b"\"mock\"";

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let mode = match options.text("mode", "raw").as_str() {
        "raw" => Mode::Raw,
        "peek" => Mode::Peek,
        "splice" => Mode::Splice,
        "full" => Mode::Full,
        other => return Err(format!("mode {other:?}; allowed are raw, peek, splice, full")),
    };
    // Off, it shows the 40 ms trap of delayed acknowledgements.
    let nodelay = options.number("nodelay", 1) == 1;
    let mut connector = HttpConnector::new();
    connector.set_nodelay(nodelay);
    let http = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(4096).build(connector);
    let hop = Hop { http, upstream: options.text("upstream", "http://127.0.0.1:9100"), mode };
    let port = options.number("port", 9200) as u16;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| format!("port {port}: {e}"))?;
    let listener = listener.tap_io(move |socket| {
        let _ = socket.set_nodelay(nodelay);
    });
    let router = axum::Router::new().fallback(handle).with_state(hop);
    axum::serve(listener, router).await.map_err(|e| e.to_string())
}

async fn handle(State(hop): State<Hop>, request: Request) -> Response {
    match forward(hop, request).await {
        Ok(response) => response,
        Err(status) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
        }
    }
}

async fn forward(hop: Hop, request: Request) -> Result<Response, StatusCode> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |p| p.as_str());
    head.uri = format!("{}{path}", hop.upstream).parse().map_err(|_| StatusCode::BAD_REQUEST)?;
    head.headers.remove(HOST);
    let body = match hop.mode {
        Mode::Raw => body,
        _ => {
            let bytes = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?.to_bytes();
            let bytes = rewrite(hop.mode, bytes).ok_or(StatusCode::BAD_REQUEST)?;
            if hop.mode != Mode::Peek {
                head.headers.remove(CONTENT_LENGTH);
            }
            Body::from(bytes)
        }
    };
    let answer = hop.http.request(Request::from_parts(head, body)).await.map_err(|_| StatusCode::BAD_GATEWAY)?;
    let (mut head, body) = answer.into_parts();
    head.headers.remove(TRANSFER_ENCODING);
    if hop.mode != Mode::Full {
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    head.headers.remove(CONTENT_LENGTH);
    if head.headers.get(CONTENT_TYPE).is_some_and(|v| v.as_bytes().starts_with(b"text/event-stream")) {
        let mut rest = Vec::new();
        let body = body.map_frame(move |frame| match frame.into_data() {
            Err(frame) => frame,
            Ok(data) => hyper::body::Frame::data(rewrite_events(&mut rest, &data)),
        });
        return Ok(Response::from_parts(head, Body::new(body)));
    }
    let bytes = body.collect().await.map_err(|_| StatusCode::BAD_GATEWAY)?.to_bytes();
    let bytes = renamed(&bytes, "alias").ok_or(StatusCode::BAD_GATEWAY)?;
    Ok(Response::from_parts(head, Body::from(bytes)))
}

fn rewrite(mode: Mode, bytes: Bytes) -> Option<Bytes> {
    if mode == Mode::Full {
        return renamed(&bytes, "mock").map(Bytes::from);
    }
    let peek: Peek<'_> = serde_json::from_slice(&bytes).ok()?;
    let model = peek.model.get();
    std::hint::black_box((model.len(), peek.stream));
    if mode == Mode::Peek {
        return Some(bytes);
    }
    // The raw value borrows from the body, so its address says where it stands there.
    let start = (model.as_ptr() as usize).checked_sub(bytes.as_ptr() as usize)?;
    let after = start + model.len();
    let mut spliced = Vec::with_capacity(bytes.len() + UPSTREAM_MODEL.len());
    spliced.extend_from_slice(bytes.get(..start)?);
    spliced.extend_from_slice(UPSTREAM_MODEL);
    spliced.extend_from_slice(bytes.get(after..)?);
    Some(Bytes::from(spliced))
}

fn renamed(bytes: &[u8], model: &str) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(bytes).ok()?;
    value["model"] = model.into();
    serde_json::to_vec(&value).ok()
}

/// Rewrites whole events; an event that has not ended stays in `rest`.
fn rewrite_events(rest: &mut Vec<u8>, data: &[u8]) -> Bytes {
    rest.extend_from_slice(data);
    let mut out = Vec::with_capacity(data.len() + 16);
    while let Some(end) = rest.windows(2).position(|w| w == b"\n\n") {
        let event: Vec<u8> = rest.drain(..end + 2).collect();
        match event.strip_prefix(b"data: ".as_slice()).and_then(|json| renamed(json, "alias")) {
            Some(json) => {
                out.extend_from_slice(b"data: ");
                out.extend_from_slice(&json);
                out.extend_from_slice(b"\n\n");
            }
            None => out.extend_from_slice(&event),
        }
    }
    Bytes::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splice_changes_the_model_and_no_other_byte() {
        let body = Bytes::from_static(b"{ \"x\" : 1.0, \"model\" :  \"a/b\" ,\"stream\":true}");
        let spliced = rewrite(Mode::Splice, body.clone()).unwrap();
        assert_eq!(spliced, "{ \"x\" : 1.0, \"model\" :  \"mock\" ,\"stream\":true}");
        assert_eq!(rewrite(Mode::Peek, body.clone()).unwrap(), body);
    }
}
