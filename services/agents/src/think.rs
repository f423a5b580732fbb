//! One model call: the prompt, the answer as it comes, what of it is shown.
//!
//! Invariant: only a whole answer becomes items; one that breaks off, or that has no end ([`Reply::too_long`]), leaves
//! events that were shown and a failed step, nothing a later prompt would repeat.

use std::{collections::HashSet, sync::Arc};

use frontdesk_api::{
    ChatRequest, Frame,
    agent::AgentSpec,
    chat::{Chat, FinishReason, Message, ReplyHead, Role, ToolCall, ToolChoice, ToolSpec, Usage},
    safety::Stage,
    tools::ToolDef,
    turn::{Citation, EventBody, Item, ItemBody, StepKind, StepOutput, StepState},
};
use frontdesk_store::{transcript::StoredStep, turns::OnInput};
use futures::{StreamExt as _, stream::BoxStream};
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    asking, budget,
    citations::cite,
    close::Closing,
    containers::{cite_files, written},
    dictation::Dictation,
    guard::Judged,
    halt::{Halt, failed},
    handing,
    hold::release,
    pages::{cite_pages, found},
    prompt,
    reply::Reply,
    speech::Speech,
    thoughts,
    worker::Worker,
};

/// What a model call came to.
pub(crate) enum Thought {
    /// It wants these done before it goes on.
    Calls(Vec<ToolCall>),
    /// The turn ends here.
    Closed(Closing),
}

impl Worker {
    pub(crate) async fn think(&mut self) -> Result<Thought, Halt> {
        // One that is begun again was counted.
        self.model_calls += u32::from(!self.is_left(StepKind::Inference));
        let step = self.begin(StepKind::Inference, "model");
        self.restart(&step);
        let (chat, dropped) = self.chat();
        if dropped > 0 {
            tracing::debug!(turns = dropped, "the conversation is too long for its model: its oldest turns stay out");
        }
        let request = ChatRequest::typed(&self.spec.model, chat);
        let (inference, cx) = (Arc::clone(&self.room.deps.inference), self.cx.clone());
        // For the log; the call itself is a span of whoever stands before the models.
        let span = tracing::info_span!("think", turns_dropped = dropped, step = step.step.id);
        let answer = self.call_out(async { inference.chat(&cx, request).await }.instrument(span.clone())).await?;
        let shields = self.shields(Stage::Output);
        let mut speech = Speech::new(self.room.deps.safety.hold(&shields, Stage::Output));
        // Thoughts are shown where a client can tell them from words, and no shield has to see what is said first.
        if self.on_input == OnInput::Finish && shields.is_empty() {
            speech.thoughts = Some(Box::new(Speech::new(None)));
        }
        // A shield may take the answer back, and its calls with it. Those that see calls see answers too.
        if shields.is_empty() {
            speech.calls = Some(Dictation::default());
        }
        // A shield may take words out, and their tokens would tell them.
        let wants_logprobs = shields.is_empty() && self.spec.model_params.get("logprobs") == Some(&true.into());
        let mut reply = Reply::wanting(wants_logprobs);
        let stopped = self.listen(answer.frames, &mut reply, &mut speech, &step).instrument(span).await?;
        reply.cost = self.spend(&answer.head, reply.usage);
        let judged = match stopped {
            Some(judged) => judged,
            None if reply.text.trim().is_empty() => {
                Judged { stage: Stage::Output, text: String::new(), verdicts: vec![] }
            }
            None => self.judge(Stage::Output, &reply.text).await?,
        };
        if judged.stops() {
            return Ok(Thought::Closed(self.withhold(step, &answer.head, &reply, speech, &judged)));
        }
        let calls = reply.calls(&mut self.call_ids, self.pen.ids.clone().as_ref());
        let calls = self.judge_calls(calls).await?;
        if calls.iter().any(|(call, _)| self.is_code(call)) {
            Box::pin(self.find_container()).await?;
        }
        self.told(step, &answer.head, reply, speech, &judged, calls)
    }

    /// Puts the calls before the shields, before anyone sees them: what they redact is written nowhere as it
    /// was. A call that is stopped is the last.
    async fn judge_calls(&mut self, calls: Vec<ToolCall>) -> Result<Vec<(ToolCall, Judged)>, Halt> {
        let mut all = vec![];
        for call in calls {
            let judged = self.judge(Stage::ToolInput, &call.arguments).await?;
            let stops = judged.stops();
            all.push((ToolCall { arguments: judged.text.clone(), ..call }, judged));
            if stops {
                break;
            }
        }
        Ok(all)
    }

    /// What the model is asked, and how many of the oldest turns had to stay out of it.
    fn chat(&self) -> (Chat, usize) {
        let spec = &self.spec;
        // A forced call is made once; forced again after its result, the model would call forever.
        let forced = matches!(spec.tool_choice, Some(ToolChoice::Required | ToolChoice::Named(_)));
        let tools = tools(&self.offered, spec);
        let tool_choice =
            if tools.is_empty() || (forced && self.tool_calls > 0) { None } else { spec.tool_choice.clone() };
        let window = self.room.deps.inference.context_window(&spec.model);
        let room = match spec.keep_all_turns {
            true => usize::MAX,
            false => budget::prompt(window, spec.sampling.max_tokens).saturating_sub(budget::tools(&tools)),
        };
        let instructions = prompt::instructions(spec, &self.rules);
        let (messages, dropped) = prompt::messages(&instructions, &self.past, &self.items, room);
        (asked(spec, messages, tools, tool_choice), dropped)
    }

    /// Takes the answer in as it comes and shows what may be shown of it. Returns the judgement that stopped
    /// it, if one did; the rest of the answer is then not waited for.
    async fn listen(
        &mut self,
        mut frames: BoxStream<'static, frontdesk_api::Result<Frame>>,
        reply: &mut Reply,
        speech: &mut Speech,
        step: &StoredStep,
    ) -> Result<Option<Judged>, Halt> {
        loop {
            let now = Instant::now();
            let pace = &self.room.deps.pace;
            let thoughts = speech.thoughts.as_ref().and_then(|thoughts| thoughts.due(&reply.thoughts, pace, now));
            if thoughts.is_some_and(|at| at <= now) {
                self.think_aloud(reply, speech, &step.step.id);
                self.pen.commit().await?;
                continue;
            }
            let due = speech.due(&reply.text, pace, now);
            if due.is_some_and(|at| at <= now) {
                if let Some(stopped) = self.show(reply, speech, step).await? {
                    return Ok(Some(stopped));
                }
                continue;
            }
            let calls = speech.calls.as_mut().and_then(|calls| calls.due(reply.written(), pace, now));
            if calls.is_some_and(|at| at <= now) {
                self.dictate(reply, speech, &step.step.id);
                self.pen.commit().await?;
                continue;
            }
            // What it said so far was shown, but for less than what is worth a row.
            if let Some(error) = reply.too_long() {
                return Err(Halt::Failed(error));
            }
            let next = async {
                match due.into_iter().chain(thoughts).chain(calls).min() {
                    Some(at) => Ok(tokio::time::timeout_at(at, frames.next()).await.ok()),
                    None => Ok(Some(frames.next().await)),
                }
            };
            match self.wait(next).await? {
                // Time to show what has come together.
                None => {}
                Some(Some(frame)) => {
                    self.wait(async { frame }).await?.events.into_iter().for_each(|event| reply.take(event))
                }
                Some(None) if reply.finish.is_some() => return Ok(None),
                Some(None) => {
                    return Err(Halt::Failed(failed("upstream", "the model's answer broke off before its end")));
                }
            }
        }
    }

    /// Shows what may be shown by now; a row and an event.
    async fn show(
        &mut self,
        reply: &mut Reply,
        speech: &mut Speech,
        step: &StoredStep,
    ) -> Result<Option<Judged>, Halt> {
        let piece = match speech.hold {
            // What was shown is how the text begins. Not looked at again: an answer is shown in many pieces.
            None => reply.text.get(speech.shown.len()..).unwrap_or_default().to_owned(),
            Some(_) => {
                let judged = self.judge(Stage::Output, &reply.text).await?;
                if judged.stops() {
                    return Ok(Some(judged));
                }
                release(&judged.text, &speech.shown, speech.hold, false).to_owned()
            }
        };
        speech.looked_at(&reply.text, Instant::now());
        self.end_thoughts(reply, speech, &step.step.id);
        self.utter(speech, &step.step.id, &piece, reply);
        self.pen.commit().await?;
        Ok(None)
    }

    /// Shows what was thought since the last look.
    fn think_aloud(&mut self, reply: &Reply, speech: &mut Speech, step_id: &str) {
        let Some(thoughts) = &mut speech.thoughts else { return };
        // What was shown is how they begin.
        let delta = reply.thoughts.get(thoughts.shown.len()..).unwrap_or_default().to_owned();
        thoughts.looked_at(&reply.thoughts, Instant::now());
        if delta.is_empty() {
            return;
        }
        let (pen, step_id) = (&mut self.pen, step_id.to_owned());
        let item = thoughts.item.get_or_insert_with(|| {
            let item = pen.item(thought(String::new(), None));
            pen.event(EventBody::ItemAdded { step_id: step_id.clone(), item: item.clone() });
            item
        });
        thoughts.shown.push_str(&delta);
        let item_id = item.id.clone();
        pen.event(EventBody::ReasoningDelta { step_id, item_id, delta });
    }

    /// The model begins to speak or to call, so it has thought; what it thinks from here on is not shown.
    pub(crate) fn end_thoughts(&mut self, reply: &Reply, speech: &mut Speech, step_id: &str) {
        self.think_aloud(reply, speech, step_id);
        let Some(thoughts) = speech.thoughts.take().map(|thoughts| *thoughts) else { return };
        let sealed = self.sealed(&thoughts.shown, &reply.signed);
        let body = thought(thoughts.shown, sealed);
        let item = match thoughts.item {
            Some(item) => Item { body, ..item },
            // Thoughts without a word of them, for their maker alone.
            None if matches!(body, ItemBody::Reasoning { sealed: Some(_), .. }) => self.pen.item(body),
            None => return,
        };
        self.pen.event(EventBody::ItemDone { step_id: step_id.to_owned(), item: item.clone() });
        speech.thought = Some(item);
    }

    /// What was thought for the client to keep, where it asked for that.
    fn sealed(&self, text: &str, signed: &[Value]) -> Option<String> {
        if !self.seals_thoughts || (text.is_empty() && signed.is_empty()) {
            return None;
        }
        let sealed = thoughts::sealed(&*self.room.deps.seal, &self.cx, text, signed);
        sealed.inspect_err(|error| tracing::error!(error = %error, "thoughts could not be sealed")).ok()
    }

    /// Says a piece of the answer, and what is known of its tokens.
    pub(crate) fn utter(&mut self, speech: &mut Speech, step_id: &str, piece: &str, reply: &mut Reply) {
        let logprobs = std::mem::take(&mut reply.logprobs);
        // Some servers tell of tokens behind the last of them.
        if piece.is_empty() && (logprobs.is_empty() || speech.item.is_none()) {
            return;
        }
        let refuses = reply.refuses;
        let item = match speech.item.take() {
            Some(item) => item,
            None => {
                let body = said(String::new(), vec![], refuses);
                let item = match speech.place.take() {
                    Some(place) => Item { body, ..place },
                    None => self.pen.item(body),
                };
                self.pen.event(EventBody::ItemAdded { step_id: step_id.to_owned(), item: item.clone() });
                item
            }
        };
        let (step_id, item_id, delta) = (step_id.to_owned(), item.id.clone(), piece.to_owned());
        self.pen.event(match refuses {
            true => EventBody::RefusalDelta { step_id, item_id, delta },
            false => EventBody::TextDelta { step_id, item_id, delta, logprobs },
        });
        speech.shown.push_str(piece);
        speech.item = Some(item);
    }

    /// Ends a call whose answer a shield stopped: what was not shown is kept nowhere.
    fn withhold(
        &mut self,
        step: StoredStep,
        head: &ReplyHead,
        reply: &Reply,
        speech: Speech,
        judged: &Judged,
    ) -> Closing {
        let output = StepOutput::Inference {
            model: model_of(head),
            text: speech.shown,
            tool_calls: vec![],
            finish_reason: reply.finish_word(),
            usage: reply.usage,
            cost_nano_usd: reply.cost,
        };
        self.end(step, StepState::Done, Some(output));
        self.stopped(judged, speech.item)
    }

    /// Writes a whole answer: message, calls, the step's end.
    fn told(
        &mut self,
        step: StoredStep,
        head: &ReplyHead,
        mut reply: Reply,
        mut speech: Speech,
        judged: &Judged,
        calls: Vec<(ToolCall, Judged)>,
    ) -> Result<Thought, Halt> {
        let step_id = step.step.id.clone();
        let stopped = calls.iter().position(|(_, judged)| judged.stops());
        let (calls, judgements): (Vec<ToolCall>, Vec<Judged>) = calls.into_iter().unzip();
        let calls = &calls[..stopped.unwrap_or(calls.len())];
        let text = judged.text.clone();
        let silent = text.trim().is_empty();
        self.end_thoughts(&reply, &mut speech, &step_id);
        if let Some(thought) = speech.thought.take() {
            self.pen.keep(thought);
        }
        if !silent {
            let rest = release(&text, &speech.shown, speech.hold, true).to_owned();
            self.utter(&mut speech, &step_id, &rest, &mut reply);
            let citations = if calls.is_empty() { self.citations(&text) } else { vec![] };
            if let Some(mut item) = speech.item.take() {
                item.body = said(text.clone(), citations, reply.refuses);
                self.pen.done(&step_id, item.clone());
                self.items.push(item);
            }
        }
        self.called(&step_id, calls, speech.calls.take());
        let output = StepOutput::Inference {
            model: model_of(head),
            text,
            tool_calls: calls.to_vec(),
            finish_reason: reply.finish_word(),
            usage: reply.usage,
            cost_nano_usd: reply.cost,
        };
        self.end(step, StepState::Done, Some(output));
        self.record(judged);
        for judged in &judgements {
            if judged.stops() {
                return Ok(Thought::Closed(self.stopped(judged, None)));
            }
            self.record(judged);
        }
        if !calls.is_empty() {
            return Ok(Thought::Calls(calls.to_vec()));
        }
        match reply.finish {
            Some(FinishReason::ContentFilter) if silent => {
                Err(Halt::Failed(failed("content_filter", "the model's provider withheld the answer")))
            }
            _ if silent => {
                Err(Halt::Failed(failed("empty_answer", "the model answered with nothing; send the message again")))
            }
            Some(FinishReason::Length) => {
                Ok(Thought::Closed(Closing::Incomplete(failed("max_tokens", "the answer reached the limit of tokens"))))
            }
            _ => Ok(Thought::Closed(Closing::Completed)),
        }
    }

    fn citations(&self, answer: &str) -> Vec<Citation> {
        let mut cited = cite(answer, self.passages());
        cited.extend(cite_pages(answer, &found(&self.items, &self.offered)));
        cited.extend(cite_files(answer, &written(&self.items, &self.offered)));
        cited
    }

    /// Counts what a model call took. What it cost in nano-USD; None: its model has no price.
    pub(crate) fn spend(&mut self, head: &ReplyHead, usage: Usage) -> Option<i64> {
        self.pen.turn.usage.add(usage);
        let cost = match head.reuse {
            // Nobody was asked.
            Some(_) => Some(0),
            None => self.room.deps.inference.cost(&head.provider, &head.model, &usage),
        };
        self.cost = self.cost.saturating_add(cost.unwrap_or(0));
        cost
    }

    /// The turn's end where it has taken more than it may.
    pub(crate) fn overspent(&self) -> Option<Closing> {
        let (limits, usage) = (&self.spec.limits, &self.pen.turn.usage);
        let tokens = usage.input_tokens.saturating_add(usage.output_tokens);
        let cost = u64::try_from(self.cost).unwrap_or(0);
        let error = if let Some(most) = limits.max_tokens.filter(|most| tokens >= *most) {
            failed("turn_max_tokens", format!("the turn took {tokens} tokens and reached its limit of {most}"))
        } else if let Some(most) = limits.max_cost_micro_usd.filter(|most| cost >= most.saturating_mul(1_000)) {
            failed("turn_max_cost", format!("the turn cost {} micro-USD and reached its limit of {most}", cost / 1_000))
        } else {
            return None;
        };
        Some(Closing::Incomplete(error))
    }
}

/// What the model thought, as it is written.
fn thought(text: String, sealed: Option<String>) -> ItemBody {
    ItemBody::Reasoning { text, sealed, kept: vec![] }
}

/// What the model says, or that it refuses to.
fn said(text: String, citations: Vec<Citation>, refuses: bool) -> ItemBody {
    match refuses {
        true => ItemBody::Refusal { text },
        false => ItemBody::Message { role: Role::Assistant, text, citations },
    }
}

/// What a model may call, in an order that stays; `offered` runs here.
pub(crate) fn tools(offered: &[ToolDef], spec: &AgentSpec) -> Vec<ToolSpec> {
    let here = offered.iter().map(|def| ToolSpec {
        name: def.name.clone(),
        description: Some(def.description.clone()).filter(|d| !d.is_empty()),
        parameters: Some(def.schema.clone()),
        strict: None,
        cache_control: None,
    });
    let mut tools: Vec<ToolSpec> = here.collect();
    tools.extend(spec.client_tools.iter().cloned());
    tools.extend(asking::tools(spec));
    tools.extend(spec.hand_off.as_ref().map(handing::tool));
    let mut names = HashSet::new();
    tools.retain(|tool| names.insert(tool.name.clone()));
    tools
}

/// A model call as the agent has it.
pub(crate) fn asked(
    spec: &AgentSpec,
    messages: Vec<Message>,
    tools: Vec<ToolSpec>,
    tool_choice: Option<ToolChoice>,
) -> Chat {
    Chat {
        messages,
        parallel_tool_calls: spec.parallel_tool_calls.filter(|_| !tools.is_empty()),
        tools,
        tool_choice,
        max_tokens: spec.sampling.max_tokens,
        temperature: spec.sampling.temperature,
        top_p: spec.sampling.top_p,
        seed: spec.sampling.seed,
        stop: spec.sampling.stop.clone(),
        response_format: spec.response_format.clone(),
        extra: spec.model_params.clone(),
    }
}

pub(crate) fn model_of(head: &ReplyHead) -> String {
    if head.provider.is_empty() { head.model.clone() } else { format!("{}/{}", head.provider, head.model) }
}
