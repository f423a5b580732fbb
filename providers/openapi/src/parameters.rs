//! An operation's parameters: which there are, under which argument the model gives each, how each is written.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::{
    document::{Document, text},
    names,
    plan::{Parameter, Place, Style},
    schema,
};

/// Headers that OpenAPI says are none of a document's parameters, and those that are never a tool's.
const NOT_PARAMETERS: [&str; 3] = ["accept", "content-type", "authorization"];

/// Headers that take the call's key.
const IDEMPOTENCY: [&str; 3] = ["idempotency-key", "x-idempotency-key", "idempotency-token"];

/// Parameters of one operation.
const MOST: usize = 256;

/// Parameters as they are planned, and the schema of the arguments that fill them.
#[derive(Default)]
pub(crate) struct Parameters {
    pub(crate) planned: Vec<Parameter>,
    pub(crate) properties: Map<String, Value>,
    pub(crate) required: Vec<String>,
    pub(crate) idempotency: Option<String>,
    /// Arguments that are taken.
    pub(crate) taken: BTreeSet<String>,
}

impl Parameters {
    /// Those of the path's item and of the operation, which win.
    ///
    /// # Errors
    /// Why the operation cannot be called.
    pub(crate) fn of(document: &Document, item: &Value, operation: &Value) -> Result<Self, String> {
        let mut all: Vec<(Place, String, &Value)> = vec![];
        for list in [item.get("parameters"), operation.get("parameters")].into_iter().flatten() {
            for parameter in list.as_array().ok_or("its parameters are no list")? {
                let parameter = document.follow(parameter)?;
                let name = text(parameter, "name").ok_or("one of its parameters has no name")?;
                let place = match text(parameter, "in") {
                    Some("path") => Place::Path,
                    Some("query") => Place::Query,
                    Some("header") => Place::Header,
                    Some("cookie") => Place::Cookie,
                    other => return Err(format!("its parameter '{name}' is in '{}'", other.unwrap_or_default())),
                };
                all.retain(|(held, held_name, _)| (*held, held_name.as_str()) != (place, name));
                all.push((place, name.to_owned(), parameter));
                if all.len() > MOST {
                    return Err(format!("it has more than {MOST} parameters"));
                }
            }
        }
        let mut parameters = Self::default();
        for (place, name, parameter) in all {
            parameters.add(document, place, &name, parameter)?;
        }
        Ok(parameters)
    }

    fn add(&mut self, document: &Document, place: Place, name: &str, parameter: &Value) -> Result<(), String> {
        let lower = name.to_ascii_lowercase();
        if place == Place::Header {
            if NOT_PARAMETERS.contains(&lower.as_str()) {
                return Ok(());
            }
            if IDEMPOTENCY.contains(&lower.as_str()) {
                self.idempotency = Some(name.to_owned());
                return Ok(());
            }
        }
        let content = parameter.get("content").and_then(Value::as_object).and_then(|content| content.iter().next());
        let style = match (content, text(parameter, "style"), place) {
            (Some((media, _)), ..) if is_json(media) => Style::Json,
            (Some((media, _)), ..) => return Err(format!("its parameter '{name}' is written as '{media}'")),
            (None, None, Place::Path | Place::Header) => Style::Simple,
            (None, None, Place::Query | Place::Cookie) => Style::Form,
            (None, Some("simple"), Place::Path | Place::Header) => Style::Simple,
            (None, Some("label"), Place::Path) => Style::Label,
            (None, Some("matrix"), Place::Path) => Style::Matrix,
            (None, Some("form"), Place::Query | Place::Cookie) => Style::Form,
            (None, Some("spaceDelimited"), Place::Query) => Style::Space,
            (None, Some("pipeDelimited"), Place::Query) => Style::Pipe,
            (None, Some("deepObject"), Place::Query) => Style::Deep,
            (None, Some(style), _) => {
                return Err(format!("its parameter '{name}' in the {} has the style '{style}'", place.name()));
            }
        };
        let described = content.map_or(parameter, |(_, media)| media);
        let mut schema = schema::convert(document, described.get("schema").unwrap_or(&json!({})));
        let required = place == Place::Path || parameter.get("required") == Some(&Value::Bool(true));
        let planned = |argument: String, fixed: Option<Value>| Parameter {
            name: name.to_owned(),
            argument,
            place,
            style,
            explode: parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == Style::Form),
            reserved: place == Place::Query && parameter.get("allowReserved") == Some(&Value::Bool(true)),
            fixed,
        };
        // With one value there is nothing to ask.
        if let Some(only) = only_value(&schema).filter(|_| required) {
            self.planned.push(planned(String::new(), Some(only)));
            return Ok(());
        }
        let argument = self.argument(name, place);
        if let (Value::Object(schema), Some(words)) = (&mut schema, text(parameter, "description")) {
            let words = match schema.get("description").and_then(Value::as_str) {
                Some(own) => format!("{}; {own}", words.trim()),
                None => words.trim().to_owned(),
            };
            schema.insert("description".into(), json!(words));
        }
        self.properties.insert(argument.clone(), schema);
        if required {
            self.required.push(argument.clone());
        }
        self.planned.push(planned(argument, None));
        Ok(())
    }

    /// The parameter's own name where it is free and a model can write it.
    fn argument(&mut self, name: &str, place: Place) -> String {
        let clashes = self.taken.contains(&names::plain(name));
        let wanted = if clashes { format!("{}_{name}", place.name()) } else { name.to_owned() };
        names::free(&wanted, &mut self.taken)
    }
}

/// JSON, or what is written as JSON.
pub(crate) fn is_json(media: &str) -> bool {
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media == "application/json" || media == "text/json" || media.ends_with("+json") || media == "*/*"
}

fn only_value(schema: &Value) -> Option<Value> {
    if let Some(only) = schema.get("const") {
        return Some(only.clone());
    }
    match schema.get("enum").and_then(Value::as_array).map(Vec::as_slice) {
        Some([only]) => Some(only.clone()),
        _ => None,
    }
}
