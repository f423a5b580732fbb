//! What this server offers, for programs.

pub mod routes;
