//! Time from start to the line `ready`, and the memory of the process once it idles.

use crate::options::Options;
use crate::process::usage;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let binary = options.find("binary").ok_or("--binary PATH is missing")?;
    for round in 0..options.number("runs", 9) {
        let data = tempfile::tempdir().map_err(|e| e.to_string())?;
        let start = Instant::now();
        let mut child = Command::new(binary)
            .args(["up", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data.path().join("data"))
            .current_dir(data.path())
            .env("FRONTDESK_ADMIN_KEY", "frontdesk-bench-admin-key")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("start {binary}: {e}"))?;
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        let ready = lines.into_iter().flatten().map_while(Result::ok).any(|line| line.starts_with("ready "));
        let ready_ms = start.elapsed().as_secs_f64() * 1000.0;
        if ready {
            // What start-up leaves behind settles within a second.
            std::thread::sleep(Duration::from_secs(1));
        }
        let memory = usage(&child.id().to_string());
        let _ = child.kill();
        let _ = child.wait();
        if !ready {
            return Err(format!("{binary} ended without the line `ready`"));
        }
        println!(
            "{}",
            json!({
                "label": options.text("label", "run"), "ready": true, "round": round, "ready_ms": ready_ms,
                "anonymous_mib": memory.anonymous_kib as f64 / 1024.0,
                "resident_mib": memory.resident_kib as f64 / 1024.0,
            })
        );
    }
    Ok(())
}
