//! What callers want of kept answers, vectors that are kept, and the room that recordings take.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use frontdesk_api::{
    Effort,
    chat::{Marks, Reuse, Source, Usage},
    client_keys::ClientKeys,
    reuse::CacheControl,
};

use super::{
    reuse::{MESSAGES, ask, caching, frames, good, over, question, reuse, sent, tenant},
    stage::{Actor, Hand, Shared},
    *,
};
use crate::{
    policy::{Coalesce, Include},
    reuse::Reusing,
};

fn wishing(header: &str) -> Cx {
    Cx { cache: CacheControl::read([header]), ..tenant("t") }
}

#[tokio::test]
async fn a_fresh_answer_is_asked_for_and_takes_the_kept_ones_place() {
    let a = Actor::new("a", [good(&["old"]), good(&["new"]), good(&["newest"])]);
    let (reusing, hand) = over(&a, caching(&[]));
    let said = async |cx: &Cx| {
        let heard = ask(&reusing, cx, question(MESSAGES)).await;
        (heard.words, heard.head.reuse.expect("a route that reuses"))
    };
    assert_eq!(said(&tenant("t")).await, ("<old.".into(), Reuse::Miss));
    assert_eq!(said(&wishing("no-cache")).await, ("<new.".into(), Reuse::Miss));
    assert_eq!(said(&tenant("t")).await, ("<new.".into(), Reuse::Hit));
    hand.pass(Duration::from_secs(10));
    assert_eq!(said(&wishing("max-age=10")).await, ("<new.".into(), Reuse::Hit));
    hand.pass(Duration::from_millis(1));
    assert_eq!(said(&wishing("max-age=10")).await, ("<newest.".into(), Reuse::Miss));
    assert_eq!(said(&wishing("max-age=10")).await, ("<newest.".into(), Reuse::Hit));
}

#[tokio::test]
async fn what_is_not_to_be_stored_is_told_and_not_kept() {
    let a = Actor::new("a", [good(&["secret"]), good(&["kept"])]);
    let (reusing, _) = over(&a, Route { coalesce: Some(Coalesce::default()), ..caching(&[]) });
    let (own, all) = (wishing("no-store"), tenant("t"));
    for (cx, words, was) in [
        (&own, "<secret.", Reuse::Miss),
        (&all, "<kept.", Reuse::Miss),
        // HTTP keeps it from being stored, not from being answered out of what is.
        (&own, "<kept.", Reuse::Hit),
    ] {
        let heard = ask(&reusing, cx, question(MESSAGES)).await;
        assert_eq!((heard.words.as_str(), heard.head.reuse), (words, Some(was)));
    }
}

#[tokio::test]
async fn recordings_take_room_while_they_are_made() {
    // Two of them are more than a mebibyte, one is not.
    let long: &'static str = "x".repeat(300_000).leak();
    let a = Actor::new("a", (0..9).map(|_| good(&[long])));
    let (reusing, _) = over(&a, caching(&[]));
    let of = |seed: u8| question(&format!(r#"{MESSAGES},"seed":{seed}"#));
    let begun = async |seed: u8| {
        let mut frames = reusing.chat(&tenant("t"), of(seed)).await.expect("an answer").frames;
        for _ in 0..2 {
            frames.next().await.expect("a frame").expect("a good one");
        }
        frames
    };
    let first = begun(1).await;
    assert_eq!(reuse(&reusing, of(2)).await, Reuse::Miss);
    assert_eq!(reuse(&reusing, of(2)).await, Reuse::Miss, "there was no room to record it");
    assert_eq!(first.count().await, 2);
    assert_eq!(reuse(&reusing, of(1)).await, Reuse::Hit, "the first one had it");
    // Recording another takes the place of what is kept, and one that is let go of gives its room back.
    drop(begun(3).await);
    assert_eq!(reuse(&reusing, of(1)).await, Reuse::Miss);
    assert_eq!(reuse(&reusing, of(1)).await, Reuse::Hit);
}

/// A text completion is a chat of another dialect.
#[tokio::test]
async fn text_completions_are_kept_as_chats_are() {
    let a = Actor::new("a", [good(&["x"]), good(&["y"])]);
    let (reusing, _) = over(&a, caching(&[]));
    let asks = |prompt: &str| {
        let body = format!(r#"{{"model":"r","temperature":0,"prompt":"{prompt}"}}"#);
        sent(Dialect::OpenaiCompletions, &body, true, false)
    };
    let (_, told) = frames(&reusing, asks("once")).await;
    let (again, same) = frames(&reusing, asks("once")).await;
    assert_eq!((again.reuse, same.len()), (Some(Reuse::Hit), told.len()));
    assert_eq!(reuse(&reusing, asks("twice")).await, Reuse::Miss);
}

/// Numbers its answers.
#[derive(Default)]
struct Numbers(AtomicUsize);

#[async_trait]
impl Inference for Numbers {
    async fn chat(&self, _: &Cx, _: ChatRequest) -> Result<ChatReply> {
        Err(Error::unavailable("embeds only"))
    }
    async fn models(&self, _: &Cx) -> Result<Vec<Model>> {
        Ok(vec![])
    }
    async fn embed(&self, _: &Cx, request: EmbedRequest) -> Result<Embeddings> {
        let number = self.0.fetch_add(1, Ordering::SeqCst);
        if number == 0 {
            return Err(Error::upstream("not the first time"));
        }
        let raw = Some((Dialect::OpenaiEmbeddings, Bytes::from(number.to_string())));
        let usage = Some(Usage { input_tokens: 3, ..Usage::default() });
        Ok(Embeddings {
            provider: "a".into(),
            model: request.model,
            raw,
            vectors: vec![vec![0.5]],
            usage,
            reuse: None,
            effort: Effort::default(),
        })
    }
}

fn embeds(body: &str) -> EmbedRequest {
    let source = Source {
        dialect: Dialect::OpenaiEmbeddings,
        bytes: Bytes::copy_from_slice(body.as_bytes()),
        decode: |_| Ok(Embed::default()),
        marks: Marks::default(),
    };
    EmbedRequest::from_source("r", source)
}

#[tokio::test]
async fn vectors_are_kept_whatever_tunes_a_chat() {
    let hand = Hand::still();
    let numbers = Arc::new(Numbers::default());
    let time = Arc::new(Shared(Arc::clone(&hand)));
    let route = Route { coalesce: Some(Coalesce::default()), ..caching(&[]) };
    let other = Route { id: "shares".into(), cache: None, ..route.clone() };
    let reusing = Reusing::with(numbers.clone(), &[route, other], time).expect("a route that reuses");
    let input = |text: &str, more: &str| embeds(&format!(r#"{{"model":"r","input":"{text}"{more}}}"#));
    let failed = reusing.embed(&tenant("t"), input("a", "")).await.expect_err("as told");
    assert_eq!(failed.kind, Kind::Upstream);
    let client_keys = ClientKeys::new([("a_api_key".to_owned(), "k".to_owned())]);
    let (own, agents) = (Cx { client_keys, ..tenant("t") }, Cx { turn: Some("turn_1".into()), ..tenant("t") });
    let typed =
        |text: &str| EmbedRequest::typed("r", Embed { input: vec![Input::Text(text.into())], ..Embed::default() });
    for (i, (cx, request, number, was)) in [
        (tenant("t"), input("a", ""), "1", Reuse::Miss),
        (tenant("t"), input("a", r#", "user":"u""#), "1", Reuse::Hit),
        (tenant("another"), input("a", ""), "2", Reuse::Miss),
        (tenant("t"), input("b", ""), "3", Reuse::Miss),
        (tenant("t"), input("a", r#","dimensions":2"#), "4", Reuse::Miss),
        (tenant("t"), input("a", r#","encoding_format":"base64""#), "5", Reuse::Miss),
        (own, input("a", ""), "6", Reuse::Bypass),
        (agents, input("a", ""), "7", Reuse::Bypass),
        (tenant("t"), typed("a"), "8", Reuse::Miss),
        (tenant("t"), typed("a"), "8", Reuse::Hit),
        (wishing("no-store"), input("c", ""), "9", Reuse::Miss),
        (tenant("t"), input("c", ""), "10", Reuse::Miss),
        (wishing("no-cache"), input("a", ""), "11", Reuse::Miss),
        (tenant("t"), input("a", ""), "11", Reuse::Hit),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = reusing.embed(&cx, request).await.expect("vectors");
        let raw = reply.raw.map(|(_, raw)| raw);
        assert_eq!((raw.as_deref(), reply.reuse), (Some(number.as_bytes()), Some(was)), "{i}");
        assert_eq!((reply.vectors, reply.usage.map(|usage| usage.input_tokens)), (vec![vec![0.5]], Some(3)));
    }
    // A whole chat of the same bytes is another thing.
    assert!(reusing.chat(&tenant("t"), sent(Dialect::OpenaiChat, r#"{"input":"a"}"#, false, false)).await.is_err());
    let elsewhere = reusing.embed(&tenant("t"), input("a", "").to("shares")).await.expect("vectors");
    assert_eq!(elsewhere.reuse, None, "it keeps nothing, and vectors are not shared");
    hand.pass(Duration::from_secs(60));
    let later = reusing.embed(&tenant("t"), input("a", "")).await.expect("vectors");
    assert_eq!(later.reuse, Some(Reuse::Miss));
    let agents = Cx { turn: Some("turn_1".into()), ..tenant("t") };
    let reusing = Reusing::over(numbers, &[caching(&[Include::Agents])]).expect("a route that reuses");
    for was in [Reuse::Miss, Reuse::Hit] {
        assert_eq!(reusing.embed(&agents, input("a", "")).await.expect("vectors").reuse, Some(was));
    }
}
