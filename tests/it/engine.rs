//! The local engine behind the gateway: each request its own answer, a worker that dies, no orphans.

use std::path::{Path, PathBuf};
use std::process::Command;

use frontdesk_tests::{Frontdesk, Options, PATIENCE, Process, frontdesk::binary, process::private_kib};
use serde_json::{Value, json};

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/gateway/demo/model")
}

fn options() -> Options {
    Options::new().config(&format!(
        "providers:\n  inference:\n    - {{ id: local, type: mistralrs, config: {{ models: [ {{ id: demo, path: \"{}\" }} ] }} }}\n",
        model().display()
    ))
}

fn say(words: &str) -> Value {
    json!({ "model": "local/demo", "temperature": 0, "messages": [{ "role": "user", "content": format!("Say \"{words}\"") }] })
}

fn text(answer: &Value) -> &str {
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_default()
}

/// Answers, once the engine has one; while it starts the gateway says 503 and when to come back.
async fn ask(frontdesk: &Frontdesk, words: &str) -> Value {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let (status, answer) = frontdesk.post("/v1/chat/completions", &say(words)).await;
        if status == 200 {
            return answer;
        }
        assert!(matches!(status, 502 | 503) && tokio::time::Instant::now() < end, "{status} {answer}");
        tokio::task::yield_now().await;
    }
}

fn alive(pid: u64) -> bool {
    // A zombie that waits for its parent is dead.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with('Z')))
}

async fn worker(frontdesk: &Frontdesk) -> u64 {
    let (status, provider) = frontdesk.get("/v1/providers/local").await;
    assert_eq!(status, 200, "{provider}");
    let facts =
        provider.pointer("/health/facts/pid").or_else(|| provider.pointer("/facts/pid")).and_then(Value::as_u64);
    facts.unwrap_or_else(|| panic!("no pid of the worker in {provider}"))
}

#[tokio::test]
async fn sixteen_requests_of_equal_length_each_get_their_own_answer() {
    let frontdesk = Frontdesk::start(options());
    assert_eq!(text(&ask(&frontdesk, "red green").await), "red green");
    let words = ["river", "stone", "cloud", "table", "paper", "north", "south", "bread"];
    let asked: Vec<String> = (0..16).map(|n| format!("red {} {n:02}", words[n % words.len()])).collect();
    let answers = futures::future::join_all(asked.iter().map(|words| ask(&frontdesk, words))).await;
    for (asked, answer) in asked.iter().zip(&answers) {
        assert_eq!(text(answer), asked);
    }
}

#[tokio::test]
async fn a_killed_worker_is_a_clear_error_and_back_for_the_next_request() {
    let frontdesk = Frontdesk::start(options());
    ask(&frontdesk, "hello there").await;
    let first = worker(&frontdesk).await;
    let long = "red green blue ".repeat(40);
    let mut body = say(long.trim());
    body["stream"] = json!(true);
    let mut answer = frontdesk.request("POST", "/v1/chat/completions").json(&body).send().await.expect("a stream");
    assert_eq!(answer.status(), 200);
    let mut seen = answer.chunk().await.expect("a first piece").expect("a first piece").to_vec();
    kill(first);
    while let Ok(Some(piece)) = answer.chunk().await {
        seen.extend_from_slice(&piece);
    }
    let seen = String::from_utf8_lossy(&seen);
    assert!(
        seen.contains("\"error\"") && seen.contains("local"),
        "the stream must end with an error that names the provider: {seen}"
    );
    assert_eq!(text(&ask(&frontdesk, "blue sea").await), "blue sea");
    assert_ne!(worker(&frontdesk).await, first);
}

#[tokio::test]
async fn the_engines_numbers_stand_on_our_page_and_its_models_come_and_go() {
    let frontdesk = Frontdesk::start(Options::new().config(&format!(
        "providers:\n  inference:\n    - {{ id: local, type: mistralrs, config: {{ models: [ {{ id: demo, path: \"{}\", load: on_demand }} ] }} }}\n",
        model().display()
    )));
    assert_eq!(text(&ask(&frontdesk, "red green").await), "red green");
    let page = async || {
        let answer = frontdesk.request("GET", "/metrics").send().await.expect("the page");
        answer.text().await.expect("text")
    };
    // The page waits for an engine no longer than a second.
    let lines = ["engine_up{provider=\"local\"} 1", "engine_finished_total{provider=\"local\",model=\"demo\"} 1"];
    let (end, mut shown) = (tokio::time::Instant::now() + PATIENCE, page().await);
    while let Some(line) = lines.iter().find(|line| !shown.contains(&format!("frontdesk_{line}\n"))) {
        assert!(tokio::time::Instant::now() < end, "{line} in {shown}");
        shown = page().await;
    }
    for (verb, state) in [("unload", "unloaded"), ("load", "loaded")] {
        let told = frontdesk.post(&format!("/v1/providers/local/{verb}"), &json!({ "model": "demo" })).await;
        assert_eq!((told.0, &told.1["health"]["facts"]["engine"][0]["state"]), (200, &json!(state)), "{}", told.1);
    }
    assert!(page().await.contains("frontdesk_engine_loads_total{provider=\"local\",model=\"demo\"} 2\n"));
}

#[tokio::test]
async fn tokens_are_counted_as_the_engine_reads_them() {
    let frontdesk = Frontdesk::start(options());
    let chat = say("red green");
    let read = ask(&frontdesk, "red green").await["usage"]["prompt_tokens"].clone();
    assert!(read.as_u64() > Some(5), "{read}");
    let counted = async |path: &str, body: &Value| {
        let (status, said) = frontdesk.post(path, body).await;
        assert_eq!(status, 200, "{said}");
        said["input_tokens"].clone()
    };
    let messages = json!({ "model": "local/demo", "messages": chat["messages"] });
    assert_eq!(counted("/v1/messages/count_tokens", &messages).await, read);
    let mut longer = messages.clone();
    longer["system"] = json!("You answer for a lamp shop.");
    assert!(counted("/v1/messages/count_tokens", &longer).await.as_u64() > read.as_u64());
    let input = json!({ "model": "local/demo", "input": chat["messages"][0]["content"] });
    assert_eq!(counted("/v1/responses/input_tokens", &input).await, read);
}

#[tokio::test]
async fn no_worker_outlives_a_killed_gateway() {
    let mut frontdesk = Frontdesk::start(options());
    ask(&frontdesk, "hello there").await;
    let pid = worker(&frontdesk).await;
    assert!(alive(pid));
    frontdesk.process().kill();
    let end = tokio::time::Instant::now() + PATIENCE;
    while alive(pid) {
        assert!(tokio::time::Instant::now() < end, "worker {pid} is an orphan");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn two_gateways_share_one_engine_that_knows_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let key_file = folder.path().join("engine_key");
    std::fs::write(&key_file, "an-engine-key\n").expect("the key's file");
    let mut command = Command::new(binary());
    command.args(["engine", "--listen", "127.0.0.1:0", "--watch-stdin"]);
    command.arg("--key-file").arg(&key_file).arg("--model").arg(format!("demo={}", model().display()));
    let engine = Process::start("engine", command);
    let ready = engine.line_after("{", PATIENCE).expect("the line that says where it listens");
    let ready: Value = serde_json::from_str(&format!("{{{ready}")).expect("JSON");
    let url = format!("http://{}", ready["address"].as_str().expect("an address"));

    let sharing = |key: &str| {
        Options::new().config(&format!(
            "providers:\n  inference:\n    - {{ id: local, type: mistralrs, config: {{ url: \"{url}/v1\", api_key: \"{key}\" }} }}\n"
        ))
    };
    let own_key = format!("${{file.{}}}", key_file.display());
    let (one, other) = (Frontdesk::start(sharing(&own_key)), Frontdesk::start(sharing(&own_key)));
    let (a, b) = (say("red green"), say("blue river"));
    let (a, b) = futures::join!(one.post("/v1/chat/completions", &a), other.post("/v1/chat/completions", &b));
    assert_eq!((a.0, text(&a.1)), (200, "red green"), "{}", a.1);
    assert_eq!((b.0, text(&b.1)), (200, "blue river"), "{}", b.1);

    let stranger = Frontdesk::start(sharing("a-wrong-key"));
    let (status, refused) = stranger.post("/v1/chat/completions", &say("red green")).await;
    assert_eq!(status, 502, "{refused}");
    assert!(refused["error"]["message"].as_str().is_some_and(|said| said.contains("'local'")), "{refused}");

    // The check of the engine's container in docker/compose.yaml.
    let health = || Command::new(binary()).args(["health", "--url", &url]).output().expect("frontdesk health");
    assert!(health().status.success(), "{:?}", health());
    drop(engine);
    assert!(!health().status.success());
    assert_eq!(one.get("/v1/health").await.0, 200);
}

/// SIGKILL for a process that this test's Frontdesk started.
fn kill(pid: u64) {
    let done = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill");
    assert!(done.success());
}

#[tokio::test]
async fn prefixes_are_kept_within_their_number() {
    let frontdesk = Frontdesk::start(Options::new().config(&format!(
        "providers:\n  inference:\n    - {{ id: local, type: mistralrs, config: {{ prefix_cache: 4, models: [ {{ id: demo, path: \"{}\" }} ] }} }}\n",
        model().display()
    )));
    ask(&frontdesk, "hello there").await;
    let pid = worker(&frontdesk).await;
    // Each leaves about 2 MiB of keys and values behind.
    let ask_long = async |number: usize| {
        let words = format!("{number} ").repeat(100);
        let body =
            json!({ "model": "local/demo", "max_tokens": 2, "messages": [{ "role": "user", "content": words }] });
        let (status, answer) = frontdesk.post("/v1/chat/completions", &body).await;
        assert_eq!(status, 200, "{answer}");
    };
    for number in 0..12 {
        ask_long(number).await;
    }
    let before = private_kib(pid.try_into().expect("a process id"));
    for number in 12..48 {
        ask_long(number).await;
    }
    let after = private_kib(pid.try_into().expect("a process id"));
    assert!(after < before + (20 << 10), "{before} KiB, then {after} KiB");
    assert_eq!(text(&ask(&frontdesk, "red green").await), "red green", "what was let go of does no harm");
}
