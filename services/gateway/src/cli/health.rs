//! `frontdesk health`: whether the server here can serve; for health checks in containers, which have no curl.

use std::process::ExitCode;

use clap::Args;
use frontdesk_api::Result;

use super::{
    Place,
    remote::{Remote, running},
    say,
};

#[derive(Args)]
pub(super) struct Health {
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL")]
    url: Option<String>,
}

impl Health {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let url = match self.url {
            Some(url) => url,
            None => {
                let config = self.place.load()?;
                running(&config.data_dir).unwrap_or_else(|| format!("http://{}", config.listen))
            }
        };
        let said = Remote::new(&url, "")?.json(reqwest::Method::GET, "/v1/health/ready", None).await?;
        say(said.to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
