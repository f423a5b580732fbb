//! `POST /v1/completions`, streamed and not: OpenAI's text completions, for the model of any provider.
//!
//! The body is looked at just enough to route it; how it is answered is `http::reply`.

use axum::{Extension, extract::State, response::Response};
use frontdesk_api::clock::unix_seconds;
use frontdesk_wire::openai::{
    completions::{encode::Pieces, request},
    encode::Head,
};

use crate::{
    app::App,
    auth::Caller,
    http::{edge::Arrival, extract::Raw, reply},
    problem::Problem,
};

/// Go on with a text
///
/// OpenAI's legacy completions. `model` is `provider/model` or an alias. With `stream: true` the answer comes as
/// server-sent events and ends with `data: [DONE]`; an error after the first event comes as an event
/// `{"error": …}`.
///
/// A server with text completions of its own gets the request as it was sent. To any other the prompt is given as a
/// user's message and the answer is written in this shape; `echo`, `suffix`, `best_of` other than `n`, tokens and
/// several prompts are errors there, with the code `unsupported_member`.
#[utoipa::path(
    post, path = "/v1/completions", tag = "inference",
    request_body(content = CompletionRequest, description = "OpenAI's completion request"),
    responses((status = 200, description = "OpenAI's completion, or its event stream", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    let request = request::request(body)?;
    let wants_usage = request.wants_usage;
    let (created, id) = (unix_seconds(app.clock.now()), format!("cmpl-{}", arrival.id));
    let writer = |model| Pieces::new(Head { id, model, created }, wants_usage);
    reply::answer(&app, &cx, request, arrival, writer).await
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct CompletionRequest {
    /// `provider/model` or an alias.
    #[schema(example = "openai/gpt-3.5-turbo-instruct")]
    model: String,
    /// A text; servers of text completions take several, and tokens.
    prompt: serde_json::Value,
    /// Answer as server-sent events.
    stream: Option<bool>,
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{
        ChatEvent, ChatReply, ChatRequest, Cx, Error, Frame, Inference, Result,
        chat::{Dialect, FinishReason, Role, Usage},
        inference::Model,
    };
    use serde_json::json;

    use crate::testing::{Frames, TestGateway, frame};

    /// Reads the request as a chat, as a provider without text completions does.
    struct Chats(Frames);

    #[async_trait]
    impl Inference for Chats {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            let message = &request.chat()?.messages[0];
            assert_eq!((message.role, message.joined()), (Role::User, "Once".to_owned()));
            assert!(request.needs_events(Dialect::OpenaiChat));
            self.0.chat(cx, request).await
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            self.0.models(cx).await
        }
    }

    /// Has text completions of its own.
    struct Native(Frames);

    #[async_trait]
    impl Inference for Native {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            assert!(!request.needs_events(Dialect::OpenaiCompletions), "its bytes are passed on");
            let mut reply = self.0.chat(cx, request).await?;
            reply.head.dialect = Dialect::OpenaiCompletions;
            Ok(reply)
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            self.0.models(cx).await
        }
    }

    fn question(stream: bool) -> serde_json::Value {
        json!({ "model": "up/echo", "prompt": "Once", "stream": stream })
    }

    fn words() -> Vec<Result<Frame>> {
        let text = ChatEvent::Text { choice: 0, text: " upon a time".into() };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        let usage = ChatEvent::Usage(Usage { input_tokens: 1, output_tokens: 3, ..Usage::default() });
        vec![
            Ok(Frame { events: vec![text], ..frame("foreign bytes") }),
            Ok(Frame { events: vec![finish, usage], ..frame("more of them") }),
        ]
    }

    #[tokio::test]
    async fn the_bytes_of_a_server_of_text_completions_go_out_as_they_came() {
        let gateway = TestGateway::start(Native(Frames::whole())).await;
        let answer = gateway.post("/v1/completions", &question(false)).await;
        assert_eq!(answer.text(), r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#);
        let frames = || vec![Ok(frame("data: {\"a\":1}\n\n")), Ok(frame("data: [DONE]\n\n"))];
        let gateway = TestGateway::start(Native(Frames { streaming: true, frames })).await;
        let answer = gateway.post("/v1/completions", &question(true)).await;
        assert_eq!(answer.text(), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
    }

    #[tokio::test]
    async fn a_chats_answer_is_written_as_a_text_completion() {
        let gateway = TestGateway::start(Chats(Frames { streaming: false, frames: words })).await;
        insta::assert_snapshot!(gateway.post("/v1/completions", &question(false)).await.shown(), @r#"
        200
        {
          "id": "cmpl-req_00000000000000000000000002",
          "object": "text_completion",
          "created": 1795492101,
          "model": "echo",
          "choices": [
            {
              "index": 0,
              "text": " upon a time",
              "logprobs": null,
              "finish_reason": "stop"
            }
          ],
          "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 3,
            "total_tokens": 4,
            "prompt_tokens_details": {
              "cached_tokens": 0
            },
            "completion_tokens_details": {
              "reasoning_tokens": 0
            }
          }
        }
        "#);
        let gateway = TestGateway::start(Chats(Frames { streaming: true, frames: words })).await;
        let mut asked = question(true);
        asked["stream_options"] = json!({ "include_usage": true });
        let answer = gateway.post("/v1/completions", &asked).await;
        let data: Vec<&str> =
            answer.text().split_terminator("\n\n").filter_map(|event| event.strip_prefix("data: ")).collect();
        let [text, end, usage, "[DONE]"] = data[..] else { panic!("{}", answer.text()) };
        let read = |json: &str| serde_json::from_str::<serde_json::Value>(json).expect("JSON");
        let choice = |text: &str, finish: Option<&str>| json!([{ "index": 0, "text": text, "logprobs": null, "finish_reason": finish }]);
        assert_eq!(read(text)["choices"], choice(" upon a time", None));
        assert_eq!(read(end)["choices"], choice("", Some("stop")));
        assert_eq!((&read(usage)["choices"], &read(usage)["usage"]["total_tokens"]), (&json!([]), &json!(4)));
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_ends_with_the_error() {
        let broken = || vec![words().remove(0), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Chats(Frames { streaming: true, frames: broken })).await;
        let answer = gateway.post("/v1/completions", &question(true)).await;
        let data: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert!(data.len() == 2 && data[1].contains("upstream_error"), "{}", answer.text());
    }

    #[tokio::test]
    async fn what_a_chat_cannot_say_is_refused_by_its_name() {
        let gateway = TestGateway::start(Chats(Frames::whole())).await;
        let mut body = question(false);
        body["echo"] = json!(true);
        insta::assert_snapshot!(gateway.post("/v1/completions", &body).await.shown(), @r#"
        400
        {
          "error": {
            "message": "'echo' cannot be asked of this model: its provider answers chats only, which do not repeat the prompt",
            "type": "invalid_request_error",
            "param": "echo",
            "code": "unsupported_member"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }
}
