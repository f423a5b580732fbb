//! The one task that writes what is kept.
//!
//! A commit that fails is repeated until it holds: ids make that harmless. One row that the database refuses is logged,
//! without its words, and holds up no other.

use std::time::Duration;

use frontdesk_api::{Error, Kind, Result};
use frontdesk_store::{Store, completions::StoredCompletion};
use frontdesk_wire::{
    Writes as _,
    members::members,
    openai::encode::{Chunks, Head},
};
use serde::Deserialize;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};

use super::{
    Answer, Asked, Ended,
    room::{Room, Share},
};

/// Rows in one commit.
const BATCH: usize = 64;

/// Between attempts to write, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// How long answers under way, and a database in trouble, are waited for at the end.
const GRACE: Duration = Duration::from_secs(5);

/// What others want of the writer.
pub(super) enum Ask {
    Flush(oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

/// See the module.
pub(super) struct Writer {
    store: Store,
    room: Room,
    ended: mpsc::UnboundedReceiver<Ended>,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// When writing is given up; None: never.
    give_up: Option<Instant>,
}

impl Writer {
    pub(super) fn new(
        store: Store,
        room: Room,
        ended: mpsc::UnboundedReceiver<Ended>,
        asks: mpsc::UnboundedReceiver<Ask>,
    ) -> Self {
        Self { store, room, ended, asks, give_up: None }
    }

    /// Works until it is closed, or nobody holds it any more.
    pub(super) async fn run(mut self) {
        loop {
            tokio::select! {
                biased;
                ended = self.ended.recv() => match ended {
                    Some(ended) => self.write_with(ended).await,
                    None => return,
                },
                // Whatever had ended before this was asked is written by now.
                ask = self.asks.recv() => match ask {
                    Some(Ask::Flush(tell)) => {
                        let _ = tell.send(());
                    }
                    Some(Ask::Close(tell)) => {
                        self.finish().await;
                        let _ = tell.send(());
                        return;
                    }
                    None => return,
                },
            }
        }
    }

    /// Writes this one and those that wait beside it.
    async fn write_with(&mut self, first: Ended) {
        // Their room is given back when this returns.
        let (row, share) = row(first);
        let (mut rows, mut shares) = (Vec::from_iter(row), vec![share]);
        while rows.len() < BATCH
            && let Ok(next) = self.ended.try_recv()
        {
            let (row, share) = self::row(next);
            rows.extend(row);
            shares.push(share);
        }
        if self.insist(&rows).await.is_ok() {
            return;
        }
        for one in rows.chunks(1) {
            if let Err(error) = self.insist(one).await {
                let ids: Vec<&str> = one.iter().map(|row| row.id.as_str()).collect();
                tracing::error!(?ids, %error, cause = ?error.source, "a chat completion could not be stored");
            }
        }
    }

    /// Tries until the database takes it.
    ///
    /// # Errors
    /// Its refusal; any other error once it is time to give up.
    async fn insist(&self, rows: &[StoredCompletion]) -> Result<()> {
        let mut wait = AGAIN.0;
        while !rows.is_empty() {
            let Err(error) = self.store.system().keep_completions(rows).await else { return Ok(()) };
            let refused = matches!(error.kind, Kind::Invalid | Kind::Conflict | Kind::TooLarge);
            if refused || self.give_up.is_some_and(|end| Instant::now() >= end) {
                return Err(error);
            }
            tracing::warn!(rows = rows.len(), %error, "chat completions cannot be stored for now; they are kept and tried again");
            sleep(wait).await;
            wait = (wait * 2).min(AGAIN.1);
        }
        Ok(())
    }

    async fn finish(&mut self) {
        let end = Instant::now() + GRACE;
        self.give_up = Some(end + GRACE);
        // None begins any more; those that have begun can still end.
        self.room.close();
        let room = self.room.clone();
        while let Ok(Some(ended)) = timeout_at(end, next(&room, &mut self.ended)).await {
            self.write_with(ended).await;
        }
    }
}

/// What ends next; None: nothing is under way any more.
async fn next(room: &Room, ended: &mut mpsc::UnboundedReceiver<Ended>) -> Option<Ended> {
    tokio::select! {
        biased;
        next = ended.recv() => next,
        () = room.quiet() => ended.try_recv().ok(),
    }
}

/// The row of an answer, and its room; None, and a line in the log: it holds none.
fn row(ended: Ended) -> (Option<StoredCompletion>, Share) {
    let Ended { share, asked, answer } = ended;
    let id = asked.id.clone();
    let row = written(asked, answer).inspect_err(|error| {
        tracing::error!(id, %error, cause = ?error.source, "a chat completion could not be stored");
    });
    (row.ok(), share)
}

fn written(asked: Asked, answer: Answer) -> Result<StoredCompletion> {
    #[derive(Deserialize)]
    struct Named {
        #[serde(default)]
        model: String,
    }
    let created = asked.created_at.div_euclid(1_000_000);
    let answer = match answer {
        Answer::Whole(bytes) => bytes,
        Answer::Events(model, events) => {
            Chunks::new(Head { id: asked.id.clone(), model, created }, false).whole(events)
        }
    };
    let not_text = |e| Error::internal("a chat completion is not text", e);
    let answer = String::from_utf8(answer.to_vec()).map_err(not_text)?;
    let Named { model } =
        serde_json::from_str(&answer).map_err(|e| Error::internal("a chat completion is not an object", e))?;
    let body = &asked.body;
    let mut messages = None;
    members(body, |name, at| {
        if name == b"messages" {
            messages = Some(at);
        }
    });
    let messages = messages.map_or(&b"[]"[..], |at| &body[at]);
    Ok(StoredCompletion {
        tenant: asked.tenant,
        id: asked.id,
        created_at: asked.created_at,
        model: if model.is_empty() { asked.model.clone() } else { model },
        asked: asked.model,
        messages: String::from_utf8(messages.to_vec()).map_err(not_text)?,
        answer,
        metadata: serde_json::to_string(&asked.metadata).map_err(|e| Error::internal("writing metadata", e))?,
    })
}
