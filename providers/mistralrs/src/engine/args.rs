//! What `frontdesk engine` can be told, and what of it makes no sense.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mistralrs::PagedCacheType;
use serde::Deserialize;

use crate::config::LoadWhen;

/// Whether mistral.rs and candle are built with `providers/mistralrs/mends`, which say what they mend; docker/build.sh sets it.
const MENDED: bool = option_env!("FRONTDESK_ENGINE_MENDED").is_some();

/// Options of `frontdesk engine`.
#[derive(Debug, Clone, Args)]
#[command(group(clap::ArgGroup::new("where").required(true).args(["socket", "listen"])))]
pub struct EngineArgs {
    /// A model to load: `ID=PATH`, or a JSON object with `id`, `path` and optionally `dtype`, `chat_template`,
    /// `max_tokens`, `isq`, `save_uqff`, `uqff`, `load` and `idle_unload_s`. PATH is a model folder or a .gguf file. Can be given several times.
    #[arg(long = "model", required = true, value_name = "ID=PATH", value_parser = ModelSpec::parse)]
    pub models: Vec<ModelSpec>,

    /// Listen on this Unix socket (made with mode 0600).
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Listen on this TCP address; needs a key.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,

    /// The key that clients must send as a bearer token; better given in the environment than here.
    #[arg(long, env = "FRONTDESK_ENGINE_KEY", hide = true, hide_env_values = true)]
    pub key: Option<String>,

    /// File with the key that clients must send as a bearer token.
    #[arg(long, value_name = "PATH", conflicts_with = "key")]
    pub key_file: Option<PathBuf>,

    /// Where the models run: `cpu`, `cuda` (the first GPU that CUDA shows this process), `metal`.
    #[arg(long, default_value = "cpu")]
    pub device: String,

    /// Keep keys and values in pages taken from one pool; on a GPU on unless given.
    #[arg(long, value_name = "BOOL")]
    pub paged_attention: Option<bool>,

    /// Tokens that the pages of all running requests hold together; enough for one full context, and for as many as run
    /// at once up to 65536, unless given.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1024..))]
    pub pool_tokens: Option<u32>,

    /// Number format of the pages: `auto` (that of the weights) or `f8e4m3` (half the memory, less exact).
    #[arg(long, value_name = "FORMAT")]
    pub kv_cache_dtype: Option<PagedCacheType>,

    /// Requests a model works on at once; 1 on the CPU, 16 elsewhere unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub max_running: Option<u32>,

    /// Requests a model lets wait; more are refused with 429.
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub max_queue: usize,

    /// Tokens of prompt and answer together; never more than the model was made for.
    #[arg(long, value_name = "TOKENS")]
    pub max_model_len: Option<usize>,

    /// Answers kept as prefixes for later prompts; 0 keeps none.
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub prefix_cache: usize,

    /// Answer a short prompt with each model before it counts as loaded, so that no client pays for the first one.
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub warm_up: bool,

    /// End the process when the engine gives no sign of life for this long while it works.
    #[arg(long, value_name = "SECONDS", default_value = "300", value_parser = seconds)]
    pub watchdog_s: Duration,

    /// How long one model may take to be loaded, and to wait for others that are being loaded.
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = seconds)]
    pub load_timeout_s: Duration,

    /// How long running answers may take to end after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub drain_s: Duration,

    /// End when standard input is closed: the parent is gone.
    #[arg(long)]
    pub watch_stdin: bool,
}

/// One model to load.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// The name clients ask for.
    pub id: String,
    /// A model folder (config.json, tokenizer.json, *.safetensors) or a .gguf file.
    pub path: PathBuf,
    /// Number format of the weights: `auto`, `f32`, `f16`, `bf16`; f32 on the CPU unless given.
    pub dtype: Option<String>,
    /// A Jinja file that replaces the model's own chat template.
    pub chat_template: Option<PathBuf>,
    /// Most tokens of an answer when the client does not say; else what the context leaves.
    pub max_tokens: Option<usize>,
    /// Quantise while loading: `Q4K`, `Q8_0`, or bits such as `4`.
    pub isq: Option<String>,
    /// Where to write the weights that `isq` quantised (a .uqff file), so that they need not be quantised again.
    pub save_uqff: Option<PathBuf>,
    /// The .uqff file in the folder that holds the weights already quantised; of several parts the first.
    pub uqff: Option<String>,
    /// When to bring it into memory first; at the start unless given.
    pub load: Option<LoadWhen>,
    /// Seconds without a request after which it is let go of; kept unless given.
    pub idle_unload_s: Option<u64>,
}

impl ModelSpec {
    pub(crate) fn idle_unload(&self) -> Option<Duration> {
        self.idle_unload_s.map(Duration::from_secs)
    }

    /// Reads `ID=PATH` or a JSON object.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn parse(written: &str) -> Result<Self, String> {
        let spec = if written.trim_start().starts_with('{') {
            serde_json::from_str::<Self>(written).map_err(|cause| cause.to_string())?
        } else {
            let Some((id, path)) = written.split_once('=') else {
                return Err("expected ID=PATH or a JSON object".into());
            };
            let (id, path) = (id.to_owned(), PathBuf::from(path));
            Self { id, path, ..Self::default() }
        };
        if spec.id.is_empty() || spec.path.as_os_str().is_empty() {
            return Err("a model needs an id and a path".into());
        }
        Ok(spec)
    }
}

/// Where models run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    Cuda,
    Metal,
}

impl EngineArgs {
    /// The device by name.
    ///
    /// # Errors
    /// Names the word that is no device.
    pub(crate) fn place(&self) -> Result<Place, String> {
        match self.device.as_str() {
            "cpu" => Ok(Place::Cpu),
            "cuda" => Ok(Place::Cuda),
            "metal" => Ok(Place::Metal),
            // The engine's loaders take the first GPU they see, whichever they are given.
            numbered if numbered.starts_with("cuda:") => {
                Err(format!("--device {numbered}: give --device cuda and choose the GPU with CUDA_VISIBLE_DEVICES"))
            }
            other => Err(format!("unknown device '{other}'; known are cpu, cuda, metal")),
        }
    }

    /// # Errors
    /// Names an option that has no effect beside the others.
    pub(crate) fn check_pages(&self) -> Result<(), String> {
        let of_pages = [
            ("--pool-tokens", self.pool_tokens.is_some()),
            ("--kv-cache-dtype", self.kv_cache_dtype.is_some()),
            ("--paged-attention", self.paged_attention == Some(true)),
        ];
        let given = of_pages.iter().find(|(_, given)| *given).map(|(option, _)| option);
        match given {
            Some(option) if self.place()? == Place::Cpu => Err(format!("{option} is for GPUs; the device is the CPU")),
            Some(option) if self.paged_attention == Some(false) => {
                Err(format!("{option} is for pages, and --paged-attention is false"))
            }
            _ => Ok(()),
        }
    }

    /// Requests a model works on at once.
    ///
    /// # Errors
    /// More than one is refused on the CPU, where the engine mixes up answers of equal length, without pages, where answers
    /// of unequal length spoil each other, and where mistral.rs is not mended, whose pages fail them.
    pub(crate) fn running(&self) -> Result<usize, String> {
        self.running_if(MENDED)
    }

    /// [`Self::running`] of a program that is built so, or not.
    pub(super) fn running_if(&self, mended: bool) -> Result<usize, String> {
        let alone = match (self.place()?, self.paged_attention) {
            (Place::Cpu, _) => "on the CPU",
            (_, Some(false)) => "without paged attention",
            _ if !mended => "built with mistral.rs as published (docker/build.sh mends it)",
            _ => return Ok(self.max_running.unwrap_or(16) as usize),
        };
        match self.max_running {
            Some(more) if more > 1 => Err(format!(
                "--max-running {more}: {alone} this engine answers one request at a time, \
                 because answers worked on together would spoil each other"
            )),
            _ => Ok(1),
        }
    }

    /// The key clients must send; none on a socket means the file mode is the guard.
    ///
    /// # Errors
    /// The key file cannot be read, is empty, or a TCP address is given without a key.
    pub(crate) fn required_key(&self) -> Result<Option<String>, String> {
        let key = match (&self.key_file, &self.key) {
            (Some(path), _) => {
                let written =
                    std::fs::read_to_string(path).map_err(|cause| format!("key file {}: {cause}", path.display()))?;
                Some(written.trim().to_owned())
            }
            (None, key) => key.clone(),
        };
        match key {
            Some(key) if key.is_empty() => Err("the engine key is empty".into()),
            None if self.listen.is_some() => Err("--listen needs a key: set FRONTDESK_ENGINE_KEY or --key-file".into()),
            key => Ok(key),
        }
    }

    /// # Errors
    /// Names an id that is given twice.
    pub(crate) fn check_ids(&self) -> Result<(), String> {
        for (index, model) in self.models.iter().enumerate() {
            if self.models[..index].iter().any(|earlier| earlier.id == model.id) {
                return Err(format!("model '{}' is given twice", model.id));
            }
        }
        Ok(())
    }
}

fn seconds(written: &str) -> Result<Duration, String> {
    let seconds: f64 = written.parse().map_err(|_| "expected seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("expected more than 0 seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        engine: EngineArgs,
    }

    fn parse(line: &str) -> Result<EngineArgs, clap::Error> {
        Line::try_parse_from(["engine"].into_iter().chain(line.split(' '))).map(|line| line.engine)
    }

    #[test]
    fn a_model_is_id_and_path_or_json() {
        let plain = ModelSpec::parse("a=/m/x=y").unwrap();
        assert_eq!((plain.id.as_str(), plain.path.to_str()), ("a", Some("/m/x=y")));
        let json = ModelSpec::parse(r#"{"id":"a","path":"/m","isq":"Q4K"}"#).unwrap();
        assert_eq!(json.isq.as_deref(), Some("Q4K"));
        assert!(ModelSpec::parse(r#"{"id":"a","path":"/m","size":1}"#).unwrap_err().contains("size"));
        assert!(ModelSpec::parse("/m").is_err());
    }

    #[test]
    fn more_than_one_at_a_time_is_for_a_gpu_with_pages_and_a_mended_engine() {
        let cpu = parse("--model a=/m --socket /s --max-running 2").unwrap();
        assert!(cpu.running_if(true).unwrap_err().contains("spoil"));
        let gpu = parse("--model a=/m --socket /s --device cuda --max-running 2").unwrap();
        assert_eq!((gpu.place(), gpu.running_if(true)), (Ok(Place::Cuda), Ok(2)));
        assert!(gpu.running_if(false).unwrap_err().contains("docker/build.sh"));
        assert_eq!(parse("--model a=/m --socket /s --device cuda").unwrap().running_if(false), Ok(1));
        let unpaged = parse("--model a=/m --socket /s --device cuda --paged-attention false --max-running 2").unwrap();
        assert!(unpaged.running_if(true).unwrap_err().contains("without paged attention"));
        assert!(parse("--model a=/m --socket /s --device tpu").unwrap().place().is_err());
        let second = parse("--model a=/m --socket /s --device cuda:1").unwrap();
        assert!(second.place().unwrap_err().contains("CUDA_VISIBLE_DEVICES"));
    }

    #[test]
    fn an_option_of_pages_without_pages_is_refused() {
        let refusal = |line: &str| parse(&format!("--model a=/m --socket /s {line}")).unwrap().check_pages();
        for option in ["--pool-tokens 4096", "--kv-cache-dtype f8e4m3", "--paged-attention true"] {
            assert!(refusal(option).unwrap_err().contains("for GPUs"), "{option}");
            assert_eq!(refusal(&format!("--device cuda {option}")), Ok(()));
        }
        assert!(refusal("--device cuda --paged-attention false --pool-tokens 4096").unwrap_err().contains("false"));
        assert_eq!(refusal("--paged-attention false"), Ok(()));
        assert!(parse("--model a=/m --socket /s --pool-tokens 9").is_err());
        assert!(parse("--model a=/m --socket /s --kv-cache-dtype f4").is_err());
    }

    #[test]
    fn tcp_needs_a_key_and_somewhere_to_listen_is_needed() {
        assert!(parse("--model a=/m").is_err());
        assert!(parse("--model a=/m --socket /s --listen 127.0.0.1:0").is_err());
        let open = parse("--model a=/m --listen 127.0.0.1:0").unwrap();
        assert!(open.required_key().unwrap_err().contains("FRONTDESK_ENGINE_KEY"));
        let keyed = parse("--model a=/m --listen 127.0.0.1:0 --key k").unwrap();
        assert_eq!(keyed.required_key(), Ok(Some("k".into())));
    }

    #[test]
    fn the_same_id_twice_is_refused() {
        let twice = parse("--model a=/m --model a=/n --socket /s").unwrap();
        assert_eq!(twice.check_ids(), Err("model 'a' is given twice".into()));
    }
}
