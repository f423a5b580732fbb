//! Three ways to page through a list: OpenAI's cursor (`?after=ID&limit=N&order=asc|desc`), Anthropic's two
//! (`?after_id=ID` or `?before_id=ID`), and Llama Stack's window (`?start_index=N&limit=N`).

use frontdesk_api::{Error, Order, Page, PageRequest};
use serde::{Deserialize, Serialize};

/// The query of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Id after which the page begins.
    pub after: Option<String>,
    /// 1 to 100, and 20 where it is left out, unless the route says otherwise.
    pub limit: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    pub order: Option<String>,
}

impl PageQuery {
    /// # Errors
    /// `Invalid` naming the parameter.
    pub fn request(self) -> frontdesk_api::Result<PageRequest> {
        self.request_of(20, 100)
    }

    /// As [`PageQuery::request`], of a list whose pages have another size: where nothing is said, and at most.
    ///
    /// # Errors
    /// As there.
    pub fn request_of(self, default: u32, most: u32) -> frontdesk_api::Result<PageRequest> {
        let limit = self.limit.unwrap_or(default);
        if !(1..=most).contains(&limit) {
            return Err(Error::invalid("limit", format!("limit must be 1 to {most}, found {limit}")));
        }
        let order = match self.order.as_deref() {
            None | Some("desc") => Order::Desc,
            Some("asc") => Order::Asc,
            Some(other) => {
                return Err(Error::invalid("order", format!("order must be 'asc' or 'desc', found '{other}'")));
            }
        };
        Ok(PageRequest { after: self.after.filter(|id| !id.is_empty()), limit, order })
    }
}

/// One page on the wire.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct List<T> {
    #[schema(example = "list")]
    pub object: &'static str,
    pub data: Vec<T>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    pub has_more: bool,
}

impl<T> List<T> {
    /// Shows a page; `id` names an item.
    pub fn of<R>(page: Page<R>, show: impl Fn(R) -> T, id: impl Fn(&T) -> &str) -> Self {
        let data: Vec<T> = page.items.into_iter().map(show).collect();
        let (first_id, last_id) = (data.first().map(|t| id(t).to_owned()), data.last().map(|t| id(t).to_owned()));
        Self { object: "list", data, first_id, last_id, has_more: page.more }
    }
}

/// The query of a list of Anthropic's; other clients send none of it.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnthropicPageQuery {
    /// For Anthropic's clients: 1 to 1000, 20 where it is left out.
    pub limit: Option<u32>,
    /// For Anthropic's clients: the id behind which the page begins.
    pub after_id: Option<String>,
    /// For Anthropic's clients: the id before which the page ends.
    pub before_id: Option<String>,
}

/// Which page of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Start,
    /// Behind this id.
    After(String),
    /// Up to this id, which is not on it.
    Before(String),
}

impl AnthropicPageQuery {
    /// How many, and where.
    ///
    /// # Errors
    /// `Invalid` naming the parameter.
    pub fn read(self) -> frontdesk_api::Result<(u32, Side)> {
        let limit = self.limit.unwrap_or(20);
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid("limit", format!("limit must be 1 to 1000, found {limit}")));
        }
        let side = match (self.after_id, self.before_id) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("before_id", "after_id and before_id cannot both be given"));
            }
            (Some(after), None) => Side::After(after),
            (None, Some(before)) => Side::Before(before),
            (None, None) => Side::Start,
        };
        Ok((limit, side))
    }
}

/// One page of a list of Anthropic's.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AnthropicList<T> {
    pub data: Vec<T>,
    pub first_id: Option<String>,
    pub last_id: Option<String>,
    /// Whether there is more on the side that the page was asked for.
    pub has_more: bool,
}

impl<T> AnthropicList<T> {
    /// `id` names an item.
    pub fn of(data: Vec<T>, has_more: bool, id: impl Fn(&T) -> &str) -> Self {
        let (first_id, last_id) = (data.first().map(|t| id(t).to_owned()), data.last().map(|t| id(t).to_owned()));
        Self { data, first_id, last_id, has_more }
    }
}

/// The query of a Llama Stack list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WindowQuery {
    /// How many of the newest are left out; 0 where it is left out.
    pub start_index: Option<u32>,
    /// 1 to 100; 100 where it is left out.
    pub limit: Option<u32>,
}

/// Part of a list as Llama Stack shows it (`PaginatedResponse`).
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Window<T> {
    pub data: Vec<T>,
    pub has_more: bool,
    /// Always null.
    pub url: Option<String>,
}

impl<T> Window<T> {
    pub fn map<R>(self, show: impl FnMut(T) -> R) -> Window<R> {
        Window { data: self.data.into_iter().map(show).collect(), has_more: self.has_more, url: self.url }
    }
}

/// Reads the part of a list that `query` asks for, newest first.
///
/// # Errors
/// `Invalid` naming the parameter; what `fetch` says.
pub async fn window<T, F: Future<Output = frontdesk_api::Result<Page<T>>>>(
    query: WindowQuery,
    fetch: impl Fn(PageRequest) -> F,
    id: impl Fn(&T) -> &str,
) -> frontdesk_api::Result<Window<T>> {
    let limit = query.limit.unwrap_or(100);
    if !(1..=100).contains(&limit) {
        return Err(Error::invalid("limit", format!("limit must be 1 to 100, found {limit}")));
    }
    let mut skip = query.start_index.unwrap_or(0);
    let mut after = None;
    // Rows are found by cursor; what lies before the window is walked over.
    while skip > 0 {
        let page = fetch(PageRequest { after: after.clone(), limit: skip.min(100), order: Order::Desc }).await?;
        skip = skip.saturating_sub(u32::try_from(page.items.len()).unwrap_or(u32::MAX));
        after = page.items.last().map(|item| id(item).to_owned()).or(after);
        if !page.more {
            return Ok(Window { data: vec![], has_more: false, url: None });
        }
    }
    let page = fetch(PageRequest { after, limit, order: Order::Desc }).await?;
    Ok(Window { data: page.items, has_more: page.more, url: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_cannot_be_asked_for_names_its_parameter() {
        for (query, param) in [
            (PageQuery { limit: Some(0), ..PageQuery::default() }, "limit"),
            (PageQuery { limit: Some(101), ..PageQuery::default() }, "limit"),
            (PageQuery { order: Some("up".into()), ..PageQuery::default() }, "order"),
        ] {
            assert_eq!(query.request().expect_err("out of range").param.as_deref(), Some(param));
        }
        let all =
            PageQuery { after: Some(String::new()), order: Some("asc".into()), limit: None }.request().expect("fine");
        assert_eq!(all, PageRequest { after: None, limit: 20, order: Order::Asc });
    }

    #[test]
    fn a_page_of_anthropics_has_one_side() {
        let read = |limit, after: Option<&str>, before: Option<&str>| {
            let [after_id, before_id] = [after, before].map(|id| id.map(str::to_owned));
            AnthropicPageQuery { limit, after_id, before_id }.read().map_err(|e| e.param.unwrap_or_default())
        };
        assert_eq!(read(None, None, None), Ok((20, Side::Start)));
        assert_eq!(read(Some(1000), Some("a"), None), Ok((1000, Side::After("a".into()))));
        assert_eq!(read(Some(1), None, Some("a")), Ok((1, Side::Before("a".into()))));
        assert_eq!(read(Some(0), None, None), Err("limit".into()));
        assert_eq!(read(Some(1001), None, None), Err("limit".into()));
        assert_eq!(read(None, Some("a"), Some("b")), Err("before_id".into()));
    }

    #[tokio::test]
    async fn a_window_leaves_out_the_newest_and_says_whether_more_follows() {
        // 250 ids, newest (largest) first.
        let fetch = |page: PageRequest| async move {
            let before = page.after.as_deref().map_or(251, |id| id.parse::<u32>().expect("an id"));
            let rows = (1..before).rev().map(|n| n.to_string()).take(page.limit as usize + 1).collect();
            Ok(Page::of(rows, page.limit))
        };
        for (start, limit, first, count, more) in [
            (0, 100, Some("250"), 100, true),
            (120, 2, Some("130"), 2, true),
            (240, 100, Some("10"), 10, false),
            (250, 5, None, 0, false),
            (900, 5, None, 0, false),
        ] {
            let query = WindowQuery { start_index: Some(start), limit: Some(limit) };
            let window = window(query, fetch, |id| id.as_str()).await.expect("a window");
            let seen = (window.data.first().map(String::as_str), window.data.len(), window.has_more);
            assert_eq!(seen, (first, count, more), "from {start}, at most {limit}");
        }
    }
}
