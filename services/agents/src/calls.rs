//! The calls of one answer that run here, in waves: calls that only read, and questions to other agents, run beside each
//! other; every other call is a wave of its own.
//!
//! A wave begins when the one before it has ended, and is written whole before any of it begins. What its calls come to is
//! taken in the model's order, whichever ends first: rows, stream and the next prompt are those of calls that were made
//! one after another. Only the call that ends the turn is written behind all others, with the end: whoever takes up a
//! turn that lost its worker before that comes to the same end. What came and was not taken is lost with the process and nothing with it: a call that only reads is
//! made again, and an agent's answer stands in rows of its own.
//!
//! Invariants: the intent of a call is true before its work begins; a call that changes something has ended before the
//! next one begins; what came before a cancel or a deadline is kept. A wave runs in the turn's own task, so whatever ends
//! the task ends its calls. What ends the turn (a shield, a failure, a hand-over) lets what runs end first, as long as the
//! turn has time, and no wave begins behind it. A call beside another needs one of the process's places ([`Bounds::calls_beside`]); where none is free
//! it stands in the next wave, so no turn waits for another's calls.
//!
//! [`Bounds::calls_beside`]: crate::Bounds::calls_beside

use std::{
    collections::{HashMap, VecDeque},
    future::{Future, ready},
    sync::{Arc, Mutex},
};

use frontdesk_api::{
    Cx, Error, Kind, Result as Answered,
    chat::ToolCall,
    question::Person,
    safety::{Stage, Verdict},
    tools::{Effect, InputRequest, Outcome, ToolResult},
    turn::{HandOff, StepKind, StepOutput, TurnError},
};
use frontdesk_store::transcript::StoredStep;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::json;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tracing::Instrument as _;

use crate::{
    Observer, ToolEnd,
    asking::{Answer, asked_turn, share},
    close::Closing,
    fault::Point,
    guard::Judged,
    halt::{Halt, failed},
    open_calls::{Asks, Beside},
    questions::unanswered,
    tools::as_input,
    underway::Underway,
    worker::{Worker, call_of},
};

/// What a call's work came to.
enum Came {
    Result(ToolResult),
    Answer(Box<Answer>),
    /// It asks a person first ([`crate::questions`]).
    Asks(Box<InputRequest>),
}

/// A call that is begun next, with its place beside others.
type Next = (ToolCall, Option<OwnedSemaphorePermit>);

/// What ends the turn once its wave has ended.
pub(crate) enum End {
    /// The agent that was asked handed over. Its step is not ended before the turn is.
    HandedOver(Box<(StoredStep, ToolCall, ToolResult, HandOff)>),
    /// A shield stopped the result, which is written without its text. Its step is not ended before the turn is.
    Stopped(Box<(StoredStep, ToolCall, ToolResult, Judged)>),
    Failed(TurnError),
}

impl End {
    fn hands_over(&self) -> bool {
        match self {
            Self::HandedOver(..) => true,
            Self::Stopped(stopped) => matches!(stopped.3.verdicts.last(), Some((_, Verdict::HandOff { .. }))),
            Self::Failed(_) => false,
        }
    }

    /// Which end counts of several: the lowest, and of equals the first.
    fn rank(&self) -> u8 {
        match self {
            _ if self.hands_over() => 0,
            Self::Failed(_) => 2,
            _ => 1,
        }
    }
}

/// Calls on their way, by the numbers of their steps.
#[derive(Default)]
pub(crate) struct Wave {
    /// Not taken yet, in the model's order.
    pub(crate) calls: VecDeque<(StoredStep, ToolCall)>,
    running: FuturesUnordered<BoxFuture<'static, (i64, Answered<Came>)>>,
    came: HashMap<i64, Answered<Came>>,
    pub(crate) ends: Vec<End>,
    pub(crate) asks: Asks,
    underway: Underway,
}

impl Wave {
    /// Does something of the turn's own while the calls go on.
    pub(crate) async fn beside<T>(&mut self, own: impl Future<Output = T>) -> T {
        tokio::pin!(own);
        loop {
            tokio::select! {
                biased;
                done = &mut own => return done,
                Some((n, came)) = self.running.next() => drop(self.came.insert(n, came)),
            }
        }
    }
}

/// In the details of a result: the call was passed over, so many being allowed.
const PASSED_OVER: &str = "max_tool_calls";

/// Whether this step's call was passed over.
pub(crate) fn was_passed_over(step: &StoredStep) -> bool {
    let Some(StepOutput::ToolExecution { result, .. }) = &step.step.output else { return false };
    result.details.as_ref().is_some_and(|details| details.get(PASSED_OVER).is_some())
}

impl Worker {
    /// Does these calls. Returns the turn's end when one of them leads there.
    pub(crate) async fn run_here(&mut self, mut calls: VecDeque<ToolCall>) -> Result<Option<Closing>, Halt> {
        while !calls.is_empty() {
            self.pass_over(&mut calls);
            let next = match self.next_wave(&mut calls) {
                Ok(next) => next,
                Err(limit) => return Ok(Some(limit)),
            };
            let mut wave = Wave::default();
            if let Some(closing) = self.begin_wave(next, &mut wave).await? {
                return Ok(Some(closing));
            }
            self.pen.commit().await?;
            // A turn that is to stop begins nothing.
            self.wait(ready(Ok(()))).await?;
            let taken = self.take_all(&mut wave).await;
            let ends = std::mem::take(&mut wave.ends);
            match taken {
                Ok(()) => {}
                // What was decided in time counts, whatever still ran beside it.
                Err(Halt::Deadline) if !ends.is_empty() => self.keep(wave),
                Err(halt) => {
                    self.keep(wave);
                    self.record_stops(ends);
                    return Err(halt);
                }
            }
            if let Some(closing) = self.end_by(ends)? {
                return Ok(Some(closing));
            }
            if !self.waiting.is_empty() {
                // What a call asks is answered before what the model asked for after it begins.
                calls.retain(|call| self.is_begun(call));
            }
        }
        Ok(None)
    }

    /// The next call, and those behind it that may run beside it, counted. A limit that lets not even the first begin is
    /// the turn's end.
    fn next_wave(&mut self, calls: &mut VecDeque<ToolCall>) -> Result<Vec<Next>, Closing> {
        let one_by_one = self.spec.parallel_tool_calls == Some(false);
        let most = if one_by_one { 1 } else { self.room.deps.bounds.calls_at_once };
        let (mut next, mut agents): (Vec<Next>, u32) = (vec![], 0);
        while let Some(call) = calls.front() {
            let (asks, mut place) = (self.asks(call).is_some(), None);
            if let Some((first, _)) = next.first() {
                // What was begun before this worker has its share of the limits: no other's is reckoned beside it.
                let alike = self.is_begun(first) == self.is_begun(call);
                if next.len() >= most || !alike || !self.runs_beside(first) || !self.runs_beside(call) {
                    break;
                }
                if !self.is_enough_for(agents + u32::from(asks)) {
                    break;
                }
                // An agent takes its time: it has no place, but a share of what is left to this turn.
                if !asks {
                    let Ok(free) = Arc::clone(&self.room.beside).try_acquire_owned() else { break };
                    place = Some(free);
                }
            }
            if self.is_passed_over(call, 0) {
                break;
            }
            if !self.is_begun(call)
                && let Some(limit) = self.count()
            {
                if next.is_empty() {
                    return Err(limit);
                }
                break;
            }
            agents += u32::from(asks);
            next.extend(calls.pop_front().map(|call| (call, place)));
        }
        Ok(next)
    }

    /// Whether the request's `max_tool_calls` leaves this call out, with `more` counted that are not begun yet. A hand-over
    /// is none of the tools it counts.
    pub(crate) fn is_passed_over(&self, call: &ToolCall, more: usize) -> bool {
        let calls = u32::try_from(more).unwrap_or(u32::MAX).saturating_add(self.tool_calls);
        self.most_calls.is_some_and(|most| calls >= most) && !self.is_begun(call) && !self.is_hand_off(call)
    }

    /// Answers the calls at the front that are passed over.
    fn pass_over(&mut self, calls: &mut VecDeque<ToolCall>) {
        while let Some(call) = calls.pop_front_if(|call| self.is_passed_over(call, 0)) {
            self.pass_by(&call);
        }
    }

    /// Answers a call that is passed over. It is begun and ended by one commit, so whoever takes up the turn never takes it
    /// for one that may have been made.
    pub(crate) fn pass_by(&mut self, call: &ToolCall) {
        let most = self.most_calls.unwrap_or_default();
        let why = format!("not run: the limit of {most} tool calls (max_tool_calls) is reached; answer without it");
        let step = self.pen.begin(StepKind::ToolExecution, &call.id, Some(as_input(call)));
        let result = ToolResult { details: Some(json!({ PASSED_OVER: most })), ..ToolResult::error(&why) };
        // Words of ours: no shield has to see them.
        let judged = Judged { stage: Stage::ToolOutput, text: result.content.clone(), verdicts: vec![] };
        self.write_result(step, call.clone(), result, &judged);
    }

    /// Whether a call may run beside others of its kind. Agents that were asked themselves ask one after another: turns
    /// that ask turns would otherwise grow by a power.
    fn runs_beside(&self, call: &ToolCall) -> bool {
        if self.asks(call).is_some() {
            return self.asked_by.is_none();
        }
        // A tool of that name may have come after the agent was written.
        !self.is_hand_off(call)
            && self.effect_of(call) == Some(Effect::None)
            && self.def_of(call).is_some_and(|def| !def.alone)
    }

    /// Begins these calls, or goes on with those that were begun before this worker and have not ended: one is made again
    /// under its key where it may be repeated; of another nobody knows whether it was made, and it is never made again
    /// unseen. A hand-over, which runs by itself, is done at once; the turn's end where it is one.
    async fn begin_wave(&mut self, next: Vec<Next>, wave: &mut Wave) -> Result<Option<Closing>, Halt> {
        let asked_before = self.left.iter().filter(|step| asked_turn(step).is_some()).count();
        let asked = next.iter().filter(|(call, _)| self.asks(call).is_some() && !self.is_begun(call)).count();
        let agents = u32::try_from(asked_before + asked).unwrap_or(u32::MAX);
        // While one asks a person the turn's deadline moves, and whoever takes the calls ends them by it.
        let cx = match next.len() {
            0 | 1 => self.cx.clone(),
            _ => Cx { deadline: self.cx.deadline.filter(|_| !self.has_people()), ..self.cx.clone() },
        };
        for (call, place) in next {
            self.end_lost_questions(&call);
            let left = self.take_left(&call.id);
            let was_answered = left.is_some() && self.take_answers(&call);
            // A client brought what the call came to, or it must not be made. What was begun may have been made: of that
            // nobody says that it was not.
            let refused = || if left.is_none() { self.refused(&call) } else { None };
            let known = self.inbox.get(&call.id).cloned().or_else(refused);
            let hand_off = self.spec.hand_off.clone().filter(|_| self.is_hand_off(&call));
            let repeats = was_answered
                || hand_off.is_some()
                || self.asks(&call).is_some()
                || matches!(self.effect_of(&call), Some(Effect::None | Effect::Idempotent));
            let step = match left {
                Some(step) if known.is_some() => step,
                Some(step) if repeats => self.pen.again(step),
                Some(step) => {
                    let lost = "the worker was lost while the tool was called; whether it did its work is not known";
                    self.cut_off(step, failed("outcome_unknown", lost));
                    continue;
                }
                None => {
                    let intent = self.intent(&call);
                    self.pen.begin(StepKind::ToolExecution, &call.id, Some(intent))
                }
            };
            self.open.push(step.clone());
            let (n, place) = (step.step.n, Beside::new(Mutex::new(place)));
            if let (Some(hand_off), None) = (hand_off, &known) {
                return Box::pin(self.hand_on(step, call, &hand_off)).await;
            }
            let work = match known {
                Some(result) => ready(Ok(Came::Result(result))).boxed(),
                None => {
                    let cx = Cx { news: Some(wave.underway.news(n)), ..cx.clone() };
                    self.work_of(&cx, &call, &step, agents, wave.asks.person(n, Arc::clone(&place)))
                }
            };
            wave.running.push(Box::pin(async move {
                let _place = place;
                (n, work.await)
            }));
            wave.calls.push_back((step, call));
        }
        Ok(None)
    }

    /// What a call does. Nothing of it is done before it is asked for.
    fn work_of(
        &self,
        cx: &Cx,
        call: &ToolCall,
        step: &StoredStep,
        agents: u32,
        person: Arc<dyn Person>,
    ) -> BoxFuture<'static, Answered<Came>> {
        let step_id = step.step.id.clone();
        let cx = Cx { asking: self.asking(call, person), ..cx.clone() };
        let (agent, conversation) = (cx.agent.clone(), cx.conversation().map(str::to_owned));
        let span = move |call: &ToolCall| {
            tracing::info_span!(
                "execute_tool",
                gen_ai.operation.name = "execute_tool",
                gen_ai.tool.name = call.name,
                gen_ai.tool.call.id = call.id,
                // The convention's word for one that is called here, and not by the agent's client.
                gen_ai.tool.type = "extension",
                gen_ai.agent.id = agent,
                gen_ai.conversation.id = conversation,
                error.type = tracing::field::Empty,
                step = step_id,
            )
        };
        if self.asks(call).is_some() {
            let question = match self.question(call, step, share(self.left(), agents)) {
                Ok(question) => question,
                Err(why) => return ready(Ok(Came::Result(ToolResult::error(&why)))).boxed(),
            };
            let answer = Arc::clone(&self.room).answer_of(cx, question, self.pen.epoch());
            let call = call.clone();
            return async move {
                let span = span(&call);
                let answer = answer.instrument(span.clone()).await;
                note(&span, answer.as_ref().map(|answer| &answer.result));
                answer.map(|answer| Came::Answer(Box::new(answer)))
            }
            .boxed();
        }
        if self.def_of(call).is_none() {
            return ready(Ok(Came::Result(ToolResult::error(&self.no_tool(&call.name))))).boxed();
        }
        let (tools, observer) = (Arc::clone(&self.room.deps.tools), Arc::clone(&self.room.deps.observer));
        let (served, groups, approved) = (self.served(call), self.toolgroups.clone(), self.approved(call));
        let (call, key) = (call.clone(), step.idem_key.clone());
        async move {
            let span = span(&call);
            let mut told = Told { observer, tool: call.name.clone(), began: Instant::now(), end: ToolEnd::CutOff };
            let make = async {
                match &served {
                    Some((server, tool)) => tools.call_server(&cx, server, tool, &call, &key).await,
                    None => tools.call(&cx, &groups, &call, &key, approved).await,
                }
            };
            let outcome = make.instrument(span.clone()).await;
            let result = match outcome {
                Ok(Outcome::Done(result)) => Ok(result),
                Ok(Outcome::NeedsInput(request)) => {
                    told.end = ToolEnd::Asked;
                    return Ok(Came::Asks(Box::new(request)));
                }
                Err(error) => Err(error),
            };
            note(&span, result.as_ref());
            told.end = match &result {
                Ok(result) if !result.is_error => ToolEnd::Succeeded,
                Err(error) if error.kind == Kind::Cancelled => ToolEnd::CutOff,
                _ => ToolEnd::Failed,
            };
            result.map(Came::Result)
        }
        .boxed()
    }

    /// Takes what each call came to, in the model's order.
    async fn take_all(&mut self, wave: &mut Wave) -> Result<(), Halt> {
        while let Some(n) = wave.calls.front().map(|(step, _)| step.step.n) {
            let came = loop {
                if let Some(came) = wave.came.remove(&n) {
                    break came;
                }
                wave.beside(self.pen.commit()).await?;
                if wave.came.contains_key(&n) {
                    continue;
                }
                let (answered, poll) = (Arc::clone(&self.stop.answered), self.room.deps.pace.poll);
                let news = tokio::select! {
                    biased;
                    Some((n, came)) = wave.running.next() => {
                        wave.came.insert(n, came);
                        None
                    }
                    news = wave.asks.news(&answered, poll) => Some(news),
                    due = wave.underway.due() => {
                        self.show_progress(wave, due);
                        None
                    }
                    halt = self.stops() => return Err(halt),
                };
                self.withdraw(&mut wave.asks);
                if let Some(news) = news {
                    self.heed(wave, news).await?;
                }
            };
            self.withdraw(&mut wave.asks);
            let Some((step, call)) = wave.calls.pop_front() else { break };
            let handed_over = wave.ends.iter().any(End::hands_over);
            let end = wave.beside(self.take(step, call, came, handed_over)).await?;
            wave.ends.extend(end);
        }
        Ok(())
    }

    /// Ends a call by what it came to, as the shields let it pass. `handed_over`: one before it ends the turn so.
    async fn take(
        &mut self,
        step: StoredStep,
        call: ToolCall,
        came: Answered<Came>,
        handed_over: bool,
    ) -> Result<Option<End>, Halt> {
        self.pen.reach(Point::AfterEffect).await;
        let came = match came.map_err(|error| self.halt(&error)) {
            Ok(came) => came,
            Err(Halt::Failed(error)) => {
                self.cut_off(step, error.clone());
                return Ok(Some(End::Failed(error)));
            }
            Err(halt) => return Err(halt),
        };
        let came = match came {
            Came::Asks(request) => match self.ask_people(&step, &call, *request).await {
                Ok(None) => return Ok(None),
                Ok(Some(result)) => Came::Result(result),
                Err(Halt::Failed(error)) => return Ok(Some(End::Failed(error))),
                Err(halt) => return Err(halt),
            },
            came => came,
        };
        let (result, handed) = self.result_of(came);
        // Should the turn be stopped before it is written, its step ends with it.
        let kept = if handed.is_some() { not_handed_over(&result) } else { result.clone() };
        self.inbox.insert(call.id.clone(), kept.clone());
        if let Some(hand_off) = handed.filter(|_| !handed_over) {
            return Ok(Some(End::HandedOver(Box::new((step, call, result, hand_off)))));
        }
        let judged = match self.judge(Stage::ToolOutput, &kept.content).await {
            Ok(judged) => judged,
            Err(Halt::Failed(error)) => return Ok(Some(End::Failed(error))),
            Err(halt) => return Err(halt),
        };
        if judged.stops() {
            return Ok(Some(End::Stopped(Box::new((step, call, kept, judged)))));
        }
        self.write_result(step, call, kept, &judged);
        Ok(None)
    }

    /// Should the turn end before its questions are written, the call ends as one that only asked.
    async fn ask_people(
        &mut self,
        step: &StoredStep,
        call: &ToolCall,
        request: InputRequest,
    ) -> Result<Option<ToolResult>, Halt> {
        self.inbox.insert(call.id.clone(), unanswered());
        let put = self.put_questions(step, call, request).await?;
        self.inbox.remove(&call.id);
        Ok(put)
    }

    fn result_of(&mut self, came: Came) -> (ToolResult, Option<HandOff>) {
        match came {
            Came::Result(result) => (result, None),
            Came::Answer(answer) => self.answered(*answer),
            Came::Asks(_) => (unanswered(), None),
        }
    }

    /// Keeps what the calls of a wave that was stopped have come to: their steps end with it.
    fn keep(&mut self, mut wave: Wave) {
        while let Some(Some((n, came))) = wave.running.next().now_or_never() {
            wave.came.insert(n, came);
        }
        for (step, call) in wave.calls {
            if let Some(Ok(came)) = wave.came.remove(&step.step.n) {
                let (result, handed) = self.result_of(came);
                let kept = if handed.is_some() { not_handed_over(&result) } else { result };
                self.inbox.insert(call.id, kept);
            }
        }
    }

    /// The results that shields stopped, and what these said, where the turn did not end by it.
    fn record_stops(&mut self, ends: Vec<End>) {
        for end in ends {
            if let End::Stopped(stopped) = end {
                let (step, call, result, judged) = *stopped;
                self.write_result(step, call, result, &judged);
                self.record_all(&judged);
            }
        }
    }

    /// The turn's end, where calls of a wave lead there: a hand-over before a shield's stop before a failure.
    fn end_by(&mut self, mut ends: Vec<End>) -> Result<Option<Closing>, Halt> {
        let Some(at) = (0..ends.len()).min_by_key(|at| ends[*at].rank()) else { return Ok(None) };
        let end = ends.remove(at);
        self.record_stops(ends);
        match end {
            End::HandedOver(handed) => {
                let (step, call, result, hand_off) = *handed;
                Ok(Some(self.handed_over(step, call, result, hand_off)))
            }
            End::Stopped(stopped) => {
                let (step, call, result, judged) = *stopped;
                self.write_result(step, call, result, &judged);
                Ok(Some(self.stopped(&judged, None)))
            }
            End::Failed(error) => Err(Halt::Failed(error)),
        }
    }

    /// Whether this call was begun before this worker and has not ended.
    pub(crate) fn is_begun(&self, call: &ToolCall) -> bool {
        self.left.iter().any(|step| call_of(step).is_some_and(|left| left.id == call.id))
    }
}

/// What is written of an agent's hand-over that the turn did not end by.
fn not_handed_over(result: &ToolResult) -> ToolResult {
    let content = json!({ "said": result.content, "note": "the hand-over did not happen" }).to_string();
    ToolResult { content, ..result.clone() }
}

/// Notes on the call's span that it came to an error.
fn note(span: &tracing::Span, result: Result<&ToolResult, &Error>) {
    match result {
        Ok(result) if result.is_error => drop(span.record("error.type", "tool_error")),
        Err(error) => drop(span.record("error.type", crate::halt::reason(error).code)),
        Ok(_) => {}
    }
}

/// Tells how a tool's call ended, one that is dropped in the middle of it too.
struct Told {
    observer: Arc<dyn Observer>,
    tool: String,
    began: Instant,
    end: ToolEnd,
}

impl Drop for Told {
    fn drop(&mut self) {
        self.observer.tool_called(&self.tool, self.began.elapsed().as_secs_f64(), self.end);
    }
}
