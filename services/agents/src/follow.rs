//! The stream of a turn's events: rows first, then live.

use std::{collections::VecDeque, sync::Arc};

use frontdesk_api::{
    Cx, Kind, Result,
    turn::{Event, EventBody, TurnState},
};
use futures::stream::{self, BoxStream};

use crate::{Agents, Room, access, hub::Follower};

/// Events in order, without gaps. Dropping it leaves the turn running.
pub type Events = BoxStream<'static, Result<Event>>;

/// How many events are read at once.
pub(crate) const BATCH: i64 = 256;

impl Agents {
    /// The turn's events after `after` (None: from the first). Ends behind the last one; of a turn that
    /// waits for input it ends there, and goes on in the stream of the resumed turn. Where this process stops first,
    /// it ends before the turn does, and is picked up at another.
    ///
    /// # Errors
    /// `NotFound`. Inside the stream: what reading rows can bring.
    pub async fn events(&self, cx: &Cx, turn_id: &str, after: Option<i64>) -> Result<Events> {
        access::load_turn(&mut self.0.deps.store.tenant(cx).read().await?, cx, turn_id).await?;
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
        };
        Ok(Box::pin(stream::unfold(follow, |mut follow| async move {
            let next = follow.next().await?;
            follow.ended |= next.is_err();
            Some((next, follow))
        })))
    }
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
            match self.look().await {
                Ok(true) => {}
                Ok(false) => return None,
                Err(e) => return Some(Err(e)),
            }
        }
    }

    /// Waits for events; false when none will come.
    async fn look(&mut self) -> Result<bool> {
        let tenant = self.room.deps.store.tenant(&self.cx);
        self.read.extend(tenant.events_after(&self.turn_id, self.after, BATCH).await?);
        if !self.read.is_empty() {
            return Ok(true);
        }
        // Nothing new: of a turn that stands still that is all there is. Its state is read after its
        // events, so a close in between shows as a state with events still to read.
        let state = match tenant.load_turn(&self.turn_id).await {
            Ok(stored) => stored.turn.state,
            Err(e) if e.kind == Kind::NotFound => return Ok(false),
            Err(e) => return Err(e),
        };
        let still = state.is_terminal() || (self.suspended && state == TurnState::AwaitingInput);
        if still {
            self.read.extend(tenant.events_after(&self.turn_id, self.after, BATCH).await?);
            return Ok(!self.read.is_empty());
        }
        tokio::select! {
            () = self.follower.woken() => Ok(true),
            () = tokio::time::sleep(self.room.deps.pace.look) => Ok(true),
            // Another process goes on with it: the stream is picked up there.
            () = self.room.closed.cancelled() => Ok(false),
        }
    }
}
