//! Answers that are shared: who is asked, who hears what, who waits for whom.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{
    Effort,
    chat::{FinishReason, Frame, ReplyHead, Reuse},
    cx::CancellationToken,
    reuse::CacheControl,
};
use futures::stream;
use tokio::sync::Notify;

use super::{
    reuse::{MESSAGES, ask, caching, good, over, question, reuse, tenant},
    stage::{Actor, Heard, Piece, Say, hear},
    *,
};
use crate::{policy::Coalesce, reuse::Reusing};

fn coalescing() -> Route {
    Route { coalesce: Some(Coalesce::default()), ..Route::to("r", &["a/m"]) }
}

/// Asks on a task of its own; returns once the request is under way.
async fn begin(reusing: &Arc<Reusing>, cx: Cx) -> tokio::task::JoinHandle<Result<Heard>> {
    let reusing = Arc::clone(reusing);
    let task = tokio::spawn(async move { hear(reusing.chat(&cx, question(MESSAGES)).await?).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn equal_requests_under_way_are_asked_once_and_all_hear_everything() {
    let (before, after) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let pieces = vec![
        Piece::Gate(Arc::clone(&before)),
        Piece::Word("a"),
        Piece::Gate(Arc::clone(&after)),
        Piece::Word("b"),
        Piece::Finish(0, FinishReason::Stop),
    ];
    let a = Actor::new("a", [Say::Answers(pieces), good(&["later"]), good(&["theirs"])]);
    let (reusing, _) = over(&a, coalescing());
    let first = begin(&reusing, tenant("t")).await;
    let second = begin(&reusing, tenant("t")).await;
    let mut third = reusing.chat(&tenant("t"), question(MESSAGES)).await.expect("a head before any frame").frames;
    assert_eq!(a.asked(), 1);
    let theirs = ask(&reusing, &tenant("another"), question(MESSAGES)).await;
    assert_eq!((theirs.words.as_str(), theirs.head.reuse), ("<later.", Some(Reuse::Miss)), "another tenant's");
    before.notify_one();
    assert_eq!(third.next().await.expect("a frame").expect("a good one").raw, "a");
    // The first frame is out: too late to join.
    assert_eq!(ask(&reusing, &tenant("t"), question(MESSAGES)).await.words, "<theirs.");
    after.notify_one();
    let rest: Vec<_> = third.map(|frame| frame.expect("a good one").raw).collect().await;
    assert_eq!(rest, ["b", "."]);
    let (first, second) = (first.await.expect("no panic"), second.await.expect("no panic"));
    for (heard, reuse) in [(first, Reuse::Miss), (second, Reuse::Shared)] {
        let heard = heard.expect("an answer");
        assert_eq!((heard.words.as_str(), heard.head.reuse), ("ab.", Some(reuse)));
    }
    assert_eq!(a.asked(), 3);
}

#[tokio::test]
async fn who_asked_first_may_leave_first() {
    let gate = Arc::new(Notify::new());
    let say =
        Say::Answers(vec![Piece::Gate(Arc::clone(&gate)), Piece::Word("a"), Piece::Finish(0, FinishReason::Stop)]);
    let a = Actor::new("a", [say]);
    let route = Route { coalesce: Some(Coalesce::default()), ..caching(&[]) };
    let (reusing, _) = over(&a, route);
    let first = begin(&reusing, tenant("t")).await;
    let stopped = Cx { cancel: CancellationToken::new(), ..tenant("t") };
    let second = begin(&reusing, stopped.clone()).await;
    let third = begin(&reusing, tenant("t")).await;
    first.abort();
    stopped.cancel.cancel();
    let second = second.await.expect("no panic").expect("a head");
    assert_eq!(second.error.map(|error| error.kind), Some(Kind::Cancelled));
    gate.notify_one();
    assert_eq!(third.await.expect("no panic").expect("an answer").words, "a.");
    assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Hit, "and it is kept");
    assert_eq!((a.asked(), a.dropped.load(Ordering::SeqCst)), (1, 0));
}

#[tokio::test]
async fn when_all_have_left_the_work_stops_and_the_next_one_asks_anew() {
    let a = Actor::new("a", [Say::Answers(vec![Piece::Silence]), good(&["x"])]);
    let (reusing, _) = over(&a, coalescing());
    let (first, second) = (begin(&reusing, tenant("t")).await, begin(&reusing, tenant("t")).await);
    assert_eq!(a.asked(), 1);
    for task in [first, second] {
        task.abort();
        task.await.err().expect("aborted");
    }
    assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Miss);
    assert_eq!((a.asked(), a.dropped.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test]
async fn an_error_is_everyones_and_its_attempts_are_the_first_ones() {
    let attempt = Attempt {
        provider: "a".into(),
        model: "m".into(),
        outcome: Outcome::Failed(Kind::RateLimited),
        took: Duration::ZERO,
        usage: None,
    };
    let fails = Error::new(Kind::RateLimited, "slow down").with_code("slow").with_retry_after(Duration::from_secs(7));
    let a = Actor::new("a", [Say::Fails(fails.with_tried(vec![attempt]))]);
    let (reusing, _) = over(&a, coalescing());
    // Both ask before the task that carries the question runs.
    let (x, y) = (tenant("t"), tenant("t"));
    let (first, second) = futures::join!(reusing.chat(&x, question(MESSAGES)), reusing.chat(&y, question(MESSAGES)));
    for (error, attempts) in [(first, 1), (second, 0)] {
        let error = error.err().expect("refused");
        let said = (error.kind, error.message.as_str(), error.code.as_deref(), error.retry_after);
        assert_eq!(said, (Kind::RateLimited, "slow down", Some("slow"), Some(Duration::from_secs(7))));
        assert_eq!(error.attempts().len(), attempts);
    }
    assert_eq!(a.asked(), 1);

    let cut = Say::Answers(vec![Piece::Word("a"), Piece::Breaks(Error::upstream("cut"))]);
    let (reusing, _) = over(&Actor::new("a", [cut]), coalescing());
    let (first, second) = futures::join!(async { hear(reusing.chat(&x, question(MESSAGES)).await?).await }, async {
        hear(reusing.chat(&y, question(MESSAGES)).await?).await
    },);
    for heard in [first, second] {
        let heard = heard.expect("a head");
        assert_eq!((heard.words.as_str(), heard.error.map(|e| e.kind)), ("a", Some(Kind::Upstream)));
    }
}

/// Falls over.
struct Panics;

#[async_trait]
impl Inference for Panics {
    async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
        panic!("on purpose");
    }
    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

#[tokio::test]
async fn a_panic_is_an_error_and_no_silence() {
    let reusing = Reusing::over(Arc::new(Panics), &[coalescing()]).expect("a route that reuses");
    for _ in 0..2 {
        let error = reusing.chat(&tenant("t"), question(MESSAGES)).await.err().expect("fallen over");
        assert_eq!(error.kind, Kind::Internal);
    }
}

/// Says as many long words as are asked for; counts those that were fetched.
struct Long {
    words: usize,
    fetched: Arc<AtomicUsize>,
}

/// Of one word, in bytes: many times what is read ahead, and twice that behind are a quarter of what may wait.
const WORD: usize = 2 * 1024 * 1024;

#[async_trait]
impl Inference for Long {
    async fn chat(&self, _: &Cx, request: ChatRequest) -> Result<ChatReply> {
        let head = ReplyHead {
            provider: "a".into(),
            model: request.model,
            dialect: Dialect::OpenaiChat,
            streaming: true,
            upstream_request: None,
            effort: Effort::default(),
            reuse: None,
        };
        let (word, fetched) = (Bytes::from(vec![b'x'; WORD]), Arc::clone(&self.fetched));
        let frames = stream::iter(0..self.words).map(move |_| {
            fetched.fetch_add(1, Ordering::SeqCst);
            Ok(Frame { raw: word.clone(), ..Frame::default() })
        });
        Ok(ChatReply { head, frames: frames.boxed() })
    }
    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
}

fn long(words: usize) -> (Arc<Reusing>, Arc<AtomicUsize>) {
    let fetched = Arc::new(AtomicUsize::new(0));
    let long = Long { words, fetched: Arc::clone(&fetched) };
    (Arc::new(Reusing::over(Arc::new(long), &[coalescing()]).expect("a route that reuses")), fetched)
}

/// Everything that can run without a reader has run.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn two(reusing: &Reusing) -> (ChatReply, ChatReply) {
    let (x, y) = (tenant("t"), tenant("t"));
    let (first, second) = futures::join!(reusing.chat(&x, question(MESSAGES)), reusing.chat(&y, question(MESSAGES)));
    (first.expect("an answer"), second.expect("an answer"))
}

/// How many words came, and the error at the end.
async fn heard(reply: ChatReply) -> (usize, Option<Kind>) {
    let all: Vec<Result<Frame>> = reply.frames.collect().await;
    let error = all.last().and_then(|last| last.as_ref().err()).map(|error| error.kind);
    (all.len() - usize::from(error.is_some()), error)
}

#[tokio::test]
async fn nobody_fetches_what_nobody_reads() {
    let (reusing, fetched) = long(50);
    let mut reply = reusing.chat(&tenant("t"), question(MESSAGES)).await.expect("an answer");
    settled().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 1);
    reply.frames.next().await.expect("a frame").expect("a good one");
    settled().await;
    assert_eq!(fetched.load(Ordering::SeqCst), 2, "one is read ahead");
    assert_eq!(heard(reply).await, (49, None));
}

#[tokio::test]
async fn the_quickest_sets_the_pace_and_one_that_keeps_up_somehow_hears_it_all() {
    let (reusing, fetched) = long(3);
    let (quick, slow) = two(&reusing).await;
    assert_eq!(heard(quick).await, (3, None));
    assert_eq!(fetched.load(Ordering::SeqCst), 3);
    assert_eq!(heard(slow).await, (3, None));
}

#[tokio::test]
async fn one_that_falls_too_far_behind_hears_an_error_and_keeps_nobody_waiting() {
    let (reusing, fetched) = long(50);
    let (quick, slow) = two(&reusing).await;
    assert_eq!(heard(quick).await, (50, None));
    assert_eq!(fetched.load(Ordering::SeqCst), 50);
    let (words, error) = heard(slow).await;
    // 8 MiB, a little less for what a frame is itself.
    assert_eq!((words, error), (3, Some(Kind::Timeout)));
}

#[tokio::test]
async fn when_the_quickest_leaves_the_next_one_sets_the_pace() {
    let (reusing, fetched) = long(50);
    let (mut quick, slow) = two(&reusing).await;
    for _ in 0..2 {
        quick.frames.next().await.expect("a frame").expect("a good one");
    }
    drop(quick);
    settled().await;
    assert!(fetched.load(Ordering::SeqCst) <= 3, "nobody reads");
    assert_eq!(heard(slow).await, (50, None));
}

#[tokio::test]
async fn who_wants_a_fresh_answer_or_none_that_is_kept_neither_joins_nor_is_joined() {
    let gate = Arc::new(Notify::new());
    let held =
        Say::Answers(vec![Piece::Gate(Arc::clone(&gate)), Piece::Word("a"), Piece::Finish(0, FinishReason::Stop)]);
    let a = Actor::new("a", [held, good(&["own"]), good(&["own"])]);
    let (reusing, _) = over(&a, coalescing());
    let first = begin(&reusing, tenant("t")).await;
    for said in ["no-cache", "no-store"] {
        let cx = Cx { cache: CacheControl::read([said]), ..tenant("t") };
        let own = ask(&reusing, &cx, question(MESSAGES)).await;
        assert_eq!((own.words.as_str(), own.head.reuse), ("<own.", Some(Reuse::Miss)), "{said}");
    }
    let young = Cx { cache: CacheControl::read(["max-age=1"]), ..tenant("t") };
    let joins = begin(&reusing, young).await;
    gate.notify_one();
    for task in [first, joins] {
        assert_eq!(task.await.expect("no panic").expect("an answer").words, "a.");
    }
    assert_eq!(a.asked(), 3);
}
