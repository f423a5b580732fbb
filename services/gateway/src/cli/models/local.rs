//! The local models of a configuration, and the lines that add one to it.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::found::{Found, look};
use crate::config::Config;

/// The type of providers that run models from disk.
pub(super) const LOCAL: &str = "mistralrs";

/// A local model that is configured.
pub(in crate::cli) struct Configured {
    /// Of its provider.
    pub(super) provider: String,
    /// What it is asked for as.
    pub(in crate::cli) id: String,
    pub(super) path: PathBuf,
    /// What the engine makes of the weights while it loads them.
    isq: Option<String>,
    /// The file in the folder that holds weights the engine quantised before.
    uqff: Option<String>,
    /// The bound that its provider sets.
    pub(super) max_model_len: Option<u64>,
}

impl Configured {
    /// What lies at its path.
    pub(super) fn found(&self) -> Result<Found, String> {
        let mut found = look(&self.path)?;
        if let Some(uqff) = &self.uqff {
            let file = self.path.join(uqff);
            if !file.is_file() {
                return Err(format!("{} is missing", file.display()));
            }
            found.quantisation = Some(uqff.clone());
        }
        if let Some(isq) = &self.isq {
            let from = found.quantisation.as_deref().unwrap_or("its own");
            found.quantisation = Some(format!("{isq} (from {from})"));
        }
        Ok(found)
    }

    /// What `doctor` says of it.
    ///
    /// # Errors
    /// One sentence naming what is missing.
    pub(in crate::cli) fn examine(&self) -> Result<String, String> {
        self.found().map(|found| said(&found))
    }
}

/// One line about a model that is whole.
pub(super) fn said(found: &Found) -> String {
    let quantisation = found.quantisation.as_deref().map(|q| format!(", {q}")).unwrap_or_default();
    format!(
        "{} ({}, {}{quantisation})",
        found.path.display(),
        found.format.as_str(),
        indicatif::DecimalBytes(found.bytes)
    )
}

/// Every model that the configuration runs from disk.
pub(in crate::cli) fn configured(config: &Config) -> Vec<Configured> {
    let mut all = Vec::new();
    for entry in config.providers.inference.iter().filter(|entry| entry.kind == LOCAL) {
        for model in entry.config["models"].as_array().into_iter().flatten() {
            let (Some(id), Some(path)) = (model["id"].as_str(), model["path"].as_str()) else { continue };
            all.push(Configured {
                provider: entry.id.clone(),
                id: format!("{}/{id}", entry.id),
                path: path.into(),
                isq: model["isq"].as_str().map(str::to_owned),
                uqff: model["uqff"].as_str().map(str::to_owned),
                max_model_len: entry.config["max_model_len"].as_u64(),
            });
        }
    }
    all
}

/// The lines that add a model to the configuration.
pub(super) fn yaml(config: &Config, path: &Path) -> String {
    let model = format!("{{ id: {}, path: {} }}", scalar(&id(path)), scalar(&path.display().to_string()));
    let runs_here = |config: &Value| config["url"].is_null();
    match config.providers.inference.iter().find(|entry| entry.kind == LOCAL && runs_here(&entry.config)) {
        Some(entry) => format!(
            "# under providers.inference, in the entry '{}':\n      config:\n        models:\n          - {model}",
            entry.id
        ),
        None => {
            let taken = |id: &str| config.providers.inference.iter().any(|entry| entry.id == id);
            let id = if taken("local") { "engine" } else { "local" };
            format!("providers:\n  inference:\n    - {{ id: {id}, type: {LOCAL}, config: {{ models: [ {model} ] }} }}")
        }
    }
}

/// What a model is called after its folder or file.
fn id(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let lower = name.to_ascii_lowercase();
    lower.strip_suffix(".gguf").map_or_else(|| lower.clone(), str::to_owned)
}

/// A text as YAML has it inside braces.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || "./".contains(c));
    // A word such as `null` or `true` would be no text.
    let word = text.contains(['.', '/', '-']) || text.contains(|c: char| c.is_ascii_digit());
    if begins && word && text.chars().all(plain) {
        return text.to_owned();
    }
    Value::from(text).to_string() // JSON's quotes are YAML's
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    fn added(before: &str, path: &str) -> String {
        yaml(&parse(before, &|_| None).expect("a configuration"), Path::new(path))
    }

    #[test]
    fn the_lines_make_a_configuration_with_that_model() {
        for (path, id) in [
            ("./data/models/Qwen3-0.6B", "local/qwen3-0.6b"),
            ("/m x/it's, {a}: b.gguf", "local/it's, {a}: b"),
            ("null", "local/null"),
            ("models/7", "local/7"),
        ] {
            let config = parse(&added("", path), &|_| None).expect(path);
            let models = configured(&config);
            assert_eq!((models[0].id.as_str(), models[0].path.as_path()), (id, Path::new(path)));
        }
    }

    #[test]
    fn a_provider_that_is_there_takes_it_in() {
        let before =
            "providers: { inference: [ { id: here, type: mistralrs, config: { models: [ { id: a, path: m/a } ] } } ] }";
        insta::assert_snapshot!(added(before, "m/b-Q4_0.gguf"), @"
        # under providers.inference, in the entry 'here':
              config:
                models:
                  - { id: b-q4_0, path: m/b-Q4_0.gguf }
        ");
        let elsewhere = "providers: { inference: [ { id: local, type: mistralrs, config: { url: 'http://h/v1' } } ] }";
        assert!(added(elsewhere, "m/b").contains("id: engine, type: mistralrs"));
    }
}
