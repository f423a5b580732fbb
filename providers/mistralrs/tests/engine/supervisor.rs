//! The provider with a real worker under it: waiting, dying, coming back, ending.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::{demo_model, program};
use crate::memory::wide;
use frontdesk_api::chat::{Chat, ChatEvent, Message, Role};
use frontdesk_api::clock::SystemClock;
use frontdesk_api::id::RandomIds;
use frontdesk_api::provider::{Setting, Status as Verdict};
use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, Kind};
use frontdesk_mistralrs::{Config, Local, State};
use futures::StreamExt;
use serde_json::{Value, json};

fn provider(folder: &Path, members: Value) -> Local {
    let mut config = json!({"models": [{"id": "tiny", "path": demo_model(), "description": "demo model"}]});
    config.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let setting = Setting {
        id: "local".into(),
        data_dir: folder.into(),
        runtime_dir: folder.join("run"),
        program: program(),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
    };
    Local::new(&setting, Config::read(config).unwrap()).unwrap()
}

fn cx() -> Cx {
    Cx::internal("t", "r")
}

fn say(words: &str) -> ChatRequest {
    let messages = vec![Message::text(Role::User, format!("Say \"{words}\""))];
    ChatRequest::typed("tiny", Chat { messages, temperature: Some(0.0), ..Chat::default() })
}

/// An answer that is still being made when its first frame is here.
fn long() -> ChatRequest {
    let schema = json!({"type": "string", "pattern": "^[a-z]{3500}$"});
    let format = json!({"type": "json_schema", "json_schema": {"name": "long", "schema": schema}});
    let messages = vec![Message::text(Role::User, "hello")];
    ChatRequest::typed("tiny", Chat { messages, response_format: Some(format), ..Chat::default() })
}

async fn text(mut reply: ChatReply) -> String {
    let mut text = String::new();
    while let Some(frame) = reply.frames.next().await {
        for event in frame.unwrap().events {
            if let ChatEvent::Text { text: piece, .. } = event {
                text.push_str(&piece);
            }
        }
    }
    text
}

/// Whether a process runs; a zombie does not.
fn runs(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    state.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Looks until it is so; a minute is far more than any of it takes.
async fn eventually(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not {what} within a minute");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_waits_for_the_models_and_is_answered() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({}));
    assert_eq!(local.health().await.status, Verdict::Starting);
    assert_eq!(text(local.chat(&cx(), say("red green")).await.unwrap()).await, "red green");
    let health = local.health().await;
    assert_eq!(health.status, Verdict::Ok);
    let facts = health.facts.unwrap();
    assert!(runs(u32::try_from(facts["pid"].as_u64().unwrap()).unwrap()), "{facts}");
    let listed = local.models(&cx()).await.unwrap();
    assert_eq!((listed[0].id.as_str(), listed[0].description.as_deref()), ("local/tiny", Some("demo model")));

    let unknown =
        ChatRequest::typed("huge", Chat { messages: vec![Message::text(Role::User, "x")], ..Chat::default() });
    let refused = local.chat(&cx(), unknown).await.err().unwrap();
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_breaks_its_answer_clearly_and_the_next_request_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({}));
    let mut reply = local.chat(&cx(), long()).await.unwrap();
    reply.frames.next().await.unwrap().unwrap();
    let pid = local.status().pid.unwrap();
    let killed = std::process::Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    let broken = loop {
        match reply.frames.next().await.expect("the stream must not end as if it were whole") {
            Ok(_) => {}
            Err(broken) => break broken,
        }
    };
    assert_eq!((broken.kind, broken.code.as_deref()), (Kind::Upstream, Some("engine_died")));
    assert!(broken.message.contains("'local'") && broken.message.contains("ended in the middle"), "{broken}");

    assert_eq!(text(local.chat(&cx(), say("red green")).await.unwrap()).await, "red green");
    let status = local.status();
    assert_ne!(status.pid, Some(pid));
    assert_eq!((status.state, status.restarts), (State::Ready, 1));
    assert_eq!(status.last_error.as_deref(), Some("the worker ended: killed by signal 9"));
    assert!(!status.log.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_runs_out_of_memory_ends_alone_and_the_next_request_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({}));
    assert_eq!(text(local.chat(&cx(), say("red green")).await.unwrap()).await, "red green");
    let pid = local.status().pid.unwrap();
    // No page more than it has.
    let limited = std::process::Command::new("prlimit").args(["--pid", &pid.to_string(), "--as=1"]).status().unwrap();
    assert!(limited.success());
    // Far more text than lies free in what it has.
    let large = ChatRequest::typed(
        "tiny",
        Chat { messages: vec![Message::text(Role::User, "red green ".repeat(1 << 20))], ..Chat::default() },
    );
    let failed = match local.chat(&cx(), large).await {
        Err(refused) => refused,
        Ok(mut reply) => loop {
            match reply.frames.next().await.expect("the stream must not end as if it were whole") {
                Ok(_) => {}
                Err(broken) => break broken,
            }
        },
    };
    assert!(failed.message.contains("'local'"), "{failed}");
    eventually("ended", || !runs(pid)).await;
    assert_eq!(text(local.chat(&cx(), say("red green")).await.unwrap()).await, "red green");
    let status = local.status();
    assert_eq!((status.state, status.restarts), (State::Ready, 1));
    assert_eq!(status.last_error.as_deref(), Some("the worker ended: killed by signal 6"), "{:?}", status.log);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_provider_ends_the_worker_and_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({}));
    drop(local.chat(&cx(), say("red")).await.unwrap());
    let pid = local.status().pid.unwrap();
    assert!(runs(pid));
    drop(local);
    eventually("ended", || !runs(pid)).await;
    let run = folder.path().join("run");
    eventually("removed", || std::fs::read_dir(&run).unwrap().count() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_cannot_be_loaded_is_told_to_those_who_ask() {
    let folder = tempfile::tempdir().unwrap();
    let missing = json!([{"id": "tiny", "path": folder.path().join("nowhere")}]);
    let local = provider(folder.path(), json!({"models": missing}));
    let refused = local.chat(&cx(), say("red")).await.err().unwrap();
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Unavailable, Some("engine_failed")));
    assert!(refused.message.contains("nowhere is missing") && refused.retry_after.is_some(), "{refused}");
    let health = local.health().await;
    assert_eq!(health.status, Verdict::Error);
    assert!(health.message.unwrap().contains("nowhere is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lazy_worker_starts_with_the_first_request_and_nobody_waits_longer_than_told() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({"lazy": true, "wait_s": 0}));
    assert_eq!(local.status().state, State::Idle);
    let refused = local.chat(&cx(), say("red")).await.err().unwrap();
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Unavailable, Some("engine_loading")));
    assert!(refused.retry_after.is_some());
    eventually("ready", || local.status().state == State::Ready).await;
    assert_eq!(text(local.chat(&cx(), say("red")).await.unwrap()).await, "red");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_on_demand_is_shown_as_it_stands_and_goes_when_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = json!([{"id": "tiny", "path": demo_model(), "load": "on_demand"}]);
    let local = provider(folder.path(), json!({"models": tiny}));
    // A look at an engine that has other things to do says nothing of its models.
    let stands = async |wanted: &str| {
        let begun = Instant::now();
        while local.health().await.facts.unwrap()["engine"][0]["state"] != wanted {
            assert!(begun.elapsed() < Duration::from_secs(60), "not {wanted} within a minute");
        }
    };
    assert_eq!(text(local.chat(&cx(), say("red green")).await.unwrap()).await, "red green");
    stands("loaded").await;
    local.set_loaded(&cx(), "tiny", false).await.unwrap();
    stands("unloaded").await;
    local.set_loaded(&cx(), "tiny", true).await.unwrap();
    stands("loaded").await;
    let unknown = local.set_loaded(&cx(), "huge", true).await.unwrap_err();
    assert_eq!((unknown.kind, unknown.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
}

/// Private memory of a process, in KiB.
fn private(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_model_that_is_let_go_of_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let model = tempfile::tempdir().unwrap();
    wide(model.path(), 32);
    let weights = std::fs::metadata(model.path().join("model.safetensors")).unwrap().len() / 1024;
    let spec = json!([{"id": "tiny", "path": model.path(), "load": "on_demand"}]);
    let local = provider(folder.path(), json!({"models": spec}));
    local.set_loaded(&cx(), "tiny", true).await.unwrap();
    let pid = local.status().pid.unwrap();
    let loaded = private(pid);
    assert!(loaded > weights, "{loaded} KiB with {weights} KiB of weights");
    local.set_loaded(&cx(), "tiny", false).await.unwrap();
    // The engine thread drops the weights after it has let go of its channel.
    eventually("free", || private(pid) < loaded - weights).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_request_stops_waiting_and_a_cancelled_answer_frees_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let local = provider(folder.path(), json!({}));
    let waiting = cx();
    waiting.cancel.cancel();
    assert_eq!(local.chat(&waiting, say("red")).await.err().unwrap().kind, Kind::Cancelled);
    let mut reply = local.chat(&cx(), long()).await.unwrap();
    reply.frames.next().await.unwrap().unwrap();
    drop(reply);
    assert_eq!(text(local.chat(&cx(), say("red")).await.unwrap()).await, "red");
}
