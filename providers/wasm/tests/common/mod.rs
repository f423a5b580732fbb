//! Guests for the tests: core modules in text, wrapped into components of our own world.
//!
//! A guest is written as the body of `call`; the frame around it exports what the world wants, so that each
//! test shows only its own misbehaviour. Invariant: the wrapping is wit-component's, the WIT is the product's.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used)] // shared by several test programs

pub mod bombs;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use frontdesk_api::{
    Error, Result,
    egress::OutboundAnswer,
    tools::{FetchRequest, ToolHost},
};
use frontdesk_wasm::{Call, Component, Fault, HostGrants, Limits, Sandbox, Wasi, authoring::WIT};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

pub const IMPORTS: &str = r#"
  (import "frontdesk:tool/log@0.1.0" "write" (func $log (param i32 i32 i32)))
  (import "frontdesk:tool/kv@0.1.0" "get" (func $get (param i32 i32 i32)))
  (import "frontdesk:tool/kv@0.1.0" "set" (func $set (param i32 i32 i32 i32 i32)))
  (import "frontdesk:tool/clock@0.1.0" "now" (func $now (result i64)))
  (import "frontdesk:tool/random@0.1.0" "bytes" (func $random (param i32 i32)))"#;

/// Apart from the others, so that a guest that asks nobody does not ask for it.
pub const FETCH: &str = r#"(import "frontdesk:tool/fetch@0.1.0" "send"
  (func $send (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))"#;

/// What guests here use of bare WASI, as a language's runtime would.
pub const WASI: &str = r#"
  (import "wasi:clocks/wall-clock@0.2.9" "now" (func $wall (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.9" "now" (func $elapsed (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.9" "subscribe-duration" (func $wait (param i64) (result i32)))
  (import "wasi:io/poll@0.2.9" "[method]pollable.block" (func $block (param i32)))
  (import "wasi:io/poll@0.2.9" "[method]pollable.ready" (func $ready (param i32) (result i32)))
  (import "wasi:io/poll@0.2.9" "poll" (func $poll (param i32 i32 i32)))
  (import "wasi:random/random@0.2.9" "get-random-bytes" (func $chance (param i64 i32)))
  (import "wasi:random/random@0.2.9" "get-random-u64" (func $number (result i64)))
  (import "wasi:cli/environment@0.2.9" "get-environment" (func $environment (param i32)))"#;

/// Those interfaces in WIT, and one with nothing behind it, and one that is no part of it.
const WASI_WIT: [&str; 6] = [
    "package wasi:io@0.2.9; interface poll {
       resource pollable { ready: func() -> bool; block: func(); }
       poll: func(in: list<borrow<pollable>>) -> list<u32>;
     }",
    "package wasi:clocks@0.2.9; interface wall-clock {
       record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime;
     }
     interface monotonic-clock {
       use wasi:io/poll@0.2.9.{pollable}; now: func() -> u64; subscribe-duration: func(when: u64) -> pollable;
     }",
    "package wasi:random@0.2.9; interface random {
       get-random-bytes: func(len: u64) -> list<u8>; get-random-u64: func() -> u64;
     }",
    "package wasi:cli@0.2.9; interface environment { get-environment: func() -> list<tuple<string, string>>; }",
    "package wasi:sockets@0.2.9; interface instance-network {
       resource network; instance-network: func() -> network;
     }",
    "package wasi:http@0.2.9; interface outgoing-handler { handle: func() -> u32; }",
];

/// The one tool of every guest here: it is called `t` and takes any object.
pub const DESCRIBE: &str = r#"[{"name":"t","description":"d","parameters":{"type":"object"}}]"#;

/// A guest in parts. The memory holds: 16 the return area, 1024 what `describe` gives, 8192 the text `{}`,
/// from 65536 what the host passes in. `$ok ptr len` and `$failed ptr len` are the two answers.
pub struct Guest<'a> {
    pub imports: &'a str,
    /// More of its world, in WIT.
    pub world: &'a str,
    /// Module fields: globals, functions, a start function.
    pub fields: &'a str,
    pub memory: &'a str,
    pub describe: &'a str,
    /// What `describe` does before it answers.
    pub describing: &'a str,
    /// The body of `call` (params `$name`, `$name_len`, `$args`, `$args_len`, two locals `$i`, `$j`).
    pub call: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            world: "",
            fields: "",
            memory: "(memory (export \"memory\") 8)",
            describe: DESCRIBE,
            describing: "",
            call: "(call $ok (i32.const 8192) (i32.const 2))",
        }
    }
}

impl Guest<'_> {
    pub fn build(&self) -> Bytes {
        let text = format!(
            r#"(module {imports} {memory}
  (global $next (mut i32) (i32.const 65536))
  (data (i32.const 1024) "{data}")
  (data (i32.const 8192) "{{}}")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (local $at i32)
    (global.set $next (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
    (local.set $at (global.get $next))
    (global.set $next (i32.add (global.get $next) (local.get 3)))
    (local.get $at))
  (func $answer (param $tag i32) (param $ptr i32) (param $len i32) (result i32)
    (i64.store (i32.const 16) (i64.const 0)) (i64.store (i32.const 24) (i64.const 0))
    (i32.store8 (i32.const 16) (local.get $tag))
    (if (local.get $tag)
      (then
        (i32.store8 (i32.const 20) (i32.const 1))
        (i32.store (i32.const 24) (local.get $ptr)) (i32.store (i32.const 28) (local.get $len)))
      (else (i32.store (i32.const 20) (local.get $ptr)) (i32.store (i32.const 24) (local.get $len))))
    (i32.const 16))
  (func $ok (param i32 i32) (result i32) (call $answer (i32.const 0) (local.get 0) (local.get 1)))
  (func $failed (param i32 i32) (result i32) (call $answer (i32.const 1) (local.get 0) (local.get 1)))
  {fields}
  (func (export "frontdesk:tool/tools@0.1.0#describe") (result i32)
    {describing}
    (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const {len}))
    (i32.const 16))
  (func (export "frontdesk:tool/tools@0.1.0#call")
    (param $name i32) (param $name_len i32) (param $args i32) (param $args_len i32) (result i32)
    (local $i i32) (local $j i32)
    {call}))"#,
            imports = self.imports,
            memory = self.memory,
            data = self.describe.replace('\\', "\\\\").replace('"', "\\\""),
            fields = self.fields,
            describing = self.describing,
            len = self.describe.len(),
            call = self.call,
        );
        let mut module = wat::parse_str(&text).unwrap();
        let mut resolve = Resolve::default();
        // One package in several files; only the first says which.
        let wit: String = WIT.iter().map(|(_, text)| *text).collect();
        // What a guest does not import is no part of its component.
        for wasi in WASI_WIT {
            resolve.push_str("wasi.wit", wasi).unwrap();
        }
        let wit = format!(
            "{wit} world everything {{
               include fetching-tool; import context; import wasi:clocks/wall-clock@0.2.9;
               import wasi:clocks/monotonic-clock@0.2.9; import wasi:io/poll@0.2.9; import wasi:random/random@0.2.9;
               import wasi:cli/environment@0.2.9; import wasi:sockets/instance-network@0.2.9;
               import wasi:http/outgoing-handler@0.2.9; {} }}",
            self.world
        );
        let package = resolve.push_str("tool.wit", &wit).unwrap();
        let world = resolve.select_world(&[package], Some("everything")).unwrap();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        ComponentEncoder::default().module(&module).unwrap().encode().unwrap().into()
    }
}

/// A guest with the given body of `call`, all imports at hand.
pub fn calling(call: &str) -> Bytes {
    Guest { imports: IMPORTS, call, ..Guest::default() }.build()
}

/// The product's limits, but small enough that each is met at once.
pub fn limits() -> Limits {
    Limits { cpu: std::time::Duration::from_millis(60), memory: 16 << 20, concurrent: 4, ..Limits::default() }
}

pub fn sandbox() -> Sandbox {
    Sandbox::new(limits())
}

/// A tool's data in memory.
#[derive(Default)]
pub struct MemoryKv(pub Mutex<HashMap<String, Vec<u8>>>);

#[async_trait::async_trait]
impl ToolHost for MemoryKv {
    async fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        tokio::task::yield_now().await;
        Ok(self.0.lock().unwrap().get(key).cloned())
    }

    async fn kv_set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        tokio::task::yield_now().await;
        self.0.lock().unwrap().insert(key.to_owned(), value);
        Ok(())
    }
}

impl MemoryKv {
    pub fn with(entries: &[(&str, &str)]) -> Arc<Self> {
        let map = entries.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect();
        Arc::new(Self(Mutex::new(map)))
    }
}

/// Never answers, whatever it is asked.
pub struct Hangs;

#[async_trait::async_trait]
impl ToolHost for Hangs {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        std::future::pending().await
    }

    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        std::future::pending().await
    }

    async fn fetch(&self, _: FetchRequest) -> Result<OutboundAnswer> {
        std::future::pending().await
    }
}

/// Holds a guest inside its first call of the host until it is let go; afterwards it answers with nothing, or never.
pub struct Gate {
    /// Told when the guest stands there.
    pub entered: tokio::sync::Semaphore,
    pub open: tokio::sync::Semaphore,
    passed: std::sync::atomic::AtomicBool,
    hangs: bool,
}

impl Gate {
    pub fn closed(hangs: bool) -> Arc<Self> {
        let (entered, open) = (tokio::sync::Semaphore::new(0), tokio::sync::Semaphore::new(0));
        Arc::new(Self { entered, open, passed: false.into(), hangs })
    }

    async fn pass(&self) {
        if !self.passed.load(std::sync::atomic::Ordering::SeqCst) {
            self.entered.add_permits(1);
            let _ = self.open.acquire().await.unwrap();
            self.passed.store(true, std::sync::atomic::Ordering::SeqCst);
        } else if self.hangs {
            std::future::pending::<()>().await;
        }
    }
}

#[async_trait::async_trait]
impl ToolHost for Gate {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        self.pass().await;
        Ok(None)
    }

    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        self.pass().await;
        Ok(())
    }

    async fn fetch(&self, _: FetchRequest) -> Result<OutboundAnswer> {
        self.pass().await;
        Ok(OutboundAnswer::default())
    }
}

/// Data that cannot be reached.
pub struct BrokenKv;

#[async_trait::async_trait]
impl ToolHost for BrokenKv {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Err(Error::unavailable("the database is away"))
    }

    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Err(Error::new(frontdesk_api::Kind::TooLarge, "the namespace is full"))
    }
}

/// Everything granted, with data of its own.
pub fn grants() -> HostGrants {
    HostGrants {
        log: true,
        kv: Some(MemoryKv::with(&[])),
        clock: Some(Arc::new(frontdesk_api::clock::FixedClock::at(1_700_000_000_000_000))),
        random: Some(Arc::new(frontdesk_wasm::OsRandom)),
        wasi: Some(wasi()),
        ..HostGrants::default()
    }
}

/// At the same time of day.
pub fn wasi() -> Wasi {
    let clock = Arc::new(frontdesk_api::clock::FixedClock::at(1_700_000_000_000_000));
    Wasi { clock, random: Arc::new(frontdesk_wasm::OsRandom) }
}

pub async fn inspect(sandbox: &Sandbox, bytes: Bytes) -> Component {
    sandbox.inspect(bytes).await.unwrap()
}

/// Calls `t` with everything granted.
pub async fn call(sandbox: &Sandbox, component: &Component) -> Call {
    sandbox.call(component, "t", "{}", grants()).await
}

/// Inspects, calls, and gives the text of the refusal, from whichever step.
pub async fn refusal(sandbox: &Sandbox, bytes: Bytes) -> String {
    match sandbox.inspect(bytes).await {
        Err(fault) => fault.to_string(),
        Ok(component) => match call(sandbox, &component).await.result {
            Err(fault) => fault.to_string(),
            Ok(output) => panic!("an answer instead of a refusal: {:.80}", output.text),
        },
    }
}

pub fn text(call: Call) -> std::result::Result<String, Fault> {
    call.result.map(|output| output.text)
}
