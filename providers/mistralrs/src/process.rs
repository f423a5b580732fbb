//! One worker process, from its start to its end.
//!
//! The process inherits nothing but standard input, whose end tells it that we are gone; so no worker outlives us however we
//! end. Invariant: dropping a `Process` kills it and removes its socket.

use std::collections::{BTreeMap, VecDeque};
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Where the engine's libraries look for fetched models and tokens: an empty folder beside the socket.
const NO_CACHE: &str = "none";
/// Lines of the worker's log that are kept.
const LOG_LINES: usize = 40;
/// Longest line of it that is kept, in bytes.
const LOG_LINE: usize = 500;

/// How to start a worker.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: BTreeMap<String, String>,
    /// A private folder with a short path.
    pub(crate) folder: PathBuf,
    pub(crate) load_timeout: Duration,
}

/// A worker that takes requests.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// Never written to; closing it ends the worker.
    _stdin: ChildStdin,
    pub(crate) pid: u32,
    pub(crate) socket: Socket,
    /// Tokens of prompt and answer together that each model takes, by its id.
    pub(crate) windows: BTreeMap<String, usize>,
}

/// The path of a socket; the file and what the worker left beside it are removed with it.
#[derive(Debug)]
pub(crate) struct Socket(pub(crate) PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        if let Some(folder) = self.0.parent() {
            let _ = std::fs::remove_dir_all(folder.join(NO_CACHE));
            // Stays where a successor has its socket already.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

/// The last lines a worker wrote to its log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }

    fn push(&self, mut line: String) {
        if let Some((end, _)) = line.char_indices().find(|(at, _)| *at >= LOG_LINE) {
            line.truncate(end);
        }
        if let Ok(mut lines) = self.0.lock() {
            if lines.len() == LOG_LINES {
                lines.pop_front();
            }
            lines.push_back(line);
        }
    }
}

/// The one line a worker writes to standard output.
#[derive(Deserialize)]
struct ReadyLine {
    ready: bool,
    error: Option<String>,
    #[serde(default)]
    models: Vec<Loaded>,
}

/// A model in that line.
#[derive(Deserialize)]
struct Loaded {
    id: String,
    /// None: it is not loaded yet, and its files do not say.
    max_model_len: Option<usize>,
}

impl Process {
    /// Starts a worker and waits until it takes requests. `number` makes the socket's name.
    ///
    /// # Errors
    /// One sentence: the program cannot be started, or what the worker said before it ended.
    pub(crate) async fn start(launch: &Launch, number: u64, log: &Log) -> Result<Self, String> {
        private_folder(&launch.folder)?;
        let socket = Socket(launch.folder.join(format!("e{number}")));
        let mut child = command(launch, &socket.0)
            .spawn()
            .map_err(|cause| format!("cannot start {}: {cause}", launch.program.display()))?;
        let stdin = child.stdin.take().ok_or("the worker has no standard input")?;
        let stdout = child.stdout.take().ok_or("the worker has no standard output")?;
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    tracing::debug!(target: "frontdesk_mistralrs::worker", "{line}");
                    log.push(line);
                }
            });
        }
        let pid = child.id().ok_or("the worker ended at once")?;
        let ready = tokio::time::timeout(launch.load_timeout, ready(stdout)).await;
        let ready =
            ready.map_err(|_late| format!("the models were not loaded within {} s", launch.load_timeout.as_secs()))?;
        match ready {
            Some(ReadyLine { ready: true, models, .. }) => {
                let windows = models.into_iter().filter_map(|model| Some((model.id, model.max_model_len?))).collect();
                Ok(Self { child, _stdin: stdin, pid, socket, windows })
            }
            Some(ReadyLine { error, .. }) => Err(error.unwrap_or_else(|| "the worker is not ready".into())),
            None => {
                let status = child.wait().await.map_err(|cause| cause.to_string())?;
                Err(format!("the worker ended while loading ({})", ended(status)))
            }
        }
    }

    /// Waits for the end of the worker and says how it ended.
    pub(crate) async fn end(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => ended(status),
            Err(cause) => cause.to_string(),
        }
    }
}

fn command(launch: &Launch, socket: &Path) -> Command {
    let mut command = Command::new(&launch.program);
    command
        .arg("engine")
        .args(&launch.arguments)
        .arg("--socket")
        .arg(socket)
        .arg("--watch-stdin")
        .env_clear()
        // The engine's libraries can fetch models; here they find no cache, no token and nobody to ask.
        .env("HF_HOME", launch.folder.join(NO_CACHE))
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        // Backtraces of engine errors would fill the log.
        .env("RUST_LIB_BACKTRACE", "0")
        .envs(&launch.environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The first line on standard output; none when there is no such line. Reads on, so that the worker never waits for us.
async fn ready(stdout: ChildStdout) -> Option<ReadyLine> {
    let mut lines = BufReader::new(stdout).lines();
    let line = lines.next_line().await.ok().flatten()?;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    serde_json::from_str(&line).ok()
}

fn private_folder(path: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| format!("cannot make the folder {} for sockets: {cause}", path.display()))?;
    // Whoever may write to it could put a socket of its own in the place of ours, and read what is asked.
    match path.symlink_metadata() {
        Ok(found) if found.is_dir() && found.permissions().mode() & 0o077 == 0 => Ok(()),
        Ok(found) if found.is_dir() => Err(format!(
            "{} is open to other users, and sockets in it would be theirs: remove it, or TMPDIR names another place",
            path.display()
        )),
        Ok(_) => Err(format!("{} is not a folder", path.display())),
        Err(cause) if cause.kind() == ErrorKind::NotFound => Err(format!("{} is gone", path.display())),
        Err(cause) => Err(format!("{}: {cause}", path.display())),
    }
}

fn ended(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "no exit status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_its_last_lines_and_cuts_long_ones() {
        let log = Log::default();
        for number in 0..50 {
            log.push(format!("line {number}"));
        }
        log.push("ü".repeat(LOG_LINE));
        let lines = log.lines();
        assert_eq!(lines.len(), LOG_LINES);
        assert_eq!(lines[0], "line 11");
        assert_eq!(lines[LOG_LINES - 1].len(), LOG_LINE);
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        private_folder(&folder.path().join("new/one")).unwrap();
        let open = folder.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private_folder(&open).unwrap_err().contains("open to other users"));
        std::os::unix::fs::symlink(folder.path(), folder.path().join("elsewhere")).unwrap();
        assert!(private_folder(&folder.path().join("elsewhere")).unwrap_err().contains("not a folder"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            program: "/nowhere/frontdesk".into(),
            arguments: vec![],
            environment: BTreeMap::new(),
            folder: folder.path().join("run"),
            load_timeout: Duration::from_secs(5),
        };
        let message = Process::start(&launch, 1, &Log::default()).await.unwrap_err();
        assert!(message.starts_with("cannot start /nowhere/frontdesk: "), "{message}");
    }
}
