//! A server that is a program: messages are lines of its standard input and output.
//!
//! Invariants: only commands of the operator's run, in a group of their own that is killed whole when the server is let
//! go of; what they find in their environment is what the operator wrote, and `PATH`; one request is under way at a
//! time, and a program that does not answer in time is killed, since nobody knows what it would answer next.

use std::{process::Stdio, time::Duration};

use frontdesk_api::{Cx, Error, Kind, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
    sync::Mutex,
};

use crate::{
    config::Command,
    ear::Ear,
    endpoint::struck,
    http_server::{Fault, LARGEST, unsure},
    rpc::{self, Message},
};

/// Bytes of a line of a program's standard error that are logged.
const MOST_LOGGED: usize = 1_000;

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
    pub(crate) async fn ask(&self, cx: &Cx, begun: bool, message: &Value, ear: Ear<'_>) -> Result<Value, Fault> {
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
            done = self.exchange(&mut running, message, ear) => done,
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
        let errors = child.stderr.take().ok_or_else(missing)?;
        tokio::spawn(log(errors, self.command.clone()));
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        Ok(Running { child: Killed { group, process: child }, input, output: BufReader::new(output) })
    }

    async fn exchange(
        &self,
        running: &mut Running,
        message: &Value,
        ear: Ear<'_>,
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
                let message = format!("the command '{name}' ended without an answer; the log has what it wrote");
                return Err(unsure(Error::upstream(message)));
            };
            match serde_json::from_slice(&line).ok().and_then(rpc::message) {
                Some(Message::Response { id, result }) if id == message["id"] => return Ok(result),
                Some(Message::Request { id, method, params }) => {
                    let reply = ear.reply(&id, &method, &params).await;
                    write(&mut running.input, &reply).await?;
                }
                Some(Message::Notification { method, params }) => ear.hear(&method, &params),
                // Lines that are none of the protocol's: some programs greet.
                Some(Message::Response { .. }) | None => {}
            }
        }
    }
}

/// What a program writes to its standard error is for the operator: neither models nor tenants read it.
async fn log(errors: ChildStderr, command: Command) {
    let secrets = command.secrets();
    let mut errors = BufReader::new(errors);
    let most = u64::try_from(MOST_LOGGED).unwrap_or(u64::MAX);
    let mut line = vec![];
    // Read to its end, or the program would stand still once the pipe is full.
    while let Ok(1..) = (&mut errors).take(most).read_until(b'\n', &mut line).await {
        let words = struck(&secrets, String::from_utf8_lossy(&line).trim_end().to_owned());
        tracing::info!(command = command.name, "the command of an MCP server wrote: {words}");
        line.clear();
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
