//! Keys for providers that a client sends in a header, as Llama Stack's and OGX's clients do.
//!
//! `X-LlamaStack-Provider-Data: {"groq_api_key": "…"}` (OGX: `X-OGX-Provider-Data`), a JSON object by names that the
//! providers' configurations give; `mcp_headers` holds headers by the addresses of MCP servers. Invariant: nobody reads the header where no provider takes clients' keys, and nothing
//! of it is ever shown or kept.

use frontdesk_api::{Error, Result, client_keys::ClientKeys};
use http::HeaderMap;
use serde_json::{Map, Value};

use crate::config::Config;

/// Llama Stack's name and OGX's.
const HEADERS: [&str; 2] = ["x-llamastack-provider-data", "x-ogx-provider-data"];

/// Llama Stack's name for what MCP servers are sent along.
const MCP_HEADERS: &str = "mcp_headers";

/// Whether any provider takes clients' keys.
pub(crate) fn is_taken(config: &Config) -> bool {
    let takes = |config: &Value| config.get("client_keys").is_some_and(|v| !v.is_null() && *v != Value::Bool(false));
    config.providers.inference.iter().any(|entry| takes(&entry.config))
        || config.providers.tools.iter().any(|entry| entry.kind == "mcp")
}

/// What a request brought.
///
/// # Errors
/// `Invalid` naming the header when it is there and holds no JSON object: the client means to pay itself, and must not
/// find out later that it did not.
pub(crate) fn client_keys(headers: &HeaderMap) -> Result<ClientKeys> {
    let Some((name, value)) = HEADERS.iter().find_map(|name| Some((*name, headers.get(*name)?))) else {
        return Ok(ClientKeys::default());
    };
    let Ok(members) = serde_json::from_slice::<Map<String, Value>>(value.as_bytes()) else {
        // What the parser says would show a part of the value.
        return Err(Error::invalid(
            name,
            format!("the header {name} must hold a JSON object, {{\"NAME_api_key\": \"…\"}}"),
        ));
    };
    Ok(ClientKeys::new(members.into_iter().filter_map(|(name, value)| match value {
        Value::String(key) => Some((name, key)),
        Value::Object(headers) if name == MCP_HEADERS => Some((name, Value::Object(headers).to_string())),
        // Llama Stack's clients send other things here as well.
        _ => None,
    })))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::config;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(http::HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn keys_come_by_either_name_beside_other_things() {
        for name in HEADERS {
            let keys = client_keys(&headers(name, r#"{"groq_api_key":"k","mcp_headers":{"a":"b"},"n":7}"#));
            let keys = keys.expect("an object");
            assert_eq!(
                (keys.get("groq_api_key"), keys.get("mcp_headers"), keys.get("n")),
                (Some("k"), Some(r#"{"a":"b"}"#), None)
            );
        }
        assert_eq!(client_keys(&HeaderMap::new()).expect("none").get("groq_api_key"), None);
    }

    #[test]
    fn what_is_no_object_is_refused_without_showing_it() {
        for value in ["sk-secret", "[\"sk-secret\"]", "{\"groq_api_key\": sk-secret}"] {
            let error = client_keys(&headers(HEADERS[0], value)).expect_err("no object");
            assert_eq!(error.param.as_deref(), Some(HEADERS[0]));
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }

    #[test]
    fn nobody_looks_where_no_provider_takes_them() {
        for (setting, taken) in
            [("", false), ("client_keys: false", false), ("client_keys: true", true), ("client_keys: k", true)]
        {
            let entry = format!("{{ id: a, type: openai, config: {{ {setting} }} }}");
            let yaml = format!("providers: {{ tools: [], inference: [ {entry} ] }}");
            assert_eq!(is_taken(&config::parse(&yaml, &|_| None).expect("a good configuration")), taken, "{setting}");
        }
    }
}
