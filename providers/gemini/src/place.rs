//! Addresses of models: on the Gemini API, or in a project on Vertex AI.
//!
//! Invariant: a name that a client wrote reaches models and nothing else, and on Vertex AI those of the configured
//! project: whatever would leave the path, or name another project, is a model that does not exist.

use frontdesk_api::{Error, Result};
use frontdesk_http::setting;
use http::Uri;

use crate::Config;

pub(crate) struct Place {
    base: String,
    /// `projects/P/locations/L/`, empty on the Gemini API.
    project: String,
}

impl Place {
    /// # Errors
    /// `Invalid` on `base_url`.
    pub(crate) fn of(config: &Config) -> Result<Self> {
        let project = config
            .vertex
            .as_ref()
            .map_or_else(String::new, |vertex| format!("projects/{}/locations/{}/", vertex.project, vertex.location));
        let place = Self { base: config.base(), project };
        place.uri("models")?;
        Ok(place)
    }

    pub(crate) fn is_vertex(&self) -> bool {
        !self.project.is_empty()
    }

    /// The address of `path` under the API's beginning.
    ///
    /// # Errors
    /// `Invalid` on `base_url`.
    pub(crate) fn uri(&self, path: &str) -> Result<Uri> {
        setting::uri(&self.base, path)
    }

    /// A model's full name, as paths and bodies have it.
    ///
    /// # Errors
    /// `NotFound` for what cannot be the name of a model.
    pub(crate) fn model(&self, name: &str) -> Result<String> {
        let fits = |part: &str| {
            let known = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
            !part.is_empty() && part != "." && part != ".." && part.chars().all(known)
        };
        let parts: Vec<&str> = name.split('/').collect();
        let project = &self.project;
        let full = match parts.as_slice() {
            _ if !parts.iter().all(|part| fits(part)) => None,
            [_] if self.is_vertex() => Some(format!("{project}publishers/google/models/{name}")),
            ["publishers", _, "models", _] | ["endpoints", _] if self.is_vertex() => Some(format!("{project}{name}")),
            [_] => Some(format!("models/{name}")),
            ["models" | "tunedModels", _] if !self.is_vertex() => Some(name.to_owned()),
            _ => None,
        };
        full.ok_or_else(|| {
            Error::not_found(format!("model '{name}' does not exist")).with_param("model").with_code("model_not_found")
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn place(vertex: bool) -> Place {
        let account = json!({ "vertex": { "project": "p", "location": "eu", "access_token": "t" }, "models": [] });
        Place::of(&Config::read(if vertex { account } else { json!({}) }).expect("good")).expect("good")
    }

    // Oracle: `t_model` of the official SDK.
    #[test]
    fn names_are_completed() {
        for (vertex, name, want) in [
            (false, "gemini-2.5-flash", "models/gemini-2.5-flash"),
            (false, "models/gemini-2.5-flash", "models/gemini-2.5-flash"),
            (false, "tunedModels/mine-1", "tunedModels/mine-1"),
            (true, "gemini-2.5-flash@1", "projects/p/locations/eu/publishers/google/models/gemini-2.5-flash@1"),
            (true, "publishers/meta/models/llama", "projects/p/locations/eu/publishers/meta/models/llama"),
            (true, "endpoints/77", "projects/p/locations/eu/endpoints/77"),
        ] {
            assert_eq!(place(vertex).model(name).expect("a model"), want);
        }
    }

    #[test]
    fn no_name_leaves_the_models() {
        for name in [
            "",
            "..",
            "a/../b",
            "models/..",
            "a?x",
            "a%2e",
            "a:batch",
            "a b",
            "files/x",
            "projects/q/locations/eu/endpoints/1",
        ] {
            for vertex in [false, true] {
                assert_eq!(place(vertex).model(name).expect_err(name).code.as_deref(), Some("model_not_found"));
            }
        }
    }
}
