//! Tools out of OpenAPI documents (3.0 and 3.1, JSON or YAML) and pasted curl commands.
//!
//! At registration a document is read once: its operations become tools with schemas a model can read, and a plan of how
//! each call becomes a request, which is what is kept. A call fills the plan and goes out through the platform, which
//! knows the hosts and the secrets. Works on JSON values, because documents in the field break every typed model
//! somewhere. Invariants: an operation becomes a tool or is listed with the reason; references cost bounded room and
//! time however they are knotted; what a model writes stays inside the place the document gives it.

mod answer;
mod curl;
mod document;
mod import;
mod names;
mod parameters;
mod plan;
mod provider;
mod request;
mod schema;
mod security;
mod servers;
mod style;

pub use provider::{OpenapiTools, PROVIDERS};
