//! `GET /v1/agents/{agent_id}/sessions`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_wire::llama_stack::turn::Session;

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{Window, WindowQuery, window},
    },
    problem::Problem,
};

/// An agent's conversations, newest first, without their turns
#[utoipa::path(
    get, path = "/v1/agents/{agent_id}/sessions", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id"), WindowQuery),
    responses((status = 200, body = Window<Session>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(agent_id): Path<String>,
    Query(query): Query<WindowQuery>,
) -> Result<Json<Window<Session>>, Problem> {
    let (agents, cx, agent_id) = (&app.agents, &cx, &agent_id);
    let fetch = |page| async move { agents.list_sessions(cx, agent_id, &page).await };
    let sessions = window(query, fetch, |session| &session.id).await?;
    Ok(Json(sessions.map(|session| Session::new(&session, vec![]))))
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        ChatEvent, Frame,
        chat::{FinishReason, Usage},
    };
    use serde_json::{Value, json};

    use crate::testing::{Frames, TestGateway};

    fn hello() -> Vec<frontdesk_api::Result<Frame>> {
        let words = ChatEvent::Text { choice: 0, text: "Hello.".into() };
        let finish = ChatEvent::Finish { choice: 0, reason: FinishReason::Stop };
        vec![Ok(Frame { events: vec![words, finish, ChatEvent::Usage(Usage::default())], ..Frame::default() })]
    }

    #[tokio::test]
    async fn an_agents_own_conversations_are_listed_newest_first_window_by_window_and_without_their_turns() {
        let gateway = TestGateway::start(Frames { streaming: true, frames: hello }).await;
        let made = async |path: &str, body: Value, id: &str| {
            let answer = gateway.post(path, &body).await;
            assert_eq!(answer.status, 200, "{}", answer.shown());
            answer.json()[id].as_str().expect("an id").to_owned()
        };
        let config = json!({ "agent_config": { "model": "up/echo", "instructions": "x" } });
        let agent = made("/v1/agents", config.clone(), "agent_id").await;
        let other = made("/v1/agents", config, "agent_id").await;
        let mut ids = vec![];
        for name in ["first", "second", "third"] {
            let path = format!("/v1/agents/{agent}/session");
            ids.push(made(&path, json!({ "session_name": name }), "session_id").await);
        }
        made(&format!("/v1/agents/{other}/session"), json!({ "session_name": "another's" }), "session_id").await;
        // What is said in one later makes it no newer.
        let first = format!("/v1/agents/{agent}/session/{}", ids[0]);
        let asks = json!({ "messages": [{ "role": "user", "content": "hello" }] });
        made(&format!("{first}/turn"), asks, "turn_id").await;
        assert_eq!(gateway.get(&first).await.json()["turns"].as_array().map(Vec::len), Some(1));

        let path = format!("/v1/agents/{agent}/sessions");
        let list = gateway.get(&path).await.json();
        let sessions = list["data"].as_array().expect("a list");
        let shown: Vec<&Value> = sessions.iter().map(|session| &session["session_id"]).collect();
        assert_eq!(shown, ids.iter().rev().collect::<Vec<_>>());
        for session in sessions {
            assert_eq!(session["turns"], json!([]), "{session}");
            assert!(session["started_at"].as_str().is_some_and(|at| at.starts_with("2026-11-24T")), "{session}");
        }
        for (query, names, more) in [
            ("", vec!["third", "second", "first"], false),
            ("?limit=2", vec!["third", "second"], true),
            ("?start_index=2&limit=2", vec!["first"], false),
            ("?start_index=1&limit=1", vec!["second"], true),
            ("?start_index=3", vec![], false),
        ] {
            let list = gateway.get(&format!("{path}{query}")).await.json();
            let data = list["data"].as_array().expect("a list");
            let shown: Vec<&str> = data.iter().filter_map(|session| session["session_name"].as_str()).collect();
            assert_eq!((shown, &list["has_more"], &list["url"]), (names, &json!(more), &Value::Null), "{query}");
        }
        let refused = gateway.get(&format!("{path}?limit=101")).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]["param"]), (400, &json!("limit")));
        assert_eq!(gateway.get("/v1/agents/agent_nowhere/sessions").await.status, 404);
    }
}
