//! From configuration to services: the one place that names provider crates.
//!
//! Building is quick and offline; a provider does its heavy set-up when it is first used. Invariant: an
//! entry that cannot be built stops the start with the path of its key and what is known instead.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use frontdesk_accounts::{Accounts, Pepper};
use frontdesk_agents::{Agents, Bounds, Deps, Pace, as_model::AgentModels};
use frontdesk_api::{
    Clock, Cx, Error, Ids, Inference, ProviderDef, Result,
    clock::SystemClock,
    code,
    id::RandomIds,
    provider::{Build, Setting},
    tools::ToolProvider,
};
use frontdesk_batches::Batches;
use frontdesk_inference::{Registered, Reusing, Route, Router};
use frontdesk_ledger::{Given, Ledger, Metered, Prices};
use frontdesk_memory::{At, Knowledge, Limits, Shelf};
use frontdesk_safety::{Entry, Shields};
use frontdesk_store::{Options, Store};
use frontdesk_tools::{ComponentBytes, KvLimits, Registry};
use frontdesk_vectors::FullText;
use futures::StreamExt;
use http::{HeaderMap, Method, Uri};

use crate::{
    app::{App, Inner, Part, Provider},
    cli::models::{Got, Web},
    config::{Config, Hub, Role, nearest},
    http::{batches::answers::Answers, mcp::Calls, room::Room},
    provider_data,
    stored::Stored,
    telemetry::{Collector, Posted, Telemetry},
};

/// Every provider type of this build: one line a crate.
#[must_use]
pub fn known() -> Vec<&'static ProviderDef> {
    let crates: &[&[ProviderDef]] = &[
        frontdesk_openai::PROVIDERS,
        frontdesk_anthropic::PROVIDERS,
        frontdesk_gemini::PROVIDERS,
        frontdesk_bedrock::PROVIDERS,
        frontdesk_blobs::PROVIDERS,
        frontdesk_openapi::PROVIDERS,
        frontdesk_websearch::PROVIDERS,
        frontdesk_mcp::PROVIDERS,
        frontdesk_shields::PROVIDERS,
        #[cfg(feature = "embeddings")]
        frontdesk_embeddings::PROVIDERS,
        #[cfg(feature = "mistralrs")]
        frontdesk_mistralrs::PROVIDERS,
        #[cfg(feature = "wasm")]
        frontdesk_wasm::PROVIDERS,
    ];
    crates.iter().flat_map(|defs| defs.iter()).collect()
}

/// Types that a build may lack, and the cargo feature that brings each.
const OPTIONAL: [(&str, &str); 4] =
    [("embeddings", "embeddings"), ("mistralrs", "mistralrs"), ("wasm", "wasm"), ("code_interpreter", "wasm")];

/// What the machine lends: time, chance, the program to start workers from. Tests bring their own.
pub struct Host {
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub program: PathBuf,
    /// For sockets of workers.
    pub runtime_dir: PathBuf,
}

impl Host {
    #[must_use]
    pub fn real() -> Self {
        let runtime_dir = std::env::temp_dir().join(format!("frontdesk-{}", std::process::id()));
        Self {
            clock: Arc::new(SystemClock),
            ids: Arc::new(RandomIds),
            program: std::env::current_exe().unwrap_or_else(|_| "frontdesk".into()),
            runtime_dir,
        }
    }

    fn setting(&self, id: &str, config: &Config) -> Setting {
        Setting {
            id: id.to_owned(),
            data_dir: config.data_dir.clone(),
            runtime_dir: self.runtime_dir.clone(),
            program: self.program.clone(),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
        }
    }
}

/// Opens the store and builds every service over the configured providers.
///
/// # Errors
/// `Invalid` with the path of the configuration key; what [`Store::open`] says of the database.
pub async fn wire(config: Config, host: &Host) -> Result<App> {
    let built = Built::of(&config, host)?;
    let store = open(&config).await?;
    let pepper = Pepper::at(&config.data_dir)?;
    assemble(config, host, store, pepper, built).await
}

/// Opens the configured database.
///
/// # Errors
/// As [`Store::open`].
pub async fn open(config: &Config) -> Result<Store> {
    let options = Options { database_url: config.database_url.clone(), ..Options::at(&config.data_dir) };
    Store::open(&options).await
}

/// The keys of a configuration's database, for commands beside a stopped server.
///
/// # Errors
/// As [`Store::open`]; `Conflict` with the code `data_dir_in_use` while a server runs.
pub async fn accounts(config: &Config, host: &Host) -> Result<(Accounts, Store)> {
    let store = open(config).await?;
    let pepper = Pepper::at(&config.data_dir)?;
    let accounts = Accounts::new(store.clone(), pepper, host.clock.clone(), host.ids.clone()).await?;
    Ok((accounts, store))
}

/// The providers of a configuration.
#[derive(Default)]
pub struct Built {
    pub inference: BTreeMap<String, Arc<dyn Inference>>,
    pub tools: BTreeMap<String, Arc<dyn ToolProvider>>,
    pub shields: Vec<Entry>,
    /// Where contents of files are; the first takes what is new.
    pub files: Vec<(String, At)>,
    /// All of them, as people see them.
    pub providers: Vec<Provider>,
}

impl Built {
    /// Builds every entry.
    ///
    /// # Errors
    /// As [`wire`].
    pub fn of(config: &Config, host: &Host) -> Result<Self> {
        let mut built = Self::default();
        let lists = &config.providers;
        for (i, entry) in lists.inference.iter().enumerate() {
            let at = Listed { list: "inference", i, id: &entry.id, kind: &entry.kind };
            let (def, build) = at.find(|build| if let Build::Inference(build) = build { Some(build) } else { None })?;
            let inference = build(&host.setting(at.id, config), entry.config.clone()).map_err(|e| at.placed(e))?;
            built.inference.insert(entry.id.clone(), inference.clone());
            built.list("inference", at.id, def.ogx_type, Part::Inference(inference));
        }
        for (i, entry) in lists.tools.iter().enumerate() {
            let at = Listed { list: "tools", i, id: &entry.id, kind: &entry.kind };
            let (def, build) = at.find(|build| if let Build::Tools(build) = build { Some(build) } else { None })?;
            let tools = build(&host.setting(at.id, config), entry.config.clone()).map_err(|e| at.placed(e))?;
            built.tools.insert(entry.id.clone(), tools);
            built.list("tool_runtime", at.id, def.ogx_type, Part::Stateless);
        }
        for (i, entry) in lists.memory.iter().enumerate() {
            let at = Listed { list: "memory", i, id: &entry.id, kind: &entry.kind };
            // The one kind so far; it searches inside the store and so is built over it.
            if entry.kind != FULL_TEXT {
                return Err(at.unknown(&[FULL_TEXT]));
            }
            if !entry.config.is_null() {
                return Err(at.placed(Error::invalid("", format!("'{FULL_TEXT}' has no settings"))));
            }
            built.list("vector_io", at.id, "inline::vectors", Part::Stateless);
        }
        for (i, entry) in lists.safety.iter().enumerate() {
            let at = Listed { list: "safety", i, id: &entry.id, kind: &entry.kind };
            let (def, build) = at.find(|build| if let Build::Shield(build) = build { Some(build) } else { None })?;
            let shield = build(&host.setting(at.id, config), entry.config.clone()).map_err(|e| at.placed(e))?;
            let (id, kind) = (entry.id.clone(), def.kind.to_owned());
            built.shields.push(Entry { id, kind, shield, stages: entry.stages.clone(), on_error: entry.on_error });
            built.list("safety", at.id, def.ogx_type, Part::Stateless);
        }
        for (i, entry) in lists.files.iter().enumerate() {
            let at = Listed { list: "files", i, id: &entry.id, kind: &entry.kind };
            if entry.kind == IN_ROWS {
                if !entry.config.is_null() {
                    return Err(at.placed(Error::invalid("", format!("'{IN_ROWS}' has no settings"))));
                }
                built.files.push((entry.id.clone(), None));
                built.list("files", at.id, "inline::database", Part::Stateless);
                continue;
            }
            let found = at.find(|build| if let Build::Blobs(build) = build { Some(build) } else { None });
            let (def, build) = found.map_err(|_| {
                let kinds = known().into_iter().filter(|def| matches!(def.build, Build::Blobs(_))).map(|def| def.kind);
                at.unknown(&kinds.chain([IN_ROWS]).collect::<Vec<_>>())
            })?;
            let blobs = build(&host.setting(at.id, config), entry.config.clone()).map_err(|e| at.placed(e))?;
            built.files.push((entry.id.clone(), Some(blobs.clone())));
            built.list("files", at.id, def.ogx_type, Part::Files(blobs));
        }
        Ok(built)
    }

    fn list(&mut self, api: &'static str, id: &str, ogx_type: &'static str, part: Part) {
        self.providers.push(Provider { api, id: id.to_owned(), ogx_type, part });
    }
}

/// The `type:` of the full-text search inside the store.
const FULL_TEXT: &str = "vectors";

/// The `type:` of contents in the rows of their files.
const IN_ROWS: &str = "database";

/// An entry and its place in the configuration, for errors.
struct Listed<'c> {
    list: &'static str,
    i: usize,
    id: &'c str,
    kind: &'c str,
}

impl Listed<'_> {
    fn key(&self, below: &str) -> String {
        format!("providers.{}[{}].{below}", self.list, self.i)
    }

    /// The definition of the entry's type, which must do what this list is for.
    fn find<B>(&self, fits: impl Fn(Build) -> Option<B>) -> Result<(&'static ProviderDef, B)> {
        let mut names = vec![];
        for def in known() {
            match fits(def.build) {
                Some(build) if def.kind == self.kind => return Ok((def, build)),
                Some(_) => names.push(def.kind),
                None => {}
            }
        }
        Err(self.unknown(&names))
    }

    fn unknown(&self, known: &[&str]) -> Error {
        let kind = self.kind;
        let hint = if let Some((_, feature)) = OPTIONAL.into_iter().find(|(optional, _)| *optional == kind) {
            format!("; this build was made without it (cargo feature '{feature}')")
        } else {
            nearest(kind, known.iter().copied()).map(|near| format!(", did you mean '{near}'?")).unwrap_or_default()
        };
        let key = self.key("type");
        let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("{key}: unknown provider type '{kind}'{hint} (known here: {there})");
        Error::invalid(key, message)
    }

    /// An error of the provider about its `config`, with the whole path of the key.
    fn placed(&self, e: Error) -> Error {
        let below = e
            .param
            .as_deref()
            .filter(|p| !p.is_empty() && *p != ".")
            .map_or_else(|| "config".to_owned(), |key| format!("config.{key}"));
        let key = self.key(&below);
        Error { message: format!("{key}: {}", e.message), param: Some(key), ..e }
    }
}

/// The services over an open store and built providers.
pub(crate) async fn assemble(config: Config, host: &Host, store: Store, pepper: Pepper, built: Built) -> Result<App> {
    let (clock, ids) = (&host.clock, &host.ids);
    let named: Vec<String> = built.inference.keys().cloned().collect();
    let router = Router::new(built.inference, config.models.clone()).map_err(|e| {
        let key = e.param.clone().unwrap_or_default();
        Error { message: format!("{key}: {}", e.message), ..e }
    })?;
    // Drawn at random even where ids are counted: a row of the books is never another's.
    let ledger = Ledger::open(store.clone(), prices(&config)?, clock.clone(), &RandomIds).await?;
    let accounts = Accounts::new(store.clone(), pepper, clock.clone(), ids.clone()).await?;
    let safety = Shields::new(built.shields)?;
    let limits = Limits { max_bytes: config.limits.max_upload_mb.saturating_mul(1 << 20), ..Limits::default() };
    let shelf = Shelf::new(store.clone(), ids.clone(), built.files);
    let knowledge = Knowledge::new(store.clone(), FullText::shared(store.clone()), clock.clone(), ids.clone())
        .with_limits(limits)
        .with_shelf(shelf.clone());
    // The first of the configuration that the operator opens for it.
    let opened = |id: &&String| built.tools.get(*id).is_some_and(|provider| provider.asks_named());
    let servers = config.providers.tools.iter().map(|entry| &entry.id).find(opened).cloned();
    let tools = Arc::new(Registry::new(frontdesk_tools::Setting {
        store: store.clone(),
        providers: built.tools,
        bodies: Arc::new(Components(knowledge.clone())),
        seal: Arc::new(accounts.clone()),
        servers,
        clock: clock.clone(),
        ids: ids.clone(),
        limits: KvLimits::default(),
        egress: Arc::new(frontdesk_http::Outside::new(config.egress.networks()?)),
        secrets: Arc::new(accounts.clone()),
    }));
    let (router, safety) = (Arc::new(router), Arc::new(safety));
    let routes = config.models.iter().map(|model| model.id.clone());
    let models = Registered::new(router.clone(), store.clone(), clock.clone(), named, routes);
    // The edge and the agents ask through the meter, so no call goes by it.
    let telemetry = Telemetry::new(&config.telemetry, clock.now())?;
    let metered: Arc<dyn Inference> = Arc::new(Metered::new(Arc::new(models.clone()), ledger.clone()));
    // Answers that are kept or shared pass no meter but the one that books what costs nothing.
    let inference = telemetry.observed(match Reusing::over(metered.clone(), &config.models) {
        Some(reusing) => Arc::new(Given::new(Arc::new(reusing), ledger.clone())),
        None => metered,
    });
    let agents = Agents::new(Deps {
        store: store.clone(),
        inference: inference.clone(),
        tools: tools.clone(),
        memory: Arc::new(knowledge.clone()),
        safety: safety.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        seal: Arc::new(accounts.clone()),
        observer: telemetry.turns(),
        dispatch: store.dispatch(),
        pace: pace(&config),
        bounds: bounds(&config),
        fault: None,
    });
    // Whoever names a model may name an agent; agents themselves name models.
    let inference: Arc<dyn Inference> = Arc::new(AgentModels::over(inference, agents.clone()));
    let batches = Batches::new(frontdesk_batches::Deps {
        store: store.clone(),
        contents: Arc::new(shelf),
        lines: Arc::new(Answers { inference: inference.clone(), clock: clock.clone() }),
        clock: clock.clone(),
        ids: ids.clone(),
        pace: batch_pace(&config),
    });
    Ok(App::new(Inner {
        uploads: Room::of_uploads(&config.limits),
        bodies: Room::of_bodies(&config.limits),
        stored: Stored::open(&config.stored_completions, store.clone(), clock.clone(), ids.clone()),
        telemetry,
        takes_client_keys: provider_data::is_taken(&config),
        reuses_answers: config.models.iter().any(Route::reuses),
        config,
        clock: clock.clone(),
        ids: ids.clone(),
        store,
        accounts,
        inference,
        models,
        router,
        ledger,
        safety,
        tools,
        knowledge,
        agents,
        mcp: Calls::default(),
        batches,
        providers: built.providers,
        document: OnceLock::new(),
    }))
}

/// What the configured models charge.
fn prices(config: &Config) -> Result<Prices> {
    let entries = &config.providers.inference;
    let addresses: Vec<Option<String>> = entries
        .iter()
        .map(|entry| match entry.kind.as_str() {
            // Its address may be known by the name of a preset alone.
            "openai" => frontdesk_openai::base_url(&entry.config),
            _ => entry.config.get("base_url").and_then(serde_json::Value::as_str).map(str::to_owned),
        })
        .collect();
    let providers: Vec<frontdesk_ledger::Provider<'_>> = entries
        .iter()
        .zip(&addresses)
        .map(|(entry, base_url)| frontdesk_ledger::Provider {
            id: &entry.id,
            kind: &entry.kind,
            base_url: base_url.as_deref(),
        })
        .collect();
    let first = |model: &Route| Some((model.id.clone(), model.targets.first()?.model.clone()));
    let routes: Vec<(String, String)> = config.models.iter().filter_map(first).collect();
    Prices::new(&providers, &routes, &config.prices)
}

/// How often the agents' room renews and looks, from the operator's lease.
fn pace(config: &Config) -> Pace {
    let lease = Duration::from_secs(config.turns.lease_s);
    let wait = Duration::from_secs(config.turns.input_wait_h.saturating_mul(60 * 60));
    // What a lost word would have told is found out by then, however long the lease.
    let renew = (lease / 3).min(Pace::default().renew);
    let question = Duration::from_secs(config.turns.question_wait_s);
    Pace { lease, renew, wait, question, ..Pace::default() }
}

/// How many turns are worked on here, and how many may stand in line.
fn bounds(config: &Config) -> Bounds {
    let turns = &config.turns;
    Bounds {
        at_once: if config.role == Role::Gateway { 0 } else { turns.at_once },
        in_line_of_tenant: turns.in_line_of_tenant.into(),
        in_line: turns.in_line.into(),
        attempts: turns.attempts.into(),
        ..Bounds::default()
    }
}

/// How many lines of batches are asked at once, and how long a batch may go without a sign of its process.
fn batch_pace(config: &Config) -> frontdesk_batches::Pace {
    let lease = Duration::from_secs(config.batches.lease_s);
    frontdesk_batches::Pace {
        lines_at_once: config.batches.lines_at_once,
        keep_results: config.batches.keep_results(),
        lease,
        renew: lease / 3,
        ..frontdesk_batches::Pace::default()
    }
}

/// The way to the operator's collector, which may be anywhere: through the egress client.
#[must_use]
pub fn collector() -> Arc<dyn Collector> {
    let limits = frontdesk_http::Limits {
        head: Duration::from_secs(10),
        idle: Duration::from_secs(10),
        ..frontdesk_http::Limits::default()
    };
    Arc::new(ToCollector(frontdesk_http::Client::new(limits)))
}

struct ToCollector(frontdesk_http::Client);

/// The most of a collector's answer that is read, in bytes; nothing in it is needed.
const COLLECTORS_ANSWER: usize = 64 << 10;

#[async_trait]
impl Collector for ToCollector {
    async fn post(&self, to: &Uri, headers: &HeaderMap, body: Bytes) -> Result<Posted> {
        let cx = Cx::internal("", "telemetry");
        let mut answer = self.0.send(&cx, Method::POST, to, headers.clone(), body).await?;
        let retry_after = answer.retry_after();
        let status = answer.status.as_u16();
        // Read to its end, so that the connection serves the next one.
        answer.body.whole(COLLECTORS_ANSWER).await?;
        Ok(Posted { status, retry_after })
    }
}

/// The way to a hub of models, or to the server `at` that someone named: through the egress client, which follows redirects
/// under rules. The hub's token goes to the hub alone.
///
/// # Errors
/// `Invalid` on `hub.token`; as [`frontdesk_http::Follow::new`].
pub async fn web(hub: &Hub, at: &Uri) -> Result<Arc<dyn Web>> {
    let limits = frontdesk_http::Limits {
        connect: Duration::from_secs(10),
        head: Duration::from_secs(60),
        idle: Duration::from_secs(60),
    };
    let bearer = |token: &str| frontdesk_http::setting::secret("hub.token", &format!("Bearer {token}"));
    let secret = token_for(hub, at).map(bearer).transpose()?;
    Ok(Arc::new(ToHub(frontdesk_http::Follow::new(at, secret, limits).await?)))
}

/// The hub's token, where `at` is the hub's own server.
#[must_use]
pub fn token_for<'h>(hub: &'h Hub, at: &Uri) -> Option<&'h str> {
    let is_hub = hub.endpoint.parse().is_ok_and(|own: Uri| frontdesk_http::follow::is_same(&own, at));
    hub.token().filter(|_| is_hub)
}

/// Scheme, host and port of an address: what may be shown of it.
#[must_use]
pub fn server_of(at: &Uri) -> String {
    frontdesk_http::place(at)
}

struct ToHub(frontdesk_http::Follow);

#[async_trait]
impl Web for ToHub {
    async fn get(&self, at: &Uri, headers: &HeaderMap) -> Result<Got> {
        let answer = self.0.get(&Cx::internal("", "models"), at, headers).await?;
        let body = futures::stream::unfold(answer.body, |mut body| async move {
            let piece = body.piece().await.transpose()?;
            Some((piece, body))
        });
        Ok(Got { status: answer.status.as_u16(), headers: answer.headers, body: body.boxed() })
    }
}

/// Components are files, and so is what code writes: both are in the knowledge room.
struct Components(Knowledge);

#[async_trait]
impl ComponentBytes for Components {
    async fn load(&self, cx: &Cx, file_id: &str) -> Result<Bytes> {
        self.0.load_content(cx, file_id).await
    }

    async fn load_named(&self, cx: &Cx, file_id: &str) -> Result<(String, Bytes)> {
        let container = cx.workspace.as_ref().and_then(|workspace| workspace.container.as_ref());
        if let (Some(container), true) = (container, file_id.starts_with("cfile_")) {
            return self.0.load_container_file(cx, container, file_id).await;
        }
        let name = self.0.load_file(cx, file_id).await?.filename;
        Ok((name, self.0.load_content(cx, file_id).await?))
    }

    async fn files(&self, cx: &Cx, run: &str) -> Result<Vec<code::File>> {
        self.0.code_files(cx, run).await
    }

    async fn keep_written(
        &self,
        cx: &Cx,
        run: &str,
        files: Vec<code::Written>,
        bounds: &code::Bounds,
    ) -> Result<Option<code::Stored>> {
        self.0.keep_written(cx, run, files, bounds).await
    }

    async fn stays(&self, cx: &Cx, file_id: &str) -> Result<bool> {
        Ok(self.0.load_file(cx, file_id).await?.expires_at.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_has_the_prices_of_its_own_vendor() {
        let yaml = "providers: { inference: [ { id: o, type: openai, config: { preset: openai, api_key: k } }, \
            { id: g, type: openai, config: { preset: groq, api_key: k } } ] }\n\
            prices: [ { model: g/mine, like: openai/gpt-4o-mini } ]";
        let config = crate::config::parse(yaml, &|_| None).expect("a good configuration");
        let prices = prices(&config).expect("prices");
        let priced = |provider| prices.find(provider, "gpt-4o-mini", 0).is_some();
        assert!(priced("o") && !priced("g"));
        assert_eq!(prices.find("g", "mine", 0), prices.find("o", "gpt-4o-mini", 0));
    }
}
