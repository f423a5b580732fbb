//! What `/mcp` offers: each of the tenant's named agents as a tool to ask it, and the tools of groups that the operator names.
//!
//! A tool has the name it has for an agent with all these groups; an agent is `ask_` and its name, as other agents know it.
//! Invariants: no tool is offered of a group that the configuration does not name; one group that cannot be read takes
//! nothing from the others.

use std::{collections::HashSet, sync::OnceLock};

use frontdesk_api::{
    Cx, Result, Tools as _,
    tools::{Effect, Outcome, Risk, ToolDef},
};
use serde_json::{Value, json};

use crate::app::App;

/// A tool, by the name it is called by.
pub enum Offered {
    Tool(ToolDef),
    /// Name of the tool, id and name of the agent.
    Agent {
        tool: String,
        id: String,
        name: String,
    },
}

impl Offered {
    pub fn name(&self) -> &str {
        match self {
            Self::Tool(def) => &def.name,
            Self::Agent { tool, .. } => tool,
        }
    }

    /// As a client reads it.
    pub fn shown(&self) -> Value {
        match self {
            Self::Tool(def) => json!({
                "name": def.name,
                "description": def.description,
                "inputSchema": object(&def.schema),
                "annotations": {
                    "readOnlyHint": def.effect == Effect::None,
                    "idempotentHint": def.effect == Effect::Idempotent,
                    "destructiveHint": def.risk == Risk::ApprovalRequired,
                },
            }),
            Self::Agent { tool, name, .. } => json!({
                "name": tool,
                "title": name,
                "description": format!(
                    "Ask the agent '{name}'. It answers with a conversation: give that with the next message to go on."
                ),
                "inputSchema": {
                    "type": "object",
                    "properties": {
                        "message": { "type": "string", "minLength": 1, "description": "What to ask or tell it." },
                        "conversation": {
                            "type": "string",
                            "description": "The conversation of an earlier answer; left out: a new one.",
                        },
                    },
                    "required": ["message"],
                    "additionalProperties": false,
                },
                "outputSchema": {
                    "type": "object",
                    "properties": {
                        "answer": { "type": "string" },
                        "conversation": { "type": "string" },
                        "turn": { "type": "string" },
                        "status": { "type": "string", "description": "completed, incomplete or awaiting_input" },
                        "questions": { "type": "array", "items": { "type": "object" },
                                       "description": "what tools ask a person, to be answered at /v1/questions/{question_id}" },
                    },
                    "required": ["answer", "conversation", "turn", "status"],
                },
                "annotations": { "readOnlyHint": false, "destructiveHint": false, "openWorldHint": true },
            }),
        }
    }
}

/// The protocol wants the type said.
fn object(schema: &Value) -> Value {
    let mut schema = schema.clone();
    if let Value::Object(members) = &mut schema {
        members.entry("type").or_insert_with(|| json!("object"));
    }
    schema
}

/// All of them, tools first, each in the order it is known in; and the groups that the tools are of.
///
/// # Errors
/// As any query.
pub async fn all(app: &App, cx: &Cx) -> Result<(Vec<String>, Vec<Offered>)> {
    let groups = groups(app, cx).await?;
    let mut offered: Vec<Offered> = app.tools.list(cx, &groups).await?.into_iter().map(Offered::Tool).collect();
    let mut taken: HashSet<String> = offered.iter().map(|one| one.name().to_owned()).collect();
    for agent in app.agents.named_agents(cx).await? {
        let fits = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' };
        let base: String = format!("ask_{}", agent.name).chars().map(fits).take(60).collect();
        let mut tool = base.clone();
        let mut n = 2;
        while !taken.insert(tool.clone()) {
            tool = format!("{base}_{n}");
            n += 1;
        }
        offered.push(Offered::Agent { tool, id: agent.id, name: agent.name });
    }
    Ok((groups, offered))
}

/// Those of the configuration's that this tenant has and that can be read.
async fn groups(app: &App, cx: &Cx) -> Result<Vec<String>> {
    let named = &app.config.mcp.tools;
    if named.is_empty() {
        return Ok(vec![]);
    }
    let mut groups = vec![];
    for group in app.tools.list_groups(cx).await?.into_iter().filter(|group| named.contains(&group.id)) {
        match app.tools.list(cx, std::slice::from_ref(&group.id)).await {
            Ok(_) => groups.push(group.id),
            Err(error) => {
                tracing::warn!(
                    tenant = cx.tenant,
                    toolgroup = group.id,
                    "/mcp shows the tools without a group: {error}"
                );
            }
        }
    }
    Ok(groups)
}

/// Calls a tool that was offered out of these groups. `whole`: where the result of a server of this protocol is put as it
/// came, by `cx.news`.
///
/// # Errors
/// Infrastructure only.
pub async fn call(
    app: &App,
    cx: &Cx,
    groups: &[String],
    def: &ToolDef,
    arguments: &Value,
    whole: &OnceLock<Value>,
) -> Result<Value> {
    let key = app.ids.next("call");
    let call =
        frontdesk_api::chat::ToolCall { id: key.clone(), name: def.name.clone(), arguments: arguments.to_string() };
    let outcome = app.tools.call(cx, groups, &call, &key, false).await?;
    Ok(match outcome {
        Outcome::Done(result) => {
            let theirs = whole.get().and_then(|whole| as_it_came(whole, result.is_error));
            theirs.unwrap_or_else(|| json!({ "content": [text(&result.content)], "isError": result.is_error }))
        }
        Outcome::NeedsInput(request) => failed(&format!("it needs the word of a person: {}", request.words())),
    })
}

/// A server's own result with its pictures and sounds. None where it is none, or where the text says otherwise (it was too
/// long, or broke its server's promise).
fn as_it_came(whole: &Value, is_error: bool) -> Option<Value> {
    let failed = whole["isError"] == Value::Bool(true);
    let content = whole["content"].as_array().filter(|content| failed == is_error && !content.is_empty())?;
    let mut result = json!({ "content": content, "isError": is_error });
    if let Some(structured) = whole.get("structuredContent").filter(|value| value.is_object()) {
        result["structuredContent"] = structured.clone();
    }
    Some(result)
}

pub fn text(text: &str) -> Value {
    json!({ "type": "text", "text": text })
}

/// A call that failed, as a model reads it.
pub fn failed(why: &str) -> Value {
    json!({ "content": [text(why)], "isError": true })
}
