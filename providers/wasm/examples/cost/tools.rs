//! A fresh, limited call of a component, beside the same component on bare wasmtime.
//!
//! Each round is a whole cycle: store, instance, call, drop.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_wasm::{Component as Tool, HostGrants, Limits, Sandbox};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, ComponentType, Lift, Linker, Lower},
};

use super::{
    PARALLEL,
    common::{Guest, MemoryKv},
    table,
};

const SHOP: &[u8] = include_bytes!("../../../../services/gateway/demo/tools/shop-tools.wasm");
const LAMP: &str = r#"{"status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;
const TOOLS: &str = "frontdesk:tool/tools@0.1.0";

struct Case {
    name: &'static str,
    component: Bytes,
    tool: &'static str,
    arguments: &'static str,
}

/// How many times its floor each costs, by medians.
pub struct Floors {
    pub tiny: f64,
    pub rust: f64,
}

fn cases() -> [Case; 2] {
    [
        Case { name: "a tiny tool", component: Guest::default().build(), tool: "t", arguments: "{}" },
        Case {
            name: "a tool in Rust",
            component: Bytes::from_static(SHOP),
            tool: "lookup_order",
            arguments: r#"{"order_id":"48213"}"#,
        },
    ]
}

pub async fn alone(rounds: usize) -> Floors {
    empty(rounds).await;
    let [tiny, rust] = cases();
    Floors { tiny: against(&tiny, rounds).await, rust: against(&rust, rounds).await }
}

async fn against(case: &Case, rounds: usize) -> f64 {
    let floor = bare(case, rounds).await;
    let sandbox = Sandbox::new(Limits::default());
    let component = sandbox.inspect(case.component.clone()).await.unwrap();
    let kv = MemoryKv::with(&[("order/48213", LAMP)]);
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let grants = HostGrants { kv: Some(Arc::clone(&kv) as _), ..HostGrants::default() };
        let began = Instant::now();
        let call = sandbox.call(&component, case.tool, case.arguments, grants).await;
        let time = began.elapsed();
        assert!(call.result.is_ok());
        // The first ones warm caches up, as they do on the floor.
        if round >= rounds / 10 {
            times.push(time);
        }
    }
    let half = table::row(&format!("{}, fresh", case.name), times, Some(floor));
    // Nobody has asked for a while: the clock that interrupts guests sleeps.
    let mut times = vec![];
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let grants = HostGrants { kv: Some(Arc::clone(&kv) as _), ..HostGrants::default() };
        let began = Instant::now();
        let call = sandbox.call(&component, case.tool, case.arguments, grants).await;
        times.push(began.elapsed());
        assert!(call.result.is_ok());
    }
    table::row(&format!("{}, fresh, after 300 ms without a call", case.name), times, Some(floor));
    half / floor
}

pub async fn parallel(rounds: usize) {
    for case in cases() {
        let sandbox = Arc::new(Sandbox::new(Limits::default()));
        let component = sandbox.inspect(case.component.clone()).await.unwrap();
        let kv = MemoryKv::with(&[("order/48213", LAMP)]);
        let began = Instant::now();
        let tasks: Vec<_> = (0..PARALLEL)
            .map(|_| {
                let (sandbox, component, kv) = (Arc::clone(&sandbox), component.clone(), Arc::clone(&kv));
                tokio::spawn(repeat(sandbox, component, kv, (case.tool, case.arguments), rounds))
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        table::rate(&format!("{}, fresh", case.name), PARALLEL * rounds, began.elapsed());
    }
}

async fn repeat(
    sandbox: Arc<Sandbox>,
    component: Tool,
    kv: Arc<MemoryKv>,
    (tool, arguments): (&'static str, &'static str),
    rounds: usize,
) {
    for _ in 0..rounds {
        let grants = HostGrants { kv: Some(Arc::clone(&kv) as _), ..HostGrants::default() };
        let call = sandbox.call(&component, tool, arguments, grants).await;
        assert!(call.result.is_ok());
        // Nothing here waits for anything: the others are to have their turn.
        tokio::task::yield_now().await;
    }
}

/// As the sandbox's own, its slots and sizes too, without what it adds (stacks that are cleared).
fn engine() -> Engine {
    let limits = Limits::default();
    let slots = limits.concurrent;
    let mut config = Config::new();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots * limits.instances)
        .total_memories(slots * limits.memories)
        .total_tables(slots * limits.tables)
        .total_stacks(slots)
        .max_component_instance_size(4 << 20)
        .max_core_instance_size(4 << 20)
        .max_core_instances_per_component(limits.instances)
        .max_memories_per_component(limits.memories)
        .max_tables_per_component(limits.tables)
        .table_elements(limits.table_elements)
        .max_memory_size(limits.memory);
    config
        .epoch_interruption(true)
        .max_wasm_stack(limits.stack)
        .async_stack_size(limits.stack + (512 << 10))
        .memory_guaranteed_dense_image_size(limits.memory as u64)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config).unwrap()
}

/// A component of one empty function: what nothing costs.
async fn empty(rounds: usize) {
    let engine = engine();
    let text = r#"(component (core module $m (memory 1) (func (export "f"))) (core instance $i (instantiate $m))
        (func (export "f") (canon lift (core func $i "f"))))"#;
    let code = Component::new(&engine, wat::parse_str(text).unwrap()).unwrap();
    let pre = Linker::<()>::new(&engine).instantiate_pre(&code).unwrap();
    let mut times = vec![];
    for _ in 0..rounds {
        let began = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let f = instance.get_typed_func::<(), ()>(&mut store, "f").unwrap();
        f.call_async(&mut store, ()).await.unwrap();
        drop(store);
        times.push(began.elapsed());
    }
    table::row("an empty component on bare wasmtime", times, None);
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

/// The same component and call on bare wasmtime; the median in µs.
async fn bare(case: &Case, rounds: usize) -> f64 {
    let engine = engine();
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
        let began = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = pre.instantiate_async(&mut store).await.unwrap();
        let call = instance.get_typed_func::<(&str, &str), (Result<String, ToolError>,)>(&mut store, &index).unwrap();
        let answer = call.call_async(&mut store, (case.tool, case.arguments)).await.unwrap();
        drop(store);
        times.push(began.elapsed());
        assert!(answer.0.is_ok());
    }
    table::row(&format!("{} on bare wasmtime, its floor", case.name), times, None)
}
