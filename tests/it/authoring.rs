//! A tool's author at a terminal: a folder, its tests in the sandbox, and a server that gets the component.
//!
//! What needs a language's toolchain is in tests/conformance/test_authoring.py; here the component is there already.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::SystemTime,
};

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::binary};
use serde_json::{Value, json};

use crate::{attacked, shop};

const SHOP_TOOLS: &[u8] = include_bytes!("../../services/gateway/demo/tools/shop-tools.wasm");

/// A case that passes, and what makes it fail.
const CASES: &str = r#"
- name: an order
  tool: lookup_order
  arguments: { order_id: "7" }
  kv: { order/7: { status: shipped, eta: tomorrow, item: Lamp } }
  result: { order_id: "7", status: shipped, eta: tomorrow, item: Lamp }
- { tool: start_return, arguments: {}, error: '"order_id" is a required property' }
"#;

struct Desk {
    home: tempfile::TempDir,
}

impl Desk {
    /// A new folder with the shop's tools as its component.
    fn new() -> Self {
        let desk = Self { home: tempfile::tempdir().expect("a folder") };
        let made = desk.tool(desk.home.path(), &["new", "--lang", "rust", "shop"]);
        assert!(made.status.success(), "{}", said(&made));
        std::fs::write(desk.folder().join("shop.wasm"), SHOP_TOOLS).expect("written");
        std::fs::write(desk.folder().join("tests.yaml"), CASES).expect("written");
        desk
    }

    fn folder(&self) -> PathBuf {
        self.home.path().join("shop")
    }

    fn tool(&self, at: &Path, arguments: &[&str]) -> Output {
        Self::command(at, arguments).output().expect("frontdesk runs")
    }

    fn command(at: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        // No toolchain is found, and nothing of whoever runs the tests.
        command.arg("tool").args(arguments).current_dir(at).env_clear().env("PATH", "");
        command
    }

    fn push(&self, frontdesk: &Frontdesk, arguments: &[&str]) -> Output {
        let server = ["push", "--url", frontdesk.url(), "--key", frontdesk_tests::frontdesk::ADMIN_KEY];
        self.tool(&self.folder(), &[&server[..], arguments].concat())
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_folder_is_written_once_and_its_cases_decide_the_status() {
    let desk = Desk::new();
    let again = desk.tool(desk.home.path(), &["new", "--lang", "python", "shop"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(said(&again).contains("is there already; nothing was written"), "{}", said(&again));

    let good = desk.tool(&desk.folder(), &["test"]);
    assert!(good.status.success(), "{}", said(&good));
    let told = said(&good);
    assert!(told.contains("ok   lookup_order: an order (") && told.contains("2 passed, 0 failed"), "{told}");

    std::fs::write(
        desk.folder().join("tests.yaml"),
        CASES.replace("eta: tomorrow, item: Lamp }\n-", "eta: today }\n-"),
    )
    .expect("written");
    let bad = desk.tool(&desk.folder(), &["test"]);
    assert_eq!(bad.status.code(), Some(1));
    let told = said(&bad);
    for part in
        ["FAIL lookup_order: an order (", "-  \"eta\": \"today\"", "+  \"item\": \"Lamp\"", "1 passed, 1 failed"]
    {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    std::fs::write(desk.folder().join("tests.yaml"), "[]").expect("written");
    assert_eq!(desk.tool(&desk.folder(), &["test"]).status.code(), Some(1), "nothing was tested");
}

#[test]
fn without_its_toolchain_a_build_names_the_command_and_leaves_all_as_it_was() {
    let desk = Desk::new();
    for (language, command) in [
        ("python", "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt"),
        ("js", "npm install"),
        ("ts", "npm install"),
        ("rust", "rustup target add wasm32-unknown-unknown"),
    ] {
        let name = format!("in-{language}");
        assert!(desk.tool(desk.home.path(), &["new", "--lang", language, &name]).status.success());
        let component = desk.home.path().join(&name).join(format!("{name}.wasm"));
        std::fs::write(&component, "the last good one").expect("written");
        let built = desk.tool(desk.home.path(), &["build", &name]);
        assert_eq!(built.status.code(), Some(1));
        assert!(said(&built).contains(command), "{}", said(&built));
        assert_eq!(std::fs::read_to_string(&component).expect("read"), "the last good one");
        assert!(!desk.home.path().join(&name).join("build").exists(), "{language}");
    }
    let nowhere = desk.tool(desk.home.path(), &["build", "."]);
    assert!(said(&nowhere).contains("has no tool.yaml; frontdesk tool new writes"), "{}", said(&nowhere));
}

#[test]
fn what_an_earlier_build_left_does_not_pass_for_this_ones() {
    let desk = Desk::new();
    assert!(desk.tool(desk.home.path(), &["new", "--lang", "python", "desk"]).status.success());
    let folder = desk.home.path().join("desk");
    std::fs::create_dir_all(folder.join("build")).expect("made");
    std::fs::write(folder.join("build/python.wasm"), SHOP_TOOLS).expect("written");
    std::fs::create_dir_all(folder.join(".venv/bin")).expect("made");
    let program = folder.join(".venv/bin/componentize-py");
    // A toolchain that ends well and makes nothing.
    std::fs::write(&program, "#!/bin/sh\nexit 0\n").expect("written");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("runs");
    let built = desk.tool(&folder, &["build"]);
    assert_eq!(built.status.code(), Some(1), "{}", said(&built));
    assert!(said(&built).contains("cannot read") && !folder.join("desk.wasm").exists(), "{}", said(&built));
}

#[test]
fn machine_code_that_comes_with_a_folder_is_not_run() {
    let desk = Desk::new();
    let caches = desk.home.path().join("caches");
    let mut test = Desk::command(&desk.folder(), &["test"]);
    let tested = test.env("XDG_CACHE_HOME", &caches).output().expect("frontdesk runs");
    assert!(tested.status.success(), "{}", said(&tested));
    assert!(!desk.folder().join(".frontdesk").exists(), "nothing is kept with the source");

    // Whoever gives a folder away has signed what he puts into it with the key that he puts beside it.
    let planted = desk.folder().join(".frontdesk");
    std::fs::create_dir(&planted).expect("made");
    std::fs::set_permissions(&planted, std::fs::Permissions::from_mode(0o700)).expect("closed");
    let mut codes = vec![];
    for entry in std::fs::read_dir(caches.join("frontdesk/tool-test")).expect("kept with the caches") {
        let from = entry.expect("an entry").path();
        let to = planted.join(from.file_name().expect("a name"));
        std::fs::copy(&from, &to).expect("copied");
        if to.extension().is_some_and(|kind| kind == "cwasm") {
            std::fs::File::options()
                .append(true)
                .open(&to)
                .expect("opened")
                .set_modified(SystemTime::UNIX_EPOCH)
                .expect("set");
            codes.push(to);
        }
    }
    assert_eq!(codes.len(), 1);
    for caches in [Some(desk.home.path().join("others")), None] {
        let mut test = Desk::command(&desk.folder(), &["test"]);
        let tested = test.envs(caches.map(|at| ("XDG_CACHE_HOME", at))).output().expect("frontdesk runs");
        assert!(tested.status.success(), "{}", said(&tested));
        // Code that is loaded gets the time of its use.
        let used = std::fs::metadata(&codes[0]).and_then(|about| about.modified()).expect("a time");
        assert_eq!(used, SystemTime::UNIX_EPOCH, "the planted code was loaded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_shows_what_is_asked_for_and_registers_what_was_granted() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let desk = Desk::new();
    let files = async || {
        let (_, page) = frontdesk.get("/v1/files").await;
        page["data"].as_array().expect("files").len()
    };

    // Nobody said yes; no terminal to ask at.
    let refused = desk.push(&frontdesk, &[]);
    assert_eq!(refused.status.code(), Some(1));
    let told = said(&refused);
    assert!(told.contains("kv       data of its own") && told.contains("grant with --grant kv (or --yes"), "{told}");
    // What the tools are is shown to whoever is asked, and nothing is left there.
    assert!(told.contains("start_return: effect idempotent, risk low_impact_write"), "{told}");
    assert_eq!((frontdesk.get("/v1/toolgroups/shop").await.0, files().await), (404, 0));
    // A dry run: the server has looked at it, and nothing is left there.
    let dry = desk.push(&frontdesk, &["--dry-run"]);
    assert!(dry.status.success(), "{}", said(&dry));
    let told = said(&dry);
    assert!(told.contains("start_return: effect idempotent, risk low_impact_write"), "{told}");
    assert!(told.contains("a dry run: nothing was registered"), "{told}");
    assert_eq!((frontdesk.get("/v1/toolgroups/shop").await.0, files().await), (404, 0));
    // What the server refuses is said in its words, and leaves nothing either.
    let yaml = desk.folder().join("tool.yaml");
    let manifest = std::fs::read_to_string(&yaml).expect("read");
    std::fs::write(&yaml, manifest.replace("secrets: []", "secrets: [nowhere]")).expect("written");
    let refused = desk.push(&frontdesk, &["--yes"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("there is no secret 'nowhere'"), "{}", said(&refused));
    assert_eq!((frontdesk.get("/v1/toolgroups/shop").await.0, files().await), (404, 0));

    let operators = "tools:\n  start_return: { risk: approval_required }\n";
    std::fs::write(&yaml, format!("{manifest}{operators}")).expect("written");
    let pushed = desk.push(&frontdesk, &["--grant", "kv"]);
    assert!(pushed.status.success(), "{}", said(&pushed));
    assert!(said(&pushed).contains("toolgroups: [shop]"), "{}", said(&pushed));
    let (status, group) = frontdesk.get("/v1/toolgroups/shop").await;
    assert_eq!(
        (status, &group["args"]["grants"], &group["args"]["hosts"]),
        (200, &json!(["kv"]), &json!(["parcels.example"]))
    );
    let (_, tool) = frontdesk.get("/v1/tools/start_return").await;
    assert_eq!(tool["metadata"]["risk"], "approval_required", "{tool}");
    let call = json!({ "tool_name": "lookup_order", "kwargs": { "order_id": "7" } });
    let (status, answer) = frontdesk.post("/v1/tool-runtime/invoke", &call).await;
    let content: Value = serde_json::from_str(answer["content"].as_str().expect("text")).expect("JSON");
    assert_eq!((status, &content["error"]), (200, &json!("order 7 not found")), "{answer}");

    // The next version takes its place.
    std::fs::write(&yaml, format!("{manifest}trust: third_party\n{operators}")).expect("written");
    let pushed = desk.push(&frontdesk, &["--yes"]);
    assert!(
        pushed.status.success() && said(&pushed).contains("trust was own, would be third_party"),
        "{}",
        said(&pushed)
    );
    let changes = async || {
        let (_, changes) = frontdesk.get("/v1/toolgroup-changes?toolgroup_id=shop").await;
        changes["data"].as_array().expect("changes").len()
    };
    assert_eq!(changes().await, 2);

    // One that guards less, or another provider's group, takes nobody's place by itself.
    std::fs::write(&yaml, &manifest).expect("written");
    let kept = files().await;
    let refused = desk.push(&frontdesk, &["--yes"]);
    let told = said(&refused);
    for part in [
        "WEAKER trust was third_party, would be own",
        "WEAKER start_return: risk was approval_required, would be low_impact_write",
        "nothing was pushed: it would guard less than what is there; --weaken",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert_eq!(refused.status.code(), Some(1));
    let refused = desk.push(&frontdesk, &["--yes", "--weaken", "--provider", "elsewhere"]);
    assert!(
        said(&refused).contains("is a tool group of the provider 'wasm', not of 'elsewhere'"),
        "{}",
        said(&refused)
    );
    assert_eq!((changes().await, files().await), (2, kept));
    let pushed = desk.push(&frontdesk, &["--yes", "--weaken"]);
    assert!(pushed.status.success(), "{}", said(&pushed));
    assert_eq!(changes().await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_that_a_group_is_made_from_stays_as_long_as_the_group() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(shop::options(&scripted));
    let group = |file: &str| {
        json!({ "toolgroup_id": "shop", "provider_id": "wasm",
                "args": { "component": file, "grants": ["kv"] } })
    };
    let passing =
        [("purpose", "assistants"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")];
    let passing = shop::upload_with(&frontdesk, &passing, "shop.wasm", SHOP_TOOLS).await;
    let (status, refused) = frontdesk.post("/v1/toolgroups", &group(&passing)).await;
    assert_eq!((status, &refused["error"]["param"]), (400, &json!("args.component")), "{refused}");
    let file = shop::upload(&frontdesk, "shop.wasm", SHOP_TOOLS).await;
    let (status, registered) = frontdesk.post("/v1/toolgroups", &group(&file)).await;
    assert_eq!(status, 200, "{registered}");

    let delete = async |frontdesk: &Frontdesk, path: String| {
        frontdesk_tests::frontdesk::answer("delete", frontdesk.request("DELETE", &path)).await
    };
    let (status, refused) = delete(&frontdesk, format!("/v1/files/{file}")).await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("file_in_use")), "{refused}");
    assert_eq!(delete(&frontdesk, format!("/v1/files/{passing}")).await.0, 200, "no group is made from it");
    // Another process reads it anew.
    frontdesk.restart();
    let call = json!({ "tool_name": "lookup_order", "kwargs": { "order_id": "7" } });
    let (status, answer) = frontdesk.post("/v1/tool-runtime/invoke", &call).await;
    assert_eq!(status, 200, "{answer}");
    delete(&frontdesk, "/v1/toolgroups/shop".into()).await;
    assert_eq!(delete(&frontdesk, format!("/v1/files/{file}")).await.0, 200);
}

/// Its `count` keeps a number for the conversation: no import says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_tool_keeps_is_tested_by_conversation_and_granted_by_name() {
    let desk = Desk::new();
    std::fs::write(desk.folder().join("shop.wasm"), attacked::ATTACKER).expect("written");
    let cases = |last: u8| {
        format!(
            "- {{ tool: count, conversation: a, result: 1 }}\n- {{ tool: count, conversation: a, result: 2 }}\n\
             - {{ tool: count, conversation: b, result: 1 }}\n- {{ tool: count, result: 1 }}\n- {{ tool: count, result: {last} }}\n"
        )
    };
    for (last, passes) in [(1, true), (2, false)] {
        std::fs::write(desk.folder().join("tests.yaml"), cases(last)).expect("written");
        let tested = desk.tool(&desk.folder(), &["test"]);
        assert_eq!(tested.status.success(), passes, "{}", said(&tested));
    }

    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let refused = desk.push(&frontdesk, &["--grant", "clock"]);
    let told = said(&refused);
    assert!(told.contains("keep     what it remembers") && told.contains("grant with --grant keep (or"), "{told}");
    let (_, files) = frontdesk.get("/v1/files").await;
    assert_eq!((refused.status.code(), &files["data"]), (Some(1), &json!([])));
    let idle = desk.push(&frontdesk, &["--grant", "clock", "--grant", "keep", "--grant", "kv"]);
    assert!(said(&idle).contains("the component does not ask for 'kv'"), "{}", said(&idle));
    let pushed = desk.push(&frontdesk, &["--grant", "clock", "--grant", "keep"]);
    assert!(pushed.status.success(), "{}", said(&pushed));
    let (_, group) = frontdesk.get("/v1/toolgroups/shop").await;
    assert_eq!(group["args"]["grants"], json!(["clock", "keep"]), "{group}");
}
