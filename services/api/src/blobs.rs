//! Contents: the bytes of files, wherever the operator keeps them.
//!
//! `Blobs` is one place (a folder, a bucket); `Contents` is what services see: it knows every place, and which of them
//! has the content of which file. Invariants: a content never changes; a row names one only once it is there whole,
//! and one that no row names is cleared.

use std::ops::Range;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream::BoxStream};

use crate::{Cx, Result, provider::Health};

/// Code of errors about a content that is gone or is not as its row says: they do not pass.
pub const DAMAGED: &str = "file_content_damaged";

/// Bytes in pieces of any size; the first error ends them.
pub type Pieces<'a> = BoxStream<'a, Result<Bytes>>;

/// A place that keeps contents by key.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Makes the place ready for its first content. `used`: it has some already, so that what is missing is not made
    /// anew, which would read as if they were gone.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached, or is `used` and not there.
    async fn prepare(&self, used: bool) -> Result<()> {
        let _ = used;
        Ok(())
    }

    /// Keeps `content` under `key`, whole or not at all; in memory is a part of it, however long it is. A key is
    /// written once. Dropped before its end it may leave something behind that [`Blobs::delete`] clears.
    ///
    /// # Errors
    /// As `content`'s; `Unavailable` when the place cannot be reached or is full, `Upstream` when it refuses.
    async fn put(&self, cx: &Cx, key: &str, content: Pieces<'_>) -> Result<()>;

    /// The content of `key`, or the bytes `range` of it, which lies inside.
    ///
    /// # Errors
    /// `NotFound` when the place is there and has none; as [`Blobs::put`]. A stream that breaks off ends with an error.
    async fn get(&self, cx: &Cx, key: &str, range: Option<Range<u64>>) -> Result<Pieces<'static>>;

    /// Clears `key`, and what a [`Blobs::put`] of it left behind that never came to its end. Nothing there: well.
    ///
    /// # Errors
    /// As [`Blobs::put`].
    async fn delete(&self, cx: &Cx, key: &str) -> Result<()>;

    /// Whether it can be reached and used; asks, and changes nothing that lasts.
    async fn health(&self) -> Health;
}

/// The contents of all files.
#[async_trait]
pub trait Contents: Send + Sync {
    /// Keeps a content that no row names yet. It stays for some minutes; whoever wants it writes a row by then.
    ///
    /// # Errors
    /// As `content`'s, and as [`Blobs::put`]; nothing of it stays then.
    async fn put(&self, cx: &Cx, content: Pieces<'_>) -> Result<Kept>;

    /// Clears a content that will not be named by a row after all.
    async fn discard(&self, cx: &Cx, kept: Kept);

    /// The content of a file, or the bytes `range` of it as far as it has them. One that is read from its beginning
    /// to its end is held against its hash.
    ///
    /// # Errors
    /// `NotFound` when the tenant has no such file; `Upstream` naming the file when its content is missing or another,
    /// and as [`Blobs::get`].
    async fn open(&self, cx: &Cx, file_id: &str, range: Option<Range<u64>>) -> Result<Opened>;

    /// How much of an upload of so many bytes is in memory at its most, in bytes.
    fn memory(&self, upload: usize) -> usize;
}

/// A content that was put, for the row that will name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub bytes: i64,
    /// BLAKE3 of the content.
    pub hash: Vec<u8>,
    pub place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// It goes into the row itself.
    Row(Bytes),
    /// Under this key in one of the [`Blobs`].
    Blob(String),
}

/// A content that is being read.
pub struct Opened {
    /// Of the whole content, in bytes.
    pub bytes: u64,
    /// What is read of it.
    pub range: Range<u64>,
    pub pieces: Pieces<'static>,
}

impl Opened {
    /// All of it in memory.
    ///
    /// # Errors
    /// As its stream's.
    pub async fn whole(mut self) -> Result<Bytes> {
        let Some(first) = self.pieces.next().await.transpose()? else { return Ok(Bytes::new()) };
        let Some(second) = self.pieces.next().await.transpose()? else { return Ok(first) };
        let mut all = BytesMut::with_capacity(usize::try_from(self.range.end - self.range.start).unwrap_or_default());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(piece) = self.pieces.next().await.transpose()? {
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }
}

/// Bytes that are in memory, as pieces.
#[must_use]
pub fn whole(content: impl Into<Bytes>) -> Pieces<'static> {
    let content = content.into();
    futures::stream::iter((!content.is_empty()).then_some(Ok(content))).boxed()
}
