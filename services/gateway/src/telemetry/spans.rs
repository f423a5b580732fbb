//! What spans say, and the way from `tracing` to OpenTelemetry.
//!
//! Rooms write `tracing` spans whose fields have OpenTelemetry's names and know no more; here such a span becomes one
//! that is exported. Exported are requests and spans that name their operation (`gen_ai.operation.name`); others, and
//! all events, stay in the log. Invariant: an error is exported as its kind, never as its text, which may quote
//! what a client wrote.

use axum::http::{HeaderMap, Method, StatusCode};
use frontdesk_api::{Cx, chat::Usage};
use opentelemetry::{
    Array, Context, KeyValue, StringValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::SpanData;
use tracing::{Metadata, Span, Subscriber, subscriber::Interest};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{filter::dynamic_filter_fn, layer::Filter, registry::LookupSpan};

use super::calls::Operation;

/// Names the operation of a span, and by that makes it one to export.
const OPERATION: &str = "gen_ai.operation.name";

/// The edge's span, named so in `http/edge.rs`.
const REQUEST: &str = "request";

/// Lets through what goes to the collector.
///
/// It answers anew for every span. A filter of one layer leaves its answer with the thread, for the layer to read; were
/// it sure of a span once and for all it would not be asked again, and the layer would read the answer to whatever
/// was asked last (`log_enabled!` of a database driver, say) and lose the span: tokio-rs/tracing#2519.
pub(super) fn exported<S>() -> impl Filter<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    dynamic_filter_fn(|metadata, _| is_exported(metadata))
        .with_callsite_filter(|metadata| if is_exported(metadata) { Interest::sometimes() } else { Interest::never() })
}

fn is_exported(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().starts_with("frontdesk_");
    metadata.is_span() && ours && (metadata.name() == REQUEST || metadata.fields().field(OPERATION).is_some())
}

/// The span of a model call.
pub(super) fn call(operation: Operation, cx: &Cx, model: &str) -> Span {
    let span = tracing::info_span!("call", gen_ai.operation.name = operation.as_str());
    span.tell("gen_ai.request.model", model.to_owned());
    span.tell("frontdesk.tenant.id", cx.tenant.clone());
    for (name, value) in [
        ("gen_ai.conversation.id", cx.conversation()),
        ("gen_ai.agent.id", cx.agent.as_deref()),
        ("frontdesk.turn.id", cx.turn.as_deref()),
    ] {
        if let Some(value) = value {
            span.tell(name, value.to_owned());
        }
    }
    span
}

/// Makes the edge's span a request's: with its caller's trace above it, and what is known of it before the answer.
pub(super) fn request(span: &Span, id: &str, method: &Method, route: Option<&str>, path: &str, headers: &HeaderMap) {
    let parent = headers.get("traceparent").and_then(|value| parsed(value.to_str().ok()?));
    if let Some(parent) = parent
        && let Err(e) = span.set_parent(Context::new().with_remote_span_context(parent))
    {
        tracing::debug!("a request's span has no parent: {e}");
    }
    span.tell("http.request.method", method.as_str().to_owned());
    span.tell("frontdesk.request.id", id.to_owned());
    match route {
        Some(route) => span.tell("http.route", route.to_owned()),
        None => span.tell("url.path", path.to_owned()),
    }
}

/// What a request was answered with. Only a fault of ours makes its span one of an error.
pub(super) fn answered(span: &Span, status: StatusCode) {
    span.tell("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.tell("error.type", status.as_str().to_owned());
    }
}

/// A W3C `traceparent`; None for one that does not read.
pub(super) fn parsed(header: &str) -> Option<SpanContext> {
    let mut parts = header.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may have more parts, this one has not; ff is no version.
    let good = version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    if !good || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

/// What the gateway says on a span.
pub(super) trait SpanExt {
    fn tell(&self, name: &'static str, value: impl Into<Value>);

    /// A list of words.
    fn tell_all(&self, name: &'static str, words: Vec<String>);

    fn used(&self, usage: Usage);

    /// `cx` as what is called under this span gets it: with this span as the parent of what is done there.
    /// None where there is no such span.
    fn carried(&self, cx: &Cx) -> Option<Cx>;
}

impl SpanExt for Span {
    fn tell(&self, name: &'static str, value: impl Into<Value>) {
        self.set_attribute(name, value);
    }

    fn tell_all(&self, name: &'static str, words: Vec<String>) {
        let words = words.into_iter().map(StringValue::from).collect();
        self.set_attribute(name, Value::Array(Array::String(words)));
    }

    fn used(&self, usage: Usage) {
        for (name, tokens) in [
            ("gen_ai.usage.input_tokens", usage.input_tokens),
            ("gen_ai.usage.output_tokens", usage.output_tokens),
            ("gen_ai.usage.cache_read.input_tokens", usage.cached_input_tokens),
            ("gen_ai.usage.cache_creation.input_tokens", usage.cache_write_tokens),
            ("gen_ai.usage.reasoning.output_tokens", usage.reasoning_tokens),
        ] {
            self.tell(name, i64::try_from(tokens).unwrap_or(i64::MAX));
        }
    }

    fn carried(&self, cx: &Cx) -> Option<Cx> {
        carried(self).map(|traceparent| Cx { traceparent: Some(traceparent), ..cx.clone() })
    }
}

/// `span` as the parent of what is done elsewhere, as W3C writes it; None where there is no such span.
pub(super) fn carried(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    let shown = || format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8());
    span.is_valid().then(shown)
}

/// A span as it leaves: named, its kind and status set, without what only the log wants.
pub(super) fn finished(mut span: SpanData) -> SpanData {
    span.attributes.retain(|kv| !["target", "busy_ns", "idle_ns"].contains(&kv.key.as_str()));
    let text = |name: &str| {
        let kv: Option<&KeyValue> = span.attributes.iter().find(|kv| kv.key.as_str() == name);
        kv.map(|kv| kv.value.as_str().into_owned()).filter(|text| !text.is_empty())
    };
    let error = text("error.type");
    let (name, kind) = match text(OPERATION) {
        Some(operation) => {
            let kind = match operation.as_str() {
                "invoke_agent" | "execute_tool" | "retrieval" | "apply_guardrail" | "match_guidelines" => {
                    SpanKind::Internal
                }
                _ => SpanKind::Client,
            };
            let of = match operation.as_str() {
                "invoke_agent" => text("gen_ai.agent.name").or_else(|| text("gen_ai.agent.id")),
                "execute_tool" => text("gen_ai.tool.name"),
                "apply_guardrail" => text("frontdesk.shield.stage"),
                _ => text("gen_ai.request.model"),
            };
            (of.map_or_else(|| operation.clone(), |of| format!("{operation} {of}")), kind)
        }
        None => {
            let method = text("http.request.method").unwrap_or_default();
            let route = text("http.route").map(|route| format!("{method} {route}"));
            (route.unwrap_or(method), SpanKind::Server)
        }
    };
    (span.name, span.span_kind) = (name.into(), kind);
    if error.is_some() {
        span.status = Status::error("");
    }
    span
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn a_question_that_nothing_followed_costs_no_span() {
        use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt as _};

        struct Counts(Arc<AtomicUsize>);
        impl<S: Subscriber> Layer<S> for Counts {
            fn on_new_span(
                &self,
                _: &tracing::span::Attributes<'_>,
                _: &tracing::Id,
                _: tracing_subscriber::layer::Context<'_, S>,
            ) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let seen = Arc::new(AtomicUsize::new(0));
        let log = tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(EnvFilter::new("info"));
        let layers = tracing_subscriber::registry().with(log).with(Counts(Arc::clone(&seen)).with_filter(exported()));
        tracing::subscriber::with_default(layers, || {
            for _ in 0..3 {
                assert!(tracing::enabled!(tracing::Level::INFO), "the log wants it, the other layer does not");
                drop(tracing::info_span!("call", gen_ai.operation.name = "chat"));
                drop(tracing::info_span!("another"));
            }
        });
        assert_eq!(seen.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_traceparent_is_read_as_w3c_writes_it() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let read = parsed(good).expect("the example of the specification");
        assert_eq!(read.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(read.is_sampled() && read.is_remote());
        assert!(!parsed(&good.replace("-01", "-00")).expect("not sampled").is_sampled());
        assert!(parsed(&good.replacen("00-", "cc-", 1)).is_some(), "a later version");
        assert!(parsed(&format!("{}-more", good.replacen("00-", "cc-", 1))).is_some(), "with more to it");
        for bad in [
            "",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319-b7ad6b7169203331-01",
        ] {
            assert!(parsed(bad).is_none(), "{bad}");
        }
    }
}
