//! From a file to a typed `Config`: YAML, then placeholders, then types.

use std::path::Path;

use frontdesk_api::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Config, DEFAULT_FILE, ProviderEntry, nearest, plain, substitute::substitute};

/// How a variable is looked up; tests bring their own.
pub type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// The process's environment.
#[must_use]
#[allow(clippy::disallowed_methods)] // the one place that may read it
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads the file, or the default configuration without one.
///
/// # Errors
/// `Invalid` whose message begins with the file's name and whose `param` is the path of the key.
pub fn load(file: Option<&Path>, env: &Environment<'_>) -> Result<Config> {
    let Some(file) = file else {
        return parse(DEFAULT_FILE, env).map_err(|e| named("the default configuration", e));
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file)
        .map_err(|e| Error::invalid("--config", format!("cannot read the configuration file {name}: {e}")))?;
    parse(&text, env).map_err(|e| named(&name, e))
}

/// Reads a configuration text.
///
/// # Errors
/// `Invalid`: no YAML (with line and column), a placeholder without a value, an unknown key, a wrong value.
pub fn parse(text: &str, env: &Environment<'_>) -> Result<Config> {
    let mut value = yaml(text)?;
    substitute(&mut value, "", env)?;
    let config: Config = typed(&value)?;
    check(&config)?;
    Ok(config)
}

/// Reads a value as what it should be.
///
/// # Errors
/// `Invalid` with the path of the key as `param`, and what was found and is allowed in the message.
pub fn typed<T: DeserializeOwned>(value: &Value) -> Result<T> {
    serde_path_to_error::deserialize(value).map_err(|e| {
        let path = e.path().to_string();
        let message = explain(&e.into_inner().to_string());
        Error::invalid(if path == "." { String::new() } else { path }, message)
    })
}

/// Reads a YAML text; an empty one is an empty mapping.
///
/// # Errors
/// `Invalid` with line and column.
pub fn yaml(text: &str) -> Result<Value> {
    // Truth values are `true` and `false`, as YAML 1.2 has it: `no`, `on` and `y` are words, and a folder or a
    // key may be called so.
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|e| Error::invalid("", format!("not readable as YAML: {e}")))?;
    Ok(if value.is_null() { Value::Object(serde_json::Map::new()) } else { value })
}

/// Rules that types cannot say.
fn check(config: &Config) -> Result<()> {
    let providers = &config.providers;
    let ids = |entries: &[ProviderEntry]| entries.iter().map(|entry| entry.id.clone()).collect();
    let lists: [(&str, Vec<String>); 5] = [
        ("inference", ids(&providers.inference)),
        ("tools", ids(&providers.tools)),
        ("memory", ids(&providers.memory)),
        ("files", ids(&providers.files)),
        ("safety", providers.safety.iter().map(|entry| entry.id.clone()).collect()),
    ];
    for (list, ids) in lists {
        for (i, id) in ids.iter().enumerate() {
            let path = format!("providers.{list}[{i}].id");
            if id.is_empty() || id.contains(['/', ' ']) {
                return Err(Error::invalid(
                    path,
                    format!("'{id}' cannot be an id: it must not be empty and have no '/' and no space"),
                ));
            }
            if ids[..i].contains(id) {
                return Err(Error::invalid(
                    path,
                    format!("the id '{id}' stands twice; ids are unique within providers.{list}"),
                ));
            }
        }
    }
    for (i, model) in config.models.iter().enumerate() {
        model.check(&format!("models[{i}]"))?;
    }
    if !(1..=3600).contains(&config.turns.lease_s) {
        return Err(Error::invalid("turns.lease_s", format!("must be 1 to 3600, found {}", config.turns.lease_s)));
    }
    for (key, value) in [
        ("at_once", config.turns.at_once as u64),
        ("in_line_of_tenant", config.turns.in_line_of_tenant.into()),
        ("in_line", config.turns.in_line.into()),
        ("attempts", config.turns.attempts.into()),
        ("input_wait_h", config.turns.input_wait_h),
        ("question_wait_s", config.turns.question_wait_s),
    ] {
        if !(1..=100_000).contains(&value) {
            return Err(Error::invalid(format!("turns.{key}"), format!("must be 1 to 100000, found {value}")));
        }
    }
    if !(1..=3600).contains(&config.batches.lease_s) {
        return Err(Error::invalid("batches.lease_s", format!("must be 1 to 3600, found {}", config.batches.lease_s)));
    }
    if !(1..=1000).contains(&config.batches.lines_at_once) {
        let message = format!("must be 1 to 1000, found {}", config.batches.lines_at_once);
        return Err(Error::invalid("batches.lines_at_once", message));
    }
    if config.stored_completions.memory_mb == 0 {
        return Err(Error::invalid("stored_completions.memory_mb", "must be at least 1, found 0"));
    }
    config.telemetry.check()?;
    config.hub.check()?;
    let limits = &config.limits;
    for (key, value) in [
        ("max_body_mb", limits.max_body_mb),
        ("max_upload_mb", limits.max_upload_mb),
        ("upload_memory_mb", limits.upload_memory_mb),
        ("body_memory_mb", limits.body_memory_mb),
        ("max_connections", limits.max_connections),
    ] {
        if value == 0 {
            return Err(Error::invalid(format!("limits.{key}"), "must be at least 1, found 0"));
        }
    }
    Ok(())
}

/// Serde's words made plain, with the nearest known key added: `unknown field `tpye`, expected one of `id`, `type``.
fn explain(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field `").or_else(|| message.strip_prefix("unknown variant `"))
    else {
        return plain(message);
    };
    let mut words = rest.split('`').step_by(2);
    let Some(unknown) = words.next() else { return message.to_owned() };
    let allowed: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let what = if message.starts_with("unknown field") { "key" } else { "value" };
    let hint =
        nearest(unknown, allowed.iter().copied()).map(|near| format!(", did you mean '{near}'?")).unwrap_or_default();
    format!("unknown {what} '{unknown}'{hint} (allowed: {})", allowed.join(", "))
}

fn named(file: &str, error: Error) -> Error {
    let path = error.param.as_deref().filter(|p| !p.is_empty());
    let message = match path {
        Some(path) => format!("{file}: {path}: {}", error.message),
        None => format!("{file}: {}", error.message),
    };
    Error { message, ..error }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogFormat;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn refused(text: &str) -> String {
        let error = named("f.yaml", parse(text, &nothing).expect_err("must be refused"));
        error.message
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = parse("", &nothing).expect("empty is fine");
        assert_eq!(config.listen, "127.0.0.1:8321");
        assert_eq!(config.limits.max_body_mb, 32);
        assert_eq!(config.database_url, None);
    }

    #[test]
    fn the_commented_file_says_the_defaults() {
        let written = parse(DEFAULT_FILE, &nothing).expect("docker/frontdesk.yaml loads without any variable");
        let empty = parse("", &nothing).expect("empty is fine");
        let plain = |c: &Config| format!("{c:?}");
        if cfg!(feature = "wasm") {
            assert_eq!(plain(&written), plain(&empty));
        }
        assert_eq!(
            format!("{:?} {:?}", written.limits, written.listen),
            format!("{:?} {:?}", empty.limits, empty.listen)
        );
        let with_key = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-test".to_owned());
        let config = parse(DEFAULT_FILE, &with_key).expect("a key switches the provider on");
        assert_eq!(config.providers.inference[0].id, "openai");
        assert_eq!(config.providers.inference[0].config["api_key"], "sk-test");
    }

    #[test]
    fn every_key_of_the_commented_file_has_a_comment() {
        let lines: Vec<&str> = DEFAULT_FILE.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            let bare = line.trim_start();
            let is_key = !bare.starts_with('#')
                && bare
                    .split(':')
                    .next()
                    .is_some_and(|k| !k.is_empty() && k.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
            let explained = line.contains(" #") || i > 0 && lines[i - 1].trim_start().starts_with('#');
            assert!(!is_key || explained, "line {}: {line}", i + 1);
        }
    }

    #[test]
    fn the_commented_file_shows_a_route_that_works() {
        let shown = DEFAULT_FILE.lines().skip_while(|line| !line.starts_with("#   - id: default"));
        let shown = shown.take_while(|line| line.starts_with('#')).map(|line| &line[1..]);
        let yaml = format!("models:\n{}", shown.collect::<Vec<_>>().join("\n"));
        let config = parse(&yaml, &nothing).expect("the example");
        let route = &config.models[0];
        assert_eq!((route.targets.len(), route.targets[0].max_in_flight), (2, Some(8)));
        let example = frontdesk_inference::Route::to("default", &["a/b"]);
        assert_eq!(
            (&route.retries, &route.breaker, route.affinity),
            (&example.retries, &example.breaker, example.affinity)
        );
        assert_eq!(route.timeouts.queue_ms, example.timeouts.queue_ms);
        insta::assert_snapshot!(refused(&yaml.replace("backoff_ms: 250", "back_off: 250")), @"f.yaml: models[0].retries.back_off: unknown key 'back_off' (allowed: max, backoff_ms, max_backoff_ms, budget_percent, budget_min_per_s)");
        insta::assert_snapshot!(refused(&yaml.replace("affinity: session", "affinity: sticky")), @"f.yaml: models[0].affinity: unknown value 'sticky' (allowed: session, none)");
        insta::assert_snapshot!(refused(&yaml.replace("weight: 1 #", "weight: -1 #")), @"f.yaml: models[0].targets[0].weight: invalid value: integer `-1`, expected a whole number from 0 to 4294967295");
    }

    #[test]
    fn an_unknown_key_names_its_path_and_the_nearest() {
        insta::assert_snapshot!(refused("lisen: x"), @"f.yaml: lisen: unknown key 'lisen', did you mean 'listen'? (allowed: listen, public_url, data_dir, database_url, models_dir, role, hub, egress, providers, models, prices, turns, batches, stored_completions, mcp, limits, log, telemetry)");
        insta::assert_snapshot!(refused("providers: { inference: [ { id: a, tpye: openai } ] }"), @"f.yaml: providers.inference[0].tpye: unknown key 'tpye', did you mean 'type'? (allowed: id, type, config)");
        insta::assert_snapshot!(refused("log: { format: jsn }"), @"f.yaml: log.format: unknown value 'jsn', did you mean 'json'? (allowed: human, json)");
    }

    #[test]
    fn a_wrong_value_names_its_path_and_what_was_found() {
        insta::assert_snapshot!(refused("limits: { max_body_mb: lots }"), @r#"f.yaml: limits.max_body_mb: invalid type: string "lots", expected a whole number, 0 or more"#);
        insta::assert_snapshot!(refused("limits: { max_body_mb: 0 }"), @"f.yaml: limits.max_body_mb: must be at least 1, found 0");
        insta::assert_snapshot!(refused("models: [ { id: a/b, targets: [ { model: x/y } ] } ]"), @"f.yaml: models[0].id: 'a/b' cannot be an alias: it must not be empty and have no '/' (that is provider/model)");
        insta::assert_snapshot!(refused("providers: { tools: [ { id: w, type: wasm }, { id: w, type: mcp } ] }"), @"f.yaml: providers.tools[1].id: the id 'w' stands twice; ids are unique within providers.tools");
        insta::assert_snapshot!(refused("database_url: ${env.DB}"), @"f.yaml: database_url: the environment variable DB is not set; set it, or give a default: ${env.DB:=default}, or drop the entry without it: ${env.DB:+id}");
    }

    #[test]
    fn broken_yaml_names_the_line() {
        let message = refused("listen: a\n  - b: [\n");
        assert!(message.starts_with("f.yaml: not readable as YAML") && message.contains("line"), "{message}");
        let message = refused("listen: a\nlisten: b\n");
        assert!(message.contains("listen"), "{message}");
    }

    #[test]
    fn words_that_look_like_truth_values_stay_words() {
        let config = parse("log: { format: json }\ndata_dir: no\n", &nothing).expect("a folder named no");
        assert_eq!(config.data_dir, Path::new("no"));
        assert_eq!(config.log.format, LogFormat::Json);
    }
}
