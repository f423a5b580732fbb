//! What a server answered, as a model reads it: JSON as it is, text as it is, of the rest its name and size.

use frontdesk_api::{egress::OutboundAnswer, tools::ToolResult};
use serde_json::{Value, json};

use crate::parameters::is_json;

/// The most of an answer that a model is shown, in bytes.
const MOST: usize = 64 << 10;

pub(crate) fn read(answer: &OutboundAnswer) -> ToolResult {
    let media = answer.header("content-type").unwrap_or_default();
    let good = (200..300).contains(&answer.status);
    let content = match shown(answer, media) {
        // A good answer speaks for itself.
        Shown::Json(text) if good => text,
        Shown::Text(text) if good => text,
        Shown::Json(text) => format!(r#"{{"status":{},"body":{text}}}"#, answer.status),
        Shown::Text(text) => json!({ "status": answer.status, "body": text }).to_string(),
        Shown::Nothing => match answer.header("location") {
            Some(to) => json!({ "status": answer.status, "location": to }).to_string(),
            None => json!({ "status": answer.status }).to_string(),
        },
        Shown::Binary => json!({ "status": answer.status, "content_type": media, "bytes": answer.body.len(),
                    "note": "binary content, not shown" })
        .to_string(),
    };
    let details = json!({ "status": answer.status, "bytes": answer.body.len() });
    ToolResult { content, is_error: !good, details: Some(details) }
}

enum Shown {
    /// Valid JSON.
    Json(String),
    Text(String),
    Binary,
    Nothing,
}

fn shown(answer: &OutboundAnswer, media: &str) -> Shown {
    if answer.body.is_empty() {
        return Shown::Nothing;
    }
    let Ok(text) = std::str::from_utf8(&answer.body) else { return Shown::Binary };
    if text.contains('\0') {
        return Shown::Binary;
    }
    if (media.is_empty() || is_json(media))
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        // Without the white space that people like and models pay for.
        let text = value.to_string();
        return if text.len() <= MOST { Shown::Json(text) } else { Shown::Text(cut(&text)) };
    }
    Shown::Text(cut(text))
}

fn cut(text: &str) -> String {
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(MOST);
    format!("{}\n[cut: the first {end} of {} bytes; ask for less]", &text[..end], text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16, media: &str, body: &[u8]) -> ToolResult {
        let headers = vec![("content-type".to_owned(), media.to_owned())];
        read(&OutboundAnswer { status, headers, body: body.to_vec().into() })
    }

    #[test]
    fn answers_are_told_in_words_a_model_reads() {
        for (status, media, body, expected) in [
            (200, "application/json", &b"{ \"a\": [1, 2] }\n"[..], r#"{"a":[1,2]}"#),
            (200, "application/hal+json; charset=utf-8", b"[]", "[]"),
            (200, "text/csv", b"a,b\n1,2", "a,b\n1,2"),
            (200, "application/json", b"{broken", "{broken"),
            (204, "", b"", r#"{"status":204}"#),
            (404, "application/json", b"{\"error\":\"none\"}", r#"{"status":404,"body":{"error":"none"}}"#),
            (500, "text/html", b"<h1>", r#"{"body":"<h1>","status":500}"#),
            (
                200,
                "image/png",
                b"\x89PNG\x00",
                r#"{"bytes":5,"content_type":"image/png","note":"binary content, not shown","status":200}"#,
            ),
        ] {
            let result = answered(status, media, body);
            let read = |text: &str| serde_json::from_str::<Value>(text).ok();
            assert_eq!(result.is_error, status >= 300);
            assert!(
                result.content == expected || read(&result.content) == read(expected) && read(expected).is_some(),
                "{}",
                result.content
            );
        }
        let moved = OutboundAnswer {
            status: 302,
            headers: vec![("location".into(), "/b".into())],
            ..OutboundAnswer::default()
        };
        assert!(read(&moved).is_error && read(&moved).content.contains("/b"));
    }

    #[test]
    fn a_long_answer_says_that_it_was_cut() {
        let long = json!(vec!["\u{f6}".repeat(10); 10_000]).to_string();
        let result = answered(200, "application/json", long.as_bytes());
        assert!(
            result.content.len() < MOST + 100 && result.content.contains(&long.len().to_string()),
            "{}",
            result.content.len()
        );
        assert!(!result.is_error);
    }
}
