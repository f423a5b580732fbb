//! `GET /v1/handoffs/{handoff_id}/messages`.

use axum::{
    Json,
    extract::{Path, State},
};

use super::HandoffMessage;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// What was said in a conversation
///
/// By the customer, the agent and people, before the hand-off and since; newest first, `order=asc` oldest first. What a
/// shield blocked is left out.
#[utoipa::path(
    get, path = "/v1/handoffs/{handoff_id}/messages", tag = "agents",
    params(("handoff_id" = String, Path, description = "The hand-off's id"), PageQuery),
    responses((status = 200, body = List<HandoffMessage>))
)]
pub async fn messages(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> Result<Json<List<HandoffMessage>>, Problem> {
    let words = app.agents.handoff_words(&cx, &id, &page.request()?).await?;
    Ok(Json(List::of(words, HandoffMessage::from, |message| &message.id)))
}
