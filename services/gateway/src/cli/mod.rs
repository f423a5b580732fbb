//! The command line: one file a command.
//!
//! Invariant: what a command answers goes to stdout, everything else to stderr, and a failure says
//! what to do and ends with a status other than 0.

mod agent;
mod chat;
#[cfg(feature = "wasm")]
mod compile;
mod demo;
mod doctor;
#[cfg(feature = "mistralrs")]
mod engine;
mod health;
mod init;
mod keys;
pub(crate) mod models;
mod remote;
mod replay;
mod table;
#[cfg(feature = "wasm")]
mod tool;
mod up;
mod usage;
mod version;

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use frontdesk_api::{Error, Result};

use crate::{
    config::{self, Config},
    lines,
};

/// Support agents for shops: models, tools, knowledge and safety behind one HTTP interface.
#[derive(Parser)]
#[command(name = "frontdesk", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Up(up::Up),
    /// Show the main job end to end: a sample shop, its agent, customers' questions
    Demo(demo::Demo),
    /// Talk to a running server
    Chat(chat::Chat),
    /// Write agents to files and read them back
    Agent(agent::Agent),
    /// Write, build, test and publish tools of your own
    #[cfg(feature = "wasm")]
    Tool(tool::Tool),
    /// Ask recorded conversations again of a draft, and show what differs
    Replay(replay::Replay),
    /// Create, list and revoke API keys
    Keys(keys::Keys),
    /// List models, and fetch more
    Models(models::Models),
    /// Show what models were used and what they cost
    Usage(usage::Usage),
    /// Say what is configured, reachable or missing, and how to mend it
    Doctor(doctor::Doctor),
    /// Ask the server here whether it is ready; for health checks of containers
    Health(health::Health),
    /// Write a configuration file with every key commented
    Init(init::Init),
    /// Run the local engine as a worker; the server starts its own, `--listen` makes one that several servers share
    #[cfg(feature = "mistralrs")]
    Engine(engine::Engine),
    /// Compile a tool's component, in the child process that the server starts for it
    #[cfg(feature = "wasm")]
    #[command(name = compile::COMMAND, hide = true)]
    Compile,
    /// Print the version and what this build can do
    Version,
}

/// Where the configuration comes from; the same for every command that needs it.
#[derive(Args, Clone, Default)]
pub(super) struct Place {
    /// The configuration file; without it the defaults (`frontdesk init` writes them out)
    #[arg(long, value_name = "FILE", env = "FRONTDESK_CONFIG")]
    pub config: Option<PathBuf>,
    /// Overrides `data_dir` of the configuration
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

impl Place {
    /// # Errors
    /// As [`config::load`].
    pub(super) fn load(&self) -> Result<Config> {
        let mut config = config::load(self.config.as_deref(), &config::environment)?;
        if let Some(dir) = &self.data_dir {
            config.data_dir = dir.clone();
        }
        Ok(config)
    }

    /// The address of the server that a command talks to: the one given, else that of this data folder, else the default.
    ///
    /// # Errors
    /// As [`config::load`].
    pub(super) fn server(&self, given: Option<&str>) -> Result<String> {
        match given {
            Some(url) => Ok(url.to_owned()),
            None => Ok(remote::running(&self.load()?.data_dir).unwrap_or_else(|| "http://127.0.0.1:8321".into())),
        }
    }
}

/// Runs the command named by the process's arguments.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Up(up) => in_runtime(up.run()),
        Command::Demo(demo) => in_runtime(demo.run()),
        Command::Health(health) => in_runtime(health.run()),
        Command::Chat(chat) => in_runtime(chat.run()),
        Command::Agent(agent) => in_runtime(agent.run()),
        #[cfg(feature = "wasm")]
        Command::Tool(tool) => in_runtime(tool.run()),
        Command::Replay(replay) => in_runtime(replay.run()),
        Command::Keys(keys) => in_runtime(keys.run()),
        Command::Models(models) => in_runtime(models.run()),
        Command::Usage(usage) => in_runtime(usage.run()),
        Command::Doctor(doctor) => in_runtime(doctor.run()),
        Command::Init(init) => init.run(),
        #[cfg(feature = "mistralrs")]
        Command::Engine(engine) => return engine.run(),
        #[cfg(feature = "wasm")]
        Command::Compile => return compile::run(),
        Command::Version => version::run(),
    };
    lines::flush();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn in_runtime(command: impl Future<Output = Result<ExitCode>>) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("frontdesk")
        .build()
        .map_err(|e| Error::internal("starting the runtime", e))?;
    let outcome = runtime.block_on(command);
    // Blocking work that nobody waits for must not hold the end up.
    runtime.shutdown_background();
    outcome
}

/// One line of the command's answer.
///
/// # Errors
/// `Cancelled` when the reader of stdout is gone.
pub(crate) fn say(line: impl std::fmt::Display) -> Result<()> {
    write(format_args!("{line}\n"))
}

/// A piece of the command's answer, shown at once.
///
/// # Errors
/// As [`say`].
pub(crate) fn write(text: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|e| Error::cancelled().with_source(e))
}

/// What went wrong, for people; a reader of stdout that left (`| head`) is no failure to speak of.
pub(crate) fn complain(error: &Error) {
    if error.kind == frontdesk_api::Kind::Cancelled {
        return;
    }
    let cause = error.source.as_ref().map(|cause| format!("\n  because: {cause}")).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "frontdesk: {error}{cause}");
}
