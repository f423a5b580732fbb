//! What nobody here has heard of passes through the running gateway: for every route whose client speaks its provider's
//! dialect, requests and answers arrive byte for byte, but for the closed list of members that are spliced.
//!
//! The documents and the noise in them are those of the wire's own test (`services/wire/tests/lossless.rs`).

use frontdesk_tests::{Frontdesk, Options, Scripted};
use serde_json::{Value, json};

#[path = "../../services/wire/tests/noise/mod.rs"]
mod noise;

use noise::{Noise, documents as docs};

/// Each with a seed of its own, by every name of the model.
const ROUNDS: u64 = 12;

/// A plain name, and a route whose answers are looked at until they have begun.
const NAMES: [&str; 2] = ["", "-route"];

struct House {
    up: Scripted,
    frontdesk: Frontdesk,
}

impl House {
    /// One server, met as one of OpenAI's kind (`up`) and as Anthropic's (`claude`).
    fn start() -> Self {
        let up = Scripted::start();
        let url = up.base_url();
        let yaml = format!(
            "providers:\n  inference:\n\
             \x20   - {{ id: up, type: openai, config: {{ base_url: \"{url}\", api_key: k }} }}\n\
             \x20   - {{ id: claude, type: anthropic, config: {{ base_url: \"{url}\", api_key: k, models: [m] }} }}\n\
             models:\n\
             \x20 - {{ id: up-route, targets: [ {{ model: up/m }}, {{ model: up/n }} ] }}\n\
             \x20 - {{ id: claude-route, targets: [ {{ model: claude/m }}, {{ model: claude/n }} ] }}\n"
        );
        Self { up, frontdesk: Frontdesk::start(Options::new().config(&yaml)) }
    }

    /// Sends `body`, whose model is written `"up/m"`, for this model; what arrives upstream must be the same text with
    /// the name `m`, and `more` behind its first bracket.
    async fn sends(&self, path: &str, model: &str, body: &str, more: &str, reply: Value) -> String {
        self.up.script(json!([{ "reply": reply }]));
        let before = self.up.requests().len();
        let sent = body.replacen(r#""up/m""#, &format!("\"{model}\""), 1);
        let request = self.frontdesk.request("POST", path).header("content-type", "application/json").body(sent);
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        // As it came: `text` would take a byte order mark off.
        let got = response.bytes().await.expect("an answer that ends properly");
        let got = String::from_utf8(got.to_vec()).expect("text");
        assert_eq!(status, 200, "{path} {model}: {got}\n{body}");
        let want = body.replacen(r#""up/m""#, r#""m""#, 1).replacen('{', &format!("{{{more}"), 1);
        let seen: Vec<_> = self.up.requests().split_off(before).into_iter().filter(|r| r.method == "POST").collect();
        assert_eq!(seen.len(), 1, "{path} {model}: {seen:#?}");
        same(&seen[0].body, &want, &format!("{path} {model}"));
        got
    }

    /// The same in both directions.
    async fn passes(&self, path: &str, provider: &str, request: Value, answer: Value) {
        for seed in 0..ROUNDS {
            let mut noise = Noise::new(seed);
            let (request, answer) =
                (docs::of_tomorrow(&mut noise, request.clone()), docs::of_tomorrow(&mut noise, answer.clone()));
            let (request, answer) = (noise.with_unknown(&request), noise.with_unknown(&answer));
            for name in NAMES {
                let model = if name.is_empty() { format!("{provider}/m") } else { format!("{provider}{name}") };
                let reply = json!({ "body": answer, "headers": { "content-type": "application/json" } });
                let got = self.sends(path, &model, &request, "", reply).await;
                same(&got, &answer, &format!("{path} {model}, seed {seed}"));
            }
        }
    }

    /// The same of a stream, in lines and pieces of any kind.
    async fn streams(&self, path: &str, provider: &str, request: Value, answer: &[Value], last: &str) {
        let named = provider == "claude";
        for seed in 0..ROUNDS {
            let mut noise = Noise::new(seed);
            let end = noise.pick(&["\n", "\r\n"]);
            let mut request = docs::of_tomorrow(&mut noise, request.clone());
            request["stream"] = json!(true);
            let request = noise.with_unknown(&request);
            // What is written, and whether it is only for who asked for the usage.
            let mut events = vec![(if noise.once_in(2) { "\u{feff}" } else { "" }.to_owned(), false)];
            for event in answer {
                let (json, usage) = (noise.with_unknown(event), event["choices"] == json!([]));
                events.push((noise.event(event["type"].as_str().filter(|_| named), &json, end), usage));
            }
            // An event with nothing in it that is known.
            let unheard = noise.with_unknown(&json!({ "type": "unheard_of" }));
            events.insert(2, (noise.event(Some("unheard_of"), &unheard, end), false));
            events.push((last.replace('\n', end), false));
            let mut reply = json!({ "sse": events.iter().map(|(event, _)| event).collect::<Vec<_>>() });
            if noise.once_in(2) {
                reply["split"] = json!(1 + noise.below(400));
            }
            let want: String = events.iter().filter(|(_, usage)| !usage).map(|(event, _)| event.as_str()).collect();
            let more = if named { "" } else { r#""stream_options":{"include_usage":true},"# };
            for name in NAMES {
                let model = if name.is_empty() { format!("{provider}/m") } else { format!("{provider}{name}") };
                let got = self.sends(path, &model, &request, more, reply.clone()).await;
                same(&got, &want, &format!("{path} {model}, seed {seed}"));
            }
        }
    }
}

/// Says where two long texts part.
fn same(got: &str, want: &str, what: &str) {
    if got != want {
        let at = got.bytes().zip(want.bytes()).take_while(|(a, b)| a == b).count();
        let near = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(200)..text.len().min(at + 400)]).into_owned()
        };
        panic!("{what}, byte {at}:\n  got {:?}\n want {:?}", near(got), near(want));
    }
}

#[tokio::test]
async fn chats() {
    let house = House::start();
    let path = "/v1/chat/completions";
    house.passes(path, "up", docs::chat_request(), docs::chat_answer()).await;
    house.streams(path, "up", docs::chat_request(), &docs::chat_chunks(), "data: [DONE]\n\n").await;
}

#[tokio::test]
async fn text_completions() {
    let house = House::start();
    let path = "/v1/completions";
    house.passes(path, "up", docs::completion_request(), docs::completion_answer()).await;
    let pieces = [docs::completion_answer(), docs::completion_answer(), docs::completion_answer()];
    house.streams(path, "up", docs::completion_request(), &pieces, "data: [DONE]\n\n").await;
}

#[tokio::test]
async fn embeddings_and_orders() {
    let house = House::start();
    house.passes("/v1/embeddings", "up", docs::embeddings_request(), docs::embeddings_answer()).await;
    house.passes("/v1/rerank", "up", docs::rerank_request(), docs::rerank_answer()).await;
    house.passes("/v2/rerank", "up", docs::rerank_request(), docs::rerank_answer()).await;
}

#[tokio::test]
async fn messages_and_their_count() {
    let house = House::start();
    let path = "/v1/messages";
    house.passes(path, "claude", docs::message_request(), docs::message_answer()).await;
    house.streams(path, "claude", docs::message_request(), &docs::message_events(), "").await;
    let counted = json!({ "input_tokens": 9, "context_management": { "original_input_tokens": 90 } });
    house.passes("/v1/messages/count_tokens", "claude", docs::message_request(), counted).await;
}

/// What a client asked for stays in its stream: the usage of who wanted it.
#[tokio::test]
async fn usage_that_was_asked_for_passes_too() {
    let house = House::start();
    for seed in 0..ROUNDS {
        let mut noise = Noise::new(seed);
        let mut request = docs::chat_request();
        request["stream"] = json!(true);
        request["stream_options"] = json!({ "include_usage": true });
        let request = noise.with_unknown(&request);
        let events: Vec<String> = docs::chat_chunks()
            .iter()
            .map(|chunk| {
                let json = noise.with_unknown(chunk);
                noise.event(None, &json, "\n")
            })
            .collect();
        let got = house.sends("/v1/chat/completions", "up/m", &request, "", json!({ "sse": events })).await;
        same(&got, &events.concat(), &format!("seed {seed}"));
    }
}
