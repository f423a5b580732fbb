//! Batches as their neighbours see them: on SQLite and on Postgres, with lines that a test answers.

mod ends;
mod refusing;
mod rows;
mod waits;
mod work;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use frontdesk_api::{Clock, Contents as _, Cx, Error, blobs::Place, clock::FixedClock, id::RandomIds};
use frontdesk_batches::{
    Again, Answer, Batch, Batches, Deps, EndedLine, Endpoint, Fault, JobState, Lines, NewBatch, NewLine, Outcome, Pace,
};
use frontdesk_store::{Store, files::StoredFile, testing::two_tenants};
use serde_json::Map;
use tokio::sync::Semaphore;

use crate::rows::InRows;

/// Answers a line by what it says: `fail` fails, `busy N` is out of capacity N times, `hold` waits for the gate.
#[derive(Default)]
pub struct Scripted {
    /// Request ids and keys of what was asked, in order.
    asked: Mutex<Vec<(String, String, String)>>,
    gate: Option<Arc<Semaphore>>,
    answered: AtomicUsize,
}

impl Scripted {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").iter().map(|(_, _, said)| said.clone()).collect()
    }

    /// Until so many were asked.
    async fn until_asked(&self, n: usize) {
        until("lines to be asked", async || (self.asked().len() >= n).then_some(())).await;
    }

    /// Until so many were answered.
    async fn until_answered(&self, n: usize) {
        until("lines to be answered", async || (self.answered.load(Ordering::SeqCst) >= n).then_some(())).await;
    }
}

/// Looks again and again until there is something to see; gives up after a minute.
pub async fn until<T>(what: &str, look: impl AsyncFn() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(tokio::time::Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[async_trait]
impl Lines for Scripted {
    fn read(&self, _: Endpoint, input: &[u8]) -> Result<Vec<NewLine>, Vec<Fault>> {
        let text = std::str::from_utf8(input).expect("text");
        if text == "wrong" {
            return Err(vec![Fault { code: "wrong".into(), message: "it is".into(), param: None, line: Some(1) }]);
        }
        let line = |(n, said): (usize, &str)| NewLine { custom_id: format!("c{n}"), request: said.into() };
        Ok(text.lines().enumerate().map(line).collect())
    }

    async fn ask(&self, cx: &Cx, _: Endpoint, request: String) -> (Answer, Again) {
        let before = {
            let mut asked = self.asked.lock().expect("unpoisoned");
            asked.push((cx.request.clone(), cx.principal.key_id.clone(), request.clone()));
            asked.iter().filter(|(id, _, _)| *id == cx.request).count() - 1
        };
        if let (Some(gate), true) = (&self.gate, request.starts_with("hold")) {
            gate.acquire().await.expect("open").forget();
        }
        let busy = request.strip_prefix("busy ").map_or(0, |n| n.parse::<usize>().expect("a number"));
        let succeeded = request != "fail" && busy <= before;
        let again = if busy > before { Again::Later(None) } else { Again::No };
        self.answered.fetch_add(1, Ordering::SeqCst);
        (Answer { succeeded, status: if succeeded { 200 } else { 400 }, body: format!("\"{request}\"") }, again)
    }

    fn refused(&self, _: &Cx, _: Endpoint, error: &Error) -> Answer {
        Answer { succeeded: false, status: 500, body: format!("\"{:?}\"", error.kind) }
    }

    fn write(&self, _: &str, line: &EndedLine) -> String {
        format!("{} {} {}\n", line.custom_id, line.outcome.as_str(), line.body)
    }
}

/// A process: its batches over a store that others may share.
pub struct Stage {
    pub store: Store,
    pub batches: Batches,
    pub lines: Arc<Scripted>,
    pub contents: Arc<InRows>,
    pub cx: Cx,
}

pub fn quick() -> Pace {
    Pace { renew: Duration::from_millis(5), patience: Duration::from_millis(1), ..Pace::default() }
}

impl Stage {
    pub async fn new(store: &Store, pace: Pace, gate: Option<Arc<Semaphore>>) -> Self {
        Self::at(store, 1_000_000, pace, gate).await
    }

    /// As [`Stage::new`], at this time.
    pub async fn at(store: &Store, now: i64, pace: Pace, gate: Option<Arc<Semaphore>>) -> Self {
        let (cx, _) = two_tenants(store).await;
        let lines = Arc::new(Scripted { gate, ..Scripted::default() });
        let clock: Arc<dyn Clock> = Arc::new(FixedClock::at(now));
        let contents = Arc::new(InRows::new(store));
        let ids = Arc::new(RandomIds);
        let deps = Deps { store: store.clone(), contents: contents.clone(), lines: lines.clone(), clock, ids, pace };
        Self { store: store.clone(), batches: Batches::new(deps), lines, contents, cx }
    }

    /// A batch of a file with these lines.
    pub async fn create(&self, lines: &str) -> String {
        let new = NewBatch::OfFile {
            endpoint: Endpoint::Embeddings,
            input: self.file(lines).await,
            metadata: Map::new(),
            output_expires_after: None,
        };
        self.batches.create(&self.cx, new).await.expect("a batch").id
    }

    /// An input file with these lines.
    pub async fn file(&self, lines: &str) -> String {
        let id = format!(
            "file_{}",
            self.batches.list(&self.cx, Endpoint::Embeddings, &Default::default()).await.expect("listed").items.len()
        );
        let file = StoredFile {
            id: id.clone(),
            filename: "in.jsonl".into(),
            purpose: "batch".into(),
            media_type: None,
            bytes: 1,
            hash: vec![0; 32],
            created_at: 1,
            expires_at: None,
        };
        self.store.tenant(&self.cx).add_file(&file, &Place::Row(lines.to_owned().into())).await.expect("a file");
        id
    }

    pub async fn find(&self, id: &str) -> Batch {
        self.batches.find(&self.cx, Endpoint::Embeddings, id).await.expect("there")
    }

    /// The batch once it has ended.
    pub async fn ended(&self, id: &str) -> Batch {
        until("the end of a batch", async || Some(self.find(id).await).filter(|batch| batch.state != JobState::Open))
            .await
    }

    /// Output and error file, sorted; empty where there is none.
    pub async fn files(&self, batch: &Batch) -> (Vec<String>, Vec<String>) {
        let files = batch.payload.files.as_ref().expect("files");
        let read = async |id: &str, there: bool| -> Vec<String> {
            let opened = self.contents.open(&self.cx, id, None).await;
            assert_eq!(opened.is_ok(), there, "{:?}", opened.err());
            let Ok(opened) = opened else { return vec![] };
            let content = opened.whole().await.expect("read");
            let mut lines: Vec<String> =
                String::from_utf8(content.into()).expect("text").lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        (read(&files.output, batch.progress.has_output).await, read(&files.errors, batch.progress.has_errors).await)
    }
}

pub fn counts(batch: &Batch) -> [u64; 5] {
    let p = &batch.progress;
    [p.total, p.succeeded, p.failed, p.cancelled, p.expired]
}

pub fn said(outcome: Outcome, lines: &[(usize, &str)]) -> Vec<String> {
    lines.iter().map(|(n, said)| format!("c{n} {} {said}", outcome.as_str())).collect()
}
