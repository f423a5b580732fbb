//! `bench`: loopback tools that measure what a gateway adds on one machine.
//!
//! mock   an OpenAI-shaped upstream that costs next to nothing
//! hop    reference gateways (raw | peek | splice | full): the physical limit of a hop in Rust
//! load   a closed-loop client: one line of a table
//! idle   memory per idle stream
//! turns  turns with a tool call, parked turns, streamed turns: what they cost and hold
//! floor  the commits of a turn, bare, on the same database
//! ready  time from start to the line `ready`, and the memory of the idle process
//!
//! Ratios between rows of one interleaved run are the result, never absolutes: `tests/bench/run.sh`
//! runs the rounds. Every command ends by itself but mock and hop.

// A measuring tool is not a room of the product: it prints tables and reads its arguments.
#![allow(clippy::print_stdout)]

mod commits;
mod hop;
mod idle;
mod load;
mod mock;
mod options;
mod process;
mod prompt;
mod ready;
mod table;
mod turns;

use options::Options;

const USAGE: &str =
    "usage: bench mock|hop|load|idle|turns|floor|ready|table [--option value]...  (tests/bench/README.md)";

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprintln!("{USAGE}");
        return std::process::ExitCode::from(2);
    };
    let options = Options::parse(rest);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.number("threads", 1) as usize)
        .enable_all()
        .build();
    let Ok(runtime) = runtime else {
        eprintln!("bench: no runtime could be started");
        return std::process::ExitCode::FAILURE;
    };
    let result = match command.as_str() {
        "mock" => runtime.block_on(mock::run(&options)),
        "hop" => runtime.block_on(hop::run(&options)),
        "load" => runtime.block_on(load::run(&options)),
        "idle" => runtime.block_on(idle::run(&options)),
        "turns" => runtime.block_on(turns::run(&options)),
        "floor" => runtime.block_on(commits::run(&options)),
        "ready" => ready::run(&options),
        "table" => table::run(&options),
        other => Err(format!("unknown command {other:?}; {USAGE}")),
    };
    match result {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench {command}: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}
