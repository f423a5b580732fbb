//! `POST /v1/prompts`.

use axum::{Json, extract::State};
use serde::Deserialize;

use super::{PromptInfo, check};
use crate::{app::App, auth::Caller, http::extract, problem::Problem};

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatePrompt {
    /// With `{{ name }}` where a variable stands.
    #[schema(example = "You answer for {{ shop }}.")]
    prompt: String,
    /// Every name that the text uses.
    #[serde(default)]
    variables: Option<Vec<String>>,
}

/// Store a prompt, as its version 1
#[utoipa::path(
    post, path = "/v1/prompts", tag = "prompts",
    request_body = CreatePrompt, responses((status = 200, body = PromptInfo))
)]
pub async fn create(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<CreatePrompt>,
) -> Result<Json<PromptInfo>, Problem> {
    let variables = body.variables.unwrap_or_default();
    check(&body.prompt, &variables)?;
    let (id, now) = (app.ids.next("pmpt"), app.clock.now());
    Ok(Json(app.store.tenant(&cx).add_prompt(&id, &body.prompt, &variables, now).await?.into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_text_uses_no_variable_that_it_does_not_declare() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let made = gateway.post("/v1/prompts", &json!({ "prompt": "For {{shop}}.", "variables": ["shop"] })).await;
        let (id, made) = (made.json()["prompt_id"].clone(), made.json());
        let want = json!({ "prompt_id": id, "version": 1, "is_default": true, "prompt": "For {{shop}}.", "variables": ["shop"] });
        assert_eq!(made, want);
        for (body, param) in [
            (json!({ "prompt": "For {{ shop }}." }), "variables"),
            (json!({ "prompt": "" }), "prompt"),
            (json!({ "prompt": "x", "variables": ["a b"] }), "variables[0]"),
            (json!({ "prompt": "x", "variables": ["a", "a"] }), "variables[1]"),
        ] {
            let refused = gateway.post("/v1/prompts", &body).await;
            assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!(param)), "{body}");
        }
    }
}
