//! The secrets that tools use. What they are is sealed before it comes here.

use frontdesk_api::{Error, Micros, Result, egress::HostRule};

use crate::{Doing as _, Tenant, json, on};

/// A tenant's secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    pub name: String,
    /// Where it may be sent.
    pub hosts: Vec<HostRule>,
    pub sealed: Vec<u8>,
    pub created_at: Micros,
    pub updated_at: Micros,
}

#[derive(sqlx::FromRow)]
struct Row {
    name: String,
    hosts: String,
    sealed: Vec<u8>,
    created_at: Micros,
    updated_at: Micros,
}

impl Row {
    fn read(self) -> Result<StoredSecret> {
        Ok(StoredSecret {
            hosts: json::read("a secret's hosts", &self.hosts)?,
            name: self.name,
            sealed: self.sealed,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

impl Tenant<'_> {
    /// Keeps a secret under its name, in place of the one there (whose `created_at` stays), unless it is a new one and
    /// `most` are there already.
    ///
    /// # Errors
    /// `Conflict` with the code `too_many_secrets`.
    pub async fn put_secret(&self, secret: &StoredSecret, most: i64) -> Result<()> {
        let hosts = json::write(&secret.hosts)?;
        let mut tx = self.write().await?;
        let others: i64 =
            on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM secret WHERE tenant = $1 AND name <> $2")
            .bind(self.id()).bind(&secret.name).fetch_one(conn).await)
            .doing("count secrets")?;
        if others >= most {
            let message = format!("there are {others} secrets already; delete one first");
            return Err(Error::conflict(message).with_code("too_many_secrets"));
        }
        on!(tx, conn => sqlx::query("INSERT INTO secret (tenant, name, hosts, sealed, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (tenant, name) DO UPDATE SET hosts = excluded.hosts, sealed = excluded.sealed, updated_at = excluded.updated_at")
            .bind(self.id()).bind(&secret.name).bind(&hosts).bind(&secret.sealed).bind(secret.created_at).bind(secret.updated_at)
            .execute(conn).await.map(|_| ()))
        .doing("keep a secret")?;
        tx.commit().await
    }

    /// # Errors
    /// As any query.
    pub async fn find_secret(&self, name: &str) -> Result<Option<StoredSecret>> {
        let mut tx = self.read().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT name, hosts, sealed, created_at, updated_at FROM secret WHERE tenant = $1 AND name = $2")
                .bind(self.id()).bind(name).fetch_optional(conn).await)
            .doing("look up a secret")?;
        row.map(Row::read).transpose()
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_secrets(&self) -> Result<Vec<StoredSecret>> {
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as("SELECT name, hosts, sealed, created_at, updated_at FROM secret WHERE tenant = $1 ORDER BY name")
                .bind(self.id()).fetch_all(conn).await)
            .doing("list secrets")?;
        rows.into_iter().map(Row::read).collect()
    }

    /// # Errors
    /// `NotFound`.
    pub async fn delete_secret(&self, name: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM secret WHERE tenant = $1 AND name = $2")
            .bind(self.id()).bind(name).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a secret")?;
        if gone == 0 {
            return Err(Error::not_found(format!("no secret is called '{name}'")).with_code("secret_not_found"));
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn secret(name: &str, sealed: &[u8], at: Micros) -> StoredSecret {
        let hosts = vec!["api.shop.example".parse().expect("a rule")];
        StoredSecret { name: name.into(), hosts, sealed: sealed.into(), created_at: at, updated_at: at }
    }

    #[tokio::test]
    async fn a_secret_is_its_tenants_and_replaced_under_its_name() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            mine.put_secret(&secret("shop", b"one", 1), 2).await.expect("kept");
            theirs.put_secret(&secret("shop", b"theirs", 1), 2).await.expect("another tenant's");
            mine.put_secret(&secret("crm", b"two", 2), 2).await.expect("kept");
            let third = mine.put_secret(&secret("third", b"x", 2), 2).await.expect_err("full");
            assert_eq!(third.code.as_deref(), Some("too_many_secrets"));
            mine.put_secret(&secret("shop", b"new", 3), 2).await.expect("replaced");
            let expected = StoredSecret { created_at: 1, ..secret("shop", b"new", 3) };
            assert_eq!(mine.find_secret("shop").await.expect("asked"), Some(expected));
            let names: Vec<_> = mine.list_secrets().await.expect("a list").into_iter().map(|s| s.name).collect();
            assert_eq!(names, ["crm", "shop"]);
            mine.delete_secret("shop").await.expect("deleted");
            assert_eq!(mine.find_secret("shop").await.expect("asked"), None);
            let gone = mine.delete_secret("shop").await.expect_err("gone");
            assert_eq!(gone.code.as_deref(), Some("secret_not_found"));
            assert_eq!(theirs.find_secret("shop").await.expect("asked"), Some(secret("shop", b"theirs", 1)));
        })
        .await;
    }
}
