//! What the worker counts, and how a Prometheus server reads it.
//!
//! One set per model, plain atomics: counting never waits. Names follow the GenAI server metrics of OpenTelemetry where
//! there is one. Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in seconds: 1 ms to 2 minutes.
const BOUNDS: [f64; 14] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 120.0];

/// A distribution of durations.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Histogram {
    pub(crate) fn observe(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = BOUNDS.iter().position(|&bound| seconds <= bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.count.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Mean in seconds; none before the first observation.
    pub(crate) fn mean(&self) -> Option<f64> {
        let count = self.count.load(Relaxed);
        (count > 0).then(|| self.micros.load(Relaxed) as f64 / 1e6 / count as f64)
    }

    fn write(&self, out: &mut String, name: &str, model: &str) -> std::fmt::Result {
        let mut below = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            below += bucket.load(Relaxed);
            writeln!(out, "{name}_bucket{{model=\"{model}\",le=\"{bound}\"}} {below}")?;
        }
        // A bucket counted between the loads must not exceed the total.
        let count = self.count.load(Relaxed).max(below);
        writeln!(out, "{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {count}")?;
        writeln!(out, "{name}_sum{{model=\"{model}\"}} {}", self.micros.load(Relaxed) as f64 / 1e6)?;
        writeln!(out, "{name}_count{{model=\"{model}\"}} {count}")
    }
}

/// The counters of one model.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// From the arrival of a request to its first piece, waiting included.
    pub(crate) first_token: Histogram,
    /// Between two pieces of an answer.
    pub(crate) inter_token: Histogram,
    /// From a seat taken to the seat given back.
    pub(crate) seat: Histogram,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) answer_tokens: AtomicU64,
    pub(crate) finished: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) engine_restarts: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) load_failures: AtomicU64,
}

/// One model as a Prometheus server sees it.
pub(crate) struct Reading<'a> {
    pub(crate) model: &'a str,
    pub(crate) counters: &'a Counters,
    pub(crate) running: usize,
    pub(crate) waiting: usize,
    pub(crate) ready: bool,
}

/// The text of `GET /metrics`.
pub(crate) fn render(readings: &[Reading<'_>]) -> String {
    let mut out = String::new();
    // Writing into a String does not fail.
    let _ = write_all(&mut out, readings);
    out
}

fn write_all(out: &mut String, readings: &[Reading<'_>]) -> std::fmt::Result {
    type Pick = fn(&Reading<'_>) -> u64;
    let single: [(&str, &str, &str, Pick); 12] = [
        ("frontdesk_engine_ready", "gauge", "1 while the engine takes requests", |r| r.ready.into()),
        ("frontdesk_engine_running", "gauge", "requests being answered", |r| r.running as u64),
        ("frontdesk_engine_queue_depth", "gauge", "requests waiting for a seat", |r| r.waiting as u64),
        ("frontdesk_engine_prompt_tokens_total", "counter", "tokens read", |r| r.counters.prompt_tokens.load(Relaxed)),
        ("frontdesk_engine_answer_tokens_total", "counter", "tokens written", |r| {
            r.counters.answer_tokens.load(Relaxed)
        }),
        ("frontdesk_engine_finished_total", "counter", "answers that came to their end", |r| {
            r.counters.finished.load(Relaxed)
        }),
        ("frontdesk_engine_cancelled_total", "counter", "answers whose reader left", |r| {
            r.counters.cancelled.load(Relaxed)
        }),
        ("frontdesk_engine_failed_total", "counter", "answers that ended in an error", |r| {
            r.counters.failed.load(Relaxed)
        }),
        ("frontdesk_engine_refused_total", "counter", "requests refused because the queue was full", |r| {
            r.counters.refused.load(Relaxed)
        }),
        ("frontdesk_engine_restarts_total", "counter", "times the engine thread was started again", |r| {
            r.counters.engine_restarts.load(Relaxed)
        }),
        ("frontdesk_engine_loads_total", "counter", "times the model was brought into memory", |r| {
            r.counters.loads.load(Relaxed)
        }),
        ("frontdesk_engine_load_failures_total", "counter", "times that failed", |r| {
            r.counters.load_failures.load(Relaxed)
        }),
    ];
    for (name, kind, help, pick) in single {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
        for reading in readings {
            writeln!(out, "{name}{{model=\"{}\"}} {}", label(reading.model), pick(reading))?;
        }
    }
    type Distribution = fn(&Counters) -> &Histogram;
    let distributions: [(&str, &str, Distribution); 3] = [
        ("frontdesk_engine_time_to_first_token_seconds", "arrival to first piece", |c| &c.first_token),
        ("frontdesk_engine_inter_token_seconds", "between two pieces", |c| &c.inter_token),
        ("frontdesk_engine_request_seconds", "seat taken to seat given back", |c| &c.seat),
    ];
    for (name, help, pick) in distributions {
        writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram")?;
        for reading in readings {
            pick(reading.counters).write(out, name, &label(reading.model))?;
        }
    }
    Ok(())
}

fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up_and_names_are_escaped() {
        let counters = Counters::default();
        for millis in [1, 30, 400, 500_000] {
            counters.first_token.observe(Duration::from_millis(millis));
        }
        let reading = Reading { model: "a\"b", counters: &counters, running: 1, waiting: 2, ready: true };
        let text = render(&[reading]);
        let value = |start: &str| text.lines().find_map(|line| line.strip_prefix(start)).map(str::trim);
        let name = "frontdesk_engine_time_to_first_token_seconds";
        assert_eq!(value(&format!("{name}_bucket{{model=\"a\\\"b\",le=\"0.05\"}}")), Some("2"));
        assert_eq!(value(&format!("{name}_bucket{{model=\"a\\\"b\",le=\"120\"}}")), Some("3"));
        assert_eq!(value(&format!("{name}_count{{model=\"a\\\"b\"}}")), Some("4"));
        assert_eq!(value("frontdesk_engine_queue_depth{model=\"a\\\"b\"}"), Some("2"));
        assert_eq!(Histogram::default().mean(), None);
    }
}
