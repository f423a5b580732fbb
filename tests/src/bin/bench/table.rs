//! Tables from the JSON lines of many rounds: median and spread per row, ratios taken round by round.
//!
//! Rows of one round ran one after the other, so a ratio within a round cancels what the machine did
//! meanwhile; the median over rounds is the figure, smallest and largest are its spread.

use crate::load::Row;
use crate::options::Options;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, Write, stdin, stdout};

/// Added latency is measured against this row.
const DIRECT: &str = "direct";
/// Processor time is held against this row: a hop that does the same work.
const SAME_WORK: &str = "hop-splice";

pub(crate) fn run(_: &Options) -> Result<(), String> {
    let mut rows = Vec::new();
    let mut idle = Vec::new();
    let mut ready: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in stdin().lock().lines() {
        let line = line.map_err(|e| e.to_string())?;
        let value: Value = serde_json::from_str(&line).map_err(|e| format!("{e}: {line}"))?;
        if value["idle"] == true {
            idle.push(value);
        } else if value["ready"] == true {
            ready.entry(text(&value, "label")).or_default().push(value);
        } else {
            rows.push(serde_json::from_value::<Row>(value).map_err(|e| format!("{e}: {line}"))?);
        }
    }
    let mut out = String::new();
    for stream in [false, true] {
        let of_kind: Vec<&Row> = rows.iter().filter(|r| r.stream == stream).collect();
        if !of_kind.is_empty() {
            out.push_str(&load_table(&of_kind, stream));
        }
    }
    if !idle.is_empty() {
        out.push_str(
            "\n| idle streams | asked | live | RssAnon before | after | per stream |\n|---|--:|--:|--:|--:|--:|\n",
        );
        for row in &idle {
            let number = |name: &str| row[name].as_f64().unwrap_or(0.0);
            out.push_str(&format!(
                "| {} | {} | {} | {:.1} MiB | {:.1} MiB | {:.1} KiB |\n",
                text(row, "label"),
                row["asked"],
                row["live"],
                number("before_mib"),
                number("after_mib"),
                number("kib_per_stream")
            ));
        }
    }
    if !ready.is_empty() {
        out.push_str("\n| start | runs | start to ready | RssAnon idle | RSS idle |\n|---|--:|--:|--:|--:|\n");
        for (label, runs) in &ready {
            let of = |name: &str| Spread::of(runs.iter().filter_map(|r| r[name].as_f64()).collect());
            out.push_str(&format!(
                "| {label} | {} | {} ms | {} MiB | {} MiB |\n",
                runs.len(),
                of("ready_ms").show(0),
                of("anonymous_mib").show(1),
                of("resident_mib").show(1)
            ));
        }
    }
    stdout().write_all(out.as_bytes()).map_err(|e| e.to_string())
}

fn load_table(rows: &[&Row], stream: bool) -> String {
    let mut out = String::from(if stream {
        "\n| SSE | prompt KB | conc | rounds | streams/s | TTFT p50 ms | added | TTFT p99 ms | gap p50 µs | gap p99 µs | CPU µs/event | × hop-splice | RssAnon MiB | errors |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    } else {
        "\n| plain | prompt KB | conc | rounds | req/s | p50 ms | added | p99 ms | added | CPU µs/req | × hop-splice | RssAnon MiB | errors |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    });
    let mut keys: Vec<(u64, u64, &str)> = Vec::new();
    for row in rows {
        if !keys.contains(&(row.prompt, row.conc, &row.label)) {
            keys.push((row.prompt, row.conc, &row.label));
        }
    }
    keys.sort_by_key(|(prompt, conc, _)| (*prompt, *conc));
    for (prompt, conc, label) in keys {
        let alike: Vec<&&Row> = rows.iter().filter(|r| (r.prompt, r.conc) == (prompt, conc)).collect();
        let own: Vec<&&&Row> = alike.iter().filter(|r| r.label == label).collect();
        let beside = |other: &str, round: u64| alike.iter().find(|r| r.round == round && r.label == other);
        let of = |value: &dyn Fn(&Row) -> f64| Spread::of(own.iter().map(|r| value(r)).collect());
        let added = |value: &dyn Fn(&Row) -> f64| {
            let pairs = own.iter().filter_map(|r| Some(value(r) - value(beside(DIRECT, r.round)?)));
            Spread::of(pairs.collect())
        };
        let ratio = own.iter().filter_map(|r| {
            let other = beside(SAME_WORK, r.round)?.cpu;
            (other > 0.0 && label != DIRECT).then(|| r.cpu / other)
        });
        let ratio = Spread::of(ratio.collect()).show(2);
        let ms = |spread: Spread| spread.scaled(0.001).show(3);
        let errors: u64 = own.iter().map(|r| r.errors).sum();
        let size = prompt as f64 / 1000.0;
        let head = format!("| {label} | {size} | {conc} | {} | {}", own.len(), of(&|r| r.per_second).show(0));
        let cpu = of(&|r| r.cpu).show(1);
        let memory = of(&|r| r.anonymous_kib as f64 / 1024.0).show(1);
        let (p50, more50, p99) = (ms(of(&|r| r.p50)), ms(added(&|r| r.p50)), ms(of(&|r| r.p99)));
        let middle = if stream {
            let (gap50, gap99) = (of(&|r| r.gap_p50).show(0), of(&|r| r.gap_p99).show(0));
            format!("{p50} | {more50} | {p99} | {gap50} | {gap99}")
        } else {
            format!("{p50} | {more50} | {p99} | {}", ms(added(&|r| r.p99)))
        };
        out.push_str(&format!("{head} | {middle} | {cpu} | {ratio} | {memory} | {errors} |\n"));
    }
    out
}

/// Median, smallest and largest of some figures; empty shows as a dash.
#[derive(Clone, Copy)]
struct Spread(Option<(f64, f64, f64)>);

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return Self(None) };
        let middle = values.len() / 2;
        let median =
            if values.len().is_multiple_of(2) { (values[middle - 1] + values[middle]) / 2.0 } else { values[middle] };
        Self(Some((median, *first, *last)))
    }

    fn scaled(self, by: f64) -> Self {
        Self(self.0.map(|(m, a, b)| (m * by, a * by, b * by)))
    }

    fn show(self, digits: usize) -> String {
        match self.0 {
            None => "–".into(),
            Some((median, least, most)) if least == most => format!("{median:.digits$}"),
            Some((median, least, most)) => format!("{median:.digits$} ({least:.digits$}–{most:.digits$})"),
        }
    }
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &str, round: u64, cpu: f64, p50: f64) -> Row {
        Row {
            label: label.into(),
            round,
            stream: false,
            conc: 16,
            prompt: 700,
            per_second: 100.0,
            p50,
            p99: p50,
            gap_p50: 0.0,
            gap_p99: 0.0,
            cpu,
            anonymous_kib: 1024,
            errors: 0,
        }
    }

    #[test]
    fn ratios_and_differences_are_taken_within_a_round() {
        // Round 1 ran on a machine twice as slow; the ratio does not move.
        let rows = [
            row("direct", 0, 1.0, 100.0),
            row("hop-splice", 0, 20.0, 150.0),
            row("ours", 0, 25.0, 160.0),
            row("direct", 1, 2.0, 200.0),
            row("hop-splice", 1, 40.0, 300.0),
            row("ours", 1, 50.0, 320.0),
            // Another size is another row, and nobody's neighbour.
            Row { prompt: 16_000, ..row("hop-splice", 0, 100.0, 1000.0) },
            Row { prompt: 16_000, ..row("ours", 0, 200.0, 2000.0) },
        ];
        let table = load_table(&rows.iter().collect::<Vec<_>>(), false);
        let ours = table.lines().find(|l| l.starts_with("| ours")).unwrap();
        assert!(ours.contains("| 1.25 |"), "{ours}");
        assert!(ours.contains("| 0.090 (0.060–0.120) |"), "{ours}");
        let long = table.lines().find(|l| l.starts_with("| ours | 16 |")).unwrap();
        assert!(long.contains("| 2.00 |"), "{long}");
        let direct = table.lines().find(|l| l.starts_with("| direct")).unwrap();
        assert!(direct.contains("| – |"), "{direct}");
    }
}
