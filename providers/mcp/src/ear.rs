//! Who hears what a server says in the middle of a request: how far it is, that its tools changed, and what it asks a person.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::{
    progress::{Progress, Wanted},
    rpc,
};

/// What a server asks a person by.
const ELICIT: &str = "elicitation/create";

#[derive(Clone, Copy)]
pub(crate) struct Ear<'e> {
    /// Whether its tools are what they were.
    pub(crate) changed: &'e AtomicBool,
    /// Whether the server has no stream beside those of its responses.
    pub(crate) alone: &'e AtomicBool,
    pub(crate) progress: &'e Progress,
}

impl Ear<'_> {
    pub(crate) fn hear(&self, method: &str, params: &Value) {
        match method {
            "notifications/tools/list_changed" => self.changed.store(true, Ordering::Relaxed),
            "notifications/progress" => self.progress.hear(params),
            _ => {}
        }
    }

    /// Whether a request of the server's takes the time of a person.
    pub(crate) fn asks(&self, method: &str) -> bool {
        method == ELICIT && self.progress.person.is_some()
    }

    /// What a server hears of whoever is asked.
    pub(crate) async fn person(&self, id: &Value, wanted: Wanted) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "result": self.progress.ask(wanted).await })
    }

    /// What it hears that asks too much.
    pub(crate) fn refused(&self, id: &Value, params: &Value) -> Value {
        json!({ "jsonrpc": "2.0", "id": id, "result": self.progress.refuse(params) })
    }

    /// What a server hears that asks us: a ping's answer, a person's, and else that there is no such thing here.
    pub(crate) async fn reply(&self, id: &Value, method: &str, params: &Value) -> Value {
        match method {
            "ping" => json!({ "jsonrpc": "2.0", "id": id, "result": {} }),
            ELICIT => self.person(id, self.progress.read(params)).await,
            _ => {
                let message = format!("this client has no '{}'", rpc::words_of(method));
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": rpc::METHOD_NOT_FOUND, "message": message } })
            }
        }
    }
}
