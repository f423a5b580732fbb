//! Compiling in a child process: the one step whose cost the engine's authors do not bound.
//!
//! The child is this same program with another command. It gets the limits and the component on stdin and
//! nothing else: no environment, no file, no argument that a component could shape; before it reads a byte of
//! the component it has set itself limits of processor time and memory that only a privileged process could
//! lift. Invariant: a component that makes the compiler run away costs one child and names the limit.

use std::{
    io::{Read, Write},
    path::Path,
    process::{ExitCode, Stdio},
};

use frontdesk_api::{Error, Kind};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmtime::Engine;

use crate::{
    component::reason,
    engine,
    fault::Fault,
    limits::{Limit, Limits},
    log::one_line,
};

/// The command of the program that [`run`] stands behind.
pub const COMMAND: &str = "compile-component";

/// The first line of the child's stdin.
#[derive(Serialize, Deserialize)]
struct Order {
    cpu_s: u64,
    /// Bytes of address space.
    space: u64,
    /// What decides the engine's settings.
    memory: usize,
    stack: usize,
}

/// How much longer than its processor time the child may take on a busy machine.
const PATIENCE: u32 = 10;

/// The most machine code that is taken, in bytes.
const CODE: u64 = 512 << 20;

/// The most of the child's complaints that is read, in bytes.
const WORDS: u64 = 4 << 10;

/// The component's machine code, from a child process of `program`.
pub(crate) async fn in_child(program: &Path, bytes: &[u8], limits: &Limits) -> Result<Vec<u8>, Fault> {
    let broken = |e: std::io::Error| {
        Fault::Host(Error::new(Kind::Internal, "compiling a tool in a child process failed").with_source(e.to_string()))
    };
    let mut child = tokio::process::Command::new(program)
        .arg(COMMAND)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(broken)?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(broken(std::io::Error::other("the child has no pipes")));
    };
    let order = Order {
        cpu_s: limits.compile_cpu.as_secs().max(1),
        space: limits.compile_space as u64,
        memory: limits.memory,
        stack: limits.stack,
    };
    let order = serde_json::to_string(&order).map_err(|e| broken(e.into()))?;
    let (mut code, mut words) = (vec![], vec![]);
    let (mut stdout, mut stderr) = (stdout.take(CODE), stderr.take(WORDS));
    let talk = async {
        let given = async {
            // A child that ended early says why on stderr.
            let _ = stdin.write_all(format!("{order}\n").as_bytes()).await;
            let _ = stdin.write_all(bytes).await;
            drop(stdin);
            Ok(0)
        };
        tokio::try_join!(given, stdout.read_to_end(&mut code), stderr.read_to_end(&mut words))?;
        child.wait().await
    };
    let over = |limit| Fault::Limit(limits.exceeded(limit));
    // What the machine does is not the component's: it is told as trouble of ours, and nobody remembers it.
    let machine = |what: &str| Fault::Host(Error::unavailable(format!("a tool could not be compiled now: {what}")));
    let patience = limits.compile_cpu.saturating_mul(PATIENCE);
    let status = match tokio::time::timeout(patience, talk).await {
        Err(_) => {
            return Err(machine(&format!(
                "the child process that compiles it did not end within {} s",
                patience.as_secs()
            )));
        }
        Ok(status) => status.map_err(broken)?,
    };
    if status.success() {
        return Ok(code);
    }
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(STARVED), _) => Err(over(Limit::CompileSpace)),
        (Some(REFUSED), _) => Err(Fault::NotATool(one_line(&String::from_utf8_lossy(&words)))),
        (_, Some(libc::SIGXCPU)) => Err(over(Limit::CompileCpu)),
        (_, Some(libc::SIGKILL)) => {
            Err(machine("the child process that compiles it was killed, as a machine short of memory does"))
        }
        // How an allocation that fails ends a program.
        (_, Some(libc::SIGABRT | libc::SIGSEGV)) => Err(over(Limit::CompileSpace)),
        _ => Err(broken(std::io::Error::other(format!("{status}: {}", String::from_utf8_lossy(&words))))),
    }
}

/// The child's end where the component does not compile; its words are on stderr.
const REFUSED: i32 = 3;

/// Where it was told that there is no memory left, and did not end by that.
const STARVED: i32 = 4;

/// The child: an order and a component on stdin, machine code on stdout.
#[must_use]
pub fn run() -> ExitCode {
    match compiled() {
        Ok(code) => match std::io::stdout().lock().write_all(&code) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err((status, words)) => {
            // Nobody is left to be told where this fails.
            let _ = writeln!(std::io::stderr(), "{words}");
            ExitCode::from(u8::try_from(status).unwrap_or(1))
        }
    }
}

fn compiled() -> Result<Vec<u8>, (i32, String)> {
    let broken = |e: &dyn std::fmt::Display| (1, e.to_string());
    let failed = |status: i32, e: wasmtime::Error| (if starved(e.as_ref()) { STARVED } else { status }, reason(&e));
    let mut stdin = std::io::stdin().lock();
    let mut line = Vec::new();
    // Byte by byte: nothing of the component may be in memory before the limits are set.
    for byte in stdin.by_ref().bytes().take(512) {
        match byte.map_err(|e| broken(&e))? {
            b'\n' => break,
            byte => line.push(byte),
        }
    }
    let order: Order = serde_json::from_slice(&line).map_err(|e| broken(&e))?;
    confine(&order).map_err(|e| broken(&e))?;
    let mut bytes = vec![];
    stdin.read_to_end(&mut bytes).map_err(|e| if starved(&e) { (STARVED, e.to_string()) } else { broken(&e) })?;
    let limits = Limits { memory: order.memory, stack: order.stack, ..Limits::default() };
    let engine = Engine::new(&engine::config(&limits, false)).map_err(|e| failed(1, e))?;
    engine.precompile_component(&bytes).map_err(|e| failed(REFUSED, e))
}

/// Whether it is that no memory was given.
fn starved(error: &(dyn std::error::Error + 'static)) -> bool {
    let io = |e: &std::io::Error| e.kind() == std::io::ErrorKind::OutOfMemory;
    std::iter::successors(Some(error), |e| e.source()).any(|e| {
        e.is::<wasmtime::OutOfMemory>() || e.downcast_ref() == Some(&Errno::NOMEM) || e.downcast_ref().is_some_and(io)
    })
}

/// Limits of this process from here on.
#[allow(unsafe_code)]
fn confine(order: &Order) -> std::io::Result<()> {
    // Where memory runs out the kernel takes this process (proc(5), `oom_score_adj`) and not the one that serves.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let all = [
        (libc::RLIMIT_CPU, order.cpu_s),
        (libc::RLIMIT_AS, order.space),
        // No file can grow, few can be opened beside the three pipes, no dump is made, and no process or thread either
        // (which a privileged user is not held to).
        (libc::RLIMIT_FSIZE, 0),
        (libc::RLIMIT_NOFILE, 16),
        (libc::RLIMIT_CORE, 0),
        (libc::RLIMIT_NPROC, 0),
    ];
    for (which, most) in all {
        // Of processor time a second more: at its soft limit a process is told so, at its hard one killed as by anyone.
        let hard = if which == libc::RLIMIT_CPU { most.saturating_add(1) } else { most };
        let limit = libc::rlimit { rlim_cur: most, rlim_max: hard };
        // SAFETY: the pointer is to a value that lives through the call, which only reads it.
        if unsafe { libc::setrlimit(which, &raw const limit) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_child_that_was_killed_says_nothing_of_its_component() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("child");
        for (signal, own) in [("KILL", false), ("XCPU", true)] {
            std::fs::write(&program, format!("#!/bin/sh\nkill -{signal} $$\n")).unwrap();
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o700)).unwrap();
            let fault = in_child(&program, b"", &Limits::default()).await.expect_err(signal);
            assert_eq!(fault.is_the_components(), own, "{fault}");
            let limit = matches!(&fault, Fault::Limit(exceeded) if exceeded.limit == Limit::CompileCpu);
            assert_eq!((limit, matches!(fault, Fault::Host(_))), (own, !own), "{signal}");
        }
    }
}
