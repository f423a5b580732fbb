//! What a running tool can ask of the platform: to keep bytes under names of its own, to ask its group's hosts.
//!
//! Invariant: a host is made for one tenant and one group; no name leads out of them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_api::{
    Cx, Egress, Error, Kind, Result, Secrets, code,
    egress::OutboundAnswer,
    tools::{FetchRequest, ToolHost},
};
use frontdesk_store::{Store, tools};

use crate::{ComponentBytes, group::Ready};

/// How much a group's tools may keep.
#[derive(Debug, Clone, Copy)]
pub struct KvLimits {
    /// Bytes of a key.
    pub key: usize,
    /// Bytes of a value.
    pub value: usize,
    /// Keys of a group.
    pub keys: i64,
    /// Bytes of a group, keys and values together.
    pub total: i64,
}

impl Default for KvLimits {
    fn default() -> Self {
        Self { key: 256, value: 64 * 1024, keys: 20_000, total: 32 * 1024 * 1024 }
    }
}

impl KvLimits {
    /// # Errors
    /// `Invalid` for a key that is none, `TooLarge`.
    pub fn check(&self, key: &str, value: &[u8]) -> Result<()> {
        if key.is_empty() || key.len() > self.key || key.contains('\0') {
            return Err(Error::new(
                Kind::Invalid,
                format!("a tool's key has 1 to {} bytes and no zero byte", self.key),
            ));
        }
        if value.len() > self.value {
            let message = format!("a tool may keep {} bytes under a key, not {}", self.value, value.len());
            return Err(Error::new(Kind::TooLarge, message));
        }
        Ok(())
    }

    pub(crate) fn check_held(&self, group: &str, (keys, bytes): (i64, i64)) -> Result<()> {
        if keys > self.keys || bytes > self.total {
            let message = format!("the tools of '{group}' may keep {} keys and {} bytes in all", self.keys, self.total);
            return Err(Error::new(Kind::TooLarge, message));
        }
        Ok(())
    }
}

pub(crate) struct Host {
    pub(crate) store: Store,
    pub(crate) bodies: Arc<dyn ComponentBytes>,
    pub(crate) cx: Cx,
    /// As it was when the call began: its hosts and secrets do not change under way.
    pub(crate) group: Arc<Ready>,
    pub(crate) limits: KvLimits,
    pub(crate) egress: Arc<dyn Egress>,
    pub(crate) secrets: Arc<dyn Secrets>,
}

#[async_trait]
impl ToolHost for Host {
    async fn kv_get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.limits.check(key, &[])?;
        self.store.tenant(&self.cx).find_tool_value(&self.group.source.toolgroup, key).await
    }

    async fn kv_set(&self, key: &str, value: Vec<u8>) -> Result<()> {
        self.limits.check(key, &value)?;
        let mut tx = self.store.tenant(&self.cx).write().await?;
        let group = &self.group.source.toolgroup;
        tools::hold_values(&mut tx, group).await?;
        tools::put_value(&mut tx, group, key, &value).await?;
        // Measured after the write: a full group refuses it and the transaction takes it back.
        self.limits.check_held(group, tools::values_held(&mut tx, group).await?)?;
        tx.commit().await
    }

    async fn fetch(&self, request: FetchRequest) -> Result<OutboundAnswer> {
        self.group.policy.send(&self.cx, &*self.egress, &*self.secrets, request).await
    }

    async fn file(&self, id: &str) -> Result<(String, Bytes)> {
        self.bodies.load_named(&self.cx, id).await
    }

    async fn files(&self, run: &str) -> Result<Vec<code::File>> {
        self.bodies.files(&self.cx, run).await
    }

    async fn keep_written(
        &self,
        run: &str,
        files: Vec<code::Written>,
        bounds: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        self.bodies.keep_written(&self.cx, run, files, bounds).await
    }
}
