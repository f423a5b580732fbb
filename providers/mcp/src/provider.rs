//! The provider: a registration's server is asked for its tools, and its tools are called.
//!
//! Sessions are kept open between calls, one for a conversation and its credentials, so that what a server keeps of one
//! customer is never another's; commands are one process a tenant and group.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Instant,
};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Kind, Result, SignIn,
    chat::ToolCall,
    customer::Customer,
    news,
    provider::Setting,
    tools::{Inspected, OUTCOME_UNKNOWN, Outcome, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use http::Uri;
use serde_json::{Value, json};

use crate::{
    config::Config,
    endpoint::{self, At, Endpoint, SECRETS},
    http_server::{Clients, HttpServer, UNSURE},
    listing::{self, Listed},
    pause::Pause,
    peer::{Peer, Session, Verdict, Way, object},
    progress::Progress,
    question, result,
    stdio::Program,
    task,
};

/// Sessions kept open, the ones used last.
const MOST_OPEN: usize = 1_000;

/// Lists of tools remembered, and endpoints of which it is known how they are spoken to.
const MOST_LISTS: usize = 1_000;

/// Bytes of what servers said in these lists.
const MOST_LISTED: usize = 64 << 20;

/// The name in `_meta` of the call's key, spelt as the HTTP header of that purpose.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

pub(crate) fn build(_: &Setting, config: Value) -> Result<Arc<dyn ToolProvider>> {
    Ok(Arc::new(McpTools::new(config)?))
}

/// Tool groups that are MCP servers.
pub struct McpTools {
    pub(crate) config: Config,
    pub(crate) clients: Arc<Clients>,
    open: Mutex<Kept<Arc<Session>>>,
    lists: Mutex<Kept<List>>,
    verdicts: Mutex<Kept<Arc<Verdict>>>,
}

/// By whom and what they are for.
type Kept<T> = HashMap<[u8; 32], Used<T>>;

/// Tools of a server, and the bytes of what it said of them.
struct List(Arc<Vec<Listed>>, usize);

/// Something kept, and when it was last of use (a list: when it was read).
struct Used<T>(Instant, T);

impl McpTools {
    /// # Errors
    /// `Invalid` on a key of the configuration.
    pub fn new(config: Value) -> Result<Self> {
        let config = Config::read(config)?;
        let clients = Arc::new(Clients::new(config.silence));
        Ok(Self { config, clients, open: Mutex::default(), lists: Mutex::default(), verdicts: Mutex::default() })
    }

    /// This caller in the session of its conversation with the server. `asks`: it can ask a person.
    fn peer(&self, cx: &Cx, endpoint: &Endpoint, asks: bool) -> Peer {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = session(cx, endpoint, asks);
        let now = Instant::now();
        if let Some(used) = open.get_mut(&key) {
            used.0 = now;
            return Peer::of(Arc::clone(&used.1), endpoint, asks);
        }
        make_room(&mut open, MOST_OPEN);
        let way = match &endpoint.at {
            At::Stdio(command) => Way::Stdio(Box::new(Program::new(command.clone(), self.config.silence))),
            At::Http { uri, inside } => Way::Http(self.http_server(uri, *inside)),
        };
        let session = Arc::new(Session::new(way, self.verdict(endpoint)));
        open.insert(key, Used(now, Arc::clone(&session)));
        Peer::of(session, endpoint, asks)
    }

    /// What is known of how the endpoint is spoken to: believed as long as its list of tools.
    fn verdict(&self, endpoint: &Endpoint) -> Arc<Verdict> {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if !verdicts.contains_key(&endpoint.key) {
            make_room(&mut verdicts, MOST_LISTS);
        }
        let new = || Used(Instant::now(), Arc::new(Verdict::new(self.config.relist)));
        let used = verdicts.entry(endpoint.key).or_insert_with(new);
        used.0 = Instant::now();
        Arc::clone(&used.1)
    }

    pub(crate) fn http_server(&self, uri: &Uri, inside: bool) -> HttpServer {
        HttpServer { clients: Arc::clone(&self.clients), uri: uri.clone(), inside, silence: self.config.silence }
    }

    /// What the server says of its tools, as of lately.
    async fn listed(&self, cx: &Cx, source: &ToolSource, endpoint: &Endpoint, peer: &Peer) -> Result<Arc<Vec<Listed>>> {
        // Told of before they are read: what changes meanwhile is read again.
        let changed = peer.session.changed.swap(false, Ordering::Relaxed);
        let known = {
            let lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
            lists
                .get(&endpoint.key)
                .filter(|used| used.0.elapsed() < self.config.relist)
                .map(|used| Arc::clone(&used.1.0))
        };
        if let Some(known) = known.filter(|_| !changed) {
            return Ok(known);
        }
        self.list(cx, source, endpoint, peer).await
    }

    async fn list(&self, cx: &Cx, source: &ToolSource, endpoint: &Endpoint, peer: &Peer) -> Result<Arc<Vec<Listed>>> {
        let tools = listing::ask(cx, peer).await?;
        let listed = Arc::new(listing::read(endpoint, &source.toolgroup, &tools)?);
        let mut lists = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        lists.remove(&endpoint.key);
        make_room(&mut lists, MOST_LISTS);
        lists.insert(endpoint.key, Used(Instant::now(), List(Arc::clone(&listed), listing::weight(&tools))));
        while lists.len() > 1 && lists.values().map(|used| used.1.1).sum::<usize>() > MOST_LISTED {
            let fewer = lists.len();
            make_room(&mut lists, fewer);
        }
        Ok(listed)
    }

    async fn called(
        &self,
        cx: &Cx,
        source: &ToolSource,
        endpoint: &Endpoint,
        call: &ToolCall,
        pause: &Arc<Pause>,
    ) -> Result<Outcome> {
        // What was asked under the client's own headers would be answered without them: they are kept nowhere.
        let asking = cx.asking.as_ref().filter(|_| !endpoint.clients_own);
        // A program answers one call at a time: while one asked, all others would wait for the person too.
        let person = asking.filter(|_| matches!(endpoint.at, At::Http { .. }));
        let person = person.and_then(|asking| asking.person.clone());
        // Whoever can wait for a person ends the call itself, at a deadline that moves meanwhile.
        let cx = &Cx { deadline: cx.deadline.filter(|_| person.is_none()), ..cx.clone() };
        let peer = self.peer(cx, endpoint, asking.is_some());
        let listed = self.listed(cx, source, endpoint, &peer).await?;
        let tool = listing::as_pinned(&listed, &call.name, source.pinned.get(&call.name));
        let tool = tool.inspect_err(|error| {
            tracing::warn!(toolgroup = source.toolgroup, tool = call.name, "{error}");
        })?;
        let arguments: Value = serde_json::from_str(&call.arguments)
            .map_err(|e| Error::new(Kind::Invalid, format!("the arguments are not valid JSON: {e}")))?;
        // The call's key, the same at every attempt: a server that keeps it does a thing once. It is the token, too, that
        // asks for news of its progress.
        let meta = json!({ "progressToken": call.id, IDEMPOTENCY_KEY: call.id });
        let mut params = object(json!({ "name": call.name, "arguments": arguments, "_meta": meta }));
        if let Some(answered) = asking.and_then(|asking| asking.answered.clone()) {
            question::answers(&mut params, answered);
        }
        let progress = Progress::of(json!(call.id), cx.news.clone(), endpoint.secrets());
        let progress = progress.asking(person, Arc::clone(pause));
        let answer = match tool.as_task {
            false => {
                let mut answer = peer.ask(cx, "tools/call", params.clone(), &progress).await;
                for _ in 0..question::MOST_LEGS {
                    let Some(state) = answer.as_ref().ok().and_then(question::later) else { break };
                    params.remove("inputResponses");
                    params.insert("requestState".into(), state.into());
                    tokio::time::sleep(question::PAUSE).await;
                    answer = peer.ask(cx, "tools/call", params.clone(), &progress).await;
                }
                answer
            }
            true => {
                params.insert("task".into(), json!({ "ttl": self.config.call.as_millis() }));
                task::call(cx, &peer, params, &progress).await
            }
        };
        if let (Ok(answer), Some(_)) = (&answer, asking)
            && question::is_one(answer)
        {
            return Ok(match question::asked(endpoint, answer) {
                Ok(request) => Outcome::NeedsInput(request),
                Err(why) => {
                    Outcome::Done(ToolResult::error(&format!("the server cannot be told what it wants: {why}")))
                }
            });
        }
        let (words, asked) = progress.told();
        let answer = match answer {
            Ok(answer) => endpoint.cleaned_value(&answer),
            Err(error) => return Err(unsure(error, words, asked)),
        };
        let mut result = result::shown(&answer, tool.output.as_ref());
        if let Some(asked) = asked {
            result.content = format!("{}\n{asked}", result.content);
        }
        result.content = endpoint.cleaned(result.content);
        if let Some(news) = &cx.news {
            news.tell(news::Word::Result(answer));
        }
        Ok(Outcome::Done(result))
    }
}

#[async_trait]
impl ToolProvider for McpTools {
    fn secret_args(&self) -> &'static [&'static str] {
        SECRETS
    }

    fn sign_in(&self) -> Option<&dyn SignIn> {
        Some(self)
    }

    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected> {
        let endpoint = Endpoint::of(&self.config, cx, source)?;
        if !source.grants.is_empty() {
            return Err(Error::invalid("args.grants", "an MCP server runs elsewhere: there is nothing to grant"));
        }
        let peer = self.peer(cx, &endpoint, false);
        let asked = tokio::time::timeout(self.config.call, self.list(cx, source, &endpoint, &peer)).await;
        let listed = asked.map_err(|_| self.too_long())?.map_err(|error| at(&endpoint, error))?;
        let mut hash = blake3::Hasher::new();
        for tool in listed.iter() {
            hash.update(tool.def.hash.as_bytes());
        }
        let hash = hash.finalize().to_hex().to_string();
        Ok(Inspected {
            tools: listed.iter().map(|tool| tool.def.clone()).collect(),
            requests: vec![],
            hash,
            ..Inspected::default()
        })
    }

    fn is_inside(&self, cx: &Cx, source: &ToolSource) -> Result<bool> {
        let endpoint = Endpoint::of(&self.config, cx, source)?;
        Ok(!matches!(endpoint.at, At::Http { inside: false, .. }))
    }

    fn one_at_a_time(&self, source: &ToolSource) -> bool {
        endpoint::is_command(&source.args)
    }

    fn asks_named(&self) -> bool {
        self.config.request_servers
    }

    /// The server hears that its session is over.
    fn leave(&self, cx: &Cx, source: &ToolSource) {
        let Ok(endpoint) = Endpoint::of(&self.config, cx, source) else { return };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        for asks in [false, true] {
            open.remove(&session(cx, &endpoint, asks));
        }
    }

    async fn call(&self, cx: &Cx, source: &ToolSource, call: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        let endpoint = Endpoint::of(&self.config, cx, source)?;
        let pause = Arc::default();
        let called = self.called(cx, source, &endpoint, call, &pause);
        let called = Box::pin(pause.within(self.config.call, called)).await;
        called.ok_or_else(|| self.too_long())?.map_err(|error| at(&endpoint, error))
    }
}

impl McpTools {
    fn too_long(&self) -> Error {
        let seconds = self.config.call.as_secs();
        Error::new(Kind::Timeout, format!("the server was at it for {seconds} s; whether it did its work is not known"))
    }
}

/// An error that says where, and shows no secret that a server repeated.
fn at(endpoint: &Endpoint, error: Error) -> Error {
    let message = match error.kind {
        Kind::Upstream | Kind::Timeout | Kind::Conflict => {
            format!("MCP server {}: {}", endpoint.shown(), error.message)
        }
        _ => error.message.clone(),
    };
    // Who calls goes on with its turn whatever becomes of a server.
    Error { message: endpoint.cleaned(message), code: error.code.filter(|code| code != UNSURE), ..error }
}

/// A call without an answer may have been done.
fn unsure(mut error: Error, progress: Option<String>, asked: Option<String>) -> Error {
    let gone = error.kind == Kind::Timeout || error.code.as_deref() == Some(UNSURE);
    if let Some(asked) = asked {
        error.message = format!("{} {asked}", error.message);
    }
    if !gone {
        return error;
    }
    let progress = progress.map(|said| format!(" (it last said: {said})")).unwrap_or_default();
    let message = format!("{}{progress}; whether the call did its work is not known", error.message);
    Error { message, ..error }.with_code(OUTCOME_UNKNOWN)
}

/// One for a conversation. Outside of any, and where only the client says which it is, one for a key and its customer.
/// Whether a person can be asked is said when it is opened. A command is one process for all of them.
fn session(cx: &Cx, endpoint: &Endpoint, asks: bool) -> [u8; 32] {
    if matches!(endpoint.at, At::Stdio(_)) {
        return endpoint.key;
    }
    let whose = cx.session.as_deref().or(cx.turn.as_deref()).unwrap_or_default();
    let owner = cx.customer.as_ref().map(Customer::owner);
    let asker = cx.turn.is_none().then(|| json!([cx.principal.key_id, owner]));
    let whose = json!([whose, asker, asks]).to_string();
    *blake3::keyed_hash(&endpoint.key, whose.as_bytes()).as_bytes()
}

/// Lets go of the one that was of no use for longest, where there is no room.
fn make_room<T>(kept: &mut Kept<T>, most: usize) {
    if kept.len() < most {
        return;
    }
    let oldest = kept.iter().min_by_key(|(_, used)| used.0).map(|(key, _)| *key);
    if let Some(oldest) = oldest {
        kept.remove(&oldest);
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn those_who_share_no_conversation_share_no_session() {
        let source = ToolSource { args: json!({ "mcp_endpoint": { "uri": "https://h/" } }), ..ToolSource::default() };
        let config = Config::read(json!({})).expect("a configuration");
        let with = |cx: &Cx, asks| session(cx, &Endpoint::of(&config, cx, &source).expect("an endpoint"), asks);
        let of = |cx: &Cx| with(cx, false);
        // What it may ask is said to a server once.
        assert_ne!(with(&Cx::internal("t", "r"), true), of(&Cx::internal("t", "r")));
        let customer = |sub: &str| Some(Customer { sub: sub.into(), ..Customer::default() });
        let plain = Cx::internal("t", "r");
        let mut other_key = plain.clone();
        other_key.principal.key_id = "key_2".into();
        let ann = Cx { customer: customer("ann"), ..plain.clone() };
        let bob = Cx { customer: customer("bob"), ..plain.clone() };
        // A name that clients choose is no proof.
        let anns = Cx { session: Some("s".into()), ..ann.clone() };
        let bobs = Cx { session: Some("s".into()), ..bob.clone() };
        let turn = Cx { session: Some("s".into()), turn: Some("turn_1".into()), ..plain.clone() };
        let all: HashMap<_, _> =
            [&plain, &other_key, &ann, &bob, &anns, &bobs, &turn].into_iter().map(|cx| (of(cx), ())).collect();
        assert_eq!(all.len(), 7);
        // A conversation goes on, whoever's key the next turn comes with.
        assert_eq!(of(&turn), of(&Cx { turn: Some("turn_2".into()), principal: other_key.principal, ..turn.clone() }));
        assert_eq!(of(&ann), of(&ann));
    }
}
