//! Versions of a group: the way back, and what stands in it.

use std::collections::HashMap;

use frontdesk_api::{Kind, id::CountingIds, tools::Reads};
use serde_json::Value;

use super::*;

/// A group of one tool that is described by the very words of its file; with a `+` among them there is another.
#[derive(Default)]
struct Files {
    files: Mutex<HashMap<String, String>>,
    /// Revisions of groups that were let go of.
    retired: Mutex<Vec<String>>,
    called: Mutex<Vec<String>>,
    /// What every tool's hash is; None: by its words.
    same_hash: Mutex<Option<String>>,
}

#[async_trait]
impl ToolProvider for Files {
    async fn inspect(&self, _: &Cx, source: &ToolSource) -> Result<Inspected> {
        let words = String::from_utf8(source.body.clone().expect("a body").to_vec()).expect("words");
        let tool = ToolDef {
            name: "look".into(),
            wire_name: "look".into(),
            toolgroup: String::new(),
            description: words.clone(),
            schema: json!({ "type": "object", "properties": { "who": {} } }),
            runs: Runs::Server,
            effect: Effect::Unsafe,
            risk: Risk::LowImpactWrite,
            bound_args: BTreeMap::new(),
            alone: false,
            hash: self.same_hash.lock().expect("the hash").clone().unwrap_or_else(|| format!("tool of {words}")),
        };
        let more =
            words.contains('+').then(|| ToolDef { name: "more".into(), wire_name: "more".into(), ..tool.clone() });
        let tools = [tool].into_iter().chain(more).collect();
        Ok(Inspected { tools, requests: vec!["kv".into()], hash: words, ..Inspected::default() })
    }

    fn reads(&self, args: &Value) -> Result<Option<Reads>> {
        Ok(args["component"].as_str().map(|file| Reads::File(file.to_owned())))
    }

    fn secret_args(&self) -> &'static [&'static str] {
        &["password"]
    }

    fn forget_conversations(&self, _: &Cx, workspaces: &[String]) {
        self.retired.lock().expect("the revisions").extend_from_slice(workspaces);
    }

    fn retire(&self, _: &Cx, source: &ToolSource) {
        self.retired.lock().expect("the revisions").push(source.revision.clone());
    }

    async fn call(&self, _: &Cx, source: &ToolSource, _: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        self.called.lock().expect("the revisions").push(source.revision.clone());
        Ok(Outcome::Done(ToolResult { content: source.hash.clone(), is_error: false, details: None }))
    }
}

#[async_trait]
impl ComponentBytes for Files {
    async fn load(&self, _: &Cx, file_id: &str) -> Result<Bytes> {
        let files = self.files.lock().expect("the files");
        let words = files.get(file_id).ok_or_else(|| Error::not_found(format!("no file has the id '{file_id}'")))?;
        Ok(words.clone().into())
    }

    async fn stays(&self, _: &Cx, _: &str) -> Result<bool> {
        Ok(true)
    }
}

#[async_trait]
impl Secrets for Files {
    async fn find(&self, _: &Cx, name: &str) -> Result<Option<Secret>> {
        let there = self.files.lock().expect("the files").contains_key(name);
        Ok(there.then(|| Secret { value: "12345678".to_owned(), hosts: vec![] }))
    }
}

struct Desk {
    registry: Registry,
    files: Arc<Files>,
    cx: Cx,
}

impl Desk {
    async fn open(store: Store, files: &[(&str, &str)]) -> Self {
        let (cx, _) = two_tenants(&store).await;
        let named = files.iter().map(|(id, words)| ((*id).to_owned(), (*words).to_owned())).collect();
        let files = Arc::new(Files { files: Mutex::new(named), ..Files::default() });
        // They sort as they were made.
        let around = Setting { ids: Arc::new(CountingIds::default()), ..setting(store, "files", files.clone()) };
        let registry = Registry::new(Setting { bodies: files.clone(), secrets: files.clone(), ..around });
        Self { registry, files, cx }
    }

    /// Registers and gives the id of the change.
    async fn register(&self, args: Value, tools: Value) -> String {
        let registration = Registration {
            toolgroup_id: "desk".into(),
            provider_id: "files".into(),
            args: args.as_object().expect("an object").clone(),
            tools: serde_json::from_value(tools).expect("overrides"),
            trust: Trust::ThirdParty,
            ..Registration::default()
        };
        self.registry.register(&self.cx, registration).await.expect("registered");
        self.newest().await.id
    }

    async fn newest(&self) -> Change {
        let page = PageRequest { limit: 1, ..PageRequest::default() };
        self.registry.changes(&self.cx, "desk", &page).await.expect("the changes").items.remove(0)
    }

    async fn refused(&self, change: &str) -> Error {
        let before = self.newest().await;
        let refused = self.registry.restore(&self.cx, change, None).await.expect_err("refused");
        assert_eq!(self.newest().await, before, "nothing was changed");
        refused
    }

    async fn answer(&self) -> String {
        let call = ToolCall { id: "c".into(), name: "look".into(), arguments: "{}".into() };
        done(self.registry.call(&self.cx, &["desk".to_owned()], &call, "key", false).await).content
    }
}

fn put(desk: &Desk, id: &str, words: Option<&str>) {
    let mut files = desk.files.files.lock().expect("the files");
    match words {
        Some(words) => files.insert(id.to_owned(), words.to_owned()),
        None => files.remove(id),
    };
}

#[tokio::test]
async fn an_earlier_version_comes_back_whole_and_says_who_brought_it() {
    each_database(|store| async move {
        let desk = Desk::open(store, &[("one", "first"), ("two", "second")]).await;
        let over = json!({ "look": { "risk": "read", "effect": "none", "bind": { "who": "customer.sub" } } });
        let args = json!({ "component": "one", "grants": ["kv", "log"], "limits": { "cpu_ms": 5 } });
        let first = desk.register(args, over).await;
        let detail = desk.newest().await.detail;
        desk.register(json!({ "component": "two", "grants": ["kv"] }), json!({})).await;
        assert_eq!(desk.answer().await, "second");
        let mut cx = desk.cx.clone();
        cx.principal.key_id = "another".into();
        let group = desk.registry.restore(&cx, &first, None).await.expect("restored");
        assert_eq!((group.trust, group.grants.as_slice()), (Trust::ThirdParty, &["kv".to_owned(), "log".into()][..]));
        assert_eq!(desk.registry.list_tools(&desk.cx, Some("desk")).await.expect("tools")[0].0.description, "first");
        let newest = desk.newest().await;
        assert_eq!((newest.action.as_str(), newest.key_id.as_str()), ("registered", "another"));
        assert_eq!(newest.detail["restored"], json!(first));
        let mut as_before = newest.detail.clone();
        as_before.as_object_mut().expect("an object").remove("restored");
        assert_eq!(as_before, detail, "args, grants, classes, bindings and hashes");
        // That version can be brought back in its turn, after the group was deleted too.
        desk.registry.delete_group(&desk.cx, "desk").await.expect("deleted");
        let deleted = desk.newest().await;
        let refused = desk.refused(&deleted.id).await;
        assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some("change_id")));
        assert!(refused.message.contains("'desk' was deleted by this change"), "{refused}");
        desk.registry.restore(&desk.cx, &newest.id, None).await.expect("restored");
        assert_eq!(desk.newest().await.detail["restored"], json!(newest.id));
        // One that is off stays off.
        desk.registry.set_disabled(&desk.cx, "desk", true).await.expect("off");
        assert!(desk.registry.restore(&desk.cx, &first, None).await.expect("restored").disabled);
    })
    .await;
}

#[tokio::test]
async fn a_version_whose_parts_are_gone_or_others_is_refused_by_name() {
    each_database(|store| async move {
        let files = [("one", "first"), ("two", "second"), ("crm", "a secret"), ("three", "third")];
        let desk = Desk::open(store.clone(), &files).await;
        let plain = |file: &str| json!({ "component": file, "grants": ["kv"] });
        let first = desk.register(plain("one"), json!({})).await;
        let with_secret = json!({ "component": "three", "grants": ["kv"], "secrets": ["crm"], "hosts": ["a.example"] });
        let third = desk.register(with_secret, json!({})).await;
        let sealed = json!({ "component": "two", "grants": ["kv"], "password": "hush" });
        let locked = desk.register(sealed, json!({})).await;
        assert_eq!(desk.newest().await.detail["secret_args"], json!(["password"]));
        desk.register(plain("two"), json!({})).await;

        put(&desk, "one", Some("other words"));
        let refused = desk.refused(&first).await;
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("tool_changed")));
        assert!(refused.message.contains("its tool 'look' is described otherwise by now"), "{refused}");
        let tool = |words: &str| format!("tool of {words}");
        desk.files.same_hash.lock().expect("the hash").replace(tool("first"));
        put(&desk, "one", Some("first+"));
        let refused = desk.refused(&first).await;
        assert!(refused.message.contains("what it is made from has the tool 'more' too by now"), "{refused}");
        desk.files.same_hash.lock().expect("the hash").take();
        put(&desk, "one", None);
        let refused = desk.refused(&first).await;
        assert_eq!((refused.kind, refused.param.as_deref()), (Kind::NotFound, Some("args.component")));
        let told = "this version of 'desk' cannot be brought back: no file has the id 'one'";
        assert_eq!(refused.message, told);
        put(&desk, "crm", None);
        let refused = desk.refused(&third).await;
        assert!(refused.message.contains("there is no secret 'crm'"), "{refused}");
        let refused = desk.refused(&locked).await;
        assert!(refused.message.contains("args.password held a secret"), "{refused}");
        assert_eq!(desk.refused("tgc_none").await.kind, Kind::NotFound);
        let (_, theirs) = two_tenants(&store).await;
        let refused = desk.registry.restore(&theirs, &first, None).await.expect_err("another tenant's");
        assert_eq!(refused.kind, Kind::NotFound);
        assert_eq!(desk.answer().await, "second");
    })
    .await;
}

#[tokio::test]
async fn a_version_is_not_brought_back_over_what_its_caller_has_not_seen() {
    each_database(|store| async move {
        let desk = Desk::open(store, &[("one", "first"), ("two", "second")]).await;
        let plain = |file: &str| json!({ "component": file, "grants": ["kv"] });
        let first = desk.register(plain("one"), json!({})).await;
        let seen = desk.register(plain("two"), json!({})).await;
        desk.registry.set_disabled(&desk.cx, "desk", true).await.expect("off");
        let meanwhile = desk.newest().await;
        let over = |newest: String| {
            let (desk, first) = (&desk, &first);
            async move { desk.registry.restore(&desk.cx, first, Some(&newest)).await }
        };
        let refused = over(seen).await.expect_err("changed meanwhile");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("toolgroup_changed")));
        assert!(
            refused.message.starts_with(&format!("'desk' was disabled since, by the change '{}'", meanwhile.id)),
            "{refused}"
        );
        assert_eq!(desk.newest().await, meanwhile);
        over(meanwhile.id).await.expect("restored");
        desk.registry.delete_group(&desk.cx, "desk").await.expect("deleted");
        let deleted = desk.newest().await.id;
        // Whoever comes first: all have seen that there is nothing.
        let (a, b, c, d) =
            tokio::join!(over(deleted.clone()), over(deleted.clone()), over(deleted.clone()), over(deleted.clone()));
        assert_eq!([a, b, c, d].iter().filter(|one| one.is_ok()).count(), 1, "by then there was something");
        over(deleted).await.expect_err("by now there is something");
    })
    .await;
}

/// What a provider keeps of a group goes with every change of it, and no call brings the old revision again.
#[tokio::test]
async fn a_group_that_is_changed_is_let_go_of() {
    each_database(|store| async move {
        let desk = Desk::open(store, &[("one", "first")]).await;
        let args = || json!({ "component": "one", "grants": ["kv"] });
        let retired = || std::mem::take(&mut *desk.files.retired.lock().expect("the revisions"));
        let used = || std::mem::take(&mut *desk.files.called.lock().expect("the revisions")).remove(0);
        desk.register(args(), json!({})).await;
        desk.answer().await;
        let first = used();
        assert!(!first.is_empty() && retired().is_empty());
        desk.register(args(), json!({})).await;
        assert_eq!(retired(), [first.as_str()]);
        desk.answer().await;
        let second = used();
        assert_ne!(second, first);
        desk.registry.set_disabled(&desk.cx, "desk", true).await.expect("off");
        assert_eq!(retired(), [second]);
        desk.registry.set_disabled(&desk.cx, "desk", false).await.expect("on");
        desk.answer().await;
        let third = used();
        desk.registry.delete_group(&desk.cx, "desk").await.expect("deleted");
        assert_eq!(retired(), [third]);
        // And of a conversation that is deleted.
        desk.registry.forget_conversations(&desk.cx, &["sess_1".into()]);
        assert_eq!(retired(), ["sess_1"]);
    })
    .await;
}
