//! The routes of the worker: OpenAI chat completions, embeddings and models, loading and letting go, health, metrics.
//!
//! A request is read, planned, seated and handed to a task of its own (`generation`); the handler only listens. Invariant:
//! the status of an answer is decided by its first event, so a refusal is never a broken stream.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc;

use super::admission::Seat;
use super::calls::random_hex;
use super::embed::EmbedBody;
use super::generation::{self, Event};
use super::hosted::Hosted;
use super::metrics;
use super::model::LoadedModel;
use super::pictures::AT_ONCE;
use super::plan::Plan;
use super::problem::Problem;
use super::reply::{Collected, Head, Streamed};
use super::request::ChatBody;

/// Largest body that is read: as much as the gateway takes where its configuration says nothing else (32 MiB), and what
/// it adds.
const BODY_LIMIT: usize = 40 << 20;

/// What all routes share.
pub(crate) struct Worker {
    pub(crate) models: Vec<Arc<Hosted>>,
    /// The bearer token clients must send; none where the socket's file mode is the guard.
    pub(crate) key: Option<String>,
    /// Unix seconds of the start.
    pub(crate) started: u64,
}

/// The routes.
pub(crate) fn router(worker: Arc<Worker>) -> Router {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/chat/completions/count_tokens", post(count))
        .route("/v1/embeddings", post(embed))
        .route("/v1/models", get(models))
        .route("/v1/models/load", post(load))
        .route("/v1/models/unload", post(unload))
        .route("/metrics", get(numbers))
        .layer(middleware::from_fn_with_state(Arc::clone(&worker), guard));
    Router::new()
        .merge(guarded)
        .route("/health", get(health))
        // Where `frontdesk health` asks, so that a container of the engine is checked like one of the gateway.
        .route("/v1/health/ready", get(health))
        .fallback(nowhere)
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(worker)
}

/// Unix seconds.
#[expect(clippy::disallowed_methods, reason = "the worker is a process of its own and shows this as `created` only")]
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

async fn guard(State(worker): State<Arc<Worker>>, request: Request, next: Next) -> Response {
    if let Some(key) = &worker.key {
        let sent = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
        let sent = sent.and_then(|value| value.strip_prefix(b"Bearer ")).unwrap_or_default();
        if !bool::from(sent.ct_eq(key.as_bytes())) {
            return Problem::unauthenticated().into_response();
        }
    }
    next.run(request).await
}

fn read(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Problem> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(BODY_LIMIT),
        _ => Problem::malformed("the request body could not be read"),
    })
}

async fn chat(State(worker): State<Arc<Worker>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let arrival = Instant::now();
    let body = ChatBody::read(&read(body)?)?;
    let (streams, wants_usage) = (body.streams(), body.wants_usage());
    let model = worker.ready(&body.model).await?;
    let plan = plan(body, &model).await?;
    let seat = seat(&model).await?;
    let head = Head { id: format!("chatcmpl-{}", random_hex()), model: model.id.clone(), created: unix_seconds() };
    let (out, events) = mpsc::unbounded_channel();
    tokio::spawn(generation::answer(model, plan, seat, arrival, out));
    if streams { stream(head, wants_usage, events).await } else { whole(&head, events).await }
}

/// The tokens that the engine would read for a chat; nothing is answered.
async fn count(State(worker): State<Arc<Worker>>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Problem> {
    let body = ChatBody::read(&read(body)?)?;
    let model = worker.ready(&body.model).await?;
    let plan = plan(body, &model).await?;
    let seat = model.counting.enter(None).await.inspect_err(|_full| {
        model.counters.refused.fetch_add(1, Relaxed);
    })?;
    // A count must run to its end, also when its client leaves.
    let counting = tokio::spawn(async move {
        let _seat = seat;
        generation::prompt_tokens(&model, &plan).await
    });
    let tokens = counting.await.map_err(|_panic| broken_off())??;
    Ok(Json(json!({"input_tokens": tokens})))
}

async fn plan(body: ChatBody, model: &Arc<LoadedModel>) -> Result<Plan, Problem> {
    if model.embeds {
        let message = format!("model '{}' makes embeddings; ask it at /v1/embeddings", body.model);
        return Err(Problem::invalid("model", message));
    }
    if !body.has_images() || model.sight.is_err() {
        return Plan::new(&body, model);
    }
    // Pixels are made for seconds, and hundreds of megabytes of them, also when the client has left.
    let turn = AT_ONCE.acquire().await.map_err(|_closed| broken_off())?;
    let model = Arc::clone(model);
    let making = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        Plan::new(&body, &model)
    });
    making.await.map_err(|_panic| broken_off())?
}

async fn embed(State(worker): State<Arc<Worker>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let body = EmbedBody::read(&read(body)?)?;
    let model = worker.ready(&body.model).await?;
    if !model.embeds {
        let message = format!("model '{}' makes no embeddings; ask it at /v1/chat/completions", body.model);
        return Err(Problem::invalid("model", message));
    }
    let seat = seat(&model).await?;
    let answer = body.answer(model, seat).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], answer).into_response())
}

async fn seat(model: &LoadedModel) -> Result<Seat, Problem> {
    let seat = model.admission.enter(model.counters.seat.mean()).await;
    if seat.is_err() {
        model.counters.refused.fetch_add(1, Relaxed);
    }
    seat
}

async fn whole(head: &Head, mut events: mpsc::UnboundedReceiver<Event>) -> Result<Response, Problem> {
    let mut collected = Collected::default();
    while let Some(event) = events.recv().await {
        if let Some(end) = collected.take(head, event) {
            return end.map(|document| Json(document).into_response());
        }
    }
    Err(broken_off())
}

async fn stream(
    head: Head,
    include_usage: bool,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Result<Response, Problem> {
    let first = match events.recv().await {
        None => return Err(broken_off()),
        Some(Event::Failed(problem)) => return Err(problem),
        Some(event) => event,
    };
    let streamed = Streamed::new(head, include_usage);
    let frames = futures::stream::unfold(Some((streamed, events, Some(first))), |state| async {
        let (mut streamed, mut events, first) = state?;
        let event = match first {
            Some(event) => event,
            None => events.recv().await.unwrap_or_else(|| Event::Failed(broken_off())),
        };
        let (frame, over) = streamed.frame(event);
        Some((Ok::<_, Infallible>(frame), (!over).then_some((streamed, events, None))))
    });
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(frames)).into_response())
}

fn broken_off() -> Problem {
    Problem::engine("the answer broke off")
}

async fn models(State(worker): State<Arc<Worker>>) -> Json<Value> {
    let list: Vec<Value> = worker
        .models
        .iter()
        .map(|model| {
            json!({
                "type": if model.embeds() { "embedding" } else { "llm" },
                "id": model.spec.id,
                "object": "model",
                "created": worker.started,
                "owned_by": "local",
                "max_model_len": model.window(),
            })
        })
        .collect();
    Json(json!({"object": "list", "data": list}))
}

/// Which model a request to load or to let go is about.
#[derive(Deserialize)]
struct Named {
    model: String,
}

async fn load(State(worker): State<Arc<Worker>>, body: Result<Bytes, BytesRejection>) -> Result<Json<Value>, Problem> {
    let model = worker.named(body)?;
    model.load().await?;
    Ok(Json(model.status()))
}

async fn unload(
    State(worker): State<Arc<Worker>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, Problem> {
    let model = worker.named(body)?;
    let going = Arc::clone(model);
    // It goes also when its client leaves.
    tokio::spawn(async move { going.unload().await }).await.map_err(|_panic| broken_off())?;
    Ok(Json(model.status()))
}

async fn health(State(worker): State<Arc<Worker>>) -> Response {
    let ready = worker.models.iter().all(|model| model.well());
    let list: Vec<Value> = worker.models.iter().map(|model| model.status()).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "pid": std::process::id(), "models": list}))).into_response()
}

async fn numbers(State(worker): State<Arc<Worker>>) -> Response {
    let readings: Vec<metrics::Reading<'_>> = worker.models.iter().map(|model| model.reading()).collect();
    let headers = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (headers, metrics::render(&readings)).into_response()
}

async fn nowhere(request: Request) -> Problem {
    let mut problem = Problem::malformed(format!("no route {} {}", request.method(), request.uri().path()));
    problem.status = 404;
    problem
}

impl Worker {
    fn model(&self, id: &str) -> Result<&Arc<Hosted>, Problem> {
        self.models.iter().find(|model| model.spec.id == id).ok_or_else(|| {
            let known: Vec<&str> = self.models.iter().map(|model| model.spec.id.as_str()).collect();
            Problem::unknown_model(id, &known)
        })
    }

    /// The model for one request.
    async fn ready(&self, id: &str) -> Result<Arc<LoadedModel>, Problem> {
        let model = self.model(id)?.get().await?;
        if !model.alive.load(Relaxed) {
            return Err(Problem::unavailable("the engine is coming back after a failure"));
        }
        Ok(model)
    }

    fn named(&self, body: Result<Bytes, BytesRejection>) -> Result<&Arc<Hosted>, Problem> {
        let named: Named = serde_json::from_slice(&read(body)?)
            .map_err(|cause| Problem::invalid("model", format!("expected {{\"model\": NAME}}: {cause}")))?;
        self.model(&named.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::hosted::tests::tiny;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn counts_of_tokens_come_one_after_another_and_too_many_are_refused() {
        let hosted = tiny(&["--max-queue", "0"]);
        let model = hosted.load().await.unwrap();
        let worker = Arc::new(Worker { models: vec![hosted], key: None, started: 0 });
        let asked = Bytes::from_static(br#"{"model":"tiny","messages":[{"role":"user","content":"hello"}]}"#);
        let counting = model.counting.enter(None).await.unwrap();
        let refused = count(State(Arc::clone(&worker)), Ok(asked.clone())).await.unwrap_err();
        assert_eq!((refused.status, refused.code), (429, Some("queue_full")));
        assert_eq!(model.counters.refused.load(Relaxed), 1);
        drop(counting);
        assert!(count(State(worker), Ok(asked)).await.unwrap()["input_tokens"].as_u64() > Some(0));
    }
}
