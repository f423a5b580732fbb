//! The shields of the stage, and its clock for what is elsewhere.

use std::time::Instant;

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Error, Kind, Result, Safety,
    safety::{Checked, Hold, Stage, Verdict},
    turn::HandOffReason,
};

/// `poison` is blocked wherever it stands, `4111` becomes `[card]`, `lawyer` goes to a person; at `jammed` it fails.
pub struct Guard;

/// What is elsewhere keeps to the deadline that it is given.
pub fn in_time(cx: &Cx) -> Result<()> {
    let over = cx.deadline.is_some_and(|deadline| deadline <= Instant::now());
    if over { Err(Error::new(Kind::Timeout, "its time is up")) } else { Ok(()) }
}

#[async_trait]
impl Safety for Guard {
    async fn check(&self, cx: &Cx, shields: &[String], _: Stage, text: &str) -> Result<Checked> {
        in_time(cx)?;
        if text.contains("jammed") {
            return Err(Error::upstream("the shield is jammed"));
        }
        let mut checked = Checked { text: text.replace("4111", "[card]"), verdicts: vec![] };
        for id in shields {
            let verdict = if text.contains("poison") {
                Verdict::Block { category: "poison".into(), message: "I cannot help with that.".into() }
            } else if text.contains("lawyer") {
                let reason = HandOffReason::PolicyRestriction;
                Verdict::HandOff { reason, message: "A colleague will write to you.".into() }
            } else if checked.text != text {
                Verdict::Redact { spans: vec![] }
            } else {
                Verdict::Allow
            };
            checked.verdicts.push((id.clone(), verdict));
        }
        Ok(checked)
    }

    fn knows(&self, shields: &[String]) -> Result<()> {
        let known = shields.iter().all(|id| id == "guard");
        if known { Ok(()) } else { Err(Error::not_found("no such shield")) }
    }

    fn hold(&self, shields: &[String], _: Stage) -> Option<Hold> {
        (!shields.is_empty()).then_some(Hold::Window(8))
    }
}
