//! Servers of tools that a request names itself, for this request alone: which of their tools may be called, which calls
//! wait for the word of whoever asks, and what is kept of a call that waits.
//!
//! Invariant: what decides whether a call waits is the request's policy and nothing that the server says, but for
//! filters by `read_only`, with which the request says that it takes the server's word.

use serde::{Deserialize, Serialize};

use crate::{
    chat::ToolCall,
    tools::{Effect, ToolDef},
};

/// A server of tools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// The request's name for it.
    pub label: String,
    /// Where it is; None: the tenant's tool group that is called as the label is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its tools that may be called.
    pub allowed: Filter,
    pub approval: Approval,
    /// What it is sent along, sealed for the tenant, the label and the address. Gone when its turn has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Vec<u8>>,
}

/// A choice of tools: every member that is there must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// By their names at the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Whether the server says that they only read (`readOnlyHint`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,
}

impl Filter {
    /// Whether the tool, as it was listed, is chosen.
    #[must_use]
    pub fn holds(&self, tool: &ToolDef) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(&tool.wire_name))
            && self.read_only.is_none_or(|wanted| wanted == (tool.effect == Effect::None))
    }
}

/// Which calls of a server's tools wait for the word of whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    #[default]
    Always,
    Never,
    /// All but those that `never` chooses and `always` does not.
    Chosen {
        always: Option<Filter>,
        never: Option<Filter>,
    },
}

impl Server {
    /// Whether calls of this tool, as it was listed, wait.
    #[must_use]
    pub fn asks(&self, tool: &ToolDef) -> bool {
        match &self.approval {
            Approval::Always => true,
            Approval::Never => false,
            Approval::Chosen { always, never } => {
                let chosen = |filter: &Option<Filter>| filter.as_ref().is_some_and(|filter| filter.holds(tool));
                chosen(always) || !chosen(never)
            }
        }
    }

    /// Whether this is the server of that name at that address.
    #[must_use]
    pub fn is(&self, label: &str, url: Option<&str>) -> bool {
        self.label == label && self.url.as_deref() == url
    }
}

/// A tool of a server as [`crate::chat::ToolChoice::Named`] names it: with the label, as no other tool's name has a blank.
#[must_use]
pub fn choice(label: &str, wire_name: &str) -> String {
    format!("{label} {wire_name}")
}

/// The label and the tool's name at the server, of what [`choice`] made.
#[must_use]
pub fn chosen(name: &str) -> Option<(&str, &str)> {
    name.split_once(' ')
}

/// A call that waits for a word, as it will be made once it is approved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WaitingCall {
    pub call: ToolCall,
    /// The label of its server.
    pub server: String,
    /// The server's address ([`Server::url`]).
    pub url: Option<String>,
    /// The tool as it was listed.
    pub tool: ToolDef,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(name: &str, effect: Effect) -> ToolDef {
        let def =
            json!({ "name": name, "wire_name": name, "toolgroup": "", "description": "", "schema": {}, "hash": "" });
        ToolDef { effect, ..serde_json::from_value(def).expect("a tool") }
    }

    fn named(names: &[&str]) -> Option<Filter> {
        Some(Filter { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), read_only: None })
    }

    #[test]
    fn a_call_waits_unless_the_request_says_otherwise() {
        let chosen = |always, never| Approval::Chosen { always, never };
        let reads = Some(Filter { names: None, read_only: Some(true) });
        for (approval, tool_name, effect, waits) in [
            (Approval::default(), "a", Effect::None, true),
            (Approval::Never, "a", Effect::Unsafe, false),
            (chosen(None, named(&["a"])), "a", Effect::Unsafe, false),
            (chosen(None, named(&["a"])), "b", Effect::None, true),
            (chosen(named(&["a"]), None), "a", Effect::None, true),
            (chosen(named(&["a"]), None), "b", Effect::None, true),
            (chosen(named(&["a"]), named(&["a", "b"])), "a", Effect::None, true),
            (chosen(named(&["a"]), named(&["a", "b"])), "b", Effect::None, false),
            (chosen(named(&["a"]), named(&["b"])), "c", Effect::None, true),
            (chosen(None, reads.clone()), "a", Effect::None, false),
            (chosen(None, reads), "a", Effect::Unsafe, true),
            (chosen(None, None), "a", Effect::None, true),
        ] {
            let server = Server { approval: approval.clone(), ..Server::default() };
            assert_eq!(server.asks(&tool(tool_name, effect)), waits, "{approval:?} {tool_name} {effect:?}");
        }
    }

    #[test]
    fn a_choice_by_name_and_hint_wants_both() {
        let both = Filter { names: named(&["a", "b"]).and_then(|filter| filter.names), read_only: Some(true) };
        assert!(both.holds(&tool("a", Effect::None)));
        assert!(!both.holds(&tool("b", Effect::Unsafe)) && !both.holds(&tool("c", Effect::None)));
        assert!(Filter::default().holds(&tool("c", Effect::Unsafe)));
    }
}
