//! `POST /v1/models`.

use axum::{Json, extract::State};
use frontdesk_api::inference::ModelKind;
use frontdesk_inference::Registration;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ModelInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Llama Stack's members; unknown ones are refused.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterModel {
    /// What to ask for from now on.
    #[schema(example = "my-embedder")]
    model_id: String,
    /// A configured inference provider; may be left out where there is only one.
    #[serde(default)]
    provider_id: Option<String>,
    /// The provider's own name of the model; `model_id` where it is left out.
    #[serde(default)]
    provider_model_id: Option<String>,
    /// Notes of your own; `description` is shown to people.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
    #[serde(default)]
    model_type: Option<ModelKind>,
}

/// Register a model, or register it anew
///
/// A name of your own for a model of a configured provider; other tenants do not see it. A name that the
/// configuration has, or that lies under a provider's, is 409 with the code `configured`. The provider is not asked
/// whether it has the model.
#[utoipa::path(
    post, path = "/v1/models", tag = "inference",
    request_body = RegisterModel, responses((status = 200, body = ModelInfo))
)]
pub async fn register(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<RegisterModel>,
) -> Result<Json<ModelInfo>, Problem> {
    let registration = Registration {
        id: body.model_id,
        provider_id: body.provider_id,
        upstream_id: body.provider_model_id,
        kind: body.model_type.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
    };
    Ok(Json(app.models.register(&cx, registration).await?.into()))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, Result, inference::Model};
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    /// Says how much its one model takes.
    struct Wide(Frames);

    #[async_trait]
    impl Inference for Wide {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            self.0.chat(cx, request).await
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            self.0.models(cx).await
        }

        fn context_window(&self, model: &str) -> Option<usize> {
            (model == "echo").then_some(4096)
        }
    }

    #[tokio::test]
    async fn a_registered_model_takes_as_much_as_the_one_it_leads_to() {
        let gateway = TestGateway::start(Wide(Frames::whole())).await;
        let body = json!({ "model_id": "org/mine", "provider_id": "up", "provider_model_id": "echo" });
        assert_eq!(gateway.post("/v1/models", &body).await.status, 200);
        assert_eq!(gateway.get("/v1/models/org/mine").await.json()["max_model_len"], 4096);
        let listed = gateway.get("/v1/models").await.json();
        let all = listed["data"].as_array().expect("models");
        assert!(all.iter().any(|model| model["id"] == "org/mine" && model["max_model_len"] == 4096), "{listed}");
    }

    #[tokio::test]
    async fn a_registered_model_is_listed_shown_and_answers() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let body = json!({ "model_id": "org/mine", "provider_id": "up", "provider_model_id": "echo",
            "metadata": { "owner": "me" }, "model_type": "llm" });
        let made = gateway.post("/v1/models", &body).await;
        insta::assert_snapshot!(made.shown(), @r#"
        200
        {
          "id": "org/mine",
          "object": "model",
          "created": 1795492101,
          "owned_by": "up",
          "identifier": "org/mine",
          "provider_id": "up",
          "provider_resource_id": "echo",
          "model_type": "llm",
          "type": "model",
          "metadata": {
            "owner": "me"
          },
          "custom_metadata": {
            "model_type": "llm",
            "provider_id": "up",
            "provider_resource_id": "echo",
            "owner": "me"
          }
        }
        "#);
        assert_eq!(gateway.get("/v1/models/org/mine").await.json(), made.json());
        let listed = gateway.get("/v1/models").await.json();
        assert_eq!(listed["data"].as_array().and_then(|all| all.last()), Some(&made.json()));
        let question = json!({ "model": "org/mine", "messages": [{ "role": "user", "content": "hi" }] });
        assert_eq!(gateway.post("/v1/chat/completions", &question).await.status, 200);
    }

    #[tokio::test]
    async fn what_the_operator_configured_is_not_shadowed() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let body = json!({ "model_id": "default", "provider_id": "up" });
        insta::assert_snapshot!(gateway.post("/v1/models", &body).await.shown(), @r#"
        409
        {
          "error": {
            "message": "model 'default' is named in the configuration (models): register another name",
            "type": "conflict_error",
            "param": "model_id",
            "code": "configured"
          },
          "request_id": "req_00000000000000000000000002"
        }
        "#);
        let unknown = json!({ "model_id": "mine", "provider_id": "down" });
        let refused = gateway.post("/v1/models", &unknown).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("provider_id")));
    }
}
