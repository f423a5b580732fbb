//! A document of a service on loopback becomes tools, an agent calls them, and the secret stays in the house.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::IntoResponse,
};
use frontdesk_tests::{Frontdesk, Options, Scripted};
use serde_json::{Value, json};

use crate::shop;

const SECRET: &str = "s3cr3t/with\"odd+characters";

/// What was asked: the path, and its headers.
type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A service that answers with what it was asked, headers and all, as debugging pages do.
struct Crm {
    url: String,
    asked: Asked,
}

impl Crm {
    fn start() -> Self {
        let asked: Asked = Arc::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}", listener.local_addr().expect("address"));
        let document = document().to_string();
        let answer = |State((asked, document)): State<(Asked, String)>,
                      method: Method,
                      uri: Uri,
                      headers: HeaderMap,
                      body: Bytes| async move {
            if uri.path() == "/openapi.json" {
                return ([(header::CONTENT_TYPE, "application/json")], document).into_response();
            }
            let said: Vec<String> =
                headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap_or_default())).collect();
            let echo =
                json!({ "asked": format!("{method} {uri}"), "headers": said, "body": String::from_utf8_lossy(&body) });
            asked.lock().expect("the requests").push((format!("{method} {uri}"), headers));
            ([(header::CONTENT_TYPE, "application/json")], echo.to_string()).into_response()
        };
        let routes = Router::new().fallback(answer).with_state((Arc::clone(&asked), document));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, routes).await.expect("serves");
            });
        });
        Self { url, asked }
    }
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0", "info": { "title": "CRM", "version": "1" }, "servers": [{ "url": "/" }],
        "security": [{ "token": [] }],
        "paths": {
            "/contacts/{id}": {
                "parameters": [{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }],
                "get": { "operationId": "getContact", "summary": "One contact" },
                "delete": { "operationId": "deleteContact" }
            },
            "/contacts": { "post": { "operationId": "createContact",
                "parameters": [{ "name": "Idempotency-Key", "in": "header", "schema": { "type": "string" } }],
                "requestBody": { "required": true, "content": { "application/json": { "schema": {
                    "type": "object", "required": ["name"], "properties": { "name": { "type": "string" } } } } } } } }
        },
        "components": { "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } }
    })
}

fn opened(scripted: &Scripted) -> Options {
    shop::options(scripted).config("egress: { private_networks: [127.0.0.1] }\n")
}

async fn keep_secret(frontdesk: &Frontdesk, crm: &Crm) {
    let secret = json!({ "name": "crm_token", "value": SECRET, "hosts": [crm.url] });
    let (status, said) = frontdesk.post("/v1/secrets", &secret).await;
    assert_eq!(status, 201, "{said}");
}

fn registration(crm: &Crm) -> Value {
    let args = json!({ "url": format!("{}/openapi.json", crm.url), "secrets": { "token": "crm_token" } });
    json!({ "toolgroup_id": "crm", "provider_id": "openapi", "args": args })
}

#[tokio::test]
async fn an_agent_calls_a_documents_operation_and_never_sees_its_secret() {
    let (scripted, crm) = (Scripted::start(), Crm::start());
    let frontdesk = Frontdesk::start(opened(&scripted));
    // A secret that is not there yet is named.
    let (status, said) = frontdesk.post("/v1/toolgroups", &registration(&crm)).await;
    assert_eq!((status, said["error"]["param"].as_str()), (400, Some("args.secrets")), "{said}");
    keep_secret(&frontdesk, &crm).await;

    let (status, preview) = frontdesk.post("/v1/toolgroups?dry_run=true", &registration(&crm)).await;
    assert_eq!(status, 200, "{preview}");
    assert_eq!(preview["report"]["hosts"], json!([crm.url]));
    assert_eq!(preview["report"]["secrets"][0]["secret"], "crm_token");
    let classes: Vec<String> = preview["tools"]
        .as_array()
        .expect("tools")
        .iter()
        .map(|t| format!("{} {} {}", t["identifier"], t["metadata"]["effect"], t["metadata"]["risk"]))
        .collect();
    let expected = [
        r#""createContact" "idempotent" "low_impact_write""#,
        r#""getContact" "none" "read""#,
        r#""deleteContact" "idempotent" "approval_required""#,
    ];
    assert!(expected.iter().all(|line| classes.iter().any(|class| class == line)), "{classes:?}");
    assert_eq!(frontdesk.get("/v1/toolgroups/crm").await.0, 404, "a dry run registers nothing");

    let (status, group) = frontdesk.post("/v1/toolgroups", &registration(&crm)).await;
    assert_eq!(status, 200, "{group}");
    assert_eq!(group["args"]["hosts"], json!([crm.url]));

    let agent = shop::agent(&frontdesk, json!({ "toolgroups": ["crm"] })).await;
    let path = shop::session(&frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"tool_call": {"name": "createContact", "arguments": {"body": {"name": "Ada"}}}}},
        {"reply": {"tool_call": {"name": "getContact", "arguments": {"id": "a/b"}}}},
        {"reply": {"tool_call": {"name": "deleteContact", "arguments": {"id": "7"}}}},
        {"reply": {"text": "Done."}}
    ]));
    let turn = shop::ask(&frontdesk, &path, "Make a contact for Ada.").await;
    // Deleting waits for a person's word.
    assert_eq!(turn["frontdesk"]["state"], "awaiting_input", "{turn}");
    let asked = crm.asked.lock().expect("the requests").clone();
    let lines: Vec<&str> = asked.iter().map(|(line, _)| line.as_str()).collect();
    // What needs a person's approval was not sent.
    assert_eq!(lines, ["POST /contacts", "GET /contacts/a%2Fb"]);
    for (_, headers) in &asked {
        assert_eq!(headers["authorization"], format!("Bearer {SECRET}"));
    }
    assert!(asked[0].1.contains_key("idempotency-key") && asked[0].1["content-type"] == "application/json");

    let everything = format!("{turn} {:?}", scripted.requests());
    assert!(everything.contains("Bearer [secret crm_token]"), "{everything}");
    for left in [SECRET, "s3cr3t", "odd+characters"] {
        assert!(!everything.contains(left), "{left} in {everything}");
    }
    // Nor is it in any row, under whatever name.
    for table in ["item", "event", "toolgroup", "tool", "secret"] {
        let column = match table {
            "item" | "event" => "payload",
            "toolgroup" => "args",
            "tool" => "definition",
            _ => "hosts",
        };
        let rows = frontdesk.texts(&format!("SELECT CAST({column} AS TEXT) FROM {table}")).await;
        assert!(!rows.join(" ").contains("s3cr3t"), "{table}");
    }
}

#[tokio::test]
async fn a_service_inside_is_not_reached_unless_the_configuration_opens_it() {
    let (scripted, crm) = (Scripted::start(), Crm::start());
    let frontdesk = Frontdesk::start(shop::options(&scripted));
    keep_secret(&frontdesk, &crm).await;
    let (status, said) = frontdesk.post("/v1/toolgroups", &registration(&crm)).await;
    let error = &said["error"];
    assert_eq!((status, error["param"].as_str()), (403, Some("args.url")), "{said}");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("not one of the public internet")), "{said}");
    for base in [crm.url.replace("127.0.0.1", "localhost"), crm.url.clone(), "http://169.254.169.254".to_owned()] {
        let args = json!({ "document": document(), "base_url": base });
        let group = json!({ "toolgroup_id": "crm", "provider_id": "openapi", "args": args });
        let (status, said) = frontdesk.post("/v1/toolgroups", &group).await;
        assert_eq!(status, 200, "{said}");
        let call = json!({ "tool_name": "getContact", "kwargs": { "id": "7" } });
        let (status, said) = frontdesk.post("/v1/tool-runtime/invoke", &call).await;
        assert_eq!(status, 200, "{said}");
        let message = said["error_message"].as_str().unwrap_or_default();
        assert!(message.contains("not one of the public internet"), "{base}: {said}");
    }
    assert!(crm.asked.lock().expect("the requests").is_empty());
}
