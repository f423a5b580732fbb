//! The worker as a process: start, end, queue, and clients that leave, dawdle or crowd.

use std::os::unix::fs::PermissionsExt;

use crate::common::{Worker, body, demo_model, long, told, write_request};
use serde_json::json;

#[test]
fn the_ready_line_tells_where_and_the_end_of_the_parent_ends_the_worker() {
    let mut worker = Worker::start(&[]);
    assert_eq!(worker.line["socket"], json!(worker.socket()));
    assert_eq!(worker.line["pid"], json!(worker.pid()));
    assert_eq!(worker.line["models"], json!([{"id": "tiny", "max_model_len": 4096}]));
    let mode = std::fs::metadata(worker.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    worker.orphan();
    assert!(worker.ended().success());
    assert!(!worker.socket().exists());
}

#[test]
fn on_sigterm_a_running_answer_still_ends_well() {
    let mut worker = Worker::start(&[]);
    let mut answer = worker.stream(long(200));
    answer.event().unwrap();
    worker.signal("TERM");
    let (text, _, reason) = told(&answer.chunks());
    assert_eq!((text.len(), reason.as_str()), (202, "stop"));
    assert!(worker.ended().success());
}

#[test]
fn a_client_that_leaves_in_the_middle_frees_its_seat() {
    let worker = Worker::start(&[]);
    let mut answer = worker.stream(long(3500));
    answer.event().unwrap();
    drop(answer);
    assert_eq!(worker.chat(json!({"say": "hello"})).0, 200);
    // The second one was answered because the first was given up, not because it came to its end.
    assert_eq!(worker.metric("frontdesk_engine_cancelled_total"), 1.0);
    assert_eq!(worker.metric("frontdesk_engine_finished_total"), 1.0);

    let mut connection = worker.connect();
    write_request(&mut connection, "POST", "/v1/chat/completions", "", &body(long(3500)).to_string());
    worker.until(|model| model["running"] == 1);
    drop(connection);
    assert_eq!(worker.chat(json!({"say": "hello"})).0, 200);
    assert_eq!(worker.metric("frontdesk_engine_cancelled_total"), 2.0);
}

#[test]
fn a_reader_that_does_not_read_stalls_nobody_and_loses_nothing() {
    let worker = Worker::start(&[]);
    // Far more bytes of events than a socket holds.
    let idle = worker.stream(long(3500));
    assert_eq!(worker.chat(json!({"say": "hello"})).0, 200);
    let (text, _, reason) = told(&idle.chunks());
    assert_eq!((text.len(), reason.as_str()), (3502, "stop"));
}

#[test]
fn a_full_queue_is_refused_and_moves_on() {
    let worker = Worker::start(&["--max-queue", "1"]);
    let mut first = worker.stream(long(3500));
    first.event().unwrap();
    std::thread::scope(|scope| {
        let second = scope.spawn(|| worker.chat(json!({"say": "hello"})).0);
        worker.until(|model| model["queue_depth"] == 1);
        let third = worker.send("POST", "/v1/chat/completions", "", &body(json!({"say": "hello"})).to_string());
        assert_eq!(third.status, 429);
        assert!(third.headers.iter().any(|line| line.starts_with("retry-after: ")), "{:?}", third.headers);
        assert!(third.text().contains("queue_full"));
        drop(first);
        assert_eq!(second.join().unwrap(), 200);
    });
    assert_eq!(worker.metric("frontdesk_engine_refused_total"), 1.0);
}

#[test]
fn a_client_that_leaves_the_queue_gives_its_place_away() {
    let worker = Worker::start(&["--max-queue", "1"]);
    let mut first = worker.stream(long(3500));
    first.event().unwrap();
    let mut waiting = worker.connect();
    write_request(&mut waiting, "POST", "/v1/chat/completions", "", &body(json!({"say": "hello"})).to_string());
    worker.until(|model| model["queue_depth"] == 1);
    drop(waiting);
    worker.until(|model| model["queue_depth"] == 0);
}

#[test]
fn a_silent_engine_ends_the_process_for_its_supervisor() {
    let mut worker = Worker::start(&["--watchdog-s", "0.0001", "--warm-up", "false"]);
    let mut connection = worker.connect();
    write_request(&mut connection, "POST", "/v1/chat/completions", "", &body(long(3500)).to_string());
    assert_eq!(worker.ended().code(), Some(1));
}

#[test]
fn a_model_that_is_missing_or_broken_is_named_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| std::fs::copy(demo_model().join(name), folder.path().join(name)).unwrap();
    let refused = |path: &std::path::Path| {
        let mut worker = Worker::run(&["--model", &format!("m={}", path.display())]);
        assert_eq!(worker.line["ready"], false, "{}", worker.line);
        assert_eq!(worker.ended().code(), Some(2));
        assert!(!worker.socket().exists());
        worker.line["error"].as_str().unwrap().to_owned()
    };
    let message = refused(&folder.path().join("nowhere"));
    assert!(message.starts_with("model 'm': ") && message.ends_with("nowhere is missing"), "{message}");
    for name in ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        copy(name);
    }
    assert!(refused(folder.path()).ends_with("has no *.safetensors file"));
    copy("model.safetensors");
    let weights = folder.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let message = refused(folder.path());
    assert!(message.contains("model.safetensors is incomplete"), "{message}");

    // Whole, but not what config.json says: the loader's own refusal is told, not a panic.
    std::fs::write(&weights, &bytes).unwrap();
    let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
    let changed = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        std::fs::write(folder.path().join("config.json"), config.replace(from, to)).unwrap();
    };
    changed(r#""vocab_size": 1536"#, r#""vocab_size": 1024"#);
    let message = refused(folder.path());
    assert!(message.starts_with("model 'm': "), "{message}");
    changed("LlamaFor", "FlamingoFor");
    let message = refused(folder.path());
    assert!(message.contains("FlamingoForCausalLM"), "{message}");
}

#[test]
fn a_model_answers_a_prompt_before_it_counts_as_loaded_unless_told_not_to() {
    let template = tempfile::Builder::new().suffix(".jinja").tempfile().unwrap();
    std::fs::write(template.path(), "{{ raise_exception('not a word') }}").unwrap();
    let silent = json!({"id": "silent", "path": demo_model(), "chat_template": template.path()}).to_string();
    let mut worker = Worker::run(&["--model", &silent]);
    assert_eq!(worker.ended().code(), Some(2));
    let message = worker.line["error"].as_str().unwrap();
    assert!(message.starts_with("model 'silent': ") && message.contains("not a word"), "{message}");

    let worker = Worker::run(&["--model", &silent, "--warm-up", "false"]);
    assert_eq!(worker.line["ready"], true, "{}", worker.line);
    worker.until(|model| model["warm_up_ms"].is_null());
    let worker = Worker::start(&[]);
    worker.until(|model| model["warm_up_ms"].is_u64());
    assert_eq!(worker.metric("frontdesk_engine_prompt_tokens_total"), 0.0, "nobody asked for it");
}

#[test]
fn more_than_one_at_a_time_is_refused_on_the_cpu() {
    let model = format!("tiny={}", demo_model().display());
    let mut worker = Worker::run(&["--model", &model, "--max-running", "4"]);
    assert_eq!(worker.ended().code(), Some(2));
    assert!(worker.line["error"].as_str().unwrap().contains("one request at a time"));
}
