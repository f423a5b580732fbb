//! Who answers the lines of batches: the same way that a request by itself goes, codecs and meter included.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    ChatReply, ChatRequest, Clock, Cx, Error, Inference, Kind, Result, clock::unix_seconds, inference::CREDENTIALS,
};
use frontdesk_batches::{Again, Answer, EndedLine, Endpoint, Fault, Lines, NewLine, Outcome, request_id};
use frontdesk_wire::{
    Writes, anthropic,
    openai::{self, completions, embeddings, encode},
    status,
};
use serde_json::value::RawValue;

use crate::{http::reply, problem};

/// Answers lines through the models that everyone else asks.
pub struct Answers {
    pub inference: Arc<dyn Inference>,
    pub clock: Arc<dyn Clock>,
}

impl Answers {
    async fn whole(&self, cx: &Cx, endpoint: Endpoint, body: Bytes) -> Result<String> {
        let created = unix_seconds(self.clock.now());
        let head = |prefix: &str, model| encode::Head { id: format!("{prefix}-{}", cx.request), model, created };
        let answer = match endpoint {
            Endpoint::ChatCompletions => {
                let writer = |model| encode::Chunks::new(head("chatcmpl", model), false);
                let request = openai::peek::request(body)?;
                if request.source().map(openai::peek::stored).transpose()?.flatten().is_some() {
                    let message = "a request of a batch is kept in the batch's file only: leave 'store' out";
                    return Err(Error::invalid("store", message));
                }
                self.chat(cx, request, writer).await?
            }
            Endpoint::Completions => {
                let writer = |model| completions::encode::Pieces::new(head("cmpl", model), false);
                self.chat(cx, completions::request::request(body)?, writer).await?
            }
            Endpoint::Messages => {
                let id = format!("msg_{}", cx.request);
                let writer = |model| anthropic::stream::Writer::new(anthropic::answer::Answer::new(id, model));
                self.chat(cx, anthropic::peek::request(body)?, writer).await?
            }
            Endpoint::Embeddings => {
                let request = embeddings::request(body)?;
                let reply = self.inference.embed(cx, request.clone()).await?;
                embeddings::answer_in(&request, reply)?
            }
        };
        one_line(&answer)
    }

    async fn chat<W: Writes>(&self, cx: &Cx, request: ChatRequest, writer: impl FnOnce(String) -> W) -> Result<Bytes> {
        if request.stream {
            return Err(Error::invalid("stream", "a request of a batch is answered whole: leave 'stream' out"));
        }
        let ChatReply { head, frames } = self.inference.chat(cx, request).await?;
        let writer = (head.dialect != W::DIALECT).then(|| writer(head.model.clone()));
        reply::body(&head.provider, frames, writer).await
    }
}

#[async_trait]
impl Lines for Answers {
    fn read(&self, endpoint: Endpoint, input: &[u8]) -> Result<Vec<NewLine>, Vec<Fault>> {
        let lines = openai::batch::lines(input, endpoint.path()).map_err(|faults| {
            let told = |openai::batch::Fault { code, message, param, line }| Fault {
                code: String::from(code),
                message,
                param,
                line,
            };
            faults.into_iter().map(told).collect::<Vec<_>>()
        })?;
        let line = |openai::batch::Line { custom_id, body }| NewLine { custom_id, request: body };
        Ok(lines.into_iter().map(line).collect())
    }

    async fn ask(&self, cx: &Cx, endpoint: Endpoint, request: String) -> (Answer, Again) {
        let error = match self.whole(cx, endpoint, request.into()).await {
            Ok(body) => return (Answer { succeeded: true, status: 200, body }, Again::No),
            Err(error) => error,
        };
        problem::log(&error);
        let again = match error.kind {
            Kind::RateLimited | Kind::Unavailable | Kind::Timeout => Again::Later(error.retry_after),
            // A server that is down or broke off may be up again soon.
            Kind::Upstream if !error.code.as_deref().is_some_and(|code| LASTING.contains(&code)) => {
                Again::Later(error.retry_after)
            }
            _ => Again::No,
        };
        (self.refused(cx, endpoint, &error), again)
    }

    fn refused(&self, cx: &Cx, endpoint: Endpoint, error: &Error) -> Answer {
        let (status, body) = match endpoint {
            Endpoint::Messages => (anthropic::error::status(error.kind), anthropic::error::body(error, &cx.request)),
            _ => (status::shown(error.kind).status, status::openai_body(error, &cx.request)),
        };
        Answer { succeeded: false, status, body: body.to_string() }
    }

    fn write(&self, batch_id: &str, line: &EndedLine) -> String {
        use openai::batch::Answered;
        let answered = match line.outcome {
            Outcome::Succeeded => Answered::Told(line.status, &line.body),
            Outcome::Failed if line.body.is_empty() => Answered::Lost,
            Outcome::Failed => Answered::Told(line.status, &line.body),
            Outcome::Cancelled => Answered::Cancelled,
            Outcome::Expired => Answered::Expired,
        };
        let request_id = request_id(batch_id, line.pos);
        openai::batch::written(&format!("batch_req_{request_id}"), &request_id, &line.custom_id, answered)
    }
}

/// The code of an answer that cannot stand in a file of lines.
const NOT_JSON: &str = "answer_not_json";

/// Codes of failures upstream that time does not mend: a key that is refused, an address that is not there, and an answer
/// that was paid for and is none.
const LASTING: [&str; 3] = [CREDENTIALS, openai::error::NO_ADDRESS, NOT_JSON];

/// JSON on one line: between its tokens a line feed is as good as a space, and inside them there is none.
fn one_line(body: &[u8]) -> Result<String> {
    serde_json::from_slice::<&RawValue>(body)
        .map_err(|e| Error::upstream("the provider's answer is not JSON").with_code(NOT_JSON).with_source(e))?;
    let text = std::str::from_utf8(body).map_err(|e| Error::internal("could not read JSON as text", e))?;
    Ok(text.trim().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_that_asks_to_be_stored_is_refused_by_name() {
        let whole = crate::testing::Frames::whole();
        let clock = frontdesk_api::clock::FixedClock::at(0);
        let answers = Answers { inference: Arc::new(whole), clock: Arc::new(clock) };
        let cx = Cx::internal("t", "r");
        let ask = async |store: &str| {
            let body = format!(r#"{{"model":"echo","messages":[{{"role":"user","content":"hi"}}],"store":{store}}}"#);
            answers.whole(&cx, Endpoint::ChatCompletions, body.into()).await
        };
        assert_eq!(ask("true").await.expect_err("refused").param.as_deref(), Some("store"));
        assert!(ask("false").await.is_ok());
    }

    #[tokio::test]
    async fn a_line_is_asked_again_while_its_provider_is_down_and_not_where_time_mends_nothing() {
        use crate::testing::{Frames, frame};
        let cut = || vec![Err(Error::upstream("cut"))];
        let refused = || vec![Err(Error::upstream("refused").with_code(CREDENTIALS))];
        let page = || vec![Ok(frame("<html>"))];
        let wrong = || vec![Err(Error::invalid("n", "bad n"))];
        for (frames, again) in
            [(cut as fn() -> Vec<_>, Again::Later(None)), (refused, Again::No), (page, Again::No), (wrong, Again::No)]
        {
            let up = Frames { streaming: false, frames };
            let clock = Arc::new(frontdesk_api::clock::FixedClock::at(0));
            let answers = Answers { inference: Arc::new(up), clock };
            let body = r#"{"model":"echo","messages":[{"role":"user","content":"hi"}]}"#;
            let asked = answers.ask(&Cx::internal("t", "r"), Endpoint::ChatCompletions, body.into()).await;
            assert_eq!((asked.0.succeeded, asked.1), (false, again), "{}", asked.0.body);
        }
    }

    #[test]
    fn an_answer_on_many_lines_becomes_one_that_means_the_same() {
        let said = one_line(b"{\r\n  \"a\": \"x\\ny\",\n  \"n\": 1.50\n}\n").expect("JSON");
        assert_eq!(said, "{    \"a\": \"x\\ny\",   \"n\": 1.50 }");
        assert_eq!(one_line(b"<html>").expect_err("no JSON").kind, Kind::Upstream);
    }
}
