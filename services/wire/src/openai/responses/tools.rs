//! The tools of a response: functions, which run at the client. Tools that OpenAI runs itself have no provider here;
//! a request that names one is refused by name, since a model that was promised a search must not go without.

use frontdesk_api::{
    Error, Result,
    chat::{ToolChoice, ToolSpec},
};
use serde_json::{Value, json};

use super::fields::Fields;

/// The most tools of one request (OpenAI's API reference: 128).
const MOST: usize = 128;

/// The functions of a request, and how the response shows them.
///
/// # Errors
/// `Invalid` naming the tool; with the code `unsupported_tool` where it is of a type that nothing here runs.
pub fn tools(list: Vec<Value>) -> Result<(Vec<ToolSpec>, Value)> {
    if list.len() > MOST {
        return Err(Error::invalid("tools", format!("'tools' has {} entries; at most {MOST} are taken", list.len())));
    }
    let (mut tools, mut shown): (Vec<ToolSpec>, Vec<Value>) = (vec![], vec![]);
    for (i, tool) in list.into_iter().enumerate() {
        let path = format!("tools[{i}]");
        let mut fields = Fields::of(tool, &path)?;
        let kind = fields.needed("type")?;
        if kind != "function" {
            let message = format!("'{path}' is of the type '{kind}', which nothing here can run: functions are taken");
            return Err(Error::invalid(format!("{path}.type"), message).with_code("unsupported_tool"));
        }
        let name = fields.needed("name")?;
        let callable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let at = fields.path("name");
        if name.is_empty() || name.len() > 64 || !name.chars().all(callable) {
            return Err(Error::invalid(at.clone(), format!("'{at}' must have 1 to 64 letters, digits, _ and -")));
        }
        if tools.iter().any(|tool| tool.name == name) {
            return Err(Error::invalid(at, format!("two tools are called '{name}'")));
        }
        let parameters = fields.object("parameters")?.map(Fields::into_value);
        let (description, strict) = (fields.text("description")?, fields.flag("strict")?);
        fields.end()?;
        let spec = ToolSpec { name, description, parameters, strict };
        shown.push(function(&spec));
        tools.push(spec);
    }
    Ok((tools, Value::Array(shown)))
}

/// A function as a response shows it.
#[must_use]
pub fn function(tool: &ToolSpec) -> Value {
    json!({ "type": "function", "name": tool.name, "description": tool.description,
            "parameters": tool.parameters, "strict": tool.strict })
}

/// # Errors
/// `Invalid` on `tool_choice`.
pub fn choice(value: &Value, tools: &[ToolSpec]) -> Result<ToolChoice> {
    let named = value.get("name").and_then(Value::as_str);
    match (value.as_str(), value.get("type").and_then(Value::as_str), named) {
        (Some("auto"), ..) => Ok(ToolChoice::Auto),
        (Some("none"), ..) => Ok(ToolChoice::None),
        (Some("required"), ..) => Ok(ToolChoice::Required),
        (_, Some("function"), Some(name)) if tools.iter().any(|tool| tool.name == name) => {
            Ok(ToolChoice::Named(name.to_owned()))
        }
        (_, Some("function"), Some(name)) => {
            Err(Error::invalid("tool_choice", format!("'tool_choice' names '{name}', which is not among 'tools'")))
        }
        _ => Err(Error::invalid("tool_choice", "'tool_choice' must be auto, none, required or name a function")),
    }
}
