//! Turns that stand in line: bounded, in turn among tenants, cancelled and waited for like any other.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{Bounds, Pace};
use frontdesk_api::{
    Cx, Kind,
    agent::AgentSpec,
    chat::ToolSpec,
    id::RandomIds,
    turn::{StepState, TurnState},
};
use frontdesk_store::testing::each_database;

use crate::stage::{Line, Stage, answer, happens, pace};

fn often() -> Pace {
    let often = Duration::from_millis(50);
    Pace { poll: often, renew: often, look: often, ..pace() }
}

/// A conversation of its own for each turn, since one has one open turn.
async fn ask(stage: &Stage, cx: &Cx, agent: &str) -> frontdesk_api::Result<frontdesk_api::turn::Turn> {
    let session = stage.agents.create_session(cx, agent, "test").await.expect("a session");
    stage.agents.create_turn(cx, Stage::asks(&(agent.to_owned(), session.id), "hello")).await
}

#[tokio::test]
async fn a_line_has_an_end_for_each_tenant_and_for_all_and_serves_tenants_in_turn() {
    each_database(|store| async move {
        let bounds = Bounds { at_once: 2, in_line_of_tenant: 2, in_line: 3, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), often(), bounds).await;
        stage.agents.recover().await.expect("it works");
        let theirs = Cx::internal("tenant_b", "r");
        let (a, _) = stage.conversation(AgentSpec::new("m")).await;
        let b = stage.agents.create_agent(&theirs, AgentSpec::new("m")).await.expect("an agent").id;
        stage.model.play([Line::Silence, Line::Silence]);
        let mut running = vec![];
        for _ in 0..2 {
            running.push(ask(&stage, &stage.cx, &a).await.expect("it runs"));
            stage.model.begun().await;
        }
        let mut waiting = vec![];
        for _ in 0..2 {
            waiting.push(ask(&stage, &stage.cx, &a).await.expect("in line"));
        }
        let full = ask(&stage, &stage.cx, &a).await.expect_err("this tenant's line is full");
        assert_eq!((full.kind, full.code.as_deref()), (Kind::RateLimited, Some("turn_queue_full")));
        assert!(full.retry_after.is_some());
        let other = ask(&stage, &theirs, &b).await.expect("another tenant has a line of its own");
        let full = ask(&stage, &theirs, &b).await.expect_err("the line of all is full");
        assert_eq!((full.kind, full.code.as_deref()), (Kind::Unavailable, Some("turn_queue_full")));
        assert!(full.retry_after.is_some());

        // The one tenant keeps a turn in hand, so the other is next although it came last. There is one place for all
        // that wait, so the model's words tell in which order they had it.
        stage.model.play([Line::Say("one"), Line::Say("two"), Line::Say("three")]);
        stage.agents.cancel(&stage.cx, &running[0].id).await.expect("cancelled");
        let mut said = vec![];
        for turn in &waiting {
            let view = stage.settled(&turn.id).await;
            assert_eq!(view.turn.state, TurnState::Completed);
            said.push(answer(&view).to_owned());
        }
        assert_eq!(said, ["two", "three"], "in a tenant's own line who came first is first");
        let events = stage.agents.events(&theirs, &other.id, None).await.expect("events");
        assert!(futures::StreamExt::count(events).await > 3);
        let view = stage.agents.load_turn(&theirs, &other.id).await.expect("it");
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "one"));
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_process_without_places_leaves_the_work_to_others() {
    each_database(|store| async move {
        let edge = Stage::with(store, Arc::new(RandomIds), often(), Bounds { at_once: 0, ..Bounds::default() }).await;
        edge.agents.recover().await.expect("it serves");
        let conversation = edge.conversation(AgentSpec::new("m")).await;
        let turn = edge.agents.create_turn(&edge.cx, Stage::asks(&conversation, "hello")).await.expect("taken in");
        assert_eq!(edge.agents.tally().running, 0);
        let worker = edge.beside(often(), Bounds::default());
        worker.model.play([Line::Say("Hello.")]);
        worker.agents.recover().await.expect("it works");
        let view = edge.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Hello."));

        // A cancel reaches the worker wherever it was asked for.
        worker.model.play([Line::Silence]);
        let turn = edge.agents.create_turn(&edge.cx, Stage::asks(&conversation, "think")).await.expect("taken in");
        worker.model.begun().await;
        edge.agents.cancel(&edge.cx, &turn.id).await.expect("asked to stop");
        assert_eq!(edge.settled(&turn.id).await.turn.state, TurnState::Cancelled);
        edge.agents.shutdown(Duration::ZERO).await;
        worker.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_in_line_is_cancelled_at_once() {
    each_database(|store| async move {
        let edge = Stage::with(store, Arc::new(RandomIds), often(), Bounds { at_once: 0, ..Bounds::default() }).await;
        let conversation = edge.conversation(AgentSpec::new("m")).await;
        let turn = edge.agents.create_turn(&edge.cx, Stage::asks(&conversation, "hello")).await.expect("taken in");
        let turn = edge.agents.cancel(&edge.cx, &turn.id).await.expect("cancelled");
        assert_eq!(turn.state, TurnState::Cancelled);
        assert_eq!(edge.settled(&turn.id).await.turn.state, TurnState::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn a_turn_waits_for_input_no_longer_than_it_may_whoever_began_it() {
    each_database(|store| async move {
        let patience = Pace { wait: Duration::ZERO, ..often() };
        let stage = Stage::with(store, Arc::new(RandomIds), patience, Bounds::default()).await;
        let tool =
            ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
        let spec = AgentSpec { client_tools: vec![tool], ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}")])]);
        let turn = stage.ask(&conversation, "Oslo?").await.turn;
        assert_eq!(turn.state, TurnState::AwaitingInput);
        // It holds no place: its worker lets go of it once its wait is in the rows.
        let wait = async {
            while stage.agents.tally().running > 0 {
                tokio::task::yield_now().await;
            }
        };
        happens("the worker to let go", wait).await;
        let next = stage.beside(often(), Bounds::default());
        next.agents.recover().await.expect("another process");
        let ended = async {
            loop {
                let view = next.agents.load_turn(&stage.cx, &turn.id).await.expect("the turn");
                if view.turn.state.is_terminal() {
                    break view;
                }
                tokio::task::yield_now().await;
            }
        };
        let view = happens("the turn to be ended", ended).await;
        let code = view.turn.error.as_ref().map(|e| e.code.as_str());
        assert_eq!((view.turn.state, code), (TurnState::Incomplete, Some("input_timeout")));
        assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "{:?}", view.steps);
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}
