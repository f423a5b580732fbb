//! What the server of a tool asks a person in the middle of a call, over HTTP: shown, answered, gone on with after a kill.

use std::sync::{Arc, Mutex};

use axum::{Json, Router, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_tests::{Frontdesk, Options, Scripted, frontdesk::answer};
use serde_json::{Value, json};

use crate::shop;

/// Calls of tools as they came.
type Calls = Arc<Mutex<Vec<Value>>>;

/// An MCP server of revision 2026-07-28 whose tool `book` asks for how many people, and then books.
pub struct Booking {
    pub url: String,
    calls: Calls,
}

async fn book(State(calls): State<Calls>, Json(asked): Json<Value>) -> Json<Value> {
    let params = &asked["params"];
    let result = match asked["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({ "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} } }),
        "tools/list" => json!({ "tools": [{ "name": "book", "inputSchema": { "type": "object" } }] }),
        "tools/call" => {
            calls.lock().expect("the calls").push(params.clone());
            let form = json!({ "type": "object", "required": ["people"], "properties": {
                "people": { "type": "integer", "minimum": 1, "title": "People" },
                "inside": { "type": "boolean", "default": true } } });
            let question = json!({ "mode": "form", "message": "For how many?", "requestedSchema": form });
            match &params["inputResponses"]["people"] {
                Value::Null => json!({ "resultType": "input_required", "requestState": "opaque",
                                       "inputRequests": { "people": { "method": "elicitation/create", "params": question } } }),
                said => {
                    json!({ "content": [{ "type": "text", "text": format!("heard {said} with {}", params["requestState"]) }] })
                }
            }
        }
        _ => {
            let error = json!({ "code": -32601, "message": "no such method" });
            return Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "error": error }));
        }
    };
    Json(json!({ "jsonrpc": "2.0", "id": asked["id"], "result": result }))
}

impl Booking {
    pub fn start() -> Self {
        let calls = Calls::default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let url = format!("http://{}/mcp", listener.local_addr().expect("address"));
        let routes = Router::new().fallback(book).with_state(Arc::clone(&calls));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, routes).await.expect("serves");
            });
        });
        Self { url, calls }
    }

    fn calls(&self) -> Vec<Value> {
        self.calls.lock().expect("the calls").clone()
    }
}

/// With servers inside, beside the sandbox.
pub fn options(scripted: &Scripted) -> Options {
    shop::options(scripted).config(
        "  tools:\n    - { id: wasm, type: wasm }\n    - { id: model-context-protocol, type: mcp, config: { inside: [\"127.0.0.1\"] } }\n",
    )
}

/// A conversation in which the booking's tool will be called: where its turns are made.
async fn table(frontdesk: &Frontdesk, scripted: &Scripted, booking: &Booking) -> String {
    let group = json!({ "toolgroup_id": "booking", "provider_id": "model-context-protocol",
                        "mcp_endpoint": { "uri": booking.url } });
    let (status, said) = frontdesk.post("/v1/toolgroups", &group).await;
    assert!(status < 300, "{status} {said}");
    let agent = shop::agent(frontdesk, json!({ "name": "tables", "toolgroups": ["booking"] })).await;
    let path = shop::session(frontdesk, &agent).await;
    scripted.script(json!([
        {"reply": {"tool_call": {"name": "book", "arguments": {"day": "Monday"}}}},
        {"reply": {"text": "The tool said {tool_content}"}}
    ]));
    path
}

/// A turn in which the booking's tool asks: the turn's path, and the question's id.
pub async fn waiting(frontdesk: &Frontdesk, scripted: &Scripted, booking: &Booking) -> (String, String) {
    let path = table(frontdesk, scripted, booking).await;
    let turn = shop::ask(frontdesk, &path, "a table, please").await;
    assert_eq!(turn["frontdesk"]["state"], "awaiting_input", "{turn}");
    assert_eq!(turn["output_message"]["tool_calls"], json!([]), "a client has nothing to run");
    let asked = &turn["frontdesk"]["questions"][0];
    assert_eq!(
        (&asked["message"], &asked["mode"], &asked["tool"]),
        (&json!("For how many?"), &json!("form"), &json!("book"))
    );
    assert_eq!(asked["toolgroup"], "booking");
    let id = |value: &Value| value.as_str().expect("an id").to_owned();
    (format!("{path}/{}", id(&turn["turn_id"])), id(&asked["question_id"]))
}

#[tokio::test]
async fn a_question_outlives_its_process_is_answered_and_its_call_goes_on() {
    let (scripted, booking) = (Scripted::start(), Booking::start());
    let mut frontdesk = Frontdesk::start(options(&scripted));
    let (turn, id) = waiting(&frontdesk, &scripted, &booking).await;
    // Killed, and another process is answered.
    frontdesk.restart();
    let (status, list) = frontdesk.get("/v1/questions").await;
    assert_eq!((status, list["data"].as_array().map(Vec::len)), (200, Some(1)), "{list}");
    let open = &list["data"][0];
    assert_eq!((&open["id"], &open["state"], &open["answer"]), (&json!(id), &json!("open"), &Value::Null));
    assert_eq!(open["requested_schema"]["properties"]["people"]["title"], "People");
    assert!(open["expires_at"].as_i64() > open["created_at"].as_i64(), "{open}");
    let (_, none) = frontdesk.get("/v1/questions?turn_id=turn_other").await;
    assert_eq!(none["data"], json!([]));

    let one = format!("/v1/questions/{id}");
    for (body, param) in [
        (json!({ "action": "accept" }), "content.people"),
        (json!({ "action": "accept", "content": { "people": 0 } }), "content.people"),
        (json!({ "action": "decline", "content": { "people": 1 } }), "content"),
    ] {
        let (status, said) = frontdesk.post(&one, &body).await;
        assert_eq!((status, &said["error"]["param"]), (400, &json!(param)), "{said}");
    }
    let (status, said) = frontdesk.post(&one, &json!({ "action": "perhaps" })).await;
    assert_eq!(status, 400, "{said}");
    let yes = json!({ "action": "accept", "content": { "people": 4 } });
    let (status, said) = frontdesk.post(&one, &yes).await;
    assert_eq!((status, &said["state"]), (200, &json!("answered")), "{said}");
    assert_eq!(said["answer"]["content"], json!({ "people": 4, "inside": true }));
    let ended = async {
        loop {
            let (_, turn) = frontdesk.get(&turn).await;
            if turn["frontdesk"]["state"] != "running" {
                return turn;
            }
            tokio::task::yield_now().await;
        }
    };
    let turn = tokio::time::timeout(std::time::Duration::from_secs(120), ended).await.expect("the turn ends");
    assert_eq!(turn["frontdesk"]["state"], "completed", "{turn}");
    assert_eq!(shop::steps(&turn, "tool_execution").len(), 1, "{turn}");
    let said_by_tool = shop::answer(&turn);
    assert!(said_by_tool.contains("accept") && said_by_tool.contains("opaque"), "{turn}");
    let calls = booking.calls();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert_eq!(
        calls[1]["inputResponses"],
        json!({ "people": { "action": "accept", "content": { "people": 4, "inside": true } } })
    );
    assert_eq!((&calls[1]["requestState"], &calls[1]["arguments"]), (&json!("opaque"), &calls[0]["arguments"]));

    assert_eq!(frontdesk.post(&one, &yes).await, (200, said), "the same answer gets the same response");
    let (status, other) = frontdesk.post(&one, &json!({ "action": "cancel" })).await;
    assert_eq!((status, &other["error"]["code"]), (409, &json!("question_answered")), "{other}");
    let (status, gone) = frontdesk.post("/v1/questions/q_none", &yes).await;
    assert_eq!((status, &gone["error"]["code"]), (404, &json!("question_not_found")), "{gone}");
}

#[tokio::test]
async fn a_key_that_talks_for_customers_answers_what_its_customers_are_asked() {
    let (scripted, booking) = (Scripted::start(), Booking::start());
    let frontdesk = Frontdesk::start(options(&scripted));
    let (_, id) = waiting(&frontdesk, &scripted, &booking).await;
    let (_, made) = frontdesk.post("/v1/keys", &json!({ "name": "widget", "scopes": ["use"] })).await;
    let key = made["key"].as_str().expect("a key");
    let one = format!("/v1/questions/{id}");
    let request = frontdesk.open("POST", &one).bearer_auth(key).json(&json!({ "action": "decline" }));
    let (status, said) = answer(&one, request).await;
    assert_eq!((status, &said["answer"]["action"]), (200, &json!("decline")), "{said}");
    let (status, said) = answer(&one, frontdesk.open("GET", &one)).await;
    assert_eq!(status, 401, "{said}");
}

/// A token of the shop's own sign-in that names the customer.
fn token(secret: &str, kid: &str, sub: &str) -> String {
    let written = |part: Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let header = written(json!({ "alg": "HS256", "typ": "JWT", "kid": kid }));
    // Good until the year 2100.
    let said = format!("{header}.{}", written(json!({ "sub": sub, "aud": "shop", "exp": 4_102_444_800_u64 })));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, said.as_bytes());
    format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[tokio::test]
async fn a_customer_answers_what_is_asked_of_them_and_sees_nothing_of_anothers() {
    let (scripted, booking) = (Scripted::start(), Booking::start());
    let frontdesk = Frontdesk::start(options(&scripted));
    let secret = "the secret of the shop's own sign-in";
    let made = json!({ "algorithm": "HS256", "audience": "shop", "kid": "shop", "secret": secret });
    let (status, said) = frontdesk.post("/v1/customer-keys", &made).await;
    assert!(status < 300, "{status} {said}");
    let (_, made) = frontdesk.post("/v1/keys", &json!({ "name": "widget", "scopes": ["use"] })).await;
    let key = made["key"].as_str().expect("a key").to_owned();
    let by = |verb: &str, path: &str, sub: &str| {
        let request = frontdesk.open(verb, path).bearer_auth(&key);
        request.header("x-frontdesk-customer-token", token(secret, "shop", sub))
    };
    let path = table(&frontdesk, &scripted, &booking).await;
    let (status, turn) = answer(&path, by("POST", &path, "ada").json(&shop::say("a table", false))).await;
    assert_eq!((status, &turn["frontdesk"]["state"]), (200, &json!("awaiting_input")), "{turn}");
    let id = turn["frontdesk"]["questions"][0]["question_id"].as_str().expect("an id");
    let one = format!("/v1/questions/{id}");
    let no = json!({ "action": "decline" });
    for request in [by("GET", &one, "eve"), by("POST", &one, "eve").json(&no)] {
        let (status, said) = answer(&one, request).await;
        assert_eq!((status, &said["error"]["code"]), (404, &json!("question_not_found")), "{said}");
    }
    // The tenant's own people see it, and do not speak in her place.
    assert_eq!(frontdesk.get(&one).await.0, 200);
    let (status, said) = frontdesk.post(&one, &no).await;
    assert_eq!((status, &said["error"]["code"]), (403, &json!("customer_token_required")), "{said}");
    let (status, said) = answer(&one, by("POST", &one, "ada").json(&no)).await;
    assert_eq!((status, &said["state"]), (200, &json!("answered")), "{said}");
}

#[tokio::test]
async fn an_agent_that_is_asked_as_a_tool_tells_what_its_tool_asks() {
    let (scripted, booking) = (Scripted::start(), Booking::start());
    let frontdesk = Frontdesk::start(options(&scripted));
    table(&frontdesk, &scripted, &booking).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
                       "params": { "name": "ask_tables", "arguments": { "message": "a table" } } });
    let (status, said) = frontdesk.post("/mcp", &call).await;
    let result = &said["result"];
    assert_eq!((status, &result["structuredContent"]["status"]), (200, &json!("awaiting_input")), "{said}");
    let asked = &result["structuredContent"]["questions"][0];
    assert_eq!((&asked["message"], &asked["tool"]), (&json!("For how many?"), &json!("book")));
    let id = asked["question_id"].as_str().expect("an id");
    let texts = result["content"].to_string();
    assert!(texts.contains("For how many?") && texts.contains(&format!("/v1/questions/{id}")), "{texts}");
}
