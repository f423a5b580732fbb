//! Talking to a server that runs: where it is, and asking it with a key.
//!
//! A running server leaves its address in the data folder, so that commands on the same machine find it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use frontdesk_api::{Error, Kind, Result};
use frontdesk_wire::sse;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const FILE: &str = "server.json";

/// The most one event of a stream may have, in bytes.
const EVENT_LIMIT: usize = 4 << 20;

/// The address of a server, for the commands on its machine. Gone with the server.
pub(super) struct Beacon(PathBuf);

#[derive(Serialize, Deserialize)]
struct Running {
    url: String,
}

impl Beacon {
    /// Writes `data_dir/server.json`.
    pub(super) fn light(data_dir: &Path, url: &str) -> Result<Self> {
        let file = data_dir.join(FILE);
        let text = serde_json::json!({ "url": url }).to_string();
        std::fs::write(&file, text).map_err(|e| Error::internal(format!("writing {}", file.display()), e))?;
        Ok(Self(file))
    }
}

impl Drop for Beacon {
    fn drop(&mut self) {
        if let Err(e) = std::fs::remove_file(&self.0) {
            tracing::debug!("cannot remove {}: {e}", self.0.display());
        }
    }
}

/// The address that a server of this data folder left; it may have died since.
pub(super) fn running(data_dir: &Path) -> Option<String> {
    let text = std::fs::read(data_dir.join(FILE)).ok()?;
    serde_json::from_slice::<Running>(&text).ok().map(|running| running.url)
}

/// A server and the key to ask it with.
pub(super) struct Remote {
    url: String,
    key: String,
    client: reqwest::Client,
}

impl Remote {
    /// `url` without a path.
    pub(super) fn new(url: &str, key: &str) -> Result<Self> {
        let client = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .map_err(|e| Error::internal("starting the HTTP client", e))?;
        Ok(Self { url: url.trim_end_matches('/').to_owned(), key: key.to_owned(), client })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a request; an answer outside 2xx is an error in the server's own words.
    pub(super) async fn send(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<reqwest::Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.answered(request).await
    }

    /// Sends a text and reads one.
    pub(super) async fn text(&self, method: reqwest::Method, path: &str, body: Option<String>) -> Result<String> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = self.answered(request).await?;
        let broken = |e| Error::upstream(format!("reading the answer of {}{path}", self.url)).with_source(e);
        response.text().await.map_err(broken)
    }

    /// Uploads a file (`POST /v1/files`).
    #[cfg(feature = "wasm")]
    pub(super) async fn upload(&self, name: &str, kind: &str, purpose: &str, content: Vec<u8>) -> Result<Value> {
        // Longer until the content does not hold it.
        let mut boundary = String::from("frontdesk-upload");
        let holds = |boundary: &str| content.windows(boundary.len()).any(|bytes| bytes == boundary.as_bytes());
        while holds(&boundary) {
            boundary.push('-');
        }
        let mut body = format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\n{purpose}\r\n\
             --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             content-type: {kind}\r\n\r\n"
        )
        .into_bytes();
        body.extend_from_slice(&content);
        body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        let form = format!("multipart/form-data; boundary={boundary}");
        let request = self.client.post(format!("{}/v1/files", self.url)).bearer_auth(&self.key);
        let response = self.answered(request.header("content-type", form).body(body)).await?;
        let broken = |e| Error::upstream(format!("reading the answer of {}/v1/files", self.url)).with_source(e);
        response.json().await.map_err(broken)
    }

    async fn answered(&self, request: reqwest::RequestBuilder) -> Result<reqwest::Response> {
        let response = request.send().await.map_err(|e| {
            let hint = if e.is_connect() { "; is it running? start it with: frontdesk up" } else { "" };
            Error::unavailable(format!("cannot reach the server at {}{hint}", self.url)).with_source(e)
        })?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let said: Value = response.json().await.unwrap_or_default();
        let message = said["error"]["message"].as_str().unwrap_or("no reason given");
        let id = said["request_id"].as_str().map(|id| format!(" [{id}]")).unwrap_or_default();
        Err(Error::new(
            refusal(status),
            format!("the server at {} answered {}: {message}{id}", self.url, status.as_u16()),
        ))
    }

    /// Sends a request and reads JSON.
    pub(super) async fn json(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let response = self.send(method, path, body).await?;
        response
            .json()
            .await
            .map_err(|e| Error::upstream(format!("reading the answer of {}{path}", self.url)).with_source(e))
    }

    /// Posts and hands each event of the answer to `each`; an error event ends with that error.
    pub(super) async fn events(
        &self,
        path: &str,
        body: &Value,
        mut each: impl FnMut(&Value) -> Result<()>,
    ) -> Result<()> {
        let mut stream = self.send(reqwest::Method::POST, path, Some(body)).await?.bytes_stream();
        let mut decoder = sse::Decoder::new(EVENT_LIMIT);
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|e| Error::upstream("the answer broke off").with_source(e))?;
            decoder.push(&bytes);
            while let Some(block) =
                decoder.block().map_err(|e| Error::upstream(format!("an event of the answer is over {} bytes", e.0)))?
            {
                let Some(data) = sse::data(&block) else { continue };
                if data.as_ref() == b"[DONE]" {
                    return Ok(());
                }
                let event: Value = serde_json::from_slice(&data)
                    .map_err(|e| Error::upstream("an event of the answer is no JSON").with_source(e))?;
                if let Some(message) = event["error"]["message"].as_str() {
                    return Err(Error::upstream(format!("the answer ended early: {message}")));
                }
                each(&event)?;
            }
        }
        Ok(())
    }
}

/// `Invalid` and `NotFound`: the server did nothing. `Upstream`: it may have.
fn refusal(status: reqwest::StatusCode) -> Kind {
    match status.as_u16() {
        404 => Kind::NotFound,
        408 | 429 => Kind::Upstream,
        400..500 => Kind::Invalid,
        _ => Kind::Upstream,
    }
}

/// Percent-encoded for a query.
pub(super) fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
