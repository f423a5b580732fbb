//! Models that tenants registered.

use frontdesk_api::{Error, Micros, Result, inference::ModelKind};
use serde_json::{Map, Value};

use crate::{Doing as _, Tenant, json, on};

/// A name of a tenant's that leads to a provider's model.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredModel {
    pub id: String,
    pub provider_id: String,
    /// The provider's own name.
    pub upstream_id: String,
    pub kind: ModelKind,
    /// The tenant's own notes.
    pub metadata: Map<String, Value>,
    pub created_at: Micros,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    provider_id: String,
    upstream_id: String,
    kind: String,
    metadata: String,
    created_at: Micros,
}

impl Row {
    fn read(self) -> Result<StoredModel> {
        Ok(StoredModel {
            kind: json::read("a model's kind", &format!("\"{}\"", self.kind))?,
            metadata: json::read("a model's metadata", &self.metadata)?,
            id: self.id,
            provider_id: self.provider_id,
            upstream_id: self.upstream_id,
            created_at: self.created_at,
        })
    }
}

impl Tenant<'_> {
    /// Registers a model, or registers it anew; then it keeps the time of its first registration.
    ///
    /// # Errors
    /// As any query.
    pub async fn put_model(&self, model: &StoredModel) -> Result<StoredModel> {
        let metadata = json::write(&model.metadata)?;
        let mut tx = self.write().await?;
        let row: Row = on!(tx, conn => sqlx::query_as("INSERT INTO model (tenant, id, provider_id, upstream_id, kind, metadata, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) \
             ON CONFLICT (tenant, id) DO UPDATE SET provider_id = excluded.provider_id, upstream_id = excluded.upstream_id, \
             kind = excluded.kind, metadata = excluded.metadata \
             RETURNING id, provider_id, upstream_id, kind, metadata, created_at")
            .bind(self.id()).bind(&model.id).bind(&model.provider_id).bind(&model.upstream_id).bind(model.kind.as_str())
            .bind(&metadata).bind(model.created_at).fetch_one(conn).await)
        .doing("register a model")?;
        tx.commit().await?;
        row.read()
    }

    /// Every model that was registered, by id.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_models(&self) -> Result<Vec<StoredModel>> {
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as("SELECT id, provider_id, upstream_id, kind, metadata, created_at \
             FROM model WHERE tenant = $1 ORDER BY id")
            .bind(self.id()).fetch_all(conn).await)
            .doing("list models")?;
        rows.into_iter().map(Row::read).collect()
    }

    /// # Errors
    /// As any query.
    pub async fn find_model(&self, id: &str) -> Result<Option<StoredModel>> {
        let mut tx = self.read().await?;
        let row: Option<Row> =
            on!(tx, conn => sqlx::query_as("SELECT id, provider_id, upstream_id, kind, metadata, created_at \
             FROM model WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load a model")?;
        row.map(Row::read).transpose()
    }

    /// # Errors
    /// `NotFound`.
    pub async fn delete_model(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM model WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a model")?;
        if gone == 0 {
            return Err(Error::not_found(format!("no model has the id '{id}'")).with_code("model_not_found"));
        }
        tx.commit().await
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::Kind;
    use serde_json::json;

    use super::*;
    use crate::testing::{each_database, two_tenants};

    fn model(upstream_id: &str, created_at: Micros) -> StoredModel {
        StoredModel {
            id: "my/embedder".into(),
            provider_id: "up".into(),
            upstream_id: upstream_id.into(),
            kind: ModelKind::Embedding,
            metadata: Map::from_iter([("embedding_dimension".to_owned(), json!(384))]),
            created_at,
        }
    }

    #[tokio::test]
    async fn a_model_is_its_tenants_alone_and_is_replaced_by_its_name() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
            assert_eq!(mine.put_model(&model("one", 1)).await.expect("registered"), model("one", 1));
            assert_eq!(mine.find_model("my/embedder").await.expect("asked"), Some(model("one", 1)));
            assert_eq!(theirs.find_model("my/embedder").await.expect("asked"), None);
            assert_eq!(theirs.list_models().await.expect("listed"), []);
            assert_eq!(theirs.delete_model("my/embedder").await.expect_err("not theirs").kind, Kind::NotFound);

            assert_eq!(mine.put_model(&model("two", 2)).await.expect("registered anew"), model("two", 1));
            assert_eq!(mine.list_models().await.expect("listed"), [model("two", 1)]);
            mine.delete_model("my/embedder").await.expect("deleted");
            assert_eq!(mine.delete_model("my/embedder").await.expect_err("gone").kind, Kind::NotFound);
        })
        .await;
    }
}
