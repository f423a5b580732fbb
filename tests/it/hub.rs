//! A hub of models on loopback, as the public one answers: a list of files with their checksums, the files with ranges; and
//! in trouble where a test wants it.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Response, StatusCode, Uri, header},
};
use futures::stream;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

/// What befalls one request.
#[derive(Clone)]
pub enum Trouble {
    /// An answer of this status, with these headers and this body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// The connection breaks off once so many bytes are in this file.
    BreakAfter(usize, PathBuf),
    /// Nothing comes after so many bytes.
    HangAfter(usize),
    /// As if no range had been asked for.
    Whole,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub range: Option<String>,
    pub token: Option<String>,
}

#[derive(Default)]
struct Inner {
    /// Lists of files by their address, files by theirs.
    answers: BTreeMap<String, Bytes>,
    troubles: BTreeMap<String, VecDeque<Trouble>>,
    asked: Vec<Asked>,
}

/// Runs until the test's process ends.
pub struct Hub {
    url: String,
    inner: Arc<Mutex<Inner>>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lower-case hexadecimal.
pub fn sha256(content: &[u8]) -> String {
    hex(digest(&SHA256, content).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry of a list: files of 1000 bytes and more are kept by LFS here.
pub fn entry(path: &str, content: &[u8]) -> Value {
    let blob = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    let oid = hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref());
    let mut entry = json!({ "type": "file", "oid": oid, "size": content.len(), "path": path });
    if content.len() >= 1000 {
        entry["lfs"] = json!({ "oid": sha256(content), "size": content.len(), "pointerSize": 134 });
    }
    entry
}

impl Hub {
    pub fn start() -> Self {
        let inner: Arc<Mutex<Inner>> = Arc::default();
        let routes = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, routes).await.expect("serves");
            });
        });
        Self { url, inner }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A repository with these files on `main`.
    pub fn repository(&self, name: &str, files: &[(&str, &[u8])]) {
        let list: Vec<Value> = files.iter().map(|(path, content)| entry(path, content)).collect();
        self.list(name, &json!(list));
        for (path, content) in files {
            self.file(&format!("/{name}/resolve/main/{path}"), content);
        }
    }

    /// What the list of a repository says.
    pub fn list(&self, name: &str, list: &Value) {
        self.file(&tree(name), list.to_string().as_bytes());
    }

    /// What is at a path.
    pub fn file(&self, path: &str, content: &[u8]) {
        lock(&self.inner).answers.insert(path.to_owned(), Bytes::copy_from_slice(content));
    }

    /// The next request of this path meets it.
    pub fn trouble(&self, path: &str, trouble: Trouble) {
        lock(&self.inner).troubles.entry(path.to_owned()).or_default().push_back(trouble);
    }

    /// The requests of paths that end so, in their order.
    pub fn asked(&self, end: &str) -> Vec<Asked> {
        lock(&self.inner).asked.iter().filter(|asked| asked.path.ends_with(end)).cloned().collect()
    }
}

/// Where the list of a repository is.
pub fn tree(name: &str) -> String {
    format!("/api/models/{name}/tree/main")
}

async fn answer(State(inner): State<Arc<Mutex<Inner>>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let path = uri.path().to_owned();
    let (content, trouble) = {
        let mut inner = lock(&inner);
        inner.asked.push(Asked { path: path.clone(), range: text(header::RANGE), token: text(header::AUTHORIZATION) });
        (inner.answers.get(&path).cloned(), inner.troubles.get_mut(&path).and_then(VecDeque::pop_front))
    };
    if let Some(Trouble::Status(status, headers, body)) = trouble {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        return response.body(Body::from(body)).expect("an answer");
    }
    let Some(content) = content else {
        return Response::builder().status(404).body(Body::from("Entry not found")).expect("an answer");
    };
    let whole = matches!(trouble, Some(Trouble::Whole));
    let from = text(header::RANGE).filter(|_| !whole).and_then(|range| {
        let (from, to) = range.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse::<usize>().ok()?, to.parse::<usize>().ok()))
    });
    let response = Response::builder();
    let (response, body) = match from {
        Some((from, _)) if from >= content.len() => {
            return response.status(StatusCode::RANGE_NOT_SATISFIABLE).body(Body::empty()).expect("an answer");
        }
        Some((from, to)) => {
            let end = to.map_or(content.len(), |to| content.len().min(to + 1));
            let range = format!("bytes {from}-{}/{}", end - 1, content.len());
            (response.status(206).header(header::CONTENT_RANGE, range), content.slice(from..end))
        }
        None => (response, content),
    };
    let response = response.header(header::CONTENT_LENGTH, body.len());
    let body = match trouble {
        Some(Trouble::BreakAfter(bytes, file)) => broken(body.slice(..bytes), Some(file)),
        Some(Trouble::HangAfter(bytes)) => broken(body.slice(..bytes), None),
        _ => Body::from(body),
    };
    response.body(body).expect("an answer")
}

/// A beginning, and then an end that is none (once it has arrived in `file`), or nothing for ever.
fn broken(beginning: Bytes, file: Option<PathBuf>) -> Body {
    let length = u64::try_from(beginning.len()).expect("a length");
    let after = async move {
        let Some(file) = file else { return std::future::pending().await };
        while std::fs::metadata(&file).map_or(0, |about| about.len()) < length {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(std::io::Error::other("broken off on purpose"))
    };
    let first = stream::once(async move { Ok::<_, Infallible>(beginning) });
    let first = futures::StreamExt::map(first, |bytes| Ok(bytes.unwrap_or_default()));
    Body::from_stream(futures::StreamExt::chain(first, stream::once(after)))
}
