//! The program `frontdesk`: reads its arguments and runs one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    frontdesk_gateway::cli::run()
}
