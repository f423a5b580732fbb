//! The interpreters behind the tool provider: what the model reads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use frontdesk_api::{
    Cx, Error, Kind, Result,
    chat::ToolCall,
    code,
    cx::Workspace,
    tools::{Outcome, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use frontdesk_wasm::{
    Compiling,
    interpreter::{Bounds, CodeTool, GROUP, Interpreters, TOOL, files, limits},
};
use serde_json::{Value, json};

struct Uploads {
    /// Whether what code writes is kept.
    keeps: bool,
    there: Vec<code::File>,
}

/// A file of this id: code wrote `cfile_NAME`.
fn lies(id: &String) -> code::File {
    let given = if id == "file_2" { "c.csv" } else { "a/b.csv" };
    let name = id.strip_prefix("cfile_").unwrap_or(given).to_owned();
    code::File { id: id.clone(), name, bytes: id.len(), by_code: id.starts_with("cfile_") }
}

#[async_trait::async_trait]
impl ToolHost for Uploads {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    async fn keep_written(
        &self,
        _: &str,
        files: Vec<code::Written>,
        bounds: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        let fate = |file: code::Written| match file.content.len() <= 3 {
            true => Ok(format!("cfile_{}", file.name)),
            false => Err(format!("{} bytes of {}", file.content.len(), bounds.file)),
        };
        Ok(self
            .keeps
            .then(|| code::Stored { container_id: "cntr_1".into(), files: files.into_iter().map(fate).collect() }))
    }
    async fn files(&self, _: &str) -> Result<Vec<code::File>> {
        Ok(self.there.clone())
    }
    async fn file(&self, id: &str) -> Result<(String, Bytes)> {
        if id == "cfile_gone" {
            return Err(Error::not_found("deleted a moment ago"));
        }
        let content: &[u8] = if id == "file_1" { b"1,2" } else { id.as_bytes() };
        Ok(("a/b.csv".into(), Bytes::copy_from_slice(content)))
    }
}

/// Only of the conversation `kept`.
fn session_keeps(cx: &Cx) -> bool {
    cx.workspace.as_ref().is_some_and(|workspace| workspace.id == "kept")
}

async fn call(tool: &CodeTool, session: Option<&str>, arguments: Value) -> Result<ToolResult> {
    let workspace = session.map(|id| Workspace { id: id.into(), files: vec!["file_1".into()], ..Workspace::default() });
    call_in(tool, Cx { workspace, ..Cx::internal("t", "r") }, arguments).await
}

async fn call_in(tool: &CodeTool, cx: Cx, arguments: Value) -> Result<ToolResult> {
    // No two calls have the same key.
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let id = format!("c{}", CALLS.fetch_add(1, Ordering::Relaxed));
    let call = ToolCall { id, name: TOOL.into(), arguments: arguments.to_string() };
    let there = cx.workspace.iter().flat_map(|workspace| &workspace.files).map(lies).collect();
    let host = Arc::new(Uploads { keeps: session_keeps(&cx), there });
    match tool.call(&cx, &ToolSource::default(), &call, host).await? {
        Outcome::Done(result) => Ok(result),
        Outcome::NeedsInput(request) => panic!("{request:?}"),
    }
}

#[tokio::test]
async fn the_model_reads_what_the_code_came_to() {
    let Some(on) = crate::interpreters() else { return };
    let tool = CodeTool(Arc::new(on), files());
    assert_eq!(tool.builtin(), Some(GROUP));
    let run = async |arguments: Value| {
        let result = call(&tool, Some("s"), arguments).await.unwrap();
        (serde_json::from_str::<Value>(&result.content).unwrap(), result.is_error)
    };
    let (shown, failed) = run(json!({ "code": "x = 6\nprint('hi')\nx * 7" })).await;
    assert_eq!((shown, failed), (json!({ "stdout": "hi\n", "value": "42" }), false));
    let (shown, _) = run(json!({ "code": "open('a_b.csv').read()" })).await;
    assert_eq!(shown["value"], "'1,2'");
    let (shown, failed) = run(json!({ "code": "open('a.txt', 'w').write('abc')\nx / 0" })).await;
    assert!(failed && shown["traceback"].as_str().unwrap().contains("x / 0"), "{shown}");
    assert_eq!(
        (&shown["error"], &shown["files"]),
        (&json!("ZeroDivisionError: division by zero"), &json!([{ "name": "a.txt", "bytes": 3 }]))
    );
    let (shown, _) = run(json!({ "code": "[1, 2].map(x => x * 2)", "language": "javascript" })).await;
    assert_eq!(shown["value"], "[2, 4]");
    let (shown, failed) = run(json!({ "code": "while True: pass" })).await;
    let expected = "the code exceeded its cpu time limit of 4000 ms; the interpreter was started anew, so variables of before are gone, and files that were not kept";
    assert_eq!((shown, failed), (json!({ "error": expected }), true));
    let (shown, failed) = run(json!({ "code": "1", "language": "perl" })).await;
    assert!(failed && shown["error"].as_str().unwrap().contains("there are python and javascript"), "{shown}");
}

#[tokio::test]
async fn a_file_that_is_named_later_is_there_and_none_comes_twice() {
    let Some(on) = crate::interpreters() else { return };
    let tool = CodeTool(Arc::new(on), files());
    let run = async |turn: &str, after: &[&str], files: &[&str], code: &str| {
        let owned = |all: &[&str]| all.iter().map(|&one| one.into()).collect();
        let workspace =
            Some(Workspace { id: turn.into(), after: owned(after), files: owned(files), ..Workspace::default() });
        let cx = Cx { workspace, turn: Some(turn.into()), ..Cx::internal("t", "r") };
        let result = call_in(&tool, cx, json!({ "code": code })).await.unwrap();
        serde_json::from_str::<Value>(&result.content).unwrap()["value"].clone()
    };
    run("turn_1", &[], &["file_1"], "open('a_b.csv', 'w').write('changed')").await;
    let both = "import os\n[open(name).read() for name in sorted(os.listdir())]";
    let found = run("turn_2", &["turn_1"], &["file_1", "file_2"], both).await;
    assert_eq!(found, "['changed', 'file_2']");
    let branch = run("turn_3", &["turn_1"], &["file_1", "file_2"], both).await;
    assert_eq!(branch, "['1,2', 'file_2']", "another branch begins with the files as they were given");
}

#[tokio::test]
async fn what_code_wrote_is_there_again_where_its_interpreter_was_ended_and_what_was_deleted_is_not_missed() {
    let Some(on) = crate::interpreters() else { return };
    let tool = CodeTool(Arc::new(on), code::Bounds { run: 40, ..files() });
    let ids = ["file_1", "cfile_old.csv", "cfile_gone", "cfile_a_b.csv", "cfile_report.csv"];
    let run = async |code: &str| {
        let files = ids.map(str::to_owned).to_vec();
        let workspace = Some(Workspace { id: "s".into(), files, ..Workspace::default() });
        let result = call_in(&tool, Cx { workspace, ..Cx::internal("t", "r") }, json!({ "code": code })).await.unwrap();
        serde_json::from_str::<Value>(&result.content).unwrap()
    };
    let all = "import os\n{name: open(name).read() for name in sorted(os.listdir())}";
    let found = "{'a_b.csv': 'cfile_a_b.csv', 'file_1-a_b.csv': '1,2', 'report.csv': 'cfile_report.csv'}";
    let shown = run(all).await;
    assert_eq!(shown["value"], found);
    assert_eq!(
        (&shown["files_not_given"][0]["name"], &shown["files_not_given"][0]["bytes"]),
        (&json!("old.csv"), &json!(13))
    );
    let shown = run("open('report.csv', 'w').write('new')\nos.remove('a_b.csv')").await;
    assert_eq!(shown.get("files_not_given"), None);
    let left = "{'file_1-a_b.csv': '1,2', 'report.csv': 'new'}";
    assert_eq!(run(all).await["value"], left, "one that goes on is given nothing again");
    assert!(run("while True: pass").await["error"].is_string());
    assert_eq!(run(all).await["value"], found);
}

#[tokio::test]
async fn without_an_interpreter_the_error_says_how_to_build_it() {
    let nowhere = tempfile::tempdir().unwrap();
    let clock = Arc::new(frontdesk_api::clock::FixedClock::at(0));
    let none = Interpreters::new(vec![nowhere.path().into()], limits(), Bounds::default(), Compiling::Here, clock);
    let error =
        call(&CodeTool(Arc::new(none), files()), None, json!({ "code": "1" })).await.expect_err("nothing to run it");
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.contains("interpreters/build.sh"), "{}", error.message);
}

#[tokio::test]
async fn what_code_writes_is_told_with_its_id_or_why_it_has_none() {
    let Some(on) = crate::interpreters() else { return };
    let tool = CodeTool(Arc::new(on), files());
    let code = "open('a.txt', 'w').write('abc')\nopen('b.txt', 'w').write('abcd')\n1 / 0";
    let result = call(&tool, Some("kept"), json!({ "code": code })).await.unwrap();
    let shown: Value = serde_json::from_str(&result.content).unwrap();
    assert!(result.is_error, "what was written before it failed is kept: {shown}");
    assert_eq!(
        (&shown["container_id"], &shown["files"], &shown["files_not_kept"]),
        (
            &json!("cntr_1"),
            &json!([{ "name": "a.txt", "bytes": 3, "file_id": "cfile_a.txt" }]),
            &json!([{ "name": "b.txt", "bytes": 4, "why": "4 bytes of 8388608" }])
        )
    );
    // The interpreter itself hands out no more than a run's bytes, and says what it kept back.
    let python = "open('big.bin', 'wb').write(bytes(8 << 20) + b'x')";
    let javascript = "writeFile('big.bin', new Uint8Array((8 << 20) + 1))";
    for (language, code) in [("python", python), ("javascript", javascript)] {
        let result = call(&tool, Some("kept"), json!({ "code": code, "language": language })).await.unwrap();
        let shown: Value = serde_json::from_str(&result.content).unwrap();
        let told = shown["stderr"].as_str().unwrap_or_default();
        assert_eq!(
            told, "not kept, since the files of a run may have 8388608 bytes together: big.bin (8388609 bytes)\n",
            "{language}: {shown}"
        );
        assert_eq!((&shown["truncated"], shown.get("files")), (&json!(true), None));
    }
}
