//! `frontdesk tool push`: the component to a server, and its tools registered there.
//!
//! What the component asks for is read from it and shown before anything is sent; nobody is taken to have said yes.
//! Invariant: what is registered was shown by the server first (a dry run of the same registration), and after a refusal
//! no file of ours is left there.

use std::{
    io::{BufRead as _, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use frontdesk_api::{Error, Result};
use reqwest::Method;
use serde_json::{Value, json};

use super::{Folder, build::size, sandbox};
use crate::cli::{Place, remote::Remote, say, write};

#[derive(Args)]
pub(super) struct Push {
    #[arg(default_value = ".")]
    folder: PathBuf,
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder, else http://127.0.0.1:8321
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL")]
    url: Option<String>,
    /// An API key of the server, with the scope `write`
    #[arg(long, env = "FRONTDESK_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// Grant this power; once for each that the component asks for
    #[arg(long = "grant", value_name = "POWER")]
    grants: Vec<String>,
    /// Grant every power that it asks for
    #[arg(long, conflicts_with = "grants")]
    yes: bool,
    /// The tool provider of the server that is its sandbox
    #[arg(long, value_name = "ID", default_value = "wasm")]
    provider: String,
    /// Show what would be registered, and register nothing
    #[arg(long)]
    dry_run: bool,
}

impl Push {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let folder = Folder::open(&self.folder)?;
        let component = folder.load()?;
        let powers = sandbox::powers(&component)?;
        let url = self.place.server(self.url.as_deref())?;
        let Some(key) = &self.key else {
            return Err(Error::invalid("key", "give an API key of the server with --key or FRONTDESK_API_KEY"));
        };
        let remote = Remote::new(&url, key)?;
        asked_for(&folder, &component, &powers)?;
        self.granted(&powers)?;
        let (shown, done) = publish(&remote, &folder, component, &powers, &self.provider, self.dry_run).await?;
        for tool in shown["tools"].as_array().into_iter().flatten() {
            let meta = &tool["metadata"];
            say(format!(
                "  {}: effect {}, risk {}",
                text(&tool["identifier"]),
                text(&meta["effect"]),
                text(&meta["risk"])
            ))?;
        }
        let name = &folder.manifest.name;
        if !done {
            say("a dry run: nothing was registered")?;
            return Ok(ExitCode::SUCCESS);
        }
        say(format!("{name} is at {}; its tools are for agents that name it: toolgroups: [{name}]", remote.url()))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Whether somebody said yes to each power.
    fn granted(&self, powers: &[&str]) -> Result<()> {
        if let Some(idle) = self.grants.iter().find(|grant| !powers.contains(&grant.as_str())) {
            return Err(Error::invalid("grant", format!("the component does not ask for '{idle}'")));
        }
        let missing: Vec<&str> =
            powers.iter().filter(|power| !self.grants.iter().any(|g| g == *power)).copied().collect();
        if missing.is_empty() || self.yes {
            return Ok(());
        }
        if std::io::stdin().is_terminal() {
            write(format!("Grant {}? [y/N] ", missing.join(", ")))?;
            let mut line = String::new();
            std::io::stdin().lock().read_line(&mut line).map_err(|e| Error::internal("reading your answer", e))?;
            if matches!(line.trim(), "y" | "Y" | "yes") {
                return Ok(());
            }
        }
        let flags: Vec<String> = missing.iter().map(|power| format!("--grant {power}")).collect();
        Err(Error::invalid("grant", format!("nothing was pushed: grant with {} (or --yes for all)", flags.join(" "))))
    }
}

fn asked_for(folder: &Folder, component: &[u8], powers: &[&str]) -> Result<()> {
    say(format!("{} ({}) asks for:", folder.manifest.name, size(component.len())))?;
    if powers.is_empty() {
        say("  no power")?;
    }
    powers.iter().try_for_each(|power| say(format!("  {power:<8} {}", sandbox::about(power))))?;
    for (what, named) in [("hosts", &folder.manifest.hosts), ("secrets", &folder.manifest.secrets)] {
        if !named.is_empty() {
            say(format!("  {what:<8} {}", named.join(", ")))?;
        }
    }
    Ok(())
}

/// Uploads it, has the server show what it makes of it, and registers it. What was shown, and whether it is registered.
async fn publish(
    remote: &Remote,
    folder: &Folder,
    component: Vec<u8>,
    powers: &[&str],
    provider: &str,
    dry_run: bool,
) -> Result<(Value, bool)> {
    let manifest = &folder.manifest;
    let file = remote.upload(&format!("{}.wasm", manifest.name), "application/wasm", "tool", component).await?;
    let file = text(&file["id"]);
    let mut args = folder.args();
    args.extend([("component".to_owned(), json!(file)), ("grants".to_owned(), json!(powers))]);
    let body = json!({
        "toolgroup_id": manifest.name,
        "provider_id": provider,
        "args": args,
        "trust": manifest.trust,
        "tools": manifest.tools,
    });
    let outcome = async {
        let shown = remote.json(Method::POST, "/v1/toolgroups?dry_run=true", Some(&body)).await?;
        if !dry_run {
            remote.json(Method::POST, "/v1/toolgroups", Some(&body)).await?;
        }
        Ok((shown, !dry_run))
    };
    let outcome = outcome.await;
    if dry_run || outcome.is_err() {
        // What was said before counts; a file that stays is only room.
        let _ = remote.send(Method::DELETE, &format!("/v1/files/{file}"), None).await;
    }
    outcome
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        push: Push,
    }

    fn push(arguments: &[&str]) -> Push {
        let line = ["push"].iter().chain(arguments);
        Line::try_parse_from(line).expect("a command line").push
    }

    #[test]
    fn nobody_is_taken_to_have_said_yes() {
        let powers = ["log", "fetch"];
        // Tests have no terminal to be asked at.
        let refused = push(&[]).granted(&powers).expect_err("refused");
        assert!(refused.message.contains("--grant log --grant fetch (or --yes for all)"), "{refused}");
        let refused = push(&["--grant", "log"]).granted(&powers).expect_err("refused");
        assert!(refused.message.contains("grant with --grant fetch (or"), "{refused}");
        assert!(push(&["--grant", "log", "--grant", "fetch"]).granted(&powers).is_ok());
        assert!(push(&["--yes"]).granted(&powers).is_ok() && push(&[]).granted(&[]).is_ok());
        let refused = push(&["--grant", "kv"]).granted(&powers).expect_err("refused");
        assert!(refused.message.contains("does not ask for 'kv'"), "{refused}");
    }
}
