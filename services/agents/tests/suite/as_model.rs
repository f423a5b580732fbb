//! Agents as models: a chat is a turn, and its answer is told as that of any model.

use frontdesk_agents::as_model::AgentModels;
use frontdesk_api::{
    ChatEvent, ChatRequest, Error, Inference, Kind, Result,
    agent::{AgentSpec, HandOffSpec},
    chat::{Chat, FinishReason, Message, Part, Role, ToolCall, ToolSpec, Usage},
};
use frontdesk_store::testing::{each_database, turns_of};
use futures::StreamExt as _;
use serde_json::{Map, Value, json};

use crate::stage::{Line, Stage, happens, with_tools};

/// An answer, put together.
#[derive(Debug, Default, PartialEq)]
struct Heard {
    text: String,
    calls: Vec<ToolCall>,
    finish: Option<FinishReason>,
    usage: Usage,
    beside: Map<String, Value>,
    /// How many pieces of text it came in.
    pieces: usize,
}

fn models(stage: &Stage) -> AgentModels {
    AgentModels::over(stage.model.clone(), stage.agents.clone())
}

fn user(words: &str) -> Message {
    Message::text(Role::User, words)
}

fn asks(name: &str, stream: bool, chat: Chat) -> ChatRequest {
    let mut request = ChatRequest::typed(format!("agent/{name}"), chat);
    request.stream = stream;
    request
}

fn saying(messages: Vec<Message>) -> Chat {
    Chat { messages, ..Chat::default() }
}

async fn hear(stage: &Stage, request: ChatRequest) -> Result<Heard> {
    let mut frames = models(stage).chat(&stage.cx, request).await?.frames;
    let mut heard = Heard::default();
    while let Some(frame) = frames.next().await {
        for event in frame?.events {
            assert!(heard.usage == Usage::default(), "nothing follows the usage");
            match event {
                ChatEvent::Text { choice: 0, text } => {
                    heard.pieces += 1;
                    heard.text += &text;
                }
                ChatEvent::ToolCall { id: Some(id), name: Some(name), arguments, .. } => {
                    heard.calls.push(ToolCall { id, name, arguments });
                }
                ChatEvent::Finish { reason, .. } => heard.finish = Some(reason),
                ChatEvent::Usage(usage) => heard.usage = usage,
                ChatEvent::Extra(more) => heard.beside.extend(more),
                ChatEvent::Start { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
    Ok(heard)
}

async fn agent(stage: &Stage, name: &str, spec: AgentSpec) {
    let spec = AgentSpec { name: Some(name.into()), ..spec };
    stage.agents.create_agent(&stage.cx, spec).await.expect("an agent");
}

fn function(name: &str) -> ToolSpec {
    ToolSpec { name: name.into(), description: None, parameters: None, strict: None, cache_control: None }
}

/// How many turns there are, once those that go have gone.
async fn left(stage: &Stage, want: i64) {
    let gone = async {
        loop {
            let agents = stage.agents.named_agents(&stage.cx).await.expect("agents");
            let mut turns = 0;
            for agent in agents {
                turns += turns_of(&stage.store, &stage.cx, &agent.id).await;
            }
            if turns == want {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    happens("turns to go in the background", gone).await;
}

#[tokio::test]
async fn tools_run_inside_and_the_client_reads_the_words_with_all_that_they_took() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec { instructions: "You sell lamps.".into(), ..with_tools() };
        agent(&stage, "shop", spec).await;
        for stream in [false, true] {
            stage.model.play([Line::Call(vec![("c1", "look", "{}")]), Line::Say("It is here.")]);
            let messages = vec![
                user("hi"),
                Message::text(Role::Assistant, "Hello."),
                Message::text(Role::System, "Be brief."),
                user("where?"),
            ];
            let heard = hear(&stage, asks("shop", stream, saying(messages))).await.expect("an answer");
            let want = Heard {
                text: "It is here.".into(),
                finish: Some(FinishReason::Stop),
                usage: Usage { input_tokens: 20, output_tokens: 4, ..Usage::default() },
                pieces: 1,
                ..Heard::default()
            };
            assert_eq!(heard, want);
            let prompt = stage.model.asked().pop().expect("a prompt");
            let want = [
                (Role::System, "You sell lamps.\n\nBe brief."),
                (Role::User, "hi"),
                (Role::Assistant, "Hello."),
                (Role::User, "where?"),
                (Role::Assistant, ""),
                (Role::Tool, "saw {}"),
            ];
            assert_eq!(prompt.iter().map(|(role, words)| (*role, words.as_str())).collect::<Vec<_>>(), want);
        }
        left(&stage, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_clients_function_ends_the_turn_and_the_next_request_knows_what_was_done_before() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        agent(&stage, "shop", with_tools()).await;
        stage.model.play([
            Line::Call(vec![("c0", "pay", "{}")]),
            Line::Call(vec![("c1", "theirs", r#"{"n":1}"#), ("c2", "look", "{}")]),
            Line::Say("Paid, and shown."),
        ]);
        let tools = vec![function("theirs")];
        let chat = Chat { tools: tools.clone(), ..saying(vec![user("pay and show")]) };
        let first = hear(&stage, asks("shop", true, chat)).await.expect("an answer");
        assert_eq!((first.finish, first.calls.len()), (Some(FinishReason::ToolCalls), 1));
        let call = first.calls[0].clone();
        assert_eq!((call.name.as_str(), call.arguments.as_str()), ("theirs", r#"{"n":1}"#));
        assert!(call.id.starts_with("c1__in__"), "{}", call.id);
        let asked = Message { tool_calls: vec![call.clone()], content: vec![], ..Message::text(Role::Assistant, "") };
        let shown = Message { tool_call_id: Some(call.id), ..Message::text(Role::Tool, "shown") };
        let chat = Chat { tools, ..saying(vec![user("pay and show"), asked, shown]) };
        let second = hear(&stage, asks("shop", false, chat)).await.expect("an answer");
        assert_eq!((second.text.as_str(), second.finish), ("Paid, and shown.", Some(FinishReason::Stop)));
        let prompt = stage.model.asked().pop().expect("a prompt");
        let want = [
            (Role::User, "pay and show"),
            (Role::Assistant, ""),
            (Role::Tool, "saw {}"),
            (Role::Assistant, ""),
            (Role::Tool, "shown"),
            (Role::Tool, "saw {}"),
        ];
        assert_eq!(prompt.iter().map(|(role, words)| (*role, words.as_str())).collect::<Vec<_>>(), want);
        assert_eq!(stage.tools.ledger.lock().expect("the ledger").len(), 1, "paid once");
        left(&stage, 1).await;
    })
    .await;
}

#[tokio::test]
async fn calls_that_are_not_known_here_are_as_the_client_tells_them() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        agent(&stage, "shop", with_tools()).await;
        for id in ["c9", "c9__in__resp_nowhere"] {
            stage.model.play([Line::Say("Fine.")]);
            let call = ToolCall { id: id.into(), name: "theirs".into(), arguments: "{}".into() };
            let asked = Message { tool_calls: vec![call], ..Message::text(Role::Assistant, "A moment.") };
            let output = Message { tool_call_id: Some(id.into()), ..Message::text(Role::Tool, "done") };
            let chat = saying(vec![user("go"), asked, output]);
            assert_eq!(hear(&stage, asks("shop", false, chat)).await.expect("an answer").text, "Fine.");
            let prompt = stage.model.asked().pop().expect("a prompt");
            let want = [(Role::User, "go"), (Role::Assistant, "A moment."), (Role::Tool, "done")];
            assert_eq!(prompt.iter().map(|(role, words)| (*role, words.as_str())).collect::<Vec<_>>(), want);
        }
    })
    .await;
}

#[tokio::test]
async fn an_agent_that_is_not_there_is_named_with_the_nearest() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let unknown = |error: Error| {
            assert_eq!((error.kind, error.code.as_deref()), (Kind::NotFound, Some("model_not_found")));
            error.message
        };
        let asked = || asks("retruns", true, saying(vec![user("hi")]));
        let message = unknown(hear(&stage, asked()).await.expect_err("no such agent"));
        assert_eq!(message, "agent 'retruns' does not exist; no agent has a name");
        agent(&stage, "shop", AgentSpec::new("m")).await;
        agent(&stage, "returns", AgentSpec::new("m")).await;
        let message = unknown(hear(&stage, asked()).await.expect_err("no such agent"));
        assert_eq!(message, "agent 'retruns' does not exist; the nearest are: agent/returns, agent/shop");
        let listed = models(&stage).models(&stage.cx).await.expect("models");
        let agents = listed.iter().map(|model| model.id.as_str()).filter(|id| id.starts_with("agent/"));
        assert_eq!(agents.collect::<Vec<_>>(), ["agent/returns", "agent/shop"]);
        // Agents ask models, not agents.
        agent(&stage, "double", AgentSpec::new("agent/shop")).await;
        stage.model.play([Line::Fail(Error::not_found("model 'agent/shop' does not exist"))]);
        assert!(hear(&stage, asks("double", true, saying(vec![user("hi")]))).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_turn_unless_it_can_ask_again() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        agent(&stage, "shop", AgentSpec::new("m")).await;
        stage.model.play([Line::Silence]);
        let chat = || saying(vec![user("hi")]);
        let reply = models(&stage).chat(&stage.cx, asks("shop", true, chat())).await.expect("its first words");
        left(&stage, 1).await;
        drop(reply);
        left(&stage, 0).await;

        stage.model.play([Line::Say("Hello.")]);
        let keyed = |stream| {
            let mut request = asks("shop", stream, chat());
            request.idempotency_key = Some("once".into());
            request
        };
        drop(models(&stage).chat(&stage.cx, keyed(true)).await.expect("it begins"));
        for stream in [true, false] {
            let heard = hear(&stage, keyed(stream)).await.expect("the same answer");
            assert_eq!((heard.text.as_str(), heard.finish), ("Hello.", Some(FinishReason::Stop)));
        }
        assert_eq!(stage.model.asked().len(), 2, "it was asked once more");
        let mut changed = asks("shop", true, saying(vec![user("something else")]));
        changed.idempotency_key = Some("once".into());
        let refused = hear(&stage, changed).await.expect_err("another request");
        assert_eq!(refused.code.as_deref(), Some("idempotency_key_reused"));
        left(&stage, 1).await;
    })
    .await;
}

#[tokio::test]
async fn an_end_that_no_model_knows_stands_beside() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let hand_off = Some(HandOffSpec::to_people("A colleague will write to you."));
        agent(&stage, "hands", AgentSpec { hand_off, ..AgentSpec::new("m") }).await;
        agent(&stage, "guarded", AgentSpec { shields: vec!["guard".into()], ..AgentSpec::new("m") }).await;
        let limits = frontdesk_api::agent::Limits { max_steps: 1, ..Default::default() };
        agent(&stage, "short", AgentSpec { limits, ..with_tools() }).await;
        for stream in [false, true] {
            stage.model.play([Line::Call(vec![("c1", "hand_off", r#"{"reason":"customer_request"}"#)])]);
            let heard =
                hear(&stage, asks("hands", stream, saying(vec![user("a person, please")]))).await.expect("an answer");
            assert_eq!(
                (heard.text.as_str(), heard.finish),
                ("A colleague will write to you.", Some(FinishReason::Stop))
            );
            assert_eq!(heard.beside["frontdesk"]["hand_off"]["reason"], "customer_request");

            let heard = hear(&stage, asks("guarded", stream, saying(vec![user("poison")]))).await.expect("an answer");
            let want = ("I cannot help with that.", Some(FinishReason::ContentFilter));
            assert_eq!((heard.text.as_str(), heard.finish), want);
            // The client sends it again with the next message: that one is answered.
            stage.model.play([Line::Say("Hello.")]);
            let messages = vec![user("poison"), Message::text(Role::Assistant, &heard.text), user("hi")];
            let heard = hear(&stage, asks("guarded", stream, saying(messages))).await.expect("an answer");
            assert_eq!((heard.text.as_str(), heard.finish), ("Hello.", Some(FinishReason::Stop)));
            let prompt = stage.model.asked().pop().expect("a prompt");
            let words: Vec<_> = prompt.iter().map(|(_, words)| words.as_str()).collect();
            assert_eq!(words, ["(a shield withheld this message)", "I cannot help with that.", "hi"]);

            stage.model.play([Line::Call(vec![("c1", "look", "{}")])]);
            let heard = hear(&stage, asks("short", stream, saying(vec![user("look")]))).await.expect("an answer");
            assert_eq!(heard.finish, Some(FinishReason::Length));
            assert_eq!(heard.beside["frontdesk"]["incomplete"]["code"], "max_steps");
        }
    })
    .await;
}

#[tokio::test]
async fn what_fails_before_the_first_word_is_an_error_of_the_request() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        agent(&stage, "shop", AgentSpec::new("m")).await;
        stage.model.play([Line::Fail(Error::new(Kind::RateLimited, "too many requests"))]);
        let failed = models(&stage).chat(&stage.cx, asks("shop", true, saying(vec![user("hi")]))).await;
        assert_eq!(failed.err().map(|error| error.kind), Some(Kind::RateLimited));
        left(&stage, 0).await;
    })
    .await;
}

#[tokio::test]
async fn what_an_agent_does_not_have_is_refused_by_name() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        agent(&stage, "shop", with_tools()).await;
        let extra = |name: &str, value: Value| Chat {
            extra: Map::from_iter([(name.to_owned(), value)]),
            ..saying(vec![user("hi")])
        };
        let image = Message { content: vec![Part::Other(json!({ "type": "image_url" }))], ..user("") };
        for (chat, param) in [
            (extra("n", json!(2)), "n"),
            (extra("logprobs", json!(true)), "logprobs"),
            (extra("functions", json!([])), "functions"),
            (extra("modalities", json!(["audio"])), "modalities"),
            (saying(vec![user("see"), image]), "messages[1].content[0]"),
            (saying(vec![Message::text(Role::System, "alone")]), "messages"),
            (Chat { tools: vec![function("look")], ..saying(vec![user("hi")]) }, "tools[0].name"),
            (Chat { tools: vec![function("f"), function("f")], ..saying(vec![user("hi")]) }, "tools[1].function.name"),
        ] {
            let refused = hear(&stage, asks("shop", false, chat)).await.expect_err(param);
            assert_eq!((refused.kind, refused.param.as_deref()), (Kind::Invalid, Some(param)), "{refused}");
        }
        stage.model.play([Line::Say("Hello.")]);
        let chat = Chat { temperature: Some(0.5), ..extra("n", json!(1)) };
        assert_eq!(hear(&stage, asks("shop", false, chat)).await.expect("an answer").text, "Hello.");
    })
    .await;
}
