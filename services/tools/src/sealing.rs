//! What a registration holds of secrets, on its way into rows and back.
//!
//! Invariant: a secret is in no member of `args` that is stored or shown, and opens for the group it came with alone.

use frontdesk_api::{Cx, Error, Result, Seal, tools::SecretArgs};
use serde_json::{Map, Value};

/// The arguments without the members of these names, and those.
pub(crate) fn taken_out(args: Value, names: &[&str]) -> (Value, SecretArgs) {
    let Value::Object(mut args) = args else { return (args, SecretArgs::default()) };
    let taken: Map<String, Value> =
        names.iter().filter_map(|name| args.remove_entry(*name)).filter(|(_, value)| !value.is_null()).collect();
    (Value::Object(args), SecretArgs(taken))
}

/// None where there are none.
///
/// # Errors
/// As [`Seal::seal`].
pub(crate) fn sealed(seal: &dyn Seal, cx: &Cx, group: &str, secrets: &SecretArgs) -> Result<Option<Vec<u8>>> {
    if secrets.0.is_empty() {
        return Ok(None);
    }
    let plain =
        serde_json::to_vec(&secrets.0).map_err(|e| Error::internal("could not write a tool group's secrets", e))?;
    seal.seal(&["toolgroup", &cx.tenant, group], &plain).map(Some)
}

/// # Errors
/// As [`Seal::open`].
pub(crate) fn opened(seal: &dyn Seal, cx: &Cx, group: &str, sealed: &[u8]) -> Result<SecretArgs> {
    let plain = seal.open(&["toolgroup", &cx.tenant, group], sealed)?;
    // What the parser says would show a part of them.
    let members = serde_json::from_slice(&plain)
        .map_err(|_| Error::new(frontdesk_api::Kind::Internal, "a tool group's secrets are damaged"))?;
    Ok(SecretArgs(members))
}
