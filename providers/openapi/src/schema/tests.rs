//! Schemas in, schemas out, and what they let through.

use super::*;

fn document(version: &str, schemas: Value) -> Document {
    let root = json!({ "openapi": version, "paths": {}, "components": { "schemas": schemas } });
    Document::of(root, "d").expect("a document")
}

fn old(schema: Value) -> Value {
    convert(&document("3.0.3", json!({})), &schema)
}

/// Compiles, and says of each value whether it fits.
fn takes(schema: &Value, values: &[(Value, bool)]) {
    let check = jsonschema::validator_for(schema).unwrap_or_else(|e| panic!("{schema}: {e}"));
    for (value, expected) in values {
        assert_eq!(check.is_valid(value), *expected, "{value} in {schema}");
    }
}

#[test]
fn nullable_of_3_0_becomes_a_type() {
    let schema = old(json!({ "type": "object", "properties": {
        "a": { "type": "string", "nullable": true, "example": "x" },
        "b": { "type": "string", "enum": ["x"], "nullable": true },
        "c": { "allOf": [{ "type": "integer" }], "nullable": true },
        "d": { "type": "number", "minimum": 1, "exclusiveMinimum": true }
    } }));
    assert_eq!(schema["properties"]["a"], json!({ "type": ["string", "null"] }));
    assert_eq!(schema["properties"]["d"], json!({ "type": "number", "exclusiveMinimum": 1 }));
    takes(
        &schema,
        &[
            (json!({ "a": null, "b": null, "c": null, "d": 1.5 }), true),
            (json!({ "a": 1 }), false),
            (json!({ "b": "y" }), false),
            (json!({ "c": "y" }), false),
            (json!({ "d": 1 }), false),
        ],
    );
}

#[test]
fn a_circle_of_references_ends_and_stays_open() {
    let document = document(
        "3.1.0",
        json!({
            "Node": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string" }, "parent": { "$ref": "#/components/schemas/Node" },
                "children": { "type": "array", "items": { "$ref": "#/components/schemas/Node" } } } },
            "A": { "$ref": "#/components/schemas/B" }, "B": { "$ref": "#/components/schemas/A" }
        }),
    );
    let schema = convert(&document, &json!({ "$ref": "#/components/schemas/Node" }));
    assert!(!schema.to_string().contains("$ref"), "{schema}");
    assert_eq!(schema["properties"]["parent"]["description"], "another Node, as above");
    takes(
        &schema,
        &[
            (json!({ "name": "a", "children": [{ "name": "b", "children": [{ "anything": 1 }] }] }), true),
            (json!({ "children": [] }), false),
        ],
    );
    takes(&convert(&document, &json!({ "$ref": "#/components/schemas/A" })), &[(json!(1), true)]);
}

#[test]
fn references_that_double_cost_bounded_room() {
    let mut schemas = Map::new();
    for n in 0..40 {
        let next = json!({ "$ref": format!("#/components/schemas/S{}", n + 1) });
        schemas.insert(format!("S{n}"), json!({ "type": "object", "properties": { "a": next, "b": next, "c": next } }));
    }
    schemas.insert("S40".into(), json!({ "type": "string" }));
    let schema = convert(&document("3.1.0", Value::Object(schemas)), &json!({ "$ref": "#/components/schemas/S0" }));
    assert!(schema.to_string().len() <= MOST);
    takes(&schema, &[(json!({ "a": { "b": { "c": {} } } }), true), (json!({ "a": 1 }), false)]);
}

#[test]
fn one_of_all_of_and_what_stands_beside_a_reference_hold() {
    let document = document(
        "3.1.0",
        json!({
            "Cat": { "type": "object", "required": ["purrs"], "properties": { "purrs": { "type": "boolean" } } },
            "Dog": { "type": "object", "required": ["barks"], "properties": { "barks": { "type": "boolean" } } }
        }),
    );
    let refs = json!([{ "$ref": "#/components/schemas/Cat" }, { "$ref": "#/components/schemas/Dog" }]);
    let pet = convert(&document, &json!({ "oneOf": refs, "discriminator": { "propertyName": "kind" } }));
    assert!(pet.get("discriminator").is_none());
    let values =
        [(json!({ "purrs": true }), true), (json!({ "purrs": true, "barks": true }), false), (json!({}), false)];
    takes(&pet, &values);
    let both = convert(&document, &json!({ "allOf": refs }));
    takes(&both, &[(json!({ "purrs": true, "barks": true }), true), (json!({ "purrs": true }), false)]);
    let beside = json!({ "$ref": "#/components/schemas/Cat", "maxProperties": 1, "description": "One." });
    let beside = convert(&document, &beside);
    takes(&beside, &[(json!({ "purrs": true }), true), (json!({ "purrs": true, "a": 1 }), false)]);
}

#[test]
fn what_only_answers_have_is_not_asked_for() {
    let schema = old(json!({ "type": "object", "required": ["id", "name"], "properties": {
        "id": { "type": "string", "readOnly": true }, "name": { "type": "string" },
        "password": { "type": "string", "writeOnly": true } } }));
    assert_eq!(schema["required"], json!(["name"]));
    assert!(schema["properties"].get("id").is_none() && schema["properties"].get("password").is_some());
}

#[test]
fn words_that_are_no_schema_do_no_harm() {
    let schema =
        old(json!({ "type": "file", "required": true, "enum": [], "minLength": -1, "maximum": "9", "items": 7,
        "pattern": "(a+)+$", "multipleOf": 0, "x-order": 1, "$id": "https://evil.example/", "format": 1 }));
    assert_eq!(schema, json!({ "items": {}, "description": "pattern: (a+)+$" }));
    let open = old(json!({ "type": "object", "patternProperties": { "^x-": {} }, "additionalProperties": false }));
    takes(&open, &[(json!({ "x-a": 1 }), true)]);
}

/// Nested as it stood, each of these would have aborted the process or left a row that nobody can read.
#[test]
fn a_chain_of_references_is_as_deep_as_anything_else() {
    let link = |i: usize| json!({ "$ref": format!("#/components/schemas/s{}", i + 1), "minLength": 1 });
    let mut schemas: Map<String, Value> = (0..2_000).map(|i| (format!("s{i}"), link(i))).collect();
    schemas.insert("s2000".into(), json!({ "type": "string" }));
    let schema = convert(&document("3.1.0", Value::Object(schemas)), &json!({ "$ref": "#/components/schemas/s0" }));
    assert!(serde_json::from_str::<Value>(&schema.to_string()).is_ok(), "it reads back");
    takes(&schema, &[(json!("x"), true), (json!(""), false)]);
    let deep = (0..120).fold(json!(1), |inner, _| json!([inner]));
    assert!(is_flat(&old(json!({ "properties": { "a": { "default": deep } } })), NESTED));
}

#[test]
fn a_large_value_is_not_copied_for_every_reference_to_it() {
    let values: Vec<String> = (0..2_000).map(|i| format!("value-{i}")).collect();
    let document = document("3.1.0", json!({ "many": { "enum": values } }));
    let properties: Map<String, Value> =
        (0..3_000).map(|i| (format!("p{i}"), json!({ "$ref": "#/components/schemas/many" }))).collect();
    let mut writer = Writer { document: &document, stack: vec![], nodes: NODES, room: MOST, left_open: false };
    let written = writer.schema(&json!({ "properties": properties }), DEPTHS[0]);
    assert!(written.to_string().len() < 4 * MOST, "{}", written.to_string().len());
}
