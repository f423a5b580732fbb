//! Logs: one span per request, for people or as JSON; and beside them the layer that makes traces.
//!
//! Invariants: prompts, answers and secrets are never fields of an event at info or above; without a collector
//! the log is the only subscriber.

use std::io::IsTerminal;

use frontdesk_api::Result;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use super::{Traces, spans::exported};
use crate::{
    config::{Log, LogFormat, Telemetry},
    fields::Plain,
    lines::Lines,
};

/// Starts logging, and tracing where a collector is configured, for the life of the process; a second call
/// changes nothing. What is traced waits in the returned queue for [`super::Export`].
///
/// # Errors
/// As [`Traces::new`].
pub fn start(log: &Log, telemetry: &Telemetry) -> Result<Option<Traces>> {
    let traces = telemetry.otlp_endpoint().map(|_| Traces::new(telemetry)).transpose()?;
    let started = match &traces {
        None => alone(log),
        Some(traces) => beside(log, traces),
    };
    if let Err(e) = started {
        tracing::debug!("logging had been started before: {e}");
    }
    Ok(traces)
}

type Started = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// The log and nothing else.
fn alone(log: &Log) -> Started {
    let builder = fmt().with_env_filter(filter(log)).with_writer(Lines::start());
    match log.format {
        LogFormat::Human => {
            builder.fmt_fields(Plain).with_target(false).with_ansi(std::io::stderr().is_terminal()).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init(),
    }
}

/// The log beside traces. Each has a filter of its own: a quiet log must not make traces quiet.
fn beside(log: &Log, traces: &Traces) -> Started {
    let layer = fmt::layer().with_writer(Lines::start());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Human => {
            layer.fmt_fields(Plain).with_target(false).with_ansi(std::io::stderr().is_terminal()).boxed()
        }
        LogFormat::Json => layer.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    let spans = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer())
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_level(false);
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(filter(log))).with(spans.with_filter(exported()));
    Ok(subscriber.try_init()?)
}

/// Libraries talk at info about what only their authors need.
fn filter(log: &Log) -> EnvFilter {
    let level = log.level.as_str();
    EnvFilter::new(format!(
        "{level},hyper=warn,hyper_util=warn,opentelemetry_sdk=warn,reqwest=warn,rustls=warn,sqlx=warn,wasmtime=warn"
    ))
}
