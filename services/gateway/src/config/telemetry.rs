//! The settings under `telemetry`: who may read the metrics, and where traces and metrics are sent.

use std::collections::BTreeMap;

use frontdesk_api::{Error, Result};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// A key for `/metrics` and nothing else, so that a scraper needs no admin key.
    pub metrics_key: Option<String>,
    /// Where an OpenTelemetry collector takes OTLP over HTTP: `http://host:4318`. None: nothing is sent.
    otlp_endpoint: Option<String>,
    /// Sent with every request to the collector.
    pub headers: BTreeMap<String, String>,
    /// Which part of the traces that begin here is sent, 0 to 1; a caller's decision comes first.
    pub sample_ratio: f64,
    pub service_name: String,
    /// Further attributes of this process.
    pub resource: BTreeMap<String, String>,
    /// How often metrics are sent, in seconds.
    pub metrics_interval_s: u64,
    /// Whether spans of model calls carry what was asked and answered.
    pub content: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsAccess {
    /// Whoever has `metrics_key`, or a key with the scope `admin`.
    #[default]
    Key,
    /// Everyone who reaches the port.
    Open,
    /// Nobody.
    Off,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            metrics: MetricsAccess::Key,
            metrics_key: None,
            otlp_endpoint: None,
            headers: BTreeMap::new(),
            sample_ratio: 1.0,
            service_name: "frontdesk".into(),
            resource: BTreeMap::new(),
            metrics_interval_s: 60,
            content: false,
        }
    }
}

impl Telemetry {
    /// The collector's address; None where nothing is sent.
    #[must_use]
    pub fn otlp_endpoint(&self) -> Option<&str> {
        self.otlp_endpoint.as_deref().filter(|url| !url.is_empty())
    }

    /// Rules that types cannot say.
    pub(super) fn check(&self) -> Result<()> {
        if let Some(url) = self.otlp_endpoint()
            && !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme))
        {
            let message = format!("'{url}' is no URL of a collector: write it as http://host:4318 (OTLP over HTTP)");
            return Err(Error::invalid("telemetry.otlp_endpoint", message));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            let message = format!("must be 0 to 1, found {}", self.sample_ratio);
            return Err(Error::invalid("telemetry.sample_ratio", message));
        }
        if !(1..=3600).contains(&self.metrics_interval_s) {
            let message = format!("must be 1 to 3600, found {}", self.metrics_interval_s);
            return Err(Error::invalid("telemetry.metrics_interval_s", message));
        }
        if self.metrics_key.as_ref().is_some_and(|key| key.len() < SHORTEST_KEY) {
            let message = format!("is too short to keep anyone out: take at least {SHORTEST_KEY} characters");
            return Err(Error::invalid("telemetry.metrics_key", message));
        }
        Ok(())
    }
}

/// Characters of the shortest key for `/metrics`.
const SHORTEST_KEY: usize = 16;

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn refused(yaml: &str) -> String {
        let error = parse(yaml, &|_| None).expect_err("must be refused");
        format!("{}: {}", error.param.unwrap_or_default(), error.message)
    }

    #[test]
    fn what_cannot_be_used_is_refused_with_its_key() {
        insta::assert_snapshot!(refused("telemetry: { otlp_endpoint: 'collector:4317' }"), @"telemetry.otlp_endpoint: 'collector:4317' is no URL of a collector: write it as http://host:4318 (OTLP over HTTP)");
        insta::assert_snapshot!(refused("telemetry: { sample_ratio: 2 }"), @"telemetry.sample_ratio: must be 0 to 1, found 2");
        insta::assert_snapshot!(refused("telemetry: { metrics_interval_s: 0 }"), @"telemetry.metrics_interval_s: must be 1 to 3600, found 0");
        insta::assert_snapshot!(refused("telemetry: { metrics_key: short }"), @"telemetry.metrics_key: is too short to keep anyone out: take at least 16 characters");
        insta::assert_snapshot!(refused("telemetry: { metrics: public }"), @"telemetry.metrics: unknown value 'public' (allowed: key, open, off)");
    }

    #[test]
    fn nothing_is_sent_unless_an_address_is_given() {
        for yaml in ["", "telemetry: { otlp_endpoint: '' }"] {
            assert_eq!(parse(yaml, &|_| None).expect("good").telemetry.otlp_endpoint(), None);
        }
    }
}
