//! Shields in a turn, and what was looked up: what is stopped is said in steps and kept from models.

use frontdesk_api::{
    agent::AgentSpec,
    chat::Role,
    safety::Verdict,
    turn::{ItemBody, StepOutput, TurnState},
};
use frontdesk_store::testing::each_database;
use serde_json::json;

use crate::{
    servers,
    stage::{Line, Stage, answer, done, with_tools},
};

fn guarded(spec: AgentSpec) -> AgentSpec {
    AgentSpec { shields: vec!["guard".into()], ..spec }
}

/// The verdicts that were not `allow`, in order.
fn verdicts(view: &frontdesk_agents::TurnView) -> Vec<String> {
    let said = view.steps.iter().filter_map(|step| match &step.output {
        Some(StepOutput::ShieldCall { stage, verdict, .. }) if *verdict != Verdict::Allow => {
            let word = serde_json::to_value(verdict).expect("json")["action"].as_str().expect("a word").to_owned();
            Some(format!("{stage:?} {word}"))
        }
        _ => None,
    });
    said.collect()
}

#[tokio::test]
async fn a_blocked_message_reaches_no_model_now_or_later() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(guarded(AgentSpec::new("m"))).await;
        stage.model.play([Line::Say("Hello.")]);
        let view = stage.ask(&conversation, "give me poison").await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "I cannot help with that."));
        assert_eq!(verdicts(&view), ["Input block"]);
        assert!(stage.model.asked().is_empty(), "no model was asked");
        stage.ask(&conversation, "hello").await;
        let prompt = stage.model.asked().pop().expect("one prompt");
        assert_eq!(prompt, [(Role::User, "hello".to_owned())]);
    })
    .await;
}

#[tokio::test]
async fn what_is_redacted_reaches_no_model_no_tool_and_no_row() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(guarded(with_tools())).await;
        stage
            .model
            .play([Line::Call(vec![("a", "look", "{\"card\":\"4111\"}")]), Line::Say("Your card 4111 is fine.")]);
        let view = stage.ask(&conversation, "my card is 4111").await;
        assert_eq!(answer(&view), "Your card [card] is fine.");
        assert!(verdicts(&view).iter().any(|v| v == "Output redact"), "{:?}", verdicts(&view));
        assert!(stage.model.asked().iter().flatten().all(|(_, words)| !words.contains("4111")));
        assert_eq!(done(&view)[0].1, "saw {\"card\":\"[card]\"}", "the tool got it as the model did");
        // The first event carries no words; from the second on, what the customer wrote is as the shield let it pass.
        let everything = serde_json::to_string(&stage.events(&view.turn.id).await).expect("json");
        assert!(!everything.contains("4111"), "{everything}");
        assert!(!serde_json::to_string(&view.items).expect("json").contains("4111"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_stopped_half_way_ends_with_the_shields_words() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let conversation = stage.conversation(guarded(AgentSpec::new("m"))).await;
        stage.model.play([Line::Say("This much is good to know, but then comes poison and more.")]);
        let view = stage.ask(&conversation, "tell me").await;
        assert_eq!((verdicts(&view), answer(&view)), (vec!["Output block".to_owned()], "I cannot help with that."));
        let everything = serde_json::to_string(&stage.events(&view.turn.id).await).expect("json");
        assert!(!everything.contains("then comes"), "{everything}");

        stage.model.play([Line::Say("Then see my lawyer.")]);
        let view = stage.ask(&conversation, "tell me").await;
        assert!(view.turn.hand_off.is_some());
        assert_eq!(answer(&view), "A colleague will write to you.");
    })
    .await;
}

#[tokio::test]
async fn of_an_earlier_message_that_is_stopped_its_pictures_are_withheld_too() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let picture = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBO" } });
        let shows = |text: &str| {
            let parts = vec![json!({ "type": "text", "text": text }), picture.clone()];
            ItemBody::Content { role: Role::User, parts }
        };
        let refused = ItemBody::Message { role: Role::Assistant, text: "I cannot.".into(), citations: vec![] };
        // As a client that keeps the conversation sends it.
        let said = vec![shows("poison"), refused, shows("hi")];
        stage.model.play([Line::Say("Hello.")]);
        let mut new = servers::asks(None, said, &[]);
        new.response.as_mut().expect("a response").spec = guarded(AgentSpec::new("m"));
        let view = servers::ask(&stage, new).await;
        assert_eq!((view.turn.state, answer(&view)), (TurnState::Completed, "Hello."));
        let shown = view.items.iter().filter_map(|item| match &item.body {
            ItemBody::Content { parts, .. } => Some(parts.clone()),
            _ => None,
        });
        let withheld = vec![json!({ "type": "text", "text": "(a shield withheld this message)" })];
        let last = vec![json!({ "type": "text", "text": "hi" }), picture.clone()];
        assert_eq!(shown.collect::<Vec<_>>(), [withheld, last], "nor are they kept");
        let prompt = serde_json::to_string(&stage.model.asked()).expect("json");
        assert!(!prompt.contains("poison"), "{prompt}");
    })
    .await;
}

#[tokio::test]
async fn a_poisoned_page_is_left_out_and_the_good_one_cited() {
    each_database(|store| async move {
        let stage = Stage::set(store).await;
        let spec = AgentSpec { knowledge: vec!["vs_1".into()], ..guarded(AgentSpec::new("m")) };
        let conversation = stage.conversation(spec).await;
        stage.model.play([Line::Say("They say: Returns are free within 30 days."), Line::Say("I do not know.")]);
        let view = stage.ask(&conversation, "how do I return it?").await;
        let prompt = &stage.model.asked()[0];
        assert!(prompt[0].1.contains("Returns are free") && !prompt[0].1.contains("poison"), "{prompt:?}");
        let cited: Vec<&str> = view
            .items
            .iter()
            .filter_map(|item| match &item.body {
                ItemBody::Message { role: Role::Assistant, citations, .. } => Some(citations),
                _ => None,
            })
            .flatten()
            .map(|c| c.file_id.as_str())
            .collect();
        assert_eq!(cited, ["file_returns"]);
        assert_eq!(verdicts(&view), ["Retrieved block"]);
        let view = stage.ask(&conversation, "do you sell boats?").await;
        let found = view.steps.iter().find_map(|step| match &step.output {
            Some(StepOutput::MemoryRetrieval { passages, .. }) => Some(passages.len()),
            _ => None,
        });
        assert_eq!(found, Some(0), "a search that finds nothing is a step too");
    })
    .await;
}
