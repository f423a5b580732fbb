//! Web searches on this wire: the tool as a request names it, and its calls as items show them.
//!
//! Here it is a tool like any other, which the model calls with a question; a client sees OpenAI's shape, and the pages
//! that were found where it asks for them. Source of the shapes: OpenAI's API reference, "Responses", `web_search_call`,
//! its guide "Web search", and the types of its official packages.

use frontdesk_api::{Error, Result, chat::ToolCall, web};
use serde_json::{Value, json};

use super::request::Include;
use crate::fields::Fields;

/// What a call is shown as.
pub const ITEM: &str = "web_search_call";

/// The names that the tool has had.
const NAMES: [&str; 4] = ["web_search", "web_search_2025_08_26", "web_search_preview", "web_search_preview_2025_03_11"];

/// The most domains of one request (OpenAI's guide "Web search", "Domain filtering": 100).
const DOMAINS: usize = 100;

/// The web may be searched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Web {
    /// Pages of these domains alone, and of those below them; empty: of all.
    pub domains: Vec<String>,
}

/// Whether a tool of this type searches the web.
#[must_use]
pub fn is_web(kind: &str) -> bool {
    NAMES.contains(&kind)
}

/// The tool, and how the response repeats it. Where its user is and how much the model is to read of pages is taken and
/// decides nothing: no engine here is asked for it.
///
/// # Errors
/// `Invalid` naming the member; with the code `unsupported_parameter` for a search without the web, and for pictures.
pub fn read(kind: &str, mut fields: Fields) -> Result<(Web, Value)> {
    let mut domains = vec![];
    if let Some(mut filters) = fields.object("filters")? {
        let path = filters.path("allowed_domains");
        let list = filters.list("allowed_domains")?;
        filters.end()?;
        if list.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("'{path}' is empty: leave it out to search all of the web");
            return Err(Error::invalid(path, message));
        }
        let list = list.unwrap_or_default();
        for domain in &list {
            domains.push(read_domain(domain).ok_or_else(|| {
                let message = format!("'{path}' must be a list of names as 'example.com', without a scheme or a path");
                Error::invalid(path.clone(), message)
            })?);
        }
        if domains.len() > DOMAINS {
            return Err(Error::invalid(path.clone(), format!("'{path}' has more than {DOMAINS} domains")));
        }
    }
    let size = fields.word("search_context_size", &["low", "medium", "high"])?;
    let place = fields.object("user_location")?.map(location).transpose()?;
    for (name, refused) in [
        ("external_web_access", fields.flag("external_web_access")? == Some(false)),
        (
            "search_content_types",
            fields.list("search_content_types")?.is_some_and(|kinds| kinds.iter().any(|kind| kind != "text")),
        ),
    ] {
        if refused {
            let path = fields.path(name);
            let message = format!("'{path}' is not supported: the web is searched as it is, for words");
            return Err(Error::invalid(path, message).with_code("unsupported_parameter"));
        }
    }
    fields.end()?;
    Ok((Web { domains: domains.clone() }, tool(kind, &domains, size.as_deref(), place)))
}

/// The tool as a response repeats it.
#[must_use]
pub fn tool(kind: &str, domains: &[String], size: Option<&str>, place: Option<Value>) -> Value {
    let mut tool = json!({ "type": kind, "search_context_size": size.unwrap_or("medium"), "user_location": place });
    if !kind.starts_with("web_search_preview") {
        tool["filters"] = if domains.is_empty() { Value::Null } else { json!({ "allowed_domains": domains }) };
    }
    tool
}

/// In small letters, without a dot at its end.
fn read_domain(value: &Value) -> Option<String> {
    let name = value.as_str()?.trim_end_matches('.').to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    ((1..=253).contains(&name.len()) && name.chars().all(plain) && !name.starts_with(['.', '-'])).then_some(name)
}

fn location(mut place: Fields) -> Result<Value> {
    let mut shown = json!({ "type": place.word("type", &["approximate"])?.unwrap_or_else(|| "approximate".into()) });
    for name in ["city", "country", "region", "timezone"] {
        shown[name] = json!(place.text(name)?);
    }
    place.end()?;
    Ok(shown)
}

/// A call, with what was found once there is something: the text, and whether it tells of a failure.
#[must_use]
pub fn item(id: &str, call: &ToolCall, result: Option<(&str, bool)>, include: Include) -> Value {
    let arguments: Option<Value> = serde_json::from_str(&call.arguments).ok();
    let query = arguments.as_ref().and_then(|arguments| arguments.get("query")?.as_str()).unwrap_or_default();
    let mut action = json!({ "type": "search", "query": query, "queries": [query] });
    let status = match result {
        None => "in_progress",
        Some((_, true)) => "failed",
        Some((said, false)) => {
            if include.sources {
                let sources = web::pages(said).into_iter().map(|page| json!({ "type": "url", "url": page.url }));
                action["sources"] = sources.collect();
            }
            "completed"
        }
    };
    json!({ "id": id, "type": ITEM, "status": status, "action": action })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: &str, tool: Value) -> Result<(Web, Value)> {
        read(kind, Fields::of(tool, "tools[0]").expect("an object"))
    }

    #[test]
    fn a_search_is_taken_by_all_its_names_and_repeated() {
        let filters = json!({ "allowed_domains": ["Lamps.example", "a.b.example."] });
        let place = json!({ "type": "approximate", "city": "Paris", "country": "FR" });
        let given = json!({ "filters": filters, "user_location": place, "search_context_size": "high", "external_web_access": true });
        let (web, shown) = one("web_search", given).expect("a search");
        assert_eq!(web.domains, ["lamps.example", "a.b.example"]);
        assert_eq!(
            shown,
            json!({ "type": "web_search", "filters": { "allowed_domains": ["lamps.example", "a.b.example"] },
                    "search_context_size": "high",
                    "user_location": { "type": "approximate", "city": "Paris", "country": "FR", "region": null, "timezone": null } })
        );
        for kind in NAMES {
            assert!(is_web(kind));
            let (web, shown) = one(kind, json!({})).expect(kind);
            assert_eq!(
                (web, &shown["type"], &shown["search_context_size"]),
                (Web::default(), &json!(kind), &json!("medium"))
            );
        }
        assert!(!is_web("web_search_x"));
    }

    #[test]
    fn what_is_wrong_with_a_search_is_named() {
        for (tool, param) in [
            (json!({ "filters": { "allowed_domains": ["https://a.example"] } }), "tools[0].filters.allowed_domains"),
            (json!({ "filters": { "allowed_domains": ["a.example) OR (b"] } }), "tools[0].filters.allowed_domains"),
            (json!({ "filters": { "allowed_domains": [".example"] } }), "tools[0].filters.allowed_domains"),
            (json!({ "filters": { "allowed_domains": vec!["a"; 101] } }), "tools[0].filters.allowed_domains"),
            (json!({ "filters": { "allowed_domains": [] } }), "tools[0].filters.allowed_domains"),
            (json!({ "filters": { "blocked": [] } }), "tools[0].filters.blocked"),
            (json!({ "search_context_size": "huge" }), "tools[0].search_context_size"),
            (json!({ "user_location": { "type": "exact" } }), "tools[0].user_location.type"),
            (json!({ "user_location": { "street": "x" } }), "tools[0].user_location.street"),
            (json!({ "external_web_access": false }), "tools[0].external_web_access"),
            (json!({ "search_content_types": ["text", "image"] }), "tools[0].search_content_types"),
            (json!({ "max": 1 }), "tools[0].max"),
        ] {
            let error = one("web_search", tool.clone()).expect_err(param);
            assert_eq!(error.param.as_deref(), Some(param), "{tool}: {error}");
        }
    }

    #[test]
    fn a_call_shows_its_question_and_its_sources_where_they_are_wanted() {
        let call = ToolCall { id: "c".into(), name: "web_search".into(), arguments: r#"{"query":"lamps"}"#.into() };
        let page = |url: &str| web::Page { title: "T".into(), url: url.into(), text: "x".into() };
        let said = web::told("lamps", &[page("https://a.example/"), page("https://b.example/")]);
        let wanted = Include { sources: true, ..Include::default() };
        let found = item("ws_1", &call, Some((&said, false)), wanted);
        let action = json!({ "type": "search", "query": "lamps", "queries": ["lamps"],
                             "sources": [{ "type": "url", "url": "https://a.example/" }, { "type": "url", "url": "https://b.example/" }] });
        assert_eq!(found, json!({ "id": "ws_1", "type": "web_search_call", "status": "completed", "action": action }));
        assert_eq!(item("ws_1", &call, Some((&said, false)), Include::default())["action"].get("sources"), None);
        assert_eq!(item("ws_1", &call, Some(("no", true)), wanted)["status"], "failed");
        assert_eq!(item("ws_1", &call, None, wanted)["status"], "in_progress");
    }
}
