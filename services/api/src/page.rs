//! Cursor paging: lists are ordered by id (ids sort by time), a cursor is the last id seen.

/// Direction of a list; newest first is what every client we serve defaults to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    Asc,
    #[default]
    Desc,
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Id after which (in `order`) the page begins; None: from the start.
    pub after: Option<String>,
    /// 1 to 100.
    pub limit: u32,
    pub order: Order,
}

impl Default for PageRequest {
    fn default() -> Self {
        Self { after: None, limit: 20, order: Order::default() }
    }
}

/// One page; `more` says whether another follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub more: bool,
}

impl<T> Page<T> {
    /// Builds a page from rows fetched with `limit + 1`.
    #[must_use]
    pub fn of(mut rows: Vec<T>, limit: u32) -> Self {
        let limit = limit as usize;
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self { items: rows, more }
    }
}
