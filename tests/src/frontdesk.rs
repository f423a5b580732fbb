//! The product under test: the built binary, started on a free port with its own data and database.

// A test program reads its own environment; the rule is for the rooms of the product.
#![allow(clippy::disallowed_methods)]

use crate::{Database, Lane, PATIENCE, Process, Scripted};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

/// The admin key every test's Frontdesk is started with.
pub const ADMIN_KEY: &str = "frontdesk-tests-admin-key";

/// How to start Frontdesk.
#[derive(Debug, Default, Clone)]
pub struct Options {
    config: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    lane: Option<Lane>,
}

/// A running Frontdesk. Dropping it kills it by process id, then drops its data and its database.
pub struct Frontdesk {
    url: String,
    process: Process,
    options: Options,
    home: tempfile::TempDir,
    database: Arc<Database>,
    client: reqwest::Client,
}

/// A start that came to nothing.
#[derive(Debug)]
pub struct Refused {
    /// `None` when it neither got ready nor ended within [`PATIENCE`].
    pub status: Option<ExitStatus>,
    /// Everything it wrote.
    pub log: String,
}

impl Options {
    /// Defaults only: the product's own configuration.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One provider `up` of type `openai` at the scripted upstream; its models are `up/<name>`.
    #[must_use]
    pub fn upstream(scripted: &Scripted) -> Self {
        Self::new().config(&format!(
            "providers:\n  inference:\n    - {{ id: up, type: openai, config: {{ base_url: \"{}\", api_key: \"upstream-key\" }} }}\n",
            scripted.base_url()
        ))
    }

    /// Adds top-level members (block YAML) to the configuration. `listen` and `data_dir` are the harness's.
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        self.config.push_str(yaml);
        if !self.config.ends_with('\n') {
            self.config.push('\n');
        }
        self
    }

    /// One more argument of `frontdesk up`.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// A variable of the process's environment.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A lane other than the current one.
    #[must_use]
    pub fn lane(mut self, lane: Lane) -> Self {
        self.lane = Some(lane);
        self
    }
}

impl Frontdesk {
    /// Starts the binary and returns once it serves.
    ///
    /// # Panics
    /// When it does not get ready; the message carries its log.
    #[must_use]
    pub fn start(options: Options) -> Self {
        match Self::try_start(options) {
            Ok(frontdesk) => frontdesk,
            Err(refused) => panic!("frontdesk did not start ({:?}):\n{}", refused.status, refused.log),
        }
    }

    /// Starts the binary; an early end is an answer, not a failure.
    ///
    /// # Errors
    /// What it said when it ended without getting ready.
    pub fn try_start(options: Options) -> Result<Self, Refused> {
        let home = tempfile::Builder::new().prefix("fd-test-").tempdir().expect("temporary directory");
        let database = Arc::new(Database::create(options.lane.unwrap_or_else(Lane::current)));
        Self::on(options, home, database)
    }

    /// Another process on the same database, with the same pepper, as an operator sets up a second one. Not on SQLite,
    /// whose file one process has to itself.
    ///
    /// # Panics
    /// When it does not get ready; the message carries its log.
    #[must_use]
    pub fn beside(&self, options: Options) -> Self {
        let home = tempfile::Builder::new().prefix("fd-test-").tempdir().expect("temporary directory");
        let data = home.path().join("data");
        std::fs::create_dir(&data).expect("a data folder");
        std::fs::copy(self.data_dir().join("pepper"), data.join("pepper")).expect("the pepper");
        match Self::on(options, home, Arc::clone(&self.database)) {
            Ok(frontdesk) => frontdesk,
            Err(refused) => panic!("frontdesk did not start ({:?}):\n{}", refused.status, refused.log),
        }
    }

    fn on(options: Options, home: tempfile::TempDir, database: Arc<Database>) -> Result<Self, Refused> {
        let (process, url) = launch(&options, home.path(), &database)?;
        let client = reqwest::Client::builder().no_proxy().build().expect("HTTP client");
        Ok(Self { url, process, options, home, database, client })
    }

    /// SIGKILL, then the same again on the same data.
    ///
    /// # Panics
    /// When it does not get ready again.
    pub fn restart(&mut self) {
        self.process.kill();
        match launch(&self.options, self.home.path(), &self.database) {
            Ok((process, url)) => (self.process, self.url) = (process, url),
            Err(refused) => panic!("frontdesk did not start again ({:?}):\n{}", refused.status, refused.log),
        }
    }

    /// Starts it again on the same data after it ended; a refusal is an answer.
    ///
    /// # Errors
    /// What it said when it ended without getting ready.
    pub fn start_again(&mut self) -> Result<(), Refused> {
        (self.process, self.url) = launch(&self.options, self.home.path(), &self.database)?;
        Ok(())
    }

    /// SIGTERM, then its end; `None` when it still ran after [`PATIENCE`].
    pub fn stop(&mut self) -> Option<ExitStatus> {
        self.process.terminate();
        self.process.wait(PATIENCE)
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The process, for signals, its log and its id.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// One text column read by a second process from its database.
    ///
    /// # Panics
    /// When the query fails; the message names it.
    pub async fn texts(&self, query: &str) -> Vec<String> {
        self.database.texts(&self.data_dir(), query).await
    }

    /// A request without a key.
    pub fn open(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap_or_else(|_| panic!("{method:?} is no HTTP method"));
        self.client.request(method, format!("{}{path}", self.url))
    }

    /// A request with the admin key.
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.open(method, path).bearer_auth(ADMIN_KEY)
    }

    /// GET with the admin key: status and JSON.
    ///
    /// # Panics
    /// When no answer comes or it is no JSON.
    pub async fn get(&self, path: &str) -> (u16, serde_json::Value) {
        answer(path, self.request("GET", path)).await
    }

    /// POST of JSON with the admin key: status and JSON.
    ///
    /// # Panics
    /// When no answer comes or it is no JSON.
    pub async fn post(&self, path: &str, body: &serde_json::Value) -> (u16, serde_json::Value) {
        answer(path, self.request("POST", path).json(body)).await
    }
}

/// Sends a request and reads status and JSON.
///
/// # Panics
/// When no answer comes or it is no JSON; the message names `what` and shows the text.
pub async fn answer(what: &str, request: reqwest::RequestBuilder) -> (u16, serde_json::Value) {
    let response = request.send().await.unwrap_or_else(|e| panic!("{what}: {e}"));
    let status = response.status().as_u16();
    let text = response.text().await.unwrap_or_else(|e| panic!("{what}: reading the answer: {e}"));
    match serde_json::from_str(&text) {
        Ok(json) => (status, json),
        Err(_) if text.is_empty() => (status, serde_json::Value::Null),
        Err(e) => panic!("{what}: {status} is no JSON ({e}): {text}"),
    }
}

/// The binary: `FRONTDESK_BIN`, else the newer of the release and dev builds in the target directory of this test program.
///
/// # Panics
/// When there is none; the message says how to make one.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("FRONTDESK_BIN") {
        return PathBuf::from(named);
    }
    let program = std::env::current_exe().expect("path of this program");
    // target/debug/deps/it-… → target
    let from_program = program.ancestors().nth(3).map(Path::to_path_buf);
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).or(from_program).unwrap_or_default();
    let built = ["release", "debug"].map(|profile| target.join(profile).join("frontdesk"));
    let made = built.into_iter().filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)));
    let newest = made.max().map(|(_, path)| path);
    newest.unwrap_or_else(|| {
        panic!("no frontdesk binary in {}: run `cargo build` or set FRONTDESK_BIN", target.display())
    })
}

fn launch(options: &Options, home: &Path, database: &Database) -> Result<(Process, String), Refused> {
    let mut config = options.config.clone();
    if let Some(url) = database.url() {
        config.push_str(&format!("database_url: \"{url}\"\n"));
    }
    let file = home.join("frontdesk.yaml");
    std::fs::write(&file, config).expect("write the configuration");
    let mut command = Command::new(binary());
    command
        .arg("up")
        .arg("--config")
        .arg(&file)
        .args(["--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.join("data"))
        .args(&options.arguments)
        .current_dir(home)
        .env_remove("DATABASE_URL")
        .env("FRONTDESK_ADMIN_KEY", ADMIN_KEY)
        .envs(options.environment.iter().map(|(k, v)| (k, v)));
    let mut process = Process::start("frontdesk", command);
    match process.line_after("ready ", PATIENCE) {
        Some(url) => Ok((process, url)),
        None => {
            let status = process.wait(std::time::Duration::from_secs(5));
            Err(Refused { status, log: process.log() })
        }
    }
}
