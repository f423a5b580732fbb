//! What a model asked for: calls that run here first ([`crate::calls`]), then it is waited once for all that others
//! have to say: people to calls that need their word ([`crate::approvals`]) and to what tools ask ([`crate::questions`]),
//! clients to calls of their tools.
//!
//! Invariant: a call that may have an effect has its intent in a row before it, and its end in a row with
//! the result that the model will read.

use std::collections::VecDeque;

use frontdesk_api::{
    chat::ToolCall,
    safety::Stage,
    tools::ToolResult,
    turn::{HandOff, ItemBody, StepKind, StepOutput, StepState, TurnError},
};
use frontdesk_store::{transcript::StoredStep, turns::OnInput};
use serde_json::{Value, json};

use crate::{
    HAND_OFF,
    asking::{asked_turn, tool_name},
    close::Closing,
    guard::Judged,
    halt::{Halt, failed},
    worker::{Worker, call_of},
};

impl Worker {
    /// Does the calls of one answer, as the shields let them pass. Returns the turn's end when one of them leads there.
    pub(crate) async fn act(&mut self, calls: Vec<ToolCall>) -> Result<Option<Closing>, Halt> {
        let (theirs, here): (Vec<ToolCall>, Vec<ToolCall>) =
            calls.into_iter().partition(|call| self.runs_at_client(call) || self.awaits_client(call));
        let (mut ask, mut run) = (vec![], VecDeque::new());
        for call in here {
            if self.ended.contains(&call.id) {
                continue;
            }
            match self.is_begun(&call) {
                true if self.awaits_answers(&call) => self.waits_on(call),
                false if self.waits_for_a_word(&call) => {
                    // Nobody is asked about a call that will not be made: those before it are made first.
                    let counts = |call: &&ToolCall| !self.is_begun(call) && !self.is_hand_off(call);
                    match self.is_passed_over(&call, ask.len() + run.iter().filter(counts).count()) {
                        true => self.pass_by(&call),
                        false => ask.push(call),
                    }
                }
                _ => run.push_back(call),
            }
        }
        if !self.waiting.is_empty() {
            run.retain(|call| self.is_begun(call));
        }
        if let Some(closing) = Box::pin(self.run_here(run)).await? {
            return Ok(Some(closing));
        }
        let finishes = self.on_input == OnInput::Finish;
        if finishes {
            self.ask_client(&theirs);
        }
        // People first: what its client has to bring comes with the next turn.
        if finishes && ask.is_empty() && self.waiting.is_empty() {
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
        for call in theirs.into_iter().filter(|_| !finishes) {
            if self.ended.contains(&call.id) {
                continue;
            }
            if let Some(step) = self.take_left(&call.id) {
                // It stays in the inbox: should the turn be stopped before a shield has looked at it, it is not lost.
                let Some(result) = self.inbox.get(&call.id).cloned() else {
                    self.asked.push(step);
                    waiting.push(call);
                    continue;
                };
                self.open.push(step.clone());
                if let Some(judged) = self.conclude(step, call, result).await? {
                    return Ok(Some(self.stopped(&judged, None)));
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
        let questions = self.open_questions();
        let waits = !(waiting.is_empty() && approvals.is_empty() && questions.is_empty());
        Ok(waits.then_some(Closing::Waiting { calls: waiting, approvals, questions }))
    }

    /// The step of this call that was begun before this worker and has not ended.
    pub(crate) fn take_left(&mut self, call_id: &str) -> Option<StoredStep> {
        let at = self.left.iter().position(|step| call_of(step).is_some_and(|call| call.id == call_id))?;
        Some(self.left.remove(at))
    }

    pub(crate) fn runs_at_client(&self, call: &ToolCall) -> bool {
        self.def_of(call).is_none()
            && !self.is_hand_off(call)
            && self.spec.client_tools.iter().any(|tool| tool.name == call.name)
    }

    pub(crate) fn is_hand_off(&self, call: &ToolCall) -> bool {
        self.spec.hand_off.is_some() && call.name == HAND_OFF && self.said_to(call).is_none()
    }

    /// Counts a call; the turn's end where it is one too many.
    pub(crate) fn count(&mut self) -> Option<Closing> {
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

    /// That nothing the model may call has this name, with what there is: the registry knows neither client
    /// tools nor the hand-off. Whether a call is allowed is the registry's to say.
    pub(crate) fn no_tool(&self, name: &str) -> String {
        let mut known: Vec<&str> = self.offered.iter().map(|def| def.name.as_str()).collect();
        known.extend(self.spec.client_tools.iter().map(|tool| tool.name.as_str()));
        let asks: Vec<String> = self.spec.agents.iter().map(|tool| tool_name(&tool.agent)).collect();
        known.extend(asks.iter().map(String::as_str));
        known.extend(self.spec.hand_off.is_some().then_some(HAND_OFF));
        let known =
            if known.is_empty() { "there are none".to_owned() } else { format!("there are {}", known.join(", ")) };
        format!("no tool is called '{name}'; {known}")
    }

    /// Ends a tool's step with its result, as the shields let it pass. Returns what they said where they stopped it, which
    /// is for the caller to write.
    pub(crate) async fn conclude(
        &mut self,
        step: StoredStep,
        call: ToolCall,
        result: ToolResult,
    ) -> Result<Option<Judged>, Halt> {
        let judged = self.judge(Stage::ToolOutput, &result.content).await?;
        self.write_result(step, call, result, &judged);
        Ok(judged.stops().then_some(judged))
    }

    /// Ends a tool's step with its result, and tells of the shields that let it pass.
    pub(crate) fn write_result(&mut self, step: StoredStep, call: ToolCall, mut result: ToolResult, judged: &Judged) {
        let stops = judged.stops();
        if stops {
            // The text that was stopped is kept nowhere.
            result = ToolResult::error("a shield withheld the tool's result");
        } else {
            result.content.clone_from(&judged.text);
        }
        self.answer(&step.step.id, &call, &result);
        self.inbox.remove(&call.id);
        self.end(step, StepState::Done, Some(StepOutput::ToolExecution { call, result }));
        if !stops {
            self.record(judged);
        }
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
        self.end(step, StepState::Unknown, Some(StepOutput::Failed { error }));
    }

    pub(crate) fn answer(&mut self, step_id: &str, call: &ToolCall, result: &ToolResult) {
        let item = self.pen.item(ItemBody::output(&call.id, &result.content, result.is_error));
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
        self.end(step, StepState::Done, Some(StepOutput::ToolExecution { call, result }));
        Closing::HandedOff(hand_off)
    }
}

/// What a model reads of a call whose end nobody saw.
pub(crate) fn outcome_unknown() -> ToolResult {
    ToolResult::unsure("the call was cut off and may have done its work: look before it is made again")
}

pub(crate) fn as_input(call: &ToolCall) -> Value {
    json!({ "id": call.id, "name": call.name, "arguments": call.arguments })
}
