//! Log lines on their way to standard error, gathered so that a request does not pay a system call for its own line.
//!
//! Waking the thread that writes is a system call too: a thread that answers requests puts it off until it has nothing
//! else to do ([`puts_off`], [`caught_up`]), and a writer that is awake looks again by itself while lines come.
//!
//! Invariants: lines leave in the order they were written; one of warn or worse is out, with all before it, when the
//! call that logs it returns; any other within `WAIT` of the moment its thread has caught up, or at [`flush`], or when
//! `FULL` bytes wait. A terminal gets every line at once.

use std::{
    cell::Cell,
    io::{IsTerminal, Write},
    sync::{Mutex, OnceLock, PoisonError},
    thread::Thread,
    time::Duration,
};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// The longest that a line waits for others.
const WAIT: Duration = Duration::from_millis(100);

/// So many looks that found nothing, and the writer sleeps until it is woken: two seconds.
const LOOKS: u32 = 20;

/// Gathered bytes beyond this are written by whoever adds to them: a reader that is slow slows the writer.
const FULL: usize = 64 * 1024;

static GATHERED: Mutex<Gathered> = Mutex::new(Gathered { bytes: Vec::new(), woken: false });
static WRITER: OnceLock<Option<Thread>> = OnceLock::new();

/// Makes the writers of single lines.
pub struct Lines(());

impl Lines {
    /// Starts the thread that writes, unless standard error is a terminal or the system gives none: then every line
    /// is written at once.
    #[must_use]
    pub fn start() -> Self {
        WRITER.get_or_init(|| {
            if std::io::stderr().is_terminal() {
                return None;
            }
            let thread = std::thread::Builder::new().name("log".into()).spawn(|| {
                loop {
                    std::thread::park();
                    watch(&GATHERED, || std::thread::sleep(WAIT));
                }
            });
            thread.ok().map(|thread| thread.thread().clone())
        });
        Self(())
    }
}

struct Gathered {
    bytes: Vec<u8>,
    /// Whether the writer is awake, or has been woken.
    woken: bool,
}

/// Whether this thread has a wake-up to make up for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PutOff {
    /// It wakes the writer at once.
    Never,
    Nothing,
    Owed,
}

thread_local! {
    static PUT_OFF: Cell<PutOff> = const { Cell::new(PutOff::Never) };
}

/// From now on this thread wakes the writer in [`caught_up`] only, which it must call before it goes to sleep.
pub fn puts_off() {
    PUT_OFF.set(PutOff::Nothing);
}

/// This thread has nothing else to do.
pub fn caught_up() {
    if PUT_OFF.get() == PutOff::Owed {
        PUT_OFF.set(PutOff::Nothing);
        let mut gathered = GATHERED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(writer) = WRITER.get().and_then(Option::as_ref).filter(|_| !gathered.bytes.is_empty()) {
            gathered.wake(writer);
        }
    }
}

/// Takes a line in. `now`: it must not wait.
pub fn put(line: &[u8], now: bool) {
    let writer = WRITER.get().and_then(Option::as_ref);
    let mut gathered = GATHERED.lock().unwrap_or_else(PoisonError::into_inner);
    gathered.bytes.extend_from_slice(line);
    match writer {
        Some(writer) if !now && gathered.bytes.len() < FULL => {
            if PUT_OFF.get() == PutOff::Never {
                gathered.wake(writer);
            } else if !gathered.woken {
                PUT_OFF.set(PutOff::Owed);
            }
        }
        _ => write(&mut gathered),
    }
}

/// Writes what is gathered.
pub fn flush() {
    write(&mut GATHERED.lock().unwrap_or_else(PoisonError::into_inner));
}

/// Writes what gathers, look by look, until for a while there was nothing; from then on the writer must be woken.
fn watch(gathered: &Mutex<Gathered>, mut wait: impl FnMut()) {
    let mut idle = 0;
    while idle < LOOKS {
        wait();
        let mut gathered = gathered.lock().unwrap_or_else(PoisonError::into_inner);
        idle = if gathered.bytes.is_empty() { idle + 1 } else { 0 };
        write(&mut gathered);
        gathered.woken = idle < LOOKS;
    }
}

/// There is nobody to tell that standard error is gone, and nothing is served worse without it.
fn write(gathered: &mut Gathered) {
    let _ = std::io::stderr().write_all(&gathered.bytes);
    gathered.bytes.clear();
}

impl Gathered {
    /// Wakes the writer, unless somebody has.
    fn wake(&mut self, writer: &Thread) {
        if !std::mem::replace(&mut self.woken, true) {
            writer.unpark();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { now: true }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line {
        Line { now: *meta.level() <= Level::WARN }
    }
}

/// One line.
pub struct Line {
    /// Must not wait.
    now: bool,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        put(bytes, self.now);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_looks_again_while_lines_come_and_then_wants_to_be_woken() {
        let gathered = Mutex::new(Gathered { bytes: b"first\n".to_vec(), woken: true });
        let mut looks = 0;
        watch(&gathered, || {
            looks += 1;
            let mut now = gathered.lock().expect("nobody panicked");
            assert!(now.woken, "awake until its last look");
            if looks == 5 {
                now.bytes.extend_from_slice(b"another\n");
            }
        });
        let gathered = gathered.into_inner().expect("nobody panicked");
        assert_eq!((looks, gathered.woken, gathered.bytes.len()), (5 + LOOKS, false, 0));
    }
}
