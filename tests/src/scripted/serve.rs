//! The scripted upstream's HTTP: control routes under `/_`, everything else goes to the script. For tests only.

use super::reply::{LABEL, Part};
use super::script::Script;
use super::state::{Ended, Exchange, Seen, Upstream, Verdict};
use crate::PATIENCE;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, put};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use tower::ServiceExt;

type Shared = State<Arc<Upstream>>;

/// Marks an answer that is none: the connection closes instead.
#[derive(Clone)]
struct HangUp;

/// Serves until dropped. Each connection is HTTP/1.1 with Nagle's algorithm off.
pub async fn serve(listener: tokio::net::TcpListener, upstream: Arc<Upstream>) {
    let router = Router::new()
        .route("/_script", put(put_script).delete(reset))
        .route("/_gates", get(gates))
        .route("/_gates/{gate}", axum::routing::post(release))
        .route("/_gates/{gate}/waiting", get(waiting))
        .route("/_requests", get(requests))
        .route("/_requests/{number}/ended", get(ended))
        .fallback(scripted)
        .with_state(upstream);
    let mut connections = tokio::task::JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let router = router.clone();
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let router = router.clone();
            async move {
                let response = match router.oneshot(request.map(Body::new)).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                match response.extensions().get::<HangUp>() {
                    Some(HangUp) => Err(io::Error::other("the script hangs up")),
                    None => Ok(response),
                }
            }
        });
        connections.spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
            let _ = connection.await;
        });
    }
}

async fn put_script(State(upstream): Shared, body: Bytes) -> Response {
    let script = serde_json::from_slice(&body).map_err(|e| e.to_string()).and_then(Script::parse);
    match script {
        Ok(script) => {
            let steps = script.steps.len();
            upstream.set_script(script);
            Json(json!({ "steps": steps })).into_response()
        }
        Err(e) => problem(StatusCode::BAD_REQUEST, &format!("script: {e}")),
    }
}

async fn reset(State(upstream): Shared) -> StatusCode {
    upstream.reset();
    StatusCode::NO_CONTENT
}

async fn gates(State(upstream): Shared) -> Json<Value> {
    Json(json!(upstream.gates()))
}

async fn release(State(upstream): Shared, Path(gate): Path<String>) -> StatusCode {
    upstream.release(&gate);
    StatusCode::NO_CONTENT
}

async fn waiting(State(upstream): Shared, Path(gate): Path<String>) -> Response {
    match tokio::time::timeout(PATIENCE, upstream.waiting(&gate)).await {
        Ok(()) => Json(json!({ "waiting": gate })).into_response(),
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, &format!("no stream came to gate {gate:?}")),
    }
}

/// All requests seen; with `?at_least=N` once there are that many.
async fn requests(State(upstream): Shared, Query(query): Query<HashMap<String, String>>) -> Response {
    let n = query.get("at_least").and_then(|n| n.parse().ok()).unwrap_or(0);
    match tokio::time::timeout(PATIENCE, upstream.at_least(n)).await {
        Ok(seen) => Json(seen).into_response(),
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, &format!("fewer than {n} requests came")),
    }
}

async fn ended(State(upstream): Shared, Path(number): Path<usize>) -> Response {
    match tokio::time::timeout(PATIENCE, upstream.ended(number)).await {
        Ok(ended) => Json(json!({ "ended": ended })).into_response(),
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, &format!("the answer to request {number} did not end")),
    }
}

async fn scripted(State(upstream): Shared, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return hang_up();
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|(n, v)| (n.to_string(), text(v.as_bytes()))).collect();
    let path = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let lists_models = head.method == "GET" && head.uri.path().ends_with("/models");
    let seen = Seen {
        number: 0,
        method: head.method.to_string(),
        path,
        headers,
        body: text(&body.to_bytes()),
        step: None,
        ended: Ended::Open,
    };
    let (verdict, mut exchange) = upstream.take(seen);
    let (rendered, headers, hold) = match verdict {
        Verdict::Answer { rendered, headers, hold } => (rendered, headers, hold),
        Verdict::HangUp => {
            exchange.finish(Ended::Cut);
            return hang_up();
        }
        Verdict::NoStep => {
            exchange.finish(Ended::Complete);
            if lists_models {
                return models(&upstream);
            }
            let n = exchange.number;
            return problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("no step of the script answers request {n}"));
        }
    };
    if let Some(gate) = hold
        && !exchange.pass(&gate).await
    {
        exchange.finish(Ended::Cut);
        return hang_up();
    }
    let mut response = Response::builder()
        .status(rendered.status)
        .header("content-type", rendered.content_type)
        .header("x-scripted-upstream", LABEL);
    if let Some(headers_out) = response.headers_mut() {
        for (name, value) in headers {
            let parsed = (name.parse::<hyper::header::HeaderName>(), value.parse());
            let (Ok(name), Ok(value)) = parsed else {
                return problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("script: header {name:?} is no header"));
            };
            headers_out.insert(name, value);
        }
    }
    let body = if rendered.streamed {
        Body::from_stream(write(rendered.parts, exchange))
    } else {
        Body::from(whole(rendered.parts, exchange).await)
    };
    let built = response.body(body);
    built.unwrap_or_else(|e| problem(StatusCode::INTERNAL_SERVER_ERROR, &format!("script: {e}")))
}

/// The body of an answer that is not streamed; a gate holds it back as a whole.
async fn whole(parts: Vec<Part>, mut exchange: Exchange) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        match part {
            Part::Write(bytes) => body.extend_from_slice(&bytes),
            Part::Gate(gate) => {
                exchange.pass(&gate).await;
            }
            Part::Pause(time) => tokio::time::sleep(time).await,
            Part::Cut => {}
        }
    }
    exchange.finish(Ended::Complete);
    body
}

/// Writes part by part. Between two writes the task yields, so each leaves as a write of its own.
fn write(parts: Vec<Part>, exchange: Exchange) -> impl futures::Stream<Item = io::Result<Bytes>> {
    let start = (parts.into_iter(), exchange, false);
    futures::stream::unfold(start, |(mut parts, mut exchange, cut)| async move {
        if cut {
            return None;
        }
        tokio::task::yield_now().await;
        loop {
            match parts.next() {
                Some(Part::Write(bytes)) => return Some((Ok(bytes), (parts, exchange, false))),
                Some(Part::Gate(gate)) if exchange.pass(&gate).await => {}
                Some(Part::Pause(time)) => tokio::time::sleep(time).await,
                Some(Part::Gate(_) | Part::Cut) => {
                    exchange.finish(Ended::Cut);
                    return Some((Err(io::Error::other("the script cuts the connection")), (parts, exchange, true)));
                }
                None => {
                    exchange.finish(Ended::Complete);
                    return None;
                }
            }
        }
    })
}

fn models(upstream: &Upstream) -> Response {
    let model = |id| json!({"id": id, "object": "model", "created": 1_700_000_000, "owned_by": LABEL});
    let data: Vec<Value> = upstream.models().into_iter().map(model).collect();
    Json(json!({"object": "list", "data": data})).into_response()
}

fn hang_up() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(HangUp);
    response
}

fn problem(status: StatusCode, message: &str) -> Response {
    let error = json!({"message": format!("{LABEL}: {message}"), "type": "server_error", "param": null, "code": null});
    (status, Json(json!({ "error": error }))).into_response()
}
