//! One conversation with one server: how it is opened, which revision is spoken, and a request in it.
//!
//! A server is asked by 2026-07-28 first, whose requests stand for themselves: only so can its tools ask a person. One that
//! does not know that is greeted as the revisions up to 2025-11-25 want it; a program on this machine is greeted first.
//! Invariants: a session that the server has forgotten is opened anew once, and
//! only then is the request sent again; a request that nobody waits for any more is cancelled at the server; what is sent
//! along is the caller's own, whoever else is in the session; a server's words are cut after secrets were struck out;
//! answers of people are sent by the revision that asked for them, or not at all; those whom nobody can answer are not told
//! that they could ask, so who can ask a person has a session of its own.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use frontdesk_api::{Cx, Error, Kind, Result};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    ear::Ear,
    endpoint::{Endpoint, struck, struck_value},
    http_server::{Fault, Head, HttpServer},
    progress::Progress,
    question, rpc,
    stdio::Program,
};

/// Revisions with a greeting, the newest first.
const GREETED: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// The revision without.
const PLAIN: &str = "2026-07-28";

/// How long a server may take to say whether it speaks that, as with the protocol's own client; silence means that it does not.
const PROBE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 10 });

/// How long the word that a request was given up may take.
pub(crate) const LAST_WORD: Duration = Duration::from_secs(5);

pub(crate) enum Way {
    Http(HttpServer),
    Stdio(Box<Program>),
}

/// How a server is spoken to.
#[derive(Clone)]
struct Spoken {
    version: &'static str,
    session: Option<HeaderValue>,
}

impl Spoken {
    fn greeted(&self) -> bool {
        self.version != PLAIN
    }
}

/// Whether a server speaks the revision without a greeting, as it was found; for all conversations of an endpoint.
pub(crate) struct Verdict {
    found: Mutex<Option<(Instant, bool)>>,
    believed: Duration,
}

impl Verdict {
    /// `believed`: how long what was found is.
    pub(crate) fn new(believed: Duration) -> Self {
        Self { found: Mutex::default(), believed }
    }

    fn get(&self) -> Option<bool> {
        let found = *self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.filter(|(at, _)| at.elapsed() < self.believed).map(|(_, plain)| plain)
    }

    fn set(&self, plain: Option<bool>) {
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = plain.map(|plain| (Instant::now(), plain));
    }
}

/// A conversation with a server that was greeted, or will be at the first request.
pub(crate) struct Session {
    way: Arc<Way>,
    verdict: Arc<Verdict>,
    spoken: tokio::sync::Mutex<Option<Spoken>>,
    next: AtomicU64,
    /// The server said that its tools are not what they were.
    pub(crate) changed: AtomicBool,
    /// It has no stream beside those of its responses.
    alone: AtomicBool,
    /// What the goodbye is sent along with: what came with the newest call.
    newest: Mutex<HeaderMap>,
}

/// One caller in it.
#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) session: Arc<Session>,
    /// A token is renewed within a session, so each caller sends what it came with.
    headers: HeaderMap,
    secrets: Vec<String>,
    signs: bool,
    /// Whether the server may ask a person.
    asks: bool,
}

impl Session {
    pub(crate) fn new(way: Way, verdict: Arc<Verdict>) -> Self {
        Self {
            way: Arc::new(way),
            verdict,
            spoken: tokio::sync::Mutex::default(),
            next: AtomicU64::new(1),
            changed: AtomicBool::new(false),
            alone: AtomicBool::new(false),
            newest: Mutex::default(),
        }
    }
}

impl Peer {
    /// Joins the session.
    pub(crate) fn of(session: Arc<Session>, endpoint: &Endpoint, asks: bool) -> Self {
        session.newest.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&endpoint.headers);
        let (headers, secrets) = (endpoint.headers.clone(), endpoint.secrets().to_vec());
        Self { session, headers, secrets, signs: endpoint.signs, asks }
    }

    /// A stranger's words, without the secrets that were sent along.
    pub(crate) fn words(&self, text: &str) -> String {
        rpc::words_of(&struck(&self.secrets, text.to_owned()))
    }

    /// Asks, greeting the server first where that is still to be done.
    ///
    /// # Errors
    /// `Upstream` for a server that cannot be reached, breaks off, answers with an error, or does not speak the revision that
    /// takes the answers in `params`; `Timeout`, `Cancelled`.
    pub(crate) async fn ask(
        &self,
        cx: &Cx,
        method: &str,
        params: Map<String, Value>,
        progress: &Progress,
    ) -> Result<Value> {
        let spoken = self.spoken(cx, None).await?;
        match self.exchange(cx, &spoken, method, params.clone(), progress).await {
            Err(Fault::SessionGone) => {
                let spoken = self.spoken(cx, Some(&spoken)).await?;
                self.exchange(cx, &spoken, method, params, progress).await.map_err(|fault| self.told(fault))
            }
            done => done.map_err(|fault| self.told(fault)),
        }
    }

    /// How the server is spoken to; `gone`: not so any more.
    async fn spoken(&self, cx: &Cx, gone: Option<&Spoken>) -> Result<Spoken> {
        let mut spoken = self.session.spoken.lock().await;
        if let Some(known) = spoken.as_ref()
            && gone.is_none_or(|gone| gone.session != known.session)
        {
            return Ok(known.clone());
        }
        *spoken = None;
        if gone.is_some() {
            // It may be another server by now.
            self.session.verdict.set(None);
        }
        let opened = self.open(cx).await?;
        *spoken = Some(opened.clone());
        Ok(opened)
    }

    async fn open(&self, cx: &Cx) -> Result<Spoken> {
        let plain = Spoken { version: PLAIN, session: None };
        let by_http = matches!(&*self.session.way, Way::Http(_));
        if by_http {
            let speaks = match self.session.verdict.get() {
                Some(known) => known,
                None => {
                    let speaks = self.probe(cx, &plain).await?;
                    if speaks.is_some() {
                        self.session.verdict.set(speaks);
                    }
                    speaks.unwrap_or(false)
                }
            };
            if speaks {
                return Ok(plain);
            }
        }
        match self.greet(cx).await {
            Ok(spoken) => Ok(spoken),
            // What most servers say to a greeting is what counts: they know no other revisions than those that greet.
            Err(Fault::Rpc(_)) if !by_http && self.discover(cx, &plain).await? == Some(true) => Ok(plain),
            Err(fault) => Err(self.told(fault)),
        }
    }

    /// Whether a server over HTTP does, by what it says within a limit of its own.
    async fn probe(&self, cx: &Cx, plain: &Spoken) -> Result<Option<bool>> {
        tokio::time::timeout(PROBE, self.discover(cx, plain)).await.unwrap_or(Ok(Some(false)))
    }

    /// Whether the server speaks the revision without a greeting. Silence, an error of the protocol and a status that
    /// refuses the request say that it does not. None where it broke off: it is down, which a greeting will tell, or it
    /// breaks off at every method that it does not know.
    async fn discover(&self, cx: &Cx, plain: &Spoken) -> Result<Option<bool>> {
        match self.exchange(cx, plain, "server/discover", Map::new(), &Progress::default()).await {
            Ok(found) => {
                Ok(Some(found["supportedVersions"].as_array().is_some_and(|all| all.iter().any(|one| one == PLAIN))))
            }
            Err(Fault::Rpc(_) | Fault::Refused(_) | Fault::SessionGone) => Ok(Some(false)),
            Err(Fault::Status(status, _)) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                Ok(Some(false))
            }
            Err(Fault::Lost(error)) if error.kind == Kind::Timeout => Ok(Some(false)),
            Err(Fault::Lost(error)) if error.kind == Kind::Cancelled => Err(error),
            Err(Fault::Lost(_)) => Ok(None),
            Err(Fault::Status(_, message)) => Err(Error::upstream(message)),
        }
    }

    async fn greet(&self, cx: &Cx) -> Result<Spoken, Fault> {
        let asks = self.asks && matches!(&*self.session.way, Way::Http(_));
        let capabilities = if asks { question::capability() } else { json!({}) };
        let greeting = json!({ "protocolVersion": GREETED[0], "capabilities": capabilities, "clientInfo": client() });
        let message = rpc::request(self.id(), "initialize", object(greeting));
        let nothing = Progress::default();
        let ear = self.ear(&nothing);
        let (result, session) = match &*self.session.way {
            Way::Http(server) => {
                let head = Head { headers: self.headers.clone(), signs: self.signs, ..Head::default() };
                let replied = server.ask(cx, &head, &message, ear).await?;
                (replied.result, replied.session)
            }
            Way::Stdio(program) => (program.ask(cx, false, &message, ear).await?, None),
        };
        let named = result.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let version = GREETED.into_iter().find(|known| *known == named).ok_or_else(|| {
            let named = self.words(named);
            let known = GREETED.join(", ");
            Error::upstream(format!(
                "the server speaks the revision '{named}' of the protocol; here {known} are spoken"
            ))
        })?;
        let spoken = Spoken { version, session };
        let ready = rpc::notification("notifications/initialized", Map::new());
        match &*self.session.way {
            Way::Http(server) => server.tell(cx, &self.head(&spoken), &ready).await?,
            Way::Stdio(program) => program.tell(&ready).await?,
        }
        Ok(spoken)
    }

    async fn exchange(
        &self,
        cx: &Cx,
        spoken: &Spoken,
        method: &str,
        mut params: Map<String, Value>,
        progress: &Progress,
    ) -> Result<Value, Fault> {
        let answers = ["inputResponses", "requestState"].iter().any(|name| params.contains_key(*name));
        if answers && spoken.greeted() {
            let message = format!(
                "the server asked a person by the revision {PLAIN} and does not speak it any more; the answers were not sent"
            );
            return Err(Error::upstream(message).into());
        }
        let id = self.id();
        let mut head = self.head(spoken);
        if !spoken.greeted() {
            head.more = standing_headers(method, &params);
            let meta = params.entry("_meta").or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!(spoken.version);
            meta["io.modelcontextprotocol/clientInfo"] = client();
            meta["io.modelcontextprotocol/clientCapabilities"] =
                if self.asks { question::capability() } else { json!({}) };
        }
        let message = rpc::request(id, method, params);
        let ear = self.ear(progress);
        match &*self.session.way {
            Way::Stdio(program) => program.ask(cx, true, &message, ear).await,
            Way::Http(server) => {
                let waiting = Waiting { way: Arc::clone(&self.session.way), head: Some(head.clone()), id };
                let replied = server.ask(cx, &head, &message, ear).await;
                // Whoever waits for silence to end has given it up; all others have heard what there was to hear.
                if !matches!(&replied, Err(Fault::Lost(error)) if matches!(error.kind, Kind::Timeout | Kind::Cancelled))
                {
                    waiting.over();
                }
                Ok(replied?.result)
            }
        }
    }

    fn ear<'e>(&'e self, progress: &'e Progress) -> Ear<'e> {
        Ear { changed: &self.session.changed, alone: &self.session.alone, progress }
    }

    fn id(&self) -> u64 {
        self.session.next.fetch_add(1, Ordering::Relaxed)
    }

    fn head(&self, spoken: &Spoken) -> Head {
        Head { signs: self.signs, ..head(spoken, self.headers.clone()) }
    }

    fn told(&self, fault: Fault) -> Error {
        let mut error = match fault {
            Fault::Lost(error) | Fault::Refused(error) => return error,
            Fault::Status(_, message) => {
                return Error::upstream(format!(
                    "{message}: is it the address of an MCP server over streamable HTTP? (the older transport, two \
                     addresses and server-sent events, is not spoken here)"
                ));
            }
            Fault::SessionGone => {
                return Error::upstream("the server forgot the session again right after it was opened");
            }
            Fault::Rpc(error) => error,
        };
        error.message = struck(&self.secrets, error.message);
        if error.code == rpc::URL_ELICITATION {
            let pages = question::pages(&struck_value(&self.secrets, &error.data)).unwrap_or_else(|| error.to_string());
            return Error::upstream(format!(
                "the server wants something of a person before it is called again: {pages}"
            ));
        }
        Error::upstream(format!("the server answered with an error: {error}"))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let newest = std::mem::take(self.newest.get_mut().unwrap_or_else(PoisonError::into_inner));
        let Some(head) = self.spoken.get_mut().take().map(|spoken| head(&spoken, newest)) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let way = Arc::clone(&self.way);
        runtime.spawn(async move {
            if let Way::Http(server) = &*way {
                let _ = tokio::time::timeout(LAST_WORD, server.leave(&Cx::internal("", "mcp"), &head)).await;
            }
        });
    }
}

/// A request under way. Dropped before it is over, it is cancelled at the server.
struct Waiting {
    way: Arc<Way>,
    head: Option<Head>,
    id: u64,
}

impl Waiting {
    fn over(mut self) {
        self.head = None;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // By 2026-07-28 a closed connection says so.
        let Some(head) = self.head.take().filter(|head| head.version != Some(PLAIN)) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (way, id) = (Arc::clone(&self.way), self.id);
        runtime.spawn(async move {
            let params = json!({ "requestId": id, "reason": "nobody waits for it any more" });
            let message = rpc::notification("notifications/cancelled", object(params));
            if let Way::Http(server) = &*way {
                let cx = Cx::internal("", "mcp");
                let _ = tokio::time::timeout(LAST_WORD, server.tell(&cx, &head, &message)).await;
            }
        });
    }
}

fn head(spoken: &Spoken, headers: HeaderMap) -> Head {
    Head { headers, session: spoken.session.clone(), version: Some(spoken.version), ..Head::default() }
}

/// What 2026-07-28 wants to see of a request without reading its body.
fn standing_headers(method: &str, params: &Map<String, Value>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let named = params.get("name").and_then(Value::as_str).filter(|_| method == "tools/call");
    for (name, value) in [("mcp-method", Some(method)), ("mcp-name", named)] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&encoded(value)).ok()) {
            headers.insert(name, value);
        }
    }
    headers
}

/// A text as a header carries it.
fn encoded(text: &str) -> String {
    let plain =
        text.bytes().all(|b| (0x20..0x7f).contains(&b)) && text.trim() == text && !text.starts_with("=?base64?");
    if plain { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

pub(crate) fn client() -> Value {
    json!({ "name": "frontdesk", "version": env!("CARGO_PKG_VERSION") })
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_name_that_no_header_carries_is_encoded() {
        for (text, want) in [("look", "look"), ("prüfe", "=?base64?cHLDvGZl?="), (" a", "=?base64?IGE=?=")] {
            assert_eq!(encoded(text), want);
        }
    }
}
