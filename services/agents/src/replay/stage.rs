//! Where a replayed turn runs: a room of its own over a store that goes with it.
//!
//! Invariant: what a replayed turn writes (its rows, a hand-over, a wait for a person) is in that store alone.

use std::{collections::HashSet, sync::Arc};

use frontdesk_api::{
    Cx, Error, Result,
    agent::AgentSpec,
    approval::ApprovalRule,
    chat::Usage,
    tools::ToolDef,
    turn::{EventBody, Item, ItemBody, Turn, TurnState},
};
use frontdesk_store::{
    StoredTenant,
    claims::{self, Claimed},
    transcript::{self, StoredStep},
    turns::{self, OnInput, StoredTurn, TurnRequest},
};

use super::{
    given,
    recording::{Played, Recorded, With, elsewhere},
};
use crate::{
    Agents, Bounds, Deps, Unobserved, asking, begin::time_of, handing::PEOPLE, keeper::Entered, pen::prefix,
    read::Open, worker,
};

pub(crate) struct Stage {
    room: Agents,
    cx: Cx,
    agent_id: String,
    /// None: the spec is none of the agent's versions.
    version: Option<i64>,
    spec: AgentSpec,
    pub(crate) tools: Arc<Played>,
}

/// What a replayed turn came to.
pub(crate) struct Outcome {
    pub(crate) turn: Turn,
    pub(crate) items: Vec<Item>,
    /// How many of them it was asked with.
    pub(crate) inputs: usize,
    pub(crate) steps: Vec<StoredStep>,
    pub(crate) open: Open,
}

impl Stage {
    /// # Errors
    /// As reading agents and making a store.
    pub(crate) async fn set(
        agents: &Agents,
        cx: &Cx,
        agent_id: &str,
        version: Option<i64>,
        spec: AgentSpec,
        with: With,
    ) -> Result<Self> {
        let deps = &agents.0.deps;
        let store = deps.store.scratch().await?;
        let now = deps.clock.now();
        let tenant = StoredTenant { id: cx.tenant.clone(), name: cx.tenant.clone(), created_at: now };
        store.system().ensure_tenant(&tenant).await?;
        let targets = spec.hand_off.iter().flat_map(|hand_off| &hand_off.targets);
        let mut added = HashSet::from([agent_id.to_owned()]);
        for target in targets.filter(|target| target.to != PEOPLE) {
            if let Some(agent) = agents.find_agent_named(cx, &target.to).await?
                && added.insert(agent.id.clone())
            {
                store.tenant(cx).add_agent(&agent.id, &agent.spec, None, now).await?;
            }
        }
        // Without its name, which a target may have.
        let anonymous = AgentSpec { name: None, ..spec.clone() };
        store.tenant(cx).add_agent(agent_id, &anonymous, None, now).await?;
        let tools = Arc::new(Played::new(Arc::clone(&deps.tools), with));
        let room = Agents::new(Deps {
            inference: Arc::clone(&deps.inference),
            tools: tools.clone(),
            memory: Arc::clone(&deps.memory),
            safety: Arc::clone(&deps.safety),
            clock: Arc::clone(&deps.clock),
            ids: Arc::clone(&deps.ids),
            seal: Arc::clone(&deps.seal),
            observer: Arc::new(Unobserved),
            dispatch: store.dispatch(),
            pace: deps.pace,
            // One after another, so that the same recording gives the same answers to equal calls.
            bounds: Bounds { calls_at_once: 1, ..deps.bounds },
            fault: None,
            store,
        });
        let cx = Cx { customer: None, session: None, ..cx.clone() };
        Ok(Self { room, cx, agent_id: agent_id.to_owned(), version, spec, tools })
    }

    /// Puts a recorded turn behind `parent`, with those of its `items` that models may see.
    ///
    /// # Errors
    /// As any query.
    pub(crate) async fn keep(&self, recorded: &Recorded, items: &[Item], parent: Option<String>) -> Result<()> {
        let mut stored = recorded.stored.clone();
        stored.turn.session_id = None;
        stored.turn.parent = parent;
        stored.turn.agent_id.clone_from(&self.agent_id);
        stored.request.asked_by = None;
        let mut tx = self.room.0.deps.store.tenant(&self.cx).write().await?;
        turns::add(&mut tx, &stored, None, 0).await?;
        turns::fence_and_stand(&mut tx, &stored.turn, stored.epoch, 0, false, None).await?;
        transcript::add_items(&mut tx, items).await?;
        tx.commit().await
    }

    /// Asks a recorded turn again, behind `parent`. `made_of`: of one that has a spec of its own, the spec of its agent's
    /// version, which that was made of.
    ///
    /// # Errors
    /// As any query; `Internal` where its rows could not be written.
    pub(crate) async fn ask(
        &self,
        recorded: &Recorded,
        parent: Option<String>,
        made_of: Option<&AgentSpec>,
    ) -> Result<Outcome> {
        let deps = &self.room.0.deps;
        let (asked, on_input) = (&recorded.stored.request, recorded.stored.on_input);
        let spec = match made_of {
            Some(version) => given::over(self.spec.clone(), version, asked),
            None => self.spec.clone(),
        };
        let (spec, defs) = played(spec, on_input);
        self.tools.stand_in(defs);
        let bodies = self.inputs(recorded, parent.as_deref()).await?;
        let turn = Turn {
            id: deps.ids.next("replay"),
            session_id: None,
            agent_id: self.agent_id.clone(),
            agent_version: self.version.unwrap_or(0),
            parent,
            state: TurnState::Running,
            error: None,
            hand_off: None,
            usage: Usage::default(),
            created_at: deps.clock.now(),
            completed_at: None,
        };
        let request = TurnRequest {
            toolgroups: asked.toolgroups.clone(),
            knowledge: asked.knowledge.clone(),
            least_score: asked.least_score,
            file_filter: asked.file_filter.clone(),
            tool_choice: asked.tool_choice.clone(),
            servers: asked.servers.clone(),
            max_tool_calls: asked.max_tool_calls,
            // By it a response waits for people's words, or does not.
            response: asked.response.clone(),
            inputs: bodies.len(),
            spec: Some(spec.clone()),
            key_id: self.cx.principal.key_id.clone(),
            request: self.cx.request.clone(),
            ..TurnRequest::default()
        };
        let mut stored = StoredTurn {
            turn,
            pos: 0,
            epoch: 1,
            next_seq: 0,
            request,
            cancel_requested: false,
            on_input,
            stored: false,
        };
        let left = time_of(&spec);
        let id = stored.turn.id.clone();
        let items: Vec<Item> = (0..)
            .zip(bodies)
            .map(|(pos, body)| Item { id: deps.ids.next(prefix(&body)), turn_id: id.clone(), pos, body })
            .collect();
        let mut tx = deps.store.tenant(&self.cx).write().await?;
        turns::add(&mut tx, &stored, Some(self.room.0.lease()), left).await?;
        transcript::add_items(&mut tx, &items).await?;
        turns::fence(&mut tx, &id, stored.epoch, 1, false).await?;
        transcript::add_events(&mut tx, &id, 0, &[EventBody::Created { turn: stored.turn.clone() }]).await?;
        tx.commit().await?;
        stored.next_seq = 1;
        let mut claimed = Claimed { tenant: self.cx.tenant.clone(), stored, left, attempts: 1 };
        loop {
            let entered = Entered::new(&self.room.0, &self.cx, &id, None);
            entered.stop.begin();
            let work = worker::run(
                Arc::clone(&self.room.0),
                self.cx.clone(),
                spec.clone(),
                claimed,
                entered.stop.clone(),
                None,
            );
            // Here and not in a task: it goes with whoever asked for the replay.
            work.await;
            drop(entered);
            let played = self.load(&id).await?;
            if played.turn.state == TurnState::Running {
                return Err(Error::new(
                    frontdesk_api::Kind::Internal,
                    "the replayed turn broke off; its rows could not be written",
                ));
            }
            match self.go_on(&played).await? {
                Some(again) => claimed = again,
                None => return Ok(played),
            }
        }
    }

    /// What the recorded turn was asked with, and before it the recorded calls that this answers, where the turns behind
    /// which it is asked have others in their place.
    async fn inputs(&self, recorded: &Recorded, parent: Option<&str>) -> Result<Vec<ItemBody>> {
        let bodies = recorded.items[..recorded.inputs()].iter().map(|item| item.body.clone()).collect::<Vec<_>>();
        let Some(parent) = parent.filter(|_| bodies.iter().any(|body| answers(body).is_some())) else {
            return Ok(bodies);
        };
        let mut tx = self.room.0.deps.store.tenant(&self.cx).read().await?;
        let past = transcript::line_of_calls(&mut tx, parent).await?;
        drop(tx);
        let mut calls = vec![];
        for id in bodies.iter().filter_map(answers) {
            let mut known = past.iter().map(|past| &past.item.body).chain(&bodies);
            if !known.any(|body| matches!(body, ItemBody::FunctionCall { call, .. } if call.id == id)) {
                calls.extend(self.tools.called(id).map(|call| ItemBody::FunctionCall { call, container: None }));
            }
        }
        calls.extend(bodies);
        Ok(calls)
    }

    async fn load(&self, id: &str) -> Result<Outcome> {
        let mut tx = self.room.0.deps.store.tenant(&self.cx).read().await?;
        let StoredTurn { turn, request, .. } = turns::load(&mut tx, id).await?;
        let (items, steps) = (transcript::items(&mut tx, id).await?, transcript::steps(&mut tx, id).await?);
        let open = match turn.state {
            TurnState::AwaitingInput => Open::of(&steps, &transcript::inbox(&mut tx, id).await?),
            _ => Open::default(),
        };
        Ok(Outcome { turn, items, inputs: request.inputs, steps, open })
    }

    /// Says what people said then to the calls that wait; None where nothing waits or the recording has not all of it.
    async fn go_on(&self, played: &Outcome) -> Result<Option<Claimed>> {
        let asked = &played.open.approvals;
        let words = asked.iter().map(|asked| Some((&asked.approval_id, self.tools.word(&asked.call)?)));
        let Some(words) = words.collect::<Option<Vec<_>>>().filter(|words| !words.is_empty()) else { return Ok(None) };
        let room = &self.room.0;
        let mut tx = room.deps.store.tenant(&self.cx).write().await?;
        for (approval, word) in words {
            transcript::add_inbox(&mut tx, &played.turn.id, approval, &word, word.at).await?;
        }
        let claimed = claims::take_up(&mut tx, &played.turn.id, Some(room.lease()), time_of(&self.spec)).await?;
        tx.commit().await?;
        Ok(claimed)
    }
}

/// The call that this answers, or says a word to.
fn answers(body: &ItemBody) -> Option<&str> {
    match body {
        ItemBody::FunctionCallOutput { call_id, .. } => Some(call_id.as_str()),
        ItemBody::ApprovalResponse { waiting: Some(waiting), .. } => Some(waiting.call.id.as_str()),
        _ => None,
    }
}

/// The spec with what runs elsewhere as tools that run here, under the same names and in the same order. A turn that ends
/// where its client has a call to make ends there again. Code runs in a place of the replay's own.
fn played(mut spec: AgentSpec, on_input: OnInput) -> (AgentSpec, Vec<ToolDef>) {
    spec.code_container = None;
    let asks = asking::tools(&spec).collect::<Vec<_>>();
    let theirs = match on_input {
        OnInput::Suspend => std::mem::take(&mut spec.client_tools),
        OnInput::Finish => vec![],
    };
    let defs: Vec<_> = theirs
        .iter()
        .chain(&asks)
        .map(|tool| elsewhere(&tool.name, tool.description.as_deref(), tool.parameters.clone()))
        .collect();
    spec.agents.clear();
    // A rule over all tools is none about these.
    let free = defs.iter().map(|def| ApprovalRule {
        tool: Some(def.name.clone()),
        risk: None,
        argument: None,
        above: None,
        ask: false,
    });
    spec.approvals.splice(0..0, free.collect::<Vec<_>>());
    (spec, defs)
}
