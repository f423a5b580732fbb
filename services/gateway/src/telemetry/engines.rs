//! The numbers of processes that providers keep, the local engines, on our own page.
//!
//! A provider hands its process' page over as it is; here each of its lines gets the provider's id as a label, and the lines
//! of several become one family. Invariants: a process that is slow or gone costs the page a second and none of its other
//! lines; no line stands here that is not an engine's, so none can pass for one of ours.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use frontdesk_api::{Error, Result};
use futures::future::join_all;

use crate::app::{App, Part};

/// Longest wait for the pages, which are fetched together.
const PATIENCE: Duration = Duration::from_secs(1);

/// What all names of an engine's families begin with.
const OURS: &str = "frontdesk_engine_";

/// Whether a provider's process told its numbers.
const UP: &str = "frontdesk_engine_up";

/// The families of all processes, in Prometheus' text format; empty where there is none.
pub(super) async fn page(app: &App) -> String {
    let ask = |provider: &crate::app::Provider| match &provider.part {
        Part::Inference(inference) => Some((provider.id.clone(), inference.clone())),
        _ => None,
    };
    let asked = app.providers.iter().filter_map(ask).map(async |(id, inference)| {
        let late = |_| Err(Error::unavailable("no numbers in time"));
        let told = tokio::time::timeout(PATIENCE, inference.metrics()).await.unwrap_or_else(late);
        told.transpose().map(|told| (id, told))
    });
    let told: Vec<(String, Result<String>)> = join_all(asked).await.into_iter().flatten().collect();
    merged(&told)
}

/// One family: its two lines of comment, and the samples of all providers.
#[derive(Default)]
struct Lines {
    about: String,
    samples: String,
}

fn merged(told: &[(String, Result<String>)]) -> String {
    let mut families: BTreeMap<String, Lines> = BTreeMap::new();
    for (provider, page) in told {
        let label = format!("provider=\"{}\"", escaped(provider));
        let up = families.entry(UP.to_owned()).or_insert_with(|| Lines {
            about: format!("# HELP {UP} 1 while the engine tells its numbers\n# TYPE {UP} gauge\n"),
            samples: String::new(),
        });
        let _ = writeln!(up.samples, "{UP}{{{label}}} {}", u8::from(page.is_ok()));
        match page {
            Ok(page) => add(&mut families, page, &label),
            Err(e) => tracing::debug!(provider, "no numbers of the engine: {e}"),
        }
    }
    families.into_values().fold(String::new(), |out, family| out + &family.about + &family.samples)
}

fn add(families: &mut BTreeMap<String, Lines>, page: &str, label: &str) {
    // A histogram's lines have endings that its family has not, so a line belongs to the family that was named last.
    let mut open: Option<String> = None;
    for line in page.lines() {
        if let Some(about) = line.strip_prefix("# HELP ").or_else(|| line.strip_prefix("# TYPE ")) {
            let name = about.split(' ').next().unwrap_or_default();
            open = Some(name.to_owned()).filter(|name| name.starts_with(OURS) && name != UP);
            let Some(name) = &open else { continue };
            let family = families.entry(name.clone()).or_default();
            if !family.about.contains(line) {
                let _ = writeln!(family.about, "{line}");
            }
            continue;
        }
        let family = open.as_ref().filter(|name| line.starts_with(name.as_str()));
        let Some(family) = family.and_then(|name| families.get_mut(name)) else { continue };
        let _ = match line.split_once('{') {
            Some((name, rest)) => writeln!(family.samples, "{name}{{{label},{rest}"),
            None => match line.split_once(' ') {
                Some((name, value)) => writeln!(family.samples, "{name}{{{label}}} {value}"),
                None => continue,
            },
        };
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use frontdesk_api::{ChatReply, ChatRequest, Cx, Inference, inference::Model};

    use super::*;
    use crate::testing::TestGateway;

    const PAGE: &str = "# HELP frontdesk_engine_running requests being answered\n\
        # TYPE frontdesk_engine_running gauge\n\
        frontdesk_engine_running{model=\"a\"} 1\n\
        # HELP process_open_fds theirs\n# TYPE process_open_fds gauge\nprocess_open_fds 7\n\
        # TYPE frontdesk_engine_request_seconds histogram\n\
        frontdesk_engine_request_seconds_bucket{model=\"a\",le=\"+Inf\"} 2\n\
        frontdesk_engine_request_seconds_count{model=\"a\"} 2\n\
        frontdesk_build_info 9\n\
        frontdesk_engine_up 1\n";

    #[test]
    fn two_engines_are_one_family_and_nothing_else_of_theirs_is_shown() {
        let second = "# TYPE frontdesk_engine_running gauge\nfrontdesk_engine_running 3\n".to_owned();
        let told = [
            ("one".to_owned(), Ok(PAGE.to_owned())),
            ("t\"wo".to_owned(), Ok(second)),
            ("gone".to_owned(), Err(Error::unavailable("away"))),
        ];
        insta::assert_snapshot!(merged(&told), @r#"
        # TYPE frontdesk_engine_request_seconds histogram
        frontdesk_engine_request_seconds_bucket{provider="one",model="a",le="+Inf"} 2
        frontdesk_engine_request_seconds_count{provider="one",model="a"} 2
        # HELP frontdesk_engine_running requests being answered
        # TYPE frontdesk_engine_running gauge
        frontdesk_engine_running{provider="one",model="a"} 1
        frontdesk_engine_running{provider="t\"wo"} 3
        # HELP frontdesk_engine_up 1 while the engine tells its numbers
        # TYPE frontdesk_engine_up gauge
        frontdesk_engine_up{provider="one"} 1
        frontdesk_engine_up{provider="t\"wo"} 1
        frontdesk_engine_up{provider="gone"} 0
        "#);
    }

    /// Tells its page, or nothing ever.
    struct Tells(Option<&'static str>);

    #[async_trait]
    impl Inference for Tells {
        async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
            Err(Error::unavailable("never asked"))
        }

        async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
            Ok(vec![])
        }

        async fn metrics(&self) -> Result<Option<String>> {
            match self.0 {
                Some(page) => Ok(Some(page.to_owned())),
                None => std::future::pending().await,
            }
        }
    }

    #[tokio::test]
    async fn the_page_has_an_engines_numbers_beside_ours() {
        let gateway = TestGateway::start(Tells(Some(PAGE))).await;
        let answer = gateway.get("/metrics").await;
        let page = answer.text();
        assert!(page.contains("frontdesk_engine_running{provider=\"up\",model=\"a\"} 1\n"), "{page}");
        assert_eq!(page.matches("frontdesk_build_info{").count(), 1, "{page}");
    }

    #[tokio::test]
    async fn an_engine_that_says_nothing_is_waited_for_no_longer_than_it_is_worth() {
        let gateway = TestGateway::start(Tells(None)).await;
        let answer = gateway.get("/metrics").await;
        let page = answer.text();
        assert!(page.contains("frontdesk_engine_up{provider=\"up\"} 0\n"), "{page}");
        assert!(page.contains("frontdesk_build_info{"), "{page}");
    }
}
