//! `frontdesk init`: the commented configuration as a file to start from.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::Args;
use frontdesk_api::{Error, Result};

use super::say;
use crate::config::DEFAULT_FILE;

#[derive(Args)]
pub(super) struct Init {
    /// Where to write it
    #[arg(default_value = "frontdesk.yaml")]
    file: PathBuf,
    /// Replace a file that is already there
    #[arg(long)]
    force: bool,
}

impl Init {
    pub(super) fn run(self) -> Result<ExitCode> {
        let name = self.file.display();
        let mut options = std::fs::File::options();
        options.write(true);
        if self.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let mut file = options.open(&self.file).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::conflict(format!("{name} is already there; --force replaces it"))
            }
            _ => Error::invalid("file", format!("cannot write {name}: {e}")),
        })?;
        file.write_all(DEFAULT_FILE.as_bytes())
            .map_err(|e| Error::invalid("file", format!("cannot write {name}: {e}")))?;
        say(format!("wrote {name}; next: frontdesk up --config {name}"))?;
        Ok(ExitCode::SUCCESS)
    }
}
