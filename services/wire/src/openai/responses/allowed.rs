//! `tool_choice` of the type `allowed_tools`: a request that names all its tools and lets the model call some of them.
//!
//! The model is shown those alone, so that it can call no other, whatever the dialect of its server; what the response
//! repeats stays whole. Source of the shape: OpenAI's API reference, "Responses", `tool_choice`, and
//! `ToolChoiceAllowedParam` of its official package.

use frontdesk_api::{Error, Result, chat::ToolChoice};
use serde_json::Value;

use super::{code, mcp, tools::Tools, web};
use crate::fields::Fields;

/// The `type` of the choice.
pub const TYPE: &str = "allowed_tools";

/// Leaves in `tools` what the choice names.
///
/// # Errors
/// `Invalid` naming the member; for a tool that is not among the request's its place in the choice.
pub fn narrow(choice: Value, tools: &mut Tools) -> Result<ToolChoice> {
    let mut fields = Fields::of(choice, "tool_choice")?;
    fields.pass_over(&["type"]);
    let mode = fields.word("mode", &["auto", "required"])?.ok_or_else(|| fields.missing("mode"))?;
    let (list, path) = (fields.list("tools")?.ok_or_else(|| fields.missing("tools"))?, fields.path("tools"));
    fields.end()?;
    if list.is_empty() {
        return Err(Error::invalid(path.clone(), format!("'{path}' must name one tool or more")));
    }
    let all = std::mem::take(tools);
    let mut left = Tools { shown: all.shown.clone(), narrowed: true, ..Tools::default() };
    for (i, named) in list.into_iter().enumerate() {
        one(Fields::of(named, &format!("{path}[{i}]"))?, &all, &mut left)?;
    }
    // Knowledge is looked into before the model is asked: that alone leaves it nothing to call.
    let calls = !(left.functions.is_empty() && left.servers.is_empty() && left.code.is_none() && left.web.is_none());
    *tools = left;
    Ok(if mode == "required" && calls { ToolChoice::Required } else { ToolChoice::Auto })
}

/// Whether a response with this choice lets the model call the function.
#[must_use]
pub fn lets_call(choice: &Value, function: &str) -> bool {
    let names = |tool: &Value| tool["type"] == "function" && tool["name"] == function;
    choice["type"] != TYPE || choice["tools"].as_array().is_some_and(|tools| tools.iter().any(names))
}

/// Takes over the one that is named.
fn one(mut named: Fields, all: &Tools, left: &mut Tools) -> Result<()> {
    let kind = named.needed("type")?;
    let absent = |path: String, name: &str| {
        Error::invalid(path.clone(), format!("'{path}' names '{name}', which is not among 'tools'"))
    };
    match kind.as_str() {
        "function" => {
            let name = named.needed("name")?;
            let found = all.functions.iter().find(|tool| tool.name == name);
            let found = found.ok_or_else(|| absent(named.path("name"), &name))?;
            if !left.functions.contains(found) {
                left.functions.push(found.clone());
            }
        }
        mcp::TOOL => {
            let label = named.needed("server_label")?;
            let found = all.servers.iter().find(|server| server.server.label == label);
            let mut found = found.ok_or_else(|| absent(named.path("server_label"), &label))?.clone();
            let before = left.servers.iter_mut().find(|server| server.server.label == label);
            match (named.text("name")?, before) {
                (Some(name), _) if found.server.allowed.names.as_ref().is_some_and(|names| !names.contains(&name)) => {
                    return Err(absent(named.path("name"), &name));
                }
                (Some(name), Some(before)) => {
                    // All of them, where the server was named without one.
                    before.server.allowed.names.iter_mut().for_each(|names| names.push(name.clone()));
                }
                (Some(name), None) => {
                    found.server.allowed.names = Some(vec![name]);
                    left.servers.push(found);
                }
                (None, Some(before)) => *before = found,
                (None, None) => left.servers.push(found),
            }
        }
        "file_search" if all.search.is_some() => left.search.clone_from(&all.search),
        code::TOOL if all.code.is_some() => left.code.clone_from(&all.code),
        kind if web::is_web(kind) && all.web.is_some() => left.web.clone_from(&all.web),
        kind => return Err(absent(named.path("type"), kind)),
    }
    named.end()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::responses::tools;

    fn all() -> Tools {
        let function = |name: &str| json!({ "type": "function", "name": name });
        let server = |label: &str| json!({ "type": "mcp", "server_label": label, "allowed_tools": ["a", "b", "c"] });
        let list = json!([function("look"), function("refund"), { "type": "file_search", "vector_store_ids": ["v"] },
                          { "type": "web_search" }, server("mall"), server("bank"),
                          { "type": "code_interpreter", "container": { "type": "auto" } }]);
        let Value::Array(list) = list else { panic!("a list") };
        tools::tools(list).expect("good tools")
    }

    fn narrowed(mode: &str, list: Value) -> Result<(ToolChoice, Tools)> {
        let mut tools = all();
        let choice = tools::choice(&json!({ "type": "allowed_tools", "mode": mode, "tools": list }), &mut tools)?;
        Ok((choice, tools))
    }

    #[test]
    fn only_what_is_named_is_left_and_all_is_shown() {
        let list = json!([{ "type": "function", "name": "look" }, { "type": "mcp", "server_label": "mall" }]);
        let (choice, tools) = narrowed("auto", list).expect("a good choice");
        assert_eq!(choice, ToolChoice::Auto);
        assert_eq!(tools.functions.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["look"]);
        assert_eq!(tools.servers, all().servers[..1]);
        assert!(tools.narrowed && tools.search.is_none() && tools.web.is_none() && tools.code.is_none());
        assert_eq!(tools.shown, all().shown);
        let list = json!([{ "type": "file_search" }, { "type": "web_search_preview" }, { "type": "code_interpreter" }]);
        let (choice, tools) = narrowed("required", list).expect("a good choice");
        assert_eq!(choice, ToolChoice::Required);
        assert!(tools.functions.is_empty() && tools.servers.is_empty());
        assert_eq!((tools.search, tools.web, tools.code), (all().search, all().web, all().code));
        let (choice, _) = narrowed("required", json!([{ "type": "file_search" }])).expect("a good choice");
        assert_eq!(choice, ToolChoice::Auto, "a search is made in any case, and nothing else can be called");
    }

    #[test]
    fn a_response_lets_call_what_its_choice_names() {
        let choice =
            json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "look" }] });
        assert!(lets_call(&choice, "look") && !lets_call(&choice, "refund"));
        assert!(lets_call(&json!("auto"), "refund") && lets_call(&Value::Null, "refund"));
    }

    #[test]
    fn tools_of_a_server_can_be_named_one_by_one() {
        let names = |list: Value| {
            let (_, tools) = narrowed("auto", list).expect("a good choice");
            tools.servers[0].server.allowed.names.clone().expect("names")
        };
        let mall = |name: &str| json!({ "type": "mcp", "server_label": "mall", "name": name });
        assert_eq!(names(json!([mall("a"), mall("b")])), ["a", "b"]);
        assert_eq!(names(json!([mall("a"), { "type": "mcp", "server_label": "mall" }])), ["a", "b", "c"]);
    }

    #[test]
    fn what_is_not_among_the_tools_is_named() {
        for (list, param) in [
            (json!([{ "type": "function", "name": "look" }, { "type": "function", "name": "pay" }]), "tools[1].name"),
            (json!([{ "type": "mcp", "server_label": "shop" }]), "tools[0].server_label"),
            (json!([{ "type": "mcp", "server_label": "mall", "name": "d" }]), "tools[0].name"),
            (json!([{ "type": "image_generation" }]), "tools[0].type"),
            (json!([{ "type": "function", "name": "look", "strict": true }]), "tools[0].strict"),
            (json!([]), "tools"),
            (json!("look"), "tools"),
        ] {
            let error = narrowed("auto", list.clone()).expect_err("refused");
            assert_eq!(error.param, Some(format!("tool_choice.{param}")), "{list}: {error}");
        }
        let error = narrowed("none", json!([{ "type": "file_search" }])).expect_err("refused");
        assert_eq!(error.param.as_deref(), Some("tool_choice.mode"));
    }
}
