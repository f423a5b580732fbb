//! A fresh, limited call of a component, beside the same component on bare wasmtime.
//!
//! Each round is a whole cycle: store, instance, call, drop.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use frontdesk_wasm::{Asked, HostGrants, Limits, Place, Registered, Sandbox};
use wasmtime::{
    Store,
    component::{Component, Linker},
};

use super::{
    bare::{Bare, engine},
    common::{Gate, Guest, MemoryKv, wasi},
    table, together,
};

const SHOP: &[u8] = include_bytes!("../../../../services/gateway/demo/tools/shop-tools.wasm");
pub const LAMP: &str = r#"{"status":"shipped","eta":"2026-11-28","item":"Desk lamp"}"#;

#[derive(Clone)]
pub struct Case {
    name: &'static str,
    pub component: Bytes,
    pub tool: &'static str,
    pub arguments: &'static str,
}

/// Without a call, and how often.
const PAUSE: Duration = Duration::from_millis(300);
const PAUSES: usize = 20;

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
        wasi: Some(wasi()),
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
    let (floor, pause) = bare(case, rounds).await;
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
    for _ in 0..PAUSES {
        tokio::time::sleep(PAUSE).await;
        let grants = given(&kv);
        let began = Instant::now();
        let call = sandbox.call(&component, case.tool, case.arguments, grants).await;
        times.push(began.elapsed());
        assert!(call.result.is_ok());
    }
    table::row(&format!("{}, fresh, after 300 ms without a call", case.name), times, Some(pause));
    half / floor
}

pub async fn parallel(built: Option<&Path>, rounds: usize) {
    for (n, case) in cases(built).into_iter().enumerate() {
        let rounds = if n < 2 { rounds } else { (rounds / 20).max(1) };
        let floor = Arc::new(Bare::tool(&case));
        let name = format!("{} on bare wasmtime, its floor", case.name);
        let floor = together(&name, rounds, None, |_| {
            let (floor, case) = (Arc::clone(&floor), case.clone());
            async move { floor.call(&case).await }
        })
        .await;
        let sandbox = Arc::new(Sandbox::new(Limits::default()));
        let component = sandbox.inspect(case.component.clone()).await.unwrap();
        let kv = MemoryKv::with(&[("order/48213", LAMP)]);
        together(&format!("{}, fresh", case.name), rounds, Some(floor), |_| {
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

/// A component of one empty function: what nothing costs.
async fn empty(rounds: usize) {
    let engine = engine(&Limits::default());
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

/// The same component and call on bare wasmtime, one behind the other and after a pause; the medians in µs.
async fn bare(case: &Case, rounds: usize) -> (f64, f64) {
    let bare = Bare::tool(case);
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let began = Instant::now();
        bare.call(case).await;
        times.push(began.elapsed());
    }
    let half = table::row(&format!("{} on bare wasmtime, its floor", case.name), times, None);
    let mut times = vec![];
    for _ in 0..PAUSES {
        tokio::time::sleep(PAUSE).await;
        let began = Instant::now();
        bare.call(case).await;
        times.push(began.elapsed());
    }
    let name = format!("{} on bare wasmtime, its floor, after 300 ms without a call", case.name);
    (half, table::row(&name, times, None))
}
