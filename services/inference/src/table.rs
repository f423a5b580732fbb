//! Names to where they lead.
//!
//! Look-up order: alias or route (no slash) → `provider/rest`, split at the first slash → a bare upstream id if exactly
//! one provider has it → not found, with the nearest names. A model whose number of answers is limited has a way of its
//! own under its full name, so that the limit holds by every name.

use std::{collections::BTreeMap, sync::Arc};

use frontdesk_api::{
    Error, Inference, Result,
    inference::{Model, ModelKind},
};

use crate::{
    LONGEST,
    catalog::{Catalog, ListInfo},
    policy::Route,
    time::Time,
    way::{Gates, Providers, TargetInfo, Way},
};

pub(crate) struct Table {
    pub(crate) providers: Providers,
    ways: BTreeMap<String, Way>,
    catalog: Catalog,
}

/// Where a name leads.
pub(crate) enum Found<'t> {
    Way(&'t Way),
    /// To one model, of which nothing is configured.
    Plain(&'t Arc<dyn Inference>, Name),
}

/// A model's name in two parts.
pub(crate) struct Name {
    pub(crate) provider: String,
    pub(crate) upstream_id: String,
}

impl Table {
    /// # Errors
    /// `Invalid` with the configuration path (`models[1].targets[0].model`).
    pub(crate) fn new(providers: Providers, routes: Vec<Route>, time: &Arc<dyn Time>) -> Result<Self> {
        let now = time.now();
        let gates = Gates::new(&routes)?;
        let limited: Vec<String> = gates.limited().map(str::to_owned).collect();
        let mut ways = BTreeMap::new();
        for (i, route) in routes.into_iter().enumerate() {
            let at = format!("models[{i}]");
            route.check(&at)?;
            let way = Way::new(route, &at, &providers, &gates, now)?;
            if ways.contains_key(&way.id) {
                let message = format!("the id '{}' stands twice; ids are unique within models", way.id);
                return Err(Error::invalid(format!("{at}.id"), message));
            }
            ways.insert(way.id.clone(), way);
        }
        for model in limited {
            let own = Way::new(Route::to(&model, &[&model]), &model, &providers, &gates, now)?;
            ways.insert(model, own);
        }
        let catalog = Catalog::new(&providers, Arc::clone(time));
        Ok(Self { providers, ways, catalog })
    }

    /// Where a name leads that says so itself: a route, or `provider/rest`.
    pub(crate) fn written(&self, name: &str) -> Option<Found<'_>> {
        if let Some(way) = self.ways.get(name) {
            return Some(Found::Way(way));
        }
        let (provider, rest) = name.split_once('/').filter(|(_, rest)| !rest.is_empty())?;
        let inference = self.providers.get(provider)?;
        let name = Name { provider: provider.to_owned(), upstream_id: rest.to_owned() };
        Some(Found::Plain(inference, name))
    }

    /// Where any name leads.
    ///
    /// # Errors
    /// `NotFound` with the nearest names; `Invalid` where several providers have it, or it is longer than a name may be.
    pub(crate) async fn find(&self, name: &str) -> Result<Found<'_>> {
        // Names are counted by in the metrics, written to logs, and sent back in headers.
        if name.len() > LONGEST && name.chars().count() > LONGEST {
            return Err(Error::invalid("model", format!("'model' must have at most {LONGEST} characters")));
        }
        if let Some(found) = self.written(name) {
            return Ok(found);
        }
        let models = self.catalog.models().await;
        let same: Vec<&Model> = models.iter().filter(|m| m.upstream_id == name).collect();
        match same.as_slice() {
            [one] => self.written(&one.id).ok_or_else(|| self.unknown(name, &models)),
            [] => Err(self.unknown(name, &models)),
            many => {
                let ids = many.iter().map(|m| m.id.as_str()).collect::<Vec<_>>().join(", ");
                let message = format!("model '{name}' is offered by several providers: use one of {ids}");
                Err(Error::invalid("model", message))
            }
        }
    }

    /// Routes, then what the providers list.
    pub(crate) async fn models(&self) -> Vec<Model> {
        let models = self.catalog.models().await;
        let routes = self.routes().map(|way| {
            let first = way.targets.first().map(|t| format!("{}/{}", t.provider, t.upstream_id)).unwrap_or_default();
            // A route does what its models do.
            let kind = models.iter().find(|model| model.id == first).map_or(ModelKind::Llm, |model| model.kind);
            let (id, description) = (way.id.clone(), way.description.clone());
            Model { id, provider: String::new(), upstream_id: first, kind, created: 0, description }
        });
        routes.chain(models.iter().cloned()).collect()
    }

    /// How the list of a provider is.
    pub(crate) fn list(&self, provider: &str) -> Option<ListInfo> {
        self.catalog.shown(provider)
    }

    pub(crate) fn targets(&self) -> Vec<TargetInfo> {
        self.routes().flat_map(Way::shown).collect()
    }

    fn routes(&self) -> impl Iterator<Item = &Way> {
        self.ways.values().filter(|way| !way.id.contains('/'))
    }

    /// A provider's "not found" with the nearest names, where the provider lists models and not this one.
    pub(crate) async fn explained(&self, asked: &str, error: Error) -> Error {
        let models = self.catalog.models().await;
        let provider = asked.split_once('/').map_or("", |(provider, _)| provider);
        let mut listed = models.iter().filter(|m| m.provider == provider).peekable();
        if listed.peek().is_none() || listed.any(|m| m.id == asked) {
            return error;
        }
        let unknown = self.unknown(asked, &models);
        let (tried, message) =
            (error.tried.clone(), format!("{}; '{provider}' says: {}", unknown.message, error.message));
        Error { source: Some(error.into()), tried, message, ..unknown }
    }

    fn unknown(&self, name: &str, models: &[Model]) -> Error {
        let names = self.routes().map(|way| way.id.as_str()).chain(models.iter().map(|m| m.id.as_str()));
        let likeness = |known: &str| {
            let tail = known.split_once('/').map_or(known, |(_, rest)| rest);
            strsim::jaro_winkler(known, name).max(strsim::jaro_winkler(tail, name))
        };
        let mut near: Vec<(f64, &str)> = names.map(|known| (likeness(known), known)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let near: Vec<&str> = near.into_iter().take(3).map(|(_, known)| known).collect();
        let hint = match near.as_slice() {
            [] => "no model is available: configure a provider, see 'frontdesk doctor'".to_owned(),
            some => format!("the nearest are: {}", some.join(", ")),
        };
        let message = format!("model '{name}' does not exist; {hint}");
        Error::not_found(message).with_param("model").with_code("model_not_found")
    }
}
