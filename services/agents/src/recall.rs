//! Knowledge: what is looked up about the customer's words, once, before a model is asked.
//!
//! Invariant: what shields let pass of it is an item of the turn, so every later call of a model reads the same passages
//! under the same numbers.

use std::{borrow::Cow, sync::Arc};

use frontdesk_api::{
    chat::Role,
    memory::Passage,
    turn::{ItemBody, StepKind, StepOutput, StepState},
};
use tracing::Instrument as _;

use crate::{halt::Halt, worker::Worker};

impl Worker {
    /// Looks up what the agent knows about the customer's words.
    pub(crate) async fn recall(&mut self) -> Result<(), Halt> {
        let done = self.items.iter().any(|item| matches!(item.body, ItemBody::Retrieval { .. }));
        let asked = question(self.items.iter().map(|item| &item.body));
        let Some(query) = asked.filter(|_| !done && !self.knowledge.is_empty()) else { return Ok(()) };
        let step = self.begin(StepKind::MemoryRetrieval, "recall");
        let (memory, cx, stores) = (Arc::clone(&self.room.deps.memory), self.cx.clone(), self.knowledge.clone());
        let (filter, limit) = (self.file_filter.clone(), self.spec.max_passages);
        let span = tracing::info_span!(
            "recall",
            gen_ai.operation.name = "retrieval",
            gen_ai.agent.id = self.cx.agent,
            gen_ai.conversation.id = self.cx.conversation(),
            gen_ai.data_source.id = stores.join(","),
            step = step.step.id
        );
        let found = async { memory.recall_from(&cx, &stores, filter.as_ref(), &query, limit).await };
        let mut found = self.call_out(found.instrument(span)).await?;
        found.retain(|passage| self.least_score.is_none_or(|least| passage.score >= least));
        let (passages, judged) = self.judge_passages(found).await?;
        self.remember(&step.step.id, &query, passages.clone());
        self.end(step, StepState::Done, Some(StepOutput::MemoryRetrieval { query, stores, passages }));
        self.record_all(&judged);
        Ok(())
    }

    fn remember(&mut self, step_id: &str, query: &str, passages: Vec<Passage>) {
        let item = self.pen.item(ItemBody::Retrieval { query: query.to_owned(), passages });
        self.pen.done(step_id, item.clone());
        self.items.push(item);
    }

    /// The passages of this turn, by their numbers.
    pub(crate) fn passages(&self) -> &[Passage] {
        let found = self.items.iter().find_map(|item| match &item.body {
            ItemBody::Retrieval { passages, .. } => Some(passages.as_slice()),
            _ => None,
        });
        found.unwrap_or_default()
    }
}

/// What knowledge is searched for: the last words of the customer, where they are any.
pub(crate) fn question<'i>(
    items: impl IntoIterator<Item = &'i ItemBody, IntoIter: DoubleEndedIterator>,
) -> Option<String> {
    let last = items.into_iter().rev().find_map(|item| match item {
        ItemBody::Message { role: Role::User, .. } | ItemBody::Content { role: Role::User, .. } => item.words(),
        _ => None,
    });
    last.filter(|words| !words.trim().is_empty()).map(Cow::into_owned)
}
