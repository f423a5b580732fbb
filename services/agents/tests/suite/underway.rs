//! How far calls are, in the stream of their turn.

use std::sync::Arc;

use frontdesk_api::{agent::AgentSpec, turn::EventBody};
use frontdesk_store::testing::each_database;
use futures::StreamExt as _;

use crate::{
    parallel::{at_gates, begin, same_from_everywhere, with_gates},
    stage::{Line, Stage, answer, happens},
};

/// What the stream says of the call while it is still at its gate; the turn is ended then.
async fn told(stage: &Arc<Stage>, spec: AgentSpec) -> (serde_json::Value, Option<String>) {
    let conversation = stage.conversation(spec).await;
    stage
        .model
        .play([at_gates("charge", &[("a", r#"{"gate":"a","tells":"the till is opened"}"#)]), Line::Say("Done.")]);
    let turn = begin(stage, &conversation).await;
    let mut events = stage.agents.events(&stage.cx, &turn, None).await.expect("events");
    let progress = async {
        loop {
            let event = events.next().await.expect("it goes on").expect("an event");
            if let EventBody::ToolProgress { step_id, progress, total, message } = event.body {
                break (step_id, serde_json::json!([progress, total]), message);
            }
        }
    };
    let (step_id, numbers, message) = happens("a call to tell how far it is", progress).await;
    stage.tools.open("a", "charged");
    let view = stage.settled(&turn).await;
    assert_eq!(answer(&view), "Done.");
    assert!(view.steps.iter().any(|step| step.id == step_id), "{step_id}");
    same_from_everywhere(stage, &turn).await;
    (numbers, message)
}

#[tokio::test]
async fn a_call_tells_how_far_it_is_while_it_runs() {
    each_database(|store| async move {
        let stage = Arc::new(Stage::set(store).await);
        let (numbers, words) = told(&stage, with_gates()).await;
        assert_eq!((numbers, words.as_deref()), (serde_json::json!([1, 3]), Some("the till is opened")));
    })
    .await;
}

#[tokio::test]
async fn words_that_no_shield_has_seen_are_not_shown() {
    each_database(|store| async move {
        let stage = Arc::new(Stage::set(store).await);
        let (numbers, words) = told(&stage, AgentSpec { shields: vec!["guard".into()], ..with_gates() }).await;
        assert_eq!((numbers, words), (serde_json::json!([1, 3]), None));
    })
    .await;
}
