//! The shelf: where the contents of files are, in which of the places the operator configured.
//!
//! New contents go to the first place; the others are read and cleared. A content that is no row's is noted before it
//! is written and held while it is, so that a process that dies leaves nothing that is not found ([`crate::sweep`]).
//! Invariant: what a row names was there whole when the row was written.

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use frontdesk_api::{
    Blobs, Contents, Cx, Error, Ids, Kind, Result,
    blobs::{DAMAGED, Kept, Opened, Pieces, Place, whole},
};
use frontdesk_store::{Store, blobs::lost, files::Placed};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::{
    sync::{Notify, OnceCell},
    time::{Instant, MissedTickBehavior, interval_at},
};

use crate::gather::gather;

/// How often an upload that goes into a row lies in memory at its most: its parts and the whole ([`crate::gather`]),
/// then the whole and the database's copy.
const COPIES: usize = 2;

/// What of an upload is in memory that goes elsewhere: what a place gathers before it writes it, and what is on its
/// way to it. The largest of the places gathers 8 MiB (providers/blobs).
const ON_THE_WAY: usize = 16 << 20;

/// A place for contents; None: the row of the file itself.
pub type At = Option<Arc<dyn Blobs>>;

/// How long, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How long a content that is written or cleared is held without a sign of its process; 10 minutes unless told.
    pub lease: Duration,
    /// How often contents that nobody names are looked for; 10 s unless told.
    pub look: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { lease: Duration::from_secs(600), look: Duration::from_secs(10) }
    }
}

/// The contents of all files. Clones share everything.
#[derive(Clone)]
pub struct Shelf(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) store: Store,
    ids: Arc<dyn Ids>,
    /// By their ids; the first takes what is new. None at all: rows.
    pub(crate) places: Vec<(String, At)>,
    /// Done once the first place took its first content.
    ready: OnceCell<()>,
    pub(crate) pace: Pace,
    /// Rung when there is something to clear.
    pub(crate) wake: Notify,
}

impl Shelf {
    #[must_use]
    pub fn new(store: Store, ids: Arc<dyn Ids>, places: Vec<(String, At)>) -> Self {
        let (pace, ready, wake) = (Pace::default(), OnceCell::new(), Notify::new());
        Self(Arc::new(Inner { store, ids, places, ready, pace, wake }))
    }

    /// A shelf of another pace.
    #[must_use]
    pub fn with_pace(self, pace: Pace) -> Self {
        let Inner { store, ids, places, .. } = &*self.0;
        Self(Arc::new(Inner {
            store: store.clone(),
            ids: ids.clone(),
            places: places.clone(),
            ready: OnceCell::new(),
            pace,
            wake: Notify::new(),
        }))
    }

    /// Where what is new goes; None: into rows.
    fn first(&self) -> Option<(&str, &Arc<dyn Blobs>)> {
        let (id, place) = self.0.places.first()?;
        Some((id, place.as_ref()?))
    }

    /// The place of that id.
    ///
    /// # Errors
    /// `Upstream` when the configuration has none.
    pub(crate) fn place(&self, id: &str) -> Result<&Arc<dyn Blobs>> {
        let found = self.0.places.iter().find(|(known, _)| known == id).and_then(|(_, place)| place.as_ref());
        found.ok_or_else(|| {
            let message = format!("its content is in the file store '{id}', which is not configured (providers.files)");
            Error::upstream(message).with_code("file_store_not_configured")
        })
    }

    /// That there is something to clear.
    pub(crate) fn nudge(&self) {
        self.0.wake.notify_one();
    }

    pub(crate) fn lease(&self) -> i64 {
        i64::try_from(self.0.pace.lease.as_micros()).unwrap_or(i64::MAX)
    }

    /// Ends with an error when the blob was found loose.
    async fn hold(&self, cx: &Cx, key: &str) -> Error {
        let renew = self.0.pace.lease / 4;
        let mut tick = interval_at(Instant::now() + renew, renew);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.0.store.tenant(cx).hold_blob(key, self.lease()).await {
                Ok(true) => {}
                Ok(false) => return lost(),
                Err(error) => {
                    tracing::warn!(key, error = %error, cause = ?error.source, "a lease on a content could not be renewed");
                }
            }
        }
    }

    /// Makes the place ready for its first content, unless rows say that it has some already.
    ///
    /// # Errors
    /// `Unavailable` where it should have contents and is not there.
    pub(crate) async fn ready(&self, place: &str, blobs: &dyn Blobs) -> Result<()> {
        let holdings = self.0.store.system().holdings().await?;
        blobs.prepare(holdings.iter().any(|holding| holding.place == place)).await
    }

    async fn put_at(&self, cx: &Cx, place: &str, blobs: &dyn Blobs, content: Pieces<'_>) -> Result<Kept> {
        self.0.ready.get_or_try_init(|| self.ready(place, blobs)).await?;
        let tenant = self.0.store.tenant(cx);
        let key = self.0.ids.next("blob");
        tenant.begin_blob(&key, place, self.lease()).await?;
        let (mut hasher, mut bytes) = (blake3::Hasher::new(), 0);
        let counted = content.inspect_ok(|piece| {
            hasher.update(piece);
            bytes += i64::try_from(piece.len()).unwrap_or(i64::MAX);
        });
        let put = tokio::select! {
            put = blobs.put(cx, &key, counted.boxed()) => put,
            error = self.hold(cx, &key) => Err(error),
        };
        // From here on its lease is a whole one again, for whoever writes the row.
        let held = match put {
            Ok(()) => {
                tenant.hold_blob(&key, self.lease()).await.and_then(|held| if held { Ok(()) } else { Err(lost()) })
            }
            error => error,
        };
        let kept = Kept { bytes, hash: hasher.finalize().as_bytes().to_vec(), place: Place::Blob(key) };
        if let Err(error) = held {
            self.discard(cx, kept).await;
            return Err(error);
        }
        Ok(kept)
    }
}

#[async_trait]
impl Contents for Shelf {
    async fn put(&self, cx: &Cx, content: Pieces<'_>) -> Result<Kept> {
        if let Some((id, place)) = self.first() {
            return self.put_at(cx, id, place.as_ref(), content).await;
        }
        let all = gather(content).await?;
        let (bytes, hash) = (i64::try_from(all.len()).unwrap_or(i64::MAX), blake3::hash(&all).as_bytes().to_vec());
        Ok(Kept { bytes, hash, place: Place::Row(all) })
    }

    async fn discard(&self, cx: &Cx, kept: Kept) {
        let Place::Blob(key) = kept.place else { return };
        if let Err(error) = self.0.store.tenant(cx).let_go_of_blob(&key).await {
            tracing::warn!(key, error = %error, cause = ?error.source, "a content that is not wanted is cleared when its lease has passed");
        }
        self.nudge();
    }

    async fn open(&self, cx: &Cx, file_id: &str, range: Option<Range<u64>>) -> Result<Opened> {
        let placed = self.0.store.tenant(cx).find_content(file_id).await?;
        self.open_at(cx, file_id, placed, range).await
    }

    fn memory(&self, upload: usize) -> usize {
        match self.first() {
            None => upload.saturating_mul(COPIES),
            Some(_) => upload.min(ON_THE_WAY),
        }
    }
}

impl Shelf {
    /// [`Contents::open`], where it is known where the content is.
    pub(crate) async fn open_at(
        &self,
        cx: &Cx,
        file_id: &str,
        placed: Placed,
        range: Option<Range<u64>>,
    ) -> Result<Opened> {
        let Placed { bytes, hash, content, place } = placed;
        let bytes = u64::try_from(bytes).unwrap_or_default();
        let part = range.map(|range| range.start.min(bytes)..range.end.min(bytes)).filter(|part| *part != (0..bytes));
        let read = part.clone().unwrap_or(0..bytes);
        let pieces = match content {
            Place::Row(content) => {
                let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(content.len());
                whole(content.slice(at(read.start)..at(read.end).max(at(read.start))))
            }
            Place::Blob(key) => {
                let got = async { self.place(&place)?.get(cx, &key, part.clone()).await }.await;
                got.map_err(|error| about(file_id, error))?
            }
        };
        let check = Check {
            file_id: file_id.to_owned(),
            left: read.end.saturating_sub(read.start),
            hasher: part.is_none().then(|| (blake3::Hasher::new(), hash)),
        };
        Ok(Opened { bytes, range: read, pieces: check.over(pieces) })
    }
}

/// What went wrong with a file's content.
fn about(file_id: &str, error: Error) -> Error {
    let message = format!("the file '{file_id}' cannot be read: {}", error.message);
    // The file is there; that its content is not is not the client's doing.
    if error.kind == Kind::NotFound {
        return Error { kind: Kind::Upstream, message, code: Some(DAMAGED.into()), ..error };
    }
    Error { message, ..error }
}

/// Holds what is read of a content against what its row says.
struct Check {
    file_id: String,
    /// Bytes that are still to come.
    left: u64,
    /// Beside it what it must come to; None where a part is read.
    hasher: Option<(blake3::Hasher, Vec<u8>)>,
}

impl Check {
    /// `pieces`, of which the last is given out only when the content is right.
    fn over(self, pieces: Pieces<'static>) -> Pieces<'static> {
        let checked = futures::stream::try_unfold((self, pieces), |(mut check, mut pieces)| async move {
            match pieces.try_next().await.map_err(|error| about(&check.file_id, error))? {
                Some(piece) => {
                    check.see(&piece)?;
                    Ok(Some((piece, (check, pieces))))
                }
                None if check.left == 0 => Ok(None),
                None => Err(check.damaged("it ends too early")),
            }
        });
        checked.boxed()
    }

    fn see(&mut self, piece: &[u8]) -> Result<()> {
        let long = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(long).ok_or_else(|| self.damaged("it is longer than it was"))?;
        let Some((hasher, hash)) = &mut self.hasher else { return Ok(()) };
        hasher.update(piece);
        if self.left == 0 && hasher.finalize().as_bytes()[..] != hash[..] {
            return Err(self.damaged("it is not what was stored"));
        }
        Ok(())
    }

    fn damaged(&self, how: &str) -> Error {
        let message = format!("the content of the file '{}' is damaged: {how}", self.file_id);
        tracing::error!("{message}");
        Error::upstream(message).with_code(DAMAGED)
    }
}
