//! `frontdesk tool build`: source to component, by the language's own toolchain.
//!
//! What the toolchain says goes to stderr as it comes. Invariant: `NAME.wasm` is replaced only by a whole component that
//! a server would look into: one that exports the tools and asks for no power but those of the world.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
};

use frontdesk_api::{Error, Kind, Result};
use tokio::process::Command;

use super::{Folder, Language, failed, new, sandbox};
use crate::{cli::say, config};

/// The world of `wit/world.wit`.
const WORLD: &str = "component";

/// Where what is on its way to a component lies.
const WORK: &str = "build";

/// What TypeScript's compiler leaves (`outDir` of tsconfig.json).
const TYPELESS: &str = "js/tool.js";

/// Rust's target without a system: there is none in the sandbox.
const TARGET: &str = "wasm32-unknown-unknown";

pub(super) async fn run(folder: &Folder) -> Result<ExitCode> {
    let work = folder.path.join(WORK);
    let component = made(folder, &work).await?;
    let powers = sandbox::powers(&component)?;
    // Whole under its name, or not there.
    let (fresh, file) = (work.join("component.wasm"), folder.component());
    std::fs::write(&fresh, &component)
        .and_then(|()| std::fs::rename(&fresh, &file))
        .map_err(|e| failed("write", &file, &e))?;
    let name = file.file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    let asks = if powers.is_empty() { "no power".to_owned() } else { powers.join(", ") };
    say(format!("{name}: {}, asks for {asks}", size(component.len())))?;
    Ok(ExitCode::SUCCESS)
}

async fn made(folder: &Folder, work: &Path) -> Result<Vec<u8>> {
    match folder.manifest.language {
        Language::Python => python(folder, work).await,
        Language::JavaScript => ecmascript(folder, work, Path::new("tool.js")).await,
        Language::TypeScript => {
            // Checks the types; what they stood in is left without them.
            let tsc = local(folder, "node_modules/.bin/tsc")?;
            let mut command = Command::new(tsc);
            command.args(["--project", "."]);
            qjs(folder)?;
            fresh(work, TYPELESS)?;
            finish(folder, command).await?;
            ecmascript(folder, work, &Path::new(WORK).join(TYPELESS)).await
        }
        Language::Rust => rust(folder, work).await,
    }
}

/// CPython with the modules that the source imports, as it stands after importing them. It asks for bare WASI: of what is
/// stubbed when it is built, `random` would begin with the same numbers in every instance and clocks would be crashes.
async fn python(folder: &Folder, work: &Path) -> Result<Vec<u8>> {
    let venv = folder.path.join(".venv");
    let own = venv.join("bin/componentize-py");
    let program = if own.is_file() { own.as_os_str() } else { OsStr::new("componentize-py") };
    if !own.is_file() {
        has(folder, program, &["--version"]).await?;
    }
    let made = fresh(work, "python.wasm")?;
    let mut command = Command::new(program);
    command.args(["-q", "-d", "wit", "-w", WORLD, "componentize", "tool", "-p", ".", "-o"]).arg(&made);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    if own.is_file() {
        // Where it looks for the packages that the source imports.
        command.env("VIRTUAL_ENV", &venv);
    }
    finish(folder, command).await?;
    take(&made)
}

/// QuickJS with the source loaded. Of WASI nothing is left but traps.
async fn ecmascript(folder: &Folder, work: &Path, source: &Path) -> Result<Vec<u8>> {
    let program = qjs(folder)?;
    let made = fresh(work, "ecmascript.wasm")?;
    let mut command = Command::new(program);
    command.args(["--wit", "wit", "-n", WORLD, "--module-root", ".", "--sync", "--opt-size", "--stub-wasi", "--js"]);
    command.arg(source).arg("-o").arg(&made);
    finish(folder, command).await?;
    take(&made)
}

fn qjs(folder: &Folder) -> Result<PathBuf> {
    local(folder, "node_modules/.bin/componentize-qjs")
}

/// Cargo makes a core module that carries its world; the component is made of it here.
async fn rust(folder: &Folder, work: &Path) -> Result<Vec<u8>> {
    has(folder, OsStr::new("cargo"), &["--version"]).await?;
    has_target(folder).await?;
    let module = format!("target/{TARGET}/release/{}.wasm", folder.manifest.name.replace('-', "_"));
    let module = fresh(work, &module)?;
    let target = work.join("target");
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--target", TARGET, "--target-dir"]).arg(&target);
    finish(folder, command).await?;
    sandbox::encode(&take(&module)?)
}

/// Whether the program can be started at all.
async fn has(folder: &Folder, program: &OsStr, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&folder.path).stdin(Stdio::null());
    command.output().await.map(drop).map_err(|e| missing(folder, program, &e))
}

/// The place of what a toolchain is about to make: what an earlier run left there must not pass for it. Asked for once
/// the toolchain is there; until then nothing is changed.
fn fresh(work: &Path, inside: &str) -> Result<PathBuf> {
    let file = work.join(inside);
    let parent = file.parent().unwrap_or(work);
    std::fs::create_dir_all(parent).map_err(|e| failed("make", parent, &e))?;
    match std::fs::remove_file(&file) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &file, &e)),
        _ => Ok(file),
    }
}

/// Whether the compiler has a standard library for the target, or makes one (`CARGO_UNSTABLE_BUILD_STD`).
async fn has_target(folder: &Folder) -> Result<()> {
    if config::environment("CARGO_UNSTABLE_BUILD_STD").is_some() {
        return Ok(());
    }
    let rustc = config::environment("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(&rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]).current_dir(&folder.path);
    let said = command.output().await.map_err(|e| missing(folder, OsStr::new(&rustc), &e))?;
    let place = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
    if said.status.success() && place.is_dir() {
        return Ok(());
    }
    Err(install(folder, &format!("this Rust has no target {TARGET}")))
}

/// A program that the toolchain's own installer puts into the folder.
fn local(folder: &Folder, inside: &str) -> Result<PathBuf> {
    let program = folder.path.join(inside);
    if program.is_file() { Ok(program) } else { Err(install(folder, &format!("{inside} is not there"))) }
}

/// Runs it in the folder to its good end.
async fn finish(folder: &Folder, mut command: Command) -> Result<()> {
    let program = command.as_std().get_program().to_owned();
    // What the command answers is the component; a compiler's words are not.
    command.current_dir(&folder.path).stdin(Stdio::null()).stdout(std::io::stderr()).kill_on_drop(true);
    let status = command.status().await.map_err(|e| missing(folder, &program, &e))?;
    if status.success() {
        return Ok(());
    }
    let name = Path::new(&program).file_name().map(OsStr::to_string_lossy).unwrap_or_default();
    Err(Error::new(Kind::Invalid, format!("{name} ended with {status}; what it said stands above")))
}

fn missing(folder: &Folder, program: &OsStr, cause: &std::io::Error) -> Error {
    let program = program.to_string_lossy();
    match cause.kind() {
        std::io::ErrorKind::NotFound => install(folder, &format!("{program} is not there")),
        _ => Error::invalid("folder", format!("cannot start {program}: {cause}")),
    }
}

/// What is missing, and the command that brings it.
fn install(folder: &Folder, what: &str) -> Error {
    let before = match folder.manifest.language {
        Language::Python => "",
        Language::JavaScript | Language::TypeScript => " (npm comes with Node.js, https://nodejs.org)",
        Language::Rust => " (rustup and cargo come from https://rustup.rs)",
    };
    let line = new::prepare(folder.manifest.language);
    let message = format!("{what}; in {} run{before}:\n  {line}", folder.path.display());
    Error::new(Kind::Unavailable, message)
}

fn take(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|e| failed("read", file, &e))
}

/// Bytes, for people.
pub(super) fn size(bytes: usize) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes.div_ceil(1 << 10)) } else { format!("{:.1} MiB", mib(bytes)) }
}

#[allow(clippy::cast_precision_loss)] // shown with one digit
fn mib(bytes: usize) -> f64 {
    bytes as f64 / 1_048_576.0
}
