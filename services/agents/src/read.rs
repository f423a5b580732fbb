//! Turns as they are read back.

use std::time::Duration;

use frontdesk_api::{
    Cx, Error, Kind, Page, PageRequest, Result,
    approval::Asked,
    chat::ToolCall,
    question::OpenQuestion,
    turn::{Item, Session, Step, StepKind, StepState, Turn, TurnState},
};
use frontdesk_store::{questions, transcript, transcript::StoredStep};

use serde_json::Value;

use crate::{
    Agents, access,
    questions::{in_open_call, is_open_for, shown},
};

/// A turn with all it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnView {
    pub turn: Turn,
    /// In order; what the turn was asked comes first.
    pub items: Vec<Item>,
    pub steps: Vec<Step>,
    /// The calls of client tools that a suspended turn waits for.
    pub waiting: Vec<ToolCall>,
    /// The calls that a person has to say a word to first.
    pub approvals: Vec<Asked>,
    /// What tools ask a person.
    pub questions: Vec<OpenQuestion>,
}

impl Agents {
    /// # Errors
    /// `NotFound`.
    pub async fn load_turn(&self, cx: &Cx, id: &str) -> Result<TurnView> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let turn = access::load_turn(&mut tx, cx, id).await?.turn;
        view(&mut tx, turn).await
    }

    /// The turns that were given up, for people to look at.
    ///
    /// # Errors
    /// `Forbidden` on behalf of a customer.
    pub async fn dead_letters(&self, cx: &Cx, page: &PageRequest) -> Result<Page<Turn>> {
        access::no_customers(cx, "turns that were given up")?;
        self.0.deps.store.tenant(cx).dead_letters(page).await
    }

    /// The turn, if it stands in that session of that agent.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_turn_of(&self, cx: &Cx, agent_id: &str, session_id: &str, id: &str) -> Result<TurnView> {
        let view = self.load_turn(cx, id).await?;
        // A conversation that was handed on has turns of several agents.
        let held = view.turn.agent_id == agent_id || self.load_session(cx, agent_id, session_id).await.is_ok();
        if !held || view.turn.session_id.as_deref() != Some(session_id) {
            return Err(
                Error::not_found(format!("this session has no turn with the id '{id}'")).with_code("turn_not_found")
            );
        }
        Ok(view)
    }

    /// # Errors
    /// `NotFound`.
    pub async fn load_step(&self, cx: &Cx, turn_id: &str, id: &str) -> Result<Step> {
        let view = self.load_turn(cx, turn_id).await?;
        let step = view.steps.into_iter().find(|s| s.id == id);
        step.ok_or_else(|| {
            Error::not_found(format!("this turn has no step with the id '{id}'")).with_code("step_not_found")
        })
    }

    /// The session with its turns in order.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn load_conversation(
        &self,
        cx: &Cx,
        agent_id: &str,
        session_id: &str,
    ) -> Result<(Session, Vec<TurnView>)> {
        self.load_part(cx, agent_id, session_id, &[]).await
    }

    /// As [`Agents::load_conversation`] with these turns alone, where any are named; one that is not of it is left out.
    ///
    /// # Errors
    /// As [`Agents::load_conversation`].
    pub async fn load_part(
        &self,
        cx: &Cx,
        agent_id: &str,
        session_id: &str,
        turn_ids: &[String],
    ) -> Result<(Session, Vec<TurnView>)> {
        let tenant = self.0.deps.store.tenant(cx);
        let session = self.load_session(cx, agent_id, session_id).await?;
        let mut stored = tenant.session_turns(session_id, None).await?;
        stored.retain(|stored| turn_ids.is_empty() || turn_ids.contains(&stored.turn.id));
        let mut tx = tenant.read().await?;
        let mut views = Vec::with_capacity(stored.len());
        for turn in stored {
            views.push(view(&mut tx, turn.turn).await?);
        }
        Ok((session, views))
    }
}

async fn view(tx: &mut frontdesk_store::Tx, mut turn: Turn) -> Result<TurnView> {
    let items = transcript::items(tx, &turn.id).await?;
    let steps = transcript::steps(tx, &turn.id).await?;
    let Open { calls: waiting, approvals, questions } = match turn.state {
        TurnState::AwaitingInput => Open::of(&steps, &transcript::inbox(tx, &turn.id).await?),
        TurnState::Running if steps.iter().any(|s| s.step.state == StepState::Intent && in_open_call(s)) => {
            let open = questions::kept_open(tx, &turn.id).await?;
            let open = steps.iter().filter(|s| open.contains(&s.step.id)).filter_map(shown);
            Open { questions: open.collect(), ..Open::default() }
        }
        _ => Open::default(),
    };
    if !questions.is_empty() {
        // That it is worked on meanwhile is nothing to whoever can answer.
        turn.state = TurnState::AwaitingInput;
    }
    Ok(TurnView { turn, items, steps: steps.into_iter().map(|s| s.step).collect(), waiting, approvals, questions })
}

/// What a turn that waits has not got yet.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Calls of client tools without a result.
    pub(crate) calls: Vec<ToolCall>,
    /// Calls that nobody has said a word to.
    pub(crate) approvals: Vec<Asked>,
    /// Questions that nobody has answered.
    pub(crate) questions: Vec<OpenQuestion>,
}

impl Open {
    pub(crate) fn of(steps: &[StoredStep], inbox: &[(String, Value)]) -> Self {
        let mut open = Self::default();
        let came = |key: &str| inbox.iter().any(|(came, _)| came == key);
        for stored in steps.iter().filter(|s| s.step.state == StepState::Intent) {
            let Some(call) = stored.input.clone().and_then(|call| serde_json::from_value::<ToolCall>(call).ok()) else {
                continue;
            };
            let id = &stored.step.id;
            match stored.step.kind {
                // One that asked runs here.
                StepKind::ToolExecution if steps.iter().any(|step| is_open_for(step, &call.id)) => {}
                StepKind::Question if !came(id) => open.questions.extend(shown(stored)),
                StepKind::ToolExecution if !came(&call.id) => open.calls.push(call),
                StepKind::Approval if !came(id) => open.approvals.push(Asked { approval_id: id.clone(), call }),
                _ => {}
            }
        }
        open
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.approvals.is_empty() && self.questions.is_empty()
    }
}

/// A turn that failed, as an error of the request that asked for it.
#[must_use]
pub fn ended_badly(turn: &Turn) -> Error {
    let (code, message, kind) = match &turn.error {
        Some(error) => (error.code.as_str(), error.message.as_str(), error.kind),
        None => ("internal", "the turn did not end well", Some(Kind::Internal)),
    };
    let kind = kind.unwrap_or(match code {
        "cancelled" | "superseded" | "interrupted" => Kind::Conflict,
        "attempts_exhausted" | "worker_lost" => Kind::Unavailable,
        _ => Kind::Upstream,
    });
    Error::new(kind, format!("the turn {} failed: {message}", turn.id)).with_code(code)
}

/// This server stops before the turn ends; another goes on with it.
#[must_use]
pub fn goes_on(turn: &Turn) -> Error {
    let message = format!(
        "the server is stopping while the turn {} runs; it goes on: ask again with the same Idempotency-Key, or read the turn",
        turn.id
    );
    Error::unavailable(message).with_code("server_stopping").with_retry_after(Duration::from_secs(1))
}
