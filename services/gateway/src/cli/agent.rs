//! `frontdesk agent`: agents of a running server as files.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use frontdesk_api::{Error, Result};
use reqwest::Method;
use serde_json::Value;

use super::{
    Place,
    remote::{Remote, escaped, running},
    say, write,
};

#[derive(Args)]
pub(super) struct Agent {
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder, else http://127.0.0.1:8321
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL", global = true)]
    url: Option<String>,
    /// An API key of the server; importing needs the scope `write`
    #[arg(long, env = "FRONTDESK_API_KEY", hide_env_values = true, value_name = "KEY", global = true)]
    key: Option<String>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write an agent as YAML to stdout, or to a file
    Export {
        /// Its id or name
        agent: String,
        /// Which version; without it the published one
        #[arg(long)]
        version: Option<i64>,
        /// Where to; without it stdout
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read an agent from YAML: a draft of the agent of that name, or a new agent
    Import {
        file: PathBuf,
        /// Publish the draft at once
        #[arg(long)]
        publish: bool,
        /// Why, for people
        #[arg(long, default_value = "")]
        note: String,
    },
}

impl Agent {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let url = match &self.url {
            Some(url) => url.clone(),
            None => running(&self.place.load()?.data_dir).unwrap_or_else(|| "http://127.0.0.1:8321".into()),
        };
        let Some(key) = &self.key else {
            return Err(Error::invalid("key", "give an API key of the server with --key or FRONTDESK_API_KEY"));
        };
        let remote = Remote::new(&url, key)?;
        match self.verb {
            Verb::Export { agent, version, output } => {
                let id = agent_id(&remote, &agent).await?;
                let version = version.map(|version| format!("?version={version}")).unwrap_or_default();
                let text = remote.text(Method::GET, &format!("/v1/agents/{id}/export{version}"), None).await?;
                match output {
                    None => write(text)?,
                    Some(file) => std::fs::write(&file, text).map_err(|e| told("write", &file, e))?,
                }
            }
            Verb::Import { file, publish, note } => {
                let text = std::fs::read_to_string(&file).map_err(|e| told("read", &file, e))?;
                let path = format!("/v1/agents/import?publish={publish}&note={}", escaped(&note));
                let said = remote.text(Method::POST, &path, Some(text)).await?;
                let said: Value = serde_json::from_str(&said)
                    .map_err(|e| Error::upstream("the server's answer is no JSON").with_source(e))?;
                let state = if said["published"] == true { "published" } else { "a draft" };
                say(format!("{} version {}: {state}", said["agent_id"].as_str().unwrap_or_default(), said["version"]))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn told(what: &str, file: &Path, cause: std::io::Error) -> Error {
    Error::invalid("FILE", format!("cannot {what} {}: {cause}", file.display()))
}

/// The agent of that id or name.
pub(super) async fn agent_id(remote: &Remote, wanted: &str) -> Result<String> {
    let mut names = vec![];
    let mut start = 0;
    loop {
        let page = remote.json(Method::GET, &format!("/v1/agents?limit=100&start_index={start}"), None).await?;
        let agents = page["data"].as_array().cloned().unwrap_or_default();
        for agent in &agents {
            let (id, name) = (agent["agent_id"].as_str().unwrap_or_default(), agent["agent_config"]["name"].as_str());
            if id == wanted || name == Some(wanted) {
                return Ok(id.to_owned());
            }
            names.push(name.unwrap_or(id).to_owned());
        }
        start += agents.len();
        if page["has_more"] != true || agents.is_empty() {
            let there =
                if names.is_empty() { "there are none".into() } else { format!("there are: {}", names.join(", ")) };
            return Err(Error::not_found(format!("no agent has the id or name '{wanted}'; {there}")));
        }
    }
}
