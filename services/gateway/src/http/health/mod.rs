//! Whether the process lives and can work: for probes, load balancers and people.

pub mod ready;
pub mod show;

use serde::Serialize;

use crate::app::App;

/// Llama Stack's `HealthInfo` (`status`), and what a probe wants to know.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = HealthInfo)]
pub struct Health {
    /// `OK`, or `Not ready`.
    pub status: &'static str,
    /// Always true in an answer.
    pub live: bool,
    /// Whether requests can be served now.
    pub ready: bool,
    /// Why not, in words; empty when ready.
    pub reasons: Vec<String>,
}

/// Looks at what every request needs.
pub async fn check(app: &App) -> Health {
    let mut reasons = vec![];
    if let Err(e) = app.store.system().read().await {
        tracing::warn!(cause = e.source.as_ref().map(tracing::field::display), "health: {e}");
        reasons.push("the database does not answer".to_owned());
    }
    let ready = reasons.is_empty();
    Health { status: if ready { "OK" } else { "Not ready" }, live: true, ready, reasons }
}
