//! Batches in OpenAI's shape: an input file of requests, answered in the background into an output file.

pub mod answers;
pub mod cancel;
pub mod create;
pub mod list;
pub mod show;

use frontdesk_api::{Micros, clock::unix_seconds};
use frontdesk_batches::{Batch, Fault, JobState, Stage};
use serde::Serialize;
use serde_json::{Map, Value};

/// The one window there is, in OpenAI's word.
pub const WINDOW: &str = "24h";

/// A batch.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchInfo {
    pub id: String,
    #[schema(example = "batch")]
    pub object: &'static str,
    pub endpoint: &'static str,
    /// What is wrong with the input file, or with the batch as a whole.
    pub errors: Option<BatchErrors>,
    pub input_file_id: String,
    #[schema(example = "24h")]
    pub completion_window: &'static str,
    /// `validating`, `in_progress`, `finalizing`, `completed`, `failed`, `cancelling`, `cancelled` or `expired`.
    pub status: &'static str,
    /// The answers, once the batch has ended and there are any.
    pub output_file_id: Option<String>,
    /// The requests that failed or were not asked, once the batch has ended and there are any.
    pub error_file_id: Option<String>,
    /// All times in Unix seconds.
    pub created_at: i64,
    pub in_progress_at: Option<i64>,
    pub expires_at: i64,
    pub finalizing_at: Option<i64>,
    pub completed_at: Option<i64>,
    pub failed_at: Option<i64>,
    pub expired_at: Option<i64>,
    pub cancelling_at: Option<i64>,
    pub cancelled_at: Option<i64>,
    pub request_counts: RequestCounts,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = BatchRequestCounts)]
pub struct RequestCounts {
    pub total: u64,
    pub completed: u64,
    pub failed: u64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchErrors {
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<BatchError>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct BatchError {
    pub code: String,
    pub message: String,
    /// The member at fault.
    pub param: Option<String>,
    /// Line of the input file, from 1.
    pub line: Option<u64>,
}

impl From<Fault> for BatchError {
    fn from(Fault { code, message, param, line }: Fault) -> Self {
        Self { code, message, param, line }
    }
}

impl From<Batch> for BatchInfo {
    fn from(batch: Batch) -> Self {
        let (status, progress, ended) = (status(&batch), batch.progress, batch.ended_at);
        let seconds = |at: Option<Micros>| at.map(unix_seconds);
        let ended_as = |state| seconds(ended.filter(|_| batch.state == state));
        let done = batch.state != JobState::Open;
        let files = batch.payload.files;
        let (input, output, errors) = files.map_or((String::new(), None, None), |files| {
            let written = |id: String, there: bool| Some(id).filter(|_| done && there);
            (files.input, written(files.output, progress.has_output), written(files.errors, progress.has_errors))
        });
        let faults: Vec<BatchError> = progress.faults.into_iter().map(BatchError::from).collect();
        Self {
            id: batch.id,
            object: "batch",
            endpoint: batch.payload.endpoint.path(),
            errors: (!faults.is_empty()).then_some(BatchErrors { object: "list", data: faults }),
            input_file_id: input,
            completion_window: WINDOW,
            status,
            output_file_id: output,
            error_file_id: errors,
            created_at: unix_seconds(batch.created_at),
            in_progress_at: seconds(progress.in_progress_at),
            expires_at: unix_seconds(batch.payload.expires_at),
            finalizing_at: seconds(progress.finalizing_at),
            completed_at: ended_as(JobState::Completed),
            failed_at: ended_as(JobState::Failed),
            expired_at: ended_as(JobState::Expired),
            cancelling_at: seconds(batch.cancel_requested_at),
            cancelled_at: ended_as(JobState::Cancelled),
            request_counts: RequestCounts {
                total: progress.total,
                completed: progress.succeeded,
                failed: progress.failed,
            },
            metadata: batch.payload.metadata,
        }
    }
}

fn status(batch: &Batch) -> &'static str {
    match (batch.state, batch.progress.stage) {
        (JobState::Completed, _) => "completed",
        (JobState::Failed, _) => "failed",
        (JobState::Cancelled, _) => "cancelled",
        (JobState::Expired, _) => "expired",
        (JobState::Open, _) if batch.cancel_requested_at.is_some() => "cancelling",
        (JobState::Open, Stage::Reading) => "validating",
        (JobState::Open, Stage::Asking) => "in_progress",
        (JobState::Open, Stage::Finishing) => "finalizing",
    }
}
