//! `frontdesk models list`: what can be asked for, and what lies on disk beside it.
//!
//! A server that runs on this data folder is asked, given a key; else the configuration says what it would offer, and
//! nobody is asked.

use std::process::ExitCode;

use clap::Args;
use frontdesk_api::Result;
use indicatif::DecimalBytes;
use reqwest::Method;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    found::{Found, all_in},
    local::{self, Configured, configured},
    progress::tell,
};
use crate::{
    cli::{
        Place,
        remote::{Remote, running},
        say, table,
    },
    config::Config,
};

#[derive(Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
    /// A key, to ask the server that runs
    #[arg(long, env = "FRONTDESK_ADMIN_KEY", hide_env_values = true, value_name = "KEY")]
    key: Option<String>,
    /// The server's address; without it, the one that runs on this data folder
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A model that can be asked for.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    provider: String,
    /// `llm`, `embedding`, `rerank`; None: only the server knows.
    kind: Option<String>,
    context_window: Option<u64>,
    /// Of a local one.
    #[serde(flatten)]
    found: Option<Found>,
    /// Of a local one: what keeps it from being loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// Of a local one, where a server was asked.
    loaded: Option<bool>,
}

impl List {
    pub(super) async fn run(self) -> Result<ExitCode> {
        let config = self.place.load()?;
        let own = configured(&config);
        let url = self.url.clone().or_else(|| running(&config.data_dir));
        let (from, rows) = match (&url, &self.key) {
            (Some(url), Some(key)) => (format!("the server at {url}"), served(&Remote::new(url, key)?, &own).await?),
            (Some(url), None) => {
                let from = format!("the configuration (a server is said to run at {url}: with --key it is asked)");
                (from, written(&config, &own))
            }
            (None, _) => ("the configuration (no server runs)".to_owned(), written(&config, &own)),
        };
        let same = |one: &Found, other: &Configured| {
            one.path == other.path
                || one.path.canonicalize().ok().is_some_and(|path| other.path.canonicalize().is_ok_and(|o| o == path))
        };
        let dir = config.models_dir();
        let beside: Vec<Found> =
            all_in(&dir).into_iter().filter(|found| !own.iter().any(|own| same(found, own))).collect();
        if self.json {
            let beside: Vec<Value> = beside
                .iter()
                .map(|found| json!({ "model": found, "yaml": local::yaml(&config, &found.path) }))
                .collect();
            say(json!({ "from": from, "models": rows, "models_dir": dir, "not_configured": beside }))?;
            return Ok(ExitCode::SUCCESS);
        }
        tell(format!("as told by {from}"));
        table::print(&lines(&rows), HEAD.len())?;
        if !beside.is_empty() {
            say(format!("\nin {} and not configured:", dir.display()))?;
            for found in &beside {
                say(format!("\n# {}\n{}", local::said(found), local::yaml(&config, &found.path)))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What the server that runs offers.
async fn served(server: &Remote, own: &[Configured]) -> Result<Vec<Row>> {
    let models = server.json(Method::GET, "/v1/models", None).await?;
    let providers = server.json(Method::GET, "/v1/providers", None).await?;
    Ok(answered(&models, &providers, own))
}

/// Both lists as rows.
fn answered(models: &Value, providers: &Value, own: &[Configured]) -> Vec<Row> {
    let text = |model: &Value, member: &str| model[member].as_str().unwrap_or_default().to_owned();
    // The engine may be well and have this model on disk alone, or still be loading it.
    let is_loaded = |provider: &str, id: &str| {
        let all = providers["data"].as_array().into_iter().flatten();
        let facts = all.filter(|one| one["provider_id"] == provider).map(|one| &one["health"]["facts"]);
        let mut models = facts.filter_map(|facts| facts["engine"].as_array()).flatten();
        models.any(|model| {
            id.strip_prefix(provider) == Some(&format!("/{}", text(model, "id"))) && model["state"] == "loaded"
        })
    };
    let row = |model: &Value| {
        let (id, provider) = (text(model, "id"), text(model, "provider_id"));
        let local = own.iter().find(|own| own.id == id);
        let mut row = Row {
            kind: Some(text(model, "model_type")),
            context_window: model["max_model_len"].as_u64(),
            loaded: local.map(|_| is_loaded(&provider, &id)),
            ..Row::of(id, provider)
        };
        row.look_at(local);
        row
    };
    models["data"].as_array().into_iter().flatten().map(row).collect()
}

/// What the configuration offers, as far as it says so itself.
fn written(config: &Config, own: &[Configured]) -> Vec<Row> {
    let mut rows: Vec<Row> = config.models.iter().map(|route| Row::of(route.id.clone(), "frontdesk".into())).collect();
    for entry in &config.providers.inference {
        let local: Vec<&Configured> = own.iter().filter(|own| own.provider == entry.id).collect();
        if local.is_empty() {
            // Its server has the list, and is not asked.
            rows.push(Row::of(format!("{}/…", entry.id), entry.id.clone()));
        }
        for own in local {
            // As the engine tells them apart: sentence models say what their vectors are made by.
            let kind = if own.path.join("modules.json").is_file() { "embedding" } else { "llm" };
            let mut row = Row { kind: Some(kind.into()), ..Row::of(own.id.clone(), entry.id.clone()) };
            row.look_at(Some(own));
            rows.push(row);
        }
    }
    rows
}

impl Row {
    fn of(id: String, provider: String) -> Self {
        Self { id, provider, kind: None, context_window: None, found: None, missing: None, loaded: None }
    }

    fn look_at(&mut self, local: Option<&Configured>) {
        let Some(local) = local else { return };
        match local.found() {
            Ok(found) => {
                let made_for = [found.context_window, local.max_model_len].into_iter().flatten().min();
                self.context_window = self.context_window.or(made_for);
                self.found = Some(Found { context_window: None, ..found });
            }
            Err(missing) => self.missing = Some(missing),
        }
    }
}

const HEAD: [&str; 9] = ["model", "provider", "kind", "context", "loaded", "format", "size", "quantisation", "path"];

fn lines(rows: &[Row]) -> Vec<Vec<String>> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
    let line = |row: &Row| {
        let found = row.found.as_ref();
        vec![
            row.id.clone(),
            row.provider.clone(),
            or_dash(row.kind.clone()),
            or_dash(row.context_window.map(|n| n.to_string())),
            or_dash(row.loaded.map(|is| if is { "yes" } else { "no" }.into())),
            or_dash(found.map(|found| found.format.as_str().into())),
            or_dash(found.map(|found| DecimalBytes(found.bytes).to_string())),
            or_dash(found.and_then(|found| found.quantisation.clone())),
            or_dash(found.map(|found| found.path.display().to_string()).or_else(|| row.missing.clone())),
        ]
    };
    std::iter::once(HEAD.map(str::to_owned).to_vec()).chain(rows.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const YAML: &str = "models: [ { id: default, targets: [ { model: local/tiny } ] } ]
providers: { inference: [ { id: local, type: mistralrs, config: { max_model_len: 2048, models: [
  { id: tiny, path: DIR/tiny-Q8_0.gguf, isq: Q4K }, { id: gone, path: DIR/gone } ] } }, { id: up, type: openai, config: {} } ] }";

    fn shown(rows: &[Row], dir: &str) -> Vec<String> {
        lines(rows)[1..].iter().map(|line| line.join(" ").replace(dir, "DIR")).collect()
    }

    #[test]
    fn a_server_tells_kinds_windows_and_what_is_loaded_and_the_disk_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("tiny-Q8_0.gguf"), "GGUF and so on").expect("a file");
        let dir = dir.path().display().to_string();
        let config = parse(&YAML.replace("DIR", &dir), &|_| None).expect("a configuration");
        let own = configured(&config);
        let model = |id: &str, provider: &str, kind: &str, window: Value| json!({ "id": id, "provider_id": provider, "model_type": kind, "max_model_len": window });
        let models = json!({ "data": [
            model("default", "frontdesk", "llm", json!(1024)), model("local/tiny", "local", "llm", json!(1024)),
            model("local/gone", "local", "llm", Value::Null), model("up/e", "up", "embedding", Value::Null),
        ] });
        let providers = json!({ "data": [
            { "provider_id": "up", "health": { "facts": null } },
            { "provider_id": "local", "health": { "facts": { "state": "ready", "engine": [
                { "id": "tiny", "state": "loaded" }, { "id": "gone", "state": "unloaded" } ] } } },
        ] });
        assert_eq!(
            shown(&answered(&models, &providers, &own), &dir),
            [
                "default frontdesk llm 1024 - - - - -",
                "local/tiny local llm 1024 yes gguf 14 B Q4K (from Q8_0) DIR/tiny-Q8_0.gguf",
                "local/gone local llm - no - - - DIR/gone: No such file or directory (os error 2)",
                "up/e up embedding - - - - - -",
            ]
        );
        let loading = json!({ "data": [ { "provider_id": "local", "health": { "facts": { "state": "loading" } } } ] });
        assert_eq!(answered(&models, &loading, &own)[1].loaded, Some(false));
        assert_eq!(
            shown(&written(&config, &own), &dir),
            [
                "default frontdesk - - - - - - -",
                "local/tiny local llm 2048 - gguf 14 B Q4K (from Q8_0) DIR/tiny-Q8_0.gguf",
                "local/gone local llm - - - - - DIR/gone: No such file or directory (os error 2)",
                "up/… up - - - - - - -",
            ]
        );
    }
}
