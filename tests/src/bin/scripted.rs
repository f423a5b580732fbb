//! `scripted --port N`: the scripted upstream as a process, for tests only.
//!
//! Suites in other languages start it, read `ready http://127.0.0.1:PORT` from its output and drive
//! it over its control routes. Port 0 takes a free one. With `--with-parent` it ends when its
//! standard input closes, so a suite that dies leaves none behind.

use frontdesk_tests::scripted::{Upstream, serve};
use std::io::Write;
use std::sync::Arc;
use tokio::io::AsyncReadExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (with_parent, rest): (Vec<_>, Vec<_>) = arguments.iter().partition(|a| *a == "--with-parent");
    let port = match rest.iter().map(|a| a.as_str()).collect::<Vec<_>>()[..] {
        [] => Some(0),
        ["--port", port] => port.parse::<u16>().ok(),
        _ => None,
    };
    let Some(port) = port else {
        eprintln!("usage: scripted [--port N] [--with-parent]   (a scripted upstream, for tests only)");
        return std::process::ExitCode::from(2);
    };
    match run(port, !with_parent.is_empty()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("scripted: listening on 127.0.0.1:{port}: {e}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(port: u16, with_parent: bool) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    eprintln!("scripted upstream, for tests only: it answers from a script, no model is behind it");
    writeln!(std::io::stdout(), "ready http://{}", listener.local_addr()?)?;
    let parent_gone = async {
        if !with_parent {
            std::future::pending::<()>().await;
        }
        let mut input = tokio::io::stdin();
        let mut byte = [0; 64];
        while matches!(input.read(&mut byte).await, Ok(n) if n > 0) {}
    };
    tokio::select! {
        () = serve(listener, Arc::new(Upstream::default())) => {}
        () = parent_gone => {}
    }
    Ok(())
}
