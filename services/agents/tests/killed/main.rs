//! Turns whose process is killed with SIGKILL at chosen points, again and again, and what must hold afterwards.
//!
//! The points and how often each is passed before it kills are drawn from a seed that is printed, with a histogram of
//! the kills. `FRONTDESK_KILLS=1000 FRONTDESK_KILL_SEED=7 cargo test -p frontdesk-agents --test killed -- --nocapture`
//! does more of them, and `FRONTDESK_STOPS=100` stops more processes past their lease. On Postgres three processes
//! share the work; on SQLite one has the file.

// A test program reads its own environment; the rule is for the rooms of the product.
#![allow(clippy::disallowed_methods)]

mod child;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use frontdesk_api::{
    Cx,
    turn::{ItemBody, StepKind, StepState, TurnState},
};
use frontdesk_store::{Options, Store, on, sqlx, testing::FreshDatabase, transcript};

const POINTS: [&str; 4] = ["AfterIntent", "AfterEffect", "BeforeCommit", "AfterCommit"];

/// How long any wait may take before the test fails; a net, no measurement.
const PATIENCE: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |n| n.parse().unwrap_or_else(|_| panic!("{name} is no number: {n}")))
}

/// Splitmix64: the same numbers from the same seed, everywhere.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    /// A point, and the how-manieth time it is come to.
    fn fault(&mut self) -> String {
        let points = POINTS.len() as u64;
        format!("{}:{}", POINTS[usize::try_from(self.below(points)).expect("small")], 1 + self.below(40))
    }
}

/// Where everything is that outlives the processes.
struct Ground {
    home: tempfile::TempDir,
    database: Option<String>,
    /// What processes say, with their numbers.
    tell: mpsc::Sender<(usize, String)>,
    hear: mpsc::Receiver<(usize, String)>,
    begun: usize,
    /// What clients were told: that a turn is accepted, and its events.
    accepted: HashSet<String>,
    saw: HashMap<(String, i64), String>,
}

struct Running {
    n: usize,
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ground {
    fn new(database: Option<String>) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(home.path().join("ledger")).expect("the ledger");
        let (tell, hear) = mpsc::channel();
        Self { home, database, tell, hear, begun: 0, accepted: HashSet::new(), saw: HashMap::new() }
    }

    fn ledger(&self) -> PathBuf {
        self.home.path().join("ledger")
    }

    /// A process of its own folder on Postgres, of the one folder on SQLite.
    fn dir(&self, n: usize) -> PathBuf {
        self.home.path().join(if self.database.is_some() { format!("data{n}") } else { "data".to_owned() })
    }

    fn start(&mut self, fault: &str, asks: &str) -> Running {
        self.start_with(fault, asks, "")
    }

    fn start_with(&mut self, fault: &str, asks: &str, attempts: &str) -> Running {
        let n = self.begun;
        self.begun += 1;
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command
            .args(["child::work", "--exact", "--ignored", "--nocapture"])
            .env(child::DIR, self.dir(n))
            .env(child::DATABASE, self.database.clone().unwrap_or_default())
            .env(child::LEDGER, self.ledger())
            .env(child::FAULT, fault)
            .env(child::ASKS, asks)
            .env(child::ATTEMPTS, attempts)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let said = BufReader::new(child.stderr.take().expect("its words"));
        let tell = self.tell.clone();
        std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let _ = tell.send((n, line));
            }
            let _ = tell.send((n, "gone".to_owned()));
        });
        Running { n, child }
    }

    /// Takes in what processes say until one of them says a line that begins like this; which, and the line.
    fn until(&mut self, beginnings: &[&str]) -> (usize, String) {
        loop {
            let (n, line) = self.hear.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{beginnings:?} did not come"));
            self.note(&line);
            if beginnings.iter().any(|beginning| line.starts_with(beginning)) {
                return (n, line);
            }
        }
    }

    fn note(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["accepted", turn] => drop(self.accepted.insert(turn.to_owned())),
            ["saw", turn, seq, hash] => {
                let key = (turn.to_owned(), seq.parse().expect("a number"));
                let before = self.saw.insert(key, hash.to_owned());
                assert!(before.is_none_or(|before| before == hash), "event {seq} of {turn} was shown as two things");
            }
            ["point" | "idle" | "stopped" | "gone", ..] => {}
            // A panic of the child is a failure of this test.
            _ => assert!(!line.contains("panicked"), "a process said: {line}"),
        }
    }

    /// What is said already.
    fn drain(&mut self) {
        while let Ok((_, line)) = self.hear.try_recv() {
            self.note(&line);
        }
    }

    fn store(&self) -> (tokio::runtime::Runtime, Store) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let dir = if self.database.is_some() { self.home.path().join("look") } else { self.dir(0) };
        let options = Options { database_url: self.database.clone(), max_connections: 4, ..Options::at(dir) };
        let store = runtime.block_on(Store::open(&options)).expect("the database");
        (runtime, store)
    }

    /// Everything that must hold once nothing runs any more. How many turns there were, and how many outcomes are
    /// unknown.
    fn check(&self) -> (usize, usize) {
        let (runtime, store) = self.store();
        let checked = runtime.block_on(async {
            let cx = Cx::internal("tenant_a", "check");
            let turns = ids(&store).await;
            let missing: Vec<_> = self.accepted.iter().filter(|id| !turns.contains(id)).collect();
            assert!(missing.is_empty(), "accepted and gone: {missing:?}");
            let (mut unknown, mut keys) = (0, HashSet::new());
            for id in &turns {
                unknown += self.check_turn(&store, &cx, id, &mut keys).await;
            }
            let strangers: Vec<String> = files(&self.ledger()).filter(|key| !keys.contains(key)).collect();
            assert!(strangers.is_empty(), "effects without an intent: {strangers:?}");
            store.close().await;
            (turns.len(), unknown)
        });
        drop(store);
        checked
    }

    async fn check_turn(&self, store: &Store, cx: &Cx, id: &str, keys: &mut HashSet<String>) -> usize {
        let tenant = store.tenant(cx);
        let stored = tenant.load_turn(id).await.expect("the turn");
        assert_eq!(stored.turn.state, TurnState::Completed, "{:?}", stored.turn);
        let events = tenant.events_after(id, None, 10_000).await.expect("events");
        let numbers: Vec<i64> = events.iter().map(|e| e.seq).collect();
        assert_eq!(numbers, (0..stored.next_seq).collect::<Vec<_>>(), "{id}: sequence numbers have a gap");
        let ends = events.iter().filter(|e| e.body.is_last()).count();
        assert!(ends == 1 && events.last().is_some_and(|e| e.body.is_last()), "{id}: it ends once, at its end");
        for event in &events {
            if let Some(shown) = self.saw.get(&(id.to_owned(), event.seq)) {
                assert_eq!(*shown, child::hash(event), "{id}: event {} is not what was shown", event.seq);
            }
        }
        let beyond = self.saw.keys().find(|(turn, seq)| turn == id && *seq >= stored.next_seq);
        assert!(beyond.is_none(), "shown and gone: {beyond:?}");
        let mut tx = tenant.read().await.expect("a transaction");
        let steps = transcript::steps(&mut tx, id).await.expect("steps");
        assert_eq!(steps.iter().filter(|s| s.step.kind == StepKind::Inference).count(), 3, "{id}: {steps:?}");
        let tools: Vec<_> = steps.iter().filter(|s| s.step.kind == StepKind::ToolExecution).collect();
        assert_eq!(tools.len(), 9, "{id}: {steps:?}");
        let asked: Vec<_> = steps.iter().filter(|s| s.step.kind == StepKind::Approval).map(|s| s.step.state).collect();
        // A payment that may have been made is not made again unasked; every refund is asked for.
        let paid_unseen = tools
            .iter()
            .any(|s| s.step.state == StepState::Unknown && s.input.as_ref().is_some_and(|c| c["id"] == "b"));
        let words = 1 + usize::from(paid_unseen);
        assert_eq!(asked, vec![StepState::Done; words], "{id}: a person is asked so often: {steps:?}");
        // However the calls ended, the turn reads as its model asked; what waited for a person came last.
        let order = match paid_unseen {
            true => ["a", "f", "g", "b", "d", "h", "i", "c", "e"],
            false => ["a", "f", "g", "b", "c", "d", "h", "i", "e"],
        };
        let items = transcript::items(&mut tx, id).await.expect("items");
        let came = items.iter().filter_map(|item| match &item.body {
            ItemBody::FunctionCallOutput { call_id, .. } => Some(call_id.as_str()),
            _ => None,
        });
        assert_eq!(came.collect::<Vec<_>>(), order, "{id}: {items:?}");
        let mut unknown = 0;
        for step in tools {
            assert!(keys.insert(step.idem_key.clone()), "{id}: one key for two steps");
            let effects = std::fs::read(self.ledger().join(&step.idem_key)).map_or(0, |file| file.len());
            let looks = step.input.as_ref().is_some_and(|call| call["name"] == "look");
            match step.step.state {
                StepState::Done => assert_eq!(effects, usize::from(!looks), "{id}: {step:?}"),
                StepState::Unknown => {
                    assert!(effects <= 1, "{id}: {step:?}");
                    unknown += 1;
                }
                _ => panic!("{id}: a step is left open: {step:?}"),
            }
        }
        unknown
    }
}

async fn ids(store: &Store) -> Vec<String> {
    let mut tx = store.system().read().await.expect("a transaction");
    on!(tx, conn => sqlx::query_scalar("SELECT id FROM turn").fetch_all(conn).await).expect("turns")
}

fn files(dir: &Path) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(dir).expect("the ledger");
    entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a key"))
}

/// Kills so many processes of `workers` at a time, lets the rest end, and checks.
fn kills(database: Option<String>, workers: usize) {
    let (kills, seed) = (number("FRONTDESK_KILLS", 50), number("FRONTDESK_KILL_SEED", 1));
    let (mut ground, mut chance) = (Ground::new(database), Chance(seed));
    let mut histogram = BTreeMap::new();
    let mut running: Vec<Running> = (0..workers).map(|_| ground.start(&chance.fault(), "3")).collect();
    for left in (0..kills).rev() {
        let (n, line) = ground.until(&["point "]);
        *histogram.entry(line["point ".len()..].to_owned()).or_insert(0_u64) += 1;
        // Dropped: killed with SIGKILL, by its id, and gone when this returns.
        running.retain(|process| process.n != n);
        if left as usize >= workers {
            running.push(ground.start(&chance.fault(), "3"));
        }
    }
    drop(running);
    ground.drain();
    let last = ground.start("", "0");
    ground.until(&["idle"]);
    drop(last);
    ground.drain();
    let (turns, unknown) = ground.check();
    assert_eq!(histogram.values().sum::<u64>(), kills);
    // Else nothing was killed where it matters.
    assert!(kills < 50 || unknown > 0, "no tool was interrupted");
    eprintln!(
        "{kills} kills, {workers} at work, seed {seed}: {histogram:?}; {turns} turns ended, {} were told of, {unknown} of {} outcomes unknown",
        ground.accepted.len(),
        turns * 9,
    );
}

/// The address of a fresh Postgres database, for as long as `case` runs.
fn on_postgres(case: impl FnOnce(String)) {
    let Some(server) = frontdesk_store::testing::server() else {
        eprintln!("skipped on Postgres: {} names no server", frontdesk_store::testing::POSTGRES_URL);
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let fresh = runtime.block_on(FreshDatabase::make(&server));
    let url = fresh.url.clone();
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(url)));
    runtime.block_on(fresh.drop());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn one_process_on_sqlite_is_killed_again_and_again() {
    kills(None, 1);
}

#[test]
fn three_processes_on_postgres_are_killed_again_and_again() {
    on_postgres(|url| kills(Some(url), 3));
}

/// A turn that ends its process, with four beside it: it is given up, and it alone.
fn poisons(database: Option<String>) {
    let mut ground = Ground::new(database);
    let mut process = ground.start_with("", "poison", "5");
    let mut deaths = 0;
    while ground.until(&["gone", "idle"]).1 == "gone" {
        deaths += 1;
        assert!(deaths <= 10, "it is never given up");
        drop(process);
        process = ground.start_with("", "0", "5");
    }
    assert_eq!(deaths, 5, "it was begun as often as it may be");
    drop(process);
    let (runtime, store) = ground.store();
    let states = runtime.block_on(async {
        let cx = Cx::internal("tenant_a", "check");
        let mut states = vec![];
        for id in ids(&store).await {
            states.push(store.tenant(&cx).load_turn(&id).await.expect("the turn").turn.state);
        }
        store.close().await;
        states
    });
    let given_up = states.iter().filter(|state| **state == TurnState::DeadLetter).count();
    let completed = states.iter().filter(|state| **state == TurnState::Completed).count();
    assert_eq!((given_up, completed), (1, 4), "{states:?}");
}

#[test]
fn a_turn_that_ends_its_process_does_not_take_its_neighbours_with_it() {
    poisons(None);
    on_postgres(|url| poisons(Some(url)));
}

/// Everything that is written of turns.
fn rows(store: &Store, runtime: &tokio::runtime::Runtime) -> Vec<(String, String)> {
    runtime.block_on(async {
        let mut tx = store.system().read().await.expect("a transaction");
        on!(tx, conn => sqlx::query_as("SELECT turn_id || ' ' || CAST(seq AS TEXT), payload FROM event \
             UNION ALL SELECT turn_id || ' step ' || CAST(n AS TEXT), state || COALESCE(output, '') || CAST(attempt AS TEXT) FROM step \
             UNION ALL SELECT turn_id || ' item ' || CAST(pos AS TEXT), payload FROM item \
             UNION ALL SELECT id, state || CAST(epoch AS TEXT) || ' ' || CAST(next_seq AS TEXT) FROM turn ORDER BY 1, 2")
            .fetch_all(conn).await)
        .expect("rows")
    })
}

fn signal(process: &Running, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.child.id().to_string()).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name}");
}

#[test]
fn a_process_that_was_stopped_past_its_lease_writes_nothing_when_it_wakes() {
    on_postgres(|url| {
        let (stops, seed) = (number("FRONTDESK_STOPS", 4), number("FRONTDESK_KILL_SEED", 1));
        let (mut ground, mut chance) = (Ground::new(Some(url)), Chance(seed));
        let mut histogram = BTreeMap::new();
        for stop in 0..stops {
            let point = POINTS[usize::try_from(stop).expect("few") % POINTS.len()];
            // Every point is passed five times and more in a turn.
            let mut sleeper = ground.start(&format!("{point}:{}", 1 + chance.below(5)), "once");
            ground.until(&["point "]);
            *histogram.entry(point).or_insert(0_u64) += 1;
            signal(&sleeper, "STOP");
            let next = ground.start("", "0");
            // The other has taken it up and ended it.
            ground.until(&["idle"]);
            let (runtime, store) = ground.store();
            let before = rows(&store, &runtime);
            signal(&sleeper, "CONT");
            // One that is gone says why below.
            let _ = sleeper.child.stdin.as_mut().expect("its input").write_all(b"go\n");
            // It tries, and is done.
            assert_eq!(ground.until(&["stopped"]).0, sleeper.n, "{point}");
            assert_eq!(rows(&store, &runtime), before, "{point}: a stale write");
            drop(next);
            runtime.block_on(store.close());
        }
        let (turns, unknown) = ground.check();
        eprintln!(
            "{stops} stops, seed {seed}: {histogram:?}; {turns} turns ended, {unknown} of {} outcomes unknown, no stale write",
            turns * 9
        );
    });
}
