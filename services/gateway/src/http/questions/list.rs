//! `GET /v1/questions`.

use axum::{Json, extract::State};
use frontdesk_agents::Which;
use serde::Deserialize;

use super::Question;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WhichQuery {
    /// Only those of this turn.
    pub turn_id: Option<String>,
    /// Only those of this conversation.
    pub session_id: Option<String>,
}

/// What tools ask people now
///
/// On behalf of a customer: that customer's questions.
#[utoipa::path(
    get, path = "/v1/questions", tag = "agents", params(PageQuery, WhichQuery),
    responses((status = 200, body = List<Question>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
    Query(only): Query<WhichQuery>,
) -> Result<Json<List<Question>>, Problem> {
    let which = Which { turn: only.turn_id.as_deref(), session: only.session_id.as_deref() };
    let page = app.agents.open_questions(&cx, which, &page.request()?).await?;
    Ok(Json(List::of(page, Question::from, |asked| &asked.id)))
}
