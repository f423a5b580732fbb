//! Bringing files into a knowledge store: read, cut, index, note how it went.
//!
//! Invariants: the same content under the same name is read once; a new version takes the place of the
//! old one only when it is findable; a file that cannot be read ends as `failed` with a reason for people,
//! and its older version stays.

use frontdesk_api::{Cx, Error, Result, memory::Chunk};
use frontdesk_store::knowledge::{Ingested, StoreFile};

use crate::{
    Knowledge,
    chunk::{Piece, cut},
    document::{Reject, read},
};

/// Purpose of the files that a knowledge store made itself; they go when the last store lets go of them.
const OWN: &str = "knowledge";

/// A file to bring in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upload {
    /// Its name in the store; the same name again is a new version.
    pub filename: String,
    /// As claimed by whoever sent it.
    pub media_type: Option<String>,
    /// Where the page lives, for citations.
    pub url: Option<String>,
    pub content: Vec<u8>,
}

/// What adding a file did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    pub file: StoreFile,
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    New,
    Replaced,
    /// The same content was there already.
    Unchanged,
    /// It could not be read; `file.error` says why.
    Failed,
}

/// How far adding several files is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Files done, this one included.
    pub done: usize,
    pub total: usize,
    pub added: &'a Added,
}

impl Knowledge {
    /// Adds a file to a store, or its new version. A file that cannot be read is `Ok` with
    /// [`Change::Failed`]: it is in the store, with its reason.
    ///
    /// # Errors
    /// `NotFound` naming the store, `Invalid` for a bad file name, `TooLarge` naming the limit, the
    /// database's; nothing was added then.
    pub async fn add_file(&self, cx: &Cx, store_id: &str, upload: Upload) -> Result<Added> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        let Upload { filename, media_type, url, content } = upload;
        let file = self.describe(&filename, OWN, media_type.as_deref(), &content, self.limits.max_page_bytes)?;
        let earlier = tenant.store_files_named(store_id, &filename).await?;
        if let Some(same) =
            earlier.iter().find(|f| f.hash == file.hash && f.status == "completed" && (url.is_none() || f.url == url))
        {
            return Ok(Added { file: same.clone(), change: Change::Unchanged });
        }
        tenant.add_store_file(store_id, &file, &content, url.as_deref()).await?;
        let failed = self.ingest(cx, store_id, &file.id, &filename, media_type, content).await?;
        // The newest version wins, also over one that another caller added meanwhile; a failed one wins
        // over other failed ones only.
        for old in tenant.store_files_named(store_id, &filename).await? {
            if old.file_id < file.id && (!failed || old.status == "failed") {
                self.take_out(cx, store_id, &old.file_id).await?;
                self.drop_own(cx, &old.file_id).await?;
            }
        }
        let stored = tenant.find_store_file(store_id, &file.id).await?;
        let file = stored
            .ok_or_else(|| Error::conflict(format!("'{filename}' was replaced or removed while it was being read")))?;
        let change = match (failed, earlier.is_empty()) {
            (true, _) => Change::Failed,
            (false, true) => Change::New,
            (false, false) => Change::Replaced,
        };
        Ok(Added { file, change })
    }

    /// Adds files one after the other and tells `progress` about each. An error concerns the file it
    /// names; the others are added all the same.
    ///
    /// # Errors
    /// The first error, after all files were tried.
    pub async fn add_files(
        &self,
        cx: &Cx,
        store_id: &str,
        uploads: Vec<Upload>,
        progress: &(dyn Fn(Progress<'_>) + Sync),
    ) -> Result<Vec<Added>> {
        let total = uploads.len();
        let mut all = Vec::with_capacity(total);
        let mut first_error = None;
        for (i, upload) in uploads.into_iter().enumerate() {
            if cx.cancel.is_cancelled() {
                return Err(Error::cancelled());
            }
            match self.add_file(cx, store_id, upload).await {
                Ok(added) => {
                    progress(Progress { done: i + 1, total, added: &added });
                    all.push(added);
                }
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(all), Err)
    }

    /// Puts an uploaded file into a store and reads it; again, if it is in already.
    ///
    /// # Errors
    /// `NotFound` naming the store or the file.
    pub async fn attach_file(&self, cx: &Cx, store_id: &str, file_id: &str, url: Option<&str>) -> Result<StoreFile> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        let file = tenant.load_file(file_id).await?;
        tenant.attach_file(store_id, file_id, url, self.clock.now()).await?;
        let content = tenant.load_content(file_id).await?;
        self.ingest(cx, store_id, file_id, &file.filename, file.media_type, content).await?;
        self.load_store_file(cx, store_id, file_id).await
    }

    /// Reads the files of a store that a stopped process left half-way; how many there were.
    ///
    /// # Errors
    /// `NotFound` naming the store.
    pub async fn resume(&self, cx: &Cx, store_id: &str) -> Result<usize> {
        let mut count = 0;
        loop {
            let page = self
                .list_store_files(cx, store_id, Some("in_progress"), &frontdesk_api::PageRequest::default())
                .await?;
            if page.items.is_empty() {
                return Ok(count);
            }
            for file in page.items {
                self.attach_file(cx, store_id, &file.file_id, None).await?;
                count += 1;
            }
        }
    }

    /// Reads a file that is in the store as `in_progress`; true when it could not be read.
    async fn ingest(
        &self,
        cx: &Cx,
        store_id: &str,
        file_id: &str,
        filename: &str,
        media_type: Option<String>,
        content: Vec<u8>,
    ) -> Result<bool> {
        let pieces = self.pieces(filename, media_type, content).await?;
        let outcome = match pieces {
            Ok(pieces) => {
                let chunks: Vec<Chunk> = (0..).zip(pieces).map(|(pos, p)| self.chunk(pos, p)).collect();
                self.index.put(cx, store_id, file_id, &chunks).await?;
                Ingested::Completed { passages: i64::try_from(chunks.len()).unwrap_or(i64::MAX) }
            }
            Err(reject) => {
                // What an earlier reading found is no longer what the file says.
                self.index.remove(cx, store_id, file_id).await?;
                tracing::info!(store_id, file_id, code = reject.code, "file could not be read");
                Ingested::Failed { code: reject.code.to_owned(), message: reject.message }
            }
        };
        let failed = matches!(outcome, Ingested::Failed { .. });
        if !self.store.tenant(cx).note_ingested(store_id, file_id, &outcome).await? {
            // Taken out while it was being read.
            self.index.remove(cx, store_id, file_id).await?;
        }
        Ok(failed)
    }

    /// Parsing is work for a thread that may be busy.
    async fn pieces(
        &self,
        filename: &str,
        media_type: Option<String>,
        content: Vec<u8>,
    ) -> Result<Result<Vec<Piece>, Reject>> {
        let (name, chunking, limits) = (filename.to_owned(), self.chunking, self.limits);
        let work = move || {
            if content.len() > limits.max_page_bytes {
                let message =
                    format!("'{name}' has {} bytes, the limit for a page is {}", content.len(), limits.max_page_bytes);
                return Err(Reject::new("file_too_large", message));
            }
            let pieces = cut(&read(&name, media_type.as_deref(), &content)?, chunking);
            if pieces.len() > limits.max_passages {
                let message = format!(
                    "'{name}' gives {} passages, the limit is {}: split it into several files",
                    pieces.len(),
                    limits.max_passages
                );
                return Err(Reject::new("file_too_large", message));
            }
            Ok(pieces)
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(format!("could not read '{filename}'"), e))
    }

    fn chunk(&self, pos: i64, piece: Piece) -> Chunk {
        Chunk { id: self.ids.next("chunk"), pos, title: piece.title, text: piece.text }
    }

    /// Deletes a file that a knowledge store made, once no store has it.
    pub(crate) async fn drop_own(&self, cx: &Cx, file_id: &str) -> Result<()> {
        let tenant = self.store.tenant(cx);
        if tenant.load_file(file_id).await?.purpose != OWN || !tenant.stores_of_file(file_id).await?.is_empty() {
            return Ok(());
        }
        tenant.delete_file(file_id).await
    }
}
