//! A fresh, limited call of a component, beside the same component on bare wasmtime.
//!
//! Each round is a whole cycle: store, instance, call, drop.

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_wasm::{Asked, HostGrants, Limits, Place, Registered, Sandbox};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, ComponentExportIndex, ComponentType, InstancePre, Lift, Linker, Lower},
};

use super::{
    PARALLEL,
    common::{Gate, Guest, MemoryKv},
    table,
};

const SHOP: &[u8] = include_bytes!("../../../../services/gateway/demo/tools/shop-tools.wasm");
const LAMP: &str = r#"{"status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;
const TOOLS: &str = "frontdesk:tool/tools@0.1.0";

#[derive(Clone)]
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

/// Tools of our own and, where there is a folder of them, those that an author built from the templates as they are written
/// (`frontdesk tool new --lang python`, `build`).
fn cases(built: Option<&Path>) -> Vec<Case> {
    let mut cases = vec![
        Case { name: "a tiny tool", component: Guest::default().build(), tool: "t", arguments: "{}" },
        Case {
            name: "a tool in Rust",
            component: Bytes::from_static(SHOP),
            tool: "lookup_order",
            arguments: r#"{"order_id":"48213"}"#,
        },
    ];
    for (name, file) in [("a tool in JavaScript", "js.wasm"), ("a tool in Python", "python.wasm")] {
        if let Some(bytes) = built.and_then(|built| std::fs::read(built.join(file)).ok()) {
            let arguments = r#"{"order_number":"48213"}"#;
            cases.push(Case { name, component: bytes.into(), tool: "order_status", arguments });
        }
    }
    cases
}

/// All that one of these tools imports; nobody is asked at the other end of `fetch`.
fn given(kv: &Arc<MemoryKv>) -> HostGrants {
    HostGrants {
        kv: Some(Arc::clone(kv) as _),
        log: true,
        fetch: Some(Gate::closed(true) as _),
        ..HostGrants::default()
    }
}

pub async fn alone(built: Option<&Path>, rounds: usize) -> Floors {
    empty(rounds).await;
    let mut ratios = vec![];
    for case in cases(built) {
        // Those in JavaScript and Python take longer.
        let rounds = if ratios.len() < 2 { rounds } else { rounds / 5 };
        ratios.push(against(&case, rounds).await);
    }
    for case in keeping(built) {
        kept(&case, rounds).await;
    }
    Floors { tiny: ratios[0], rust: ratios[1] }
}

/// Tools that keep their instance for the conversation: that in Rust, which then says so, and one built to.
fn keeping(built: Option<&Path>) -> Vec<Case> {
    let mut rust = SHOP.to_vec();
    // Two members of what it says of `lookup_order`, in as many bytes.
    let find =
        |text: &[u8], from: usize| SHOP[from..].windows(text.len()).position(|part| part == text).unwrap() + from;
    let from = find(b"\"effect\": ", 0);
    let to = find(b"\"risk\": \"read\"", from) + b"\"risk\": \"read\"".len();
    let said = format!("{:1$}", "\"keep\": \"conversation\"", to - from);
    rust[from..to].copy_from_slice(said.as_bytes());
    let arguments = r#"{"order_id":"48213"}"#;
    let mut cases = vec![Case { name: "a tool in Rust", component: rust.into(), tool: "lookup_order", arguments }];
    if let Some(bytes) = built.and_then(|built| std::fs::read(built.join("python-kept.wasm")).ok()) {
        let arguments = r#"{"order_number":"48213"}"#;
        cases.push(Case { name: "a tool in Python", component: bytes.into(), tool: "order_status", arguments });
    }
    cases
}

/// Calls of one conversation, each in the instance that the one before left.
async fn kept(case: &Case, rounds: usize) {
    let sandbox = Sandbox::new(Limits::default());
    let component = sandbox.inspect(case.component.clone()).await.unwrap();
    let kv = MemoryKv::with(&[("order/48213", LAMP)]);
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let (component, grants) = (&component, HostGrants { keep: true, ..given(&kv) });
        let place = Some((Place::named("conversation"), Registered::default()));
        let (limits, began) = (Limits::default(), Instant::now());
        let asked = Asked { component, tool: case.tool, arguments: case.arguments, grants, limits, began, place };
        let call = sandbox.ask(asked).await;
        let time = began.elapsed();
        assert!(call.result.is_ok() && call.resumed == Some(round > 0));
        if round >= rounds / 10 {
            times.push(time);
        }
    }
    table::row(&format!("kept call of {}", case.name), times, None);
}

async fn against(case: &Case, rounds: usize) -> f64 {
    let floor = bare(case, rounds).await;
    let sandbox = Sandbox::new(Limits::default());
    let component = sandbox.inspect(case.component.clone()).await.unwrap();
    let kv = MemoryKv::with(&[("order/48213", LAMP)]);
    let mut times = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let grants = given(&kv);
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
        let grants = given(&kv);
        let began = Instant::now();
        let call = sandbox.call(&component, case.tool, case.arguments, grants).await;
        times.push(began.elapsed());
        assert!(call.result.is_ok());
    }
    table::row(&format!("{}, fresh, after 300 ms without a call", case.name), times, Some(floor));
    half / floor
}

pub async fn parallel(built: Option<&Path>, rounds: usize) {
    for (n, case) in cases(built).into_iter().enumerate() {
        let rounds = if n < 2 { rounds } else { (rounds / 20).max(1) };
        let floor = Arc::new(Bare::new(&case));
        let name = format!("{} on bare wasmtime, its floor", case.name);
        let floor = together(&name, rounds, None, || {
            let (floor, case) = (Arc::clone(&floor), case.clone());
            async move { floor.call(&case).await }
        })
        .await;
        let sandbox = Arc::new(Sandbox::new(Limits::default()));
        let component = sandbox.inspect(case.component.clone()).await.unwrap();
        let kv = MemoryKv::with(&[("order/48213", LAMP)]);
        together(&format!("{}, fresh", case.name), rounds, Some(floor), || {
            let (sandbox, component, kv, case) =
                (Arc::clone(&sandbox), component.clone(), Arc::clone(&kv), case.clone());
            async move {
                let grants = given(&kv);
                assert!(sandbox.call(&component, case.tool, case.arguments, grants).await.result.is_ok());
            }
        })
        .await;
    }
}

/// Many callers at once, each one call behind the other; gives calls a second.
async fn together<F: Future<Output = ()> + Send + 'static>(
    name: &str,
    rounds: usize,
    floor: Option<f64>,
    call: impl Fn() -> F,
) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..PARALLEL)
        .map(|_| {
            let calls: Vec<F> = (0..rounds).map(|_| call()).collect();
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(calls.len());
                for call in calls {
                    let began = Instant::now();
                    call.await;
                    times.push(began.elapsed());
                    // Nothing here waits for anything: the others are to have their turn.
                    tokio::task::yield_now().await;
                }
                times
            })
        })
        .collect();
    let mut times = vec![];
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    table::rate(name, times, began.elapsed(), floor)
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

/// A component on bare wasmtime.
struct Bare {
    engine: Engine,
    pre: InstancePre<()>,
    index: ComponentExportIndex,
}

impl Bare {
    fn new(case: &Case) -> Self {
        let engine = engine();
        let code = Component::new(&engine, &case.component).unwrap();
        let mut linker = Linker::<()>::new(&engine);
        linker.allow_shadowing(true);
        // What else a tool could ask for, none of these calls does.
        linker.define_unknown_imports_as_traps(&code).unwrap();
        let mut kv = linker.instance("frontdesk:tool/kv@0.1.0").unwrap();
        kv.func_wrap("get", |_, (_,): (String,)| Ok((Some(LAMP.as_bytes().to_vec()),))).unwrap();
        type Written = (Result<(), KvError>,);
        kv.func_wrap("set", |_, (_, _): (String, Vec<u8>)| -> wasmtime::Result<Written> { Ok((Err(KvError::Full),)) })
            .unwrap();
        let pre = linker.instantiate_pre(&code).unwrap();
        let tools = code.get_export_index(None, TOOLS).unwrap();
        let index = code.get_export_index(Some(&tools), "call").unwrap();
        Self { engine, pre, index }
    }

    async fn call(&self, case: &Case) {
        let mut store = Store::new(&self.engine, ());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let call =
            instance.get_typed_func::<(&str, &str), (Result<String, ToolError>,)>(&mut store, &self.index).unwrap();
        let answer = call.call_async(&mut store, (case.tool, case.arguments)).await.unwrap();
        assert!(answer.0.is_ok());
    }
}

/// The same component and call on bare wasmtime; the median in µs.
async fn bare(case: &Case, rounds: usize) -> f64 {
    let bare = Bare::new(case);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        bare.call(case).await;
        times.push(began.elapsed());
    }
    table::row(&format!("{} on bare wasmtime, its floor", case.name), times, None)
}
