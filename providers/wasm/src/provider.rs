//! The sandbox behind Frontdesk's tool provider: a tool group is one component.
//!
//! The registry hands the component's bytes in with every call; this room remembers the ones called last,
//! compiled, so that a call costs microseconds. Invariants: what the component or the model did wrong is a
//! result the model reads; an `Err` is something an operator has to mend; whatever a call waits for, it ends with its
//! caller's deadline and cancellation, and none waits for its component longer than its wall time.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use frontdesk_api::{
    Clock, Cx, Error, Kind, ProviderDef, Result,
    chat::ToolCall,
    provider::{Build, Setting},
    tools::{Inspected, Outcome, Runs, ToolDef, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    Asked, Bounds, Call, Capability, Compiling, Component, Fault, HostGrants, Keep, Kept, Limit, Limits, MOST,
    OsRandom, Place, Registered, Sandbox, Wasi, components::Components, interpreter,
};

/// The types this crate offers to configurations.
pub const PROVIDERS: &[ProviderDef] = &[
    ProviderDef {
        kind: "wasm",
        ogx_type: "inline::wasm",
        about: "Tools as WebAssembly components in a sandbox: nothing ambient, every limit named.",
        build: Build::Tools(build),
    },
    ProviderDef {
        kind: "code_interpreter",
        ogx_type: "inline::code-interpreter",
        about: "Python and JavaScript that a model writes, run in the sandbox, kept for the conversation.",
        build: Build::Tools(interpreter::build),
    },
];

/// Folder of compiled components, below the installation's own.
const CODE: &str = "compiled-tools";

/// The `config:` block. Every key has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Processor time of a call, 1 ms to 60 s.
    cpu_ms: Option<u64>,
    /// Time on the wall of a call, 1 ms to 10 min.
    wall_ms: Option<u64>,
    /// Linear memory of a call, 1 to 4096 MiB.
    memory_mib: Option<usize>,
    /// Size of a result, 1 to 1024 KiB.
    output_kib: Option<usize>,
    /// Host calls (log lines, reads and writes of its data) of a call, up to 1 000 000.
    host_calls: Option<u32>,
    /// Requests to other servers of a call, up to 1000.
    requests: Option<u32>,
    /// Calls that run at the same time, 1 to 1000.
    concurrent: Option<u32>,
    /// Conversations' tools whose instance is kept, 1 to 4000.
    kept: Option<usize>,
    /// Memory of all that are kept, 16 MiB to 1 TiB.
    kept_mib: Option<usize>,
    /// How long one that is not used is kept, 1 s to a day.
    kept_s: Option<u64>,
    /// Processor time of the child that compiles a component, 1 to 3600 s.
    compile_s: Option<u64>,
    /// Address space of that child, 64 to 16384 MiB.
    compile_mib: Option<usize>,
    /// Machine code kept on disk, 64 MiB to 1 TiB; default 2048.
    compiled_mib: Option<u64>,
}

impl Config {
    fn limits(&self) -> Result<Limits> {
        let d = Limits::default();
        Ok(Limits {
            cpu: within("cpu_ms", self.cpu_ms, 1, 60_000)?.map_or(d.cpu, Duration::from_millis),
            wall: within("wall_ms", self.wall_ms, 1, 600_000)?.map_or(d.wall, Duration::from_millis),
            memory: within("memory_mib", self.memory_mib, 1, 4096)?.map_or(d.memory, |n| n << 20),
            output: within("output_kib", self.output_kib, 1, 1024)?.map_or(d.output, |n| n << 10),
            host_calls: within("host_calls", self.host_calls, 0, 1_000_000)?.unwrap_or(d.host_calls),
            requests: within("requests", self.requests, 0, 1_000)?.unwrap_or(d.requests),
            concurrent: within("concurrent", self.concurrent, 1, 1000)?.unwrap_or(d.concurrent),
            compile_cpu: within("compile_s", self.compile_s, 1, 3600)?.map_or(d.compile_cpu, Duration::from_secs),
            compile_space: within("compile_mib", self.compile_mib, 64, 16_384)?.map_or(d.compile_space, |n| n << 20),
            ..d
        })
    }
}

pub(crate) fn within<T: PartialOrd + std::fmt::Display>(
    key: &str,
    value: Option<T>,
    least: T,
    most: T,
) -> Result<Option<T>> {
    match value {
        Some(value) if value < least || value > most => {
            Err(Error::invalid(key, format!("{key} is {value}, which is not between {least} and {most}")))
        }
        value => Ok(value),
    }
}

pub(crate) fn bounds(kept: Option<usize>, kept_mib: Option<usize>, kept_s: Option<u64>) -> Result<Bounds> {
    let d = Bounds::default();
    Ok(Bounds {
        sessions: within("kept", kept, 1, 4000)?.unwrap_or(d.sessions),
        bytes: within("kept_mib", kept_mib, 16, 1 << 20)?.map_or(d.bytes, |n| n << 20),
        idle: within("kept_s", kept_s, 1, 86_400)?.map_or(d.idle, Duration::from_secs),
    })
}

/// The folder that all of this installation's components share.
pub(crate) fn compiling(setting: &Setting, most_mib: Option<u64>) -> Result<Compiling> {
    let most = within("compiled_mib", most_mib, 64, 1 << 20)?.map_or(MOST, |n| n << 20);
    let (folder, program) = (setting.data_dir.join(CODE), Some(setting.program.clone()));
    Ok(Compiling::Kept(Kept { folder, program, most }))
}

fn build(setting: &Setting, config: Value) -> Result<Arc<dyn ToolProvider>> {
    // An entry without a `config:` block.
    let config = if config.is_null() { json!({}) } else { config };
    let config: Config = serde_path_to_error::deserialize(config).map_err(|e| {
        let path = e.path().to_string();
        Error::invalid(path, e.into_inner().to_string())
    })?;
    let compiling = compiling(setting, config.compiled_mib)?;
    let bounds = bounds(config.kept, config.kept_mib, config.kept_s)?;
    let sandbox = Sandbox::new(config.limits()?).keeping(bounds).compiling(compiling);
    Ok(Arc::new(WasmTools::of(sandbox, Arc::clone(&setting.clock))))
}

/// Tool groups made of components.
pub struct WasmTools {
    components: Arc<Components>,
    clock: Arc<dyn Clock>,
}

impl WasmTools {
    #[must_use]
    pub fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self::of(Sandbox::new(limits), clock)
    }

    #[must_use]
    pub fn of(sandbox: Sandbox, clock: Arc<dyn Clock>) -> Self {
        Self { components: Arc::new(Components::new(sandbox)), clock }
    }

    fn sandbox(&self) -> &Sandbox {
        &self.components.sandbox
    }

    /// The source's component, compiled now or before.
    async fn component(&self, cx: &Cx, source: &ToolSource) -> Result<Component> {
        let Some(bytes) = &source.body else {
            let message = format!("tool group '{}' has no component", source.toolgroup);
            return Err(Error::new(Kind::Invalid, message));
        };
        let getting = self.components.get(&cx.tenant, bytes);
        let got = heeding(cx, getting, || format!("tool group '{}' was made ready", source.toolgroup)).await?;
        got.map_err(|fault| refused(source, &fault))
    }

    fn grants(&self, source: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<HostGrants> {
        let mut grants = HostGrants::default();
        for name in &source.grants {
            match capability(name)? {
                Capability::Log => grants.log = true,
                Capability::Kv => grants.kv = Some(Arc::clone(&host)),
                Capability::Clock => grants.clock = Some(Arc::clone(&self.clock)),
                Capability::Random => grants.random = Some(Arc::new(OsRandom)),
                Capability::Fetch => grants.fetch = Some(Arc::clone(&host)),
                // The registry knows a call by its idempotency key.
                Capability::Context => grants.context = Some(call.id.as_str().into()),
                Capability::Keep => grants.keep = true,
                Capability::Wasi => {
                    grants.wasi = Some(Wasi { clock: Arc::clone(&self.clock), random: Arc::new(OsRandom) });
                }
            }
        }
        Ok(grants)
    }
}

#[async_trait]
impl ToolProvider for WasmTools {
    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected> {
        for name in &source.grants {
            capability(name)?;
        }
        self.sandbox().limits().narrowed(&source.args)?;
        let component = self.component(cx, source).await?;
        let tools = component.tools().iter().map(|tool| ToolDef {
            name: tool.name.clone(),
            wire_name: tool.name.clone(),
            toolgroup: source.toolgroup.clone(),
            description: tool.description.clone(),
            schema: tool.parameters.clone(),
            runs: Runs::Server,
            effect: tool.effect,
            risk: tool.risk,
            bound_args: Default::default(),
            alone: tool.keep == Keep::Conversation,
            hash: tool.hash.clone(),
        });
        Ok(Inspected {
            tools: tools.collect(),
            requests: component.requests().iter().map(|c| c.name().to_owned()).collect(),
            hash: component.hash().to_hex().to_string(),
            ..Inspected::default()
        })
    }

    async fn call(&self, cx: &Cx, source: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        let grants = self.grants(source, call, host)?;
        let limits = self.sandbox().limits().narrowed(&source.args)?;
        let began = Instant::now();
        let Ok(component) = tokio::time::timeout(limits.wall, self.component(cx, source)).await else {
            return Ok(Outcome::Done(not_ready(&limits)));
        };
        let component = component?;
        as_pinned(source, &component, &call.name)?;
        let (tool, arguments) = (call.name.as_str(), call.arguments.as_str());
        let place = Place::of(cx).map(|place| (place, registered(source)));
        let asked = Asked { component: &component, tool, arguments, grants, limits, began, place };
        let running = pin!(self.sandbox().ask(asked));
        let call = heeding(cx, running, || format!("tool '{}' ran", call.name)).await?;
        outcome(source, call)
    }

    fn retire(&self, cx: &Cx, source: &ToolSource) {
        self.sandbox().forget(&cx.tenant, &registered(source));
    }

    fn forget_conversations(&self, cx: &Cx, workspaces: &[String]) {
        self.sandbox().forget_conversations(&cx.tenant, workspaces);
    }
}

fn registered(source: &ToolSource) -> Registered {
    Registered { toolgroup: source.toolgroup.clone(), revision: source.revision.clone() }
}

/// What becomes of `work` before the caller leaves or its time is up.
///
/// # Errors
/// `Cancelled`; `Timeout` saying what was being done.
async fn heeding<T>(cx: &Cx, work: impl Future<Output = T>, doing: impl FnOnce() -> String) -> Result<T> {
    let ended = async {
        match cx.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work).await.ok(),
            None => Some(work.await),
        }
    };
    tokio::select! {
        biased;
        () = cx.cancel.cancelled() => Err(Error::cancelled()),
        ended = ended => ended.ok_or_else(|| {
            Error::new(Kind::Timeout, format!("the request's time was up while {}", doing()))
        }),
    }
}

fn capability(name: &str) -> Result<Capability> {
    Capability::find(name).ok_or_else(|| {
        let known = Capability::ALL.map(Capability::name).join(", ");
        Error::invalid("grants", format!("no capability is called '{name}'; the known ones are {known}"))
    })
}

/// Whether the component is the one that was registered, and describes the tool as it did then: with other limits, say,
/// the same bytes may describe themselves otherwise.
///
/// # Errors
/// `Conflict`, as for the tools of MCP servers.
fn as_pinned(source: &ToolSource, component: &Component, name: &str) -> Result<()> {
    let changed = |what: &str, code: &str| {
        let message = format!(
            "{what} than when tool group '{}' was registered, so it is not called: look at it, and register the group \
             again to accept it",
            source.toolgroup
        );
        tracing::warn!(toolgroup = source.toolgroup, tool = name, "{message}");
        Err(Error::new(Kind::Conflict, message).with_code(code))
    };
    if !source.hash.is_empty() && source.hash != component.hash().to_hex().as_str() {
        return changed("the component is another one", "tool_changed");
    }
    // Which tools there are is said by whoever asks for one that there is not.
    let Some(hash) = source.pinned.get(name) else { return Ok(()) };
    match component.tool(name) {
        Ok(tool) if tool.hash == *hash => Ok(()),
        Ok(_) => changed(&format!("the component describes '{name}' otherwise"), "tool_changed"),
        Err(_) => changed(&format!("the component has other tools, '{name}' not among them,"), "tool_gone"),
    }
}

/// What a model reads where its call came before the component, which is on its way all the same.
fn not_ready(limits: &Limits) -> ToolResult {
    let exceeded = limits.exceeded(Limit::Wall);
    let message = format!("the tool is not ready after its {exceeded} and was not run: call it again later");
    let details = json!({ "limit": exceeded.limit.name(), "allowed": exceeded.allowed });
    ToolResult { details: Some(details), ..ToolResult::error(&message) }
}

/// A component that cannot be a tool group.
fn refused(source: &ToolSource, fault: &Fault) -> Error {
    let message = format!("tool group '{}': {fault}", source.toolgroup);
    match fault {
        Fault::Host(error) => again(error),
        fault if fault.is_busy() => Error::unavailable(message).with_retry_after(Duration::from_secs(1)),
        Fault::Limit(_) => Error::new(Kind::TooLarge, message),
        Fault::NotGranted(_) => Error::new(Kind::Forbidden, message),
        _ => Error::new(Kind::Invalid, message),
    }
}

/// The same for another caller that waited for it.
fn again(error: &Error) -> Error {
    let (message, param, code) = (error.message.clone(), error.param.clone(), error.code.clone());
    let told = Error { param, code, retry_after: error.retry_after, ..Error::new(error.kind, message) };
    match &error.source {
        Some(cause) => told.with_source(cause.to_string()),
        None => told,
    }
}

/// Where a call ended the instance with what earlier ones had left in it.
const ANEW: &str = "; the tool was started anew, so what it kept of this conversation is gone";

fn outcome(source: &ToolSource, call: Call) -> Result<Outcome> {
    let mut details = json!({
        "cpu_us": micros(call.spent.cpu),
        "wall_us": micros(call.spent.wall),
        "memory_bytes": call.spent.memory,
        "host_calls": call.spent.host_calls,
    });
    if !call.log.is_empty() {
        details["log"] = json!(call.log);
    }
    if let Some(resumed) = call.resumed {
        details["resumed"] = json!(resumed);
    }
    let mut result = match call.result {
        Ok(output) => {
            if !output.is_json {
                details["not_json"] = json!(true);
            }
            ToolResult { content: output.text, is_error: false, details: None }
        }
        Err(Fault::Host(mut error)) => {
            if call.resumed == Some(true) {
                error.message += ANEW;
            }
            return Err(error);
        }
        Err(fault @ Fault::NotGranted(_)) => return Err(refused(source, &fault)),
        Err(fault) if fault.is_infrastructure() => return Err(refused(source, &fault)),
        Err(fault) => {
            if let Fault::Limit(exceeded) = &fault {
                details["limit"] = json!(exceeded.limit.name());
                details["allowed"] = json!(exceeded.allowed);
            }
            let mut message = fault.to_string();
            if call.resumed == Some(true) && !fault.leaves_guest() {
                message += ANEW;
            }
            ToolResult::error(&message)
        }
    };
    result.details = Some(details);
    Ok(Outcome::Done(result))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
