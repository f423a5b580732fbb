//! Tools that keep their instance for a conversation: whose it is, what ends it, and what still counts call by call.

#![allow(clippy::unwrap_used)] // a panic is how a test fails
#![allow(clippy::disallowed_methods)] // whoever changes the guest says so by the environment

mod common;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use common::{BrokenKv, Gate, Guest, IMPORTS, MemoryKv, limits};
use frontdesk_api::{
    Cx, Error, Kind,
    chat::ToolCall,
    clock::FixedClock,
    customer::Customer,
    cx::Workspace,
    tools::{Inspected, Outcome, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use frontdesk_wasm::{Bounds, Limits, Sandbox, provider::WasmTools};
use serde_json::{Value, json};

/// Two tools that count their calls and answer the number; `asking` what they say of keeping.
fn describe(asking: &str) -> String {
    let tool = |name| {
        format!(r#"{{"name":"{name}","description":"d","parameters":{{"type":"object"}},"effect":"none"{asking}}}"#)
    };
    format!("[{},{}]", tool("t"), tool("other"))
}

/// The argument's first letter says what it does before it counts.
const CALL: &str = r#"
  (if (i32.gt_u (local.get $args_len) (i32.const 2))
    (then (local.set $i (i32.load8_u (i32.add (local.get $args) (i32.const 2))))))
  (if (i32.eq (local.get $i) (i32.const 115)) (then (loop $l (br $l))))
  (if (i32.eq (local.get $i) (i32.const 116)) (then (unreachable)))
  (if (i32.eq (local.get $i) (i32.const 102)) (then (return (call $failed (i32.const 8192) (i32.const 2)))))
  (if (i32.eq (local.get $i) (i32.const 111)) (then (return (call $ok (i32.const 131072) (i32.const 300000)))))
  (if (i32.eq (local.get $i) (i32.const 103))
    (then (if (i32.eq (memory.grow (i32.const 80)) (i32.const -1)) (then (unreachable)))))
  (local.set $j (global.get $n))
  (if (i32.eq (local.get $i) (i32.const 107))
    (then
      (call $get (i32.const 8192) (i32.const 2) (i32.const 64))
      (call $get (i32.const 8192) (i32.const 2) (i32.const 64))))
  (global.set $n (i32.add (local.get $j) (i32.const 1)))
  (i32.store8 (i32.const 9000) (i32.add (i32.const 48) (global.get $n)))
  (call $ok (i32.const 9000) (i32.const 1))"#;

const GET: &str = r#"(import "frontdesk:tool/kv@0.1.0" "get" (func $get (param i32 i32 i32)))"#;

fn counter(asking: &str, more: &str) -> Bytes {
    let fields = format!("(global $n (mut i32) (i32.const 0)) {more}");
    Guest { imports: GET, fields: &fields, describe: &describe(asking), call: CALL, ..Guest::default() }.build()
}

fn counting() -> ToolSource {
    granted(counter(r#","keep":"conversation""#, ""), &["kv", "keep"])
}

fn granted(body: Bytes, grants: &[&str]) -> ToolSource {
    let grants = grants.iter().map(|&grant| grant.to_owned()).collect();
    ToolSource { toolgroup: "desk".into(), revision: "1".into(), body: Some(body), grants, ..ToolSource::default() }
}

fn on(limits: Limits, bounds: Bounds) -> WasmTools {
    WasmTools::of(Sandbox::new(limits).keeping(bounds), Arc::new(FixedClock::at(0)))
}

fn tools() -> WasmTools {
    on(limits(), Bounds::default())
}

/// A turn of a session.
fn turn(session: &str) -> Cx {
    let workspace = Workspace { id: session.into(), ..Workspace::default() };
    Cx { workspace: Some(workspace), agent: Some("agent".into()), ..Cx::internal("tenant", "request") }
}

async fn ask(tools: &WasmTools, cx: &Cx, source: &ToolSource, arguments: &str) -> Result<ToolResult, Error> {
    ask_for(tools, cx, source, "t", arguments).await
}

async fn ask_for(
    tools: &WasmTools,
    cx: &Cx,
    source: &ToolSource,
    name: &str,
    arguments: &str,
) -> Result<ToolResult, Error> {
    let call = ToolCall { id: "call_1".into(), name: name.into(), arguments: arguments.into() };
    ask_with(tools, cx, source, &call, MemoryKv::with(&[])).await
}

async fn ask_with(
    tools: &WasmTools,
    cx: &Cx,
    source: &ToolSource,
    call: &ToolCall,
    host: Arc<dyn ToolHost>,
) -> Result<ToolResult, Error> {
    match tools.call(cx, source, call, host).await? {
        Outcome::Done(result) => Ok(result),
        Outcome::NeedsInput(_) => panic!("it asks nobody"),
    }
}

/// What it counts to; `word` is the argument.
async fn count(tools: &WasmTools, cx: &Cx, source: &ToolSource, word: &str) -> String {
    ask(tools, cx, source, word).await.unwrap().content
}

const ANEW: &str = "; the tool was started anew, so what it kept of this conversation is gone";

#[tokio::test]
async fn what_a_tool_keeps_stays_in_its_conversation() {
    let (tools, source, mine) = (tools(), counting(), turn("s"));
    assert_eq!(count(&tools, &mine, &source, "{}").await, "1");
    let second = ask(&tools, &mine, &source, "{}").await.unwrap();
    assert_eq!((second.content.as_str(), &second.details.unwrap()["resumed"]), ("2", &json!(true)));
    let customer = |sub: &str| Some(Customer { sub: sub.into(), ..Customer::default() });
    for (who, cx) in [
        ("another conversation", turn("other")),
        ("another customer", Cx { customer: customer("c"), ..turn("s") }),
        ("another agent", Cx { agent: Some("else".into()), ..turn("s") }),
        ("no agent", Cx { agent: None, ..turn("s") }),
        ("another tenant", Cx { tenant: "else".into(), ..turn("s") }),
    ] {
        let first = ask(&tools, &cx, &source, "{}").await.unwrap();
        assert_eq!((first.content.as_str(), &first.details.unwrap()["resumed"]), ("1", &json!(false)), "{who}");
        assert_eq!(count(&tools, &cx, &source, "{}").await, "2", "{who}");
    }
    for _ in 0..2 {
        let alone = ask(&tools, &Cx::internal("tenant", "request"), &source, "{}").await.unwrap();
        assert_eq!((alone.content.as_str(), alone.details.unwrap().get("resumed")), ("1", None), "no conversation");
    }
    assert_eq!(ask_for(&tools, &mine, &source, "other", "{}").await.unwrap().content, "1", "another tool");
    let elsewhere = ToolSource { toolgroup: "elsewhere".into(), ..source.clone() };
    assert_eq!(count(&tools, &mine, &elsewhere, "{}").await, "1", "another group");
    assert_eq!(count(&tools, &mine, &source, "{}").await, "3");
}

#[tokio::test]
async fn keeping_is_asked_for_and_granted_or_not_there() {
    let tools = tools();
    let silent = granted(counter("", ""), &["kv", "keep"]);
    for _ in 0..2 {
        assert_eq!(count(&tools, &turn("s"), &silent, "{}").await, "1", "it does not ask for it");
    }
    let refused = granted(counting().body.unwrap(), &["kv"]);
    let error = ask(&tools, &turn("s"), &refused, "{}").await.expect_err("not granted");
    assert_eq!(error.kind, Kind::Forbidden);
    assert_eq!(error.message, "tool group 'desk': the tool asks for 'keep', which is not granted");
    // What registration goes by, and says is missing.
    let requests = async |source| tools.inspect(&turn("s"), &source).await.unwrap();
    let Inspected { requests: asked, tools: found, .. } = requests(refused).await;
    assert_eq!(asked, ["kv", "keep"]);
    assert!(found.iter().all(|tool| tool.alone), "its calls stand in line");
    let Inspected { requests: asked, tools: found, .. } = requests(silent).await;
    assert_eq!(asked, ["kv"]);
    assert!(found.iter().all(|tool| !tool.alone));
}

#[tokio::test]
async fn what_ends_a_call_ends_what_was_kept_and_says_so() {
    let (tools, source, cx) = (tools(), counting(), turn("s"));
    for (word, told) in [
        (r#"{"s":1}"#, "the tool exceeded its cpu time limit of 60 ms"),
        (r#"{"o":1}"#, "the tool exceeded its output limit of 262144 bytes"),
        (r#"{"t":1}"#, "the tool crashed: wasm trap: wasm `unreachable` instruction executed"),
    ] {
        assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
        let ended = ask(&tools, &cx, &source, word).await.unwrap();
        assert_eq!(ended.content, json!({ "error": format!("{told}{ANEW}") }).to_string());
        assert!(ended.is_error);
        let first = ask(&tools, &cx, &source, "{}").await.unwrap();
        assert_eq!((first.content.as_str(), &first.details.unwrap()["resumed"]), ("1", &json!(false)));
        tools.retire(&cx, &source);
    }
    // An error of the tool's own ends nothing, and neither do arguments that never reach it.
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
    for word in [r#"{"f":1}"#, "[]"] {
        let failed = ask(&tools, &cx, &source, word).await.unwrap();
        assert!(failed.is_error && !failed.content.contains("anew"), "{}", failed.content);
    }
    assert_eq!(count(&tools, &cx, &source, "{}").await, "2");
}

#[tokio::test]
async fn memory_is_one_limit_for_all_calls_of_an_instance() {
    let (tools, source, cx) = (tools(), counting(), turn("s"));
    // 16 MiB are allowed, half a MiB was there; each call grows it by 5 MiB and no call by more than is allowed.
    for n in 1..=3 {
        assert_eq!(count(&tools, &cx, &source, r#"{"g":1}"#).await, n.to_string());
    }
    let full = ask(&tools, &cx, &source, r#"{"g":1}"#).await.unwrap();
    let told = format!("the tool exceeded its memory limit of 16777216 bytes{ANEW}");
    assert_eq!(full.content, json!({ "error": told }).to_string());
    assert_eq!(count(&tools, &cx, &source, r#"{"g":1}"#).await, "1");
}

/// All tenants' instances together have room for one that has grown.
#[tokio::test]
async fn what_is_kept_is_bounded_in_number_and_memory() {
    let (source, grow) = (counting(), r#"{"g":1}"#);
    let tools = on(limits(), Bounds { bytes: 8 << 20, ..Bounds::default() });
    assert_eq!(count(&tools, &turn("s"), &source, grow).await, "1");
    assert_eq!(count(&tools, &turn("other"), &source, grow).await, "1");
    assert_eq!(count(&tools, &turn("s"), &source, "{}").await, "1", "it made room");
    let tools = on(limits(), Bounds { sessions: 2, ..Bounds::default() });
    for session in ["1", "2", "3"] {
        assert_eq!(count(&tools, &turn(session), &source, "{}").await, "1");
    }
    assert_eq!(count(&tools, &turn("3"), &source, "{}").await, "2");
    assert_eq!(count(&tools, &turn("1"), &source, "{}").await, "1");
}

#[tokio::test]
async fn time_and_host_calls_count_for_each_call_anew() {
    // Both are used up by few calls.
    let tools = on(Limits { host_calls: 3, wall: Duration::from_secs(60), ..limits() }, Bounds::default());
    let (source, cx) = (counting(), turn("s"));
    for n in 1..=4 {
        let told = ask(&tools, &cx, &source, r#"{"k":1}"#).await.unwrap();
        assert_eq!((told.content, &told.details.unwrap()["host_calls"]), (n.to_string(), &json!(2)));
    }
}

#[tokio::test]
async fn trouble_of_the_hosts_that_ends_what_was_kept_says_so() {
    let (tools, source, cx) = (tools(), counting(), turn("s"));
    let call = ToolCall { id: "c".into(), name: "t".into(), arguments: r#"{"k":1}"#.into() };
    let down = async || ask_with(&tools, &cx, &source, &call, Arc::new(BrokenKv)).await.expect_err("down").message;
    assert_eq!(down().await, "the database is away", "there was nothing before");
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
    assert_eq!(down().await, format!("the database is away{ANEW}"));
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
}

#[tokio::test]
async fn who_waits_for_a_call_of_its_own_conversation_is_told_so() {
    let (tools, source, cx, gate) = (
        on(Limits { wall: Duration::from_secs(60), ..limits() }, Bounds::default()),
        counting(),
        turn("s"),
        Gate::closed(true),
    );
    tools.inspect(&cx, &source).await.unwrap();
    let call = ToolCall { id: "c".into(), name: "t".into(), arguments: r#"{"k":1}"#.into() };
    let first = ask_with(&tools, &cx, &source, &call, gate.clone());
    let second = async {
        let _entered = gate.entered.acquire().await.unwrap();
        let short = ToolSource { args: json!({ "limits": { "wall_ms": 1 } }), ..source.clone() };
        ask(&tools, &cx, &short, "{}").await
    };
    let second = tokio::select! {
        first = first => panic!("the first call ended: {first:?}"),
        second = second => second,
    };
    let refused = second.expect_err("it waited");
    assert_eq!(refused.kind, Kind::Unavailable);
    let told = "tool group 'desk': an earlier call of the same conversation still ran at the end of the wall time limit of 1 ms";
    assert_eq!(refused.message, told);
}

#[tokio::test]
async fn waiting_is_no_time_of_the_calls_own() {
    let limits = Limits { wall: Duration::from_secs(60), ..limits() };
    let (tools, source, cx, gate) = (on(limits, Bounds::default()), counting(), turn("s"), Gate::closed(false));
    tools.inspect(&cx, &source).await.unwrap();
    let call = ToolCall { id: "c".into(), name: "t".into(), arguments: r#"{"k":1}"#.into() };
    let first = ask_with(&tools, &cx, &source, &call, gate.clone());
    let second = async {
        drop(gate.entered.acquire().await.unwrap());
        let result = ask(&tools, &cx, &source, "{}").await.unwrap();
        (result, Instant::now())
    };
    let opened = async {
        drop(gate.entered.acquire().await.unwrap());
        tokio::time::sleep(Duration::from_millis(300)).await;
        let at = Instant::now();
        gate.open.add_permits(1);
        at
    };
    let (first, (second, ended), opened) = tokio::join!(first, second, opened);
    assert_eq!((first.unwrap().content.as_str(), second.content.as_str()), ("1", "2"));
    let wall = second.details.unwrap()["wall_us"].as_u64().unwrap();
    assert!(u128::from(wall) <= ended.duration_since(opened).as_micros(), "{wall}");
}

#[tokio::test]
async fn tables_and_what_the_engine_has_around_an_instance_count() {
    let body = counter(r#","keep":"conversation""#, "(table 16000 funcref)");
    let source = granted(body, &["kv", "keep"]);
    let first = ask(&tools(), &turn("s"), &source, "{}").await.unwrap();
    let memory = usize::try_from(first.details.unwrap()["memory_bytes"].as_u64().unwrap()).unwrap();
    let (tables, around, more) = (16_000 * size_of::<usize>(), 64 << 10, 4096);
    for (each, kept) in [(tables + around, "2"), (tables, "1"), (around, "1")] {
        // The component's own frame has a table of few elements.
        let bytes = 2 * (memory + each) + more;
        let tools = on(limits(), Bounds { bytes, ..Bounds::default() });
        for session in ["s", "other"] {
            assert_eq!(count(&tools, &turn(session), &source, "{}").await, "1");
        }
        assert_eq!(count(&tools, &turn("s"), &source, "{}").await, kept, "{bytes}");
    }
}

/// Says a word to the log and answers its call's key, or what is kept under `{}`.
const TELLS: &str = r#"
  (call $log (i32.const 1) (i32.const 8192) (i32.const 2))
  (call $key (i32.const 80))
  (call $get (i32.const 8192) (i32.const 2) (i32.const 64))
  (if (i32.eqz (i32.load8_u (i32.const 64))) (then (return (call $ok (i32.load (i32.const 80)) (i32.load (i32.const 84))))))
  (call $ok (i32.load (i32.const 68)) (i32.load (i32.const 72)))"#;

const KEY: &str = r#"(import "frontdesk:tool/context@0.1.0" "idempotency-key" (func $key (param i32)))"#;

#[tokio::test]
async fn a_call_of_a_kept_instance_has_nothing_of_the_hosts_that_was_the_one_befores() {
    let imports = format!("{IMPORTS}{KEY}");
    let describe = describe(r#","keep":"conversation""#);
    let body = Guest { imports: &imports, describe: &describe, call: TELLS, ..Guest::default() }.build();
    let all = ["log", "kv", "clock", "random", "context", "keep"];
    let (tools, source, cx) = (tools(), granted(body, &all), turn("s"));
    let host = |value: Option<&str>| MemoryKv::with(value.map(|value| ("{}", value)).as_slice());
    let mut seen = vec![];
    for (id, value) in [("call_1", Some("hers")), ("call_2", Some("his")), ("call_3", None)] {
        let host = host(value);
        let call = ToolCall { id: id.into(), name: "t".into(), arguments: "{}".into() };
        let told = ask_with(&tools, &cx, &source, &call, host.clone()).await.unwrap();
        assert_eq!(told.content, value.unwrap_or(id), "its own host, or its own key");
        assert_eq!(Arc::strong_count(&host), 1, "between calls nobody holds it");
        let details = told.details.unwrap();
        assert_eq!(
            (&details["host_calls"], details["log"].as_array().map(Vec::len)),
            (&json!(3), Some(1)),
            "{details}"
        );
        seen.push(details["resumed"].clone());
    }
    assert_eq!(seen, [false, true, true].map(|resumed| json!(resumed)));
}

/// Each reads, asks the host, and writes: two at the same time would count the same.
#[tokio::test]
async fn calls_of_one_conversation_do_not_mix() {
    let (tools, source, cx) = (tools(), counting(), turn("s"));
    tools.inspect(&cx, &source).await.unwrap();
    let one = || count(&tools, &cx, &source, r#"{"k":1}"#);
    let mut counted: [String; 4] = tokio::join!(one(), one(), one(), one()).into();
    counted.sort();
    assert_eq!(counted, ["1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_tool_that_was_registered_anew_does_not_meet_what_was_kept() {
    let (tools, source, cx) = (tools(), counting(), turn("s"));
    let all = ["kv", "keep", "log"];
    let body = source.body.clone().unwrap();
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
    for (what, now) in [
        ("the same again", ToolSource { revision: "2".into(), ..source.clone() }),
        ("other grants", granted(body, &all)),
        ("another component", granted(counter(r#","keep":"conversation""#, "(func)"), &["kv", "keep"])),
    ] {
        assert_eq!(count(&tools, &cx, &now, "{}").await, "1", "{what}");
        assert_eq!(count(&tools, &cx, &now, "{}").await, "2", "{what}");
    }
    // What the registry says when it was changed: there is nothing left of it, whatever comes later.
    let other = turn("other");
    assert_eq!(count(&tools, &other, &source, "{}").await, "1");
    tools.retire(&Cx { tenant: "else".into(), ..cx.clone() }, &source);
    assert_eq!(count(&tools, &cx, &source, "{}").await, "2", "another tenant's group is another");
    tools.retire(&cx, &source);
    for cx in [&cx, &other] {
        assert_eq!(count(&tools, cx, &source, "{}").await, "1");
    }
}

#[tokio::test]
async fn what_is_kept_for_a_conversation_goes_when_it_is_deleted() {
    let (tools, source, cx, other) = (tools(), counting(), turn("s"), turn("other"));
    for cx in [&cx, &other] {
        assert_eq!(count(&tools, cx, &source, "{}").await, "1");
    }
    tools.forget_conversations(&Cx { tenant: "else".into(), ..cx.clone() }, &["s".into()]);
    assert_eq!(count(&tools, &cx, &source, "{}").await, "2", "another tenant's of that name");
    tools.forget_conversations(&cx, &["s".into(), "cntr_1".into()]);
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
    assert_eq!(count(&tools, &other, &source, "{}").await, "2");
}

#[tokio::test]
async fn a_turn_without_a_session_goes_on_with_what_the_one_before_left() {
    let (tools, source) = (tools(), counting());
    let turn = |id: &str, after: &[&str]| {
        let after = after.iter().map(|&turn| turn.to_owned()).collect();
        let workspace = Workspace { id: id.into(), after, ..Workspace::default() };
        Cx { turn: Some(id.into()), workspace: Some(workspace), ..turn(id) }
    };
    assert_eq!(count(&tools, &turn("1", &[]), &source, "{}").await, "1");
    assert_eq!(count(&tools, &turn("2", &["1"]), &source, "{}").await, "2");
    assert_eq!(count(&tools, &turn("3", &["1"]), &source, "{}").await, "1", "a branch");
}

#[tokio::test]
async fn a_call_that_is_given_up_leaves_nothing_half_run() {
    let (source, cx) = (counting(), turn("s"));
    let tools =
        on(Limits { cpu: Duration::from_secs(60), wall: Duration::from_secs(60), ..limits() }, Bounds::default());
    assert_eq!(count(&tools, &cx, &source, "{}").await, "1");
    let late = Cx { deadline: Some(Instant::now() + Duration::from_millis(20)), ..cx.clone() };
    let error = ask(&tools, &late, &source, r#"{"s":1}"#).await.expect_err("too late");
    assert_eq!(error.kind, Kind::Timeout);
    let first: Value = serde_json::from_str(&count(&tools, &cx, &source, "{}").await).unwrap();
    assert_eq!(first, 1);
}

/// Tools of the tests that meet the program as a process (tests/it/attacked.rs), told apart by their first letter.
const ATTACKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tools/attacker.wasm");

const GRANTS: &[&str] = &["clock", "keep"];

const ATTACKS: &str = r#"
  (local.set $i (i32.load8_u (local.get $name)))
  (if (i32.eq (local.get $i) (i32.const 108)) (then (loop $l (br $l))))
  (if (i32.eq (local.get $i) (i32.const 104))
    (then (loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then (unreachable))) (br $l))))
  (if (i32.eq (local.get $i) (i32.const 102)) (then (return (call $ok (i32.const 131072) (i32.const 300000)))))
  (if (i32.eq (local.get $i) (i32.const 97)) (then (loop $l (drop (call $now)) (br $l))))
  (if (i32.eq (local.get $i) (i32.const 114)) (then (return (call $r (i32.const 1)))))
  (if (i32.eq (local.get $i) (i32.const 119))
    (then (loop $l (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then (unreachable))) (br $l))))
  (if (i32.eq (local.get $i) (i32.const 116)) (then (unreachable)))
  (global.set $n (i32.add (global.get $n) (i32.const 1)))
  (i32.store8 (i32.const 9000) (i32.add (i32.const 48) (global.get $n)))
  (call $ok (i32.const 9000) (i32.const 1))"#;

#[tokio::test]
async fn the_fixture_is_this_guest() {
    let tool = |name: &str, keep: &str| {
        json!({ "name": name, "description": "d", "effect": "none", "risk": "read", "keep": keep,
                "parameters": { "type": "object" } })
    };
    let ends = [
        ("loop", "cpu time"),
        ("hoard", "memory"),
        ("flood", "output"),
        ("asks", "host calls"),
        ("recursion", "stack"),
        ("widens", "table"),
    ];
    let attacks = ends.iter().map(|(name, _)| *name).chain(["traps"]).map(|name| tool(name, "nothing"));
    let describe = Value::from_iter(attacks.chain([tool("count", "conversation")])).to_string();
    let fields = r#"(global $n (mut i32) (i32.const 0)) (table $t 1 funcref)
      (func $r (param i32) (result i32) (i32.add (i32.const 1) (call $r (local.get 0))))"#;
    let imports = r#"(import "frontdesk:tool/clock@0.1.0" "now" (func $now (result i64)))"#;
    let built = Guest { imports, fields, describe: &describe, call: ATTACKS, ..Guest::default() }.build();
    if std::env::var_os("FRONTDESK_WRITE_FIXTURES").is_some() {
        std::fs::write(ATTACKER, &built).unwrap();
    }
    // What it does, not how an encoder writes it.
    let (tools, source) = (tools(), granted(std::fs::read(ATTACKER).unwrap().into(), GRANTS));
    let found = tools.inspect(&turn("s"), &source).await.unwrap();
    let of = tools.inspect(&turn("s"), &granted(built, GRANTS)).await.unwrap();
    assert_eq!((found.tools, found.requests), (of.tools, of.requests));
    for (name, told) in ends {
        let ended = ask_for(&tools, &turn("s"), &source, name, "{}").await.unwrap();
        assert_eq!(ended.details.unwrap()["limit"], told);
    }
    for n in ["1", "2"] {
        assert_eq!(ask_for(&tools, &turn("s"), &source, "count", "{}").await.unwrap().content, n);
    }
}
