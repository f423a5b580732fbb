//! QuickJS: the same world in another language.

use frontdesk_wasm::interpreter::{Code, CodeFile, Language::JavaScript};

use crate::{Named, interpreters, ran, value};

#[tokio::test]
async fn code_answers_with_what_it_printed_and_its_last_value() {
    let Some(on) = interpreters() else { return };
    let ran = ran(&on, JavaScript, "let x = 40; console.log('hello', {x}); console.error('careful'); x + 2").await;
    assert_eq!((ran.stdout.as_str(), ran.stderr.as_str()), ("hello {x: 40}\n", "careful\n"));
    assert_eq!((ran.value.as_deref(), ran.truncated, ran.fault), (Some("42"), false, None));
    let input = Code { text: "stdin.split(',').map(Number)", stdin: "1,2", ..Code::default() };
    assert_eq!(on.run(JavaScript, None, input).await.result.unwrap().value.unwrap(), "[1, 2]");
    for (code, expected) in [
        ("[3, 1, 2].toSorted().join()", "1,2,3"),
        ("JSON.stringify({a: [1, null]})", r#"{"a":[1,null]}"#),
        ("2n ** 64n", "18446744073709551616n"),
        ("new Map([['a', 1]])", "Map {\"a\" => 1}"),
        ("'Grüße'.normalize('NFD').replace(/\\p{M}/gu, '')", "Gruße"),
        ("[typeof fetch, typeof require, typeof process].join()", "undefined,undefined,undefined"),
        ("const o = {}; o.me = o; o", "{me: [Circular]}"),
    ] {
        assert_eq!(value(&on, JavaScript, code).await, expected, "{code}");
    }
}

#[tokio::test]
async fn an_error_names_itself() {
    let Some(on) = interpreters() else { return };
    for (code, kind, message) in [
        ("null.x", "TypeError", "cannot read property 'x' of null"),
        ("let let = 1", "SyntaxError", ""),
        ("throw new RangeError('far')", "RangeError", "far"),
        ("throw 7", "Error", "7"),
        ("readFile('none')", "Error", "no file is called 'none'"),
        ("writeFile('../up', '')", "Error", "only plain names in the working folder can be used, not '../up'"),
    ] {
        let fault = ran(&on, JavaScript, code).await.fault.unwrap();
        assert_eq!(fault.kind, kind, "{code}");
        assert!(fault.message.contains(message), "{code}: {}", fault.message);
    }
}

#[tokio::test]
async fn files_go_in_and_come_out() {
    let Some(on) = interpreters() else { return };
    let files = Named(vec![CodeFile { name: "in.txt".into(), content: "größe 🛒".into() }]);
    let text = "writeFile('out.txt', readFile('in.txt').toUpperCase()); writeFile('raw', [0, 255]); listFiles()";
    let ran = on.run(JavaScript, None, Code { text, files: Some(&files), ..Code::default() }).await.result.unwrap();
    assert_eq!((ran.fault, ran.value.as_deref()), (None, Some(r#"["in.txt", "out.txt", "raw"]"#)));
    let expected = [("out.txt".to_owned(), "GRÖSSE 🛒".as_bytes().to_vec()), ("raw".to_owned(), vec![0, 255])];
    assert_eq!(ran.files.into_iter().map(|f| (f.name, f.content)).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn of_binary_data_its_bytes_are_written() {
    let Some(on) = interpreters() else { return };
    let text = "const all = Uint8Array.of(9, 1, 2, 3, 8);
        writeFile('list', all.subarray(1, 4)); writeFile('buffer', all.buffer); writeFile('words', Uint16Array.of(258));
        all.fill(0); [...readBytes('list'), ...readBytes('buffer'), ...readBytes('words')]";
    assert_eq!(ran(&on, JavaScript, text).await.value.as_deref(), Some("[1, 2, 3, 9, 1, 2, 3, 8, 2, 1]"));
}
