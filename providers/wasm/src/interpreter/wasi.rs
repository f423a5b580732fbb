//! The bare WASI an interpreter needs to run at all: two clocks, chance, and nothing around it.
//!
//! Language runtimes ask for some 25 interfaces of WASI 0.2. Their functions that a bare world has an honest
//! answer to are here: no argument, no variable, no folder, an input that is at its end, outputs that go nowhere, and a
//! sleep that ends. Everything else (files, sockets, names) is linked as a trap, so there is no code behind it
//! that could be wrong. Invariant: nothing here reaches a file, an environment or a network, and every call is
//! charged against the host-call budget of the run.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use frontdesk_api::{Error, Kind};
use wasmtime::{
    Engine, StoreContextMut,
    component::{
        Component, ComponentType, InstancePre, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
        types::ComponentItem,
    },
};

use super::session::Guest;
use crate::{fault::Stop, limits::Limit};

/// Bytes an output takes at once; they go nowhere.
const ROOM: u64 = 64 << 10;

/// Moments a guest may wait for at the same time.
const POLLABLES: usize = 64;

/// A moment that can be waited for.
struct Pollable;
/// Bytes that come in; none ever do.
struct InputStream;
/// Bytes that go out, nowhere.
struct OutputStream;
/// Why a stream failed; none does.
struct StreamFailure;

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct DateTime {
    seconds: u64,
    nanoseconds: u32,
}

#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
#[allow(dead_code)] // the shape of WASI's own
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<StreamFailure>),
    #[component(name = "closed")]
    Closed,
}

/// What a guest waits for.
#[derive(Default)]
pub(super) struct Waits {
    until: HashMap<u32, Instant>,
    next: u32,
}

type Store<'a> = StoreContextMut<'a, Guest>;
type Linked = wasmtime::Result<()>;

/// The component with its bare world around it.
pub(super) fn link(engine: &Engine, code: &Component) -> wasmtime::Result<InstancePre<Guest>> {
    let mut world = World { linker: Linker::new(engine), names: HashMap::new() };
    for (name, item) in code.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(wanted) = item.ty else { continue };
        // Any 0.2 serves any other: what is linked has the version that is asked for.
        if let Some((plain, _)) = name.strip_prefix("wasi:").and_then(|name| name.split_once("@0.2.")) {
            world.names.insert(plain.to_owned(), name.to_owned());
        }
        let mut linked = world.linker.instance(name)?;
        for (name, _) in wanted.exports(engine).filter(|(_, item)| matches!(item.ty, ComponentItem::Resource(_))) {
            resource(&mut linked, name)?;
        }
    }
    poll(&mut world)?;
    streams(&mut world)?;
    around(&mut world)?;
    clocks(&mut world)?;
    random(&mut world)?;
    world.linker.define_unknown_imports_as_traps(code)?;
    world.linker.instantiate_pre(code)
}

struct World {
    linker: Linker<Guest>,
    /// The interfaces the component asks for: `io/poll` → `wasi:io/poll@0.2.9`.
    names: HashMap<String, String>,
}

impl World {
    fn interface(&mut self, name: &str) -> wasmtime::Result<LinkerInstance<'_, Guest>> {
        self.linker.instance(self.names.get(name).map_or(name, String::as_str))
    }
}

/// An interface that only speaks of a resource names it as well: each is the same one everywhere.
fn resource(linked: &mut LinkerInstance<'_, Guest>, name: &str) -> Linked {
    let nothing = |_: Store<'_>, _: u32| Ok(());
    match name {
        "pollable" => linked.resource(name, ResourceType::host::<Pollable>(), |mut store, rep| {
            store.data_mut().waits.until.remove(&rep);
            Ok(())
        }),
        "input-stream" => linked.resource(name, ResourceType::host::<InputStream>(), nothing),
        "output-stream" => linked.resource(name, ResourceType::host::<OutputStream>(), nothing),
        "error" => linked.resource(name, ResourceType::host::<StreamFailure>(), nothing),
        // Descriptors, terminals, sockets: there never is one.
        _ => linked.resource(name, ResourceType::host::<()>(), nothing),
    }
}

fn streams(world: &mut World) -> Linked {
    let mut streams = world.interface("io/streams")?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(name, |mut store: Store<'_>, (_, _): (Resource<InputStream>, u64)| {
            store.data_mut().enter()?;
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    streams.func_wrap(
        "[method]output-stream.check-write",
        |mut store: Store<'_>, (_,): (Resource<OutputStream>,)| {
            store.data_mut().enter()?;
            Ok((Ok::<_, StreamError>(ROOM),))
        },
    )?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(name, |mut store: Store<'_>, (_, _): (Resource<OutputStream>, Vec<u8>)| {
            store.data_mut().enter()?;
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.func_wrap(name, |mut store: Store<'_>, (_,): (Resource<OutputStream>,)| {
            store.data_mut().enter()?;
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    streams.func_wrap("[method]output-stream.subscribe", |mut store: Store<'_>, (_,): (Resource<OutputStream>,)| {
        Ok((store.data_mut().wait_until(Instant::now())?,))
    })?;
    streams.func_wrap("[method]input-stream.subscribe", |mut store: Store<'_>, (_,): (Resource<InputStream>,)| {
        Ok((store.data_mut().wait_until(Instant::now())?,))
    })
}

fn poll(world: &mut World) -> Linked {
    let mut poll = world.interface("io/poll")?;
    poll.func_wrap("[method]pollable.ready", |mut store: Store<'_>, (one,): (Resource<Pollable>,)| {
        store.data_mut().enter()?;
        Ok((store.data().until(&one) <= Instant::now(),))
    })?;
    poll.func_wrap_async("[method]pollable.block", |mut store: Store<'_>, (one,): (Resource<Pollable>,)| {
        Box::new(async move {
            store.data_mut().enter()?;
            tokio::time::sleep_until(store.data().until(&one).into()).await;
            Ok(())
        })
    })?;
    poll.func_wrap_async("poll", |mut store: Store<'_>, (all,): (Vec<Resource<Pollable>>,)| {
        Box::new(async move {
            store.data_mut().enter()?;
            let moments: Vec<Instant> = all.iter().map(|one| store.data().until(one)).collect();
            if let Some(first) = moments.iter().min() {
                tokio::time::sleep_until((*first).into()).await;
            }
            let now = Instant::now();
            let ready = (0u32..).zip(&moments).filter(|(_, at)| **at <= now).map(|(i, _)| i);
            Ok((ready.collect::<Vec<u32>>(),))
        })
    })
}

impl Guest {
    fn until(&self, one: &Resource<Pollable>) -> Instant {
        self.waits.until.get(&one.rep()).copied().unwrap_or_else(Instant::now)
    }

    fn wait_until(&mut self, moment: Instant) -> wasmtime::Result<Resource<Pollable>> {
        self.enter()?;
        if self.waits.until.len() >= POLLABLES {
            return Err(Stop::Limit(self.limits.exceeded(Limit::HostCalls)).into());
        }
        self.waits.next = self.waits.next.wrapping_add(1);
        self.waits.until.insert(self.waits.next, moment);
        Ok(Resource::new_own(self.waits.next))
    }
}

fn around(world: &mut World) -> Linked {
    let mut environment = world.interface("cli/environment")?;
    environment.func_wrap("get-environment", |_: Store<'_>, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_: Store<'_>, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_: Store<'_>, (): ()| Ok((None::<String>,)))?;
    world
        .interface("cli/stdin")?
        .func_wrap("get-stdin", |_: Store<'_>, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?;
    for (name, function) in [("cli/stdout", "get-stdout"), ("cli/stderr", "get-stderr")] {
        world
            .interface(name)?
            .func_wrap(function, |_: Store<'_>, (): ()| Ok((Resource::<OutputStream>::new_own(0),)))?;
    }
    for name in ["stdin", "stdout", "stderr"] {
        world
            .interface(&format!("cli/terminal-{name}"))?
            .func_wrap(&format!("get-terminal-{name}"), |_: Store<'_>, (): ()| Ok((None::<Resource<()>>,)))?;
    }
    world
        .interface("filesystem/preopens")?
        .func_wrap("get-directories", |_: Store<'_>, (): ()| Ok((Vec::<(Resource<()>, String)>::new(),)))
}

fn clocks(world: &mut World) -> Linked {
    let mut wall = world.interface("clocks/wall-clock")?;
    wall.func_wrap("now", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter()?;
        let micros = u64::try_from(store.data().clock.now()).unwrap_or(0);
        let nanoseconds = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Ok((DateTime { seconds: micros / 1_000_000, nanoseconds },))
    })?;
    wall.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((DateTime { seconds: 0, nanoseconds: 1_000 },)))?;
    let mut monotonic = world.interface("clocks/monotonic-clock")?;
    monotonic.func_wrap("now", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter()?;
        Ok((nanos(store.data().born.elapsed()),))
    })?;
    monotonic.func_wrap("resolution", |_: Store<'_>, (): ()| Ok((1_000u64,)))?;
    monotonic.func_wrap("subscribe-instant", |mut store: Store<'_>, (at,): (u64,)| {
        let moment = after(store.data().born, at);
        Ok((store.data_mut().wait_until(moment)?,))
    })?;
    monotonic.func_wrap("subscribe-duration", |mut store: Store<'_>, (long,): (u64,)| {
        let moment = after(Instant::now(), long);
        Ok((store.data_mut().wait_until(moment)?,))
    })
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment so far ahead that no clock has it is a day away, longer than any run.
fn after(from: Instant, nanos: u64) -> Instant {
    let day = Duration::from_secs(86_400);
    from.checked_add(Duration::from_nanos(nanos).min(day)).unwrap_or(from)
}

fn random(world: &mut World) -> Linked {
    world.interface("random/insecure-seed")?.func_wrap("insecure-seed", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter()?;
        let (mut one, mut two) = ([0; 8], [0; 8]);
        unpredictable(&mut one)?;
        unpredictable(&mut two)?;
        Ok(((u64::from_ne_bytes(one), u64::from_ne_bytes(two)),))
    })?;
    let mut random = world.interface("random/random")?;
    random.func_wrap("get-random-bytes", |mut store: Store<'_>, (len,): (u64,)| {
        store.data_mut().enter()?;
        let limits = store.data().limits;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > limits.random_bytes {
            return Err(Stop::Limit(limits.exceeded(Limit::RandomBytes)).into());
        }
        let mut bytes = vec![0; len];
        unpredictable(&mut bytes)?;
        Ok((bytes,))
    })?;
    random.func_wrap("get-random-u64", |mut store: Store<'_>, (): ()| {
        store.data_mut().enter()?;
        let mut bytes = [0; 8];
        unpredictable(&mut bytes)?;
        Ok((u64::from_ne_bytes(bytes),))
    })
}

fn unpredictable(bytes: &mut [u8]) -> Result<(), Stop> {
    getrandom::fill(bytes).map_err(|e| {
        let error = Error::new(Kind::Internal, "drawing random bytes for an interpreter failed");
        Stop::Host(error.with_source(e.to_string()))
    })
}
