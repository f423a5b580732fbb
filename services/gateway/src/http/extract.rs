//! How handlers read a request: bodies, JSON, query and path, with errors that name the field.
//!
//! Invariant: no body is read beyond its limit or for longer than its time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, FromRequestParts, Query as AxumQuery, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::{Bytes, BytesMut};
use frontdesk_api::{Error, Kind};
use futures::StreamExt;
use http_body_util::{BodyExt, Collected, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::room::{Hold, Room, SMALL};
use crate::{
    app::App,
    config::plain,
    problem::{Early, Problem},
};

const MIB: usize = 1 << 20;

/// How long a client may be silent amid a large body, and go on sending one that has no room before it is answered all
/// the same.
const STALLED: Duration = Duration::from_secs(30);

/// The whole body as it came, up to `limits.max_body_mb`.
pub struct Raw(pub Bytes);

impl FromRequest<App> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let limits = &app.config.limits;
        read(request, limits.max_body_mb, "limits.max_body_mb", limits.body_timeout_s, Some(&app.bodies)).await.map(Raw)
    }
}

/// The client's key for repeating its request, if it sent one; whoever can use it says what is wrong with it.
pub struct Key(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let key = parts.headers.get("idempotency-key");
        Ok(Self(key.map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned())))
    }
}

/// A JSON body. An unknown or ill-typed member is named by its path, broken JSON by line and column.
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let Raw(bytes) = Raw::from_request(request, app).await?;
        Ok(Self(parse(&bytes)?))
    }
}

/// Reads JSON bytes of a client.
///
/// # Errors
/// `Invalid` with the member's path as `param`, or line and column in the message.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> frontdesk_api::Result<T> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let path = e.path().to_string();
        explain(e.inner(), Some(path.as_str()).filter(|p| *p != "."))
    })?;
    json.end().map_err(|e| explain(&e, None))?;
    Ok(value)
}

fn explain(e: &serde_json::Error, path: Option<&str>) -> Error {
    // Serde appends the place in its own words; it is said once, below.
    let said = e.to_string();
    let said = plain(said.split(" at line ").next().unwrap_or_default());
    if e.classify() != serde_json::error::Category::Data {
        let message = format!("the body is not valid JSON (line {}, column {}): {said}", e.line(), e.column());
        return Error::new(Kind::Invalid, message).with_code("invalid_json");
    }
    let missing = said.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (Some(path), Some(missing)) => Error::invalid(format!("{path}.{missing}"), format!("{path}: {said}")),
        (Some(path), None) => Error::invalid(path, format!("{path}: {said}")),
        (None, Some(missing)) => Error::invalid(missing, format!("the body does not fit this route: {said}")),
        (None, None) => Error::new(Kind::Invalid, format!("the body does not fit this route: {said}")),
    }
}

/// The query string.
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Early> {
        match AxumQuery::<T>::try_from_uri(&parts.uri) {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(e) => {
                let cause = std::error::Error::source(&e).map_or_else(|| e.body_text(), ToString::to_string);
                if let Some((_, rest)) = cause.split_once("unknown field `")
                    && let Some((name, _)) = rest.split_once('`')
                {
                    return Err(unknown(name).into());
                }
                Err(Error::new(Kind::Invalid, format!("the query string does not fit this route: {cause}")).into())
            }
        }
    }
}

/// Parameters that clients put on every address: OpenAI's packages on those of their betas, and clients of Azure.
const EVERYWHERE: [&str; 2] = ["beta", "api-version"];

/// A query string that has nothing in it that would mean anything.
pub struct NoQuery;

impl<S: Send + Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Early;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Early> {
        let Query(pairs) = Query::<Vec<(String, String)>>::from_request_parts(parts, state).await?;
        pairs.iter().try_for_each(|(name, _)| known(name))?;
        Ok(Self)
    }
}

/// A parameter that decides nothing, where a route has none of its name.
///
/// # Errors
/// `Invalid` naming one that nobody knows.
pub fn known(name: &str) -> frontdesk_api::Result<()> {
    if EVERYWHERE.contains(&name) { Ok(()) } else { Err(unknown(name)) }
}

/// That the query has a parameter which its route has not.
fn unknown(name: &str) -> Error {
    Error::invalid(name, format!("unknown parameter: '{name}'")).with_code("unknown_parameter")
}

/// Reads a body of at most `limit` MiB; `key` is the setting that says so. A large one waits for its place in `room`.
///
/// # Errors
/// `TooLarge` naming the limit and its key, `Timeout` for a client too slow, `Cancelled` for one that left, as
/// [`Room::take`].
pub async fn read(
    request: Request,
    limit: usize,
    key: &str,
    timeout_s: u64,
    room: Option<&Room>,
) -> Result<Bytes, Problem> {
    let max = limit.saturating_mul(MIB);
    let patience = Duration::from_secs(timeout_s);
    let declared = declared(request.headers());
    let (parts, body) = request.into_parts();
    if declared.is_some_and(|length| length > max) {
        swallow(body, patience).await;
        return Err(too_large(declared, limit, key).into());
    }
    // Apart, so that small ones do not carry what it needs.
    let read = match room.zip(parts.extensions.get::<Hold>()) {
        None => {
            let collected = tokio::time::timeout(patience, Limited::new(body, max).collect()).await;
            collected.map_err(|_| too_slow(timeout_s))?.map(Collected::to_bytes)
        }
        Some((room, hold)) => Box::pin(gather(body, max, timeout_s, room, hold)).await,
    };
    match read {
        Ok(whole) => Ok(whole),
        Err(e) if e.is::<LengthLimitError>() => Err(too_large(None, limit, key).into()),
        Err(e) => match e.downcast::<Error>() {
            Ok(ours) => Err((*ours).into()),
            Err(e) => Err(broke_off(e).into()),
        },
    }
}

/// Reads a body that may be large, once there is room for it. One that does not say its size takes the largest while it
/// comes. Time counts for the client alone, not for the room.
async fn gather(
    body: Body,
    max: usize,
    timeout_s: u64,
    room: &Room,
    hold: &Hold,
) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let exact = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
    let mut body = Limited::new(body, max);
    let (mut whole, mut taken, mut left) = (BytesMut::new(), None, Duration::from_secs(timeout_s));
    loop {
        if taken.is_none() && whole.len().max(exact.unwrap_or_default()) > SMALL {
            match room.take(exact.unwrap_or(max)).await {
                Ok(place) => taken = Some(place),
                Err(full) => {
                    swallow(Body::new(body), STALLED).await;
                    return Err(full.into());
                }
            }
            whole.reserve(exact.unwrap_or_default());
        }
        let began = Instant::now();
        // Whoever has room that others wait for may not sit on it.
        let most = if taken.is_some() { left.min(STALLED) } else { left };
        let Ok(frame) = tokio::time::timeout(most, body.frame()).await else {
            return Err(if most < left { stalled() } else { too_slow(timeout_s) }.into());
        };
        left = left.saturating_sub(began.elapsed());
        let Some(frame) = frame else { break };
        if let Ok(piece) = frame?.into_data() {
            whole.extend_from_slice(&piece);
        }
    }
    if let Some(mut place) = taken {
        room.shrink(&mut place, whole.len());
        hold.keep(place);
    }
    Ok(whole.freeze())
}

/// A request whose body is read as it comes, under the limits of [`read`]. What breaks it off is in [`Broken`].
///
/// # Errors
/// `TooLarge` where its client says so beforehand.
pub async fn stream(
    request: Request,
    limit: usize,
    key: &'static str,
    timeout_s: u64,
) -> Result<(Request, Broken), Problem> {
    let (max, patience) = (limit.saturating_mul(MIB), Duration::from_secs(timeout_s));
    let declared = declared(request.headers());
    let (parts, body) = request.into_parts();
    if declared.is_some_and(|length| length > max) {
        swallow(body, patience).await;
        return Err(too_large(declared, limit, key).into());
    }
    let broken = Broken::default();
    let state = (body.into_data_stream(), max, patience, broken.clone());
    let pieces = futures::stream::try_unfold(state, move |(mut body, left, patience, broken)| async move {
        // Only waiting for the client counts: where its bytes go may be slow by itself.
        let began = Instant::now();
        let waited = tokio::time::timeout(patience, body.next()).await;
        let patience = patience.saturating_sub(began.elapsed());
        let piece = match waited {
            Ok(None) => return Ok(None),
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(e))) => return Err(broken.say(broke_off(e))),
            Err(_) => return Err(broken.say(too_slow(timeout_s))),
        };
        match left.checked_sub(piece.len()) {
            Some(left) => Ok(Some((piece, (body, left, patience, broken)))),
            None => Err(broken.say(too_large(None, limit, key))),
        }
    });
    Ok((Request::from_parts(parts, Body::from_stream(pieces)), broken))
}

/// Why a body broke off, which readers of forms do not hand on.
#[derive(Clone, Default)]
pub struct Broken(Arc<Mutex<Option<Error>>>);

impl Broken {
    fn say(&self, error: Error) -> std::io::Error {
        let said = std::io::Error::other(error.message.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        said
    }

    /// What broke the body off, or else `error`.
    #[must_use]
    pub fn or(&self, error: Error) -> Error {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(error)
    }
}

fn too_slow(timeout_s: u64) -> Error {
    Error::new(Kind::Timeout, format!("the request body did not come within {timeout_s} s (limits.body_timeout_s)"))
}

fn stalled() -> Error {
    Error::new(Kind::Timeout, format!("nothing came of the request body for {} s", STALLED.as_secs()))
}

fn broke_off(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Cancelled, "the request body broke off").with_source(cause)
}

/// The size of a body as its client says, in bytes; None: it does not say.
pub fn declared(headers: &HeaderMap) -> Option<usize> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn too_large(declared: Option<usize>, limit: usize, key: &str) -> Error {
    let found = declared.map(|bytes| format!(" of {:.1} MiB", bytes as f64 / MIB as f64)).unwrap_or_default();
    Error::new(Kind::TooLarge, format!("the request body{found} is larger than the limit of {limit} MiB ({key})"))
        .with_code("request_too_large")
}

/// Reads on without keeping: a client that is cut off while it sends sees a reset connection, not our answer.
pub async fn swallow(body: Body, patience: Duration) {
    /// What is worth reading for the sake of a clear answer, in MiB.
    const WORTH: usize = 64;
    let mut left = WORTH * MIB;
    let mut stream = body.into_data_stream();
    let drain = async {
        while let Some(Ok(piece)) = stream.next().await {
            let Some(rest) = left.checked_sub(piece.len()) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(patience, drain).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)] // only read by serde
    struct Body {
        names: Vec<String>,
        #[serde(default)]
        places: Vec<Place>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[allow(dead_code)] // only read by serde
    struct Place {
        street: String,
    }

    #[test]
    fn a_body_that_does_not_fit_names_the_member_or_the_place() {
        let said = |text: &str| parse::<Body>(text.as_bytes()).expect_err("must be refused");
        let error = said(r#"{"names":["a",7]}"#);
        assert_eq!(error.param.as_deref(), Some("names[1]"));
        insta::assert_snapshot!(error.message, @"names[1]: invalid type: integer `7`, expected a string");
        insta::assert_snapshot!(said(r#"{"nmaes":[]}"#).message, @"nmaes: unknown field `nmaes`, expected `names` or `places`");
        let error = said("{}");
        assert_eq!(error.param.as_deref(), Some("names"));
        insta::assert_snapshot!(error.message, @"the body does not fit this route: missing field `names`");
        let error = said(r#"{"names":[],"places":[{}]}"#);
        assert_eq!(error.param.as_deref(), Some("places[0].street"));
        insta::assert_snapshot!(error.message, @"places[0]: missing field `street`");
        insta::assert_snapshot!(said("7").message, @"the body does not fit this route: invalid type: integer `7`, expected keys and values");
        insta::assert_snapshot!(said("{\n \"names\": oops}").message, @"the body is not valid JSON (line 2, column 11): expected value");
        insta::assert_snapshot!(said(r#"{"names":[]} x"#).message, @"the body is not valid JSON (line 1, column 14): trailing characters");
    }
}
