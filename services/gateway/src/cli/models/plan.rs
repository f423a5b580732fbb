//! What a pull is about to do, told before it is done; and what would keep it from being done.

use std::{
    io::{BufRead, IsTerminal, Write},
    path::Path,
};

use frontdesk_api::{Error, Result};
use indicatif::DecimalBytes;
use serde_json::json;

use super::{choose::Choice, digest::Sum, fetch::OnDisk, progress::tell};
use crate::cli::say;

/// A choice and where it goes.
pub(super) struct Plan<'a> {
    pub name: &'a str,
    pub dir: &'a Path,
    pub choice: &'a Choice,
    on_disk: Vec<OnDisk>,
}

impl<'a> Plan<'a> {
    /// # Errors
    /// As [`OnDisk::of`].
    pub(super) fn new(name: &'a str, dir: &'a Path, choice: &'a Choice) -> Result<Self> {
        let on_disk = choice.files.iter().map(|file| OnDisk::of(file, dir)).collect::<Result<_>>()?;
        Ok(Self { name, dir, choice, on_disk })
    }

    /// Bytes of all files; 0 where one's size is not known.
    pub(super) fn bytes(&self) -> u64 {
        let sizes: Option<Vec<u64>> = self.choice.files.iter().map(|file| file.size).collect();
        sizes.unwrap_or_default().into_iter().fold(0, u64::saturating_add)
    }

    /// Bytes that are still to come.
    fn missing(&self) -> u64 {
        let here = self.choice.files.iter().zip(&self.on_disk).map(|(file, on_disk)| on_disk.bytes(file));
        self.bytes().saturating_sub(here.fold(0, u64::saturating_add))
    }

    fn is_all_here(&self) -> bool {
        self.on_disk.iter().all(|on_disk| *on_disk == OnDisk::Whole)
    }

    /// Tells it. `events`: for scripts, on stdout.
    pub(super) fn show(&self, events: bool) -> Result<()> {
        let Choice { files, others } = self.choice;
        if events {
            let files: Vec<_> = files
                .iter()
                .map(|file| json!({ "path": file.path, "size": file.size, "sha256": sha256(&file.sum) }))
                .collect();
            return say(
                json!({ "event": "plan", "name": self.name, "dir": self.dir, "files": files, "bytes": self.bytes(),
                "missing_bytes": self.missing(), "other_quantisations": others }),
            );
        }
        tell(format!("{} into {}:", self.name, self.dir.display()));
        for (file, on_disk) in files.iter().zip(&self.on_disk) {
            let here = match on_disk {
                OnDisk::Nothing => String::new(),
                OnDisk::Part(bytes) => format!("  ({} of it are here)", DecimalBytes(*bytes)),
                OnDisk::Whole => "  (is here, will be checked)".into(),
            };
            let size = file.size.map_or("unknown size".to_owned(), |size| DecimalBytes(size).to_string());
            tell(format!("{size:>12}  {}{here}", file.path));
        }
        if !others.is_empty() {
            tell(format!("other quantisations (--file): {}", others.join(", ")));
        }
        tell(format!("{:>12}  to fetch", DecimalBytes(self.missing()).to_string()));
        Ok(())
    }

    /// # Errors
    /// `Unavailable` where the disk cannot hold it.
    pub(super) fn check_space(&self) -> Result<()> {
        let about = rustix::fs::statvfs(self.dir)
            .map_err(|e| Error::internal(format!("asking how much {} holds", self.dir.display()), e))?;
        self.fits(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn fits(&self, free: u64) -> Result<()> {
        if self.missing() <= free {
            return Ok(());
        }
        Err(Error::unavailable(format!(
            "{} has room for {} and {} are to be fetched: make room, or name another folder with --dir",
            self.dir.display(),
            DecimalBytes(free),
            DecimalBytes(self.missing())
        )))
    }

    /// Asks the person at the terminal; where none is, only `yes` lets anything be fetched.
    ///
    /// # Errors
    /// `Invalid` on `yes` where nobody can be asked.
    pub(super) fn confirm(&self, yes: bool, events: bool) -> Result<bool> {
        if yes || self.is_all_here() {
            return Ok(true);
        }
        let stdin = std::io::stdin();
        if events || !stdin.is_terminal() {
            return Err(Error::invalid("yes", "nobody is here to be asked: add --yes to fetch this"));
        }
        let _ = write!(std::io::stderr(), "  fetch this? [y/N] ");
        let mut answer = String::new();
        stdin.lock().read_line(&mut answer).map_err(|e| Error::internal("reading the answer", e))?;
        Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

fn sha256(sum: &Sum) -> Option<&str> {
    match sum {
        Sum::Sha256(sum) => Some(sum),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::models::choose::Offer;

    #[test]
    fn what_is_here_needs_no_room() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("b.gguf.part"), [0; 30]).expect("a file");
        std::fs::write(dir.path().join("c.json"), [0; 5]).expect("a file");
        let file = |name: &str, size| Offer { path: name.into(), size: Some(size), sum: Sum::SizeOnly };
        let choice =
            Choice { files: vec![file("a.gguf", 20), file("b.gguf", 100), file("x/c.json", 5)], others: vec![] };
        let plan = Plan::new("m", dir.path(), &choice).expect("a plan");
        assert_eq!((plan.bytes(), plan.missing(), plan.is_all_here()), (125, 90, false));
        assert!(plan.fits(90).is_ok());
        let message = plan.fits(89).expect_err("one byte too many").message;
        assert!(message.contains("has room for 89 B and 90 B are to be fetched"), "{message}");
        let other = Choice { files: vec![file("c.json", 6)], others: vec![] };
        assert!(Plan::new("m", dir.path(), &other).err().expect("another content").message.contains("another content"));
    }
}
