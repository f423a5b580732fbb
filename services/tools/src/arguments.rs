//! From the text a model wrote to the arguments a tool is called with.
//!
//! Invariant: what `bind` names comes from the verified customer and from nowhere else.

use std::collections::BTreeMap;

use frontdesk_api::cx::Customer;
use jsonschema::Validator;
use serde_json::{Map, Value};

/// How many violations a model is told of at once.
const TOLD: usize = 3;

/// Reads and checks the model's arguments. `schema` is the one the model was offered.
///
/// # Errors
/// What is wrong, in words for the model.
pub(crate) fn read(
    written: &str,
    schema: &Validator,
    bound: &BTreeMap<String, String>,
) -> Result<Map<String, Value>, String> {
    let written = if written.trim().is_empty() { "{}" } else { written };
    let value: Value = serde_json::from_str(written).map_err(|e| format!("the arguments are not valid JSON: {e}"))?;
    let Value::Object(mut arguments) = value else {
        return Err("the arguments must be a JSON object".to_owned());
    };
    // The model was never offered these; what it writes there is not a claim about who asks.
    arguments.retain(|name, _| !bound.contains_key(name));
    let checked = Value::Object(arguments);
    let wrong: Vec<String> = schema.iter_errors(&checked).take(TOLD).map(|e| told(&e)).collect();
    if !wrong.is_empty() {
        return Err(format!("the arguments do not fit the tool: {}", wrong.join("; ")));
    }
    let Value::Object(arguments) = checked else { return Err("the arguments must be a JSON object".to_owned()) };
    Ok(arguments)
}

fn told(error: &jsonschema::ValidationError<'_>) -> String {
    let at = error.instance_path().to_string();
    let at = at.trim_start_matches('/').replace('/', ".");
    if at.is_empty() { error.to_string() } else { format!("{at}: {error}") }
}

/// Fills what is bound to the customer.
///
/// # Errors
/// In words for the model: nobody is signed in, or the token lacks the claim.
pub(crate) fn bind(
    arguments: &mut Map<String, Value>,
    bound: &BTreeMap<String, String>,
    customer: Option<&Customer>,
) -> Result<(), String> {
    for (name, path) in bound {
        let Some(customer) = customer else {
            return Err("this tool works only for a customer who is signed in".to_owned());
        };
        let Some(value) = customer.look_up(path) else {
            return Err(format!("the customer's sign-in does not say '{path}', which this tool needs"));
        };
        arguments.insert(name.clone(), value);
    }
    Ok(())
}

/// The schema as the model is offered it: without the arguments that the server fills.
pub(crate) fn offered(schema: &Value, bound: &BTreeMap<String, String>) -> Value {
    let mut schema = schema.clone();
    if bound.is_empty() {
        return schema;
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !bound.contains_key(name));
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name.as_str().is_none_or(|n| !bound.contains_key(n)));
    }
    schema
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bound() -> BTreeMap<String, String> {
        BTreeMap::from([("customer_id".to_owned(), "customer.sub".to_owned())])
    }

    fn schema() -> Value {
        json!({"type": "object", "properties": {"order_id": {"type": "string"}, "customer_id": {"type": "string"}},
               "required": ["order_id", "customer_id"], "additionalProperties": false})
    }

    fn check(written: &str) -> Result<Map<String, Value>, String> {
        let validator = jsonschema::validator_for(&offered(&schema(), &bound())).expect("a schema");
        read(written, &validator, &bound())
    }

    #[test]
    fn a_bound_argument_is_not_offered_and_not_taken_from_the_model() {
        assert_eq!(offered(&schema(), &bound())["required"], json!(["order_id"]));
        assert!(offered(&schema(), &bound())["properties"].get("customer_id").is_none());
        let mut arguments = check(r#"{"order_id":"7","customer_id":"somebody-else"}"#).expect("fits");
        let customer = Customer { sub: "c-1".into(), ..Customer::default() };
        bind(&mut arguments, &bound(), Some(&customer)).expect("bound");
        assert_eq!(Value::Object(arguments), json!({"order_id": "7", "customer_id": "c-1"}));
    }

    #[test]
    fn without_a_customer_nothing_is_bound() {
        let mut arguments = check(r#"{"order_id":"7"}"#).expect("fits");
        assert!(bind(&mut arguments, &bound(), None).expect_err("nobody").contains("signed in"));
        let customer = Customer { sub: "c-1".into(), ..Customer::default() };
        let claim = BTreeMap::from([("tier".to_owned(), "customer.https://shop.example/tier".to_owned())]);
        assert!(bind(&mut arguments, &claim, Some(&customer)).expect_err("no claim").contains("shop.example/tier"));
        let claims = json!({"https://shop.example/tier": "gold"}).as_object().expect("object").clone();
        let customer = Customer { sub: "c-1".into(), claims, ..Customer::default() };
        bind(&mut arguments, &claim, Some(&customer)).expect("bound");
        assert_eq!(arguments["tier"], "gold");
    }

    #[test]
    fn what_is_wrong_is_said_by_the_arguments_name() {
        assert!(check("{\"order_id\":").expect_err("cut off").contains("not valid JSON"));
        assert!(check("[1]").expect_err("a list").contains("JSON object"));
        assert!(check(r#"{"order_id": 7}"#).expect_err("a number").contains("order_id: 7 is not of type \"string\""));
        assert!(check("").expect_err("nothing").contains("order_id"));
        assert!(check(r#"{"order_id":"7","x":1}"#).expect_err("more").contains('x'));
    }
}
