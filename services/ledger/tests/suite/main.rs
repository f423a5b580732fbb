//! The books on SQLite and on Postgres: every end of a call is one row, money adds up, and what a dead process had set
//! aside is seen.

mod ends;
mod given;
mod money;
mod slices;

use std::{pin::Pin, sync::Arc};

use async_trait::async_trait;
use frontdesk_api::{
    Attempt, ChatEvent, ChatReply, ChatRequest, Cx, Effort, Error, Frame, Ids as _, Inference, Kind, Result,
    chat::{Chat, Dialect, Marks, Message, ReplyHead, Role, Source, Usage},
    clock::SystemClock,
    embed::{Embed, EmbedRequest, Embeddings},
    id::RandomIds,
    inference::Model,
    rerank::{Ranking, RerankRequest},
};
use frontdesk_ledger::{By, Ledger, Metered, Override, Price, Prices, Provider, UsageGroup, UsageQuery};
use frontdesk_store::{Store, on, sqlx};
use futures::{Stream, StreamExt as _};

/// A provider that answers as it is told; a model's name can ask for more.
struct Up {
    streaming: bool,
    frames: fn() -> Vec<Result<Frame>>,
    /// Who was asked besides.
    others: fn() -> Vec<Attempt>,
    /// Whether the answer ends after its frames; else nothing more comes.
    ends: bool,
}

#[async_trait]
impl Inference for Up {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        match request.model.as_str() {
            "up/silent" => std::future::pending::<()>().await,
            "up/refuses" => return Err(Error::new(Kind::RateLimited, "slow down")),
            "up/tried" => return Err(Error::new(Kind::Upstream, "nobody can").with_tried((self.others)())),
            "up/unknown" => return Err(Error::not_found("no such model").with_tried((self.others)())),
            "up/ambiguous" => return Err(Error::invalid("model", "two providers have it")),
            "up/late" => return Err(Error::new(Kind::Timeout, "no answer in time")),
            _ => {}
        }
        let model = request.model.trim_start_matches("up/").to_owned();
        let (dialect, streaming) = (Dialect::OpenaiChat, self.streaming);
        let provider = "up".to_owned();
        let head = ReplyHead {
            provider,
            model,
            dialect,
            streaming,
            upstream_request: None,
            effort: Effort { others: (self.others)(), ..Effort::default() },
            reuse: None,
        };
        let frames = futures::stream::iter((self.frames)());
        let more: Pin<Box<dyn Stream<Item = Result<Frame>> + Send>> =
            if self.ends { Box::pin(futures::stream::empty()) } else { Box::pin(futures::stream::pending()) };
        Ok(ChatReply { head, frames: frames.chain(more).boxed() })
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }

    /// Counts 5 tokens, or none for the model `late`.
    async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let model = request.model.trim_start_matches("up/").to_owned();
        let usage = (model != "late").then(|| Usage { input_tokens: 5, ..Usage::default() });
        Ok(Embeddings {
            provider: "up".into(),
            model,
            raw: None,
            vectors: vec![],
            usage,
            reuse: None,
            effort: Effort::default(),
        })
    }

    async fn rerank(&self, cx: &Cx, request: RerankRequest) -> Result<Ranking> {
        if request.model == "up/refuses" {
            return Err(Error::new(Kind::RateLimited, "slow down"));
        }
        let Embeddings { provider, model, raw, usage, .. } =
            self.embed(cx, EmbedRequest::typed(request.model, Embed::default())).await?;
        Ok(Ranking { provider, model, raw, results: vec![], usage, effort: Effort::default() })
    }
}

/// 2 dollars a million in, 8 out, half a dollar for cached input.
fn prices() -> Prices {
    let price = Price { input: 2_000_000, output: 8_000_000, cached_input: Some(500_000), ..Price::FREE };
    let providers = [
        Provider { id: "up", kind: "openai", base_url: Some("http://127.0.0.1:9/v1") },
        Provider { id: "free", kind: "mistralrs", base_url: None },
    ];
    let own = ["up/priced", "up/silent", "up/late", "up/slow"].map(|model| Override {
        model: model.into(),
        price: Some(price.clone()),
        like: None,
    });
    Prices::new(&providers, &[("alias".into(), "up/priced".into())], &own).expect("prices")
}

async fn ledger(store: &Store) -> Ledger {
    Ledger::open(store.clone(), prices(), Arc::new(SystemClock), &RandomIds).await.expect("the books")
}

fn metered(ledger: &Ledger, up: Up) -> Metered {
    Metered::new(Arc::new(up), ledger.clone())
}

/// A client's request of 400 bytes: about 100 tokens.
fn passed_on(model: &str) -> ChatRequest {
    let decode = |_: &[u8]| Ok(Chat::default());
    let source =
        Source { dialect: Dialect::OpenaiChat, bytes: vec![b'x'; 400].into(), decode, marks: Marks::default() };
    ChatRequest::from_source(model, true, false, source)
}

/// A request of the house: 40 bytes of words, 10 tokens.
fn typed(model: &str) -> ChatRequest {
    let messages = vec![Message::text(Role::User, "x".repeat(40))];
    ChatRequest::typed(model, Chat { messages, ..Chat::default() })
}

fn counted(input: u64, output: u64) -> Frame {
    let usage = Usage { input_tokens: input, output_tokens: output, ..Usage::default() };
    Frame { events: vec![ChatEvent::Usage(usage)], raw: "data: {}\n\n".into(), usage_only: true, ..Frame::default() }
}

fn unread(raw: &'static str) -> Frame {
    Frame { raw: raw.into(), ..Frame::default() }
}

fn said(text: &str) -> Frame {
    Frame {
        events: vec![ChatEvent::Text { choice: 0, text: text.into() }],
        raw: "data: {}\n\n".into(),
        ..Frame::default()
    }
}

/// Reads an answer to its end.
async fn read(reply: ChatReply) -> Vec<Result<Frame>> {
    reply.frames.collect().await
}

/// A row, as far as tests look at it.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    status: String,
    estimated: bool,
    model: String,
    input_tokens: i64,
    output_tokens: i64,
    cost: Option<i64>,
}

fn row(status: &str, estimated: bool, model: &str, input: i64, output: i64, cost: Option<i64>) -> Row {
    let (status, model) = (status.to_owned(), model.to_owned());
    Row { status, estimated, model, input_tokens: input, output_tokens: output, cost }
}

/// A tenant's rows in the order they were booked, once all that has ended is.
async fn rows(ledger: &Ledger, store: &Store, cx: &Cx) -> Vec<Row> {
    ledger.flush().await;
    let mut tx = store.tenant(cx).read().await.expect("a door");
    let tenant = tx.tenant();
    let found: Vec<(String, bool, String, i64, i64, Option<i64>)> = on!(tx, conn => sqlx::query_as(
        "SELECT status, estimated, model, input_tokens, output_tokens, cost FROM usage WHERE tenant = $1 ORDER BY id")
        .bind(&*tenant).fetch_all(conn).await)
    .expect("rows");
    found
        .into_iter()
        .map(|(status, estimated, model, i, o, cost)| row(&status, estimated, &model, i, o, cost))
        .collect()
}

/// All of a tenant's calls in one.
async fn total(ledger: &Ledger, cx: &Cx) -> UsageGroup {
    report(ledger, cx).await.total
}

async fn report(ledger: &Ledger, cx: &Cx) -> frontdesk_ledger::Report {
    let query =
        UsageQuery { to: i64::MAX / 2, by: By { model: true, ..By::default() }, limit: 100, ..UsageQuery::default() };
    ledger.report(&cx.tenant, &query).await.expect("a report")
}

/// A key id that is its own.
fn fresh(prefix: &str) -> String {
    RandomIds.next(prefix)
}
