//! Several chats or texts in one request, as Llama Stack's client asks for them: `batch-chat-completion`, `batch-completion`.
//!
//! Each becomes the request that it would be alone. Invariant: all are read before the first is asked, so one that is wrong
//! costs nothing, and the error names it by its place.

use bytes::Bytes;
use frontdesk_api::{ChatRequest, Error, Kind, Result};
use serde_json::{Map, Value};

use super::inference_request::{chat, completion};

/// The most in one request: all of them are answered while the client waits.
pub const MOST: usize = 256;

/// The most that all of them together repeat of what stands in the request once (tools, a schema), in bytes: each is held
/// with a copy of its own until it is answered.
const MOST_REPEATED: usize = 16 << 20;

/// `POST /v1/inference/batch-chat-completion`. Other members are those of a single chat.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // describes the wire; it is read as an object
pub struct BatchChatCompletion {
    /// `provider/model`, an alias or a registered model.
    model_id: String,
    /// The messages of each chat; at most 256 chats.
    messages_batch: Vec<Vec<super::inference_request::ChatMessage>>,
}

/// `POST /v1/inference/batch-completion`. Other members are those of a single completion.
#[derive(utoipa::ToSchema)]
#[allow(dead_code)] // as above
pub struct BatchCompletion {
    /// `provider/model`, an alias or a registered model.
    model_id: String,
    /// The texts to go on with; at most 256.
    content_batch: Vec<super::content::InterleavedContent>,
}

/// The chats of `POST /v1/inference/batch-chat-completion`.
///
/// # Errors
/// `Invalid` naming the member at fault (`messages_batch[2][0].role`).
pub fn chats(body: &[u8]) -> Result<Vec<ChatRequest>> {
    apart(body, "messages_batch", "messages", chat)
}

/// The texts of `POST /v1/inference/batch-completion`.
///
/// # Errors
/// As [`chats`].
pub fn completions(body: &[u8]) -> Result<Vec<ChatRequest>> {
    apart(body, "content_batch", "content", completion)
}

fn apart(body: &[u8], batch: &str, member: &str, read: fn(Bytes) -> Result<ChatRequest>) -> Result<Vec<ChatRequest>> {
    let mut wire: Map<String, Value> = serde_json::from_slice(body).map_err(crate::openai::peek::not_json)?;
    let all = match wire.remove(batch) {
        Some(Value::Array(all)) if (1..=MOST).contains(&all.len()) => all,
        Some(Value::Array(all)) => {
            return Err(Error::invalid(batch, format!("'{batch}' must have 1 to {MOST} items, found {}", all.len())));
        }
        Some(_) => return Err(Error::invalid(batch, format!("'{batch}' must be a list"))),
        None => return Err(Error::invalid(batch, format!("missing member '{batch}'"))),
    };
    // A batch is answered whole.
    wire.insert("stream".into(), false.into());
    let shared = Value::Object(wire.clone()).to_string().len();
    if shared.saturating_mul(all.len()) > MOST_REPEATED {
        let message = format!(
            "what stands beside '{batch}' has {shared} bytes and is repeated for each of its {} items, which together must not \
             exceed {MOST_REPEATED}: send fewer at once",
            all.len()
        );
        return Err(Error::new(Kind::TooLarge, message).with_param(batch));
    }
    let one = |(i, item): (usize, Value)| {
        wire.insert(member.to_owned(), item);
        let bytes = serde_json::to_vec(&wire).map_err(|e| Error::internal("writing one request of a batch", e))?;
        let request = read(Bytes::from(bytes)).and_then(|request| {
            request.chat()?;
            Ok(request)
        });
        request.map_err(|e| placed(e, member, &format!("{batch}[{i}]")))
    };
    all.into_iter().enumerate().map(one).collect()
}

/// The error of one of them, which knows only of `member`.
fn placed(error: Error, member: &str, place: &str) -> Error {
    let rest = error.param.as_deref().and_then(|param| param.strip_prefix(member));
    let param = match rest {
        Some(rest) => Some(format!("{place}{rest}")),
        None => error.param.clone().or_else(|| Some(place.to_owned())),
    };
    Error { message: format!("{place}: {}", error.message), param, ..error }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(body: &Value) -> (String, String) {
        let error = chats(body.to_string().as_bytes()).err().expect("refused");
        (error.param.unwrap_or_default(), error.message)
    }

    #[test]
    fn each_is_the_request_it_would_be_alone() {
        let body = json!({
            "model_id": "m", "stream": true, "sampling_params": { "strategy": { "type": "greedy" }, "max_tokens": 5 },
            "messages_batch": [[{ "role": "user", "content": "one" }], [{ "role": "user", "content": "two" }]],
        });
        let requests = chats(body.to_string().as_bytes()).expect("two chats");
        let texts: Vec<_> = requests.iter().map(|r| r.chat().expect("a chat").messages[0].content.clone()).collect();
        assert_eq!(requests.len(), 2);
        assert!(format!("{texts:?}").contains("one") && format!("{texts:?}").contains("two"), "{texts:?}");
        assert!(requests.iter().all(|r| r.model == "m" && !r.stream));
        assert!(requests.iter().all(|r| r.chat().expect("a chat").max_tokens == Some(5)));
        let texts = completions(json!({ "model_id": "m", "content_batch": ["a", "b"] }).to_string().as_bytes());
        assert_eq!(texts.expect("two texts").len(), 2);
    }

    #[test]
    fn one_that_is_wrong_is_named_by_its_place() {
        let good = json!([{ "role": "user", "content": "hi" }]);
        for (batch, param, says) in [
            (json!([]), "messages_batch", "1 to 256 items, found 0"),
            (json!("hi"), "messages_batch", "must be a list"),
            (json!([good, []]), "messages_batch[1]", "is empty"),
            (json!([good, [{ "role": "wizard", "content": "hi" }]]), "messages_batch[1]", "wizard"),
        ] {
            let (at, message) = fault(&json!({ "model_id": "m", "messages_batch": batch }));
            assert!(at == param && message.contains(says), "{at}: {message}");
        }
        let heavy = json!({ "model_id": "m", "x": "y".repeat(1 << 20), "messages_batch": vec![good.clone(); 17] });
        let (at, message) = fault(&heavy);
        assert!(at == "messages_batch" && message.contains("send fewer at once"), "{message}");
        let (at, _) = fault(&json!({ "messages_batch": [good] }));
        assert_eq!(at, "model_id");
        assert_eq!(fault(&json!({ "model_id": "m" })).0, "messages_batch");
    }
}
