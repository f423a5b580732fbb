//! What the request of a response gave beside its words, put over another spec of its agent.
//!
//! A response works by its agent's version and its request together, and its row has the spec that both came to. What
//! that one has otherwise than the version is the request's, and goes over the other spec as it went over the version;
//! what a request only repeated counts as the agent's. Invariant: members that no request gives are the other spec's.

use frontdesk_api::{agent::AgentSpec, web};
use frontdesk_store::turns::TurnRequest;

/// What the `tool_choice` of a response says where its request named all that may be called, and the agent's own tools
/// stayed out.
const NARROWED: &str = "allowed_tools";

/// `spec` with what the `request` gave over `version`.
pub(super) fn over(mut spec: AgentSpec, version: &AgentSpec, request: &TurnRequest) -> AgentSpec {
    let Some(asked) = &request.spec else { return spec };
    let mut version = version.clone();
    if request.response.as_ref().is_some_and(|echo| echo["tool_choice"]["type"] == NARROWED) {
        narrow(&mut spec);
        narrow(&mut version);
    }
    for group in more(&asked.toolgroups, &version.toolgroups) {
        let of = |own: &String| family(own) == family(group);
        if group == web::GROUP {
            // As a request has it: the first, in the place of its single tools.
            spec.toolgroups.retain(|own| !of(own));
            spec.toolgroups.insert(0, group.clone());
        } else if !spec.toolgroups.iter().any(of) {
            spec.toolgroups.push(group.clone());
        }
    }
    // No request is taken whose functions have names of the agent's; a draft may have come to one since.
    let has = |spec: &AgentSpec, name: &str| spec.client_tools.iter().any(|own| own.name == name);
    for function in asked.client_tools.iter().filter(|function| !has(&version, &function.name)) {
        if !has(&spec, &function.name) {
            spec.client_tools.push(function.clone());
        }
    }
    for (own, asked, version) in [
        (&mut spec.knowledge, &asked.knowledge, &version.knowledge),
        (&mut spec.code_files, &asked.code_files, &version.code_files),
    ] {
        for id in more(asked, version) {
            if !own.contains(id) {
                own.push(id.clone());
            }
        }
    }
    take(&mut spec.max_passages, &asked.max_passages, &version.max_passages);
    take(&mut spec.web_domains, &asked.web_domains, &version.web_domains);
    take(&mut spec.tool_choice, &asked.tool_choice, &version.tool_choice);
    take(&mut spec.parallel_tool_calls, &asked.parallel_tool_calls, &version.parallel_tool_calls);
    take(&mut spec.response_format, &asked.response_format, &version.response_format);
    take(&mut spec.keep_all_turns, &asked.keep_all_turns, &version.keep_all_turns);
    take(&mut spec.sampling.temperature, &asked.sampling.temperature, &version.sampling.temperature);
    take(&mut spec.sampling.top_p, &asked.sampling.top_p, &version.sampling.top_p);
    take(&mut spec.sampling.max_tokens, &asked.sampling.max_tokens, &version.sampling.max_tokens);
    for (name, value) in &asked.model_params {
        if version.model_params.get(name) != Some(value) {
            spec.model_params.insert(name.clone(), value.clone());
        }
    }
    spec
}

/// Leaves out what the agent itself may call and search.
fn narrow(spec: &mut AgentSpec) {
    spec.toolgroups.clear();
    spec.client_tools.clear();
    spec.agents.clear();
    spec.knowledge.clear();
    spec.hand_off = None;
}

/// What was asked with and the version has not.
fn more<'a>(asked: &'a [String], version: &'a [String]) -> impl Iterator<Item = &'a String> {
    asked.iter().filter(move |one| !version.contains(one))
}

/// A group by its name, whether all of it is meant or one of its tools.
fn family(group: &str) -> &str {
    group.split_once('/').map_or(group, |(group, _)| group)
}

fn take<T: Clone + PartialEq>(own: &mut T, asked: &T, version: &T) {
    if asked != version {
        own.clone_from(asked);
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        agent::{HandOffSpec, Sampling},
        chat::{ToolChoice, ToolSpec},
        code,
    };
    use serde_json::json;

    use super::*;

    fn function(name: &str) -> ToolSpec {
        ToolSpec { name: name.into(), description: None, parameters: None, strict: None, cache_control: None }
    }

    fn functions(names: &[&str]) -> Vec<ToolSpec> {
        names.iter().map(|name| function(name)).collect()
    }

    fn ids(ids: &[&str]) -> Vec<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    fn request(spec: AgentSpec, tool_choice: &str) -> TurnRequest {
        let response = Some(json!({ "tool_choice": { "type": tool_choice } }));
        TurnRequest { spec: Some(spec), response, ..TurnRequest::default() }
    }

    #[test]
    fn what_the_request_gave_goes_over_the_draft_and_all_else_is_the_drafts() {
        let params = |params: serde_json::Value| params.as_object().cloned().unwrap_or_default();
        let version = AgentSpec {
            instructions: "Be kind.".into(),
            toolgroups: ids(&["shop", "builtin::websearch/search"]),
            client_tools: functions(&["own"]),
            knowledge: ids(&["vs_1"]),
            sampling: Sampling { temperature: Some(0.2), seed: Some(1), ..Sampling::default() },
            model_params: params(json!({ "verbosity": "low", "user": "desk" })),
            ..AgentSpec::new("m")
        };
        let asked = AgentSpec {
            toolgroups: ids(&[web::GROUP, "shop", code::GROUP]),
            web_domains: ids(&["example.com"]),
            client_tools: functions(&["own", "theirs", "now_ours"]),
            knowledge: ids(&["vs_1", "vs_2"]),
            max_passages: 9,
            tool_choice: Some(ToolChoice::Required),
            response_format: Some(json!({ "type": "json_object" })),
            sampling: Sampling { temperature: Some(0.9), max_tokens: Some(50), ..version.sampling.clone() },
            model_params: params(json!({ "verbosity": "low", "user": "u", "reasoning_effort": "low" })),
            ..version.clone()
        };
        let draft = AgentSpec {
            instructions: "Be short.".into(),
            toolgroups: ids(&["crm", "builtin::websearch/search"]),
            client_tools: functions(&["now_ours"]),
            knowledge: ids(&["vs_3"]),
            parallel_tool_calls: Some(false),
            sampling: Sampling { temperature: Some(0.4), top_p: Some(0.5), ..Sampling::default() },
            model_params: params(json!({ "verbosity": "high" })),
            ..AgentSpec::new("other")
        };
        let want = AgentSpec {
            toolgroups: ids(&[web::GROUP, "crm", code::GROUP]),
            web_domains: ids(&["example.com"]),
            client_tools: functions(&["now_ours", "theirs"]),
            knowledge: ids(&["vs_3", "vs_2"]),
            max_passages: 9,
            tool_choice: Some(ToolChoice::Required),
            response_format: Some(json!({ "type": "json_object" })),
            sampling: Sampling {
                temperature: Some(0.9),
                top_p: Some(0.5),
                max_tokens: Some(50),
                ..Sampling::default()
            },
            model_params: params(json!({ "verbosity": "high", "user": "u", "reasoning_effort": "low" })),
            ..draft.clone()
        };
        assert_eq!(over(draft.clone(), &version, &request(asked, "function")), want);
        assert_eq!(over(draft.clone(), &version, &request(version.clone(), "auto")), draft, "it gave nothing");
        assert_eq!(over(draft.clone(), &version, &TurnRequest::default()), draft, "no response");
    }

    #[test]
    fn where_the_request_named_all_that_may_be_called_nothing_of_the_draft_is() {
        let version = AgentSpec { knowledge: ids(&["vs_1"]), ..AgentSpec::new("m") };
        let asked = AgentSpec { knowledge: ids(&["vs_1"]), client_tools: functions(&["theirs"]), ..version.clone() };
        let draft = AgentSpec {
            toolgroups: ids(&["crm"]),
            client_tools: functions(&["own"]),
            hand_off: Some(HandOffSpec::to_people("A colleague takes over.")),
            ..version.clone()
        };
        assert_eq!(over(draft, &version, &request(asked.clone(), NARROWED)), asked);
    }
}
