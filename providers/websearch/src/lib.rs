//! The web as a tool: one question, a few pages with their addresses, by Brave, Tavily or SearXNG.
//!
//! Invariants: the engine is the operator's and is asked as such (it may stand inside); a page's words are handed on as
//! text, each under its address, and no page is fetched; the engine's key is in no answer.

mod config;
mod engine;
mod results;

use std::sync::Arc;

use async_trait::async_trait;
use frontdesk_api::{
    Cx, Kind, ProviderDef, Result,
    chat::ToolCall,
    provider::{Build, Setting},
    tools::{Effect, Inspected, Outcome, Risk, Runs, ToolDef, ToolHost, ToolProvider, ToolResult, ToolSource},
};
use frontdesk_http::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use config::Config;
use engine::{Engine, Kind as Wire};

/// The types this crate offers to configurations.
pub const PROVIDERS: &[ProviderDef] = &[
    ProviderDef {
        kind: "brave",
        ogx_type: "remote::brave-search",
        about: "Web search by Brave's API.",
        build: Build::Tools(|_, config| build(Wire::Brave, config)),
    },
    ProviderDef {
        kind: "tavily",
        ogx_type: "remote::tavily-search",
        about: "Web search by Tavily's API.",
        build: Build::Tools(|_, config| build(Wire::Tavily, config)),
    },
    ProviderDef {
        kind: "searxng",
        ogx_type: "remote::searxng",
        about: "Web search by a SearXNG of your own.",
        build: Build::Tools(|_, config| build(Wire::Searxng, config)),
    },
];

/// The one tool of it.
const TOOL: &str = "web_search";

/// The longest question, in characters.
const QUERY: usize = 400;

fn build(kind: Wire, config: Value) -> Result<Arc<dyn ToolProvider>> {
    Ok(Arc::new(WebSearch::new(Config::read(kind, config)?)?))
}

/// A search engine as a tool.
struct WebSearch {
    engine: Engine,
    client: Client,
}

#[derive(Deserialize)]
struct Asked {
    query: String,
}

impl WebSearch {
    fn new(config: Config) -> Result<Self> {
        let client = Client::new(config.limits());
        Ok(Self { engine: Engine::new(config)?, client })
    }
}

#[async_trait]
impl ToolProvider for WebSearch {
    async fn inspect(&self, _: &Cx, source: &ToolSource) -> Result<Inspected> {
        let tool = ToolDef {
            name: TOOL.into(),
            wire_name: TOOL.into(),
            toolgroup: source.toolgroup.clone(),
            description: "Search the web. Answers with the best pages: title, address and an excerpt of each.".into(),
            schema: json!({ "type": "object", "additionalProperties": false, "required": ["query"], "properties": {
                "query": { "type": "string", "description": "What to search for.", "minLength": 1, "maxLength": QUERY } } }),
            runs: Runs::Server,
            effect: Effect::None,
            risk: Risk::Read,
            bound_args: Default::default(),
            alone: false,
            hash: format!("{TOOL}/1"),
        };
        Ok(Inspected { tools: vec![tool], hash: format!("{TOOL}/1"), ..Inspected::default() })
    }

    /// As Llama Stack's clients know it.
    fn builtin(&self) -> Option<&'static str> {
        Some("builtin::websearch")
    }

    fn is_third_party(&self) -> bool {
        true
    }

    async fn call(&self, cx: &Cx, _: &ToolSource, call: &ToolCall, _: Arc<dyn ToolHost>) -> Result<Outcome> {
        let failed = |message: &str| Ok(Outcome::Done(ToolResult::error(message)));
        let query = match serde_json::from_str::<Asked>(&call.arguments) {
            Ok(asked) if !asked.query.trim().is_empty() => asked.query,
            _ => return failed("'query' must be a text"),
        };
        match self.engine.ask(cx, &self.client, query.trim()).await {
            Ok(found) => Ok(Outcome::Done(results::told(query.trim(), &found))),
            // The model can say that it could not look; a turn need not end for it.
            Err(e) if matches!(e.kind, Kind::Upstream | Kind::Timeout | Kind::RateLimited) => failed(&e.message),
            Err(e) => Err(e),
        }
    }
}

/// A provider out of a configuration, for the tests.
#[doc(hidden)]
pub fn provider(setting: &Setting, kind: &str, config: Value) -> Result<Arc<dyn ToolProvider>> {
    let def = PROVIDERS.iter().find(|def| def.kind == kind);
    match def.map(|def| def.build) {
        Some(Build::Tools(build)) => build(setting, config),
        _ => Err(frontdesk_api::Error::invalid("type", format!("no engine is called '{kind}'"))),
    }
}
