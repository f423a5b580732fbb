//! A tenant's secrets, as tools use them: by name, written into a request by the platform, never shown to a tool.

use std::fmt;

use async_trait::async_trait;

use crate::{Cx, Result, egress::HostRule};

/// Opens a tenant's secrets.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// # Errors
    /// As any query; `Internal` where the secret cannot be opened.
    async fn find(&self, cx: &Cx, name: &str) -> Result<Option<Secret>>;
}

/// A secret and where it may be sent. `Debug` does not show it.
#[derive(Clone)]
pub struct Secret {
    /// Visible ASCII and inner spaces, so that a header can carry it.
    pub value: String,
    pub hosts: Vec<HostRule>,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}
