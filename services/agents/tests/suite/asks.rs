//! Tools that ask a person in the middle of their call, or tell how far they are.

use frontdesk_api::{
    Cx, Result,
    chat::ToolCall,
    news::{Progress, Word},
    question::Question,
    tools::{Effect, InputRequest, Outcome, Risk, ToolResult},
};
use serde_json::{Value, json};

use super::Toolbox;

/// The group `asks`.
pub const TOOLS: [(&str, Effect, Risk); 4] = [
    ("order", Effect::Unsafe, Risk::Read),
    ("note", Effect::Idempotent, Risk::Read),
    ("phone", Effect::Unsafe, Risk::Read),
    ("dial", Effect::None, Risk::Read),
];

/// Tells how far a call is, where its arguments say so.
pub fn tell(cx: &Cx, arguments: &str) {
    let arguments: Value = serde_json::from_str(arguments).expect("arguments");
    let (Some(news), Some(words)) = (&cx.news, arguments["tells"].as_str()) else { return };
    news.tell(Word::Progress(Progress { progress: 1.into(), total: Some(3.into()), message: Some(words.into()) }));
}

/// `order` (a second call is a second effect) and `note` (may be repeated) ask `rounds`
/// times in a call, by default once, how many; `words` 1 and 2 are nothing that a shield lets pass, 3 is
/// what it fails at. Each effect is noted.
pub fn asks(toolbox: &Toolbox, cx: &Cx, call: &ToolCall, key: &str) -> Result<Outcome> {
    let arguments: Value = serde_json::from_str(&call.arguments).expect("arguments");
    let told = |words: &str| Ok(Outcome::Done(ToolResult { content: words.into(), is_error: false, details: None }));
    let Some(asking) = &cx.asking else { return told("nobody can be asked") };
    let answered = asking.answered.clone().unwrap_or_default();
    let round: u64 = answered.state.as_deref().map_or(0, |state| state.parse().expect("its own state"));
    assert_eq!(round == 0, answered.answers.is_empty(), "answers and state go together");
    if round >= arguments["rounds"].as_u64().unwrap_or(1) {
        let said =
            answered.answers.iter().map(|(key, said)| format!("{key} {:?} {}", said.action, json!(said.content)));
        let words = said.collect::<Vec<_>>().join(", ");
        toolbox.ledger.lock().expect("the ledger").push((call.name.clone(), key.to_owned()));
        return told(&format!("{words} after {round}"));
    }
    let page = json!({ "mode": "url", "message": "Sign", "url": "https://h/sign" });
    let page = Question::read(&page).expect("a question");
    let questions = vec![("many".to_owned(), how_many(&arguments)), ("page".to_owned(), page)];
    let asks = if arguments["page"] == true { 2 } else { 1 };
    let questions = questions.into_iter().take(asks).collect();
    Ok(Outcome::NeedsInput(InputRequest { questions, state: Some((round + 1).to_string()) }))
}

/// The form; `words` says which.
fn how_many(arguments: &Value) -> Question {
    let schema = json!({ "properties": { "n": { "type": "integer", "maximum": 9 }, "late": { "type": "boolean", "default": false } },
                         "required": ["n"] });
    let words = arguments["words"].as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default();
    let message = ["How many?", "poison?", "Is 4111 yours?", "jammed?"][words];
    Question::read(&json!({ "message": message, "requestedSchema": schema })).expect("a question")
}

/// `phone` (a second call is a second effect) and `dial` (only reads) ask the same while they stay open, so many `rounds`,
/// and not longer than until `gate` is open, where there is one. Each call is noted when it begins.
pub async fn phones(toolbox: &Toolbox, cx: &Cx, call: &ToolCall, key: &str) -> Result<Outcome> {
    let arguments: Value = serde_json::from_str(&call.arguments).expect("arguments");
    let told = |words: &str| Ok(Outcome::Done(ToolResult { content: words.into(), is_error: false, details: None }));
    let Some(person) = cx.asking.as_ref().and_then(|asking| asking.person.clone()) else {
        return told("nobody can be asked");
    };
    toolbox.ledger.lock().expect("the ledger").push((call.name.clone(), key.to_owned()));
    let mut heard = vec![];
    for _ in 0..arguments["rounds"].as_u64().unwrap_or(1) {
        let hangs_up = async {
            match arguments["gate"].is_string() {
                true => drop(toolbox.wait(&call.arguments, key).await),
                false => std::future::pending().await,
            }
        };
        let said = tokio::select! {
            said = person.ask(how_many(&arguments)) => said,
            () = hangs_up => Err("hung up".into()),
        };
        heard.push(match said {
            Ok(said) if said.key_id.is_none() => "nobody".to_owned(),
            Ok(said) => format!("{:?} {}", said.action, json!(said.content)),
            Err(why) => why,
        });
    }
    told(&heard.join(", "))
}
