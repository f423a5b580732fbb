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
    // An agent's own are never widened.
    if spec.web_domains.is_empty() {
        spec.web_domains = asked.domains;
    } else if !asked.domains.is_empty() {
        let own = std::mem::take(&mut spec.web_domains);
        spec.web_domains = both(&own, &asked.domains);
        if spec.web_domains.is_empty() {
            let message = format!("the agent searches {} alone, and none of that was asked for", own.join(", "));
            return Err(Error::invalid("tools", message));
        }
    }
    Ok(())
}

/// What lies in both lists: of two names of which one is below the other, that one.
fn both(one: &[String], other: &[String]) -> Vec<String> {
    let below =
        |name: &str, above: &str| name.strip_suffix(above).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    let within = |names: &[String], of: &[String]| {
        names.iter().filter(|name| of.iter().any(|above| below(name, above))).cloned().collect::<Vec<_>>()
    };
    let mut all = [within(one, other), within(other, one)].concat();
    all.sort();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_both_lists_is_left() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let both = |one: &[&str], other: &[&str]| both(&names(one), &names(other));
        assert_eq!(both(&["a.example", "b.example"], &["a.example"]), ["a.example"]);
        assert_eq!(both(&["a.example"], &["x.a.example", "ba.example"]), ["x.a.example"]);
        assert_eq!(both(&["x.a.example"], &["a.example"]), ["x.a.example"]);
        assert!(both(&["a.example"], &["b.example"]).is_empty());
    }
}
