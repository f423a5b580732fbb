//! Texts to vectors, with models that are made for it.
//!
//! One input after the other, with the seat of the model, in a task of its own that outlives its client: the engine must
//! never meet a reader that has left. Invariant: an input is computed as it came or refused by its place, never cut.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdesk_api::chat::Usage;
use frontdesk_api::embed::{Embed, Input, MOST_INPUTS};
use frontdesk_wire::openai::embeddings;
use mistralrs::{NormalRequest, Request, RequestMessage, Response, SamplingParams};
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

use super::admission::Seat;
use super::model::{LoadedModel, NotCounted};
use super::problem::Problem;

/// The engine's attention makes no mask for a single token and panics without one (mistralrs-core 0.8.1,
/// `embedding_models/qwen3_embedding.rs`).
const FEWEST_TOKENS: usize = 2;

/// A request that has been read.
pub(crate) struct EmbedBody {
    pub(crate) model: String,
    asked: Embed,
    base64: bool,
}

impl EmbedBody {
    /// Reads OpenAI's request.
    ///
    /// # Errors
    /// `invalid` naming the member that is wrong, or that this engine does not do.
    pub(crate) fn read(body: &[u8]) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Named {
            model: String,
        }
        let refused = |cause: frontdesk_api::Error| match cause.param {
            Some(param) => Problem::invalid(param, cause.message),
            None => Problem::malformed(cause.message),
        };
        let asked = embeddings::decode(body).map_err(refused)?;
        let base64 = embeddings::wants_base64(&asked).map_err(refused)?;
        let named: Named =
            serde_json::from_slice(body).map_err(|cause| Problem::invalid("model", format!("'model': {cause}")))?;
        if asked.dimensions.is_some() {
            return Err(Problem::invalid("dimensions", "this engine gives whole vectors; leave 'dimensions' out"));
        }
        if asked.input.len() > MOST_INPUTS {
            let message = format!("'input' has {} texts: at most {MOST_INPUTS} go into a request", asked.input.len());
            return Err(Problem::invalid("input", message));
        }
        Ok(Self { model: named.model, asked, base64 })
    }

    /// Carries the request out.
    ///
    /// # Errors
    /// What is wrong with an input, or with the engine.
    pub(crate) async fn answer(self, model: Arc<LoadedModel>, seat: Seat) -> Result<Bytes, Problem> {
        let (told, answer) = oneshot::channel();
        let (name, base64) = (self.model, self.base64);
        tokio::spawn(carry_out(model, self.asked.input, seat, told));
        let (vectors, tokens) = answer.await.map_err(|_gone| Problem::engine("the answer broke off"))??;
        let usage = Usage { input_tokens: tokens, ..Usage::default() };
        Ok(embeddings::encode_answer(&name, &vectors, usage, base64))
    }
}

type Vectors = Result<(Vec<Vec<f32>>, u64), Problem>;

async fn carry_out(model: Arc<LoadedModel>, inputs: Vec<Input>, seat: Seat, told: oneshot::Sender<Vectors>) {
    let seated = Instant::now();
    let (mut vectors, mut tokens, mut failed) = (Vec::with_capacity(inputs.len()), 0, None);
    for (index, input) in inputs.iter().enumerate() {
        if told.is_closed() {
            break;
        }
        match model.vector(index, input).await {
            Ok((vector, read)) => {
                vectors.push(vector);
                tokens += read;
            }
            Err(problem) => {
                failed = Some(problem);
                break;
            }
        }
    }
    let counters = &model.counters;
    counters.prompt_tokens.fetch_add(tokens, Relaxed);
    let counter = match (&failed, told.is_closed()) {
        (_, true) => &counters.cancelled,
        (Some(_), false) => &counters.failed,
        (None, false) => &counters.finished,
    };
    counter.fetch_add(1, Relaxed);
    counters.seat.observe(seated.elapsed());
    model.touch();
    drop(seat);
    let _ = told.send(failed.map_or(Ok((vectors, tokens)), Err));
}

impl LoadedModel {
    /// The vector of one input, and its tokens.
    async fn vector(&self, index: usize, input: &Input) -> Result<(Vec<f32>, u64), Problem> {
        let place = format!("input[{index}]");
        for _ in 0..2 {
            let tokens = match input {
                Input::Tokens(tokens) => tokens.clone(),
                Input::Text(text) => match self.tokens(text).await {
                    Ok(tokens) => tokens,
                    Err(NotCounted::Refused(cause)) => return Err(Problem::invalid(place, cause)),
                    Err(NotCounted::Gone) => {
                        self.revive().await;
                        continue;
                    }
                },
            };
            if tokens.len() < FEWEST_TOKENS {
                let message = format!("'{place}' has {} tokens; this engine computes two or more", tokens.len());
                return Err(Problem::invalid(place, message));
            }
            if tokens.len() > self.context {
                let mut problem = Problem::prompt_too_long(tokens.len(), self.context);
                problem.param = Some(place);
                return Err(problem);
            }
            // The engine looks a token up unchecked: beyond the last row a GPU is lost to the process.
            if let Some(unknown) =
                tokens.iter().find(|token| self.vocabulary.is_some_and(|all| **token as usize >= all))
            {
                let message = format!("'{place}' has the token {unknown}, which this model does not have");
                return Err(Problem::invalid(place, message));
            }
            let read = tokens.len() as u64;
            match self.computed(tokens).await {
                Some(vector) => return vector.map(|vector| (vector, read)),
                None => self.revive().await,
            }
        }
        Err(Problem::engine("the engine stopped at this input"))
    }

    /// None where the engine thread died.
    async fn computed(&self, tokens: Vec<u32>) -> Option<Result<Vec<f32>, Problem>> {
        let (response, mut answer) = mpsc::channel(2);
        let id = self.engine.inner().next_request_id();
        let messages = RequestMessage::EmbeddingTokens { prompt: tokens };
        let request = NormalRequest::new_simple(messages, SamplingParams::deterministic(), response, id, None, None);
        if !self.send(Request::Normal(Box::new(request))).await {
            return None;
        }
        let told = match self.in_time(answer.recv()).await? {
            Response::Embeddings { embeddings, .. } => Ok(embeddings),
            Response::ValidationError(cause) => Err(Problem::malformed(format!("the engine refused: {cause}"))),
            Response::InternalError(cause) => Err(self.failed("engine", &cause.to_string())),
            Response::ModelError(cause, _) | Response::CompletionModelError(cause, _) => {
                Err(self.failed("model", &cause))
            }
            _ => Err(Problem::engine("the engine answered with something that is no vector")),
        };
        // The seat is free when the engine has dropped the sequence.
        let let_go = async { while answer.recv().await.is_some() {} };
        self.in_time(let_go).await;
        Some(told)
    }

    /// A first text, as `warm_up` has a first prompt.
    pub(crate) async fn warm_up_vectors(&self) -> Result<Duration, String> {
        let began = Instant::now();
        let ended = || "the engine ended before its first text".to_owned();
        let tokens = self.tokens("Hello, how are you?").await.map_err(|cause| match cause {
            NotCounted::Refused(cause) => cause,
            NotCounted::Gone => ended(),
        })?;
        self.computed(tokens).await.ok_or_else(ended)?.map_err(|problem| problem.message)?;
        Ok(began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn refusal(body: Value) -> Option<String> {
        EmbedBody::read(body.to_string().as_bytes()).err().unwrap().param
    }

    #[test]
    fn what_this_engine_does_not_do_is_refused_by_name() {
        for (body, param) in [
            (json!({"model": "m"}), "input"),
            (json!({"model": "m", "input": ["a", {}]}), "input[1]"),
            (json!({"model": "m", "input": "a", "dimensions": 8}), "dimensions"),
            (json!({"model": "m", "input": "a", "encoding_format": "hex"}), "encoding_format"),
            (json!({"model": "m", "input": vec!["a"; 2049]}), "input"),
            (json!({"input": "a"}), "model"),
        ] {
            assert_eq!(refusal(body).as_deref(), Some(param));
        }
        assert!(EmbedBody::read(br#"{"model":"m","input":[[1,2],[3]],"encoding_format":"base64"}"#).is_ok());
    }
}
