//! Whose a conversation is: each door of the room, tried by someone else, by nobody, and by the tenant's own people.

use std::{collections::BTreeSet, fmt::Debug};

use frontdesk_agents::{AsResponse, INLINE, NewTurn};
use frontdesk_api::{
    Cx, Kind, PageRequest, Result, Scope,
    agent::AgentSpec,
    chat::Role,
    cx::Customer,
    tools::ToolResult,
    turn::{ItemBody, TurnState},
};
use frontdesk_store::testing::each_database;
use serde_json::json;

use crate::stage::{Line, Stage, with_tools};

fn caller(tenant: &str, scope: Scope, sub: Option<&str>) -> Cx {
    let mut cx = Cx::internal(tenant, "req");
    cx.principal.scopes = BTreeSet::from([scope]);
    cx.customer = sub.map(|sub| Customer { sub: sub.into(), ..Customer::default() });
    cx
}

fn ada() -> Cx {
    caller("tenant_a", Scope::Use, Some("ada"))
}

/// With a key of any scope: it says nothing of the customer.
fn eve() -> Cx {
    caller("tenant_a", Scope::Admin, Some("eve"))
}

/// An app that forgot the token.
fn nobody() -> Cx {
    caller("tenant_a", Scope::Use, None)
}

/// The tenant's own people.
fn staff() -> Cx {
    caller("tenant_a", Scope::Write, None)
}

/// Ada's namesake at another tenant.
fn namesake() -> Cx {
    caller("tenant_b", Scope::Admin, Some("ada"))
}

#[track_caller]
fn hidden<T: Debug>(outcome: Result<T>, code: &str) {
    let error = outcome.expect_err("not theirs");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::NotFound, Some(code)), "{error}");
}

#[track_caller]
fn unproven<T: Debug>(outcome: Result<T>) {
    let error = outcome.expect_err("nobody's");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Forbidden, Some("customer_token_required")), "{error}");
}

fn say(text: &str) -> ItemBody {
    ItemBody::Message { role: Role::User, text: text.into(), citations: vec![] }
}

fn response(previous: Option<&str>, session: Option<&str>) -> NewTurn {
    let spec = AgentSpec::new("m");
    let previous = previous.map(str::to_owned);
    let response = AsResponse { spec, version: 1, previous, echo: json!({}), stored: true };
    let (agent_id, session_id) = (INLINE.to_owned(), session.map(str::to_owned));
    NewTurn { agent_id, session_id, items: vec![say("hello")], response: Some(response), ..NewTurn::default() }
}

#[tokio::test]
async fn a_session_is_the_customers_who_began_it() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        let agents = stage.agents.clone();
        let agent = agents.create_agent(&staff(), with_tools()).await.expect("an agent").id;
        let session = agents.create_session(&ada(), &agent, "mine").await.expect("a session").id;
        let conversation = (agent.clone(), session.clone());
        stage.model.play([Line::Say("Hello, Ada.")]);
        stage.cx = ada();
        let turn = stage.ask(&conversation, "hello").await.turn.id;

        for who in [eve(), namesake()] {
            let other = who.tenant != "tenant_a";
            hidden(agents.create_turn(&who, Stage::asks(&conversation, "me too")).await, "session_not_found");
            hidden(agents.load_session(&who, &agent, &session).await, "session_not_found");
            hidden(agents.load_conversation(&who, &agent, &session).await, "session_not_found");
            hidden(agents.delete_session(&who, &agent, &session).await, "session_not_found");
            hidden(agents.load_turn(&who, &turn).await, "turn_not_found");
            hidden(agents.load_turn_of(&who, &agent, &session, &turn).await, "turn_not_found");
            hidden(agents.load_step(&who, &turn, "step_1").await, "turn_not_found");
            hidden(agents.events(&who, &turn, None).await.map(|_| ()), "turn_not_found");
            hidden(agents.cancel(&who, &turn).await, "turn_not_found");
            hidden(agents.resume(&who, &turn, vec![]).await, "turn_not_found");
            if !other {
                let listed = agents.list_sessions(&who, &agent, &PageRequest::default()).await.expect("a page");
                assert_eq!(listed.items.len(), 0);
            }
        }
        unproven(agents.create_turn(&nobody(), Stage::asks(&conversation, "me too")).await);
        unproven(agents.create_turn(&staff(), Stage::asks(&conversation, "as Ada")).await);
        unproven(agents.load_turn(&nobody(), &turn).await);
        unproven(agents.load_conversation(&nobody(), &agent, &session).await);
        unproven(agents.delete_session(&nobody(), &agent, &session).await);
        unproven(agents.cancel(&nobody(), &turn).await);

        assert_eq!(agents.load_turn(&staff(), &turn).await.expect("theirs to see").turn.state, TurnState::Completed);
        for (who, many) in [(ada(), 1), (staff(), 1), (nobody(), 0)] {
            let listed = agents.list_sessions(&who, &agent, &PageRequest::default()).await.expect("a page");
            assert_eq!(listed.items.len(), many, "{who:?}");
        }
        agents.delete_session(&ada(), &agent, &session).await.expect("hers");
    })
    .await;
}

#[tokio::test]
async fn what_began_without_a_customer_is_the_first_ones_who_signs_in() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        let agents = stage.agents.clone();
        let agent = agents.create_agent(&staff(), with_tools()).await.expect("an agent").id;
        let session = agents.create_session(&nobody(), &agent, "").await.expect("a session").id;
        let conversation = (agent.clone(), session.clone());
        stage.model.play([Line::Say("Hello."), Line::Say("Hello, Ada.")]);
        stage.cx = nobody();
        let before = stage.ask(&conversation, "hello").await.turn.id;
        agents.load_session(&eve(), &agent, &session).await.expect("seeing claims nothing");
        stage.cx = ada();
        stage.ask(&conversation, "it is me").await;
        hidden(agents.create_turn(&eve(), Stage::asks(&conversation, "and me")).await, "session_not_found");
        unproven(agents.create_turn(&nobody(), Stage::asks(&conversation, "and I")).await);
        hidden(agents.load_turn(&eve(), &before).await, "turn_not_found");
        unproven(agents.load_turn(&nobody(), &before).await);
        agents.load_turn(&ada(), &before).await.expect("hers now");
    })
    .await;
}

#[tokio::test]
async fn responses_and_conversations_keep_to_it_too() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        let agents = stage.agents.clone();
        stage.model.follow(|_| Line::Say("Hello."));
        let opened = agents.open_conversation(&ada(), "{}", &[say("my secret")]).await.expect("a conversation").id;
        let item = agents.said(&ada(), &opened).await.expect("hers")[0].items[0].id.clone();
        stage.cx = ada();
        let lone = agents.create_turn(&ada(), response(None, None)).await.expect("a response").id;
        stage.settled(&lone).await;

        for who in [eve(), namesake()] {
            let missing = "conversation_not_found";
            hidden(agents.conversation(&who, &opened).await, missing);
            hidden(agents.said(&who, &opened).await, missing);
            hidden(agents.update_conversation(&who, &opened, "{}").await, missing);
            hidden(agents.add_items(&who, &opened, &[say("forged")]).await, missing);
            hidden(agents.delete_item(&who, &opened, &item).await, missing);
            hidden(agents.delete_conversation(&who, &opened).await, missing);
            hidden(agents.create_turn(&who, response(None, Some(&opened))).await, missing);
            hidden(agents.would_ask(&who, &response(None, Some(&opened))).await, missing);
            hidden(agents.load_item(&who, &item).await, "item_not_found");
            hidden(agents.load_response(&who, &lone).await, "response_not_found");
            hidden(agents.response_input(&who, &lone).await, "response_not_found");
            hidden(agents.delete_response(&who, &lone).await, "response_not_found");
            for goes_on in [
                agents.create_turn(&who, response(Some(&lone), None)).await.map(|_| ()),
                agents.would_ask(&who, &response(Some(&lone), None)).await.map(|_| ()),
            ] {
                assert_eq!(goes_on.expect_err("not theirs").code.as_deref(), Some("previous_response_not_found"));
            }
        }
        unproven(agents.add_items(&staff(), &opened, &[say("as Ada")]).await);
        unproven(agents.create_turn(&nobody(), response(None, Some(&opened))).await);
        unproven(agents.create_turn(&nobody(), response(Some(&lone), None)).await);
        unproven(agents.create_turn(&staff(), response(Some(&lone), None)).await);
        unproven(agents.load_item(&nobody(), &item).await);
        unproven(agents.load_response(&nobody(), &lone).await);
        for (who, many) in [(ada(), 1), (eve(), 0), (nobody(), 0), (staff(), 1), (namesake(), 0)] {
            let listed = agents.list_responses(&who, &PageRequest::default(), None).await.expect("a page");
            assert_eq!(listed.items.len(), many, "{who:?}");
        }
        agents.conversation(&staff(), &opened).await.expect("theirs to see");

        let next = agents.create_turn(&ada(), response(Some(&lone), None)).await.expect("she goes on").id;
        stage.settled(&next).await;
        let talk = agents.create_turn(&ada(), response(None, Some(&opened))).await.expect("she speaks").id;
        stage.settled(&talk).await;
    })
    .await;
}

#[tokio::test]
async fn a_key_to_repeat_a_request_by_is_no_way_to_anothers_answer() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        stage.model.follow(|_| Line::Say("Hello."));
        let keyed = || NewTurn { idempotency_key: Some("order-7".into()), ..response(None, None) };
        let first = stage.agents.create_turn(&ada(), keyed()).await.expect("a response").id;
        assert_eq!(stage.agents.create_turn(&ada(), keyed()).await.expect("the same").id, first);
        for who in [eve(), nobody(), staff()] {
            let refused = stage.agents.create_turn(&who, keyed()).await.expect_err("not theirs");
            assert_eq!(refused.code.as_deref(), Some("idempotency_key_reused"));
        }
        stage.cx = ada();
        stage.settled(&first).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_others_let_go_on_stays_its_customers() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        let agents = stage.agents.clone();
        let ask = frontdesk_api::chat::ToolSpec {
            name: "ask".into(),
            description: None,
            parameters: Some(json!({ "type": "object" })),
            strict: None,
            cache_control: None,
        };
        let spec = AgentSpec { client_tools: vec![ask], ..with_tools() };
        let agent = agents.create_agent(&staff(), spec).await.expect("an agent").id;
        let session = agents.create_session(&ada(), &agent, "").await.expect("a session").id;
        stage.model.play([
            Line::Call(vec![("c1", "ask", "{}")]),
            Line::Call(vec![("c2", "look", "{}")]),
            Line::Say("Done."),
        ]);
        stage.cx = ada();
        let waits = stage.ask(&(agent, session), "look").await;
        assert_eq!(waits.turn.state, TurnState::AwaitingInput);
        let result = ToolResult { content: "yes".into(), is_error: false, details: None };
        unproven(agents.resume(&nobody(), &waits.turn.id, vec![("c1".into(), result.clone())]).await);
        agents.resume(&staff(), &waits.turn.id, vec![("c1".into(), result)]).await.expect("it goes on");
        stage.settled(&waits.turn.id).await;
        assert_eq!(stage.tools.customers.lock().expect("the customers").clone(), [Some("ada".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn a_persons_word_is_of_the_tenants_people_and_the_call_is_the_customers() {
    each_database(|store| async move {
        let mut stage = Stage::set(store).await;
        let agents = stage.agents.clone();
        let agent = agents.create_agent(&staff(), with_tools()).await.expect("an agent").id;
        let session = agents.create_session(&ada(), &agent, "").await.expect("a session").id;
        stage.model.play([Line::Call(vec![("a", "refund", "{}")]), Line::Say("Done.")]);
        stage.cx = ada();
        let waits = stage.ask(&(agent, session), "money back").await;
        let id = waits.approvals[0].approval_id.clone();
        hidden(agents.approval(&eve(), &id).await, "approval_not_found");
        hidden(agents.decide(&eve(), &id, true, None).await, "approval_not_found");
        unproven(agents.decide(&nobody(), &id, true, None).await);
        let listed = agents.open_approvals(&eve(), &PageRequest::default()).await.expect_err("everybody's");
        assert_eq!(listed.code.as_deref(), Some("not_for_customers"));
        agents.decide(&staff(), &id, true, None).await.expect("approved");
        stage.settled(&waits.turn.id).await;
        assert_eq!(stage.tools.customers.lock().expect("the customers").clone(), [Some("ada".to_owned())]);
    })
    .await;
}
