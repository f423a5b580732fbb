//! Code that a model wrote, run by a language inside a component.
//!
//! An interpreter is a component of ours (built by `interpreters/build.sh`, found in a configured folder) that
//! exports the world of `interpreters/interpreter.wit`. It runs under the limits of the sandbox in a bare WASI.
//! The instance of a conversation is kept between runs, so that its variables and files are there again.
//! Invariants: nothing is kept that was stopped by a limit, or whose files could not be kept; a run that is repeated
//! never finds what it did before; no two conversations share an instance; code that was compiled once is loaded by
//! mapping it, and instances share what they have not written.

mod folder;
mod provider;
mod session;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use frontdesk_api::{Clock, Error, Kind};
use tokio::sync::{OnceCell, Semaphore};
use wasmtime::component::{ComponentExportIndex, InstancePre, Linker};

pub(crate) use provider::build;
pub use provider::{CodeTool, GROUP, TOOL, files};
pub use session::{Code, CodeFile, Files, Given, Lacking, Raised, Ran, Used};

use self::session::{Guest, Session};
pub use crate::parked::{Bounds, Owner, Place};
use crate::{
    code::{Compiling, Hashed, blocking},
    component::reason,
    engine::Machine,
    fault::Fault,
    host::OsRandom,
    limits::{Limit, Limits},
    parked::{Held, NoPlace, Parked},
    wasi::{self, Wasi},
};

/// What an interpreter exports (`interpreters/interpreter.wit`).
const EXPORT: &str = "frontdesk:interpreter/language@0.1.0";

/// A language there is an interpreter of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Python,
    JavaScript,
}

impl Language {
    pub const ALL: [Self; 2] = [Self::Python, Self::JavaScript];

    /// As a model names it; also the name of the component's file, with `.wasm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
        }
    }

    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|language| language.name() == name)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The limits of a run of code. Those of a tool but for what a language needs: a deep stack to parse on, room
/// for its own snapshot, and time to compute.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        cpu: Duration::from_secs(5),
        wall: Duration::from_secs(30),
        memory: 256 << 20,
        table_elements: 40_000,
        instances: 100,
        // A deeply nested expression then is the language's own error and no crash.
        stack: 4 << 20,
        component_bytes: 64 << 20,
        imports: 128,
        arguments: 1 << 20,
        output: 32 << 10,
        // Files go in and come out with the texts.
        transfer: 16 << 20,
        host_calls: 100_000,
        random_bytes: 1 << 20,
        concurrent: 16,
        compile_cpu: Duration::from_secs(300),
        compile_space: 4 << 30,
        ..Limits::default()
    }
}

/// The interpreters of an installation, for all tenants.
pub struct Interpreters {
    /// Looked into one after another.
    folders: Vec<PathBuf>,
    limits: Limits,
    compiling: Compiling,
    wasi: Wasi,
    machine: OnceCell<Arc<Machine>>,
    ready: [OnceCell<Ready>; 2],
    /// One permit for each run at the same time.
    slots: Semaphore,
    parked: Arc<Parked<Language, Session>>,
}

struct Ready {
    pre: InstancePre<Guest>,
    run: ComponentExportIndex,
}

/// How a run went.
#[derive(Debug)]
pub struct Run {
    pub result: Result<Ran, Fault>,
    pub used: Used,
    /// Whether variables of earlier runs were there.
    pub resumed: bool,
}

impl Interpreters {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(
        folders: Vec<PathBuf>,
        limits: Limits,
        bounds: Bounds,
        compiling: Compiling,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            folders,
            limits,
            compiling,
            wasi: Wasi { clock, random: Arc::new(OsRandom) },
            machine: OnceCell::new(),
            ready: [OnceCell::new(), OnceCell::new()],
            slots: Semaphore::new(limits.concurrent as usize),
            parked: Arc::new(Parked::new(bounds)),
        }
    }

    /// Runs code, for a conversation in the instance that its last run left.
    ///
    /// Dropping the future ends the guest, and its variables with it.
    pub async fn run(&self, language: Language, place: Option<Place>, code: Code<'_>) -> Run {
        let refused = |fault| Run { result: Err(fault), used: Used::default(), resumed: false };
        let (machine, ready) = match self.ready(language).await {
            Ok(ready) => ready,
            Err(fault) => return refused(fault),
        };
        // Neither compiling the interpreter itself is the code's time, nor waiting.
        let waits = Instant::now();
        let mut held = None;
        if let Some(place) = place {
            held = match self.parked.hold(place, language, self.limits.wall).await {
                Ok(place) => Some(place),
                Err(NoPlace::Full) => return refused(Fault::Full(self.parked.bounds().sessions)),
                Err(NoPlace::Waited) => return refused(Fault::Waited(self.limits.exceeded(Limit::Wall))),
            };
        }
        // Not before: who waits for its own conversation takes nobody's place. Nor later: who waits has read no contents.
        let left = self.limits.wall.saturating_sub(waits.elapsed());
        let Ok(Ok(slot)) = tokio::time::timeout(left, self.slots.acquire()).await else {
            return refused(Fault::Busy(self.limits.concurrent));
        };
        let (mut session, more, resumed) = match self.begin(machine, ready, held.as_mut(), code.files).await {
            Ok(begun) => begun,
            Err(fault) => return refused(fault),
        };
        let (mut result, used) = session.run(machine, code, more).await;
        if let Some(files) = code.files
            && result.as_ref().err().is_none_or(|fault| !fault.is_infrastructure())
        {
            // Keeping takes as long as a place for files does, and runs nothing.
            drop(slot);
            let kept = match &mut result {
                Ok(ran) => files.keep(&mut ran.files).await,
                Err(_) => files.keep(&mut vec![]).await,
            };
            match kept {
                Ok(kept) => session.note(files.run(), kept),
                Err(error) => result = Err(Fault::Host(error)),
            }
        }
        if let (Some(held), Ok(_)) = (held, &result) {
            let bytes = session.held();
            held.put_back(session, bytes);
        }
        Run { result, used, resumed }
    }

    /// The instance that the conversation's last run left, or a fresh one; what it lacks; and whether it is the former.
    async fn begin(
        &self,
        machine: &Machine,
        ready: &Ready,
        held: Option<&mut Held<Language, Session>>,
        files: Option<&dyn Files>,
    ) -> Result<(Session, Lacking, bool), Fault> {
        if let Some(held) = held
            && let Some(kept) = held.kept()
        {
            let lacking = match files {
                None => Some(Lacking::default()),
                Some(files) if kept.has_run(files.run()) => None,
                Some(files) => files.lacking(kept.given()).await?,
            };
            if let (Some(mut session), Some(mut lacking)) = (held.take(), lacking) {
                if !lacking.own {
                    return Ok((session, lacking, true));
                }
                match session.run(machine, Code::default(), std::mem::take(&mut lacking)).await.0 {
                    Ok(_) => return Ok((session, lacking, true)),
                    Err(fault) if fault.is_infrastructure() => return Err(fault),
                    // As below: it begins anew.
                    Err(_) => {}
                }
            }
        }
        let start = || Session::start(machine, &ready.pre, ready.run, self.limits, self.wasi.clone());
        let Some(files) = files else { return Ok((start().await?, Lacking::default(), false)) };
        let (mut more, mut session) = (files.all(true).await?, start().await?);
        if more.own {
            // Before the code, and under limits of its own: what code wrote must not make it impossible to run code.
            let given = session.run(machine, Code::default(), std::mem::take(&mut more)).await.0;
            match given {
                Ok(_) => {}
                Err(fault) if fault.is_infrastructure() => return Err(fault),
                Err(_) => (session, more) = (start().await?, files.all(false).await?),
            }
        }
        Ok((session, more, false))
    }

    /// Lets go of the interpreters of a tenant's conversations of these ids ([`Owner::workspace`]).
    pub fn forget(&self, tenant: &str, workspaces: &[String]) {
        self.parked.drop_of_conversations(tenant, workspaces);
    }

    /// Conversations whose interpreter is kept now.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.parked.len()
    }

    async fn ready(&self, language: Language) -> Result<(&Machine, &Ready), Fault> {
        let start = || async {
            let slots = u32::try_from(self.parked.bounds().sessions).unwrap_or(u32::MAX);
            let pool = Limits { concurrent: slots.saturating_add(self.limits.concurrent), ..self.limits };
            let machine = blocking(move || Machine::start(&pool)).await?;
            machine.map(Arc::new).map_err(|e| {
                let error = Error::new(Kind::Internal, "starting the interpreters' sandbox failed");
                Fault::Host(error.with_source(reason(&e)))
            })
        };
        let machine = self.machine.get_or_try_init(start).await?;
        let load = || self.load(machine, language);
        Ok((machine, self.ready[language as usize].get_or_try_init(load).await?))
    }

    async fn load(&self, machine: &Machine, language: Language) -> Result<Ready, Fault> {
        let paths: Vec<PathBuf> = self.folders.iter().map(|folder| folder.join(format!("{language}.wasm"))).collect();
        let found = {
            let paths = paths.clone();
            blocking(move || paths.iter().find_map(|path| std::fs::read(path).ok())).await?
        };
        let bytes = found.ok_or_else(|| Fault::Host(missing(language, &paths)))?;
        let code = self.compiling.load(&machine.engine, &Hashed::new(bytes.into()), &self.limits).await?;
        let language_of = code.get_export_index(None, EXPORT);
        let run = language_of.and_then(|export| code.get_export_index(Some(&export), "run"));
        let run = run.ok_or_else(|| Fault::NotATool(format!("the component of {language} does not export 'run'")))?;
        let mut linker = Linker::new(&machine.engine);
        let pre = wasi::link(&mut linker, &code).and_then(|()| linker.instantiate_pre(&code));
        Ok(Ready { pre: pre.map_err(|e| Fault::NotATool(reason(&e)))?, run })
    }
}

/// What to do where an installation has no interpreter.
fn missing(language: Language, paths: &[PathBuf]) -> Error {
    let looked: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    Error::unavailable(format!(
        "there is no interpreter for {language} here (no file {}): build it with providers/wasm/interpreters/build.sh \
         FOLDER, and set 'folder' of the provider where that is another one",
        looked.join(" or ")
    ))
}
