//! What an operator is told of: each once, and only once it stands in the rows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use frontdesk_agents::{Bounds, Fault, Full, Note, Observer, Pace, Point, ToolEnd};
use frontdesk_api::{
    agent::{AgentSpec, HandOffSpec, HandOffTarget, OnMessage},
    approval::ApprovalState,
    id::{Ids, RandomIds},
    turn::{HandOffReason, TurnState},
};
use frontdesk_store::{Store, testing::each_database};
use tracing::Span;

use crate::{
    leaving, lost,
    stage::{Line, Stage, Toolbox, answer, happens, pace, with_tools},
};

/// Keeps what it is told.
#[derive(Default)]
struct Notes(Mutex<Vec<Note>>);

impl Notes {
    fn taken(&self) -> Vec<Note> {
        std::mem::take(&mut self.0.lock().expect("the notes"))
    }
}

impl Observer for Notes {
    fn begun(&self, _: f64) {}
    fn ended(&self, _: TurnState, _: f64, _: Option<u32>) {}
    fn tool_called(&self, _: &str, _: f64, _: ToolEnd) {}
    fn noted(&self, note: Note) {
        self.0.lock().expect("the notes").push(note);
    }
    fn trace(&self) -> Option<String> {
        None
    }
    fn join(&self, _: &Span, _: &str) {}
}

async fn set(store: Store) -> Stage {
    Stage::with(store, Arc::new(RandomIds), pace(), Bounds::default()).await
}

/// A process on the rows of `stage` of which notes are taken.
fn noted(stage: &Stage, pace: Pace, bounds: Bounds) -> (Stage, Arc<Notes>) {
    let notes = Arc::new(Notes::default());
    (stage.changed(pace, bounds, |deps| deps.observer = notes.clone()), notes)
}

/// It looks often, and keeps what it has.
fn often() -> Pace {
    let often = Duration::from_millis(50);
    Pace { poll: often, renew: often, ..pace() }
}

/// Resolves when a process works on nothing.
async fn idle(stage: &Stage) {
    let idle = async {
        while stage.agents.tally().running > 0 {
            tokio::task::yield_now().await;
        }
    };
    happens("its work to end", idle).await;
}

#[tokio::test]
async fn a_worker_that_is_lost_in_a_call_is_noted_and_so_is_the_call() {
    each_database(|store| async move {
        let stage = set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        // Its second intent is the call's.
        let (fault, reached): (Fault, _) = lost::at(Point::AfterIntent, 2);
        let doomed = stage.failing(lost::short(), fault);
        stage.model.play([Line::Call(vec![("a", "pay", "{}")]), Line::Say("Look whether it was paid.")]);
        let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "pay")).await.expect("a turn");
        happens("its end", reached.notified()).await;
        let (next, notes) = noted(&stage, often(), Bounds::default());
        next.agents.recover().await.expect("another process");
        let view = next.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Look whether it was paid."));
        idle(&next).await;
        assert_eq!(notes.taken(), [Note::WorkerLost, Note::OutcomeUnknown]);
        // One that nobody lost is not noted.
        stage.model.play([Line::Say("Hello.")]);
        next.ask(&conversation, "hello").await;
        idle(&next).await;
        assert_eq!(notes.taken(), []);
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_write_of_a_worker_that_was_overtaken_is_noted() {
    each_database(|store| async move {
        let stage = set(store).await;
        let spec = AgentSpec { toolgroups: vec!["gates".into()], ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        // It renews nothing: it stands still.
        let (slow, notes) = noted(&stage, lost::short(), Bounds::default());
        stage.model.play([Line::Call(vec![("a", "hold", "{\"gate\":\"x\"}")])]);
        let turn = slow.agents.create_turn(&stage.cx, Stage::asks(&conversation, "wait")).await.expect("a turn");
        stage.tools.at(1).await;
        let (next, others) = noted(&stage, often(), Bounds::default());
        next.agents.recover().await.expect("another process");
        stage.tools.at(2).await;
        stage.model.play([Line::Say("Open.")]);
        stage.tools.open("x", "open");
        let view = next.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Open."));
        idle(&slow).await;
        idle(&next).await;
        assert_eq!((notes.taken(), others.taken()), (vec![Note::StaleWrite], vec![Note::WorkerLost]));
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_write_to_a_turn_that_was_deleted_is_none_of_an_overtaken_worker() {
    each_database(|store| async move {
        let stage = set(store).await;
        let (here, notes) = noted(&stage, pace(), Bounds::default());
        let spec = AgentSpec { toolgroups: vec!["gates".into()], ..AgentSpec::new("m") };
        let conversation = here.conversation(spec).await;
        here.model.play([Line::Call(vec![("a", "hold", "{\"gate\":\"x\"}")])]);
        here.agents.create_turn(&here.cx, Stage::asks(&conversation, "wait")).await.expect("a turn");
        here.tools.at(1).await;
        here.agents.delete_session(&here.cx, &conversation.0, &conversation.1).await.expect("deleted");
        here.tools.open("x", "open");
        idle(&here).await;
        assert_eq!(notes.taken(), []);
    })
    .await;
}

/// Ids as they are drawn, but for a turn's where one is set.
#[derive(Default)]
struct Taken(Mutex<Option<String>>);

impl Ids for Taken {
    fn next(&self, prefix: &str) -> String {
        let taken = self.0.lock().expect("an id").clone().filter(|_| prefix == "turn");
        taken.unwrap_or_else(|| RandomIds.next(prefix))
    }
}

/// How many turns a process has ended as cancelled.
fn cancelled(stage: &Stage) -> u64 {
    let ended = stage.agents.tally().ended;
    ended.iter().filter(|(state, _)| *state == TurnState::Cancelled).map(|(_, many)| many).sum()
}

#[tokio::test]
async fn a_turn_that_is_given_up_for_a_message_is_noted_only_where_the_message_is_taken_in() {
    each_database(|store| async move {
        let stage = set(store).await;
        let (notes, ids) = (Arc::new(Notes::default()), Arc::new(Taken::default()));
        let here = stage.changed(pace(), Bounds::default(), |deps| {
            (deps.observer, deps.ids) = (notes.clone(), ids.clone());
        });
        let conversation = here.conversation(with_tools()).await;
        here.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        let waiting = here.ask(&conversation, "money back").await;
        idle(&here).await;
        // Its row cannot be written.
        *ids.0.lock().expect("an id") = Some(waiting.turn.id.clone());
        here.agents.create_turn(&here.cx, Stage::asks(&conversation, "never mind")).await.expect_err("its id is taken");
        let turn = here.agents.load_turn(&here.cx, &waiting.turn.id).await.expect("the turn").turn;
        assert_eq!(turn.state, TurnState::AwaitingInput);
        assert_eq!((notes.taken(), cancelled(&here)), (vec![], 0));
        *ids.0.lock().expect("an id") = None;
        here.model.play([Line::Say("Well.")]);
        here.ask(&conversation, "never mind").await;
        assert_eq!((notes.taken(), cancelled(&here)), (vec![Note::Approval(ApprovalState::Withdrawn)], 1));
    })
    .await;
}

/// Keeps how much tools had been told to forget when something was noted: that comes after the commit.
struct Late(Arc<Toolbox>, Mutex<Vec<usize>>);

impl Observer for Late {
    fn begun(&self, _: f64) {}
    fn ended(&self, _: TurnState, _: f64, _: Option<u32>) {}
    fn tool_called(&self, _: &str, _: f64, _: ToolEnd) {}
    fn noted(&self, _: Note) {
        let forgotten = self.0.forgotten.lock().expect("the forgotten").len();
        self.1.lock().expect("the notes").push(forgotten);
    }
    fn trace(&self) -> Option<String> {
        None
    }
    fn join(&self, _: &Span, _: &str) {}
}

#[tokio::test]
async fn a_turn_that_ends_with_its_agent_is_noted_once_that_is_gone() {
    each_database(|store| async move {
        let stage = set(store).await;
        let late = Arc::new(Late(stage.tools.clone(), Mutex::default()));
        let (returns, conversation) = leaving::handed(&stage, OnMessage::Reject).await;
        stage.agents.create_session(&stage.cx, &returns.id, "its own").await.expect("a session");
        stage.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        assert_eq!(stage.ask(&conversation, "money back").await.approvals.len(), 1);
        let here = stage.changed(pace(), Bounds::default(), |deps| deps.observer = late.clone());
        here.agents.delete_agent(&here.cx, &returns.id).await.expect("deleted");
        assert_eq!((&late.1.lock().expect("the notes")[..], cancelled(&here)), (&[1][..], 1));
    })
    .await;
}

#[tokio::test]
async fn approvals_are_noted_by_how_they_end_and_counted_while_they_wait() {
    each_database(|store| async move {
        let stage = set(store).await;
        let (here, notes) = noted(&stage, pace(), Bounds::default());
        let open = async || stage.store.system().turns_standing().await.expect("a count").approvals;
        for (approve, state) in [(true, ApprovalState::Approved), (false, ApprovalState::Denied)] {
            let conversation = here.conversation(with_tools()).await;
            here.model.play([Line::Call(vec![("a", "refund", "{}")]), Line::Say("Well.")]);
            let waiting = here.ask(&conversation, "money back").await;
            assert_eq!((open().await, notes.taken()), (1, vec![]));
            here.agents.decide(&here.cx, &waiting.approvals[0].approval_id, approve, None).await.expect("decided");
            here.settled(&waiting.turn.id).await;
            idle(&here).await;
            assert_eq!((open().await, notes.taken()), (0, vec![Note::Approval(state)]));
        }
        let conversation = here.conversation(with_tools()).await;
        here.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        let waiting = here.ask(&conversation, "money back").await;
        here.agents.cancel(&here.cx, &waiting.turn.id).await.expect("cancelled");
        assert_eq!((open().await, notes.taken()), (0, vec![Note::Approval(ApprovalState::Withdrawn)]));

        let (impatient, _) = noted(&stage, Pace { wait: Duration::ZERO, ..pace() }, Bounds::default());
        let conversation = here.conversation(with_tools()).await;
        here.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        let waiting = impatient.ask(&conversation, "money back").await;
        idle(&impatient).await;
        let (next, notes) = noted(&stage, often(), Bounds::default());
        next.agents.recover().await.expect("another process");
        let noted = async {
            loop {
                match notes.taken() {
                    none if none.is_empty() => tokio::task::yield_now().await,
                    noted => break noted,
                }
            }
        };
        assert_eq!(happens("a note", noted).await, [Note::Approval(ApprovalState::Expired)]);
        let turn = stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("the turn").turn;
        assert_eq!(turn.state, TurnState::Incomplete);
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_hand_over_is_noted_by_who_takes_it_and_why() {
    each_database(|store| async move {
        let stage = set(store).await;
        let (here, notes) = noted(&stage, pace(), Bounds::default());
        let target = |to: &str| HandOffTarget { to: to.into(), description: String::new(), message: None };
        let billing = AgentSpec { name: Some("billing".into()), ..AgentSpec::new("m") };
        here.agents.create_agent(&here.cx, billing).await.expect("an agent");
        let hand_off =
            HandOffSpec { message: "One moment.".into(), targets: vec![target("billing"), target("people")] };
        for (arguments, to_agent, reason) in [
            ("{\"to\":\"billing\",\"reason\":\"unsupported_request\"}", true, HandOffReason::UnsupportedRequest),
            ("{\"to\":\"people\",\"reason\":\"customer_request\"}", false, HandOffReason::CustomerRequest),
        ] {
            let spec = AgentSpec { hand_off: Some(hand_off.clone()), ..AgentSpec::new("m") };
            let conversation = here.conversation(spec).await;
            here.model.play([Line::Call(vec![("a", "hand_off", arguments)])]);
            assert_eq!(here.ask(&conversation, "help").await.turn.state, TurnState::Completed);
            idle(&here).await;
            assert_eq!(notes.taken(), [Note::HandOff { to_agent, reason }]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_turned_away_is_noted_by_the_line_that_was_full() {
    each_database(|store| async move {
        let stage = set(store).await;
        let none = Bounds { at_once: 0, ..Bounds::default() };
        for (bounds, line) in [
            (Bounds { in_line_of_tenant: 0, ..none }, Full::Tenant),
            (Bounds { in_line: 0, ..none }, Full::All),
            (none, Full::Session),
        ] {
            let (here, notes) = noted(&stage, pace(), bounds);
            let spec = AgentSpec { on_message: OnMessage::Queue, ..AgentSpec::new("m") };
            let conversation = here.conversation(spec).await;
            let refused = loop {
                if let Err(refused) = here.agents.create_turn(&here.cx, Stage::asks(&conversation, "hello")).await {
                    break refused;
                }
                assert_eq!(notes.taken(), []);
            };
            assert!(refused.retry_after.is_some(), "{refused:?}");
            assert_eq!(notes.taken(), [Note::Refused(line)]);
        }
    })
    .await;
}
