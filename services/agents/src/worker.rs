//! The task of a turn: from its rows, one thing after another, to its end.
//!
//! It begins from rows alone, whether the turn is new, goes on after input or was left by another worker: what is done
//! is used, and the first thing that is missing is done. What was begun and not ended is in [`Worker::left`]: a model
//! call, a retrieval or a tool that may be repeated is done again under its old key; of a tool that may not, nobody
//! knows whether it was done, and the model and people are told so.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use frontdesk_api::{
    Cx, Error, Kind,
    agent::AgentSpec,
    approval::Decision,
    chat::{ToolCall, Usage},
    cx::Workspace,
    filter::FileFilter,
    question::Answer,
    safety::Stage,
    tools::{ToolDef, ToolResult},
    turn::{EventBody, HandOff, Item, ItemBody, StepKind, StepOutput, StepState},
};
use frontdesk_store::{
    claims::Claimed,
    transcript::{self, PastItem, StoredStep},
    turns::{AskedBy, OnInput, StoredTurn},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    Room, asking,
    close::Closing,
    fault::Point,
    guidelines,
    halt::{Halt, failed, reason},
    handing,
    pen::Pen,
    questions::is_put_away,
    running::Stop,
    seconds,
    servers::{self, Servers},
    think::Thought,
};

/// A deadline further away than this is none; adding more to an instant may not be possible.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What stands in the place of an earlier message that a shield stops.
const WITHHELD: &str = "(a shield withheld this message)";

pub(crate) struct Worker {
    pub(crate) room: Arc<Room>,
    /// With the turn's own cancel token and deadline.
    pub(crate) cx: Cx,
    pub(crate) spec: AgentSpec,
    pub(crate) pen: Pen,
    pub(crate) stop: Stop,
    pub(crate) deadline: Instant,
    pub(crate) on_input: OnInput,
    /// Groups of the agent and of this turn.
    pub(crate) toolgroups: Vec<String>,
    pub(crate) knowledge: Vec<String>,
    /// Of passages, the least score and which files are looked into.
    pub(crate) least_score: Option<f64>,
    pub(crate) file_filter: Option<FileFilter>,
    pub(crate) servers: Servers,
    /// The tools that run here, as listed for this turn.
    pub(crate) offered: Vec<ToolDef>,
    pub(crate) past: Vec<PastItem>,
    /// Items of this turn, as the model may see them.
    pub(crate) items: Vec<Item>,
    pub(crate) model_calls: u32,
    pub(crate) tool_calls: u32,
    /// How many calls the request lets run here.
    pub(crate) most_calls: Option<u32>,
    /// The client keeps what the model thought.
    pub(crate) seals_thoughts: bool,
    /// The turn whose tool this one is.
    pub(crate) asked_by: Option<AskedBy>,
    /// A person has the conversation.
    quiet: Option<HandOff>,
    /// Ids of calls that are taken in this conversation.
    pub(crate) call_ids: HashSet<String>,
    /// Steps that were begun here and have not ended.
    pub(crate) open: Vec<StoredStep>,
    /// What tools asked in this turn.
    pub(crate) questions: Vec<StoredStep>,
    /// Answers, by the questions' ids.
    pub(crate) answers: HashMap<String, Answer>,
    /// Calls that wait for answers.
    pub(crate) waiting: Vec<(StoredStep, ToolCall)>,
    /// Steps of client tools that wait for their results, and approvals that wait for a word.
    pub(crate) asked: Vec<StoredStep>,
    /// Steps that were begun before this worker and have not ended.
    pub(crate) left: Vec<StoredStep>,
    /// Ids of calls whose steps ended before this worker.
    pub(crate) ended: HashSet<String>,
    /// Results whose steps have not ended, by call id: what clients brought, and what calls here came to. Should the turn
    /// end first, the steps end with them.
    pub(crate) inbox: HashMap<String, ToolResult>,
    /// What people said to approvals whose steps have not ended, by the step's id.
    pub(crate) said: HashMap<String, Decision>,
    /// What people said, by call id.
    pub(crate) decided: HashMap<String, Decision>,
    /// What the last model call before this worker asked for.
    pending: Vec<ToolCall>,
    /// What the turn was asked has been looked at by its shields and shown.
    pub(crate) received: bool,
    /// The number of the next event when this worker began.
    first_seq: i64,
    /// What the turn's model calls cost so far, in nano-USD, as far as their models have prices.
    pub(crate) cost: i64,
    /// What this turn's code runs in, once there is some.
    pub(crate) container: Option<String>,
    /// The guidelines of this turn, as its model reads them.
    pub(crate) rules: String,
    /// What an earlier worker found of them ([`guidelines::found`]).
    pub(crate) matched: Option<Option<Vec<String>>>,
    /// What was left of the first attempt at the open model call is void from here on.
    void_from: Option<i64>,
}

/// Works on a turn to its end (or to its next wait). `fresh`: the items of a turn that was just begun here and that nobody
/// has worked on, so that there is nothing else to read of it.
pub(crate) async fn run(
    room: Arc<Room>,
    cx: Cx,
    spec: AgentSpec,
    claimed: Claimed,
    stop: Stop,
    fresh: Option<Vec<Item>>,
) {
    let stored = &claimed.stored;
    let span = tracing::info_span!(
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.id = stored.turn.agent_id,
        gen_ai.agent.name = spec.name,
        gen_ai.agent.version = stored.turn.agent_version,
        gen_ai.conversation.id = stored.conversation(),
        gen_ai.request.model = spec.model,
        gen_ai.usage.input_tokens = tracing::field::Empty,
        gen_ai.usage.output_tokens = tracing::field::Empty,
        error.type = tracing::field::Empty,
        turn = stored.turn.id,
        state = tracing::field::Empty,
        request = cx.request,
    );
    if let Some(trace) = &stored.request.trace {
        room.deps.observer.join(&span, trace);
    }
    if stored.epoch == 1 {
        room.deps.observer.begun(seconds(stored.turn.created_at, room.deps.clock.now()));
    }
    let work = async {
        let turn = stored.turn.id.clone();
        match Worker::load(room, cx, spec, claimed.clone(), stop, fresh).await {
            Ok(mut worker) => {
                let outcome = worker.drive().await;
                Box::pin(worker.close(outcome)).await;
            }
            Err(error) => {
                tracing::error!(turn, error = %error, cause = ?error.source, "the turn's rows cannot be read; it is taken up again");
            }
        }
    };
    // On the heap once: with everything a step awaits it is larger than a stack should carry.
    Box::pin(work.instrument(span)).await;
}

impl Worker {
    async fn load(
        room: Arc<Room>,
        cx: Cx,
        mut spec: AgentSpec,
        claimed: Claimed,
        stop: Stop,
        fresh: Option<Vec<Item>>,
    ) -> frontdesk_api::Result<Self> {
        let Claimed { mut stored, left: time, .. } = claimed;
        let id = &stored.turn.id;
        let mut void_from = None;
        let (steps, items, past, inbox) = match fresh {
            Some(items) => (vec![], items, past(&room, &cx, &stored).await?, vec![]),
            None => {
                let mut tx = room.deps.store.tenant(&cx).read().await?;
                let (steps, items) = (transcript::steps(&mut tx, id).await?, transcript::items(&mut tx, id).await?);
                let inbox = transcript::inbox(&mut tx, id).await?;
                // Nothing else begins while a model call is open.
                if steps.iter().any(|s| s.step.state == StepState::Intent && s.step.kind == StepKind::Inference) {
                    void_from = transcript::newest_step_seq(&mut tx, id).await?.map(|began| began + 1);
                }
                // While it stood behind another turn of its session, a person may have taken the conversation.
                if let (true, None, Some(session)) =
                    (stored.next_seq <= 1, &stored.request.quiet, &stored.turn.session_id)
                {
                    stored.request.quiet = handing::quiet(&mut tx, session).await?;
                }
                drop(tx);
                (steps, items, past(&room, &cx, &stored).await?, inbox)
            }
        };
        let (questions, others): (Vec<_>, Vec<_>) = steps.iter().cloned().partition(is_put_away);
        let left: Vec<StoredStep> = others.into_iter().filter(|s| s.step.state == StepState::Intent).collect();
        let deadline = Instant::now() + Duration::from_micros(u64::try_from(time).unwrap_or(0)).min(LONGEST);
        let workspace = Workspace {
            id: stored.turn.session_id.as_ref().unwrap_or(id).clone(),
            conversation: stored.conversation().to_owned(),
            after: if stored.turn.session_id.is_none() { continued(&past) } else { vec![] },
            files: spec.code_files.clone(),
            container: spec.code_container.clone(),
        };
        let cx = Cx {
            workspace: Some(workspace),
            web_domains: spec.web_domains.clone(),
            agent: Some(stored.turn.agent_id.clone()),
            turn: Some(id.clone()),
            turn_epoch: stored.epoch,
            session: stored.turn.session_id.clone(),
            deadline: Some(deadline.into_std()),
            cancel: stop.token().clone(),
            ..cx
        };
        let (said, answers, results) = (came(&inbox), came(&inbox), came(&inbox));
        let count = |kind| u32::try_from(steps.iter().filter(|s| s.step.kind == kind).count()).unwrap_or(u32::MAX);
        // They count for nothing.
        let passed_over =
            u32::try_from(steps.iter().filter(|s| crate::calls::was_passed_over(s)).count()).unwrap_or(u32::MAX);
        let with = |own: &[String], more: &[String]| {
            let mut all = own.to_vec();
            all.extend(more.iter().filter(|id| !own.contains(id)).cloned());
            all
        };
        let cost;
        (stored.turn.usage, cost) = spent(&steps);
        let most_calls = stored.request.max_tool_calls;
        let (asked_by, quiet) = (stored.request.asked_by.clone(), stored.request.quiet.clone());
        spec.tool_choice = stored.request.tool_choice.clone().or(spec.tool_choice.take());
        let mut worker = Self {
            toolgroups: with(&spec.toolgroups, &stored.request.toolgroups),
            knowledge: with(&spec.knowledge, &stored.request.knowledge),
            least_score: stored.request.least_score,
            file_filter: stored.request.file_filter.clone(),
            servers: Servers::new(stored.request.servers.clone(), &items),
            offered: vec![],
            on_input: stored.on_input,
            inbox: results,
            said,
            answers,
            questions,
            waiting: vec![],
            decided: decided(&steps).into_iter().chain(servers::decided(&items, &stored.request.key_id)).collect(),
            pending: servers::first(&items, &steps).unwrap_or_else(|| asked_for(&steps)),
            ended: ended_calls(&steps),
            cost,
            container: None,
            rules: String::new(),
            matched: guidelines::found(&steps),
            left,
            received: stored.next_seq > 1,
            first_seq: stored.next_seq,
            void_from,
            model_calls: count(StepKind::Inference),
            tool_calls: count(StepKind::ToolExecution).saturating_sub(passed_over),
            most_calls,
            seals_thoughts: stored.request.seals_thoughts,
            call_ids: call_ids(past.iter().map(|p| &p.item).chain(&items)),
            open: vec![],
            asked: vec![],
            pen: Pen::new(
                &room,
                cx.clone(),
                stored,
                steps.last().map_or(0, |last| last.step.n + 1),
                items.last().map_or(0, |item| item.pos + 1),
            ),
            room,
            cx,
            spec,
            stop,
            deadline,
            past,
            items,
            asked_by,
            quiet,
        };
        steps.iter().filter_map(asking::took).for_each(|took| worker.count_asked(&took));
        Ok(worker)
    }

    async fn drive(&mut self) -> Result<Closing, Halt> {
        // The first thing that is written after a turn's creation is what it was asked.
        if self.first_seq <= 1
            && let Some(closing) = self.receive().await?
        {
            return Ok(closing);
        }
        if let Some(hand_off) = self.quiet.take() {
            return Ok(Closing::Quiet(hand_off));
        }
        self.recall().await?;
        self.guide().await?;
        let (tools, cx, groups) = (Arc::clone(&self.room.deps.tools), self.cx.clone(), self.toolgroups.clone());
        // No effect comes of it, so nothing need be written before.
        self.offered = self.wait(async { tools.list(&cx, &groups).await }).await?;
        Box::pin(self.list_servers()).await?;
        let mut calls = std::mem::take(&mut self.pending);
        if calls.iter().any(|call| self.is_code(call)) {
            Box::pin(self.find_container()).await?;
        }
        loop {
            if let Some(closing) = self.act(calls).await? {
                return Ok(closing);
            }
            if self.model_calls >= self.spec.limits.max_steps && !self.is_left(StepKind::Inference) {
                let message = format!("the turn reached its limit of {} model calls", self.spec.limits.max_steps);
                return Ok(Closing::Incomplete(failed("max_steps", message)));
            }
            if let Some(closing) = self.overspent() {
                return Ok(closing);
            }
            calls = match self.think().await? {
                Thought::Closed(closing) => return Ok(closing),
                Thought::Calls(calls) => calls,
            };
            if let Some(closing) = self.overspent() {
                return Ok(closing);
            }
        }
    }

    /// Whether a step of this kind was begun before this worker and has not ended.
    pub(crate) fn is_left(&self, kind: StepKind) -> bool {
        self.left.iter().any(|s| s.step.kind == kind)
    }

    /// A step of this kind: the one that an earlier worker left, begun again, or a new one.
    pub(crate) fn begin(&mut self, kind: StepKind, key: &str) -> StoredStep {
        let step = match self.left.iter().position(|s| s.step.kind == kind) {
            Some(at) => {
                let left = self.left.remove(at);
                self.pen.again(left)
            }
            None => self.pen.begin(kind, key, None),
        };
        self.open.push(step.clone());
        step
    }

    /// Ends a step that was begun.
    pub(crate) fn end(&mut self, step: StoredStep, state: StepState, output: Option<StepOutput>) {
        self.open.retain(|open| open.step.n != step.step.n);
        self.pen.end(step, state, output);
    }

    /// Says that what was shown of this step so far is void, if anything was.
    pub(crate) fn restart(&mut self, step: &StoredStep) {
        if let Some(from_seq) = self.void_from.take().filter(|from| *from < self.first_seq) {
            self.pen.event(EventBody::Restarted { step_id: step.step.id.clone(), from_seq });
        }
    }

    /// Shows what the turn was asked, once the input shields have seen it.
    async fn receive(&mut self) -> Result<Option<Closing>, Halt> {
        let mut judgements = vec![];
        let mut redacted = vec![];
        // A client that keeps the conversation sends again what was stopped then; that one message is left out, and
        // what is new gets its answer.
        let answered = self.items.iter().rposition(|item| item.body.answer().is_some());
        for i in 0..self.items.len() {
            let stage = match &self.items[i].body {
                ItemBody::Message { .. } | ItemBody::Refusal { .. } | ItemBody::Content { .. } => Stage::Input,
                _ => Stage::ToolOutput,
            };
            let Some(text) = self.items[i].body.words().map(Cow::into_owned) else { continue };
            let judged = self.judge(stage, &text).await?;
            if judged.stops() && answered.is_some_and(|at| i <= at) {
                self.items[i].body.withhold(WITHHELD);
                redacted.push(i);
                continue;
            }
            if judged.text != text && !judged.stops() {
                self.items[i].body.set_words(&judged.text);
                redacted.push(i);
            }
            let stops = judged.stops();
            judgements.push(judged);
            if stops {
                break;
            }
        }
        for i in redacted {
            self.pen.replace(&self.items[i]);
        }
        self.pen.event(EventBody::Input { items: self.items.clone() });
        self.received = true;
        for judged in &judgements {
            if judged.stops() {
                // What was blocked here is not put before a model in a later turn either.
                self.pen.hide();
                return Ok(Some(self.stopped(judged, None)));
            }
            self.record(judged);
        }
        Ok(None)
    }

    /// Writes what was pushed, then waits for work outside: no effect without its intent in a row.
    pub(crate) async fn call_out<T>(
        &mut self,
        work: impl Future<Output = frontdesk_api::Result<T>>,
    ) -> Result<T, Halt> {
        self.pen.commit().await?;
        let done = self.wait(work).await?;
        self.pen.reach(Point::AfterEffect).await;
        Ok(done)
    }

    /// Waits for work outside until it is done, the turn is stopped or its time is up. The work is dropped
    /// in the last two cases. Never used around a write: whether that happened must be known.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = frontdesk_api::Result<T>>) -> Result<T, Halt> {
        let done = tokio::select! {
            biased;
            halt = self.stops() => return Err(halt),
            done = work => done,
        };
        done.map_err(|error| self.halt(&error))
    }

    /// Resolves when the turn is to stop or its time is up.
    pub(crate) async fn stops(&self) -> Halt {
        tokio::select! {
            biased;
            () = self.stop.token().cancelled() => Halt::Stopped(self.stop.why()),
            () = tokio::time::sleep_until(self.deadline) => Halt::Deadline,
        }
    }

    /// What an error of work outside means to the turn.
    pub(crate) fn halt(&self, error: &Error) -> Halt {
        match error.kind {
            Kind::Cancelled if self.stop.token().is_cancelled() => Halt::Stopped(self.stop.why()),
            Kind::Timeout if Instant::now() >= self.deadline => Halt::Deadline,
            // Another room could not read its rows, and this one could not write its own: the turn is taken up again.
            _ if frontdesk_store::is_out_of_reach(error) => Halt::Rows(Error::new(error.kind, error.message.clone())),
            _ => {
                tracing::warn!(error = %error, cause = ?error.source, "work outside failed");
                Halt::Failed(reason(error))
            }
        }
    }
}

/// What came in of one kind, by its key.
fn came<T: DeserializeOwned>(inbox: &[(String, Value)]) -> HashMap<String, T> {
    inbox.iter().filter_map(|(key, came)| Some((key.clone(), serde_json::from_value(came.clone()).ok()?))).collect()
}

/// What a turn goes on from: what was said before it.
async fn past(room: &Room, cx: &Cx, stored: &StoredTurn) -> frontdesk_api::Result<Vec<PastItem>> {
    let tenant = room.deps.store.tenant(cx);
    match (&stored.turn.session_id, &stored.turn.parent) {
        // It knows what it was asked and nothing of who asked it.
        _ if stored.request.asked_by.is_some() => Ok(vec![]),
        (Some(_), _) if stored.pos == 0 => Ok(vec![]),
        (Some(session), _) => transcript::history(&mut tenant.glance().await?, session, stored.pos).await,
        (None, Some(parent)) => transcript::line(&mut tenant.glance().await?, parent).await,
        (None, None) => Ok(vec![]),
    }
}

/// The turns of these items, the newest first.
fn continued(past: &[PastItem]) -> Vec<String> {
    let mut turns: Vec<String> = past.iter().rev().map(|past| past.item.turn_id.clone()).collect();
    turns.dedup();
    turns
}

/// What a step's model call cost, in nano-USD; None where it made none or its model has no price.
pub(crate) fn cost_of(step: &StoredStep) -> Option<i64> {
    match step.step.output.as_ref()? {
        StepOutput::Inference { cost_nano_usd, .. } | StepOutput::Guidelines { cost_nano_usd, .. } => *cost_nano_usd,
        _ => None,
    }
}

/// What the model calls of these steps took and cost in nano-USD, those of turns that were asked in them included.
fn spent(steps: &[StoredStep]) -> (Usage, i64) {
    let (mut all, mut money) = (Usage::default(), 0_i64);
    for step in steps {
        if let Some(StepOutput::Inference { usage, .. } | StepOutput::Guidelines { usage, .. }) = &step.step.output {
            all.add(*usage);
        }
        money = money.saturating_add(cost_of(step).unwrap_or(0));
        if let Some(took) = asking::took(step) {
            all.add(took.usage);
            money = money.saturating_add(took.cost_nano_usd);
        }
    }
    (all, money)
}

/// The calls that the newest model call of these steps asked for; none while it has not ended.
fn asked_for(steps: &[StoredStep]) -> Vec<ToolCall> {
    let newest = steps.iter().rev().find(|s| s.step.kind == StepKind::Inference);
    match newest.and_then(|s| s.step.output.as_ref()) {
        Some(StepOutput::Inference { tool_calls, .. }) => tool_calls.clone(),
        _ => vec![],
    }
}

/// What people said to the calls of these steps.
fn decided(steps: &[StoredStep]) -> HashMap<String, Decision> {
    let words = steps.iter().filter_map(|s| match &s.step.output {
        Some(StepOutput::Approval { call, decision }) => Some((call.id.clone(), decision.clone())),
        _ => None,
    });
    words.collect()
}

fn ended_calls(steps: &[StoredStep]) -> HashSet<String> {
    steps.iter().filter(|s| s.step.state != StepState::Intent).filter_map(call_of).map(|call| call.id).collect()
}

/// The call that a tool's step was begun for.
pub(crate) fn call_of(step: &StoredStep) -> Option<ToolCall> {
    call_in(step).filter(|_| step.step.kind == StepKind::ToolExecution)
}

/// The call that a tool's step, or an approval, is about.
pub(crate) fn call_in(step: &StoredStep) -> Option<ToolCall> {
    serde_json::from_value(step.input.clone()?).ok()
}

fn call_ids<'i>(items: impl Iterator<Item = &'i Item>) -> HashSet<String> {
    let ids = items.filter_map(|item| match &item.body {
        ItemBody::FunctionCall { call, .. } => Some(call.id.clone()),
        _ => None,
    });
    ids.collect()
}
