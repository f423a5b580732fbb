//! Nothing is lost: every operation of every document here, and of one of five megabytes, becomes a tool or is listed.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::path::Path;

use common::{import, import_args, oracle::compared, request, shown};
use serde_json::{Value, json};

#[tokio::test]
async fn no_operation_of_a_document_goes_unmentioned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let root: Value = if name.ends_with("json") {
            serde_json::from_str(&text).unwrap()
        } else {
            serde_saphyr::from_str(&text).unwrap()
        };
        let group = import(name, json!({})).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        let left = group.inspected.report["left_out"].as_array().unwrap().len();
        let (operations, lacks) = compared(&root, &group);
        assert_eq!(group.inspected.tools.len() + left, operations, "{name}: {}", group.inspected.report);
        assert!(lacks.is_empty(), "{name}: {lacks:#?}");
        for tool in &group.inspected.tools {
            jsonschema::validator_for(&tool.schema).unwrap_or_else(|e| panic!("{name} {}: {e}", tool.name));
            assert!(!tool.schema.to_string().contains("\"$ref\":\""), "{name} {}: {}", tool.name, tool.schema);
        }
        read += 1;
    }
    assert!(read >= 16, "{read} documents");
}

/// Five megabytes, most of it words: 1,500 operations that share schemas and describe themselves at length.
fn large() -> String {
    let words = "What this operation is about is told at length. ".repeat(60);
    let path = |n: usize| {
        let item = json!({ "get": {
            "operationId": format!("readThing{n}"), "description": format!("{n}: {words}"),
            "parameters": [
                { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
                { "name": "filter", "in": "query", "style": "deepObject", "schema": { "$ref": "#/components/schemas/Filter" } } ],
            "responses": { "200": { "description": "ok" } }
        } });
        (format!("/things{n}/{{id}}"), item)
    };
    let paths: Value = Value::Object((0..1_500).map(path).collect());
    let filter = json!({ "type": "object", "properties": { "and": { "$ref": "#/components/schemas/Filter" }, "since": { "type": "integer" } } });
    json!({ "openapi": "3.0.3", "info": { "title": "Large", "version": "1" }, "servers": [{ "url": "https://shop.example" }],
            "paths": paths, "components": { "schemas": { "Filter": filter } } })
    .to_string()
}

#[tokio::test]
async fn five_megabytes_are_read_whole() {
    let text = large();
    assert!((4_500_000..6_000_000).contains(&text.len()), "{}", text.len());
    let group = import_args(json!({ "document": text })).await.unwrap();
    assert_eq!((group.inspected.tools.len(), &group.inspected.report["left_out"]), (1_500, &json!([])));
    // A description is paid for in every prompt.
    assert!(group.inspected.tools.iter().all(|tool| tool.description.len() <= 1_100));
    assert!(group.inspected.kept.as_ref().unwrap().len() < text.len() / 4);
    let asked = json!({ "id": "a", "filter": { "and": { "since": 7 } } });
    assert_eq!(
        shown(&request(&group, "readThing1499", asked).await.unwrap()),
        "GET https://shop.example/things1499/a?filter%5Band%5D%5Bsince%5D=7\nAccept: application/json, */*;q=0.5\n"
    );
    // What is larger than a document may be names the way out.
    let many = json!({ "openapi": "3.1.0", "info": {}, "servers": [{ "url": "https://shop.example" }],
        "paths": (0..5_001).map(|n| (format!("/p{n}"), json!({ "get": {} }))).collect::<serde_json::Map<_, _>>() });
    let refused = import_args(json!({ "document": many })).await.err().expect("too many");
    assert_eq!(refused.param.as_deref(), Some("args.include"));
    assert!(refused.message.contains("at most 5000 operations"), "{refused}");
}
