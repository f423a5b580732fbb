//! `/metrics`: the numbers of this process, for Prometheus.

pub mod show;
