//! Secrets at rest, for those who keep some and hold no key.
//!
//! Invariant: what was sealed for one thing opens for no other: tenant, table, id and whatever gives the secret its
//! meaning are named at both ends.

use crate::Result;

/// Seals secrets with a key that lies outside the database.
pub trait Seal: Send + Sync {
    /// `about` says what is sealed, from its table to its id.
    ///
    /// # Errors
    /// `Internal` when the operating system has no randomness to give.
    fn seal(&self, about: &[&str], plain: &[u8]) -> Result<Vec<u8>>;

    /// # Errors
    /// `Internal` where it was sealed for something else, with another key, or was changed since.
    fn open(&self, about: &[&str], sealed: &[u8]) -> Result<Vec<u8>>;
}
