//! Contents in the rows of their files, as they are where no other place is configured; and out of reach for as long as
//! a test wants.

use std::{
    ops::Range,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use frontdesk_api::{
    Contents, Cx, Error, Result,
    blobs::{Kept, Opened, Pieces, Place, whole},
};
use frontdesk_store::Store;
use futures::TryStreamExt as _;

pub struct InRows {
    pub store: Store,
    /// How many more times it cannot be reached.
    pub out: AtomicUsize,
    /// How many contents it still takes before it cannot be reached.
    pub takes: AtomicUsize,
    pub discarded: AtomicUsize,
}

impl InRows {
    pub fn new(store: &Store) -> Self {
        let [out, discarded] = [0, 0].map(AtomicUsize::new);
        Self { store: store.clone(), out, takes: AtomicUsize::new(usize::MAX), discarded }
    }

    fn reach(&self) -> Result<()> {
        let down = |left: usize| left.checked_sub(1);
        match self.out.fetch_update(Ordering::SeqCst, Ordering::SeqCst, down) {
            Ok(_) => Err(Error::unavailable("the store of files is down")),
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl Contents for InRows {
    async fn put(&self, _: &Cx, content: Pieces<'_>) -> Result<Kept> {
        if self.takes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err() {
            self.takes.store(usize::MAX, Ordering::SeqCst);
            return Err(Error::unavailable("the store of files is down"));
        }
        self.reach()?;
        let all = content.try_collect::<Vec<_>>().await?.concat();
        let (bytes, hash) = (i64::try_from(all.len()).expect("small"), vec![7; 32]);
        Ok(Kept { bytes, hash, place: Place::Row(all.into()) })
    }

    async fn discard(&self, _: &Cx, _: Kept) {
        self.discarded.fetch_add(1, Ordering::SeqCst);
    }

    async fn open(&self, cx: &Cx, file_id: &str, _: Option<Range<u64>>) -> Result<Opened> {
        self.reach()?;
        let Place::Row(content) = self.store.tenant(cx).find_content(file_id).await?.content else {
            panic!("in the row")
        };
        let bytes = u64::try_from(content.len()).expect("small");
        Ok(Opened { bytes, range: 0..bytes, pieces: whole(content) })
    }

    fn memory(&self, upload: usize) -> usize {
        upload
    }
}
