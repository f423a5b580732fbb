//! The code interpreters as they are built for people: what they can, what they keep, and what stops them.
//!
//! The components come from the folder that `FRONTDESK_INTERPRETERS` names (`interpreters/build.sh FOLDER` fills it;
//! tests/run.sh does both). Without it each test says that it was skipped, and fails where `CI` is set: there the
//! toolchains have to be there. Machine code is kept in that folder, so one test compiles and the others load.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a panic is how a test fails; the folder is told by the environment

mod attacks;
mod container;
mod javascript;
mod kept;
mod python;
mod tool;

use std::{path::PathBuf, sync::Arc, time::Duration};

use frontdesk_api::{Result, clock::FixedClock};
use frontdesk_wasm::{
    Compiling, Kept, Limits, MOST,
    interpreter::{
        Bounds, Code, CodeFile, Files, Given, Interpreters, Lacking, Language, Owner, Place, Ran, Run, limits,
    },
};

/// Where the components are; None (said once, loudly) where nobody built them.
fn folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("FRONTDESK_INTERPRETERS") {
        return Some(folder.into());
    }
    assert!(std::env::var_os("CI").is_none(), "FRONTDESK_INTERPRETERS names no folder of built interpreters");
    eprintln!("SKIPPED: FRONTDESK_INTERPRETERS names no folder of built interpreters (interpreters/build.sh)");
    None
}

/// The product's limits, but less time.
fn quick() -> Limits {
    Limits { cpu: Duration::from_secs(4), wall: Duration::from_secs(60), ..limits() }
}

fn few() -> Bounds {
    Bounds { sessions: 4, ..Bounds::default() }
}

fn with(limits: Limits, bounds: Bounds) -> Option<Interpreters> {
    let folder = folder()?;
    let compiling = Compiling::Kept(Kept { folder: folder.join("compiled"), program: None, most: MOST });
    Some(Interpreters::new(vec![folder], limits, bounds, compiling, Arc::new(FixedClock::at(1_700_000_000_000_000))))
}

fn interpreters() -> Option<Interpreters> {
    with(quick(), few())
}

fn owner(session: &str) -> Place {
    let owner = Owner { tenant: "t".into(), customer: None, agent: None, workspace: session.into() };
    Place { owner, after: vec![] }
}

/// Files whose names are their ids.
struct Named(Vec<CodeFile>);
#[async_trait::async_trait]
impl Files for Named {
    fn run(&self) -> &str {
        "once"
    }
    async fn all(&self, _: bool) -> Result<Lacking> {
        let files = self.0.iter().map(|file| (file.name.clone(), file.clone())).collect();
        Ok(Lacking { files, ..Lacking::default() })
    }
    async fn lacking(&self, _: &[Given]) -> Result<Option<Lacking>> {
        panic!("none of these is for an instance that goes on")
    }
    async fn keep(&self, _: &mut Vec<CodeFile>) -> Result<Vec<Given>> {
        Ok(vec![])
    }
}

async fn run(on: &Interpreters, language: Language, text: &str) -> Run {
    on.run(language, None, Code { text, ..Code::default() }).await
}

/// The run's outcome where nothing stopped it.
async fn ran(on: &Interpreters, language: Language, text: &str) -> Ran {
    run(on, language, text).await.result.unwrap_or_else(|fault| panic!("stopped: {fault}\n{text}"))
}

/// The value of the last line.
async fn value(on: &Interpreters, language: Language, text: &str) -> String {
    let ran = ran(on, language, text).await;
    assert_eq!(ran.fault, None, "{text}");
    ran.value.unwrap_or_else(|| panic!("no value: {text}"))
}
