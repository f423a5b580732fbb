//! A server of plain sockets, so that a test sees which connection each request came over, and closes them as it likes.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use frontdesk_api::Cx;
use http::{Method, Uri};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::{Client, Limits};

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Does {
    /// Answers with these bytes, and keeps the connection.
    Says(&'static str),
    /// Answers, then closes the connection.
    Closes(&'static str),
    /// Says each of these, and waits to be told before all but the first.
    Pauses(&'static [&'static str]),
    /// Says nothing, and closes.
    HangsUp,
}

const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
const ENDLESS: &str = "HTTP/1.1 200 OK\r\n\r\nhello";
const HEAD: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
const REST: &str = "6\r\n world\r\n0\r\n\r\n";

struct Server {
    uri: Uri,
    /// The connection's number and the request's head, for each request; a number alone once one was closed.
    heard: mpsc::UnboundedReceiver<(usize, Option<String>)>,
    go: mpsc::UnboundedSender<()>,
}

impl Server {
    /// Does these things in turn.
    async fn doing(all: &[Does]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let uri = format!("http://{}/v1/x?y=1", listener.local_addr().expect("address")).parse().expect("a uri");
        let (tell, heard) = mpsc::unbounded_channel();
        let (go, told) = mpsc::unbounded_channel();
        let all = Arc::new(Mutex::new(VecDeque::from(all.to_vec())));
        let told = Arc::new(tokio::sync::Mutex::new(told));
        tokio::spawn(async move {
            for n in 0.. {
                let Ok((socket, _)) = listener.accept().await else { return };
                let (all, told, tell) = (Arc::clone(&all), Arc::clone(&told), tell.clone());
                tokio::spawn(async move {
                    serve(n, socket, &all, &told, &tell).await;
                    let _ = tell.send((n, None));
                });
            }
        });
        Self { uri, heard, go }
    }

    async fn asked(&mut self) -> (usize, String) {
        let (n, head) = self.heard.recv().await.expect("the server runs");
        (n, head.expect("a request, and not the end of a connection"))
    }

    async fn closed(&mut self) -> usize {
        let (n, head) = self.heard.recv().await.expect("the server runs");
        assert_eq!(head, None, "a connection is closed");
        n
    }
}

type Told = tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>;

async fn serve(
    n: usize,
    mut socket: TcpStream,
    all: &Mutex<VecDeque<Does>>,
    told: &Told,
    tell: &mpsc::UnboundedSender<(usize, Option<String>)>,
) {
    loop {
        let mut head = vec![];
        while !head.ends_with(b"\r\n\r\n") {
            match socket.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let _ = tell.send((n, Some(String::from_utf8(head).expect("text"))));
        let does = all.lock().expect("no panic").pop_front().expect("one thing for each request");
        let parts = match &does {
            Does::Says(whole) | Does::Closes(whole) => std::slice::from_ref(whole),
            Does::Pauses(parts) => parts,
            Does::HangsUp => return,
        };
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                let mut byte = [0];
                let mut told = told.lock().await;
                tokio::select! {
                    _ = told.recv() => {}
                    // The client has left.
                    _ = socket.read(&mut byte) => return,
                }
            }
            socket.write_all(part.as_bytes()).await.expect("a reader");
        }
        if matches!(does, Does::Closes(_)) {
            return;
        }
    }
}

async fn ask(client: &Client, server: &Server) -> Result<Answer> {
    client.send(&Cx::internal("t", "r"), Method::GET, &server.uri, HeaderMap::new(), Bytes::new()).await
}

async fn read(client: &Client, server: &Server) -> Result<Bytes> {
    ask(client, server).await?.body.whole(1000).await
}

#[tokio::test]
async fn a_connection_serves_one_request_after_the_other() {
    let mut server = Server::doing(&[Does::Says(HELLO); 3]).await;
    let client = Client::new(Limits::default());
    for _ in 0..3 {
        assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
        let (n, head) = server.asked().await;
        assert_eq!(n, 0, "{head}");
        let host = server.uri.authority().expect("one").as_str();
        assert!(head.starts_with("GET /v1/x?y=1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains(&format!("host: {host}\r\n")), "{head}");
    }
}

#[tokio::test]
async fn requests_at_the_same_time_have_a_connection_each_and_both_are_kept() {
    let mut server = Server::doing(&[Does::Pauses(&[HEAD, REST]), Does::Says(HELLO), Does::Says(HELLO)]).await;
    let client = Client::new(Limits::default());
    let mut first = ask(&client, &server).await.expect("a head");
    assert_eq!(first.body.piece().await.expect("a piece").expect("one"), "hello");
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!((server.asked().await.0, server.asked().await.0), (0, 1));
    server.go.send(()).expect("the server runs");
    assert_eq!(first.body.whole(1000).await.expect("the rest"), " world");
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    // One of the two.
    assert!(server.asked().await.0 < 2);
}

#[tokio::test]
async fn one_that_its_server_closed_is_not_used_again() {
    let mut server = Server::doing(&[Does::Closes(HELLO), Does::Says(HELLO)]).await;
    let client = Client::new(Limits::default());
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!(server.asked().await.0, 0);
    assert_eq!(server.closed().await, 0);
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!(server.asked().await.0, 1);
}

#[tokio::test]
async fn of_a_refusal_the_beginning_is_read() {
    let server = Server::doing(&[Does::Pauses(&[HEAD, REST]), Does::Closes(ENDLESS)]).await;
    let client = Client::new(Limits::default());
    let mut long = ask(&client, &server).await.expect("a head");
    server.go.send(()).expect("the server runs");
    assert_eq!(long.body.beginning(7).await, "hello w");
    assert_eq!(ask(&client, &server).await.expect("a head").body.beginning(1000).await, "hello");
}

#[tokio::test]
async fn a_request_that_went_out_is_not_sent_twice() {
    let mut server = Server::doing(&[Does::Says(HELLO), Does::HangsUp, Does::Says(HELLO)]).await;
    let client = Client::new(Limits::default());
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    let error = read(&client, &server).await.expect_err("it hangs up");
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Upstream, Some("unreachable")), "{error}");
    assert!(error.message.starts_with("no answer from http://127.0.0.1"), "{error}");
    assert_eq!((server.asked().await.0, server.asked().await.0, server.closed().await), (0, 0, 0));
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!(server.asked().await.0, 1);
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_whole() {
    let mut server = Server::doing(&[Does::Closes(ENDLESS), Does::Says(HELLO)]).await;
    let client = Client::new(Limits::default());
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!(read(&client, &server).await.expect("an answer"), "hello");
    assert_eq!((server.asked().await.0, server.closed().await, server.asked().await.0), (0, 0, 1));
}

#[tokio::test]
async fn an_answer_that_is_cut_says_so() {
    let server = Server::doing(&[Does::Closes(HEAD)]).await;
    let client = Client::new(Limits::default());
    let mut answer = ask(&client, &server).await.expect("a head");
    assert_eq!(answer.body.piece().await.expect("a piece").expect("one"), "hello");
    let error = answer.body.piece().await.expect_err("it is cut");
    assert!(error.message.contains("broke off in the middle"), "{error}");
}

#[tokio::test]
async fn a_body_that_is_dropped_closes_its_connection() {
    let mut server = Server::doing(&[Does::Pauses(&[HEAD, REST])]).await;
    let client = Client::new(Limits::default());
    let mut answer = ask(&client, &server).await.expect("a head");
    assert_eq!(answer.body.piece().await.expect("a piece").expect("one"), "hello");
    assert_eq!(server.asked().await.0, 0);
    drop(answer);
    assert_eq!(server.closed().await, 0);
}

#[tokio::test]
async fn a_cancelled_body_says_so_while_its_server_is_silent() {
    let server = Server::doing(&[Does::Pauses(&[HEAD, REST])]).await;
    let client = Client::new(Limits::default());
    let cx = Cx::internal("t", "r");
    let sent = client.send(&cx, Method::GET, &server.uri, HeaderMap::new(), Bytes::new()).await;
    let mut body = sent.expect("a head").body;
    assert_eq!(body.piece().await.expect("a piece").expect("one"), "hello");
    let (piece, ()) = tokio::join!(body.piece(), async {
        tokio::task::yield_now().await;
        cx.cancel.cancel();
    });
    assert_eq!(piece.expect_err("cancelled").kind, Kind::Cancelled);
}

#[tokio::test]
async fn silence_is_counted_from_the_last_piece() {
    let server =
        Server::doing(&[Does::Pauses(&[HEAD, "3\r\n wo\r\n", "0\r\n\r\n"]), Does::Pauses(&[HEAD, REST])]).await;
    let client = Client::new(Limits { idle: Duration::from_secs(6), ..Limits::default() });
    let mut body = ask(&client, &server).await.expect("a head").body;
    assert_eq!(body.piece().await.expect("a piece").expect("one"), "hello");
    // Together longer than the limit, each within it.
    for expected in [Some(Bytes::from(" wo")), None] {
        let (piece, ()) = tokio::join!(body.piece(), async {
            tokio::time::sleep(Duration::from_millis(3500)).await;
            server.go.send(()).expect("the server runs");
        });
        assert_eq!(piece.expect("no silence of six seconds"), expected);
    }
    let mut body = ask(&client, &server).await.expect("a head").body;
    assert_eq!(body.piece().await.expect("a piece").expect("one"), "hello");
    let error = body.piece().await.expect_err("silence");
    assert_eq!(error.kind, Kind::Timeout, "{error}");
    assert!(error.message.contains("silent for 6 s"), "{error}");
}
