//! A server that is a program: messages are lines of its standard input and output.
//!
//! Invariants: only commands of the operator's run, in a group of their own that is killed whole when the server is let
//! go of; what they find in their environment is what the operator wrote, and `PATH`; one request is under way at a
//! time, and a program that does not answer in time is killed, since nobody knows what it would answer next.

use std::{
    process::Stdio,
    sync::{Arc, Mutex as Short, PoisonError},
    time::Duration,
};

use frontdesk_api::{Cx, Error, Kind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout},
    sync::Mutex,
    task::JoinHandle,
};

use crate::{
    config::Command,
    http_server::{Fault, LARGEST, reply},
    rpc::{self, Message},
};

/// Bytes of what a program wrote to its standard error that are kept, the last ones.
const LAST_WORDS: usize = 400;

/// How long is waited for them when it has ended.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// A program that runs, or will at the first message.
pub(crate) struct Program {
    command: Command,
    silence: Duration,
    running: Mutex<Option<Running>>,
}

struct Running {
    child: Killed,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    words: Arc<Short<Vec<u8>>>,
    /// Ends with the program's standard error.
    listening: JoinHandle<()>,
}

/// Kills the whole group when it is dropped.
struct Killed {
    group: Option<Pid>,
    /// Reaped by the runtime.
    process: Child,
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Program {
    pub(crate) fn new(command: Command, silence: Duration) -> Self {
        Self { command, silence, running: Mutex::default() }
    }

    /// Sends a request and waits for its response.
    ///
    /// # Errors
    /// As [`crate::http_server::HttpServer::ask`]; a program that ended has `SessionGone` where `begun` says that it was
    /// expected to be there.
    pub(crate) async fn ask(
        &self,
        cx: &Cx,
        begun: bool,
        message: &Value,
        hear: &(dyn Fn(&str, &Value) + Send + Sync),
    ) -> Result<Value, Fault> {
        let mut slot = self.running.lock().await;
        // One that ended by itself meanwhile is begun anew.
        slot.take_if(|running| !matches!(running.child.process.try_wait(), Ok(None)));
        if slot.is_none() && begun {
            return Err(Fault::SessionGone);
        }
        // Taken out: whoever drops this request in the middle of it drops the program.
        let mut running = match slot.take() {
            Some(running) => running,
            None => self.start()?,
        };
        let done = tokio::select! {
            biased;
            () = cx.cancel.cancelled() => Err(Error::cancelled()),
            done = self.exchange(&mut running, message, hear) => done,
        };
        match done {
            Ok(result) => {
                *slot = Some(running);
                result.map_err(Fault::Rpc)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Sends what has no response.
    pub(crate) async fn tell(&self, message: &Value) -> Result<(), Fault> {
        let mut slot = self.running.lock().await;
        let Some(running) = slot.as_mut() else { return Err(Fault::SessionGone) };
        let written = write(&mut running.input, message).await;
        if written.is_err() {
            *slot = None;
        }
        Ok(written?)
    }

    fn start(&self) -> Result<Running> {
        let Command { name, command, args, env, folder } = &self.command;
        let mut starting = tokio::process::Command::new(command);
        starting.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(env);
        starting.current_dir(folder.as_deref().unwrap_or(std::path::Path::new("/")));
        starting.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = starting.process_group(0).kill_on_drop(true).spawn();
        let mut child =
            started.map_err(|e| Error::upstream(format!("the command '{name}' could not be started: {e}")))?;
        let missing = || Error::new(Kind::Upstream, format!("the command '{name}' has no pipes"));
        let (input, output) = (child.stdin.take().ok_or_else(missing)?, child.stdout.take().ok_or_else(missing)?);
        let mut errors = child.stderr.take().ok_or_else(missing)?;
        let words = Arc::new(Short::new(vec![]));
        let kept = Arc::clone(&words);
        let listening = tokio::spawn(async move {
            let mut piece = [0; 1024];
            // Read to its end, or the program would stand still once the pipe is full.
            while let Ok(n @ 1..) = errors.read(&mut piece).await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.extend_from_slice(&piece[..n]);
                let over = kept.len().saturating_sub(LAST_WORDS);
                kept.drain(..over);
            }
        });
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Running { child: Killed { group, process: child }, input, output: BufReader::new(output), words, listening })
    }

    async fn exchange(
        &self,
        running: &mut Running,
        message: &Value,
        hear: &(dyn Fn(&str, &Value) + Send + Sync),
    ) -> Result<Result<Value, rpc::RpcError>> {
        write(&mut running.input, message).await?;
        loop {
            let line = tokio::time::timeout(self.silence, line(&mut running.output)).await;
            let name = &self.command.name;
            let line = line.map_err(|_| {
                let seconds = self.silence.as_secs();
                Error::new(Kind::Timeout, format!("the command '{name}' gave no answer within {seconds} s"))
            })??;
            let Some(line) = line else {
                // What it said last may still be on its way; what it left behind may hold the pipe open.
                let _ = tokio::time::timeout(LAST_WORDS_WITHIN, &mut running.listening).await;
                let words = running.words.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let words = rpc::words_of(&String::from_utf8_lossy(&words));
                let said = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
                return Err(Error::upstream(format!("the command '{name}' ended without an answer{said}")));
            };
            match serde_json::from_slice(&line).ok().and_then(rpc::message) {
                Some(Message::Response { id, result }) if id == message["id"] => return Ok(result),
                Some(Message::Request { id, method }) => write(&mut running.input, &reply(&id, &method)).await?,
                Some(Message::Notification { method, params }) => hear(&method, &params),
                // Lines that are none of the protocol's: some programs greet.
                Some(Message::Response { .. }) | None => {}
            }
        }
    }
}

async fn write(input: &mut ChildStdin, message: &Value) -> Result<()> {
    let mut line = message.to_string();
    line.push('\n');
    let written = async {
        input.write_all(line.as_bytes()).await?;
        input.flush().await
    };
    written.await.map_err(|e| Error::upstream(format!("the command reads no more: {e}")))
}

/// One line without its end; None at the end of the output.
async fn line(output: &mut BufReader<ChildStdout>) -> Result<Option<Vec<u8>>> {
    let mut whole = vec![];
    let most = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    let read = (&mut *output).take(most).read_until(b'\n', &mut whole).await;
    read.map_err(|e| Error::upstream(format!("the command's output cannot be read: {e}")))?;
    match whole.pop() {
        Some(b'\n') => Ok(Some(whole)),
        Some(_) if whole.len() + 1 == LARGEST => {
            Err(Error::upstream(format!("the command wrote a line of more than {LARGEST} bytes")))
        }
        _ => Ok(None),
    }
}
