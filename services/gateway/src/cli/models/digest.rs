//! The checksums hubs give: SHA-256 of files kept by Git LFS, Git's own SHA-1 of the others.

use std::fmt::Write;

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// What a file must be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Sum {
    /// Lower-case hexadecimal.
    Sha256(String),
    /// The name Git gives the content: SHA-1 over its kind, its length and itself. Guards against damage, not against
    /// somebody who can make collisions.
    GitBlob(String),
    /// The hub tells no checksum.
    SizeOnly,
}

impl Sum {
    /// From hexadecimal of either case; None where it is no SHA-256.
    pub(super) fn sha256(text: &str) -> Option<Self> {
        is_hex(text, 64).then(|| Self::Sha256(text.to_ascii_lowercase()))
    }

    /// As `sha256`, of a SHA-1.
    pub(super) fn git_blob(text: &str) -> Option<Self> {
        is_hex(text, 40).then(|| Self::GitBlob(text.to_ascii_lowercase()))
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A file on its way, being checked.
pub(super) struct Digest {
    context: Option<Context>,
    promised: Sum,
}

impl Digest {
    /// `size`: bytes of the whole file, which Git's name begins with.
    pub(super) fn new(promised: &Sum, size: Option<u64>) -> Self {
        let context = match promised {
            Sum::Sha256(_) => Some(Context::new(&SHA256)),
            Sum::GitBlob(_) => {
                let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
                context.update(format!("blob {}\0", size.unwrap_or_default()).as_bytes());
                Some(context)
            }
            Sum::SizeOnly => None,
        };
        Self { context, promised: promised.clone() }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some(context) = &mut self.context {
            context.update(bytes);
        }
    }

    /// # Errors
    /// What was promised and what came, as a clause.
    pub(super) fn check(self) -> Result<(), String> {
        let Some(context) = self.context else { return Ok(()) };
        let mut came = String::new();
        for byte in context.finish().as_ref() {
            let _ = write!(came, "{byte:02x}");
        }
        match &self.promised {
            Sum::Sha256(promised) if *promised != came => {
                Err(format!("SHA-256 is {came}, and {promised} was promised"))
            }
            Sum::GitBlob(promised) if *promised != came => {
                Err(format!("Git's SHA-1 is {came}, and {promised} was promised"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(sum: &Sum, content: &[u8]) -> Result<(), String> {
        let mut digest = Digest::new(sum, Some(6));
        content.chunks(4).for_each(|piece| digest.update(piece));
        digest.check()
    }

    #[test]
    fn sums_are_those_of_sha256sum_and_git() {
        // printf 'hello\n' | sha256sum; printf 'hello\n' | git hash-object --stdin
        let sha256 = Sum::sha256("5891B5B522D5DF086D0FF0B110FBD9D21BB4FC7163AF34D08286A2E846F6BE03").expect("a sum");
        let blob = Sum::git_blob("ce013625030ba8dba906f756967f9e9ca394464a").expect("a sum");
        for sum in [sha256, blob] {
            assert_eq!(checked(&sum, b"hello\n"), Ok(()));
            let said = checked(&sum, b"hallo\n").expect_err("another content");
            assert!(said.contains("was promised"), "{said}");
        }
        assert_eq!(checked(&Sum::SizeOnly, b"anything"), Ok(()));
    }

    #[test]
    fn what_is_no_sum_is_none() {
        assert_eq!(Sum::sha256("abc"), None);
        assert_eq!(Sum::git_blob(&"g".repeat(40)), None);
    }
}
