//! Code in a container that lives on between its runs: what a run that is repeated finds, what instances see of each other,
//! and what happens where files cannot be kept or given.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use frontdesk_api::{
    Cx, Error, Kind, Result,
    chat::ToolCall,
    code,
    cx::Workspace,
    tools::{Outcome, ToolHost, ToolProvider, ToolSource},
};
use frontdesk_wasm::{
    Limits,
    interpreter::{CodeTool, TOOL, files},
};
use serde_json::{Value, json};

use crate::{few, quick, with};

#[derive(Clone)]
struct Kept {
    id: String,
    name: String,
    content: Bytes,
    /// Other than its content has, where it is claimed so.
    bytes: usize,
    run: String,
}

#[derive(Default)]
struct Container {
    all: Mutex<Vec<Kept>>,
    made: AtomicUsize,
    /// The database is out of reach when something is to be kept.
    down: AtomicBool,
}

impl Container {
    /// What code wrote in an earlier run.
    fn put(&self, name: &str, content: Bytes, bytes: usize) -> String {
        self.add(Kept { id: String::new(), name: name.to_owned(), content, bytes, run: "earlier".into() })
    }

    fn add(&self, file: Kept) -> String {
        let id = format!("cfile_{}", self.made.fetch_add(1, Ordering::SeqCst));
        self.all.lock().unwrap().push(Kept { id: id.clone(), ..file });
        id
    }

    fn delete(&self, id: &str) {
        self.all.lock().unwrap().retain(|file| file.id != id);
    }
}

#[async_trait::async_trait]
impl ToolHost for Container {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    async fn keep_written(
        &self,
        run: &str,
        files: Vec<code::Written>,
        _: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::unavailable("the database is away"));
        }
        self.all.lock().unwrap().retain(|file| file.run != run);
        let add = |code::Written { name, content }| {
            let bytes = content.len();
            Ok(self.add(Kept { id: String::new(), name, content, bytes, run: run.to_owned() }))
        };
        Ok(Some(code::Stored { container_id: "cntr_1".into(), files: files.into_iter().map(add).collect() }))
    }
    async fn files(&self, run: &str) -> Result<Vec<code::File>> {
        let others = self.all.lock().unwrap().iter().filter(|file| file.run != run).cloned().collect::<Vec<_>>();
        let listed = others.into_iter();
        Ok(listed.map(|Kept { id, name, bytes, .. }| code::File { id, name, bytes, by_code: true }).collect())
    }
    async fn file(&self, id: &str) -> Result<(String, Bytes)> {
        let found = self.all.lock().unwrap().iter().find(|file| file.id == id).cloned();
        let Kept { name, content, .. } = found.ok_or_else(|| Error::not_found("deleted"))?;
        if name == "broken" {
            return Err(Error::unavailable("the bucket is away"));
        }
        Ok((name, content))
    }
}

struct Desk {
    tool: CodeTool,
    container: Arc<Container>,
}

impl Desk {
    fn with(limits: Limits, bounds: code::Bounds) -> Option<Self> {
        let tool = CodeTool(Arc::new(with(limits, few())?), bounds);
        Some(Self { tool, container: Arc::default() })
    }

    fn new() -> Option<Self> {
        Self::with(quick(), files())
    }

    async fn try_run(&self, key: &str, language: &str, code: &str) -> Result<Value> {
        let workspace = Some(Workspace { id: "cntr_1".into(), ..Workspace::default() });
        let cx = Cx { workspace, ..Cx::internal("t", "r") };
        let arguments = json!({ "code": code, "language": language }).to_string();
        let call = ToolCall { id: key.into(), name: TOOL.into(), arguments };
        match self.tool.call(&cx, &ToolSource::default(), &call, self.container.clone()).await? {
            Outcome::Done(result) => Ok(serde_json::from_str(&result.content).unwrap()),
            Outcome::NeedsInput(request) => panic!("{request:?}"),
        }
    }

    async fn run(&self, key: &str, language: &str, code: &str) -> Value {
        self.try_run(key, language, code).await.unwrap()
    }

    /// The value of the last line, or the error.
    async fn value(&self, key: &str, language: &str, code: &str) -> String {
        let shown = self.run(key, language, code).await;
        let told = shown.get("error").unwrap_or(&shown["value"]);
        told.as_str().unwrap_or_else(|| panic!("{shown}")).to_owned()
    }
}

const PYTHON: &str = "python";
const JAVASCRIPT: &str = "javascript";

#[tokio::test]
async fn a_run_that_is_repeated_begins_as_its_first_attempt_did() {
    let Some(desk) = Desk::new() else { return };
    let append =
        "f = open('log', 'a')\nf.write('x')\nf.close()\nn = globals().get('n', 0) + 1\n(n, open('log').read())";
    assert_eq!(desk.value("k1", PYTHON, append).await, "(1, 'x')");
    // Its worker died before the result was in a row.
    assert_eq!(desk.value("k1", PYTHON, append).await, "(1, 'x')");
    assert_eq!(desk.value("k2", PYTHON, append).await, "(2, 'xx')");
    // Another turn ran between.
    assert_eq!(desk.value("k1", PYTHON, "sorted(globals().keys() & {'n', 'f'})").await, "[]");
}

#[tokio::test]
async fn an_instance_whose_files_could_not_be_kept_is_met_by_nobody() {
    let Some(desk) = Desk::new() else { return };
    desk.run("k1", PYTHON, "n = 1").await;
    desk.container.down.store(true, Ordering::SeqCst);
    let error = desk.try_run("k2", PYTHON, "n = 2").await.expect_err("nothing can be kept");
    assert_eq!(error.kind, Kind::Unavailable);
    assert!(error.message.starts_with("the database is away; the interpreter was started anew"), "{}", error.message);
    desk.container.down.store(false, Ordering::SeqCst);
    assert_eq!(desk.value("k3", PYTHON, "n").await, "NameError: name 'n' is not defined");
}

#[tokio::test]
async fn instances_of_a_container_see_what_each_other_wrote_and_keep_their_own() {
    let Some(desk) = Desk::new() else { return };
    let read = "open('a').read()";
    desk.run("k1", PYTHON, "x = 1\nopen('a', 'w').write('one')\nopen('b', 'w').write('own')").await;
    assert_eq!(desk.value("k2", JAVASCRIPT, "readFile('a')").await, "one");
    let written = desk.run("k3", JAVASCRIPT, "writeFile('a', 'two'); readFile('b')").await;
    assert_eq!(written["value"], "own");
    assert_eq!(desk.value("k4", PYTHON, &format!("import os\nos.remove('b')\n(x, {read})")).await, "(1, 'two')");
    // It is not given again what it has removed or had before.
    assert_eq!(desk.value("k5", PYTHON, "(x, os.listdir())").await, "(1, ['a'])");
    assert_eq!(desk.value("k6", JAVASCRIPT, "readFile('a') + listFiles().length").await, "two2");

    // Whoever holds a file that was deleted goes on no more.
    desk.container.delete(written["files"][0]["file_id"].as_str().unwrap());
    assert_eq!(desk.value("k7", PYTHON, "'x' in globals(), open('a').read()").await, "(False, 'one')");
    assert_eq!(desk.value("k8", JAVASCRIPT, "readFile('a')").await, "one");
}

#[tokio::test]
async fn a_file_of_codes_own_that_cannot_be_read_is_left_out_and_said_so() {
    let Some(desk) = Desk::new() else { return };
    desk.container.put("broken", Bytes::from_static(b"1"), 1);
    desk.container.put("good", Bytes::from_static(b"2"), 1);
    let shown = desk.run("k1", PYTHON, "import os\nos.listdir()").await;
    assert_eq!(shown["value"], "['good']");
    let why = "it could not be read now";
    assert_eq!(shown["files_not_given"], json!([{ "name": "broken", "bytes": 1, "why": why }]));
}

#[tokio::test]
async fn files_whose_giving_meets_a_limit_are_left_out_and_the_code_runs() {
    let Some(desk) = Desk::with(Limits { memory: 64 << 20, ..quick() }, files()) else { return };
    desk.container.put("huge", Bytes::from(vec![b'x'; 48 << 20]), 1);
    for (key, language, code) in [("k1", PYTHON, "n = 1\nn"), ("k2", JAVASCRIPT, "var n = 1; n")] {
        let shown = desk.run(key, language, code).await;
        assert_eq!(shown["value"], "1", "{shown}");
        let why = "the interpreter met a limit when it was given what code wrote before";
        assert_eq!(shown["files_not_given"], json!([{ "name": "huge", "bytes": 1, "why": why }]));
    }
    let shown = desk.run("k3", PYTHON, "n").await;
    assert_eq!((&shown["value"], shown.get("files_not_given")), (&json!("1"), None), "nor later");
}

#[tokio::test]
async fn an_instance_that_meets_a_limit_when_it_is_given_more_begins_anew_and_the_code_runs() {
    let Some(desk) = Desk::with(Limits { memory: 64 << 20, ..quick() }, files()) else { return };
    desk.run("k1", PYTHON, "n = 1").await;
    desk.container.put("small", Bytes::from_static(b"x"), 1);
    assert_eq!(desk.value("k2", PYTHON, "(n, open('small').read())").await, "(1, 'x')");
    desk.container.put("huge", Bytes::from(vec![b'x'; 48 << 20]), 1);
    let shown = desk.run("k3", PYTHON, "'n' in globals()").await;
    assert_eq!(shown["value"], "False", "{shown}");
    let left_out: Vec<&Value> = shown["files_not_given"].as_array().unwrap().iter().map(|file| &file["name"]).collect();
    assert!(left_out.contains(&&json!("huge")), "{shown}");
}

#[tokio::test]
async fn code_is_given_an_eighth_of_its_memory_in_files_of_its_own() {
    let Some(desk) = Desk::with(Limits { memory: 64 << 20, ..quick() }, code::Bounds { run: 64 << 20, ..files() })
    else {
        return;
    };
    desk.container.put("large", Bytes::from_static(b"1"), (8 << 20) + 1);
    desk.container.put("small", Bytes::from_static(b"2"), 8 << 20);
    let shown = desk.run("k1", PYTHON, "import os\nos.listdir()").await;
    assert_eq!((&shown["value"], &shown["files_not_given"][0]["name"]), (&json!("['small']"), &json!("large")));
    assert!(shown["files_not_given"][0]["why"].as_str().unwrap().contains("8388608 bytes"), "{shown}");
}
