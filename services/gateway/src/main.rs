//! The program `frontdesk`: reads its arguments and runs one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    frontdesk_gateway::cli::run()
}

/// Gives memory back that streams have left, which the system's own does not (BENCHMARKS.md).
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
