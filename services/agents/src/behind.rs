//! What a message does that comes while its conversation's turn is open, and how turns are cancelled.
//!
//! A session has one open turn. A message that comes meanwhile is refused, stands behind it, or cuts it off, as its agent
//! says. What stands in line is written like any turn, state `queued`; whoever ends the open one, wherever and however,
//! lets the next begin in the same transaction ([`turns::end`]). Invariants: turns of a session begin in the order
//! of their places; one that was cut off says so (`interrupted`), and who cut it off stands in its inbox, for whichever
//! worker holds it.

use std::time::Duration;

use frontdesk_api::{
    Cx, Error, Kind, Result,
    agent::OnMessage,
    dispatch::Word,
    turn::{StepState, Turn, TurnError, TurnState},
};
use frontdesk_store::{
    Tx, claims, questions, transcript,
    transcript::INTERRUPTED,
    turns,
    turns::{OnInput, StoredTurn},
};
use serde_json::json;

use crate::{
    Agents, Full, Note, Room, access,
    close::{Closed, close_rows},
    halt::failed,
    leaving,
    read::Open,
    running::Why,
};

/// Turns that may stand behind the open one of a session: more than a person writes while an answer comes.
const MOST_BEHIND: usize = 10;

/// When a session's line is worth another try.
const LATER: Duration = Duration::from_secs(5);

/// What the key of an interruption in a turn's inbox begins with; the id of the newer turn follows.
const INTERRUPTION: &str = "interrupted by ";

/// What a turn stands behind.
pub(crate) struct Before {
    /// The running turn that is to stop.
    stop: Option<String>,
}

impl Agents {
    /// Asks a turn to stop. One that waits, stands in line or that nobody works on ends at once; one that runs, here or
    /// elsewhere, ends as soon as its worker hears of it: follow its events to see it. One that has ended stays as it is.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn cancel(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        let room = &self.0;
        let turn = room.ask_to_stop(cx, turn_id).await?;
        if turn.state != TurnState::Running {
            return Ok(turn);
        }
        room.stop(cx, turn_id).await
    }
}

impl Room {
    /// Makes room in its session for the turn `by`. What it has to stand behind; None: it begins. Turns that end for it are
    /// `closed`, and noted once the caller has committed.
    pub(crate) async fn make_room(
        &self,
        tx: &mut Tx,
        session_id: &str,
        by: &str,
        on_message: OnMessage,
        closed: &mut Vec<Closed>,
    ) -> Result<Option<Before>> {
        // First, as whoever ends it does: it is locked then, and none of those behind it begins.
        let mut open = turns::find_open(tx, session_id).await?;
        if on_message == OnMessage::Interrupt {
            for stored in turns::behind(tx, session_id).await? {
                if let Some(stored) = claims::take_queued(tx, &stored.turn.id).await? {
                    closed.push(self.cut_off(tx, stored).await?);
                }
            }
        }
        // A response that waits is one that runs, to its client: only an interruption ends it.
        let gives_way = |open: &StoredTurn| open.on_input == OnInput::Suspend || on_message == OnMessage::Interrupt;
        if let Some(waiting) = open.take_if(|open| open.turn.state == TurnState::AwaitingInput && gives_way(open)) {
            if on_message == OnMessage::Queue && asks_people(tx, &waiting).await? {
                open = Some(waiting);
            } else {
                tracing::info!(turn = waiting.turn.id, "a waiting turn is given up for a newer message");
                let newer = failed("superseded", "a newer message came while the turn waited");
                closed.push(self.give_up(tx, waiting.turn, newer).await?);
                // Its place is the next one's.
                open = turns::find_open(tx, session_id).await?;
            }
        }
        if let (Some(running), OnMessage::Reject | OnMessage::Queue) = (&open, on_message)
            && gives_way(running)
            && !questions::kept_open(tx, &running.turn.id).await?.is_empty()
        {
            // It waits for a person as one that is put away does.
            let running = running.clone();
            return self.interrupt(tx, running, by, closed).await;
        }
        let line = turns::behind(tx, session_id).await?.len();
        match (open, on_message) {
            (None, _) if line == 0 => Ok(None),
            (_, OnMessage::Reject) => Err(turns::busy()),
            (_, OnMessage::Queue) if line >= MOST_BEHIND => {
                self.deps.observer.noted(Note::Refused(Full::Session));
                let message =
                    format!("{line} messages of this session wait for their turns already; wait for an answer");
                Err(Error::new(Kind::RateLimited, message).with_code("session_queue_full").with_retry_after(LATER))
            }
            (None, _) | (_, OnMessage::Queue) => Ok(Some(Before { stop: None })),
            (Some(running), OnMessage::Interrupt) => self.interrupt(tx, running, by, closed).await,
        }
    }

    /// Cuts the running turn off. What the newer one has to stand behind until then.
    async fn interrupt(
        &self,
        tx: &mut Tx,
        running: StoredTurn,
        by: &str,
        closed: &mut Vec<Closed>,
    ) -> Result<Option<Before>> {
        let id = running.turn.id;
        let now = self.deps.clock.now();
        transcript::add_inbox(tx, &id, &format!("{INTERRUPTION}{by}"), &json!({ "turn_id": by }), now).await?;
        turns::request_cancel(tx, &id).await?;
        tracing::info!(turn = id, by, "a turn is cut off by a newer message");
        match claims::take_unheld(tx, &id).await? {
            Some(stored) => {
                closed.push(self.cut_off(tx, stored).await?);
                Ok(None)
            }
            None => Ok(Some(Before { stop: Some(id) })),
        }
    }

    /// Ends a turn that nobody holds, for a newer message.
    async fn cut_off(&self, tx: &mut Tx, stored: StoredTurn) -> Result<Closed> {
        close_rows(tx, self, stored, StepState::Unknown, TurnState::Cancelled, interrupted()).await
    }

    /// After a turn was written behind another: that one is told to stop, where it is to.
    pub(crate) async fn stands_behind(&self, cx: &Cx, before: Before) {
        match before.stop {
            None => self.tell(Word::Claimable).await,
            Some(turn) => {
                if let Err(error) = self.stop(cx, &turn).await {
                    // Its worker finds it in the rows.
                    tracing::warn!(turn, error = %error, "a turn that is to stop could not be told so");
                }
            }
        }
    }

    /// Tells a running turn's worker, wherever it is, that it is to stop: its row says so.
    async fn stop(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        self.stop_work(cx, turn_id).await;
        // Its worker may have let go of it (to wait for input) before it could hear of this.
        self.end_if_waiting(cx, turn_id).await
    }

    /// Has whoever works on a turn stop, here or elsewhere. That it is to be cancelled stands in its row.
    pub(crate) async fn stop_work(&self, cx: &Cx, turn_id: &str) {
        if self.running.has(&cx.tenant, turn_id) {
            self.running.stop(&cx.tenant, turn_id, Why::Asked);
        } else {
            self.tell(Word::Stop { tenant: cx.tenant.clone(), turn: turn_id.to_owned() }).await;
        }
    }

    /// Ends a waiting turn as cancelled. The caller commits, then notes it.
    pub(crate) async fn give_up(&self, tx: &mut Tx, turn: Turn, error: TurnError) -> Result<Closed> {
        let claimed = claims::take_up(tx, &turn.id, None, 0).await?;
        let stored = claimed.ok_or_else(turns::busy)?.stored;
        close_rows(tx, self, stored, StepState::Failed, TurnState::Cancelled, error).await
    }

    /// Notes that the turn is to be cancelled; one that waits, or that nobody works on, ends at once.
    async fn ask_to_stop(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let mut turn = access::load_turn(&mut tx, cx, turn_id).await?.turn;
        let unheld = match turn.state {
            TurnState::Running => {
                turns::request_cancel(&mut tx, turn_id).await?;
                claims::take_unheld(&mut tx, turn_id).await?
            }
            TurnState::Queued => match claims::take_queued(&mut tx, turn_id).await? {
                // It began in between.
                None => {
                    turns::request_cancel(&mut tx, turn_id).await?;
                    turn = turns::load(&mut tx, turn_id).await?.turn;
                    claims::take_unheld(&mut tx, turn_id).await?
                }
                queued => queued,
            },
            TurnState::AwaitingInput => {
                let closed = self.give_up(&mut tx, turn, cancelled()).await?;
                tx.commit().await?;
                return Ok(self.note_ended(cx, closed).await);
            }
            _ => return Ok(turn),
        };
        let closed = match unheld {
            None => None,
            Some(stored) => {
                Some(close_rows(&mut tx, self, stored, StepState::Unknown, TurnState::Cancelled, cancelled()).await?)
            }
        };
        tx.commit().await?;
        match closed {
            Some(closed) => Ok(self.note_ended(cx, closed).await),
            None => {
                self.ended(cx, &turn).await;
                Ok(turn)
            }
        }
    }

    /// Ends a turn that waits although it was to be cancelled. How it stands now.
    pub(crate) async fn end_if_waiting(&self, cx: &Cx, turn_id: &str) -> Result<Turn> {
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let stored = turns::load(&mut tx, turn_id).await?;
        if !(stored.cancel_requested && stored.turn.state == TurnState::AwaitingInput) {
            return Ok(stored.turn);
        }
        let error = why_stopped(&mut tx, turn_id).await?;
        let closed = self.give_up(&mut tx, stored.turn, error).await?;
        tx.commit().await?;
        Ok(self.note_ended(cx, closed).await)
    }

    /// After the commit: notes a turn that was ended in its rows, and wakes those who wait for that.
    pub(crate) async fn note_ended(&self, cx: &Cx, closed: Closed) -> Turn {
        let turn = self.note_closed(closed);
        self.ended(cx, &turn).await;
        turn
    }

    /// Wakes those who wait for the end of a turn that was ended in its rows: its followers, and its session's next.
    pub(crate) async fn ended(&self, cx: &Cx, turn: &Turn) {
        self.hub.wake(&cx.tenant, &turn.id);
        if turn.session_id.is_some() && turn.state.is_terminal() {
            self.tell(Word::Claimable).await;
        }
    }

    /// Lets turns begin that stand behind none.
    pub(crate) async fn unstick(&self) -> Result<()> {
        for (tenant, session) in self.deps.store.system().stuck_sessions().await? {
            let cx = Cx::internal(&tenant, "keeper");
            let mut tx = self.deps.store.tenant(&cx).write().await?;
            turns::begin_next(&mut tx, &session).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// Why a turn was asked to stop: by somebody, by a newer message, or since its agent is gone.
pub(crate) async fn why_stopped(tx: &mut Tx, turn_id: &str) -> Result<TurnError> {
    let inbox = transcript::inbox(tx, turn_id).await?;
    let told = |why: fn(&str) -> bool| inbox.iter().any(|(key, _)| why(key));
    Ok(if told(|key| key == leaving::GONE) {
        leaving::gone()
    } else if told(|key| key.starts_with(INTERRUPTION)) {
        interrupted()
    } else {
        cancelled()
    })
}

async fn asks_people(tx: &mut Tx, waiting: &StoredTurn) -> Result<bool> {
    let id = &waiting.turn.id;
    let open = Open::of(&transcript::steps(tx, id).await?, &transcript::inbox(tx, id).await?);
    Ok(!open.approvals.is_empty())
}

fn cancelled() -> TurnError {
    failed("cancelled", "the turn was cancelled")
}

fn interrupted() -> TurnError {
    failed(INTERRUPTED, "a newer message of the conversation cut the turn off")
}
