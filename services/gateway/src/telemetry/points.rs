//! The families of `/metrics` as OTLP metrics: cumulative since the process began, under OpenTelemetry's names.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ScopeMetrics, Sum,
        metric::Data, number_data_point,
    },
};
use prometheus::proto;

use super::families::{Family, Kind};

/// When the values count from and until, in Unix nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) since: u64,
    pub(super) now: u64,
}

pub(super) fn scope(families: &[proto::MetricFamily], window: Window) -> ScopeMetrics {
    let scope = InstrumentationScope {
        name: "frontdesk".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let metrics = families.iter().filter_map(|shown| Some(metric(Family::find(shown.name())?, shown, window)));
    ScopeMetrics { scope: Some(scope), metrics: metrics.collect(), schema_url: String::new() }
}

fn metric(family: &'static Family, shown: &proto::MetricFamily, window: Window) -> Metric {
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || shown.get_metric().iter().map(|metric| number(family, metric, window)).collect();
    let sum = |is_monotonic| Sum { data_points: numbers(), aggregation_temporality: cumulative, is_monotonic };
    let data = match family.kind {
        Kind::Counter => Data::Sum(sum(true)),
        Kind::UpDown => Data::Sum(sum(false)),
        Kind::Gauge => Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram(bounds) => Data::Histogram(Histogram {
            data_points: shown.get_metric().iter().map(|metric| histogram(family, bounds, metric, window)).collect(),
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: family.name.into(),
        description: family.help.into(),
        unit: family.unit.into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(family: &'static Family, metric: &proto::Metric, window: Window) -> NumberDataPoint {
    let value =
        if family.kind == Kind::Counter { metric.get_counter().get_value() } else { metric.get_gauge().get_value() };
    NumberDataPoint {
        attributes: attributes(family, metric),
        start_time_unix_nano: window.since,
        time_unix_nano: window.now,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(family: &'static Family, bounds: &[f64], metric: &proto::Metric, window: Window) -> HistogramDataPoint {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    // Prometheus' buckets hold everything below their bound, OTLP's what lies between two.
    let upto = histogram.get_bucket().iter().map(proto::Bucket::cumulative_count).take(bounds.len());
    let mut below = 0;
    let mut buckets: Vec<u64> = upto.map(|upto| upto - std::mem::replace(&mut below, upto)).collect();
    buckets.push(count.saturating_sub(below));
    HistogramDataPoint {
        attributes: attributes(family, metric),
        start_time_unix_nano: window.since,
        time_unix_nano: window.now,
        count,
        sum: Some(histogram.get_sample_sum()),
        bucket_counts: buckets,
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

/// An empty label is how Prometheus writes an absent one.
fn attributes(family: &'static Family, metric: &proto::Metric) -> Vec<KeyValue> {
    let given = metric.get_label().iter().filter(|label| !label.value().is_empty());
    let known = given.filter_map(|label| {
        let name = family.attribute(label.name())?;
        // The one attribute that the conventions want as a number.
        let value = match label.value().parse() {
            Ok(code) if name == "http.response.status_code" => any_value::Value::IntValue(code),
            _ => any_value::Value::StringValue(label.value().to_owned()),
        };
        let value = Some(AnyValue { value: Some(value) });
        Some(KeyValue { key: name.to_owned(), value, ..KeyValue::default() })
    });
    known.collect()
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;
    use crate::telemetry::families::HTTP_DURATION;

    #[test]
    fn a_histogram_keeps_its_counts_bounds_and_attributes() {
        let registry = Registry::new();
        let durations = HTTP_DURATION.histograms(&registry).expect("a family");
        let one = durations.with_label_values(&["GET", "", "200"]);
        [0.001, 0.006, 0.007, 1000.0].into_iter().for_each(|seconds| one.observe(seconds));
        let scope = scope(&registry.gather(), Window { since: 1, now: 2 });
        let metric = &scope.metrics[0];
        assert_eq!((metric.name.as_str(), metric.unit.as_str()), ("http.server.request.duration", "s"));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.start_time_unix_nano, point.time_unix_nano), (4, 1, 2));
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!((point.bucket_counts[0], point.bucket_counts[1]), (1, 2));
        assert_eq!(point.bucket_counts.last(), Some(&1));
        assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
        let attributes: Vec<_> = point.attributes.iter().map(|kv| (kv.key.as_str(), kv.value.clone())).collect();
        let value = |value| Some(AnyValue { value: Some(value) });
        let want = [
            ("http.request.method", value(any_value::Value::StringValue("GET".into()))),
            ("http.response.status_code", value(any_value::Value::IntValue(200))),
        ];
        assert_eq!(attributes, want, "no route is no attribute");
    }
}
