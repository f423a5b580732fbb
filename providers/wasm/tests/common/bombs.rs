//! Every attack of a guest by its name, with the limit that ends it.
//!
//! The tests assert which one it was and that calls beside it are answered; `examples/cost` measures how far past it a
//! guest ran. Each first asks the host for a key, which is where a test can hold it.
//! Invariant: an attack is whole in its bytes and grants; nothing but the limit named here ends it.

use std::sync::Arc;

use bytes::Bytes;
use frontdesk_wasm::{Fault, HostGrants, Limit, Limits, Sandbox};

use super::{FETCH, Gate, Guest, IMPORTS, WASI, grants};

pub struct Attack {
    pub name: &'static str,
    pub bytes: Bytes,
    pub ends: Limit,
    /// The host behind it never answers.
    pub hangs: bool,
}

impl Attack {
    /// Everything it asks for, behind `gate`.
    pub fn grants(&self, gate: &Arc<Gate>) -> HostGrants {
        HostGrants { kv: Some(Arc::clone(gate) as _), fetch: Some(Arc::clone(gate) as _), ..grants() }
    }

    /// A gate that stands open.
    pub fn opened(&self) -> Arc<Gate> {
        let gate = Gate::closed(self.hangs);
        gate.open.add_permits(1);
        gate
    }

    /// Inspects and calls; what ended it, from whichever step.
    pub async fn run(&self, sandbox: &Sandbox) -> Result<String, Fault> {
        let component = sandbox.inspect(self.bytes.clone()).await?;
        let call = sandbox.call(&component, "t", "{}", self.grants(&self.opened())).await;
        call.result.map(|output| output.text)
    }
}

/// Limits under which each attack meets its own and no other.
pub fn limits() -> Limits {
    // Each handle to a moment takes a call.
    Limits { wall: std::time::Duration::from_secs(60), memory: 80 << 20, handles: 500, ..super::limits() }
}

/// The same for those that only waiting ends.
pub fn impatient() -> Limits {
    Limits { cpu: std::time::Duration::from_secs(1), wall: std::time::Duration::from_secs(2), ..limits() }
}

/// Sends a request from what stands at 9000, with `headers` elements of a list at 0.
fn send(headers: u32) -> String {
    format!(
        "(call $send (i32.const 9000) (i32.const 3) (i32.const 9000) (i32.const 3) (i32.const 0) (i32.const {headers})
         (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))"
    )
}

const FIRST: &str = "(call $get (i32.const 8192) (i32.const 2) (i32.const 64))";

fn bomb(call: &str) -> Bytes {
    with("", "(memory (export \"memory\") 8)", call)
}

fn with(fields: &str, memory: &str, call: &str) -> Bytes {
    let (imports, call) = (format!("{IMPORTS} {FETCH} {WASI}"), format!("{FIRST} {call}"));
    Guest { imports: &imports, fields, memory, call: &call, ..Guest::default() }.build()
}

fn handles() -> Bytes {
    let new = "(import \"[export]things\" \"[resource-new]thing\" (func $new (param i32) (result i32)))";
    let (imports, call) = (
        format!("{IMPORTS} {FETCH} {new}"),
        format!("{FIRST} (loop $l (drop (call $new (i32.const 1))) (br $l)) (unreachable)"),
    );
    let world = "export things: interface { resource thing; }";
    Guest { imports: &imports, world, call: &call, ..Guest::default() }.build()
}

/// Those that run before anyone calls them, while they are registered.
pub fn starting() -> Vec<Attack> {
    let spin = "(func $s (loop $l (br $l))) (start $s)";
    let bytes = Guest { fields: spin, ..Guest::default() }.build();
    vec![Attack { name: "loop in start", bytes, ends: Limit::Cpu, hangs: false }]
}

/// Those that run.
pub fn running() -> Vec<Attack> {
    let attack = |name, bytes, ends| Attack { name, bytes, ends, hangs: false };
    let hanging = |name, bytes| Attack { name, bytes, ends: Limit::Wall, hangs: true };
    let spin = "(loop $l (br $l)) (unreachable)";
    vec![
        attack("loop", bomb(spin), Limit::Cpu),
        attack(
            "loop of bulk operations",
            bomb(
                "(drop (memory.grow (i32.const 1000)))
                 (loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65000000)) (br $l)) (unreachable)",
            ),
            Limit::Cpu,
        ),
        hanging(
            "sleep in a host call",
            bomb("(call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (unreachable)"),
        ),
        hanging("sleep in WASI", bomb("(call $block (call $wait (i64.const -1))) (unreachable)")),
        hanging("sleep in a request", bomb(&format!("{} (unreachable)", send(0)))),
        attack("flood of host calls", bomb("(loop $l (drop (call $now)) (br $l)) (unreachable)"), Limit::HostCalls),
        attack(
            "flood of WASI's clock",
            bomb("(loop $l (drop (call $elapsed)) (br $l)) (unreachable)"),
            Limit::HostCalls,
        ),
        attack(
            "flood of questions for WASI's environment",
            bomb("(loop $l (call $environment (i32.const 64)) (br $l)) (unreachable)"),
            Limit::HostCalls,
        ),
        attack(
            "flood of key-value calls",
            bomb("(loop $l (call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (br $l)) (unreachable)"),
            Limit::HostCalls,
        ),
        attack("flood of requests", bomb(&format!("(loop $l {} (br $l)) (unreachable)", send(0))), Limit::Requests),
        attack(
            "flood of log lines",
            bomb("(loop $l (call $log (i32.const 1) (i32.const 65536) (i32.const 1000)) (br $l)) (unreachable)"),
            Limit::LogBytes,
        ),
        attack(
            "memory that grows",
            bomb(
                "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l))
                 (unreachable)",
            ),
            Limit::Memory,
        ),
        attack(
            "a table that grows",
            with(
                "(table $t 1 funcref)",
                "(memory (export \"memory\") 8)",
                "(loop $l (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))
                         (then unreachable)) (br $l)) (unreachable)",
            ),
            Limit::Table,
        ),
        attack(
            "recursion",
            with(
                "(func $r (param i32) (result i32) (i32.add (i32.const 1) (call $r (local.get 0))))",
                "(memory (export \"memory\") 8)",
                "(call $r (i32.const 1))",
            ),
            Limit::Stack,
        ),
        attack(
            "a result of 64 MB",
            bomb("(drop (memory.grow (i32.const 1100))) (call $ok (i32.const 0) (i32.const 67108864))"),
            Limit::Output,
        ),
        attack(
            "a log line of 64 MB",
            bomb(
                "(drop (memory.grow (i32.const 1100))) (call $log (i32.const 1) (i32.const 0) (i32.const 67108864))
                 (unreachable)",
            ),
            Limit::Transfer,
        ),
        attack(
            "a list of a million",
            with("", "(memory (export \"memory\") 1000)", &format!("{} (unreachable)", send(1_000_000))),
            Limit::Transfer,
        ),
        attack(
            "a value of half a megabyte",
            bomb(
                "(call $set (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 500000) (i32.const 64)) (unreachable)",
            ),
            Limit::KvValue,
        ),
        attack("handles without end", handles(), Limit::Handles),
        attack(
            "moments to wait for without end",
            bomb("(loop $l (drop (call $wait (i64.const -1))) (br $l)) (unreachable)"),
            Limit::Handles,
        ),
        attack(
            "random bytes of WASI",
            bomb("(call $chance (i64.const -1) (i32.const 64)) (unreachable)"),
            Limit::RandomBytes,
        ),
        attack("random bytes", bomb("(call $random (i32.const -1) (i32.const 64)) (unreachable)"), Limit::RandomBytes),
    ]
}

/// Those that are turned away before any code is made of them.
pub fn refused() -> Vec<Attack> {
    let attack = |name, bytes, ends| Attack { name, bytes, ends, hangs: false };
    let parts =
        |part: &str, n: usize| -> Bytes { wat::parse_str(format!("(component {})", part.repeat(n))).unwrap().into() };
    let imports: String = (0..5_000).map(|i| format!("(import \"i{i}\" (func))")).collect();
    vec![
        attack("5,000 imports", parts(&imports, 1), Limit::Imports),
        attack(
            "5,000 instances",
            parts(&format!("(core module $m) {}", "(core instance (instantiate $m))".repeat(5_000)), 1),
            Limit::Instances,
        ),
        attack("memory from the start", parts("(core module (memory 60000))", 1), Limit::Memory),
        attack("200 memories", parts("(core module (memory 1))", 200), Limit::Memories),
        attack("a table from the start", parts("(core module (table 10000000 funcref))", 1), Limit::Table),
        attack("nine tables", parts("(core module (table 1 funcref))", 9), Limit::Tables),
        attack("a huge binary", vec![0; super::limits().component_bytes + 1].into(), Limit::ComponentSize),
    ]
}

/// Uses all that a guest can be given, and behaves.
pub fn honest() -> Bytes {
    Guest {
        imports: IMPORTS,
        call: "(drop (call $now)) (call $get (i32.const 8192) (i32.const 2) (i32.const 64))
               (call $ok (i32.const 8192) (i32.const 2))",
        ..Guest::default()
    }
    .build()
}
