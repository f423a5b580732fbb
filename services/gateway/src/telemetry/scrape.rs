//! All families with their values now: what was counted, and what services keep and are asked for.

use std::sync::atomic::Ordering;

use frontdesk_api::turn::TurnState;
use prometheus::{TextEncoder, proto::MetricFamily};

use super::{
    engines,
    families::{
        APPROVALS_WAITING, BATCH_LINES, BATCHES_ENDED, BATCHES_RUNNING, BATCHES_WAITING, BUILD, CPU, DESCRIPTORS,
        FILES_READING, POOL, POOL_MOST, RESIDENT, SPANS, STARTED, TURNS_ENDED, TURNS_RUNNING, TURNS_STANDING,
    },
    process,
    spool::OUTCOMES,
};
use crate::app::App;

/// What `/metrics` answers with, and its content type.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl super::Telemetry {
    /// In Prometheus' text format, the engines' own numbers behind ours.
    pub(crate) async fn text(app: &App) -> frontdesk_api::Result<String> {
        let theirs = engines::page(app).await;
        let own = TextEncoder::new().encode_to_string(&families(app));
        Ok(own.map_err(|e| frontdesk_api::Error::internal("writing the metrics", e))? + &theirs)
    }
}

pub(super) fn families(app: &App) -> Vec<MetricFamily> {
    let mut all = app.telemetry.registry.gather();
    all.extend(read(app));
    all.sort_by(|a, b| a.name().cmp(b.name()));
    all
}

fn read(app: &App) -> impl Iterator<Item = MetricFamily> {
    let one = |value: f64| [(vec![], value)];
    let known = |value: Option<f64>| value.map(|value| (vec![], value));
    let (turns, pool, process) = (app.agents.tally(), app.store.connections(), process::read());
    let ended = turns.ended.map(|(state, count)| (vec![state.as_str().to_owned()], number(count)));
    let standing = turns.standing.into_iter().flat_map(|standing| {
        [
            ("in_line", standing.in_line),
            (TurnState::Queued.as_str(), standing.queued),
            (TurnState::AwaitingInput.as_str(), standing.awaiting_input),
            (TurnState::DeadLetter.as_str(), standing.dead_letter),
        ]
        .map(|(state, count)| (vec![state.to_owned()], number(count.unsigned_abs())))
    });
    let approvals = turns.standing.map(|standing| number(standing.approvals.unsigned_abs()));
    let batches = app.batches.tally();
    let done = batches.ended.map(|(state, count)| (vec![state.as_str().to_owned()], number(count)));
    let lines = batches.lines.map(|(outcome, count)| (vec![outcome.as_str().to_owned()], number(count)));
    let connections = [
        (vec!["idle".to_owned()], number(pool.idle)),
        (vec!["used".to_owned()], number(pool.open.saturating_sub(pool.idle))),
    ];
    let spans = [("sent", &OUTCOMES.sent), ("dropped", &OUTCOMES.dropped)]
        .map(|(outcome, count)| (vec![outcome.to_owned()], number(count.load(Ordering::Relaxed))));
    let build = [(vec![env!("CARGO_PKG_VERSION").to_owned(), crate::features().join(",")], 1.0)];
    [
        TURNS_RUNNING.read(one(number(turns.running))),
        TURNS_ENDED.read(ended),
        TURNS_STANDING.read(standing),
        APPROVALS_WAITING.read(known(approvals)),
        BATCHES_RUNNING.read(one(number(batches.running))),
        BATCHES_WAITING.read(one(number(batches.waiting))),
        BATCHES_ENDED.read(done),
        BATCH_LINES.read(lines),
        FILES_READING.read(one(number(app.knowledge.working()))),
        POOL.read(connections),
        POOL_MOST.read(one(number(pool.most))),
        SPANS.read(spans),
        BUILD.read(build),
        CPU.read(known(process.cpu)),
        RESIDENT.read(known(process.resident)),
        DESCRIPTORS.read(known(process.descriptors)),
        STARTED.read(one(number(app.telemetry.since.unsigned_abs()) / 1e6)),
    ]
    .into_iter()
    // One without a value would be a family without a line.
    .filter(|family| !family.get_metric().is_empty())
}

#[allow(clippy::cast_precision_loss)] // counts stay below 2^53
fn number(count: u64) -> f64 {
    count as f64
}
