//! What a fresh, limited call costs, beside bare wasmtime: `cargo run --release -p frontdesk-wasm --example fresh_call`.
//!
//! Each round is a whole cycle: store, instance, call, drop. "bare" is the same component on an engine with
//! pooling and epochs but without our meters, limits, schema check and grants. Single thread; p50 and p99
//! over the rounds, in microseconds. `ROUNDS` as the first argument, 5000 if left out.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a measurement for a person at a terminal

#[path = "../tests/common/mod.rs"]
mod common;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use common::{Guest, MemoryKv};
use frontdesk_wasm::{HostGrants, Limits, Sandbox};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, ComponentType, Lift, Linker, Lower},
};

const SHOP: &[u8] = include_bytes!("../../../services/gateway/demo/tools/shop-tools.wasm");
const LAMP: &str = r#"{"status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;
const TOOLS: &str = "frontdesk:tool/tools@0.1.0";

struct Case {
    name: &'static str,
    component: Bytes,
    tool: &'static str,
    arguments: &'static str,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let rounds = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(5000);
    let cases = [
        Case { name: "tiny", component: Guest::default().build(), tool: "t", arguments: "{}" },
        Case {
            name: "shop (Rust)",
            component: Bytes::from_static(SHOP),
            tool: "lookup_order",
            arguments: r#"{"order_id":"48213"}"#,
        },
    ];
    println!("{:<28}{:>10}{:>10}{:>10}{:>10}   us", "", "min", "p50", "p99", "max");
    for case in &cases {
        bare(case, rounds).await;
        sandboxed(case, rounds).await;
    }
    println!("RssAnon {} KiB", rss_anon());
}

async fn sandboxed(case: &Case, rounds: usize) {
    let started = Instant::now();
    let sandbox = Sandbox::new(Limits::default());
    let component = sandbox.inspect(case.component.clone()).await.unwrap();
    println!("{:<28}{:>10.1} ms to engine, code and description", case.name, started.elapsed().as_secs_f64() * 1e3);
    let kv = MemoryKv::with(&[("order/48213", LAMP)]);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let grants = HostGrants { kv: Some(Arc::clone(&kv) as _), ..HostGrants::default() };
        let started = Instant::now();
        let call = sandbox.call(&component, case.tool, case.arguments, grants).await;
        times.push(started.elapsed());
        assert!(call.result.is_ok());
    }
    show(&format!("{} in the sandbox", case.name), times);
}

#[derive(ComponentType, Lift)]
#[component(variant)]
#[allow(dead_code)] // the words are not looked at
enum ToolError {
    #[component(name = "bad-arguments")]
    BadArguments(String),
    #[component(name = "failed")]
    Failed(String),
}

#[derive(ComponentType, Lower)]
#[component(variant)]
enum KvError {
    #[component(name = "full")]
    Full,
}

async fn bare(case: &Case, rounds: usize) {
    let mut config = Config::new();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(64).max_memory_size(64 << 20);
    config.epoch_interruption(true).allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    let engine = Engine::new(&config).unwrap();
    let code = Component::new(&engine, &case.component).unwrap();
    let mut linker = Linker::<()>::new(&engine);
    let mut kv = linker.instance("frontdesk:tool/kv@0.1.0").unwrap();
    kv.func_wrap("get", |_, (_,): (String,)| Ok((Some(LAMP.as_bytes().to_vec()),))).unwrap();
    type Written = (Result<(), KvError>,);
    kv.func_wrap("set", |_, (_, _): (String, Vec<u8>)| -> wasmtime::Result<Written> { Ok((Err(KvError::Full),)) })
        .unwrap();
    let pre = linker.instantiate_pre(&code).unwrap();
    let tools = code.get_export_index(None, TOOLS).unwrap();
    let index = code.get_export_index(Some(&tools), "call").unwrap();
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let started = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let call = instance.get_typed_func::<(&str, &str), (Result<String, ToolError>,)>(&mut store, &index).unwrap();
        let answer = call.call_async(&mut store, (case.tool, case.arguments)).await.unwrap();
        drop(store);
        times.push(started.elapsed());
        assert!(answer.0.is_ok());
    }
    show(&format!("{} on bare wasmtime", case.name), times);
}

fn show(name: &str, mut times: Vec<std::time::Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!("{name:<28}{:>10.1}{:>10.1}{:>10.1}{:>10.1}", at(0.0), at(0.5), at(0.99), at(1.0));
}

fn rss_anon() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
