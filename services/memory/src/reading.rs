//! Holding files while they are read, and reading on where another stopped.
//!
//! A file in a store is held by its reader's lease. This process renews the leases of its own readings, and
//! looks every few seconds for files whose lease has passed: their reader died, or was cut off by a shutdown.
//! Invariants: reading a file twice does no harm (its content never changes, its passages are replaced as
//! one); a file that cannot be read to its end stops being tried and says so; one such file keeps no other.

use std::time::Duration;

use frontdesk_api::{Cx, Error, Result, cx::CancellationToken};
use frontdesk_store::{
    Dialect,
    readings::{Ingested, Reader, Unread},
};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, interval_at},
};

use crate::Knowledge;

/// How long a file is held without renewing.
const LEASE: Duration = Duration::from_secs(30);

/// How often leases are renewed and files without a reader looked for.
const RENEW: Duration = Duration::from_secs(10);

/// How often reading one file is begun before it counts as unreadable. A file may be what ends the process
/// that reads it (memory); without a limit it would end every one that starts.
const MOST_READINGS: i64 = 3;

/// Files of lost readers read at once; fewer than there are places, so that clients find one.
const RESUMED_AT_ONCE: usize = 2;

/// Files asked for at a time.
const BATCH: i64 = 100;

pub(crate) fn reader(id: &str) -> Reader<'_> {
    Reader { id, micros: i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX) }
}

impl Knowledge {
    /// Reads on, in the background, where earlier processes stopped, and from then on wherever another loses
    /// a file. Call once, before the first file is put in; ends with [`Knowledge::shutdown`]. On SQLite no
    /// other process can be reading, so every file found `in_progress` is taken at once; on Postgres those
    /// whose lease has passed. How many files are left over on SQLite; 0 on Postgres.
    ///
    /// # Errors
    /// As the database's.
    pub async fn recover(&self) -> Result<u64> {
        let alone = self.store.dialect() == Dialect::Sqlite;
        let left = if alone { self.store.system().end_readings().await? } else { 0 };
        let knowledge = self.clone();
        tokio::spawn(async move { knowledge.keep().await });
        self.shelf.recover(self.work.closing.clone()).await?;
        Ok(left)
    }

    async fn keep(&self) {
        let mut tick = interval(RENEW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.work.closing.run_until_cancelled(tick.tick()).await.is_some() {
            match self.resume().await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "files that another reader left unread were read"),
                Err(error) => {
                    tracing::warn!(error = %error, cause = ?error.source, "files without a reader could not be looked for");
                }
            }
            match self.expire().await {
                Ok(0) => {}
                Ok(files) => tracing::info!(files, "files were deleted, their time was over"),
                Err(error) => {
                    tracing::warn!(error = %error, cause = ?error.source, "files whose time is over could not be looked for");
                }
            }
            match self.expire_containers().await {
                Ok(0) => {}
                Ok(containers) => tracing::info!(containers, "containers were deleted, their time was over"),
                Err(error) => {
                    tracing::warn!(error = %error, cause = ?error.source, "containers whose time is over could not be looked for");
                }
            }
        }
    }

    /// Reads the files of all tenants that nobody holds; how many were read to their end, well or not.
    ///
    /// # Errors
    /// As the database's when asked for them. What goes wrong with one file is noted with it or logged.
    pub async fn resume(&self) -> Result<usize> {
        let mut read = 0;
        let mut after: Option<Unread> = None;
        let mut tasks = JoinSet::new();
        while !self.work.closing.is_cancelled() {
            let batch = self.store.system().unread_files(after.as_ref(), BATCH).await?;
            let Some(last) = batch.last() else { break };
            after = Some(last.clone());
            for file in batch {
                if tasks.len() >= RESUMED_AT_ONCE {
                    read += count(tasks.join_next().await);
                }
                let knowledge = self.clone();
                tasks.spawn(async move { knowledge.try_resume(file).await });
            }
        }
        while !tasks.is_empty() {
            read += count(tasks.join_next().await);
        }
        Ok(read)
    }

    /// True when the file was read to its end, well or not.
    async fn try_resume(&self, file: Unread) -> bool {
        let knowledge = self.clone();
        let one = file.clone();
        let read = self.work.detached(async move { knowledge.resume_one(&one).await }).await;
        read.unwrap_or_else(|error| {
            let Unread { tenant, store_id, file_id } = &file;
            tracing::warn!(tenant, store_id, file_id, error = %error, cause = ?error.source, "a file could not be read on");
            false
        })
    }

    async fn resume_one(&self, Unread { tenant, store_id, file_id }: &Unread) -> Result<bool> {
        let cx = Cx::internal(tenant, "reading");
        let id = self.ids.next("reader");
        let Some(begun) = self.store.tenant(&cx).take_unread(store_id, file_id, reader(&id)).await? else {
            return Ok(false);
        };
        if begun > MOST_READINGS {
            self.give_up(&cx, store_id, file_id, &id).await?;
            return Ok(true);
        }
        tracing::info!(tenant, store_id, file_id, begun, "reading a file on that lost its reader");
        // Nobody waits for it, so a shutdown does not either.
        self.hold(&cx, store_id, std::slice::from_ref(file_id), &id, &self.work.closing).await
    }

    async fn give_up(&self, cx: &Cx, store_id: &str, file_id: &str, reader_id: &str) -> Result<()> {
        let filename = self.load_file(cx, file_id).await?.filename;
        let message = format!(
            "reading '{filename}' was begun {MOST_READINGS} times and never came to its end: \
             put it in again, or split it into smaller files"
        );
        tracing::error!(store_id, file_id, "{message}");
        self.index.remove(cx, store_id, file_id).await?;
        let outcome = Ingested::Failed { code: "server_error".into(), message };
        self.store.tenant(cx).note_ingested(store_id, file_id, reader_id, &outcome).await?;
        Ok(())
    }

    /// Reads files that `reader_id` has begun, one after the other, and holds them meanwhile. One that goes
    /// wrong does not keep the others. False when `stop` came first: what is left was given back.
    ///
    /// # Errors
    /// The first error that will pass (a database or a place of contents that cannot be reached); the files it concerns
    /// stay `in_progress` and are read on, by whoever looks next.
    pub(crate) async fn hold(
        &self,
        cx: &Cx,
        store_id: &str,
        files: &[String],
        reader_id: &str,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let all = async {
            let mut first: Option<Error> = None;
            for file_id in files {
                let _place = self.work.place().await;
                if let Err(error) = self.ingest(cx, store_id, file_id, reader_id).await {
                    first = first.or(Some(error));
                }
            }
            first.map_or(Ok(true), Err)
        };
        // All three side by side: on SQLite a renewal waits for the write that `all` may be in.
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            ended = Box::pin(all) => Some(ended),
            () = self.renew(cx, store_id, reader_id) => None,
        };
        match ended {
            Some(Ok(all)) => Ok(all),
            Some(Err(error)) => {
                // What will pass is no attempt: the file is given back, or held until its lease passes.
                if let Err(also) = self.store.tenant(cx).leave_unread(store_id, reader_id).await {
                    tracing::warn!(store_id, error = %also, cause = ?also.source, "files that were not read could not be given back");
                }
                Err(error)
            }
            None => {
                self.store.tenant(cx).leave_unread(store_id, reader_id).await?;
                Ok(false)
            }
        }
    }

    /// Never ends.
    async fn renew(&self, cx: &Cx, store_id: &str, reader_id: &str) {
        let mut tick = interval_at(Instant::now() + RENEW, RENEW);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            if let Err(error) = self.store.tenant(cx).keep_reading(store_id, reader(reader_id)).await {
                tracing::warn!(store_id, error = %error, cause = ?error.source, "a lease on files could not be renewed");
            }
        }
    }
}

/// One more file read to its end, or none.
fn count(task: Option<Result<bool, tokio::task::JoinError>>) -> usize {
    usize::from(matches!(task, Some(Ok(true))))
}
