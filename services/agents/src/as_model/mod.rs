//! An agent as a model: `agent/NAME` wherever a chat names its model.
//!
//! A chat with an agent is a turn. What the client sends is all that the agent knows of the conversation; the turn ends
//! where the client has functions to run, and its answer is told as that of any model, so every dialect, batches and
//! kept answers are served by the same code. Nobody can find the turn again, so it is stopped and deleted once its
//! reader has read it or has left, unless the client gave a key to repeat its request by.
//!
//! Stands around the models as one more [`Inference`]. Invariants: the agents' own calls go to the models behind it, so
//! an agent is no agent's model; a call of a model is metered once, there.

mod ask;
mod tell;

use std::{collections::HashSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use frontdesk_api::{
    ChatReply, ChatRequest, Cx, Effort, Error, Frame, Inference, Result,
    chat::{Dialect, ReplyHead},
    embed::{EmbedRequest, Embeddings},
    inference::{Counted, Model, ModelKind, not_offered},
    provider::Health,
    rerank::{Ranking, RerankRequest},
    turn::Turn,
};
use futures::{StreamExt as _, stream};

use crate::{Agents, NewTurn, Passing, sent};
use tell::Telling;

/// What the name of a model begins with where an agent is meant.
pub const AGENT: &str = "agent/";

/// How long a stream waits for its first words before it begins without them: an error until then has a status of its
/// own, and a proxy sees a head before it gives up (nginx: after 60 s).
const FIRST_WORDS: Duration = Duration::from_secs(20);

/// How many names an unknown one is answered with.
const NEAREST: usize = 3;

/// Agents beside the models of the house.
pub struct AgentModels {
    agents: Agents,
    models: Arc<dyn Inference>,
}

impl AgentModels {
    #[must_use]
    pub fn over(models: Arc<dyn Inference>, agents: Agents) -> Self {
        Self { agents, models }
    }

    /// The turn of this chat, begun now or when the same request came before; the names of the functions that run at the
    /// client, and what stops and deletes it once its reader is done.
    async fn turn(
        &self,
        cx: &Cx,
        name: &str,
        request: &ChatRequest,
    ) -> Result<(Turn, HashSet<String>, Option<Passing>)> {
        let key = request.idempotency_key.as_ref();
        // By the house itself none is asked with a key.
        let sent = key.and_then(|_| request.source()).map(|source| sent("chat", &source.bytes));
        if let (Some(key), Some(sent)) = (key, &sent)
            && let Some(before) = self.agents.begun_before(cx, key, sent).await?
        {
            let client_tools = before.request.spec.as_ref().map(ask::client_tools).unwrap_or_default();
            return Ok((before.turn, client_tools, None));
        }
        let agent = self.agents.load_agent_named(cx, name).await?;
        let (new, client_tools) = ask::to_turn(&self.agents, cx, agent, request).await?;
        let (turn, passing) = self.agents.begin_passing(cx, NewTurn { sent, ..new }, key.is_some()).await?;
        Ok((turn, client_tools, passing))
    }

    async fn ask(&self, cx: &Cx, name: &str, request: &ChatRequest) -> Result<ChatReply> {
        let (turn, client_tools, passing) = Box::pin(self.turn(cx, name, request)).await?;
        let mut telling = Telling {
            events: self.agents.events_of(cx, &turn),
            words: tell::Words::new(turn, client_tools, request.stream),
            agents: self.agents.clone(),
            first: vec![],
            passing,
            ended: false,
        };
        if request.stream {
            // What fails before the first word is an answer of its own.
            if let Ok(heard) = tokio::time::timeout(FIRST_WORDS, telling.first_words()).await {
                heard?;
            }
        }
        let head = ReplyHead {
            provider: "frontdesk".into(),
            model: request.model.clone(),
            // In which no client is answered: it is written anew for each.
            dialect: Dialect::OpenaiResponses,
            streaming: request.stream,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        let frames = stream::unfold(telling, |mut telling| async move {
            let events = telling.next().await?;
            Some((events.map(|events| Frame { events, ..Frame::default() }), telling))
        });
        Ok(ChatReply { head, frames: frames.boxed() })
    }
}

#[async_trait]
impl Inference for AgentModels {
    async fn chat(&self, cx: &Cx, request: ChatRequest) -> Result<ChatReply> {
        match request.model.strip_prefix(AGENT) {
            Some(name) => Box::pin(self.ask(cx, name, &request)).await,
            None => self.models.chat(cx, request).await,
        }
    }

    async fn models(&self, cx: &Cx) -> Result<Vec<Model>> {
        let mut models = self.models.models(cx).await?;
        models.extend(self.agents.named_agents(cx).await?.into_iter().map(|agent| Model {
            id: format!("{AGENT}{}", agent.name),
            provider: String::new(),
            upstream_id: agent.id,
            kind: ModelKind::Llm,
            created: agent.created_at / 1_000_000,
            description: None,
        }));
        Ok(models)
    }

    async fn count_tokens(&self, cx: &Cx, request: ChatRequest) -> Result<Option<Counted>> {
        if request.model.starts_with(AGENT) {
            return Ok(None);
        }
        self.models.count_tokens(cx, request).await
    }

    async fn embed(&self, cx: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        refuse(&request.model, "embeddings", ModelKind::Embedding)?;
        self.models.embed(cx, request).await
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        refuse(&request.model, "reranking", ModelKind::Rerank)?;
        self.models.rerank(cx, request).await
    }

    fn context_window(&self, model: &str) -> Option<usize> {
        self.models.context_window(model)
    }

    async fn health(&self) -> Health {
        self.models.health().await
    }
}

fn refuse(model: &str, what: &str, kind: ModelKind) -> Result<()> {
    if !model.starts_with(AGENT) {
        return Ok(());
    }
    let error = not_offered(what, kind);
    Err(Error { message: format!("'{model}' {}", error.message), ..error })
}

impl Agents {
    /// The agent that `agent/NAME` means.
    ///
    /// # Errors
    /// `NotFound` naming the nearest agents.
    pub async fn load_agent_named(&self, cx: &Cx, name: &str) -> Result<frontdesk_api::agent::Agent> {
        if let Some(agent) = self.find_agent_named(cx, name).await? {
            return Ok(agent);
        }
        let mut known: Vec<String> = self.named_agents(cx).await?.into_iter().map(|agent| agent.name).collect();
        let unlikeness = |known: &str| 1.0 - strsim::jaro_winkler(known, name);
        known.sort_by(|a, b| unlikeness(a).total_cmp(&unlikeness(b)));
        let nearest: Vec<String> = known.iter().take(NEAREST).map(|name| format!("{AGENT}{name}")).collect();
        let hint = if nearest.is_empty() {
            "no agent has a name".to_owned()
        } else {
            format!("the nearest are: {}", nearest.join(", "))
        };
        let message = format!("agent '{name}' does not exist; {hint}");
        Err(Error::not_found(message).with_param("model").with_code("model_not_found"))
    }
}
