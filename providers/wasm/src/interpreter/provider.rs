//! The code interpreter as a tool: `builtin::code_interpreter` with the one tool `code_interpreter`.
//!
//! Invariant: whatever the code does, the model reads a result: what was printed, the last value, or why it
//! ended. Only what an operator must mend is an error.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
pub use frontdesk_api::code::{GROUP, TOOL};
use frontdesk_api::{
    Cx, Error, Kind, Result,
    chat::ToolCall,
    code,
    provider::Setting,
    tools::{Effect, Inspected, Outcome, Risk, Runs, ToolDef, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Code, Files, Interpreters, Language, Place, Ran, Run, Used, folder::Folder, limits, session::OWN_STACK};
use crate::{
    fault::Fault,
    provider::{bounds, compiling, within},
};

/// The `config:` block. Every key has a default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// Where `python.wasm` and `javascript.wasm` are; by default [`usual`].
    folder: Option<PathBuf>,
    /// Processor time of a run, 1 ms to 60 s.
    cpu_ms: Option<u64>,
    /// Time on the wall of a run, 1 ms to 10 min.
    wall_ms: Option<u64>,
    /// Linear memory of an interpreter, 64 to 4096 MiB.
    memory_mib: Option<usize>,
    /// Each of the texts of a run, 1 to 256 KiB.
    output_kib: Option<usize>,
    /// Runs at the same time, 1 to 1000.
    concurrent: Option<u32>,
    /// Conversations whose interpreter is kept, 1 to 4000.
    kept: Option<usize>,
    /// Memory of all that are kept, 16 MiB to 1 TiB.
    kept_mib: Option<usize>,
    /// How long one that is not used is kept, 1 s to a day.
    kept_s: Option<u64>,
    /// Bytes of a file that is kept, 1 to 64 MiB.
    file_mib: Option<usize>,
    /// Bytes of all files of a run that are kept, 1 to 64 MiB.
    files_mib: Option<usize>,
    /// Files of a run that are kept, 0 to 100.
    files: Option<usize>,
    /// Bytes of all files of a container, 1 to 1024 MiB.
    container_mib: Option<usize>,
    /// Days a container is kept with its files after its last use, 1 to 3650.
    container_days: Option<u64>,
    /// As the sandbox's, whose folder it shares.
    compiled_mib: Option<u64>,
}

pub(crate) fn build(setting: &Setting, config: Value) -> Result<Arc<dyn ToolProvider>> {
    let config = if config.is_null() { json!({}) } else { config };
    let config: Config = serde_path_to_error::deserialize(config).map_err(|e| {
        let path = e.path().to_string();
        Error::invalid(path, e.into_inner().to_string())
    })?;
    let (d, f) = (limits(), files());
    let files = code::Bounds {
        file: within("file_mib", config.file_mib, 1, 64)?.map_or(f.file, |n| n << 20),
        run: within("files_mib", config.files_mib, 1, 64)?.map_or(f.run, |n| n << 20),
        files: within("files", config.files, 0, 100)?.unwrap_or(f.files),
        container: within("container_mib", config.container_mib, 1, 1024)?.map_or(f.container, |n| n << 20),
        keep: within("container_days", config.container_days, 1, 3650)?
            .map_or(f.keep, |days| Duration::from_secs(days * 24 * 60 * 60)),
    };
    let limits = crate::Limits {
        cpu: within("cpu_ms", config.cpu_ms, 1, 60_000)?.map_or(d.cpu, Duration::from_millis),
        wall: within("wall_ms", config.wall_ms, 1, 600_000)?.map_or(d.wall, Duration::from_millis),
        memory: within("memory_mib", config.memory_mib, 64, 4096)?.map_or(d.memory, |n| n << 20),
        output: within("output_kib", config.output_kib, 1, 256)?.map_or(d.output, |n| n << 10),
        concurrent: within("concurrent", config.concurrent, 1, 1000)?.unwrap_or(d.concurrent),
        // Half of it brings files in, half of it out.
        transfer: d.transfer.max(2 * files.run),
        ..d
    };
    let bounds = bounds(config.kept, config.kept_mib, config.kept_s)?;
    let compiling = compiling(setting, config.compiled_mib)?;
    let folders = config.folder.map_or_else(|| usual(setting), |folder| vec![folder]);
    let interpreters = Interpreters::new(folders, limits, bounds, compiling, Arc::clone(&setting.clock));
    Ok(Arc::new(CodeTool(Arc::new(interpreters), files)))
}

/// What is kept of the files that runs write.
#[must_use]
pub fn files() -> code::Bounds {
    code::Bounds { file: 8 << 20, run: 8 << 20, files: 20, container: 64 << 20, keep: code::KEEP }
}

/// Below the data folder, and where a package puts what comes with its program.
fn usual(setting: &Setting) -> Vec<PathBuf> {
    let packaged = setting.program.parent().and_then(Path::parent);
    let packaged = packaged.map(|root| root.join("share/frontdesk/interpreters"));
    [setting.data_dir.join("interpreters")].into_iter().chain(packaged).collect()
}

/// The interpreters behind Frontdesk's tool provider, and how much is kept of what they write.
#[derive(Clone)]
pub struct CodeTool(pub Arc<Interpreters>, pub code::Bounds);

/// The arguments, as the schema in [`definition`] has them.
#[derive(Deserialize)]
struct Arguments {
    code: String,
    #[serde(default)]
    language: Option<String>,
    #[serde(default)]
    stdin: String,
}

fn definition(toolgroup: &str) -> ToolDef {
    let description = "Runs Python 3.14 (or JavaScript) in a sandbox and answers what it printed and the value of a last \
         line that is an expression. Variables and files stay for the rest of the conversation. Of Python's library \
         there are math, statistics, decimal, fractions, datetime, zoneinfo, re, json, csv, sqlite3 (in memory), random, \
         itertools, collections, hashlib, textwrap, xml and the like; no packages, no network, no other processes. \
         Files are plain names in the working folder: open('a.csv'), os.listdir(). In JavaScript: console.log, \
         readFile(name), writeFile(name, text), listFiles(). Files that are written can be downloaded by whoever asked: \
         name them in the answer as links, [a.csv](sandbox:/mnt/data/a.csv).";
    let schema = json!({
        "type": "object",
        "properties": {
            "code": { "type": "string", "description": "the code to run" },
            "language": { "type": "string", "enum": ["python", "javascript"], "description": "python if left out" },
            "stdin": { "type": "string", "description": "what the code reads from its standard input" },
        },
        "required": ["code"],
        "additionalProperties": false,
    });
    let hash = blake3::hash(format!("{description}\n{schema}").as_bytes()).to_hex().to_string();
    ToolDef {
        name: TOOL.to_owned(),
        wire_name: TOOL.to_owned(),
        toolgroup: toolgroup.to_owned(),
        description: description.to_owned(),
        schema,
        runs: Runs::Server,
        // Nothing outside its own memory can be changed.
        effect: Effect::None,
        risk: Risk::Read,
        bound_args: Default::default(),
        alone: true,
        hash,
    }
}

#[async_trait]
impl ToolProvider for CodeTool {
    async fn inspect(&self, _: &Cx, source: &ToolSource) -> Result<Inspected> {
        let tool = definition(&source.toolgroup);
        Ok(Inspected { hash: tool.hash.clone(), tools: vec![tool], ..Inspected::default() })
    }

    fn builtin(&self) -> Option<&'static str> {
        Some(GROUP)
    }

    fn forget_conversations(&self, cx: &Cx, workspaces: &[String]) {
        self.0.forget(&cx.tenant, workspaces);
    }

    async fn call(&self, cx: &Cx, _: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        let arguments: Arguments = match serde_json::from_str(&call.arguments) {
            Ok(arguments) => arguments,
            Err(e) => return Ok(Outcome::Done(ToolResult::error(&format!("the arguments do not fit: {e}")))),
        };
        let name = arguments.language.as_deref().unwrap_or(Language::Python.name());
        let Some(language) = Language::find(name) else {
            let message = format!("there is no interpreter for '{name}'; there are python and javascript");
            return Ok(Outcome::Done(ToolResult::error(&message)));
        };
        let place = Place::of(cx);
        let kept = place.is_some();
        let folder =
            cx.workspace.as_ref().map(|_| Folder::new(Arc::clone(&host), &call.id, self.1, self.0.limits.memory));
        let files = folder.as_ref().map(|files| files as &dyn Files);
        let code = Code { text: &arguments.code, stdin: &arguments.stdin, files };
        let running = self.0.run(language, place, code);
        let ended = async {
            match cx.deadline {
                Some(deadline) => tokio::time::timeout_at(deadline.into(), running).await.ok(),
                None => Some(running.await),
            }
        };
        let run = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Err(Error::cancelled()),
            ended = ended => ended
                .ok_or_else(|| Error::new(Kind::Timeout, "the request's time was up while code ran"))?,
        };
        // Outside of a conversation nothing is kept.
        let written = run.result.iter().flat_map(|ran| &ran.files);
        let written: Vec<(String, usize)> = written.map(|file| (file.name.clone(), file.content.len())).collect();
        let told = |shown: &mut Map<String, Value>| match folder {
            Some(folder) => folder.tell(shown),
            None => code::tell(shown, &written, None),
        };
        outcome(run, kept, told)
    }
}

/// Where a run ended the interpreter with what earlier ones had left in it.
const ANEW: &str = "; the interpreter was started anew, so variables of before are gone, and files that were not kept";

/// What the model reads.
fn outcome(run: Run, kept: bool, of_files: impl FnOnce(&mut Map<String, Value>)) -> Result<Outcome> {
    let used = run.used;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let mut details = json!({
        "cpu_us": micros(used.cpu),
        "wall_us": micros(used.wall),
        "memory_bytes": used.memory,
        "host_calls": used.host_calls,
        "resumed": run.resumed,
    });
    let (content, is_error) = match run.result {
        Ok(ran) => (shown(&ran, of_files), ran.fault.is_some()),
        Err(Fault::Host(mut error)) => {
            // It is ours, and ended what ran.
            if kept && used != Used::default() {
                error.message += ANEW;
            }
            return Err(error);
        }
        Err(fault) if fault.is_busy() => {
            return Err(Error::unavailable(fault.to_string()).with_retry_after(Duration::from_secs(1)));
        }
        Err(fault @ (Fault::NotATool(_) | Fault::NotAComponent(_))) => {
            return Err(Error::new(Kind::Internal, format!("the interpreter's component cannot be used: {fault}")));
        }
        Err(fault) => {
            let mut message = match &fault {
                Fault::Trapped(what) if what == OWN_STACK => format!("{OWN_STACK}, as by recursion without an end"),
                Fault::Trapped(_) => "the code ended the interpreter itself".to_owned(),
                fault => fault.to_string().replace("the tool ", "the code "),
            };
            if kept {
                message += ANEW;
            }
            if let Fault::Limit(exceeded) = &fault {
                details["limit"] = json!(exceeded.limit.name());
                details["allowed"] = json!(exceeded.allowed);
            }
            (json!({ "error": message }), true)
        }
    };
    Ok(Outcome::Done(ToolResult { content: content.to_string(), is_error, details: Some(details) }))
}

/// Only what there is: a model reads every word.
fn shown(ran: &Ran, of_files: impl FnOnce(&mut Map<String, Value>)) -> Value {
    let mut shown = Map::new();
    shown.insert("stdout".into(), json!(ran.stdout));
    if !ran.stderr.is_empty() {
        shown.insert("stderr".into(), json!(ran.stderr));
    }
    if let Some(value) = &ran.value {
        shown.insert("value".into(), json!(value));
    }
    if let Some(fault) = &ran.fault {
        shown.insert("error".into(), json!(format!("{}: {}", fault.kind, fault.message)));
        shown.insert("traceback".into(), json!(fault.traceback));
    }
    of_files(&mut shown);
    if ran.truncated {
        shown.insert("truncated".into(), json!(true));
    }
    Value::Object(shown)
}
