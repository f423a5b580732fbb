//! A turn's events as those of a chat: words, calls of the client's functions, an end.
//!
//! What the agent does by itself is not told; what it says on the way is, each message after a blank line, so that a
//! stream and a whole answer read the same. Members no model's answer has stand in `frontdesk`. Invariant: usage is of
//! all model calls of the turn, and comes last and once.

use std::collections::HashSet;

use frontdesk_api::{
    ChatEvent, Error, Kind, Result,
    chat::{FinishReason, Role, ToolCall},
    clock::unix_seconds,
    safety::{Stage, Verdict},
    turn::{Citation, Event, EventBody, ItemBody, StepOutput, Turn},
};
use futures::StreamExt as _;
use serde_json::{Map, Value, json};

use crate::{Agents, Events, read};

/// Between the model's id of a call and the id of the turn it was made in. Letters, digits and `_`, which every client
/// keeps in an id; the next request is recognised by it.
pub(super) const CALLED_IN: &str = "__in__";

/// A turn as it is told.
pub(super) struct Telling {
    pub(super) events: Events,
    pub(super) words: Words,
    pub(super) agents: Agents,
    /// What was heard before the answer began.
    pub(super) first: Vec<ChatEvent>,
    /// Lets go of the turn once nobody reads on.
    pub(super) passing: Option<crate::Passing>,
    pub(super) ended: bool,
}

impl Telling {
    /// Waits for the first words, a call or the end.
    ///
    /// # Errors
    /// What ended the turn before it said anything.
    pub(super) async fn first_words(&mut self) -> Result<()> {
        while !self.ended && !self.first.iter().any(ChatEvent::is_content) {
            let more = self.more().await?;
            self.first.extend(more);
        }
        Ok(())
    }

    /// The next piece of the answer; None behind its last.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<ChatEvent>>> {
        if !self.first.is_empty() {
            return Some(Ok(std::mem::take(&mut self.first)));
        }
        while !self.ended {
            match self.more().await {
                Ok(events) if events.is_empty() => {}
                Ok(events) => return Some(Ok(events)),
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    async fn more(&mut self) -> Result<Vec<ChatEvent>> {
        let Some(event) = self.events.next().await else {
            self.ended = true;
            // Its events end before it does where this process stops, or its rows are gone.
            let error = match self.agents.is_stopping() {
                true => read::goes_on(&self.words.turn),
                false => Error::conflict("the turn was deleted before it ended"),
            };
            return Err(error);
        };
        let event = event?;
        self.ended = event.body.is_last();
        let told = self.words.push(event)?;
        if self.ended
            && (self.words.asks() || self.words.is_for_people())
            && let Some(passing) = self.passing.take()
        {
            // The next request goes on from it, or a person reads it.
            passing.keep();
        }
        Ok(told)
    }
}

/// What was told of a turn so far.
pub(super) struct Words {
    turn: Turn,
    /// Names of the functions that run at the client.
    client_tools: HashSet<String>,
    /// Words are told as they come, not when their message is done.
    streaming: bool,
    /// Whether anything was said.
    spoken: bool,
    /// What was said of the message that is being written.
    shown: String,
    /// Anything was shown of the step that is being done.
    begun: bool,
    /// What was thought in the step that is being done, where it is told once whole.
    thought: Option<String>,
    calls: Vec<ToolCall>,
    citations: Vec<Citation>,
    /// A shield stopped what was asked or answered.
    blocked: bool,
}

impl Words {
    pub(super) fn new(turn: Turn, client_tools: HashSet<String>, streaming: bool) -> Self {
        Self {
            turn,
            client_tools,
            streaming,
            spoken: false,
            shown: String::new(),
            begun: false,
            thought: None,
            calls: vec![],
            citations: vec![],
            blocked: false,
        }
    }

    /// Whether the answer ends with calls of the client's functions.
    fn asks(&self) -> bool {
        !self.calls.is_empty() && self.turn.hand_off.is_none()
    }

    fn is_for_people(&self) -> bool {
        self.turn.hand_off.as_ref().is_some_and(|hand_off| hand_off.to.is_none())
    }

    fn push(&mut self, event: Event) -> Result<Vec<ChatEvent>> {
        let mut out = vec![];
        match event.body {
            EventBody::Created { turn } => {
                let created = unix_seconds(turn.created_at);
                out.push(ChatEvent::Start { id: String::new(), model: String::new(), created });
            }
            EventBody::TextDelta { delta, .. } if self.streaming => self.say(&delta, false, &mut out),
            EventBody::RefusalDelta { delta, .. } if self.streaming => self.say(&delta, true, &mut out),
            EventBody::ReasoningDelta { delta, .. } if self.streaming => {
                self.begun = true;
                out.push(ChatEvent::Reasoning { choice: 0, text: delta });
            }
            EventBody::ItemDone { item, .. } => self.done(item.body, &mut out),
            EventBody::StepCompleted { step } => {
                self.begun = false;
                out.extend(self.thought.take().map(|text| ChatEvent::Reasoning { choice: 0, text }));
                if let Some(StepOutput::ShieldCall { stage, verdict: Verdict::Block { .. }, .. }) = step.output {
                    // A passage that was stopped was left out, and the answer stands.
                    self.blocked |= stage != Stage::Retrieved;
                }
            }
            EventBody::Restarted { .. } if self.begun => {
                let message = "whoever worked on this answer was lost when a part of it had been shown; ask again";
                return Err(Error::unavailable(message).with_code("answer_interrupted"));
            }
            EventBody::Restarted { .. } => self.thought = None,
            EventBody::Completed { turn } => {
                self.turn = turn;
                let reason = match () {
                    () if self.asks() => FinishReason::ToolCalls,
                    () if self.blocked => FinishReason::ContentFilter,
                    () => FinishReason::Stop,
                };
                self.end(reason, &mut out);
            }
            EventBody::Incomplete { turn } => {
                let late = turn.error.as_ref().is_some_and(|error| error.code == "timeout");
                if late && !self.spoken {
                    return Err(Error { kind: Kind::Timeout, ..read::ended_badly(&turn) });
                }
                self.turn = turn;
                self.calls.clear();
                self.end(FinishReason::Length, &mut out);
            }
            EventBody::Failed { turn } | EventBody::Cancelled { turn } => return Err(read::ended_badly(&turn)),
            _ => {}
        }
        Ok(out)
    }

    /// `refuses`: these are words of a refusal, which have a place of their own.
    fn say(&mut self, text: &str, refuses: bool, out: &mut Vec<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        let between = if self.shown.is_empty() && self.spoken { "\n\n" } else { "" };
        (self.spoken, self.begun) = (true, true);
        self.shown.push_str(text);
        let (choice, text) = (0, format!("{between}{text}"));
        out.push(if refuses { ChatEvent::Refusal { choice, text } } else { ChatEvent::Text { choice, text } });
    }

    /// A message that is whole, of which some was said.
    fn said(&mut self, text: &str, refuses: bool, out: &mut Vec<ChatEvent>) {
        match text.strip_prefix(&*self.shown).map(str::to_owned) {
            Some(rest) => self.say(&rest, refuses, out),
            // Another text was put in the place of what was begun.
            None => {
                self.shown.clear();
                self.say(text, refuses, out);
            }
        }
        self.shown.clear();
    }

    fn done(&mut self, body: ItemBody, out: &mut Vec<ChatEvent>) {
        match body {
            ItemBody::Message { role: Role::Assistant, text, citations } => {
                self.said(&text, false, out);
                self.citations.extend(citations);
            }
            ItemBody::Refusal { text } => self.said(&text, true, out),
            ItemBody::Reasoning { text, .. } if !self.streaming => self.thought = Some(text),
            // Told at the end: what else is done in this step may end the turn another way.
            ItemBody::FunctionCall { call, .. } if self.client_tools.contains(&call.name) => self.calls.push(call),
            _ => {}
        }
    }

    fn end(&mut self, reason: FinishReason, out: &mut Vec<ChatEvent>) {
        if reason == FinishReason::ToolCalls {
            for (index, call) in (0..).zip(&self.calls) {
                out.push(ChatEvent::ToolCall {
                    choice: 0,
                    index,
                    id: Some(format!("{}{CALLED_IN}{}", call.id, self.turn.id)),
                    name: Some(call.name.clone()),
                    arguments: call.arguments.clone(),
                });
            }
        }
        let mut beside = Map::new();
        if let Some(hand_off) = &self.turn.hand_off {
            beside.insert("hand_off".into(), json!(hand_off));
        }
        if !self.citations.is_empty() {
            beside.insert("citations".into(), json!(self.citations));
        }
        if let Some(error) = &self.turn.error {
            beside.insert("incomplete".into(), json!({ "code": error.code, "message": error.message }));
        }
        if !beside.is_empty() {
            out.push(ChatEvent::Extra([("frontdesk".to_owned(), Value::Object(beside))].into_iter().collect()));
        }
        out.push(ChatEvent::Finish { choice: 0, reason });
        out.push(ChatEvent::Usage(self.turn.usage));
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        chat::Usage,
        turn::{Item, TurnState},
    };

    use super::*;

    fn turn(state: TurnState) -> Turn {
        Turn {
            id: "resp_1".into(),
            session_id: None,
            agent_id: "a".into(),
            agent_version: 1,
            parent: None,
            state,
            error: None,
            hand_off: None,
            usage: Usage { input_tokens: 3, output_tokens: 2, ..Usage::default() },
            created_at: 7_000_000,
            completed_at: None,
        }
    }

    fn delta(text: &str) -> EventBody {
        EventBody::TextDelta { step_id: "s".into(), item_id: "i".into(), delta: text.into(), logprobs: vec![] }
    }

    fn done(body: ItemBody) -> EventBody {
        let item = Item { id: "i".into(), turn_id: "resp_1".into(), pos: 1, body };
        EventBody::ItemDone { step_id: "s".into(), item }
    }

    fn says(text: &str) -> EventBody {
        done(ItemBody::Message { role: Role::Assistant, text: text.into(), citations: vec![] })
    }

    fn again() -> EventBody {
        EventBody::Restarted { step_id: "s".into(), from_seq: 2 }
    }

    /// The texts that are told of these events, and what ended them early.
    fn told(streaming: bool, events: Vec<EventBody>) -> (String, Option<(Kind, Option<String>)>) {
        let mut words = Words::new(turn(TurnState::Running), HashSet::new(), streaming);
        let mut all = String::new();
        for (seq, body) in (0..).zip(events) {
            match words.push(Event { seq, body }) {
                Ok(told) => all.extend(told.into_iter().filter_map(|event| match event {
                    ChatEvent::Text { text, .. } => Some(text),
                    ChatEvent::Reasoning { text, .. } => Some(format!("<{text}>")),
                    ChatEvent::Refusal { text, .. } => Some(format!("!{text}")),
                    _ => None,
                })),
                Err(error) => return (all, Some((error.kind, error.code))),
            }
        }
        (all, None)
    }

    #[test]
    fn a_stream_and_a_whole_answer_read_the_same() {
        let events = || {
            let thought = done(ItemBody::Reasoning { text: "hm".into(), sealed: None, kept: vec![] });
            let step = frontdesk_api::turn::Step {
                id: "s".into(),
                n: 0,
                kind: frontdesk_api::turn::StepKind::Inference,
                state: frontdesk_api::turn::StepState::Done,
                started_at: 0,
                completed_at: None,
                output: None,
            };
            let shown = EventBody::ReasoningDelta { step_id: "s".into(), item_id: "r".into(), delta: "hm".into() };
            let end = EventBody::StepCompleted { step };
            vec![shown, thought, end, delta("A mo"), delta("ment."), says("A moment."), delta("Here."), says("Here.")]
        };
        for streaming in [false, true] {
            assert_eq!(told(streaming, events()).0, "<hm>A moment.\n\nHere.");
        }
    }

    #[test]
    fn a_refusal_is_told_as_one() {
        let begins = EventBody::RefusalDelta { step_id: "s".into(), item_id: "i".into(), delta: "I will ".into() };
        let events = || vec![begins.clone(), done(ItemBody::Refusal { text: "I will not.".into() })];
        assert_eq!(told(true, events()).0, "!I will !not.");
        assert_eq!(told(false, events()).0, "!I will not.");
    }

    #[test]
    fn a_text_that_took_the_place_of_what_was_shown_follows_it() {
        let events = || vec![delta("My card is 41"), says("I cannot say that.")];
        assert_eq!(told(true, events()).0, "My card is 41\n\nI cannot say that.");
        assert_eq!(told(false, events()).0, "I cannot say that.");
    }

    #[test]
    fn what_is_void_ends_a_stream_that_showed_it_and_nothing_else() {
        let events = || vec![delta("Half a"), again(), delta("A whole"), says("A whole")];
        let interrupted = (Kind::Unavailable, Some("answer_interrupted".to_owned()));
        assert_eq!(told(true, events()), ("Half a".to_owned(), Some(interrupted)));
        assert_eq!(told(false, events()), ("A whole".to_owned(), None));
        let early = || vec![again(), delta("A whole"), says("A whole")];
        assert_eq!(told(true, early()), ("A whole".to_owned(), None));
    }

    #[test]
    fn time_that_passed_before_a_word_is_an_error_and_behind_one_an_end() {
        let mut late = turn(TurnState::Incomplete);
        late.error = Some(crate::halt::failed("timeout", "the turn took longer than 5 s"));
        let end = || EventBody::Incomplete { turn: late.clone() };
        let (_, error) = told(true, vec![end()]);
        assert_eq!(error.map(|(kind, _)| kind), Some(Kind::Timeout));
        assert_eq!(told(true, vec![delta("Half"), end()]), ("Half".to_owned(), None));
    }
}
