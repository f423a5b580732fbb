//! Calls of code: the container they run in stands in their items, and a turn that lost its worker goes on in it.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{AsResponse, Bounds, INLINE, NewTurn, Point};
use frontdesk_api::{
    agent::AgentSpec,
    blobs::Place,
    chat::Role,
    code,
    id::RandomIds,
    turn::{EventBody, ItemBody, TurnState},
};
use frontdesk_store::{
    containers::{self, ContainerFile},
    testing::each_database,
};
use serde_json::json;

use crate::{
    lost::{at, short},
    stage::{Line, Stage, answer},
};

fn coder() -> AgentSpec {
    AgentSpec { toolgroups: vec![code::GROUP.into(), "shop".into()], ..AgentSpec::new("m") }
}

fn asks(previous: Option<&str>, spec: AgentSpec) -> NewTurn {
    let items = vec![ItemBody::Message { role: Role::User, text: "count".into(), citations: vec![] }];
    let previous = previous.map(str::to_owned);
    let response = AsResponse { spec, version: 1, previous, echo: json!({}), stored: true };
    NewTurn { agent_id: INLINE.into(), items, response: Some(response), ..NewTurn::default() }
}

/// The tools that a turn's items call, with their containers.
async fn called(stage: &Stage, turn: &str) -> Vec<(String, Option<String>)> {
    let events = stage.events(turn).await.into_iter();
    let calls = events.filter_map(|event| match event.body {
        EventBody::ItemDone { item, .. } => match item.body {
            ItemBody::FunctionCall { call, container } => Some((call.name, container)),
            _ => None,
        },
        _ => None,
    });
    calls.collect()
}

#[tokio::test]
async fn calls_of_code_name_the_container_that_they_run_in() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(|prompt| match prompt.last().map(|m| m.role) {
            Some(Role::Tool) => Line::Say("two"),
            _ => Line::Call(vec![("a", "look", "{}"), ("b", code::TOOL, r#"{"code":"1+1"}"#)]),
        });
        let mut turns: Vec<String> = vec![];
        for previous in [None, Some(0), Some(0)] {
            let new = asks(previous.map(|at: usize| turns[at].as_str()), coder());
            turns.push(stage.agents.create_turn(&stage.cx, new).await.expect("a response").id);
            stage.settled(turns.last().expect("a turn")).await;
        }
        let mut containers = vec![];
        for turn in &turns {
            let calls = called(&stage, turn).await;
            assert_eq!((calls[0].0.as_str(), &calls[0].1, calls[1].0.as_str()), ("look", &None, code::TOOL));
            containers.push(calls[1].1.clone().expect("a container"));
        }
        assert_eq!(containers[0], containers[1], "the one that goes on");
        assert_ne!(containers[0], containers[2], "a branch");
        let places: Vec<_> = stage.tools.places.lock().expect("the places").clone().into_iter().flatten().collect();
        let ran: Vec<&String> = places.iter().filter_map(|place| place.container.as_ref()).collect();
        let of_turn = |n: usize| [&containers[n], &containers[n]];
        assert_eq!(ran, [of_turn(0), of_turn(1), of_turn(2)].concat());
        assert!(places.iter().all(|place| Some(&place.id) == place.container.as_ref() && place.after.is_empty()));
        // A conversation has its own.
        let conversation = stage.conversation(coder()).await;
        for _ in 0..2 {
            let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "count")).await.expect("a turn");
            stage.settled(&turn.id).await;
            containers.push(called(&stage, &turn.id).await[1].1.clone().expect("a container"));
        }
        assert_eq!(containers[3], containers[4]);
        assert!(!containers[..3].contains(&containers[3]));
        let found = stage.agents.container(&stage.cx, &containers[3]).await.expect("a container");
        assert_eq!(found.session_id.as_ref(), Some(&conversation.1));
        let with_agent = stage.conversation(coder()).await;
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&with_agent, "count")).await.expect("a turn");
        stage.settled(&turn.id).await;
        let agents = called(&stage, &turn.id).await[1].1.clone().expect("a container");
        // What tools keep in this process goes with it, and with a container, a response, an agent.
        let forgotten = || std::mem::take(&mut *stage.tools.forgotten.lock().expect("the forgotten"));
        stage.agents.delete_session(&stage.cx, &conversation.0, &conversation.1).await.expect("deleted");
        assert_eq!(forgotten(), [containers[3].clone(), conversation.1]);
        stage.agents.delete_response(&stage.cx, &turns[2]).await.expect("deleted");
        assert_eq!(forgotten(), [containers[2].clone(), turns[2].clone()]);
        let file = ContainerFile {
            id: "cfile_1".into(),
            container_id: containers[0].clone(),
            name: "a.csv".into(),
            source: containers::ASSISTANT.into(),
            turn_id: Some(turns[0].clone()),
            run: None,
            bytes: 0,
            hash: vec![],
            created_at: 1,
        };
        let files = [file.clone(), ContainerFile { id: "cfile_2".into(), turn_id: None, ..file }];
        let mut tx = stage.store.tenant(&stage.cx).write().await.expect("a transaction");
        for file in &files {
            containers::write_file(&mut tx, file, &Place::Row(Default::default())).await.expect("written");
        }
        tx.commit().await.expect("written");
        // Another response has the container by now.
        stage.agents.delete_response(&stage.cx, &turns[0]).await.expect("deleted");
        assert_eq!(forgotten(), [containers[0].clone(), turns[0].clone()]);
        stage.agents.delete_container_file(&stage.cx, &containers[0], "cfile_2").await.expect("deleted");
        assert_eq!(forgotten(), [containers[0].clone()]);
        stage.agents.delete_container(&stage.cx, &containers[0]).await.expect("deleted");
        assert_eq!(forgotten(), [containers[0].clone()]);
        stage.agents.delete_agent(&stage.cx, &with_agent.0).await.expect("deleted");
        assert_eq!(forgotten(), [agents, with_agent.1]);
    })
    .await;
}

#[tokio::test]
async fn code_of_a_turn_that_lost_its_worker_runs_in_the_same_container() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        stage.model.follow(|prompt| match prompt.last().map(|m| m.role) {
            Some(Role::Tool) => Line::Say("two"),
            _ => Line::Call(vec![("a", code::TOOL, r#"{"code":"1+1"}"#)]),
        });
        // The first is the model's answer.
        let (fault, reached) = at(Point::AfterEffect, 2);
        let doomed = stage.failing(short(), fault);
        let turn = doomed.agents.create_turn(&stage.cx, asks(None, coder())).await.expect("a response");
        reached.notified().await;
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "two"));
        let container = called(&stage, &turn.id).await[0].1.clone().expect("a container");
        let places = stage.tools.places.lock().expect("the places").clone();
        let ran: Vec<_> = places.into_iter().flatten().map(|place| place.id).collect();
        assert_eq!(ran, [container.clone(), container], "run twice, in one");
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}
