//! A person in a conversation: the queue, taking one over, reading it, saying something in it, giving it back.
//!
//! What a person says is a turn of its own that has ended when it is written: one item, in the agent's place and with the
//! person's name, so every wire shows it and the agent's next prompt holds it. Invariant: only the person who has the
//! conversation says something in it, and no longer than that.

use frontdesk_api::{
    Cx, Error, Page, PageRequest, Result,
    turn::{EventBody, Item, ItemBody},
};
use frontdesk_store::{
    Tx, handoffs,
    handoffs::{Handoff, Person, State, Word},
    idempotency, transcript, turns,
};

use crate::{Agents, access, begin::KEPT};

/// The longest name of a person, in bytes.
const LONGEST_NAME: usize = 256;

/// The longest message of a person, in bytes: far more than anyone types, far less than a model's window takes.
const LONGEST: usize = 64 * 1024;

/// What keys of a person's messages are kept under.
const SCOPE: &str = "handoff_message";

impl Agents {
    /// The hand-overs to people of a state, or all.
    ///
    /// # Errors
    /// `Forbidden` on behalf of a customer, as with all of these.
    pub async fn list_handoffs(&self, cx: &Cx, state: Option<State>, page: &PageRequest) -> Result<Page<Handoff>> {
        access::no_customers(cx, "hand-offs")?;
        self.0.deps.store.tenant(cx).list_handoffs(state, page).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_handoff(&self, cx: &Cx, id: &str) -> Result<Handoff> {
        access::no_customers(cx, "hand-offs")?;
        self.0.deps.store.tenant(cx).load_handoff(id).await
    }

    /// Gives a conversation to the person of this name, who comes with this key; the agent is quiet in it until
    /// [`Agents::end_handoff`].
    ///
    /// # Errors
    /// `Invalid` for the name, `NotFound`; `Conflict` with the code `handoff_taken` or `handoff_done`.
    pub async fn take_handoff(&self, cx: &Cx, id: &str, by: &str) -> Result<Handoff> {
        access::no_customers(cx, "hand-offs")?;
        let deps = &self.0.deps;
        deps.store.tenant(cx).take_handoff(id, person(cx, by)?, deps.clock.now()).await
    }

    /// Gives a conversation back to its agent.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_handoff(&self, cx: &Cx, id: &str) -> Result<Handoff> {
        access::no_customers(cx, "hand-offs")?;
        let deps = &self.0.deps;
        deps.store.tenant(cx).end_handoff(id, deps.clock.now()).await
    }

    /// What was said in the conversation, by whomever.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` where the page begins behind something that is not there.
    pub async fn handoff_words(&self, cx: &Cx, id: &str, page: &PageRequest) -> Result<Page<Word>> {
        access::no_customers(cx, "hand-offs")?;
        let tenant = self.0.deps.store.tenant(cx);
        let handoff = tenant.load_handoff(id).await?;
        handoffs::words(&mut tenant.read().await?, &handoff, page).await
    }

    /// Says something to the customer in the name of the person who has the conversation. With a `key`, the same message
    /// again is said once.
    ///
    /// # Errors
    /// `Invalid` for name, text or key; `NotFound`; `Conflict` with the code `handoff_not_taken`, `handoff_taken`,
    /// `handoff_done`, `handoff_without_conversation` or `idempotency_key_reused`.
    pub async fn say_in_handoff(&self, cx: &Cx, id: &str, by: &str, text: &str, key: Option<&str>) -> Result<Word> {
        access::no_customers(cx, "hand-offs")?;
        let person = person(cx, by)?;
        if text.trim().is_empty() || text.len() > LONGEST || text.contains('\0') {
            let message = format!("text must say something, in at most {LONGEST} bytes and without a zero byte");
            return Err(Error::invalid("text", message));
        }
        if let Some(key) = key {
            idempotency::check("Idempotency-Key", key)?;
        }
        let mut tx = self.0.deps.store.tenant(cx).write().await?;
        if let Some(key) = key {
            let sent = blake3::hash(format!("{id}\n{by}\n{text}").as_bytes());
            if let Some(item) = idempotency::claim(&mut tx, SCOPE, key, sent.as_bytes(), KEPT).await? {
                return self.said_before(&mut tx, &item).await;
            }
        }
        let handoff = handoffs::hold(&mut tx, id).await?;
        handoff.is_with(person)?;
        let Some(session) = &handoff.session_id else {
            let message = "the turn that handed over stood in no conversation, so there is none to say something in";
            return Err(Error::conflict(message).with_code("handoff_without_conversation"));
        };
        let body = ItemBody::Person { by: by.to_owned(), text: text.to_owned() };
        let word = self.0.put_words(&mut tx, session, body).await?;
        if let Some(key) = key {
            idempotency::answer(&mut tx, SCOPE, key, 200, &word.item.id).await?;
        }
        tx.commit().await?;
        Ok(word)
    }

    async fn said_before(&self, tx: &mut Tx, item: &str) -> Result<Word> {
        let found = transcript::find_item(tx, item).await?;
        let item = found.ok_or_else(|| Error::not_found("the message was deleted").with_code("item_not_found"))?;
        let at = turns::load(tx, &item.turn_id).await?.turn.created_at;
        Ok(Word { item, at })
    }
}

impl crate::Room {
    /// Writes words as a turn that has ended, with the events of its own. The caller commits.
    async fn put_words(&self, tx: &mut Tx, session: &str, body: ItemBody) -> Result<Word> {
        let (turn, mut items) = self.put_items(tx, session, &[body]).await?;
        let item: Item = items.remove(0);
        let events = [
            EventBody::Created { turn: turn.clone() },
            EventBody::ItemDone { step_id: String::new(), item: item.clone() },
            EventBody::Completed { turn: turn.clone() },
        ];
        // Nobody else writes a turn that has ended, at the epoch it was made with.
        let first = turns::fence(tx, &turn.id, 1, events.len(), false).await?.unwrap_or(0);
        transcript::add_events(tx, &turn.id, first, &events).await?;
        Ok(Word { item, at: turn.created_at })
    }
}

/// Who speaks: a name, and the key it came with.
///
/// # Errors
/// `Invalid` on `by`.
fn person<'a>(cx: &'a Cx, by: &'a str) -> Result<Person<'a>> {
    if by.trim().is_empty() || by.len() > LONGEST_NAME || by.chars().any(char::is_control) {
        let message = format!("by must name a person, in 1 to {LONGEST_NAME} bytes without control characters");
        return Err(Error::invalid("by", message));
    }
    Ok(Person { by, key: &cx.principal.key_id })
}
