//! What the system says of this process: memory, processor time, descriptors. Linux only; elsewhere nothing is said.

use std::fs;

/// A reading; None where the system does not say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Reading {
    /// Bytes of memory held.
    pub(super) resident: Option<f64>,
    /// Seconds of processor time, user and system.
    pub(super) cpu: Option<f64>,
    /// Open file descriptors.
    pub(super) descriptors: Option<f64>,
}

pub(super) fn read() -> Reading {
    Reading {
        resident: fs::read_to_string("/proc/self/statm").ok().and_then(|text| resident(&text)),
        cpu: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu(&text)),
        // One of them is the listing's own.
        descriptors: fs::read_dir("/proc/self/fd").ok().map(|entries| number(entries.count().saturating_sub(1))),
    }
}

/// `statm`: total, resident, … in pages.
fn resident(statm: &str) -> Option<f64> {
    let pages: usize = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(number(pages.saturating_mul(rustix::param::page_size())))
}

/// `stat`: the name of the program in brackets may hold anything; `utime` and `stime` are the 12th and 13th after it,
/// in clock ticks.
fn cpu(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let mut times = after.split_ascii_whitespace().skip(11).map(str::parse::<usize>);
    let (user, system) = (times.next()?.ok()?, times.next()?.ok()?);
    let ticks = usize::try_from(rustix::param::clock_ticks_per_second()).ok()?.max(1);
    Some(number(user + system) / number(ticks))
}

#[allow(clippy::cast_precision_loss)] // memory and times of a process are far below 2^53
fn number(count: usize) -> f64 {
    count as f64
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_reads_itself() {
        let reading = read();
        assert!(reading.resident.expect("memory") > 100_000.0);
        assert!(reading.descriptors.expect("descriptors") >= 2.0);
        assert!(reading.cpu.is_some());
    }

    #[test]
    fn a_programs_name_may_hold_brackets_and_spaces() {
        let ticks = number(usize::try_from(rustix::param::clock_ticks_per_second()).expect("ticks"));
        let stat = "7 (a) b) R 1 2 3 4 5 6 7 8 9 10 300 200 0 0 20 0";
        assert_eq!(cpu(stat), Some(500.0 / ticks));
        assert_eq!(cpu("7 (a"), None);
    }
}
