//! A server over streamable HTTP (Model Context Protocol, "Transports, Streamable HTTP").
//!
//! One message goes out as a POST; its response is the body, or an event of the stream that is the body. A stream that
//! ends before is picked up behind its last event. While a person is asked what the server wants to know, the stream is
//! read on: it may break off and be picked up, or take the question back. Invariants: no redirect is followed; nothing
//! larger than a limit is read; a server that has to be public is asked at a public address and no other.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Kind, Result, sign_in::Unauthorized};
use frontdesk_http::{Answer, Client, Limits, place};
use frontdesk_wire::sse::{self, Decoder};
use futures::{
    FutureExt as _, StreamExt as _,
    future::{AbortHandle, Aborted, BoxFuture, abortable},
    stream::FuturesUnordered,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    ear::Ear,
    oauth::Challenge,
    peer::{client, object},
    progress::Wanted,
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

/// What a server may ask people within one request, and how much of it waits to be heeded; as agents have it.
const MOST_ASKED: usize = 10;

/// Bytes of the id of what it asks.
const LONGEST_ID: usize = 200;

/// How long a server may take to open its stream beside those of its responses, before it is called without.
const BESIDE: Duration = Duration::from_secs(2);

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
    /// The longest that a server may be silent.
    pub(crate) silence: Duration,
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
    /// Sends a request and waits for its response. What comes in between is the ear's, and what the server asks is answered
    /// by it.
    pub(crate) async fn ask(&self, cx: &Cx, head: &Head, message: &Value, ear: Ear<'_>) -> Result<Replied, Fault> {
        let beside = self.beside(cx, head, ear).await;
        let (asks, mut asked) = mpsc::channel(MOST_ASKED);
        let ids = Mutex::default();
        let listener = Listener { ear, asks: asks.clone(), ids: &ids, standing: false };
        let answering = self.answered(cx, head, message, listener);
        let listening = async {
            if let Some(mut stream) = beside {
                let listener = Listener { ear, asks, ids: &ids, standing: true };
                let (mut last, mut pause) = (None, PAUSE.0);
                let id = &message["id"];
                // However it ends: the response comes elsewhere.
                let _ = self.read(cx, head, &mut stream, id, &listener, (&mut last, &mut pause)).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::pin!(answering, listening);
        let mut replies = Replies { server: self, cx, head, ear, under_way: FuturesUnordered::new(), handles: vec![] };
        loop {
            tokio::select! {
                biased;
                answered = &mut answering => return answered,
                Some(asks) = asked.recv() => replies.heed(asks),
                Some(_) = replies.under_way.next() => {}
                () = &mut listening => {}
            }
        }
    }

    /// The stream that a server has beside those of its responses, where a person can be asked: some ask there, whichever
    /// call it is for.
    async fn beside(&self, cx: &Cx, head: &Head, ear: Ear<'_>) -> Option<Answer> {
        if ear.progress.person.is_none() || head.session.is_none() || ear.alone.load(Ordering::Relaxed) {
            return None;
        }
        let sent = self.send(cx, Method::GET, head_of(head, "text/event-stream"), Bytes::new());
        let answer = tokio::time::timeout(BESIDE, sent).await.ok().and_then(Result::ok);
        // Another call of the session may have the one stream that there is. Whatever else comes is not waited for again.
        let taken = answer.as_ref().is_some_and(|answer| answer.status == StatusCode::CONFLICT);
        let stream = answer.filter(|answer| answer.status.is_success() && is_stream(answer));
        if stream.is_none() && !taken && !cx.cancel.is_cancelled() {
            ear.alone.store(true, Ordering::Relaxed);
        }
        stream
    }

    async fn answered(&self, cx: &Cx, head: &Head, message: &Value, listener: Listener<'_>) -> Result<Replied, Fault> {
        let answer = self.post(cx, head, message).await?;
        let session = answer.headers.get("mcp-session-id").cloned();
        let id = &message["id"];
        if is_stream(&answer) {
            let result = self.follow(cx, head, answer, id, listener).await?;
            return Ok(Replied { result, session });
        }
        match answer.header("content-type").map(|kind| kind.split(';').next().unwrap_or_default().trim().to_owned()) {
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

    /// Answers what the server asked. Whether it hears that or not is its affair.
    async fn tell_back(&self, cx: &Cx, head: &Head, reply: &Value) {
        let head = Head { more: HeaderMap::new(), ..head.clone() };
        let _ = self.tell(cx, &head, reply).await;
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
        listener: Listener<'_>,
    ) -> Result<Value, Fault> {
        let (mut last, mut pause, mut tries) = (None, PAUSE.0, 0);
        loop {
            let known = last.clone();
            let broke = match self.read(cx, head, &mut answer, id, &listener, (&mut last, &mut pause)).await {
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
        listener: &Listener<'_>,
        (last, pause): (&mut Option<HeaderValue>, &mut Duration),
    ) -> Result<Option<Result<Value, RpcError>>> {
        let mut decoder = Decoder::new(LARGEST);
        loop {
            let too_long = |e| Error::upstream(format!("{} sent {e}", place(&self.uri)));
            let block = match decoder.block().map_err(too_long)? {
                Some(block) => block,
                None => match answer.body.piece().await {
                    Ok(Some(piece)) => {
                        decoder.push(&piece);
                        continue;
                    }
                    Ok(None) => return Ok(None),
                    Err(error) if error.kind == Kind::Timeout && listener.may_be_silent(self.silence) => continue,
                    Err(error) => return Err(unsure(error)),
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
                    let place = if listener.ear.asks(&method) { listener.place(&id) } else { Place::None };
                    match place {
                        Place::New => {
                            let wanted = listener.ear.progress.read(&params);
                            let _ = listener.asks.send(Asks::Person { id, wanted }).await;
                        }
                        Place::Known => {}
                        // One after another, and the stream waits for each.
                        Place::TooMany => {
                            let refused = listener.ear.refused(&id, &params);
                            self.tell_back(cx, head, &refused).await;
                        }
                        Place::None => {
                            let reply = listener.ear.reply(&id, &method, &params).await;
                            self.tell_back(cx, head, &reply).await;
                        }
                    }
                }
                Some(Message::Notification { method, params }) if method == "notifications/cancelled" => {
                    if listener.knows(&params["requestId"]) {
                        let _ = listener.asks.send(Asks::NoMore(params["requestId"].clone())).await;
                    }
                }
                Some(Message::Notification { method, params }) => listener.ear.hear(&method, &params),
                Some(Message::Response { .. }) | None => {}
            }
        }
    }
}

/// What the stream of a response leads to, beside the response.
struct Listener<'e> {
    ear: Ear<'e>,
    asks: mpsc::Sender<Asks>,
    /// What was asked of people by now, on whichever stream: no more than [`MOST_ASKED`].
    ids: &'e Mutex<Vec<Value>>,
    /// It is no response's.
    standing: bool,
}

impl Listener<'_> {
    /// A server's silence while a person is asked is none.
    fn may_be_silent(&self, silence: Duration) -> bool {
        self.standing || self.ear.progress.pause.was_within(silence)
    }

    fn knows(&self, id: &Value) -> bool {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Takes one for what has this id, where there is one.
    fn place(&self, id: &Value) -> Place {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = id.is_number() || id.as_str().is_some_and(|id| id.len() <= LONGEST_ID);
        if ids.contains(id) {
            Place::Known
        } else if ids.len() >= MOST_ASKED || !fits {
            Place::TooMany
        } else {
            ids.push(id.clone());
            Place::New
        }
    }
}

/// Where a request of the server's stands among those that people are asked.
enum Place {
    New,
    /// A stream that is picked up may repeat it.
    Known,
    TooMany,
    /// It is nothing for people.
    None,
}

/// What is asked of a person in the middle of a request.
enum Asks {
    Person {
        id: Value,
        wanted: Wanted,
    },
    /// The request of this id is taken back.
    NoMore(Value),
}

/// The answers to these, on their way. Dropped, nobody is asked any more.
struct Replies<'s> {
    server: &'s HttpServer,
    cx: &'s Cx,
    head: &'s Head,
    ear: Ear<'s>,
    under_way: FuturesUnordered<BoxFuture<'s, Result<(), Aborted>>>,
    /// What takes back what was asked.
    handles: Vec<(Value, AbortHandle)>,
}

impl Replies<'_> {
    fn heed(&mut self, asks: Asks) {
        match asks {
            Asks::Person { id, wanted } => {
                let (server, cx, head, ear, asked) = (self.server, self.cx, self.head, self.ear, id.clone());
                let (answering, handle) = abortable(async move {
                    let reply = ear.person(&asked, wanted).await;
                    server.tell_back(cx, head, &reply).await;
                });
                self.handles.push((id, handle));
                self.under_way.push(answering.boxed());
            }
            Asks::NoMore(id) => {
                self.handles.iter().filter(|(known, _)| *known == id).for_each(|(_, handle)| handle.abort());
            }
        }
    }
}

fn is_stream(answer: &Answer) -> bool {
    let kind = answer.header("content-type").and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
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

/// Whether a text holds what a header says, without its scheme.
fn repeats(value: &HeaderValue, text: &str) -> bool {
    let said = value.to_str().ok().and_then(|said| said.split(' ').next_back());
    said.is_some_and(|said| said.len() >= SECRET && text.contains(said))
}
