//! `frontdesk engine`: this same program as a worker around the local engine, in a process of its own.
//!
//! The arguments and everything else belong to the provider; the server's supervisor writes them.

use std::process::ExitCode;

use clap::Args;
use frontdesk_mistralrs::engine::{EngineArgs, run};

#[derive(Args)]
pub(super) struct Engine {
    #[command(flatten)]
    args: EngineArgs,
}

impl Engine {
    pub(super) fn run(self) -> ExitCode {
        run(self.args)
    }
}
