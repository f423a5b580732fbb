//! Answers that are kept and answers that are shared: what is equal, what is kept, who hears what.

use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{
    chat::{Chat, FinishReason, Frame, Marks, ReplyHead, Reuse, Source},
    client_keys::ClientKeys,
    cx::CancellationToken,
};
use tokio::sync::Notify;

use super::{
    stage::{Actor, Hand, Heard, Piece, Say, Shared, hear},
    *,
};
use crate::{
    policy::{Cache, Coalesce, Include},
    reuse::Reusing,
};

const MESSAGES: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

fn caching(include: &[Include]) -> Route {
    let cache = Cache { ttl_s: 60, max_mb: 1, include: include.to_vec() };
    Route { cache: Some(cache), ..Route::to("r", &["a/m"]) }
}

fn coalescing() -> Route {
    Route { coalesce: Some(Coalesce::default()), ..Route::to("r", &["a/m"]) }
}

/// `a` behind one route.
fn over(a: &Arc<Actor>, route: Route) -> (Arc<Reusing>, Arc<Hand>) {
    let hand = Hand::still();
    let reusing = Reusing::with(a.clone(), &[route], Arc::new(Shared(Arc::clone(&hand))));
    (Arc::new(reusing.expect("a route that reuses")), hand)
}

fn good(words: &[&'static str]) -> Say {
    let words = words.iter().map(|word| Piece::Word(word));
    let ends = [Piece::Counted, Piece::Finish(0, FinishReason::Stop)];
    Say::Answers([Piece::Preamble].into_iter().chain(words).chain(ends).collect())
}

fn tenant(name: &str) -> Cx {
    Cx::internal(name, "r")
}

fn sent(dialect: Dialect, body: &str, stream: bool, wants_usage: bool) -> ChatRequest {
    let decode = |_: &[u8]| Ok(Chat::default());
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    ChatRequest::from_source("r", stream, wants_usage, Source { dialect, bytes, decode, marks: Marks::default() })
}

/// A client's streamed request with temperature 0 and these members.
fn question(members: &str) -> ChatRequest {
    sent(Dialect::OpenaiChat, &format!(r#"{{"model":"r","temperature":0,{members}}}"#), true, false)
}

async fn ask(reusing: &Reusing, cx: &Cx, request: ChatRequest) -> Heard {
    hear(reusing.chat(cx, request).await.expect("an answer")).await.expect("heard")
}

/// What the route did with a request.
async fn reuse(reusing: &Reusing, request: ChatRequest) -> Reuse {
    ask(reusing, &tenant("t"), request).await.head.reuse.expect("a route that reuses")
}

async fn frames(reusing: &Reusing, request: ChatRequest) -> (ReplyHead, Vec<Frame>) {
    let ChatReply { head, frames } = reusing.chat(&tenant("t"), request).await.expect("an answer");
    (head, frames.map(|frame| frame.expect("a good one")).collect().await)
}

#[tokio::test]
async fn an_equal_request_hears_the_same_frames_and_nobody_is_asked() {
    let a = Actor::new("a", [good(&["hel", "lo"])]);
    let (reusing, _) = over(&a, caching(&[]));
    let (first, told) = frames(&reusing, question(MESSAGES)).await;
    assert_eq!((first.reuse, told.len()), (Some(Reuse::Miss), 5));
    let same = [
        MESSAGES.to_owned(),
        format!(r#"{MESSAGES},"user":"u1","metadata":{{"a":"b"}},"safety_identifier":"s""#),
        format!(r#""prompt_cache_key":"k",{MESSAGES},"prompt_cache_retention":"24h""#),
        r#" "messages" : [ { "role": "user",
            "content": "hi" } ], "stream_options": { "include_usage": true }"#
            .to_owned(),
    ];
    for members in same {
        let mut request = question(&members);
        let (head, passed) = frames(&reusing, request.clone()).await;
        assert_eq!((head.reuse, head.streaming, head.provider.as_str()), (Some(Reuse::Hit), true, "a"), "{members}");
        let raw = |frames: &[Frame]| frames.iter().map(|f| (f.raw.clone(), f.preamble)).collect::<Vec<_>>();
        assert_eq!(raw(&passed), raw(&told), "{members}");
        let counted = passed.iter().flat_map(|frame| &frame.events).collect::<Vec<_>>();
        assert!(matches!(counted[..], [ChatEvent::Usage(_), ChatEvent::Finish { .. }]), "{counted:?}");
        // Somebody who reads events gets them all.
        request.wants_events = true;
        assert_eq!(frames(&reusing, request).await.1, told);
    }
    assert_eq!(a.asked(), 1);
}

#[tokio::test]
async fn what_makes_a_difference_is_asked_anew() {
    let a = Actor::new("a", (0..20).map(|_| good(&["x"])));
    let (reusing, _) = over(&a, caching(&[]));
    let body = |members: &str| format!(r#"{{"temperature":0,{members}}}"#);
    let chat = |members: &str| sent(Dialect::OpenaiChat, &body(members), true, false);
    let different = [
        chat(MESSAGES),
        sent(Dialect::OpenaiChat, &body(MESSAGES), false, false),
        sent(Dialect::AnthropicMessages, &body(MESSAGES), true, false),
        sent(Dialect::OpenaiChat, &format!(r#"{{"temperature":0.0,{MESSAGES}}}"#), true, false),
        chat(&format!(r#"{MESSAGES},"seed":1"#)),
        chat(&format!(r#"{MESSAGES},"x_unknown":null"#)),
        chat(&format!(r#"{MESSAGES},"stream_options":{{"include_usage":true,"more":1}}"#)),
        chat(r#""messages":[{"content":"hi","role":"user"}]"#),
        chat(r#""messages":[{"role":"user","content":"h i"}]"#),
        chat(r#""messages":[{"role":"user","content":"hi"}],"messages":[]"#),
        ChatRequest::typed("r", Chat { temperature: Some(0.0), ..Chat::default() }),
        ChatRequest::typed("r", Chat { temperature: Some(0.0), seed: Some(1), ..Chat::default() }),
    ];
    for (i, request) in different.iter().enumerate() {
        assert_eq!(reuse(&reusing, request.clone()).await, Reuse::Miss, "{i}");
    }
    assert_eq!(ask(&reusing, &tenant("another"), different[0].clone()).await.head.reuse, Some(Reuse::Miss));
    for (i, request) in different.into_iter().enumerate() {
        assert_eq!(reuse(&reusing, request).await, Reuse::Hit, "{i}");
    }
    assert_eq!(a.asked(), 13);
}

#[tokio::test]
async fn only_an_answer_that_came_to_its_own_end_is_kept() {
    let ends = |pieces: Vec<Piece>| Say::Answers(pieces);
    let finish = |reason| Piece::Finish(0, reason);
    let bad = [
        Say::Fails(Error::upstream("down")),
        ends(vec![Piece::Word("cut"), Piece::Breaks(Error::upstream("cut"))]),
        ends(vec![finish(FinishReason::Stop), Piece::Breaks(Error::upstream("late"))]),
        ends(vec![Piece::Word("no end")]),
        ends(vec![Piece::Word("filtered"), finish(FinishReason::ContentFilter)]),
        ends(vec![Piece::Word("paused"), finish(FinishReason::Other("pause_turn".into()))]),
        ends(vec![Piece::Word("one choice of two"), Piece::Finish(1, FinishReason::Stop)]),
        ends(vec![]),
    ];
    let count = bad.len();
    let a = Actor::new("a", bad.into_iter().chain([good(&["whole"])]));
    let (reusing, _) = over(&a, caching(&[]));
    for asked in 1..=count {
        if let Ok(reply) = reusing.chat(&tenant("t"), question(MESSAGES)).await {
            assert_eq!(reply.head.reuse, Some(Reuse::Miss), "{asked}");
            hear(reply).await.expect("heard");
        }
        assert_eq!(a.asked(), asked);
    }
    // One that was let go of before its end.
    let mut left = reusing.chat(&tenant("t"), question(MESSAGES)).await.expect("an answer").frames;
    left.next().await.expect("a frame").expect("a good one");
    drop(left);
    let a_good_end = [FinishReason::Length, FinishReason::ToolCalls];
    for reason in a_good_end {
        let a = Actor::new("a", [Say::Answers(vec![Piece::Word("x"), finish(reason)])]);
        let (reusing, _) = over(&a, caching(&[]));
        assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Miss);
        assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Hit);
    }
    assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Miss);
}

#[tokio::test]
async fn answers_age_and_give_way_to_others() {
    // Three of these are more than a mebibyte.
    let long: &'static str = "x".repeat(200_000).leak();
    let a = Actor::new("a", (0..9).map(|_| good(&[long])));
    let (reusing, hand) = over(&a, caching(&[]));
    let of = |seed: u8| question(&format!(r#"{MESSAGES},"seed":{seed}"#));
    for (seed, was) in [(1, Reuse::Miss), (2, Reuse::Miss), (1, Reuse::Hit), (3, Reuse::Miss)] {
        assert_eq!(reuse(&reusing, of(seed)).await, was, "{seed}");
    }
    // The second was not used for longest.
    for (seed, was) in [(1, Reuse::Hit), (3, Reuse::Hit), (2, Reuse::Miss)] {
        assert_eq!(reuse(&reusing, of(seed)).await, was, "{seed}");
    }
    hand.pass(Duration::from_secs(59));
    assert_eq!(reuse(&reusing, of(3)).await, Reuse::Hit);
    hand.pass(Duration::from_secs(1));
    assert_eq!(reuse(&reusing, of(3)).await, Reuse::Miss);

    let huge: &'static str = "x".repeat(1_100_000).leak();
    let (reusing, _) = over(&Actor::new("a", [good(&[huge]), good(&["y"])]), caching(&[]));
    let first = ask(&reusing, &tenant("t"), of(1)).await;
    assert_eq!(first.words.len(), huge.len() + 2, "told, and not kept");
    assert_eq!(reuse(&reusing, of(1)).await, Reuse::Miss);
}

#[tokio::test]
async fn sampled_answers_tools_and_agents_are_kept_where_the_operator_says_so() {
    let sampled = sent(Dialect::OpenaiChat, &format!("{{{MESSAGES}}}"), true, false);
    let warm = sent(Dialect::OpenaiChat, &format!(r#"{{{MESSAGES},"temperature":0.1}}"#), true, false);
    let tools = question(&format!(r#"{MESSAGES},"tools":[{{"type":"function"}}]"#));
    let search = question(&format!(r#"{MESSAGES},"web_search_options":{{}}"#));
    let mut turn = tenant("t");
    turn.turn = Some("turn_1".into());
    let cases = [
        (Include::Sampled, tenant("t"), sampled),
        (Include::Sampled, tenant("t"), warm),
        (Include::Tools, tenant("t"), tools),
        (Include::Tools, tenant("t"), search),
        (Include::Agents, turn, question(MESSAGES)),
    ];
    for (i, (include, cx, request)) in cases.into_iter().enumerate() {
        let a = Actor::new("a", (0..9).map(|_| good(&["x"])));
        let others: Vec<Include> =
            [Include::Sampled, Include::Tools, Include::Agents].into_iter().filter(|other| *other != include).collect();
        let (reusing, _) = over(&a, Route { coalesce: Some(Coalesce { include: others.clone() }), ..caching(&others) });
        for _ in 0..2 {
            assert_eq!(ask(&reusing, &cx, request.clone()).await.head.reuse, Some(Reuse::Bypass), "{i}");
        }
        let (reusing, _) = over(&a, caching(&[include]));
        for was in [Reuse::Miss, Reuse::Hit] {
            assert_eq!(ask(&reusing, &cx, request.clone()).await.head.reuse, Some(was), "{i}");
        }
    }
    let a = Actor::new("a", (0..9).map(|_| good(&["x"])));
    let (reusing, _) = over(&a, caching(&[]));
    let none = question(&format!(r#"{MESSAGES},"tools":[],"functions":null"#));
    assert_eq!(reuse(&reusing, none).await, Reuse::Miss, "no tools are no tools");
    let elsewhere = ChatRequest::typed("a/m", Chat::default());
    assert_eq!(ask(&reusing, &tenant("t"), elsewhere).await.head.reuse, None, "not a route that reuses");
}

#[tokio::test]
async fn what_a_client_pays_for_itself_is_neither_kept_nor_shared() {
    let a = Actor::new("a", (0..9).map(|_| good(&["x"])));
    let (reusing, _) = over(&a, Route { coalesce: Some(Coalesce::default()), ..caching(&[]) });
    let client_keys = ClientKeys::new([("a_api_key".to_owned(), "k".to_owned())]);
    let own = Cx { client_keys, ..tenant("t") };
    for _ in 0..2 {
        assert_eq!(ask(&reusing, &own, question(MESSAGES)).await.head.reuse, Some(Reuse::Bypass));
    }
    assert_eq!(reuse(&reusing, question(MESSAGES)).await, Reuse::Miss);
    assert_eq!(ask(&reusing, &own, question(MESSAGES)).await.head.reuse, Some(Reuse::Bypass));
    assert_eq!(a.asked(), 4);
}

#[tokio::test]
async fn who_wants_usage_gets_no_answer_without() {
    let uncounted = || Say::Answers(vec![Piece::Word("x"), Piece::Finish(0, FinishReason::Stop)]);
    let a = Actor::new("a", [uncounted(), good(&["x"]), uncounted()]);
    let (reusing, _) = over(&a, caching(&[]));
    let body = format!(r#"{{"temperature":0,{MESSAGES}}}"#);
    let with = |usage| sent(Dialect::OpenaiChat, &body, true, usage);
    for (usage, was) in [(false, Reuse::Miss), (true, Reuse::Miss), (true, Reuse::Hit), (false, Reuse::Hit)] {
        assert_eq!(reuse(&reusing, with(usage)).await, was);
    }
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
    assert_eq!((a.asked(), a.dropped.load(std::sync::atomic::Ordering::SeqCst)), (1, 0));
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
    assert_eq!((a.asked(), a.dropped.load(std::sync::atomic::Ordering::SeqCst)), (2, 1));
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

#[test]
fn routes_that_reuse_nothing_get_no_layer() {
    assert!(Reusing::over(Arc::new(Panics), &[Route::to("r", &["a/m"])]).is_none());
}
