//! Agents and sessions: made, listed, changed, deleted.

use frontdesk_api::{
    Cx, Error, Kind, Page, PageRequest, Result,
    agent::{Agent, AgentSpec, MOST_STEPS},
    chat::Usage,
    cx::Customer,
    turn::Session,
};
use frontdesk_store::{agents::NamedAgent, sessions, versions::Change};

use crate::{Agents, HAND_OFF, access, asking, guidelines, versions};

impl Agents {
    /// Stores an agent with its version 1, which is published at once.
    ///
    /// # Errors
    /// `Invalid` naming the member, `Conflict` when the name is taken.
    pub async fn create_agent(&self, cx: &Cx, spec: AgentSpec) -> Result<Agent> {
        self.create_agent_noted(cx, spec, None).await
    }

    /// As [`Agents::create_agent`]; `note`: why, for people.
    ///
    /// # Errors
    /// As [`Agents::create_agent`].
    pub async fn create_agent_noted(&self, cx: &Cx, spec: AgentSpec, note: Option<&str>) -> Result<Agent> {
        let note = versions::check_note(note)?;
        self.check(cx, &spec).await?;
        self.check_price(cx, &spec).await?;
        let deps = &self.0.deps;
        let first = Change::first(&spec, Some(&cx.principal.key_id), deps.clock.now());
        deps.store.tenant(cx).add_agent_by(&deps.ids.next("agent"), &Change { note, ..first }).await
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_agent(&self, cx: &Cx, id: &str) -> Result<Agent> {
        self.0.deps.store.tenant(cx).load_agent(id).await
    }

    /// The agent of that name, for `model: "agent/<name>"`.
    ///
    /// # Errors
    /// As any query.
    pub async fn find_agent_named(&self, cx: &Cx, name: &str) -> Result<Option<Agent>> {
        self.0.deps.store.tenant(cx).find_agent_named(name).await
    }

    /// The agents that have a name, by name.
    ///
    /// # Errors
    /// As any query.
    pub async fn named_agents(&self, cx: &Cx) -> Result<Vec<NamedAgent>> {
        self.0.deps.store.tenant(cx).named_agents().await
    }

    /// # Errors
    /// As any query.
    pub async fn list_agents(&self, cx: &Cx, page: &PageRequest) -> Result<Page<Agent>> {
        self.0.deps.store.tenant(cx).list_agents(page).await
    }

    /// Opens a conversation on the agent's published version.
    ///
    /// # Errors
    /// `NotFound` for the agent, `Invalid` for the name.
    pub async fn create_session(&self, cx: &Cx, agent_id: &str, name: &str) -> Result<Session> {
        if name.len() > 512 || name.contains('\0') {
            let message = "session_name must have at most 512 bytes and no zero byte";
            return Err(Error::invalid("session_name", message));
        }
        let agent = self.load_agent(cx, agent_id).await?;
        let deps = &self.0.deps;
        let session = Session {
            id: deps.ids.next("sess"),
            agent_id: agent.id,
            agent_version: agent.version,
            name: name.to_owned(),
            head: None,
            created_at: deps.clock.now(),
        };
        let owner = cx.customer.as_ref().map(Customer::owner);
        deps.store.tenant(cx).add_session(&session, owner.as_ref()).await?;
        Ok(session)
    }

    /// # Errors
    /// `NotFound`, also when it is another agent's.
    pub async fn load_session(&self, cx: &Cx, agent_id: &str, id: &str) -> Result<Session> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let session = sessions::load(&mut tx, agent_id, id).await?;
        access::see_session(&mut tx, cx, id, sessions::missing).await?;
        Ok(session)
    }

    /// # Errors
    /// `NotFound` for the agent.
    pub async fn list_sessions(&self, cx: &Cx, agent_id: &str, page: &PageRequest) -> Result<Page<Session>> {
        self.load_agent(cx, agent_id).await?;
        self.0.deps.store.tenant(cx).list_sessions(agent_id, &cx.sight(), page).await
    }

    /// Deletes a conversation with its turns; one that runs stops without a word.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_session(&self, cx: &Cx, agent_id: &str, id: &str) -> Result<()> {
        self.load_session(cx, agent_id, id).await?;
        let workspaces = self.workspaces(cx, id).await?;
        self.0.deps.store.tenant(cx).delete_session(agent_id, id).await?;
        self.0.deps.tools.forget_conversations(cx, &workspaces);
        Ok(())
    }

    /// What can be known to be wrong before any turn.
    pub(crate) async fn check(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        if spec.model.is_empty() {
            return Err(Error::invalid("model", "model is missing: name a model"));
        }
        if spec.name.as_deref().is_some_and(|n| n.is_empty() || n.len() > 128 || n.chars().any(char::is_control)) {
            return Err(Error::invalid("name", "name must have 1 to 128 characters and no control characters"));
        }
        if !(1..=20).contains(&spec.max_passages) {
            return Err(Error::invalid("max_passages", "max_passages must be 1 to 20"));
        }
        let limits = &spec.limits;
        if !(1..=MOST_STEPS).contains(&limits.max_steps) {
            let message = format!("a turn makes 1 to {MOST_STEPS} model calls");
            return Err(Error::invalid("limits.max_steps", message));
        }
        if !(1..=86_400).contains(&limits.timeout_s) {
            return Err(Error::invalid("limits.timeout_s", "a turn takes 1 to 86400 seconds"));
        }
        check_approvals(spec)?;
        if limits.max_tokens == Some(0) || limits.max_cost_micro_usd == Some(0) {
            let name = if limits.max_tokens == Some(0) { "max_tokens" } else { "max_cost_micro_usd" };
            return Err(Error::invalid(format!("limits.{name}"), format!("{name} must be at least 1")));
        }
        guidelines::check(spec)?;
        self.check_tools(cx, spec).await?;
        Box::pin(self.check_agents(cx, spec)).await?;
        Box::pin(self.check_targets(cx, spec)).await?;
        self.check_names(cx, spec).await
    }

    /// A limit of money would never act on a model without a price. Of a model that no provider lists nothing is known, and
    /// of a route neither: whichever of its targets answers has its price or not.
    pub(crate) async fn check_price(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        if spec.limits.max_cost_micro_usd.is_none() {
            return Ok(());
        }
        let inference = &self.0.deps.inference;
        let models = inference.models(cx).await?;
        for name in spec.guideline_model.iter().chain([&spec.model]) {
            // By its name at its provider too, where one provider alone has it: so calls find it.
            let mut bare = models.iter().filter(|model| model.upstream_id == *name && !model.provider.is_empty());
            let bare = bare.next().filter(|_| bare.next().is_none());
            let model = models.iter().find(|model| model.id == *name).or(bare);
            let Some(model) = model.filter(|model| !model.provider.is_empty()) else { continue };
            let (provider, upstream) = (model.provider.as_str(), model.upstream_id.as_str());
            if inference.cost(provider, upstream, &Usage::default()).is_none() {
                let message = format!(
                    "the model '{provider}/{upstream}' has no price, so max_cost_micro_usd would never end a turn: \
                     name one in the configuration (prices), or leave this limit out and set max_tokens"
                );
                return Err(Error::invalid("limits.max_cost_micro_usd", message).with_code("model_without_price"));
            }
        }
        Ok(())
    }

    /// That no two tools that a model is shown have one name.
    pub(crate) async fn check_tools(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        for (i, tool) in spec.client_tools.iter().enumerate() {
            let param = format!("client_tools[{i}].name");
            let callable = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.chars().all(callable) {
                return Err(Error::invalid(param, "a tool's name has 1 to 64 letters, digits, _ and -"));
            }
            let again = spec.client_tools[..i].iter().any(|other| other.name == tool.name);
            let asks = spec.agents.iter().any(|other| asking::tool_name(&other.agent) == tool.name);
            if again || asks || (spec.hand_off.is_some() && tool.name == HAND_OFF) {
                return Err(Error::invalid(param, format!("two tools are called '{}'", tool.name)));
            }
        }
        let listed = self.0.deps.tools.list(cx, &spec.toolgroups).await;
        let tools = listed.map_err(|e| named(e, "toolgroups"))?;
        if spec.hand_off.is_some() && tools.iter().any(|def| def.name == HAND_OFF) {
            let message =
                format!("a tool of the agent's groups is called '{HAND_OFF}', which is the agent's own action");
            return Err(Error::invalid("toolgroups", message));
        }
        for (i, tool) in spec.agents.iter().enumerate() {
            let name = asking::tool_name(&tool.agent);
            if name == HAND_OFF || tools.iter().any(|def| def.name == name) {
                let message = format!("'{name}' is the name of a tool of the agent's tool groups");
                return Err(Error::invalid(format!("agents[{i}].agent"), message));
            }
        }
        for (i, tool) in spec.client_tools.iter().enumerate() {
            if tools.iter().any(|def| def.name == tool.name) {
                let message = format!("'{}' is the name of a tool of the agent's tool groups", tool.name);
                return Err(Error::invalid(format!("client_tools[{i}].name"), message));
            }
        }
        Ok(())
    }

    /// Shields and knowledge stores that do not exist are told now and not in every turn.
    async fn check_names(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        let deps = &self.0.deps;
        for (member, shields) in [
            ("shields", &spec.shields),
            ("input_shields", &spec.input_shields),
            ("output_shields", &spec.output_shields),
        ] {
            deps.safety.knows(shields).map_err(|e| named(e, member))?;
        }
        if !spec.knowledge.is_empty() {
            // A search for nothing finds nothing, in stores that exist.
            deps.memory.recall(cx, &spec.knowledge, "", 1).await.map_err(|e| named(e, "knowledge"))?;
        }
        Ok(())
    }
}

/// Tools may come with a turn, so a name that is not there is none of a rule's mistakes.
fn check_approvals(spec: &AgentSpec) -> Result<()> {
    for (i, rule) in spec.approvals.iter().enumerate() {
        let wrong = |member: &str, message: &str| Err(Error::invalid(format!("approvals[{i}].{member}"), message));
        if rule.tool.as_ref().is_some_and(|name| spec.client_tools.iter().any(|tool| tool.name == *name)) {
            return wrong("tool", "a client's tool runs at the client, which asks its people itself");
        }
        let ours = |name: &String| *name == HAND_OFF || asking::tools(spec).any(|tool| tool.name == *name);
        if rule.tool.as_ref().is_some_and(ours) {
            return wrong("tool", "handing over and asking another agent wait for nobody; give that agent a rule");
        }
        match (&rule.argument, rule.above) {
            (None, None) => {}
            (Some(pointer), Some(_)) if pointer.starts_with('/') => {}
            (Some(_), Some(_)) => return wrong("argument", "argument must be a JSON pointer, like /amount"),
            (Some(_), None) => return wrong("above", "argument goes with above: more than which number?"),
            (None, Some(_)) => return wrong("argument", "above goes with argument: which number of the call?"),
        }
    }
    Ok(())
}

/// In a request body something that does not exist is a wrong value, not a missing page.
fn named(error: Error, member: &str) -> Error {
    if error.kind != Kind::NotFound {
        return error;
    }
    Error { kind: Kind::Invalid, ..error }.with_param(member)
}
