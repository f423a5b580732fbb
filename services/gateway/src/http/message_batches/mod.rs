//! Message batches in Anthropic's shape: many requests to create a message, answered in the background.

pub mod cancel;
pub mod create;
pub mod delete;
pub mod list;
pub mod results;
pub mod show;

use frontdesk_api::{Micros, clock::rfc3339};
use frontdesk_batches::{Batch, JobState};
use serde::Serialize;

/// A message batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageBatch {
    pub id: String,
    #[serde(rename = "type")]
    #[schema(example = "message_batch")]
    pub kind: &'static str,
    /// `in_progress`, `canceling` or `ended`.
    pub processing_status: &'static str,
    pub request_counts: MessageBatchCounts,
    /// All times in RFC 3339.
    pub created_at: String,
    pub expires_at: String,
    pub ended_at: Option<String>,
    pub cancel_initiated_at: Option<String>,
    /// When its results were deleted, 29 days after its creation unless the operator says otherwise.
    pub archived_at: Option<String>,
    /// Where the results are, from the end of the batch until they are deleted: a path on this server.
    pub results_url: Option<String>,
}

/// Requests by how they stand; the sum is all of them.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MessageBatchCounts {
    pub processing: u64,
    pub succeeded: u64,
    pub errored: u64,
    pub canceled: u64,
    pub expired: u64,
}

impl From<Batch> for MessageBatch {
    fn from(batch: Batch) -> Self {
        let progress = &batch.progress;
        let ended = batch.state != JobState::Open;
        let time = |at: Option<Micros>| at.map(rfc3339);
        Self {
            kind: "message_batch",
            processing_status: match (ended, batch.cancel_requested_at) {
                (true, _) => "ended",
                (false, Some(_)) => "canceling",
                (false, None) => "in_progress",
            },
            request_counts: MessageBatchCounts {
                processing: progress.open(),
                succeeded: progress.succeeded,
                errored: progress.failed,
                canceled: progress.cancelled,
                expired: progress.expired,
            },
            created_at: rfc3339(batch.created_at),
            expires_at: rfc3339(batch.payload.expires_at),
            ended_at: time(batch.ended_at),
            cancel_initiated_at: time(batch.cancel_requested_at),
            archived_at: time(batch.cleared_at),
            // A path: behind a proxy nobody here knows under which name and scheme clients see this server, and one
            // that guesses `http` would make them send their key in the clear.
            results_url: (ended && batch.cleared_at.is_none())
                .then(|| format!("/v1/messages/batches/{}/results", batch.id)),
            id: batch.id,
        }
    }
}
