//! The upstream of the bench: fixed answers written from memory, so that what is measured is the hop.

use crate::options::Options;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where `stream` stands in what `load` sends and the hops pass on: within this many bytes of the end.
/// Looking through a long prompt would cost more than the rest of the mock.
const TAIL: usize = 256;

struct Mock {
    answer: Vec<u8>,
    first_chunk: Vec<u8>,
    chunk: Vec<u8>,
    last: Vec<u8>,
    chunks: u64,
    /// What is answered to a streamed request that does not carry a tool's result; empty: chunks, to every one.
    call: Vec<u8>,
    /// Between two chunks.
    chunk_pause: Duration,
    /// Before the first byte: the model's time.
    delay: Duration,
    /// After the first chunk: keeps streams idle.
    hold: Duration,
}

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let mock = Arc::new(Mock::new(options));
    let port = options.number("port", 9100) as u16;
    let listener = TcpListener::bind(("127.0.0.1", port)).await.map_err(|e| format!("port {port}: {e}"))?;
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let mock = Arc::clone(&mock);
        tokio::spawn(async move { mock.serve(socket).await });
    }
}

impl Mock {
    fn new(options: &Options) -> Self {
        let words = "word ".repeat(options.number("answer-bytes", 400) as usize / 5);
        let body = format!(
            r#"{{"id":"chatcmpl-mock","object":"chat.completion","created":1700000000,"model":"mock","choices":[{{"index":0,"message":{{"role":"assistant","content":"{words}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":12,"completion_tokens":90,"total_tokens":102}}}}"#
        );
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        let part = |delta: &str, finish: &str| {
            event(&format!(
                r#"{{"id":"chatcmpl-mock","object":"chat.completion.chunk","created":1700000000,"model":"mock","choices":[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]}}"#
            ))
        };
        let mut last = part("{}", "\"stop\"");
        last.extend(event("[DONE]"));
        last.extend_from_slice(b"0\r\n\r\n");
        let call = options.find("tool").map(|tool| {
            let arguments = options.text("arguments", "{}").replace('"', "\\\"");
            let call = part(
                &format!(
                    r#"{{"role":"assistant","content":null,"tool_calls":[{{"index":0,"id":"call_mock","type":"function","function":{{"name":"{tool}","arguments":"{arguments}"}}}}]}}"#
                ),
                "null",
            );
            [call, part("{}", "\"tool_calls\""), event("[DONE]"), b"0\r\n\r\n".to_vec()].concat()
        });
        Self {
            answer: (head + &body).into_bytes(),
            first_chunk: part(r#"{"role":"assistant","content":""}"#, "null"),
            chunk: part(r#"{"content":"word "}"#, "null"),
            last,
            call: call.unwrap_or_default(),
            chunks: options.number("chunks", 64),
            chunk_pause: Duration::from_micros(options.number("chunk-us", 0)),
            delay: Duration::from_micros(options.number("delay-us", 0)),
            hold: Duration::from_secs(options.number("hold", 0)),
        }
    }

    /// Serves one connection until it ends; `None` when it does.
    async fn serve(&self, mut socket: TcpStream) -> Option<()> {
        let mut buffer: Vec<u8> = Vec::with_capacity(4096);
        loop {
            let (body, end) = read_request(&mut socket, &mut buffer).await?;
            let streamed = [b"\"stream\":true".as_slice(), b"\"stream\": true"]
                .iter()
                .any(|needle| find(&buffer[end.saturating_sub(TAIL).max(body)..end], needle).is_some());
            pause(self.delay).await;
            if streamed {
                let asks = !self.call.is_empty() && find(&buffer[body..end], b"\"role\":\"tool\"").is_none();
                self.stream(&mut socket, asks).await?;
            } else {
                socket.write_all(&self.answer).await.ok()?;
            }
            buffer.drain(..end);
        }
    }

    /// `asks`: for the tool, instead of answering.
    async fn stream(&self, socket: &mut TcpStream, asks: bool) -> Option<()> {
        const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
        socket.write_all(HEAD).await.ok()?;
        if asks {
            return socket.write_all(&self.call).await.ok();
        }
        socket.write_all(&self.first_chunk).await.ok()?;
        pause(self.hold).await;
        for _ in 0..self.chunks {
            pause(self.chunk_pause).await;
            socket.write_all(&self.chunk).await.ok()?;
        }
        socket.write_all(&self.last).await.ok()
    }
}

async fn pause(span: Duration) {
    if !span.is_zero() {
        tokio::time::sleep(span).await;
    }
}

/// An SSE event as one HTTP chunk.
fn event(data: &str) -> Vec<u8> {
    let event = format!("data: {data}\n\n");
    format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()
}

/// Reads one request into `buffer`: where its body begins and where it ends.
async fn read_request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(usize, usize)> {
    let body = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        fill(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..body]).into_owned();
    if let Some(length) = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok()) {
        while buffer.len() < body + length {
            fill(socket, buffer).await?;
        }
        return Some((body, body + length));
    }
    if header(&head, "transfer-encoding").is_none() {
        return Some((body, body));
    }
    loop {
        if let Some(end) = find(&buffer[body..], b"0\r\n\r\n") {
            return Some((body, body + end + 5));
        }
        fill(socket, buffer).await?;
    }
}

async fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    (socket.read_buf(buffer).await.ok()? > 0).then_some(())
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
