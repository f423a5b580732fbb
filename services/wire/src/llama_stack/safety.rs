//! Shields and their verdicts.

use frontdesk_api::{Result, safety::Verdict};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::content::InterleavedContent;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Shield {
    pub identifier: String,
    pub provider_id: String,
    pub provider_resource_id: String,
    /// Always `shield`.
    pub r#type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Map<String, Value>>,
}

impl Shield {
    #[must_use]
    pub fn new(id: &str, provider_id: &str, params: Option<Map<String, Value>>) -> Self {
        let id = id.to_owned();
        Self {
            provider_resource_id: id.clone(),
            identifier: id,
            provider_id: provider_id.to_owned(),
            r#type: "shield".into(),
            params,
        }
    }
}

/// `POST /v1/shields`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct RegisterShield {
    pub shield_id: String,
    #[serde(default)]
    pub provider_id: Option<String>,
    #[serde(default)]
    pub provider_shield_id: Option<String>,
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<Map<String, Value>>,
}

/// `POST /v1/safety/run-shield`.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct RunShield {
    pub shield_id: String,
    pub messages: Vec<ShieldedMessage>,
    #[serde(default)]
    #[schema(value_type = Object)]
    pub params: Map<String, Value>,
}

/// Any message; only role and content matter to a shield.
#[derive(Debug, Clone, Deserialize, Serialize, utoipa::ToSchema)]
pub struct ShieldedMessage {
    pub role: String,
    pub content: InterleavedContent,
}

impl RunShield {
    /// The messages' words, and whether the last of them is the agent's (then the output stage is meant).
    ///
    /// # Errors
    /// `Invalid` naming a message that is not text.
    pub fn text(&self) -> Result<(String, bool)> {
        let mut words = Vec::with_capacity(self.messages.len());
        for (i, message) in self.messages.iter().enumerate() {
            words.push(message.content.to_text(&format!("messages[{i}].content"))?);
        }
        let by_agent = self.messages.last().is_some_and(|m| m.role == "assistant");
        Ok((words.join("\n"), by_agent))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunShieldResponse {
    /// None: nothing was found.
    pub violation: Option<SafetyViolation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SafetyViolation {
    pub violation_level: Level,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_message: Option<String>,
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Info,
    /// The text went on, changed.
    Warn,
    /// The text stopped here.
    Error,
}

/// A verdict as a violation; None for what was allowed.
#[must_use]
pub fn violation(shield_id: &str, verdict: &Verdict) -> Option<SafetyViolation> {
    let (violation_level, user_message, metadata) = match verdict {
        Verdict::Allow => return None,
        Verdict::Redact { spans } => {
            let mut found: Vec<&str> = spans.iter().map(|s| s.category.as_str()).collect();
            found.dedup();
            (
                Level::Warn,
                None,
                json!({ "action": "redact", "violation_type": found.join(", "), "shield_id": shield_id }),
            )
        }
        Verdict::Block { category, message } => {
            let metadata = json!({ "action": "block", "violation_type": category, "shield_id": shield_id });
            (Level::Error, Some(message.clone()), metadata)
        }
        Verdict::HandOff { reason, message } => {
            let metadata = json!({ "action": "hand_off", "violation_type": reason, "shield_id": shield_id });
            (Level::Error, Some(message.clone()), metadata)
        }
    };
    Some(SafetyViolation { violation_level, user_message, metadata: metadata.as_object().cloned().unwrap_or_default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_an_error_with_the_customers_words_and_an_allow_is_nothing() {
        assert_eq!(violation("rules", &Verdict::Allow), None);
        let block = Verdict::Block { category: "topic".into(), message: "I cannot talk about that.".into() };
        let found = violation("rules", &block).expect("a violation");
        assert_eq!(
            (found.violation_level, found.user_message.as_deref()),
            (Level::Error, Some("I cannot talk about that."))
        );
        assert_eq!(found.metadata["violation_type"], "topic");
    }
}
