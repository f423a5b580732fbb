//! From a document's schemas to one that models read and that checks arguments: JSON Schema, written out in place.
//!
//! References are replaced by what they name, because few models' APIs take them; where one comes back to itself the
//! inner one is left open. What only people or generators use goes. Patterns go into the description: the server checks
//! them, and a stranger's pattern can take for ever. What is too deep or too large is left open, and the document notes
//! that. Invariant: the result has at most [`MOST`] bytes, [`NESTED`] levels
//! and no reference, and whatever the document allows it allows; a reference costs a level as everything else does.

use serde_json::{Map, Value, json};

use crate::document::{Document, text};

/// The text of one schema, in bytes.
const MOST: usize = 64 << 10;

/// Nodes of one schema before what is left of it is left open.
const NODES: usize = 4_000;

/// Levels of lists and objects in one schema: rows are read with at most 128 (serde_json), and stand around it.
const NESTED: usize = 96;

/// Depths that are tried, deepest first, until the text fits.
const DEPTHS: [usize; 6] = [24, 10, 6, 4, 3, 2];

/// The schema as arguments have it (`readOnly` members are left out).
pub(crate) fn convert(document: &Document, schema: &Value) -> Value {
    let mut least = json!({});
    for depth in DEPTHS {
        let mut writer = Writer { document, stack: vec![], nodes: NODES, room: MOST, left_open: false };
        least = writer.schema(schema, depth);
        document.spend(NODES - writer.nodes);
        if writer.nodes > 0 && fits(&least) {
            if writer.left_open {
                document.leave_open();
            }
            return least;
        }
    }
    document.leave_open();
    if fits(&least) { least } else { json!({}) }
}

fn fits(schema: &Value) -> bool {
    is_flat(schema, NESTED) && schema.to_string().len() <= MOST
}

fn is_flat(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_flat(item, levels - 1)),
        Value::Object(members) => levels > 0 && members.values().all(|member| is_flat(member, levels - 1)),
        _ => true,
    }
}

/// About how many bytes a value's text has; counts no further than `most`.
fn size(value: &Value, most: usize) -> usize {
    let mut sum: usize = 2;
    match value {
        Value::String(text) => sum += text.len(),
        Value::Array(items) => {
            for item in items {
                if sum > most {
                    break;
                }
                sum += size(item, most - sum);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if sum > most {
                    break;
                }
                sum += name.len() + size(member, most - sum);
            }
        }
        _ => {}
    }
    sum
}

struct Writer<'a> {
    document: &'a Document,
    /// References that are being written out.
    stack: Vec<String>,
    nodes: usize,
    /// Bytes of values and words that may still be copied: one large `enum` can be meant by a thousand references.
    room: usize,
    /// Something was too deep, or is said in words only.
    left_open: bool,
}

impl Writer<'_> {
    fn schema(&mut self, schema: &Value, depth: usize) -> Value {
        if depth == 0 || self.nodes == 0 {
            return self.open(schema);
        }
        self.nodes -= 1;
        let Value::Object(members) = schema else {
            // `true` and `false` are schemas since 3.1.
            return if schema.is_boolean() { schema.clone() } else { json!({}) };
        };
        let Some(reference) = members.get("$ref").and_then(Value::as_str) else { return self.object(members, depth) };
        let name = reference.rsplit('/').next().unwrap_or_default();
        if self.stack.iter().any(|held| held == reference) {
            return json!({ "description": format!("another {name}, as above") });
        }
        let Ok(target) = self.document.at(reference) else {
            self.left_open = true;
            return json!({ "description": format!("{name}, which the document does not hold") });
        };
        self.stack.push(reference.to_owned());
        let mut written = self.schema(target, depth - 1);
        self.stack.pop();
        // Since 3.1 what stands beside a reference counts.
        if let (Value::Object(written), Some(words)) = (&mut written, text(schema, "description")) {
            // A pattern is among the words that these replace.
            let pattern = text(target, "pattern").map(|pattern| format!("; pattern: {pattern}")).unwrap_or_default();
            written.insert("description".into(), json!(format!("{words}{pattern}")));
        }
        if members.len() > 1 && !self.document.old {
            let mut beside = members.clone();
            beside.remove("$ref");
            beside.remove("description");
            let beside = self.schema(&Value::Object(beside), depth - 1);
            if beside.as_object().is_some_and(|b| !b.is_empty()) {
                return json!({ "allOf": [written, beside] });
            }
        }
        written
    }

    fn object(&mut self, members: &Map<String, Value>, depth: usize) -> Value {
        let mut out = Map::new();
        let mut words = vec![];
        if let Some(said) = members.get("description").or_else(|| members.get("title")).and_then(Value::as_str) {
            words.extend(self.words(said));
        }
        for (name, value) in members {
            let written = match name.as_str() {
                "type" => kind(value),
                "enum" => value.as_array().filter(|all| !all.is_empty()).and_then(|_| self.copy(value)),
                "const" | "default" => self.copy(value),
                "format" | "contentEncoding" | "contentMediaType" => value.is_string().then(|| value.clone()),
                "multipleOf" => value.as_f64().filter(|n| *n > 0.0).map(|_| value.clone()),
                "minimum" | "maximum" => value.is_number().then(|| value.clone()),
                "exclusiveMinimum" | "exclusiveMaximum" => exclusive(name, value, members),
                "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties"
                | "minContains" | "maxContains" => value.as_u64().map(|n| json!(n)),
                "uniqueItems" => value.is_boolean().then(|| value.clone()),
                "pattern" => {
                    words.extend(value.as_str().and_then(|p| self.words(p)).map(|p| format!("pattern: {p}")));
                    None
                }
                "items" | "additionalItems" | "contains" | "propertyNames" | "not" | "if" | "then" | "else"
                | "unevaluatedItems" => Some(self.schema(value, depth - 1)),
                // What a pattern of names allows cannot be told without it.
                "additionalProperties" | "unevaluatedProperties" if !members.contains_key("patternProperties") => {
                    Some(self.schema(value, depth - 1))
                }
                "patternProperties" => {
                    self.left_open = true;
                    words.extend(value.as_object().and_then(|named| self.words(&by_pattern(named))));
                    None
                }
                "dependentRequired" => are_names(value).then(|| self.copy(value)).flatten(),
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => self.all(value, depth),
                "properties" | "dependentSchemas" => Some(self.named(value, depth)),
                "required" => self.required(value, members),
                _ => None,
            };
            if let Some(written) = written {
                out.insert(name.clone(), written);
            }
        }
        // A draft-4 word that `minimum` stood in for.
        if members.get("exclusiveMinimum") == Some(&Value::Bool(true)) {
            out.remove("minimum");
        }
        if members.get("exclusiveMaximum") == Some(&Value::Bool(true)) {
            out.remove("maximum");
        }
        if !words.is_empty() {
            out.insert("description".into(), json!(words.join("; ")));
        }
        if self.document.old && members.get("nullable") == Some(&Value::Bool(true)) {
            nullable(out)
        } else {
            Value::Object(out)
        }
    }

    /// A value as it stands; None, and nothing further is written out, where there is no room for it.
    fn copy(&mut self, value: &Value) -> Option<Value> {
        self.takes(size(value, self.room)).then(|| value.clone())
    }

    fn words(&mut self, said: &str) -> Option<String> {
        let said = said.trim();
        self.takes(said.len()).then(|| said.to_owned())
    }

    fn takes(&mut self, bytes: usize) -> bool {
        let fits = bytes <= self.room;
        if fits {
            self.room -= bytes;
        } else {
            self.nodes = 0;
        }
        fits
    }

    fn all(&mut self, value: &Value, depth: usize) -> Option<Value> {
        let all = value.as_array().filter(|all| !all.is_empty())?;
        Some(Value::Array(all.iter().map(|one| self.schema(one, depth - 1)).collect()))
    }

    /// Members by name, without those that only answers have.
    fn named(&mut self, value: &Value, depth: usize) -> Value {
        let Value::Object(members) = value else { return json!({}) };
        let mut out = Map::new();
        for (name, schema) in members {
            if !self.is_read_only(schema) {
                out.insert(name.clone(), self.schema(schema, depth - 1));
            }
        }
        Value::Object(out)
    }

    fn is_read_only(&self, schema: &Value) -> bool {
        self.document.follow(schema).is_ok_and(|schema| schema.get("readOnly") == Some(&Value::Bool(true)))
    }

    fn required(&self, value: &Value, members: &Map<String, Value>) -> Option<Value> {
        let properties = members.get("properties");
        let asked = value.as_array()?.iter().filter(|name| {
            let schema = name.as_str().and_then(|name| properties?.get(name));
            name.is_string() && !schema.is_some_and(|schema| self.is_read_only(schema))
        });
        Some(Value::Array(asked.cloned().collect()))
    }

    /// What is left of a schema that is too deep: its kind and its words.
    fn open(&mut self, schema: &Value) -> Value {
        self.left_open |=
            schema.as_object().is_some_and(|members| members.keys().any(|name| !SHOWN.contains(&&**name)));
        let mut out = Map::new();
        if let Some(kind) = schema.get("type").and_then(kind) {
            out.insert("type".into(), kind);
        }
        if let Some(words) = text(schema, "description").and_then(|words| self.words(words)) {
            out.insert("description".into(), json!(words));
        }
        // Null may be among what it takes.
        if schema.get("nullable") == Some(&Value::Bool(true)) { nullable(out) } else { Value::Object(out) }
    }
}

/// What is shown of a schema that is left open, and what nobody misses.
const SHOWN: [&str; 8] =
    ["type", "description", "nullable", "title", "example", "examples", "deprecated", "externalDocs"];

/// Names told by patterns, in words.
fn by_pattern(named: &Map<String, Value>) -> String {
    let all: Vec<String> = named
        .iter()
        .map(|(pattern, schema)| {
            let kind = text(schema, "type").map(|kind| format!(" ({kind})")).unwrap_or_default();
            format!("members named by the pattern {pattern}{kind}")
        })
        .collect();
    all.join(", ")
}

/// Lists of names by name.
fn are_names(value: &Value) -> bool {
    let lists = |list: &Value| list.as_array().is_some_and(|names| names.iter().all(Value::is_string));
    value.as_object().is_some_and(|named| named.values().all(lists))
}

/// The type words that JSON Schema has; a document's own word (`file`) says nothing.
fn kind(value: &Value) -> Option<Value> {
    let known = |word: &str| ["array", "boolean", "integer", "null", "number", "object", "string"].contains(&word);
    match value {
        Value::String(word) => known(word).then(|| value.clone()),
        Value::Array(words) => {
            let all = !words.is_empty() && words.iter().all(|word| word.as_str().is_some_and(known));
            all.then(|| value.clone())
        }
        _ => None,
    }
}

/// Draft 4's `exclusiveMinimum: true` beside `minimum` is today's `exclusiveMinimum` with the number.
fn exclusive(name: &str, value: &Value, members: &Map<String, Value>) -> Option<Value> {
    match value {
        Value::Number(_) => Some(value.clone()),
        Value::Bool(true) => {
            let bound = if name == "exclusiveMinimum" { "minimum" } else { "maximum" };
            members.get(bound).filter(|bound| bound.is_number()).cloned()
        }
        _ => None,
    }
}

/// OpenAPI 3.0's `nullable: true` in words of JSON Schema.
fn nullable(mut schema: Map<String, Value>) -> Value {
    if let Some(Value::Array(values)) = schema.get_mut("enum")
        && !values.contains(&Value::Null)
    {
        values.push(Value::Null);
    }
    match schema.get("type").cloned() {
        Some(Value::String(word)) => {
            schema.insert("type".into(), json!([word, "null"]));
            Value::Object(schema)
        }
        Some(_) => Value::Object(schema),
        None if schema.keys().all(|key| key == "description" || key == "enum") => Value::Object(schema),
        None => json!({ "anyOf": [schema, { "type": "null" }] }),
    }
}

#[cfg(test)]
mod tests;
