//! What a turn is made of: steps, items, events, and its inbox.
//!
//! Writers call these behind [`crate::turns::fence`]; rows of one commit go in one statement a table.

use frontdesk_api::{
    Error, Kind, Micros, Result,
    turn::{Event, EventBody, Item, ItemBody, Step, StepKind, StepOutput, StepState, TurnError, TurnState},
};
use serde::Serialize;

use crate::{Doing as _, Tenant, Tx, json, on};

/// The code of the error of a turn that a newer message cut off.
pub const INTERRUPTED: &str = "interrupted";

/// A step with the parts that only its worker needs.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredStep {
    pub step: Step,
    /// Goes with the effect; the same at every attempt.
    pub idem_key: String,
    /// What is needed to do it, as JSON (a tool step: the call).
    pub input: Option<serde_json::Value>,
    /// How often it was begun, from 1.
    pub attempt: i64,
}

/// An item of a conversation with the state of the turn it stands in.
#[derive(Debug, Clone, PartialEq)]
pub struct PastItem {
    pub state: TurnState,
    /// A newer message cut the turn off: what it was asked counts all the same.
    pub interrupted: bool,
    pub item: Item,
}

#[derive(sqlx::FromRow)]
struct StepRow {
    n: i64,
    id: String,
    kind: String,
    state: String,
    idem_key: String,
    input: Option<String>,
    output: Option<String>,
    attempt: i64,
    started_at: Micros,
    completed_at: Option<Micros>,
}

impl StepRow {
    fn read(self) -> Result<StoredStep> {
        let output: Option<StepOutput> =
            self.output.as_deref().map(|o| json::read("a step's output", o)).transpose()?;
        Ok(StoredStep {
            idem_key: self.idem_key,
            attempt: self.attempt,
            input: self.input.as_deref().map(|i| json::read("a step's input", i)).transpose()?,
            step: Step {
                id: self.id,
                n: self.n,
                kind: word::<StepKind>("step kind", &self.kind)?,
                state: word::<StepState>("step state", &self.state)?,
                started_at: self.started_at,
                completed_at: self.completed_at,
                output,
            },
        })
    }
}

/// Reads an enum by its word in the database.
fn word<T: serde::de::DeserializeOwned>(what: &str, word: &str) -> Result<T> {
    serde_json::from_value(serde_json::Value::String(word.to_owned()))
        .map_err(|e| Error::new(Kind::Internal, format!("unknown {what} '{word}' in the database")).with_source(e))
}

/// Writes steps, or what became of them, each once. Input and idempotency key stay as first written.
///
/// # Errors
/// As any query; `Internal` where another step stands under the number of one of these.
pub async fn put_steps(tx: &mut Tx, turn_id: &str, steps: &[StoredStep]) -> Result<()> {
    if steps.is_empty() {
        return Ok(());
    }
    let tenant = tx.tenant();
    let rows = steps.iter().map(|stored| {
        let input = stored.input.as_ref().map(json::write).transpose()?;
        Ok((stored, input, stored.step.output.as_ref().map(json::write).transpose()?))
    });
    let rows = rows.collect::<Result<Vec<_>>>()?;
    let written = on!(tx, conn => {
        let mut query = sqlx::QueryBuilder::new("INSERT INTO step (tenant, turn_id, n, id, kind, state, idem_key, input, output, attempt, started_at, completed_at) ");
        query.push_values(&rows, |mut row, (stored, input, output)| {
            let step = &stored.step;
            row.push_bind(&*tenant).push_bind(turn_id).push_bind(step.n).push_bind(&step.id).push_bind(step.kind.as_str())
                .push_bind(step.state.as_str()).push_bind(&stored.idem_key).push_bind(input).push_bind(output)
                .push_bind(stored.attempt).push_bind(step.started_at).push_bind(step.completed_at);
        });
        query.push(" ON CONFLICT (tenant, turn_id, n) DO UPDATE SET state = excluded.state, output = excluded.output, \
                    attempt = excluded.attempt, completed_at = excluded.completed_at WHERE step.id = excluded.id");
        query.build().execute(conn).await.map(|done| done.rows_affected())
    })
    .doing("write steps")?;
    if written < u64::try_from(rows.len()).unwrap_or(u64::MAX) {
        return Err(Error::new(
            Kind::Internal,
            format!("another step of the turn '{turn_id}' has the number of a new one"),
        ));
    }
    Ok(())
}

/// The turn's steps in order.
///
/// # Errors
/// As any query.
pub async fn steps(tx: &mut Tx, turn_id: &str) -> Result<Vec<StoredStep>> {
    let tenant = tx.tenant();
    let rows: Vec<StepRow> = on!(tx, conn => sqlx::query_as("SELECT n, id, kind, state, idem_key, input, output, attempt, started_at, completed_at FROM step \
         WHERE tenant = $1 AND turn_id = $2 ORDER BY n")
        .bind(&*tenant).bind(turn_id).fetch_all(conn).await)
    .doing("load a turn's steps")?;
    rows.into_iter().map(StepRow::read).collect()
}

/// # Errors
/// As any query.
pub async fn add_items(tx: &mut Tx, items: &[Item]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let tenant = tx.tenant();
    let rows = items.iter().map(|item| Ok((item, json::write(&item.body)?))).collect::<Result<Vec<_>>>()?;
    on!(tx, conn => {
        let mut query = sqlx::QueryBuilder::new("INSERT INTO item (tenant, id, turn_id, pos, kind, payload, hidden) ");
        query.push_values(&rows, |mut row, (item, payload)| {
            row.push_bind(&*tenant).push_bind(&item.id).push_bind(&item.turn_id).push_bind(item.pos)
                .push_bind(item.body.kind()).push_bind(payload).push_bind(false);
        });
        query.build().execute(conn).await.map(|_| ())
    })
    .doing("write items")
}

/// Puts another body in the place of an item's (a shield redacted it); `hidden` keeps it from models.
///
/// # Errors
/// As any query.
pub async fn replace_item(tx: &mut Tx, id: &str, body: &ItemBody, hidden: bool) -> Result<()> {
    let (tenant, payload) = (tx.tenant(), json::write(body)?);
    on!(tx, conn => sqlx::query("UPDATE item SET payload = $3, hidden = $4 WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).bind(&payload).bind(hidden).execute(conn).await.map(|_| ()))
    .doing("redact an item")
}

/// Notes that an approval request has its answer. Whether it had none before: of several that answer one, be it in
/// branches of a conversation or at once, one is the first.
///
/// # Errors
/// As any query.
pub async fn answer_request(tx: &mut Tx, id: &str) -> Result<bool> {
    let tenant = tx.tenant();
    let first = on!(tx, conn => sqlx::query("UPDATE item SET kind = 'approval_request_answered' \
         WHERE tenant = $1 AND id = $2 AND kind = 'approval_request'")
        .bind(&*tenant).bind(id).execute(conn).await.map(|done| done.rows_affected()))
    .doing("answer an approval request")?;
    Ok(first == 1)
}

/// Keeps every item of the turn from models from now on.
///
/// # Errors
/// As any query.
pub async fn hide_items(tx: &mut Tx, turn_id: &str) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("UPDATE item SET hidden = $3 WHERE tenant = $1 AND turn_id = $2")
        .bind(&*tenant).bind(turn_id).bind(true).execute(conn).await.map(|_| ()))
    .doing("hide a turn's items")
}

#[derive(sqlx::FromRow)]
struct ItemRow {
    state: String,
    error: Option<String>,
    id: String,
    turn_id: String,
    pos: i64,
    payload: String,
}

impl ItemRow {
    fn read(self) -> Result<PastItem> {
        let body: ItemBody = json::read("an item", &self.payload)?;
        let item = Item { id: self.id, turn_id: self.turn_id, pos: self.pos, body };
        let error: Option<TurnError> =
            self.error.as_deref().map(|error| json::read("a turn's error", error)).transpose()?;
        let interrupted = error.is_some_and(|error| error.code == INTERRUPTED);
        Ok(PastItem { state: TurnState::parse(&self.state)?, interrupted, item })
    }
}

/// The turn's items in order, hidden ones too.
///
/// # Errors
/// As any query.
pub async fn items(tx: &mut Tx, turn_id: &str) -> Result<Vec<Item>> {
    let tenant = tx.tenant();
    let rows: Vec<ItemRow> =
        on!(tx, conn => sqlx::query_as("SELECT 'running' AS state, CAST(NULL AS TEXT) AS error, id, turn_id, pos, payload FROM item \
         WHERE tenant = $1 AND turn_id = $2 ORDER BY pos")
        .bind(&*tenant).bind(turn_id).fetch_all(conn).await)
        .doing("load a turn's items")?;
    rows.into_iter().map(|row| Ok(row.read()?.item)).collect()
}

/// What a model may see of the session before its turn number `before`: items in order, hidden ones left out.
///
/// # Errors
/// As any query.
pub async fn history(tx: &mut Tx, session_id: &str, before: i64) -> Result<Vec<PastItem>> {
    history_where(tx, session_id, before, true).await
}

/// Of [`history`], the calls, and what was asked and said of them.
///
/// # Errors
/// As any query.
pub async fn history_of_calls(tx: &mut Tx, session_id: &str, before: i64) -> Result<Vec<PastItem>> {
    history_where(tx, session_id, before, false).await
}

async fn history_where(tx: &mut Tx, session_id: &str, before: i64, all: bool) -> Result<Vec<PastItem>> {
    let tenant = tx.tenant();
    let rows: Vec<ItemRow> =
        on!(tx, conn => sqlx::query_as("SELECT t.state, t.error, i.id, i.turn_id, i.pos, i.payload FROM turn t \
         JOIN item i ON i.tenant = t.tenant AND i.turn_id = t.id \
         WHERE t.tenant = $1 AND t.session_id = $2 AND t.pos < $3 AND i.hidden = $4 AND ($5 OR i.kind IN \
         ('function_call', 'approval_request', 'approval_request_answered', 'approval_response')) ORDER BY t.pos, i.pos")
        .bind(&*tenant).bind(session_id).bind(before).bind(false).bind(all).fetch_all(conn).await)
        .doing("load a session's history")?;
    rows.into_iter().map(ItemRow::read).collect()
}

/// What a model may see of the turn `id` and those it continues, whatever sessions they stand in: items in order,
/// hidden ones left out.
///
/// # Errors
/// As any query.
pub async fn line(tx: &mut Tx, id: &str) -> Result<Vec<PastItem>> {
    line_where(tx, id, true).await
}

/// Of [`fn@line`], the calls, and what was asked and said of them.
///
/// # Errors
/// As any query.
pub async fn line_of_calls(tx: &mut Tx, id: &str) -> Result<Vec<PastItem>> {
    line_where(tx, id, false).await
}

async fn line_where(tx: &mut Tx, id: &str, all: bool) -> Result<Vec<PastItem>> {
    let tenant = tx.tenant();
    let rows: Vec<ItemRow> = on!(tx, conn => sqlx::query_as("WITH RECURSIVE line (id, parent, state, error, back) AS ( \
         SELECT id, parent, state, error, 0 FROM turn WHERE tenant = $1 AND id = $2 UNION ALL \
         SELECT t.id, t.parent, t.state, t.error, l.back + 1 FROM turn t JOIN line l ON t.id = l.parent WHERE t.tenant = $1) \
         SELECT l.state, l.error, i.id, i.turn_id, i.pos, i.payload FROM line l JOIN item i ON i.turn_id = l.id \
         WHERE i.tenant = $1 AND i.hidden = $3 AND ($4 OR i.kind IN \
         ('function_call', 'approval_request', 'approval_request_answered', 'approval_response')) ORDER BY l.back DESC, i.pos")
        .bind(&*tenant).bind(id).bind(false).bind(all).fetch_all(conn).await)
    .doing("load what a turn continues")?;
    rows.into_iter().map(ItemRow::read).collect()
}

/// The item of that id, wherever it stands, unless it is hidden.
///
/// # Errors
/// As any query.
pub async fn find_item(tx: &mut Tx, id: &str) -> Result<Option<Item>> {
    let tenant = tx.tenant();
    let row: Option<ItemRow> =
        on!(tx, conn => sqlx::query_as("SELECT 'completed' AS state, CAST(NULL AS TEXT) AS error, id, turn_id, pos, payload FROM item \
         WHERE tenant = $1 AND id = $2 AND hidden = $3")
        .bind(&*tenant).bind(id).bind(false).fetch_optional(conn).await)
        .doing("look for an item")?;
    row.map(|row| Ok(row.read()?.item)).transpose()
}

/// Writes events numbered from `first`. The numbers come from [`crate::turns::fence`].
///
/// # Errors
/// As any query.
pub async fn add_events(tx: &mut Tx, turn_id: &str, first: i64, events: &[EventBody]) -> Result<()> {
    if events.is_empty() {
        return Ok(());
    }
    let tenant = tx.tenant();
    let numbered = (first..).zip(events).map(|(seq, body)| Ok((seq, type_of(body), json::write(body)?)));
    let rows = numbered.collect::<Result<Vec<_>>>()?;
    on!(tx, conn => {
        let mut query = sqlx::QueryBuilder::new("INSERT INTO event (tenant, turn_id, seq, type, payload) ");
        query.push_values(&rows, |mut row, (seq, name, payload)| {
            row.push_bind(&*tenant).push_bind(turn_id).push_bind(*seq).push_bind(*name).push_bind(payload);
        });
        query.build().execute(conn).await.map(|_| ())
    })
    .doing("write events")
}

/// The event's name on the wire, as its serialised form has it.
fn type_of(body: &EventBody) -> &'static str {
    match body {
        EventBody::Created { .. } => "response.created",
        EventBody::Input { .. } => "frontdesk.turn.input",
        EventBody::StepStarted { .. } => "frontdesk.step.started",
        EventBody::ItemAdded { .. } => "response.output_item.added",
        EventBody::TextDelta { .. } => "response.output_text.delta",
        EventBody::RefusalDelta { .. } => "response.refusal.delta",
        EventBody::ReasoningDelta { .. } => "response.reasoning_text.delta",
        EventBody::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
        EventBody::ItemDone { .. } => "response.output_item.done",
        EventBody::ToolProgress { .. } => "frontdesk.tool.progress",
        EventBody::StepCompleted { .. } => "frontdesk.step.completed",
        EventBody::HandedOff { .. } => "frontdesk.hand_off",
        EventBody::AwaitingInput { .. } => "frontdesk.turn.awaiting_input",
        EventBody::Resumed { .. } => "frontdesk.turn.resumed",
        EventBody::Restarted { .. } => "frontdesk.turn.restarted",
        EventBody::Completed { .. } => "response.completed",
        EventBody::Failed { .. } => "response.failed",
        EventBody::Incomplete { .. } => "response.incomplete",
        EventBody::Cancelled { .. } => "frontdesk.turn.cancelled",
    }
}

/// The number of the event that began the turn's newest step; None when it has none.
///
/// # Errors
/// As any query.
pub async fn newest_step_seq(tx: &mut Tx, turn_id: &str) -> Result<Option<i64>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("SELECT max(seq) FROM event WHERE tenant = $1 AND turn_id = $2 AND type = 'frontdesk.step.started'")
        .bind(&*tenant).bind(turn_id).fetch_one(conn).await)
    .doing("look for the beginning of a step")
}

/// The result of a call that came from outside; a second one for the same call is a conflict.
///
/// # Errors
/// `Conflict` when this call has a result already.
pub async fn add_inbox<T: Serialize>(tx: &mut Tx, turn_id: &str, key: &str, payload: &T, at: Micros) -> Result<()> {
    let (tenant, payload) = (tx.tenant(), json::write(payload)?);
    on!(tx, conn => sqlx::query("INSERT INTO inbox (tenant, turn_id, key, payload, created_at) VALUES ($1, $2, $3, $4, $5)")
        .bind(&*tenant).bind(turn_id).bind(key).bind(&payload).bind(at).execute(conn).await.map(|_| ()))
    .doing("keep the result of a call")
}

/// What came in for the turn, by key.
///
/// # Errors
/// As any query.
pub async fn inbox(tx: &mut Tx, turn_id: &str) -> Result<Vec<(String, serde_json::Value)>> {
    let tenant = tx.tenant();
    let rows: Vec<(String, String)> = on!(tx, conn => sqlx::query_as("SELECT key, payload FROM inbox WHERE tenant = $1 AND turn_id = $2 ORDER BY key")
        .bind(&*tenant).bind(turn_id).fetch_all(conn).await)
    .doing("read a turn's inbox")?;
    rows.into_iter().map(|(key, payload)| Ok((key, json::read("an inbox entry", &payload)?))).collect()
}

impl Tenant<'_> {
    /// Events of the turn after `after` (None: from the first), in order, at most `limit`.
    ///
    /// # Errors
    /// As any query.
    pub async fn events_after(&self, turn_id: &str, after: Option<i64>, limit: i64) -> Result<Vec<Event>> {
        let mut tx = self.glance().await?;
        let rows: Vec<(i64, String)> = on!(tx, conn => sqlx::query_as("SELECT seq, payload FROM event WHERE tenant = $1 AND turn_id = $2 AND seq > $3 ORDER BY seq LIMIT $4")
            .bind(self.id()).bind(turn_id).bind(after.unwrap_or(-1)).bind(limit).fetch_all(conn).await)
        .doing("read a turn's events")?;
        rows.into_iter().map(|(seq, payload)| Ok(Event { seq, body: json::read("an event", &payload)? })).collect()
    }
}
