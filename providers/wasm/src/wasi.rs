//! Bare WASI: what a language's runtime asks for before it runs at all. Two clocks, chance, and nothing around them.
//!
//! Runtimes ask for some 25 interfaces of WASI 0.2. Their functions that a bare world has an honest answer to are here:
//! no argument, no variable, no folder, an input that is at its end, outputs that go nowhere, and a sleep that ends.
//! Everything else (files, sockets, names) is a trap that says its name, so there is no code behind it that could be wrong.
//! Invariants: nothing here reaches a file, an environment or a network; every call is charged before it does anything;
//! what `behind` does not list is no part of it.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use frontdesk_api::Clock;
use wasmtime::{
    StoreContextMut,
    component::{
        Component, ComponentNamedList, ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType,
        types::ComponentItem,
    },
};

use crate::{
    fault::Stop,
    host::{Random, State},
    limits::{Limit, Limits},
};

/// Bytes an output takes at once; they go nowhere.
const ROOM: u64 = 64 << 10;

/// Functions and types of one interface; WASI's largest have some fifty.
const PARTS: usize = 128;

/// What is not the same each time.
#[derive(Clone)]
pub struct Wasi {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// A store's data, to a guest in bare WASI.
pub trait Bare: Send + 'static {
    /// One more call of the host.
    ///
    /// # Errors
    /// Where there were enough.
    fn charge(&mut self) -> wasmtime::Result<()>;
    fn limits(&self) -> &Limits;
    /// None: clocks stand still and chance is zeros.
    fn given(&self) -> Option<&Wasi>;
    fn moments(&mut self) -> &mut Moments;
}

/// An instance's time: since when, and what it waits for. Of the latter there are as many as it may hold handles.
#[derive(Debug)]
pub struct Moments {
    born: Instant,
    until: HashMap<u32, Instant>,
    next: u32,
}

impl Default for Moments {
    fn default() -> Self {
        Self { born: Instant::now(), until: HashMap::new(), next: 0 }
    }
}

impl Moments {
    fn until(&self, one: &Resource<Pollable>) -> Instant {
        self.until.get(&one.rep()).copied().unwrap_or_else(Instant::now)
    }

    fn wait(&mut self, until: Instant) -> Resource<Pollable> {
        self.next = self.next.wrapping_add(1);
        self.until.insert(self.next, until);
        Resource::new_own(self.next)
    }
}

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

type Store<'a, T> = StoreContextMut<'a, T>;
type Interface<'a, T> = LinkerInstance<'a, T>;
type Linked = wasmtime::Result<()>;
type Behind<T> = fn(&mut Interface<'_, T>) -> Linked;

/// Whether an import is one of bare WASI.
pub(crate) fn has(import: &str) -> bool {
    behind::<State>(import).is_some()
}

/// What stands behind an interface beside traps. Any 0.2 serves any other.
fn behind<T: Bare>(import: &str) -> Option<Behind<T>> {
    let (name, patch) = import.strip_prefix("wasi:")?.split_once("@0.2.")?;
    if patch.is_empty() || !patch.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let behind: Behind<T> = match name {
        "cli/environment" => environment,
        "cli/stdin" => |linked| says(linked, "get-stdin", || Resource::<InputStream>::new_own(0)),
        "cli/stdout" => |linked| says(linked, "get-stdout", || Resource::<OutputStream>::new_own(0)),
        "cli/stderr" => |linked| says(linked, "get-stderr", || Resource::<OutputStream>::new_own(0)),
        "cli/terminal-stdin" => |linked| says(linked, "get-terminal-stdin", || None::<Resource<()>>),
        "cli/terminal-stdout" => |linked| says(linked, "get-terminal-stdout", || None::<Resource<()>>),
        "cli/terminal-stderr" => |linked| says(linked, "get-terminal-stderr", || None::<Resource<()>>),
        "clocks/wall-clock" => wall_clock,
        "clocks/monotonic-clock" => monotonic_clock,
        "filesystem/preopens" => |linked| says(linked, "get-directories", Vec::<(Resource<()>, String)>::new),
        "io/poll" => poll,
        "io/streams" => streams,
        "random/random" => |linked| random(linked, "get-random-bytes", "get-random-u64"),
        "random/insecure" => |linked| random(linked, "get-insecure-random-bytes", "get-insecure-random-u64"),
        "random/insecure-seed" => insecure_seed,
        "cli/exit"
        | "cli/terminal-input"
        | "cli/terminal-output"
        | "filesystem/types"
        | "io/error"
        | "sockets/instance-network"
        | "sockets/ip-name-lookup"
        | "sockets/network"
        | "sockets/tcp"
        | "sockets/tcp-create-socket"
        | "sockets/udp"
        | "sockets/udp-create-socket" => |_| Ok(()),
        _ => return None,
    };
    Some(behind)
}

/// Puts bare WASI around a component, as far as it asks for it.
///
/// # Errors
/// Where an interface has more parts than WASI's.
pub fn link<T: Bare>(linker: &mut Linker<T>, code: &Component) -> wasmtime::Result<()> {
    let engine = linker.engine().clone();
    // What has an answer takes the place of its trap.
    linker.allow_shadowing(true);
    for (name, item) in code.component_type().imports(&engine) {
        let (Some(behind), ComponentItem::ComponentInstance(wanted)) = (behind::<T>(name), item.ty) else { continue };
        if wanted.exports(&engine).len() > PARTS {
            return Err(wasmtime::Error::msg(format!("'{name}' has more than {PARTS} parts, and WASI's has not")));
        }
        let mut linked = linker.instance(name)?;
        for (part, item) in wanted.exports(&engine) {
            match item.ty {
                ComponentItem::Resource(_) => resource(&mut linked, part)?,
                ComponentItem::ComponentFunc(_) => {
                    let absent = format!("{name}#{part}");
                    linked.func_new(part, move |_, _, _, _| Err(Stop::Absent(absent.clone()).into()))?;
                }
                _ => {}
            }
        }
        behind(&mut linked)?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

/// An interface that only speaks of a resource names it as well: each is the same one everywhere.
fn resource<T: Bare>(linked: &mut Interface<'_, T>, name: &str) -> Linked {
    let nothing = |_: Store<'_, T>, _: u32| Ok(());
    match name {
        "pollable" => linked.resource(name, ResourceType::host::<Pollable>(), |mut store, rep| {
            store.data_mut().moments().until.remove(&rep);
            Ok(())
        }),
        "input-stream" => linked.resource(name, ResourceType::host::<InputStream>(), nothing),
        "output-stream" => linked.resource(name, ResourceType::host::<OutputStream>(), nothing),
        "error" => linked.resource(name, ResourceType::host::<StreamFailure>(), nothing),
        // Descriptors, terminals, sockets: there never is one.
        _ => linked.resource(name, ResourceType::host::<()>(), nothing),
    }
}

/// A function that has one answer.
fn says<T: Bare, R>(linked: &mut Interface<'_, T>, name: &str, answer: fn() -> R) -> Linked
where
    R: 'static,
    (R,): ComponentNamedList + Lower,
{
    linked.func_wrap(name, move |mut store: Store<'_, T>, (): ()| {
        store.data_mut().charge()?;
        Ok((answer(),))
    })
}

fn environment<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    says(linked, "get-environment", Vec::<(String, String)>::new)?;
    says(linked, "get-arguments", Vec::<String>::new)?;
    says(linked, "initial-cwd", || None::<String>)
}

fn streams<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        linked.func_wrap(name, |mut store: Store<'_, T>, (_, _): (Resource<InputStream>, u64)| {
            store.data_mut().charge()?;
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    let name = "[method]output-stream.check-write";
    linked.func_wrap(name, |mut store: Store<'_, T>, (_,): (Resource<OutputStream>,)| {
        store.data_mut().charge()?;
        Ok((Ok::<_, StreamError>(ROOM),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        linked.func_wrap(name, |mut store: Store<'_, T>, (_, _): (Resource<OutputStream>, Vec<u8>)| {
            store.data_mut().charge()?;
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        linked.func_wrap(name, |mut store: Store<'_, T>, (_,): (Resource<OutputStream>,)| {
            store.data_mut().charge()?;
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    let name = "[method]output-stream.subscribe";
    linked.func_wrap(name, |mut store: Store<'_, T>, (_,): (Resource<OutputStream>,)| {
        store.data_mut().charge()?;
        Ok((store.data_mut().moments().wait(Instant::now()),))
    })?;
    let name = "[method]input-stream.subscribe";
    linked.func_wrap(name, |mut store: Store<'_, T>, (_,): (Resource<InputStream>,)| {
        store.data_mut().charge()?;
        Ok((store.data_mut().moments().wait(Instant::now()),))
    })
}

fn poll<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    linked.func_wrap("[method]pollable.ready", |mut store: Store<'_, T>, (one,): (Resource<Pollable>,)| {
        store.data_mut().charge()?;
        Ok((store.data_mut().moments().until(&one) <= Instant::now(),))
    })?;
    linked.func_wrap_async("[method]pollable.block", |mut store: Store<'_, T>, (one,): (Resource<Pollable>,)| {
        Box::new(async move {
            store.data_mut().charge()?;
            let until = store.data_mut().moments().until(&one);
            tokio::time::sleep_until(until.into()).await;
            Ok(())
        })
    })?;
    linked.func_wrap_async("poll", |mut store: Store<'_, T>, (all,): (Vec<Resource<Pollable>>,)| {
        Box::new(async move {
            store.data_mut().charge()?;
            let moments = store.data_mut().moments();
            let until: Vec<Instant> = all.iter().map(|one| moments.until(one)).collect();
            if let Some(first) = until.iter().min() {
                tokio::time::sleep_until((*first).into()).await;
            }
            let now = Instant::now();
            let ready = (0u32..).zip(&until).filter(|(_, at)| **at <= now).map(|(i, _)| i);
            Ok((ready.collect::<Vec<u32>>(),))
        })
    })
}

fn wall_clock<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    linked.func_wrap("now", |mut store: Store<'_, T>, (): ()| {
        store.data_mut().charge()?;
        let micros = store.data().given().map_or(0, |wasi| wasi.clock.now());
        let micros = u64::try_from(micros).unwrap_or(0);
        let nanoseconds = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Ok((DateTime { seconds: micros / 1_000_000, nanoseconds },))
    })?;
    says(linked, "resolution", || DateTime { seconds: 0, nanoseconds: 1_000 })
}

fn monotonic_clock<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    linked.func_wrap("now", |mut store: Store<'_, T>, (): ()| {
        let guest = store.data_mut();
        guest.charge()?;
        let stands = guest.given().is_none();
        Ok((if stands { 0 } else { nanos(guest.moments().born.elapsed()) },))
    })?;
    says(linked, "resolution", || 1_000u64)?;
    linked.func_wrap("subscribe-instant", |mut store: Store<'_, T>, (at,): (u64,)| {
        store.data_mut().charge()?;
        Ok((wait(store.data_mut(), |moments| after(moments.born, at)),))
    })?;
    linked.func_wrap("subscribe-duration", |mut store: Store<'_, T>, (long,): (u64,)| {
        store.data_mut().charge()?;
        Ok((wait(store.data_mut(), |_| after(Instant::now(), long)),))
    })
}

/// Where clocks stand still every moment has come, so that nothing depends on how long something took.
fn wait<T: Bare>(guest: &mut T, until: impl FnOnce(&Moments) -> Instant) -> Resource<Pollable> {
    let stands = guest.given().is_none();
    let moments = guest.moments();
    let until = if stands { moments.born } else { until(moments) };
    moments.wait(until)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A moment so far ahead that no clock has it is a day away, longer than any run.
fn after(from: Instant, nanos: u64) -> Instant {
    let day = Duration::from_secs(86_400);
    from.checked_add(Duration::from_nanos(nanos).min(day)).unwrap_or(from)
}

fn random<T: Bare>(linked: &mut Interface<'_, T>, bytes: &str, number: &str) -> Linked {
    linked.func_wrap(bytes, |mut store: Store<'_, T>, (len,): (u64,)| {
        store.data_mut().charge()?;
        let limits = store.data().limits();
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > limits.random_bytes {
            return Err(Stop::Limit(limits.exceeded(Limit::RandomBytes)).into());
        }
        let mut bytes = vec![0; len];
        draw(store.data(), &mut bytes)?;
        Ok((bytes,))
    })?;
    linked.func_wrap(number, |mut store: Store<'_, T>, (): ()| {
        store.data_mut().charge()?;
        let mut bytes = [0; 8];
        draw(store.data(), &mut bytes)?;
        Ok((u64::from_ne_bytes(bytes),))
    })
}

fn insecure_seed<T: Bare>(linked: &mut Interface<'_, T>) -> Linked {
    linked.func_wrap("insecure-seed", |mut store: Store<'_, T>, (): ()| {
        store.data_mut().charge()?;
        let (mut one, mut two) = ([0; 8], [0; 8]);
        draw(store.data(), &mut one)?;
        draw(store.data(), &mut two)?;
        Ok(((u64::from_ne_bytes(one), u64::from_ne_bytes(two)),))
    })
}

fn draw(guest: &impl Bare, bytes: &mut [u8]) -> Result<(), Stop> {
    guest.given().map_or(Ok(()), |wasi| wasi.random.fill(bytes)).map_err(Stop::Host)
}
