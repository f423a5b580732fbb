//! How many statements a turn with one tool call takes, from its creation to the end of its stream: a turn's time goes
//! into these (BENCHMARKS.md). A program of its own, since it hears everything that a process says to its database.
//!
//! `cargo test -p frontdesk-agents --test statements -- --nocapture` lists them.

#[path = "../suite/pages.rs"]
#[allow(unreachable_pub)] // the other suite is a crate of its own
mod pages;
#[path = "../suite/stage.rs"]
#[allow(dead_code, unreachable_pub)] // the other suite needs all of it
mod stage;

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use frontdesk_agents::{Bounds, Pace};
use frontdesk_api::id::RandomIds;
use frontdesk_store::{Dialect, testing::each_database};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use stage::{Line, Stage, answer, with_tools};

/// Every statement so far, as the driver tells of it.
static SAID: Mutex<Vec<String>> = Mutex::new(vec![]);

/// Hears the driver's statements and nothing else.
struct Ear;

impl Subscriber for Ear {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Summary(Option<String>);
        impl Visit for Summary {
            fn record_str(&mut self, field: &Field, value: &str) {
                if field.name() == "summary" {
                    self.0 = Some(value.to_owned());
                }
            }

            fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
        }
        let mut summary = Summary(None);
        event.record(&mut summary);
        SAID.lock().expect("the list").extend(summary.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What was said since this was last asked.
fn heard() -> Vec<String> {
    static EAR: OnceLock<()> = OnceLock::new();
    EAR.get_or_init(|| tracing::subscriber::set_global_default(Ear).expect("the one ear of this process"));
    std::mem::take(&mut SAID.lock().expect("the list"))
}

#[tokio::test]
async fn a_turn_with_one_tool_call_takes_no_more_statements_than_it_did() {
    each_database(|store| async move {
        // A model that writes its calls at once, whatever this machine takes for it.
        let pace = Pace { flush: Duration::from_secs(3600), ..Pace::default() };
        let (dialect, ids) = (store.dialect(), Arc::new(RandomIds));
        let stage = Stage::with(store, ids, pace, Bounds::default()).await;
        let conversation = stage.conversation(with_tools()).await;
        for turn in 0..2 {
            stage.model.play([Line::Call(vec![("c", "look", "{}")]), Line::Say("Here.")]);
            heard();
            let new = Stage::asks(&conversation, "where?");
            let begun = stage.agents.create_turn(&stage.cx, new).await.expect("a turn");
            let told = stage.events(&begun.id).await.len();
            let all = heard();
            eprintln!("{dialect:?}, turn {turn}: {} statements, {told} events\n  {}", all.len(), all.join("\n  "));
            let view = stage.settled(&begun.id).await;
            assert_eq!(answer(&view), "Here.");
            // With room for looks at the rows that a follower takes where this machine is slow.
            let most = match dialect {
                Dialect::Sqlite => 60,
                Dialect::Postgres => 70,
            };
            assert!(all.len() <= most, "{} statements on {dialect:?}, at most {most} before", all.len());
            let commits = all.iter().filter(|said| said.contains("COMMIT")).count();
            assert!(commits <= 6, "{commits} commits");
        }
        stage.agents.shutdown(Duration::from_secs(5)).await;
    })
    .await;
}
