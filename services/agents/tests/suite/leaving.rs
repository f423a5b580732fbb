//! An agent that is deleted after it took conversations over: what it said and handed on stays, what it was at ends and
//! says why, and the line goes on.

use frontdesk_agents::Agents;
use frontdesk_api::{
    Cx, Order, PageRequest,
    agent::{Agent, AgentSpec, HandOffSpec, HandOffTarget, OnMessage},
    turn::TurnState,
};
use frontdesk_store::{
    handoffs::{Handoff, State},
    testing::each_database,
};

use crate::stage::{Line, Stage, answer, with_tools};

/// A conversation of the agent `shop` that was handed to the agent `returns`, which may hand it to people.
pub async fn handed(stage: &Stage, on_message: OnMessage) -> (Agent, (String, String)) {
    let (message, to) = ("A colleague will write to you.".to_owned(), "returns".to_owned());
    let people = HandOffSpec { message: message.clone(), targets: vec![] };
    let returns = AgentSpec { name: Some(to.clone()), hand_off: Some(people), on_message, ..with_tools() };
    let returns = stage.agents.create_agent(&stage.cx, returns).await.expect("an agent");
    let targets = vec![HandOffTarget { to, description: String::new(), message: None }];
    let hand_off = Some(HandOffSpec { message, targets });
    let shop = AgentSpec { name: Some("shop".into()), hand_off, on_message, ..AgentSpec::new("m") };
    let conversation = stage.conversation(shop).await;
    stage.model.play([Line::Call(vec![("h", "hand_off", r#"{"reason":"unsupported_request"}"#)])]);
    stage.ask(&conversation, "I send it back").await;
    (returns, conversation)
}

/// Has the agent hand the conversation to people, and Ada take it.
async fn taken(stage: &Stage, conversation: &(String, String)) -> Handoff {
    stage.model.play([Line::Call(vec![("p", "hand_off", r#"{"reason":"customer_request"}"#)])]);
    stage.ask(conversation, "a person!").await;
    let page = PageRequest { after: None, limit: 20, order: Order::Asc };
    let open = stage.agents.list_handoffs(&stage.cx, Some(State::Open), &page).await.expect("a list").items;
    stage.agents.take_handoff(&stage.cx, &open[0].id, "Ada").await.expect("taken")
}

/// The turns of the conversation: how each stands, and its error's code.
async fn stand(agents: &Agents, cx: &Cx, (agent, session): &(String, String)) -> Vec<(TurnState, Option<String>)> {
    let (_, turns) = agents.load_conversation(cx, agent, session).await.expect("the conversation");
    turns.into_iter().map(|view| (view.turn.state, view.turn.error.map(|error| error.code))).collect()
}

#[tokio::test]
async fn what_it_said_stays_and_a_person_who_has_the_conversation_keeps_it() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let (returns, conversation) = handed(&stage, OnMessage::Reject).await;
        stage.model.play([Line::Say("Within 30 days.")]);
        let said = stage.ask(&conversation, "how long?").await;
        assert_eq!(said.turn.agent_id, returns.id);
        let taken = taken(&stage, &conversation).await;
        agents.delete_agent(cx, &returns.id).await.expect("deleted");

        assert_eq!(stand(agents, cx, &conversation).await, vec![(TurnState::Completed, None); 3]);
        let again = agents.load_turn_of(cx, &conversation.0, &conversation.1, &said.turn.id).await.expect("it stays");
        assert_eq!(answer(&again), "Within 30 days.");
        let still = agents.load_handoff(cx, &taken.id).await.expect("it stays");
        assert_eq!((still.state, still.taken_by.as_str()), (State::Taken, "Ada"));
        let quiet = stage.ask(&conversation, "are you there?").await;
        assert_eq!((quiet.turn.state, answer(&quiet), quiet.steps.len()), (TurnState::Completed, "", 0));
        agents.end_handoff(cx, &taken.id).await.expect("done");
        stage.model.play([Line::Say("Here again.")]);
        let first = stage.ask(&conversation, "and now?").await;
        assert_eq!((answer(&first), &first.turn.agent_id), ("Here again.", &conversation.0));
        let prompt = stage.model.asked().pop().expect("a prompt");
        assert!(prompt.iter().any(|(_, words)| words == "Within 30 days."), "what was said is known: {prompt:?}");
    })
    .await;
}

#[tokio::test]
async fn what_it_waits_with_ends_and_the_line_is_the_first_agents() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        agents.recover().await.expect("it takes turns out of the line");
        let (returns, conversation) = handed(&stage, OnMessage::Queue).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{}")]), Line::Say("Here again.")]);
        let waiting = stage.ask(&conversation, "money back").await;
        assert_eq!(waiting.approvals.len(), 1);
        let behind = agents.create_turn(cx, Stage::asks(&conversation, "how long?")).await.expect("a turn");
        assert_eq!((behind.state, &behind.agent_id), (TurnState::Queued, &returns.id));
        agents.delete_agent(cx, &returns.id).await.expect("deleted");

        let ended = stage.settled(&waiting.turn.id).await.turn;
        assert_eq!((ended.state, ended.error.expect("why").code.as_str()), (TurnState::Cancelled, "agent_deleted"));
        let next = stage.settled(&behind.id).await;
        assert_eq!((answer(&next), &next.turn.agent_id), ("Here again.", &conversation.0));
        agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn what_it_works_on_ends_and_a_person_hears_the_line() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        agents.recover().await.expect("it takes turns out of the line");
        let (returns, conversation) = handed(&stage, OnMessage::Queue).await;
        stage.model.play([Line::Call(vec![("p", "hand_off", r#"{"reason":"customer_request"}"#)]), Line::Silence]);
        stage.ask(&conversation, "a person!").await;
        let running = agents.create_turn(cx, Stage::asks(&conversation, "when?")).await.expect("a turn");
        while stage.model.asked().len() < 3 {
            stage.model.begun().await;
        }
        let behind = agents.create_turn(cx, Stage::asks(&conversation, "hello?")).await.expect("a turn");
        let page = PageRequest { after: None, limit: 20, order: Order::Asc };
        let open = agents.list_handoffs(cx, Some(State::Open), &page).await.expect("a list").items;
        agents.take_handoff(cx, &open[0].id, "Ada").await.expect("taken");
        agents.delete_agent(cx, &returns.id).await.expect("deleted");

        let ended = stage.settled(&running.id).await.turn;
        assert_eq!((ended.state, ended.error.expect("why").code.as_str()), (TurnState::Cancelled, "agent_deleted"));
        let quiet = stage.settled(&behind.id).await;
        assert_eq!((quiet.turn.state, answer(&quiet), quiet.steps.len()), (TurnState::Completed, "", 0));
        assert_eq!(quiet.turn.agent_id, conversation.0);
        agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_whose_worker_was_lost_ends_at_once() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let (returns, conversation) = handed(&stage, OnMessage::Reject).await;
        stage.model.play([Line::Silence]);
        let running = agents.create_turn(cx, Stage::asks(&conversation, "when?")).await.expect("a turn");
        while stage.model.asked().len() < 2 {
            stage.model.begun().await;
        }
        // As a process that was killed leaves it, to one that has found so.
        stage.store.system().end_turn_leases().await.expect("its lease is over");
        agents.delete_agent(cx, &returns.id).await.expect("deleted");
        let ended = agents.load_turn(cx, &running.id).await.expect("it stays").turn;
        assert_eq!((ended.state, ended.error.expect("why").code.as_str()), (TurnState::Cancelled, "agent_deleted"));
        stage.model.play([Line::Say("Here again.")]);
        assert_eq!(answer(&stage.ask(&conversation, "hello?").await), "Here again.");
        agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}
