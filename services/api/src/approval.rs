//! Approvals: which calls wait for a person, what is asked, and what was said.
//!
//! Whether a call waits is decided by an agent's rules over what the server knows of the tool and over the arguments
//! that the model wrote. Invariant: what cannot be read counts for asking, never for running.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Micros,
    chat::ToolCall,
    tools::{Risk, ToolDef},
};

/// One rule. Every member that is there must fit the call; the first rule that fits decides. Where none does, calls of
/// tools with the risk `approval_required` ask and the others run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRule {
    /// Calls of this tool, by the name that the model calls it by; left out: of any. A rule that asks fits the name that
    /// the tool has at its source too, so that no other name takes a tool out of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Calls of tools of this risk; left out: of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Risk>,
    /// A number in the arguments, by its JSON pointer (RFC 6901); goes with `above`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// Calls whose `argument` is more than this. One that is missing, no number or bound by the server fits a rule that
    /// asks, and no other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Whether such a call waits for a person (it does where this is left out) or runs.
    #[serde(default = "yes")]
    pub ask: bool,
}

fn yes() -> bool {
    true
}

impl ApprovalRule {
    fn fits(&self, tool: &ToolDef, arguments: &Value) -> bool {
        self.tool.as_ref().is_none_or(|name| *name == tool.name || (self.ask && *name == tool.wire_name))
            && self.risk.is_none_or(|risk| risk == tool.risk)
            && self.argument.as_ref().zip(self.above).is_none_or(|(pointer, above)| {
                let bound =
                    pointer.split('/').nth(1).is_some_and(|name| tool.bound_args.contains_key(&unescaped(name)));
                let value = arguments.pointer(pointer).and_then(Value::as_f64).filter(|_| !bound);
                value.map_or(self.ask, |value| value > above)
            })
    }
}

/// A part of a JSON pointer as the name it stands for (RFC 6901, section 4).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

/// Whether this call waits for a person.
#[must_use]
pub fn asks(rules: &[ApprovalRule], tool: &ToolDef, call: &ToolCall) -> bool {
    ruled(rules, tool, call).unwrap_or(tool.risk == Risk::ApprovalRequired)
}

/// Whether a rule makes this call wait or run; None: no rule fits.
#[must_use]
pub fn ruled(rules: &[ApprovalRule], tool: &ToolDef, call: &ToolCall) -> Option<bool> {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or(Value::Null);
    rules.iter().find(|rule| rule.fits(tool, &arguments)).map(|rule| rule.ask)
}

/// How an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// Nobody has said a word; the turn waits.
    Open,
    Approved,
    Denied,
    /// Nobody said a word in time.
    Expired,
    /// Its turn ended before anyone said a word: it was cancelled, or a newer message took its place.
    Withdrawn,
}

impl ApprovalState {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Why a person is asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A rule of the agent, or the tool's risk.
    #[default]
    Rule,
    /// An earlier call of the tool in this conversation may have done its work, and nobody saw its end: look there before
    /// this one is approved.
    OutcomeUnknown,
}

/// What a person said to an approval. Kept with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Decision {
    pub approved: bool,
    /// For the model where it was denied, and for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key it was said with.
    pub key_id: String,
    /// When, in microseconds.
    pub at: Micros,
}

/// A call that waits for a person: the approval's id, and what would be called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Asked {
    pub approval_id: String,
    pub call: ToolCall,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::tools::{Effect, Runs};

    fn tool(name: &str, risk: Risk) -> ToolDef {
        ToolDef {
            name: name.into(),
            wire_name: name.into(),
            toolgroup: "shop".into(),
            description: String::new(),
            schema: json!({}),
            runs: Runs::Server,
            effect: Effect::Unsafe,
            risk,
            bound_args: BTreeMap::from([("tier/x".to_owned(), "customer.tier".to_owned())]),
            alone: false,
            hash: String::new(),
        }
    }

    fn rules(rules: Value) -> Vec<ApprovalRule> {
        serde_json::from_value(rules).expect("rules")
    }

    fn asked(rules: &[ApprovalRule], tool: &ToolDef, arguments: &str) -> bool {
        let call = ToolCall { id: "a".into(), name: tool.name.clone(), arguments: arguments.into() };
        asks(rules, tool, &call)
    }

    #[test]
    fn without_rules_the_risk_decides() {
        for (risk, ask) in [(Risk::Read, false), (Risk::LowImpactWrite, false), (Risk::ApprovalRequired, true)] {
            assert_eq!(asked(&[], &tool("t", risk), "{}"), ask, "{risk:?}");
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = rules(json!([
            { "tool": "refund", "argument": "/amount", "above": 50 },
            { "tool": "refund", "ask": false },
            { "risk": "low_impact_write" },
        ]));
        let refund = tool("refund", Risk::ApprovalRequired);
        for (arguments, ask) in [
            (r#"{"amount": 50.01}"#, true),
            (r#"{"amount": 50}"#, false),
            (r#"{"amount": -1}"#, false),
            // Whoever reads the last of two names reads the same as the tool does.
            (r#"{"amount": 1, "amount": 60}"#, true),
        ] {
            assert_eq!(asked(&rules, &refund, arguments), ask, "{arguments}");
        }
        assert!(asked(&rules, &tool("book", Risk::LowImpactWrite), "{}"));
        assert!(!asked(&rules, &tool("look", Risk::Read), "{}"));
        assert!(asked(&rules, &tool("other", Risk::ApprovalRequired), "{}"), "what no rule names goes by its risk");
    }

    #[test]
    fn a_tool_under_another_name_is_asked_about_as_under_its_own() {
        let renamed = ToolDef { name: "shop_refund".into(), ..tool("refund", Risk::LowImpactWrite) };
        assert!(asked(&rules(json!([{ "tool": "refund" }])), &renamed, "{}"));
        // What runs without a word is named as it is called.
        let risky = ToolDef { risk: Risk::ApprovalRequired, ..renamed };
        assert!(asked(&rules(json!([{ "tool": "refund", "ask": false }])), &risky, "{}"));
    }

    #[test]
    fn what_cannot_be_read_asks_and_never_runs() {
        let above = |ask: bool, pointer: &str| rules(json!([{ "argument": pointer, "above": 5, "ask": ask }]));
        let unreadable = ["", "no JSON", "[]", "{}", r#"{"n": "1"}"#, r#"{"n": null}"#, r#"{"n": {"m": 1}}"#];
        for arguments in unreadable {
            assert!(asked(&above(true, "/n"), &tool("t", Risk::Read), arguments), "{arguments}");
            assert!(asked(&above(false, "/n"), &tool("t", Risk::ApprovalRequired), arguments), "{arguments}");
        }
        // What the server fills is not what the model wrote.
        assert!(asked(&above(true, "/tier~1x"), &tool("t", Risk::Read), r#"{"tier/x": 1}"#));
        assert!(asked(&above(true, "/tier~1x/n"), &tool("t", Risk::Read), r#"{"tier/x": {"n": 1}}"#));
        assert!(!asked(&above(true, "/lines/0/n"), &tool("t", Risk::Read), r#"{"lines": [{"n": 5}]}"#));
    }
}
