//! Shields that decide by rules: secrets, card numbers, accounts, addresses, topics.
//!
//! It exists so that the plainest promises (no card number is stored, no forbidden topic is answered) do
//! not depend on a model. Invariants: every span lies on character boundaries; what a redaction puts in
//! place is never found again; no text of any script makes it fail.

mod account;
mod card;
mod config;
mod email;
mod finding;
mod rules;
mod secret;
mod topic;
mod words;

use std::sync::Arc;

use frontdesk_api::{
    Error, ProviderDef, Result, Shield,
    provider::{Build, Setting},
};
use serde_json::Value;

pub use config::{Config, Topic, TopicAction, Treatment};
pub use rules::Rules;

/// The types of this crate.
pub const PROVIDERS: &[ProviderDef] = &[ProviderDef {
    kind: "rules",
    ogx_type: "inline::rules",
    about: "finds secrets, card numbers, bank accounts, e-mail addresses and forbidden topics by rules",
    build: Build::Shield(build),
}];

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn Shield>> {
    // An entry without a `config:` block takes every default.
    let config = if config.is_null() { Value::Object(serde_json::Map::new()) } else { config };
    let config: Config = serde_path_to_error::deserialize(config).map_err(|e| {
        let path = e.path().to_string();
        let path = if path == "." { "config".to_owned() } else { path };
        Error::invalid(path.clone(), format!("shield '{}': {path}: {}", setting.id, e.inner()))
    })?;
    Ok(Arc::new(Rules::new(config)?))
}
