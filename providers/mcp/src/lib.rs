//! Tools from servers that speak the Model Context Protocol: a tool group is one server.
//!
//! Spoken here by hand over the one egress client, since the protocol's crate brings its own way to servers and sessions of
//! its own. Revisions 2025-11-25, 2025-06-18 and 2025-03-26 by their handshake, and 2026-07-28, which has none.
//!
//! Invariants: a server that hangs, lies or dies is a result the model reads, never the end of a turn; a tool whose
//! description is not the one that was pinned is not called; what a server says of its own tools can make them more
//! careful and never less, unless the operator trusts it; a secret goes to the server it was registered with and comes
//! back in no result.

mod config;
mod ear;
mod endpoint;
mod http_server;
mod listing;
mod oauth;
mod pause;
mod peer;
mod progress;
mod provider;
mod question;
mod result;
mod rpc;
mod stdio;
mod task;
#[cfg(test)]
mod tests;

use frontdesk_api::{ProviderDef, provider::Build};

pub use provider::McpTools;

/// The types this crate offers to configurations.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "mcp",
    ogx_type: "remote::model-context-protocol",
    about: "Tools from MCP servers over streamable HTTP, and from commands that the configuration names.",
    build: Build::Tools(provider::build),
}];
