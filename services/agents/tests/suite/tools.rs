//! What a model asks for: called once each, in order, with a result it reads.

use std::sync::atomic::Ordering;

use frontdesk_api::{
    agent::{AgentSpec, HandOffSpec, Limits},
    chat::Role,
    turn::{HandOffReason, StepState, TurnState},
};
use frontdesk_store::testing::each_database;

use crate::stage::{Line, Stage, answer, done, with_tools};

#[tokio::test]
async fn calls_of_one_answer_are_done_in_order_and_told_apart() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        // Two calls at once, one id twice, arguments that are no JSON, a tool that is not there.
        stage.model.play([
            Line::Call(vec![
                ("a", "look", "{\"n\":1}"),
                ("a", "look", "{\"n\":2}"),
                ("b", "look", "{\"n\":"),
                ("c", "fly", "{}"),
            ]),
            Line::Say("Done."),
        ]);
        let view = stage.ask(&conversation, "please").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Done."));
        let steps = done(&view);
        let failed: Vec<bool> = steps.iter().map(|s| s.2).collect();
        assert_eq!(failed, [false, false, true, true], "{steps:?}");
        assert_eq!((steps[0].1.as_str(), steps[1].1.as_str()), ("saw {\"n\":1}", "saw {\"n\":2}"));
        assert!(steps[3].1.contains("fly") && steps[3].1.contains("look"), "{}", steps[3].1);
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 3, "what is not there is not called");
        assert_eq!(view.turn.usage.input_tokens, 20, "both model calls count");
    })
    .await;
}

#[tokio::test]
async fn a_hand_off_is_a_transition_with_our_words() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague takes over."));
        let conversation = stage.conversation(AgentSpec { hand_off, ..AgentSpec::new("m") }).await;
        stage.model.play([Line::Call(vec![("a", "hand_off", "{\"reason\":\"customer_request\"}")])]);
        let view = stage.ask(&conversation, "a person, please").await;
        let handed = view.turn.hand_off.as_ref().expect("handed off");
        assert_eq!((handed.reason, answer(&view)), (HandOffReason::CustomerRequest, "A colleague takes over."));
        assert_eq!(view.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn a_model_that_calls_for_ever_meets_its_limits() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let calls = || (0..3).map(|_| Line::Call(vec![("a", "look", "{}")]));
        let limits = Limits { max_steps: 3, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..with_tools() }).await;
        stage.model.play(calls());
        let view = stage.ask(&conversation, "go").await;
        assert_eq!(view.turn.state, TurnState::Incomplete);
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("max_steps"));

        let limits = Limits { max_tool_calls: 2, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..with_tools() }).await;
        stage.model.play(calls());
        let view = stage.ask(&conversation, "go").await;
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("max_tool_calls"));
        assert_eq!(done(&view).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_tool_cut_off_may_have_done_its_work() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let limits = Limits { timeout_s: 4, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..with_tools() }).await;
        stage.model.play([Line::Call(vec![("a", "slow", "{}")])]);
        let view = stage.ask(&conversation, "go").await;
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("timeout"));
        assert_eq!(view.steps.last().map(|s| s.state), Some(StepState::Unknown));
        // The next turn's model is told, so that it does not do it again unseen.
        stage.model.play([Line::Say("I will look first.")]);
        stage.ask(&conversation, "again").await;
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert!(prompt.iter().any(|(role, words)| *role == Role::Tool && words.contains("cut off")), "{prompt:?}");
    })
    .await;
}
