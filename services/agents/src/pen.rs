//! The one hand that writes a turn: rows of one commit, behind the fence, then the wake-up.
//!
//! Invariant: what is pushed becomes visible only by `commit`, all of it or nothing, in the order pushed.

use std::{sync::Arc, time::Duration};

use frontdesk_api::{
    Clock, Cx, Ids, Kind,
    chat::Role,
    turn::{Citation, EventBody, Item, ItemBody, Step, StepKind, StepOutput, StepState, Turn},
};
use frontdesk_store::{
    Store, transcript,
    transcript::StoredStep,
    turns::{self, StoredTurn},
};
use serde_json::Value;

use crate::{Room, halt::Halt, hub::Hub};

/// The pauses before a database that cannot serve is asked again: 100 ms, doubled up to this; some 6 s in all.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_millis(3200);

/// What waits for the next commit.
#[derive(Debug, Default)]
struct Page {
    events: Vec<EventBody>,
    steps: Vec<StoredStep>,
    items: Vec<Item>,
    replaced: Vec<(String, ItemBody)>,
    hide: bool,
    state: Option<Turn>,
}

pub(crate) struct Pen {
    store: Store,
    cx: Cx,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// How the turn stands, as this worker knows it.
    pub(crate) turn: Turn,
    epoch: i64,
    next_step: i64,
    next_pos: i64,
    page: Page,
    /// The next sequence number, had the last commit been made; set while nobody knows whether it was.
    unsure: Option<i64>,
}

impl Pen {
    /// `steps` and `items` are how many the turn has.
    pub(crate) fn new(room: &Room, cx: Cx, stored: StoredTurn, steps: usize, items: usize) -> Self {
        Self {
            store: room.deps.store.clone(),
            hub: Arc::clone(&room.hub),
            clock: Arc::clone(&room.deps.clock),
            ids: Arc::clone(&room.deps.ids),
            cx,
            turn: stored.turn,
            epoch: stored.epoch,
            next_step: i64::try_from(steps).unwrap_or(i64::MAX),
            next_pos: i64::try_from(items).unwrap_or(i64::MAX),
            page: Page::default(),
            unsure: None,
        }
    }

    pub(crate) fn event(&mut self, event: EventBody) {
        self.page.events.push(event);
    }

    /// A step that begins: its intent. `key` names the effect within the turn (a tool call's id).
    pub(crate) fn begin(&mut self, kind: StepKind, key: &str, input: Option<Value>) -> StoredStep {
        let n = self.next_step;
        self.next_step += 1;
        let step = Step {
            id: self.ids.next("step"),
            n,
            kind,
            state: StepState::Intent,
            started_at: self.clock.now(),
            completed_at: None,
            output: None,
        };
        let stored = StoredStep { idem_key: idem_key(&self.turn.id, n, key), input, step };
        self.event(EventBody::StepStarted { step: stored.step.clone() });
        self.page.steps.push(stored.clone());
        stored
    }

    /// A step that ended.
    pub(crate) fn end(&mut self, mut stored: StoredStep, state: StepState, output: Option<StepOutput>) {
        stored.step.state = state;
        stored.step.output = output;
        stored.step.completed_at = Some(self.clock.now());
        self.event(EventBody::StepCompleted { step: stored.step.clone() });
        self.page.steps.retain(|s| s.step.n != stored.step.n);
        self.page.steps.push(stored);
    }

    /// A new item at the end of the turn, not yet written.
    pub(crate) fn item(&mut self, body: ItemBody) -> Item {
        let pos = self.next_pos;
        self.next_pos += 1;
        Item { id: self.ids.next(prefix(&body)), turn_id: self.turn.id.clone(), pos, body }
    }

    /// Writes a finished item and shows it.
    pub(crate) fn done(&mut self, step_id: &str, item: Item) {
        self.page.items.push(item.clone());
        self.event(EventBody::ItemDone { step_id: step_id.to_owned(), item });
    }

    /// Says something whole in the agent's name.
    pub(crate) fn say(&mut self, step_id: &str, text: &str, citations: Vec<Citation>) -> Item {
        let mut item = self.item(ItemBody::Message { role: Role::Assistant, text: String::new(), citations: vec![] });
        let step_id = step_id.to_owned();
        self.event(EventBody::ItemAdded { step_id: step_id.clone(), item: item.clone() });
        self.event(EventBody::TextDelta { step_id: step_id.clone(), item_id: item.id.clone(), delta: text.to_owned() });
        item.body = ItemBody::Message { role: Role::Assistant, text: text.to_owned(), citations };
        self.done(&step_id, item.clone());
        item
    }

    /// Writes another body over an item's.
    pub(crate) fn replace(&mut self, item: &Item) {
        self.page.replaced.push((item.id.clone(), item.body.clone()));
    }

    /// Keeps every item of the turn from models, now and later.
    pub(crate) fn hide(&mut self) {
        self.page.hide = true;
    }

    /// Writes how the turn stands with the next commit.
    pub(crate) fn stand(&mut self) {
        self.page.state = Some(self.turn.clone());
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now()
    }

    /// Writes what was pushed and wakes the followers. A database that cannot serve for a moment is asked again.
    pub(crate) async fn commit(&mut self) -> Result<(), Halt> {
        let page = std::mem::take(&mut self.page);
        if page.events.is_empty() && page.state.is_none() {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        let written = loop {
            match self.write(&page).await {
                Err(error) if error.kind == Kind::Unavailable && pause <= LAST_PAUSE => {
                    tracing::warn!(turn = self.turn.id, error = %error, "a turn's rows could not be written; once more");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                written => break written.map_err(Halt::Rows)?,
            }
        };
        if !written {
            return Err(Halt::Fenced);
        }
        self.hub.wake(&self.cx.tenant, &self.turn.id);
        Ok(())
    }

    async fn write(&mut self, page: &Page) -> frontdesk_api::Result<bool> {
        let tenant = self.store.tenant(&self.cx);
        let mut tx = tenant.write().await?;
        let id = &self.turn.id;
        let Some(first) = turns::fence(&mut tx, id, self.epoch, page.events.len()).await? else { return Ok(false) };
        if self.unsure.take().is_some_and(|next| next <= first) {
            // The commit that broke off had been made after all.
            return Ok(true);
        }
        transcript::put_steps(&mut tx, id, &page.steps).await?;
        transcript::add_items(&mut tx, &page.items).await?;
        for (item, body) in &page.replaced {
            transcript::replace_item(&mut tx, item, body, false).await?;
        }
        if page.hide {
            transcript::hide_items(&mut tx, id).await?;
        }
        transcript::add_events(&mut tx, id, first, &page.events).await?;
        if let Some(turn) = &page.state {
            turns::set_state(&mut tx, turn).await?;
        }
        if let Err(error) = tx.commit().await {
            // Nobody else writes under this epoch: the next fence tells by its numbers whether it was made.
            self.unsure = Some(first + i64::try_from(page.events.len()).unwrap_or(i64::MAX));
            return Err(error);
        }
        Ok(true)
    }
}

/// The same for every attempt at the same effect.
pub(crate) fn idem_key(turn: &str, n: i64, key: &str) -> String {
    let hash = blake3::hash(format!("{turn}\n{n}\n{key}").as_bytes());
    format!("idem_{}", &hash.to_hex()[..32])
}

fn prefix(body: &ItemBody) -> &'static str {
    match body {
        ItemBody::Message { .. } => "msg",
        ItemBody::FunctionCall { .. } => "fc",
        ItemBody::FunctionCallOutput { .. } => "fco",
        ItemBody::Retrieval { .. } => "ret",
        ItemBody::HandOff { .. } => "ho",
    }
}
