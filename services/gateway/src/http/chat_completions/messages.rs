//! `GET /v1/chat/completions/{completion_id}/messages`.

use axum::{
    Json,
    extract::{Path, State},
};
use frontdesk_api::{Error, Order, Page, PageRequest, Result};
use serde_json::{Map, Value};

use crate::{
    app::App,
    auth::Caller,
    http::{
        extract::Query,
        paging::{List, PageQuery},
    },
    problem::Problem,
};

/// The messages that a stored chat completion answered
///
/// As they were sent, the first one first, each with an id. Content that was sent in parts is `content_parts`.
#[utoipa::path(
    get, path = "/v1/chat/completions/{completion_id}/messages", tag = "inference",
    params(("completion_id" = String, Path, description = "The id that the answer bore"), PageQuery),
    responses((status = 200, body = List<Value>))
)]
pub async fn messages(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> std::result::Result<Json<List<Value>>, Problem> {
    let order = page.order.or_else(|| Some("asc".to_owned()));
    let request = PageQuery { order, ..page }.request()?;
    app.stored.flush().await;
    let row = app.store.tenant(&cx).load_completion(&id).await?;
    let page = page_of(&id, super::parsed(&row.messages)?, &request)?;
    Ok(Json(List::of(page, Value::Object, |message| message["id"].as_str().unwrap_or_default())))
}

fn page_of(id: &str, all: Vec<Map<String, Value>>, request: &PageRequest) -> Result<Page<Map<String, Value>>> {
    let mut named: Vec<(String, Map<String, Value>)> =
        all.into_iter().enumerate().map(|(i, message)| (format!("{id}-{i}"), message)).collect();
    if request.order == Order::Desc {
        named.reverse();
    }
    let from = match &request.after {
        None => 0,
        Some(after) => {
            let at = named.iter().position(|(name, _)| name == after);
            at.ok_or_else(|| Error::invalid("after", format!("'{after}' is no message of '{id}'")))? + 1
        }
    };
    let wanted = usize::try_from(request.limit).unwrap_or(usize::MAX).saturating_add(1);
    let rows = named.into_iter().skip(from).take(wanted).map(|(name, message)| told(name, message)).collect();
    Ok(Page::of(rows, request.limit))
}

/// A message with its id; parts stand apart from text.
fn told(id: String, mut message: Map<String, Value>) -> Map<String, Value> {
    let content = message.remove("content").unwrap_or_default();
    let (text, parts) = if content.is_array() { (Value::Null, content) } else { (content, Value::Null) };
    message.insert("id".into(), id.into());
    message.insert("content".into(), text);
    message.insert("content_parts".into(), parts);
    message
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn messages_come_in_pages_either_way() {
        let all = || (0..3).map(|i| Map::from_iter([("content".to_owned(), json!(i.to_string()))])).collect();
        let ids = |after: Option<&str>, order| {
            let request = PageRequest { after: after.map(str::to_owned), limit: 2, order };
            let page = page_of("c", all(), &request).expect("a page");
            (page.items.iter().map(|m| m["id"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>(), page.more)
        };
        assert_eq!(ids(None, Order::Asc), (vec!["c-0".into(), "c-1".into()], true));
        assert_eq!(ids(Some("c-1"), Order::Asc), (vec!["c-2".into()], false));
        assert_eq!(ids(Some("c-1"), Order::Desc), (vec!["c-0".into()], false));
        let nowhere = PageRequest { after: Some("d-1".into()), ..PageRequest::default() };
        assert_eq!(page_of("c", all(), &nowhere).expect_err("no such message").param.as_deref(), Some("after"));
    }
}
