//! Logs: one span per request, to stderr, for people or as JSON.
//!
//! Invariant: prompts, answers and secrets are never fields of an event at info or above.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::{
    config::{Log, LogFormat},
    fields::Plain,
    lines::Lines,
};

/// Starts logging for the life of the process; a second call changes nothing.
pub fn start(log: &Log) {
    let level = log.level.as_str();
    // Libraries talk at info about what only their authors need.
    let filter =
        EnvFilter::new(format!("{level},hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,sqlx=warn,wasmtime=warn"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Lines::start());
    let started = match log.format {
        LogFormat::Human => {
            builder.fmt_fields(Plain).with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    };
    if let Err(e) = started {
        tracing::debug!("logging had been started before: {e}");
    }
}
