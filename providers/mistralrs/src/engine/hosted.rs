//! A configured model, in memory or not: who loads it, who lets it go, who waits.
//!
//! Whoever asks for a model that is not in memory begins its load and waits; the load is a task of its own, so a client
//! that leaves ends nothing. Invariants: one model is loaded at a time, whoever asks; a model that is let go of is dropped
//! by its last running answer, and counts as gone once its engine thread has stopped (its weights follow in a moment); a load
//! that fails, panics or takes too long is told to those who ask, and the worker lives.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::args::{EngineArgs, ModelSpec};
use super::load::{self, Files};
use super::metrics::{Counters, Reading};
use super::model::LoadedModel;
use super::problem::{NOT_LOADED, Problem};
use crate::config::LoadWhen;

/// Whoever asks within this time after a load that failed is told why, and nothing is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// One model of the worker.
pub(crate) struct Hosted {
    pub(crate) spec: ModelSpec,
    args: Arc<EngineArgs>,
    /// They go on counting when the model is loaded again.
    pub(crate) counters: Arc<Counters>,
    stage: watch::Sender<Stage>,
    /// Held by the one who loads; the same for all models of a worker.
    turn: Arc<Mutex<()>>,
    /// Places for those who wait for a load.
    places: Semaphore,
    /// What its files said when they were looked through.
    seen: OnceLock<Seen>,
}

/// What is known of a model without loading it.
struct Seen {
    /// Those it was made for, where the files say so.
    positions: Option<usize>,
    embeds: bool,
}

/// Where a model stands.
#[derive(Clone)]
enum Stage {
    Unloaded,
    Loading,
    Loaded(Arc<LoadedModel>),
    /// Its last answers are running, or its engine is ending.
    Unloading,
    Failed(String, Instant),
}

impl Stage {
    fn name(&self) -> &'static str {
        match self {
            Self::Unloaded => "unloaded",
            Self::Loading => "loading",
            Self::Loaded(_) => "loaded",
            Self::Unloading => "unloading",
            Self::Failed(..) => "failed",
        }
    }
}

impl Hosted {
    pub(crate) fn new(spec: ModelSpec, args: &Arc<EngineArgs>, turn: &Arc<Mutex<()>>) -> Arc<Self> {
        Arc::new(Self {
            spec,
            counters: Arc::default(),
            stage: watch::Sender::new(Stage::Unloaded),
            turn: Arc::clone(turn),
            places: Semaphore::new(args.max_queue + 1),
            seen: OnceLock::new(),
            args: Arc::clone(args),
        })
    }

    /// Looks through the model's files.
    ///
    /// # Errors
    /// One sentence naming the model, and the file that is missing, broken or cut short.
    pub(crate) fn look(&self) -> Result<Files, String> {
        let files = Files::open(&self.spec).map_err(|cause| format!("model '{}': {cause}", self.spec.id))?;
        self.seen.get_or_init(|| Seen { positions: files.positions(), embeds: files.embeds() });
        Ok(files)
    }

    /// The model for one request, loaded first where it is not in memory.
    ///
    /// # Errors
    /// 503 naming the model where it could not be loaded; 429 where too many wait for that already.
    pub(crate) async fn get(self: &Arc<Self>) -> Result<Arc<LoadedModel>, Problem> {
        if let Some(model) = self.loaded() {
            model.touch();
            return Ok(model);
        }
        let Ok(_place) = self.places.try_acquire() else {
            self.counters.refused.fetch_add(1, Relaxed);
            return Err(Problem::queue_full(self.args.max_queue, 10));
        };
        // What is wrong with the operator's files is for the operator.
        let named = |mut problem: Problem| {
            if problem.code == Some(NOT_LOADED) {
                problem.message = format!("model '{}' could not be loaded; the operator's log says why", self.spec.id);
            }
            problem
        };
        self.brought(false).await.map_err(named)
    }

    /// Brings the model into memory, also when that failed a moment ago.
    ///
    /// # Errors
    /// 503 naming the model and why.
    pub(crate) async fn load(self: &Arc<Self>) -> Result<Arc<LoadedModel>, Problem> {
        self.brought(true).await
    }

    async fn brought(self: &Arc<Self>, mut anew: bool) -> Result<Arc<LoadedModel>, Problem> {
        let mut stages = self.stage.subscribe();
        loop {
            // Nothing of the stage is held while this waits: the model must be free to go.
            let begin = match &*stages.borrow_and_update() {
                Stage::Loaded(model) => {
                    model.touch();
                    return Ok(Arc::clone(model));
                }
                Stage::Failed(cause, at) if !anew && at.elapsed() < RETRY => {
                    return Err(Problem::not_loaded(cause, RETRY.saturating_sub(at.elapsed())));
                }
                Stage::Unloaded | Stage::Failed(..) => true,
                Stage::Loading | Stage::Unloading => false,
            };
            if begin {
                self.begin_load();
            }
            // Whatever failed from here on failed for this caller.
            anew = false;
            if stages.changed().await.is_err() {
                return Err(Problem::unavailable("the worker is ending"));
            }
        }
    }

    fn begin_load(self: &Arc<Self>) {
        let begun = self.stage.send_if_modified(|stage| {
            let out = matches!(stage, Stage::Unloaded | Stage::Failed(..));
            if out {
                *stage = Stage::Loading;
            }
            out
        });
        if !begun {
            return;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move {
            let stage = match this.read().await {
                Ok((model, began)) => {
                    let (id, context) = (&this.spec.id, model.context);
                    tracing::info!(model = %id, context, "loaded in {:.1} s", began.elapsed().as_secs_f64());
                    this.counters.loads.fetch_add(1, Relaxed);
                    this.watch_idleness(&model);
                    Stage::Loaded(model)
                }
                Err(cause) => {
                    tracing::error!("{cause}");
                    this.counters.load_failures.fetch_add(1, Relaxed);
                    Stage::Failed(cause, Instant::now())
                }
            };
            this.stage.send_replace(stage);
        });
    }

    /// Loads the model in its turn; when that began.
    async fn read(self: &Arc<Self>) -> Result<(Arc<LoadedModel>, Instant), String> {
        let (limit, named) = (self.args.load_timeout_s, |cause: String| format!("model '{}': {cause}", self.spec.id));
        let late = |_| named(format!("other models were being loaded for {limit:?}"));
        let turn = timeout(limit, Arc::clone(&self.turn).lock_owned()).await.map_err(late)?;
        let (this, began) = (Arc::clone(self), Instant::now());
        // A loader cannot be stopped: one that takes too long keeps its turn until it ends, and what it made is dropped.
        let reading = tokio::spawn(async move {
            let _turn = turn;
            let looking = Arc::clone(&this);
            let files = tokio::task::spawn_blocking(move || looking.look()).await;
            let files = files.map_err(|cause| format!("model '{}': looking at its files: {cause}", this.spec.id))??;
            load::load(&this.spec, files, &this.args, &this.counters).await.map(Arc::new)
        });
        match ended(limit, reading).await {
            Ok(read) => read.map(|model| (model, began)),
            Err(cause) => Err(named(cause)),
        }
    }

    /// Lets the model go once its running answers have ended, and waits for that. Once: who waits for it may load it again.
    pub(crate) async fn unload(self: &Arc<Self>) {
        let mut stages = self.stage.subscribe();
        let mut leaving = false;
        loop {
            let loaded = match &*stages.borrow_and_update() {
                Stage::Unloading => {
                    leaving = true;
                    false
                }
                _ if leaving => return,
                Stage::Unloaded | Stage::Failed(..) => return,
                Stage::Loading => false,
                Stage::Loaded(_) => true,
            };
            if loaded {
                leaving = self.begin_unload(|_| true);
            }
            if stages.changed().await.is_err() {
                return;
            }
        }
    }

    /// Lets go of a model of which `due` holds; false where there is none.
    fn begin_unload(self: &Arc<Self>, due: impl Fn(&Arc<LoadedModel>) -> bool) -> bool {
        let mut taken = None;
        self.stage.send_if_modified(|stage| {
            if !matches!(stage, Stage::Loaded(model) if due(model)) {
                return false;
            }
            taken = Some(std::mem::replace(stage, Stage::Unloading));
            true
        });
        let Some(Stage::Loaded(model)) = taken else { return false };
        let gone = model.gone();
        let this = Arc::clone(self);
        tokio::spawn(async move {
            gone.await;
            tracing::info!(model = %this.spec.id, "let go");
            this.stage.send_replace(Stage::Unloaded);
        });
        true
    }

    /// Lets go of the model when nobody has asked it for as long as its configuration says.
    fn watch_idleness(self: &Arc<Self>, model: &Arc<LoadedModel>) {
        let Some(after) = self.spec.idle_unload() else { return };
        let (this, watched) = (Arc::clone(self), Arc::downgrade(model));
        tokio::spawn(async move {
            let mut wait = after;
            loop {
                tokio::time::sleep(wait).await;
                let Some(idle) = watched.upgrade().map(|model| model.idle()) else { return };
                // Under the lock of the stage nobody comes by it, so one holder is the stage itself.
                let due = |model: &Arc<LoadedModel>| Arc::strong_count(model) == 1 && model.idle() >= after;
                if this.begin_unload(due) {
                    return;
                }
                wait = if idle < after { after - idle } else { after };
            }
        });
    }

    pub(crate) fn at_start(&self) -> bool {
        self.spec.load != Some(LoadWhen::OnDemand)
    }

    /// Whether its files are those of a model for embeddings.
    pub(crate) fn embeds(&self) -> bool {
        self.seen.get().is_some_and(|seen| seen.embeds)
    }

    fn loaded(&self) -> Option<Arc<LoadedModel>> {
        match &*self.stage.borrow() {
            Stage::Loaded(model) => Some(Arc::clone(model)),
            _ => None,
        }
    }

    /// False while its engine comes back from a failure; a model that is not in memory is fine.
    pub(crate) fn well(&self) -> bool {
        self.loaded().is_none_or(|model| model.alive.load(Relaxed))
    }

    /// Tokens of prompt and answer together: what the loaded model takes, else what its files say it takes at most.
    pub(crate) fn window(&self) -> Option<usize> {
        let said = || [self.seen.get()?.positions, self.args.max_model_len].into_iter().flatten().min();
        self.loaded().map(|model| model.context).or_else(said)
    }

    /// The model in `/health`.
    pub(crate) fn status(&self) -> Value {
        let stage = self.stage.borrow().clone();
        let mut told =
            json!({"id": self.spec.id, "state": stage.name(), "ready": false, "running": 0, "queue_depth": 0});
        match &stage {
            Stage::Loaded(model) => {
                told["ready"] = json!(model.alive.load(Relaxed));
                told["running"] = json!(model.admission.running());
                told["queue_depth"] = json!(model.admission.waiting());
                told["max_model_len"] = json!(model.context);
                told["warm_up_ms"] =
                    json!(model.warmed.map(|took| took.as_secs() * 1000 + u64::from(took.subsec_millis())));
            }
            Stage::Failed(cause, _) => told["error"] = json!(cause),
            _ => {}
        }
        told
    }

    pub(crate) fn reading(&self) -> Reading<'_> {
        let model = self.loaded();
        Reading {
            model: &self.spec.id,
            counters: &self.counters,
            running: model.as_ref().map_or(0, |model| model.admission.running()),
            waiting: model.as_ref().map_or(0, |model| model.admission.waiting()),
            ready: model.is_some_and(|model| model.alive.load(Relaxed)),
        }
    }
}

/// What a task said; an error where it said nothing within `limit`, or panicked.
async fn ended<T>(limit: Duration, task: JoinHandle<T>) -> Result<T, String> {
    match timeout(limit, task).await {
        Ok(Ok(said)) => Ok(said),
        Ok(Err(_panic)) => Err("loading it panicked; the last words are above".into()),
        Err(_late) => Err(format!("it was not loaded within {limit:?} (--load-timeout-s)")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use futures::FutureExt;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        engine: EngineArgs,
    }

    /// The demo model as `tiny`, not in memory.
    pub(crate) fn tiny(options: &[&str]) -> Arc<Hosted> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services/gateway/demo/model");
        let spec = ModelSpec::parse(&format!("tiny={}", folder.display())).unwrap();
        let line = [&["engine", "--model", "unused=/", "--socket", "/unused", "--warm-up", "false"], options].concat();
        let line: Line = clap::Parser::parse_from(line);
        Hosted::new(spec, &Arc::new(line.engine), &Arc::default())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn letting_go_answers_once_it_is_gone_though_others_bring_it_back() {
        let hosted = tiny(&[]);
        let answer = hosted.get().await.unwrap();
        let mut unload = Box::pin(hosted.unload());
        assert!(unload.as_mut().now_or_never().is_none(), "an answer runs");
        let waiting: Vec<_> =
            (0..4).map(|_| Arc::clone(&hosted)).map(|own| tokio::spawn(async move { own.get().await })).collect();
        drop(answer);
        let mut held = Vec::new();
        for one in waiting {
            held.push(one.await.unwrap().unwrap());
        }
        assert!(timeout(Duration::from_secs(60), unload).await.is_ok(), "it waits for the answers that came after it");
        assert_eq!((hosted.counters.loads.load(Relaxed), held.len()), (2, 4));
    }

    #[tokio::test]
    async fn a_load_that_panics_or_hangs_is_an_error() {
        let panics: JoinHandle<()> = tokio::spawn(async { panic!("on purpose") });
        assert!(ended(Duration::from_secs(60), panics).await.unwrap_err().contains("panicked"));
        let hangs: JoinHandle<()> = tokio::spawn(std::future::pending());
        assert!(ended(Duration::from_millis(1), hangs).await.unwrap_err().contains("--load-timeout-s"));
        assert_eq!(ended(Duration::from_secs(60), tokio::spawn(async { 7 })).await, Ok(7));
    }
}
