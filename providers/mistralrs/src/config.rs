//! What an operator writes under `config:` of a provider of type `mistralrs`.
//!
//! Either models from disk, run here, or the `url` of a worker that runs elsewhere; a key of the one kind beside the other is
//! refused by name, so that nothing written is silently without effect.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use frontdesk_api::{Error, Kind, Result};
use frontdesk_openai::OpenAi;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::elsewhere::Elsewhere;
use crate::own::Own;

/// Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The models to load, each under its own name.
    #[serde(default)]
    pub models: Vec<ModelConfig>,
    /// Where they run: `cpu`, `cuda`, `cuda:N` (the GPU with this number), `metal`.
    #[serde(default)]
    pub device: Option<String>,
    /// Keep keys and values in pages taken from one pool; on a GPU on unless given, on the CPU never.
    #[serde(default)]
    pub paged_attention: Option<bool>,
    /// Tokens that the pages of all running requests hold together; enough for one full context, and for as many as run
    /// at once up to 65536, unless given.
    #[serde(default)]
    pub pool_tokens: Option<u32>,
    /// Number format of the pages: `auto` (that of the weights) or `f8e4m3` (half the memory, less exact).
    #[serde(default)]
    pub kv_cache_dtype: Option<String>,
    /// Requests a model works on at once; always 1 on the CPU, 16 elsewhere unless given.
    #[serde(default)]
    pub max_running: Option<u32>,
    /// Requests a model lets wait (64 unless given); more are refused with 429.
    #[serde(default)]
    pub max_queue: Option<usize>,
    /// Tokens of prompt and answer together; never more than the model was made for.
    #[serde(default)]
    pub max_model_len: Option<usize>,
    /// Answers kept as prefixes for later prompts (16 unless given); 0 keeps none.
    #[serde(default)]
    pub prefix_cache: Option<usize>,
    /// Answer a short prompt with each model before it counts as loaded; on unless given.
    #[serde(default)]
    pub warm_up: Option<bool>,
    /// Seconds the models may take to load.
    #[serde(default = "ten_minutes")]
    pub load_timeout_s: u64,
    /// Seconds a request waits for an engine that is loading, before it is told to come back.
    #[serde(default = "one_minute")]
    pub wait_s: u64,
    /// Seconds without a sign of life after which a working engine is started again.
    #[serde(default = "five_minutes")]
    pub watchdog_s: u64,
    /// Seconds to wait for the head of an answer, the queue included.
    #[serde(default = "ten_minutes")]
    pub timeout_s: u64,
    /// Start the engine at the first request instead of with the server.
    #[serde(default)]
    pub lazy: bool,
    /// Environment of the engine process, which inherits nothing else (`CUDA_VISIBLE_DEVICES`, `LD_LIBRARY_PATH`).
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// A worker that runs elsewhere: where its API begins, `/v1` included.
    #[serde(default)]
    pub url: Option<String>,
    /// The key of a worker that runs elsewhere.
    #[serde(default)]
    pub api_key: Option<String>,
}

/// One model to load. Written to the worker as it stands here.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// The name behind the provider's id: `local/<id>`.
    pub id: String,
    /// A model folder (config.json, tokenizer.json, *.safetensors) or a .gguf file.
    pub path: PathBuf,
    /// Number format of the weights: `auto`, `f32`, `f16`, `bf16`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtype: Option<String>,
    /// A .jinja file that replaces the model's own chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Most tokens of an answer when the client does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// Quantise while loading: `Q4K`, `Q8_0`, or bits such as `4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isq: Option<String>,
    /// Where to write the weights that `isq` quantised (a .uqff file), so that they need not be quantised again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_uqff: Option<PathBuf>,
    /// The .uqff file in the folder that holds the weights already quantised; of several parts the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uqff: Option<String>,
    /// When to bring it into memory first; at the start unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadWhen>,
    /// Seconds without a request after which it is let go of; kept unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_unload_s: Option<u64>,
    /// A note for people, shown in model lists.
    #[serde(default, skip_serializing)]
    pub description: Option<String>,
}

/// When a model is brought into memory first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadWhen {
    /// Before the engine takes requests.
    AtStart,
    /// By the first request for it.
    OnDemand,
}

const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";

/// What stands behind `cuda:`.
fn gpu(device: &str) -> Option<&str> {
    device.strip_prefix("cuda:")
}

fn one_minute() -> u64 {
    60
}
fn five_minutes() -> u64 {
    300
}
fn ten_minutes() -> u64 {
    600
}

impl Config {
    /// # Errors
    /// `Invalid` saying what is wrong; `param` is the key where one can be named.
    pub fn read(config: Value) -> Result<Self> {
        let config: Self =
            serde_json::from_value(config).map_err(|cause| Error::new(Kind::Invalid, cause.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// The worker elsewhere, where `url` names one.
    ///
    /// # Errors
    /// `Invalid` naming the key.
    pub(crate) fn remote(&self, id: &str) -> Result<Option<Elsewhere>> {
        let Some(url) = &self.url else { return Ok(None) };
        let mut config = frontdesk_openai::Config::at(url);
        config.api_key = self.api_key.clone();
        // A worker answers chats; text completions are asked as one.
        config.completions = false;
        config.timeout_s = self.timeout_s;
        config.idle_timeout_s = self.watchdog_s;
        let worker = OpenAi::new(id, config).map_err(|mut cause| {
            if cause.param.as_deref() == Some("base_url") {
                cause.param = Some("url".into());
                cause.message = cause.message.replacen("base_url", "url", 1);
            }
            cause
        })?;
        let own = Own::at(url.trim_end_matches('/').trim_end_matches("/v1"));
        Ok(Some(Elsewhere { worker, own }))
    }

    pub(crate) fn load_timeout(&self) -> Duration {
        Duration::from_secs(self.load_timeout_s)
    }

    pub(crate) fn wait(&self) -> Duration {
        Duration::from_secs(self.wait_s)
    }

    /// What the worker is told besides where to listen.
    pub(crate) fn arguments(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for model in &self.models {
            let written = serde_json::to_string(model)
                .map_err(|cause| Error::invalid("models", format!("model '{}': {cause}", model.id)))?;
            out.extend(["--model".to_owned(), written]);
        }
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                out.extend([name.to_owned(), value]);
            }
        };
        option("--device", self.device.as_deref().map(|device| gpu(device).map_or(device, |_| "cuda").to_owned()));
        option("--paged-attention", self.paged_attention.map(|on| on.to_string()));
        option("--pool-tokens", self.pool_tokens.map(|n| n.to_string()));
        option("--kv-cache-dtype", self.kv_cache_dtype.clone());
        option("--max-running", self.max_running.map(|n| n.to_string()));
        option("--max-queue", self.max_queue.map(|n| n.to_string()));
        option("--max-model-len", self.max_model_len.map(|n| n.to_string()));
        option("--prefix-cache", self.prefix_cache.map(|n| n.to_string()));
        option("--warm-up", self.warm_up.map(|on| on.to_string()));
        option("--watchdog-s", Some(self.watchdog_s.to_string()));
        option("--load-timeout-s", Some(self.load_timeout_s.to_string()));
        Ok(out)
    }

    /// The environment of the worker: what was written, and the GPU that `device` names.
    ///
    /// The engine takes the first GPU it sees, so the others are hidden; they are counted as nvidia-smi counts them.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let mut out = self.environment.clone();
        if let Some(number) = self.device.as_deref().and_then(gpu) {
            out.insert(VISIBLE.into(), number.into());
            out.entry("CUDA_DEVICE_ORDER".into()).or_insert_with(|| "PCI_BUS_ID".into());
        }
        out
    }

    fn check(&self) -> Result<()> {
        if self.url.is_some() {
            let beside = [
                ("models", !self.models.is_empty()),
                ("device", self.device.is_some()),
                ("paged_attention", self.paged_attention.is_some()),
                ("pool_tokens", self.pool_tokens.is_some()),
                ("kv_cache_dtype", self.kv_cache_dtype.is_some()),
                ("max_running", self.max_running.is_some()),
                ("max_queue", self.max_queue.is_some()),
                ("max_model_len", self.max_model_len.is_some()),
                ("prefix_cache", self.prefix_cache.is_some()),
                ("warm_up", self.warm_up.is_some()),
                ("environment", !self.environment.is_empty()),
            ];
            return match beside.iter().find(|(_, given)| *given) {
                Some((key, _)) => {
                    Err(Error::invalid(*key, format!("'{key}' is for an engine run here and 'url' for one elsewhere")))
                }
                None => Ok(()),
            };
        }
        if self.api_key.is_some() {
            return Err(Error::invalid("api_key", "'api_key' is for a worker elsewhere and needs 'url'"));
        }
        if self.models.is_empty() {
            return Err(Error::invalid("models", "give 'models' to load, or the 'url' of a worker elsewhere"));
        }
        for (index, model) in self.models.iter().enumerate() {
            let key = |below: &str| format!("models[{index}].{below}");
            if model.id.is_empty() {
                return Err(Error::invalid(key("id"), "a model needs an id"));
            }
            if model.path.as_os_str().is_empty() {
                return Err(Error::invalid(key("path"), format!("model '{}' needs a path", model.id)));
            }
            if model.idle_unload_s == Some(0) {
                return Err(Error::invalid(key("idle_unload_s"), "'idle_unload_s' must be at least 1"));
            }
            if self.models[..index].iter().any(|earlier| earlier.id == model.id) {
                return Err(Error::invalid(key("id"), format!("model '{}' is given twice", model.id)));
            }
        }
        if let Some(device) = &self.device {
            if gpu(device).is_some_and(|number| number.parse::<u16>().is_err()) {
                return Err(Error::invalid("device", format!("device '{device}': expected cuda:0, cuda:1, …")));
            }
            if gpu(device).is_some() && self.environment.contains_key(VISIBLE) {
                let message = format!("'environment' sets {VISIBLE} and device '{device}' would too; keep one of them");
                return Err(Error::invalid("environment", message));
            }
        }
        for (key, seconds) in
            [("load_timeout_s", self.load_timeout_s), ("watchdog_s", self.watchdog_s), ("timeout_s", self.timeout_s)]
        {
            if seconds == 0 {
                return Err(Error::invalid(key, format!("'{key}' must be at least 1")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refusal(config: Value) -> Error {
        Config::read(config).unwrap_err()
    }

    #[test]
    fn a_key_without_effect_is_refused_by_name() {
        let one = json!([{"id": "a", "path": "/m"}]);
        for (config, key) in [
            (json!({}), "models"),
            (json!({"models": one, "api_key": "k"}), "api_key"),
            (json!({"url": "http://h/v1", "models": one}), "models"),
            (json!({"url": "http://h/v1", "device": "cuda"}), "device"),
            (json!({"models": [{"id": "a", "path": "/m"}, {"id": "a", "path": "/n"}]}), "models[1].id"),
            (json!({"models": [{"id": "a", "path": ""}]}), "models[0].path"),
            (json!({"models": [{"id": "a", "path": "/m", "idle_unload_s": 0}]}), "models[0].idle_unload_s"),
            (json!({"models": one, "load_timeout_s": 0}), "load_timeout_s"),
            (json!({"url": "http://h/v1", "pool_tokens": 4096}), "pool_tokens"),
            (json!({"models": one, "device": "cuda:first"}), "device"),
            (json!({"models": one, "device": "cuda:1", "environment": {"CUDA_VISIBLE_DEVICES": "1"}}), "environment"),
        ] {
            assert_eq!(refusal(config.clone()).param.as_deref(), Some(key), "{config}");
        }
        assert!(refusal(json!({"models": [], "modells": []})).message.contains("modells"));
    }

    #[test]
    fn the_worker_is_told_what_was_written_and_nothing_else() {
        let config = json!({
            "models": [{"id": "a", "path": "/m", "max_tokens": 9, "description": "demo"}],
            "max_queue": 3, "watchdog_s": 7
        });
        let arguments = Config::read(config).unwrap().arguments().unwrap();
        let expected = [
            "--model",
            r#"{"id":"a","path":"/m","max_tokens":9}"#,
            "--max-queue",
            "3",
            "--watchdog-s",
            "7",
            "--load-timeout-s",
            "600",
        ];
        assert_eq!(arguments, expected);
    }

    #[test]
    fn a_numbered_gpu_is_the_only_one_the_worker_sees() {
        let config = json!({"models": [{"id": "a", "path": "/m"}], "device": "cuda:1", "pool_tokens": 4096});
        let config = Config::read(config).unwrap();
        let arguments = config.arguments().unwrap();
        assert_eq!(arguments[2..6], ["--device", "cuda", "--pool-tokens", "4096"]);
        let environment: Vec<_> = config.environment().into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(environment, [pair("CUDA_DEVICE_ORDER", "PCI_BUS_ID"), pair("CUDA_VISIBLE_DEVICES", "1")]);
        let any = Config::read(json!({"models": [{"id": "a", "path": "/m"}], "device": "cuda"})).unwrap();
        assert!(any.environment().is_empty());
    }

    #[test]
    fn a_worker_elsewhere_is_an_openai_server_and_its_bad_url_is_named() {
        assert!(Config::read(json!({"url": "http://h:1/v1"})).unwrap().remote("l").unwrap().is_some());
        let error = Config::read(json!({"url": "h"})).unwrap().remote("l").err().unwrap();
        assert_eq!(error.param.as_deref(), Some("url"));
        assert!(error.message.starts_with("url 'h'"), "{}", error.message);
    }
}
