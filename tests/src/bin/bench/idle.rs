//! Memory per idle stream: opens many streams on an upstream that holds them, then looks at the server.

use crate::load::request;
use crate::options::Options;
use crate::process::usage;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a stream may take to begin before it counts as failed.
const BEGIN: Duration = Duration::from_secs(5);

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let asked = options.number("streams", 1000);
    let pids = options.text("pid", "");
    let (address, request) = request(options, true);
    let before = usage(&pids);
    let mut open = Vec::new();
    for _ in 0..asked {
        let Ok(mut socket) = TcpStream::connect(&address).await else { continue };
        if socket.write_all(&request).await.is_ok() {
            open.push(socket);
        }
    }
    let mut live = 0;
    let mut head = [0u8; 4096];
    for socket in &mut open {
        let began = tokio::time::timeout(BEGIN, socket.read(&mut head)).await;
        if matches!(began, Ok(Ok(n)) if n > 0) && head.starts_with(b"HTTP/1.1 200") {
            live += 1;
        }
    }
    // Let the last frames pass before looking.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let after = usage(&pids);
    let grown = after.anonymous_kib.saturating_sub(before.anonymous_kib);
    let row = json!({
        "label": options.text("label", "run"), "idle": true, "asked": asked, "live": live,
        "before_mib": before.anonymous_kib as f64 / 1024.0, "after_mib": after.anonymous_kib as f64 / 1024.0,
        "kib_per_stream": grown as f64 / f64::from(live.max(1)),
    });
    println!("{row}");
    Ok(())
}
