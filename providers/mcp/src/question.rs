//! What a server wants to know of a person in the middle of a call (Model Context Protocol, "Elicitation").
//!
//! Nobody is there to answer: a call is a model's, made in a turn that goes on when its reader has left, and a session at a
//! server does not outlive the process. So a server is not told that it could ask, one that asks all the same hears that
//! the question is cancelled, and the result says what was asked: the model can ask for it, and call again.

use serde_json::Value;

use crate::rpc::words_of;

/// Questions of one call that are told of.
pub(crate) const MOST: usize = 3;

/// Names of a form's fields that are told of, and the bytes of one: nothing is cut where a secret may stand.
const MOST_FIELDS: usize = 20;
const MOST_NAME: usize = 100;

/// One question in words, by the params of `elicitation/create` without secrets.
pub(crate) fn words(params: &Value) -> String {
    let asked = words_of(params["message"].as_str().unwrap_or("(no words)"));
    if let Some(url) = params["url"].as_str() {
        return format!("a person has to visit {} first: {asked}", words_of(url));
    }
    let fields = params["requestedSchema"]["properties"].as_object();
    let fields = fields.into_iter().flat_map(|fields| fields.keys()).filter(|name| name.len() <= MOST_NAME);
    let fields: Vec<String> = fields.take(MOST_FIELDS).map(|name| words_of(name)).collect();
    match fields.is_empty() {
        true => format!("'{asked}'"),
        false => format!("'{asked}' ({})", fields.join(", ")),
    }
}

/// What the pages are that an error wants a person to visit (code -32042).
pub(crate) fn pages(data: &Value) -> Option<String> {
    told(data["elicitations"].as_array()?.iter())
}

/// What a result wants to know that is none yet (revision 2026-07-28, `input_required`).
pub(crate) fn wanted(result: &Value) -> Option<String> {
    told(result["inputRequests"].as_object()?.values().map(|request| &request["params"]))
}

fn told<'v>(questions: impl Iterator<Item = &'v Value>) -> Option<String> {
    let questions: Vec<String> = questions.take(MOST).map(words).collect();
    (!questions.is_empty()).then(|| questions.join("; "))
}

/// The note that stands behind a result.
pub(crate) fn note(questions: &[String]) -> Option<String> {
    (!questions.is_empty()).then(|| {
        let all = questions.join("; ");
        format!("[the server asked in the middle of the call, and nobody was there to answer: {all}]")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_is_told_with_its_fields_or_its_page() {
        let form = json!({ "message": "How many\nnights?", "requestedSchema": { "properties": { "nights": {}, "late": {} } } });
        assert_eq!(words(&form), "'How many nights?' (late, nights)");
        assert_eq!(words(&json!({ "message": "Sure?" })), "'Sure?'");
        let page = json!({ "mode": "url", "message": "Sign here", "url": "https://h/sign" });
        assert_eq!(words(&page), "a person has to visit https://h/sign first: Sign here");
        assert_eq!(pages(&json!({ "elicitations": [page] })), Some(words(&page)));
        assert_eq!(pages(&json!({ "elicitations": [] })), None);
        assert_eq!(pages(&Value::Null), None);
        let wants = json!({ "inputRequests": { "a": { "method": "elicitation/create", "params": form } } });
        assert_eq!(wanted(&wants), Some(words(&form)));
        assert_eq!(note(&[]), None);
    }
}
