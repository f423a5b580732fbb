//! A replay as people read it: turn by turn, what stayed, what went and what came.
//!
//! Invariant: what customers, models and tools wrote moves no cursor: control characters are shown as blanks.

use std::fmt::Write as _;

use frontdesk_api::Result;
use serde_json::Value;

use crate::cli::say;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// How much of a message or of arguments is shown, in characters; `--json` has all of it.
const MOST: usize = 300;

pub(super) struct Printer {
    colour: bool,
    total: u64,
    /// The conversation of the turn before.
    conversation: String,
}

impl Printer {
    pub(super) fn new(colour: bool) -> Self {
        Self { colour, total: 0, conversation: String::new() }
    }

    pub(super) fn started(&mut self, event: &Value) -> Result<()> {
        self.total = event["turns"].as_u64().unwrap_or(0);
        let against = match event["version"].as_i64() {
            Some(version) => format!("version {version}"),
            None => "the file".into(),
        };
        say(format_args!("{} recorded turns, asked again of {against}", self.total))
    }

    pub(super) fn turn(&mut self, turn: &Value) -> Result<()> {
        let conversation = turn["conversation_id"].as_str().unwrap_or_default();
        if self.conversation != conversation {
            conversation.clone_into(&mut self.conversation);
            say(format_args!("\n{}", self.painted(BOLD, conversation)))?;
        }
        say(self.told(turn))
    }

    /// A turn's lines.
    fn told(&self, turn: &Value) -> String {
        let mut lines = format!("{}/{} {}", turn["n"], self.total, short(turn["input"].as_str().unwrap_or_default()));
        if let Some(why) = turn["skipped"].as_str() {
            let why = match why {
                "open" => "it has not ended",
                "cut_off" => "it was cut off",
                "other_agent" => "another agent answered it",
                _ => "no agent was asked",
            };
            lines.push_str(&self.painted(DIM, &format!("\n    not asked again: {why}")));
            return lines;
        }
        let compared = &turn["comparison"];
        let differs: Vec<&str> = list(&compared["differs"]).iter().filter_map(Value::as_str).collect();
        if differs.is_empty() {
            lines.push_str(&self.painted(DIM, "\n    same"));
        }
        if differs.contains(&"text") {
            lines.push_str("\n    text: ");
            lines.push_str(&self.text(&compared["text_diff"]).replace('\n', "\n      "));
        }
        if differs.contains(&"tool_calls") {
            lines.push_str("\n    calls:");
            for call in list(&compared["call_diff"]) {
                let (name, arguments) = (words(&call["name"]), short(call["arguments"].as_str().unwrap_or_default()));
                let told = match call["change"].as_str() {
                    Some("removed") => self.painted(RED, &format!("- {name} {arguments}")),
                    Some("added") => self.painted(GREEN, &format!("+ {name} {arguments}")),
                    _ => format!("  {name} {arguments}"),
                };
                let _ = write!(lines, "\n      {told}");
            }
        }
        if differs.contains(&"outcome") {
            let (was, is) = (end(&compared["recorded"]), end(&compared["replayed"]));
            let _ = write!(lines, "\n    outcome: {} -> {}", self.painted(RED, &was), self.painted(GREEN, &is));
        }
        for call in list(&compared["not_made"]) {
            let why = match call["why"].as_str() {
                Some("has_effects") => "its tool has effects (--allow-effects)",
                _ => "the recording has no answer to it",
            };
            let (name, arguments) = (words(&call["name"]), short(call["arguments"].as_str().unwrap_or_default()));
            let _ = write!(lines, "\n    not made: {name} {arguments}: {why}");
        }
        let (was, is) = (&compared["recorded"], &compared["replayed"]);
        let took = format!("\n    {} -> {}", took(was), took(is));
        lines.push_str(&self.painted(DIM, &took));
        lines
    }

    /// What became of a text: in colours, or in the marks of `wdiff`.
    fn text(&self, pieces: &Value) -> String {
        let mut all = String::new();
        for piece in list(pieces) {
            let text = words(&piece["text"]);
            match (piece["change"].as_str(), self.colour) {
                (Some("removed"), true) => all.push_str(&self.painted(RED, &text)),
                (Some("added"), true) => all.push_str(&self.painted(GREEN, &text)),
                (Some("removed"), false) => all.extend(["[-", &text, "-]"]),
                (Some("added"), false) => all.extend(["{+", &text, "+}"]),
                _ => all.push_str(&text),
            }
        }
        all
    }

    pub(super) fn ended(&self, whole: &Value) -> Result<()> {
        let summary = &whole["summary"];
        let count = |name: &str| summary[name].as_u64().unwrap_or(0);
        let (turns, different, faults, skipped) =
            (count("turns"), count("different"), count("faults"), count("skipped"));
        let mut line =
            format!("\n{turns} turns asked again: {} the same, {different} different", turns - different.min(turns));
        if faults > 0 {
            let _ = write!(line, ", {faults} of them failed because something they need did");
        }
        if skipped > 0 {
            let _ = write!(line, "; {skipped} not asked again");
        }
        let sums = |side: &str| {
            let sums = &summary[side];
            let tokens = sums["input_tokens"].as_u64().unwrap_or(0) + sums["output_tokens"].as_u64().unwrap_or(0);
            format!("{tokens} tokens, {}, {} ms", dollars(sums["cost_nano_usd"].as_i64()), sums["model_ms"])
        };
        say(format_args!("{line}\n{} -> {}", sums("recorded"), sums("replayed")))
    }

    fn painted(&self, colour: &str, text: &str) -> String {
        if self.colour { format!("{colour}{text}{PLAIN}") } else { text.to_owned() }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// What was written, without what would move a cursor.
fn words(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect()
}

/// One line of it.
fn short(text: &str) -> String {
    let mut line: String = text.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MOST).is_some() {
        line.push('…');
    }
    line
}

/// How a turn ended.
fn end(side: &Value) -> String {
    let mut told = side["state"].as_str().unwrap_or_default().replace('_', " ");
    if let Some(code) = side["error"]["code"].as_str() {
        let _ = write!(told, " ({code}: {})", short(side["error"]["message"].as_str().unwrap_or_default()));
    }
    if let Some(reason) = side["hand_off"]["reason"].as_str() {
        let to = side["hand_off"]["to"]["agent"].as_str().unwrap_or("people");
        let _ = write!(told, ", handed to {} ({reason})", short(to));
    }
    let waits: Vec<String> = list(&side["waits_for"]).iter().map(|call| words(&call["name"])).collect();
    if !waits.is_empty() {
        let _ = write!(told, " of a person's word to {}", waits.join(", "));
    }
    told
}

fn took(side: &Value) -> String {
    let tokens =
        side["usage"]["input_tokens"].as_u64().unwrap_or(0) + side["usage"]["output_tokens"].as_u64().unwrap_or(0);
    format!("{tokens} tokens, {}, {} ms", dollars(side["cost_nano_usd"].as_i64()), side["model_ms"])
}

/// Nano-USD as dollars.
fn dollars(nano: Option<i64>) -> String {
    let Some(nano) = nano else { return "no price".into() };
    format!("{}.{:06} USD", nano / 1_000_000_000, (nano % 1_000_000_000) / 1_000)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn turn() -> Value {
        let side = |state: &str, more: Value| {
            let mut side = json!({
                "state": state, "error": null, "hand_off": null, "waits_for": [], "model_ms": 420, "cost_nano_usd": 120_500,
                "usage": { "input_tokens": 300, "output_tokens": 12 },
            });
            side.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            side
        };
        json!({
            "n": 2, "conversation_id": "sess_1", "input": "where is\n\u{1b}[2J it", "skipped": null,
            "comparison": {
                "differs": ["text", "tool_calls", "outcome"],
                "text_diff": [
                    { "change": "same", "text": "It is " }, { "change": "removed", "text": "here" },
                    { "change": "added", "text": "th\u{7}ere" }, { "change": "same", "text": "." },
                ],
                "call_diff": [
                    { "change": "same", "name": "look", "arguments": "{}" },
                    { "change": "added", "name": "pay", "arguments": "{\"n\":1}" },
                ],
                "not_made": [{ "name": "pay", "arguments": "{\"n\":1}", "why": "not_recorded" }],
                "recorded": side("completed", json!({})),
                "replayed": side("completed", json!({ "hand_off": { "reason": "customer_request", "to": null }, "cost_nano_usd": null })),
                "fault": false,
            },
        })
    }

    #[test]
    fn a_difference_reads_without_colours() {
        let printer = Printer { colour: false, total: 3, conversation: String::new() };
        insta::assert_snapshot!(printer.told(&turn()), @r#"
        2/3 where is  [2J it
            text: It is [-here-]{+th ere+}.
            calls:
                look {}
              + pay {"n":1}
            outcome: completed -> completed, handed to people (customer_request)
            not made: pay {"n":1}: the recording has no answer to it
            312 tokens, 0.000120 USD, 420 ms -> 312 tokens, no price, 420 ms
        "#);
    }

    #[test]
    fn a_difference_has_colours_on_a_terminal_and_nothing_else_moves_it() {
        let printer = Printer { colour: true, total: 3, conversation: String::new() };
        let told = printer.told(&turn());
        assert!(told.contains("It is \u{1b}[31mhere\u{1b}[0m\u{1b}[32mth ere\u{1b}[0m."), "{told}");
        let rest = [RED, GREEN, DIM, PLAIN].iter().fold(told, |told, colour| told.replace(colour, ""));
        assert!(!rest.contains('\u{1b}'), "{rest}");
    }

    #[test]
    fn what_was_not_asked_again_says_why() {
        let printer = Printer { colour: false, total: 1, conversation: String::new() };
        let turn = json!({ "n": 1, "input": "hi", "skipped": "other_agent" });
        assert_eq!(printer.told(&turn), "1/1 hi\n    not asked again: another agent answered it");
    }
}
