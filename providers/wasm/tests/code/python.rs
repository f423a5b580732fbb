//! CPython: what models write, answered as a person at a terminal would see it.

use frontdesk_wasm::interpreter::{Code, CodeFile, Language::Python};

use crate::{Named, interpreters, ran, value};

#[tokio::test]
async fn code_answers_with_what_it_printed_and_its_last_value() {
    let Some(on) = interpreters() else { return };
    let ran = ran(&on, Python, "import sys\nx = 40\nprint('hello', x)\nprint('careful', file=sys.stderr)\nx + 2").await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello 40\n", "careful\n"));
    assert_eq!((ran.value.as_deref(), ran.truncated, ran.fault), (Some("42"), false, None));
    let nothing = crate::ran(&on, Python, "x = 1").await;
    assert_eq!((nothing.value, nothing.stdout.as_str()), (None, ""));
    let input = Code { text: "input() + '|' + input()", stdin: "one\ntwo\n", ..Code::default() };
    assert_eq!(on.run(Python, None, input).await.result.unwrap().value.unwrap(), "'one|two'");
}

/// The library that docs/code-interpreter.md promises.
#[tokio::test]
async fn the_library_is_there() {
    let Some(on) = interpreters() else { return };
    let cases = [
        ("import sys\nsys.version_info[:2]", "(3, 14)"),
        ("import statistics\nstatistics.median([3, 1, 2])", "2"),
        ("import math\nround(math.sqrt(2), 3)", "1.414"),
        ("from decimal import Decimal\nstr(Decimal('0.1') + Decimal('0.2'))", "'0.3'"),
        ("from fractions import Fraction\nFraction(1, 3) + Fraction(1, 6)", "Fraction(1, 2)"),
        ("import datetime\nstr(datetime.date(2026, 3, 1) - datetime.timedelta(1))", "'2026-02-28'"),
        ("import datetime\ndatetime.datetime.strptime('2026-11-24', '%Y-%m-%d').weekday()", "1"),
        ("import re\nre.sub(r'\\d+', 'N', 'a1b22')", "'aNbN'"),
        ("import json\njson.dumps({'ä': [1, None]}, ensure_ascii=False)", "'{\"ä\": [1, null]}'"),
        ("import csv, io\nlist(csv.DictReader(io.StringIO('a,b\\n1,2')))", "[{'a': '1', 'b': '2'}]"),
        ("import sqlite3\nsqlite3.connect(':memory:').execute('select 20 + 22').fetchone()", "(42,)"),
        ("import hashlib\nhashlib.sha256(b'x').hexdigest()[:8]", "'2d711642'"),
        (
            "import itertools, functools, operator\nfunctools.reduce(operator.mul, itertools.islice(itertools.count(1), 5))",
            "120",
        ),
        ("import collections\ncollections.Counter('aab').most_common(1)", "[('a', 2)]"),
        ("import xml.etree.ElementTree as e\ne.fromstring('<a><b>1</b></a>').find('b').text", "'1'"),
        (
            "import base64, zlib, struct, textwrap, uuid, random, secrets, html, urllib.parse, enum, heapq, bisect\n'all'",
            "'all'",
        ),
        ("import dataclasses\n@dataclasses.dataclass\nclass P:\n  x: int\nP(1)", "P(x=1)"),
        ("import time\ntime.strftime('%Y', time.gmtime())", "'2023'"),
    ];
    for (code, expected) in cases {
        assert_eq!(value(&on, Python, code).await, expected, "{code}");
    }
}

#[tokio::test]
async fn an_error_names_itself_and_its_line() {
    let Some(on) = interpreters() else { return };
    let failed = ran(&on, Python, "print('before')\ndef f(x):\n    return 1 / x\nf(0)").await;
    let fault = failed.fault.unwrap();
    assert_eq!((fault.kind.as_str(), fault.message.as_str()), ("ZeroDivisionError", "division by zero"));
    assert_eq!(failed.stdout, "before\n");
    assert!(fault.traceback.contains("line 3, in f\n    return 1 / x"), "{}", fault.traceback);
    assert!(!fault.traceback.contains("interpreter.py"), "{}", fault.traceback);
    let kinds = [
        ("def (", "SyntaxError"),
        ("import numpy", "ModuleNotFoundError"),
        ("import socket", "ModuleNotFoundError"),
        ("import subprocess", "ModuleNotFoundError"),
        ("import ctypes", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("open('/etc/passwd').read()", "FileNotFoundError"),
        ("import os\nos.listdir('/')", "FileNotFoundError"),
        ("import os\nos.system('id')", "AttributeError"),
        ("input()", "EOFError"),
        ("class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E"),
    ];
    for (code, kind) in kinds {
        assert_eq!(ran(&on, Python, code).await.fault.unwrap().kind, kind, "{code}");
    }
    assert_eq!(value(&on, Python, "import os\ndict(os.environ)").await, "{}");
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let Some(on) = interpreters() else { return };
    let files = Named(vec![CodeFile { name: "orders.csv".into(), content: b"id,total\n1,20\n2,22\n".to_vec() }]);
    let text = "import csv, os, json, pathlib\nrows = list(csv.DictReader(open('orders.csv')))\n\
        with open('sum.json', 'w') as f:\n    json.dump({'total': sum(int(r['total']) for r in rows)}, f)\n\
        with open('log.txt', 'a') as f: f.write('a\\n')\nwith open('/mnt/data/log.txt', 'a') as f: f.write('b\\n')\n\
        pathlib.Path('raw.bin').write_bytes(bytes(range(256)))\nopen('gone', 'w').close(); os.remove('gone')\n\
        (os.listdir(), os.path.exists('sum.json'), os.path.getsize('raw.bin'), pathlib.Path('log.txt').read_text())";
    let ran = on.run(Python, None, Code { text, files: Some(&files), ..Code::default() }).await.result.unwrap();
    assert_eq!(ran.fault, None);
    let listed = "(['log.txt', 'orders.csv', 'raw.bin', 'sum.json'], True, 256, 'a\\nb\\n')";
    assert_eq!(ran.value.as_deref(), Some(listed));
    let mut out: Vec<(&str, &[u8])> = ran.files.iter().map(|f| (f.name.as_str(), f.content.as_slice())).collect();
    out.sort();
    let bytes: Vec<u8> = (0..=255).collect();
    // What went in and was only read does not come out.
    let expected: [(&str, &[u8]); 3] = [("log.txt", b"a\nb\n"), ("raw.bin", &bytes), ("sum.json", b"{\"total\": 42}")];
    assert_eq!(out, expected);
}

#[tokio::test]
async fn chance_differs_from_instance_to_instance() {
    let Some(on) = interpreters() else { return };
    let draw =
        "import random, os, uuid, secrets\n(random.random(), os.urandom(4), str(uuid.uuid4()), secrets.token_hex(4))";
    assert_ne!(value(&on, Python, draw).await, value(&on, Python, draw).await);
}
