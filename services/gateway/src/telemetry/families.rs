//! Every metric by name: one table, from which both its OpenTelemetry and its Prometheus form are made.
//!
//! Names are OpenTelemetry's where it has one (semantic conventions for HTTP, GenAI and processes), else ours
//! under `frontdesk.`. Prometheus' name is made as OpenTelemetry's compatibility page says: dots become
//! underscores, the unit and `total` go to the end. Invariant: the labels of a family are few and bounded;
//! a tenant is never one of them.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry,
    core::Collector,
    proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType},
};

/// A metric before anything was counted.
pub(crate) struct Family {
    /// OpenTelemetry's name.
    pub(crate) name: &'static str,
    /// As OpenTelemetry writes units (UCUM): `s`, `By`, `{token}`.
    pub(crate) unit: &'static str,
    pub(crate) kind: Kind,
    /// One line for people.
    pub(crate) help: &'static str,
    /// OpenTelemetry's names of its attributes.
    pub(crate) labels: &'static [&'static str],
    /// Prometheus' name where its client libraries have long had one of their own; empty: made from `name`.
    pub(crate) known_as: &'static str,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    /// Only grows.
    Counter,
    /// Of these there are so many now: sums over instances mean something.
    UpDown,
    /// A reading.
    Gauge,
    /// With these upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// Seconds of an HTTP request, as the HTTP conventions advise, and further up: a long answer takes minutes.
const REQUEST: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0, 300.0];
/// Seconds of a model's work, as the GenAI conventions advise.
const OPERATION: &[f64] = &[0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// Seconds to a first token, as the GenAI conventions advise.
const FIRST: &[f64] = &[0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Seconds between tokens, as the GenAI conventions advise.
const BETWEEN: &[f64] = &[0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Seconds of a turn: one that waits for a person takes hours.
const TURN: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0, 86_400.0];
/// A few things, up to the most model calls of a turn.
const FEW: &[f64] = &[1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 15.0, 25.0, 50.0, 100.0];
/// Tokens of a call, as the GenAI conventions advise.
const TOKENS: &[f64] = &[
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
/// Seconds of our own work on a request: microseconds when all is well.
const OVERHEAD: &[f64] =
    &[0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0];

const MODEL: &[&str] =
    &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model"];
const MODEL_AND_ERROR: &[&str] =
    &["gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.response.model", "error.type"];
const MODEL_AND_TOKEN: &[&str] = &[
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "gen_ai.token.type",
];

const fn family(
    name: &'static str,
    unit: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Family {
    Family { name, unit, kind, help, labels, known_as: "" }
}

pub(crate) static HTTP_DURATION: Family = family(
    "http.server.request.duration",
    "s",
    Kind::Histogram(REQUEST),
    &["http.request.method", "http.route", "http.response.status_code"],
    "Time from a request's head to the end of its answer; 499 is a client that left before the answer began",
);
pub(crate) static HTTP_ACTIVE: Family =
    family("http.server.active_requests", "{request}", Kind::UpDown, &[], "Requests that have no whole answer yet");
pub(crate) static OVERHEAD_TIME: Family = family(
    "frontdesk.overhead",
    "s",
    Kind::Histogram(OVERHEAD),
    &[],
    "Time of a request that was spent here and not upstream, as the header x-frontdesk-overhead-us says",
);
pub(crate) static STREAMS: Family =
    family("frontdesk.streams.open", "{stream}", Kind::UpDown, &[], "Event streams that clients read now");
pub(crate) static CONNECTIONS: Family =
    family("frontdesk.connections.open", "{connection}", Kind::UpDown, &[], "Client connections that are open");

pub(crate) static OPERATION_DURATION: Family = family(
    "gen_ai.client.operation.duration",
    "s",
    Kind::Histogram(OPERATION),
    MODEL_AND_ERROR,
    "Time of a model call, to the end of its answer",
);
pub(crate) static TOKEN_USAGE: Family = family(
    "gen_ai.client.token.usage",
    "{token}",
    Kind::Histogram(TOKENS),
    MODEL_AND_TOKEN,
    "Tokens of a model call, input and output, as its provider counted them",
);
pub(crate) static FIRST_CHUNK: Family = family(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    Kind::Histogram(OPERATION),
    MODEL,
    "Time from asking a model to the first piece of its stream",
);
pub(crate) static PER_CHUNK: Family = family(
    "gen_ai.client.operation.time_per_output_chunk",
    "s",
    Kind::Histogram(BETWEEN),
    MODEL,
    "Time between two pieces of a stream",
);
pub(crate) static SERVED: Family = family(
    "gen_ai.server.request.duration",
    "s",
    Kind::Histogram(OPERATION),
    MODEL_AND_ERROR,
    "Time to answer a client's request for a model, to the end of the answer; kept answers and lines of batches count, agents' turns do not",
);
pub(crate) static FIRST_TOKEN: Family = family(
    "gen_ai.server.time_to_first_token",
    "s",
    Kind::Histogram(FIRST),
    MODEL,
    "Time to the first piece of a stream that came to a good end",
);
pub(crate) static PER_TOKEN: Family = family(
    "gen_ai.server.time_per_output_token",
    "s",
    Kind::Histogram(BETWEEN),
    MODEL,
    "Mean time between tokens after the first, of a stream that came to a good end",
);
pub(crate) static CACHED_TOKENS: Family = family(
    "frontdesk.tokens.cached_input",
    "{token}",
    Kind::Counter,
    MODEL,
    "Input tokens that a provider read from its cache; they are part of its input tokens",
);
pub(crate) static REASONING_TOKENS: Family = family(
    "frontdesk.tokens.reasoning_output",
    "{token}",
    Kind::Counter,
    MODEL,
    "Output tokens that a model spent on reasoning; they are part of its output tokens",
);

pub(crate) static ATTEMPTS: Family = family(
    "frontdesk.attempts.lost",
    "{attempt}",
    Kind::Counter,
    &["gen_ai.provider.name", "error.type"],
    "Times that a provider was asked and did not become the answer: it failed, or another was quicker (outrun)",
);

pub(crate) static REUSE: Family = family(
    "frontdesk.cache.answers",
    "{answer}",
    Kind::Counter,
    &["gen_ai.request.model", "frontdesk.cache.result"],
    "Answers of routes that keep or share them: hit and shared were not asked for, miss and bypass were",
);

pub(crate) static TURNS_RUNNING: Family =
    family("frontdesk.turns.running", "{turn}", Kind::UpDown, &[], "Agents' turns that this process works on");
pub(crate) static TURNS_ENDED: Family = family(
    "frontdesk.turns.ended",
    "{turn}",
    Kind::Counter,
    &["frontdesk.turn.state"],
    "Agents' turns that this process brought to an end, by how they ended",
);
pub(crate) static TURNS_STANDING: Family = family(
    "frontdesk.turns.standing",
    "{turn}",
    Kind::UpDown,
    &["frontdesk.turn.state"],
    "Agents' turns of all processes that stand still, by what they wait for, when this process last looked",
);
pub(crate) static TURN_DURATION: Family = family(
    "frontdesk.turn.duration",
    "s",
    Kind::Histogram(TURN),
    &["frontdesk.turn.state"],
    "Time from asking for a turn to its end, waiting for input included, of turns that this process brought to an end",
);
pub(crate) static TURN_QUEUED: Family = family(
    "frontdesk.turn.queued",
    "s",
    Kind::Histogram(REQUEST),
    &[],
    "Time from asking for a turn to when this process began the work on it, of turns that nobody had worked on",
);
pub(crate) static TURN_CALLS: Family = family(
    "frontdesk.turn.model_calls",
    "{call}",
    Kind::Histogram(FEW),
    &[],
    "Model calls of a turn that came to an end at its worker",
);
pub(crate) static TOOL_CALLS: Family = family(
    "frontdesk.tool.calls",
    "{call}",
    Kind::Counter,
    &["frontdesk.tool.outcome"],
    "Calls of tools that run here in turns, by how they ended",
);
pub(crate) static TOOL_DURATION: Family = family(
    "gen_ai.execute_tool.duration",
    "s",
    Kind::Histogram(OPERATION),
    &["gen_ai.tool.name", "error.type"],
    "A call of a tool that runs here in a turn, from asking it to its result; one that asks a person is not in it",
);
pub(crate) static OUTCOMES_UNKNOWN: Family = family(
    "frontdesk.tool.outcomes_unknown",
    "{call}",
    Kind::Counter,
    &[],
    "Tool calls of turns that came to an end without anyone knowing whether they did their work",
);
pub(crate) static TURNS_RECOVERED: Family = family(
    "frontdesk.turns.recovered",
    "{turn}",
    Kind::Counter,
    &[],
    "Times that this process took up a turn whose worker was lost",
);
pub(crate) static STALE_WRITES: Family = family(
    "frontdesk.turns.stale_writes",
    "{write}",
    Kind::Counter,
    &[],
    "Writes of this process that were refused, since another one had the turn by then or it was deleted",
);
pub(crate) static TURNS_REFUSED: Family = family(
    "frontdesk.turns.refused",
    "{turn}",
    Kind::Counter,
    &["frontdesk.turn.line"],
    "Turns that were refused since a line was full, by which: their session's, their own or that of all",
);
pub(crate) static HAND_OFFS: Family = family(
    "frontdesk.hand_offs",
    "{hand_off}",
    Kind::Counter,
    &["frontdesk.hand_off.target", "frontdesk.hand_off.reason"],
    "Conversations that agents handed on, to people or to another agent, by reason",
);
pub(crate) static APPROVALS_WAITING: Family = family(
    "frontdesk.approvals.waiting",
    "{approval}",
    Kind::Gauge,
    &[],
    "Approvals that nobody had said a word to when this process last looked; every process sees the same ones",
);
pub(crate) static APPROVALS_ENDED: Family = family(
    "frontdesk.approvals.ended",
    "{approval}",
    Kind::Counter,
    &["frontdesk.approval.state"],
    "Approvals by how they ended, once their turn went on or ended",
);
pub(crate) static BATCHES_RUNNING: Family =
    family("frontdesk.batches.running", "{batch}", Kind::UpDown, &[], "Batches that this process works on");
pub(crate) static BATCHES_WAITING: Family = family(
    "frontdesk.batches.waiting",
    "{batch}",
    Kind::Gauge,
    &[],
    "Batches that no process worked on when this one last looked; every process sees the same ones",
);
pub(crate) static BATCHES_ENDED: Family = family(
    "frontdesk.batches.ended",
    "{batch}",
    Kind::Counter,
    &["frontdesk.batch.state"],
    "Batches that this process brought to an end, by how they ended",
);
pub(crate) static BATCH_LINES: Family = family(
    "frontdesk.batches.lines",
    "{line}",
    Kind::Counter,
    &["frontdesk.batch.outcome"],
    "Requests of batches that got their outcome from this process, by outcome",
);
pub(crate) static FILES_READING: Family = family(
    "frontdesk.ingest.running",
    "{task}",
    Kind::UpDown,
    &[],
    "Tasks that read files into knowledge stores now, waiting ones included",
);
pub(crate) static POOL: Family = family(
    "db.client.connection.count",
    "{connection}",
    Kind::UpDown,
    &["db.client.connection.state"],
    "Connections to the database by state",
);
pub(crate) static POOL_MOST: Family =
    family("db.client.connection.max", "{connection}", Kind::UpDown, &[], "Most connections to the database");
pub(crate) static SPANS: Family = family(
    "frontdesk.telemetry.spans",
    "{span}",
    Kind::Counter,
    &["frontdesk.telemetry.outcome"],
    "Spans by what became of them: sent to the collector, or dropped",
);
pub(crate) static BUILD: Family =
    family("frontdesk.build.info", "", Kind::Gauge, &["version", "features"], "What is running here; always 1");
pub(crate) static CPU: Family = Family {
    known_as: "process_cpu_seconds_total",
    ..family("process.cpu.time", "s", Kind::Counter, &[], "Processor time of this process, user and system")
};
pub(crate) static RESIDENT: Family = Family {
    known_as: "process_resident_memory_bytes",
    ..family("process.memory.usage", "By", Kind::UpDown, &[], "Memory that this process holds")
};
pub(crate) static DESCRIPTORS: Family = Family {
    known_as: "process_open_fds",
    ..family("process.unix.file_descriptor.count", "{file_descriptor}", Kind::UpDown, &[], "Open file descriptors")
};
pub(crate) static STARTED: Family = Family {
    known_as: "process_start_time_seconds",
    ..family("frontdesk.started", "s", Kind::Gauge, &[], "When this process was set up, in Unix seconds")
};

/// All of them.
pub(crate) static ALL: [&Family; 44] = [
    &HTTP_DURATION,
    &HTTP_ACTIVE,
    &OVERHEAD_TIME,
    &STREAMS,
    &CONNECTIONS,
    &OPERATION_DURATION,
    &TOKEN_USAGE,
    &FIRST_CHUNK,
    &PER_CHUNK,
    &SERVED,
    &FIRST_TOKEN,
    &PER_TOKEN,
    &CACHED_TOKENS,
    &REASONING_TOKENS,
    &ATTEMPTS,
    &REUSE,
    &TURNS_RUNNING,
    &TURNS_ENDED,
    &TURNS_STANDING,
    &TURN_DURATION,
    &TURN_QUEUED,
    &TURN_CALLS,
    &TOOL_CALLS,
    &TOOL_DURATION,
    &OUTCOMES_UNKNOWN,
    &TURNS_RECOVERED,
    &STALE_WRITES,
    &TURNS_REFUSED,
    &HAND_OFFS,
    &APPROVALS_WAITING,
    &APPROVALS_ENDED,
    &BATCHES_RUNNING,
    &BATCHES_WAITING,
    &BATCHES_ENDED,
    &BATCH_LINES,
    &FILES_READING,
    &POOL,
    &POOL_MOST,
    &SPANS,
    &BUILD,
    &CPU,
    &RESIDENT,
    &DESCRIPTORS,
    &STARTED,
];

impl Family {
    /// As Prometheus writes it.
    pub(crate) fn shown(&self) -> String {
        if !self.known_as.is_empty() {
            return self.known_as.to_owned();
        }
        let mut shown = underscored(self.name);
        match self.unit {
            "s" => shown.push_str("_seconds"),
            "By" => shown.push_str("_bytes"),
            _ => {}
        }
        if self.kind == Kind::Counter {
            shown.push_str("_total");
        }
        shown
    }

    /// The family that Prometheus calls so.
    pub(crate) fn find(shown: &str) -> Option<&'static Self> {
        ALL.into_iter().find(|family| family.shown() == shown)
    }

    /// OpenTelemetry's name of the attribute that Prometheus calls so.
    pub(crate) fn attribute(&self, shown: &str) -> Option<&'static str> {
        self.labels.iter().copied().find(|label| underscored(label) == shown)
    }

    pub(crate) fn histograms(&self, registry: &Registry) -> prometheus::Result<HistogramVec> {
        let Kind::Histogram(bounds) = self.kind else { return Err(self.wrong()) };
        let options = HistogramOpts::new(self.shown(), self.help).buckets(bounds.to_vec());
        let labels = self.shown_labels();
        kept(registry, HistogramVec::new(options, &labels.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    pub(crate) fn counters(&self, registry: &Registry) -> prometheus::Result<IntCounterVec> {
        let options = Opts::new(self.shown(), self.help);
        let labels = self.shown_labels();
        kept(registry, IntCounterVec::new(options, &labels.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    pub(crate) fn gauge(&self, registry: &Registry) -> prometheus::Result<IntGauge> {
        kept(registry, IntGauge::new(self.shown(), self.help))
    }

    /// The family with values that are kept elsewhere and read now, each with the values of its labels.
    pub(crate) fn read(&self, values: impl IntoIterator<Item = (Vec<String>, f64)>) -> MetricFamily {
        let counts = self.kind == Kind::Counter;
        let metrics = values.into_iter().map(|(labels, value)| {
            let labels = self.labels.iter().zip(labels).map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name(underscored(name));
                pair.set_value(value);
                pair
            });
            let mut metric = Metric::from_label(labels.collect());
            if counts {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            } else {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            metric
        });
        let mut family = MetricFamily::default();
        family.set_name(self.shown());
        family.set_help(self.help.to_owned());
        family.set_field_type(if counts { MetricType::COUNTER } else { MetricType::GAUGE });
        family.set_metric(metrics.collect());
        family
    }

    fn shown_labels(&self) -> Vec<String> {
        self.labels.iter().map(|label| underscored(label)).collect()
    }

    fn wrong(&self) -> prometheus::Error {
        prometheus::Error::Msg(format!("{} is no histogram", self.name))
    }
}

fn underscored(name: &str) -> String {
    name.replace('.', "_")
}

fn kept<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> prometheus::Result<C> {
    let made = made?;
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn prometheus_names_carry_unit_and_total() {
        for (family, shown) in [
            (&HTTP_DURATION, "http_server_request_duration_seconds"),
            (&TOKEN_USAGE, "gen_ai_client_token_usage"),
            (&OPERATION_DURATION, "gen_ai_client_operation_duration_seconds"),
            (&FIRST_TOKEN, "gen_ai_server_time_to_first_token_seconds"),
            (&OVERHEAD_TIME, "frontdesk_overhead_seconds"),
            (&TURNS_ENDED, "frontdesk_turns_ended_total"),
            (&RESIDENT, "process_resident_memory_bytes"),
        ] {
            assert_eq!(family.shown(), shown);
            assert_eq!(Family::find(shown).expect("in the list").name, family.name);
        }
    }

    #[test]
    fn every_family_is_told_apart_and_its_labels_lead_back() {
        let names: HashSet<String> = ALL.iter().map(|family| family.shown()).collect();
        assert_eq!(names.len(), ALL.len());
        for family in ALL {
            for label in family.labels {
                assert_eq!(family.attribute(&underscored(label)), Some(*label));
            }
            assert!(!family.labels.iter().any(|label| label.contains("tenant")), "{}", family.name);
            if let Kind::Histogram(bounds) = family.kind {
                assert!(bounds.is_sorted(), "{}", family.name);
            }
        }
    }

    #[test]
    fn the_page_for_operators_lists_every_family() {
        let page = include_str!("../../../../docs/telemetry.md");
        for family in ALL {
            let row = format!("| `{}` | `{}` |", family.shown(), family.name);
            assert!(page.contains(&row), "docs/telemetry.md has no row {row}");
        }
        assert_eq!(page.lines().filter(|line| line.starts_with("| `")).count(), ALL.len(), "rows of nothing");
    }
}
