//! `frontdesk tool test`: the cases of tests.yaml, each in a fresh instance.
//!
//! Invariant: the status is 0 only where at least one case ran and each ended as it says.

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use frontdesk_api::{Error, Result};
use serde_json::Value;

use super::{
    Folder,
    build::size,
    cases::{self, Case, World},
    diff::diff,
    failed,
    sandbox::{Bench, Seen},
};
use crate::{cli::say, config, wiring::Host};

pub(super) async fn run(folder: &Folder) -> Result<ExitCode> {
    let cases = cases::load(folder)?;
    // Gone when the tests have run.
    let passing = tempfile::tempdir().map_err(|e| failed("make a folder in", &std::env::temp_dir(), &e))?;
    let kept = (kept().unwrap_or_else(|| passing.path().to_owned()), Host::real().program);
    let bench = Bench::open(folder.load()?, Value::Object(folder.args()), Some(kept)).await?;
    let bad = all(folder, &cases, &bench).await?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where machine code stays, so that a second run begins at once: with the user's own caches. Never in the tool's folder:
/// whoever gave that away could have put code of his there, with a key of his.
fn kept() -> Option<PathBuf> {
    let place = |name| config::environment(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = place("XDG_CACHE_HOME").or_else(|| Some(place("HOME")?.join(".cache")))?;
    Some(caches.join("frontdesk/tool-test"))
}

/// Runs and shows them; how many did not end as they say.
async fn all(folder: &Folder, cases: &[Case], bench: &Bench) -> Result<usize> {
    if cases.is_empty() {
        return Err(Error::invalid("tests.yaml", "tests.yaml has no case: a tool that nothing asks is not tested"));
    }
    let mut bad = 0;
    for case in cases {
        let world = Arc::new(World::of(folder, case)?);
        let seen = bench.ask(case, &world).await?;
        let mut wrong = judged(case, &seen);
        wrong.extend(world.wrong(case));
        bad += usize::from(!wrong.is_empty());
        show(case, &seen, &wrong)?;
    }
    let asked = |tool: &&str| cases.iter().any(|case| case.tool == **tool);
    let tools = bench.tools();
    let untested: Vec<&str> = tools.into_iter().filter(|tool| !asked(tool)).collect();
    if !untested.is_empty() {
        say(format!("no case asks: {}", untested.join(", ")))?;
    }
    say(format!("{} passed, {bad} failed", cases.len() - bad))?;
    Ok(bad)
}

/// What is wrong with the answer, in lines.
fn judged(case: &Case, seen: &Seen) -> Vec<String> {
    match (&case.result, &case.error, &seen.answer) {
        (Some(expected), _, Ok(text)) => {
            let Ok(found) = serde_json::from_str(text) else { return vec![format!("the result is no JSON: {text}")] };
            if *expected == found { vec![] } else { diff(expected, &found) }
        }
        (Some(_), _, Err(error)) => vec![format!("expected a result, found the error: {error}")],
        (None, Some(words), Err(error)) if error.contains(words.as_str()) => vec![],
        (None, words, Err(error)) => {
            vec![format!("-{}", words.as_deref().unwrap_or_default()), format!("+{error}")]
        }
        (None, _, Ok(text)) => vec![format!("expected an error, found the result: {text}")],
    }
}

fn show(case: &Case, seen: &Seen, wrong: &[String]) -> Result<()> {
    let state = if wrong.is_empty() { "ok  " } else { "FAIL" };
    let Seen { log, cpu, memory, used, .. } = seen;
    let used = if used.is_empty() { String::new() } else { format!(", used {}", used.join(", ")) };
    let spent = format!("{:.2} ms, {}{used}", cpu.as_secs_f64() * 1e3, size(*memory));
    say(format!("{state} {}: {} ({spent})", case.tool, case.name))?;
    log.iter().try_for_each(|(level, line)| say(format!("     log {level}: {line}")))?;
    wrong.iter().try_for_each(|line| say(format!("     {line}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::tool::{Language, new};

    /// A tool of the repository's own, with cases.
    struct Desk {
        _home: tempfile::TempDir,
        folder: Folder,
    }

    /// Keeps orders as `order/<number>` in its own data.
    static SHOP_TOOLS: &[u8] = include_bytes!("../../../demo/tools/shop-tools.wasm");

    fn desk(tests: &str) -> Desk {
        let home = tempfile::tempdir().expect("a folder");
        let at = home.path().join("shop-tools");
        new::write(&at, "shop-tools", Language::Rust).expect("written");
        std::fs::write(at.join("tests.yaml"), tests).expect("written");
        std::fs::write(at.join("shop-tools.wasm"), SHOP_TOOLS).expect("written");
        Desk { folder: Folder::open(&at).expect("opened"), _home: home }
    }

    async fn outcome(tests: &str) -> Vec<(Vec<String>, Seen)> {
        let desk = desk(tests);
        let bench = Bench::open(desk.folder.load().expect("built"), json!({}), None).await.expect("a tool");
        assert_eq!(bench.tools(), ["lookup_order", "start_return"]);
        let mut outcomes = vec![];
        for case in cases::load(&desk.folder).expect("cases") {
            let world = Arc::new(World::of(&desk.folder, &case).expect("a world"));
            let seen = bench.ask(&case, &world).await.expect("asked");
            let mut wrong = judged(&case, &seen);
            wrong.extend(world.wrong(&case));
            outcomes.push((wrong, seen));
        }
        outcomes
    }

    const ORDER: &str = "kv: { order/7: { status: shipped, eta: tomorrow, item: Lamp } }";

    #[tokio::test]
    async fn a_case_that_ends_as_it_says_passes() {
        let tests = format!(
            "
             - {{ tool: lookup_order, arguments: {{ order_id: '7' }}, {ORDER},
                 result: {{ order_id: '7', item: Lamp, status: shipped, eta: tomorrow }} }}
             - {{ tool: lookup_order, arguments: {{ order_id: 7 }}, error: is not of type }}
             - {{ tool: start_return, arguments: {{ order_id: '7' }}, {ORDER},
                 result: {{ order_id: '7', return_id: R-7, status: return started }},
                 kv_after: {{ order/7: {{ status: shipped, eta: tomorrow, item: Lamp }},
                              return/7: {{ order_id: '7', return_id: R-7, status: return started }} }} }}"
        );
        for (wrong, seen) in outcome(&tests).await {
            assert!(wrong.is_empty(), "{wrong:?} {:?}", seen.answer);
        }
    }

    #[tokio::test]
    async fn each_way_to_fail_is_told() {
        let tests = format!(
            "
             - {{ tool: lookup_order, arguments: {{ order_id: '7' }}, {ORDER}, result: {{ order_id: '8' }} }}
             - {{ tool: lookup_order, arguments: {{ order_id: '7' }}, {ORDER}, error: no such order }}
             - {{ tool: lookup_order, arguments: {{}}, result: {{}} }}
             - {{ tool: lookup_order, arguments: {{}}, error: other words }}
             - {{ tool: nowhere, error: no tool is called 'elsewhere' }}
             - {{ tool: start_return, arguments: {{ order_id: '7' }}, {ORDER}, kv_after: {{ order/7: gone }},
                 result: {{ order_id: '7', return_id: R-7, status: return started }} }}
             - {{ tool: lookup_order, arguments: {{ order_id: '7' }}, result: {{ error: order 7 not found }},
                 fetch: [ {{ request: {{ method: GET, url: 'https://parcels.example/' }}, error: timeout }} ] }}"
        );
        let told: Vec<String> = outcome(&tests).await.into_iter().map(|(wrong, _)| wrong.join("\n")).collect();
        assert!(told[0].contains("-  \"order_id\": \"8\"") && told[0].contains("+  \"item\": \"Lamp\""), "{}", told[0]);
        assert!(told[1].starts_with("expected an error, found the result: {"), "{}", told[1]);
        assert!(told[2].starts_with("expected a result, found the error: bad arguments: "), "{}", told[2]);
        assert!(told[3].starts_with("-other words\n+bad arguments: "), "{}", told[3]);
        assert!(told[4].contains("+no tool is called 'nowhere'"), "{}", told[4]);
        assert!(told[5].contains("kept under 'order/7': expected gone, found {"), "{}", told[5]);
        assert!(told[5].contains("kept under 'return/7': expected nothing, found {"), "{}", told[5]);
        assert_eq!(told[6], "never asked: GET https://parcels.example/");
    }

    #[test]
    fn null_is_a_result_and_text_that_is_no_json_is_none() {
        let desk = desk("[ { tool: t, result: null }, { tool: t, result: word } ]");
        let cases = cases::load(&desk.folder).expect("cases");
        let answered = |text: &str| Seen {
            answer: Ok(text.to_owned()),
            log: vec![],
            cpu: std::time::Duration::ZERO,
            memory: 0,
            used: vec![],
        };
        assert!(judged(&cases[0], &answered("null")).is_empty());
        assert!(!judged(&cases[0], &answered("0")).is_empty());
        assert!(judged(&cases[1], &answered("\"word\"")).is_empty());
        assert_eq!(judged(&cases[1], &answered("word")), ["the result is no JSON: word"]);
    }

    #[test]
    fn a_file_of_cases_that_says_too_much_or_too_little_is_refused_by_place() {
        for (tests, expected) in [
            ("- { tool: t }", "[0]: a case says either result or error"),
            ("- { tool: t, result: 1, error: x }", "[0]: a case says either result or error"),
            ("- { tool: t, result: null, error: x }", "[0]: a case says either result or error"),
            ("- { tool: t, error: ' ' }", "[0]: an error without words is in every error"),
            ("- { tool: t, reslt: 1 }", "unknown field `reslt`"),
            ("- { result: 1 }", "missing field `tool`"),
            (
                "- { tool: t, result: 1, fetch: [ { request: { method: GET, url: u } } ] }",
                "[0].fetch[0]: it says either response or error",
            ),
        ] {
            let refused = cases::load(&desk(tests).folder).expect_err("refused");
            assert!(refused.message.contains(expected) && refused.message.contains("tests.yaml"), "{refused}");
        }
    }
}
