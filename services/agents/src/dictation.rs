//! Calls while the model writes them: what was shown of their arguments, and when more of it is due.
//!
//! Invariants: calls are shown in the order they were begun, each under one id from its first piece to its end; the
//! message of the same answer stands before them among the turn's items, whichever was begun first. Where a shield has to
//! see calls or words first, nothing of a call is shown before it is whole. Nor is one that a response's client runs: its
//! worker may be lost, the answer begun anew, and what was void by then would stand in the response as a call to be made.

use frontdesk_api::{
    chat::{Role, ToolCall},
    code,
    turn::{EventBody, Item, ItemBody},
};
use frontdesk_store::turns::OnInput;
use tokio::time::Instant;

use crate::{Pace, hold::release, reply::Reply, speech::Speech, worker::Worker};

/// What was shown of the calls of one answer.
#[derive(Debug, Default)]
pub(crate) struct Dictation {
    begun: Vec<Begun>,
    /// Bytes of calls that were looked at.
    seen: usize,
    /// Since when there are more.
    since: Option<Instant>,
}

/// A call that was begun to be shown.
#[derive(Debug)]
struct Begun {
    item: Item,
    /// Bytes of its arguments that were shown.
    shown: usize,
}

impl Dictation {
    /// When more of the calls should be shown, seen from `now`, where they have `written` bytes; None while there is
    /// nothing new. Never at once, unless it is much: a call that a model writes in one go costs no commit of its own.
    pub(crate) fn due(&mut self, written: usize, pace: &Pace, now: Instant) -> Option<Instant> {
        if written == self.seen {
            return None;
        }
        let since = *self.since.get_or_insert(now);
        Some(if written - self.seen < pace.flush_bytes { since + pace.flush } else { now })
    }

    fn looked_at(&mut self, written: usize) {
        (self.seen, self.since) = (written, None);
    }
}

impl Worker {
    /// Shows what was written of the calls since the last look, and before it the words that came with them.
    pub(crate) fn dictate(&mut self, reply: &mut Reply, speech: &mut Speech, step_id: &str) {
        let Some(mut calls) = speech.calls.take() else { return };
        calls.looked_at(reply.written());
        for n in 0.. {
            if n == calls.begun.len() {
                // Those behind one that must not be shown yet wait with it.
                if !reply.named(n).is_some_and(|name| self.may_dictate(name)) {
                    break;
                }
                let Some(call) = reply.begin(n, &mut self.call_ids, self.pen.ids.clone().as_ref()) else { break };
                self.words_before(reply, speech, step_id);
                let item = self.pen.item(ItemBody::FunctionCall { call, container: None });
                self.pen.event(EventBody::ItemAdded { step_id: step_id.to_owned(), item: item.clone() });
                calls.begun.push(Begun { item, shown: 0 });
            }
            let (begun, written) = (&mut calls.begun[n], reply.arguments(n));
            let piece = written.get(begun.shown..).unwrap_or_default().to_owned();
            begun.shown = written.len();
            self.argue(step_id, &begun.item, piece);
        }
        speech.calls = Some(calls);
    }

    /// Whether a call of this name may be shown before it is whole, and is by any wire.
    fn may_dictate(&self, name: &str) -> bool {
        if self.on_input == OnInput::Suspend {
            return true;
        }
        let call = ToolCall { name: name.to_owned(), ..ToolCall::default() };
        // Codes and questions are shown whole.
        let whole = [code::TOOL, frontdesk_api::web::TOOL].contains(&name);
        !whole && !self.runs_at_client(&call) && !self.awaits_client(&call)
    }

    /// The message of an answer stands before its calls, if there will be one.
    fn words_before(&mut self, reply: &mut Reply, speech: &mut Speech, step_id: &str) {
        self.end_thoughts(reply, speech, step_id);
        if !reply.text.trim().is_empty() {
            let piece = release(&reply.text, &speech.shown, None, false).to_owned();
            speech.looked_at(&reply.text, Instant::now());
            self.utter(speech, step_id, &piece, reply);
        }
        if speech.item.is_none() && speech.place.is_none() {
            let empty = ItemBody::Message { role: Role::Assistant, text: String::new(), citations: vec![] };
            speech.place = Some(self.pen.item(empty));
        }
    }

    /// Writes the calls of a whole answer, with what is still to be shown of them.
    pub(crate) fn called(&mut self, step_id: &str, calls: &[ToolCall], shown: Option<Dictation>) {
        let mut begun = shown.unwrap_or_default().begun.into_iter();
        for call in calls {
            let (mut item, shown) = match begun.next() {
                Some(Begun { item, shown }) => (item, Some(shown)),
                None => {
                    let container = self.container.clone().filter(|_| self.is_code(call));
                    let item = self.pen.item(ItemBody::FunctionCall { call: call.clone(), container });
                    self.pen.event(EventBody::ItemAdded { step_id: step_id.to_owned(), item: item.clone() });
                    (item, None)
                }
            };
            let rest = call.arguments.get(shown.unwrap_or(0)..).unwrap_or_default().to_owned();
            let container = self.container.clone().filter(|_| self.is_code(call));
            item.body = ItemBody::FunctionCall { call: call.clone(), container };
            self.argue(step_id, &item, rest);
            self.pen.done(step_id, item.clone());
            self.items.push(item);
        }
    }

    fn argue(&mut self, step_id: &str, item: &Item, delta: String) {
        let ItemBody::FunctionCall { call, .. } = &item.body else { return };
        if delta.is_empty() {
            return;
        }
        let (step_id, item_id) = (step_id.to_owned(), item.id.clone());
        let (call_id, name) = (call.id.clone(), call.name.clone());
        self.pen.event(EventBody::ArgumentsDelta { step_id, item_id, call_id, name, delta });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn pieces_of_calls_are_due_by_time_or_size_and_never_at_once() {
        let (mut calls, now, pace) = (Dictation::default(), Instant::now(), Pace::default());
        assert_eq!(calls.due(0, &pace, now), None);
        assert_eq!(calls.due(5, &pace, now), Some(now + pace.flush));
        let later = now + Duration::from_millis(20);
        assert_eq!(calls.due(9, &pace, later), Some(now + pace.flush), "counted from the first of them");
        assert_eq!(calls.due(9 + pace.flush_bytes, &pace, later), Some(later));
        calls.looked_at(9);
        assert_eq!(calls.due(9, &pace, later), None);
        assert_eq!(calls.due(10, &pace, later), Some(later + pace.flush));
    }
}
