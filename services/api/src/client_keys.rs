//! Keys for providers that a client sent along with a request, to be used instead of the operator's.
//!
//! Invariants: a key is used for the request it came with and goes to nobody but the one provider it names; nothing
//! here shows one (`Debug` tells only that there are some), and there is no way to write one out.

use std::{collections::BTreeMap, fmt, sync::Arc};

/// The code of an error with which a provider did not take a client's key, or with which the account behind it may not
/// go on (401, 402, 403, 429): nobody else's affair, and no reason to ask somebody else at the operator's expense.
pub const CLIENT_KEY: &str = "client_key";

/// By the name under which a provider's configuration takes them (`groq_api_key`). Clones share them.
#[derive(Clone, Default)]
pub struct ClientKeys(Option<Arc<BTreeMap<String, String>>>);

impl ClientKeys {
    /// Those that are not empty.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (String, String)>) -> Self {
        let keys: BTreeMap<String, String> = keys.into_iter().filter(|(_, key)| !key.is_empty()).collect();
        Self((!keys.is_empty()).then(|| Arc::new(keys)))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The key of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.as_ref()?.get(name).map(String::as_str)
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ClientKeys(some)" } else { "ClientKeys(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_name_and_never_shown() {
        let keys = ClientKeys::new([("a_api_key".into(), "secret".into()), ("b_api_key".into(), String::new())]);
        assert_eq!((keys.get("a_api_key"), keys.get("b_api_key"), keys.get("c")), (Some("secret"), None, None));
        assert_eq!(format!("{keys:?} {:?}", ClientKeys::default()), "ClientKeys(some) ClientKeys(none)");
        let cx = crate::Cx { client_keys: keys, ..crate::Cx::internal("t", "r") };
        assert!(!format!("{cx:?}").contains("secret"));
    }
}
