//! From a path to a model that answers.
//!
//! Looks through the files first (`folder`, `gguf`), then hands them to mistral.rs. Invariant: local paths only, and a
//! panic inside the loader becomes an error sentence.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mistralrs::{
    Device, DeviceMapSetting, EmbeddingModelBuilder, GgufModelBuilder, IsqType, MemoryGpuConfig, ModelBuilder,
    ModelDType, PagedAttentionConfig, PagedAttentionMetaBuilder, PagedCacheType, TextModelBuilder, TokenSource,
    UqffTextModelBuilder,
};
use tokio::runtime::Handle;

use super::admission::Admission;
use super::args::{EngineArgs, ModelSpec, Place};
use super::folder::Folder;
use super::gguf::Gguf;
use super::kept::Kept;
use super::metrics::Counters;
use super::model::{LoadedModel, Style};
use super::sight::{MARK, Sight, blind};

/// What kind of files a model is made of.
pub(crate) enum Files {
    Folder(Folder),
    Gguf(Gguf),
}

/// Sizes of an attention head that the engine's paged kernels are compiled for. Another size is computed without a word of
/// complaint, and wrongly (mistralrs-paged-attn 0.8.1, `pagedattention.cuh`).
const PAGED_HEADS: &[usize] = &[64, 80, 96, 112, 128, 192, 256, 512];
/// Tokens in a page.
pub(super) const PAGE: usize = 32;
/// Tokens that a pool holds for requests that run together, unless told otherwise.
const POOL: usize = 65_536;
/// Tokens added to a pool: the engine rounds it down to whole megabytes.
const ROUNDING: usize = 512;
/// Tokens of prompt and answer where nothing says how many.
const CONTEXT: usize = 4096;

impl Files {
    /// Finds out what is at the path of `spec` and whether it is whole.
    ///
    /// # Errors
    /// One sentence naming the file that is missing, broken or cut short.
    pub(crate) fn open(spec: &ModelSpec) -> Result<Self, String> {
        let path = std::path::absolute(&spec.path).map_err(|cause| format!("{}: {cause}", spec.path.display()))?;
        let template = spec.chat_template.as_deref();
        if path.is_dir() {
            return Folder::open(&path, template, spec.uqff.as_deref()).map(Files::Folder);
        }
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            return Gguf::open(&path, template).map(Files::Gguf);
        }
        if path.exists() {
            return Err(format!("{} is neither a folder nor a .gguf file", path.display()));
        }
        Err(format!("{} is missing", path.display()))
    }

    /// Elements of an attention head, where the files say so.
    fn head_size(&self) -> Option<usize> {
        match self {
            Files::Folder(folder) => folder.head_size,
            Files::Gguf(gguf) => gguf.head_size,
        }
    }

    /// A model that makes vectors out of texts.
    pub(crate) fn embeds(&self) -> bool {
        matches!(self, Files::Folder(folder) if folder.embeds)
    }

    /// Tokens of a model for embeddings are numbered below this.
    fn vocabulary(&self) -> Option<usize> {
        match self {
            Files::Folder(folder) => folder.vocabulary,
            Files::Gguf(_) => None,
        }
    }

    /// How the model reads images, or why it does not.
    fn sight(&self, place: Place) -> Result<Sight, String> {
        match self {
            Files::Folder(folder) if folder.sight.is_ok() && place != Place::Cpu => {
                Err("images were tried on a CPU only ('device: cpu')".into())
            }
            Files::Folder(folder) => folder.sight.clone(),
            Files::Gguf(_) => Err(blind()),
        }
    }

    fn template(&self) -> &str {
        match self {
            Files::Folder(folder) => &folder.template,
            Files::Gguf(gguf) => &gguf.template,
        }
    }

    /// Positions the model was made for, where the files say so.
    pub(crate) fn positions(&self) -> Option<usize> {
        match self {
            Files::Folder(folder) => folder.positions,
            Files::Gguf(gguf) => gguf.positions,
        }
    }
}

/// Loads one model.
///
/// # Errors
/// One sentence naming the model and what is wrong.
pub(crate) async fn load(
    spec: &ModelSpec,
    files: Files,
    args: &EngineArgs,
    counters: &Arc<Counters>,
) -> Result<LoadedModel, String> {
    let named = |cause: String| format!("model '{}': {cause}", spec.id);
    let style = Style::of(files.template());
    let wanted = [files.positions(), args.max_model_len].into_iter().flatten().min();
    let seats = args.running().map_err(named)?;
    let embeds = files.embeds();
    let vocabulary = files.vocabulary();
    // Keys and values are not kept where nothing is written.
    let pool = match embeds {
        true => None,
        false => pool(args, files.head_size(), wanted.unwrap_or(CONTEXT), seats).map_err(named)?,
    };
    // Without pages, requests of unequal length that run together end early or astray, on a GPU too.
    let running = if pool.is_some() && !computed_alone(spec) { seats } else { 1 };
    let mut sight = files.sight(args.place().map_err(named)?);
    // The engine finds a kept prompt by its images whatever stands before them, and then reads on without the image; and it
    // takes a text that holds an image's tokens for the image of whoever sent one (mistralrs-core 0.8.1, prefix_cacher.rs).
    let args = &EngineArgs { prefix_cache: if sight.is_ok() { 0 } else { args.prefix_cache }, ..args.clone() };
    let building = build(spec.clone(), files, args.clone(), pool, running);
    // It computes for minutes without a pause, while other models answer.
    let runtime = Handle::current();
    let engine = match tokio::task::spawn_blocking(move || runtime.block_on(building)).await {
        Ok(engine) => engine.map_err(named)?,
        Err(_panic) => return Err(named("the loader panicked; its last words are above".into())),
    };
    let config = engine.config().map_err(|cause| named(cause.to_string()))?;
    // A request longer than the pool would never be answered.
    let context = [config.max_seq_len, wanted, pool].into_iter().flatten().min();
    let defaults = config.generation_defaults.unwrap_or_default();
    let mut model = LoadedModel {
        id: spec.id.clone(),
        context: context.unwrap_or(CONTEXT),
        max_tokens: spec.max_tokens.or(defaults.max_new_tokens),
        defaults,
        style,
        embeds,
        admission: Admission::new(running, args.max_queue, pool),
        counting: Admission::new(1, args.max_queue, None),
        vocabulary,
        sight: Err(String::new()),
        counters: Arc::clone(counters),
        kept: Kept::new((args.place()? == Place::Cpu && !embeds && args.prefix_cache > 0).then_some(args.prefix_cache)),
        // Whoever loads waits for the first prompt no longer than that, and is told; the process goes on.
        watchdog: Duration::MAX,
        alive: AtomicBool::new(true),
        thread: Arc::default(),
        warmed: None,
        touched: Mutex::new(Instant::now()),
        engine,
    };
    if let Ok(sight) = &mut sight {
        let [whole, mark] = [sight.written(), MARK.to_owned()];
        let uncounted = |cause| named(format!("its tokenizer does not count: {cause:?}"));
        let [whole, mark] =
            [model.tokens(&whole).await.map_err(uncounted)?, model.tokens(&mark).await.map_err(uncounted)?];
        sight.adds = whole.len().saturating_sub(mark.len());
    }
    model.sight = sight;
    if args.warm_up {
        let no_answer =
            |cause| format!("it was loaded and cannot answer ('warm_up: false' leaves this untried): {cause}");
        let first = async { if embeds { model.warm_up_vectors().await } else { model.warm_up().await } };
        let late = |_| Err(format!("no sign of life for {:?} (--watchdog-s)", args.watchdog_s));
        let warmed = tokio::time::timeout(args.watchdog_s, first).await.unwrap_or_else(late);
        model.warmed = Some(warmed.map_err(no_answer).map_err(named)?);
    }
    model.watchdog = args.watchdog_s;
    Ok(model)
}

/// Weights quantised to FP8 while loading fail several requests at once on a GPU ("`b` must have the same batch size as `a`").
fn computed_alone(spec: &ModelSpec) -> bool {
    let parsed = spec.isq.as_deref().and_then(|written| mistralrs::parse_isq_value(written, None).ok());
    parsed == Some(IsqType::F8E4M3)
}

async fn build(
    spec: ModelSpec,
    files: Files,
    args: EngineArgs,
    pool: Option<usize>,
    running: usize,
) -> Result<mistralrs::Model, String> {
    if let Some(file) = &spec.save_uqff {
        let good = spec.isq.is_some() && file.extension().is_some_and(|end| end == "uqff");
        if !good {
            return Err("'save_uqff' is the path of a .uqff file, beside 'isq'".into());
        }
    }
    let place = args.place()?;
    let dtype = dtype(spec.dtype.as_deref(), place)?;
    let isq = spec.isq.as_deref().map(|written| mistralrs::parse_isq_value(written, None)).transpose()?;
    let device = device(place)?;
    let paged = pool.map(|tokens| pages(tokens, running, args.kv_cache_dtype.unwrap_or_default())).transpose()?;
    // What all builders have in common; they share no trait.
    macro_rules! common {
        ($builder:expr) => {{
            let mut builder = $builder
                .with_token_source(TokenSource::None)
                .with_device(device.clone())
                .with_max_num_seqs(running)
                .with_prefix_cache_n((args.prefix_cache > 0).then_some(args.prefix_cache));
            if place == Place::Cpu {
                builder = builder.with_force_cpu();
            } else {
                // All layers on the GPU, or a refusal: the automatic map would put what does not fit on the CPU, where
                // sequences that run together mix.
                builder = builder.with_device_mapping(DeviceMapSetting::dummy());
            }
            if let Some(paged) = paged {
                builder = builder.with_paged_attn(paged);
            }
            builder
        }};
    }
    let template = template_path(&spec)?;
    let text = |path: &Path, uqff: Option<&String>| -> Result<TextModelBuilder, String> {
        let path = utf8(path)?;
        let builder = match uqff {
            Some(file) => UqffTextModelBuilder::new(path, vec![file.into()]).into_inner(),
            None => TextModelBuilder::new(path),
        };
        let mut builder = common!(builder).with_dtype(dtype);
        if let Some(isq) = isq {
            builder = builder.with_isq(isq);
        }
        if let Some(file) = spec.save_uqff.as_ref().filter(|_| uqff.is_none()) {
            builder = builder.write_uqff(file.clone());
        }
        if let Some(template) = &template {
            builder = builder.with_jinja_explicit(template.clone());
        }
        Ok(builder)
    };
    let built = match files {
        Files::Folder(folder) if folder.embeds => {
            refuse(&spec, "models for embeddings")?;
            let mut builder = EmbeddingModelBuilder::new(utf8(&folder.path)?)
                .with_token_source(TokenSource::None)
                .with_device(device)
                .with_max_num_seqs(running)
                .with_dtype(dtype);
            builder = match place {
                Place::Cpu => builder.with_force_cpu(),
                _ => builder.with_device_mapping(DeviceMapSetting::dummy()),
            };
            if let Some(isq) = isq {
                builder = builder.with_isq(isq);
            }
            builder.build().await
        }
        Files::Folder(folder) if folder.text_only => text(&folder.path, spec.uqff.as_ref())?.build().await,
        Files::Folder(folder) => {
            refuse(&spec, "models that read more than text")?;
            let mut builder = common!(ModelBuilder::new(utf8(&folder.path)?)).with_dtype(dtype);
            if let Some(isq) = isq {
                builder = builder.with_isq(isq);
            }
            if let Some(template) = template {
                builder = builder.with_jinja_explicit(template);
            }
            builder.build().await
        }
        Files::Gguf(gguf) => {
            refuse_for_gguf(&spec, isq)?;
            refuse(&spec, "GGUF files")?;
            let folder = gguf.path.parent().ok_or("a GGUF file stands in a folder")?;
            let name = gguf.path.file_name().ok_or("a GGUF file has a name")?;
            let name = name.to_str().ok_or("the name of the GGUF file is not UTF-8")?;
            let mut builder = common!(GgufModelBuilder::new(utf8(folder)?, vec![name]));
            if let Some(template) = template {
                builder = builder.with_jinja_explicit(template);
            }
            builder.build().await
        }
    };
    built.map_err(|cause| explained(&format!("{cause:#}")))
}

/// Adds what to do where the engine only says what happened.
fn explained(cause: &str) -> String {
    if cause.to_lowercase().contains("out_of_memory") || cause.to_lowercase().contains("out of memory") {
        return format!(
            "{cause}: the GPU's memory is too small; lower pool_tokens, max_model_len or max_running, or set isq"
        );
    }
    cause.to_owned()
}

/// What is for folders of a text model only.
fn refuse(spec: &ModelSpec, what: &str) -> Result<(), String> {
    let given = [("uqff", spec.uqff.is_some()), ("save_uqff", spec.save_uqff.is_some())];
    match given.iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(format!("'{key}' is for folders of text models, not for {what}")),
        None => Ok(()),
    }
}

fn refuse_for_gguf(spec: &ModelSpec, isq: Option<IsqType>) -> Result<(), String> {
    if isq.is_some() || spec.dtype.is_some() {
        return Err("'isq' and 'dtype' are for model folders; a GGUF file has its own number format".into());
    }
    Ok(())
}

fn template_path(spec: &ModelSpec) -> Result<Option<String>, String> {
    let Some(path) = &spec.chat_template else { return Ok(None) };
    // The engine takes no other ending and panics otherwise.
    if path.extension().is_none_or(|extension| extension != "jinja") {
        return Err(format!("chat_template {} must end in .jinja", path.display()));
    }
    utf8(path).map(Some)
}

fn utf8(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("the path {} is not UTF-8", path.display()))
}

fn dtype(written: Option<&str>, place: Place) -> Result<ModelDType, String> {
    match written {
        Some("f32") => Ok(ModelDType::F32),
        Some("f16") => Ok(ModelDType::F16),
        Some("bf16") if place == Place::Cpu => {
            Err("dtype 'bf16' is for GPUs: on a CPU this engine multiplies f32 and f16".into())
        }
        Some("bf16") => Ok(ModelDType::BF16),
        Some("auto") => Ok(ModelDType::Auto),
        // On the CPU f32 is both the fastest of candle's kernels and exact.
        None if place == Place::Cpu => Ok(ModelDType::F32),
        None => Ok(ModelDType::Auto),
        Some(other) => Err(format!("unknown dtype '{other}'; known are auto, f32, f16, bf16")),
    }
}

fn device(place: Place) -> Result<Device, String> {
    match place {
        Place::Cpu => Ok(Device::Cpu),
        Place::Cuda => Device::new_cuda(0).map_err(|cause| cannot(place, &cause)),
        Place::Metal => Device::new_metal(0).map_err(|cause| cannot(place, &cause)),
    }
}

fn cannot(place: Place, cause: &dyn std::fmt::Display) -> String {
    format!("this program cannot use the device {place:?}: {cause}")
}

/// How many tokens of keys and values the pages hold; none where there are no pages: on the CPU, where told so, and for
/// models the kernels do not fit.
fn pool(args: &EngineArgs, head_size: Option<usize>, context: usize, seats: usize) -> Result<Option<usize>, String> {
    if args.place()? == Place::Cpu || args.paged_attention == Some(false) {
        return Ok(None);
    }
    if let Some(size) = head_size.filter(|size| !PAGED_HEADS.contains(size)) {
        let message = format!("heads of {size} elements do not fit paged attention ({PAGED_HEADS:?} do)");
        if args.paged_attention == Some(true) {
            return Err(message);
        }
        tracing::warn!("{message}; running without it, one request at a time");
        return Ok(None);
    }
    let together = context.saturating_mul(seats);
    Ok(Some(args.pool_tokens.map_or(together.min(POOL).max(context), |tokens| tokens as usize)))
}

/// Pages for this many tokens, those that end before their page does added.
fn pages(tokens: usize, running: usize, dtype: PagedCacheType) -> Result<PagedAttentionConfig, String> {
    // The engine keeps one page for itself.
    let room = tokens.next_multiple_of(PAGE) + PAGE * (running + 1) + ROUNDING;
    PagedAttentionMetaBuilder::default()
        .with_block_size(PAGE)
        .with_gpu_memory(MemoryGpuConfig::ContextSize(room))
        .with_paged_cache_type(dtype)
        .build()
        .map_err(|cause| cause.to_string())
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

    fn tokens(line: &str, head_size: Option<usize>, context: usize) -> Result<Option<usize>, String> {
        let line = format!("engine --model a=/m --socket /s {line}");
        let args = Line::parse_from(line.split(' ')).engine;
        pool(&args, head_size, context, args.running_if(true).unwrap())
    }

    #[test]
    fn pages_are_for_gpus_and_for_heads_the_kernels_know() {
        assert_eq!(tokens("--device cpu", Some(128), 4096), Ok(None));
        assert_eq!(tokens("--device cuda --paged-attention false", Some(128), 4096), Ok(None));
        assert_eq!(tokens("--device cuda", Some(32), 4096), Ok(None));
        assert!(tokens("--device cuda --paged-attention true", Some(32), 4096).unwrap_err().contains("32"));
        assert!(tokens("--device cuda", None, 4096).unwrap().is_some());
    }

    #[test]
    fn the_pool_holds_one_full_context_and_several_within_reason() {
        assert_eq!(tokens("--device cuda", Some(128), 2048), Ok(Some(16 * 2048)));
        assert_eq!(tokens("--device cuda --max-running 64", Some(128), 4096), Ok(Some(POOL)));
        assert_eq!(tokens("--device cuda", Some(128), 131_072), Ok(Some(131_072)));
        assert_eq!(tokens("--device cuda --pool-tokens 100000", Some(128), 4096), Ok(Some(100_000)));
    }

    #[test]
    fn a_number_format_that_the_cpu_cannot_multiply_is_refused_while_loading() {
        assert!(dtype(Some("bf16"), Place::Cpu).unwrap_err().contains("GPUs"));
        assert!(dtype(Some("bf16"), Place::Cuda).is_ok() && dtype(Some("f16"), Place::Cpu).is_ok());
    }

    #[test]
    fn a_full_gpu_is_answered_with_what_to_do() {
        assert!(explained("DriverError(CUDA_ERROR_OUT_OF_MEMORY)").contains("pool_tokens"));
        assert_eq!(explained("no such tensor"), "no such tensor");
    }
}
