//! `POST /v1/inference/batch-chat-completion` and `POST /v1/inference/batch-completion`: several at once, answered together.
//!
//! Invariant: the answers stand in the order of what was asked, and there are all of them or an error.

use axum::{Json, extract::State};
use frontdesk_api::{ChatReply, ChatRequest, Cx, Error, Result};
use frontdesk_wire::{
    Writes,
    llama_stack::{
        inference_answer::{ChatWriter, CompletionWriter},
        inference_batch::{self, BatchChatCompletion, BatchCompletion},
    },
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    app::App,
    auth::Caller,
    http::{extract::Raw, reply},
    problem::Problem,
};

/// How many of one request are asked at a time.
const AT_ONCE: usize = 8;

/// Answers in the order of what was asked.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Batch {
    #[schema(value_type = Vec<serde_json::Value>)]
    batch: Vec<Box<RawValue>>,
}

/// Answer several chats, in Llama Stack's shape
///
/// Up to 256, while the client waits; the first that fails is the answer. Jobs of many hours are batches (`/v1/batches`).
#[utoipa::path(
    post, path = "/v1/inference/batch-chat-completion", tag = "inference",
    request_body = BatchChatCompletion,
    responses((status = 200, body = Batch))
)]
pub async fn chats(State(app): State<App>, Caller(cx): Caller, Raw(body): Raw) -> Result<Json<Batch>, Problem> {
    let requests = inference_batch::chats(&body)?;
    Ok(Json(Batch { batch: Box::pin(answers(&app, &cx, requests, ChatWriter::default)).await? }))
}

/// Go on with several texts, in Llama Stack's shape
///
/// As `batch-chat-completion`.
#[utoipa::path(
    post, path = "/v1/inference/batch-completion", tag = "inference",
    request_body = BatchCompletion,
    responses((status = 200, body = Batch))
)]
pub async fn completions(State(app): State<App>, Caller(cx): Caller, Raw(body): Raw) -> Result<Json<Batch>, Problem> {
    let requests = inference_batch::completions(&body)?;
    Ok(Json(Batch { batch: Box::pin(answers(&app, &cx, requests, CompletionWriter::default)).await? }))
}

async fn answers<W: Writes>(
    app: &App,
    cx: &Cx,
    requests: Vec<ChatRequest>,
    writer: fn() -> W,
) -> Result<Vec<Box<RawValue>>> {
    let one = async |request| {
        let ChatReply { head, frames } = app.inference.chat(cx, request).await?;
        let writer = (head.dialect != W::DIALECT).then(writer);
        let body = reply::body(&head.provider, frames, writer).await?;
        serde_json::from_slice(&body).map_err(|e| {
            Error::upstream(format!("provider '{}' answered with what is no JSON", head.provider)).with_source(e)
        })
    };
    stream::iter(requests).map(one).buffered(AT_ONCE).try_collect().await
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{ChatEvent, Frame, chat::FinishReason};
    use serde_json::json;

    use crate::testing::{Frames, TestGateway, frame};

    #[tokio::test]
    async fn several_are_answered_together_or_not_at_all() {
        let frames = || {
            let text = ChatEvent::Text { choice: 0, text: "hi".into() };
            let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
            vec![Ok(Frame { events: vec![text, finish], ..frame("foreign bytes") })]
        };
        let gateway = TestGateway::start(Frames { streaming: false, frames }).await;
        let chat = json!([{ "role": "user", "content": "hi" }]);
        let mut body = json!({ "model_id": "up/echo", "messages_batch": vec![chat; 20] });
        let answer = gateway.post("/v1/inference/batch-chat-completion", &body).await;
        let batch = answer.json()["batch"].as_array().cloned().expect("a list");
        assert_eq!(batch.len(), 20);
        assert!(batch.iter().all(|one| one["completion_message"]["content"] == "hi"), "{batch:?}");
        body["model_id"] = json!("up/none");
        assert_eq!(gateway.post("/v1/inference/batch-chat-completion", &body).await.status, 404);
        let texts = json!({ "model_id": "up/echo", "content_batch": ["a", "b"] });
        let answer = gateway.post("/v1/inference/batch-completion", &texts).await;
        let want = json!({ "content": "hi", "stop_reason": "end_of_turn", "logprobs": null, "metrics": null });
        assert_eq!(answer.json(), json!({ "batch": [want, want] }));
        let none = json!({ "model_id": "up/echo", "content_batch": [] });
        assert_eq!(gateway.post("/v1/inference/batch-completion", &none).await.status, 400);
    }
}
