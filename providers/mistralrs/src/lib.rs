//! The local engine: models from disk, answered by mistral.rs in a process of its own.
//!
//! Two halves. The light one, always built, is the provider `mistralrs`: it starts `PROGRAM engine …`, watches it, starts it
//! again, and speaks to it like to any OpenAI-compatible server. The heavy one, behind the feature `engine`, is that
//! process. Invariant: the light half never links the engine, so a gateway without the feature compiles no candle.

mod config;
mod elsewhere;
mod own;
mod process;
mod provider;
mod supervisor;

#[cfg(feature = "engine")]
pub mod engine;

use std::sync::Arc;

use frontdesk_api::provider::{Build, ProviderDef, Setting};
use frontdesk_api::{Inference, Result};
use serde_json::Value;

pub use config::{Config, LoadWhen, ModelConfig};
pub use provider::Local;
pub use supervisor::{State, Status};

/// The provider types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "mistralrs",
    ogx_type: "inline::mistralrs",
    about: "models from disk (Hugging Face folders, GGUF files), run by the built-in engine in a process of its own",
    build: Build::Inference(build),
}];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Inference>> {
    let config = Config::read(config)?;
    match config.remote(&setting.id)? {
        Some(elsewhere) => Ok(Arc::new(elsewhere)),
        None => Ok(Arc::new(Local::new(setting, config)?)),
    }
}
