//! The stream of a turn's events: rows first, then live.
//!
//! What this process commits is taken as it is told ([`crate::hub`]), by its numbers; all else is read.

use std::{collections::VecDeque, sync::Arc};

use frontdesk_api::{
    Cx, Kind, Result,
    turn::{Event, EventBody, Turn, TurnState},
};
use frontdesk_store::{questions, turns::OnInput};
use futures::stream::{self, BoxStream};

use crate::{
    Agents, Room, access,
    hub::{Follower, Heard},
};

/// Events in order, without gaps. Dropping it leaves the turn running.
pub type Events = BoxStream<'static, Result<Event>>;

/// How many events are read at once.
pub(crate) const BATCH: i64 = 256;

impl Agents {
    /// The turn's events after `after` (None: from the first). Ends behind the last one; of a turn that
    /// waits for input it ends there, and goes on in the stream of the resumed turn (a response, which nobody resumes, is
    /// followed on). Where this process stops first,
    /// it ends before the turn does, and is picked up at another.
    ///
    /// # Errors
    /// `NotFound`. Inside the stream: what reading rows can bring.
    pub async fn events(&self, cx: &Cx, turn_id: &str, after: Option<i64>) -> Result<Events> {
        access::load_turn(&mut self.0.deps.store.tenant(cx).read().await?, cx, turn_id).await?;
        Ok(self.follow(cx, turn_id, after))
    }

    /// As [`Agents::events`], from the first, of a turn that the caller was just given and so may see.
    #[must_use]
    pub fn events_of(&self, cx: &Cx, turn: &Turn) -> Events {
        self.follow(cx, &turn.id, None)
    }

    fn follow(&self, cx: &Cx, turn_id: &str, after: Option<i64>) -> Events {
        let follow = Follow {
            room: Arc::clone(&self.0),
            // Following begins before the first look, so nothing falls in between.
            follower: self.0.hub.follow(&cx.tenant, turn_id),
            cx: cx.clone(),
            turn_id: turn_id.to_owned(),
            after,
            read: VecDeque::new(),
            ended: false,
            suspended: false,
            caught_up: false,
        };
        Box::pin(stream::unfold(follow, |mut follow| async move {
            let next = follow.next().await?;
            follow.ended |= next.is_err();
            Some((next, follow))
        }))
    }
}

/// What was heard is to the stream.
enum Taken {
    /// What comes next.
    Next,
    /// What was read before.
    Old,
    /// Something that the rows have to tell.
    Apart,
}

struct Follow {
    room: Arc<Room>,
    follower: Follower,
    cx: Cx,
    turn_id: String,
    after: Option<i64>,
    read: VecDeque<Event>,
    ended: bool,
    /// The newest event says that the turn waits for input.
    suspended: bool,
    /// All that the rows held has been read; what comes is told.
    caught_up: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Result<Event>> {
        loop {
            if let Some(event) = self.read.pop_front() {
                self.after = Some(event.seq);
                self.ended = event.body.is_last();
                self.suspended = matches!(event.body, EventBody::AwaitingInput { .. });
                return Some(Ok(event));
            }
            if self.ended {
                return None;
            }
            match self.more().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }

    /// Waits for events; false when none will come.
    async fn more(&mut self) -> Result<bool> {
        while self.caught_up && !self.suspended {
            tokio::select! {
                heard = self.follower.heard() => match self.take(&heard) {
                    Taken::Next => return Ok(true),
                    Taken::Old => {}
                    Taken::Apart => break,
                },
                () = tokio::time::sleep(self.room.deps.pace.look) => break,
                // Another process goes on with it: the stream is picked up there.
                () = self.room.closed.cancelled() => return Ok(false),
            }
        }
        self.look().await
    }

    /// Takes what comes next of what was heard.
    fn take(&mut self, heard: &Heard) -> Taken {
        let Heard::Events(first, bodies) = heard else { return Taken::Apart };
        let next = self.after.map_or(0, |after| after + 1);
        if *first > next {
            return Taken::Apart;
        }
        let told = (*first..).zip(bodies.iter()).filter(|(seq, _)| *seq >= next);
        self.read.extend(told.map(|(seq, body)| Event { seq, body: body.clone() }));
        if !self.read.is_empty() {
            return Taken::Next;
        }
        // Of a turn that ends before the place its follower asked for, its state says so.
        if bodies.last().is_some_and(EventBody::is_last) { Taken::Apart } else { Taken::Old }
    }

    /// Reads what the rows hold; false when no more will come.
    async fn look(&mut self) -> Result<bool> {
        let tenant = self.room.deps.store.tenant(&self.cx);
        self.read.extend(tenant.events_after(&self.turn_id, self.after, BATCH).await?);
        if !self.read.is_empty() {
            self.caught_up = i64::try_from(self.read.len()).is_ok_and(|read| read < BATCH);
            return Ok(true);
        }
        // Nothing new: of a turn that stands still that is all there is. Its state is read after its
        // events, so a close in between shows as a state with events still to read.
        let (state, suspends) = match tenant.load_turn(&self.turn_id).await {
            Ok(stored) => (stored.turn.state, stored.on_input == OnInput::Suspend),
            Err(e) if e.kind == Kind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let waits = match state {
            TurnState::AwaitingInput => self.suspended && suspends,
            TurnState::Running if self.suspended && suspends => {
                !questions::kept_open(&mut tenant.read().await?, &self.turn_id).await?.is_empty()
            }
            _ => false,
        };
        if state.is_terminal() || waits {
            self.read.extend(tenant.events_after(&self.turn_id, self.after, BATCH).await?);
            return Ok(!self.read.is_empty());
        }
        (self.caught_up, self.suspended) = (true, false);
        Ok(true)
    }
}
