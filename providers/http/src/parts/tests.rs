//! What becomes of calls that are made at once. Nothing is asked here: a call is any future.

use std::{
    future::{pending, ready},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use frontdesk_api::{Kind, chat::Dialect};
use http::HeaderMap;

use super::*;
use crate::{Client, Limits};

fn upstream() -> Upstream {
    Upstream {
        id: "up".into(),
        client: Client::new(Limits::default()),
        headers: HeaderMap::new(),
        client_key: None,
        dialect: Dialect::Gemini,
        error: |_, _| Error::upstream("not asked"),
        request_id: "x-request-id",
        max_event: 0,
        max_answer: 0,
    }
}

fn part(n: u16, tokens: Option<u64>) -> Part {
    Part { vectors: vec![vec![f32::from(n)]], tokens }
}

#[tokio::test]
async fn eight_calls_run_at_once_and_their_order_stays() {
    let (open, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let call = |n: u16| -> Call<'_> {
        let (open, most) = (&open, &most);
        Box::pin(async move {
            most.fetch_max(open.fetch_add(1, Relaxed) + 1, Relaxed);
            // The later, the sooner done.
            for _ in n..30 {
                tokio::task::yield_now().await;
            }
            open.fetch_sub(1, Relaxed);
            Ok(part(n, Some(u64::from(n))))
        })
    };
    let got = upstream().embeddings("m".into(), (0..30).map(call).collect()).await.expect("an answer");
    assert_eq!(most.into_inner(), 8);
    assert_eq!(got.vectors, (0_u16..30).map(|n| vec![f32::from(n)]).collect::<Vec<_>>());
    assert_eq!(got.usage.expect("counted").input_tokens, 29 * 30 / 2);
}

#[tokio::test]
async fn the_first_fault_ends_it_though_others_are_not_done() {
    let mut calls: Vec<Call<'_>> = (0..30).map(|_| -> Call<'_> { Box::pin(pending()) }).collect();
    calls[2] = Box::pin(ready(Err(Error::invalid("input", "too long"))));
    let error = upstream().embeddings("m".into(), calls).await.expect_err("one failed");
    assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("input")));
}

#[tokio::test]
async fn a_fault_tells_what_was_paid_for_before_it() {
    for (counted, paid) in [(Some(7), Some(14)), (None, None)] {
        let mut calls: Vec<Call<'_>> = (0..2).map(|n| -> Call<'_> { Box::pin(ready(Ok(part(n, counted)))) }).collect();
        calls.push(Box::pin(async {
            tokio::task::yield_now().await;
            Err(Error::new(Kind::RateLimited, "too many"))
        }));
        let error = upstream().embeddings("m".into(), calls).await.expect_err("one failed");
        assert_eq!(error.kind, Kind::RateLimited);
        let told: Vec<_> =
            error.attempts().iter().map(|a| (a.model.as_str(), a.usage.map(|u| u.input_tokens))).collect();
        assert_eq!(told, paid.map(|tokens| ("m", Some(tokens))).into_iter().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn vectors_are_numbers_of_one_size() {
    let up = upstream();
    for vectors in [vec![vec![]], vec![vec![f32::INFINITY]], vec![vec![0.5], vec![1.0]], vec![]] {
        let error = up.part((vectors, None), 1).expect_err("no vector");
        assert!(error.kind == Kind::Upstream && error.message.contains("not embeddings"), "{error}");
    }
    let sizes = [1, 2].map(|size| -> Call<'_> { Box::pin(ready(up.part((vec![vec![0.5; size]], None), 1))) });
    let error = up.embeddings("m".into(), sizes.into()).await.expect_err("two sizes");
    assert!(error.message.contains("several sizes"), "{error}");
}

#[tokio::test]
async fn tokens_are_those_of_all_or_none() {
    for (tokens, want) in
        [([Some(1), Some(2)], Some(3)), ([Some(1), None], None), ([Some(u64::MAX), Some(2)], Some(u64::MAX))]
    {
        let calls = tokens.map(|tokens| -> Call<'_> { Box::pin(ready(Ok(part(0, tokens)))) });
        let got = upstream().embeddings("m".into(), calls.into()).await.expect("an answer");
        assert_eq!(got.usage.map(|usage| usage.input_tokens), want);
    }
}
