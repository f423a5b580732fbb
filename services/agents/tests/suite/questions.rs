//! What a tool asks a person in the middle of its call: asked once, answered once, and the call made again with that.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_agents::{AsResponse, Bounds, NewTurn, Pace, Point, TurnView, Which};
use frontdesk_api::{
    Cx, Kind, PageRequest,
    agent::AgentSpec,
    chat::{Message, Role},
    cx::{Customer, Scope},
    id::RandomIds,
    question::{Action, QuestionState},
    tools::ToolResult,
    turn::{EventBody, StepKind, StepState, TurnState},
};
use frontdesk_store::{Store, testing::each_database};
use serde_json::{Map, Value, json};

use crate::{
    lost::{at, is_lost, short},
    stage::{Line, Stage, answer, done, happens, pace},
};

fn all() -> PageRequest {
    PageRequest { after: None, limit: 100, order: frontdesk_api::Order::Asc }
}

fn spec() -> AgentSpec {
    AgentSpec { toolgroups: vec!["asks".into(), "shop".into()], ..AgentSpec::new("m") }
}

fn many(n: i64) -> Option<Map<String, Value>> {
    Some(Map::from_iter([("n".to_owned(), n.into())]))
}

/// The id of the one question that the turn waits for.
fn asked(view: &TurnView) -> String {
    assert_eq!(view.turn.state, TurnState::AwaitingInput, "{:?} {:?}", view.turn, view.steps);
    let [asked] = &view.questions[..] else { panic!("one question: {:?}", view.questions) };
    asked.question_id.clone()
}

fn effects(stage: &Stage) -> Vec<String> {
    stage.tools.ledger.lock().expect("the ledger").iter().map(|(tool, _)| tool.clone()).collect()
}

/// A turn whose call of `order` asks.
async fn waiting(stage: &Stage, arguments: &'static str) -> (TurnView, String) {
    let conversation = stage.conversation(spec()).await;
    stage.model.play([Line::Call(vec![("a", "order", arguments)]), Line::Say("Ordered.")]);
    let view = stage.ask(&conversation, "order it").await;
    let id = asked(&view);
    (view, id)
}

#[tokio::test]
async fn a_question_is_answered_once_and_its_call_is_made_again_with_that() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (waiting, id) = waiting(&stage, "{}").await;
        assert!(waiting.waiting.is_empty() && waiting.approvals.is_empty(), "nobody else has to do with it");
        let shown = &waiting.questions[0];
        assert_eq!((shown.tool.as_str(), shown.toolgroup.as_str(), shown.call_id.as_str()), ("order", "shop", "a"));
        assert!(effects(&stage).is_empty() && done(&waiting).is_empty());
        let open = stage.agents.open_questions(&stage.cx, Which::default(), &all()).await.expect("a list").items;
        assert_eq!((open.len(), open[0].id.as_str(), open[0].state), (1, id.as_str(), QuestionState::Open));
        assert!(open[0].until.is_some());
        let of = |turn, session| Which { turn, session };
        for (which, found) in [
            (of(Some(waiting.turn.id.as_str()), waiting.turn.session_id.as_deref()), 1),
            (of(Some("turn_other"), None), 0),
            (of(None, Some("session_other")), 0),
        ] {
            let listed = stage.agents.open_questions(&stage.cx, which, &all()).await.expect("a list").items;
            assert_eq!(listed.len(), found, "{which:?}");
        }

        // What does not fit is refused by its name, and nothing goes on by it.
        for (action, content, param) in [
            (Action::Accept, None, "content.n"),
            (Action::Accept, many(10), "content.n"),
            (Action::Decline, many(1), "content"),
        ] {
            let wrong = stage.agents.answer(&stage.cx, &id, action, content).await.expect_err(param);
            assert_eq!((wrong.kind, wrong.param.as_deref()), (Kind::Invalid, Some(param)), "{wrong}");
        }

        // Another process, which has no memory of the turn.
        let other = stage.beside(pace(), Bounds::default());
        other.model.play([Line::Say("Ordered.")]);
        let said = other.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect("answered");
        let view = other.settled(&waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Ordered."));
        assert_eq!(done(&view)[0].1, r#"many Accept {"n":3,"late":false} after 1"#);
        assert_eq!(effects(&stage), ["order"]);
        let key = view.steps.iter().find(|s| s.kind == StepKind::ToolExecution).map(|s| s.state);
        assert_eq!(key, Some(StepState::Done));
        assert_eq!(said.state, QuestionState::Answered);
        assert_eq!(said.answer.as_ref().and_then(|a| a.key_id.clone()), Some(stage.cx.principal.key_id.clone()));

        // Once more the same, and something else.
        let again = stage.agents.answer(&stage.cx, &id, Action::Accept, many(3)).await.expect("the same");
        assert_eq!(again, said);
        for (action, content) in [(Action::Accept, many(4)), (Action::Decline, None)] {
            let other = stage.agents.answer(&stage.cx, &id, action, content).await.expect_err("something else");
            assert_eq!((other.kind, other.code.as_deref()), (Kind::Conflict, Some("question_answered")));
        }
        assert_eq!(effects(&stage), ["order"]);
        // What was written is in no event: streams are read by more than whoever wrote it.
        let events = stage.events(&waiting.turn.id).await;
        let told = |body: &EventBody| matches!(body, EventBody::Resumed { results } if results[0] == json!({ "question_id": id, "action": "accept" }));
        assert!(events.iter().any(|event| told(&event.body)), "{events:?}");
    })
    .await;
}

#[tokio::test]
async fn a_no_and_no_word_reach_the_tool_too() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for (action, told) in
            [(Action::Decline, "many Decline null after 1"), (Action::Cancel, "many Cancel null after 1")]
        {
            let (waiting, id) = waiting(&stage, "{}").await;
            stage.agents.answer(&stage.cx, &id, action, None).await.expect("answered");
            let view = stage.settled(&waiting.turn.id).await;
            assert_eq!((view.turn.state, done(&view)[0].1.as_str()), (TurnState::Completed, told));
        }
    })
    .await;
}

#[tokio::test]
async fn a_tool_may_ask_again_and_several_things_at_once_but_not_for_ever() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "order", r#"{"page":true}"#)]), Line::Say("Ordered.")]);
        let waiting = stage.ask(&conversation, "order it").await;
        let ids: Vec<String> = waiting.questions.iter().map(|q| q.question_id.clone()).collect();
        stage.agents.answer(&stage.cx, &ids[1], Action::Accept, None).await.expect("the page");
        let still = stage.settled(&waiting.turn.id).await;
        assert_eq!(asked(&still), ids[0], "it waits for all of a round");
        stage.agents.answer(&stage.cx, &ids[0], Action::Accept, many(1)).await.expect("the form");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!(done(&view)[0].1, r#"many Accept {"n":1,"late":false}, page Accept null after 1"#);

        let (mut view, mut id) = self::waiting(&stage, r#"{"rounds":3}"#).await;
        for n in 1..=3 {
            stage.agents.answer(&stage.cx, &id, Action::Accept, many(n)).await.expect("answered");
            view = stage.settled(&view.turn.id).await;
            if n < 3 {
                assert_ne!(asked(&view), id, "a question of its own");
                id = asked(&view);
            }
        }
        assert_eq!(done(&view)[0].1, r#"many Accept {"n":3,"late":false} after 3"#);
        assert_eq!(view.steps.iter().filter(|s| s.kind == StepKind::ToolExecution).count(), 1, "one call");

        let (mut view, _) = self::waiting(&stage, r#"{"rounds":99}"#).await;
        let mut answers = 0;
        while view.turn.state == TurnState::AwaitingInput {
            stage.agents.answer(&stage.cx, &asked(&view), Action::Decline, None).await.expect("answered");
            view = stage.settled(&view.turn.id).await;
            answers += 1;
        }
        assert_eq!((answers, view.turn.state), (10, TurnState::Completed));
        assert!(done(&view)[0].1.contains("asked more than 10 times"), "{:?}", done(&view));
    })
    .await;
}

#[tokio::test]
async fn a_question_that_nobody_answers_is_cancelled_and_its_turn_goes_on() {
    each_database(|store| async move {
        let often = Duration::from_millis(50);
        let patience = Pace { wait: Duration::ZERO, poll: often, renew: often, look: often, ..pace() };
        for (arguments, told) in [
            ("{}", "many Cancel null after 1"),
            // One that asks again is not waited for again.
            (r#"{"rounds":2}"#, "nobody had answered in time"),
        ] {
            // Where nobody looks after turns until the question has been seen.
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), patience, Bounds::default()).await;
            let (waiting, id) = waiting(&stage, arguments).await;
            let late = stage.agents.answer(&stage.cx, &id, Action::Decline, None).await.expect_err("its time is over");
            assert_eq!((late.kind, late.code.as_deref()), (Kind::Conflict, Some("question_expired")));
            stage.agents.recover().await.expect("it works");
            let ended = async {
                loop {
                    let view = stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("the turn");
                    if view.turn.state.is_terminal() {
                        break view;
                    }
                    tokio::task::yield_now().await;
                }
            };
            let view = happens("the turn to be ended", ended).await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Ordered."));
            assert!(done(&view)[0].1.contains(told), "{:?}", done(&view));
            let question = stage.agents.question(&stage.cx, &id).await.expect("it stays");
            assert_eq!((question.state, question.until), (QuestionState::Expired, None));
            stage.agents.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_newer_message_withdraws_a_question_and_the_model_reads_that_the_call_did_not_end() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "order", "{}"), ("b", "pay", "{}")]), Line::Say("Never mind.")]);
        let waiting = stage.ask(&conversation, "order it").await;
        let id = asked(&waiting);
        assert!(effects(&stage).is_empty(), "what it asked for behind that waits too");
        let newer = stage.ask(&conversation, "forget it").await;
        assert_eq!(answer(&newer), "Never mind.");
        let told = stage.model.asked().pop().expect("a prompt");
        assert!(told.iter().any(|m| m.0 == Role::Tool && m.1.contains("was not answered")), "{told:?}");
        let ended = stage.settled(&waiting.turn.id).await;
        assert_eq!(ended.turn.state, TurnState::Cancelled);
        assert!(ended.steps.iter().all(|s| s.state != StepState::Intent), "{:?}", ended.steps);
        let late = stage.agents.answer(&stage.cx, &id, Action::Accept, many(1)).await.expect_err("its turn has ended");
        assert_eq!((late.kind, late.code.as_deref()), (Kind::Conflict, Some("question_withdrawn")));
        assert!(effects(&stage).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_ends_before_its_answers_are_sent_says_so_and_keeps_what_was_said() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let kinds = |view: &TurnView, kind: StepKind| -> Vec<StepState> {
            view.steps.iter().filter(|s| s.kind == kind).map(|s| s.state).collect()
        };
        // By somebody, while one of two is open.
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "order", r#"{"page":true}"#)])]);
        let waiting = stage.ask(&conversation, "order it").await;
        let ids: Vec<String> = waiting.questions.iter().map(|q| q.question_id.clone()).collect();
        stage.agents.answer(&stage.cx, &ids[0], Action::Accept, many(1)).await.expect("answered");
        stage.agents.cancel(&stage.cx, &waiting.turn.id).await.expect("cancelled");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!(view.turn.state, TurnState::Cancelled);
        assert_eq!(kinds(&view, StepKind::Question), [StepState::Done, StepState::Failed]);
        assert_eq!(kinds(&view, StepKind::ToolExecution), [StepState::Failed], "nobody need look what it did");
        assert!(done(&view)[0].1.contains("was not answered"), "{:?}", done(&view));
        assert_eq!(stage.agents.question(&stage.cx, &ids[0]).await.expect("it").state, QuestionState::Answered);

        // By what its worker finds, once all is answered.
        let (waiting, id) = self::waiting(&stage, "{}").await;
        stage.tools.gone.store(true, Ordering::SeqCst);
        stage.agents.answer(&stage.cx, &id, Action::Accept, many(1)).await.expect("answered");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!(view.turn.state, TurnState::Failed);
        assert_eq!(kinds(&view, StepKind::ToolExecution), [StepState::Failed]);
        assert!(done(&view)[0].1.contains("was not answered"), "{:?}", done(&view));
        assert!(effects(&stage).is_empty());
    })
    .await;
}

#[tokio::test]
async fn what_the_model_asked_for_behind_a_question_begins_once_that_is_answered() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(spec()).await;
        let calls = vec![("a", "look", "{}"), ("b", "order", "{}"), ("c", "pay", "{}"), ("d", "refund", "{}")];
        stage.model.play([Line::Call(calls), Line::Say("All done.")]);
        let waiting = stage.ask(&conversation, "go").await;
        let id = asked(&waiting);
        assert_eq!(waiting.approvals.len(), 1, "it is waited once for all");
        assert_eq!(done(&waiting).iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), ["look"]);
        let wrong = ToolResult { content: "3".into(), is_error: false, details: None };
        let wrong =
            stage.agents.resume(&stage.cx, &waiting.turn.id, vec![("b".into(), wrong)]).await.expect_err("no client's");
        assert!(wrong.message.contains(&format!("/v1/questions/{id}")), "{wrong}");
        stage.agents.decide(&stage.cx, &waiting.approvals[0].approval_id, true, None).await.expect("approved");
        assert_eq!(asked(&stage.settled(&waiting.turn.id).await), id);
        stage.agents.answer(&stage.cx, &id, Action::Accept, many(2)).await.expect("answered");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "All done."));
        assert_eq!(effects(&stage), ["order", "pay", "refund"]);
    })
    .await;
}

#[tokio::test]
async fn a_question_is_its_tenants_and_its_customers() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let caller = |scope: Scope, sub: Option<&str>| {
            let mut cx = stage.cx.clone();
            cx.principal.scopes = [scope].into();
            cx.customer = sub.map(|sub| Customer { sub: sub.into(), ..Customer::default() });
            cx
        };
        let (ada, eve, desk) =
            (caller(Scope::Use, Some("ada")), caller(Scope::Use, Some("eve")), caller(Scope::Write, None));
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "order", "{}")]), Line::Say("Ordered.")]);
        let turn = stage.agents.create_turn(&ada, Stage::asks(&conversation, "order it")).await.expect("a turn");
        let id = asked(&stage.settled(&turn.id).await);
        let listed = async |cx: &Cx| {
            let page = stage.agents.open_questions(cx, Which::default(), &all()).await.expect("a list");
            page.items.len()
        };
        assert_eq!((listed(&ada).await, listed(&desk).await, listed(&eve).await), (1, 1, 0));
        for stranger in [Cx::internal("tenant_b", "r"), eve] {
            let refused = stage.agents.answer(&stranger, &id, Action::Decline, None).await.expect_err("not theirs");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::NotFound, Some("question_not_found")));
            assert_eq!(listed(&stranger).await, 0);
        }
        let unproven =
            stage.agents.answer(&caller(Scope::Use, None), &id, Action::Decline, None).await.expect_err("whose?");
        assert_eq!(unproven.code.as_deref(), Some("customer_token_required"));
        // The tenant's own people see it, and do not speak in her place.
        assert_eq!(stage.agents.question(&desk, &id).await.expect("seen").state, QuestionState::Open);
        let refused = stage.agents.answer(&desk, &id, Action::Decline, None).await.expect_err("not theirs to say");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Forbidden, Some("customer_token_required")));
        stage.agents.answer(&ada, &id, Action::Accept, many(1)).await.expect("hers");
        assert_eq!(stage.settled(&turn.id).await.turn.state, TurnState::Completed);
        let customers = stage.tools.customers.lock().expect("the customers").clone();
        assert!(customers.iter().all(|sub| sub.as_deref() == Some("ada")), "{customers:?}");
    })
    .await;
}

#[tokio::test]
async fn a_response_cannot_wait_so_its_tools_are_not_told_that_they_could_ask() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let agent = stage.agents.create_agent(&stage.cx, spec()).await.expect("an agent");
        let response = AsResponse { spec: spec(), version: 1, previous: None, echo: json!({}), stored: true };
        let asks = Stage::asks(&(agent.id.clone(), String::new()), "order it");
        let new = NewTurn { session_id: None, response: Some(response), ..asks };
        stage.model.play([Line::Call(vec![("a", "order", "{}")]), Line::Say("I cannot.")]);
        let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a response");
        let view = stage.settled(&turn.id).await;
        assert_eq!((view.turn.state, done(&view)[0].1.as_str()), (TurnState::Completed, "nobody can be asked"));
    })
    .await;
}

#[tokio::test]
async fn what_a_shield_stops_is_asked_of_nobody() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for words in [r#"{"words":1}"#, r#"{"words":2}"#] {
            let conversation = stage.conversation(AgentSpec { shields: vec!["guard".into()], ..spec() }).await;
            stage.model.play([Line::Call(vec![("a", "order", words)]), Line::Say("I cannot.")]);
            let view = stage.ask(&conversation, "order it").await;
            assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I cannot."), "{:?}", view.steps);
            assert!(done(&view)[0].1.contains("a shield withheld what the tool asked"), "{:?}", done(&view));
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_only_asked_is_no_riddle_where_a_shield_fails() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec { shields: vec!["guard".into()], ..spec() }).await;
        stage.model.play([Line::Call(vec![("a", "order", r#"{"words":3}"#)])]);
        let view = stage.ask(&conversation, "order it").await;
        assert_eq!(view.turn.state, TurnState::Failed, "{:?}", view.turn);
        let calls = view.steps.iter().filter(|s| s.kind == StepKind::ToolExecution);
        assert_eq!(calls.map(|s| s.state).collect::<Vec<_>>(), [StepState::Failed], "nobody need look what it did");
        assert!(done(&view)[0].1.contains("was not answered"), "{:?}", done(&view));
    })
    .await;
}

#[tokio::test]
async fn a_question_whose_turn_waited_too_long_for_something_else_has_expired() {
    each_database(|store| async move {
        let often = Duration::from_millis(50);
        let patience = Pace { wait: Duration::ZERO, poll: often, renew: often, look: often, ..pace() };
        let stage = Stage::with(store, Arc::new(RandomIds), patience, Bounds::default()).await;
        let conversation = stage.conversation(spec()).await;
        stage.model.play([Line::Call(vec![("a", "order", "{}"), ("b", "refund", "{}")])]);
        let waiting = stage.ask(&conversation, "go").await;
        assert_eq!(waiting.approvals.len(), 1);
        let id = asked(&waiting);
        stage.agents.recover().await.expect("it works");
        let ended = async {
            while !stage.agents.load_turn(&stage.cx, &waiting.turn.id).await.expect("it").turn.state.is_terminal() {
                tokio::task::yield_now().await;
            }
        };
        happens("the turn to be ended", ended).await;
        assert_eq!(stage.agents.question(&stage.cx, &id).await.expect("it stays").state, QuestionState::Expired);
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// Orders, then says so.
fn orders(prompt: &[Message]) -> Line {
    match prompt.last().map(|m| m.role) {
        Some(Role::Tool) => Line::Say("Ordered."),
        _ => Line::Call(vec![("a", "order", "{}")]),
    }
}

fn notes(prompt: &[Message]) -> Line {
    match orders(prompt) {
        Line::Call(_) => Line::Call(vec![("a", "note", "{}")]),
        said => said,
    }
}

/// A turn that asks, whose worker is lost at the `nth` time it comes to `point`, before or after the answer; false when it
/// ended first.
async fn question_survives(store: &Store, repeats: bool, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(if repeats { notes } else { orders });
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(spec()).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "order it")).await.expect("a turn");
    let lost = is_lost(&doomed, &turn.id, &reached).await;
    stage.agents.recover().await.expect("another process");
    let mut view = stage.settled(&turn.id).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    let mut answered = false;
    if view.turn.state == TurnState::AwaitingInput {
        let who = if lost { &stage } else { &doomed };
        who.agents.answer(&stage.cx, &asked(&view), Action::Accept, many(3)).await.expect("answered");
        answered = true;
        view = stage.settled(&turn.id).await;
    }
    let what = format!("{what} then {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Ordered."), "{what}");
    assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "no step is left open: {what}");
    assert!(view.steps.iter().filter(|s| s.kind == StepKind::Question).count() <= 1, "asked once: {what}");
    let state = view.steps.iter().find(|s| s.kind == StepKind::ToolExecution).map(|s| s.state);
    match state {
        Some(StepState::Done) if answered => {
            assert_eq!(done(&view)[0].1, r#"many Accept {"n":3,"late":false} after 1"#, "{what}");
            assert!(effects(&stage).len() == 1 || repeats, "{what}");
        }
        // Lost between the call and what came of it.
        Some(StepState::Unknown) if !repeats => assert!(effects(&stage).len() <= 1, "{what}"),
        _ => panic!("{what}"),
    }
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    lost || tokio::time::timeout(Duration::ZERO, reached.notified()).await.is_ok()
}

#[tokio::test]
async fn wherever_its_worker_dies_a_question_is_asked_once_and_answered_once() {
    each_database(|store| async move {
        let all = [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit];
        // Where commits break off, what a repeated call does makes no difference.
        for (repeats, points) in [(false, &all[..]), (true, &all[..2])] {
            for point in points.iter().copied() {
                let mut nth = 1;
                while Box::pin(question_survives(&store, repeats, point, nth)).await {
                    nth += 1;
                }
                assert!(nth > 3, "{point:?} is come to in every step");
            }
        }
    })
    .await;
}
