//! Replays: recorded conversations answered again by another version of their agent, turn by turn.
//!
//! Each turn is asked again with what its customer said then, and what its request gave beside (`given`), through the
//! code that every turn runs through, in a room of its own over a store that goes with it (`stage`). Tools answer from
//! the recording (`recording`). The models, shields and knowledge are the real ones, so a replay says what would happen
//! now.
//!
//! Invariants: nothing that a replayed turn comes to (an answer, a hand-over, a wait for a person) reaches the recorded
//! conversation, its customer or anyone's queue; its model calls are booked under a turn whose id begins with `replay_`
//! and under no conversation; it ends with whoever asked for it.

mod compare;
mod diff;
mod given;
mod places;
mod recording;
mod stage;

use std::collections::{HashSet, VecDeque};

use frontdesk_api::{
    Cx, Error, Kind, Order, PageRequest, Result,
    agent::AgentSpec,
    customer::Sight,
    replay::{Comparison, Replayed, Skip},
    turn::{Item, ItemBody, TurnState},
};
use frontdesk_store::{transcript, turns::StoredTurn};

pub(crate) use self::places::Places;
pub use self::recording::With;
use self::{
    places::Place,
    recording::{Recorded, Recording},
    stage::Stage,
};
use crate::{Agents, access};

/// Replays that a process runs at once, one of a tenant: each has a store and a model call.
const AT_ONCE: usize = 8;

/// The most conversations of one replay.
const MOST_CONVERSATIONS: usize = 100;

/// The most turns of one replay, those that are skipped included.
const MOST_TURNS: usize = 1_000;

/// What is to be replayed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    pub agent_id: String,
    pub against: Against,
    /// Ids of conversations, in order; empty: the newest of the agent, `last` of them.
    pub conversations: Vec<String>,
    /// 1 to 100; 0 counts as 10.
    pub last: usize,
    pub tools: With,
    pub history: History,
}

/// What answers this time.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Against {
    /// The agent's newest version, published or not.
    #[default]
    Newest,
    Published,
    Version(i64),
    /// A spec that need be no version.
    Spec(Box<AgentSpec>),
}

/// What the model reads of the turns before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum History {
    /// What was recorded: a difference does not lead to others.
    #[default]
    Recorded,
    /// What was replayed.
    Replayed,
}

/// A replay under way; dropping it ends it.
pub struct Replaying {
    agents: Agents,
    cx: Cx,
    agent_id: String,
    version: Option<i64>,
    history: History,
    stage: Stage,
    /// Those that were not begun.
    conversations: VecDeque<Vec<StoredTurn>>,
    open: Option<Open>,
    total: usize,
    done: usize,
    _place: Place,
}

/// A conversation under way.
struct Open {
    id: String,
    turns: VecDeque<Recorded>,
    /// Items that models may see.
    seen: HashSet<String>,
    /// The place of the next turn.
    at: usize,
    /// The turn in the scratch store that the next one continues.
    head: Option<String>,
}

impl Agents {
    /// Gets a replay ready: finds the conversations and looks at the spec.
    ///
    /// # Errors
    /// `NotFound` (agent, version, conversation); `Invalid` naming the member; `RateLimited` with the code
    /// `replays_busy`; `Forbidden` on behalf of a customer: conversations are everybody's.
    pub async fn replay(&self, cx: &Cx, replay: Replay) -> Result<Replaying> {
        access::no_customers(cx, "replays")?;
        let place = Places::take(&self.0.replays, &cx.tenant)?;
        let agent = self.load_agent(cx, &replay.agent_id).await?;
        let (version, spec) = match replay.against {
            Against::Spec(spec) => {
                self.check(cx, &spec).await?;
                self.check_price(cx, &spec).await?;
                (None, *spec)
            }
            Against::Newest => self.load_newest_version(cx, &agent.id).await.map(|v| (Some(v.version), v.spec))?,
            Against::Published => (Some(agent.version), agent.spec),
            Against::Version(n) => self.load_version(cx, &agent.id, n).await.map(|v| (Some(v.version), v.spec))?,
        };
        let (param, wanted) = match replay.conversations.is_empty() {
            true => ("last", self.newest_sessions(cx, &agent.id, replay.last).await?),
            false => ("conversations", replay.conversations),
        };
        let conversations = self.recorded(cx, &agent.id, wanted, param).await?;
        Ok(Replaying {
            stage: Stage::set(self, cx, &agent.id, version, spec, replay.tools).await?,
            agents: self.clone(),
            cx: cx.clone(),
            agent_id: agent.id,
            version,
            history: replay.history,
            total: conversations.iter().map(Vec::len).sum(),
            conversations: conversations.into(),
            open: None,
            done: 0,
            _place: place,
        })
    }

    async fn newest_sessions(&self, cx: &Cx, agent_id: &str, last: usize) -> Result<Vec<String>> {
        let limit = if last == 0 { 10 } else { last };
        if limit > MOST_CONVERSATIONS {
            return Err(Error::invalid("last", format!("last is 1 to {MOST_CONVERSATIONS}")));
        }
        let page = PageRequest { after: None, limit: u32::try_from(limit).unwrap_or(u32::MAX), order: Order::Desc };
        let newest = self.0.deps.store.tenant(cx).list_sessions(agent_id, &Sight::All, &page).await?;
        Ok(newest.items.into_iter().map(|session| session.id).collect())
    }

    /// The turns of these conversations, each once. `param`: what says which.
    async fn recorded(
        &self,
        cx: &Cx,
        agent_id: &str,
        ids: Vec<String>,
        param: &'static str,
    ) -> Result<Vec<Vec<StoredTurn>>> {
        if ids.len() > MOST_CONVERSATIONS {
            let message = format!("one replay takes at most {MOST_CONVERSATIONS} conversations");
            return Err(Error::invalid("conversations", message));
        }
        let (mut all, mut left, mut named) = (vec![], MOST_TURNS, HashSet::new());
        for id in ids {
            if !named.insert(id.clone()) {
                continue;
            }
            let turns = self.0.deps.store.tenant(cx).session_turns(&id, Some(left + 1)).await?;
            if turns.len() > left {
                let message =
                    format!("these conversations have more than the {MOST_TURNS} turns that one replay takes");
                return Err(Error::invalid(param, message));
            }
            left -= turns.len();
            let theirs = turns.iter().any(|stored| stored.turn.agent_id == agent_id);
            if !theirs && !self.is_session_of(cx, agent_id, &id).await? {
                let message = format!("this agent has answered in no conversation with the id '{id}'");
                return Err(Error::not_found(message).with_code("session_not_found").with_param("conversations"));
            }
            all.push(turns);
        }
        Ok(all)
    }

    async fn is_session_of(&self, cx: &Cx, agent_id: &str, id: &str) -> Result<bool> {
        match self.0.deps.store.tenant(cx).load_session(agent_id, id).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == Kind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Replaying {
    /// The version that answers; None: a spec that is none.
    #[must_use]
    pub fn version(&self) -> Option<i64> {
        self.version
    }

    /// How many turns there are, those that will be skipped included.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// The next turn, once it was asked again; None: there are no more.
    pub async fn next(&mut self) -> Option<Result<Replayed>> {
        loop {
            if let Some(open) = &mut self.open
                && let Some(recorded) = open.turns.pop_front()
            {
                return Some(Box::pin(self.turn(recorded)).await);
            }
            let turns = self.conversations.pop_front()?;
            if let Err(error) = self.begin(turns).await {
                self.conversations.clear();
                return Some(Err(error));
            }
        }
    }

    /// Reads a conversation.
    async fn begin(&mut self, turns: Vec<StoredTurn>) -> Result<()> {
        let Some(id) = turns.first().and_then(|stored| stored.turn.session_id.clone()) else { return Ok(()) };
        let mut tx = self.agents.0.deps.store.tenant(&self.cx).read().await?;
        let seen = transcript::history(&mut tx, &id, i64::MAX).await?.into_iter().map(|past| past.item.id).collect();
        let mut recorded = vec![];
        for stored in turns {
            let turn = &stored.turn.id;
            let (items, steps) = (transcript::items(&mut tx, turn).await?, transcript::steps(&mut tx, turn).await?);
            recorded.push(Recorded { stored, items, steps });
        }
        drop(tx);
        let workspace = self.agents.0.deps.ids.next("replay");
        self.stage.tools.open(Recording::of(&recorded), workspace);
        self.open = Some(Open { id, turns: recorded.into(), seen, at: 0, head: None });
        Ok(())
    }

    async fn turn(&mut self, recorded: Recorded) -> Result<Replayed> {
        let Some(open) = &mut self.open else { return Err(Error::new(Kind::Internal, "no conversation is open")) };
        let at = open.at;
        open.at += 1;
        self.done += 1;
        let (parent, id) = (open.head.clone(), open.id.clone());
        let shown: Vec<Item> = recorded.items.iter().filter(|item| open.seen.contains(&item.id)).cloned().collect();
        let skipped = skip(&recorded, &self.agent_id);
        let mut comparison = None;
        let mut head = recorded.stored.turn.id.clone();
        if skipped.is_none() {
            self.stage.tools.turn_to(at, recorded.stored.request.customer.clone());
            let (compared, replayed) = self.again(&recorded, parent.clone()).await?;
            comparison = Some(compared);
            if self.history == History::Replayed {
                head = replayed;
            }
        }
        if head == recorded.stored.turn.id {
            self.stage.keep(&recorded, &shown, parent).await?;
        }
        if let Some(open) = &mut self.open {
            open.head = Some(head);
        }
        let (turn_id, input) = (recorded.stored.turn.id.clone(), recorded.input());
        Ok(Replayed { conversation_id: id, turn_id, n: self.done, input, skipped, comparison })
    }

    /// The comparison, and the id of the replayed turn.
    async fn again(&self, recorded: &Recorded, parent: Option<String>) -> Result<(Comparison, String)> {
        let Recorded { stored, items, steps } = recorded;
        let number = stored.turn.agent_version;
        let made_of = match &stored.request.spec {
            Some(_) => Some(self.agents.load_version(&self.cx, &self.agent_id, number).await?.spec),
            None => None,
        };
        let outcome = self.stage.ask(recorded, parent, made_of.as_ref()).await?;
        let version = Some(number);
        let was = compare::answered(&stored.turn, version, recorded.inputs(), items, steps, vec![]);
        let waits_for = outcome.open.approvals.into_iter().map(|asked| asked.call).collect();
        let is =
            compare::answered(&outcome.turn, self.version, outcome.inputs, &outcome.items, &outcome.steps, waits_for);
        Ok((compare::compare(was, is, self.stage.tools.not_made()), outcome.turn.id))
    }
}

/// Why a turn is not asked again.
fn skip(recorded: &Recorded, agent_id: &str) -> Option<Skip> {
    let turn = &recorded.stored.turn;
    let said = recorded.items.iter().skip(recorded.inputs());
    let speaks =
        |body| matches!(body, &ItemBody::Message { .. } | ItemBody::Refusal { .. } | ItemBody::FunctionCall { .. });
    let spoke = said.clone().any(|item| speaks(&item.body));
    match turn.state {
        TurnState::Queued | TurnState::Running | TurnState::AwaitingInput => Some(Skip::Open),
        TurnState::Cancelled | TurnState::DeadLetter => Some(Skip::CutOff),
        // Nobody was asked in it: what a person said is under whichever agent had the conversation.
        _ if recorded.steps.is_empty() => Some(Skip::NotAnswered),
        _ if turn.agent_id != agent_id => Some(Skip::OtherAgent),
        // A person had the conversation.
        _ if turn.hand_off.is_some() && !spoke => Some(Skip::NotAnswered),
        _ => None,
    }
}
