//! The shields of this installation by id.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc};

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Result, Safety, Shield,
    safety::{Checked, Hold, Stage, Verdict},
};
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};

use crate::redact::apply;

/// What the customer reads when a shield could not judge.
const COULD_NOT_CHECK: &str =
    "This message could not be checked, so it was not passed on. Please try again in a moment.";

/// What a failing shield means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    #[default]
    Block,
    /// The text passes; logged at `warn`.
    Allow,
}

/// A shield of the configuration.
#[derive(Clone)]
pub struct Entry {
    pub id: String,
    /// The `type:` it was built from (`rules`).
    pub kind: String,
    pub shield: Arc<dyn Shield>,
    /// Narrows where it works; None: wherever the shield itself guards.
    pub stages: Option<Vec<Stage>>,
    pub on_error: OnError,
}

impl Entry {
    fn guards(&self, stage: Stage) -> bool {
        self.stages.as_ref().is_none_or(|s| s.contains(&stage)) && self.shield.guards(stage)
    }
}

/// A shield as people see it in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShieldInfo {
    pub id: String,
    pub kind: String,
    pub stages: Vec<Stage>,
    pub on_error: OnError,
}

/// The registry; implements [`Safety`].
#[derive(Default)]
pub struct Shields {
    entries: BTreeMap<String, Entry>,
}

const STAGES: [Stage; 5] = [Stage::Input, Stage::Retrieved, Stage::ToolInput, Stage::ToolOutput, Stage::Output];

impl Shields {
    /// # Errors
    /// `Invalid` when two entries have one id.
    pub fn new(entries: impl IntoIterator<Item = Entry>) -> Result<Self> {
        let mut shields = Self::default();
        for entry in entries {
            let id = entry.id.clone();
            if shields.entries.insert(id.clone(), entry).is_some() {
                return Err(Error::invalid("id", format!("two shields are called '{id}'")));
            }
        }
        Ok(shields)
    }

    /// By id.
    #[must_use]
    pub fn list(&self) -> Vec<ShieldInfo> {
        self.entries.values().map(info).collect()
    }

    #[must_use]
    pub fn find(&self, id: &str) -> Option<ShieldInfo> {
        self.entries.get(id).map(info)
    }

    fn entry(&self, id: &str) -> Result<&Entry> {
        self.entries.get(id).ok_or_else(|| {
            let known: Vec<&str> = self.entries.keys().map(String::as_str).collect();
            let known = if known.is_empty() {
                "none are configured".to_owned()
            } else {
                format!("known are: {}", known.join(", "))
            };
            Error::not_found(format!("no shield '{id}'; {known}")).with_code("shield_not_found")
        })
    }
}

fn info(entry: &Entry) -> ShieldInfo {
    ShieldInfo {
        id: entry.id.clone(),
        kind: entry.kind.clone(),
        stages: STAGES.into_iter().filter(|s| entry.guards(*s)).collect(),
        on_error: entry.on_error,
    }
}

#[async_trait]
impl Safety for Shields {
    async fn check(&self, cx: &Cx, shields: &[String], stage: Stage, text: &str) -> Result<Checked> {
        // All names first: a misspelt shield must not depend on what the ones before it say.
        let entries = shields.iter().map(|id| self.entry(id)).collect::<Result<Vec<_>>>()?;
        let mut checked = Checked { text: text.to_owned(), verdicts: Vec::new() };
        for entry in entries.into_iter().filter(|e| e.guards(stage)) {
            let verdict = judge(cx, entry, stage, &mut checked.text).await;
            let stops = matches!(verdict, Verdict::Block { .. } | Verdict::HandOff { .. });
            checked.verdicts.push((entry.id.clone(), verdict));
            if stops {
                break;
            }
        }
        Ok(checked)
    }

    fn knows(&self, shields: &[String]) -> Result<()> {
        shields.iter().try_for_each(|id| self.entry(id).map(drop))
    }

    fn hold(&self, shields: &[String], stage: Stage) -> Option<Hold> {
        let holds =
            shields.iter().filter_map(|id| self.entries.get(id)).filter(|e| e.guards(stage)).map(|e| e.shield.hold());
        holds.reduce(|a, b| match (a, b) {
            (Hold::Window(a), Hold::Window(b)) => Hold::Window(a.max(b)),
            _ => Hold::Whole,
        })
    }
}

/// One shield's verdict, its redactions applied to `text`.
async fn judge(cx: &Cx, entry: &Entry, stage: Stage, text: &mut String) -> Verdict {
    let answer = AssertUnwindSafe(entry.shield.check(cx, stage, text)).catch_unwind().await;
    let why = match answer {
        Ok(Ok(Verdict::Redact { spans })) => match apply(text, &spans) {
            Some(redacted) => {
                *text = redacted;
                return Verdict::Redact { spans };
            }
            None => "it answered with spans that do not fit the text".to_owned(),
        },
        Ok(Ok(verdict)) => return verdict,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    tracing::warn!(shield = entry.id, ?stage, ?entry.on_error, why, request = cx.request, "shield could not judge");
    match entry.on_error {
        OnError::Block => Verdict::Block { category: "shield_error".into(), message: COULD_NOT_CHECK.into() },
        OnError::Allow => Verdict::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontdesk_api::safety::Span;

    /// Redacts `find`, blocks `stop`, fails as told.
    struct Scripted {
        hold: Hold,
        guards: Stage,
        say: fn(&str) -> Result<Verdict>,
    }

    #[async_trait]
    impl Shield for Scripted {
        fn hold(&self) -> Hold {
            self.hold
        }
        fn guards(&self, stage: Stage) -> bool {
            stage == self.guards
        }
        async fn check(&self, _: &Cx, _: Stage, text: &str) -> Result<Verdict> {
            (self.say)(text)
        }
    }

    fn entry(id: &str, hold: Hold, say: fn(&str) -> Result<Verdict>) -> Entry {
        let shield = Arc::new(Scripted { hold, guards: Stage::Input, say });
        Entry { id: id.into(), kind: "scripted".into(), shield, stages: None, on_error: OnError::Block }
    }

    fn redact_a(text: &str) -> Result<Verdict> {
        let spans = text.match_indices('a').map(|(start, _)| Span {
            start,
            end: start + 1,
            replacement: "b".into(),
            category: "a".into(),
        });
        Ok(Verdict::Redact { spans: spans.collect() })
    }

    fn block_b(text: &str) -> Result<Verdict> {
        let block = Verdict::Block { category: "b".into(), message: "no".into() };
        Ok(if text.contains('b') { block } else { Verdict::Allow })
    }

    fn allow(_: &str) -> Result<Verdict> {
        Ok(Verdict::Allow)
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    async fn check(shields: &Shields, ids: &[&str], text: &str) -> Checked {
        shields.check(&Cx::internal("t", "r"), &names(ids), Stage::Input, text).await.expect("checked")
    }

    #[tokio::test]
    async fn a_shield_sees_what_the_one_before_left() {
        let shields = Shields::new([
            entry("one", Hold::Window(1), redact_a),
            entry("two", Hold::Window(1), block_b),
            entry("three", Hold::Window(1), allow),
        ])
        .expect("shields");
        let checked = check(&shields, &["one", "two", "three"], "xa").await;
        assert_eq!(checked.text, "xb");
        assert_eq!(checked.verdicts.len(), 2, "nothing runs after a block");
        assert_eq!(checked.stop().map(|(id, _)| id), Some("two"));
        assert!(check(&shields, &["two", "one"], "xa").await.stop().is_none());
    }

    #[tokio::test]
    async fn a_failing_shield_blocks_unless_told_otherwise() {
        fn fails(_: &str) -> Result<Verdict> {
            Err(Error::unavailable("out of order"))
        }
        fn panics(_: &str) -> Result<Verdict> {
            panic!("a bug")
        }
        fn lies(_: &str) -> Result<Verdict> {
            Ok(Verdict::Redact {
                spans: vec![Span { start: 1, end: 99, replacement: String::new(), category: String::new() }],
            })
        }
        for say in [fails as fn(&str) -> Result<Verdict>, panics, lies] {
            let closed = Shields::new([entry("s", Hold::Whole, say)]).expect("shields");
            let stop = check(&closed, &["s"], "text").await;
            assert!(matches!(stop.stop(), Some(("s", Verdict::Block { category, .. })) if category == "shield_error"));
            let open =
                Shields::new([Entry { on_error: OnError::Allow, ..entry("s", Hold::Whole, say) }]).expect("shields");
            assert_eq!(check(&open, &["s"], "text").await.verdicts, [("s".to_owned(), Verdict::Allow)]);
        }
    }

    #[tokio::test]
    async fn an_unknown_shield_is_named_before_any_runs() {
        let shields = Shields::new([entry("one", Hold::Window(1), redact_a)]).expect("shields");
        let error = shields
            .check(&Cx::internal("t", "r"), &names(&["one", "tow"]), Stage::Output, "x")
            .await
            .expect_err("no such shield");
        assert_eq!(error.kind, frontdesk_api::Kind::NotFound);
        assert!(error.message.contains("tow") && error.message.contains("one"), "{error}");
    }

    #[tokio::test]
    async fn a_shield_works_at_its_stages_only() {
        let narrowed = Entry { stages: Some(vec![Stage::Output]), ..entry("n", Hold::Whole, block_b) };
        let shields =
            Shields::new([narrowed, entry("i", Hold::Window(7), block_b), entry("w", Hold::Window(9), allow)])
                .expect("shields");
        assert!(check(&shields, &["n"], "b").await.verdicts.is_empty());
        assert_eq!(shields.hold(&names(&["n", "i", "w"]), Stage::Input), Some(Hold::Window(9)));
        assert_eq!(shields.hold(&names(&["n", "i"]), Stage::Output), None);
        assert_eq!(shields.list()[0].stages, [Stage::Input]);
    }

    #[test]
    fn one_id_is_one_shield() {
        assert!(Shields::new([entry("s", Hold::Whole, allow), entry("s", Hold::Whole, allow)]).is_err());
    }

    #[test]
    fn the_strictest_hold_wins() {
        let shields =
            Shields::new([entry("a", Hold::Window(4), allow), entry("b", Hold::Whole, allow)]).expect("shields");
        assert_eq!(shields.hold(&names(&["a", "b"]), Stage::Input), Some(Hold::Whole));
    }
}
