//! Signing in, at a server that is its own authorization server.

use std::{collections::HashMap, sync::Mutex};

use frontdesk_api::{
    SignIn,
    client_keys::ClientKeys,
    secret::Secret,
    sign_in::{Ask, Brought, NO_RENEWAL, Unauthorized, Way},
};

use super::*;

/// A server of which `change` says what is otherwise; it lets in whoever has a token that begins with `acc-`.
async fn server(change: impl Fn(&Asked, &str) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let own: Arc<Mutex<String>> = Arc::default();
    let mine = Arc::clone(&own);
    let server = Server::start(move |asked| {
        let origin = mine.lock().expect("the address").clone();
        if let Some(reply) = change(asked, &origin) {
            return reply;
        }
        let json = |value| Reply::Json(200, value);
        match asked.path.as_str() {
            "/meta" => json(json!({ "resource": format!("{origin}/mcp"), "authorization_servers": [origin],
                                    "scopes_supported": ["a", "b"] })),
            "/.well-known/oauth-authorization-server" => json(authority(&origin)),
            "/register" => json(json!({ "client_id": "c-1", "client_secret": "client-secret-1" })),
            "/token" => json(json!({ "access_token": "acc-12345678", "refresh_token": "ref-12345678",
                                     "token_type": "Bearer", "expires_in": 60 })),
            "/mcp" if asked.headers.get("authorization").is_some_and(|token| token.starts_with("Bearer acc-")) => {
                match asked.tool() {
                    Some("echo") => Reply::text(asked, &asked.headers["authorization"]),
                    _ => fake::usual(asked),
                }
            }
            "/mcp" => Reply::Challenged(401, format!("Bearer resource_metadata=\"{origin}/meta\", scope=\"a\"")),
            _ => Reply::Plain(404, "text/plain", String::new()),
        }
    })
    .await;
    *own.lock().expect("the address") = server.url.trim_end_matches("/mcp").to_owned();
    server
}

fn authority(origin: &str) -> Value {
    json!({ "issuer": origin, "authorization_endpoint": format!("{origin}/authorize?t=1"),
            "token_endpoint": format!("{origin}/token"), "registration_endpoint": format!("{origin}/register"),
            "code_challenge_methods_supported": ["S256"], "scopes_supported": ["a", "offline_access"],
            "token_endpoint_auth_methods_supported": ["client_secret_basic"] })
}

const ASK: Ask<'static> = Ask { redirect_uri: "https://desk/back", state: "s-1", scope: None, kept: None, tried: None };

fn brought() -> Brought {
    Brought { code: "code-1".into(), iss: None }
}

fn query(text: &str) -> HashMap<String, String> {
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| {
            let plain = percent_encoding::percent_decode_str(value).decode_utf8().expect("text");
            (name.to_owned(), plain.into_owned())
        })
        .collect()
}

#[tokio::test]
async fn a_person_is_sent_with_a_proof_and_what_they_bring_opens_the_server() {
    let server = server(|_, _| None).await;
    let (provider, source) = (provider(json!({})), source(&server.url));
    let closed = provider.inspect(&cx(), &source).await.expect_err("closed");
    assert!(Unauthorized::of(&closed).is_some(), "{closed}");
    assert!(provider.alone(&cx(), &source, None).await.expect("asked").is_none(), "a person is needed");

    let begun = provider.begin(&cx(), &source, None, ASK).await.expect("begun");
    let (at, asked) = begun.url.split_once("?t=1&").expect("its own query stays");
    assert!(at.ends_with("/authorize"));
    let asked = query(asked);
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "c-1"),
        ("redirect_uri", "https://desk/back"),
        ("state", "s-1"),
        ("code_challenge_method", "S256"),
        ("resource", &server.url),
        ("scope", "a offline_access"),
    ] {
        assert_eq!(asked[name], value, "{name}");
    }
    let signed = provider.finish(&cx(), &source, None, &begun.kept, &brought()).await.expect("signed in");
    assert_eq!(signed.expires_in, Some(Duration::from_secs(60)));
    let sent = server.until(|asked| asked.path == "/token").await;
    // `c-1:client-secret-1`
    assert_eq!(sent.headers["authorization"], "Basic Yy0xOmNsaWVudC1zZWNyZXQtMQ==");
    let form = query(&sent.text);
    assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "code-1"));
    assert_eq!((&form["resource"], form["redirect_uri"].as_str()), (&server.url, "https://desk/back"));
    let hashed = <sha2::Sha256 as sha2::Digest>::digest(form["code_verifier"].as_bytes());
    let proof = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, hashed);
    assert_eq!(asked["code_challenge"], proof);

    let mut source = ToolSource { signed: Some(signed.kept.clone()), ..source };
    let found = provider.inspect(&cx(), &source).await.expect("open");
    source = pinned(source, &found);
    assert_eq!(call(&provider, &cx(), &source, "echo").await.expect("a result").content, "Bearer [secret]");
    // At another server it is nobody's.
    let elsewhere = self::server(|_, _| None).await;
    let moved = ToolSource { args: json!({ "mcp_endpoint": { "uri": elsewhere.url } }), ..source.clone() };
    assert!(Unauthorized::of(&provider.inspect(&cx(), &moved).await.expect_err("closed")).is_some());
    assert!(elsewhere.asked().iter().all(|asked| !asked.headers.contains_key("authorization")));
    assert!(provider.fits(&source, &signed.kept) && !provider.fits(&moved, &signed.kept));
    let refused = provider.renew(&cx(), &moved, None, &signed.kept).await.expect_err("another server");
    assert_eq!(refused.kind, Kind::Conflict);
    assert!(elsewhere.asked().iter().all(|asked| asked.path == "/mcp"), "it is told nothing");

    // A session goes on with the next token.
    let greeted = server.asked().iter().filter(|asked| asked.method() == "initialize").count();
    provider.renew(&cx(), &source, None, &signed.kept).await.expect("renewed");
    let form = query(&server.asked().last().expect("a request").text);
    assert_eq!((form["grant_type"].as_str(), form["refresh_token"].as_str()), ("refresh_token", "ref-12345678"));
    let mut renewed = signed.kept.clone();
    renewed.0["access_token"] = json!("acc-87654321");
    source.signed = Some(renewed);
    call(&provider, &cx(), &source, "echo").await.expect("a result");
    let last = server.asked().pop().expect("a request");
    assert_eq!((last.headers["authorization"].as_str(), last.tool()), ("Bearer acc-87654321", Some("echo")));
    assert_eq!(server.asked().iter().filter(|asked| asked.method() == "initialize").count(), greeted);
}

#[tokio::test]
async fn what_a_server_says_of_others_is_not_believed() {
    type Change = fn(&Asked, &str) -> Option<Reply>;
    let cases: [(Change, &str); 9] = [
        (
            |asked, _| (asked.path == "/meta").then(|| Reply::Json(200, json!({ "resource": "https://bank.example" }))),
            "another resource",
        ),
        (|asked, _| (asked.path == "/meta").then(|| Reply::Plain(404, "text/plain", String::new())), "no metadata"),
        (
            |asked, origin| (asked.path == "/meta").then(|| Reply::Json(200, json!({ "resource": origin }))),
            "names nobody to sign in at",
        ),
        (
            |asked, origin| {
                let found = json!({ "resource": origin, "authorization_servers": ["http://10.0.0.1/"] });
                (asked.path == "/meta").then_some(Reply::Json(200, found))
            },
            "must begin with https://",
        ),
        (
            |asked, origin| {
                let mut found = authority(origin);
                found["issuer"] = json!("https://bank.example");
                asked.path.ends_with("authorization-server").then_some(Reply::Json(200, found))
            },
            "another issuer",
        ),
        (
            |asked, origin| {
                let mut found = authority(origin);
                found["issuer"] = json!(format!("{origin}/someone"));
                asked.path.ends_with("authorization-server").then_some(Reply::Json(200, found))
            },
            "another issuer",
        ),
        (
            |asked, origin| {
                let mut found = authority(origin);
                found["code_challenge_methods_supported"] = json!(["plain"]);
                asked.path.ends_with("authorization-server").then_some(Reply::Json(200, found))
            },
            "PKCE",
        ),
        (
            |asked, origin| {
                let mut found = authority(origin);
                found["authorization_endpoint"] = json!("javascript:alert(1)");
                asked.path.ends_with("authorization-server").then_some(Reply::Json(200, found))
            },
            "authorization_endpoint",
        ),
        (
            |asked, _| {
                let no = json!({ "error": "invalid_redirect_uri", "error_description": "not that one" });
                (asked.path == "/register").then_some(Reply::Json(400, no))
            },
            "not that one",
        ),
    ];
    for (change, words) in cases {
        let server = server(change).await;
        let refused = provider(json!({})).begin(&cx(), &source(&server.url), None, ASK).await;
        let refused = refused.err().expect(words);
        assert!(refused.message.contains(words), "{words}: {}", refused.message);
    }
    // A server elsewhere cannot send us to one that the operator lists.
    let provider = provider(json!({ "inside": ["127.0.0.1"] }));
    let asker = crate::oauth::asker(&provider, false);
    assert!(asker.place("token_endpoint", "http://127.0.0.1:1/token").is_err());
    let over_tls = "https://127.0.0.1:1/token".parse().expect("a URL");
    let refused = asker.get(&cx(), &over_tls).await.expect_err("inside");
    assert!(refused.message.contains("not one of the public internet"), "{}", refused.message);
}

#[tokio::test]
async fn who_brings_a_person_back_is_who_they_were_sent_to() {
    let server = server(|asked, origin| {
        let mut found = authority(origin);
        found["authorization_response_iss_parameter_supported"] = json!(true);
        found["issuer"] = json!(format!("{origin}/"));
        asked.path.ends_with("authorization-server").then_some(Reply::Json(200, found))
    })
    .await;
    let (provider, source) = (provider(json!({})), source(&server.url));
    let begun = provider.begin(&cx(), &source, None, ASK).await.expect("begun");
    // As it calls itself, to the letter.
    let origin = server.url.trim_end_matches("mcp").to_owned();
    for (iss, good) in [(None, false), (Some("https://bank.example".to_owned()), false), (Some(origin), true)] {
        let brought = Brought { iss, ..brought() };
        let done = provider.finish(&cx(), &source, None, &begun.kept, &brought).await;
        assert_eq!(done.is_ok(), good, "{brought:?}");
    }
    assert_eq!(server.asked().iter().filter(|asked| asked.path == "/token").count(), 1);
}

#[tokio::test]
async fn a_client_of_the_operators_proves_itself_by_a_tenants_secret_and_needs_no_person() {
    let server = server(|asked, _| {
        let echo = json!({ "error": "invalid_client", "error_description": "you said secret-of-acme" });
        (asked.path == "/token" && asked.text.contains("scope=wrong")).then_some(Reply::Json(401, echo))
    })
    .await;
    let origin = server.url.trim_end_matches("/mcp");
    let oauth = |scope: Option<&str>| {
        let oauth =
            json!({ "grant": "client_credentials", "client_id": "acme", "client_secret": "acme", "scope": scope });
        let args = json!({ "mcp_endpoint": { "uri": server.url }, "oauth": oauth });
        ToolSource { args, ..source(&server.url) }
    };
    let secret = |host: &str| Secret { value: "secret-of-acme".into(), hosts: vec![host.parse().expect(host)] };
    let provider = provider(json!({}));
    assert_eq!(provider.secret_name(&oauth(None)).as_deref(), Some("acme"));
    let signed = provider.alone(&cx(), &oauth(None), Some(&secret(origin))).await.expect("asked").expect("signed in");
    let form = query(&server.until(|asked| asked.path == "/token").await.text);
    assert_eq!((form["grant_type"].as_str(), form["scope"].as_str()), ("client_credentials", "a"));
    assert!(!json!(signed.kept.0).to_string().contains("secret-of-acme"));
    provider.renew(&cx(), &oauth(None), Some(&secret(origin)), &signed.kept).await.expect("renewed");

    let elsewhere = provider.alone(&cx(), &oauth(None), Some(&secret("bank.example"))).await.expect_err("not its host");
    assert_eq!(elsewhere.param.as_deref(), Some("args.oauth.client_secret"));
    let refused = provider.alone(&cx(), &oauth(Some("wrong")), Some(&secret(origin))).await.expect_err("refused");
    assert!(refused.message.contains("you said [secret]"), "{}", refused.message);
    for (oauth, param) in [
        (json!({ "grant": "client_credentials" }), "args.oauth.client_id"),
        (json!({ "grant": "client_credentials", "client_id": "a" }), "args.oauth.client_secret"),
        (json!({ "client_secret": "a" }), "args.oauth.client_id"),
        (json!({ "grant": "password" }), "args.oauth.grant"),
        (json!({ "clientid": "a" }), "args.oauth.clientid"),
    ] {
        let source = ToolSource {
            args: json!({ "mcp_endpoint": { "uri": server.url }, "oauth": oauth }),
            ..source(&server.url)
        };
        let wrong = provider.inspect(&cx(), &source).await.expect_err(param);
        assert_eq!(wrong.param.as_deref(), Some(param), "{wrong}");
    }
}

/// A scope longer than what is shown of a server's words.
fn long() -> String {
    format!("a b {}", "x".repeat(600))
}

#[tokio::test]
async fn a_client_is_registered_once_for_a_redirect_and_what_was_given_is_asked_for_again() {
    let server = server(|_, _| None).await;
    let (provider, source) = (provider(json!({})), source(&server.url));
    let registered = || server.asked().iter().filter(|asked| asked.path == "/register").count();
    let first = provider.begin(&cx(), &source, None, ASK).await.expect("begun");
    let again = Ask { tried: Some(&first.kept), ..ASK };
    let begun = provider.begin(&cx(), &source, None, again).await.expect("begun");
    assert_eq!(registered(), 1, "who is on their way has one");
    let mut signed = provider.finish(&cx(), &source, None, &begun.kept, &brought()).await.expect("signed in").kept;
    signed.0["scope"] = json!("a given");

    let more = Ask { kept: Some(&signed), scope: Some("b"), ..ASK };
    let begun = provider.begin(&cx(), &source, None, more).await.expect("begun");
    let asked = query(begun.url.split_once('?').expect("a query").1);
    assert_eq!((asked["scope"].as_str(), asked["client_id"].as_str()), ("a given b offline_access", "c-1"));
    assert_eq!(registered(), 1, "who is let in has one");
    provider.finish(&cx(), &source, None, &begun.kept, &brought()).await.expect("with its secret");

    let elsewhere = Ask { redirect_uri: "https://other/back", ..more };
    provider.begin(&cx(), &source, None, elsewhere).await.expect("begun");
    assert_eq!(registered(), 2, "it is for one redirect");
    signed.0["issuer"] = json!("https://other.example");
    provider.begin(&cx(), &source, None, Ask { kept: Some(&signed), ..ASK }).await.expect("begun");
    assert_eq!(registered(), 3, "and one server");
}

#[tokio::test]
async fn a_tool_that_wants_more_says_what() {
    let server = server(|asked, _| {
        let says = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", long());
        asked.tool().map(|_| Reply::Challenged(403, says))
    })
    .await;
    let (provider, source) = (provider(json!({})), source(&server.url));
    let begun = provider.begin(&cx(), &source, None, Ask { scope: Some("a b"), ..ASK }).await.expect("begun");
    assert_eq!(query(begun.url.split_once('?').expect("a query").1)["scope"], "a b offline_access");
    let signed = provider.finish(&cx(), &source, None, &begun.kept, &brought()).await.expect("signed in");
    let source = ToolSource { signed: Some(signed.kept), ..source };
    let found = provider.inspect(&cx(), &source).await.expect("open");
    let error = call(&provider, &cx(), &pinned(source, &found), "echo").await.expect_err("more");
    assert_eq!(Unauthorized::of(&error).and_then(|wants| wants.scope.clone()), Some(long()));
    assert!(error.message.contains("'a b xxx") && error.message.len() < 700, "{}", error.message);
}

#[tokio::test]
async fn only_a_grant_that_is_over_is_let_go_and_no_secret_comes_back() {
    let now: Arc<Mutex<Option<Reply>>> = Arc::default();
    let says = Arc::clone(&now);
    let server = server(move |asked, _| says.lock().expect("a reply").clone().filter(|_| asked.path == "/token")).await;
    let (provider, source) = (provider(json!({})), source(&server.url));
    let begun = provider.begin(&cx(), &source, None, ASK).await.expect("begun");
    let signed = provider.finish(&cx(), &source, None, &begun.kept, &brought()).await.expect("signed in");
    // What the client proved itself by, where a server's words are cut.
    let echo = format!("{} Yy0xOmNsaWVudC1zZWNyZXQtMQ== ref-12345678", "x".repeat(480));
    let no = |status, code: &str| Reply::Json(status, json!({ "error": code, "error_description": echo }));
    for (reply, over) in [
        (no(400, "invalid_grant"), true),
        (no(401, "invalid_client"), false),
        (no(400, "temporarily_unavailable"), false),
        (no(400, "slow_down"), false),
        (no(500, "invalid_grant"), false),
        (Reply::Json(200, json!({ "access_token": "acc-1", "token_type": "DPoP" })), false),
        // It leads on, and nobody follows with a secret in hand.
        (Reply::Plain(307, "text/plain", String::new()), false),
    ] {
        *now.lock().expect("a reply") = Some(reply.clone());
        let refused = provider.renew(&cx(), &source, None, &signed.kept).await.expect_err("no token");
        assert_eq!(Unauthorized::of(&refused).is_some(), over, "{reply:?}: {refused}");
        assert!(!refused.message.contains("Yy0x"), "{refused}");
    }
    assert!(server.asked().iter().all(|asked| asked.path != "/elsewhere"));
    let mut without = signed.kept.clone();
    without.0.remove("refresh_token");
    let refused = provider.renew(&cx(), &source, None, &without).await.expect_err("nothing to renew by");
    assert_eq!(refused.code.as_deref(), Some(NO_RENEWAL));
}

#[tokio::test]
async fn a_group_is_let_in_by_its_registration_unless_a_caller_brings_their_own() {
    let provider = provider(json!({ "stdio": [{ "name": "files", "command": "/bin/cat" }] }));
    let at = "https://mcp.example/mcp";
    let client = json!({ "grant": "client_credentials", "client_id": "a", "client_secret": "a" });
    let with = |more: Value| {
        let mut args = json!({ "mcp_endpoint": { "uri": at } });
        args.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        ToolSource { args, ..source(at) }
    };
    let sealed = SecretArgs(json!({ "authorization": "tok-12345678" }).as_object().expect("an object").clone());
    let headers = json!({ at: { "Authorization": "Bearer mine" } }).to_string();
    let own = Cx { client_keys: ClientKeys::new([("mcp_headers".to_owned(), headers)]), ..cx() };
    for (cx, source, way) in [
        (cx(), with(json!({})), Way::Person),
        (cx(), with(json!({ "oauth": client })), Way::Alone),
        (cx(), ToolSource { secrets: sealed, ..source(at) }, Way::Otherwise),
        (cx(), source("stdio:files"), Way::Otherwise),
        (own, with(json!({ "oauth": client })), Way::Otherwise),
    ] {
        assert_eq!(provider.way(&cx, &source).expect("a way"), way, "{source:?}");
    }
}
