//! Models that come into memory when they are asked for, and go again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{Worker, demo_model, long, told};
use crate::gguf::tensors;
use serde_json::{Value, json};

/// The demo model as `tiny`, with these members of its configuration.
fn tiny(members: Value) -> String {
    let mut spec = json!({"id": "tiny", "path": demo_model()});
    spec.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    spec.to_string()
}

/// Looks until it is so; a minute is far more than any of it takes.
fn eventually(what: &str, so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not {what} within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// By name: the shape of a tensor, and its numbers.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// The demo model with other weights, of which its configuration says so.
fn changed(folder: &Path, change: impl FnOnce(&mut Value, &mut Tensors)) {
    for name in ["generation_config.json", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(demo_model().join(name), folder.join(name)).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&std::fs::read(demo_model().join("config.json")).unwrap()).unwrap();
    let mut weights = tensors(&demo_model().join("model.safetensors"));
    change(&mut config, &mut weights);
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let (mut header, mut data) = (BTreeMap::new(), Vec::new());
    for (name, (shape, bytes)) in weights {
        let ends = [data.len(), data.len() + bytes.len()];
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": ends}));
        data.extend(bytes);
    }
    let header = json!(header).to_string();
    let head = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    std::fs::write(folder.join("model.safetensors"), [head, data].concat()).unwrap();
}

/// The demo model with so many times as wide layers: what it says makes no sense, and it takes up room.
pub fn wide(folder: &Path, times: usize) {
    changed(folder, |config, weights| {
        config["intermediate_size"] = json!(config["intermediate_size"].as_u64().unwrap() * times as u64);
        for (name, (shape, bytes)) in weights.iter_mut().filter(|(name, _)| name.contains("mlp.")) {
            // Inner numbers stand along the rows of what leads in and the columns of what leads out.
            shape[usize::from(name.contains("mlp.down_proj"))] *= times;
            *bytes = bytes.repeat(times);
        }
    });
}

#[test]
fn a_model_comes_when_it_is_asked_for_and_goes_when_it_is_told_to() {
    let worker = Worker::run(&["--model", &tiny(json!({"load": "on_demand"}))]);
    assert_eq!(worker.line["models"], json!([{"id": "tiny", "max_model_len": 4096}]), "its files say so");
    assert_eq!((worker.state("tiny").as_str(), worker.get("/health").0), ("unloaded", 200));
    let (ready, loads) = ("frontdesk_engine_ready", "frontdesk_engine_loads_total");
    assert_eq!((worker.metric(ready), worker.metric(loads)), (0.0, 0.0));

    assert_eq!(worker.text(json!({"say": "Say \"red green\""})), "red green");
    assert_eq!(worker.state("tiny"), "loaded");
    let (status, told) = worker.post("/v1/models/unload", &json!({"model": "tiny"}));
    assert_eq!((status, &told["state"]), (200, &json!("unloaded")), "{told}");
    assert_eq!((worker.metric(ready), worker.metric(loads)), (0.0, 1.0));
    assert_eq!(worker.metric("frontdesk_engine_finished_total"), 1.0, "what was counted stays");

    let (status, told) = worker.post("/v1/models/load", &json!({"model": "tiny"}));
    assert_eq!((status, &told["state"], &told["max_model_len"]), (200, &json!("loaded"), &json!(4096)), "{told}");
    assert_eq!(worker.text(json!({"say": "Say \"red green\""})), "red green");
    assert_eq!((worker.metric(ready), worker.metric(loads)), (1.0, 2.0));
    for (path, body, status) in [
        ("/v1/models/load", json!({"model": "huge"}), 404),
        ("/v1/models/unload", json!({"model": "huge"}), 404),
        ("/v1/models/load", json!({}), 400),
    ] {
        assert_eq!(worker.post(path, &body).0, status, "{path} {body}");
    }
}

#[test]
fn requests_that_come_during_a_load_wait_for_it_and_one_load_is_enough() {
    let worker = Worker::run(&["--model", &tiny(json!({"load": "on_demand"}))]);
    let texts: Vec<String> = std::thread::scope(|scope| {
        let ask = |_| scope.spawn(|| worker.text(json!({"say": "Say \"red green\""})));
        let asked: Vec<_> = (0..4).map(ask).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(texts, ["red green"; 4]);
    assert_eq!(worker.metric("frontdesk_engine_loads_total"), 1.0);
}

#[test]
fn a_model_that_cannot_be_loaded_on_demand_is_named_and_the_others_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later");
    let later = json!({"id": "later", "path": path, "load": "on_demand"}).to_string();
    let worker = Worker::start(&["--model", &later]);
    for _ in 0..2 {
        let answer = worker.send(
            "POST",
            "/v1/chat/completions",
            "",
            &json!({"model": "later", "messages": [{"role": "user", "content": "x"}]}).to_string(),
        );
        assert_eq!(answer.status, 503);
        assert!(answer.headers.iter().any(|line| line.starts_with("retry-after: ")), "{:?}", answer.headers);
        let problem: Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!(problem["error"]["code"], "model_not_loaded");
        let message = problem["error"]["message"].as_str().unwrap();
        assert!(message.contains("'later'") && !message.contains('/'), "paths are the operator's: {message}");
    }
    let (status, problem) = worker.post("/v1/models/load", &json!({"model": "later"}));
    let message = problem["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("model 'later': ") && message.ends_with("later is missing"), "{message}");
    assert_eq!(status, 503);
    assert_eq!((worker.state("later").as_str(), worker.get("/health").0), ("failed", 200));
    assert_eq!(worker.text(json!({"say": "Say \"red green\""})), "red green");

    // Once it is there, being told to is enough.
    std::fs::create_dir(&path).unwrap();
    wide(&path, 1);
    let (status, told) = worker.post("/v1/models/load", &json!({"model": "later"}));
    assert_eq!((status, &told["state"]), (200, &json!("loaded")), "{told}");
}

#[test]
fn letting_go_waits_for_the_running_answer() {
    let worker = Worker::start(&[]);
    let mut answer = worker.stream(long(3500));
    answer.event().unwrap();
    std::thread::scope(|scope| {
        let unload = scope.spawn(|| worker.post("/v1/models/unload", &json!({"model": "tiny"})));
        eventually("letting go", || worker.state("tiny") == "unloading");
        let (text, _, reason) = told(&answer.chunks());
        assert_eq!((text.len(), reason.as_str()), (3502, "stop"), "it ran to its end");
        assert_eq!(unload.join().unwrap().1["state"], "unloaded");
    });
}

#[test]
fn a_model_that_nobody_asks_for_goes_by_itself_and_comes_back() {
    let worker = Worker::run(&["--model", &tiny(json!({"idle_unload_s": 1}))]);
    eventually("unloaded", || worker.state("tiny") == "unloaded");
    assert_eq!(worker.text(json!({"say": "Say \"red green\""})), "red green");
    assert_eq!(worker.metric("frontdesk_engine_loads_total"), 2.0);
}

#[test]
fn a_load_or_a_first_prompt_that_takes_too_long_is_told_and_the_worker_lives() {
    for (option, word) in [("--load-timeout-s", "not loaded within"), ("--watchdog-s", "no sign of life")] {
        let worker = Worker::run(&["--model", &tiny(json!({"load": "on_demand"})), option, "0.0001"]);
        let (status, problem) = worker.post("/v1/models/load", &json!({"model": "tiny"}));
        let message = problem["error"]["message"].as_str().unwrap();
        assert!(message.starts_with("model 'tiny': ") && message.contains(word), "{message}");
        assert_eq!((status, worker.state("tiny").as_str(), worker.get("/health").0), (503, "failed", 200));
    }
}

#[test]
fn a_model_whose_first_words_are_no_whole_characters_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    changed(folder.path(), |config, weights| {
        config["tie_word_embeddings"] = json!(false);
        // Two tokens that each begin a character of three bytes; whatever is read, one of them is the likeliest.
        let (rows, columns) = (config["vocab_size"].as_u64().unwrap() as usize, 256);
        let mut head = vec![0_f32; rows * columns];
        head[166 * columns..167 * columns].fill(1.0);
        head[167 * columns..168 * columns].fill(-1.0);
        let head = head.into_iter().flat_map(f32::to_le_bytes).collect();
        weights.insert("lm_head.weight".into(), (vec![rows, columns], head));
    });
    let model = format!("tiny={}", folder.path().display());
    let worker = Worker::run(&["--model", &model]);
    assert_eq!(worker.line["ready"], true, "{}", worker.line);
    assert_eq!(worker.chat(json!({"say": "hello", "max_tokens": 2})).0, 200);
}
