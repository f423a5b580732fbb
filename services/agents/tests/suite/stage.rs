//! A stage for turns: an agents' room whose model plays a script.

#[path = "asks.rs"]
mod asks;
#[path = "guard.rs"]
mod guard;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_agents::{Agents, Bounds, Deps, Fault, NewTurn, Pace, TurnView};
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Effort, Error, Frame, Ids, Inference, Kind, Result, Seal, Tools,
    agent::AgentSpec,
    chat::{Chat, Dialect, FinishReason, Message, ReplyHead, Role, ToolCall, ToolChoice, ToolSpec, Usage},
    clock::FixedClock,
    code,
    cx::Workspace,
    id::RandomIds,
    inference::{Model, ModelKind},
    servers::Server,
    tools::{Effect, Outcome, Risk, Runs, ToolDef, ToolResult},
    turn::{Event, ItemBody, StepOutput},
};
use frontdesk_store::{Doing as _, Store, sqlx};
use futures::{StreamExt, stream};
use guard::{Guard, in_time};
use serde_json::json;
use tokio::sync::watch;

use crate::pages::Pages;

/// What the model says next.
pub enum Line {
    Say(&'static str),
    /// Calls, as (id, name, arguments).
    Call(Vec<(&'static str, &'static str, &'static str)>),
    /// These events, whatever they are.
    Events(Vec<ChatEvent>),
    /// It cannot be reached.
    Fail(Error),
    /// It begins and never ends.
    Silence,
    /// It says this again and again, and never ends.
    Forever(ChatEvent),
}

/// Everything a turn works with.
pub struct Stage {
    pub agents: Agents,
    pub store: Store,
    pub cx: Cx,
    pub model: Arc<Script>,
    pub tools: Arc<Toolbox>,
}

/// What a model says to a prompt.
pub type Rule = fn(&[Message]) -> Line;

/// A model that plays its lines in order and remembers what it was asked.
#[derive(Default)]
pub struct Script {
    lines: Mutex<VecDeque<Line>>,
    /// Answers where no line is left.
    rule: Mutex<Option<Rule>>,
    asked: Mutex<Vec<Vec<Message>>>,
    /// Tools it was offered with each prompt.
    offered: Mutex<Vec<Vec<ToolSpec>>>,
    /// The newest, whole.
    newest: Mutex<Option<Chat>>,
    /// Tokens it takes; 0: it does not say.
    pub window: AtomicUsize,
    begun: tokio::sync::Notify,
}

impl Script {
    pub fn play(&self, lines: impl IntoIterator<Item = Line>) {
        self.lines.lock().expect("the lines").extend(lines);
    }

    /// From now on every prompt is answered by `rule`.
    pub fn follow(&self, rule: Rule) {
        *self.rule.lock().expect("the rule") = Some(rule);
    }

    /// The prompts so far, as (role, words).
    pub fn asked(&self) -> Vec<Vec<(Role, String)>> {
        let asked = self.asked.lock().expect("the prompts");
        asked.iter().map(|prompt| prompt.iter().map(|m| (m.role, m.joined())).collect()).collect()
    }

    /// The tools it was offered with each prompt.
    pub fn offered(&self) -> Vec<Vec<ToolSpec>> {
        self.offered.lock().expect("the tools").clone()
    }

    /// What it was to call, by the newest prompt.
    pub fn chosen(&self) -> Option<ToolChoice> {
        self.newest().tool_choice
    }

    /// What it was asked last, whole.
    pub fn newest(&self) -> Chat {
        self.newest.lock().expect("the newest").clone().expect("a model call")
    }

    /// Resolves once the model was asked.
    pub async fn begun(&self) {
        happens("a model call", self.begun.notified()).await;
    }
}

#[async_trait]
impl Inference for Script {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let prompt = request.chat()?.messages.clone();
        self.offered.lock().expect("the tools").push(request.chat()?.tools.clone());
        *self.newest.lock().expect("the newest") = Some(request.chat()?.clone());
        let ruled = self.rule.lock().expect("the rule").map(|rule| rule(&prompt));
        let line = self.lines.lock().expect("the lines").pop_front().or(ruled).expect("a line for every model call");
        self.asked.lock().expect("the prompts").push(prompt);
        self.begun.notify_one();
        let text = |words: &str| ChatEvent::Text { choice: 0, text: words.to_owned() };
        let finish = |reason| ChatEvent::Finish { choice: 0, reason };
        let usage = ChatEvent::Usage(Usage { input_tokens: 10, output_tokens: 2, ..Usage::default() });
        let events = match line {
            Line::Say(words) => vec![text(words), finish(FinishReason::Stop), usage],
            Line::Call(calls) => {
                let mut events = vec![];
                for (index, (id, name, arguments)) in (0..).zip(calls) {
                    let call = |id: Option<&str>, name: Option<&str>, arguments: &str| ChatEvent::ToolCall {
                        choice: 0,
                        index,
                        id: id.map(str::to_owned),
                        name: name.map(str::to_owned),
                        arguments: arguments.to_owned(),
                    };
                    // Arguments come in pieces, as models write them.
                    events.push(call(Some(id), Some(name), ""));
                    events.extend(arguments.chars().map(|c| call(None, None, c.encode_utf8(&mut [0; 4]))));
                }
                events.extend([finish(FinishReason::ToolCalls), usage]);
                events
            }
            Line::Events(events) => events,
            Line::Fail(error) => return Err(error),
            Line::Silence => {
                let first = stream::iter([Ok(Frame { events: vec![text("Hm")], ..Frame::default() })]);
                return Ok(reply(first.chain(stream::pending()).boxed()));
            }
            Line::Forever(event) => {
                let frame = move || -> Result<Frame> { Ok(Frame { events: vec![event.clone()], ..Frame::default() }) };
                return Ok(reply(stream::repeat_with(frame).boxed()));
            }
        };
        let frames = events.into_iter().map(|event| Ok(Frame { events: vec![event], ..Frame::default() }));
        Ok(reply(stream::iter(frames.collect::<Vec<_>>()).boxed()))
    }

    /// One with a price and one without, and a name for each.
    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        let model = |(id, provider, upstream): (&str, &str, &str)| {
            let (id, provider, upstream_id) = (id.into(), provider.into(), upstream.into());
            Model { id, provider, upstream_id, kind: ModelKind::Llm, created: 0, description: None }
        };
        let models = [
            ("up/m", "up", "m"),
            ("up/unpriced", "up", "unpriced"),
            ("dear", "", "up/m"),
            ("cheap", "", "up/unpriced"),
        ];
        Ok(models.map(model).into())
    }

    /// A micro-USD for each token of a prompt at `up/m`.
    fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<i64> {
        let tokens = i64::try_from(usage.input_tokens).ok()?;
        ((provider, model) == ("up", "m")).then_some(tokens * 1_000)
    }

    fn context_window(&self, _: &str) -> Option<usize> {
        Some(self.window.load(Ordering::SeqCst)).filter(|tokens| *tokens > 0)
    }
}

fn reply(frames: stream::BoxStream<'static, Result<Frame>>) -> ChatReply {
    let head = ReplyHead {
        provider: "up".into(),
        model: "m".into(),
        dialect: Dialect::OpenaiChat,
        streaming: true,
        upstream_request: None,
        effort: Effort::default(),
        reuse: None,
    };
    ChatReply { head, frames }
}

/// A group `shop` with `look` (answers what it was given), `refund` (refused without a person's word, as the registry
/// does; `who` is bound to the customer), `slow` (never ends), and two that have an effect: `book` (the same key, the same
/// booking) and `pay` (each call pays). For what runs side by side the group `gates` has `meet` (ends when two of it have
/// begun), four that wait at a gate of their own (`{"gate":"x"}`) until the test opens it: `hold` reads, `keep` reads and
/// runs alone, `put` may be repeated, and `charge` may not; and a register with `set` (may be repeated) and `get`.
#[derive(Default)]
pub struct Toolbox {
    /// Calls that came here, refused ones too.
    pub calls: AtomicUsize,
    /// How often a server of a request's own was asked for its tools, and let go of.
    pub listed: AtomicUsize,
    pub left: AtomicUsize,
    /// So many times more its database does not answer when it is asked for its tools.
    pub out_of_reach: AtomicUsize,
    /// Its groups were deleted.
    pub gone: AtomicBool,
    /// Effects, by tool and key.
    pub ledger: Mutex<Vec<(String, String)>>,
    /// On whose behalf calls came, in order.
    pub customers: Mutex<Vec<Option<String>>>,
    /// Where their code keeps what it keeps, in order.
    pub workspaces: Mutex<Vec<String>>,
    /// The same, whole.
    pub places: Mutex<Vec<Option<Workspace>>>,
    /// Those that were let go of, in order.
    pub forgotten: Mutex<Vec<String>>,
    meeting: Meeting,
    /// Gates that calls came to, each with the call's key, in order.
    at: watch::Sender<Vec<(String, String)>>,
    /// What the register was set to, in order.
    pub register: Mutex<Vec<String>>,
    /// Gates that are open, with what a call there comes to; what begins with `!` is an error, with `?` one that
    /// leaves open what was done, and `!!` ends the task.
    open: watch::Sender<HashMap<String, String>>,
    /// Calls that wait at gates.
    pub inside: Arc<AtomicUsize>,
}

/// Two that wait for each other.
struct Meeting(tokio::sync::Barrier);

impl Default for Meeting {
    fn default() -> Self {
        Self(tokio::sync::Barrier::new(2))
    }
}

/// A call that is inside, until it ends or is dropped.
struct Inside(Arc<AtomicUsize>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Toolbox {
    fn effect(&self, tool: &str, key: &str) {
        let entry = (tool.to_owned(), key.to_owned());
        let mut ledger = self.ledger.lock().expect("the ledger");
        if tool != "book" || !ledger.contains(&entry) {
            ledger.push(entry);
        }
    }

    /// Opens a gate: calls there come to `words`.
    pub fn open(&self, gate: &str, words: &str) {
        self.open.send_modify(|open| drop(open.insert(gate.to_owned(), words.to_owned())));
    }

    /// The gates that calls came to, once they are so many.
    pub async fn at(&self, many: usize) -> Vec<String> {
        let mut at = self.at.subscribe();
        let came = happens("calls at their gates", at.wait_for(|at| at.len() >= many)).await.expect("gates").clone();
        came.into_iter().map(|(gate, _)| gate).collect()
    }

    /// The keys of the calls that came to a gate.
    pub fn keys(&self, gate: &str) -> Vec<String> {
        self.at.borrow().iter().filter(|(at, _)| at == gate).map(|(_, key)| key.clone()).collect()
    }

    async fn wait(&self, arguments: &str, key: &str) -> Result<Outcome> {
        let arguments: serde_json::Value = serde_json::from_str(arguments).expect("arguments");
        let gate = arguments["gate"].as_str().expect("a gate").to_owned();
        self.inside.fetch_add(1, Ordering::SeqCst);
        let _inside = Inside(self.inside.clone());
        self.at.send_modify(|at| at.push((gate.clone(), key.to_owned())));
        let mut open = self.open.subscribe();
        let words = open.wait_for(|open| open.contains_key(&gate)).await.expect("gates")[&gate].clone();
        if let Some(why) = words.strip_prefix('?') {
            return Ok(Outcome::Done(ToolResult::unsure(why)));
        }
        match words.strip_prefix('!') {
            Some("!") => std::panic::resume_unwind(Box::new("lost")),
            Some(why) => Err(Error::unavailable(why)),
            None => Ok(Outcome::Done(ToolResult { content: words, is_error: false, details: None })),
        }
    }
}

#[async_trait]
impl Tools for Toolbox {
    async fn list(&self, _: &Cx, groups: &[String]) -> Result<Vec<ToolDef>> {
        if self.out_of_reach.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(sqlx::Error::PoolTimedOut).doing("list tool groups");
        }
        let def = |name: &str, effect, risk| ToolDef {
            name: name.into(),
            wire_name: name.into(),
            toolgroup: "shop".into(),
            description: String::new(),
            schema: json!({ "type": "object" }),
            runs: Runs::Server,
            effect,
            risk,
            bound_args: if name == "refund" { [("who".into(), "customer.sub".into())].into() } else { [].into() },
            alone: name == "keep",
            hash: String::new(),
        };
        let shop = [
            ("look", Effect::None, Risk::Read),
            ("refund", Effect::Unsafe, Risk::ApprovalRequired),
            ("slow", Effect::Unsafe, Risk::Read),
            ("book", Effect::Idempotent, Risk::LowImpactWrite),
            ("pay", Effect::Unsafe, Risk::LowImpactWrite),
        ];
        let gates = [
            ("meet", Effect::None, Risk::Read),
            ("hold", Effect::None, Risk::Read),
            ("keep", Effect::None, Risk::Read),
            ("put", Effect::Idempotent, Risk::LowImpactWrite),
            ("charge", Effect::Unsafe, Risk::LowImpactWrite),
            ("set", Effect::Idempotent, Risk::LowImpactWrite),
            ("get", Effect::None, Risk::Read),
        ];
        let mut all = vec![];
        for group in groups {
            match group.as_str() {
                _ if self.gone.load(Ordering::SeqCst) => return Err(Error::not_found("it is gone")),
                "shop" => all.extend(shop.map(|(name, effect, risk)| def(name, effect, risk))),
                "gates" => all.extend(gates.map(|(name, effect, risk)| def(name, effect, risk))),
                code::GROUP => {
                    let tool = def(code::TOOL, Effect::None, Risk::Read);
                    all.push(ToolDef { toolgroup: code::GROUP.into(), alone: true, ..tool });
                }
                "asks" => all.extend(asks::TOOLS.map(|(name, effect, risk)| def(name, effect, risk))),
                other => return Err(Error::not_found(format!("no tool group has the id '{other}'"))),
            }
        }
        Ok(all)
    }

    fn forget_conversations(&self, _: &Cx, workspaces: &[String]) {
        self.forgotten.lock().expect("the forgotten").extend_from_slice(workspaces);
    }

    async fn call(&self, cx: &Cx, _: &[String], call: &ToolCall, key: &str, approved: bool) -> Result<Outcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.customers.lock().expect("the customers").push(cx.customer.as_ref().map(|c| c.sub.clone()));
        self.workspaces.lock().expect("the workspaces").extend(cx.workspace.as_ref().map(|w| w.id.clone()));
        self.places.lock().expect("the places").push(cx.workspace.clone());
        match call.name.as_str() {
            "slow" => std::future::pending::<()>().await,
            "meet" => {
                self.meeting.0.wait().await;
            }
            "hold" | "keep" | "put" | "charge" => {
                asks::tell(cx, &call.arguments);
                let came = self.wait(&call.arguments, key).await?;
                in_time(cx)?;
                return Ok(came);
            }
            "order" | "note" => return asks::asks(self, cx, call, key),
            "phone" | "dial" => return asks::phones(self, cx, call, key).await,
            "set" => self.register.lock().expect("the register").push(call.arguments.clone()),
            "get" => {
                let content = self.register.lock().expect("the register").last().cloned().unwrap_or_default();
                return Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }));
            }
            "book" | "pay" => self.effect(&call.name, key),
            "refund" if approved => self.effect(&call.name, key),
            "refund" => return Ok(Outcome::Done(ToolResult::error("this needs the approval of a person"))),
            _ => {}
        }
        if serde_json::from_str::<serde_json::Value>(&call.arguments).is_err() {
            return Ok(Outcome::Done(ToolResult::error("the arguments are no JSON")));
        }
        Ok(Outcome::Done(ToolResult { content: format!("saw {}", call.arguments), is_error: false, details: None }))
    }

    /// `look` and `cancel`, unless it is called `down`; of `wide` too many, of `long` with too many words, of `named` one
    /// with too long a name. Those of `sly` read and destroy, by its own word.
    async fn list_server(&self, _: &Cx, server: &Server) -> Result<Vec<ToolDef>> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        let def = |name: &str, description: &str| -> ToolDef {
            let def = json!({ "name": name, "wire_name": name, "toolgroup": "s", "description": description,
                              "schema": {}, "hash": "" });
            serde_json::from_value(def).expect("a tool")
        };
        match server.label.as_str() {
            "down" => Err(Error::upstream("cannot connect to down")),
            "wide" => Ok((0..129).map(|n| def(&format!("t{n}"), "")).collect()),
            "long" => Ok(vec![def("t", &"x".repeat(600_000))]),
            "named" => Ok(vec![ToolDef { wire_name: "x".repeat(129), ..def("t", "") }]),
            "sly" => Ok(vec![
                ToolDef { effect: Effect::None, ..def("look", "") },
                ToolDef { risk: Risk::ApprovalRequired, ..def("cancel", "") },
            ]),
            _ => Ok(vec![def("look", ""), def("cancel", "")]),
        }
    }

    async fn call_server(&self, _: &Cx, server: &Server, tool: &ToolDef, call: &ToolCall, _: &str) -> Result<Outcome> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let content = format!("{}/{} saw {}", server.label, tool.wire_name, call.arguments);
        Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }))
    }

    fn leave_server(&self, _: &Cx, _: &Server) {
        self.left.fetch_add(1, Ordering::SeqCst);
    }
}

/// Seals by writing what it is for in front: it opens for nothing else.
struct Labelled;

impl Seal for Labelled {
    fn seal(&self, about: &[&str], plain: &[u8]) -> Result<Vec<u8>> {
        Ok([format!("{about:?}").as_bytes(), plain].concat())
    }

    fn open(&self, about: &[&str], sealed: &[u8]) -> Result<Vec<u8>> {
        let plain = sealed.strip_prefix(format!("{about:?}").as_bytes());
        plain.map(<[u8]>::to_vec).ok_or_else(|| Error::new(Kind::Internal, "sealed for something else"))
    }
}

impl Stage {
    pub async fn set(store: Store) -> Self {
        Self::with_ids(store, Arc::new(RandomIds)).await
    }

    pub async fn with_ids(store: Store, ids: Arc<dyn Ids>) -> Self {
        Self::with(store, ids, pace(), Bounds::default()).await
    }

    pub async fn with(store: Store, ids: Arc<dyn Ids>, pace: Pace, bounds: Bounds) -> Self {
        let (cx, _) = frontdesk_store::testing::two_tenants(&store).await;
        Self::room(store, cx, Arc::default(), Arc::default(), ids, pace, bounds, |_| {})
    }

    /// Another process on the same rows, with a model of its own and the same tools.
    pub fn beside(&self, pace: Pace, bounds: Bounds) -> Self {
        let (store, tools) = (self.store.clone(), self.tools.clone());
        Self::room(store, self.cx.clone(), Arc::default(), tools, Arc::new(RandomIds), pace, bounds, |_| {})
    }

    /// Another process on the same rows, with the same model and tools, that ends where `fault` says. It is to be shut down
    /// too: one that lived through its fault would work on the next one's turns, with these tools.
    pub fn failing(&self, pace: Pace, fault: Fault) -> Self {
        self.changed(pace, Bounds::default(), |deps| deps.fault = Some(fault))
    }

    /// Another process on the same rows, with the same model and tools, and with this change.
    pub fn changed(&self, pace: Pace, bounds: Bounds, change: impl FnOnce(&mut Deps)) -> Self {
        let (store, model, tools) = (self.store.clone(), self.model.clone(), self.tools.clone());
        Self::room(store, self.cx.clone(), model, tools, Arc::new(RandomIds), pace, bounds, change)
    }

    #[allow(clippy::too_many_arguments)] // what a process is made of
    fn room(
        store: Store,
        cx: Cx,
        model: Arc<Script>,
        tools: Arc<Toolbox>,
        ids: Arc<dyn Ids>,
        pace: Pace,
        bounds: Bounds,
        change: impl FnOnce(&mut Deps),
    ) -> Self {
        let mut deps = Deps {
            store: store.clone(),
            inference: model.clone(),
            tools: tools.clone(),
            memory: Arc::new(Pages),
            safety: Arc::new(Guard),
            clock: Arc::new(FixedClock::at(1_000_000)),
            ids,
            seal: Arc::new(Labelled),
            observer: Arc::new(frontdesk_agents::Unobserved),
            dispatch: store.dispatch(),
            pace,
            bounds,
            fault: None,
        };
        change(&mut deps);
        let agents = Agents::new(deps);
        Self { agents, store, cx, model, tools }
    }

    /// An agent, and a conversation with it.
    pub async fn conversation(&self, spec: AgentSpec) -> (String, String) {
        let agent = self.agents.create_agent(&self.cx, spec).await.expect("an agent");
        let session = self.agents.create_session(&self.cx, &agent.id, "test").await.expect("a session");
        (agent.id, session.id)
    }

    pub fn asks((agent, session): &(String, String), words: &str) -> NewTurn {
        NewTurn {
            agent_id: agent.clone(),
            session_id: Some(session.clone()),
            items: vec![ItemBody::Message { role: Role::User, text: words.into(), citations: vec![] }],
            ..NewTurn::default()
        }
    }

    /// Asks and waits until the turn stands still.
    pub async fn ask(&self, conversation: &(String, String), words: &str) -> TurnView {
        let turn = self.agents.create_turn(&self.cx, Self::asks(conversation, words)).await.expect("a turn");
        self.settled(&turn.id).await
    }

    /// Follows the turn until it stands still, and checks what holds for every turn.
    pub async fn settled(&self, turn: &str) -> TurnView {
        let events = self.events(turn).await;
        let numbers: Vec<i64> = events.iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (0..).take(events.len()).collect::<Vec<_>>(), "sequence numbers have no gap");
        let view = self.agents.load_turn(&self.cx, turn).await.expect("the turn");
        let ended = events.last().is_some_and(|e| e.body.is_last());
        assert_eq!(ended, view.turn.state.is_terminal(), "the last event says how the turn stands: {:?}", view.turn);
        view
    }

    pub async fn events(&self, turn: &str) -> Vec<Event> {
        let events = self.agents.events(&self.cx, turn, None).await.expect("events");
        happens("a turn to stand still", events.map(|event| event.expect("an event")).collect()).await
    }
}

/// Waits for something that is to happen, and fails by its name where it does not: a net, no measurement.
pub fn happens<'w, T: 'w>(what: &'w str, wait: impl Future<Output = T> + 'w) -> impl Future<Output = T> + 'w {
    // On the heap: it may hold all that a test holds.
    let wait = Box::pin(wait);
    async move {
        let waited = tokio::time::timeout(Duration::from_secs(120), wait).await;
        waited.unwrap_or_else(|_| panic!("waited two minutes for {what}"))
    }
}

/// What tests need not wait for.
pub fn pace() -> Pace {
    Pace { flush: Duration::ZERO, ..Pace::default() }
}

/// The last words of the agent.
pub fn answer(view: &TurnView) -> &str {
    let words = view.items.iter().rev().find_map(|item| match &item.body {
        ItemBody::Message { role: Role::Assistant, text, .. } => Some(text.as_str()),
        _ => None,
    });
    words.unwrap_or_default()
}

/// Name, result and whether it failed, of every tool step.
pub fn done(view: &TurnView) -> Vec<(String, String, bool)> {
    let steps = view.steps.iter().filter_map(|step| match &step.output {
        Some(StepOutput::ToolExecution { call, result }) => {
            Some((call.name.clone(), result.content.clone(), result.is_error))
        }
        _ => None,
    });
    steps.collect()
}

/// An agent with the group `shop`.
pub fn with_tools() -> AgentSpec {
    AgentSpec { toolgroups: vec!["shop".into()], ..AgentSpec::new("m") }
}
