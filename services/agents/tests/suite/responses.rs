//! Turns that are responses: they end where the client has calls to make, and continue one another.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_agents::{AsResponse, Bounds, INLINE, NewTurn, Point, TurnView};
use frontdesk_api::{
    ChatEvent, Kind,
    agent::{AgentSpec, Limits},
    chat::{FinishReason, Message, Part, Role, ToolSpec},
    filter::{FileFilter, Filter, Test},
    id::RandomIds,
    turn::{ItemBody, TurnState},
};
use frontdesk_store::{Store, testing::each_database};
use serde_json::json;

use crate::{
    lost::{at, is_lost, short},
    stage::{Line, Stage, answer, done, happens, with_tools},
};

fn says(words: &str) -> ItemBody {
    ItemBody::Message { role: Role::User, text: words.into(), citations: vec![] }
}

fn output(call: &str, output: &str) -> ItemBody {
    ItemBody::output(call, output, false)
}

fn asks(spec: AgentSpec, previous: Option<&str>, items: Vec<ItemBody>) -> NewTurn {
    let response =
        AsResponse { spec, version: 1, previous: previous.map(str::to_owned), echo: json!({}), stored: true };
    NewTurn { agent_id: INLINE.into(), items, response: Some(response), ..NewTurn::default() }
}

async fn ask(stage: &Stage, new: NewTurn) -> TurnView {
    let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a response");
    stage.settled(&turn.id).await
}

#[tokio::test]
async fn calls_beyond_what_the_request_lets_run_are_passed_over_and_the_model_answers() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let looks = |n: usize| Line::Call((0..n).map(|i| (["a", "b", "c"][i], "look", "{}")).collect());
        stage.model.play([looks(1), looks(3), looks(1), Line::Say("It is here.")]);
        let limits = Limits { max_tool_calls: 2, ..Limits::default() };
        let spec = AgentSpec { limits, ..with_tools() };
        let new = NewTurn { max_tool_calls: Some(2), ..asks(spec.clone(), None, vec![says("where?")]) };
        let view = ask(&stage, new).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "It is here."));
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 2);
        let steps = done(&view);
        assert_eq!(steps.iter().map(|step| step.2).collect::<Vec<_>>(), [false, false, true, true, true], "{steps:?}");
        assert!(steps[2].1.contains("max_tool_calls"), "{steps:?}");
        let asked = stage.model.asked().pop().expect("a prompt");
        let read = asked.iter().filter(|(role, words)| *role == Role::Tool && words.contains("limit of 2 tool calls"));
        assert_eq!(read.count(), 3, "{asked:?}");

        // A model that does not heed it meets the limit of steps.
        stage.model.play((0..12).map(|_| looks(1)));
        let view = ask(&stage, NewTurn { max_tool_calls: Some(1), ..asks(spec.clone(), None, vec![says("on")]) }).await;
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("max_steps"));
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 3);

        // The agent's own limit is as it was.
        stage.model.play([looks(3)]);
        let view = ask(&stage, NewTurn { max_tool_calls: Some(9), ..asks(spec, None, vec![says("more")]) }).await;
        assert_eq!(view.turn.error.as_ref().map(|e| e.code.as_str()), Some("max_tool_calls"));
        assert_eq!((view.turn.state, stage.tools.calls.load(Ordering::SeqCst)), (TurnState::Incomplete, 5));
    })
    .await;
}

/// Looks twice, and once more, whatever it is told; then it answers.
fn looker(prompt: &[Message]) -> Line {
    match prompt.iter().filter(|message| message.role == Role::Tool).count() {
        0 => Line::Call(vec![("a", "look", "{}"), ("b", "look", "{}")]),
        2 => Line::Call(vec![("c", "look", "{}")]),
        _ => Line::Say("It is here."),
    }
}

/// Whether the worker of a response that lets one call run was lost at the `nth` time it comes to `point`.
async fn passes_over(store: &Store, point: Point, nth: usize) -> bool {
    let stage = Stage::with(store.clone(), Arc::new(RandomIds), short(), Bounds::default()).await;
    stage.model.follow(looker);
    let (fault, reached) = at(point, nth);
    let doomed = stage.failing(short(), fault);
    let new = NewTurn { max_tool_calls: Some(1), ..asks(with_tools(), None, vec![says("where?")]) };
    let turn = doomed.agents.create_turn(&stage.cx, new).await.expect("a response");
    let lost = is_lost(&doomed, &turn.id, &reached).await;
    stage.agents.recover().await.expect("another process");
    let view = stage.settled(&turn.id).await;
    let what = format!("{point:?} {nth}: {:?} {:?}", view.turn, view.steps);
    assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "It is here."), "{what}");
    let failed: Vec<bool> = done(&view).iter().map(|step| step.2).collect();
    assert_eq!(failed, [false, true, true], "the first is made, the others are passed over: {what}");
    stage.agents.shutdown(Duration::ZERO).await;
    doomed.agents.shutdown(Duration::ZERO).await;
    lost
}

#[tokio::test]
async fn wherever_its_worker_dies_as_many_calls_run_as_the_request_lets() {
    each_database(|store| async move {
        for point in [Point::AfterIntent, Point::AfterEffect, Point::BeforeCommit, Point::AfterCommit] {
            let mut nth = 1;
            while passes_over(&store, point, nth).await {
                nth += 1;
            }
            assert!(nth > 3, "{point:?} is come to in every step");
        }
    })
    .await;
}

fn with_client_tool(spec: AgentSpec) -> AgentSpec {
    let tool =
        ToolSpec { name: "theirs".into(), description: None, parameters: None, strict: None, cache_control: None };
    AgentSpec { client_tools: vec![tool], ..spec }
}

#[tokio::test]
async fn calls_of_the_client_end_the_response_after_ours_are_done_and_the_next_one_brings_what_they_came_to() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = with_client_tool(with_tools());
        stage.model.play([Line::Call(vec![("c1", "theirs", "{}"), ("c2", "look", "{}")]), Line::Say("It is here.")]);
        let first = ask(&stage, asks(spec.clone(), None, vec![says("where?")])).await;
        assert_eq!(first.turn.state, TurnState::Completed);
        assert_eq!(done(&first), [("look".to_owned(), "saw {}".to_owned(), false)]);
        let second = ask(&stage, asks(spec, Some(&first.turn.id), vec![output("c1", "on the way")])).await;
        assert_eq!((answer(&second), second.turn.parent.as_deref()), ("It is here.", Some(first.turn.id.as_str())));
        let asked = stage.model.asked().pop().expect("a prompt");
        let want = [(Role::User, "where?"), (Role::Assistant, ""), (Role::Tool, "on the way"), (Role::Tool, "saw {}")];
        assert_eq!(asked.iter().map(|(role, words)| (*role, words.as_str())).collect::<Vec<_>>(), want);
    })
    .await;
}

/// Who reads only these two lists gives no branch what another left.
#[tokio::test]
async fn each_response_has_a_place_for_code_of_its_own_and_names_those_it_continues() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let mut ids: Vec<String> = vec![];
        // Two continue the second.
        for previous in [None, Some(0), Some(1), Some(1)] {
            stage.model.play([Line::Call(vec![("c1", "look", "{}")]), Line::Say("It is here.")]);
            let previous = previous.map(|at: usize| ids[at].clone());
            ids.push(ask(&stage, asks(with_tools(), previous.as_deref(), vec![says("where?")])).await.turn.id);
        }
        let places = stage.tools.places.lock().expect("the places").clone();
        let places: Vec<_> = places.into_iter().flatten().map(|place| (place.id, place.after)).collect();
        let before = |line: &[usize]| line.iter().map(|&at| ids[at].clone()).collect::<Vec<_>>();
        let want = [vec![], before(&[0]), before(&[1, 0]), before(&[1, 0])];
        assert_eq!(places, ids.iter().cloned().zip(want).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_function_of_the_request_cannot_take_the_name_of_a_tool_that_runs_here() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool =
            ToolSpec { name: "look".into(), description: None, parameters: None, strict: None, cache_control: None };
        let spec = AgentSpec { client_tools: vec![tool], ..with_tools() };
        let refused = stage.agents.create_turn(&stage.cx, asks(spec, None, vec![says("where?")])).await;
        let error = refused.expect_err("two tools of one name");
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("tools[0].name")), "{error}");
    })
    .await;
}

#[tokio::test]
async fn responses_branch_and_only_those_that_ended_here_can_be_continued() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec::new("m");
        stage.model.play([Line::Say("one"), Line::Say("two"), Line::Say("three"), Line::Silence]);
        let root = ask(&stage, asks(spec.clone(), None, vec![says("a")])).await.turn.id;
        ask(&stage, asks(spec.clone(), Some(&root), vec![says("b")])).await;
        ask(&stage, asks(spec.clone(), Some(&root), vec![says("c")])).await;
        let asked = stage.model.asked().pop().expect("a prompt");
        assert_eq!(asked.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>(), ["a", "one", "c"]);

        let running =
            stage.agents.create_turn(&stage.cx, asks(spec.clone(), None, vec![says("d")])).await.expect("begun");
        let silent = async {
            while stage.model.asked().len() < 4 {
                tokio::task::yield_now().await;
            }
        };
        happens("the fourth model call", silent).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("of an agent")]);
        let other = stage.ask(&conversation, "e").await.turn.id;
        for (previous, code) in [
            (running.id.as_str(), "previous_response_in_progress"),
            (other.as_str(), "previous_response_not_found"),
            ("resp_nowhere", "previous_response_not_found"),
        ] {
            let new = asks(spec.clone(), Some(previous), vec![says("x")]);
            let refused = stage.agents.create_turn(&stage.cx, new).await.expect_err("refused");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Invalid, Some(code)));
        }
        assert_eq!(stage.agents.load_response(&stage.cx, &other).await.expect_err("no response").kind, Kind::NotFound);
        stage.agents.delete_response(&stage.cx, &running.id).await.expect("deleted");
        assert_eq!(stage.agents.load_response(&stage.cx, &running.id).await.expect_err("gone").kind, Kind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn a_conversation_holds_what_clients_add_and_what_responses_say() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let conversation = agents.open_conversation(cx, "{}", &[says("before")]).await.expect("a conversation").id;
        stage.model.play([Line::Say("one"), Line::Say("two")]);
        let within = |words: &str| NewTurn {
            session_id: Some(conversation.clone()),
            ..asks(AgentSpec::new("m"), None, vec![says(words)])
        };
        ask(&stage, within("a")).await;
        agents.add_items(cx, &conversation, &[says("between")]).await.expect("added");
        ask(&stage, within("b")).await;
        let asked = stage.model.asked().pop().expect("a prompt");
        assert_eq!(
            asked.iter().map(|(_, words)| words.as_str()).collect::<Vec<_>>(),
            ["before", "a", "one", "between", "b"]
        );
        let said = agents.said(cx, &conversation).await.expect("all of it");
        let counts: Vec<(usize, usize)> = said.iter().map(|turn| (turn.items.len(), turn.inputs)).collect();
        assert_eq!(counts, [(1, 1), (2, 1), (1, 1), (2, 1)]);
        let between = said[2].items[0].id.clone();
        agents.delete_item(cx, &conversation, &between).await.expect("deleted");
        let missing = agents.delete_item(cx, &conversation, &between).await.expect_err("gone");
        assert_eq!(missing.code.as_deref(), Some("item_not_found"));
        let nowhere = NewTurn { session_id: Some("conv_nowhere".into()), ..within("c") };
        let refused = agents.create_turn(cx, nowhere).await.expect_err("no such conversation");
        assert_eq!(refused.code.as_deref(), Some("conversation_not_found"));
    })
    .await;
}

#[tokio::test]
async fn thoughts_are_items_before_the_words_unless_a_shield_looks_at_those() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let line = || {
            let thinks = |text: &str| ChatEvent::Reasoning { choice: 0, text: text.into() };
            let text = ChatEvent::Text { choice: 0, text: "Hello.".into() };
            let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
            Line::Events(vec![thinks("They "), thinks("greet."), text, finish])
        };
        stage.model.play([line(), line(), line()]);
        let kinds = |view: &TurnView| view.items.iter().map(|item| item.body.kind()).collect::<Vec<_>>();
        let open = ask(&stage, asks(AgentSpec::new("m"), None, vec![says("hi")])).await;
        assert_eq!(kinds(&open), ["message", "reasoning", "message"]);
        let thought = ItemBody::Reasoning { text: "They greet.".into(), sealed: None, kept: vec![] };
        assert_eq!(open.items[1].body, thought);
        let shielded = AgentSpec { output_shields: vec!["guard".into()], ..AgentSpec::new("m") };
        assert_eq!(kinds(&ask(&stage, asks(shielded, None, vec![says("hi")])).await), ["message", "message"]);
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        assert_eq!(kinds(&stage.ask(&conversation, "hi").await), ["message", "message"]);
    })
    .await;
}

#[tokio::test]
async fn thoughts_that_a_client_keeps_are_sealed_and_go_before_the_model_again() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let block = json!({ "type": "thinking", "thinking": "They greet.", "signature": "Eq" });
        let hidden = json!({ "type": "redacted_thinking", "data": "x" });
        let line = |events: Vec<ChatEvent>| {
            let text = ChatEvent::Text { choice: 0, text: "Hello.".into() };
            let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
            Line::Events(events.into_iter().chain([text, finish]).collect())
        };
        let thinks = ChatEvent::Reasoning { choice: 0, text: "They greet.".into() };
        let signed = |block: &serde_json::Value| ChatEvent::Signed { choice: 0, block: block.clone() };
        stage.model.play([
            line(vec![thinks.clone(), signed(&block)]),
            line(vec![signed(&hidden)]),
            line(vec![thinks]),
            line(vec![signed(&hidden)]),
        ]);
        let keeps =
            |keeps: bool| NewTurn { seals_thoughts: keeps, ..asks(AgentSpec::new("m"), None, vec![says("hi")]) };
        let sealed = |view: &TurnView| match &view.items[1].body {
            ItemBody::Reasoning { text, sealed: Some(sealed), kept } if kept.is_empty() => {
                (text.clone(), sealed.clone())
            }
            other => panic!("nothing sealed: {other:?}"),
        };
        let mut other = stage.cx.clone();
        other.tenant = "another".into();
        for (text, blocks) in [("They greet.", vec![block.clone()]), ("", vec![hidden]), ("They greet.", vec![])] {
            let (shown, sealed) = sealed(&ask(&stage, keeps(true)).await);
            assert_eq!(shown, text);
            assert_eq!(stage.agents.open_thoughts(&stage.cx, &sealed, "input[0]").expect("ours"), blocks);
            let error = stage.agents.open_thoughts(&other, &sealed, "input[0]").expect_err("another tenant's");
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("input[0]")), "{error}");
        }
        let view = ask(&stage, keeps(false)).await;
        assert_eq!(view.items.len(), 2, "nobody asked for them: {:?}", view.items);

        let handed_back = ItemBody::Reasoning { text: String::new(), sealed: None, kept: vec![block.clone()] };
        let said = ItemBody::Message { role: Role::Assistant, text: "Hello.".into(), citations: vec![] };
        let items = vec![says("hi"), handed_back.clone(), said, handed_back, says("and?")];
        let new = asks(AgentSpec::new("m"), None, items);
        let chat = stage.agents.would_ask(&stage.cx, &new).await.expect("a chat");
        let parts: Vec<usize> = chat.messages.iter().map(|message| message.content.len()).collect();
        assert_eq!((parts, &chat.messages[1].content[0]), (vec![1, 2, 1], &Part::Other(block)));
    })
    .await;
}

#[tokio::test]
async fn an_output_that_answers_no_call_is_refused_by_the_calls_id() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = with_client_tool(AgentSpec::new("m"));
        stage.model.play([Line::Call(vec![("c1", "theirs", "{}")]), Line::Say("Good.")]);
        let first = ask(&stage, asks(spec.clone(), None, vec![says("where?")])).await.turn.id;
        for (previous, call) in [(Some(first.as_str()), "c2"), (None, "c1")] {
            let new = asks(spec.clone(), previous, vec![output(call, "on the way")]);
            let counted = stage.agents.would_ask(&stage.cx, &new).await.expect_err("nothing is asked");
            let error = stage.agents.create_turn(&stage.cx, new).await.expect_err("no such call");
            let want = format!("No tool call found for function call output with call_id {call}.");
            assert_eq!((error.kind, error.param.as_deref(), &error.message), (Kind::Invalid, Some("input"), &want));
            assert_eq!(counted.message, want);
        }
        ask(&stage, asks(spec, Some(&first), vec![output("c1", "on the way")])).await;
        assert_eq!(stage.model.asked().len(), 2, "nobody was asked in between");
    })
    .await;
}

#[tokio::test]
async fn only_files_that_pass_are_looked_into() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for (lang, found) in [("en", true), ("de", false)] {
            let filter = Filter::Key { key: "lang".into(), test: Test::Eq(lang.into()) };
            let file_filter = Some(FileFilter { stores: vec!["vs_1".into()], filter });
            let spec = AgentSpec { knowledge: vec!["vs_1".into()], ..AgentSpec::new("m") };
            stage.model.play([Line::Say("Within 30 days.")]);
            let new = NewTurn { file_filter, ..asks(spec, None, vec![says("May I return it?")]) };
            let would = stage.agents.would_ask(&stage.cx, &new).await.expect("a chat");
            ask(&stage, new).await;
            let asked = stage.model.asked().pop().expect("a prompt");
            assert_eq!(asked.iter().any(|(_, text)| text.contains("30 days")), found, "{asked:?}");
            let would: Vec<_> = would.messages.iter().map(|message| (message.role, message.joined())).collect();
            assert_eq!(would, asked, "and is what would be asked");
        }
    })
    .await;
}

#[tokio::test]
async fn what_would_be_asked_has_the_tools_and_the_passages_of_the_agent() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec { knowledge: vec!["vs_1".into()], ..with_client_tool(with_tools()) };
        stage.model.play([Line::Say("Within 30 days.")]);
        let new = asks(spec, None, vec![says("May I return it?")]);
        let would = stage.agents.would_ask(&stage.cx, &new).await.expect("a chat");
        assert!(would.tools.iter().any(|tool| tool.name == "look") && would.tools.iter().any(|t| t.name == "theirs"));
        ask(&stage, new).await;
        let asked = stage.model.asked().pop().expect("a prompt");
        let would: Vec<_> = would.messages.iter().map(|message| (message.role, message.joined())).collect();
        assert_eq!(would, asked, "and is what is asked then");
        assert!(would[0].1.starts_with("<sources>"));
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_deleted_leaves_what_it_said_in_conversations() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let (agents, cx) = (&stage.agents, &stage.cx);
        let agent = agents.create_agent(cx, AgentSpec::new("m")).await.expect("an agent");
        let conversation = agents.open_conversation(cx, "{}", &[]).await.expect("a conversation").id;
        stage.model.play([Line::Say("one"), Line::Say("two"), Line::Say("three"), Line::Say("four")]);
        let of_agent = |new: NewTurn| NewTurn { agent_id: agent.id.clone(), ..new };
        let within = |words: &str| NewTurn {
            session_id: Some(conversation.clone()),
            ..asks(AgentSpec::new("m"), None, vec![says(words)])
        };
        ask(&stage, of_agent(within("a"))).await;
        let alone = ask(&stage, of_agent(asks(AgentSpec::new("m"), None, vec![says("b")]))).await.turn.id;
        let late = of_agent(asks(AgentSpec::new("m"), None, vec![says("c")]));
        agents.delete_agent(cx, &agent.id).await.expect("deleted");
        ask(&stage, within("d")).await;
        let prompt = |stage: &Stage| stage.model.asked().pop().expect("a prompt").into_iter().map(|(_, words)| words);
        assert_eq!(prompt(&stage).collect::<Vec<_>>(), ["a", "one", "d"]);
        ask(&stage, asks(AgentSpec::new("m"), Some(&alone), vec![says("e")])).await;
        assert_eq!(prompt(&stage).collect::<Vec<_>>(), ["b", "two", "e"]);
        let gone = agents.create_turn(cx, late).await.expect_err("no such agent");
        assert_eq!(gone.code.as_deref(), Some("agent_not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_response_that_runs_is_stopped_with_its_agent() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let agent = stage.agents.create_agent(&stage.cx, AgentSpec::new("m")).await.expect("an agent");
        stage.model.play([Line::Silence]);
        let new = NewTurn { agent_id: agent.id.clone(), ..asks(AgentSpec::new("m"), None, vec![says("a")]) };
        let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a response").id;
        stage.model.begun().await;
        stage.agents.delete_agent(&stage.cx, &agent.id).await.expect("deleted");
        assert_eq!(stage.settled(&turn).await.turn.state, TurnState::Cancelled);
    })
    .await;
}

#[tokio::test]
async fn a_picture_is_asked_with_in_its_turn_and_later_ones_and_its_words_pass_the_shields() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let picture = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO" } });
        let parts = vec![json!({ "type": "text", "text": "May I return it?" }), picture.clone()];
        let shown = ItemBody::Content { role: Role::User, parts };
        let spec = AgentSpec { knowledge: vec!["vs_1".into()], ..AgentSpec::new("m") };
        let new = asks(spec.clone(), None, vec![shown.clone()]);
        let chat = stage.agents.would_ask(&stage.cx, &new).await.expect("a chat");
        assert!(chat.messages[0].joined().starts_with("<sources>"), "its words are looked up");
        assert!(chat.messages[0].content.iter().any(|part| *part == Part::Other(picture.clone())));
        stage.model.play([Line::Say("Yes."), Line::Say("Yes.")]);
        let first = ask(&stage, new).await;
        let after = asks(AgentSpec::new("m"), Some(&first.turn.id), vec![says("And now?")]);
        let chat = stage.agents.would_ask(&stage.cx, &after).await.expect("a chat");
        assert_eq!(chat.messages[0].content, [Part::Text("May I return it?".into()), Part::Other(picture.clone())]);

        let mut redacted = shown;
        redacted.set_words("May [name] return it?");
        let want = vec![json!({ "type": "text", "text": "May [name] return it?" }), picture];
        assert_eq!(redacted, ItemBody::Content { role: Role::User, parts: want });
    })
    .await;
}
