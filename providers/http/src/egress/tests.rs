//! What is tried with requests of tools: each attack by itself, against servers on loopback.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;

const LIMITS: OutboundLimits = OutboundLimits { time: Duration::from_secs(20), answer: 4096 };

/// The head of a request.
async fn asked_for(stream: &mut TcpStream) -> String {
    let mut head = vec![];
    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(n) if n > 0 => head.extend_from_slice(&piece[..n]),
            _ => break,
        }
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Answers every connection with `answer`; what it was asked comes out of the channel.
async fn server(answer: &'static [u8]) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    let (told, asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = told.send(asked_for(&mut stream).await);
            let _ = stream.write_all(answer).await;
        }
    });
    (at, asked)
}

/// Answers the first connection with a piece of a body now and then, each long before anyone would call it silent, for
/// longer than any test.
async fn trickle(head: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        asked_for(&mut stream).await;
        let piece = if head.ends_with("chunked") { "1\r\nx\r\n" } else { "x" };
        let mut next = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n");
        while stream.write_all(next.as_bytes()).await.is_ok() {
            piece.clone_into(&mut next);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    at
}

fn loopback() -> Outside {
    Outside::new(vec!["127.0.0.0/8".parse().expect("a range")])
}

fn cx() -> Cx {
    Cx::internal("t", "r")
}

fn get(url: &str) -> Outbound {
    Outbound { method: "GET".into(), url: url.into(), ..Outbound::default() }
}

async fn refusal(outside: &Outside, request: Outbound) -> Error {
    outside.send(&cx(), request, LIMITS).await.expect_err("refused")
}

#[tokio::test]
async fn addresses_inside_are_not_reached_however_they_are_spelt() {
    let (at, mut asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let port = at.port();
    let outside = Outside::new(vec![]);
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "100.64.0.1",
        "192.168.1.1",
        "[fd00::1]",
        "[fe80::1]",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "127.1",
    ] {
        let error = refusal(&outside, get(&format!("http://{host}:{port}/"))).await;
        assert_eq!(error.kind, Kind::Forbidden, "{host}: {error}");
    }
    assert!(asked.try_recv().is_err(), "nobody was asked");
    // Where the operator says so, and there alone.
    assert_eq!(
        loopback().send(&cx(), get(&format!("http://127.0.0.1:{port}/")), LIMITS).await.expect("an answer").status,
        200
    );
    assert_eq!(refusal(&loopback(), get(&format!("http://10.0.0.1:{port}/"))).await.kind, Kind::Forbidden);
}

/// A name that leads outside when it is judged and inside when it is used would need two look-ups: there is one.
#[tokio::test]
async fn a_name_is_looked_up_once_and_what_was_judged_is_connected_to() {
    let (at, mut asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
    let lookups = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&lookups);
    // First an address that may be reached, from then on one that may not.
    let table = move |_: &str| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        vec![if first { at } else { SocketAddr::from(([127, 0, 0, 99], at.port())) }]
    };
    let inside = vec!["127.0.0.1".parse().expect("a range")];
    let outside = Outside(Client::public_and(Limits::default(), inside).looking_up(table));
    let url = format!("http://rebinding.example:{}/", at.port());
    assert_eq!(outside.send(&cx(), get(&url), LIMITS).await.expect("an answer").body, "hi");
    assert!(asked.recv().await.expect("it was asked").contains("host: rebinding.example"));
    assert_eq!(lookups.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_name_with_addresses_inside_and_outside_leads_outside_alone() {
    let (at, _asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let table = move |_: &str| vec![SocketAddr::from(([10, 0, 0, 1], at.port())), at];
    let inside = vec!["127.0.0.1".parse().expect("a range")];
    let outside = Outside(Client::public_and(Limits::default(), inside).looking_up(table));
    let url = format!("http://mixed.example:{}/", at.port());
    assert_eq!(outside.send(&cx(), get(&url), LIMITS).await.expect("an answer").status, 200);
    let none = Outside(Client::public(Limits::default()).looking_up(table));
    assert_eq!(refusal(&none, get(&url)).await.kind, Kind::Forbidden);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (at, mut asked) =
        server(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n").await;
    let answer = loopback().send(&cx(), get(&format!("http://{at}/")), LIMITS).await.expect("an answer");
    assert_eq!((answer.status, answer.header("location")), (302, Some("http://169.254.169.254/latest")));
    assert!(asked.recv().await.is_some() && asked.try_recv().is_err(), "one request");
}

#[tokio::test]
async fn headers_cannot_be_injected_or_taken_over() {
    let (at, mut asked) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    for (name, value) in [
        ("x-a", "1\r\nx-evil: 1"),
        ("x-a", "1\nx-evil: 1"),
        ("x-a", "1\0"),
        ("x-a\r\nx-evil", "1"),
        ("x a", "1"),
        ("", "1"),
        ("Host", "evil.example"),
        ("Transfer-Encoding", "chunked"),
        ("content-length", "5"),
        ("Connection", "upgrade"),
        ("Accept-Encoding", "gzip"),
    ] {
        let request = Outbound { headers: vec![(name.into(), value.into())], ..get(&format!("http://{at}/")) };
        let error = refusal(&loopback(), request).await;
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("headers")), "{name:?}");
    }
    for url in [format!("http://{at}/\r\nx-evil: 1"), format!("http://{at}/ HTTP/1.1\r\n")] {
        assert_eq!(refusal(&loopback(), get(&url)).await.kind, Kind::Invalid);
    }
    for method in ["GET / HTTP/1.1\r\n", "CONNECT", "TRACE", ""] {
        let request = Outbound { method: method.into(), ..get(&format!("http://{at}/")) };
        assert_eq!(refusal(&loopback(), request).await.kind, Kind::Invalid, "{method}");
    }
    assert!(asked.try_recv().is_err(), "nobody was asked");
}

#[tokio::test]
async fn an_answer_is_held_to_its_size_and_its_time() {
    let long: &'static [u8] =
        Box::leak([b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 5000]].concat().into_boxed_slice());
    let (endless, _a) = server(long).await;
    let (declared, _b) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
    for at in [endless, declared] {
        assert_eq!(refusal(&loopback(), get(&format!("http://{at}/"))).await.kind, Kind::TooLarge);
    }
    let (packed, _c) = server(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b").await;
    let error = refusal(&loopback(), get(&format!("http://{packed}/"))).await;
    assert!(error.kind == Kind::Upstream && error.message.contains("packs its answer"), "{error}");
    let (broken, _d) = server(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    // The server closes in the middle: no answer.
    assert_eq!(refusal(&loopback(), get(&format!("http://{broken}/"))).await.kind, Kind::Upstream);
    let short = OutboundLimits { time: Duration::from_millis(50), ..LIMITS };
    for head in ["Content-Length: 4000", "Transfer-Encoding: chunked"] {
        let error = loopback().send(&cx(), get(&format!("http://{}/", trickle(head).await)), short).await;
        assert_eq!(error.expect_err("it never ends").kind, Kind::Timeout, "{head}");
    }
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let error = loopback().send(&cx(), get(&url), short).await.expect_err("silence");
    assert_eq!(error.kind, Kind::Timeout);
}

#[test]
fn headers_have_an_end() {
    let many = |n: usize| (0..n).map(|i| (format!("x-{i}"), String::new())).collect::<Vec<_>>();
    assert!(headers(&many(MOST_HEADERS)).is_ok());
    let refused = headers(&many(30_000)).expect_err("too many");
    assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some("headers")));
}

#[tokio::test]
async fn a_packed_answer_is_refused_without_the_servers_words() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Encoding: hunter2\r\nContent-Length: 0\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity, br\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (at, _asked) = server(answer).await;
        let error = refusal(&loopback(), get(&format!("http://{at}/"))).await;
        assert!(error.kind == Kind::Upstream && error.message.contains("packs its answer"), "{error}");
        assert!(!error.message.contains("hunter2"), "{error}");
    }
    let (at, _asked) = server(b"HTTP/1.1 200 OK\r\nContent-Encoding: Identity\r\nContent-Length: 0\r\n\r\n").await;
    assert!(loopback().send(&cx(), get(&format!("http://{at}/")), LIMITS).await.is_ok());
}
