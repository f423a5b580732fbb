//! The code interpreter of a response: the platform's own tool group, with the files that the request names.

use frontdesk_api::{Cx, Error, Kind, Result, agent::AgentSpec, code::GROUP};
use frontdesk_wire::openai::responses::code::Interpreter;

use super::wrong;
use crate::app::App;

/// Whether an agent has it.
pub(super) fn is_granted(spec: &AgentSpec) -> bool {
    spec.toolgroups.iter().any(|group| group.split('/').next() == Some(GROUP))
}

/// Gives it to the turn's agent.
///
/// # Errors
/// `Invalid` where this installation has none, or for a file or a container that does not exist.
pub(super) async fn grant(app: &App, cx: &Cx, spec: &mut AgentSpec, asked: Interpreter) -> Result<()> {
    if let Err(error) = app.tools.load_group(cx, GROUP).await {
        if error.kind != Kind::NotFound {
            return Err(error);
        }
        let message = "this installation runs no code: its operator adds a provider of the type 'code_interpreter'";
        return Err(Error::invalid("tools", message).with_code("unsupported_tool"));
    }
    if let Some(id) = asked.container {
        app.agents.container_to_use(cx, &id).await.map_err(|error| wrong(error, asked.path.clone()))?;
        spec.code_container = Some(id);
    }
    for (i, id) in asked.files.into_iter().enumerate() {
        app.knowledge.load_file(cx, &id).await.map_err(|error| wrong(error, format!("{}[{i}]", asked.path)))?;
        if !spec.code_files.contains(&id) {
            spec.code_files.push(id);
        }
    }
    if !is_granted(spec) {
        spec.toolgroups.push(GROUP.to_owned());
    }
    Ok(())
}
