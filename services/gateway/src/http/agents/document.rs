//! An agent's spec as clients send it: a whole one, a merge patch on one, or a YAML file.
//!
//! Invariant: what does not fit is told by the path of its key, with what was found and what is allowed.

use frontdesk_agents::Writing;
use frontdesk_api::{Error, Result, agent::AgentSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{config::typed, http::extract::parse};

/// How a version is written.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct WritingQuery {
    /// Why, for people; at most 2,000 bytes.
    pub note: Option<String>,
    /// Written only while this is the newest version; else 409.
    pub expected_newest: Option<i64>,
    /// Publish it at once; a draft where it is left out.
    pub publish: Option<bool>,
}

impl From<WritingQuery> for Writing {
    fn from(query: WritingQuery) -> Self {
        Self { note: query.note, expected_newest: query.expected_newest, publish: query.publish.unwrap_or_default() }
    }
}

/// The spec that a JSON body is.
///
/// # Errors
/// `Invalid` with the member's path as `param`.
pub fn whole(body: &[u8]) -> Result<AgentSpec> {
    let value: Value = parse(body)?;
    spec(&value)
}

/// `spec` as a JSON merge patch (RFC 7396) changes it: members that are null go back to their defaults.
///
/// # Errors
/// As [`whole`].
pub fn patched(spec: &AgentSpec, body: &[u8]) -> Result<AgentSpec> {
    let patch: Value = parse(body)?;
    if !patch.is_object() {
        return Err(Error::invalid("", "a merge patch is a JSON object with the members that change"));
    }
    let mut value = serde_json::to_value(spec).map_err(|e| Error::internal("reading an agent", e))?;
    merge(&mut value, &patch);
    self::spec(&value)
}

/// The spec that a value is.
pub(super) fn spec(value: &Value) -> Result<AgentSpec> {
    typed(value).map_err(|e| match e.param.as_deref() {
        Some("") | None => e,
        Some(path) => Error { message: format!("{path}: {}", e.message), ..e },
    })
}

/// RFC 7396, section 2.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return patch.clone_into(target) };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(target) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    // Oracle: the example cases of RFC 7396, appendix A.
    #[test]
    fn a_patch_merges_as_the_rfc_says() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a":"b"}), json!(["c"]), json!(["c"])),
            (json!({"a":"foo"}), json!(null), json!(null)),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!([1, 2]), json!({"a":"b","c":null}), json!({"a":"b"})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
        ] {
            let mut merged = original.clone();
            merge(&mut merged, &patch);
            assert_eq!(merged, result, "{original} with {patch}");
        }
    }

    #[test]
    fn what_does_not_fit_is_named_by_its_path() {
        let spec = AgentSpec { instructions: "Be kind.".into(), ..AgentSpec::new("m") };
        let kept = patched(&spec, br#"{"model":"n","greeting":null}"#).expect("a spec");
        assert_eq!((kept.model.as_str(), kept.instructions.as_str()), ("n", "Be kind."));
        for (patch, param, says) in [
            (r#"{"modle":"n"}"#, "modle", "did you mean 'model'?"),
            (r#"{"limits":{"max_steps":"many"}}"#, "limits.max_steps", "string \"many\""),
            (r#"{"model":null}"#, "", "missing field `model`"),
            (r#"[]"#, "", "a merge patch is a JSON object"),
        ] {
            let refused = patched(&spec, patch.as_bytes()).expect_err(patch);
            assert_eq!(refused.param.as_deref(), Some(param), "{patch}");
            assert!(refused.message.contains(says) && refused.message.starts_with(param), "{patch}: {refused}");
        }
    }
}
