//! Rows of times as Markdown, for BENCHMARKS.md.

use std::time::Duration;

pub fn head(unit: &str, columns: &[&str]) {
    println!("\n| {unit} | {} |\n|---{}|", columns.join(" | "), "|--:".repeat(columns.len()));
}

/// Prints a row and gives its median in µs. `floor` is a median that it is set against.
pub fn row(name: &str, mut times: Vec<Duration>, floor: Option<f64>) -> f64 {
    times.sort_unstable();
    let last = times.len() - 1;
    let [least, half, most] = [0, last / 2, last - last / 100].map(|at| times[at].as_secs_f64() * 1e6);
    let shown = |us: f64| if us < 100.0 { format!("{us:.1}") } else { format!("{us:.0}") };
    let against = floor.map(|floor| format!(" {:.1} |", half / floor)).unwrap_or_default();
    println!("| {name} | {} | {} | {} |{against}", shown(least), shown(half), shown(most));
    half
}

/// Calls a second.
pub fn rate(name: &str, calls: usize, time: Duration) {
    #[allow(clippy::cast_precision_loss)] // a count far below 2^52
    let rate = calls as f64 / time.as_secs_f64();
    println!("| {name} | {rate:.0} |");
}
