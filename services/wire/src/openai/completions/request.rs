//! A text completion's request: looked at to route it, and read as a chat.
//!
//! Invariant: what a chat cannot say is an error that names its member, never left out in silence.

use bytes::Bytes;
use frontdesk_api::{
    ChatRequest, Error, Result,
    chat::{Chat, Dialect, Source, affinity},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::{
    fields::Fields,
    openai::{
        chat,
        peek::{marks, model, not_json, present, streaming},
    },
};

/// What an answer may have where the request does not say, in tokens (API reference, "Create completion").
const MAX_TOKENS: u32 = 16;

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
    #[serde(borrow)]
    user: Option<&'a RawValue>,
}

/// Reads the body of `POST /v1/completions`. The prompt is the provider's to judge: servers take more kinds than
/// OpenAI's own.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn request(bytes: Bytes) -> Result<ChatRequest> {
    let peek: Peek<'_> = serde_json::from_slice(&bytes).map_err(not_json)?;
    let model = model(peek.model)?;
    let (stream, wants_usage) = streaming(peek.stream, peek.stream_options)?;
    let affinity = peek.user.map(|user| affinity(user.get()));
    let marks = marks(&bytes, peek.model, peek.stream_options);
    let source = Source { dialect: Dialect::OpenaiCompletions, bytes, decode, marks };
    let mut request = ChatRequest::from_source(model, stream, wants_usage, source);
    request.affinity = affinity;
    Ok(request)
}

/// The request as a chat: the prompt is a user's message.
///
/// # Errors
/// `Invalid` naming the member: several prompts, tokens, `echo`, `suffix`, `best_of`, tools.
pub fn decode(body: &[u8]) -> Result<Chat> {
    let mut body: Map<String, Value> = serde_json::from_slice(body).map_err(not_json)?;
    untranslatable(&body)?;
    let prompt = prompt(body.remove("prompt"))?;
    body.retain(|name, _| !["best_of", "echo", "suffix"].contains(&name.as_str()));
    if body.get("max_tokens").is_none_or(Value::is_null) {
        body.insert("max_tokens".into(), MAX_TOKENS.into());
    }
    if let Some(top) = logprobs(body.remove("logprobs"))? {
        body.insert("logprobs".into(), true.into());
        if top > 0 {
            body.insert("top_logprobs".into(), top.into());
        }
    }
    body.insert("messages".into(), json!([{ "role": "user", "content": prompt }]));
    chat::read(Fields::of_members(body))
}

/// Refuses what a chat has no words for.
fn untranslatable(body: &Map<String, Value>) -> Result<()> {
    let given = |name: &str| body.get(name).filter(|value| !value.is_null());
    let refused = |name: &str, why: &str| {
        let message = format!("'{name}' cannot be asked of this model: its provider answers chats only, {why}");
        Err(Error::invalid(name, message).with_code("unsupported_member"))
    };
    if given("echo").is_some_and(|echo| echo != false) {
        return refused("echo", "which do not repeat the prompt");
    }
    if given("suffix").is_some_and(|suffix| suffix != "") {
        return refused("suffix", "which cannot write into a text");
    }
    let one = json!(1);
    if given("best_of").is_some_and(|best_of| best_of != given("n").unwrap_or(&one)) {
        return refused("best_of", "which are not generated in secret and ranked");
    }
    if given("tools").is_some_and(|tools| tools.as_array().is_none_or(|tools| !tools.is_empty())) {
        return refused("tools", "and a text completion has no place for calls: use /v1/chat/completions");
    }
    Ok(())
}

/// The one text that is asked about.
fn prompt(wire: Option<Value>) -> Result<String> {
    let only = |why: &str| {
        let message = format!("'prompt' {why}: the provider of this model answers chats only, so send one text");
        Err(Error::invalid("prompt", message).with_code("unsupported_member"))
    };
    match wire {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Array(mut list)) => match list.as_mut_slice() {
            [Value::String(text)] => Ok(std::mem::take(text)),
            [Value::Number(_), ..] | [Value::Array(_), ..] => only("is given as tokens"),
            [] => only("is an empty list"),
            _ => only("is several texts"),
        },
        None | Some(Value::Null) => Err(Error::invalid("prompt", "missing member 'prompt': the text to go on from")),
        Some(_) => Err(Error::invalid("prompt", "'prompt' must be a text")),
    }
}

/// How many alternatives to tell of each token; None: no log probabilities are wanted.
fn logprobs(wire: Option<Value>) -> Result<Option<u64>> {
    match wire {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            Error::invalid("logprobs", "'logprobs' must be how many alternatives to tell of each token, 0 to 5")
        }),
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::chat::{Message, Role};

    use super::*;

    #[test]
    fn reads_what_routing_needs_and_keeps_the_bytes() {
        let body = Bytes::from_static(
            br#"{"prompt":[1,2],"model":"up/m","stream":true,"stream_options":{"include_usage":true}}"#,
        );
        let seen = request(body.clone()).expect("a good request");
        assert_eq!((seen.model.as_str(), seen.stream, seen.wants_usage), ("up/m", true, true));
        let source = seen.source().expect("source");
        assert_eq!((source.dialect, &source.bytes), (Dialect::OpenaiCompletions, &body));
        assert!(seen.needs_events(Dialect::OpenaiChat) && !seen.needs_events(Dialect::OpenaiCompletions));
    }

    #[test]
    fn a_prompt_is_a_users_message_and_the_rest_keeps_its_meaning() {
        let body =
            br#"{"model":"m","prompt":["Once"],"temperature":0.5,"top_p":0.9,"seed":7,"stop":"\n","n":2,"best_of":2,
            "echo":false,"suffix":null,"logprobs":3,"presence_penalty":1,"user":"u","future":[1]}"#;
        let chat = decode(body).expect("a chat");
        assert_eq!(chat.messages, [Message::text(Role::User, "Once")]);
        assert_eq!(
            (chat.max_tokens, chat.temperature, chat.top_p, chat.seed),
            (Some(16), Some(0.5), Some(0.9), Some(7))
        );
        assert_eq!(chat.stop, ["\n"]);
        let want =
            json!({ "n": 2, "logprobs": true, "top_logprobs": 3, "presence_penalty": 1, "user": "u", "future": [1] });
        assert_eq!(Value::Object(chat.extra), want);
        let chat = decode(br#"{"prompt":"Once","max_tokens":9,"logprobs":0}"#).expect("a chat");
        assert_eq!((chat.max_tokens, Value::Object(chat.extra)), (Some(9), json!({ "logprobs": true })));
    }

    #[test]
    fn what_a_chat_cannot_say_is_named() {
        for (body, param) in [
            (r#"{"prompt":"a","echo":true}"#, "echo"),
            (r#"{"prompt":"a","suffix":"end"}"#, "suffix"),
            (r#"{"prompt":"a","best_of":3}"#, "best_of"),
            (r#"{"prompt":"a","n":2,"best_of":3}"#, "best_of"),
            (r#"{"prompt":"a","tools":[{}]}"#, "tools"),
            (r#"{"prompt":["a","b"]}"#, "prompt"),
            (r#"{"prompt":[1,2]}"#, "prompt"),
            (r#"{"prompt":[[1,2]]}"#, "prompt"),
            (r#"{"prompt":[]}"#, "prompt"),
            (r#"{"prompt":7}"#, "prompt"),
            (r#"{}"#, "prompt"),
            (r#"{"prompt":"a","logprobs":true}"#, "logprobs"),
        ] {
            assert_eq!(decode(body.as_bytes()).expect_err(body).param.as_deref(), Some(param), "{body}");
        }
    }
}
