//! Conversations that are handed on: to another agent, which answers from then on, or to people, while whom the agent
//! is quiet.

use frontdesk_agents::{AsResponse, NewTurn};
use frontdesk_api::{
    Cx, Kind, Order, PageRequest,
    agent::{AgentSpec, HandOffSpec, HandOffTarget, OnMessage},
    chat::Role,
    cx::Customer,
    turn::{EventBody, HandOffReason, ItemBody, TurnState},
};
use frontdesk_store::{handoffs::State, testing::each_database};
use serde_json::json;

use crate::stage::{Line, Stage, answer, done, happens, with_tools};

fn named(name: &str) -> AgentSpec {
    AgentSpec { name: Some(name.into()), instructions: name.into(), ..AgentSpec::new("m") }
}

fn to(target: &str, message: Option<&str>) -> HandOffTarget {
    HandOffTarget { to: target.into(), description: String::new(), message: message.map(str::to_owned) }
}

fn handing(spec: AgentSpec, targets: Vec<HandOffTarget>) -> AgentSpec {
    let message = "A colleague will write to you.".into();
    AgentSpec { hand_off: Some(HandOffSpec { message, targets }), ..spec }
}

fn hands(arguments: &'static str) -> Line {
    Line::Call(vec![("c1", "hand_off", arguments)])
}

fn page() -> PageRequest {
    PageRequest { after: None, limit: 20, order: Order::Asc }
}

#[tokio::test]
async fn another_agent_answers_from_then_on_and_knows_what_was_said() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let returns = stage.agents.create_agent(&stage.cx, named("returns")).await.expect("an agent");
        let targets = vec![to("people", None), to("returns", Some("I pass you on to returns."))];
        let conversation = stage.conversation(handing(named("shop"), targets)).await;
        stage.model.play([hands(r#"{"reason":"unsupported_request","to":"returns"}"#)]);
        let view = stage.ask(&conversation, "I send it back").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I pass you on to returns."));
        assert_eq!(view.turn.agent_id, conversation.0);
        let events = stage.events(&view.turn.id).await;
        let handed: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.body {
                EventBody::HandedOff { hand_off } => Some(hand_off),
                _ => None,
            })
            .collect();
        let [hand_off] = handed[..] else { panic!("once: {handed:?}") };
        let to = hand_off.to.as_ref().expect("an agent");
        assert_eq!((hand_off.from.as_deref(), to.agent.as_str(), &to.agent_id), (Some("shop"), "returns", &returns.id));
        assert_eq!(hand_off.reason, HandOffReason::UnsupportedRequest);
        assert!(stage.agents.list_handoffs(&stage.cx, None, &page()).await.expect("a list").items.is_empty());

        stage.model.play([Line::Say("Within 30 days.")]);
        let view = stage.ask(&conversation, "how long?").await;
        assert_eq!((answer(&view), &view.turn.agent_id), ("Within 30 days.", &returns.id));
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert_eq!(prompt[0], (Role::System, "returns".to_owned()));
        let words: Vec<&str> = prompt.iter().map(|(_, words)| words.as_str()).collect();
        assert!(words.contains(&"I send it back") && words.contains(&"I pass you on to returns."), "{words:?}");
        // The conversation stays where its client has it.
        let (agent, session) = &conversation;
        stage.agents.load_turn_of(&stage.cx, agent, session, &view.turn.id).await.expect("its turn");
        let strange = stage.agents.load_turn_of(&stage.cx, "agent_other", session, &view.turn.id).await;
        assert_eq!(strange.expect_err("not its agent").kind, Kind::NotFound);
        // An agent that is gone answers no more; the first one does.
        stage.agents.delete_agent(&stage.cx, &returns.id).await.expect("deleted");
        stage.model.play([Line::Say("Here again.")]);
        assert_eq!(answer(&stage.ask(&conversation, "hello?").await), "Here again.");
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_not_allowed_is_a_result_that_the_model_reads() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.agents.create_agent(&stage.cx, named("returns")).await.expect("an agent");
        let conversation =
            stage.conversation(handing(named("shop"), vec![to("people", None), to("returns", None)])).await;
        for arguments in [r#"{"reason":"customer_request"}"#, r#"{"reason":"customer_request","to":"boss"}"#] {
            stage.model.play([hands(arguments), Line::Say("Hm.")]);
            let view = stage.ask(&conversation, "hi").await;
            assert_eq!((answer(&view), view.turn.hand_off.is_none()), ("Hm.", true));
            assert!(done(&view)[0].1.contains("one of: people, returns"), "{:?}", done(&view));
        }
    })
    .await;
}

#[tokio::test]
async fn targets_that_cannot_be_are_refused_by_name() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for (targets, param) in [
            (vec![to("nobody", None)], "hand_off.targets[0].to"),
            (vec![to("shop", None)], "hand_off.targets[0].to"),
            (vec![to("people", None), to("people", None)], "hand_off.targets[1].to"),
        ] {
            let refused = stage.agents.create_agent(&stage.cx, handing(named("shop"), targets)).await;
            let error = refused.expect_err(param);
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some(param)));
        }
    })
    .await;
}

#[tokio::test]
async fn people_have_a_queue_and_the_agent_is_quiet_while_one_has_the_conversation() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let conversation = stage.conversation(handing(named("shop"), vec![])).await;
        stage.model.play([hands(r#"{"reason":"customer_request"}"#)]);
        let handed = stage.ask(&conversation, "a person!").await;
        let open = agents.list_handoffs(cx, Some(State::Open), &page()).await.expect("a list").items;
        let [one] = &open[..] else { panic!("one: {open:?}") };
        assert_eq!((&one.turn_id, one.session_id.as_deref()), (&handed.turn.id, Some(conversation.1.as_str())));
        assert_eq!(
            (one.reason, one.message.as_str()),
            (HandOffReason::CustomerRequest, "A colleague will write to you.")
        );

        // Nobody took it yet: the agent answers.
        stage.model.play([Line::Say("Somebody will.")]);
        assert_eq!(answer(&stage.ask(&conversation, "when?").await), "Somebody will.");
        agents.take_handoff(cx, &one.id, "Ada").await.expect("taken");
        agents.take_handoff(cx, &one.id, "Ada").await.expect("it is hers");
        let error = agents.take_handoff(cx, &one.id, "Bob").await.expect_err("it is hers");
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Conflict, Some("handoff_taken")));

        let quiet = stage.ask(&conversation, "are you there?").await;
        assert_eq!((quiet.turn.state, answer(&quiet), quiet.steps.len()), (TurnState::Completed, "", 0));
        assert_eq!(quiet.turn.hand_off.map(|hand_off| hand_off.reason), Some(HandOffReason::CustomerRequest));
        assert_eq!(agents.list_handoffs(cx, None, &page()).await.expect("a list").items.len(), 1);
        let done = agents.end_handoff(cx, &one.id).await.expect("done");
        assert_eq!((done.state, done.taken_by.as_str()), (State::Done, "Ada"));
        let error = agents.take_handoff(cx, &one.id, "Ada").await.expect_err("over");
        assert_eq!(error.code.as_deref(), Some("handoff_done"));

        stage.model.play([Line::Say("Here again.")]);
        assert_eq!(answer(&stage.ask(&conversation, "and now?").await), "Here again.");
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert!(prompt.iter().any(|(_, words)| words == "are you there?"), "what was kept is known: {prompt:?}");
        // Another tenant has a queue of its own.
        let (_, other) = frontdesk_store::testing::two_tenants(&stage.store).await;
        assert!(agents.list_handoffs(&other, None, &page()).await.expect("a list").items.is_empty());
        for error in [
            agents.load_handoff(&other, &one.id).await.expect_err("not theirs"),
            agents.take_handoff(&other, &one.id, "Eve").await.expect_err("not theirs"),
            agents.end_handoff(&other, &one.id).await.expect_err("not theirs"),
            agents.handoff_words(&other, &one.id, &page()).await.expect_err("not theirs"),
            agents.say_in_handoff(&other, &one.id, "Ada", "hi", None).await.expect_err("not theirs"),
        ] {
            assert_eq!(error.kind, Kind::NotFound);
        }
        agents.delete_session(cx, &conversation.0, &conversation.1).await.expect("deleted");
        assert_eq!(agents.load_handoff(cx, &one.id).await.expect_err("gone with it").kind, Kind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_stands_in_no_conversation_stays_for_the_person_who_reads_it() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let agent = stage.agents.create_agent(&stage.cx, handing(named("shop"), vec![])).await.expect("an agent");
        stage.model.play([hands("{}")]);
        let items = vec![ItemBody::Message { role: Role::User, text: "a person!".into(), citations: vec![] }];
        let response = AsResponse { spec: agent.spec, version: 1, previous: None, echo: json!(null), stored: false };
        let new = NewTurn { agent_id: agent.id, items, response: Some(response), ..NewTurn::default() };
        let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a turn");
        stage.settled(&turn.id).await;
        assert_eq!(stage.store.system().purge_responses().await.expect("purged"), 0);
        let open = stage.agents.list_handoffs(&stage.cx, Some(State::Open), &page()).await.expect("a list").items;
        assert_eq!(open.iter().map(|one| (&one.turn_id, &one.session_id)).collect::<Vec<_>>(), [(&turn.id, &None)]);
    })
    .await;
}

#[tokio::test]
async fn a_message_that_stood_in_line_is_not_answered_once_a_person_has_the_conversation() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        agents.recover().await.expect("it takes turns out of the line");
        let spec = AgentSpec { on_message: OnMessage::Queue, ..handing(named("shop"), vec![]) };
        let conversation = stage.conversation(spec).await;
        stage.model.play([hands(r#"{"reason":"customer_request"}"#)]);
        stage.ask(&conversation, "a person!").await;
        let open = agents.list_handoffs(cx, Some(State::Open), &page()).await.expect("a list").items;
        stage.model.play([Line::Silence]);
        let running = agents.create_turn(cx, Stage::asks(&conversation, "when?")).await.expect("a turn");
        let wait = async {
            while stage.model.asked().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        happens("two model calls", wait).await;
        let behind = agents.create_turn(cx, Stage::asks(&conversation, "are you there?")).await.expect("a turn");
        assert_eq!(behind.state, TurnState::Queued);
        agents.take_handoff(cx, &open[0].id, "Ada").await.expect("taken");
        agents.cancel(cx, &running.id).await.expect("stopped");
        let quiet = stage.settled(&behind.id).await;
        assert_eq!((quiet.turn.state, answer(&quiet), quiet.steps.len()), (TurnState::Completed, "", 0));
        agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_message_that_stands_in_line_is_the_agents_that_took_over() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        agents.recover().await.expect("it takes turns out of the line");
        let returns = agents.create_agent(cx, named("returns")).await.expect("an agent");
        let spec = handing(AgentSpec { name: Some("shop".into()), ..with_tools() }, vec![to("returns", None)]);
        let conversation = stage.conversation(AgentSpec { on_message: OnMessage::Queue, ..spec }).await;
        stage.model.play([
            Line::Call(vec![("a", "refund", "{}")]),
            hands(r#"{"reason":"unsupported_request","to":"returns"}"#),
            Line::Say("Within 30 days."),
        ]);
        // It waits for a person, and the next message for it.
        let first = stage.ask(&conversation, "money back").await;
        let behind = agents.create_turn(cx, Stage::asks(&conversation, "how long?")).await.expect("a turn");
        assert_eq!((behind.state, &behind.agent_id), (TurnState::Queued, &conversation.0));
        agents.decide(cx, &first.approvals[0].approval_id, true, None).await.expect("approved");
        let view = stage.settled(&behind.id).await;
        assert_eq!((answer(&view), &view.turn.agent_id), ("Within 30 days.", &returns.id));
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert_eq!(prompt[0], (Role::System, "returns".to_owned()));
        agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn the_queue_is_for_the_tenants_own_people() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let customer = Customer { sub: "eve".into(), issuer: None, claims: serde_json::Map::new() };
        let eve = Cx { customer: Some(customer), ..stage.cx.clone() };
        let agents = &stage.agents;
        for refused in [
            agents.list_handoffs(&eve, None, &page()).await.map(|_| ()),
            agents.load_handoff(&eve, "handoff_1").await.map(|_| ()),
            agents.take_handoff(&eve, "handoff_1", "Eve").await.map(|_| ()),
            agents.handoff_words(&eve, "handoff_1", &page()).await.map(|_| ()),
            agents.say_in_handoff(&eve, "handoff_1", "Eve", "hi", None).await.map(|_| ()),
            agents.end_handoff(&eve, "handoff_1").await.map(|_| ()),
            agents.dead_letters(&eve, &page()).await.map(|_| ()),
        ] {
            let error = refused.expect_err("not for customers");
            assert_eq!((error.kind, error.code.as_deref()), (Kind::Forbidden, Some("not_for_customers")));
        }
    })
    .await;
}
