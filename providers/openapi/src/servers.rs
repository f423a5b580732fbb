//! Which server an operation is asked at: the operator's, else the document's, variables filled in.

use frontdesk_api::egress::Place;
use serde_json::{Map, Value};

use crate::document::text;

/// What the operator says of servers, and where the document came from.
#[derive(Debug, Default)]
pub(crate) struct Servers<'a> {
    /// In place of the document's own.
    pub(crate) base_url: Option<&'a str>,
    /// Values for variables in addresses.
    pub(crate) variables: Map<String, Value>,
    /// What relative addresses begin at.
    pub(crate) document_url: Option<&'a str>,
}

impl Servers<'_> {
    /// The address before the paths, without a slash at its end. `lists`: those of the operation, its path, the
    /// document; the first that names one counts.
    ///
    /// # Errors
    /// What is missing or wrong, in words.
    pub(crate) fn address(&self, lists: [Option<&Value>; 3]) -> Result<String, String> {
        if let Some(base) = self.base_url {
            return checked(base);
        }
        let named = lists.into_iter().flatten().find_map(|list| list.as_array()?.first());
        let url = match named {
            Some(server) => self.filled(server)?,
            // A document without servers means where it lies.
            None => "/".to_owned(),
        };
        if url.contains("://") {
            return checked(&url);
        }
        let Some(from) = self.document_url else {
            return Err("the document does not say where its server is: name it in args.base_url".to_owned());
        };
        let origin = Place::of(from)?.to_string();
        if url.starts_with("//") {
            return checked(&format!("{}:{url}", origin.split(':').next().unwrap_or_default()));
        }
        if url.starts_with('/') {
            return checked(&format!("{origin}{url}"));
        }
        let folder =
            from.split(['?', '#']).next().unwrap_or_default().rsplit_once('/').map_or("", |(folder, _)| folder);
        let folder = if folder.len() < origin.len() { origin.as_str() } else { folder };
        checked(&format!("{folder}/{}", url.trim_start_matches("./")))
    }

    fn filled(&self, server: &Value) -> Result<String, String> {
        let mut url = text(server, "url").ok_or("a server of the document has no url")?.to_owned();
        let variables = server.get("variables").and_then(Value::as_object);
        while let Some((front, rest)) = url.split_once('{') {
            let (name, rest) = rest.split_once('}').ok_or("the address of a server has an open brace")?;
            let variable = variables.and_then(|variables| variables.get(name));
            let given = self.variables.get(name).and_then(Value::as_str);
            let value = given.or_else(|| text(variable?, "default"));
            let value = value
                .ok_or_else(|| format!("the server's variable '{name}' needs a value in args.server_variables"))?;
            let allowed = variable.and_then(|variable| variable.get("enum")).and_then(Value::as_array);
            if allowed.is_some_and(|allowed| !allowed.iter().any(|one| one == value)) {
                return Err(format!("the server's variable '{name}' may not be '{value}'"));
            }
            if value.contains(['{', '}']) {
                return Err(format!("the value of the server's variable '{name}' has a brace"));
            }
            url = format!("{front}{value}{rest}");
        }
        Ok(url)
    }
}

fn checked(url: &str) -> Result<String, String> {
    if url.contains(['?', '#']) {
        return Err(format!("'{url}' is no base of addresses: it has a query or a fragment"));
    }
    Place::of(url)?;
    Ok(url.trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_address_comes_from_the_nearest_list_and_its_variables() {
        let list = json!([{ "url": "https://{region}.shop.example/{v}/",
            "variables": { "region": { "default": "eu", "enum": ["eu", "us"] }, "v": { "default": "v1" } } }]);
        let given = |variables: Value| Servers {
            variables: variables.as_object().expect("an object").clone(),
            document_url: Some("https://docs.example/specs/a.yaml?x"),
            ..Servers::default()
        };
        let at = |servers: &Servers<'_>, list: Value| servers.address([None, None, Some(&list)]);
        assert_eq!(at(&given(json!({})), list.clone()).as_deref(), Ok("https://eu.shop.example/v1"));
        assert_eq!(at(&given(json!({ "region": "us" })), list.clone()).as_deref(), Ok("https://us.shop.example/v1"));
        assert!(at(&given(json!({ "region": "evil.example/" })), list.clone()).is_err());
        assert_eq!(at(&given(json!({})), json!([])).as_deref(), Ok("https://docs.example"));
        assert_eq!(at(&given(json!({})), json!([{ "url": "/v2" }])).as_deref(), Ok("https://docs.example/v2"));
        assert_eq!(at(&given(json!({})), json!([{ "url": "v2" }])).as_deref(), Ok("https://docs.example/specs/v2"));
        assert_eq!(at(&given(json!({})), json!([{ "url": "//a.example/v2" }])).as_deref(), Ok("https://a.example/v2"));
        assert!(at(&Servers::default(), json!([{ "url": "/v2" }])).expect_err("nowhere").contains("args.base_url"));
        for url in ["ftp://a.example", "https://u@a.example", "https://a.example?x=1", "https://{none}.example"] {
            assert!(at(&given(json!({})), json!([{ "url": url }])).is_err(), "{url}");
        }
        let base = Servers { base_url: Some("http://127.0.0.1:80/x/"), ..Servers::default() };
        assert_eq!(at(&base, list).as_deref(), Ok("http://127.0.0.1:80/x"));
    }
}
