//! Servers of tools that a response's request names itself.

use frontdesk_api::{Cx, Error, Result, servers::Server};
use frontdesk_wire::openai::responses::mcp::Named;

use crate::app::App;

/// These servers as the turn keeps them: what they are sent along is sealed.
///
/// # Errors
/// `Invalid` and `Forbidden` naming the member of the request.
pub(super) async fn taken(app: &App, cx: &Cx, named: Vec<Named>) -> Result<Vec<Server>> {
    let mut servers = vec![];
    for Named { server, secrets, path } in named {
        let at = |error: Error| {
            let param = error.param.as_ref().map_or_else(|| path.clone(), |param| format!("{path}.{param}"));
            error.with_param(param)
        };
        servers.push(app.tools.take_server(cx, server, secrets).await.map_err(at)?);
    }
    Ok(servers)
}
