//! `frontdesk demo` as a newcomer runs it: the sample shop with the real engine and sandbox, another shop
//! through the scripted model, and a change of the shop's files that changes the answers.

use std::{path::Path, process::Command};

use frontdesk_tests::{PATIENCE, Process, Scripted, frontdesk::binary};
use serde_json::{Value, json};

/// Runs the demo once in a folder of its own; its JSON document and whether it ended with status 0.
fn demo(arguments: &[&str]) -> (Value, bool) {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(["demo", "--once", "--json", "--listen", "127.0.0.1:0"]).args(arguments).current_dir(home.path());
    command.env_remove("DATABASE_URL");
    let mut process = Process::start("demo", command);
    let status = process.wait(2 * PATIENCE).unwrap_or_else(|| panic!("the demo does not end:\n{}", process.log()));
    let out = process.stdout();
    let document = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}\n{}", process.log()));
    (document, status.success())
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn sample() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../services/gateway/demo")
}

fn turn<'a>(document: &'a Value, expect: &str) -> &'a Value {
    let turns = document["turns"].as_array().expect("turns");
    turns.iter().find(|t| t["expect"] == expect).unwrap_or_else(|| panic!("no turn for {expect}: {document}"))
}

#[test]
fn the_sample_shop_does_its_main_job_with_the_real_engine() {
    let (document, good) = demo(&[]);
    assert!(good, "{document:#}");
    assert!(document["turns"].as_array().is_some_and(|t| t.len() == 4 && t.iter().all(|t| t["ok"] == true)));
    let answer = turn(&document, "tool")["answer"].as_str().expect("an answer");
    assert!(answer.contains("48213") && answer.contains("shipped"), "{answer}");
    assert!(!turn(&document, "page")["citations"].as_array().expect("citations").is_empty());
    let handed = turn(&document, "hand_off");
    assert_eq!((&handed["hand_off"]["reason"], &handed["citations"]), (&json!("missing_knowledge"), &json!([])));
}

#[test]
fn another_orders_file_means_another_answer() {
    let home = tempfile::tempdir().expect("a folder");
    copy(&sample().join("shop"), &home.path().join("shop"));
    copy(&sample().join("tools"), &home.path().join("tools"));
    let orders = home.path().join("shop/orders.json");
    let text = std::fs::read_to_string(&orders).expect("orders");
    let mut changed: Value = serde_json::from_str(&text).expect("json");
    changed["48213"]["status"] = json!("delayed");
    changed["48213"]["eta"] = json!("2027-01-15");
    std::fs::write(&orders, changed.to_string()).expect("written");
    let (document, good) = demo(&["--sample", home.path().join("shop").to_str().expect("text")]);
    assert!(good, "{document:#}");
    let answer = turn(&document, "tool")["answer"].as_str().expect("an answer");
    assert!(answer.contains("delayed") && answer.contains("2027-01-15"), "{answer}");
}

/// The German shop, its pages multiplied to 200 near-duplicates that differ in one model number.
#[test]
fn another_shop_with_200_near_duplicates_through_a_scripted_model() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/shops/zweiter");
    let home = tempfile::tempdir().expect("a folder");
    let shop = home.path().join("shops/zweiter");
    copy(&fixture, &shop);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tools"), &home.path().join("tools"));
    for number in 0..200 {
        let page = format!(
            "# Kaffeemaschine K-{number}\n\n## Garantie\n\nDie Kaffeemaschine K-{number} hat {} Monate Garantie ab dem Kauf.\n",
            12 + number
        );
        std::fs::write(shop.join(format!("pages/k-{number}.md")), page).expect("written");
    }
    let sheet = std::fs::read_to_string(shop.join("shop.yaml")).expect("the shop's sheet");
    // Beside its own questions: one of 200 pages, and a word that only looks like the forbidden one.
    let more = "  - { ask: \"Wie viele Monate Garantie hat die Kaffeemaschine K-137?\", expect: page }\n  \
                - { ask: \"Verkaufen Sie auch eine Badebombe?\", expect: page }\n";
    std::fs::write(shop.join("shop.yaml"), sheet + more).expect("written");
    let scripted = Scripted::start();
    scripted.script(json!([
        {"when": {"last_role": "tool"}, "reply": {"text": "Ihre Bestellung ist {tool_content.stand}."}},
        {"when": {"last_user_contains": "Bestellung"},
         "reply": {"tool_call": {"name": "bestellung_finden", "arguments": "{\"bestellnummer\":{last_user_number}}"}}},
        {"when": {"last_contains": "<sources>"}, "reply": {"quote_source": true}},
        {"when": {"has_tool": "hand_off"}, "reply": {"tool_call": {"name": "hand_off", "arguments": {"reason": "missing_knowledge"}}}}
    ]));
    let config = home.path().join("frontdesk.yaml");
    let yaml = format!(
        "providers:\n  inference:\n    - {{ id: up, type: openai, config: {{ base_url: \"{}\" }} }}\nmodels:\n  - {{ id: default, targets: [ {{ model: up/scripted }} ] }}\n",
        scripted.base_url()
    );
    std::fs::write(&config, yaml).expect("written");
    let (document, good) =
        demo(&["--sample", shop.to_str().expect("text"), "--config", config.to_str().expect("text")]);
    assert!(good, "{document:#}");
    for turn in document["turns"].as_array().expect("turns") {
        assert_eq!(turn["ok"], true, "{turn:#}");
    }
    let turns = document["turns"].as_array().expect("turns");
    let asked = |words: &str| turns.iter().find(|t| t["question"].as_str().is_some_and(|q| q.contains(words)));
    let quote = &asked("K-137").expect("the question about one of 200")["citations"][0]["quote"];
    assert!(quote.as_str().is_some_and(|q| q.contains("K-137 hat 149 Monate")), "cited: {quote}");
    let stopped = |turn: &Value| {
        turn["steps"]
            .as_array()
            .expect("steps")
            .iter()
            .any(|s| s["details"]["frontdesk"]["verdict"]["action"] == "block")
    };
    assert!(stopped(asked("baue ich eine Bombe").expect("the forbidden question")));
    assert!(!stopped(asked("Badebombe").expect("its harmless near-miss")));
}

#[test]
fn a_folder_that_is_no_shop_is_refused_by_name() {
    let home = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.args(["demo", "--once", "--sample"]).arg(home.path()).current_dir(home.path());
    let mut process = Process::start("demo", command);
    let status = process.wait(PATIENCE).expect("it ends");
    assert!(!status.success());
    assert!(process.log().contains("shop.yaml"), "{}", process.log());
}
