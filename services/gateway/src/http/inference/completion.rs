//! `POST /v1/inference/completion`, streamed and not.

use axum::{Extension, extract::State, response::Response};
use frontdesk_wire::llama_stack::{
    inference_answer::CompletionWriter,
    inference_request::{self, Completion},
};

use crate::{
    app::App,
    auth::Caller,
    http::{edge::Arrival, extract::Raw, reply},
    problem::Problem,
};

/// Go on with a text, in Llama Stack's shape
///
/// The text is given to the model as a user's message. With `stream: true` the answer comes as server-sent events;
/// the last one says why it ended.
#[utoipa::path(
    post, path = "/v1/inference/completion", tag = "inference",
    request_body = Completion,
    responses((status = 200, description = "Llama Stack's answer, or its event stream", body = serde_json::Value))
)]
pub async fn completion(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = inference_request::completion(body)?;
    reply::answer(&app, &cx, request, arrival, |_| CompletionWriter::default()).await
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{ChatEvent, Frame, chat::FinishReason};
    use serde_json::json;

    use crate::testing::{Frames, TestGateway, frame};

    #[tokio::test]
    async fn a_text_goes_on_in_llama_stacks_shape() {
        let frames = || {
            let text = ChatEvent::Text { choice: 0, text: " upon a time".into() };
            let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Length };
            vec![Ok(Frame { events: vec![text, finish], ..frame("foreign bytes") })]
        };
        let gateway = TestGateway::start(Frames { streaming: false, frames }).await;
        let answer =
            gateway.post("/v1/inference/completion", &json!({ "model_id": "up/echo", "content": "Once" })).await;
        let want =
            json!({ "content": " upon a time", "stop_reason": "out_of_tokens", "logprobs": null, "metrics": null });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, want));
    }
}
