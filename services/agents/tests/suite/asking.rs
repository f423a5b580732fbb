//! Agents that ask one another: the asked turn is made once, within what is left to the asking one, and ends with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use frontdesk_agents::{Bounds, Fault, Pace, Point, Writing};
use frontdesk_api::{
    Kind,
    agent::{AgentSpec, AgentTool, HandOffSpec, Limits},
    chat::{Message, Role, ToolSpec, Usage},
    id::RandomIds,
    turn::{HandOffReason, StepOutput, StepState, TurnState},
};
use frontdesk_store::{
    Store,
    testing::{each_database, turns_of},
};
use tokio::sync::Notify;

use crate::stage::{Line, Stage, answer, done, happens, pace, with_tools};

fn asks(agents: &[&str], spec: AgentSpec) -> AgentSpec {
    let tool = |agent: &&str| AgentTool { agent: (*agent).to_owned(), description: String::new() };
    AgentSpec { agents: agents.iter().map(tool).collect(), ..spec }
}

fn named(name: &str, spec: AgentSpec) -> AgentSpec {
    AgentSpec { name: Some(name.into()), instructions: name.into(), ..spec }
}

/// The agent that is prompted, by its instructions; whether the last message is a tool's; the user's words.
fn seen(prompt: &[Message]) -> (String, bool, String) {
    let words = |role| prompt.iter().find(|m| m.role == role).map(Message::joined).unwrap_or_default();
    (words(Role::System), prompt.last().is_some_and(|m| m.role == Role::Tool), words(Role::User))
}

/// `shop` asks `returns`, which looks and answers.
fn by_agent(prompt: &[Message]) -> Line {
    match (seen(prompt).0.as_str(), seen(prompt).1) {
        ("shop", false) => Line::Call(vec![("c1", "ask_returns", r#"{"message":"may it go back?"}"#)]),
        ("shop", true) => Line::Say("It may."),
        (_, false) => Line::Call(vec![("c1", "look", "{}")]),
        (_, true) => Line::Say("Within 30 days."),
    }
}

async fn shop(stage: &Stage) -> ((String, String), String) {
    let returns = stage.agents.create_agent(&stage.cx, named("returns", with_tools())).await.expect("an agent");
    let conversation = stage.conversation(named("shop", asks(&["returns"], AgentSpec::new("m")))).await;
    (conversation, returns.id)
}

/// Waits until an agent's turns are so many, which happens in the background.
async fn turns(stage: &Stage, agent: &str, want: i64) {
    let wait = async {
        while turns_of(&stage.store, &stage.cx, agent).await != want {
            tokio::task::yield_now().await;
        }
    };
    happens("the agent's turns to be as many as wanted", wait).await;
}

#[tokio::test]
async fn what_another_agent_answers_is_a_tools_result() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(by_agent);
        let (conversation, returns) = shop(&stage).await;
        let view = stage.ask(&conversation, "hi").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "It may."));
        assert_eq!(done(&view), [("ask_returns".into(), "Within 30 days.".into(), false)]);
        assert_eq!(
            view.turn.usage,
            Usage { input_tokens: 40, output_tokens: 8, ..Usage::default() },
            "of all four calls"
        );
        let asked = &stage.model.asked()[1];
        let want = [(Role::System, "returns"), (Role::User, "may it go back?")];
        assert_eq!(asked.iter().map(|(role, words)| (*role, words.as_str())).collect::<Vec<_>>(), want);
        // What was asked goes with who asked.
        turns(&stage, &returns, 1).await;
        let (agent, session) = &conversation;
        stage.agents.delete_session(&stage.cx, agent, session).await.expect("deleted");
        turns(&stage, &returns, 0).await;
    })
    .await;
}

#[tokio::test]
async fn those_asked_go_with_the_first_one_however_deep() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(|prompt| match (seen(prompt).0.as_str(), seen(prompt).1) {
            ("a", false) => Line::Call(vec![("c", "ask_b", r#"{"message":"go"}"#)]),
            ("b", false) => Line::Call(vec![("c", "ask_c", r#"{"message":"go"}"#)]),
            ("c", false) => Line::Call(vec![("c", "ask_d", r#"{"message":"go"}"#)]),
            ("d", false) => Line::Call(vec![("c", "ask_e", r#"{"message":"go"}"#)]),
            _ => Line::Say("done"),
        });
        let mut ids = vec![];
        for (name, next) in [("e", None), ("d", Some("e")), ("c", Some("d")), ("b", Some("c"))] {
            let spec = named(name, asks(next.as_slice(), AgentSpec::new("m")));
            ids.push(stage.agents.create_agent(&stage.cx, spec).await.expect("an agent").id);
        }
        let conversation = stage.conversation(named("a", asks(&["b"], AgentSpec::new("m")))).await;
        let view = stage.ask(&conversation, "hi").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "done"));
        // The fourth below the first is one too many, and its question comes to a result that says so.
        for (id, want) in ids.iter().zip([0, 1, 1, 1]) {
            turns(&stage, id, want).await;
        }
        let told = stage.model.asked().into_iter().find(|prompt| prompt[0].1 == "d" && prompt.len() > 2);
        assert!(told.expect("a prompt").last().expect("a result").1.contains("3 deep at most"));
        assert_eq!(view.turn.usage.input_tokens, 80, "two calls of each of the four");
        stage.agents.delete_session(&stage.cx, &conversation.0, &conversation.1).await.expect("deleted");
        for id in &ids {
            turns(&stage, id, 0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_left_to_the_asking_turn_is_all_that_the_asked_one_has() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(by_agent);
        stage.agents.create_agent(&stage.cx, named("returns", with_tools())).await.expect("an agent");
        let limits = Limits { max_steps: 2, ..Limits::default() };
        let spec = named("shop", AgentSpec { limits, ..asks(&["returns"], AgentSpec::new("m")) });
        let view = stage.ask(&stage.conversation(spec).await, "hi").await;
        let [(_, result, true)] = &done(&view)[..] else { panic!("one that failed: {view:?}") };
        assert!(result.contains("limit of 1 model calls"), "{result}");
        let error = view.turn.error.expect("a limit");
        assert_eq!((view.turn.state, error.code.as_str()), (TurnState::Incomplete, "max_steps"), "one and one");
        assert_eq!(stage.model.asked().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_cannot_be_asked_is_told_to_the_model() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (conversation, returns) = shop(&stage).await;
        let call = |arguments: &'static str| Line::Call(vec![("c1", "ask_returns", arguments)]);
        stage.model.play([call("{}"), Line::Say("Hm.")]);
        let view = stage.ask(&conversation, "hi").await;
        assert!(done(&view)[0].1.contains("need a 'message'"));
        stage.model.play([
            call(r#"{"message":"x"}"#),
            Line::Fail(frontdesk_api::Error::upstream("down")),
            Line::Say("Hm."),
        ]);
        let view = stage.ask(&conversation, "hi").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Hm."));
        assert!(done(&view)[0].1.contains("'returns' did not answer: down"), "{:?}", done(&view));
        stage.agents.delete_agent(&stage.cx, &returns).await.expect("deleted");
        stage.model.play([call(r#"{"message":"x"}"#), Line::Say("Hm.")]);
        let view = stage.ask(&conversation, "hi").await;
        assert!(done(&view)[0].1.contains("there is no agent called 'returns'"));
    })
    .await;
}

#[tokio::test]
async fn a_circle_of_agents_is_refused_when_it_would_be_closed_and_does_not_turn_if_it_was() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let refused = async |spec: AgentSpec| {
            let error = stage.agents.create_agent(&stage.cx, spec).await.expect_err("refused");
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("agents[0].agent")), "{error}");
            error.message
        };
        assert!(refused(named("a", asks(&["nobody"], AgentSpec::new("m")))).await.contains("no agent called 'nobody'"));
        assert!(refused(named("a", asks(&["a"], AgentSpec::new("m")))).await.contains("ask itself"));
        let agents = &stage.agents;
        let a = agents.create_agent(&stage.cx, named("a", AgentSpec::new("m"))).await.expect("an agent").id;
        agents.create_agent(&stage.cx, named("b", asks(&["a"], AgentSpec::new("m")))).await.expect("an agent");
        let circle = named("a", asks(&["b"], AgentSpec::new("m")));
        let closed = agents.write_version(&stage.cx, &a, &circle, &Writing::default()).await;
        assert!(closed.expect_err("a circle").message.contains("b, which asks a"));
        let same = asks(&["x y", "x_y"], AgentSpec::new("m"));
        agents.create_agent(&stage.cx, named("x y", AgentSpec::new("m"))).await.expect("an agent");
        agents.create_agent(&stage.cx, named("x_y", AgentSpec::new("m"))).await.expect("an agent");
        let error = agents.create_agent(&stage.cx, same).await.expect_err("two of one name");
        assert_eq!(error.param.as_deref(), Some("agents[1].agent"));
        let tool =
            ToolSpec { name: "ask_a".into(), description: None, parameters: None, strict: None, cache_control: None };
        let error =
            agents.create_agent(&stage.cx, AgentSpec { client_tools: vec![tool], ..asks(&["a"], AgentSpec::new("m")) });
        assert_eq!(error.await.expect_err("two of one name").param.as_deref(), Some("client_tools[0].name"));
    })
    .await;
}

#[tokio::test]
async fn cancelling_the_asking_turn_cancels_the_asked_one() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (conversation, returns) = shop(&stage).await;
        stage.model.play([Line::Call(vec![("c1", "ask_returns", r#"{"message":"x"}"#)]), Line::Silence]);
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "hi")).await.expect("a turn");
        stage.model.begun().await;
        let wait = async {
            while stage.model.asked().len() < 2 {
                tokio::task::yield_now().await;
            }
        };
        happens("two model calls", wait).await;
        stage.agents.cancel(&stage.cx, &turn.id).await.expect("asked to stop");
        let view = stage.settled(&turn.id).await;
        assert_eq!(view.turn.state, TurnState::Cancelled);
        assert_eq!(view.steps.last().expect("a step").state, StepState::Unknown);
        turns(&stage, &returns, 1).await;
        // Both have ended once nothing is worked on.
        let wait = async {
            while stage.agents.tally().running > 0 {
                tokio::task::yield_now().await;
            }
        };
        happens("nothing to be worked on", wait).await;
        let ended = stage.agents.tally().ended;
        assert_eq!(ended.iter().find(|(state, _)| *state == TurnState::Cancelled).map(|(_, n)| *n), Some(2));
    })
    .await;
}

#[tokio::test]
async fn an_asked_agent_that_hands_over_hands_over_the_conversation() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(|prompt| match seen(prompt).0.as_str() {
            "shop" => Line::Call(vec![("c1", "ask_returns", r#"{"message":"x"}"#)]),
            _ => Line::Call(vec![("c1", "hand_off", r#"{"reason":"policy_restriction"}"#)]),
        });
        let hand_off = Some(HandOffSpec::to_people("A colleague will write to you."));
        let returns = named("returns", AgentSpec { hand_off, ..AgentSpec::new("m") });
        stage.agents.create_agent(&stage.cx, returns).await.expect("an agent");
        let conversation = stage.conversation(named("shop", asks(&["returns"], AgentSpec::new("m")))).await;
        let view = stage.ask(&conversation, "hi").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "A colleague will write to you."));
        assert_eq!(view.turn.hand_off.map(|hand_off| hand_off.reason), Some(HandOffReason::PolicyRestriction));
    })
    .await;
}

#[tokio::test]
async fn an_asked_turn_needs_no_place_of_its_own() {
    each_database(|store| async move {
        let bounds = Bounds { at_once: 1, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), pace(), bounds).await;
        stage.agents.recover().await.expect("it works");
        stage.model.follow(by_agent);
        let (conversation, _) = shop(&stage).await;
        let view = stage.ask(&conversation, "hi").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "It may."));
    })
    .await;
}

/// A lease that is soon over.
fn short() -> Pace {
    let (lease, renew) = (Duration::from_millis(300), Duration::from_millis(100));
    Pace { lease, renew, poll: Duration::from_millis(50), ..pace() }
}

/// Asked agents book and pay.
fn buyer(prompt: &[Message]) -> Line {
    match (seen(prompt).0.as_str(), seen(prompt).1) {
        ("shop", false) => Line::Call(vec![("c1", "ask_buyer", r#"{"message":"buy"}"#)]),
        ("shop", true) => Line::Say("Bought."),
        (_, false) => Line::Call(vec![("a", "book", "{}"), ("b", "pay", "{}")]),
        (_, true) => Line::Say("Booked and paid."),
    }
}

/// The process dies with all its turns when any of them comes to `point` the `nth` time; false when none did.
async fn survives(store: &Store, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(buyer);
    let (seen, dead) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let told = dead.clone();
    let fault: Fault = Arc::new(move |here| {
        let (seen, told) = (seen.clone(), told.clone());
        Box::pin(async move {
            let n = if here == point { seen.fetch_add(1, Ordering::SeqCst) + 1 } else { seen.load(Ordering::SeqCst) };
            if n >= nth {
                // From then on nothing of this process gets any further. Without a word on the console.
                told.notify_one();
                std::panic::resume_unwind(Box::new("lost"));
            }
        })
    });
    // A dead process looks after nothing.
    let doomed = stage.failing(Pace { poll: Duration::from_secs(3600), ..short() }, fault);
    let name = format!("{point:?} {nth}");
    let returns = stage.agents.create_agent(&stage.cx, named("buyer", with_tools())).await.expect("an agent").id;
    let spec = AgentSpec { instructions: "shop".into(), ..asks(&["buyer"], AgentSpec::new("m")) };
    let conversation = stage.conversation(spec).await;
    let turn = doomed.agents.create_turn(&stage.cx, Stage::asks(&conversation, "buy it")).await.expect("a turn");
    let lost = tokio::select! {
        () = dead.notified() => true,
        _ = doomed.settled(&turn.id) => false,
    };
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn.id).await;
    let asked = view.steps.iter().find_map(|step| match &step.output {
        Some(StepOutput::ToolExecution { result, .. }) => result.details.as_ref()?["turn"].as_str(),
        _ => None,
    });
    let asked = stage.settled(asked.expect("a turn that was asked for")).await;
    let what = format!("{name}: {:?} {:?}, asked {:?} {:?}", view.turn, view.steps, asked.turn, asked.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Bought."), "{what}");
    assert_eq!(turns_of(store, &stage.cx, &returns).await, 1, "asked once: {what}");
    stage.agents.delete_agent(&stage.cx, &returns).await.expect("deleted");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    let ledger = std::mem::take(&mut *stage.tools.ledger.lock().expect("the ledger"));
    let count = |tool: &str| ledger.iter().filter(|(name, _)| name == tool).count();
    assert_eq!((count("book"), count("pay") <= 1), (1, true), "{what}: {ledger:?}");
    lost
}

#[tokio::test]
async fn whenever_the_process_dies_the_question_is_asked_once_and_its_effects_are_not_doubled() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit] {
            let mut nth = 1;
            while Box::pin(survives(&store, point, nth)).await {
                nth += 1;
            }
            assert!(nth > 3, "{point:?} came {nth} times");
        }
    })
    .await;
}
