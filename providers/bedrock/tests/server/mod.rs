//! A server that says what a test tells it to, and a provider that asks it.

#![allow(dead_code)] // each test program uses its part

use std::sync::Arc;

use frontdesk_api::{Cx, clock::FixedClock};
use frontdesk_bedrock::{Bedrock, Config};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// 2026-11-24T03:48:21Z.
const AT: i64 = 1_795_492_101_000_000;

pub fn json_answer(status: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nretry-after: 7\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Answers one connection after the other with these bytes. Gives back what was asked.
pub async fn server(config: Value, answers: Vec<Vec<u8>>) -> (Bedrock, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let up = at(config, &listener);
    let task = tokio::spawn(async move {
        let mut all = vec![];
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let seen = read(&mut socket).await;
            // Cut anywhere, so that events span reads.
            for piece in answer.chunks(50) {
                socket.write_all(piece).await.expect("a caller that stays");
                socket.flush().await.expect("a caller that stays");
            }
            all.push(seen);
        }
        all
    });
    (up, task)
}

pub fn with_key() -> Value {
    json!({ "api_key": "secret" })
}

pub fn cx() -> Cx {
    Cx::internal("t", "r")
}

/// As `server`, for requests that come together: each is answered by what it asks once all `n` are here, the last that
/// came first.
pub async fn together(config: Value, n: usize, answer: fn(&str) -> Vec<u8>) -> (Bedrock, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let up = at(config, &listener);
    let task = tokio::spawn(async move {
        let mut open = vec![];
        for _ in 0..n {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let seen = read(&mut socket).await;
            open.push((socket, seen));
        }
        for (socket, seen) in open.iter_mut().rev() {
            // A caller that had an error does not wait for the rest.
            let _ = socket.write_all(&answer(seen)).await;
        }
        open.into_iter().map(|(_, seen)| seen).collect()
    });
    (up, task)
}

fn at(mut config: Value, listener: &TcpListener) -> Bedrock {
    let url = format!("http://{}", listener.local_addr().expect("address"));
    config["base_url"] = json!(url);
    config["control_url"] = json!(url);
    config["region"] = "eu-central-1".into();
    let config = Config::read(config).expect("readable");
    Bedrock::new("aws", config, Arc::new(FixedClock::at(AT))).expect("a good config")
}

/// One request, head and body.
async fn read(socket: &mut TcpStream) -> String {
    let (mut seen, mut buffer) = (vec![], [0; 4096]);
    loop {
        let n = socket.read(&mut buffer).await.expect("a request");
        assert!(n > 0, "a whole request");
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |n| n.parse().expect("a number")) {
            return text.into_owned();
        }
    }
}

pub fn body_of(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").expect("a body").1).expect("JSON")
}
