//! The client of the bench: a closed loop of keep-alive connections that parses no more than it must.
//!
//! Prints one JSON line per run; `bench table` makes tables of them.

use crate::mock::{find, header};
use crate::options::Options;
use crate::process::{TICK_US, usage};
use crate::prompt::messages;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest measured span of one run, seconds.
const MOST_SECONDS: u64 = 20;
/// Of a request's messages, where the command line says nothing: a short question.
const PROMPT_BYTES: u64 = 700;

/// One run's figures. Times in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) label: String,
    pub(crate) round: u64,
    pub(crate) stream: bool,
    pub(crate) conc: u64,
    /// Of the request's messages, bytes.
    pub(crate) prompt: u64,
    /// Requests, or streams, per second.
    pub(crate) per_second: f64,
    /// To the whole answer; to the first event where streamed.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Between two events; 0 where not streamed.
    pub(crate) gap_p50: f64,
    pub(crate) gap_p99: f64,
    /// The server's processor time per request, per event where streamed.
    pub(crate) cpu: f64,
    pub(crate) anonymous_kib: u64,
    pub(crate) errors: u64,
}

#[derive(Default)]
struct Tally {
    first: Vec<u32>,
    gaps: Vec<u32>,
    answers: u64,
    events: u64,
    errors: u64,
}

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let connections = options.number("conc", 1);
    let seconds = options.number("secs", 5).min(MOST_SECONDS);
    let stream = options.has("stream");
    let pids = options.text("pid", "");
    let (address, request) = request(options, stream);
    let request = Arc::new(request);
    let from = Instant::now() + Duration::from_millis(options.number("warm-ms", 1000));
    let until = from + Duration::from_secs(seconds);
    let clients: Vec<_> = (0..connections)
        .map(|_| tokio::spawn(client(address.clone(), Arc::clone(&request), stream, from, until)))
        .collect();
    tokio::time::sleep_until(from.into()).await;
    let before = usage(&pids);
    tokio::time::sleep_until(until.into()).await;
    let after = usage(&pids);
    let mut sum = Tally::default();
    for client in clients {
        let tally = client.await.map_err(|e| e.to_string())?;
        sum.first.extend(tally.first);
        sum.gaps.extend(tally.gaps);
        sum.answers += tally.answers;
        sum.events += tally.events;
        sum.errors += tally.errors;
    }
    let units = if stream { sum.events } else { sum.answers };
    let row = Row {
        label: options.text("label", "run"),
        round: options.number("round", 0),
        stream,
        conc: connections,
        prompt: options.number("prompt-bytes", PROMPT_BYTES),
        per_second: sum.answers as f64 / seconds as f64,
        p50: percentile(&mut sum.first, 0.5),
        p99: percentile(&mut sum.first, 0.99),
        gap_p50: percentile(&mut sum.gaps, 0.5),
        gap_p99: percentile(&mut sum.gaps, 0.99),
        cpu: (after.ticks - before.ticks) as f64 * TICK_US / units.max(1) as f64,
        anonymous_kib: after.anonymous_kib,
        errors: sum.errors,
    };
    println!("{}", serde_json::to_string(&row).map_err(|e| e.to_string())?);
    Ok(())
}

/// Where to connect and the bytes to send.
pub(crate) fn request(options: &Options, stream: bool) -> (String, Vec<u8>) {
    let url = options.text("url", "http://127.0.0.1:9100");
    let rest = url.trim_start_matches("http://");
    let (address, path) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, "/v1/chat/completions"),
    };
    let messages = messages(options.number("prompt-bytes", PROMPT_BYTES) as usize);
    let model = options.text("model", "mock");
    let body =
        format!(r#"{{"model":"{model}","messages":{messages},"max_tokens":64,"temperature":0.2,"stream":{stream}}}"#);
    let extra = options.find("header").map(|h| format!("{h}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n",
        body.len()
    );
    (address.to_owned(), (head + &body).into_bytes())
}

async fn client(address: String, request: Arc<Vec<u8>>, stream: bool, from: Instant, until: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = Vec::with_capacity(1 << 16);
    let mut connection: Option<TcpStream> = None;
    while Instant::now() < until {
        let socket = match &mut connection {
            Some(socket) => socket,
            None => {
                let Ok(socket) = TcpStream::connect(&address).await else {
                    tally.errors += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                let _ = socket.set_nodelay(true);
                connection.insert(socket)
            }
        };
        let start = Instant::now();
        let mut arrived: Vec<(Instant, u64)> = Vec::new();
        let status = exchange(socket, &request, &mut buffer, |data| {
            let events = if stream { data.windows(5).filter(|w| *w == b"data:").count() as u64 } else { 1 };
            if events > 0 {
                arrived.push((Instant::now(), events));
            }
        })
        .await;
        match status {
            Some(200) if start >= from && !arrived.is_empty() => tally.count(start, &arrived),
            Some(200) if !arrived.is_empty() => {}
            Some(_) => tally.errors += 1,
            None => {
                tally.errors += 1;
                connection = None;
            }
        }
    }
    tally
}

impl Tally {
    fn count(&mut self, start: Instant, arrived: &[(Instant, u64)]) {
        self.answers += 1;
        self.first.push((arrived[0].0 - start).as_micros() as u32);
        self.gaps.extend(arrived.windows(2).map(|w| (w[1].0 - w[0].0).as_micros() as u32));
        self.events += arrived.iter().map(|(_, events)| events).sum::<u64>();
    }
}

/// One request and its answer; `on_data` sees each decoded piece of the body. `None` when the connection broke.
async fn exchange(
    socket: &mut TcpStream,
    request: &[u8],
    buffer: &mut Vec<u8>,
    mut on_data: impl FnMut(&[u8]),
) -> Option<u16> {
    socket.write_all(request).await.ok()?;
    buffer.clear();
    let body = loop {
        if let Some(end) = find(buffer, b"\r\n\r\n") {
            break end + 4;
        }
        fill(socket, buffer).await?;
    };
    let head = String::from_utf8_lossy(&buffer[..body]).into_owned();
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if let Some(length) = header(&head, "content-length").and_then(|v| v.parse::<usize>().ok()) {
        while buffer.len() < body + length {
            fill(socket, buffer).await?;
        }
        on_data(&buffer[body..body + length]);
        return Some(status);
    }
    let mut at = body;
    loop {
        let line = loop {
            if let Some(end) = find(&buffer[at..], b"\r\n") {
                break end;
            }
            fill(socket, buffer).await?;
        };
        let size = std::str::from_utf8(&buffer[at..at + line]).ok()?.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        at += line + 2;
        while buffer.len() < at + size + 2 {
            fill(socket, buffer).await?;
        }
        if size == 0 {
            return Some(status);
        }
        on_data(&buffer[at..at + size]);
        at += size + 2;
        if at > 1 << 16 {
            buffer.drain(..at);
            at = 0;
        }
    }
}

async fn fill(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    (socket.read_buf(buffer).await.ok()? > 0).then_some(())
}

pub(crate) fn percentile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(0).into()
}
