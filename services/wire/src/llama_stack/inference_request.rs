//! Requests of Llama Stack's own inference routes: `chat-completion`, `completion` and `embeddings`.
//!
//! A chat is kept as the client's bytes and read when a provider asks, as every client's is. Invariant: what cannot be
//! honoured is an error that names its member; hints about prompt formats mean nothing to servers that format prompts
//! themselves and are left out.

use std::collections::BTreeMap;

use bytes::Bytes;
use frontdesk_api::{
    ChatRequest, Error, Result,
    chat::{Chat, Dialect, Marks, Message, Role, Source, ToolCall, ToolChoice, ToolSpec},
    embed::{Embed, Input},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    content::InterleavedContent,
    sampling::SamplingParams,
    tool::{Arguments, Parameter, ToolCall as WireCall, schema},
};

/// `POST /v1/inference/chat-completion`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct ChatCompletion {
    /// `provider/model`, an alias or a registered model.
    pub model_id: String,
    pub messages: Vec<ChatMessage>,
    #[serde(default)]
    pub sampling_params: Option<SamplingParams>,
    #[serde(default)]
    pub tools: Option<Vec<OfferedTool>>,
    /// `auto`, `required`, `none`, or a tool's name.
    #[serde(default)]
    pub tool_choice: Option<String>,
    #[serde(default)]
    pub tool_config: Option<ToolConfig>,
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
    #[serde(default)]
    pub stream: Option<bool>,
}

/// `POST /v1/inference/completion`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct Completion {
    /// `provider/model`, an alias or a registered model.
    pub model_id: String,
    pub content: InterleavedContent,
    #[serde(default)]
    pub sampling_params: Option<SamplingParams>,
    #[serde(default)]
    pub response_format: Option<ResponseFormat>,
    #[serde(default)]
    pub logprobs: Option<Logprobs>,
    #[serde(default)]
    pub stream: Option<bool>,
}

/// `POST /v1/inference/embeddings`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct EmbedContents {
    /// `provider/model`, an alias or a registered model.
    pub model_id: String,
    pub contents: Vec<InterleavedContent>,
    #[serde(default)]
    pub output_dimension: Option<u32>,
    /// A hint, which OpenAI-compatible servers do not take.
    #[serde(default)]
    pub task_type: Option<String>,
    /// `none`; servers cut texts by rules of their own.
    #[serde(default)]
    pub text_truncation: Option<String>,
}

#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
#[schema(as = InferenceMessage)]
pub enum ChatMessage {
    System {
        content: InterleavedContent,
    },
    User {
        content: InterleavedContent,
        #[serde(default)]
        context: Option<InterleavedContent>,
    },
    Tool {
        call_id: String,
        content: InterleavedContent,
    },
    Assistant {
        content: InterleavedContent,
        #[serde(default)]
        tool_calls: Option<Vec<WireCall>>,
    },
}

/// A tool of the client's own.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct OfferedTool {
    pub tool_name: String,
    #[serde(default)]
    pub description: Option<String>,
    #[serde(default)]
    pub parameters: Option<BTreeMap<String, ParameterDefinition>>,
}

#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub struct ParameterDefinition {
    pub param_type: String,
    #[serde(default)]
    pub description: Option<String>,
    /// True where it is left out.
    #[serde(default)]
    pub required: Option<bool>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub default: Option<Value>,
}

#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub struct ToolConfig {
    /// As the request's own `tool_choice`, which it wins over.
    #[serde(default)]
    pub tool_choice: Option<String>,
}

#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ResponseFormat {
    JsonSchema {
        #[schema(value_type = Object)]
        json_schema: Map<String, Value>,
    },
    /// Refused: no OpenAI-compatible API takes one.
    Grammar {
        #[serde(default)]
        #[schema(value_type = Object)]
        bnf: Map<String, Value>,
    },
}

#[derive(Debug, Clone, Copy, Deserialize, utoipa::ToSchema)]
#[schema(as = InferenceLogprobs)]
pub struct Logprobs {
    /// How many alternatives to tell of each token.
    #[serde(default)]
    pub top_k: Option<u32>,
}

/// What routing needs of either request.
#[derive(Deserialize)]
struct Peek {
    model_id: Option<String>,
    #[serde(default)]
    stream: Option<bool>,
}

/// Reads the body of `POST /v1/inference/chat-completion` just enough to route it.
///
/// # Errors
/// `Invalid` naming the member at fault, or line and column where the body is not JSON.
pub fn chat(bytes: Bytes) -> Result<ChatRequest> {
    request(bytes, decode_chat)
}

/// The same of `POST /v1/inference/completion`.
///
/// # Errors
/// As [`chat`].
pub fn completion(bytes: Bytes) -> Result<ChatRequest> {
    request(bytes, decode_completion)
}

fn request(bytes: Bytes, decode: fn(&[u8]) -> Result<Chat>) -> Result<ChatRequest> {
    let peek: Peek = serde_json::from_slice(&bytes).map_err(crate::openai::peek::not_json)?;
    let model = peek.model_id.filter(|model| !model.is_empty());
    let model = model.ok_or_else(|| Error::invalid("model_id", "missing member 'model_id': name the model to use"))?;
    let source = Source { dialect: Dialect::LlamaStack, bytes, decode, marks: Marks::default() };
    // Counts are part of every answer here.
    Ok(ChatRequest::from_source(model, peek.stream.unwrap_or(false), true, source))
}

fn decode_chat(body: &[u8]) -> Result<Chat> {
    let wire: ChatCompletion = read(body)?;
    if wire.messages.is_empty() {
        return Err(Error::invalid("messages", "'messages' is empty: send at least one message"));
    }
    let messages =
        wire.messages.into_iter().enumerate().map(|(i, message)| message.into_message(&format!("messages[{i}]")));
    let chosen = wire.tool_config.and_then(|config| config.tool_choice).or(wire.tool_choice);
    let mut chat = tuned(wire.sampling_params, wire.response_format, wire.logprobs)?;
    chat.messages = messages.collect::<Result<_>>()?;
    chat.tools = wire.tools.unwrap_or_default().into_iter().map(OfferedTool::into_spec).collect();
    chat.tool_choice = chosen.filter(|_| !chat.tools.is_empty()).map(|word| match word.as_str() {
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        "none" => ToolChoice::None,
        _ => ToolChoice::Named(word),
    });
    Ok(chat)
}

fn decode_completion(body: &[u8]) -> Result<Chat> {
    let wire: Completion = read(body)?;
    let mut chat = tuned(wire.sampling_params, wire.response_format, wire.logprobs)?;
    chat.messages = vec![Message { content: wire.content.into_parts("content")?, ..Message::text(Role::User, "") }];
    Ok(chat)
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(crate::openai::peek::not_json)
}

/// A chat without messages, but with how its words are picked.
fn tuned(sampling: Option<SamplingParams>, format: Option<ResponseFormat>, logprobs: Option<Logprobs>) -> Result<Chat> {
    let sampling = sampling.unwrap_or_default().to_domain("sampling_params")?;
    let response_format = match format {
        None => None,
        Some(ResponseFormat::JsonSchema { json_schema }) => {
            Some(json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": json_schema } }))
        }
        Some(ResponseFormat::Grammar { .. }) => {
            let message = "a grammar is not supported: describe the answer by a JSON schema";
            return Err(Error::invalid("response_format", message));
        }
    };
    let mut extra = Map::new();
    if let Some(logprobs) = logprobs {
        extra.insert("logprobs".into(), true.into());
        if let Some(top) = logprobs.top_k.filter(|top| *top > 0) {
            extra.insert("top_logprobs".into(), top.into());
        }
    }
    Ok(Chat {
        max_tokens: sampling.max_tokens,
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        seed: sampling.seed,
        stop: sampling.stop,
        response_format,
        extra,
        ..Chat::default()
    })
}

impl ChatMessage {
    fn into_message(self, at: &str) -> Result<Message> {
        let message = |role, content: InterleavedContent| -> Result<Message> {
            let content = content.into_parts(&format!("{at}.content"))?;
            Ok(Message { content, ..Message::text(role, "") })
        };
        Ok(match self {
            Self::System { content } => message(Role::System, content)?,
            Self::User { content, context } => {
                let mut message = message(Role::User, content)?;
                if let Some(context) = context {
                    message.content.extend(context.into_parts(&format!("{at}.context"))?);
                }
                message
            }
            // Servers take text only there.
            Self::Tool { call_id, content } => {
                let text = content.to_text(&format!("{at}.content"))?;
                Message { tool_call_id: Some(call_id), ..Message::text(Role::Tool, text) }
            }
            Self::Assistant { content, tool_calls } => {
                let text = content.to_text(&format!("{at}.content"))?;
                let mut message = Message::text(Role::Assistant, text);
                message.tool_calls = tool_calls.unwrap_or_default().into_iter().map(call).collect();
                if !message.tool_calls.is_empty() && message.joined().is_empty() {
                    message.content.clear();
                }
                message
            }
        })
    }
}

fn call(wire: WireCall) -> ToolCall {
    let arguments = wire.arguments_json.unwrap_or_else(|| match wire.arguments {
        Arguments::Text(text) => text,
        Arguments::Parsed(members) => json!(members).to_string(),
    });
    ToolCall { id: wire.call_id, name: wire.tool_name, arguments }
}

impl OfferedTool {
    fn into_spec(self) -> ToolSpec {
        let parameter = |(name, own): (String, ParameterDefinition)| Parameter {
            name,
            parameter_type: own.param_type,
            description: own.description.unwrap_or_default(),
            required: own.required.unwrap_or(true),
            default: own.default.filter(|value| !value.is_null()),
        };
        let parameters: Vec<Parameter> = self.parameters.unwrap_or_default().into_iter().map(parameter).collect();
        let parameters = Some(schema(&parameters));
        ToolSpec { name: self.tool_name, description: self.description, parameters, strict: None, cache_control: None }
    }
}

impl EmbedContents {
    /// # Errors
    /// `Invalid` naming what is no text, an empty list, or a truncation that cannot be asked for.
    pub fn to_domain(&self) -> Result<Embed> {
        if self.contents.is_empty() {
            return Err(Error::invalid("contents", "'contents' is empty: send at least one text"));
        }
        if self.text_truncation.as_deref().is_some_and(|how| how != "none") {
            let message = "'text_truncation' cannot be asked of OpenAI-compatible servers: cut the texts before";
            return Err(Error::invalid("text_truncation", message));
        }
        let texts = self.contents.iter().enumerate();
        let input = texts.map(|(i, content)| Ok(Input::Text(content.to_text(&format!("contents[{i}]"))?)));
        Ok(Embed { input: input.collect::<Result<_>>()?, dimensions: self.output_dimension, ..Embed::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai;

    fn chat_of(body: Value) -> Result<Chat> {
        chat(Bytes::from(body.to_string())).expect("a routable request").chat().cloned()
    }

    // Oracle: what llama-stack-client 0.2.12 sends for these messages, and OpenAI's own words for the same.
    #[test]
    fn a_chat_says_the_same_in_openais_words() {
        let sent = json!({
            "model_id": "up/m", "stream": true,
            "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": [{ "type": "text", "text": "what is this?" },
                    { "type": "image", "image": { "url": { "uri": "http://h/i.png" } } }], "context": "it rains" },
                { "role": "assistant", "content": "", "stop_reason": "end_of_turn",
                    "tool_calls": [{ "call_id": "c1", "tool_name": "look", "arguments": { "id": 7 } }] },
                { "role": "tool", "call_id": "c1", "content": "42" },
            ],
            "sampling_params": { "strategy": { "type": "top_p", "temperature": 0.5, "top_p": 0.9 }, "max_tokens": 9, "stop": ["END"] },
            "tools": [{ "tool_name": "look", "description": "Looks.", "parameters": {
                "id": { "param_type": "int", "description": "which" }, "deep": { "param_type": "bool", "required": false } } }],
            "tool_choice": "required", "tool_config": { "tool_choice": "look", "tool_prompt_format": "json" },
            "response_format": { "type": "json_schema", "json_schema": { "type": "object" } },
            "logprobs": { "top_k": 2 },
        });
        let request = chat(Bytes::from(sent.to_string())).expect("a good request");
        assert_eq!((request.model.as_str(), request.stream, request.wants_usage), ("up/m", true, true));
        let written = openai::chat::encode("m", false, request.chat().expect("a chat"));
        let want = json!({
            "model": "m", "stream": false,
            "messages": [
                { "role": "system", "content": "be kind" },
                { "role": "user", "content": [{ "type": "text", "text": "what is this?" },
                    { "type": "image_url", "image_url": { "url": "http://h/i.png" } }, { "type": "text", "text": "it rains" }] },
                { "role": "assistant", "content": null,
                    "tool_calls": [{ "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{\"id\":7}" } }] },
                { "role": "tool", "tool_call_id": "c1", "content": "42" },
            ],
            "temperature": 0.5, "top_p": 0.9, "max_tokens": 9, "stop": ["END"],
            "tools": [{ "type": "function", "function": { "name": "look", "description": "Looks.", "parameters": {
                "type": "object", "required": ["id"],
                "properties": { "id": { "type": "integer", "description": "which" }, "deep": { "type": "boolean" } } } } }],
            "tool_choice": { "type": "function", "function": { "name": "look" } },
            "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": { "type": "object" } } },
            "logprobs": true, "top_logprobs": 2,
        });
        assert_eq!(serde_json::from_slice::<Value>(&written).expect("JSON"), want);
    }

    #[test]
    fn a_completion_is_a_users_message() {
        let sent =
            json!({ "model_id": "m", "content": "Once", "sampling_params": { "strategy": { "type": "greedy" } } });
        let request = completion(Bytes::from(sent.to_string())).expect("a good request");
        let chat = request.chat().expect("a chat");
        assert_eq!((chat.messages.as_slice(), chat.temperature), (&[Message::text(Role::User, "Once")][..], Some(0.0)));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        let message = json!([{ "role": "user", "content": "hi" }]);
        let picture = json!([{ "type": "image", "image": { "data": "AA==" } }]);
        for (body, param) in [
            (json!({ "model_id": "m", "messages": [] }), "messages"),
            (
                json!({ "model_id": "m", "messages": message, "response_format": { "type": "grammar", "bnf": {} } }),
                "response_format",
            ),
            (
                json!({ "model_id": "m", "messages": message, "sampling_params": { "strategy": { "type": "top_k", "top_k": 4 } } }),
                "sampling_params.strategy",
            ),
            (
                json!({ "model_id": "m", "messages": [{ "role": "tool", "call_id": "c", "content": picture }] }),
                "messages[0].content",
            ),
        ] {
            assert_eq!(chat_of(body.clone()).expect_err("refused").param.as_deref(), Some(param), "{body}");
        }
        let unnamed = chat(Bytes::from_static(b"{\"messages\":[]}")).err().expect("no model");
        assert_eq!(unnamed.param.as_deref(), Some("model_id"));
    }

    #[test]
    fn contents_become_inputs() {
        let read = |json: Value| serde_json::from_value::<EmbedContents>(json).expect("a request").to_domain();
        let embed =
            read(json!({ "model_id": "m", "contents": ["a", { "type": "text", "text": "b" }], "output_dimension": 8 }));
        let embed = embed.expect("a request");
        assert_eq!((embed.input, embed.dimensions), (vec![Input::Text("a".into()), Input::Text("b".into())], Some(8)));
        for (body, param) in [
            (json!({ "model_id": "m", "contents": [] }), "contents"),
            (json!({ "model_id": "m", "contents": ["a"], "text_truncation": "end" }), "text_truncation"),
            (json!({ "model_id": "m", "contents": [{ "type": "image", "image": {} }] }), "contents[0]"),
        ] {
            assert_eq!(read(body).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
