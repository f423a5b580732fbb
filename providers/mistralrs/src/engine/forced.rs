//! The JSON schemas that make the model write what was asked for: a forced tool call, or an answer of a given shape.
//!
//! The engine itself cannot force a call, so "required" and named tool choices become a grammar of our own over
//! `{"name": …, "<arguments key>": …}`. Invariant: every schema handed out forbids free white space
//! (`x-guidance`), because a weak model would otherwise write spaces until its limit.

use serde_json::{Map, Value, json};

/// A tool as far as forcing needs it.
pub(crate) struct ToolShape<'a> {
    pub(crate) name: &'a str,
    /// JSON schema of the arguments; none takes any object.
    pub(crate) parameters: Option<&'a Map<String, Value>>,
}

/// The answer must be a call of one of `tools`.
pub(crate) fn call_schema(tools: &[ToolShape<'_>], arguments_key: &str) -> Value {
    any_of(tools.iter().map(Branch::Call).collect(), arguments_key)
}

/// The answer must be a call of one of `tools` or fit `answer`.
pub(crate) fn call_or_answer_schema(
    tools: &[ToolShape<'_>],
    arguments_key: &str,
    answer: &Map<String, Value>,
) -> Value {
    let mut branches: Vec<_> = tools.iter().map(Branch::Call).collect();
    branches.push(Branch::Answer(answer));
    any_of(branches, arguments_key)
}

/// The answer must fit `answer`.
pub(crate) fn answer_schema(answer: &Map<String, Value>) -> Value {
    without_free_space(answer.clone())
}

/// Any JSON object, as `response_format: json_object` asks for.
pub(crate) fn any_object() -> Map<String, Value> {
    Map::from_iter([("type".to_owned(), json!("object"))])
}

enum Branch<'a> {
    Call(&'a ToolShape<'a>),
    Answer(&'a Map<String, Value>),
}

fn any_of(branches: Vec<Branch<'_>>, arguments_key: &str) -> Value {
    let alone = branches.len() == 1;
    let mut written = Vec::with_capacity(branches.len());
    for (index, branch) in branches.into_iter().enumerate() {
        let at = if alone { "#".to_owned() } else { format!("#/anyOf/{index}") };
        written.push(match branch {
            Branch::Call(tool) => one_call(tool, arguments_key, &at),
            Branch::Answer(answer) => moved_map(answer, &at),
        });
    }
    let root = match (alone, written.pop()) {
        (true, Some(only)) => only,
        (_, last) => {
            let all = written.into_iter().chain(last).map(Value::Object).collect();
            Map::from_iter([("anyOf".to_owned(), Value::Array(all))])
        }
    };
    without_free_space(root)
}

fn one_call(tool: &ToolShape<'_>, arguments_key: &str, at: &str) -> Map<String, Value> {
    let parameters = tool.parameters.cloned().unwrap_or_else(any_object);
    let parameters = moved_map(&parameters, &format!("{at}/properties/{arguments_key}"));
    let mut properties = Map::new();
    properties.insert("name".into(), json!({"const": tool.name}));
    properties.insert(arguments_key.into(), Value::Object(parameters));
    Map::from_iter([
        ("type".to_owned(), json!("object")),
        ("properties".to_owned(), Value::Object(properties)),
        ("required".to_owned(), json!(["name", arguments_key])),
        ("additionalProperties".to_owned(), json!(false)),
    ])
}

/// `schema` as it reads once it stands at `at`: references to its own root are references to that place.
fn moved_map(schema: &Map<String, Value>, at: &str) -> Map<String, Value> {
    let moved_entry = |(key, value): (&String, &Value)| {
        let value = match value {
            Value::String(target) if key == "$ref" => match target.strip_prefix('#') {
                Some(rest) => Value::String(format!("{at}{rest}")),
                None => value.clone(),
            },
            _ => moved(value, at),
        };
        (key.clone(), value)
    };
    schema.iter().map(moved_entry).collect()
}

fn moved(value: &Value, at: &str) -> Value {
    match value {
        Value::Object(map) => Value::Object(moved_map(map, at)),
        Value::Array(items) => Value::Array(items.iter().map(|item| moved(item, at)).collect()),
        other => other.clone(),
    }
}

fn without_free_space(mut root: Map<String, Value>) -> Value {
    root.insert("x-guidance".into(), json!({"whitespace_flexible": false}));
    Value::Object(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn one_tool_is_the_root_and_its_references_follow_it() {
        let parameters = map(json!({
            "type": "object",
            "properties": {"id": {"$ref": "#/$defs/Id"}},
            "$defs": {"Id": {"type": "string"}},
        }));
        let tools = [ToolShape { name: "look", parameters: Some(&parameters) }];
        let schema = call_schema(&tools, "arguments");
        assert_eq!(schema["properties"]["name"], json!({"const": "look"}));
        let reference = schema["properties"]["arguments"]["properties"]["id"]["$ref"].as_str();
        let pointer = reference.unwrap().strip_prefix('#').unwrap();
        assert_eq!(schema.pointer(pointer), Some(&json!({"type": "string"})));
        assert_eq!(schema["x-guidance"], json!({"whitespace_flexible": false}));
    }

    #[test]
    fn several_branches_stand_side_by_side_with_their_own_references() {
        let parameters = map(json!({"$ref": "#/$defs/P", "$defs": {"P": {"type": "object"}}}));
        let answer = map(json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array"}}}));
        let tools =
            [ToolShape { name: "free", parameters: None }, ToolShape { name: "bound", parameters: Some(&parameters) }];
        let schema = call_or_answer_schema(&tools, "parameters", &answer);
        let target = |at: &str| {
            let reference = schema.pointer(at).and_then(Value::as_str).unwrap();
            schema.pointer(&reference[1..]).cloned()
        };
        assert_eq!(schema["anyOf"].as_array().map(Vec::len), Some(3));
        assert_eq!(schema["anyOf"][0]["properties"]["parameters"], json!({"type": "object"}));
        let bound = target("/anyOf/1/properties/parameters/$ref");
        assert_eq!(bound, Some(json!({"type": "object"})));
        assert_eq!(target("/anyOf/2/$ref"), Some(json!({"type": "array"})));
    }
}
