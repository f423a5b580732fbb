//! `frontdesk version`.

use std::process::ExitCode;

use frontdesk_api::Result;

use super::say;

pub(super) fn run() -> Result<ExitCode> {
    let features = crate::features();
    let with = if features.is_empty() { "no optional part".to_owned() } else { features.join(", ") };
    say(format!("frontdesk {} (with {with})", env!("CARGO_PKG_VERSION")))?;
    Ok(ExitCode::SUCCESS)
}
