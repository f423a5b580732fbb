//! Waking the workers: inside one process on SQLite, over `NOTIFY` on Postgres.
//!
//! Invariant: a word is a hint (see [`frontdesk_api::dispatch`]). Whatever may have been missed shows as one
//! `Claimable`, so that whoever listens looks.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use frontdesk_api::{Dispatch, Result, dispatch::Word};
use futures::stream::{self, BoxStream};
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{Db, Doing as _, Store};

/// The channel on Postgres; notifications stay within a database.
const CHANNEL: &str = "frontdesk_turns";

/// Words that one listener may be behind before it misses some.
const BEHIND: usize = 256;

/// The pause before a listener connects again, in seconds.
const PAUSE: Duration = Duration::from_secs(1);

/// One process: whoever works sits beside whoever tells.
pub(crate) struct Local(broadcast::Sender<Word>);

impl Default for Local {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

#[async_trait]
impl Dispatch for Local {
    async fn tell(&self, word: &Word) -> Result<()> {
        // Nobody listens: nothing is missed.
        let _ = self.0.send(word.clone());
        Ok(())
    }

    fn listen(&self) -> BoxStream<'static, Word> {
        Box::pin(stream::unfold(self.0.subscribe(), async |mut words| match words.recv().await {
            Ok(word) => Some((word, words)),
            Err(RecvError::Lagged(_)) => Some((Word::Claimable, words)),
            Err(RecvError::Closed) => None,
        }))
    }
}

/// Many processes on one database.
struct Notified(PgPool);

#[async_trait]
impl Dispatch for Notified {
    async fn tell(&self, word: &Word) -> Result<()> {
        sqlx::query("SELECT pg_notify($1, $2)")
            .bind(CHANNEL)
            .bind(written(word))
            .execute(&self.0)
            .await
            .map(|_| ())
            .doing("tell the workers")
    }

    fn listen(&self) -> BoxStream<'static, Word> {
        // A connection of its own, not one that queries wait for; it is idle for hours.
        let own = PgPoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let pool = own.connect_lazy_with((*self.0.connect_options()).clone());
        let ear = Ear { pool, listener: None };
        Box::pin(stream::unfold(ear, async |mut ear| Some((ear.hear().await, ear))))
    }
}

struct Ear {
    pool: PgPool,
    listener: Option<PgListener>,
}

impl Ear {
    async fn hear(&mut self) -> Word {
        loop {
            let Some(listener) = &mut self.listener else {
                match self.connect().await {
                    // What was said before was missed.
                    Ok(()) => return Word::Claimable,
                    Err(error) => {
                        tracing::debug!(%error, "cannot listen for turns; they are looked for now and then");
                        tokio::time::sleep(PAUSE).await;
                        continue;
                    }
                }
            };
            match listener.try_recv().await {
                Ok(Some(said)) => return read(said.payload()),
                // The connection broke.
                Ok(None) | Err(_) => self.listener = None,
            }
        }
    }

    async fn connect(&mut self) -> sqlx::Result<()> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        // Its pool is this stream's alone: closing it must not wait for the listener.
        listener.ignore_pool_close_event(true);
        listener.listen(CHANNEL).await?;
        self.listener = Some(listener);
        Ok(())
    }
}

/// A word as a payload; ids have no zero byte and no unit separator.
fn written(word: &Word) -> String {
    match word {
        Word::Claimable => "claimable".into(),
        Word::Stop { tenant, turn } => format!("stop\u{1f}{tenant}\u{1f}{turn}"),
    }
}

/// What another version may say is not known here: look.
fn read(payload: &str) -> Word {
    let mut parts = payload.split('\u{1f}');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("stop"), Some(tenant), Some(turn)) => Word::Stop { tenant: tenant.into(), turn: turn.into() },
        _ => Word::Claimable,
    }
}

impl Store {
    /// The way to wake those who work on this database's turns.
    #[must_use]
    pub fn dispatch(&self) -> Arc<dyn Dispatch> {
        match self.db() {
            Db::Postgres(server) => Arc::new(Notified(server.pool().clone())),
            Db::Sqlite(_) => Arc::clone(&self.0.local) as Arc<dyn Dispatch>,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;

    use super::*;
    use crate::testing::each_database;

    #[tokio::test]
    async fn what_one_tells_another_hears() {
        each_database(|store| async move {
            let (teller, listener) = (store.dispatch(), store.dispatch());
            let mut words = listener.listen();
            if store.dialect() == crate::Dialect::Postgres {
                // It listens from here on.
                assert_eq!(words.next().await, Some(Word::Claimable));
            }
            let said = [Word::Stop { tenant: "t".into(), turn: "turn_1".into() }, Word::Claimable];
            for word in &said {
                teller.tell(word).await.expect("said");
            }
            assert_eq!([words.next().await, words.next().await], said.map(Some));
        })
        .await;
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_told_to_look() {
        let local = Local::default();
        let mut words = local.listen();
        for n in 0..=BEHIND {
            local.tell(&Word::Stop { tenant: "t".into(), turn: n.to_string() }).await.expect("said");
        }
        assert_eq!(words.next().await, Some(Word::Claimable));
    }

    #[test]
    fn words_read_as_they_were_written_and_others_mean_look() {
        let stop = Word::Stop { tenant: "tenant_a".into(), turn: "turn_1".into() };
        assert_eq!((read(&written(&stop)), read(&written(&Word::Claimable))), (stop, Word::Claimable));
        assert_eq!(read("stop\u{1f}tenant_a"), Word::Claimable);
    }
}
