//! `frontdesk tool`: from nothing to a published tool, on the author's own machine.
//!
//! A tool's folder holds its source, the world it is written against, `tool.yaml` (what is registered) and `tests.yaml`.
//! Invariants: no file of the author's is overwritten; a command either does its whole job or says what is missing and
//! changes nothing; nothing is installed or downloaded here but by the toolchain that the author calls.

mod build;
mod cases;
mod diff;
mod new;
mod push;
mod sandbox;
mod standing;
mod test;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, ValueEnum};
use frontdesk_api::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::config;

#[derive(Args)]
pub(super) struct Tool {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Write a folder with two sample tools, their tests, and the world they are written against
    New(new::New),
    /// Make a component of the source, with the language's own toolchain
    Build {
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Run the cases of tests.yaml in the sandbox, without a server
    Test {
        #[arg(default_value = ".")]
        folder: PathBuf,
    },
    /// Upload the component to a server and register its tools there
    Push(push::Push),
}

impl Tool {
    pub(super) async fn run(self) -> Result<ExitCode> {
        match self.verb {
            Verb::New(new) => new.run(),
            Verb::Build { folder } => build::run(&Folder::open(&folder)?).await,
            Verb::Test { folder } => test::run(&Folder::open(&folder)?).await,
            Verb::Push(push) => push.run().await,
        }
    }
}

/// What a tool is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Language {
    Python,
    #[value(name = "js", alias = "javascript")]
    JavaScript,
    #[value(name = "ts", alias = "typescript")]
    TypeScript,
    Rust,
}

impl Language {
    /// As `tool.yaml` names it.
    fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
            Self::Rust => "rust",
        }
    }
}

/// `tool.yaml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// The tool group's id, and the component's file name.
    name: String,
    language: Language,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    secrets: Vec<String>,
    /// `own` or `third_party`.
    #[serde(default)]
    trust: Option<String>,
    /// Less than the server's limits.
    #[serde(default)]
    limits: Option<Value>,
    /// By the tool's name: effect, risk, bind.
    #[serde(default)]
    tools: Option<Value>,
}

/// A tool's folder.
struct Folder {
    path: PathBuf,
    manifest: Manifest,
}

impl Folder {
    /// # Errors
    /// `Invalid` where it holds no readable `tool.yaml`.
    fn open(path: &Path) -> Result<Self> {
        let file = path.join("tool.yaml");
        let text = match std::fs::read_to_string(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("{} has no tool.yaml; frontdesk tool new writes a tool's folder", path.display());
                return Err(Error::invalid("folder", message));
            }
            other => other.map_err(|e| failed("read", &file, &e))?,
        };
        let manifest: Manifest = read(&text, &file)?;
        check_name(&manifest.name)?;
        // Toolchains are started in the folder, so that relative places mean the same to them and to us.
        let path = path.canonicalize().map_err(|e| failed("open", path, &e))?;
        Ok(Self { path, manifest })
    }

    /// Where the component is, or will be.
    fn component(&self) -> PathBuf {
        self.path.join(format!("{}.wasm", self.manifest.name))
    }

    /// The built component.
    ///
    /// # Errors
    /// `Invalid` where it was not built.
    fn load(&self) -> Result<Vec<u8>> {
        let file = self.component();
        match std::fs::read(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let message = format!("there is no {}: frontdesk tool build makes it", file.display());
                Err(Error::invalid("folder", message))
            }
            other => other.map_err(|e| failed("read", &file, &e)),
        }
    }

    /// What the component may use, as a registration has it.
    fn args(&self) -> Map<String, Value> {
        let Manifest { hosts, secrets, limits, .. } = &self.manifest;
        let members = [("hosts", json!(hosts)), ("secrets", json!(secrets))].into_iter();
        let limits = limits.iter().map(|limits| ("limits", limits.clone()));
        members.chain(limits).map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// A YAML file of the folder's, its members checked.
///
/// # Errors
/// `Invalid` naming the file and the member.
fn read<T: serde::de::DeserializeOwned>(text: &str, file: &Path) -> Result<T> {
    let value = config::yaml(text).map_err(|mut e| {
        e.message = format!("{}: {}", file.display(), e.message);
        e
    })?;
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        Error::invalid(path.clone(), format!("{}: {path}: {}", file.display(), e.inner()))
    })
}

/// What a tool group, a file and a package of every language can be called.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) {
        return Ok(());
    }
    let shown = name.escape_default();
    Err(Error::invalid(
        "name",
        format!("a name has 1 to 64 of a-z, 0-9, - and _ and begins with a letter, not '{shown}'"),
    ))
}

fn failed(what: &str, file: &Path, cause: &std::io::Error) -> Error {
    Error::invalid("folder", format!("cannot {what} {}: {cause}", file.display()))
}
