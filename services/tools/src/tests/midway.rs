//! A group registered anew while one of its tools runs: what holds for that call, and what for the next.

use tokio::sync::Semaphore;

use super::*;

/// Offers `ask`, which waits to be let go and then asks `b.example`; answers with what came of it, and its grants.
struct Waits {
    entered: Semaphore,
    open: Semaphore,
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
        let request =
            FetchRequest { method: "GET".into(), url: "https://b.example/".into(), ..FetchRequest::default() };
        let came = host.fetch(request).await.map_or_else(|error| error.message, |answer| answer.status.to_string());
        let content = format!("{came}; granted {}", source.grants.join(", "));
        Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }))
    }
}

/// Every host answers.
struct Anywhere;

#[async_trait]
impl Egress for Anywhere {
    async fn send(&self, _: &Cx, _: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        Ok(OutboundAnswer { status: 200, ..OutboundAnswer::default() })
    }
}

#[tokio::test]
async fn what_is_granted_while_a_call_runs_holds_for_the_next() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let provider = Arc::new(Waits { entered: Semaphore::new(0), open: Semaphore::new(0) });
        let registry =
            Registry::new(Setting { egress: Arc::new(Anywhere), ..setting(store, "waits", provider.clone()) });
        let register = async |hosts: &[&str], grants: &[&str]| {
            let args = json!({ "hosts": hosts, "grants": grants });
            let registration = Registration {
                toolgroup_id: "group".into(),
                provider_id: "waits".into(),
                args: args.as_object().expect("an object").clone(),
                ..Registration::default()
            };
            registry.register(&cx, registration).await.expect("registered");
        };
        let groups = ["group".to_owned()];
        let call = async || {
            let call = ToolCall { id: "c".into(), name: "ask".into(), arguments: "{}".into() };
            done(registry.call(&cx, &groups, &call, "key", false).await).content
        };
        register(&["a.example"], &["log"]).await;
        let widened = async {
            provider.entered.acquire().await.expect("it runs").forget();
            register(&["a.example", "b.example"], &["log", "fetch"]).await;
            provider.open.add_permits(1);
        };
        let (running, ()) = tokio::join!(call(), widened);
        let refused = "https://b.example is not a host that this tool may ask; there are: a.example; granted log";
        assert_eq!(running, refused);
        provider.open.add_permits(1);
        assert_eq!(call().await, "200; granted log, fetch");
    })
    .await;
}
