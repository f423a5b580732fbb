//! Refusals, tokens and calls, as a model writes them.

use super::*;
use crate::openai::responses::request::Include;

#[test]
fn a_refusal_has_a_part_and_events_of_its_own() {
    let refuses = |text: &str| item("msg_1", ItemBody::Refusal { text: text.into() });
    let delta =
        |delta: &str| EventBody::RefusalDelta { step_id: "s".into(), item_id: "msg_1".into(), delta: delta.into() };
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&refuses("")),
        delta("I will "),
        delta("not."),
        done(&refuses("I will not.")),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let (shown, response) = fold(json!({}), &bodies);
    let want = [
        "output_item.added",
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names(&shown)[2..], want);
    assert_eq!(shown[3].data["part"], json!({ "type": "refusal", "refusal": "" }));
    assert_eq!(shown[6].data["refusal"], "I will not.");
    let part = json!({ "type": "refusal", "refusal": "I will not." });
    assert_eq!(response["output"][0]["content"], json!([part]));
    // Half of it stands where it was cut off, and rows read as the stream did.
    let (_, half) = fold(json!({}), &bodies[..3]);
    assert_eq!(half["output"][0]["content"][0]["refusal"], "I will ");
    assert_eq!(json!(item::sent(&refuses("I will not."), Include::default())), response["output"][0]);
}

#[test]
fn what_is_known_of_tokens_is_shown_where_it_is_asked_for() {
    let token = |text: &str| json!({ "token": text, "logprob": -0.5, "bytes": null, "top_logprobs": [] });
    let says_so = |delta: &str, logprobs: Vec<Value>| {
        let (step_id, item_id) = ("s".into(), "msg_1".into());
        EventBody::TextDelta { step_id, item_id, delta: delta.into(), logprobs }
    };
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&says("msg_1", "", vec![])),
        says_so("a b", vec![token("a"), token(" b")]),
        says_so("", vec![token("")]),
        done(&says("msg_1", "a b", vec![])),
    ];
    for (asked, deltas, all) in [(true, vec![2, 1], 3), (false, vec![0, 0], 0)] {
        let mut projection = Projection::new(json!({}), Include { logprobs: asked, ..Include::default() });
        let events = (0..).zip(&bodies).map(|(seq, body)| Event { seq, body: body.clone() });
        let shown: Vec<Shown> = events.flat_map(|event| projection.push(&event)).collect();
        let count = |value: &Value| value.as_array().map_or(0, Vec::len);
        let of = |name: &'static str| shown.iter().filter(move |one| one.name == name).map(|one| &one.data);
        assert_eq!(of("response.output_text.delta").map(|e| count(&e["logprobs"])).collect::<Vec<_>>(), deltas);
        assert_eq!(of("response.output_text.done").map(|e| count(&e["logprobs"])).collect::<Vec<_>>(), [all]);
        let response = projection.response().expect("it has begun");
        let kept = &response["output"][0]["content"][0]["logprobs"];
        assert_eq!((count(kept), kept[0].get("bytes").is_some()), (all, asked));
    }
}

#[test]
fn a_call_that_is_still_written_grows_and_one_that_is_cut_off_says_so() {
    let begun = |id: &str, call_id: &str, name: &str| {
        let call = ToolCall { id: call_id.into(), name: name.into(), arguments: String::new() };
        added(&item(id, ItemBody::FunctionCall { call, container: None }))
    };
    let echo = json!({ "tools": [{ "type": "function", "name": "look" }] });
    let whole = calls("fc_2", "c2", "order");
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        begun("fc_1", "c1", "look"),
        arguments("fc_1", "{\"a"),
        begun("fc_2", "c2", "order"),
        arguments("fc_2", "{"),
        arguments("fc_1", "\":1"),
        arguments("fc_2", "}"),
        done(&whole),
        done(&item("o", ItemBody::output("c2", "sent", false))),
        EventBody::Failed { turn: turn(TurnState::Failed) },
    ];
    let (_, response) = fold(echo, &bodies);
    let [first, second] = [&response["output"][0], &response["output"][1]];
    assert_eq!((&first["status"], &first["arguments"]), (&json!("incomplete"), &json!("{\"a\":1")));
    assert_eq!((&second["status"], &second["arguments"]), (&json!("completed"), &json!("{}")));
}

#[test]
fn thoughts_are_a_summary_where_one_is_asked_for_and_those_nobody_reads_have_no_part() {
    let thinks = |id: &str, text: &str, sealed: Option<&str>| {
        item(id, ItemBody::Reasoning { text: text.into(), sealed: sealed.map(str::to_owned), kept: vec![] })
    };
    let delta = EventBody::ReasoningDelta { step_id: "s".into(), item_id: "rs_1".into(), delta: "Hm.".into() };
    let rows = [thinks("rs_1", "Hm.", Some("fdt1.a")), thinks("rs_2", "", Some("fdt1.b"))];
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&thinks("rs_1", "", None)),
        delta,
        done(&rows[0]),
        done(&rows[1]),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let echo = json!({ "reasoning": { "summary": "auto" } });
    let (shown, response) = fold(echo.clone(), &bodies);
    let want = [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names(&shown)[2..], want);
    assert_eq!(response["output"][0]["summary"], json!([{ "type": "summary_text", "text": "Hm." }]));
    let client = item::client_tools(&echo);
    assert_eq!(json!(item::items(&rows, 0, &client, Include::default())), response["output"]);
    let kept = item::items(&rows, 0, &client, Include { thoughts: true, ..Include::default() });
    let kept: Vec<&Value> = kept.iter().map(|item| &item["encrypted_content"]).collect();
    assert_eq!(
        (kept, response["output"][0].get("encrypted_content")),
        (vec![&json!("fdt1.a"), &json!("fdt1.b")], None)
    );
}
