//! Leases kept and lost turns ended: at start, and every few seconds after.

use std::{sync::Arc, time::Duration};

use frontdesk_api::{
    Cx, Result,
    turn::{StepState, TurnState},
};
use frontdesk_store::{Dialect, turns, turns::Hold as Held};
use tokio::time::MissedTickBehavior;

use crate::{Agents, Room, close::close_rows, halt::failed, running::Why};

/// How long turns get to write their end once they were told to stop.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Agents {
    /// Ends the turns whose worker is lost, and from then on keeps the leases of this process's turns and
    /// ends those that others lose. Call once, before the first turn. On SQLite no other process can hold a
    /// turn, so every turn found running is lost; on Postgres those whose lease has passed.
    ///
    /// # Errors
    /// What reading and writing rows can bring.
    pub async fn recover(&self) -> Result<usize> {
        let alone = self.0.deps.store.dialect() == Dialect::Sqlite;
        let ended = self.0.end_lost(alone).await?;
        let room = Arc::clone(&self.0);
        tokio::spawn(async move { room.keep().await });
        Ok(ended)
    }

    /// Lets no new turn begin, waits up to `grace` for those that run, then stops them; they end as failed
    /// with the code `worker_lost`.
    pub async fn shutdown(&self, grace: Duration) {
        let room = &self.0;
        room.stopping.cancel();
        room.tasks.close();
        if tokio::time::timeout(grace, room.tasks.wait()).await.is_ok() {
            return;
        }
        tracing::warn!(turns = room.tasks.len(), "turns are still running; they are stopped");
        room.running.stop_all(Why::Shutdown);
        if tokio::time::timeout(LAST_WORDS, room.tasks.wait()).await.is_err() {
            tracing::error!(turns = room.tasks.len(), "turns did not end; they will count as lost");
        }
    }
}

impl Room {
    async fn keep(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.deps.pace.renew);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // Turns that are still ending keep their leases.
                () = self.stopping.cancelled(), if self.tasks.is_empty() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.renew().await {
                tracing::warn!(error = %error, cause = ?error.source, "the leases of running turns could not be renewed");
            }
            if let Err(error) = self.deps.store.system().forget_expired_keys().await {
                tracing::warn!(error = %error, cause = ?error.source, "expired idempotency keys could not be deleted");
            }
            if let Err(error) = self.deps.store.system().purge_responses().await {
                tracing::warn!(error = %error, cause = ?error.source, "responses that are not to be stored could not be purged");
            }
            if let Err(error) = self.end_lost(false).await {
                tracing::warn!(error = %error, cause = ?error.source, "turns without a worker could not be looked for");
            }
        }
    }

    /// Renews, and compares: a turn we hold but do not work on (its task broke) is ended, one that is to be
    /// cancelled is stopped. A turn that was taken from us shows at its next write.
    async fn renew(&self) -> Result<()> {
        for turn in self.deps.store.system().renew_turns(self.lease()).await? {
            if !self.running.has(&turn.tenant, &turn.id) {
                self.try_end(&turn.tenant, &turn.id, Held::AtEpoch(turn.epoch)).await;
            } else if turn.cancel_requested {
                self.running.stop(&turn.tenant, &turn.id, Why::Asked);
            }
        }
        Ok(())
    }

    async fn end_lost(&self, alone: bool) -> Result<usize> {
        let mut ended = 0;
        for (tenant, turn) in self.deps.store.system().lost_turns(alone).await? {
            let held = if alone { Held::ByNobody } else { Held::WhileLeased };
            if !self.running.has(&tenant, &turn) && self.try_end(&tenant, &turn, held).await {
                ended += 1;
            }
        }
        Ok(ended)
    }

    /// As [`Room::end_one`]; one turn that cannot be ended does not keep the others.
    async fn try_end(&self, tenant: &str, turn: &str, held: Held) -> bool {
        self.end_one(tenant, turn, held).await.unwrap_or_else(|error| {
            tracing::error!(tenant, turn, error = %error, cause = ?error.source, "a lost turn could not be ended");
            false
        })
    }

    /// Ends one lost turn, unless someone holds it after all.
    async fn end_one(&self, tenant: &str, turn: &str, held: Held) -> Result<bool> {
        let cx = Cx::internal(tenant, "keeper");
        let mut tx = self.deps.store.tenant(&cx).write().await?;
        let Some(stored) = turns::take_lost(&mut tx, turn, held).await? else { return Ok(false) };
        let error =
            failed("worker_lost", "the worker of this turn was lost before the turn ended; send the message again");
        close_rows(&mut tx, self, stored, StepState::Unknown, TurnState::Failed, error).await?;
        tx.commit().await?;
        self.tally.ended(TurnState::Failed);
        self.hub.wake(tenant, turn);
        tracing::warn!(tenant, turn, "a turn lost its worker and was ended");
        Ok(true)
    }
}
