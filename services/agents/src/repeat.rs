//! A request that comes again, with the `Idempotency-Key` it came with before: it gets the turn that it made.
//!
//! Invariant: what makes two requests the same is what the client sent, and who: never what a name in it led to. An agent
//! that was published anew, a conversation that was handed on, a prompt or an agent that is gone change nothing.

use frontdesk_api::{Cx, Error, Kind, Result, turn::ItemBody};
use frontdesk_store::{idempotency, turns, turns::StoredTurn};
use serde::Serialize;
use serde_json::Value;

use crate::{Agents, NewTurn};

/// What keys of requests that begin turns are kept under.
pub(crate) const SCOPE: &str = "turn";

/// What a client sent, as a number.
pub type Sent = [u8; 32];

/// Members of a request that say how it is answered and not what it asks: a stream is picked up whole, and the other
/// way round.
const MANNERS: [&str; 2] = ["stream", "stream_options"];

/// What was sent to one of the doors at which turns begin.
#[must_use]
pub fn sent(door: &str, body: &[u8]) -> Sent {
    let mut hash = blake3::Hasher::new();
    hash.update(door.as_bytes()).update(&[0]);
    match serde_json::from_slice::<Value>(body) {
        Ok(Value::Object(mut members)) => {
            members.retain(|name, _| !MANNERS.contains(&name.as_str()));
            hash.update(Value::Object(members).to_string().as_bytes())
        }
        _ => hash.update(body),
    };
    *hash.finalize().as_bytes()
}

/// What makes two requests the same.
pub(crate) fn hash_of(cx: &Cx, new: &NewTurn) -> Result<Sent> {
    #[derive(Serialize)]
    struct Request<'r>(&'r str, Option<&'r str>, &'r [ItemBody], &'r [String], &'r [String]);
    let sent = match new.sent {
        Some(sent) => sent,
        None => {
            let of = Request(&new.agent_id, new.session_id.as_deref(), &new.items, &new.toolgroups, &new.knowledge);
            let bytes = serde_json::to_vec(&(of, &new.response, &new.tool_choice));
            *blake3::hash(&bytes.map_err(|e| Error::internal("could not read the request", e))?).as_bytes()
        }
    };
    of_caller(cx, &sent)
}

/// Another customer's request is another one, whatever it says.
fn of_caller(cx: &Cx, sent: &Sent) -> Result<Sent> {
    let Some(customer) = &cx.customer else { return Ok(*sent) };
    let owner = serde_json::to_vec(&customer.owner()).map_err(|e| Error::internal("could not read the customer", e))?;
    let mut hash = blake3::Hasher::new();
    hash.update(sent).update(&owner);
    Ok(*hash.finalize().as_bytes())
}

impl Agents {
    /// The turn that this request made when it came before. None where it did not, or what it made is gone; a key that
    /// came with another request is refused by [`Agents::create_turn`].
    ///
    /// # Errors
    /// As any query.
    pub async fn begun_before(&self, cx: &Cx, key: &str, sent: &Sent) -> Result<Option<StoredTurn>> {
        let mut tx = self.0.deps.store.tenant(cx).read().await?;
        let found = idempotency::find(&mut tx, SCOPE, key, &of_caller(cx, sent)?).await?;
        let Some(turn) = found else { return Ok(None) };
        match turns::load(&mut tx, &turn).await {
            Err(error) if error.kind == Kind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_an_answer_is_read_is_no_part_of_what_was_asked() {
        let asked = sent("chat", br#"{"model":"agent/a","stream":true,"stream_options":{"include_usage":true}}"#);
        assert_eq!(asked, sent("chat", br#"{ "model": "agent/a" }"#));
        for other in [
            sent("chat", br#"{"model":"agent/b"}"#),
            sent("responses", br#"{"model":"agent/a"}"#),
            sent("chat", b"no JSON"),
            sent("chat", b"[]"),
        ] {
            assert_ne!(asked, other);
        }
    }
}
