//! Keys that are lent: who is asked for them, how, and when again.

use std::sync::Arc;

use frontdesk_api::{
    ChatRequest, Cx, Inference, Kind,
    chat::{Chat, Message, Role},
    clock::FixedClock,
};
use frontdesk_bedrock::{Bedrock, Config};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

/// 2026-11-24T03:48:21Z.
const AT: i64 = 1_795_492_101_000_000;

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn keys(id: &str, ends: &str) -> String {
    let keys = json!({ "Code": "Success", "AccessKeyId": id, "SecretAccessKey": "s", "Token": format!("token-of-{id}"), "Expiration": ends });
    answer("200 OK", &keys.to_string())
}

fn words() -> String {
    let usage = json!({ "inputTokens": 1, "outputTokens": 2, "totalTokens": 3 });
    let message = json!({ "role": "assistant", "content": [{ "text": "hi" }] });
    answer("200 OK", &json!({ "output": { "message": message }, "stopReason": "end_turn", "usage": usage }).to_string())
}

/// Lends and answers, one connection after the other. Gives back the heads of what was asked, in lower case.
async fn server(credentials: Value, path: &str, answers: Vec<String>) -> (Bedrock, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("address"));
    let mut credentials = credentials;
    credentials["url"] = json!(format!("{url}{path}"));
    let config = json!({ "region": "eu-central-1", "base_url": url, "credentials": credentials });
    let task = tokio::spawn(async move {
        let mut all = vec![];
        for answer in answers {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            let (mut seen, mut buffer) = (vec![], [0; 4096]);
            loop {
                let n = socket.read(&mut buffer).await.expect("a request");
                seen.extend_from_slice(&buffer[..n]);
                let text = String::from_utf8_lossy(&seen);
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |n| n.parse().expect("a number")) {
                    all.push(head.to_owned());
                    break;
                }
            }
            socket.write_all(answer.as_bytes()).await.expect("a caller that stays");
        }
        all
    });
    let config = Config::read(config).expect("readable");
    (Bedrock::new("aws", config, Arc::new(FixedClock::at(AT))).expect("a good config"), task)
}

async fn ask(up: &Bedrock) -> frontdesk_api::Result<()> {
    let chat = Chat { messages: vec![Message::text(Role::User, "hi")], ..Chat::default() };
    let mut request = ChatRequest::typed("m", chat);
    request.stream = false;
    up.chat(&Cx::internal("t", "r"), request).await.map(|_| ())
}

fn signed_by(head: &str, id: &str) -> bool {
    head.contains(&format!("Credential={id}/20261124/"))
        && head.contains(&format!("x-amz-security-token: token-of-{id}\r\n"))
}

#[tokio::test]
async fn a_container_s_keys_are_fetched_once_and_again_before_they_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "first\n").expect("written");
    // In five minutes, in six hours.
    let (soon, later) = (keys("ONE", "2026-11-24T03:53:21Z"), keys("TWO", "2026-11-24T09:48:21Z"));
    let answers = vec![soon, words(), answer("500 No", "{}"), words(), later, words(), words()];
    let (up, server) = server(json!({ "from": "container", "token_file": file }), "/role?x=1", answers).await;
    ask(&up).await.expect("an answer");
    std::fs::write(&file, "second").expect("written");
    ask(&up).await.expect("the old ones are still good");
    ask(&up).await.expect("an answer");
    ask(&up).await.expect("an answer");
    let asked = server.await.expect("the requests");
    assert!(
        asked[0].starts_with("GET /role?x=1 HTTP/1.1") && asked[0].contains("authorization: first"),
        "{}",
        asked[0]
    );
    assert!(asked[2].contains("authorization: second"), "{}", asked[2]);
    for (request, id) in [(1, "ONE"), (3, "ONE"), (5, "TWO"), (6, "TWO")] {
        assert!(signed_by(&asked[request], id), "{}", asked[request]);
    }
}

#[tokio::test]
async fn a_machine_s_keys_come_through_its_role() {
    let answers =
        vec![answer("200 OK", "tok"), answer("200 OK", "shop/role\n"), keys("ONE", "2026-11-24T09:48:21Z"), words()];
    let (up, server) = server(json!({ "from": "instance" }), "", answers).await;
    ask(&up).await.expect("an answer");
    let asked = server.await.expect("the requests");
    assert!(asked[0].starts_with("PUT /latest/api/token HTTP/1.1"), "{}", asked[0]);
    assert!(asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 21600"), "{}", asked[0]);
    assert!(asked[1].starts_with("GET /latest/meta-data/iam/security-credentials/ HTTP/1.1"), "{}", asked[1]);
    assert!(
        asked[2].starts_with("GET /latest/meta-data/iam/security-credentials/shop%2Frole HTTP/1.1"),
        "{}",
        asked[2]
    );
    assert!(asked[1..3].iter().all(|head| head.contains("x-aws-ec2-metadata-token: tok")), "{asked:?}");
    assert!(signed_by(&asked[3], "ONE"), "{}", asked[3]);
}

#[tokio::test]
async fn nobody_who_lends_is_an_error_of_the_operator_s() {
    let container = json!({ "from": "container" });
    let missing = json!({ "from": "container", "token_file": "no/such/file" });
    for (credentials, answers, says) in [
        (container.clone(), vec![answer("404 No", "")], "127.0.0.1 answered 404"),
        (container.clone(), vec![answer("200 OK", "<html>")], "not a set of keys"),
        (container, vec![keys("ONE", "soon")], "not a set of keys"),
        (missing, vec![], "cannot read no/such/file"),
    ] {
        let (up, _server) = server(credentials, "/role", answers).await;
        let error = ask(&up).await.expect_err("no keys");
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Upstream, Some("provider_credentials")));
        assert!(
            error.message.contains("provider 'aws' has no keys") && error.message.contains(says),
            "{}",
            error.message
        );
    }
}

#[test]
fn a_lender_without_an_address_is_named() {
    for (credentials, param) in [
        (json!({ "from": "container" }), "credentials.url"),
        (json!({ "from": "container", "url": "/relative" }), "credentials.url"),
        (json!({ "from": "container", "url": "ftp://x/y" }), "credentials.url"),
    ] {
        let config = Config::read(json!({ "region": "eu-central-1", "credentials": credentials })).expect("readable");
        let error = Bedrock::new("aws", config, Arc::new(FixedClock::at(AT))).err().expect("refused");
        assert_eq!(error.param.as_deref(), Some(param));
    }
}
