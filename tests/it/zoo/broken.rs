//! Servers that fail: before the first content, after it, with calls.

use serde_json::{Value, json};

use super::{
    CLIENTS, Client, Zoo,
    amazon::BEDROCK,
    wire::{ANTHROPIC, GEMINI, OPENAI, Wire},
};

/// A piece of 100 MB on one line.
const ENDLESS: usize = 100 << 20;

/// Letters that come one by one for longer than anybody here waits: a minute.
pub(super) const TRICKLE: usize = 600;

/// What a server does before its first content that another must make good, streamed or not.
pub(super) fn refusals(wire: &Wire, stream: bool) -> Vec<(&'static str, Value)> {
    let error = |status: u16, headers: Value| json!({ "status": status, "headers": headers, "json": { "error": { "message": "no", "type": "x" } } });
    let kind = if stream { wire.streams } else { "application/json" };
    let mut out = vec![
        ("hangs up", json!({ "hangup": true })),
        ("429 with Retry-After", error(429, json!({ "retry-after": "7" }))),
        ("429 without", error(429, json!({}))),
        ("500", error(500, json!({}))),
        (
            "502",
            json!({ "status": 502, "body": "<html>bad gateway</html>", "headers": { "content-type": "text/html" } }),
        ),
        ("503", error(503, json!({ "retry-after": "1" }))),
        ("401", error(401, json!({}))),
        ("403", error(403, json!({}))),
        ("a page", json!({ "body": "<html>welcome</html>", "headers": { "content-type": "text/html" } })),
        ("garbage", json!({ "body": "data: {\"id\": oops\n\n", "headers": { "content-type": kind } })),
        ("an empty body", json!({ "body": "", "headers": { "content-type": kind } })),
        ("a cut body", json!({ "body": "{\"id\":\"x\",", "headers": { "content-type": kind }, "cut_after": 1 })),
    ];
    out.extend((wire.refusals)());
    out
}

/// What only a stream can do before its first content.
fn bad_beginnings(wire: &Wire) -> Vec<(&'static str, Value)> {
    let mut out = vec![
        ("is cut", wire.cut(vec![])),
        ("ends with half a letter", wire.stream(vec![(wire.half)()])),
        ("ends before it began", wire.stream(vec![])),
        ("never ends a piece", wire.stream(endless(wire))),
    ];
    out.extend((wire.faults)().into_iter().map(|fault| ("says it failed", wire.stream(vec![fault]))));
    out
}

fn endless(wire: &Wire) -> Vec<Value> {
    vec![(wire.endless)(), json!({ "fill": ENDLESS })]
}

fn trickle(wire: &Wire) -> Vec<Value> {
    vec![(wire.endless)(), json!({ "trickle": TRICKLE })]
}

async fn another_makes_good(zoo: &Zoo, client: Client, stream: bool, model: &str, what: &str, from_a: usize) {
    zoo.b_says("all is well", stream);
    let before = zoo.asked();
    let got = zoo.ask(client, model, stream).await;
    let what = format!("{} {client:?} stream={stream}: {what}: {}", zoo.wire.kind, got.body);
    assert_eq!((got.status, got.words().as_str()), (200, "all is well"), "{what}");
    assert_eq!((got.attempts.as_deref(), got.provider.as_deref()), (Some("2"), Some("b")), "{what}");
    let after = zoo.asked();
    assert_eq!((after.0 - before.0, after.1 - before.1), (from_a, 1), "{what}");
}

/// Asked by its plain name, a server's fault is an error that says whose it is.
async fn an_error_says_so(zoo: &Zoo, client: Client, stream: bool, what: &str) {
    let got = zoo.ask(client, "a/m", stream).await;
    let what = format!("{} {client:?} stream={stream}: {what}: {} {}", zoo.wire.kind, got.status, got.body);
    let late = got.streamed && got.status == 200;
    assert!(late || [429, 502, 503, 504, 529].contains(&got.status), "{what}");
    assert!(got.error().is_some() && got.words().is_empty(), "{what}");
    assert_eq!(got.attempts.as_deref(), Some("1"), "{what}");
}

async fn before_the_first_content(wire: Wire) {
    let zoo = Zoo::start(wire);
    for client in CLIENTS {
        for stream in [true, false] {
            for (route, what) in [("route-closed", "nobody listens"), ("route-tls", "no TLS there")] {
                another_makes_good(&zoo, client, stream, route, what, 0).await;
            }
            let bad = if stream { bad_beginnings(&wire) } else { vec![] };
            for (what, reply) in refusals(&wire, stream).into_iter().chain(bad) {
                zoo.a.script(json!([{ "reply": reply }]));
                another_makes_good(&zoo, client, stream, "route", what, 1).await;
                // An empty stream is an answer where nobody could do better.
                if !(stream && ["an empty body", "ends before it began"].contains(&what)) {
                    zoo.a.script(json!([{ "reply": reply }]));
                    an_error_says_so(&zoo, client, stream, what).await;
                }
            }
        }
    }
    zoo.settles().await;
}

/// Both clients wait at once: what a silence costs is spent once.
async fn a_silence_before_the_first_content(wire: Wire) {
    let zoo = Zoo::start(wire);
    for (what, reply) in [
        ("says nothing", json!({ "hold": "never", "json": {} })),
        ("begins and stalls", wire.stream(vec![json!({ "gate": "never" })])),
        ("comes letter by letter", wire.stream(trickle(&wire))),
    ] {
        zoo.a.script(json!([{ "times": CLIENTS.len(), "reply": reply }]));
        zoo.b.script(json!([{ "times": CLIENTS.len(), "reply": wire.good("all is well", true) }]));
        let before = zoo.asked();
        for got in futures::future::join_all(CLIENTS.map(|client| zoo.ask(client, "impatient", true))).await {
            let what = format!("{} {:?}: {what}: {}", wire.kind, got.client, got.body);
            assert_eq!((got.status, got.words().as_str()), (200, "all is well"), "{what}");
            assert_eq!((got.attempts.as_deref(), got.provider.as_deref()), (Some("2"), Some("b")), "{what}");
        }
        assert_eq!((zoo.asked().0 - before.0, zoo.asked().1 - before.1), (2, 2), "{what}");
    }
    zoo.settles().await;
}

/// Of an answer that comes whole nobody has seen anything, so another may be asked as long as there is time.
async fn a_whole_answer_that_does_not_come(wire: Wire) {
    let zoo = Zoo::start(wire);
    let json = |rest: Value| json!({ "sse": ["{\"id\":\"", rest], "headers": { "content-type": "application/json" } });
    for client in CLIENTS {
        let stalls = json(json!({ "gate": "never" }));
        zoo.a.script(json!([{ "times": 2, "reply": stalls }]));
        another_makes_good(&zoo, client, false, "brisk-first", "stalls", 1).await;
        let got = zoo.ask(client, "brisk/m", false).await;
        assert_eq!(got.status, 504, "{} {client:?}: {}", wire.kind, got.body);
        assert!(got.error().is_some(), "{} {client:?}: {}", wire.kind, got.body);
        // Never silent for a second, and never done: the time for all of it ends it.
        zoo.a.script(json!([{ "reply": json(json!({ "trickle": TRICKLE })) }]));
        let before = zoo.asked();
        let got = zoo.ask(client, "hurried", false).await;
        assert_eq!(got.status, 504, "{} {client:?}: {}", wire.kind, got.body);
        assert!(got.error().is_some(), "{} {client:?}: {}", wire.kind, got.body);
        assert_eq!((zoo.asked().0 - before.0, zoo.asked().1 - before.1), (1, 0), "{} {client:?}", wire.kind);
    }
    zoo.settles().await;
}

async fn after_the_first_content(wire: Wire) {
    let zoo = Zoo::start(wire);
    let said = |more: Vec<Value>| wire.stream([vec![(wire.word)("one ")], more].concat());
    let mut cases = vec![
        ("is cut", "route", wire.cut(vec![(wire.word)("one ")])),
        ("talks nonsense", "route", said(vec![(wire.nonsense)(), (wire.word)("two")])),
        ("ends with half a letter", "route", said(vec![(wire.half)()])),
        ("ends without saying so", "route", said(vec![])),
        ("never ends a piece", "route", said(endless(&wire))),
        ("stalls", "impatient", said(vec![json!({ "gate": "never" })])),
        ("comes letter by letter", "impatient", said(trickle(&wire))),
    ];
    cases.extend((wire.faults)().into_iter().map(|fault| ("says it failed", "route", said(vec![fault]))));
    for client in CLIENTS {
        for (what, model, reply) in cases.clone() {
            zoo.a.script(json!([{ "reply": reply }]));
            let before = zoo.asked();
            let got = zoo.ask(client, model, true).await;
            let what = format!("{} {client:?}: {what}: {}", wire.kind, got.body);
            assert_eq!((got.status, got.words().as_str()), (200, "one "), "{what}");
            assert!(got.error().is_some(), "{what}");
            assert_eq!((got.attempts.as_deref(), got.provider.as_deref()), (Some("1"), Some("a")), "{what}");
            assert_eq!((zoo.asked().0 - before.0, zoo.asked().1 - before.1), (1, 0), "{what}");
        }
    }
    zoo.settles().await;
}

async fn calls_come_once(wire: Wire) {
    let zoo = Zoo::start(wire);
    let one = |id: &str| (id.to_owned(), "look".to_owned(), "{\"n\":7}".to_owned());
    for client in CLIENTS {
        // Two calls of one answer, with a failure before it.
        zoo.a.script(json!([{ "reply": { "hangup": true } }]));
        let calls = [(wire.call)("c1", 0), (wire.call)("c2", 1), (wire.end)(true)].concat();
        zoo.b.script(json!([{ "reply": wire.stream(calls) }]));
        let got = zoo.ask(client, "route", true).await;
        assert_eq!(got.attempts.as_deref(), Some("2"), "{}", got.body);
        assert_eq!(shape(got.calls()), shape(vec![one("c1"), one("c2")]), "{} {client:?}: {}", wire.kind, got.body);
        // A call that breaks off is not begun again by another.
        let begun = (wire.call)("c1", 0).remove(0);
        zoo.a.script(json!([{ "reply": wire.cut(vec![begun]) }]));
        let before = zoo.asked();
        let got = zoo.ask(client, "route", true).await;
        assert_eq!((got.calls().len(), got.error().is_some()), (1, true), "{} {client:?}: {}", wire.kind, got.body);
        assert_eq!((zoo.asked().0 - before.0, zoo.asked().1 - before.1), (1, 0));
    }
    zoo.settles().await;
}

/// Without the ids, which may carry more than the server's own.
fn shape(calls: Vec<(String, String, String)>) -> Vec<(String, String)> {
    calls.into_iter().map(|(_, name, arguments)| (name, arguments)).collect()
}

/// Some servers number every call 0; what tells them apart is their ids.
#[tokio::test]
async fn two_calls_under_one_number_stay_two() {
    let zoo = Zoo::start(OPENAI);
    for client in CLIENTS {
        let calls = [(OPENAI.call)("c1", 0), (OPENAI.call)("c2", 0), (OPENAI.end)(true)].concat();
        zoo.a.script(json!([{ "reply": OPENAI.stream(calls) }]));
        let got = zoo.ask(client, "route", true).await;
        let want = ["c1", "c2"].map(|id| (id.to_owned(), "look".to_owned(), "{\"n\":7}".to_owned()));
        assert_eq!(got.calls(), want, "{client:?}: {}", got.body);
    }
}

macro_rules! each_kind {
    ($($case:ident),*) => { $(
        mod $case {
            use super::{ANTHROPIC, BEDROCK, GEMINI, OPENAI};

            #[tokio::test]
            async fn openai() {
                super::$case(OPENAI).await;
            }
            #[tokio::test]
            async fn anthropic() {
                super::$case(ANTHROPIC).await;
            }
            #[tokio::test]
            async fn gemini() {
                super::$case(GEMINI).await;
            }
            #[tokio::test]
            async fn bedrock() {
                super::$case(BEDROCK).await;
            }
        }
    )* };
}

each_kind!(
    before_the_first_content,
    a_silence_before_the_first_content,
    a_whole_answer_that_does_not_come,
    after_the_first_content,
    calls_come_once
);
