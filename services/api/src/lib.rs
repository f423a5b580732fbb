//! The walls of the house: provider traits and domain types.
//!
//! Every room depends on this crate and on nothing sideways: services meet each other and their
//! providers as `Arc<dyn …>` of the traits here. Invariant: no I/O lives here (no runtime, no HTTP,
//! no SQL), so that any room can be tested against a few lines of code.

pub mod agent;
pub mod approval;
mod asked;
pub mod attempt;
pub mod attributes;
pub mod blobs;
pub mod chat;
pub mod client_keys;
pub mod clock;
pub mod code;
pub mod customer;
pub mod cx;
pub mod dispatch;
pub mod egress;
pub mod embed;
pub mod error;
pub mod filter;
pub mod id;
pub mod inference;
pub mod memory;
pub mod news;
pub mod page;
pub mod provider;
pub mod question;
pub mod replay;
pub mod rerank;
pub mod reuse;
pub mod safety;
mod seal;
pub mod secret;
pub mod servers;
pub mod sign_in;
pub mod tools;
pub mod turn;
pub mod web;

pub use attempt::{Attempt, Effort};
pub use blobs::{Blobs, Contents};
pub use chat::{ChatEvent, ChatReply, ChatRequest, Frame};
pub use clock::{Clock, Micros};
pub use cx::{Cx, Principal, Scope};
pub use dispatch::Dispatch;
pub use egress::Egress;
pub use error::{Error, Kind, Result};
pub use id::Ids;
pub use inference::Inference;
pub use memory::{Index, Memory};
pub use news::News;
pub use page::{Order, Page, PageRequest};
pub use provider::ProviderDef;
pub use safety::{Safety, Shield};
pub use seal::Seal;
pub use secret::Secrets;
pub use sign_in::SignIn;
pub use tools::Tools;
