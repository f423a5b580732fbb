//! `GET /v1/models/{model_id}`; ids contain slashes.

use axum::{
    Json,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use frontdesk_api::Error;

use super::{
    ModelInfo,
    anthropic::{self, AnthropicModel},
};
use crate::{app::App, auth::Caller, config::nearest, problem::Problem};

/// One model
///
/// As in the list; Anthropic's object for a client that sends `anthropic-version`.
#[utoipa::path(
    get, path = "/v1/models/{*model_id}", tag = "inference",
    params(("model_id" = String, Path, description = "`provider/model` or an alias")),
    responses((status = 200, body = ModelInfo))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut models = app.inference.models(&cx).await?;
    if let Some(at) = models.iter().position(|m| m.id == id) {
        let model = models.swap_remove(at);
        if anthropic::is_spoken(&headers) {
            return Ok(Json(AnthropicModel::from(model)).into_response());
        }
        let stored = app.models.list(&cx).await?.into_iter().find(|stored| stored.id == id);
        let info = stored.map_or_else(|| model.into(), ModelInfo::from);
        return Ok(Json(info.with_window(app.inference.as_ref())).into_response());
    }
    let hint = nearest(&id, models.iter().map(|m| m.id.as_str())).map(|near| format!("; did you mean '{near}'?"));
    let message = format!("there is no model '{id}'{}", hint.unwrap_or_default());
    Err(Error::not_found(message).with_param("model").with_code("model_not_found").into())
}

#[cfg(test)]
mod tests {
    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn an_id_with_a_slash_is_found() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let answer = gateway.get("/v1/models/up/echo").await;
        assert_eq!((answer.status.as_u16(), answer.json()["identifier"].as_str()), (200, Some("up/echo")));
        assert_eq!(gateway.get("/v1/models/default").await.json()["provider_id"], "frontdesk");
    }

    #[tokio::test]
    async fn an_unknown_model_names_the_nearest() {
        let gateway = TestGateway::start(Frames::whole()).await;
        insta::assert_snapshot!(gateway.get("/v1/models/up/eccho").await.shown(), @r#"
        404
        {
          "error": {
            "message": "there is no model 'up/eccho'; did you mean 'up/echo'?",
            "type": "not_found_error",
            "param": "model",
            "code": "model_not_found"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
    }
}
