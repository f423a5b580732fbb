//! Pages of a list by id. Ids are compared as bytes on both databases (`COLLATE "C"` on Postgres).

use frontdesk_api::{Order, PageRequest};

/// The id to compare with: `id > $n … ORDER BY id` when ascending, `id < $n … ORDER BY id DESC` when
/// descending. Without a cursor it lies before, or after, every id.
#[must_use]
pub fn cursor(request: &PageRequest) -> &str {
    match (&request.after, request.order) {
        (Some(id), _) => id,
        (None, Order::Asc) => "",
        (None, Order::Desc) => "\u{10ffff}",
    }
}

/// How many rows to fetch: one more than wanted tells [`frontdesk_api::Page::of`] whether more follow.
#[must_use]
pub fn fetch(request: &PageRequest) -> i64 {
    i64::from(request.limit) + 1
}
