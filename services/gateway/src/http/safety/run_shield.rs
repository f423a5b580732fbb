//! `POST /v1/safety/run-shield`.

use axum::{Json, extract::State};
use frontdesk_api::{Safety as _, safety::Stage};
use frontdesk_wire::llama_stack::safety::{RunShield, RunShieldResponse, violation};

use crate::{app::App, auth::Caller, http::extract, problem::Problem};

/// Ask a shield about messages
///
/// Judged as the customer's words, or as the agent's where the last message is the assistant's. `violation` is null
/// where the shield lets them pass.
#[utoipa::path(
    post, path = "/v1/safety/run-shield", tag = "safety",
    request_body = RunShield, responses((status = 200, body = RunShieldResponse))
)]
pub async fn run_shield(
    State(app): State<App>,
    Caller(cx): Caller,
    extract::Json(body): extract::Json<RunShield>,
) -> Result<Json<RunShieldResponse>, Problem> {
    let (text, by_agent) = body.text()?;
    let stage = if by_agent { Stage::Output } else { Stage::Input };
    let checked = app.safety.check(&cx, &[body.shield_id], stage, &text).await?;
    let found = checked.verdicts.iter().find_map(|(shield, verdict)| violation(shield, verdict));
    Ok(Json(RunShieldResponse { violation: found }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    #[tokio::test]
    async fn a_card_number_is_a_violation_and_a_greeting_is_none() {
        let gateway = TestGateway::start(Frames::whole()).await;
        let ask = |words: &str| json!({ "shield_id": "rules", "messages": [{ "role": "user", "content": words }], "params": {} });
        let found = gateway.post("/v1/safety/run-shield", &ask("my card is 4111 1111 1111 1111")).await.json();
        assert_eq!(found["violation"]["metadata"]["action"], "redact", "{found}");
        let none = gateway.post("/v1/safety/run-shield", &ask("hello there")).await.json();
        assert_eq!(none, json!({ "violation": null }));
        let mut unknown = ask("x");
        unknown["shield_id"] = json!("ruls");
        let answer = gateway.post("/v1/safety/run-shield", &unknown).await;
        assert_eq!((answer.status.as_u16(), answer.text().contains("rules")), (404, true), "{}", answer.text());
    }
}
