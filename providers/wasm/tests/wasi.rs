//! Bare WASI around a tool: asked for and granted as one power, with a clock and chance and nothing else behind it.
//!
//! What misuses it is among the attacks of `common/bombs.rs`; that a whole language runs in it is shown by the interpreters
//! (`code/`) and by a tool that is built in Python (tests/conformance/test_authoring.py).

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{Guest, WASI, call, grants, inspect, refusal, sandbox, text, wasi};
use frontdesk_api::{
    Cx,
    chat::ToolCall,
    clock::FixedClock,
    cx::Workspace,
    tools::{Outcome, ToolProvider, ToolSource},
};
use frontdesk_wasm::{Capabilities, Capability, HostGrants, Random, Wasi, authoring, provider::WasmTools};

const OK: &str = "(call $ok (i32.const 8192) (i32.const 2))";

/// Crashes unless the two are the same.
fn expect(found: &str, expected: u64) -> String {
    format!("(if (i64.ne {found} (i64.const {expected})) (then (unreachable)))")
}

fn guest(call: &str) -> Bytes {
    Guest { imports: WASI, call, ..Guest::default() }.build()
}

#[tokio::test]
async fn it_is_one_power_that_is_shown_and_granted() {
    let sandbox = sandbox();
    let bytes =
        guest(&format!("(call $wall (i32.const 64)) {} {OK}", expect("(i64.load (i32.const 64))", 1_700_000_000)));
    let asked: Capabilities = [Capability::Wasi].into_iter().collect();
    assert_eq!(authoring::powers(&bytes, sandbox.limits()).unwrap(), asked);
    let component = inspect(&sandbox, bytes).await;
    assert_eq!(component.requests(), asked);
    for clock_and_random in [HostGrants::default(), HostGrants { wasi: None, ..grants() }] {
        let refused = text(sandbox.call(&component, "t", "{}", clock_and_random).await).expect_err("refused");
        assert_eq!(refused.to_string(), "the tool asks for 'wasi', which is not granted");
    }
    let granted = HostGrants { wasi: Some(wasi()), ..HostGrants::default() };
    let call = sandbox.call(&component, "t", "{}", granted).await;
    assert_eq!((call.spent.used, call.spent.host_calls), (asked, 1));
    assert_eq!(text(call).unwrap(), "{}");
}

#[tokio::test]
async fn chance_is_the_one_that_was_put_in() {
    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> frontdesk_api::Result<()> {
            bytes.fill(b'7');
            Ok(())
        }
    }
    let sandbox = sandbox();
    let number = expect("(call $number)", u64::from_ne_bytes(*b"77777777"));
    let bytes =
        "(call $chance (i64.const 3) (i32.const 64)) (call $ok (i32.load (i32.const 64)) (i32.load (i32.const 68)))";
    let component = inspect(&sandbox, guest(&format!("{number} {bytes}"))).await;
    let sevens = HostGrants { wasi: Some(Wasi { random: Arc::new(Sevens), ..wasi() }), ..HostGrants::default() };
    assert_eq!(text(sandbox.call(&component, "t", "{}", sevens).await).unwrap(), "777");
}

/// What a sandbox does not have is named; of what it has, what has nothing behind it.
#[tokio::test]
async fn what_is_no_part_of_it_is_refused_by_name() {
    let sandbox = sandbox();
    let http = r#"(import "wasi:http/outgoing-handler@0.2.9" "handle" (func $handle (result i32)))"#;
    let http = Guest { imports: http, call: "(drop (call $handle)) (unreachable)", ..Guest::default() }.build();
    let told = refusal(&sandbox, http).await;
    assert!(
        told.starts_with("not a tool component: it imports 'wasi:http/outgoing-handler@0.2.9'; what a tool"),
        "{told}"
    );
    assert!(told.contains("of WASI 0.2 the clocks, random and the cli, filesystem, io and sockets that"), "{told}");
    for name in [
        "wasi:clocks/timezone@0.2.9",
        "wasi:clocks/wall-clock@0.3.0",
        "wasi:clocks/wall-clock@0.2.0-rc",
        "wasi:cli/run@0.2.0",
    ] {
        let foreign = wat::parse_str(format!("(component (import \"{name}\" (instance)))")).unwrap();
        let told = refusal(&sandbox, foreign.into()).await;
        assert!(told.contains(&format!("it imports '{name}'")), "{told}");
    }
    // No runtime can be without the names of these; there is no socket to be had.
    let sockets = r#"(import "wasi:sockets/instance-network@0.2.9" "instance-network" (func $network (result i32)))"#;
    let sockets = Guest { imports: sockets, call: "(drop (call $network)) (unreachable)", ..Guest::default() }.build();
    let told = refusal(&sandbox, sockets).await;
    let named = "'wasi:sockets/instance-network@0.2.9#instance-network', which bare WASI does not have";
    assert_eq!(told, format!("the tool crashed: it called {named}"));
    // Ours by name, of another shape, and of very many parts.
    for (functions, words) in [
        (r#"(export "now" (func (param "n" u32)))"#.to_owned(), "`wasi:clocks/wall-clock@0.2.9`"),
        ((0..129).map(|n| format!(r#"(export "f{n}" (func))"#)).collect(), "has more than 128 parts"),
    ] {
        let foreign = format!(
            r#"(component
              (import "wasi:clocks/wall-clock@0.2.9" (instance {functions}))
              (core module $m (func (export "f") (result i64) (i64.const 0)))
              (core instance $i (instantiate $m))
              (func $f (result u64) (canon lift (core func $i "f")))
              (instance $t (export "describe" (func $f)) (export "call" (func $f)))
              (export "frontdesk:tool/tools@0.1.0" (instance $t)))"#
        );
        let told = refusal(&sandbox, wat::parse_str(foreign).unwrap().into()).await;
        assert!(told.contains(words), "{told}");
    }
}

#[tokio::test]
async fn while_a_tool_describes_itself_time_and_chance_stand_still() {
    let still = [
        "(call $wall (i32.const 64))".to_owned(),
        expect("(i64.load (i32.const 64))", 0),
        expect("(call $elapsed)", 0),
        expect("(call $elapsed)", 0),
        expect("(call $number)", 0),
        // And nothing has to be waited for.
        "(if (i32.eqz (call $ready (call $wait (i64.const -1)))) (then (unreachable)))".to_owned(),
    ];
    let moving = format!("(if (i64.eqz (call $elapsed)) (then (unreachable))) {OK}");
    let bytes = Guest { imports: WASI, describing: &still.concat(), call: &moving, ..Guest::default() }.build();
    let sandbox = sandbox();
    let component = inspect(&sandbox, bytes).await;
    assert_eq!(text(call(&sandbox, &component).await).unwrap(), "{}");
}

/// Holds a handle to tomorrow, and the time it took it at. It would be ready now if its moment were forgotten, and earlier
/// than then if its clock began anew.
#[tokio::test]
async fn what_a_kept_instance_waits_for_is_there_at_its_next_call() {
    let describe =
        r#"[{"name":"t","description":"d","parameters":{"type":"object"},"effect":"none","keep":"conversation"}]"#;
    let call = format!(
        "(if (global.get $tomorrow)
           (then
             (if (call $ready (global.get $tomorrow)) (then (unreachable)))
             (if (i64.lt_u (call $elapsed) (global.get $then)) (then (unreachable)))
             (return (call $ok (i32.const 8193) (i32.const 1)))))
         (call $block (call $wait (i64.const 20000000)))
         (global.set $then (call $elapsed))
         (global.set $tomorrow (call $wait (i64.const -1)))
         {OK}"
    );
    let fields = "(global $tomorrow (mut i32) (i32.const 0)) (global $then (mut i64) (i64.const 0))";
    let body = Guest { imports: WASI, fields, describe, call: &call, ..Guest::default() }.build();
    let grants = ["wasi", "keep"].map(str::to_owned).into();
    let source = ToolSource { toolgroup: "desk".into(), body: Some(body), grants, ..ToolSource::default() };
    let cx =
        Cx { workspace: Some(Workspace { id: "s".into(), ..Workspace::default() }), ..Cx::internal("tenant", "r") };
    let tools = WasmTools::new(common::limits(), Arc::new(FixedClock::at(0)));
    for expected in ["{}", "}"] {
        let asked = ToolCall { id: "c".into(), name: "t".into(), arguments: "{}".into() };
        let Outcome::Done(told) = tools.call(&cx, &source, &asked, common::MemoryKv::with(&[])).await.unwrap() else {
            panic!("it asks nobody")
        };
        assert_eq!(told.content, expected);
    }
}
