//! `POST /v1/containers/{container_id}/files`: a form with the part `file`, or the id of an uploaded file.

use std::time::Duration;

use axum::{
    Json,
    extract::{DefaultBodyLimit, FromRequest, Multipart, Path, Request, State},
    http::header::CONTENT_TYPE,
};
use frontdesk_agents::ContainerFile;
use frontdesk_api::{Error, Kind, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use super::ContainerFileInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{extract, files::create::size},
    problem::Problem,
};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateContainerFile {
    /// Of an uploaded file, which is copied.
    file_id: String,
}

/// Put a file into a container
///
/// Code that runs in it finds the file in its working folder from the next turn on. All files that clients put into a
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
    let _room = match app.uploads.take(app.knowledge.memory(size(&request, limits.max_upload_mb))).await {
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
    let mut made: Result<Option<ContainerFile>> = Ok(None);
    loop {
        let wrong =
            |text: String| broken.or(Error::new(Kind::Invalid, format!("the multipart form cannot be read: {text}")));
        let part = match form.next_field().await {
            Ok(Some(part)) => part,
            Ok(None) => break,
            Err(error) => return Err(wrong(error.body_text()).into()),
        };
        // What comes behind it is read and dropped: a client that is cut off while it sends sees no answer.
        if part.name() != Some("file") || !matches!(made, Ok(None)) {
            continue;
        }
        let name = part.file_name().unwrap_or_default().to_owned();
        let pieces = part.map_err(|error| wrong(error.body_text())).boxed();
        made = match app.knowledge.receive(&cx, &name, pieces).await {
            Ok(kept) => app.knowledge.put_into_container(&cx, &id, &name, kept).await.map(Some),
            Err(error) => Err(error),
        };
    }
    let made = made?.ok_or_else(|| Error::invalid("file", "the form has no part 'file'"))?;
    Ok(Json(made.into()))
}
