//! `frontdesk tool new`: a folder to begin with.
//!
//! Every language gets the same two tools and the same tests: one that knows its answer, one that asks another server.
//! Invariant: the folder is new and whole, or not there.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use frontdesk_api::{Error, Kind, Result};
use include_dir::{Dir, include_dir};

use super::{Language, check_name, failed, sandbox};
use crate::cli::say;

static TEMPLATES: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/templates/tool");

/// What stands in the templates for the tool's name, and for its language.
const NAME: &str = "sample-tool";
const LANGUAGE: &str = "sample-language";

#[derive(Args)]
pub(super) struct New {
    /// What to write it in
    #[arg(long, value_enum)]
    lang: Language,
    /// The tool's name, and the folder that is made for it here
    name: String,
}

impl New {
    pub(super) fn run(self) -> Result<ExitCode> {
        check_name(&self.name)?;
        let folder = PathBuf::from(&self.name);
        write(&folder, &self.name, self.lang)?;
        say(format!("wrote {}; next:\n", folder.display()))?;
        say(format!("  cd {}", folder.display()))?;
        say(format!("  {}\n  frontdesk tool build\n  frontdesk tool test", prepare(self.lang)))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// How the toolchain comes.
pub(super) fn prepare(language: Language) -> &'static str {
    match language {
        Language::Python => "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt",
        Language::JavaScript | Language::TypeScript => "npm install",
        Language::Rust => "rustup target add wasm32-unknown-unknown",
    }
}

/// The folders of the templates that a language's is made of.
fn layers(language: Language) -> &'static [&'static str] {
    match language {
        Language::Python => &["common", "python"],
        Language::JavaScript => &["common", "ecmascript", "javascript"],
        Language::TypeScript => &["common", "ecmascript", "typescript"],
        Language::Rust => &["common", "rust"],
    }
}

/// # Errors
/// `Conflict` where something is there already.
pub(super) fn write(folder: &Path, name: &str, language: Language) -> Result<()> {
    whole(folder, |folder| {
        let world = Path::new("wit/deps/frontdesk-tool");
        for (file, text) in sandbox::WIT {
            put(folder, &world.join(file), text)?;
        }
        for layer in layers(language) {
            let layer = TEMPLATES.get_dir(layer).ok_or_else(broken)?;
            copy(layer, layer.path(), folder, &|text| text.replace(NAME, name).replace(LANGUAGE, language.name()))?;
        }
        Ok(())
    })
}

/// Fills a folder beside it, and gives that its name when it is whole.
fn whole(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if folder.symlink_metadata().is_ok() {
        return Err(Error::conflict(format!("{} is there already; nothing was written", folder.display())));
    }
    let beside = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Removed with what is in it where it did not get its name.
    let fresh = tempfile::Builder::new().prefix(".new-").tempdir_in(beside).map_err(|e| failed("make", folder, &e))?;
    let inside = fresh.path().join("tool");
    std::fs::create_dir(&inside).map_err(|e| failed("make", folder, &e))?;
    fill(&inside)?;
    std::fs::rename(&inside, folder).map_err(|e| failed("make", folder, &e))
}

fn copy(from: &Dir<'_>, layer: &Path, folder: &Path, fill: &dyn Fn(&str) -> String) -> Result<()> {
    for file in from.files() {
        let text = file.contents_utf8().ok_or_else(broken)?;
        let inside = file.path().strip_prefix(layer).map_err(|_| broken())?;
        // Under its own name it would act on the template.
        let inside = if inside == Path::new("gitignore") { Path::new(".gitignore") } else { inside };
        put(folder, inside, &fill(text))?;
    }
    from.dirs().try_for_each(|dir| copy(dir, layer, folder, fill))
}

/// A test writes every language's: this is for the compiler's sake.
fn broken() -> Error {
    Error::new(Kind::Internal, "the program's own templates are not whole")
}

fn put(folder: &Path, inside: &Path, text: &str) -> Result<()> {
    let file = folder.join(inside);
    let written = file.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&file, text));
    written.map_err(|e| failed("write", &file, &e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tool::{Folder, cases};

    #[test]
    fn each_language_gets_a_whole_folder_under_its_own_name() {
        let home = tempfile::tempdir().expect("a folder");
        for (language, source) in [
            (Language::Python, "tool.py"),
            (Language::JavaScript, "tool.js"),
            (Language::TypeScript, "tool.ts"),
            (Language::Rust, "src/lib.rs"),
        ] {
            let at = home.path().join(language.name());
            write(&at, "order-desk", language).expect("written");
            let folder = Folder::open(&at).expect("its tool.yaml is read");
            assert_eq!((folder.manifest.name.as_str(), folder.manifest.language), ("order-desk", language));
            assert!(at.join(source).is_file() && at.join(".gitignore").is_file() && at.join("wit/world.wit").is_file());
            let tool = std::fs::read_to_string(at.join("wit/deps/frontdesk-tool/tool.wit")).expect("the world");
            assert!(tool.contains("package frontdesk:tool@"));
            assert!(cases::load(&folder).expect("its cases").len() >= 4);
            left_over(&at);
        }
    }

    /// No file still speaks of the template.
    fn left_over(folder: &Path) {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left_over(&path);
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a text");
            assert!(!text.contains(NAME) && !text.contains(LANGUAGE), "{}", path.display());
        }
    }

    #[test]
    fn what_is_there_is_left_as_it_is() {
        let home = tempfile::tempdir().expect("a folder");
        let at = home.path().join("mine");
        std::fs::create_dir(&at).expect("made");
        std::fs::write(at.join("tool.py"), "mine").expect("written");
        let refused = write(&at, "mine", Language::Python).expect_err("refused");
        assert!(refused.message.contains("nothing was written"), "{refused}");
        assert_eq!(std::fs::read_to_string(at.join("tool.py")).expect("read"), "mine");
        assert_eq!(std::fs::read_dir(&at).expect("listed").count(), 1);
    }

    #[test]
    fn half_a_folder_is_no_folder() {
        let home = tempfile::tempdir().expect("a folder");
        let fill = |at: &Path| {
            put(at, Path::new("tool.py"), "half")?;
            Err(broken())
        };
        assert!(whole(&home.path().join("mine"), fill).is_err());
        assert_eq!(std::fs::read_dir(home.path()).expect("listed").count(), 0);
    }

    #[test]
    fn a_name_that_is_none_somewhere_is_refused() {
        for name in ["", "Order", "1st", "a b", "../up", "a/b", "-x", &"x".repeat(65)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("order-status_2").is_ok());
    }
}
