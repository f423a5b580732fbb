//! How far a fetch is: a bar on a terminal, a line now and then elsewhere, events for scripts.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

use frontdesk_api::Result;
use indicatif::{DecimalBytes, HumanDuration, ProgressBar, ProgressStyle};
use serde_json::json;

use super::choose::Offer;
use crate::cli::say;

/// Time between lines, or events.
const EVERY: Duration = Duration::from_secs(3);

pub(super) struct Progress {
    shown: Shown,
    file: String,
    /// Bytes of all files, and how many of them are here.
    all: u64,
    done: u64,
    /// When something was last told, and where `done` was.
    last: (Instant, u64),
}

enum Shown {
    Bar(ProgressBar),
    Lines,
    Events,
}

impl Progress {
    /// `all`: bytes of all files; 0 where that is not known. `events`: for scripts, on stdout.
    pub(super) fn new(all: u64, events: bool) -> Self {
        let shown = match (events, std::io::stderr().is_terminal()) {
            (true, _) => Shown::Events,
            (false, true) => Shown::Bar(bar(all)),
            (false, false) => Shown::Lines,
        };
        Self { shown, file: String::new(), all, done: 0, last: (Instant::now(), 0) }
    }

    /// A file, of which `here` bytes are on disk.
    pub(super) fn begin(&mut self, offer: &Offer, here: u64) -> Result<()> {
        offer.place().clone_into(&mut self.file);
        self.done += here;
        self.last = (Instant::now(), self.done);
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_message(self.file.clone());
                bar.set_position(self.done);
                bar.reset_eta();
                Ok(())
            }
            Shown::Lines | Shown::Events => Ok(()),
        }
    }

    pub(super) fn add(&mut self, bytes: usize) -> Result<()> {
        self.done += bytes as u64;
        if let Shown::Bar(bar) = &self.shown {
            bar.set_position(self.done);
            return Ok(());
        }
        let now = Instant::now();
        let passed = now.duration_since(self.last.0);
        if passed < EVERY {
            return Ok(());
        }
        let rate = per_second(self.done.saturating_sub(self.last.1), passed);
        self.last = (now, self.done);
        if matches!(self.shown, Shown::Events) {
            return say(
                json!({ "event": "progress", "file": self.file, "bytes": self.done, "of": self.all, "bytes_per_s": rate }),
            );
        }
        tell(line(&self.file, self.done, self.all, rate));
        Ok(())
    }

    /// The server sends from the start again: `bytes` that were here count no more.
    pub(super) fn back(&mut self, bytes: u64) -> Result<()> {
        self.done = self.done.saturating_sub(bytes);
        self.last = (Instant::now(), self.done);
        let words =
            format!("{}: the server does not go on where it broke off, so it is fetched from its start", self.file);
        self.note(json!({ "event": "restart", "file": self.file }), &words)
    }

    /// A file is here. `fetched`: it came just now.
    pub(super) fn end(&mut self, fetched: bool) -> Result<()> {
        let state = if fetched { "fetched" } else { "present" };
        let words = format!("{}: {}", self.file, if fetched { "fetched and checked" } else { "is here and good" });
        self.note(json!({ "event": "file", "file": self.file, "state": state }), &words)
    }

    fn note(&self, event: serde_json::Value, words: &str) -> Result<()> {
        match &self.shown {
            Shown::Events => return say(event),
            Shown::Bar(bar) => bar.suspend(|| tell(words)),
            Shown::Lines => tell(words),
        }
        Ok(())
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

/// For people who watch: stderr, and nobody minds when it is closed.
pub(super) fn tell(words: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "  {words}");
}

fn bar(all: u64) -> ProgressBar {
    let known = "  {bar:30} {percent}% of {decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left  {wide_msg}";
    let unknown = "  {spinner} {decimal_bytes}  {decimal_bytes_per_sec}  {wide_msg}";
    let bar = if all == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(all) };
    if let Ok(style) = ProgressStyle::with_template(if all == 0 { unknown } else { known }) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Bytes per second; 0 in no time.
fn per_second(bytes: u64, passed: Duration) -> u64 {
    let per_second = u128::from(bytes) * 1000 / passed.as_millis().max(1);
    u64::try_from(per_second).unwrap_or(u64::MAX)
}

fn line(file: &str, done: u64, all: u64, rate: u64) -> String {
    let speed = format!("{}/s", DecimalBytes(rate));
    if all == 0 {
        return format!("{file}: {} so far, {speed}", DecimalBytes(done));
    }
    let percent = u128::from(done) * 100 / u128::from(all);
    let left = match all.saturating_sub(done).checked_div(rate) {
        Some(seconds) => format!("{} left", HumanDuration(Duration::from_secs(seconds))),
        None => "nothing comes".into(),
    };
    format!("{file}: {percent}% of {}, {speed}, {left}", DecimalBytes(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_much_how_fast_and_how_long() {
        assert_eq!(
            line("m.gguf", 250_000_000, 1_000_000_000, 5_000_000),
            "m.gguf: 25% of 1.00 GB, 5.00 MB/s, 3 minutes left"
        );
        assert_eq!(line("m.gguf", 10, 20, 0), "m.gguf: 50% of 20 B, 0 B/s, nothing comes");
        assert_eq!(line("m.gguf", 2_000, 0, 500), "m.gguf: 2.00 kB so far, 500 B/s");
        assert_eq!(per_second(10, Duration::from_millis(500)), 20);
        assert_eq!(per_second(10, Duration::ZERO), 10_000);
    }
}
