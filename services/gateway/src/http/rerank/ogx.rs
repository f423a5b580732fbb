//! `POST /v1alpha/inference/rerank`: the same as `/v1/rerank`, in the shape of OGX's clients.

use axum::{Extension, Json, extract::State, http::HeaderMap};
use frontdesk_api::rerank::RerankRequest;
use frontdesk_wire::llama_stack::rerank::{RankedItems, RerankItems};

use crate::{
    app::App,
    auth::Caller,
    http::{attempts, edge::Arrival, extract::Json as Body, reply::say_overhead},
    problem::Problem,
};

/// Put items in order
#[utoipa::path(
    post, path = "/v1alpha/inference/rerank", tag = "inference",
    request_body = RerankItems,
    responses((status = 200, body = RankedItems))
)]
pub async fn rerank(
    State(app): State<App>,
    Extension(arrival): Extension<Arrival>,
    Caller(cx): Caller,
    Body(body): Body<RerankItems>,
) -> Result<(HeaderMap, Json<RankedItems>), Problem> {
    let request = RerankRequest::typed(body.model.clone(), body.to_domain()?);
    let ranking = app.inference.rerank(&cx, request).await?;
    let mut headers = HeaderMap::new();
    say_overhead(&mut headers, arrival.at.elapsed().saturating_sub(ranking.effort.waited()));
    attempts::write_whole(&mut headers, (&ranking.provider, &ranking.model), &ranking.effort, None);
    Ok((headers, Json(RankedItems::of(&ranking.results))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{
        http::{reply::OVERHEAD, rerank::create::longest::Longest},
        testing::TestGateway,
    };

    #[tokio::test]
    async fn items_come_back_by_their_place_best_first() {
        let gateway = TestGateway::start(Longest { native: false }).await;
        let body = json!({ "model": "up/echo", "query": "q", "items": ["a", "ccc", "bb"], "max_num_results": 2 });
        let answer = gateway.post("/v1alpha/inference/rerank", &body).await;
        let want = json!({ "data": [{ "index": 1, "relevance_score": 5.0 }, { "index": 2, "relevance_score": 4.0 }] });
        assert_eq!((answer.status.as_u16(), answer.json()), (200, want));
        assert!(answer.headers.contains_key(OVERHEAD));
    }
}
