//! Hosts, secrets and echoes: what a tool asks for and what leaves the house.

use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;

use super::*;

/// Answers with what it was sent, as debugging services do, and remembers it.
#[derive(Default)]
struct Echo(Mutex<Vec<Outbound>>);

#[async_trait]
impl Egress for Echo {
    async fn send(&self, _: &Cx, request: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        let headers: Vec<String> = request.headers.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        let body = json!({ "url": request.url, "headers": headers }).to_string();
        let echoed = ("x-echo".to_owned(), headers.join("; "));
        self.0.lock().expect("the requests").push(request);
        Ok(OutboundAnswer { status: 200, headers: vec![echoed], body: body.into() })
    }
}

/// The tenant `a` has `crm`, bound to one host.
struct Vault;

#[async_trait]
impl Secrets for Vault {
    async fn find(&self, cx: &Cx, name: &str) -> Result<Option<Secret>> {
        let value = match name {
            "crm" => "top/secret\"1",
            "basic" => "ada:passw0rd!",
            _ => return Ok(None),
        };
        let hosts = vec!["api.crm.example".parse().expect("a rule")];
        Ok((cx.tenant == "a").then(|| Secret { value: value.into(), hosts }))
    }
}

fn policy() -> Policy {
    let args = json!({ "hosts": ["api.crm.example", "*.open.example"], "secrets": ["crm", "basic", "gone"] });
    Policy::of(&args).expect("a policy")
}

fn request(url: &str, credentials: Vec<Credential>) -> FetchRequest {
    FetchRequest { method: "GET".into(), url: url.into(), credentials, ..FetchRequest::default() }
}

fn credential(secret: &str, place: CredentialPlace, name: &str) -> Credential {
    Credential { secret: secret.into(), place, name: name.into(), prefix: String::new(), base64: false }
}

fn bearer(secret: &str) -> Credential {
    Credential { prefix: "Bearer ".into(), ..credential(secret, CredentialPlace::Header, "Authorization") }
}

async fn send(tenant: &str, request: FetchRequest) -> (Result<OutboundAnswer>, Vec<Outbound>) {
    let echo = Echo::default();
    let answer = policy().send(&Cx::internal(tenant, "r"), &echo, &Vault, request).await;
    (answer, echo.0.into_inner().expect("the requests"))
}

#[tokio::test]
async fn a_request_goes_to_the_groups_hosts_alone() {
    for url in ["https://api.crm.example/a", "https://x.open.example/"] {
        assert_eq!(send("a", request(url, vec![])).await.1.len(), 1, "{url}");
    }
    for (url, kind) in [
        ("https://evil.example/", Kind::Forbidden),
        ("http://api.crm.example/", Kind::Forbidden),
        ("https://api.crm.example:8443/", Kind::Forbidden),
        ("https://api.crm.example@evil.example/", Kind::Invalid),
        ("https://open.example/", Kind::Forbidden),
        ("https://api.crm.example./", Kind::Invalid),
    ] {
        let (answer, sent) = send("a", request(url, vec![])).await;
        assert_eq!((answer.expect_err(url).kind, sent.len()), (kind, 0), "{url}");
    }
    let (none, cx, echo) = (Policy::default(), Cx::internal("a", "r"), Echo::default());
    let none = none.send(&cx, &echo, &Vault, request("https://a.example", vec![]));
    assert!(none.await.expect_err("no hosts").message.contains("none"));
}

#[tokio::test]
async fn a_secret_is_sent_and_struck_out_of_what_comes_back() {
    let credentials = vec![
        bearer("crm"),
        credential("crm", CredentialPlace::Query, "key"),
        credential("crm", CredentialPlace::Cookie, "sid"),
        Credential { prefix: "Basic ".into(), base64: true, ..credential("basic", CredentialPlace::Header, "x-basic") },
    ];
    let mut wanted = request("https://api.crm.example/a?b=1", credentials);
    wanted.headers = vec![("authorization".into(), "Bearer mine".into()), ("cookie".into(), "a=b".into())];
    let (answer, sent) = send("a", wanted).await;
    let sent = &sent[0];
    assert_eq!(sent.url, "https://api.crm.example/a?b=1&key=top%2Fsecret%221");
    let expected = [
        ("Authorization", "Bearer top/secret\"1"),
        ("Cookie", "a=b; sid=top%2Fsecret%221"),
        ("x-basic", "Basic YWRhOnBhc3N3MHJkIQ=="),
    ];
    assert_eq!(sent.headers, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
    let answer = answer.expect("an answer");
    let seen = format!("{answer:?}{}", String::from_utf8_lossy(&answer.body));
    for left in ["top/secret", "top\\/secret", "%2Fsecret", "YWRhOnBhc3N3MHJkIQ", "passw0rd"] {
        assert!(!seen.contains(left), "{left} in {seen}");
    }
    assert!(seen.contains("Bearer [secret crm]") && seen.contains("Basic [secret basic]"), "{seen}");
    assert!(serde_json::from_slice::<Value>(&answer.body).is_ok(), "still JSON");
}

#[tokio::test]
async fn a_secret_goes_to_its_own_hosts_for_its_own_tenant_and_group() {
    for (tenant, url, secret, why) in [
        ("a", "https://x.open.example/", "crm", "may not be sent to https://x.open.example"),
        ("a", "https://api.crm.example/", "other", "not among those of this tool"),
        ("a", "https://api.crm.example/", "gone", "no secret 'gone' any more"),
        ("b", "https://api.crm.example/", "crm", "no secret 'crm' any more"),
    ] {
        let (answer, sent) = send(tenant, request(url, vec![bearer(secret)])).await;
        let error = answer.expect_err(why);
        assert!(error.kind == Kind::Forbidden && error.message.contains(why) && sent.is_empty(), "{error}");
    }
}

#[tokio::test]
async fn text_that_names_a_secret_is_text() {
    let mut wanted = request("https://api.crm.example/?q=%7B%7Bsecret:crm%7D%7D", vec![]);
    wanted.headers = vec![("x-a".into(), "[secret crm]".into())];
    let (_, sent) = send("a", wanted.clone()).await;
    assert_eq!((&sent[0].url, &sent[0].headers), (&wanted.url, &wanted.headers));
}

#[test]
fn what_cannot_be_a_policy_is_named() {
    for (args, param) in [
        (json!({ "hosts": ["a.example", "*.com"] }), "args.hosts[1]"),
        (json!({ "hosts": "a.example" }), "args.hosts"),
        (json!({ "hosts": [1] }), "args.hosts"),
        (json!({ "secrets": [{}] }), "args.secrets"),
        (json!({ "secrets": { "k": 1 } }), "args.secrets"),
        (json!({ "hosts": vec!["a.example"; 65] }), "args.hosts"),
    ] {
        assert_eq!(Policy::of(&args).expect_err(param).param.as_deref(), Some(param));
    }
    let by_use = Policy::of(&json!({ "secrets": { "k": "crm", "l": null } })).expect("a policy");
    assert_eq!(by_use.secrets, BTreeSet::from(["crm".to_owned()]));
}

#[tokio::test]
async fn what_the_tool_wrote_in_a_secrets_place_goes() {
    let credentials =
        vec![credential("crm", CredentialPlace::Query, "key"), credential("crm", CredentialPlace::Cookie, "sid")];
    let mut wanted = request("https://api.crm.example/a?KEY=mine&k%65y=mine&b=1&key", credentials);
    wanted.headers = vec![("Cookie".into(), "sid=mine; a=b".into()), ("cookie".into(), "SID=mine".into())];
    let sent = send("a", wanted).await.1;
    assert_eq!(sent[0].url, "https://api.crm.example/a?b=1&key=top%2Fsecret%221");
    assert_eq!(sent[0].headers, [("Cookie".to_owned(), "a=b; sid=top%2Fsecret%221".to_owned())]);
}

#[tokio::test]
async fn a_request_with_a_secret_asks_for_whole_answers_and_has_an_end() {
    let url = "https://api.crm.example/a";
    for name in ["Range", "if-range"] {
        let with = |credentials| FetchRequest {
            headers: vec![(name.into(), "bytes=0-3".into())],
            ..request(url, credentials)
        };
        let (answer, sent) = send("a", with(vec![bearer("crm")])).await;
        assert_eq!((answer.expect_err(name).kind, sent.len()), (Kind::Invalid, 0));
        assert_eq!(send("a", with(vec![])).await.1.len(), 1, "without a secret there is nothing to piece together");
    }
    let named = |i: usize| credential("crm", CredentialPlace::Header, &format!("x-{i}"));
    assert_eq!(send("a", request(url, (0..9).map(named).collect())).await.0.expect_err("nine").kind, Kind::Invalid);
    assert!(send("a", request(url, (0..8).map(named).collect())).await.0.is_ok());
    let headers = (0..65).map(|i| (format!("x-{i}"), String::new())).collect();
    let many = FetchRequest { headers, ..request(url, vec![]) };
    assert_eq!(send("a", many).await.0.expect_err("65 headers").kind, Kind::Invalid);
    // What the secrets add counts.
    let body = Bytes::from(vec![b'x'; REQUEST - url.len()]);
    assert!(send("a", FetchRequest { body: body.clone(), ..request(url, vec![]) }).await.0.is_ok());
    let (answer, sent) = send("a", FetchRequest { body, ..request(url, vec![bearer("crm")]) }).await;
    assert_eq!((answer.expect_err("too large").kind, sent.len()), (Kind::TooLarge, 0));
}

/// Remembers under which limits it is asked.
#[derive(Default)]
struct Limited(Mutex<Vec<OutboundLimits>>);

#[async_trait]
impl Egress for Limited {
    async fn send(&self, _: &Cx, _: Outbound, limits: OutboundLimits) -> Result<OutboundAnswer> {
        self.0.lock().expect("the limits").push(limits);
        Err(Error::new(Kind::TooLarge, "the answer is longer"))
    }
}

#[tokio::test]
async fn every_request_of_a_tool_is_held_to_a_size_and_a_time() {
    let limited = Limited::default();
    let cx = Cx::internal("a", "r");
    for credentials in [vec![], vec![bearer("crm")]] {
        let wanted = request("https://api.crm.example/a", credentials);
        assert_eq!(policy().send(&cx, &limited, &Vault, wanted).await.expect_err("too large").kind, Kind::TooLarge);
    }
    let limits = limited.0.into_inner().expect("the limits");
    assert_eq!(limits.len(), 2);
    for limit in limits {
        assert_eq!((limit.time, limit.answer), (Duration::from_secs(30), 1 << 20));
    }
    // The request itself has its size too, wherever the bytes are.
    let large = "x".repeat(REQUEST);
    let url = "https://api.crm.example/a";
    for wanted in [
        FetchRequest { body: large.clone().into(), ..request(url, vec![]) },
        FetchRequest { headers: vec![("x-a".into(), large.clone())], ..request(url, vec![]) },
        request(&format!("{url}?{large}"), vec![]),
    ] {
        let (answer, sent) = send("a", wanted).await;
        assert_eq!((answer.expect_err("too large").kind, sent.len()), (Kind::TooLarge, 0));
    }
}

/// Answers with a secret in every dress that the platform knows, in its body and in a header.
struct Mirror;

#[async_trait]
impl Egress for Mirror {
    async fn send(&self, _: &Cx, _: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        let secret = "top/secret\"1";
        let dresses = [
            secret.to_owned(),
            STANDARD.encode(secret),
            URL_SAFE.encode(secret).trim_end_matches('=').to_owned(),
            encoded(secret),
            encoded(&encoded(secret)),
            Value::from(secret).to_string(),
            secret.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect(),
            "top\\/secret\\u00221".to_owned(),
            "top&#47;secret&quot;1".to_owned(),
            secret.chars().map(|c| format!("&#x{:X};", u32::from(c))).collect(),
        ];
        let headers = dresses.iter().map(|dress| ("x-echo".to_owned(), format!("a {dress} b"))).collect();
        Ok(OutboundAnswer { status: 200, headers, body: dresses.join("\n").into() })
    }
}

#[tokio::test]
async fn a_secret_comes_back_in_no_dress() {
    let wanted = request("https://api.crm.example/a", vec![bearer("crm")]);
    let answer = policy().send(&Cx::internal("a", "r"), &Mirror, &Vault, wanted).await.expect("an answer");
    let body = String::from_utf8(answer.body.to_vec()).expect("text");
    for line in body.lines() {
        assert_eq!(line.trim_matches('"').trim_end_matches('='), "[secret crm]");
    }
    assert_eq!((body.lines().count(), answer.headers.len()), (10, 10));
    for (_, value) in &answer.headers {
        assert!(value.contains("[secret crm]") && !value.contains("secret\"") && value.len() < 30, "{value}");
    }
}

#[tokio::test]
async fn an_address_that_is_escaped_means_what_it_means() {
    // What a guest hands over is an address, not JSON: escapes of JSON are no characters of one.
    for url in [
        "https://api.crm.example\\u002f@evil.example/",
        "https:\\/\\/api.crm.example/",
        "https://\\u0065vil.example/",
        "https://api.crm.example/\\u000d\\u000ax-evil: 1",
        "https://api.crm.example%2f@evil.example/",
        "https://%61pi.crm.example/",
        "https://api.crm.example\u{ff0f}evil.example/",
        "https://\u{430}pi.crm.example/",
    ] {
        let (answer, sent) = send("a", request(url, vec![bearer("crm")])).await;
        assert_eq!((answer.expect_err(url).kind, sent.len()), (Kind::Invalid, 0), "{url}");
    }
    // A look-alike in its ASCII form is another host.
    let (answer, sent) = send("a", request("https://xn--pi-6kc.crm.example/", vec![bearer("crm")])).await;
    assert_eq!((answer.expect_err("another host").kind, sent.len()), (Kind::Forbidden, 0));
}

/// Fails in words that hold what it was sent.
struct Tattler;

#[async_trait]
impl Egress for Tattler {
    async fn send(&self, _: &Cx, request: Outbound, _: OutboundLimits) -> Result<OutboundAnswer> {
        Err(Error::upstream(format!("no answer to {}", request.headers[0].1)))
    }
}

#[tokio::test]
async fn an_error_holds_no_secret_either() {
    let wanted = request("https://api.crm.example/a", vec![bearer("crm")]);
    let error = policy().send(&Cx::internal("a", "r"), &Tattler, &Vault, wanted).await.expect_err("no answer");
    assert_eq!(error.message, "no answer to Bearer [secret crm]");
}

#[test]
fn base64_of_addresses_is_base64_too() {
    let value = "??>>~~top/secret";
    let body = Bytes::from(URL_SAFE.encode(value));
    let mut answer = Ok(OutboundAnswer { body, ..OutboundAnswer::default() });
    clean(&mut answer, "crm", value);
    assert!(answer.expect("an answer").body.starts_with(b"[secret crm]"));
}
