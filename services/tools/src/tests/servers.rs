//! Servers that requests name themselves, at a provider that remembers what it was called with.

use std::collections::BTreeSet;

use frontdesk_api::{
    Kind, Scope,
    servers::{Filter, Server},
};
use serde_json::Value;

use super::*;

/// What came with a call: arguments, secrets, what was pinned.
type Called = (Value, SecretArgs, BTreeMap<String, String>);

/// Lists `look`, which it says only reads, and `cancel`; stands inside where its address says so.
#[derive(Default)]
struct Elsewhere {
    called: Mutex<Vec<Called>>,
    left: Mutex<Vec<String>>,
}

#[async_trait]
impl ToolProvider for Elsewhere {
    async fn inspect(&self, _: &Cx, source: &ToolSource) -> Result<Inspected> {
        let believed = source.args["trust_annotations"] == true;
        let tool = |name: &str, effect| -> ToolDef {
            let schema = json!({ "type": "object", "properties": { "id": { "type": "integer" } } });
            let def = json!({ "name": name, "wire_name": format!("shop.{name}"), "toolgroup": source.toolgroup,
                              "description": "", "schema": schema, "hash": format!("hash of {name}") });
            let risk = match effect {
                Effect::None => Risk::Read,
                _ if name == "cancel" => Risk::ApprovalRequired,
                _ => Risk::LowImpactWrite,
            };
            ToolDef { effect, risk, ..serde_json::from_value(def).expect("a tool") }
        };
        let look = if believed { Effect::None } else { Effect::Unsafe };
        Ok(Inspected { tools: vec![tool("look", look), tool("cancel", Effect::Unsafe)], ..Inspected::default() })
    }

    fn is_inside(&self, _: &Cx, source: &ToolSource) -> Result<bool> {
        let uri = source.args["mcp_endpoint"]["uri"].as_str().unwrap_or_default();
        if uri.starts_with("http://outside") {
            return Err(Error::invalid("mcp_endpoint.uri", "mcp_endpoint.uri must begin with https://"));
        }
        Ok(uri.contains("inside"))
    }

    fn leave(&self, _: &Cx, source: &ToolSource) {
        self.left.lock().expect("what was left").push(source.toolgroup.clone());
    }

    async fn call(&self, _: &Cx, source: &ToolSource, call: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        let arguments = serde_json::from_str(&call.arguments).expect("the registry reads them first");
        let with = (arguments, source.secrets.clone(), source.pinned.clone());
        self.called.lock().expect("the calls").push(with);
        Ok(Outcome::Done(ToolResult { content: call.name.clone(), is_error: false, details: None }))
    }
}

async fn with_servers(store: Store) -> (Registry, Arc<Elsewhere>, Cx, Cx) {
    let (cx, other) = two_tenants(&store).await;
    let elsewhere = Arc::new(Elsewhere::default());
    let provider: Arc<dyn ToolProvider> = elsewhere.clone();
    let mut registry = over(store, Arc::default());
    registry.setting.providers.insert("mcp".into(), provider);
    registry.setting.servers = Some("mcp".into());
    (registry, elsewhere, cx, other)
}

fn at(url: &str) -> Server {
    Server { label: "shop".into(), url: Some(url.into()), ..Server::default() }
}

fn secrets(value: Value) -> SecretArgs {
    let Value::Object(members) = value else { panic!("an object") };
    SecretArgs(members)
}

#[tokio::test]
async fn a_server_is_called_as_it_was_listed_with_what_was_sealed_for_it() {
    each_database(|store| async move {
        let (registry, elsewhere, cx, _) = with_servers(store).await;
        let given = secrets(json!({ "authorization": "tok-1" }));
        let server = registry.take_server(&cx, at("https://h/mcp"), given.clone()).await.expect("a server");
        let sealed = server.sealed.clone().expect("sealed");
        assert!(!String::from_utf8_lossy(&sealed).contains("tok-1"));
        let tools = registry.list_server(&cx, &server).await.expect("its tools");
        // What it says of itself is told, and lowers no risk.
        let said: Vec<_> = tools.iter().map(|tool| (tool.name.as_str(), tool.effect, tool.risk)).collect();
        assert_eq!(
            said,
            [("look", Effect::None, Risk::LowImpactWrite), ("cancel", Effect::Unsafe, Risk::ApprovalRequired)]
        );
        let call = |arguments: &str| ToolCall { id: "c".into(), name: "cancel".into(), arguments: arguments.into() };
        let made = registry.call_server(&cx, &server, &tools[1], &call("{\"id\":7}"), "key").await;
        assert_eq!(done(made).content, "shop.cancel");
        let pinned = BTreeMap::from([("shop.cancel".to_owned(), "hash of cancel".to_owned())]);
        assert_eq!(*elsewhere.called.lock().expect("the calls"), [(json!({ "id": 7 }), given, pinned)]);
        let wrong = registry.call_server(&cx, &server, &tools[1], &call("{\"id\":\"x\"}"), "key").await;
        assert!(done(wrong).is_error);
        registry.leave_server(&cx, &server);
        assert_eq!(*elsewhere.left.lock().expect("what was left"), ["request shop"]);
        // A choice, by the server's names or by what it says.
        for (allowed, want) in [
            (Filter { names: Some(vec!["shop.cancel".into()]), read_only: None }, "cancel"),
            (Filter { names: None, read_only: Some(true) }, "look"),
        ] {
            let tools = registry.list_server(&cx, &Server { allowed, ..server.clone() }).await.expect("its tools");
            assert_eq!(tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), [want]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_program_is_no_server_and_one_inside_is_for_those_who_might_register_it() {
    each_database(|store| async move {
        let (registry, _, cx, _) = with_servers(store).await;
        let mut user = cx.clone();
        user.principal.scopes = BTreeSet::from([Scope::Use]);
        let refused = async |cx: &Cx, url: &str| {
            let error = registry.take_server(cx, at(url), SecretArgs::default()).await.expect_err(url);
            (error.kind, error.param.unwrap_or_default())
        };
        for url in ["stdio:files", "file:///etc/passwd", "shop.example/mcp", "http://outside/"] {
            assert_eq!(refused(&cx, url).await, (Kind::Invalid, "server_url".into()), "{url}");
        }
        assert_eq!(refused(&user, "https://inside/").await, (Kind::Forbidden, "server_url".into()));
        registry.take_server(&cx, at("https://inside/"), SecretArgs::default()).await.expect("a key that may write");
        registry.take_server(&user, at("https://h/"), SecretArgs::default()).await.expect("a public one");
        // What stands in a row is no program either.
        assert!(registry.list_server(&cx, &at("stdio:files")).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_label_alone_names_a_group_of_the_tenants_by_the_groups_own_rules() {
    each_database(|store| async move {
        let (registry, _, cx, other) = with_servers(store).await;
        let approval = Override { risk: Some(Risk::ApprovalRequired), ..Override::default() };
        let registration = Registration {
            toolgroup_id: "shop".into(),
            provider_id: "shop".into(),
            tools: BTreeMap::from([("refund".to_owned(), approval)]),
            ..Registration::default()
        };
        registry.register(&cx, registration).await.expect("a group");
        let group = Server { label: "shop".into(), ..Server::default() };
        let server = registry.take_server(&cx, group.clone(), SecretArgs::default()).await.expect("a group");
        let tools = registry.list_server(&cx, &server).await.expect("its tools");
        assert_eq!(tools.iter().map(|tool| tool.wire_name.as_str()).collect::<Vec<_>>(), ["look", "refund"]);
        let call = |name: &str| ToolCall { id: "c".into(), name: name.into(), arguments: "{}".into() };
        assert!(!done(registry.call_server(&cx, &server, &tools[0], &call("look"), "key").await).is_error);
        // Whoever asks may have said yes; a person has not.
        let refused = done(registry.call_server(&cx, &server, &tools[1], &call("refund"), "key").await);
        assert!(refused.content.contains("needs the approval of a person"), "{refused:?}");
        // What was asked about is what is called: not a tool that was registered otherwise meanwhile.
        let another = ToolDef { hash: "of another".into(), name: "shop_look".into(), ..tools[0].clone() };
        let changed = done(registry.call_server(&cx, &server, &another, &call("look"), "key").await);
        assert!(changed.content.contains("tool_changed"), "{changed:?}");
        let renamed = ToolDef { name: "shop_look".into(), ..tools[0].clone() };
        assert!(!done(registry.call_server(&cx, &server, &renamed, &call("look"), "key").await).is_error);
        for (cx, server, secrets, param) in [
            (&other, &group, SecretArgs::default(), "server_label"),
            (&cx, &group, secrets(json!({ "authorization": "t" })), "headers"),
        ] {
            let error = registry.take_server(cx, server.clone(), secrets).await.expect_err(param);
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some(param)));
        }
    })
    .await;
}

#[tokio::test]
async fn without_a_provider_of_servers_none_is_asked() {
    each_database(|store| async move {
        let (mut registry, _, cx, _) = with_servers(store).await;
        registry.setting.servers = None;
        let error = registry.take_server(&cx, at("https://h/"), SecretArgs::default()).await.expect_err("none");
        assert_eq!(error.code.as_deref(), Some("unsupported_tool"));
    })
    .await;
}
