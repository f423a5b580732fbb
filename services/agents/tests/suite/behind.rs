//! Messages that come while their conversation's turn is open: refused, behind it, or in its place.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{Bounds, Pace};
use frontdesk_api::{
    Kind,
    agent::{AgentSpec, OnMessage},
    chat::{Role, ToolSpec},
    id::RandomIds,
    turn::{EventBody, Turn, TurnState},
};
use frontdesk_store::{Store, testing::each_database};

use crate::stage::{Line, Stage, answer, pace, with_tools};

fn often() -> Pace {
    let often = Duration::from_millis(50);
    Pace { poll: often, renew: often, look: often, ..pace() }
}

async fn set(store: Store) -> Stage {
    let stage = Stage::with(store, Arc::new(RandomIds), often(), Bounds::default()).await;
    stage.agents.recover().await.expect("it works");
    stage
}

fn agent(on_message: OnMessage) -> AgentSpec {
    AgentSpec { on_message, ..AgentSpec::new("m") }
}

async fn say(stage: &Stage, conversation: &(String, String), words: &str) -> Turn {
    stage.agents.create_turn(&stage.cx, Stage::asks(conversation, words)).await.expect("a turn")
}

/// What the customer said, as the newest prompt has it.
fn heard(stage: &Stage) -> Vec<String> {
    let prompt = stage.model.asked().pop().expect("a prompt");
    prompt.into_iter().filter(|m| m.0 == Role::User).map(|m| m.1).collect()
}

fn code(turn: &Turn) -> Option<&str> {
    turn.error.as_ref().map(|error| error.code.as_str())
}

#[tokio::test]
async fn messages_stand_behind_a_running_turn_and_are_answered_in_order() {
    each_database(|store| async move {
        let stage = set(store).await;
        let conversation = stage.conversation(agent(OnMessage::Queue)).await;
        stage.model.play([Line::Silence]);
        let first = say(&stage, &conversation, "one").await;
        stage.model.begun().await;
        let mut behind = vec![];
        for words in ["two", "three"] {
            let turn = say(&stage, &conversation, words).await;
            assert_eq!(turn.state, TurnState::Queued);
            behind.push(turn.id);
        }
        for n in 2..10 {
            behind.push(say(&stage, &conversation, &n.to_string()).await.id);
        }
        let full = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "more")).await.expect_err("full");
        assert_eq!((full.kind, full.code.as_deref()), (Kind::RateLimited, Some("session_queue_full")));
        assert!(full.retry_after.is_some());
        // One that stands in line is cancelled at once, and the others keep their places.
        let gone = behind.remove(2);
        let turn = stage.agents.cancel(&stage.cx, &gone).await.expect("cancelled");
        assert_eq!((turn.state, code(&turn)), (TurnState::Cancelled, Some("cancelled")));

        stage.model.follow(|prompt| if prompt.len() > 1 { Line::Say("Yes.") } else { Line::Say("First.") });
        stage.agents.cancel(&stage.cx, &first.id).await.expect("cancelled");
        for id in &behind {
            // Its stream shows it from its creation.
            let view = stage.settled(id).await;
            assert_eq!(view.turn.state, TurnState::Completed, "{:?}", view.turn);
            assert!(matches!(stage.events(id).await[0].body, EventBody::Created { .. }));
        }
        // Each was answered after the one before it; the first was cancelled, so nobody is told of it.
        assert_eq!(heard(&stage), ["two", "three", "3", "4", "5", "6", "7", "8", "9"]);
        let (_, turns) = stage.agents.load_conversation(&stage.cx, &conversation.0, &conversation.1).await.expect("it");
        let parents: Vec<Option<&str>> = turns.iter().map(|view| view.turn.parent.as_deref()).collect();
        let before: Vec<Option<&str>> = std::iter::once(None)
            .chain(turns.iter().map(|view| Some(view.turn.id.as_str())))
            .take(turns.len())
            .collect();
        assert_eq!(parents, before);
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_message_cuts_the_running_turn_off_wherever_that_runs() {
    each_database(|store| async move {
        let stage = set(store).await;
        let conversation = stage.conversation(agent(OnMessage::Interrupt)).await;
        stage.model.play([Line::Silence]);
        let first = say(&stage, &conversation, "my order is 7").await;
        stage.model.begun().await;
        // Two at once: the first of them stands in line when the second comes.
        let edge = stage.beside(often(), Bounds { at_once: 0, ..Bounds::default() });
        stage.model.follow(|_| Line::Say("Refunded."));
        let second = say(&edge, &conversation, "it is broken").await;
        let third = say(&edge, &conversation, "refund it").await;
        for turn in [&first, &second] {
            let view = stage.settled(&turn.id).await;
            // The second may have begun, and even ended, before the third came.
            if view.turn.state != TurnState::Completed {
                assert_eq!((view.turn.state, code(&view.turn)), (TurnState::Cancelled, Some("interrupted")));
            }
        }
        assert_eq!(code(&stage.settled(&first.id).await.turn), Some("interrupted"));
        let view = stage.settled(&third.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Refunded."));
        assert_eq!(heard(&stage), ["my order is 7", "it is broken", "refund it"], "what was said counts");
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn what_no_shield_has_seen_is_not_told_after_it_was_cut_off() {
    each_database(|store| async move {
        for (shields, told) in [(vec!["guard".to_owned()], vec!["hello"]), (vec![], vec!["poison", "hello"])] {
            let nobody = Bounds { at_once: 0, ..Bounds::default() };
            let edge = Stage::with(store.clone(), Arc::new(RandomIds), often(), nobody).await;
            let spec = AgentSpec { input_shields: shields, ..agent(OnMessage::Interrupt) };
            let conversation = edge.conversation(spec).await;
            let unseen = say(&edge, &conversation, "poison").await;
            let next = say(&edge, &conversation, "hello").await;
            assert_eq!(next.state, TurnState::Running, "nobody had the other one in hand");
            assert_eq!(code(&edge.settled(&unseen.id).await.turn), Some("interrupted"));
            let worker = edge.beside(often(), Bounds::default());
            worker.model.play([Line::Say("Hello.")]);
            worker.agents.recover().await.expect("it works");
            assert_eq!(answer(&edge.settled(&next.id).await), "Hello.");
            assert_eq!(heard(&worker), told);
            worker.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_queue_waits_for_people_and_not_for_clients() {
    each_database(|store| async move {
        let stage = set(store).await;
        let tool =
            ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
        let spec = AgentSpec { client_tools: vec![tool], on_message: OnMessage::Queue, ..with_tools() };
        let conversation = stage.conversation(spec).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}")]), Line::Call(vec![("b", "refund", "{}")])]);
        let left = stage.ask(&conversation, "Oslo?").await.turn;
        assert_eq!(left.state, TurnState::AwaitingInput);
        let asks = stage.ask(&conversation, "money back").await;
        assert_eq!(code(&stage.settled(&left.id).await.turn), Some("superseded"), "its client went on");
        assert_eq!(asks.turn.state, TurnState::AwaitingInput);
        let behind = say(&stage, &conversation, "and?").await;
        assert_eq!(behind.state, TurnState::Queued);
        stage.model.play([Line::Say("It is yours."), Line::Say("Done.")]);
        stage.agents.decide(&stage.cx, &asks.approvals[0].approval_id, true, None).await.expect("approved");
        assert_eq!(answer(&stage.settled(&asks.turn.id).await), "It is yours.");
        assert_eq!(answer(&stage.settled(&behind.id).await), "Done.");
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}
