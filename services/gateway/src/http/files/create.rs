//! `POST /v1/files`: a form with the parts `file` and `purpose`, and `expires_after` where it is not kept for good.

use std::time::Duration;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State, multipart::MultipartError},
};
use frontdesk_api::{Cx, Error, Kind, Result, blobs::Kept};
use frontdesk_memory::{Knowledge, StoredFile};
use futures::{StreamExt as _, TryStreamExt as _};

use super::{
    FileInfo,
    expiry::{ExpiresAfter, short},
};
use crate::{
    app::App,
    auth::Caller,
    http::extract::{self, Broken},
    problem::Problem,
};

/// Longest `purpose`, in bytes.
const LONGEST_PURPOSE: usize = 64;

/// The parts that say how long a file is kept, and how long each may be, in bytes.
const EXPIRES: &str = "expires_after";
const LONGEST_EXPIRY: usize = 32;

/// Upload a file
///
/// Where many are under way it waits for room, and after a while is answered with 503 and `Retry-After`.
#[utoipa::path(
    post, path = "/v1/files", tag = "memory",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 200, body = FileInfo))
)]
pub async fn create(State(app): State<App>, Caller(cx): Caller, request: Request) -> Result<Json<FileInfo>, Problem> {
    let limits = &app.config.limits;
    let patience = Duration::from_secs(limits.body_timeout_s);
    // Until the file is stored. One that does not say its size may have the largest.
    let _room = match app.uploads.take(app.knowledge.memory(size(&request, limits.max_upload_mb))).await {
        Ok(room) => room,
        Err(error) => {
            extract::swallow(request.into_body(), patience).await;
            return Err(error.into());
        }
    };
    let (mut request, broken) =
        extract::stream(request, limits.max_upload_mb, "limits.max_upload_mb", limits.body_timeout_s).await?;
    // Its length is held against the operator's limit; axum has one of its own.
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    let mut form =
        form.map_err(|e| Error::invalid("file", format!("the body is no multipart form: {}", e.body_text())))?;
    let mut draft = Draft::default();
    let file = match draft.read(&app.knowledge, &cx, &mut form, &broken).await {
        Ok(()) => draft.finish(&app.knowledge, &cx).await,
        Err(error) => {
            // A client that is cut off while it sends sees a reset connection, not our answer.
            let _ = tokio::time::timeout(patience, async { while let Ok(Some(_)) = form.next_field().await {} }).await;
            draft.discard(&app.knowledge, &cx).await;
            Err(error)
        }
    };
    Ok(Json(file?.into()))
}

fn purpose(said: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(said).ok().filter(|text| text.len() <= LONGEST_PURPOSE);
    text.filter(|text| !text.chars().any(char::is_control)).map(str::to_owned).ok_or_else(|| {
        Error::invalid("purpose", format!("purpose has 1 to {LONGEST_PURPOSE} bytes and no control characters"))
    })
}

/// How many bytes of a request will be kept at most.
pub fn size(request: &Request, max_upload_mb: usize) -> usize {
    let most = max_upload_mb.saturating_mul(1 << 20);
    match extract::declared(request.headers()) {
        // It will be refused without being kept.
        Some(declared) if declared > most => 0,
        Some(declared) => declared,
        None => most,
    }
}

/// The form's parts.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; the multipart reader reads it
pub struct UploadForm {
    /// The file, with its name.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// What it is for: `assistants`, `user_data`, …
    purpose: String,
    /// `created_at`; with `expires_after[seconds]`: how long the file is kept.
    #[schema(rename = "expires_after[anchor]")]
    expires_after_anchor: Option<String>,
    /// 3,600 to 2,592,000.
    #[schema(rename = "expires_after[seconds]")]
    expires_after_seconds: Option<u64>,
}

/// What has come of a form so far. The content is kept as it comes, whatever part comes first.
#[derive(Default)]
struct Draft {
    filename: String,
    media_type: Option<String>,
    purpose: Option<String>,
    expires: Option<ExpiresAfter>,
    kept: Option<Kept>,
}

impl Draft {
    async fn read(&mut self, knowledge: &Knowledge, cx: &Cx, form: &mut Multipart, broken: &Broken) -> Result<()> {
        let wrong = |e: MultipartError| {
            let message = format!("the multipart form cannot be read: {}", e.body_text());
            broken.or(Error::new(Kind::Invalid, message))
        };
        while let Some(part) = form.next_field().await.map_err(wrong)? {
            match part.name() {
                Some("file") => {
                    self.discard(knowledge, cx).await;
                    self.filename = part.file_name().unwrap_or_default().to_owned();
                    self.media_type = part.content_type().map(str::to_owned);
                    self.kept = Some(knowledge.receive(cx, &self.filename, part.map_err(wrong).boxed()).await?);
                }
                Some("purpose") => {
                    self.purpose = Some(purpose(&short(part.map_err(wrong), LONGEST_PURPOSE).await?)?);
                }
                Some("expires_after[anchor]") => {
                    let said = short(part.map_err(wrong), LONGEST_EXPIRY).await?;
                    self.expires.get_or_insert_default().anchor = String::from_utf8(said.into()).ok();
                }
                Some("expires_after[seconds]") => {
                    let said = short(part.map_err(wrong), LONGEST_EXPIRY).await?;
                    let seconds = std::str::from_utf8(&said).ok().and_then(|said| said.parse().ok());
                    self.expires.get_or_insert_default().seconds = seconds;
                }
                // Kept for good it would be other than was asked for.
                Some(EXPIRES) => {
                    let message = format!("{EXPIRES} is two parts: {EXPIRES}[anchor] and {EXPIRES}[seconds]");
                    return Err(Error::invalid(EXPIRES, message));
                }
                // Clients send parts of newer versions; they change nothing here.
                _ => {}
            }
        }
        if self.kept.is_none() {
            return Err(Error::invalid("file", "the form has no part 'file'"));
        }
        if self.purpose.is_none() {
            return Err(Error::invalid("purpose", "the form has no part 'purpose'"));
        }
        self.expires_after().map(|_| ())
    }

    fn expires_after(&self) -> Result<Option<Duration>> {
        self.expires.as_ref().map(|expires| expires.read(EXPIRES)).transpose()
    }

    async fn finish(self, knowledge: &Knowledge, cx: &Cx) -> Result<StoredFile> {
        let expires_after = self.expires_after()?;
        let (Some(kept), Some(purpose)) = (self.kept, self.purpose) else {
            return Err(Error::invalid("file", "the form has no part 'file'"));
        };
        knowledge.create_file_of(cx, &self.filename, &purpose, self.media_type.as_deref(), expires_after, kept).await
    }

    /// Clears what was kept of a form that comes to nothing.
    async fn discard(&mut self, knowledge: &Knowledge, cx: &Cx) {
        if let Some(kept) = self.kept.take() {
            knowledge.discard(cx, kept).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use crate::testing::{Answer, Frames, TestGateway};

    fn form(parts: &[(&str, &str)]) -> String {
        let mut body = String::new();
        for (head, text) in parts {
            body.push_str(&format!("--xx\r\ncontent-disposition: form-data; {head}\r\n\r\n{text}\r\n"));
        }
        body + "--xx--\r\n"
    }

    async fn upload(gateway: &TestGateway, body: String) -> Answer {
        let request = gateway.request("POST", "/v1/files").header("content-type", "multipart/form-data; boundary=xx");
        gateway.send(request.body(Body::from(body)).expect("a request")).await
    }

    #[tokio::test]
    async fn a_file_comes_back_as_it_was_sent() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let sent = form(&[("name=\"purpose\"", "assistants"), ("name=\"file\"; filename=\"a.md\"", "# Hi\r\n\u{fc}")]);
        let made = upload(&gateway, sent).await;
        assert_eq!(made.status, 200, "{}", made.text());
        let id = made.json()["id"].as_str().expect("an id").to_owned();
        let content = gateway.get(&format!("/v1/files/{id}/content")).await;
        assert_eq!(content.text(), "# Hi\r\n\u{fc}");
        let listed = gateway.get("/v1/files?purpose=assistants").await.json();
        for (limit, status) in [(10_000, 200), (10_001, 400)] {
            assert_eq!(gateway.get(&format!("/v1/files?limit={limit}")).await.status, status, "{limit}");
        }
        assert_eq!(
            (&listed["data"][0]["filename"], listed["data"].as_array().map(Vec::len)),
            (&"a.md".into(), Some(1))
        );
        let request = gateway.request("DELETE", &format!("/v1/files/{id}")).body(Body::empty()).expect("a request");
        assert_eq!(gateway.send(request).await.json()["deleted"], true);
        assert_eq!(gateway.get(&format!("/v1/files/{id}")).await.status, 404);
    }

    #[tokio::test]
    async fn a_file_says_when_it_expires_and_what_is_no_time_is_refused() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let form_of = |more: &[(&str, &str)]| {
            let parts = [("name=\"purpose\"", "user_data"), ("name=\"file\"; filename=\"a.md\"", "x")];
            form(&[&parts[..], more].concat())
        };
        let (anchor, seconds) = ("name=\"expires_after[anchor]\"", "name=\"expires_after[seconds]\"");
        let made = upload(&gateway, form_of(&[(anchor, "created_at"), (seconds, "3600")])).await.json();
        assert_eq!(made["expires_at"].as_i64(), made["created_at"].as_i64().map(|at| at + 3600), "{made}");
        let shown = gateway.get(&format!("/v1/files/{}", made["id"].as_str().expect("an id"))).await;
        assert_eq!(shown.json(), made);
        assert_eq!(upload(&gateway, form_of(&[])).await.json().get("expires_at"), None);
        for wrong in [
            &[(anchor, "created_at")][..],
            &[(seconds, "3600")],
            &[(anchor, "created_at"), (seconds, "3599")],
            &[(anchor, "created_at"), (seconds, "2592001")],
            &[(anchor, "created_at"), (seconds, "-1")],
            &[(anchor, "last_active_at"), (seconds, "3600")],
            &[("name=\"expires_after\"", "{}")],
        ] {
            let refused = upload(&gateway, form_of(wrong)).await;
            assert_eq!(
                (refused.status.as_u16(), &refused.json()["error"]["param"]),
                (400, &"expires_after".into()),
                "{wrong:?}: {}",
                refused.text()
            );
        }
        assert_eq!(gateway.get("/v1/files").await.json()["data"].as_array().map(Vec::len), Some(2));
    }

    #[tokio::test]
    async fn a_form_that_lacks_a_part_or_is_none_names_what_is_missing() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let file = ("name=\"file\"; filename=\"a.md\"", "x");
        for (body, param) in [
            (form(&[file]), "purpose"),
            (form(&[("name=\"purpose\"", "assistants")]), "file"),
            (form(&[("name=\"purpose\"", ""), file]), "purpose"),
            (form(&[("name=\"purpose\"", "assistants"), ("name=\"file\"", "x")]), "filename"),
        ] {
            let answer = upload(&gateway, body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.json()["error"]["param"].as_str()),
                (400, Some(param)),
                "{}",
                answer.text()
            );
        }
        assert_eq!(upload(&gateway, "--xx\r\nhalf a form".into()).await.status, 400);
        assert_eq!(gateway.post_text("/v1/files", "{}").await.status, 400);
    }

    #[tokio::test]
    async fn uploads_wait_for_room_and_are_asked_to_come_again_where_there_is_none() {
        let file = form(&[("name=\"purpose\"", "assistants"), ("name=\"file\"; filename=\"a.md\"", "x")]);
        let models = "models: [ { id: default, targets: [ { model: up/echo } ] } ]";
        let hasty = format!("{models}\nlimits: {{ upload_memory_mb: 1, upload_wait_s: 0 }}");
        let gateway = TestGateway::configured(&hasty, Frames::whole()).await;
        let full = gateway.app.uploads.take(usize::MAX).await.expect("all of it");
        let refused = upload(&gateway, file.clone()).await;
        assert_eq!((refused.status.as_u16(), &refused.headers["retry-after"]), (503, &"5".parse().expect("a header")));
        assert_eq!(refused.json()["error"]["code"], "uploads_busy");
        drop(full);
        assert_eq!(upload(&gateway, file.clone()).await.status, 200);
        assert_eq!(upload(&gateway, file.clone()).await.status, 200, "room is given back");

        let patient = format!("{models}\nlimits: {{ upload_memory_mb: 1, upload_wait_s: 3600 }}");
        let gateway = TestGateway::configured(&patient, Frames::whole()).await;
        let full = gateway.app.uploads.take(usize::MAX).await.expect("all of it");
        let mut waiting = Box::pin(upload(&gateway, file));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(gateway.get("/v1/files").await.json()["data"], serde_json::json!([]), "others are served meanwhile");
        drop(full);
        assert_eq!(waiting.await.status, 200);
    }
}
