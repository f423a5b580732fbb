//! Turns of agents, over HTTP: what one with a tool call costs, what waiting ones and streamed ones hold.
//!
//! Every turn has a session of its own, made before the clock runs, so that no conversation grows. The upstream is
//! `bench mock --tool`, which costs next to nothing: what a turn takes is the platform's. Prints one JSON line.

use crate::commits::Counter;
use crate::load::percentile;
use crate::options::Options;
use crate::process::usage;
use reqwest::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Turns that are counted one by one, before the load: each by itself, so that what it commits can be told.
const SINGLE: u64 = 20;

/// Time after an answer for what is booked behind it; the books wake every 50 ms.
const AFTER: Duration = Duration::from_millis(200);

/// What one server is asked.
struct Server {
    client: Client,
    url: String,
    key: String,
}

pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let server = Arc::new(Server {
        client: Client::builder().no_proxy().build().map_err(|e| e.to_string())?,
        url: options.text("url", "http://127.0.0.1:8321"),
        key: options.text("key", ""),
    });
    let mode = options.text("mode", "calls");
    let row = match mode.as_str() {
        "calls" => calls(&server, options).await?,
        "parked" => parked(&server, options).await?,
        "streams" => streams(&server, options).await?,
        other => return Err(format!("--mode {other}: calls, parked or streams")),
    };
    println!("{row}");
    Ok(())
}

impl Server {
    async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        let sent = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body).send().await;
        let answer = sent.map_err(|e| format!("{path}: {e}"))?;
        let (status, text) = (answer.status(), answer.text().await.map_err(|e| format!("{path}: {e}"))?);
        if !status.is_success() {
            return Err(format!("{path}: {status}: {text}"));
        }
        serde_json::from_str(&text).map_err(|e| format!("{path}: {e}: {text}"))
    }

    /// An agent over `--model`; its id.
    async fn agent(&self, options: &Options, more: Value) -> Result<String, String> {
        let mut config = json!({ "model": options.text("model", "mock/mock"), "instructions": "Be brief." });
        if let (Some(config), Value::Object(more)) = (config.as_object_mut(), more) {
            config.extend(more);
        }
        let made = self.post("/v1/agents", &json!({ "agent_config": config })).await?;
        named(&made, "agent_id")
    }

    /// The paths of the turns of so many new conversations.
    async fn sessions(&self, agent: &str, count: u64) -> Result<Vec<String>, String> {
        let path = format!("/v1/agents/{agent}/session");
        let mut all = vec![];
        for _ in 0..count {
            let made = self.post(&path, &json!({ "session_name": "bench" })).await?;
            all.push(format!("{path}/{}/turn", named(&made, "session_id")?));
        }
        Ok(all)
    }

    /// Moves the sample shop's tools in as the group `bench`.
    async fn tools(&self, component: &str) -> Result<(), String> {
        let bytes = std::fs::read(component).map_err(|e| format!("{component}: {e}"))?;
        let head = "--xx\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nassistants\r\n--xx\r\n\
                    content-disposition: form-data; name=\"file\"; filename=\"tools.wasm\"\r\n\r\n";
        let body = [head.as_bytes(), &bytes, b"\r\n--xx--\r\n"].concat();
        let request = self.client.post(format!("{}/v1/files", self.url)).bearer_auth(&self.key);
        let request = request.header("content-type", "multipart/form-data; boundary=xx").body(body);
        let answer = request.send().await.map_err(|e| e.to_string())?;
        let text = answer.text().await.map_err(|e| e.to_string())?;
        let file: Value = serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        let args = json!({ "component": named(&file, "id")?, "grants": ["kv"] });
        let group = json!({ "toolgroup_id": "bench", "provider_id": "wasm", "args": args });
        // This route answers without a body.
        let request = self.client.post(format!("{}/v1/toolgroups", self.url)).bearer_auth(&self.key).json(&group);
        let answer = request.send().await.map_err(|e| e.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("a tool group: {}", answer.status())) }
    }
}

fn named(value: &Value, name: &str) -> Result<String, String> {
    value[name].as_str().map(str::to_owned).ok_or_else(|| format!("no {name}: {value}"))
}

fn question(stream: bool) -> Value {
    json!({ "messages": [{ "role": "user", "content": "Where is order 99999?" }], "stream": stream })
}

/// Gives each of `paths` to one of `conc` clients; what came of each.
async fn each<T: Send + 'static, F: Future<Output = Result<T, String>> + Send + 'static>(
    paths: Vec<String>,
    conc: u64,
    ask: impl Fn(String) -> F + Clone + Send + 'static,
) -> Result<Vec<T>, String> {
    let paths = Arc::new(std::sync::Mutex::new(paths));
    let clients = (0..conc).map(|_| {
        let (paths, ask) = (Arc::clone(&paths), ask.clone());
        tokio::spawn(async move {
            let mut all = vec![];
            loop {
                let next = paths.lock().map_err(|e| e.to_string())?.pop();
                let Some(path) = next else { return Ok::<_, String>(all) };
                all.push(ask(path).await?);
            }
        })
    });
    let mut all = vec![];
    for client in clients.collect::<Vec<_>>() {
        all.extend(client.await.map_err(|e| e.to_string())??);
    }
    Ok(all)
}

/// `--turns` turns with one tool call, `--conc` at once, and the commits of single ones before; beside them what their two
/// model calls take where nothing is between (`--upstream`).
async fn calls(server: &Arc<Server>, options: &Options) -> Result<Value, String> {
    let (turns, conc) = (options.number("turns", 200), options.number("conc", 1));
    if options.has("setup") {
        server.tools(&options.text("component", "services/gateway/demo/tools/shop-tools.wasm")).await?;
    }
    let agent = server.agent(options, json!({ "toolgroups": ["bench"] })).await?;
    // The first is warmth: the component is compiled for it.
    let first = server.sessions(&agent, 1).await?.remove(0);
    called(&server.post(&first, &question(false)).await?)?;
    tokio::time::sleep(AFTER).await;

    let (mut counter, mut commits, mut parts) = (Counter::of(options).await?, vec![], Parts::default());
    let mut direct = direct(server, options, turns, conc).await?;
    for path in server.sessions(&agent, options.number("single", SINGLE)).await? {
        tokio::time::sleep(AFTER).await;
        let before = counter.mark().await?;
        called(&server.post(&path, &question(false)).await?)?;
        tokio::time::sleep(AFTER).await;
        commits.extend(counter.mark().await?.since(before).and_then(|n| u32::try_from(n).ok()));
    }

    let paths = server.sessions(&agent, turns).await?;
    let (before, start) = (usage(&options.text("pid", "")), Instant::now());
    let asking = Arc::clone(server);
    let done = each(paths, conc, move |path| {
        let server = Arc::clone(&asking);
        async move {
            let start = Instant::now();
            let turn = server.post(&path, &question(false)).await?;
            let time = start.elapsed();
            Ok((called(&turn)?, time))
        }
    })
    .await?;
    let seconds = start.elapsed().as_secs_f64();
    let after = usage(&options.text("pid", ""));
    for (steps, time) in &done {
        parts.add(steps, *time);
    }
    let mut times: Vec<u32> = done.iter().map(|(_, time)| micros(*time)).collect();
    Ok(json!({
        "label": options.text("label", "turns"), "conc": conc, "turns": times.len(),
        "per_second": times.len() as f64 / seconds,
        "p50_ms": percentile(&mut times, 0.5) / 1000.0, "p99_ms": percentile(&mut times, 0.99) / 1000.0,
        "direct_p50_ms": percentile(&mut direct, 0.5) / 1000.0, "direct_p99_ms": percentile(&mut direct, 0.99) / 1000.0,
        "cpu_ms": (after.ticks - before.ticks) as f64 * 10.0 / times.len().max(1) as f64,
        "commits": percentile(&mut commits, 0.5), "commits_seen": commits.len(), "parts_ms": parts.medians(),
    }))
}

/// The two model calls of a turn at the upstream itself, one behind the other; µs of each pair.
async fn direct(server: &Arc<Server>, options: &Options, turns: u64, conc: u64) -> Result<Vec<u32>, String> {
    let at = format!("{}/chat/completions", options.text("upstream", ""));
    let pairs = (0..turns).map(|_| at.clone()).collect();
    let asking = Arc::clone(server);
    each(pairs, conc, move |at| {
        let server = Arc::clone(&asking);
        async move {
            let start = Instant::now();
            for _ in 0..2 {
                let body = json!({ "model": "mock", "stream": true, "messages": [{ "role": "user", "content": "Where is order 99999?" }] });
                let answer = server.client.post(&at).json(&body).send().await.map_err(|e| e.to_string())?;
                answer.text().await.map_err(|e| e.to_string())?;
            }
            Ok(micros(start.elapsed()))
        }
    })
    .await
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// The steps of a turn that called its tool and answered: kinds and times in µs.
fn called(turn: &Value) -> Result<Vec<(String, f64)>, String> {
    let steps = turn["steps"].as_array().ok_or_else(|| format!("no steps: {turn}"))?;
    let kinds: Vec<&str> = steps.iter().filter_map(|step| step["step_type"].as_str()).collect();
    let works = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
    if (works("inference"), works("tool_execution")) != (2, 1) {
        return Err(format!("not a turn with one tool call: {turn}"));
    }
    let time = |step: &Value| {
        let at = |name: &str| step[name].as_str().and_then(seconds);
        Some((at("completed_at")? - at("started_at")?) * 1_000_000.0)
    };
    Ok(steps
        .iter()
        .map(|step| (step["step_type"].as_str().unwrap_or("?").to_owned(), time(step).unwrap_or(0.0)))
        .collect())
}

/// The seconds of its minute of a time in RFC 3339, and of its hour and day.
fn seconds(time: &str) -> Option<f64> {
    let clock = time.split('T').nth(1)?.trim_end_matches('Z');
    clock.split(':').map(|part| part.parse::<f64>().ok()).try_fold(0.0, |sum, part| Some(sum * 60.0 + part?))
}

/// Where the time of single turns went, µs.
#[derive(Default)]
struct Parts(BTreeMap<String, Vec<u32>>);

impl Parts {
    fn add(&mut self, steps: &[(String, f64)], whole: Duration) {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        for (kind, time) in steps {
            *sums.entry(kind).or_default() += time.max(0.0);
        }
        let whole = whole.as_micros() as f64;
        let rest = whole - sums.values().sum::<f64>();
        for (kind, time) in sums.into_iter().chain([("between steps", rest.max(0.0)), ("whole", whole)]) {
            self.0.entry(kind.to_owned()).or_default().push(time as u32);
        }
    }

    fn medians(mut self) -> BTreeMap<String, f64> {
        self.0.iter_mut().map(|(kind, times)| (kind.clone(), percentile(times, 0.5) / 1000.0)).collect()
    }
}

/// What an agent is that waits: for a tool of the client's, or (`--approval`) for a person's word about a tool that runs
/// here.
async fn waiting(server: &Server, options: &Options) -> Result<Value, String> {
    if options.has("approval") {
        server.tools(&options.text("component", "services/gateway/demo/tools/shop-tools.wasm")).await?;
        let rules = json!([{ "tool": "lookup_order" }]);
        return Ok(json!({ "toolgroups": ["bench"], "frontdesk": { "approvals": rules } }));
    }
    let parameters =
        json!([{ "name": "order_id", "parameter_type": "string", "description": "its number", "required": true }]);
    let tool = json!({ "name": "lookup_order", "description": "Looks an order up.", "parameters": parameters });
    Ok(json!({ "client_tools": [tool] }))
}

/// `--turns` turns that wait: what the server holds for them.
async fn parked(server: &Arc<Server>, options: &Options) -> Result<Value, String> {
    let turns = options.number("turns", 10_000);
    let agent = server.agent(options, waiting(server, options).await?).await?;
    let paths = server.sessions(&agent, turns).await?;
    let before = usage(&options.text("pid", ""));
    let (asking, approval) = (Arc::clone(server), options.has("approval"));
    let waits = each(paths, options.number("conc", 16), move |path| {
        let server = Arc::clone(&asking);
        async move {
            let turn = server.post(&path, &question(false)).await?;
            let waits = &turn["frontdesk"];
            let asked = waits["approvals"].as_array().is_some_and(|some| !some.is_empty());
            if waits["state"] == "awaiting_input" && asked == approval {
                Ok(())
            } else {
                Err(format!("it does not wait: {turn}"))
            }
        }
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(options.number("settle", 5))).await;
    let after = usage(&options.text("pid", ""));
    let grown = after.anonymous_kib as f64 - before.anonymous_kib as f64;
    Ok(json!({
        "label": options.text("label", "parked"), "turns": waits.len(),
        "before_mib": before.anonymous_kib as f64 / 1024.0, "after_mib": after.anonymous_kib as f64 / 1024.0,
        "kib_per_turn": grown / waits.len().max(1) as f64, "resident_mib": after.resident_kib as f64 / 1024.0,
    }))
}

/// `--turns` streamed turns at once, on an upstream that takes its time: the most that the server held meanwhile.
async fn streams(server: &Arc<Server>, options: &Options) -> Result<Value, String> {
    let turns = options.number("turns", 500);
    let agent = server.agent(options, json!({})).await?;
    let paths = server.sessions(&agent, turns).await?;
    let pid = options.text("pid", "");
    let before = usage(&pid);
    let asking = Arc::clone(server);
    let reading = tokio::spawn(each(paths, turns, move |path| {
        let server = Arc::clone(&asking);
        async move {
            let request = server.client.post(format!("{}{path}", server.url)).bearer_auth(&server.key);
            let answer = request.json(&question(true)).send().await.map_err(|e| e.to_string())?;
            let text = answer.text().await.map_err(|e| e.to_string())?;
            let done = text.contains("turn_complete");
            if done { Ok(text.matches("\nid:").count() + 1) } else { Err(format!("it did not end: {text}")) }
        }
    }));
    let (mut most, mut resident) = (before.anonymous_kib, before.resident_kib);
    while !reading.is_finished() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = usage(&pid);
        (most, resident) = (most.max(now.anonymous_kib), resident.max(now.resident_kib));
    }
    let events = reading.await.map_err(|e| e.to_string())??;
    let after = usage(&pid);
    Ok(json!({
        "label": options.text("label", "streams"), "streams": events.len(), "events": events.iter().sum::<usize>(),
        "before_mib": before.anonymous_kib as f64 / 1024.0, "most_mib": most as f64 / 1024.0,
        "most_resident_mib": resident as f64 / 1024.0, "cpu_s": (after.ticks - before.ticks) as f64 / 100.0,
    }))
}
