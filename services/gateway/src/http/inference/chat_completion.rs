//! `POST /v1/inference/chat-completion`, streamed and not.

use axum::{Extension, extract::State, response::Response};
use frontdesk_wire::llama_stack::{
    inference_answer::ChatWriter,
    inference_request::{self, ChatCompletion},
};

use crate::{
    app::App,
    auth::Caller,
    http::{edge::Arrival, extract::Raw, reply},
    problem::Problem,
};

/// Answer a chat, in Llama Stack's shape
///
/// Llama Stack's request and answer, for the model of any provider. With `stream: true` the answer comes as
/// server-sent events `start`, `progress`, `complete`; an error after the first event comes as `{"error": …}`.
/// A grammar, the strategy `top_k` and a repetition penalty are refused by name.
#[utoipa::path(
    post, path = "/v1/inference/chat-completion", tag = "inference",
    request_body = ChatCompletion,
    responses((status = 200, description = "Llama Stack's answer, or its event stream", body = serde_json::Value))
)]
pub async fn chat_completion(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = inference_request::chat(body)?;
    reply::answer(&app, &cx, request, arrival, |_| ChatWriter::default()).await
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        ChatEvent, Error, Frame, Result,
        chat::{FinishReason, Usage},
    };
    use serde_json::json;

    use crate::testing::{Frames, TestGateway, frame};

    fn words() -> Vec<Result<Frame>> {
        let usage = ChatEvent::Usage(Usage { input_tokens: 3, output_tokens: 1, ..Usage::default() });
        let text = ChatEvent::Text { choice: 0, text: "hi".into() };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        vec![
            Ok(Frame { events: vec![text], ..frame("foreign bytes") }),
            Ok(Frame { events: vec![finish, usage], ..frame("more of them") }),
        ]
    }

    fn question(stream: bool) -> serde_json::Value {
        json!({ "model_id": "default", "messages": [{ "role": "user", "content": "hi" }], "stream": stream })
    }

    #[tokio::test]
    async fn a_chat_is_answered_in_llama_stacks_shape() {
        let gateway = TestGateway::start(Frames { streaming: false, frames: words }).await;
        let answer = gateway.post("/v1/inference/chat-completion", &question(false)).await;
        let message = json!({ "role": "assistant", "content": "hi", "stop_reason": "end_of_turn", "tool_calls": [] });
        assert_eq!((answer.status.as_u16(), &answer.json()["completion_message"]), (200, &message));
        assert_eq!(answer.json()["metrics"][2], json!({ "metric": "total_tokens", "value": 4, "unit": "tokens" }));
    }

    #[tokio::test]
    async fn a_stream_completes_or_ends_with_the_error() {
        let gateway = TestGateway::start(Frames { streaming: true, frames: words }).await;
        let answer = gateway.post("/v1/inference/chat-completion", &question(true)).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        let last = answer.text().split_terminator("\n\n").last().expect("an event");
        assert!(last.contains(r#""event_type":"complete""#) && !answer.text().contains("foreign"), "{}", answer.text());

        let broken = || vec![words().remove(0), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Frames { streaming: true, frames: broken }).await;
        let answer = gateway.post("/v1/inference/chat-completion", &question(true)).await;
        let last = answer.text().split_terminator("\n\n").last().expect("an event");
        assert!(last.contains("upstream_error") && !answer.text().contains("complete\""), "{}", answer.text());
    }

    #[tokio::test]
    async fn an_unknown_model_names_the_nearest() {
        let gateway = TestGateway::start(Frames { streaming: false, frames: words }).await;
        let mut asked = question(false);
        asked["model_id"] = json!("ecoh");
        let answer = gateway.post("/v1/inference/chat-completion", &asked).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (404, &json!("model_not_found")));
    }
}
