//! `frontdesk doctor`: what is configured, reachable or missing, and how to mend it.
//!
//! Looks, and changes nothing but what opening the database changes. Ends with status 1 when something
//! would keep the server from starting or working.

use std::process::ExitCode;

use clap::Args;
use frontdesk_api::{Result, provider::Status};

use super::{
    Place,
    models::configured,
    remote::{Remote, running},
    say,
};
use crate::{
    config::Config,
    server,
    wiring::{self, Built, Host},
};

#[derive(Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    place: Place,
}

/// The findings, told as they come.
#[derive(Default)]
struct Report {
    bad: usize,
}

impl Report {
    fn good(&self, what: &str, said: impl std::fmt::Display) -> Result<()> {
        say(format!("  ok       {what}: {said}"))
    }

    fn note(&self, what: &str, said: impl std::fmt::Display) -> Result<()> {
        say(format!("  note     {what}: {said}"))
    }

    fn bad(&mut self, what: &str, said: impl std::fmt::Display) -> Result<()> {
        self.bad += 1;
        say(format!("  MISSING  {what}: {said}"))
    }
}

impl Doctor {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let mut report = Report::default();
        say(format!("frontdesk {} on {}", env!("CARGO_PKG_VERSION"), std::env::consts::OS))?;
        let config = match self.place.load() {
            Ok(config) => config,
            Err(e) => {
                report.bad("configuration", format!("{e}; `frontdesk init` writes a file with every key explained"))?;
                return end(&report);
            }
        };
        let file = self
            .place
            .config
            .as_ref()
            .map_or("the defaults (no --config)".to_owned(), |file| file.display().to_string());
        report.good("configuration", file)?;
        let held = server_of(&config).await;
        address(&mut report, &config, held.as_deref()).await?;
        database(&mut report, &config, held.as_deref()).await?;
        providers(&mut report, &config).await?;
        for model in configured(&config) {
            let what = format!("model {}", model.id);
            match model.examine() {
                Ok(said) => report.good(&what, said)?,
                Err(missing) => report.bad(&what, format!("{missing}; `frontdesk models pull` fetches one"))?,
            }
        }
        end(&report)
    }
}

fn end(report: &Report) -> Result<ExitCode> {
    match report.bad {
        0 => say("all good: start with `frontdesk up`").map(|()| ExitCode::SUCCESS),
        n => say(format!("{n} to mend")).map(|()| ExitCode::FAILURE),
    }
}

/// The server that holds this data folder, if one answers there.
async fn server_of(config: &Config) -> Option<String> {
    let url = running(&config.data_dir)?;
    let remote = Remote::new(&url, "").ok()?;
    remote.json(reqwest::Method::GET, "/v1/health", None).await.ok()?;
    Some(url)
}

async fn address(report: &mut Report, config: &Config, held: Option<&str>) -> Result<()> {
    if let Some(url) = held {
        return report.good("server", format!("runs at {url}"));
    }
    match server::bind(&config.listen).await {
        Ok(_) => report.good("listen", format!("{} is free", config.listen)),
        Err(e) => report.bad("listen", e),
    }
}

async fn database(report: &mut Report, config: &Config, held: Option<&str>) -> Result<()> {
    if held.is_some() {
        return report.good("data_dir", format!("{} is held by the running server", config.data_dir.display()));
    }
    match wiring::open(config).await {
        Ok(store) => {
            report.good("database", store.place())?;
            store.close().await;
            Ok(())
        }
        Err(e) => report.bad("database", e),
    }
}

async fn providers(report: &mut Report, config: &Config) -> Result<()> {
    let built = match Built::of(config, &Host::real()) {
        Ok(built) => built,
        Err(e) => return report.bad("providers", e),
    };
    for provider in &built.providers {
        let what = format!("{} provider {}", provider.api, provider.id);
        let health = provider.health().await;
        let said = health.message.unwrap_or_else(|| provider.ogx_type.to_owned());
        match health.status {
            Status::Ok | Status::Unknown => report.good(&what, said)?,
            Status::Starting => report.note(&what, said)?,
            Status::Error => report.bad(&what, said)?,
        }
    }
    if config.providers.inference.is_empty() {
        report.bad("models", "no inference provider: set OPENAI_API_KEY, or add an entry under providers.inference")?;
    }
    let types: Vec<&str> = wiring::known().iter().map(|def| def.kind).collect();
    report.note("provider types of this build", types.join(", "))
}
