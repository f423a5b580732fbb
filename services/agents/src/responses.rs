//! Turns that are responses of OpenAI's API: found by their id, deleted, and what they were asked.

use frontdesk_api::{
    Cx, Error, Kind, Page, PageRequest, Result,
    chat::Chat,
    turn::{Event, Item, ItemBody, Turn},
};
use frontdesk_store::{conversations, transcript, transcript::PastItem, turns};
use serde_json::Value;

use crate::{
    Agents, NewTurn, Room, access, begin, budget, follow::BATCH, guidelines, prompt, recall, running::Why, servers,
    think,
};

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub turn: Turn,
    /// What of the response object repeats the request.
    pub echo: Value,
    /// How many of its items came with the request.
    pub inputs: usize,
}

impl Agents {
    /// # Errors
    /// `NotFound`, also for a turn that is no response and for one that was not to be stored.
    pub async fn load_response(&self, cx: &Cx, id: &str) -> Result<Response> {
        let missing = || Error::not_found(format!("no response has the id '{id}'")).with_code("response_not_found");
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let stored = match access::load_turn(&mut tx, cx, id).await {
            Ok(stored) if stored.stored => stored,
            Ok(_) => return Err(missing()),
            Err(error) if error.kind == Kind::NotFound => return Err(missing()),
            Err(error) => return Err(error),
        };
        let echo = stored.request.response.ok_or_else(missing)?;
        Ok(Response { turn: stored.turn, echo, inputs: stored.request.inputs })
    }

    /// The responses that can be looked up; those that were asked of `model` alone where one is named. A page is shorter
    /// where responses of customers stand in it that the caller does not see.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_responses(&self, cx: &Cx, page: &PageRequest, model: Option<&str>) -> Result<Page<Response>> {
        let tenant = self.0.deps.store.tenant(cx);
        let found = tenant.list_responses(page, model).await?;
        let mut tx = tenant.read().await?;
        let mut items = vec![];
        for stored in found.items {
            if access::in_sight(&mut tx, cx, &stored).await? {
                let echo = stored.request.response.unwrap_or_default();
                items.push(Response { turn: stored.turn, echo, inputs: stored.request.inputs });
            }
        }
        Ok(Page { items, more: found.more })
    }

    /// The turn's events by now, in order.
    ///
    /// # Errors
    /// As any query.
    pub async fn events_so_far(&self, cx: &Cx, turn_id: &str) -> Result<Vec<Event>> {
        let tenant = self.0.deps.store.tenant(cx);
        let mut events: Vec<Event> = vec![];
        loop {
            let more = tenant.events_after(turn_id, events.last().map(|event| event.seq), BATCH).await?;
            let whole = more.len() < usize::try_from(BATCH).unwrap_or(usize::MAX);
            events.extend(more);
            if whole {
                return Ok(events);
            }
        }
    }

    /// What the response was asked, in order.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn response_input(&self, cx: &Cx, id: &str) -> Result<Vec<Item>> {
        let response = self.load_response(cx, id).await?;
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let mut items = transcript::items(&mut tx, id).await?;
        // Those that were deleted are counted by their places.
        let begun_with = i64::try_from(response.inputs).unwrap_or(i64::MAX);
        items.retain(|item| item.pos < begun_with);
        Ok(items)
    }

    /// Deletes a response with the files that its code wrote; one that runs is stopped. A conversation keeps what was said
    /// in it, and those files.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_response(&self, cx: &Cx, id: &str) -> Result<()> {
        let response = self.load_response(cx, id).await?;
        if response.turn.session_id.is_some() {
            if !response.turn.state.is_terminal() {
                // One that waits would go on waiting, and nobody could name it.
                Box::pin(self.cancel(cx, id)).await?;
            }
            return self.0.deps.store.tenant(cx).delete_response(id).await;
        }
        self.0.running.stop(&cx.tenant, id, Why::Asked);
        let workspaces = self.workspaces(cx, id).await?;
        self.0.deps.store.tenant(cx).delete_response(id).await?;
        self.0.deps.tools.forget_conversations(cx, &workspaces);
        Ok(())
    }

    /// Lets go of a response that was not to be stored, once nobody reads it any more: it is stopped and deleted,
    /// unless a conversation holds it. Goes on when the caller has left; what fails here is purged later.
    pub fn forget(&self, cx: &Cx, id: &str) {
        let (room, cx, id) = (self.clone(), cx.clone(), id.to_owned());
        let work = async move {
            if let Err(error) = room.0.let_go(&cx, &id).await {
                tracing::warn!(turn = id, error = %error, "a response that is not to be stored stays until it is purged");
            }
        };
        self.0.tasks.spawn_on(work, &self.0.runtime);
    }

    /// The items of these ids, for a request that names them.
    ///
    /// # Errors
    /// `NotFound` naming the id.
    pub async fn load_item(&self, cx: &Cx, id: &str) -> Result<Item> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let item = transcript::find_item(&mut tx, id).await?;
        let missing = || Error::not_found(format!("no item has the id '{id}'")).with_code("item_not_found");
        let item = item.ok_or_else(missing)?;
        let stored = turns::load(&mut tx, &item.turn_id).await?;
        if access::sees(&mut tx, cx, &stored).await? { Ok(item) } else { Err(missing()) }
    }

    /// What a model would be asked first in this turn of a response: its agent's tools are listed, and its knowledge is
    /// searched. Shields are not asked. Nothing is written.
    ///
    /// # Errors
    /// As [`Agents::create_turn`].
    pub async fn would_ask(&self, cx: &Cx, new: &NewTurn) -> Result<Chat> {
        let Some(response) = &new.response else {
            return Err(Error::new(Kind::Internal, "only a response is asked about"));
        };
        let (deps, spec) = (&self.0.deps, &response.spec);
        let past = self.past_of(cx, new).await?;
        let mut items = new.items.clone();
        if let Some(query) = recall::question(&items).filter(|_| !spec.knowledge.is_empty()) {
            let filter = new.file_filter.as_ref();
            let found = deps.memory.recall_from(cx, &spec.knowledge, filter, &query, spec.max_passages);
            let mut passages = found.await?;
            passages.retain(|passage| new.least_score.is_none_or(|least| passage.score >= least));
            items.push(ItemBody::Retrieval { query, passages });
        }
        let items: Vec<Item> =
            items.into_iter().map(|body| Item { id: String::new(), turn_id: String::new(), pos: 0, body }).collect();
        let tools = think::tools(&deps.tools.list(cx, &spec.toolgroups).await?, spec);
        let left = match spec.keep_all_turns {
            true => usize::MAX,
            false => budget::prompt(deps.inference.context_window(&spec.model), spec.sampling.max_tokens)
                .saturating_sub(budget::tools(&tools)),
        };
        // Which guidelines hold is not asked here: no more than all of them.
        let instructions = prompt::instructions(spec, &guidelines::most(spec));
        let (messages, _) = prompt::messages(&instructions, &past, &items, left);
        Ok(think::asked(spec, messages, tools, spec.tool_choice.clone()))
    }

    /// What a response that is not begun goes on from.
    ///
    /// # Errors
    /// As [`Agents::create_turn`].
    pub(crate) async fn past_of(&self, cx: &Cx, new: &NewTurn) -> Result<Vec<PastItem>> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let previous = new.response.as_ref().and_then(|response| response.previous.as_ref());
        if let Some(session) = &new.session_id {
            conversations::load(&mut tx, session).await?;
            access::see_session(&mut tx, cx, session, conversations::missing).await?;
        } else if let Some(previous) = previous {
            let found = turns::load(&mut tx, previous).await;
            begin::may_continue(previous, access::to_continue(&mut tx, cx, found).await)?;
        }
        let past = begin::past(&mut tx, new).await?;
        begin::answers_calls(&new.items, &past)?;
        servers::heard(&new.items, &new.servers, &past)?;
        Ok(past)
    }
}

impl Room {
    async fn let_go(&self, cx: &Cx, id: &str) -> Result<()> {
        let tenant = self.deps.store.tenant(cx);
        let mut tx = tenant.read().await?;
        let stored = turns::load(&mut tx, id).await?;
        drop(tx);
        // A person reads what was said in one that was handed over to people.
        let for_people = stored.turn.hand_off.as_ref().is_some_and(|hand_off| hand_off.to.is_none());
        if stored.stored || stored.turn.session_id.is_some() || for_people {
            return Ok(());
        }
        self.running.stop(&cx.tenant, id, Why::Asked);
        tenant.forget_response(id).await
    }
}
