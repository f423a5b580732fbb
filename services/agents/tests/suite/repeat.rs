//! A request that comes again with its key, after what it named has changed.

use frontdesk_agents::{AsResponse, NewTurn, Writing, as_model::AgentModels};
use frontdesk_api::{
    ChatEvent, ChatRequest, Inference as _, Result,
    agent::{Agent, AgentSpec, HandOffSpec, HandOffTarget},
    chat::{Chat, Dialect, Marks, Message, Role, Source},
    turn::ItemBody,
};
use frontdesk_store::testing::each_database;
use futures::StreamExt as _;
use serde_json::json;

use crate::stage::{Line, Stage, answer};

/// Reads a body as if it asked `hi`, whatever it holds.
fn hi(_: &[u8]) -> Result<Chat> {
    Ok(Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() })
}

/// A client's own bytes, sent with a key.
fn keyed(body: &'static str) -> ChatRequest {
    let source = Source { dialect: Dialect::OpenaiChat, bytes: body.into(), decode: hi, marks: Marks::default() };
    let mut request = ChatRequest::from_source("agent/shop", false, false, source);
    (request.idempotency_key, request.wants_events) = (Some("once".into()), true);
    request
}

async fn heard(stage: &Stage, body: &'static str) -> Result<String> {
    let models = AgentModels::over(stage.model.clone(), stage.agents.clone());
    let mut frames = models.chat(&stage.cx, keyed(body)).await?.frames;
    let mut heard = String::new();
    while let Some(frame) = frames.next().await {
        for event in frame?.events {
            if let ChatEvent::Text { text, .. } = event {
                heard += &text;
            }
        }
    }
    Ok(heard)
}

async fn shop(stage: &Stage) -> Agent {
    let spec = AgentSpec { name: Some("shop".into()), ..AgentSpec::new("m") };
    stage.agents.create_agent(&stage.cx, spec).await.expect("an agent")
}

async fn publish(stage: &Stage, agent: &Agent) {
    let spec = AgentSpec { instructions: "Be short.".into(), ..agent.spec.clone() };
    let writing = Writing { publish: true, ..Writing::default() };
    stage.agents.write_version(&stage.cx, &agent.id, &spec, &writing).await.expect("published");
}

#[tokio::test]
async fn an_agent_that_was_published_anew_or_deleted_changes_no_answer_that_was_given() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let agent = shop(&stage).await;
        let (asked, streamed) = (r#"{"messages":["hi"]}"#, r#"{"messages":["hi"],"stream":true}"#);
        stage.model.play([Line::Say("Hello.")]);
        assert_eq!(heard(&stage, asked).await.expect("an answer"), "Hello.");
        publish(&stage, &agent).await;
        assert_eq!(heard(&stage, streamed).await.expect("the same"), "Hello.");
        let other = heard(&stage, r#"{"messages":["ho"]}"#).await.expect_err("another request");
        assert_eq!(other.code.as_deref(), Some("idempotency_key_reused"));
        stage.agents.delete_agent(&stage.cx, &agent.id).await.expect("deleted");
        assert_eq!(heard(&stage, asked).await.expect("the same"), "Hello.");
        assert_eq!(stage.model.asked().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_handed_its_conversation_on_is_the_same_when_it_comes_again() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (message, to) = ("A colleague will write to you.".to_owned(), "returns".to_owned());
        let returns = AgentSpec { name: Some(to.clone()), ..AgentSpec::new("m") };
        stage.agents.create_agent(&stage.cx, returns).await.expect("an agent");
        let targets = vec![HandOffTarget { to, description: String::new(), message: None }];
        let spec = AgentSpec { hand_off: Some(HandOffSpec { message, targets }), ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        let keyed = || NewTurn { idempotency_key: Some("k".into()), ..Stage::asks(&conversation, "I send it back") };
        stage.model.play([Line::Call(vec![("h", "hand_off", r#"{"reason":"unsupported_request"}"#)])]);
        let first = stage.agents.create_turn(&stage.cx, keyed()).await.expect("a turn");
        stage.settled(&first.id).await;
        let again = stage.agents.create_turn(&stage.cx, keyed()).await.expect("the same");
        assert_eq!(again.id, first.id);
    })
    .await;
}

#[tokio::test]
async fn a_turn_says_the_version_that_it_worked_by() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let agent = shop(&stage).await;
        let (spec, version) = (agent.spec.clone(), agent.version);
        let response = AsResponse { spec, version, previous: None, echo: json!({}), stored: true };
        let items = vec![ItemBody::Message { role: Role::User, text: "hi".into(), citations: vec![] }];
        let new = NewTurn { agent_id: agent.id.clone(), items, response: Some(response), ..NewTurn::default() };
        // Between the look at the agent and the turn.
        publish(&stage, &agent).await;
        stage.model.play([Line::Say("Hello.")]);
        let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a turn");
        let view = stage.settled(&turn.id).await;
        assert_eq!((answer(&view), view.turn.agent_version), ("Hello.", 1));
    })
    .await;
}
