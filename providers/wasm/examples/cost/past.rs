//! How far past its limit each attack ran, and how long those took that no limit of time ends.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use frontdesk_wasm::{
    Fault, Limit, Limits, Sandbox,
    interpreter::{Bounds, Code, Language::Python, limits},
};

use super::{
    common::bombs::{self, Attack},
    interpreters::{PYTHON, open, run},
    table,
};

const ROUNDS: usize = 20;

/// Limits of time: what a guest used beyond them.
pub async fn tools() {
    for attack in bombs::running().iter().filter(|attack| matches!(attack.ends, Limit::Cpu | Limit::Wall)) {
        let limits = if attack.hangs { bombs::impatient() } else { bombs::limits() };
        let sandbox = Sandbox::new(limits);
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let (result, spent) = attack.run(&sandbox).await;
            met(attack, &result);
            // A component that never describes itself has used nothing of a call's.
            if spent.wall > Duration::ZERO {
                let (used, limit) =
                    if attack.ends == Limit::Cpu { (spent.cpu, limits.cpu) } else { (spent.wall, limits.wall) };
                times.push(used.saturating_sub(limit));
            }
        }
        if !times.is_empty() {
            table::row(attack.name, times, None);
        }
    }
}

/// Limits of size and number: from the question to the end. What is refused is read and turned away, not compiled.
pub async fn ended() {
    let sandbox = Sandbox::new(bombs::limits());
    let timeless = |attack: &&Attack| !matches!(attack.ends, Limit::Cpu | Limit::Wall);
    for attack in bombs::running().iter().chain(&bombs::refused()).filter(timeless) {
        // Compiled once, where it is compiled at all.
        let _held = sandbox.inspect(attack.bytes.clone()).await;
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let (result, _) = attack.run(&sandbox).await;
            times.push(began.elapsed());
            met(attack, &result);
        }
        table::row(attack.name, times, None);
    }
}

fn met(attack: &Attack, result: &Result<String, Fault>) {
    assert!(matches!(result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
}

/// Code in an interpreter that will not end.
pub async fn interpreters(folder: &Path) {
    let limit = Duration::from_millis(200);
    let cpu = open(folder, Limits { cpu: limit, ..limits() }, Bounds::default());
    let wall = open(folder, Limits { wall: limit, ..limits() }, Bounds::default());
    run(&cpu, Python, None, PYTHON).await;
    run(&wall, Python, None, PYTHON).await;
    let cases = [
        ("Python: while True", "while True: pass", &cpu),
        ("Python: a regular expression", "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", &cpu),
        ("Python: 9 ** 9 ** 9", "9 ** 9 ** 9", &cpu),
        ("Python: errors swallowed", "while True:\n  try:\n    while True: pass\n  except BaseException: pass", &cpu),
        ("Python: time.sleep(30)", "import time\ntime.sleep(30)", &wall),
    ];
    for (name, text, on) in cases {
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let run = on.run(Python, None, Code { text, ..Code::default() }).await;
            assert!(matches!(run.result, Err(Fault::Limit(_))), "{text}");
            let spent = if Arc::ptr_eq(on, &cpu) { run.used.cpu } else { run.used.wall };
            times.push(spent.saturating_sub(limit));
        }
        table::row(name, times, None);
    }
}
