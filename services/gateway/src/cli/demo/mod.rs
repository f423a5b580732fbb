//! `frontdesk demo`: the main job end to end. Moves a sample shop in, asks its agent four questions over
//! HTTP as a customer's app would, tells each turn, and stays up.
//!
//! Invariant: nothing here answers for the agent. The model is the real engine (with the tiny demo model
//! in this program, unless a configuration names providers), the tools run in the real sandbox, and a
//! question counts as passed only if its turn did what the shop's file says it must.

mod ask;
mod model;
mod print;
mod setup;
mod shop;

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use frontdesk_api::{Cx, Error, Result};
use frontdesk_inference::Route;
use frontdesk_safety::OnError;
use serde_json::json;

pub(super) use self::print::Spinner;
use self::shop::Shop;
use super::{Place, remote::Remote, say};
use crate::{
    app::App,
    config::{Config, LogLevel, ProviderEntry, ShieldEntry, Telemetry},
    http,
    lanes::Lanes,
    server, telemetry,
    wiring::{self, Host},
};

#[derive(Args)]
pub(super) struct Demo {
    #[command(flatten)]
    place: Place,
    /// Address and port; without it 127.0.0.1:8321, or a free port where that one is taken
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Another shop's folder: shop.yaml with its orders, pages, rules and tools
    #[arg(long, value_name = "DIR")]
    sample: Option<PathBuf>,
    /// Ask the questions and end; status 0 only if each did what it must
    #[arg(long)]
    once: bool,
    /// Print one JSON document instead of prose
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let shop = Shop::load(self.sample.as_deref())?;
        // A folder of its own, gone afterwards, so that a demo leaves nothing behind.
        let scratch = tempfile::Builder::new()
            .prefix("frontdesk-demo-")
            .tempdir()
            .map_err(|e| Error::internal("making a folder for the demo", e))?;
        let mut config = self.place.load()?;
        if self.place.config.is_none() {
            // Variables that configure a real server (a database, a cloud's key) are not meant for the demo.
            config.database_url = None;
            config.providers.inference.clear();
        }
        // A line for every request would stand between the turns.
        if config.log.level == LogLevel::Info {
            config.log.level = LogLevel::Warn;
        }
        if self.place.data_dir.is_none() {
            config.data_dir = scratch.path().to_path_buf();
        }
        prepare(&mut config, &shop)?;
        // What a demo does is nobody's to collect.
        config.telemetry = Telemetry::default();
        telemetry::start(&config.log, &config.telemetry)?;
        let listener = self.bind(&config).await?;
        let url = format!("http://{}", server::address(&listener)?);
        let app = wiring::wire(config, &Host::real()).await?;
        let Some(key) = app.accounts.ensure_admin(None).await? else {
            return Err(Error::conflict("this data folder belongs to a server already; give the demo one of its own"));
        };
        app.agents.recover().await?;
        let lanes = Lanes::start()?;
        let serving = app.serve(listener, http::router(app.clone()), &lanes, server::stop_signal());
        tokio::pin!(serving);
        let passed = tokio::select! {
            passed = self.tell(&app, &shop, &url, &key) => passed,
            () = &mut serving => Err(Error::cancelled()),
        };
        if passed.is_ok() && !self.once {
            serving.await;
        }
        app.ledger.close().await;
        app.store.close().await;
        Ok(if passed? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn bind(&self, config: &Config) -> Result<tokio::net::TcpListener> {
        if let Some(listen) = &self.listen {
            return server::bind(listen).await;
        }
        match server::bind(&config.listen).await {
            Ok(listener) => Ok(listener),
            Err(_) => server::bind("127.0.0.1:0").await,
        }
    }

    /// Moves the shop in, asks, tells. Whether every turn did what it must.
    async fn tell(&self, app: &App, shop: &Shop, url: &str, key: &str) -> Result<bool> {
        if !self.json {
            say(format!("\n  Frontdesk demo: the shop '{}', its agent, and customers' questions.", shop.name))?;
        }
        let cx = Cx::internal("default", "demo");
        let spinner = Spinner::start("moving the shop in");
        let moved = setup::move_in(app, &cx, shop, &spinner).await?;
        drop(spinner);
        if !self.json {
            let (tools, pages) = (moved.tools, moved.pages);
            say(format!("  {tools} tools in the sandbox, {pages} pages, model {}, serving at {url}", shop.model))?;
        }
        let remote = Remote::new(url, key)?;
        let mut turns = vec![];
        for question in &shop.questions {
            let spinner = Spinner::start("asking");
            let told = ask::ask(&remote, &moved.agent, question, |payload| spinner.follow(payload)).await?;
            drop(spinner);
            if !self.json {
                print::turn(&told)?;
            }
            turns.push(told);
        }
        let good = turns.iter().filter(|t| t.ok).count();
        let passed = good == turns.len();
        if self.json {
            let document =
                json!({ "shop": shop.name, "url": url, "agent": moved.agent, "passed": passed, "turns": turns });
            say(serde_json::to_string_pretty(&document).unwrap_or_default())?;
        } else {
            say(format!("\n  {good} of {} questions did what they must.", turns.len()))?;
            if !self.once {
                print::next(url, key, &moved.agent, &shop.model)?;
                say(format!("ready {url}"))?;
            }
        }
        Ok(passed)
    }
}

/// The demo's own parts of the configuration: the tiny model where no other is named, and the shop's rules.
fn prepare(config: &mut Config, shop: &Shop) -> Result<()> {
    if config.providers.inference.is_empty() {
        let path = model::unpack(&config.data_dir)?;
        config.providers.inference.push(ProviderEntry {
            id: "local".into(),
            kind: "mistralrs".into(),
            config: json!({ "models": [{ "id": "demo", "path": path }] }),
        });
        if !config.models.iter().any(|m| m.id == "default") {
            let description = Some("the tiny demo model: for this demo and tests only".into());
            config.models.push(Route { description, ..Route::to("default", &["local/demo"]) });
        }
    }
    config.providers.safety.push(ShieldEntry {
        id: setup::SHIELD.into(),
        kind: "rules".into(),
        config: shop.rules.clone(),
        stages: None,
        on_error: OnError::Block,
    });
    Ok(())
}
