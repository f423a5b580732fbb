//! `/mcp`: the tenant's agents, and the tools that the operator names, for clients that speak the Model Context Protocol over streamable HTTP.
//!
//! Every request stands for itself: the session that a greeting names keeps nothing but requests apart, so any gateway
//! answers any request. Revisions 2025-11-25 and 2025-06-18 by their greeting, and 2026-07-28, which has none. A key is
//! asked for as everywhere, and may do here what it may do elsewhere.

mod agents;
mod calls;
mod message;
pub mod metadata;
mod offered;
pub mod post;
#[cfg(test)]
mod tests;

use frontdesk_api::{Error, Kind, Result};
use http::{HeaderMap, Uri, header};

pub use calls::Calls;

use crate::app::App;

/// A page in a browser may ask only where it is one of this machine's, or the operator named it.
///
/// # Errors
/// `Forbidden`.
fn check_origin(app: &App, headers: &HeaderMap) -> Result<()> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let named = origin.to_str().unwrap_or_default();
    let host = named.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned)).unwrap_or_default();
    let here = ["localhost", "127.0.0.1", "[::1]"].contains(&host.as_str());
    if here || app.config.mcp.origins.iter().any(|allowed| allowed.trim_end_matches('/') == named) {
        return Ok(());
    }
    let message = "pages of this origin may not ask here: the operator names those that may in 'mcp.origins'";
    Err(Error::new(Kind::Forbidden, message).with_code("origin_not_allowed"))
}
