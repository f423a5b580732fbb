//! Every attack of a guest by its name, with the limit that ends it.
//!
//! The tests assert which one it was and that calls beside go on; `examples/cost` measures how far past it a guest ran.
//! Invariant: an attack is whole in its bytes and grants; nothing but the limit named here ends it.

use std::sync::Arc;

use bytes::Bytes;
use frontdesk_wasm::{HostGrants, Limit, Limits, Sandbox};

use super::{FETCH, Guest, Hangs, IMPORTS, Silent, calling, grants};

pub struct Attack {
    pub name: &'static str,
    pub bytes: Bytes,
    pub ends: Limit,
    /// The host behind it never answers.
    pub hangs: bool,
}

impl Attack {
    /// Everything it asks for.
    pub fn grants(&self) -> HostGrants {
        match self.hangs {
            true => HostGrants { kv: Some(Arc::new(Hangs)), fetch: Some(Arc::new(Hangs)), ..grants() },
            false => HostGrants { fetch: Some(Arc::new(Silent)), ..grants() },
        }
    }

    /// Inspects and calls; what ended it, from whichever step, and what the call used where one began.
    pub async fn run(&self, sandbox: &Sandbox) -> (Result<String, frontdesk_wasm::Fault>, frontdesk_wasm::Spent) {
        match sandbox.inspect(self.bytes.clone()).await {
            Err(fault) => (Err(fault), frontdesk_wasm::Spent::default()),
            Ok(component) => {
                let call = sandbox.call(&component, "t", "{}", self.grants()).await;
                (call.result.map(|output| output.text), call.spent)
            }
        }
    }
}

/// Limits under which each attack meets its own and no other.
pub fn limits() -> Limits {
    Limits { wall: std::time::Duration::from_secs(60), memory: 80 << 20, ..super::limits() }
}

/// The same for those that only waiting ends.
pub fn impatient() -> Limits {
    Limits { wall: std::time::Duration::from_millis(500), ..limits() }
}

/// Sends a request from what stands at 9000, with `headers` elements of a list at 0.
fn send(headers: u32) -> String {
    format!(
        "(call $send (i32.const 9000) (i32.const 3) (i32.const 9000) (i32.const 3) (i32.const 0) (i32.const {headers})
         (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))"
    )
}

fn sending(memory: &str, call: &str) -> Bytes {
    Guest { imports: FETCH, memory, call, ..Guest::default() }.build()
}

/// Those that run.
pub fn running() -> Vec<Attack> {
    let attack = |name, bytes, ends| Attack { name, bytes, ends, hangs: false };
    let hanging = |name, bytes| Attack { name, bytes, ends: Limit::Wall, hangs: true };
    let spin = "(loop $l (br $l)) (unreachable)";
    let start = format!("(func $s {spin}) (start $s)");
    let usual = "(memory (export \"memory\") 8)";
    vec![
        attack("loop", calling(spin), Limit::Cpu),
        attack("loop in start", Guest { fields: &start, ..Guest::default() }.build(), Limit::Cpu),
        attack(
            "loop of bulk operations",
            calling(
                "(drop (memory.grow (i32.const 1000)))
                 (loop $l (memory.fill (i32.const 65536) (i32.const 1) (i32.const 65000000)) (br $l)) (unreachable)",
            ),
            Limit::Cpu,
        ),
        hanging(
            "sleep in a host call",
            calling("(call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (unreachable)"),
        ),
        hanging("sleep in a request", sending(usual, &format!("{} (unreachable)", send(0)))),
        attack("flood of host calls", calling("(loop $l (drop (call $now)) (br $l)) (unreachable)"), Limit::HostCalls),
        attack(
            "flood of key-value calls",
            calling("(loop $l (call $get (i32.const 8192) (i32.const 2) (i32.const 64)) (br $l)) (unreachable)"),
            Limit::HostCalls,
        ),
        attack(
            "flood of requests",
            sending(usual, &format!("(loop $l {} (br $l)) (unreachable)", send(0))),
            Limit::Requests,
        ),
        attack(
            "flood of log lines",
            calling("(loop $l (call $log (i32.const 1) (i32.const 65536) (i32.const 1000)) (br $l)) (unreachable)"),
            Limit::LogBytes,
        ),
        attack(
            "memory that grows",
            calling(
                "(loop $l (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable)) (br $l))
                 (unreachable)",
            ),
            Limit::Memory,
        ),
        attack(
            "a table that grows",
            Guest {
                fields: "(table $t 1 funcref)",
                call: "(loop $l (if (i32.eq (table.grow $t (ref.null func) (i32.const 1000)) (i32.const -1))
                         (then unreachable)) (br $l)) (unreachable)",
                ..Guest::default()
            }
            .build(),
            Limit::Table,
        ),
        attack(
            "recursion",
            Guest {
                fields: "(func $r (param i32) (result i32) (i32.add (i32.const 1) (call $r (local.get 0))))",
                call: "(call $r (i32.const 1))",
                ..Guest::default()
            }
            .build(),
            Limit::Stack,
        ),
        attack(
            "a result of 64 MB",
            calling("(drop (memory.grow (i32.const 1100))) (call $ok (i32.const 0) (i32.const 67108864))"),
            Limit::Output,
        ),
        attack(
            "a log line of 64 MB",
            calling(
                "(drop (memory.grow (i32.const 1100))) (call $log (i32.const 1) (i32.const 0) (i32.const 67108864))
                 (unreachable)",
            ),
            Limit::Transfer,
        ),
        attack(
            "a list of a million",
            sending("(memory (export \"memory\") 1000)", &format!("{} (unreachable)", send(1_000_000))),
            Limit::Transfer,
        ),
        attack(
            "a value of half a megabyte",
            calling(
                "(call $set (i32.const 8192) (i32.const 1) (i32.const 0) (i32.const 500000) (i32.const 64)) (unreachable)",
            ),
            Limit::KvValue,
        ),
        attack(
            "random bytes",
            calling("(call $random (i32.const -1) (i32.const 64)) (unreachable)"),
            Limit::RandomBytes,
        ),
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
