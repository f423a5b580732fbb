//! What an operator registers, and what it makes of the tools that were found.

use std::collections::{BTreeMap, BTreeSet};

use frontdesk_api::{
    Error, Result,
    tools::{Effect, Inspected, Risk, ToolDef},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::Trust;

/// Argument name → where the server takes it from (`customer.sub`).
pub type Bound = BTreeMap<String, String>;

/// A group to register.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Registration {
    pub toolgroup_id: String,
    pub provider_id: String,
    /// What the provider needs: `component` (a file id), `grants` (a list of powers), `url`, …
    pub args: Map<String, Value>,
    /// Llama Stack's field; becomes `args.mcp_endpoint.uri`.
    pub mcp_endpoint: Option<String>,
    pub trust: Trust,
    /// By tool name.
    pub tools: BTreeMap<String, Override>,
}

/// What an operator says of a tool over what was found. None: as found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    pub effect: Option<Effect>,
    pub risk: Option<Risk>,
    pub bind: Bound,
}

/// Prefix of groups that are the platform's own.
pub(crate) const BUILTIN: &str = "builtin::";

impl Registration {
    pub(crate) fn check(&self) -> Result<()> {
        let id = &self.toolgroup_id;
        if id.is_empty() || id.len() > 128 || !id.chars().all(|c| c.is_ascii_alphanumeric() || "._:/-".contains(c)) {
            let message = "toolgroup_id must have 1 to 128 characters out of letters, digits and . _ : / -";
            return Err(Error::invalid("toolgroup_id", message));
        }
        if id.starts_with(BUILTIN) {
            return Err(Error::invalid(
                "toolgroup_id",
                format!("'{BUILTIN}' is reserved for the platform's own groups"),
            ));
        }
        Ok(())
    }

    /// The args as the provider gets them.
    pub(crate) fn provider_args(&self) -> Value {
        let mut args = self.args.clone();
        if let Some(uri) = &self.mcp_endpoint {
            args.insert("mcp_endpoint".into(), json!({ "uri": uri }));
        }
        Value::Object(args)
    }

    pub(crate) fn grants(&self) -> Result<Vec<String>> {
        let Some(given) = self.args.get("grants").filter(|g| !g.is_null()) else { return Ok(vec![]) };
        let listed =
            given.as_array().map(|list| list.iter().map(|g| g.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>());
        listed.flatten().ok_or_else(|| {
            Error::invalid("args.grants", "args.grants must be a list of names such as [\"kv\", \"log\"]")
        })
    }

    /// The tools as they are pinned.
    ///
    /// # Errors
    /// `Invalid`: powers asked for that are not granted, an override for a tool or an argument that is not
    /// there, a name no model can call, two tools of one name.
    pub(crate) fn apply(&self, found: Inspected, grants: &[String]) -> Result<Vec<ToolDef>> {
        let missing: Vec<&str> = found.requests.iter().filter(|r| !grants.contains(r)).map(String::as_str).collect();
        if !missing.is_empty() {
            let message = format!("it asks for {}: name it in args.grants to allow it", quoted(&missing));
            return Err(Error::invalid("args.grants", message));
        }
        let names: Vec<&str> = found.tools.iter().map(|t| t.name.as_str()).collect();
        let mut seen = BTreeSet::new();
        for name in &names {
            if !is_callable(name) {
                let message = format!("'{name}' is no name a model can call: use 1 to 64 letters, digits, _ and -");
                return Err(Error::invalid("tools", message));
            }
            if !seen.insert(*name) {
                return Err(Error::invalid("tools", format!("two tools are called '{name}'")));
            }
        }
        if let Some(unknown) = self.tools.keys().find(|name| !names.contains(&name.as_str())) {
            let message = format!("no tool of this group is called '{unknown}'; it has {}", quoted(&names));
            return Err(Error::invalid(format!("tools.{unknown}"), message));
        }
        found.tools.into_iter().map(|def| self.pinned(def)).collect()
    }

    fn pinned(&self, mut def: ToolDef) -> Result<ToolDef> {
        def.toolgroup.clone_from(&self.toolgroup_id);
        let Some(over) = self.tools.get(&def.name) else { return Ok(def) };
        def.effect = over.effect.unwrap_or(def.effect);
        def.risk = over.risk.unwrap_or(def.risk);
        for (argument, path) in &over.bind {
            let param = format!("tools.{}.bind.{argument}", def.name);
            if def.schema.pointer("/properties").and_then(|p| p.get(argument)).is_none() {
                return Err(Error::invalid(param, format!("the tool '{}' has no argument '{argument}'", def.name)));
            }
            if path.strip_prefix("customer.").is_none_or(str::is_empty) {
                return Err(Error::invalid(
                    param,
                    format!("'{path}' names nothing of the customer; use customer.sub or customer.<claim>"),
                ));
            }
            def.bound_args.insert(argument.clone(), path.clone());
        }
        Ok(def)
    }
}

/// What every model API accepts as a function's name.
fn is_callable(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

pub(crate) fn quoted(names: &[&str]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str], requests: &[&str]) -> Inspected {
        let tool = |name: &&str| ToolDef {
            name: (*name).to_owned(),
            wire_name: (*name).to_owned(),
            toolgroup: String::new(),
            description: String::new(),
            schema: json!({"type": "object", "properties": {"id": {}}}),
            runs: frontdesk_api::tools::Runs::Server,
            effect: Effect::Unsafe,
            risk: Risk::LowImpactWrite,
            bound_args: BTreeMap::new(),
            alone: false,
            hash: String::new(),
        };
        let requests = requests.iter().map(|r| (*r).to_owned()).collect();
        Inspected { tools: names.iter().map(tool).collect(), requests, hash: "h".into(), ..Inspected::default() }
    }

    fn registration(tools: Value) -> Registration {
        Registration {
            toolgroup_id: "shop".into(),
            provider_id: "wasm".into(),
            tools: serde_json::from_value(tools).expect("overrides"),
            ..Registration::default()
        }
    }

    #[test]
    fn overrides_win_over_what_was_found() {
        let registration = registration(
            json!({"refund": {"effect": "idempotent", "risk": "approval_required", "bind": {"id": "customer.sub"}}}),
        );
        let tools = registration.apply(found(&["look", "refund"], &[]), &[]).expect("pinned");
        assert_eq!(
            (tools[0].effect, tools[0].risk, tools[0].toolgroup.as_str()),
            (Effect::Unsafe, Risk::LowImpactWrite, "shop")
        );
        assert_eq!((tools[1].effect, tools[1].risk), (Effect::Idempotent, Risk::ApprovalRequired));
        assert_eq!(tools[1].bound_args["id"], "customer.sub");
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (tools, inspected, param) in [
            (json!({"refnd": {}}), found(&["refund"], &[]), "tools.refnd"),
            (json!({"refund": {"bind": {"nope": "customer.sub"}}}), found(&["refund"], &[]), "tools.refund.bind.nope"),
            (json!({"refund": {"bind": {"id": "model.says"}}}), found(&["refund"], &[]), "tools.refund.bind.id"),
            (json!({}), found(&["refund"], &["kv"]), "args.grants"),
            (json!({}), found(&["re fund"], &[]), "tools"),
            (json!({}), found(&["refund", "refund"], &[]), "tools"),
        ] {
            let refused = registration(tools).apply(inspected, &["log".to_owned()]).expect_err(param);
            assert_eq!(refused.param.as_deref(), Some(param));
        }
    }
}
