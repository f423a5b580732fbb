//! What is shown of calls and refusals while the model writes them, and what stands in the rows behind it.

use frontdesk_agents::{AsResponse, INLINE, NewTurn};
use frontdesk_api::{
    ChatEvent,
    agent::AgentSpec,
    chat::{FinishReason, Role, ToolSpec},
    turn::{Event, EventBody, ItemBody, TurnState},
};
use frontdesk_store::testing::each_database;
use futures::StreamExt as _;
use serde_json::json;

use crate::stage::{Line, Stage, answer, done, with_tools};

fn piece(index: u32, id: &str, name: &str, arguments: &str) -> ChatEvent {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ChatEvent::ToolCall { choice: 0, index, id: some(id), name: some(name), arguments: arguments.into() }
}

fn text(words: &str) -> ChatEvent {
    ChatEvent::Text { choice: 0, text: words.into() }
}

fn refusal(words: &str) -> ChatEvent {
    ChatEvent::Refusal { choice: 0, text: words.into() }
}

fn ends(reason: FinishReason) -> ChatEvent {
    ChatEvent::Finish { choice: 0, reason }
}

/// What was shown of calls and words, in a line each.
fn shown(events: &[Event]) -> Vec<String> {
    let line = |event: &Event| match &event.body {
        EventBody::ItemAdded { item, .. } => Some(format!("{} begins", item.body.kind())),
        EventBody::ArgumentsDelta { name, delta, .. } => Some(format!("{name} {delta}")),
        EventBody::TextDelta { delta, .. } => Some(format!("says {delta}")),
        EventBody::RefusalDelta { delta, .. } => Some(format!("refuses {delta}")),
        EventBody::ItemDone { item, .. } if item.body.kind() != "function_call_output" => {
            Some(format!("{} is done", item.body.kind()))
        }
        _ => None,
    };
    events.iter().filter_map(line).collect()
}

#[tokio::test]
async fn calls_are_shown_as_they_are_written_and_stand_behind_the_words_of_their_answer() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        let calls = vec![
            piece(0, "a", "look", "{\"n\":"),
            text("One moment."),
            piece(1, "a", "book", ""),
            piece(0, "", "", "1}"),
            piece(1, "", "", "{}"),
            ends(FinishReason::ToolCalls),
        ];
        stage.model.play([Line::Events(calls), Line::Say("Done.")]);
        let view = stage.ask(&conversation, "please").await;
        let events = stage.events(&view.turn.id).await;
        let want = [
            "function_call begins",
            "look {\"n\":",
            "message begins",
            "says One moment.",
            "function_call begins",
            "look 1}",
            "book {}",
            "message is done",
            "function_call is done",
            "function_call is done",
            "message begins",
            "says Done.",
            "message is done",
        ];
        assert_eq!(shown(&events), want);
        let kinds: Vec<&str> = view.items.iter().map(|item| item.body.kind()).collect();
        let output = "function_call_output";
        assert_eq!(kinds, ["message", "message", "function_call", "function_call", output, output, "message"]);
        assert_eq!(done(&view)[0].1, "saw {\"n\":1}");
        // A call has one id from its first piece on, and of two with one id the second has one of ours.
        let ids = |name: &str| -> Vec<&str> {
            let of = events.iter().filter_map(|event| match &event.body {
                EventBody::ArgumentsDelta { name: of, call_id, .. } if of == name => Some(call_id.as_str()),
                _ => None,
            });
            of.collect()
        };
        assert_eq!(ids("look"), ["a", "a"]);
        let called = view.items.iter().filter_map(|item| match &item.body {
            ItemBody::FunctionCall { call, .. } => Some(call.id.as_str()),
            _ => None,
        });
        assert_eq!(called.collect::<Vec<_>>(), ["a", ids("book")[0]]);
        assert_ne!(ids("book"), ["a"]);
        // The model reads its words before its calls, and their results behind both.
        let roles: Vec<Role> = stage.model.asked()[1].iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::Tool, Role::Tool]);
        // From behind every number the same.
        for after in events.iter().map(|event| event.seq) {
            let rest = stage.agents.events(&stage.cx, &view.turn.id, Some(after)).await.expect("events");
            let rest: Vec<Event> = rest.map(|event| event.expect("an event")).collect().await;
            assert!(
                events.ends_with(&rest) && rest.len() + usize::try_from(after).expect("a number") + 1 == events.len()
            );
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_call_is_shown_before_the_shields_saw_it() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let guarded = AgentSpec { shields: vec!["guard".into()], ..with_tools() };
        let conversation = stage.conversation(guarded).await;
        stage.model.play([Line::Call(vec![("a", "look", "{\"card\":\"4111\"}")]), Line::Say("Done.")]);
        let view = stage.ask(&conversation, "please").await;
        let shown = shown(&stage.events(&view.turn.id).await);
        assert_eq!(shown[..3], ["function_call begins", "look {\"card\":\"[card]\"}", "function_call is done"]);
    })
    .await;
}

#[tokio::test]
async fn a_call_of_an_answer_that_a_shield_takes_back_was_never_shown() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let guarded = AgentSpec { output_shields: vec!["guard".into()], ..with_tools() };
        let conversation = stage.conversation(guarded).await;
        let calls = || vec![piece(0, "a", "look", "{\"n\":"), piece(0, "", "", "1}")];
        let says = |words: &str| [calls(), vec![text(words), ends(FinishReason::ToolCalls)]].concat();
        stage.model.play([Line::Events(says("This is poison.")), Line::Events(says("A moment.")), Line::Say("Done.")]);
        let view = stage.ask(&conversation, "please").await;
        let all = serde_json::to_string(&stage.events(&view.turn.id).await).expect("json");
        assert!(!all.contains("function_call"), "{all}");
        let view = stage.ask(&conversation, "please").await;
        let shown = shown(&stage.events(&view.turn.id).await);
        assert!(shown.contains(&"look {\"n\":1}".to_owned()), "whole, once the answer has passed: {shown:?}");
    })
    .await;
}

#[tokio::test]
async fn a_call_that_a_responses_client_runs_is_shown_once_it_is_whole() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool: ToolSpec = serde_json::from_value(json!({ "name": "theirs" })).expect("a tool");
        let spec = AgentSpec { client_tools: vec![tool], ..with_tools() };
        let asks = || {
            let response = AsResponse { spec: spec.clone(), version: 1, previous: None, echo: json!({}), stored: true };
            let items = vec![ItemBody::Message { role: Role::User, text: "please".into(), citations: vec![] }];
            NewTurn { agent_id: INLINE.into(), items, response: Some(response), ..NewTurn::default() }
        };
        // Its own are shown as they come, up to one of the client's.
        let calls = vec![
            piece(0, "a", "look", "{\"n\":"),
            piece(0, "", "", "1}"),
            piece(1, "b", "theirs", "{\"to\":"),
            piece(1, "", "", "\"a\"}"),
        ];
        let whole = [calls.clone(), vec![ends(FinishReason::ToolCalls)]].concat();
        // The second breaks off: nothing that a client could run was shown.
        stage.model.play([Line::Events(whole), Line::Events(calls)]);
        for (state, theirs) in [(TurnState::Completed, 1), (TurnState::Failed, 0)] {
            let turn = stage.agents.create_turn(&stage.cx, asks()).await.expect("a response");
            let view = stage.settled(&turn.id).await;
            assert_eq!(view.turn.state, state);
            let shown = shown(&stage.events(&turn.id).await);
            assert_eq!(shown[..3], ["function_call begins", "look {\"n\":", "look 1}"]);
            assert_eq!(shown.iter().filter(|line| line.starts_with("theirs")).count(), theirs, "{shown:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_breaks_off_was_shown_and_is_in_no_row() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage
            .model
            .play([Line::Events(vec![piece(0, "a", "pay", "{\"to"), piece(0, "", "", "\":")]), Line::Say("Hm?")]);
        let view = stage.ask(&conversation, "please").await;
        assert_eq!(view.turn.state, TurnState::Failed);
        let shown = shown(&stage.events(&view.turn.id).await);
        assert_eq!(shown, ["function_call begins", "pay {\"to", "pay \":"]);
        assert_eq!(view.items.len(), 1, "what was asked");
        assert!(stage.tools.ledger.lock().expect("the ledger").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_kept_as_one_and_the_model_reads_it_as_its_own() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        let refuses = vec![text(""), refusal("I will "), refusal("not."), ends(FinishReason::Stop)];
        stage.model.play([Line::Events(refuses), Line::Say("As I said.")]);
        let view = stage.ask(&conversation, "poach an elephant").await;
        assert_eq!(view.turn.state, TurnState::Completed);
        let shown = shown(&stage.events(&view.turn.id).await);
        assert_eq!(shown, ["refusal begins", "refuses I will ", "refuses not.", "refusal is done"]);
        assert_eq!(view.items[1].body, ItemBody::Refusal { text: "I will not.".into() });
        let view = stage.ask(&conversation, "why?").await;
        assert_eq!(answer(&view), "As I said.");
        let roles: Vec<Role> = stage.model.asked()[1].iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, [Role::User, Role::Assistant, Role::User]);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_for_the_shields_to_see_too() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let guarded = AgentSpec { output_shields: vec!["guard".into()], ..with_tools() };
        let conversation = stage.conversation(guarded).await;
        let refuses = |words: &str| Line::Events(vec![refusal(words), ends(FinishReason::Stop)]);
        stage.model.play([refuses("Not with card 4111."), refuses("I will not, as poison is bad.")]);
        let view = stage.ask(&conversation, "please").await;
        assert_eq!(view.items[1].body, ItemBody::Refusal { text: "Not with card [card].".into() });
        let view = stage.ask(&conversation, "please").await;
        let last = view.items.last().and_then(|item| item.body.words()).map(|words| words.into_owned());
        assert_eq!(last.as_deref(), Some("I cannot help with that."));
    })
    .await;
}

#[tokio::test]
async fn what_is_known_of_tokens_goes_with_the_words_where_it_is_asked_for_and_no_shield_has_a_say() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let token = |token: &str| {
            let token = json!({ "token": token, "logprob": -0.5, "bytes": null, "top_logprobs": [] });
            ChatEvent::Logprobs { choice: 0, value: json!({ "content": [token], "refusal": null }) }
        };
        let tokens = |events: Vec<Event>| -> Vec<(String, usize)> {
            let of = events.into_iter().filter_map(|event| match event.body {
                EventBody::TextDelta { delta, logprobs, .. } => Some((delta, logprobs.len())),
                _ => None,
            });
            of.collect()
        };
        for (asked, shields, want) in [(true, vec![], 3), (true, vec!["guard".to_owned()], 0), (false, vec![], 0)] {
            let model_params = [("logprobs".to_owned(), json!(asked))].into_iter().collect();
            let spec = AgentSpec { output_shields: shields, model_params, ..AgentSpec::new("m") };
            let conversation = stage.conversation(spec).await;
            let says =
                vec![text("one "), token("one "), text("two"), token("two"), token("."), ends(FinishReason::Stop)];
            stage.model.play([Line::Events(says)]);
            let view = stage.ask(&conversation, "count").await;
            let told = tokens(stage.events(&view.turn.id).await);
            assert_eq!(told.iter().map(|(delta, _)| delta.as_str()).collect::<String>(), "one two");
            assert_eq!(told.iter().map(|(_, n)| n).sum::<usize>(), want, "{told:?}");
        }
    })
    .await;
}
