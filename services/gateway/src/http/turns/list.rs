//! `GET /v1/turns`.

use axum::{Json, extract::State};
use frontdesk_api::{
    Error,
    clock::unix_seconds,
    turn::{Turn, TurnError, TurnState},
};
use serde::{Deserialize, Serialize};

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// Which turns.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// `dead_letter`.
    pub state: Option<String>,
}

/// A turn in a list. Times are unix seconds.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Listed {
    pub id: String,
    #[schema(example = "turn")]
    pub object: &'static str,
    pub state: TurnState,
    pub agent_id: String,
    pub agent_version: i64,
    /// null: it stands in no conversation.
    pub session_id: Option<String>,
    /// Why it ended.
    pub error: Option<TurnError>,
    pub created_at: i64,
    pub completed_at: Option<i64>,
}

impl From<Turn> for Listed {
    fn from(turn: Turn) -> Self {
        Self {
            id: turn.id,
            object: "turn",
            state: turn.state,
            agent_id: turn.agent_id,
            agent_version: turn.agent_version,
            session_id: turn.session_id,
            error: turn.error,
            created_at: unix_seconds(turn.created_at),
            completed_at: turn.completed_at.map(unix_seconds),
        }
    }
}

/// The turns that were given up
///
/// Each ended the process that worked on it, or was lost with it, again and again.
#[utoipa::path(
    get, path = "/v1/turns", tag = "agents", params(StateQuery, PageQuery),
    responses((status = 200, body = List<Listed>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(which): Query<StateQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<Listed>>, Problem> {
    if which.state.as_deref() != Some(TurnState::DeadLetter.as_str()) {
        return Err(
            Error::invalid("state", "state must be 'dead_letter': other turns are listed in their sessions").into()
        );
    }
    let page = app.agents.dead_letters(&cx, &page.request()?).await?;
    Ok(Json(List::of(page, Listed::from, |turn| &turn.id)))
}
