//! Thoughts that a client keeps: sealed when they are shown, opened when they come back.
//!
//! A client that stores nothing here hands a response's items back with its next request, and thoughts that their maker
//! signed must come back to it as they were. So they are sealed with the installation's key, for the tenant, and nobody
//! else can make some up or read them. Invariant: what is opened here was sealed here, for the same tenant.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use frontdesk_api::{Cx, Error, Result, Seal};
use serde_json::{Value, json};

use crate::Agents;

/// Before what is sealed: whose it is, and how it is written.
const MARK: &str = "fdt1.";

/// What was thought: its words, and its blocks as their maker signed them.
///
/// # Errors
/// As [`Seal::seal`].
pub(crate) fn sealed(seal: &dyn Seal, cx: &Cx, text: &str, blocks: &[Value]) -> Result<String> {
    let plain = match blocks {
        // Nobody signed it: no model is shown it again, and the client has it whole all the same.
        [] => json!([{ "type": "reasoning_text", "text": text }]),
        blocks => json!(blocks),
    };
    let sealed = seal.seal(&about(cx), plain.to_string().as_bytes())?;
    Ok(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(sealed)))
}

fn about(cx: &Cx) -> [&str; 2] {
    ["thoughts", &cx.tenant]
}

impl Agents {
    /// The blocks that were signed, of thoughts that were sealed for this tenant; `path`: where they stand.
    ///
    /// # Errors
    /// `Invalid` with the code `invalid_encrypted_content`, for what was not sealed here, was changed, or is another
    /// tenant's.
    pub fn open_thoughts(&self, cx: &Cx, sealed: &str, path: &str) -> Result<Vec<Value>> {
        let bytes = sealed.strip_prefix(MARK).and_then(|rest| URL_SAFE_NO_PAD.decode(rest).ok());
        let plain = bytes.and_then(|bytes| self.0.deps.seal.open(&about(cx), &bytes).ok());
        let blocks: Option<Vec<Value>> = plain.and_then(|plain| serde_json::from_slice(&plain).ok());
        let Some(mut blocks) = blocks else {
            let message = format!(
                "'{path}' was not made by this server for this tenant, or was changed since: send the item as it came, or leave it out"
            );
            return Err(Error::invalid(path, message).with_code("invalid_encrypted_content"));
        };
        blocks.retain(|block| block["type"] != "reasoning_text");
        Ok(blocks)
    }
}
