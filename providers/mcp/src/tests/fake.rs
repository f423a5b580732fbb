//! A server that answers by a function, one request a connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub verb: String,
    /// With its query.
    pub path: String,
    pub headers: HashMap<String, String>,
    /// Null where it is no JSON.
    pub body: Value,
    pub text: String,
    /// The methods that came before, this one too.
    before: Vec<String>,
}

impl Asked {
    pub fn method(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    /// The tool that is called.
    pub fn tool(&self) -> Option<&str> {
        self.body["params"]["name"].as_str().filter(|_| self.method() == "tools/call")
    }

    /// How often this method was asked for by now.
    pub fn count(&self, method: &str) -> usize {
        self.before.iter().filter(|name| *name == method).count()
    }
}

#[derive(Debug, Clone)]
pub enum Reply {
    Json(u16, Value),
    Plain(u16, &'static str, String),
    /// With `WWW-Authenticate`.
    Challenged(u16, String),
    Stream(Vec<String>),
    /// Events, the next one when a message with this id came in.
    Until(Vec<(String, &'static str)>, String),
    /// The whole answer, after which the connection closes.
    Raw(String),
    Hang,
}

impl Reply {
    pub fn text(asked: &Asked, text: &str) -> Self {
        Self::Json(200, response(asked, text))
    }
}

pub fn response(asked: &Asked, text: &str) -> Value {
    let content = json!([{ "type": "text", "text": text }]);
    json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "content": content } })
}

pub fn error(asked: &Asked, code: i64, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": asked.body["id"], "error": { "code": code, "message": message } })
}

/// The tool `echo`, described so.
pub fn tools(asked: &Asked, description: &str) -> Reply {
    let tools = json!([{ "name": "echo", "description": description, "inputSchema": { "type": "object" } }]);
    Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": { "tools": tools } }))
}

/// What a server answers that does as it should.
pub fn usual(asked: &Asked) -> Reply {
    match (asked.verb.as_str(), asked.method()) {
        ("DELETE", _) => Reply::Plain(200, "text/plain", String::new()),
        (_, "initialize") => {
            let hello = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                                "serverInfo": { "name": "fake", "version": "1" } });
            Reply::Json(200, json!({ "jsonrpc": "2.0", "id": asked.body["id"], "result": hello }))
        }
        (_, "tools/list") => tools(asked, "says it"),
        (_, "") => Reply::Plain(202, "text/plain", String::new()),
        (_, method) if method.starts_with("notifications/") => Reply::Plain(202, "text/plain", String::new()),
        _ => Reply::Json(200, error(asked, -32601, "no such method")),
    }
}

/// One event of a stream.
pub fn event(id: Option<&str>, message: &Value) -> String {
    let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
    format!("{id}event: message\ndata: {message}\n\n")
}

pub struct Server {
    pub url: String,
    seen: Arc<(Mutex<Vec<Asked>>, Notify)>,
}

impl Server {
    /// Sessions are numbered: `s-1`, `s-2`, …
    pub async fn start(answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let seen = Arc::new((Mutex::new(vec![]), Notify::new()));
        let (answer, seeing) = (Arc::new(answer), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seeing));
                tokio::spawn(async move { serve(socket, &*answer, &seen).await });
            }
        });
        Self { url, seen }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.seen.0.lock().expect("the requests").clone()
    }

    /// Sends it a message of this id, as somebody else.
    pub async fn tell(&self, id: &str) {
        let body = json!({ "jsonrpc": "2.0", "id": id, "result": {} }).to_string();
        let at = self.url.split('/').nth(2).expect("a host");
        let mut socket = TcpStream::connect(at).await.expect("the server");
        let head = format!("POST /mcp HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        socket.write_all(head.as_bytes()).await.expect("sent");
    }

    /// The first request of this kind, once it is there.
    pub async fn until(&self, fits: impl Fn(&Asked) -> bool) -> Asked {
        loop {
            let news = self.seen.1.notified();
            if let Some(found) = self.asked().into_iter().find(&fits) {
                return found;
            }
            news.await;
        }
    }
}

async fn serve(
    mut socket: TcpStream,
    answer: &(dyn Fn(&Asked) -> Reply + Send + Sync),
    seen: &(Mutex<Vec<Asked>>, Notify),
) {
    let Some(mut asked) = read(&mut socket).await else { return };
    let sessions = {
        let mut all = seen.0.lock().expect("the requests");
        asked.before = all.iter().map(|asked| asked.method().to_owned()).chain([asked.method().to_owned()]).collect();
        all.push(asked.clone());
        all.iter().filter(|asked| asked.method() == "initialize").count()
    };
    seen.1.notify_waiters();
    let session =
        if asked.method() == "initialize" { format!("mcp-session-id: s-{sessions}\r\n") } else { String::new() };
    let head = |status: u16, kind: &str| {
        format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nlocation: /elsewhere\r\nconnection: close\r\n{session}")
    };
    let whole = |head: String, body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let text = match answer(&asked) {
        Reply::Json(status, body) => whole(head(status, "application/json; charset=utf-8"), &body.to_string()),
        Reply::Plain(status, kind, body) => whole(head(status, kind), &body),
        Reply::Challenged(status, says) => {
            whole(format!("{}www-authenticate: {says}\r\n", head(status, "text/plain")), "")
        }
        Reply::Stream(events) => format!("{}\r\n{}", head(200, "text/event-stream"), events.concat()),
        Reply::Until(stages, last) => {
            let _ = socket.write_all(format!("{}\r\n", head(200, "text/event-stream")).as_bytes()).await;
            for (event, id) in stages {
                let _ = socket.write_all(event.as_bytes()).await;
                loop {
                    let news = seen.1.notified();
                    if seen.0.lock().expect("the requests").iter().any(|asked| asked.body["id"] == id) {
                        break;
                    }
                    news.await;
                }
            }
            last
        }
        Reply::Raw(text) => text,
        Reply::Hang => {
            // Until the other side goes.
            let _ = socket.read(&mut [0; 1]).await;
            return;
        }
    };
    let _ = socket.write_all(text.as_bytes()).await;
    let _ = socket.shutdown().await;
}

async fn read(socket: &mut TcpStream) -> Option<Asked> {
    let (mut bytes, mut piece) = (vec![], [0; 4096]);
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let n = socket.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&piece[..n]);
    };
    let text = String::from_utf8(bytes[..head].to_vec()).expect("a head");
    let mut lines = text.lines();
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let (verb, path) = (first.next()?, first.next()?);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    while bytes.len() < head + length {
        let n = socket.read(&mut piece).await.ok().filter(|n| *n > 0)?;
        bytes.extend_from_slice(&piece[..n]);
    }
    let body = serde_json::from_slice(&bytes[head..]).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes[head..]).into_owned();
    Some(Asked { verb, path, headers, body, text, before: vec![] })
}
