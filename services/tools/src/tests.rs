//! The registry, seen through a provider that remembers what it was called for.

mod signing;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Cx, Egress, Error, Kind, PageRequest, Result, Seal, Secrets, Tools,
    chat::ToolCall,
    clock::FixedClock,
    egress::{Outbound, OutboundAnswer, OutboundLimits},
    id::RandomIds,
    secret::Secret,
    tools::{
        Effect, FetchRequest, Inspected, OUTCOME_UNKNOWN, Outcome, Risk, Runs, SecretArgs, ToolDef, ToolHost,
        ToolProvider, ToolResult, ToolSource,
    },
};
use frontdesk_store::{
    Store,
    testing::{each_database, two_tenants},
};
use serde_json::{Map, Value, json};

use super::*;

mod data;
mod midway;
mod restore;
mod servers;

/// Offers `look` and `refund`.
#[derive(Default)]
struct Shop {
    called: Mutex<Vec<String>>,
    /// The secrets that came with the calls.
    brought: Mutex<Vec<SecretArgs>>,
    one_at_a_time: bool,
}

#[async_trait]
impl ToolProvider for Shop {
    async fn inspect(&self, _: &Cx, _: &ToolSource) -> Result<Inspected> {
        let tool = |name: &str| ToolDef {
            name: name.into(),
            wire_name: name.into(),
            toolgroup: String::new(),
            description: String::new(),
            schema: json!({ "type": "object" }),
            runs: Runs::Server,
            effect: Effect::Unsafe,
            risk: Risk::LowImpactWrite,
            bound_args: BTreeMap::new(),
            alone: false,
            hash: String::new(),
        };
        Ok(Inspected {
            tools: vec![tool("look"), tool("refund")],
            requests: vec![],
            hash: "h".into(),
            ..Inspected::default()
        })
    }

    fn secret_args(&self) -> &'static [&'static str] {
        &["password"]
    }

    fn one_at_a_time(&self, _: &ToolSource) -> bool {
        self.one_at_a_time
    }

    async fn call(&self, _: &Cx, source: &ToolSource, call: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        self.brought.lock().expect("the secrets").push(source.secrets.clone());
        self.called.lock().expect("the calls").push(call.name.clone());
        let asked: Value = serde_json::from_str(&call.arguments).expect("the registry reads them first");
        match asked["fails"].as_str() {
            Some("late") => return Err(Error::new(Kind::Timeout, "it did not answer")),
            Some("cut") => return Err(Error::upstream("it broke off").with_code(OUTCOME_UNKNOWN)),
            Some(_) => return Err(Error::upstream("nobody listens")),
            None => {}
        }
        if let Some(size) = asked["size"].as_u64() {
            let content = "x".repeat(usize::try_from(size).expect("it fits"));
            return Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }));
        }
        Ok(Outcome::Done(ToolResult { content: "done".into(), is_error: false, details: None }))
    }
}

/// No group here has code of its own.
struct NoFiles;

#[async_trait]
impl ComponentBytes for NoFiles {
    async fn load(&self, _: &Cx, file_id: &str) -> Result<Bytes> {
        Err(Error::not_found(format!("no file has the id '{file_id}'")))
    }

    async fn stays(&self, _: &Cx, _: &str) -> Result<bool> {
        Ok(true)
    }
}

/// No host answers and there is no secret.
struct Nowhere;

#[async_trait]
impl Egress for Nowhere {
    async fn send(&self, _: &Cx, request: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        Err(Error::upstream(format!("nobody listens at {}", request.url)))
    }
}

#[async_trait]
impl Secrets for Nowhere {
    async fn find(&self, _: &Cx, _: &str) -> Result<Option<Secret>> {
        Ok(None)
    }
}

/// Turns the bytes around behind what they are for: enough to tell whether they were sealed and opened for the same.
struct Turned;

impl Seal for Turned {
    fn seal(&self, about: &[&str], plain: &[u8]) -> Result<Vec<u8>> {
        Ok(about.join("/").into_bytes().into_iter().chain(plain.iter().rev().copied()).collect())
    }

    fn open(&self, about: &[&str], sealed: &[u8]) -> Result<Vec<u8>> {
        let text = sealed.strip_prefix(about.join("/").as_bytes()).expect("sealed for this");
        Ok(text.iter().rev().copied().collect())
    }
}

/// One provider, to which servers of requests go too, and nothing around it.
fn setting(store: Store, id: &str, provider: Arc<dyn ToolProvider>) -> Setting {
    Setting {
        store,
        providers: BTreeMap::from([(id.to_owned(), provider)]),
        bodies: Arc::new(NoFiles),
        seal: Arc::new(Turned),
        servers: Some(id.to_owned()),
        clock: Arc::new(FixedClock::at(0)),
        ids: Arc::new(RandomIds),
        limits: KvLimits::default(),
        egress: Arc::new(Nowhere),
        secrets: Arc::new(Nowhere),
    }
}

fn over(store: Store, shop: Arc<Shop>) -> Registry {
    Registry::new(setting(store, "shop", shop))
}

/// A registry with the group `shop`, in which `refund` needs the approval of a person.
async fn with_shop(store: Store) -> (Registry, Arc<Shop>, Cx) {
    let (cx, _) = two_tenants(&store).await;
    let shop = Arc::new(Shop::default());
    let registry = over(store, shop.clone());
    let approval = Override { risk: Some(Risk::ApprovalRequired), ..Override::default() };
    let registration = Registration {
        toolgroup_id: "shop".into(),
        provider_id: "shop".into(),
        tools: BTreeMap::from([("refund".to_owned(), approval)]),
        ..Registration::default()
    };
    registry.register(&cx, registration).await.expect("registered");
    (registry, shop, cx)
}

fn done(outcome: Result<Outcome>) -> ToolResult {
    match outcome.expect("an outcome") {
        Outcome::Done(result) => result,
        Outcome::NeedsInput(request) => panic!("unexpected {request:?}"),
    }
}

#[tokio::test]
async fn what_needs_approval_is_refused_in_a_turn_and_outside_and_never_reaches_its_provider() {
    each_database(|store| async move {
        let (registry, shop, cx) = with_shop(store).await;
        let groups = ["shop".to_owned()];
        let call = |name: &str| ToolCall { id: "call_1".into(), name: name.into(), arguments: "{}".into() };
        let in_a_turn = done(registry.call(&cx, &groups, &call("refund"), "key_1", false).await);
        let outside = done(registry.invoke(&cx, "refund", &Map::new(), "key_2").await);
        for refused in [in_a_turn, outside] {
            assert!(refused.is_error && refused.content.contains("'refund' needs the approval"), "{refused:?}");
        }
        assert!(shop.called.lock().expect("the calls").is_empty());
        // With a person's word it runs.
        assert_eq!(done(registry.call(&cx, &groups, &call("refund"), "key_5", true).await).content, "done");
        assert_eq!(std::mem::take(&mut *shop.called.lock().expect("the calls")), ["refund"]);
        // The model is offered it all the same, and the tool beside it runs.
        let offered = registry.list(&cx, &groups).await.expect("a list");
        assert_eq!(offered.iter().map(|def| def.name.as_str()).collect::<Vec<_>>(), ["look", "refund"]);
        assert_eq!(done(registry.call(&cx, &groups, &call("look"), "key_3", false).await).content, "done");
        assert_eq!(done(registry.invoke(&cx, "look", &Map::new(), "key_4").await).content, "done");
        assert_eq!(*shop.called.lock().expect("the calls"), ["look", "look"]);
    })
    .await;
}

#[tokio::test]
async fn a_failure_says_whether_the_work_may_have_been_done() {
    each_database(|store| async move {
        let (registry, _, cx) = with_shop(store).await;
        for (fails, unsure) in [("late", true), ("cut", true), ("refused", false)] {
            let arguments = json!({ "fails": fails }).to_string();
            let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments };
            let result = done(registry.call(&cx, &["shop".to_owned()], &call, &format!("key_{fails}"), false).await);
            assert_eq!((result.is_error, ToolResult::says_unsure(&result.content)), (true, unsure), "{result:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_told_by_its_size_and_not_read() {
    each_database(|store| async move {
        let (registry, _, cx) = with_shop(store).await;
        let groups = ["shop".to_owned()];
        for (size, fits) in [(256 * 1024, true), (256 * 1024 + 1, false), (10_000_000, false)] {
            let arguments = json!({ "size": size }).to_string();
            let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments };
            let result = done(registry.call(&cx, &groups, &call, &format!("key_{size}"), false).await);
            assert_eq!(!result.is_error, fits, "{size}");
            if !fits {
                assert!(result.content.contains(&size.to_string()) && result.content.len() < 200, "{}", result.content);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_registration_names_hosts_and_secrets_that_there_are() {
    each_database(|store| async move {
        let (registry, _, cx) = with_shop(store).await;
        for (args, param) in [
            (json!({ "hosts": ["*.com"] }), "args.hosts[0]"),
            (json!({ "hosts": ["api.shop.example"], "secrets": ["none"] }), "args.secrets"),
        ] {
            let registration = Registration {
                toolgroup_id: "shop".into(),
                provider_id: "shop".into(),
                args: args.as_object().expect("an object").clone(),
                ..Registration::default()
            };
            assert_eq!(registry.register(&cx, registration).await.expect_err(param).param.as_deref(), Some(param));
        }
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_shows_the_tools_and_writes_nothing() {
    each_database(|store| async move {
        let (registry, _, cx) = with_shop(store).await;
        let registration =
            Registration { toolgroup_id: "other".into(), provider_id: "shop".into(), ..Registration::default() };
        let preview = registry.preview(&cx, registration).await.expect("a preview");
        assert_eq!(preview.group.id, "other");
        assert_eq!(preview.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["look", "refund"]);
        assert!(registry.load_group(&cx, "other").await.is_err());
    })
    .await;
}

#[tokio::test]
async fn of_a_group_that_is_named_with_a_tool_no_other_is_offered_and_no_other_runs() {
    each_database(|store| async move {
        let (registry, shop, cx) = with_shop(store).await;
        let groups = ["shop/look".to_owned()];
        let offered = registry.list(&cx, &groups).await.expect("a list");
        assert_eq!(offered.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["look"]);
        let call = |name: &str| ToolCall { id: "c".into(), name: name.into(), arguments: "{}".into() };
        let refused = done(registry.call(&cx, &groups, &call("refund"), "key", true).await);
        assert!(refused.is_error && refused.content.contains("no tool is called 'refund'"), "{}", refused.content);
        assert_eq!(done(registry.call(&cx, &groups, &call("look"), "key", false).await).content, "done");
        assert_eq!(*shop.called.lock().expect("the calls"), ["look"]);
        let unknown = registry.list(&cx, &["shop/lok".to_owned()]).await.expect_err("no such tool");
        assert!(unknown.message.contains("lok"), "{unknown}");
    })
    .await;
}

/// Pinned while nothing was said of it.
#[tokio::test]
async fn a_group_that_does_one_thing_at_a_time_does_so_though_it_was_registered_before_that_was_known() {
    each_database(|store| async move {
        let (registry, _, cx) = with_shop(store.clone()).await;
        let groups = ["shop".to_owned()];
        let alone = async |registry: &Registry| -> Vec<bool> {
            registry.list(&cx, &groups).await.expect("a list").iter().map(|def| def.alone).collect()
        };
        assert_eq!(alone(&registry).await, [false, false]);
        let later = over(store, Arc::new(Shop { one_at_a_time: true, ..Shop::default() }));
        assert_eq!(alone(&later).await, [true, true]);
    })
    .await;
}

/// A provider whose group everyone has.
struct Everyones(Shop);

#[async_trait]
impl ToolProvider for Everyones {
    async fn inspect(&self, cx: &Cx, source: &ToolSource) -> Result<Inspected> {
        self.0.inspect(cx, source).await
    }

    fn builtin(&self) -> Option<&'static str> {
        Some("builtin::everyones")
    }

    async fn call(&self, cx: &Cx, source: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        assert_eq!(source.toolgroup, "builtin::everyones");
        self.0.call(cx, source, call, host).await
    }
}

#[tokio::test]
async fn a_group_of_the_platforms_own_is_every_tenants_without_being_registered() {
    each_database(|store| async move {
        let (ours, theirs) = two_tenants(&store).await;
        let registry = Registry::new(Setting {
            store,
            providers: BTreeMap::from([(
                "own".to_owned(),
                Arc::new(Everyones(Shop::default())) as Arc<dyn ToolProvider>,
            )]),
            bodies: Arc::new(NoFiles),
            seal: Arc::new(Turned),
            servers: None,
            clock: Arc::new(FixedClock::at(7)),
            ids: Arc::new(RandomIds),
            limits: KvLimits::default(),
            egress: Arc::new(Nowhere),
            secrets: Arc::new(Nowhere),
        });
        let groups = ["builtin::unknown".to_owned(), "builtin::everyones".to_owned()];
        for cx in [ours, theirs] {
            // One that is not here is passed over.
            let offered = registry.list(&cx, &groups).await.expect("a list");
            assert_eq!(offered.iter().map(|def| def.name.as_str()).collect::<Vec<_>>(), ["look", "refund"]);
            let one = registry.list(&cx, &["builtin::everyones/look".to_owned()]).await.expect("a list");
            assert_eq!(one.len(), 1);
            let call = ToolCall { id: "c".into(), name: "look".into(), arguments: "{}".into() };
            assert_eq!(done(registry.call(&cx, &groups, &call, "key", false).await).content, "done");
            assert_eq!(registry.list_groups(&cx).await.expect("groups")[0].id, "builtin::everyones");
            assert_eq!(registry.load_group(&cx, "builtin::everyones").await.expect("the group").provider_id, "own");
            assert_eq!(registry.list_tools(&cx, None).await.expect("tools").len(), 2);
            let registration = Registration {
                toolgroup_id: "builtin::everyones".into(),
                provider_id: "own".into(),
                ..Registration::default()
            };
            let refused = registry.register(&cx, registration).await.expect_err("reserved");
            assert_eq!(refused.param.as_deref(), Some("toolgroup_id"));
            assert!(registry.delete_group(&cx, "builtin::everyones").await.is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn a_group_that_is_off_is_offered_to_no_model_and_does_not_run() {
    each_database(|store| async move {
        let (registry, shop, cx) = with_shop(store).await;
        let groups = ["shop".to_owned()];
        let call = ToolCall { id: "call_1".into(), name: "look".into(), arguments: "{}".into() };
        assert!(registry.set_disabled(&cx, "shop", true).await.expect("off").disabled);
        assert_eq!(registry.list(&cx, &groups).await.expect("a list"), []);
        let refused = done(registry.call(&cx, &groups, &call, "key_1", false).await);
        assert!(refused.is_error && refused.content.contains("switched off"), "{refused:?}");
        assert!(done(registry.invoke(&cx, "look", &Map::new(), "key_2").await).is_error);
        // People still see what there is, and registering anew does not switch it on.
        assert_eq!(registry.list_tools(&cx, None).await.expect("a list").len(), 2);
        let registration =
            Registration { toolgroup_id: "shop".into(), provider_id: "shop".into(), ..Registration::default() };
        assert!(registry.register(&cx, registration).await.expect("registered anew").disabled);
        assert!(done(registry.call(&cx, &groups, &call, "key_3", false).await).is_error);
        assert!(shop.called.lock().expect("the calls").is_empty());
        assert!(!registry.set_disabled(&cx, "shop", false).await.expect("on").disabled);
        assert_eq!(done(registry.call(&cx, &groups, &call, "key_4", false).await).content, "done");
        registry.delete_group(&cx, "shop").await.expect("deleted");
        let changes = registry.changes(&cx, "shop", &PageRequest::default()).await.expect("a page").items;
        // Ids order by the millisecond; these are of one.
        let mut actions: Vec<&str> = changes.iter().map(|change| change.action.as_str()).collect();
        actions.sort_unstable();
        assert_eq!(actions, ["deleted", "disabled", "enabled", "registered", "registered"]);
        assert!(changes.iter().all(|change| change.key_id == cx.principal.key_id));
        // What it was at first, overrides and all, and what it was then.
        let registered = changes.iter().filter(|change| change.action == "registered");
        let mut risks: Vec<&str> = registered.filter_map(|change| change.detail["tools"][1]["risk"].as_str()).collect();
        risks.sort_unstable();
        assert_eq!(risks, ["approval_required", "low_impact_write"]);
    })
    .await;
}

#[tokio::test]
async fn secrets_of_a_registration_reach_its_provider_and_no_row_and_no_reader() {
    each_database(|store| async move {
        let (registry, shop, cx) = with_shop(store.clone()).await;
        let registration = Registration {
            toolgroup_id: "locked".into(),
            provider_id: "shop".into(),
            args: Map::from_iter([("password".into(), json!("s3cret")), ("url".into(), json!("x"))]),
            ..Registration::default()
        };
        let group = registry.register(&cx, registration).await.expect("registered");
        assert_eq!(group.args, json!({ "url": "x" }));
        let (row, _) = store.tenant(&cx).find_toolgroup("locked").await.expect("asked").expect("there");
        assert_eq!(row.args, json!({ "url": "x" }));
        assert!(!String::from_utf8_lossy(&row.sealed.clone().expect("sealed")).contains("s3cret"));
        // A registry that was just started reads it from its row.
        let fresh = over(store, shop.clone());
        let call = ToolCall { id: "c".into(), name: "look".into(), arguments: "{}".into() };
        for registry in [&registry, &fresh] {
            done(registry.call(&cx, &["locked".into()], &call, "k", false).await);
        }
        let want = SecretArgs(Map::from_iter([("password".into(), json!("s3cret"))]));
        assert_eq!(*shop.brought.lock().expect("the secrets"), [want.clone(), want]);
    })
    .await;
}
