//! Conversations that outgrow their model.

use std::sync::atomic::Ordering;

use frontdesk_api::{
    Error,
    agent::AgentSpec,
    chat::Role,
    turn::{ItemBody, TurnState},
};
use frontdesk_store::testing::each_database;

use crate::stage::{Line, Stage, answer, with_tools};

/// What a customer writes: about 100 tokens.
fn words(turn: usize) -> String {
    format!("question {turn}: {}", "x".repeat(180))
}

#[tokio::test]
async fn the_oldest_turns_stay_out_of_the_prompt_and_in_the_rows() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.window.store(800, Ordering::SeqCst);
        let spec = AgentSpec { instructions: "Be kind.".into(), ..with_tools() };
        let conversation = stage.conversation(spec).await;
        for turn in 0..10 {
            stage.model.play([Line::Call(vec![("a", "look", "{}")]), Line::Say("Seen.")]);
            let view = stage.ask(&conversation, &words(turn)).await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Seen."));
        }
        for (call, prompt) in stage.model.asked().iter().enumerate() {
            let turn = call / 2;
            assert_eq!(prompt[0], (Role::System, "Be kind.".to_owned()));
            let asked: Vec<&String> = prompt.iter().filter(|m| m.0 == Role::User).map(|m| &m.1).collect();
            let kept = asked.len();
            let newest: Vec<String> = (turn + 1 - kept..=turn).map(words).collect();
            assert_eq!(asked, newest.iter().collect::<Vec<_>>(), "the newest turns, the running one last");
            // Every turn but the running one is whole: question, call, result, answer.
            let whole = [Role::User, Role::Assistant, Role::Tool, Role::Assistant];
            let roles: Vec<Role> = prompt[1..].iter().map(|m| m.0).collect();
            let running = if call % 2 == 0 { 1 } else { 3 };
            assert_eq!(roles, whole.iter().copied().cycle().take(4 * (kept - 1) + running).collect::<Vec<_>>());
            let bytes: usize = prompt.iter().map(|m| m.1.len()).sum();
            assert!(bytes <= 2 * 600, "three quarters of the window at two bytes a token: {bytes}");
            assert!(turn < 3 || kept >= 2, "some of the past is told: {kept} turns in call {call}");
        }
        let (_, turns) =
            stage.agents.load_conversation(&stage.cx, &conversation.0, &conversation.1).await.expect("there");
        assert_eq!(turns.len(), 10, "nothing is forgotten but by the model");
    })
    .await;
}

/// About 3,000 tokens: ten such turns are more than what goes into a prompt of a model that does not say what it takes.
fn many_words(turn: usize) -> String {
    format!("question {turn}: {}", "x".repeat(6_000))
}

#[tokio::test]
async fn a_model_that_does_not_say_how_much_it_takes_gets_a_long_conversation_whole_only_where_all_turns_are_kept() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for keep_all_turns in [true, false] {
            let conversation = stage.conversation(AgentSpec { keep_all_turns, ..AgentSpec::new("m") }).await;
            for turn in 0..10 {
                stage.model.play([Line::Say("Yes.")]);
                assert_eq!(answer(&stage.ask(&conversation, &many_words(turn)).await), "Yes.");
            }
            let prompt = stage.model.asked().pop().expect("a prompt");
            let asked = prompt.iter().filter(|m| m.0 == Role::User);
            let asked: Vec<&str> = asked.map(|m| m.1.split(':').next().unwrap_or_default()).collect();
            let kept = asked.len();
            let newest: Vec<String> = (10 - kept..10).map(|turn| format!("question {turn}")).collect();
            assert_eq!(asked, newest, "the newest turns, the running one last");
            assert_eq!(prompt.len(), 2 * kept - 1, "each with its answer, but for the running one");
            if keep_all_turns {
                assert_eq!(kept, 10, "the provider is to refuse it");
                continue;
            }
            // It is thought to take 32,768 tokens, and a quarter of them is for its answer.
            let bytes: usize = prompt.iter().map(|m| m.1.len()).sum();
            assert!((2..10).contains(&kept) && bytes <= 2 * 24_576, "{kept} turns, {bytes} bytes");
        }
    })
    .await;
}

#[tokio::test]
async fn a_question_that_is_too_long_by_itself_is_asked_and_the_models_own_words_come_back() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.window.store(600, Ordering::SeqCst);
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("Yes.")]);
        stage.ask(&conversation, "hello").await;
        let refusal = Error::invalid("messages", "this model takes at most 600 tokens");
        stage.model.play([Line::Fail(refusal.with_code("context_length_exceeded"))]);
        let question = "x".repeat(5_000);
        let view = stage.ask(&conversation, &question).await;
        let error = view.turn.error.as_ref().expect("a reason");
        assert_eq!((view.turn.state, error.code.as_str()), (TurnState::Failed, "context_length_exceeded"));
        assert_eq!(error.message, "this model takes at most 600 tokens");
        assert_eq!(stage.model.asked().pop().expect("a prompt"), [(Role::User, question.clone())]);
        assert!(matches!(&view.items[0].body, ItemBody::Message { text, .. } if *text == question));
        // The conversation goes on.
        stage.model.play([Line::Say("Better.")]);
        assert_eq!(answer(&stage.ask(&conversation, "shorter, then").await), "Better.");
    })
    .await;
}
