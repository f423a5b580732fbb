//! Models as Anthropic's clients read them, which say so by the header `anthropic-version`.

use axum::http::HeaderMap;
use frontdesk_api::{Error, clock::rfc3339, inference::Model};
use serde::Serialize;

use crate::http::paging::{AnthropicList, AnthropicPageQuery, Side};

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

/// # Errors
/// `Invalid` naming the parameter.
pub fn page(models: Vec<Model>, query: AnthropicPageQuery) -> frontdesk_api::Result<AnthropicList<AnthropicModel>> {
    let (limit, side) = query.read()?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let place = |param: &str, id: &str| {
        let unknown = || Error::invalid(param, format!("{param}: there is no model '{id}'"));
        models.iter().position(|model| model.id == id).ok_or_else(unknown)
    };
    let forward = |from: usize| (from, models.len().min(from + limit));
    let (from, to) = match &side {
        Side::Start => forward(0),
        Side::After(id) => forward(place("after_id", id)? + 1),
        Side::Before(id) => {
            let before = place("before_id", id)?;
            (before.saturating_sub(limit), before)
        }
    };
    let more = if matches!(side, Side::Before(_)) { from > 0 } else { to < models.len() };
    let data = models.into_iter().skip(from).take(to - from).map(AnthropicModel::from).collect();
    Ok(AnthropicList::of(data, more, |model: &AnthropicModel| &model.id))
}

#[cfg(test)]
mod tests {
    use frontdesk_api::inference::ModelKind;

    use super::*;

    fn model(id: &str) -> Model {
        let (id, kind) = (id.to_owned(), ModelKind::Llm);
        Model { upstream_id: id.clone(), id, provider: "up".into(), kind, created: 0, description: None }
    }

    fn paged(limit: u32, after: Option<&str>, before: Option<&str>) -> frontdesk_api::Result<(Vec<String>, bool)> {
        let query = AnthropicPageQuery {
            limit: Some(limit),
            after_id: after.map(str::to_owned),
            before_id: before.map(str::to_owned),
        };
        let list = page(["a", "b", "c", "d"].map(model).into(), query)?;
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
                paged(limit, after, before).expect("a page"),
                (want.into_iter().map(str::to_owned).collect(), more)
            );
        }
    }

    #[test]
    fn a_bad_page_names_its_parameter() {
        for (after, before, param) in
            [(Some("x"), None, "after_id"), (None, Some("x"), "before_id"), (Some("a"), Some("b"), "before_id")]
        {
            assert_eq!(paged(1, after, before).expect_err("refused").param.as_deref(), Some(param));
        }
    }
}
