//! A shop moved in over HTTP, as an operator does it: a sandboxed tool, an agent, conversations.

use frontdesk_tests::{Frontdesk, Options, Scripted};
use futures::StreamExt;
use serde_json::{Value, json};

/// The sample shop's tools, as built.
pub const SHOP_TOOLS: &[u8] = include_bytes!("../../services/gateway/demo/tools/shop-tools.wasm");

/// A Frontdesk at a scripted upstream, with the tool kind and the shield every first run has.
pub fn options(scripted: &Scripted) -> Options {
    Options::upstream(scripted)
}

/// Uploads the component and registers it as `group`.
pub async fn register_tools(frontdesk: &Frontdesk, group: &str) {
    let file = upload(frontdesk, "shop-tools.wasm", SHOP_TOOLS).await;
    let registration =
        json!({ "toolgroup_id": group, "provider_id": "wasm", "args": { "component": file, "grants": ["kv"] } });
    let (status, said) = frontdesk.post("/v1/toolgroups", &registration).await;
    assert!(status < 300, "{status} {said}");
}

/// Uploads a file and returns its id.
pub async fn upload(frontdesk: &Frontdesk, name: &str, bytes: &[u8]) -> String {
    upload_for(frontdesk, "assistants", name, bytes).await
}

/// Uploads a file of a purpose; returns its id.
pub async fn upload_for(frontdesk: &Frontdesk, purpose: &str, name: &str, bytes: &[u8]) -> String {
    upload_with(frontdesk, &[("purpose", purpose)], name, bytes).await
}

/// The content type of [`form`].
pub const FORM: &str = "multipart/form-data; boundary=xx";

/// A form with these fields and a file.
pub fn form(fields: &[(&str, &str)], name: &str, bytes: &[u8]) -> Vec<u8> {
    let field = |(name, value): &(&str, &str)| {
        format!("--xx\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let head = format!(
        "{}--xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\ncontent-type: \
         application/octet-stream\r\n\r\n",
        fields.iter().map(field).collect::<String>()
    );
    [head.as_bytes(), bytes, b"\r\n--xx--\r\n"].concat()
}

/// Uploads a file with these fields of the form; returns its id.
pub async fn upload_with(frontdesk: &Frontdesk, fields: &[(&str, &str)], name: &str, bytes: &[u8]) -> String {
    let body = form(fields, name, bytes);
    let request = frontdesk.request("POST", "/v1/files").header("content-type", FORM).body(body);
    let (status, file) = frontdesk_tests::frontdesk::answer("upload", request).await;
    assert_eq!(status, 200, "{file}");
    file["id"].as_str().expect("a file id").to_owned()
}

/// Creates an agent with `config` over the model `up/scripted`; returns its id.
pub async fn agent(frontdesk: &Frontdesk, config: Value) -> String {
    let mut all = json!({ "model": "up/scripted", "instructions": "Be brief." });
    all.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let (status, made) = frontdesk.post("/v1/agents", &json!({ "agent_config": all })).await;
    assert_eq!(status, 200, "{made}");
    made["agent_id"].as_str().expect("an agent id").to_owned()
}

/// Begins a conversation; returns the path of its turns.
pub async fn session(frontdesk: &Frontdesk, agent: &str) -> String {
    let path = format!("/v1/agents/{agent}/session");
    let (status, made) = frontdesk.post(&path, &json!({ "session_name": "test" })).await;
    assert_eq!(status, 200, "{made}");
    format!("{path}/{}/turn", made["session_id"].as_str().expect("a session id"))
}

/// What a turn is asked.
pub fn say(words: &str, stream: bool) -> Value {
    json!({ "messages": [{ "role": "user", "content": words }], "stream": stream })
}

/// One event of a stream: its id and its JSON.
#[derive(Debug)]
pub struct Seen {
    pub id: i64,
    pub data: Value,
}

impl Seen {
    pub fn payload(&self) -> &Value {
        &self.data["event"]["payload"]
    }
}

/// Asks and hands each event to `each` before the next one is read.
pub async fn stream(frontdesk: &Frontdesk, path: &str, words: &str, mut each: impl AsyncFnMut(&Seen)) -> Vec<Seen> {
    let response = frontdesk.request("POST", path).json(&say(words, true)).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let mut bytes = response.bytes_stream();
    let (mut text, mut seen) = (String::new(), vec![]);
    while let Some(piece) = bytes.next().await {
        let Ok(piece) = piece else { break };
        text.push_str(std::str::from_utf8(&piece).expect("text"));
        while let Some((block, rest)) = text.split_once("\n\n") {
            let line = |name: &str| block.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
            if let Some(data) = line("data:") {
                let event = Seen {
                    id: line("id:").expect("a durable stream numbers its events").parse().expect("a number"),
                    data: serde_json::from_str(data).expect("json"),
                };
                each(&event).await;
                seen.push(event);
            }
            text = rest.to_owned();
        }
    }
    seen
}

/// Asks without a stream; the finished turn.
pub async fn ask(frontdesk: &Frontdesk, path: &str, words: &str) -> Value {
    let (status, turn) = frontdesk.post(path, &say(words, false)).await;
    assert_eq!(status, 200, "{turn}");
    turn
}

pub fn answer(turn: &Value) -> &str {
    turn["output_message"]["content"].as_str().expect("an answer")
}

/// The steps of one kind.
pub fn steps<'a>(turn: &'a Value, kind: &str) -> Vec<&'a Value> {
    turn["steps"].as_array().expect("steps").iter().filter(|s| s["step_type"] == kind).collect()
}
