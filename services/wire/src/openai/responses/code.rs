//! The code interpreter on this wire: the tool as a request names it, and its calls as items show them.
//!
//! Here it is a tool like any other, called with JSON and answering JSON; a client sees OpenAI's shape with the code
//! and what it printed. Source of the shapes: OpenAI's API reference, "Responses", `code_interpreter_call`, and the
//! types of its official packages.

use frontdesk_api::{Error, Result, chat::ToolCall, turn::Item};
use serde_json::{Value, json};

use crate::fields::Fields;

/// The `type` of the tool; the tool that stands behind it has the same name.
pub use frontdesk_api::code::TOOL;

/// What a call is shown as.
pub const ITEM: &str = "code_interpreter_call";

/// The most files of one container (OpenAI's API reference, "code_interpreter": 50).
const FILES: usize = 50;

/// Code may be run, with these files in its working folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interpreter {
    pub files: Vec<String>,
    /// A container that was made beforehand.
    pub container: Option<String>,
    /// Where the request names the files, or the container.
    pub path: String,
}

/// # Errors
/// `Invalid` naming the member; with the code `unsupported_parameter` for a container with memory or network of its own.
pub fn read(mut fields: Fields) -> Result<Interpreter> {
    let at = fields.path("container");
    if !fields.is_object("container") {
        let message = format!("'{at}' must be {{\"type\": \"auto\"}} or the id of a container");
        return match fields.take("container") {
            None => Err(fields.missing("container")),
            Some(Value::String(id)) if !id.is_empty() && !id.contains('\0') => {
                fields.end()?;
                Ok(Interpreter { files: vec![], container: Some(id), path: at })
            }
            Some(_) => Err(Error::invalid(at, message)),
        };
    }
    let Some(mut container) = fields.object("container")? else { return Err(fields.missing("container")) };
    fields.end()?;
    if container.word("type", &["auto"])?.is_none() {
        return Err(container.missing("type"));
    }
    let path = container.path("file_ids");
    let ids = container.list("file_ids")?.unwrap_or_default();
    let files: Option<Vec<String>> = ids.iter().map(|id| id.as_str().map(str::to_owned)).collect();
    let Some(files) = files.filter(|ids| ids.len() <= FILES && ids.iter().all(|id| !id.contains('\0'))) else {
        return Err(Error::invalid(path.clone(), format!("'{path}' must be a list of at most {FILES} ids")));
    };
    for name in ["memory_limit", "network_policy", "skills"] {
        if container.take(name).is_some() {
            let path = container.path(name);
            let message = format!(
                "'{path}' is not supported: code runs under the limits of this installation, without a network"
            );
            return Err(Error::invalid(path, message).with_code("unsupported_parameter"));
        }
    }
    container.end()?;
    Ok(Interpreter { files, container: None, path })
}

/// The tool as a response repeats it.
#[must_use]
pub fn tool(files: &[String], container: Option<&str>) -> Value {
    match container {
        Some(id) => json!({ "type": TOOL, "container": id }),
        None => json!({ "type": TOOL, "container": { "type": "auto", "file_ids": files } }),
    }
}

/// The code of a call.
#[must_use]
pub fn code(call: &ToolCall) -> String {
    let arguments: Option<Value> = serde_json::from_str(&call.arguments).ok();
    let code = arguments.as_ref().and_then(|arguments| arguments.get("code")?.as_str());
    // Arguments that are none are what there is to be seen.
    code.unwrap_or(&call.arguments).to_owned()
}

/// A call, with what it came to once there is something; `outputs` where that is to be seen.
#[must_use]
pub fn item(id: &str, container: &str, call: &ToolCall, result: Option<(&str, bool)>, outputs: bool) -> Value {
    let seen = result.map(|(text, is_error)| logs(text, is_error));
    let status = match &seen {
        None => "in_progress",
        Some((_, true)) => "completed",
        Some((_, false)) => "failed",
    };
    let outputs = seen.filter(|_| outputs).map(|(logs, _)| json!([{ "type": "logs", "logs": logs }]));
    json!({ "id": id, "type": ITEM, "status": status, "code": code(call), "container_id": container,
            "outputs": outputs })
}

/// The id of the container that a call's item names. One that was written before there were any names its turn's.
#[must_use]
pub fn container(item: &Item, named: Option<&String>) -> String {
    named.cloned().unwrap_or_else(|| format!("cntr_{}", item.turn_id))
}

/// What a terminal would have shown, and whether the code was run to an end: an error of its own is one.
fn logs(text: &str, is_error: bool) -> (String, bool) {
    let Ok(Value::Object(result)) = serde_json::from_str::<Value>(text) else { return (text.to_owned(), !is_error) };
    let part = |name: &str| result.get(name).and_then(Value::as_str).unwrap_or_default();
    if !result.contains_key("stdout") {
        return (part("error").to_owned(), false);
    }
    let mut logs = String::new();
    for text in ["stdout", "stderr", "traceback", "value"].map(part).into_iter().filter(|text| !text.is_empty()) {
        if !logs.is_empty() && !logs.ends_with('\n') {
            logs.push('\n');
        }
        logs.push_str(text);
    }
    (logs, true)
}

/// A call that is sent back: the arguments of the tool, and what it said.
///
/// # Errors
/// `Invalid` naming the member.
pub fn taken(fields: &mut Fields) -> Result<(ToolCall, Option<String>)> {
    let arguments = json!({ "code": fields.text("code")?.unwrap_or_default() }).to_string();
    let call = ToolCall { id: fields.needed("id")?, name: TOOL.to_owned(), arguments };
    let outputs = fields.list("outputs")?;
    let said =
        outputs.map(|outputs| outputs.iter().filter_map(|one| one["logs"].as_str()).collect::<Vec<_>>().join("\n"));
    Ok((call, said))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &str) -> ToolCall {
        ToolCall { id: "c".into(), name: TOOL.into(), arguments: arguments.into() }
    }

    #[test]
    fn a_call_shows_its_code_and_what_a_terminal_would() {
        let call = call(r#"{"code":"print(1)\n2"}"#);
        let begun = item("ci_1", "cntr_1", &call, None, true);
        assert_eq!(
            begun,
            json!({ "id": "ci_1", "type": "code_interpreter_call", "status": "in_progress", "code": "print(1)\n2",
                    "container_id": "cntr_1", "outputs": null })
        );
        for (result, status, logs) in [
            ((r#"{"stdout":"1\n","value":"2"}"#, false), "completed", "1\n2"),
            ((r#"{"stdout":"1","stderr":"w","traceback":"T: x\n","error":"T: x"}"#, true), "completed", "1\nw\nT: x\n"),
            (
                (r#"{"error":"the code exceeded its cpu time limit of 5000 ms"}"#, true),
                "failed",
                "the code exceeded its cpu time limit of 5000 ms",
            ),
            (("withheld", true), "failed", "withheld"),
        ] {
            let shown = item("ci_1", "cntr_1", &call, Some(result), true);
            assert_eq!(
                (&shown["status"], &shown["outputs"]),
                (&json!(status), &json!([{ "type": "logs", "logs": logs }]))
            );
            assert_eq!(item("ci_1", "cntr_1", &call, Some(result), false)["outputs"], Value::Null);
        }
    }

    #[test]
    fn a_container_is_auto_or_one_by_its_id() {
        let refused = |tool: Value| {
            let error = read(Fields::of(tool, "tools[0]").expect("an object")).expect_err("refused");
            (error.param.unwrap_or_default(), error.code)
        };
        let with = |container: Value| json!({ "container": container });
        let unsupported = Some("unsupported_parameter".to_owned());
        for (tool, param, code) in [
            (json!({}), "tools[0].container", None),
            (with(json!(1)), "tools[0].container", None),
            (with(json!("")), "tools[0].container", None),
            (with(json!({})), "tools[0].container.type", None),
            (with(json!({ "type": "auto", "file_ids": [1] })), "tools[0].container.file_ids", None),
            (with(json!({ "type": "auto", "memory_limit": "4g" })), "tools[0].container.memory_limit", unsupported),
            (with(json!({ "type": "auto", "x": 1 })), "tools[0].container.x", None),
        ] {
            let refused = refused(tool.clone());
            assert_eq!(refused.0, param, "{tool}");
            if code.is_some() {
                assert_eq!(refused.1, code, "{tool}");
            }
        }
        let good = with(json!({ "type": "auto", "file_ids": ["file_1"] }));
        let read = read(Fields::of(good, "tools[0]").expect("an object")).expect("good");
        assert_eq!(read.files, ["file_1"]);
        let named = super::read(Fields::of(with(json!("cntr_1")), "tools[0]").expect("an object")).expect("good");
        assert_eq!((named.container.as_deref(), named.path.as_str()), (Some("cntr_1"), "tools[0].container"));
        assert_eq!(tool(&[], Some("cntr_1"))["container"], "cntr_1");
    }
}
