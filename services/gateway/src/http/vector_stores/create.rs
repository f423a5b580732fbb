//! `POST /v1/vector_stores`.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::VectorStoreInfo;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Other members of OpenAI's and OGX's clients (`chunking_strategy`, `embedding_model`, `provider_id`) change nothing.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct CreateVectorStore {
    #[serde(default)]
    name: Option<String>,
    /// Uploaded files to put in.
    #[serde(default)]
    file_ids: Option<Vec<String>>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    metadata: Option<Map<String, Value>>,
}

/// Create a vector store
#[utoipa::path(
    post, path = "/v1/vector_stores", tag = "memory",
    request_body = CreateVectorStore, responses((status = 200, body = VectorStoreInfo))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<CreateVectorStore>,
) -> Result<Json<VectorStoreInfo>, Problem> {
    let files = body.file_ids.unwrap_or_default();
    // All of them must be there before anything is made.
    for file in &files {
        app.knowledge.load_file(&cx, file).await.map_err(|e| e.with_param("file_ids"))?;
    }
    let name = body.name.unwrap_or_default();
    let store = app.knowledge.create_store(&cx, &name, body.metadata.unwrap_or_default()).await?;
    if !files.is_empty() {
        app.knowledge.attach_files(&cx, &store.id, &files).await?;
    }
    Ok(Json(app.knowledge.load_store(&cx, &store.id).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    async fn page(gateway: &TestGateway, name: &str, text: &str) -> String {
        let cx = frontdesk_api::Cx::internal("default", "test");
        gateway.app.knowledge.create_file(&cx, name, "assistants", None, text.as_bytes()).await.expect("a file").id
    }

    #[tokio::test]
    async fn a_page_is_read_when_it_is_put_in_and_found_by_its_words() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let returns = page(&gateway, "returns.md", "# Returns\n\nReturns are free within 30 days of delivery.").await;
        let image = page(&gateway, "photo.png", "\u{1}PNG").await;
        let made =
            gateway.post("/v1/vector_stores", &json!({ "name": "pages", "file_ids": [returns, image] })).await.json();
        assert_eq!(
            made["file_counts"],
            json!({ "in_progress": 0, "completed": 1, "failed": 1, "cancelled": 0, "total": 2 })
        );
        let store = format!("/v1/vector_stores/{}", made["id"].as_str().expect("an id"));
        let failed = gateway.get(&format!("{store}/files/{image}")).await.json();
        assert_eq!(failed["status"], "failed");
        assert!(failed["last_error"]["message"].as_str().is_some_and(|m| m.contains("photo.png")), "{failed}");

        let found =
            gateway.post(&format!("{store}/search"), &json!({ "query": "How long are returns free?" })).await.json();
        assert_eq!(found["data"][0]["filename"], "returns.md", "{found}");
        assert_eq!(found["data"][0]["content"][0]["text"], "Returns are free within 30 days of delivery.");
        let nothing = gateway.post(&format!("{store}/search"), &json!({ "query": "submarines" })).await.json();
        assert_eq!(nothing["data"], json!([]));

        let renamed = gateway.post(&store, &json!({ "name": "renamed" })).await.json();
        assert_eq!((&renamed["name"], &renamed["file_counts"]["total"]), (&json!("renamed"), &json!(2)));
    }

    #[tokio::test]
    async fn what_is_not_there_is_named() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let refused = gateway.post("/v1/vector_stores", &json!({ "file_ids": ["file_none"] })).await;
        assert_eq!((refused.status.as_u16(), refused.json()["error"]["param"].as_str()), (404, Some("file_ids")));
        assert_eq!(gateway.get("/v1/vector_stores").await.json()["data"], json!([]), "nothing half made");
        let refused = gateway.post("/v1/vector_stores/vs_none/search", &json!({ "query": "x" })).await;
        assert!(refused.status == 404 && refused.text().contains("vs_none"), "{}", refused.text());
    }
}
