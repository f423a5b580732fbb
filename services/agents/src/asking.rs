//! An agent that asks another: the other is one of its tools, and what it is asked is a turn of its own.
//!
//! The id of that turn is drawn with the intent of the call and stands in its row, so the turn is made once whoever
//! comes to the call, however often: a call of an agent may be repeated. It is made in a transaction that holds the
//! asking turn by its fence, so nobody who has lost that one makes it, and none is made for one that is to stop. It runs
//! in the place of the turn that waits for it: turns that wait for each other's places would wait forever.
//!
//! Invariants: what bounds the asking turn (time, model calls, tool calls) bounds those it asks; no agent stands twice
//! in a chain of questions; when the asking turn ends early, what it asked is to stop by the same commit, and when it is
//! deleted, what it asked goes with it.

use std::{collections::HashSet, sync::Arc};

use frontdesk_api::{
    Cx, Error, Kind, Result,
    agent::{Agent, AgentSpec, AgentTool, Limits},
    chat::{Role, ToolCall, ToolSpec, Usage},
    dispatch::Word,
    tools::ToolResult,
    turn::{HandOff, ItemBody, Turn, TurnState},
};
use frontdesk_store::{
    Tx, claims,
    transcript::{self, StoredStep},
    turns::{self, AskedBy},
};
use futures::{StreamExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Agents, AsResponse, Begun, NewTurn, Room,
    keeper::Entered,
    running::Why,
    tools::as_input,
    worker::{Worker, cost_of},
};

/// The most agents in a chain of questions below the one that a client asked.
const DEEPEST: usize = 3;

/// The member of a tool step's input that names the turn which the call is.
const TURN: &str = "turn";

/// What the name of the tool begins with.
const ASK: &str = "ask_";

/// What a turn that was asked took, as its call's result keeps it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Took {
    turn: String,
    agent: String,
    pub(crate) model_calls: u32,
    pub(crate) tool_calls: u32,
    pub(crate) usage: Usage,
    /// As far as its models have prices.
    #[serde(default)]
    pub(crate) cost_nano_usd: i64,
}

/// The fewest calls of models, and of tools, with which an agent is asked beside another one: with fewer it would end
/// without an answer that it gives when it is asked by itself.
const LEAST_CALLS: u32 = 4;

/// The part of the turn's tokens and money that is the least with which one is asked beside another.
const LEAST_PART: u64 = 8;

/// How a turn that was asked ended.
pub(crate) struct Answer {
    pub(crate) result: ToolResult,
    took: Took,
    hand_off: Option<HandOff>,
}

/// What a call asks.
pub(crate) struct Question {
    turn: String,
    message: String,
    /// By name.
    agent: String,
    /// What is left to it of the asking turn's limits.
    left: Limits,
    by: AskedBy,
}

/// The tool's name: an agent's may have any characters.
pub(crate) fn tool_name(agent: &str) -> String {
    let callable = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
    ASK.chars().chain(agent.chars().map(callable)).take(64).collect()
}

/// The agents as tools.
pub(crate) fn tools(spec: &AgentSpec) -> impl Iterator<Item = ToolSpec> {
    spec.agents.iter().map(|tool| ToolSpec {
        name: tool_name(&tool.agent),
        description: Some(match tool.description.is_empty() {
            true => format!("Asks the agent '{}' and returns its answer.", tool.agent),
            false => tool.description.clone(),
        }),
        parameters: Some(json!({
            "type": "object",
            "properties": { "message": { "type": "string", "description": "What it should know and answer." } },
            "required": ["message"],
            "additionalProperties": false,
        })),
        strict: None,
        cache_control: None,
    })
}

/// The turn that a tool step's call is, where it asks an agent.
pub(crate) fn asked_turn(step: &StoredStep) -> Option<&str> {
    step.input.as_ref()?.get(TURN)?.as_str()
}

/// What the turn took that was asked in this step.
pub(crate) fn took(step: &StoredStep) -> Option<Took> {
    asked_turn(step)?;
    match step.step.output.as_ref()? {
        frontdesk_api::turn::StepOutput::ToolExecution { result, .. } => {
            serde_json::from_value(result.details.clone()?).ok()
        }
        _ => None,
    }
}

/// What each of so many agents may take of what is left.
pub(crate) fn share(left: Limits, agents: u32) -> Limits {
    let agents = agents.max(1);
    Limits {
        max_steps: left.max_steps / agents,
        max_tool_calls: left.max_tool_calls / agents,
        timeout_s: left.timeout_s,
        max_tokens: left.max_tokens.map(|tokens| tokens / u64::from(agents)),
        max_cost_micro_usd: left.max_cost_micro_usd.map(|cost| cost / u64::from(agents)),
    }
}

/// The agent as it is asked: its limits no wider than what is left to it, and nothing that it has nobody for.
fn bound(mut spec: AgentSpec, left: &Limits) -> AgentSpec {
    // A turn whose limit is reached ends before its next call.
    let least = |own: Option<u64>, left: Option<u64>| own.into_iter().chain(left.map(|left| left.max(1))).min();
    let own = &mut spec.limits;
    own.max_steps = own.max_steps.min(left.max_steps);
    own.max_tool_calls = own.max_tool_calls.min(left.max_tool_calls);
    own.timeout_s = own.timeout_s.min(left.timeout_s.max(1));
    own.max_tokens = least(own.max_tokens, left.max_tokens);
    own.max_cost_micro_usd = least(own.max_cost_micro_usd, left.max_cost_micro_usd);
    // Nobody is there to run them.
    spec.client_tools.clear();
    if let Some(hand_off) = &mut spec.hand_off {
        hand_off.targets.clear();
    }
    spec
}

impl Worker {
    /// The agent that a call of this name asks.
    pub(crate) fn asks(&self, call: &ToolCall) -> Option<&AgentTool> {
        let is_called = |tool: &&AgentTool| tool_name(&tool.agent) == call.name && self.said_to(call).is_none();
        self.spec.agents.iter().find(is_called)
    }

    /// What is written of a call before it is made.
    pub(crate) fn intent(&self, call: &ToolCall) -> Value {
        let mut input = as_input(call);
        if self.asks(call).is_some() {
            input[TURN] = self.pen.ids.next("turn").into();
        }
        input
    }

    /// Takes what an agent answered as the tool's result. One that hands over to people hands over the whole
    /// conversation.
    pub(crate) fn answered(&mut self, answer: Answer) -> (ToolResult, Option<HandOff>) {
        let Answer { result, took, hand_off } = answer;
        self.count_asked(&took);
        self.pen.turn.usage.add(took.usage);
        self.cost = self.cost.saturating_add(took.cost_nano_usd);
        (ToolResult { details: serde_json::to_value(&took).ok(), ..result }, hand_off)
    }

    /// Counts what was asked against the turn's own limits.
    pub(crate) fn count_asked(&mut self, took: &Took) {
        self.model_calls = self.model_calls.saturating_add(took.model_calls);
        self.tool_calls = self.tool_calls.saturating_add(took.tool_calls);
    }

    /// What is left of the turn's limits.
    pub(crate) fn left(&self) -> Limits {
        let own = &self.spec.limits;
        let usage = &self.pen.turn.usage;
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let cost = u64::try_from(self.cost / 1_000).unwrap_or(0);
        Limits {
            max_steps: own.max_steps.saturating_sub(self.model_calls),
            max_tool_calls: own.max_tool_calls.saturating_sub(self.tool_calls),
            timeout_s: self.deadline.saturating_duration_since(Instant::now()).as_secs(),
            max_tokens: own.max_tokens.map(|most| most.saturating_sub(tokens)),
            max_cost_micro_usd: own.max_cost_micro_usd.map(|most| most.saturating_sub(cost)),
        }
    }

    /// Whether what is left to the turn once another call is counted lets so many agents answer beside each other; by
    /// itself, one takes what there is.
    pub(crate) fn is_enough_for(&self, agents: u32) -> bool {
        let mut left = self.left();
        left.max_tool_calls = left.max_tool_calls.saturating_sub(1);
        let (share, own) = (share(left, agents), &self.spec.limits);
        let enough = |share: Option<u64>, own: Option<u64>| share.zip(own).is_none_or(|(s, own)| s >= own / LEAST_PART);
        agents <= 1
            || (share.max_steps >= LEAST_CALLS
                && share.max_tool_calls >= LEAST_CALLS
                && enough(share.max_tokens, own.max_tokens)
                && enough(share.max_cost_micro_usd, own.max_cost_micro_usd))
    }

    /// What the call asks, with so much left to it, or why it cannot be asked.
    pub(crate) fn question(
        &self,
        call: &ToolCall,
        step: &StoredStep,
        left: Limits,
    ) -> std::result::Result<Question, String> {
        let (Some(tool), Some(turn)) = (self.asks(call), asked_turn(step)) else {
            return Err(format!("there is no agent behind '{}' any more", call.name));
        };
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        let message = arguments["message"].as_str().unwrap_or_default().trim().to_owned();
        if message.is_empty() {
            return Err("the arguments need a 'message': what the agent is asked".into());
        }
        let mut agents = self.asked_by.as_ref().map(|by| by.agents.clone()).unwrap_or_default();
        agents.push(self.pen.turn.agent_id.clone());
        if agents.len() > DEEPEST {
            return Err(format!("agents ask one another {DEEPEST} deep at most: answer without '{}'", tool.agent));
        }
        if left.max_steps == 0 {
            return Err("no model call is left to this turn".into());
        }
        let by = AskedBy { turn: self.pen.turn.id.clone(), call_id: call.id.clone(), agents };
        Ok(Question { turn: turn.to_owned(), message, agent: tool.agent.clone(), left, by })
    }
}

impl Room {
    /// The answer of a turn that is made if it is not there. Dropping it leaves that turn running.
    // Boxed by name: what works on the asked turn is the kind of thing that waits here.
    pub(crate) fn answer_of(
        self: Arc<Self>,
        cx: Cx,
        question: Question,
        epoch: i64,
    ) -> BoxFuture<'static, Result<Answer>> {
        Box::pin(async move {
            let (id, name) = (question.turn.clone(), question.agent.clone());
            if let Err(why) = self.ensure_asked(&cx, question, epoch).await? {
                return Ok(Answer { result: ToolResult::error(&why), took: Took::default(), hand_off: None });
            }
            let mut events = Agents(Arc::clone(&self)).events(&cx, &id, None).await?;
            loop {
                // Whoever worked on it may be lost, and every place here taken by turns that wait like this one.
                match tokio::time::timeout(self.deps.pace.poll, events.next()).await {
                    Err(_) => self.work_on_asked(&cx, &id).await?,
                    Ok(Some(event)) => {
                        let event = event?;
                        if event.body.is_last() {
                            return self.read_answer(&cx, &id, name).await;
                        }
                    }
                    // This process stops; whoever goes on with the asking turn comes back here.
                    Ok(None) if self.closed.is_cancelled() => return std::future::pending().await,
                    Ok(None) => return self.read_answer(&cx, &id, name).await,
                }
            }
        })
    }

    /// Makes the turn of a question where it is not made yet, and works on it if nobody does; or why it cannot be asked.
    async fn ensure_asked(
        self: &Arc<Self>,
        cx: &Cx,
        question: Question,
        epoch: i64,
    ) -> Result<std::result::Result<(), String>> {
        let Question { turn: id, message, agent: name, left, by } = question;
        match self.deps.store.tenant(cx).load_turn(&id).await {
            Ok(_) => return self.work_on_asked(cx, &id).await.map(Ok),
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
        let Some(agent) = self.deps.store.tenant(cx).find_agent_named(&name).await? else {
            return Ok(Err(format!("there is no agent called '{name}'")));
        };
        if by.agents.contains(&agent.id) {
            return Ok(Err(format!("'{name}' waits for this answer itself: answer without it")));
        }
        let agent = Agent { spec: bound(agent.spec, &left), ..agent };
        let (spec, version) = (agent.spec.clone(), agent.version);
        let response = AsResponse { spec, version, previous: None, echo: Value::Null, stored: false };
        let new = NewTurn {
            agent_id: agent.id.clone(),
            items: vec![ItemBody::Message { role: Role::User, text: message, citations: vec![] }],
            response: Some(response),
            asked_by: Some((by, epoch)),
            ..NewTurn::default()
        };
        let entered = Entered::new(self, cx, &id, None);
        match self.write_new(cx, &new, &agent, id, true).await {
            Ok(Begun::New(begun)) => {
                let (claimed, items) = *begun;
                self.hand_on(cx, agent.spec, claimed, Some(entered), Some(items)).await;
            }
            Ok(Begun::Before(_)) => {}
            // A turn without a session stands behind none.
            Ok(Begun::Behind { .. }) => {}
            // Another worker of the asking turn was here first.
            Err(error) if error.kind == Kind::Conflict && error.code.as_deref() == Some("turn_running") => {}
            Err(error) => return Err(error),
        }
        Ok(Ok(()))
    }

    /// Takes up a turn that was asked and that nobody works on, beside the places that others stand in line for.
    async fn work_on_asked(self: &Arc<Self>, cx: &Cx, id: &str) -> Result<()> {
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let Some(claimed) = claims::claim_one(&mut tx, id, self.lease()).await? else { return Ok(()) };
        tx.commit().await?;
        self.take_up(claimed, None);
        Ok(())
    }

    /// What a turn that stands still came to, as a tool's result.
    async fn read_answer(self: &Arc<Self>, cx: &Cx, id: &str, agent: String) -> Result<Answer> {
        let gone = |agent: &str| ToolResult::error(&format!("the question to '{agent}' was deleted"));
        let mut tx = self.deps.store.tenant(cx).read().await?;
        let turn = match turns::load(&mut tx, id).await {
            Ok(stored) => stored.turn,
            Err(error) if error.kind == Kind::NotFound => {
                return Ok(Answer { result: gone(&agent), took: Took::default(), hand_off: None });
            }
            Err(error) => return Err(error),
        };
        let steps = transcript::steps(&mut tx, id).await?;
        let items = transcript::items(&mut tx, id).await?;
        drop(tx);
        let said = items.iter().rev().find_map(|item| item.body.answer().map(str::to_owned));
        let (mut took, kind) =
            (Took { turn: id.to_owned(), agent, usage: turn.usage, ..Took::default() }, |step: &StoredStep| {
                step.step.kind
            });
        let count =
            |wanted| u32::try_from(steps.iter().filter(|step| kind(step) == wanted).count()).unwrap_or(u32::MAX);
        took.model_calls = count(frontdesk_api::turn::StepKind::Inference);
        took.tool_calls = count(frontdesk_api::turn::StepKind::ToolExecution);
        took.cost_nano_usd = steps.iter().filter_map(cost_of).fold(0, i64::saturating_add);
        for deeper in steps.iter().filter_map(self::took) {
            took.cost_nano_usd = took.cost_nano_usd.saturating_add(deeper.cost_nano_usd);
            took.model_calls = took.model_calls.saturating_add(deeper.model_calls);
            took.tool_calls = took.tool_calls.saturating_add(deeper.tool_calls);
        }
        let result = match (&turn.state, said) {
            (TurnState::Completed, Some(said)) => ToolResult { content: said, is_error: false, details: None },
            (_, said) => failure(&turn, &took.agent, said),
        };
        Ok(Answer { result, took, hand_off: turn.hand_off })
    }

    /// Wakes whoever works on these turns, which are to stop by their rows.
    pub(crate) async fn stop_asked(&self, cx: &Cx, turns: &[String]) {
        for turn in turns {
            if self.running.has(&cx.tenant, turn) {
                self.running.stop(&cx.tenant, turn, Why::Asked);
            } else {
                self.tell(Word::Stop { tenant: cx.tenant.clone(), turn: turn.clone() }).await;
            }
        }
    }
}

fn failure(turn: &Turn, agent: &str, said: Option<String>) -> ToolResult {
    let why = turn.error.as_ref().map_or("it said nothing", |error| error.message.as_str());
    let message = format!("'{agent}' did not answer: {why}");
    let content = match said {
        Some(said) => json!({ "error": message, "said": said }),
        None => json!({ "error": message }),
    };
    ToolResult { content: content.to_string(), is_error: true, details: None }
}

/// That the turn which asks is still held at `epoch` and is not to stop. Locks its row.
///
/// # Errors
/// `Cancelled` where one is not so; whoever asked hears of it another way.
pub(crate) async fn may_ask(tx: &mut Tx, by: &AskedBy, epoch: i64) -> Result<()> {
    let held = turns::fence(tx, &by.turn, epoch, 0, false).await?.is_some();
    if held && !turns::load(tx, &by.turn).await?.cancel_requested {
        return Ok(());
    }
    Err(Error::new(Kind::Cancelled, "the turn that asks is to stop"))
}

impl Agents {
    /// That the agents of a spec are there, have different names as tools, and none of them asks this one in turn.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub(crate) async fn check_agents(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        for (i, tool) in spec.agents.iter().enumerate() {
            let param = format!("agents[{i}].agent");
            if spec.agents[..i].iter().any(|other| tool_name(&other.agent) == tool_name(&tool.agent)) {
                let message = format!("two agents would be the tool '{}'", tool_name(&tool.agent));
                return Err(Error::invalid(param, message));
            }
            let mut chain = vec![];
            self.look_down(cx, spec.name.as_deref(), &tool.agent, &mut chain, &mut HashSet::new())
                .await
                .map_err(|why| Error::invalid(param, why))?;
        }
        Ok(())
    }

    /// Follows who asks whom, from `name` on; why that is not well, as words.
    async fn look_down(
        &self,
        cx: &Cx,
        own: Option<&str>,
        name: &str,
        chain: &mut Vec<String>,
        seen: &mut HashSet<String>,
    ) -> std::result::Result<(), String> {
        if own == Some(name) {
            chain.push(name.to_owned());
            return Err(format!("the agent would ask itself: {}", chain.join(", which asks ")));
        }
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let found = self.find_agent_named(cx, name).await.map_err(|error| error.message)?;
        let Some(agent) = found else {
            // What agents further down name is theirs to put right.
            return if chain.is_empty() { Err(format!("there is no agent called '{name}'")) } else { Ok(()) };
        };
        chain.push(name.to_owned());
        for tool in &agent.spec.agents {
            Box::pin(self.look_down(cx, own, &tool.agent, chain, seen)).await?;
        }
        chain.pop();
        Ok(())
    }
}
