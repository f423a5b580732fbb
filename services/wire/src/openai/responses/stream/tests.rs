//! A turn as OpenAI streams it: every event in its order, at every number the same.

use frontdesk_api::{
    attributes::Attributes,
    chat::Role,
    memory::Passage,
    servers::{Filter, WaitingCall},
    tools::ToolDef,
    turn::{Citation, Step, StepState},
};

use super::*;

mod written;

fn turn(state: TurnState) -> Turn {
    Turn {
        id: "resp_1".into(),
        session_id: None,
        agent_id: "agent_inline".into(),
        agent_version: 1,
        parent: None,
        state,
        error: None,
        hand_off: None,
        usage: Usage { input_tokens: 7, output_tokens: 3, ..Usage::default() },
        created_at: 1_000_000,
        completed_at: state.is_terminal().then_some(2_000_000),
    }
}

fn item(id: &str, body: ItemBody) -> Item {
    Item { id: id.into(), turn_id: "resp_1".into(), pos: 0, body }
}

fn says(id: &str, text: &str, citations: Vec<Citation>) -> Item {
    item(id, ItemBody::Message { role: Role::Assistant, text: text.into(), citations })
}

fn thinks(id: &str, text: &str) -> Item {
    item(id, ItemBody::Reasoning { text: text.into(), sealed: None, kept: vec![] })
}

fn calls(id: &str, call_id: &str, name: &str) -> Item {
    let call = ToolCall { id: call_id.into(), name: name.into(), arguments: "{}".into() };
    item(id, ItemBody::FunctionCall { call, container: None })
}

fn added(item: &Item) -> EventBody {
    EventBody::ItemAdded { step_id: "s".into(), item: item.clone() }
}

fn done(item: &Item) -> EventBody {
    EventBody::ItemDone { step_id: "s".into(), item: item.clone() }
}

fn text(id: &str, delta: &str) -> EventBody {
    EventBody::TextDelta { step_id: "s".into(), item_id: id.into(), delta: delta.into(), logprobs: vec![] }
}

fn arguments(id: &str, delta: &str) -> EventBody {
    let (step_id, call_id, name) = ("s".into(), "c".into(), "n".into());
    EventBody::ArgumentsDelta { step_id, item_id: id.into(), call_id, name, delta: delta.into() }
}

fn fold(echo: Value, bodies: &[EventBody]) -> (Vec<Shown>, Value) {
    let mut projection = Projection::new(echo, Include::default());
    let events = (0..).zip(bodies).map(|(seq, body)| Event { seq, body: body.clone() });
    let shown: Vec<Shown> = events.flat_map(|event| projection.push(&event)).collect();
    let numbers: Vec<i64> = shown.iter().map(|s| s.number).collect();
    assert_eq!(numbers, (0..).take(shown.len()).collect::<Vec<_>>(), "no number is missing");
    for one in &shown {
        assert_eq!(
            (one.data["type"].as_str(), one.data["sequence_number"].as_i64()),
            (Some(one.name), Some(one.number))
        );
    }
    (shown, projection.response().expect("it has begun"))
}

fn names(shown: &[Shown]) -> Vec<&str> {
    shown.iter().map(|s| s.name.strip_prefix("response.").unwrap_or(s.name)).collect()
}

// Oracle: the order of events in OpenAI's guide "Streaming responses" and API reference, "Responses, streaming
// events"; the shapes are checked against the official package's types in tests/conformance/test_responses.py.
#[test]
fn an_answer_is_streamed_in_openais_order_and_reads_back_as_it_was_streamed() {
    let whole = says("msg_1", "Hello", vec![]);
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        EventBody::Input { items: vec![] },
        added(&thinks("rs_1", "")),
        EventBody::ReasoningDelta { step_id: "s".into(), item_id: "rs_1".into(), delta: "Hm.".into() },
        done(&thinks("rs_1", "Hm.")),
        added(&says("msg_1", "", vec![])),
        text("msg_1", "Hel"),
        text("msg_1", "lo"),
        done(&whole),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let (shown, response) = fold(json!({ "model": "m" }), &bodies);
    assert_eq!(
        names(&shown),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(shown[2].data["item"]["content"], json!([]));
    assert_eq!(shown.last().expect("the last").data["response"], response);
    assert_eq!(
        response["output"],
        json!([item::reasoning("rs_1", "Hm.", None, false, false), item::message("msg_1", "Hello", &[], "completed")])
    );
    assert_eq!((&response["status"], &response["model"]), (&json!("completed"), &json!("m")));
    assert_eq!((&response["created_at"], &response["completed_at"]), (&json!(1), &json!(2)));
    assert_eq!(response["usage"]["total_tokens"], 10);
    // Every prefix of the rows gives a prefix of the events: a replay that begins later sees the same numbers.
    for n in 1..bodies.len() {
        assert_eq!(
            fold(json!({ "model": "m" }), &bodies[..n]).0[..],
            shown[..fold(json!({ "model": "m" }), &bodies[..n]).0.len()]
        );
    }
}

#[test]
fn calls_for_the_client_are_functions_and_ours_are_shown_with_their_results() {
    let echo = json!({ "background": true, "tools": [{ "type": "function", "name": "look" }] });
    let output = |call: &str, is_error| item("fco", ItemBody::output(call, "sent", is_error));
    let theirs = calls("fc_1", "c1", "look");
    let (ours, broken) = (calls("fc_2", "c2", "order"), calls("fc_3", "c3", "order"));
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&theirs),
        arguments("fc_1", "{}"),
        done(&theirs),
        added(&ours),
        arguments("fc_2", "{}"),
        done(&ours),
        added(&broken),
        arguments("fc_3", "{}"),
        done(&broken),
        done(&output("c2", false)),
        done(&output("c3", true)),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let (shown, response) = fold(echo, &bodies);
    assert_eq!(
        names(&shown),
        [
            "created",
            "queued",
            "in_progress",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "output_item.added",
            "mcp_call.in_progress",
            "mcp_call_arguments.delta",
            "mcp_call_arguments.done",
            "mcp_call.completed",
            "output_item.done",
            "mcp_call.failed",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(shown[0].data["response"]["status"], "queued");
    let output: Vec<_> = response["output"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|i| (&i["type"], &i["status"], &i["output"]))
        .collect();
    let null = Value::Null;
    assert_eq!(
        output,
        [
            (&json!("function_call"), &json!("completed"), &null),
            (&json!("mcp_call"), &json!("completed"), &json!("sent")),
            (&json!("mcp_call"), &json!("failed"), &null)
        ]
    );
    // The items read from rows are the same.
    let rows = [
        theirs,
        ours,
        broken,
        item("fco", ItemBody::output("c2", "sent", false)),
        item("fco2", ItemBody::output("c3", "sent", true)),
    ];
    let client = item::client_tools(&json!({ "tools": [{ "name": "look" }] }));
    assert_eq!(json!(item::items(&rows, 0, &client, Include::default())), response["output"]);
}

#[test]
fn sources_are_searched_first_and_cited_in_characters() {
    let lang = json!({ "lang": "de" });
    let passage = Passage {
        store_id: "vs".into(),
        file_id: "file_1".into(),
        filename: "returns.md".into(),
        title: "Returns".into(),
        url: None,
        attributes: Attributes::new(lang.as_object().cloned().expect("an object")).expect("attributes"),
        chunk_id: "c".into(),
        text: "14 days".into(),
        score: 1.0,
    };
    let citation = Citation {
        number: 1,
        container_id: None,
        file_id: "file_1".into(),
        filename: "returns.md".into(),
        title: "Returns".into(),
        url: None,
        quote: "14 days".into(),
    };
    let found = item("ret_1", ItemBody::Retrieval { query: "returns?".into(), passages: vec![passage] });
    let answer = says("msg_1", "Für 14 Tage [1]", vec![citation]);
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        done(&found),
        added(&says("msg_1", "", vec![])),
        done(&answer),
    ];
    let (shown, response) = fold(json!({}), &bodies);
    assert_eq!(
        names(&shown)[2..],
        [
            "output_item.added",
            "file_search_call.in_progress",
            "file_search_call.searching",
            "file_search_call.completed",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.annotation.added",
            "output_text.done",
            "content_part.done",
            "output_item.done"
        ]
    );
    assert_eq!(response["output"][0]["results"], Value::Null);
    let want = json!([{ "type": "file_citation", "file_id": "file_1", "filename": "returns.md", "index": 12 }]);
    assert_eq!(response["output"][1]["content"][0]["annotations"], want);
    let mut projection =
        Projection::new(json!({}), Include { results: true, outputs: true, sources: true, ..Include::default() });
    for (seq, body) in (0..).zip(bodies) {
        projection.push(&Event { seq, body });
    }
    let shown = &projection.response().expect("begun")["output"][0]["results"][0];
    assert_eq!((&shown["text"], &shown["attributes"]), (&json!("14 days"), &lang));
}

#[test]
fn a_file_that_code_wrote_is_cited_in_characters_where_it_is_spoken_of() {
    let file = |number| Citation {
        number,
        container_id: Some("cntr_1".into()),
        file_id: "cfile_1".into(),
        filename: "a.csv".into(),
        title: "a.csv".into(),
        url: None,
        quote: "sandbox:/mnt/data/a.csv".into(),
    };
    let said = "Für dich: [a](sandbox:/mnt/data/a.csv) sandbox:/mnt/data/a.csv";
    let answer = says("msg_1", said, vec![file(1), file(2)]);
    let bodies = [EventBody::Created { turn: turn(TurnState::Running) }, done(&answer)];
    let (shown, response) = fold(json!({}), &bodies);
    let annotation = |start: usize| {
        json!({ "type": "container_file_citation", "container_id": "cntr_1", "file_id": "cfile_1",
                            "filename": "a.csv", "start_index": start, "end_index": start + 23 })
    };
    let want = [annotation(14), annotation(39)];
    assert_eq!(response["output"][0]["content"][0]["annotations"], json!(want));
    let added = shown.iter().filter(|shown| shown.name == "response.output_text.annotation.added");
    let added: Vec<_> = added.map(|shown| shown.data["annotation"].clone()).collect();
    assert_eq!(added, want);
}

#[test]
fn a_call_of_code_names_its_container_from_its_beginning_on() {
    let call = ToolCall { id: "c1".into(), name: "code_interpreter".into(), arguments: r#"{"code":"1"}"#.into() };
    let call = item("ci_1", ItemBody::FunctionCall { call, container: Some("cntr_9".into()) });
    let output = ItemBody::output("c1", r#"{"stdout":""}"#, false);
    let bodies =
        [EventBody::Created { turn: turn(TurnState::Running) }, added(&call), done(&call), done(&item("fo_1", output))];
    let (shown, response) = fold(json!({ "tools": [{ "type": "code_interpreter" }] }), &bodies);
    let items: Vec<_> =
        shown.iter().filter_map(|shown| shown.data.get("item")).map(|item| &item["container_id"]).collect();
    assert_eq!(items, ["cntr_9", "cntr_9"]);
    assert_eq!(response["output"][0]["container_id"], "cntr_9");
}

#[test]
fn what_broke_off_stays_at_its_place_and_the_end_says_why() {
    let begun = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&says("msg_1", "", vec![])),
        text("msg_1", "Hel"),
    ];
    let error = |code: &str, kind| Some(TurnError { code: code.into(), message: "why".into(), kind });
    for (state, error, name, status, told) in [
        (
            TurnState::Failed,
            error("upstream", Some(Kind::Upstream)),
            "failed",
            "failed",
            json!({ "code": "server_error", "message": "why" }),
        ),
        (
            TurnState::Failed,
            error("x", Some(Kind::RateLimited)),
            "failed",
            "failed",
            json!({ "code": "rate_limit_exceeded", "message": "why" }),
        ),
        (
            TurnState::Incomplete,
            error("max_tokens", None),
            "incomplete",
            "incomplete",
            json!({ "reason": "max_output_tokens" }),
        ),
        (
            TurnState::Incomplete,
            error("max_steps", None),
            "incomplete",
            "incomplete",
            json!({ "reason": null, "message": "why" }),
        ),
        (TurnState::Cancelled, error("cancelled", None), "incomplete", "cancelled", Value::Null),
    ] {
        let ended = Turn { error, ..turn(state) };
        let last = match state {
            TurnState::Failed => EventBody::Failed { turn: ended },
            TurnState::Incomplete => EventBody::Incomplete { turn: ended },
            _ => EventBody::Cancelled { turn: ended },
        };
        let (shown, response) = fold(json!({}), &[&begun[..], &[last]].concat());
        assert_eq!(names(&shown)[5..], ["output_item.done", name]);
        assert_eq!(response["output"], json!([item::message("msg_1", "Hel", &[], "incomplete")]));
        assert_eq!(response["status"], status);
        let at = if state == TurnState::Failed { "error" } else { "incomplete_details" };
        assert_eq!(response[at], told);
    }
}

#[test]
fn code_is_shown_as_openais_tool_where_the_request_has_it() {
    let call = |id: &str, call_id: &str, arguments: &str| {
        let call = ToolCall { id: call_id.into(), name: "code_interpreter".into(), arguments: arguments.into() };
        item(id, ItemBody::FunctionCall { call, container: None })
    };
    let answer =
        |id: &str, call_id: &str, output: &str, is_error: bool| item(id, ItemBody::output(call_id, output, is_error));
    let (good, stopped) = (call("ci_1", "c1", r#"{"code":"6*7"}"#), call("ci_2", "c2", r#"{"code":"while 1: 0"}"#));
    let (told, limit) = (
        answer("o_1", "c1", r#"{"stdout":"","value":"42"}"#, false),
        answer("o_2", "c2", r#"{"error":"limit"}"#, true),
    );
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        added(&call("ci_1", "c1", "")),
        arguments("ci_1", r#"{"code":"6*7"}"#),
        done(&good),
        done(&told),
        done(&stopped),
        done(&limit),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let tool = json!({ "tools": [{ "type": "code_interpreter", "container": { "type": "auto" } }] });
    let (shown, response) = fold(tool.clone(), &bodies);
    assert_eq!(
        names(&shown)[2..],
        [
            "output_item.added",
            "code_interpreter_call.in_progress",
            "code_interpreter_call_code.delta",
            "code_interpreter_call_code.done",
            "code_interpreter_call.interpreting",
            "code_interpreter_call.completed",
            "output_item.done",
            "output_item.added",
            "code_interpreter_call.in_progress",
            "code_interpreter_call_code.delta",
            "code_interpreter_call_code.done",
            "code_interpreter_call.interpreting",
            "output_item.done",
            "completed"
        ]
    );
    let statuses: Vec<_> = response["output"].as_array().expect("a list").iter().map(|i| i["status"].clone()).collect();
    assert_eq!(statuses, ["completed", "failed"]);
    // The items read from rows are the same, and say what was printed where that is wanted.
    let rows = [good, told, stopped, limit];
    let client = item::client_tools(&tool);
    assert_eq!(json!(item::items(&rows, 0, &client, Include::default())), response["output"]);
    let wanted = item::items(&rows, 0, &client, Include { outputs: true, ..Include::default() });
    assert_eq!(wanted[0]["outputs"], json!([{ "type": "logs", "logs": "42" }]));
    // A function of the client that has the name is the client's, and without the tool it is a call like any other.
    let theirs =
        json!({ "tools": [{ "type": "function", "name": "code_interpreter" }, { "type": "code_interpreter" }] });
    for (echo, kind) in [(theirs, "function_call"), (json!({}), "mcp_call")] {
        let (_, response) = fold(echo, &bodies[..4]);
        assert_eq!(response["output"][0]["type"], kind);
    }
}

#[test]
fn servers_list_their_tools_and_calls_that_wait_are_requests_and_then_calls() {
    let tool = |name: &str, effect: &str| -> ToolDef {
        let def = json!({ "name": format!("shop_{name}"), "wire_name": name, "toolgroup": "", "description": "d",
                          "schema": {}, "hash": "", "effect": effect });
        serde_json::from_value(def).expect("a tool")
    };
    let list = |known, error: Option<&str>| {
        let tools = match error {
            None => vec![tool("look", "none"), tool("cancel", "unsafe")],
            Some(_) => vec![],
        };
        let (server, url, error) = ("shop".into(), Some("https://h".into()), error.map(str::to_owned));
        let (allowed, waits) = (Filter::default(), vec!["shop_cancel".into()]);
        item("mcpl_1", ItemBody::ServerTools { server, url, allowed, tools, waits, error, known, of: None })
    };
    let output = |id: &str, call_id: &str, output: &str| item(id, ItemBody::output(call_id, output, false));
    let (looks, cancels) = (calls("fc_1", "c1", "shop_look"), calls("fc_2", "c2", "shop_cancel"));
    let looked = output("fco_1", "c1", "sent");
    let call = ToolCall { id: "c2".into(), name: "shop_cancel".into(), arguments: "{}".into() };
    let (server, url) = ("shop".into(), Some("https://h".into()));
    let waiting = Box::new(WaitingCall { call, server, url, tool: tool("cancel", "unsafe") });
    let asks = item("mcpr_9", ItemBody::ApprovalRequest { waiting: waiting.clone() });
    let bodies = [
        EventBody::Created { turn: turn(TurnState::Running) },
        EventBody::Input { items: vec![] },
        done(&list(false, None)),
        added(&looks),
        done(&looks),
        added(&cancels),
        done(&cancels),
        done(&looked),
        done(&asks),
        EventBody::Completed { turn: turn(TurnState::Completed) },
    ];
    let (shown, response) = fold(json!({}), &bodies);
    assert_eq!(
        names(&shown)[2..],
        [
            "output_item.added",
            "mcp_list_tools.in_progress",
            "mcp_list_tools.completed",
            "output_item.done",
            "output_item.added",
            "mcp_call.in_progress",
            "mcp_call_arguments.done",
            "mcp_call.completed",
            "output_item.done",
            "output_item.added",
            "output_item.done",
            "completed"
        ]
    );
    let listed = response["output"].as_array().expect("a list");
    assert_eq!(listed[0]["tools"][1]["name"], "cancel");
    assert_eq!(listed[0]["tools"][0]["annotations"], json!({ "readOnlyHint": true }));
    assert_eq!((&listed[1]["server_label"], &listed[1]["name"]), (&json!("shop"), &json!("look")));
    let request = json!({ "id": "mcpr_9", "type": "mcp_approval_request", "server_label": "shop", "name": "cancel",
                          "arguments": "{}" });
    assert_eq!(listed[2], request);
    let rows = [list(false, None), looks, cancels, looked, asks];
    assert_eq!(json!(item::items(&rows, 0, &ClientTools::default(), Include::default())), response["output"]);

    // One that was refused instead is shown with what became of it.
    let refused = item("fco_2", ItemBody::output("c2", "no", true));
    let bodies = [&bodies[..7], &[done(&refused), EventBody::Completed { turn: turn(TurnState::Completed) }]].concat();
    let (shown, response) = fold(json!({}), &bodies);
    let told = ["output_item.added", "mcp_call.in_progress", "mcp_call_arguments.done", "mcp_call.failed"];
    assert_eq!(names(&shown)[9..13], told);
    let called = &response["output"][2];
    assert_eq!((&called["name"], &called["status"]), (&json!("cancel"), &json!("failed")));
    let rows = [list(false, None), calls("fc_1", "c1", "shop_look"), calls("fc_2", "c2", "shop_cancel"), refused];
    let rows = item::items(&rows, 0, &ClientTools::default(), Include::default());
    assert_eq!(rows[2], *called);

    // The next one brings the word; what is known is not listed again.
    let yes = |approved| {
        let (request_id, waiting) = ("mcpr_9".into(), Some(waiting.clone()));
        item("mcpa_1", ItemBody::ApprovalResponse { request_id, approved, reason: None, waiting })
    };
    let step = Step {
        id: "s".into(),
        n: 0,
        kind: StepKind::ToolExecution,
        state: StepState::Intent,
        started_at: 0,
        completed_at: None,
        output: None,
    };
    let gone = output("fco_2", "c2", "gone");
    let goes_on = |approved| {
        [
            EventBody::Created { turn: turn(TurnState::Running) },
            EventBody::Input { items: vec![yes(approved)] },
            done(&list(true, None)),
            EventBody::StepStarted { step: step.clone() },
            done(&gone),
            EventBody::Completed { turn: turn(TurnState::Completed) },
        ]
    };
    let (shown, response) = fold(json!({}), &goes_on(true));
    let made = [
        "output_item.added",
        "mcp_call.in_progress",
        "mcp_call_arguments.done",
        "mcp_call.completed",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names(&shown)[2..], made);
    let called = &response["output"][0];
    assert_eq!((&called["approval_request_id"], &called["output"]), (&json!("mcpr_9"), &json!("gone")));
    assert_eq!((&called["name"], &called["id"]), (&json!("cancel"), &json!("mcp_9")));
    let rows = [yes(true), list(true, None), gone.clone()];
    let rows = item::items(&rows, 1, &ClientTools::default(), Include::default());
    assert_eq!((&rows[0]["type"], &rows[1]), (&json!("mcp_approval_response"), called));
    // One that its turn ended before is shown with that.
    let [first, input, _, _, gone, last] = goes_on(true);
    let (shown, _) = fold(json!({}), &[first, input, gone, last]);
    assert_eq!(names(&shown)[2..], made);
    let (shown, _) = fold(json!({}), &goes_on(false));
    assert_eq!(names(&shown)[2..], ["completed"], "what was denied is no call");

    let failed = [EventBody::Created { turn: turn(TurnState::Running) }, done(&list(false, Some("down")))];
    let (shown, _) = fold(json!({}), &failed);
    assert_eq!(names(&shown)[3..], ["mcp_list_tools.in_progress", "mcp_list_tools.failed", "output_item.done"]);
    assert_eq!(shown.last().expect("the last").data["item"]["error"], "down");
}
