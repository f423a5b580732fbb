//! A child process whose output is kept: wait for a line, end it by id, show its last words on failure.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Lines kept of each process's output.
const KEPT_LINES: usize = 2_000;

/// A running child. Dropping it kills it by its id and waits for its end.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Default)]
struct Output {
    inner: Mutex<Lines>,
    grew: Condvar,
}

#[derive(Default)]
struct Lines {
    stdout: VecDeque<String>,
    /// Both streams in order of arrival.
    log: VecDeque<String>,
    /// Streams still open.
    open: usize,
}

impl Process {
    /// Starts `command` with its output captured and its standard input held open.
    ///
    /// # Panics
    /// When it cannot be started; the message names it.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("start {name}: {e} ({command:?})"));
        let output = Arc::new(Output::default());
        output.lock().open = 2;
        read(child.stdout.take().expect("piped stdout"), Arc::clone(&output), true);
        read(child.stderr.take().expect("piped stderr"), Arc::clone(&output), false);
        Self { name: name.to_owned(), child, output }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What follows `prefix` on the first line of standard output that begins with it.
    /// `None` when the output ended, or `limit` passed, without one.
    #[must_use]
    pub fn line_after(&self, prefix: &str, limit: Duration) -> Option<String> {
        let deadline = Instant::now() + limit;
        let mut lines = self.output.lock();
        loop {
            if let Some(rest) = lines.stdout.iter().find_map(|l| l.strip_prefix(prefix)) {
                return Some(rest.trim().to_owned());
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|_| lines.open > 0)?;
            lines = self.output.grew.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for the end by itself; `None` when it still ran after `limit`.
    ///
    /// # Panics
    /// When the system cannot tell.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        // Its output ends with it, so the end is an event, not something to poll for.
        let mut lines = self.output.lock();
        while lines.open > 0 {
            let left = deadline.checked_duration_since(Instant::now())?;
            lines = self.output.grew.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(lines);
        Some(self.child.wait().unwrap_or_else(|e| panic!("wait for {}: {e}", self.name)))
    }

    /// SIGTERM: asks it to end.
    ///
    /// # Panics
    /// When the signal cannot be sent.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGKILL, and returns once it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends the named signal, by process id.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.pid().to_string()).status();
        assert!(status.is_ok_and(|s| s.success()), "send SIG{signal} to {} ({})", self.name, self.pid());
    }

    /// The last lines it wrote, both streams.
    #[must_use]
    pub fn log(&self) -> String {
        let lines = self.output.lock();
        lines.log.iter().map(|l| format!("{l}\n")).collect()
    }

    /// The lines it wrote to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        let lines = self.output.lock();
        lines.stdout.iter().map(|l| format!("{l}\n")).collect()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- {} (pid {}) said last:\n{}----", self.name, self.pid(), self.log());
        }
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(stream: impl Read + Send + 'static, output: Arc<Output>, is_stdout: bool) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            line.clear();
            let mut lines = output.lock();
            if is_stdout {
                push(&mut lines.stdout, text.clone());
            }
            push(&mut lines.log, text);
            drop(lines);
            output.grew.notify_all();
        }
        output.lock().open -= 1;
        output.grew.notify_all();
    });
}

fn push(lines: &mut VecDeque<String>, line: String) {
    if lines.len() == KEPT_LINES {
        lines.pop_front();
    }
    lines.push_back(line);
}

/// Private memory of a process, in KiB.
///
/// # Panics
/// Where it has ended.
#[must_use]
pub fn private_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process's status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("sh", command)
    }

    #[test]
    fn a_line_is_found_and_the_end_is_seen() {
        let mut process = shell("echo before; echo 'ready http://x'; echo oops >&2; exit 3");
        assert_eq!(process.line_after("ready ", crate::PATIENCE).as_deref(), Some("http://x"));
        assert_eq!(process.wait(crate::PATIENCE).unwrap().code(), Some(3));
        assert!(process.log().contains("oops"), "{}", process.log());
        assert_eq!(process.stdout(), "before\nready http://x\n");
    }

    #[test]
    fn output_that_ends_without_the_line_does_not_hang() {
        let process = shell("echo other");
        assert_eq!(process.line_after("ready ", crate::PATIENCE), None);
    }

    #[test]
    fn terminate_reaches_the_process() {
        let mut process =
            shell("sleep 1000 >/dev/null 2>&1 & nap=$!; trap 'kill $nap; echo bye; exit 7' TERM; echo up; wait");
        assert!(process.line_after("up", crate::PATIENCE).is_some());
        process.terminate();
        assert_eq!(process.wait(crate::PATIENCE).unwrap().code(), Some(7));
        assert!(process.stdout().contains("bye"), "{}", process.log());
    }
}
