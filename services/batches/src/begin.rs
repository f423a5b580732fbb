//! Beginning a batch, asking it to stop, forgetting it.

use std::time::Duration;

use frontdesk_api::{Cx, Error, Kind, Micros, Result};
use frontdesk_store::{
    batch_lines, idempotency,
    jobs::{self, NewJob},
};
use serde_json::{Map, Value};

use crate::{
    Batch, Batches, Endpoint, Files, JobState, NewLine, Progress, Request, Stage, batch::MESSAGES, keeper::micros,
};

/// The purpose of an input file, in OpenAI's word.
const PURPOSE: &str = "batch";

/// What keys of requests that begin batches are kept under.
const SCOPE: &str = "batch";

/// How long a batch answers to its key: a day, in microseconds.
const KEPT: Micros = 24 * 60 * 60 * 1_000_000;

/// A client's key: the same request with it again gets the batch that it made.
pub struct Once {
    /// 1 to 255 bytes.
    pub key: String,
    /// What was sent, as a number.
    pub sent: [u8; 32],
}

/// What to do.
pub enum NewBatch {
    /// Read an uploaded file, and write its answers to files, which are kept for so long (None: until deleted).
    OfFile { endpoint: Endpoint, input: String, metadata: Map<String, Value>, output_expires_after: Option<Duration> },
    /// Ask these of Anthropic's Messages.
    OfMessages(Vec<NewLine>),
}

impl NewBatch {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::OfFile { endpoint, .. } => *endpoint,
            Self::OfMessages(_) => Endpoint::Messages,
        }
    }
}

impl Batches {
    /// Begins a batch; it is worked on in the background, by this process or another.
    ///
    /// # Errors
    /// `NotFound` naming the input file, `Invalid` when that is of another purpose or the caller sent keys of its own. What is wrong inside the file is
    /// told by the batch itself.
    pub async fn create(&self, cx: &Cx, new: NewBatch) -> Result<Batch> {
        self.add(cx, new, None).await
    }

    /// As [`Batches::create`], of a request that may come again.
    ///
    /// # Errors
    /// As there; `Invalid` for a key of another length, `Conflict` with the code `idempotency_key_reused` where another request had it.
    pub async fn create_once(&self, cx: &Cx, new: NewBatch, once: Once) -> Result<Batch> {
        idempotency::check("idempotency_key", &once.key)?;
        self.add(cx, new, Some(once)).await
    }

    async fn add(&self, cx: &Cx, new: NewBatch, once: Option<Once>) -> Result<Batch> {
        let Self(inner) = self;
        if !cx.client_keys.is_empty() {
            // They are kept in no row, and somebody who sent one does not mean to spend the operator's money.
            let message = "a batch is asked with this server's own keys: leave your keys for providers out";
            return Err(Error::new(Kind::Invalid, message).with_code("client_key"));
        }
        let tenant = inner.store.tenant(cx);
        if let Some(Once { key, sent }) = &once {
            // Before the file is looked for: what was taken in is answered again, though that is gone.
            let before = idempotency::find(&mut tenant.read().await?, SCOPE, key, sent).await?;
            if let Some(before) = before {
                return self.load(cx, new.endpoint().kind(), &before).await;
            }
        }
        let (endpoint, files, metadata, lines, keep) = match new {
            NewBatch::OfFile { endpoint, input, metadata, output_expires_after } => {
                let file = tenant.load_file(&input).await.map_err(|e| e.with_param("input_file_id"))?;
                if file.purpose != PURPOSE {
                    let message = format!(
                        "the file '{input}' has the purpose '{}': upload it with the purpose '{PURPOSE}'",
                        file.purpose
                    );
                    return Err(Error::invalid("input_file_id", message));
                }
                let (output, errors) = (inner.ids.next("file"), inner.ids.next("file"));
                (endpoint, Some(Files { input, output, errors }), metadata, vec![], output_expires_after)
            }
            NewBatch::OfMessages(lines) => (Endpoint::Messages, None, Map::new(), lines, None),
        };
        let (id, now) = (inner.ids.next(endpoint.kind()), inner.clock.now());
        let read = files.is_none();
        let progress = Progress {
            stage: if read { Stage::Asking } else { Stage::Reading },
            total: u64::try_from(lines.len()).unwrap_or(u64::MAX),
            in_progress_at: read.then_some(now),
            ..Progress::default()
        };
        let window: Micros = micros(inner.pace.window);
        let key_id = cx.principal.key_id.clone();
        let (expires_at, output_expires_after_s) = (now.saturating_add(window), keep.map(|keep| keep.as_secs()));
        let payload = Request { endpoint, files, metadata, key_id, expires_at, output_expires_after_s };
        let job =
            NewJob { id: &id, kind: endpoint.kind(), payload: &payload, progress: &progress, window, created_at: now };
        let mut tx = tenant.write().await?;
        if let Some(Once { key, sent }) = &once {
            if let Some(before) = idempotency::claim(&mut tx, SCOPE, key, sent, KEPT).await? {
                drop(tx);
                return self.load(cx, endpoint.kind(), &before).await;
            }
            idempotency::answer(&mut tx, SCOPE, key, 200, &id).await?;
        }
        jobs::add(&mut tx, job).await?;
        batch_lines::add(&mut tx, &id, 0, &lines).await?;
        tx.commit().await?;
        inner.wake.notify_one();
        self.load(cx, endpoint.kind(), &id).await
    }

    /// Asks a batch to stop: nothing new of it is asked, what is being answered is let end. One that is to be
    /// cancelled already stays so.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it has ended.
    pub async fn cancel(&self, cx: &Cx, of: Endpoint, id: &str) -> Result<Batch> {
        let Self(inner) = self;
        let asked = inner.store.tenant(cx).request_job_cancel(of.kind(), id, inner.clock.now()).await?;
        let batch = self.load(cx, of.kind(), id).await?;
        if !asked && batch.state != JobState::Open {
            let message = format!("the batch '{id}' has ended ({}): it cannot be cancelled", batch.state.as_str());
            return Err(Error::new(Kind::Conflict, message).with_code("batch_ended"));
        }
        inner.running.cancel(&cx.tenant, id);
        inner.wake.notify_one();
        Ok(batch)
    }

    /// Deletes a batch of messages that has ended, with its results.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` while it is worked on.
    pub async fn delete_messages(&self, cx: &Cx, id: &str) -> Result<()> {
        let Self(inner) = self;
        let batch = self.load(cx, MESSAGES, id).await?;
        if batch.state == JobState::Open {
            let message =
                format!("the batch '{id}' is being worked on: cancel it and wait for its end, then delete it");
            return Err(Error::new(Kind::Conflict, message).with_code("batch_in_progress"));
        }
        let mut tx = inner.store.tenant(cx).write().await?;
        batch_lines::delete(&mut tx, id).await?;
        jobs::delete(&mut tx, MESSAGES, id).await?;
        tx.commit().await
    }
}
