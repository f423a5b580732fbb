//! An OpenTelemetry collector on loopback: takes OTLP over HTTP, keeps every byte, and reads it with OpenTelemetry's
//! own types.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{Router, body::Bytes, extract::State, http::Uri, routing::post};
use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{KeyValue, any_value::Value},
    metrics::v1::Metric,
    trace::v1::Span,
};
use prost::Message;

#[derive(Default)]
struct Taken {
    headers: Vec<axum::http::HeaderMap>,
    bodies: Vec<(String, Bytes)>,
}

/// A collector that runs until it is dropped.
pub struct Collector {
    url: String,
    taken: Arc<Mutex<Taken>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take(
    State(taken): State<Arc<Mutex<Taken>>>,
    uri: Uri,
    headers: axum::http::HeaderMap,
    body: Bytes,
) -> &'static str {
    let mut taken = taken.lock().expect("not poisoned");
    taken.headers.push(headers);
    taken.bodies.push((uri.path().to_owned(), body));
    ""
}

impl Collector {
    pub async fn start() -> Self {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let routes = Router::new().route("/v1/traces", post(take)).route("/v1/metrics", post(take));
        let routes = routes.with_state(Arc::clone(&taken));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await.expect("serves") });
        Self { url, taken, server }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    fn of<T: Message + Default>(&self, path: &str) -> Vec<T> {
        let taken = self.taken.lock().expect("not poisoned");
        let bodies = taken.bodies.iter().filter(|(to, _)| to == path);
        bodies.map(|(_, body)| T::decode(body.clone()).expect("protobuf as OTLP defines it")).collect()
    }

    /// Everything that came, as bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let taken = self.taken.lock().expect("not poisoned");
        taken.bodies.iter().flat_map(|(_, body)| body.to_vec()).collect()
    }

    /// Whether each request had this header.
    pub fn all_had(&self, name: &str, value: &str) -> bool {
        let taken = self.taken.lock().expect("not poisoned");
        !taken.headers.is_empty() && taken.headers.iter().all(|headers| headers.get(name).is_some_and(|v| v == value))
    }

    /// Attributes of the resource of each batch of spans.
    pub fn resources(&self) -> Vec<BTreeMap<String, String>> {
        let batches = self.of::<ExportTraceServiceRequest>("/v1/traces").into_iter().flat_map(|r| r.resource_spans);
        batches.map(|batch| shown(&batch.resource.expect("a resource").attributes)).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let batches = self.of::<ExportTraceServiceRequest>("/v1/traces").into_iter().flat_map(|r| r.resource_spans);
        batches.flat_map(|batch| batch.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The one span of this name.
    pub fn span(&self, name: &str) -> Span {
        let spans = self.spans();
        let mut named = spans.iter().filter(|span| span.name == name);
        let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
        let span = named.next().unwrap_or_else(|| panic!("no span {name:?} among {names:?}"));
        assert!(named.next().is_none(), "several spans {name:?} among {names:?}");
        span.clone()
    }

    /// Of each name the latest.
    pub fn metrics(&self) -> BTreeMap<String, Metric> {
        let batches =
            self.of::<ExportMetricsServiceRequest>("/v1/metrics").into_iter().flat_map(|r| r.resource_metrics);
        let metrics = batches.flat_map(|batch| batch.scope_metrics).flat_map(|scope| scope.metrics);
        metrics.map(|metric| (metric.name.clone(), metric)).collect()
    }
}

/// Attributes as text.
pub fn shown(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::ArrayValue(array) => {
            let values = array.values.iter().filter_map(|value| value.value.as_ref());
            let texts = values.map(|value| if let Value::StringValue(text) = value { text.as_str() } else { "?" });
            format!("[{}]", texts.collect::<Vec<_>>().join(","))
        }
        other => format!("{other:?}"),
    };
    let pairs = attributes
        .iter()
        .map(|kv| (kv.key.clone(), kv.value.as_ref().and_then(|v| v.value.as_ref()).map(text).unwrap_or_default()));
    pairs.collect()
}

/// Bytes as W3C writes them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
