//! `GET /v1/version`.

use axum::Json;
use serde::Serialize;

/// Llama Stack's `VersionInfo`, and what this build can do.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Version {
    pub version: &'static str,
    /// Optional parts of this build: `wasm`, `mistralrs`, `embeddings`.
    pub features: Vec<&'static str>,
}

/// The version of the server
#[utoipa::path(get, path = "/v1/version", tag = "platform", responses((status = 200, body = Version)))]
pub async fn show() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION"), features: crate::features() })
}
