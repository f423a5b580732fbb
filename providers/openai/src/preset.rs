//! What is known of the vendors and servers that speak OpenAI's API: one row each, so that an operator writes a name
//! and a key.
//!
//! A row holds facts only, each from the vendor's own pages, packages or source, or from what its users report:
//! docs/providers/presets.md says which, shows them and what each refuses. Every key of the configuration goes before
//! its row. Invariant: nothing else in this crate knows a vendor's name.

use frontdesk_api::{Error, Result};
use http::Uri;

use crate::{config::Shape, count::Counts, listed};

/// A row of the table.
#[derive(Debug)]
pub struct Preset {
    /// As the configuration names it.
    pub name: &'static str,
    /// Tokens that a model in the vendor's own list takes, by its name, where the vendor says it elsewhere.
    pub window: fn(&str) -> Option<usize>,
    /// Scheme and host; None: every customer has an address of their own, or it runs on one's own machine.
    pub host: Option<&'static str>,
    /// The path behind the host, where the API begins; put behind a `base_url` that names no path.
    pub path: &'static str,
    /// The path for versions that have a date (`api_version`), with the model's name in the path of each request.
    pub dated: Option<&'static str>,
    pub key: Key,
    /// The variable in which the vendor's own tools look for the key; None: a key is not needed.
    pub variable: Option<&'static str>,
    /// Whether `GET models` lists what can be asked for.
    pub lists: bool,
    pub completions: bool,
    /// How it counts the tokens of a prompt; None: it does not, or nobody says how.
    pub counts: Option<Counts>,
    /// Whether a stream may be asked to end with usage (`stream_options`).
    pub stream_usage: bool,
    /// Members that have another name here, in whatever is sent: OpenAI's, then the server's.
    pub renamed: &'static [(&'static str, &'static str)],
    /// As `renamed`, but in what Frontdesk writes itself: a client's bytes say it as the client likes.
    pub written: &'static [(&'static str, &'static str)],
    /// Members that make the server refuse a request it could answer without them.
    pub dropped: &'static [&'static str],
    pub rerank: Shape,
    /// Whether an error may stand inside a piece of an answer, beside its words.
    pub errors_inside: bool,
}

/// How a key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `Authorization: Bearer KEY`.
    Bearer,
    /// Alone, in a header of this name.
    Header(&'static str),
}

/// A server of which nothing is known but that it speaks OpenAI's API.
pub const PLAIN: Preset = Preset {
    name: "",
    window: |_| None,
    host: None,
    path: "",
    dated: None,
    key: Key::Bearer,
    variable: None,
    lists: true,
    completions: true,
    counts: None,
    stream_usage: true,
    renamed: &[],
    written: &[],
    dropped: &[],
    rerank: Shape::Cohere,
    errors_inside: false,
};

/// OpenAI's reasoning models refuse `max_tokens`, and all its models take the newer name (API reference, "Create chat
/// completion").
const NEWER_BOUND: &[(&str, &str)] = &[("max_tokens", "max_completion_tokens")];
const OLDER_BOUND: (&str, &str) = ("max_completion_tokens", "max_tokens");

/// The table, by name.
pub const PRESETS: &[Preset] = &[
    // learn.microsoft.com, "Azure OpenAI v1 API" and "REST API reference". Its list names models that could be
    // deployed, not the deployments that can be asked for.
    Preset {
        name: "azure",
        path: "openai/v1",
        dated: Some("openai"),
        key: Key::Header("api-key"),
        variable: Some("AZURE_OPENAI_API_KEY"),
        lists: false,
        written: NEWER_BOUND,
        ..PLAIN
    },
    // inference-docs.cerebras.ai, "OpenAI compatibility".
    Preset {
        name: "cerebras",
        host: Some("https://api.cerebras.ai"),
        path: "v1",
        variable: Some("CEREBRAS_API_KEY"),
        ..PLAIN
    },
    // docs.databricks.com, "Use foundation models": the model is the name of a serving endpoint; those are listed by
    // another API.
    Preset { name: "databricks", path: "serving-endpoints", variable: Some("DATABRICKS_TOKEN"), lists: false, ..PLAIN },
    // api-docs.deepseek.com, "Create chat completion": it passes over `max_completion_tokens` without a word, so the
    // bound would not hold (seen by users, earendil-works/pi#8018). Completions are a beta under another path.
    Preset {
        name: "deepseek",
        host: Some("https://api.deepseek.com"),
        path: "v1",
        variable: Some("DEEPSEEK_API_KEY"),
        completions: false,
        renamed: &[OLDER_BOUND],
        ..PLAIN
    },
    // docs.fireworks.ai, "OpenAI compatibility".
    Preset {
        name: "fireworks",
        host: Some("https://api.fireworks.ai"),
        path: "inference/v1",
        variable: Some("FIREWORKS_API_KEY"),
        ..PLAIN
    },
    // console.groq.com/docs/openai.
    Preset {
        name: "groq",
        host: Some("https://api.groq.com"),
        path: "openai/v1",
        variable: Some("GROQ_API_KEY"),
        completions: false,
        ..PLAIN
    },
    // llama.cpp, tools/server/README.md; for counting, tools/server/server.cpp (`handle_count_tokens`).
    Preset { name: "llama_cpp", host: Some("http://127.0.0.1:8080"), path: "v1", counts: Some(Counts::Chats), ..PLAIN },
    // docs.mistral.ai, "API, chat": members it does not know are refused (422, `extra_forbidden`), `seed` is
    // `random_seed`, and a stream ends with usage in any case (posit-dev/chatlas#145, editor-code-assistant/eca#231).
    Preset {
        name: "mistral",
        host: Some("https://api.mistral.ai"),
        path: "v1",
        variable: Some("MISTRAL_API_KEY"),
        completions: false,
        stream_usage: false,
        renamed: &[OLDER_BOUND, ("seed", "random_seed")],
        dropped: &["stream_options"],
        ..PLAIN
    },
    // docs.api.nvidia.com; a NIM of one's own has the same API behind its own `base_url`. NVIDIA's own package takes the
    // newer name and sends the older, since not all its models know the newer (langchain-nvidia-ai-endpoints 1.5.0).
    Preset {
        name: "nvidia",
        host: Some("https://integrate.api.nvidia.com"),
        path: "v1",
        variable: Some("NVIDIA_API_KEY"),
        renamed: &[OLDER_BOUND],
        ..PLAIN
    },
    // Ollama, docs/openai.md and openai/openai.go: as DeepSeek, it passes over `max_completion_tokens`
    // (ollama/ollama#7125).
    Preset { name: "ollama", host: Some("http://127.0.0.1:11434"), path: "v1", renamed: &[OLDER_BOUND], ..PLAIN },
    Preset {
        name: "openai",
        host: Some("https://api.openai.com"),
        path: "v1",
        variable: Some("OPENAI_API_KEY"),
        counts: Some(Counts::Responses),
        window: listed::of_openai,
        written: NEWER_BOUND,
        ..PLAIN
    },
    // openrouter.ai/docs, "Streaming": a fault in the middle of an answer comes as a piece of it, with its `error`
    // beside `choices`.
    Preset {
        name: "openrouter",
        host: Some("https://openrouter.ai"),
        path: "api/v1",
        variable: Some("OPENROUTER_API_KEY"),
        errors_inside: true,
        ..PLAIN
    },
    // docs.aws.amazon.com/sagemaker, "Invoke endpoints with OpenAI-compatible APIs": chats alone, at the address of
    // one endpoint.
    Preset { name: "sagemaker", variable: Some("SAGEMAKER_TOKEN"), lists: false, completions: false, ..PLAIN },
    // docs.sambanova.ai, "OpenAI compatibility" and "API reference"; text completions as in its SDK 1.13.0.
    Preset {
        name: "sambanova",
        host: Some("https://api.sambanova.ai"),
        path: "v1",
        variable: Some("SAMBANOVA_API_KEY"),
        ..PLAIN
    },
    // text-embeddings-inference, README: one model a server, embeddings and reranking.
    Preset { name: "tei", path: "v1", lists: false, completions: false, rerank: Shape::Tei, ..PLAIN },
    // Its SDK 3.1.1, which knows `max_tokens` alone; docs.together.ai, "OpenAI compatibility", for the address: of the
    // SDK's own, api-inference.together.ai, nobody says that it does more than chats.
    Preset {
        name: "together",
        host: Some("https://api.together.ai"),
        path: "v1",
        variable: Some("TOGETHER_API_KEY"),
        renamed: &[OLDER_BOUND],
        ..PLAIN
    },
    // docs.vllm.ai, "OpenAI-compatible server"; for counting, vllm/entrypoints/serve/tokenize.
    Preset { name: "vllm", host: Some("http://127.0.0.1:8000"), path: "v1", counts: Some(Counts::Tokenize), ..PLAIN },
    // ibm.com/docs, "Inferencing models through the model gateway".
    Preset { name: "watsonx", path: "ml/gateway/v1", variable: Some("WATSONX_TOKEN"), ..PLAIN },
];

impl Preset {
    /// The row of a name.
    ///
    /// # Errors
    /// `Invalid` on `preset`, with the nearest names.
    pub fn named(name: &str) -> Result<&'static Self> {
        if let Some(found) = PRESETS.iter().find(|preset| preset.name == name) {
            return Ok(found);
        }
        let mut near: Vec<(f64, &str)> =
            PRESETS.iter().map(|preset| (strsim::jaro_winkler(preset.name, name), preset.name)).collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let nearest = near.iter().take(3).map(|(_, name)| *name).collect::<Vec<_>>().join(", ");
        let all = PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ");
        let message = format!("there is no preset '{name}'; the nearest are: {nearest} (there are: {all})");
        Err(Error::invalid("preset", message))
    }

    /// The row of the vendor whom an address names; [`PLAIN`] where that is nobody known.
    pub(crate) fn at(base_url: &str) -> &'static Self {
        let host = |url: &str| url.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
        let asked = host(base_url);
        let known = |preset: &&Preset| preset.variable.is_some() && preset.host.and_then(host) == asked;
        PRESETS.iter().find(|preset| preset.host.is_some() && known(preset)).unwrap_or(&PLAIN)
    }

    /// The address where the API begins. `version`: of the API, where it is in every address.
    ///
    /// # Errors
    /// `Invalid` on `base_url` or `api_version`.
    pub(crate) fn base(&self, base_url: Option<&str>, version: Option<&str>) -> Result<String> {
        if version.is_some() && self.dated.is_none() {
            let with = PRESETS.iter().filter(|preset| preset.dated.is_some()).map(|preset| preset.name);
            let with = with.collect::<Vec<_>>().join(", ");
            return Err(Error::invalid("api_version", format!("api_version is for these presets alone: {with}")));
        }
        let Some(base) = base_url.filter(|url| !url.is_empty()).or(self.host) else {
            let of = if self.name.is_empty() { String::new() } else { format!(" of preset '{}'", self.name) };
            let message = format!("base_url is missing: no address{of} is known, write where your server is");
            return Err(Error::invalid("base_url", message));
        };
        let base = base.trim_end_matches('/');
        let bare = base.parse::<Uri>().is_ok_and(|uri| uri.path().trim_matches('/').is_empty());
        let path = if version.is_some_and(is_dated) { self.dated.unwrap_or(self.path) } else { self.path };
        Ok(if bare && !path.is_empty() { format!("{base}/{path}") } else { base.to_owned() })
    }
}

/// Whether a version of the API has a date (`2024-10-21`); others (`preview`) go with the newer addresses.
pub(crate) fn is_dated(version: &str) -> bool {
    version.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_every_row_can_be_reached() {
        let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
        assert!(names.is_sorted() && names.len() == 18, "{names:?}");
        for preset in PRESETS {
            assert!(!preset.path.starts_with('/') && !preset.path.ends_with('/'), "{}", preset.name);
            let base = preset.base(Some("https://host.example/"), None).expect("an address");
            assert!(base.parse::<Uri>().is_ok() && base.trim_end_matches('/').ends_with(preset.path), "{base}");
            if let Some(host) = preset.host {
                assert_eq!(preset.base(None, None).expect("its own"), format!("{host}/{}", preset.path));
            } else {
                assert_eq!(preset.base(None, None).expect_err("nobody's").param.as_deref(), Some("base_url"));
            }
        }
    }

    #[test]
    fn the_page_shows_every_row() {
        const PAGE: &str = include_str!("../../../docs/providers/presets.md");
        let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("| `")).take(PRESETS.len()).collect();
        assert_eq!(rows.len(), PRESETS.len());
        for (preset, row) in PRESETS.iter().zip(rows) {
            let address = preset.host.map_or_else(|| preset.path.to_owned(), |host| format!("{host}/{}", preset.path));
            let key = match (preset.variable, preset.key) {
                (None, _) => "not needed",
                (_, Key::Bearer) => "bearer",
                (_, Key::Header(name)) => &format!("`{name}` header"),
            };
            for part in [&format!("| `{}` |", preset.name), &*address, key, preset.variable.unwrap_or_default()] {
                assert!(row.contains(part), "'{part}' is not in: {row}");
            }
        }
    }

    #[test]
    fn a_wrong_name_is_answered_with_the_nearest() {
        let error = Preset::named("grok").expect_err("none");
        assert_eq!(error.param.as_deref(), Some("preset"));
        assert!(error.message.starts_with("there is no preset 'grok'; the nearest are: groq, "), "{}", error.message);
    }

    #[test]
    fn a_vendor_is_known_by_its_host_and_a_machine_of_ones_own_by_nothing() {
        for (url, name) in [
            ("https://api.openai.com/v1", "openai"),
            ("https://API.mistral.ai", "mistral"),
            ("http://127.0.0.1:11434/v1", ""),
            ("https://api.openai.com.evil.example/v1", ""),
            ("nonsense", ""),
        ] {
            assert_eq!(Preset::at(url).name, name, "{url}");
        }
    }

    #[test]
    fn a_path_of_the_operators_goes_before_the_rows() {
        let azure = Preset::named("azure").expect("a row");
        for (base, version, want) in [
            ("https://r.openai.azure.com/", None, "https://r.openai.azure.com/openai/v1"),
            ("https://r.openai.azure.com", Some("2024-10-21"), "https://r.openai.azure.com/openai"),
            ("https://r.openai.azure.com", Some("preview"), "https://r.openai.azure.com/openai/v1"),
            ("https://proxy.example/azure/", None, "https://proxy.example/azure"),
        ] {
            assert_eq!(azure.base(Some(base), version).expect("an address"), want);
        }
        assert_eq!(PLAIN.base(Some("http://h:1"), None).expect("as written"), "http://h:1");
        let error = PLAIN.base(Some("http://h:1"), Some("2024-10-21")).expect_err("nobody knows what for");
        assert_eq!(error.param.as_deref(), Some("api_version"));
    }
}
