//! `POST /v1/vector_stores/{vector_store_id}/files/{file_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::attributes::Attributes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::VectorStoreFile;
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
pub struct UpdateVectorStoreFile {
    /// In place of all that it had; null: none.
    #[serde(deserialize_with = "Option::deserialize")] // needed, be it null
    #[schema(value_type = Option<Object>, required)]
    attributes: Option<Map<String, Value>>,
}

/// Replace the attributes of a file in a vector store
///
/// Searches go by them from then on; the file is not read again.
#[utoipa::path(
    post, path = "/v1/vector_stores/{vector_store_id}/files/{file_id}", tag = "memory",
    params(("vector_store_id" = String, Path, description = "The store's id"), ("file_id" = String, Path, description = "The file's id")),
    request_body = UpdateVectorStoreFile, responses((status = 200, body = VectorStoreFile))
)]
pub async fn update_file(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((store_id, file_id)): Path<(String, String)>,
    extract::Json(body): extract::Json<UpdateVectorStoreFile>,
) -> Result<Json<VectorStoreFile>, Problem> {
    let attributes = Attributes::new(body.attributes.unwrap_or_default())?;
    Ok(Json(app.knowledge.set_attributes(&cx, &store_id, &file_id, &attributes).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn attributes_are_shown_as_they_were_set_and_searched_by() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let cx = frontdesk_api::Cx::internal("default", "test");
        let file = gateway.app.knowledge.create_file(&cx, "a.md", "assistants", None, b"Returns are free.").await;
        let file = file.expect("a file").id;
        let store = gateway.post("/v1/vector_stores", &json!({})).await.json();
        let store = format!("/v1/vector_stores/{}", store["id"].as_str().expect("an id"));
        let put_in = |attributes| json!({ "file_id": file, "attributes": attributes });
        let refused = gateway.post(&format!("{store}/files"), &put_in(json!({ "a": [] }))).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("attributes")));
        assert_eq!(gateway.get(&format!("{store}/files")).await.json()["data"], json!([]), "nothing half done");

        let set = json!({ "lang": "de", "year": 2024, "score": 1.0, "public": true, "url": "https://shop.example/" });
        let added = gateway.post(&format!("{store}/files"), &put_in(set.clone())).await.json();
        assert_eq!((&added["attributes"], &added["filename"], &added["passages"]), (&set, &json!("a.md"), &json!(1)));
        assert_eq!(added["url"], "https://shop.example/");

        let search = async |filters| {
            let body = json!({ "query": "returns", "filters": filters });
            gateway.post(&format!("{store}/search"), &body).await
        };
        let german = json!({ "type": "eq", "key": "lang", "value": "de" });
        let found = search(german.clone()).await.json();
        assert_eq!((&found["data"][0]["attributes"], &found["data"][0]["url"]), (&set, &added["url"]));
        assert!(found["data"][0]["title"].is_string(), "{found}");
        let refused = search(json!({ "type": "eq", "key": "lang" })).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("filters.value")));
        assert_eq!(search(json!(null)).await.json()["data"].as_array().map(Vec::len), Some(1));

        let at = format!("{store}/files/{file}");
        let refused = gateway.post(&at, &json!({})).await;
        assert!(refused.status == 400 && refused.text().contains("attributes"), "{}", refused.text());
        let changed = gateway.post(&at, &json!({ "attributes": { "lang": "en" } })).await.json();
        assert_eq!((&changed["attributes"], &changed["url"]), (&json!({ "lang": "en" }), &json!(null)));
        assert_eq!(search(german).await.json()["data"], json!([]));
        let emptied = gateway.post(&at, &json!({ "attributes": null })).await.json();
        assert_eq!((&emptied["attributes"], &emptied["status"]), (&json!({}), &json!("completed")));
        assert_eq!(gateway.get(&at).await.json()["attributes"], json!({}));
    }
}
