//! What booking a call costs in processor time: `settle [POSTGRES_URL]`, without it SQLite with `synchronous=FULL` in a
//! temporary folder.
//!
//! One thread with a runtime of its own asks a provider that answers at once, first as it is and then through the
//! meter, in turns; the difference is what the meter adds on a serving thread. The writer runs on another runtime, as in
//! the server. What a Postgres server spends itself is not in it.

// A measuring tool is not a room of the product: it prints and reads its arguments.
#![allow(clippy::print_stdout, clippy::expect_used)]

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use frontdesk_api::{
    ChatEvent, ChatReply, ChatRequest, Cx, Effort, Frame, Inference, Result,
    chat::{Chat, Dialect, Marks, ReplyHead, Source, Usage},
    clock::SystemClock,
    id::RandomIds,
    inference::Model,
};
use frontdesk_ledger::{Ledger, Metered, Override, Price, Prices, Provider};
use frontdesk_store::{Options, Store};
use futures::StreamExt as _;
use rustix::time::{ClockId, clock_gettime};

/// Calls in one round, and rounds.
const CALLS: u32 = 20_000;
const ROUNDS: usize = 7;

/// Answers a stream of one frame with a count.
struct Instant;

#[async_trait]
impl Inference for Instant {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let head = ReplyHead {
            provider: "up".into(),
            model: request.model,
            dialect: Dialect::OpenaiChat,
            streaming: true,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        let usage = Usage { input_tokens: 100, output_tokens: 10, ..Usage::default() };
        let frame = Frame { events: vec![ChatEvent::Usage(usage)], raw: "data: {}\n\n".into(), ..Frame::default() };
        Ok(ChatReply { head, frames: futures::stream::iter([Ok(frame)]).boxed() })
    }

    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

fn main() {
    let url = std::env::args().nth(1);
    let folder = tempfile::tempdir().expect("a folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let (store, ledger) = runtime.block_on(open(url, folder.path()));
    let plain: Arc<dyn Inference> = Arc::new(Instant);
    let metered: Arc<dyn Inference> = Arc::new(Metered::new(Arc::new(Instant), ledger.clone()));
    let (mut bare, mut with, mut all) = (vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        bare.push(lane(&plain));
        let before = spent(ClockId::ProcessCPUTime);
        with.push(lane(&metered));
        runtime.block_on(ledger.flush());
        all.push((spent(ClockId::ProcessCPUTime) - before).as_secs_f64() * 1e6 / f64::from(CALLS));
    }
    println!(
        "{}, {ROUNDS} rounds of {CALLS} calls, processor time a call, median (smallest to largest):",
        store.place()
    );
    for (what, mut figures) in [
        ("serving thread, provider alone", bare),
        ("serving thread, metered", with),
        ("process, metered and booked", all),
    ] {
        figures.sort_by(f64::total_cmp);
        println!("  {what}: {:.2} µs ({:.2} to {:.2})", figures[ROUNDS / 2], figures[0], figures[ROUNDS - 1]);
    }
    runtime.block_on(async {
        ledger.close().await;
        store.close().await;
    });
}

async fn open(url: Option<String>, folder: &Path) -> (Store, Ledger) {
    let store = Store::open(&Options { database_url: url, ..Options::at(folder) }).await.expect("a database");
    let provider = Provider { id: "up", kind: "openai", base_url: Some("http://127.0.0.1/v1") };
    let price = Price { input: 2_000_000, output: 8_000_000, ..Price::FREE };
    let own = Override { model: "up/m".into(), price: Some(price), like: None };
    let prices = Prices::new(&[provider], &[], &[own]).expect("prices");
    let ledger = Ledger::open(store.clone(), prices, Arc::new(SystemClock), &RandomIds).await.expect("the books");
    (store, ledger)
}

/// Asks one call after the other on a thread of its own: its processor time a call, in microseconds.
fn lane(models: &Arc<dyn Inference>) -> f64 {
    let models = Arc::clone(models);
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let before = spent(ClockId::ThreadCPUTime);
            for _ in 0..CALLS {
                let cx = Cx::internal("default", "req_01jd5m4e8hqz3x9v7k2b6c1f0a");
                let mut reply = models.chat(&cx, request()).await.expect("an answer");
                while let Some(frame) = reply.frames.next().await {
                    std::hint::black_box(frame.expect("a frame"));
                }
            }
            (spent(ClockId::ThreadCPUTime) - before).as_secs_f64() * 1e6 / f64::from(CALLS)
        })
    };
    std::thread::spawn(work).join().expect("a thread")
}

fn request() -> ChatRequest {
    static BODY: [u8; 400] = [b'x'; 400];
    let bytes = BODY.as_slice().into();
    let source =
        Source { dialect: Dialect::OpenaiChat, bytes, decode: |_| Ok(Chat::default()), marks: Marks::default() };
    ChatRequest::from_source("up/m", true, false, source)
}

fn spent(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
