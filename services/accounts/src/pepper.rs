//! The pepper: 32 secret bytes, outside the database, without which its key hashes are worth nothing.
//!
//! Made at first start in `data_dir/pepper` (readable by its owner only) or given by the operator; several
//! gateways on one database need the same one. Losing it makes every key unusable: back it up.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use frontdesk_api::{Error, Result};

/// See the module. `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Pepper([u8; 32]);

impl Pepper {
    /// The pepper of this data folder, made if it has none.
    ///
    /// # Errors
    /// `Invalid` naming the file when it holds no pepper; `Unavailable` when it cannot be read or made.
    pub fn at(data_dir: &Path) -> Result<Self> {
        let path = data_dir.join("pepper");
        let unusable = |e: io::Error| {
            Error::unavailable(format!("cannot use the pepper file {}: {e}", path.display())).with_source(e)
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                warn_if_open(&path);
                let found = Self::parse(&text);
                found.map_err(|_| {
                    Error::invalid(
                        "pepper",
                        format!("the pepper file {} is damaged: put back the one from your backup", path.display()),
                    )
                })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let made = Self::draw()?;
                made.keep(data_dir, &path).map_err(unusable)?;
                Ok(made)
            }
            Err(e) => Err(unusable(e)),
        }
    }

    /// 64 hexadecimal digits, as the file holds them; white space around them is ignored.
    ///
    /// # Errors
    /// `Invalid`, without what was given.
    pub fn parse(text: &str) -> Result<Self> {
        let bytes = blake3::Hash::from_hex(text.trim());
        let bytes =
            bytes.map_err(|_| Error::invalid("pepper", "the pepper must be 64 hexadecimal digits (32 bytes)"))?;
        Ok(Self(*bytes.as_bytes()))
    }

    /// A new random pepper, kept nowhere.
    ///
    /// # Errors
    /// `Internal` when the operating system has no randomness to give.
    pub fn draw() -> Result<Self> {
        crate::random().map(Self)
    }

    /// What is stored of a key, and what a presented key is looked up by.
    pub(crate) fn hash(&self, key: &str) -> blake3::Hash {
        blake3::keyed_hash(&self.0, key.as_bytes())
    }

    /// What secrets in the database are sealed with. No key's hash says anything about it.
    pub(crate) fn sealing_key(&self) -> [u8; 32] {
        blake3::derive_key("frontdesk 2026-11-27 secrets at rest", &self.0)
    }

    /// Tells peppers apart without telling them. The text is longer than any key can be, so no key hashes to it.
    pub(crate) fn mark(&self) -> String {
        let text = "frontdesk pepper mark ".repeat(crate::key::LONGEST / 22 + 2);
        self.hash(&text).to_hex().to_string()
    }

    /// Whole or not at all: a crash half-way leaves no half pepper.
    fn keep(&self, folder: &Path, path: &Path) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?; // made with mode 0600
        writeln!(file, "{}", blake3::Hash::from_bytes(self.0).to_hex())?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path)?;
        File::open(folder)?.sync_all()
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(hidden)")
    }
}

#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0) {
        tracing::warn!(file = %path.display(), "others on this machine can read the pepper: chmod 600 it");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;
    use frontdesk_api::Kind;

    #[test]
    fn a_folder_keeps_its_pepper() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Pepper::at(folder.path()).expect("made");
        let again = Pepper::at(folder.path()).expect("read");
        assert_eq!(first.hash("k"), again.hash("k"));
        let other = tempfile::tempdir().expect("a folder");
        assert_ne!(first.hash("k"), Pepper::at(other.path()).expect("made").hash("k"));
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_reads_the_file() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        Pepper::at(folder.path()).expect("made");
        let mode = fs::metadata(folder.path().join("pepper")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1, "no half file is left");
    }

    #[test]
    fn a_damaged_file_is_named_and_never_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("pepper"), "abcd\n").expect("written");
        let error = Pepper::at(folder.path()).expect_err("damaged");
        assert_eq!(error.kind, Kind::Invalid);
        assert!(
            error.message.contains("pepper") && error.message.contains(&folder.path().display().to_string()),
            "{error}"
        );
        assert_eq!(fs::read_to_string(folder.path().join("pepper")).expect("still there"), "abcd\n");
    }

    #[test]
    fn a_given_pepper_is_64_hex_digits_and_not_shown() {
        let given = "0f".repeat(32);
        let pepper = Pepper::parse(&format!(" {given}\n")).expect("good");
        assert_eq!(format!("{pepper:?}"), "Pepper(hidden)");
        let error = Pepper::parse("0fsecretsecret").expect_err("bad");
        assert!(!error.message.contains("secret"), "{error}");
    }
}
