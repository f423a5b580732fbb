//! Calls that a server works on beside the request (Model Context Protocol 2025-11-25, "Tasks"): made, looked after at the
//! server's pace, fetched.
//!
//! Only tools that can be called no other way are called so. Invariants: a task that nobody waits for any more is cancelled
//! at the server; once there is a task, no error makes the call be made again, a token that ended least of all.

use std::time::Duration;

use frontdesk_api::{Cx, Error, Result};
use serde_json::{Map, Value, json};

use crate::{
    http_server::taken,
    peer::{LAST_WORD, Peer, object},
    progress::Progress,
    question,
};

/// How often a task is looked after where the server does not say; the least and the most that it may say.
const PACE: (Duration, Duration, Duration) =
    (Duration::from_secs(1), Duration::from_millis(50), Duration::from_secs(30));

/// Calls as a task and waits for its end. `params`: those of `tools/call`, with `task`.
///
/// # Errors
/// As [`Peer::ask`]; `Upstream` for a task that failed, was cancelled, or wants something of a person. Where nobody can tell
/// what became of a task, that is one too.
pub(crate) async fn call(cx: &Cx, peer: &Peer, params: Map<String, Value>, progress: &Progress) -> Result<Value> {
    let mut made = peer.ask(cx, "tools/call", params, progress).await?;
    let mut task = made.get_mut("task").map(Value::take).unwrap_or_default();
    let Some(id) = task["taskId"].as_str().map(str::to_owned) else {
        return Err(Error::upstream("the server made no task of a call that it makes no other way"));
    };
    let named = object(json!({ "taskId": id }));
    let under_way = UnderWay(Some((peer.clone(), named.clone())));
    loop {
        let said = || {
            let said = task["statusMessage"].as_str().map(|said| peer.words(said));
            said.unwrap_or_else(|| "no reason given".to_owned())
        };
        match task["status"].as_str().unwrap_or_default() {
            "completed" => {
                let result = peer.ask(cx, "tasks/result", named, progress).await;
                under_way.over();
                return result.map_err(taken);
            }
            "failed" => {
                // What it failed by is its result, where it has one.
                let result = peer.ask(cx, "tasks/result", named, progress).await;
                under_way.over();
                return result.map_err(|_| Error::upstream(format!("the server's task failed: {}", said())));
            }
            "cancelled" => {
                under_way.over();
                return Err(Error::upstream(format!("the server cancelled its task: {}", said())));
            }
            "input_required" => {
                let why = question::words(&json!({ "message": said() }));
                let message = format!("the server's task wants something of a person, and nobody was there: {why}");
                return Err(Error::upstream(message));
            }
            _ => {}
        }
        let pace = task["pollInterval"].as_u64().map_or(PACE.0, Duration::from_millis).clamp(PACE.1, PACE.2);
        tokio::select! {
            biased;
            () = cx.cancel.cancelled() => return Err(Error::cancelled()),
            () = tokio::time::sleep(pace) => {}
        }
        task = peer.ask(cx, "tasks/get", named.clone(), progress).await.map_err(taken)?;
    }
}

/// A task that is waited for. Dropped before it is over, it is cancelled at the server.
struct UnderWay(Option<(Peer, Map<String, Value>)>);

impl UnderWay {
    fn over(mut self) {
        self.0 = None;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let (Some((peer, named)), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let cx = Cx::internal("", "mcp");
            let _ = tokio::time::timeout(LAST_WORD, peer.ask(&cx, "tasks/cancel", named, &Progress::default())).await;
        });
    }
}
