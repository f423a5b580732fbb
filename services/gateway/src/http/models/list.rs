//! `GET /v1/models`.

use std::collections::HashMap;

use axum::{
    Json,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{ModelInfo, anthropic};
use crate::{
    app::App,
    auth::Caller,
    http::{extract::Query, paging::AnthropicPageQuery},
    problem::Problem,
};

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelList {
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<ModelInfo>,
}

/// The models that can be asked for
///
/// One object that OpenAI's, Llama Stack's and OGX's clients read. A client that sends `anthropic-version` gets
/// Anthropic's list, page by page.
#[utoipa::path(
    get, path = "/v1/models", tag = "inference",
    params(AnthropicPageQuery), responses((status = 200, body = ModelList))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    headers: HeaderMap,
    Query(query): Query<AnthropicPageQuery>,
) -> Result<Response, Problem> {
    let models = app.inference.models(&cx).await?;
    if anthropic::is_spoken(&headers) {
        return Ok(Json(anthropic::page(models, query)?).into_response());
    }
    let registered = app.models.list(&cx).await?;
    let mut registered: HashMap<_, _> = registered.into_iter().map(|model| (model.id.clone(), model)).collect();
    let mut info = |model: frontdesk_api::inference::Model| match registered.remove(&model.id) {
        Some(stored) => ModelInfo::from(stored),
        None => ModelInfo::from(model),
    };
    let info = |model| info(model).with_window(app.inference.as_ref());
    Ok(Json(ModelList { object: "list", data: models.into_iter().map(info).collect() }).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_model_is_one_object_for_three_kinds_of_client() {
        let gateway = TestGateway::start(Frames::whole()).await;
        insta::assert_snapshot!(gateway.get("/v1/models").await.shown(), @r#"
        200
        {
          "object": "list",
          "data": [
            {
              "id": "default",
              "object": "model",
              "created": 0,
              "owned_by": "frontdesk",
              "identifier": "default",
              "provider_id": "frontdesk",
              "provider_resource_id": "up/echo",
              "model_type": "llm",
              "type": "model",
              "metadata": {},
              "custom_metadata": {
                "model_type": "llm",
                "provider_id": "frontdesk",
                "provider_resource_id": "up/echo"
              }
            },
            {
              "id": "up/echo",
              "object": "model",
              "created": 7,
              "owned_by": "up",
              "identifier": "up/echo",
              "provider_id": "up",
              "provider_resource_id": "echo",
              "model_type": "llm",
              "type": "model",
              "metadata": {},
              "custom_metadata": {
                "model_type": "llm",
                "provider_id": "up",
                "provider_resource_id": "echo"
              }
            }
          ]
        }
        "#);
    }
    #[tokio::test]
    async fn a_client_of_anthropics_reads_its_own_list() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let get = async |path: &str| {
            let request = gateway.request("GET", path).header("anthropic-version", "2023-06-01");
            gateway.send(request.body(Body::empty()).expect("a request")).await.json()
        };
        let echo = json!({
            "type": "model", "id": "up/echo", "display_name": "up/echo", "created_at": "1970-01-01T00:00:07.000000Z",
            "lifecycle": "active",
        });
        let page = get("/v1/models?limit=1&after_id=default").await;
        assert_eq!(page, json!({ "data": [echo], "first_id": "up/echo", "last_id": "up/echo", "has_more": false }));
        assert_eq!(get("/v1/models?limit=1").await["has_more"], true);
        assert_eq!(get("/v1/models/up/echo").await, echo);
    }
}
