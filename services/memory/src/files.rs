//! Uploaded files.

use frontdesk_api::{Cx, Error, Kind, Page, PageRequest, Result};

use crate::{Knowledge, StoredFile};

/// Longest file name in bytes, as file systems have it.
const LONGEST_NAME: usize = 255;

impl Knowledge {
    /// Keeps a file. `purpose` is the caller's word for what it is for.
    ///
    /// # Errors
    /// `Invalid` for a name or purpose that is none, `TooLarge` naming the limit.
    pub async fn create_file(
        &self,
        cx: &Cx,
        filename: &str,
        purpose: &str,
        media_type: Option<&str>,
        content: &[u8],
    ) -> Result<StoredFile> {
        if purpose.is_empty() {
            return Err(Error::invalid("purpose", "purpose must not be empty"));
        }
        let file = self.describe(filename, purpose, media_type, content, self.limits.max_bytes)?;
        self.store.tenant(cx).add_file(&file, content).await?;
        Ok(file)
    }

    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_file(&self, cx: &Cx, id: &str) -> Result<StoredFile> {
        self.store.tenant(cx).load_file(id).await
    }

    /// The bytes as they were uploaded.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn load_content(&self, cx: &Cx, id: &str) -> Result<Vec<u8>> {
        self.store.tenant(cx).load_content(id).await
    }

    /// Newest first unless asked otherwise; `purpose` None: of any.
    ///
    /// # Errors
    /// As the database's.
    pub async fn list_files(&self, cx: &Cx, purpose: Option<&str>, page: &PageRequest) -> Result<Page<StoredFile>> {
        self.store.tenant(cx).list_files(purpose, page).await
    }

    /// Deletes a file, also from the knowledge stores that have it.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn delete_file(&self, cx: &Cx, id: &str) -> Result<()> {
        let tenant = self.store.tenant(cx);
        tenant.load_file(id).await?;
        for store_id in tenant.stores_of_file(id).await? {
            self.take_out(cx, &store_id, id).await?;
        }
        tenant.delete_file(id).await
    }

    pub(crate) fn describe(
        &self,
        filename: &str,
        purpose: &str,
        media_type: Option<&str>,
        content: &[u8],
        limit: usize,
    ) -> Result<StoredFile> {
        if filename.trim().is_empty() || filename.len() > LONGEST_NAME || filename.chars().any(char::is_control) {
            return Err(Error::invalid(
                "filename",
                format!("a file name has 1 to {LONGEST_NAME} bytes and no control characters"),
            ));
        }
        if content.len() > limit {
            let message = format!("'{filename}' has {} bytes, the limit is {limit}", content.len());
            return Err(Error::new(Kind::TooLarge, message).with_param("file").with_code("file_too_large"));
        }
        Ok(StoredFile {
            id: self.ids.next("file"),
            filename: filename.to_owned(),
            purpose: purpose.to_owned(),
            media_type: media_type.map(str::to_owned),
            bytes: i64::try_from(content.len()).unwrap_or(i64::MAX),
            hash: blake3::hash(content).as_bytes().to_vec(),
            created_at: self.clock.now(),
        })
    }
}
