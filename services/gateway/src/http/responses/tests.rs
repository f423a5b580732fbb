//! What a request for a response makes of its model's or its agent's spec.

use frontdesk_api::Cx;
use frontdesk_wire::openai::responses::request::request;
use serde_json::{Value, json};

use super::to_turn;
use crate::testing::{Frames, TestGateway};

#[tokio::test]
async fn as_many_calls_one_after_the_other_as_were_asked_for_find_steps() {
    let gateway = TestGateway::start(Frames::whole()).await;
    let cx = Cx::internal("default", "test");
    for (asked, calls, steps) in [(None, 20, 21), (Some(3), 20, 21), (Some(30), 30, 31), (Some(5_000), 5_000, 100)] {
        let body = json!({ "model": "up/echo", "input": "hi", "max_tool_calls": asked }).to_string();
        let asked = request(body.as_bytes()).expect("a request");
        let (new, _) = to_turn(&gateway.app, &cx, asked).await.expect("a turn");
        let limits = new.response.expect("a response").spec.limits;
        assert_eq!((limits.max_tool_calls, limits.max_steps), (calls, steps));
    }
}

#[tokio::test]
async fn what_was_said_of_truncation_holds_and_else_the_agents_own_rule() {
    let gateway = TestGateway::start(Frames::whole()).await;
    let cx = Cx::internal("default", "test");
    let spec = json!({ "model": "up/echo", "instructions": "x", "name": "desk" });
    let made = gateway.post("/v1/agents", &json!({ "agent_config": spec })).await;
    assert_eq!(made.status, 200, "{}", made.text());
    for (model, asked, shown) in [
        ("up/echo", None, "disabled"),
        ("up/echo", Some("auto"), "auto"),
        ("agent/desk", None, "auto"),
        ("agent/desk", Some("auto"), "auto"),
        ("agent/desk", Some("disabled"), "disabled"),
    ] {
        let mut body = json!({ "model": model, "input": "hi" });
        if let Some(asked) = asked {
            body["truncation"] = Value::from(asked);
        }
        let asked = request(body.to_string().as_bytes()).expect("a request");
        let (new, _) = to_turn(&gateway.app, &cx, asked).await.expect("a turn");
        let response = new.response.expect("a response");
        assert_eq!(response.echo["truncation"], shown, "{body}");
        assert_eq!(response.spec.keep_all_turns, shown == "disabled", "{body}");
    }
}
