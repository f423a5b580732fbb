//! The sandbox as Frontdesk's registry meets it: by configuration, tool group and call.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{BrokenKv, DESCRIBE, Guest, MemoryKv, calling, limits};
use frontdesk_api::{
    Cx, Error, Kind,
    chat::ToolCall,
    clock::FixedClock,
    id::RandomIds,
    provider::{Build, Setting},
    tools::{Effect, Inspected, Outcome, Risk, Runs, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use frontdesk_wasm::{Compiling, Kept, MOST, PROVIDERS, Sandbox, provider::WasmTools};
use serde_json::{Value, json};

const SHOP: &[u8] = include_bytes!("../../../services/gateway/demo/tools/shop-tools.wasm");
const LAMP: &str = r#"{"status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;

fn cx() -> Cx {
    Cx::internal("tenant", "request")
}

fn tools() -> WasmTools {
    WasmTools::new(limits(), Arc::new(FixedClock::at(1_700_000_000_000_000)))
}

fn source(body: impl Into<Bytes>, grants: &[&str]) -> ToolSource {
    let grants = grants.iter().map(|&g| g.to_owned()).collect();
    ToolSource { toolgroup: "shop".into(), body: Some(body.into()), grants, ..ToolSource::default() }
}

fn tool_call(name: &str, arguments: &str) -> ToolCall {
    ToolCall { id: "call_1".into(), name: name.into(), arguments: arguments.into() }
}

fn orders() -> Arc<dyn ToolHost> {
    MemoryKv::with(&[("order/48213", LAMP)])
}

async fn result(tools: &WasmTools, source: &ToolSource, call: &ToolCall) -> Result<ToolResult, Error> {
    match tools.call(&cx(), source, call, orders()).await? {
        Outcome::Done(result) => Ok(result),
        Outcome::NeedsInput(request) => panic!("a tool component cannot ask a person: {}", request.words()),
    }
}

#[tokio::test]
async fn a_component_is_a_tool_group() {
    let tools = tools();
    let shop = source(SHOP, &["kv"]);
    let inspected = tools.inspect(&cx(), &shop).await.unwrap();
    assert_eq!(inspected.requests, ["kv"]);
    assert_eq!(inspected.hash, blake3::hash(SHOP).to_hex().to_string());
    let [lookup, start] = &inspected.tools[..] else { panic!("two tools") };
    assert_eq!(
        (lookup.name.as_str(), lookup.wire_name.as_str(), lookup.toolgroup.as_str()),
        ("lookup_order", "lookup_order", "shop")
    );
    assert_eq!((lookup.runs, lookup.effect, lookup.risk), (Runs::Server, Effect::None, Risk::Read));
    assert_eq!((start.effect, start.risk), (Effect::Idempotent, Risk::LowImpactWrite));
    assert_eq!(lookup.schema["required"], json!(["order_id"]));
    assert_ne!(lookup.hash, start.hash);

    let answer = result(&tools, &shop, &tool_call("lookup_order", r#"{"order_id":"48213"}"#)).await.unwrap();
    assert!(!answer.is_error);
    assert_eq!(answer.content, r#"{"order_id":"48213","status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#);
    let details = answer.details.unwrap();
    assert_eq!(details["host_calls"], 1);
    assert!(details["cpu_us"].as_u64().unwrap() > 0 && details["memory_bytes"].as_u64().unwrap() >= 65_536);
}

/// As the registry hands it in once it is registered.
fn registered(source: &ToolSource, found: &Inspected) -> ToolSource {
    let pinned = found.tools.iter().map(|def| (def.wire_name.clone(), def.hash.clone())).collect();
    ToolSource { pinned, hash: found.hash.clone(), ..source.clone() }
}

/// Its memory is smaller after it was started again, and it looks how much there is.
#[tokio::test]
async fn a_component_that_is_not_as_it_was_registered_is_not_called() {
    let restarted = |memory| WasmTools::new(frontdesk_wasm::Limits { memory, ..limits() }, Arc::new(FixedClock::at(0)));
    let [name, description] = [r#":"t""#, r#":"d""#].map(|member| DESCRIBE.find(member).unwrap() + 2);
    let write = |at: usize, byte: u8| {
        format!(
            "(if (i32.eq (memory.grow (i32.const 200)) (i32.const -1))
               (then (i32.store8 (i32.const {}) (i32.const {byte}))))",
            1024 + at
        )
    };
    for (at, byte, code, words) in [
        (
            description,
            b'D',
            "tool_changed",
            "the component describes 't' otherwise than when tool group 'shop' was registered",
        ),
        (name, b'u', "tool_gone", "the component has other tools, 't' not among them, than when"),
    ] {
        let guest = Guest { describing: &write(at, byte), ..Guest::default() };
        let shop = source(guest.build(), &[]);
        let large = restarted(16 << 20);
        let found = large.inspect(&cx(), &shop).await.unwrap();
        let shop = registered(&shop, &found);
        let call = tool_call("t", "{}");
        assert_eq!(result(&large, &shop, &call).await.unwrap().content, "{}");
        let small = restarted(8 << 20);
        let refused = result(&small, &shop, &call).await.expect_err("it is another tool");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some(code)));
        assert!(refused.message.starts_with(words), "{}", refused.message);
        // Who registers it anew accepts it.
        let anew = registered(&shop, &small.inspect(&cx(), &source(guest.build(), &[])).await.unwrap());
        let call = tool_call(&anew.pinned.keys().next().unwrap().clone(), "{}");
        assert_eq!(result(&small, &anew, &call).await.unwrap().content, "{}");
    }
    // Other bytes that describe the same tool.
    let tools = tools();
    let found = tools.inspect(&cx(), &another(0)).await.unwrap();
    let swapped = registered(&another(1), &found);
    let refused = result(&tools, &swapped, &tool_call("t", "{}")).await.expect_err("it is another component");
    assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("tool_changed")));
    assert!(refused.message.starts_with("the component is another one than when"), "{}", refused.message);
}

#[tokio::test]
async fn what_the_model_or_the_tool_did_wrong_is_a_result() {
    let tools = tools();
    let shop = source(SHOP, &["kv"]);
    for (name, arguments, expected) in [
        ("lookup_order", "{", "bad arguments: not JSON: "),
        ("lookup_order", "{}", r#"bad arguments: "order_id" is a required property"#),
        ("delete_everything", "{}", "no tool is called 'delete_everything'"),
    ] {
        let answer = result(&tools, &shop, &tool_call(name, arguments)).await.unwrap();
        assert!(answer.is_error);
        let content: Value = serde_json::from_str(&answer.content).unwrap();
        assert!(content["error"].as_str().unwrap().starts_with(expected), "{content}");
    }
    let spins = source(calling("(loop $l (br $l)) (unreachable)"), &["log", "kv", "clock", "random"]);
    let answer = result(&tools, &spins, &tool_call("t", "")).await.unwrap();
    assert_eq!(answer.content, r#"{"error":"the tool exceeded its cpu time limit of 60 ms"}"#);
    let details = answer.details.unwrap();
    assert_eq!((&details["limit"], &details["allowed"]), (&json!("cpu time"), &json!(60)));
}

#[tokio::test]
async fn what_an_operator_must_mend_is_an_error() {
    let tools = tools();
    let lookup = tool_call("lookup_order", r#"{"order_id":"48213"}"#);
    let cases = [
        (source(SHOP, &[]), Kind::Forbidden, "tool group 'shop': the tool asks for 'kv', which is not granted"),
        (
            source(SHOP, &["everything"]),
            Kind::Invalid,
            "no capability is called 'everything'; the known ones are log, kv, clock, random, fetch, context, keep, wasi",
        ),
        (source(&b"text"[..], &[]), Kind::Invalid, "tool group 'shop': not a WebAssembly component: "),
        (
            source(vec![0; limits().component_bytes + 1], &[]),
            Kind::TooLarge,
            "tool group 'shop': the tool exceeded its component size limit",
        ),
        (
            ToolSource { toolgroup: "shop".into(), ..ToolSource::default() },
            Kind::Invalid,
            "tool group 'shop' has no component",
        ),
    ];
    for (source, kind, expected) in cases {
        let error = result(&tools, &source, &lookup).await.expect_err("an error");
        assert_eq!(error.kind, kind);
        assert!(error.message.starts_with(expected), "{}", error.message);
    }
    let shop = source(SHOP, &["kv"]);
    let error = tools.call(&cx(), &shop, &lookup, Arc::new(BrokenKv)).await.expect_err("the database is away");
    assert_eq!((error.kind, error.message.as_str()), (Kind::Unavailable, "the database is away"));
}

#[tokio::test]
async fn a_callers_deadline_and_cancellation_end_the_call() {
    let tools = WasmTools::new(
        frontdesk_wasm::Limits { cpu: Duration::from_secs(60), wall: Duration::from_secs(600), ..limits() },
        Arc::new(FixedClock::at(0)),
    );
    let spins = source(calling("(loop $l (br $l)) (unreachable)"), &["log", "kv", "clock", "random"]);
    let call = tool_call("t", "{}");
    // Compiled before: what comes is the tool's own time.
    tools.inspect(&cx(), &spins).await.unwrap();
    let late = Cx { deadline: Some(Instant::now() + Duration::from_millis(20)), ..cx() };
    let error = tools.call(&late, &spins, &call, orders()).await.expect_err("too late");
    assert_eq!((error.kind, error.message.as_str()), (Kind::Timeout, "the request's time was up while tool 't' ran"));
    let leaving = cx();
    let (ended, ()) = tokio::join!(tools.call(&leaving, &spins, &call, orders()), async { leaving.cancel.cancel() });
    assert_eq!(ended.expect_err("cancelled").kind, Kind::Cancelled);
}

/// A compiler of which each start is a line in `begun`. It goes on until `go` is there, and then gives `output`.
struct Slow {
    dir: tempfile::TempDir,
}

impl Slow {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        let lines = "#!/bin/sh\necho begun >> AT/begun\nuntil [ -e AT/go ]; do sleep 0.01; done\ncat AT/output\n";
        let program = dir.path().join("compiler");
        std::fs::write(&program, lines.replace("AT", &at.to_string())).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self { dir }
    }

    /// Code in the folder `named`, compiled here where there is no `program`.
    fn kept(&self, named: &str, program: Option<&str>) -> Kept {
        let program = program.map(|name| self.dir.path().join(name));
        Kept { folder: self.dir.path().join(named), program, most: MOST }
    }

    fn tools(&self) -> Arc<WasmTools> {
        let limits = frontdesk_wasm::Limits { wall: Duration::from_secs(60), ..limits() };
        let sandbox = Sandbox::new(limits).compiling(Compiling::Kept(self.kept("code", Some("compiler"))));
        Arc::new(WasmTools::of(sandbox, Arc::new(FixedClock::at(0))))
    }

    fn begun(&self) -> usize {
        std::fs::read_to_string(self.dir.path().join("begun")).unwrap_or_default().lines().count()
    }

    async fn has_begun(&self, times: usize) {
        while self.begun() < times {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A guest like the others that answers `{}`, and yet another component.
fn another(n: usize) -> ToolSource {
    source(Guest { fields: &"(func)".repeat(n), ..Guest::default() }.build(), &[])
}

/// The same, whose callers do not wait for long.
fn hasty(n: usize, wall_ms: u64) -> ToolSource {
    ToolSource { args: json!({ "limits": { "wall_ms": wall_ms } }), ..another(n) }
}

#[tokio::test]
async fn a_component_that_compiles_for_ever_holds_up_no_call_that_needs_no_compiling_and_no_other_tenant() {
    let slow = Slow::new();
    let kept = Sandbox::new(limits()).compiling(Compiling::Kept(slow.kept("code", None)));
    kept.inspect(another(0).body.unwrap()).await.unwrap();
    // As after a restart: nothing is in memory.
    let tools = slow.tools();
    let [bomber, other] = ["bomber", "other"].map(|tenant| Cx::internal(tenant, "request"));
    let bombing = {
        let (tools, bomber) = (Arc::clone(&tools), bomber.clone());
        tokio::spawn(async move { tools.inspect(&bomber, &another(1)).await })
    };
    slow.has_begun(1).await;
    let call = tool_call("t", "{}");
    let answer = async |cx: &Cx, source: &ToolSource| match tools.call(cx, source, &call, orders()).await.unwrap() {
        Outcome::Done(result) => result,
        Outcome::NeedsInput(_) => panic!("it asks nobody"),
    };
    for cx in [&other, &bomber] {
        assert_eq!(answer(cx, &another(0)).await.content, "{}", "{}", cx.tenant);
    }
    // What that tenant has compiled besides waits, whichever of its limits comes first; and so does the bomb itself.
    for waiting in [hasty(1, 150), hasty(2, 150)] {
        let result = answer(&bomber, &waiting).await;
        let message = "the tool is not ready after its wall time limit of 150 ms and was not run: call it again later";
        assert_eq!(result.content, json!({ "error": message }).to_string());
        assert_eq!(result.details.unwrap(), json!({ "limit": "wall time", "allowed": 150 }));
        let late = Cx { deadline: Some(Instant::now() + Duration::from_millis(20)), ..bomber.clone() };
        let words = "the request's time was up while tool group 'shop' was made ready";
        for error in [
            tools.call(&late, &waiting, &call, orders()).await.expect_err("too late"),
            tools.inspect(&late, &waiting).await.expect_err("too late"),
        ] {
            assert_eq!((error.kind, error.message.as_str()), (Kind::Timeout, words));
        }
        let leaving = Cx::internal("bomber", "request");
        let (ended, ()) = tokio::join!(tools.call(&leaving, &waiting, &call, orders()), async {
            leaving.cancel.cancel();
        });
        assert_eq!(ended.expect_err("cancelled").kind, Kind::Cancelled);
    }
    assert_eq!((slow.begun(), bombing.is_finished()), (1, false), "a tenant has one compiled at a time");
    // Another tenant's is compiled beside it.
    let theirs = tokio::spawn(async move { tools.inspect(&other, &another(3)).await });
    slow.has_begun(2).await;
    assert!(!bombing.is_finished() && !theirs.is_finished());
}

#[tokio::test]
async fn a_component_comes_though_those_who_asked_for_it_waited_in_vain() {
    let slow = Slow::new();
    // What the compiler will give.
    let kept = slow.kept("elsewhere", None);
    let wanted = another(1);
    Sandbox::new(limits())
        .compiling(Compiling::Kept(kept.clone()))
        .inspect(wanted.body.clone().unwrap())
        .await
        .unwrap();
    let files = std::fs::read_dir(&kept.folder).unwrap().map(|entry| entry.unwrap().path());
    let code = files.into_iter().find(|path| path.extension().is_some_and(|e| e == "cwasm")).unwrap();
    std::fs::copy(code, slow.dir.path().join("output")).unwrap();
    let tools = slow.tools();
    for _ in 0..3 {
        let answer = result(&tools, &hasty(1, 50), &tool_call("t", "{}")).await.unwrap();
        assert!(answer.is_error && answer.content.contains("is not ready"), "{}", answer.content);
    }
    std::fs::write(slow.dir.path().join("go"), "").unwrap();
    let answer = result(&tools, &wanted, &tool_call("t", "{}")).await.unwrap();
    assert_eq!((answer.content.as_str(), slow.begun()), ("{}", 1));
}

/// The same component as other bytes each time, and more components than are remembered.
#[tokio::test]
async fn what_is_forgotten_is_compiled_again() {
    let tools = tools();
    let lookup = tool_call("lookup_order", r#"{"order_id":"48213"}"#);
    for _ in 0..3 {
        assert!(!result(&tools, &source(SHOP.to_vec(), &["kv"]), &lookup).await.unwrap().is_error);
    }
    let held = source(SHOP.to_vec(), &["kv"]);
    for i in 0..12 {
        // A custom section of 3.5 MB makes each another component.
        let mut bytes = Guest::default().build().to_vec();
        let size = 3_500_000u32;
        bytes.push(0);
        bytes.extend([
            (size & 0x7f) as u8 | 0x80,
            (size >> 7 & 0x7f) as u8 | 0x80,
            (size >> 14 & 0x7f) as u8 | 0x80,
            (size >> 21) as u8,
        ]);
        bytes.extend([1, b'x']);
        bytes.extend(std::iter::repeat_n(i, size as usize - 2));
        let answer = result(&tools, &source(bytes, &[]), &tool_call("t", "{}")).await.unwrap();
        assert_eq!(answer.content, "{}");
    }
    assert!(!result(&tools, &held, &lookup).await.unwrap().is_error);
}

fn build(data_dir: &std::path::Path, config: Value) -> Result<Arc<dyn ToolProvider>, Error> {
    let setting = Setting {
        id: "tools".into(),
        data_dir: data_dir.into(),
        runtime_dir: "run".into(),
        program: "frontdesk".into(),
        clock: Arc::new(FixedClock::at(0)),
        ids: Arc::new(RandomIds),
    };
    let def = PROVIDERS.iter().find(|def| def.kind == "wasm").unwrap();
    let Build::Tools(build) = def.build else { panic!("it builds tools") };
    build(&setting, config)
}

#[tokio::test]
async fn configuration_is_checked_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let build = |config| build(dir.path(), config);
    assert!(build(Value::Null).is_ok());
    let spins = source(calling("(loop $l (br $l)) (unreachable)"), &["log", "kv", "clock", "random"]);
    // There is no program to compile it with; what is there already needs none.
    let kept = Kept { folder: dir.path().join("compiled-tools"), program: None, most: MOST };
    Sandbox::new(limits()).compiling(Compiling::Kept(kept)).inspect(spins.body.clone().unwrap()).await.unwrap();
    let tools = build(
        json!({"cpu_ms": 30, "memory_mib": 8, "output_kib": 64, "wall_ms": 5000, "concurrent": 2, "host_calls": 10}),
    )
    .unwrap();
    let Outcome::Done(answer) = tools.call(&cx(), &spins, &tool_call("t", "{}"), orders()).await.unwrap() else {
        panic!("done")
    };
    assert_eq!(answer.content, r#"{"error":"the tool exceeded its cpu time limit of 30 ms"}"#);
    for (config, param, expected) in [
        (json!({"cpu_ms": 0}), "cpu_ms", "cpu_ms is 0, which is not between 1 and 60000"),
        (json!({"memory_mib": 5000}), "memory_mib", "not between 1 and 4096"),
        (json!({"concurrent": "many"}), "concurrent", "invalid type: string"),
        (json!({"cpu": 5}), "cpu", "unknown field `cpu`"),
    ] {
        let error = build(config).err().expect("refused");
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some(param)));
        assert!(error.message.contains(expected), "{}", error.message);
    }
}

#[tokio::test]
async fn a_group_is_held_to_the_limits_of_its_registration() {
    let tools = tools();
    let all = ["log", "kv", "clock", "random"];
    let spins = source(calling("(loop $l (br $l)) (unreachable)"), &all);
    let narrow = ToolSource { args: json!({ "limits": { "cpu_ms": 10 } }), ..spins.clone() };
    for (source, allowed) in [(&narrow, 10), (&spins, 60)] {
        let answer = result(&tools, source, &tool_call("t", "")).await.unwrap();
        assert_eq!(answer.content, format!(r#"{{"error":"the tool exceeded its cpu time limit of {allowed} ms"}}"#));
    }
    let wide = ToolSource { args: json!({ "limits": { "cpu_ms": 61 } }), ..spins };
    let refused = tools.inspect(&cx(), &wide).await.expect_err("refused");
    assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some("args.limits.cpu_ms")));
}

/// Answers with the key as JSON.
const TELLS: &str = r#"
  (call $key (i32.const 64))
  (i32.store8 (i32.const 9000) (i32.const 34))
  (memory.copy (i32.const 9001) (i32.load (i32.const 64)) (i32.load (i32.const 68)))
  (i32.store8 (i32.add (i32.const 9001) (i32.load (i32.const 68))) (i32.const 34))
  (call $ok (i32.const 9000) (i32.add (i32.load (i32.const 68)) (i32.const 2)))"#;

const KEY: &str = r#"(import "frontdesk:tool/context@0.1.0" "idempotency-key" (func $key (param i32)))"#;

#[tokio::test]
async fn a_tool_learns_the_idempotency_key_of_its_call() {
    let tools = tools();
    let body = Guest { imports: KEY, call: TELLS, ..Guest::default() }.build();
    let granted = source(body.clone(), &["context"]);
    assert_eq!(tools.inspect(&cx(), &granted).await.unwrap().requests, ["context"]);
    for key in ["call_1", "step_7:call_2"] {
        let call = ToolCall { id: key.into(), ..tool_call("t", "{}") };
        let answer = result(&tools, &granted, &call).await.unwrap();
        assert_eq!(answer.content, format!("\"{key}\""));
        assert_eq!(answer.details.unwrap()["host_calls"], 1);
    }
    let refused = result(&tools, &source(body, &[]), &tool_call("t", "{}")).await.expect_err("refused");
    assert!(refused.message.contains("the tool asks for 'context', which is not granted"), "{}", refused.message);
    // While it is looked into there is no call.
    let early = Guest { imports: KEY, describing: "(call $key (i32.const 64))", ..Guest::default() }.build();
    let refused = tools.inspect(&cx(), &source(early, &["context"])).await.expect_err("refused");
    assert!(refused.message.contains("context may not be used while the tool describes itself"), "{}", refused.message);
}
