//! The provider: models answered by the worker that the supervisor keeps running.
//!
//! Speaks to the worker through the OpenAI provider over its Unix socket, so the wire is written once. A request that comes
//! while the models load waits for them, up to a limit. Invariant: an answer that breaks off because the worker died says
//! so, and is never begun a second time (its beginning may have been shown).

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use frontdesk_api::embed::{EmbedRequest, Embeddings};
use frontdesk_api::inference::{Counted, Model, ModelKind};
use frontdesk_api::provider::{Health, Setting, Status as Verdict};
use frontdesk_api::{ChatReply, ChatRequest, Cx, Error, Inference, Kind, Result};
use frontdesk_http::{Client, Limits};
use frontdesk_openai::OpenAi;
use futures::StreamExt;
use serde_json::json;
use tokio::net::UnixStream;

use crate::config::Config;
use crate::own::Own;
use crate::process::Launch;
use crate::supervisor::{Stage, State, Status, Supervisor};

/// Seconds after which a refused request may come again.
const SOON: Duration = Duration::from_secs(5);
/// A worker's address, of which its socket takes the place.
const SERVER: &str = "http://engine";
/// A dead worker is known to be dead within this time after its connections broke.
const NOTICED: Duration = Duration::from_secs(1);
/// Code of an answer that broke off because its worker died.
const DIED: &str = "engine_died";
/// No worker has this number.
const NOBODY: u64 = u64::MAX;
/// A worker that just died is replaced within this time, unless its models are large.
const REPLACED: Duration = Duration::from_secs(2);

/// Models from disk, answered by a worker process of our own.
pub struct Local {
    id: String,
    config: Config,
    launch: Launch,
    supervisor: OnceLock<Supervisor>,
    /// The client of the worker with this number.
    client: Mutex<Option<(u64, Arc<OpenAi>)>>,
    /// The worker whose connection broke last. It may still take connections while it is dying.
    suspect: Arc<AtomicU64>,
    own: Own,
}

impl Local {
    /// Makes the provider, and starts the worker when called inside a runtime and not told to wait.
    ///
    /// # Errors
    /// `Invalid` naming the configuration key.
    pub fn new(setting: &Setting, config: Config) -> Result<Self> {
        let launch = Launch {
            program: setting.program.clone(),
            arguments: config.arguments()?,
            environment: config.environment(),
            // Two providers must not meet in one folder, and its path must stay short.
            folder: setting.runtime_dir.join(short(&setting.id)),
            load_timeout: config.load_timeout(),
        };
        let local = Self {
            id: setting.id.clone(),
            config,
            launch,
            supervisor: OnceLock::new(),
            client: Mutex::new(None),
            suspect: Arc::new(AtomicU64::new(NOBODY)),
            own: Own::at(SERVER),
        };
        if !local.config.lazy && tokio::runtime::Handle::try_current().is_ok() {
            local.supervisor();
        }
        Ok(local)
    }

    /// What is known about the worker now.
    pub fn status(&self) -> Status {
        match self.supervisor.get() {
            Some(supervisor) => supervisor.status(),
            None => Status { state: State::Idle, pid: None, restarts: 0, last_error: None, log: vec![] },
        }
    }

    fn supervisor(&self) -> &Supervisor {
        self.supervisor.get_or_init(|| Supervisor::start(self.id.clone(), self.launch.clone()))
    }

    /// A client of a worker that takes connections; waits while the models load.
    async fn ready(&self, cx: &Cx) -> Result<(u64, Arc<OpenAi>)> {
        let mut stages = self.supervisor().follow();
        let until = Instant::now() + self.config.wait();
        let until = cx.deadline.map_or(until, |deadline| deadline.min(until));
        loop {
            let stage = stages.borrow_and_update().clone();
            match stage {
                Stage::Ready { number, .. } if self.suspect.load(Relaxed) == number => {
                    match tokio::time::timeout(NOTICED, stages.changed()).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_ended)) => return Err(self.closing()),
                        // Only a connection broke; the worker lives.
                        Err(_late) => {
                            let _ = self.suspect.compare_exchange(number, NOBODY, Relaxed, Relaxed);
                        }
                    }
                    continue;
                }
                Stage::Ready { number, socket } => {
                    // A worker can be dead for a moment before the supervisor knows.
                    match UnixStream::connect(&socket).await.map_err(|cause| cause.kind()) {
                        Err(ErrorKind::ConnectionRefused | ErrorKind::NotFound) => {}
                        _ => return self.client(number, socket).map(|client| (number, client)),
                    }
                }
                Stage::Failed(message) => {
                    let message = format!("provider '{}': the local engine did not start: {message}", self.id);
                    return Err(Error::unavailable(message).with_code("engine_failed").with_retry_after(SOON));
                }
                Stage::Loading => {}
            }
            tokio::select! {
                biased;
                () = cx.cancel.cancelled() => return Err(Error::cancelled()),
                () = tokio::time::sleep_until(until.into()) => {
                    let message = format!("provider '{}': the local engine is still loading its models", self.id);
                    return Err(Error::unavailable(message).with_code("engine_loading").with_retry_after(SOON));
                }
                changed = stages.changed() => {
                    if changed.is_err() {
                        return Err(self.closing());
                    }
                }
            }
        }
    }

    /// A client of the worker if there is one that takes requests now.
    fn running(&self) -> Option<Arc<OpenAi>> {
        let stage = self.supervisor.get()?.follow().borrow().clone();
        match stage {
            Stage::Ready { number, socket } => self.client(number, socket).ok(),
            Stage::Loading | Stage::Failed(_) => None,
        }
    }

    fn client(&self, number: u64, socket: PathBuf) -> Result<Arc<OpenAi>> {
        let poisoned = |_| Error::new(Kind::Internal, "taking the engine's client");
        let mut held = self.client.lock().map_err(poisoned)?;
        if let Some((of, client)) = held.as_ref()
            && *of == number
        {
            return Ok(Arc::clone(client));
        }
        let mut config = frontdesk_openai::Config::at(format!("{SERVER}/v1"));
        config.timeout_s = self.config.timeout_s;
        config.completions = false;
        let limits = Limits {
            head: Duration::from_secs(self.config.timeout_s),
            // The worker ends itself when it is silent for longer than its watchdog.
            idle: Duration::from_secs(self.config.watchdog_s.saturating_add(5)),
            ..Limits::default()
        };
        let client = Arc::new(OpenAi::with_client(&self.id, config, Client::over_unix(socket, limits))?);
        *held = Some((number, Arc::clone(&client)));
        Ok(client)
    }
}

#[async_trait]
impl Inference for Local {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let (number, client) = self.ready(cx).await?;
        let broken = self.broken(number);
        let mut reply = client.chat(cx, request).await.map_err(&broken)?;
        reply.frames = reply.frames.map(move |frame| frame.map_err(&broken)).boxed();
        Ok(reply)
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let (number, client) = self.ready(cx).await?;
        client.embed(cx, request).await.map_err(self.broken(number))
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        let (number, client) = self.ready(cx).await?;
        self.own.count(&client, cx, &request).await.map_err(self.broken(number))
    }

    async fn models(&self, _cx: &Cx) -> Result<Vec<Model>> {
        let model = |model: &crate::ModelConfig| Model {
            id: format!("{}/{}", self.id, model.id),
            provider: self.id.clone(),
            upstream_id: model.id.clone(),
            // The layout of sentence-transformers, by which the worker tells them too.
            kind: match model.path.join("modules.json").is_file() {
                true => ModelKind::Embedding,
                false => ModelKind::Llm,
            },
            created: 0,
            description: model.description.clone(),
        };
        Ok(self.config.models.iter().map(model).collect())
    }

    async fn set_loaded(&self, cx: &Cx, model: &str, loaded: bool) -> Result<()> {
        let (number, client) = self.ready(cx).await?;
        self.own.set_loaded(&client, cx, model, loaded).await.map_err(self.broken(number))
    }

    async fn metrics(&self) -> Result<Option<String>> {
        match (self.running(), self.status().state) {
            (Some(client), _) => self.own.metrics(&client).await.map(Some),
            (None, State::Idle) => Ok(None),
            (None, _) => Err(Error::unavailable(format!("provider '{}': the local engine is not running", self.id))),
        }
    }

    /// What the worker said; before that the configured bound, which a model may stay below.
    fn context_window(&self, model: &str) -> Option<usize> {
        let said = self.supervisor.get().and_then(|supervisor| supervisor.window(model));
        let bound = || self.config.max_model_len.filter(|_| self.config.models.iter().any(|own| own.id == model));
        said.or_else(bound)
    }

    async fn health(&self) -> Health {
        let status = self.status();
        let (verdict, message) = match status.state {
            State::Idle => (Verdict::Ok, "the engine starts with the first request".to_owned()),
            State::Loading => (Verdict::Starting, "the models are being loaded".to_owned()),
            State::Restarting => (Verdict::Starting, "the engine ended and is being started again".to_owned()),
            State::Ready => (Verdict::Ok, format!("{} models on {}", self.config.models.len(), self.device())),
            State::Failed => (Verdict::Error, status.last_error.clone().unwrap_or_default()),
        };
        let mut facts = json!(status);
        if let Some(client) = self.running()
            && let Ok(models) = self.own.models(&client).await
        {
            facts["engine"] = models;
        }
        Health { status: verdict, message: Some(message), facts: Some(facts) }
    }
}

impl Local {
    /// What an error of the worker with this number means; a broken connection makes that worker a suspect.
    fn broken(&self, number: u64) -> impl Fn(Error) -> Error + Send + Sync + use<> {
        let (id, suspect) = (self.id.clone(), Arc::clone(&self.suspect));
        move |cause| {
            let told = broken(&id, cause);
            if told.code.as_deref() == Some(DIED) {
                suspect.store(number, Relaxed);
            }
            told
        }
    }

    fn closing(&self) -> Error {
        Error::unavailable(format!("provider '{}' is shutting down", self.id))
    }

    fn device(&self) -> &str {
        self.config.device.as_deref().unwrap_or("cpu")
    }
}

/// Says what a broken connection to a worker means. Answers of the worker itself stay as they are.
fn broken(id: &str, mut cause: Error) -> Error {
    let answered = cause.code.as_deref().is_some_and(|code| code != "unreachable");
    if cause.kind == Kind::Upstream && !answered {
        cause.message =
            format!("provider '{id}': the local engine ended in the middle of this answer; it is being started again");
        cause.code = Some(DIED.into());
        cause.retry_after = Some(REPLACED);
    }
    cause
}

/// The id in at most eight letters that fit into a file name, told apart by a checksum.
fn short(id: &str) -> String {
    let letters: String = id.chars().filter(char::is_ascii_alphanumeric).take(4).collect();
    let sum = id.bytes().fold(0_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    format!("{letters}{sum:04x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_different_providers_differ_and_are_short() {
        let names: std::collections::BTreeSet<String> =
            ["local", "local-2", "local/2", "a-very-long-name-of-a-provider", ""].map(short).into();
        assert_eq!(names.len(), 5);
        assert!(names.iter().all(|name| name.len() <= 8));
    }

    #[tokio::test]
    async fn a_models_window_is_what_its_worker_says() {
        use std::os::unix::fs::PermissionsExt;

        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("worker");
        let line = r#"{"ready":true,"models":[{"id":"tiny","max_model_len":4096}]}"#;
        std::fs::write(&program, format!("#!/bin/sh\necho '{line}'\nread until_we_are_gone\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
        let setting = Setting {
            id: "local".into(),
            data_dir: folder.path().into(),
            runtime_dir: folder.path().join("run"),
            program,
            clock: Arc::new(frontdesk_api::clock::SystemClock),
            ids: Arc::new(frontdesk_api::id::RandomIds),
        };
        let config = json!({"models": [{"id": "tiny", "path": "/m"}], "max_model_len": 9000, "lazy": true});
        let local = Local::new(&setting, Config::read(config).unwrap()).unwrap();
        assert_eq!(local.context_window("tiny"), Some(9000), "nothing was said yet");
        let mut stages = local.supervisor().follow();
        stages.wait_for(|stage| matches!(stage, Stage::Ready { .. })).await.unwrap();
        assert_eq!((local.context_window("tiny"), local.context_window("huge")), (Some(4096), None));

        local.broken(7)(Error::invalid("n", "bad n"));
        assert_eq!(local.suspect.load(Relaxed), NOBODY);
        local.broken(7)(Error::upstream("the connection broke off"));
        assert_eq!(local.suspect.load(Relaxed), 7);
    }

    #[test]
    fn only_a_broken_connection_is_told_as_a_death() {
        let cut = broken("l", Error::upstream("the connection broke off"));
        assert_eq!((cut.code.as_deref(), cut.retry_after), (Some("engine_died"), Some(REPLACED)));
        let said = broken("l", Error::upstream("out of memory").with_code("engine_error"));
        assert_eq!(said.message, "out of memory");
        let bad = broken("l", Error::invalid("n", "bad n"));
        assert_eq!(bad.kind, Kind::Invalid);
    }
}
