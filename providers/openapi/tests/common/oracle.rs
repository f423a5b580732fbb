//! What a document says that its operations take, read without the code that is tested.
//!
//! An operation is held against its tool by names: of its parameters, and of every member that its JSON body can have at any
//! depth. Names are what a conversion loses; what values fit is schema/tests.rs's.

use std::collections::BTreeSet;

use frontdesk_api::tools::ToolDef;
use serde_json::Value;

use super::Group;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Words that hold one schema, lists of them, and schemas by name.
const ONE: [&str; 11] = [
    "items",
    "additionalItems",
    "contains",
    "propertyNames",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "additionalProperties",
    "unevaluatedProperties",
];
const LISTS: [&str; 4] = ["allOf", "anyOf", "oneOf", "prefixItems"];
const NAMED: [&str; 3] = ["properties", "dependentSchemas", "patternProperties"];

struct Document<'a> {
    root: &'a Value,
    old: bool,
}

/// How many operations the document has, and what the group's tools lack of them.
pub fn compared(root: &Value, group: &Group) -> (usize, Vec<String>) {
    let document = Document { root, old: root["openapi"].as_str().unwrap().starts_with("3.0") };
    let report = &group.inspected.report;
    let listed = |name: &str| report[name].as_array().unwrap();
    let left_out: BTreeSet<&str> = listed("left_out").iter().map(|left| left["operation"].as_str().unwrap()).collect();
    let left_open: BTreeSet<&str> = listed("left_open").iter().map(|name| name.as_str().unwrap()).collect();
    let (mut count, mut lacks, mut tools) = (0, vec![], group.inspected.tools.iter());
    for (path, item) in root["paths"].as_object().unwrap().iter().filter(|(path, _)| !path.starts_with("x-")) {
        let Some(item) = document.follow(item) else {
            count += 1;
            if !left_out.contains(path.as_str()) {
                lacks.push(format!("{path} leads nowhere and is not left out"));
            }
            continue;
        };
        for (method, operation) in METHODS.iter().filter_map(|method| Some((method, item.get(method)?))) {
            count += 1;
            let shown = format!("{} {path}", method.to_uppercase());
            if left_out.contains(shown.as_str()) {
                continue;
            }
            match tools.next() {
                None => lacks.push(format!("{shown} has no tool")),
                Some(tool) => {
                    let lack = document.lack(item, operation, tool, left_open.contains(tool.name.as_str()));
                    lacks.extend(lack.map(|lack| format!("{shown} ({}): {lack}", tool.name)));
                }
            }
        }
    }
    lacks.extend(tools.map(|tool| format!("{} is no operation's", tool.name)));
    (count, lacks)
}

impl<'a> Document<'a> {
    fn follow(&self, value: &'a Value) -> Option<&'a Value> {
        let mut at = value;
        for _ in 0..32 {
            let Some(to) = at.get("$ref").and_then(Value::as_str) else { return Some(at) };
            let pointer = percent_encoding::percent_decode_str(to.strip_prefix('#')?).decode_utf8_lossy().into_owned();
            at = self.root.pointer(&pointer)?;
        }
        None
    }

    fn lack(&self, item: &'a Value, operation: &'a Value, tool: &ToolDef, left_open: bool) -> Option<String> {
        let mut asked: Vec<(&str, &str)> = vec![];
        let mut constant = BTreeSet::new();
        for parameter in [item, operation].iter().filter_map(|of| of.get("parameters")?.as_array()).flatten() {
            let parameter = self.follow(parameter)?;
            let key = (parameter["in"].as_str()?, parameter["name"].as_str()?);
            asked.retain(|held| *held != key);
            constant.remove(&key);
            let header = key.1.to_ascii_lowercase();
            if key.0 == "header"
                && (["accept", "content-type", "authorization"].contains(&header.as_str())
                    || header.contains("idempotency"))
            {
                continue;
            }
            let content = parameter["content"].as_object().and_then(|all| all.values().next());
            let schema = self.follow(content.unwrap_or(parameter).get("schema").unwrap_or(&Value::Null))?;
            let single = schema["enum"].as_array().is_some_and(|all| all.len() == 1) || schema.get("const").is_some();
            if single && (key.0 == "path" || parameter["required"] == Value::Bool(true)) {
                constant.insert(key);
            }
            asked.push(key);
        }
        asked.retain(|key| !constant.contains(key));
        let takes = tool.schema["properties"].as_object()?;
        let body = operation.get("requestBody").map(|body| self.follow(body)?.get("content")?.as_object());
        let body = body.flatten().filter(|content| !content.is_empty());
        let want = asked.len() + usize::from(body.is_some());
        if takes.len() != want {
            return Some(format!("{want} arguments are {}: {:?}", takes.len(), takes.keys()));
        }
        // Names that are long or taken end otherwise.
        let like = |argument: &str, name: &str| {
            let (argument, name) = (letters(argument), letters(name));
            argument.contains(&name[..name.len().min(40)])
        };
        if let Some((place, name)) = asked.iter().find(|(_, name)| !takes.keys().any(|argument| like(argument, name))) {
            return Some(format!("the {place} parameter {name} is not among {:?}", takes.keys()));
        }
        let json = body?.iter().find(|(media, _)| {
            let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            ["application/json", "text/json", "*/*"].contains(&media.as_str()) || media.ends_with("+json")
        })?;
        let written = takes.iter().find(|(name, _)| name.starts_with("body"))?.1;
        let (mut has, mut wants) = (BTreeSet::new(), BTreeSet::new());
        names(written, &mut has);
        self.names(json.1.get("schema")?, &mut wants, &mut BTreeSet::new());
        // What is left open has to say so, and lacks nothing at the top.
        let lost: Vec<&&str> = wants.iter().filter(|name| !has.contains(**name)).collect();
        let more: Vec<&&str> = has.iter().filter(|name| !wants.contains(**name)).collect();
        ((!lost.is_empty() && !left_open) || !more.is_empty())
            .then(|| format!("of the body's members {lost:?} are lost and {more:?} are new"))
    }

    /// The names of members that a schema has at any depth, but for those that only answers have.
    fn names(&self, schema: &'a Value, into: &mut BTreeSet<&'a str>, been: &mut BTreeSet<&'a str>) {
        let Some(members) = schema.as_object() else { return };
        if let Some(to) = members.get("$ref").and_then(Value::as_str) {
            if been.insert(to)
                && let Some(pointer) = to.strip_prefix('#')
            {
                let pointer = percent_encoding::percent_decode_str(pointer).decode_utf8_lossy().into_owned();
                if let Some(target) = self.root.pointer(&pointer) {
                    self.names(target, into, been);
                }
            }
            if self.old {
                return;
            }
        }
        for one in ONE.iter().filter_map(|word| members.get(*word)) {
            self.names(one, into, been);
        }
        for one in LISTS.iter().filter_map(|word| members.get(*word)?.as_array()).flatten() {
            self.names(one, into, been);
        }
        for (word, (name, one)) in NAMED
            .iter()
            .filter_map(|word| Some((word, members.get(*word)?.as_object()?)))
            .flat_map(|(w, all)| all.iter().map(move |one| (w, one)))
        {
            if self.follow(one).is_some_and(|one| one["readOnly"] == Value::Bool(true)) {
                continue;
            }
            if *word == "properties" {
                into.insert(name);
            }
            self.names(one, into, been);
        }
    }
}

/// The same of a schema that is written out.
fn names<'a>(schema: &'a Value, into: &mut BTreeSet<&'a str>) {
    let Some(members) = schema.as_object() else { return };
    for one in ONE.iter().filter_map(|word| members.get(*word)) {
        names(one, into);
    }
    for one in LISTS.iter().filter_map(|word| members.get(*word)?.as_array()).flatten() {
        names(one, into);
    }
    for (word, (name, one)) in NAMED
        .iter()
        .filter_map(|word| Some((word, members.get(*word)?.as_object()?)))
        .flat_map(|(w, all)| all.iter().map(move |one| (w, one)))
    {
        if *word == "properties" {
            into.insert(name);
        }
        names(one, into);
    }
}

fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect()
}
