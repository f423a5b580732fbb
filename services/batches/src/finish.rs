//! The end of a batch: its answers as files where it has files.
//!
//! Invariant: files and end are one transaction, so a batch that has ended has its files, and one that is finished
//! again after a crash has them once.

use frontdesk_api::Result;
use frontdesk_store::{
    batch_lines,
    files::{StoredFile, write_file},
    jobs,
};

use crate::{
    JobState, Outcome,
    read::PAGE,
    work::{Next, Work},
};

/// What such a file is for, in OpenAI's word.
const PURPOSE: &str = "batch_output";

impl Work {
    /// Writes the files and ends the batch. The answers are in memory for that moment, all of them.
    pub(crate) async fn finish(&mut self) -> Result<Next> {
        let batches = self.batches.clone();
        let inner = &batches.0;
        let (id, now) = (self.id().to_owned(), inner.clock.now());
        let mut files = vec![];
        if let Some(of) = self.request.files.clone() {
            let (output, errors) = self.gather().await?;
            self.progress.has_output = !output.is_empty();
            self.progress.has_errors = !errors.is_empty();
            for (file_id, kind, content) in [(of.output, "output", output), (of.errors, "error", errors)] {
                if !content.is_empty() {
                    files.push((describe(file_id, format!("{id}_{kind}.jsonl"), &content, now), content));
                }
            }
        }
        let ending = self.progress.ending.unwrap_or(JobState::Completed);
        let Some(mut tx) = self.write().await? else { return Ok(Next::Lost) };
        if self.request.files.is_some() {
            for (file, content) in &files {
                write_file(&mut tx, file, content.as_bytes()).await?;
            }
            batch_lines::delete(&mut tx, &id).await?;
        }
        jobs::end(&mut tx, &id, ending, now).await?;
        tx.commit().await?;
        inner.tally.ended(ending);
        Ok(Next::GoOn)
    }

    /// The lines of the output file and of the error file.
    async fn gather(&self) -> Result<(String, String)> {
        let inner = &self.batches.0;
        let (mut output, mut errors, mut after) = (String::new(), String::new(), -1);
        loop {
            let lines = inner.store.tenant(&self.cx).ended_lines(self.id(), after, PAGE).await?;
            let Some(last) = lines.last() else { return Ok((output, errors)) };
            after = last.pos;
            for line in &lines {
                let file = if line.outcome == Outcome::Succeeded { &mut output } else { &mut errors };
                file.push_str(&inner.lines.write(self.id(), line));
            }
        }
    }
}

fn describe(id: String, filename: String, content: &str, created_at: i64) -> StoredFile {
    StoredFile {
        id,
        filename,
        purpose: PURPOSE.to_owned(),
        media_type: Some("application/jsonl".to_owned()),
        bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
        hash: blake3::hash(content.as_bytes()).as_bytes().to_vec(),
        created_at,
    }
}
