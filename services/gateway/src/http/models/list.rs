//! `GET /v1/models`.

use axum::{Json, extract::State};
use serde::Serialize;

use super::ModelInfo;
use crate::{app::App, auth::Caller, problem::Problem};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<ModelInfo>,
}

/// The models that can be asked for
#[utoipa::path(get, path = "/v1/models", tag = "inference", responses((status = 200, body = ModelList)))]
pub async fn list(State(app): State<App>, Caller(cx): Caller) -> Result<Json<ModelList>, Problem> {
    let models = app.inference.models(&cx).await?;
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(ModelInfo::from).collect() }))
}

#[cfg(test)]
mod tests {
    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_model_is_one_object_for_three_kinds_of_client() {
        let gateway = TestGateway::start(Frames::whole()).await;
        insta::assert_snapshot!(gateway.get("/v1/models").await.shown(), @r#"
        200
        {
          "data": [
            {
              "created": 0,
              "custom_metadata": {
                "model_type": "llm",
                "provider_id": "frontdesk",
                "provider_resource_id": "up/echo"
              },
              "id": "default",
              "identifier": "default",
              "metadata": {},
              "model_type": "llm",
              "object": "model",
              "owned_by": "frontdesk",
              "provider_id": "frontdesk",
              "provider_resource_id": "up/echo",
              "type": "model"
            },
            {
              "created": 7,
              "custom_metadata": {
                "model_type": "llm",
                "provider_id": "up",
                "provider_resource_id": "echo"
              },
              "id": "up/echo",
              "identifier": "up/echo",
              "metadata": {},
              "model_type": "llm",
              "object": "model",
              "owned_by": "up",
              "provider_id": "up",
              "provider_resource_id": "echo",
              "type": "model"
            }
          ],
          "object": "list"
        }
        "#);
    }
}
