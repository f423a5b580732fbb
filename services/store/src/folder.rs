//! The data folder, and the lock that keeps it to one server process.
//!
//! Invariant: while a [`Folder`] lives no other process has one of the same path. The operating system
//! drops the lock when the process dies, however it dies.

use std::{
    fs::{self, File, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use frontdesk_api::{Error, Result};

/// A data folder held by this process.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Keeps the lock.
    _lock: File,
}

impl Folder {
    /// Makes the folder (for its owner only) if missing and takes it.
    ///
    /// # Errors
    /// `Conflict` naming the folder and the process that holds it; `Unavailable` when the folder cannot be
    /// made or written.
    pub fn take(path: &Path) -> Result<Self> {
        let unusable = |e: std::io::Error| {
            Error::unavailable(format!("cannot use the data folder {}: {e}", path.display())).with_source(e)
        };
        make(path).map_err(unusable)?;
        let lock = path.join("lock");
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(lock).map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(path, &mut lock)),
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        // For people and for the message above; the lock itself is the operating system's.
        let note = format!("{}\n", std::process::id());
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| lock.write_all(note.as_bytes()))
            .map_err(unusable)?;
        Ok(Self { path: path.to_path_buf(), _lock: lock })
    }

    /// Removes the folders in it whose names begin with `prefix`; one that cannot be removed stays.
    pub(crate) fn clear(&self, prefix: &str) {
        let Ok(entries) = fs::read_dir(&self.path) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix)) {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(folder = %entry.path().display(), %error, "what an earlier process left cannot be removed");
            }
        }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn taken(path: &Path, lock: &mut File) -> Error {
    let mut holder = String::new();
    let who = match lock.read_to_string(&mut holder) {
        Ok(_) if !holder.trim().is_empty() => format!(" (process {})", holder.trim()),
        _ => String::new(),
    };
    Error::conflict(format!(
        "the data folder {} is in use by another frontdesk{who}: stop it, or choose another data folder",
        path.display()
    ))
    .with_code("data_dir_in_use")
}

#[cfg(unix)]
fn make(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make(path: &Path) -> std::io::Result<()> {
    fs::create_dir_all(path)
}
