//! What a server tells in the middle of one call: how far it is, and what it wants to know.
//!
//! Invariant: secrets are struck out before anything is cut, so no part of one is left.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use frontdesk_api::{
    News, news,
    question::{Person, Question},
};
use serde_json::{Value, json};

use crate::{
    endpoint::{struck, struck_value},
    pause::Pause,
    question, rpc,
};

/// What a server tells of the progress of one call.
#[derive(Default)]
pub(crate) struct Progress {
    /// What the server was given to name the call by; None: it was asked for no news.
    token: Option<Value>,
    /// Who else hears it, without these secrets.
    news: Option<News>,
    secrets: Vec<String>,
    /// Who is asked while the call is open; None: nobody.
    pub(crate) person: Option<Arc<dyn Person>>,
    /// The time that this takes.
    pub(crate) pause: Arc<Pause>,
    last: Mutex<Last>,
}

/// What a server wants to know, read: no more of what it sent is kept than may be asked and told of.
pub(crate) struct Wanted {
    /// Or why it cannot be asked.
    question: Result<Question, String>,
    /// For the model.
    words: String,
}

/// How far it was, and what was said of that.
#[derive(Debug, Default)]
struct Last {
    progress: Option<f64>,
    words: Option<String>,
    /// What was asked and nobody answered.
    questions: Vec<String>,
}

impl Progress {
    pub(crate) fn of(token: Value, news: Option<News>, secrets: &[String]) -> Self {
        Self { token: Some(token), news, secrets: secrets.to_vec(), ..Self::default() }
    }

    /// The same, of a call that can ask a person; what that takes is noted in `pause`.
    pub(crate) fn asking(self, person: Option<Arc<dyn Person>>, pause: Arc<Pause>) -> Self {
        Self { person, pause, ..self }
    }

    pub(crate) fn hear(&self, params: &Value) {
        if self.token.is_none() || self.token.as_ref() != params.get("progressToken") {
            return;
        }
        let Some(Value::Number(progress)) = params.get("progress").cloned() else { return };
        let words = params.get("message").and_then(Value::as_str);
        let words = words.map(|words| rpc::words_of(&struck(&self.secrets, words.to_owned())));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.words.clone_from(&words);
        // It has to grow (Model Context Protocol, "Progress"); what does not is told to nobody.
        if progress.as_f64() <= last.progress {
            return;
        }
        last.progress = progress.as_f64();
        let total = params.get("total").and_then(Value::as_number).cloned();
        if let Some(news) = &self.news {
            news.tell(news::Word::Progress(news::Progress { progress, total, message: words }));
        }
    }

    /// What the server wants to know, by the params of `elicitation/create`.
    pub(crate) fn read(&self, params: &Value) -> Wanted {
        let words = question::words(&struck_value(&self.secrets, params));
        Wanted { question: question::one(&self.secrets, params), words }
    }

    /// Asks a person; the result for the server.
    pub(crate) async fn ask(&self, wanted: Wanted) -> Value {
        let why = match &self.person {
            None => None,
            Some(person) => match wanted.question {
                Err(why) => Some(why),
                Ok(question) => {
                    let asked = self.pause.begin();
                    let answer = person.ask(question).await;
                    drop(asked);
                    match answer {
                        Ok(answer) if answer.key_id.is_some() => return question::said(answer),
                        Ok(_) => Some("nobody answered in time".to_owned()),
                        Err(why) => Some(why),
                    }
                }
            },
        };
        self.unanswered(&wanted.words, why)
    }

    /// Asks nobody what is one too many; the result for the server.
    pub(crate) fn refuse(&self, params: &Value) -> Value {
        self.unanswered(&self.read(params).words, Some("it asked too often in one call".to_owned()))
    }

    fn unanswered(&self, asked: &str, why: Option<String>) -> Value {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.questions.len() < question::MOST {
            last.questions.push(why.map_or_else(|| asked.to_owned(), |why| format!("{asked}: {why}")));
        }
        json!({ "action": "cancel" })
    }

    /// How far it was, in words; and what it asked for that nobody answered.
    pub(crate) fn told(self) -> (Option<String>, Option<String>) {
        let last = self.last.into_inner().unwrap_or_else(PoisonError::into_inner);
        (last.words, question::note(&last.questions))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Progress({:?}, {:?})", self.token, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_hears_of_its_own_progress_alone_and_tells_of_what_grows() {
        let told = Arc::new(Mutex::new(vec![]));
        let teller = Arc::clone(&told);
        let news = News::new(move |word| teller.lock().expect("the news").push(word));
        let secrets = ["sesame-1234".to_owned()];
        let (mine, silent) = (Progress::of(json!("key_1"), Some(news), &secrets), Progress::default());
        for (token, progress, words) in [
            ("key_1", json!(1), "sesame-1234 opens"),
            ("key_2", json!(2), "someone else's"),
            ("key_1", json!(1), "again"),
            ("key_1", json!("2"), "no number"),
            ("key_1", json!(1.5), "half"),
        ] {
            let news = json!({ "progressToken": token, "progress": progress, "total": 3, "message": words });
            mine.hear(&news);
            silent.hear(&news);
        }
        silent.hear(&json!({ "progress": 1, "message": "nameless" }));
        let said = std::mem::take(&mut *told.lock().expect("the news"));
        let said = said.iter().map(|word| match word {
            news::Word::Progress(p) => (p.progress.to_string(), p.message.as_deref()),
            news::Word::Result(result) => panic!("{result}"),
        });
        let said: Vec<_> = said.collect();
        assert_eq!(said, [("1".to_owned(), Some("[secret] opens")), ("1.5".to_owned(), Some("half"))]);
        assert_eq!(mine.ask(mine.read(&json!({ "message": "Sure?" }))).await, json!({ "action": "cancel" }));
        let (words, asked) = mine.told();
        assert_eq!((words.as_deref(), silent.told()), (Some("half"), (None, None)));
        assert!(asked.expect("a note").contains("'Sure?'"));
    }

    #[tokio::test]
    async fn a_secret_that_stands_where_words_are_cut_leaves_no_part_of_it() {
        // 500 bytes of a server's words are shown.
        let long = format!("{} sesame-1234", "x".repeat(495));
        let progress = Progress::of(json!("key_1"), None, &["sesame-1234".to_owned()]);
        progress.hear(&json!({ "progressToken": "key_1", "progress": 2, "message": long }));
        progress.ask(progress.read(&json!({ "message": long }))).await;
        let (words, asked) = progress.told();
        for said in [words.expect("words"), asked.expect("a note")] {
            assert!(said.contains("x [sec") && !said.contains("ses"), "{said}");
        }
    }
}
