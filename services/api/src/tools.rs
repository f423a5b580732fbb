//! Tools: what an agent may do besides talking.
//!
//! `Tools` is what agents see; a `ToolProvider` knows how to look into and call one kind of tool
//! (wasm component, MCP server, OpenAPI document). Invariants: client and upstream-hosted tools never
//! reach a provider; bad arguments and failures are results the model reads, `Err` is infrastructure only.

use std::{collections::BTreeMap, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Cx, Error, Kind, Result, SignIn, chat::ToolCall, code, egress::OutboundAnswer, question::Question, servers::Server,
};

/// The tools of a tenant, over all providers.
#[async_trait]
pub trait Tools: Send + Sync {
    /// The tools of the named groups, in a stable order (prompt caches depend on it).
    ///
    /// # Errors
    /// `NotFound` naming the group.
    async fn list(&self, cx: &Cx, groups: &[String]) -> Result<Vec<ToolDef>>;

    /// Calls a tool out of `groups`. An unknown tool, bad arguments or a failing tool are an outcome with `is_error`, and
    /// so is one of the risk `approval_required` unless the call is `approved`: by a person, or by its agent's rules.
    ///
    /// # Errors
    /// Infrastructure only (`Internal`, `Unavailable`, `Cancelled`).
    async fn call(
        &self,
        cx: &Cx,
        groups: &[String],
        call: &ToolCall,
        idempotency_key: &str,
        approved: bool,
    ) -> Result<Outcome>;

    /// The tools of a server that a request names itself, those that the request allows. That the effect of one is none is
    /// the server's word, which the request's filters go by ([`Server::asks`]) and nothing else.
    ///
    /// # Errors
    /// What is wrong with the server or with what it says, in words for whoever named it.
    async fn list_server(&self, _: &Cx, server: &Server) -> Result<Vec<ToolDef>> {
        Err(no_servers(server))
    }

    /// Calls a tool that [`Tools::list_server`] found, as it was found; whoever has to approve it has.
    ///
    /// # Errors
    /// As [`Tools::call`].
    async fn call_server(
        &self,
        _: &Cx,
        server: &Server,
        _tool: &ToolDef,
        _call: &ToolCall,
        _idempotency_key: &str,
    ) -> Result<Outcome> {
        Err(no_servers(server))
    }

    /// Lets go of what was opened for the server in this turn.
    fn leave_server(&self, _: &Cx, _: &Server) {}

    /// Lets go of what is kept in this process for the tenant's conversations whose [`crate::cx::Workspace`] had one of
    /// these ids: they were deleted.
    fn forget_conversations(&self, _: &Cx, _workspaces: &[String]) {}
}

fn no_servers(server: &Server) -> Error {
    Error::unavailable(format!("'{}' cannot be asked: servers of requests are not asked here", server.label))
}

/// One kind of tool. Stateless towards tenants: what is registered is handed in with every call.
#[async_trait]
pub trait ToolProvider: Send + Sync {
    /// Looks into what is being registered: which tools it offers, which powers it asks for.
    ///
    /// # Errors
    /// `Invalid` saying what is wrong with it, `TooLarge` naming the limit.
    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected>;

    /// What has to be read before [`ToolProvider::inspect`]; it is handed in as the source's `body`.
    ///
    /// # Errors
    /// `Invalid` where `args` name several things, or none that is needed.
    fn reads(&self, args: &Value) -> Result<Option<Reads>> {
        Ok(args.get("component").and_then(Value::as_str).map(|id| Reads::File(id.to_owned())))
    }

    /// The group that every tenant has of it without registering one (`builtin::code_interpreter`).
    fn builtin(&self) -> Option<&'static str> {
        None
    }

    /// Whether what the group of [`ToolProvider::builtin`] answers are strangers' words: pages of the web, say.
    fn is_third_party(&self) -> bool {
        false
    }

    /// The members of a registration's `args` that hold secrets: they are kept sealed and shown to nobody.
    fn secret_args(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether the source's server stands where only the operator may send anyone.
    ///
    /// # Errors
    /// As [`ToolProvider::inspect`], without asking anyone.
    fn is_inside(&self, _: &Cx, _: &ToolSource) -> Result<bool> {
        Ok(false)
    }

    /// Whether the source does one thing at a time: its tools' calls run beside no other of their turn, whatever was
    /// pinned of them ([`ToolDef::alone`]).
    fn one_at_a_time(&self, _: &ToolSource) -> bool {
        false
    }

    /// Whether it asks servers that requests name themselves: the operator says so.
    fn asks_named(&self) -> bool {
        false
    }

    /// Lets go of what is kept open to the source for the turn or conversation of `cx`.
    fn leave(&self, _: &Cx, _: &ToolSource) {}

    /// Lets go of what is kept for the source's calls: it was registered anew, switched off or deleted.
    fn retire(&self, _: &Cx, _: &ToolSource) {}

    /// As [`Tools::forget_conversations`].
    fn forget_conversations(&self, _: &Cx, _workspaces: &[String]) {}

    /// How it signs in at servers that ask for OAuth; None: it never does.
    fn sign_in(&self) -> Option<&dyn SignIn> {
        None
    }

    /// Calls a tool by its name inside the source (`ToolDef::wire_name`).
    async fn call(&self, cx: &Cx, source: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome>;
}

/// What a tool group is made of.
#[derive(Debug, Clone, Default)]
pub struct ToolSource {
    pub toolgroup: String,
    /// The registration's `args`, without those that hold secrets.
    pub args: Value,
    /// Those that do (`ToolProvider::secret_args`).
    pub secrets: SecretArgs,
    /// What it is let in with at a server that asks for OAuth ([`crate::sign_in::Signed`]); None: nobody signed in.
    pub signed: Option<SecretArgs>,
    /// What was pinned at registration: hashes by the tools' names inside the source. Empty while it is looked into.
    pub pinned: BTreeMap<String, String>,
    /// [`Inspected::hash`] as it was at registration. Empty while it is looked into.
    pub hash: String,
    /// Another one with every change of the registration. Empty while it is looked into.
    pub revision: String,
    /// The component's bytes, where the provider runs code; what the provider kept ([`Inspected::kept`]), where it did.
    pub body: Option<Bytes>,
    /// Powers the operator granted, by capability name (`kv`, `log`).
    pub grants: Vec<String>,
}

/// Where what a group is made from lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reads {
    /// A file of the tenant's, by its id.
    File(String),
    /// An address, read once at registration through [`crate::Egress`].
    Url(String),
}

/// Members of a registration that are shown to nobody.
#[derive(Clone, Default, PartialEq)]
pub struct SecretArgs(pub Map<String, Value>);

impl fmt::Debug for SecretArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretArgs({})", self.0.len())
    }
}

/// What `inspect` found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inspected {
    pub tools: Vec<ToolDef>,
    /// Powers asked for (`kv`, `log`, …).
    pub requests: Vec<String>,
    /// Hash of what was inspected; a change means a new registration.
    pub hash: String,
    /// What is handed in as `body` with every later call, in place of what the group was made from.
    pub kept: Option<Bytes>,
    /// The args as they are stored, where that is not as they were given.
    pub args: Option<Value>,
    /// For people, shown by a dry run: which hosts and secrets the tools ask for, what was left out and why.
    pub report: Value,
}

/// The platform's services for a running tool, already confined to one tenant and tool group.
#[async_trait]
pub trait ToolHost: Send + Sync {
    async fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>>;
    async fn kv_set(&self, key: &str, value: Vec<u8>) -> Result<()>;

    /// Sends a request to one of the group's hosts, with secrets of the group's written into it. Whatever a secret is,
    /// it is struck out of the answer.
    ///
    /// # Errors
    /// `Invalid` and `Forbidden` for what may not be sent or not there, `TooLarge`, `Timeout`, `Upstream`; others are
    /// infrastructure.
    async fn fetch(&self, request: FetchRequest) -> Result<OutboundAnswer> {
        Err(Error::new(Kind::Forbidden, format!("nothing may be sent from here, not to '{}' either", request.url)))
    }

    /// Name and bytes of a file that the tenant uploaded. For tools of the platform's own: no guest can ask for it.
    async fn file(&self, id: &str) -> Result<(String, Bytes)> {
        Err(Error::not_found(format!("no file has the id '{id}'")))
    }

    /// What lies in the working folder of the conversation's code, the oldest first: what clients gave it, and of what it
    /// wrote what was kept, but for what an earlier attempt of `run` wrote. Each is read by [`ToolHost::file`]. For tools of
    /// the platform's own.
    ///
    /// # Errors
    /// Infrastructure only.
    async fn files(&self, _run: &str) -> Result<Vec<code::File>> {
        Ok(vec![])
    }

    /// Keeps what code wrote in the conversation's container; None: the call is part of no conversation. `run`: the key
    /// by which the call is repeated; what an earlier attempt under it wrote goes. For tools of the platform's own, as
    /// [`ToolHost::file`].
    ///
    /// # Errors
    /// Infrastructure only; what a file is not kept for is told beside it.
    async fn keep_written(
        &self,
        _run: &str,
        _files: Vec<code::Written>,
        _bounds: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        Ok(None)
    }
}

/// A request that a tool asks the platform to send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchRequest {
    /// In capitals.
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub credentials: Vec<Credential>,
    pub body: Bytes,
}

/// A secret that the platform writes into a request; who asks for it knows its name alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The name of the tenant's secret.
    pub secret: String,
    pub place: CredentialPlace,
    /// Of the header, the query's parameter or the cookie.
    pub name: String,
    /// Before the secret (`Bearer `).
    #[serde(default)]
    pub prefix: String,
    /// The secret in base64, as HTTP Basic wants `user:password`.
    #[serde(default)]
    pub base64: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialPlace {
    Header,
    Query,
    Cookie,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolDef {
    /// What the model and people call it; unique within an agent.
    pub name: String,
    /// The name inside its source.
    pub wire_name: String,
    pub toolgroup: String,
    pub description: String,
    /// JSON Schema of the arguments object.
    pub schema: Value,
    #[serde(default)]
    pub runs: Runs,
    #[serde(default)]
    pub effect: Effect,
    #[serde(default)]
    pub risk: Risk,
    /// Arguments filled by the server: name → path (`customer.sub`). The model never sees them.
    #[serde(default)]
    pub bound_args: BTreeMap<String, String>,
    /// Its calls run beside no other call of their turn, though they have no effect: it keeps something of one for the
    /// next, or does one thing at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alone: bool,
    /// Hash of description and schema, pinned at registration.
    pub hash: String,
}

/// Where a tool runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    #[default]
    Server,
    Client,
    Upstream,
}

/// What a repeated call does to the world.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Reads only.
    None,
    /// Same key, same result.
    Idempotent,
    /// A second call is a second effect.
    #[default]
    Unsafe,
}

/// How much a call can hurt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    Read,
    #[default]
    LowImpactWrite,
    ApprovalRequired,
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Done(ToolResult),
    /// A person must answer something first; only where one can be asked ([`Cx::asking`]). The call is made again then,
    /// with the answers.
    NeedsInput(InputRequest),
}

/// Most bytes of the result that a client gives for a call of its own tool: 10 MiB, far more than any model reads.
pub const MOST_GIVEN: usize = 10_485_760;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolResult {
    /// Text the model reads; JSON where the tool speaks JSON.
    pub content: String,
    pub is_error: bool,
    /// For people and logs: which limit fired, log lines, CPU µs. Never shown to the model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
}

/// The code of a tool's error where the call may have done its work.
pub const OUTCOME_UNKNOWN: &str = "outcome_unknown";

impl ToolResult {
    /// A failure the model reads as `{"error": message}`.
    #[must_use]
    pub fn error(message: &str) -> Self {
        Self { content: serde_json::json!({ "error": message }).to_string(), is_error: true, details: None }
    }

    /// A failure of which nobody knows whether the work was done: `{"error": message, "outcome": "unknown"}`.
    #[must_use]
    pub fn unsure(message: &str) -> Self {
        let content = serde_json::json!({ "error": message, "outcome": "unknown" }).to_string();
        Self { content, ..Self::error(message) }
    }

    /// Whether the content of a failure says that nobody knows whether the work was done; a tool may say so itself.
    #[must_use]
    pub fn says_unsure(content: &str) -> bool {
        serde_json::from_str::<Value>(content).is_ok_and(|content| content["outcome"] == "unknown")
    }
}

/// What a tool asks in the middle of a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct InputRequest {
    /// By the names that the tool gave them; never empty.
    pub questions: Vec<(String, Question)>,
    /// What the tool wants back with the answers, as it is.
    pub state: Option<String>,
}

impl InputRequest {
    /// All that people would read of it.
    #[must_use]
    pub fn words(&self) -> String {
        let asked = self.questions.iter().map(|(_, question)| question.words());
        asked.collect::<Vec<_>>().join("; ")
    }

    /// Bytes of it, written as JSON.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let written = |question| serde_json::to_string(question).map_or(usize::MAX, |text| text.len());
        let asked = self.questions.iter().map(|(key, question)| key.len().saturating_add(written(question)));
        asked.fold(self.state.as_ref().map_or(0, String::len), usize::saturating_add)
    }
}
