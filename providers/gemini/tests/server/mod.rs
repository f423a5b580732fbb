//! A server that says what a test tells it to, and a provider that asks it.

#![allow(dead_code)] // each test program uses its part

use std::sync::{Arc, Mutex};

use frontdesk_api::{Clock, Cx, Micros, id::CountingIds};
use frontdesk_gemini::{Config, Gemini};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Notify,
    task::JoinHandle,
};

/// Answers one connection after the other.
pub struct Server {
    pub url: String,
    task: JoinHandle<Vec<String>>,
}

impl Server {
    /// What was asked, in its order; call it when all answers are given.
    pub async fn asked(self) -> Vec<String> {
        self.task.await.expect("a server that stays")
    }
}

pub async fn serve(answers: Vec<String>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let task = tokio::spawn(async move {
        let mut all = vec![];
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut seen = vec![];
            read(&mut socket, &mut seen).await;
            socket.write_all(answer.as_bytes()).await.expect("a caller that stays");
            all.push(String::from_utf8_lossy(&seen).into_owned());
        }
        all
    });
    Server { url, task }
}

/// As `serve`, for requests that come together: each is answered by what it asks once all `n` are here, the last that
/// came first.
pub async fn together(n: usize, answer: fn(&str) -> String) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let task = tokio::spawn(async move {
        let mut open = vec![];
        for _ in 0..n {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut seen = vec![];
            read(&mut socket, &mut seen).await;
            open.push((socket, String::from_utf8_lossy(&seen).into_owned()));
        }
        for (socket, seen) in open.iter_mut().rev() {
            // A caller that had an error does not wait for the rest.
            let _ = socket.write_all(answer(seen).as_bytes()).await;
        }
        open.into_iter().map(|(_, seen)| seen).collect()
    });
    Server { url, task }
}

/// One request, head and body.
async fn read(socket: &mut tokio::net::TcpStream, seen: &mut Vec<u8>) {
    let mut buffer = [0; 4096];
    loop {
        let n = socket.read(&mut buffer).await.expect("a request");
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        if n == 0 || body.len() >= length.map_or(0, |n| n.parse().expect("a number")) {
            return;
        }
    }
}

/// A server of tokens: each is told apart by its number, and the first answer waits until it may go.
pub struct Tokens {
    pub url: String,
    pub seen: Arc<Mutex<Vec<String>>>,
    pub go: Arc<Notify>,
}

/// `answer`: what the n-th request gets. Nothing is said before `go` has been told once.
pub async fn tokens(answer: fn(usize) -> String) -> Tokens {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/token", listener.local_addr().expect("address"));
    let (seen, go) = (Arc::new(Mutex::new(vec![])), Arc::new(Notify::new()));
    let (seeing, going) = (Arc::clone(&seen), Arc::clone(&go));
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let mut request = vec![];
            read(&mut socket, &mut request).await;
            let n = {
                let mut seen = seeing.lock().expect("alone");
                seen.push(String::from_utf8_lossy(&request).into_owned());
                seen.len()
            };
            if n == 1 {
                going.notified().await;
            }
            socket.write_all(answer(n).as_bytes()).await.expect("a caller that stays");
        }
    });
    Tokens { url, seen, go }
}

pub fn json_answer(status: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

pub fn gemini(server: &Server, config: Value) -> Gemini {
    at(server, config, Hand::at(0))
}

pub fn at(server: &Server, mut config: Value, clock: Arc<Hand>) -> Gemini {
    config["base_url"] = json!(format!("{}/v1beta", server.url));
    let config = Config::read(config).expect("readable");
    Gemini::new("gem", config, clock, Arc::new(CountingIds::default())).expect("a good config")
}

/// A clock that is moved by hand.
pub struct Hand(Mutex<Micros>);

impl Hand {
    pub fn at(seconds: i64) -> Arc<Self> {
        let hand = Arc::new(Self(Mutex::new(0)));
        hand.set(seconds);
        hand
    }

    pub fn set(&self, seconds: i64) {
        *self.0.lock().expect("alone") = seconds * 1_000_000;
    }
}

impl Clock for Hand {
    fn now(&self) -> Micros {
        *self.0.lock().expect("alone")
    }
}

pub fn cx() -> Cx {
    Cx::internal("t", "r")
}

pub fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}
