//! What an operator writes under `config:` of a `rules` shield.

use std::fmt;

use frontdesk_api::safety::Stage;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// API keys, tokens, private keys, addresses with a password in them. `true`: redact.
    pub secrets: Treatment,
    /// Numbers that are card numbers by issuer, length and check digit, however they are spaced.
    pub card_numbers: Treatment,
    /// International bank account numbers, by country, length and check digits.
    pub iban: Treatment,
    pub emails: Treatment,
    pub topics: Vec<Topic>,
    /// Where all but the topics are looked for.
    pub stages: Vec<Stage>,
    /// What the customer reads when something is blocked; each has a plain default.
    pub messages: Messages,
    /// What stands in place of something redacted.
    pub replacements: Replacements,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            secrets: Treatment::Redact,
            card_numbers: Treatment::Redact,
            iban: Treatment::Off,
            emails: Treatment::Off,
            topics: Vec::new(),
            stages: vec![Stage::Input, Stage::ToolOutput, Stage::Retrieved, Stage::Output],
            messages: Messages::default(),
            replacements: Replacements::default(),
        }
    }
}

/// What happens to a find: `redact`, `block` or `off`. `true` means redact, `false` off (YAML reads a bare
/// `off` as false).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Treatment {
    Off,
    Redact,
    Block,
}

impl<'de> Deserialize<'de> for Treatment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Word;
        impl Visitor<'_> for Word {
            type Value = Treatment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("redact, block, off, true or false")
            }
            fn visit_bool<E: Error>(self, on: bool) -> Result<Treatment, E> {
                Ok(if on { Treatment::Redact } else { Treatment::Off })
            }
            fn visit_str<E: Error>(self, word: &str) -> Result<Treatment, E> {
                match word {
                    "redact" => Ok(Treatment::Redact),
                    "block" => Ok(Treatment::Block),
                    "off" => Ok(Treatment::Off),
                    other => Err(E::custom(format!("'{other}' is none of redact, block, off"))),
                }
            }
        }
        from.deserialize_any(Word)
    }
}

/// Something the agent does not talk about, or that a person must take over.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The category that steps and logs show.
    pub name: String,
    /// Whole words in order, whatever their case, accents or spacing; a `*` at the end of a word stands for
    /// any ending (`bypass* the fuse`).
    pub phrases: Vec<String>,
    /// Harmless neighbours: a phrase inside one of these does not count (`bomb`, except `bath bomb`).
    #[serde(default)]
    pub except: Vec<String>,
    #[serde(default)]
    pub action: TopicAction,
    /// What the customer reads.
    #[serde(default)]
    pub message: Option<String>,
    /// Where it is looked for; the shop's own pages and tools may speak of it.
    #[serde(default = "spoken")]
    pub stages: Vec<Stage>,
}

fn spoken() -> Vec<Stage> {
    vec![Stage::Input, Stage::Output]
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicAction {
    #[default]
    Block,
    HandOff,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Messages {
    pub secret: String,
    pub card_number: String,
    pub iban: String,
    pub email: String,
    /// For a blocked topic without a message of its own.
    pub topic: String,
    /// For a topic that is handed over, without a message of its own.
    pub hand_off: String,
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            secret: "This message holds a password or key. Please remove it and send the message again.".into(),
            card_number: "Please do not send card numbers here. We never need one to help you.".into(),
            iban: "Please do not send bank account numbers here.".into(),
            email: "Please do not send e-mail addresses here.".into(),
            topic: "I cannot help with this here.".into(),
            hand_off: "I am passing this to a colleague.".into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Replacements {
    pub secret: String,
    pub card_number: String,
    pub iban: String,
    pub email: String,
}

impl Default for Replacements {
    fn default() -> Self {
        Self {
            secret: "[secret removed]".into(),
            card_number: "[card number removed]".into(),
            iban: "[account number removed]".into(),
            email: "[e-mail address removed]".into(),
        }
    }
}
