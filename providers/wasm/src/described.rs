//! What a component says about its tools, held to rules before anyone believes it.
//!
//! The text comes from a stranger's code: names go to models and URLs, schemas are run against every
//! call's arguments. Invariant: a [`Described`] has a plain name, a schema that compiles, cannot reach
//! outside itself, cannot loop and needs only linear-time patterns.

use std::collections::BTreeSet;

use frontdesk_api::tools::{Effect, Risk};
use jsonschema::{PatternOptions, Validator};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::fault::Fault;

/// Tools in one component.
const MAX_TOOLS: usize = 64;
/// A description, in bytes: it is paid for in every prompt.
const MAX_DESCRIPTION: usize = 4 << 10;
/// A schema's text, in bytes.
const MAX_SCHEMA: usize = 64 << 10;
/// What names may hold, as OpenAI's function names: 1 to 64 of these.
const NAME_RULE: &str = "1 to 64 letters, digits, '_' or '-'";
/// Complaints about one call's arguments that the model gets to read.
const MAX_COMPLAINTS: usize = 3;
/// Bytes of one complaint: it may quote the arguments.
const MAX_COMPLAINT: usize = 300;

/// What of a tool's instance is there again for its next call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Every call has a fresh one.
    #[default]
    Nothing,
    /// All of it, for calls of the same conversation.
    Conversation,
}

/// One tool as its component describes it.
#[derive(Debug)]
pub struct Described {
    pub name: String,
    pub description: String,
    /// JSON Schema of the arguments object.
    pub parameters: Value,
    pub effect: Effect,
    pub risk: Risk,
    pub keep: Keep,
    /// BLAKE3 of name, description and the schema's text, hexadecimal.
    pub hash: String,
    validator: Validator,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    name: String,
    description: String,
    #[serde(borrow)]
    parameters: &'a RawValue,
    #[serde(default)]
    effect: Effect,
    #[serde(default)]
    risk: Risk,
    #[serde(default)]
    keep: Keep,
}

/// Reads the JSON text of `describe`.
///
/// # Errors
/// [`Fault::Description`] naming the tool and the rule.
pub(crate) fn parse(text: &str) -> Result<Vec<Described>, Fault> {
    let wires: Vec<Wire<'_>> = serde_json::from_str(text).map_err(|e| Fault::Description(e.to_string()))?;
    if wires.is_empty() || wires.len() > MAX_TOOLS {
        return Err(Fault::Description(format!("{} tools, where 1 to {MAX_TOOLS} are allowed", wires.len())));
    }
    let mut names = BTreeSet::new();
    for wire in &wires {
        if !names.insert(wire.name.as_str()) {
            return Err(Fault::Description(format!("two tools are called '{}'", wire.name)));
        }
    }
    wires.iter().map(Described::check).collect()
}

impl Described {
    fn check(wire: &Wire<'_>) -> Result<Self, Fault> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if wire.name.is_empty() || wire.name.len() > 64 || !wire.name.bytes().all(plain) {
            let shown: String = wire.name.chars().take(64).flat_map(char::escape_default).collect();
            return Err(Fault::Description(format!("a name is {NAME_RULE}, not '{shown}'")));
        }
        let broken = |rule: String| Fault::Description(format!("tool '{}': {rule}", wire.name));
        if wire.description.trim().is_empty() || wire.description.len() > MAX_DESCRIPTION {
            return Err(broken(format!("its description must have 1 to {MAX_DESCRIPTION} bytes")));
        }
        let text = wire.parameters.get();
        if text.len() > MAX_SCHEMA {
            return Err(broken(format!("its schema has {} bytes, where {MAX_SCHEMA} are allowed", text.len())));
        }
        let parameters: Value = serde_json::from_str(text).map_err(|e| broken(format!("its schema: {e}")))?;
        if parameters.get("type").and_then(Value::as_str) != Some("object") {
            return Err(broken("its schema must say \"type\": \"object\"".into()));
        }
        if let Some(keyword) = find_reference(&parameters) {
            return Err(broken(format!("its schema uses '{keyword}'; write the schema out in place")));
        }
        let validator = jsonschema::draft202012::options()
            .with_pattern_options(PatternOptions::regex())
            .build(&parameters)
            .map_err(|e| broken(format!("its schema does not compile: {}", shortened(&e.to_string()))))?;
        let mut hasher = blake3::Hasher::new();
        for part in [wire.name.as_str(), &wire.description, text] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
        }
        Ok(Self {
            name: wire.name.clone(),
            description: wire.description.clone(),
            parameters,
            effect: wire.effect,
            risk: wire.risk,
            keep: wire.keep,
            hash: hasher.finalize().to_hex().to_string(),
            validator,
        })
    }

    /// The arguments as the guest gets them: written anew from what was validated, so that host and guest
    /// cannot read two things into one text (a member given twice, say). Empty text means no arguments.
    ///
    /// # Errors
    /// [`Fault::BadArguments`] with what a model needs to mend them.
    pub(crate) fn accept(&self, arguments: &str) -> Result<String, Fault> {
        let text = if arguments.trim().is_empty() { "{}" } else { arguments };
        let value: Value = serde_json::from_str(text).map_err(|e| Fault::BadArguments(format!("not JSON: {e}")))?;
        let complaints: Vec<String> = self.validator.iter_errors(&value).take(MAX_COMPLAINTS).map(complaint).collect();
        if complaints.is_empty() { Ok(value.to_string()) } else { Err(Fault::BadArguments(complaints.join("; "))) }
    }
}

fn complaint(error: jsonschema::ValidationError<'_>) -> String {
    let path = error.instance_path().to_string();
    let message = shortened(&error.to_string());
    if path.is_empty() { message } else { format!("{path}: {message}") }
}

fn shortened(text: &str) -> String {
    if text.len() <= MAX_COMPLAINT {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MAX_COMPLAINT);
    format!("{}…", &text[..end])
}

/// A reference keyword anywhere in the schema. References can form circles that a validator follows
/// for ever (`{"$ref": "#"}`) or doublings that take exponential time; a tool's arguments need neither.
/// Members named so inside `properties` are names of arguments, not keywords.
fn find_reference(schema: &Value) -> Option<&'static str> {
    const KEYWORDS: [&str; 3] = ["$ref", "$dynamicRef", "$recursiveRef"];
    match schema {
        Value::Array(items) => items.iter().find_map(find_reference),
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            if let Some(keyword) = KEYWORDS.into_iter().find(|k| k == name) {
                return Some(keyword);
            }
            match (name.as_str(), value) {
                ("const" | "enum" | "default" | "examples", _) => None,
                ("properties" | "patternProperties", Value::Object(by_name)) => {
                    by_name.values().find_map(find_reference)
                }
                _ => find_reference(value),
            }
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(parameters: Value) -> String {
        json!([{"name": "t", "description": "d", "parameters": parameters}]).to_string()
    }

    fn refusal(text: &str) -> String {
        parse(text).expect_err("refused").to_string()
    }

    #[test]
    fn each_broken_rule_is_named() {
        let described = |name: &str| json!({"name": name, "description": "d", "parameters": {"type": "object"}});
        let cases = [
            ("nonsense".to_owned(), "expected"),
            ("[]".to_owned(), "0 tools, where 1 to 64"),
            (json!([described("bad name")]).to_string(), "not 'bad name'"),
            (json!([described("")]).to_string(), "1 to 64 letters"),
            (json!([described(&"x".repeat(65))]).to_string(), "1 to 64 letters"),
            (json!([described("a\u{1b}[2J")]).to_string(), r"not 'a\u{1b}[2J'"),
            (json!([described("a"), described("a")]).to_string(), "two tools are called 'a'"),
            (json!([{"name": "t", "description": "d", "parameters": {}, "x": 1}]).to_string(), "unknown field `x`"),
            (json!([{"name": "t", "description": " ", "parameters": {}}]).to_string(), "tool 't': its description"),
            (
                json!([{"name": "t", "description": "d", "parameters": {}, "risk": "low"}]).to_string(),
                "unknown variant",
            ),
            (
                json!([{"name": "t", "description": "d", "parameters": {}, "keep": "for ever"}]).to_string(),
                "unknown variant `for ever`, expected `nothing` or `conversation`",
            ),
            (tool(json!({"type": "string"})), "must say \"type\": \"object\""),
            (tool(json!({"type": "object", "properties": {"a": {"type": "nosuch"}}})), "does not compile"),
            (tool(json!({"type": "object", "properties": {"a": {"pattern": "("}}})), "does not compile"),
            (tool(json!({"type": "object", "properties": {"a": {"pattern": "(a)\\1"}}})), "does not compile"),
            (tool(json!({"type": "object", "allOf": [{"$ref": "#"}]})), "uses '$ref'"),
            (tool(json!({"type": "object", "properties": {"a": {"$ref": "https://example.com/s"}}})), "uses '$ref'"),
            (tool(json!({"type": "object", "description": "x".repeat(MAX_SCHEMA)})), "where 65536 are allowed"),
        ];
        for (text, expected) in cases {
            let refusal = refusal(&text);
            assert!(refusal.contains(expected), "{expected:?} is not in {refusal:?}");
        }
    }

    #[test]
    fn an_argument_may_be_called_like_a_keyword() {
        let text = tool(json!({"type": "object", "properties": {"$ref": {"type": "string"}}, "default": {"$ref": 1}}));
        assert_eq!(parse(&text).unwrap()[0].name, "t");
    }

    #[test]
    fn what_is_left_out_is_taken_for_the_worse() {
        let tools = parse(&tool(json!({"type": "object"}))).unwrap();
        assert_eq!((tools[0].effect, tools[0].risk), (Effect::Unsafe, Risk::LowImpactWrite));
    }

    #[test]
    fn the_hash_follows_name_description_and_schema_only() {
        let hash = |text: &str| parse(text).unwrap()[0].hash.clone();
        let one = hash(r#"[{"name":"t","description":"d","parameters":{"type":"object"}}]"#);
        assert_eq!(one, hash(r#"[ {"risk":"read","description":"d","name":"t","parameters":{"type":"object"}} ]"#));
        assert_ne!(one, hash(r#"[{"name":"t","description":"e","parameters":{"type":"object"}}]"#));
        assert_ne!(one, hash(r#"[{"name":"t","description":"d","parameters":{"type":"object","title":"x"}}]"#));
    }

    #[test]
    fn arguments_are_held_to_the_schema_and_written_anew() {
        let schema = json!({
            "type": "object",
            "properties": {"id": {"type": "string", "minLength": 1, "pattern": "^(a+)+$"}, "n": {"type": "integer"}},
            "required": ["id"],
            "additionalProperties": false,
        });
        let tools = parse(&tool(schema)).unwrap();
        let accept = |arguments: &str| tools[0].accept(arguments);
        assert_eq!(accept(r#" {"id" : "a"} "#).unwrap(), r#"{"id":"a"}"#);
        // Twice the same member: the guest sees the one that was validated.
        assert_eq!(accept(r#"{"id":"zzz","id":"aa"}"#).unwrap(), r#"{"id":"aa"}"#);
        let refused = |arguments: &str| accept(arguments).expect_err("refused").to_string();
        assert_eq!(refused(""), r#"bad arguments: "id" is a required property"#);
        assert!(refused("{").starts_with("bad arguments: not JSON: "));
        assert!(refused(r#"{"id":1,"n":"x"}"#).contains("/id: 1 is not of type \"string\"; /n: \"x\" is not of type"));
        assert!(refused(r#"{"id":"a","customer":"c2"}"#).contains("'customer' was unexpected"));
        // A pattern that backtracks for years elsewhere; here it is linear.
        assert!(refused(&format!(r#"{{"id":"{}b"}}"#, "a".repeat(200_000))).len() < 700);
        assert!(refused(&"[".repeat(100_000)).contains("recursion limit"));
    }
}
