//! `POST /v1/responses/compact`: the answer, and the item that carries a summary to later requests.
//!
//! OpenAI's member is called `encrypted_content`. Ours is the summary in Base64 behind a mark: the client has all of it
//! already, and a server that keeps nothing needs no key. What is sent back is taken as its sender's own words.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{Error, Micros, Result, chat::Usage, clock::unix_seconds, turn::Item};
use serde_json::{Value, json};

use super::{item::sent, request::Include, stream::usage};

/// Before each summary: whose it is, and how it is written.
const MARK: &str = "fd1.";

/// The answer: what the customer said, then the summary.
#[must_use]
pub fn answer(id: &str, at: Micros, said: &[Item], summary: (&str, &str), taken: Usage) -> Value {
    let (item_id, summary) = summary;
    let mut output: Vec<Value> = said.iter().filter_map(|item| sent(item, Include::EVERYTHING)).collect();
    output.push(json!({ "id": item_id, "type": "compaction", "encrypted_content": sealed(summary) }));
    json!({ "id": id, "object": "response.compaction", "created_at": unix_seconds(at), "output": output, "usage": usage(taken) })
}

fn sealed(summary: &str) -> String {
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(summary))
}

/// What a later model reads in the place of what was summed up.
///
/// # Errors
/// `Invalid` on `path` for what was not made here.
pub fn opened(content: &str, path: &str) -> Result<String> {
    let bytes = content.strip_prefix(MARK).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
    let Some(summary) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else {
        let message =
            format!("'{path}' was not made by this server's /v1/responses/compact, so it cannot be read here");
        return Err(Error::invalid(path, message).with_code("invalid_encrypted_content"));
    };
    Ok(format!("A summary of what was said before:\n{summary}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_comes_back_as_it_was_and_anothers_is_refused() {
        let words = opened(&sealed("They want ü lamps."), "input[0].encrypted_content").expect("ours");
        assert_eq!(words, "A summary of what was said before:\nThey want ü lamps.");
        for foreign in ["gAAAAABo", "fd1.*", "fd1._w"] {
            let refused = opened(foreign, "input[0].encrypted_content").expect_err("not ours");
            assert_eq!(refused.param.as_deref(), Some("input[0].encrypted_content"));
        }
    }
}
