//! A route as it is used: what an operator said of it, and what has been learnt about its targets.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use frontdesk_api::{Error, Inference, Result, chat::affinity};
use serde::Serialize;

use crate::{
    breaker::{Breaker, Shown},
    budget::Budget,
    gate::Gate,
    order::Rank,
    policy::{self, Affinity, Hedge, Retries, Route, Timeouts},
    time::mix,
};

pub(crate) struct Way {
    pub(crate) id: String,
    pub(crate) description: Option<String>,
    /// None: what the targets say themselves.
    pub(crate) context_window: Option<usize>,
    /// At least one.
    pub(crate) targets: Vec<Arc<Target>>,
    pub(crate) retries: Retries,
    pub(crate) timeouts: Timeouts,
    pub(crate) affinity: Affinity,
    pub(crate) hedge: Option<Hedge>,
    pub(crate) budget: Budget,
    /// An answer is the client's only once it has begun.
    pub(crate) may_move_on: bool,
}

/// Where a name leads.
pub(crate) struct Target {
    /// Id of the provider.
    pub(crate) provider: String,
    pub(crate) upstream_id: String,
    pub(crate) inference: Arc<dyn Inference>,
    pub(crate) rank: Rank,
    pub(crate) breaker: Breaker,
    pub(crate) gate: Arc<Gate>,
}

/// A target as people see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetInfo {
    /// The name that leads to it.
    pub route: String,
    /// Id of the provider.
    #[serde(skip)]
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// Answers under way, by whatever name they were asked for.
    pub in_flight: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<usize>,
    #[serde(flatten)]
    pub breaker: Shown,
}

/// The providers of the house by id.
pub(crate) type Providers = BTreeMap<String, Arc<dyn Inference>>;

impl Way {
    /// # Errors
    /// `Invalid` with a path below `at` (`models[1]`) where a target leads nowhere.
    pub(crate) fn new(route: Route, at: &str, providers: &Providers, gates: &Gates, now: Instant) -> Result<Self> {
        let ranked = route.targets.iter().any(|target| target.weight.is_some() || target.priority.is_some());
        let mut targets = vec![];
        for (i, target) in route.targets.iter().enumerate() {
            let (provider, upstream_id) = split(&target.model, &format!("{at}.targets[{i}].model"), providers)?;
            let in_order = if ranked { 0 } else { u32::try_from(i).unwrap_or(u32::MAX) };
            let rank = Rank {
                priority: target.priority.unwrap_or(in_order),
                weight: target.weight.unwrap_or(1),
                salt: mix(affinity(&target.model)),
            };
            targets.push(Arc::new(Target {
                inference: Arc::clone(&providers[provider]),
                provider: provider.to_owned(),
                upstream_id: upstream_id.to_owned(),
                rank,
                breaker: Breaker::new(route.breaker.clone(), now),
                gate: gates.of(&target.model),
            }));
        }
        Ok(Self {
            may_move_on: route.may_move_on(),
            budget: Budget::new(&route.retries),
            id: route.id,
            description: route.description,
            context_window: route.context_window,
            targets,
            retries: route.retries,
            timeouts: route.timeouts,
            affinity: route.affinity,
            hedge: route.hedge,
        })
    }

    pub(crate) fn shown(&self) -> impl Iterator<Item = TargetInfo> {
        self.targets.iter().map(|target| TargetInfo {
            route: self.id.clone(),
            provider: target.provider.clone(),
            model: target.upstream_id.clone(),
            in_flight: target.gate.in_flight(),
            max_in_flight: target.gate.max(),
            breaker: target.breaker.shown(),
        })
    }
}

fn split<'n>(name: &'n str, param: &str, providers: &Providers) -> Result<(&'n str, &'n str)> {
    name.split_once('/').filter(|(provider, rest)| providers.contains_key(*provider) && !rest.is_empty()).ok_or_else(
        || {
            let known = providers.keys().cloned().collect::<Vec<_>>().join(", ");
            let message = format!("'{name}' must be provider/model; the inference providers are: {known}");
            Error::invalid(param, message)
        },
    )
}

/// One gate for each model that a route names.
pub(crate) struct Gates(BTreeMap<String, Arc<Gate>>);

impl Gates {
    /// # Errors
    /// `Invalid` where two targets set different limits for one model.
    pub(crate) fn new(routes: &[Route]) -> Result<Self> {
        let mut limits: BTreeMap<&str, Option<usize>> = BTreeMap::new();
        for (i, route) in routes.iter().enumerate() {
            for (k, policy::Target { model, max_in_flight, .. }) in route.targets.iter().enumerate() {
                let limit = limits.entry(model).or_default();
                match (*limit, *max_in_flight) {
                    (Some(before), Some(now)) if before != now => {
                        let param = format!("models[{i}].targets[{k}].max_in_flight");
                        let message = format!("'{model}' has a limit of {before} elsewhere: a model has one limit");
                        return Err(Error::invalid(param, message));
                    }
                    (before, now) => *limit = before.or(now),
                }
            }
        }
        Ok(Self(limits.into_iter().map(|(model, max)| (model.to_owned(), Gate::new(max))).collect()))
    }

    fn of(&self, model: &str) -> Arc<Gate> {
        self.0.get(model).map_or_else(|| Gate::new(None), Arc::clone)
    }

    /// The models that have a limit.
    pub(crate) fn limited(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, gate)| gate.max().is_some()).map(|(model, _)| model.as_str())
    }
}
