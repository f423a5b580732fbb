//! The layout, checked: arrows between crates, where SQL and provider types may be named, and the
//! shape of every file. It reads manifests and sources and starts nothing.
//!
//! To draw a new arrow, add it to [`ARROWS`] and say why in ARCHITECTURE.md.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Room → rooms it may depend on. `gateway` and `tests` may see everything.
const ARROWS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("wire", &["api"]),
    ("store", &["api"]),
    ("http", &["api", "wire"]),
    ("openai", &["api", "wire", "http"]),
    ("anthropic", &["api", "wire", "http"]),
    ("gemini", &["api", "wire", "http"]),
    ("bedrock", &["api", "wire", "http"]),
    ("mcp", &["api", "wire", "http"]),
    ("openapi", &["api", "wire", "http"]),
    ("wasm", &["api", "wire", "http"]),
    ("websearch", &["api", "http"]),
    ("shields", &["api", "wire", "http"]),
    ("mistralrs", &["api", "wire", "http", "openai"]),
    ("blobs", &["api", "http"]),
    ("embeddings", &["api"]),
    ("vectors", &["api", "store"]),
    ("inference", &["api", "store"]),
    ("tools", &["api", "store"]),
    ("agents", &["api", "store"]),
    ("ledger", &["api", "store"]),
    ("memory", &["api", "store"]),
    ("safety", &["api", "store"]),
    ("accounts", &["api", "store"]),
    ("batches", &["api", "store"]),
];

/// What a room's own tests may use beyond its arrows: the real thing instead of a stand-in.
const TEST_ARROWS: &[(&str, &[&str])] = &[("memory", &["vectors"])];

/// Third-party crates a room must do without, and why.
const WITHOUT: &[(&[&str], &[&str], &str)] = &[
    (&["api", "wire"], &["tokio", "axum", "hyper", "reqwest", "sqlx"], "foundations do no I/O"),
    (
        &["inference", "tools", "agents", "memory", "safety", "accounts", "ledger", "batches"],
        &["axum", "hyper", "reqwest", "sqlx"],
        "a service knows no HTTP and no SQL",
    ),
];

/// Rooms that may speak SQL.
const SQL: &[&str] = &["store", "vectors", "tests"];

/// Files of the gateway that may name a provider crate: where providers are listed, where the engine worker and the
/// compiler of tools are started, and where an author's tools meet the sandbox.
const NAMES_PROVIDERS: &[&str] = &["wiring.rs", "cli/engine.rs", "cli/compile.rs", "cli/tool/sandbox.rs"];

/// A file longer than this holds two ideas.
const LONGEST_FILE: usize = 600;

struct Room {
    name: String,
    /// `services`, `providers` or empty for tests.
    wing: String,
    dir: PathBuf,
    /// Crate names of ordinary and build dependencies.
    uses: BTreeSet<String>,
    /// Crate names of dev dependencies.
    tests_use: BTreeSet<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn rooms() -> Vec<Room> {
    let mut rooms = Vec::new();
    for wing in ["services", "providers"] {
        let entries = std::fs::read_dir(root().join(wing)).unwrap();
        let mut dirs: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
        dirs.retain(|dir| dir.join("Cargo.toml").is_file());
        dirs.sort();
        rooms.extend(dirs.into_iter().map(|dir| room(wing, dir)));
    }
    rooms.push(room("", root().join("tests")));
    assert!(rooms.len() > 5, "the house has rooms");
    rooms
}

fn room(wing: &str, dir: PathBuf) -> Room {
    let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(dir.join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap_or_else(|e| panic!("{name}/Cargo.toml: {e}"));
    assert_eq!(manifest["package"]["name"].as_str().unwrap(), format!("frontdesk-{name}"), "package name = folder");
    let mut uses = BTreeSet::new();
    let mut tests_use = BTreeSet::new();
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|t| t.values().filter_map(toml::Value::as_table));
    for table in tables.chain([&manifest]) {
        uses.extend(crates(table, "dependencies"));
        uses.extend(crates(table, "build-dependencies"));
        tests_use.extend(crates(table, "dev-dependencies"));
    }
    Room { name, wing: wing.to_owned(), dir, uses, tests_use }
}

/// The crates a dependency table names, renamed ones by their real name.
fn crates(manifest: &toml::Table, table: &str) -> Vec<String> {
    let Some(table) = manifest.get(table).and_then(toml::Value::as_table) else { return Vec::new() };
    let real = |(key, value): (&String, &toml::Value)| {
        let renamed = value.get("package").and_then(toml::Value::as_str);
        renamed.unwrap_or(key).to_owned()
    };
    table.iter().map(real).collect()
}

/// Every file of the tree a person wrote, by its path from the root.
fn files(extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    walk(&root(), extensions, &mut found);
    found
}

fn walk(dir: &Path, extensions: &[&str], found: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_symlink() || ["target", ".git", "node_modules", "__pycache__", ".venv", "data"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            walk(&path, extensions, found);
        } else if path.extension().is_some_and(|e| extensions.iter().any(|x| e == *x)) {
            let shown = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            found.insert(shown, String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned());
        }
    }
}

fn none(what: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{what}:\n  {}", wrong.join("\n  "));
}

#[test]
fn every_arrow_between_rooms_is_drawn() {
    let drawn: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let in_tests: BTreeMap<&str, &[&str]> = TEST_ARROWS.iter().copied().collect();
    let mut wrong = Vec::new();
    for room in rooms() {
        if room.name == "gateway" || room.name == "tests" {
            continue;
        }
        let Some(allowed) = drawn.get(room.name.as_str()) else {
            wrong.push(format!("{}/{} is a room without arrows in tests/it/house.rs", room.wing, room.name));
            continue;
        };
        let more = in_tests.get(room.name.as_str()).copied().unwrap_or_default();
        let house = |name: &String| name.strip_prefix("frontdesk-").map(str::to_owned);
        for to in room.uses.iter().filter_map(house).filter(|to| !allowed.contains(&to.as_str())) {
            wrong.push(format!("{} → {to}", room.name));
        }
        let test_only =
            |to: &String| *to != room.name && !allowed.contains(&to.as_str()) && !more.contains(&to.as_str());
        for to in room.tests_use.iter().filter_map(house).filter(test_only) {
            wrong.push(format!("{} → {to} (in its tests)", room.name));
        }
    }
    none("arrows not drawn", wrong);
}

#[test]
fn rooms_do_without_what_is_not_theirs() {
    let mut wrong = Vec::new();
    for room in rooms() {
        for (names, crates, why) in WITHOUT {
            if !names.contains(&room.name.as_str()) {
                continue;
            }
            let used = room.uses.iter().filter(|u| crates.contains(&u.as_str()));
            wrong.extend(used.map(|u| format!("{} uses {u}: {why}", room.name)));
        }
        if !SQL.contains(&room.name.as_str()) && (room.uses.contains("sqlx") || room.tests_use.contains("sqlx")) {
            wrong.push(format!("{} uses sqlx: SQL lives in store and vectors", room.name));
        }
        if room.name == "tests" {
            let rooms = room.uses.iter().chain(&room.tests_use).filter(|u| u.starts_with("frontdesk-"));
            wrong.extend(rooms.map(|u| format!("tests use {u}: they meet the product as a process")));
        }
    }
    none("dependencies in the wrong room", wrong);
}

#[test]
fn the_gateway_names_providers_only_where_they_are_wired() {
    let rooms = rooms();
    let providers: Vec<String> =
        rooms.iter().filter(|r| r.wing == "providers").map(|r| format!("frontdesk_{}", r.name)).collect();
    assert!(!providers.is_empty(), "the house has providers");
    let gateway = rooms.iter().find(|r| r.name == "gateway").unwrap();
    let from = format!("{}/", gateway.dir.join("src").strip_prefix(root()).unwrap().display());
    let mut wrong = Vec::new();
    for (path, text) in files(&["rs"]) {
        let Some(inside) = path.strip_prefix(&from) else { continue };
        if NAMES_PROVIDERS.contains(&inside) {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if let Some(provider) = providers.iter().find(|p| code.contains(p.as_str())) {
                wrong.push(format!("{path}:{}: {provider} belongs in wiring.rs", number + 1));
            }
            if code.contains("sqlx::") {
                wrong.push(format!("{path}:{}: SQL belongs in store", number + 1));
            }
        }
    }
    none("the gateway knows too much", wrong);
}

#[test]
fn every_source_file_says_what_it_is() {
    let unsaid = files(&["rs"]).into_iter().filter(|(_, text)| !text.starts_with("//!"));
    none("files that do not open with `//!`", unsaid.map(|(path, _)| path).collect());
}

#[test]
fn no_source_file_holds_two_ideas() {
    let long = files(&["rs", "py", "sh", "ts", "js"]).into_iter().map(|(path, text)| (path, text.lines().count()));
    let long = long.filter(|(_, lines)| *lines > LONGEST_FILE);
    none("files to split by idea", long.map(|(path, lines)| format!("{path}: {lines} lines")).collect());
}

#[test]
fn nothing_points_at_a_place_on_somebody_s_machine() {
    // Written in two halves so that this file does not find itself.
    let places = [["/ro", "ot/"], ["/ho", "me/"], ["/wo", "rk/"], ["../sh", "ared"]].map(|halves| halves.concat());
    // A place begins a path; the same letters inside a longer path are somebody's folder name.
    let begins = |line: &str, at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| c.is_whitespace() || "\"'`(=:[<,".contains(c))
    };
    let mut wrong = Vec::new();
    let texts = files(&["rs", "py", "sh", "md", "toml", "yaml", "yml", "sql", "html", "js", "ts", "json", "conf"]);
    for (path, text) in texts {
        for (number, line) in text.lines().enumerate() {
            let named = |place: &&String| line.match_indices(place.as_str()).any(|(at, _)| begins(line, at));
            if let Some(place) = places.iter().find(named) {
                wrong.push(format!("{path}:{}: {place}", number + 1));
            }
        }
    }
    none("places on a machine", wrong);
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |dialect: &str| -> BTreeSet<String> {
        let entries = std::fs::read_dir(root().join("migrations").join(dialect)).unwrap();
        entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let (postgres, sqlite) = (names("postgres"), names("sqlite"));
    assert!(!postgres.is_empty(), "there are migrations");
    assert_eq!(postgres, sqlite);
}
