//! One file on its way to disk: into `NAME.part`, resumed where it broke off, checked, and only then given its name.
//!
//! Invariants: what stands under its own name has passed its check; a part is written by one process at a time; a part that
//! fails its check is deleted; an interruption, a kill included, costs nothing that is already on disk.

use std::{
    fs::{File, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use frontdesk_api::{Error, Result};
use futures::StreamExt;
use http::{Uri, header};

use super::{
    choose::Offer,
    digest::Digest,
    hub::{ATTEMPTS, Hub, pause, whole_size},
    progress::Progress,
};

/// How much is read from disk at once, in bytes.
const CHUNK: usize = 1 << 20;

/// What is on disk of a file before it is fetched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum OnDisk {
    Nothing,
    /// Bytes of its part.
    Part(u64),
    /// Under its own name, of the right size as far as one is known.
    Whole,
}

impl OnDisk {
    /// # Errors
    /// `Conflict` where another file has the name.
    pub(super) fn of(offer: &Offer, dir: &Path) -> Result<Self> {
        let target = dir.join(offer.place());
        if let Ok(there) = std::fs::metadata(&target) {
            if there.is_file() && offer.size.is_none_or(|size| size == there.len()) {
                return Ok(Self::Whole);
            }
            return Err(other(&target));
        }
        Ok(std::fs::metadata(part_of(&target)).map_or(Self::Nothing, |part| Self::Part(part.len())))
    }

    /// Bytes that need not come.
    pub(super) fn bytes(self, offer: &Offer) -> u64 {
        let size = offer.size.unwrap_or_default();
        match self {
            Self::Nothing => 0,
            Self::Part(bytes) => bytes.min(size),
            Self::Whole => size,
        }
    }
}

fn other(target: &Path) -> Error {
    let message = format!(
        "{} is here already with another content: remove it, or name another folder with --dir",
        target.display()
    );
    Error::conflict(message)
}

fn part_of(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// Fetches `offer` from `at` into `dir`; one that is here and good is left as it is, and `false` says so.
///
/// # Errors
/// `Conflict` (another content, another process), `Upstream` (a check that failed, a connection that broke off again and
/// again), what [`Hub::get`] says, `Internal` for the disk.
pub(super) async fn fetch(hub: &Hub<'_>, offer: &Offer, at: &Uri, dir: &Path, progress: &mut Progress) -> Result<bool> {
    let target = dir.join(offer.place());
    if OnDisk::of(offer, dir)? == OnDisk::Whole {
        progress.begin(offer, 0)?;
        let mut digest = Digest::new(&offer.sum, offer.size);
        let mut file = File::open(&target).map_err(|e| disk("reading", &target, e))?;
        read(&mut file, &target, |bytes| {
            digest.update(bytes);
            progress.add(bytes.len())
        })?;
        return digest.check().map(|()| false).map_err(|_| other(&target));
    }
    let folder = target.parent().unwrap_or(dir);
    std::fs::create_dir_all(folder).map_err(|e| disk("making", folder, e))?;
    let mut part = Part::open(offer, &target)?;
    progress.begin(offer, part.have)?;
    part.fill(hub, offer, at, progress).await?;
    part.finish(&target)?;
    Ok(true)
}

/// A file that is not whole yet.
struct Part {
    path: PathBuf,
    file: File,
    /// Bytes that are on disk and in `digest`.
    have: u64,
    digest: Digest,
}

impl Part {
    fn open(offer: &Offer, target: &Path) -> Result<Self> {
        let path = part_of(target);
        let options = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(|e| disk("writing", &path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::conflict(format!("another process is fetching {}", target.display())));
            }
            Err(TryLockError::Error(e)) => return Err(disk("locking", &path, e)),
        }
        let length = file.metadata().map_err(|e| disk("reading", &path, e))?.len();
        let mut part = Self { path, file, have: 0, digest: Digest::new(&offer.sum, offer.size) };
        if offer.size.is_some_and(|size| length > size) {
            part.restart(offer)?;
        }
        let (digest, have) = (&mut part.digest, &mut part.have);
        file = part.file.try_clone().map_err(|e| disk("reading", &part.path, e))?;
        read(&mut file, &part.path, |bytes| {
            digest.update(bytes);
            *have += bytes.len() as u64;
            Ok(())
        })?;
        Ok(part)
    }

    /// From the first byte again.
    fn restart(&mut self, offer: &Offer) -> Result<()> {
        self.have = 0;
        self.digest = Digest::new(&offer.sum, offer.size);
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(|_| ()).map_err(|e| disk("writing", &self.path, e))
    }

    /// Asks for what is missing until nothing is.
    async fn fill(&mut self, hub: &Hub<'_>, offer: &Offer, at: &Uri, progress: &mut Progress) -> Result<()> {
        let mut in_vain = 0;
        while offer.size != Some(self.have) {
            let before = self.have;
            let Err(error) = self.take(hub, offer, at, progress).await else {
                if offer.size.is_none() {
                    return Ok(()); // it ends where the server ends it
                }
                continue;
            };
            if self.have > before {
                in_vain = 0;
            }
            in_vain += 1;
            let broken_off = is_broken_off(&error);
            if broken_off && in_vain < ATTEMPTS {
                if self.have == before {
                    tokio::time::sleep(pause(in_vain)).await;
                }
                continue;
            }
            if self.have == 0 {
                self.delete(); // nothing is in it
            }
            if !broken_off || self.have == 0 {
                return Err(error);
            }
            let (have, path) = (self.have, self.path.display());
            let message = format!("{}; {have} bytes are in {path}: the same command goes on from there", error.message);
            return Err(Error { message, ..error });
        }
        Ok(())
    }

    /// One answer, to its end.
    async fn take(&mut self, hub: &Hub<'_>, offer: &Offer, at: &Uri, progress: &mut Progress) -> Result<()> {
        let what = format!("file '{}'", offer.place());
        let mut got = if self.have == 0 {
            hub.get(&what, at, None).await?
        } else {
            let got = hub.get(&what, at, Some(format!("bytes={}-", self.have))).await?;
            let from = format!("bytes {}-", self.have);
            if got.status == 206 && got.header(header::CONTENT_RANGE).is_some_and(|range| range.starts_with(&from)) {
                got
            } else {
                progress.back(self.have)?;
                self.restart(offer)?;
                if got.status == 200 { got } else { hub.get(&what, at, None).await? }
            }
        };
        if self.have == 0 && got.status != 200 {
            let message = format!("{} answered {} when it was asked for the whole of {what}", hub.endpoint, got.status);
            return Err(Error::upstream(message).with_code(FALSE));
        }
        if let (Some(promised), Some(is)) = (offer.size, whole_size(&got))
            && promised != is
        {
            return Err(
                Error::upstream(format!("{what} has {is} bytes, and the hub's list says {promised}")).with_code(FALSE)
            );
        }
        while let Some(piece) = got.body.next().await {
            let piece = piece.map_err(|e| e.with_code(BROKEN_OFF))?;
            if offer.size.is_some_and(|size| self.have + piece.len() as u64 > size) {
                self.delete();
                return Err(Error::upstream(format!("{what} is longer than the hub's list says")).with_code(FALSE));
            }
            self.file.write_all(&piece).map_err(|e| disk("writing", &self.path, e))?;
            self.digest.update(&piece);
            self.have += piece.len() as u64;
            progress.add(piece.len())?;
        }
        if offer.size.is_some_and(|size| self.have < size) {
            return Err(Error::upstream(format!("the answer with {what} ended early")).with_code(BROKEN_OFF));
        }
        Ok(())
    }

    /// Checks what came and gives it its name.
    fn finish(self, target: &Path) -> Result<()> {
        self.file.sync_all().map_err(|e| disk("writing", &self.path, e))?;
        let Self { path, digest, file, .. } = self;
        if let Err(wrong) = digest.check() {
            let _ = std::fs::remove_file(&path);
            let name = target.file_name().unwrap_or_default().to_string_lossy();
            let message =
                format!("what came as {name} is not what was promised: its {wrong}; it was deleted, fetch it again");
            return Err(Error::upstream(message).with_code("checksum"));
        }
        std::fs::rename(&path, target).map_err(|e| disk("renaming", &path, e))?;
        drop(file);
        // The name outlives a power cut only when its folder is on disk too.
        let folder = target.parent().map(File::open);
        if let Some(Ok(folder)) = folder {
            let _ = folder.sync_all();
        }
        Ok(())
    }

    fn delete(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

const BROKEN_OFF: &str = "broken_off";
const FALSE: &str = "not_as_promised";

fn is_broken_off(error: &Error) -> bool {
    matches!(error.code.as_deref(), Some(BROKEN_OFF | "unreachable"))
}

/// Hands the rest of a file to `each`, piece by piece.
fn read(file: &mut File, path: &Path, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk).map_err(|e| disk("reading", path, e))? {
            0 => return Ok(()),
            n => each(&chunk[..n])?,
        }
    }
}

fn disk(doing: &str, path: &Path, cause: std::io::Error) -> Error {
    Error::internal(format!("{doing} {}", path.display()), cause)
}
