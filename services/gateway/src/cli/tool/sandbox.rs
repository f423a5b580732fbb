//! The sandbox at an author's desk: which powers a component asks for, and its tools called without a server.
//!
//! Invariant: the sandbox's limits, links and checks of arguments are those of a server with the default configuration.
//! What stands around the component is the test case's (cases.rs says what that leaves out).

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use frontdesk_api::{Clock, Error, Kind, Result, clock::FixedClock, tools::ToolHost};
pub(super) use frontdesk_wasm::authoring::WIT;
use frontdesk_wasm::{
    Asked, Capability, Compiling, Component, Fault, HostGrants, Kept, Limits, MOST, Place, Random, Registered, Sandbox,
    Wasi, authoring,
};

use serde_json::Value;

use super::cases::{Case, World};

/// A component out of Cargo's core module.
///
/// # Errors
/// `Invalid` saying what does not fit the world.
pub(super) fn encode(module: &[u8]) -> Result<Vec<u8>> {
    authoring::encode(module).map_err(refused)
}

/// The power that a component asks for where it describes itself, and by no import.
pub(super) const KEEP: &str = "keep";

/// The power that a language's own runtime asks for, whatever the tools do.
pub(super) const WASI: &str = "wasi";

/// The names of the powers that a component imports.
///
/// # Errors
/// `Invalid` where it is no tool.
pub(super) fn powers(component: &[u8]) -> Result<Vec<&'static str>> {
    let powers = authoring::powers(component, &Limits::default()).map_err(refused)?;
    Ok(powers.iter().map(Capability::name).collect())
}

/// What a power is, for whoever grants it.
pub(super) fn about(power: &str) -> &'static str {
    match Capability::find(power) {
        Some(Capability::Log) => "lines for your log",
        Some(Capability::Kv) => "data of its own, kept between calls",
        Some(Capability::Clock) => "the time of day",
        Some(Capability::Random) => "unpredictable bytes",
        Some(Capability::Fetch) => "requests to the hosts below",
        Some(Capability::Context) => "the idempotency key of the call",
        Some(Capability::Keep) => "what it remembers, for the conversation's next call",
        Some(Capability::Wasi) => "what its language's runtime needs: the time, chance, and nothing else",
        None => "",
    }
}

fn refused(fault: Fault) -> Error {
    match fault {
        Fault::Host(error) => error,
        fault => Error::new(Kind::Invalid, fault.to_string()),
    }
}

/// A component, compiled, with the tools it describes.
pub(super) struct Bench {
    sandbox: Sandbox,
    limits: Limits,
    component: Component,
}

/// What came of a call.
pub(super) struct Seen {
    /// The tool's text, or the error as the model reads it.
    pub(super) answer: std::result::Result<String, String>,
    /// Level and line.
    pub(super) log: Vec<(String, String)>,
    pub(super) cpu: Duration,
    /// Bytes.
    pub(super) memory: usize,
    /// Names of the powers it used.
    pub(super) used: Vec<&'static str>,
}

impl Bench {
    /// Compiles it: in a child process of `program`, kept in `folder`; without both here. `args` are its registration's.
    ///
    /// # Errors
    /// `Invalid` where it is no tool, or describes itself wrongly.
    pub(super) async fn open(component: Vec<u8>, args: Value, kept: Option<(PathBuf, PathBuf)>) -> Result<Self> {
        let limits = Limits::default().narrowed(&args)?;
        let compiling = kept.map_or(Compiling::Here, |(folder, program)| {
            Compiling::Kept(Kept { folder, program: Some(program), most: MOST })
        });
        let sandbox = Sandbox::new(Limits::default()).compiling(compiling);
        let component = sandbox.inspect(component.into()).await.map_err(refused)?;
        Ok(Self { sandbox, limits, component })
    }

    /// The names of its tools.
    pub(super) fn tools(&self) -> Vec<&str> {
        self.component.tools().iter().map(|tool| tool.name.as_str()).collect()
    }

    /// Asks a tool in the case's world.
    ///
    /// # Errors
    /// Trouble of the sandbox itself.
    pub(super) async fn ask(&self, case: &Case, world: &Arc<World>) -> Result<Seen> {
        let host = || Some(Arc::clone(world) as Arc<dyn ToolHost>);
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(case.now.saturating_mul(1_000_000)));
        let grants = HostGrants {
            log: true,
            kv: host(),
            clock: Some(Arc::clone(&clock)),
            random: Some(Arc::new(Counting::default())),
            fetch: host(),
            context: Some(case.idempotency_key.as_str().into()),
            keep: true,
            // Its runtime draws from a source of its own, so that what a tool is given does not depend on its language.
            wasi: Some(Wasi { clock, random: Arc::new(Counting::default()) }),
        };
        let arguments = case.arguments.to_string();
        let asked = Asked {
            component: &self.component,
            tool: &case.tool,
            arguments: &arguments,
            grants,
            limits: self.limits,
            began: Instant::now(),
            place: case.conversation.as_deref().map(|name| (Place::named(name), Registered::default())),
        };
        let call = self.sandbox.ask(asked).await;
        let answer = match call.result {
            Ok(output) => Ok(output.text),
            Err(fault) if fault.is_infrastructure() => return Err(refused(fault)),
            Err(fault) => Err(fault.to_string()),
        };
        let log = call.log.into_iter().map(|line| (format!("{:?}", line.level).to_lowercase(), line.message)).collect();
        let spent = call.spent;
        let used = spent.used.iter().map(Capability::name).collect();
        Ok(Seen { answer, log, cpu: spent.cpu, memory: spent.memory, used })
    }
}

/// Bytes that a test can know: 0, 1, 2, …
#[derive(Default)]
struct Counting(AtomicU8);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        bytes.iter_mut().for_each(|byte| *byte = self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}
