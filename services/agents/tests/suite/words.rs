//! Words of clients to calls that wait: heard for what was asked about, by whoever may, whatever has changed since.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_agents::{Bounds, NewTurn, Point, TurnView};
use frontdesk_api::{
    Cx, Error, Kind,
    agent::AgentSpec,
    approval::ApprovalRule,
    chat::{Role, ToolSpec},
    cx::Customer,
    id::RandomIds,
    servers::{Approval, Server},
    turn::{ItemBody, StepState, TurnState},
};
use frontdesk_store::testing::each_database;
use serde_json::json;

use crate::{
    lost::{at, short},
    servers::{ask, asked_for_a_word, asks, named, refused, says, server, waiting, word},
    stage::{Line, Stage, answer, done, pace},
};

fn with(mut new: NewTurn, change: impl FnOnce(&mut AgentSpec)) -> NewTurn {
    if let Some(response) = &mut new.response {
        change(&mut response.spec);
    }
    new
}

fn rules(tools: &[&str]) -> Vec<ApprovalRule> {
    let rules: Vec<_> = tools.iter().map(|tool| json!({ "tool": tool })).collect();
    serde_json::from_value(json!(rules)).expect("rules")
}

#[tokio::test]
async fn what_an_approved_call_did_is_told_after_its_turn_broke_off() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let servers = [server("shop", Approval::Always)];
        let (first, request) = asked_for_a_word(&stage, &servers).await;
        stage.model.play([Line::Fail(Error::invalid("model", "no such model")), Line::Say("It was done.")]);
        let second = ask(&stage, asks(Some(&first), vec![word(&request, true)], &servers)).await;
        assert_eq!((second.turn.state, stage.tools.calls.load(Ordering::SeqCst)), (TurnState::Failed, 1));
        ask(&stage, asks(Some(&second), vec![says("and?")], &servers)).await;
        let prompt = stage.model.asked().pop().expect("a prompt");
        let roles: Vec<Role> = prompt.iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::User]);
        assert_eq!(prompt[2].1, "shop/look saw {\"id\":7}");
    })
    .await;
}

#[tokio::test]
async fn a_call_is_made_only_where_the_request_that_says_yes_allows_its_tool() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let servers = [server("shop", Approval::Always)];
        let fewer = [Server { allowed: named(&["cancel"]), ..servers[0].clone() }];
        for (approved, ruled, now, why) in [
            (true, &["look"][..], &fewer, "needs the approval of a person"),
            (true, &["look"], &servers, "needs the approval of a person"),
            (true, &[], &fewer, "is not among the tools that this request allows"),
            // What was denied stays denied.
            (false, &["look"], &fewer, "denied this call: too dear"),
            (false, &["look"], &servers, "denied this call: too dear"),
            (false, &[], &fewer, "denied this call: too dear"),
        ] {
            let (first, request) = asked_for_a_word(&stage, &servers).await;
            stage.model.play([Line::Say("I may not.")]);
            let new = asks(Some(&first), vec![word(&request, approved)], now);
            let second = ask(&stage, with(new, |spec| spec.approvals = rules(ruled))).await;
            assert!(done(&second)[0].1.contains(why), "{why}: {:?}", done(&second));
        }
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn an_agents_rules_are_not_escaped_by_another_name() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        // The group `shop` has `look` already, so that of the server is `mall_look`.
        let ruled = |spec: &mut AgentSpec| {
            spec.toolgroups = vec!["shop".into()];
            spec.approvals = rules(&["look"]);
        };
        stage.model.play([Line::Call(vec![("c1", "mall_look", "{}")]), Line::Say("I may not.")]);
        let new = asks(None, vec![says("where?")], &[server("mall", Approval::Never)]);
        let view = ask(&stage, with(new, ruled)).await;
        assert!(done(&view)[0].1.contains("needs the approval of a person"), "{:?}", done(&view));
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 0);
        // A group is there once.
        let twice = Server { label: "shop".into(), ..Server::default() };
        let error = refused(&stage, with(asks(None, vec![says("where?")], &[twice]), ruled)).await;
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("tools")));
        assert!(error.message.contains("'shop' is the agent's already"), "{error}");
    })
    .await;
}

#[tokio::test]
async fn an_approved_call_is_of_the_tool_that_was_asked_about_whatever_has_its_name_now() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let servers = [server("mall", Approval::Always)];
        let function = || ToolSpec {
            name: "look".into(),
            description: None,
            parameters: Some(json!({})),
            strict: None,
            cache_control: None,
        };
        let takes_the_name: [&dyn Fn(&mut AgentSpec); 2] = [
            &|spec| spec.client_tools = vec![function()],
            // A group's tool that may be called twice.
            &|spec| spec.toolgroups = vec!["shop".into()],
        ];
        for change in takes_the_name {
            let (first, request) = asked_for_a_word(&stage, &servers).await;
            stage.model.play([Line::Say("It is here.")]);
            let new = asks(Some(&first), vec![word(&request, true)], &servers);
            let second = ask(&stage, with(new, change)).await;
            assert_eq!(done(&second), [("look".to_owned(), "mall/look saw {\"id\":7}".to_owned(), false)]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_approved_call_whose_worker_is_lost_is_not_made_again() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let servers = [server("mall", Approval::Always)];
        let (first, request) = asked_for_a_word(&stage, &servers).await;
        let (fault, reached) = at(Point::AfterEffect, 1);
        let doomed = stage.failing(short(), fault);
        // The group has a `look` that may be repeated; what was approved is another's.
        let new = asks(Some(&first), vec![word(&request, true)], &servers);
        let new = with(new, |spec| spec.toolgroups = vec!["shop".into()]);
        let turn = doomed.agents.create_turn(&stage.cx, new).await.expect("a response");
        reached.notified().await;
        stage.model.play([Line::Say("I do not know.")]);
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I do not know."));
        assert_eq!(view.steps[0].state, StepState::Unknown);
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 1);
    })
    .await;
}

#[tokio::test]
async fn what_a_server_says_in_its_own_favour_lets_no_call_be_repeated_and_escapes_no_rule() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let servers = [server("sly", Approval::Never)];
        // It says that `look` only reads. The first effect is the model's.
        let (fault, reached) = at(Point::AfterEffect, 2);
        let doomed = stage.failing(short(), fault);
        stage.model.play([Line::Call(vec![("c1", "look", "{}")])]);
        let turn = doomed.agents.create_turn(&stage.cx, asks(None, vec![says("hi")], &servers)).await;
        reached.notified().await;
        stage.model.play([Line::Say("I do not know.")]);
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.expect("a response").id).await;
        assert_eq!((answer(&view), stage.tools.calls.load(Ordering::SeqCst)), ("I do not know.", 1));
        // A rule heeds what it says to its disfavour; without one its client's policy decides.
        let risky: Vec<ApprovalRule> = serde_json::from_value(json!([{ "risk": "approval_required" }])).expect("rules");
        for (rules, said) in [(risky, "needs the approval of a person"), (vec![], "sly/cancel saw {}")] {
            stage.model.play([Line::Call(vec![("c1", "cancel", "{}")]), Line::Say("So be it.")]);
            let new = asks(None, vec![says("cancel it")], &servers);
            let view = ask(&stage, with(new, |spec| spec.approvals = rules)).await;
            assert!(done(&view)[0].1.contains(said), "{said}: {:?}", done(&view));
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_known_is_offered_as_it_was_described_whoever_goes_on_with_the_turn() {
    each_database(|store| async move {
        let stage = Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await;
        let servers = [server("shop", Approval::Never)];
        stage.model.play([Line::Say("Hello.")]);
        let first = ask(&stage, asks(None, vec![says("hi")], &servers)).await;
        // Lost behind its model's call.
        let (fault, reached) = at(Point::AfterEffect, 1);
        let doomed = stage.failing(short(), fault);
        stage.model.play([Line::Say("lost"), Line::Call(vec![("c1", "look", "{}")]), Line::Say("It is here.")]);
        let turn = doomed.agents.create_turn(&stage.cx, asks(Some(&first), vec![says("where?")], &servers)).await;
        reached.notified().await;
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.expect("a response").id).await;
        assert_eq!(done(&view), [("look".to_owned(), "shop/look saw {}".to_owned(), false)]);
        assert_eq!(stage.tools.listed.load(Ordering::SeqCst), 1);
        let offered = stage.model.offered();
        assert_eq!(offered.first(), offered.last(), "the model is offered the same");
        assert!(offered.iter().all(|tools| tools.len() == 2 && tools.iter().all(|tool| tool.parameters.is_some())));
    })
    .await;
}

#[tokio::test]
async fn a_word_that_its_turn_used_up_for_nothing_leaves_that_its_call_was_not_made() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let servers = [server("shop", Approval::Always)];
        let (first, request) = asked_for_a_word(&stage, &servers).await;
        // Its input is stopped by a shield.
        let new = asks(Some(&first), vec![word(&request, true), says("poison")], &servers);
        let second = ask(&stage, with(new, |spec| spec.input_shields = vec!["guard".into()])).await;
        let not_made = |view: &TurnView| {
            view.items.iter().any(|item| match &item.body {
                ItemBody::FunctionCallOutput { call_id, output, is_error: true, .. } => {
                    call_id == "c1" && output.contains("was not made")
                }
                _ => false,
            })
        };
        assert!(not_made(&second), "{:?}", second.items);
        // Nor where no worker came to it.
        let (first, request) = asked_for_a_word(&stage, &servers).await;
        let edge = stage.beside(pace(), Bounds { at_once: 0, ..Bounds::default() });
        stage.agents.shutdown(Duration::ZERO).await;
        let new = asks(Some(&first), vec![word(&request, true)], &servers);
        let turn = edge.agents.create_turn(&stage.cx, new).await.expect("a response");
        edge.agents.cancel(&stage.cx, &turn.id).await.expect("cancelled");
        let third = edge.settled(&turn.id).await;
        assert_eq!(third.turn.state, TurnState::Cancelled);
        assert!(not_made(&third));
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn another_customer_learns_nothing_of_what_waits() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let of =
            |sub: &str| Cx { customer: Some(Customer { sub: sub.into(), ..Customer::default() }), ..stage.cx.clone() };
        let (mine, theirs) = (of("mia"), of("tom"));
        let servers = [server("shop", Approval::Always)];
        stage.model.play([Line::Call(vec![("c1", "look", "{}")])]);
        let new = asks(None, vec![says("where?")], &servers);
        let turn = stage.agents.create_turn(&mine, new).await.expect("a response");
        stage.events(&turn.id).await;
        let first = stage.agents.load_turn(&mine, &turn.id).await.expect("the turn");
        let (request, _) = waiting(&first).pop().expect("a request");
        for id in [request.as_str(), "mcpr_none"] {
            let guessed = asks(Some(&first), vec![word(id, true)], &[]);
            let error = stage.agents.create_turn(&theirs, guessed).await.expect_err("refused");
            assert_eq!(error.code.as_deref(), Some("previous_response_not_found"), "{error}");
        }
        // To whom it belongs the address is not repeated either: it may hold a token.
        let error = stage.agents.create_turn(&mine, asks(Some(&first), vec![word(&request, true)], &[])).await;
        let error = error.expect_err("refused");
        assert!(error.message.contains("'shop'") && !error.message.contains("https://"), "{error}");
    })
    .await;
}
