//! Calls that wait for a person: asked, answered, gone on with.
//!
//! A call that the agent's rules make wait ([`asks`]), and one of a tool whose last call may have done its work unseen, is
//! a step of the kind `approval`: written, then the turn waits as it does for a client's tools, without a worker, a lease
//! or memory. A person's word goes into the turn's inbox under the approval's id; when nothing is open any more the turn
//! goes on, at whichever process. Invariants: a call that waits has no effect and no step of its own before a person
//! approved it; there is one word to an approval, kept with the key that said it; what was denied is never called.

use std::collections::HashSet;

use frontdesk_api::{
    Cx, Error, Micros, Page, PageRequest, Result,
    approval::{ApprovalState, Asked, Cause, Decision, asks, ruled},
    chat::ToolCall,
    tools::{Effect, Risk, ToolResult},
    turn::{ItemBody, StepKind, StepOutput, StepState},
};
use frontdesk_store::{
    approvals::{self, StoredApproval},
    turns,
};

use serde_json::{Map, Value, json};

use crate::{
    Agents, access,
    observe::INPUT_TIMEOUT,
    tools::as_input,
    worker::{Worker, call_in},
};

/// Bytes of a reason.
const MOST_REASON: usize = 2_000;

/// A call that waits, or waited, for a person.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    pub id: String,
    pub state: ApprovalState,
    pub turn_id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub cause: Cause,
    /// What would be called, as it will be.
    pub call: ToolCall,
    /// Arguments that the server fills in beside the model's; null where the customer's token does not say it, and the
    /// call will fail.
    pub bound: Map<String, Value>,
    pub asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None where it may not be any more.
    pub until: Option<Micros>,
    pub decision: Option<Decision>,
}

impl From<StoredApproval> for Approval {
    fn from(stored: StoredApproval) -> Self {
        let timed_out = stored.turn_error.is_some_and(|error| error.code == INPUT_TIMEOUT);
        let state = match &stored.decision {
            Some(decision) if decision.approved => ApprovalState::Approved,
            Some(_) => ApprovalState::Denied,
            None if stored.overdue || timed_out => ApprovalState::Expired,
            None if stored.until.is_some() => ApprovalState::Open,
            None => ApprovalState::Withdrawn,
        };
        Self {
            id: stored.id,
            turn_id: stored.turn_id,
            session_id: stored.session_id,
            agent_id: stored.agent_id,
            cause: stored.cause,
            call: stored.call,
            bound: stored.bound,
            asked_at: stored.asked_at,
            until: stored.until.filter(|_| state == ApprovalState::Open),
            decision: stored.decision,
            state,
        }
    }
}

impl Agents {
    /// The approvals that a person can answer now.
    ///
    /// # Errors
    /// `Forbidden` on behalf of a customer: they are everybody's.
    pub async fn open_approvals(&self, cx: &Cx, page: &PageRequest) -> Result<Page<Approval>> {
        access::no_customers(cx, "lists of approvals")?;
        let page = self.0.deps.store.tenant(cx).open_approvals(page).await?;
        Ok(Page { items: page.items.into_iter().map(Approval::from).collect(), more: page.more })
    }

    /// # Errors
    /// `NotFound`, also where it is another customer's.
    pub async fn approval(&self, cx: &Cx, id: &str) -> Result<Approval> {
        let tenant = self.0.deps.store.tenant(cx);
        let stored = tenant.load_approval(id).await?;
        let mut tx = tenant.read().await?;
        let turn = turns::load(&mut tx, &stored.turn_id).await?;
        if access::sees(&mut tx, cx, &turn).await? { Ok(stored.into()) } else { Err(approvals::missing(id)) }
    }

    /// Says a person's word to an approval; the turn goes on once nothing else of it is open. The same word again
    /// changes nothing, and is answered as the first was.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` with the code `approval_decided` when the other word was said, `approval_expired` when its
    /// time is over, `approval_withdrawn` when its turn has ended; `Invalid` for a reason that is too long.
    pub async fn decide(&self, cx: &Cx, id: &str, approve: bool, reason: Option<String>) -> Result<Approval> {
        if reason.as_ref().is_some_and(|reason| reason.len() > MOST_REASON || reason.contains('\0')) {
            let message = format!("reason has at most {MOST_REASON} bytes and no zero byte");
            return Err(Error::invalid("reason", message));
        }
        let approval = self.approval(cx, id).await?;
        if approval.state == ApprovalState::Open {
            let at = self.0.deps.clock.now();
            let decision = Decision { approved: approve, reason, key_id: cx.principal.key_id.clone(), at };
            // Somebody else may have been first, or the turn ended; what stands now is the answer. On the heap: it holds a
            // whole turn's row.
            Box::pin(self.put_decision(cx, &approval, decision)).await?;
        }
        let approval = self.approval(cx, id).await?;
        let (code, message) = match (approval.state, approve) {
            (ApprovalState::Approved, true) | (ApprovalState::Denied, false) => return Ok(approval),
            (ApprovalState::Approved, false) => ("approval_decided", "it was approved before"),
            (ApprovalState::Denied, true) => ("approval_decided", "it was denied before"),
            (ApprovalState::Expired, _) => ("approval_expired", "nobody answered it in time"),
            (ApprovalState::Withdrawn, _) => ("approval_withdrawn", "its turn has ended"),
            (ApprovalState::Open, _) => ("approval_open", "it was not kept; say it again"),
        };
        Err(Error::conflict(format!("the approval '{id}' cannot be answered so: {message}")).with_code(code))
    }
}

impl Worker {
    /// Whether a person has to say a word before this call. One that has been said ends the approval's step.
    pub(crate) fn waits_for_a_word(&mut self, call: &ToolCall) -> bool {
        if self.decided.contains_key(&call.id) {
            return false;
        }
        if let Some(at) = self.asked_before(&call.id) {
            let Some(decision) = self.said.remove(&self.left[at].step.id) else { return true };
            let step = self.left.remove(at);
            let output = StepOutput::Approval { call: call.clone(), decision: decision.clone() };
            self.pen.end(step, StepState::Done, Some(output));
            self.decided.insert(call.id.clone(), decision);
            return false;
        }
        // Where nobody is waited for, and where its client has a word too, which a person's does not stand for: see
        // `refused`.
        self.pen.waits && self.must_ask(call) && !self.asks_its_client(call)
    }

    /// The place in `left` of the approval that was asked for this call.
    fn asked_before(&self, call_id: &str) -> Option<usize> {
        self.left.iter().position(|s| s.step.kind == StepKind::Approval && call_in(s).is_some_and(|c| c.id == call_id))
    }

    /// Asks a person: the turn then waits.
    pub(crate) fn ask(&mut self, call: ToolCall) -> Asked {
        let step = match self.asked_before(&call.id) {
            Some(at) => self.left.remove(at),
            None => {
                let mut input = as_input(&call);
                let bound = self.bound(&call);
                if !bound.is_empty() {
                    input["bound"] = bound.into();
                }
                input["cause"] = json!(if self.rules_ask(&call) { Cause::Rule } else { Cause::OutcomeUnknown });
                self.pen.begin(StepKind::Approval, &format!("approval {}", call.id), Some(input))
            }
        };
        let asked = Asked { approval_id: step.step.id.clone(), call };
        self.asked.push(step);
        asked
    }

    /// What the server will fill in, by the customer that the turn is asked for.
    fn bound(&self, call: &ToolCall) -> Map<String, Value> {
        let Some(def) = self.offered.iter().find(|def| def.name == call.name) else { return Map::new() };
        let customer = self.cx.customer.as_ref();
        let filled = |path: &str| customer.and_then(|customer| customer.look_up(path)).unwrap_or(Value::Null);
        def.bound_args.iter().map(|(name, path)| (name.clone(), filled(path))).collect()
    }

    /// Whether this call wants a person's word: the agent's rules say so, or it may be the second of its kind.
    pub(crate) fn must_ask(&self, call: &ToolCall) -> bool {
        self.rules_ask(call) || self.follows_unseen(call)
    }

    /// Whether the last call of the same tool in the conversation may have done its work though nobody saw it: another one,
    /// under a key of its own, would do it twice. Calls of the answer that asked for that one were meant beside it, one that
    /// was asked for since and succeeded was made by somebody who had looked, and a rule that lets the tool run holds here
    /// too.
    fn follows_unseen(&self, call: &ToolCall) -> bool {
        if matches!(self.effect_of(call), None | Some(Effect::None)) {
            return false;
        }
        let mut unseen = false;
        let mut made = HashSet::new();
        for item in self.past.iter().map(|past| &past.item).chain(&self.items) {
            match &item.body {
                ItemBody::FunctionCall { call: same, .. } if same.id == call.id => break,
                ItemBody::FunctionCall { call: earlier, .. } if earlier.name == call.name => {
                    made.insert(earlier.id.as_str());
                }
                ItemBody::FunctionCallOutput { call_id, output, is_error, .. } if made.contains(call_id.as_str()) => {
                    match is_error {
                        true if ToolResult::says_unsure(output) => {
                            unseen = true;
                            // What was asked for before says nothing about this one.
                            made.clear();
                        }
                        true => {}
                        false => unseen = false,
                    }
                }
                _ => {}
            }
        }
        let lets_run = |def| ruled(&self.spec.approvals, def, call) == Some(false);
        unseen && !self.def_of(call).is_some_and(lets_run)
    }

    /// Whether the agent's rules want a person's word before this call.
    fn rules_ask(&self, call: &ToolCall) -> bool {
        let Some(def) = self.def_of(call) else { return false };
        let rules = &self.spec.approvals;
        // What a server of the request says of itself makes a call wait for nobody but its client, unless a rule heeds it.
        if self.served(call).is_some_and(|(server, _)| server.url.is_some()) {
            ruled(rules, def, call).unwrap_or(false)
        } else {
            asks(rules, def, call)
        }
    }

    /// What the model reads of a call that must not be made; None where it may.
    pub(crate) fn refused(&self, call: &ToolCall) -> Option<ToolResult> {
        match self.decided.get(&call.id) {
            Some(decision) if decision.approved => self.unheard(call),
            Some(Decision { reason: None, .. }) => Some(ToolResult::error("a person was asked and denied this call")),
            Some(Decision { reason: Some(reason), .. }) => {
                Some(ToolResult::error(&format!("a person was asked and denied this call: {reason}")))
            }
            None if self.must_ask(call) => {
                let why = if self.rules_ask(call) {
                    "needs the approval of a person"
                } else {
                    "was cut off before and may have done its work, so a person has to look first"
                };
                Some(ToolResult::error(&format!("'{}' {why} and was not run: nobody can be asked here", call.name)))
            }
            None => None,
        }
    }

    /// Whether the call may be made although the tool's risk asks for a person. Of a tool whose risk was lower when it was
    /// listed the registry has the last word.
    pub(crate) fn approved(&self, call: &ToolCall) -> bool {
        let risky = |def: &&frontdesk_api::tools::ToolDef| def.risk == Risk::ApprovalRequired;
        self.decided.get(&call.id).is_some_and(|decision| decision.approved)
            || self.def_of(call).filter(risky).is_some_and(|def| !asks(&self.spec.approvals, def, call))
    }
}
