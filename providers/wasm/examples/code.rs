//! What running code costs: `cargo run --release -p frontdesk-wasm --example code -- FOLDER`, FOLDER with built interpreters.
//!
//! Python and JavaScript, fresh and kept, beside a tiny component on bare wasmtime and `python3` as a child process, in
//! one run; the memory of parked conversations; calls at 64 in parallel; how far past its limit code ran. Times in
//! microseconds. `ROUNDS` and `PARKED` (300 and 1000) are the second and third argument.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a measurement for a person at a terminal

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
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
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, Linker},
};

const PYTHON: &str = "print(sum(range(10)))";
const JAVASCRIPT: &str = "console.log([1, 2, 3].reduce((a, b) => a + b))";
const PARALLEL: usize = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().expect("a folder with python.wasm and javascript.wasm").into();
    let mut number = |usual| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (rounds, parked) = (number(300), number(1000));
    println!("{:<44}{:>10}{:>10}{:>10}{:>10}   us", "", "min", "p50", "p99", "max");
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one.block_on(floor(rounds * 10));
    one.block_on(alone(&folder, rounds));
    child(&["-I", "-S", "-c", PYTHON], "python3 -I -S as a child", rounds.min(100));
    child(
        &["-c", &format!("import json, re, statistics, datetime, decimal\n{PYTHON}")],
        "python3 as a child, five imports",
        rounds.min(100),
    );
    one.block_on(overshoot(&folder));
    let all = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    all.block_on(park(&folder, parked));
    all.block_on(parallel(&folder));
}

fn open(folder: &std::path::Path, limits: Limits, bounds: Bounds) -> Arc<Interpreters> {
    let compiling = Compiling::Kept(Kept { folder: folder.join("compiled"), program: None, most: MOST });
    Arc::new(Interpreters::new(vec![folder.to_owned()], limits, bounds, compiling, Arc::new(SystemClock)))
}

fn owner(n: usize) -> Option<Place> {
    let owner = Owner { tenant: "t".into(), customer: None, agent: None, workspace: n.to_string() };
    Some(Place { owner, after: vec![] })
}

async fn run(on: &Interpreters, language: Language, owner: Option<Place>, text: &str) {
    let run = on.run(language, owner, Code { text, ..Code::default() }).await;
    assert_eq!(run.result.unwrap().fault, None);
}

/// A component of one empty function on an engine with pooling and epochs: what nothing costs.
async fn floor(rounds: usize) {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(PoolingAllocationConfig::new()));
    let engine = Engine::new(&config).unwrap();
    let text = r#"(component (core module $m (memory 1) (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let code = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    let pre = Linker::<()>::new(&engine).instantiate_pre(&code).unwrap();
    let mut times = vec![];
    for _ in 0..rounds {
        let began = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        f.call_async(&mut store, ()).await.unwrap();
        drop(store);
        times.push(began.elapsed());
    }
    show("floor: an empty component on bare wasmtime", times);
}

async fn alone(folder: &std::path::Path, rounds: usize) {
    let on = open(folder, limits(), Bounds::default());
    for (language, text) in [(Python, PYTHON), (JavaScript, JAVASCRIPT)] {
        let began = Instant::now();
        run(&on, language, None, text).await;
        println!(
            "{:<44}{:>10.1} ms to engine, code and first answer",
            language.name(),
            began.elapsed().as_secs_f64() * 1e3
        );
        let mut times = vec![];
        for _ in 0..rounds {
            let began = Instant::now();
            run(&on, language, None, text).await;
            times.push(began.elapsed());
        }
        show(&format!("{language}, a fresh instance"), times);
        let mut times = vec![];
        run(&on, language, owner(0), text).await;
        for _ in 0..rounds * 5 {
            let began = Instant::now();
            run(&on, language, owner(0), text).await;
            times.push(began.elapsed());
        }
        show(&format!("{language}, a kept instance"), times);
    }
}

fn child(arguments: &[&str], name: &str, rounds: usize) {
    let mut times = vec![];
    for _ in 0..rounds {
        let began = Instant::now();
        let output = Command::new("python3").args(arguments).stdin(Stdio::null()).output();
        times.push(began.elapsed());
        match output {
            Ok(output) if output.status.success() => assert_eq!(output.stdout, b"45\n"),
            _ => return println!("{name}: there is no python3 here"),
        }
    }
    show(name, times);
}

/// How long after its limit code that will not end was gone.
async fn overshoot(folder: &std::path::Path) {
    let limit = Duration::from_millis(200);
    let cpu = open(folder, Limits { cpu: limit, ..limits() }, Bounds::default());
    let wall = open(folder, Limits { wall: limit, ..limits() }, Bounds::default());
    run(&cpu, Python, None, PYTHON).await;
    run(&wall, Python, None, PYTHON).await;
    let cases = [
        ("while True: pass", &cpu),
        ("import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", &cpu),
        ("9 ** 9 ** 9", &cpu),
        ("while True:\n  try:\n    while True: pass\n  except BaseException: pass", &cpu),
        ("import time\ntime.sleep(30)", &wall),
    ];
    for (text, on) in cases {
        let mut times = vec![];
        for _ in 0..10 {
            let run = on.run(Python, None, Code { text, ..Code::default() }).await;
            assert!(run.result.is_err(), "{text}");
            let spent = if Arc::ptr_eq(on, &cpu) { run.used.cpu } else { run.used.wall };
            times.push(spent.saturating_sub(limit));
        }
        show(&format!("past its limit: {}", text.lines().last().unwrap().trim()), times);
    }
}

async fn park(folder: &std::path::Path, parked: usize) {
    let bounds = Bounds { sessions: parked, bytes: usize::MAX, ..Bounds::default() };
    let on = open(folder, limits(), bounds);
    run(&on, Python, owner(0), PYTHON).await;
    let before = anonymous();
    for n in 1..parked {
        run(&on, Python, owner(n), &format!("x = {n}")).await;
    }
    assert_eq!(on.kept(), parked);
    let each = (anonymous() - before) / (parked as u64 - 1).max(1);
    println!("{parked} parked Python conversations: {} MiB private, {each} KiB each", anonymous() >> 10);
    for n in 1..parked {
        run(&on, Python, owner(n), "data = [{'id': i, 'v': i * i % 97} for i in range(1000)]\nimport statistics\nstatistics.mean(r['v'] for r in data)").await;
    }
    let each = (anonymous() - before) / (parked as u64 - 1).max(1);
    println!("the same after a list of 1000 dicts in each: {} MiB private, {each} KiB each", anonymous() >> 10);
    let mut times = vec![];
    for n in (0..parked).cycle().step_by(7).take(parked.min(500)) {
        let began = Instant::now();
        run(&on, Python, owner(n), "1 + 1").await;
        times.push(began.elapsed());
    }
    show("a call in one of them", times);
}

async fn parallel(folder: &std::path::Path) {
    let limits = Limits { concurrent: PARALLEL as u32, ..limits() };
    let on = open(folder, limits, Bounds { sessions: PARALLEL * 2, ..Bounds::default() });
    let cases = [
        (Python, PYTHON, false, 20),
        (Python, PYTHON, true, 100),
        (JavaScript, JAVASCRIPT, false, 100),
        (JavaScript, JAVASCRIPT, true, 300),
    ];
    for (language, text, kept, each) in cases {
        let owner = move |n| if kept { owner(n) } else { None };
        for n in 0..PARALLEL {
            run(&on, language, owner(n), text).await;
        }
        let began = Instant::now();
        let tasks: Vec<_> = (0..PARALLEL)
            .map(|n| {
                let on = Arc::clone(&on);
                tokio::spawn(async move {
                    for _ in 0..each {
                        run(&on, language, owner(n), text).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let rate = (PARALLEL * each) as f64 / began.elapsed().as_secs_f64();
        let how = if kept { "kept" } else { "fresh" };
        println!("{language}, {how}, {PARALLEL} in parallel: {rate:.0} calls a second");
    }
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{name:<44}{:>10.1}{:>10.1}{:>10.1}{:>10.1}", at(0.0), at(0.5), at(0.99), at(1.0));
}

/// Private memory of this process, in KiB.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
