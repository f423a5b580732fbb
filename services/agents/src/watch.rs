//! Following turns that another process works on: one query for all of them, several times a second.
//!
//! A commit of another process wakes nobody here, and a notification for each would be one for every few words of
//! every model; so a process that has followers asks how far their turns are, once for all, and wakes those whose
//! turn got on. What it costs depends on how often, not on how many follow.

use std::{collections::HashMap, sync::Arc};

use frontdesk_store::{Dialect, claims::Head};

use crate::{Room, hub::Key};

impl Room {
    /// Watches until the process stops. Nothing to do where there is one process only.
    pub(crate) async fn watch(self: Arc<Self>) {
        if self.deps.store.dialect() == Dialect::Sqlite {
            return;
        }
        let mut seen: HashMap<Key, Head> = HashMap::new();
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = tokio::time::sleep(self.deps.pace.watch) => {}
            }
            let mut turns = self.hub.followed();
            turns.retain(|(tenant, turn)| !self.running.has(tenant, turn));
            if turns.is_empty() {
                seen.clear();
                continue;
            }
            let heads = match self.deps.store.system().turn_heads(&turns).await {
                Ok(heads) => heads,
                Err(error) => {
                    tracing::debug!(error = %error, "turns that others work on could not be looked at");
                    continue;
                }
            };
            let mut now = HashMap::with_capacity(heads.len());
            for head in heads {
                let key = (head.tenant.clone(), head.id.clone());
                // One that is seen for the first time may have got on since its follower looked.
                if seen.get(&key) != Some(&head) {
                    self.hub.wake(&key.0, &key.1);
                }
                now.insert(key, head);
            }
            // One that is gone ends for its followers.
            for (tenant, turn) in turns.iter().filter(|key| !now.contains_key(*key)) {
                self.hub.wake(tenant, turn);
            }
            seen = now;
        }
    }
}
