//! Components that misbehave: each is stopped by the right limit, by name and figure, and the sandbox
//! that stopped it answers the next call.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use common::{Guest, Hangs, IMPORTS, call, calling, grants, inspect, limits, refusal, sandbox, text};
use frontdesk_wasm::{Fault, Limit, Limits, Sandbox};

/// Stopped as expected, and an honest component is answered afterwards.
async fn stopped(sandbox: &Sandbox, bytes: Bytes, expected: &str) {
    let refusal = refusal(sandbox, bytes).await;
    assert!(refusal.contains(expected), "{expected:?} is not in {refusal:?}");
    let honest = inspect(sandbox, Guest::default().build()).await;
    assert_eq!(text(call(sandbox, &honest).await).unwrap(), "{}");
}

#[tokio::test]
async fn what_runs_for_ever_meets_the_cpu_limit() {
    let sandbox = sandbox();
    let spin = "(loop $l (br $l)) (unreachable)";
    stopped(&sandbox, calling(spin), "cpu time limit of 60 ms").await;
    let in_start = Guest { fields: &format!("(func $s {spin}) (start $s)"), ..Guest::default() }.build();
    stopped(&sandbox, in_start, "cpu time limit of 60 ms").await;
    // Host calls in between do not help: they are charged too.
    let generous = Sandbox::new(Limits { host_calls: u32::MAX, ..limits() });
    stopped(&generous, calling("(loop $l (drop (call $now)) (br $l)) (unreachable)"), "cpu time limit of 60 ms").await;
}

#[tokio::test]
async fn describing_itself_for_ever_is_stopped_too() {
    let sandbox = sandbox();
    let in_start = Guest { fields: "(func $s (loop $l (br $l))) (start $s)", ..Guest::default() }.build();
    let fault = sandbox.inspect(in_start).await.expect_err("refused");
    assert_eq!(fault.to_string(), "the tool exceeded its cpu time limit of 60 ms");
}

#[tokio::test]
async fn a_host_call_that_hangs_meets_the_wall_limit() {
    let sandbox = Sandbox::new(Limits { wall: Duration::from_secs(2), ..limits() });
    let bytes =
        calling("(call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (call $ok (i32.const 8192) (i32.const 2))");
    let component = inspect(&sandbox, bytes).await;
    let hanging = frontdesk_wasm::HostGrants { kv: Some(Arc::new(Hangs)), ..grants() };
    let fault = text(sandbox.call(&component, "t", "{}", hanging).await).expect_err("stopped");
    assert_eq!(fault.to_string(), "the tool exceeded its wall time limit of 2000 ms");
    // The slot is free again; four were there.
    for _ in 0..5 {
        assert_eq!(text(call(&sandbox, &component).await).unwrap(), "{}");
    }
}

#[tokio::test]
async fn deep_recursion_meets_the_stack_limit() {
    let recurse = Guest {
        fields: "(func $r (param i32) (result i32) (i32.add (i32.const 1) (call $r (local.get 0))))",
        call: "(call $r (i32.const 1))",
        ..Guest::default()
    };
    stopped(&sandbox(), recurse.build(), "stack limit of 524288 bytes").await;
}

#[tokio::test]
async fn growth_beyond_the_limit_is_refused_and_named() {
    let sandbox = sandbox();
    // Crashes once it gets no more, as an allocator does.
    let bomb =
        "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l)) (unreachable)";
    stopped(&sandbox, calling(bomb), "memory limit of 16777216 bytes").await;
    let tables = Guest {
        fields: "(table $t 1 funcref)",
        call:
            "(loop $l (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1)) (then unreachable))
               (br $l)) (unreachable)",
        ..Guest::default()
    };
    stopped(&sandbox, tables.build(), "table limit of 20000 elements").await;
    // Who takes no for an answer may go on.
    let content = calling("(drop (memory.grow (i32.const 1000))) (call $ok (i32.const 8192) (i32.const 2))");
    let component = inspect(&sandbox, content).await;
    assert_eq!(text(call(&sandbox, &component).await).unwrap(), "{}");
}

#[tokio::test]
async fn what_asks_for_too_much_from_the_start_is_never_compiled() {
    let sandbox = sandbox();
    let huge = Guest { memory: "(memory (export \"memory\") 60000)", ..Guest::default() };
    stopped(&sandbox, huge.build(), "memory limit of 16777216 bytes").await;
    let table = Guest { fields: "(table 10000000 funcref)", ..Guest::default() };
    stopped(&sandbox, table.build(), "table limit of 20000 elements").await;
    let imports: String = (0..5000).map(|i| format!("(import \"i{i}\" (func))")).collect();
    stopped(&sandbox, wat::parse_str(format!("(component {imports})")).unwrap().into(), "imports limit of 64").await;
    let large = vec![0; limits().component_bytes + 1];
    stopped(&sandbox, large.into(), "component size limit of 33554432 bytes").await;
}

/// Doors that no tool needs and that are shut, each with the words of whoever shut it.
#[tokio::test]
async fn features_that_no_tool_needs_are_refused_by_name() {
    let sandbox = sandbox();
    let module = |fields: &str| format!("(core module {fields})");
    let cases = [
        ("memory64", module("(memory i64 1)"), "memory64"),
        ("a table of 64 bits", module("(table i64 1 funcref)"), "memory64"),
        ("shared memory", module("(memory 1 1 shared)"), "threads"),
        ("atomics", module("(memory 1) (func (drop (i32.atomic.load (i32.const 0))))"), "threads"),
        ("structs", module("(type (struct (field i32)))"), "gc"),
        ("i31", module("(func (drop (ref.i31 (i32.const 1))))"), "gc"),
        ("exceptions", module("(tag)"), "exceptions"),
        ("try_table", module("(func (try_table))"), "exceptions"),
        ("legacy exceptions", module("(func try catch_all end)"), "exceptions"),
        ("typed function references", module("(type $f (func)) (func (param (ref $f)))"), "function references"),
        (
            "relaxed SIMD",
            module("(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"),
            "relaxed SIMD",
        ),
        ("custom page sizes", module("(memory 1 (pagesize 1))"), "custom page sizes"),
        (
            "wide arithmetic",
            module(
                "(func (param i64) (result i64 i64) (i64.add128 (local.get 0) (local.get 0) (local.get 0) (local.get 0)))",
            ),
            "wide arithmetic",
        ),
        ("stack switching", module("(type $f (func)) (type (cont $f))"), "stack switching"),
        ("streams", "(type (stream u8))".to_owned(), "async"),
        ("futures", "(type (future u8))".to_owned(), "async"),
        ("async functions", "(import \"f\" (func async))".to_owned(), "async"),
        (
            "threads of components",
            "(core func (canon thread.available_parallelism))".to_owned(),
            "shared-everything-threads",
        ),
        ("error contexts", "(type error-context)".to_owned(), "error-context"),
        ("lists of a fixed length", "(type (list u8 4))".to_owned(), "fixed"),
        ("maps", "(type (map string u8))".to_owned(), "map"),
    ];
    let mut wrong = vec![];
    for (what, text, words) in cases {
        let bytes = wat::parse_str(format!("(component {text})"));
        match bytes.map(Bytes::from) {
            Err(error) => wrong.push(format!("{what}: {error}")),
            Ok(bytes) => match sandbox.inspect(bytes).await {
                Err(Fault::NotATool(said)) if said.contains(words) => {}
                other => wrong.push(format!("{what}: {other:?}")),
            },
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn handles_are_counted_and_capped() {
    let holds = || Guest {
        imports: "(import \"[export]things\" \"[resource-new]thing\" (func $new (param i32) (result i32)))",
        world: "export things: interface { resource thing; }",
        ..Guest::default()
    };
    let sandbox = sandbox();
    let bomb = Guest { call: "(loop $l (drop (call $new (i32.const 1))) (br $l)) (unreachable)", ..holds() };
    stopped(&sandbox, bomb.build(), "handles limit of 1000").await;
    let exactly = Guest {
        call: "(loop $l (drop (call $new (i32.const 1))) (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const 1000)))) (call $ok (i32.const 8192) (i32.const 2))",
        ..holds()
    };
    let component = inspect(&sandbox, exactly.build()).await;
    assert_eq!(text(call(&sandbox, &component).await).unwrap(), "{}");
}

/// One module, instantiated over and over: small in bytes, large in instances.
#[tokio::test]
async fn a_component_of_very_many_instances_is_refused() {
    let instances = "(core instance (instantiate $m))".repeat(5000);
    let bytes = wat::parse_str(format!("(component (core module $m) {instances})")).unwrap();
    stopped(&sandbox(), bytes.into(), "instances limit of 64").await;
}

#[tokio::test]
async fn results_are_held_to_their_size() {
    let generous = Sandbox::new(Limits { memory: 128 << 20, cpu: Duration::from_secs(5), ..limits() });
    // 64 MiB, more than may cross at all.
    let huge = "(drop (memory.grow (i32.const 1100))) (call $ok (i32.const 0) (i32.const 67108864))";
    stopped(&generous, calling(huge), "output limit of 262144 bytes").await;
    // Crosses, but is more than a model should read.
    let large = "(call $ok (i32.const 65536) (i32.const 262145))";
    stopped(&generous, calling(large), "output limit of 262144 bytes").await;
    let fits = inspect(&generous, calling("(call $ok (i32.const 65536) (i32.const 262144))")).await;
    assert_eq!(text(call(&generous, &fits).await).unwrap().len(), 262_144);
    // The words of a failure count as well.
    stopped(&generous, calling("(call $failed (i32.const 65536) (i32.const 262145))"), "output limit of 262144 bytes")
        .await;
}

#[tokio::test]
async fn host_calls_are_counted_and_capped() {
    let sandbox = sandbox();
    stopped(&sandbox, calling("(loop $l (drop (call $now)) (br $l)) (unreachable)"), "host calls limit of 1000").await;
    let flood = "(loop $l (call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (br $l)) (unreachable)";
    stopped(&sandbox, calling(flood), "host calls limit of 1000").await;
    let exactly = "(loop $l (drop (call $now)) (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br_if $l (i32.lt_u (local.get $i) (i32.const 1000)))) (call $ok (i32.const 8192) (i32.const 2))";
    let component = inspect(&sandbox, calling(exactly)).await;
    let call = call(&sandbox, &component).await;
    assert_eq!((call.result.unwrap().text.as_str(), call.spent.host_calls), ("{}", 1000));
}

#[tokio::test]
async fn a_flood_of_log_text_is_cut_off() {
    let sandbox = sandbox();
    let lines = "(loop $l (call $log (i32.const 1) (i32.const 65536) (i32.const 1000)) (br $l)) (unreachable)";
    stopped(&sandbox, calling(lines), "log limit of 32768 bytes").await;
    let line = "(call $log (i32.const 1) (i32.const 65536) (i32.const 40000)) (unreachable)";
    stopped(&sandbox, calling(line), "log limit of 32768 bytes").await;
    // Beyond what may cross the border at once.
    let huge = "(drop (memory.grow (i32.const 100))) (call $log (i32.const 1) (i32.const 0) (i32.const 2000000)) (unreachable)";
    stopped(&sandbox, calling(huge), "transfer limit of 1048576 bytes").await;
}

#[tokio::test]
async fn data_is_held_to_its_sizes() {
    let sandbox = sandbox();
    let set = |key: u32, value: u32| {
        calling(&format!(
            "(call $set (i32.const 65536) (i32.const {key}) (i32.const 65536) (i32.const {value}) (i32.const 64))
             (call $ok (i32.const 8192) (i32.const 2))"
        ))
    };
    stopped(&sandbox, set(257, 1), "key size limit of 256 bytes").await;
    stopped(&sandbox, set(0, 1), "key size limit of 256 bytes").await;
    stopped(&sandbox, set(1, 262_145), "value size limit of 262144 bytes").await;
    let fits = inspect(&sandbox, set(256, 262_144)).await;
    assert_eq!(text(call(&sandbox, &fits).await).unwrap(), "{}");
    stopped(
        &sandbox,
        calling("(call $random (i32.const 4097) (i32.const 64)) (unreachable)"),
        "random bytes limit of 4096",
    )
    .await;
}

#[tokio::test]
async fn what_is_no_tool_is_refused_by_what_it_is() {
    let sandbox = sandbox();
    let cases: [(Bytes, &str); 6] = [
        (Bytes::from_static(b"#!/bin/sh\necho hello"), "not a WebAssembly component: "),
        (Bytes::new(), "not a WebAssembly component: "),
        (Bytes::from(wat::parse_str("(module)").unwrap()), "the bytes are a core module"),
        (Bytes::from_static(b"(component)"), "not a WebAssembly component: "),
        (Bytes::from(wat::parse_str("(component)").unwrap()), "it does not export 'describe'"),
        (
            Bytes::from(wat::parse_str("(component (import \"wasi:http/types@0.2.0\" (instance)))").unwrap()),
            "it imports 'wasi:http/types@0.2.0'; what a tool may import is frontdesk:tool/log@0.1.0, ",
        ),
    ];
    for (bytes, expected) in cases {
        stopped(&sandbox, bytes, expected).await;
    }
    // Cut short: at no place is what is left still a tool. Custom sections at the end (who made it) are no
    // part of it: without them it is whole.
    let built = Guest::default().build();
    let sections = wasmparser::Parser::new(0).parse_all(&built).filter_map(|payload| payload.unwrap().as_section());
    let end = sections.filter(|(id, _)| *id != 0).map(|(_, range)| range.end).max().unwrap();
    let whole = built.slice(..end);
    assert_eq!(inspect(&sandbox, whole.clone()).await.tools().len(), 1);
    for cut in 0..whole.len() {
        let left = sandbox.inspect(whole.slice(..cut)).await.expect_err("refused");
        assert!(matches!(left, Fault::NotAComponent(_) | Fault::NotATool(_)), "cut at {cut}: {left}");
    }
    stopped(&sandbox, whole.slice(..whole.len() - 1), "not a WebAssembly component: ").await;
    // Another version of our own interface is not ours.
    let newer = "(component (import \"frontdesk:tool/kv@0.2.0\" (instance)))";
    stopped(&sandbox, wat::parse_str(newer).unwrap().into(), "it imports 'frontdesk:tool/kv@0.2.0'").await;
    // Ours by name, of another shape.
    let foreign = r#"(component
        (import "frontdesk:tool/kv@0.1.0" (instance $kv (export "get" (func (param "n" u32)))))
        (alias export $kv "get" (func $get))
        (instance $t (export "describe" (func $get)) (export "call" (func $get)))
        (export "frontdesk:tool/tools@0.1.0" (instance $t)))"#;
    stopped(&sandbox, wat::parse_str(foreign).unwrap().into(), "not a tool component: ").await;
}

#[tokio::test]
async fn a_crash_is_told_and_leaves_nothing() {
    let sandbox = sandbox();
    stopped(&sandbox, calling("(unreachable)"), "the tool crashed: wasm trap: wasm `unreachable` instruction executed")
        .await;
    stopped(&sandbox, calling("(i32.load (i32.const -8))"), "the tool crashed: wasm trap: out of bounds memory access")
        .await;
    stopped(&sandbox, calling("(call $ok (i32.const 0x7fffffff) (i32.const 8))"), "the tool crashed: ").await;
    // 8192 holds "{}"; 0xff is in no UTF-8 text.
    let not_text = "(i32.store8 (i32.const 8192) (i32.const 255)) (call $ok (i32.const 8192) (i32.const 1))";
    stopped(&sandbox, calling(not_text), "the tool crashed: ").await;
}

#[tokio::test]
async fn a_tool_that_describes_itself_wrongly_is_refused() {
    let sandbox = sandbox();
    let describes = |describe| Guest { describe, ..Guest::default() }.build();
    stopped(&sandbox, describes("nonsense"), "the tool describes itself wrongly: expected").await;
    stopped(&sandbox, describes("[]"), "0 tools, where 1 to 64 are allowed").await;
    let bad_name = r#"[{"name":"rm -rf","description":"d","parameters":{"type":"object"}}]"#;
    stopped(&sandbox, describes(bad_name), "not 'rm -rf'").await;
}

#[tokio::test]
async fn describing_itself_may_touch_nothing_of_anyones() {
    let sandbox = sandbox();
    for (use_it, name) in [
        ("(call $get (i32.const 8192) (i32.const 2) (i32.const 64))", "kv"),
        ("(drop (call $now))", "clock"),
        ("(call $random (i32.const 1) (i32.const 64))", "random"),
    ] {
        let bytes = Guest { imports: IMPORTS, describing: use_it, ..Guest::default() }.build();
        stopped(&sandbox, bytes, &format!("{name} may not be used while the tool describes itself")).await;
    }
    // Nor before, in a `start` function.
    let starting = |use_it: &str| {
        let fields = format!("(func $s {use_it}) (start $s)");
        Guest { imports: IMPORTS, fields: &fields, ..Guest::default() }.build()
    };
    let now = starting("(drop (call $now))");
    stopped(&sandbox, now, "clock may not be used while the tool describes itself").await;
    // What passes through memory is linked only after `start`, by the component model's own rules.
    let get = starting("(call $get (i32.const 8192) (i32.const 2) (i32.const 64))");
    stopped(&sandbox, get, "the tool crashed: wasm trap: uninitialized element").await;
}

#[tokio::test]
async fn arguments_are_refused_before_the_guest_runs() {
    let sandbox = sandbox();
    // Had it run, it would have crashed.
    let component = inspect(&sandbox, calling("(unreachable)")).await;
    let refused = async |tool: &str, arguments: &str| {
        let call = sandbox.call(&component, tool, arguments, grants()).await;
        assert_eq!(call.spent, frontdesk_wasm::Spent::default());
        call.result.expect_err("refused")
    };
    assert!(matches!(refused("t", "[1]").await, Fault::BadArguments(_)));
    assert!(matches!(refused("t", "{").await, Fault::BadArguments(_)));
    assert_eq!(refused("other\n", "{}").await.to_string(), r"no tool is called 'other\n'");
    let large = format!("{{\"a\":\"{}\"}}", "x".repeat(256 << 10));
    let Fault::Limit(exceeded) = refused("t", &large).await else { panic!("another fault") };
    assert_eq!((exceeded.limit, exceeded.allowed), (Limit::Arguments, 262_144));
}
