//! Calls of one answer side by side: which run together, and that a turn reads as its model asked, however they end.
//!
//! No test here measures time: calls wait at gates that the test opens, or for each other. What begins together has its
//! intents in one commit before any of it begins, so a step that is not there when a call has begun was not begun.

use std::sync::{Arc, atomic::Ordering};

use frontdesk_agents::{Bounds, TurnView};
use frontdesk_api::{
    agent::{AgentSpec, AgentTool, HandOffSpec, Limits},
    chat::{Message, Role, ToolSpec},
    id::RandomIds,
    tools::ToolResult,
    turn::{Event, EventBody, ItemBody, StepKind, StepOutput, StepState, TurnState},
};
use frontdesk_store::{
    testing::each_database,
    transcript::{self, StoredStep},
};
use futures::StreamExt as _;

use crate::stage::{Line, Stage, answer, done, happens, pace};

/// An agent with the groups `shop` and `gates`.
pub fn with_gates() -> AgentSpec {
    AgentSpec { toolgroups: vec!["shop".into(), "gates".into()], ..AgentSpec::new("m") }
}

/// Calls of one tool, each at the gate of its id.
pub fn at_gates(tool: &'static str, ids: &[(&'static str, &'static str)]) -> Line {
    Line::Call(ids.iter().map(|(id, gate)| (*id, tool, *gate)).collect())
}

pub const ABC: [(&str, &str); 3] = [("a", r#"{"gate":"a"}"#), ("b", r#"{"gate":"b"}"#), ("c", r#"{"gate":"c"}"#)];

/// Begins a turn that is asked something.
pub async fn begin(stage: &Stage, conversation: &(String, String)) -> String {
    stage.agents.create_turn(&stage.cx, Stage::asks(conversation, "go")).await.expect("a turn").id
}

/// The turn's tool calls by their ids, in the order of their steps.
pub async fn steps(stage: &Stage, turn: &str) -> Vec<(String, StoredStep)> {
    let mut tx = stage.store.tenant(&stage.cx).read().await.expect("a transaction");
    let steps = transcript::steps(&mut tx, turn).await.expect("steps");
    assert!((0..).zip(&steps).all(|(n, stored)| stored.step.n == n), "numbers without gaps: {steps:?}");
    let steps = steps.into_iter().filter(|s| s.step.kind == StepKind::ToolExecution);
    let id = |s: &StoredStep| s.input.as_ref().expect("a call")["id"].as_str().expect("an id").to_owned();
    steps.map(|s| (id(&s), s)).collect()
}

/// How the turn's calls stand, in the order of their steps.
pub async fn states(stage: &Stage, turn: &str) -> Vec<StepState> {
    steps(stage, turn).await.into_iter().map(|(_, stored)| stored.step.state).collect()
}

/// How many of the turn's calls have begun.
pub async fn begun(stage: &Stage, turn: &str) -> usize {
    steps(stage, turn).await.len()
}

/// Waits until the step of this call is in this state.
pub async fn until(stage: &Stage, turn: &str, id: &str, state: StepState) {
    let wait = async {
        while !steps(stage, turn).await.iter().any(|(call, stored)| call == id && stored.step.state == state) {
            tokio::task::yield_now().await;
        }
    };
    happens("a step to change", wait).await;
}

/// Opens a gate and waits until the call there has come to its end, which is written when those before it have.
pub async fn come(stage: &Stage, gate: &str, words: &str) {
    let inside = stage.tools.inside.load(Ordering::SeqCst);
    stage.tools.open(gate, words);
    let wait = async {
        while stage.tools.inside.load(Ordering::SeqCst) >= inside {
            tokio::task::yield_now().await;
        }
    };
    happens("a call to come to its end", wait).await;
}

/// What the outputs of calls say, in the order of the turn's items.
pub fn outputs(view: &TurnView) -> Vec<&str> {
    let outputs = view.items.iter().filter_map(|item| match &item.body {
        ItemBody::FunctionCallOutput { output, .. } => Some(output.as_str()),
        _ => None,
    });
    outputs.collect()
}

/// What the model read of calls in its last prompt.
pub fn read(stage: &Stage) -> Vec<String> {
    let prompt = stage.model.asked().pop().expect("a prompt");
    prompt.into_iter().filter(|(role, _)| *role == Role::Tool).map(|(_, words)| words).collect()
}

/// A stream that is picked up behind any number reads as the rest of the whole one.
pub async fn same_from_everywhere(stage: &Stage, turn: &str) -> Vec<Event> {
    let all = stage.events(turn).await;
    for (i, event) in all.iter().enumerate() {
        let rest = stage.agents.events(&stage.cx, turn, Some(event.seq)).await.expect("events");
        let rest: Vec<Event> = rest.map(|event| event.expect("an event")).collect().await;
        assert_eq!(rest, all[i + 1..], "behind {}", event.seq);
    }
    all
}

#[tokio::test]
async fn calls_that_only_read_run_side_by_side() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_gates()).await;
        // Each of them ends only once the other has begun.
        stage.model.play([Line::Call(vec![("a", "meet", "{}"), ("b", "meet", "{}")]), Line::Say("Met.")]);
        let view = happens("two calls to meet", stage.ask(&conversation, "go")).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Met."));
        assert_eq!(done(&view).len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_turn_reads_as_its_model_asked_however_its_calls_end() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_gates()).await;
        stage.model.play([at_gates("hold", &ABC), Line::Say("Done.")]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(3).await;
        come(&stage, "b", "second").await;
        stage.tools.open("a", "first");
        // What is known is written while another still runs.
        until(&stage, &turn, "b", StepState::Done).await;
        assert_eq!(states(&stage, &turn).await, [StepState::Done, StepState::Done, StepState::Intent]);
        stage.tools.open("c", "third");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Done."));
        let want = ["first", "second", "third"];
        assert_eq!(outputs(&view), want);
        assert_eq!(done(&view).iter().map(|d| d.1.as_str()).collect::<Vec<_>>(), want);
        assert_eq!(read(&stage), want);
        let all = same_from_everywhere(&stage, &turn).await;
        let ended = all.iter().filter_map(|event| match &event.body {
            EventBody::StepCompleted { step } => match &step.output {
                Some(StepOutput::ToolExecution { call, .. }) => Some(call.id.as_str()),
                _ => None,
            },
            _ => None,
        });
        assert_eq!(ended.collect::<Vec<_>>(), ["a", "b", "c"]);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_may_change_something_runs_by_itself_in_its_place() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_gates()).await;
        let asked = vec![
            ("1", "hold", r#"{"gate":"1"}"#),
            ("2", "charge", r#"{"gate":"2"}"#),
            ("3", "put", r#"{"gate":"3"}"#),
            ("4", "put", r#"{"gate":"4"}"#),
            ("5", "keep", r#"{"gate":"5"}"#),
            ("6", "hold", r#"{"gate":"6"}"#),
            ("7", "hold", r#"{"gate":"7"}"#),
        ];
        stage.model.play([Line::Call(asked), Line::Say("Done.")]);
        let turn = begin(&stage, &conversation).await;
        for n in 1..=5 {
            assert_eq!(stage.tools.at(n).await.len(), n);
            assert_eq!(begun(&stage, &turn).await, n, "nothing else has begun");
            stage.tools.open(&n.to_string(), "ok");
        }
        // What only reads runs together again.
        assert_eq!(stage.tools.at(7).await.len(), 7);
        stage.tools.open("6", "ok");
        stage.tools.open("7", "ok");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, done(&view).len()), (TurnState::Completed, 7));
    })
    .await;
}

#[tokio::test]
async fn no_more_run_at_once_than_a_turn_may_have() {
    each_database(|store| async move {
        let bounds = Bounds { calls_at_once: 2, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), pace(), bounds).await;
        let conversation = stage.conversation(with_gates()).await;
        stage.model.play([at_gates("hold", &ABC), Line::Say("Done.")]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        stage.tools.open("a", "ok");
        until(&stage, &turn, "a", StepState::Done).await;
        assert_eq!(begun(&stage, &turn).await, 2, "the next ones begin when these have ended");
        stage.tools.open("b", "ok");
        assert_eq!(stage.tools.at(3).await.pop().as_deref(), Some("c"));
        stage.tools.open("c", "ok");
        assert_eq!(stage.settled(&turn).await.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn turns_share_the_places_beside_their_first_calls() {
    each_database(|store| async move {
        let bounds = Bounds { calls_beside: 1, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), pace(), bounds).await;
        stage.model.play([at_gates("hold", &ABC)]);
        let flood = begin(&stage, &stage.conversation(with_gates()).await).await;
        stage.tools.at(2).await;
        let de = [("d", r#"{"gate":"d"}"#), ("e", r#"{"gate":"e"}"#)];
        stage.model.play([at_gates("hold", &de)]);
        let other = begin(&stage, &stage.conversation(with_gates()).await).await;
        // Its first call needs no place, and there is none for its second.
        assert_eq!(stage.tools.at(3).await[2], "d");
        assert_eq!((begun(&stage, &flood).await, begun(&stage, &other).await), (2, 1));
        stage.model.play([Line::Say("Done."), Line::Say("Done.")]);
        for gate in ["a", "b", "c", "d", "e"] {
            stage.tools.open(gate, "ok");
        }
        for turn in [flood, other] {
            assert_eq!(stage.settled(&turn).await.turn.state, TurnState::Completed);
        }
        // The place is free again.
        stage.model.play([at_gates("hold", &[("f", r#"{"gate":"f"}"#), ("g", r#"{"gate":"g"}"#)]), Line::Say("Done.")]);
        let next = begin(&stage, &stage.conversation(with_gates()).await).await;
        assert_eq!(stage.tools.at(7).await[5..], ["f", "g"]);
        stage.tools.open("f", "ok");
        stage.tools.open("g", "ok");
        assert_eq!(stage.settled(&next).await.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn one_after_another_where_the_agent_the_tool_or_the_process_says_so() {
    each_database(|store| async move {
        let one_by_one = AgentSpec { parallel_tool_calls: Some(false), ..with_gates() };
        let nothing_beside = Bounds { calls_beside: 0, ..Bounds::default() };
        for (tool, spec, bounds) in [
            ("hold", one_by_one, Bounds::default()),
            ("keep", with_gates(), Bounds::default()),
            ("hold", with_gates(), nothing_beside),
        ] {
            let stage = Stage::with(store.clone(), Arc::new(RandomIds), pace(), bounds).await;
            let conversation = stage.conversation(spec).await;
            stage.model.play([at_gates(tool, &ABC), Line::Say("Done.")]);
            let turn = begin(&stage, &conversation).await;
            for (n, (id, _)) in (1..).zip(ABC) {
                assert_eq!(stage.tools.at(n).await[n - 1], id);
                assert_eq!(begun(&stage, &turn).await, n, "nothing else has begun");
                stage.tools.open(id, "ok");
            }
            assert_eq!(stage.settled(&turn).await.turn.state, TurnState::Completed);
        }
    })
    .await;
}

#[tokio::test]
async fn what_waits_for_others_holds_up_nothing() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool =
            ToolSpec { name: "weather".into(), description: None, parameters: None, strict: None, cache_control: None };
        let conversation = stage.conversation(AgentSpec { client_tools: vec![tool], ..with_gates() }).await;
        let asked =
            vec![("r", "refund", "{}"), ("a", "hold", ABC[0].1), ("w", "weather", "{}"), ("b", "hold", ABC[1].1)];
        stage.model.play([Line::Call(asked), Line::Say("Done.")]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        assert_eq!(begun(&stage, &turn).await, 2, "nobody is asked while something runs");
        come(&stage, "b", "second").await;
        stage.tools.open("a", "first");
        let waiting = stage.settled(&turn).await;
        assert_eq!((waiting.turn.state, waiting.waiting.len()), (TurnState::AwaitingInput, 1));
        assert_eq!(outputs(&waiting), ["first", "second"]);
        let [approval] = &waiting.approvals[..] else { panic!("{:?}", waiting.approvals) };
        stage.agents.decide(&stage.cx, &approval.approval_id, false, None).await.expect("denied");
        let result = ToolResult { content: "sun".into(), is_error: false, details: None };
        stage.agents.resume(&stage.cx, &turn, vec![("w".to_owned(), result)]).await.expect("taken in");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Done."));
        let outputs = outputs(&view);
        assert_eq!((outputs.len(), &outputs[..2], outputs[3]), (4, &["first", "second"][..], "sun"), "{outputs:?}");
        assert!(outputs[2].contains("denied"), "{outputs:?}");
        same_from_everywhere(&stage, &turn).await;
    })
    .await;
}

#[tokio::test]
async fn a_limit_lets_what_runs_end_and_nothing_more_begin() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let limits = Limits { max_tool_calls: 2, ..Limits::default() };
        let conversation = stage.conversation(AgentSpec { limits, ..with_gates() }).await;
        stage.model.play([at_gates("hold", &ABC)]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        come(&stage, "b", "second").await;
        stage.tools.open("a", "first");
        let view = stage.settled(&turn).await;
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("max_tool_calls"));
        assert_eq!((view.turn.state, outputs(&view)), (TurnState::Incomplete, vec!["first", "second"]));
        assert_eq!(stage.tools.at(2).await, ["a", "b"]);
    })
    .await;
}

#[tokio::test]
async fn a_hand_over_waits_for_what_was_asked_before_it_and_begins_nothing_behind_it() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague takes over."));
        let conversation = stage.conversation(AgentSpec { hand_off, ..with_gates() }).await;
        let hands_over = ("h", "hand_off", r#"{"reason":"customer_request"}"#);
        let asked = vec![("a", "hold", ABC[0].1), ("b", "hold", ABC[1].1), hands_over, ("c", "hold", ABC[2].1)];
        stage.model.play([Line::Call(asked)]);
        let turn = begin(&stage, &conversation).await;
        stage.tools.at(2).await;
        assert_eq!(begun(&stage, &turn).await, 2);
        stage.tools.open("a", "first");
        stage.tools.open("b", "second");
        let view = stage.settled(&turn).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "A colleague takes over."));
        assert!(view.turn.hand_off.is_some());
        assert_eq!(stage.tools.at(2).await, ["a", "b"]);
    })
    .await;
}

/// Who is prompted, by its instructions, and whether the last message is a tool's.
pub fn seen(prompt: &[Message]) -> (String, bool) {
    let words = prompt.iter().find(|m| m.role == Role::System).map(Message::joined).unwrap_or_default();
    (words, prompt.last().is_some_and(|m| m.role == Role::Tool))
}

pub fn ask_both() -> Line {
    Line::Call(vec![("x", "ask_one", r#"{"message":"go"}"#), ("y", "ask_two", r#"{"message":"go"}"#)])
}

/// Asks two agents, each of which meets the other.
fn asks_two(prompt: &[Message]) -> Line {
    let (who, answered) = seen(prompt);
    match (who.as_str(), answered) {
        ("shop", false) => ask_both(),
        ("shop", true) => Line::Say("Both did."),
        (_, false) => Line::Call(vec![("m", "meet", "{}")]),
        ("one", true) => Line::Say("One did."),
        (_, true) => Line::Say("Two did."),
    }
}

pub fn asks(agents: [&str; 2], spec: AgentSpec) -> AgentSpec {
    let agents = agents.map(|agent| AgentTool { agent: agent.into(), description: String::new() });
    AgentSpec { agents: agents.into(), ..spec }
}

/// The agents `one` and `two`.
pub async fn one_and_two(stage: &Stage) {
    for name in ["one", "two"] {
        if stage.agents.find_agent_named(&stage.cx, name).await.expect("rows").is_some() {
            continue;
        }
        let hand_off = Some(HandOffSpec::to_people("A colleague takes over."));
        let spec = AgentSpec { name: Some(name.into()), instructions: name.into(), hand_off, ..with_gates() };
        stage.agents.create_agent(&stage.cx, spec).await.expect("an agent");
    }
}

/// A conversation with `shop`, which asks `one` and `two`.
pub async fn shop(stage: &Stage, limits: Limits) -> (String, String) {
    one_and_two(stage).await;
    let spec = AgentSpec { instructions: "shop".into(), limits, ..with_gates() };
    stage.conversation(asks(["one", "two"], spec)).await
}

#[tokio::test]
async fn agents_that_are_asked_run_side_by_side() {
    each_database(|store| async move {
        // In the place of the turn that asks, and in none of the process's for calls.
        let bounds = Bounds { at_once: 1, calls_beside: 0, ..Bounds::default() };
        let stage = Stage::with(store, Arc::new(RandomIds), pace(), bounds).await;
        stage.agents.recover().await.expect("it works");
        stage.model.follow(asks_two);
        let conversation = shop(&stage, Limits::default()).await;
        let view = happens("two agents to meet", stage.ask(&conversation, "go")).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Both did."));
        assert_eq!(outputs(&view), ["One did.", "Two did."]);
        assert_eq!(view.turn.usage.input_tokens, 60, "of all six calls");
        stage.agents.shutdown(std::time::Duration::ZERO).await;
    })
    .await;
}

#[tokio::test]
async fn agents_that_were_asked_themselves_ask_one_after_another() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        stage.model.follow(|prompt| match (seen(prompt).0.as_str(), seen(prompt).1) {
            ("top", false) => Line::Call(vec![("t", "ask_shop", r#"{"message":"go"}"#)]),
            ("shop", false) => ask_both(),
            ("one", false) => at_gates("hold", &ABC[..1]),
            _ => Line::Say("done"),
        });
        one_and_two(&stage).await;
        let middle = AgentSpec { name: Some("shop".into()), instructions: "shop".into(), ..AgentSpec::new("m") };
        stage.agents.create_agent(&stage.cx, asks(["one", "two"], middle)).await.expect("an agent");
        let top = AgentTool { agent: "shop".into(), description: String::new() };
        let spec = AgentSpec { instructions: "top".into(), agents: vec![top], ..AgentSpec::new("m") };
        let turn = begin(&stage, &stage.conversation(spec).await).await;
        stage.tools.at(1).await;
        // Those prompted so far: nobody asked the other one.
        assert_eq!(stage.model.asked().len(), 3);
        let asked = steps(&stage, &turn).await[0].1.input.clone().expect("a call")["turn"].clone();
        assert_eq!(begun(&stage, asked.as_str().expect("a turn")).await, 1);
        stage.tools.open("a", "ok");
        assert_eq!(stage.settled(&turn).await.turn.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn agents_share_what_is_left_to_the_turn_where_it_is_enough_and_go_one_after_another_where_not() {
    each_database(|store| async move {
        // Both never stop by themselves. One model call is made when they are asked.
        for (max_steps, want) in [
            (9, ["limit of 4 model calls", "limit of 4 model calls"]),
            (8, ["limit of 7 model calls", "no model call is left"]),
        ] {
            let stage = Stage::set(store.clone()).await;
            stage.model.follow(|prompt| match seen(prompt).0.as_str() {
                "shop" => ask_both(),
                _ => Line::Call(vec![("l", "look", "{}")]),
            });
            let conversation = shop(&stage, Limits { max_steps, ..Limits::default() }).await;
            let view = stage.ask(&conversation, "go").await;
            let outputs = outputs(&view);
            assert!(outputs.iter().zip(want).all(|(output, want)| output.contains(want)), "{outputs:?}");
            let code = view.turn.error.as_ref().map(|e| e.code.as_str());
            assert_eq!((view.turn.state, code), (TurnState::Incomplete, Some("max_steps")));
            assert_eq!(stage.model.asked().len(), usize::try_from(max_steps).expect("a number"), "of all of them");
        }
    })
    .await;
}
