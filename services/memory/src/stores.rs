//! Knowledge stores (`vector_store` on the wire) and the files in them.

use frontdesk_api::{Cx, Error, Page, PageRequest, Result, attributes::Attributes};
use frontdesk_store::knowledge::StoreFile;
use serde_json::{Map, Value};

use crate::{Knowledge, VectorStore};

/// A store with the state of its files.
#[derive(Debug, Clone, PartialEq)]
pub struct KnowledgeStore {
    pub store: VectorStore,
    pub files: FileCounts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileCounts {
    pub in_progress: i64,
    pub completed: i64,
    pub failed: i64,
}

impl FileCounts {
    #[must_use]
    pub fn total(self) -> i64 {
        self.in_progress + self.completed + self.failed
    }
}

impl Knowledge {
    /// # Errors
    /// As the database's.
    pub async fn create_store(&self, cx: &Cx, name: &str, metadata: Map<String, Value>) -> Result<VectorStore> {
        let store =
            VectorStore { id: self.ids.next("vs"), name: name.to_owned(), metadata, created_at: self.clock.now() };
        self.store.tenant(cx).add_vector_store(&store).await?;
        Ok(store)
    }

    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn load_store(&self, cx: &Cx, id: &str) -> Result<KnowledgeStore> {
        let tenant = self.store.tenant(cx);
        let store = tenant.load_vector_store(id).await?;
        let mut files = FileCounts::default();
        for (status, count) in tenant.count_store_files(id).await? {
            match status.as_str() {
                "completed" => files.completed = count,
                "failed" => files.failed = count,
                _ => files.in_progress += count,
            }
        }
        Ok(KnowledgeStore { store, files })
    }

    /// Newest first unless asked otherwise.
    ///
    /// # Errors
    /// As the database's.
    pub async fn list_stores(&self, cx: &Cx, page: &PageRequest) -> Result<Page<KnowledgeStore>> {
        let found = self.store.tenant(cx).list_vector_stores(page).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for store in found.items {
            items.push(self.load_store(cx, &store.id).await?);
        }
        Ok(Page { items, more: found.more })
    }

    /// Changes what is given; None leaves it.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn update_store(
        &self,
        cx: &Cx,
        id: &str,
        name: Option<&str>,
        metadata: Option<Map<String, Value>>,
    ) -> Result<KnowledgeStore> {
        let tenant = self.store.tenant(cx);
        let now = tenant.load_vector_store(id).await?;
        let metadata = metadata.unwrap_or(now.metadata);
        tenant.update_vector_store(id, name.unwrap_or(&now.name), &metadata).await?;
        self.load_store(cx, id).await
    }

    /// Deletes a store with its index. Uploaded files stay; those that only this store knew go with it.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn delete_store(&self, cx: &Cx, id: &str) -> Result<()> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(id).await?;
        loop {
            let page = tenant.list_store_files(id, None, &PageRequest { limit: 100, ..PageRequest::default() }).await?;
            if page.items.is_empty() {
                break;
            }
            for file in &page.items {
                tenant.detach_file(id, &file.file_id).await?;
                self.drop_own(cx, &file.file_id).await?;
            }
        }
        tenant.delete_vector_store(id).await?;
        self.index.clear(cx, id).await
    }

    /// # Errors
    /// `NotFound` when this tenant has no such store, or the store no such file.
    pub async fn load_store_file(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<StoreFile> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        let found = tenant.find_store_file(store_id, file_id).await?;
        found.ok_or_else(|| not_in(store_id, file_id))
    }

    /// Newest first unless asked otherwise; `status` None: of any.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store.
    pub async fn list_store_files(
        &self,
        cx: &Cx,
        store_id: &str,
        status: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<StoreFile>> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        tenant.list_store_files(store_id, status, page).await
    }

    /// Replaces the attributes of a file in a store, all of them. What was read of it stays.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store, or the store no such file.
    pub async fn set_attributes(
        &self,
        cx: &Cx,
        store_id: &str,
        file_id: &str,
        attributes: &Attributes,
    ) -> Result<StoreFile> {
        let tenant = self.store.tenant(cx);
        tenant.load_vector_store(store_id).await?;
        if !tenant.set_attributes(store_id, file_id, attributes).await? {
            return Err(not_in(store_id, file_id));
        }
        self.load_store_file(cx, store_id, file_id).await
    }

    /// Takes a file out of a store; the uploaded file itself stays.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such store, or the store no such file.
    pub async fn remove_store_file(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.load_store_file(cx, store_id, file_id).await?;
        self.take_out(cx, store_id, file_id).await?;
        self.drop_own(cx, file_id).await
    }

    /// Out of the store first: from then on recall leaves its passages out, whatever happens next.
    pub(crate) async fn take_out(&self, cx: &Cx, store_id: &str, file_id: &str) -> Result<()> {
        self.store.tenant(cx).detach_file(store_id, file_id).await?;
        self.index.remove(cx, store_id, file_id).await
    }
}

fn not_in(store_id: &str, file_id: &str) -> Error {
    Error::not_found(format!("no file '{file_id}' in the knowledge store '{store_id}'"))
}
