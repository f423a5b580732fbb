//! Documents, one for each hard feature, and the very requests that calls of their tools become.
//!
//! The oracle of each request is the section of the specification that its document names in its first line.

#![allow(clippy::unwrap_used)] // a panic is how a test fails

mod common;

use common::{import, request, shown};
use serde_json::{Value, json};

/// Calls one tool of a document: its request, secrets as names.
async fn golden(document: &str, args: Value, tool: &str, arguments: Value) -> String {
    let group = import(document, args).await.unwrap_or_else(|e| panic!("{document}: {e}"));
    let def = group.tool(tool);
    let check = jsonschema::validator_for(&def.schema).unwrap();
    let wrong: Vec<String> = check.iter_errors(&arguments).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{document} {tool}: {wrong:?} in {}", def.schema);
    shown(&request(&group, tool, arguments).await.unwrap_or_else(|e| panic!("{document} {tool}: {e}")))
}

const JSON: &str = "Content-Type: application/json\nAccept: application/json, */*;q=0.5\n";

#[tokio::test]
async fn circles_of_references() {
    let tree = json!({ "body": { "children": [{ "children": [], "name": "desk" }], "name": "lamps" } });
    let expected = r#"{"children":[{"children":[],"name":"desk"}],"name":"lamps"}"#;
    assert_eq!(
        golden("ref-cycles.yaml", json!({}), "createCategory", tree).await,
        format!("POST https://shop.example/v1/categories\n{JSON}\n{expected}")
    );
}

#[tokio::test]
async fn one_of_several_bodies() {
    assert_eq!(
        golden("one-of.yaml", json!({}), "pay", json!({ "body": { "kind": "card", "last4": "4242" } })).await,
        format!("POST https://shop.example/payments\n{JSON}\n{}", r#"{"kind":"card","last4":"4242"}"#)
    );
    let group = import("one-of.yaml", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("pay").schema).unwrap();
    for wrong in [json!({ "kind": "card" }), json!({ "kind": "transfer", "last4": "4242" }), json!({ "kind": "cash" })]
    {
        assert!(!check.is_valid(&json!({ "body": wrong })), "{wrong}");
    }
}

#[tokio::test]
async fn lists_and_objects_in_addresses() {
    let arguments = json!({
        "simple": ["a", "b/c"], "label": ["x", "y"], "matrix": { "k": "v", "l": "w" }, "form": ["1", "2&3"], "flat": ["1", "2"],
        "space": ["1", "2"], "pipe": ["1", "2"], "raw": "a/b?c=d&e#f", "json": { "a": [1] }
    });
    assert_eq!(
        golden("styles.yaml", json!({}), "styles", arguments).await,
        "GET https://shop.example/a/a,b%2Fc/b/.x.y/c;k=v;l=w?form=1&form=2%263&flat=1,2&space=1%202&pipe=1%7C2&\
         raw=a/b?c=d%26e%23f&json=%7B%22a%22%3A%5B1%5D%7D\nAccept: application/json, */*;q=0.5\n"
    );
}

#[tokio::test]
async fn deep_objects() {
    let filter = json!({ "filter": { "created": { "gte": 7 }, "status": "open", "tags": ["a", "b"] } });
    let url = golden("deep-object.yaml", json!({}), "listOrders", filter).await;
    let pairs = [
        "filter%5Bcreated%5D%5Bgte%5D=7",
        "filter%5Bstatus%5D=open",
        "filter%5Btags%5D%5B%5D=a&filter%5Btags%5D%5B%5D=b",
    ];
    assert_eq!(
        url,
        format!("GET https://shop.example/orders?{}\nAccept: application/json, */*;q=0.5\n", pairs.join("&"))
    );
}

#[tokio::test]
async fn files_and_fields_in_parts() {
    let body = json!({ "address": { "city": "Ulm" }, "note": "broken", "photo": "data:image/png;base64,iVBORw==", "tags": ["a", "b"] });
    let text = golden("multipart.yaml", json!({}), "createClaim", json!({ "body": body })).await;
    let boundary = text.split("boundary=").nth(1).unwrap().split('\n').next().unwrap();
    let part = |head: &str, body: &str| {
        format!("--{boundary}\r\nContent-Disposition: form-data; name={head}\r\n\r\n{body}\r\n")
    };
    let parts = [
        part("\"address\"\r\nContent-Type: application/json", r#"{"city":"Ulm"}"#),
        part("\"note\"", "broken"),
        part("\"photo\"; filename=\"photo\"\r\nContent-Type: image/png", "\u{fffd}PNG"),
        part("\"tags\"", "a"),
        part("\"tags\"", "b"),
    ];
    assert_eq!(
        text,
        format!(
            "POST https://shop.example/claims\nContent-Type: multipart/form-data; boundary={boundary}\n\
             Accept: application/json, */*;q=0.5\n\n{}--{boundary}--\r\n",
            parts.concat()
        )
    );
}

#[tokio::test]
async fn forms() {
    let body =
        json!({ "amount": 500, "card": { "number": "4242" }, "items": ["a b", "c&d"], "metadata": { "k": "v" } });
    assert_eq!(
        golden("form.yaml", json!({}), "createCharge", json!({ "body": body })).await,
        "POST https://shop.example/charges\nContent-Type: application/x-www-form-urlencoded\n\
         Accept: application/json, */*;q=0.5\n\n\
         amount=500&card%5Bnumber%5D=4242&items=a%20b&items=c%26d&metadata=%7B%22k%22%3A%22v%22%7D"
    );
}

#[tokio::test]
async fn nulls_of_3_0() {
    assert_eq!(
        golden(
            "nullable.json",
            json!({}),
            "updateCustomer",
            json!({ "id": 7, "body": { "phone": null, "tier": null } })
        )
        .await,
        format!("PUT https://shop.example/customers/7\n{JSON}\n{}", r#"{"phone":null,"tier":null}"#)
    );
    let group = import("nullable.json", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("updateCustomer").schema).unwrap();
    assert!(!check.is_valid(&json!({ "id": 0, "body": {} })), "an exclusive minimum of draft 4");
}

#[tokio::test]
async fn oauth_takes_a_token_by_name() {
    let bound = json!({ "secrets": { "oauth": "crm_token" } });
    assert_eq!(
        golden("oauth2.yaml", bound.clone(), "listContacts", json!({})).await,
        "GET https://crm.example/contacts\nAccept: application/json, */*;q=0.5\nAuthorization: Bearer <crm_token>\n"
    );
    assert_eq!(
        golden("oauth2.yaml", bound, "health", json!({})).await,
        "GET https://crm.example/health\nAccept: application/json, */*;q=0.5\n"
    );
    let unbound = import("oauth2.yaml", json!({})).await.unwrap();
    assert_eq!(unbound.inspected.report["secrets"][0]["scheme"], "oauth");
    assert_eq!(unbound.inspected.report["secrets"][0]["secret"], Value::Null);
    let unknown = import("oauth2.yaml", json!({ "secrets": { "oaut": "x" } })).await.err().expect("no such scheme");
    assert!(unknown.param.as_deref() == Some("args.secrets.oaut") && unknown.message.contains("oauth"), "{unknown}");
}

#[tokio::test]
async fn keys_go_where_the_document_says() {
    let secrets = json!({ "secrets": { "head": "k1", "id": "k2", "query": "k3", "sid": "k4", "basic": "k5" } });
    for (tool, path, credential) in [
        ("header", "/a", "X-Api-Key: <k1>\nX-App-Id: <k2>\n"),
        ("either", "/b", "?key=<k3>\n"),
        ("cookie", "/c", "Cookie: sid=<k4>\n"),
        ("basic", "/d", "Authorization: Basic <k5 in base64>\n"),
    ] {
        let seen = golden("keys.yaml", secrets.clone(), tool, json!({})).await;
        let expected = format!("GET https://crm.example{path}\nAccept: application/json, */*;q=0.5\n{credential}");
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn one_name_in_several_places() {
    let arguments =
        json!({ "id": "a", "query_id": 1, "cookie_id": "c", "X-Id": "h", "body": "q", "body_2": { "x": null } });
    assert_eq!(
        golden("places.yaml", json!({}), "touch", arguments).await,
        "POST https://shop.example/things/a?id=1&body=q\nX-Id: h\nX-Version: 2026-11-01\nCookie: id=c\n\
         Content-Type: application/merge-patch+json\nAccept: application/json, */*;q=0.5\nIdempotency-Key: key_1\n\n{\"x\":null}"
    );
}

#[tokio::test]
async fn servers_and_their_variables() {
    let args = json!({ "server_variables": { "region": "us" } });
    let accept = "Accept: application/json, */*;q=0.5\n";
    let of = async |tool: &str, arguments: Value| golden("servers.yaml", args.clone(), tool, arguments).await;
    assert_eq!(of("a", json!({})).await, format!("GET https://us.shop.example/v2/a\n{accept}"));
    assert_eq!(of("b", json!({})).await, format!("GET https://files.shop.example/b\n{accept}"));
    let upload = of("c", json!({ "body": "text" })).await;
    assert_eq!(
        upload,
        format!("PUT https://uploads.shop.example:8443/b\nContent-Type: application/octet-stream\n{accept}\ntext")
    );
    let group = import("servers.yaml", args.clone()).await.unwrap();
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
    let order = json!({ "body": { "sku": "L-1", "amount": 2, "to": null, "words": "For you" } });
    assert_eq!(
        golden("all-of.yaml", json!({}), "createOrder", order).await,
        format!(
            "POST https://shop.example/orders\n{JSON}\n{}",
            r#"{"amount":2,"sku":"L-1","to":null,"words":"For you"}"#
        )
    );
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
    let paging = json!({ "limit": 10, "page": 2 });
    for (tool, path) in [("listOrders", "orders"), ("listReturns", "returns")] {
        assert_eq!(
            golden("anchors.yaml", json!({}), tool, paging.clone()).await,
            format!("GET https://shop.example/{path}?limit=10&page=2\nAccept: application/json, */*;q=0.5\n")
        );
    }
    let created = json!({ "body": { "order": "48213", "count": 1 } });
    assert_eq!(
        golden("anchors.yaml", json!({}), "createReturn", created).await,
        format!("POST https://shop.example/returns\n{JSON}\n{}", r#"{"count":1,"order":"48213"}"#)
    );
    let group = import("anchors.yaml", json!({})).await.unwrap();
    let check = jsonschema::validator_for(&group.tool("createReturn").schema).unwrap();
    assert!(!check.is_valid(&json!({ "body": {} })), "what was merged counts");
}

#[tokio::test]
async fn what_servers_send_becomes_no_tool() {
    let group = import("callbacks.yaml", json!({})).await.unwrap();
    let names: Vec<&str> = group.inspected.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(names, ["subscribe", "unsubscribe"]);
    assert_eq!(
        golden("callbacks.yaml", json!({}), "subscribe", json!({ "body": { "to": "https://a.example/in" } })).await,
        format!("POST https://shop.example/subscriptions\n{JSON}\n{}", r#"{"to":"https://a.example/in"}"#)
    );
    assert_eq!(
        golden("callbacks.yaml", json!({}), "unsubscribe", json!({ "id": "{$request.body#/to}" })).await,
        "DELETE https://shop.example/subscriptions/%7B%24request.body%23%2Fto%7D\nAccept: application/json, */*;q=0.5\n"
    );
}

#[tokio::test]
async fn lists_and_objects_in_headers_and_cookies() {
    let arguments = json!({
        "X-Tags": ["a", "b c"], "X-Flat": { "k": 1, "l": "x" }, "X-Pairs": { "k": 1, "l": "x" }, "X-Json": { "a": [1] },
        "basket": ["1", "2;3"], "theme": "dark"
    });
    assert_eq!(
        golden("heads.yaml", json!({}), "search", arguments).await,
        "GET https://shop.example/search\nX-Tags: a,b c\nX-Flat: k,1,l,x\nX-Pairs: k=1,l=x\nX-Json: {\"a\":[1]}\n\
         Cookie: basket=1,2%3B3; theme=dark\nAccept: application/json, */*;q=0.5\n"
    );
}

#[tokio::test]
async fn schemas_of_3_1() {
    let set = json!({ "sku": "AB-7", "body": { "price": null, "currency": "EUR", "steps": [1, "a"] } });
    assert_eq!(
        golden("types.yaml", json!({}), "setPrice", set).await,
        format!(
            "PATCH https://shop.example/prices/AB-7\n{JSON}\n{}",
            r#"{"currency":"EUR","price":null,"steps":[1,"a"]}"#
        )
    );
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
    let xml = shown(&request(&group, "xml", json!({ "body": "<a/>" })).await.unwrap());
    assert!(xml.contains("Content-Type: application/xml") && xml.ends_with("\n\n<a/>"), "{xml}");
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
            "PUT https://crm.example/v1/contacts/7?notify=no\nX-Version: 3\n{JSON}X-Api-Key: <crm>\n\n{}",
            r#"{"name":"Grace"}"#
        )
    );
}
