//! What a model asked for, done in order: tools that run here first, then it is waited once for all that others have
//! to say: people to calls that need their word ([`crate::approvals`]), clients to calls of their tools.
//!
//! Invariant: a call that may have an effect has its intent in a row before it, and its end in a row with
//! the result that the model will read.

use std::sync::Arc;

use frontdesk_api::{
    chat::ToolCall,
    safety::Stage,
    tools::{Effect, Outcome, ToolResult},
    turn::{HandOff, ItemBody, StepKind, StepOutput, StepState, TurnError},
};
use frontdesk_store::{transcript::StoredStep, turns::OnInput};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{
    HAND_OFF, ToolEnd,
    asking::{asked_turn, tool_name},
    close::Closing,
    halt::{Halt, failed},
    worker::{Worker, call_of},
};

impl Worker {
    /// Does the calls of one answer, as the shields let them pass. Returns the turn's end when one of them leads there.
    pub(crate) async fn act(&mut self, calls: Vec<ToolCall>) -> Result<Option<Closing>, Halt> {
        let (theirs, here): (Vec<ToolCall>, Vec<ToolCall>) =
            calls.into_iter().partition(|call| self.runs_at_client(call) || self.awaits_client(call));
        let mut ask = vec![];
        for call in here {
            if self.ended.contains(&call.id) {
                continue;
            }
            if let Some(step) = self.take_left(&call.id) {
                if let Some(closing) = self.go_on(call, step).await? {
                    return Ok(Some(closing));
                }
                continue;
            }
            if self.waits_for_a_word(&call) {
                ask.push(call);
                continue;
            }
            if let Some(closing) = self.count() {
                return Ok(Some(closing));
            }
            let closing = match self.spec.hand_off.clone().filter(|_| self.is_hand_off(&call)) {
                Some(spec) => Box::pin(self.hand_off(call, &spec)).await?,
                None => self.do_here(call).await?,
            };
            if closing.is_some() {
                return Ok(closing);
            }
        }
        if self.on_input == OnInput::Finish {
            self.ask_client(&theirs);
            // The next turn brings what these came to, and what was done here is looked up then.
            self.pen.lingers |= !theirs.is_empty();
            return Ok((!theirs.is_empty()).then_some(Closing::Completed));
        }
        let mut approvals = vec![];
        for call in ask {
            if let Some(closing) = self.count() {
                return Ok(Some(closing));
            }
            approvals.push(self.ask(call));
        }
        let mut waiting = vec![];
        for call in theirs {
            if self.ended.contains(&call.id) {
                continue;
            }
            if let Some(step) = self.take_left(&call.id) {
                if !self.inbox.contains_key(&call.id) {
                    self.asked.push(step);
                    waiting.push(call);
                } else if let Some(closing) = self.go_on(call, step).await? {
                    return Ok(Some(closing));
                }
                continue;
            }
            if let Some(closing) = self.count() {
                return Ok(Some(closing));
            }
            let step = self.pen.begin(StepKind::ToolExecution, &call.id, Some(self.intent(&call)));
            self.asked.push(step);
            waiting.push(call);
        }
        let waits = !(waiting.is_empty() && approvals.is_empty());
        Ok(waits.then_some(Closing::Waiting { calls: waiting, approvals }))
    }

    /// The step of this call that was begun before this worker and has not ended.
    fn take_left(&mut self, call_id: &str) -> Option<StoredStep> {
        let at = self.left.iter().position(|step| call_of(step).is_some_and(|call| call.id == call_id))?;
        Some(self.left.remove(at))
    }

    /// Goes on with a call that was begun before this worker. One whose result the client brought ends with it. One
    /// whose worker was lost between its intent and its end is made again under its key where it may be repeated; of
    /// another nobody knows whether it was made, and it is never made again unseen.
    async fn go_on(&mut self, call: ToolCall, step: StoredStep) -> Result<Option<Closing>, Halt> {
        // It stays in the inbox: should the turn be stopped before a shield has looked at it, it is not lost.
        if let Some(result) = self.inbox.get(&call.id).cloned() {
            self.open = Some(step.clone());
            return self.conclude(step, call, result).await;
        }
        if let Some(refused) = self.refused(&call) {
            self.open = Some(step.clone());
            return self.conclude(step, call, refused).await;
        }
        if let Some(spec) = self.spec.hand_off.clone().filter(|_| self.is_hand_off(&call)) {
            let step = self.pen.again(step);
            return Box::pin(self.hand_on(step, call, &spec)).await;
        }
        if self.asks(&call).is_some() {
            let step = self.pen.again(step);
            self.open = Some(step.clone());
            return Box::pin(self.ask_agent(call, step)).await;
        }
        let effect = self.effect_of(&call);
        if !matches!(effect, Some(Effect::None | Effect::Idempotent)) {
            let lost = "the worker was lost while the tool was called; whether it did its work is not known";
            self.cut_off(step, failed("outcome_unknown", lost));
            return Ok(None);
        }
        let step = self.pen.again(step);
        self.open = Some(step.clone());
        let result = self.call_tool(&call, &step).await?;
        self.conclude(step, call, result).await
    }

    pub(crate) fn runs_at_client(&self, call: &ToolCall) -> bool {
        self.def_of(call).is_none()
            && !self.is_hand_off(call)
            && self.spec.client_tools.iter().any(|tool| tool.name == call.name)
    }

    fn is_hand_off(&self, call: &ToolCall) -> bool {
        self.spec.hand_off.is_some() && call.name == HAND_OFF && self.said_to(call).is_none()
    }

    fn count(&mut self) -> Option<Closing> {
        let most = self.spec.limits.max_tool_calls;
        if self.tool_calls >= most {
            return Some(Closing::Incomplete(failed(
                "max_tool_calls",
                format!("the turn reached its limit of {most} tool calls"),
            )));
        }
        self.tool_calls += 1;
        None
    }

    async fn do_here(&mut self, call: ToolCall) -> Result<Option<Closing>, Halt> {
        let step = self.pen.begin(StepKind::ToolExecution, &call.id, Some(self.intent(&call)));
        self.open = Some(step.clone());
        if self.asks(&call).is_some() {
            return Box::pin(self.ask_agent(call, step)).await;
        }
        let result = match self.refused(&call) {
            Some(refused) => refused,
            None if self.def_of(&call).is_some() => self.call_tool(&call, &step).await?,
            None => ToolResult::error(&self.no_tool(&call.name)),
        };
        self.conclude(step, call, result).await
    }

    /// That nothing the model may call has this name, with what there is: the registry knows neither client
    /// tools nor the hand-off. Whether a call is allowed is the registry's to say.
    fn no_tool(&self, name: &str) -> String {
        let mut known: Vec<&str> = self.offered.iter().map(|def| def.name.as_str()).collect();
        known.extend(self.spec.client_tools.iter().map(|tool| tool.name.as_str()));
        let asks: Vec<String> = self.spec.agents.iter().map(|tool| tool_name(&tool.agent)).collect();
        known.extend(asks.iter().map(String::as_str));
        known.extend(self.spec.hand_off.is_some().then_some(HAND_OFF));
        let known =
            if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
        format!("no tool is called '{name}'; {known}")
    }

    async fn call_tool(&mut self, call: &ToolCall, step: &StoredStep) -> Result<ToolResult, Halt> {
        let (tools, cx, groups) = (Arc::clone(&self.room.deps.tools), self.cx.clone(), self.toolgroups.clone());
        let approved = self.approved(call);
        let span = tracing::info_span!(
            "execute_tool",
            gen_ai.operation.name = "execute_tool",
            gen_ai.tool.name = call.name,
            gen_ai.tool.call.id = call.id,
            gen_ai.conversation.id = self.pen.turn.session_id,
            error.type = tracing::field::Empty,
            step = step.step.id,
        );
        let served = self.served(call);
        let work = async {
            match &served {
                Some((server, tool)) => tools.call_server(&cx, server, tool, call, &step.idem_key).await,
                None => tools.call(&cx, &groups, call, &step.idem_key, approved).await,
            }
        };
        let outcome = self.call_out(work.instrument(span.clone())).await;
        let end = match &outcome {
            Ok(Outcome::Done(result)) if !result.is_error => ToolEnd::Succeeded,
            Ok(_) | Err(Halt::Failed(_)) => ToolEnd::Failed,
            Err(_) => ToolEnd::CutOff,
        };
        self.room.deps.observer.tool_called(end);
        let outcome = outcome?;
        Ok(match outcome {
            Outcome::Done(result) => {
                if result.is_error {
                    span.record("error.type", "tool_error");
                }
                result
            }
            Outcome::NeedsInput(request) => ToolResult::error(&format!(
                "'{}' needs the word of a person and was not run: {}",
                call.name, request.prompt
            )),
        })
    }

    /// Ends a tool's step with its result, as the shields let it pass.
    pub(crate) async fn conclude(
        &mut self,
        step: StoredStep,
        call: ToolCall,
        mut result: ToolResult,
    ) -> Result<Option<Closing>, Halt> {
        let judged = self.judge(Stage::ToolOutput, &result.content).await?;
        let stops = judged.stops();
        if stops {
            // The text that was stopped is kept nowhere.
            result = ToolResult::error("a shield withheld the tool's result");
        } else {
            result.content.clone_from(&judged.text);
        }
        self.answer(&step.step.id, &call, &result);
        self.open = None;
        self.pen.end(step, StepState::Done, Some(StepOutput::ToolExecution { call, result }));
        if stops {
            return Ok(Some(self.stopped(&judged, None)));
        }
        self.record(&judged);
        Ok(None)
    }

    /// A tool that was cut off may have done its work. The model reads so in later turns: it must not do it
    /// again unseen.
    pub(crate) fn cut_off(&mut self, step: StoredStep, error: TurnError) {
        if let Some(turn) = asked_turn(&step) {
            self.pen.stop_asked(turn);
        }
        if let Some(call) = call_of(&step) {
            self.answer(&step.step.id, &call, &outcome_unknown());
        }
        self.pen.end(step, StepState::Unknown, Some(StepOutput::Failed { error }));
    }

    pub(crate) fn answer(&mut self, step_id: &str, call: &ToolCall, result: &ToolResult) {
        let output = ItemBody::FunctionCallOutput {
            call_id: call.id.clone(),
            output: result.content.clone(),
            is_error: result.is_error,
        };
        let item = self.pen.item(output);
        self.pen.done(step_id, item.clone());
        self.items.push(item);
    }

    /// Ends a call, and the turn with it, by a hand-over.
    pub(crate) fn handed_over(
        &mut self,
        step: StoredStep,
        call: ToolCall,
        result: ToolResult,
        hand_off: HandOff,
    ) -> Closing {
        let step_id = step.step.id.clone();
        self.answer(&step_id, &call, &result);
        self.hand_over(&step_id, &hand_off);
        self.pen.say(&step_id, &hand_off.message, vec![]);
        self.open = None;
        self.pen.end(step, StepState::Done, Some(StepOutput::ToolExecution { call, result }));
        Closing::HandedOff(hand_off)
    }
}

/// What a model reads of a call whose end nobody saw.
pub(crate) fn outcome_unknown() -> ToolResult {
    ToolResult::error("the call was cut off and may have done its work: look before it is made again")
}

pub(crate) fn as_input(call: &ToolCall) -> Value {
    json!({ "id": call.id, "name": call.name, "arguments": call.arguments })
}
