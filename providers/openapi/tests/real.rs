//! A real document of a thousand operations: GitHub's, from the npm package `@octokit/openapi`.
//!
//! `FRONTDESK_DOCUMENTS` names the folder that has it, which tests/run.sh puts in place; without it this one is not looked
//! at (run.sh counts it as skipped).

#![allow(clippy::unwrap_used)] // a panic is how a test fails
#![allow(clippy::disallowed_methods)] // the documents' place comes from who runs the tests

mod common;

use std::path::Path;

use common::{import_args, oracle::compared};
use serde_json::{Value, json};

#[tokio::test]
async fn githubs_whole_api_is_imported_without_loss() {
    let Some(folder) = std::env::var_os("FRONTDESK_DOCUMENTS") else { return };
    let text = std::fs::read_to_string(Path::new(&folder).join("openapi/generated/api.github.com.json")).unwrap();
    let group = import_args(json!({ "document": text })).await.unwrap();
    // Reading 13 MB takes a bounded part of the machine (this test is a process of its own).
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
        assert!(peak.is_some_and(|kib| kib < 400 * 1024), "{peak:?} KiB");
    }
    let root: Value = serde_json::from_str(&text).unwrap();
    let (operations, lacks) = compared(&root, &group);
    assert!(operations > 1_000 && lacks.is_empty(), "{operations} {lacks:#?}");
    let left = group.inspected.report["left_out"].as_array().unwrap();
    assert_eq!((group.inspected.tools.len() + left.len(), left), (operations, &vec![]));
    for tool in &group.inspected.tools {
        jsonschema::validator_for(&tool.schema).unwrap_or_else(|e| panic!("{}: {e}", tool.name));
        assert!(
            tool.schema.to_string().len() <= 200_000 && !tool.schema.to_string().contains("\"$ref\":\""),
            "{}",
            tool.name
        );
    }
    // What is kept is a fraction of what came.
    assert!(group.inspected.kept.as_ref().unwrap().len() < 4 << 20);
}
