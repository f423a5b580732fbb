//! How far calls of tools are, as events of their turn: what a tool tells while it works, for people who wait.
//!
//! Invariants: of what a call tells the newest is shown, at most once a second and [`MOST`] times; nothing waits for the
//! telling, and a call that has ended tells nothing more.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use frontdesk_api::{
    News,
    news::{Progress, Word},
    safety::Stage,
    turn::EventBody,
};
use tokio::{sync::Notify, time::Instant};

use crate::{calls::Wave, worker::Worker};

/// Between two events of one call: each is a commit.
const PAUSE: Duration = Duration::from_secs(1);

/// Events of one call.
const MOST: u32 = 100;

/// What the calls of a wave tell, by the numbers of their steps.
#[derive(Default)]
pub(crate) struct Underway {
    told: Arc<Told>,
    /// How often each was shown, and when last.
    shown: HashMap<i64, (u32, Instant)>,
}

#[derive(Default)]
struct Told {
    newest: Mutex<BTreeMap<i64, Progress>>,
    rung: Notify,
}

impl Told {
    fn newest(&self) -> MutexGuard<'_, BTreeMap<i64, Progress>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Underway {
    /// Whom the call of this step tells.
    pub(crate) fn news(&self, n: i64) -> News {
        let told = Arc::clone(&self.told);
        News::new(move |word| {
            if let Word::Progress(progress) = word {
                told.newest().insert(n, progress);
                told.rung.notify_one();
            }
        })
    }

    /// What is to be shown, once there is something. Nothing is lost where this is dropped.
    pub(crate) async fn due(&mut self) -> Vec<(i64, Progress)> {
        loop {
            let (due, next) = self.look(Instant::now());
            if !due.is_empty() {
                return due;
            }
            tokio::select! {
                () = self.told.rung.notified() => {}
                () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
    }

    /// What may be shown by now, and when the next may.
    fn look(&mut self, now: Instant) -> (Vec<(i64, Progress)>, Option<Instant>) {
        let (mut due, mut next) = (vec![], None::<Instant>);
        let mut newest = self.told.newest();
        newest.retain(|n, progress| {
            let (times, last) = self.shown.get(n).copied().unzip();
            let (times, at) = (times.unwrap_or(0), last.map_or(now, |last: Instant| last + PAUSE));
            if times >= MOST {
                return false;
            }
            if at > now {
                next = Some(next.map_or(at, |next| next.min(at)));
                return true;
            }
            self.shown.insert(*n, (times + 1, now));
            due.push((*n, progress.clone()));
            false
        });
        (due, next)
    }
}

impl Worker {
    /// Shows with the next commit how far these calls are. Words of a tool that shields look at are not shown before
    /// these have seen them, so its numbers are shown alone.
    pub(crate) fn show_progress(&mut self, wave: &Wave, due: Vec<(i64, Progress)>) {
        let in_words = self.shields(Stage::ToolOutput).is_empty();
        for (n, told) in due {
            let Some((step, _)) = wave.calls.iter().find(|(step, _)| step.step.n == n) else { continue };
            let Progress { progress, total, message } = told;
            let (step_id, message) = (step.step.id.clone(), message.filter(|_| in_words));
            self.pen.event(EventBody::ToolProgress { step_id, progress, total, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(progress: i64) -> Word {
        Word::Progress(Progress { progress: progress.into(), total: None, message: None })
    }

    #[test]
    fn of_what_a_call_tells_the_newest_is_shown_once_a_second_and_not_for_ever() {
        let mut underway = Underway::default();
        let (one, other) = (underway.news(1), underway.news(2));
        let mut look = |now| {
            let (due, next) = underway.look(now);
            let due = due.into_iter().map(|(n, told)| (n, told.progress.as_i64().unwrap_or_default()));
            (due.collect::<Vec<_>>(), next)
        };
        let began = Instant::now();
        assert_eq!(look(began), (vec![], None));
        for n in 1..=3 {
            one.tell(at(n));
        }
        assert_eq!(look(began), (vec![(1, 3)], None));
        one.tell(at(4));
        other.tell(at(1));
        assert_eq!(look(began), (vec![(2, 1)], Some(began + PAUSE)), "another's does not wait");
        one.tell(at(5));
        assert_eq!(look(began + PAUSE), (vec![(1, 5)], None));
        for n in 2..MOST {
            one.tell(at(n.into()));
            assert_eq!(look(began + PAUSE * n), (vec![(1, n.into())], None));
        }
        one.tell(at(1_000));
        assert_eq!(look(began + PAUSE * 1_000), (vec![], None), "it has told enough");
    }
}
