//! How calls become requests: what is kept of a document.
//!
//! Invariant: a plan holds no secret, only names of secrets, and nothing of the document that a call does not need.

use std::collections::BTreeMap;

use frontdesk_api::tools::Credential;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The operations by the names of their tools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) operations: BTreeMap<String, Operation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Operation {
    /// In capitals.
    pub(crate) method: String,
    /// Scheme, host and what comes before the paths; no slash at its end.
    pub(crate) server: String,
    /// With its `{parameters}`.
    pub(crate) path: String,
    pub(crate) parameters: Vec<Parameter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) body: Option<Body>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) credentials: Vec<Credential>,
    /// The header that takes the call's key, where the document names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency: Option<String>,
}

impl Operation {
    /// The header that carries the call's key: the document's own, and else `Idempotency-Key` (the IETF's draft of that
    /// name) where something is changed. Servers that do not know it pass over it.
    pub(crate) fn key_header(&self) -> Option<&str> {
        let changes = !matches!(self.method.as_str(), "GET" | "HEAD" | "OPTIONS");
        self.idempotency.as_deref().or_else(|| changes.then_some("Idempotency-Key"))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Parameter {
    /// In the request.
    pub(crate) name: String,
    /// In the tool's arguments.
    pub(crate) argument: String,
    pub(crate) place: Place,
    pub(crate) style: Style,
    #[serde(default)]
    pub(crate) explode: bool,
    /// RFC 3986's reserved characters stay as they are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) reserved: bool,
    /// Always this; the model is not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fixed: Option<Value>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    Path,
    Query,
    Header,
    Cookie,
}

impl Place {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
            Self::Cookie => "cookie",
        }
    }
}

/// How a value is written (OpenAPI 3.1, "Style Values").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Style {
    Simple,
    Label,
    Matrix,
    Form,
    Space,
    Pipe,
    Deep,
    /// As JSON: the parameter has `content` in place of a schema.
    Json,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) argument: String,
    /// As it is sent; a multipart body's boundary is added.
    pub(crate) media: String,
    pub(crate) kind: BodyKind,
    /// How members of a form are written, where the document says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) members: BTreeMap<String, Member>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BodyKind {
    Json,
    Form,
    Multipart,
    Text,
    Binary,
}

/// One member of a form or one part of a multipart body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) style: Style,
    pub(crate) explode: bool,
    /// Of a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) media: Option<String>,
    /// A part that is a file.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) file: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(flag: &bool) -> bool {
    !flag
}
