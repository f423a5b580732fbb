//! Agents on the command line: written to a file, read back as a draft, and the draft tried on recorded conversations.

use std::process::{Command, Output};

use frontdesk_tests::{
    Frontdesk, Scripted,
    frontdesk::{ADMIN_KEY, binary},
};
use serde_json::{Value, json};

use crate::shop;

/// Runs a command against the server; this waits, so the server must not need this thread.
async fn command(frontdesk: &Frontdesk, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("FRONTDESK_URL", frontdesk.url()).env("FRONTDESK_API_KEY", ADMIN_KEY);
    let done = tokio::task::spawn_blocking(move || command.output());
    done.await.expect("a thread").expect("frontdesk runs")
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
}

fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {:?}", said(output)))
}

#[tokio::test]
async fn an_agent_is_exported_changed_imported_and_tried_on_what_was_recorded() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    shop::register_tools(&frontdesk, "shop").await;
    let agent = shop::agent(&frontdesk, json!({ "name": "shop", "toolgroups": ["shop"] })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    let session = turns.split('/').nth(5).expect("a session").to_owned();
    let call = json!({ "reply": { "tool_call": { "name": "lookup_order", "arguments": { "order_id": "1001" } } } });
    let say = |text: &str| json!({ "reply": { "text": text } });
    scripted.script(json!([call, say("It is on its way."), say("You are welcome.")]));
    shop::ask(&frontdesk, &turns, "where is 1001?").await;
    shop::ask(&frontdesk, &turns, "thanks").await;

    // Export, a change, import: a draft.
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("shop.yaml");
    let path = file.to_str().expect("a path");
    let (code, told) = said(&command(&frontdesk, &["agent", "export", "shop", "--output", path]).await);
    assert_eq!((code, told.as_str()), (Some(0), ""));
    let text = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(String::from_utf8_lossy(&command(&frontdesk, &["agent", "export", &agent]).await.stdout), text);
    assert!(text.contains("instructions: Be brief."), "{text}");
    std::fs::write(&file, text.replace("Be brief.", "Be kind.")).expect("written");
    let (code, told) = said(&command(&frontdesk, &["agent", "import", path, "--note", "kinder"]).await);
    assert_eq!((code, told.trim()), (Some(0), format!("{agent} version 2: a draft").as_str()));
    let lines = async || {
        let (code, told) = said(&command(&frontdesk, &["agent", "versions", "shop"]).await);
        assert_eq!(code, Some(0), "{told}");
        // Without the time of the day.
        let words =
            |line: &str| line.split_whitespace().filter(|word| !word.contains(':')).collect::<Vec<_>>().join(" ");
        told.lines().map(words).collect::<Vec<_>>()
    };
    assert_eq!(lines().await, ["2 - kinder", "1 published"]);
    for (version, state) in [("2", ["2 published kinder", "1 -"]), ("1", ["2 - kinder", "1 published"])] {
        let (code, told) = said(&command(&frontdesk, &["agent", "publish", "shop", version]).await);
        assert_eq!((code, told.trim()), (Some(0), format!("{agent} version {version}: published").as_str()));
        assert_eq!(lines().await, state);
    }
    let (code, told) = said(&command(&frontdesk, &["agent", "publish", "shop", "9"]).await);
    assert_eq!(code, Some(1));
    assert!(told.contains('9'), "{told}");
    let (code, told) = said(&command(&frontdesk, &["agent", "export", "nobody"]).await);
    assert_eq!(code, Some(1));
    assert!(told.contains("no agent has the id or name 'nobody'; there are: shop"), "{told}");
    std::fs::write(home.path().join("bad.yaml"), "model: m\nlimits: { max_step: 3 }\n").expect("written");
    let bad = home.path().join("bad.yaml");
    let (code, told) = said(&command(&frontdesk, &["agent", "import", bad.to_str().expect("a path")]).await);
    assert_eq!(code, Some(1));
    assert!(told.contains("did you mean 'max_steps'"), "{told}");

    // The draft says the same to the first message and more to the second.
    let before = frontdesk.texts("SELECT id FROM turn").await.len();
    scripted.script(json!([call, say("It is on its way."), say("You are very welcome.")]));
    let (code, told) = said(&command(&frontdesk, &["replay", "--agent", "shop"]).await);
    assert_eq!(code, Some(1), "{told}");
    for line in [
        "2 recorded turns, asked again of version 2",
        &session,
        "1/2 where is 1001?",
        "text: You are {+very +}welcome.",
        "2 turns asked again: 1 the same, 1 different",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
    let instructions = scripted.requests().last().expect("a request").json()["messages"][0]["content"].clone();
    assert_eq!(instructions, "Be kind.");

    // The published version, as a document; the same answers are the status 0.
    scripted.script(json!([call, say("It is on its way."), say("You are welcome.")]));
    let published = ["replay", "--agent", "shop", "--version", "published", "--conversation", &session, "--json"];
    let done = command(&frontdesk, &published).await;
    let whole = json_of(&done);
    assert_eq!((done.status.code(), &whole["same"], &whole["version"]), (Some(0), &json!(true), &json!(1)), "{whole}");
    let first = &whole["turns"][0]["comparison"];
    assert_eq!(first["recorded"]["calls"], first["replayed"]["calls"], "{first}");
    let (was, is) = (&whole["summary"]["recorded"], &whole["summary"]["replayed"]);
    assert!(is["output_tokens"].as_u64().is_some_and(|tokens| tokens > 0), "{is}");
    assert_eq!((&was["input_tokens"], &was["output_tokens"]), (&is["input_tokens"], &is["output_tokens"]));

    // A file, with live tools that only read.
    scripted.script(json!([call, say("It is on its way."), say("You are welcome.")]));
    let from_file = ["replay", "--agent", "shop", "--file", path, "--tools", "live", "--last", "1", "--json"];
    let done = command(&frontdesk, &from_file).await;
    let whole = json_of(&done);
    assert_eq!((done.status.code(), &whole["version"]), (Some(0), &Value::Null), "{whole}");

    // Nothing of it is a turn of anybody's.
    assert_eq!(frontdesk.texts("SELECT id FROM turn").await.len(), before);
}

#[tokio::test]
async fn what_cannot_be_replayed_is_the_status_two() {
    let scripted = Scripted::start();
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    let agent = shop::agent(&frontdesk, json!({ "name": "shop" })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([{ "reply": { "text": "hello" } }]));
    shop::ask(&frontdesk, &turns, "hi").await;
    for (arguments, says) in [
        (vec!["--agent", "nobody"], "no agent has the id or name 'nobody'"),
        (vec!["--agent", "shop", "--version", "9"], "has no version 9"),
        (vec!["--agent", "shop", "--conversation", "sess_x"], "this agent has answered in no conversation"),
        (vec!["--agent", "shop", "--allow-effects"], "allow_effects goes with tools: live"),
        (vec!["--agent", "shop", "--last", "0"], "last is 1 to 100"),
        (vec!["--agent", "shop", "--key", "fd_wrong"], "401"),
    ] {
        let (code, told) = said(&command(&frontdesk, &[&["replay"][..], &arguments].concat()).await);
        assert_eq!(code, Some(2), "{arguments:?}: {told}");
        assert!(told.contains(says), "{arguments:?}: {told}");
    }
    // A conversation in which nothing was asked says nothing either.
    let empty = shop::session(&frontdesk, &agent).await;
    let empty = empty.split('/').nth(5).expect("a session");
    let (code, told) = said(&command(&frontdesk, &["replay", "--agent", "shop", "--conversation", empty]).await);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("no turn was asked again, so nothing was compared"), "{told}");
    // A model that fails says nothing about the agent.
    scripted.script(json!([{ "times": 20, "reply": { "status": 400, "json": { "error": { "message": "no" } } } }]));
    let (code, told) = said(&command(&frontdesk, &["replay", "--agent", "shop"]).await);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("failed because something they need did"), "{told}");
}
