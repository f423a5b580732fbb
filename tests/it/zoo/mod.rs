//! The upstream zoo: what servers of models do when they are broken, for every dialect a provider speaks, towards the
//! clients of both dialects.
//!
//! A provider joins with a [`wire::Wire`]: what its server says in its own words. Everything else is the same for all:
//! before the first content exactly one failover, after it a typed error; no word and no call twice, none lost; memory
//! stays flat, and each request stands in the books once.

mod amazon;
mod broken;
mod order;
mod vectors;
mod wire;

use std::{cell::Cell, time::Duration};

use frontdesk_tests::{Frontdesk, Options, Scripted, process::private_kib};
use serde_json::{Value, json};

use wire::Wire;

/// Two servers of one kind behind a Frontdesk, and routes over them.
struct Zoo {
    wire: Wire,
    a: Scripted,
    b: Scripted,
    frontdesk: Frontdesk,
    /// Requests sent to it.
    sent: Cell<i64>,
    /// Its private memory at the start, KiB.
    at_first: u64,
    /// Holds the port where nobody listens.
    _nobody: tokio::net::TcpSocket,
}

/// Private memory that may come to what a process has at its start, KiB: far below the endless pieces of the zoo.
const GROWTH: u64 = 48 << 10;

/// A client's dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Chat,
    Messages,
    /// OpenAI's text completions.
    Text,
    /// Llama Stack's own chats and completions.
    LlamaChat,
    LlamaText,
    Vectors,
    Ranks,
}

/// Those whose answers tell words, calls and errors apart; the others are written by the same code.
const CLIENTS: [Client; 2] = [Client::Chat, Client::Messages];

/// Everyone who can have an answer in pieces.
const ALL: [Client; 5] = [Client::Chat, Client::Messages, Client::Text, Client::LlamaChat, Client::LlamaText];

/// What a client got.
struct Got {
    status: u16,
    attempts: Option<String>,
    provider: Option<String>,
    body: String,
    streamed: bool,
    client: Client,
}

impl Zoo {
    fn start(wire: Wire) -> Self {
        let (a, b) = (Scripted::start(), Scripted::start());
        // Bound and never listening: nobody else can have the port meanwhile.
        let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
        nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let closed = nobody.local_addr().expect("its address");
        let provider = |id: &str, url: &str| {
            format!("    - {{ id: {id}, type: {}, config: {{ {} }} }}\n", wire.kind, (wire.config)(url))
        };
        let tls = a.url().replace("http://", "https://");
        let mut providers: String =
            [("a", a.url()), ("b", b.url()), ("closed", &format!("http://{closed}")), ("tls", &tls)]
                .iter()
                .map(|(id, url)| provider(id, url))
                .collect();
        // The same server as a, whose silences are not borne for long.
        providers += &provider("brisk", a.url()).replace(" } }\n", ", idle_timeout_s: 1 } }\n");
        let route = |id: &str, first: &str, more: &str| {
            let breaker = "{ failures: 0, failure_percent: 0 }";
            format!(
                "  - {{ id: {id}, targets: [ {{ model: {first}/m }}, {{ model: b/m }} ], breaker: {breaker}{more} }}\n"
            )
        };
        let models = [
            route("route", "a", ""),
            route("route-closed", "closed", ""),
            route("route-tls", "tls", ""),
            route("brisk-first", "brisk", ""),
            route("impatient", "a", ", timeouts: { first_token_ms: 3000, idle_ms: 3000 }"),
            route("timed", "a", ", timeouts: { first_token_ms: 60000, idle_ms: 60000 }"),
            route("hurried", "a", ", timeouts: { total_ms: 1500 }"),
            // A time that no answer here takes.
            route("hedged", "a", ", hedge: { after_ms: 60000 }"),
            // Answers that are kept, and shared while they come.
            route("kept", "a", ", cache: { ttl_s: 60, max_mb: 8, include: [sampled] }"),
            route("shared", "a", ", coalesce: { include: [sampled] }"),
        ]
        .concat();
        let yaml = format!("providers:\n  inference:\n{providers}models:\n{models}");
        let mut frontdesk = Frontdesk::start(Options::new().config(&yaml));
        let at_first = private_kib(frontdesk.process().pid());
        Self { wire, a, b, frontdesk, sent: Cell::new(0), at_first, _nobody: nobody }
    }

    /// At the end of a case: what became of each request stands in the books once for each server that may have earned
    /// something by it, and nothing of it in memory.
    async fn settles(mut self) {
        let kind = self.wire.kind;
        let once = "SELECT count(DISTINCT request_id) || ' requests, ' || \
                    (count(*) - count(DISTINCT request_id || coalesce(provider, ''))) || ' rows twice' FROM usage";
        let want = format!("{} requests, 0 rows twice", self.sent.get());
        let mut booked = String::new();
        // A call is booked a moment after its answer.
        for _ in 0..3000 {
            booked = self.frontdesk.texts(once).await.remove(0);
            if booked == want {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(booked, want, "{kind}");
        let now = private_kib(self.frontdesk.process().pid());
        assert!(now < self.at_first + GROWTH, "{kind}: {} KiB at the start, {now} KiB now", self.at_first);
    }

    /// Sends a request and waits for all of the answer.
    async fn ask(&self, client: Client, model: &str, stream: bool) -> Got {
        let response = self.send(client, model, stream).await;
        let header = |name: &str| response.headers().get(name).map(|v| v.to_str().expect("text").to_owned());
        let (attempts, provider) = (header("x-frontdesk-attempts"), header("x-frontdesk-provider"));
        let streamed = header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let status = response.status().as_u16();
        let body = response.text().await.expect("an answer that ends properly");
        Got { status, attempts, provider, body, streamed, client }
    }

    async fn send(&self, client: Client, model: &str, stream: bool) -> reqwest::Response {
        // Of two clients whose requests are equal the second would be told what was kept of the first.
        let words = if model == "kept" { format!("hi {client:?}") } else { "hi".to_owned() };
        let messages = json!([{ "role": "user", "content": words }]);
        let (path, body) = match client {
            Client::Chat => ("/v1/chat/completions", json!({ "model": model, "messages": messages })),
            Client::Messages => ("/v1/messages", json!({ "model": model, "max_tokens": 64, "messages": messages })),
            Client::Text => ("/v1/completions", json!({ "model": model, "prompt": words })),
            Client::LlamaChat => ("/v1/inference/chat-completion", json!({ "model_id": model, "messages": messages })),
            Client::LlamaText => ("/v1/inference/completion", json!({ "model_id": model, "content": words })),
            Client::Vectors => ("/v1/embeddings", json!({ "model": model, "input": ["hi", "ho"] })),
            Client::Ranks => ("/v1/rerank", json!({ "model": model, "query": "hi", "documents": ["one", "two"] })),
        };
        let mut body = body;
        if !matches!(client, Client::Vectors | Client::Ranks) {
            body["stream"] = stream.into();
        }
        self.sent.set(self.sent.get() + 1);
        self.frontdesk.request("POST", path).json(&body).send().await.expect("an answer")
    }

    /// Questions that a and b have had so far; lists of models are none.
    fn asked(&self) -> (usize, usize) {
        let count = |server: &Scripted| server.requests().iter().filter(|seen| seen.method == "POST").count();
        (count(&self.a), count(&self.b))
    }

    /// What b says when it is well: a rule of one use, so that a second question would be seen.
    fn b_says(&self, words: &str, stream: bool) {
        self.b.script(json!([{ "reply": self.wire.good(words, stream) }]));
    }
}

impl Got {
    /// The words of the answer, put together.
    fn words(&self) -> String {
        let pick = |value: &Value| -> String {
            let of = |at: &str| value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
            match (self.client, self.streamed) {
                (Client::Chat, true) => of("/choices/0/delta/content"),
                (Client::Chat, false) => of("/choices/0/message/content"),
                (Client::Messages, true) => of("/delta/text"),
                (Client::Messages, false) => of("/content/0/text"),
                (other, _) => panic!("nobody reads the words of {other:?}"),
            }
        };
        self.values().iter().map(pick).collect()
    }

    /// The kind of the error that the answer is or ends with.
    fn error(&self) -> Option<String> {
        let last = self.values().pop()?;
        last.pointer("/error/type").and_then(Value::as_str).map(str::to_owned)
    }

    /// The calls of the answer: id, name, arguments.
    fn calls(&self) -> Vec<(String, String, String)> {
        let mut calls: Vec<(String, String, String)> = vec![];
        let text = |value: &Value, at: &str| value.pointer(at).and_then(Value::as_str).map(str::to_owned);
        for value in self.values() {
            let (id, name, arguments) = match self.client {
                Client::Chat => (
                    text(&value, "/choices/0/delta/tool_calls/0/id"),
                    text(&value, "/choices/0/delta/tool_calls/0/function/name"),
                    text(&value, "/choices/0/delta/tool_calls/0/function/arguments"),
                ),
                _ => (
                    text(&value, "/content_block/id"),
                    text(&value, "/content_block/name"),
                    text(&value, "/delta/partial_json"),
                ),
            };
            if let Some(id) = id {
                calls.push((id, name.unwrap_or_default(), String::new()));
            }
            if let (Some(arguments), Some(call)) = (arguments, calls.last_mut()) {
                call.2.push_str(&arguments);
            }
        }
        calls
    }

    /// The JSON of the answer: one value, or one an event.
    fn values(&self) -> Vec<Value> {
        let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"));
        if !self.streamed {
            return vec![read(&self.body)];
        }
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        data.filter(|data| *data != "[DONE]").map(read).collect()
    }
}
