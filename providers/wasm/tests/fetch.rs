//! Requests of guests: what reaches the host, what comes back, and what ends a guest.

#![allow(clippy::unwrap_used)] // a panic is how a test fails
#![allow(clippy::disallowed_methods)] // whoever changes the guest says so by the environment

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{FETCH, Guest, Hangs, limits, refusal, text};
use frontdesk_api::{
    Error, Kind, Result,
    egress::OutboundAnswer,
    tools::{Credential, CredentialPlace, FetchRequest, ToolHost},
};
use frontdesk_wasm::{Capabilities, Capability, Fault, HostGrants, Limits, Sandbox};

const TEXTS: &str = r#"(data (i32.const 9000) "GET") (data (i32.const 9100) "timeout") (data (i32.const 9200) "too-large")
  (data (i32.const 9300) "crmauthorizationBearer x-askmine")"#;

/// The arguments are `{"u":"URL"}`: sends a GET there with one header and one credential, and answers with the body, or
/// fails with the error's words.
const SENDS: &str = r#"
  (i32.store (i32.const 9400) (i32.const 9300)) (i32.store (i32.const 9404) (i32.const 3))    ;; secret: crm
  (i32.store8 (i32.const 9408) (i32.const 0))                                                 ;; place: header
  (i32.store (i32.const 9412) (i32.const 9303)) (i32.store (i32.const 9416) (i32.const 13))   ;; authorization
  (i32.store (i32.const 9420) (i32.const 9316)) (i32.store (i32.const 9424) (i32.const 7))    ;; "Bearer "
  (i32.store (i32.const 9500) (i32.const 9323)) (i32.store (i32.const 9504) (i32.const 5))    ;; x-ask
  (i32.store (i32.const 9508) (i32.const 9328)) (i32.store (i32.const 9512) (i32.const 4))    ;; mine
  (call $send (i32.const 9000) (i32.const 3)
    (i32.add (local.get $args) (i32.const 6)) (i32.sub (local.get $args_len) (i32.const 8))
    (i32.const 9500) (i32.const 1) (i32.const 9400) (i32.const 1) (i32.const 9000) (i32.const 2) (i32.const 64))
  (if (result i32) (i32.eqz (i32.load8_u (i32.const 64)))
    (then (call $ok (i32.load (i32.const 80)) (i32.load (i32.const 84))))
    (else (local.set $i (i32.load8_u (i32.const 68)))
      (if (i32.eq (local.get $i) (i32.const 1)) (then
        (i32.store (i32.const 72) (i32.const 9100)) (i32.store (i32.const 76) (i32.const 7))))
      (if (i32.eq (local.get $i) (i32.const 2)) (then
        (i32.store (i32.const 72) (i32.const 9200)) (i32.store (i32.const 76) (i32.const 9))))
      (call $failed (i32.load (i32.const 72)) (i32.load (i32.const 76)))))"#;

fn sending(call: &str) -> bytes::Bytes {
    Guest { imports: FETCH, fields: TEXTS, call, ..Guest::default() }.build()
}

/// Answers as it was told to, and remembers what was asked.
struct Web {
    asked: Mutex<Vec<FetchRequest>>,
    answer: Answers,
}

type Answers = fn() -> Result<OutboundAnswer>;

#[async_trait::async_trait]
impl ToolHost for Web {
    async fn kv_get(&self, _: &str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    async fn kv_set(&self, _: &str, _: Vec<u8>) -> Result<()> {
        Ok(())
    }
    async fn fetch(&self, request: FetchRequest) -> Result<OutboundAnswer> {
        self.asked.lock().unwrap().push(request);
        tokio::task::yield_now().await;
        (self.answer)()
    }
}

fn web(answer: Answers) -> (Arc<Web>, HostGrants) {
    let web = Arc::new(Web { asked: Mutex::default(), answer });
    let grants = HostGrants { fetch: Some(Arc::clone(&web) as _), ..HostGrants::default() };
    (web, grants)
}

/// The guest above as a file, for tests that meet the program as a process.
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/tools/page.wasm");

#[tokio::test]
async fn the_fixture_is_this_guest() {
    let describe = r#"[{"name":"page","description":"Reads a page.","effect":"none","risk":"read","parameters":{"type":"object","properties":{"u":{"type":"string"}},"required":["u"],"additionalProperties":false}}]"#;
    let built = Guest { imports: FETCH, fields: TEXTS, describe, call: SENDS, ..Guest::default() }.build();
    if std::env::var_os("FRONTDESK_WRITE_FIXTURES").is_some() {
        std::fs::write(PAGE, &built).unwrap();
    }
    // What it is and does, not how an encoder writes it.
    let sandbox = Sandbox::new(limits());
    let (kept, built) =
        (sandbox.inspect(std::fs::read(PAGE).unwrap().into()).await.unwrap(), sandbox.inspect(built).await.unwrap());
    assert_eq!(kept.requests(), built.requests());
    let hashes =
        |component: &frontdesk_wasm::Component| component.tools().iter().map(|t| t.hash.clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&kept), hashes(&built));
    let (web, grants) = web(|| Ok(OutboundAnswer { status: 200, headers: vec![], body: "seen".into() }));
    assert_eq!(text(sandbox.call(&kept, "page", ARGUMENTS, grants).await).unwrap(), "seen");
    assert_eq!(web.asked.lock().unwrap()[0].credentials[0].secret, "crm");
}

const ARGUMENTS: &str = r#"{"u":"https://api.shop.example/a?b=1"}"#;

#[tokio::test]
async fn a_request_reaches_the_host_as_it_was_written_and_its_answer_the_guest() {
    let sandbox = Sandbox::new(limits());
    let component = sandbox.inspect(sending(SENDS)).await.unwrap();
    assert_eq!(component.requests(), Capabilities::NONE.with(Capability::Fetch));
    let (web, grants) = web(|| {
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        Ok(OutboundAnswer { status: 200, headers, body: r#"{"stock":3}"#.into() })
    });
    let call = sandbox.call(&component, "t", ARGUMENTS, grants).await;
    assert_eq!(call.spent.host_calls, 1);
    assert_eq!(text(call).unwrap(), r#"{"stock":3}"#);
    let credential = Credential {
        secret: "crm".into(),
        place: CredentialPlace::Header,
        name: "authorization".into(),
        prefix: "Bearer ".into(),
        base64: false,
    };
    let expected = FetchRequest {
        method: "GET".into(),
        url: "https://api.shop.example/a?b=1".into(),
        headers: vec![("x-ask".into(), "mine".into())],
        credentials: vec![credential],
        body: "GE".into(),
    };
    assert_eq!(*web.asked.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn what_is_refused_too_slow_or_too_large_is_the_guests_to_read() {
    let sandbox = Sandbox::new(limits());
    let component = sandbox.inspect(sending(SENDS)).await.unwrap();
    let cases: [(Answers, &str); 5] = [
        (|| Err(Error::new(Kind::Forbidden, "not that host")), "not that host"),
        (|| Err(Error::invalid("url", "no address")), "no address"),
        (|| Err(Error::new(Kind::Timeout, "slow")), "timeout"),
        (|| Err(Error::new(Kind::TooLarge, "long")), "too-large"),
        (|| Err(Error::upstream("cannot connect")), "cannot connect"),
    ];
    for (answer, expected) in cases {
        let (_, grants) = web(answer);
        let fault = text(sandbox.call(&component, "t", ARGUMENTS, grants).await).unwrap_err();
        assert!(matches!(&fault, Fault::Failed(words) if words == expected), "{fault:?}");
    }
    let (_, grants) = web(|| Err(Error::new(Kind::Internal, "the database is gone")));
    let fault = text(sandbox.call(&component, "t", ARGUMENTS, grants).await).unwrap_err();
    assert!(matches!(&fault, Fault::Host(error) if error.kind == Kind::Internal), "{fault:?}");
}

#[tokio::test]
async fn without_the_grant_there_is_no_way_out() {
    let sandbox = Sandbox::new(limits());
    let component = sandbox.inspect(sending(SENDS)).await.unwrap();
    let fault = text(sandbox.call(&component, "t", ARGUMENTS, HostGrants::default()).await).unwrap_err();
    assert_eq!(fault.to_string(), "the tool asks for 'fetch', which is not granted");
    let describing =
        "(call $send (i32.const 9000) (i32.const 3) (i32.const 9000) (i32.const 3) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64))";
    let early = Guest { imports: FETCH, fields: TEXTS, describing, ..Guest::default() }.build();
    assert!(refusal(&sandbox, early).await.contains("fetch may not be used while the tool describes itself"));
}

#[tokio::test]
async fn a_flood_of_requests_and_one_that_hangs_meet_their_limits() {
    let sandbox = Sandbox::new(Limits { requests: 5, cpu: Duration::from_secs(5), ..limits() });
    let flood =
        "(loop $l (call $send (i32.const 9000) (i32.const 3) (i32.const 9000) (i32.const 3) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 64)) (br $l)) (unreachable)";
    let component = sandbox.inspect(sending(flood)).await.unwrap();
    let (web, grants) = web(|| Ok(OutboundAnswer::default()));
    let fault = text(sandbox.call(&component, "t", "{}", grants).await).unwrap_err();
    assert_eq!(fault.to_string(), "the tool exceeded its requests limit of 5");
    assert_eq!(web.asked.lock().unwrap().len(), 5);

    let sandbox = Sandbox::new(Limits { wall: Duration::from_secs(2), ..limits() });
    let component = sandbox.inspect(sending(SENDS)).await.unwrap();
    let grants = HostGrants { fetch: Some(Arc::new(Hangs)), ..HostGrants::default() };
    let fault = text(sandbox.call(&component, "t", ARGUMENTS, grants).await).unwrap_err();
    assert_eq!(fault.to_string(), "the tool exceeded its wall time limit of 2000 ms");
    // What the guest hands over in one request has its limit too.
    let huge = "(call $send (i32.const 9000) (i32.const 3) (i32.const 9000) (i32.const 3) (i32.const 0) (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2000000) (i32.const 64)) (call $ok (i32.const 8192) (i32.const 2))";
    let memory = "(memory (export \"memory\") 64)";
    let huge = Guest { imports: FETCH, fields: TEXTS, memory, call: huge, ..Guest::default() }.build();
    let component = sandbox.inspect(huge).await.unwrap();
    let (web, grants) = self::web(|| Ok(OutboundAnswer::default()));
    let fault = text(sandbox.call(&component, "t", "{}", grants).await).unwrap_err();
    assert_eq!(fault.to_string(), "the tool exceeded its transfer limit of 1048576 bytes");
    assert!(web.asked.lock().unwrap().is_empty());
}
