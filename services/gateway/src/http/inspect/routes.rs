//! `GET /v1/inspect/routes`.

use axum::{Json, extract::State};
use serde::Serialize;

use crate::app::App;

/// Llama Stack's `RouteInfo`.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct RouteInfo {
    pub route: String,
    pub method: String,
    pub provider_types: Vec<String>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct RouteList {
    pub data: Vec<RouteInfo>,
}

/// Every route of this server
#[utoipa::path(get, path = "/v1/inspect/routes", tag = "platform", responses((status = 200, body = RouteList)))]
pub async fn routes(State(app): State<App>) -> Json<RouteList> {
    let data = app.document().routes.iter().map(|(method, route)| RouteInfo {
        route: route.clone(),
        method: method.clone(),
        provider_types: vec![],
    });
    Json(RouteList { data: data.collect() })
}
