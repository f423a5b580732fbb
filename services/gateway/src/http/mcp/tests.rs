//! `/mcp` as a client sees it, over an upstream that answers every chat the same way.

use axum::{body::Body, http::Request};
use frontdesk_api::{
    ChatEvent, Frame,
    chat::{FinishReason, Usage},
};
use serde_json::{Value, json};

use crate::testing::{Answer, Frames, TestGateway, frame};

fn upstream() -> Frames {
    let frames = || {
        let start = ChatEvent::Start { id: "c".into(), model: "echo".into(), created: 0 };
        let said = ChatEvent::Text { choice: 0, text: "14 days".into() };
        let stop = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        let events = vec![start, said, stop, ChatEvent::Usage(Usage::default())];
        vec![Ok(Frame { events, ..frame("") })]
    };
    Frames { streaming: true, frames }
}

/// A gateway with the agent `desk`.
async fn gateway() -> TestGateway {
    let gateway = TestGateway::start(upstream()).await;
    let config = json!({ "agent_config": { "name": "help desk", "model": "up/echo", "instructions": "" } });
    let made = gateway.post("/v1/agents", &config).await;
    assert_eq!(made.status, 200, "{}", made.text());
    gateway
}

async fn ask(gateway: &TestGateway, method: &str, params: Value) -> Value {
    let answer = gateway.post("/mcp", &json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params })).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn with(gateway: &TestGateway, headers: &[(&str, &str)], body: Value) -> Answer {
    let mut request = gateway.request("POST", "/mcp").header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    gateway.send(request.body(Body::from(body.to_string())).expect("a request")).await
}

#[tokio::test]
async fn a_client_is_greeted_in_a_revision_that_both_speak() {
    let gateway = gateway().await;
    for (asked, spoken) in [("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2031-01-01", "2025-11-25")] {
        let hello =
            json!({ "protocolVersion": asked, "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": "a", "method": "initialize", "params": hello });
        let answer = gateway.post("/mcp", &body).await;
        assert!(answer.headers.contains_key("mcp-session-id"));
        let said = answer.json();
        assert_eq!((&said["id"], &said["result"]["protocolVersion"]), (&json!("a"), &json!(spoken)));
        assert_eq!(said["result"]["serverInfo"]["name"], "frontdesk");
    }
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(gateway.post("/mcp", &ready).await.status, 202);
    assert_eq!(ask(&gateway, "ping", json!({})).await["result"], json!({}));
    let end = gateway.request("DELETE", "/mcp").body(Body::empty()).expect("a request");
    assert_eq!(gateway.send(end).await.status, 204);
    let listen = gateway.get("/mcp").await;
    assert_eq!(listen.status, 405);
}

#[tokio::test]
async fn an_agent_is_a_tool_and_a_call_is_a_turn_of_a_conversation() {
    let gateway = gateway().await;
    let listed = ask(&gateway, "tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().expect("a list");
    assert_eq!((tools.len(), &tools[0]["name"], &tools[0]["title"]), (1, &json!("ask_help_desk"), &json!("help desk")));

    let said =
        ask(&gateway, "tools/call", json!({ "name": "ask_help_desk", "arguments": { "message": "returns?" } })).await;
    let result = &said["result"];
    assert_eq!((&result["isError"], &result["content"][0]["text"]), (&json!(false), &json!("14 days")), "{said}");
    let structured = &result["structuredContent"];
    assert_eq!((&structured["answer"], &structured["status"]), (&json!("14 days"), &json!("completed")));
    let conversation = structured["conversation"].as_str().expect("an id");
    let again = json!({ "name": "ask_help_desk", "arguments": { "message": "and?", "conversation": conversation } });
    let again = ask(&gateway, "tools/call", again).await;
    assert_eq!(again["result"]["structuredContent"]["conversation"], conversation);

    for (arguments, words) in [
        (json!({}), "'message'"),
        (json!({ "message": " " }), "'message'"),
        (json!({ "message": "hi", "session": "x" }), "'session' is not known"),
        (json!({ "message": "hi", "conversation": "sess_none" }), "sess_none"),
    ] {
        let said = ask(&gateway, "tools/call", json!({ "name": "ask_help_desk", "arguments": arguments })).await;
        assert_eq!(said["result"]["isError"], true, "{said}");
        assert!(said["result"]["content"][0]["text"].as_str().expect("words").contains(words), "{said}");
    }
}

#[tokio::test]
async fn progress_comes_before_the_answer_where_it_is_asked_for() {
    let gateway = gateway().await;
    let params =
        json!({ "name": "ask_help_desk", "arguments": { "message": "hi" }, "_meta": { "progressToken": "p" } });
    let body = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": params });
    let answer = gateway.post("/mcp", &body).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let messages: Vec<Value> = answer
        .text()
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let (last, before) = messages.split_last().expect("messages");
    assert_eq!((&last["id"], &last["result"]["content"][0]["text"]), (&json!(5), &json!("14 days")));
    assert!(!before.is_empty());
    for (n, news) in (1..).zip(before) {
        assert_eq!(news["method"], "notifications/progress");
        assert_eq!((&news["params"]["progressToken"], &news["params"]["progress"]), (&json!("p"), &json!(n)));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_message_is_said_in_the_protocols_words() {
    let gateway = gateway().await;
    for (body, status, code) in [
        (json!([{ "jsonrpc": "2.0", "id": 1, "method": "ping" }]), 400, -32600),
        (json!({ "id": 1, "method": "ping" }), 400, -32600),
        (json!({ "jsonrpc": "2.0", "id": null, "method": "ping" }), 400, -32600),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": [] }), 400, -32600),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "resources/list" }), 200, -32601),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "nothing" } }), 200, -32602),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {} }), 200, -32602),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "cursor": "x" } }), 200, -32602),
    ] {
        let answer = gateway.post("/mcp", &body).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]["code"]), (status, &json!(code)), "{body}");
    }
    let garbled = gateway.post_text("/mcp", "{").await;
    assert_eq!((garbled.status.as_u16(), &garbled.json()["error"]["code"]), (400, &json!(-32700)));
    let old = with(
        &gateway,
        &[("mcp-protocol-version", "2024-11-05")],
        json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" }),
    )
    .await;
    assert_eq!((old.status.as_u16(), &old.json()["error"]["code"]), (400, &json!(-32022)));
    assert_eq!(old.json()["error"]["data"]["supported"], json!(["2026-07-28", "2025-11-25", "2025-06-18"]));
}

#[tokio::test]
async fn the_newest_revision_needs_no_greeting_and_its_headers_say_what_the_body_says() {
    let gateway = gateway().await;
    let body = |method: &str| {
        let meta = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                           "io.modelcontextprotocol/clientCapabilities": {} });
        json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "_meta": meta } })
    };
    for method in ["server/discover", "tools/list"] {
        let headers = [("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        let said = with(&gateway, &headers, body(method)).await.json();
        assert_eq!(
            (&said["result"]["resultType"], &said["result"]["cacheScope"]),
            (&json!("complete"), &json!("private"))
        );
    }
    for headers in [
        &[("mcp-protocol-version", "2026-07-28"), ("mcp-method", "ping")][..],
        &[("mcp-protocol-version", "2026-07-28")],
        &[("mcp-method", "tools/list")],
    ] {
        let said = with(&gateway, headers, body("tools/list")).await;
        assert_eq!((said.status.as_u16(), &said.json()["error"]["code"]), (400, &json!(-32020)), "{headers:?}");
    }
}

#[tokio::test]
async fn a_key_is_needed_and_a_client_learns_where_it_goes() {
    let gateway = gateway().await;
    let request = Request::builder()
        .method("POST")
        .uri("/mcp")
        .header("host", "desk.example")
        .header("x-forwarded-proto", "https");
    let refused = gateway.send(request.body(Body::from("{}")).expect("a request")).await;
    assert_eq!(refused.status, 401);
    let place = "https://desk.example/.well-known/oauth-protected-resource/mcp";
    assert_eq!(refused.headers["www-authenticate"], format!("Bearer resource_metadata=\"{place}\""));
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"] {
        let request =
            Request::builder().uri(path).header("host", "desk.example").body(Body::empty()).expect("a request");
        let said = gateway.send(request).await.json();
        assert_eq!(said["resource"], "http://desk.example/mcp");
        assert_eq!(said["bearer_methods_supported"], json!(["header"]));
    }
}

#[tokio::test]
async fn where_it_is_asked_is_what_the_operator_says() {
    let gateway = TestGateway::configured("public_url: https://desk.example/frontdesk", upstream()).await;
    let request = Request::builder().method("POST").uri("/mcp").header("host", "10.0.0.7:8321");
    let refused = gateway.send(request.body(Body::from("{}")).expect("a request")).await;
    let place = "https://desk.example/frontdesk/.well-known/oauth-protected-resource/mcp";
    assert_eq!(refused.headers["www-authenticate"], format!("Bearer resource_metadata=\"{place}\""));
    let request = Request::builder().uri("/.well-known/oauth-protected-resource/mcp").header("host", "evil.example");
    let said = gateway.send(request.body(Body::empty()).expect("a request")).await.json();
    assert_eq!(said["resource"], "https://desk.example/frontdesk/mcp");
}

#[tokio::test]
async fn pages_of_strangers_may_not_ask() {
    let gateway = TestGateway::configured("mcp: { origins: [ 'https://tools.example' ] }", upstream()).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    for (origin, status) in [
        ("https://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("null", 403),
        ("https://tools.example", 200),
        ("http://localhost:6274", 200),
        ("http://127.0.0.1", 200),
    ] {
        assert_eq!(with(&gateway, &[("origin", origin)], ping.clone()).await.status, status, "{origin}");
    }
}

/// A server of MCP with one tool `look`, as a line of a shell.
const SERVER: &str = r#"while read -r line; do
  id=$(printf %s "$line" | sed 's/.*"id":\([0-9]*\).*/\1/')
  case "$line" in
    *notifications/*) continue ;;
    *'"initialize"'*) result='{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"s","version":"1"}}' ;;
    *'"tools/list"'*) result='{"tools":[{"name":"look","inputSchema":{"type":"object"}}]}' ;;
    *) result='{"content":[{"type":"text","text":"seen"}]}' ;;
  esac
  printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done"#;

#[tokio::test]
async fn tools_are_offered_only_of_the_groups_that_the_operator_names() {
    for (named, offered) in [(json!([]), vec![]), (json!(["shop", "elsewhere"]), vec!["look"])] {
        let command = json!({ "name": "server", "command": "/bin/sh", "args": ["-c", SERVER] });
        let provider = json!({ "id": "servers", "type": "mcp", "config": { "stdio": [command] } });
        let config = json!({ "mcp": { "tools": named }, "providers": { "tools": [provider] } }).to_string();
        let gateway = TestGateway::configured(&config, upstream()).await;
        for group in ["shop", "back_office"] {
            let body =
                json!({ "toolgroup_id": group, "provider_id": "servers", "mcp_endpoint": { "uri": "stdio:server" } });
            let made = gateway.post("/v1/toolgroups", &body).await;
            assert_eq!(made.status, 200, "{}", made.text());
        }
        let listed = ask(&gateway, "tools/list", json!({})).await;
        let names: Vec<&Value> =
            listed["result"]["tools"].as_array().expect("a list").iter().map(|tool| &tool["name"]).collect();
        assert_eq!(names, offered);
        let said = ask(&gateway, "tools/call", json!({ "name": "look", "arguments": {} })).await;
        match offered.is_empty() {
            true => assert_eq!(said["error"]["code"], -32602, "{said}"),
            false => assert_eq!(said["result"]["content"][0]["text"], "seen", "{said}"),
        }
    }
}
