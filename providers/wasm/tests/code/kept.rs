//! Interpreters of conversations: what stays, what does not, and whose it is.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use frontdesk_api::Result;
use frontdesk_wasm::{
    Fault, Limits,
    interpreter::{
        Bounds, Code, CodeFile, Files, Given, Interpreters, Lacking,
        Language::{self, JavaScript, Python},
        Owner, Place, Run,
    },
};
use tokio::sync::Semaphore;

use crate::{few, interpreters, owner, quick, with};

async fn say(on: &Interpreters, language: Language, owner: Place, text: &str) -> Run {
    on.run(language, Some(owner), Code { text, ..Code::default() }).await
}

async fn answer(on: &Interpreters, language: Language, session: &str, text: &str) -> String {
    let ran = say(on, language, owner(session), text).await.result.unwrap();
    ran.value.or(ran.fault.map(|fault| fault.kind)).unwrap_or_default()
}

#[tokio::test]
async fn variables_and_files_stay_in_their_conversation() {
    let Some(on) = interpreters() else { return };
    for (language, set, get, unknown) in [
        (Python, "x = 41\nopen('f', 'w').write('1')", "x + int(open('f').read())", "NameError"),
        (JavaScript, "var x = 41; writeFile('f', '1')", "x + Number(readFile('f'))", "ReferenceError"),
    ] {
        answer(&on, language, "one", set).await;
        assert_eq!(answer(&on, language, "one", get).await, "42");
        // Another conversation, another tenant with the same id, no conversation: all begin with nothing.
        assert_eq!(answer(&on, language, "two", get).await, unknown);
        let stranger = Place { owner: Owner { tenant: "other".into(), ..owner("one").owner }, after: vec![] };
        let theirs = say(&on, language, stranger, get).await;
        assert_eq!((theirs.resumed, theirs.result.unwrap().fault.unwrap().kind.as_str()), (false, unknown));
        let alone = on.run(language, None, Code { text: get, ..Code::default() }).await;
        assert_eq!(alone.result.unwrap().fault.unwrap().kind, unknown);
    }
}

#[tokio::test]
async fn calls_of_one_conversation_wait_for_each_other() {
    let Some(on) = interpreters() else { return };
    answer(&on, Python, "one", "n = []").await;
    let push = |k: usize| {
        let on = &on;
        async move { answer(on, Python, "one", &format!("n.append({k})")).await }
    };
    tokio::join!(push(1), push(2), push(3));
    assert_eq!(answer(&on, Python, "one", "sorted(n)").await, "[1, 2, 3]");
}

#[tokio::test]
async fn the_least_lately_used_makes_room() {
    let Some(on) = interpreters() else { return };
    for session in ["a", "b", "c", "d"] {
        answer(&on, JavaScript, session, "var x = 1").await;
    }
    answer(&on, JavaScript, "a", "x").await;
    answer(&on, JavaScript, "e", "var x = 1").await;
    assert_eq!(on.kept(), 4);
    assert_eq!(answer(&on, JavaScript, "a", "x").await, "1");
    assert_eq!(answer(&on, JavaScript, "b", "x").await, "ReferenceError");
}

#[tokio::test]
async fn memory_of_all_together_is_bounded() {
    let Some(on) = with(quick(), Bounds { bytes: 60 << 20, ..few() }) else { return };
    answer(&on, Python, "large", "big = bytearray(40 << 20); 1").await;
    assert_eq!(answer(&on, Python, "large", "len(big)").await, "41943040");
    answer(&on, Python, "other", "big = bytearray(40 << 20); 1").await;
    assert_eq!(answer(&on, Python, "other", "len(big)").await, "41943040");
    assert_eq!(answer(&on, Python, "large", "len(big)").await, "NameError");
}

#[tokio::test]
async fn who_is_idle_too_long_is_dropped() {
    let Some(on) = with(quick(), Bounds { idle: Duration::from_millis(200), ..few() }) else { return };
    answer(&on, JavaScript, "one", "var x = 1").await;
    let gone = async {
        while on.kept() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("dropped");
    assert_eq!(answer(&on, JavaScript, "one", "x").await, "ReferenceError");
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_half_run() {
    let Some(on) = interpreters() else { return };
    answer(&on, Python, "one", "x = 1").await;
    let sleeping = say(&on, Python, owner("one"), "import time\nx = 2\ntime.sleep(1000)");
    assert!(tokio::time::timeout(Duration::from_millis(300), sleeping).await.is_err());
    assert_eq!(answer(&on, Python, "one", "x").await, "NameError");
}

/// No files, once they may be read and kept.
struct Slow {
    asked: AtomicUsize,
    may: Semaphore,
}

impl Slow {
    fn new() -> Self {
        Self { asked: AtomicUsize::new(0), may: Semaphore::new(0) }
    }

    async fn wait(&self) -> Result<Lacking> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _may = self.may.acquire().await.unwrap();
        Ok(Lacking::default())
    }

    async fn is_asked(&self) {
        while self.asked.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[async_trait::async_trait]
impl Files for Slow {
    fn run(&self) -> &str {
        "once"
    }
    async fn all(&self, _: bool) -> Result<Lacking> {
        self.wait().await
    }
    async fn lacking(&self, _: &[Given]) -> Result<Option<Lacking>> {
        self.wait().await.map(Some)
    }
    async fn keep(&self, _: &mut Vec<CodeFile>) -> Result<Vec<Given>> {
        Ok(vec![])
    }
}

#[tokio::test]
async fn who_waits_for_a_place_to_run_has_read_no_files() {
    let Some(on) = with(Limits { concurrent: 1, wall: Duration::from_millis(200), ..quick() }, few()) else { return };
    let (one, other) = (Slow::new(), Slow::new());
    let first = on.run(JavaScript, None, Code { text: "1", files: Some(&one), ..Code::default() });
    let second = async {
        one.is_asked().await;
        on.run(JavaScript, None, Code { text: "1", files: Some(&other), ..Code::default() }).await
    };
    let second = tokio::select! {
        first = first => panic!("the first run ended: {first:?}"),
        second = second => second,
    };
    assert!(matches!(second.result, Err(Fault::Busy(1))), "{second:?}");
    assert_eq!(other.asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn waiting_is_no_time_of_the_codes_own() {
    let Some(on) = interpreters() else { return };
    let (files, text) = (Slow::new(), "1");
    let first = on.run(JavaScript, Some(owner("one")), Code { text, files: Some(&files), ..Code::default() });
    let second = async {
        files.is_asked().await;
        let run = say(&on, JavaScript, owner("one"), text).await;
        (run, Instant::now())
    };
    let opened = async {
        files.is_asked().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let at = Instant::now();
        files.may.add_permits(1);
        at
    };
    let (_, (run, ended), opened) = tokio::join!(first, second, opened);
    assert!(run.resumed && run.used.wall <= ended.duration_since(opened), "{run:?}");
}
