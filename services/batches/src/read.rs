//! What clients see of batches: how they stand, and the results of those that have no files.

use frontdesk_api::{Cx, Error, Page, PageRequest, Result};
use frontdesk_store::jobs::{UNREADABLE, missing};

use crate::{Batch, Batches, EndedLine, Endpoint, JobState, batch::MESSAGES};

/// Results fetched at a time.
const PAGE: i64 = 100;

/// The request id of a line: the same whenever it is asked.
#[must_use]
pub fn request_id(batch_id: &str, pos: i64) -> String {
    format!("{batch_id}-{pos}")
}

impl Batches {
    /// # Errors
    /// `NotFound`, also for a batch of the other kind: of files, or of messages; `Conflict` for one whose row this
    /// program cannot read.
    pub async fn find(&self, cx: &Cx, of: Endpoint, id: &str) -> Result<Batch> {
        self.load(cx, of.kind(), id).await
    }

    pub(crate) async fn load(&self, cx: &Cx, kind: &str, id: &str) -> Result<Batch> {
        self.0
            .store
            .tenant(cx)
            .find_job(kind, id)
            .await
            .map_err(|error| unreadable(id, error))?
            .ok_or_else(|| missing("batch", id).with_code("batch_not_found"))
    }

    /// Newest first unless asked otherwise; of files, or of messages.
    ///
    /// # Errors
    /// As the database's.
    pub async fn list(&self, cx: &Cx, of: Endpoint, page: &PageRequest) -> Result<Page<Batch>> {
        self.0.store.tenant(cx).list_jobs(of.kind(), page).await
    }

    /// That a batch of messages has its results, and how many; they are read with [`Batches::results`].
    ///
    /// # Errors
    /// `NotFound`, also when they were deleted for their time was over; `Conflict` while it is worked on.
    pub async fn ended_messages(&self, cx: &Cx, id: &str) -> Result<i64> {
        let batch = self.load(cx, MESSAGES, id).await?;
        if batch.state == JobState::Open {
            let message =
                format!("the batch '{id}' has no results yet: ask again when its processing_status is 'ended'");
            return Err(Error::conflict(message).with_code("batch_in_progress"));
        }
        if batch.cleared_at.is_some() {
            let message = format!("the results of '{id}' are gone: they were kept for their time and then deleted");
            return Err(Error::not_found(message).with_code("results_expired"));
        }
        Ok(i64::try_from(batch.progress.total).unwrap_or(i64::MAX))
    }

    /// The next results behind the place `after` (-1: from the first), in the order of the input; none when that was
    /// the last.
    ///
    /// # Errors
    /// As the database's.
    pub async fn results(&self, cx: &Cx, id: &str, after: i64) -> Result<Vec<EndedLine>> {
        self.0.store.tenant(cx).ended_lines(id, after, PAGE).await
    }
}

/// Says of a row that another version has written that it does not fail the server, and what to do.
fn unreadable(id: &str, error: Error) -> Error {
    if error.code.as_deref() != Some(UNREADABLE) {
        return error;
    }
    let message = format!(
        "the batch '{id}' cannot be read by this version of the server and is not worked on: {}; send its requests again",
        error.message
    );
    Error::conflict(message).with_code("batch_unreadable").with_source(error)
}
