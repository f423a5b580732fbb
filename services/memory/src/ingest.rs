//! Bringing files into a knowledge store: read, cut, index, note how it went.
//!
//! Invariants: the same content under the same name is read once; a new version takes the place of the
//! old one only when it is findable; a file that cannot be read ends as `failed` with a reason for people,
//! and its older version stays; from its row on, a file is read by a task that no request holds.

use frontdesk_api::{
    Contents as _, Cx, Error, Kind, Result,
    attributes::Attributes,
    blobs::{DAMAGED, whole},
    cx::CancellationToken,
    memory::Chunk,
};
use frontdesk_store::{files::StoredFile, knowledge::StoreFile, readings::Ingested};

use crate::{
    Knowledge,
    chunk::{Piece, cut},
    document::{Reject, read},
    files::{check_name, too_large},
    reading::reader,
    work::stopping,
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
    /// [`Change::Failed`]: it is in the store, with its reason. Dropped, it goes on all the same.
    ///
    /// # Errors
    /// `NotFound` naming the store, `Invalid` for a bad file name, `TooLarge` naming the limit: nothing was
    /// added. `Unavailable` and the database's: if the file is in the store, it is `in_progress` and will be
    /// read on.
    pub async fn add_file(&self, cx: &Cx, store_id: &str, upload: Upload) -> Result<Added> {
        let (knowledge, cx, store_id) = (self.clone(), alone(cx), store_id.to_owned());
        self.work.detached(async move { knowledge.add(&cx, &store_id, upload).await }).await
    }

    async fn add(&self, cx: &Cx, store_id: &str, upload: Upload) -> Result<Added> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        let Upload { filename, media_type, url, content } = upload;
        check_name(&filename)?;
        if content.len() > self.limits.max_page_bytes {
            return Err(too_large(&filename, self.limits.max_page_bytes));
        }
        let hash = blake3::hash(&content);
        let earlier = tenant.store_files_named(store_id, &filename).await?;
        if let Some(same) = earlier
            .iter()
            .find(|f| f.hash == hash.as_bytes() && f.status == "completed" && (url.is_none() || f.url == url))
        {
            return Ok(Added { file: same.clone(), change: Change::Unchanged });
        }
        let kept = self.shelf.put(cx, whole(content)).await?;
        let (file, id) = (self.describe(&filename, OWN, media_type.as_deref(), &kept), self.ids.next("reader"));
        // What was said of the page holds for its new version.
        let attributes = earlier.last().map(|newest| newest.attributes.clone()).unwrap_or_default();
        let added = tenant.add_store_file(store_id, &file, &kept.place, url.as_deref(), &attributes, reader(&id));
        if let Err(error) = added.await {
            self.shelf.discard(cx, kept).await;
            return Err(error);
        }
        drop(kept);
        self.hold(cx, store_id, std::slice::from_ref(&file.id), &id, &self.work.cut).await?;
        let stored = tenant.find_store_file(store_id, &file.id).await?;
        let file = stored
            .ok_or_else(|| Error::conflict(format!("'{filename}' was replaced or removed while it was being read")))?;
        let change = match (file.status.as_str(), earlier.is_empty()) {
            ("failed", _) => Change::Failed,
            ("completed", true) => Change::New,
            ("completed", false) => Change::Replaced,
            _ => return Err(stopping()),
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

    /// Puts an uploaded file into a store and reads it; again, if it is in already, with the attributes it had where
    /// none are given. Dropped, it goes on all the same. The file is `in_progress` still when the server is stopping:
    /// it is read after the next start. `url` among its attributes is where the page lives, for citations.
    ///
    /// # Errors
    /// `NotFound` naming the store or the file.
    pub async fn attach_file(
        &self,
        cx: &Cx,
        store_id: &str,
        file_id: &str,
        attributes: Option<Attributes>,
    ) -> Result<StoreFile> {
        self.attach(cx, store_id, vec![file_id.to_owned()], attributes).await?;
        self.load_store_file(cx, store_id, file_id).await
    }

    /// Puts uploaded files into a store, all of them before the first is read, as [`Knowledge::attach_file`].
    ///
    /// # Errors
    /// `NotFound` naming the store or the file; nothing was put in then.
    pub async fn attach_files(&self, cx: &Cx, store_id: &str, file_ids: &[String]) -> Result<()> {
        self.attach(cx, store_id, file_ids.to_vec(), None).await
    }

    async fn attach(&self, cx: &Cx, store_id: &str, files: Vec<String>, attributes: Option<Attributes>) -> Result<()> {
        let (knowledge, cx, store_id) = (self.clone(), alone(cx), store_id.to_owned());
        let attached = async move {
            let tenant = knowledge.store.tenant(&cx);
            tenant.load_vector_store(&store_id).await?;
            for file_id in &files {
                tenant.load_file(file_id).await?;
            }
            let id = knowledge.ids.next("reader");
            for file_id in &files {
                let now = knowledge.clock.now();
                tenant.attach_file(&store_id, file_id, attributes.as_ref(), now, reader(&id)).await?;
            }
            knowledge.hold(&cx, &store_id, &files, &id, &knowledge.work.cut).await
        };
        self.work.detached(attached).await.map(|_| ())
    }

    /// Reads a file and notes how it ended, if `reader_id` is still its reader. What cannot be read is noted
    /// as failed.
    ///
    /// # Errors
    /// Those that pass: nothing was noted, and it is worth trying again.
    pub(crate) async fn ingest(&self, cx: &Cx, store_id: &str, file_id: &str, reader_id: &str) -> Result<()> {
        let outcome = match self.bring_in(cx, store_id, file_id).await {
            Ok(outcome) => outcome,
            Err(error) if passes(&error) => return Err(error),
            Err(error) => {
                tracing::error!(store_id, file_id, error = %error, cause = ?error.source, "a file could not be indexed");
                let code = error.code.unwrap_or_else(|| "server_error".into());
                Ingested::Failed { code, message: error.message }
            }
        };
        let tenant = self.store.tenant(cx);
        if tenant.note_ingested(store_id, file_id, reader_id, &outcome).await?
            || tenant.find_store_file(store_id, file_id).await?.is_some()
        {
            // Noted, or another's to note.
            return Ok(());
        }
        // Taken out while it was being read.
        self.index.remove(cx, store_id, file_id).await?;
        if tenant.find_store_file(store_id, file_id).await?.is_some() {
            // And put in again meanwhile: what its new reader indexed may have gone with ours.
            self.bring_in(cx, store_id, file_id).await?;
        }
        Ok(())
    }

    /// Reads a file, makes its passages findable, and lets it take the place of its older versions. Done
    /// twice it comes to the same.
    async fn bring_in(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<Ingested> {
        let file = self.load_file(cx, file_id).await?;
        let outcome = match self.pieces(cx, &file).await? {
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
        if file.purpose == OWN {
            let failed = matches!(outcome, Ingested::Failed { .. });
            self.replace_older(cx, store_id, &file, failed).await?;
        }
        Ok(outcome)
    }

    /// The newest version wins, also over one that another caller added meanwhile; a failed one wins over
    /// other failed ones only.
    async fn replace_older(&self, cx: &Cx, store_id: &str, file: &StoredFile, failed: bool) -> Result<()> {
        for old in self.store.tenant(cx).store_files_named(store_id, &file.filename).await? {
            if old.file_id < file.id && (!failed || old.status == "failed") {
                self.take_out(cx, store_id, &old.file_id).await?;
                self.drop_own(cx, &old.file_id).await?;
            }
        }
        Ok(())
    }

    /// Parsing is work for a thread that may be busy.
    async fn pieces(&self, cx: &Cx, file: &StoredFile) -> Result<Result<Vec<Piece>, Reject>> {
        let (name, media_type) = (file.filename.clone(), file.media_type.clone());
        let (chunking, limits) = (self.chunking, self.limits);
        if usize::try_from(file.bytes).is_ok_and(|bytes| bytes > limits.max_page_bytes) {
            let message =
                format!("'{name}' has {} bytes, the limit for a page is {}", file.bytes, limits.max_page_bytes);
            return Ok(Err(Reject::new("file_too_large", message)));
        }
        let content = self.load_content(cx, &file.id).await?;
        let work = move || {
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
        match tokio::task::spawn_blocking(work).await {
            Ok(pieces) => Ok(pieces),
            Err(e) if e.is_panic() => {
                tracing::error!(file_id = file.id, "reading a file panicked: {e}");
                let message = format!("'{}' cannot be read: an internal error, told in the log", file.filename);
                Ok(Err(Reject::new("server_error", message)))
            }
            Err(_) => Err(stopping()),
        }
    }

    fn chunk(&self, pos: i64, piece: Piece) -> Chunk {
        Chunk { id: self.ids.next("chunk"), pos, title: piece.title.to_string(), text: piece.text }
    }

    /// Deletes a file that a knowledge store made, once no store has it; another may have done so already.
    pub(crate) async fn drop_own(&self, cx: &Cx, file_id: &str) -> Result<()> {
        let tenant = self.store.tenant(cx);
        let own = match tenant.load_file(file_id).await {
            Ok(file) => file.purpose == OWN,
            Err(error) if error.kind == Kind::NotFound => false,
            Err(error) => return Err(error),
        };
        if !own || !tenant.stores_of_file(file_id).await?.is_empty() {
            return Ok(());
        }
        match self.forget(cx, file_id).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// The caller without what ends with the request.
fn alone(cx: &Cx) -> Cx {
    Cx { cancel: CancellationToken::new(), deadline: None, ..cx.clone() }
}

/// Whether an error goes away by itself.
fn passes(error: &Error) -> bool {
    error.code.as_deref() != Some(DAMAGED)
        && matches!(
            error.kind,
            Kind::Unavailable | Kind::Timeout | Kind::Cancelled | Kind::RateLimited | Kind::Upstream
        )
}
