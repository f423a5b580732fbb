//! What stands under a tool group's name on the server already, and what a push would make of it.
//!
//! Invariants: a group of another provider is never replaced; whatever guards less than before (trust, risk, effect, a
//! bound argument) is told by name and is not taken for a yes.

use frontdesk_api::{Error, Kind, Result};
use reqwest::Method;
use serde_json::Value;

use super::push::text;
use crate::cli::remote::Remote;

/// From the most careful to the least.
const RISKS: &[&str] = &["approval_required", "low_impact_write", "read"];
const EFFECTS: &[&str] = &["unsafe", "idempotent", "none"];

/// How the group was registered last (`detail` of its change); null where nobody wrote that down, None where there is no
/// such group.
///
/// # Errors
/// `Conflict` where it is another provider's.
pub(super) async fn standing(remote: &Remote, name: &str, provider: &str) -> Result<Option<Value>> {
    let group = match remote.json(Method::GET, &format!("/v1/toolgroups/{name}"), None).await {
        Err(e) if e.kind == Kind::NotFound => return Ok(None),
        group => group?,
    };
    let holder = text(&group["provider_id"]);
    if holder != provider {
        return Err(Error::conflict(format!(
            "nothing was pushed: '{name}' is a tool group of the provider '{holder}', not of '{provider}'; give yours \
             another name in tool.yaml"
        )));
    }
    let path = format!("/v1/toolgroup-changes?toolgroup_id={name}&limit=100");
    let changes = remote.json(Method::GET, &path, None).await?;
    let last = list(&changes["data"]).iter().find(|change| change["action"] == "registered");
    Ok(Some(last.map_or(Value::Null, |change| change["detail"].clone())))
}

/// What a push changes, in lines for people.
#[derive(Debug, Default)]
pub(super) struct Differences {
    pub(super) other: Vec<String>,
    /// What would guard less than it does.
    pub(super) weaker: Vec<String>,
}

impl Differences {
    /// Between how a group was registered, a registration's body, and what the server shows of it.
    pub(super) fn between(before: &Value, body: &Value, shown: &Value) -> Self {
        let mut found = Self::default();
        if before.is_null() {
            found.weaker.push("how it was registered is not known".to_owned());
            return found;
        }
        let trust = |value: &Value| value.as_str().unwrap_or("own").to_owned();
        let (was, is) = (trust(&before["trust"]), trust(&body["trust"]));
        if was != is {
            let lines = if is == "own" { &mut found.weaker } else { &mut found.other };
            lines.push(format!("trust was {was}, would be {is}"));
        }
        for (what, was, is) in [
            ("powers", &before["grants"], &body["args"]["grants"]),
            ("hosts", &before["args"]["hosts"], &body["args"]["hosts"]),
            ("secrets", &before["args"]["secrets"], &body["args"]["secrets"]),
        ] {
            found.other.extend(
                list(is).iter().filter(|one| !list(was).contains(one)).map(|one| format!("{what}: + {}", text(one))),
            );
            found.other.extend(
                list(was).iter().filter(|one| !list(is).contains(one)).map(|one| format!("{what}: - {}", text(one))),
            );
        }
        let (were, are) = (list(&before["tools"]), list(&shown["tools"]));
        for tool in are {
            let name = text(&tool["identifier"]);
            match were.iter().find(|was| text(&was["name"]) == name) {
                None => found.other.push(format!("{name}: a new tool")),
                Some(was) => found.tool(name, was, &tool["metadata"]),
            }
        }
        let gone = were.iter().filter(|was| are.iter().all(|tool| tool["identifier"] != was["name"]));
        found.other.extend(gone.map(|was| format!("{}: gone", text(&was["name"]))));
        found
    }

    fn tool(&mut self, name: &str, before: &Value, after: &Value) {
        for (word, order) in [("risk", RISKS), ("effect", EFFECTS)] {
            let (was, is) = (text(&before[word]), text(&after[word]));
            if was == is {
                continue;
            }
            let place = |word: &str| order.iter().position(|one| *one == word);
            let lines = if place(is) > place(was) { &mut self.weaker } else { &mut self.other };
            lines.push(format!("{name}: {word} was {was}, would be {is}"));
        }
        for (argument, source) in before["bind"].as_object().into_iter().flatten() {
            if after["bound_args"][argument] != *source {
                self.weaker.push(format!("{name}: '{argument}' was filled in from {}", text(source)));
            }
        }
        if before["hash"] != after["hash"] {
            self.other.push(format!("{name}: is described otherwise"));
        }
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_guards_less_is_told_from_what_is_only_different() {
        let before = json!({
            "trust": "third_party", "grants": ["log"], "args": { "hosts": ["a.example"], "secrets": [] },
            "tools": [
                { "name": "pay", "effect": "unsafe", "risk": "approval_required", "bind": { "who": "customer.sub" }, "hash": "1" },
                { "name": "look", "effect": "none", "risk": "read", "bind": {}, "hash": "2" },
                { "name": "old", "effect": "none", "risk": "read", "bind": {}, "hash": "3" },
            ],
        });
        let tool = |name: &str, effect: &str, risk: &str, hash: &str| json!({ "identifier": name, "metadata": { "effect": effect, "risk": risk, "bound_args": {}, "hash": hash } });
        let body = json!({ "trust": null, "args": { "grants": ["log", "fetch"], "hosts": [], "secrets": ["key"] } });
        let shown = json!({ "tools": [
            tool("pay", "idempotent", "read", "1"), tool("look", "unsafe", "low_impact_write", "9"), tool("new", "none", "read", "4"),
        ] });
        let found = Differences::between(&before, &body, &shown);
        assert_eq!(
            found.weaker,
            [
                "trust was third_party, would be own",
                "pay: risk was approval_required, would be read",
                "pay: effect was unsafe, would be idempotent",
                "pay: 'who' was filled in from customer.sub",
            ]
        );
        assert_eq!(
            found.other,
            [
                "powers: + fetch",
                "hosts: - a.example",
                "secrets: + key",
                "look: risk was read, would be low_impact_write",
                "look: effect was none, would be unsafe",
                "look: is described otherwise",
                "new: a new tool",
                "old: gone",
            ]
        );
        assert_eq!(Differences::between(&Value::Null, &body, &shown).weaker, ["how it was registered is not known"]);
    }
}
