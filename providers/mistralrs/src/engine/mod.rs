//! `frontdesk engine`: the worker process around mistral.rs.
//!
//! Loads the models that are not to be loaded on demand, then binds, then says so in one line of JSON on standard output, and speaks the OpenAI wire until
//! it is told to stop or its parent is gone. It is a process of its own because the engine can stall, panic and hold
//! gigabytes; the gateway watches it and starts it again. Invariants: nothing is fetched from a network; on the CPU one
//! sequence runs at a time; a client that reads slowly or leaves disturbs nobody.

mod admission;
mod args;
mod calls;
mod embed;
mod folder;
mod forced;
mod generation;
mod gguf;
mod hosted;
mod http;
mod kept;
mod listen;
mod load;
mod metrics;
mod model;
mod pictures;
mod plan;
mod problem;
mod prompt;
mod reply;
mod request;
mod seed;
mod sight;
mod stop;
mod voice;
mod warm;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use args::{EngineArgs, ModelSpec};

use hosted::Hosted;
use http::Worker;
use listen::Bound;

/// Runs the worker until it is told to stop. Makes a runtime of its own; must not be called from within one.
///
/// Standard output carries exactly one line of JSON: `{"ready":true,"socket"|"address":…,"models":[…],"pid":…}` once requests
/// are taken, or `{"ready":false,"error":…}` before a failing end. Logs go to standard error.
/// The status is 0 after an orderly stop, 2 when the worker could not start, 1 when it broke later.
pub fn run(args: EngineArgs) -> ExitCode {
    log();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(cause) => return fail(&format!("no runtime: {cause}")),
    };
    let started = Instant::now();
    let served = runtime.block_on(async {
        let (bound, worker) = match start(&args).await {
            Ok(both) => both,
            Err(message) => return fail(&message),
        };
        let socket = match &bound {
            Bound::Unix(_, path) => Some(path.clone()),
            Bound::Tcp(..) => None,
        };
        let stop = match listen::signals() {
            Ok(stop) => stop,
            Err(message) => return fail(&message),
        };
        if args.watch_stdin {
            listen::end_with_parent(socket);
        }
        tracing::info!("ready after {:.1} s", started.elapsed().as_secs_f64());
        say(&ready_line(&bound, &worker));
        match bound.serve(http::router(worker), stop, args.drain_s).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(message) => {
                tracing::error!("{message}");
                ExitCode::FAILURE
            }
        }
    });
    // Engine threads do not end by themselves.
    runtime.shutdown_background();
    served
}

async fn start(args: &EngineArgs) -> Result<(Bound, Arc<Worker>), String> {
    args.check_ids()?;
    args.running()?;
    args.check_pages()?;
    let key = args.required_key()?;
    let (shared, turn) = (Arc::new(args.clone()), Arc::default());
    let models: Vec<_> = args.models.iter().map(|spec| Hosted::new(spec.clone(), &shared, &turn)).collect();
    // All files are looked through before the first model takes minutes to load.
    for model in &models {
        match model.look() {
            Err(cause) if model.at_start() => return Err(cause),
            Err(cause) => tracing::warn!("{cause}; it is to be loaded on demand"),
            Ok(_) => {}
        }
    }
    for model in models.iter().filter(|model| model.at_start()) {
        model.load().await.map_err(|problem| problem.message)?;
    }
    let bound = match (&args.socket, args.listen) {
        (Some(path), _) => Bound::unix(path)?,
        (None, Some(address)) => Bound::tcp(address).await?,
        (None, None) => return Err("give --socket or --listen".into()),
    };
    Ok((bound, Arc::new(Worker { models, key, started: http::unix_seconds() })))
}

fn ready_line(bound: &Bound, worker: &Worker) -> Value {
    let models: Vec<Value> =
        worker.models.iter().map(|model| json!({"id": model.spec.id, "max_model_len": model.window()})).collect();
    let mut line = json!({"ready": true, "models": models, "pid": std::process::id()});
    match bound {
        Bound::Unix(_, path) => line["socket"] = json!(path),
        Bound::Tcp(_, address) => line["address"] = json!(address.to_string()),
    }
    line
}

fn fail(message: &str) -> ExitCode {
    tracing::error!("{message}");
    say(&json!({"ready": false, "error": message}));
    ExitCode::from(2)
}

fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    // A parent that does not listen is seen on standard input.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn log() {
    let filter = tracing_subscriber::EnvFilter::new("error,frontdesk_mistralrs=info");
    // A program that embeds the worker may have its own.
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let _ = tracing_subscriber::registry().with(filter).with(kept::filter()).with(lines).try_init();
}
