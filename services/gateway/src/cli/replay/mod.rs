//! `frontdesk replay`: recorded conversations asked again of a draft, and what differs.
//!
//! Invariant: the status is 0 where nothing differs, 1 where something does, 2 where that could not be found out.

mod print;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use frontdesk_api::{Error, Result};
use serde_json::{Value, json};

use self::print::Printer;
use super::{Place, agent::agent_id, complain, demo::Spinner, remote::Remote, say};
use crate::config;

/// Where something differs.
const DIFFERENT: u8 = 1;

/// Where it could not be found out.
const FAULT: u8 = 2;

#[derive(Args)]
pub(super) struct Replay {
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder, else http://127.0.0.1:8321
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL")]
    url: Option<String>,
    /// An API key of the server, with the scope `write`
    #[arg(long, env = "FRONTDESK_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// The agent: its id or name
    #[arg(long)]
    agent: String,
    /// Which version answers: `draft` (the newest), `published`, or a number
    #[arg(long, default_value = "draft", conflicts_with = "file")]
    version: String,
    /// A YAML file that answers instead of a version, as `frontdesk agent export` writes it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Conversations by their ids
    #[arg(long, value_name = "ID", num_args = 1..)]
    conversation: Vec<String>,
    /// The newest conversations of the agent, so many; 10 where none are named
    #[arg(long, value_name = "N", conflicts_with = "conversation")]
    last: Option<usize>,
    /// Where tools' answers come from: the recording, or the tools that have no effects
    #[arg(long, value_enum, default_value = "recorded")]
    tools: Tools,
    /// With `--tools live`: call tools that have effects, too
    #[arg(long)]
    allow_effects: bool,
    /// What the model reads of the turns before
    #[arg(long, value_enum, default_value = "recorded")]
    history: History,
    /// Print one JSON document instead of text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Tools {
    Recorded,
    Live,
}

#[derive(Clone, Copy, ValueEnum)]
enum History {
    /// What was recorded, so that one difference does not lead to others
    Recorded,
    /// What was replayed
    Replayed,
}

impl Replay {
    /// A failure is a status of its own: a build must not take it for a difference.
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.replay().await {
            Ok(code) => Ok(code),
            Err(error) => {
                complain(&error);
                Ok(ExitCode::from(FAULT))
            }
        }
    }

    async fn replay(self) -> Result<ExitCode> {
        let remote = Remote::new(&self.place.server(self.url.as_deref())?, &self.key)?;
        let agent = agent_id(&remote, &self.agent).await?;
        let body = self.body()?;
        let colour = std::io::stdout().is_terminal() && config::environment("NO_COLOR").is_none_or(|v| v.is_empty());
        let mut printer = Printer::new(colour);
        let (mut turns, mut whole) = (vec![], Value::Null);
        let mut spinner = Some(Spinner::start("looking for conversations"));
        remote
            .events(&format!("/v1/agents/{agent}/replays"), &body, |event| {
                // It and what is printed would write over one another.
                spinner = None;
                match event["type"].as_str() {
                    Some("frontdesk.replay.started") if !self.json => printer.started(event)?,
                    Some("frontdesk.replay.turn") if self.json => turns.push(event["turn"].clone()),
                    Some("frontdesk.replay.turn") => printer.turn(&event["turn"])?,
                    Some("frontdesk.replay.completed") => {
                        whole = event["replay"].clone();
                        return Ok(());
                    }
                    _ => {}
                }
                spinner = Some(Spinner::start("asking the next turn"));
                Ok(())
            })
            .await?;
        drop(spinner);
        if whole.is_null() {
            return Err(Error::upstream("the server ended before the replay did; start it again"));
        }
        let code = match (whole["summary"]["faults"].as_u64(), whole["same"].as_bool()) {
            (Some(0), Some(true)) => ExitCode::SUCCESS,
            (Some(0), Some(false)) => ExitCode::from(DIFFERENT),
            _ => ExitCode::from(FAULT),
        };
        if self.json {
            whole["turns"] = turns.into();
            say(format_args!("{whole:#}"))?;
        } else {
            printer.ended(&whole)?;
        }
        if whole["summary"]["turns"] == 0 {
            return Err(Error::invalid("conversation", "no turn was asked again, so nothing was compared"));
        }
        Ok(code)
    }

    fn body(&self) -> Result<Value> {
        let mut body = json!({
            "conversations": self.conversation,
            "tools": match self.tools { Tools::Recorded => "recorded", Tools::Live => "live" },
            "history": match self.history { History::Recorded => "recorded", History::Replayed => "replayed" },
            "allow_effects": self.allow_effects,
            "last": self.last,
            "stream": true,
        });
        match &self.file {
            None => body["version"] = self.version.as_str().into(),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|e| Error::invalid("file", format!("cannot read {}: {e}", file.display())))?;
                body["spec"] = text.into();
            }
        }
        Ok(body)
    }
}
