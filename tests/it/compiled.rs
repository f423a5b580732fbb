//! Components become machine code once, in a child of the program that has limits; what is kept is believed only as it
//! was written.

use std::{
    io::Write,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Output, Stdio},
};

use frontdesk_tests::{Frontdesk, Scripted, frontdesk::binary};
use serde_json::{Value, json};

use crate::shop;

const SHOP_TOOLS: &[u8] = include_bytes!("../../services/gateway/demo/tools/shop-tools.wasm");

/// What the server would start, told the order and given the bytes.
fn child(cpu_s: u64, space: u64, component: &[u8]) -> Output {
    let mut child = Command::new(binary())
        .arg("compile-component")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let order = json!({ "cpu_s": cpu_s, "space": space, "memory": 64 << 20, "stack": 512 << 10 });
    let mut stdin = child.stdin.take().expect("a pipe");
    let component = component.to_vec();
    let feeding = std::thread::spawn(move || {
        // The child may end before it has read everything.
        let _ = writeln!(stdin, "{order}").and_then(|()| stdin.write_all(&component));
    });
    let output = child.wait_with_output().expect("it ends");
    feeding.join().expect("fed");
    output
}

/// As the system sees it while it waits for the component.
#[test]
fn the_child_is_confined_before_it_reads_a_byte_of_the_component() {
    let mut child = Command::new(binary())
        .arg("compile-component")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let order = json!({ "cpu_s": 30, "space": 2u64 << 30, "memory": 64 << 20, "stack": 512 << 10 });
    writeln!(stdin, "{order}").expect("written");
    let path = format!("/proc/{}/limits", child.id());
    let expected = [
        ("Max cpu time", 30),
        ("Max address space", 2 << 30),
        ("Max file size", 0),
        ("Max open files", 16),
        ("Max core file size", 0),
        ("Max processes", 0),
    ];
    let wrong = || -> Vec<String> {
        let limits = std::fs::read_to_string(&path).expect("its limits");
        let is = |name: &str, most: u64| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            // Soft and hard; of processor time a second lies between them, so that its end is told from any other kill.
            let hard = most + u64::from(name == "Max cpu time");
            line.split_whitespace().take(2).eq([most.to_string(), hard.to_string()])
        };
        let wrong = expected.iter().filter(|(name, most)| !is(name, *most));
        wrong.map(|(name, _)| (*name).to_owned()).collect()
    };
    let began = std::time::Instant::now();
    while !wrong().is_empty() && began.elapsed() < frontdesk_tests::PATIENCE {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(wrong(), Vec::<String>::new());
    drop(stdin);
    assert_eq!(child.wait().expect("it ends").code(), Some(3), "nothing is no component");
}

/// A number as wasm writes it.
fn leb(mut n: usize) -> Vec<u8> {
    let mut bytes = vec![];
    loop {
        let low = u8::try_from(n & 0x7f).expect("seven bits");
        n >>= 7;
        bytes.push(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return bytes;
        }
    }
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len()), content].concat()
}

/// A component of `functions` functions that each multiply a number `steps` times: small to write, long to compile.
fn laborious(functions: usize, steps: usize) -> Vec<u8> {
    // local.get 0, i32.const 3, i32.mul, local.set 0
    let steps = [0x20, 0, 0x41, 3, 0x6c, 0x21, 0].repeat(steps);
    let body = [&[0][..], &steps, &[0x20, 0, 0x0b]].concat();
    let body = [leb(body.len()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[leb(functions), vec![0; functions]].concat()),
        section(10, &[leb(functions), body.repeat(functions)].concat()),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

#[test]
fn the_child_compiles_within_its_limits_and_no_further() {
    let good = child(30, 2 << 30, SHOP_TOOLS);
    assert!(good.status.success() && good.stdout.starts_with(b"\x7fELF"), "{:?}", good.status);
    let small = laborious(4, 10);
    assert!(child(30, 2 << 30, &small).status.success(), "the shape of the next one is fine");
    let long = child(1, 2 << 30, &laborious(1500, 1500));
    assert!(matches!(long.status.signal(), Some(9 | 24)), "ended by its limit of time: {:?}", long.status);
    // One function: all of it is in memory at once.
    let large = child(300, 512 << 20, &laborious(1, 1_000_000));
    let starved = |status: ExitStatus| status.code() == Some(4) || matches!(status.signal(), Some(6 | 11));
    assert!(starved(large.status), "ended by its limit of memory: {:?}", large.status);
    // Not even the component finds room.
    let larger = child(30, 100 << 20, &laborious(1500, 1500));
    assert!(starved(larger.status), "ended by its limit of memory: {:?}", larger.status);
    let wrong = child(30, 2 << 30, b"hello");
    assert_eq!(wrong.status.code(), Some(3));
    assert!(!wrong.stderr.is_empty() && wrong.stdout.is_empty());
}

/// Registers both bombs where their limit is small, and calls an honest group meanwhile: first after a restart, when nothing
/// is in memory, and then over and over.
#[tokio::test]
async fn each_compile_bomb_meets_its_limit_while_another_group_is_called() {
    let scripted = Scripted::start();
    let tools = "  tools:
    - { id: wasm, type: wasm }
    - { id: hasty, type: wasm, config: { compile_s: 2 } }
    - { id: narrow, type: wasm, config: { compile_mib: 512 } }
";
    let mut frontdesk = Frontdesk::start(shop::options(&scripted).config(tools));
    // Compiled with time and room enough; the others find the code.
    shop::register_tools(&frontdesk, "shop").await;
    let answer = ask(&frontdesk).await;
    let good = shop::upload(&frontdesk, "shop-tools.wasm", SHOP_TOOLS).await;
    let long = shop::upload(&frontdesk, "long.wasm", &laborious(1500, 1500)).await;
    let large = shop::upload(&frontdesk, "large.wasm", &laborious(1, 1_000_000)).await;
    let registration = |group: &str, provider: &str, component: &str| {
        json!({ "toolgroup_id": group, "provider_id": provider,
            "args": { "component": component, "grants": ["kv"] } })
    };
    for (provider, bomb, limit) in [
        ("hasty", &long, "the tool exceeded its compile time limit of 2000 ms"),
        ("narrow", &large, "the tool exceeded its compile memory limit of 536870912 bytes"),
    ] {
        let (status, said) = frontdesk.post("/v1/toolgroups", &registration("shop", provider, &good)).await;
        assert!(status < 300, "{status} {said}");
        frontdesk.stop();
        frontdesk.start_again().expect("it starts");
        let registration = registration("bomb", provider, bomb);
        let over = std::cell::Cell::new(false);
        let (refused, meanwhile) = tokio::join!(
            async {
                let refused = frontdesk.post("/v1/toolgroups", &registration).await;
                over.set(true);
                refused
            },
            async {
                let mut meanwhile = 0;
                while !over.get() {
                    assert_eq!(ask(&frontdesk).await, answer);
                    meanwhile += usize::from(!over.get());
                }
                meanwhile
            }
        );
        let (status, said) = refused;
        assert_eq!(status, 413, "{provider}: {said}");
        let message = said["error"]["message"].as_str().expect("a message");
        assert!(message.ends_with(limit), "{provider}: {message}");
        assert!(meanwhile > 0, "{provider}: nothing was answered while it compiled");
        assert_eq!(frontdesk.get("/v1/toolgroups/bomb").await.0, 404);
    }
}

/// What the tool says; how long it took is different each time.
async fn ask(frontdesk: &Frontdesk) -> Value {
    let asked = json!({ "tool_name": "lookup_order", "kwargs": { "order_id": "1" } });
    let (status, said) = frontdesk.post("/v1/tool-runtime/invoke", &asked).await;
    assert_eq!(status, 200, "{said}");
    said["content"].clone()
}

#[tokio::test]
async fn kept_code_that_was_changed_is_compiled_anew() {
    let scripted = Scripted::start();
    let mut frontdesk = Frontdesk::start(shop::options(&scripted));
    shop::register_tools(&frontdesk, "shop").await;
    let answer = ask(&frontdesk).await;
    let folder = frontdesk.data_dir().join("compiled-tools");
    let kept = |end: &str| -> Vec<std::path::PathBuf> {
        let files = std::fs::read_dir(&folder).expect("the folder").map(|entry| entry.expect("an entry").path());
        files.filter(|path| path.extension().is_some_and(|e| e == end)).collect()
    };
    let [code] = &kept("cwasm")[..] else { panic!("one component, one file: {:?}", kept("cwasm")) };
    assert_eq!(kept("tag").len(), 1);
    let whole = std::fs::read(code).expect("code");
    let cut = whole[..whole.len() / 2].to_vec();
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    for wrong in [cut, changed, vec![]] {
        frontdesk.stop();
        std::fs::write(code, wrong).expect("written");
        frontdesk.start_again().expect("it starts");
        assert_eq!(ask(&frontdesk).await, answer);
        assert_eq!(std::fs::read(code).expect("code"), whole, "written anew");
    }
}
