//! The operator's one YAML file, typed.
//!
//! Everything an operator can set is here with its default; `docker/frontdesk.yaml` comments every key
//! and is what runs when no file is given. Invariant: only this module and `main` read the environment,
//! and an unknown key or a value of the wrong kind stops the start with the path of the key.

mod egress;
mod hub;
mod plain;
mod public_url;
mod read;
mod substitute;
mod suggest;
mod telemetry;

use std::{path::PathBuf, time::Duration};

use frontdesk_api::{Error, Result, safety::Stage};
use frontdesk_inference::Route;
use frontdesk_ledger::Override;
use frontdesk_safety::OnError;
use serde::Deserialize;
use serde_json::Value;

pub use egress::Egress;
pub use hub::Hub;
pub use plain::plain;
pub use public_url::PublicUrl;
pub use read::{Environment, environment, load, parse, typed, yaml};
pub use suggest::nearest;
pub use telemetry::{MetricsAccess, Telemetry};

/// The commented default configuration, as `frontdesk init` writes it.
pub const DEFAULT_FILE: &str = include_str!("../../../docker/frontdesk.yaml");

/// What the file says, with defaults filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `host:port`; port 0 takes a free one.
    pub listen: String,
    /// How people's browsers and clients of MCP reach this server; None: only browsers on this machine do.
    pub public_url: Option<PublicUrl>,
    /// SQLite, files, local models, the lock of a running server.
    pub data_dir: PathBuf,
    /// A Postgres URL; empty: SQLite under `data_dir`.
    pub database_url: Option<String>,
    /// Where `frontdesk models pull` puts models; None: `models` under `data_dir`.
    pub models_dir: Option<PathBuf>,
    pub role: Role,
    pub hub: Hub,
    pub egress: Egress,
    pub providers: Providers,
    /// Aliases, routes and fallbacks.
    pub models: Vec<Route>,
    /// What models cost, before the vendors' list prices.
    pub prices: Vec<Override>,
    pub turns: Turns,
    pub batches: Batches,
    pub stored_completions: StoredCompletions,
    pub mcp: Mcp,
    pub limits: Limits,
    pub log: Log,
    pub telemetry: Telemetry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8321".into(),
            public_url: None,
            data_dir: "./data".into(),
            database_url: None,
            models_dir: None,
            role: Role::All,
            hub: Hub::default(),
            egress: Egress::default(),
            providers: Providers::default(),
            models: vec![],
            prices: vec![],
            turns: Turns::default(),
            batches: Batches::default(),
            stored_completions: StoredCompletions::default(),
            mcp: Mcp::default(),
            limits: Limits::default(),
            log: Log::default(),
            telemetry: Telemetry::default(),
        }
    }
}

impl Config {
    /// Whether the role can be played.
    ///
    /// # Errors
    /// `Invalid`: a part of the work on SQLite, whose file one process has to itself.
    pub fn check_role(&self) -> Result<()> {
        if self.role == Role::All || self.database_url.as_ref().is_some_and(|url| !url.is_empty()) {
            return Ok(());
        }
        let role = if self.role == Role::Gateway { "gateway" } else { "worker" };
        let message = format!(
            "role '{role}' shares the work with other processes, and that needs Postgres: set database_url, or leave the \
             role at 'all' (SQLite's file belongs to one process)"
        );
        Err(Error::invalid("role", message))
    }

    /// The folder of local models.
    #[must_use]
    pub fn models_dir(&self) -> PathBuf {
        self.models_dir.clone().unwrap_or_else(|| self.data_dir.join("models"))
    }
}

/// What this process does of an installation's work; several share one Postgres.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Answers requests and works.
    #[default]
    All,
    /// Answers requests; turns and batches are worked on elsewhere.
    Gateway,
    /// Works on turns and batches; answers only whether it is well.
    Worker,
}

/// Providers by what they do. A list that is left out holds the built-in ones.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Providers {
    pub inference: Vec<ProviderEntry>,
    pub tools: Vec<ProviderEntry>,
    pub memory: Vec<ProviderEntry>,
    /// Where contents of files are: the first takes what is new. Empty: in the database.
    pub files: Vec<ProviderEntry>,
    pub safety: Vec<ShieldEntry>,
}

impl Default for Providers {
    fn default() -> Self {
        let built_in = |id: &str, kind: &str| ProviderEntry { id: id.into(), kind: kind.into(), config: Value::Null };
        let sandboxed = ["wasm", "code_interpreter"].map(|kind| built_in(kind, kind));
        let mut tools: Vec<ProviderEntry> = if cfg!(feature = "wasm") { sandboxed.into() } else { vec![] };
        tools.push(built_in("openapi", "openapi"));
        // Llama Stack's name for it.
        tools.push(built_in("model-context-protocol", "mcp"));
        Self {
            inference: vec![],
            tools,
            memory: vec![built_in("vectors", "vectors")],
            files: vec![],
            safety: vec![ShieldEntry {
                id: "rules".into(),
                kind: "rules".into(),
                config: Value::Null,
                stages: None,
                on_error: OnError::Block,
            }],
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderEntry {
    /// The operator's name for it; the first part of model ids.
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Read by the provider itself.
    #[serde(default)]
    pub config: Value,
}

/// A shield; its id is what agents name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShieldEntry {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// Read by the shield itself.
    #[serde(default)]
    pub config: Value,
    /// Narrows where it works; None: wherever the shield itself guards.
    #[serde(default)]
    pub stages: Option<Vec<Stage>>,
    /// What it means when the shield cannot answer.
    #[serde(default)]
    pub on_error: OnError,
}

/// What is answered at `/mcp`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mcp {
    /// Origins of pages that may ask from a browser (`https://tools.example`), beside those of this machine.
    pub origins: Vec<String>,
    /// Tool groups whose tools are offered beside the agents, by id; none where left out.
    pub tools: Vec<String>,
}

/// How agents' turns are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Turns {
    /// How long a turn may go without a sign of its worker before another goes on with it, in seconds.
    pub lease_s: u64,
    /// Turns that this process works on at once; further ones stand in line.
    pub at_once: usize,
    /// Turns of one tenant that may stand in line before a new one is answered with 429.
    pub in_line_of_tenant: u32,
    /// Turns of all tenants that may stand in line before a new one is answered with 503.
    pub in_line: u32,
    /// How often a turn is begun without a step of it ending before it is given up as a dead letter.
    pub attempts: u32,
    /// How long a turn may wait for the results of client tools, in hours.
    pub input_wait_h: u64,
    /// How long a person may take to answer what a tool asks while its call stays open, in seconds.
    pub question_wait_s: u64,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            lease_s: 30,
            at_once: 256,
            in_line_of_tenant: 1_000,
            in_line: 10_000,
            attempts: 5,
            input_wait_h: 168,
            question_wait_s: 600,
        }
    }
}

/// How batches are worked on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batches {
    /// Lines that this process asks at once, of all batches together.
    pub lines_at_once: usize,
    /// How long a batch may go without a sign of its process before another goes on with it, in seconds.
    pub lease_s: u64,
    /// How long results of Anthropic's message batches are kept from a batch's creation, in days; 0: until it is
    /// deleted. Anthropic keeps them for 29.
    pub keep_results_days: u64,
}

impl Default for Batches {
    fn default() -> Self {
        Self { lines_at_once: 4, lease_s: 30, keep_results_days: 29 }
    }
}

impl Batches {
    /// How long results are kept; None: until they are deleted.
    #[must_use]
    pub fn keep_results(&self) -> Option<Duration> {
        days(self.keep_results_days)
    }
}

/// Chat completions that clients want kept (`store: true`).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StoredCompletions {
    /// How long one is kept, in days; 0: until it is deleted. OpenAI keeps them for 30.
    pub keep_days: u64,
    /// Memory for those under way and those that wait to be written, of all tenants together, in MiB.
    pub memory_mb: usize,
}

impl Default for StoredCompletions {
    fn default() -> Self {
        Self { keep_days: 30, memory_mb: 128 }
    }
}

impl StoredCompletions {
    /// How long one is kept; None: until it is deleted.
    #[must_use]
    pub fn keep(&self) -> Option<Duration> {
        days(self.keep_days)
    }
}

/// None: for ever.
fn days(days: u64) -> Option<Duration> {
    (days > 0).then(|| Duration::from_secs(days.saturating_mul(24 * 60 * 60)))
}

/// Hard limits of the server itself.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Largest JSON request body, in MiB.
    pub max_body_mb: usize,
    /// Largest uploaded file, in MiB.
    pub max_upload_mb: usize,
    /// Memory for all uploads under way and for files that requests name, in MiB; one that goes into the database takes up
    /// to twice its size, one that goes elsewhere at most 16 MiB, one that is named three times; further ones wait.
    pub upload_memory_mb: usize,
    /// Memory for all request bodies over 64 KiB, in MiB, each by its size, from its first byte until its answer begins;
    /// further ones wait.
    pub body_memory_mb: usize,
    /// How long an upload or a large body may wait for its memory before it is answered with 503, in seconds.
    pub upload_wait_s: u64,
    /// Connections served at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long a client may take to send its request head, in seconds.
    pub header_timeout_s: u64,
    /// How long a client may take to send its request body, in seconds.
    pub body_timeout_s: u64,
    /// How long requests in flight may go on after SIGTERM, in seconds.
    pub drain_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_mb: 32,
            max_upload_mb: 64,
            upload_memory_mb: 512,
            body_memory_mb: 256,
            upload_wait_s: 10,
            max_connections: 10_000,
            header_timeout_s: 30,
            body_timeout_s: 120,
            drain_s: 30,
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub format: LogFormat,
    pub level: LogLevel,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line for people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
