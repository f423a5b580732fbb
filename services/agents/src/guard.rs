//! Shields in a turn: what they say becomes steps, and a stop becomes the turn's end.

use std::sync::Arc;

use frontdesk_api::{
    memory::Passage,
    safety::{Stage, Verdict},
    turn::{EventBody, HandOff, Item, ItemBody, StepKind, StepOutput, StepState},
};
use tracing::Instrument as _;

use crate::{close::Closing, halt::Halt, worker::Worker};

/// What the shields of a stage made of a text.
pub(crate) struct Judged {
    pub(crate) stage: Stage,
    /// With redactions applied.
    pub(crate) text: String,
    /// Each shield that ran, in order; a stop is the last.
    pub(crate) verdicts: Vec<(String, Verdict)>,
}

impl Judged {
    pub(crate) fn stops(&self) -> bool {
        self.verdicts.iter().any(|(_, v)| stops(v))
    }
}

fn stops(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Block { .. } | Verdict::HandOff { .. })
}

impl Worker {
    /// The shields that look at a stage of this agent's turns.
    pub(crate) fn shields(&self, stage: Stage) -> Vec<String> {
        let more = match stage {
            Stage::Input => self.spec.input_shields.as_slice(),
            Stage::Output => self.spec.output_shields.as_slice(),
            Stage::Retrieved | Stage::ToolInput | Stage::ToolOutput => &[],
        };
        let mut shields = self.spec.shields.clone();
        shields.extend(more.iter().filter(|id| !self.spec.shields.contains(id)).cloned());
        shields
    }

    /// Asks the shields of `stage`. Says nothing yet: [`Worker::record`] or [`Worker::stopped`] do.
    pub(crate) async fn judge(&mut self, stage: Stage, text: &str) -> Result<Judged, Halt> {
        let shields = self.shields(stage);
        if shields.is_empty() {
            return Ok(Judged { stage, text: text.to_owned(), verdicts: vec![] });
        }
        let (safety, cx) = (Arc::clone(&self.room.deps.safety), self.cx.clone());
        let span = tracing::info_span!(
            "shield",
            gen_ai.operation.name = "apply_guardrail",
            gen_ai.conversation.id = self.cx.conversation(),
            frontdesk.shield.stage = stage.as_str(),
            frontdesk.shield.stopped_by = tracing::field::Empty,
        );
        let work = async { safety.check(&cx, &shields, stage, text).await };
        let checked = self.call_out(work.instrument(span.clone())).await?;
        if let Some((shield, _)) = checked.verdicts.iter().find(|(_, verdict)| stops(verdict)) {
            span.record("frontdesk.shield.stopped_by", shield);
        }
        Ok(Judged { stage, text: checked.text, verdicts: checked.verdicts })
    }

    /// A step for each shield that ran.
    pub(crate) fn record(&mut self, judged: &Judged) {
        for (shield_id, verdict) in judged.verdicts.iter().filter(|(_, v)| !stops(v)) {
            let step = self.pen.begin(StepKind::ShieldCall, shield_id, None);
            self.pen.end(step, StepState::Done, Some(output(judged.stage, shield_id, verdict)));
        }
    }

    /// Ends the turn where a shield stopped it: its steps say so, its answer is the shield's message. A
    /// message that was partly shown (`begun`) is finished with those words instead of its own.
    pub(crate) fn stopped(&mut self, judged: &Judged, begun: Option<Item>) -> Closing {
        self.record(judged);
        let Some((shield_id, verdict)) = judged.verdicts.iter().find(|(_, v)| stops(v)) else {
            return Closing::Completed;
        };
        let step = self.pen.begin(StepKind::ShieldCall, shield_id, None);
        let step_id = step.step.id.clone();
        let closing = match verdict {
            Verdict::HandOff { reason, message } => {
                let hand_off = HandOff::to_people(*reason, message.clone());
                self.hand_over(&step_id, &hand_off);
                Closing::HandedOff(hand_off)
            }
            _ => Closing::Completed,
        };
        if let Verdict::HandOff { message, .. } | Verdict::Block { message, .. } = verdict {
            match begun {
                Some(item) => self.pen.done(&step_id, reworded(item, message)),
                None => drop(self.pen.say(&step_id, message, vec![])),
            }
        }
        self.pen.end(step, StepState::Done, Some(output(judged.stage, shield_id, verdict)));
        closing
    }

    /// The typed transition to a person.
    pub(crate) fn hand_over(&mut self, step_id: &str, hand_off: &HandOff) {
        let item = self.pen.item(ItemBody::HandOff { hand_off: hand_off.clone() });
        self.pen.done(step_id, item);
        self.pen.event(EventBody::HandedOff { hand_off: hand_off.clone() });
    }

    /// Looks at each found passage by itself: one that is stopped is left out, so that a poisoned page takes
    /// itself away and not the answer. Each shield shows once, with the gravest thing it said.
    pub(crate) async fn judge_passages(&mut self, passages: Vec<Passage>) -> Result<(Vec<Passage>, Judged), Halt> {
        let mut kept = vec![];
        let mut verdicts: Vec<(String, Verdict)> = vec![];
        for mut passage in passages {
            let judged = self.judge(Stage::Retrieved, &passage.text).await?;
            if !judged.stops() {
                passage.text.clone_from(&judged.text);
                kept.push(passage);
            }
            for (shield, verdict) in judged.verdicts {
                match verdicts.iter_mut().find(|(id, _)| *id == shield) {
                    Some((_, said)) if gravity(&verdict) > gravity(said) => *said = verdict,
                    Some(_) => {}
                    None => verdicts.push((shield, verdict)),
                }
            }
        }
        Ok((kept, Judged { stage: Stage::Retrieved, text: String::new(), verdicts }))
    }

    /// A step for each shield, stops too: what was stopped was left out, the turn goes on.
    pub(crate) fn record_all(&mut self, judged: &Judged) {
        for (shield_id, verdict) in &judged.verdicts {
            let step = self.pen.begin(StepKind::ShieldCall, shield_id, None);
            self.pen.end(step, StepState::Done, Some(output(judged.stage, shield_id, verdict)));
        }
    }
}

fn output(stage: Stage, shield_id: &str, verdict: &Verdict) -> StepOutput {
    StepOutput::ShieldCall { stage, shield_id: shield_id.to_owned(), verdict: verdict.clone() }
}

fn gravity(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Redact { .. } => 1,
        Verdict::HandOff { .. } => 2,
        Verdict::Block { .. } => 3,
    }
}

fn reworded(mut item: Item, message: &str) -> Item {
    item.body.set_words(message);
    item
}
