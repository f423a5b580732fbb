//! The provider: requests become batches of tokens, batches become vectors or scores.
//!
//! Invariants: a request waits for a place or is told to come back, never without end; texts come back in the order in
//! which they were sent; a client that left is computed for no further than the batch at work.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Effort, Error, Inference, Result,
    chat::Usage,
    embed::{EmbedRequest, Embeddings},
    inference::{Model, ModelKind, not_offered},
    provider::{Health, Status},
    rerank::{Ranked, Ranking, RerankRequest},
};
use serde_json::{Map, Value, json};
use tokio::sync::{OnceCell, Semaphore, SemaphorePermit};

use crate::{
    batch::batches,
    config::{Config, ModelConfig},
    encoder::{Ask, Encoder, Load, Tokens},
    folder::{Folder, Task},
    pool::Pool,
};

/// The most texts of a request, as OpenAI has it.
const MOST_INPUTS: usize = 2_048;

/// After how long one may try again that found no place.
const SOON: Duration = Duration::from_secs(1);

/// Models of this process.
pub struct Local {
    id: String,
    models: Vec<Arc<Own>>,
    load: Load,
    pool: Arc<Pool>,
    places: Semaphore,
    max_requests: usize,
}

/// One model.
struct Own {
    config: ModelConfig,
    folder: Folder,
    encoder: OnceCell<Arc<dyn Encoder>>,
    /// Why it could not be loaded when that was last tried.
    failed: Mutex<Option<String>>,
}

impl Local {
    /// Reads what the models are; their weights are loaded when they are first asked for.
    ///
    /// # Errors
    /// `Invalid` naming the key (`models[0].path`) and what is wrong in the folder.
    pub fn new(id: &str, config: Config, load: Load) -> Result<Self> {
        let own = |(i, config): (usize, ModelConfig)| {
            let folder = Folder::read(&config.path, config.max_tokens).map_err(|e| {
                let key = e.param.clone().unwrap_or_default();
                e.with_param(format!("models[{i}].{key}"))
            })?;
            Ok(Arc::new(Own { config, folder, encoder: OnceCell::new(), failed: Mutex::default() }))
        };
        let models = config.models.into_iter().enumerate().map(own).collect::<Result<_>>()?;
        let (pool, max_requests) = (Arc::new(Pool::new(config.threads)?), config.max_requests);
        Ok(Self { id: id.to_owned(), models, load, pool, places: Semaphore::new(max_requests), max_requests })
    }

    fn find(&self, model: &str) -> Result<&Arc<Own>> {
        self.models.iter().find(|own| own.config.id == model).ok_or_else(|| {
            let known = self.models.iter().map(|own| own.config.id.as_str()).collect::<Vec<_>>().join(", ");
            let message = format!("provider '{}' has no model '{model}'; it has: {known}", self.id);
            Error::not_found(message).with_param("model").with_code("model_not_found")
        })
    }

    fn place(&self) -> Result<SemaphorePermit<'_>> {
        self.places.try_acquire().map_err(|_| {
            let message = format!("provider '{}' has as many requests as it may ({})", self.id, self.max_requests);
            Error::unavailable(message).with_code("no_capacity").with_retry_after(SOON)
        })
    }

    /// Loads a model once. In a task of its own: a client that does not wait for it must not make the next one begin anew.
    async fn encoder(&self, own: &Arc<Own>) -> Result<Arc<dyn Encoder>> {
        if let Some(encoder) = own.encoder.get() {
            return Ok(Arc::clone(encoder));
        }
        let (own, pool, load, id) = (Arc::clone(own), Arc::clone(&self.pool), self.load, self.id.clone());
        let loading = tokio::spawn(async move {
            let load = || async {
                let folder = own.folder.clone();
                let loaded = pool.run(move || load(&folder)).await;
                let failed = loaded.as_ref().err().map(|e| e.message.clone());
                if let Some(why) = &failed {
                    tracing::error!(provider = id, model = own.config.id, why, "a model could not be loaded");
                }
                *own.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
                loaded
            };
            own.encoder.get_or_try_init(load).await.cloned()
        });
        loading.await.map_err(|e| Error::internal("loading a sentence model", e))?
    }

    /// What a model makes of `count` texts, in their order, and how many tokens they have. `name`: of a text, for
    /// errors.
    async fn compute(
        &self,
        own: &Arc<Own>,
        count: usize,
        truncate: bool,
        ask: impl for<'a> Fn(&dyn Encoder, usize) -> Result<Tokens> + Send + 'static,
        name: fn(usize) -> String,
    ) -> Result<(Vec<Vec<f32>>, u64)> {
        let (encoder, most) = (self.encoder(own).await?, own.folder.max_tokens);
        let reader = Arc::clone(&encoder);
        let read = move || {
            let one = |i: usize| match ask(&*reader, i) {
                Ok(tokens) if tokens.cut && !truncate => {
                    let at = name(i);
                    let message = format!("'{at}' has more than the {most} tokens that this model reads");
                    Err(Error::invalid(at, message).with_code("context_length_exceeded"))
                }
                Err(e) if e.param.is_none() => Err(e.with_param(name(i))),
                read => read,
            };
            (0..count).map(one).collect::<Result<Vec<Tokens>>>()
        };
        let tokens = Arc::new(self.pool.run(read).await?);
        let lengths: Vec<usize> = tokens.iter().map(|tokens| tokens.ids.len()).collect();
        let (order, parts) = batches(&lengths);
        let order: Arc<[usize]> = order.into();
        let mut out = vec![vec![]; count];
        for part in parts {
            let job = batch(Arc::clone(&encoder), Arc::clone(&tokens), Arc::clone(&order), part.clone());
            for (i, made) in order[part].iter().zip(self.pool.run(job).await?) {
                out[*i] = made;
            }
        }
        Ok((out, lengths.iter().map(|length| *length as u64).sum()))
    }
}

/// The work of one batch.
fn batch(
    encoder: Arc<dyn Encoder>,
    tokens: Arc<Vec<Tokens>>,
    order: Arc<[usize]>,
    part: Range<usize>,
) -> impl FnOnce() -> Result<Vec<Vec<f32>>> + Send + 'static {
    move || {
        let texts: Vec<&Tokens> = order[part].iter().map(|i| &tokens[*i]).collect();
        encoder.run(&texts)
    }
}

#[async_trait]
impl Inference for Local {
    async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
        Err(not_offered("chats", ModelKind::Llm))
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        let offered = |own: &Arc<Own>| Model {
            id: format!("{}/{}", self.id, own.config.id),
            provider: self.id.clone(),
            upstream_id: own.config.id.clone(),
            kind: match own.folder.task {
                Task::Embed { .. } => ModelKind::Embedding,
                Task::Score { .. } => ModelKind::Rerank,
            },
            created: 0,
            description: own.config.description.clone(),
        };
        Ok(self.models.iter().map(offered).collect())
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let own = self.find(&request.model)?;
        let Task::Embed { normalise, .. } = own.folder.task else {
            return Err(not_offered("embeddings", ModelKind::Embedding));
        };
        let embed = request.embed()?;
        if embed.input.len() > MOST_INPUTS {
            let message = format!("'input' has {} texts: at most {MOST_INPUTS} go into a request", embed.input.len());
            return Err(Error::invalid("input", message));
        }
        let (count, truncate) = (embed.input.len(), truncate(&embed.extra, own)?);
        let size = own.folder.architecture.hidden_size;
        let dimensions = dimensions(embed.dimensions, size, own)?;
        let _place = self.place()?;
        let asked = request.clone();
        let ask = move |encoder: &dyn Encoder, i: usize| encoder.tokens(Ask::One(&asked.embed()?.input[i]));
        let name = if count == 1 { |_| "input".to_owned() } else { |i| format!("input[{i}]") };
        let work = self.compute(own, count, truncate, ask, name);
        let (mut vectors, tokens) = cx.cancel.run_until_cancelled(work).await.ok_or_else(Error::cancelled)??;
        if dimensions < size {
            vectors.iter_mut().for_each(|vector| shorten(vector, dimensions, normalise));
        }
        let usage = Some(Usage { input_tokens: tokens, ..Usage::default() });
        Ok(Embeddings {
            provider: self.id.clone(),
            model: request.model,
            raw: None,
            vectors,
            usage,
            reuse: None,
            effort: Effort::default(),
        })
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        let own = self.find(&request.model)?;
        if !matches!(own.folder.task, Task::Score { .. }) {
            return Err(not_offered("reranking", ModelKind::Rerank));
        }
        let asked = request.rerank()?;
        if asked.documents.len() > MOST_INPUTS {
            let (most, found) = (MOST_INPUTS, asked.documents.len());
            let message = format!("'documents' has {found} of them: at most {most} go into a request");
            return Err(Error::invalid("documents", message));
        }
        let truncate = truncate(&asked.extra, own)?;
        let texts = asked.texts()?;
        let (query, top_n, count) = (asked.query.clone(), asked.top_n, texts.len());
        let _place = self.place()?;
        let ask = move |encoder: &dyn Encoder, i: usize| encoder.tokens(Ask::Pair(&query, &texts[i]));
        let work = self.compute(own, count, truncate, ask, |i| format!("documents[{i}]"));
        let (scores, tokens) = cx.cancel.run_until_cancelled(work).await.ok_or_else(Error::cancelled)??;
        let score =
            |(index, made): (usize, &Vec<f32>)| Ranked { index, score: made.first().copied().map_or(0.0, f64::from) };
        let mut results: Vec<Ranked> = scores.iter().enumerate().map(score).collect();
        results.sort_by(|a, b| b.score.total_cmp(&a.score));
        results.truncate(top_n.unwrap_or(usize::MAX));
        let usage = Some(Usage { input_tokens: tokens, ..Usage::default() });
        Ok(Ranking {
            provider: self.id.clone(),
            model: request.model,
            raw: None,
            results,
            usage,
            effort: Effort::default(),
        })
    }

    async fn health(&self) -> Health {
        let models = self.models.iter().map(|own| {
            let failed = own.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (own, failed)
        });
        let models: Vec<(&Arc<Own>, Option<String>)> = models.collect();
        let wrong: Vec<String> =
            models.iter().filter_map(|(own, why)| Some(format!("{}: {}", own.config.id, why.as_ref()?))).collect();
        let shown = |(own, why): &(&Arc<Own>, Option<String>)| {
            let state = match (own.encoder.get(), why) {
                (Some(_), _) => "loaded",
                (None, Some(_)) => "failed",
                (None, None) => "loaded when first asked for",
            };
            json!({ "model": own.config.id, "state": state, "max_tokens": own.folder.max_tokens })
        };
        let facts = json!({
            "models": models.iter().map(shown).collect::<Vec<_>>(),
            "requests": self.max_requests - self.places.available_permits(),
        });
        let status = if wrong.is_empty() { Status::Ok } else { Status::Error };
        let message = if wrong.is_empty() { format!("{} models", models.len()) } else { wrong.join("; ") };
        Health { status, message: Some(message), facts: Some(facts) }
    }
}

/// Whether a longer text is cut: as the request says (`truncate`), else as the operator does.
fn truncate(extra: &Map<String, Value>, own: &Own) -> Result<bool> {
    match extra.get("truncate") {
        None | Some(Value::Null) => Ok(own.config.truncate),
        Some(Value::Bool(wanted)) => Ok(*wanted),
        Some(_) => Err(Error::invalid("truncate", "'truncate' must be true or false")),
    }
}

/// Numbers that a vector shall have, of the `size` it has.
fn dimensions(wanted: Option<u32>, size: usize, own: &Own) -> Result<usize> {
    let Some(wanted) = wanted else { return Ok(size) };
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if wanted == size || (own.config.matryoshka && (1..size).contains(&wanted)) {
        return Ok(wanted);
    }
    let can = if own.config.matryoshka { format!("1 to {size}") } else { size.to_string() };
    Err(Error::invalid("dimensions", format!("'dimensions' of this model must be {can}, found {wanted}")))
}

/// Keeps the first numbers, of the vector's old length where that was 1.
fn shorten(vector: &mut Vec<f32>, to: usize, normalise: bool) {
    vector.truncate(to);
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if normalise && length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
}
