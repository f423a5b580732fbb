//! Rows put in order beside the work: however much there is of it, leases are renewed, turns claimed and words heard.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_agents::{Bounds, Pace};
use frontdesk_api::{
    Dispatch, Result,
    agent::AgentSpec,
    chat::{Message, ToolSpec},
    dispatch::Word,
    id::RandomIds,
    turn::TurnState,
};
use frontdesk_store::{Store, on, sqlx, testing::each_database};
use futures::stream::BoxStream;
use tokio::sync::{Notify, Semaphore};

use crate::stage::{Line, Stage, answer, happens, pace};

/// Turns that are overdue at once.
const MANY: usize = 150;

/// Where the sweep, after the first turn that it ended, stands until the test lets it on: its word to the workers.
struct Held {
    inner: Arc<dyn Dispatch>,
    first: AtomicBool,
    reached: Notify,
    gate: Semaphore,
    left: Arc<Notify>,
}

impl Held {
    fn new(store: &Store) -> Arc<Self> {
        let (reached, gate, left) = (Notify::new(), Semaphore::new(0), Arc::default());
        Arc::new(Self { inner: store.dispatch(), first: AtomicBool::new(true), reached, gate, left })
    }
}

/// Rings when whoever stood at the gate does so no more.
struct Leaves(Arc<Notify>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Dispatch for Held {
    async fn tell(&self, word: &Word) -> Result<()> {
        if *word == Word::Claimable && self.first.swap(false, Ordering::SeqCst) {
            let _leaves = Leaves(self.left.clone());
            self.reached.notify_one();
            drop(self.gate.acquire().await);
        }
        self.inner.tell(word).await
    }

    fn listen(&self) -> BoxStream<'static, Word> {
        self.inner.listen()
    }
}

fn script(prompt: &[Message]) -> Line {
    match prompt.last().map(Message::joined).as_deref() {
        Some("wait") => Line::Call(vec![("a", "weather", "{}")]),
        Some("think") => Line::Silence,
        _ => Line::Say("Hello."),
    }
}

fn often() -> Pace {
    let often = Duration::from_millis(50);
    Pace { poll: often, renew: often, look: often, ..pace() }
}

/// A process in whose rows `many` turns waited longer than they may; it does not sweep.
async fn overdue(store: Store, many: usize) -> (Stage, String, Vec<String>) {
    let impatient = Pace { wait: Duration::ZERO, ..often() };
    let stage = Stage::with(store, Arc::new(RandomIds), impatient, Bounds::default()).await;
    stage.model.follow(script);
    let tool =
        ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
    let spec = AgentSpec { client_tools: vec![tool], ..AgentSpec::new("m") };
    let agent = stage.agents.create_agent(&stage.cx, spec).await.expect("an agent").id;
    let mut turns = vec![];
    for _ in 0..many {
        let session = stage.agents.create_session(&stage.cx, &agent, "test").await.expect("a session").id;
        let view = stage.ask(&(agent.clone(), session), "wait").await;
        assert_eq!(view.turn.state, TurnState::AwaitingInput);
        turns.push(view.turn.id);
    }
    (stage, agent, turns)
}

/// Epoch, attempts and lease of a turn.
async fn hold(stage: &Stage, turn: &str) -> (i64, i64, i64) {
    let mut tx = stage.store.tenant(&stage.cx).read().await.expect("a transaction");
    let sql = "SELECT epoch, attempts, lease_until FROM turn WHERE tenant = $1 AND id = $2";
    let row = on!(tx, conn => sqlx::query_as(sql).bind(&stage.cx.tenant).bind(turn).fetch_one(conn).await);
    row.expect("the turn")
}

#[tokio::test]
async fn while_many_overdue_turns_are_ended_work_is_held_begun_and_stopped() {
    each_database(|store| async move {
        let (stage, agent, turns) = overdue(store, MANY).await;
        let held = Held::new(&stage.store);
        let keeper = stage.changed(often(), Bounds::default(), |deps| deps.dispatch = held.clone());
        let edge = stage.changed(often(), Bounds { at_once: 0, ..Bounds::default() }, |_| {});
        keeper.agents.recover().await.expect("it works");
        happens("the sweep to end a turn", held.reached.notified()).await;

        let ask = async |at: &Stage, words| {
            let session = at.agents.create_session(&at.cx, &agent, "test").await.expect("a session").id;
            at.agents.create_turn(&at.cx, Stage::asks(&(agent.clone(), session), words)).await.expect("a turn").id
        };
        let thinks = ask(&keeper, "think").await;
        let before = hold(&keeper, &thinks).await;
        let renewed = async {
            while hold(&keeper, &thinks).await.2 == before.2 {
                tokio::task::yield_now().await;
            }
        };
        happens("the lease to be renewed", renewed).await;
        let new = ask(&edge, "hello").await;
        assert_eq!(answer(&edge.settled(&new).await), "Hello.", "it was claimed");
        let after = hold(&keeper, &thinks).await;
        assert_eq!((after.0, after.1), (before.0, 1), "nobody took it over");
        edge.agents.cancel(&edge.cx, &thinks).await.expect("asked to stop");
        assert_eq!(edge.settled(&thinks).await.turn.state, TurnState::Cancelled);

        held.gate.add_permits(1);
        let swept = async {
            while stage.store.system().turns_standing().await.expect("a count").awaiting_input > 0 {
                tokio::task::yield_now().await;
            }
        };
        happens("all overdue turns to end", swept).await;
        for turn in &turns {
            let turn = stage.agents.load_turn(&stage.cx, turn).await.expect("the turn").turn;
            let code = turn.error.as_ref().map(|e| e.code.as_str());
            assert_eq!((turn.state, code), (TurnState::Incomplete, Some("input_timeout")));
        }
        keeper.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn what_stands_still_is_counted_while_a_sweep_goes_on() {
    each_database(|store| async move {
        let (stage, _, _) = overdue(store, 2).await;
        let held = Held::new(&stage.store);
        let keeper = stage.changed(often(), Bounds::default(), |deps| deps.dispatch = held.clone());
        keeper.agents.recover().await.expect("it works");
        happens("the sweep to end a turn", held.reached.notified()).await;
        let counted = async {
            while keeper.agents.tally().standing.is_none_or(|standing| standing.awaiting_input != 1) {
                tokio::task::yield_now().await;
            }
        };
        happens("the turn that is left to be counted", counted).await;
        keeper.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_stop_ends_a_sweep_wherever_it_is() {
    each_database(|store| async move {
        let (stage, _, _) = overdue(store, 2).await;
        let held = Held::new(&stage.store);
        let keeper = stage.changed(often(), Bounds::default(), |deps| deps.dispatch = held.clone());
        keeper.agents.recover().await.expect("it works");
        happens("the sweep to end a turn", held.reached.notified()).await;
        keeper.agents.shutdown(Duration::ZERO).await;
        happens("the sweep to leave off", held.left.notified()).await;
        let standing = stage.store.system().turns_standing().await.expect("a count");
        assert_eq!(standing.awaiting_input, 1, "the other one is left to the next");
    })
    .await;
}
