//! How turns end when something goes wrong: the model, the worker, the server.

use std::{sync::atomic::Ordering, time::Duration};

use frontdesk_agents::Bounds;
use frontdesk_api::{
    ChatEvent, Error, Kind,
    agent::AgentSpec,
    turn::{EventBody, StepState, TurnState},
};
use frontdesk_store::testing::each_database;
use futures::StreamExt as _;

use crate::stage::{Line, Stage, answer, pace, with_tools};

#[tokio::test]
async fn a_model_that_fails_or_breaks_off_is_a_reason_and_the_conversation_goes_on() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        let half = vec![ChatEvent::Text { choice: 0, text: "I was about to".into() }];
        let failures = [
            (Line::Fail(Error::upstream("the server 'up' answered 500")), "upstream", "500"),
            (Line::Fail(Error::not_found("no model 'm'").with_code("model_not_found")), "model_not_found", "'m'"),
            (Line::Events(half), "upstream", "broke off"),
            (Line::Say(""), "empty_answer", "nothing"),
        ];
        for (line, code, says) in failures {
            stage.model.play([line]);
            let view = stage.ask(&conversation, "hello").await;
            let error = view.turn.error.as_ref().expect("a reason");
            assert_eq!((view.turn.state, error.code.as_str()), (TurnState::Failed, code));
            assert!(error.message.contains(says), "{}", error.message);
            assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open");
        }
        stage.model.play([Line::Say("Here I am.")]);
        assert_eq!(answer(&stage.ask(&conversation, "still there?").await), "Here I am.");
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert_eq!(prompt.len(), 1, "what broke one turn is not told in the next: {prompt:?}");
    })
    .await;
}

#[tokio::test]
async fn a_model_that_never_ends_its_answer_is_stopped_and_what_it_said_stays() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        let words = "and again ".repeat(10_000);
        let call = ChatEvent::ToolCall {
            choice: 0,
            index: 0,
            id: Some("c1".into()),
            name: Some("look".into()),
            arguments: words.clone(),
        };
        let thinks = ChatEvent::Reasoning { choice: 0, text: words.clone() };
        // What was thought is shown in responses alone.
        for (event, is_shown) in [(ChatEvent::Text { choice: 0, text: words }, true), (thinks, false), (call, true)] {
            stage.model.play([Line::Forever(event)]);
            let view = stage.ask(&conversation, "hello").await;
            let error = view.turn.error.as_ref().expect("a reason");
            assert_eq!((view.turn.state, error.code.as_str()), (TurnState::Failed, "answer_too_long"));
            assert!(error.message.contains("4 MiB") && error.message.contains("loop"), "{}", error.message);
            assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open");
            let events = stage.events(&view.turn.id).await;
            let shown = events.iter().map(|event| match &event.body {
                EventBody::TextDelta { delta, .. } | EventBody::ArgumentsDelta { delta, .. } => delta.len(),
                _ => 0,
            });
            assert_eq!(shown.sum::<usize>() > 4 << 20, is_shown, "all that it said by then");
        }
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 0, "half a call is not made");
        stage.model.play([Line::Say("Here I am.")]);
        assert_eq!(answer(&stage.ask(&conversation, "still there?").await), "Here I am.");
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert_eq!(prompt.len(), 1, "none of it is told in the next turn");
    })
    .await;
}

#[tokio::test]
async fn a_stopping_server_gives_its_turns_back_and_takes_no_new_ones() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Silence]);
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "think")).await.expect("a turn");
        stage.model.begun().await;
        let stream = stage.agents.events(&stage.cx, &turn.id, None).await.expect("its events");
        stage.agents.shutdown(Duration::ZERO).await;
        let seen: Vec<_> = stream.collect().await;
        assert!(!seen.is_empty() && seen.iter().all(|e| !e.as_ref().expect("an event").body.is_last()));
        let refused = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "more")).await;
        let refused = refused.expect_err("it stops");
        assert!(refused.kind == Kind::Unavailable && refused.retry_after.is_some());

        // Given back, so the next one need not wait for a lease to pass.
        let next = stage.beside(pace(), Bounds::default());
        next.model.play([Line::Say("I thought.")]);
        next.agents.recover().await.expect("it works");
        let view = next.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I thought."));
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn another_tenant_finds_no_turn_and_cancels_none() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("Hello.")]);
        let turn = stage.ask(&conversation, "hello").await.turn;
        let theirs = frontdesk_api::Cx::internal("tenant_b", "r");
        let kinds = [
            stage.agents.load_turn(&theirs, &turn.id).await.map(drop).expect_err("theirs").kind,
            stage.agents.cancel(&theirs, &turn.id).await.map(drop).expect_err("theirs").kind,
            stage.agents.events(&theirs, &turn.id, None).await.map(drop).expect_err("theirs").kind,
            stage
                .agents
                .create_turn(&theirs, Stage::asks(&conversation, "x"))
                .await
                .map(drop)
                .expect_err("theirs")
                .kind,
        ];
        assert_eq!(kinds, [Kind::NotFound; 4]);
    })
    .await;
}
