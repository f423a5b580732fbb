//! `frontdesk models pull`: a model from a hub, or a .gguf file from a URL, onto this machine.
//!
//! Told before it is done, resumed where it broke off, checked before it counts. What is answered is the lines of YAML that
//! make it a model.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use frontdesk_api::{Error, Result};
use http::Uri;
use serde_json::json;

use super::{
    choose::{Choice, Offer, choose},
    digest::Sum,
    fetch::fetch,
    found::look,
    hub::{Hub, check_repo, printable, whole_size},
    local,
    plan::Plan,
    progress::{Progress, tell},
};
use crate::{
    cli::{Place, say},
    config::Config,
    wiring,
};

#[derive(Args)]
pub(super) struct Pull {
    #[command(flatten)]
    place: Place,
    /// owner/name at the hub (`hub.endpoint`), or the URL of a .gguf file
    name: String,
    /// A quantisation (Q5_K_M), or a file or pattern of files; without it what suits most
    #[arg(long, value_name = "WHAT")]
    file: Option<String>,
    /// A branch, tag or commit of the repository
    #[arg(long, value_name = "REVISION", default_value = "main")]
    revision: String,
    /// Where the files go; without it a folder of the model's name under `models_dir`
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The SHA-256 that its publisher names; needed for a URL
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// Fetch without asking
    #[arg(long, short)]
    yes: bool,
    /// Events for scripts on stdout, one JSON object a line
    #[arg(long)]
    json: bool,
}

/// What is to be fetched, and from where.
struct Source {
    choice: Choice,
    /// Of the files, in their order.
    addresses: Vec<Uri>,
    /// Where they go, unless another folder is named.
    dir: PathBuf,
}

impl Pull {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let outcome = self.pull().await;
        if let Err(error) = &outcome
            && self.json
        {
            say(json!({ "event": "error", "kind": error.kind, "code": error.code, "message": error.message }))?;
        }
        outcome
    }

    async fn pull(&self) -> Result<ExitCode> {
        let config = self.place.load()?;
        let is_url = self.name.contains("://");
        let at = if is_url { &self.name } else { &config.hub.endpoint };
        let at: Uri = at.parse().map_err(|_| Error::invalid("name", format!("'{}' is no URL", printable(at))))?;
        if !is_url {
            check_repo(&self.name)?;
        } else if self.file.is_some() {
            return Err(Error::invalid("file", "a URL is one file already: leave --file out"));
        }
        let web = wiring::web(&config.hub, &at).await?;
        let endpoint =
            if is_url { wiring::server_of(&at) } else { config.hub.endpoint.trim_end_matches('/').to_owned() };
        let hub = Hub { web: web.as_ref(), endpoint, has_token: wiring::token_for(&config.hub, &at).is_some() };
        let source = if is_url { self.url(&config, &hub, at).await? } else { self.repository(&config, &hub).await? };
        self.fetch(&config, &hub, &source).await
    }

    async fn repository(&self, config: &Config, hub: &Hub<'_>) -> Result<Source> {
        if self.sha256.is_some() {
            return Err(Error::invalid("sha256", "the hub names the checksums of its files: leave --sha256 out"));
        }
        let offers = hub.tree(&self.name, &self.revision).await?;
        let choice = choose(&offers, self.file.as_deref())
            .map_err(|e| Error { message: format!("model '{}': {}", self.name, e.message), ..e })?;
        let address = |file: &Offer| hub.file(&self.name, &self.revision, &file.path);
        let addresses = choice.files.iter().map(address).collect::<Result<_>>()?;
        let dir = config.models_dir().join(self.name.rsplit('/').next().unwrap_or_default());
        Ok(Source { choice, addresses, dir })
    }

    async fn url(&self, config: &Config, hub: &Hub<'_>, at: Uri) -> Result<Source> {
        let name = at.path().rsplit('/').next().unwrap_or_default().to_owned();
        let good = name.len() > ".gguf".len() && !name.starts_with('.') && !name.contains('%');
        if !good || !name.to_ascii_lowercase().ends_with(".gguf") {
            return Err(Error::invalid("name", format!("'{}' is no URL of a .gguf file", printable(&self.name))));
        }
        let Some(sha256) = &self.sha256 else {
            let message = "nobody vouches for what a URL gives: name its SHA-256 with --sha256, as its publisher does";
            return Err(Error::invalid("sha256", message));
        };
        let bad = || Error::invalid("sha256", "is no SHA-256: 64 hexadecimal digits");
        let sum = Sum::sha256(sha256).ok_or_else(bad)?;
        // One byte, to learn how many there are; the connection is closed when the answer is dropped.
        let size = whole_size(&hub.get(&format!("file '{name}'"), &at, Some("bytes=0-0".into())).await?);
        let choice = Choice { files: vec![Offer { path: name, size, sum }], others: vec![] };
        Ok(Source { choice, addresses: vec![at], dir: config.models_dir() })
    }

    async fn fetch(&self, config: &Config, hub: &Hub<'_>, source: &Source) -> Result<ExitCode> {
        let Source { choice, addresses, dir } = source;
        let dir = self.dir.as_ref().unwrap_or(dir);
        let plan = Plan::new(&self.name, dir, choice)?;
        plan.show(self.json)?;
        if !plan.confirm(self.yes, self.json)? {
            tell("nothing was fetched");
            return Ok(ExitCode::FAILURE);
        }
        std::fs::create_dir_all(dir).map_err(|e| Error::internal(format!("making {}", dir.display()), e))?;
        plan.check_space()?;
        let mut progress = Progress::new(plan.bytes(), self.json);
        for (file, at) in choice.files.iter().zip(addresses) {
            let fetched = fetch(hub, file, at, dir, &mut progress).await?;
            progress.end(fetched)?;
        }
        drop(progress);
        self.answer(config, dir, choice)
    }

    /// What to do with what is here now.
    fn answer(&self, config: &Config, dir: &Path, choice: &Choice) -> Result<ExitCode> {
        let file = choice.files.iter().find(|file| file.name().to_ascii_lowercase().ends_with(".gguf"));
        let path = file.map_or_else(|| dir.to_owned(), |file| dir.join(file.place()));
        let (yaml, looked) = (local::yaml(config, &path), look(&path));
        if self.json {
            let (found, missing) = match &looked {
                Ok(found) => (Some(found), None),
                Err(missing) => (None, Some(missing)),
            };
            say(json!({ "event": "done", "path": path, "yaml": yaml, "model": found, "missing": missing }))?;
            return Ok(ExitCode::SUCCESS);
        }
        match looked {
            Ok(found) => tell(format!("ok       model: {}", local::said(&found))),
            Err(missing) => tell(format!("MISSING  model: {missing}; the local engine will not load it like this")),
        }
        if !wiring::known().iter().any(|def| def.kind == local::LOCAL) {
            tell("note     this build has no local engine; another program can read the model");
        }
        tell("add this to the configuration:");
        say(yaml)?;
        Ok(ExitCode::SUCCESS)
    }
}
