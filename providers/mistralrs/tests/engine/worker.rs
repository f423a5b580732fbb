//! The worker as a process: what clients see of answers, tools, limits and errors.

use crate::common::{Worker, body, demo_model, long, told, tool};
use serde_json::{Value, json};

/// Prompts of one token length whose answers differ in one word.
fn equal_prompts() -> Vec<String> {
    (0..16).map(|number| format!("Say \"red green {}{}\"", number / 10, number % 10)).collect()
}

#[test]
fn sixteen_requests_of_equal_length_at_once_each_get_their_own_answer() {
    let worker = Worker::start(&[]);
    let prompts = equal_prompts();
    let alone: Vec<String> = prompts.iter().map(|prompt| worker.text(json!({"say": prompt}))).collect();
    let different: std::collections::BTreeSet<&String> = alone.iter().collect();
    assert_eq!(different.len(), 16, "the answers must differ for this to prove anything: {alone:?}");
    let (_, one) = worker.chat(json!({"say": prompts[0]}));
    for prompt in &prompts {
        let (_, other) = worker.chat(json!({"say": prompt}));
        assert_eq!(one["usage"]["prompt_tokens"], other["usage"]["prompt_tokens"], "{prompt}");
    }
    let together: Vec<String> = std::thread::scope(|scope| {
        let ask = |(number, prompt)| {
            let worker = &worker;
            scope.spawn(move || match number % 2 {
                0 => worker.text(json!({"say": prompt})),
                _ => told(&worker.stream(json!({"say": prompt})).chunks()).0,
            })
        };
        let asked: Vec<_> = prompts.iter().enumerate().map(ask).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert_eq!(together, alone);
    assert!(worker.metric("frontdesk_engine_time_to_first_token_seconds_count") >= 49.0);
}

#[test]
fn a_model_calls_tools_streamed_and_whole_and_answers_with_their_results() {
    let worker = Worker::start(&[]);
    let asked = json!({"say": "Where is my order 48213?", "tools": [tool("lookup_order", "order_id")]});
    let (_, whole) = worker.chat(asked.clone());
    let choice = &whole["choices"][0];
    assert_eq!((&choice["finish_reason"], &choice["message"]["content"]), (&json!("tool_calls"), &Value::Null));
    let call = &choice["message"]["tool_calls"][0];
    assert_eq!(call["function"], json!({"name": "lookup_order", "arguments": "{\"order_id\":\"48213\"}"}));

    let (text, calls, reason) = told(&worker.stream(asked.clone()).chunks());
    assert_eq!((text.as_str(), reason.as_str(), calls.len()), ("", "tool_calls", 1));
    assert_eq!((&calls[0]["index"], &calls[0]["function"]), (&json!(0), &call["function"]));

    let history = json!([
        {"role": "user", "content": "Where is my order 48213?"},
        {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function",
            "function": {"name": "lookup_order", "arguments": "{\"order_id\":\"48213\"}"}}]},
        {"role": "tool", "tool_call_id": "c1",
            "content": "{\"order_id\":\"48213\",\"status\":\"shipped\",\"eta\":\"2026-11-28\",\"item\":\"Desk lamp\"}"}
    ]);
    let answer = worker.text(json!({"messages": history, "tools": [tool("lookup_order", "order_id")]}));
    assert!(answer.contains("48213"), "the result must reach the template: {answer}");

    let mut none = asked;
    none["tool_choice"] = json!("none");
    let (_, whole) = worker.chat(none);
    assert_eq!(whole["choices"][0]["message"].get("tool_calls"), None);
}

#[test]
fn a_required_or_named_tool_is_called_whatever_the_model_would_rather_say() {
    let worker = Worker::start(&[]);
    let tools = json!([tool("echo", "text"), tool("lookup_order", "order_id")]);
    for (choice, allowed) in [
        (json!("required"), vec!["echo", "lookup_order"]),
        (json!({"type": "function", "function": {"name": "echo"}}), vec!["echo"]),
        (json!({"type": "function", "function": {"name": "lookup_order"}}), vec!["lookup_order"]),
    ] {
        let asked = json!({"say": "Hello!", "tools": tools, "tool_choice": choice});
        let (_, whole) = worker.chat(asked.clone());
        let message = &whole["choices"][0]["message"];
        let function = &message["tool_calls"][0]["function"];
        assert!(allowed.contains(&function["name"].as_str().unwrap()), "{whole}");
        let arguments: Value = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
        assert_eq!(arguments.as_object().unwrap().len(), 1);
        assert_eq!(whole["choices"][0]["finish_reason"], "tool_calls");
        let (_, calls, reason) = told(&worker.stream(asked).chunks());
        assert_eq!((&calls[0]["function"], reason.as_str()), (function, "tool_calls"));
    }
}

#[test]
fn an_answer_has_the_shape_that_was_asked_for() {
    let worker = Worker::start(&[]);
    let schema = json!({
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}, "zip": {"type": "integer", "minimum": 10000, "maximum": 99999}},
        "required": ["city", "zip"],
        "additionalProperties": false,
        "$defs": {"City": {"enum": ["Oslo", "Bern"]}},
    });
    let format = json!({"type": "json_schema", "json_schema": {"name": "place", "schema": schema}});
    for tools in [json!([]), json!([tool("echo", "text")])] {
        let text = worker.text(json!({"say": "hello", "response_format": format, "tools": tools, "max_tokens": 200}));
        if text.is_empty() {
            continue; // Beside tools the model may call one.
        }
        let place: Value = serde_json::from_str(&text).unwrap();
        assert!(place["city"] == "Oslo" || place["city"] == "Bern", "{text}");
        assert!((10_000..=99_999).contains(&place["zip"].as_i64().unwrap()), "{text}");
    }
    let bad = json!({"type": "json_schema", "json_schema": {"name": "bad", "schema": {"type": "nonsense"}}});
    let (status, problem) = worker.chat(json!({"say": "hello", "response_format": bad}));
    assert_eq!((status, &problem["error"]["type"]), (400, &json!("invalid_request_error")), "{problem}");
    assert_eq!(worker.chat(json!({"say": "hello"})).0, 200);
}

#[test]
fn stop_strings_lengths_and_usage_are_kept_to() {
    let worker = Worker::start(&[]);
    let asked = json!({"say": "Say \"red green blue river stone\""});
    let whole = worker.text(asked.clone());
    let (before, _) = whole.split_once("blue").unwrap_or_else(|| panic!("'blue' is not in {whole:?}"));
    let mut stopped = asked.clone();
    stopped["stop"] = json!(["nowhere", "blue"]);
    stopped["stream_options"] = json!({"include_usage": true});
    assert_eq!(worker.text(stopped.clone()), before);
    let chunks = worker.stream(stopped).chunks();
    assert_eq!((told(&chunks).0.as_str(), told(&chunks).2.as_str()), (before, "stop"));
    let usage = &chunks.last().unwrap()["usage"];
    assert_eq!(chunks.last().unwrap()["choices"], json!([]));
    assert!(usage["prompt_tokens"].as_u64() > Some(5) && usage["completion_tokens"].as_u64() > Some(1), "{usage}");

    let mut short = asked;
    short["max_completion_tokens"] = json!(2);
    let (_, answer) = worker.chat(short);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    assert!(whole.starts_with(answer["choices"][0]["message"]["content"].as_str().unwrap()));
}

#[test]
fn a_seed_decides_a_random_answer() {
    let worker = Worker::start(&[]);
    let asked = |seed: u64| worker.text(json!({"say": "hello", "temperature": 2, "seed": seed, "max_tokens": 24}));
    let answers: Vec<String> = (1..=4).map(asked).collect();
    assert_eq!((1..=4).map(asked).collect::<Vec<_>>(), answers);
    assert!(answers.iter().any(|answer| *answer != answers[0]), "{answers:?}");
    // A grammar leaves the draw some tokens only; the seed still decides among them.
    let mut shaped = long(40);
    shaped["temperature"] = json!(1.5);
    shaped["seed"] = json!(5);
    let shaped: Vec<String> = (0..2).map(|_| worker.text(shaped.clone())).collect();
    assert_eq!((shaped[0].len(), &shaped[0]), (42, &shaped[1]));
}

#[test]
fn log_probabilities_come_with_their_tokens() {
    let worker = Worker::start(&[]);
    let asked = json!({"say": "Say \"red green\"", "logprobs": true, "top_logprobs": 2});
    let (_, answer) = worker.chat(asked);
    let listed = answer["choices"][0]["logprobs"]["content"].as_array().unwrap().clone();
    assert!(listed.len() >= 3, "{answer}");
    assert!(listed.iter().all(|one| one["logprob"].as_f64() <= Some(0.0)), "{listed:?}");
    let tokens: String = listed.iter().map(|one| one["token"].as_str().unwrap()).collect();
    assert_eq!(json!(tokens), answer["choices"][0]["message"]["content"]);
    assert!(listed.iter().all(|one| one["token"] != ""), "the token that ends an answer is not listed: {listed:?}");
    for one in &listed {
        let top: Vec<f64> =
            one["top_logprobs"].as_array().unwrap().iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert_eq!(top.len(), 2);
        // Greedy: the token is the likeliest, and the two together are no more than certain.
        assert!((one["logprob"].as_f64().unwrap() - top[0]).abs() < 1e-6, "{one}");
        assert!(top[0].exp() + top[1].exp() <= 1.0 + 1e-6, "{one}");
    }
    let drawn = json!({"say": "hello", "logprobs": true, "temperature": 1, "seed": 3});
    assert_eq!(worker.chat(drawn).1["error"]["param"], "seed");
}

#[test]
fn bad_requests_are_refused_by_name_and_the_worker_lives() {
    let worker = Worker::start(&["--max-model-len", "256"]);
    let refused = |members: Value| {
        let (status, problem) = worker.chat(members);
        (status, problem["error"]["param"].clone(), problem["error"]["message"].as_str().unwrap().to_owned())
    };
    let (status, param, message) = refused(json!({"say": "x", "model": "huge"}));
    assert_eq!((status, param), (404, json!("model")));
    assert!(message.contains("'huge'") && message.contains("tiny"), "{message}");

    let (status, problem) = worker.chat(json!({"say": "word ".repeat(400)}));
    assert_eq!((status, &problem["error"]["code"]), (400, &json!("context_length_exceeded")), "{problem}");
    assert!(problem["error"]["message"].as_str().unwrap().contains("at most 256 tokens"), "{problem}");

    assert_eq!(refused(json!({"say": "x", "n": 3})).1, "n");
    let image = json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]);
    assert_eq!(refused(json!({"messages": image})).1, "messages[0].content[0]");
    assert_eq!(worker.send("POST", "/v1/chat/completions", "", "{\"model\":").status, 400);
    assert_eq!(worker.send("POST", "/v1/completions", "", "{}").status, 404);
    let (status, problem) = worker.post("/v1/embeddings", &json!({"model": "tiny", "input": "hello"}));
    assert_eq!((status, &problem["error"]["param"]), (400, &json!("model")), "it makes none: {problem}");
    let huge = body(json!({"say": "x".repeat(41 << 20)})).to_string();
    assert_eq!(worker.send("POST", "/v1/chat/completions", "", &huge).status, 413);
    assert_eq!(worker.chat(json!({"say": "hello"})).0, 200);
}

#[test]
fn over_tcp_only_the_key_opens_the_door() {
    let key = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key.path(), "sesame\n").unwrap();
    let options = ["--listen", "127.0.0.1:0", "--key-file", key.path().to_str().unwrap()];
    let worker = Worker::start(&options);
    for (header, status) in
        [("", 401), ("authorization: Bearer wrong\r\n", 401), ("authorization: Bearer sesame\r\n", 200)]
    {
        assert_eq!(worker.send("GET", "/v1/models", header, "").status, status, "{header}");
    }
    assert_eq!(worker.get("/health").0, 200);
}

#[test]
fn several_models_are_served_under_their_names() {
    let second = json!({"id": "second", "path": demo_model(), "max_tokens": 3}).to_string();
    let worker = Worker::start(&["--model", &second]);
    let listed: Value = serde_json::from_str(&worker.get("/v1/models").1).unwrap();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["tiny", "second"]);
    let (_, answer) =
        worker.chat(json!({"say": "Say \"red green blue river\"", "model": "second", "max_tokens": null}));
    assert_eq!((&answer["model"], &answer["usage"]["completion_tokens"]), (&json!("second"), &json!(3)));
}
