//! The platform's own groups: those that every tenant has without registering them.
//!
//! A provider says by itself that it is one. Invariant: a group of this kind has no row, keeps no data and is the
//! same for all tenants; its name can be registered by nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use frontdesk_api::{
    Cx, Micros, Result,
    tools::{SecretArgs, ToolProvider, ToolSource},
};
use frontdesk_store::tools::StoredToolgroup;
use serde_json::json;

use crate::{Trust, group::Ready};

/// By the id of the group.
pub(crate) struct Builtins(BTreeMap<&'static str, Builtin>);

struct Builtin {
    row: StoredToolgroup,
    provider: Arc<dyn ToolProvider>,
    ready: OnceLock<Arc<Ready>>,
}

impl Builtins {
    /// Those among `providers`, where two have the same the first by its id.
    pub(crate) fn of(providers: &BTreeMap<String, Arc<dyn ToolProvider>>, created_at: Micros) -> Self {
        let mut all = BTreeMap::new();
        for (provider_id, provider) in providers {
            let Some(id) = provider.builtin() else { continue };
            let trust = if provider.is_third_party() { Trust::ThirdParty } else { Trust::Own };
            let row = StoredToolgroup {
                id: id.to_owned(),
                provider_id: provider_id.clone(),
                trust: trust.as_str().to_owned(),
                args: json!({}),
                sealed: None,
                overrides: None,
                grants: vec![],
                hash: String::new(),
                revision: String::new(),
                created_at,
                disabled_at: None,
            };
            all.entry(id).or_insert_with(|| Builtin { row, provider: Arc::clone(provider), ready: OnceLock::new() });
        }
        Self(all)
    }

    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = StoredToolgroup> {
        self.0.values().map(|builtin| builtin.row.clone())
    }

    /// The group, ready to be called.
    ///
    /// # Errors
    /// What its provider says.
    pub(crate) async fn find(&self, cx: &Cx, id: &str) -> Result<Option<Arc<Ready>>> {
        let Some(builtin) = self.0.get(id) else { return Ok(None) };
        if let Some(ready) = builtin.ready.get() {
            return Ok(Some(Arc::clone(ready)));
        }
        let source = ToolSource { toolgroup: id.to_owned(), args: json!({}), ..ToolSource::default() };
        let found = builtin.provider.inspect(cx, &source).await?;
        let row = StoredToolgroup { hash: found.hash, ..builtin.row.clone() };
        // Who comes at the same time finds the same.
        let ready = Arc::new(Ready::new(row, found.tools, Arc::clone(&builtin.provider), None, SecretArgs::default())?);
        Ok(Some(Arc::clone(builtin.ready.get_or_init(|| ready))))
    }
}
