//! `frontdesk up`: serve until told to stop.

use std::process::ExitCode;

use clap::Args;
use frontdesk_api::{Result, cx::CancellationToken};

use super::{Place, remote::Beacon, say};
use crate::{
    config::Role,
    http,
    lanes::Lanes,
    server,
    telemetry::{self, Export},
    wiring,
};

#[derive(Args)]
pub(super) struct Up {
    #[command(flatten)]
    place: Place,
    /// Overrides `listen` of the configuration (host:port; port 0 takes a free one)
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Overrides `role` of the configuration: what this process does of the work (needs Postgres, but for `all`)
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// The first admin key; without it one is made and shown once
    #[arg(long, env = "FRONTDESK_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    admin_key: Option<String>,
}

impl Up {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let mut config = self.place.load()?;
        if let Some(listen) = self.listen {
            config.listen = listen;
        }
        config.role = self.role.unwrap_or(config.role);
        config.check_role()?;
        let traces = telemetry::start(&config.log, &config.telemetry)?;
        let listener = server::bind(&config.listen).await?;
        let url = format!("http://{}", server::address(&listener)?);
        let app = wiring::wire(config, &wiring::Host::real()).await?;
        if let Some(made) = app.accounts.ensure_admin(self.admin_key.as_deref()).await? {
            say(format!("admin key (shown this once): {made}"))?;
        }
        let left = app.agents.recover().await?;
        if left > 0 {
            tracing::warn!(turns = left, "turns that an earlier process left unfinished are gone on with");
        }
        let unread = app.knowledge.recover().await?;
        if unread > 0 {
            tracing::warn!(files = unread, "files that an earlier process left unread are read now");
        }
        let open = if app.config.role == Role::Gateway { 0 } else { app.batches.recover().await? };
        if open > 0 {
            tracing::info!(batches = open, "batches that an earlier process did not end are worked on");
        }
        let export = match traces {
            Some(traces) => Some(Export::start(&app, traces, wiring::collector())?),
            None => None,
        };
        let beacon = Beacon::light(&app.config.data_dir, &url)?;
        let router = http::router(app.clone());
        let lanes = Lanes::start()?;
        tracing::info!(url, database = app.store.place(), role = ?app.config.role, "serving");
        // Whoever reads that it is ready may stop it at once.
        let stopped = server::stop_signal();
        say(format!("ready {url}"))?;
        let stop = CancellationToken::new();
        let fresh = tokio::spawn({
            let (accounts, stop) = (app.accounts.clone(), stop.clone());
            async move { accounts.keep_fresh(stop).await }
        });
        app.serve(listener, router, &lanes, stopped).await;
        drop(beacon);
        stop.cancel();
        if let Err(e) = fresh.await {
            tracing::error!("keeping the keys fresh ended early: {e}");
        }
        // Answers that were cut off end with their lanes, and are settled as they end.
        drop(lanes);
        if let Some(export) = export {
            export.finish().await;
        }
        app.stored.close().await;
        app.ledger.close().await;
        app.store.close().await;
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }
}
