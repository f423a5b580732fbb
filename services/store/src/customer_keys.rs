//! The keys that customers' tokens are verified with. What they are made of is sealed before it comes here.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result, customer::Algorithm};

use crate::{Doing as _, Tenant, on, paging};

/// A verification key of a tenant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCustomerKey {
    pub id: String,
    /// What a token's header calls it; of the keys that are not revoked, a tenant has one of the name.
    pub kid: String,
    pub algorithm: Algorithm,
    pub audience: String,
    pub issuer: Option<String>,
    /// The secret or the public key, sealed.
    pub material: Vec<u8>,
    pub created_at: Micros,
    pub revoked_at: Option<Micros>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    kid: String,
    algorithm: String,
    audience: String,
    issuer: Option<String>,
    material: Vec<u8>,
    created_at: Micros,
    revoked_at: Option<Micros>,
}

impl Row {
    fn read(self) -> Result<StoredCustomerKey> {
        let algorithm = Algorithm::parse(&self.algorithm);
        let algorithm = algorithm.ok_or_else(|| {
            Error::new(
                frontdesk_api::Kind::Internal,
                format!("the customer key '{}' has no algorithm we know", self.id),
            )
        })?;
        Ok(StoredCustomerKey {
            id: self.id,
            kid: self.kid,
            algorithm,
            audience: self.audience,
            issuer: self.issuer,
            material: self.material,
            created_at: self.created_at,
            revoked_at: self.revoked_at,
        })
    }
}

/// The columns of a [`Row`], as a literal.
macro_rules! columns {
    () => {
        "id, kid, algorithm, audience, issuer, material, created_at, revoked_at"
    };
}

impl Tenant<'_> {
    /// Adds a key, unless `most` live ones are there already.
    ///
    /// # Errors
    /// `Conflict`: the codes are `customer_key_exists` where a live key has the `kid`, and `too_many_customer_keys`.
    pub async fn add_customer_key(&self, key: &StoredCustomerKey, most: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let live: i64 =
            on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM customer_key WHERE tenant = $1 AND revoked_at IS NULL")
                .bind(self.id()).fetch_one(conn).await)
            .doing("count customer keys")?;
        if live >= most {
            let message = format!("there are {live} customer keys that are not revoked; revoke one first");
            return Err(Error::conflict(message).with_code("too_many_customer_keys"));
        }
        let added = on!(tx, conn => sqlx::query("INSERT INTO customer_key (tenant, id, kid, algorithm, audience, issuer, material, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(self.id()).bind(&key.id).bind(&key.kid).bind(key.algorithm.as_str()).bind(&key.audience).bind(&key.issuer)
            .bind(&key.material).bind(key.created_at).execute(conn).await.map(|_| ()));
        if matches!(&added, Err(sqlx::Error::Database(refusal)) if refusal.is_unique_violation()) {
            let message =
                format!("a customer key with the kid '{}' exists: revoke it first, or take another kid", key.kid);
            return Err(Error::conflict(message).with_param("kid").with_code("customer_key_exists"));
        }
        added.doing("add a customer key")?;
        tx.commit().await
    }

    /// The live key that tokens call `kid`, else the newest revoked one of the name.
    ///
    /// # Errors
    /// As any query.
    pub async fn find_customer_key(&self, kid: &str) -> Result<Option<StoredCustomerKey>> {
        let sql = concat!(
            "SELECT ",
            columns!(),
            " FROM customer_key WHERE tenant = $1 AND kid = $2 \
             ORDER BY CASE WHEN revoked_at IS NULL THEN 0 ELSE 1 END, id DESC LIMIT 1"
        );
        let mut tx = self.read().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(kid).fetch_optional(conn).await)
                .doing("look up a customer key")?;
        row.map(Row::read).transpose()
    }

    /// Newest first unless asked otherwise; revoked ones too.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_customer_keys(&self, page: &PageRequest) -> Result<Page<StoredCustomerKey>> {
        let sql = match page.order {
            Order::Asc => {
                concat!("SELECT ", columns!(), " FROM customer_key WHERE tenant = $1 AND id > $2 ORDER BY id LIMIT $3")
            }
            Order::Desc => {
                concat!(
                    "SELECT ",
                    columns!(),
                    " FROM customer_key WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
                )
            }
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page)).fetch_all(conn).await)
            .doing("list customer keys")?;
        Ok(Page::of(rows.into_iter().map(Row::read).collect::<Result<_>>()?, page.limit))
    }

    /// Revokes a key; one that is revoked already stays as it was.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn revoke_customer_key(&self, id: &str, at: Micros) -> Result<()> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE customer_key SET revoked_at = COALESCE(revoked_at, $3) WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).bind(at).execute(conn).await.map(|done| done.rows_affected()))
        .doing("revoke a customer key")?;
        if met == 0 {
            let message = format!("no customer key has the id '{id}'");
            return Err(Error::not_found(message).with_code("customer_key_not_found"));
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn key(id: &str, kid: &str) -> StoredCustomerKey {
        StoredCustomerKey {
            id: id.into(),
            kid: kid.into(),
            algorithm: Algorithm::EdDsa,
            audience: "shop".into(),
            issuer: None,
            material: vec![1, 0, 2],
            created_at: 5,
            revoked_at: None,
        }
    }

    #[tokio::test]
    async fn a_kid_is_one_live_key_of_its_tenant() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            mine.add_customer_key(&key("k1", "web"), 2).await.expect("added");
            theirs.add_customer_key(&key("k1", "web"), 2).await.expect("another tenant's");
            let twice = mine.add_customer_key(&key("k2", "web"), 2).await.expect_err("taken");
            assert_eq!(twice.code.as_deref(), Some("customer_key_exists"));
            mine.add_customer_key(&key("k2", "app"), 2).await.expect("added");
            let third = mine.add_customer_key(&key("k3", "third"), 2).await.expect_err("full");
            assert_eq!(third.code.as_deref(), Some("too_many_customer_keys"));
            assert_eq!(mine.find_customer_key("web").await.expect("asked"), Some(key("k1", "web")));
            assert_eq!(mine.find_customer_key("none").await.expect("asked"), None);

            mine.revoke_customer_key("k1", 7).await.expect("revoked");
            mine.revoke_customer_key("k1", 9).await.expect("revoked again");
            let revoked = mine.find_customer_key("web").await.expect("asked").expect("still known");
            assert_eq!(revoked.revoked_at, Some(7));
            assert_eq!(theirs.find_customer_key("web").await.expect("asked").expect("theirs").revoked_at, None);
            mine.add_customer_key(&key("k0", "web"), 2).await.expect("the name is free again");
            assert_eq!(mine.find_customer_key("web").await.expect("asked").expect("the live one").id, "k0");

            let missing = theirs.revoke_customer_key("k2", 9).await.expect_err("another tenant's");
            assert_eq!(missing.code.as_deref(), Some("customer_key_not_found"));
            let page = PageRequest { limit: 2, ..PageRequest::default() };
            let listed = mine.list_customer_keys(&page).await.expect("a page");
            assert_eq!(listed.items.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["k2", "k1"]);
        })
        .await;
    }
}
