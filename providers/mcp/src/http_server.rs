//! A server over streamable HTTP (Model Context Protocol, "Transports, Streamable HTTP").
//!
//! One message goes out as a POST; its response is the body, or an event of the stream that is the body. A stream that
//! ends before is picked up behind its last event. Invariants: no redirect is followed; nothing larger than a limit is
//! read; a server that has to be public is asked at a public address and no other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Kind, Result, sign_in::Unauthorized};
use frontdesk_http::{Answer, Client, Limits, place};
use frontdesk_wire::sse::{self, Decoder};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::{
    oauth::Challenge,
    peer::{client, object},
    rpc::{self, Message, RpcError},
};

/// Bytes of an answer, or of one event.
pub(crate) const LARGEST: usize = 4 << 20;

/// Bytes of a name of a type that is shown.
const LONGEST_TYPE: usize = 100;

/// How often a stream that ended early is picked up without having said anything new.
const PICK_UPS: u32 = 3;

/// Bytes of a header that a text may hold by chance at most.
const SECRET: usize = 8;

/// How long before it is, where the server names no time; and the longest that one may name.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server knows the session no more.
    SessionGone,
    /// It answered with an error.
    Rpc(RpcError),
    /// It answered with a status that says how little it speaks of the protocol.
    Status(StatusCode, String),
    /// It lets nobody in who says no more than this, and not by OAuth.
    Refused(Error),
    /// There is no answer.
    Lost(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Lost(error)
    }
}

/// One client for servers everywhere, one for those inside.
pub(crate) struct Clients {
    pub(crate) public: Client,
    pub(crate) inside: Client,
}

impl Clients {
    pub(crate) fn new(silence: Duration) -> Self {
        let limits = Limits { head: silence, idle: silence, ..Limits::default() };
        Self { public: Client::public(limits), inside: Client::new(limits) }
    }
}

/// A server.
pub(crate) struct HttpServer {
    pub(crate) clients: Arc<Clients>,
    pub(crate) uri: Uri,
    pub(crate) inside: bool,
}

/// The code, inside this crate, of an error that leaves open whether the server did what it was asked.
pub(crate) const UNSURE: &str = "request_left";

pub(crate) fn unsure(error: Error) -> Error {
    if error.kind == Kind::Upstream { error.with_code(UNSURE) } else { error }
}

/// An error after the server had taken the request: whatever it says, the request is not made again because of it.
pub(crate) fn taken(error: Error) -> Error {
    unsure(Error { source: None, ..error })
}

/// What a server is told beside the message.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// What the caller sends along.
    pub(crate) headers: HeaderMap,
    /// Whoever is let in is so by OAuth.
    pub(crate) signs: bool,
    pub(crate) session: Option<HeaderValue>,
    pub(crate) version: Option<&'static str>,
    /// Further headers of one request.
    pub(crate) more: HeaderMap,
}

/// A response's result, and the session that came along.
pub(crate) struct Replied {
    pub(crate) result: Value,
    pub(crate) session: Option<HeaderValue>,
}

impl HttpServer {
    /// Sends a request and waits for its response. What comes in between goes to `hear`; requests of the server's are
    /// answered: a ping as it should be, a question to a person by cancelling it, all others by saying that there is no such
    /// thing here.
    pub(crate) async fn ask(
        &self,
        cx: &Cx,
        head: &Head,
        message: &Value,
        hear: &(dyn Fn(&str, &Value) + Send + Sync),
    ) -> Result<Replied, Fault> {
        let answer = self.post(cx, head, message).await?;
        let session = answer.headers.get("mcp-session-id").cloned();
        let id = &message["id"];
        match answer.header("content-type").map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned()) {
            Some(kind) if kind.eq_ignore_ascii_case("text/event-stream") => {
                let result = self.follow(cx, head, answer, id, hear).await?;
                Ok(Replied { result, session })
            }
            Some(kind) if kind.eq_ignore_ascii_case("application/json") => {
                let result = self.whole(answer, id).await?;
                Ok(Replied { result, session })
            }
            kind => {
                // Nothing is cut where a secret may stand.
                let kind = match kind.filter(|kind| kind.len() <= LONGEST_TYPE) {
                    Some(kind) => format!("of the type '{}'", rpc::words_of(&kind)),
                    None => "without a type".to_owned(),
                };
                let message = format!("{} answered {kind}, neither JSON nor a stream of events", place(&self.uri));
                Err(Error::upstream(message).into())
            }
        }
    }

    /// Sends what has no response.
    pub(crate) async fn tell(&self, cx: &Cx, head: &Head, message: &Value) -> Result<(), Fault> {
        self.post(cx, head, message).await?.body.whole(LARGEST).await?;
        Ok(())
    }

    /// Ends the session; not every server can.
    pub(crate) async fn leave(&self, cx: &Cx, head: &Head) {
        if head.session.is_some() {
            let _ = self.send(cx, Method::DELETE, head_of(head, "application/json"), Bytes::new()).await;
        }
    }

    /// What it asks for of those whom nobody let in; None: that is not said.
    pub(crate) async fn challenge(&self, cx: &Cx, headers: &HeaderMap) -> Result<Option<Challenge>> {
        let about = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client() });
        let greeting = rpc::request(0, "initialize", object(about));
        let stranger = Head { headers: headers.clone(), ..Head::default() };
        let mut headers = head_of(&stranger, "application/json, text/event-stream");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let greeted = self.send(cx, Method::POST, headers.clone(), greeting.to_string().into()).await?;
        if !greeted.status.is_success() {
            return Ok(Challenge::of(&greeted.headers));
        }
        // Some let everyone begin, and ask whoever wants to know more.
        let head = Head { session: greeted.headers.get("mcp-session-id").cloned(), ..stranger };
        if let Some(session) = &head.session {
            headers.insert("mcp-session-id", session.clone());
        }
        let list = rpc::request(1, "tools/list", serde_json::Map::new());
        let answer = self.send(cx, Method::POST, headers, list.to_string().into()).await?;
        self.leave(cx, &head).await;
        Ok(Challenge::of(&answer.headers))
    }

    async fn post(&self, cx: &Cx, head: &Head, message: &Value) -> Result<Answer, Fault> {
        let mut headers = head_of(head, "application/json, text/event-stream");
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(message).map_err(|e| Error::internal("could not write a message", e))?;
        // A connection that closed without a word had the request.
        let sent = self.send(cx, Method::POST, headers, body.into()).await;
        let answer = sent.map_err(|e| if e.message.starts_with("no answer from ") { unsure(e) } else { e })?;
        self.judged(answer, head, &message["id"]).await
    }

    async fn send(&self, cx: &Cx, method: Method, headers: HeaderMap, body: Bytes) -> Result<Answer> {
        let client = if self.inside { &self.clients.inside } else { &self.clients.public };
        client.send(cx, method, &self.uri, headers, body).await
    }

    /// An answer that says what it was asked for, or why there is none.
    async fn judged(&self, mut answer: Answer, head: &Head, id: &Value) -> Result<Answer, Fault> {
        let (status, at) = (answer.status, place(&self.uri));
        if status.is_success() {
            return Ok(answer);
        }
        let lost = |message: String| Err(Fault::Lost(Error::upstream(message)));
        match status {
            StatusCode::NOT_FOUND if head.session.is_some() => Err(Fault::SessionGone),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let (code, challenge) = (status.as_u16(), Challenge::of(&answer.headers));
                // One that repeats what it was let in with says nothing.
                let repeats = |scope: &&str| head.headers.values().any(|value| repeats(value, scope));
                let wanted =
                    challenge.as_ref().and_then(Challenge::wanted).filter(|scope| head.signs && !repeats(scope));
                if let Some(scope) = wanted {
                    let shown = rpc::words_of(scope);
                    let message = format!("{at} wants more than it was let in for ({code}): the scope '{shown}'");
                    return Err(Unauthorized::error(message, Some(scope.to_owned())).into());
                }
                if head.signs && status == StatusCode::UNAUTHORIZED {
                    return Err(Unauthorized::error(format!("{at} refused the credentials ({code}): it wants a sign-in, or a token in args.authorization"), None).into());
                }
                Err(Fault::Refused(Error::upstream(format!(
                    "{at} refused the credentials ({code}): put a token into args.authorization, or what it wants into \
                     args.headers"
                ))))
            }
            _ if status.is_redirection() => lost(format!("{at} leads on to another address ({status}); name that one")),
            _ => {
                let body = answer.body.whole(LARGEST).await.unwrap_or_default();
                let parsed: Option<Value> = serde_json::from_slice(&body).ok();
                match parsed.and_then(rpc::message) {
                    Some(Message::Response { id: answered, result: Err(error) })
                        if answered == *id || answered.is_null() =>
                    {
                        Err(Fault::Rpc(error))
                    }
                    _ => Err(Fault::Status(status, format!("{at} answered {status}"))),
                }
            }
        }
    }

    async fn whole(&self, mut answer: Answer, id: &Value) -> Result<Value, Fault> {
        let body = answer.body.whole(LARGEST).await.map_err(unsure)?;
        let garbled = |why: &str| Fault::Lost(Error::upstream(format!("{} answered {why}", place(&self.uri))));
        let value: Value = serde_json::from_slice(&body).map_err(|_| garbled("what is no JSON"))?;
        match rpc::message(value) {
            Some(Message::Response { id: answered, result }) if answered == *id => result.map_err(Fault::Rpc),
            Some(Message::Response { .. }) => Err(garbled("a request that was not made")),
            _ => Err(garbled("what is no response")),
        }
    }

    /// Reads the stream to the response, picking it up where it breaks off.
    async fn follow(
        &self,
        cx: &Cx,
        head: &Head,
        mut answer: Answer,
        id: &Value,
        hear: &(dyn Fn(&str, &Value) + Send + Sync),
    ) -> Result<Value, Fault> {
        let (mut last, mut pause, mut tries) = (None, PAUSE.0, 0);
        loop {
            let known = last.clone();
            let broke = match self.read(cx, head, &mut answer, id, hear, (&mut last, &mut pause)).await {
                Ok(Some(result)) => return result.map_err(Fault::Rpc),
                Ok(None) => {
                    unsure(Error::upstream(format!("{} ended its stream without a response", place(&self.uri))))
                }
                Err(error) if error.kind == Kind::Upstream => error,
                Err(error) => return Err(error.into()),
            };
            tries = if known == last { tries + 1 } else { 1 };
            let Some(event) = last.clone().filter(|_| tries <= PICK_UPS) else { return Err(broke.into()) };
            tokio::select! {
                biased;
                () = cx.cancel.cancelled() => return Err(Error::cancelled().into()),
                () = tokio::time::sleep(pause) => {}
            }
            let mut headers = head_of(head, "text/event-stream");
            headers.insert("last-event-id", event);
            let again = self.send(cx, Method::GET, headers, Bytes::new()).await.map_err(unsure)?;
            answer = self.judged(again, head, id).await.map_err(|fault| self.broke_off(fault))?;
        }
    }

    /// Why a stream is not picked up. The server had the request, so even a session that it forgot is no reason to send that
    /// again.
    fn broke_off(&self, fault: Fault) -> Fault {
        let at = place(&self.uri);
        let why = match fault {
            Fault::Lost(error) | Fault::Refused(error) => error,
            Fault::SessionGone => Error::upstream(format!("{at} forgot the session in the middle of a call")),
            Fault::Rpc(_) => Error::upstream(format!("{at} does not go on with its stream")),
            Fault::Status(_, said) => Error::upstream(said),
        };
        Fault::Lost(taken(why))
    }

    /// The response, or None where the stream ends without it.
    async fn read(
        &self,
        cx: &Cx,
        head: &Head,
        answer: &mut Answer,
        id: &Value,
        hear: &(dyn Fn(&str, &Value) + Send + Sync),
        (last, pause): (&mut Option<HeaderValue>, &mut Duration),
    ) -> Result<Option<Result<Value, RpcError>>> {
        let mut decoder = Decoder::new(LARGEST);
        loop {
            let too_long = |e| Error::upstream(format!("{} sent {e}", place(&self.uri)));
            let block = match decoder.block().map_err(too_long)? {
                Some(block) => block,
                None => match answer.body.piece().await.map_err(unsure)? {
                    Some(piece) => {
                        decoder.push(&piece);
                        continue;
                    }
                    None => return Ok(None),
                },
            };
            if let Some(event) = sse::field(&block, b"id") {
                *last = HeaderValue::from_bytes(&event).ok().filter(|event| !event.is_empty());
            }
            if let Some(named) = sse::field(&block, b"retry").and_then(|ms| std::str::from_utf8(&ms).ok()?.parse().ok())
            {
                *pause = Duration::from_millis(named).min(PAUSE.1);
            }
            let Some(data) = sse::data(&block).filter(|data| !data.is_empty()) else { continue };
            match serde_json::from_slice(&data).ok().and_then(rpc::message) {
                Some(Message::Response { id: answered, result }) if answered == *id => return Ok(Some(result)),
                Some(Message::Request { id, method, params }) => {
                    hear(&method, &params);
                    let reply = reply(&id, &method);
                    let mut head = head.clone();
                    head.more = HeaderMap::new();
                    // Whether it hears that or not is its affair.
                    let _ = self.tell(cx, &head, &reply).await;
                }
                Some(Message::Notification { method, params }) => hear(&method, &params),
                Some(Message::Response { .. }) | None => {}
            }
        }
    }
}

fn head_of(head: &Head, accept: &'static str) -> HeaderMap {
    let mut headers = head.headers.clone();
    headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
    if let Some(session) = &head.session {
        headers.insert("mcp-session-id", session.clone());
    }
    if let Some(version) = head.version {
        headers.insert("mcp-protocol-version", HeaderValue::from_static(version));
    }
    headers.extend(head.more.clone());
    headers
}

/// What a server hears that asks us.
pub(crate) fn reply(id: &Value, method: &str) -> Value {
    match method {
        "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
        "elicitation/create" => json!({ "jsonrpc": "2.0", "id": id, "result": { "action": "cancel" } }),
        _ => {
            let message = format!("this client has no '{}'", rpc::words_of(method));
            json!({ "jsonrpc": "2.0", "id": id, "error": { "code": rpc::METHOD_NOT_FOUND, "message": message } })
        }
    }
}

/// Whether a text holds what a header says, without its scheme.
fn repeats(value: &HeaderValue, text: &str) -> bool {
    let said = value.to_str().ok().and_then(|said| said.split(' ').next_back());
    said.is_some_and(|said| said.len() >= SECRET && text.contains(said))
}
