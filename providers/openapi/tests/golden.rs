//! Documents, one for each hard feature: the very requests that calls of their tools become (`requests.json`), and what else
//! there is to see of them.
//!
//! The oracle of each request is the section of the specification that its document names in its first line.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use std::{collections::BTreeSet, path::Path};

use common::{Golden, held_against, import, request, shown};
use serde_json::{Value, json};

#[tokio::test]
async fn each_call_becomes_the_request_that_its_documents_section_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/documents");
    let all: Vec<Golden> = serde_json::from_str(include_str!("requests.json")).unwrap();
    let mut wrong = vec![];
    for golden in &all {
        let text = std::fs::read_to_string(folder.join(&golden.document)).unwrap();
        wrong.extend(held_against(golden, text).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let called: BTreeSet<String> = all.into_iter().map(|golden| golden.document).collect();
    let there = std::fs::read_dir(folder).unwrap();
    let there = there.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(called, there, "every document has one");
}

#[tokio::test]
async fn one_of_several_bodies() {
    let group = import("one-of.yaml", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("pay").schema).unwrap();
    for wrong in [json!({ "kind": "card" }), json!({ "kind": "transfer", "last4": "4242" }), json!({ "kind": "cash" })]
    {
        assert!(!check.is_valid(&json!({ "body": wrong })), "{wrong}");
    }
}

#[tokio::test]
async fn nulls_of_3_0() {
    let group = import("nullable.json", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("updateCustomer").schema).unwrap();
    assert!(!check.is_valid(&json!({ "id": 0, "body": {} })), "an exclusive minimum of draft 4");
}

#[tokio::test]
async fn oauth_takes_a_token_by_name() {
    let unbound = import("oauth2.yaml", json!({})).await.unwrap();
    assert_eq!(unbound.inspected.report["secrets"][0]["scheme"], "oauth");
    assert_eq!(unbound.inspected.report["secrets"][0]["secret"], Value::Null);
    let unknown = import("oauth2.yaml", json!({ "secrets": { "oaut": "x" } })).await.err().expect("no such scheme");
    assert!(unknown.param.as_deref() == Some("args.secrets.oaut") && unknown.message.contains("oauth"), "{unknown}");
}

#[tokio::test]
async fn servers_and_their_variables() {
    let group = import("servers.yaml", json!({ "server_variables": { "region": "us" } })).await.unwrap();
    let hosts = json!(["files.shop.example", "uploads.shop.example:8443", "us.shop.example"]);
    assert_eq!((&group.inspected.report["hosts"], &group.args["hosts"]), (&hosts, &hosts));
    let fewer = import("servers.yaml", json!({ "hosts": ["*.shop.example"] })).await.unwrap();
    assert_eq!(fewer.inspected.tools.len(), 2);
    assert_eq!(fewer.inspected.report["left_out"][0]["operation"], "PUT /b");
    let own = import("servers.yaml", json!({ "base_url": "http://127.0.0.1:9/x" })).await.unwrap();
    assert_eq!(own.args["hosts"], json!(["http://127.0.0.1:9"]));
}

#[tokio::test]
async fn what_is_put_together_of_several() {
    let group = import("all-of.yaml", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("createOrder").schema).unwrap();
    for wrong in [
        json!({ "words": "no article" }),
        json!({ "sku": "L-1" }),
        json!({ "sku": "L-1", "words": "x", "amount": 0 }),
        json!({ "sku": "L-1", "words": "x", "to": {} }),
    ] {
        assert!(!check.is_valid(&json!({ "body": wrong })), "{wrong}");
    }
}

#[tokio::test]
async fn what_yaml_writes_once() {
    let group = import("anchors.yaml", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("createReturn").schema).unwrap();
    assert!(!check.is_valid(&json!({ "body": {} })), "what was merged counts");
}

#[tokio::test]
async fn what_servers_send_becomes_no_tool() {
    let group = import("callbacks.yaml", json!({})).await.unwrap();
    let names: Vec<&str> = group.inspected.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["subscribe", "unsubscribe"]);
}

#[tokio::test]
async fn schemas_of_3_1() {
    let group = import("types.yaml", json!({})).await.unwrap();
    let schema = &group.tool("setPrice").schema;
    // A pattern is told, and the server's to check.
    assert_eq!(schema["properties"]["sku"]["description"], "which one; pattern: ^[A-Z]{2}-[0-9]+$");
    let check = jsonschema::validator_for(schema).unwrap();
    for wrong in
        [json!({ "price": 0 }), json!({ "currency": "USD" }), json!({ "steps": [1, "a", 2] }), json!({ "prize": 1 })]
    {
        assert!(!check.is_valid(&json!({ "sku": "AB-7", "body": wrong })), "{wrong}");
    }
}

#[tokio::test]
async fn each_operation_becomes_a_tool_or_is_listed_with_its_reason() {
    let group = import("odd.yaml", json!({})).await.unwrap();
    let names: Vec<&str> = group.inspected.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["get_a_id", "B_cher_alle_zeigen", "B_cher_alle_zeigen_2", "removeD", "xml"]);
    let left: Vec<(String, String)> = group.inspected.report["left_out"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| (l["operation"].as_str().unwrap().to_owned(), l["reason"].as_str().unwrap().to_owned()))
        .collect();
    for (operation, reason) in [
        ("TRACE /a/{id}", "TRACE is not sent"),
        ("GET /e", "'#/components/parameters/None' leads to nothing"),
        ("GET /f/{x}", "'{x}', which is not among its parameters"),
        ("/g", "leads out of the document"),
        ("GET /h", "has the style 'simple'"),
    ] {
        assert!(left.iter().any(|(o, r)| o == operation && r.contains(reason)), "{operation}: {left:?}");
    }
    assert_eq!(left.len(), 5);
    // XML is the model's to write: the document's words and the elements' names are all that it has.
    let body = &group.tool("xml").schema["properties"]["body"];
    let words = body["description"].as_str().unwrap();
    assert_eq!(body["type"], "string");
    for part in ["An order, as the till writes it.", "application/xml", r#""sku":{"type":"string"}"#] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

#[tokio::test]
async fn a_pasted_command_becomes_one_tool() {
    let command = "curl -X PUT 'https://crm.example/v1/contacts/7?notify=yes' -H 'X-Api-Key: hunter2hunter2' -H 'X-Version: 3' \
        -H 'Content-Type: application/json' -d '{\"name\": \"Ada\"}'";
    let group = common::import_args(json!({ "curl": command, "secrets": { "X-Api-Key": "crm" } })).await.unwrap();
    let everything = format!("{:?} {}", group.inspected, group.args);
    assert!(!everything.contains("hunter2"), "{everything}");
    let arguments = json!({ "notify": "no", "body": { "name": "Grace" } });
    let seen = shown(&request(&group, "put_v1_contacts_7", arguments).await.unwrap());
    assert_eq!(
        seen,
        format!(
            "PUT https://crm.example/v1/contacts/7?notify=no\nX-Version: 3\nContent-Type: application/json\nAccept: application/json, */*;q=0.5\nIdempotency-Key: key_1\nX-Api-Key: <crm>\n\n{}",
            r#"{"name":"Grace"}"#
        )
    );
}
