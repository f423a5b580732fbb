//! A group, or a secret of its, that is changed while one of its tools runs: what holds for that call, and what for the next.

use frontdesk_api::tools::{Credential, CredentialPlace};
use tokio::sync::Semaphore;

use super::*;

/// Offers `ask`, which waits to be let go and then asks `b.example`, with the group's secret where it has one; answers with
/// what came of it, and its grants.
struct Waits {
    entered: Semaphore,
    open: Semaphore,
}

impl Waits {
    fn new() -> Arc<Self> {
        Arc::new(Self { entered: Semaphore::new(0), open: Semaphore::new(0) })
    }
}

#[async_trait]
impl ToolProvider for Waits {
    async fn inspect(&self, _: &Cx, _: &ToolSource) -> Result<Inspected> {
        let ask = ToolDef {
            name: "ask".into(),
            wire_name: "ask".into(),
            toolgroup: String::new(),
            description: String::new(),
            schema: json!({ "type": "object" }),
            runs: Runs::Server,
            effect: Effect::Unsafe,
            risk: Risk::Read,
            bound_args: BTreeMap::new(),
            alone: false,
            hash: String::new(),
        };
        Ok(Inspected { tools: vec![ask], hash: "h".into(), ..Inspected::default() })
    }

    async fn call(&self, _: &Cx, source: &ToolSource, _: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        self.entered.add_permits(1);
        self.open.acquire().await.expect("it is opened").forget();
        let with = source.args["secrets"].as_array().into_iter().flatten();
        let credential = |name: &Value| Credential {
            secret: name.as_str().expect("a name").to_owned(),
            place: CredentialPlace::Header,
            name: "X-Key".into(),
            prefix: String::new(),
            base64: false,
        };
        let request = FetchRequest {
            method: "GET".into(),
            url: "https://b.example/".into(),
            credentials: with.map(credential).collect(),
            ..FetchRequest::default()
        };
        let came = host.fetch(request).await.map_or_else(|error| error.message, |answer| answer.status.to_string());
        let content = format!("{came}; granted {}", source.grants.join(", "));
        Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }))
    }
}

/// Every host answers, and what it was sent as a key is remembered.
#[derive(Default)]
struct Anywhere(Mutex<Vec<String>>);

#[async_trait]
impl Egress for Anywhere {
    async fn send(&self, _: &Cx, outbound: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        let key = outbound.headers.into_iter().find(|(name, _)| name == "X-Key");
        self.0.lock().expect("the keys").extend(key.map(|(_, value)| value));
        Ok(OutboundAnswer { status: 200, ..OutboundAnswer::default() })
    }
}

/// One secret, or none by now.
struct Kept(Mutex<Option<&'static str>>);

#[async_trait]
impl Secrets for Kept {
    async fn find(&self, _: &Cx, _: &str) -> Result<Option<Secret>> {
        let hosts = vec!["b.example".parse().expect("a rule")];
        Ok(self.0.lock().expect("the secret").map(|value| Secret { value: value.to_owned(), hosts }))
    }
}

async fn register(registry: &Registry, cx: &Cx, args: Value) {
    let registration = Registration {
        toolgroup_id: "group".into(),
        provider_id: "waits".into(),
        args: args.as_object().expect("an object").clone(),
        ..Registration::default()
    };
    registry.register(cx, registration).await.expect("registered");
}

async fn call(registry: &Registry, cx: &Cx) -> String {
    let call = ToolCall { id: "c".into(), name: "ask".into(), arguments: "{}".into() };
    done(registry.call(cx, &["group".to_owned()], &call, "key", false).await).content
}

/// What a call comes to during which `change` is made.
async fn amid(registry: &Registry, cx: &Cx, provider: &Waits, change: impl Future<Output = ()>) -> String {
    let changing = async {
        provider.entered.acquire().await.expect("it runs").forget();
        change.await;
        provider.open.add_permits(1);
    };
    tokio::join!(call(registry, cx), changing).0
}

#[tokio::test]
async fn what_is_granted_while_a_call_runs_holds_for_the_next() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let provider = Waits::new();
        let egress = Arc::new(Anywhere::default());
        let registry = Registry::new(Setting { egress, ..setting(store, "waits", provider.clone()) });
        register(&registry, &cx, json!({ "hosts": ["a.example"], "grants": ["log"] })).await;
        let widened =
            register(&registry, &cx, json!({ "hosts": ["a.example", "b.example"], "grants": ["log", "fetch"] }));
        let refused = "https://b.example is not a host that this tool may ask; there are: a.example; granted log";
        assert_eq!(amid(&registry, &cx, &provider, widened).await, refused);
        provider.open.add_permits(1);
        assert_eq!(call(&registry, &cx).await, "200; granted log, fetch");
    })
    .await;
}

/// A call is one piece of work, done by what held when it began: it lasts seconds, and nothing of it is half allowed.
#[tokio::test]
async fn what_is_taken_away_while_a_call_runs_is_gone_for_the_next() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let provider = Waits::new();
        let egress = Arc::new(Anywhere::default());
        let registry = Registry::new(Setting { egress, ..setting(store, "waits", provider.clone()) });
        let all = json!({ "hosts": ["b.example"], "grants": ["log", "fetch"] });
        register(&registry, &cx, all.clone()).await;
        // A host.
        let narrowed = register(&registry, &cx, json!({ "hosts": ["a.example"], "grants": ["log", "fetch"] }));
        assert_eq!(amid(&registry, &cx, &provider, narrowed).await, "200; granted log, fetch");
        provider.open.add_permits(1);
        let refused =
            "https://b.example is not a host that this tool may ask; there are: a.example; granted log, fetch";
        assert_eq!(call(&registry, &cx).await, refused);
        // A grant.
        register(&registry, &cx, all.clone()).await;
        let fewer = register(&registry, &cx, json!({ "hosts": ["b.example"], "grants": ["log"] }));
        assert_eq!(amid(&registry, &cx, &provider, fewer).await, "200; granted log, fetch");
        provider.open.add_permits(1);
        assert_eq!(call(&registry, &cx).await, "200; granted log");
        // All of it: nothing more begins, and no provider is asked.
        register(&registry, &cx, all).await;
        let off = async { assert!(registry.set_disabled(&cx, "group", true).await.expect("off").disabled) };
        assert_eq!(amid(&registry, &cx, &provider, off).await, "200; granted log, fetch");
        let before = provider.entered.available_permits();
        assert!(call(&registry, &cx).await.contains("switched off"));
        assert_eq!(provider.entered.available_permits(), before);
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_what_it_is_when_the_request_goes_out() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let provider = Waits::new();
        let (egress, secrets) = (Arc::new(Anywhere::default()), Arc::new(Kept(Mutex::new(Some("old")))));
        let registry = Registry::new(Setting {
            egress: egress.clone(),
            secrets: secrets.clone(),
            ..setting(store, "waits", provider.clone())
        });
        register(&registry, &cx, json!({ "hosts": ["b.example"], "grants": ["fetch"], "secrets": ["crm"] })).await;
        let becomes = async |value| *secrets.0.lock().expect("the secret") = value;
        assert_eq!(amid(&registry, &cx, &provider, becomes(Some("new"))).await, "200; granted fetch");
        let gone = "there is no secret 'crm' any more: an admin has to put it back; granted fetch";
        assert_eq!(amid(&registry, &cx, &provider, becomes(None)).await, gone);
        assert_eq!(*egress.0.lock().expect("the keys"), ["new"], "neither the old one nor none");
    })
    .await;
}
