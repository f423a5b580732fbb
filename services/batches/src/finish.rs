//! The end of a batch: its answers as files where it has files.
//!
//! Invariant: files and end are one transaction, so a batch that has ended has its files, and one that is finished
//! again after a crash has them once.

use bytes::Bytes;
use frontdesk_api::{
    Cx, Result,
    blobs::{Kept, Pieces},
};
use frontdesk_store::{
    batch_lines,
    files::{StoredFile, write_file},
    jobs,
};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};

use crate::{
    Batches, JobState, Outcome,
    work::{Next, Work},
};

/// What such a file is for, in OpenAI's word.
const PURPOSE: &str = "batch_output";

impl Work {
    /// Writes the files and ends the batch.
    pub(crate) async fn finish(&mut self) -> Result<Next> {
        let batches = self.batches.clone();
        let inner = &batches.0;
        let mut files = vec![];
        if let Some(of) = self.request.files.clone() {
            for (file_id, kind) in [(of.output, "output"), (of.errors, "error")] {
                let (batches, cx, id) = (batches.clone(), self.cx.clone(), self.id().to_owned());
                let put = || put(batches.clone(), cx.clone(), id.clone(), kind == "output").boxed();
                match self.patiently("its files cannot be kept", put).await? {
                    Ok(Some(kept)) => files.push((file_id, kind, kept)),
                    Ok(None) => {}
                    Err(next) => return Ok(self.discard(files, next).await),
                }
            }
            self.progress.has_output = files.iter().any(|(_, kind, _)| *kind == "output");
            self.progress.has_errors = files.iter().any(|(_, kind, _)| *kind == "error");
        }
        let (id, now) = (self.id().to_owned(), inner.clock.now());
        let ending = self.progress.ending.unwrap_or(JobState::Completed);
        let Some(mut tx) = self.write().await? else { return Ok(self.discard(files, Next::Lost).await) };
        if self.request.files.is_some() {
            for (file_id, kind, kept) in &files {
                let file = describe(file_id, format!("{id}_{kind}.jsonl"), kept, now);
                write_file(&mut tx, &file, &kept.place).await?;
            }
            batch_lines::delete(&mut tx, &id).await?;
        }
        jobs::end(&mut tx, &id, ending, now).await?;
        tx.commit().await?;
        inner.tally.ended(ending);
        Ok(Next::GoOn)
    }

    /// Clears contents that no file will be made of.
    async fn discard(&self, files: Vec<(String, &str, Kept)>, next: Next) -> Next {
        for (_, _, kept) in files {
            self.batches.0.contents.discard(&self.cx, kept).await;
        }
        next
    }
}

/// Keeps the content of the output file or of the error file; None: it has no line.
async fn put(batches: Batches, cx: Cx, id: String, succeeded: bool) -> Result<Option<Kept>> {
    let mut lines = lines(batches.clone(), cx.clone(), id, succeeded);
    let Some(first) = lines.try_next().await? else { return Ok(None) };
    let all = stream::iter([Ok(first)]).chain(lines).boxed();
    batches.0.contents.put(&cx, all).await.map(Some)
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

fn describe(id: &str, filename: String, kept: &Kept, created_at: i64) -> StoredFile {
    StoredFile {
        id: id.to_owned(),
        filename,
        purpose: PURPOSE.to_owned(),
        media_type: Some("application/jsonl".to_owned()),
        bytes: kept.bytes,
        hash: kept.hash.clone(),
        created_at,
    }
}
