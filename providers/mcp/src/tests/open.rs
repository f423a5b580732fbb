//! Questions while a call is open: a person is asked, the call goes on with the answer, and the time that takes is nobody's.

use std::sync::Mutex;

use frontdesk_api::question::{Person, Question};
use tokio::sync::Notify;

use super::*;

/// What a person says.
struct Someone {
    /// None: nothing, in time.
    says: Option<Action>,
    after: Duration,
    asked: Mutex<Vec<Question>>,
    /// Rung when nobody waits for the answer any more.
    left: Arc<Notify>,
}

struct Leaves(Arc<Notify>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[async_trait]
impl Person for Someone {
    async fn ask(&self, question: Question) -> Result<Answer, String> {
        let _leaves = Leaves(Arc::clone(&self.left));
        self.asked.lock().expect("the questions").push(question);
        tokio::time::sleep(self.after).await;
        let content = json!({ "n": 3 }).as_object().cloned().filter(|_| self.says == Some(Action::Accept));
        let key_id = self.says.map(|_| "key".to_owned());
        Ok(Answer { action: self.says.unwrap_or(Action::Cancel), content, key_id, at: 0 })
    }
}

fn someone(says: Option<Action>, after: Duration) -> Arc<Someone> {
    Arc::new(Someone { says, after, asked: Mutex::default(), left: Arc::default() })
}

/// A caller who can ask this person.
fn can_ask(person: &Arc<Someone>) -> Cx {
    let person: Arc<dyn Person> = person.clone();
    Cx { asking: Some(Asking { answered: None, person: Some(person) }), ..cx() }
}

fn elicits(params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": "q1", "method": "elicitation/create", "params": params })
}

fn form() -> Value {
    json!({ "message": "How many?", "requestedSchema": { "properties": { "n": { "type": "integer" } }, "required": ["n"] } })
}

/// A server whose tool asks this and waits for what is said.
async fn asks(params: Value) -> Server {
    Server::start(move |asked| match asked.tool() {
        Some("echo") => {
            let booked = fake::response(asked, "booked");
            Reply::Until(vec![(event(None, &elicits(&params)), "q1")], event(None, &booked))
        }
        _ => fake::usual(asked),
    })
    .await
}

#[tokio::test]
async fn a_person_is_asked_while_the_call_is_open_and_takes_time_that_is_not_the_servers() {
    for (action, after, result) in [
        // Longer than the server may be silent, and than a call may take.
        (Action::Accept, 5, json!({ "action": "accept", "content": { "n": 3 } })),
        (Action::Decline, 0, json!({ "action": "decline" })),
        (Action::Cancel, 0, json!({ "action": "cancel" })),
    ] {
        let server = asks(form()).await;
        let provider = provider(json!({ "timeout_s": 4, "call_s": 4 }));
        let source = registered(&provider, &server).await;
        let person = someone(Some(action), Duration::from_secs(after));
        let said = call(&provider, &can_ask(&person), &source, "echo").await.expect("a result");
        assert_eq!((said.content.as_str(), said.is_error), ("booked", false));
        let answered = server.until(|asked| asked.body["id"] == "q1").await;
        assert_eq!(answered.body["result"], result);
        assert_eq!(answered.headers["mcp-session-id"], "s-2");
        let asked = person.asked.lock().expect("the questions").clone();
        assert_eq!(asked, [Question::read(&form()).expect("a question")]);
    }
}

#[tokio::test]
async fn only_who_can_ask_a_person_says_so_and_has_a_session_of_its_own() {
    let server = asks(form()).await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let person = someone(Some(Action::Decline), Duration::ZERO);
    call(&provider, &can_ask(&person), &source, "echo").await.expect("a result");
    call(&provider, &cx(), &source, "echo").await.expect("a result");
    let greeted: Vec<Value> = server
        .asked()
        .iter()
        .filter(|asked| asked.method() == "initialize")
        .map(|asked| asked.body["params"]["capabilities"].clone())
        .collect();
    assert_eq!(greeted, [json!({}), json!({ "elicitation": { "form": {}, "url": {} } })]);
}

#[tokio::test]
async fn what_nobody_is_asked_or_answers_is_cancelled_and_the_result_says_why() {
    // Longer than what is shown of a name that no form has.
    let secret = "tok-123456789-123456789-123456789-123456789-123456789-123456789";
    let bad = json!({ "message": "m", "requestedSchema": { "properties": { secret: { "type": "object" } } } });
    let field = json!({ "message": "m", "requestedSchema": { "properties": { secret: { "type": "string" } } } });
    for (params, asked, why) in [
        (form(), 1, "'How many?' (n): nobody answered in time"),
        (json!({ "mode": "url", "message": "m", "url": "http://h/" }), 0, "not one over https"),
        (field, 0, "it repeats a secret"),
        (bad, 0, "it repeats a secret"),
    ] {
        let server = asks(params).await;
        let provider = provider(json!({}));
        let token = json!({ "authorization": secret }).as_object().expect("an object").clone();
        let with = ToolSource { secrets: SecretArgs(token), ..source(&server.url) };
        let found = provider.inspect(&cx(), &with).await.expect("it is there");
        let person = someone(None, Duration::ZERO);
        let said = call(&provider, &can_ask(&person), &pinned(with, &found), "echo").await.expect("a result").content;
        assert!(said.starts_with("booked\n[the server asked") && said.contains(why), "{said}");
        assert!(!said.contains("tok-"), "{said}");
        let answered = server.until(|asked| asked.body["id"] == "q1").await;
        assert_eq!(answered.body["result"], json!({ "action": "cancel" }));
        assert_eq!(person.asked.lock().expect("the questions").len(), asked);
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_meanwhile_is_picked_up_and_the_person_is_asked_once() {
    let server = Server::start(|asked| match (asked.verb.as_str(), asked.tool()) {
        (_, Some("echo")) => Reply::Stream(vec!["retry: 1\n".to_owned() + &event(Some("e-1"), &elicits(&form()))]),
        ("GET", _) if asked.headers.contains_key("last-event-id") => {
            let booked =
                json!({ "jsonrpc": "2.0", "id": 2, "result": { "content": [{ "type": "text", "text": "booked" }] } });
            let again = event(Some("e-2"), &elicits(&form()));
            Reply::Until(vec![(again, "q1")], event(None, &booked))
        }
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({}));
    let source = registered(&provider, &server).await;
    let person = someone(Some(Action::Accept), Duration::from_millis(200));
    let said = call(&provider, &can_ask(&person), &source, "echo").await;
    let id = server.asked().iter().find(|asked| asked.tool().is_some()).expect("a call").body["id"].clone();
    assert_eq!(id, 2, "what the stream answers");
    assert_eq!(said.expect("a result").content, "booked");
    assert_eq!(person.asked.lock().expect("the questions").len(), 1);
    assert_eq!(server.asked().iter().filter(|asked| asked.body["id"] == "q1").count(), 1);
}

#[tokio::test]
async fn a_question_beside_the_responses_streams_is_asked_too() {
    let server = Server::start(|asked| match (asked.verb.as_str(), asked.tool()) {
        ("GET", _) => {
            Reply::Until(vec![(String::new(), "called"), (event(None, &elicits(&form())), "over")], String::new())
        }
        (_, Some("echo")) => Reply::Until(vec![(String::new(), "q1")], event(None, &fake::response(asked, "booked"))),
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({ "timeout_s": 60 }));
    let source = registered(&provider, &server).await;
    let person = someone(Some(Action::Decline), Duration::ZERO);
    let cx = can_ask(&person);
    let called = async {
        server.until(|asked| asked.tool().is_some()).await;
        server.tell("called").await;
    };
    let (said, ()) = tokio::join!(call(&provider, &cx, &source, "echo"), called);
    assert_eq!(said.expect("a result").content, "booked");
    let answered = server.until(|asked| asked.body["id"] == "q1").await;
    assert_eq!(answered.body["result"], json!({ "action": "decline" }));
}

#[tokio::test]
async fn a_question_that_the_server_takes_back_is_nobodys_any_more() {
    let server = Server::start(|asked| match asked.tool() {
        Some("echo") => {
            let back =
                json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": "q1" } });
            let stages = vec![(event(None, &elicits(&form())), "asked"), (event(None, &back), "left")];
            Reply::Until(stages, event(None, &fake::response(asked, "never mind")))
        }
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({ "timeout_s": 60 }));
    let source = registered(&provider, &server).await;
    let person = someone(Some(Action::Accept), Duration::from_secs(3600));
    let cx = can_ask(&person);
    let goes_on = async {
        while person.asked.lock().expect("the questions").is_empty() {
            tokio::task::yield_now().await;
        }
        server.tell("asked").await;
        person.left.notified().await;
        server.tell("left").await;
    };
    let (said, ()) = tokio::join!(call(&provider, &cx, &source, "echo"), goes_on);
    assert_eq!(said.expect("a result").content, "never mind");
}

#[tokio::test]
async fn a_server_that_asks_without_end_is_heard_ten_times_in_a_call() {
    let server = Server::start(|asked| match asked.tool() {
        Some("echo") => {
            let mut questions = String::new();
            for n in 1..=14 {
                let id = if n == 12 { json!("x".repeat(201)) } else { json!(format!("q{n}")) };
                let asks = json!({ "jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": form() });
                questions.push_str(&event(None, &asks));
            }
            Reply::Until(vec![(questions, "q14")], event(None, &fake::response(asked, "booked")))
        }
        _ => fake::usual(asked),
    })
    .await;
    let provider = provider(json!({ "timeout_s": 60 }));
    let source = registered(&provider, &server).await;
    let person = someone(Some(Action::Accept), Duration::from_secs(3600));
    let said = call(&provider, &can_ask(&person), &source, "echo").await.expect("a result").content;
    assert!(said.contains("it asked too often in one call"), "{said}");
    assert_eq!(person.asked.lock().expect("the questions").len(), 10);
    let answered: Vec<Value> = server
        .asked()
        .into_iter()
        .filter(|asked| asked.body["id"].is_string())
        .map(|asked| asked.body["result"].clone())
        .collect();
    assert_eq!(answered, vec![json!({ "action": "cancel" }); 4]);
}

#[tokio::test]
async fn a_stream_beside_the_responses_that_does_not_come_is_waited_for_once_in_a_session() {
    for hangs in [true, false] {
        let server = Server::start(move |asked| match (asked.verb.as_str(), asked.tool()) {
            ("GET", _) if hangs => Reply::Hang,
            ("GET", _) => Reply::Plain(500, "text/plain", String::new()),
            (_, Some("echo")) => Reply::text(asked, "booked"),
            _ => fake::usual(asked),
        })
        .await;
        let provider = provider(json!({ "timeout_s": 60 }));
        let source = registered(&provider, &server).await;
        let person = someone(Some(Action::Accept), Duration::ZERO);
        for _ in 0..3 {
            let said = call(&provider, &can_ask(&person), &source, "echo").await.expect("a result");
            assert_eq!(said.content, "booked");
        }
        assert_eq!(server.asked().iter().filter(|asked| asked.verb == "GET").count(), 1, "{hangs}");
    }
}
