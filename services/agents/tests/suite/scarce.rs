//! A database that has too little: connections, or disk. Whoever was told yes gets an answer, the others hear why not,
//! and all is well again when there is enough.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{Bounds, Pace};
use frontdesk_api::{Kind, Result, agent::AgentSpec, chat::Message, id::RandomIds, turn::TurnState};
use frontdesk_store::{
    Dialect, Options, Store, on, sqlx,
    testing::{FreshDatabase, server},
};
use futures::future::join_all;

use crate::{
    lost,
    stage::{Line, Stage, answer, happens, pace},
};

const CLIENTS: usize = 200;

fn often() -> Pace {
    let often = Duration::from_millis(50);
    Pace { poll: often, renew: often, ..pace() }
}

/// A conversation and a turn in it, as each client asks for.
async fn ask(stage: &Stage, agent: &str) -> Result<String> {
    let session = stage.agents.create_session(&stage.cx, agent, "test").await?;
    let new = Stage::asks(&(agent.to_owned(), session.id), "hello");
    stage.agents.create_turn(&stage.cx, new).await.map(|turn| turn.id)
}

/// That each refusal says when to come again, and nothing else went wrong. The turns of the others.
fn told(answers: Vec<Result<String>>) -> Vec<String> {
    let mut turns = vec![];
    for answer in answers {
        match answer {
            Ok(turn) => turns.push(turn),
            Err(refused) => {
                assert!(matches!(refused.kind, Kind::Unavailable | Kind::RateLimited), "{refused:?}");
                assert!(refused.retry_after.is_some(), "{refused:?}");
            }
        }
    }
    turns
}

async fn crowd(store: Store) {
    let bounds = Bounds { at_once: 8, in_line_of_tenant: 40, ..Bounds::default() };
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), often(), bounds).await;
    stage.model.follow(|_: &[Message]| Line::Say("Hello."));
    let agent = stage.agents.create_agent(&stage.cx, AgentSpec::new("m")).await.expect("an agent").id;
    stage.agents.recover().await.expect("it works");
    let asked = || join_all((0..CLIENTS).map(|_| ask(&stage, &agent)));

    // While others have all there are, nobody is told yes.
    let mut taken = vec![store.system().write().await.expect("a connection")];
    if store.dialect() == Dialect::Postgres {
        taken.push(store.system().write().await.expect("the other one"));
    }
    assert_eq!(told(happens("an answer for everyone", asked()).await), [""; 0]);
    drop(taken);

    let mut turns = told(happens("an answer for everyone", asked()).await);
    // A client that comes again is let in.
    let patient = async {
        loop {
            match ask(&stage, &agent).await {
                Ok(turn) => break turn,
                refused => drop(told(vec![refused])),
            }
        }
    };
    turns.push(happens("a turn", patient).await);
    let ended = async {
        for turn in &turns {
            loop {
                match stage.agents.load_turn(&stage.cx, turn).await {
                    Ok(view) if view.turn.state.is_terminal() => {
                        let said = (view.turn.state, answer(&view));
                        assert_eq!(said, (TurnState::Completed, "Hello."), "{:?}", view.turn);
                        break;
                    }
                    Ok(_) => tokio::task::yield_now().await,
                    Err(busy) => assert_eq!(busy.kind, Kind::Unavailable, "{busy:?}"),
                }
            }
        }
    };
    happens("every turn to end", ended).await;
    stage.agents.shutdown(Duration::ZERO).await;
}

#[tokio::test]
async fn two_connections_for_many_clients_lose_nothing_that_was_taken_in() {
    let folder = tempfile::tempdir().expect("a folder");
    let few = |url: Option<String>| Options {
        database_url: url,
        max_connections: 2,
        acquire_timeout: Duration::from_secs(3),
        ..Options::at(folder.path())
    };
    let store = Store::open(&few(None)).await.expect("SQLite");
    Box::pin(crowd(store.clone())).await;
    store.close().await;
    drop(store);
    let Some(server) = server() else { return };
    let fresh = FreshDatabase::make(&server).await;
    let store = Store::open(&few(Some(fresh.url.clone()))).await.expect("Postgres");
    Box::pin(crowd(store.clone())).await;
    store.close().await;
    fresh.drop().await;
}

/// So large may the file be from now on; never smaller than it is.
async fn pages(store: &Store, most: u32) {
    let mut tx = store.system().write().await.expect("the writer");
    let sql = sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {most}"));
    on!(tx, conn => sqlx::query(sql).execute(conn).await.map(|_| ())).expect("a limit");
}

/// SQLite alone: a full disk of Postgres is its server's, and looks like any error of it.
#[tokio::test]
async fn a_full_disk_is_said_and_what_was_taken_in_goes_on_once_there_is_room() {
    let store = Store::temporary().await.expect("SQLite");
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), lost::short(), Bounds::default()).await;
    let spec = AgentSpec { toolgroups: vec!["gates".into()], ..AgentSpec::new("m") };
    let (conversation, other) = (stage.conversation(spec).await, stage.conversation(AgentSpec::new("m")).await);
    let much = "x".repeat(200_000);
    stage.model.play([Line::Say("Hello.")]);
    let kept = stage.ask(&conversation, "hello").await.turn.id;
    stage.model.play([Line::Call(vec![("a", "hold", "{\"gate\":\"x\"}")])]);
    let working = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "look")).await.expect("a turn").id;
    stage.tools.at(1).await;

    pages(&store, 1).await;
    for _ in 0..3 {
        let refused = stage.agents.create_turn(&stage.cx, Stage::asks(&other, &much)).await.expect_err("no room");
        assert_eq!(refused.kind, Kind::Unavailable);
        assert!(refused.message.ends_with("the disk is full") && refused.retry_after.is_some(), "{refused:?}");
    }
    // What the call came to cannot be written: its worker gives up, and the turn stands as it was.
    stage.tools.open("x", &much);
    let gives_up = async {
        while stage.agents.tally().running > 0 {
            tokio::task::yield_now().await;
        }
    };
    happens("the worker to give up", gives_up).await;
    let load = async |id: &str| stage.agents.load_turn(&stage.cx, id).await.expect("the turn");
    assert_eq!(load(&working).await.turn.state, TurnState::Running);
    assert_eq!(answer(&load(&kept).await), "Hello.");

    pages(&store, 1_000_000).await;
    stage.model.play([Line::Say("Seen.")]);
    let next = stage.changed(often(), Bounds::default(), |_| {});
    next.agents.recover().await.expect("another process");
    let view = next.settled(&working).await;
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Seen."));
    stage.model.play([Line::Say("Again.")]);
    assert_eq!(answer(&stage.ask(&other, &much).await), "Again.");
    next.agents.shutdown(Duration::ZERO).await;
}
