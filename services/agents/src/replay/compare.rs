//! A recorded and a replayed turn side by side.

use frontdesk_api::{
    chat::{Role, ToolCall, Usage},
    replay::{Answered, Aspect, CallChange, Called, Change, Comparison, NotMade},
    turn::{Item, ItemBody, StepKind, StepOutput, Turn, TurnState},
};
use frontdesk_store::transcript::StoredStep;

use super::{
    diff::{align, texts},
    recording::essence,
};
use crate::worker::cost_of;

/// How much of a tool's answer is told, in characters.
const MOST_OUTPUT: usize = 4_000;

/// What a turn came to. `inputs`: how many of its `items` it was asked with; `waits_for`: calls that wait for a person.
pub(super) fn answered(
    turn: &Turn,
    version: Option<i64>,
    inputs: usize,
    items: &[Item],
    steps: &[StoredStep],
    waits_for: Vec<ToolCall>,
) -> Answered {
    let (mut said, mut calls) = (vec![], vec![]);
    for item in items.iter().skip(inputs) {
        match &item.body {
            ItemBody::Message { role: Role::Assistant, text, .. } | ItemBody::Refusal { text } => {
                said.push(text.as_str())
            }
            ItemBody::FunctionCall { call, .. } => calls.push((call, None)),
            ItemBody::FunctionCallOutput { call_id, output, is_error, .. } => {
                if let Some((_, answer)) = calls.iter_mut().find(|(call, _)| call.id == *call_id) {
                    *answer = Some((output, *is_error));
                }
            }
            _ => {}
        }
    }
    let calls = calls.into_iter().map(|(call, answer)| Called {
        name: call.name.clone(),
        arguments: call.arguments.clone(),
        output: answer.map(|(output, _)| output.chars().take(MOST_OUTPUT).collect()),
        is_error: answer.is_some_and(|(_, is_error)| is_error),
    });
    let model = |step: &&StoredStep| matches!(step.step.kind, StepKind::Inference | StepKind::Guidelines);
    let model: Vec<&StoredStep> = steps.iter().filter(model).collect();
    let mut usage = Usage::default();
    let mut micros = 0_i64;
    for step in &model {
        if let Some(StepOutput::Inference { usage: took, .. } | StepOutput::Guidelines { usage: took, .. }) =
            &step.step.output
        {
            usage.add(*took);
        }
        let until = step.step.completed_at.unwrap_or(step.step.started_at);
        micros = micros.saturating_add(until.saturating_sub(step.step.started_at).max(0));
    }
    Answered {
        version,
        text: said.join("\n"),
        calls: calls.collect(),
        state: turn.state,
        error: turn.error.clone(),
        hand_off: turn.hand_off.clone(),
        waits_for,
        usage,
        cost_nano_usd: model.iter().map(|step| cost_of(step)).sum(),
        model_calls: model.len(),
        model_ms: micros / 1_000,
    }
}

pub(super) fn compare(recorded: Answered, replayed: Answered, not_made: Vec<NotMade>) -> Comparison {
    let call_diff = calls(&recorded.calls, &replayed.calls);
    let mut differs = vec![];
    if recorded.text != replayed.text {
        differs.push(Aspect::Text);
    }
    if call_diff.iter().any(|call| call.change != Change::Same) {
        differs.push(Aspect::ToolCalls);
    }
    if !same_end(&recorded, &replayed) {
        differs.push(Aspect::Outcome);
    }
    // Also where the recorded one failed: that both did says nothing of what the agent would have answered.
    let failed = replayed.state == TurnState::Failed && replayed.error.as_ref().is_some_and(|e| e.kind.is_some());
    Comparison {
        fault: failed,
        text_diff: texts(&recorded.text, &replayed.text),
        differs,
        recorded,
        replayed,
        call_diff,
        not_made,
    }
}

fn same_end(recorded: &Answered, replayed: &Answered) -> bool {
    let end = |turn: &Answered| {
        let error = turn.error.as_ref().map(|error| error.code.clone());
        let hand_off = turn.hand_off.as_ref().map(|to| (to.reason, to.to.as_ref().map(|to| to.agent.clone())));
        let waits_for: Vec<_> = turn.waits_for.iter().map(essence).collect();
        (turn.state, error, hand_off, waits_for)
    };
    end(recorded) == end(replayed)
}

fn calls(from: &[Called], to: &[Called]) -> Vec<CallChange> {
    let essences = |calls: &[Called]| -> Vec<_> {
        let call = |called: &Called| ToolCall {
            name: called.name.clone(),
            arguments: called.arguments.clone(),
            ..ToolCall::default()
        };
        calls.iter().map(|called| essence(&call(called))).collect()
    };
    let aligned = align(&essences(from), &essences(to));
    let told = aligned.into_iter().map(|(change, i)| {
        let call = if change == Change::Added { &to[i] } else { &from[i] };
        CallChange { change, name: call.name.clone(), arguments: call.arguments.clone() }
    });
    told.collect()
}
