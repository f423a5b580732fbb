//! `GET /v1/files/{file_id}/content`, whole or in part.

use std::ops::Range;

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use frontdesk_api::{Error, blobs::Opened};

use crate::{app::App, auth::Caller, problem::Problem};

/// A file's bytes
///
/// Always as an attachment of no particular type: a page that somebody uploaded must never run here. With the header
/// `Range: bytes=…` a part of them.
#[utoipa::path(
    get, path = "/v1/files/{file_id}/content", tag = "memory",
    params(
        ("file_id" = String, Path, description = "The file's id"),
        ("range" = Option<String>, Header, description = "One range of bytes: `bytes=0-99`, `bytes=100-`, `bytes=-100`")
    ),
    responses(
        (status = 200, description = "The bytes as they were uploaded", content_type = "application/octet-stream"),
        (status = 206, description = "The bytes that were asked for", content_type = "application/octet-stream"),
        (status = 416, description = "The range begins behind the last byte")
    )
)]
pub async fn content(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let part = match asked(&headers) {
        Some(_) => {
            let bytes = u64::try_from(app.knowledge.load_file(&cx, &id).await?.bytes).unwrap_or_default();
            match Part::of(&headers, bytes) {
                Part::Whole => None,
                Part::Range(part) => Some(part),
                Part::Behind(nothing) => return Ok(nothing.told(&id)),
            }
        }
        None => None,
    };
    let opened = app.knowledge.open_content(&cx, &id, part.clone()).await?;
    Ok(sent(opened, part.is_some()))
}

/// What of a content a request asks for.
pub enum Part {
    Whole,
    Range(Range<u64>),
    Behind(Behind),
}

/// A range that begins behind the last byte.
pub struct Behind {
    bytes: u64,
}

impl Part {
    /// Of so many bytes.
    #[must_use]
    pub fn of(headers: &HeaderMap, bytes: u64) -> Self {
        let Some(asked) = asked(headers) else { return Self::Whole };
        asked.of(bytes).map_or(Self::Behind(Behind { bytes }), Self::Range)
    }
}

fn asked(headers: &HeaderMap) -> Option<Asked> {
    headers.get(header::RANGE).and_then(|value| value.to_str().ok()).and_then(Asked::read)
}

/// A content as an attachment; `is_part`: of what was opened a range was asked for.
#[must_use]
pub fn sent(opened: Opened, is_part: bool) -> Response {
    let mut response = Response::new(Body::from_stream(opened.pieces));
    let out = response.headers_mut();
    // Said beforehand, so that a client sees where a content breaks off.
    out.insert(header::CONTENT_LENGTH, (opened.range.end - opened.range.start).into());
    out.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    out.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    out.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if is_part {
        let said = format!("bytes {}-{}/{}", opened.range.start, opened.range.end.saturating_sub(1), opened.bytes);
        out.extend(HeaderValue::from_str(&said).ok().map(|said| (header::CONTENT_RANGE, said)));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
}

/// One range of bytes, as RFC 9110, section 14.1.2 writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    From(u64),
    /// The last one included.
    Between(u64, u64),
    Last(u64),
}

impl Asked {
    /// None where it asks for another unit, for several ranges or for nothing that could be: then all is sent, as the
    /// section has it.
    fn read(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => last.parse().ok().map(Self::Last),
            (first, "") => first.parse().ok().map(Self::From),
            (first, last) => {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// What that is of so many bytes; None: nothing.
    fn of(self, bytes: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From(first) => first..bytes,
            Self::Between(first, last) => first..last.saturating_add(1).min(bytes),
            Self::Last(count) => bytes.saturating_sub(count)..bytes,
        };
        (range.start < range.end).then_some(range)
    }
}

impl Behind {
    /// By its status a client that resumes a download knows that it has all (RFC 9110, section 15.5.17).
    #[must_use]
    pub fn told(&self, id: &str) -> Response {
        let bytes = self.bytes;
        let error = Error::invalid("range", format!("the file '{id}' has {bytes} bytes: the range begins behind them"))
            .with_code("range_not_satisfiable");
        let mut response = Problem(error).into_response();
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        let all = HeaderValue::from_str(&format!("bytes */{bytes}"));
        response.headers_mut().extend(all.ok().map(|all| (header::CONTENT_RANGE, all)));
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use frontdesk_api::Cx;

    use super::Asked;
    use crate::testing::{Answer, Frames, TestGateway};

    #[test]
    fn one_range_of_bytes_is_read_and_nothing_else() {
        for (header, want) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-4", Some(2..5)),
            ("bytes= 2 - 99", Some(2..10)),
            ("bytes=9-", Some(9..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=10-", None),
            ("bytes=-0", None),
        ] {
            assert_eq!(Asked::read(header).expect(header).of(10), want, "{header}");
        }
        for other in ["bytes=4-2", "bytes=0-1,4-5", "lines=1-2", "bytes=-", "bytes=a-b", ""] {
            assert_eq!(Asked::read(other), None, "{other}");
        }
    }

    async fn get(gateway: &TestGateway, id: &str, range: &str) -> Answer {
        let request = gateway.request("GET", &format!("/v1/files/{id}/content")).header("range", range);
        gateway.send(request.body(Body::empty()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_part_of_a_file_says_which_it_is() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let cx = Cx::internal("default", "test");
        let file =
            gateway.app.knowledge.create_file(&cx, "a.txt", "user_data", None, b"0123456789").await.expect("a file");
        let part = get(&gateway, &file.id, "bytes=2-4").await;
        assert_eq!((part.status.as_u16(), part.text()), (206, "234"));
        assert_eq!(
            (&part.headers["content-range"], &part.headers["content-length"]),
            (&"bytes 2-4/10".parse().expect("a header"), &"3".parse().expect("a header"))
        );
        let whole = get(&gateway, &file.id, "lines=1-2").await;
        assert_eq!((whole.status.as_u16(), whole.text()), (200, "0123456789"));
        let behind = get(&gateway, &file.id, "bytes=10-").await;
        assert_eq!(
            (behind.status.as_u16(), behind.json()["error"]["code"].as_str()),
            (416, Some("range_not_satisfiable"))
        );
        assert_eq!(behind.headers["content-range"], "bytes */10");
        assert_eq!(get(&gateway, "file_none", "bytes=0-1").await.status, 404);
    }
}
