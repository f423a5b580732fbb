//! Servers of tools that a request names itself, for this request alone: which of their tools may be called, which calls
//! wait for the word of whoever asks, and what is kept of a call that waits.
//!
//! Invariant: what decides whether a call waits is the request's policy and nothing that the server says, but for
//! filters by `read_only`, with which the request says that it takes the server's word.

use serde::{Deserialize, Serialize};

use crate::{
    chat::ToolCall,
    tools::{Risk, ToolDef},
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
            && self.read_only.is_none_or(|wanted| wanted == (tool.risk == Risk::Read))
    }
}

/// Which calls of a server's tools wait for the word of whoever asks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    #[default]
    Always,
    Never,
    /// Those of the tools that `always` chooses, be they in `never` too. Of others those that `never` does not choose,
    /// unless there is no `never`.
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
                always.as_ref().is_some_and(|always| always.holds(tool))
                    || never.as_ref().map_or(always.is_none(), |never| !never.holds(tool))
            }
        }
    }

    /// Whether this is the server of that name at that address.
    #[must_use]
    pub fn is(&self, label: &str, url: Option<&str>) -> bool {
        self.label == label && self.url.as_deref() == url
    }
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

    fn tool(name: &str, risk: Risk) -> ToolDef {
        let def =
            json!({ "name": name, "wire_name": name, "toolgroup": "", "description": "", "schema": {}, "hash": "" });
        ToolDef { risk, ..serde_json::from_value(def).expect("a tool") }
    }

    fn named(names: &[&str]) -> Option<Filter> {
        Some(Filter { names: Some(names.iter().map(|name| (*name).to_owned()).collect()), read_only: None })
    }

    #[test]
    fn a_call_waits_unless_the_request_says_otherwise() {
        let chosen = |always, never| Approval::Chosen { always, never };
        let reads = Some(Filter { names: None, read_only: Some(true) });
        for (approval, tool_name, risk, waits) in [
            (Approval::default(), "a", Risk::Read, true),
            (Approval::Never, "a", Risk::LowImpactWrite, false),
            (chosen(None, named(&["a"])), "a", Risk::LowImpactWrite, false),
            (chosen(None, named(&["a"])), "b", Risk::Read, true),
            (chosen(named(&["a"]), None), "a", Risk::Read, true),
            (chosen(named(&["a"]), None), "b", Risk::Read, false),
            (chosen(named(&["a"]), named(&["a", "b"])), "a", Risk::Read, true),
            (chosen(named(&["a"]), named(&["a", "b"])), "b", Risk::Read, false),
            (chosen(named(&["a"]), named(&["b"])), "c", Risk::Read, true),
            (chosen(None, reads.clone()), "a", Risk::Read, false),
            (chosen(None, reads), "a", Risk::LowImpactWrite, true),
            (chosen(None, None), "a", Risk::Read, true),
        ] {
            let server = Server { approval: approval.clone(), ..Server::default() };
            assert_eq!(server.asks(&tool(tool_name, risk)), waits, "{approval:?} {tool_name} {risk:?}");
        }
    }

    #[test]
    fn a_choice_by_name_and_hint_wants_both() {
        let both = Filter { names: named(&["a", "b"]).and_then(|filter| filter.names), read_only: Some(true) };
        assert!(both.holds(&tool("a", Risk::Read)));
        assert!(!both.holds(&tool("b", Risk::LowImpactWrite)) && !both.holds(&tool("c", Risk::Read)));
        assert!(Filter::default().holds(&tool("c", Risk::LowImpactWrite)));
    }
}
