//! A conversation made short: its model is asked to summarise what was said, and its customer's words are kept.
//!
//! Nothing is written: the summary goes to the client, who sends it in the place of what it sums up.

use frontdesk_api::{
    ChatRequest, Cx, Error, Kind, Result,
    chat::{FinishReason, Message, Role, Usage},
    turn::Item,
};
use futures::StreamExt as _;

use crate::{Agents, NewTurn, prompt, reply::Reply, think};

/// What the model is told behind all that was said.
const TASK: &str = "Summarise the conversation above for an assistant that will continue it without seeing it. \
    Keep every fact, name, number, decision, open question and result of a tool that may still matter. \
    Write the summary alone.";

/// A conversation made short.
#[derive(Debug, Clone, PartialEq)]
pub struct Compacted {
    /// What the customer said, in order; those of the request have new ids.
    pub said: Vec<Item>,
    pub summary: String,
    /// What the model took for it.
    pub usage: Usage,
}

impl Agents {
    /// Has the model of a response summarise all that the response would go on from, its own items too. Tools and
    /// knowledge are left out, and so is no turn: what is too long is the provider's to refuse.
    ///
    /// # Errors
    /// As [`Agents::create_turn`]; `Upstream` where the model says nothing or breaks off.
    pub async fn compact(&self, cx: &Cx, new: &NewTurn) -> Result<Compacted> {
        let Some(response) = &new.response else {
            return Err(Error::new(Kind::Internal, "only what a response goes on from is made short"));
        };
        let past = self.past_of(cx, new).await?;
        let items: Vec<Item> = new
            .items
            .iter()
            .map(|body| Item { id: self.0.deps.ids.next("msg"), turn_id: String::new(), pos: 0, body: body.clone() })
            .collect();
        let (mut messages, _) = prompt::messages(&response.spec.instructions, &past, &items, usize::MAX);
        messages.push(Message::text(Role::User, TASK));
        let chat = think::asked(&response.spec, messages, vec![], None);
        let mut answer = self.0.deps.inference.chat(cx, ChatRequest::typed(&response.spec.model, chat)).await?;
        let mut reply = Reply::default();
        while let Some(frame) = answer.frames.next().await {
            frame?.events.into_iter().for_each(|event| reply.take(event));
            if let Some(error) = reply.too_long() {
                return Err(Error::upstream(error.message).with_code(error.code));
            }
        }
        let summary = reply.text.trim().to_owned();
        if summary.is_empty() || reply.finish != Some(FinishReason::Stop) {
            let message = "the model did not bring its summary to an end; leave more room for it, or ask another model";
            return Err(Error::new(Kind::Upstream, message).with_code("not_summarised"));
        }
        let said = past.into_iter().map(|past| past.item).chain(items);
        let said = said.filter(|item| prompt::is_customers(&item.body)).collect();
        Ok(Compacted { said, summary, usage: reply.usage })
    }
}
