//! One answer: submit it, drain the engine, hand the pieces on, wait until the engine has let go.
//!
//! Runs as a task of its own that outlives the client, because the engine must never meet a reader that does not read
//! (it stalls everyone) nor have two sequences running on the CPU (it mixes them). Invariant: the seat is held until the
//! engine has dropped every handle of the sequence.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mistralrs::{CustomLogitsProcessor, NormalRequest, Request, RequestMessage, Response, ToolChoice};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::admission::Seat;
use super::calls::Call;
use super::model::{LoadedModel, NotCounted, TemplateInput};
use super::plan::{Plan, Reading};
use super::problem::Problem;
use super::voice::Voice;

/// Room in the engine's channel beyond one response a token, so that its sends never wait.
const SPARE: usize = 16;
const LETTING_GO_PAUSE: Duration = Duration::from_millis(1);

/// A piece of an answer.
#[derive(Debug)]
pub(crate) enum Event {
    Text(String),
    Reasoning(String),
    Call(Call),
    /// OpenAI `logprobs.content[]` of one token.
    Logprob(Value),
    /// The last one of a good answer.
    Finish {
        reason: &'static str,
        usage: Usage,
    },
    /// The last one of a bad answer.
    Failed(Problem),
}

/// Token counts of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) prompt: usize,
    pub(crate) answer: usize,
}

/// How one attempt ended.
enum Outcome {
    /// The client has been told everything, or has left.
    Over,
    /// The engine thread died; `spoken`: the client has seen a part of the answer.
    Died { spoken: bool },
}

/// Carries out `plan`, sending the pieces to `out`, and gives `seat` back when the engine is free again.
pub(crate) async fn answer(
    model: Arc<LoadedModel>,
    plan: Plan,
    seat: Seat,
    arrival: Instant,
    out: mpsc::UnboundedSender<Event>,
) {
    let seated = Instant::now();
    for last in [false, true] {
        let Outcome::Died { spoken } = attempt(&model, &plan, arrival, &out).await else { break };
        model.revive().await;
        if last || spoken {
            model.counters.failed.fetch_add(1, Relaxed);
            let _ = out.send(Event::Failed(Problem::engine("the engine stopped in the middle of this answer")));
            break;
        }
    }
    model.counters.seat.observe(seated.elapsed());
    model.keeps_one_more().await;
    model.touch();
    drop(seat);
}

/// The tokens of the prompt that `plan` makes. Must run to its end, as `count`.
///
/// # Errors
/// `invalid` where the chat template refuses the messages.
pub(crate) async fn prompt_tokens(model: &LoadedModel, plan: &Plan) -> Result<usize, Problem> {
    for _ in 0..2 {
        match model.count(&input(plan)).await {
            Ok(tokens) => return Ok(tokens),
            Err(NotCounted::Refused(cause)) => return Err(not_taken(&cause)),
            Err(NotCounted::Gone) => model.revive().await,
        }
    }
    Err(Problem::engine("the engine stopped while it counted"))
}

fn input(plan: &Plan) -> TemplateInput<'_> {
    TemplateInput {
        messages: &plan.messages,
        images: plan.images.len(),
        tools: &plan.tools,
        thinking: plan.thinking,
        effort: plan.effort,
    }
}

fn not_taken(cause: &str) -> Problem {
    Problem::invalid("messages", format!("the model's chat template does not take these messages: {cause}"))
}

async fn attempt(model: &LoadedModel, plan: &Plan, arrival: Instant, out: &mpsc::UnboundedSender<Event>) -> Outcome {
    let refuse = |problem| {
        model.counters.failed.fetch_add(1, Relaxed);
        let _ = out.send(Event::Failed(problem));
        Outcome::Over
    };
    let prompt = match model.count(&input(plan)).await {
        Ok(tokens) => tokens,
        Err(NotCounted::Gone) => return Outcome::Died { spoken: false },
        Err(NotCounted::Refused(cause)) => return refuse(not_taken(&cause)),
    };
    if prompt >= model.context {
        return refuse(Problem::prompt_too_long(prompt, model.context));
    }
    let room = model.context - prompt;
    let limit = plan.max_tokens.map_or(room, |asked| asked.min(room));
    let _room = tokio::select! {
        room = model.admission.room(prompt + limit) => room,
        () = out.closed() => {
            model.counters.cancelled.fetch_add(1, Relaxed);
            return Outcome::Over;
        }
    };
    let (response, pieces) = mpsc::channel(limit + SPARE);
    let request = engine_request(model, plan, limit, response);
    if !model.send(Request::Normal(Box::new(request))).await {
        return Outcome::Died { spoken: false };
    }
    model.counters.prompt_tokens.fetch_add(prompt as u64, Relaxed);
    let mut drain = Drain {
        model,
        voice: Voice::new(plan.reading, plan.stops.clone(), plan.one_call, out),
        pieces,
        arrival,
        prompt,
        limit,
        tokens: 0,
        last: None,
    };
    let outcome = drain.run(out).await;
    drain.let_go().await;
    outcome
}

fn engine_request(model: &LoadedModel, plan: &Plan, limit: usize, response: mpsc::Sender<Response>) -> NormalRequest {
    let (messages, enable_thinking, reasoning_effort) = (plan.messages.clone(), plan.thinking, plan.effort);
    let messages = if plan.images.is_empty() {
        RequestMessage::Chat { messages, enable_thinking, reasoning_effort }
    } else {
        let (images, audios, videos) = (plan.images.clone(), Vec::new(), Vec::new());
        RequestMessage::MultimodalChat { images, audios, videos, messages, enable_thinking, reasoning_effort }
    };
    let mut sampling = plan.sampling.clone();
    sampling.max_len = Some(limit);
    let tools = (!plan.tools.is_empty()).then(|| plan.tools.clone());
    // The template shows the tools in either case; this says who looks for calls in the text.
    let choice = if plan.reading == Reading::Engine { ToolChoice::Auto } else { ToolChoice::None };
    let id = model.engine.inner().next_request_id();
    let mut request = NormalRequest::new_simple(messages, sampling, response, id, tools, Some(choice));
    request.is_streaming = true;
    request.constraint = plan.constraint.clone();
    request.return_logprobs = plan.logprobs;
    request.logits_processors =
        plan.seeded.as_ref().map(|seeded| vec![Arc::new(seeded.clone()) as Arc<dyn CustomLogitsProcessor>]);
    request
}

/// The engine's side of an answer while it comes.
struct Drain<'a> {
    model: &'a LoadedModel,
    voice: Voice<'a>,
    pieces: mpsc::Receiver<Response>,
    arrival: Instant,
    prompt: usize,
    limit: usize,
    /// Pieces so far, close to the tokens so far.
    tokens: usize,
    last: Option<Instant>,
}

impl Drain<'_> {
    async fn run(&mut self, out: &mpsc::UnboundedSender<Event>) -> Outcome {
        loop {
            let piece = tokio::select! {
                biased;
                () = out.closed() => {
                    self.model.counters.cancelled.fetch_add(1, Relaxed);
                    return Outcome::Over;
                }
                piece = self.model.in_time(self.pieces.recv()) => piece,
            };
            let problem = match piece {
                Some(Response::Chunk(chunk)) => {
                    self.clock();
                    let usage = chunk.usage.as_ref().map(|usage| usage.completion_tokens);
                    let Some(choice) = chunk.choices.into_iter().next() else { continue };
                    // The token that ends an answer stands in no list of OpenAI's.
                    let ends = choice.finish_reason.as_deref() == Some("stop");
                    if let Some(logprob) = choice.logprobs.filter(|one| !(ends && one.token.is_empty())) {
                        self.voice.logprob(logprob_document(&logprob));
                    }
                    self.voice.delta(choice.delta);
                    let over = self.voice.over().then(|| "tool_calls".to_owned());
                    if let Some(reason) = choice.finish_reason.or(over) {
                        self.finish(&reason, usage.unwrap_or(self.tokens));
                        return Outcome::Over;
                    }
                    continue;
                }
                Some(Response::ValidationError(cause)) => Problem::malformed(format!("the engine refused: {cause}")),
                Some(Response::InternalError(cause)) => self.model.failed("engine", &cause.to_string()),
                Some(Response::ModelError(cause, _)) => self.model.failed("model", &cause),
                Some(_) => Problem::engine("the engine answered with something that is not a chat"),
                None if self.model.answers().await => {
                    // The engine sends no last piece when the answer ends inside a character.
                    let reason = if self.tokens + 1 >= self.limit { "length" } else { "stop" };
                    self.finish(reason, self.tokens);
                    return Outcome::Over;
                }
                None => return Outcome::Died { spoken: self.voice.spoken() },
            };
            self.model.counters.failed.fetch_add(1, Relaxed);
            let _ = out.send(Event::Failed(problem));
            return Outcome::Over;
        }
    }

    fn clock(&mut self) {
        let now = Instant::now();
        match self.last.replace(now) {
            None => self.model.counters.first_token.observe(now - self.arrival),
            Some(before) => self.model.counters.inter_token.observe(now - before),
        }
        self.tokens += 1;
    }

    fn finish(&mut self, reason: &str, answer: usize) {
        self.model.counters.answer_tokens.fetch_add(answer as u64, Relaxed);
        self.model.counters.finished.fetch_add(1, Relaxed);
        self.voice.finish(reason, Usage { prompt: self.prompt, answer });
    }

    /// Waits until the engine has dropped the sequence: only then is it idle.
    async fn let_go(mut self) {
        // The engine notices a closed channel at its next token and ends the sequence there.
        self.pieces.close();
        let idle = async {
            while self.pieces.sender_strong_count() > 0 {
                tokio::time::sleep(LETTING_GO_PAUSE).await;
            }
        };
        self.model.in_time(idle).await;
    }
}

fn logprob_document(logprob: &mistralrs::core::ResponseLogprob) -> Value {
    let top: Vec<Value> = logprob
        .top_logprobs
        .iter()
        .map(|one| {
            let token = one.bytes.clone().unwrap_or_default();
            json!({"token": token, "logprob": natural(one.logprob), "bytes": token.as_bytes()})
        })
        .collect();
    let token = &logprob.token;
    json!({"token": token, "logprob": natural(logprob.logprob), "bytes": token.as_bytes(), "top_logprobs": top})
}

/// The engine counts in powers of ten, the wire in powers of e; the wire writes an impossible token as -9999.
fn natural(log10: f32) -> f64 {
    (f64::from(log10) * std::f64::consts::LN_10).max(-9999.0)
}

impl LoadedModel {
    /// An error of the engine's; ends the process where the GPU answers this process nothing any more.
    pub(crate) fn failed(&self, who: &str, cause: &str) -> Problem {
        if lost_card(cause) {
            tracing::error!(model = %self.id, "the GPU is lost to this process, ending: {cause}");
            std::process::exit(1);
        }
        Problem::engine(format!("the {who} failed: {cause}"))
    }
}

/// Whether every later use of the card by this process fails too (CUDA's documentation of its errors: "the context cannot
/// be used, so it must be destroyed"). Too little memory is no such error.
fn lost_card(cause: &str) -> bool {
    let lost = [
        "ILLEGAL_ADDRESS",
        "LAUNCH_TIMEOUT",
        "ASSERT",
        "HARDWARE_STACK_ERROR",
        "ILLEGAL_INSTRUCTION",
        "MISALIGNED_ADDRESS",
        "INVALID_ADDRESS_SPACE",
        "INVALID_PC",
        "LAUNCH_FAILED",
        "ECC_UNCORRECTABLE",
    ];
    cause.split("CUDA_ERROR_").skip(1).any(|named| lost.iter().any(|name| named.starts_with(name)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::args::{EngineArgs, ModelSpec};
    use crate::engine::load::{Files, load};
    use crate::engine::request::ChatBody;
    use futures::FutureExt;
    use mistralrs::core::TokenizationRequest;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        engine: EngineArgs,
    }

    #[test]
    fn a_card_is_lost_by_a_wrong_access_and_not_by_too_little_memory() {
        assert!(lost_card("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")"));
        assert!(!lost_card("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"));
        assert!(!lost_card("shape mismatch in broadcast_add"));
    }

    async fn tiny() -> Arc<LoadedModel> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/gateway/demo/model");
        let spec = ModelSpec::parse(&format!("tiny={}", folder.display())).unwrap();
        let line: Line = clap::Parser::parse_from(["engine", "--model", "unused=/", "--socket", "/unused"]);
        let files = Files::open(&spec).unwrap();
        Arc::new(load(&spec, files, &line.engine, &Arc::default()).await.unwrap())
    }

    async fn ask(model: &Arc<LoadedModel>) -> Vec<Event> {
        let body = br#"{"model":"tiny","messages":[{"role":"user","content":"Say \"red green\""}],"temperature":0}"#;
        let plan = Plan::new(&ChatBody::read(body).unwrap(), model).unwrap();
        let seat = model.admission.enter(None).await.unwrap();
        let (out, mut events) = mpsc::unbounded_channel();
        answer(Arc::clone(model), plan, seat, Instant::now(), out).await;
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        all
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_dead_engine_thread_is_started_again_under_the_request_that_finds_it() {
        let model = tiny().await;
        let mut let_go = Box::pin(Arc::clone(&model).gone());
        // The engine panics when the reader of a token count has left.
        let (response, gone) = mpsc::channel(1);
        drop(gone);
        let count = TokenizationRequest {
            text: either::Either::Right("a".into()),
            tools: None,
            add_generation_prompt: false,
            add_special_tokens: false,
            enable_thinking: None,
            reasoning_effort: None,
            response,
        };
        assert!(model.send(Request::Tokenize(count)).await);
        let events = ask(&model).await;
        assert!(matches!(events.last(), Some(Event::Finish { reason: "stop", .. })), "{events:?}");
        assert_eq!(model.counters.engine_restarts.load(Relaxed), 1);
        assert!(model.alive.load(Relaxed));
        assert_eq!(model.admission.running(), 0);
        assert!(let_go.as_mut().now_or_never().is_none(), "the first thread has ended; the model is still here");
        drop(model);
        let_go.await;
    }

    #[test]
    fn logarithms_are_natural_and_finite() {
        assert!((natural(-1.0) + std::f64::consts::LN_10).abs() < 1e-9);
        assert_eq!(natural(f32::NEG_INFINITY), -9999.0);
    }
}
