//! The one hand that writes a turn: rows of one commit, behind the fence, then the wake-up.
//!
//! Invariant: what is pushed becomes visible only by `commit`, all of it or nothing, in the order pushed.

use std::{sync::Arc, time::Duration};

use frontdesk_api::{
    Clock, Cx, Ids, Kind,
    chat::Role,
    turn::{Citation, EventBody, HandOff, Item, ItemBody, Step, StepKind, StepOutput, StepState, Turn, TurnState},
};
use frontdesk_store::{
    Store, Tx, questions, sessions, transcript,
    transcript::StoredStep,
    turns::{self, OnInput, StoredTurn, TurnRequest},
};
use futures::future::BoxFuture;
use serde_json::Value;

use crate::{
    Note, Observer, Room,
    fault::{Fault, Point},
    halt::Halt,
    handing::{self, Handed},
    hub::{Heard, Hub},
    micros,
};

/// The pauses before a database that cannot serve is asked again; some 6 s in all.
const PAUSES: [Duration; 6] = [
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
    Duration::from_millis(3200),
];

/// How a transaction is made true: a value, so that tests can lose the database's answer.
type Commit = Box<dyn Fn(Tx) -> BoxFuture<'static, frontdesk_api::Result<()>> + Send + Sync>;

/// What waits for the next commit.
#[derive(Debug, Default)]
struct Page {
    events: Vec<EventBody>,
    steps: Vec<StoredStep>,
    items: Vec<Item>,
    replaced: Vec<(String, ItemBody)>,
    hide: bool,
    /// Turns that were asked and are to stop.
    stops: Vec<String>,
    handed: Option<Handed>,
    state: Option<Turn>,
    /// Questions whose calls stay open here, and for how many microseconds.
    kept_open: Vec<(String, i64)>,
    /// The turn has so many microseconds left.
    left: Option<i64>,
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
    pauses: &'static [Duration],
    make: Commit,
    fault: Option<Fault>,
    observer: Arc<dyn Observer>,
    /// How long the turn may wait for input, in microseconds.
    patience: i64,
    /// It stays as long after its end, though it is not stored.
    pub(crate) lingers: bool,
    /// Its request keeps something sealed, for as long as it is worked on.
    seals: bool,
    /// People's words are waited for: always but in a response whose client waits for its end.
    pub(crate) waits: bool,
    /// Its end let the next turn of its session begin.
    pub(crate) next_began: bool,
    /// Turns that were asked and are to stop, by what is committed.
    pub(crate) stopped: Vec<String>,
}

/// Whether it is a response that is looked up later, by what of its object repeats the request.
pub(crate) fn in_background(request: &TurnRequest) -> bool {
    request.response.as_ref().is_some_and(|echo| echo.get("background") == Some(&Value::Bool(true)))
}

impl Pen {
    /// `steps`: how many the turn has; `next_pos`: the place behind its last item (some before it may be deleted).
    pub(crate) fn new(room: &Room, cx: Cx, stored: StoredTurn, next_step: i64, next_pos: i64) -> Self {
        Self {
            store: room.deps.store.clone(),
            hub: Arc::clone(&room.hub),
            clock: Arc::clone(&room.deps.clock),
            ids: Arc::clone(&room.deps.ids),
            cx,
            lingers: stored.request.lingers,
            seals: stored.request.servers.iter().any(|server| server.sealed.is_some()),
            waits: stored.on_input == OnInput::Suspend || in_background(&stored.request),
            next_began: false,
            stopped: vec![],
            turn: stored.turn,
            epoch: stored.epoch,
            next_step,
            next_pos,
            page: Page::default(),
            unsure: None,
            pauses: &PAUSES,
            make: Box::new(|tx| Box::pin(tx.commit())),
            fault: room.deps.fault.clone(),
            observer: Arc::clone(&room.deps.observer),
            patience: micros(room.deps.pace.wait),
        }
    }

    /// What the turn is fenced by.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    pub(crate) fn event(&mut self, event: EventBody) {
        self.page.events.push(event);
    }

    /// A step that begins: its intent. `key` names the effect within the turn (a tool call's id).
    pub(crate) fn begin(&mut self, kind: StepKind, key: &str, input: Option<Value>) -> StoredStep {
        let n = self.next_step;
        self.next_step += 1;
        let step = Step {
            id: self.ids.next(match kind {
                StepKind::Approval => "appr",
                StepKind::Question => "q",
                _ => "step",
            }),
            n,
            kind,
            state: StepState::Intent,
            started_at: self.clock.now(),
            completed_at: None,
            output: None,
        };
        let stored = StoredStep { idem_key: idem_key(&self.turn.id, n, key), input, step, attempt: 1 };
        self.event(EventBody::StepStarted { step: stored.step.clone() });
        self.page.steps.push(stored.clone());
        stored
    }

    /// A step that an earlier worker began and did not end, begun once more: the same step, with the same key.
    pub(crate) fn again(&mut self, mut stored: StoredStep) -> StoredStep {
        stored.attempt += 1;
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

    /// Writes an item that was shown as done before the answer it belongs to was whole.
    pub(crate) fn keep(&mut self, item: Item) {
        self.page.items.push(item);
    }

    /// Says something whole in the agent's name.
    pub(crate) fn say(&mut self, step_id: &str, text: &str, citations: Vec<Citation>) -> Item {
        let mut item = self.item(ItemBody::Message { role: Role::Assistant, text: String::new(), citations: vec![] });
        let step_id = step_id.to_owned();
        self.event(EventBody::ItemAdded { step_id: step_id.clone(), item: item.clone() });
        let (delta, item_id) = (text.to_owned(), item.id.clone());
        self.event(EventBody::TextDelta { step_id: step_id.clone(), item_id, delta, logprobs: vec![] });
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

    /// A turn that was asked is to stop; whoever works on it hears of it at once or with its next look at the rows.
    pub(crate) fn stop_asked(&mut self, turn: &str) {
        self.page.stops.push(turn.to_owned());
    }

    /// Writes with the next commit who has the conversation from then on.
    pub(crate) fn hand_on(&mut self, handed: Option<Handed>) {
        self.page.handed = handed;
    }

    /// A question is open for so many microseconds from the next commit on, as long as this worker has the turn.
    pub(crate) fn keep_open(&mut self, question: &str, micros: i64) {
        self.page.kept_open.push((question.to_owned(), micros));
    }

    /// From the next commit on the turn has so many microseconds left.
    pub(crate) fn leave_time(&mut self, micros: i64) {
        self.page.left = Some(micros);
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
        let mut page = std::mem::take(&mut self.page);
        if page.events.is_empty() && page.steps.is_empty() && page.state.is_none() {
            return Ok(());
        }
        let mut pauses = self.pauses.iter();
        let written = loop {
            let error = match self.write(&page).await {
                Ok(written) => break written,
                Err(error) => error,
            };
            let pause = pauses.next().filter(|_| error.kind == Kind::Unavailable);
            let Some(pause) = pause else { return Err(Halt::Rows(error)) };
            tracing::warn!(turn = self.turn.id, error = %error, "a turn's rows could not be written; once more");
            tokio::time::sleep(*pause).await;
        };
        let word = match written {
            Written::Not => {
                self.observer.noted(Note::StaleWrite);
                return Err(Halt::Fenced);
            }
            Written::Gone => return Err(Halt::Fenced),
            Written::From(first) => Heard::Events(first, Arc::new(std::mem::take(&mut page.events))),
            Written::Before => Heard::Look,
        };
        Note::of(&page.steps, self.turn.error.as_ref()).into_iter().for_each(|note| self.observer.noted(note));
        self.stopped.append(&mut page.stops);
        self.hub.tell(&self.cx.tenant, &self.turn.id, word);
        self.reach(Point::AfterCommit).await;
        if page.steps.iter().any(|s| s.step.state == StepState::Intent) {
            self.reach(Point::AfterIntent).await;
        }
        Ok(())
    }

    /// A place at which a test may end the process.
    pub(crate) async fn reach(&self, point: Point) {
        if let Some(fault) = &self.fault {
            fault(point).await;
        }
    }

    /// Writes the page, where the turn is still ours.
    async fn write(&mut self, page: &Page) -> frontdesk_api::Result<Written> {
        let tenant = self.store.tenant(&self.cx);
        let mut tx = tenant.write().await?;
        let id = &self.turn.id;
        let got_on = page.steps.iter().any(|s| s.step.state != StepState::Intent);
        let (epoch, n) = (self.epoch, page.events.len());
        // Before the turn's row: a message that begins a turn takes the conversation first, too.
        if let Some(Handed { session: Some(session), hand_off: HandOff { to: Some(_), .. }, .. }) = &page.handed {
            sessions::hold(&mut tx, session).await?;
        }
        let first = match &page.state {
            None => turns::fence(&mut tx, id, epoch, n, got_on).await?,
            Some(turn) => {
                let waits = turn.state == TurnState::AwaitingInput || self.lingers;
                turns::fence_and_stand(&mut tx, turn, epoch, n, got_on, waits.then_some(self.patience)).await?
            }
        };
        let Some(first) = first else {
            let gone = turns::load(&mut tx, id).await.is_err_and(|error| error.kind == Kind::NotFound);
            return Ok(if gone { Written::Gone } else { Written::Not });
        };
        if self.unsure.take().is_some_and(|next| next <= first) {
            // The commit that broke off had been made after all.
            return Ok(Written::Before);
        }
        transcript::put_steps(&mut tx, id, &page.steps).await?;
        for (question, micros) in &page.kept_open {
            questions::keep_open(&mut tx, question, epoch, *micros).await?;
        }
        if let Some(micros) = page.left {
            turns::leave_time(&mut tx, id, micros).await?;
        }
        transcript::add_items(&mut tx, &page.items).await?;
        for (item, body) in &page.replaced {
            transcript::replace_item(&mut tx, item, body, false).await?;
        }
        if page.hide {
            transcript::hide_items(&mut tx, id).await?;
        }
        transcript::add_events(&mut tx, id, first, &page.events).await?;
        if let Some(handed) = &page.handed {
            handing::write(&mut tx, &self.ids.next("handoff"), handed, self.clock.now()).await?;
        }
        for turn in &page.stops {
            turns::request_cancel(&mut tx, turn).await?;
        }
        if let Some(turn) = &page.state {
            self.next_began |= turns::end(&mut tx, turn).await?;
            if turn.state.is_terminal() && self.seals {
                turns::forget_sealed(&mut tx, id).await?;
            }
        }
        self.reach(Point::BeforeCommit).await;
        if let Err(error) = (self.make)(tx).await {
            // Nobody else writes under this epoch: the next fence tells by its numbers whether it was made.
            // Without events its number tells nothing; steps alone can be written twice.
            let events = i64::try_from(page.events.len()).unwrap_or(i64::MAX);
            self.unsure = (events > 0).then_some(first + events);
            return Err(error);
        }
        Ok(Written::From(first))
    }
}

/// What became of a page.
enum Written {
    /// Its events stand in the rows from this number on.
    From(i64),
    /// It stood there before: the commit that broke off had been made.
    Before,
    /// The turn is another's.
    Not,
    /// The turn was deleted.
    Gone,
}

/// The same for every attempt at the same effect.
pub(crate) fn idem_key(turn: &str, n: i64, key: &str) -> String {
    let hash = blake3::hash(format!("{turn}\n{n}\n{key}").as_bytes());
    format!("idem_{}", &hash.to_hex()[..32])
}

/// What the id of an item begins with.
pub(crate) fn prefix(body: &ItemBody) -> &'static str {
    match body {
        ItemBody::Message { .. } | ItemBody::Refusal { .. } | ItemBody::Content { .. } | ItemBody::Person { .. } => {
            "msg"
        }
        ItemBody::FunctionCall { .. } => "fc",
        ItemBody::FunctionCallOutput { .. } => "fco",
        ItemBody::Reasoning { .. } => "rs",
        ItemBody::Retrieval { .. } => "ret",
        ItemBody::HandOff { .. } => "ho",
        ItemBody::ServerTools { .. } => "mcpl",
        ItemBody::ApprovalRequest { .. } => "mcpr",
        ItemBody::ApprovalResponse { .. } => "mcpa",
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use frontdesk_api::{Error, agent::AgentSpec, chat::Usage, clock::FixedClock, id::RandomIds};
    use frontdesk_store::{
        claims,
        testing::{each_database, two_tenants},
        turns::{Lease, OnInput, TurnRequest},
    };

    use super::*;

    /// What becomes of a commit.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Fate {
        /// Not made; the database says that it cannot serve.
        Refused,
        /// Made, and the connection breaks before the answer.
        Lost,
        /// Not made, for a reason that stays.
        Broken,
        /// Not made, and another worker takes the turn.
        Taken,
        /// Made, the answer lost, and another worker takes the turn.
        LostAndTaken,
    }

    /// Commits with these fates, one after another; then as the database does.
    fn fated(store: &Store, cx: &Cx, turn: &str, fates: &[Fate]) -> Commit {
        let here = (store.clone(), cx.clone(), turn.to_owned());
        let fates = Mutex::new(VecDeque::from(fates.to_vec()));
        Box::new(move |tx| {
            let fate = fates.lock().expect("the fates").pop_front();
            let (store, cx, turn) = here.clone();
            Box::pin(async move {
                match fate {
                    None => return tx.commit().await,
                    Some(Fate::Lost | Fate::LostAndTaken) => tx.commit().await?,
                    Some(_) => drop(tx),
                }
                if matches!(fate, Some(Fate::Taken | Fate::LostAndTaken)) {
                    let mut tx = store.tenant(&cx).write().await?;
                    claims::take_unheld(&mut tx, &turn).await?.expect("its lease is over");
                    tx.commit().await?;
                }
                let kind = if fate == Some(Fate::Broken) { Kind::Internal } else { Kind::Unavailable };
                Err(Error::new(kind, "as told"))
            })
        })
    }

    /// A pen for a new turn whose commits have these fates, and which does not wait between them.
    async fn pen(store: &Store, fates: &[Fate]) -> Pen {
        let (cx, _) = two_tenants(store).await;
        let tenant = store.tenant(&cx);
        let agent = tenant.add_agent(&RandomIds.next("agent"), &AgentSpec::new("m"), None, 0).await.expect("an agent");
        let turn = Turn {
            id: RandomIds.next("turn"),
            session_id: None,
            agent_id: agent.id,
            agent_version: agent.version,
            parent: None,
            state: TurnState::Running,
            error: None,
            hand_off: None,
            usage: Usage::default(),
            created_at: 0,
            completed_at: None,
        };
        let (epoch, request) = (1, TurnRequest::default());
        let stored = StoredTurn {
            turn: turn.clone(),
            pos: 0,
            epoch,
            next_seq: 0,
            request,
            cancel_requested: false,
            on_input: OnInput::Suspend,
            stored: true,
        };
        let mut tx = tenant.write().await.expect("a transaction");
        // Over at once, so that another may take it; the fence is what counts.
        let lease = Lease { owner: "worker", micros: -1_000_000 };
        turns::add(&mut tx, &stored, Some(lease), 60_000_000).await.expect("a turn");
        tx.commit().await.expect("written");
        Pen {
            store: store.clone(),
            make: fated(store, &cx, &turn.id, fates),
            cx,
            hub: Arc::default(),
            clock: Arc::new(FixedClock::at(0)),
            ids: Arc::new(RandomIds),
            turn,
            epoch,
            next_step: 0,
            next_pos: 0,
            page: Page::default(),
            unsure: None,
            pauses: &[Duration::ZERO; PAUSES.len()],
            fault: None,
            observer: Arc::new(crate::Unobserved),
            patience: 0,
            lingers: false,
            seals: false,
            waits: true,
            next_began: false,
            stopped: vec![],
        }
    }

    /// Writes a step with an item: three events.
    async fn write(pen: &mut Pen, text: &str) -> Result<(), Halt> {
        let step = pen.begin(StepKind::Inference, text, None);
        let item = pen.item(ItemBody::Message { role: Role::Assistant, text: text.into(), citations: vec![] });
        pen.done(&step.step.id, item);
        pen.end(step, StepState::Done, None);
        pen.commit().await
    }

    /// The texts that stand in the rows. Events, steps and items agree, and no sequence number is missing.
    async fn rows(pen: &Pen) -> Vec<String> {
        let tenant = pen.store.tenant(&pen.cx);
        let id = &pen.turn.id;
        let events = tenant.events_after(id, None, 100).await.expect("events");
        assert_eq!(events.iter().map(|e| e.seq).collect::<Vec<_>>(), (0..).take(events.len()).collect::<Vec<_>>());
        let mut tx = tenant.read().await.expect("a transaction");
        let items = transcript::items(&mut tx, id).await.expect("items");
        let steps = transcript::steps(&mut tx, id).await.expect("steps");
        assert_eq!((events.len(), steps.len()), (3 * items.len(), items.len()));
        let shown = events.into_iter().filter_map(|e| match e.body {
            EventBody::ItemDone { item, .. } => Some(item),
            _ => None,
        });
        assert_eq!(shown.collect::<Vec<_>>(), items);
        let text = |item: Item| match item.body {
            ItemBody::Message { text, .. } => text,
            other => panic!("unexpected {other:?}"),
        };
        items.into_iter().map(text).collect()
    }

    #[tokio::test]
    async fn whatever_becomes_of_its_commits_a_page_stands_once_in_the_rows() {
        each_database(|store| async move {
            // All of up to three.
            let mut all: Vec<Vec<Fate>> = vec![vec![]];
            for length in 0..3 {
                let shorter: Vec<_> = all.iter().filter(|fates| fates.len() == length).cloned().collect();
                all.extend(
                    shorter.iter().flat_map(|f| [Fate::Refused, Fate::Lost].map(|fate| [&f[..], &[fate]].concat())),
                );
            }
            assert_eq!(all.len(), 15);
            for fates in all {
                let mut pen = pen(&store, &fates).await;
                for text in ["one", "two", "three"] {
                    write(&mut pen, text).await.unwrap_or_else(|halt| panic!("{fates:?}: {halt:?}"));
                }
                assert_eq!(rows(&pen).await, ["one", "two", "three"], "{fates:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_database_that_stays_away_is_asked_so_many_times_and_then_the_work_ends() {
        each_database(|store| async move {
            let mut patient = pen(&store, &[Fate::Refused; PAUSES.len()]).await;
            write(&mut patient, "one").await.expect("written at the last attempt");
            let mut given_up = pen(&store, &[Fate::Refused; PAUSES.len() + 1]).await;
            let halt = write(&mut given_up, "one").await.expect_err("given up");
            assert!(matches!(&halt, Halt::Rows(error) if error.kind == Kind::Unavailable), "{halt:?}");
            assert_eq!(rows(&given_up).await, [""; 0]);
        })
        .await;
    }

    #[tokio::test]
    async fn an_error_that_stays_is_not_tried_again() {
        each_database(|store| async move {
            let mut pen = pen(&store, &[Fate::Broken]).await;
            let halt = write(&mut pen, "one").await.expect_err("broken");
            assert!(matches!(&halt, Halt::Rows(error) if error.kind == Kind::Internal), "{halt:?}");
            assert_eq!(rows(&pen).await, [""; 0]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_step_is_never_written_over_another_ones_number() {
        each_database(|store| async move {
            let mut pen = pen(&store, &[]).await;
            write(&mut pen, "one").await.expect("written");
            pen.next_step = 0;
            let halt = write(&mut pen, "two").await.expect_err("refused");
            assert!(matches!(&halt, Halt::Rows(error) if error.message.contains("has the number")), "{halt:?}");
            assert_eq!(rows(&pen).await, ["one"]);
        })
        .await;
    }

    #[tokio::test]
    async fn a_turn_that_was_taken_between_two_attempts_is_written_no_more() {
        each_database(|store| async move {
            for (fate, written) in [(Fate::Taken, vec![]), (Fate::LostAndTaken, vec!["one"])] {
                let mut pen = pen(&store, &[fate]).await;
                let halt = write(&mut pen, "one").await.expect_err("another worker has it");
                assert!(matches!(halt, Halt::Fenced), "{halt:?}");
                assert_eq!(rows(&pen).await, written);
            }
        })
        .await;
    }
}
