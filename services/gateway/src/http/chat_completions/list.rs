//! `GET /v1/chat/completions`.

use axum::{Json, extract::State};
use frontdesk_api::{Error, Page};
use frontdesk_store::completions::CompletionFilter;
use frontdesk_wire::openai::peek::Metadata;

use super::StoredChatCompletion;
use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The query, as pairs: `metadata[key]=value` has names of the client's own.
#[derive(Debug, Default)]
struct Wanted {
    page: PageQuery,
    model: Option<String>,
    metadata: Metadata,
}

impl Wanted {
    fn read(pairs: Vec<(String, String)>) -> frontdesk_api::Result<Self> {
        let mut wanted = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "after" => wanted.page.after = Some(value),
                "limit" => {
                    let limit = value.parse();
                    let limit = limit
                        .map_err(|_| Error::invalid("limit", format!("limit must be 1 to 100, found '{value}'")))?;
                    wanted.page.limit = Some(limit);
                }
                "order" => wanted.page.order = Some(value),
                "model" => wanted.model = Some(value),
                _ => {
                    // What else stands in a query is passed over, as in every list.
                    let key = name.strip_prefix("metadata[").and_then(|rest| rest.strip_suffix(']'));
                    wanted.metadata.extend(key.map(|key| (key.to_owned(), value)));
                }
            }
        }
        if wanted.metadata.iter().any(|(key, value)| key.contains('\0') || value.contains('\0')) {
            return Err(Error::invalid("metadata", "'metadata' cannot be asked for with the character U+0000"));
        }
        // Alone among the lists, OpenAI's of these begins with the oldest.
        wanted.page.order.get_or_insert_with(|| "asc".to_owned());
        Ok(wanted)
    }
}

/// The stored chat completions
///
/// Those that were asked for with `store: true`, the oldest first. `model` is as the request or as the answer named it;
/// `metadata[KEY]=VALUE`, as often as wanted, shows those whose metadata holds all of these.
#[utoipa::path(
    get, path = "/v1/chat/completions", tag = "inference",
    params(
        PageQuery,
        ("model" = Option<String>, Query, description = "As the request or the answer named it"),
    ),
    responses((status = 200, body = List<StoredChatCompletion>))
)]
pub async fn list(
    State(app): State<App>,
    Caller(cx): Caller,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Json<List<StoredChatCompletion>>, Problem> {
    let wanted = Wanted::read(pairs)?;
    let metadata = super::json(&wanted.metadata)?;
    let filter = CompletionFilter { model: wanted.model.as_deref(), metadata: &metadata };
    let request = wanted.page.request()?;
    app.stored.flush().await;
    let page = app.store.tenant(&cx).list_completions(&filter, &request).await?;
    let items = page.items.into_iter().map(StoredChatCompletion::read).collect::<frontdesk_api::Result<_>>()?;
    Ok(Json(List::of(Page { items, more: page.more }, |one| one, |one: &StoredChatCompletion| &one.id)))
}
