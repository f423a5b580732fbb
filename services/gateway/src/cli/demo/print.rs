//! The demo's turns as people like to read them: the question, what was done with timings, the answer, its
//! sources; and how to go on.

use std::io::IsTerminal;

use frontdesk_api::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::ask::{Step, Told};
use crate::cli::say;

/// A spinner on stderr while something is under way; nothing where stderr is not a terminal.
pub(in crate::cli) struct Spinner(Option<ProgressBar>);

impl Spinner {
    pub(in crate::cli) fn start(words: impl Into<String>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(words.into());
        bar.enable_steady_tick(std::time::Duration::from_millis(90));
        Self(Some(bar))
    }

    pub(super) fn say(&self, words: &str) {
        if let Some(bar) = &self.0 {
            bar.set_message(words.to_owned());
        }
    }

    /// Names the step that has begun.
    pub(super) fn follow(&self, payload: &Value) {
        if payload["event_type"] == "step_start" {
            self.say(match payload["step_type"].as_str() {
                Some("inference") => "the model thinks",
                Some("tool_execution") => "a tool runs",
                Some("shield_call") => "a shield looks",
                Some("memory_retrieval") => "looking in the pages",
                _ => "working",
            });
        }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// One turn.
pub(super) fn turn(told: &Told) -> Result<()> {
    say(format!("\n  customer  {}", told.question))?;
    for step in &told.steps {
        say(format!("            · {:<58} {:>6} ms", line(step), step.ms))?;
    }
    say(format!("  agent     {}", told.answer))?;
    for source in sources(&told.citations) {
        say(format!("            {source}"))?;
    }
    if let Some(hand_off) = &told.hand_off {
        let reason = hand_off["reason"].as_str().unwrap_or_default().replace('_', " ");
        say(format!("            handed over to a person: {reason}"))?;
    }
    match &told.fault {
        None => say(format!("            ✓ {} ms", told.ms)),
        Some(fault) => say(format!("            ✗ {fault}")),
    }
}

/// A line for each page that an answer rests on and each file it speaks of, which is fetched from the path.
fn sources(citations: &[Value]) -> Vec<String> {
    let mut lines = vec![];
    for citation in citations {
        let text = |name: &str| citation[name].as_str().unwrap_or_default();
        let line = match citation["container_id"].as_str() {
            Some(container) => {
                format!("{} (/v1/containers/{container}/files/{}/content)", text("filename"), text("file_id"))
            }
            None => format!("[{}] {} ({})", citation["number"], text("title"), text("filename")),
        };
        // A file may be spoken of in several places.
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// A step in one line of at most 58 characters.
fn line(step: &Step) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let words = match step.kind.as_str() {
        "inference" => format!("model {}", text(step.own("model"))),
        "memory_retrieval" => {
            let passages = step.own("passages").as_array().map_or(&[] as &[Value], Vec::as_slice);
            match passages.first() {
                Some(best) => format!("found {} of the pages, best: {}", passages.len(), text(&best["title"])),
                None => "found nothing in the pages".into(),
            }
        }
        "tool_execution" => {
            let call = &step.details["tool_calls"][0];
            let arguments =
                call["arguments_json"].as_str().map_or_else(|| call["arguments"].to_string(), str::to_owned);
            format!(
                "{}({arguments}) → {}",
                text(&call["tool_name"]),
                text(&step.details["tool_responses"][0]["content"])
            )
        }
        "shield_call" => {
            let verdict = step.own("verdict");
            format!(
                "shield {} at {}: {}",
                text(step.own("shield_id")),
                text(step.own("stage")),
                text(&verdict["action"])
            )
        }
        other => other.to_owned(),
    };
    if words.chars().count() <= 58 {
        return words;
    }
    words.chars().take(57).chain(['…']).collect()
}

/// How to go on.
pub(super) fn next(url: &str, key: &str, agent: &str, model: &str) -> Result<()> {
    say(format!(
        "
  It stays up at {url} until Ctrl-C. Go on with

    a browser        {url}/#key={key}
    a conversation   frontdesk chat --url {url} --key {key}
    curl             curl {url}/v1/chat/completions -H 'Authorization: Bearer {key}' \\
                       -H 'content-type: application/json' \\
                       -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"hello\"}}]}}'
    Python           from openai import OpenAI
                     OpenAI(base_url=\"{url}/v1\", api_key=\"{key}\").chat.completions.create(
                         model=\"{model}\", messages=[{{\"role\": \"user\", \"content\": \"hello\"}}])
    the agent        {agent}

  The model is a tiny demo model of our own: it knows this shop's questions and little else.
  For real work name a real one in a configuration: frontdesk init"
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_that_code_wrote_is_named_once_with_its_path_and_a_page_with_its_number() {
        let file = |number: usize| json!({ "number": number, "container_id": "cntr_1", "file_id": "cfile_1", "filename": "a.csv", "title": "a.csv" });
        let page = json!({ "number": 1, "file_id": "file_1", "filename": "returns.md", "title": "Returns" });
        assert_eq!(
            sources(&[page, file(1), file(2)]),
            ["[1] Returns (returns.md)", "a.csv (/v1/containers/cntr_1/files/cfile_1/content)"]
        );
    }
}
