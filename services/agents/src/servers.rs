//! Servers of tools that a response's request names itself: listed once in a line of responses, called as any tool, and
//! asked about where the request's policy says so.
//!
//! A call that waits for its client's word ends the response, as a call of a client's function does, and is written down
//! as it will be made; the next response brings the word and begins with the call. Invariants: what was listed is an item,
//! so that whoever goes on with the turn offers its model the same tools; a server that cannot be asked is an item that
//! says why, and the turn goes on without it; what is called after a word is what our own row asked about, in a
//! response that the word's sender may go on from, at the same server, once, whatever they say of it; a client's word is not a person's where the
//! agent's rules ask for one.

use std::{collections::HashSet, sync::Arc, time::Duration};

use frontdesk_api::{
    Error, Kind, Result,
    approval::Decision,
    chat::{ToolCall, ToolChoice},
    servers::{Server, WaitingCall, chosen},
    tools::{Effect, ToolDef, ToolResult},
    turn::{Item, ItemBody, StepKind},
};
use frontdesk_store::{
    Tx,
    transcript::{self, PastItem, StoredStep},
    turns::OnInput,
};
use futures::future::join_all;
use serde_json::Value;

use crate::{HAND_OFF, asking::tool_name, halt::Halt, worker::Worker};

/// The step of items that belong to none.
pub(crate) const NO_STEP: &str = "";

/// How long a server may take to list its tools.
const LISTING: Duration = Duration::from_secs(30);

/// Tools of all servers of a request.
const MOST_TOOLS: usize = 128;

/// Bytes of what these servers say of them, as it is kept with every turn: some 130,000 tokens.
const MOST_BYTES: usize = 512 << 10;

/// Bytes of a tool's name at its server (the protocol's own limit).
const LONGEST_NAME: usize = 128;

/// What stands for the result of a call whose word was used up by a turn that ended before it.
const NOT_MADE: &str = "the call was not made: the response ended before it";

/// What is known of the servers of a turn.
#[derive(Debug, Default)]
pub(crate) struct Servers {
    /// As the request named them.
    pub(crate) named: Vec<Server>,
    /// Tools by the names the model calls them by, with the places of their servers and whether their calls wait.
    tools: Vec<(ToolDef, usize, bool)>,
    /// Calls that this turn's request said a word to.
    said: Vec<WaitingCall>,
}

impl Servers {
    pub(crate) fn new(named: Vec<Server>, items: &[Item]) -> Self {
        let said = words(items).map(|(waiting, ..)| waiting.clone()).collect();
        Self { named, tools: vec![], said }
    }
}

impl Worker {
    /// Offers the model the tools of the request's servers.
    pub(crate) async fn list_servers(&mut self) -> Result<(), Halt> {
        let servers = self.servers.named.clone();
        if servers.is_empty() {
            return Ok(());
        }
        // What a group is now is asked of no one but the registry. A server that could not be asked is asked again in the
        // next turn.
        let known: Vec<Option<Known>> = servers
            .iter()
            .map(|server| {
                let before = || listed_before(&self.past, server).filter(|_| server.url.is_some());
                listed_here(&self.items, &self.past, server).map(Known::Here).or_else(|| before().map(Known::Before))
            })
            .collect();
        let asked = servers.iter().zip(&known).map(|(server, known)| {
            let (tools, cx, is_known) = (Arc::clone(&self.room.deps.tools), self.cx.clone(), known.is_some());
            async move {
                if is_known {
                    return None;
                }
                let asked = tokio::time::timeout(LISTING, tools.list_server(&cx, server)).await;
                Some(asked.unwrap_or_else(|_| {
                    let message = format!("the server gave no list of its tools within {} s", LISTING.as_secs());
                    Err(Error::new(Kind::Timeout, message))
                }))
            }
        });
        // No effect comes of it, so nothing need be written before.
        let asked = self.wait(async { Ok(join_all(asked).await) }).await?;
        let mut left = Left { tools: MOST_TOOLS, bytes: MOST_BYTES };
        for (n, ((server, known), asked)) in servers.iter().zip(known).zip(asked).enumerate() {
            let (tools, error, of) = match (known, asked) {
                (Some(Known::Here(tools)), _) => {
                    self.offer(n, &tools);
                    continue;
                }
                (Some(Known::Before((of, tools))), _) => (tools, None, Some(of)),
                (None, Some(Ok(tools))) => {
                    let before = listed_before(&self.past, server).filter(|(_, before)| are_same(before, &tools));
                    (tools, None, before.map(|(of, _)| of))
                }
                (None, Some(Err(error))) if matches!(error.kind, Kind::Cancelled | Kind::Internal) => {
                    return self.wait(async { Err(error) }).await;
                }
                (None, Some(Err(error))) => {
                    tracing::warn!(server = server.label, error = %error, "the server's tools cannot be listed");
                    (vec![], Some(error.message), None)
                }
                (None, None) => continue,
            };
            let (tools, error, of) = match left.take(&tools) {
                Err(full) => (vec![], Some(full), None),
                Ok(()) => (self.renamed(server, tools), error, of),
            };
            self.offer(n, &tools);
            let waits = tools.iter().filter(|tool| server.asks(tool)).map(|tool| tool.name.clone()).collect();
            let item = self.pen.item(ItemBody::ServerTools {
                server: server.label.clone(),
                url: server.url.clone(),
                allowed: server.allowed.clone(),
                known: of.is_some(),
                tools: if of.is_some() { tools.into_iter().map(named_only).collect() } else { tools },
                waits,
                error,
                of,
            });
            self.pen.done(NO_STEP, item.clone());
            self.items.push(item);
        }
        self.choose_by_name();
        Ok(())
    }

    fn offer(&mut self, n: usize, tools: &[ToolDef]) {
        for tool in tools {
            let asks = self.servers.named.get(n).is_none_or(|server| server.asks(tool));
            self.servers.tools.push((tool.clone(), n, asks));
            self.offered.push(unsure(tool, self.servers.named.get(n)));
        }
    }

    /// Each under a name that nothing else has.
    fn renamed(&self, server: &Server, tools: Vec<ToolDef>) -> Vec<ToolDef> {
        let mut taken: HashSet<String> = self.offered.iter().map(|def| def.name.clone()).collect();
        taken.extend(self.spec.client_tools.iter().map(|tool| tool.name.clone()));
        taken.extend(self.spec.agents.iter().map(|tool| tool_name(&tool.agent)));
        taken.insert(HAND_OFF.to_owned());
        let rename = |mut tool: ToolDef| {
            if !taken.insert(tool.name.clone()) {
                let end = format!("{}_{}", server.label, tool.name);
                let free = (1..).map(|n| if n == 1 { end.clone() } else { format!("{end}_{n}") });
                // The end tells tools apart; names are ASCII.
                let free = free.map(|name| name[name.len().saturating_sub(64)..].to_owned());
                tool.name = free.into_iter().find(|name| !taken.contains(name)).unwrap_or(end);
                taken.insert(tool.name.clone());
            }
            tool
        };
        tools.into_iter().map(rename).collect()
    }

    /// A choice names a tool as its server does; one that is not there forces nothing.
    fn choose_by_name(&mut self) {
        let Some(ToolChoice::Named(name)) = &self.spec.tool_choice else { return };
        let Some((label, wire_name)) = chosen(name) else { return };
        let of = |n: usize| self.servers.named.get(n).is_some_and(|server| server.label == label);
        let served = self.servers.tools.iter().find(|(tool, n, _)| tool.wire_name == wire_name && of(*n));
        self.spec.tool_choice = served.map(|(tool, ..)| ToolChoice::Named(tool.name.clone()));
    }

    /// What waited, where this turn's request said a word to the call. It is that and nothing else, whatever else has the
    /// name of its tool by now.
    pub(crate) fn said_to(&self, call: &ToolCall) -> Option<&WaitingCall> {
        self.servers.said.iter().find(|waiting| waiting.call.id == call.id)
    }

    /// The tool that is called, where it runs here.
    pub(crate) fn def_of(&self, call: &ToolCall) -> Option<&ToolDef> {
        match self.said_to(call) {
            Some(waiting) => Some(&waiting.tool),
            None => self.offered.iter().find(|def| def.name == call.name),
        }
    }

    /// What a second call of the tool would do.
    pub(crate) fn effect_of(&self, call: &ToolCall) -> Option<Effect> {
        match self.served(call) {
            Some((_, tool)) => Some(tool.effect),
            None => self.def_of(call).map(|tool| tool.effect).filter(|_| self.said_to(call).is_none()),
        }
    }

    /// Why a call is not made although its client said yes.
    pub(crate) fn unheard(&self, call: &ToolCall) -> Option<ToolResult> {
        let waiting = self.said_to(call)?;
        let why = if self.must_ask(call) {
            "needs the approval of a person and was not run: nobody can be asked here"
        } else if !self.served(call).is_some_and(|(server, _)| server.allowed.holds(&waiting.tool)) {
            "is not among the tools that this request allows and was not run"
        } else {
            return None;
        };
        Some(ToolResult::error(&format!("'{}' {why}", waiting.tool.wire_name)))
    }

    /// The server whose tool is called, and the tool: as it was asked about, where a word was said to the call.
    pub(crate) fn served(&self, call: &ToolCall) -> Option<(Server, ToolDef)> {
        let (server, tool) = self.as_listed(call)?;
        Some((server.clone(), unsure(tool, Some(server))))
    }

    fn as_listed(&self, call: &ToolCall) -> Option<(&Server, &ToolDef)> {
        if let Some(waiting) = self.said_to(call) {
            let server = self.servers.named.iter().find(|server| server.is(&waiting.server, waiting.url.as_deref()))?;
            return Some((server, &waiting.tool));
        }
        let (tool, n, _) = self.servers.tools.iter().find(|(tool, ..)| tool.name == call.name)?;
        Some((self.servers.named.get(*n)?, tool))
    }

    /// Whether the call waits for the word of whoever asked. One that a person has to approve is refused instead.
    pub(crate) fn awaits_client(&self, call: &ToolCall) -> bool {
        self.on_input == OnInput::Finish
            && !self.decided.contains_key(&call.id)
            && self.said_to(call).is_none()
            && self.asks_its_client(call)
            && !self.must_ask(call)
    }

    /// Whether the request has its client asked before each call of this tool.
    pub(crate) fn asks_its_client(&self, call: &ToolCall) -> bool {
        self.servers.tools.iter().any(|(tool, _, asks)| *asks && tool.name == call.name)
    }

    /// Writes down the calls among these that wait for the word of whoever asked, each once.
    pub(crate) fn ask_client(&mut self, calls: &[ToolCall]) {
        let asked = |call: &ToolCall| {
            let is_it =
                |body: &ItemBody| matches!(body, ItemBody::ApprovalRequest { waiting } if waiting.call.id == call.id);
            self.items.iter().any(|item| is_it(&item.body))
        };
        let calls = calls.iter().filter(|call| self.awaits_client(call) && !asked(call));
        for call in calls.cloned().collect::<Vec<_>>() {
            let Some((server, tool)) = self.as_listed(&call) else { continue };
            let (server, url, tool) = (server.label.clone(), server.url.clone(), tool.clone());
            let waiting = Box::new(WaitingCall { call, server, url, tool });
            let item = self.pen.item(ItemBody::ApprovalRequest { waiting });
            self.pen.done(NO_STEP, item.clone());
            self.items.push(item);
        }
    }

    /// Says of calls that this turn was to make, and ends without, that they were not made: no word to them is heard again.
    pub(crate) fn end_unmade(&mut self) {
        for call in unmade(&self.items) {
            self.answer(NO_STEP, &call, &not_made());
        }
    }

    /// Lets go of what was opened for the turn's servers.
    pub(crate) fn leave_servers(&self) {
        for server in &self.servers.named {
            self.room.deps.tools.leave_server(&self.cx, server);
        }
    }
}

/// What more may be listed.
struct Left {
    tools: usize,
    bytes: usize,
}

impl Left {
    /// # Errors
    /// Why these are too many, in words for whoever named the server.
    fn take(&mut self, tools: &[ToolDef]) -> Result<(), String> {
        if tools.iter().any(|tool| tool.wire_name.len() > LONGEST_NAME) {
            return Err(format!("a tool of the server has a name of more than {LONGEST_NAME} bytes"));
        }
        let weight = |tool: &ToolDef| tool.wire_name.len() + tool.description.len() + tool.schema.to_string().len();
        let bytes: usize = tools.iter().map(weight).sum();
        let (tools_left, bytes_left) = (self.tools.checked_sub(tools.len()), self.bytes.checked_sub(bytes));
        let (Some(tools_left), Some(bytes_left)) = (tools_left, bytes_left) else {
            return Err(format!(
                "with these {} tools of {bytes} bytes the servers of this request have more than {MOST_TOOLS} tools or \
                 {MOST_BYTES} bytes: name fewer in 'allowed_tools'",
                tools.len()
            ));
        };
        (self.tools, self.bytes) = (tools_left, bytes_left);
        Ok(())
    }
}

/// The tool as calls of it are made: no call is repeated since a server of the request says that it only reads.
fn unsure(tool: &ToolDef, of: Option<&Server>) -> ToolDef {
    let is_foreign = of.is_none_or(|server| server.url.is_some());
    ToolDef { effect: if is_foreign { Effect::Unsafe } else { tool.effect }, ..tool.clone() }
}

/// Tools that need not be asked for.
enum Known {
    /// As this turn offers them already.
    Here(Vec<ToolDef>),
    /// As an item of an earlier turn lists them.
    Before((String, Vec<ToolDef>)),
}

/// The tools of this server, where the item lists them by the same choice, and the item that describes them.
fn listed<'i>(body: &'i ItemBody, by: &Server) -> Option<(&'i [ToolDef], Option<&'i str>)> {
    match body {
        ItemBody::ServerTools { server, url, allowed, tools, of, .. }
            if by.is(server, url.as_deref()) && *allowed == by.allowed =>
        {
            Some((tools, of.as_deref()))
        }
        _ => None,
    }
}

/// As an earlier worker of this turn listed them.
fn listed_here(items: &[Item], past: &[PastItem], server: &Server) -> Option<Vec<ToolDef>> {
    let (tools, of) = items.iter().find_map(|item| listed(&item.body, server))?;
    let Some(of) = of else { return Some(tools.to_vec()) };
    let item = past.iter().find(|past| past.item.id == of)?;
    let (whole, _) = listed(&item.item.body, server)?;
    let described = |tool: &ToolDef| {
        let whole = whole.iter().find(|whole| whole.wire_name == tool.wire_name)?;
        Some(ToolDef { name: tool.name.clone(), ..whole.clone() })
    };
    tools.iter().map(described).collect()
}

/// As the newest item before this turn describes them.
fn listed_before(past: &[PastItem], server: &Server) -> Option<(String, Vec<ToolDef>)> {
    past.iter().rev().find_map(|past| match listed(&past.item.body, server)? {
        (tools, None) if !tools.is_empty() => Some((past.item.id.clone(), tools.to_vec())),
        _ => None,
    })
}

/// Whether these are the same tools, whatever the model calls them.
fn are_same(some: &[ToolDef], others: &[ToolDef]) -> bool {
    let is_same = |(one, other): (&ToolDef, &ToolDef)| ToolDef { name: other.name.clone(), ..one.clone() } == *other;
    some.len() == others.len() && some.iter().zip(others).all(is_same)
}

/// What tells calls of the tool apart, without what describes it.
fn named_only(tool: ToolDef) -> ToolDef {
    ToolDef { description: String::new(), schema: Value::Null, ..tool }
}

/// What a turn was told of calls that wait.
fn words(items: &[Item]) -> impl Iterator<Item = (&WaitingCall, bool, &Option<String>)> {
    items.iter().filter_map(|item| match &item.body {
        ItemBody::ApprovalResponse { waiting: Some(waiting), approved, reason, .. } => {
            Some((&**waiting, *approved, reason))
        }
        _ => None,
    })
}

/// What the request says to calls of an earlier response, by call id.
pub(crate) fn decided(items: &[Item], key_id: &str) -> Vec<(String, Decision)> {
    let decision = |(waiting, approved, reason): (&WaitingCall, bool, &Option<String>)| {
        // When it was said is when the turn began, which stands with the turn.
        let decision = Decision { approved, reason: reason.clone(), key_id: key_id.to_owned(), at: 0 };
        (waiting.call.id.clone(), decision)
    };
    words(items).map(decision).collect()
}

/// The calls that a word of this turn was said to and that nothing came of.
pub(crate) fn unmade(items: &[Item]) -> Vec<ToolCall> {
    let ends =
        |item: &Item, id: &str| matches!(&item.body, ItemBody::FunctionCallOutput { call_id, .. } if call_id == id);
    let calls = words(items).map(|(waiting, ..)| &waiting.call);
    calls.filter(|call| !items.iter().any(|item| ends(item, &call.id))).cloned().collect()
}

/// What is read of such a call.
pub(crate) fn not_made() -> ToolResult {
    ToolResult::error(NOT_MADE)
}

/// The calls that the turn begins with, before its model is asked; None once it was.
pub(crate) fn first(items: &[Item], steps: &[StoredStep]) -> Option<Vec<ToolCall>> {
    let thought = steps.iter().any(|step| step.step.kind == StepKind::Inference);
    (!thought).then(|| words(items).map(|(waiting, ..)| waiting.call.clone()).collect())
}

/// The items of a new turn, every word among them with what our own rows asked about; behind them the calls of which the
/// turn's conversation here knows nothing.
///
/// # Errors
/// `Invalid` on `input` naming the request: with the code `approval_request_not_found` where none of `past`
/// has its id, `approval_request_answered` for a second word; on `tools` where its server is not among those that may be called.
pub(crate) fn heard(items: &[ItemBody], servers: &[Server], past: &[PastItem]) -> Result<Vec<ItemBody>> {
    let mut said = HashSet::new();
    let mut calls = vec![];
    let mut hear = |body: &ItemBody| {
        let ItemBody::ApprovalResponse { request_id, approved, reason, .. } = body else { return Ok(body.clone()) };
        let asked = past.iter().find(|past| past.item.id == *request_id).map(|past| &past.item.body);
        let Some(ItemBody::ApprovalRequest { waiting }) = asked else {
            let message = format!(
                "no approval request has the id '{request_id}' here: name the response that asked in \
                 'previous_response_id', or no response at all, and let the one that asks be stored"
            );
            return Err(Error::invalid("input", message).with_code("approval_request_not_found"));
        };
        let told =
            |body: &ItemBody| matches!(body, ItemBody::ApprovalResponse { request_id: of, .. } if of == request_id);
        if !said.insert(request_id.clone()) || past.iter().any(|past| told(&past.item.body)) {
            return Err(answered(request_id));
        }
        if !servers.iter().any(|server| server.is(&waiting.server, waiting.url.as_deref())) {
            let message = format!(
                "the approval request '{request_id}' is about a server '{}' that this request leaves out: name it in \
                 'tools' at the address that it had, and in 'tool_choice' too where that allows some tools only",
                waiting.server
            );
            return Err(Error::invalid("tools", message));
        }
        let tells = |body: &ItemBody| matches!(body, ItemBody::FunctionCall { call, .. } if call.id == waiting.call.id);
        if !past.iter().any(|past| tells(&past.item.body)) {
            calls.push(ItemBody::FunctionCall { call: waiting.call.clone(), container: None });
        }
        let (request_id, approved, reason) = (request_id.clone(), *approved, reason.clone());
        Ok(ItemBody::ApprovalResponse { request_id, approved, reason, waiting: Some(waiting.clone()) })
    };
    let mut heard = items.iter().map(&mut hear).collect::<Result<Vec<_>>>()?;
    heard.append(&mut calls);
    Ok(heard)
}

/// Notes in the rows that these words were said: a request is answered once, in whatever branch. A client that keeps its
/// conversation itself (`alone`) sends all that was said, so it says again what it did not approve; nothing comes of that.
///
/// # Errors
/// As [`heard`], for a second word.
pub(crate) async fn note(tx: &mut Tx, items: &mut Vec<ItemBody>, alone: bool) -> Result<()> {
    let mut over = vec![];
    for item in items.iter_mut() {
        let ItemBody::ApprovalResponse { request_id, approved, waiting, .. } = item else { continue };
        if transcript::answer_request(tx, request_id).await? {
            continue;
        }
        if *approved || !alone {
            return Err(answered(request_id));
        }
        over.extend(waiting.take().map(|waiting| waiting.call.id));
    }
    items.retain(|item| !matches!(item, ItemBody::FunctionCall { call, .. } if over.contains(&call.id)));
    Ok(())
}

fn answered(request_id: &str) -> Error {
    let message = format!("the approval request '{request_id}' was answered before");
    Error::invalid("input", message).with_code("approval_request_answered")
}

/// A group that the agent has already is not named again: its tools would have other names there, which rules of the
/// agent do not know.
///
/// # Errors
/// `Invalid` on `tools`, naming the group.
pub(crate) fn not_twice(servers: &[Server], groups: &[String]) -> Result<()> {
    let has = |label: &str| groups.iter().any(|group| group.split('/').next() == Some(label));
    match servers.iter().find(|server| server.url.is_none() && has(&server.label)) {
        None => Ok(()),
        Some(twice) => {
            let message = format!("the tool group '{}' is the agent's already: leave it out of 'tools'", twice.label);
            Err(Error::invalid("tools", message))
        }
    }
}

/// What only the platform writes is in no request.
///
/// # Errors
/// `Invalid` on `input`.
pub(crate) fn not_ours(items: &[ItemBody]) -> Result<()> {
    let ours = |body: &&ItemBody| {
        matches!(
            body,
            ItemBody::ServerTools { .. }
                | ItemBody::ApprovalRequest { .. }
                | ItemBody::ApprovalResponse { waiting: Some(_), .. }
        )
    };
    refuse(items.iter().find(ours))
}

/// Nor is a word, where no response begins with it.
///
/// # Errors
/// As [`not_ours`].
pub(crate) fn no_words(items: &[ItemBody]) -> Result<()> {
    refuse(items.iter().find(|item| matches!(item, ItemBody::ApprovalResponse { .. })))?;
    not_ours(items)
}

fn refuse(item: Option<&ItemBody>) -> Result<()> {
    match item {
        None => Ok(()),
        Some(item) => {
            let message = format!("an item of the kind '{}' cannot stand here", item.kind());
            Err(Error::invalid("input", message))
        }
    }
}
