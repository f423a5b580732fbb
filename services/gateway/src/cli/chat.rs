//! `frontdesk chat`: a conversation with a running server, line by line.

use std::{io::IsTerminal, process::ExitCode};

use clap::Args;
use frontdesk_api::{Error, Result};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::{
    Place,
    agent::{Listed, chosen, listed, told_names},
    remote::Remote,
    say, write,
};

#[derive(Args)]
pub(super) struct Chat {
    #[command(flatten)]
    place: Place,
    /// Where the server is; without it the one of this data folder, else http://127.0.0.1:8321
    #[arg(long, value_name = "URL", env = "FRONTDESK_URL")]
    url: Option<String>,
    /// An API key of the server
    #[arg(long, env = "FRONTDESK_API_KEY", hide_env_values = true, value_name = "KEY")]
    key: String,
    /// The agent to talk to: its id or name
    #[arg(long, conflicts_with = "model")]
    agent: Option<String>,
    /// The model to talk to, without an agent
    #[arg(long)]
    model: Option<String>,
    /// Ask this one question and end
    question: Option<String>,
}

impl Chat {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let url = self.place.server(self.url.as_deref())?;
        let remote = Remote::new(&url, &self.key)?;
        let mut partner = Partner::find(&remote, self.agent.as_deref(), self.model.as_deref()).await?;
        if let Some(question) = &self.question {
            partner.ask(&remote, question).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let at_terminal = std::io::stdin().is_terminal();
        if at_terminal {
            say(format!("Talking to {} at {}. An empty line or Ctrl-D ends.", partner.name(), remote.url()))?;
        }
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        loop {
            if at_terminal {
                write("\nyou> ")?;
            }
            let line = lines.next_line().await.map_err(|e| Error::internal("reading your line", e))?;
            let Some(line) = line.filter(|line| !line.trim().is_empty()) else { return Ok(ExitCode::SUCCESS) };
            if let Err(error) = partner.ask(&remote, &line).await {
                if error.kind == frontdesk_api::Kind::Cancelled {
                    return Err(error);
                }
                // A turn that failed does not end the conversation.
                super::complain(&error);
            }
        }
    }
}

/// Who answers.
enum Partner {
    /// A bare model; we keep the conversation.
    Model { model: String, messages: Vec<Value> },
    /// An agent; the server keeps the conversation.
    Agent { name: String, path: String },
}

impl Partner {
    async fn find(remote: &Remote, agent: Option<&str>, model: Option<&str>) -> Result<Self> {
        if let Some(model) = model {
            return Ok(Self::Model { model: model.into(), messages: vec![] });
        }
        let agents = listed(remote).await?;
        let found = match agent {
            Some(wanted) => chosen(&agents, wanted),
            None => agents.first().filter(|_| agents.len() == 1),
        };
        let Some(Listed { id, name }) = found else {
            let there = told_names(&agents);
            let message = format!("name the agent to talk to with --agent ({there}), or a model with --model");
            return Err(Error::invalid("agent", message));
        };
        let session = json!({ "session_name": "frontdesk chat" });
        let session = remote.json(Method::POST, &format!("/v1/agents/{id}/session"), Some(&session)).await?;
        let session = session["session_id"].as_str().unwrap_or_default();
        Ok(Self::Agent { name: name.clone(), path: format!("/v1/agents/{id}/session/{session}/turn") })
    }

    fn name(&self) -> &str {
        match self {
            Self::Model { model, .. } => model,
            Self::Agent { name, .. } => name,
        }
    }

    /// Asks, and shows the answer as it comes.
    async fn ask(&mut self, remote: &Remote, question: &str) -> Result<()> {
        let user = json!({ "role": "user", "content": question });
        match self {
            Self::Model { model, messages } => {
                messages.push(user);
                let body = json!({ "model": model, "messages": messages, "stream": true });
                let mut answer = String::new();
                let outcome = remote.events("/v1/chat/completions", &body, |event| {
                    let piece = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
                    answer.push_str(piece);
                    write(piece)
                });
                if let Err(error) = outcome.await {
                    messages.pop();
                    return Err(error);
                }
                messages.push(json!({ "role": "assistant", "content": answer }));
                say("")
            }
            Self::Agent { path, .. } => {
                let body = json!({ "messages": [user], "stream": true });
                remote.events(path, &body, |event| show(&event["event"]["payload"])).await?;
                say("")
            }
        }
    }
}

/// One event of a turn (Llama Stack's shape), as people like to read it.
fn show(payload: &Value) -> Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match payload["event_type"].as_str() {
        Some("step_progress") if payload["delta"]["type"] == "text" => write(text(&payload["delta"]["text"])),
        Some("step_start") if !payload["metadata"]["frontdesk_restarted_from"].is_null() => {
            say("\n  · the server that answered is gone; another begins anew")
        }
        Some("step_complete") => match payload["step_type"].as_str() {
            Some("tool_execution") => {
                let details = &payload["step_details"];
                for call in details["tool_calls"].as_array().into_iter().flatten() {
                    say(format!("  · {} {}", text(&call["tool_name"]), arguments(&call["arguments"])))?;
                }
                for result in details["tool_responses"].as_array().into_iter().flatten() {
                    say(format!("  → {}", arguments(&result["content"])))?;
                }
                Ok(())
            }
            Some("memory_retrieval") => say("  · looked into the knowledge"),
            Some("shield_call") => match payload["step_details"]["violation"]["user_message"].as_str() {
                Some(message) => say(format!("  · stopped: {message}")),
                None => Ok(()),
            },
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A value in one line: text as it is, anything else as JSON.
fn arguments(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
