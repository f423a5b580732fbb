//! Calls that wait for a person: asked once, answered once, and gone on with by whoever comes first.

use std::{sync::Arc, time::Duration};

use frontdesk_agents::{AsResponse, Bounds, INLINE, NewTurn, Pace, Point, TurnView};
use frontdesk_api::{
    Cx, Kind, PageRequest,
    agent::AgentSpec,
    approval::{ApprovalRule, ApprovalState, Cause},
    chat::{Role, ToolSpec},
    cx::Customer,
    id::RandomIds,
    tools::ToolResult,
    turn::{EventBody, ItemBody, StepKind, StepState, TurnState},
};
use frontdesk_store::testing::each_database;
use futures::StreamExt as _;
use serde_json::json;

use crate::{
    lost::{at, is_lost, short},
    stage::{Line, Stage, answer, done, happens, pace, with_tools},
};

fn all() -> PageRequest {
    PageRequest { after: None, limit: 100, order: frontdesk_api::Order::Asc }
}

fn rules(rules: serde_json::Value) -> Vec<ApprovalRule> {
    serde_json::from_value(rules).expect("rules")
}

fn effects(stage: &Stage) -> Vec<String> {
    stage.tools.ledger.lock().expect("the ledger").iter().map(|(tool, _)| tool.clone()).collect()
}

/// The id of the one approval that the turn waits for.
fn asked(view: &TurnView) -> &str {
    assert_eq!(view.turn.state, TurnState::AwaitingInput, "{:?}", view.turn);
    let [asked] = &view.approvals[..] else { panic!("one approval: {:?}", view.approvals) };
    &asked.approval_id
}

#[tokio::test]
async fn a_person_is_shown_what_the_server_fills_in() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let customer = Customer { sub: "ada".into(), ..Customer::default() };
        for (customer, who) in [(Some(customer), json!("ada")), (None, json!(null))] {
            let cx = Cx { customer, ..stage.cx.clone() };
            let conversation = stage.conversation(with_tools()).await;
            stage.model.play([Line::Call(vec![("a", "refund", "{\"who\":\"eve\"}")])]);
            let turn = stage.agents.create_turn(&cx, Stage::asks(&conversation, "money back")).await.expect("a turn");
            stage.settled(&turn.id).await;
            let newest = PageRequest { limit: 1, order: frontdesk_api::Order::Desc, ..all() };
            let open = stage.agents.open_approvals(&stage.cx, &newest).await.expect("a list").items;
            assert_eq!((&open[0].turn_id, &open[0].bound["who"]), (&turn.id, &who));
            let one = stage.agents.approval(&stage.cx, &open[0].id).await.expect("it");
            assert_eq!(one.bound, open[0].bound);
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_needs_a_person_waits_and_is_made_once_when_it_is_approved() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{\"amount\":5}")]), Line::Say("You have it back.")]);
        let waiting = stage.ask(&conversation, "money back").await;
        let id = asked(&waiting).to_owned();
        assert!(waiting.waiting.is_empty(), "a client has nothing to do with it");
        assert!(effects(&stage).is_empty() && done(&waiting).is_empty());

        let open = stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items;
        let [approval] = &open[..] else { panic!("{open:?}") };
        assert_eq!((approval.id.as_str(), approval.state), (id.as_str(), ApprovalState::Open));
        assert_eq!((approval.call.name.as_str(), approval.call.arguments.as_str()), ("refund", "{\"amount\":5}"));
        assert_eq!(approval.turn_id, waiting.turn.id);
        assert!(approval.until.is_some());

        // Whoever says it: another process, which has no memory of the turn.
        let other = stage.beside(pace(), Bounds::default());
        other.model.play([Line::Say("You have it back.")]);
        let approved = other.agents.decide(&stage.cx, &id, true, Some("fine".into())).await.expect("approved");
        let view = other.settled(&waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "You have it back."));
        assert_eq!(effects(&stage), ["refund"]);
        let decision = approved.decision.clone().expect("a decision");
        assert_eq!((decision.key_id, decision.reason.as_deref()), (stage.cx.principal.key_id.clone(), Some("fine")));
        assert_eq!(approved.state, ApprovalState::Approved);

        // Once more the same, once the other way.
        let again = stage.agents.decide(&stage.cx, &id, true, None).await.expect("the same word");
        assert_eq!(again, approved, "what was said first stands");
        let other_way = stage.agents.decide(&stage.cx, &id, false, None).await.expect_err("the other word");
        assert_eq!((other_way.kind, other_way.code.as_deref()), (Kind::Conflict, Some("approval_decided")));
        assert_eq!(effects(&stage), ["refund"]);
        assert!(stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_denied_is_never_made_and_the_model_reads_why() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{}")]), Line::Say("I may not.")]);
        let waiting = stage.ask(&conversation, "money back").await;
        let id = asked(&waiting);
        stage.agents.decide(&stage.cx, id, false, Some("no receipt".into())).await.expect("denied");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I may not."));
        assert!(effects(&stage).is_empty());
        let told = stage.model.asked().pop().expect("a second prompt").pop().expect("its last message");
        assert!(told.0 == Role::Tool && told.1.contains("denied this call: no receipt"), "{told:?}");
        let denied = stage.agents.approval(&stage.cx, id).await.expect("it stays");
        assert_eq!(denied.state, ApprovalState::Denied);
        let late = stage.agents.decide(&stage.cx, id, true, None).await.expect_err("the other word");
        assert_eq!(late.code.as_deref(), Some("approval_decided"));
    })
    .await;
}

#[tokio::test]
async fn an_agents_rules_say_what_asks_and_what_runs() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let approvals = rules(serde_json::json!([
            { "tool": "refund", "argument": "/amount", "above": 50 },
            { "tool": "refund", "ask": false },
            { "tool": "pay" },
        ]));
        let conversation = stage.conversation(AgentSpec { approvals, ..with_tools() }).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{\"amount\":50}")]), Line::Say("Small.")]);
        assert_eq!(answer(&stage.ask(&conversation, "50 back").await), "Small.");
        assert_eq!(effects(&stage), ["refund"], "a rule lets it run");
        for call in [("b", "refund", "{\"amount\":51}"), ("c", "pay", "{}")] {
            stage.model.play([Line::Call(vec![call])]);
            let waiting = stage.ask(&conversation, "more").await;
            asked(&waiting);
            assert_eq!(waiting.approvals[0].call.name, call.1);
        }
        assert_eq!(effects(&stage), ["refund"]);
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_cannot_hold_is_refused_by_its_member() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool =
            ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
        for (rule, member) in [
            (serde_json::json!({ "tool": "weather" }), "tool"),
            (serde_json::json!({ "argument": "/amount" }), "above"),
            (serde_json::json!({ "above": 5 }), "argument"),
            (serde_json::json!({ "argument": "amount", "above": 5 }), "argument"),
        ] {
            let approvals = rules(serde_json::json!([{ "tool": "refund" }, rule]));
            let spec = AgentSpec { approvals, client_tools: vec![tool.clone()], ..with_tools() };
            let refused = stage.agents.create_agent(&stage.cx, spec).await.expect_err(member);
            let param = format!("approvals[1].{member}");
            assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some(param.as_str())));
        }
    })
    .await;
}

#[tokio::test]
async fn what_runs_here_runs_first_and_then_it_is_waited_once_for_all_others() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool =
            ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
        let conversation = stage.conversation(AgentSpec { client_tools: vec![tool], ..with_tools() }).await;
        stage.model.play([
            Line::Call(vec![
                ("a", "refund", "{}"),
                ("b", "weather", "{}"),
                ("c", "look", "{}"),
                ("d", "refund", "{\"n\":2}"),
            ]),
            Line::Say("All done."),
        ]);
        let waiting = stage.ask(&conversation, "go").await;
        assert_eq!(done(&waiting).iter().map(|d| d.0.as_str()).collect::<Vec<_>>(), ["look"]);
        assert_eq!(waiting.waiting.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(), ["b"]);
        let ids: Vec<String> = waiting.approvals.iter().map(|a| a.approval_id.clone()).collect();
        assert_eq!(ids.len(), 2);
        let turn = waiting.turn.id.as_str();

        // A result for a call that waits for a person is refused by name.
        let result = |id: &str| (id.to_owned(), ToolResult { content: "sun".into(), is_error: false, details: None });
        let wrong = stage.agents.resume(&stage.cx, turn, vec![result("a")]).await.expect_err("not the client's");
        assert!(wrong.kind == Kind::Invalid && wrong.message.contains("waits for a person"), "{wrong}");

        stage.agents.decide(&stage.cx, &ids[1], false, None).await.expect("denied");
        stage.agents.resume(&stage.cx, turn, vec![result("b")]).await.expect("taken in");
        let still = stage.settled(turn).await;
        assert_eq!((still.turn.state, still.waiting.len()), (TurnState::AwaitingInput, 0));
        assert_eq!(asked(&still), ids[0]);
        assert_eq!(stage.model.asked().len(), 1, "nothing goes on before all is there");
        let none = stage.agents.resume(&stage.cx, turn, vec![]).await.expect_err("nothing of the client's is open");
        assert!(none.message.contains("/v1/approvals"), "{none}");

        stage.agents.decide(&stage.cx, &ids[0], true, None).await.expect("approved");
        let view = stage.settled(turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "All done."));
        assert_eq!(effects(&stage), ["refund"], "the other was denied");
        let told = stage.model.asked().pop().expect("a second prompt");
        let results: Vec<&str> = told.iter().filter(|m| m.0 == Role::Tool).map(|m| m.1.as_str()).collect();
        assert!(results.len() == 4 && results[1] == "sun" && results[3].contains("denied"), "{results:?}");
        assert_eq!(view.steps.iter().filter(|s| s.kind == StepKind::Inference).count(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_approval_that_nobody_answers_ends_its_turn_and_cannot_be_answered_then() {
    each_database(|store| async move {
        let often = Duration::from_millis(50);
        let patience = Pace { wait: Duration::ZERO, poll: often, renew: often, look: often, ..pace() };
        let stage = Stage::with(store, Arc::new(RandomIds), patience, Bounds::default()).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        let waiting = stage.ask(&conversation, "money back").await;
        let id = asked(&waiting);
        let late = stage.agents.decide(&stage.cx, id, true, None).await.expect_err("its time is over");
        assert_eq!((late.kind, late.code.as_deref()), (Kind::Conflict, Some("approval_expired")));
        assert!(stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items.is_empty());
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
        let code = view.turn.error.as_ref().map(|e| e.code.as_str());
        assert_eq!((view.turn.state, code), (TurnState::Incomplete, Some("input_timeout")));
        assert!(view.steps.iter().all(|s| s.state != StepState::Intent), "{:?}", view.steps);
        let late = stage.agents.decide(&stage.cx, id, true, None).await.expect_err("its turn has ended");
        assert_eq!(late.code.as_deref(), Some("approval_expired"));
        assert!(effects(&stage).is_empty());
        stage.agents.shutdown(Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn a_turn_that_is_cancelled_withdraws_what_it_asked_and_keeps_what_was_said() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{}"), ("b", "refund", "{}")])]);
        let waiting = stage.ask(&conversation, "money back").await;
        let ids: Vec<String> = waiting.approvals.iter().map(|a| a.approval_id.clone()).collect();
        stage.agents.decide(&stage.cx, &ids[0], true, None).await.expect("approved");
        stage.agents.cancel(&stage.cx, &waiting.turn.id).await.expect("cancelled");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!(view.turn.state, TurnState::Cancelled);
        let states: Vec<StepState> =
            view.steps.iter().filter(|s| s.kind == StepKind::Approval).map(|s| s.state).collect();
        assert_eq!(states, [StepState::Done, StepState::Failed]);
        let word = async |id: &str| stage.agents.decide(&stage.cx, id, true, None).await;
        assert_eq!(word(&ids[0]).await.expect("it was said").state, ApprovalState::Approved);
        let late = word(&ids[1]).await.expect_err("its turn has ended");
        assert_eq!((late.kind, late.code.as_deref()), (Kind::Conflict, Some("approval_withdrawn")));
        assert!(effects(&stage).is_empty(), "approved and not made");
    })
    .await;
}

#[tokio::test]
async fn an_approval_is_its_tenants() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("a", "refund", "{}")])]);
        let waiting = stage.ask(&conversation, "money back").await;
        let stranger = Cx::internal("tenant_b", "r");
        let refused = stage.agents.decide(&stranger, asked(&waiting), true, None).await.expect_err("not theirs");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::NotFound, Some("approval_not_found")));
        assert!(stage.agents.open_approvals(&stranger, &all()).await.expect("a list").items.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_response_cannot_wait_so_what_needs_a_person_is_not_run() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = with_tools();
        let agent = stage.agents.create_agent(&stage.cx, spec.clone()).await.expect("an agent");
        let conversation = (agent.id.clone(), String::new());
        let response = AsResponse { spec, version: 1, previous: None, echo: serde_json::json!({}), stored: true };
        let asks = Stage::asks(&conversation, "money back");
        let new = NewTurn { session_id: None, response: Some(response), ..asks };
        stage.model.play([Line::Call(vec![("a", "refund", "{}")]), Line::Say("I may not.")]);
        let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a response");
        let view = stage.settled(&turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I may not."));
        assert!(done(&view)[0].1.contains("needs the approval of a person"), "{:?}", done(&view));
        assert!(effects(&stage).is_empty());
        let waits = |e: &frontdesk_api::turn::Event| matches!(e.body, EventBody::AwaitingInput { .. });
        assert!(!stage.events(&turn.id).await.iter().any(waits));
    })
    .await;
}

#[tokio::test]
async fn a_response_that_waits_is_one_that_runs_to_others_of_its_conversation() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.agents.open_conversation(&stage.cx, "{}", &[]).await.expect("a conversation").id;
        let conversation = (INLINE.to_owned(), conversation);
        let new = |words: &str| {
            let (spec, echo) = (with_tools(), json!({ "background": true }));
            let response = AsResponse { spec, version: 1, previous: None, echo, stored: true };
            NewTurn { response: Some(response), max_tool_calls: Some(1), ..Stage::asks(&conversation, words) }
        };
        // The second is one call too many: nobody is asked about it.
        stage.model.play([Line::Call(vec![("a", "refund", "{}"), ("b", "refund", "{}")])]);
        let turn = stage.agents.create_turn(&stage.cx, new("money back")).await.expect("a response");
        let waits = async {
            while stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items.is_empty() {
                tokio::task::yield_now().await;
            }
        };
        happens("the response to wait", waits).await;
        let open = stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items;
        assert_eq!(open.iter().map(|one| one.call.id.as_str()).collect::<Vec<_>>(), ["a"]);
        let view = stage.agents.load_turn(&stage.cx, &turn.id).await.expect("it");
        assert!(done(&view)[0].1.contains("max_tool_calls"), "{:?}", done(&view));
        let refused = stage.agents.create_turn(&stage.cx, new("are you there?")).await.expect_err("it runs");
        assert_eq!(refused.code.as_deref(), Some("turn_running"));
        // Deleted, it waits no more.
        stage.agents.delete_response(&stage.cx, &turn.id).await.expect("deleted");
        let late = stage.agents.decide(&stage.cx, &open[0].id, true, None).await.expect_err("too late");
        assert_eq!(late.code.as_deref(), Some("approval_withdrawn"));
        assert!(effects(&stage).is_empty());
    })
    .await;
}

/// A background response that asks for a payment and a function of its client in one answer.
async fn in_background(stage: &Stage) -> frontdesk_api::turn::Turn {
    let look =
        ToolSpec { name: "theirs".into(), description: None, parameters: None, strict: None, cache_control: None };
    let spec = AgentSpec { client_tools: vec![look], ..with_tools() };
    let agent = stage.agents.create_agent(&stage.cx, spec.clone()).await.expect("an agent");
    let response = AsResponse { spec, version: 1, previous: None, echo: json!({ "background": true }), stored: true };
    let asks = Stage::asks(&(agent.id, String::new()), "money back");
    let new = NewTurn { session_id: None, response: Some(response), ..asks };
    // The model is asked no more: its client has the word.
    stage.model.play([Line::Call(vec![("a", "refund", "{}"), ("b", "theirs", "{}")])]);
    stage.agents.create_turn(&stage.cx, new).await.expect("a response")
}

#[tokio::test]
async fn a_response_in_the_background_waits_for_a_person_and_then_ends_with_its_clients_calls() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for approve in [true, false] {
            let before = effects(&stage).len();
            let turn = in_background(&stage).await;
            // Followed on while it waits, to its end.
            let mut events = stage.agents.events(&stage.cx, &turn.id, None).await.expect("events");
            let approval = async {
                loop {
                    let event = events.next().await.expect("it goes on").expect("an event");
                    if let EventBody::AwaitingInput { approvals, calls, .. } = event.body {
                        assert!(calls.is_empty(), "its client is asked at its end: {calls:?}");
                        break approvals[0].approval_id.clone();
                    }
                }
            };
            let approval = happens("the response to wait", approval).await;
            assert_eq!(effects(&stage).len(), before);
            let open = stage.agents.open_approvals(&stage.cx, &all()).await.expect("a list").items;
            assert_eq!(open.iter().map(|one| (&one.id, &one.turn_id)).collect::<Vec<_>>(), [(&approval, &turn.id)]);
            stage.agents.decide(&stage.cx, &approval, approve, None).await.expect("decided");
            let rest = async {
                let mut rest = vec![];
                while let Some(event) = events.next().await {
                    rest.push(event.expect("an event"));
                }
                rest
            };
            let rest = happens("the response to end", rest).await;
            assert!(matches!(rest.last().expect("an end").body, EventBody::Completed { .. }), "{rest:?}");
            let view = stage.agents.load_turn(&stage.cx, &turn.id).await.expect("it");
            assert_eq!(effects(&stage).len(), before + usize::from(approve));
            let answered = view.items.iter().filter_map(|item| match &item.body {
                ItemBody::FunctionCallOutput { call_id, .. } => Some(call_id.as_str()),
                _ => None,
            });
            assert_eq!(answered.collect::<Vec<_>>(), ["a"], "the other is its client's to make");
        }
    })
    .await;
}

/// A turn whose payment was made by a worker that was lost before it said so, and what the rest of `lines` came to.
async fn paid_unseen(stage: &Stage, spec: AgentSpec, lines: Vec<Line>) -> ((String, String), TurnView) {
    paid_first(stage, spec, vec![("a", "pay", "{}")], lines).await
}

/// The same of the first of these calls.
async fn paid_first(
    stage: &Stage,
    spec: AgentSpec,
    calls: Vec<(&'static str, &'static str, &'static str)>,
    lines: Vec<Line>,
) -> ((String, String), TurnView) {
    let (fault, reached) = at(Point::AfterEffect, 2); // behind the model call
    let doomed = stage.failing(short(), fault);
    let conversation = stage.conversation(spec).await;
    stage.model.play([Line::Call(calls)]);
    stage.model.play(lines);
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "pay it")).await.expect("a turn");
    assert!(is_lost(&doomed, &turn.id, &reached).await, "it ends before it is lost");
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn.id).await;
    (conversation, view)
}

async fn impatient(store: frontdesk_store::Store) -> Stage {
    Stage::with(store, Arc::new(RandomIds), short(), Bounds::default()).await
}

#[tokio::test]
async fn what_may_have_been_done_is_not_asked_for_again_without_a_person() {
    each_database(|store| async move {
        let stage = impatient(store).await;
        let again = vec![
            Line::Call(vec![("b", "book", "{}"), ("c", "pay", "{}")]),
            Line::Call(vec![("d", "pay", "{}")]),
            Line::Say("Paid."),
        ];
        let (_, waiting) = paid_unseen(&stage, with_tools(), again).await;
        let id = asked(&waiting).to_owned();
        assert_eq!(effects(&stage), ["pay", "book"], "another tool runs, the same one waits");
        let approval = stage.agents.approval(&stage.cx, &id).await.expect("it");
        assert_eq!((approval.cause, approval.call.id.as_str()), (Cause::OutcomeUnknown, "c"));
        stage.agents.decide(&stage.cx, &id, true, None).await.expect("a word");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Paid."), "{:?}", view.turn);
        assert_eq!(effects(&stage), ["pay", "book", "pay", "pay"], "who looked once is not asked again");
    })
    .await;
}

#[tokio::test]
async fn it_is_not_forgotten_by_the_next_turn_and_a_denial_is_no_payment() {
    each_database(|store| async move {
        let stage = impatient(store).await;
        let (conversation, view) = paid_unseen(&stage, with_tools(), vec![Line::Say("I cannot tell.")]).await;
        assert_eq!(view.turn.state, TurnState::Completed, "{:?}", view.turn);
        for call in ["b", "c"] {
            stage.model.play([Line::Call(vec![(call, "pay", "{}")]), Line::Say("Not paid.")]);
            let waiting = stage.ask(&conversation, "then pay again").await;
            stage.agents.decide(&stage.cx, asked(&waiting), false, None).await.expect("a word");
            assert_eq!(answer(&stage.settled(&waiting.turn.id).await), "Not paid.");
        }
        assert_eq!(effects(&stage), ["pay"]);
    })
    .await;
}

#[tokio::test]
async fn a_rule_that_lets_a_tool_run_lets_it_run_again() {
    each_database(|store| async move {
        let stage = impatient(store).await;
        let spec = AgentSpec { approvals: rules(json!([{ "tool": "pay", "ask": false }])), ..with_tools() };
        let again = vec![Line::Call(vec![("b", "pay", "{}")]), Line::Say("Paid.")];
        let (_, view) = paid_unseen(&stage, spec, again).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Paid."), "{:?}", view.turn);
        assert_eq!(effects(&stage), ["pay", "pay"]);
    })
    .await;
}

#[tokio::test]
async fn where_nobody_can_be_asked_what_may_have_been_done_is_refused() {
    each_database(|store| async move {
        let stage = impatient(store).await;
        let (fault, reached) = at(Point::AfterEffect, 2); // behind the model call
        let doomed = stage.failing(short(), fault);
        let (agent_id, _) = stage.conversation(with_tools()).await;
        let spec = with_tools();
        let response = AsResponse { spec, version: 1, previous: None, echo: json!({}), stored: true };
        stage.model.play([
            Line::Call(vec![("a", "pay", "{}")]),
            Line::Call(vec![("b", "pay", "{}")]),
            Line::Say("Please wait for a colleague."),
        ]);
        let new =
            NewTurn { session_id: None, response: Some(response), ..Stage::asks(&(agent_id, String::new()), "pay") };
        let turn = doomed.agents.create_turn(&stage.cx, new).await.expect("a turn");
        assert!(is_lost(&doomed, &turn.id, &reached).await, "it ends before it is lost");
        stage.agents.recover().await.expect("another process");
        let view = stage.settled(&turn.id).await;
        assert_eq!(answer(&view), "Please wait for a colleague.");
        assert_eq!(effects(&stage), ["pay"]);
        let prompt = stage.model.asked().pop().expect("a prompt");
        let read = &prompt.last().expect("a result").1;
        assert!(read.contains("'pay' was cut off before and may have done its work"), "{read}");
    })
    .await;
}

#[tokio::test]
async fn what_was_asked_for_beside_it_says_nothing_about_it() {
    each_database(|store| async move {
        let stage = impatient(store).await;
        let both = vec![("a", "pay", "{}"), ("b", "pay", "{}")];
        let again = vec![Line::Call(vec![("c", "pay", "{}")]), Line::Say("Paid.")];
        let (_, waiting) = paid_first(&stage, with_tools(), both, again).await;
        let approval = stage.agents.approval(&stage.cx, asked(&waiting)).await.expect("it");
        assert_eq!((approval.cause, approval.call.id.as_str()), (Cause::OutcomeUnknown, "c"));
        assert_eq!(effects(&stage), ["pay", "pay"], "both of the first answer");
    })
    .await;
}

#[tokio::test]
async fn a_tool_that_does_not_know_either_is_asked_again_by_a_person_alone() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.tools.open("till", "?the till did not answer");
        let spec = AgentSpec { toolgroups: vec!["gates".into()], ..AgentSpec::new("m") };
        let conversation = stage.conversation(spec).await;
        stage.model.play(["a", "b"].map(|id| Line::Call(vec![(id, "charge", "{\"gate\":\"till\"}")])));
        let waiting = stage.ask(&conversation, "charge it").await;
        let approval = stage.agents.approval(&stage.cx, asked(&waiting)).await.expect("it");
        assert_eq!((approval.cause, approval.call.id.as_str()), (Cause::OutcomeUnknown, "b"));
        assert_eq!(stage.tools.keys("till").len(), 1);
    })
    .await;
}
