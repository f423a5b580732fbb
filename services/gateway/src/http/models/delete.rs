//! `DELETE /v1/models/{model_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use serde::Serialize;

use crate::{app::App, auth::Caller, problem::Problem};

/// OpenAI's answer; Llama Stack's client reads none.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ModelDeleted {
    pub id: String,
    #[schema(example = "model")]
    pub object: &'static str,
    pub deleted: bool,
}

/// Remove a registered model
///
/// What the configuration names is the operator's and is 409, with the code `configured`.
#[utoipa::path(
    delete, path = "/v1/models/{*model_id}", tag = "inference",
    params(("model_id" = String, Path, description = "The registered name")),
    responses((status = 200, body = ModelDeleted))
)]
pub async fn delete(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
) -> Result<Json<ModelDeleted>, Problem> {
    app.models.delete(&cx, &id).await?;
    Ok(Json(ModelDeleted { id, object: "model", deleted: true }))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use crate::testing::{Answer, Frames, TestGateway};

    async fn delete(gateway: &TestGateway, id: &str) -> Answer {
        let request = gateway.request("DELETE", &format!("/v1/models/{id}"));
        gateway.send(request.body(Body::empty()).expect("a request")).await
    }

    #[tokio::test]
    async fn a_registered_model_goes_once_and_a_configured_one_never() {
        let gateway = TestGateway::start(Frames::whole()).await;
        gateway.post("/v1/models", &json!({ "model_id": "org/mine", "provider_id": "up" })).await;
        let gone = delete(&gateway, "org/mine").await;
        let want = json!({ "id": "org/mine", "object": "model", "deleted": true });
        assert_eq!((gone.status.as_u16(), gone.json()), (200, want));
        assert_eq!(delete(&gateway, "org/mine").await.status, 404);
        assert_eq!(gateway.get("/v1/models/org/mine").await.status, 404);
        for configured in ["default", "up/echo"] {
            let refused = delete(&gateway, configured).await;
            assert_eq!((refused.status.as_u16(), &refused.json()["error"]["code"]), (409, &json!("configured")));
        }
    }
}
