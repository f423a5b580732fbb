//! `frontdesk models`: what can be asked for, and fetching more of it.
//!
//! Invariant: nothing is fetched but by `pull`, when it is typed; `list` asks the server of this machine and no other.

mod choose;
mod digest;
mod fetch;
mod found;
mod hub;
mod list;
mod local;
mod plan;
mod progress;
mod pull;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use frontdesk_api::Result;

pub use hub::{Got, Web};

pub(super) use local::configured;

#[derive(Args)]
pub(super) struct Models {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the models that can be asked for, and those on disk that are not configured
    List(list::List),
    /// Fetch a model from a hub, or a .gguf file from a URL
    Pull(pull::Pull),
}

impl Models {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::List(list) => list.run().await,
            Verb::Pull(pull) => pull.run().await,
        }
    }
}
