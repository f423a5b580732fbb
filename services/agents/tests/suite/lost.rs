//! Turns whose worker is lost: another goes on, and nothing is doubled, dropped or told twice.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use frontdesk_agents::{Bounds, Fault, Pace, Point};
use frontdesk_api::{
    Cx, Order, PageRequest,
    agent::{AgentSpec, Guideline, Limits, OnMessage},
    chat::{Message, Role, ToolSpec},
    cx::Customer,
    id::RandomIds,
    tools::ToolResult,
    turn::{EventBody, StepKind, StepOutput, StepState, TurnState},
};
use frontdesk_store::{Store, testing::each_database};
use futures::StreamExt as _;
use tokio::sync::Notify;

use crate::stage::{Line, Stage, answer, done, happens, pace, with_tools};

/// A lease that is soon over.
pub fn short() -> Pace {
    let (lease, renew) = (Duration::from_millis(300), Duration::from_millis(100));
    Pace { lease, renew, poll: Duration::from_millis(50), ..pace() }
}

/// Ends the work where it stands, as a death does: an open transaction is gone with it. Without a word on the console.
fn die() -> ! {
    std::panic::resume_unwind(Box::new("lost"))
}

/// Ends the work when it comes to `point` the `nth` time (from 1), and says so.
pub fn at(point: Point, nth: usize) -> (Fault, Arc<Notify>) {
    let (seen, reached) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let told = reached.clone();
    let fault: Fault = Arc::new(move |here| {
        let (seen, told) = (seen.clone(), told.clone());
        Box::pin(async move {
            if here == point && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth {
                told.notify_one();
                die();
            }
        })
    });
    (fault, reached)
}

/// Whether a turn's worker is lost where [`at`] says, and not ended before that.
pub async fn is_lost(doomed: &Stage, turn: &str, reached: &Notify) -> bool {
    tokio::select! {
        () = reached.notified() => true,
        _ = doomed.settled(turn) => false,
    }
}

/// Books and pays, then says so.
fn shopper(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("Booked and paid."),
        _ => Line::Call(vec![("a", "book", "{}"), ("b", "pay", "{}")]),
    }
}

/// A turn whose worker is lost at the `nth` time it comes to `point`; false when it ended before that.
async fn survives(store: &Store, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(shopper);
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(with_tools()).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "buy it")).await.expect("a turn");
    let lost = is_lost(&doomed, &turn.id, &reached).await;
    let before = stage.store.tenant(&stage.cx).events_after(&turn.id, None, 1000).await.expect("events");
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn.id).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Booked and paid."), "{what}");
    let after = stage.events(&turn.id).await;
    assert_eq!(before, after[..before.len()], "what was shown stays: {what}");

    let mut effects: HashMap<String, usize> = HashMap::new();
    for (tool, _) in stage.tools.ledger.lock().expect("the ledger").iter() {
        *effects.entry(tool.clone()).or_default() += 1;
    }
    assert_eq!(effects.get("book"), Some(&1), "booked once: {what}");
    let paid = effects.get("pay").copied().unwrap_or_default();
    let states: Vec<StepState> =
        view.steps.iter().filter(|s| s.kind == StepKind::ToolExecution).map(|s| s.state).collect();
    match states[..] {
        [StepState::Done, StepState::Done] => assert_eq!(paid, 1, "{what}"),
        [StepState::Done, StepState::Unknown] => assert!(paid <= 1, "{what}"),
        _ => panic!("{what}"),
    }
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {what}");
    assert_eq!(view.steps.iter().filter(|s| s.kind == StepKind::Inference).count(), 2, "{what}");
    assert_eq!(view.turn.usage.input_tokens, 20, "what model calls took counts once: {what}");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    lost
}

#[tokio::test]
async fn wherever_its_worker_dies_a_turn_goes_on_and_nothing_is_doubled() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit] {
            let mut nth = 1;
            while survives(&store, point, nth).await {
                nth += 1;
            }
            assert!(nth > 3, "{point:?} is come to in every step");
        }
    })
    .await;
}

/// Finds the second rule to hold, and answers.
fn ruler(prompt: &[Message]) -> Line {
    if prompt[0].joined().contains("\"holds\"") { Line::Say("{\"holds\":[2]}") } else { Line::Say("Sorry.") }
}

/// As [`survives`], of a turn whose guidelines a model matches first.
async fn matching_survives(store: &Store, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(ruler);
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let rules = ["refund", "delay", "praise", "anger"].map(|id| Guideline {
        id: id.into(),
        name: None,
        condition: format!("they speak of {id}"),
        action: format!("Do {id}."),
        priority: 0,
        excludes: vec![],
        enabled: true,
    });
    let conversation = stage.conversation(AgentSpec { guidelines: rules.into(), ..AgentSpec::new("m") }).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "it is late")).await.expect("a turn");
    let lost = is_lost(&doomed, &turn.id, &reached).await;
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn.id).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Sorry."), "{what}");
    let matched: Vec<_> = view
        .steps
        .iter()
        .filter_map(|step| match &step.output {
            Some(StepOutput::Guidelines { matched, error: None, .. }) => Some(matched.join(" ")),
            _ => None,
        })
        .collect();
    assert_eq!(matched, ["delay"], "matched once: {what}");
    assert_eq!(view.steps.len(), 2, "{what}");
    assert_eq!(view.turn.usage.input_tokens, 20, "what model calls took counts once: {what}");
    let read = stage.model.asked().pop().expect("a prompt")[0].1.clone();
    assert!(read.contains("Do delay.") && !read.contains("Do anger."), "{what}: {read}");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    lost
}

#[tokio::test]
async fn wherever_its_worker_dies_the_guidelines_are_matched_once() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit] {
            let mut nth = 1;
            while matching_survives(&store, point, nth).await {
                nth += 1;
            }
            assert!(nth > 2, "{point:?} is come to in every step");
        }
    })
    .await;
}

/// Asks for a refund, then says so.
fn refunder(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("Refunded."),
        _ => Line::Call(vec![("a", "refund", "{}"), ("b", "book", "{}")]),
    }
}

/// A turn that waits for a person, whose worker is lost at the `nth` time it comes to `point`, before or after that;
/// false when it ended first.
async fn approval_survives(store: &Store, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(refunder);
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(with_tools()).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "money back")).await.expect("a turn");
    let lost = is_lost(&doomed, &turn.id, &reached).await;
    stage.agents.recover().await.expect("another process");
    let waiting = stage.settled(&turn.id).await;
    assert_eq!(waiting.turn.state, TurnState::AwaitingInput, "{point:?} {nth}: {:?}", waiting.steps);
    assert!(!stage.tools.ledger.lock().expect("the ledger").iter().any(|(tool, _)| tool == "refund"), "not asked yet");
    let [asked] = &waiting.approvals[..] else { panic!("{point:?} {nth}: {:?}", waiting.approvals) };
    let who = if lost { &stage } else { &doomed };
    who.agents.decide(&stage.cx, &asked.approval_id, true, None).await.expect("approved");
    let view = stage.settled(&turn.id).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Refunded."), "{what}");
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {what}");
    assert_eq!(view.steps.iter().filter(|s| s.kind == StepKind::Approval).count(), 1, "asked once: {what}");
    let ledger = stage.tools.ledger.lock().expect("the ledger").clone();
    let effects = |name: &str| ledger.iter().filter(|(tool, _)| tool == name).count();
    assert_eq!(effects("book"), 1, "{what}");
    match view.steps.iter().filter(|s| s.kind == StepKind::ToolExecution).map(|s| s.state).collect::<Vec<_>>()[..] {
        [StepState::Done, StepState::Done] => assert_eq!(effects("refund"), 1, "{what}"),
        [StepState::Done, StepState::Unknown] => assert!(effects("refund") <= 1, "{what}"),
        _ => panic!("{what}"),
    }
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    // Whether it was lost at all.
    lost || tokio::time::timeout(Duration::ZERO, reached.notified()).await.is_ok()
}

#[tokio::test]
async fn wherever_its_worker_dies_an_approval_is_asked_once_and_done_once() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit] {
            let mut nth = 1;
            while Box::pin(approval_survives(&store, point, nth)).await {
                nth += 1;
            }
            assert!(nth > 3, "{point:?} is come to in every step");
        }
    })
    .await;
}

#[tokio::test]
async fn what_stands_behind_a_turn_begins_wherever_that_ends() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::BeforeCommit, Point::AfterCommit] {
            // Its last commits; of some points there are not so many.
            for nth in 5..=8 {
                let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
                let spec = AgentSpec { on_message: OnMessage::Queue, ..with_tools() };
                let conversation = stage.conversation(spec).await;
                stage.model.follow(shopper);
                let (fault, reached) = at(point, nth);
                let doomed = stage.failing(short(), fault);
                let ask = async |words| doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, words)).await;
                let first = ask("buy it").await.expect("a turn");
                let behind = ask("and again").await.expect("a turn behind it");
                tokio::select! {
                    () = reached.notified() => {}
                    _ = doomed.settled(&first.id) => {}
                }
                stage.agents.recover().await.expect("another process");
                for turn in [&first, &behind] {
                    let view = stage.settled(&turn.id).await;
                    assert_eq!(view.turn.state, TurnState::Completed, "{point:?} {nth}: {:?}", view.turn);
                }
                stage.agents.shutdown(Duration::ZERO).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_taken_over_stays_its_customers() {
    each_database(|store| async move {
        let mut stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let claims = serde_json::Map::from_iter([("email".to_owned(), "ada@example.org".into())]);
        let ada = Customer { sub: "ada".into(), issuer: Some("https://shop.example".into()), claims };
        stage.cx.customer = Some(ada.clone());
        stage.model.follow(shopper);
        let (fault, reached) = at(Point::AfterIntent, 1);
        let doomed = stage.failing(short(), fault);
        let conversation = stage.conversation(with_tools()).await;
        let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "buy it")).await.expect("a turn");
        reached.notified().await;
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        assert_eq!(answer(&view), "Booked and paid.", "{view:?}");
        let seen = stage.tools.customers.lock().expect("the customers").clone();
        assert_eq!(seen, [Some("ada".to_owned()), Some("ada".to_owned())]);
        let stored = stage.store.tenant(&stage.cx).load_turn(&turn.id).await.expect("the turn");
        assert_eq!(stored.request.customer, Some(ada));
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn half_a_text_is_void_and_followers_are_told_from_where() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Silence]);
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "hello")).await.expect("a turn");
        let mut events = stage.agents.events(&stage.cx, &turn.id, None).await.expect("events");
        let shown = loop {
            let event = happens("a text", events.next()).await.expect("a text").expect("an event");
            if matches!(event.body, EventBody::TextDelta { .. }) {
                break event.seq;
            }
        };
        stage.agents.shutdown(Duration::ZERO).await;
        let next = stage.beside(short(), Bounds::default());
        next.model.play([Line::Say("Hello there.")]);
        next.agents.recover().await.expect("another process");
        let view = next.settled(&turn.id).await;
        assert_eq!(answer(&view), "Hello there.");
        let all = next.events(&turn.id).await;
        let (at, from) = all
            .iter()
            .find_map(|e| match &e.body {
                EventBody::Restarted { from_seq, .. } => Some((e.seq, *from_seq)),
                _ => None,
            })
            .expect("a word that it began anew");
        assert!(from <= shown && shown < at, "{from} <= {shown} < {at}");
        let words: String = all
            .iter()
            .filter(|e| !(from..=at).contains(&e.seq))
            .filter_map(|e| match &e.body {
                EventBody::TextDelta { delta, .. } => Some(delta.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(words, "Hello there.", "with what is void cut out, the text reads once");
        assert!(matches!(&all[usize::try_from(from).expect("a place") - 1].body, EventBody::StepStarted { .. }));
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn results_of_client_tools_outlive_the_worker_that_was_given_them() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let tool = |name: &str| ToolSpec {
            name: name.into(),
            description: None,
            parameters: None,
            strict: None,
            cache_control: None,
        };
        let spec = AgentSpec { client_tools: vec![tool("weather"), tool("tide")], ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        stage.model.play([Line::Call(vec![("a", "weather", "{}"), ("b", "tide", "{}")])]);
        let turn = stage.ask(&conversation, "go to sea?").await.turn;
        assert_eq!(turn.state, TurnState::AwaitingInput);
        // One that takes the results and dies before it does anything.
        let doomed = stage.failing(short(), Arc::new(|_| Box::pin(async { die() })));
        let result = |words: &str| ToolResult { content: words.into(), is_error: false, details: None };
        let results = vec![("b".to_owned(), result("high")), ("a".to_owned(), result("sunny"))];
        doomed.agents.resume(&stage.cx, &turn.id, results).await.expect("taken");
        let next = stage.beside(short(), Bounds::default());
        next.model.play([Line::Say("Go.")]);
        next.agents.recover().await.expect("another process");
        let view = next.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Go."));
        let results: Vec<String> = done(&view).into_iter().map(|(_, words, _)| words).collect();
        assert_eq!(results, ["sunny", "high"]);
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_comes_after_a_clients_result_keeps_it() {
    each_database(|store| async move {
        for (shields, told) in [(vec![], "sunny"), (vec!["guard".to_owned()], "was not looked at")] {
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
            let tool = ToolSpec {
                name: "weather".into(),
                description: None,
                parameters: None,
                strict: None,
                cache_control: None,
            };
            let spec = AgentSpec { client_tools: vec![tool], shields, ..AgentSpec::new("m") };
            let conversation = stage.conversation(spec).await;
            stage.model.play([Line::Call(vec![("a", "weather", "{}")])]);
            let turn = stage.ask(&conversation, "go to sea?").await.turn;
            // One that takes the result and dies before it does anything; nobody goes on with the turn.
            let doomed = stage.failing(short(), Arc::new(|_| Box::pin(async { die() })));
            let result = ToolResult { content: "sunny".into(), is_error: false, details: None };
            doomed.agents.resume(&stage.cx, &turn.id, vec![("a".to_owned(), result)]).await.expect("taken");
            // Once its lease is over.
            let cancelled = async {
                while stage.agents.cancel(&stage.cx, &turn.id).await.expect("asked").state != TurnState::Cancelled {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            happens("the lease to be over", cancelled).await;
            let view = stage.settled(&turn.id).await;
            assert_eq!(view.steps.last().map(|s| s.state), Some(StepState::Done), "{:?}", view.steps);
            stage.model.play([Line::Say("Yes.")]);
            stage.ask(&conversation, "well?").await;
            let prompt = stage.model.asked().pop().expect("a prompt");
            let results: Vec<&str> = prompt.iter().filter(|m| m.0 == Role::Tool).map(|m| m.1.as_str()).collect();
            assert!(results.len() == 1 && results[0].contains(told), "{results:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_ends_its_workers_is_given_up_where_people_see_it() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.follow(|_| Line::Call(vec![("a", "pay", "{}")]));
        let (fault, reached) = at(Point::AfterEffect, 3);
        let doomed = stage.failing(short(), fault);
        let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "pay")).await.expect("a turn");
        reached.notified().await;
        let next = stage.beside(short(), Bounds { attempts: 1, ..Bounds::default() });
        next.agents.recover().await.expect("another process");
        let view = next.settled(&turn.id).await;
        let code = view.turn.error.as_ref().map(|e| e.code.as_str());
        assert_eq!((view.turn.state, code), (TurnState::DeadLetter, Some("attempts_exhausted")));
        assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {:?}", view.steps);
        assert_eq!(
            view.steps.last().map(|s| s.state),
            Some(StepState::Failed),
            "a model call does nothing: {:?}",
            view.steps
        );
        let page = PageRequest { after: None, limit: 10, order: Order::Desc };
        let given_up = next.agents.dead_letters(&stage.cx, &page).await.expect("a list").items;
        assert_eq!(given_up.iter().map(|turn| &turn.id).collect::<Vec<_>>(), [&turn.id]);
        let stranger = next.agents.dead_letters(&Cx::internal("tenant_b", "r"), &page).await.expect("a list").items;
        assert!(stranger.is_empty());
        // Counted when it is next looked.
        let wait = async {
            while next.agents.tally().standing.is_none_or(|standing| standing.dead_letter != 1) {
                tokio::task::yield_now().await;
            }
        };
        happens("the dead letter to be counted", wait).await;
        next.model.play([Line::Say("Hello.")]);
        assert_eq!(answer(&next.ask(&conversation, "still there?").await), "Hello.", "the conversation goes on");
        // Asked again by an operator: once, with the same words, behind what was done.
        next.model.play([Line::Say("Paid.")]);
        let again = next.agents.retry(&stage.cx, &turn.id).await.expect("asked again");
        let view = next.settled(&again.id).await;
        assert_eq!(
            (view.turn.state, answer(&view), &view.turn.session_id),
            (TurnState::Completed, "Paid.", &turn.session_id)
        );
        let prompt = next.model.asked().pop().expect("a prompt");
        let asked: Vec<&str> = prompt.iter().filter(|m| m.0 == Role::User).map(|m| m.1.as_str()).collect();
        assert_eq!(asked, ["pay", "still there?", "pay"]);
        assert!(prompt.iter().any(|m| m.0 == Role::Tool), "what the old turn did is told: {prompt:?}");
        assert_eq!(next.agents.retry(&stage.cx, &turn.id).await.expect("the same").id, again.id);
        assert!(next.agents.dead_letters(&stage.cx, &page).await.expect("a list").items.is_empty());
        let old = next.agents.load_turn(&stage.cx, &turn.id).await.expect("still there").turn;
        assert_eq!((old.state, old.error.map(|e| e.code)), (TurnState::Failed, Some("attempts_exhausted".into())));
        for (what, code) in [
            (next.agents.dismiss(&stage.cx, &turn.id).await, "turn_not_given_up"),
            (next.agents.retry(&stage.cx, &again.id).await, "turn_not_given_up"),
        ] {
            assert_eq!(what.expect_err("refused").code.as_deref(), Some(code));
        }
        let stranger = Cx::internal("tenant_b", "r");
        assert!(next.agents.retry(&stranger, &turn.id).await.is_err());
        next.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_has_the_time_it_had_when_its_worker_was_lost() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let limits = Limits { timeout_s: 1, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..AgentSpec::new("m") }).await;
        let doomed = stage.failing(short(), Arc::new(|_| Box::pin(async { die() })));
        let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "x")).await.expect("a turn");
        stage.model.play([Line::Silence]);
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        let code = view.turn.error.as_ref().map(|e| e.code.as_str());
        assert_eq!((view.turn.state, code), (TurnState::Incomplete, Some("timeout")));
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_worker_that_comes_back_after_its_lease_writes_nothing() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        stage.model.follow(shopper);
        // Stands still before its tool's result is written, until it is let go.
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let (seen, reached, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()), gate.clone());
        let told = reached.clone();
        let fault: Fault = Arc::new(move |here| {
            let (seen, told, open) = (seen.clone(), told.clone(), open.clone());
            Box::pin(async move {
                if here == Point::AfterEffect && seen.fetch_add(1, Ordering::SeqCst) + 1 == 3 {
                    told.notify_one();
                    drop(open.acquire().await);
                }
            })
        });
        let sleeper = stage.failing(short(), fault);
        let conversation = stage.conversation(with_tools()).await;
        let turn = sleeper.agents.create_turn(&stage.cx, Stage::asks(&conversation, "buy it")).await.expect("a turn");
        reached.notified().await;
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        let events = stage.events(&turn.id).await;
        gate.add_permits(1);
        sleeper.agents.shutdown(Duration::from_secs(60)).await;
        assert_eq!((stage.settled(&turn.id).await, stage.events(&turn.id).await), (view, events));
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_whose_tools_cannot_be_read_just_then_is_taken_up_again() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        stage.agents.recover().await.expect("it works");
        let conversation = stage.conversation(with_tools()).await;
        stage.model.follow(shopper);
        stage.tools.out_of_reach.store(1, Ordering::SeqCst);
        let view = stage.ask(&conversation, "book it").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Booked and paid."));
        assert_eq!(stage.tools.out_of_reach.load(Ordering::SeqCst), 0, "it was asked while it did not answer");
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}
