//! What a worker of ours answers beside OpenAI's API: how its models are, bringing them into memory and letting them go,
//! counting tokens, and its numbers.
//!
//! Invariant: a look at a worker takes a second at most, whatever it is doing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use frontdesk_api::inference::Counted;
use frontdesk_api::{ChatRequest, Cx, Error, Kind, Result};
use frontdesk_openai::OpenAi;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};

/// Longest wait for what a worker knows without computing.
const GLANCE: Duration = Duration::from_secs(1);
/// The most that is read of it, in bytes.
const PAGE: usize = 4 << 20;

/// The routes of one worker, which stand below the address of its server.
#[derive(Debug, Clone)]
pub(crate) struct Own(String);

impl Own {
    /// `server`: scheme, host and port, and what stands before `/v1`.
    pub(crate) fn at(server: &str) -> Self {
        Self(server.trim_end_matches('/').to_owned())
    }

    fn uri(&self, path: &str) -> Result<Uri> {
        let address = format!("{}{path}", self.0);
        address.parse().map_err(|cause| Error::internal("writing an address of the engine", cause))
    }

    /// Loads a model, or lets it go.
    pub(crate) async fn set_loaded(&self, to: &OpenAi, cx: &Cx, model: &str, loaded: bool) -> Result<()> {
        let uri = self.uri(if loaded { "/v1/models/load" } else { "/v1/models/unload" })?;
        let body = json!({"model": model}).to_string();
        to.upstream().fetch(cx, Method::POST, &uri, body.into()).await.map(drop)
    }

    /// Tokens of a chat, as the engine's own tokenizer and template count them.
    pub(crate) async fn count(&self, to: &OpenAi, cx: &Cx, request: &ChatRequest) -> Result<Option<Counted>> {
        let said = to.beside(cx, &self.uri("/v1/chat/completions/count_tokens")?, request).await?;
        let said: Value = serde_json::from_slice(&said).unwrap_or_default();
        match said["input_tokens"].as_u64() {
            Some(tokens) => Ok(Some(tokens.into())),
            None => Err(Error::upstream("the engine's count of tokens is none")),
        }
    }

    /// The worker's numbers as it writes them.
    pub(crate) async fn metrics(&self, to: &OpenAi) -> Result<String> {
        let page = self.glance(to, "/metrics").await?;
        String::from_utf8(page.into()).map_err(|cause| Error::internal("reading the numbers of the engine", cause))
    }

    /// Each model and where it stands, as the worker's `/health` has it.
    pub(crate) async fn models(&self, to: &OpenAi) -> Result<Value> {
        let page = self.glance(to, "/health").await?;
        models_in(&page)
    }

    async fn glance(&self, to: &OpenAi, path: &str) -> Result<Bytes> {
        let uri = self.uri(path)?;
        let cx = Cx { deadline: Some(Instant::now() + GLANCE), ..Cx::internal("default", "engine") };
        // A worker that is not well says so with a status that is no success.
        let asked = async {
            let upstream = to.upstream();
            let mut answer = upstream.client.send(&cx, Method::GET, &uri, HeaderMap::new(), Bytes::new()).await?;
            answer.body.whole(PAGE).await
        };
        let late = |_| Error::new(Kind::Timeout, format!("the engine did not answer within {} s", GLANCE.as_secs()));
        tokio::time::timeout(GLANCE, asked).await.map_err(late)?
    }
}

/// The models in a worker's health. What answers at its address may be none of ours.
fn models_in(health: &[u8]) -> Result<Value> {
    let mut told: Value = serde_json::from_slice(health)
        .map_err(|cause| Error::upstream("the engine's health is not JSON").with_source(cause))?;
    let models = told.get_mut("models").map(Value::take);
    models.ok_or_else(|| Error::upstream("the engine's health names no models"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_health_of_a_stranger_is_an_error() {
        assert_eq!(models_in(br#"{"ready":true,"models":[]}"#).unwrap(), json!([]));
        for health in ["\"ok\"", "[1]", "true", "{}", "healthy"] {
            assert_eq!(models_in(health.as_bytes()).unwrap_err().kind, Kind::Upstream, "{health}");
        }
    }
}
