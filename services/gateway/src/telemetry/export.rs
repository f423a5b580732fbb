//! To the collector: spans and metrics as OTLP over HTTP, in tasks of their own.
//!
//! OTLP asks for one POST of protobuf a batch and for another try where the collector says it is busy. Invariants:
//! nobody waits for a collector but these tasks; spans it does not take are dropped and counted; a batch of metrics
//! that was lost is no loss, since the next one holds the same counts and more.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{Error, Result, cx::CancellationToken};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use opentelemetry_proto::{
    tonic::{
        collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
        metrics::v1::ResourceMetrics,
        resource::v1::Resource,
    },
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::trace::SpanData;
use prost::Message as _;
use tokio::{
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Traces,
    points::{self, Window},
    scrape, spans,
    spool::OUTCOMES,
};
use crate::{app::App, config};

/// Spans in one request.
const BATCH: usize = 512;

/// How long finished spans wait for more of them.
const GATHER: Duration = Duration::from_secs(1);

/// The pauses before a batch is offered again to a collector that is busy or cannot be reached.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// The longest pause that a collector may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long a stopping process waits for the collector.
const FAREWELL: Duration = Duration::from_secs(5);

/// The way to a collector: one POST of a body.
#[async_trait]
pub trait Collector: Send + Sync {
    /// # Errors
    /// Where no answer came.
    async fn post(&self, to: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Posted>;
}

/// What a collector answered.
#[derive(Debug, Clone, Copy)]
pub struct Posted {
    pub status: u16,
    /// When it wants to be asked again.
    pub retry_after: Option<Duration>,
}

/// The tasks that send.
pub struct Export {
    stop: CancellationToken,
    tasks: [JoinHandle<()>; 2],
}

impl Export {
    /// Begins to send what is in `traces` and the numbers of `app`, on the runtime this is called on.
    ///
    /// # Errors
    /// `Invalid` with the key of a setting that cannot be used.
    pub fn start(app: &App, traces: Traces, collector: Arc<dyn Collector>) -> Result<Self> {
        let config = &app.config.telemetry;
        let way = |signal| Way::new(config, signal, &collector);
        let (spans, metrics) = (way("traces")?, way("metrics")?);
        let (stop, every) = (CancellationToken::new(), Duration::from_secs(config.metrics_interval_s));
        let resource = Arc::new(ResourceAttributesWithSchema::from(&traces.resource));
        let tasks = [
            tokio::spawn(send_spans(spans, traces, Arc::clone(&resource), stop.clone())),
            tokio::spawn(send_metrics(metrics, app.clone(), resource, every, stop.clone())),
        ];
        Ok(Self { stop, tasks })
    }

    /// Sends what is left, once, and ends; gives up after five seconds.
    pub async fn finish(self) {
        self.stop.cancel();
        let ends = self.tasks.iter().map(JoinHandle::abort_handle).collect::<Vec<_>>();
        let all = async {
            for task in self.tasks {
                if let Err(e) = task.await {
                    tracing::error!("sending to the collector ended early: {e}");
                }
            }
        };
        if timeout(FAREWELL, all).await.is_err() {
            tracing::warn!("the collector did not take the last traces and metrics in time");
            ends.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// Where one signal goes, and how.
struct Way {
    collector: Arc<dyn Collector>,
    to: Uri,
    headers: HeaderMap,
    /// Whether the last batch arrived, so that an outage is said once.
    well: bool,
}

impl Way {
    /// `signal`: the last part of its path, as OTLP over HTTP has it.
    fn new(config: &config::Telemetry, signal: &str, collector: &Arc<dyn Collector>) -> Result<Self> {
        let base = config.otlp_endpoint().unwrap_or_default().trim_end_matches('/');
        let to = format!("{base}/v1/{signal}").parse().ok().filter(|to: &Uri| to.host().is_some());
        let message = format!("'{base}' is no URL: write it as http://host:4318");
        let to = to.ok_or_else(|| Error::invalid("telemetry.otlp_endpoint", message))?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let (Ok(name), Ok(mut value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
                let key = format!("telemetry.headers.{name}");
                return Err(Error::invalid(key, format!("'{name}' or its value cannot be a header")));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        Ok(Self { collector: Arc::clone(collector), to, headers, well: true })
    }

    /// Whether the collector took it. `patience`: the pauses before further tries.
    async fn send(&mut self, body: Vec<u8>, patience: &[Duration], stop: &CancellationToken) -> bool {
        let body = Bytes::from(body);
        for pause in patience.iter().map(Some).chain([None]) {
            let posted = self.collector.post(&self.to, &self.headers, body.clone()).await;
            let (why, asked) = match posted {
                Ok(Posted { status: 200..300, .. }) => {
                    self.well = true;
                    return true;
                }
                // OTLP names these as worth another try.
                Ok(Posted { status: status @ (429 | 502 | 503 | 504), retry_after }) => {
                    (format!("it answered {status}"), retry_after)
                }
                Ok(Posted { status, .. }) => {
                    self.say(&format!("it answered {status}"));
                    return false;
                }
                Err(e) => (e.message, None),
            };
            self.say(&why);
            let Some(pause) = pause else { return false };
            let pause = asked.unwrap_or(*pause).min(LONGEST_PAUSE);
            if stop.run_until_cancelled(sleep(pause)).await.is_none() {
                return false;
            }
        }
        false
    }

    fn say(&mut self, why: &str) {
        if std::mem::take(&mut self.well) {
            tracing::warn!(to = %self.to, "the collector does not take what is sent (telemetry.otlp_endpoint): {why}");
        }
    }
}

async fn send_spans(
    mut way: Way,
    mut traces: Traces,
    resource: Arc<ResourceAttributesWithSchema>,
    stop: CancellationToken,
) {
    let mut tick = interval(GATHER);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stopping = tokio::select! {
            () = stop.cancelled() => true,
            _ = tick.tick() => false,
            () = traces.filling.notified() => false,
        };
        loop {
            let batch: Vec<SpanData> = std::iter::from_fn(|| traces.queue.try_recv().ok()).take(BATCH).collect();
            if batch.is_empty() {
                break;
            }
            let count = batch.len() as u64;
            let batch = batch.into_iter().map(spans::finished).collect();
            let request =
                ExportTraceServiceRequest { resource_spans: group_spans_by_resource_and_scope(batch, &resource) };
            let taken = way.send(request.encode_to_vec(), &PAUSES, &stop).await;
            let outcome = if taken { &OUTCOMES.sent } else { &OUTCOMES.dropped };
            outcome.fetch_add(count, Ordering::Relaxed);
        }
        if stopping {
            return;
        }
    }
}

async fn send_metrics(
    mut way: Way,
    app: App,
    resource: Arc<ResourceAttributesWithSchema>,
    every: Duration,
    stop: CancellationToken,
) {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is due at once, when there is nothing to tell.
    tick.tick().await;
    loop {
        let stopping = stop.run_until_cancelled(tick.tick()).await.is_none();
        let nanos = |micros: i64| micros.unsigned_abs().saturating_mul(1000);
        let window = Window { since: nanos(app.telemetry.since), now: nanos(app.clock.now()) };
        let resource_metrics = ResourceMetrics {
            resource: Some(Resource { attributes: resource.attributes.0.clone(), ..Resource::default() }),
            scope_metrics: vec![points::scope(&scrape::families(&app), window)],
            schema_url: String::new(),
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] };
        way.send(request.encode_to_vec(), &[], &stop).await;
        if stopping {
            return;
        }
    }
}
