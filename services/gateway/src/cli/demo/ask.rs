//! One question of the demo: asked over HTTP, followed as it unfolds, judged by what it must lead to.

use std::time::Instant;

use frontdesk_api::{Kind, Result};
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::shop::{Expect, Question};
use crate::cli::remote::Remote;

/// A turn as the demo tells it; `--json` prints these.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub question: String,
    /// What the shop says this question must lead to.
    pub expect: Expect,
    /// Whether it did.
    pub ok: bool,
    /// What was wrong where it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<String>,
    pub answer: String,
    pub steps: Vec<Step>,
    /// Sources of the answer, made by the platform from what was retrieved.
    pub citations: Vec<Value>,
    pub hand_off: Option<Value>,
    /// From sending the question to the end of the turn, in milliseconds.
    pub ms: u64,
}

/// One step in the words of the wire, with how long it took.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    #[serde(rename = "type")]
    pub kind: String,
    pub ms: u64,
    /// The step as Llama Stack's wire shows it.
    pub details: Value,
}

impl Step {
    /// A value of Frontdesk's own part of the step.
    pub(super) fn own(&self, name: &str) -> &Value {
        &self.details["frontdesk"][name]
    }
}

/// Asks in a new conversation and waits for the end of the turn. `seen` hears each step as it begins and ends.
pub(super) async fn ask(
    remote: &Remote,
    agent: &str,
    question: &Question,
    mut seen: impl FnMut(&Value),
) -> Result<Told> {
    let began = Instant::now();
    let (question, expect) = (question.ask.as_str(), question.expect);
    let session = json!({ "session_name": question });
    let session = remote.json(Method::POST, &format!("/v1/agents/{agent}/session"), Some(&session)).await?;
    let session = session["session_id"].as_str().unwrap_or_default();
    let body = json!({ "messages": [{ "role": "user", "content": question }], "stream": true });
    let mut steps: Vec<Step> = vec![];
    let mut turn = Value::Null;
    let mut started: Vec<(String, Instant)> = vec![];
    let followed = remote
        .events(&format!("/v1/agents/{agent}/session/{session}/turn"), &body, |event| {
            let payload = &event["event"]["payload"];
            seen(payload);
            let id = payload["step_id"].as_str().unwrap_or_default();
            match payload["event_type"].as_str() {
                Some("step_start") => started.push((id.to_owned(), Instant::now())),
                Some("step_complete") => {
                    let since = started.iter().find(|(step, _)| step == id).map_or(began, |(_, at)| *at);
                    steps.push(Step {
                        kind: payload["step_type"].as_str().unwrap_or_default().to_owned(),
                        ms: millis(since),
                        details: payload["step_details"].clone(),
                    });
                }
                Some("turn_complete") => turn = payload["turn"].clone(),
                _ => {}
            }
            Ok(())
        })
        .await;
    // A turn that fails is told like any other; only a server that is gone ends the demo.
    let failure = match followed {
        Err(e) if matches!(e.kind, Kind::Unavailable | Kind::Cancelled) => return Err(e),
        Err(e) => Some(e.message),
        Ok(()) if turn.is_null() => Some("the turn ended without an answer".to_owned()),
        Ok(()) => None,
    };
    let mut told = Told {
        question: question.to_owned(),
        expect,
        ok: false,
        fault: None,
        answer: turn["output_message"]["content"].as_str().unwrap_or_default().to_owned(),
        steps,
        citations: turn["frontdesk"]["citations"].as_array().cloned().unwrap_or_default(),
        hand_off: Some(turn["frontdesk"]["hand_off"].clone()).filter(|h| !h.is_null()),
        ms: millis(began),
    };
    told.fault = failure.or_else(|| fault(&told));
    told.ok = told.fault.is_none();
    Ok(told)
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// What is wrong with a turn, given what it must lead to.
fn fault(told: &Told) -> Option<String> {
    let any = |kind: &str, good: &dyn Fn(&Step) -> bool| told.steps.iter().any(|s| s.kind == kind && good(s));
    let blocked = any("shield_call", &|s| s.own("verdict")["action"] == "block");
    let called = any("tool_execution", &|s| s.own("is_error") != true);
    if told.answer.trim().is_empty() {
        return Some("the answer is empty".into());
    }
    let wrong = match told.expect {
        Expect::Tool if !called => "no tool was called with success",
        Expect::Tool if told.hand_off.is_some() => "it was handed over",
        Expect::Page if told.citations.is_empty() => "the answer names no source",
        Expect::Page if !quotes(told) => "the answer does not say what its source says",
        Expect::HandOff if told.hand_off.is_none() => "it was not handed over",
        Expect::HandOff if !told.citations.is_empty() => "it was handed over with a citation",
        Expect::Blocked if !blocked => "no shield blocked it",
        Expect::Tool | Expect::Page | Expect::HandOff if blocked => "a shield blocked it",
        _ => return None,
    };
    Some(wrong.into())
}

/// Whether the answer holds a cited passage, or a good part of one.
fn quotes(told: &Told) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    let answer = words(&told.answer);
    told.citations.iter().filter_map(|c| c["quote"].as_str()).any(|quote| {
        let quote = words(quote);
        let first = quote.split_inclusive(['.', '!', '?']).next().unwrap_or(&quote);
        answer.contains(first.trim())
    })
}
