//! How a batch ends other than by being done: cancelled, expired, failed; and who may see it.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_api::{Kind, Order, PageRequest};
use frontdesk_batches::{Endpoint, JobState, NewBatch, NewLine, Once, Outcome, Pace};
use frontdesk_store::{
    Store, on, sqlx,
    testing::{each_database, two_tenants},
};
use tokio::sync::Semaphore;

use crate::{Stage, counts, quick, said, until};

#[tokio::test]
async fn one_that_is_cancelled_lets_end_what_is_being_answered() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let pace = Pace { lines_at_once: 1, ..quick() };
        let stage = Stage::new(&store, pace, Some(gate.clone())).await;
        // Asked to stop by another process, which only the row tells.
        let other = Stage::new(&store, pace, None).await;
        let id = stage.create("hold a\none\ntwo").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(1).await;
        let cancelling = other.batches.cancel(&stage.cx, Endpoint::Embeddings, &id).await.expect("asked");
        assert!(cancelling.state == JobState::Open && cancelling.cancel_requested_at.is_some());
        gate.add_permits(1);
        let batch = stage.ended(&id).await;
        assert_eq!(batch.state, JobState::Cancelled);
        let [total, succeeded, failed, cancelled, expired] = counts(&batch);
        assert!(total == 3 && succeeded >= 1 && failed + expired == 0 && succeeded + cancelled == 3, "{batch:?}");
        let (output, errors) = stage.files(&batch).await;
        assert_eq!(output[0], said(Outcome::Succeeded, &[(0, "\"hold a\"")])[0]);
        assert_eq!(errors.len() as u64, cancelled);
        let refused = stage.batches.cancel(&stage.cx, Endpoint::Embeddings, &id).await.expect_err("it has ended");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("batch_ended")));
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_whose_time_is_over_says_so_of_every_line_that_was_not_asked() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, Pace { window: Duration::ZERO, ..quick() }, None).await;
        let id = stage.create("one\ntwo").await;
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Expired, [2, 0, 0, 0, 2]));
        assert_eq!(stage.files(&batch).await, (vec![], said(Outcome::Expired, &[(0, ""), (1, "")])));
        assert_eq!(stage.lines.asked(), Vec::<String>::new());
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_is_late_with_its_last_answers_has_them_all_and_is_complete() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let pace = Pace { window: Duration::from_secs(3), ..quick() };
        let stage = Stage::new(&store, pace, Some(gate.clone())).await;
        let id = stage.create("one\nhold a").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(2).await;
        let over = store.tenant(&stage.cx);
        until("its time to be over", async || {
            let mut tx = over.read().await.expect("open");
            let now = store.now(&mut tx).await.expect("the clock");
            let deadline: i64 =
                on!(tx, conn => sqlx::query_scalar("SELECT deadline FROM job").fetch_one(conn).await).expect("a job");
            (now > deadline + 50_000).then_some(())
        })
        .await;
        gate.add_permits(1);
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [2, 2, 0, 0, 0]));
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_cannot_be_read_fails_by_itself() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let (bad, good) = (stage.create("one").await, stage.create("two").await);
        let mut tx = store.tenant(&stage.cx).write().await.expect("open");
        on!(tx, conn => sqlx::query("UPDATE job SET payload = '{}' WHERE id = $1").bind(&bad).execute(conn).await.map(|_| ()))
            .expect("spoilt");
        tx.commit().await.expect("committed");
        stage.batches.recover().await.expect("begun");
        assert_eq!(stage.ended(&good).await.state, JobState::Completed);
        until("the end of both", async || (stage.batches.tally().ended[1].1 == 1).then_some(())).await;
        let error = stage.batches.find(&stage.cx, Endpoint::Embeddings, &bad).await.expect_err("unreadable");
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Conflict, Some("batch_unreadable")));
        assert!(error.message.contains(&bad) && error.message.contains("what a job was asked"), "{error}");
        let listed = stage.batches.list(&stage.cx, Endpoint::Embeddings, &Default::default()).await.expect("listed");
        assert_eq!(listed.items.iter().map(|batch| batch.id.as_str()).collect::<Vec<_>>(), [good.as_str()]);
        // Also behind a page that has nothing else, which one of these orders begins with.
        for order in [Order::Asc, Order::Desc] {
            let page = PageRequest { limit: 1, order, ..PageRequest::default() };
            let listed = stage.batches.list(&stage.cx, Endpoint::Embeddings, &page).await.expect("listed");
            assert_eq!(listed.items.iter().map(|batch| batch.id.as_str()).collect::<Vec<_>>(), [good.as_str()]);
        }
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn a_batch_waits_for_its_files_as_long_as_they_are_out_of_reach() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, quick(), Some(gate.clone())).await;
        let id = stage.create("hold\nfail").await;
        // More often than a batch is begun without getting on.
        stage.contents.out.store(7, Ordering::SeqCst);
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(2).await;
        stage.contents.out.store(7, Ordering::SeqCst);
        gate.add_permits(1);
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [2, 1, 1, 0, 0]));
        assert_eq!(stage.contents.out.load(Ordering::SeqCst), 0, "it asked until it was answered");
        let want = (said(Outcome::Succeeded, &[(0, "\"hold\"")]), said(Outcome::Failed, &[(1, "\"fail\"")]));
        assert_eq!(stage.files(&batch).await, want);
        assert_eq!(stage.lines.asked().len(), 2, "nothing was asked twice");
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_wrong_or_gone_fails_the_batch() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let wrong = stage.create("wrong").await;
        let gone = stage.create("one").await;
        store.tenant(&stage.cx).delete_file("file_1").await.expect("deleted");
        stage.batches.recover().await.expect("begun");
        for (id, code) in [(wrong, "wrong"), (gone, "input_file_not_found")] {
            let batch = stage.ended(&id).await;
            assert_eq!((batch.state, batch.progress.faults[0].code.as_str()), (JobState::Failed, code));
            assert_eq!(stage.files(&batch).await, (vec![], vec![]));
        }
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn a_request_with_a_key_makes_one_batch() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let (_, other) = two_tenants(&store).await;
        let input = stage.file("one").await;
        let once = async |cx: &frontdesk_api::Cx, key: &str, sent: u8| {
            let (endpoint, input) = (Endpoint::Embeddings, input.clone());
            let new = NewBatch::OfFile { endpoint, input, metadata: Default::default(), output_expires_after: None };
            let once = Once { key: key.into(), sent: [sent; 32] };
            stage.batches.create_once(cx, new, once).await.map(|batch| batch.id)
        };
        let (one, same) = futures::join!(once(&stage.cx, "k", 1), once(&stage.cx, "k", 1));
        let first = one.expect("a batch");
        assert_eq!(same.as_ref().expect("the same"), &first);
        assert_ne!(once(&stage.cx, "l", 1).await.expect("another"), first);
        let refused = once(&stage.cx, "k", 2).await.expect_err("another request");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("idempotency_key_reused")));
        assert_eq!(once(&stage.cx, "", 1).await.expect_err("no key").kind, Kind::Invalid);
        assert_eq!(once(&other, "k", 1).await.expect_err("not their file").kind, Kind::NotFound);
        // What was taken in is answered again, though its file is gone.
        store.tenant(&stage.cx).delete_file(&input).await.expect("deleted");
        assert_eq!(once(&stage.cx, "k", 1).await.expect("as before"), first);
    })
    .await;
}

#[tokio::test]
async fn messages_keep_their_results_until_they_are_deleted_and_are_their_tenants_alone() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let (_, other) = two_tenants(&store).await;
        let line = |n: i32, said: &str| NewLine { custom_id: format!("c{n}"), request: said.into() };
        let new = NewBatch::OfMessages(vec![line(0, "one"), line(1, "fail")]);
        let batch = stage.batches.create(&stage.cx, new).await.expect("a batch");
        let keys = frontdesk_api::client_keys::ClientKeys::new([("up_api_key".into(), "x".into())]);
        let own = frontdesk_api::Cx { client_keys: keys, ..stage.cx.clone() };
        let refused =
            stage.batches.create(&own, NewBatch::OfMessages(vec![line(0, "one")])).await.expect_err("its own key");
        assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Invalid, Some("client_key")));
        assert_eq!(counts(&batch), [2, 0, 0, 0, 0]);
        let (of, id) = (Endpoint::Messages, batch.id.as_str());
        let kind = |e: frontdesk_api::Error| e.kind;
        assert_eq!(stage.batches.ended_messages(&stage.cx, id).await.map_err(kind), Err(Kind::Conflict));
        assert_eq!(stage.batches.delete_messages(&stage.cx, id).await.map_err(kind), Err(Kind::Conflict));
        stage.batches.recover().await.expect("begun");
        until("its end", async || stage.batches.ended_messages(&stage.cx, id).await.ok()).await;
        let results = stage.batches.results(&stage.cx, id, -1).await.expect("read");
        let outcomes: Vec<_> = results.iter().map(|line| (line.custom_id.as_str(), line.outcome)).collect();
        assert_eq!(outcomes, [("c0", Outcome::Succeeded), ("c1", Outcome::Failed)]);
        for (cx, of) in [(&other, of), (&stage.cx, Endpoint::Embeddings)] {
            assert_eq!(stage.batches.find(cx, of, id).await.map_err(kind).expect_err("not theirs"), Kind::NotFound);
            assert_eq!(stage.batches.list(cx, of, &Default::default()).await.expect("listed").items, []);
            assert_eq!(stage.batches.cancel(cx, of, id).await.map_err(kind).expect_err("not theirs"), Kind::NotFound);
        }
        assert_eq!(stage.batches.results(&other, id, -1).await.expect("read"), []);
        assert_eq!(stage.batches.delete_messages(&other, id).await.map_err(kind), Err(Kind::NotFound));
        stage.batches.delete_messages(&stage.cx, id).await.expect("deleted");
        assert_eq!(stage.batches.results(&stage.cx, id, -1).await.expect("read"), []);
        assert_eq!(stage.batches.find(&stage.cx, of, id).await.map_err(kind).expect_err("gone"), Kind::NotFound);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn results_of_messages_are_deleted_when_their_time_is_over_and_those_of_files_are_not() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let line = NewLine { custom_id: "c0".into(), request: "one".into() };
        let id = stage.batches.create(&stage.cx, NewBatch::OfMessages(vec![line; 1300])).await.expect("a batch").id;
        let of_file = stage.create("one").await;
        stage.batches.recover().await.expect("begun");
        stage.ended(&of_file).await;
        let of = Endpoint::Messages;
        until("its end", async || stage.batches.ended_messages(&stage.cx, &id).await.ok()).await;
        stage.batches.shutdown(Duration::from_secs(60)).await;

        let keep_results = Some(Duration::from_secs(3600));
        let pace = Pace { keep_results, ..quick() };
        // Ten seconds younger.
        let stage = Stage::at(&store, 11_000_000, pace, None).await;
        let line = NewLine { custom_id: "c0".into(), request: "one".into() };
        let young = stage.batches.create(&stage.cx, NewBatch::OfMessages(vec![line])).await.expect("a batch").id;
        stage.batches.recover().await.expect("begun");
        until("its end", async || stage.batches.ended_messages(&stage.cx, &young).await.ok()).await;
        stage.batches.shutdown(Duration::from_secs(60)).await;
        let stage = Stage::at(&store, 3_605_000_000, pace, None).await;
        stage.batches.recover().await.expect("begun");
        until("its results to be gone", async || {
            stage.batches.find(&stage.cx, of, &id).await.expect("there").cleared_at
        })
        .await;
        stage.batches.shutdown(Duration::from_secs(60)).await;
        assert_eq!(stage.batches.results(&stage.cx, &id, -1).await.expect("read"), []);
        assert_eq!(stage.batches.results(&stage.cx, &young, -1).await.expect("read").len(), 1);
        let gone = stage.batches.ended_messages(&stage.cx, &id).await.expect_err("gone");
        assert_eq!((gone.kind, gone.code.as_deref()), (Kind::NotFound, Some("results_expired")));
        let batch = stage.batches.find(&stage.cx, of, &id).await.expect("it stays itself");
        assert!(batch.cleared_at >= Some(3_605_000_000), "{:?}", batch.cleared_at);
        assert_eq!(counts(&batch)[1], 1300);
        let batch = stage.find(&of_file).await;
        assert_eq!((batch.cleared_at, stage.files(&batch).await.0.len()), (None, 1));
        stage.batches.delete_messages(&stage.cx, &id).await.expect("deleted");
    })
    .await;
}
