//! A whole document as tools: each operation, or the reason why not.

use std::collections::{BTreeMap, BTreeSet};

use frontdesk_api::{
    Error, Result,
    egress::{HostRule, Place as At},
    tools::{Effect, Risk, Runs, ToolDef},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{
    document::{Document, text},
    names,
    parameters::{Parameters, is_json},
    plan::{Body, BodyKind, Member, Operation, Plan, Style},
    schema,
    security::Security,
    servers::Servers,
};

/// Tools of one document.
const MOST: usize = 5_000;

/// Schemas and plans of one document, in bytes, and the nodes that may be written out for them.
const BYTES: usize = 16 << 20;
const NODES: usize = 20_000_000;

/// A tool's description, in bytes: it is paid for in every prompt.
const DESCRIPTION: usize = 1_024;

/// Bytes of a schema that is told in words.
const MOST_SHAPE: usize = 2 << 10;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// What the operator asks of an import.
#[derive(Default)]
pub(crate) struct Wanted<'a> {
    pub(crate) servers: Servers<'a>,
    /// Rules that hosts have to keep; None: the document's hosts are the group's.
    pub(crate) hosts: Option<Vec<HostRule>>,
    /// Secret by security scheme.
    pub(crate) secrets: BTreeMap<String, String>,
    /// Empty: every operation.
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
}

pub(crate) struct Imported {
    pub(crate) tools: Vec<ToolDef>,
    pub(crate) plan: Plan,
    /// Those of the tools.
    pub(crate) hosts: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
    /// Tools some of whose arguments are not told to their end.
    pub(crate) left_open: Vec<String>,
    pub(crate) security: Value,
}

/// An operation that did not become a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct LeftOut {
    /// `GET /path`.
    pub(crate) operation: String,
    pub(crate) reason: String,
}

/// # Errors
/// `Invalid` on `args.…`: a pattern that fits nothing, a scheme that is not there, too many tools, none at all.
pub(crate) fn import(document: &Document, wanted: &Wanted<'_>) -> Result<Imported> {
    let mut security = Security::new(document, wanted.secrets.clone());
    if let Some(unknown) = security.unknown() {
        let message = format!("the document has no security scheme '{unknown}'; it has: {}", listed(&security.known()));
        return Err(Error::invalid(format!("args.secrets.{unknown}"), message));
    }
    let mut imported = Imported {
        tools: vec![],
        plan: Plan::default(),
        hosts: vec![],
        left_out: vec![],
        left_open: vec![],
        security: json!([]),
    };
    let mut bytes = 0;
    let (mut taken, mut hosts, mut matched) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let paths = document.root.get("paths").and_then(Value::as_object);
    for (path, item) in paths.into_iter().flatten().filter(|(path, _)| !path.starts_with("x-")) {
        let item = match document.follow(item) {
            Ok(item) => item,
            Err(reason) => {
                imported.left_out.push(LeftOut { operation: path.clone(), reason });
                continue;
            }
        };
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            let shown = format!("{} {path}", method.to_uppercase());
            let mut leave = |reason: String| imported.left_out.push(LeftOut { operation: shown.clone(), reason });
            let is = |pattern: &&String| fits(pattern, &shown, operation);
            let included: Vec<&String> = wanted.include.iter().filter(is).collect();
            let excluded: Vec<&String> = wanted.exclude.iter().filter(is).collect();
            matched.extend(included.iter().chain(&excluded).map(|pattern| (*pattern).clone()));
            if !wanted.include.is_empty() && included.is_empty() {
                leave("it is not among args.include".to_owned());
                continue;
            }
            if !excluded.is_empty() {
                leave("it is among args.exclude".to_owned());
                continue;
            }
            match one(document, wanted, &mut security, path, method, item, operation) {
                Err(reason) => leave(reason),
                Ok((planned, host, def)) => {
                    let name = text(operation, "operationId").map_or_else(|| shown.to_lowercase(), str::to_owned);
                    let name = names::free(&name, &mut taken);
                    hosts.insert(host);
                    if document.take_left_open() {
                        imported.left_open.push(name.clone());
                    }
                    let def = ToolDef { name: name.clone(), wire_name: name.clone(), ..def };
                    imported.tools.push(ToolDef { hash: hash(&def, &planned), ..def });
                    bytes += size(imported.tools.last(), &planned)?;
                    imported.plan.operations.insert(name, planned);
                }
            }
            if imported.tools.len() > MOST {
                let message =
                    format!("at most {MOST} operations of a document become tools: name some in args.include");
                return Err(Error::invalid("args.include", message));
            }
            if bytes > BYTES || document.spent() > NODES {
                let message = format!(
                    "the operations up to {shown} already come to too much ({BYTES} bytes of schemas and plans, or their references): name fewer in args.include"
                );
                return Err(Error::invalid("args.include", message));
            }
        }
    }
    for (member, patterns) in [("include", &wanted.include), ("exclude", &wanted.exclude)] {
        if let Some(i) = patterns.iter().position(|pattern| !matched.contains(pattern)) {
            let message = format!(
                "'{}' fits no operation: use an operationId, 'GET /path' or 'tag:name', with * at its end for all that begin so",
                patterns[i]
            );
            return Err(Error::invalid(format!("args.{member}[{i}]"), message));
        }
    }
    if imported.tools.is_empty() {
        let first = imported.left_out.first();
        let why = first.map_or_else(|| "it has none".to_owned(), |l| format!("{}: {}", l.operation, l.reason));
        return Err(Error::invalid("args", format!("no operation of the document becomes a tool; {why}")));
    }
    imported.hosts = hosts.into_iter().collect();
    imported.security = security.report();
    Ok(imported)
}

/// The plan of an operation, its host's rule, and its tool but for the name.
fn one(
    document: &Document,
    wanted: &Wanted<'_>,
    security: &mut Security<'_>,
    path: &str,
    method: &str,
    item: &Value,
    operation: &Value,
) -> Result<(Operation, String, ToolDef), String> {
    document.take_left_open();
    if method == "trace" {
        return Err("TRACE is not sent".to_owned());
    }
    let servers = [operation.get("servers"), item.get("servers"), document.root.get("servers")];
    let server = wanted.servers.address(servers)?;
    let at = At::of(&server)?;
    let host = HostRule::exactly(at.clone()).to_string();
    if wanted.hosts.as_ref().is_some_and(|rules| !rules.iter().any(|rule| rule.admits(&at))) {
        return Err(format!("its server {at} is not among args.hosts"));
    }
    if !path.starts_with('/')
        || path
            .split(['{', '}'])
            .step_by(2)
            .any(|fixed| fixed.contains(|c: char| !c.is_ascii_graphic() || "\\\"<>^`|#".contains(c)))
    {
        return Err("its path is none that can be sent".to_owned());
    }
    let mut parameters = Parameters::of(document, item, operation)?;
    for name in path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name) {
        if !parameters.planned.iter().any(|p| p.place == crate::plan::Place::Path && p.name == name) {
            return Err(format!("its path has '{{{name}}}', which is not among its parameters"));
        }
    }
    let body =
        operation.get("requestBody").map(|body| request_body(document, body, &mut parameters)).transpose()?.flatten();
    let mut schema = json!({ "type": "object", "properties": parameters.properties, "additionalProperties": false });
    if !parameters.required.is_empty() {
        schema["required"] = json!(parameters.required);
    }
    // A net under the conversion: arguments of one odd tool must not keep the whole document out.
    if jsonschema::validator_for(&schema).is_err() {
        for property in schema["properties"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if jsonschema::validator_for(property).is_err() {
                document.leave_open();
                *property = json!({ "description": property.get("description") });
            }
        }
    }
    let (effect, risk) = match method {
        "get" | "head" | "options" => (Effect::None, Risk::Read),
        "delete" => (Effect::Idempotent, Risk::ApprovalRequired),
        "put" => (Effect::Idempotent, Risk::LowImpactWrite),
        // The server does it once for one key.
        _ if parameters.idempotency.is_some() => (Effect::Idempotent, Risk::LowImpactWrite),
        _ => (Effect::Unsafe, Risk::LowImpactWrite),
    };
    let planned = Operation {
        method: method.to_uppercase(),
        server,
        path: path.to_owned(),
        parameters: parameters.planned,
        body,
        credentials: security.credentials(operation),
        idempotency: parameters.idempotency,
    };
    let def = ToolDef {
        name: String::new(),
        wire_name: String::new(),
        toolgroup: String::new(),
        description: description(operation, method, path),
        schema,
        runs: Runs::Server,
        effect,
        risk,
        bound_args: BTreeMap::new(),
        alone: false,
        hash: String::new(),
    };
    Ok((planned, host, def))
}

/// The first kind of content that can be written, JSON before others.
fn request_body(document: &Document, body: &Value, parameters: &mut Parameters) -> Result<Option<Body>, String> {
    let body = document.follow(body)?;
    let content = body.get("content").and_then(Value::as_object).filter(|content| !content.is_empty());
    let Some(content) = content else { return Ok(None) };
    let rank = |media: &str| match kind(media) {
        BodyKind::Json => 0,
        BodyKind::Form => 1,
        BodyKind::Multipart => 2,
        BodyKind::Text => 3,
        BodyKind::Binary => 4,
    };
    let Some((media, described)) = content.iter().min_by_key(|(media, _)| rank(media)) else { return Ok(None) };
    let kind = kind(media);
    let own = described.get("schema").cloned().unwrap_or_else(|| json!({}));
    let target = document.follow(&own).unwrap_or(&own);
    let mut written = schema::convert(document, &own);
    let mut members = BTreeMap::new();
    if matches!(kind, BodyKind::Form | BodyKind::Multipart) {
        for (name, property) in properties(document, target) {
            let property = document.follow(property).unwrap_or(property);
            let encoding = described.get("encoding").and_then(|encoding| encoding.get(&name));
            let member = member(document, property, encoding);
            if member.file && kind == BodyKind::Multipart {
                say(&mut written, &name, "a file: its text, or data:TYPE;base64,DATA");
            }
            members.insert(name, member);
        }
    }
    if kind == BodyKind::Binary {
        written = json!({ "type": "string", "description": format!("the {media} content: its text, or data:{media};base64,DATA") });
    }
    // Nothing here writes XML: it is the model's to write. YAML is, as every JSON is some.
    let one = written.get("type").and_then(Value::as_str).is_some_and(|kind| !["object", "array"].contains(&kind));
    if kind == BodyKind::Text && !one && !media.to_ascii_lowercase().contains("yaml") {
        let mut words = format!("the {media} content, as text");
        let shape = written.to_string();
        // Which elements there are, only the schema says.
        match written.as_object().is_some_and(|schema| !schema.is_empty()) {
            true if shape.len() <= MOST_SHAPE => words.push_str(&format!("; what it holds, as a JSON Schema: {shape}")),
            true => document.leave_open(),
            false => {}
        }
        written = json!({ "type": "string", "description": words });
    }
    let argument = names::free("body", &mut parameters.taken);
    if let (Value::Object(written), Some(words)) = (&mut written, text(body, "description")) {
        let words = match written.get("description").and_then(Value::as_str) {
            Some(own) if matches!(kind, BodyKind::Text | BodyKind::Binary) => format!("{}; {own}", words.trim()),
            Some(own) => own.to_owned(),
            None => words.trim().to_owned(),
        };
        written.insert("description".into(), json!(words));
    }
    parameters.properties.insert(argument.clone(), written);
    if body.get("required") == Some(&Value::Bool(true)) {
        parameters.required.push(argument.clone());
    }
    let media = if media.contains('*') { "application/json".to_owned() } else { media.clone() };
    Ok(Some(Body { argument, media, kind, members }))
}

fn kind(media: &str) -> BodyKind {
    let lower = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match lower.as_str() {
        _ if is_json(media) => BodyKind::Json,
        "application/x-www-form-urlencoded" => BodyKind::Form,
        "multipart/form-data" => BodyKind::Multipart,
        text if text.starts_with("text/")
            || text.ends_with("+xml")
            || text.ends_with("/xml")
            || text.ends_with("/yaml") =>
        {
            BodyKind::Text
        }
        _ => BodyKind::Binary,
    }
}

/// The members of an object, those of `allOf` among them.
fn properties<'a>(document: &'a Document, schema: &'a Value) -> Vec<(String, &'a Value)> {
    let own = schema.get("properties").and_then(Value::as_object);
    let mut all: Vec<(String, &Value)> = own.into_iter().flatten().map(|(name, value)| (name.clone(), value)).collect();
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        let part = document.follow(part).unwrap_or(part);
        all.extend(
            part.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(n, v)| (n.clone(), v)),
        );
    }
    all
}

fn member(document: &Document, property: &Value, encoding: Option<&Value>) -> Member {
    let said = |name: &str| encoding.and_then(|encoding| encoding.get(name));
    let styled = said("style").is_some() || said("explode").is_some();
    let is = |schema: &Value, kind: &str| text(schema, "type") == Some(kind);
    let style = match said("style").and_then(Value::as_str) {
        Some("spaceDelimited") => Style::Space,
        Some("pipeDelimited") => Style::Pipe,
        Some("deepObject") => Style::Deep,
        _ if is(property, "object") && !styled => Style::Json,
        _ => Style::Form,
    };
    let explode = said("explode").and_then(Value::as_bool).unwrap_or(matches!(style, Style::Form));
    let items = property.get("items").map(|items| document.follow(items).unwrap_or(items));
    let file = [Some(property), items].into_iter().flatten().any(|schema| {
        matches!(text(schema, "format"), Some("binary" | "byte" | "base64"))
            || is(schema, "file")
            || text(schema, "contentMediaType").is_some() && text(schema, "type").is_none_or(|kind| kind == "string")
    });
    let media = said("contentType")
        .and_then(Value::as_str)
        .map(|media| media.split(',').next().unwrap_or_default().trim().to_owned());
    let media = media.or_else(|| text(property, "contentMediaType").map(str::to_owned));
    // It stands in a header of a part.
    let media = media.filter(|media| !media.contains('*') && media.chars().all(|c| c.is_ascii_graphic() || c == ' '));
    Member { style, explode, media, file }
}

fn say(schema: &mut Value, name: &str, words: &str) {
    let Some(Value::Object(property)) = schema.get_mut("properties").and_then(|p| p.get_mut(name)) else { return };
    let words = match property.get("description").and_then(Value::as_str) {
        Some(own) => format!("{own}; {words}"),
        None => words.to_owned(),
    };
    property.insert("description".into(), json!(words));
}

fn description(operation: &Value, method: &str, path: &str) -> String {
    let mut words: Vec<&str> =
        [text(operation, "summary"), text(operation, "description")].into_iter().flatten().map(str::trim).collect();
    words.retain(|words| !words.is_empty());
    words.dedup();
    let mut all = if words.is_empty() { format!("{} {path}", method.to_uppercase()) } else { words.join("\n\n") };
    if all.len() > DESCRIPTION {
        all.truncate(all.floor_char_boundary(DESCRIPTION));
        all.push('…');
    }
    if operation.get("deprecated") == Some(&Value::Bool(true)) {
        all.push_str(" (deprecated)");
    }
    all
}

/// `operationId`, `GET /path` or `tag:name`; a `*` at the end stands for whatever follows.
fn fits(pattern: &str, shown: &str, operation: &Value) -> bool {
    let is = |name: &str| match pattern.strip_suffix('*') {
        Some(front) => name.starts_with(front),
        None => name == pattern,
    };
    let tags = operation.get("tags").and_then(Value::as_array);
    is(shown)
        || text(operation, "operationId").is_some_and(is)
        || tags.into_iter().flatten().filter_map(Value::as_str).any(|tag| is(&format!("tag:{tag}")))
}

fn hash(def: &ToolDef, planned: &Operation) -> String {
    let parts = json!([def.name, def.description, def.schema, planned.method, planned.server, planned.path]);
    blake3::hash(parts.to_string().as_bytes()).to_hex().to_string()
}

/// Bytes that a tool and its plan are kept in.
fn size(def: Option<&ToolDef>, planned: &Operation) -> Result<usize> {
    let plan = serde_json::to_vec(planned).map_err(|e| Error::internal("measuring the plan of an operation", e))?;
    Ok(plan.len() + def.map_or(0, |def| def.description.len() + def.schema.to_string().len()))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
