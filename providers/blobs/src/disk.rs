//! A folder of contents: `<folder>/<tenant>/<key>`.
//!
//! A content is written beside its name, forced to disk and then moved to it. Invariant: what has its name is whole,
//! also after the machine lost power.

use std::{
    fmt::Display,
    io::{ErrorKind, SeekFrom},
    ops::Range,
    path::PathBuf,
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

/// What a content that is being written has behind its name.
const UNFINISHED: &str = ".part";

/// What an operator writes under `config:`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The folder, made if missing; absent: `files` under `data_dir`. Gateways that share a database share it.
    #[serde(default)]
    path: Option<PathBuf>,
}

pub struct Disk {
    id: String,
    folder: PathBuf,
}

impl Disk {
    /// # Errors
    /// `Invalid` saying which key is none.
    pub fn of(setting: &Setting, config: Value) -> Result<Self> {
        let config: Config = crate::read(config)?;
        let folder = config.path.filter(|path| !path.as_os_str().is_empty());
        Ok(Self { id: setting.id.clone(), folder: folder.unwrap_or_else(|| setting.data_dir.join("files")) })
    }

    fn folder_of(&self, cx: &Cx) -> PathBuf {
        self.folder.join(name(&cx.tenant))
    }

    /// The cause is the system's word for it: no path is in it.
    fn failed(&self, doing: &str, cause: std::io::Error) -> Error {
        Error::unavailable(format!("the file store '{}' cannot {doing}: {}", self.id, word(&cause))).with_source(cause)
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
        // The name is in the folder, so that is forced to disk, too.
        let Some(folder) = finished.parent() else { return Ok(()) };
        File::open(folder).await.map_err(failed)?.sync_all().await.map_err(failed)
    }
}

/// A part of a path that is no more than that, whatever stands in `text`.
fn name(text: &str) -> String {
    const PLAIN: percent_encoding::AsciiSet = NON_ALPHANUMERIC.remove(b'_').remove(b'-');
    utf8_percent_encode(text, &PLAIN).to_string()
}

fn word(cause: &std::io::Error) -> impl Display {
    cause.to_string().to_lowercase()
}

#[async_trait]
impl Blobs for Disk {
    async fn put(&self, cx: &Cx, key: &str, content: Pieces<'_>) -> Result<()> {
        let folder = self.folder_of(cx);
        fs::create_dir_all(&folder).await.map_err(|cause| self.failed("make a folder", cause))?;
        let (finished, unfinished) = (folder.join(name(key)), folder.join(name(key) + UNFINISHED));
        let written = self.write(&unfinished, &finished, content).await;
        if written.is_err() {
            // Whatever is left is cleared by `delete`, too.
            let _ = fs::remove_file(&unfinished).await;
        }
        written
    }

    async fn get(&self, cx: &Cx, key: &str, range: Option<Range<u64>>) -> Result<Pieces<'static>> {
        let opened = File::open(self.folder_of(cx).join(name(key))).await;
        let mut file = opened.map_err(|cause| match cause.kind() {
            ErrorKind::NotFound => Error::not_found(format!("the file store '{}' has no such content", self.id)),
            _ => self.failed("read a file", cause),
        })?;
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
        let probe = self.folder.join(".writable");
        let tried = async {
            fs::create_dir_all(&self.folder).await?;
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
