//! `frontdesk usage`: what models were used and what they cost, as a table.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use frontdesk_api::{Error, Result, clock::rfc3339};
use reqwest::Method;
use serde_json::Value;

use super::{
    Place,
    remote::{Remote, running},
    say, table,
};

#[derive(Args)]
pub(super) struct Usage {
    #[command(flatten)]
    place: Place,
    /// An admin key
    #[arg(long, env = "FRONTDESK_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// The server's address; without it, the one that runs on this data folder
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// What calls are put together by
    #[arg(long, value_enum, value_delimiter = ',', default_value = "model")]
    by: Vec<By>,
    /// First day (2026-11-24); without it, 29 days ago
    #[arg(long, value_name = "DAY")]
    from: Option<String>,
    /// Last day; without it, today
    #[arg(long, value_name = "DAY")]
    to: Option<String>,
    /// Another tenant than the key's own
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Day,
    Key,
    Agent,
    Model,
    Provider,
}

impl By {
    fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Key => "key",
            Self::Agent => "agent",
            Self::Model => "model",
            Self::Provider => "provider",
        }
    }

    /// What a result says of it.
    fn shown(self, bucket: &Value, result: &Value) -> String {
        let member = match self {
            Self::Day => {
                let start = bucket["start_time"].as_i64().unwrap_or_default();
                return rfc3339(start.saturating_mul(1_000_000)).chars().take(10).collect();
            }
            Self::Key => "api_key_id",
            Self::Agent => "agent_id",
            Self::Model => "model",
            Self::Provider => "provider",
        };
        result[member].as_str().unwrap_or("-").to_owned()
    }
}

impl Usage {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => running(&self.place.load()?.data_dir).ok_or_else(|| {
                Error::unavailable(
                    "no server runs on this data folder: start it with 'frontdesk up', or name one with --url",
                )
            })?,
        };
        let page = Remote::new(&url, &self.key)?.json(Method::GET, &self.path(), None).await?;
        let mut rows = vec![self.head()];
        for bucket in page["data"].as_array().into_iter().flatten() {
            for result in bucket["results"].as_array().into_iter().flatten() {
                let names = self.by.iter().map(|by| by.shown(bucket, result));
                rows.push(names.chain(figures(result)).collect());
            }
        }
        let total = self.by.iter().enumerate().map(|(i, _)| if i == 0 { "total" } else { "" }.to_owned());
        rows.push(total.chain(figures(&page["total"])).collect());
        table::print(&rows, self.by.len())?;
        let lost = page["outstanding"]["lost_nano_usd"].as_i64().unwrap_or_default();
        if lost > 0 {
            say(format!("set aside by servers that died, counts as spent: {} nano-USD", lost))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn path(&self) -> String {
        let by = self.by.iter().map(|by| by.name()).collect::<Vec<_>>().join(",");
        let more = [("from", &self.from), ("to", &self.to), ("tenant", &self.tenant)];
        let more = more.iter().filter_map(|(name, value)| Some(format!("&{name}={}", value.as_ref()?)));
        format!("/v1/usage?group_by={by}{}", more.collect::<String>())
    }

    fn head(&self) -> Vec<String> {
        let names = self.by.iter().map(|by| by.name());
        names
            .chain(["calls", "failed", "reused", "input", "cached", "output", "USD", "unpriced"])
            .map(str::to_owned)
            .collect()
    }
}

fn figures(result: &Value) -> impl Iterator<Item = String> + '_ {
    let members = [
        "num_model_requests",
        "num_failed",
        "num_reused",
        "input_tokens",
        "input_cached_tokens",
        "output_tokens",
        "cost_usd",
        "num_unpriced",
    ];
    members.into_iter().map(|member| match &result[member] {
        Value::String(text) => text.clone(),
        Value::Null => "-".into(),
        number => number.to_string(),
    })
}
