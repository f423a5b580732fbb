//! How a turn begins.

use std::{borrow::Cow, collections::HashSet, future::Future, sync::Arc, time::Duration};

use frontdesk_api::{
    Cx, Error, Kind, Result,
    agent::{Agent, AgentSpec},
    chat::{ToolChoice, Usage},
    dispatch::Word,
    filter::FileFilter,
    servers::Server,
    turn::{EventBody, Item, ItemBody, Turn, TurnState},
};
use frontdesk_store::{
    Tx, agents,
    claims::Claimed,
    conversations, idempotency, sessions,
    transcript::{self, PastItem},
    turns,
    turns::{AskedBy, OnInput, StoredTurn, TurnRequest},
};
use serde::Serialize;
use tracing::Instrument as _;

use crate::{
    Agents, Full, Note, Room, access, asking, behind::Before, handing, keeper::Entered, pen::prefix, prompt, repeat,
    repeat::Sent, servers, worker,
};

/// How long the answer to an idempotency key is kept: a day, in microseconds.
pub(crate) const KEPT: i64 = 24 * 60 * 60 * 1_000_000;

/// When a server that stops can be asked again: its successor.
pub(crate) const SOON: Duration = Duration::from_secs(1);

/// When a line that is full is worth another try.
const LATER: Duration = Duration::from_secs(5);

/// Messages a turn may begin with: one statement writes them, and SQLite takes 32,766 values in one.
const MOST_ITEMS: usize = 1_000;

/// A turn to begin.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NewTurn {
    pub agent_id: String,
    /// None: a turn without a conversation, on the agent's published version.
    pub session_id: Option<String>,
    /// User messages and outputs of tools the client ran, in order.
    pub items: Vec<ItemBody>,
    /// The client's key for repeating the request.
    pub idempotency_key: Option<String>,
    /// What the client sent ([`crate::sent`]), where what stands here was made of that and of what is stored: a key
    /// goes with what was sent. None: all of this was sent.
    pub sent: Option<Sent>,
    /// Tool groups beside the agent's, for this turn.
    pub toolgroups: Vec<String>,
    /// Knowledge stores beside the agent's, for this turn.
    pub knowledge: Vec<String>,
    /// Whether this turn calls tools, and which, where it is not as the agent says.
    pub tool_choice: Option<ToolChoice>,
    /// Servers of tools that the request names itself; responses alone have some.
    pub servers: Vec<Server>,
    /// How many calls run here; those beyond are passed over, as OpenAI has it: answered so that the model reads it, and not
    /// made. None: as many as the agent's limits let, which end the turn.
    pub max_tool_calls: Option<u32>,
    /// The least score of a passage that goes before the model, 0 to 1; None: any.
    pub least_score: Option<f64>,
    /// Which files of knowledge stores are looked into; None: all.
    pub file_filter: Option<FileFilter>,
    /// Whether thoughts are sealed for the client, which hands them back with a later request ([`Agents::open_thoughts`]).
    pub seals_thoughts: bool,
    /// The turn is a response of OpenAI's API: it is asked with any items, none of them or many, and ends where the
    /// client has calls to make.
    pub response: Option<AsResponse>,
    /// The turn that asks it, and the epoch at which its worker holds that one.
    pub asked_by: Option<(AskedBy, i64)>,
}

/// What makes a turn a response.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AsResponse {
    /// What it works by. The turn's agent, [`crate::INLINE`] where there is none, only says whose it is.
    pub spec: AgentSpec,
    /// The agent's version that the spec was made of; 1 where there is none.
    pub version: i64,
    /// The response it continues.
    pub previous: Option<String>,
    /// What of the response object repeats the request.
    pub echo: serde_json::Value,
    /// Whether it can be looked up.
    pub stored: bool,
}

impl Agents {
    /// Begins a turn: its row, what it was asked and its first event in one transaction. It then runs by
    /// itself, here or at whoever has a place for it, whatever becomes of the caller. A turn of the session that waits
    /// for input is given up; while one runs, the agent's [`frontdesk_api::agent::OnMessage`] says what becomes of this one.
    ///
    /// With an idempotency key, the same request again gets the turn that the first one made.
    ///
    /// # Errors
    /// `NotFound` (agent, session), `Invalid` (no or wrong items), `Conflict` with the code `turn_running`
    /// while the session's turn runs or `idempotency_key_reused`, `RateLimited` with the code `session_queue_full`, `Unavailable` while the server stops;
    /// `RateLimited` and `Unavailable` with the code `turn_queue_full` where too many turns stand in line.
    pub async fn create_turn(&self, cx: &Cx, new: NewTurn) -> Result<Turn> {
        let (room, cx) = (self.clone(), cx.clone());
        self.detached(Box::pin(async move { room.begin(&cx, new).await })).await
    }

    pub(crate) async fn begin(&self, cx: &Cx, mut new: NewTurn) -> Result<Turn> {
        let room = &self.0;
        if room.stopping.is_cancelled() {
            return Err(Error::unavailable("the server is stopping").with_retry_after(SOON));
        }
        check(&new)?;
        if new.response.is_none() {
            // Outputs belong behind the calls they answer, before anything new is said.
            new.items.sort_by_key(prompt::is_customers);
        }
        if let Some(response) = &new.response {
            // Its request may bring functions beside the tools of a stored agent.
            self.check_tools(cx, &response.spec).await.map_err(in_request)?;
            servers::not_twice(&new.servers, &response.spec.toolgroups)?;
        }
        let agent = room.agent_of(cx, &new).await?;
        let id = room.deps.ids.next(if new.response.is_some() { "resp" } else { "turn" });
        // Entered before it is written, so that nobody takes it for lost in between.
        let entered = room.place().map(|place| Entered::new(room, cx, &id, Some(place)));
        let written = room.write_new(cx, &new, &agent, id, entered.is_some()).await?;
        let (claimed, items) = match written {
            Begun::New(begun) => *begun,
            Begun::Before(turn) => {
                return self.0.deps.store.tenant(cx).load_turn(&turn).await.map(|stored| stored.turn);
            }
            Begun::Behind { turn, before } => {
                drop(entered);
                Box::pin(room.stands_behind(cx, before)).await;
                room.wake(cx, &turn);
                return Ok(*turn);
            }
        };
        let turn = claimed.stored.turn.clone();
        room.wake(cx, &turn);
        room.hand_on(cx, agent.spec, claimed, entered, Some(items)).await;
        Ok(turn)
    }

    /// Runs work to its end whatever becomes of the caller: what is written is also taken up.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let done = self.0.tasks.spawn(work.in_current_span()).await;
        done.map_err(|e| Error::internal("the turn could not be taken up", e))?
    }
}

pub(crate) enum Begun {
    /// With its items, which are all of its rows that matter to who works on it first.
    New(Box<(Claimed, Vec<Item>)>),
    /// The same request made this turn before.
    Before(String),
    /// It stands behind the open turn of its session.
    Behind { turn: Box<Turn>, before: Before },
}

impl Room {
    async fn agent_of(&self, cx: &Cx, new: &NewTurn) -> Result<Agent> {
        if let Some(response) = &new.response {
            let (id, spec, version) = (new.agent_id.clone(), response.spec.clone(), response.version);
            return Ok(Agent { id, version, newest: version, spec, created_at: 0, updated_at: 0 });
        }
        let tenant = self.deps.store.tenant(cx);
        match &new.session_id {
            Some(session) => tenant.load_answering(&new.agent_id, session).await,
            None => tenant.load_agent(&new.agent_id).await,
        }
    }

    /// `held`: this process works on it; else it stands in line.
    pub(crate) async fn write_new(
        &self,
        cx: &Cx,
        new: &NewTurn,
        agent: &Agent,
        id: String,
        held: bool,
    ) -> Result<Begun> {
        let hash = new.idempotency_key.as_ref().map(|_| repeat::hash_of(cx, new)).transpose()?;
        let full = if held { None } else { self.full(cx).await? };
        let mut tx = self.deps.store.tenant(cx).write().await?;
        if let (Some(key), Some(hash)) = (&new.idempotency_key, &hash) {
            match idempotency::claim(&mut tx, repeat::SCOPE, key, hash, KEPT).await? {
                None => idempotency::answer(&mut tx, repeat::SCOPE, key, 200, &id).await?,
                Some(turn) => return Ok(Begun::Before(turn)),
            }
        }
        // Not before: a request that was taken in is answered again.
        if let Some(full) = full {
            let line = if full.kind == Kind::RateLimited { Full::Tenant } else { Full::All };
            self.deps.observer.noted(Note::Refused(line));
            return Err(full);
        }
        let (mut pos, mut parent, mut line, mut before, mut quiet) = (0, None, None, None, None);
        let mut closed = vec![];
        if let Some((by, epoch)) = &new.asked_by {
            asking::may_ask(&mut tx, by, *epoch).await?;
        }
        if let Some(response) = &new.response {
            agents::ensure_inline(&mut tx, self.deps.clock.now()).await?;
            parent = new.asked_by.as_ref().map(|(by, _)| by.turn.clone()).or(response.previous.clone());
            if let Some(previous) = &response.previous {
                let held = turns::hold(&mut tx, previous).await;
                line = held.as_ref().ok().map(|held| held.conversation().to_owned());
                may_continue(previous, access::to_continue(&mut tx, cx, held).await)?;
            }
        }
        if let Some(session_id) = &new.session_id {
            let missing = if new.response.is_some() { conversations::missing } else { sessions::missing };
            let place = sessions::advance(&mut tx, session_id, &id, &agent.id).await;
            let place = place.map_err(|e| if e.kind == Kind::NotFound { missing(session_id) } else { e })?;
            if place.is_conversation != new.response.is_some()
                || (!place.is_conversation && place.agent_id != new.agent_id)
            {
                return Err(missing(session_id));
            }
            access::enter_owned(&mut tx, cx, session_id, place.owner, missing).await?;
            (pos, parent) = (place.pos, place.parent);
            let standing = sessions::standing(&mut tx, session_id).await?;
            if standing.open + standing.queued > 0 {
                let room = self.make_room(&mut tx, session_id, &id, agent.spec.on_message, &mut closed);
                before = Box::pin(room).await?;
            }
            if standing.taken > 0 {
                quiet = handing::quiet(&mut tx, session_id).await?;
            }
        }
        // Not before it is known that the caller may go on from this: what is said of ids is said to those who may.
        let mut items = Cow::Borrowed(&new.items);
        if new.response.is_some() && brings_outputs(&new.items) {
            let alone = parent.is_none() && new.session_id.is_none();
            let past = if alone {
                Box::pin(requests(&mut tx, cx, &new.items)).await?
            } else {
                calls_before(&mut tx, new).await?
            };
            answers_calls(&new.items, &past)?;
            let mut heard = servers::heard(&new.items, &new.servers, &past)?;
            servers::note(&mut tx, &mut heard, alone).await?;
            items = Cow::Owned(heard);
        }
        let (held, state) = match before {
            Some(_) => (false, TurnState::Queued),
            None => (held, TurnState::Running),
        };
        let turn = Turn {
            session_id: new.session_id.clone(),
            agent_id: agent.id.clone(),
            agent_version: agent.version,
            parent,
            state,
            error: None,
            hand_off: None,
            usage: Usage::default(),
            created_at: self.deps.clock.now(),
            completed_at: None,
            id,
        };
        let request = TurnRequest {
            toolgroups: new.toolgroups.clone(),
            knowledge: new.knowledge.clone(),
            tool_choice: new.tool_choice.clone(),
            servers: new.servers.clone(),
            inputs: new.items.len(),
            spec: new.response.as_ref().map(|response| response.spec.clone()),
            response: new.response.as_ref().map(|response| response.echo.clone()),
            line,
            max_tool_calls: new.max_tool_calls,
            least_score: new.least_score,
            file_filter: new.file_filter.clone(),
            seals_thoughts: new.seals_thoughts,
            lingers: new.idempotency_key.is_some(),
            asked_by: new.asked_by.as_ref().map(|(by, _)| by.clone()),
            quiet,
            key_id: cx.principal.key_id.clone(),
            request: cx.request.clone(),
            customer: cx.customer.clone(),
            trace: self.deps.observer.trace(),
        };
        let on_input = if new.response.is_some() { OnInput::Finish } else { OnInput::Suspend };
        let stored = new.response.as_ref().is_none_or(|response| response.stored);
        let epoch = i64::from(held);
        let stored = StoredTurn { turn, pos, epoch, next_seq: 1, request, cancel_requested: false, on_input, stored };
        let (left, lease) = (time_of(&agent.spec), held.then(|| self.lease()));
        turns::add(&mut tx, &stored, lease, left).await?;
        let id = &stored.turn.id;
        let items: Vec<Item> = (0..)
            .zip(items.iter())
            .map(|(pos, body)| {
                let (id, turn_id) = (self.deps.ids.next(prefix(body)), id.clone());
                Item { id, turn_id, pos, body: body.clone() }
            })
            .collect();
        transcript::add_items(&mut tx, &items).await?;
        // Its row counts it already: nobody has written the turn before.
        transcript::add_events(&mut tx, id, 0, &[EventBody::Created { turn: stored.turn.clone() }]).await?;
        if let (Some(_), Some(session_id)) = (&before, &new.session_id) {
            // Should none be open any more.
            turns::begin_next(&mut tx, session_id).await?;
        }
        tx.commit().await?;
        for closed in closed {
            let turn = self.note_closed(closed);
            self.hub.wake(&cx.tenant, &turn.id);
        }
        if let Some(before) = before {
            return Ok(Begun::Behind { turn: Box::new(stored.turn), before });
        }
        let claimed = Claimed { tenant: cx.tenant.clone(), stored, left, attempts: 1 };
        Ok(Begun::New(Box::new((claimed, items))))
    }

    /// Why one more turn may not stand in line, if it may not.
    async fn full(&self, cx: &Cx) -> Result<Option<Error>> {
        // The line of all tenants is nobody's to see.
        let line = self.deps.store.system().turns_in_line(&cx.tenant).await?;
        let bounds = self.deps.bounds;
        let full = if line.of_tenant >= bounds.in_line_of_tenant {
            let message = format!("{} turns wait for a worker already; ask again when some have begun", line.of_tenant);
            Error::new(Kind::RateLimited, message)
        } else if line.of_all >= bounds.in_line {
            Error::unavailable("too many turns wait for a worker; ask again later")
        } else {
            return Ok(None);
        };
        Ok(Some(full.with_code("turn_queue_full").with_retry_after(LATER)))
    }

    /// Wakes those who follow a turn that was written, or the one before it, which may have been ended for it.
    fn wake(&self, cx: &Cx, turn: &Turn) {
        for id in std::iter::once(&turn.id).chain(&turn.parent) {
            self.hub.wake(&cx.tenant, id);
        }
    }

    /// Works on a turn that was entered; one that stands in line is told of. `fresh`: the items of a turn that nobody has
    /// worked on.
    pub(crate) async fn hand_on(
        self: &Arc<Self>,
        cx: &Cx,
        spec: AgentSpec,
        claimed: Claimed,
        entered: Option<Entered>,
        fresh: Option<Vec<Item>>,
    ) {
        let Some(entered) = entered else { return self.tell(Word::Claimable).await };
        entered.stop.begin();
        let (room, cx, stop) = (Arc::clone(self), cx.clone(), entered.stop.clone());
        let work = async move {
            let _entered = entered;
            // On the heap: a task is as large as the largest thing it ever waits for.
            Box::pin(worker::run(room, cx, spec, claimed, stop, fresh)).await;
        };
        self.tasks.spawn_on(work.in_current_span(), &self.runtime);
    }
}

/// How long the work of a turn may take, in microseconds.
pub(crate) fn time_of(spec: &AgentSpec) -> i64 {
    i64::try_from(spec.limits.timeout_s).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// A response goes on from another that has ended and is found by its id.
///
/// # Errors
/// `Invalid` on `previous_response_id`.
pub(crate) fn may_continue(previous: &str, found: Result<StoredTurn>) -> Result<()> {
    let found = match found {
        Ok(stored) => Some(stored),
        Err(error) if error.kind == Kind::NotFound => None,
        Err(error) => return Err(error),
    };
    let Some(stored) = found.filter(|stored| stored.stored && stored.request.response.is_some()) else {
        let message = format!("previous response with id '{previous}' not found");
        return Err(Error::invalid("previous_response_id", message).with_code("previous_response_not_found"));
    };
    if !stored.turn.state.is_terminal() {
        let message = format!("the response '{previous}' has not ended: wait for it or cancel it");
        return Err(Error::invalid("previous_response_id", message).with_code("previous_response_in_progress"));
    }
    Ok(())
}

/// What a response goes on from.
///
/// # Errors
/// As any query.
pub(crate) async fn past(tx: &mut Tx, new: &NewTurn) -> Result<Vec<PastItem>> {
    let previous = new.response.as_ref().and_then(|response| response.previous.as_deref());
    match (&new.session_id, previous) {
        (Some(session), _) => transcript::history(tx, session, i64::MAX).await,
        (None, Some(previous)) => transcript::line(tx, previous).await,
        (None, None) => Ok(vec![]),
    }
}

/// Of [`past`], the calls: nothing else is read while a transaction writes.
async fn calls_before(tx: &mut Tx, new: &NewTurn) -> Result<Vec<PastItem>> {
    let previous = new.response.as_ref().and_then(|response| response.previous.as_deref());
    match (&new.session_id, previous) {
        (Some(session), _) => transcript::history_of_calls(tx, session, i64::MAX).await,
        (None, Some(previous)) => transcript::line_of_calls(tx, previous).await,
        (None, None) => Ok(vec![]),
    }
}

/// What these words are said to, for a client that keeps its conversation itself and names no response: the requests of
/// responses that the caller could go on from.
async fn requests(tx: &mut Tx, cx: &Cx, items: &[ItemBody]) -> Result<Vec<PastItem>> {
    let mut found = vec![];
    for item in items {
        let ItemBody::ApprovalResponse { request_id, .. } = item else { continue };
        let Some(item) = transcript::find_item(tx, request_id).await? else { continue };
        let held = turns::hold(tx, &item.turn_id).await;
        match access::to_continue(tx, cx, held).await {
            Ok(held) => {
                let state = held.turn.state;
                may_continue(&item.turn_id, Ok(held))?;
                found.push(PastItem { state, interrupted: false, item });
            }
            Err(error) if error.kind == Kind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn brings_outputs(items: &[ItemBody]) -> bool {
    items.iter().any(|item| matches!(item, ItemBody::FunctionCallOutput { .. } | ItemBody::ApprovalResponse { .. }))
}

/// Every output answers a call that was made: one that answers none would be told to no model, and its client would
/// never hear of it.
///
/// # Errors
/// `Invalid` on `input`, naming the call.
pub(crate) fn answers_calls(items: &[ItemBody], past: &[PastItem]) -> Result<()> {
    let known = past.iter().map(|past| &past.item.body).chain(items);
    let known: HashSet<&str> = known
        .filter_map(|body| match body {
            ItemBody::FunctionCall { call, .. } => Some(call.id.as_str()),
            _ => None,
        })
        .collect();
    for item in items {
        if let ItemBody::FunctionCallOutput { call_id, .. } = item
            && !known.contains(call_id.as_str())
        {
            // OpenAI's words.
            let message = format!("No tool call found for function call output with call_id {call_id}.");
            return Err(Error::invalid("input", message));
        }
    }
    Ok(())
}

/// A response's functions are `tools` to its client, those of a stored agent first.
fn in_request(mut error: Error) -> Error {
    error.param = error.param.map(|param| param.replacen("client_tools[", "tools[", 1));
    error
}

fn check(new: &NewTurn) -> Result<()> {
    if new.items.is_empty() && new.response.is_none() {
        return Err(Error::invalid("messages", "messages is empty: a turn begins with a message"));
    }
    if new.items.len() > MOST_ITEMS {
        let message = format!("messages has {} entries; a turn takes at most {MOST_ITEMS}", new.items.len());
        return Err(Error::invalid("messages", message));
    }
    servers::not_ours(&new.items)?;
    for (i, item) in new.items.iter().enumerate() {
        let fits =
            new.response.is_some() || prompt::is_customers(item) || matches!(item, ItemBody::FunctionCallOutput { .. });
        if !fits {
            let message = format!("messages[{i}] must be a user message or the output of a tool");
            return Err(Error::invalid(format!("messages[{i}]"), message));
        }
    }
    new.idempotency_key.as_deref().map_or(Ok(()), |key| idempotency::check("Idempotency-Key", key))
}
