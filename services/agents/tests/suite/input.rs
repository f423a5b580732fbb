//! Turns that wait for a client, messages that come meanwhile, requests that come twice.

use frontdesk_agents::NewTurn;
use frontdesk_api::{
    Kind,
    agent::AgentSpec,
    chat::{Role, ToolSpec},
    tools::ToolResult,
    turn::TurnState,
};
use frontdesk_store::testing::each_database;

use crate::stage::{Line, Stage, answer};

fn weather_agent() -> AgentSpec {
    let tool =
        ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
    AgentSpec { client_tools: vec![tool], ..AgentSpec::new("m") }
}

fn result(id: &str, content: &str) -> (String, ToolResult) {
    (id.into(), ToolResult { content: content.into(), is_error: false, details: None })
}

#[tokio::test]
async fn a_client_tool_suspends_the_turn_until_its_result_comes() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(weather_agent()).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}"), ("b", "weather", "{}")]), Line::Say("Snow.")]);
        let waiting = stage.ask(&conversation, "Oslo?").await;
        assert_eq!(waiting.turn.state, TurnState::AwaitingInput);
        assert_eq!(waiting.waiting.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        let id = waiting.turn.id.as_str();
        for (results, says) in [(vec![result("a", "x")], "b"), (vec![result("a", "x"), result("z", "x")], "z")] {
            let refused = stage.agents.resume(&stage.cx, id, results).await.expect_err("not what it waits for");
            assert_eq!(refused.kind, Kind::Invalid);
            assert!(refused.message.contains(says), "{}", refused.message);
        }
        let much = "x".repeat(frontdesk_api::tools::MOST_GIVEN + 1);
        let refused = stage.agents.resume(&stage.cx, id, vec![result("a", "snow"), result("b", &much)]).await;
        assert_eq!(refused.expect_err("too large").code.as_deref(), Some("tool_result_too_large"));
        let resumed = stage.agents.resume(&stage.cx, id, vec![result("a", "snow"), result("b", "ice")]).await;
        let resumed = resumed.expect("resumed");
        let view = stage.settled(id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Snow."));
        assert!(stage.events(id).await[resumed.after as usize + 1..].iter().any(|e| e.body.is_last()));
        let told = stage.model.asked().pop().expect("a second prompt");
        assert_eq!(
            told.iter().filter(|(role, _)| *role == Role::Tool).map(|m| m.1.as_str()).collect::<Vec<_>>(),
            ["snow", "ice"]
        );
        let again = stage.agents.resume(&stage.cx, id, vec![]).await.expect_err("it does not wait any more");
        assert_eq!((again.kind, again.code.as_deref()), (Kind::Conflict, Some("turn_not_waiting")));
    })
    .await;
}

#[tokio::test]
async fn a_newer_message_takes_the_place_of_a_waiting_turn_and_not_of_a_running_one() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(weather_agent()).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}")]), Line::Say("Hello again."), Line::Silence]);
        let waiting = stage.ask(&conversation, "Oslo?").await;
        assert_eq!(answer(&stage.ask(&conversation, "never mind").await), "Hello again.");
        let given_up = stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("the first turn");
        assert_eq!(given_up.turn.state, TurnState::Cancelled);
        assert_eq!(given_up.turn.error.map(|e| e.code).as_deref(), Some("superseded"));

        let running = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "think")).await.expect("a turn");
        let busy = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "and?")).await.expect_err("busy");
        assert_eq!((busy.kind, busy.code.as_deref()), (Kind::Conflict, Some("turn_running")));
        stage.agents.cancel(&stage.cx, &running.id).await.expect("cancelled");
        assert_eq!(stage.settled(&running.id).await.turn.state, TurnState::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn the_same_request_twice_is_one_turn() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("Once.")]);
        let key = |words| NewTurn { idempotency_key: Some("k1".into()), ..Stage::asks(&conversation, words) };
        let first = stage.agents.create_turn(&stage.cx, key("hello")).await.expect("a turn");
        stage.settled(&first.id).await;
        let again = stage.agents.create_turn(&stage.cx, key("hello")).await.expect("the same turn");
        assert_eq!((again.id, again.state), (first.id, TurnState::Completed));
        let other = stage.agents.create_turn(&stage.cx, key("bye")).await.expect_err("another request");
        assert_eq!((other.kind, other.code.as_deref()), (Kind::Conflict, Some("idempotency_key_reused")));
        assert_eq!(stage.model.asked().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_begin_leaves_nothing_behind() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        let (agent, session) = conversation.clone();
        for (new, kind) in [
            (NewTurn { items: vec![], ..Stage::asks(&conversation, "") }, Kind::Invalid),
            (Stage::asks(&("agent_none".into(), session.clone()), "x"), Kind::NotFound),
            (Stage::asks(&(agent, "sess_none".into()), "x"), Kind::NotFound),
        ] {
            let refused = stage.agents.create_turn(&stage.cx, new).await.expect_err("it cannot begin");
            assert_eq!(refused.kind, kind);
        }
        let (_, turns) = stage.agents.load_conversation(&stage.cx, &conversation.0, &session).await.expect("there");
        assert!(turns.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_second_resume_is_refused_and_leaves_the_running_turn_alone() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(weather_agent()).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}")]), Line::Silence]);
        let waiting = stage.ask(&conversation, "Oslo?").await.turn.id;
        stage.model.begun().await;
        stage.agents.resume(&stage.cx, &waiting, vec![result("a", "snow")]).await.expect("resumed");
        stage.model.begun().await;
        let again = stage.agents.resume(&stage.cx, &waiting, vec![result("a", "snow")]).await.expect_err("it runs");
        assert_eq!(again.code.as_deref(), Some("turn_not_waiting"));
        // Still in the hands of its worker: it hears of a cancel.
        stage.agents.cancel(&stage.cx, &waiting).await.expect("asked to stop");
        assert_eq!(stage.settled(&waiting).await.turn.state, TurnState::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_names_what_is_not_there_is_refused_by_its_member() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = || AgentSpec::new("m");
        let none = || vec!["none".to_owned()];
        for (spec, param) in [
            (AgentSpec { toolgroups: none(), ..spec() }, "toolgroups"),
            (AgentSpec { shields: none(), ..spec() }, "shields"),
            (AgentSpec { output_shields: none(), ..spec() }, "output_shields"),
            (AgentSpec { model: String::new(), ..spec() }, "model"),
            (AgentSpec { max_passages: 0, ..spec() }, "max_passages"),
        ] {
            let refused = stage.agents.create_agent(&stage.cx, spec).await.expect_err(param);
            assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some(param)));
        }
    })
    .await;
}
