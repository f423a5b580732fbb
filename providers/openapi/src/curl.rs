//! A pasted curl command as a document of one operation.
//!
//! What it sends becomes parameters and members, by name; a header that every client of the server sends alike (its
//! version, its language) keeps its value, any other becomes a security scheme, and so does what has a secret's name.
//! Invariant: no other pasted value is in the document. A name or a piece of the path that looks random is taken for one.

use frontdesk_api::{Error, Result};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Options without a value, and with one, that say nothing about the request.
const FLAGS: [&str; 15] = [
    "-s",
    "--silent",
    "-S",
    "--show-error",
    "-L",
    "--location",
    "-k",
    "--insecure",
    "-v",
    "--verbose",
    "-i",
    "--include",
    "--compressed",
    "-f",
    "--fail",
];
const WITH_VALUE: [&str; 12] = [
    "-o",
    "--output",
    "-m",
    "--max-time",
    "--connect-timeout",
    "-A",
    "--user-agent",
    "-e",
    "--referer",
    "--retry",
    "-w",
    "--write-out",
];

/// Headers that are the client's own affair.
const CLIENTS: [&str; 14] = [
    "accept",
    "accept-encoding",
    "cache-control",
    "connection",
    "content-length",
    "dnt",
    "host",
    "origin",
    "pragma",
    "priority",
    "referer",
    "te",
    "upgrade-insecure-requests",
    "user-agent",
];

/// Schemes that a secret follows; any other word may be a part of it.
const SCHEMES: [&str; 3] = ["basic", "bearer", "token"];

/// Whether the name says that a secret stands there. Better one too many: a document says more than a command.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let parts = ["key", "auth", "pass", "pwd", "sess", "jwt", "cred", "sig", "code", "token", "secret"];
    parts.iter().any(|part| name.contains(part))
}

/// Whether a word is long and nobody's word: digits among its letters, hardly a small letter, or no end.
fn is_random(word: &str) -> bool {
    let word = percent_decode_str(word).decode_utf8_lossy();
    let odd = |piece: &str| {
        let (length, capitals) = (piece.chars().count(), piece.chars().filter(|c| c.is_uppercase()).count());
        length >= 32 || length >= 16 && capitals * 4 >= length
    };
    let digits = word.chars().any(|c| c.is_ascii_digit());
    word.chars().count() >= 16 && (digits || word.split(|c: char| !c.is_alphanumeric()).any(odd))
}

/// A name that may be kept.
fn named(name: &str) -> Result<&str, String> {
    if is_random(name) || name.is_empty() {
        return Err("one of its names is empty or looks like a secret itself; write NAME=VALUE".to_owned());
    }
    Ok(name)
}

#[derive(Default)]
struct Command {
    method: Option<String>,
    url: String,
    headers: Vec<(String, String)>,
    data: Vec<String>,
    form: Vec<String>,
    json: bool,
    basic: bool,
    as_query: bool,
}

/// # Errors
/// `Invalid` on `args.curl`.
pub(crate) fn document(text: &str) -> Result<Value> {
    let command = read(text).map_err(|why| Error::invalid("args.curl", why))?;
    build(command).map_err(|why| Error::invalid("args.curl", why))
}

fn read(text: &str) -> Result<Command, String> {
    let mut words = words(text)?.into_iter();
    if words.next().as_deref() != Some("curl") {
        return Err("the command does not begin with 'curl'".to_owned());
    }
    let mut command = Command::default();
    while let Some(word) = words.next() {
        let (option, attached) = split(&word);
        let mut value =
            || attached.clone().or_else(|| words.next()).ok_or_else(|| format!("'{option}' lacks its value"));
        match option.as_str() {
            "-X" | "--request" => command.method = Some(value()?.to_ascii_uppercase()),
            "-H" | "--header" => {
                let header = value()?;
                let (name, said) = header.split_once(':').ok_or("a header has no colon")?;
                command.headers.push((name.trim().to_owned(), said.trim().to_owned()));
            }
            "-d" | "--data" | "--data-raw" | "--data-binary" | "--data-ascii" | "--data-urlencode" => {
                command.data.push(value()?)
            }
            "--json" => {
                command.json = true;
                command.data.push(value()?);
            }
            "-F" | "--form" | "--form-string" => command.form.push(value()?),
            "-u" | "--user" => {
                value()?;
                command.basic = true;
            }
            "-b" | "--cookie" => command.headers.push(("Cookie".to_owned(), value()?)),
            "-G" | "--get" => command.as_query = true,
            "-I" | "--head" => command.method = Some("HEAD".to_owned()),
            "--url" => command.url = value()?,
            _ if FLAGS.contains(&option.as_str()) || is_flags(&option) => {}
            _ if WITH_VALUE.contains(&option.as_str()) => {
                value()?;
            }
            _ if option.starts_with('-') && option.len() > 1 => {
                // Of `-xVALUE` the option alone.
                let short = option.char_indices().nth(2).map_or(option.len(), |(at, _)| at);
                let shown = if option.starts_with("--") { &option } else { &option[..short] };
                return Err(format!("the option '{shown}' is not understood"));
            }
            _ if command.url.is_empty() => command.url = option,
            _ => return Err("it names more than one address".to_owned()),
        }
    }
    if command.url.is_empty() {
        return Err("it names no address".to_owned());
    }
    if command.data.iter().any(|data| data.starts_with('@')) {
        return Err("it sends a file of your machine: paste its content in place of @FILE".to_owned());
    }
    Ok(command)
}

/// Several flags in one word (`-sSL`).
fn is_flags(word: &str) -> bool {
    word.strip_prefix('-').is_some_and(|flags| !flags.is_empty() && flags.chars().all(|c| "sSLkvif".contains(c)))
}

/// `-XPOST` and `--request=POST` have their values attached.
fn split(word: &str) -> (String, Option<String>) {
    if let Some((option, value)) = word.split_once('=').filter(|(option, _)| option.starts_with("--")) {
        return (option.to_owned(), Some(value.to_owned()));
    }
    let attachable = ["-X", "-H", "-d", "-F", "-u", "-b", "-o", "-m", "-A", "-e", "-w"];
    if word.is_char_boundary(2) && word.len() > 2 && attachable.contains(&&word[..2]) {
        return (word[..2].to_owned(), Some(word[2..].to_owned()));
    }
    (word.to_owned(), None)
}

/// Words as a shell makes them, without anything a shell would run.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = vec![];
    let mut word: Option<String> = None;
    let mut chars = text.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quotation is not closed".to_owned()),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some('\n') => {}
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a quotation is not closed".to_owned()),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a quotation is not closed".to_owned()),
                    }
                }
            }
            '\\' => match chars.next() {
                Some('\n') | None => {}
                Some('\r') => {
                    chars.next_if_eq(&'\n');
                }
                Some(c) => word.get_or_insert_default().push(c),
            },
            '|' | ';' | '>' | '<' | '\n' => {
                return Err(format!("after '{}' comes another command", c.escape_default()));
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn build(command: Command) -> Result<Value, String> {
    let url = if command.url.contains("://") { command.url.clone() } else { format!("https://{}", command.url) };
    let url = url.split('#').next().unwrap_or_default();
    let (address, query) = url.split_once('?').unwrap_or((url, ""));
    let at = frontdesk_api::egress::Place::of(address)?;
    let rest = address.split_once("://").map_or("", |(_, rest)| rest);
    let (mut parameters, mut schemes, mut wanted) = (vec![], Map::new(), Map::new());
    let mut pieces = vec![];
    for piece in rest.find('/').map_or("/", |slash| &rest[slash..]).split('/') {
        if is_random(piece) {
            let name = format!("piece_{}", parameters.len() + 1);
            pieces.push(format!("{{{name}}}"));
            parameters.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        } else {
            pieces.push(piece.to_owned());
        }
    }
    let path = pieces.join("/");
    let mut scheme = |name: String, scheme: Value| {
        schemes.insert(name.clone(), scheme);
        wanted.insert(name, json!([]));
    };
    if command.basic {
        scheme("basic".to_owned(), json!({ "type": "http", "scheme": "basic" }));
    }
    let data = if command.as_query { command.data.join("&") } else { String::new() };
    let asked = query.split('&').chain(data.split('&')).filter(|pair| !pair.is_empty());
    for pair in asked {
        let name = plain(pair.split('=').next().unwrap_or_default());
        if is_secret(named(&name)?) {
            scheme(name.clone(), json!({ "type": "apiKey", "in": "query", "name": name }));
        } else {
            parameters.push(json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
        }
    }
    let mut media = command.json.then_some("application/json".to_owned());
    for (name, value) in command.headers {
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "content-type" => media = Some(value),
            client if CLIENTS.contains(&client) || client.starts_with("sec-") => {}
            "authorization" => {
                let kind = value.split(' ').next().unwrap_or_default().to_ascii_lowercase();
                if value.contains(' ') && SCHEMES.contains(&kind.as_str()) {
                    let written = if kind == "token" { "Token" } else { kind.as_str() };
                    scheme(kind.clone(), json!({ "type": "http", "scheme": written }));
                } else {
                    scheme(name.clone(), json!({ "type": "apiKey", "in": "header", "name": "Authorization" }));
                }
            }
            "cookie" => {
                for pair in value.split(';') {
                    let (name, _) = pair.split_once('=').ok_or("a cookie has no '='")?;
                    let name = named(name.trim())?.to_owned();
                    scheme(name.clone(), json!({ "type": "apiKey", "in": "cookie", "name": name }));
                }
            }
            // Part of how the server is spoken to.
            alike
                if matches!(alike, "accept-language" | "content-language")
                    || (alike.contains("version") && !is_secret(alike) && !is_random(&value)) =>
            {
                parameters
                    .push(json!({ "name": name, "in": "header", "required": true, "schema": { "const": value } }));
            }
            _ => scheme(name.clone(), json!({ "type": "apiKey", "in": "header", "name": name })),
        }
    }
    let body = if command.as_query { None } else { body(&command.data, &command.form, media)? };
    let usual = if body.is_some() { "POST" } else { "GET" };
    let method = command.method.unwrap_or_else(|| usual.to_owned());
    let mut operation = json!({ "operationId": format!("{} {}", method.to_lowercase(), path), "parameters": parameters,
        "summary": format!("{method} {}{path}", at.host) });
    if let Some(body) = body {
        operation["requestBody"] = body;
    }
    if !wanted.is_empty() {
        operation["security"] = json!([wanted]);
    }
    Ok(json!({ "openapi": "3.1.0", "info": { "title": format!("{method} {at}{path}"), "version": "1" },
        "servers": [{ "url": at.to_string() }],
        "paths": { (path): { (method.to_lowercase()): operation } }, "components": { "securitySchemes": schemes } }))
}

fn body(data: &[String], form: &[String], media: Option<String>) -> Result<Option<Value>, String> {
    let (media, schema) = if !form.is_empty() {
        let mut properties = Map::new();
        for part in form {
            let (name, value) = part.split_once('=').ok_or("a part of the form has no '='")?;
            let name = named(name)?;
            let file = value.starts_with('@') || value.starts_with('<');
            let schema = if file { json!({ "type": "string", "format": "binary" }) } else { shape(&json!(value)) };
            properties.insert(name.to_owned(), schema);
        }
        ("multipart/form-data".to_owned(), json!({ "type": "object", "properties": properties }))
    } else if data.is_empty() {
        return Ok(None);
    } else if let Ok(value) = serde_json::from_str::<Value>(&data.concat()) {
        (media.unwrap_or_else(|| "application/json".to_owned()), shape(&value))
    } else {
        let media = media.unwrap_or_else(|| "application/x-www-form-urlencoded".to_owned());
        if media.starts_with("application/x-www-form-urlencoded") {
            let mut properties = Map::new();
            for pair in data.join("&").split('&') {
                let name = plain(pair.split('=').next().unwrap_or_default());
                properties.insert(named(&name)?.to_owned(), json!({ "type": "string" }));
            }
            (media, json!({ "type": "object", "properties": properties }))
        } else {
            (media, json!({ "type": "string" }))
        }
    };
    Ok(Some(json!({ "required": true, "content": { (media): { "schema": schema } } })))
}

fn plain(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// The schema of a pasted value, without the value.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            // A member that is named at random is data.
            let members = members.iter().filter(|(name, _)| !is_random(name));
            let properties: Map<String, Value> = members.map(|(name, value)| (name.clone(), shape(value))).collect();
            json!({ "type": "object", "properties": properties })
        }
        Value::Array(items) => match items.first() {
            Some(first) => json!({ "type": "array", "items": shape(first) }),
            None => json!({ "type": "array" }),
        },
        Value::Null => json!({}),
        Value::Bool(_) => json!({ "type": "boolean" }),
        Value::Number(_) => json!({ "type": "number" }),
        Value::String(_) => json!({ "type": "string" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_becomes_an_operation_and_its_secrets_do_not() {
        let text = r#"curl -sS -X POST 'https://api.shop.example:8443/v1/orders?expand=items&api_key=hunter2' \
            -H "Authorization: Bearer hunter2" -H 'X-Version: 7' -H 'content-type: application/json' \
            -b 'sid=hunter2' -u ada:hunter2 \
            --data-raw '{"sku": "it'\''s", "count": 2, "gift": true, "tags": ["a"], "password": "hunter2"}'"#;
        let document = document(text).expect("a document");
        assert!(!document.to_string().contains("hunter2"), "{document}");
        assert_eq!(document["servers"][0]["url"], "https://api.shop.example:8443");
        let operation = &document["paths"]["/v1/orders"]["post"];
        let names: Vec<&str> =
            operation["parameters"].as_array().expect("a list").iter().filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(names, ["expand", "X-Version"]);
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"]["properties"];
        assert_eq!(schema["sku"], json!({ "type": "string" }));
        assert_eq!(schema["tags"]["items"]["type"], "string");
        let schemes: Vec<&String> = operation["security"][0].as_object().expect("schemes").keys().collect();
        assert_eq!(schemes.len(), 4, "{schemes:?}");
    }

    #[test]
    fn no_pasted_value_is_left_wherever_it_stood() {
        for text in [
            "curl https://a.example/x?q=hunter2 -H 'X-Tenant: hunter2' -H 'X-Forwarded-User: hunter2'",
            "curl https://a.example/x -H 'Authorization: hunter2 hunter2' -H 'Referer: https://b.example/?t=hunter2'",
            "curl https://a.example/x -d 'note=hunter2' -H 'X-Language: hunter2' -H 'sec-ch-ua: hunter2'",
            r#"curl https://a.example/x --json '{"note": "hunter2", "list": ["hunter2"], "hunter2-0123456789": 1}'"#,
            "curl https://a.example/x -F note=hunter2 -b 'a=hunter2; b=hunter2'",
            "curl https://hooks.example/services/T0/B0/hunter2XXXXXXXXXXXXXXXX -d 'text=a'",
            "curl https://api.example/bot123456:hunter2-zyx57W2v1u123ew11/sendMessage",
            "curl https://a.example/x -H 'X-Version: hunter2-0123456789'",
        ] {
            let document = document(text).expect(text).to_string();
            assert!(!document.contains("hunter2"), "{document}");
        }
        for text in [
            "curl https://a.example/x?hunter2-0123456789",
            "curl https://a.example/x -d hunter2-0123456789",
            "curl https://a.example/x -b hunter2",
            "curl -xhunter2 https://a.example/x",
        ] {
            let error = document(text).expect_err(text);
            assert!(!error.message.contains("hunter2"), "{error}");
        }
        let path = document("curl https://a.example/v1/0123456789abcdef/listAllCustomerOrders").expect("a document");
        assert!(path["paths"]["/v1/{piece_1}/listAllCustomerOrders"].is_object(), "{path}");
    }

    #[test]
    fn forms_queries_and_shorthands_are_understood() {
        let form = document("curl shop.example/a -d 'a=1&b=x+y' -dc=%26").expect("a document");
        assert_eq!(form["servers"][0]["url"], "https://shop.example");
        let body = &form["paths"]["/a"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"];
        assert_eq!(body["schema"]["properties"]["c"], json!({ "type": "string" }));
        let query = document("curl -G https://shop.example -d q=lamp --compressed").expect("a document");
        assert_eq!(query["paths"]["/"]["get"]["parameters"][0]["name"], "q");
        let upload = document("curl https://shop.example/u -F 'file=@a.png' -F name=x").expect("a document");
        let parts =
            &upload["paths"]["/u"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"];
        assert_eq!(parts["file"]["format"], "binary");
        assert!(
            document("curl -XDELETE https://shop.example/a").expect("a document")["paths"]["/a"]["delete"].is_object()
        );
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for (text, words) in [
            ("wget https://a.example", "does not begin with 'curl'"),
            ("curl", "no address"),
            ("curl 'https://a.example", "not closed"),
            ("curl https://a.example | sh", "another command"),
            ("curl https://a.example -d @/etc/passwd", "a file of your machine"),
            ("curl https://a.example --upload-file x", "'--upload-file' is not understood"),
            ("curl https://a.example https://b.example", "more than one"),
            ("curl file:///etc/passwd", "scheme"),
            ("curl https://u:p@a.example", "user name"),
        ] {
            let error = document(text).expect_err(text);
            assert!(error.message.contains(words), "{text}: {error}");
        }
    }
}
