//! `frontdesk models`: fetching from a hub that is well and from one in trouble, and what is listed afterwards.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use frontdesk_tests::{
    Frontdesk, Options, PATIENCE, Process, Scripted,
    frontdesk::{ADMIN_KEY, binary},
};
use serde_json::{Value, json};

use crate::hub::{Hub, Trouble, entry, sha256, tree};

const TOKEN: &str = "hf_s3cret";

/// A machine with a configuration that names a hub.
struct Machine {
    home: tempfile::TempDir,
    yaml: String,
}

/// How a command ended.
struct Ended {
    good: bool,
    stdout: String,
    /// Both streams.
    log: String,
}

impl Machine {
    fn new(hub: &Hub) -> Self {
        let home = tempfile::Builder::new().prefix("fd-pull-").tempdir().expect("a folder");
        let machine = Self { home, yaml: format!("hub: {{ endpoint: \"{}\", token: {TOKEN} }}\n", hub.url()) };
        machine.configure("");
        machine
    }

    fn configure(&self, more: &str) {
        std::fs::write(self.home.path().join("f.yaml"), format!("{}{more}", self.yaml)).expect("a configuration");
    }

    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = Command::new(binary());
        command.current_dir(self.home.path()).arg("models").args(arguments).args(["--config", "f.yaml"]);
        command.env_remove("FRONTDESK_ADMIN_KEY").env_remove("DATABASE_URL");
        Process::start("frontdesk", command)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let mut process = self.start(arguments);
        let status = process.wait(PATIENCE).expect("it ends");
        Ended { good: status.success(), stdout: process.stdout(), log: process.log() }
    }

    fn pull(&self, arguments: &[&str]) -> Ended {
        self.run(&[&["pull", "--yes"], arguments].concat())
    }

    /// In the folder of models.
    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join("data/models").join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

/// Bytes that are not the same everywhere.
fn content(length: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from(i * 7 % 251).expect("a byte")).collect()
}

fn gguf(length: usize) -> Vec<u8> {
    [b"GGUF".to_vec(), content(length)].concat()
}

const CONFIG: &[u8] =
    br#"{"architectures":["TinyForCausalLM"],"max_position_embeddings":512,"torch_dtype":"bfloat16"}"#;
const FILE: &str = "/acme/tiny/resolve/main/model.safetensors";

/// A hub with one model; its weights have so many bytes.
fn hub_with(weights: &[u8]) -> Hub {
    let hub = Hub::start();
    hub.repository(
        "acme/tiny",
        &[
            ("README.md", b"words"),
            ("config.json", CONFIG),
            ("tokenizer.json", b"{}"),
            ("tokenizer_config.json", b"{\"chat_template\":\"x\"}"),
            ("model.safetensors", weights),
            ("pytorch_model.bin", b"a pickle"),
        ],
    );
    hub
}

#[test]
fn a_model_is_fetched_and_checked_and_its_lines_make_it_one() {
    let weights = content(300_000);
    let hub = hub_with(&weights);
    let machine = Machine::new(&hub);
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
    assert_eq!(machine.read("tiny/config.json"), CONFIG);
    let mut names: Vec<_> =
        std::fs::read_dir(machine.path("tiny")).expect("a folder").map(|f| f.expect("a file").file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    assert!(
        ended.log.contains("300.00 kB  model.safetensors") && ended.log.contains("ok       model:"),
        "{}",
        ended.log
    );
    assert_eq!(
        ended.stdout,
        "providers:\n  inference:\n    - { id: local, type: mistralrs, config: { models: [ { id: \"tiny\", path: ./data/models/tiny } ] } }\n"
    );
    assert!(hub.asked("").iter().all(|asked| asked.token.as_deref() == Some("Bearer hf_s3cret")));
    assert!(hub.asked(".bin").is_empty() && hub.asked("README.md").is_empty());

    let before = machine.run(&["list", "--json"]);
    let before: Value = serde_json::from_str(&before.stdout).unwrap_or_else(|e| panic!("{e}: {}", before.log));
    assert_eq!(
        (&before["models"], &before["not_configured"][0]["yaml"]),
        (&json!([]), &json!(ended.stdout.trim_end()))
    );
    machine.configure(&ended.stdout);
    let after: Value = serde_json::from_str(&machine.run(&["list", "--json"]).stdout).expect("JSON");
    let model = &after["models"][0];
    assert_eq!(after["not_configured"], json!([]));
    assert_eq!(
        (&model["id"], &model["kind"], &model["format"]),
        (&json!("local/tiny"), &json!("llm"), &json!("folder"))
    );
    assert_eq!((&model["context_window"], &model["quantisation"]), (&json!(512), &json!("bfloat16")));
    assert!(model["bytes"].as_u64().is_some_and(|bytes| bytes > 300_000), "{model}");
    let shown = machine.run(&["list"]);
    assert!(shown.stdout.contains("local/tiny"), "{}", shown.log);

    let again = machine.pull(&["acme/tiny"]);
    assert!(again.good && again.log.contains("model.safetensors: is here and good"), "{}", again.log);
    assert_eq!(hub.asked("model.safetensors").len(), 1);
}

#[test]
fn a_connection_that_breaks_off_is_taken_up_where_it_was() {
    let weights = content(200_000);
    let hub = hub_with(&weights);
    let machine = Machine::new(&hub);
    let part = machine.path("tiny/model.safetensors.part");
    hub.trouble(FILE, Trouble::BreakAfter(120_000, part.clone()));
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
    let ranges: Vec<_> = hub.asked("model.safetensors").into_iter().map(|asked| asked.range).collect();
    assert_eq!(ranges, [None, Some("bytes=120000-".to_owned())]);
    assert!(!part.exists());
}

#[test]
fn a_killed_pull_goes_on_from_what_is_on_disk() {
    let weights = content(200_000);
    let hub = hub_with(&weights);
    let machine = Machine::new(&hub);
    let part = machine.path("tiny/model.safetensors.part");
    hub.trouble(FILE, Trouble::HangAfter(50_000));
    let mut process = machine.start(&["pull", "--yes", "acme/tiny"]);
    wait_for(&part, 50_000);
    let beside = machine.pull(&["acme/tiny"]);
    assert!(!beside.good && beside.log.contains("another process is fetching"), "{}", beside.log);
    process.kill();
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good, "{}", ended.log);
    assert!(ended.log.contains("(50.00 kB of it are here)"), "{}", ended.log);
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
    assert_eq!(hub.asked("model.safetensors").last().expect("asked").range.as_deref(), Some("bytes=50000-"));
}

fn wait_for(file: &Path, length: u64) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::fs::metadata(file).map_or(0, |about| about.len()) < length {
        assert!(std::time::Instant::now() < deadline, "{} never has {length} bytes", file.display());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_server_without_ranges_is_read_anew() {
    let weights = content(200_000);
    let hub = hub_with(&weights);
    let machine = Machine::new(&hub);
    hub.trouble(FILE, Trouble::BreakAfter(90_000, machine.path("tiny/model.safetensors.part")));
    hub.trouble(FILE, Trouble::Whole);
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good && ended.log.contains("so it is fetched from its start"), "{}", ended.log);
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
}

#[test]
fn what_is_not_as_promised_is_deleted() {
    let weights = content(5_000);
    let hub = hub_with(&weights);
    let mut other = weights.clone();
    other[4_321] ^= 1;
    for (path, name, bad) in [
        (FILE, "tiny/model.safetensors", other),
        ("/acme/tiny/resolve/main/tokenizer.json", "tiny/tokenizer.json", b"[]".to_vec()),
    ] {
        let machine = Machine::new(&hub);
        let good = if path == FILE { weights.clone() } else { b"{}".to_vec() };
        hub.file(path, &bad);
        let ended = machine.pull(&["acme/tiny"]);
        assert!(
            !ended.good && ended.log.contains("not what was promised") && ended.log.contains("deleted"),
            "{}",
            ended.log
        );
        assert!(!machine.path(name).exists() && !machine.path(&format!("{name}.part")).exists(), "{name}");
        hub.file(path, &good);
        assert!(machine.pull(&["acme/tiny"]).good);
        assert_eq!(machine.read(name), good);
    }
    // Longer, and shorter, than the list says.
    for bad in [content(5_001), content(4_999)] {
        let machine = Machine::new(&hub);
        hub.file(FILE, &bad);
        let ended = machine.pull(&["acme/tiny"]);
        assert!(!ended.good && ended.log.contains("the hub's list says 5000"), "{}", ended.log);
        assert!(!machine.path("tiny/model.safetensors").exists());
    }
}

#[test]
fn each_refusal_is_told_in_words() {
    let hub = hub_with(&content(2_000));
    let header = |name, value: &str| vec![(name, value.to_owned())];
    for (status, headers, body, says) in [
        (401, vec![], "", "does not give model 'acme/tiny' to the holder of hub.token (401)"),
        (403, header("x-error-code", "GatedRepo"), "", "to those who accepted its terms"),
        (403, vec![], r#"{"error":"no\u001b[2J entry"}"#, "(it says: no[2J entry)"),
        (404, header("x-error-code", "RepoNotFound"), "", "there is no model 'acme/tiny' at"),
        (404, header("x-error-code", "RevisionNotFound"), "", "no such revision"),
        (429, header("retry-after", "3600"), "", "asked too often (429): try again in 3600 s"),
        (418, vec![], "", "answered 418"),
        (200, vec![], "<html>", "is it a hub?"),
    ] {
        hub.trouble(&tree("acme/tiny"), Trouble::Status(status, headers, body.into()));
        let machine = Machine::new(&hub);
        let ended = machine.pull(&["acme/tiny"]);
        assert!(!ended.good && ended.log.contains(says), "{status}: {}", ended.log);
        assert!(!ended.log.contains(TOKEN) && !machine.path("tiny").exists(), "{}", ended.log);
    }
    let open = Machine { yaml: format!("hub: {{ endpoint: \"{}\" }}\n", hub.url()), ..Machine::new(&hub) };
    open.configure("");
    hub.trouble(&tree("acme/tiny"), Trouble::Status(401, vec![], String::new()));
    let ended = open.pull(&["acme/tiny"]);
    assert!(ended.log.contains("if so, set hub.token (HF_TOKEN)"), "{}", ended.log);
}

#[test]
fn a_busy_hub_is_asked_again() {
    let weights = content(2_000);
    let hub = hub_with(&weights);
    let busy = |status| Trouble::Status(status, vec![("retry-after", "0".into())], String::new());
    hub.trouble(&tree("acme/tiny"), busy(429));
    hub.trouble(FILE, busy(503));
    let machine = Machine::new(&hub);
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!((hub.asked("/tree/main").len(), hub.asked("model.safetensors").len()), (2, 2));
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
    (0..5).for_each(|_| hub.trouble(&tree("acme/tiny"), busy(503)));
    let ended = machine.pull(&["acme/tiny"]);
    assert!(!ended.good && ended.log.contains("failed to give model 'acme/tiny' (503)"), "{}", ended.log);
}

#[test]
fn the_token_is_not_taken_along_to_another_server() {
    let weights = content(4_000);
    let (hub, store) = (hub_with(&weights), Hub::start());
    store.file("/blobs/abc", &weights);
    let to = format!("{}/blobs/abc?signature=x", store.url());
    hub.trouble(FILE, Trouble::Status(302, vec![("location", to)], String::new()));
    let machine = Machine::new(&hub);
    let ended = machine.pull(&["acme/tiny"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!(machine.read("tiny/model.safetensors"), weights);
    let tokens: Vec<_> = store.asked("").into_iter().map(|asked| asked.token).collect();
    assert_eq!(tokens, [None]);
    // A list that goes on at another server.
    let page = json!([entry("config.json", CONFIG)]).to_string();
    let link = format!("<{}/page>; rel=\"next\"", store.url());
    hub.trouble(&tree("acme/tiny"), Trouble::Status(200, vec![("link", link)], page));
    store.file("/page", json!([entry("model.safetensors", &weights)]).to_string().as_bytes());
    let ended = machine.pull(&["acme/tiny", "--json"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!(store.asked("/page")[0].token, None);
}

#[test]
fn one_quantisation_is_fetched_and_scripts_read_events() {
    let hub = Hub::start();
    let (four, eight) = (gguf(3_000), gguf(6_000));
    hub.repository("acme/tiny-GGUF", &[("tiny-Q8_0.gguf", &eight), ("tiny-Q4_K_M.gguf", &four), ("x.pt", b"a pickle")]);
    let machine = Machine::new(&hub);
    let ended = machine.pull(&["acme/tiny-GGUF", "--json"]);
    assert!(ended.good, "{}", ended.log);
    let events: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["plan", "file", "done"]);
    assert_eq!(events[0]["files"], json!([{ "path": "tiny-Q4_K_M.gguf", "size": 3_004, "sha256": sha256(&four) }]));
    assert_eq!((&events[0]["bytes"], &events[0]["other_quantisations"]), (&json!(3_004), &json!(["Q8_0"])));
    assert_eq!(events[2]["model"]["quantisation"], "Q4_K_M");
    let ended = machine.pull(&["acme/tiny-GGUF", "--file", "q8_0", "--dir", "elsewhere"]);
    assert!(ended.good, "{}", ended.log);
    assert_eq!(std::fs::read(machine.home.path().join("elsewhere/tiny-Q8_0.gguf")).expect("it is there"), eight);
    assert!(ended.log.contains("other quantisations (--file): Q4_K_M"), "{}", ended.log);
    let ended = machine.pull(&["acme/tiny-GGUF", "--file", "*.pt", "--json"]);
    let error: Value = serde_json::from_str(ended.stdout.trim()).unwrap_or_else(|e| panic!("{e}: {}", ended.log));
    assert_eq!((&error["event"], &error["kind"]), (&json!("error"), &json!("invalid")));
    assert!(!ended.good && ended.log.contains("run code"), "{}", ended.log);
}

#[test]
fn a_url_needs_its_checksum() {
    let (hub, model) = (Hub::start(), gguf(9_000));
    let other = Hub::start();
    other.file("/files/tiny-Q8_0.gguf", &model);
    let url = format!("{}/files/tiny-Q8_0.gguf", other.url());
    let machine = Machine::new(&hub);
    let ended = machine.pull(&[&url]);
    assert!(!ended.good && ended.log.contains("--sha256") && other.asked("").is_empty(), "{}", ended.log);
    let ended = machine.pull(&[&url, "--sha256", &"0".repeat(64)]);
    assert!(!ended.good && ended.log.contains("not what was promised"), "{}", ended.log);
    let ended = machine.pull(&[&url, "--sha256", &sha256(&model)]);
    assert!(ended.good && ended.log.contains("9.00 kB  tiny-Q8_0.gguf"), "{}", ended.log);
    assert_eq!(machine.read("tiny-Q8_0.gguf"), model);
    assert!(other.asked("").iter().all(|asked| asked.token.is_none()), "the token is the hub's");
    let page = format!("{}/page.html", other.url());
    let ended = machine.pull(&[&page, "--sha256", &sha256(&model)]);
    assert!(!ended.good && ended.log.contains("no URL of a .gguf file"), "{}", ended.log);
}

#[test]
fn nothing_is_fetched_that_nobody_agreed_to_or_that_has_no_room() {
    let hub = hub_with(&content(2_000));
    let machine = Machine::new(&hub);
    let ended = machine.run(&["pull", "acme/tiny"]);
    assert!(!ended.good && ended.log.contains("add --yes"), "{}", ended.log);
    assert!(hub.asked("model.safetensors").is_empty() && !machine.path("tiny").exists());
    let mut huge = entry("model.safetensors", &content(2_000));
    huge["lfs"]["size"] = json!(1_u64 << 60);
    hub.list("acme/tiny", &json!([huge]));
    let ended = machine.pull(&["acme/tiny"]);
    assert!(!ended.good && ended.log.contains("has room for"), "{}", ended.log);
    assert!(hub.asked("model.safetensors").is_empty());
}

#[test]
fn without_a_network_the_server_that_cannot_be_reached_is_named() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let hub = Hub::start();
    let machine = Machine { yaml: format!("hub: {{ endpoint: \"http://{closed}\" }}\n"), ..Machine::new(&hub) };
    machine.configure("");
    let ended = machine.pull(&["acme/tiny"]);
    assert!(!ended.good && ended.log.contains(&format!("cannot connect to http://{closed}")), "{}", ended.log);
    assert!(machine.run(&["list"]).good);
}

#[tokio::test]
async fn a_running_server_tells_what_it_offers() {
    let (scripted, hub) = (Scripted::start(), Hub::start());
    let frontdesk = Frontdesk::start(Options::upstream(&scripted));
    let machine = Machine::new(&hub);
    let list: Value =
        serde_json::from_str(&machine.run(&["list", "--json", "--url", frontdesk.url(), "--key", ADMIN_KEY]).stdout)
            .expect("JSON");
    let models = list["models"].as_array().expect("models");
    assert!(!models.is_empty() && list["from"].as_str().is_some_and(|from| from.contains(frontdesk.url())), "{list}");
    assert!(models.iter().all(|m| m["provider"] == "up" && m["kind"].is_string() && m["loaded"].is_null()), "{list}");
}
