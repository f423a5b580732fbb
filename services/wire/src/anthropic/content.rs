//! The messages of a Messages request: content blocks to parts, tool calls and tool messages.
//!
//! What tools said is a message of its own in the house and comes first, right behind its calls. Elsewhere than at Claude's
//! providers it holds text only (OpenAI's API takes nothing else there), so pictures and files of a result follow as the
//! user's.
//! Invariant: a block is translated, is a stored thought (see `assistant`), or is an error that names its place.

use frontdesk_api::{
    Error, Result,
    chat::{Message, Part, Role, ToolCall},
};
use serde_json::{Value, json};

use crate::{
    openai::chat::also_in,
    thoughts::{self, Thought},
};

/// The conversation. `claude`: as a provider of Claude's models takes it, with signed thoughts and marks for the cache.
///
/// # Errors
/// `Invalid` naming the place (`messages[2].content[0].type`).
pub(super) fn messages(wire: &[Value], claude: bool) -> Result<Vec<Message>> {
    if wire.last().and_then(role) == Some("assistant") {
        let message = "the last message is the assistant's: the provider of this model cannot go on writing it, so end \
                       with a user message";
        return Err(Error::invalid("messages", message));
    }
    let turn = wire.iter().rposition(begins_turn).unwrap_or(0);
    let mut out = vec![];
    for (i, message) in wire.iter().enumerate() {
        let at = format!("messages[{i}]");
        if !message.is_object() {
            return Err(Error::invalid(at.clone(), format!("{at} must be an object")));
        }
        let content = content(&at, message)?;
        match role(message) {
            Some("user") => user(&content, claude, &mut out)?,
            Some("assistant") => out.push(assistant(&content, i > turn, claude)?),
            Some("system") => out.push(Message::text(Role::System, text_of(&content)?)),
            other => {
                let said = other.map_or("missing".to_owned(), |role| format!("'{role}'"));
                let message = format!("{at}.role is {said}: use user or assistant");
                return Err(Error::invalid(format!("{at}.role"), message));
            }
        }
    }
    Ok(out)
}

/// Text, or blocks of text, as one text.
///
/// # Errors
/// `Invalid` naming the place, for a block that is no text.
pub(super) fn words(at: &str, wire: &Value) -> Result<String> {
    text_of(&blocks(at, wire)?)
}

/// The same as a message of the system, each text with its mark for the cache.
pub(super) fn marked_system(wire: &Value) -> Result<Message> {
    let mut content = vec![];
    for block in blocks("system", wire)? {
        content.push(Part::Text(text(&block)?));
        mark(&block, true, &mut content);
    }
    Ok(Message { content, ..Message::text(Role::System, "") })
}

/// A block and its place.
struct Block<'a> {
    at: String,
    wire: &'a Value,
}

impl Block<'_> {
    fn kind(&self) -> &str {
        self.wire.get("type").and_then(Value::as_str).unwrap_or_default()
    }

    fn must(&self, name: &str, what: &str) -> Error {
        let at = format!("{}.{name}", self.at);
        Error::invalid(at.clone(), format!("{at} must be {what}"))
    }

    /// A member that must be text.
    fn text(&self, name: &str) -> Result<&str> {
        self.wire.get(name).and_then(Value::as_str).ok_or_else(|| self.must(name, "text"))
    }

    /// A text that may be missing; an empty one says nothing either.
    fn words(&self, name: &str) -> Result<Option<&str>> {
        match self.wire.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => {
                let text = value.as_str().ok_or_else(|| self.must(name, "text"))?;
                Ok(Some(text).filter(|text| !text.is_empty()))
            }
        }
    }

    /// Absent is false.
    fn flag(&self, name: &str) -> Result<bool> {
        match self.wire.get(name).filter(|value| !value.is_null()) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.must(name, "true or false")),
        }
    }

    fn member(&self, name: &str) -> Result<Block<'_>> {
        let at = format!("{}.{name}", self.at);
        match self.wire.get(name) {
            Some(wire) => Ok(Block { at, wire }),
            None => Err(Error::invalid(at.clone(), format!("missing member '{at}'"))),
        }
    }

    /// Refuses the block. `takes`: what may stand in its place.
    fn refused(&self, takes: &str) -> Error {
        let at = format!("{}.type", self.at);
        let message = format!("{at} is '{}': the provider of this model takes {takes} here", self.kind());
        Error::invalid(at, message)
    }
}

fn role(message: &Value) -> Option<&str> {
    message.get("role").and_then(Value::as_str)
}

/// Whether the message is a person's, and not the output of tools on the way to an answer.
fn begins_turn(message: &Value) -> bool {
    let blocks = message.get("content").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    role(message) == Some("user") && !blocks.iter().any(|b| b["type"] == "tool_result")
}

fn content<'a>(at: &str, message: &'a Value) -> Result<Vec<Block<'a>>> {
    let at = format!("{at}.content");
    match message.get("content") {
        Some(wire) => blocks(&at, wire),
        None => Err(Error::invalid(at.clone(), format!("missing member '{at}'"))),
    }
}

/// A list of blocks; text stands for one of text.
fn blocks<'a>(at: &str, wire: &'a Value) -> Result<Vec<Block<'a>>> {
    match wire {
        Value::String(_) => Ok(vec![Block { at: at.to_owned(), wire }]),
        Value::Array(list) => {
            let block = |(k, wire): (usize, &'a Value)| {
                let block = Block { at: format!("{at}[{k}]"), wire };
                block.words("type")?;
                match wire.get("cache_control") {
                    Some(mark) if !mark.is_null() && !mark.is_object() => Err(block.must("cache_control", "an object")),
                    _ => Ok(block),
                }
            };
            list.iter().enumerate().map(block).collect()
        }
        _ => Err(Error::invalid(at, format!("{at} must be text or a list of blocks"))),
    }
}

fn user(content: &[Block<'_>], claude: bool, out: &mut Vec<Message>) -> Result<()> {
    let mut parts = vec![];
    for block in content {
        match block.kind() {
            "tool_result" => {
                let mut result = tool_result(block, claude, &mut parts)?;
                if let Some(asked) = block.wire.get("cache_control").filter(|_| claude) {
                    result.extra.insert("cache_control".into(), asked.clone());
                }
                out.push(result);
            }
            _ => {
                self::parts(block, &mut parts)?;
                mark(block, claude, &mut parts);
            }
        }
    }
    if !parts.is_empty() {
        out.push(Message { content: parts, ..Message::text(Role::User, "") });
    }
    Ok(())
}

/// Puts a block's mark for the prompt cache on the last part that it stands for, where there are marks.
fn mark(block: &Block<'_>, claude: bool, parts: &mut [Part]) {
    let Some(asked) = block.wire.get("cache_control").filter(|asked| claude && !asked.is_null()) else { return };
    match parts.last_mut() {
        Some(part @ Part::Text(_)) => {
            let Part::Text(text) = part else { return };
            *part = Part::Other(json!({ "type": "text", "text": text, "cache_control": asked }));
        }
        Some(Part::Other(wire)) => wire["cache_control"] = asked.clone(),
        None => {}
    }
}

/// `more` takes what a tool message cannot hold.
fn tool_result(block: &Block<'_>, claude: bool, more: &mut Vec<Part>) -> Result<Message> {
    let id = block.text("tool_use_id")?;
    let mut result = Message { tool_call_id: Some(id.to_owned()), ..Message::text(Role::Tool, "") };
    if block.flag("is_error")? {
        result.extra.insert("is_error".into(), true.into());
    }
    let mut all = vec![];
    if let Some(content) = block.wire.get("content").filter(|c| !c.is_null()) {
        for inner in blocks(&format!("{}.content", block.at), content)? {
            parts(&inner, &mut all)?;
        }
    }
    if claude {
        result.content = all;
        return Ok(result);
    }
    let (texts, others): (Vec<Part>, Vec<Part>) = all.into_iter().partition(|p| matches!(p, Part::Text(_)));
    let texts = texts.into_iter().filter_map(|p| if let Part::Text(text) = p { Some(text) } else { None });
    result.content = vec![Part::Text(texts.collect::<Vec<_>>().join("\n"))];
    if !others.is_empty() {
        more.push(also_in(id));
        more.extend(others);
    }
    Ok(result)
}

/// Texts, calls, and thoughts. A thought without a signature is one that this gateway passed on: within the running
/// turn it goes back to the model that thought it, as the `reasoning_content` in which it came; models of this kind
/// lose their thread between tool calls without it. A signed one is of Anthropic's models and means nothing to others;
/// where `claude` is served it goes with the call that it led to (`thoughts.rs`), and where it stands if it led to none.
fn assistant(content: &[Block<'_>], in_turn: bool, claude: bool) -> Result<Message> {
    let mut message = Message { content: vec![], ..Message::text(Role::Assistant, "") };
    let (mut thoughts, mut sealed) = (String::new(), vec![]);
    let calls = content.iter().any(|block| block.kind() == "tool_use");
    for block in content {
        match block.kind() {
            "tool_use" => {
                let input = block.member("input")?.wire;
                let arguments = input.as_object().map(|_| input.to_string());
                let arguments = arguments.ok_or_else(|| block.must("input", "an object"))?;
                let (id, name) = (block.text("id")?.to_owned(), block.text("name")?.to_owned());
                let id = thoughts::join(id, &std::mem::take(&mut sealed));
                message.tool_calls.push(ToolCall { id, name, arguments });
            }
            "thinking" => match block.words("signature")? {
                Some(_) if claude && !calls => message.content.push(Part::Other(block.wire.clone())),
                Some(signature) if claude => {
                    let text = block.text("thinking")?.to_owned();
                    sealed.push(Thought::Signed { text, signature: signature.to_owned() });
                }
                None if in_turn => thoughts.push_str(block.text("thinking")?),
                _ => {}
            },
            "redacted_thinking" if claude && !calls => message.content.push(Part::Other(block.wire.clone())),
            "redacted_thinking" if claude => sealed.push(Thought::Redacted(block.text("data")?.to_owned())),
            "redacted_thinking" => {}
            "text" | "" => {
                message.content.push(Part::Text(text(block)?));
                mark(block, claude, &mut message.content);
            }
            _ => return Err(block.refused("text, tool_use and thinking")),
        }
    }
    if !thoughts.is_empty() {
        message.extra.insert("reasoning_content".into(), thoughts.into());
    }
    if message.content.is_empty() && message.tool_calls.is_empty() {
        message.content.push(Part::Text(String::new()));
    }
    Ok(message)
}

/// The parts that a block in a user's message or in a tool's result stands for.
fn parts(block: &Block<'_>, out: &mut Vec<Part>) -> Result<()> {
    match block.kind() {
        "text" | "" => out.push(Part::Text(text(block)?)),
        "image" => {
            let url = address(&block.member("source")?)?;
            out.push(Part::Other(json!({ "type": "image_url", "image_url": { "url": url } })));
        }
        "document" => document(block, out)?,
        "search_result" => {
            let body = words(&format!("{}.content", block.at), block.member("content")?.wire)?;
            out.push(Part::Text(format!("{}\n{}\n\n{body}", block.text("title")?, block.text("source")?)));
        }
        _ => return Err(block.refused("text, image, document, search_result and tool_result")),
    }
    Ok(())
}

/// Text documents become text under their title; PDFs become OpenAI's `file` part.
fn document(block: &Block<'_>, out: &mut Vec<Part>) -> Result<()> {
    let source = block.member("source")?;
    match source.kind() {
        "base64" => {
            let name = block.words("title")?.unwrap_or("document.pdf");
            let file = json!({ "filename": name, "file_data": address(&source)? });
            out.push(Part::Other(json!({ "type": "file", "file": file })));
        }
        "text" | "content" => {
            let head: Vec<&str> = [block.words("title")?, block.words("context")?].into_iter().flatten().collect();
            if !head.is_empty() {
                out.push(Part::Text(head.join("\n")));
            }
            let member = source.member(if source.kind() == "text" { "data" } else { "content" })?;
            for inner in blocks(&member.at, member.wire)? {
                parts(&inner, out)?;
            }
        }
        _ => return Err(source.refused("base64, text and content")),
    }
    Ok(())
}

/// Where a source's bytes are: an address, or a `data:` URL that holds them.
fn address(source: &Block<'_>) -> Result<String> {
    match source.kind() {
        "base64" => Ok(format!("data:{};base64,{}", source.text("media_type")?, source.text("data")?)),
        "url" => Ok(source.text("url")?.to_owned()),
        _ => Err(source.refused("base64 and url")),
    }
}

fn text(block: &Block<'_>) -> Result<String> {
    match block.wire {
        Value::String(text) => Ok(text.clone()),
        _ if block.kind() == "text" => block.text("text").map(str::to_owned),
        _ => Err(block.refused("text")),
    }
}

fn text_of(blocks: &[Block<'_>]) -> Result<String> {
    Ok(blocks.iter().map(text).collect::<Result<Vec<_>>>()?.join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openai::chat::encode;
    use frontdesk_api::chat::Chat;

    fn as_openai(wire: &Value) -> Value {
        let messages = messages(wire.as_array().expect("a list"), false).expect("good messages");
        let body = encode("m", false, &Chat { messages, ..Chat::default() });
        serde_json::from_slice::<Value>(&body).expect("JSON")["messages"].clone()
    }

    #[test]
    fn a_round_of_two_tools_becomes_openais_messages() {
        let sent = json!([
            { "role": "user", "content": "Where are my orders?" },
            { "role": "assistant", "content": [
                { "type": "thinking", "thinking": "Two look-ups.", "signature": "" },
                { "type": "redacted_thinking", "data": "x" },
                { "type": "text", "text": "I look.", "citations": null },
                { "type": "tool_use", "id": "c1", "name": "look", "input": { "id": 1 } },
                { "type": "tool_use", "id": "c2", "name": "look", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "c1", "content": "shipped", "cache_control": { "type": "ephemeral" } },
                { "type": "text", "text": "Be quick." },
                { "type": "tool_result", "tool_use_id": "c2", "is_error": true, "content": [
                    { "type": "text", "text": "no such order" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "iVBO" } },
                ] },
            ] },
        ]);
        let want = json!([
            { "role": "user", "content": "Where are my orders?" },
            { "role": "assistant", "content": "I look.", "reasoning_content": "Two look-ups.", "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{\"id\":1}" } },
                { "id": "c2", "type": "function", "function": { "name": "look", "arguments": "{}" } },
            ] },
            { "role": "tool", "tool_call_id": "c1", "content": "shipped" },
            { "role": "tool", "tool_call_id": "c2", "content": "error: no such order" },
            { "role": "user", "content": [
                { "type": "text", "text": "Be quick." },
                { "type": "text", "text": "Also in the result of the tool call c2:" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO" } },
            ] },
        ]);
        assert_eq!(as_openai(&sent), want);
    }

    #[test]
    fn thoughts_go_back_in_the_running_turn_only_and_signed_ones_never() {
        let thought = |signature: &str| {
            json!({ "role": "assistant", "content": [
                { "type": "thinking", "thinking": "hm", "signature": signature }, { "type": "text", "text": "a" },
            ] })
        };
        let asks = json!({ "role": "user", "content": "q" });
        let plain = json!({ "role": "assistant", "content": "a" });
        let result = json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c" }] });
        assert_eq!(as_openai(&json!([asks, thought(""), asks]))[1], plain);
        assert_eq!(as_openai(&json!([asks, thought("sig"), result]))[1], plain);
        assert_eq!(as_openai(&json!([asks, thought(""), result]))[1]["reasoning_content"], "hm");
    }

    #[test]
    fn pictures_documents_and_search_results_find_their_form() {
        let sent = json!([{ "role": "user", "content": [
            { "type": "image", "source": { "type": "url", "url": "https://x/y.png" } },
            { "type": "document", "title": "a.pdf", "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBE" } },
            { "type": "document", "title": "Notes", "source": { "type": "text", "media_type": "text/plain", "data": "one" } },
            { "type": "document", "source": { "type": "content", "content": [{ "type": "text", "text": "two" }] } },
            { "type": "search_result", "title": "T", "source": "https://x", "content": [{ "type": "text", "text": "three" }] },
        ] }]);
        let want = json!([{ "role": "user", "content": [
            { "type": "image_url", "image_url": { "url": "https://x/y.png" } },
            { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE" } },
            { "type": "text", "text": "Notes" },
            { "type": "text", "text": "one" },
            { "type": "text", "text": "two" },
            { "type": "text", "text": "T\nhttps://x\n\nthree" },
        ] }]);
        assert_eq!(as_openai(&sent), want);
    }

    #[test]
    fn what_cannot_be_said_elsewhere_names_its_place() {
        for (message, param) in [
            (json!({ "role": "robot", "content": "x" }), "messages[0].role"),
            (json!({ "role": 7, "content": "x" }), "messages[0].role"),
            (json!("x"), "messages[0]"),
            (json!({ "role": "user", "content": [{ "type": 7, "text": "x" }] }), "messages[0].content[0].type"),
            (json!({ "role": "user", "content": [{ "type": "text", "text": 7 }] }), "messages[0].content[0].text"),
            (
                json!({ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c", "is_error": "yes" }] }),
                "messages[0].content[0].is_error",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "document", "title": 7,
                    "source": { "type": "base64", "media_type": "application/pdf", "data": "JVBE" } }] }),
                "messages[0].content[0].title",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "document", "context": 7,
                    "source": { "type": "text", "data": "one" } }] }),
                "messages[0].content[0].context",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "text", "text": "x", "cache_control": "ephemeral" }] }),
                "messages[0].content[0].cache_control",
            ),
            (json!({ "role": "user" }), "messages[0].content"),
            (json!({ "role": "user", "content": 7 }), "messages[0].content"),
            (json!({ "role": "user", "content": [{ "type": "container_upload" }] }), "messages[0].content[0].type"),
            (json!({ "role": "user", "content": [{ "type": "text" }] }), "messages[0].content[0].text"),
            (json!({ "role": "user", "content": [{ "type": "image" }] }), "messages[0].content[0].source"),
            (
                json!({ "role": "user", "content": [{ "type": "image", "source": { "type": "file", "file_id": "f" } }] }),
                "messages[0].content[0].source.type",
            ),
            (
                json!({ "role": "user", "content": [{ "type": "tool_result", "content": "x" }] }),
                "messages[0].content[0].tool_use_id",
            ),
            (json!({ "role": "assistant", "content": "The answer is (" }), "messages"),
        ] {
            let error = messages(&[message], false).expect_err("refused");
            assert_eq!(error.param.as_deref(), Some(param), "{}", error.message);
        }
        for (block, member) in [
            (json!({ "type": "server_tool_use" }), "type"),
            (json!({ "type": "tool_use", "id": 7, "name": "f", "input": {} }), "id"),
            (json!({ "type": "tool_use", "id": "c", "name": 7, "input": {} }), "name"),
            (json!({ "type": "tool_use", "id": "c", "name": "f", "input": "{}" }), "input"),
            (json!({ "type": "tool_use", "id": "c", "name": "f" }), "input"),
            (json!({ "type": "thinking", "thinking": "hm", "signature": 7 }), "signature"),
        ] {
            let history =
                [json!({ "role": "assistant", "content": [block] }), json!({ "role": "user", "content": "x" })];
            let error = messages(&history, false).expect_err("refused");
            assert_eq!(error.param, Some(format!("messages[0].content[0].{member}")), "{}", error.message);
        }
    }
}
