//! How far past its limit each attack ran, and how long those took that no limit of time ends.

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use frontdesk_wasm::{
    Fault, Limit, Limits, Sandbox,
    interpreter::{
        Bounds, Code,
        Language::{JavaScript, Python},
        limits,
    },
};

use super::{
    PARALLEL,
    common::{
        Guest,
        bombs::{self, Attack},
    },
    interpreters::{PYTHON, open, run},
    table,
};

/// With 100 the 99th percentile leaves out one.
const ROUNDS: usize = 100;

/// The limit on the wall of what only that ends.
const HASTE: Duration = Duration::from_millis(200);

/// Processor time of this thread, on which everything alone runs.
fn thread_cpu() -> Duration {
    cpu(rustix::time::ClockId::ThreadCPUTime)
}

fn cpu(of: rustix::time::ClockId) -> Duration {
    let time = rustix::time::clock_gettime(of);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// What passed on the clock that the limit is of, taken from outside: what the sandbox says of itself is not asked.
async fn taken<T>(ends: Limit, work: impl Future<Output = T>) -> (T, Duration) {
    let (cpu, wall) = (thread_cpu(), Instant::now());
    let result = work.await;
    let time = if ends == Limit::Cpu { thread_cpu() - cpu } else { wall.elapsed() };
    (result, time)
}

/// Limits of time: what a call took beyond them, its instance and its end included.
pub async fn tools() {
    for attack in bombs::running().iter().filter(|attack| matches!(attack.ends, Limit::Cpu | Limit::Wall)) {
        let limits = Limits { wall: if attack.hangs { HASTE } else { bombs::limits().wall }, ..bombs::limits() };
        let limit = if attack.ends == Limit::Cpu { limits.cpu } else { limits.wall };
        let sandbox = Sandbox::new(limits);
        // Compiled once.
        let _held = sandbox.inspect(attack.bytes.clone()).await.unwrap();
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let (result, time) = taken(attack.ends, attack.run(&sandbox)).await;
            met(attack, &result);
            times.push(time.saturating_sub(limit));
        }
        table::row(attack.name, times, None);
    }
    // Before there is a tool to call: while it describes itself.
    let spin = "(func $s (loop $l (br $l))) (start $s)";
    let bytes = Guest { fields: spin, ..Guest::default() }.build();
    let sandbox = Sandbox::new(bombs::limits());
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let (result, time) = taken(Limit::Cpu, sandbox.inspect(bytes.clone())).await;
        assert!(matches!(&result, Err(Fault::Limit(e)) if e.limit == Limit::Cpu), "it ended otherwise");
        times.push(time.saturating_sub(bombs::limits().cpu));
    }
    table::row("loop in `start`, while it is looked into (compiling it is in the time)", times, None);
}

/// Limits of size and number: from the question to the end. What is refused is read and turned away, not compiled.
pub async fn ended() {
    let sandbox = Sandbox::new(bombs::limits());
    let timeless = |attack: &&Attack| !matches!(attack.ends, Limit::Cpu | Limit::Wall);
    for attack in bombs::running().iter().chain(&bombs::refused()).filter(timeless) {
        // Compiled once, where it is compiled at all.
        let _held = sandbox.inspect(attack.bytes.clone()).await;
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let result = attack.run(&sandbox).await;
            times.push(began.elapsed());
            met(attack, &result);
        }
        table::row(attack.name, times, None);
    }
}

fn met(attack: &Attack, result: &Result<String, Fault>) {
    assert!(matches!(result, Err(Fault::Limit(e)) if e.limit == attack.ends), "{}: {result:?}", attack.name);
}

/// Code in an interpreter that will not end.
pub async fn interpreters(folder: &Path) {
    let limit = Duration::from_millis(200);
    let cpu = open(folder, Limits { cpu: limit, ..limits() }, Bounds::default());
    let wall = open(folder, Limits { wall: limit, ..limits() }, Bounds::default());
    for on in [&cpu, &wall] {
        run(on, Python, None, PYTHON).await;
        run(on, JavaScript, None, "1").await;
    }
    let python = [
        ("Python: while True", "while True: pass", Limit::Cpu),
        ("Python: a regular expression", "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", Limit::Cpu),
        ("Python: 9 ** 9 ** 9", "9 ** 9 ** 9", Limit::Cpu),
        (
            "Python: errors swallowed",
            "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
            Limit::Cpu,
        ),
        (
            "Python: __repr__ that does not end",
            "class A:\n  def __repr__(self):\n    while True: pass\nA()",
            Limit::Cpu,
        ),
        ("Python: time.sleep(30)", "import time\ntime.sleep(30)", Limit::Wall),
    ];
    let javascript = [
        ("JavaScript: for (;;)", "for (;;);", Limit::Cpu),
        ("JavaScript: a regular expression", "/(a+)+$/.test('a'.repeat(40) + 'b')", Limit::Cpu),
        ("JavaScript: errors swallowed", "for (;;) try { for (;;); } catch {}", Limit::Cpu),
        ("JavaScript: toString that does not end", "({ toString() { for (;;); } }) + ''", Limit::Cpu),
    ];
    let of = |language, cases: &[(&'static str, &'static str, Limit)]| {
        cases.iter().map(|&(name, text, ends)| (language, name, text, ends)).collect::<Vec<_>>()
    };
    for (language, name, text, ends) in of(Python, &python).into_iter().chain(of(JavaScript, &javascript)) {
        let on = if ends == Limit::Cpu { &cpu } else { &wall };
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let code = Code { text, ..Code::default() };
            let (run, time) = taken(ends, on.run(language, None, code)).await;
            assert!(matches!(&run.result, Err(Fault::Limit(e)) if e.limit == ends), "{text}: {:?}", run.result);
            times.push(time.saturating_sub(limit));
        }
        table::row(name, times, None);
    }
}

/// As many at once as there is room for, each up to its limit of processor time. Whose time the processors spend is then
/// known to the sandbox's own meters alone; what all of them spent is taken from outside.
pub async fn together(folder: &Path) {
    let concurrent = u32::try_from(PARALLEL).unwrap();
    let of_tools = Limits { concurrent, ..bombs::limits() };
    let sandbox = Arc::new(Sandbox::new(of_tools));
    let attack = Arc::new(bombs::running().into_iter().find(|attack| attack.name == "loop").unwrap());
    let component = sandbox.inspect(attack.bytes.clone()).await.unwrap();
    at_once("loop", of_tools.cpu, 5, || {
        let (sandbox, attack, component) = (Arc::clone(&sandbox), Arc::clone(&attack), component.clone());
        async move {
            let call = sandbox.call(&component, "t", "{}", attack.grants(&attack.opened())).await;
            met(&attack, &call.result.map(|output| output.text));
            call.spent.cpu
        }
    })
    .await;
    let of_code = Limits { concurrent, cpu: Duration::from_millis(200), ..limits() };
    let on = open(folder, of_code, Bounds::default());
    run(&on, Python, None, PYTHON).await;
    at_once("Python: while True", of_code.cpu, 2, || {
        let on = Arc::clone(&on);
        async move {
            let run = on.run(Python, None, Code { text: "while True: pass", ..Code::default() }).await;
            assert!(matches!(&run.result, Err(Fault::Limit(e)) if e.limit == Limit::Cpu), "{:?}", run.result);
            run.used.cpu
        }
    })
    .await;
}

async fn at_once<F: Future<Output = Duration> + Send + 'static>(
    name: &str,
    limit: Duration,
    rounds: usize,
    attack: impl Fn() -> F,
) {
    let (mut times, mut all) = (vec![], Duration::ZERO);
    for _ in 0..rounds {
        let began = cpu(rustix::time::ClockId::ProcessCPUTime);
        let attacks: Vec<_> = (0..PARALLEL).map(|_| tokio::spawn(attack())).collect();
        for attack in attacks {
            times.push(attack.await.unwrap().saturating_sub(limit));
        }
        all += cpu(rustix::time::ClockId::ProcessCPUTime) - began;
    }
    let each = (all / u32::try_from(times.len()).unwrap()).saturating_sub(limit);
    let name =
        format!("{name}, {PARALLEL} at once (all this process spent: {:.0} past it each)", each.as_secs_f64() * 1e6);
    table::row(&name, times, None);
}

/// Code in an interpreter that asks for more memory or stack than there is: what ends it is the language's own error, or a
/// trap.
pub async fn outgrown(folder: &Path) {
    let on = open(folder, Limits { memory: 64 << 20, ..limits() }, Bounds::default());
    for (language, name, text) in [
        (Python, "Python: a list that grows to 64 MiB", "a = []\nwhile True: a.append(bytearray(1 << 20))"),
        (Python, "Python: recursion", "def f(n): return f(n + 1)\nf(0)"),
        (
            JavaScript,
            "JavaScript: an array that grows to 64 MiB",
            "let a = []; for (;;) a.push(new Uint8Array(1 << 20))",
        ),
        (JavaScript, "JavaScript: recursion", "function f(n) { return f(n + 1) + 1 } f(0)"),
    ] {
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let began = Instant::now();
            let run = on.run(language, None, Code { text, ..Code::default() }).await;
            times.push(began.elapsed());
            assert!(run.result.map_or(true, |ran| ran.fault.is_some()), "{name} ended well");
        }
        table::row(name, times, None);
    }
}
