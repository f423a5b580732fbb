//! A call's result as the model reads it (Model Context Protocol, "Tools, Tool result").
//!
//! Models of all providers read texts as results of tools, so pictures, sounds and bytes are named and not shown.

use frontdesk_api::tools::ToolResult;
use jsonschema::Validator;
use serde_json::Value;

use crate::{question, rpc::words_of};

/// `output`: what structured results have to fit.
pub(crate) fn shown(result: &Value, output: Option<&Validator>) -> ToolResult {
    let is_error = result["isError"] == Value::Bool(true);
    if let Some(kind) = result["resultType"].as_str().filter(|kind| *kind != "complete") {
        let message = match question::wanted(result) {
            Some(asked) => format!("the server wants to know more, and nobody was there to answer: {asked}"),
            None => format!("the server answered '{}', which is not spoken here", words_of(kind)),
        };
        return ToolResult::error(&message);
    }
    let structured = Some(&result["structuredContent"]).filter(|value| !value.is_null());
    if let Some(output) = output.filter(|_| !is_error) {
        // What the server promised is what the model goes by.
        let Some(value) = structured else {
            return ToolResult::error(
                "the server's answer lacks the structured content that its outputSchema promises",
            );
        };
        if let Err(wrong) = output.validate(value) {
            let message =
                format!("the server's answer does not fit its own outputSchema: {}", words_of(&wrong.to_string()));
            return ToolResult::error(&message);
        }
    }
    let blocks = result["content"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut texts: Vec<String> = blocks.iter().map(block).collect();
    if let Some(structured) = structured {
        // Servers say it a second time as a text, for clients that know no other.
        let said = texts.iter().any(|text| serde_json::from_str::<Value>(text).is_ok_and(|said| said == *structured));
        if !said {
            texts.push(structured.to_string());
        }
    }
    let content = if texts.is_empty() { "(no content)".to_owned() } else { texts.join("\n") };
    ToolResult { content, is_error, details: None }
}

fn block(block: &Value) -> String {
    let text = |name: &str| block[name].as_str().unwrap_or_default();
    match text("type") {
        "text" => text("text").to_owned(),
        kind @ ("image" | "audio") => {
            format!("[{kind}, {}, {} bytes: not shown here]", words_of(text("mimeType")), decoded(text("data")))
        }
        "resource" => {
            let resource = &block["resource"];
            let uri = words_of(resource["uri"].as_str().unwrap_or_default());
            match (resource["text"].as_str(), resource["blob"].as_str()) {
                (Some(text), _) => format!("[resource {uri}]\n{text}"),
                (None, Some(blob)) => {
                    let kind = words_of(resource["mimeType"].as_str().unwrap_or("application/octet-stream"));
                    format!("[resource {uri}, {kind}, {} bytes: not shown here]", decoded(blob))
                }
                (None, None) => format!("[resource {uri}, empty]"),
            }
        }
        "resource_link" => {
            let about = [text("title"), text("name")].into_iter().find(|said| !said.is_empty()).unwrap_or_default();
            let more = Some(text("description")).filter(|said| !said.is_empty());
            let more = more.map(|said| format!(": {}", words_of(said))).unwrap_or_default();
            format!("[link {} {}{more}]", words_of(text("uri")), words_of(about))
        }
        other => format!("[content of the type '{}': not shown here]", words_of(other)),
    }
}

/// How many bytes base64 stands for.
fn decoded(base64: &str) -> usize {
    let text = base64.trim_end_matches('=').len();
    text * 3 / 4
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(result: Value) -> (String, bool) {
        let result = shown(&result, None);
        (result.content, result.is_error)
    }

    #[test]
    fn every_kind_of_content_becomes_words() {
        let content = json!([
            { "type": "text", "text": "two orders" },
            { "type": "image", "data": "aGVsbG8=", "mimeType": "image/png" },
            { "type": "audio", "data": "aGk=", "mimeType": "audio/wav" },
            { "type": "resource", "resource": { "uri": "doc://1", "mimeType": "text/plain", "text": "14 days" } },
            { "type": "resource", "resource": { "uri": "doc://2", "blob": "aGVsbG8=" } },
            { "type": "resource_link", "uri": "doc://3", "name": "returns.md", "description": "how to" },
            { "type": "hologram" },
        ]);
        let want = "two orders\n[image, image/png, 5 bytes: not shown here]\n[audio, audio/wav, 2 bytes: not shown here]\n\
                    [resource doc://1]\n14 days\n[resource doc://2, application/octet-stream, 5 bytes: not shown here]\n\
                    [link doc://3 returns.md: how to]\n[content of the type 'hologram': not shown here]";
        assert_eq!(read(json!({ "content": content })), (want.to_owned(), false));
        assert_eq!(read(json!({ "content": [] })), ("(no content)".to_owned(), false));
        let failed = json!({ "content": [{ "type": "text", "text": "sold out" }], "isError": true });
        assert_eq!(read(failed), ("sold out".to_owned(), true));
    }

    #[test]
    fn structured_content_is_said_once() {
        let value = json!({ "n": 2 });
        let twice = json!({ "content": [{ "type": "text", "text": "{ \"n\": 2 }" }], "structuredContent": value });
        assert_eq!(read(twice).0, "{ \"n\": 2 }");
        let beside = json!({ "content": [{ "type": "text", "text": "two" }], "structuredContent": value });
        assert_eq!(read(beside).0, "two\n{\"n\":2}");
    }

    #[test]
    fn a_server_that_breaks_its_own_promise_is_not_believed() {
        let schema = json!({ "type": "object", "properties": { "n": { "type": "integer" } }, "required": ["n"] });
        let output = jsonschema::validator_for(&schema).expect("a schema");
        let check = |result: Value| shown(&result, Some(&output));
        assert!(!check(json!({ "content": [], "structuredContent": { "n": 1 } })).is_error);
        for wrong in [json!({ "content": [] }), json!({ "structuredContent": { "n": "1" } })] {
            let told = check(wrong);
            assert!(told.is_error && told.content.contains("outputSchema"), "{}", told.content);
        }
        // What failed has nothing to keep.
        let failed = check(json!({ "content": [{ "type": "text", "text": "x" }], "isError": true }));
        assert_eq!(failed.content, "x");
        assert!(shown(&json!({ "resultType": "input_required" }), None).is_error);
    }
}
