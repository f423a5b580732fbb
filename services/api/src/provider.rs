//! What a provider crate exports so that configuration can name it.
//!
//! A crate lists its types in `pub const PROVIDERS: &[ProviderDef]`; the gateway's wiring lists the
//! crates, one line each. An unknown type is an error that names the known ones, never a panic.

use std::{path::PathBuf, sync::Arc};

use serde_json::Value;

use crate::{Blobs, Clock, Ids, Inference, Result, Shield, tools::ToolProvider};

/// What a provider may use while it is built. Heavy set-up is lazy: building must be quick and offline.
#[derive(Clone)]
pub struct Setting {
    /// The `id` of the entry in the configuration; part of model ids (`id/model`).
    pub id: String,
    /// Where the provider may keep files of its own.
    pub data_dir: PathBuf,
    /// A short private folder for sockets; gone after a reboot.
    pub runtime_dir: PathBuf,
    /// The program to start worker processes from.
    pub program: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
}

/// How to build a provider from its `config:` block. The function deserialises with
/// `deny_unknown_fields`; an `Err` names the key at fault in `param` (`base_url`).
#[derive(Clone, Copy)]
pub enum Build {
    Inference(fn(&Setting, Value) -> Result<Arc<dyn Inference>>),
    Tools(fn(&Setting, Value) -> Result<Arc<dyn ToolProvider>>),
    Shield(fn(&Setting, Value) -> Result<Arc<dyn Shield>>),
    Blobs(fn(&Setting, Value) -> Result<Arc<dyn Blobs>>),
}

#[derive(Clone, Copy)]
pub struct ProviderDef {
    /// The `type:` in the configuration (`openai`).
    pub kind: &'static str,
    /// As OGX's clients know it (`remote::openai`).
    pub ogx_type: &'static str,
    /// One sentence for `doctor` and the docs.
    pub about: &'static str,
    pub build: Build,
}

/// Whether a provider can do its work now.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct Health {
    pub status: Status,
    /// For people: what is wrong and what to do about it, or what is running.
    pub message: Option<String>,
    /// Free-form facts (pid, restarts, queue depth).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub facts: Option<Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub enum Status {
    #[default]
    #[serde(rename = "OK")]
    Ok,
    /// Coming up; requests wait for it.
    Starting,
    Error,
    #[serde(rename = "Not Implemented")]
    Unknown,
}
