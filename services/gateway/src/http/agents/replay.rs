//! `POST /v1/agents/{agent_id}/replays`.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use frontdesk_agents::replay::{Against, History, Replay, Replaying, With};
use frontdesk_api::{Error, Result, agent::AgentSpec, replay::Replayed};
use futures::{Stream, StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tracing::Instrument as _;

use super::{document, yaml};
use crate::{
    app::App,
    auth::Caller,
    http::{extract, reply::event_stream, turns::HEARTBEAT},
    problem::{self, Problem},
};

/// Events that wait for a reader.
const AHEAD: usize = 4;

/// How long a reader may read nothing: a replay holds a place, a store and model calls.
const PATIENCE: Duration = Duration::from_secs(60);

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
    /// Turns were asked again, none failed for want of something it needs, and none differs.
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
/// and the last is the whole without its turns (`frontdesk.replay.completed`). A client that leaves, or that
/// reads nothing for a minute, ends it.
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
        return Ok(event_stream(Body::from_stream(fed(events(replaying, agent_id, cx.request), PATIENCE))));
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
    let same = summary.turns > 0 && summary.different == 0 && summary.faults == 0;
    ReplayView { object: "replay", agent_id, version, same, summary, turns }
}

/// What a stream comes to next.
enum Next {
    Begin,
    Turns,
    End,
}

/// A replay as server-sent events.
fn events(replaying: Replaying, agent_id: String, request: String) -> impl Stream<Item = Bytes> {
    let (total, version) = (replaying.total(), replaying.version());
    let state = (Next::Begin, replaying, Summary::default());
    stream::unfold(state, move |(next, mut replaying, mut summary)| {
        let (request, agent_id) = (request.clone(), agent_id.clone());
        async move {
            let turn = match next {
                Next::Begin => {
                    let started = json!({ "type": "frontdesk.replay.started", "agent_id": agent_id, "version": version, "turns": total });
                    return Some((frame(&started), (Next::Turns, replaying, summary)));
                }
                Next::Turns => replaying.next().await,
                Next::End => return None,
            };
            match turn {
                Some(Ok(replayed)) => {
                    summary.add(&replayed);
                    let event = json!({ "type": "frontdesk.replay.turn", "turn": replayed });
                    Some((frame(&event), (Next::Turns, replaying, summary)))
                }
                Some(Err(error)) => Some((problem::sse_frame(&error, &request), (Next::End, replaying, summary))),
                None => {
                    let whole = ended(agent_id, version, summary.clone(), vec![]);
                    let event = json!({ "type": "frontdesk.replay.completed", "replay": whole });
                    Some((frame(&event), (Next::End, replaying, summary)))
                }
            }
        }
    })
}

/// Events from a task of their own, which ends (and with it what the events come from) when the reader leaves or reads
/// nothing for `patience`; then the stream ends without its last event. Comments while the next takes its time.
fn fed(
    events: impl Stream<Item = Bytes> + Send + 'static,
    patience: Duration,
) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let work = async move {
        let mut events = pin!(events);
        loop {
            let event = tokio::select! {
                () = sender.closed() => break,
                event = events.next() => event,
            };
            let Some(event) = event else { break };
            if sender.send_timeout(event, patience).await.is_err() {
                break;
            }
        }
    };
    tokio::spawn(work.in_current_span());
    stream::unfold(receiver, |mut receiver| async move {
        let bytes = match tokio::time::timeout(HEARTBEAT, receiver.recv()).await {
            Ok(event) => event?,
            Err(_) => Bytes::from_static(b": still here\n\n"),
        };
        Some((Ok(bytes), receiver))
    })
}

fn frame(event: &Value) -> Bytes {
    Bytes::from(format!("data: {event}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// So many events and then none without an end, and what they hold.
    fn events_of(most: usize) -> (impl Stream<Item = Bytes> + Send + 'static, Arc<()>) {
        let held = Arc::new(());
        let events = stream::unfold((0, Arc::clone(&held)), move |(n, held)| async move {
            if n == most {
                std::future::pending::<()>().await;
            }
            Some((Bytes::from_static(b"data: 1\n\n"), (n + 1, held)))
        });
        (events, held)
    }

    async fn let_go(held: &Arc<()>) {
        while Arc::strong_count(held) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_reader_that_reads_nothing_ends_it() {
        let (events, held) = events_of(usize::MAX);
        let mut reader = pin!(fed(events, Duration::from_millis(5)));
        let_go(&held).await;
        let mut read = 0;
        while reader.next().await.is_some() {
            read += 1;
        }
        assert_eq!(read, AHEAD);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_it_whatever_it_waits_for() {
        let (events, held) = events_of(1);
        let reader = fed(events, Duration::from_secs(3_600));
        {
            let mut reader = pin!(reader);
            assert!(reader.next().await.is_some());
        }
        let_go(&held).await;
    }

    #[tokio::test]
    async fn events_come_in_order_to_their_end() {
        let events = stream::iter((0..100).map(|n| Bytes::from(format!("{n}"))));
        let read: Vec<_> = fed(events, Duration::from_secs(3_600)).collect().await;
        assert_eq!(read, (0..100).map(|n| Ok(Bytes::from(format!("{n}")))).collect::<Vec<_>>());
    }
}
