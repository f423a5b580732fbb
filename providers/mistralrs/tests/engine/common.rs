//! A worker process under test, and a plain HTTP/1.1 client that can leave in the middle and read as slowly as it likes.
//!
//! Invariant: the process is killed by its pid when the test ends, also when the test fails; its log is then printed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use serde_json::{Value, json};

/// The built `frontdesk`, whose command `engine` is the worker.
// A test program reads its own environment; the rule is for the rooms of the product.
#[allow(clippy::disallowed_methods)]
pub fn program() -> PathBuf {
    std::env::var_os("FRONTDESK_BIN").expect("FRONTDESK_BIN: the frontdesk binary to test; tests/run.sh sets it").into()
}

/// The folder of the demo model.
pub fn demo_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/gateway/demo/model").canonicalize().unwrap()
}

pub struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
    log: Option<JoinHandle<String>>,
    folder: tempfile::TempDir,
    /// The one line on standard output.
    pub line: Value,
}

impl Worker {
    /// The demo model as `tiny` on a Unix socket, with further options.
    pub fn start(options: &[&str]) -> Self {
        let model = format!("tiny={}", demo_model().display());
        let worker = Self::run(&[&["--model", &model], options].concat());
        assert_eq!(worker.line["ready"], true, "{}", worker.line);
        worker
    }

    /// Any options; `--socket` is added unless there is a `--listen`.
    pub fn run(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program());
        command.arg("engine").args(options).arg("--watch-stdin");
        if !options.contains(&"--listen") {
            command.arg("--socket").arg(folder.path().join("s"));
        }
        command.env("HF_HOME", folder.path()).env("RUST_LIB_BACKTRACE", "0");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take();
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            let _ = stderr.read_to_string(&mut log);
            log
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let line = serde_json::from_str(&line).unwrap_or(Value::Null);
        Self { child, stdin, log: Some(log), folder, line }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Closes standard input, as the end of the parent does.
    pub fn orphan(&mut self) {
        self.stdin = None;
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits for the end of the process.
    pub fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub fn connect(&self) -> Connection {
        match self.line["address"].as_str() {
            Some(address) => Box::new(TcpStream::connect(address).unwrap()),
            None => Box::new(UnixStream::connect(self.socket()).unwrap()),
        }
    }

    /// Sends a request and reads its head.
    pub fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        let mut connection = self.connect();
        write_request(&mut connection, method, path, headers, body);
        Answer::read(connection)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = self.send("GET", path, "", "");
        (answer.status, answer.text())
    }

    /// A chat that is answered in one piece.
    pub fn chat(&self, members: Value) -> (u16, Value) {
        let answer = self.send("POST", "/v1/chat/completions", "", &body(members).to_string());
        (answer.status, serde_json::from_str(&answer.text()).unwrap())
    }

    /// The text of a chat that must succeed.
    pub fn text(&self, members: Value) -> String {
        let (status, answer) = self.chat(members);
        assert_eq!(status, 200, "{answer}");
        answer["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// A chat that is streamed; its head has been read.
    pub fn stream(&self, members: Value) -> Answer {
        let mut body = body(members);
        body["stream"] = json!(true);
        let answer = self.send("POST", "/v1/chat/completions", "", &body.to_string());
        assert_eq!(answer.status, 200);
        answer
    }

    /// Asks for the health until it fits.
    pub fn until(&self, fits: impl Fn(&Value) -> bool) {
        loop {
            let health: Value = serde_json::from_str(&self.get("/health").1).unwrap();
            if fits(&health["models"][0]) {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// A POST whose answer is JSON.
    pub fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let answer = self.send("POST", path, "", &body.to_string());
        (answer.status, serde_json::from_str(&answer.text()).unwrap())
    }

    /// Where the model of this name stands.
    pub fn state(&self, model: &str) -> String {
        let health: Value = serde_json::from_str(&self.get("/health").1).unwrap();
        let found = health["models"].as_array().unwrap().iter().find(|one| one["id"] == model);
        found.unwrap()["state"].as_str().unwrap().to_owned()
    }

    /// A counter of the only model.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let line = text.lines().find(|line| line.starts_with(&format!("{name}{{")));
        line.and_then(|line| line.rsplit_once(' ')).map(|(_, value)| value.parse().unwrap()).unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(log) = self.log.take().and_then(|log| log.join().ok())
            && std::thread::panicking()
        {
            eprintln!("--- log of the worker ---\n{log}");
        }
    }
}

/// A request body for the demo model: greedy, one user message unless `members` say otherwise.
pub fn body(members: Value) -> Value {
    let mut body = json!({"model": "tiny", "temperature": 0, "max_tokens": 64});
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    if let Some(say) = body.as_object_mut().unwrap().remove("say") {
        body["messages"] = json!([{"role": "user", "content": say}]);
    }
    body
}

/// An answer of at least `letters` letters, whatever the model would rather say.
pub fn long(letters: usize) -> Value {
    let schema = json!({"type": "string", "pattern": format!("^[a-z]{{{letters}}}$")});
    json!({"say": "hello", "max_tokens": 4000,
        "response_format": {"type": "json_schema", "json_schema": {"name": "long", "schema": schema}}})
}

pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}
pub type Connection = Box<dyn Stream>;

pub fn write_request(connection: &mut Connection, method: &str, path: &str, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: engine\r\nconnection: close\r\ncontent-length: {length}\r\n");
    // A server that refuses a body need not read it to its end.
    match connection.write_all(format!("{head}{headers}\r\n{body}").as_bytes()) {
        Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => {}
        written => written.unwrap(),
    }
}

/// An answer whose body has not been read yet.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<String>,
    reader: BufReader<Connection>,
    chunked: bool,
    pending: String,
}

impl Answer {
    pub fn read(connection: Connection) -> Self {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}")).parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if line.trim().is_empty() {
                break;
            }
            headers.push(line.trim().to_ascii_lowercase());
        }
        let chunked = headers.iter().any(|line| line == "transfer-encoding: chunked");
        Self { status, headers, reader, chunked, pending: String::new() }
    }

    /// The next bytes of the body as they came; none at its end.
    fn piece(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        if self.chunked {
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|&size| size > 0)?;
            bytes.resize(size + 2, 0);
            self.reader.read_exact(&mut bytes).unwrap();
            bytes.truncate(size);
        } else {
            self.reader.read_to_end(&mut bytes).unwrap();
        }
        (!bytes.is_empty()).then(|| String::from_utf8(bytes).unwrap())
    }

    /// The rest of the body.
    pub fn text(mut self) -> String {
        let mut text = std::mem::take(&mut self.pending);
        while let Some(piece) = self.piece() {
            text.push_str(&piece);
        }
        text
    }

    /// The data of the next server-sent event; none at the end of the body.
    pub fn event(&mut self) -> Option<String> {
        loop {
            if let Some((event, rest)) = self.pending.split_once("\n\n") {
                let event = event.strip_prefix("data: ").unwrap().to_owned();
                self.pending = rest.to_owned();
                return Some(event);
            }
            let piece = self.piece()?;
            self.pending.push_str(&piece);
        }
    }

    /// All remaining chunks; the stream must end with `[DONE]`.
    pub fn chunks(mut self) -> Vec<Value> {
        let mut chunks = Vec::new();
        while let Some(event) = self.event() {
            if event == "[DONE]" {
                assert_eq!(self.event(), None, "nothing follows [DONE]");
                return chunks;
            }
            chunks.push(serde_json::from_str(&event).unwrap());
        }
        panic!("the stream broke off after {chunks:?}");
    }
}

/// The text, the calls and the finish reason of streamed chunks.
pub fn told(chunks: &[Value]) -> (String, Vec<Value>, String) {
    let (mut text, mut calls, mut reason) = (String::new(), Vec::new(), String::new());
    for choice in chunks.iter().filter_map(|chunk| chunk["choices"].get(0)) {
        text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        calls.extend(choice["delta"]["tool_calls"].as_array().into_iter().flatten().cloned());
        reason.push_str(choice["finish_reason"].as_str().unwrap_or_default());
    }
    (text, calls, reason)
}

/// A tool that takes one string.
pub fn tool(name: &str, argument: &str) -> Value {
    let mut properties = serde_json::Map::new();
    properties.insert(argument.to_owned(), json!({"type": "string", "pattern": "^[a-z0-9 ]{1,12}$"}));
    let parameters =
        json!({"type": "object", "properties": properties, "required": [argument], "additionalProperties": false});
    json!({"type": "function", "function": {"name": name, "description": name, "parameters": parameters}})
}
