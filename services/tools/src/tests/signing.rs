//! Groups that have to be let in, over a provider whose server counts who comes in how.

mod landing;
mod registering;
mod renewing;

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use frontdesk_api::{
    Kind, Scope, SignIn,
    sign_in::{Ask, Begun, Brought, Signed, Unauthorized, Way},
};
use frontdesk_store::NewKey;
use tokio::sync::Notify;

use super::*;

/// Lets in whoever has the token that it gave last.
struct Closed {
    given: AtomicUsize,
    /// Renewing waits for a word.
    slow: bool,
    begun: Notify,
    word: Notify,
    /// The client signs in by itself.
    alone: bool,
    /// Why no tokens are given any more; `invalid_grant` is the one that counts.
    refuses: Mutex<Option<&'static str>>,
    /// Everyone is let in.
    open: AtomicBool,
    /// Whatever anyone has, calls are refused, for want of this scope.
    wants: Mutex<Option<&'static str>>,
    /// Whatever anyone has, calls are refused.
    stubborn: AtomicBool,
    called: AtomicUsize,
    /// The registration of this server is none any more.
    gone: Mutex<Option<&'static str>>,
    /// Tokens are given to no client of this name.
    barred: Mutex<Option<&'static str>>,
    /// How often anyone asked for tokens.
    asked: AtomicUsize,
    clock: Arc<FixedClock>,
}

impl Default for Closed {
    fn default() -> Self {
        Self {
            given: AtomicUsize::default(),
            slow: false,
            begun: Notify::default(),
            word: Notify::default(),
            alone: false,
            refuses: Mutex::default(),
            open: AtomicBool::default(),
            wants: Mutex::default(),
            stubborn: AtomicBool::default(),
            called: AtomicUsize::default(),
            gone: Mutex::default(),
            barred: Mutex::default(),
            asked: AtomicUsize::default(),
            clock: Arc::new(FixedClock::at(0)),
        }
    }
}

impl Closed {
    fn give(&self, source: &ToolSource) -> Result<Signed> {
        let server = server(source);
        self.asked.fetch_add(1, Ordering::SeqCst);
        if source
            .args
            .get("client")
            .and_then(Value::as_str)
            .is_some_and(|client| *self.barred.lock().expect("a name") == Some(client))
        {
            return Err(Error::upstream("invalid_client"));
        }
        match *self.refuses.lock().expect("why") {
            Some("invalid_grant") => return Err(Unauthorized::error("invalid_grant", None)),
            Some(why) => return Err(Error::upstream(why)),
            None => {}
        }
        let n = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let kept = object(json!({ "token": format!("token-{n}"), "server": server }));
        Ok(Signed { kept, expires_in: Some(Duration::from_secs(3600)), issuer: "https://issuer".into() })
    }

    fn check(&self, source: &ToolSource) -> Result<()> {
        if self.open.load(Ordering::SeqCst) {
            return Ok(());
        }
        let newest = format!("token-{}", self.given.load(Ordering::SeqCst));
        match &source.signed {
            Some(kept) if kept.0["token"] == json!(newest) => Ok(()),
            _ => Err(Unauthorized::error("nobody lets you in", None)),
        }
    }

    /// Some time after it gave something the server forgets it.
    fn forget(&self) {
        self.clock.pass(60 * 1_000_000);
        self.given.fetch_add(1, Ordering::SeqCst);
    }

    fn refuse(&self, why: Option<&'static str>) {
        *self.refuses.lock().expect("why") = why;
    }
}

fn object(value: Value) -> SecretArgs {
    SecretArgs(value.as_object().expect("an object").clone())
}

/// The server that a registration names.
fn server(source: &ToolSource) -> &str {
    source.args["server"].as_str().unwrap_or("home")
}

#[async_trait]
impl ToolProvider for Closed {
    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected> {
        // Whoever brings their own is let in.
        if cx.client_keys.get("own").is_none() && !source.secrets.0.contains_key("badge") {
            self.check(source)?;
        }
        Shop::default().inspect(cx, source).await
    }

    fn secret_args(&self) -> &'static [&'static str] {
        &["password", "badge"]
    }

    fn sign_in(&self) -> Option<&dyn SignIn> {
        Some(self)
    }

    async fn call(&self, cx: &Cx, source: &ToolSource, _: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        if let Some(scope) = *self.wants.lock().expect("a scope") {
            return Err(Unauthorized::error("more, says the server", Some(scope.to_owned())));
        }
        if self.stubborn.load(Ordering::SeqCst) {
            return Err(Unauthorized::error("not you, says the server", None));
        }
        if cx.client_keys.get("own").is_none() && !source.secrets.0.contains_key("badge") {
            self.check(source)?;
        }
        self.called.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Done(ToolResult { content: "done".into(), is_error: false, details: None }))
    }
}

#[async_trait]
impl SignIn for Closed {
    fn way(&self, cx: &Cx, source: &ToolSource) -> Result<Way> {
        if *self.gone.lock().expect("a server") == Some(server(source)) {
            return Err(Error::invalid("uri", "no such server"));
        }
        let own = cx.client_keys.get("own").is_some() || source.secrets.0.contains_key("badge");
        Ok(if own {
            Way::Otherwise
        } else if self.alone {
            Way::Alone
        } else {
            Way::Person
        })
    }

    fn fits(&self, source: &ToolSource, kept: &SecretArgs) -> bool {
        kept.0["server"] == json!(server(source)) && !source.secrets.0.contains_key("badge")
    }

    fn secret_name(&self, _: &ToolSource) -> Option<String> {
        None
    }

    async fn begin(&self, _: &Cx, source: &ToolSource, _: Option<&Secret>, ask: Ask<'_>) -> Result<Begun> {
        let known = |kept: Option<&SecretArgs>, name| kept.is_some_and(|kept| kept.0.contains_key(name));
        let (kept, tried) = (known(ask.kept, "token"), known(ask.tried, "proof"));
        let scope = ask.scope.unwrap_or_default();
        let url = format!("https://issuer/authorize?state={}&kept={kept}&tried={tried}&scope={scope}", ask.state);
        let kept = object(json!({ "proof": "p" }));
        Ok(Begun { url, kept, server: server(source).into(), issuer: "https://issuer".into() })
    }

    async fn finish(
        &self,
        _: &Cx,
        source: &ToolSource,
        _: Option<&Secret>,
        begun: &SecretArgs,
        brought: &Brought,
    ) -> Result<Signed> {
        assert_eq!((&begun.0["proof"], &source.secrets.0["password"]), (&json!("p"), &json!("sesame")));
        if brought.code == "good" { self.give(source) } else { Err(Error::upstream("a bad code")) }
    }

    async fn alone(&self, _: &Cx, source: &ToolSource, _: Option<&Secret>) -> Result<Option<Signed>> {
        if self.alone { self.give(source).map(Some) } else { Ok(None) }
    }

    async fn renew(&self, _: &Cx, source: &ToolSource, _: Option<&Secret>, _: &SecretArgs) -> Result<Signed> {
        if self.slow {
            self.begun.notify_one();
            self.word.notified().await;
        }
        self.give(source)
    }
}

fn at_the_door(store: Store, closed: &Arc<Closed>) -> Registry {
    let provider: Arc<dyn ToolProvider> = closed.clone();
    let mut registry = over(store, Arc::new(Shop::default()));
    registry.setting.providers.insert("closed".to_owned(), provider);
    registry.setting.clock = closed.clock.clone();
    registry
}

fn registration() -> Registration {
    let approval = Override { risk: Some(Risk::ApprovalRequired), ..Override::default() };
    Registration {
        toolgroup_id: "shop".into(),
        provider_id: "closed".into(),
        args: object(json!({ "password": "sesame" })).0,
        tools: BTreeMap::from([("refund".to_owned(), approval)]),
        ..Registration::default()
    }
}

/// As [`registration`], with other members.
fn otherwise(args: Value) -> Registration {
    Registration { args: object(args).0, ..registration() }
}

/// A tenant whose key opens, and another.
async fn tenants(store: &Store) -> (Cx, Cx) {
    let (cx, other) = two_tenants(store).await;
    let key = NewKey {
        id: cx.principal.key_id.clone(),
        name: "k".into(),
        hash: [7; 32],
        scopes: vec![Scope::Write],
        created_at: 0,
        expires_at: None,
    };
    store.tenant(&cx).add_key(&key).await.expect("a key");
    (cx, other)
}

/// A person is sent there.
async fn set_out(registry: &Registry, cx: &Cx) -> (String, String) {
    let place = registry.sign_in_place(cx, "shop");
    let state = registry.authorize(cx, "shop", &format!("https://desk/{place}")).await.expect("a state");
    (place, state)
}

/// They come back with this code, in the browser in which they said yes.
async fn come_back(registry: &Registry, place: &str, state: &str, code: &str) -> Result<Landed> {
    let cookie = registry.visit(place, state).await.map(|visit| visit.cookie).ok();
    let brought = Ok(Brought { code: code.into(), iss: None });
    registry.land("req", place, state, cookie.as_deref(), brought).await
}

async fn let_in(registry: &Registry, cx: &Cx) -> Result<Landed> {
    let (place, state) = set_out(registry, cx).await;
    come_back(registry, &place, &state, "good").await
}

async fn look(registry: &Registry, cx: &Cx) -> ToolResult {
    done(registry.invoke(cx, "shop/look", &Map::new(), "key").await)
}

fn problem(group: &Group) -> Option<&str> {
    group.authorization.as_ref().expect("it has to be let in").problem.as_deref()
}

async fn standing(registry: &Registry, cx: &Cx) -> Option<String> {
    let group = registry.load_group(cx, "shop").await.expect("the group");
    group.authorization.expect("it has to be let in").problem
}

/// What happened to the group, in no order: ids order by the millisecond.
async fn actions(registry: &Registry, cx: &Cx) -> Vec<String> {
    let changes = registry.changes(cx, "shop", &PageRequest::default()).await.expect("a page").items;
    let mut actions: Vec<String> = changes.into_iter().map(|change| change.action).collect();
    actions.sort_unstable();
    actions
}
