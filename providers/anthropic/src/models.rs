//! Anthropic's list of models, page by page.

use frontdesk_api::{Error, Result};
use serde::Deserialize;

/// The most models a page may hold (API reference, "List Models").
pub(crate) const PAGE: usize = 1000;

/// The most pages that are read: a list that never ends is a fault of the server.
pub(crate) const PAGES: usize = 20;

#[derive(Deserialize)]
pub(crate) struct Page {
    pub(crate) data: Vec<Entry>,
    #[serde(default)]
    has_more: bool,
    #[serde(default)]
    last_id: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Entry {
    pub(crate) id: String,
    /// RFC 3339, the epoch where the date is unknown.
    #[serde(default)]
    created_at: String,
    /// Size of the context window in tokens.
    #[serde(default)]
    pub(crate) max_input_tokens: Option<usize>,
    /// Largest `max_tokens`.
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
}

impl Page {
    /// # Errors
    /// `Upstream` when the body is no such page.
    pub(crate) fn read(provider: &str, body: &[u8]) -> Result<Self> {
        serde_json::from_slice(body).map_err(|e| {
            Error::upstream(format!("provider '{provider}' sent something that is not a list of models")).with_source(e)
        })
    }

    /// The path of this page's successor; None: it was the last.
    pub(crate) fn next(&self) -> Option<String> {
        let last = self.last_id.as_deref().filter(|_| self.has_more && !self.data.is_empty())?;
        Some(format!("models?limit={PAGE}&after_id={last}"))
    }
}

impl Entry {
    /// Unix seconds of the day the model came out; 0 where it is not known.
    pub(crate) fn created(&self) -> i64 {
        let mut numbers = self.created_at.get(..10).unwrap_or_default().split('-').map(str::parse::<i64>);
        let (Some(Ok(year)), Some(Ok(month)), Some(Ok(day))) = (numbers.next(), numbers.next(), numbers.next()) else {
            return 0;
        };
        // Days from civil: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let year = year - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468) * 86_400
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_becomes_seconds_and_nonsense_nothing() {
        let of = |text: &str| {
            let entry = format!(r#"{{"id":"m","created_at":"{text}"}}"#);
            serde_json::from_str::<Entry>(&entry).expect("an entry").created()
        };
        // Oracle: `date -u -d 2025-09-29 +%s` and `date -u -d 2024-02-29 +%s`.
        assert_eq!((of("2025-09-29T00:00:00Z"), of("2024-02-29T12:00:00Z")), (1_759_104_000, 1_709_164_800));
        assert_eq!((of("1970-01-01T00:00:00Z"), of(""), of("soon, surely")), (0, 0, 0));
    }
}
