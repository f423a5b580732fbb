//! The process that is killed: a room of agents over a database that outlives it.
//!
//! It asks turn after turn, works on its own and on those that others left, and says yes to whatever waits for a person;
//! each turn asks its model three times, calls five tools with an effect, of which one waits for that, and looks four
//! times, side by side. What it says goes to standard error, a line each:
//! `worker ID`, `accepted TURN`, `saw TURN SEQ HASH`, `point POINT`, `idle`, `stopped`.

// A test program reads its own environment; the rule is for the rooms of the product.
#![allow(clippy::disallowed_methods)]

use std::{
    io::{BufRead as _, Write as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_agents::{Agents, Bounds, Deps, Fault, NewTurn, Pace, Point};
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Effort, Error, Frame, Ids as _, Inference, Kind, Memory, Order, PageRequest,
    Result, Safety, Seal, Tools,
    agent::AgentSpec,
    chat::{Dialect, FinishReason, ReplyHead, Role, ToolCall},
    clock::SystemClock,
    filter::FileFilter,
    id::RandomIds,
    inference::Model,
    memory::Passage,
    safety::{Checked, Hold, Stage},
    tools::{Effect, Outcome, Risk, Runs, ToolDef, ToolResult},
    turn::ItemBody,
};
use frontdesk_store::{Options, Store};
use futures::{StreamExt as _, stream};
use tokio::sync::watch;

/// With so many turns that have not ended, no more are asked.
const BUSY: i64 = 6;

/// Folder of the child's database file or lock.
pub const DIR: &str = "FRONTDESK_KILLED_DIR";
/// The Postgres database, if it is one.
pub const DATABASE: &str = "FRONTDESK_KILLED_DATABASE";
/// Folder of the ledger: a file for each key.
pub const LEDGER: &str = "FRONTDESK_KILLED_LEDGER";
/// `POINT:NTH`; nothing: it does not stop.
pub const FAULT: &str = "FRONTDESK_KILLED_FAULT";
/// How many turns it asks at once, each again and again; `once`: one, one time; `poison`: one that ends its process, and
/// four beside it.
pub const ASKS: &str = "FRONTDESK_KILLED_ASKS";

/// How often a turn is begun; nothing: for ever.
pub const ATTEMPTS: &str = "FRONTDESK_KILLED_ATTEMPTS";

/// What a turn is asked that ends its process, and what those are asked that take their time beside it.
const POISON: &str = "poison";
const SLOW: &str = "take your time";

fn var(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

fn say(line: &str) {
    // One write, so that lines of several threads do not mix; whoever reads may be gone.
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Whether a line `go` came in.
fn told() -> watch::Receiver<bool> {
    let (tell, told) = watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            if line.is_ok_and(|line| line == "go") {
                tell.send_replace(true);
            }
        }
    });
    told
}

/// Says that the point is reached, and waits to be killed, or to be told to go on.
fn fault(told: watch::Receiver<bool>) -> Option<Fault> {
    let at = var(FAULT);
    let (name, nth) = at.split_once(':')?;
    let (name, nth): (String, usize) = (name.to_owned(), nth.parse().expect("a number"));
    let seen = Arc::new(AtomicUsize::new(0));
    Some(Arc::new(move |point: Point| {
        let here = format!("{point:?}") == name && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        let mut told = told.clone();
        Box::pin(async move {
            if here {
                say(&format!("point {point:?}"));
                let _ = told.wait_for(|go| *go).await;
            }
        })
    }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process that the other tests start"]
async fn work() {
    // In one line, for who reads.
    std::panic::set_hook(Box::new(|panic| say(&format!("panicked: {panic}").replace('\n', " "))));
    let told = told();
    let database_url = Some(var(DATABASE)).filter(|url| !url.is_empty());
    let options = Options { database_url, max_connections: 6, ..Options::at(PathBuf::from(var(DIR))) };
    let store = Store::open(&options).await.expect("the database");
    let (cx, _) = frontdesk_store::testing::two_tenants(&store).await;
    let agents = Agents::new(Deps {
        store: store.clone(),
        inference: Arc::new(Shopper),
        tools: Arc::new(Ledger(PathBuf::from(var(LEDGER)))),
        memory: Arc::new(Nothing),
        safety: Arc::new(Nothing),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        seal: Arc::new(Nothing),
        observer: Arc::new(frontdesk_agents::Unobserved),
        dispatch: store.dispatch(),
        pace: Pace {
            lease: Duration::from_secs(2),
            renew: Duration::from_millis(500),
            poll: Duration::from_millis(200),
            flush: Duration::ZERO,
            ..Pace::default()
        },
        // Who is killed again and again is not what ends it.
        bounds: Bounds { attempts: var(ATTEMPTS).parse().unwrap_or(i64::MAX), ..Bounds::default() },
        fault: fault(told.clone()),
    });
    agents.recover().await.expect("it works");
    let (approver, its) = (agents.clone(), cx.clone());
    let approves = tokio::spawn(async move {
        loop {
            let page = PageRequest { after: None, limit: 100, order: Order::Asc };
            let open = approver.open_approvals(&its, &page).await.map(|page| page.items).unwrap_or_default();
            for approval in open {
                // Another process may have been first; the same word again is the same word.
                if let Err(error) = approver.decide(&its, &approval.id, true, None).await {
                    assert_eq!(error.kind, Kind::Unavailable, "{error}");
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let asks = var(ASKS);
    if asks == "once" {
        ask(&agents, &cx, "buy it").await;
    } else if asks == "poison" {
        for _ in 0..4 {
            let (agents, cx) = (agents.clone(), cx.clone());
            tokio::spawn(async move { ask(&agents, &cx, SLOW).await });
        }
        while running(&store).await < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It does not come to its end.
        ask(&agents, &cx, POISON).await;
    } else {
        for _ in 0..asks.parse::<usize>().expect("a number") {
            let (agents, cx, store) = (agents.clone(), cx.clone(), store.clone());
            tokio::spawn(async move {
                loop {
                    // So that turns come to their ends, and are not all killed in their first steps.
                    while running(&store).await >= BUSY {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    ask(&agents, &cx, "buy it").await;
                }
            });
        }
    }
    idle(&store, told).await;
    approves.abort();
    agents.shutdown(Duration::from_secs(60)).await;
    say("stopped");
    store.close().await;
}

/// Says once that nothing runs any more, and waits to be told.
async fn idle(store: &Store, mut told: watch::Receiver<bool>) {
    let mut said = false;
    loop {
        if !said && running(store).await == 0 {
            say("idle");
            said = true;
        }
        tokio::select! {
            _ = told.wait_for(|go| *go) => return,
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
        }
    }
}

/// How many turns have not ended.
async fn running(store: &Store) -> i64 {
    let mut tx = store.system().read().await.expect("a transaction");
    frontdesk_store::on!(tx, conn => frontdesk_store::sqlx::query_scalar("SELECT count(*) FROM turn WHERE state IN ('running', 'awaiting_input')")
        .fetch_one(conn).await)
    .expect("a count")
}

/// Asks a turn and follows it to its end.
async fn ask(agents: &Agents, cx: &Cx, words: &str) {
    let spec = AgentSpec { toolgroups: vec!["shop".into()], ..AgentSpec::new("m") };
    let agent = agents.create_agent(cx, spec).await.expect("an agent");
    let session = agents.create_session(cx, &agent.id, "test").await.expect("a session");
    let new = NewTurn {
        agent_id: agent.id,
        session_id: Some(session.id),
        items: vec![ItemBody::Message { role: Role::User, text: words.into(), citations: vec![] }],
        // So that asking again, whatever became of the first time, makes no second turn.
        idempotency_key: Some(RandomIds.next("key")),
        ..NewTurn::default()
    };
    let turn = loop {
        match Box::pin(agents.create_turn(cx, new.clone())).await {
            Ok(turn) => break turn,
            // Every client is told to ask again.
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::RateLimited) => {
                tokio::time::sleep(Duration::from_millis(50)).await
            }
            Err(error) => panic!("no turn: {error} ({:?})", error.source),
        }
    };
    say(&format!("accepted {}", turn.id));
    let mut seen = None;
    'follow: loop {
        let mut events = match agents.events(cx, &turn.id, seen).await {
            Ok(events) => events,
            // Who is stopped in the middle of a read finds that the database has ended it.
            Err(error) if error.kind == Kind::Unavailable => continue,
            Err(error) => panic!("no events: {error} ({:?})", error.source),
        };
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => {
                    say(&format!("saw {} {} {}", turn.id, event.seq, hash(&event)));
                    seen = Some(event.seq);
                }
                Err(error) if error.kind == Kind::Unavailable => continue 'follow,
                Err(error) => panic!("no event: {error} ({:?})", error.source),
            }
        }
        break;
    }
}

/// Of what a client is shown.
pub fn hash(event: &frontdesk_api::turn::Event) -> String {
    blake3::hash(&serde_json::to_vec(event).expect("JSON")).to_hex()[..16].to_owned()
}

/// Asks for four tools, then for five more, then says so in pieces.
struct Shopper;

#[async_trait]
impl Inference for Shopper {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let messages = &request.chat()?.messages;
        let results = messages.iter().filter(|m| m.role == Role::Tool).count();
        let asked = messages.iter().rfind(|m| m.role == Role::User).map(|m| m.joined()).unwrap_or_default();
        if asked == POISON {
            std::process::abort();
        }
        if asked == SLOW && results == 0 {
            tokio::time::sleep(Duration::from_millis(1000)).await;
        }
        let call = |index, id: &str, name: &str| ChatEvent::ToolCall {
            choice: 0,
            index,
            id: Some(id.to_owned()),
            name: Some(name.to_owned()),
            arguments: "{}".into(),
        };
        let text = |text: &str| ChatEvent::Text { choice: 0, text: text.to_owned() };
        let finish = |reason| ChatEvent::Finish { choice: 0, reason };
        let events = match results {
            0 => vec![
                text("One"),
                text(" moment."),
                call(0, "a", "book"),
                call(1, "f", "look"),
                call(2, "g", "look"),
                call(3, "b", "pay"),
                finish(FinishReason::ToolCalls),
            ],
            4 => vec![
                call(0, "c", "pay"),
                call(1, "e", "refund"),
                call(2, "d", "book"),
                call(3, "h", "look"),
                call(4, "i", "look"),
                finish(FinishReason::ToolCalls),
            ],
            _ => vec![text("Booked"), text(" and"), text(" paid."), finish(FinishReason::Stop)],
        };
        let frames = stream::iter(events).then(async |event| {
            // So that pieces are pieces.
            tokio::time::sleep(Duration::from_millis(1)).await;
            Ok(Frame { events: vec![event], ..Frame::default() })
        });
        let head = ReplyHead {
            provider: "up".into(),
            model: "m".into(),
            dialect: Dialect::OpenaiChat,
            streaming: true,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        Ok(ChatReply { head, frames: frames.boxed() })
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

/// Three tools that write a line in the file of their key: `book` none where there is one, `pay` and `refund` always.
/// `refund` waits for a person. `look` writes nothing.
struct Ledger(PathBuf);

#[async_trait]
impl Tools for Ledger {
    async fn list(&self, _: &Cx, _: &[String]) -> Result<Vec<ToolDef>> {
        let def = |name: &str, effect, risk| ToolDef {
            name: name.into(),
            wire_name: name.into(),
            toolgroup: "shop".into(),
            description: String::new(),
            schema: serde_json::json!({ "type": "object" }),
            runs: Runs::Server,
            effect,
            risk,
            bound_args: Default::default(),
            alone: false,
            hash: String::new(),
        };
        Ok(vec![
            def("book", Effect::Idempotent, Risk::LowImpactWrite),
            def("pay", Effect::Unsafe, Risk::LowImpactWrite),
            def("refund", Effect::Unsafe, Risk::ApprovalRequired),
            def("look", Effect::None, Risk::Read),
        ])
    }

    async fn call(&self, _: &Cx, _: &[String], call: &ToolCall, key: &str, approved: bool) -> Result<Outcome> {
        assert!(approved || call.name != "refund", "a call that nobody approved");
        let file = self.0.join(key);
        // So that those that run side by side end in any order.
        let late = key.bytes().map(u64::from).sum::<u64>() % 4;
        tokio::time::sleep(Duration::from_millis(late)).await;
        if call.name == "look" {
            return Ok(Outcome::Done(ToolResult { content: "seen".into(), is_error: false, details: None }));
        }
        // The effect is the byte, not the file: who dies in between has had none.
        if call.name != "book" || std::fs::metadata(&file).map_or(true, |file| file.len() == 0) {
            let opened = std::fs::OpenOptions::new().create(true).append(true).open(file);
            let written = opened.and_then(|mut file| file.write_all(b"x"));
            written.map_err(|e| Error::internal("the ledger cannot be written", e))?;
        }
        Ok(Outcome::Done(ToolResult { content: "done".into(), is_error: false, details: None }))
    }
}

struct Nothing;

impl Seal for Nothing {
    fn seal(&self, _: &[&str], plain: &[u8]) -> Result<Vec<u8>> {
        Ok(plain.to_vec())
    }

    fn open(&self, _: &[&str], sealed: &[u8]) -> Result<Vec<u8>> {
        Ok(sealed.to_vec())
    }
}

#[async_trait]
impl Memory for Nothing {
    async fn recall_from(
        &self,
        _: &Cx,
        _: &[String],
        _: Option<&FileFilter>,
        _: &str,
        _: usize,
    ) -> Result<Vec<Passage>> {
        Ok(vec![])
    }
}

#[async_trait]
impl Safety for Nothing {
    async fn check(&self, _: &Cx, _: &[String], _: Stage, text: &str) -> Result<Checked> {
        Ok(Checked { text: text.to_owned(), verdicts: vec![] })
    }

    fn knows(&self, _: &[String]) -> Result<()> {
        Ok(())
    }

    fn hold(&self, _: &[String], _: Stage) -> Option<Hold> {
        None
    }
}
