//! End to end: the built binary, met as its clients meet it. Runs once per database (tests/run.sh).
//!
//! One module per subject; each test starts its own Frontdesk and its own scripted upstream.

mod approvals;
mod attacked;
mod authoring;
mod bad_input;
mod batches;
mod collector;
mod compiled;
mod demo;
mod drain;
mod engine;
mod files;
mod hub;
mod knowledge;
mod lossless;
mod lost;
mod money;
mod openapi;
mod pull;
mod questions;
mod replay;
mod responses;
mod scripted;
mod shop;
mod stored;
mod telemetry;
mod tenants;
mod turn;
mod versions;
mod walk;
mod zoo;
