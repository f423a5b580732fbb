//! Handing a conversation on: to people, or to another agent.
//!
//! Invariant: the model chooses among what the agent's spec allows and gives a reason by name; what the customer reads
//! are the spec's words. What was handed on is written by the commit that ends the turn: an entry in the queue of people,
//! or who answers in the conversation from then on.

use std::sync::Arc;

use frontdesk_api::{
    Cx, Error, Result,
    agent::{Agent, AgentSpec, HandOffSpec, HandOffTarget},
    chat::{ToolCall, ToolSpec},
    tools::ToolResult,
    turn::{HandOff, HandOffReason, Successor},
};
use frontdesk_store::{
    Tx, handoffs,
    handoffs::{Handoff, State},
    sessions,
    transcript::StoredStep,
    turns::{self, Place},
};
use serde_json::{Value, json};

use crate::{Agents, HAND_OFF, close::Closing, halt::Halt, worker::Worker};

/// The target that means people.
pub(crate) const PEOPLE: &str = "people";

/// The action by which a model hands the conversation on.
pub(crate) fn tool(spec: &HandOffSpec) -> ToolSpec {
    let mut properties = json!({ "reason": { "type": "string", "enum": HandOffReason::ALL } });
    let (mut required, mut description) = (vec!["reason"], "Hand the conversation over to a person.".to_owned());
    if !spec.targets.is_empty() {
        let names: Vec<&str> = spec.targets.iter().map(|target| target.to.as_str()).collect();
        let told = |target: &HandOffTarget| match target.description.as_str() {
            "" => target.to.clone(),
            description => format!("{}: {description}", target.to),
        };
        description = "Hand the conversation over to people or to another agent.".to_owned();
        let each = spec.targets.iter().map(told).collect::<Vec<_>>().join("\n");
        properties["to"] = json!({ "type": "string", "enum": names, "description": each });
        required.push("to");
    }
    ToolSpec {
        name: HAND_OFF.into(),
        description: Some(description),
        parameters: Some(json!({
            "type": "object", "properties": properties, "required": required, "additionalProperties": false,
        })),
        strict: None,
        cache_control: None,
    }
}

impl Worker {
    /// Does the hand-over that a model asks for, in a step that was begun; one to nobody known is a result that it reads.
    pub(crate) async fn hand_on(
        &mut self,
        step: StoredStep,
        call: ToolCall,
        spec: &HandOffSpec,
    ) -> std::result::Result<Option<Closing>, Halt> {
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
        // A model that cannot name its reason still wants a person.
        let reason = serde_json::from_value(arguments["reason"].clone()).unwrap_or(HandOffReason::UnsupportedRequest);
        let (to, message) = match self.target(spec, arguments["to"].as_str()).await? {
            Ok(target) => target,
            Err(why) => {
                let stopped = self.conclude(step, call, ToolResult::error(&why)).await?;
                return Ok(stopped.map(|judged| self.stopped(&judged, None)));
            }
        };
        let from = to.as_ref().and(self.spec.name.clone());
        let result = match &to {
            None => json!({ "handed_off": true }),
            Some(to) => json!({ "handed_off": true, "to": to.agent }),
        };
        let result = ToolResult { content: result.to_string(), is_error: false, details: None };
        Ok(Some(self.handed_over(step, call, result, HandOff { reason, message, from, to })))
    }

    /// Who takes over and what the customer reads, or why nobody does.
    async fn target(
        &mut self,
        spec: &HandOffSpec,
        named: Option<&str>,
    ) -> std::result::Result<std::result::Result<(Option<Successor>, String), String>, Halt> {
        let known = || spec.targets.iter().map(|target| target.to.as_str()).collect::<Vec<_>>().join(", ");
        let target = match (&spec.targets[..], named) {
            ([], _) => return Ok(Ok((None, spec.message.clone()))),
            ([only], None) => only,
            (targets, named) => match targets.iter().find(|target| Some(target.to.as_str()) == named) {
                Some(target) => target,
                None => return Ok(Err(format!("'to' must be one of: {}", known()))),
            },
        };
        let message = target.message.as_ref().unwrap_or(&spec.message).clone();
        if target.to == PEOPLE {
            return Ok(Ok((None, message)));
        }
        let (room, cx) = (Agents(Arc::clone(&self.room)), self.cx.clone());
        let found = self.call_out(async { room.find_agent_named(&cx, &target.to).await }).await?;
        Ok(match found {
            Some(agent) => {
                let to = Successor { agent: target.to.clone(), agent_id: agent.id, version: agent.version };
                Ok((Some(to), message))
            }
            None => Err(format!("there is no agent called '{}'", target.to)),
        })
    }
}

/// Writes who has the conversation from now on. Only behind the turn's fence.
///
/// # Errors
/// As any query.
pub(crate) async fn write(tx: &mut Tx, id: &str, stored: &Handed, now: i64) -> Result<()> {
    let Handed { turn, session, agent, hand_off } = stored;
    match (&hand_off.to, session) {
        (Some(to), Some(session)) => sessions::answered_by(tx, session, &to.agent_id, to.version).await,
        (Some(_), None) => Ok(()),
        (None, session) => {
            let (reason, message) = (hand_off.reason, hand_off.message.clone());
            let handoff = Handoff {
                id: id.to_owned(),
                session_id: session.clone(),
                turn_id: turn.clone(),
                agent_id: agent.clone(),
                reason,
                message,
                state: State::Open,
                taken_by: String::new(),
                taken_key: String::new(),
                created_at: now,
                taken_at: None,
                done_at: None,
            };
            handoffs::add(tx, &handoff).await
        }
    }
}

/// A turn that handed its conversation on.
#[derive(Debug)]
pub(crate) struct Handed {
    pub(crate) turn: String,
    pub(crate) session: Option<String>,
    pub(crate) agent: String,
    pub(crate) hand_off: HandOff,
}

/// What a new turn of a conversation says that a person has: why, and what the customer was told.
///
/// # Errors
/// As any query.
pub(crate) async fn quiet(tx: &mut Tx, session: &str) -> Result<Option<HandOff>> {
    let taken = handoffs::find_taken(tx, session).await?;
    Ok(taken.map(|taken| HandOff::to_people(taken.reason, taken.message)))
}

impl Worker {
    /// Whether this turn stands in the queue of people by itself: what another turn asked is that one's to hand on.
    pub(crate) fn hands_on(&self, hand_off: &HandOff) -> Option<Handed> {
        let turn = &self.pen.turn;
        self.asked_by.is_none().then(|| Handed {
            turn: turn.id.clone(),
            session: turn.session_id.clone(),
            agent: turn.agent_id.clone(),
            hand_off: hand_off.clone(),
        })
    }
}

impl Agents {
    /// That a spec's targets are there and told once each.
    ///
    /// # Errors
    /// `Invalid` naming the member.
    pub(crate) async fn check_targets(&self, cx: &Cx, spec: &AgentSpec) -> Result<()> {
        let Some(hand_off) = &spec.hand_off else { return Ok(()) };
        for (i, target) in hand_off.targets.iter().enumerate() {
            let refuse = |message: String| Err(Error::invalid(format!("hand_off.targets[{i}].to"), message));
            if hand_off.targets[..i].iter().any(|other| other.to == target.to) {
                return refuse(format!("'{}' stands there twice", target.to));
            }
            if spec.name.as_deref() == Some(target.to.as_str()) {
                return refuse("an agent cannot hand over to itself".to_owned());
            }
            if target.to != PEOPLE && self.find_agent_named(cx, &target.to).await?.is_none() {
                return refuse(format!("there is no agent called '{}'; '{PEOPLE}' means people", target.to));
            }
        }
        Ok(())
    }
}

impl Agents {
    /// Who answers where a response names `agent`: in a conversation the agent that it was handed to, if it was; else this
    /// one, by the version that it answered with before in the conversation or the line that ends with `previous`. Where it
    /// has not, it begins as it is.
    ///
    /// # Errors
    /// As any query.
    pub async fn answering(
        &self,
        cx: &Cx,
        agent: Agent,
        session: Option<&str>,
        previous: Option<&str>,
    ) -> Result<Agent> {
        let tenant = self.0.deps.store.tenant(cx);
        let mut tx = tenant.read().await?;
        let successor = match session {
            Some(session) => sessions::answering(&mut tx, session).await?,
            None => None,
        };
        let place = session.map(Place::Session).or(previous.map(|head| Place::Line { head }));
        let stays = match (successor, place) {
            (Some(successor), _) => Some(successor),
            (None, Some(place)) => {
                let version = turns::version_there(&mut tx, &agent.id, place).await?;
                version.filter(|version| *version != agent.version).map(|version| (agent.id.clone(), version))
            }
            (None, None) => None,
        };
        drop(tx);
        match stays {
            Some((id, version)) => tenant.load_agent_version(&id, version).await,
            None => Ok(agent),
        }
    }
}
