//! Web searches of a response: the platform's own tool group, over the engine that the operator set up.

use frontdesk_api::{Cx, Error, Kind, Result, agent::AgentSpec, web::GROUP};
use frontdesk_wire::openai::responses::web::Web;

use crate::app::App;

/// Whether an agent has it.
pub(super) fn is_granted(spec: &AgentSpec) -> bool {
    spec.toolgroups.iter().any(|group| group.split('/').next() == Some(GROUP))
}

/// Gives it to the turn's agent.
///
/// # Errors
/// `Invalid` with the code `unsupported_tool` where this installation has no engine.
pub(super) async fn grant(app: &App, cx: &Cx, spec: &mut AgentSpec, asked: Web) -> Result<()> {
    if let Err(error) = app.tools.load_group(cx, GROUP).await {
        if error.kind != Kind::NotFound {
            return Err(error);
        }
        let message = "no search engine is set up here: the operator adds a tool provider of the type 'brave', 'tavily' \
                       or 'searxng'";
        return Err(Error::invalid("tools", message).with_code("unsupported_tool"));
    }
    // The first, so that it has its own name.
    spec.toolgroups.retain(|group| group.split('/').next() != Some(GROUP));
    spec.toolgroups.insert(0, GROUP.to_owned());
    spec.web_domains = asked.domains;
    Ok(())
}
