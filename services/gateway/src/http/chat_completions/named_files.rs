//! Files of ours that a chat names by their ids: their contents stand in the request before a provider is asked, since
//! no provider knows them.
//!
//! Invariant: every byte but those of such a part stays as it came, an id that is not of our making with them: that is
//! the provider's own. A request in which nobody speaks of a file is not parsed for it.

use std::ops::Range;

use bytes::Bytes;
use frontdesk_api::{Cx, Error, Result};
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::{
    app::App,
    http::{
        responses::attached::{self, Brought},
        room::Taken,
    },
};

/// What stands in every request that names a file, unless its author hides it behind escapes.
const NEEDLE: &[u8] = b"\"file_id\"";

/// The most parts of one request that name a file of ours.
const MOST: usize = 100;

/// Whether the request is worth a look.
pub(super) fn may_be(body: &[u8]) -> bool {
    memmem::find(body, NEEDLE).is_some()
}

/// The request with the contents of the files that it names, as many as a request may be large.
///
/// # Errors
/// `Invalid` naming the part whose file this tenant does not have, or the first of more than [`MOST`]; `TooLarge` the one
/// that has no room any more; `Unavailable` where too many others bring in theirs.
pub(super) async fn read(app: &App, cx: &Cx, body: Bytes) -> Result<Bytes> {
    let (mut out, mut from, mut brought) = (vec![], 0, Brought::new(app));
    let parts = parts(&body);
    if let Some(more) = parts.get(MOST) {
        return Err(Error::invalid(
            more.at.clone(),
            format!("a request names at most {MOST} files, found {}", parts.len()),
        ));
    }
    for named in parts {
        let mut part = attached::file(cx, &named.part, &named.at, &mut brought).await?;
        if let (Value::Object(part), Value::Object(before)) = (&mut part, named.part) {
            // Marks of a cache and the like.
            part.extend(before.into_iter().filter(|(name, _)| !["type", "file"].contains(&name.as_str())));
        }
        out.extend_from_slice(&body[from..named.place.start]);
        out.extend_from_slice(part.to_string().as_bytes());
        from = named.place.end;
    }
    if out.is_empty() {
        return Ok(body);
    }
    out.extend_from_slice(&body[from..]);
    Ok(Bytes::from_owner(Filled { bytes: out, _room: brought.held() }))
}

/// A request with what it brought in, and the room that this takes for as long as it is there.
struct Filled {
    bytes: Vec<u8>,
    _room: Option<Taken>,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A part that names a file of ours.
struct Named {
    /// Where the id stands, as errors tell it.
    at: String,
    place: Range<usize>,
    part: Value,
}

/// The parts of the messages that name files of ours. What does not read is for whoever reads the request to refuse.
fn parts(body: &Bytes) -> Vec<Named> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        messages: Vec<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        content: &'a RawValue,
    }
    let mut found = vec![];
    let messages = serde_json::from_slice(body).map(|body: Body<'_>| body.messages).unwrap_or_default();
    for (i, message) in messages.into_iter().enumerate().filter(|(_, message)| may_be(message.get().as_bytes())) {
        let Ok(Message { content }) = serde_json::from_str(message.get()) else { continue };
        let parts: Vec<&RawValue> = serde_json::from_str(content.get()).unwrap_or_default();
        for (k, raw) in parts.into_iter().enumerate().filter(|(_, part)| may_be(part.get().as_bytes())) {
            let part: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            if part["type"] == "file" && part["file"]["file_id"].as_str().is_some_and(is_ours) {
                let start = raw.get().as_ptr() as usize - body.as_ptr() as usize;
                let at = format!("messages[{i}].content[{k}].file.file_id");
                found.push(Named { at, place: start..start + raw.get().len(), part });
            }
        }
    }
    found
}

/// Whether an id is one that we give a file (`frontdesk_api::id`): OpenAI's begin with `file-`, Anthropic's are shorter.
fn is_ours(id: &str) -> bool {
    let letter = |c: u8| c.is_ascii_digit() || (c.is_ascii_lowercase() && !b"ilou".contains(&c));
    id.strip_prefix("file_").is_some_and(|rest| rest.len() == 26 && rest.bytes().all(letter))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, Result, inference::Model};
    use serde_json::json;

    use crate::testing::{Frames, TestGateway};

    /// Keeps what it was asked.
    struct Heard(Frames, Arc<Mutex<String>>);

    #[async_trait]
    impl Inference for Heard {
        async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
            let sent = request.source().expect("a client's bytes").bytes.to_vec();
            *self.1.lock().expect("no panic") = String::from_utf8(sent).expect("text");
            self.0.chat(cx, request).await
        }

        async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
            self.0.models(cx).await
        }
    }

    async fn uploaded(gateway: &TestGateway, name: &str, text: &str) -> String {
        let cx = Cx::internal("default", "test");
        gateway.app.knowledge.create_file(&cx, name, "user_data", None, text.as_bytes()).await.expect("a file").id
    }

    #[tokio::test]
    async fn a_file_of_ours_is_told_by_its_content_and_every_other_byte_stays() {
        let heard = Arc::<Mutex<String>>::default();
        let gateway = TestGateway::start(Heard(Frames::whole(), Arc::clone(&heard))).await;
        let words = uploaded(&gateway, "notes.txt", "Open on Sundays.").await;
        let paper = uploaded(&gateway, "paper.pdf", "%PDF-1.4 \u{1}").await;
        let question = |first: &str, second: &str| {
            format!(
                r#"{{"model":"up/echo", "temperature":0.10, "messages":[{{"role":"user","content":[{first}, {second}]}}],"x":1e2}}"#
            )
        };
        let part = |id: &str| format!(r#"{{"type":"file","file":{{"file_id":"{id}"}}}}"#);
        let marked =
            format!(r#"{{"type":"file","file":{{"file_id":"{words}"}},"cache_control":{{"type":"ephemeral"}}}}"#);
        let answer = gateway.post_text("/v1/chat/completions", &question(&marked, &part(&paper))).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = json!({ "type": "text", "text": "notes.txt:\nNotes\nOpen on Sundays.", "cache_control": { "type": "ephemeral" } });
        let file = json!({ "type": "file", "file": {
            "filename": "paper.pdf", "file_data": "data:application/pdf;base64,JVBERi0xLjQgAQ==" } });
        assert_eq!(*heard.lock().expect("no panic"), question(&text.to_string(), &file.to_string()));

        // A provider's own, and what only looks like one of ours.
        // What is stored is what was said.
        let stored = question(&part(&words), &part(&paper)).replace("\"x\":1e2", "\"store\":true");
        let id = gateway.post_text("/v1/chat/completions", &stored).await.json()["id"].clone();
        assert!(heard.lock().expect("no panic").contains("Open on Sundays."));
        let path = format!("/v1/chat/completions/{}/messages", id.as_str().expect("an id"));
        let messages = gateway.get(&path).await;
        assert!(messages.text().contains(&words) && !messages.text().contains("Sundays"), "{}", messages.text());

        let named = vec![part(&paper); 101].join(",");
        let refused = gateway.post_text("/v1/chat/completions", &question(&named, &part(&paper))).await;
        assert_eq!(refused.json()["error"]["param"], "messages[0].content[100].file.file_id");

        let others = question(&part("file-abc"), &part("file_011CNha8iCJcU1wXNR6q4V8w"));
        assert_eq!(gateway.post_text("/v1/chat/completions", &others).await.status, 200);
        assert_eq!(*heard.lock().expect("no panic"), others);

        let none = question(r#"{"type":"text","text":"hi"}"#, &part("file_01jd0000000000000000000000"));
        let refused = gateway.post_text("/v1/chat/completions", &none).await;
        let said = refused.json();
        assert_eq!(
            (refused.status.as_u16(), &said["error"]["param"]),
            (400, &json!("messages[0].content[1].file.file_id")),
            "{said}"
        );
    }
}
