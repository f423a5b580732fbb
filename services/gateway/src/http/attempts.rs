//! Response headers that say who was asked: the provider and model that answered, or failed last, and how many attempts
//! it took. Without them nobody can tell from outside what a route did.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use frontdesk_api::{
    Attempt, Effort, Error,
    attempt::Outcome,
    chat::{ReplyHead, Reuse},
};

pub const PROVIDER: HeaderName = HeaderName::from_static("x-frontdesk-provider");
pub const MODEL: HeaderName = HeaderName::from_static("x-frontdesk-model");
/// Times that a provider was asked.
pub const ATTEMPTS: HeaderName = HeaderName::from_static("x-frontdesk-attempts");

/// Whether a route that keeps or shares answers asked for this one: `hit`, `shared`, `miss` or `bypass`.
pub const CACHE: HeaderName = HeaderName::from_static("x-frontdesk-cache");

/// Of an answer.
pub fn write_answered(headers: &mut HeaderMap, head: &ReplyHead) {
    write_whole(headers, (&head.provider, &head.model), &head.effort, head.reuse);
}

/// Of an answer that comes whole, from this provider and model.
pub fn write_whole(headers: &mut HeaderMap, (provider, model): (&str, &str), effort: &Effort, reuse: Option<Reuse>) {
    let attempts = if reuse.is_some_and(Reuse::is_free) { 0 } else { effort.others.len() + 1 };
    write(headers, provider, model, attempts);
    write_reuse(headers, reuse);
}

/// What a route that keeps or shares answers did; nothing on any other.
fn write_reuse(headers: &mut HeaderMap, reuse: Option<Reuse>) {
    if let Some(reuse) = reuse {
        headers.insert(CACHE, HeaderValue::from_static(reuse.as_str()));
    }
}

/// The error of an answer that came to nothing `after` it had begun.
#[must_use]
pub fn failed(head: ReplyHead, error: Error, after: Duration) -> Error {
    let ReplyHead { provider, model, effort: Effort { took, others: mut attempts }, .. } = head;
    let took = took + after;
    attempts.push(Attempt { provider, model, outcome: Outcome::Failed(error.kind), took, usage: None });
    error.with_tried(attempts)
}

/// Of a request that failed; nothing where nobody was asked.
pub fn write_failed(headers: &mut HeaderMap, error: &Error) {
    let attempts = error.attempts();
    if let Some(last) = attempts.last() {
        write(headers, &last.provider, &last.model, attempts.len());
    }
}

/// A name that a header cannot carry is left out.
fn write(headers: &mut HeaderMap, provider: &str, model: &str, attempts: usize) {
    for (name, value) in [(PROVIDER, provider), (MODEL, model)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(ATTEMPTS, HeaderValue::from(attempts));
}
