//! Bare wasmtime, the floor that everything here is set against: an engine with pooling and epochs, the same component and
//! the same call, without our meters, limits, checks and grants.
//!
//! Invariant: what a guest can ask for is linked as the sandbox links it, bare WASI by the very same code.

use std::sync::{Arc, LazyLock};

use frontdesk_api::clock::SystemClock;
use frontdesk_wasm::{
    Limits, OsRandom, Wasi,
    interpreter::{CodeFile, Ran},
    wasi::{self, Moments},
};
use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store,
    component::{Component, ComponentExportIndex, ComponentType, Instance, InstancePre, Lift, Linker, Lower},
};

use super::tools::{Case, LAMP};

const TOOLS: &str = "frontdesk:tool/tools@0.1.0";
const LANGUAGE: &str = "frontdesk:interpreter/language@0.1.0";

/// A store's data: nothing, until the guest waits for something.
#[derive(Default)]
pub struct Naked {
    moments: Option<Moments>,
}

static AROUND: LazyLock<(Limits, Wasi)> = LazyLock::new(|| {
    let wasi = Wasi { clock: Arc::new(SystemClock), random: Arc::new(OsRandom) };
    (frontdesk_wasm::interpreter::limits(), wasi)
});

impl wasi::Bare for Naked {
    fn charge(&mut self) -> wasmtime::Result<()> {
        Ok(())
    }

    fn limits(&self) -> &Limits {
        &AROUND.0
    }

    fn given(&self) -> Option<&Wasi> {
        Some(&AROUND.1)
    }

    fn moments(&mut self) -> &mut Moments {
        self.moments.get_or_insert_default()
    }
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

/// As the sandbox's own, its slots and sizes too, without what it adds (stacks that are cleared).
pub fn engine(limits: &Limits) -> Engine {
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

/// A component on bare wasmtime.
pub struct Bare {
    engine: Engine,
    pre: InstancePre<Naked>,
    index: ComponentExportIndex,
}

impl Bare {
    pub fn tool(case: &Case) -> Self {
        Self::of(&case.component, &Limits::default(), TOOLS, "call")
    }

    /// An interpreter.
    pub fn language(component: &[u8], limits: &Limits) -> Self {
        Self::of(component, limits, LANGUAGE, "run")
    }

    fn of(component: &[u8], limits: &Limits, interface: &str, function: &str) -> Self {
        let engine = engine(limits);
        let code = Component::new(&engine, component).unwrap();
        let mut linker = Linker::<Naked>::new(&engine);
        wasi::link(&mut linker, &code).unwrap();
        // What else a tool could ask for, none of these calls does.
        linker.define_unknown_imports_as_traps(&code).unwrap();
        linker.allow_shadowing(true);
        let mut kv = linker.instance("frontdesk:tool/kv@0.1.0").unwrap();
        kv.func_wrap("get", |_, (_,): (String,)| Ok((Some(LAMP.as_bytes().to_vec()),))).unwrap();
        type Written = (Result<(), KvError>,);
        kv.func_wrap("set", |_, (_, _): (String, Vec<u8>)| -> wasmtime::Result<Written> { Ok((Err(KvError::Full),)) })
            .unwrap();
        let pre = linker.instantiate_pre(&code).unwrap();
        let interface = code.get_export_index(None, interface).unwrap();
        let index = code.get_export_index(Some(&interface), function).unwrap();
        Self { engine, pre, index }
    }

    async fn fresh(&self) -> (Store<Naked>, Instance) {
        let mut store = Store::new(&self.engine, Naked::default());
        store.set_epoch_deadline(1 << 40);
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        (store, instance)
    }

    pub async fn call(&self, case: &Case) {
        let (mut store, instance) = self.fresh().await;
        let call =
            instance.get_typed_func::<(&str, &str), (Result<String, ToolError>,)>(&mut store, &self.index).unwrap();
        let answer = call.call_async(&mut store, (case.tool, case.arguments)).await.unwrap();
        assert!(answer.0.is_ok());
    }

    pub async fn run(&self, text: &str) {
        type Asked<'a> = (&'a str, &'a str, &'a [CodeFile], u32, u32);
        let (mut store, instance) = self.fresh().await;
        let run = instance.get_typed_func::<Asked<'_>, (Ran,)>(&mut store, &self.index).unwrap();
        let ran = run.call_async(&mut store, (text, "", &[][..], 32 << 10, 8 << 20)).await.unwrap();
        assert_eq!(ran.0.fault, None);
    }
}
