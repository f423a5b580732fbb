//! A conversation with tools and thinking goes on through a wire that has no member for signed thoughts: what Claude
//! signed comes back to it byte for byte, by either way to its models.

use frontdesk_api::ChatEvent;
use frontdesk_wire::{
    Writes,
    anthropic::{outbound_answer, outbound_request, request},
    bedrock,
    openai::{self, encode::Head},
};
use serde_json::{Value, json};

// Oracle: the answer and the second request of Anthropic's page "Extended thinking", "Preserving thinking blocks" and
// "Interleaved thinking"; an empty text with a signature as its section on omitted thinking shows it.
fn anthropic_blocks() -> Vec<Value> {
    vec![
        json!({ "type": "thinking", "thinking": "Let me think\u{2026} \"hm\"", "signature": "EqQBCg+/IYCh==" }),
        json!({ "type": "redacted_thinking", "data": "EmwKAhgB/+4=" }),
        json!({ "type": "text", "text": "I look." }),
        json!({ "type": "tool_use", "id": "toolu_1", "name": "look", "input": { "n": 1 } }),
        json!({ "type": "thinking", "thinking": "", "signature": "EqQBsigned" }),
        json!({ "type": "tool_use", "id": "toolu_2", "name": "look", "input": { "n": 2 } }),
    ]
}

/// The same as Amazon Bedrock has them (API reference, `ContentBlock` and `ReasoningContentBlock`).
fn bedrock_blocks() -> Vec<Value> {
    vec![
        json!({ "reasoningContent": { "reasoningText": { "text": "Let me think\u{2026} \"hm\"", "signature": "EqQBCg+/IYCh==" } } }),
        json!({ "reasoningContent": { "redactedContent": "EmwKAhgB/+4=" } }),
        json!({ "text": "I look." }),
        json!({ "toolUse": { "toolUseId": "toolu_1", "name": "look", "input": { "n": 1 } } }),
        json!({ "reasoningContent": { "reasoningText": { "text": "", "signature": "EqQBsigned" } } }),
        json!({ "toolUse": { "toolUseId": "toolu_2", "name": "look", "input": { "n": 2 } } }),
    ]
}

fn from_anthropic(stream: bool) -> Vec<ChatEvent> {
    let mut answer = outbound_answer::Answer::default();
    if !stream {
        let body = json!({ "content": anthropic_blocks(), "stop_reason": "tool_use" }).to_string();
        return answer.whole(body.as_bytes(), true).expect("an answer").events;
    }
    let mut events = vec![];
    for (index, block) in anthropic_blocks().into_iter().enumerate() {
        let mut open = block.clone();
        let mut deltas = vec![];
        let text = |name: &str| block[name].as_str().unwrap_or_default();
        match text("type") {
            "thinking" => {
                (open["thinking"], open["signature"]) = (json!(""), json!(""));
                let (a, b) = text("thinking").split_at(text("thinking").len().min(3));
                deltas.extend([a, b].map(|piece| json!({ "type": "thinking_delta", "thinking": piece })));
                deltas.push(json!({ "type": "signature_delta", "signature": text("signature") }));
            }
            "text" => {
                open["text"] = json!("");
                deltas.push(json!({ "type": "text_delta", "text": text("text") }));
            }
            "tool_use" => {
                open["input"] = json!({});
                deltas.push(json!({ "type": "input_json_delta", "partial_json": block["input"].to_string() }));
            }
            _ => {}
        }
        events.push(json!({ "type": "content_block_start", "index": index, "content_block": open }));
        events.extend(
            deltas.into_iter().map(|delta| json!({ "type": "content_block_delta", "index": index, "delta": delta })),
        );
        events.push(json!({ "type": "content_block_stop", "index": index }));
    }
    let mut read = |event: Value| answer.event(event.to_string().as_bytes(), true).expect("an event").events;
    events.into_iter().flat_map(&mut read).collect()
}

fn from_bedrock(stream: bool) -> Vec<ChatEvent> {
    let mut answer = bedrock::answer::Answer::default();
    if !stream {
        let body = json!({ "output": { "message": { "content": bedrock_blocks() } }, "stopReason": "tool_use" });
        return answer.whole(body.to_string().as_bytes()).expect("an answer");
    }
    let mut events = vec![];
    for (index, block) in bedrock_blocks().into_iter().enumerate() {
        let mut delta =
            |new: Value| events.push(("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": new })));
        if let Some(said) = block.pointer("/reasoningContent/reasoningText") {
            delta(json!({ "reasoningContent": { "text": said["text"] } }));
            delta(json!({ "reasoningContent": { "signature": said["signature"] } }));
        } else if let Some(call) = block.get("toolUse") {
            let start = json!({ "toolUse": { "toolUseId": call["toolUseId"], "name": call["name"] } });
            events.push(("contentBlockStart", json!({ "contentBlockIndex": index, "start": start })));
            let input = json!({ "toolUse": { "input": call["input"].to_string() } });
            events.push(("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": input })));
        } else {
            delta(block);
        }
        events.push(("contentBlockStop", json!({ "contentBlockIndex": index })));
    }
    let mut read = |(kind, event): (&str, Value)| answer.event(kind, event.to_string().as_bytes()).expect("an event");
    events.into_iter().flat_map(&mut read).collect()
}

/// The second request of a client that keeps what OpenAI's API has and nothing else.
fn second_request(events: Vec<ChatEvent>) -> Vec<u8> {
    let head = Head { id: "x".into(), model: "m".into(), created: 1 };
    let whole = openai::encode::Chunks::new(head, false).whole(events);
    let mut message = serde_json::from_slice::<Value>(&whole).expect("JSON")["choices"][0]["message"].take();
    let known = ["role", "content", "tool_calls"];
    message.as_object_mut().expect("members").retain(|name, _| known.contains(&name.as_str()));
    let results = message["tool_calls"].as_array().expect("calls").clone();
    let results = results.iter().map(|call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "42" }));
    let mut messages = vec![json!({ "role": "user", "content": "hi" }), message.clone()];
    messages.extend(results);
    let tools = json!([{ "type": "function", "function": { "name": "look" } }]);
    json!({ "model": "m", "messages": messages, "tools": tools }).to_string().into_bytes()
}

#[test]
fn what_was_signed_comes_back_by_either_way_through_openais_wire() {
    for stream in [false, true] {
        for events in [from_anthropic(stream), from_bedrock(stream)] {
            let chat = openai::chat::decode(&second_request(events)).expect("a good request");
            let body = outbound_request::encode("m", false, &chat, 100).expect("translatable");
            let sent: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(sent["messages"][1]["content"], json!(anthropic_blocks()), "stream {stream}");
            let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "42" });
            assert_eq!(sent["messages"][2]["content"], json!([result("toolu_1"), result("toolu_2")]));

            let sent = Value::Object(bedrock::request::encode("m", &chat).expect("translatable"));
            assert_eq!(sent["messages"][1]["content"], json!(bedrock_blocks()), "stream {stream}");
            let result = |id: &str| json!({ "toolResult": { "toolUseId": id, "content": [{ "text": "42" }] } });
            assert_eq!(sent["messages"][2]["content"], json!([result("toolu_1"), result("toolu_2")]));

            // A model of another maker sees the ids that were given, and no thoughts.
            let sent: Value = serde_json::from_slice(&openai::chat::encode("m", false, &chat)).expect("JSON");
            assert_eq!(sent["messages"][1]["tool_calls"][0]["id"], "toolu_1");
            assert_eq!(sent["messages"][3]["tool_call_id"], "toolu_2");
        }
    }
}

// Oracle: the same request by both references: Anthropic's "Prompt caching" and "Extended thinking", and Amazon
// Bedrock's user guide, "Prompt caching", with the API reference's `ReasoningContentBlock`.
#[test]
fn a_request_of_anthropics_keeps_thoughts_and_marks_where_claude_is_served_by_bedrock() {
    let mark = json!({ "type": "ephemeral", "ttl": "1h" });
    let sent = json!({
        "model": "m", "max_tokens": 2000, "thinking": { "type": "enabled", "budget_tokens": 1024 },
        "system": [{ "type": "text", "text": "Be brief." }, { "type": "text", "text": "A long manual.", "cache_control": mark }],
        "tools": [{ "name": "look", "input_schema": { "type": "object" } }],
        "messages": [
            { "role": "user", "content": [{ "type": "text", "text": "hi", "cache_control": { "type": "ephemeral" } }] },
            { "role": "assistant", "content": anthropic_blocks() },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "toolu_1", "content": "42" },
                { "type": "tool_result", "tool_use_id": "toolu_2", "content": "43", "cache_control": { "type": "ephemeral" } } ] } ],
    });
    let chat = request::decode_for_claude(sent.to_string().as_bytes()).expect("a good request");
    let got = Value::Object(bedrock::request::encode("eu.anthropic.claude", &chat).expect("translatable"));
    let point = json!({ "cachePoint": { "type": "default" } });
    let result = |id: &str, said: &str| json!({ "toolResult": { "toolUseId": id, "content": [{ "text": said }] } });
    let want = json!({
        "system": [{ "text": "Be brief." }, { "text": "A long manual." }, { "cachePoint": { "type": "default", "ttl": "1h" } }],
        "messages": [
            { "role": "user", "content": [{ "text": "hi" }, point] },
            { "role": "assistant", "content": bedrock_blocks() },
            { "role": "user", "content": [result("toolu_1", "42"), result("toolu_2", "43"), point] } ],
        "inferenceConfig": { "maxTokens": 2000 },
        "additionalModelRequestFields": { "thinking": { "type": "enabled", "budget_tokens": 1024 } },
        "toolConfig": { "tools": [{ "toolSpec": { "name": "look", "inputSchema": { "json": { "type": "object" } } } }] },
    });
    assert_eq!(got, want);
    // Where it is not, none of them is left.
    let chat = request::decode(sent.to_string().as_bytes()).expect("a good request");
    let got = String::from_utf8(openai::chat::encode("m", false, &chat)).expect("text");
    assert!(!["EqQB", "cache_control", "thinking", "__"].iter().any(|word| got.contains(word)), "{got}");
}
