//! Which format a file is in, from what the uploader claims and what the file is called.

use super::Reject;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Markdown,
    Html,
    Plain,
}

const SUPPORTED: &str = "Markdown (.md), HTML (.html) and plain text (.txt)";

impl Format {
    /// A precise claim wins, then the file's ending, then a vague claim such as `text/plain`: browsers and
    /// SDKs send `text/plain` and `application/octet-stream` for Markdown.
    ///
    /// # Errors
    /// [`Reject`] naming the supported formats.
    pub fn of(filename: &str, media_type: Option<&str>) -> Result<Self, Reject> {
        let claim = media_type.map(essence).unwrap_or_default();
        match claim.as_str() {
            "text/markdown" | "text/x-markdown" => return Ok(Self::Markdown),
            "text/html" | "application/xhtml+xml" => return Ok(Self::Html),
            _ => {}
        }
        let ending = filename.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
        match ending.as_str() {
            "md" | "markdown" | "mdown" | "mkd" => return Ok(Self::Markdown),
            "html" | "htm" | "xhtml" => return Ok(Self::Html),
            "txt" | "text" => return Ok(Self::Plain),
            _ => {}
        }
        if claim == "text/plain" {
            return Ok(Self::Plain);
        }
        let found = if claim.is_empty() { String::new() } else { format!(" ({claim})") };
        Err(Reject::new("unsupported_file", format!("cannot read '{filename}'{found}: supported are {SUPPORTED}")))
    }
}

/// `Text/HTML; charset=utf-8` → `text/html`.
fn essence(media_type: &str) -> String {
    media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vague_claim_yields_to_the_ending() {
        assert_eq!(Format::of("a.md", Some("text/plain")), Ok(Format::Markdown));
        assert_eq!(Format::of("a.HTM", Some("application/octet-stream")), Ok(Format::Html));
        assert_eq!(Format::of("README", Some("text/plain; charset=utf-8")), Ok(Format::Plain));
    }

    #[test]
    fn a_precise_claim_wins_over_the_ending() {
        assert_eq!(Format::of("page.txt", Some("Text/HTML; charset=utf-8")), Ok(Format::Html));
    }

    #[test]
    fn no_claim_and_no_ending_is_refused() {
        assert!(Format::of("README", None).is_err());
        assert!(Format::of("a.pdf", Some("application/pdf")).is_err());
    }
}
