//! `frontdesk agent`: agents of a running server as files, and which of their versions is published.

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
    remote::{Remote, escaped},
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
    /// Show an agent's versions, the newest first
    Versions {
        /// Its id or name
        agent: String,
    },
    /// Publish a version: a draft, or an older one to roll back to
    Publish {
        /// Its id or name
        agent: String,
        /// The number of the version
        version: i64,
    },
}

impl Agent {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let url = self.place.server(self.url.as_deref())?;
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
            Verb::Versions { agent } => {
                let id = agent_id(&remote, &agent).await?;
                let mut after = String::new();
                loop {
                    let path = format!("/v1/agents/{id}/versions?limit=100{after}");
                    let page = remote.json(Method::GET, &path, None).await?;
                    let versions = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
                    versions.iter().try_for_each(|version| say(line(version)))?;
                    if page["has_more"] != true || versions.is_empty() {
                        break;
                    }
                    after = format!("&after={}", page["last_id"].as_str().unwrap_or_default());
                }
            }
            Verb::Publish { agent, version } => {
                let id = agent_id(&remote, &agent).await?;
                let path = format!("/v1/agents/{id}/versions/{version}/publish");
                let said = remote.json(Method::POST, &path, None).await?;
                say(format!("{id} version {}: published", said["version"]))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A version as a line: number, when it was written, whether it is the published one, why it was written.
fn line(version: &Value) -> String {
    let text = |name: &str| version[name].as_str().unwrap_or_default();
    let state = if version["published"] == true { "published" } else { "-" };
    let line = format!("{:>4}  {}  {state:<9}  {}", version["version"], text("created_at"), text("note"));
    line.trim_end().to_owned()
}

fn told(what: &str, file: &Path, cause: std::io::Error) -> Error {
    Error::invalid("FILE", format!("cannot {what} {}: {cause}", file.display()))
}

/// An agent of the server, as its list shows it.
pub(super) struct Listed {
    pub(super) id: String,
    /// Its name; the id where it has none.
    pub(super) name: String,
}

/// All agents of the server's tenant.
pub(super) async fn listed(remote: &Remote) -> Result<Vec<Listed>> {
    let mut listed = vec![];
    loop {
        let page = format!("/v1/agents?limit=100&start_index={}", listed.len());
        let page = remote.json(Method::GET, &page, None).await?;
        let agents = page["data"].as_array().map(Vec::as_slice).unwrap_or_default();
        listed.extend(agents.iter().map(|agent| {
            let id = agent["agent_id"].as_str().unwrap_or_default();
            let name = agent["agent_config"]["name"].as_str().unwrap_or(id);
            Listed { id: id.to_owned(), name: name.to_owned() }
        }));
        if page["has_more"] != true || agents.is_empty() {
            return Ok(listed);
        }
    }
}

/// The agent of that id, else the one of that name: no name of another agent hides an id.
pub(super) fn chosen<'a>(listed: &'a [Listed], wanted: &str) -> Option<&'a Listed> {
    listed.iter().find(|agent| agent.id == wanted).or_else(|| listed.iter().find(|agent| agent.name == wanted))
}

/// Which agents there are, for an error.
pub(super) fn told_names(listed: &[Listed]) -> String {
    if listed.is_empty() {
        return "there are none yet".into();
    }
    let names: Vec<&str> = listed.iter().map(|agent| agent.name.as_str()).collect();
    format!("there are: {}", names.join(", "))
}

/// The id of the agent of that id or name.
pub(super) async fn agent_id(remote: &Remote, wanted: &str) -> Result<String> {
    let listed = listed(remote).await?;
    chosen(&listed, wanted)
        .map(|agent| agent.id.clone())
        .ok_or_else(|| Error::not_found(format!("no agent has the id or name '{wanted}'; {}", told_names(&listed))))
}

#[cfg(test)]
mod tests {
    use super::{Listed, chosen};

    #[test]
    fn an_id_stands_before_a_name_that_is_the_same() {
        let agent = |id: &str, name: &str| Listed { id: id.into(), name: name.into() };
        let listed = [agent("agent_1", "agent_2"), agent("agent_2", "shop"), agent("agent_3", "shop")];
        assert_eq!(chosen(&listed, "agent_2").map(|agent| agent.id.as_str()), Some("agent_2"));
        assert_eq!(chosen(&listed, "shop").map(|agent| agent.id.as_str()), Some("agent_2"));
        assert!(chosen(&listed, "bakery").is_none());
    }
}
