//! The code interpreters: fresh and kept, beside `python3` as a child process, parked by the thousand, many at once.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::Instant,
};

use frontdesk_api::clock::SystemClock;
use frontdesk_wasm::{
    Compiling, Kept, Limits, MOST,
    interpreter::{
        Bounds, Code, Interpreters,
        Language::{self, JavaScript, Python},
        Owner, Place, limits,
    },
};

use super::{PARALLEL, bare::Bare, table, together};

pub const PYTHON: &str = "print(sum(range(10)))";
const JAVASCRIPT: &str = "console.log([1, 2, 3].reduce((a, b) => a + b))";

pub fn open(folder: &Path, limits: Limits, bounds: Bounds) -> Arc<Interpreters> {
    let compiling = Compiling::Kept(Kept { folder: folder.join("compiled"), program: None, most: MOST });
    Arc::new(Interpreters::new(vec![folder.to_owned()], limits, bounds, compiling, Arc::new(SystemClock)))
}

fn owner(n: usize) -> Option<Place> {
    let owner = Owner { tenant: "t".into(), customer: None, agent: None, workspace: n.to_string() };
    Some(Place { owner, after: vec![] })
}

pub async fn run(on: &Interpreters, language: Language, owner: Option<Place>, text: &str) {
    let run = on.run(language, owner, Code { text, ..Code::default() }).await;
    assert_eq!(run.result.unwrap().fault, None);
}

/// The interpreter without the sandbox, compiled here.
fn floor(folder: &Path, language: Language, limits: &Limits) -> Bare {
    Bare::language(&std::fs::read(folder.join(format!("{language}.wasm"))).unwrap(), limits)
}

pub async fn alone(folder: &Path, rounds: usize) {
    let on = open(folder, limits(), Bounds::default());
    for (language, text) in [(Python, PYTHON), (JavaScript, JAVASCRIPT)] {
        let bare = floor(folder, language, &limits());
        let mut times = vec![];
        for _ in 0..rounds {
            let began = Instant::now();
            bare.run(text).await;
            times.push(began.elapsed());
        }
        let floor = table::row(&format!("{language} on bare wasmtime, its floor"), times, None);
        // Loads it.
        run(&on, language, None, text).await;
        let mut times = vec![];
        for _ in 0..rounds {
            let began = Instant::now();
            run(&on, language, None, text).await;
            times.push(began.elapsed());
        }
        table::row(&format!("{language}, fresh"), times, Some(floor));
        let mut times = vec![];
        run(&on, language, owner(0), text).await;
        for _ in 0..rounds * 5 {
            let began = Instant::now();
            run(&on, language, owner(0), text).await;
            times.push(began.elapsed());
        }
        table::row(&format!("{language}, kept"), times, None);
    }
}

/// As many children as processors have room for, one behind the other.
pub fn children(arguments: &[&str], name: &str, each: usize) {
    let began = Instant::now();
    let workers: Vec<_> = (0..PARALLEL)
        .map(|_| {
            let arguments: Vec<String> = arguments.iter().map(|&word| word.to_owned()).collect();
            std::thread::spawn(move || {
                let mut times = vec![];
                for _ in 0..each {
                    let began = Instant::now();
                    let output = Command::new(python()).args(&arguments).arg(PYTHON).stdin(Stdio::null()).output();
                    if output.is_ok_and(|output| output.stdout == b"45\n") {
                        times.push(began.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    let times: Vec<_> = workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect();
    if times.is_empty() {
        return println!("| {name} | there is no python3 here | | | |");
    }
    table::rate(name, times, began.elapsed(), None);
}

/// The interpreter itself: what stands under its name may be a script that looks for one.
fn python() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let itself = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
        itself.map(|said| String::from_utf8_lossy(&said.stdout).trim().to_owned()).unwrap_or_default()
    })
}

/// The same work for the `python3` of this machine, started each time.
pub fn child(arguments: &[&str], before: &str, name: &str, rounds: usize) {
    let text = format!("{before}{PYTHON}");
    let mut times = vec![];
    for _ in 0..rounds.max(1) {
        let began = Instant::now();
        let output = Command::new(python()).args(arguments).arg(&text).stdin(Stdio::null()).output();
        times.push(began.elapsed());
        match output {
            Ok(output) if output.status.success() => assert_eq!(output.stdout, b"45\n"),
            _ => return println!("| {name} | there is no python3 here | | | |"),
        }
    }
    table::row(name, times, None);
}

/// Conversations that are kept and not asked anything.
pub async fn park(folder: &Path, parked: usize) {
    let bounds = Bounds { sessions: parked, bytes: usize::MAX, ..Bounds::default() };
    let on = open(folder, limits(), bounds);
    // What the engine and the code take is no conversation's.
    run(&on, Python, None, PYTHON).await;
    let before = anonymous();
    for n in 0..parked {
        run(&on, Python, owner(n), &format!("x = {n}")).await;
    }
    assert_eq!(on.kept(), parked);
    held(&format!("{parked} parked Python conversations"), before, parked);
    let rows = "data = [{'id': i, 'v': i * i % 97} for i in range(1000)]\nimport statistics\nstatistics.mean(r['v'] for r in data)";
    for n in 0..parked {
        run(&on, Python, owner(n), rows).await;
    }
    held("The same after a list of 1,000 dicts in each", before, parked);
    let mut times = vec![];
    for n in (0..parked).cycle().step_by(7).take(parked.min(500)) {
        let began = Instant::now();
        run(&on, Python, owner(n), "1 + 1").await;
        times.push(began.elapsed());
    }
    table::head("µs", &["least", "p50", "p99"]);
    table::row("a call in one of them", times, None);
}

fn held(what: &str, before: u64, parked: usize) {
    let kib = anonymous().saturating_sub(before);
    println!("{what}: {} MiB of private memory, {} KiB each.", kib >> 10, kib / parked as u64);
}

pub async fn parallel(folder: &Path) {
    let limits = Limits { concurrent: u32::try_from(PARALLEL).unwrap(), ..limits() };
    let on = open(folder, limits, Bounds { sessions: PARALLEL * 2, ..Bounds::default() });
    let cases = [
        (Python, PYTHON, false, 20),
        (Python, PYTHON, true, 100),
        (JavaScript, JAVASCRIPT, false, 100),
        (JavaScript, JAVASCRIPT, true, 300),
    ];
    for (language, text, kept, each) in cases {
        let owner = move |n| if kept { owner(n) } else { None };
        let mut least = None;
        if !kept {
            let bare = Arc::new(floor(folder, language, &limits));
            let name = format!("{language} on bare wasmtime, its floor");
            let run = |_| {
                let bare = Arc::clone(&bare);
                async move { bare.run(text).await }
            };
            least = Some(together(&name, each, None, run).await);
        }
        for n in 0..PARALLEL {
            run(&on, language, owner(n), text).await;
        }
        let name = format!("{language}, {}", if kept { "kept" } else { "fresh" });
        together(&name, each, least, |n| {
            let on = Arc::clone(&on);
            async move { run(&on, language, owner(n), text).await }
        })
        .await;
    }
}

/// Private memory of this process, in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
