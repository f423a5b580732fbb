//! What a call can see: its grants, and nothing of other calls, tools or tenants.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{sync::Arc, time::Duration};

use common::{BrokenKv, Guest, IMPORTS, MemoryKv, call, calling, grants, inspect, limits, sandbox, text};
use frontdesk_wasm::{Capabilities, Capability, Fault, HostGrants, LogLevel, Sandbox};

const OK: &str = "(call $ok (i32.const 8192) (i32.const 2))";

/// Writes `value` under the key "k" ("0" at 8192 serves as key).
fn puts(value: &str) -> String {
    format!(
        "(i32.store8 (i32.const 8192) (i32.const 48))
         (i32.store8 (i32.const 9000) (i32.const {}))
         (call $set (i32.const 8192) (i32.const 1) (i32.const 9000) (i32.const 1) (i32.const 64))
         (i32.store8 (i32.const 8192) (i32.const 123)) {OK}",
        value.as_bytes()[0]
    )
}

/// Reads that key and gives what is there, or fails with "-".
const GETS: &str = "(i32.store8 (i32.const 8192) (i32.const 48)) (i32.store8 (i32.const 9000) (i32.const 45))
    (call $get (i32.const 8192) (i32.const 1) (i32.const 64))
    (if (result i32) (i32.load8_u (i32.const 64))
      (then (call $ok (i32.load (i32.const 68)) (i32.load (i32.const 72))))
      (else (call $failed (i32.const 9000) (i32.const 1))))";

#[tokio::test]
async fn nothing_in_a_guest_survives_a_call() {
    let sandbox = sandbox();
    // Counts in a global and in memory; answers "11" only if both were at zero.
    let counts = Guest {
        fields: "(global $g (mut i32) (i32.const 0))",
        call: "(global.set $g (i32.add (global.get $g) (i32.const 1)))
               (i32.store8 (i32.const 9000) (i32.add (i32.const 48) (global.get $g)))
               (i32.store8 (i32.const 9001) (i32.add (i32.load8_u (i32.const 9001)) (i32.const 49)))
               (call $ok (i32.const 9000) (i32.const 2))",
        ..Guest::default()
    };
    let component = inspect(&sandbox, counts.build()).await;
    for _ in 0..20 {
        assert_eq!(text(call(&sandbox, &component).await).unwrap(), "11");
    }
}

/// One slot, so that the second guest gets the memory the first one filled.
#[tokio::test]
async fn a_guest_finds_nothing_in_memory_that_was_anothers() {
    let sandbox = Sandbox::new(frontdesk_wasm::Limits { concurrent: 1, cpu: Duration::from_secs(5), ..limits() });
    let fills = "(drop (memory.grow (i32.const 100)))
        (memory.fill (i32.const 65536) (i32.const 0xaa) (i32.const 7000000)) (call $ok (i32.const 8192) (i32.const 2))";
    let looks = "(drop (memory.grow (i32.const 100))) (local.set $i (i32.const 131072))
        (loop $l
          (local.set $j (i32.or (local.get $j) (i32.load (local.get $i))))
          (local.set $i (i32.add (local.get $i) (i32.const 64)))
          (br_if $l (i32.lt_u (local.get $i) (i32.const 7000000))))
        (if (local.get $j) (then unreachable))
        (call $ok (i32.const 8192) (i32.const 2))";
    let (fills, looks) = (inspect(&sandbox, calling(fills)).await, inspect(&sandbox, calling(looks)).await);
    for _ in 0..3 {
        let first = call(&sandbox, &fills).await;
        assert!(first.spent.memory > 7_000_000, "it filled {} bytes", first.spent.memory);
        assert_eq!(text(first).unwrap(), "{}");
        assert_eq!(text(call(&sandbox, &looks).await).unwrap(), "{}");
    }
}

#[tokio::test]
async fn data_lives_where_the_caller_says_and_nowhere_else() {
    let sandbox = sandbox();
    let (put, get) = (inspect(&sandbox, calling(&puts("7"))).await, inspect(&sandbox, calling(GETS)).await);
    let (mine, theirs) = (MemoryKv::with(&[]), MemoryKv::with(&[]));
    let with = |kv: &Arc<MemoryKv>| HostGrants { kv: Some(Arc::clone(kv) as _), ..grants() };
    assert_eq!(text(sandbox.call(&put, "t", "{}", with(&mine)).await).unwrap(), "{}");
    assert_eq!(text(sandbox.call(&get, "t", "{}", with(&mine)).await).unwrap(), "7");
    let Err(Fault::Failed(words)) = text(sandbox.call(&get, "t", "{}", with(&theirs)).await) else {
        panic!("it found what is another's")
    };
    assert_eq!(words, "-");
    assert!(theirs.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_component_asks_for_what_it_imports_and_gets_no_more_than_is_granted() {
    let sandbox = sandbox();
    let none = inspect(&sandbox, Guest::default().build()).await;
    assert_eq!(none.requests(), Capabilities::NONE);
    assert_eq!(text(sandbox.call(&none, "t", "{}", HostGrants::default()).await).unwrap(), "{}");

    let all = inspect(&sandbox, calling(OK)).await;
    // Requests, keys, keeping and WASI have tests of their own (fetch.rs, provider.rs, kept.rs, wasi.rs).
    let others = [Capability::Fetch, Capability::Context, Capability::Keep, Capability::Wasi];
    let asked = Capability::ALL.into_iter().filter(|capability| !others.contains(capability));
    assert_eq!(all.requests(), asked.collect());
    type Cut = fn(&mut HostGrants);
    let cut: [(&str, Cut); 4] = [
        ("log", |g| g.log = false),
        ("kv", |g| g.kv = None),
        ("clock", |g| g.clock = None),
        ("random", |g| g.random = None),
    ];
    for (name, cut) in cut {
        let mut grants = grants();
        cut(&mut grants);
        let fault = text(sandbox.call(&all, "t", "{}", grants).await).expect_err("refused");
        assert_eq!(fault.to_string(), format!("the tool asks for '{name}', which is not granted"));
    }
    assert_eq!(text(call(&sandbox, &all).await).unwrap(), "{}");
}

#[tokio::test]
async fn clock_and_random_give_what_was_put_in() {
    struct Sevens;
    impl frontdesk_wasm::Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> frontdesk_api::Result<()> {
            bytes.fill(b'7');
            Ok(())
        }
    }
    let sandbox = sandbox();
    let random =
        "(call $random (i32.const 3) (i32.const 64)) (call $ok (i32.load (i32.const 64)) (i32.load (i32.const 68)))";
    let component = inspect(&sandbox, calling(random)).await;
    let sevens = HostGrants { random: Some(Arc::new(Sevens)), ..grants() };
    assert_eq!(text(sandbox.call(&component, "t", "{}", sevens).await).unwrap(), "777");
    // Crashes at any other time.
    let now = format!("(if (i64.ne (call $now) (i64.const 1700000000000000)) (then unreachable)) {OK}");
    let component = inspect(&sandbox, calling(&now)).await;
    assert_eq!(text(call(&sandbox, &component).await).unwrap(), "{}");
}

#[tokio::test]
async fn log_lines_come_back_as_single_lines_even_from_a_call_that_crashed() {
    let sandbox = sandbox();
    let fields = r#"(data (i32.const 9000) "one\0aERROR forged\1b[2J") (data (i32.const 9100) "two")"#;
    let call_body = "(call $log (i32.const 2) (i32.const 9000) (i32.const 20)) (call $log (i32.const 0) (i32.const 9100) (i32.const 3)) (unreachable)";
    let component =
        inspect(&sandbox, Guest { imports: IMPORTS, fields, call: call_body, ..Guest::default() }.build()).await;
    let call = call(&sandbox, &component).await;
    assert!(matches!(call.result, Err(Fault::Trapped(_))));
    let lines: Vec<_> = call.log.iter().map(|l| (l.level, l.message.as_str())).collect();
    assert_eq!(lines, [(LogLevel::Warn, r"one\nERROR forged\u{1b}[2J"), (LogLevel::Debug, "two")]);
}

#[tokio::test]
async fn trouble_of_ours_is_told_apart_from_the_tools() {
    let sandbox = sandbox();
    let broken = || HostGrants { kv: Some(Arc::new(BrokenKv)), ..grants() };
    let get = inspect(&sandbox, calling(GETS)).await;
    let fault = text(sandbox.call(&get, "t", "{}", broken()).await).expect_err("infrastructure");
    assert!(fault.is_infrastructure(), "{fault}");
    assert_eq!(fault.to_string(), "the database is away");
    // A full namespace is the tool's to handle: `set` gives it the error case.
    let set = "(call $set (i32.const 8192) (i32.const 1) (i32.const 8192) (i32.const 1) (i32.const 64))
        (if (i32.eqz (i32.load8_u (i32.const 64))) (then unreachable)) (call $ok (i32.const 8192) (i32.const 2))";
    let set = inspect(&sandbox, calling(set)).await;
    assert_eq!(text(sandbox.call(&set, "t", "{}", broken()).await).unwrap(), "{}");
}

#[tokio::test]
async fn a_result_that_is_no_json_is_given_as_it_is_and_said_so() {
    let sandbox = sandbox();
    for (len, expected, is_json) in [(2, "{}", true), (1, "{", false), (0, "", false)] {
        let component = inspect(&sandbox, calling(&format!("(call $ok (i32.const 8192) (i32.const {len}))"))).await;
        let output = call(&sandbox, &component).await.result.unwrap();
        assert_eq!((output.text.as_str(), output.is_json), (expected, is_json));
    }
}

/// More callers than slots: all are served, in turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_than_slots_wait_their_turn() {
    let sandbox = Arc::new(sandbox());
    let component = inspect(&sandbox, calling(GETS)).await;
    let kv = MemoryKv::with(&[("0", "7")]);
    let calls = (0..40).map(|_| {
        let (sandbox, component, kv) = (Arc::clone(&sandbox), component.clone(), Arc::clone(&kv));
        tokio::spawn(async move {
            let grants = HostGrants { kv: Some(kv), ..grants() };
            text(sandbox.call(&component, "t", "{}", grants).await).unwrap()
        })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), "7");
    }
}

/// A guest that computes does not keep the thread: on the same single thread another one is answered first.
#[tokio::test(flavor = "current_thread")]
async fn a_computing_guest_lets_others_through() {
    let sandbox = Sandbox::new(frontdesk_wasm::Limits {
        cpu: Duration::from_secs(60),
        wall: Duration::from_secs(600),
        ..limits()
    });
    let spins = inspect(&sandbox, calling("(loop $l (br $l)) (unreachable)")).await;
    let quick = inspect(&sandbox, Guest::default().build()).await;
    tokio::select! {
        biased;
        call = call(&sandbox, &spins) => panic!("the endless one ended: {:?}", call.result),
        call = call(&sandbox, &quick) => assert_eq!(text(call).unwrap(), "{}"),
    }
    // The endless one was dropped with the select; its slot is free.
    for _ in 0..5 {
        assert_eq!(text(call(&sandbox, &quick).await).unwrap(), "{}");
    }
}

#[tokio::test]
async fn the_same_bytes_are_compiled_once_while_anyone_holds_them() {
    let sandbox = sandbox();
    let bytes = Guest::default().build();
    let (one, two) = tokio::join!(sandbox.inspect(bytes.clone()), sandbox.inspect(bytes.clone()));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(std::ptr::eq(one.tools(), two.tools()));
    assert_eq!(one.hash(), blake3::hash(&bytes));
    drop((one, two));
    assert_eq!(text(call(&sandbox, &inspect(&sandbox, bytes).await).await).unwrap(), "{}");
}

/// So many slots that no address space has room: the sandbox allocates for each call, under the same limits.
#[tokio::test]
async fn without_room_for_a_pool_the_limits_still_hold() {
    let sandbox = Sandbox::new(frontdesk_wasm::Limits { concurrent: 1_000_000, ..limits() });
    let honest = inspect(&sandbox, Guest::default().build()).await;
    assert_eq!(text(call(&sandbox, &honest).await).unwrap(), "{}");
    let bomb = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) (unreachable)";
    let fault = common::refusal(&sandbox, calling(bomb)).await;
    assert_eq!(fault, "the tool exceeded its memory limit of 16777216 bytes");
    let spin = common::refusal(&sandbox, calling("(loop $l (br $l)) (unreachable)")).await;
    assert_eq!(spin, "the tool exceeded its cpu time limit of 60 ms");
}
