//! The product: command line, configuration, wiring, and every HTTP route.
//!
//! This is the one room that sees all others. Invariants: only it reads configuration and environment
//! (`config.rs`, `main.rs`); providers are named only in `wiring.rs`; responses to failed requests are
//! rendered only in `problem.rs`; handlers decide nothing a service should decide.

mod access;
pub mod app;
pub mod auth;
pub mod cli;
pub mod config;
mod fields;
pub mod http;
pub mod lanes;
pub mod lines;
pub mod problem;
mod provider_data;
pub mod server;
pub mod stored;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod wiring;

/// The optional parts that this build has.
#[must_use]
pub fn features() -> Vec<&'static str> {
    let mut features = vec![];
    if cfg!(feature = "wasm") {
        features.push("wasm");
    }
    if cfg!(feature = "mistralrs") {
        features.push("mistralrs");
    }
    if cfg!(feature = "embeddings") {
        features.push("embeddings");
    }
    features
}
