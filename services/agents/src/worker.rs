//! The task of a turn: from its rows, one thing after another, to its end.
//!
//! It begins from rows alone, whether the turn is new or goes on after input.

use std::{collections::HashSet, future::Future, sync::Arc};

use frontdesk_api::{
    Cx, Kind,
    agent::AgentSpec,
    chat::{Role, ToolCall},
    memory::Passage,
    safety::Stage,
    tools::{ToolDef, ToolResult},
    turn::{EventBody, Item, ItemBody, StepKind, StepOutput, StepState},
};
use frontdesk_store::{
    transcript::{self, PastItem, StoredStep},
    turns::{OnInput, StoredTurn},
};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    Room,
    close::Closing,
    halt::{Halt, failed, reason},
    pen::Pen,
    read::waiting,
    running::Stop,
    think::Thought,
};

/// Where a turn's task begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Fresh,
    /// Results of client tools are in the inbox.
    Resumed,
}

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
    knowledge: Vec<String>,
    /// The tools that run here, as listed for this turn.
    pub(crate) offered: Vec<ToolDef>,
    pub(crate) past: Vec<PastItem>,
    /// Items of this turn, as the model may see them.
    pub(crate) items: Vec<Item>,
    pub(crate) model_calls: u32,
    pub(crate) tool_calls: u32,
    /// Ids of calls that are taken in this conversation.
    pub(crate) call_ids: HashSet<String>,
    /// The step that was begun and has not ended.
    pub(crate) open: Option<StoredStep>,
    /// Steps of client tools that wait for their results.
    pub(crate) asked: Vec<StoredStep>,
    /// Client calls whose results came in, with their steps.
    inbox: Vec<(StoredStep, ToolCall, ToolResult)>,
}

/// Works on a turn to its end (or to its next wait).
pub(crate) async fn run(room: Arc<Room>, cx: Cx, spec: AgentSpec, stored: StoredTurn, start: Start, stop: Stop) {
    let span = tracing::info_span!(
        "invoke_agent",
        gen_ai.operation.name = "invoke_agent",
        gen_ai.agent.id = stored.turn.agent_id,
        gen_ai.agent.name = spec.name,
        gen_ai.agent.version = stored.turn.agent_version,
        gen_ai.conversation.id = stored.turn.session_id,
        gen_ai.request.model = spec.model,
        gen_ai.usage.input_tokens = tracing::field::Empty,
        gen_ai.usage.output_tokens = tracing::field::Empty,
        error.type = tracing::field::Empty,
        turn = stored.turn.id,
        state = tracing::field::Empty,
        request = cx.request,
    );
    let work = async {
        let turn = stored.turn.id.clone();
        match Worker::load(room, cx, spec, stored, stop).await {
            Ok(mut worker) => {
                let outcome = worker.drive(start).await;
                worker.close(outcome).await;
            }
            Err(error) => {
                tracing::error!(turn, error = %error, cause = ?error.source, "the turn's rows cannot be read; it will count as lost");
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
        spec: AgentSpec,
        stored: StoredTurn,
        stop: Stop,
    ) -> frontdesk_api::Result<Self> {
        let mut tx = room.deps.store.tenant(&cx).read().await?;
        let id = &stored.turn.id;
        let (steps, items) = (transcript::steps(&mut tx, id).await?, transcript::items(&mut tx, id).await?);
        let past = match (&stored.turn.session_id, &stored.turn.parent) {
            (Some(session), _) => transcript::history(&mut tx, session, stored.pos).await?,
            (None, Some(parent)) => transcript::line(&mut tx, parent).await?,
            (None, None) => vec![],
        };
        let results = transcript::inbox(&mut tx, id).await?;
        drop(tx);
        let timeout = std::time::Duration::from_secs(spec.limits.timeout_s);
        let deadline = Instant::now() + timeout;
        let cx = Cx {
            agent: Some(stored.turn.agent_id.clone()),
            turn: Some(id.clone()),
            session: stored.turn.session_id.clone(),
            deadline: Some(deadline.into_std()),
            cancel: stop.token().clone(),
            ..cx
        };
        let inbox = waiting(&steps).into_iter().filter_map(|(step, call)| {
            let (_, result) = results.iter().find(|(key, _)| *key == call.id)?;
            Some((step, call, serde_json::from_value(result.clone()).ok()?))
        });
        let count = |kind| u32::try_from(steps.iter().filter(|s| s.step.kind == kind).count()).unwrap_or(u32::MAX);
        let with = |own: &[String], more: &[String]| {
            let mut all = own.to_vec();
            all.extend(more.iter().filter(|id| !own.contains(id)).cloned());
            all
        };
        Ok(Self {
            toolgroups: with(&spec.toolgroups, &stored.request.toolgroups),
            knowledge: with(&spec.knowledge, &stored.request.knowledge),
            offered: vec![],
            on_input: stored.on_input,
            inbox: inbox.collect(),
            model_calls: count(StepKind::Inference),
            tool_calls: count(StepKind::ToolExecution),
            call_ids: call_ids(past.iter().map(|p| &p.item).chain(&items)),
            open: None,
            asked: vec![],
            pen: Pen::new(&room, cx.clone(), stored, steps.len(), items.len()),
            room,
            cx,
            spec,
            stop,
            deadline,
            past,
            items,
        })
    }

    async fn drive(&mut self, start: Start) -> Result<Closing, Halt> {
        let stopped = match start {
            Start::Fresh => match self.receive().await? {
                None => self.recall().await?,
                stopped => stopped,
            },
            Start::Resumed => self.take_in().await?,
        };
        if let Some(closing) = stopped {
            return Ok(closing);
        }
        let (tools, cx, groups) = (Arc::clone(&self.room.deps.tools), self.cx.clone(), self.toolgroups.clone());
        self.offered = self.call_out(async { tools.list(&cx, &groups).await }).await?;
        loop {
            if self.model_calls >= self.spec.limits.max_steps {
                let message = format!("the turn reached its limit of {} model calls", self.spec.limits.max_steps);
                return Ok(Closing::Incomplete(failed("max_steps", message)));
            }
            let calls = match self.think().await? {
                Thought::Closed(closing) => return Ok(closing),
                Thought::Calls(calls) => calls,
            };
            if let Some(closing) = self.act(calls).await? {
                return Ok(closing);
            }
        }
    }

    /// Shows what the turn was asked, once the input shields have seen it.
    async fn receive(&mut self) -> Result<Option<Closing>, Halt> {
        let mut judgements = vec![];
        let mut redacted = vec![];
        for i in 0..self.items.len() {
            let stage = match &self.items[i].body {
                ItemBody::Message { .. } => Stage::Input,
                _ => Stage::ToolOutput,
            };
            let Some(text) = words(&self.items[i].body).cloned() else { continue };
            let judged = self.judge(stage, &text).await?;
            if judged.text != text && !judged.stops() {
                set_words(&mut self.items[i].body, &judged.text);
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

    /// Looks up what the agent knows about the customer's words.
    async fn recall(&mut self) -> Result<Option<Closing>, Halt> {
        let asked = self.items.iter().rev().find_map(|item| match &item.body {
            ItemBody::Message { role: Role::User, text, .. } => Some(text.clone()),
            _ => None,
        });
        let Some(query) = asked.filter(|q| !self.knowledge.is_empty() && !q.trim().is_empty()) else { return Ok(None) };
        let step = self.pen.begin(StepKind::MemoryRetrieval, "recall", None);
        self.open = Some(step.clone());
        let (memory, cx, stores) = (Arc::clone(&self.room.deps.memory), self.cx.clone(), self.knowledge.clone());
        let limit = self.spec.max_passages;
        let span = tracing::info_span!("recall", gen_ai.operation.name = "retrieval", step = step.step.id);
        let found = self.call_out(async { memory.recall(&cx, &stores, &query, limit).await }.instrument(span)).await?;
        let (passages, judged) = self.judge_passages(found).await?;
        self.remember(&step.step.id, &query, passages.clone());
        self.open = None;
        let output = StepOutput::MemoryRetrieval { query, stores, passages };
        self.pen.end(step, StepState::Done, Some(output));
        self.record_all(&judged);
        Ok(None)
    }

    fn remember(&mut self, step_id: &str, query: &str, passages: Vec<Passage>) {
        let item = self.pen.item(ItemBody::Retrieval { query: query.to_owned(), passages });
        self.pen.done(step_id, item.clone());
        self.items.push(item);
    }

    /// Takes the results of client tools that came in while the turn waited.
    async fn take_in(&mut self) -> Result<Option<Closing>, Halt> {
        let mut inbox = std::mem::take(&mut self.inbox).into_iter();
        while let Some((step, call, result)) = inbox.next() {
            self.open = Some(step.clone());
            if let Some(closing) = self.conclude(step, call, result).await? {
                self.asked.extend(inbox.map(|(step, ..)| step));
                return Ok(Some(closing));
            }
        }
        Ok(None)
    }

    /// The passages of this turn, by their numbers.
    pub(crate) fn passages(&self) -> &[Passage] {
        let found = self.items.iter().find_map(|item| match &item.body {
            ItemBody::Retrieval { passages, .. } => Some(passages.as_slice()),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// Writes what was pushed, then waits for work outside: no effect without its intent in a row.
    pub(crate) async fn call_out<T>(
        &mut self,
        work: impl Future<Output = frontdesk_api::Result<T>>,
    ) -> Result<T, Halt> {
        self.pen.commit().await?;
        self.wait(work).await
    }

    /// Waits for work outside until it is done, the turn is stopped or its time is up. The work is dropped
    /// in the last two cases. Never used around a write: whether that happened must be known.
    pub(crate) async fn wait<T>(&self, work: impl Future<Output = frontdesk_api::Result<T>>) -> Result<T, Halt> {
        let done = tokio::select! {
            biased;
            () = self.stop.token().cancelled() => return Err(Halt::Stopped(self.stop.why())),
            () = tokio::time::sleep_until(self.deadline) => return Err(Halt::Deadline),
            done = work => done,
        };
        done.map_err(|error| match error.kind {
            Kind::Cancelled if self.stop.token().is_cancelled() => Halt::Stopped(self.stop.why()),
            Kind::Timeout if Instant::now() >= self.deadline => Halt::Deadline,
            _ => {
                tracing::warn!(error = %error, cause = ?error.source, "work outside failed");
                Halt::Failed(reason(&error))
            }
        })
    }
}

fn call_ids<'i>(items: impl Iterator<Item = &'i Item>) -> HashSet<String> {
    let ids = items.filter_map(|item| match &item.body {
        ItemBody::FunctionCall { call } => Some(call.id.clone()),
        _ => None,
    });
    ids.collect()
}

fn words(body: &ItemBody) -> Option<&String> {
    match body {
        ItemBody::Message { text, .. } => Some(text),
        ItemBody::FunctionCallOutput { output, .. } => Some(output),
        _ => None,
    }
}

fn set_words(body: &mut ItemBody, words: &str) {
    match body {
        ItemBody::Message { text, .. } => words.clone_into(text),
        ItemBody::FunctionCallOutput { output, .. } => words.clone_into(output),
        _ => {}
    }
}
