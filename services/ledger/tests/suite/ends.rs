//! However a call ends, it is one row with what is known.

use std::time::Duration;

use frontdesk_api::{
    Attempt, Error, Inference as _, Kind,
    attempt::Outcome,
    chat::Usage,
    embed::{Embed, EmbedRequest, Input},
    rerank::{Rerank, RerankRequest},
};
use frontdesk_ledger::Outstanding;
use frontdesk_store::{
    Store,
    testing::{each_database, two_tenants},
};
use futures::StreamExt as _;

use crate::{Up, counted, ledger, metered, passed_on, read, row, rows, said, total, typed, unread};

#[tokio::test]
async fn an_answer_that_ends_well_is_booked_as_the_provider_counted_it() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = || Up {
            streaming: true,
            frames: || vec![Ok(said("hi")), Ok(counted(100, 10))],
            others: Vec::new,
            ends: true,
        };
        let models = metered(&books, up());
        for model in ["up/priced", "up/unpriced"] {
            assert_eq!(read(models.chat(&a, passed_on(model)).await.expect("an answer")).await.len(), 2);
        }
        let want = [
            // 100 × 2 + 10 × 8 millionths of a dollar
            row("ok", false, "up/priced", 100, 10, Some(280_000)),
            row("ok", false, "up/unpriced", 100, 10, None),
        ];
        assert_eq!(rows(&books, &store, &a).await, want);
        assert_eq!(rows(&books, &store, &b).await, [], "not theirs");
        let sum = total(&books, &a).await;
        assert_eq!((sum.requests, sum.unpriced, sum.cost, sum.failed), (2, 1, Some(280_000), 0));
    })
    .await;
}

#[tokio::test]
async fn vectors_and_orders_are_booked_too_and_estimated_where_nobody_counts() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models = metered(&books, Up { streaming: false, frames: Vec::new, others: Vec::new, ends: true });
        let embed = |model: &str| {
            let input = vec![Input::Text("x".repeat(40)), Input::Tokens(vec![1; 10])];
            models.embed(&a, EmbedRequest::typed(model, Embed { input, ..Embed::default() }))
        };
        embed("up/priced").await.expect("vectors");
        embed("up/late").await.expect("vectors");
        let rerank = |model: &str| {
            let asked = Rerank { query: "x".repeat(20), documents: vec!["x".repeat(20).into()], ..Rerank::default() };
            models.rerank(&a, RerankRequest::typed(model, asked))
        };
        rerank("up/late").await.expect("an order");
        rerank("up/refuses").await.expect_err("too many");
        let want = [
            row("ok", false, "up/priced", 5, 0, Some(10_000)),
            row("ok", true, "up/late", 20, 0, Some(40_000)),
            row("ok", true, "up/late", 10, 0, Some(20_000)),
            row("error", false, "up/refuses", 0, 0, Some(0)),
        ];
        assert_eq!(rows(&books, &store, &a).await, want);
    })
    .await;
}

#[tokio::test]
async fn an_answer_without_a_count_is_estimated_and_says_so() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let frames = || vec![Ok(unread("data: 1\n\ndata: 2\n\n")), Ok(unread("data: 3\n\ndata: [DONE]\n\n"))];
        let models = metered(&books, Up { streaming: true, frames, others: Vec::new, ends: true });
        read(models.chat(&a, passed_on("up/priced")).await.expect("an answer")).await;
        let words = Up { streaming: true, frames: || vec![Ok(said("twelve bytes"))], others: Vec::new, ends: true };
        read(metered(&books, words).chat(&a, typed("up/priced")).await.expect("an answer")).await;
        let want =
            [row("ok", true, "up/priced", 100, 3, Some(224_000)), row("ok", true, "up/priced", 10, 3, Some(44_000))];
        assert_eq!(rows(&books, &store, &a).await, want);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_costs_nothing_and_a_timeout_what_it_may_have() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models = metered(&books, Up { streaming: true, frames: Vec::new, others: Vec::new, ends: true });
        for (model, kind) in [("up/refuses", Kind::RateLimited), ("up/late", Kind::Timeout)] {
            assert_eq!(models.chat(&a, passed_on(model)).await.err().map(|e| e.kind), Some(kind));
        }
        let broken = Up {
            streaming: true,
            frames: || vec![Ok(said("four")), Err(Error::upstream("broke off"))],
            others: Vec::new,
            ends: true,
        };
        let seen = read(metered(&books, broken).chat(&a, typed("up/priced")).await.expect("an answer")).await;
        assert!(seen.last().is_some_and(Result::is_err), "the client is told");
        let want = [
            row("error", false, "up/refuses", 0, 0, Some(0)),
            row("error", true, "up/late", 100, 0, Some(200_000)),
            row("error", true, "up/priced", 10, 1, Some(28_000)),
        ];
        assert_eq!(rows(&books, &store, &a).await, want);
    })
    .await;
}

#[tokio::test]
async fn a_name_that_leads_to_nobody_is_no_call() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = |others| Up { streaming: true, frames: Vec::new, others, ends: true };
        for name in ["up/unknown", "up/ambiguous"] {
            assert!(metered(&books, up(Vec::new)).chat(&a, typed(name)).await.is_err());
        }
        assert_eq!(rows(&books, &store, &a).await, []);
        // A provider that was asked and knows no such model was called.
        let asked = || {
            let (provider, model, outcome) = ("up".into(), "unknown".into(), Outcome::Failed(Kind::NotFound));
            vec![Attempt { provider, model, outcome, took: Duration::from_millis(3), usage: None }]
        };
        assert!(metered(&books, up(asked)).chat(&a, typed("up/unknown")).await.is_err());
        assert_eq!(rows(&books, &store, &a).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_is_booked_with_what_has_passed() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        // In the middle, after the first count; then after the last.
        for frames in [
            (|| vec![Ok(counted(30, 1)), Ok(unread("data: 1\n\n")), Ok(unread("data: 2\n\n"))]) as fn() -> Vec<_>,
            || vec![Ok(unread("data: 1\n\n")), Ok(counted(30, 9))],
        ] {
            let models = metered(&books, Up { streaming: true, frames, others: Vec::new, ends: false });
            let mut reply = models.chat(&a, passed_on("up/priced")).await.expect("an answer");
            for _ in frames() {
                reply.frames.next().await.expect("a frame").expect("no error");
            }
            drop(reply);
        }
        // Before anyone answered.
        let models = metered(&books, Up { streaming: true, frames: Vec::new, others: Vec::new, ends: false });
        let mut asking = Box::pin(models.chat(&a, passed_on("up/silent")));
        assert!(futures::poll!(&mut asking).is_pending());
        drop(asking);
        let want = [
            row("disconnected", true, "up/priced", 30, 3, Some(84_000)),
            row("disconnected", false, "up/priced", 30, 9, Some(132_000)),
            row("disconnected", true, "up/silent", 100, 0, Some(200_000)),
        ];
        assert_eq!(rows(&books, &store, &a).await, want);
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_stopped_is_told_from_one_that_is_left() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models =
            metered(&books, Up { streaming: true, frames: || vec![Ok(said("four"))], others: Vec::new, ends: false });
        let mut reply = models.chat(&a, typed("up/priced")).await.expect("an answer");
        reply.frames.next().await.expect("a frame").expect("no error");
        a.cancel.cancel();
        drop(reply);
        assert_eq!(rows(&books, &store, &a).await, [row("cancelled", true, "up/priced", 10, 1, Some(28_000))]);
    })
    .await;
}

#[tokio::test]
async fn a_whole_answer_is_over_with_its_one_frame() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models =
            metered(&books, Up { streaming: false, frames: || vec![Ok(counted(5, 1))], others: Vec::new, ends: true });
        let mut reply = models.chat(&a, passed_on("alias")).await.expect("an answer");
        reply.frames.next().await.expect("a frame").expect("no error");
        drop(reply);
        assert_eq!(rows(&books, &store, &a).await, [row("ok", false, "up/alias", 5, 1, None)]);
    })
    .await;
}

#[tokio::test]
async fn attempts_beside_the_answer_are_booked_where_they_may_have_cost_something() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let others = || {
            let attempt = |model: &str, outcome, usage| Attempt {
                provider: "up".into(),
                model: model.into(),
                outcome,
                took: Duration::from_millis(3),
                usage,
            };
            let known = Usage { input_tokens: 7, ..Usage::default() };
            vec![
                attempt("slow", Outcome::Failed(Kind::RateLimited), None),
                attempt("slow", Outcome::Outrun, None),
                attempt("slow", Outcome::Failed(Kind::Upstream), Some(known)),
                attempt("slow", Outcome::Failed(Kind::Timeout), None),
            ]
        };
        let models = metered(&books, Up { streaming: true, frames: || vec![Ok(counted(100, 10))], others, ends: true });
        read(models.chat(&a, passed_on("up/priced")).await.expect("an answer")).await;
        let outrun = row("outrun", true, "up/slow", 100, 0, Some(200_000));
        let broke = row("error", false, "up/slow", 7, 0, Some(14_000));
        let late = row("error", true, "up/slow", 100, 0, Some(200_000));
        let answered = row("ok", false, "up/priced", 100, 10, Some(280_000));
        let seen = rows(&books, &store, &a).await;
        for wanted in [&outrun, &broke, &late, &answered] {
            assert!(seen.contains(wanted), "{wanted:?} in {seen:?}");
        }
        assert_eq!(seen.len(), 4, "a refusal costs nothing");
        // Nobody answered: the last attempt's failure is the request's.
        assert!(models.chat(&a, passed_on("up/tried")).await.is_err());
        let refused = row("error", false, "up/slow", 0, 0, Some(0));
        assert_eq!(rows(&books, &store, &a).await[4..], [refused, outrun, broke]);
        books.close().await;
        assert_eq!(store.tenant(&a).outstanding().await.expect("read"), Outstanding::default());
    })
    .await;
}

#[tokio::test]
async fn whatever_a_client_calls_a_model_can_be_kept() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models = metered(
            &books,
            Up { streaming: true, frames: || vec![Err(Error::not_found("no"))], others: Vec::new, ends: true },
        );
        let long = format!("zero\0byte{}", "x".repeat(10_000));
        read(models.chat(&a, passed_on(&long)).await.expect("a reply")).await;
        let kept = rows(&books, &store, &a).await;
        assert_eq!((kept.len(), kept[0].status.as_str()), (1, "error"));
    })
    .await;
}
