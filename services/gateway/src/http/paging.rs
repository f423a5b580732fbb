//! OpenAI's cursor paging: `?after=ID&limit=N&order=asc|desc`.

use frontdesk_api::{Error, Order, Page, PageRequest};
use serde::{Deserialize, Serialize};

/// The query of a list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Id after which the page begins.
    pub after: Option<String>,
    /// 1 to 100; 20 where it is left out.
    pub limit: Option<u32>,
    /// `desc` (newest first, the default) or `asc`.
    pub order: Option<String>,
}

impl PageQuery {
    /// # Errors
    /// `Invalid` naming the parameter.
    pub fn request(self) -> frontdesk_api::Result<PageRequest> {
        let limit = self.limit.unwrap_or(20);
        if !(1..=100).contains(&limit) {
            return Err(Error::invalid("limit", format!("limit must be 1 to 100, found {limit}")));
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
}
