//! Questions that a tool asks a person in the middle of its call: written down, answered, and the call made again.
//!
//! A call that came to questions is not over: its step stays open, and each question is a step of the kind `question`
//! beside it. The turn waits as it does for approvals, without a worker, a lease or memory; an answer goes into the
//! turn's inbox under the question's id, and once nothing is open any more whoever goes on with the turn makes the same
//! call again, with the answers and with the state that the tool wanted back. Invariants: a question has one answer; the
//! ends of a round's questions are written before its answers are sent, so a call that was lost behind that is one whose
//! outcome nobody knows, and one that still waited is not.

use std::sync::Arc;

use frontdesk_api::{
    Cx, Error, Micros, Page, PageRequest, Result,
    chat::ToolCall,
    question::{Action, Answer, Answered, Asking, OpenQuestion, Person, Question, QuestionState},
    safety::Stage,
    tools::{InputRequest, ToolResult},
    turn::{StepKind, StepOutput, StepState, TurnError},
};
use frontdesk_store::{
    agents, claims,
    questions::{self, Asked, StoredQuestion, Which},
    transcript::{self, StoredStep},
    turns,
};
use serde_json::{Map, Value};

use crate::{
    Agents, Room, access,
    begin::time_of,
    halt::Halt,
    inputs,
    read::Open,
    worker::{Worker, call_in},
};

/// How often one call may ask; as the protocol's own clients have it.
pub(crate) const MOST_ROUNDS: u32 = 10;

/// A question of a tool's, asked of whoever the turn is for.
#[derive(Debug, Clone, PartialEq)]
pub struct Questioned {
    pub id: String,
    pub state: QuestionState,
    pub turn_id: String,
    pub session_id: Option<String>,
    pub agent_id: String,
    pub call: ToolCall,
    pub toolgroup: String,
    pub question: Question,
    pub asked_at: Micros,
    /// Until when it may be answered, by the database's clock; None where it may not be any more.
    pub until: Option<Micros>,
    pub answer: Option<Answer>,
}

impl From<StoredQuestion> for Questioned {
    fn from(stored: StoredQuestion) -> Self {
        let timed_out = stored.turn_error.is_some_and(|error| error.code == "input_timeout");
        // An answer that came when nobody heard it any more is none.
        let unheard = stored.failed && stored.asked.in_open_call;
        let answer = stored.answer.filter(|_| !unheard);
        let state = match &answer {
            _ if unheard => QuestionState::Withdrawn,
            Some(answer) if answer.key_id.is_some() => QuestionState::Answered,
            Some(_) => QuestionState::Expired,
            None if stored.overdue || timed_out => QuestionState::Expired,
            None if stored.until.is_some() => QuestionState::Open,
            None => QuestionState::Withdrawn,
        };
        let Asked { call, toolgroup, question, .. } = stored.asked;
        Self {
            id: stored.id,
            turn_id: stored.turn_id,
            session_id: stored.session_id,
            agent_id: stored.agent_id,
            call,
            toolgroup,
            question,
            asked_at: stored.asked_at,
            until: stored.until.filter(|_| state == QuestionState::Open),
            answer,
            state,
        }
    }
}

impl Agents {
    /// The questions that can be answered now, those that the caller may see.
    ///
    /// # Errors
    /// As any query.
    pub async fn open_questions(&self, cx: &Cx, which: Which<'_>, page: &PageRequest) -> Result<Page<Questioned>> {
        let page = self.0.deps.store.tenant(cx).open_questions(which, &cx.sight(), page).await?;
        Ok(Page { items: page.items.into_iter().map(Questioned::from).collect(), more: page.more })
    }

    /// # Errors
    /// `NotFound`, also where it is another customer's.
    pub async fn question(&self, cx: &Cx, id: &str) -> Result<Questioned> {
        self.find_question(cx, id, false).await
    }

    /// For who may see it; `speaks`: for who may speak in its conversation.
    async fn find_question(&self, cx: &Cx, id: &str, speaks: bool) -> Result<Questioned> {
        let tenant = self.0.deps.store.tenant(cx);
        let stored = tenant.load_question(id).await?;
        let mut tx = tenant.read().await?;
        let turn = turns::load(&mut tx, &stored.turn_id).await?;
        let may = match speaks {
            true => access::continues(&mut tx, cx, &turn).await?,
            false => access::sees(&mut tx, cx, &turn).await?,
        };
        if may { Ok(stored.into()) } else { Err(questions::missing(id)) }
    }

    /// Answers a question; the turn goes on once nothing else of it is open. The same answer again changes nothing, and is
    /// answered as the first was.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` where it is a customer's and no token says who speaks; `Invalid` naming the member that does
    /// not fit what was asked; `Conflict` with the code
    /// `question_answered` when something else was answered, `question_expired` when its time is over,
    /// `question_withdrawn` when its turn or its call has ended.
    pub async fn answer(
        &self,
        cx: &Cx,
        id: &str,
        action: Action,
        content: Option<Map<String, Value>>,
    ) -> Result<Questioned> {
        let asked = self.find_question(cx, id, true).await?;
        let content = asked.question.fits(action, content)?;
        if asked.state == QuestionState::Open {
            let (key_id, at) = (Some(cx.principal.key_id.clone()), self.0.deps.clock.now());
            let answer = Answer { action, content: content.clone(), key_id, at };
            // Somebody else may have been first, or the turn ended; what stands now is the answer.
            Box::pin(self.put_answer(cx, &asked.turn_id, id, answer)).await?;
        }
        let asked = self.question(cx, id).await?;
        let (code, message) = match (asked.state, &asked.answer) {
            (QuestionState::Answered, Some(said)) if said.action == action && said.content == content => {
                return Ok(asked);
            }
            (QuestionState::Answered, _) => ("question_answered", "something else was answered before"),
            (QuestionState::Expired, _) => ("question_expired", "nobody answered it in time"),
            (QuestionState::Withdrawn, _) => ("question_withdrawn", "nobody waits for it any more"),
            (QuestionState::Open, _) => ("question_open", "it was not kept; say it again"),
        };
        Err(Error::conflict(format!("the question '{id}' cannot be answered so: {message}")).with_code(code))
    }
}

impl Room {
    /// Where a turn waited too long for answers and for nothing else, its tools hear that nobody answers, and it goes on.
    /// False: it waits for something else too, or not any more.
    pub(crate) async fn cancel_questions(&self, cx: &Cx, turn_id: &str) -> Result<bool> {
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let stored = turns::load(&mut tx, turn_id).await?;
        let spec = agents::works_by(&mut tx, &stored).await?;
        if claims::take_waiting(&mut tx, turn_id).await?.is_none_or(|waiting| waiting.left >= 0) {
            return Ok(false);
        }
        let steps = transcript::steps(&mut tx, turn_id).await?;
        let open = Open::of(&steps, &transcript::inbox(&mut tx, turn_id).await?);
        if open.questions.is_empty() || !open.calls.is_empty() || !open.approvals.is_empty() {
            return Ok(false);
        }
        let at = self.deps.clock.now();
        let answer = Answer { action: Action::Cancel, content: None, key_id: None, at };
        for asked in &open.questions {
            transcript::add_inbox(&mut tx, turn_id, &asked.question_id, &answer, at).await?;
        }
        let said = open.questions.iter().map(|asked| inputs::said(&asked.question_id, Action::Cancel)).collect();
        let Some(claimed) = claims::take_up(&mut tx, turn_id, None, time_of(&spec)).await? else { return Ok(false) };
        inputs::resumed(&mut tx, turn_id, claimed.stored.epoch, said).await?;
        tx.commit().await?;
        self.hub.wake(&cx.tenant, turn_id);
        Ok(true)
    }
}

impl Worker {
    /// Whether calls here may ask people anything.
    pub(crate) fn has_people(&self) -> bool {
        self.pen.waits && self.asked_by.is_none()
    }

    /// What a call here may ask of people: nothing where nobody waits for the turn to go on.
    pub(crate) fn asking(&self, call: &ToolCall, person: Arc<dyn Person>) -> Option<Asking> {
        if !self.has_people() {
            return None;
        }
        let mut round = self.round(&call.id);
        let answers = round.iter_mut().filter_map(|(step, asked)| {
            let answer = self.answers.get(&step.step.id)?.clone();
            Some((std::mem::take(&mut asked.key), answer))
        });
        let answers: Vec<_> = answers.collect();
        let state = round.iter_mut().find_map(|(_, asked)| asked.state.take());
        Some(Asking { answered: (!round.is_empty()).then_some(Answered { answers, state }), person: Some(person) })
    }

    /// The questions that a call asked last.
    fn round(&self, call_id: &str) -> Vec<(StoredStep, Asked)> {
        let all = self.questions.iter().filter_map(|step| Some((step.clone(), asked_in(step)?)));
        let all: Vec<_> = all.filter(|(_, asked)| asked.call.id == call_id).collect();
        let last = all.iter().map(|(_, asked)| asked.round).max().unwrap_or_default();
        all.into_iter().filter(|(_, asked)| asked.round == last).collect()
    }

    /// Whether the call waits for answers.
    pub(crate) fn awaits_answers(&self, call: &ToolCall) -> bool {
        self.questions.iter().any(|step| is_open_for(step, &call.id) && !self.answers.contains_key(&step.step.id))
    }

    /// Ends the questions of a call that have their answers, so that these can be sent. Whether there were any: nothing
    /// was sent since the call asked.
    pub(crate) fn take_answers(&mut self, call: &ToolCall) -> bool {
        let mut taken = false;
        for step in &mut self.questions {
            let Some(answer) = self.answers.get(&step.step.id).filter(|_| is_open_for(step, &call.id)) else {
                continue;
            };
            let output = StepOutput::Question { action: answer.action };
            self.pen.end(step.clone(), StepState::Done, Some(output));
            step.step.state = StepState::Done;
            taken = true;
        }
        taken
    }

    /// A call that was begun before this worker waits for answers still.
    pub(crate) fn waits_on(&mut self, call: ToolCall) {
        if let Some(step) = self.take_left(&call.id) {
            self.waiting.push((step, call));
        }
    }

    /// Writes down what a call asks; its result, where that cannot be asked.
    pub(crate) async fn put_questions(
        &mut self,
        step: &StoredStep,
        call: &ToolCall,
        request: InputRequest,
    ) -> Result<Option<ToolResult>, Halt> {
        let before = self.round(&call.id);
        let round = before.first().map_or(0, |(_, asked)| asked.round) + 1;
        let unheard =
            |(step, _): &(StoredStep, Asked)| self.answers.get(&step.step.id).is_some_and(|a| a.key_id.is_none());
        if before.iter().any(unheard) {
            return Ok(Some(ToolResult::error("the tool asked again, though nobody had answered in time")));
        }
        if round > MOST_ROUNDS {
            let message =
                format!("the tool asked more than {MOST_ROUNDS} times in one call and was not answered again");
            return Ok(Some(ToolResult::error(&message)));
        }
        let words = request.words();
        let judged = self.judge(Stage::ToolOutput, &words).await?;
        if judged.stops() || judged.text != words {
            self.record_all(&judged);
            return Ok(Some(ToolResult::error("a shield withheld what the tool asked, and nobody was asked")));
        }
        self.record(&judged);
        let toolgroup = self.def_of(call).map(|def| def.toolgroup.clone()).unwrap_or_default();
        let mut state = request.state;
        for (key, question) in request.questions {
            let toolgroup = toolgroup.clone();
            let (call, state) = (call.clone(), state.take());
            let asked = Asked { call, toolgroup, round, key, state, in_open_call: false, question };
            let input = serde_json::to_value(&asked).map_err(|e| Halt::Rows(Error::internal("write a question", e)))?;
            let name = format!("question {} {round} {}", asked.call.id, asked.key);
            let asking = self.pen.begin(StepKind::Question, &name, Some(input));
            self.questions.push(asking);
        }
        self.open.retain(|open| open.step.n != step.step.n);
        self.waiting.push((step.clone(), call.clone()));
        // Whoever goes on with the turn finds that the call only asked.
        self.pen.commit().await?;
        Ok(None)
    }

    /// What the turn waits for an answer to.
    pub(crate) fn open_questions(&self) -> Vec<OpenQuestion> {
        let open = self.questions.iter().filter(|step| !self.answers.contains_key(&step.step.id));
        open.filter_map(shown).collect()
    }

    /// The turn ends without the answers: its tools' calls do too.
    pub(crate) fn end_questions(&mut self, error: &TurnError) {
        for step in std::mem::take(&mut self.questions) {
            if step.step.state == StepState::Intent {
                self.pen.end(step, StepState::Failed, Some(StepOutput::Failed { error: error.clone() }));
            }
        }
        for (step, call) in std::mem::take(&mut self.waiting) {
            self.end_unanswered(step, call);
        }
    }

    /// Ends a call that asked, and to which nothing was sent since.
    pub(crate) fn end_unanswered(&mut self, step: StoredStep, call: ToolCall) {
        let result = unanswered();
        self.answer(&step.step.id, &call, &result);
        self.pen.end(step, StepState::Failed, Some(StepOutput::ToolExecution { call, result }));
    }
}

/// What a model reads of a call that asked, and whose turn ended before it was answered.
pub(crate) fn unanswered() -> ToolResult {
    ToolResult::error("the tool asked a person something and was not answered: the call did not come to its end")
}

/// Whether this is an open question of the call, which is made again with the answer.
pub(crate) fn is_open_for(step: &StoredStep, call_id: &str) -> bool {
    is_put_away(step) && step.step.state == StepState::Intent && call_in(step).is_some_and(|call| call.id == call_id)
}

/// A question that has no end, as it is shown.
pub(crate) fn shown(step: &StoredStep) -> Option<OpenQuestion> {
    let asked = asked_in(step).filter(|_| step.step.state == StepState::Intent)?;
    Some(OpenQuestion {
        question_id: step.step.id.clone(),
        call_id: asked.call.id,
        tool: asked.call.name,
        toolgroup: asked.toolgroup,
        question: asked.question,
    })
}

/// Whether this is a question that its turn is put away for: its call is made again with the answer.
pub(crate) fn is_put_away(step: &StoredStep) -> bool {
    asked_in(step).is_some_and(|asked| !asked.in_open_call)
}

/// Whether this is a question of a call that stays open at its process ([`crate::open_calls`]).
pub(crate) fn in_open_call(step: &StoredStep) -> bool {
    asked_in(step).is_some_and(|asked| asked.in_open_call)
}

fn asked_in(step: &StoredStep) -> Option<Asked> {
    let input = step.input.clone().filter(|_| step.step.kind == StepKind::Question)?;
    serde_json::from_value(input).ok()
}
