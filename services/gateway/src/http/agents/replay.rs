//! `POST /v1/agents/{agent_id}/replays`.

use std::convert::Infallible;

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use frontdesk_agents::replay::{Against, History, Replay, Replaying, With};
use frontdesk_api::{Error, Result, agent::AgentSpec, replay::Replayed};
use futures::{Stream, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{document, yaml};
use crate::{
    app::App,
    auth::Caller,
    http::{extract, reply::event_stream, turns::HEARTBEAT},
    problem::{self, Problem},
};

/// What is asked again, by whom, with what.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CreateReplay {
    /// Which version answers: `draft` (the newest; so where it is left out), `published`, or a number.
    #[schema(value_type = Option<String>)]
    version: Option<Value>,
    /// A spec that answers instead of a version: an object, or YAML as export writes it.
    #[schema(value_type = Option<AgentSpec>)]
    spec: Option<Value>,
    /// Ids of conversations.
    conversations: Vec<String>,
    /// Where no conversation is named: the newest ones of the agent, 1 to 100; 10 where it is left out.
    last: Option<usize>,
    tools: WithTools,
    /// With `tools: live`: tools that have effects are called, too.
    allow_effects: bool,
    history: Past,
    /// Each turn comes as an event once it was asked again.
    stream: bool,
}

/// Where tools' answers come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum WithTools {
    /// From the recording.
    #[default]
    Recorded,
    /// From the tools themselves, where they have no effects.
    Live,
}

/// What the model reads of the turns before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum Past {
    #[default]
    Recorded,
    Replayed,
}

/// A replay that has come to its end.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ReplayView {
    /// `replay`.
    object: &'static str,
    agent_id: String,
    /// What answered; null: a spec that is no version.
    version: Option<i64>,
    /// No turn differs.
    same: bool,
    summary: Summary,
    /// Empty in the last event of a stream, which has shown them.
    turns: Vec<Replayed>,
}

/// Counts and sums over the turns that were asked again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Summary {
    /// Asked again.
    turns: usize,
    /// Of these, with any difference.
    different: usize,
    /// Failed because something they need did.
    faults: usize,
    /// Not asked again.
    skipped: usize,
    recorded: Sums,
    replayed: Sums,
}

/// What model calls took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
struct Sums {
    input_tokens: u64,
    output_tokens: u64,
    /// As far as models have prices.
    cost_nano_usd: i64,
    model_ms: i64,
}

impl Sums {
    fn add(&mut self, took: &frontdesk_api::replay::Answered) {
        self.input_tokens = self.input_tokens.saturating_add(took.usage.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(took.usage.output_tokens);
        self.cost_nano_usd = self.cost_nano_usd.saturating_add(took.cost_nano_usd.unwrap_or(0));
        self.model_ms = self.model_ms.saturating_add(took.model_ms);
    }
}

impl Summary {
    fn add(&mut self, replayed: &Replayed) {
        let Some(comparison) = &replayed.comparison else {
            self.skipped += 1;
            return;
        };
        self.turns += 1;
        self.different += usize::from(!comparison.differs.is_empty());
        self.faults += usize::from(comparison.fault);
        self.recorded.add(&comparison.recorded);
        self.replayed.add(&comparison.replayed);
    }
}

impl CreateReplay {
    fn into_domain(self, agent_id: String) -> Result<Replay> {
        let wrong = || Error::invalid("version", "version is 'draft', 'published' or a number");
        let against = match (self.version, self.spec) {
            (Some(_), Some(_)) => return Err(Error::invalid("spec", "give a version or a spec, not both")),
            (None, Some(Value::String(text))) => Against::Spec(Box::new(yaml::read(&text)?)),
            (None, Some(spec)) => Against::Spec(Box::new(document::spec(&spec)?)),
            (None, None) => Against::Newest,
            (Some(version), None) => match (version.as_i64(), version.as_str()) {
                (Some(number), _) => Against::Version(number),
                (None, Some("draft")) => Against::Newest,
                (None, Some("published")) => Against::Published,
                (None, Some(word)) => Against::Version(word.parse().map_err(|_| wrong())?),
                (None, None) => return Err(wrong()),
            },
        };
        if self.last == Some(0) {
            return Err(Error::invalid("last", "last is 1 to 100"));
        }
        if self.last.is_some() && !self.conversations.is_empty() {
            return Err(Error::invalid("last", "give conversations or last, not both"));
        }
        let tools = match self.tools {
            WithTools::Recorded if self.allow_effects => {
                return Err(Error::invalid("allow_effects", "allow_effects goes with tools: live"));
            }
            WithTools::Recorded => With::Recorded,
            WithTools::Live => With::Live { effects: self.allow_effects },
        };
        let history = match self.history {
            Past::Recorded => History::Recorded,
            Past::Replayed => History::Replayed,
        };
        let (conversations, last) = (self.conversations, self.last.unwrap_or_default());
        Ok(Replay { agent_id, against, conversations, last, tools, history })
    }
}

/// Replay recorded conversations
///
/// Asks recorded turns again of a draft, another version or a spec, and says how the answers differ. Nothing of it
/// reaches the conversations, their customers, the queue of people or the approvals. With `stream: true` each turn is an
/// event (`frontdesk.replay.turn`) once it was asked again, the first says how many there are (`frontdesk.replay.started`)
/// and the last is the whole without its turns (`frontdesk.replay.completed`). A client that leaves ends it.
#[utoipa::path(
    post, path = "/v1/agents/{agent_id}/replays", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent's id")),
    request_body = CreateReplay,
    responses((status = 200, description = "What differs, turn by turn, or its event stream", body = ReplayView))
)]
pub async fn replay(
    State(app): State<App>,
    Caller(cx): Caller,
    Path(agent_id): Path<String>,
    extract::Json(body): extract::Json<CreateReplay>,
) -> Result<Response, Problem> {
    let streamed = body.stream;
    let replay = body.into_domain(agent_id.clone())?;
    let mut replaying = app.agents.replay(&cx, replay).await?;
    if streamed {
        return Ok(event_stream(Body::from_stream(events(replaying, agent_id, cx.request))));
    }
    let (mut turns, mut summary) = (vec![], Summary::default());
    while let Some(turn) = replaying.next().await {
        let turn = turn?;
        summary.add(&turn);
        turns.push(turn);
    }
    Ok(Json(ended(agent_id, replaying.version(), summary, turns)).into_response())
}

fn ended(agent_id: String, version: Option<i64>, summary: Summary, turns: Vec<Replayed>) -> ReplayView {
    ReplayView { object: "replay", agent_id, version, same: summary.different == 0, summary, turns }
}

/// What a stream comes to next.
enum Next {
    Begin,
    Turns,
    End,
}

/// A replay as server-sent events; comments while a turn takes its time.
fn events(replaying: Replaying, agent_id: String, request: String) -> impl Stream<Item = Result<Bytes, Infallible>> {
    let turn = |replaying: Replaying| async move {
        let mut replaying = replaying;
        let turn = replaying.next().await;
        (replaying, turn)
    };
    let total = replaying.total();
    let version = replaying.version();
    let state = (Next::Begin, Box::pin(turn(replaying)), Summary::default());
    stream::unfold(state, move |(next, mut work, mut summary)| {
        let (request, agent_id) = (request.clone(), agent_id.clone());
        async move {
            match next {
                Next::Begin => {
                    let started = json!({ "type": "frontdesk.replay.started", "agent_id": agent_id, "version": version, "turns": total });
                    return Some((Ok(frame(&started)), (Next::Turns, work, summary)));
                }
                Next::Turns => {}
                Next::End => return None,
            }
            let Ok((replaying, done)) = tokio::time::timeout(HEARTBEAT, &mut work).await else {
                return Some((Ok(Bytes::from_static(b": still here\n\n")), (Next::Turns, work, summary)));
            };
            let work = Box::pin(turn(replaying));
            match done {
                Some(Ok(replayed)) => {
                    summary.add(&replayed);
                    let event = json!({ "type": "frontdesk.replay.turn", "turn": replayed });
                    Some((Ok(frame(&event)), (Next::Turns, work, summary)))
                }
                Some(Err(error)) => Some((Ok(problem::sse_frame(&error, &request)), (Next::End, work, summary))),
                None => {
                    let whole = ended(agent_id, version, summary.clone(), vec![]);
                    let event = json!({ "type": "frontdesk.replay.completed", "replay": whole });
                    Some((Ok(frame(&event)), (Next::End, work, summary)))
                }
            }
        }
    })
}

fn frame(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}
