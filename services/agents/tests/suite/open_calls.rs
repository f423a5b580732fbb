//! What a tool asks while its call stays open: answered at whichever process, heard by the call, and by nobody once its
//! worker is gone.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{Bounds, NewTurn, Pace, Point, TurnView, Which};
use frontdesk_api::{
    Error, Kind, PageRequest,
    agent::{AgentSpec, Limits, OnMessage},
    chat::{Message, Role},
    id::RandomIds,
    question::{Action, QuestionState},
    turn::{EventBody, StepKind, StepOutput, StepState, TurnState},
};
use frontdesk_store::{Store, questions, testing::each_database, turns};
use serde_json::{Map, Value, json};

use crate::{
    lost::{at, is_lost, short},
    stage::{Line, Stage, answer, done, happens, pace},
};

/// Looks often for what others wrote.
fn often() -> Pace {
    Pace { poll: Duration::from_millis(50), look: Duration::from_millis(50), ..pace() }
}

async fn set(store: Store, pace: Pace, bounds: Bounds) -> Stage {
    let stage = Stage::with(store, Arc::new(RandomIds), pace, bounds).await;
    stage.agents.recover().await.expect("it works");
    stage
}

fn spec() -> AgentSpec {
    AgentSpec { toolgroups: vec!["asks".into()], ..AgentSpec::new("m") }
}

fn many(n: i64) -> Option<Map<String, Value>> {
    Some(Map::from_iter([("n".to_owned(), n.into())]))
}

fn asked(view: &TurnView) -> String {
    assert_eq!(view.turn.state, TurnState::AwaitingInput, "{:?} {:?}", view.turn, view.steps);
    let [asked] = &view.questions[..] else { panic!("one question: {:?}", view.questions) };
    asked.question_id.clone()
}

fn calls(stage: &Stage) -> usize {
    stage.tools.ledger.lock().expect("the ledger").len()
}

fn states(view: &TurnView, kind: StepKind) -> Vec<StepState> {
    view.steps.iter().filter(|s| s.kind == kind).map(|s| s.state).collect()
}

/// A turn whose call of `phone` asks.
async fn waiting(stage: &Stage, arguments: &'static str) -> (TurnView, String) {
    let conversation = stage.conversation(spec()).await;
    stage.model.play([Line::Call(vec![("a", "phone", arguments)]), Line::Say("Phoned.")]);
    let view = stage.ask(&conversation, "phone them").await;
    let id = asked(&view);
    (view, id)
}

/// The turn once it stands still elsewhere than where it asked.
async fn ended(stage: &Stage, turn: &str) -> TurnView {
    let end = async {
        loop {
            let view = stage.settled(turn).await;
            if view.turn.state.is_terminal() {
                return view;
            }
            tokio::task::yield_now().await;
        }
    };
    happens("the turn to end", end).await
}

fn refused(error: &Error, code: &str) {
    assert_eq!((error.kind, error.code.as_deref()), (Kind::Conflict, Some(code)), "{error}");
}

#[tokio::test]
async fn what_an_open_call_asks_is_answered_at_any_process_and_the_call_goes_on() {
    each_database(|store| async move {
        let stage = set(store, often(), Bounds::default()).await;
        let (waiting, id) = waiting(&stage, r#"{"rounds":2}"#).await;
        let shown = &waiting.questions[0];
        assert_eq!((shown.tool.as_str(), shown.call_id.as_str()), ("phone", "a"));
        assert!(waiting.waiting.is_empty() && waiting.approvals.is_empty(), "nobody else has to do with it");
        let open = stage.agents.open_questions(&stage.cx, Which::default(), &PageRequest::default()).await;
        let open = open.expect("a list").items;
        assert_eq!((open.len(), open[0].id.as_str(), open[0].state), (1, id.as_str(), QuestionState::Open));
        assert!(open[0].until.is_some());
        for (action, content, param) in [
            (Action::Accept, None, "content.n"),
            (Action::Accept, many(10), "content.n"),
            (Action::Decline, many(1), "content"),
        ] {
            let wrong = stage.agents.answer(&stage.cx, &id, action, content).await.expect_err(param);
            assert_eq!((wrong.kind, wrong.param.as_deref()), (Kind::Invalid, Some(param)), "{wrong}");
        }
        // Another process, which works on no turn.
        let other = stage.beside(often(), Bounds { at_once: 0, ..Bounds::default() });
        let said = other.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect("answered");
        assert_eq!(said.state, QuestionState::Answered);
        assert_eq!(said.answer.as_ref().and_then(|a| a.key_id.clone()), Some(stage.cx.principal.key_id.clone()));
        let next = async {
            loop {
                let view = stage.settled(&waiting.turn.id).await;
                if view.questions.first().is_some_and(|next| next.question_id != id) {
                    return asked(&view);
                }
                tokio::task::yield_now().await;
            }
        };
        let next = happens("the second question", next).await;
        assert_eq!(other.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect("the same"), said);
        let second = stage.agents.answer(&stage.cx, &id, Action::Decline, None).await.expect_err("something else");
        refused(&second, "question_answered");
        stage.agents.answer(&stage.cx, &next, Action::Decline, None).await.expect("answered");
        let view = ended(&stage, &waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Phoned."));
        assert_eq!(done(&view)[0].1, r#"Accept {"n":3,"late":false}, Decline null"#);
        assert_eq!(calls(&stage), 1, "it is one call");
        assert_eq!(states(&view, StepKind::Question), [StepState::Done, StepState::Done]);
        let told: Vec<Value> = stage
            .events(&view.turn.id)
            .await
            .into_iter()
            .filter_map(|event| match event.body {
                EventBody::AwaitingInput { turn, questions, .. } if turn.state == TurnState::AwaitingInput => {
                    Some(json!(questions[0].question_id))
                }
                EventBody::Resumed { results } => Some(json!(results)),
                _ => None,
            })
            .collect();
        let resumed = |id: &str, action: &str| json!([{ "question_id": id, "action": action }]);
        assert_eq!(told, [json!(id), resumed(&id, "accept"), json!(next), resumed(&next, "decline")]);
    })
    .await;
}

#[tokio::test]
async fn a_question_that_nobody_answers_in_time_is_cancelled_and_the_turns_own_time_stands_still_meanwhile() {
    each_database(|store| async move {
        let question = Duration::from_secs(5);
        let stage = set(store, Pace { question, ..often() }, Bounds::default()).await;
        let limits = Limits { timeout_s: 4, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..spec() }).await;
        stage.model.play([Line::Call(vec![("a", "phone", "{}")]), Line::Say("Phoned.")]);
        let waiting = stage.ask(&conversation, "phone them").await;
        let id = asked(&waiting);
        let view = ended(&stage, &waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Phoned."), "{:?}", view.turn);
        assert_eq!(done(&view)[0].1, "nobody");
        let shown = stage.agents.question(&stage.cx, &id).await.expect("it");
        assert_eq!((shown.state, shown.until), (QuestionState::Expired, None));
        let late = stage.agents.answer(&stage.cx, &id, Action::Accept, many(1)).await.expect_err("too late");
        refused(&late, "question_expired");
    })
    .await;
}

#[tokio::test]
async fn the_questions_of_a_call_have_an_end_of_time_together() {
    each_database(|store| async move {
        let stage = set(store, Pace { question: Duration::from_millis(150), ..often() }, Bounds::default()).await;
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "phone", r#"{"rounds":5}"#)]), Line::Say("Phoned.")]);
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "phone them")).await.expect("a turn");
        let long = "its questions took too long together";
        let said = format!("nobody, nobody, nobody, {long}, {long}");
        assert_eq!(done(&ended(&stage, &turn.id).await)[0].1, said);
    })
    .await;
}

#[tokio::test]
async fn what_runs_beside_a_question_and_what_looks_at_it_have_the_time_of_the_turn_that_stands_still() {
    each_database(|store| async move {
        let stage = set(store, often(), Bounds::default()).await;
        let limits = Limits { timeout_s: 5, ..Limits::default() };
        let toolgroups = vec!["asks".into(), "gates".into()];
        let spec = AgentSpec { limits, toolgroups, shields: vec!["guard".into()], ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        let calls = vec![("a", "hold", r#"{"gate":"beside"}"#), ("b", "dial", "{}")];
        stage.model.play([Line::Call(calls), Line::Say("Both.")]);
        let waiting = stage.ask(&conversation, "hold and dial").await;
        let id = asked(&waiting);
        stage.tools.at(1).await;
        tokio::time::sleep(Duration::from_millis(5_100)).await;
        stage.tools.open("beside", "held");
        let held = async {
            loop {
                let view = stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("the turn");
                if view.turn.state.is_terminal() || done(&view).len() == 1 {
                    return view;
                }
                tokio::task::yield_now().await;
            }
        };
        let view = happens("the call beside it to end", held).await;
        assert_eq!(done(&view), [("hold".to_owned(), "held".to_owned(), false)], "{:?}", view.turn);
        stage.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect("answered");
        assert_eq!(answer(&ended(&stage, &waiting.turn.id).await), "Both.");
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_lost_its_turn_leaves_once_the_time_of_its_question_is_over() {
    each_database(|store| async move {
        // It does not renew meanwhile, and nobody else looks for turns.
        let pace = Pace { question: Duration::from_secs(3), ..often() };
        let stage = Stage::with(store, Arc::new(RandomIds), pace, Bounds::default()).await;
        let (waiting, _) = waiting(&stage, "{}").await;
        assert!(stage.store.tenant(&stage.cx).give_back_turn(&waiting.turn.id, 1).await.expect("given back"));
        let left = async {
            while stage.agents.tally().running > 0 {
                tokio::task::yield_now().await;
            }
        };
        happens("the worker to leave", left).await;
        let view = stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("the turn");
        assert_eq!(states(&view, StepKind::Question), [StepState::Intent], "it is another's to end");
    })
    .await;
}

#[tokio::test]
async fn nobody_answers_a_question_whose_turn_is_to_stop_or_held_by_nobody() {
    each_database(|store| async move {
        for stops in [true, false] {
            // The worker hears of nothing by itself.
            let deaf = Pace { poll: Duration::from_secs(3600), ..pace() };
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), deaf, Bounds::default()).await;
            let (waiting, id) = waiting(&stage, "{}").await;
            if stops {
                let mut tx = stage.store.tenant(&stage.cx).write().await.expect("a transaction");
                turns::request_cancel(&mut tx, &waiting.turn.id).await.expect("asked");
                tx.commit().await.expect("written");
            } else {
                stage.store.system().end_turn_leases().await.expect("ended");
            }
            let other = stage.beside(often(), Bounds { at_once: 0, ..Bounds::default() });
            let late = other.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect_err("into nothing");
            refused(&late, "question_withdrawn");
            let open = other.agents.open_questions(&stage.cx, Which::default(), &PageRequest::default()).await;
            assert!(open.expect("a list").items.iter().all(|open| open.id != id), "{stops}");
            let mut tx = stage.store.tenant(&stage.cx).write().await.expect("a transaction");
            assert!(!questions::hold_running(&mut tx, &waiting.turn.id).await.expect("looked"), "{stops}");
            assert!(questions::kept_open(&mut tx, &waiting.turn.id).await.expect("looked").is_empty(), "{stops}");
            drop(tx);
            stage.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_waits_for_a_person_has_no_place_and_there_is_an_end_to_such_turns() {
    each_database(|store| async move {
        let bounds = Bounds { at_once: 1, open_calls: 1, ..Bounds::default() };
        let stage = set(store, often(), bounds).await;
        stage.model.follow(phones);
        let first = stage.ask(&stage.conversation(spec()).await, "phone them").await;
        let id = asked(&first);
        let conversation = stage.conversation(spec()).await;
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "me too")).await.expect("a turn");
        let second = ended(&stage, &turn.id).await;
        assert_eq!(second.turn.state, TurnState::Completed);
        assert_eq!(done(&second)[0].1, "too many conversations wait for people");
        stage.agents.answer(&stage.cx, &id, Action::Accept, many(1)).await.expect("answered");
        assert_eq!(ended(&stage, &first.turn.id).await.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn a_newer_message_and_a_cancel_end_the_call_and_withdraw_its_question() {
    each_database(|store| async move {
        for on_message in [None, Some(OnMessage::Reject), Some(OnMessage::Queue), Some(OnMessage::Interrupt)] {
            let stage = set(store.clone(), often(), Bounds::default()).await;
            let spec = AgentSpec { on_message: on_message.unwrap_or_default(), ..spec() };
            let conversation = stage.conversation(spec).await;
            stage.model.play([Line::Call(vec![("a", "phone", "{}")]), Line::Say("Never mind.")]);
            let waiting = stage.ask(&conversation, "phone them").await;
            let id = asked(&waiting);
            if on_message.is_some() {
                let new: NewTurn = Stage::asks(&conversation, "forget it");
                let newer = stage.agents.create_turn(&stage.cx, new).await.expect("a turn");
                assert_eq!(answer(&ended(&stage, &newer.id).await), "Never mind.");
            } else {
                stage.agents.cancel(&stage.cx, &waiting.turn.id).await.expect("cancelled");
            }
            let view = ended(&stage, &waiting.turn.id).await;
            assert_eq!(view.turn.state, TurnState::Cancelled, "{on_message:?}");
            assert_eq!(states(&view, StepKind::Question), [StepState::Failed]);
            assert_eq!(states(&view, StepKind::ToolExecution), [StepState::Unknown], "who knows what it did");
            let late =
                stage.agents.answer(&stage.cx, &id, Action::Accept, many(1)).await.expect_err("its turn has ended");
            refused(&late, "question_withdrawn");
            stage.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_shield_stops_an_open_call_asks_nobody() {
    each_database(|store| async move {
        let stage = set(store, often(), Bounds::default()).await;
        let shields = vec!["guard".to_owned()];
        for (words, told) in [
            (r#"{"words":1}"#, "a shield withheld it, and nobody was asked"),
            (r#"{"words":2}"#, "a shield withheld it, and nobody was asked"),
            (r#"{"rounds":11}"#, "it asked more than 10 times in one call"),
        ] {
            let conversation = stage.conversation(AgentSpec { shields: shields.clone(), ..spec() }).await;
            stage.model.play([Line::Call(vec![("a", "phone", words)]), Line::Say("So be it.")]);
            let mut view = stage.ask(&conversation, "phone them").await;
            while view.turn.state == TurnState::AwaitingInput {
                let id = view.questions.first().map(|asked| asked.question_id.clone());
                if let Some(id) = id {
                    stage.agents.answer(&stage.cx, &id, Action::Decline, None).await.expect("answered");
                }
                view = stage.settled(&view.turn.id).await;
            }
            let said = &done(&view)[0].1;
            assert!(said.ends_with(told) && answer(&view) == "So be it.", "{said}");
        }
        let conversation = stage.conversation(AgentSpec { shields, ..spec() }).await;
        stage.model.play([Line::Call(vec![("a", "phone", r#"{"words":3}"#)])]);
        assert_eq!(stage.ask(&conversation, "phone them").await.turn.state, TurnState::Failed);
    })
    .await;
}

#[tokio::test]
async fn a_question_that_its_call_does_not_wait_for_is_withdrawn() {
    each_database(|store| async move {
        let stage = set(store, often(), Bounds::default()).await;
        let (waiting, id) = waiting(&stage, r#"{"gate":"hang_up"}"#).await;
        stage.tools.open("hang_up", "now");
        let view = ended(&stage, &waiting.turn.id).await;
        assert_eq!((view.turn.state, done(&view)[0].1.as_str()), (TurnState::Completed, "hung up"));
        assert_eq!(states(&view, StepKind::Question), [StepState::Failed]);
        let late = stage.agents.answer(&stage.cx, &id, Action::Cancel, None).await.expect_err("it goes on");
        refused(&late, "question_withdrawn");
    })
    .await;
}

#[tokio::test]
async fn calls_beside_each_other_ask_side_by_side_and_leave_their_places() {
    each_database(|store| async move {
        let stage = set(store, often(), Bounds { calls_beside: 1, ..Bounds::default() }).await;
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "dial", "{}"), ("b", "dial", "{}")])]);
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "dial")).await.expect("a turn");
        let both = async {
            loop {
                let view = stage.settled(&turn.id).await;
                if view.questions.len() == 2 {
                    return view.questions;
                }
                tokio::task::yield_now().await;
            }
        };
        let both = happens("two questions", both).await;
        // The second call has the one place beside others no more.
        let gates = stage.conversation(AgentSpec { toolgroups: vec!["gates".into()], ..AgentSpec::new("m") }).await;
        let meets = vec![("c", "meet", "{}"), ("d", "meet", "{}")];
        stage.model.play([Line::Call(meets), Line::Say("Met.")]);
        assert_eq!(answer(&stage.ask(&gates, "meet").await), "Met.");
        stage.model.play([Line::Say("Both.")]);
        for question in both.iter().rev() {
            let n = many(if question.call_id == "a" { 1 } else { 2 });
            stage.agents.answer(&stage.cx, &question.question_id, Action::Accept, n).await.expect("answered");
        }
        let view = ended(&stage, &turn.id).await;
        let said = view.steps.iter().filter_map(|step| match &step.output {
            Some(StepOutput::ToolExecution { call, result }) => Some((call.id.as_str(), result.content.clone())),
            _ => None,
        });
        let said: Vec<_> = said.collect();
        let n = |n| format!(r#"Accept {{"n":{n},"late":false}}"#);
        assert_eq!(said, [("a", n(1)), ("b", n(2))]);
    })
    .await;
}

/// Phones (`phone`) or dials, then says so.
fn phones(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("Phoned."),
        _ => Line::Call(vec![("a", "phone", "{}")]),
    }
}

fn dials(prompt: &[Message]) -> Line {
    match phones(prompt) {
        Line::Call(_) => Line::Call(vec![("a", "dial", "{}")]),
        said => said,
    }
}

/// A turn whose worker is lost at the `nth` time it comes to `point`; false when it ended before that.
async fn open_question_survives(store: &Store, repeats: bool, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(if repeats { dials } else { phones });
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(spec()).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "phone them")).await.expect("a turn");
    let mut lost = is_lost(&doomed, &turn.id, &reached).await;
    let view = stage.agents.load_turn(&stage.cx, &turn.id).await.expect("the turn");
    let first = view.questions.first().map(|asked| asked.question_id.clone());
    if let (false, Some(id)) = (lost, &first) {
        // Lost behind the answer, or not at all.
        doomed.agents.answer(&stage.cx, id, Action::Accept, many(3)).await.expect("answered");
        lost = tokio::select! {
            () = reached.notified() => true,
            _ = ended(&doomed, &turn.id) => false,
        };
    } else if let Some(id) = &first {
        // Another has the turn, sooner or later: nobody answers into nothing.
        stage.agents.recover().await.expect("another process");
        let closed = async {
            while stage.agents.question(&stage.cx, id).await.expect("it").state == QuestionState::Open {
                tokio::task::yield_now().await;
            }
        };
        happens("the question to be closed", closed).await;
        let late = stage.agents.answer(&stage.cx, id, Action::Accept, many(9)).await.expect_err("its worker is lost");
        refused(&late, "question_withdrawn");
    }
    stage.agents.recover().await.expect("another process");
    let again = async {
        loop {
            let view = stage.settled(&turn.id).await;
            match view.questions.first() {
                _ if view.turn.state.is_terminal() => return view,
                Some(asked) => {
                    drop(stage.agents.answer(&stage.cx, &asked.question_id, Action::Accept, many(3)).await);
                }
                None => tokio::task::yield_now().await,
            }
        }
    };
    let view = happens("the turn to end", again).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Phoned."), "{what}");
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {what}");
    match states(&view, StepKind::ToolExecution)[..] {
        [StepState::Done] => assert_eq!(done(&view)[0].1, r#"Accept {"n":3,"late":false}"#, "{what}"),
        [StepState::Unknown] if !repeats => {}
        _ => panic!("{what}"),
    }
    assert!(repeats || calls(&stage) <= 1, "{what}");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    lost
}

#[tokio::test]
async fn wherever_its_worker_dies_a_question_of_an_open_call_is_closed_and_its_call_unknown_or_made_again() {
    each_database(|store| async move {
        for (repeats, points) in [
            (false, &[Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit][..]),
            (true, &[Point::AfterIntent, Point::AfterCommit]),
        ] {
            for point in points.iter().copied() {
                let mut nth = 1;
                while Box::pin(open_question_survives(&store, repeats, point, nth)).await {
                    nth += 1;
                }
                assert!(nth > 2, "{point:?} is come to in every step");
            }
        }
    })
    .await;
}
