//! Rows of times as Markdown, for BENCHMARKS.md.

use std::time::Duration;

pub fn head(unit: &str, columns: &[&str]) {
    println!("\n| {unit} | {} |\n|---{}|", columns.join(" | "), "|--:".repeat(columns.len()));
}

/// The least, the median and the 99th percentile (with less than 100 times: the most), in µs.
fn parts(mut times: Vec<Duration>) -> [f64; 3] {
    times.sort_unstable();
    let last = times.len() - 1;
    [0, last / 2, last - last / 100].map(|at| times[at].as_secs_f64() * 1e6)
}

fn shown(us: f64) -> String {
    if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") }
}

/// Prints a row and gives its median in µs. `floor` is a median that it is set against.
pub fn row(name: &str, times: Vec<Duration>, floor: Option<f64>) -> f64 {
    let [least, half, most] = parts(times);
    let against = floor.map(|floor| format!(" {:.1} |", half / floor)).unwrap_or_default();
    println!("| {name} | {} | {} | {} |{against}", shown(least), shown(half), shown(most));
    half
}

/// Prints and gives calls a second, of calls that took `times` and all together `time`. `floor` is a rate that it is set
/// against: how many times as long a call takes.
pub fn rate(name: &str, times: Vec<Duration>, time: Duration, floor: Option<f64>) -> f64 {
    #[allow(clippy::cast_precision_loss)] // a count far below 2^52
    let rate = times.len() as f64 / time.as_secs_f64();
    let [_, half, most] = parts(times);
    let against = floor.map(|floor| format!(" {:.1} |", floor / rate)).unwrap_or_else(|| " |".to_owned());
    println!("| {name} | {rate:.0} | {} | {} |{against}", shown(half), shown(most));
    rate
}
