//! A person who has taken a conversation: what is said to them and by them.

use frontdesk_agents::{AsResponse, NewTurn};
use frontdesk_api::{
    ChatEvent, Cx, Kind, Order, PageRequest, Principal,
    agent::{AgentSpec, HandOffSpec},
    chat::{FinishReason, Role},
    turn::{EventBody, ItemBody, TurnState},
};
use frontdesk_store::{
    NewKey,
    handoffs::{Handoff, State},
    testing::each_database,
};
use serde_json::json;

use crate::stage::{Line, Stage, answer};

fn page() -> PageRequest {
    PageRequest { after: None, limit: 20, order: Order::Asc }
}

/// A conversation that was handed to people, and its entry in their queue.
async fn handed(stage: &Stage) -> ((String, String), Handoff) {
    let hand_off = Some(HandOffSpec::to_people("A colleague will write to you."));
    let conversation = stage.conversation(AgentSpec { hand_off, ..AgentSpec::new("m") }).await;
    stage.model.play([Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)])]);
    stage.ask(&conversation, "a person!").await;
    let open = stage.agents.list_handoffs(&stage.cx, Some(State::Open), &page()).await.expect("a list").items;
    (conversation, open[0].clone())
}

/// The same tenant's people, with another key.
fn with_key(cx: &Cx, key_id: &str) -> Cx {
    Cx { principal: Principal { key_id: key_id.into(), ..cx.principal.clone() }, ..cx.clone() }
}

/// All that was said, as (who, words).
async fn words(stage: &Stage, handoff: &str, page: &PageRequest) -> Vec<(String, String)> {
    let words = stage.agents.handoff_words(&stage.cx, handoff, page).await.expect("words").items;
    let told = words.into_iter().map(|word| match word.item.body {
        ItemBody::Person { by, text } => (by, text),
        ItemBody::Message { role, text, .. } => (format!("{role:?}"), text),
        ItemBody::Refusal { text } => ("Refusal".to_owned(), text),
        other => panic!("no words: {other:?}"),
    });
    told.collect()
}

fn said(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(who, words)| ((*who).to_owned(), (*words).to_owned())).collect()
}

#[tokio::test]
async fn a_person_reads_and_says_and_the_agent_goes_on_with_it() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let (conversation, handoff) = handed(&stage).await;
        agents.take_handoff(cx, &handoff.id, "Ada").await.expect("taken");
        stage.ask(&conversation, "is it late?").await;
        let word = agents.say_in_handoff(cx, &handoff.id, "Ada", "It comes on Monday.", None).await.expect("said");
        stage.ask(&conversation, "thank you").await;
        let all = [
            ("User", "a person!"),
            ("Assistant", "A colleague will write to you."),
            ("User", "is it late?"),
            ("Ada", "It comes on Monday."),
            ("User", "thank you"),
        ];
        assert_eq!(words(&stage, &handoff.id, &page()).await, said(&all));
        let after = PageRequest { after: Some(word.item.id.clone()), ..page() };
        assert_eq!(words(&stage, &handoff.id, &after).await, said(&all[4..]));
        let newest = PageRequest { after: None, limit: 2, order: Order::Desc };
        assert_eq!(words(&stage, &handoff.id, &newest).await, said(&[all[4], all[3]]));
        let nowhere = PageRequest { after: Some("msg_nowhere".into()), ..page() };
        let error = agents.handoff_words(cx, &handoff.id, &nowhere).await.expect_err("not there");
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("after")));

        // It is a turn like any other to who reads or follows.
        let (_, turns) = agents.load_conversation(cx, &conversation.0, &conversation.1).await.expect("it");
        let turn = &turns.iter().find(|view| view.turn.id == word.item.turn_id).expect("its turn").turn;
        assert_eq!((turn.state, turn.completed_at.is_some()), (TurnState::Completed, true));
        let events = stage.events(&turn.id).await;
        assert!(matches!(&events[1].body, EventBody::ItemDone { item, .. } if *item == word.item), "{events:?}");

        agents.end_handoff(cx, &handoff.id).await.expect("done");
        stage.model.play([Line::Say("On Monday, as my colleague said.")]);
        assert_eq!(answer(&stage.ask(&conversation, "when?").await), "On Monday, as my colleague said.");
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert!(prompt.contains(&(Role::Assistant, "It comes on Monday.".to_owned())), "{prompt:?}");
    })
    .await;
}

#[tokio::test]
async fn a_person_sees_that_the_model_refused() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague will write to you."));
        let conversation = stage.conversation(AgentSpec { hand_off, ..AgentSpec::new("m") }).await;
        let refuses = [
            ChatEvent::Refusal { choice: 0, text: "I will not.".into() },
            ChatEvent::Finish { choice: 0, reason: FinishReason::Stop },
        ];
        let hands_over = Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)]);
        stage.model.play([Line::Events(refuses.into()), hands_over]);
        stage.ask(&conversation, "poach it").await;
        stage.ask(&conversation, "a person!").await;
        let open = stage.agents.list_handoffs(&stage.cx, Some(State::Open), &page()).await.expect("a list").items;
        let seen = words(&stage, &open[0].id, &page()).await;
        assert_eq!(seen[..2], said(&[("User", "poach it"), ("Refusal", "I will not.")]));
    })
    .await;
}

#[tokio::test]
async fn only_who_has_it_says_something_and_only_while() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let (_, handoff) = handed(&stage).await;
        let id = handoff.id.as_str();
        let refused = async |cx: &Cx, by: &str, text: &str| {
            let error = agents.say_in_handoff(cx, id, by, text, None).await.expect_err("refused");
            (error.kind, error.code.or(error.param).unwrap_or_default())
        };
        let conflict = |code: &str| (Kind::Conflict, code.to_owned());
        assert_eq!(refused(cx, "Ada", "hi").await, conflict("handoff_not_taken"));
        let taken = agents.take_handoff(cx, id, "Ada").await.expect("taken");
        assert_eq!((taken.taken_by.as_str(), &taken.taken_key), ("Ada", &cx.principal.key_id));
        assert_eq!(refused(cx, "Bob", "hi").await, conflict("handoff_taken"));
        // Another with her name.
        let other = with_key(cx, "key_other");
        assert_eq!(refused(&other, "Ada", "hi").await, conflict("handoff_taken"));
        let error = agents.take_handoff(&other, id, "Ada").await.expect_err("it is the other's");
        assert_eq!(error.code.as_deref(), Some("handoff_taken"));
        for (by, text, param) in [("", "hi", "by"), ("Ada", " ", "text"), ("Ada", "a\0", "text"), ("A\n", "hi", "by")] {
            assert_eq!(refused(cx, by, text).await, (Kind::Invalid, param.to_owned()));
        }
        agents.end_handoff(cx, id).await.expect("done");
        assert_eq!(refused(cx, "Ada", "hi").await, conflict("handoff_done"));
        for key in ["", &"k".repeat(256), "k\0"] {
            let error = agents.say_in_handoff(cx, &handoff.id, "Ada", "hi", Some(key)).await.expect_err("no key");
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("Idempotency-Key")));
        }
        let nowhere = agents.say_in_handoff(cx, "handoff_nowhere", "Ada", "hi", None).await.expect_err("not there");
        assert_eq!(nowhere.kind, Kind::NotFound);
        assert_eq!(words(&stage, id, &page()).await.len(), 2, "nothing was said");
    })
    .await;
}

#[tokio::test]
async fn what_was_taken_with_a_key_that_is_gone_can_be_taken() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, tenant) = (&stage.agents, stage.store.tenant(&stage.cx));
        let key = |id: &str, hash: u8, expires_at| NewKey {
            id: id.into(),
            name: id.into(),
            hash: [hash; 32],
            scopes: vec![],
            created_at: 0,
            expires_at,
        };
        // By a clock that stands at 1,000,000.
        for (n, expires_at) in [(1, Some(2_000_000)), (2, Some(999_999)), (3, None)] {
            tenant.add_key(&key(&format!("key_{n}"), n, expires_at)).await.expect("a key");
        }
        tenant.revoke_key("key_3", 5).await.expect("revoked");
        let now = with_key(&stage.cx, "key_now");
        for (theirs, passes) in [("key_1", false), ("key_2", true), ("key_3", true), ("key_of_no_table", false)] {
            let (_, handoff) = handed(&stage).await;
            agents.take_handoff(&with_key(&stage.cx, theirs), &handoff.id, "Ada").await.expect("taken");
            let again = agents.take_handoff(&now, &handoff.id, "Ada").await;
            assert_eq!(again.is_ok(), passes, "{theirs}: {again:?}");
            if passes {
                agents.say_in_handoff(&now, &handoff.id, "Ada", "hi", None).await.expect("said");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_message_that_comes_again_with_its_key_is_said_once() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let (_, handoff) = handed(&stage).await;
        agents.take_handoff(cx, &handoff.id, "Ada").await.expect("taken");
        let say = async |text: &str| agents.say_in_handoff(cx, &handoff.id, "Ada", text, Some("k")).await;
        let first = say("Hello.").await.expect("said");
        assert_eq!(say("Hello.").await.expect("the same"), first);
        let error = say("Hello again.").await.expect_err("another");
        assert_eq!(error.code.as_deref(), Some("idempotency_key_reused"));
        assert_eq!(words(&stage, &handoff.id, &page()).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn where_a_turn_stood_in_no_conversation_it_is_read_and_nothing_is_said() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let hand_off = Some(HandOffSpec::to_people("A colleague will write to you."));
        let agent = agents.create_agent(cx, AgentSpec { hand_off, ..AgentSpec::new("m") }).await.expect("an agent");
        stage.model.play([Line::Call(vec![("c1", "hand_off", "{}")])]);
        let items = vec![ItemBody::Message { role: Role::User, text: "a person!".into(), citations: vec![] }];
        let (spec, version) = (agent.spec, agent.version);
        let response = AsResponse { spec, version, previous: None, echo: json!(null), stored: false };
        let new = NewTurn { agent_id: agent.id, items, response: Some(response), ..NewTurn::default() };
        let turn = agents.create_turn(cx, new).await.expect("a turn");
        stage.settled(&turn.id).await;
        let open = agents.list_handoffs(cx, Some(State::Open), &page()).await.expect("a list").items;
        agents.take_handoff(cx, &open[0].id, "Ada").await.expect("taken");
        let all = [("User", "a person!"), ("Assistant", "A colleague will write to you.")];
        assert_eq!(words(&stage, &open[0].id, &page()).await, said(&all));
        let error = agents.say_in_handoff(cx, &open[0].id, "Ada", "hi", None).await.expect_err("to whom?");
        assert_eq!(error.code.as_deref(), Some("handoff_without_conversation"));
    })
    .await;
}
