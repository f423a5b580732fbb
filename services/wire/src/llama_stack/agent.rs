//! An agent's configuration: Llama Stack's `AgentConfig` ↔ `AgentSpec`.
//!
//! Members we act on are translated or refused by name, never silently dropped; members we do not know
//! ride in the spec's metadata and come back as they were. Our own settings are one extra member,
//! `frontdesk`.

use frontdesk_api::{
    Error, Result,
    agent::{Agent, AgentSpec, AgentTool, Guideline, GuidelineMatch, HandOffSpec, Limits, OnMessage},
    approval::ApprovalRule,
    chat::ToolChoice,
    clock::rfc3339,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{
    sampling::SamplingParams,
    tool::{ToolDef, client_tool, from_client_tool},
};

/// `POST /v1/agents`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct CreateAgent {
    pub agent_config: AgentConfig,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AgentCreated {
    pub agent_id: String,
}

/// A stored agent as `GET /v1/agents/{id}` shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct AgentView {
    pub agent_id: String,
    pub agent_config: AgentConfig,
    /// RFC 3339.
    pub created_at: String,
    /// The published version, from 1; a conversation stays on the one it began with.
    pub version: i64,
    /// The newest version; above `version` there are drafts.
    pub newest_version: i64,
}

impl From<&Agent> for AgentView {
    fn from(agent: &Agent) -> Self {
        Self {
            agent_id: agent.id.clone(),
            agent_config: AgentConfig::from_spec(&agent.spec),
            created_at: rfc3339(agent.created_at),
            version: agent.version,
            newest_version: agent.newest,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct AgentConfig {
    pub model: String,
    pub instructions: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub toolgroups: Option<Vec<Toolgroup>>,
    pub client_tools: Option<Vec<ToolDef>>,
    pub input_shields: Option<Vec<String>>,
    pub output_shields: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling_params: Option<SamplingParams>,
    /// Model calls a turn may make.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_infer_iters: Option<u32>,
    /// `auto`, `required`, `none` or the name of a tool. `tool_config.tool_choice` wins over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub tool_config: Option<Map<String, Value>>,
    /// `{type: "json_schema", json_schema}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub response_format: Option<Value>,
    /// What Llama Stack has no member for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frontdesk: Option<Extension>,
    /// Members we do not act on (`enable_session_persistence`, `tool_prompt_format`, a newer protocol's).
    #[serde(flatten)]
    #[schema(ignore)]
    pub rest: Map<String, Value>,
}

/// A group by id, or with arguments for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Toolgroup {
    Id(String),
    WithArgs {
        name: String,
        #[serde(default)]
        #[schema(value_type = Object)]
        args: Map<String, Value>,
    },
}

/// Frontdesk's own settings of an agent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = AgentExtension)]
pub struct Extension {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    /// Knowledge stores searched before the model is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub knowledge: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_passages: Option<usize>,
    /// Shields at whichever stages they guard.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shields: Vec<String>,
    /// Agents that it may ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub agents: Vec<AgentTool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hand_off: Option<HandOffSpec>,
    /// Which calls of tools wait for a person.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRule>,
    /// What a message does that comes while the turn of its conversation runs.
    #[serde(skip_serializing_if = "OnMessage::is_reject")]
    pub on_message: OnMessage,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Rules that hold under a condition.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub guidelines: Vec<Guideline>,
    /// Whether a model is asked which guidelines hold; `auto` where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guideline_match: Option<GuidelineMatch>,
    /// The model that finds which guidelines hold; the agent's where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guideline_model: Option<String>,
    /// Languages it answers in (BCP 47), the first for customers who write in another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub languages: Vec<String>,
}

/// The group by which Llama Stack's clients ask for retrieval; its `vector_db_ids` are knowledge stores.
pub const RAG_GROUP: &str = "builtin::rag";

impl AgentConfig {
    /// # Errors
    /// `Invalid` naming the member (`agent_config.…`) that cannot be honoured.
    pub fn to_spec(&self) -> Result<AgentSpec> {
        if self.model.is_empty() {
            return Err(Error::invalid("agent_config.model", "agent_config.model is missing: name a model"));
        }
        let extension = self.frontdesk.clone().unwrap_or_default();
        let (toolgroups, mut knowledge) =
            split_toolgroups(self.toolgroups.as_deref().unwrap_or_default(), "agent_config")?;
        for store in extension.knowledge {
            if !knowledge.contains(&store) {
                knowledge.push(store);
            }
        }
        let sampling = self.sampling_params.clone().unwrap_or_default().to_domain("agent_config.sampling_params")?;
        let mut limits = extension.limits.unwrap_or_default();
        if let Some(max) = self.max_infer_iters {
            limits.max_steps = max;
        }
        let mut metadata = self.rest.clone();
        if let Some(config) = &self.tool_config {
            metadata.insert("tool_config".into(), Value::Object(config.clone()));
        }
        Ok(AgentSpec {
            name: self.name.clone(),
            model: self.model.clone(),
            instructions: self.instructions.clone(),
            greeting: extension.greeting,
            toolgroups,
            client_tools: self.client_tools.iter().flatten().map(client_tool).collect(),
            tool_choice: self.choice(),
            knowledge,
            max_passages: extension.max_passages.unwrap_or(4),
            shields: extension.shields,
            input_shields: self.input_shields.clone().unwrap_or_default(),
            output_shields: self.output_shields.clone().unwrap_or_default(),
            agents: extension.agents,
            hand_off: extension.hand_off,
            approvals: extension.approvals,
            on_message: extension.on_message,
            guidelines: extension.guidelines,
            guideline_match: extension.guideline_match.unwrap_or_default(),
            guideline_model: extension.guideline_model,
            languages: extension.languages,
            sampling: frontdesk_api::agent::Sampling { seed: extension.seed, ..sampling },
            response_format: self.response_format.as_ref().map(openai_format).transpose()?,
            limits,
            metadata,
            // What Llama Stack has no word for.
            ..AgentSpec::new("")
        })
    }

    #[must_use]
    pub fn from_spec(spec: &AgentSpec) -> Self {
        let mut rest = spec.metadata.clone();
        let tool_config = rest.remove("tool_config").and_then(|c| c.as_object().cloned());
        let extension = Extension {
            greeting: spec.greeting.clone(),
            knowledge: spec.knowledge.clone(),
            max_passages: (spec.max_passages != 4).then_some(spec.max_passages),
            shields: spec.shields.clone(),
            agents: spec.agents.clone(),
            hand_off: spec.hand_off.clone(),
            approvals: spec.approvals.clone(),
            on_message: spec.on_message,
            limits: (spec.limits != Limits::default()).then(|| spec.limits.clone()),
            seed: spec.sampling.seed,
            guidelines: spec.guidelines.clone(),
            guideline_match: Some(spec.guideline_match).filter(|how| *how != GuidelineMatch::default()),
            guideline_model: spec.guideline_model.clone(),
            languages: spec.languages.clone(),
        };
        let sampling = SamplingParams::from_domain(&spec.sampling);
        Self {
            model: spec.model.clone(),
            instructions: spec.instructions.clone(),
            name: spec.name.clone(),
            toolgroups: Some(spec.toolgroups.iter().cloned().map(Toolgroup::Id).collect()),
            client_tools: Some(spec.client_tools.iter().map(from_client_tool).collect()),
            input_shields: Some(spec.input_shields.clone()),
            output_shields: Some(spec.output_shields.clone()),
            sampling_params: (sampling != SamplingParams::default()).then_some(sampling),
            max_infer_iters: Some(spec.limits.max_steps),
            tool_choice: spec.tool_choice.as_ref().map(choice_word),
            tool_config,
            response_format: spec.response_format.as_ref().map(llama_stack_format),
            frontdesk: (extension != Extension::default()).then_some(extension),
            rest,
        }
    }

    fn choice(&self) -> Option<ToolChoice> {
        let configured = self.tool_config.as_ref().and_then(|c| c.get("tool_choice")).and_then(Value::as_str);
        configured.or(self.tool_choice.as_deref()).map(choice_of)
    }
}

/// What a word says of calls of tools.
pub(crate) fn choice_of(word: &str) -> ToolChoice {
    match word {
        "auto" => ToolChoice::Auto,
        "none" => ToolChoice::None,
        "required" => ToolChoice::Required,
        name => ToolChoice::Named(name.to_owned()),
    }
}

/// Group ids and knowledge stores out of a `toolgroups` list; `at` is the list's owner in messages.
///
/// # Errors
/// `Invalid`: arguments for a group other than `builtin::rag` (they belong to its registration).
pub fn split_toolgroups(groups: &[Toolgroup], at: &str) -> Result<(Vec<String>, Vec<String>)> {
    let (mut ids, mut stores) = (vec![], vec![]);
    for (i, group) in groups.iter().enumerate() {
        let (name, args) = match group {
            Toolgroup::Id(id) => (id, None),
            Toolgroup::WithArgs { name, args } => (name, Some(args)),
        };
        if name == RAG_GROUP || name.strip_prefix(RAG_GROUP).is_some_and(|rest| rest.starts_with('/')) {
            let listed = args.and_then(|a| a.get("vector_db_ids")).and_then(Value::as_array);
            stores.extend(listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
            continue;
        }
        if args.is_some_and(|a| !a.is_empty()) {
            let message = format!("the tool group '{name}' takes no arguments here; give them when it is registered");
            return Err(Error::invalid(format!("{at}.toolgroups[{i}].args"), message));
        }
        ids.push(name.clone());
    }
    Ok((ids, stores))
}

fn openai_format(format: &Value) -> Result<Value> {
    let schema =
        format.get("json_schema").filter(|_| format.get("type").and_then(Value::as_str) == Some("json_schema"));
    let Some(schema) = schema else {
        let message =
            "response_format must be {\"type\": \"json_schema\", \"json_schema\": …}; grammars are not supported";
        return Err(Error::invalid("agent_config.response_format", message));
    };
    Ok(json!({ "type": "json_schema", "json_schema": { "name": "response", "schema": schema } }))
}

fn llama_stack_format(format: &Value) -> Value {
    let schema = format.pointer("/json_schema/schema").cloned().unwrap_or_else(|| json!({}));
    json!({ "type": "json_schema", "json_schema": schema })
}

fn choice_word(choice: &ToolChoice) -> String {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: Value) -> AgentConfig {
        serde_json::from_value(json).expect("a configuration")
    }

    // Oracle: `AgentUtils.get_agent_config` of llama-stack-client 0.2.12, every option given.
    fn full() -> Value {
        json!({
            "model": "local/tiny", "instructions": "Be kind.",
            "toolgroups": ["shop", {"name": "builtin::rag/knowledge_search", "args": {"vector_db_ids": ["pages"]}}],
            "client_tools": [{"name": "add", "description": "Add", "parameters": [], "metadata": {}, "tool_prompt_format": "python_list"}],
            "enable_session_persistence": true, "max_infer_iters": 3,
            "input_shields": ["rules"], "output_shields": [],
            "response_format": {"type": "json_schema", "json_schema": {"type": "object"}},
            "sampling_params": {"strategy": {"type": "top_p", "temperature": 0.2, "top_p": 0.9}, "max_tokens": 100},
            "tool_config": {"tool_choice": "required", "tool_prompt_format": "json"},
            "frontdesk": {
                "guidelines": [{"id": "kind", "condition": "it rains", "action": "Be kind.", "excludes": []}],
                "guideline_match": "always", "guideline_model": "m", "languages": ["de", "en"],
                "limits": {"max_steps": 3, "max_tokens": 9000, "max_cost_micro_usd": 500}
            },
            "a_newer_member": {"x": 1}
        })
    }

    #[test]
    fn a_full_configuration_becomes_a_spec() {
        let spec = config(full()).to_spec().expect("a spec");
        assert_eq!(spec.toolgroups, ["shop"]);
        assert_eq!(spec.knowledge, ["pages"]);
        assert_eq!(spec.limits.max_steps, 3);
        assert_eq!(spec.tool_choice, Some(ToolChoice::Required));
        assert_eq!(spec.client_tools[0].name, "add");
        assert_eq!((spec.sampling.temperature, spec.sampling.max_tokens), (Some(0.2), Some(100)));
        assert_eq!(spec.response_format.as_ref().expect("format")["json_schema"]["schema"], json!({"type": "object"}));
        assert_eq!(spec.input_shields, ["rules"]);
        assert_eq!(spec.metadata["a_newer_member"], json!({"x": 1}));
        assert_eq!(spec.metadata["enable_session_persistence"], json!(true));
    }

    #[test]
    fn a_spec_survives_the_wire_and_back() {
        let spec = config(full()).to_spec().expect("a spec");
        let shown = serde_json::to_value(AgentConfig::from_spec(&spec)).expect("json");
        assert_eq!(config(shown).to_spec().expect("a spec"), spec);
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (change, param) in [
            (json!({"model": ""}), "agent_config.model"),
            (json!({"toolgroups": [{"name": "shop", "args": {"k": 1}}]}), "agent_config.toolgroups[0].args"),
            (json!({"response_format": {"type": "grammar", "bnf": {}}}), "agent_config.response_format"),
        ] {
            let mut sent = full();
            sent.as_object_mut().expect("object").extend(change.as_object().expect("object").clone());
            let refused = config(sent).to_spec().expect_err(param);
            assert_eq!(refused.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn nulls_are_the_defaults() {
        let spec = config(
            json!({"model": "m", "instructions": "", "toolgroups": null, "client_tools": null, "input_shields": null}),
        );
        assert!(spec.to_spec().expect("a spec").toolgroups.is_empty());
    }
}
