//! Time comes in as a parameter, so that tests fix it.
//!
//! `Clock` dates what people see (created_at). Leases and deadlines use the database's clock instead:
//! two machines never agree on the time.

use std::sync::atomic::{AtomicI64, Ordering};

/// Microseconds since the Unix epoch, UTC. The form of every stored time.
pub type Micros = i64;

/// Seconds since the Unix epoch, as OpenAI's wire shows times.
#[must_use]
pub fn unix_seconds(t: Micros) -> i64 {
    t.div_euclid(1_000_000)
}

/// RFC 3339 in UTC with microseconds, as Llama Stack's wire shows times (`2026-11-24T03:45:00.000000Z`).
#[must_use]
pub fn rfc3339(t: Micros) -> String {
    let (secs, micros) = (t.div_euclid(1_000_000), t.rem_euclid(1_000_000));
    let (days, of_day) = (secs.div_euclid(86_400), secs.rem_euclid(86_400));
    // Civil date from a day count: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{micros:06}Z")
}

/// A day written `2026-11-24`, as a count of days since 1970-01-01; None: it is no such day.
#[must_use]
pub fn day(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let mut next = |long: usize| {
        let part = parts.next().filter(|part| part.len() == long && part.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse::<i64>().ok()
    };
    let (year, month, of_month) = (next(4)?, next(2)?, next(2)?);
    if parts.next().is_some() || !(1..=12).contains(&month) {
        return None;
    }
    // The inverse of the walk above, from the same paper.
    let y = year - i64::from(month <= 2);
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + of_month - 1;
    let days = era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468;
    // The thirtieth of February is another day's name.
    (rfc3339(days * 86_400_000_000).get(..10) == Some(text)).then_some(days)
}

pub trait Clock: Send + Sync {
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place that may ask
    fn now(&self) -> Micros {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX))
    }
}

/// A clock for tests: starts where told, moves one microsecond a look so that order stays visible.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    #[must_use]
    pub fn at(start: Micros) -> Self {
        Self(AtomicI64::new(start))
    }

    /// So much time passes.
    pub fn pass(&self, micros: Micros) {
        self.0.fetch_add(micros, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Micros {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Oracle: `date -u -d @N`.
    #[test]
    fn rfc3339_agrees_with_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(rfc3339(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(rfc3339(1_795_492_101_000_000), "2026-11-24T03:48:21.000000Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
    }

    // Oracle: `date -u -d DAY +%s` divided by 86400.
    #[test]
    fn a_day_is_read_as_the_calendar_counts_it() {
        for (text, days) in [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-27", 20_784), ("1969-12-31", -1)] {
            assert_eq!(day(text), Some(days), "{text}");
        }
        for wrong in
            ["", "2026-02-29", "2026-13-01", "2026-1-1", "2026-01-00", "2026-01-01-01", "20260101", "2026-04-31"]
        {
            assert_eq!(day(wrong), None, "{wrong}");
        }
    }
}
