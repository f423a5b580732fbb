//! `POST /v1/providers/{provider_id}/load`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::{ModelNamed, ProviderInfo, set_loaded};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Bring a model into memory
///
/// For models of the local engine (type `mistralrs`) and the operator's admins. Answers when it can be asked. A model that is asked for is loaded by itself; this does it before anyone waits.
/// Of several processes the one that is asked does it.
#[utoipa::path(
    post, path = "/v1/providers/{provider_id}/load", tag = "platform", request_body = ModelNamed,
    params(("provider_id" = String, Path, description = "The id from the configuration")),
    responses((status = 200, body = ProviderInfo))
)]
pub async fn load(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    extract::Json(named): extract::Json<ModelNamed>,
) -> Result<Json<ProviderInfo>, Problem> {
    Ok(Json(set_loaded(&app, &cx, &id, &named.model, true).await?))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Cx, Error, Inference, Result, inference::Model};
    use serde_json::json;

    use crate::testing::TestGateway;

    /// Notes what it is to load and to let go; knows one model.
    #[derive(Default, Clone)]
    struct Shelf(Arc<Mutex<Vec<(String, bool)>>>);

    #[async_trait]
    impl Inference for Shelf {
        async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
            Err(Error::unavailable("never asked"))
        }

        async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
            Ok(vec![])
        }

        async fn set_loaded(&self, _: &Cx, model: &str, loaded: bool) -> Result<()> {
            if model != "a/b" {
                return Err(Error::not_found(format!("no model '{model}'")));
            }
            self.0.lock().expect("unpoisoned").push((model.to_owned(), loaded));
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_operator_loads_a_model_and_lets_it_go_and_nobody_else_does() {
        let shelf = Shelf::default();
        let gateway = TestGateway::configured(
            "providers: { inference: [ { id: other, type: openai, config: { base_url: 'http://127.0.0.1:1/v1' } } ] }",
            shelf.clone(),
        )
        .await;
        let model = json!({ "model": "a/b" });
        for verb in ["load", "unload"] {
            let answer = gateway.post(&format!("/v1/providers/up/{verb}"), &model).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["provider_id"]), (200, &json!("up")));
        }
        assert_eq!(*shelf.0.lock().expect("unpoisoned"), [("a/b".to_owned(), true), ("a/b".to_owned(), false)]);
        for (provider, body, status) in [
            ("up", json!({ "model": "c" }), 404),
            ("up", json!({ "name": "a/b" }), 400),
            ("nobody", model.clone(), 404),
            ("other", model.clone(), 400),
        ] {
            let answer = gateway.post(&format!("/v1/providers/{provider}/load"), &body).await;
            assert_eq!(answer.status, status, "{}", answer.text());
        }
        gateway.post("/v1/tenants", &json!({ "id": "shop", "name": "Shop" })).await;
        for theirs in
            [json!({ "name": "k", "scopes": ["write"] }), json!({ "name": "k", "scopes": ["admin"], "tenant": "shop" })]
        {
            let made = gateway.post("/v1/keys", &theirs).await.json();
            let request = http::Request::post("/v1/providers/up/load")
                .header("authorization", format!("Bearer {}", made["key"].as_str().expect("the key, shown once")))
                .header("content-type", "application/json");
            let refused = gateway.send(request.body(model.to_string().into()).expect("a request")).await;
            assert_eq!(refused.status, 403, "{theirs}: {}", refused.text());
        }
        assert_eq!(shelf.0.lock().expect("unpoisoned").len(), 2);
    }
}
