//! Recorded conversations asked again: by whom, with what, and that nobody hears of it.

use std::sync::atomic::Ordering;

use frontdesk_agents::{
    NewTurn, Writing,
    replay::{Against, History, Replay, With},
};
use frontdesk_api::{
    ChatEvent, Kind, PageRequest, Result,
    agent::{AgentSpec, HandOffSpec, HandOffTarget},
    approval::ApprovalRule,
    chat::{FinishReason, Role, ToolSpec},
    filter::{FileFilter, Filter, Test},
    replay::{Aspect, Change, Comparison, Replayed, Skip, WhyNot},
    tools::ToolResult,
    turn::TurnState,
};
use frontdesk_store::{
    testing::{each_database, turns_of},
    turns,
};

use crate::stage::{Line, Stage, with_tools};

/// Everything a replay tells.
pub async fn all(stage: &Stage, replay: Replay) -> Vec<Replayed> {
    let mut replaying = stage.agents.replay(&stage.cx, replay).await.expect("a replay");
    let total = replaying.total();
    let mut all: Vec<Result<Replayed>> = vec![];
    while let Some(turn) = replaying.next().await {
        all.push(turn);
    }
    assert_eq!(all.len(), total);
    all.into_iter().map(|turn| turn.expect("a turn")).collect()
}

fn of((agent, session): &(String, String)) -> Replay {
    Replay { agent_id: agent.clone(), conversations: vec![session.clone()], ..Replay::default() }
}

pub fn compared(replayed: &Replayed) -> &Comparison {
    replayed.comparison.as_ref().unwrap_or_else(|| panic!("skipped: {replayed:?}"))
}

/// Writes a draft of the agent.
pub async fn draft(stage: &Stage, agent: &str, spec: AgentSpec) {
    stage.agents.write_version(&stage.cx, agent, &spec, &Writing::default()).await.expect("a draft");
}

#[tokio::test]
async fn a_recorded_conversation_is_asked_again_with_what_was_recorded() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([
            Line::Call(vec![("c1", "pay", r#"{"to":"a","n":1}"#)]),
            Line::Say("paid"),
            Line::Say("you are welcome"),
        ]);
        stage.ask(&conversation, "pay a").await;
        stage.ask(&conversation, "thanks").await;
        draft(&stage, &conversation.0, AgentSpec { instructions: "Be short.".into(), ..with_tools() }).await;
        let before =
            (stage.tools.calls.load(Ordering::SeqCst), turns_of(&stage.store, &stage.cx, &conversation.0).await);

        // The same call, its arguments in another order; then another answer.
        stage.model.play([
            Line::Call(vec![("x9", "pay", r#"{"n":1, "to":"a"}"#)]),
            Line::Say("paid"),
            Line::Say("you are very welcome"),
        ]);
        let turns = all(&stage, of(&conversation)).await;
        let [first, second] = &turns[..] else { panic!("{turns:?}") };
        let same = compared(first);
        assert!(same.differs.is_empty() && same.text_diff.is_empty() && same.not_made.is_empty(), "{same:?}");
        assert_eq!((first.n, second.n, first.input.as_str()), (1, 2, "pay a"));
        assert_eq!((same.recorded.version, same.replayed.version), (Some(1), Some(2)));
        assert_eq!((same.replayed.model_calls, same.replayed.usage.input_tokens), (2, 20));
        assert_eq!((same.recorded.cost_nano_usd, same.replayed.cost_nano_usd), (Some(20_000), Some(20_000)));
        assert_eq!(same.replayed.calls[0].output.as_deref(), Some(r#"saw {"to":"a","n":1}"#), "as it was recorded");
        let other = compared(second);
        assert_eq!(other.differs, [Aspect::Text]);
        let pieces: Vec<_> = other.text_diff.iter().map(|piece| (piece.change, piece.text.as_str())).collect();
        assert_eq!(pieces, [(Change::Same, "you are "), (Change::Added, "very "), (Change::Same, "welcome")]);

        // The model read the draft's instructions and the recorded past.
        let asked = stage.model.asked();
        let words = |prompt: &[(Role, String)]| prompt.iter().map(|(_, words)| words.clone()).collect::<Vec<_>>();
        let last = words(asked.last().expect("a prompt"));
        assert_eq!(last, ["Be short.", "pay a", "", r#"saw {"to":"a","n":1}"#, "paid", "thanks"]);
        // No tool was called, and nothing stands where it could be found.
        let after =
            (stage.tools.calls.load(Ordering::SeqCst), turns_of(&stage.store, &stage.cx, &conversation.0).await);
        assert_eq!(before, after);
    })
    .await;
}

#[tokio::test]
async fn knowledge_is_narrowed_as_it_was() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        for (least_score, lang, found) in [(None, "en", true), (None, "de", false), (Some(1.5), "en", false)] {
            let spec = AgentSpec { knowledge: vec!["vs_1".into()], ..AgentSpec::new("m") };
            let conversation = stage.conversation(spec).await;
            let filter = Filter::Key { key: "lang".into(), test: Test::Eq(lang.into()) };
            let file_filter = Some(FileFilter { stores: vec!["vs_1".into()], filter });
            let new = NewTurn { least_score, file_filter, ..Stage::asks(&conversation, "May I return it?") };
            stage.model.play([Line::Say("Within 30 days."), Line::Say("Within 30 days.")]);
            let turn = stage.agents.create_turn(&stage.cx, new).await.expect("a turn");
            stage.settled(&turn.id).await;
            all(&stage, of(&conversation)).await;
            let asked = stage.model.asked();
            let [.., recorded, replayed] = &asked[..] else { panic!("{asked:?}") };
            let knows = |asked: &[(Role, String)]| asked.iter().any(|(_, text)| text.contains("Returns are free"));
            assert_eq!((knows(recorded), knows(replayed)), (found, found), "{lang} {least_score:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_was_not_recorded_is_told_and_not_made() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Call(vec![("c1", "look", r#"{"id":1}"#)]), Line::Say("one")]);
        stage.ask(&conversation, "look").await;
        let before = stage.tools.calls.load(Ordering::SeqCst);
        stage.model.play([Line::Call(vec![("c1", "look", r#"{"id":2}"#)]), Line::Say("none")]);
        let turns = all(&stage, of(&conversation)).await;
        let told = compared(&turns[0]);
        assert_eq!(told.differs, [Aspect::Text, Aspect::ToolCalls]);
        assert_eq!((told.not_made[0].name.as_str(), told.not_made[0].why), ("look", WhyNot::NotRecorded));
        let output = told.replayed.calls[0].output.as_deref().expect("an answer");
        assert!(told.replayed.calls[0].is_error && output.contains("the recording has no answer"), "{output}");
        let calls: Vec<_> = told.call_diff.iter().map(|call| (call.change, call.arguments.as_str())).collect();
        assert_eq!(calls, [(Change::Removed, r#"{"id":1}"#), (Change::Added, r#"{"id":2}"#)]);
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), before);
    })
    .await;
}

#[tokio::test]
async fn live_tools_are_called_where_they_have_no_effect_or_effects_are_allowed() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        stage.model.play([Line::Say("what?")]);
        stage.ask(&conversation, "do it").await;
        let calls = || {
            Line::Call(vec![("c1", "look", "{}"), ("c2", "book", "{}"), ("c3", "pay", "{}"), ("c4", "nothing", "{}")])
        };
        for (effects, made, not_made) in [(false, 0, 2), (true, 2, 0)] {
            stage.model.play([calls(), Line::Say("done")]);
            let turns = all(&stage, Replay { tools: With::Live { effects }, ..of(&conversation) }).await;
            let told = compared(&turns[0]);
            assert_eq!(told.replayed.calls[0].output.as_deref(), Some("saw {}"), "{effects}");
            assert_eq!(stage.tools.ledger.lock().expect("the ledger").len(), made, "{effects}");
            let why: Vec<WhyNot> = told.not_made.iter().map(|call| call.why).collect();
            assert_eq!(why, vec![WhyNot::HasEffects; not_made], "{effects}");
        }
    })
    .await;
}

#[tokio::test]
async fn in_a_replay_nobody_is_asked_by_a_tool() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation =
            stage.conversation(AgentSpec { toolgroups: vec!["asks".into()], ..AgentSpec::new("m") }).await;
        stage.model.play([Line::Say("what?")]);
        stage.ask(&conversation, "order it").await;
        stage.model.play([Line::Call(vec![("c1", "order", "{}")]), Line::Say("done")]);
        let turns = all(&stage, Replay { tools: With::Live { effects: true }, ..of(&conversation) }).await;
        let told = compared(&turns[0]);
        assert_eq!(told.replayed.calls[0].output.as_deref(), Some("nobody can be asked"), "{told:?}");
        assert_eq!(told.replayed.state, TurnState::Completed);
    })
    .await;
}

#[tokio::test]
async fn hand_overs_and_approvals_are_told_and_happen_to_nobody() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague takes over."));
        let conversation = stage.conversation(AgentSpec { hand_off, ..with_tools() }).await;
        stage.model.play([Line::Say("no"), Line::Say("no")]);
        stage.ask(&conversation, "a person").await;
        stage.ask(&conversation, "my money").await;
        stage.model.play([
            Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)]),
            Line::Call(vec![("c2", "refund", "{}")]),
        ]);
        let turns = all(&stage, of(&conversation)).await;
        let handed = compared(&turns[0]);
        assert!(handed.differs.contains(&Aspect::Outcome) && handed.replayed.hand_off.is_some(), "{handed:?}");
        let waits = compared(&turns[1]);
        assert_eq!(waits.replayed.state, TurnState::AwaitingInput);
        assert_eq!(waits.replayed.waits_for[0].name, "refund");
        assert!(waits.differs.contains(&Aspect::Outcome));
        let page = PageRequest::default();
        assert!(stage.agents.list_handoffs(&stage.cx, None, &page).await.expect("a list").items.is_empty());
        assert!(stage.agents.open_approvals(&stage.cx, &page).await.expect("a list").items.is_empty());
        assert_eq!(stage.tools.calls.load(Ordering::SeqCst), 0);
    })
    .await;
}

#[tokio::test]
async fn what_people_and_clients_answered_then_is_answered_again() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let tool =
            ToolSpec { name: "where".into(), description: None, parameters: None, strict: None, cache_control: None };
        // A rule over all tools is none about a client's.
        let all_ask = ApprovalRule { tool: None, risk: None, argument: None, above: None, ask: true };
        let spec = AgentSpec { client_tools: vec![tool], approvals: vec![all_ask], ..with_tools() };
        let conversation = stage.conversation(spec).await;
        let lines = || [Line::Call(vec![("c1", "where", "{}"), ("c2", "refund", "{}")]), Line::Say("refunded")];
        stage.model.play(lines());
        let waiting = stage.ask(&conversation, "refund me").await;
        let id = &waiting.approvals[0].approval_id;
        stage.agents.decide(&stage.cx, id, true, None).await.expect("a word");
        let here = ToolResult { content: "here".into(), is_error: false, details: None };
        stage.agents.resume(&stage.cx, &waiting.turn.id, vec![("c1".into(), here)]).await.expect("a result");
        let view = stage.settled(&waiting.turn.id).await;
        assert_eq!(view.turn.state, TurnState::Completed, "{view:?}");
        let paid = stage.tools.ledger.lock().expect("the ledger").len();
        stage.model.play(lines());
        let turns = all(&stage, of(&conversation)).await;
        let told = compared(&turns[0]);
        assert_eq!((told.replayed.text.as_str(), told.replayed.state), ("refunded", TurnState::Completed), "{told:?}");
        assert!(told.differs.is_empty(), "{told:?}");
        assert_eq!(stage.tools.ledger.lock().expect("the ledger").len(), paid, "nothing was paid twice");
        // With effects allowed an old word is no leave.
        stage.model.play(lines());
        let live = Replay { tools: With::Live { effects: true }, ..of(&conversation) };
        let turns = all(&stage, live).await;
        assert_eq!(compared(&turns[0]).replayed.state, TurnState::AwaitingInput);
        assert_eq!(stage.tools.ledger.lock().expect("the ledger").len(), paid);
    })
    .await;
}

#[tokio::test]
async fn the_past_is_the_replayed_one_where_that_is_wanted() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("old one"), Line::Say("old two")]);
        stage.ask(&conversation, "first").await;
        stage.ask(&conversation, "second").await;
        for (history, past) in [(History::Recorded, "old one"), (History::Replayed, "new one")] {
            stage.model.play([Line::Say("new one"), Line::Say("new two")]);
            all(&stage, Replay { history, ..of(&conversation) }).await;
            let asked = stage.model.asked();
            let words: Vec<_> = asked.last().expect("a prompt").iter().map(|(_, words)| words.as_str()).collect();
            assert_eq!(words, ["first", past, "second"], "{history:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn two_refusals_in_other_words_differ() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        let refuses = |words: &str| {
            let refusal = ChatEvent::Refusal { choice: 0, text: words.into() };
            Line::Events(vec![refusal, ChatEvent::Finish { choice: 0, reason: FinishReason::Stop }])
        };
        stage.model.play([refuses("No.")]);
        stage.ask(&conversation, "poach it").await;
        stage.model.play([refuses("Never.")]);
        let turns = all(&stage, of(&conversation)).await;
        let compared = compared(&turns[0]);
        assert_eq!((compared.recorded.text.as_str(), compared.replayed.text.as_str()), ("No.", "Never."));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_asked_again_is_history() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague takes over."));
        let conversation = stage.conversation(AgentSpec { hand_off, ..AgentSpec::new("m") }).await;
        stage.model.play([Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)])]);
        stage.ask(&conversation, "a person").await;
        let queue = stage.agents.list_handoffs(&stage.cx, None, &PageRequest::default()).await.expect("the queue");
        stage.agents.take_handoff(&stage.cx, &queue.items[0].id, "anna").await.expect("taken");
        stage.ask(&conversation, "hello anna").await;
        stage.agents.end_handoff(&stage.cx, &queue.items[0].id).await.expect("done");
        stage.model.play([Line::Silence]);
        // The first turn's call; it is kept for one who asks, and two would be one.
        stage.model.begun().await;
        let turn = stage.agents.create_turn(&stage.cx, Stage::asks(&conversation, "wait")).await.expect("a turn");
        stage.model.begun().await;
        stage.agents.cancel(&stage.cx, &turn.id).await.expect("cancelled");
        stage.settled(&turn.id).await;
        stage.model.play([Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)])]);
        let turns = all(&stage, of(&conversation)).await;
        let skipped: Vec<_> = turns.iter().map(|turn| turn.skipped).collect();
        assert_eq!(skipped, [None, Some(Skip::NotAnswered), Some(Skip::CutOff)]);
        assert!(compared(&turns[0]).differs.is_empty(), "{:?}", turns[0]);
    })
    .await;
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_a_fault_and_no_difference_of_the_agent() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("hello")]);
        stage.ask(&conversation, "hi").await;
        stage.model.play([Line::Fail(frontdesk_api::Error::unavailable("down"))]);
        let turns = all(&stage, of(&conversation)).await;
        assert!(compared(&turns[0]).fault, "{turns:?}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_replayed_is_said_at_once() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        let other = stage.conversation(AgentSpec::new("m")).await;
        let refused = async |replay: Replay| match stage.agents.replay(&stage.cx, replay).await {
            Err(error) => (error.kind, error.code.unwrap_or_default()),
            Ok(_) => panic!("it was taken"),
        };
        let ours = of(&conversation);
        let not_ours = Replay { conversations: vec![other.1.clone()], ..ours.clone() };
        assert_eq!(refused(not_ours).await, (Kind::NotFound, "session_not_found".into()));
        let version = Replay { against: Against::Version(7), ..ours.clone() };
        assert_eq!(refused(version).await, (Kind::NotFound, "version_not_found".into()));
        let spec = Against::Spec(Box::new(AgentSpec { toolgroups: vec!["gone".into()], ..AgentSpec::new("m") }));
        assert_eq!(refused(Replay { against: spec, ..ours.clone() }).await.0, Kind::Invalid);
        assert_eq!(refused(Replay { last: 101, conversations: vec![], ..ours.clone() }).await.0, Kind::Invalid);
        // One at once, and no more.
        let held = stage.agents.replay(&stage.cx, ours.clone()).await.expect("one");
        assert_eq!(refused(ours.clone()).await, (Kind::RateLimited, "replays_busy".into()));
        drop(held);
        assert_eq!(all(&stage, ours).await.len(), 0, "a conversation without a turn");
    })
    .await;
}

#[tokio::test]
async fn code_of_a_replay_shares_its_workspace_with_nobody() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(with_tools()).await;
        let look = || Line::Call(vec![("c1", "look", "{}")]);
        stage.model.play([look(), Line::Say("one"), look(), Line::Say("two")]);
        stage.ask(&conversation, "first").await;
        stage.ask(&conversation, "second").await;
        for _ in 0..2 {
            stage.model.play([look(), Line::Say("one"), look(), Line::Say("two")]);
            all(&stage, Replay { tools: With::Live { effects: false }, ..of(&conversation) }).await;
        }
        let used = stage.tools.workspaces.lock().expect("the workspaces").clone();
        let [a, b, c, d, e, f] = &used[..] else { panic!("{used:?}") };
        assert_eq!((a, a), (b, &conversation.1), "the conversation's own");
        assert_eq!((c, e), (d, f), "one for the turns of a replay");
        assert!(a != c && a != e && c != e, "{used:?}");
    })
    .await;
}

#[tokio::test]
async fn a_conversation_named_twice_is_replayed_once() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("hello"), Line::Say("hello")]);
        stage.ask(&conversation, "hi").await;
        let twice = vec![conversation.1.clone(), conversation.1.clone()];
        let turns = all(&stage, Replay { conversations: twice, ..of(&conversation) }).await;
        assert_eq!(turns.len(), 1);
        assert!(compared(&turns[0]).differs.is_empty(), "{turns:?}");
    })
    .await;
}

#[tokio::test]
async fn too_many_turns_are_refused_by_what_chose_them() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        stage.model.play([Line::Say("hello")]);
        stage.ask(&conversation, "hi").await;
        let tenant = stage.store.tenant(&stage.cx);
        let first = tenant.session_turns(&conversation.1, Some(5)).await.expect("the turn").remove(0);
        let mut tx = tenant.write().await.expect("a transaction");
        for n in 1..=1_000_i64 {
            let mut more = first.clone();
            (more.turn.id, more.pos) = (format!("turn_{n}"), n);
            turns::add(&mut tx, &more, None, 0).await.expect("a turn");
        }
        tx.commit().await.expect("written");
        for (replay, param) in
            [(of(&conversation), "conversations"), (Replay { conversations: vec![], ..of(&conversation) }, "last")]
        {
            let Err(error) = stage.agents.replay(&stage.cx, replay).await else { panic!("it was taken") };
            assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some(param)), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_failure_that_was_recorded_too_is_a_fault_all_the_same() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(AgentSpec::new("m")).await;
        let down = || [Line::Fail(frontdesk_api::Error::unavailable("down"))];
        stage.model.play(down());
        assert_eq!(stage.ask(&conversation, "hi").await.turn.state, TurnState::Failed);
        stage.model.play(down());
        assert!(compared(&all(&stage, of(&conversation)).await[0]).fault);
    })
    .await;
}

#[tokio::test]
async fn a_renamed_agent_may_hand_over_to_its_former_name() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let target = |to: &str| HandOffTarget { to: to.into(), description: String::new(), message: None };
        let named = |name: &str| AgentSpec { name: Some(name.into()), ..AgentSpec::new("m") };
        let conversation = stage.conversation(named("desk")).await;
        stage.conversation(named("billing")).await;
        stage.model.play([Line::Say("hello"), Line::Say("hello")]);
        stage.ask(&conversation, "hi").await;
        let hand_off = HandOffSpec {
            targets: vec![target("desk"), target("billing")],
            ..HandOffSpec::to_people("Someone takes over.")
        };
        let against = Against::Spec(Box::new(AgentSpec { hand_off: Some(hand_off), ..named("front") }));
        let turns = all(&stage, Replay { against, ..of(&conversation) }).await;
        assert!(compared(&turns[0]).differs.is_empty(), "{turns:?}");
    })
    .await;
}
