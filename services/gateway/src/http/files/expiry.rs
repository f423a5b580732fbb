//! `expires_after`: how long a file is kept, as OpenAI's clients say it.
//!
//! Source of the limits: OpenAI's API reference, "Upload file" (`expires_after`) and "Create batch"
//! (`output_expires_after`).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use frontdesk_api::{Error, Result};
use futures::{Stream, TryStreamExt as _};
use serde::Deserialize;

/// Seconds: an hour to 30 days.
const SECONDS: std::ops::RangeInclusive<u64> = 3_600..=2_592_000;

/// The one moment from which it is counted.
const ANCHOR: &str = "created_at";

/// How long a file is kept from its creation.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpiresAfter {
    /// `created_at`, the file's.
    #[serde(default)]
    #[schema(required = true)]
    pub anchor: Option<String>,
    /// 3,600 to 2,592,000: an hour to 30 days.
    #[serde(default)]
    #[schema(required = true)]
    pub seconds: Option<u64>,
}

impl ExpiresAfter {
    /// # Errors
    /// `Invalid` naming `param` where it is not as OpenAI has it.
    pub fn read(&self, param: &str) -> Result<Duration> {
        match (self.anchor.as_deref(), self.seconds) {
            (Some(ANCHOR), Some(seconds)) if SECONDS.contains(&seconds) => Ok(Duration::from_secs(seconds)),
            _ => {
                let message =
                    format!("{param} has the anchor '{ANCHOR}' and {} to {} seconds", SECONDS.start(), SECONDS.end());
                Err(Error::invalid(param, message))
            }
        }
    }
}

/// A short part of a form: up to one byte more than `longest`, so that whoever reads it sees that it is too long. The
/// rest is neither kept nor read.
///
/// # Errors
/// As the part's.
pub(super) async fn short(mut part: impl Stream<Item = Result<Bytes>> + Unpin, longest: usize) -> Result<BytesMut> {
    let mut said = BytesMut::new();
    while let (true, Some(mut piece)) = (said.len() <= longest, part.try_next().await?) {
        piece.truncate((longest + 1).saturating_sub(said.len()));
        said.extend_from_slice(&piece);
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_a_part_that_is_too_long_no_more_is_kept_than_shows_it() {
        for pieces in [vec!["a".repeat(1000)], vec!["aaaa".to_owned(); 9], vec!["aaaaaaaa".to_owned(); 2]] {
            let pieces = pieces.into_iter().map(|piece| Ok(Bytes::from(piece)));
            assert_eq!(short(futures::stream::iter(pieces), 8).await.expect("read"), "a".repeat(9));
        }
        let one = futures::stream::iter([Ok(Bytes::from("aaaa")), Ok(Bytes::from("aaaa"))]);
        assert_eq!(short(one, 8).await.expect("read"), "a".repeat(8));
    }
}
