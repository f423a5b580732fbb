//! Tools as WebAssembly components, in a sandbox where nothing is ambient.
//!
//! A component exports one interface, `frontdesk:tool/tools` (see `wit/`), and imports the powers it
//! asks for; it gets those that were granted and can name no other. Each call runs in a fresh instance, or in its
//! conversation's where that was granted, under limits of time, memory, stack, output and host calls, and whatever stops it
//! is named with its figure.
//!
//! [`Sandbox`] is the library; [`provider`] puts it behind Frontdesk's tool provider.

mod admission;
pub mod authoring;
mod call;
mod capability;
mod code;
pub mod compile;
mod component;
mod components;
mod described;
mod engine;
mod fault;
mod fetch;
mod host;
pub mod interpreter;
mod limits;
mod log;
mod meter;
mod parked;
pub mod provider;
mod sandbox;
mod turns;
pub mod wasi;

pub use call::{Call, Output, Spent};
pub use capability::{Capabilities, Capability};
pub use code::{Compiling, Kept, MOST};
pub use component::Component;
pub use described::{Described, Keep};
pub use fault::Fault;
pub use host::{HostGrants, OsRandom, Random};
pub use limits::{Exceeded, Limit, Limits};
pub use log::{LogLevel, LogLine};
pub use parked::{Bounds, Owner, Place};
pub use provider::PROVIDERS;
pub use sandbox::{Asked, Registered, Sandbox};
pub use wasi::Wasi;
