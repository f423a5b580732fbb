//! What tools keep: one drawer for each tenant and group, with an end to it.

use serde_json::Value;

use super::*;

/// Offers `keep`, which puts `value` under `key` where both are given and answers with what is there.
struct Diary;

#[async_trait]
impl ToolProvider for Diary {
    async fn inspect(&self, _: &Cx, _: &ToolSource) -> Result<Inspected> {
        let keep = ToolDef {
            name: "keep".into(),
            wire_name: "keep".into(),
            toolgroup: String::new(),
            description: String::new(),
            schema: json!({ "type": "object" }),
            runs: Runs::Server,
            effect: Effect::Idempotent,
            risk: Risk::Read,
            bound_args: BTreeMap::new(),
            alone: false,
            hash: String::new(),
        };
        Ok(Inspected { tools: vec![keep], hash: "h".into(), ..Inspected::default() })
    }

    async fn call(&self, _: &Cx, _: &ToolSource, call: &ToolCall, host: Arc<dyn ToolHost>) -> Result<Outcome> {
        let asked: Value = serde_json::from_str(&call.arguments).expect("the registry reads them first");
        let key = asked["key"].as_str().expect("a key");
        if let Some(value) = asked["value"].as_str() {
            host.kv_set(key, value.as_bytes().to_vec()).await?;
        }
        let found = host.kv_get(key).await?;
        let content = found.map_or_else(|| "nothing".to_owned(), |v| String::from_utf8(v).expect("text"));
        Ok(Outcome::Done(ToolResult { content, is_error: false, details: None }))
    }
}

async fn diaries(store: Store, limits: KvLimits, tenants: &[&Cx]) -> Registry {
    let registry = Registry::new(Setting {
        store,
        providers: BTreeMap::from([("diary".to_owned(), Arc::new(Diary) as Arc<dyn ToolProvider>)]),
        bodies: Arc::new(NoFiles),
        seal: Arc::new(Turned),
        servers: None,
        clock: Arc::new(FixedClock::at(0)),
        ids: Arc::new(RandomIds),
        limits,
        egress: Arc::new(Nowhere),
        secrets: Arc::new(Nowhere),
    });
    for cx in tenants {
        for group in ["a", "b"] {
            let registration =
                Registration { toolgroup_id: group.into(), provider_id: "diary".into(), ..Registration::default() };
            registry.register(cx, registration).await.expect("registered");
        }
    }
    registry
}

async fn keep(registry: &Registry, cx: &Cx, group: &str, arguments: Value) -> ToolResult {
    let call = ToolCall { id: "c".into(), name: "keep".into(), arguments: arguments.to_string() };
    done(registry.call(cx, &[group.to_owned()], &call, "key", false).await)
}

#[tokio::test]
async fn what_a_tool_keeps_no_other_group_and_no_other_tenant_finds() {
    each_database(|store| async move {
        let (ours, theirs) = two_tenants(&store).await;
        let registry = diaries(store, KvLimits::default(), &[&ours, &theirs]).await;
        assert_eq!(keep(&registry, &ours, "a", json!({ "key": "k", "value": "mine" })).await.content, "mine");
        assert_eq!(keep(&registry, &ours, "a", json!({ "key": "k" })).await.content, "mine");
        for (cx, group) in [(&ours, "b"), (&theirs, "a"), (&theirs, "b")] {
            // Whatever a key looks like, it is a name and no way.
            for key in ["k", "a/k", "../a/k", "tenant_a/a/k", "K", "k ", "%", "_"] {
                let found = keep(&registry, cx, group, json!({ "key": key })).await;
                assert_eq!(found.content, "nothing", "{} {group} {key}", cx.tenant);
            }
        }
        keep(&registry, &theirs, "a", json!({ "key": "k", "value": "theirs" })).await;
        assert_eq!(keep(&registry, &ours, "a", json!({ "key": "k" })).await.content, "mine");
        // A group that goes takes its own along and nobody else's.
        registry.delete_group(&theirs, "a").await.expect("deleted");
        assert_eq!(keep(&registry, &ours, "a", json!({ "key": "k" })).await.content, "mine");
    })
    .await;
}

#[tokio::test]
async fn a_full_drawer_takes_nothing_more_and_keeps_what_it_has() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let limits = KvLimits { key: 8, value: 16, keys: 3, total: 30 };
        let registry = diaries(store, limits, &[&cx]).await;
        let put = async |key: &str, value: &str| keep(&registry, &cx, "a", json!({ "key": key, "value": value })).await;
        for key in ["k1", "k2"] {
            assert!(!put(key, "0123456789").await.is_error);
        }
        for (key, value, words) in [
            ("k3", "0123456789", "may keep 3 keys and 30 bytes in all"),
            ("k1", "0123456789abcdefg", "may keep 16 bytes under a key, not 17"),
            ("k12345678", "x", "a tool's key has 1 to 8 bytes"),
            ("", "x", "a tool's key has 1 to 8 bytes"),
            ("a\0b", "x", "no zero byte"),
        ] {
            let refused = put(key, value).await;
            assert!(refused.is_error && refused.content.contains(words), "{key:?}: {}", refused.content);
        }
        assert_eq!(keep(&registry, &cx, "a", json!({ "key": "k1" })).await.content, "0123456789");
        assert!(!put("k3", "x").await.is_error);
        let fourth = put("k4", "").await;
        assert!(fourth.is_error && fourth.content.contains("may keep 3 keys"), "{}", fourth.content);
        // The other group's drawer is its own.
        assert!(!keep(&registry, &cx, "b", json!({ "key": "k4", "value": "0123456789" })).await.is_error);
        // Two at once for the last place, over and over: one gets it, and never both.
        for round in 0..6 {
            let two = format!("r{round}");
            let registration =
                Registration { toolgroup_id: two.clone(), provider_id: "diary".into(), ..Registration::default() };
            registry.register(&cx, registration).await.expect("registered");
            let one = |key: &'static str| keep(&registry, &cx, &two, json!({ "key": key, "value": "x" }));
            assert!(!one("k1").await.is_error && !one("k2").await.is_error);
            let (left, right) = tokio::join!(one("k3"), one("k4"));
            assert!(left.is_error != right.is_error, "round {round}: {left:?} {right:?}");
            let mut there = 0;
            for key in ["k1", "k2", "k3", "k4"] {
                there += usize::from(keep(&registry, &cx, &two, json!({ "key": key })).await.content != "nothing");
            }
            assert_eq!(there, 3, "round {round}");
        }
    })
    .await;
}
