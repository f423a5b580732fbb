//! Uploaded files.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use frontdesk_api::{
    Contents as _, Cx, Error, Kind, Page, PageRequest, Result,
    blobs::{Kept, Opened, Pieces, whole},
};
use futures::StreamExt as _;

use crate::{Knowledge, StoredFile};

/// Longest file name in bytes, as file systems have it.
const LONGEST_NAME: usize = 255;

/// Files asked for at a time whose time is over.
const EXPIRED: i64 = 100;

impl Knowledge {
    /// Keeps a file. `purpose` is the caller's word for what it is for.
    ///
    /// # Errors
    /// As [`Knowledge::receive`] and [`Knowledge::create_file_of`].
    pub async fn create_file(
        &self,
        cx: &Cx,
        filename: &str,
        purpose: &str,
        media_type: Option<&str>,
        content: &[u8],
    ) -> Result<StoredFile> {
        let kept = self.receive(cx, filename, whole(Bytes::copy_from_slice(content))).await?;
        self.create_file_of(cx, filename, purpose, media_type, None, kept).await
    }

    /// Takes in a content as it comes, before all that is to be said of the file is known.
    ///
    /// # Errors
    /// `Invalid` for a name that is none, `TooLarge` naming the limit; as [`frontdesk_api::Contents::put`].
    pub async fn receive(&self, cx: &Cx, filename: &str, content: Pieces<'_>) -> Result<Kept> {
        check_name(filename)?;
        let (mut left, limit) = (self.limits.max_bytes, self.limits.max_bytes);
        let bounded = content.map(|piece| {
            let piece = piece?;
            left = left.checked_sub(piece.len()).ok_or_else(|| too_large(filename, limit))?;
            Ok(piece)
        });
        self.shelf.put(cx, bounded.boxed()).await
    }

    /// Makes a file of a content that was received; `expires_after`: how long it is kept, None: until it is deleted.
    ///
    /// # Errors
    /// `Invalid` for a name or purpose that is none; `Unavailable` when it comes too late. The content goes then.
    pub async fn create_file_of(
        &self,
        cx: &Cx,
        filename: &str,
        purpose: &str,
        media_type: Option<&str>,
        expires_after: Option<Duration>,
        kept: Kept,
    ) -> Result<StoredFile> {
        let made = async {
            check_name(filename)?;
            if purpose.is_empty() {
                return Err(Error::invalid("purpose", "purpose must not be empty"));
            }
            let file = self.describe(filename, purpose, media_type, &kept);
            let expires_at = expires_after
                .map(|after| file.created_at.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)));
            let file = StoredFile { expires_at, ..file };
            self.store.tenant(cx).add_file(&file, &kept.place).await?;
            Ok(file)
        };
        match made.await {
            Ok(file) => Ok(file),
            Err(error) => {
                self.shelf.discard(cx, kept).await;
                Err(error)
            }
        }
    }

    /// Clears a content that was received and that no file will be made of.
    pub async fn discard(&self, cx: &Cx, kept: Kept) {
        self.shelf.discard(cx, kept).await;
    }

    /// How much of an upload of so many bytes is in memory at its most, in bytes.
    #[must_use]
    pub fn memory(&self, upload: usize) -> usize {
        self.shelf.memory(upload)
    }

    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_file(&self, cx: &Cx, id: &str) -> Result<StoredFile> {
        self.store.tenant(cx).load_file(id).await
    }

    /// The bytes as they were uploaded, in memory.
    ///
    /// # Errors
    /// As [`frontdesk_api::Contents::open`].
    pub async fn load_content(&self, cx: &Cx, id: &str) -> Result<Bytes> {
        self.shelf.open(cx, id, None).await?.whole().await
    }

    /// The bytes as they were uploaded, or the bytes `range` of them, as they come.
    ///
    /// # Errors
    /// As [`frontdesk_api::Contents::open`].
    pub async fn open_content(&self, cx: &Cx, id: &str, range: Option<Range<u64>>) -> Result<Opened> {
        self.shelf.open(cx, id, range).await
    }

    /// Newest first unless asked otherwise; `purpose` None: of any.
    ///
    /// # Errors
    /// As the database's.
    pub async fn list_files(&self, cx: &Cx, purpose: Option<&str>, page: &PageRequest) -> Result<Page<StoredFile>> {
        self.store.tenant(cx).list_files(purpose, page).await
    }

    /// Deletes a file, also from the knowledge stores that have it.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn delete_file(&self, cx: &Cx, id: &str) -> Result<()> {
        let tenant = self.store.tenant(cx);
        tenant.load_file(id).await?;
        for store_id in tenant.stores_of_file(id).await? {
            self.take_out(cx, &store_id, id).await?;
        }
        self.forget(cx, id).await
    }

    /// Deletes the files of all tenants whose time is over; how many. One that cannot be deleted is logged and keeps no
    /// other.
    ///
    /// # Errors
    /// As the database's when asked for them.
    pub async fn expire(&self) -> Result<usize> {
        let (mut deleted, mut behind) = (0, (i64::MIN, String::new(), String::new()));
        loop {
            let old = self.store.system().expired_files(self.clock.now(), &behind, EXPIRED).await?;
            let Some(last) = old.last() else { return Ok(deleted) };
            behind.clone_from(last);
            for (_, tenant, id) in old {
                match self.delete_file(&Cx::internal(&tenant, "expired"), &id).await {
                    Ok(()) => deleted += 1,
                    // Another was first.
                    Err(error) if error.kind == Kind::NotFound => {}
                    Err(error) => {
                        tracing::warn!(tenant, file = id, error = %error, cause = ?error.source, "a file whose time is over could not be deleted");
                    }
                }
            }
        }
    }

    /// The row, and its content as soon as may be.
    pub(crate) async fn forget(&self, cx: &Cx, id: &str) -> Result<()> {
        self.store.tenant(cx).delete_file(id).await?;
        self.shelf.nudge();
        Ok(())
    }

    pub(crate) fn describe(&self, filename: &str, purpose: &str, media_type: Option<&str>, kept: &Kept) -> StoredFile {
        StoredFile {
            id: self.ids.next("file"),
            filename: filename.to_owned(),
            purpose: purpose.to_owned(),
            media_type: media_type.map(str::to_owned),
            bytes: kept.bytes,
            hash: kept.hash.clone(),
            created_at: self.clock.now(),
            expires_at: None,
        }
    }
}

pub(crate) fn check_name(filename: &str) -> Result<()> {
    if filename.trim().is_empty() || filename.len() > LONGEST_NAME || filename.chars().any(char::is_control) {
        let message = format!("a file name has 1 to {LONGEST_NAME} bytes and no control characters");
        return Err(Error::invalid("filename", message));
    }
    Ok(())
}

pub(crate) fn too_large(filename: &str, limit: usize) -> Error {
    let message = format!("'{filename}' is larger than the limit of {limit} bytes");
    Error::new(Kind::TooLarge, message).with_param("file").with_code("file_too_large")
}
