//! Answers that are kept: what is equal, what is kept, for how long and for whom.

use std::time::Duration;

use bytes::Bytes;
use frontdesk_api::{
    chat::{Chat, FinishReason, Frame, Marks, ReplyHead, Reuse, Source},
    client_keys::ClientKeys,
};

use super::{
    stage::{Actor, Hand, Heard, Piece, Say, Shared, hear},
    *,
};
use crate::{
    policy::{Cache, Coalesce, Include},
    reuse::Reusing,
};

pub(super) const MESSAGES: &str = r#""messages":[{"role":"user","content":"hi"}]"#;

pub(super) fn caching(include: &[Include]) -> Route {
    let cache = Cache { ttl_s: 60, max_mb: 1, include: include.to_vec() };
    Route { cache: Some(cache), ..Route::to("r", &["a/m"]) }
}

/// `a` behind one route.
pub(super) fn over(a: &Arc<Actor>, route: Route) -> (Arc<Reusing>, Arc<Hand>) {
    let hand = Hand::still();
    let reusing = Reusing::with(a.clone(), &[route], Arc::new(Shared(Arc::clone(&hand))));
    (Arc::new(reusing.expect("a route that reuses")), hand)
}

pub(super) fn good(words: &[&'static str]) -> Say {
    let words = words.iter().map(|word| Piece::Word(word));
    let ends = [Piece::Counted, Piece::Finish(0, FinishReason::Stop)];
    Say::Answers([Piece::Preamble].into_iter().chain(words).chain(ends).collect())
}

pub(super) fn tenant(name: &str) -> Cx {
    Cx::internal(name, "r")
}

pub(super) fn sent(dialect: Dialect, body: &str, stream: bool, wants_usage: bool) -> ChatRequest {
    let decode = |_: &[u8]| Ok(Chat::default());
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    ChatRequest::from_source("r", stream, wants_usage, Source { dialect, bytes, decode, marks: Marks::default() })
}

/// A client's streamed request with temperature 0 and these members.
pub(super) fn question(members: &str) -> ChatRequest {
    sent(Dialect::OpenaiChat, &format!(r#"{{"model":"r","temperature":0,{members}}}"#), true, false)
}

pub(super) async fn ask(reusing: &Reusing, cx: &Cx, request: ChatRequest) -> Heard {
    hear(reusing.chat(cx, request).await.expect("an answer")).await.expect("heard")
}

/// What the route did with a request.
pub(super) async fn reuse(reusing: &Reusing, request: ChatRequest) -> Reuse {
    ask(reusing, &tenant("t"), request).await.head.reuse.expect("a route that reuses")
}

pub(super) async fn frames(reusing: &Reusing, request: ChatRequest) -> (ReplyHead, Vec<Frame>) {
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
        chat(&format!(r#"{MESSAGES},"stream_options":[true]"#)),
        chat(&format!(r#"{MESSAGES},"stream_options":null"#)),
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
    assert_eq!(a.asked(), 15);
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
    let unset = sent(Dialect::OpenaiChat, &format!(r#"{{{MESSAGES},"temperature":null}}"#), true, false);
    let tools = question(&format!(r#"{MESSAGES},"tools":[{{"type":"function"}}]"#));
    let search = question(&format!(r#"{MESSAGES},"web_search_options":{{}}"#));
    let mut turn = tenant("t");
    turn.turn = Some("turn_1".into());
    let cases = [
        (Include::Sampled, tenant("t"), sampled),
        (Include::Sampled, tenant("t"), warm),
        (Include::Sampled, tenant("t"), unset),
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

#[test]
fn routes_that_reuse_nothing_get_no_layer() {
    assert!(Reusing::over(Actor::well("a"), &[Route::to("r", &["a/m"])]).is_none());
}
