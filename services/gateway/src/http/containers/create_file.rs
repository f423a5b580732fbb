//! `POST /v1/containers/{container_id}/files`: a form with the part `file`, or the id of an uploaded file.

use std::time::Duration;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State, multipart::MultipartError},
    http::header::CONTENT_TYPE,
};
use frontdesk_api::{Error, Kind, Result, blobs::Kept};
use frontdesk_memory::containers;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use super::ContainerFileInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{extract, files::create::size},
    problem::Problem,
};

/// Bytes of a form around its file.
const AROUND: usize = 64 << 10;

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateContainerFile {
    /// Of an uploaded file, which is copied.
    file_id: String,
}

/// Put a file into a container
///
/// Code that runs in it finds the file in its working folder from the next run on, in place of an older one of its name. All files that clients put into a
/// container have at most 8 MiB together. As a form with the part `file`, or as JSON with the id of an uploaded file.
#[utoipa::path(
    post, path = "/v1/containers/{container_id}/files", tag = "responses",
    params(("container_id" = String, Path, description = "The container's id")),
    request_body(content = CreateContainerFile),
    responses((status = 200, body = ContainerFileInfo))
)]
pub async fn create_file(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    request: Request,
) -> std::result::Result<Json<ContainerFileInfo>, Problem> {
    app.agents.container_to_use(&cx, &id).await?;
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("multipart/") {
        let extract::Json(body) = extract::Json::<CreateContainerFile>::from_request(request, &app).await?;
        let copied = app.knowledge.copy_into_container(&cx, &id, &body.file_id).await;
        return Ok(Json(copied.map_err(|error| error.with_param("file_id"))?.into()));
    }
    let limits = &app.config.limits;
    let patience = Duration::from_secs(limits.body_timeout_s);
    if extract::declared(request.headers()).is_some_and(|length| length > containers::GIVEN + AROUND) {
        extract::swallow(request.into_body(), patience).await;
        return Err(containers::too_much().into());
    }
    let size = size(&request, limits.max_upload_mb).min(containers::GIVEN + AROUND);
    let _room = match app.uploads.take(app.knowledge.memory(size)).await {
        Ok(room) => room,
        Err(error) => {
            extract::swallow(request.into_body(), patience).await;
            return Err(error.into());
        }
    };
    let (mut request, broken) =
        extract::stream(request, limits.max_upload_mb, "limits.max_upload_mb", limits.body_timeout_s).await?;
    DefaultBodyLimit::disable().apply(&mut request);
    let form = Multipart::from_request(request, &()).await;
    let mut form =
        form.map_err(|e| Error::invalid("file", format!("the body is no multipart form: {}", e.body_text())))?;
    let wrong = |error: MultipartError| {
        let message = format!("the multipart form cannot be read: {}", error.body_text());
        broken.or(Error::new(Kind::Invalid, message))
    };
    let mut received: Result<Option<(String, Kept)>> = Ok(None);
    let ended = loop {
        let part = match form.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break Ok(()),
            Err(error) => break Err(wrong(error)),
        };
        // What comes behind it is read and dropped: a client that is cut off while it sends sees no answer.
        if part.name() != Some("file") || !matches!(received, Ok(None)) {
            continue;
        }
        let name = part.file_name().unwrap_or_default().to_owned();
        let kept = app.knowledge.receive_for_container(&cx, &name, part.map_err(wrong).boxed()).await;
        received = kept.map(|kept| Some((name, kept)));
    };
    let received = received?;
    // Whoever is told of an error has put nothing there.
    if let Err(error) = ended {
        if let Some((_, kept)) = received {
            app.knowledge.discard(&cx, kept).await;
        }
        return Err(error.into());
    }
    let (name, kept) = received.ok_or_else(|| Error::invalid("file", "the form has no part 'file'"))?;
    Ok(Json(app.knowledge.put_into_container(&cx, &id, &name, kept).await?.into()))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use axum::body::Body;
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_file_that_is_too_large_for_a_container_is_refused_by_that_limit() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let made = gateway.post("/v1/containers", &json!({ "name": "c" })).await.json();
        let files = format!("/v1/containers/{}/files", made["id"].as_str().expect("an id"));
        let head = "--xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n";
        let body = format!("{head}{}\r\n--xx--\r\n", "x".repeat(containers::GIVEN + AROUND + 1));
        for declared in [Some(body.len()), None] {
            let mut request =
                gateway.request("POST", &files).header("content-type", "multipart/form-data; boundary=xx");
            if let Some(declared) = declared {
                request = request.header("content-length", declared);
            }
            // As it comes from a network.
            let pieces: Vec<_> = body.as_bytes().chunks(64 << 10).map(Bytes::copy_from_slice).collect();
            let pieces = futures::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
            let refused = gateway.send(request.body(Body::from_stream(pieces)).expect("a request")).await;
            let error = &refused.json()["error"];
            assert_eq!((refused.status.as_u16(), error["code"].as_str()), (413, Some("file_too_large")), "{error}");
            assert!(error["message"].as_str().is_some_and(|words| words.contains("8388608 bytes")), "{error}");
        }
        assert_eq!(gateway.get(&files).await.json()["data"], json!([]));
    }

    #[tokio::test]
    async fn a_form_that_breaks_off_behind_its_file_leaves_none() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let made = gateway.post("/v1/containers", &json!({ "name": "c" })).await.json();
        let files = format!("/v1/containers/{}/files", made["id"].as_str().expect("an id"));
        let part = "--xx\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n1,2\r\n";
        for (end, status, left) in [("--xx\r\ncontent-dis", 400, 0), ("--xx--\r\n", 200, 1)] {
            let request = gateway.request("POST", &files).header("content-type", "multipart/form-data; boundary=xx");
            let request = request.body(Body::from(format!("{part}{end}"))).expect("a request");
            assert_eq!(gateway.send(request).await.status.as_u16(), status);
            let listed = gateway.get(&files).await.json();
            assert_eq!(listed["data"].as_array().expect("a list").len(), left, "{listed}");
        }
    }
}
