//! The files of OpenAI's Batch API: an input line read, a line of the output or error file written.
//!
//! Source of the shapes: OpenAI's API reference, "Batch" ("The request input object", "The request output object"). A
//! request keeps its bytes. Invariant: what is wrong with a file is told with the line it stands in.

use std::collections::HashSet;

use frontdesk_api::{Error, Kind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::peek::member;

/// The most lines of an input file, as OpenAI has it.
pub const MOST_LINES: usize = 50_000;

/// The most faults that are told of a file; whoever mends these sees the rest.
const MOST_FAULTS: usize = 100;

/// Longest `custom_id`, in bytes. OpenAI names no limit; every output line repeats it.
const LONGEST_ID: usize = 512;

/// A line of an input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub custom_id: String,
    /// The request's body, as it stands there.
    pub body: String,
}

/// What is wrong with an input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub code: &'static str,
    pub message: String,
    /// The member at fault.
    pub param: Option<String>,
    /// From 1; None: the file as a whole.
    pub line: Option<u64>,
}

#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    custom_id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    url: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

/// Reads an input file whose lines must all ask for `url`. Empty lines are left out.
///
/// # Errors
/// What is wrong with it, in order, the first hundred; never empty.
pub fn lines(input: &[u8], url: &str) -> Result<Vec<Line>, Vec<Fault>> {
    let whole = |code, message: String| vec![Fault { code, message, param: None, line: None }];
    let Ok(text) = std::str::from_utf8(input) else {
        return Err(whole("invalid_file", "the input file is not UTF-8 text".into()));
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut lines, mut faults, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (number, line) in (1..).zip(text.split('\n')).filter(|(_, line)| !line.trim().is_empty()) {
        let read = read(line, url).and_then(|line| {
            if seen.insert(line.custom_id.clone()) {
                return Ok(line);
            }
            let message = format!("the custom_id '{}' stands twice: each line needs its own", line.custom_id);
            Err(wrong("duplicate_custom_id", Error::invalid("custom_id", message)))
        });
        match read {
            Ok(line) => lines.push(line),
            Err(fault) => faults.push(Fault { line: Some(number), ..fault }),
        }
        if faults.len() == MOST_FAULTS {
            break;
        }
        if lines.len() > MOST_LINES {
            faults.push(Fault {
                code: "too_many_lines",
                message: format!("the input file has more than {MOST_LINES} requests: split it into several batches"),
                param: None,
                line: None,
            });
            break;
        }
    }
    if lines.is_empty() && faults.is_empty() {
        return Err(whole("empty_file", "the input file has no requests: write one JSON object a line".into()));
    }
    if faults.is_empty() { Ok(lines) } else { Err(faults) }
}

fn read(line: &str, url: &str) -> Result<Line, Fault> {
    let peek: Peek<'_> = serde_json::from_str(line.trim()).map_err(|e| {
        let said = e.to_string();
        let said = said.split(" at line ").next().unwrap_or_default();
        let message = format!("this line is no JSON object of a request (column {}): {said}", e.column());
        wrong("invalid_json_line", Error::new(Kind::Invalid, message))
    })?;
    let text = |raw, name: &str| member::<String>(raw, name, "a string").map_err(|e| wrong("invalid_type", e));
    let custom_id = text(peek.custom_id, "custom_id")?.ok_or_else(|| missing("custom_id"))?;
    if custom_id.is_empty() || custom_id.len() > LONGEST_ID || custom_id.chars().any(char::is_control) {
        let message = format!("custom_id has 1 to {LONGEST_ID} bytes and no control characters");
        return Err(wrong("invalid_custom_id", Error::invalid("custom_id", message)));
    }
    let method = text(peek.method, "method")?.ok_or_else(|| missing("method"))?;
    if method != "POST" {
        let message = format!("method must be 'POST', found '{method}'");
        return Err(wrong("invalid_method", Error::invalid("method", message)));
    }
    let asked = text(peek.url, "url")?.ok_or_else(|| missing("url"))?;
    if asked != url {
        let message = format!("url must be the endpoint of the batch, '{url}', found '{asked}'");
        return Err(wrong("invalid_url", Error::invalid("url", message)));
    }
    let body = peek.body.ok_or_else(|| missing("body"))?.get();
    if !body.starts_with('{') {
        return Err(wrong("invalid_type", Error::invalid("body", "'body' must be an object, the request")));
    }
    Ok(Line { custom_id, body: body.to_owned() })
}

fn missing(name: &str) -> Fault {
    wrong("missing_required_parameter", Error::invalid(name, format!("missing member '{name}'")))
}

fn wrong(code: &'static str, error: Error) -> Fault {
    Fault { code, message: error.message, param: error.param, line: None }
}

/// What came of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered<'a> {
    /// With this status and body, which is one line of JSON; well or not.
    Told(u16, &'a str),
    Cancelled,
    Expired,
    /// It got no answer because the batch itself failed.
    Lost,
}

/// A line of an output or error file, with its line feed. `id` names the line among all batches.
#[must_use]
pub fn written(id: &str, request_id: &str, custom_id: &str, answered: Answered<'_>) -> String {
    let text = |s: &str| serde_json::Value::from(s).to_string();
    let (response, error) = match answered {
        Answered::Told(status, body) => {
            let id = text(request_id);
            (format!(r#"{{"status_code":{status},"request_id":{id},"body":{body}}}"#), "null".to_owned())
        }
        Answered::Cancelled => none("batch_cancelled", "the batch was cancelled before this request was asked"),
        Answered::Expired => none("batch_expired", "the batch expired before this request was asked"),
        Answered::Lost => none("server_error", "the batch failed before this request was answered"),
    };
    let (id, custom_id) = (text(id), text(custom_id));
    format!("{{\"id\":{id},\"custom_id\":{custom_id},\"response\":{response},\"error\":{error}}}\n")
}

fn none(code: &str, message: &str) -> (String, String) {
    ("null".to_owned(), serde_json::json!({ "code": code, "message": message }).to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CHAT: &str = "/v1/chat/completions";

    fn line(id: &str, body: &str) -> String {
        format!(r#"{{"custom_id":"{id}","method":"POST","url":"{CHAT}","body":{body}}}"#)
    }

    // Oracle: the example of OpenAI's guide, "Batch API", "Prepare your batch file".
    #[test]
    fn requests_keep_their_bytes() {
        let file = format!("\u{feff}{}\r\n\n{}\n", line("a", r#"{"x": 1.50}"#), line("b", "{}"));
        let want = |id: &str, body: &str| Line { custom_id: id.into(), body: body.into() };
        assert_eq!(lines(file.as_bytes(), CHAT), Ok(vec![want("a", r#"{"x": 1.50}"#), want("b", "{}")]));
    }

    #[test]
    fn each_fault_names_its_line() {
        let wrong = [
            ("oops", "invalid_json_line", None),
            ("[]", "invalid_json_line", None),
            (r#"{"method":"POST"}"#, "missing_required_parameter", Some("custom_id")),
            (r#"{"custom_id":7}"#, "invalid_type", Some("custom_id")),
            (r#"{"custom_id":""}"#, "invalid_custom_id", Some("custom_id")),
            (r#"{"custom_id":"a\u0000"}"#, "invalid_custom_id", Some("custom_id")),
            (r#"{"custom_id":"x","method":"GET"}"#, "invalid_method", Some("method")),
            (r#"{"custom_id":"x","method":"POST","url":"/v1/embeddings"}"#, "invalid_url", Some("url")),
            (
                r#"{"custom_id":"x","method":"POST","url":"/v1/chat/completions"}"#,
                "missing_required_parameter",
                Some("body"),
            ),
            (
                r#"{"custom_id":"x","method":"POST","url":"/v1/chat/completions","body":[]}"#,
                "invalid_type",
                Some("body"),
            ),
            (
                r#"{"custom_id":"good","method":"POST","url":"/v1/chat/completions","body":{}}"#,
                "duplicate_custom_id",
                Some("custom_id"),
            ),
        ];
        let mut file = line("good", "{}");
        for (line, _, _) in &wrong {
            file.push('\n');
            file.push_str(line);
        }
        let faults = lines(file.as_bytes(), CHAT).expect_err("faults");
        let seen: Vec<_> = faults.iter().map(|f| (f.line, f.code, f.param.as_deref())).collect();
        let want: Vec<_> = (2..).zip(&wrong).map(|(n, (_, code, param))| (Some(n), *code, *param)).collect();
        assert_eq!(seen, want);
    }

    #[test]
    fn a_file_without_requests_and_one_with_too_many_are_told_as_a_whole() {
        let code = |file: &[u8]| lines(file, CHAT).expect_err("refused")[0].code;
        assert_eq!(code(b" \n\n"), "empty_file");
        assert_eq!(code(b"\xff"), "invalid_file");
        let many: String = (0..=MOST_LINES).map(|n| line(&n.to_string(), "{}") + "\n").collect();
        assert_eq!(code(many.as_bytes()), "too_many_lines");
        assert_eq!(lines("x\n".repeat(1000).as_bytes(), CHAT).expect_err("refused").len(), MOST_FAULTS);
    }

    // Oracle: OpenAI's API reference, "The request output object".
    #[test]
    fn an_output_line_has_an_answer_or_an_error() {
        let read = |answered| -> Value {
            let line = written("batch_req_1", "r1", "my \"id\"", answered);
            assert!(line.ends_with('\n') && line.matches('\n').count() == 1);
            serde_json::from_str(&line).expect("JSON")
        };
        let response = json!({ "status_code": 200, "request_id": "r1", "body": { "a": 1 } });
        let told = json!({ "id": "batch_req_1", "custom_id": "my \"id\"", "response": response, "error": null });
        assert_eq!(read(Answered::Told(200, r#"{"a":1}"#)), told);
        for (answered, code) in [
            (Answered::Cancelled, "batch_cancelled"),
            (Answered::Expired, "batch_expired"),
            (Answered::Lost, "server_error"),
        ] {
            let line = read(answered);
            assert_eq!((&line["response"], &line["error"]["code"]), (&Value::Null, &json!(code)));
        }
    }
}
