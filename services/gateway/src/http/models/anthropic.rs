//! Models as Anthropic's clients read them, which say so by the header `anthropic-version`.

use axum::http::HeaderMap;
use frontdesk_api::{Error, clock::rfc3339, inference::Model};
use serde::{Deserialize, Serialize};

/// Whether the client reads Anthropic's shapes.
pub fn is_spoken(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

#[derive(Debug, PartialEq, Serialize)]
pub struct AnthropicModel {
    #[serde(rename = "type")]
    kind: &'static str,
    id: String,
    display_name: String,
    /// RFC 3339; 1970 where the provider does not say, as Anthropic does.
    created_at: String,
    lifecycle: &'static str,
}

impl From<Model> for AnthropicModel {
    fn from(model: Model) -> Self {
        Self {
            kind: "model",
            display_name: model.description.unwrap_or_else(|| model.id.clone()),
            id: model.id,
            created_at: rfc3339(model.created * 1_000_000),
            lifecycle: "active",
        }
    }
}

/// How Anthropic's clients page; other clients send none of it.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AnthropicPageQuery {
    /// With `anthropic-version` only: 1 to 1000, 20 where it is left out.
    limit: Option<usize>,
    /// With `anthropic-version` only: the id behind which the page begins.
    after_id: Option<String>,
    /// With `anthropic-version` only: the id before which the page ends.
    before_id: Option<String>,
}

#[derive(Debug, PartialEq, Serialize)]
pub struct AnthropicModelList {
    data: Vec<AnthropicModel>,
    first_id: Option<String>,
    last_id: Option<String>,
    has_more: bool,
}

impl AnthropicModelList {
    /// # Errors
    /// `Invalid` naming the parameter.
    pub fn page(models: Vec<Model>, query: &AnthropicPageQuery) -> frontdesk_api::Result<Self> {
        let limit = query.limit.unwrap_or(20);
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid("limit", format!("limit must be 1 to 1000, found {limit}")));
        }
        let place = |param: &str, id: &Option<String>| {
            let Some(id) = id else { return Ok(None) };
            let unknown = || Error::invalid(param, format!("{param}: there is no model '{id}'"));
            models.iter().position(|model| model.id == *id).map(Some).ok_or_else(unknown)
        };
        let (after, before) = (place("after_id", &query.after_id)?, place("before_id", &query.before_id)?);
        let (from, to) = match (after, before) {
            (Some(_), Some(_)) => {
                return Err(Error::invalid("before_id", "after_id and before_id cannot both be given"));
            }
            (_, Some(before)) => (before.saturating_sub(limit), before),
            (after, None) => {
                let from = after.map_or(0, |at| at + 1);
                (from, models.len().min(from + limit))
            }
        };
        let has_more = if before.is_some() { from > 0 } else { to < models.len() };
        let data: Vec<AnthropicModel> =
            models.into_iter().skip(from).take(to - from).map(AnthropicModel::from).collect();
        let id = |model: Option<&AnthropicModel>| model.map(|model| model.id.clone());
        Ok(Self { first_id: id(data.first()), last_id: id(data.last()), data, has_more })
    }
}

#[cfg(test)]
mod tests {
    use frontdesk_api::inference::ModelKind;

    use super::*;

    fn model(id: &str) -> Model {
        let (id, kind) = (id.to_owned(), ModelKind::Llm);
        Model { upstream_id: id.clone(), id, provider: "up".into(), kind, created: 0, description: None }
    }

    fn page(limit: usize, after: Option<&str>, before: Option<&str>) -> frontdesk_api::Result<(Vec<String>, bool)> {
        let query = AnthropicPageQuery {
            limit: Some(limit),
            after_id: after.map(str::to_owned),
            before_id: before.map(str::to_owned),
        };
        let list = AnthropicModelList::page(["a", "b", "c", "d"].map(model).into(), &query)?;
        assert_eq!(
            (&list.first_id, &list.last_id),
            (&list.data.first().map(|m| m.id.clone()), &list.data.last().map(|m| m.id.clone()))
        );
        Ok((list.data.into_iter().map(|model| model.id).collect(), list.has_more))
    }

    #[test]
    fn pages_go_on_both_ways_and_know_their_end() {
        for (limit, after, before, want, more) in [
            (3, None, None, vec!["a", "b", "c"], true),
            (3, Some("c"), None, vec!["d"], false),
            (3, Some("d"), None, vec![], false),
            (4, None, None, vec!["a", "b", "c", "d"], false),
            (2, None, Some("d"), vec!["b", "c"], true),
            (9, None, Some("b"), vec!["a"], false),
        ] {
            assert_eq!(
                page(limit, after, before).expect("a page"),
                (want.into_iter().map(str::to_owned).collect(), more)
            );
        }
    }

    #[test]
    fn a_bad_page_names_its_parameter() {
        for (limit, after, before, param) in [
            (0, None, None, "limit"),
            (1001, None, None, "limit"),
            (1, Some("x"), None, "after_id"),
            (1, Some("a"), Some("b"), "before_id"),
        ] {
            assert_eq!(page(limit, after, before).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
