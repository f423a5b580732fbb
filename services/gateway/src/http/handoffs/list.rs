//! `GET /v1/handoffs`.

use axum::{Json, extract::State};
use frontdesk_api::Error;
use frontdesk_store::handoffs::State as Standing;
use serde::Deserialize;

use super::HandoffInfo;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StateQuery {
    /// Only those that are `open`, `taken` or `done`.
    pub state: Option<String>,
}

/// The queue of people
///
/// Conversations that agents handed over, newest first; `order=asc` begins with who has waited longest.
#[utoipa::path(
    get, path = "/v1/handoffs", tag = "agents", params(PageQuery, StateQuery),
    responses((status = 200, body = List<HandoffInfo>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(page): Query<PageQuery>,
    Query(only): Query<StateQuery>,
) -> Result<Json<List<HandoffInfo>>, Problem> {
    let known = |word: String| {
        let message = format!("state must be open, taken or done, found '{word}'");
        Standing::parse(&word).ok_or_else(|| Error::invalid("state", message))
    };
    let state = only.state.map(known).transpose()?;
    let handoffs = app.agents.list_handoffs(&cx, state, &page.request()?).await?;
    Ok(Json(List::of(handoffs, HandoffInfo::from, |handoff| &handoff.id)))
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        ChatEvent, Frame,
        chat::{FinishReason, Usage},
    };
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    /// A model that hands over whatever it is asked.
    fn hands_over() -> Vec<frontdesk_api::Result<Frame>> {
        let call = ChatEvent::ToolCall {
            choice: 0,
            index: 0,
            id: Some("c1".into()),
            name: Some("hand_off".into()),
            arguments: r#"{"reason":"customer_request"}"#.into(),
        };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::ToolCalls };
        vec![Ok(Frame { events: vec![call, finish, ChatEvent::Usage(Usage::default())], ..Frame::default() })]
    }

    #[tokio::test]
    async fn a_conversation_waits_is_taken_and_given_back() {
        let gateway = TestGateway::start(Frames { streaming: true, frames: hands_over }).await;
        let hand_off = json!({ "message": "A colleague will write to you." });
        let config = json!({ "model": "up/echo", "instructions": "x", "frontdesk": { "hand_off": hand_off } });
        let agent = gateway.post("/v1/agents", &json!({ "agent_config": config })).await.json();
        let agent = agent["agent_id"].as_str().expect("an id").to_owned();
        let session =
            gateway.post(&format!("/v1/agents/{agent}/session"), &json!({ "session_name": "s" })).await.json();
        let session = session["session_id"].as_str().expect("an id").to_owned();
        let path = format!("/v1/agents/{agent}/session/{session}/turn");
        let asks = json!({ "messages": [{ "role": "user", "content": "A person!" }] });
        let turn = gateway.post(&path, &asks).await.json();
        assert_eq!(turn["output_message"]["content"], "A colleague will write to you.", "{turn}");

        let listed = gateway.get("/v1/handoffs?state=open").await.json();
        let [open] = &listed["data"].as_array().expect("a list")[..] else { panic!("one: {listed}") };
        let id = open["id"].as_str().expect("an id");
        let want = (json!(session), json!(agent), json!("customer_request"), json!("open"));
        let got = (&open["conversation"], &open["agent_id"], &open["reason"], &open["state"]);
        assert_eq!(got, (&want.0, &want.1, &want.2, &want.3));
        assert_eq!(gateway.get(&format!("/v1/handoffs/{id}")).await.json(), *open);
        let taken = gateway.post(&format!("/v1/handoffs/{id}/take"), &json!({ "by": "Ada" })).await.json();
        assert_eq!((&taken["state"], &taken["taken_by"]), (&json!("taken"), &json!("Ada")));
        let other = gateway.post(&format!("/v1/handoffs/{id}/take"), &json!({ "by": "Bob" })).await;
        assert_eq!((other.status.as_u16(), &other.json()["error"]["code"]), (409, &json!("handoff_taken")));

        let unnamed = gateway.post(&format!("/v1/handoffs/{id}/take"), &json!({})).await;
        assert_eq!((unnamed.status.as_u16(), &unnamed.json()["error"]["param"]), (400, &json!("by")));

        // What the customer writes now is kept and not answered.
        let turn = gateway.post(&path, &asks).await.json();
        assert_eq!(turn["output_message"]["content"], "", "{turn}");
        assert_eq!(turn["steps"], json!([]));
        assert_eq!(turn["frontdesk"]["hand_off"]["reason"], "customer_request", "{turn}");
        assert_eq!(gateway.get("/v1/handoffs?state=open").await.json()["data"], json!([]));

        let messages = format!("/v1/handoffs/{id}/messages");
        let said = gateway.post(&messages, &json!({ "by": "Ada", "text": "Here I am." })).await.json();
        let read = gateway.get(&format!("{messages}?limit=2")).await.json();
        assert_eq!(read["data"][0], said, "{read}");
        let (from, by) = (&said["from"], &said["by"]);
        assert_eq!((from, by, &read["data"][1]["from"]), (&json!("person"), &json!("Ada"), &json!("customer")));
        let other = gateway.post(&messages, &json!({ "by": "Bob", "text": "I too." })).await;
        assert_eq!((other.status.as_u16(), &other.json()["error"]["code"]), (409, &json!("handoff_taken")));

        let done = gateway.post_text(&format!("/v1/handoffs/{id}/done"), "").await.json();
        assert_eq!(done["state"], "done");
        let turn = gateway.post(&path, &asks).await.json();
        assert_eq!(turn["output_message"]["content"], "A colleague will write to you.", "{turn}");
        assert_eq!(gateway.get("/v1/handoffs").await.json()["data"].as_array().map(Vec::len), Some(2));
        assert_eq!(gateway.get("/v1/handoffs?state=lost").await.status, 400);
        assert_eq!(gateway.get("/v1/handoffs/handoff_nowhere").await.status, 404);
    }
}
