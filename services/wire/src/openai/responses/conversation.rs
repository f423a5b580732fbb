//! `/v1/conversations`: requests, and the object.

use frontdesk_api::{Error, Micros, Result, clock::unix_seconds};
use serde_json::{Value, json};

use super::input::{Input, items};
use crate::{
    fields::Fields,
    openai::peek::{self, Metadata},
};

/// The most items that one request adds (OpenAI's API reference, "Conversations").
const MOST: usize = 20;

/// `POST /v1/conversations`.
#[derive(Debug, Clone, PartialEq)]
pub struct Created {
    pub metadata: Metadata,
    pub items: Vec<Input>,
}

/// # Errors
/// `Invalid` naming the member.
pub fn create(body: &[u8]) -> Result<Created> {
    let mut fields = Fields::of_body(if body.is_empty() { b"{}" } else { body })?;
    let metadata = metadata(&mut fields)?;
    let items = added(&mut fields)?;
    fields.end()?;
    Ok(Created { metadata, items })
}

/// `POST /v1/conversations/{id}`: the metadata that takes the place of the old; null: none.
///
/// # Errors
/// `Invalid` naming the member, also where it is left out: what nobody named is not wiped.
pub fn update(body: &[u8]) -> Result<Metadata> {
    let mut fields = Fields::of_body(body)?;
    if !fields.names("metadata") {
        return Err(fields.missing("metadata"));
    }
    let metadata = metadata(&mut fields)?;
    fields.end()?;
    Ok(metadata)
}

/// `POST /v1/conversations/{id}/items`.
///
/// # Errors
/// `Invalid` naming the member.
pub fn add(body: &[u8]) -> Result<Vec<Input>> {
    let mut fields = Fields::of_body(body)?;
    let items = added(&mut fields)?;
    if items.is_empty() {
        return Err(fields.missing("items"));
    }
    fields.end()?;
    Ok(items)
}

fn metadata(fields: &mut Fields) -> Result<Metadata> {
    let notes = fields.take("metadata").map(|value| value.to_string());
    peek::metadata(notes.as_deref())
}

fn added(fields: &mut Fields) -> Result<Vec<Input>> {
    let list = fields.list("items")?.unwrap_or_default();
    if list.len() > MOST {
        return Err(Error::invalid("items", format!("'items' has {} entries; at most {MOST} are taken", list.len())));
    }
    items(list, "items")
}

/// The object. `metadata` as it was given.
#[must_use]
pub fn shown(id: &str, created_at: Micros, metadata: &Value) -> Value {
    json!({ "id": id, "object": "conversation", "created_at": unix_seconds(created_at), "metadata": metadata })
}

/// Several items at once, as OpenAI's list.
#[must_use]
pub fn list(items: Vec<Value>, more: bool) -> Value {
    let id = |item: Option<&Value>| item.and_then(|item| item["id"].as_str()).unwrap_or_default().to_owned();
    json!({ "object": "list", "first_id": id(items.first()), "last_id": id(items.last()), "has_more": more, "data": items })
}
