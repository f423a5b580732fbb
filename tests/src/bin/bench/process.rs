//! What the system says of a process: processor time and resident memory, from `/proc`.

use std::fs::read_to_string;

/// One tick of the processor-time counters.
pub(crate) const TICK_US: f64 = 10_000.0;

/// Sums over a list of process ids.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// User and system time, in ticks.
    pub(crate) ticks: u64,
    /// Anonymous resident memory: what the process itself holds, without mapped files.
    pub(crate) anonymous_kib: u64,
    pub(crate) resident_kib: u64,
}

/// Reads and sums the usage of `pids` ("12,13"); processes that are gone count nothing.
pub(crate) fn usage(pids: &str) -> Usage {
    let mut sum = Usage::default();
    for pid in pids.split(',').filter(|pid| !pid.is_empty()) {
        if let Ok(stat) = read_to_string(format!("/proc/{pid}/stat"))
            && let Some((_, after_name)) = stat.rsplit_once(") ")
        {
            // Fields 14 and 15 of proc(5); the state after the name is field 3.
            let fields = after_name.split(' ').skip(11).take(2);
            sum.ticks += fields.filter_map(|f| f.parse::<u64>().ok()).sum::<u64>();
        }
        if let Ok(status) = read_to_string(format!("/proc/{pid}/status")) {
            sum.anonymous_kib += kib(&status, "RssAnon:");
            sum.resident_kib += kib(&status, "VmRSS:");
        }
    }
    sum
}

fn kib(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
