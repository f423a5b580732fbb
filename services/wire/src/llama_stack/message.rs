//! What comes in with a turn: messages, documents, results of client tools.

use frontdesk_api::{
    Error, Result,
    chat::{Part, Role, ToolChoice},
    tools::ToolResult,
    turn::{Item, ItemBody},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    agent::{Toolgroup, choice_of, split_toolgroups},
    content::{ContentItem, InterleavedContent},
    tool::ToolCall,
};

/// `POST /v1/agents/{a}/session/{s}/turn`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct CreateTurn {
    pub messages: Vec<InputMessage>,
    #[serde(default)]
    pub stream: Option<bool>,
    /// Texts the customer attached; they are put after the last message.
    #[serde(default)]
    pub documents: Option<Vec<Document>>,
    /// Groups beside those of the agent, for this turn.
    #[serde(default)]
    pub toolgroups: Option<Vec<Toolgroup>>,
    /// `tool_choice` in it stands for the agent's in this turn; how a prompt tells of tools is the provider's.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub tool_config: Option<Map<String, Value>>,
}

/// What a turn begins with, in the domain's words.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnInput {
    /// User messages, with images among their words where they have some, and outputs of tools the client ran, in order.
    pub items: Vec<ItemBody>,
    pub toolgroups: Vec<String>,
    pub knowledge: Vec<String>,
    /// None: as its agent has it.
    pub tool_choice: Option<ToolChoice>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum InputMessage {
    User {
        content: InterleavedContent,
        /// Text the client retrieved itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        context: Option<InterleavedContent>,
    },
    Tool {
        call_id: String,
        content: InterleavedContent,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Document {
    #[schema(value_type = Object)]
    pub content: Value,
    pub mime_type: String,
}

impl CreateTurn {
    /// # Errors
    /// `Invalid` naming the message with an image that is not there, the document that is not text, or that there is no
    /// message.
    pub fn to_domain(&self) -> Result<TurnInput> {
        let mut items = Vec::with_capacity(self.messages.len());
        for (i, message) in self.messages.iter().enumerate() {
            items.push(message.to_domain(i)?);
        }
        if items.is_empty() {
            return Err(Error::invalid("messages", "messages is empty: a turn begins with a message"));
        }
        for (i, document) in self.documents.iter().flatten().enumerate() {
            let text = document.text(i)?;
            if !items.iter_mut().rev().any(|item| add(item, &text)) {
                items.push(ItemBody::Message { role: Role::User, text, citations: vec![] });
            }
        }
        let (toolgroups, knowledge) = split_toolgroups(self.toolgroups.as_deref().unwrap_or_default(), "turn")?;
        let tool_choice = configured(self.tool_config.as_ref())?;
        Ok(TurnInput { items, toolgroups, knowledge, tool_choice })
    }
}

/// The choice in a `tool_config`.
///
/// # Errors
/// `Invalid` where it is no word.
fn configured(config: Option<&Map<String, Value>>) -> Result<Option<ToolChoice>> {
    match config.and_then(|config| config.get("tool_choice")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) => Ok(Some(choice_of(word))),
        Some(_) => {
            let at = "tool_config.tool_choice";
            Err(Error::invalid(at, format!("{at} must be 'auto', 'required', 'none' or the name of a tool")))
        }
    }
}

/// Puts a text behind the user's words, where these are some.
fn add(item: &mut ItemBody, more: &str) -> bool {
    match item {
        ItemBody::Message { role: Role::User, text, .. } => {
            text.push_str("\n\n");
            text.push_str(more);
        }
        ItemBody::Content { role: Role::User, parts } => parts.push(kept(Part::Text(more.to_owned()))),
        _ => return false,
    }
    true
}

/// A part of a chat as items keep it.
fn kept(part: Part) -> Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Other(wire) => wire,
    }
}

/// Content as items keep it.
fn parts(content: &InterleavedContent, param: &str) -> Result<Vec<Value>> {
    Ok(content.clone().into_parts(param)?.into_iter().map(kept).collect())
}

impl InputMessage {
    fn to_domain(&self, i: usize) -> Result<ItemBody> {
        let param = format!("messages[{i}].content");
        match self {
            Self::User { content, context } => {
                let context = context.as_ref().map(|context| context.to_text(&format!("messages[{i}].context")));
                let context = context.transpose()?;
                if content.has_images() {
                    let mut parts = parts(content, &param)?;
                    parts.extend(context.map(|context| kept(Part::Text(context))));
                    return Ok(ItemBody::Content { role: Role::User, parts });
                }
                let said = [Some(content.to_text(&param)?), context];
                let text = said.into_iter().flatten().collect::<Vec<_>>().join("\n");
                Ok(ItemBody::Message { role: Role::User, text, citations: vec![] })
            }
            Self::Tool { call_id, content } if content.has_images() => {
                Ok(ItemBody::output_of(call_id, parts(content, &param)?))
            }
            Self::Tool { call_id, content } => Ok(ItemBody::output(call_id, content.to_text(&param)?, false)),
        }
    }

    /// An input item as the protocol shows it; None for other items.
    #[must_use]
    pub fn of(item: &Item) -> Option<Self> {
        match &item.body {
            ItemBody::Message { role: Role::User, text, .. } => {
                Some(Self::User { content: text.as_str().into(), context: None })
            }
            ItemBody::Content { role: Role::User, parts } => {
                Some(Self::User { content: InterleavedContent::of_parts(parts), context: None })
            }
            ItemBody::FunctionCallOutput { call_id, output, parts, .. } => {
                let content =
                    if parts.is_empty() { output.as_str().into() } else { InterleavedContent::of_parts(parts) };
                Some(Self::Tool { call_id: call_id.clone(), content })
            }
            _ => None,
        }
    }
}

impl Document {
    fn text(&self, i: usize) -> Result<String> {
        let param = format!("documents[{i}].content");
        let content = InterleavedContent::deserialize(&self.content).map_err(|_| {
            Error::invalid(param.as_str(), format!("{param} must be text; upload other files to a knowledge store"))
        })?;
        content.to_text(&param)
    }
}

/// `POST …/turn/{t}/resume`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct ResumeTurn {
    pub tool_responses: Vec<ToolResponse>,
    #[serde(default)]
    pub stream: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ToolResponse {
    pub call_id: String,
    pub tool_name: String,
    pub content: InterleavedContent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
}

impl ResumeTurn {
    /// The results by call id.
    ///
    /// # Errors
    /// `Invalid` naming the response that is not text.
    pub fn to_domain(&self) -> Result<Vec<(String, ToolResult)>> {
        let responses = self.tool_responses.iter().enumerate();
        let results = responses.map(|(i, response)| {
            let content = response.content.to_text(&format!("tool_responses[{i}].content"))?;
            let details = response.metadata.clone().filter(|m| !m.is_empty()).map(Value::Object);
            Ok((response.call_id.clone(), ToolResult { content, is_error: false, details }))
        });
        results.collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    EndOfTurn,
    /// A partial answer: the client runs `tool_calls` and resumes the turn.
    EndOfMessage,
    OutOfTokens,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CompletionMessage {
    /// Always `assistant`.
    pub role: String,
    pub content: InterleavedContent,
    pub stop_reason: StopReason,
    pub tool_calls: Vec<ToolCall>,
}

impl CompletionMessage {
    #[must_use]
    pub fn new(text: &str, stop_reason: StopReason, calls: &[frontdesk_api::chat::ToolCall]) -> Self {
        Self {
            role: "assistant".into(),
            content: text.into(),
            stop_reason,
            tool_calls: calls.iter().map(ToolCall::from).collect(),
        }
    }
}

/// Text of several passages, an item each.
#[must_use]
pub fn passages<'t>(texts: impl Iterator<Item = &'t str>) -> InterleavedContent {
    InterleavedContent::Items(texts.map(ContentItem::text).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(json: Value) -> CreateTurn {
        serde_json::from_value(json).expect("a turn")
    }

    #[test]
    fn messages_context_and_documents_become_items() {
        let input = turn(json!({
            "messages": [{"role": "tool", "call_id": "c1", "content": "42"}, {"role": "user", "content": "hi", "context": "it rains"}],
            "documents": [{"content": "a page", "mime_type": "text/plain"}], "stream": true,
            "toolgroups": ["shop", {"name": "builtin::rag", "args": {"vector_db_ids": ["pages"]}}],
            "tool_config": {"tool_choice": "look_up", "tool_prompt_format": "json"}
        }));
        let input = input.to_domain().expect("input");
        assert_eq!(input.items[0], ItemBody::output("c1", "42", false));
        assert_eq!(
            input.items[1],
            ItemBody::Message { role: Role::User, text: "hi\nit rains\n\na page".into(), citations: vec![] }
        );
        assert_eq!((input.toolgroups, input.knowledge), (vec!["shop".to_owned()], vec!["pages".to_owned()]));
        assert_eq!(input.tool_choice, Some(ToolChoice::Named("look_up".into())));
        let wrong = json!({"messages": [{"role": "user", "content": "hi"}], "tool_config": {"tool_choice": {}}});
        let refused = turn(wrong).to_domain().expect_err("no word");
        assert_eq!(refused.param.as_deref(), Some("tool_config.tool_choice"));
    }

    #[test]
    fn images_are_kept_among_the_words_and_shown_again() {
        let image = |url: &str| json!({ "type": "image", "image": { "url": { "uri": url } } });
        let text = |text: &str| json!({ "type": "text", "text": text });
        let input = turn(json!({
            "messages": [{"role": "tool", "call_id": "c1", "content": [text("a chart"), image("http://h/c.png")]},
                         {"role": "user", "content": [text("and this?"), image("http://h/i.png")], "context": "it rains"}],
            "documents": [{"content": "a page", "mime_type": "text/plain"}]
        }));
        let input = input.to_domain().expect("input");
        let picture = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
        let chart = ItemBody::output_of("c1", vec![text("a chart"), picture("http://h/c.png")]);
        let parts = vec![text("and this?"), picture("http://h/i.png"), text("it rains"), text("a page")];
        assert_eq!(input.items, [chart, ItemBody::Content { role: Role::User, parts }]);
        let shown = input.items.into_iter().filter_map(|body| {
            let item = Item { id: "i".into(), turn_id: "t".into(), pos: 0, body };
            InputMessage::of(&item)
        });
        let want = json!([
            { "role": "tool", "call_id": "c1", "content": [text("a chart"), image("http://h/c.png")] },
            { "role": "user", "content": [text("and this?"), image("http://h/i.png"), text("it rains"), text("a page")] },
        ]);
        assert_eq!(json!(shown.collect::<Vec<_>>()), want);
        let nothing = json!({ "messages": [{ "role": "user", "content": { "type": "image", "image": {} } }] });
        let refused = turn(nothing).to_domain().expect_err("no image");
        assert_eq!(refused.param.as_deref(), Some("messages[0].content"));
    }

    #[test]
    fn a_turn_without_a_message_or_with_a_foreign_document_is_refused() {
        let refused = turn(json!({"messages": []})).to_domain().expect_err("no message");
        assert_eq!(refused.param.as_deref(), Some("messages"));
        let foreign = json!({"messages": [{"role": "user", "content": "hi"}], "documents": [{"content": {"uri": "x"}, "mime_type": "text/html"}]});
        let refused = turn(foreign).to_domain().expect_err("no address");
        assert_eq!(refused.param.as_deref(), Some("documents[0].content"));
    }
}
