//! Sentence models from disk, in the gateway's own process: texts to vectors, and documents in order of a query.
//!
//! `folder.rs` reads what a model is, `candle/` computes it, `pool.rs` has the threads it computes on, `provider.rs`
//! turns requests into batches. Invariants: nothing is ever downloaded; nothing is computed on the thread that serves a
//! request; a panic in the computing costs its request only.

mod batch;
#[cfg(feature = "candle")]
mod candle;
mod config;
mod encoder;
mod folder;
mod pool;
mod provider;
#[cfg(test)]
mod tests;

pub use config::{Config, ModelConfig};
pub use encoder::{Ask, Encoder, Load, Tokens};
pub use folder::{Activation, Architecture, Family, Folder, Pooling, Task};
pub use provider::Local;

/// The provider types of this crate.
#[cfg(feature = "candle")]
pub const PROVIDERS: &[frontdesk_api::ProviderDef] = &[frontdesk_api::ProviderDef {
    kind: "embeddings",
    ogx_type: "inline::sentence-transformers",
    about: "sentence models and cross-encoders of the BERT family from disk: embeddings and reranking without a server",
    build: frontdesk_api::provider::Build::Inference(build),
}];

#[cfg(feature = "candle")]
fn build(
    setting: &frontdesk_api::provider::Setting,
    config: serde_json::Value,
) -> frontdesk_api::Result<std::sync::Arc<dyn frontdesk_api::Inference>> {
    Ok(std::sync::Arc::new(Local::new(&setting.id, Config::read(config)?, candle::load)?))
}
