//! `GET /v1/agents/{agent_id}/session/{session_id}`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Session;

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::{Query, known},
        turns,
    },
    problem::Problem,
};

/// A conversation with its turns in order
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/session/{session_id}", tag = "agents",
    params(
        ("agent_id" = String, Path, description = "The agent's id"),
        ("session_id" = String, Path, description = "The session's id"),
        ("turn_ids" = Option<String>, Query, description = "Ids, with commas between them: only these turns, in the order of the session; one that is not of it is left out"),
    ),
    responses((status = 200, body = Session))
)]
pub async fn show(
    State(app): State<App>,
    Caller(cx): Caller,
    Path((agent_id, session_id)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Session>, Problem> {
    let mut turn_ids = vec![];
    for (name, value) in &query {
        match name.as_str() {
            "turn_ids" => turn_ids.extend(value.split(',').filter(|id| !id.is_empty()).map(str::to_owned)),
            name => known(name)?,
        }
    }
    let (session, views) = app.agents.load_part(&cx, &agent_id, &session_id, &turn_ids).await?;
    Ok(Json(Session::new(&session, views.iter().map(turns::shown).collect())))
}
