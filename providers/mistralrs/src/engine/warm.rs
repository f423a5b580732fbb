//! The first prompt of a model, which no customer waits for.
//!
//! mistral.rs computes one step of its own while it loads and says nothing when that fails. This goes the whole way of a
//! chat instead: the template, the tokenizer, the prompt, and a step that writes. Invariants: a model that cannot answer is
//! told while it loads, not to the first who asks; what is spent here is in no counter.

use std::time::{Duration, Instant};

use either::Either;
use mistralrs::{NormalRequest, Request, RequestMessage, Response, SamplingParams};
use tokio::sync::mpsc;

use super::model::LoadedModel;
use super::prompt::TemplateMessage;

/// Tokens of the answer: the first comes out of reading the prompt, the second out of a step that writes.
const TOKENS: usize = 2;
/// Room for more pieces than there are tokens: the engine must not wait for us.
const ROOM: usize = 32;

impl LoadedModel {
    /// Answers a short prompt; how long that took.
    ///
    /// # Errors
    /// What the engine said instead of an answer.
    pub(crate) async fn warm_up(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let (response, mut pieces) = mpsc::channel(ROOM);
        let word = |text: &str| Either::Left(text.to_owned());
        let message: TemplateMessage =
            [("role".to_owned(), word("user")), ("content".to_owned(), word("Hello"))].into_iter().collect();
        let messages = RequestMessage::Chat { messages: vec![message], enable_thinking: None, reasoning_effort: None };
        let sampling = SamplingParams { max_len: Some(TOKENS), ..SamplingParams::deterministic() };
        let id = self.engine.inner().next_request_id();
        let mut request = NormalRequest::new_simple(messages, sampling, response, id, None, None);
        request.is_streaming = true;
        if !self.send(Request::Normal(Box::new(request))).await {
            return Err("the engine ended before its first prompt".into());
        }
        let mut answered = false;
        while let Some(piece) = self.in_time(pieces.recv()).await {
            match piece {
                Response::Chunk(_) => answered = true,
                Response::ModelError(cause, _) => return Err(cause),
                Response::InternalError(cause) | Response::ValidationError(cause) => return Err(cause.to_string()),
                _ => return Err("the engine answered with something that is not a chat".into()),
            }
        }
        // Kept, it would be the beginning of the first customer's prompt, and a seed draws otherwise from a prompt that goes
        // on from a kept one than from the same prompt read as a whole.
        self.lets_go_of_prefixes().await;
        // The engine sends no piece of an answer that ends inside a character.
        if answered || self.answers().await { Ok(began.elapsed()) } else { Err("the engine gave no answer".into()) }
    }
}
