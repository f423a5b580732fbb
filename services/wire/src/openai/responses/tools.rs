//! The tools of a response: functions, which run at the client, searches in knowledge stores, which run here before
//! the model is asked, the code interpreter and searches of the web, which run here when the model asks for them, and
//! servers that speak MCP. Other tools that OpenAI runs itself have no provider here; a request that names one is refused
//! by name, since a model that was promised a tool must not go without.

use frontdesk_api::{
    Error, Result,
    chat::{ToolChoice, ToolSpec},
    filter::Filter,
    web::TOOL as SEARCHES,
};
use serde_json::{Value, json};

use super::{
    allowed,
    code::{self, Interpreter},
    mcp,
    web::{self, Web},
};
use crate::{fields::Fields, openai::filter};

/// The most tools of one request (OpenAI's API reference: 128).
const MOST: usize = 128;

/// The most passages that one search brings (OpenAI's API reference, "file search": 50).
const PASSAGES: u32 = 50;

/// The most knowledge stores that one search looks into; the bound is ours, since each is looked up and searched.
const STORES: usize = 50;

/// What a request brings to work with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tools {
    pub functions: Vec<ToolSpec>,
    pub search: Option<Search>,
    pub code: Option<Interpreter>,
    pub servers: Vec<mcp::Named>,
    pub web: Option<Web>,
    /// As the response repeats them.
    pub shown: Vec<Value>,
    /// The request let the model call no others: an agent's own are out, too.
    pub narrowed: bool,
}

/// Knowledge stores to look into.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Search {
    pub stores: Vec<String>,
    /// Passages, 1 to 50; None: as many as the agent is used to.
    pub most: Option<u32>,
    /// The least score of a passage, 0 to 1.
    pub least_score: Option<f64>,
    /// Which files of the stores are looked into; None: all.
    pub filter: Option<Filter>,
    /// Where the request names the stores.
    pub path: String,
}

/// The tools of a request.
///
/// # Errors
/// `Invalid` naming the tool; with the code `unsupported_tool` where it is of a type that nothing here runs.
pub fn tools(list: Vec<Value>) -> Result<Tools> {
    if list.len() > MOST {
        return Err(Error::invalid("tools", format!("'tools' has {} entries; at most {MOST} are taken", list.len())));
    }
    let mut tools = Tools::default();
    for (i, tool) in list.into_iter().enumerate() {
        let path = format!("tools[{i}]");
        let mut fields = Fields::of(tool, &path)?;
        match fields.needed("type")?.as_str() {
            "function" => {
                let spec = declared(fields, &tools.functions)?;
                tools.shown.push(function(&spec));
                tools.functions.push(spec);
            }
            "file_search" if tools.search.is_some() => {
                let message = format!("'{path}' is a second file_search: name all stores in one");
                return Err(Error::invalid(format!("{path}.type"), message));
            }
            "file_search" => {
                let (search, filters) = search(fields)?;
                let mut shown = json!({ "type": "file_search", "vector_store_ids": search.stores });
                if let Some(filters) = filters {
                    shown["filters"] = filters;
                }
                if let Some(most) = search.most {
                    shown["max_num_results"] = most.into();
                }
                if let Some(least) = search.least_score {
                    shown["ranking_options"] = json!({ "score_threshold": least });
                }
                tools.shown.push(shown);
                tools.search = Some(search);
            }
            code::TOOL if tools.code.is_some() => {
                let message = format!("'{path}' is a second code_interpreter: name all files in one");
                return Err(Error::invalid(format!("{path}.type"), message));
            }
            code::TOOL => {
                let interpreter = code::read(fields)?;
                tools.shown.push(code::tool(&interpreter.files, interpreter.container.as_deref()));
                tools.code = Some(interpreter);
            }
            mcp::TOOL => {
                let (named, shown) = mcp::read(fields, &tools.servers, &path)?;
                tools.shown.push(shown);
                tools.servers.push(named);
            }
            kind if web::is_web(kind) && tools.web.is_some() => {
                let message = format!("'{path}' is a second search of the web: name all domains in one");
                return Err(Error::invalid(format!("{path}.type"), message));
            }
            kind if web::is_web(kind) => {
                let (web, shown) = web::read(kind, fields)?;
                tools.shown.push(shown);
                tools.web = Some(web);
            }
            kind => {
                let message = format!("'{path}' is of the type '{kind}', which nothing here runs: {TAKEN}");
                return Err(Error::invalid(format!("{path}.type"), message).with_code("unsupported_tool"));
            }
        }
    }
    Ok(tools)
}

/// The types of tools.
const TAKEN: &str = "'function', 'file_search', 'web_search', 'code_interpreter' and 'mcp' are taken";

fn declared(mut fields: Fields, before: &[ToolSpec]) -> Result<ToolSpec> {
    let name = fields.needed("name")?;
    let callable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let at = fields.path("name");
    if name.is_empty() || name.len() > 64 || !name.chars().all(callable) {
        return Err(Error::invalid(at.clone(), format!("'{at}' must have 1 to 64 letters, digits, _ and -")));
    }
    if before.iter().any(|tool| tool.name == name) {
        return Err(Error::invalid(at, format!("two tools are called '{name}'")));
    }
    let parameters = fields.object("parameters")?.map(Fields::into_value);
    let (description, strict) = (fields.text("description")?, fields.flag("strict")?);
    fields.end()?;
    Ok(ToolSpec { name, description, parameters, strict, cache_control: None })
}

/// With its filters as they were sent.
fn search(mut fields: Fields) -> Result<(Search, Option<Value>)> {
    let path = fields.path("vector_store_ids");
    let ids = fields.list("vector_store_ids")?.unwrap_or_default();
    let stores: Option<Vec<String>> = ids.iter().map(|id| id.as_str().map(str::to_owned)).collect();
    let Some(stores) = stores.filter(|ids| !ids.is_empty() && ids.iter().all(|id| !id.contains('\0'))) else {
        return Err(Error::invalid(path.clone(), format!("'{path}' must be a list of ids, one or more")));
    };
    if stores.len() > STORES {
        let message = format!("'{path}' names {} stores; at most {STORES} are searched", stores.len());
        return Err(Error::invalid(path, message));
    }
    let most = fields.count("max_num_results", 1)?;
    if most.is_some_and(|most| most > PASSAGES) {
        let path = fields.path("max_num_results");
        return Err(Error::invalid(path.clone(), format!("'{path}' must be 1 to {PASSAGES}")));
    }
    let filters = fields.take("filters");
    let filter = filters.clone().map(|sent| filter::read(sent, &fields.path("filters"))).transpose()?;
    let least_score = match fields.object("ranking_options")? {
        None => None,
        Some(mut ranking) => {
            // There is one way to rank here, and these words name none other.
            ranking.word("ranker", &["auto", "default-2024-11-15"])?;
            let least = ranking.number("score_threshold", 0.0, 1.0)?;
            ranking.end()?;
            least
        }
    };
    fields.end()?;
    Ok((Search { stores, most, least_score, filter, path }, filters))
}

/// A function as a response shows it.
#[must_use]
pub fn function(tool: &ToolSpec) -> Value {
    json!({ "type": "function", "name": tool.name, "description": tool.description,
            "parameters": tool.parameters, "strict": tool.strict })
}

/// Which of the tools the model is to call; a search is made in any case. Those that the model may not call are taken out.
///
/// # Errors
/// `Invalid` on `tool_choice`.
pub fn choice(value: &Value, tools: &mut Tools) -> Result<ToolChoice> {
    if value.get("type").and_then(Value::as_str) == Some(allowed::TYPE) {
        return allowed::narrow(value.clone(), tools);
    }
    let named = value.get("name").and_then(Value::as_str);
    match (value.as_str(), value.get("type").and_then(Value::as_str), named) {
        (Some("auto"), ..) => Ok(ToolChoice::Auto),
        (Some("none"), ..) => Ok(ToolChoice::None),
        (Some("required"), ..) => Ok(ToolChoice::Required),
        (_, Some("function"), Some(name)) if tools.functions.iter().any(|tool| tool.name == name) => {
            Ok(ToolChoice::Named(name.to_owned()))
        }
        (_, Some("file_search"), _) if tools.search.is_some() => Ok(ToolChoice::Auto),
        (_, Some(code::TOOL), _) if tools.code.is_some() => Ok(ToolChoice::Named(code::TOOL.to_owned())),
        (_, Some(kind), _) if web::is_web(kind) && tools.web.is_some() => Ok(ToolChoice::Named(SEARCHES.to_owned())),
        (_, Some(mcp::TOOL), named) if mcp::is_named(&tools.servers, value) => {
            mcp::choice(value, named, tools.servers.len() == 1 && tools.functions.is_empty() && tools.code.is_none())
        }
        (_, Some("function"), Some(name)) => {
            Err(Error::invalid("tool_choice", format!("'tool_choice' names '{name}', which is not among 'tools'")))
        }
        _ => Err(Error::invalid("tool_choice", "'tool_choice' must be auto, none, required or name a function")),
    }
}
