//! The worker alone, as a program: what the tests of this crate start, and a way to try the engine without a gateway.

use std::process::ExitCode;

use clap::Parser;
use frontdesk_mistralrs::engine::{EngineArgs, run};

/// Runs one or more local models behind the OpenAI wire.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    engine: EngineArgs,
}

fn main() -> ExitCode {
    // The supervisor starts `PROGRAM engine …`; here the word is optional.
    let words = std::env::args().enumerate().filter(|(at, word)| *at != 1 || word != "engine");
    run(Program::parse_from(words.map(|(_, word)| word)).engine)
}
