//! What a server wants to know of a person in the middle of a call (Model Context Protocol, "Elicitation").
//!
//! By revision 2026-07-28 that is a result (`input_required`), and the call is made again with the answers: whoever calls
//! asks the person, where there is one ([`Cx::asking`]). By those before, it is a request of the server's while the call
//! is open: the call goes on with the answer, as long as its process lives. Where nobody can be asked a server is not told
//! that it could; one that asks all the same hears that the question is cancelled, and the result says what was asked: the
//! model can ask for it, and call again.
//!
//! [`Cx::asking`]: frontdesk_api::Cx

use std::time::Duration;

use frontdesk_api::{
    question::{Action, Answer, Answered, MOST_QUESTIONS, Question},
    tools::InputRequest,
};
use serde_json::{Map, Value, json};

use crate::{
    endpoint::{Endpoint, struck, struck_value},
    rpc::words_of,
};

/// Bytes of what one round asks: rows, lists and events carry it.
const MOST_ASKED: usize = 64 << 10;

/// Bytes of what a server wants back with the answers.
const MOST_STATE: usize = 64 << 10;

/// Bytes of the name that a server gives a question.
const MOST_KEY: usize = 200;

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

/// Pauses before a server is asked again that wants no more than that, and how often it is.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);
pub(crate) const MOST_LEGS: u32 = 40;

/// What a server wants back later, where it asks for nothing else.
pub(crate) fn later(result: &Value) -> Option<&str> {
    let asks = result["inputRequests"].as_object().is_some_and(|requests| !requests.is_empty());
    result["requestState"].as_str().filter(|_| is_one(result) && !asks)
}

/// Whether the result is none yet: the server wants to know more first.
pub(crate) fn is_one(result: &Value) -> bool {
    result["resultType"] == "input_required"
}

/// What the server asks, without secrets.
///
/// # Errors
/// Why it cannot be asked, in words for the model.
pub(crate) fn asked(endpoint: &Endpoint, result: &Value) -> Result<InputRequest, String> {
    let none = Map::new();
    let requests = result["inputRequests"].as_object().unwrap_or(&none);
    if requests.is_empty() {
        return Err("it does not say what".into());
    }
    if requests.len() > MOST_QUESTIONS {
        return Err(format!("it asks more than {MOST_QUESTIONS} questions at once"));
    }
    let mut questions = vec![];
    for (key, request) in requests {
        let method = request["method"].as_str().unwrap_or_default();
        if method != "elicitation/create" {
            return Err(format!(
                "it asks for '{}', which is not spoken here",
                words_of(&endpoint.cleaned(method.into()))
            ));
        }
        let question = read(endpoint.secrets(), &request["params"])?;
        questions.push((key.clone(), question));
    }
    let state = result["requestState"].as_str().map(str::to_owned);
    let kept = |text: &str, most: usize| text.len() <= most && endpoint.cleaned(text.to_owned()) == text;
    // It is kept in the clear, and goes back as it came: neither cut nor cleaned.
    let whole = questions.iter().map(|(key, question)| format!("{key} {}", question.words())).collect::<String>();
    if !kept(state.as_deref().unwrap_or_default(), MOST_STATE)
        || !questions.iter().all(|(key, _)| kept(key, MOST_KEY))
        || !kept(&whole, usize::MAX)
    {
        return Err("what it wants back is too long, or repeats a secret".into());
    }
    let request = InputRequest { questions, state: None };
    if request.bytes() > MOST_ASKED {
        return Err(format!("it asks more than {MOST_ASKED} bytes at once"));
    }
    Ok(InputRequest { state, ..request })
}

/// What a server asks while its call is open, by the params of `elicitation/create`, without secrets.
///
/// # Errors
/// Why it cannot be asked, in words for the model.
pub(crate) fn one(secrets: &[String], params: &Value) -> Result<Question, String> {
    let question = read(secrets, params)?;
    let words = question.words();
    if words.len() > MOST_ASKED {
        return Err(format!("it asks more than {MOST_ASKED} bytes at once"));
    }
    if struck(secrets, words.clone()) == words { Ok(question) } else { Err(REPEATS.into()) }
}

const REPEATS: &str = "it repeats a secret";

/// Names of members are not struck, and what is said of a bad one is cut: those with a secret are read no further.
fn read(secrets: &[String], params: &Value) -> Result<Question, String> {
    if names_secret(secrets, params) { Err(REPEATS.into()) } else { Question::read(&struck_value(secrets, params)) }
}

fn names_secret(secrets: &[String], value: &Value) -> bool {
    match value {
        Value::Object(members) => members.iter().any(|(name, member)| {
            secrets.iter().any(|secret| name.contains(secret.as_str())) || names_secret(secrets, member)
        }),
        Value::Array(list) => list.iter().any(|one| names_secret(secrets, one)),
        _ => false,
    }
}

/// An answer as the protocol has it.
pub(crate) fn said(answer: Answer) -> Value {
    let mut said = json!({ "action": answer.action });
    if let Some(content) = answer.content.filter(|_| answer.action == Action::Accept) {
        said["content"] = content.into();
    }
    said
}

/// What goes along with a call that is made again.
pub(crate) fn answers(params: &mut Map<String, Value>, answered: Answered) {
    let responses: Map<String, Value> = answered.answers.into_iter().map(|(key, answer)| (key, said(answer))).collect();
    if !responses.is_empty() {
        params.insert("inputResponses".into(), responses.into());
    }
    if let Some(state) = answered.state {
        params.insert("requestState".into(), state.into());
    }
}

/// What a client says of itself by which a server knows that it may ask.
pub(crate) fn capability() -> Value {
    json!({ "elicitation": { "form": {}, "url": {} } })
}

fn told<'v>(questions: impl Iterator<Item = &'v Value>) -> Option<String> {
    let questions: Vec<String> = questions.take(MOST).map(words).collect();
    (!questions.is_empty()).then(|| questions.join("; "))
}

/// The note that stands behind a result.
pub(crate) fn note(questions: &[String]) -> Option<String> {
    (!questions.is_empty()).then(|| {
        let all = questions.join("; ");
        format!("[the server asked in the middle of the call, and was not answered: {all}]")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_is_told_with_its_fields_or_its_page() {
        let form = json!({ "message": "How many\nnights?", "requestedSchema": { "properties": { "nights": {}, "late": {} } } });
        assert_eq!(words(&form), "'How many nights?' (nights, late)");
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
