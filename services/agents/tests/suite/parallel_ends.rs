//! Calls side by side and what ends them: a shield, a failure, a hand-over, a cancel, the turn's time, a lost worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use frontdesk_agents::{Bounds, Fault, Pace, Point, TurnView};
use frontdesk_api::{
    agent::{AgentSpec, Limits},
    chat::{Message, Role},
    id::RandomIds,
    turn::{StepKind, StepOutput, StepState, TurnState},
};
use frontdesk_store::{
    Store,
    testing::{each_database, turns_of},
};

use crate::{
    lost::{at, is_lost, short},
    parallel::{
        ABC, ask_both, asks, at_gates, begin, begun, come, one_and_two, outputs, read, same_from_everywhere, seen,
        shop, states, steps, until, with_gates,
    },
    stage::{Line, Stage, answer, happens, pace},
};

#[tokio::test]
async fn what_has_come_before_a_turn_is_stopped_is_kept_and_nothing_runs_on() {
    each_database(|store| async move {
        let limits = Limits { timeout_s: 4, ..Limits::default() };
        for (spec, shown) in [
            (with_gates(), "known"),
            (AgentSpec { limits, ..with_gates() }, "known"),
            // What no shield has seen is read by no model.
            (AgentSpec { shields: vec!["guard".into()], ..with_gates() }, "was not looked at"),
        ] {
            let stage = Stage::set(store.clone()).await;
            let by_time = spec.limits.timeout_s == 4;
            let conversation = stage.conversation(spec).await;
            stage.model.play([at_gates("hold", &ABC)]);
            let turn = begin(&stage, &conversation).await;
            stage.tools.at(3).await;
            come(&stage, "c", "known").await;
            if !by_time {
                stage.agents.cancel(&stage.cx, &turn).await.expect("asked to stop");
            }
            let view = stage.settled(&turn).await;
            assert_eq!(stage.tools.inside.load(Ordering::SeqCst), 0, "nothing runs when the end is told");
            let want = if by_time { TurnState::Incomplete } else { TurnState::Cancelled };
            assert_eq!(view.turn.state, want);
            assert_eq!(states(&stage, &turn).await, [StepState::Unknown, StepState::Unknown, StepState::Done]);
            let told = outputs(&view);
            assert!(told.len() == 3 && told[0].contains("cut off") && told[1].contains("cut off"), "{told:?}");
            assert!(told[2].contains(shown), "{told:?}");
            // The next turn's model reads them in that order.
            stage.model.play([Line::Say("I look.")]);
            stage.ask(&conversation, "well?").await;
            assert_eq!(read(&stage), told);
        }
    })
    .await;
}

#[tokio::test]
async fn a_result_that_a_shield_stops_ends_the_turn_once_nothing_runs() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec { shields: vec!["guard".into()], ..with_gates() };
        let conversation = stage.conversation(spec).await;
        stage.model.play([at_gates("hold", &ABC)]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(3).await;
        come(&stage, "b", "poison").await;
        stage.tools.open("a", "fine");
        until(&stage, &turn, "a", StepState::Done).await;
        stage.tools.open("c", "card 4111");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I cannot help with that."));
        let outputs = outputs(&view);
        assert!(outputs[0] == "fine" && outputs[1] == "card [card]" && outputs[2].contains("withheld"), "{outputs:?}");
        assert_eq!(stage.model.asked().len(), 1, "the model reads nothing of it");
        // The stop is the last.
        assert!(matches!(view.steps.last().map(|s| s.kind), Some(StepKind::ShieldCall)));
    })
    .await;
}

/// The end is written with the call that it came of: whoever takes the turn up comes to it again.
#[tokio::test]
async fn a_shields_stop_outlives_its_worker() {
    each_database(|store| async move {
        for (words, said) in [("poison", "I cannot help with that."), ("lawyer", "A colleague will write to you.")] {
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
            let spec = AgentSpec { shields: vec!["guard".into()], ..with_gates() };
            let conversation = stage.conversation(spec).await;
            stage.model.play([at_gates("hold", &ABC)]);
            let turn = begin(&stage, &conversation).await;
            stage.tools.at(3).await;
            come(&stage, "b", words).await;
            stage.tools.open("a", "fine");
            until(&stage, &turn, "a", StepState::Done).await;
            // Long enough that the stop would be written if it were written alone.
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            assert_eq!(states(&stage, &turn).await, [StepState::Done, StepState::Intent, StepState::Intent]);
            stage.agents.shutdown(Duration::ZERO).await;
            let other = stage.beside(short(), Bounds::default());
            other.model.play([Line::Say("The model was asked.")]);
            other.agents.recover().await.expect("another process");
            stage.tools.at(5).await;
            stage.tools.open("b", words);
            stage.tools.open("c", "fine too");
            let view = other.settled(&turn).await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, said), "{view:?}");
            assert_eq!(view.turn.hand_off.is_some(), words == "lawyer");
            assert_eq!(stage.tools.keys("a").len(), 1, "what was written is not made again");
            same_from_everywhere(&other, &turn).await;
            other.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_that_was_decided_in_time_counts_though_a_call_beside_it_hangs() {
    each_database(|store| async move {
        for (words, said) in [("poison", "I cannot help with that."), ("lawyer", "A colleague will write to you.")] {
            let stage = Stage::set(store.clone()).await;
            let limits = Limits { timeout_s: 5, ..Limits::default() };
            let conversation =
                stage.conversation(AgentSpec { shields: vec!["guard".into()], limits, ..with_gates() }).await;
            stage.model.play([at_gates("hold", &ABC[..2])]);
            let turn = begin(&stage, &conversation).await;
            stage.tools.at(2).await;
            come(&stage, "a", words).await;
            let view = stage.settled(&turn).await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, said), "{view:?}");
            assert_eq!(view.turn.hand_off.is_some(), words == "lawyer");
            assert_eq!(states(&stage, &turn).await, [StepState::Done, StepState::Unknown]);
            let cut = view.steps.iter().find_map(|step| match &step.output {
                Some(StepOutput::Failed { error }) => Some(error.code.clone()),
                _ => None,
            });
            assert_eq!(cut.as_deref(), Some("cut_off"));
            assert_eq!(stage.tools.inside.load(Ordering::SeqCst), 0, "nothing runs on");
        }
    })
    .await;
}

/// How one of two calls ends its turn.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// The agent hands over to people.
    HandOver,
    /// A shield hands over.
    Lawyer,
    Block,
    Failure,
}

impl Way {
    fn words(self) -> &'static str {
        match self {
            Self::HandOver => "ok",
            Self::Lawyer => "lawyer",
            Self::Block => "poison",
            Self::Failure => "!down",
        }
    }
}

/// What an agent does when it was asked: it waits at its gate, then hands over.
fn hands_over(prompt: &[Message]) -> Line {
    match (seen(prompt).0.as_str(), seen(prompt).1) {
        ("one", false) => at_gates("hold", &ABC[..1]),
        ("two", false) => at_gates("hold", &ABC[1..2]),
        _ => Line::Call(vec![("h", "hand_off", r#"{"reason":"customer_request"}"#)]),
    }
}

/// A turn whose two calls end so, the second one first where `late`.
async fn ends(store: &Store, ways: [Way; 2], late: bool) -> TurnView {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), pace(), Bounds::default()).await;
    stage.model.follow(hands_over);
    one_and_two(&stage).await;
    let spec = AgentSpec { shields: vec!["guard".into()], instructions: "both".into(), ..with_gates() };
    let conversation = stage.conversation(asks(["one", "two"], spec)).await;
    let call = |way, hold, ask| if way == Way::HandOver { ask } else { hold };
    let go = r#"{"message":"go"}"#;
    stage.model.play([Line::Call(vec![
        call(ways[0], ("x", "hold", ABC[0].1), ("x", "ask_one", go)),
        call(ways[1], ("y", "hold", ABC[1].1), ("y", "ask_two", go)),
    ])]);
    let turn = begin(&stage, &conversation).await;
    stage.tools.at(2).await;
    for n in if late { [1, 0] } else { [0, 1] } {
        come(&stage, ABC[n].0, ways[n].words()).await;
        if ways[n] == Way::HandOver {
            let asked = steps(&stage, &turn).await[n].1.input.clone().expect("a call")["turn"].clone();
            stage.settled(asked.as_str().expect("a turn")).await;
        }
    }
    let view = stage.settled(&turn).await;
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {:?}", view.steps);
    assert_eq!(outputs(&view).len(), 2, "{:?}", view.items);
    view
}

#[tokio::test]
async fn of_several_ends_a_hand_over_is_before_a_block_and_a_block_before_a_failure() {
    each_database(|store| async move {
        for (first, second, counts) in [
            (Way::HandOver, Way::Block, 0),
            (Way::HandOver, Way::Failure, 0),
            (Way::HandOver, Way::HandOver, 0),
            (Way::HandOver, Way::Lawyer, 0),
            (Way::Lawyer, Way::HandOver, 0),
            (Way::Block, Way::HandOver, 1),
            (Way::Failure, Way::HandOver, 1),
            (Way::Failure, Way::Lawyer, 1),
            (Way::Block, Way::Failure, 0),
            (Way::Failure, Way::Block, 1),
            (Way::Failure, Way::Failure, 0),
        ] {
            for late in [false, true] {
                let ways = [first, second];
                let view = ends(&store, ways, late).await;
                let what = format!("{ways:?} {late}: {view:?}");
                let (winner, loser) = (ways[counts], ways[1 - counts]);
                match winner {
                    Way::HandOver => assert_eq!(answer(&view), "A colleague takes over.", "{what}"),
                    Way::Lawyer => assert_eq!(answer(&view), "A colleague will write to you.", "{what}"),
                    Way::Block => assert_eq!(answer(&view), "I cannot help with that.", "{what}"),
                    Way::Failure => assert_eq!(view.turn.error.as_ref().expect("why").message, "down", "{what}"),
                }
                let handed = matches!(winner, Way::HandOver | Way::Lawyer);
                assert_eq!(view.turn.hand_off.is_some(), handed, "{what}");
                let want = if winner == Way::Failure { TurnState::Failed } else { TurnState::Completed };
                assert_eq!(view.turn.state, want, "{what}");
                // What became of the other one is in the rows.
                let mut calls = view.steps.iter().filter(|s| s.kind == StepKind::ToolExecution);
                let call = calls.nth(1 - counts).expect("its step");
                match (loser, &call.output) {
                    (Way::Failure, Some(StepOutput::Failed { error })) => assert_eq!(error.message, "down", "{what}"),
                    (Way::HandOver, Some(StepOutput::ToolExecution { result, .. })) => {
                        assert!(result.content.contains("the hand-over did not happen"), "{what}");
                    }
                    (Way::Block | Way::Lawyer, Some(StepOutput::ToolExecution { result, .. })) => {
                        assert!(result.content.contains("withheld"), "{what}");
                    }
                    _ => panic!("{what}"),
                }
            }
        }
    })
    .await;
}

/// Counts how often the work of a step was done.
fn counted() -> (Fault, Arc<AtomicUsize>) {
    let done = Arc::new(AtomicUsize::new(0));
    let counts = done.clone();
    let fault: Fault = Arc::new(move |point| {
        counts.fetch_add(usize::from(point == Point::AfterEffect), Ordering::SeqCst);
        Box::pin(async {})
    });
    (fault, done)
}

#[tokio::test]
async fn a_hand_over_that_a_cancel_came_before_is_told_as_none() {
    each_database(|store| async move {
        let (fault, worked) = counted();
        let stage = Stage::set(store).await.failing(pace(), fault);
        stage.model.follow(hands_over);
        let conversation = shop(&stage, Limits::default()).await;
        stage.model.play([Line::Call(vec![("x", "ask_one", r#"{"message":"go"}"#), ("c", "hold", ABC[2].1)])]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        come(&stage, "a", "ok").await;
        // The answer, the agent's answer, its call, its second answer; then what it came to.
        let wait = async {
            while worked.load(Ordering::SeqCst) < 5 {
                tokio::task::yield_now().await;
            }
        };
        happens("the agent's hand-over", wait).await;
        stage.agents.cancel(&stage.cx, &turn).await.expect("asked to stop");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, &view.turn.hand_off), (TurnState::Cancelled, &None));
        assert_eq!(states(&stage, &turn).await, [StepState::Done, StepState::Unknown]);
        let outputs = outputs(&view);
        assert!(outputs[0].contains("the hand-over did not happen") && outputs[1].contains("cut off"), "{outputs:?}");
    })
    .await;
}

#[tokio::test]
async fn a_call_that_ends_its_task_takes_those_beside_it_along_and_all_are_made_again() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        stage.agents.recover().await.expect("it works");
        let conversation = stage.conversation(with_gates()).await;
        stage.model.play([at_gates("hold", &ABC), Line::Say("Done.")]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(3).await;
        stage.tools.open("b", "!!");
        let gone = async {
            while stage.tools.inside.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        };
        // Before its lease is over and it is taken up again, or the gate would still be open.
        happens("none to run", gone).await;
        for (id, words) in [("a", "first"), ("b", "second"), ("c", "third")] {
            stage.tools.open(id, words);
        }
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, outputs(&view)), (TurnState::Completed, vec!["first", "second", "third"]));
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_gives_its_turn_back_or_lost_it_writes_nothing_of_what_came() {
    each_database(|store| async move {
        for is_lost in [true, false] {
            // One that loses it never renews.
            let never = Duration::from_secs(3600);
            let pace = if is_lost { Pace { renew: never, poll: never, ..short() } } else { short() };
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), pace, Bounds::default()).await;
            let conversation = stage.conversation(with_gates()).await;
            stage.model.play([at_gates("hold", &ABC[..2])]);
            let turn = begin(&stage, &conversation).await;
            stage.tools.at(2).await;
            if !is_lost {
                come(&stage, "b", "second").await;
                stage.agents.shutdown(Duration::ZERO).await;
                assert_eq!(stage.tools.inside.load(Ordering::SeqCst), 0);
                assert_eq!(states(&stage, &turn).await, [StepState::Intent; 2]);
            }
            let other = stage.beside(short(), Bounds::default());
            other.model.play([Line::Say("Done.")]);
            other.agents.recover().await.expect("another process");
            stage.tools.at(if is_lost { 4 } else { 3 }).await;
            stage.tools.open("b", "second");
            stage.tools.open("a", "first");
            let view = other.settled(&turn).await;
            assert_eq!((view.turn.state, outputs(&view)), (TurnState::Completed, vec!["first", "second"]));
            same_from_everywhere(&other, &turn).await;
            let attempts: Vec<i64> = steps(&stage, &turn).await.into_iter().map(|(_, s)| s.attempt).collect();
            assert_eq!(attempts, [2, 2]);
            for gate in ["a", "b"] {
                let [once, again] = &stage.tools.keys(gate)[..] else { panic!("made again once") };
                assert_eq!(once, again, "under its key");
            }
            other.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_after_a_takeover_leaves_the_count_of_attempts_as_it_is() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let conversation = stage.conversation(with_gates()).await;
        stage.model.play([at_gates("hold", &ABC[..2])]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        stage.agents.shutdown(Duration::ZERO).await;
        let other = stage.beside(short(), Bounds::default());
        other.agents.recover().await.expect("another process");
        stage.tools.at(4).await;
        other.agents.cancel(&stage.cx, &turn).await.expect("asked to stop");
        assert_eq!(other.settled(&turn).await.turn.state, TurnState::Cancelled);
        let steps = steps(&stage, &turn).await;
        let stand: Vec<_> = steps.iter().map(|(_, s)| (s.step.state, s.attempt)).collect();
        assert_eq!(stand, [(StepState::Unknown, 2); 2]);
        other.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn two_agents_whose_asking_turn_is_taken_over_are_asked_once_within_what_they_had() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        stage.model.follow(|prompt| match (seen(prompt).0.as_str(), seen(prompt).1) {
            ("shop", false) => ask_both(),
            ("shop", true) => Line::Say("Both did."),
            ("one", false) => at_gates("hold", &ABC[..1]),
            ("two", false) => at_gates("hold", &ABC[1..2]),
            _ => Line::Say("I did."),
        });
        // With the same model, and no fault.
        let doomed = stage.failing(short(), counted().0);
        let conversation = shop(&stage, Limits { max_steps: 10, ..Limits::default() }).await;
        let turn = begin(&doomed, &conversation).await;
        stage.tools.at(2).await;
        doomed.agents.shutdown(Duration::ZERO).await;
        stage.agents.recover().await.expect("another process");
        stage.tools.at(4).await;
        stage.tools.open("b", "ok");
        stage.tools.open("a", "ok");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Both did."));
        assert_eq!(outputs(&view), ["I did.", "I did."]);
        for name in ["one", "two"] {
            let agent = stage.agents.find_agent_named(&stage.cx, name).await.expect("rows").expect("an agent");
            assert_eq!(turns_of(&stage.store, &stage.cx, &agent.id).await, 1, "asked once");
        }
        assert_eq!(view.turn.usage.input_tokens, 60, "of all six calls");
        assert_eq!(stage.model.asked().len(), 6);
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// One agent was begun before the worker was lost, with all that was left; the other is asked when it has ended.
#[tokio::test]
async fn an_agent_that_was_begun_before_a_takeover_lends_no_limit_twice() {
    each_database(|store| async move {
        let bounds = Bounds { calls_at_once: 2, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), short(), bounds).await;
        let rule = |prompt: &[Message]| match (seen(prompt).0.as_str(), seen(prompt).1) {
            ("shop", false) => Line::Call(vec![
                ("r", "hold", ABC[0].1),
                ("x", "ask_one", r#"{"message":"go"}"#),
                ("y", "ask_two", r#"{"message":"go"}"#),
            ]),
            ("shop", true) => Line::Say("Both did."),
            ("one", false) => at_gates("hold", &ABC[1..2]),
            // It never comes to an end of itself.
            _ => Line::Call(vec![("l", "look", "{}")]),
        };
        stage.model.follow(rule);
        let conversation = shop(&stage, Limits { max_steps: 14, ..Limits::default() }).await;
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        stage.tools.open("a", "read");
        until(&stage, &turn, "r", StepState::Done).await;
        stage.agents.shutdown(Duration::ZERO).await;
        // It may run more beside each other.
        let other = stage.beside(short(), Bounds::default());
        other.model.follow(rule);
        other.agents.recover().await.expect("another process");
        stage.tools.at(3).await;
        assert_eq!(begun(&stage, &turn).await, 2, "the other one waits for the one that was begun");
        stage.tools.open("b", "ok");
        other.settled(&turn).await;
        let calls = stage.model.asked().len() + other.model.asked().len();
        assert!(calls <= 14, "{calls} model calls, where the turn and all it asks may have 14");
        other.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// Books twice and looks beside it, pays, then says so.
fn shopper(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("Booked and paid."),
        _ => Line::Call(vec![
            ("a", "book", "1"),
            ("b", "look", "2"),
            ("c", "look", "3"),
            ("d", "look", "4"),
            ("e", "pay", "5"),
        ]),
    }
}

/// A turn whose worker is lost at the `nth` time it comes to `point`, and what its tools saw; whether it was lost.
async fn survives(store: &Store, rule: fn(&[Message]) -> Line, point: Point, nth: usize) -> (Stage, TurnView, bool) {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(rule);
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(with_gates()).await;
    let turn = begin(&doomed, &conversation).await;
    let lost = is_lost(&doomed, &turn, &reached).await;
    let before = stage.store.tenant(&stage.cx).events_after(&turn, None, 1000).await.expect("events");
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!(view.turn.state, TurnState::Completed, "{what}");
    assert_eq!(before, stage.events(&turn).await[..before.len()], "what was shown stays: {what}");
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {what}");
    assert_eq!(begun(&stage, &turn).await, outputs(&view).len(), "{what}");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    (stage, view, lost)
}

const POINTS: [Point; 4] = [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit];

#[tokio::test]
async fn wherever_its_worker_dies_calls_of_one_answer_take_effect_once() {
    each_database(|store| async move {
        for point in POINTS {
            let mut nth = 1;
            loop {
                let (stage, view, lost) = survives(&store, shopper, point, nth).await;
                let what = format!("{point:?} {nth}: {view:?}");
                let ledger = stage.tools.ledger.lock().expect("the ledger").clone();
                let effects = |name: &str| ledger.iter().filter(|(tool, _)| tool == name).count();
                assert_eq!(effects("book"), 1, "{what}");
                let outputs = outputs(&view);
                assert_eq!(outputs[..4], ["saw 1", "saw 2", "saw 3", "saw 4"], "{what}");
                match view.steps.iter().rfind(|s| s.kind == StepKind::ToolExecution).map(|s| s.state) {
                    Some(StepState::Done) => assert_eq!((effects("pay"), outputs[4]), (1, "saw 5"), "{what}"),
                    Some(StepState::Unknown) => assert!(effects("pay") <= 1, "{what}"),
                    _ => panic!("{what}"),
                }
                // At most the calls of one wave are made twice.
                let calls = stage.tools.calls.load(Ordering::SeqCst);
                assert!(if lost { (4..=8).contains(&calls) } else { calls == 5 }, "{calls} calls: {what}");
                if !lost {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 3, "{point:?} is come to in every step");
        }
    })
    .await;
}

/// Sets a register twice and reads it.
fn setter(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("It is set."),
        _ => Line::Call(vec![("a", "set", "1"), ("b", "set", "2"), ("c", "get", "3")]),
    }
}

#[tokio::test]
async fn wherever_its_worker_dies_what_is_written_twice_is_written_in_order() {
    each_database(|store| async move {
        for point in POINTS {
            let mut nth = 1;
            loop {
                let (stage, view, lost) = survives(&store, setter, point, nth).await;
                let written = stage.tools.register.lock().expect("the register").clone();
                let what = format!("{point:?} {nth}: {written:?}");
                assert!(written.is_sorted(), "the first is never written after the second: {what}");
                assert!((2..=3).contains(&written.len()), "{what}");
                assert_eq!(outputs(&view)[2], "2", "{what}");
                if !lost {
                    break;
                }
                nth += 1;
            }
            assert!(nth > 3, "{point:?} is come to in every step");
        }
    })
    .await;
}
