//! What each model of this installation charges.
//!
//! The table of vendors' list prices is compiled in (`prices.toml`); the operator's own prices go before it, and
//! what runs here costs nothing. A model that neither names has no price: its calls are counted, and their cost
//! is unknown rather than zero. Invariant: a table is never guessed from: a name finds its own entry, or that of
//! the model it is a dated variant of, or nothing.

use std::collections::HashMap;

use frontdesk_api::{Error, Micros, Result};
use serde::Deserialize;

use crate::price::{Nano, Price};

const TABLE: &str = include_str!("../prices.toml");

/// Microseconds in a day.
pub(crate) const DAY: Micros = 86_400_000_000;

/// A configured provider of models, as far as its prices depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    pub id: &'a str,
    /// The `type:` in the configuration.
    pub kind: &'a str,
    /// None: the vendor's own address.
    pub base_url: Option<&'a str>,
}

/// A price of the operator's: in numbers, or that of a listed model.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Override {
    /// `provider/model`; with `*` at its end, all models that begin so.
    pub model: String,
    #[serde(default)]
    pub price: Option<Price>,
    /// `openai/gpt-4o`: a provider type and a model of the compiled-in table, whose prices it has, dates included.
    #[serde(default)]
    pub like: Option<String>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Prices {
    /// By provider id.
    lists: HashMap<String, List>,
    /// Names of routes → the target that answers while all is well.
    routes: HashMap<String, (String, String)>,
}

/// The prices of one provider.
#[derive(Debug, Default)]
struct List {
    own: HashMap<String, Vec<Dated>>,
    /// Beginnings of names, the longest first.
    own_prefixes: Vec<(String, Vec<Dated>)>,
    vendor: HashMap<String, Vec<Dated>>,
    free: bool,
}

/// A price and the day it begins to hold, as a count of days since 1970; 0: always.
#[derive(Debug, Clone)]
struct Dated {
    from: i64,
    price: Price,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    vendor: Vec<Vendor>,
}

/// Models of one vendor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vendor {
    /// The provider type that reaches it.
    provider: String,
    /// Where it is reached, when that is not the only address of this type.
    #[serde(default)]
    hosts: Vec<String>,
    /// Where the prices are from, and when they were read; for people.
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "read")]
    _read: String,
    /// It runs here and costs nothing.
    #[serde(default)]
    free: bool,
    #[serde(default)]
    models: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    id: String,
    /// First day of this price (`2027-01-01`, UTC); left out: it holds already.
    #[serde(default)]
    from: Option<String>,
    price: Price,
}

impl Prices {
    /// The prices of these providers. `routes` are names with the `provider/model` they lead to first.
    ///
    /// # Errors
    /// `Invalid` naming the key: `prices[0].model` when a price is for no provider there is, `prices[0].like` when the
    /// table has no such model or numbers stand beside it, `prices[0].price` when neither is there.
    pub fn new(providers: &[Provider<'_>], routes: &[(String, String)], own: &[Override]) -> Result<Self> {
        let table: Table = toml::from_str(TABLE).map_err(|e| Error::internal("could not read the price table", e))?;
        let mut prices = Self::default();
        for provider in providers {
            prices.lists.insert(provider.id.to_owned(), table.list(|vendor| vendor.is(provider))?);
        }
        for (i, own) in own.iter().enumerate() {
            let costs = table.costs(i, own)?;
            prices.put(i, own, costs)?;
        }
        for (name, target) in routes {
            if let Some((provider, model)) = target.split_once('/') {
                prices.routes.insert(name.clone(), (provider.to_owned(), model.to_owned()));
            }
        }
        Ok(prices)
    }

    fn put(&mut self, i: usize, own: &Override, costs: Vec<Dated>) -> Result<()> {
        let found = own.model.split_once('/').filter(|(_, model)| !model.is_empty());
        let list = found.and_then(|(provider, model)| Some((self.lists.get_mut(provider)?, model)));
        let Some((list, model)) = list else {
            let mut known: Vec<&str> = self.lists.keys().map(String::as_str).collect();
            known.sort_unstable();
            let key = format!("prices[{i}].model");
            let message = format!(
                "{key}: '{}' must be provider/model; the inference providers are: {}",
                own.model,
                known.join(", ")
            );
            return Err(Error::invalid(key, message));
        };
        match model.strip_suffix('*') {
            Some(prefix) => {
                list.own_prefixes.push((prefix.to_owned(), costs));
                list.own_prefixes.sort_by_key(|(prefix, _)| std::cmp::Reverse(prefix.len()));
            }
            None => {
                list.own.insert(model.to_owned(), costs);
            }
        }
        Ok(())
    }

    /// What a provider's model costs at `now`; None: nobody said.
    #[must_use]
    pub fn find(&self, provider: &str, model: &str, now: Micros) -> Option<&Price> {
        let list = self.lists.get(provider)?;
        let begun = || list.own_prefixes.iter().find(|(prefix, _)| model.starts_with(prefix)).map(|(_, own)| own);
        let dated = match list.own.get(model).or_else(begun) {
            Some(own) => own,
            None if list.free => return Some(const { &Price::FREE }),
            None => list.listed(model)?,
        };
        let today = now.div_euclid(DAY);
        dated.iter().rev().find(|dated| dated.from <= today).map(|dated| &dated.price)
    }

    /// The provider and model that a name most likely leads to, before anyone was asked.
    pub(crate) fn guess<'a>(&'a self, asked: &'a str) -> Option<(&'a str, &'a str)> {
        if let Some((provider, model)) = self.routes.get(asked) {
            return Some((provider, model));
        }
        asked.split_once('/').filter(|(provider, _)| self.lists.contains_key(*provider))
    }

    /// A cost at list price; None: the model has none.
    pub(crate) fn cost(
        &self,
        provider: &str,
        model: &str,
        usage: &frontdesk_api::chat::Usage,
        now: Micros,
    ) -> Option<Nano> {
        self.find(provider, model, now).map(|price| price.cost(usage))
    }
}

impl Table {
    /// The list prices of the vendors that `are` meant.
    ///
    /// # Errors
    /// `Internal` when a price has no good date.
    fn list(&self, are: impl Fn(&Vendor) -> bool) -> Result<List> {
        let mut list = List::default();
        for vendor in self.vendor.iter().filter(|vendor| are(vendor)) {
            list.free |= vendor.free;
            for listed in &vendor.models {
                let from = listed.from.as_deref().map_or(Ok(0), day)?;
                let dated = list.vendor.entry(listed.id.clone()).or_default();
                dated.push(Dated { from, price: listed.price.clone() });
                dated.sort_by_key(|dated| dated.from);
            }
        }
        Ok(list)
    }

    /// What the operator says that a model costs.
    ///
    /// # Errors
    /// As [`Prices::new`].
    fn costs(&self, i: usize, own: &Override) -> Result<Vec<Dated>> {
        let wrong = |member: &str, message: &str| {
            let key = format!("prices[{i}].{member}");
            Err(Error::invalid(key.clone(), format!("{key}: {message}")))
        };
        let name = match (&own.price, &own.like) {
            (Some(price), None) => return Ok(vec![Dated { from: 0, price: price.clone() }]),
            (None, Some(name)) => name,
            (Some(_), Some(_)) => return wrong("like", "write price or like, not both"),
            (None, None) => {
                return wrong("price", "is missing: write price, or like with a model of the list prices");
            }
        };
        if let Some((kind, model)) = name.split_once('/') {
            let list = self.list(|vendor| vendor.provider == kind)?;
            if let Some(dated) = list.listed(model) {
                return Ok(dated.clone());
            }
        }
        let of = |vendor: &Vendor| vendor.models.iter().map(|m| format!("{}/{}", vendor.provider, m.id)).collect();
        let mut known: Vec<String> = self.vendor.iter().flat_map(|vendor| -> Vec<String> { of(vendor) }).collect();
        known.dedup();
        let tail = |name: &str| name.rsplit_once('/').map_or(name.to_owned(), |(_, tail)| tail.to_owned());
        // The whole, or the model alone where the vendor is another or left out.
        let likeness =
            |known: &String| strsim::jaro_winkler(known, name).max(strsim::jaro_winkler(&tail(known), &tail(name)));
        known.sort_by(|a, b| likeness(b).total_cmp(&likeness(a)));
        known.truncate(3);
        wrong("like", &format!("the list prices have no '{name}'; the nearest are: {}", known.join(", ")))
    }
}

impl List {
    /// The vendor's prices of a model, or of what it is a dated variant of.
    fn listed(&self, model: &str) -> Option<&Vec<Dated>> {
        let mut name = Some(model.strip_prefix("models/").unwrap_or(model));
        while let Some(tried) = name {
            if let Some(dated) = self.vendor.get(tried) {
                return Some(dated);
            }
            name = undated(tried);
        }
        None
    }
}

impl Vendor {
    fn is(&self, provider: &Provider<'_>) -> bool {
        let host = provider.base_url.map(host);
        self.provider == provider.kind
            && host.is_none_or(|host| self.hosts.is_empty() || self.hosts.iter().any(|own| own == host))
    }
}

/// The host of an address.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let named = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    named.split(':').next().unwrap_or_default()
}

/// The name that a dated or "latest" variant is a variant of: `m-2025-08-07`, `m-20250807`, `m-0613`, `m-latest`.
/// A short number is a version (`m-4`, `m-4-5`) and no date.
fn undated(name: &str) -> Option<&str> {
    let (front, last) = name.rsplit_once(['-', '@'])?;
    let digits = |part: &str, long: usize| part.len() == long && part.bytes().all(|b| b.is_ascii_digit());
    if last == "latest" || digits(last, 8) || digits(last, 4) {
        return Some(front);
    }
    if !digits(last, 2) {
        return None;
    }
    let (front, month) = front.rsplit_once('-')?;
    let (front, year) = if digits(month, 2) { front.rsplit_once('-')? } else { return None };
    digits(year, 4).then_some(front)
}

/// `2027-01-01` as a count of days since 1970.
///
/// # Errors
/// `Internal` when it is no date.
fn day(text: &str) -> Result<i64> {
    let wrong = || Error::new(frontdesk_api::Kind::Internal, format!("the price table has no date in '{text}'"));
    frontdesk_api::clock::day(text).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-27.
    const NOW: Micros = 20_784 * DAY;

    fn provider<'a>(id: &'a str, kind: &'a str, base_url: Option<&'a str>) -> Provider<'a> {
        Provider { id, kind, base_url }
    }

    fn input(prices: &Prices, provider: &str, model: &str, now: Micros) -> Option<u64> {
        prices.find(provider, model, now).map(|price| price.input)
    }

    #[test]
    fn the_table_reads_and_every_price_makes_sense() {
        let table: Table = toml::from_str(TABLE).expect("TOML");
        let all: Vec<(&str, &Price)> =
            table.vendor.iter().flat_map(|v| &v.models).map(|m| (m.id.as_str(), &m.price)).collect();
        assert!(all.len() > 30, "{}", all.len());
        for (id, price) in all {
            // 1 cent to 1,000 dollars a million: a slipped zero falls out of it.
            assert!((10_000..=1_000_000_000).contains(&price.input), "{id}");
            assert!(price.cached_input.is_none_or(|cached| cached < price.input), "{id}");
            assert!(price.cache_write.is_none_or(|write| write > price.input), "{id}");
            assert!(price.output == 0 || price.output > price.input, "{id}");
            assert!(
                price.over.as_ref().is_none_or(|o| o.above > 0 && o.input > price.input && o.output > price.output),
                "{id}"
            );
        }
    }

    #[test]
    fn a_name_finds_its_own_price_or_that_of_what_it_is_a_dated_variant_of() {
        let prices = Prices::new(
            &[provider("o", "openai", Some("https://api.openai.com/v1")), provider("c", "anthropic", None)],
            &[],
            &[],
        )
        .expect("prices");
        assert_eq!(input(&prices, "o", "gpt-4o-mini", NOW), Some(150_000));
        assert_eq!(input(&prices, "o", "gpt-4o-mini-2024-07-18", NOW), Some(150_000));
        assert_eq!(input(&prices, "o", "gpt-4-0613", NOW), Some(30_000_000));
        assert_eq!(input(&prices, "c", "claude-haiku-4-5-20251001", NOW), Some(1_000_000));
        assert_eq!(input(&prices, "c", "claude-opus-4-20250514", NOW), Some(15_000_000));
        // Another version, another model, a fine-tune: never the price of its neighbour.
        for stranger in ["claude-opus-4-9", "claude-opus-4-55", "claude-haiku-9"] {
            assert_eq!(input(&prices, "c", stranger, NOW), None, "{stranger}");
        }
        for stranger in ["gpt-4o-maxi", "ft:gpt-4o-mini:shop", "", "-", "latest", "2024-07-18", "gpt-4o-mini-18"] {
            assert_eq!(input(&prices, "o", stranger, NOW), None, "{stranger}");
        }
        assert_eq!(input(&prices, "nobody", "gpt-4o", NOW), None);
    }

    #[test]
    fn another_server_of_the_same_type_has_no_list_prices_and_what_runs_here_none_to_pay() {
        let vllm = provider("v", "openai", Some("http://user@127.0.0.1:8000/v1?x"));
        let own = [provider("l", "mistralrs", None), provider("e", "embeddings", None)];
        let prices = Prices::new(&[[vllm].as_slice(), &own].concat(), &[], &[]).expect("prices");
        assert_eq!(input(&prices, "v", "gpt-4o", NOW), None);
        for id in ["l", "e"] {
            assert_eq!(prices.find(id, "anything", NOW), Some(&Price::FREE));
        }
    }

    #[test]
    fn the_operators_prices_go_first_the_longest_name_before_shorter_ones() {
        let own = |model: &str, input| Override {
            model: model.into(),
            price: Some(Price { input, ..Price::FREE }),
            like: None,
        };
        let all = [own("o/gpt-4o", 1), own("o/*", 2), own("o/gpt-5*", 3), own("l/big", 4)];
        let providers = [provider("o", "openai", None), provider("l", "mistralrs", None)];
        let prices = Prices::new(&providers, &[("fast".into(), "o/gpt-4o".into())], &all).expect("prices");
        for (model, price) in [("gpt-4o", 1), ("gpt-4o-mini", 2), ("gpt-5.4", 3)] {
            assert_eq!(input(&prices, "o", model, NOW), Some(price), "{model}");
        }
        assert_eq!((input(&prices, "l", "big", NOW), input(&prices, "l", "small", NOW)), (Some(4), Some(0)));
        assert_eq!((prices.guess("fast"), prices.guess("o/x/y")), (Some(("o", "gpt-4o")), Some(("o", "x/y"))));
        assert_eq!((prices.guess("x"), prices.guess("no/x")), (None, None));
        let refused = Prices::new(&providers, &[], &[own("x/gpt", 1)]).expect_err("no such provider");
        assert_eq!(refused.param.as_deref(), Some("prices[0].model"));
        assert!(refused.message.ends_with("are: l, o"), "{}", refused.message);
    }

    #[test]
    fn a_price_that_changes_holds_from_its_day() {
        let prices = Prices::new(&[provider("g", "gemini", None)], &[], &[]).expect("prices");
        // The last microsecond of 2026, and the next.
        let turn = 20_819 * DAY;
        assert_eq!(input(&prices, "g", "models/gemini-3.8-flash", turn - 1), Some(750_000));
        assert_eq!(input(&prices, "g", "gemini-3.8-flash", turn), Some(1_500_000));
    }

    #[test]
    fn a_model_of_another_name_costs_what_the_listed_one_does_with_its_dates_and_its_longer_prompts() {
        let like = |model: &str, like: &str| Override { model: model.into(), price: None, like: Some(like.into()) };
        let providers = [
            provider("azure", "openai", Some("https://r.openai.azure.com/openai/v1")),
            provider("aws", "bedrock", None),
            provider("o", "openai", None),
            provider("v", "vertex", None),
        ];
        let all = [
            like("azure/desk-eu", "openai/gpt-4o"),
            like("aws/eu.anthropic.claude-opus-4-5*", "anthropic/claude-opus-4-5-20251101"),
            like("azure/long", "openai/gpt-6-luna"),
            like("v/flash", "gemini/gemini-3.8-flash"),
            // Before the vendor's own entry, as numbers are.
            like("o/gpt-4o", "openai/gpt-4o-mini"),
        ];
        let prices = Prices::new(&providers, &[], &all).expect("prices");
        assert_eq!(input(&prices, "azure", "desk-eu", NOW), Some(2_500_000));
        assert_eq!(input(&prices, "azure", "gpt-4o", NOW), None, "only what was named");
        assert_eq!(input(&prices, "aws", "eu.anthropic.claude-opus-4-5-20251101-v1:0", NOW), Some(5_000_000));
        assert_eq!(input(&prices, "o", "gpt-4o", NOW), Some(150_000));
        let turn = 20_819 * DAY;
        assert_eq!(input(&prices, "v", "flash", turn - 1), Some(750_000));
        assert_eq!(input(&prices, "v", "flash", turn), Some(1_500_000));
        let usage = frontdesk_api::chat::Usage { input_tokens: 300_000, ..Default::default() };
        // 300 000 × 0.20 dollars a million.
        assert_eq!(prices.cost("azure", "long", &usage, NOW), Some(60_000_000));
    }

    #[test]
    fn a_price_says_one_thing_and_a_likeness_names_a_listed_model() {
        let refused = |price: Option<Price>, like: Option<&str>| {
            let own = [Override { model: "o/m".into(), price, like: like.map(str::to_owned) }];
            let error = Prices::new(&[provider("o", "openai", None)], &[], &own).expect_err("a wrong price");
            (error.param.expect("a key"), error.message)
        };
        let both = refused(Some(Price::FREE), Some("openai/gpt-4o"));
        assert_eq!(both, ("prices[0].like".into(), "prices[0].like: write price or like, not both".into()));
        let (key, message) = refused(None, None);
        assert!(key == "prices[0].price" && message.contains("write price, or like"), "{key}: {message}");
        for (name, near) in [
            ("openai/gpt-4p", "openai/gpt-4o"),
            ("opanai/gpt-4.1-mini", "openai/gpt-4.1-mini"),
            ("claude-opus-4-5", "anthropic/claude-opus-4-5"),
            // What runs here has no list.
            ("mistralrs/gpt-4o", "openai/gpt-4o"),
        ] {
            let (key, message) = refused(None, Some(name));
            assert_eq!(key, "prices[0].like");
            assert!(
                message.contains(&format!("no '{name}'; the nearest are: ")) && message.contains(near),
                "{message}"
            );
        }
    }
}
