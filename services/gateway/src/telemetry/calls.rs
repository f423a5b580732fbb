//! Model calls as numbers: how long, how many tokens, how quickly the first came.
//!
//! A series is made when a model first answers and is found again by comparing names in a list that only grows: no
//! lock, no hash. Invariant: names come from answers of providers and the list is short, so whatever clients write
//! as a model's name makes no more than [`MOST`] series; beyond that, and where nothing has answered yet, calls
//! count under `other`.

use std::sync::{Arc, OnceLock};

use frontdesk_api::{
    Attempt, Kind,
    attempt::Outcome,
    chat::{Reuse, Usage},
};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};

use super::families::{
    ATTEMPTS, CACHED_TOKENS, FIRST_CHUNK, FIRST_TOKEN, OPERATION_DURATION, PER_CHUNK, PER_TOKEN, REASONING_TOKENS,
    REUSE, SERVED, TOKEN_USAGE,
};

/// Series told apart: operations times models that this installation really uses.
const MOST: usize = 128;

/// What a call asked for that nothing has answered.
const OTHER: &str = "other";

/// What a model is asked to do, in OpenTelemetry's words where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Chat,
    Embeddings,
    Rerank,
    CountTokens,
}

impl Operation {
    const ALL: [Self; 4] = [Self::Chat, Self::Embeddings, Self::Rerank, Self::CountTokens];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::CountTokens => "count_tokens",
        }
    }
}

struct Families {
    duration: HistogramVec,
    tokens: HistogramVec,
    first_chunk: HistogramVec,
    per_chunk: HistogramVec,
    served: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
    cached: IntCounterVec,
    reasoning: IntCounterVec,
}

/// Everything counted about model calls.
pub(crate) struct Calls {
    families: Arc<Families>,
    attempts: IntCounterVec,
    reuse: IntCounterVec,
    /// Filled from the front.
    known: Box<[OnceLock<Arc<Series>>]>,
    /// One for each operation.
    other: [Arc<Series>; Operation::ALL.len()],
}

/// The numbers of one operation of one model.
pub(crate) struct Series {
    families: Arc<Families>,
    operation: Operation,
    /// Id of the provider that answered.
    provider: String,
    /// As the caller named the model: an alias, or `provider/model`.
    pub(crate) asked: String,
    /// As the provider names it.
    model: String,
    took: Ends,
    served: Ends,
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
    first_chunk: OnceLock<Histogram>,
    per_chunk: OnceLock<Histogram>,
    first_token: OnceLock<Histogram>,
    per_token: OnceLock<Histogram>,
    cached: OnceLock<IntCounter>,
    reasoning: OnceLock<IntCounter>,
}

/// Durations by kind of error, and at the end those of good answers.
type Ends = [OnceLock<Histogram>; KINDS.len() + 1];

/// Every kind of error with its word.
const KINDS: [(Kind, &str); 13] = [
    (Kind::Invalid, "invalid"),
    (Kind::Unauthenticated, "unauthenticated"),
    (Kind::Forbidden, "forbidden"),
    (Kind::NotFound, "not_found"),
    (Kind::Conflict, "conflict"),
    (Kind::TooLarge, "too_large"),
    (Kind::RateLimited, "rate_limited"),
    (Kind::Refused, "refused"),
    (Kind::Cancelled, "cancelled"),
    (Kind::Upstream, "upstream"),
    (Kind::Timeout, "timeout"),
    (Kind::Unavailable, "unavailable"),
    (Kind::Internal, "internal"),
];

/// The word for a kind of error in `error.type`.
pub(crate) fn error_type(kind: Kind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("_OTHER", |(_, word)| word)
}

impl Calls {
    pub(crate) fn new(registry: &Registry) -> prometheus::Result<Self> {
        let families = Arc::new(Families {
            duration: OPERATION_DURATION.histograms(registry)?,
            tokens: TOKEN_USAGE.histograms(registry)?,
            first_chunk: FIRST_CHUNK.histograms(registry)?,
            per_chunk: PER_CHUNK.histograms(registry)?,
            served: SERVED.histograms(registry)?,
            first_token: FIRST_TOKEN.histograms(registry)?,
            per_token: PER_TOKEN.histograms(registry)?,
            cached: CACHED_TOKENS.counters(registry)?,
            reasoning: REASONING_TOKENS.counters(registry)?,
        });
        let other = |operation| Arc::new(Series::new(&families, operation, OTHER, OTHER, OTHER));
        let other = Operation::ALL.map(other);
        let (attempts, reuse) = (ATTEMPTS.counters(registry)?, REUSE.counters(registry)?);
        Ok(Self { other, families, attempts, reuse, known: (0..MOST).map(|_| OnceLock::new()).collect() })
    }

    /// These were made and did not become an answer. Their providers are the operator's, so they are few.
    pub(crate) fn lost(&self, attempts: &[Attempt]) {
        for attempt in attempts {
            self.attempts.with_label_values(&[attempt.provider.as_str(), outcome_word(attempt.outcome)]).inc();
        }
    }

    /// An answer of `route`, which keeps or shares them.
    pub(crate) fn reused(&self, route: &str, reuse: Reuse) {
        self.reuse.with_label_values(&[route, reuse.as_str()]).inc();
    }

    /// Where calls for `asked` are counted until a provider is known: the first series of that name, or `other`.
    pub(crate) fn expected(&self, operation: Operation, asked: &str) -> &Arc<Series> {
        let mut filled = self.known.iter().map_while(OnceLock::get);
        filled
            .find(|series| series.operation == operation && series.asked == asked)
            .unwrap_or(&self.other[operation as usize])
    }

    /// Where a call is counted that `provider` answered.
    pub(crate) fn answered(&self, operation: Operation, asked: &str, provider: &str, model: &str) -> &Arc<Series> {
        for place in &self.known {
            let series = place.get_or_init(|| Arc::new(Series::new(&self.families, operation, asked, provider, model)));
            if series.is(operation, asked, provider, model) {
                return series;
            }
        }
        &self.other[operation as usize]
    }
}

impl Series {
    fn new(families: &Arc<Families>, operation: Operation, asked: &str, provider: &str, model: &str) -> Self {
        Self {
            families: Arc::clone(families),
            operation,
            provider: provider.to_owned(),
            asked: asked.to_owned(),
            model: model.to_owned(),
            took: Default::default(),
            served: Default::default(),
            input: OnceLock::new(),
            output: OnceLock::new(),
            first_chunk: OnceLock::new(),
            per_chunk: OnceLock::new(),
            first_token: OnceLock::new(),
            per_token: OnceLock::new(),
            cached: OnceLock::new(),
            reasoning: OnceLock::new(),
        }
    }

    pub(crate) fn is(&self, operation: Operation, asked: &str, provider: &str, model: &str) -> bool {
        self.operation == operation && self.asked == asked && self.provider == provider && self.model == model
    }

    /// The call took this long; `error`: how it failed, if it did.
    pub(crate) fn took(&self, seconds: f64, error: Option<Kind>) {
        self.ended(&self.took, &self.families.duration, seconds, error);
    }

    /// As [`Series::took`], of a call that a client made: it was served so long, by whomever.
    pub(crate) fn served(&self, seconds: f64, error: Option<Kind>) {
        self.ended(&self.served, &self.families.served, seconds, error);
    }

    fn ended(&self, ends: &Ends, family: &HistogramVec, seconds: f64, error: Option<Kind>) {
        let place = error.and_then(|kind| KINDS.iter().position(|(known, _)| *known == kind));
        let word = place.map_or("", |place| KINDS[place].1);
        self.observe(&ends[place.unwrap_or(KINDS.len())], family, Some(word), seconds);
    }

    pub(crate) fn used(&self, usage: Usage) {
        self.observe(&self.input, &self.families.tokens, Some("input"), tokens(usage.input_tokens));
        // Only chats put tokens out.
        if self.operation == Operation::Chat {
            self.observe(&self.output, &self.families.tokens, Some("output"), tokens(usage.output_tokens));
        }
        for (cell, family, tokens) in [
            (&self.cached, &self.families.cached, usage.cached_input_tokens),
            (&self.reasoning, &self.families.reasoning, usage.reasoning_tokens),
        ] {
            if tokens > 0 {
                cell.get_or_init(|| family.with_label_values(&self.labels())).inc_by(tokens);
            }
        }
    }

    /// The first piece of a stream came.
    pub(crate) fn began(&self, seconds: f64) {
        self.observe(&self.first_chunk, &self.families.first_chunk, None, seconds);
    }

    /// A further piece came, so long after the one before.
    pub(crate) fn went_on(&self, seconds: f64) {
        self.observe(&self.per_chunk, &self.families.per_chunk, None, seconds);
    }

    /// A stream came to a good end. `first`, `last`: when the first piece with content came and the last of all, in
    /// seconds.
    pub(crate) fn streamed(&self, first: f64, last: f64, output_tokens: u64) {
        self.observe(&self.first_token, &self.families.first_token, None, first);
        if output_tokens > 1 {
            let mean = (last - first) / tokens(output_tokens - 1);
            self.observe(&self.per_token, &self.families.per_token, None, mean);
        }
    }

    fn observe(&self, cell: &OnceLock<Histogram>, family: &HistogramVec, last: Option<&str>, value: f64) {
        let histogram = cell.get_or_init(|| {
            let mut labels = self.labels().to_vec();
            labels.extend(last);
            family.with_label_values(&labels)
        });
        histogram.observe(value);
    }

    fn labels(&self) -> [&str; 4] {
        [self.operation.as_str(), &self.provider, &self.asked, &self.model]
    }
}

/// How an attempt ended that did not become the answer.
pub(super) fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failed(kind) => error_type(kind),
        Outcome::Outrun => "outrun",
    }
}

#[allow(clippy::cast_precision_loss)] // a number of tokens is far below 2^53
fn tokens(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(registry: &Registry) -> std::collections::BTreeSet<String> {
        let families = registry.gather();
        let labels = families.iter().flat_map(|f| f.get_metric()).flat_map(|m| m.get_label());
        labels.filter(|l| l.name() == "gen_ai_request_model").map(|l| l.value().to_owned()).collect()
    }

    #[test]
    fn names_that_clients_make_up_make_no_series_without_end() {
        let registry = Registry::new();
        let calls = Calls::new(&registry).expect("families");
        for i in 0..10 * MOST {
            // A name nothing answers.
            calls.expected(Operation::Chat, &format!("up/never-{i}")).took(0.1, Some(Kind::NotFound));
            // A provider that takes any name.
            calls.answered(Operation::Chat, &format!("up/any-{i}"), "up", &format!("any-{i}")).took(0.1, None);
        }
        let asked = asked(&registry);
        assert_eq!(asked.len(), MOST + 1);
        assert!(asked.contains(OTHER) && asked.contains("up/any-0") && !asked.iter().any(|a| a.contains("never")));
    }

    #[test]
    fn a_failed_call_counts_with_the_model_that_answered_before() {
        let registry = Registry::new();
        let calls = Calls::new(&registry).expect("families");
        assert_eq!(calls.expected(Operation::Chat, "fast").asked, OTHER);
        let made = Arc::clone(calls.answered(Operation::Chat, "fast", "up", "m"));
        assert!(Arc::ptr_eq(&made, calls.expected(Operation::Chat, "fast")));
        assert!(Arc::ptr_eq(&made, calls.answered(Operation::Chat, "fast", "up", "m")));
        assert_eq!(calls.expected(Operation::CountTokens, "fast").asked, OTHER, "another operation");
        assert_eq!(calls.answered(Operation::Chat, "fast", "up", "other target").asked, "fast");
    }

    #[test]
    fn every_kind_of_error_has_a_word() {
        for (kind, word) in KINDS {
            assert_eq!(error_type(kind), word);
        }
        assert!(Operation::ALL.iter().enumerate().all(|(place, operation)| *operation as usize == place));
        assert_eq!(error_type(Kind::RateLimited), "rate_limited");
    }
}
