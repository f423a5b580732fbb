//! One call as a request.
//!
//! Invariants: a path's parameter fills its place in one segment of the path and cannot climb out of it, not even on a
//! server that decodes twice; an object that is written out as pairs names none that another parameter or a secret has;
//! a header's value is one line; what the arguments do not hold is not sent.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use frontdesk_api::tools::{CredentialPlace, FetchRequest};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::{
    plan::{Body, BodyKind, Member, Operation, Parameter, Place, Style},
    style::{encoded, pairs, scalar, single},
};

/// `key` is the call's own: the same for every attempt.
///
/// # Errors
/// In words for the model: what of its arguments cannot be sent.
pub(crate) fn build(operation: &Operation, arguments: &Map<String, Value>, key: &str) -> Result<FetchRequest, String> {
    let mut path = operation.path.clone();
    let (mut query, mut cookies, mut headers) = (vec![], vec![], vec![]);
    for parameter in &operation.parameters {
        let Some(value) = parameter.fixed.as_ref().or_else(|| arguments.get(&parameter.argument)) else { continue };
        // A null that a schema allows is "not given": no style has a word for it.
        if value.is_null() && parameter.place != Place::Path {
            continue;
        }
        apart(operation, parameter, value)?;
        match parameter.place {
            Place::Path => path = path.replace(&format!("{{{}}}", parameter.name), &segment(parameter, value)?),
            Place::Query => query.extend(written(parameter, value)),
            Place::Cookie => cookies.extend(written(parameter, value)),
            Place::Header => headers.push((parameter.name.clone(), header(parameter, value)?)),
        }
    }
    if let Some(open) = path.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        return Err(format!("the path's '{}' has no value", open.0));
    }
    if climbs(&path) {
        return Err("a value would lead to another path: '.' and '..' are not sent".to_owned());
    }
    let joined = |pairs: Vec<(String, String)>, between: &str| {
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(between)
    };
    if !cookies.is_empty() {
        headers.push(("Cookie".to_owned(), joined(cookies, "; ")));
    }
    let mut body = Bytes::new();
    if let Some(plan) = &operation.body
        && let Some(value) = arguments.get(&plan.argument)
    {
        let (media, bytes) = content(plan, value, key)?;
        headers.push(("Content-Type".to_owned(), media));
        body = bytes;
    }
    headers.push(("Accept".to_owned(), "application/json, */*;q=0.5".to_owned()));
    if let Some(name) = operation.key_header() {
        headers.push((name.to_owned(), key.to_owned()));
    }
    // What stands in the path of the document itself may have a query already.
    let joint = if path.contains('?') { "&" } else { "?" };
    let query = joined(query, "&");
    let query = if query.is_empty() { query } else { format!("{joint}{query}") };
    let url = format!("{}{path}{query}", operation.server);
    let credentials = operation.credentials.clone();
    Ok(FetchRequest { method: operation.method.clone(), url, headers, credentials, body })
}

/// Whether a path leads upwards for anyone who reads it: as it stands, decoded, or decoded once more.
fn climbs(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let once = decoded(path);
    let twice = decoded(&once);
    [path, &once, &twice].into_iter().flat_map(|path| path.split(['/', '\\'])).any(|piece| {
        // Some servers cut a piece at its semicolon, and white space off.
        let piece = piece.split(';').next().unwrap_or_default();
        matches!(piece.trim_matches(|c: char| c.is_whitespace() || c.is_control()), "." | "..")
    })
}

/// Refuses an object whose members would be sent under a name that is another's: the customer's, a fixed one, a secret's.
fn apart(operation: &Operation, parameter: &Parameter, value: &Value) -> Result<(), String> {
    let Value::Object(members) = value else { return Ok(()) };
    let deep = parameter.style == Style::Deep;
    let named = parameter.place != Place::Path || parameter.style == Style::Matrix;
    let loose = parameter.explode && named && parameter.style != Style::Json;
    if parameter.place == Place::Header || !(deep || loose) {
        return Ok(());
    }
    // Servers read `a.b`, `a b` and `a[]` as `a_b` and `a`.
    let read = |name: &str| {
        let name = name.trim_start();
        let name = if deep { name } else { name.split('[').next().unwrap_or_default() };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
        name.chars().map(plain).collect::<String>()
    };
    let place = |place: CredentialPlace| match place {
        CredentialPlace::Header => Place::Header,
        CredentialPlace::Query => Place::Query,
        CredentialPlace::Cookie => Place::Cookie,
    };
    let others = operation.parameters.iter().filter(|p| p.place == parameter.place && p.name != parameter.name);
    let secrets = operation.credentials.iter().filter(|c| place(c.place) == parameter.place);
    let own = operation.path.split_once('?').filter(|_| parameter.place == Place::Query).map_or("", |(_, query)| query);
    let own = own.split('&').map(|pair| pair.split('=').next().unwrap_or_default()).filter(|name| !name.is_empty());
    let names = others.map(|p| p.name.as_str()).chain(secrets.map(|c| c.name.as_str())).chain(own);
    let names: Vec<String> = names.map(read).collect();
    let sent = if deep {
        let pairs = written(parameter, value);
        pairs.iter().map(|(name, _)| percent_decode_str(name).decode_utf8_lossy().into_owned()).collect()
    } else {
        members.keys().cloned().collect::<Vec<_>>()
    };
    match sent.iter().find(|name| names.contains(&read(name))) {
        Some(name) => Err(format!("'{}' may not hold '{name}', which is another parameter's name", parameter.name)),
        None => Ok(()),
    }
}

fn segment(parameter: &Parameter, value: &Value) -> Result<String, String> {
    let text = match parameter.style {
        Style::Json => encoded(&value.to_string(), false),
        style => single(&parameter.name, value, style, parameter.explode, |text| encoded(text, false)),
    };
    if text.is_empty() {
        return Err(format!("'{}' is part of the path and cannot be empty", parameter.name));
    }
    Ok(text)
}

fn written(parameter: &Parameter, value: &Value) -> Vec<(String, String)> {
    pairs(&parameter.name, value, parameter.style, parameter.explode, parameter.reserved)
}

fn header(parameter: &Parameter, value: &Value) -> Result<String, String> {
    let text = match parameter.style {
        Style::Json => value.to_string(),
        style => single(&parameter.name, value, style, parameter.explode, str::to_owned),
    };
    if text.chars().any(|c| !(c.is_ascii_graphic() || c == ' ' || c == '\t')) {
        return Err(format!(
            "'{}' is sent as a header, which holds visible ASCII characters on one line",
            parameter.name
        ));
    }
    Ok(text)
}

/// Media type and bytes of the body.
fn content(plan: &Body, value: &Value, key: &str) -> Result<(String, Bytes), String> {
    let bytes = match plan.kind {
        BodyKind::Json => value.to_string().into_bytes(),
        BodyKind::Text => scalar(value).unwrap_or_else(|| value.to_string()).into_bytes(),
        BodyKind::Binary => file(value)?,
        BodyKind::Form => {
            let mut all = vec![];
            for (name, value) in members(plan, value)? {
                let member = plan.members.get(name);
                // A member that is no scalar is JSON, unless the document says how it is written.
                let (style, explode) = member.map_or((Style::Form, true), |member| (member.style, member.explode));
                all.extend(pairs(name, value, style, explode, false));
            }
            let all: Vec<String> = all.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
            all.join("&").into_bytes()
        }
        BodyKind::Multipart => return multipart(plan, value, key),
    };
    Ok((plan.media.clone(), bytes.into()))
}

fn members<'a>(plan: &Body, value: &'a Value) -> Result<impl Iterator<Item = (&'a String, &'a Value)>, String> {
    let members = value.as_object().ok_or_else(|| format!("'{}' must be an object", plan.argument))?;
    Ok(members.iter().filter(|(_, value)| !value.is_null()))
}

fn multipart(plan: &Body, value: &Value, key: &str) -> Result<(String, Bytes), String> {
    // Of the call's key: the same call is the same bytes.
    let boundary = format!("frontdesk-{}", &blake3::hash(format!("{key}\n{value}").as_bytes()).to_hex()[..32]);
    let plain = Member { style: Style::Form, explode: true, media: None, file: false };
    let mut body = vec![];
    for (name, value) in members(plan, value)? {
        let member = plan.members.get(name).unwrap_or(&plain);
        let many = value.as_array().filter(|_| member.media.is_none() || member.file);
        for one in many.map_or(std::slice::from_ref(value), Vec::as_slice) {
            let (bytes, usual) = if member.file {
                (file(one)?, Some("application/octet-stream"))
            } else {
                match scalar(one) {
                    Some(text) => (text.into_bytes(), None),
                    None => (one.to_string().into_bytes(), Some("application/json")),
                }
            };
            let shown = encoded_name(name);
            body.extend_from_slice(
                format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{shown}\"").as_bytes(),
            );
            if member.file {
                body.extend_from_slice(format!("; filename=\"{shown}\"").as_bytes());
            }
            if let Some(media) = member.media.as_deref().or(usual) {
                body.extend_from_slice(format!("\r\nContent-Type: {media}").as_bytes());
            }
            body.extend_from_slice(b"\r\n\r\n");
            body.extend_from_slice(&bytes);
            body.extend_from_slice(b"\r\n");
        }
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    Ok((format!("{}; boundary={boundary}", plan.media), body.into()))
}

/// As browsers write a part's name (HTML, "multipart/form-data encoding algorithm").
fn encoded_name(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A file as a model gives it: its text, or a data URL with base64.
fn file(value: &Value) -> Result<Vec<u8>, String> {
    let text = scalar(value).unwrap_or_else(|| value.to_string());
    let Some((_, data)) = text.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) else {
        return Ok(text.into_bytes());
    };
    STANDARD.decode(data.trim()).map_err(|_| "what stands after ';base64,' is no base64".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn operation(path: &str, parameters: &[(&str, Place, Style)]) -> Operation {
        let parameter = |(name, place, style): &(&str, Place, Style)| Parameter {
            name: (*name).to_owned(),
            argument: (*name).to_owned(),
            place: *place,
            style: *style,
            explode: false,
            reserved: false,
            fixed: None,
        };
        Operation {
            method: "GET".into(),
            server: "https://a.example/v1".into(),
            path: path.into(),
            parameters: parameters.iter().map(parameter).collect(),
            body: None,
            credentials: vec![],
            idempotency: None,
        }
    }

    fn built(operation: &Operation, arguments: Value) -> Result<FetchRequest, String> {
        build(operation, arguments.as_object().expect("an object"), "key_1")
    }

    #[test]
    fn a_value_cannot_leave_its_place_in_the_path() {
        let of = operation("/files/{name}/raw", &[("name", Place::Path, Style::Simple)]);
        let url = |value: Value| built(&of, json!({ "name": value })).map(|request| request.url);
        assert_eq!(url(json!("a/b?c#d")).as_deref(), Ok("https://a.example/v1/files/a%2Fb%3Fc%23d/raw"));
        assert_eq!(url(json!("v1..v2...")).as_deref(), Ok("https://a.example/v1/files/v1..v2.../raw"));
        for value in ["a/../../b", "a\\..\\b", "%2e%2e", "a%2f..%2fb", "a%5c%2E%2e", "..;a", "a/.", "../", ".. "] {
            assert!(url(json!(value)).is_err(), "{value}");
        }
        for value in [json!(".."), json!("."), json!(""), json!(null), json!([])] {
            assert!(url(value.clone()).is_err(), "{value}");
        }
        let two = operation("/{a}{b}", &[("a", Place::Path, Style::Simple), ("b", Place::Path, Style::Simple)]);
        assert!(built(&two, json!({ "a": ".", "b": "." })).is_err());
        assert!(built(&two, json!({ "a": "x" })).expect_err("b is missing").contains("'b'"));
        // A value with braces is a value.
        assert_eq!(built(&two, json!({ "a": "{b}", "b": "y" })).expect("built").url, "https://a.example/v1/%7Bb%7Dy");
    }

    #[test]
    fn an_object_does_not_take_the_name_of_another() {
        let mut of = operation(
            "/a?page=1",
            &[
                ("more", Place::Query, Style::Form),
                ("filter", Place::Query, Style::Deep),
                ("user_id", Place::Query, Style::Form),
                ("filter[owner]", Place::Query, Style::Form),
            ],
        );
        for parameter in &mut of.parameters {
            parameter.explode = true;
        }
        of.credentials = vec![frontdesk_api::tools::Credential {
            secret: "crm".into(),
            place: CredentialPlace::Query,
            name: "api_key".into(),
            prefix: String::new(),
            base64: false,
        }];
        for name in ["user_id", "USER_ID", "user.id", "user_id[]", "api_key", "Api_Key", "page"] {
            let refused = built(&of, json!({ "more": { name: "x" } })).expect_err(name);
            assert!(refused.contains(name), "{refused}");
        }
        assert!(built(&of, json!({ "filter": { "owner": 1 } })).is_err());
        let request = built(&of, json!({ "more": { "a": 1 }, "filter": { "b": 2 }, "user_id": "u" })).expect("built");
        assert_eq!(request.url, "https://a.example/v1/a?page=1&a=1&filter%5Bb%5D=2&user_id=u");
        let mut path =
            operation("/{m}/{user}", &[("m", Place::Path, Style::Matrix), ("user", Place::Path, Style::Matrix)]);
        path.parameters[0].explode = true;
        assert!(built(&path, json!({ "m": { "user": 1 }, "user": 2 })).is_err());
    }

    #[test]
    fn a_header_is_one_line() {
        let of = operation("/a", &[("X-Tags", Place::Header, Style::Simple)]);
        let tags = built(&of, json!({ "X-Tags": ["a", "b c"] })).expect("built");
        assert_eq!(tags.headers[0], ("X-Tags".to_owned(), "a,b c".to_owned()));
        for value in ["a\r\nx-evil: 1", "a\nb", "a\0", "\u{f6}"] {
            assert!(built(&of, json!({ "X-Tags": value })).is_err(), "{value:?}");
        }
    }

    #[test]
    fn a_file_is_text_or_a_data_url() {
        assert_eq!(file(&json!("data:image/png;base64,aGk=")), Ok(b"hi".to_vec()));
        assert_eq!(file(&json!("plain")), Ok(b"plain".to_vec()));
        assert!(file(&json!("data:image/png;base64,*")).is_err());
    }
}
