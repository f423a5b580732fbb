//! `GET /v1/agents`.

use axum::{Json, extract::State};
use frontdesk_wire::llama_stack::agent::AgentView;

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{Window, WindowQuery, window},
    },
    problem::Problem,
};

/// The agents, newest first
#[utoipa::path(get, path = "/v1/agents", tag = "agents", params(WindowQuery), responses((status = 200, body = Window<AgentView>)))]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Window<AgentView>>, Problem> {
    let (agents, cx) = (&app.agents, &cx);
    let fetch = |page| async move { agents.list_agents(cx, &page).await };
    let agents = window(query, fetch, |agent| &agent.id).await?;
    Ok(Json(agents.map(|agent| AgentView::from(&agent))))
}
