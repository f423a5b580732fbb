//! What tool groups are let in with at servers that ask for OAuth, and the people who are on their way to one.
//!
//! Tokens are sealed before they come here. Invariants: a change is written only over the version it was made from; one
//! process at a time renews; an attempt is taken once, by its hash, and not after its time.

use frontdesk_api::{Micros, Result};

use crate::{Doing as _, System, Tenant, on};

/// What a group is let in with.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredSignIn {
    pub toolgroup_id: String,
    /// None: nobody signed in.
    pub sealed: Option<Vec<u8>>,
    /// Of the token; None: it does not say.
    pub expires_at: Option<Micros>,
    /// Why a person has to sign in; None: nobody has to.
    pub problem: Option<String>,
    /// What the server asked for beside what it had given.
    pub scope: Option<String>,
    pub version: i64,
    pub updated_at: Micros,
}

/// Someone who came back.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct TakenAttempt {
    pub tenant: String,
    pub toolgroup_id: String,
    pub sealed: Vec<u8>,
}

/// The columns of a [`StoredSignIn`], as a literal.
macro_rules! columns {
    () => {
        "toolgroup_id, sealed, expires_at, problem, scope, version, updated_at"
    };
}

/// Attempts of one tenant that are under way at the same time; the oldest goes.
const MOST_ATTEMPTS: i64 = 100;

impl Tenant<'_> {
    /// # Errors
    /// As any query.
    pub async fn find_sign_in(&self, group: &str) -> Result<Option<StoredSignIn>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_as(concat!("SELECT ", columns!(), " FROM sign_in WHERE tenant = $1 AND toolgroup_id = $2"))
            .bind(self.id()).bind(group).fetch_optional(conn).await)
        .doing("look up how a tool group is let in")
    }

    /// # Errors
    /// As any query.
    pub async fn list_sign_ins(&self) -> Result<Vec<StoredSignIn>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_as(concat!("SELECT ", columns!(), " FROM sign_in WHERE tenant = $1 ORDER BY toolgroup_id"))
            .bind(self.id()).fetch_all(conn).await)
        .doing("list how tool groups are let in")
    }

    /// Writes it in place of whatever is there; its version is the next one, and nobody holds it any more.
    ///
    /// # Errors
    /// `Conflict`: there is no such group.
    pub async fn put_sign_in(&self, row: &StoredSignIn) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("INSERT INTO sign_in (tenant, toolgroup_id, sealed, expires_at, problem, scope, version, held_until, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, 1, 0, $7) \
             ON CONFLICT (tenant, toolgroup_id) DO UPDATE SET sealed = excluded.sealed, expires_at = excluded.expires_at, \
             problem = excluded.problem, scope = excluded.scope, version = sign_in.version + 1, held_until = 0, updated_at = excluded.updated_at")
            .bind(self.id()).bind(&row.toolgroup_id).bind(&row.sealed).bind(row.expires_at).bind(&row.problem).bind(&row.scope)
            .bind(row.updated_at).execute(conn).await.map(|_| ()))
        .doing("write how a tool group is let in")?;
        tx.commit().await
    }

    /// Forgets it, where there is one.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_sign_in(&self, group: &str) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("DELETE FROM sign_in WHERE tenant = $1 AND toolgroup_id = $2")
            .bind(self.id()).bind(group).execute(conn).await.map(|_| ()))
        .doing("forget how a tool group is let in")?;
        tx.commit().await
    }

    /// Writes it over `row.version`; false: someone else changed it meanwhile.
    ///
    /// # Errors
    /// As any query.
    pub async fn replace_sign_in(&self, row: &StoredSignIn) -> Result<bool> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE sign_in SET sealed = $4, expires_at = $5, problem = $6, scope = $7, version = version + 1, \
             held_until = 0, updated_at = $8 WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(&row.toolgroup_id).bind(row.version).bind(&row.sealed).bind(row.expires_at).bind(&row.problem)
            .bind(&row.scope).bind(row.updated_at).execute(conn).await.map(|done| done.rows_affected()))
        .doing("write how a tool group is let in")?;
        tx.commit().await?;
        Ok(met > 0)
    }

    /// Takes the right to renew this version for so many microseconds; false: another has it, or it is renewed already.
    ///
    /// # Errors
    /// As any query.
    pub async fn hold_sign_in(&self, group: &str, version: i64, micros: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE sign_in SET held_until = $5 WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3 AND held_until < $4")
            .bind(self.id()).bind(group).bind(version).bind(now).bind(now.saturating_add(micros)).execute(conn).await
            .map(|done| done.rows_affected()))
        .doing("take a tool group's tokens to renew them")?;
        tx.commit().await?;
        Ok(met > 0)
    }

    /// Gives that right back.
    ///
    /// # Errors
    /// As any query.
    pub async fn release_sign_in(&self, group: &str, version: i64) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE sign_in SET held_until = 0 WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(group).bind(version).execute(conn).await.map(|_| ()))
        .doing("give a tool group's tokens back")?;
        tx.commit().await
    }

    /// Notes that someone was sent to a server, for so many microseconds. `id` is the hash of what they bring back.
    ///
    /// # Errors
    /// `Conflict`: there is no such group.
    pub async fn add_sign_in_attempt(&self, id: &str, group: &str, sealed: &[u8], micros: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query("DELETE FROM sign_in_attempt WHERE tenant = $1 AND (expires_at < $2 OR id NOT IN \
             (SELECT id FROM sign_in_attempt WHERE tenant = $1 ORDER BY expires_at DESC, id LIMIT $3))")
            .bind(self.id()).bind(now).bind(MOST_ATTEMPTS - 1).execute(conn).await.map(|_| ()))
        .doing("forget those who did not come back from a server")?;
        on!(tx, conn => sqlx::query("INSERT INTO sign_in_attempt (tenant, id, toolgroup_id, sealed, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.id()).bind(id).bind(group).bind(sealed).bind(now.saturating_add(micros)).execute(conn).await.map(|_| ()))
        .doing("note who is sent to a server")?;
        tx.commit().await
    }
}

impl System<'_> {
    /// Takes the attempt out; None: there is none, or its time is over.
    ///
    /// # Errors
    /// As any query.
    pub async fn take_sign_in_attempt(&self, id: &str) -> Result<Option<TakenAttempt>> {
        // Whoever guesses does not keep those waiting who write.
        let mut tx = self.read().await?;
        let known: Option<i64> =
            on!(tx, conn => sqlx::query_scalar("SELECT expires_at FROM sign_in_attempt WHERE id = $1")
            .bind(id).fetch_optional(conn).await)
            .doing("look up who comes back from a server")?;
        drop(tx);
        if known.is_none() {
            return Ok(None);
        }
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let taken = on!(tx, conn => sqlx::query_as("DELETE FROM sign_in_attempt WHERE id = $1 AND expires_at >= $2 RETURNING tenant, toolgroup_id, sealed")
            .bind(id).bind(now).fetch_optional(conn).await)
        .doing("look up who comes back from a server")?;
        tx.commit().await?;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        testing::{each_database, two_tenants},
        tools::{StoredToolgroup, StoredToolgroupChange},
    };

    async fn with_group(tenant: &Tenant<'_>) {
        let group = StoredToolgroup {
            id: "shop".into(),
            provider_id: "mcp".into(),
            trust: "own".into(),
            args: json!({}),
            sealed: None,
            overrides: Some(json!({ "look": { "risk": "read" } })),
            grants: vec![],
            hash: String::new(),
            revision: "r".into(),
            created_at: 1,
            disabled_at: None,
        };
        let change = StoredToolgroupChange {
            id: "c".into(),
            toolgroup_id: "shop".into(),
            action: "registered".into(),
            key_id: "k".into(),
            detail: json!(null),
            created_at: 1,
        };
        tenant.put_toolgroup(&group, &[], None, &change).await.expect("registered");
        assert_eq!(tenant.find_toolgroup("shop").await.expect("asked").expect("there").0, group);
    }

    const HOUR: i64 = 3_600_000_000;

    #[tokio::test]
    async fn tokens_are_renewed_by_one_and_written_over_what_they_were_made_from() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            let mut row = StoredSignIn {
                toolgroup_id: "shop".into(),
                sealed: Some(b"one".to_vec()),
                expires_at: Some(5),
                version: 1,
                ..StoredSignIn::default()
            };
            assert!(mine.put_sign_in(&row).await.is_err(), "no such group");
            with_group(&mine).await;
            mine.put_sign_in(&row).await.expect("written");
            assert_eq!(mine.find_sign_in("shop").await.expect("asked"), Some(row.clone()));
            assert_eq!(theirs.find_sign_in("shop").await.expect("asked"), None);
            assert!(!theirs.hold_sign_in("shop", 1, HOUR).await.expect("asked"));
            assert!(mine.hold_sign_in("shop", 1, HOUR).await.expect("held"));
            assert!(!mine.hold_sign_in("shop", 1, HOUR).await.expect("asked"), "another renews it");
            mine.release_sign_in("shop", 1).await.expect("given back");
            assert!(mine.hold_sign_in("shop", 1, -1).await.expect("held"));
            assert!(mine.hold_sign_in("shop", 1, HOUR).await.expect("held"), "whoever had it is gone");
            row.sealed = Some(b"two".to_vec());
            assert!(!theirs.replace_sign_in(&row).await.expect("asked"));
            assert!(mine.replace_sign_in(&row).await.expect("written"));
            assert!(!mine.replace_sign_in(&row).await.expect("asked"), "made from an older one");
            assert!(!mine.hold_sign_in("shop", 1, HOUR).await.expect("asked"), "renewed already");
            assert!(mine.hold_sign_in("shop", 2, HOUR).await.expect("held"), "nobody's any more");
            let listed = mine.list_sign_ins().await.expect("a list");
            assert_eq!(listed, [StoredSignIn { version: 2, ..row }]);
        })
        .await;
    }

    #[tokio::test]
    async fn who_comes_back_is_known_once_and_in_time() {
        each_database(|store| async move {
            let (a, _) = two_tenants(&store).await;
            let mine = store.tenant(&a);
            with_group(&mine).await;
            mine.add_sign_in_attempt("h1", "shop", b"kept", HOUR).await.expect("noted");
            mine.add_sign_in_attempt("late", "shop", b"kept", -1).await.expect("noted");
            let taken = store.system().take_sign_in_attempt("h1").await.expect("asked").expect("there");
            assert_eq!((taken.tenant, taken.toolgroup_id, taken.sealed), (a.tenant, "shop".into(), b"kept".to_vec()));
            for gone in ["h1", "late", "never"] {
                assert_eq!(store.system().take_sign_in_attempt(gone).await.expect("asked"), None, "{gone}");
            }
            for n in 0..=MOST_ATTEMPTS {
                mine.add_sign_in_attempt(&format!("n{n}"), "shop", b"kept", HOUR + n).await.expect("noted");
            }
            assert_eq!(store.system().take_sign_in_attempt("n0").await.expect("asked"), None, "there are too many");
            assert!(store.system().take_sign_in_attempt("n1").await.expect("asked").is_some());
        })
        .await;
    }
}
