//! Questions that a tool asks while its call stays open: written down, answered, and heard by the call.
//!
//! Such a call cannot be made again with the answer ([`crate::questions`]), so its turn is not put away: its row says that
//! it is worked on. A question is a step beside the call's all the same, and clients are told, and shown, a turn that waits
//! for input; the answer goes into the turn's inbox at whichever process, and the one that works on the turn looks there.
//! Invariants: a question is open as long as its worker has the turn under the same epoch, so nobody answers into nothing
//! once another has it; a question's end is written before its answer is sent; a turn that waits so has no place among
//! those that are worked on, its call none beside others, and the turn's time stands still.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Result as Answered,
    chat::ToolCall,
    question::{Action, Answer, OpenQuestion, Person, Question},
    safety::Stage,
    turn::{EventBody, StepKind, StepOutput, StepState, Turn, TurnState},
};
use frontdesk_store::{
    questions::{self, Asked},
    transcript::{self, StoredStep},
    turns,
};
use serde_json::Value;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

use crate::{
    Room,
    calls::{End, Wave},
    halt::{Halt, failed},
    inputs::said,
    micros,
    questions::{MOST_ROUNDS, in_open_call, shown},
    worker::{Worker, call_in},
};

/// A call's place beside others, until it is left.
pub(crate) type Beside = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

/// What an open call asks.
pub(crate) struct Request {
    /// The number of the call's step.
    n: i64,
    question: Question,
    reply: oneshot::Sender<Result<Answer, String>>,
}

/// Whom an open call asks.
struct Desk {
    n: i64,
    asks: mpsc::UnboundedSender<Request>,
    beside: Beside,
}

#[async_trait]
impl Person for Desk {
    async fn ask(&self, question: Question) -> Result<Answer, String> {
        // Whoever waits for a person takes nobody's place.
        drop(self.beside.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (reply, heard) = oneshot::channel();
        let over = |()| "the turn goes on without it".to_owned();
        self.asks.send(Request { n: self.n, question, reply }).map_err(|_| over(()))?;
        heard.await.unwrap_or_else(|_| Err(over(())))
    }
}

/// How many times the time of one question those of one call may take together, whatever else it may ask.
const MOST_TIMES: u32 = 3;

/// Turns that wait for a person with a call open, by their tenants: a tenant has a share of what there is.
#[derive(Debug, Default)]
pub(crate) struct Waits(Mutex<HashMap<String, usize>>);

/// One of them, until this is dropped.
struct Waiting {
    waits: Arc<Waits>,
    tenant: String,
}

impl Waits {
    /// None: there are `most` already, or the tenant has its quarter of them.
    fn enter(self: &Arc<Self>, tenant: &str, most: usize) -> Option<Waiting> {
        let mut by_tenant = self.by_tenant();
        let of_tenant = by_tenant.get(tenant).copied().unwrap_or_default();
        if by_tenant.values().sum::<usize>() >= most || of_tenant >= most.div_ceil(4) {
            return None;
        }
        by_tenant.insert(tenant.to_owned(), of_tenant + 1);
        Some(Waiting { waits: Arc::clone(self), tenant: tenant.to_owned() })
    }

    fn by_tenant(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut by_tenant = self.waits.by_tenant();
        if let Entry::Occupied(mut of_tenant) = by_tenant.entry(std::mem::take(&mut self.tenant)) {
            *of_tenant.get_mut() -= 1;
            if *of_tenant.get() == 0 {
                of_tenant.remove();
            }
        }
    }
}

/// A question that stands.
struct Standing {
    /// The number of its call's step.
    n: i64,
    step: StoredStep,
    since: Instant,
    until: Instant,
    reply: oneshot::Sender<Result<Answer, String>>,
}

/// The turn's time, which stands still.
struct Paused {
    left: Duration,
    _waits: Waiting,
}

/// What one call asked by now.
#[derive(Default)]
struct Spent {
    rounds: u32,
    /// How long its questions stood that stand no more.
    time: Duration,
}

/// What the calls of a wave ask.
pub(crate) struct Asks {
    to: mpsc::UnboundedSender<Request>,
    from: mpsc::UnboundedReceiver<Request>,
    standing: Vec<Standing>,
    /// By the numbers of the calls' steps.
    spent: HashMap<i64, Spent>,
    paused: Option<Paused>,
    /// When answers were looked for last.
    looked: Option<Instant>,
}

impl Default for Asks {
    fn default() -> Self {
        let (to, from) = mpsc::unbounded_channel();
        Self { to, from, standing: vec![], spent: HashMap::new(), paused: None, looked: None }
    }
}

/// What is to be done about them.
pub(crate) enum News {
    Asked(Request),
    /// There may be answers, or a time is over.
    Look,
}

impl Asks {
    /// Whom the call of this step asks.
    pub(crate) fn person(&self, n: i64, beside: Beside) -> Arc<dyn Person> {
        Arc::new(Desk { n, asks: self.to.clone(), beside })
    }

    /// `answered`: rung at an answer that this process took in; others' are found within `poll`.
    pub(crate) async fn news(&mut self, answered: &Notify, poll: Duration) -> News {
        let first = self.standing.iter().map(|standing| standing.until).min();
        let look = first.map(|until| next_look(until, self.looked, Instant::now(), poll));
        tokio::select! {
            Some(request) = self.from.recv() => News::Asked(request),
            () = answered.notified(), if look.is_some() => News::Look,
            () = tokio::time::sleep_until(look.unwrap_or_else(Instant::now)), if look.is_some() => News::Look,
        }
    }

    fn open(&self) -> Vec<OpenQuestion> {
        self.standing.iter().filter_map(|standing| shown(&standing.step)).collect()
    }

    /// This one stands no more.
    fn over(&mut self, standing: &Standing) {
        let stood = Instant::now().min(standing.until).saturating_duration_since(standing.since);
        self.spent.entry(standing.n).or_default().time += stood;
    }
}

/// Once the first question's time is over, or after `poll`; and never sooner than that after the last look, whatever that
/// came to.
fn next_look(first: Instant, looked: Option<Instant>, now: Instant, poll: Duration) -> Instant {
    first.min(now + poll).max(looked.map_or(now, |looked| looked + poll))
}

impl Room {
    /// Puts an answer into the inbox of a turn whose worker waits for it. False: none does, or there is one.
    pub(crate) async fn put_open_answer(&self, cx: &Cx, turn: &str, question: &str, answer: &Answer) -> Answered<bool> {
        let mut tx = self.deps.store.tenant(cx).write().await?;
        let waits = questions::hold_running(&mut tx, turn).await?
            && questions::kept_open(&mut tx, turn).await?.iter().any(|open| open == question);
        if waits {
            transcript::add_inbox(&mut tx, turn, question, answer, answer.at).await?;
            tx.commit().await?;
            self.running.answered(&cx.tenant, turn);
        }
        Ok(waits)
    }
}

impl Worker {
    pub(crate) async fn heed(&mut self, wave: &mut Wave, news: News) -> Result<(), Halt> {
        match news {
            News::Asked(request) => self.stand(wave, request).await,
            News::Look => self.look_for_answers(wave).await,
        }
    }

    /// Writes down what an open call asks; where it cannot be asked the call hears why.
    async fn stand(&mut self, wave: &mut Wave, request: Request) -> Result<(), Halt> {
        let Request { n, question, reply } = request;
        let Some(call) = wave.calls.iter().find(|(step, _)| step.step.n == n).map(|(_, call)| call.clone()) else {
            return Ok(());
        };
        let spent = wave.asks.spent.entry(n).or_default();
        spent.rounds += 1;
        let (round, question_time) = (spent.rounds, self.room.deps.pace.question);
        let patience = question_time.min((question_time * MOST_TIMES).saturating_sub(spent.time));
        if round > MOST_ROUNDS {
            let _ = reply.send(Err(format!("it asked more than {MOST_ROUNDS} times in one call")));
            return Ok(());
        }
        if patience.is_zero() {
            let _ = reply.send(Err("its questions took too long together".into()));
            return Ok(());
        }
        let words = question.words();
        let judged = match wave.beside(self.judge(Stage::ToolOutput, &words)).await {
            Ok(judged) => judged,
            Err(Halt::Failed(error)) => {
                let _ = reply.send(Err("a shield failed".into()));
                wave.ends.push(End::Failed(error));
                return Ok(());
            }
            Err(halt) => return Err(halt),
        };
        if judged.stops() || judged.text != words {
            self.record_all(&judged);
            let _ = reply.send(Err("a shield withheld it, and nobody was asked".into()));
            return Ok(());
        }
        if wave.asks.paused.is_none() {
            let most = self.room.deps.bounds.open_calls;
            let Some(waits) = self.room.open_calls.enter(&self.cx.tenant, most) else {
                let _ = reply.send(Err("too many conversations wait for people".into()));
                return Ok(());
            };
            let left = self.deadline.saturating_duration_since(Instant::now());
            self.stop.leave_place();
            self.room.free.notify_one();
            wave.asks.paused = Some(Paused { left, _waits: waits });
        }
        self.record(&judged);
        let toolgroup = self.def_of(&call).map(|def| def.toolgroup.clone()).unwrap_or_default();
        let name = format!("question {} {round} open", call.id);
        let asked = Asked { call, toolgroup, round, key: String::new(), state: None, in_open_call: true, question };
        let input = serde_json::to_value(&asked).map_err(|e| Halt::Rows(Error::internal("write a question", e)))?;
        let step = self.pen.begin(StepKind::Question, &name, Some(input));
        self.open.push(step.clone());
        self.pen.keep_open(&step.step.id, micros(patience));
        let since = Instant::now();
        wave.asks.standing.push(Standing { n, step, since, until: since + patience, reply });
        let last = wave.asks.standing.iter().map(|standing| standing.until).max();
        if let (Some(paused), Some(last)) = (&wave.asks.paused, last) {
            self.deadline = last + paused.left;
            self.cx.deadline = Some(self.deadline.into_std());
            self.pen.leave_time(micros(self.deadline.saturating_duration_since(since)));
        }
        self.awaits(wave.asks.open());
        wave.beside(self.pen.commit()).await
    }

    async fn look_for_answers(&mut self, wave: &mut Wave) -> Result<(), Halt> {
        let now = Instant::now();
        let ids = wave.asks.standing.iter().filter(|standing| standing.until <= now);
        let late: Vec<String> = ids.map(|standing| standing.step.step.id.clone()).collect();
        wave.asks.looked = Some(now);
        let (room, cx, turn) = (Arc::clone(&self.room), self.cx.clone(), self.pen.turn.id.clone());
        let epoch = self.pen.epoch();
        let nobody = Answer { action: Action::Cancel, content: None, key_id: None, at: self.pen.now() };
        let look = async {
            for id in &late {
                // Somebody may have been first.
                room.put_open_answer(&cx, &turn, id, &nobody).await?;
            }
            let mut tx = room.deps.store.tenant(&cx).read().await?;
            let stored = turns::load(&mut tx, &turn).await?;
            let ours = stored.epoch == epoch && stored.turn.state == TurnState::Running;
            Ok::<_, Error>(if ours { Some(transcript::inbox(&mut tx, &turn).await?) } else { None })
        };
        let inbox = match wave.beside(look).await {
            Ok(Some(inbox)) => inbox,
            Ok(None) => return Err(Halt::Fenced),
            Err(error) => {
                tracing::warn!(turn, error = %error, "whether a question was answered could not be looked up; again later");
                return Ok(());
            }
        };
        let (mut results, mut heard) = (vec![], vec![]);
        for standing in std::mem::take(&mut wave.asks.standing) {
            let came = inbox.iter().find(|(key, _)| *key == standing.step.step.id);
            let Some(answer) = came.and_then(|(_, came)| serde_json::from_value::<Answer>(came.clone()).ok()) else {
                wave.asks.standing.push(standing);
                continue;
            };
            wave.asks.over(&standing);
            results.push(said(&standing.step.step.id, answer.action));
            self.end(standing.step, StepState::Done, Some(StepOutput::Question { action: answer.action }));
            heard.push((standing.reply, answer));
        }
        if !heard.is_empty() {
            self.goes_on(&mut wave.asks, results);
            wave.beside(self.pen.commit()).await?;
        }
        for (reply, answer) in heard {
            let _ = reply.send(Ok(answer));
        }
        Ok(())
    }

    /// Ends the questions that their calls did not wait for. What ends with it is written by the next commit.
    pub(crate) fn withdraw(&mut self, asks: &mut Asks) {
        let all = std::mem::take(&mut asks.standing);
        let (gone, stands): (Vec<_>, Vec<_>) = all.into_iter().partition(|standing| standing.reply.is_closed());
        asks.standing = stands;
        if gone.is_empty() {
            return;
        }
        for standing in gone {
            asks.over(&standing);
            let error = failed("withdrawn", "the tool did not wait for the answer");
            self.end(standing.step, StepState::Failed, Some(StepOutput::Failed { error }));
        }
        self.goes_on(asks, vec![]);
    }

    /// Tells that something was answered; where nothing stands any more the turn's time goes on.
    fn goes_on(&mut self, asks: &mut Asks, results: Vec<Value>) {
        self.pen.event(EventBody::Resumed { results });
        if !asks.standing.is_empty() {
            return self.awaits(asks.open());
        }
        let Some(paused) = asks.paused.take() else { return };
        self.deadline = Instant::now() + paused.left;
        self.cx.deadline = Some(self.deadline.into_std());
        self.pen.leave_time(micros(paused.left));
        // One too many for a while, where none is free: the tool's server waits, and stands in no line.
        if self.stop.is_counted()
            && let Ok(place) = Arc::clone(&self.room.places).try_acquire_owned()
        {
            self.stop.take_place(Some(place));
        }
    }

    fn awaits(&mut self, questions: Vec<OpenQuestion>) {
        let turn = Turn { state: TurnState::AwaitingInput, ..self.pen.turn.clone() };
        self.pen.event(EventBody::AwaitingInput { turn, calls: vec![], approvals: vec![], questions });
    }

    /// Ends what a call asked before this worker: its end of the call is lost, and so is whoever would hear the answer.
    pub(crate) fn end_lost_questions(&mut self, call: &ToolCall) {
        let of = |step: &StoredStep| in_open_call(step) && call_in(step).is_some_and(|asked| asked.id == call.id);
        let (lost, left) = std::mem::take(&mut self.left).into_iter().partition(of);
        self.left = left;
        let lost: Vec<StoredStep> = lost;
        for step in lost {
            let error = failed("worker_lost", "the process that asked was lost before it heard an answer");
            self.pen.end(step, StepState::Failed, Some(StepOutput::Failed { error }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_is_over_is_looked_at_once_a_poll_however_the_look_ends() {
        let (now, poll, second) = (Instant::now(), Duration::from_secs(5), Duration::from_secs(1));
        assert_eq!(next_look(now + second, None, now, poll), now + second);
        assert_eq!(next_look(now + poll * 9, None, now, poll), now + poll);
        // Its time is over, and the look a second ago came to nothing.
        assert_eq!(next_look(now - poll, Some(now - second), now, poll), now + poll - second);
        assert_eq!(next_look(now - poll, Some(now), now, poll), now + poll);
    }

    #[test]
    fn a_tenant_has_a_quarter_of_the_turns_that_wait_and_gives_back_what_it_leaves() {
        let waits = Arc::new(Waits::default());
        let mut all: Vec<_> = (0..2).map(|_| waits.enter("a", 8).expect("a place")).collect();
        assert!(waits.enter("a", 8).is_none(), "it has its share");
        all.extend(["b", "b", "c", "c", "d"].map(|tenant| waits.enter(tenant, 8).expect("others have theirs")));
        all.push(waits.enter("e", 8).expect("the last one"));
        assert!(waits.enter("f", 8).is_none(), "there are no more");
        all.remove(0);
        assert!(waits.enter("a", 8).is_some());
        drop(all);
        assert!(waits.by_tenant().is_empty());
        assert!(waits.enter("a", 0).is_none());
    }
}
