//! What was recorded of a conversation, and the tools that answer from it.
//!
//! Invariants: a call that has an effect is made only where effects are allowed in words; a server that a request named
//! itself is not asked at all; a call that nothing answers is told as such, to the model and to whoever reads the replay.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Result, Tools,
    approval::Decision,
    chat::ToolCall,
    cx::{Customer, Workspace},
    replay::{NotMade, WhyNot},
    servers::Server,
    tools::{Effect, Outcome, Risk, Runs, ToolDef, ToolResult},
    turn::{Item, ItemBody, StepOutput},
};
use frontdesk_store::{transcript::StoredStep, turns::StoredTurn};
use serde_json::Value;

/// A turn as it was.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) stored: StoredTurn,
    pub(crate) items: Vec<Item>,
    pub(crate) steps: Vec<StoredStep>,
}

impl Recorded {
    /// How many of its items it was asked with.
    pub(crate) fn inputs(&self) -> usize {
        self.stored.request.inputs.min(self.items.len())
    }

    /// What its customer said.
    pub(crate) fn input(&self) -> String {
        let said =
            self.items[..self.inputs()].iter().filter(|item| !matches!(item.body, ItemBody::FunctionCallOutput { .. }));
        said.filter_map(|item| item.body.words()).collect::<Vec<_>>().join("\n")
    }
}

/// An answer to a call of this tool with these arguments.
#[derive(Debug)]
struct Answer {
    /// The place of its turn in the conversation.
    turn: usize,
    call: (String, Value),
    result: ToolResult,
    used: bool,
}

/// Every call and its answer, and every word of a person, in a conversation.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    /// With the places of their turns.
    calls: Vec<(usize, ToolCall)>,
    answers: Vec<Answer>,
    /// What servers of requests listed, as items.
    lists: Vec<(usize, ItemBody)>,
    words: Vec<(usize, (String, Value), Decision)>,
    /// The turn that is asked again now.
    now: usize,
}

/// A call by what makes it the same: its tool, and its arguments in whatever order.
pub(crate) fn essence(call: &ToolCall) -> (String, Value) {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| Value::String(call.arguments.clone()));
    (call.name.clone(), arguments)
}

impl Recording {
    pub(crate) fn of(turns: &[Recorded]) -> Self {
        let mut recording = Self::default();
        for (turn, recorded) in turns.iter().enumerate() {
            for item in &recorded.items {
                match &item.body {
                    ItemBody::FunctionCall { call, .. } => recording.calls.push((turn, call.clone())),
                    ItemBody::FunctionCallOutput { call_id, output, is_error, .. } => {
                        // A client's results may come with a later turn.
                        let Some((turn, call)) = recording.called(call_id) else { continue };
                        let (turn, call) = (*turn, essence(call));
                        let result = ToolResult { content: output.clone(), is_error: *is_error, details: None };
                        recording.answers.push(Answer { turn, call, result, used: false });
                    }
                    // One that names another list has no descriptions.
                    ItemBody::ServerTools { of: None, .. } => recording.lists.push((turn, item.body.clone())),
                    _ => {}
                }
            }
            for step in &recorded.steps {
                if let Some(StepOutput::Approval { call, decision }) = &step.step.output {
                    recording.words.push((turn, essence(call), decision.clone()));
                }
            }
        }
        recording
    }

    /// The call of this id.
    fn called(&self, id: &str) -> Option<&(usize, ToolCall)> {
        self.calls.iter().rev().find(|(_, call)| call.id == id)
    }

    /// What this server listed in the nearest turn up to now, else after.
    fn listed(&self, by: &Server) -> Option<Result<Vec<ToolDef>>> {
        let fits: Vec<&(usize, ItemBody)> = self.lists.iter().filter(|(_, list)| is_of(list, by)).collect();
        let up_to_now = fits.iter().rposition(|(turn, _)| *turn <= self.now);
        match &fits.get(up_to_now.unwrap_or(0))?.1 {
            ItemBody::ServerTools { error: Some(error), .. } => Some(Err(Error::unavailable(error.clone()))),
            ItemBody::ServerTools { tools, .. } => Some(Ok(tools.clone())),
            _ => None,
        }
    }

    /// Goes to the turn of this place.
    fn turn_to(&mut self, turn: usize) {
        self.now = turn;
        self.answers.iter_mut().for_each(|answer| answer.used = false);
    }

    /// The answers of a turn to one call come in their order, and the last again; else that of the nearest turn before,
    /// else after.
    fn answer(&mut self, call: &ToolCall) -> Option<ToolResult> {
        let wanted = essence(call);
        let now = self.now;
        let mut fits: Vec<&mut Answer> = self.answers.iter_mut().filter(|answer| answer.call == wanted).collect();
        let at = fits
            .iter()
            .position(|answer| answer.turn == now && !answer.used)
            .or_else(|| fits.iter().rposition(|answer| answer.turn <= now))
            .or(if fits.is_empty() { None } else { Some(0) })?;
        let answer = &mut fits[at];
        answer.used = true;
        Some(answer.result.clone())
    }

    fn word(&self, call: &ToolCall) -> Option<Decision> {
        let wanted = essence(call);
        let mut fits = self.words.iter().filter(|(turn, call, _)| *turn == self.now && *call == wanted);
        fits.next_back().map(|(.., decision)| decision.clone())
    }
}

/// Whether the item lists the tools of this server, by the same choice among them.
fn is_of(list: &ItemBody, by: &Server) -> bool {
    match list {
        ItemBody::ServerTools { server, url, allowed, .. } => by.is(server, url.as_deref()) && *allowed == by.allowed,
        _ => false,
    }
}

/// Which tools a replay calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum With {
    /// None: answers come from the recording.
    #[default]
    Recorded,
    /// Those that have no effect; the others too where `effects` are allowed.
    Live { effects: bool },
}

/// The tools of a replayed turn.
pub(crate) struct Played {
    real: Arc<dyn Tools>,
    with: With,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    recording: Recording,
    /// Tools that run at clients, and agents that are asked: answered from the recording alone.
    elsewhere: Vec<ToolDef>,
    /// The recorded turn was asked in this customer's name.
    customer: Option<Customer>,
    /// What the code of this conversation keeps, it keeps under this id, which no other replay and no customer has.
    workspace: String,
    not_made: Vec<NotMade>,
}

impl Played {
    pub(crate) fn new(real: Arc<dyn Tools>, with: With) -> Self {
        Self { real, with, now: Mutex::default() }
    }

    fn with<T>(&self, look: impl FnOnce(&mut Now) -> T) -> T {
        look(&mut self.now.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins a conversation. `workspace`: an id that nothing else has.
    pub(crate) fn open(&self, recording: Recording, workspace: String) {
        self.with(|now| {
            now.recording = recording;
            now.workspace = workspace;
        });
    }

    pub(crate) fn turn_to(&self, turn: usize, customer: Option<Customer>) {
        self.with(|now| {
            now.recording.turn_to(turn);
            now.customer = customer;
            now.not_made.clear();
        });
    }

    /// The tools that the turn has beside those of its groups.
    pub(crate) fn stand_in(&self, elsewhere: Vec<ToolDef>) {
        self.with(|now| now.elsewhere = elsewhere);
    }

    /// The recorded call of this id.
    pub(crate) fn called(&self, id: &str) -> Option<ToolCall> {
        self.with(|now| now.recording.called(id).map(|(_, call)| call.clone()))
    }

    /// The calls of this turn that nothing answered.
    pub(crate) fn not_made(&self) -> Vec<NotMade> {
        self.with(|now| std::mem::take(&mut now.not_made))
    }

    /// What a person said to this call then; never a leave to let it have an effect now.
    pub(crate) fn word(&self, call: &ToolCall) -> Option<Decision> {
        match self.with {
            With::Live { effects: true } => None,
            _ => self.with(|now| now.recording.word(call)),
        }
    }

    fn is_made(&self, def: Option<&ToolDef>) -> bool {
        match (self.with, def) {
            (With::Recorded, _) | (_, None) => false,
            (With::Live { effects }, Some(def)) => effects || def.effect == Effect::None,
        }
    }

    fn recorded(&self, call: &ToolCall, why: WhyNot) -> ToolResult {
        self.with(|now| {
            if let Some(result) = now.recording.answer(call) {
                return result;
            }
            now.not_made.push(NotMade { name: call.name.clone(), arguments: call.arguments.clone(), why });
            ToolResult::error(match why {
                WhyNot::NotRecorded => {
                    "this is a replay: the recording has no answer to this call, and it was not made"
                }
                WhyNot::HasEffects => "this is a replay: the tool has effects, so this call was not made",
            })
        })
    }
}

#[async_trait]
impl Tools for Played {
    async fn list(&self, cx: &Cx, groups: &[String]) -> Result<Vec<ToolDef>> {
        let mut tools = self.real.list(cx, groups).await?;
        for def in self.with(|now| now.elsewhere.clone()) {
            if tools.iter().all(|other| other.name != def.name) {
                tools.push(def);
            }
        }
        Ok(tools)
    }

    async fn call(&self, cx: &Cx, groups: &[String], call: &ToolCall, key: &str, approved: bool) -> Result<Outcome> {
        if self.with == With::Recorded {
            return Ok(Outcome::Done(self.recorded(call, WhyNot::NotRecorded)));
        }
        let tools = self.real.list(cx, groups).await?;
        let def = tools.iter().find(|def| def.name == call.name);
        if !self.is_made(def) {
            let why = if def.is_some() { WhyNot::HasEffects } else { WhyNot::NotRecorded };
            return Ok(Outcome::Done(self.recorded(call, why)));
        }
        let (customer, id) = self.with(|now| (now.customer.clone(), now.workspace.clone()));
        let workspace = cx.workspace.clone().map(|theirs| Workspace { id, container: None, ..theirs });
        // Nobody is asked: the model reads what a tool asks.
        let cx = Cx { customer, workspace, asking: None, ..cx.clone() };
        self.real.call(&cx, groups, call, key, approved).await
    }

    /// Whatever the replay calls: what a server of a request was sent along is kept no longer than its turn.
    async fn list_server(&self, _: &Cx, server: &Server) -> Result<Vec<ToolDef>> {
        self.with(|now| now.recording.listed(server)).unwrap_or_else(|| {
            let message = format!("this is a replay: the recording has no list of the tools of '{}'", server.label);
            Err(Error::unavailable(message))
        })
    }

    async fn call_server(&self, _: &Cx, _: &Server, _: &ToolDef, call: &ToolCall, _: &str) -> Result<Outcome> {
        Ok(Outcome::Done(self.recorded(call, WhyNot::NotRecorded)))
    }
}

/// A tool that is answered from the recording alone.
pub(crate) fn elsewhere(name: &str, description: Option<&str>, schema: Option<Value>) -> ToolDef {
    ToolDef {
        name: name.to_owned(),
        wire_name: name.to_owned(),
        toolgroup: String::new(),
        description: description.unwrap_or_default().to_owned(),
        schema: schema.unwrap_or_else(|| serde_json::json!({ "type": "object", "properties": {} })),
        runs: Runs::Server,
        effect: Effect::None,
        risk: Risk::Read,
        bound_args: Default::default(),
        alone: false,
        hash: String::new(),
    }
}
