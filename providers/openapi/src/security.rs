//! A document's security schemes as places for the tenant's secrets.
//!
//! The operator binds a scheme to a secret by name (`args.secrets: {"api_key": "crm_token"}`). Nothing here runs a flow
//! of OAuth: the secret is the token. Invariant: no value of a secret comes near a plan.

use std::collections::{BTreeMap, BTreeSet};

use frontdesk_api::tools::{Credential, CredentialPlace};
use serde_json::{Map, Value, json};

use crate::document::{Document, text};

/// The schemes of a document and the secrets they are bound to.
pub(crate) struct Security<'a> {
    document: &'a Document,
    schemes: Map<String, Value>,
    /// Secret by scheme.
    bound: BTreeMap<String, String>,
    /// Schemes that operations asked for.
    asked: BTreeSet<String>,
}

impl<'a> Security<'a> {
    pub(crate) fn new(document: &'a Document, bound: BTreeMap<String, String>) -> Self {
        let schemes = document.root.pointer("/components/securitySchemes").and_then(Value::as_object);
        Self { document, schemes: schemes.cloned().unwrap_or_default(), bound, asked: BTreeSet::new() }
    }

    /// A scheme that the operator binds and the document does not have.
    pub(crate) fn unknown(&self) -> Option<&str> {
        self.bound.keys().map(String::as_str).find(|name| !self.schemes.contains_key(*name))
    }

    pub(crate) fn known(&self) -> Vec<&str> {
        self.schemes.keys().map(String::as_str).collect()
    }

    /// What a call of the operation carries: the first alternative whose schemes are all bound; else nothing.
    pub(crate) fn credentials(&mut self, operation: &Value) -> Vec<Credential> {
        let document = self.document;
        let wanted = operation.get("security").or_else(|| document.root.get("security"));
        let Some(alternatives) = wanted.and_then(Value::as_array) else { return vec![] };
        let mut found = None;
        for alternative in alternatives.iter().filter_map(Value::as_object) {
            self.asked.extend(alternative.keys().cloned());
            let all: Option<Vec<Credential>> = alternative.keys().map(|name| self.credential(name)).collect();
            // An empty alternative means that no one has to be known; a bound one is better.
            if let Some(all) = all.filter(|all| !all.is_empty()) {
                found.get_or_insert(all);
            }
        }
        found.unwrap_or_default()
    }

    fn credential(&self, name: &str) -> Option<Credential> {
        let secret = self.bound.get(name)?.clone();
        let scheme = self.document.follow(self.schemes.get(name)?).ok()?;
        let header = |prefix: &str, base64: bool| Credential {
            secret: secret.clone(),
            place: CredentialPlace::Header,
            name: "Authorization".to_owned(),
            prefix: prefix.to_owned(),
            base64,
        };
        match text(scheme, "type")? {
            "apiKey" => {
                let place = match text(scheme, "in")? {
                    "header" => CredentialPlace::Header,
                    "query" => CredentialPlace::Query,
                    "cookie" => CredentialPlace::Cookie,
                    _ => return None,
                };
                let name = text(scheme, "name")?.to_owned();
                Some(Credential { secret: secret.clone(), place, name, prefix: String::new(), base64: false })
            }
            "http" => match text(scheme, "scheme")?.to_ascii_lowercase().as_str() {
                "basic" => Some(header("Basic ", true)),
                "bearer" => Some(header("Bearer ", false)),
                _ => Some(header(&format!("{} ", text(scheme, "scheme")?), false)),
            },
            "oauth2" | "openIdConnect" => Some(header("Bearer ", false)),
            _ => None,
        }
    }

    /// The schemes that operations asked for, for people: what each is, what its secret has to be, which one is bound.
    pub(crate) fn report(&self) -> Value {
        let shown = |name: &String| {
            let scheme = self.schemes.get(name).and_then(|scheme| self.document.follow(scheme).ok());
            let kind = scheme.and_then(|scheme| text(scheme, "type")).unwrap_or("none");
            let is = match (kind, scheme.and_then(|scheme| text(scheme, "scheme")).unwrap_or_default()) {
                ("apiKey", _) => "a key".to_owned(),
                ("http", basic) if basic.eq_ignore_ascii_case("basic") => "user:password".to_owned(),
                ("http", _) => "a token".to_owned(),
                ("oauth2" | "openIdConnect", _) => "an access token; it is not renewed".to_owned(),
                ("none", _) => "not described by the document".to_owned(),
                (other, _) => format!("not possible here: {other}"),
            };
            json!({ "scheme": name, "type": kind, "in": scheme.and_then(|s| text(s, "in")), "the_secret_is": is,
                    "secret": self.bound.get(name) })
        };
        self.asked.iter().map(shown).collect()
    }
}
