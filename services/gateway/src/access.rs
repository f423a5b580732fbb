//! The line that says a request was answered.
//!
//! Every request writes one, so it is put together by hand and not through `tracing`, which takes more than three
//! times as many instructions.
//! Invariant: it looks like every other line of the log, in both formats, and is absent where `log.level` is above info.

use std::{cell::RefCell, fmt::Write};

use frontdesk_api::{Clock, Micros, clock::rfc3339};

use crate::{
    config::{Log, LogFormat, LogLevel},
    lines,
};

/// A request that was answered.
pub(crate) struct Line<'a> {
    pub(crate) id: &'a str,
    pub(crate) method: &'a str,
    /// The path as the route is written; None where there is no such route.
    pub(crate) route: Option<&'a str>,
    pub(crate) status: u16,
    /// Microseconds from the request's head to the answer's.
    pub(crate) us: u64,
}

impl Line<'_> {
    /// Writes the line.
    pub(crate) fn log(&self, log: &Log, clock: &dyn Clock) {
        thread_local! {
            static LINE: RefCell<Text> = const { RefCell::new(Text { text: String::new(), second: 0, date: String::new() }) };
        }
        if matches!(log.level, LogLevel::Error | LogLevel::Warn) {
            return;
        }
        LINE.with_borrow_mut(|line| {
            line.write(self, log.format, clock.now());
            lines::put(line.text.as_bytes(), false);
        });
    }
}

/// A line and what the next one can use of it.
struct Text {
    text: String,
    /// Unix seconds of `date`.
    second: i64,
    /// RFC 3339 up to the point before the microseconds.
    date: String,
}

impl Text {
    fn write(&mut self, answered: &Line<'_>, format: LogFormat, now: Micros) {
        let (second, micros) = (now.div_euclid(1_000_000), now.rem_euclid(1_000_000));
        if self.date.is_empty() || self.second != second {
            self.second = second;
            self.date = rfc3339(now);
            self.date.truncate("2026-11-24T03:45:00.".len());
        }
        let Line { id, method, route, status, us } = answered;
        let (date, text) = (&self.date, &mut self.text);
        text.clear();
        // Writing to a string cannot fail.
        let _ = match format {
            LogFormat::Human => {
                text.push_str(date);
                let _ = write!(text, "{micros:06}Z  INFO request{{id=");
                quoted(text, id);
                text.push_str(" method=");
                quoted(text, method);
                if let Some(route) = route {
                    text.push_str(" route=");
                    quoted(text, route);
                }
                writeln!(text, "}}: answered status={status} us={us}")
            }
            LogFormat::Json => {
                text.push_str("{\"timestamp\":\"");
                text.push_str(date);
                let _ = write!(
                    text,
                    "{micros:06}Z\",\"level\":\"INFO\",\"message\":\"answered\",\"status\":{status},\"us\":{us},\"span\":{{\"id\":"
                );
                quoted(text, id);
                text.push_str(",\"method\":");
                quoted(text, method);
                if let Some(route) = route {
                    text.push_str(",\"route\":");
                    quoted(text, route);
                }
                writeln!(text, ",\"name\":\"request\"}}}}")
            }
        };
    }
}

/// Appends `value` in quotation marks, as both JSON and Rust write it. It is printable ASCII: ids are checked where they
/// come in, methods and routes are tokens and text of ours.
fn quoted(text: &mut String, value: &str) {
    text.push('"');
    if !value.bytes().any(|b| b == b'"' || b == b'\\') {
        text.push_str(value);
        text.push('"');
        return;
    }
    for piece in value.split_inclusive(['"', '\\']) {
        match piece.strip_suffix(['"', '\\']) {
            Some(plain) => {
                text.push_str(plain);
                text.push('\\');
                text.push_str(&piece[plain.len()..]);
            }
            None => text.push_str(piece),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(answered: &Line<'_>, format: LogFormat) -> String {
        let mut line = Text { text: String::new(), second: 0, date: String::new() };
        line.write(answered, format, 1_795_492_101_000_042);
        line.text
    }

    #[test]
    fn a_line_looks_like_the_others_in_both_formats() {
        let answered = Line { id: r#"a"\b"#, method: "GET", route: Some("/v1/models/{*id}"), status: 404, us: 17 };
        insta::assert_snapshot!(line(&answered, LogFormat::Human), @r#"2026-11-24T03:48:21.000042Z  INFO request{id="a\"\\b" method="GET" route="/v1/models/{*id}"}: answered status=404 us=17"#);
        let json: serde_json::Value = serde_json::from_str(&line(&answered, LogFormat::Json)).expect("JSON");
        let want = serde_json::json!({
            "timestamp": "2026-11-24T03:48:21.000042Z", "level": "INFO", "message": "answered", "status": 404, "us": 17,
            "span": { "id": r#"a"\b"#, "method": "GET", "route": "/v1/models/{*id}", "name": "request" },
        });
        assert_eq!(json, want);
        let elsewhere = Line { route: None, ..answered };
        assert!(
            !line(&elsewhere, LogFormat::Human).contains("route") && line(&elsewhere, LogFormat::Json).ends_with("}\n")
        );
    }
}
