//! Finished spans on their way to the collector: a queue that is never waited for.
//!
//! A span that finds the queue full is dropped and counted. The reader looks every second and is woken only when
//! the queue is half full, so that ending a span wakes nobody. Invariant: at most [`MOST`] spans are held.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use frontdesk_api::{Error, Result};
use opentelemetry::{Context, KeyValue, trace::TracerProvider as _};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor},
};
use tokio::sync::{Notify, mpsc};

use crate::config::Telemetry;

/// Spans that may wait; some kilobytes each at most without content.
const MOST: usize = 4096;

/// What became of spans in this process.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) sent: AtomicU64,
    pub(crate) dropped: AtomicU64,
}

/// The subscriber is one a process, and so are these.
pub(crate) static OUTCOMES: Outcomes = Outcomes { sent: AtomicU64::new(0), dropped: AtomicU64::new(0) };

/// The source of traces and the queue they end in.
pub struct Traces {
    provider: SdkTracerProvider,
    pub(super) resource: Resource,
    pub(super) queue: mpsc::Receiver<SpanData>,
    /// Told when the queue is half full.
    pub(super) filling: Arc<Notify>,
}

impl Traces {
    /// A tracer that samples as configured, under a resource that names this process.
    ///
    /// # Errors
    /// `Internal` when the system gives no random bytes.
    pub fn new(config: &Telemetry) -> Result<Self> {
        let mut instance = [0u8; 16];
        getrandom::fill(&mut instance)
            .map_err(|e| Error::internal("drawing an id of this process for its traces", std::io::Error::other(e)))?;
        let instance: String = instance.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut attributes = vec![
            KeyValue::new("service.name", config.service_name.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance),
        ];
        attributes.extend(config.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone())));
        // Not the builder that looks into the environment: only the configuration does.
        let resource = Resource::builder_empty().with_attributes(attributes).build();
        let (sender, queue) = mpsc::channel(MOST);
        let filling = Arc::new(Notify::new());
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(config.sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Processor { queue: sender, filling: Arc::clone(&filling) })
            .with_sampler(sampler)
            .with_resource(resource.clone())
            .build();
        Ok(Self { provider, resource, queue, filling })
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.provider.tracer("frontdesk")
    }
}

/// The sending end.
#[derive(Debug)]
struct Processor {
    queue: mpsc::Sender<SpanData>,
    filling: Arc<Notify>,
}

impl SpanProcessor for Processor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        if self.queue.try_send(span).is_err() {
            OUTCOMES.dropped.fetch_add(1, Ordering::Relaxed);
        }
        if self.queue.capacity() <= MOST / 2 {
            self.filling.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
