//! The tool registry: which tools a tenant has, what they may do, and the way to call one.
//!
//! A tool group is registered once: its provider looks into it, the operator's overrides (effect, risk,
//! bound arguments) are applied, and what came out is pinned in rows. From then on a call goes through one
//! gate: find the tool, check what the model wrote against the schema, fill the arguments that belong to
//! the server, call the provider.
//!
//! Invariants: an argument bound to the customer is never taken from the model; bad arguments, unknown
//! tools and failing tools are results the model reads; a provider never sees another tenant or group.

mod arguments;
mod builtin;
mod changes;
mod fetch;
mod group;
mod host;
mod register;
mod registration;
mod registry;
mod restore;
mod sealing;
mod servers;
mod signing;
mod strike;

pub use fetch::Policy;
pub use frontdesk_store::tools::StoredToolgroupChange as Change;
pub use group::{Authorization, Group, Trust};
pub use host::KvLimits;
pub use register::Preview;
pub use registration::{Bound, Override, Registration};
pub use registry::{ComponentBytes, Registry, Setting};
pub use signing::{ATTEMPT, Landed, Visit};

#[cfg(test)]
mod tests;
