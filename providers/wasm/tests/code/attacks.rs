//! Code that misbehaves: each ends by the limit that is for it, and the interpreter answers the next.

use std::{cell::Cell, time::Duration};

use frontdesk_wasm::{
    Fault, Limit, Limits,
    interpreter::{
        Code, Interpreters,
        Language::{self, JavaScript, Python},
    },
};

use crate::{few, interpreters, owner, quick, ran, run, value, with};

/// Which limit ended it; the sandbox answers the next call.
async fn limit(on: &Interpreters, language: Language, code: &str) -> Limit {
    let run = run(on, language, code).await;
    let Err(Fault::Limit(exceeded)) = run.result else { panic!("{code}: {:?}", run.result) };
    assert_eq!(value(on, language, "20 + 22").await, "42", "after {code}");
    exceeded.limit
}

#[tokio::test]
async fn what_runs_for_ever_meets_the_cpu_limit() {
    let Some(on) = with(Limits { cpu: Duration::from_millis(300), ..quick() }, few()) else { return };
    for code in [
        "while True: pass",
        "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "9 ** 9 ** 9",
        "while True:\n  try:\n    while True: pass\n  except BaseException: pass",
        "list(iter(int, 1))[:0] if False else sum(iter(int, 1))",
        "class A:\n  def __del__(self):\n    while True: pass\nA(); 1",
        "class A:\n  def __repr__(self):\n    while True: pass\nA()",
    ] {
        assert_eq!(limit(&on, Python, code).await, Limit::Cpu, "{code}");
    }
    for code in [
        "for (;;);",
        "/(a+)+$/.test('a'.repeat(40) + 'b')",
        "for (;;) try { for (;;); } catch {}",
        "({ toString() { for (;;); } }) + ''",
    ] {
        assert_eq!(limit(&on, JavaScript, code).await, Limit::Cpu, "{code}");
    }
}

/// What ends an attack.
#[derive(Debug)]
enum End {
    Limit(Limit),
    /// The language's own error, by its kind.
    Error(&'static str),
    Trap(&'static str),
    /// What it says is cut off.
    Cut,
}

type Attack = (&'static str, End);

const PYTHON: &[Attack] = &[
    ("while True: pass", End::Limit(Limit::Cpu)),
    ("import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')", End::Limit(Limit::Cpu)),
    ("9 ** 9 ** 9", End::Limit(Limit::Cpu)),
    ("while True:\n  try:\n    while True: pass\n  except BaseException: pass", End::Limit(Limit::Cpu)),
    ("class A:\n  def __del__(self):\n    while True: pass\nA(); 1", End::Limit(Limit::Cpu)),
    ("class A:\n  def __repr__(self):\n    while True: pass\nA()", End::Limit(Limit::Cpu)),
    ("import time\nfor i in range(10**6): time.monotonic()", End::Limit(Limit::HostCalls)),
    ("a = []\nwhile True: a.append(bytearray(1 << 20))", End::Error("MemoryError")),
    ("s = 'x'\nwhile True: s += s", End::Error("MemoryError")),
    ("def f(n): return f(n + 1)\nf(0)", End::Error("RecursionError")),
    ("eval('(' * 5000 + '1' + ')' * 5000)", End::Error("MemoryError")),
    ("for i in range(10**4): print('x' * 100)", End::Cut),
    ("import time\ntime.sleep(1000)", End::Limit(Limit::Wall)),
];

const JAVASCRIPT: &[Attack] = &[
    ("for (;;);", End::Limit(Limit::Cpu)),
    ("/(a+)+$/.test('a'.repeat(40) + 'b')", End::Limit(Limit::Cpu)),
    ("for (;;) try { for (;;); } catch {}", End::Limit(Limit::Cpu)),
    ("({ toString() { for (;;); } }) + ''", End::Limit(Limit::Cpu)),
    ("let a = []; for (;;) a.push(new Uint8Array(1 << 20))", End::Error("InternalError")),
    ("let s = 'x'; for (;;) s += s", End::Error("InternalError")),
    // QuickJS leaves its own stack before it looks how much is left; the sandbox stops it there and says so.
    ("function f(n) { return f(n + 1) + 1 } f(0)", End::Trap("the interpreter's own stack is used up")),
    ("for (let i = 0; i < 1e4; i++) console.log('x'.repeat(100))", End::Cut),
];

/// Counts in its own conversation, and looks that no number is missing and none twice.
async fn count(on: &Interpreters, language: Language, counted: &Cell<usize>) {
    let text = match language {
        Python => "n = globals().get('n', 0) + 1\nn",
        JavaScript => "var n = (globalThis.n ?? 0) + 1; n",
    };
    let run = on.run(language, Some(owner("honest")), Code { text, ..Code::default() }).await;
    counted.set(counted.get() + 1);
    assert_eq!(run.result.map(|ran| (ran.value, ran.fault)).unwrap(), (Some(counted.get().to_string()), None));
}

/// Each attack while another conversation counts in the same language: which limit ended it, and that the other's answers
/// were right from before it began until after it had ended.
#[tokio::test]
async fn another_conversation_counts_on_beside_each_attack() {
    // A limit of time is short only where it is to be met: how long filling memory takes is the machine's.
    let limits = Limits { cpu: Duration::from_secs(30), memory: 64 << 20, host_calls: 2000, ..quick() };
    let Some(patient) = with(limits, few()) else { return };
    let Some(brief) = with(Limits { cpu: Duration::from_secs(1), ..limits }, few()) else { return };
    let Some(impatient) = with(Limits { wall: Duration::from_secs(5), ..limits }, few()) else { return };
    for (language, attacks) in [(Python, PYTHON), (JavaScript, JAVASCRIPT)] {
        let places = [&patient, &brief, &impatient].map(|on| (on, Cell::new(0)));
        for (on, counted) in &places {
            count(on, language, counted).await;
        }
        for (code, end) in attacks {
            let (on, counted) = match end {
                End::Limit(Limit::Cpu) => &places[1],
                End::Limit(Limit::Wall) => &places[2],
                _ => &places[0],
            };
            let over = Cell::new(false);
            let attack = async {
                let run = on.run(language, Some(owner("attack")), Code { text: code, ..Code::default() }).await;
                over.set(true);
                run.result
            };
            let beside = async {
                let mut meanwhile = 0;
                while !over.get() {
                    count(on, language, counted).await;
                    meanwhile += usize::from(!over.get());
                }
                meanwhile
            };
            let (ended, meanwhile) = tokio::join!(attack, beside);
            match (ended, end) {
                (Err(Fault::Limit(exceeded)), End::Limit(limit)) => assert_eq!(exceeded.limit, *limit, "{code}"),
                (Err(Fault::Trapped(why)), End::Trap(words)) => assert_eq!(why, *words, "{code}"),
                (Ok(ran), End::Error(kind)) => assert_eq!(ran.fault.as_ref().unwrap().kind, *kind, "{code}: {ran:?}"),
                (Ok(ran), End::Cut) => assert!(ran.fault.is_none() && ran.truncated, "{code}: {ran:?}"),
                (other, _) => panic!("{code}: {other:?}"),
            }
            // What a limit of time ends lasts long enough for others to be answered.
            let lasts = matches!(end, End::Limit(Limit::Cpu | Limit::Wall));
            assert!(meanwhile > 0 || !lasts, "{code}: nobody was answered");
            count(on, language, counted).await;
        }
    }
}

#[tokio::test]
async fn sleeping_meets_the_wall_limit_and_costs_nothing() {
    let Some(on) = with(Limits { wall: Duration::from_secs(3), ..quick() }, few()) else { return };
    // Loading it is not to count.
    value(&on, Python, "1").await;
    let run = run(&on, Python, "import time\ntime.sleep(1000)").await;
    let Err(Fault::Limit(exceeded)) = run.result else { panic!("{:?}", run.result) };
    assert_eq!(exceeded.limit, Limit::Wall);
    assert!(run.used.cpu < Duration::from_millis(500), "{:?}", run.used);
    // A short sleep ends by itself.
    assert_eq!(
        value(&on, Python, "import time\nt = time.monotonic()\ntime.sleep(0.02)\ntime.monotonic() - t >= 0.02").await,
        "True"
    );
}

#[tokio::test]
async fn memory_ends_in_the_languages_own_error() {
    let Some(on) = with(Limits { memory: 64 << 20, ..quick() }, few()) else { return };
    for code in
        ["a = []\nwhile True: a.append(bytearray(1 << 20))", "s = 'x'\nwhile True: s += s", "bytearray(1 << 30)"]
    {
        assert_eq!(ran(&on, Python, code).await.fault.unwrap().kind, "MemoryError", "{code}");
    }
    let after = "try:\n  bytearray(1 << 30)\nexcept MemoryError: pass\n'still here'";
    assert_eq!(value(&on, Python, after).await, "'still here'");
    let fault = ran(&on, JavaScript, "let a = []; for (;;) a.push(new Uint8Array(1 << 20))").await.fault.unwrap();
    assert_eq!(fault.message, "out of memory");
}

#[tokio::test]
async fn recursion_ends_in_the_languages_own_error_or_at_the_stack_limit() {
    let Some(on) = interpreters() else { return };
    assert_eq!(ran(&on, Python, "def f(n): return f(n + 1)\nf(0)").await.fault.unwrap().kind, "RecursionError");
    let nested = "eval('(' * 5000 + '1' + ')' * 5000)";
    assert_eq!(ran(&on, Python, nested).await.fault.unwrap().kind, "MemoryError");
    let deep = run(&on, JavaScript, "function f(n) { return f(n + 1) + 1 } f(0)").await;
    let Err(Fault::Trapped(why)) = deep.result else { panic!("{:?}", deep.result) };
    assert_eq!(why, "the interpreter's own stack is used up");
    assert_eq!(value(&on, JavaScript, "20 + 22").await, "42");
    // Who lifts the language's own guard meets ours.
    let lifted = "import sys\nsys.setrecursionlimit(10**9)\ndef f(n): return f(n + 1)\nf(0)";
    let Err(Fault::Limit(exceeded)) = run(&on, Python, lifted).await.result else { panic!("it ended otherwise") };
    assert_eq!(exceeded.limit, Limit::Stack);
    assert_eq!(value(&on, Python, "1").await, "1");
}

#[tokio::test]
async fn what_is_said_is_cut_off_and_said_so() {
    let Some(on) = with(Limits { output: 1000, ..quick() }, few()) else { return };
    let flood = ran(&on, Python, "for i in range(10**4): print('x' * 100)\n'y' * 5000").await;
    assert_eq!((flood.stdout.len(), flood.value.unwrap().len(), flood.truncated), (1000, 1000, true));
    let raised = ran(&on, Python, "raise ValueError('z' * 5000)").await.fault.unwrap();
    assert!(raised.message.len() <= 1000 && raised.traceback.len() <= 1010, "{}", raised.traceback.len());
    let flood =
        ran(&on, JavaScript, "for (let i = 0; i < 1e4; i++) console.log('x'.repeat(100)); 'y'.repeat(5000)").await;
    assert_eq!((flood.stdout.len(), flood.value.unwrap().len(), flood.truncated), (1000, 1000, true));
    // What cannot leave as text is written out.
    assert_eq!(ran(&on, Python, "print('\\ud800')").await.stdout, "\\ud800\n");
}

#[tokio::test]
async fn files_that_are_too_large_stay_inside() {
    let Some(on) = with(Limits { transfer: 1 << 20, ..quick() }, few()) else { return };
    let ran = ran(&on, Python, "open('small', 'w').write('1')\nopen('large', 'wb').write(bytes(600_000))").await;
    assert_eq!(ran.files.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["small"]);
    assert!(ran.truncated);
}

#[tokio::test]
async fn host_calls_are_counted() {
    let Some(on) = with(Limits { host_calls: 2000, ..quick() }, few()) else { return };
    let flood = "import time\nfor i in range(10**6): time.monotonic()";
    assert_eq!(limit(&on, Python, flood).await, Limit::HostCalls);
}

#[tokio::test]
async fn a_conversation_whose_code_was_stopped_begins_anew() {
    let Some(on) = with(Limits { cpu: Duration::from_millis(300), ..quick() }, few()) else { return };
    let say = async |text: &str| on.run(Python, Some(owner("one")), Code { text, ..Code::default() }).await;
    say("x = 1").await.result.unwrap();
    assert!(say("while True: pass").await.result.is_err());
    let next = say("x").await;
    assert_eq!((next.resumed, next.result.unwrap().fault.unwrap().kind.as_str()), (false, "NameError"));
    // Who works on the interpreter itself works on its own.
    say("import builtins\nbuiltins.len = None\nGLOBALS = None").await.result.unwrap();
    assert_eq!(value(&on, Python, "len('abc')").await, "3");
}
