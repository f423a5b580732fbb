//! The end of a batch: its answers as files where it has files.
//!
//! Invariant: files and end are one transaction, so a batch that has ended has its files, and one that is finished
//! again after a crash has them once.

use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{
    Cx, Micros, Result,
    blobs::{Kept, Pieces},
};
use frontdesk_store::{
    batch_lines,
    files::{StoredFile, write_file},
    jobs,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Batches, Files, JobState, Outcome,
    keeper::micros,
    patience::Without,
    work::{Next, Work, fault},
};

/// What such a file is for, in OpenAI's word.
const PURPOSE: &str = "batch_output";

/// How long beyond a batch's time its answers wait for a place that takes them: they are there and may have been paid
/// for. Long enough for an operator to come back to.
const KEEP_TRYING: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Work {
    /// Writes the files and ends the batch.
    pub(crate) async fn finish(&mut self) -> Result<Next> {
        let batches = self.batches.clone();
        let inner = &batches.0;
        let mut files = vec![];
        if let Some(of) = self.request.files.clone() {
            let (cx, id) = (self.cx.clone(), self.id().to_owned());
            let put = put_all(&batches, &cx, &id, of);
            files = match self.patiently("its files cannot be kept", KEEP_TRYING, put).await? {
                Ok(files) => files,
                Err(Without::Yet(next)) => return Ok(next),
                Err(Without::GivenUp { ending, error }) => {
                    let message = format!("the answers were there and could not be kept: {error}");
                    return self.end(ending, vec![fault("files_not_kept", message)]).await;
                }
            };
            self.progress.has_output = files.iter().any(|(_, kind, _)| *kind == "output");
            self.progress.has_errors = files.iter().any(|(_, kind, _)| *kind == "error");
        }
        let (id, now) = (self.id().to_owned(), inner.clock.now());
        let keep = self.request.output_expires_after_s.map(|s| now.saturating_add(micros(Duration::from_secs(s))));
        let ending = self.progress.ending.unwrap_or(JobState::Completed);
        let Some(mut tx) = self.write().await? else {
            discard(&batches, &self.cx, files).await;
            return Ok(Next::Lost);
        };
        if self.request.files.is_some() {
            for (file_id, kind, kept) in &files {
                let file = describe(file_id, format!("{id}_{kind}.jsonl"), kept, (now, keep));
                write_file(&mut tx, &file, &kept.place).await?;
            }
            batch_lines::delete(&mut tx, &id).await?;
        }
        jobs::end(&mut tx, &id, ending, now).await?;
        tx.commit().await?;
        inner.tally.ended(ending);
        Ok(Next::GoOn)
    }
}

/// A content that was kept: its file's id and word for what it is.
type Put = (String, &'static str, Kept);

/// Keeps what goes into the output file and into the error file; of one that has no line there is none. Both or
/// nothing.
async fn put_all(batches: &Batches, cx: &Cx, id: &str, of: Files) -> Result<Vec<Put>> {
    let mut files = vec![];
    for (file_id, kind) in [(of.output, "output"), (of.errors, "error")] {
        match put(batches, cx, id, kind == "output").await {
            Ok(kept) => files.extend(kept.map(|kept| (file_id, kind, kept))),
            Err(error) => {
                discard(batches, cx, files).await;
                return Err(error);
            }
        }
    }
    Ok(files)
}

/// Clears contents that no file will be made of.
async fn discard(batches: &Batches, cx: &Cx, files: Vec<Put>) {
    for (_, _, kept) in files {
        batches.0.contents.discard(cx, kept).await;
    }
}

async fn put(batches: &Batches, cx: &Cx, id: &str, succeeded: bool) -> Result<Option<Kept>> {
    let mut lines = lines(batches.clone(), cx.clone(), id.to_owned(), succeeded);
    let Some(first) = lines.try_next().await? else { return Ok(None) };
    let all = stream::iter([Ok(first)]).chain(lines).boxed();
    batches.0.contents.put(cx, all).await.map(Some)
}

/// The lines of one of the files, read as they are written.
fn lines(batches: Batches, cx: Cx, id: String, succeeded: bool) -> Pieces<'static> {
    let pages = stream::try_unfold(-1, move |after| {
        let (batches, cx, id) = (batches.clone(), cx.clone(), id.clone());
        async move {
            let page = batches.results(&cx, &id, after).await?;
            let Some(last) = page.last() else { return Ok(None) };
            let fits = page.iter().filter(|line| (line.outcome == Outcome::Succeeded) == succeeded);
            let text: String = fits.map(|line| batches.0.lines.write(&id, line)).collect();
            Ok(Some((Bytes::from(text), last.pos)))
        }
    });
    pages.try_filter(|text| std::future::ready(!text.is_empty())).boxed()
}

fn describe(id: &str, filename: String, kept: &Kept, times: (Micros, Option<Micros>)) -> StoredFile {
    StoredFile {
        id: id.to_owned(),
        filename,
        purpose: PURPOSE.to_owned(),
        media_type: Some("application/jsonl".to_owned()),
        bytes: kept.bytes,
        hash: kept.hash.clone(),
        created_at: times.0,
        expires_at: times.1,
    }
}
