//! Asking an agent: one call is one turn, told of as it goes.
//!
//! The turn goes on when the client leaves, as all turns do; a client that cancels its call cancels the turn.

use frontdesk_agents::{NewTurn, ended_badly, goes_on};
use frontdesk_api::{
    Cx, Error, Kind, Result,
    chat::Role,
    cx::CancellationToken,
    turn::{EventBody, ItemBody, StepKind, TurnState},
};
use futures::StreamExt;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Sender;

use super::{
    offered::{failed, text},
    post::Told,
};
use crate::app::App;

/// The longest message, in bytes.
const MOST: usize = 256 * 1024;

/// Asks, and waits for the end of the turn or for what it waits for. None: it was cancelled.
///
/// # Errors
/// As a turn's beginning; a turn that failed is a result.
pub async fn ask(
    app: &App,
    cx: &Cx,
    agent: &str,
    arguments: &Map<String, Value>,
    cancel: &CancellationToken,
    news: &Sender<Told>,
) -> Result<Option<Value>> {
    let (message, conversation) = match read(arguments) {
        Ok(read) => read,
        Err(wrong) => return Ok(Some(failed(&wrong))),
    };
    let session = match conversation {
        Some(id) => id,
        None => app.agents.create_session(cx, agent, "mcp").await?.id,
    };
    let said = ItemBody::Message { role: Role::User, text: message, citations: vec![] };
    let new = NewTurn {
        agent_id: agent.to_owned(),
        session_id: Some(session.clone()),
        items: vec![said],
        ..NewTurn::default()
    };
    let turn = match app.agents.create_turn(cx, new).await {
        Ok(turn) => turn,
        Err(error) if is_callers(&error) => return Ok(Some(failed(&error.message))),
        Err(error) => return Err(error),
    };
    let mut events = app.agents.events(cx, &turn.id, None).await?;
    loop {
        let event = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                app.agents.cancel(cx, &turn.id).await?;
                return Ok(None);
            }
            event = events.next() => event,
        };
        match event.transpose()? {
            None => break,
            Some(event) => {
                if let Some(words) = told(&event.body) {
                    // Nobody may want to hear it.
                    let _ = news.try_send(Told::Agent(words));
                }
            }
        }
    }
    let view = app.agents.load_turn(cx, &turn.id).await?;
    let status = match view.turn.state {
        TurnState::Failed | TurnState::Cancelled | TurnState::DeadLetter => {
            return Ok(Some(failed(&ended_badly(&view.turn).message)));
        }
        TurnState::Queued | TurnState::Running => return Err(goes_on(&view.turn)),
        state => state.as_str(),
    };
    let answers = view.items.iter().filter_map(|item| item.body.answer());
    let answer = answers.collect::<Vec<_>>().join("\n\n");
    let mut content = vec![text(&answer)];
    if view.turn.state == TurnState::AwaitingInput {
        content.push(text("The agent waits for the word of a person, or for a tool that its own client runs."));
    }
    for asked in &view.questions {
        let (tool, id, words) = (&asked.tool, &asked.question_id, asked.question.words());
        content.push(text(&format!("'{tool}' asks a person, to be answered by POST /v1/questions/{id}: {words}")));
    }
    let mut structured = json!({ "answer": answer, "conversation": session, "turn": turn.id, "status": status });
    if !view.questions.is_empty() {
        structured["questions"] = json!(view.questions);
    }
    // Clients that read texts alone have to find the conversation too.
    content.push(text(&format!("conversation: {session}")));
    Ok(Some(json!({ "content": content, "structuredContent": structured, "isError": false })))
}

fn read(arguments: &Map<String, Value>) -> Result<(String, Option<String>), String> {
    if let Some(other) = arguments.keys().find(|name| !["message", "conversation"].contains(&name.as_str())) {
        return Err(format!("'{other}' is not known: give 'message', and 'conversation' to go on with one"));
    }
    let message = arguments.get("message").and_then(Value::as_str).filter(|message| !message.trim().is_empty());
    let message = message.ok_or("'message' must be a text that is not empty")?;
    if message.len() > MOST {
        return Err(format!("'message' has {} bytes; at most {MOST} are read", message.len()));
    }
    match arguments.get("conversation") {
        None | Some(Value::Null) => Ok((message.to_owned(), None)),
        Some(Value::String(id)) => Ok((message.to_owned(), Some(id.clone()))),
        Some(_) => Err("'conversation' must be the text that an earlier answer gave".to_owned()),
    }
}

/// What the caller can mend, a model that wrote the call among them.
fn is_callers(error: &Error) -> bool {
    matches!(error.kind, Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::TooLarge | Kind::RateLimited)
}

/// What is worth telling while one waits.
fn told(event: &EventBody) -> Option<String> {
    match event {
        EventBody::StepStarted { step } => Some(match step.kind {
            StepKind::Inference => "thinking".to_owned(),
            StepKind::ToolExecution => "using a tool".to_owned(),
            StepKind::MemoryRetrieval => "looking things up".to_owned(),
            _ => "working".to_owned(),
        }),
        EventBody::ToolProgress { message: Some(words), .. } => Some(format!("using a tool: {words}")),
        _ => None,
    }
}
