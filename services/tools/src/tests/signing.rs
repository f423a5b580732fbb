//! Groups that have to be let in, over a provider whose server counts who comes in how.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use frontdesk_api::{
    Kind, SignIn,
    sign_in::{Ask, Begun, Brought, Signed, Unauthorized},
};
use tokio::sync::Notify;

use super::*;

/// Lets in whoever has the token that it gave last.
#[derive(Default)]
struct Closed {
    given: AtomicUsize,
    /// Renewing waits for a word.
    slow: bool,
    begun: Notify,
    word: Notify,
    /// It renews nothing any more.
    revoked: std::sync::atomic::AtomicBool,
    called: AtomicUsize,
}

impl Closed {
    fn give(&self) -> Signed {
        let n = self.given.fetch_add(1, Ordering::SeqCst) + 1;
        let kept = SecretArgs(json!({ "token": format!("token-{n}") }).as_object().expect("an object").clone());
        Signed { kept, expires_in: Some(Duration::from_secs(3600)) }
    }

    fn check(&self, source: &ToolSource) -> Result<()> {
        let newest = format!("token-{}", self.given.load(Ordering::SeqCst));
        match &source.signed {
            Some(kept) if kept.0["token"] == json!(newest) => Ok(()),
            _ => Err(Unauthorized::error("nobody lets you in", None)),
        }
    }
}

#[async_trait]
impl ToolProvider for Closed {
    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected> {
        self.check(source)?;
        Shop::default().inspect(cx, source).await
    }

    fn secret_args(&self) -> &'static [&'static str] {
        &["password"]
    }

    fn sign_in(&self) -> Option<&dyn SignIn> {
        Some(self)
    }

    async fn call(&self, _: &Cx, source: &ToolSource, _: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        self.check(source)?;
        self.called.fetch_add(1, Ordering::SeqCst);
        Ok(Outcome::Done(ToolResult { content: "done".into(), is_error: false, details: None }))
    }
}

#[async_trait]
impl SignIn for Closed {
    fn secret_name(&self, _: &ToolSource) -> Option<String> {
        None
    }

    async fn begin(&self, _: &Cx, _: &ToolSource, _: Option<&Secret>, ask: Ask<'_>) -> Result<Begun> {
        let kept = SecretArgs(json!({ "proof": "p" }).as_object().expect("an object").clone());
        Ok(Begun { url: format!("{}?state={}", ask.redirect_uri, ask.state), kept })
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
        if brought.code == "good" { Ok(self.give()) } else { Err(Error::upstream("a bad code")) }
    }

    async fn alone(&self, _: &Cx, _: &ToolSource, _: Option<&Secret>) -> Result<Option<Signed>> {
        Ok(None)
    }

    async fn renew(&self, _: &Cx, _: &ToolSource, _: Option<&Secret>, _: &SecretArgs) -> Result<Signed> {
        if self.slow {
            self.begun.notify_one();
            self.word.notified().await;
        }
        if self.revoked.load(Ordering::SeqCst) {
            return Err(Unauthorized::error("invalid_grant", None));
        }
        Ok(self.give())
    }
}

fn at_the_door(store: Store, closed: &Arc<Closed>) -> Registry {
    let provider: Arc<dyn ToolProvider> = closed.clone();
    let mut registry = over(store, Arc::new(Shop::default()));
    registry.setting.providers.insert("closed".to_owned(), provider);
    registry
}

fn registration() -> Registration {
    let approval = Override { risk: Some(Risk::ApprovalRequired), ..Override::default() };
    Registration {
        toolgroup_id: "shop".into(),
        provider_id: "closed".into(),
        args: json!({ "password": "sesame" }).as_object().expect("an object").clone(),
        tools: BTreeMap::from([("refund".to_owned(), approval)]),
        ..Registration::default()
    }
}

/// A person is sent there and comes back with a good code.
async fn let_in(registry: &Registry, cx: &Cx) -> Result<Landed> {
    let url = registry.authorize(cx, "shop", "https://desk/back").await.expect("an address");
    let state = url.strip_prefix("https://desk/back?state=").expect("a state");
    registry.land("req", state, Ok(Brought { code: "good".into(), iss: None })).await
}

async fn look(registry: &Registry, cx: &Cx) -> ToolResult {
    done(registry.invoke(cx, "shop/look", &Map::new(), "key").await)
}

fn problem(group: &Group) -> Option<&str> {
    group.authorization.as_ref().expect("it has to be let in").problem.as_deref()
}

#[tokio::test]
async fn a_group_waits_with_what_was_said_of_its_tools_until_a_person_comes_back() {
    each_database(|store| async move {
        let (cx, other) = two_tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store.clone(), &closed);
        let group = registry.register(&cx, registration()).await.expect("registered");
        assert_eq!(problem(&group), Some("nobody has signed in yet"));
        assert_eq!(registry.list_tools(&cx, Some("shop")).await.expect("a list"), []);
        assert_eq!(registry.authorize(&other, "shop", "x").await.expect_err("not theirs").kind, Kind::NotFound);

        let url = registry.authorize(&cx, "shop", "https://desk/back").await.expect("an address");
        let state = url.strip_prefix("https://desk/back?state=").expect("a state");
        assert!(state.len() >= 43, "too easily guessed: {state}");
        for (state, brought) in [(state, Err("access_denied".to_owned())), (state, Ok("good")), ("guess", Ok("good"))] {
            let brought = brought.map(|code| Brought { code: code.into(), iss: None });
            registry.land("req", state, brought).await.expect_err("once, and by whom it was given to");
        }
        let stands = registry.load_group(&cx, "shop").await.expect("the group");
        assert_eq!(problem(&stands), Some("access_denied"));

        // Another process, which has only the rows.
        let elsewhere = at_the_door(store.clone(), &closed);
        let landed = let_in(&elsewhere, &cx).await.expect("let in");
        assert_eq!(problem(&landed.group), None);
        let tools = registry.list_tools(&cx, Some("shop")).await.expect("a list");
        let risks: Vec<_> = tools.iter().map(|(def, _)| (def.name.as_str(), def.risk)).collect();
        assert_eq!(risks, [("look", Risk::LowImpactWrite), ("refund", Risk::ApprovalRequired)]);
        assert_eq!(look(&registry, &cx).await.content, "done");
        let row = store.tenant(&cx).find_sign_in("shop").await.expect("asked").expect("there");
        // `Turned` shows what it was sealed for.
        assert!(row.sealed.expect("tokens").starts_with(format!("sign_in/{}/shop", cx.tenant).as_bytes()));
        let changes = registry.changes(&cx, "shop", &PageRequest::default()).await.expect("a page").items;
        assert_eq!(changes.len(), 2, "registered, and again when it was let in");
        registry.delete_group(&cx, "shop").await.expect("deleted");
        assert_eq!(store.tenant(&cx).list_sign_ins().await.expect("a list"), []);
    })
    .await;
}

#[tokio::test]
async fn many_calls_at_many_processes_renew_once_and_a_dropped_one_does_not_lose_it() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let closed = Arc::new(Closed { slow: true, ..Closed::default() });
        let (one, two) = (at_the_door(store.clone(), &closed), at_the_door(store.clone(), &closed));
        one.register(&cx, registration()).await.expect("registered");
        let_in(&one, &cx).await.expect("let in");
        // The server forgets it.
        closed.given.fetch_add(1, Ordering::SeqCst);
        {
            let dropped = look(&one, &cx);
            tokio::select! {
                _ = dropped => panic!("it waits"),
                () = closed.begun.notified() => {}
            }
        }
        let word = async {
            tokio::task::yield_now().await;
            closed.word.notify_one();
        };
        let (a, b, c, ()) = tokio::join!(look(&one, &cx), look(&two, &cx), look(&two, &cx), word);
        assert_eq!([a.content, b.content, c.content], ["done", "done", "done"]);
        assert_eq!(closed.given.load(Ordering::SeqCst), 3, "given, forgotten, renewed once");
    })
    .await;
}

#[tokio::test]
async fn a_refused_renewal_asks_for_a_person_and_says_so() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let closed = Arc::new(Closed::default());
        let registry = at_the_door(store, &closed);
        registry.register(&cx, registration()).await.expect("registered");
        let_in(&registry, &cx).await.expect("let in");
        closed.given.fetch_add(1, Ordering::SeqCst);
        closed.revoked.store(true, Ordering::SeqCst);
        for _ in 0..2 {
            let refused = look(&registry, &cx).await;
            let says =
                refused.content.contains("invalid_grant") && refused.content.contains("/v1/toolgroups/shop/authorize");
            assert!(refused.is_error && says, "{}", refused.content);
        }
        assert_eq!(closed.called.load(Ordering::SeqCst), 0);
        let group = registry.load_group(&cx, "shop").await.expect("the group");
        assert_eq!(problem(&group), Some("invalid_grant"));
        // Somebody signs in, and the tools are those that were pinned.
        let landed = let_in(&registry, &cx).await.expect("let in");
        assert_eq!(problem(&landed.group), None);
        assert_eq!(look(&registry, &cx).await.content, "done");
        let nowhere = Registration { toolgroup_id: "open".into(), provider_id: "shop".into(), ..registration() };
        registry.register(&cx, nowhere).await.expect("registered");
        let refused = registry.authorize(&cx, "open", "x").await.expect_err("nothing to sign in at");
        assert_eq!(refused.code.as_deref(), Some("no_sign_in"));
    })
    .await;
}
