//! The `rules` shield: all finds of a text, weighed into one verdict.
//!
//! A block weighs more than a hand-off, a hand-off more than a redaction.

use std::ops::Range;

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Result, Shield,
    safety::{Hold, Stage, Verdict},
    turn::HandOffReason,
};

use crate::{
    account, card,
    config::{Config, Messages, Replacements, TopicAction, Treatment},
    email,
    finding::{What, spans},
    secret,
    topic::Lookout,
    words::words,
};

/// Room for the longest number or address that is known only by its end.
const SHORTEST_WINDOW: usize = 96;

pub struct Rules {
    secrets: Treatment,
    card_numbers: Treatment,
    iban: Treatment,
    emails: Treatment,
    topics: Vec<Lookout>,
    stages: Vec<Stage>,
    messages: Messages,
    replacements: Replacements,
}

/// Stands for a byte that was found; no find holds it.
const MASK: &str = "|";

type Find = fn(&str) -> Vec<Range<usize>>;

impl Rules {
    /// # Errors
    /// `Invalid` naming the key: a topic without words, or a replacement that would itself be found.
    pub fn new(config: Config) -> Result<Self> {
        let topics = config.topics.into_iter().enumerate();
        let topics = topics.map(|(i, topic)| Lookout::new(topic, &format!("topics[{i}]"))).collect::<Result<_>>()?;
        let rules = Self {
            secrets: config.secrets,
            card_numbers: config.card_numbers,
            iban: config.iban,
            emails: config.emails,
            topics,
            stages: config.stages,
            messages: config.messages,
            replacements: config.replacements,
        };
        for (what, _, _) in rules.kinds() {
            let replacement = rules.replacement(what);
            // Beside letters and digits, as it may come to stand.
            if !rules.finds(&format!("a1 {replacement} 1a")).is_empty() {
                let key = format!("replacements.{}", what.category());
                return Err(Error::invalid(key.clone(), format!("{key}: '{replacement}' would itself be redacted")));
            }
        }
        Ok(rules)
    }

    fn kinds(&self) -> [(What, Treatment, Find); 4] {
        [
            (What::Secret, self.secrets, secret::find as Find),
            (What::CardNumber, self.card_numbers, card::find as Find),
            (What::Iban, self.iban, account::find as Find),
            (What::Email, self.emails, email::find as Find),
        ]
    }

    /// Everything found. What touches a find is looked at again without it, since a number glued to another
    /// is only seen once that one is gone; otherwise a second redaction would find more than the first.
    fn finds(&self, text: &str) -> Vec<(Range<usize>, What, Treatment)> {
        let mut rest = text.to_owned();
        let mut all = Vec::new();
        loop {
            let mut new: Vec<(Range<usize>, What, Treatment)> = Vec::new();
            for (what, treatment, find) in self.kinds() {
                if treatment != Treatment::Off {
                    new.extend(find(&rest).into_iter().map(|range| (range, what, treatment)));
                }
            }
            if new.is_empty() {
                return all;
            }
            for (range, _, _) in &new {
                rest.replace_range(range.clone(), &MASK.repeat(range.len()));
            }
            all.extend(new);
        }
    }

    fn verdict(&self, stage: Stage, text: &str) -> Verdict {
        let finds = if self.stages.contains(&stage) { self.finds(text) } else { Vec::new() };
        if let Some((_, what, _)) = finds.iter().find(|(_, _, treatment)| *treatment == Treatment::Block) {
            return Verdict::Block { category: what.category().to_owned(), message: self.message(*what).to_owned() };
        }
        if let Some(verdict) = self.topic(stage, text) {
            return verdict;
        }
        if finds.is_empty() {
            return Verdict::Allow;
        }
        let ranges = finds.into_iter().map(|(range, what, _)| (range, what)).collect();
        Verdict::Redact { spans: spans(ranges, |what| self.replacement(what).to_owned()) }
    }

    /// The first blocked topic, else the first one to hand over.
    fn topic(&self, stage: Stage, text: &str) -> Option<Verdict> {
        if !self.topics.iter().any(|t| t.stages.contains(&stage)) {
            return None;
        }
        let read = words(text);
        let mut spoken: Vec<&Lookout> =
            self.topics.iter().filter(|t| t.stages.contains(&stage) && t.is_in(&read)).collect();
        spoken.sort_by_key(|t| t.action == TopicAction::HandOff);
        let topic = spoken.first()?;
        let said = |fallback: &str| topic.message.clone().unwrap_or_else(|| fallback.to_owned());
        Some(match topic.action {
            TopicAction::Block => Verdict::Block { category: topic.name.clone(), message: said(&self.messages.topic) },
            TopicAction::HandOff => {
                Verdict::HandOff { reason: HandOffReason::PolicyRestriction, message: said(&self.messages.hand_off) }
            }
        })
    }

    fn message(&self, what: What) -> &str {
        match what {
            What::Secret => &self.messages.secret,
            What::CardNumber => &self.messages.card_number,
            What::Iban => &self.messages.iban,
            What::Email => &self.messages.email,
        }
    }

    fn replacement(&self, what: What) -> &str {
        match what {
            What::Secret => &self.replacements.secret,
            What::CardNumber => &self.replacements.card_number,
            What::Iban => &self.replacements.iban,
            What::Email => &self.replacements.email,
        }
    }
}

#[async_trait]
impl Shield for Rules {
    /// Enough to know a find by its beginning. Finds that reach the end of a text may still grow.
    fn hold(&self) -> Hold {
        // Twice the phrase: people put more than one space or mark between words.
        let topics = self.topics.iter().map(|t| 2 * t.longest()).max().unwrap_or(0);
        let secrets = if self.secrets == Treatment::Off { 0 } else { secret::WINDOW };
        Hold::Window(topics.max(secrets).max(SHORTEST_WINDOW))
    }

    fn guards(&self, stage: Stage) -> bool {
        let finds =
            self.kinds().iter().any(|(_, treatment, _)| *treatment != Treatment::Off) && self.stages.contains(&stage);
        finds || self.topics.iter().any(|t| t.stages.contains(&stage))
    }

    async fn check(&self, _: &Cx, stage: Stage, text: &str) -> Result<Verdict> {
        Ok(self.verdict(stage, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rules(config: serde_json::Value) -> Rules {
        Rules::new(serde_json::from_value(config).expect("a config")).expect("rules")
    }

    fn redacted(rules: &Rules, text: &str) -> String {
        match rules.verdict(Stage::Input, text) {
            Verdict::Redact { spans } => {
                let mut out = text.to_owned();
                for span in spans.iter().rev() {
                    out.replace_range(span.start..span.end, &span.replacement);
                }
                out
            }
            _ => text.to_owned(),
        }
    }

    #[test]
    fn a_card_is_redacted_and_the_rest_stays() {
        let rules = rules(json!({}));
        assert_eq!(redacted(&rules, "Größe M, card 4111 1111 1111 1111!"), "Größe M, card [card number removed]!");
    }

    #[test]
    fn block_weighs_more_than_hand_off_and_hand_off_more_than_redact() {
        let topics = json!([
            { "name": "legal", "phrases": ["my lawyer"], "action": "hand_off", "message": "A colleague answers." },
            { "name": "fuse", "phrases": ["bypass the fuse"], "message": "No." }
        ]);
        let rules = rules(json!({ "topics": topics }));
        let all = rules.verdict(Stage::Input, "my lawyer says: bypass the fuse, 4111111111111111");
        assert_eq!(all, Verdict::Block { category: "fuse".into(), message: "No.".into() });
        let two = rules.verdict(Stage::Input, "my lawyer has 4111111111111111");
        assert_eq!(
            two,
            Verdict::HandOff { reason: HandOffReason::PolicyRestriction, message: "A colleague answers.".into() }
        );
    }

    #[test]
    fn each_rule_keeps_to_its_stages() {
        let rules = rules(
            json!({ "stages": ["output"], "topics": [{ "name": "t", "phrases": ["x y"], "stages": ["tool_input"] }] }),
        );
        assert_eq!(rules.verdict(Stage::Input, "4111111111111111 x y"), Verdict::Allow);
        assert!(matches!(rules.verdict(Stage::Output, "4111111111111111 x y"), Verdict::Redact { .. }));
        assert!(matches!(rules.verdict(Stage::ToolInput, "4111111111111111 x y"), Verdict::Block { .. }));
        assert!(!rules.guards(Stage::Input) && rules.guards(Stage::ToolInput) && rules.guards(Stage::Output));
    }

    #[test]
    fn bad_configuration_names_its_key() {
        let refused =
            |config| Rules::new(serde_json::from_value(config).expect("a config")).err().and_then(|e| e.param);
        assert_eq!(
            refused(json!({ "topics": [{ "name": "t", "phrases": ["ok", "?!"] }] })).as_deref(),
            Some("topics[0].phrases[1]")
        );
        assert_eq!(
            refused(json!({ "emails": "redact", "replacements": { "email": "ask me@shop.example" } })).as_deref(),
            Some("replacements.email")
        );
        let unknown = serde_json::from_value::<Config>(json!({ "cards": true })).expect_err("no such key");
        assert!(unknown.to_string().contains("card_numbers"), "{unknown}");
    }

    #[test]
    fn the_window_covers_the_longest_phrase() {
        let long = "word ".repeat(60);
        let Hold::Window(n) = rules(json!({ "topics": [{ "name": "t", "phrases": [long.trim()] }] })).hold() else {
            panic!("a window")
        };
        assert!(n >= long.len(), "{n}");
    }

    proptest::proptest! {
        #[test]
        fn redaction_is_valid_on_any_text_and_done_once(
            text in proptest::collection::vec(
                proptest::prop_oneof![
                    "\\PC{0,20}",
                    proptest::strategy::Just("4111 1111 1111 1111".to_owned()),
                    proptest::strategy::Just("BE68 5390 0754 7034".to_owned()),
                    proptest::strategy::Just("ghp_a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8".to_owned()),
                    proptest::strategy::Just("a.b@shop.example".to_owned()),
                    proptest::strategy::Just("-----BEGIN PRIVATE KEY-----".to_owned()),
                ],
                0..8,
            )
        ) {
            let rules = rules(json!({ "iban": "redact", "emails": "redact" }));
            let text = text.concat();
            if let Verdict::Redact { spans } = rules.verdict(Stage::Output, &text) {
                let mut before = 0;
                for span in &spans {
                    proptest::prop_assert!(before <= span.start && span.start < span.end);
                    proptest::prop_assert!(text.get(span.start..span.end).is_some());
                    before = span.end;
                }
            }
            let once = redacted(&rules, &text);
            proptest::prop_assert_eq!(redacted(&rules, &once), once);
        }
    }
}
