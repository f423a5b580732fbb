//! JSON in TEXT columns: what was written is what is read, byte for byte, on both databases.

use frontdesk_api::{Error, Result};
use serde::{Serialize, de::DeserializeOwned};

/// # Errors
/// `Internal`: the value has no JSON form (a map with keys that are no strings).
pub(crate) fn write<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::internal("could not write a value as JSON", e))
}

/// # Errors
/// `Internal` naming `what`: a row holds something this program does not understand.
pub(crate) fn read<T: DeserializeOwned>(what: &str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| Error::internal(format!("could not read {what} from its row"), e))
}
