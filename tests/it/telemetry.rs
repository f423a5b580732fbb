//! Traces and metrics as a collector gets them: one trace from the client's to the provider's, in OpenTelemetry's
//! names, and nobody's words in it.

use std::collections::BTreeSet;

use frontdesk_tests::{Frontdesk, Options, Scripted, frontdesk::answer};
use opentelemetry_proto::tonic::{metrics::v1::metric::Data, trace::v1::span::SpanKind};
use serde_json::{Value, json};

use crate::{
    collector::{Collector, hex, shown},
    shop,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// The trace of whoever comes later.
const OTHER: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn options(scripted: &Scripted, collector: &str, more: &str) -> Options {
    traced(Options::upstream(scripted), collector, more)
}

fn traced(options: Options, collector: &str, more: &str) -> Options {
    options.config(&format!(
        "telemetry: {{ otlp_endpoint: \"{collector}\", headers: {{ x-collector-key: the-collectors-key }}, \
         resource: {{ deployment.environment.name: test }}, service_name: desk {more} }}"
    ))
}

fn question(stream: bool) -> Value {
    json!({ "model": "up/m1", "stream": stream, "messages": [{ "role": "user", "content": "PROMPTWORD please" }] })
}

fn answered() -> Value {
    let usage = json!({ "prompt_tokens": 11, "completion_tokens": 4, "total_tokens": 15,
        "prompt_tokens_details": { "cached_tokens": 8 }, "completion_tokens_details": { "reasoning_tokens": 1 } });
    json!([{ "when": { "last_role": "user" }, "reply": { "text": "ANSWERWORD it is", "usage": usage } }])
}

async fn ask(frontdesk: &Frontdesk, stream: bool, traceparent: Option<&str>) {
    let mut request = frontdesk.request("POST", "/v1/chat/completions").json(&question(stream));
    if let Some(traceparent) = traceparent {
        request = request.header("traceparent", traceparent);
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    assert!(response.text().await.expect("a body").contains("ANSWERWORD"));
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_chat_is_one_trace_from_the_client_to_the_provider() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(answered());
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ""));
    ask(&frontdesk, true, Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    // Nothing waits for a tick: what is left goes out at the end.
    assert!(frontdesk.stop().expect("it ends").success());

    let (request, call) = (collector.span("POST /v1/chat/completions"), collector.span("chat up/m1"));
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((hex(&call.trace_id), &call.parent_span_id), (TRACE.to_owned(), &request.span_id));
    assert_eq!((request.kind, call.kind), (SpanKind::Server as i32, SpanKind::Client as i32));
    assert!(request.end_time_unix_nano >= call.end_time_unix_nano, "a request lasts as long as its stream");
    let of_request = shown(&request.attributes);
    assert_eq!(of_request["http.request.method"], "POST");
    assert_eq!(of_request["http.route"], "/v1/chat/completions");
    assert_eq!(of_request["http.response.status_code"], "200");
    let mut of_call = shown(&call.attributes);
    assert!(of_call.remove("gen_ai.response.time_to_first_chunk").is_some());
    assert!(of_call.remove("frontdesk.tenant.id").is_some());
    let want = [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "up"),
        ("gen_ai.request.model", "up/m1"),
        ("gen_ai.response.model", "m1"),
        ("gen_ai.usage.cache_creation.input_tokens", "0"),
        ("gen_ai.usage.cache_read.input_tokens", "8"),
        ("gen_ai.usage.input_tokens", "11"),
        ("gen_ai.usage.output_tokens", "4"),
        ("gen_ai.usage.reasoning.output_tokens", "1"),
    ];
    assert_eq!(of_call.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), want);
    // The provider is called under the span of the call.
    let sent = scripted.requests().into_iter().find(|seen| seen.method == "POST").expect("a request");
    assert_eq!(sent.header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", hex(&call.span_id))));

    let resource = &collector.resources()[0];
    assert_eq!((resource["service.name"].as_str(), resource["deployment.environment.name"].as_str()), ("desk", "test"));
    assert!(collector.all_had("x-collector-key", "the-collectors-key"));
    assert!(collector.all_had("content-type", "application/x-protobuf"));

    let metrics = collector.metrics();
    for (name, unit) in [
        ("gen_ai.client.operation.duration", "s"),
        ("gen_ai.client.token.usage", "{token}"),
        ("gen_ai.client.operation.time_to_first_chunk", "s"),
        ("gen_ai.server.request.duration", "s"),
        ("gen_ai.server.time_to_first_token", "s"),
        ("http.server.request.duration", "s"),
        ("frontdesk.overhead", "s"),
    ] {
        let metric = metrics.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", metrics.keys()));
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        assert_eq!((metric.unit.as_str(), histogram.data_points[0].count), (unit, 1), "{metric:?}");
    }
    let Some(Data::Histogram(tokens)) = &metrics["gen_ai.client.token.usage"].data else { panic!() };
    let mut sums: Vec<_> =
        tokens.data_points.iter().map(|p| (shown(&p.attributes)["gen_ai.token.type"].clone(), p.sum)).collect();
    sums.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(sums, [("input".to_owned(), Some(11.0)), ("output".to_owned(), Some(4.0))]);

    let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
    for word in ["PROMPTWORD", "ANSWERWORD", "upstream-key", "frontdesk-tests-admin-key", "the-collectors-key"] {
        assert!(!bytes.contains(word), "{word} left the house");
    }
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn words_are_sent_only_where_the_operator_asks_for_them() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(answered());
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ", content: true"));
    ask(&frontdesk, true, None).await;
    frontdesk.stop();
    let attributes = shown(&collector.span("chat up/m1").attributes);
    let read = |name: &str| serde_json::from_str::<Value>(&attributes[name]).expect("JSON");
    let part = |text: &str| json!([{ "type": "text", "content": text }]);
    assert_eq!(read("gen_ai.input.messages"), json!([{ "role": "user", "parts": part("PROMPTWORD please") }]));
    let want = json!([{ "role": "assistant", "parts": part("ANSWERWORD it is"), "finish_reason": "stop" }]);
    assert_eq!(read("gen_ai.output.messages"), want);
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_caller_decides_whether_its_trace_is_kept() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(answered());
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ", sample_ratio: 0"));
    ask(&frontdesk, false, Some(&format!("00-{TRACE}-{PARENT}-00"))).await;
    ask(&frontdesk, false, None).await;
    ask(&frontdesk, false, Some(&format!("00-{TRACE}-{PARENT}-01"))).await;
    frontdesk.stop();
    assert_eq!(hex(&collector.span("chat up/m1").trace_id), TRACE, "one span: of the request that was to be kept");
    let sent: Vec<String> =
        scripted.requests().iter().filter_map(|r| r.header("traceparent").map(str::to_owned)).collect();
    assert_eq!(sent.len(), 3, "{sent:?}");
    assert!(sent[0].starts_with(&format!("00-{TRACE}-")) && sent[0].ends_with("-00"), "{sent:?}");
    assert!(sent[1].ends_with("-00") && sent[2].ends_with("-01"), "{sent:?}");
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_target_that_failed_stands_on_the_span_of_the_call() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    let busy =
        json!({ "when": { "model": "m1" }, "reply": { "status": 503, "json": { "error": { "message": "busy" } } } });
    scripted.script(json!([busy, answered()[0]]));
    let route = "models: [ { id: desk, retries: { max: 0 }, targets: [ { model: up/m1 }, { model: up/m2 } ] } ]";
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), "").config(route));
    let asked = json!({ "model": "desk", "messages": [{ "role": "user", "content": "hi" }] });
    let response = frontdesk.request("POST", "/v1/chat/completions").json(&asked).send().await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-frontdesk-attempts"]),
        (200, &"2".parse().expect("a value"))
    );
    frontdesk.stop();
    let call = shown(&collector.span("chat desk").attributes);
    let lost = &call["frontdesk.attempts.lost"];
    assert!(lost.starts_with("[up/m1: unavailable after ") && lost.ends_with(" ms]"), "{lost}");
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn without_a_collector_a_traceparent_goes_on_as_it_came() {
    let scripted = Scripted::start();
    scripted.script(answered());
    let frontdesk = Frontdesk::start(Options::upstream(&scripted));
    let given = format!("00-{TRACE}-{PARENT}-01");
    ask(&frontdesk, false, Some(&given)).await;
    let sent = scripted.requests().into_iter().find(|seen| seen.method == "POST").expect("a request");
    assert_eq!(sent.header("traceparent"), Some(given.as_str()));
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_turn_is_spans_of_its_agent_its_models_and_its_tools() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(json!([
        { "when": { "last_role": "user" }, "reply": { "tool_calls": [
            { "name": "lookup_order", "arguments": { "order_id": "4711" } },
            { "name": "lookup_order", "arguments": { "order_id": "4712" } },
        ] } },
        { "when": { "last_role": "tool" }, "reply": { "text": "It is on its way." } },
    ]));
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ""));
    shop::register_tools(&frontdesk, "shop").await;
    let agent = shop::agent(
        &frontdesk,
        json!({ "name": "Clerk", "toolgroups": ["shop"], "frontdesk": { "shields": ["rules"] } }),
    )
    .await;
    let turns = shop::session(&frontdesk, &agent).await;
    let session = turns.split('/').nth_back(1).expect("a session id").to_owned();
    shop::ask(&frontdesk, &turns, "where is order 4711?").await;
    frontdesk.stop();

    let spans = collector.spans();
    let request = spans.iter().find(|s| s.name.starts_with("POST") && s.name.ends_with("/turn")).expect("the request");
    let turn = collector.span("invoke_agent Clerk");
    assert_eq!((&turn.trace_id, &turn.parent_span_id), (&request.trace_id, &request.span_id));
    assert_eq!(shown(&turn.attributes)["gen_ai.conversation.id"], session);
    assert_eq!(shown(&turn.attributes)["gen_ai.agent.id"], agent);
    // Each call of the answer has its own, beside the other's.
    let tools: Vec<_> = spans.iter().filter(|span| span.name == "execute_tool lookup_order").collect();
    assert_eq!(tools.len(), 2);
    for tool in &tools {
        assert_eq!((&tool.parent_span_id, tool.kind), (&turn.span_id, SpanKind::Internal as i32));
        let attributes = shown(&tool.attributes);
        assert_eq!((&attributes["gen_ai.conversation.id"], &attributes["gen_ai.agent.id"]), (&session, &agent));
        assert_eq!(attributes["gen_ai.tool.type"], "extension");
    }
    let calls: Vec<_> = spans.iter().filter(|span| span.name == "chat up/scripted").collect();
    let reasons: Vec<_> =
        calls.iter().map(|call| shown(&call.attributes)["gen_ai.response.finish_reasons"].clone()).collect();
    assert_eq!(reasons, ["[tool_call]", "[stop]"]);
    for call in calls {
        let attributes = shown(&call.attributes);
        assert_eq!((&call.trace_id, &call.parent_span_id), (&turn.trace_id, &turn.span_id));
        assert!(attributes["gen_ai.response.id"].starts_with("chatcmpl"), "{attributes:?}");
        assert_eq!((&attributes["gen_ai.conversation.id"], &attributes["gen_ai.agent.id"]), (&session, &agent));
    }
    let shields: Vec<_> = spans.iter().filter(|span| span.name.starts_with("apply_guardrail")).collect();
    let stages: BTreeSet<_> = shields.iter().map(|span| span.name.as_str()).collect();
    let want = ["input", "output", "tool_input", "tool_output"].map(|stage| format!("apply_guardrail {stage}"));
    assert_eq!(stages, want.iter().map(String::as_str).collect());
    for shield in shields {
        assert_eq!((&shield.parent_span_id, shield.kind), (&turn.span_id, SpanKind::Internal as i32));
        assert_eq!(shown(&shield.attributes)["gen_ai.conversation.id"], session);
    }
    let metrics = collector.metrics();
    for (name, sum) in
        [("frontdesk.turn.duration", None), ("frontdesk.turn.queued", None), ("frontdesk.turn.model_calls", Some(2.0))]
    {
        let Some(Data::Histogram(seen)) = &metrics[name].data else { panic!("{name}") };
        let point = &seen.data_points[0];
        assert_eq!(point.count, 1, "{name}");
        assert!(sum.is_none() || point.sum == sum, "{name}: {point:?}");
    }
    let Some(Data::Sum(calls)) = &metrics["frontdesk.tool.calls"].data else { panic!() };
    let calls = calls.data_points.iter().map(|p| (shown(&p.attributes)["frontdesk.tool.outcome"].clone(), p.value));
    let number = |n| Some(opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble(n));
    let want = [("asked", 0.0), ("cut_off", 0.0), ("failed", 0.0), ("succeeded", 2.0)]
        .map(|(end, n)| (end.to_owned(), number(n)));
    assert_eq!(calls.collect::<Vec<_>>(), want);
    let Some(Data::Sum(ended)) = &metrics["frontdesk.turns.ended"].data else { panic!() };
    let completed = ended.data_points.iter().find(|p| shown(&p.attributes)["frontdesk.turn.state"] == "completed");
    let one = opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsDouble(1.0);
    assert_eq!(completed.and_then(|point| point.value), Some(one));
    let bytes = String::from_utf8_lossy(&collector.bytes()).into_owned();
    for word in ["4711", "on its way", "Be brief"] {
        assert!(!bytes.contains(word), "{word} left the house");
    }
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn what_a_turn_looks_up_and_which_rules_hold_are_spans_of_it() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(json!([{ "reply": { "text": "{\"holds\":[2]}" } }, { "reply": { "text": "It is late." } }]));
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ""));
    let mut stores = vec![];
    for name in ["parcels", "letters"] {
        let (_, store) = frontdesk.post("/v1/vector_stores", &json!({ "name": name })).await;
        stores.push(store["id"].as_str().expect("an id").to_owned());
    }
    let rule = |id: &str| json!({ "id": id, "condition": format!("they speak of {id}"), "action": "Be kind." });
    let rules = ["refund", "delay", "praise", "anger"].map(rule);
    let more = json!({ "knowledge": stores, "guidelines": rules });
    let agent = shop::agent(&frontdesk, json!({ "name": "Clerk", "frontdesk": more })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    let session = turns.split('/').nth_back(1).expect("a session id").to_owned();
    shop::ask(&frontdesk, &turns, "where is it?").await;
    frontdesk.stop();
    let (spans, turn) = (collector.spans(), collector.span("invoke_agent Clerk"));
    let (retrieval, matching) = (collector.span("retrieval"), collector.span("match_guidelines"));
    for span in [&retrieval, &matching] {
        let attributes = shown(&span.attributes);
        assert_eq!((&span.parent_span_id, span.kind), (&turn.span_id, SpanKind::Internal as i32));
        assert_eq!((&attributes["gen_ai.conversation.id"], &attributes["gen_ai.agent.id"]), (&session, &agent));
    }
    assert_eq!(shown(&retrieval.attributes)["gen_ai.data_source.id"], stores.join(","));
    assert_eq!(shown(&matching.attributes)["frontdesk.guidelines.asked"], "4");
    let calls = spans.iter().filter(|span| span.name == "chat up/scripted").map(|call| &call.parent_span_id);
    assert_eq!(calls.collect::<Vec<_>>(), [&matching.span_id, &turn.span_id], "the question is the matching's");
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn responses_that_continue_each_other_are_one_conversation() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    let answer = json!({ "reply": { "text": "Card 4111 1111 1111 1111." } });
    scripted.script(json!([answer, answer, answer, answer]));
    let blocks = Options::upstream(&scripted)
        .config("  safety:\n    - { id: rules, type: rules, config: { card_numbers: block } }");
    let mut frontdesk = Frontdesk::start(traced(blocks, collector.url(), ""));
    shop::agent(&frontdesk, json!({ "name": "Clerk", "output_shields": ["rules"] })).await;
    let mut ids = vec![];
    for previous in [None, Some(0), Some(1), Some(0)] {
        let mut body = json!({ "model": "agent/Clerk", "input": "hello" });
        if let Some(previous) = previous {
            body["previous_response_id"] = Value::clone(&ids[previous]);
        }
        let (status, said) = frontdesk.post("/v1/responses", &body).await;
        assert_eq!(status, 200, "{said}");
        ids.push(said["id"].clone());
    }
    frontdesk.stop();
    let spans = collector.spans();
    for name in ["invoke_agent Clerk", "chat up/scripted", "apply_guardrail output"] {
        let of: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
        assert_eq!(of.len(), ids.len(), "{name}");
        for span in of {
            let told = shown(&span.attributes);
            assert_eq!(told["gen_ai.conversation.id"], ids[0], "{name}");
            assert_eq!(told.contains_key("frontdesk.shield.stopped_by"), name == "apply_guardrail output");
        }
    }
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_turn_that_another_process_goes_on_with_stays_in_its_trace() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(json!([
        { "reply": { "text": "one two three", "gates": { "never": 2 } } },
        { "reply": { "text": "one two three" } },
    ]));
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), "").config("turns: { lease_s: 2 }"));
    let agent = shop::agent(&frontdesk, json!({ "name": "Clerk" })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    let ask = |frontdesk: &Frontdesk| {
        frontdesk.request("POST", &turns).header("idempotency-key", "k").json(&shop::say("hello", true))
    };
    let given = format!("00-{TRACE}-{PARENT}-01");
    let asked = ask(&frontdesk).header("traceparent", given).send().await.expect("a stream");
    scripted.waiting("never").await;
    drop(asked);
    frontdesk.restart();
    let rest = ask(&frontdesk).send().await.expect("a stream").text().await.expect("its end");
    assert!(rest.contains("turn_complete"), "{rest}");
    frontdesk.stop();

    // The first process took its own spans with it.
    let turn = collector.span("invoke_agent Clerk");
    assert_eq!(hex(&turn.trace_id), TRACE);
    assert!(!turn.parent_span_id.is_empty(), "the request that asked for it");
    let call = collector.span("chat up/scripted");
    assert_eq!((hex(&call.trace_id), &call.parent_span_id), (TRACE.to_owned(), &turn.span_id));
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_turn_that_waited_stays_in_its_trace_and_is_linked_to_the_request_that_let_it_go_on() {
    let (scripted, collector) = (Scripted::start(), Collector::start().await);
    scripted.script(json!([
        { "reply": { "tool_call": { "id": "call_1", "name": "look", "arguments": {} } } },
        { "reply": { "text": "It is late." } },
    ]));
    let mut frontdesk = Frontdesk::start(options(&scripted, collector.url(), ""));
    let look = json!({ "name": "look", "description": "", "parameters": [] });
    let agent = shop::agent(&frontdesk, json!({ "name": "Clerk", "client_tools": [look] })).await;
    let turns = shop::session(&frontdesk, &agent).await;
    let send = async |path: &str, body: &Value, trace: &str| {
        let request = frontdesk.request("POST", path).header("traceparent", format!("00-{trace}-{PARENT}-01"));
        let (status, said) = answer(path, request.json(body)).await;
        assert_eq!(status, 200, "{said}");
        said
    };
    let waiting = send(&turns, &shop::say("look", false), TRACE).await;
    let call = &waiting["output_message"]["tool_calls"][0]["call_id"];
    let brings = json!([{ "call_id": call, "tool_name": "look", "content": "42" }]);
    let resume = format!("{turns}/{}/resume", waiting["turn_id"].as_str().expect("an id"));
    let done = send(&resume, &json!({ "stream": false, "tool_responses": brings }), OTHER).await;
    assert_eq!(shop::answer(&done), "It is late.");
    frontdesk.stop();

    let spans = collector.spans();
    let request = |end: &str| spans.iter().find(|s| s.name.starts_with("POST ") && s.name.ends_with(end)).expect(end);
    let (asked, resumed) = (request("/turn"), request("/resume"));
    assert_eq!((hex(&asked.trace_id), hex(&resumed.trace_id)), (TRACE.to_owned(), OTHER.to_owned()));
    let mut worked: Vec<_> = spans.iter().filter(|span| span.name == "invoke_agent Clerk").collect();
    worked.sort_by_key(|span| span.start_time_unix_nano);
    assert_eq!(worked.len(), 2, "before it waited and after");
    for (work, call) in worked.iter().zip(spans.iter().filter(|span| span.name == "chat up/scripted")) {
        assert_eq!((&work.trace_id, &work.parent_span_id), (&asked.trace_id, &asked.span_id));
        assert_eq!((&call.trace_id, &call.parent_span_id), (&asked.trace_id, &work.span_id));
    }
    let links = |n: usize| worked[n].links.iter().map(|link| (&link.trace_id, &link.span_id)).collect::<Vec<_>>();
    assert!(links(0).is_empty(), "who asked stands above it already: {:?}", links(0));
    assert_eq!(links(1), [(&resumed.trace_id, &resumed.span_id)]);
}

/// The value of a series as `/metrics` writes it.
async fn value(frontdesk: &Frontdesk, series: &str) -> f64 {
    let shown = frontdesk.request("GET", "/metrics").send().await.expect("an answer").text().await.expect("text");
    let line = shown.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok());
    line.unwrap_or_else(|| panic!("no {series} in {shown}"))
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_collector_that_says_nothing_costs_spans_and_no_request() {
    let scripted = Scripted::start();
    scripted.script(answered());
    // It takes connections and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("address"));
    let mut frontdesk = Frontdesk::start(options(&scripted, &url, ""));
    // More than the queue and a batch hold.
    let lanes = (0..4).map(async |_| {
        for _ in 0..1500 {
            assert_eq!(frontdesk.open("GET", "/v1/health").send().await.expect("an answer").status(), 200);
        }
    });
    futures::future::join_all(lanes).await;
    ask(&frontdesk, true, None).await;
    let dropped = value(&frontdesk, "frontdesk_telemetry_spans_total{frontdesk_telemetry_outcome=\"dropped\"}").await;
    assert!((500.0..6002.0).contains(&dropped), "{dropped}");
    assert_eq!(value(&frontdesk, "frontdesk_telemetry_spans_total{frontdesk_telemetry_outcome=\"sent\"}").await, 0.0);
    assert!(frontdesk.stop().expect("it ends all the same").success());
    let log = frontdesk.process().log();
    assert!(!log.contains("PROMPTWORD"), "{log}");
}

#[tokio::test(flavor = "multi_thread")] // stopping blocks, and the collector must still answer
async fn a_collector_that_is_not_there_is_said_once() {
    let scripted = Scripted::start();
    scripted.script(answered());
    let nobody = tokio::net::TcpSocket::new_v4().expect("a socket");
    nobody.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let free = nobody.local_addr().expect("address");
    let mut frontdesk = Frontdesk::start(options(&scripted, &format!("http://{free}"), ""));
    for _ in 0..3 {
        ask(&frontdesk, false, None).await;
    }
    assert!(frontdesk.stop().expect("it ends").success());
    let log = frontdesk.process().log();
    // Once for traces, once for metrics.
    assert_eq!(log.matches("the collector does not take what is sent").count(), 2, "{log}");
}
