//! Responses asked again: by what their requests gave over the draft, and ended where they ended.

use std::sync::atomic::Ordering;

use frontdesk_agents::{
    AsResponse, NewTurn, TurnView,
    replay::{History, Replay, With},
};
use frontdesk_api::{
    agent::{AgentSpec, Sampling},
    chat::ToolSpec,
    servers::Approval,
    turn::ItemBody,
};
use frontdesk_store::testing::each_database;
use serde_json::json;

use crate::{
    replays::{all, compared, draft},
    servers::{says, server, waiting, word},
    stage::{Line, Stage, answer, with_tools},
};

/// An agent, and a conversation in which it is to answer.
async fn desk(stage: &Stage, spec: &AgentSpec) -> (String, String) {
    let agent = stage.agents.create_agent(&stage.cx, spec.clone()).await.expect("an agent");
    let conversation = stage.agents.open_conversation(&stage.cx, "{}", &[]).await.expect("a conversation");
    (agent.id, conversation.id)
}

/// A response of the agent. `spec`: what its first version and the request came to.
async fn ask(
    stage: &Stage,
    (agent, conversation): &(String, String),
    spec: &AgentSpec,
    item: ItemBody,
    request: NewTurn,
) -> TurnView {
    let response = AsResponse { spec: spec.clone(), version: 1, previous: None, echo: json!({}), stored: true };
    let new = NewTurn {
        agent_id: agent.clone(),
        session_id: Some(conversation.clone()),
        items: vec![item],
        response: Some(response),
        ..request
    };
    let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a response");
    stage.settled(&turn.id).await
}

fn of((agent, conversation): &(String, String)) -> Replay {
    Replay { agent_id: agent.clone(), conversations: vec![conversation.clone()], ..Replay::default() }
}

#[tokio::test]
async fn what_a_request_gave_goes_over_the_draft_and_its_response_ends_at_the_clients_call_again() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let sampling = Sampling { temperature: Some(0.2), ..Sampling::default() };
        let version = AgentSpec { instructions: "Be kind.".into(), sampling, ..with_tools() };
        let place = desk(&stage, &version).await;
        let theirs =
            ToolSpec { name: "theirs".into(), description: None, parameters: None, strict: None, cache_control: None };
        let format = json!({ "type": "json_object" });
        let asked = AgentSpec {
            client_tools: vec![theirs],
            sampling: Sampling { temperature: Some(0.9), max_tokens: Some(50), ..Sampling::default() },
            response_format: Some(format.clone()),
            ..version.clone()
        };
        stage.model.play([Line::Call(vec![("c1", "theirs", "{}")]), Line::Say("It is here.")]);
        ask(&stage, &place, &asked, says("where?"), NewTurn::default()).await;
        let output = ItemBody::output("c1", "on the way", false);
        assert_eq!(answer(&ask(&stage, &place, &asked, output, NewTurn::default()).await), "It is here.");
        let sampling = Sampling { temperature: Some(0.4), top_p: Some(0.5), ..Sampling::default() };
        draft(&stage, &place.0, AgentSpec { instructions: "Be short.".into(), sampling, ..with_tools() }).await;

        for history in [History::Recorded, History::Replayed] {
            // The call has another id than the one that its client answered.
            stage.model.play([Line::Call(vec![("x1", "theirs", "{}")]), Line::Say("It is here.")]);
            let turns = all(&stage, Replay { history, ..of(&place) }).await;
            assert_eq!(turns.len(), 2);
            for told in turns.iter().map(compared) {
                assert!(told.differs.is_empty() && told.not_made.is_empty(), "{history:?}: {told:?}");
                assert_eq!((told.recorded.version, told.replayed.version), (Some(1), Some(2)));
            }
            let chat = stage.model.newest();
            assert_eq!((chat.temperature, chat.top_p, chat.max_tokens), (Some(0.9), Some(0.5), Some(50)));
            assert_eq!(chat.response_format.as_ref(), Some(&format));
            for name in ["look", "theirs"] {
                assert!(chat.tools.iter().any(|tool| tool.name == name), "{name}: {:?}", chat.tools);
            }
            let read: Vec<String> = chat.messages.iter().map(|message| message.joined()).collect();
            assert_eq!(read, ["Be short.", "where?", "", "on the way"], "{history:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn servers_that_a_request_named_are_answered_from_the_recording_whatever_tools_are_live() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec::new("m");
        let place = desk(&stage, &spec).await;
        let with = |approval| NewTurn {
            servers: vec![server("shop", approval)],
            max_tool_calls: Some(1),
            ..NewTurn::default()
        };
        let look = |id| Line::Call(vec![(id, "look", "{\"id\":7}")]);
        stage.model.play([look("c1"), Line::Say("It is here."), look("c2"), Line::Say("Still here.")]);
        ask(&stage, &place, &spec, says("where?"), with(Approval::Never)).await;
        // This one ends with a request for a word, and the next begins with the word.
        let asks = ask(&stage, &place, &spec, says("sure?"), with(Approval::Always)).await;
        let (request, _) = waiting(&asks).pop().expect("a request");
        let last = ask(&stage, &place, &spec, word(&request, true), with(Approval::Always)).await;
        assert_eq!(answer(&last), "Still here.");
        let made = || (stage.tools.listed.load(Ordering::SeqCst), stage.tools.calls.load(Ordering::SeqCst));
        let before = made();
        for tools in [With::Recorded, With::Live { effects: true }] {
            stage.model.play([look("x1"), Line::Say("It is here."), look("x2"), Line::Say("Still here.")]);
            let turns = all(&stage, Replay { tools, ..of(&place) }).await;
            assert_eq!(turns.len(), 3);
            for told in turns.iter().map(compared) {
                assert!(told.differs.is_empty() && told.not_made.is_empty(), "{tools:?}: {told:?}");
            }
            let output = compared(&turns[0]).replayed.calls[0].output.as_deref();
            assert_eq!(output, Some("shop/look saw {\"id\":7}"), "{tools:?}");
        }
        // As many calls are made as the request let run.
        stage.model.play([look("x1"), look("x2"), Line::Say("It is here."), look("x3"), Line::Say("Still here.")]);
        let turns = all(&stage, of(&place)).await;
        let second = compared(&turns[0]).replayed.calls[1].output.as_deref();
        assert!(second.is_some_and(|output| output.contains("max_tool_calls")), "{second:?}");
        assert_eq!(made(), before, "nobody was asked");
    })
    .await;
}
