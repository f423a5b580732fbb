//! Cancels that meet a turn at the moment before it waits.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use frontdesk_api::{
    Ids,
    agent::AgentSpec,
    chat::ToolSpec,
    id::RandomIds,
    turn::{EventBody, StepState, Turn, TurnState},
};
use frontdesk_store::testing::each_database;
use tokio::sync::Notify;

use crate::stage::{Line, Stage};

/// The step of a client tool: the one after the model's.
const CALL: usize = 2;

/// Ids that hold the worker where it has the model's answer and writes down what it waits for.
struct Gate {
    steps: AtomicUsize,
    reached: Notify,
    open: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    fn new() -> (Arc<Self>, mpsc::Sender<()>) {
        let (opener, open) = mpsc::channel();
        (Arc::new(Self { steps: AtomicUsize::new(0), reached: Notify::new(), open: Mutex::new(open) }), opener)
    }
}

impl Ids for Gate {
    fn next(&self, prefix: &str) -> String {
        if prefix == "step" && self.steps.fetch_add(1, Ordering::SeqCst) + 1 == CALL {
            self.reached.notify_one();
            // Whoever shares this thread goes on elsewhere meanwhile.
            tokio::task::block_in_place(|| self.open.lock().expect("the gate").recv()).expect("it is opened");
        }
        RandomIds.next(prefix)
    }
}

/// A turn that is about to wait, held there until a word comes through the sender.
async fn about_to_wait(store: frontdesk_store::Store) -> (Stage, Turn, mpsc::Sender<()>) {
    let (gate, opener) = Gate::new();
    let stage = Stage::with_ids(store, gate.clone()).await;
    let tool =
        ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
    let spec = AgentSpec { client_tools: vec![tool], ..AgentSpec::new("m") };
    let conversation = stage.conversation(spec).await;
    stage.model.play([Line::Call(vec![("a", "weather", "{}")])]);
    let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "Oslo?")).await.expect("a turn");
    gate.reached.notified().await;
    (stage, turn, opener)
}

/// The turn once its task is over, and whether anyone was told that it waits.
async fn ended(stage: &Stage, turn: &Turn) -> bool {
    stage.agents.shutdown(Duration::from_secs(60)).await;
    let view = stage.settled(&turn.id).await;
    let code = view.turn.error.as_ref().map(|e| e.code.as_str());
    assert_eq!((view.turn.state, code), (TurnState::Cancelled, Some("cancelled")));
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {:?}", view.steps);
    assert!(view.waiting.is_empty());
    stage.events(&turn.id).await.iter().any(|e| matches!(e.body, EventBody::AwaitingInput { .. }))
}

#[tokio::test]
async fn a_cancel_of_a_turn_that_has_ended_changes_nothing() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("Hello.")]);
        let view = stage.ask(&conversation, "hello").await;
        let events = stage.events(&view.turn.id).await;
        let turn = stage.agents.cancel(&stage.cx, &view.turn.id).await.expect("answered");
        assert_eq!(turn, view.turn);
        assert_eq!((stage.settled(&turn.id).await, stage.events(&turn.id).await), (view, events));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_while_a_turn_is_about_to_wait_ends_it_instead() {
    each_database(|store| async move {
        let (stage, turn, opener) = about_to_wait(store).await;
        let asked = stage.agents.cancel(&stage.cx, &turn.id).await.expect("asked to stop");
        assert_eq!(asked.state, TurnState::Running, "its worker has not heard of it");
        opener.send(()).expect("the worker waits");
        assert!(!ended(&stage, &turn).await, "it never said that it waits");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_that_only_the_rows_know_ends_a_turn_that_has_begun_to_wait() {
    each_database(|store| async move {
        let (stage, turn, opener) = about_to_wait(store.clone()).await;
        // Another process: it reaches the worker through the rows alone.
        let other = Stage::set(store).await;
        let asked = other.agents.cancel(&stage.cx, &turn.id).await.expect("asked to stop");
        assert_eq!(asked.state, TurnState::Running);
        opener.send(()).expect("the worker waits");
        assert!(ended(&stage, &turn).await, "it waited for a moment");
    })
    .await;
}
