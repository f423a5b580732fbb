//! What running code costs, in one run: `cargo run --release -p frontdesk-wasm --example cost -- FOLDER`.
//!
//! FOLDER holds the interpreters as `interpreters/build.sh` puts them there; `ROUNDS` (2000 calls of what is quick) and
//! `PARKED` (1000 conversations) may follow. Where FOLDER/tools holds `js.wasm` and `python.wasm`, built from the templates
//! of `frontdesk tool new`, these are called too, and so is `python-kept.wasm`, the same with `keep="conversation"` in both
//! tools. Prints the tables of BENCHMARKS.md, "What running code costs". Each floor is
//! bare wasmtime in this very run (bare.rs), an interpreter's too.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a measurement for a person at a terminal

mod bare;
#[path = "../../tests/common/mod.rs"]
mod common;
mod interpreters;
mod past;
mod table;
mod tools;

use std::{future::Future, path::PathBuf, time::Instant};

/// Calls that run at the same time where many do.
const PARALLEL: usize = 64;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().expect("a folder with python.wasm and javascript.wasm").into();
    let mut number = |usual: usize| arguments.next().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let (rounds, parked) = (number(2_000), number(1_000));
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let all = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();

    table::head("µs", &["least", "p50", "p99", "× floor"]);
    let built = Some(folder.join("tools"));
    let floors = one.block_on(tools::alone(built.as_deref(), rounds));
    one.block_on(interpreters::alone(&folder, rounds / 10));
    interpreters::child(&["-I", "-S", "-c"], "", "`python3 -I -S` as a child process", rounds / 40);
    let imports = "import json, re, statistics, datetime, decimal\n";
    interpreters::child(&["-c"], imports, "`python3` as a child process, five imports", rounds / 40);

    table::head(&format!("at {PARALLEL} in parallel, µs"), &["calls/s", "p50", "p99", "× floor"]);
    all.block_on(tools::parallel(built.as_deref(), rounds));
    all.block_on(interpreters::parallel(&folder));
    interpreters::children(&["-I", "-S", "-c"], "`python3 -I -S` as a child process", 5);

    table::head("past its limit, µs", &["least", "p50", "p99"]);
    one.block_on(past::tools());
    one.block_on(past::interpreters(&folder));
    all.block_on(past::together(&folder));
    table::head("until it was ended, µs", &["least", "p50", "p99"]);
    one.block_on(past::ended());
    one.block_on(past::outgrown(&folder));

    println!();
    all.block_on(interpreters::park(&folder, parked));
    println!("\nThe Rust tool costs {:.1}, the tiny one {:.1} times its floor (p50).", floors.rust, floors.tiny);
}

/// Many callers at once, each one call behind the other; gives calls a second. A call is told whose it is.
async fn together<F: Future<Output = ()> + Send + 'static>(
    name: &str,
    rounds: usize,
    floor: Option<f64>,
    call: impl Fn(usize) -> F,
) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..PARALLEL)
        .map(|caller| {
            let calls: Vec<F> = (0..rounds).map(|_| call(caller)).collect();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(calls.len());
                for call in calls {
                    let began = Instant::now();
                    call.await;
                    times.push(began.elapsed());
                    // Nothing here waits for anything: the others are to have their turn.
                    tokio::task::yield_now().await;
                }
                times
            })
        })
        .collect();
    let mut times = vec![];
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    table::rate(name, times, began.elapsed(), floor)
}
