//! A hub that speaks Hugging Face's API: what a repository holds, and where its files are.
//!
//! `GET /api/models/{repo}/tree/{revision}?recursive=true` lists files page by page (`Link: <…>; rel="next"`), those that
//! Git LFS keeps with their SHA-256; `GET /{repo}/resolve/{revision}/{path}` is a file
//! (<https://huggingface.co/docs/hub/api>). Invariants: a name that would leave its folder, or write to a terminal, is
//! never taken from a hub; a hub that is busy is asked again a bounded number of times.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use frontdesk_api::{Error, Kind, Result};
use futures::{StreamExt, stream::BoxStream};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use serde::Deserialize;

use super::{choose::Offer, digest::Sum};

/// The way to a hub and to where it leads on; wired to the egress client, which keeps its rules.
#[async_trait]
pub trait Web: Send + Sync {
    /// # Errors
    /// Where no answer came, or one that must not be followed.
    async fn get(&self, at: &Uri, headers: &HeaderMap) -> Result<Got>;
}

/// An answer whose body is still to come.
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: BoxStream<'static, Result<Bytes>>,
}

impl Got {
    /// A header as text.
    pub(super) fn header(&self, name: impl AsRef<str>) -> Option<&str> {
        self.headers.get(name.as_ref())?.to_str().ok()
    }

    /// The whole body, of at most `limit` bytes.
    async fn whole(&mut self, limit: usize) -> Result<Bytes> {
        let mut all = BytesMut::new();
        while let Some(piece) = self.body.next().await {
            all.extend_from_slice(&piece?);
            if all.len() > limit {
                return Err(Error::upstream(format!("the answer is longer than {limit} bytes")));
            }
        }
        Ok(all.freeze())
    }
}

/// How often something is asked in vain before that is the answer.
pub(super) const ATTEMPTS: u32 = 5;
/// The first pause between attempts; each next one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// A server that wants a longer pause is not waited for.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// The most of one page of a list, in bytes; the public hub's pages have 1000 entries at most.
const PAGE: usize = 8 << 20;
/// The most pages of one list.
const PAGES: usize = 100;
/// The most of an error's body that is read, in bytes.
const ERROR_BODY: usize = 64 << 10;

pub(super) struct Hub<'a> {
    pub web: &'a dyn Web,
    /// Without a slash at its end.
    pub endpoint: String,
    pub has_token: bool,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    size: Option<u64>,
    #[serde(default)]
    oid: String,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: Option<u64>,
}

impl Hub<'_> {
    /// The files of a repository.
    ///
    /// # Errors
    /// `NotFound`, `Forbidden`, `RateLimited` and `Upstream`, in words for the person who typed the name.
    pub(super) async fn tree(&self, repo: &str, revision: &str) -> Result<Vec<Offer>> {
        let revision = encoded(revision, false);
        let what = format!("model '{repo}'");
        let mut next = Some(address(&format!("{}/api/models/{repo}/tree/{revision}?recursive=true", self.endpoint))?);
        let mut offers = Vec::new();
        for _ in 0..PAGES {
            let Some(at) = next.take() else { return Ok(offers) };
            let mut got = self.get(&what, &at, None).await?;
            next = got.header(header::LINK).and_then(next_page).map(address).transpose()?;
            let page = got.whole(PAGE).await?;
            let entries: Vec<Entry> = serde_json::from_slice(&page).map_err(|e| {
                Error::upstream(format!("{} answers with no list of files for {what}: is it a hub?", self.endpoint))
                    .with_source(e)
            })?;
            for entry in entries {
                offers.extend(offer(entry)?);
            }
        }
        Err(Error::upstream(format!("the list of files of {what} has more than {PAGES} pages")))
    }

    /// Where a file is.
    ///
    /// # Errors
    /// `Internal` where that is no address.
    pub(super) fn file(&self, repo: &str, revision: &str, path: &str) -> Result<Uri> {
        address(&format!("{}/{repo}/resolve/{}/{}", self.endpoint, encoded(revision, false), encoded(path, true)))
    }

    /// A good answer (2xx, or 416 to a range), once it is there: a server that is busy is asked again.
    ///
    /// # Errors
    /// As `tree`.
    pub(super) async fn get(&self, what: &str, at: &Uri, range: Option<String>) -> Result<Got> {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("frontdesk/", env!("CARGO_PKG_VERSION"))));
        if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
            headers.insert(header::RANGE, range);
        }
        let mut attempt = 1;
        loop {
            let error = match self.web.get(at, &headers).await {
                Ok(got) if got.status < 300 || got.status == 416 => return Ok(got),
                Ok(got) => self.refusal(what, got).await,
                Err(error) => error,
            };
            let again = matches!(error.kind, Kind::RateLimited | Kind::Unavailable | Kind::Timeout);
            let pause = error.retry_after.unwrap_or_else(|| pause(attempt));
            if !again || attempt == ATTEMPTS || pause > LONGEST_PAUSE {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    /// What an answer outside 2xx means.
    async fn refusal(&self, what: &str, mut got: Got) -> Error {
        let body = got.whole(ERROR_BODY).await.unwrap_or_default();
        let said = got.header("x-error-message").map(str::to_owned).or_else(|| {
            let said: serde_json::Value = serde_json::from_slice(&body).ok()?;
            Some(said["error"].as_str()?.to_owned())
        });
        let said = said.map(|said| format!(" (it says: {})", printable(&said))).unwrap_or_default();
        let (status, hub) = (got.status, &self.endpoint);
        let code = got.header("x-error-code").unwrap_or_default();
        let retry_after =
            got.header(header::RETRY_AFTER).and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let mut error = match (status, code) {
            (403, "GatedRepo") | (401, "GatedRepo") => Error::new(
                Kind::Forbidden,
                format!(
                    "{hub} gives {what} to those who accepted its terms: do that on its page, and set hub.token (HF_TOKEN) \
                     to a token of that account{said}"
                ),
            ),
            (401 | 403, _) if self.has_token => {
                let message = format!(
                    "{hub} does not give {what} to the holder of hub.token ({status}): is its name right, and the token good?{said}"
                );
                Error::new(Kind::Forbidden, message)
            }
            (401 | 403, _) => Error::new(
                Kind::Forbidden,
                format!(
                    "{hub} does not give {what} to everyone ({status}): is its name right? if so, set hub.token (HF_TOKEN){said}"
                ),
            ),
            (404, "RevisionNotFound") => Error::not_found(format!("{what} has no such revision at {hub}{said}")),
            (404, _) => Error::not_found(format!("there is no {what} at {hub}{said}")),
            (429, _) => {
                let when = match retry_after {
                    Some(after) => format!("again in {} s", after.as_secs()),
                    None => "again later".into(),
                };
                Error::new(Kind::RateLimited, format!("{hub} is asked too often (429): try {when}{said}"))
            }
            (500.., _) => Error::unavailable(format!("{hub} failed to give {what} ({status}){said}")),
            _ => Error::upstream(format!("{hub} answered {status} when it was asked for {what}{said}")),
        };
        error.retry_after = retry_after;
        error
    }
}

/// How long to wait after the attempt of this number.
pub(super) fn pause(attempt: u32) -> Duration {
    PAUSE * 2_u32.saturating_pow(attempt.saturating_sub(1))
}

/// `owner/name` or `name`, as hubs name repositories.
///
/// # Errors
/// `Invalid` on `name`.
pub(super) fn check_repo(repo: &str) -> Result<()> {
    let good = |part: &str| {
        !part.is_empty()
            && part.len() <= 96
            && !part.starts_with(['.', '-'])
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    let parts: Vec<&str> = repo.split('/').collect();
    if parts.len() <= 2 && parts.iter().all(|part| good(part)) {
        return Ok(());
    }
    let message = format!("'{}' is no name of a model: write it as owner/name, as its page is called", printable(repo));
    Err(Error::invalid("name", message))
}

/// An entry of a list that can be a file on disk; None: it cannot.
///
/// # Errors
/// `Upstream` naming a file of Git LFS whose checksum is none: it would be fetched unchecked.
fn offer(entry: Entry) -> Result<Option<Offer>> {
    let good = |part: &str| {
        !part.is_empty() && part != "." && part != ".." && !part.contains(|c: char| c == '\\' || c.is_control())
    };
    if entry.kind != "file" || !entry.path.split('/').all(good) {
        return Ok(None);
    }
    let (size, sum) = match &entry.lfs {
        Some(lfs) => {
            let sum = Sum::sha256(lfs.oid.trim_start_matches("sha256:")).ok_or_else(|| {
                let path = printable(&entry.path);
                Error::upstream(format!("the hub's list names no SHA-256 for '{path}', which Git LFS keeps"))
            })?;
            (lfs.size.or(entry.size), sum)
        }
        None => (entry.size, Sum::git_blob(&entry.oid).unwrap_or(Sum::SizeOnly)),
    };
    Ok(Some(Offer { path: entry.path, size, sum }))
}

/// The address of `rel="next"` in a `Link` header (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|one| {
        let (address, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then_some(address)
    })
}

fn address(text: &str) -> Result<Uri> {
    text.parse().map_err(|e| Error::internal(format!("making an address of '{}'", printable(text)), e))
}

/// Percent-encoded for a path; slashes stay where they part folders.
fn encoded(text: &str, slashes: bool) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || slashes && byte == b'/' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// Without what would steer a terminal.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// Bytes of the whole file that an answer is (a part of): from `Content-Range` (RFC 9110, section 14.4), else the length.
pub(super) fn whole_size(got: &Got) -> Option<u64> {
    match got.header(header::CONTENT_RANGE) {
        Some(range) => range.rsplit_once('/')?.1.parse().ok(),
        None if got.status == 200 => length(got, header::CONTENT_LENGTH),
        None => None,
    }
}

fn length(got: &Got, name: HeaderName) -> Option<u64> {
    got.header(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn listed(entry: serde_json::Value) -> Option<Offer> {
        offer(serde_json::from_value(entry).expect("an entry")).expect("a good one")
    }

    #[test]
    fn a_checksum_of_lfs_that_is_none_is_an_error() {
        for oid in ["", "abc", &"g".repeat(64), &"a".repeat(40)] {
            let entry = json!({"type": "file", "size": 7, "path": "m.gguf", "lfs": {"oid": oid, "size": 7}});
            let error = offer(serde_json::from_value(entry).expect("an entry")).expect_err("unchecked");
            assert!(error.message.contains("'m.gguf'"), "{}", error.message);
        }
    }

    #[test]
    fn entries_are_read_as_the_public_hub_writes_them() {
        let sha = "a".repeat(64);
        let lfs = json!({"type": "file", "oid": "b".repeat(40), "size": 7, "path": "model.safetensors",
            "lfs": {"oid": sha, "size": 7, "pointerSize": 135}, "xetHash": "c"});
        assert_eq!(listed(lfs), Some(Offer { path: "model.safetensors".into(), size: Some(7), sum: Sum::Sha256(sha) }));
        let small = json!({"type": "file", "oid": "b".repeat(40), "size": 3, "path": "a/config.json"});
        assert_eq!(listed(small).expect("a file").sum, Sum::GitBlob("b".repeat(40)));
        let unknown = listed(json!({"type": "file", "path": "x"})).expect("a file");
        assert_eq!((unknown.size, unknown.sum), (None, Sum::SizeOnly));
        assert_eq!(listed(json!({"type": "directory", "oid": "b", "size": 0, "path": "a"})), None);
    }

    #[test]
    fn a_path_that_leaves_its_folder_is_no_file() {
        for path in ["../x.gguf", "a/../x", "/etc/passwd", "a//b", "", ".", "a\\b", "a\u{1b}[2J.gguf"] {
            assert_eq!(listed(json!({"type": "file", "size": 1, "path": path})), None, "{path:?}");
        }
    }

    #[test]
    fn names_of_repositories_are_plain() {
        for good in ["gpt2", "Qwen/Qwen3-0.6B", "a/b_c.d"] {
            assert!(check_repo(good).is_ok(), "{good}");
        }
        for bad in ["", "a/b/c", "../x", "a/..", "a b", "a/b?x", "-x/y", "a%2f/b"] {
            assert_eq!(check_repo(bad).expect_err(bad).param.as_deref(), Some("name"), "{bad}");
        }
    }

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(
            next_page(r#"<https://h/a?cursor=x,y>; rel="prev", <https://h/b>; rel="next""#),
            Some("https://h/b")
        );
        assert_eq!(next_page("<https://h/a>; rel=\"last\""), None);
    }

    #[test]
    fn a_revision_with_a_slash_is_one_part_of_the_path() {
        assert_eq!(encoded("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encoded("a b/c#d.gguf", true), "a%20b/c%23d.gguf");
    }
}
