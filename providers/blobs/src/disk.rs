//! A folder of contents: `<folder>/<tenant>/<key>`.
//!
//! A content is written beside its name, forced to disk and then moved to it. The folder carries a mark from the moment
//! it is made, and is not made again: one without it is a volume that is not mounted. Invariants: what has its name is
//! whole, also after the machine lost power; a folder that is not there is never a content that is gone.

use std::{
    fmt::Display,
    io::{self, ErrorKind, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use frontdesk_api::{
    Blobs, Cx, Error, Result,
    blobs::Pieces,
    provider::{Health, Setting, Status},
};
use futures::{StreamExt as _, TryStreamExt as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    fs::{self, File},
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
};

/// Bytes read at a time.
const PIECE: usize = 256 << 10;

/// When to come again where the folder is not there.
const COME_AGAIN: Duration = Duration::from_secs(10);

/// What a content that is being written has behind its name.
const UNFINISHED: &str = ".part";

/// The mark of a folder that is there.
const MARK: &str = ".frontdesk";

/// What a file system puts into a new volume by itself.
const OF_THE_VOLUME: &str = "lost+found";

/// What an operator writes under `config:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The folder, made for the first file; absent: `files` under `data_dir`. Gateways that share a database share it.
    #[serde(default)]
    path: Option<PathBuf>,
}

pub struct Disk {
    id: String,
    folder: PathBuf,
    /// Somebody means to use it, so it is to be there.
    wanted: AtomicBool,
}

impl Disk {
    /// # Errors
    /// `Invalid` saying which key is none.
    pub fn of(setting: &Setting, config: Value) -> Result<Self> {
        let config: Config = crate::read(config)?;
        let folder = config.path.filter(|path| !path.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| setting.data_dir.join("files"));
        Ok(Self { id: setting.id.clone(), folder, wanted: AtomicBool::new(false) })
    }

    fn folder_of(&self, cx: &Cx) -> PathBuf {
        self.folder.join(name(&cx.tenant))
    }

    /// The cause is the system's word for it: no path is in it.
    fn failed(&self, doing: &str, cause: io::Error) -> Error {
        Error::unavailable(format!("the file store '{}' cannot {doing}: {}", self.id, word(&cause))).with_source(cause)
    }

    /// That the folder is there. One that an earlier version has filled has no mark yet and gets it.
    ///
    /// # Errors
    /// `Unavailable` when it is not.
    async fn there(&self) -> Result<()> {
        let failed = |cause| self.failed("look into its folder", cause);
        if fs::try_exists(self.folder.join(MARK)).await.map_err(failed)? {
            return Ok(());
        }
        if self.is_filled().await.map_err(failed)? {
            return self.mark().await.map_err(failed);
        }
        let message = format!("the folder of the file store '{}' is not there: is its volume mounted?", self.id);
        Err(Error::unavailable(message).with_code("file_store_unavailable").with_retry_after(COME_AGAIN))
    }

    async fn is_filled(&self) -> io::Result<bool> {
        let mut entries = match fs::read_dir(&self.folder).await {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(false),
            entries => entries?,
        };
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name() != OF_THE_VOLUME && entry.file_type().await?.is_dir() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn mark(&self) -> io::Result<()> {
        File::create(self.folder.join(MARK)).await?.sync_all().await?;
        sync(&self.folder).await
    }

    async fn write(&self, unfinished: &PathBuf, finished: &PathBuf, mut content: Pieces<'_>) -> Result<()> {
        let failed = |cause| self.failed("write a file", cause);
        let mut file = File::create(unfinished).await.map_err(failed)?;
        while let Some(piece) = content.try_next().await? {
            file.write_all(&piece).await.map_err(failed)?;
        }
        // The last write may still be under way, and what becomes of it `sync_all` does not tell.
        file.flush().await.map_err(failed)?;
        file.sync_all().await.map_err(failed)?;
        drop(file);
        fs::rename(unfinished, finished).await.map_err(failed)?;
        // The name is in the folder, and the folder's own in the one above, so those are forced to disk, too.
        for folder in finished.ancestors().skip(1).take(2) {
            sync(folder).await.map_err(failed)?;
        }
        Ok(())
    }
}

async fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder).await?.sync_all().await
}

/// A part of a path that is no more than that, whatever stands in `text`.
fn name(text: &str) -> String {
    const PLAIN: percent_encoding::AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'-');
    utf8_percent_encode(text, &PLAIN).to_string()
}

fn word(cause: &io::Error) -> impl Display {
    cause.to_string().to_lowercase()
}

#[async_trait]
impl Blobs for Disk {
    async fn prepare(&self, used: bool) -> Result<()> {
        self.wanted.store(true, Ordering::Relaxed);
        match self.there().await {
            Err(_) if !used => {}
            there => return there,
        }
        let made = async {
            fs::create_dir_all(&self.folder).await?;
            self.mark().await?;
            match self.folder.parent() {
                Some(above) if !above.as_os_str().is_empty() => sync(above).await,
                _ => Ok(()),
            }
        };
        made.await.map_err(|cause| self.failed("make its folder", cause))
    }

    async fn put(&self, cx: &Cx, key: &str, content: Pieces<'_>) -> Result<()> {
        let folder = self.folder_of(cx);
        self.there().await?;
        // Not those above: a folder that is gone meanwhile stays so.
        match fs::create_dir(&folder).await {
            Err(cause) if cause.kind() != ErrorKind::AlreadyExists => return Err(self.failed("make a folder", cause)),
            _ => {}
        }
        let (finished, unfinished) = (folder.join(name(key)), folder.join(name(key) + UNFINISHED));
        let written = self.write(&unfinished, &finished, content).await;
        if written.is_err() {
            // Whatever is left is cleared by `delete`, too.
            let _ = fs::remove_file(&unfinished).await;
        }
        written
    }

    async fn get(&self, cx: &Cx, key: &str, range: Option<Range<u64>>) -> Result<Pieces<'static>> {
        let mut file = match File::open(self.folder_of(cx).join(name(key))).await {
            Ok(file) => file,
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                self.there().await?;
                return Err(Error::not_found(format!("the file store '{}' has no such content", self.id)));
            }
            Err(cause) => return Err(self.failed("read a file", cause)),
        };
        let range = range.unwrap_or(0..u64::MAX);
        if range.start > 0 {
            file.seek(SeekFrom::Start(range.start)).await.map_err(|cause| self.failed("read a file", cause))?;
        }
        let (file, id) = (file.take(range.end.saturating_sub(range.start)), self.id.clone());
        let pieces = futures::stream::try_unfold((file, id), |(mut file, id)| async move {
            let mut piece = BytesMut::with_capacity(PIECE);
            let read = file.read_buf(&mut piece).await.map_err(|cause| {
                let message = format!("the file store '{id}' cannot read a file: {}", word(&cause));
                Error::unavailable(message).with_source(cause)
            })?;
            Ok((read > 0).then(|| (Bytes::from(piece), (file, id))))
        });
        Ok(pieces.boxed())
    }

    async fn delete(&self, cx: &Cx, key: &str) -> Result<()> {
        self.there().await?;
        let folder = self.folder_of(cx);
        for file in [folder.join(name(key) + UNFINISHED), folder.join(name(key))] {
            match fs::remove_file(&file).await {
                Err(cause) if cause.kind() != ErrorKind::NotFound => return Err(self.failed("delete a file", cause)),
                _ => {}
            }
        }
        Ok(())
    }

    async fn health(&self) -> Health {
        let wanted = self.wanted.load(Ordering::Relaxed);
        if let Err(error) = self.there().await {
            let status = if wanted { Status::Error } else { Status::Unknown };
            let more = if wanted { "" } else { " (or no file was put there yet)" };
            return Health { status, message: Some(format!("{}: {error}{more}", self.folder.display())), facts: None };
        }
        let probe = self.folder.join(".writable");
        let tried = async {
            fs::write(&probe, b"").await?;
            fs::remove_file(&probe).await
        };
        match tried.await {
            // Another gateway may have tried at the same time and been first to clear up.
            Err(cause) if cause.kind() != ErrorKind::NotFound => Health {
                status: Status::Error,
                message: Some(format!("{} cannot be written: {}", self.folder.display(), word(&cause))),
                facts: None,
            },
            _ => Health { message: Some(self.folder.display().to_string()), ..Health::default() },
        }
    }
}
