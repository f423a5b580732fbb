//! Repeated requests: the same key with the same request gets the first answer again.
//!
//! Invariant: a key is claimed in the transaction that does the work, so there is no moment at which the
//! work is done and the key unknown.

use frontdesk_api::{Error, Result};

use crate::{Doing as _, System, Tx, on};

/// Bytes of a key.
const LONGEST: usize = 255;

/// Whether a client may use this key; `param` is where it stood.
///
/// # Errors
/// `Invalid` naming `param`.
pub fn check(param: &str, key: &str) -> Result<()> {
    if key.is_empty() || key.len() > LONGEST || key.contains('\0') {
        let message = format!("an idempotency key has 1 to {LONGEST} bytes and no zero byte");
        return Err(Error::invalid(param, message));
    }
    Ok(())
}

/// Claims `key` within `scope` for a request of this hash, for `keep` microseconds of the database's clock.
/// Waits for another transaction that is claiming the same key. None: it was not seen before (or long ago), so do the work
/// and [`answer`] in the same transaction; else the answer to the same request.
///
/// # Errors
/// `Conflict` with the code `idempotency_key_reused` where another request had it; as any query.
pub async fn claim(tx: &mut Tx, scope: &str, key: &str, request_hash: &[u8], keep: i64) -> Result<Option<String>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    // An expired row is taken over; a live one is left and read below.
    let fresh: Option<i64> = on!(tx, conn => sqlx::query_scalar("INSERT INTO idempotency (tenant, scope, key, request_hash, expires_at) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (tenant, scope, key) DO UPDATE SET request_hash = excluded.request_hash, body = NULL, status = NULL, expires_at = excluded.expires_at \
         WHERE idempotency.expires_at < $6 RETURNING expires_at")
        .bind(&*tenant).bind(scope).bind(key).bind(request_hash).bind(now.saturating_add(keep)).bind(now)
        .fetch_optional(conn).await)
    .doing("claim an idempotency key")?;
    if fresh.is_some() {
        return Ok(None);
    }
    let (hash, body): (Vec<u8>, Option<String>) = on!(tx, conn => sqlx::query_as("SELECT request_hash, body FROM idempotency WHERE tenant = $1 AND scope = $2 AND key = $3")
        .bind(&*tenant).bind(scope).bind(key).fetch_one(conn).await)
    .doing("read an idempotency key")?;
    if hash != request_hash {
        let message = format!("the idempotency key '{key}' was used for another request");
        return Err(Error::conflict(message).with_code("idempotency_key_reused"));
    }
    Ok(Some(body.unwrap_or_default()))
}

/// The answer to the request of this hash, where one is kept.
///
/// # Errors
/// As any query.
pub async fn find(tx: &mut Tx, scope: &str, key: &str, request_hash: &[u8]) -> Result<Option<String>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let found: Option<Option<String>> = on!(tx, conn => sqlx::query_scalar("SELECT body FROM idempotency \
         WHERE tenant = $1 AND scope = $2 AND key = $3 AND request_hash = $4 AND expires_at >= $5")
        .bind(&*tenant).bind(scope).bind(key).bind(request_hash).bind(now).fetch_optional(conn).await)
    .doing("look for an idempotency key")?;
    Ok(found.flatten())
}

/// Keeps the answer of a key that [`claim`] gave as new.
///
/// # Errors
/// As any query.
pub async fn answer(tx: &mut Tx, scope: &str, key: &str, status: i64, body: &str) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE idempotency SET status = $4, body = $5 WHERE tenant = $1 AND scope = $2 AND key = $3")
        .bind(&*tenant).bind(scope).bind(key).bind(status).bind(body).execute(conn).await.map(|_| ()))
    .doing("keep the answer of an idempotency key")
}

impl System<'_> {
    /// Deletes the answers whose time is over, of all tenants.
    ///
    /// # Errors
    /// As any query.
    pub async fn forget_expired_keys(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM idempotency WHERE expires_at < $1")
            .bind(now).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete expired idempotency keys")?;
        tx.commit().await?;
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;

    use super::*;
    use crate::testing::{each_database, two_tenants};

    #[tokio::test]
    async fn the_same_request_gets_the_first_answer_and_another_is_told_so() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let mut tx = store.tenant(&a).write().await.expect("a transaction");
            assert_eq!(claim(&mut tx, "turn", "k", b"one", 1_000_000_000).await.expect("claimed"), None);
            answer(&mut tx, "turn", "k", 200, "turn_1").await.expect("kept");
            tx.commit().await.expect("committed");

            let mut tx = store.tenant(&a).write().await.expect("a transaction");
            assert_eq!(claim(&mut tx, "turn", "k", b"one", 1).await.expect("seen"), Some("turn_1".to_owned()));
            let other = claim(&mut tx, "turn", "k", b"two", 1).await.expect_err("another request had it");
            assert_eq!((other.kind, other.code.as_deref()), (Kind::Conflict, Some("idempotency_key_reused")));
            assert_eq!(find(&mut tx, "turn", "k", b"one").await.expect("looked"), Some("turn_1".into()));
            assert_eq!(find(&mut tx, "turn", "k", b"two").await.expect("looked"), None);
            assert_eq!(claim(&mut tx, "file", "k", b"two", 1).await.expect("another scope"), None);
            assert_eq!(find(&mut tx, "file", "k", b"two").await.expect("not answered yet"), None);
            drop(tx);
            let mut tx = store.tenant(&b).write().await.expect("a transaction");
            assert_eq!(claim(&mut tx, "turn", "k", b"two", 1).await.expect("another tenant"), None);
        })
        .await;
    }

    #[tokio::test]
    async fn keys_whose_time_is_over_are_forgotten_for_every_tenant_and_no_others() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            for (cx, key, keep) in
                [(&a, "old", -1), (&a, "new", 1_000_000_000), (&b, "old", -1), (&b, "new", 1_000_000_000)]
            {
                let mut tx = store.tenant(cx).write().await.expect("a transaction");
                claim(&mut tx, "turn", key, b"one", keep).await.expect("claimed");
                answer(&mut tx, "turn", key, 200, "turn_1").await.expect("kept");
                tx.commit().await.expect("committed");
            }
            assert_eq!(store.system().forget_expired_keys().await.expect("forgotten"), 2);
            assert_eq!(store.system().forget_expired_keys().await.expect("nothing to forget"), 0);
            for cx in [&a, &b] {
                let mut tx = store.tenant(cx).write().await.expect("a transaction");
                let kept = claim(&mut tx, "turn", "new", b"one", 1).await.expect("seen");
                assert_eq!(kept, Some("turn_1".to_owned()));
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_claim_that_was_rolled_back_or_has_expired_is_new_again() {
        each_database(|store| async move {
            let (a, _) = two_tenants(&store).await;
            let mut tx = store.tenant(&a).write().await.expect("a transaction");
            assert_eq!(claim(&mut tx, "turn", "k", b"one", 1_000_000_000).await.expect("claimed"), None);
            drop(tx);
            let mut tx = store.tenant(&a).write().await.expect("a transaction");
            assert_eq!(claim(&mut tx, "turn", "k", b"two", -1_000_000).await.expect("claimed"), None);
            assert_eq!(claim(&mut tx, "turn", "k", b"three", 1).await.expect("expired"), None);
        })
        .await;
    }
}
