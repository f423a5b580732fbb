//! What an operator may say about a route: its targets and how patient and how stubborn it is with them.
//!
//! Names follow what operators know: weight and priority (Envoy, LiteLLM's `order`), a retry budget (Finagle, Linkerd),
//! consecutive failures and a window (Envoy's outlier detection). Every value has a default that does no harm: no
//! retries, no limits of time or number, a breaker that opens when a target is plainly down.
//! Invariant: what is not in range is refused with its path (`models[1].retries.budget_percent`).

use std::time::Duration;

use frontdesk_api::{Error, Result};
use serde::Deserialize;

/// A name of the operator's that leads to models.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Without a slash, so that it never looks like `provider/model`.
    pub id: String,
    /// At least one.
    pub targets: Vec<Target>,
    /// For people: a note such as "demo model".
    #[serde(default)]
    pub description: Option<String>,
    /// Tokens of prompt and answer together that every target takes; None: what the targets say themselves.
    #[serde(default)]
    pub context_window: Option<usize>,
    #[serde(default)]
    pub retries: Retries,
    #[serde(default)]
    pub timeouts: Timeouts,
    #[serde(default)]
    pub breaker: Breaker,
    #[serde(default)]
    pub affinity: Affinity,
    /// None: no second target is asked while the first is at work.
    #[serde(default)]
    pub hedge: Option<Hedge>,
    /// None: no answer is kept.
    #[serde(default)]
    pub cache: Option<Cache>,
    /// None: equal requests at the same time are asked each for itself.
    #[serde(default)]
    pub coalesce: Option<Coalesce>,
}

/// A model that a route leads to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// `provider/model`.
    pub model: String,
    /// Share of the requests among targets of the same priority. 0: only when the others failed.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Lower numbers are asked first. Where no target of a route has a weight or a priority, the order of the list
    /// counts; else one without is of weight 1 and priority 0.
    #[serde(default)]
    pub priority: Option<u32>,
    /// Most answers under way at once, whatever name they were asked by. None: no limit.
    #[serde(default)]
    pub max_in_flight: Option<usize>,
}

/// Asking the same target again, before the answer has begun.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retries {
    /// Further attempts on the same target.
    pub max: u32,
    /// The first wait is a random time up to this; each further one up to twice the last bound.
    pub backoff_ms: u64,
    /// No wait is longer, a `Retry-After` included: one that asks for more sends the request to the next target.
    pub max_backoff_ms: u64,
    /// Retries and hedges may be this part of the route's requests, in percent …
    pub budget_percent: u32,
    /// … and beyond that so many a second.
    pub budget_min_per_s: u32,
}

impl Default for Retries {
    fn default() -> Self {
        // The budget is Linkerd's default (retryRatio 0.2, minRetriesPerSecond 10).
        Self { max: 0, backoff_ms: 250, max_backoff_ms: 5_000, budget_percent: 20, budget_min_per_s: 10 }
    }
}

/// Limits of time. None: no limit beyond the provider's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeouts {
    /// For a place, when every target that could answer is at `max_in_flight`.
    pub queue_ms: u64,
    /// From asking a target to the first content of its answer; then the next one is asked.
    pub first_token_ms: Option<u64>,
    /// Longest silence inside an answer.
    pub idle_ms: Option<u64>,
    /// For everything: all attempts, and the answer to its end.
    pub total_ms: Option<u64>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { queue_ms: 5_000, first_token_ms: None, idle_ms: None, total_ms: None }
    }
}

/// When a target is left alone for a while.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Breaker {
    /// After so many failures in a row; 0: never for that reason.
    pub failures: u32,
    /// Or after this part of the requests of a window failed, in percent; 0: never for that reason.
    pub failure_percent: u32,
    /// Fewer requests in a window say nothing about their part.
    pub min_requests: u32,
    pub window_ms: u64,
    /// For how long; then one request may try it.
    pub open_ms: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { failures: 5, failure_percent: 50, min_requests: 20, window_ms: 30_000, open_ms: 30_000 }
    }
}

/// Whether requests of one conversation go to one target, whose prompt cache knows their beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// By `x-frontdesk-session`, an agent's session, or the request's own `prompt_cache_key`, `user` or
    /// `metadata.user_id`.
    #[default]
    Session,
    /// Every request is dealt anew.
    None,
}

/// Asking a second target while the first is still silent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hedge {
    /// After so long without content. Both attempts may cost money.
    pub after_ms: u64,
}

/// Keeping whole answers, of chats, text completions and embeddings, for equal requests of the same tenant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// For how long an answer is kept.
    pub ttl_s: u64,
    /// Memory for the route's answers, in MiB, those included that are just being recorded; what was not asked for
    /// longest goes first.
    pub max_mb: usize,
    pub include: Vec<Include>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl_s: 3_600, max_mb: 64, include: vec![] }
    }
}

/// One answer for equal requests of a tenant that are under way at the same time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Coalesce {
    pub include: Vec<Include>,
}

/// Requests whose answers are kept or shared only where the operator says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Include {
    /// Whose temperature is not 0: asked again, the model would say it in other words.
    Sampled,
    /// That offer tools, or let the provider look things up.
    Tools,
    /// Of agents' turns. Turns have deadlines of their own and never wait for another's answer.
    Agents,
}

impl Route {
    /// A route that tries `targets` in this order.
    #[must_use]
    pub fn to(id: impl Into<String>, targets: &[&str]) -> Self {
        let target =
            |model: &&str| Target { model: (*model).to_owned(), weight: None, priority: None, max_in_flight: None };
        Self {
            id: id.into(),
            targets: targets.iter().map(target).collect(),
            description: None,
            context_window: None,
            retries: Retries::default(),
            timeouts: Timeouts::default(),
            breaker: Breaker::default(),
            affinity: Affinity::default(),
            hedge: None,
            cache: None,
            coalesce: None,
        }
    }

    /// Checks what types cannot say. `at`: the route's place in the configuration, `models[1]`.
    ///
    /// # Errors
    /// `Invalid` with a path below `at`.
    pub fn check(&self, at: &str) -> Result<()> {
        if self.id.is_empty() || self.id.contains('/') {
            let message = format!(
                "'{}' cannot be an alias: it must not be empty and have no '/' (that is provider/model)",
                self.id
            );
            return Err(Error::invalid(format!("{at}.id"), message));
        }
        if self.targets.is_empty() {
            let message = format!("the alias '{}' needs at least one target", self.id);
            return Err(Error::invalid(format!("{at}.targets"), message));
        }
        if self.targets.iter().all(|target| target.weight == Some(0)) {
            let message = "every target has weight 0: one must be asked first";
            return Err(Error::invalid(format!("{at}.targets"), message));
        }
        let zero = |key: &str, value: Option<u64>| match value {
            Some(0) => Err(Error::invalid(format!("{at}.{key}"), "must be at least 1, found 0")),
            _ => Ok(()),
        };
        for (i, target) in self.targets.iter().enumerate() {
            zero(&format!("targets[{i}].max_in_flight"), target.max_in_flight.map(|places| places as u64))?;
        }
        zero("context_window", self.context_window.map(|tokens| tokens as u64))?;
        zero("timeouts.first_token_ms", self.timeouts.first_token_ms)?;
        zero("timeouts.idle_ms", self.timeouts.idle_ms)?;
        zero("timeouts.total_ms", self.timeouts.total_ms)?;
        zero("breaker.window_ms", Some(self.breaker.window_ms))?;
        zero("breaker.open_ms", Some(self.breaker.open_ms))?;
        let percent = |key: &str, value: u32| match value {
            0..=100 => Ok(()),
            _ => Err(Error::invalid(format!("{at}.{key}"), format!("must be 0 to 100, found {value}"))),
        };
        percent("retries.budget_percent", self.retries.budget_percent)?;
        percent("breaker.failure_percent", self.breaker.failure_percent)?;
        if self.retries.budget_min_per_s > MOST_PER_S {
            let message = format!("must be 0 to {MOST_PER_S}, found {}", self.retries.budget_min_per_s);
            return Err(Error::invalid(format!("{at}.retries.budget_min_per_s"), message));
        }
        if let Some(Cache { ttl_s, max_mb, .. }) = &self.cache {
            let within = |key: &str, value: u64, most: u64| match value {
                0 => Err(Error::invalid(format!("{at}.cache.{key}"), "must be at least 1, found 0")),
                value if value > most => {
                    Err(Error::invalid(format!("{at}.cache.{key}"), format!("must be at most {most}, found {value}")))
                }
                _ => Ok(()),
            };
            within("ttl_s", *ttl_s, LONGEST_KEPT_S)?;
            within("max_mb", *max_mb as u64, MOST_MB)?;
        }
        if self.hedge.is_some() && self.targets.len() < 2 {
            let message = "a hedge needs a second target";
            return Err(Error::invalid(format!("{at}.hedge"), message));
        }
        Ok(())
    }

    /// Whether it keeps or shares answers.
    #[must_use]
    pub fn reuses(&self) -> bool {
        self.cache.is_some() || self.coalesce.is_some()
    }

    /// Whether anything can still be done about an answer that does not begin, so that its beginning is waited for.
    pub(crate) fn may_move_on(&self) -> bool {
        self.targets.len() > 1 || self.retries.max > 0 || self.timeouts.first_token_ms.is_some()
    }
}

/// Thirty days.
const LONGEST_KEPT_S: u64 = 30 * 24 * 3_600;

/// A mebi of MiB, so that sizes in bytes never overflow.
const MOST_MB: u64 = 1 << 20;

/// Far beyond any use: more would be no budget.
const MOST_PER_S: u32 = 10_000;

pub(crate) fn millis(ms: u64) -> Duration {
    Duration::from_millis(ms)
}
