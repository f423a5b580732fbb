//! OpenAI's conversations: sessions that belong to no one agent, so every response in one may have another model.
//!
//! Everything that is said in one stands in turns. Items that a client adds by itself are a turn of their own, which
//! has ended when it is written.

use frontdesk_api::{
    Cx, Error, Result,
    chat::Usage,
    turn::{Item, ItemBody, Turn, TurnState},
};
use frontdesk_store::{
    Tx, agents,
    conversations::{self, Conversation},
    sessions::{self, Place},
    transcript, turns,
    turns::{OnInput, StoredTurn, TurnRequest},
};
use serde_json::Value;

use crate::{Agents, Room, access, pen::prefix, servers};

/// What one turn of a conversation brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Said {
    /// In order, those that are kept from models left out.
    pub items: Vec<Item>,
    /// How many of them came from the client.
    pub inputs: usize,
    /// What of the response object repeats the request; null where the turn is none.
    pub echo: Value,
    /// Whether the turn has ended.
    pub ended: bool,
}

impl Agents {
    /// Opens a conversation with these items in it; `metadata` is a JSON object of texts.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_conversation(&self, cx: &Cx, metadata: &str, items: &[ItemBody]) -> Result<Conversation> {
        let deps = &self.0.deps;
        let (id, now) = (deps.ids.next("conv"), deps.clock.now());
        let mut tx = deps.store.tenant(cx).write().await?;
        conversations::add(&mut tx, &id, metadata, now).await?;
        access::enter_session(&mut tx, cx, &id, conversations::missing).await?;
        if !items.is_empty() {
            self.0.put_items(&mut tx, &id, items).await?;
        }
        let conversation = conversations::load(&mut tx, &id).await?;
        tx.commit().await?;
        Ok(conversation)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn conversation(&self, cx: &Cx, id: &str) -> Result<Conversation> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let conversation = conversations::load(&mut tx, id).await?;
        access::see_session(&mut tx, cx, id, conversations::missing).await?;
        Ok(conversation)
    }

    /// Puts other notes in the place of the old.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_conversation(&self, cx: &Cx, id: &str, metadata: &str) -> Result<Conversation> {
        self.conversation(cx, id).await?;
        self.0.deps.store.tenant(cx).update_conversation(id, metadata).await?;
        self.conversation(cx, id).await
    }

    /// Deletes a conversation with its responses; one that runs stops without a word.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_conversation(&self, cx: &Cx, id: &str) -> Result<()> {
        self.conversation(cx, id).await?;
        let workspaces = self.workspaces(cx, id).await?;
        self.0.deps.store.tenant(cx).delete_conversation(id).await?;
        self.0.deps.tools.forget_conversations(cx, &workspaces);
        Ok(())
    }

    /// All that was said, in order.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn said(&self, cx: &Cx, id: &str) -> Result<Vec<Said>> {
        let tenant = self.0.deps.store.tenant(cx);
        let turns = tenant.session_turns(id, None).await?;
        let mut tx = tenant.read().await?;
        conversations::load(&mut tx, id).await?;
        access::see_session(&mut tx, cx, id, conversations::missing).await?;
        let mut items = transcript::history(&mut tx, id, i64::MAX).await?.into_iter().map(|past| past.item).peekable();
        let mut said = vec![];
        for stored in turns {
            let mut of_turn = vec![];
            while let Some(item) = items.next_if(|item| item.turn_id == stored.turn.id) {
                of_turn.push(item);
            }
            // Those that were deleted are counted by their places.
            let begun_with = i64::try_from(stored.request.inputs).unwrap_or(i64::MAX);
            let inputs = of_turn.iter().filter(|item| item.pos < begun_with).count();
            let (echo, ended) = (stored.request.response.unwrap_or_default(), stored.turn.state.is_terminal());
            said.push(Said { items: of_turn, inputs, echo, ended });
        }
        Ok(said)
    }

    /// Adds items at the end of a conversation.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn add_items(&self, cx: &Cx, id: &str, items: &[ItemBody]) -> Result<Vec<Item>> {
        let mut tx = self.0.deps.store.tenant(cx).write().await?;
        conversations::load(&mut tx, id).await?;
        access::enter_session(&mut tx, cx, id, conversations::missing).await?;
        let (_, items) = self.0.put_items(&mut tx, id, items).await?;
        tx.commit().await?;
        Ok(items)
    }

    /// Deletes an item of a conversation; a call of ours goes with its result.
    ///
    /// # Errors
    /// `NotFound`, also where the item stands in another conversation; `Conflict` with the code `conversation_locked`
    /// while its turn is worked on, which goes by the items that there are.
    pub async fn delete_item(&self, cx: &Cx, id: &str, item_id: &str) -> Result<()> {
        let said = self.said(cx, id).await?;
        let found = said.iter().find_map(|said| Some((said, said.items.iter().find(|item| item.id == item_id)?)));
        let Some((said, item)) = found else {
            let message = format!("this conversation has no item with the id '{item_id}'");
            return Err(Error::not_found(message).with_code("item_not_found"));
        };
        if !said.ended {
            let message = "the response that this item is part of has not ended: wait for it or cancel it";
            return Err(Error::conflict(message).with_code("conversation_locked"));
        }
        let mut ids = vec![item.id.clone()];
        if let ItemBody::FunctionCall { call, .. } = &item.body {
            let answers = |item: &&Item| matches!(&item.body, ItemBody::FunctionCallOutput { call_id, .. } if *call_id == call.id);
            ids.extend(said.items.iter().filter(answers).map(|item| item.id.clone()));
        }
        self.0.deps.store.tenant(cx).delete_items(&ids).await
    }
}

impl Room {
    /// Writes items as a turn that has ended, no agent's. The caller commits.
    ///
    /// # Errors
    /// `Invalid` for an item that only a response may bring; as any query.
    pub(crate) async fn put_items(&self, tx: &mut Tx, id: &str, items: &[ItemBody]) -> Result<(Turn, Vec<Item>)> {
        servers::no_words(items)?;
        let (turn_id, now) = (self.deps.ids.next("turn"), self.deps.clock.now());
        agents::ensure_inline(tx, now).await?;
        let Place { pos, parent, .. } = sessions::advance(tx, id, &turn_id, agents::INLINE).await?;
        let turn = Turn {
            session_id: Some(id.to_owned()),
            agent_id: agents::INLINE.into(),
            agent_version: 1,
            parent,
            state: TurnState::Completed,
            error: None,
            hand_off: None,
            usage: Usage::default(),
            created_at: now,
            completed_at: Some(now),
            id: turn_id.clone(),
        };
        let request = TurnRequest { inputs: items.len(), ..TurnRequest::default() };
        let (on_input, cancel_requested, stored) = (OnInput::Finish, false, true);
        let turn = StoredTurn { turn, pos, epoch: 1, next_seq: 0, request, cancel_requested, on_input, stored };
        turns::add(tx, &turn, Some(self.lease()), 0).await?;
        let items: Vec<Item> = (0..)
            .zip(items)
            .map(|(pos, body)| Item {
                id: self.deps.ids.next(prefix(body)),
                turn_id: turn_id.clone(),
                pos,
                body: body.clone(),
            })
            .collect();
        transcript::add_items(tx, &items).await?;
        Ok((turn.turn, items))
    }
}
