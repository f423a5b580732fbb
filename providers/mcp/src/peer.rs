//! One conversation with one server: how it is opened, which revision is spoken, and a request in it.
//!
//! Servers are greeted as all revisions up to 2025-11-25 want it; one that knows no greeting is asked by 2026-07-28,
//! whose requests stand for themselves. Invariants: a session that the server has forgotten is opened anew once, and
//! only then is the request sent again; a request that nobody waits for any more is cancelled at the server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use frontdesk_api::{Cx, Error, Kind, News, Result, news};
use http::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use crate::{
    endpoint::struck,
    http_server::{Fault, Head, HttpServer},
    question, rpc,
    stdio::Program,
};

/// Revisions with a greeting, the newest first.
const GREETED: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

/// The revision without.
const PLAIN: &str = "2026-07-28";

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

/// A server that was greeted, or will be at the first request.
pub(crate) struct Peer {
    way: Arc<Way>,
    spoken: tokio::sync::Mutex<Option<Spoken>>,
    next: AtomicU64,
    /// The server said that its tools are not what they were.
    pub(crate) changed: AtomicBool,
}

/// What a server tells of the progress of one call.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// What the server was given to name the call by; None: it was asked for no news.
    token: Option<Value>,
    /// Who else hears it, without these secrets.
    news: Option<News>,
    secrets: Vec<String>,
    last: Mutex<Last>,
}

/// How far it was, and what was said of that.
#[derive(Debug, Default)]
struct Last {
    progress: Option<f64>,
    words: Option<String>,
    /// What a person was asked for.
    questions: Vec<String>,
}

impl Progress {
    pub(crate) fn of(token: Value, news: Option<News>, secrets: &[String]) -> Self {
        Self { token: Some(token), news, secrets: secrets.to_vec(), last: Mutex::default() }
    }

    fn hear(&self, params: &Value) {
        if self.token.is_none() || self.token.as_ref() != params.get("progressToken") {
            return;
        }
        let Some(Value::Number(progress)) = params.get("progress").cloned() else { return };
        let words = params.get("message").and_then(Value::as_str);
        let words = words.map(|words| struck(&self.secrets, rpc::words_of(words)));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.words.clone_from(&words);
        // It has to grow (Model Context Protocol, "Progress"); what does not is told to nobody.
        if progress.as_f64() <= last.progress {
            return;
        }
        last.progress = progress.as_f64();
        let total = params.get("total").and_then(Value::as_number).cloned();
        if let Some(news) = &self.news {
            news.tell(news::Progress { progress, total, message: words });
        }
    }

    fn asked(&self, params: &Value) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.questions.len() < question::MOST {
            last.questions.push(question::words(params));
        }
    }

    /// How far it was, in words; and what it asked for that nobody answered.
    pub(crate) fn told(self) -> (Option<String>, Option<String>) {
        let last = self.last.into_inner().unwrap_or_else(PoisonError::into_inner);
        (last.words, question::note(&last.questions))
    }
}

impl Peer {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way: Arc::new(way),
            spoken: tokio::sync::Mutex::default(),
            next: AtomicU64::new(1),
            changed: AtomicBool::new(false),
        }
    }

    /// Headers that go along from now on.
    pub(crate) fn carry(&self, headers: &HeaderMap) {
        if let Way::Http(server) = &*self.way {
            server.carry(headers);
        }
    }

    /// Asks, greeting the server first where that is still to be done.
    ///
    /// # Errors
    /// `Upstream` for a server that cannot be reached, breaks off, or answers with an error, `Timeout`, `Cancelled`.
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
                self.exchange(cx, &spoken, method, params, progress).await.map_err(told)
            }
            done => done.map_err(told),
        }
    }

    /// How the server is spoken to; `gone`: not so any more.
    async fn spoken(&self, cx: &Cx, gone: Option<&Spoken>) -> Result<Spoken> {
        let mut spoken = self.spoken.lock().await;
        if let Some(known) = spoken.as_ref()
            && gone.is_none_or(|gone| gone.session != known.session)
        {
            return Ok(known.clone());
        }
        *spoken = None;
        let opened = self.open(cx).await?;
        *spoken = Some(opened.clone());
        Ok(opened)
    }

    async fn open(&self, cx: &Cx) -> Result<Spoken> {
        let refused = match self.greet(cx).await {
            Ok(spoken) => return Ok(spoken),
            Err(refused @ (Fault::Rpc(_) | Fault::Status(_))) => refused,
            Err(lost) => return Err(told(lost)),
        };
        let plain = Spoken { version: PLAIN, session: None };
        match self.exchange(cx, &plain, "server/discover", Map::new(), &Progress::default()).await {
            Ok(_) => Ok(plain),
            // Most servers know no other revisions than those that greet: what they said to that is what counts.
            Err(Fault::Rpc(error)) if error.code == rpc::UNSUPPORTED_VERSION => Err(told(Fault::Rpc(error))),
            Err(_) => Err(told(refused)),
        }
    }

    async fn greet(&self, cx: &Cx) -> Result<Spoken, Fault> {
        let greeting = json!({ "protocolVersion": GREETED[0], "capabilities": {}, "clientInfo": client() });
        let message = rpc::request(self.id(), "initialize", object(greeting));
        let (result, session) = match &*self.way {
            Way::Http(server) => {
                let replied = server.ask(cx, &Head::default(), &message, &|_, _| {}).await?;
                (replied.result, replied.session)
            }
            Way::Stdio(program) => (program.ask(cx, false, &message, &|_, _| {}).await?, None),
        };
        let named = result.get("protocolVersion").and_then(Value::as_str).unwrap_or_default();
        let version = GREETED.into_iter().find(|known| *known == named).ok_or_else(|| {
            let named = rpc::words_of(named);
            let known = GREETED.join(", ");
            Error::upstream(format!(
                "the server speaks the revision '{named}' of the protocol; here {known} are spoken"
            ))
        })?;
        let spoken = Spoken { version, session };
        let ready = rpc::notification("notifications/initialized", Map::new());
        match &*self.way {
            Way::Http(server) => server.tell(cx, &head(&spoken), &ready).await?,
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
        let id = self.id();
        let mut head = head(spoken);
        if !spoken.greeted() {
            head.more = standing_headers(method, &params);
            let meta = params.entry("_meta").or_insert_with(|| json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = json!(spoken.version);
            meta["io.modelcontextprotocol/clientInfo"] = client();
            meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        let message = rpc::request(id, method, params);
        let hear = |method: &str, params: &Value| self.hear(method, params, progress);
        match &*self.way {
            Way::Stdio(program) => program.ask(cx, true, &message, &hear).await,
            Way::Http(server) => {
                let waiting = Waiting { way: Arc::clone(&self.way), head: Some(head.clone()), id };
                let replied = server.ask(cx, &head, &message, &hear).await;
                // Whoever waits for silence to end has given it up; all others have heard what there was to hear.
                if !matches!(&replied, Err(Fault::Lost(error)) if matches!(error.kind, Kind::Timeout | Kind::Cancelled))
                {
                    waiting.over();
                }
                Ok(replied?.result)
            }
        }
    }

    fn hear(&self, method: &str, params: &Value, progress: &Progress) {
        match method {
            "notifications/tools/list_changed" => self.changed.store(true, Ordering::Relaxed),
            "notifications/progress" => progress.hear(params),
            "elicitation/create" => progress.asked(params),
            _ => {}
        }
    }

    fn id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let Some(head) = self.spoken.get_mut().take().map(|spoken| head(&spoken)) else { return };
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

fn head(spoken: &Spoken) -> Head {
    Head { session: spoken.session.clone(), version: Some(spoken.version), more: HeaderMap::new() }
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

fn told(fault: Fault) -> Error {
    match fault {
        Fault::Lost(error) => error,
        Fault::Rpc(error) if error.code == rpc::URL_ELICITATION => {
            let pages = question::pages(&error.data).unwrap_or_else(|| error.to_string());
            Error::upstream(format!("the server wants something of a person before it is called again: {pages}"))
        }
        Fault::Rpc(error) => Error::upstream(format!("the server answered with an error: {error}")),
        Fault::Status(message) => Error::upstream(format!(
            "{message}: is it the address of an MCP server over streamable HTTP? (the older transport, two addresses and \
             server-sent events, is not spoken here)"
        )),
        Fault::SessionGone => Error::upstream("the server forgot the session again right after it was opened"),
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_call_hears_of_its_own_progress_alone_and_tells_of_what_grows() {
        let told = Arc::new(Mutex::new(vec![]));
        let teller = Arc::clone(&told);
        let news = News::new(move |progress| teller.lock().expect("the news").push(progress));
        let secrets = ["sesame-1234".to_owned()];
        let (mine, silent) = (Progress::of(json!("key_1"), Some(news), &secrets), Progress::default());
        for (token, progress, words) in [
            ("key_1", json!(1), "sesame-1234 opens"),
            ("key_2", json!(2), "someone else's"),
            ("key_1", json!(1), "again"),
            ("key_1", json!("2"), "no number"),
            ("key_1", json!(1.5), "half"),
        ] {
            let news = json!({ "progressToken": token, "progress": progress, "total": 3, "message": words });
            mine.hear(&news);
            silent.hear(&news);
        }
        silent.hear(&json!({ "progress": 1, "message": "nameless" }));
        let said = std::mem::take(&mut *told.lock().expect("the news"));
        let said: Vec<_> = said.iter().map(|p| (p.progress.to_string(), p.message.as_deref())).collect();
        assert_eq!(said, [("1".to_owned(), Some("[secret] opens")), ("1.5".to_owned(), Some("half"))]);
        mine.asked(&json!({ "message": "Sure?" }));
        let (words, asked) = mine.told();
        assert_eq!((words.as_deref(), silent.told()), (Some("half"), (None, None)));
        assert!(asked.expect("a note").contains("'Sure?'"));
    }

    #[test]
    fn a_name_that_no_header_carries_is_encoded() {
        for (text, want) in [("look", "look"), ("prüfe", "=?base64?cHLDvGZl?="), (" a", "=?base64?IGE=?=")] {
            assert_eq!(encoded(text), want);
        }
    }
}
