//! `POST /v1/chat/completions`, streamed and not.
//!
//! The body is looked at just enough to route it; how it is answered is `http::reply`.

use std::sync::Arc;

use axum::{Extension, extract::State, response::Response};
use bytes::Bytes;
use frontdesk_api::{ChatRequest, Cx, clock::unix_seconds};
use frontdesk_wire::openai::{self, encode, peek::Metadata};

use super::named_files;
use crate::{
    app::App,
    auth::Caller,
    http::{
        edge::Arrival,
        extract::{Key, Raw},
        reply,
    },
    problem::Problem,
};

/// Answer a chat
///
/// OpenAI's request and answer, unknown members included. `model` is `provider/model`, an alias, or `agent/NAME` for a
/// stored agent, which does its own tools' work by itself and tells in `frontdesk` what no model's answer has.
/// With `stream: true` the answer comes as server-sent events and ends with `data: [DONE]`; an error
/// after the first event comes as an event `{"error": …}`. With `store: true` the answer is kept, beside the messages
/// and up to 16 texts of `metadata`, under the id that it bears. A part `file` may name a file of `/v1/files` by its
/// `file_id`.
#[utoipa::path(
    post, path = "/v1/chat/completions", tag = "inference",
    params(("Idempotency-Key" = Option<String>, Header, description = "With an agent: its answer goes on when the client leaves, and the same request gets it")),
    request_body(content = ChatCompletionRequest, description = "OpenAI's chat completion request"),
    responses((status = 200, description = "OpenAI's chat completion, or its event stream", body = serde_json::Value))
)]
pub async fn create(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Key(key): Key,
    Raw(body): Raw,
) -> Result<Response, Problem> {
    // What is kept is what was said, without the files' contents.
    let (said, body) = match named_files::may_be(&body) {
        true => (Some(body.clone()), Box::pin(named_files::read(&app, &cx, body)).await?),
        false => (None, body),
    };
    let mut request = openai::peek::request(body)?;
    request.idempotency_key = key;
    if let Some(metadata) = request.source().map(openai::peek::stored).transpose()?.flatten() {
        // Apart, so that the room it needs is nobody else's.
        return Box::pin(kept(app, cx, request, (said, metadata), arrival)).await;
    }
    let wants_usage = request.wants_usage;
    let id = Arc::clone(&arrival.id);
    let writer = |model| {
        let (id, created) = (format!("chatcmpl-{id}"), unix_seconds(app.clock.now()));
        encode::Chunks::new(encode::Head { id, model, created }, wants_usage)
    };
    reply::answer(&app, &cx, request, arrival, writer).await
}

/// As [`create`], of a chat whose answer is to be kept.
async fn kept(
    app: App,
    cx: Cx,
    mut request: ChatRequest,
    (said, metadata): (Option<Bytes>, Metadata),
    arrival: Arrival,
) -> Result<Response, Problem> {
    let wants_usage = request.wants_usage;
    let said = said.or_else(|| request.source().map(|source| source.bytes.clone())).unwrap_or_default();
    let keeping = app.stored.begin(&cx, &mut request, said, metadata).await?;
    let (created, id) = (unix_seconds(app.clock.now()), keeping.id().to_owned());
    let writer = |model| encode::Chunks::new(encode::Head { id, model, created }, wants_usage);
    let answered = keeping.over(app.inference.chat(&cx, request).await?);
    reply::told_on(answered, wants_usage, arrival, writer).await
}

/// The request's members that Frontdesk itself reads; all others travel on as they are.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the codec reads it
pub struct ChatCompletionRequest {
    /// `provider/model`, an alias, or `agent/NAME`.
    #[schema(example = "openai/gpt-4o-mini")]
    model: String,
    messages: Vec<serde_json::Value>,
    /// Answer as server-sent events.
    stream: Option<bool>,
    /// Keep the answer; it can be listed, read and deleted.
    store: Option<bool>,
    /// Notes beside an answer that is kept, at most 16 texts.
    metadata: Option<std::collections::BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{
        ChatEvent, ChatReply, ChatRequest, Cx, Error, Frame, Inference,
        chat::{Dialect, FinishReason, Usage},
        inference::Model,
    };
    use frontdesk_wire::openai;
    use futures::StreamExt;
    use serde_json::json;

    use crate::{
        http::reply::OVERHEAD,
        testing::{Frames, TestGateway, frame},
    };

    /// Says what [`Frames`] says in a dialect that no client here reads.
    struct Foreign(Frames);

    #[async_trait]
    impl Inference for Foreign {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> frontdesk_api::Result<ChatReply> {
            assert!(request.needs_events(Dialect::AnthropicMessages));
            let mut reply = self.0.chat(cx, request).await?;
            reply.head.dialect = Dialect::AnthropicMessages;
            Ok(reply)
        }

        async fn models(&self, cx: &Cx) -> frontdesk_api::Result<Vec<Model>> {
            self.0.models(cx).await
        }
    }

    /// What an answer of one word means, in two frames.
    fn one_word() -> Vec<frontdesk_api::Result<Frame>> {
        let usage = Usage { input_tokens: 3, output_tokens: 1, ..Usage::default() };
        let text = ChatEvent::Text { choice: 0, text: "hi".into() };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        vec![
            Ok(Frame { events: vec![text], ..frame("foreign bytes") }),
            Ok(Frame { events: vec![finish, ChatEvent::Usage(usage)], ..frame("more of them") }),
        ]
    }

    fn question(stream: bool) -> serde_json::Value {
        json!({ "model": "up/echo", "stream": stream, "messages": [{ "role": "user", "content": "hi" }] })
    }

    #[tokio::test]
    async fn an_answer_is_the_providers_bytes() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let answer = gateway.post("/v1/chat/completions", &question(false)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), r#"{"id":"c1","choices":[],"x_vendor":{"kept":true}}"#);
        assert_eq!(answer.headers["content-type"], "application/json");
        answer.headers[OVERHEAD].to_str().expect("text").parse::<u64>().expect("microseconds");
    }

    #[tokio::test]
    async fn an_alias_is_answered_by_its_target() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let mut body = question(false);
        body["model"] = json!("default");
        assert_eq!(gateway.post("/v1/chat/completions", &body).await.status, 200);
    }

    #[tokio::test]
    async fn a_stream_hides_the_usage_that_was_not_asked_for() {
        let frames = || {
            vec![
                Ok(frame("data: {\"a\":1}\n\n")),
                Ok(Frame { usage_only: true, ..frame("data: {\"usage\":1}\n\n") }),
                Ok(frame("data: [DONE]\n\n")),
            ]
        };
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.text(), "data: {\"a\":1}\n\ndata: [DONE]\n\n");
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(answer.headers["x-accel-buffering"], "no");
        let mut asked = question(true);
        asked["stream_options"] = json!({ "include_usage": true });
        let answer = gateway.post("/v1/chat/completions", &asked).await;
        assert_eq!(answer.text(), "data: {\"a\":1}\n\ndata: {\"usage\":1}\n\ndata: [DONE]\n\n");
    }

    #[tokio::test]
    async fn an_error_after_the_first_byte_is_an_event() {
        let frames = || vec![Ok(frame("data: {\"a\":1}\n\n")), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.status, 200);
        let last = answer.text().strip_prefix("data: {\"a\":1}\n\ndata: ").expect("the first event, then the error");
        let error: serde_json::Value = serde_json::from_str(last.trim_end()).expect("JSON");
        assert_eq!(error["error"]["type"], "upstream_error");
        assert_eq!(error["request_id"], answer.headers["x-request-id"].to_str().expect("text"));
    }

    #[tokio::test]
    async fn a_foreign_answer_is_written_in_the_clients_dialect() {
        let gateway = TestGateway::start(Foreign(Frames { streaming: false, frames: one_word })).await;
        insta::assert_snapshot!(gateway.post("/v1/chat/completions", &question(false)).await.shown(), @r#"
        200
        {
          "id": "chatcmpl-req_00000000000000000000000002",
          "object": "chat.completion",
          "created": 1795492101,
          "model": "echo",
          "choices": [
            {
              "index": 0,
              "message": {
                "role": "assistant",
                "content": "hi",
                "refusal": null
              },
              "logprobs": null,
              "finish_reason": "stop"
            }
          ],
          "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 1,
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
        let none = Foreign(Frames { streaming: false, frames: Vec::new });
        assert_eq!(TestGateway::start(none).await.post("/v1/chat/completions", &question(false)).await.status, 502);
    }

    #[tokio::test]
    async fn a_foreign_stream_ends_with_done_or_with_an_error_alone() {
        let gateway = TestGateway::start(Foreign(Frames { streaming: true, frames: one_word })).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        assert_eq!(answer.headers["content-type"], "text/event-stream; charset=utf-8");
        let data: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert_eq!((data.len(), data[2]), (3, "data: [DONE]"));
        assert!(data[0].contains(r#""content":"hi""#) && !answer.text().contains("foreign"), "{}", answer.text());

        let broken = || vec![one_word().remove(0), Err(Error::upstream("provider 'up' broke off"))];
        let gateway = TestGateway::start(Foreign(Frames { streaming: true, frames: broken })).await;
        let answer = gateway.post("/v1/chat/completions", &question(true)).await;
        let data: Vec<&str> = answer.text().split_terminator("\n\n").collect();
        assert!(data.len() == 2 && data[1].contains("upstream_error"), "{}", answer.text());
    }

    const STREAM: &str = "data: {\"id\":\"c1\",\"model\":\"m\",\"created\":3,\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}],\"x\":1}\n\ndata: [DONE]\n\n";

    /// What `STREAM` means.
    fn heard() -> Vec<ChatEvent> {
        let start = ChatEvent::Start { id: "c1".into(), model: "m".into(), created: 3 };
        let text = ChatEvent::Text { choice: 0, text: "hi".into() };
        let usage = ChatEvent::Usage(Usage { input_tokens: 3, output_tokens: 1, ..Usage::default() });
        vec![start, text, ChatEvent::Finish { choice: 0, reason: FinishReason::Stop }, usage]
    }

    /// A question whose answer is to be kept.
    fn kept(stream: bool) -> serde_json::Value {
        let mut body = question(stream);
        (body["store"], body["metadata"]) = (json!(true), json!({ "shop": "lamps" }));
        body
    }

    async fn listed(gateway: &TestGateway) -> Vec<serde_json::Value> {
        let list = gateway.get("/v1/chat/completions").await.json();
        list["data"].as_array().expect("a list").clone()
    }

    #[tokio::test]
    async fn an_answer_is_kept_as_it_was_told_under_an_id_of_ours() {
        let gateway = TestGateway::start(Frames::whole()).await;
        assert_eq!(gateway.post("/v1/chat/completions", &question(false)).await.status, 200);
        assert_eq!(listed(&gateway).await, Vec::<serde_json::Value>::new(), "it was not asked for");
        let told = gateway.post("/v1/chat/completions", &kept(false)).await;
        let id = told.json()["id"].as_str().expect("an id").to_owned();
        assert!(id.starts_with("chatcmpl_"), "{id}");
        assert_eq!(told.text(), format!(r#"{{"id":"{id}","choices":[],"x_vendor":{{"kept":true}}}}"#));
        let mut want = told.json();
        want["metadata"] = json!({ "shop": "lamps" });
        let path = format!("/v1/chat/completions/{id}");
        assert_eq!(gateway.get(&path).await.json(), want);
        assert_eq!(listed(&gateway).await, [want]);
        let messages = gateway.get(&format!("{path}/messages")).await.json();
        let message = json!({ "id": format!("{id}-0"), "role": "user", "content": "hi", "content_parts": null });
        assert_eq!(messages["data"], json!([message]));
        for (path, status) in [
            ("/v1/chat/completions?limit=0", 400),
            ("/v1/chat/completions?order=up", 400),
            ("/v1/chat/completions/none", 404),
        ] {
            assert_eq!(gateway.get(path).await.status, status, "{path}");
        }
    }

    #[tokio::test]
    async fn a_stream_is_kept_as_one_answer_when_it_has_ended_well() {
        let frames = || vec![Ok(Frame { events: heard(), ..frame(STREAM) })];
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        let told = gateway.post("/v1/chat/completions", &kept(true)).await;
        let [one] = &listed(&gateway).await[..] else { panic!("one") };
        let id = one["id"].as_str().expect("an id");
        assert_eq!(told.text(), STREAM.replace("c1", id));
        let message = &one["choices"][0]["message"];
        assert_eq!(
            (&message["content"], &one["usage"]["total_tokens"], &one["model"]),
            (&json!("hi"), &json!(4), &json!("m"))
        );
        assert_eq!(one["metadata"], json!({ "shop": "lamps" }));

        let broken = || vec![Ok(Frame { events: heard(), ..frame(STREAM) }), Err(Error::upstream("cut"))];
        let gateway = TestGateway::start(Frames { streaming: true, frames: broken }).await;
        assert_eq!(gateway.post("/v1/chat/completions", &kept(true)).await.status, 200);
        assert_eq!(listed(&gateway).await, Vec::<serde_json::Value>::new());
    }

    #[tokio::test]
    async fn a_foreign_answer_is_kept_in_the_words_it_was_told_in() {
        for stream in [false, true] {
            let gateway = TestGateway::start(Foreign(Frames { streaming: stream, frames: one_word })).await;
            let told = gateway.post("/v1/chat/completions", &kept(stream)).await;
            let [one] = &listed(&gateway).await[..] else { panic!("one") };
            let id = one["id"].as_str().expect("an id");
            assert!(told.text().contains(&format!(r#""id":"{id}""#)), "{}", told.text());
            assert_eq!(one["choices"][0]["message"]["content"], "hi");
            if !stream {
                let mut whole = told.json();
                whole["metadata"] = json!({ "shop": "lamps" });
                assert_eq!(*one, whole);
            }
        }
    }

    #[tokio::test]
    async fn an_answer_whose_client_left_is_kept_if_it_was_all_there() {
        const FIRST: &str = "data: {\"id\":\"c1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
        let frames = || {
            let mut said = heard();
            let end = said.split_off(2);
            let part = |events| Ok(Frame { events, ..frame(FIRST) });
            vec![part(said), part(end), Ok(frame("data: [DONE]\n\n"))]
        };
        let gateway = TestGateway::start(Frames { streaming: true, frames }).await;
        for (n, read, there) in [(1, 1, 0), (1, 2, 1), (2, 2, 1)] {
            let mut body = kept(true);
            body["n"] = json!(n);
            let request = gateway.request("POST", "/v1/chat/completions").header("content-type", "application/json");
            let answer = gateway.begin(request.body(body.to_string().into()).expect("a request")).await;
            let mut pieces = answer.into_body().into_data_stream();
            for _ in 0..read {
                pieces.next().await.expect("a piece").expect("whole");
            }
            drop(pieces);
            assert_eq!(listed(&gateway).await.len(), there, "n = {n}, {read} pieces read");
        }
    }

    #[tokio::test]
    async fn a_tenant_that_fills_the_room_waits_and_is_told_why() {
        let config =
            "models: [ { id: default, targets: [ { model: up/echo } ] } ]\nstored_completions: { memory_mb: 1 }";
        let gateway = TestGateway::configured(config, Frames::whole()).await;
        let cx = Cx::internal("default", "test");
        let long = question(false).to_string().replace("hi", &"x".repeat(600 << 10));
        let long = bytes::Bytes::from(long);
        let mut request = openai::peek::request(long.clone()).expect("a request");
        let keeping = gateway.app.stored.begin(&cx, &mut request, long, Default::default()).await;
        let keeping = keeping.expect("alone it may be larger than half of the room");
        let asked = kept(false);
        let mut waiting = Box::pin(gateway.post("/v1/chat/completions", &asked));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(gateway.post("/v1/chat/completions", &question(false)).await.status, 200, "others go on");
        drop(keeping);
        assert_eq!(waiting.await.status, 200);
        assert_eq!(listed(&gateway).await.len(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_kept_is_refused_before_anyone_is_asked() {
        let gateway = TestGateway::start(Frames::whole()).await;
        for (member, value) in [("store", json!("yes")), ("metadata", json!({ "a": 1 }))] {
            let mut body = kept(false);
            body[member] = value;
            let refused = gateway.post("/v1/chat/completions", &body).await;
            assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!(member)));
        }
        gateway.app.stored.close().await;
        assert_eq!(gateway.post("/v1/chat/completions", &kept(false)).await.status, 503, "it is stopping");
        assert_eq!(gateway.post("/v1/chat/completions", &question(false)).await.status, 200);
    }

    #[tokio::test]
    async fn an_unknown_model_is_404_with_the_nearest() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let mut body = question(false);
        body["model"] = json!("ecoh");
        insta::assert_snapshot!(gateway.post("/v1/chat/completions", &body).await.shown(), @r#"
        404
        {
          "error": {
            "message": "model 'ecoh' does not exist; the nearest are: up/echo, default",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }

    #[tokio::test]
    async fn an_empty_answer_of_a_provider_is_its_fault() {
        let gateway = TestGateway::start(Frames { streaming: false, frames: Vec::new }).await;
        let answer = gateway.post("/v1/chat/completions", &question(false)).await;
        assert_eq!(answer.status, 502);
    }
}
