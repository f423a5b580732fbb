//! Batches whose contents cannot be reached: put aside without a place, hearing that they are to stop.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use frontdesk_batches::{Endpoint, JobState, NewBatch, NewLine, Outcome, Pace};
use frontdesk_store::{Store, on, sqlx, testing::each_database};
use tokio::sync::Semaphore;

use crate::{Stage, counts, quick, said, until};

/// One batch at once, and as long as may be before one that was put aside is tried again.
fn patient() -> Pace {
    Pace { batches_at_once: 1, patience: Duration::from_secs(3600), ..quick() }
}

/// Until nobody works on a batch that was.
async fn put_aside(stage: &Stage, id: &str) {
    until("a batch to be put aside", async || {
        (stage.find(id).await.progress.waits > 0 && stage.batches.tally().running == 0).then_some(())
    })
    .await;
}

/// A batch that has its answers and no place for its files.
async fn answered(stage: &Stage, gate: &Semaphore) -> String {
    let id = stage.create("hold\nfail").await;
    stage.batches.recover().await.expect("begun");
    stage.lines.until_asked(2).await;
    stage.contents.out.store(usize::MAX, Ordering::SeqCst);
    gate.add_permits(1);
    put_aside(stage, &id).await;
    id
}

#[tokio::test]
async fn one_that_waits_for_its_contents_takes_no_place_and_is_tried_again() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, patient(), None).await;
        stage.contents.out.store(1, Ordering::SeqCst);
        let waiting = stage.create("one").await;
        stage.batches.recover().await.expect("begun");
        put_aside(&stage, &waiting).await;
        let line = NewLine { custom_id: "c0".into(), request: "two".into() };
        let other = stage.batches.create(&stage.cx, NewBatch::OfMessages(vec![line])).await.expect("a batch").id;
        until("the end of the other", async || stage.batches.ended_messages(&stage.cx, &other).await.ok()).await;
        let batch = stage.find(&waiting).await;
        assert_eq!((batch.state, batch.attempts, stage.lines.asked()), (JobState::Open, 0, vec!["two".into()]));
        until("it to be counted", async || (stage.batches.tally().waiting == 1).then_some(())).await;
        stage.batches.shutdown(Duration::from_secs(60)).await;

        // The next start asks at once on SQLite; elsewhere, when its time has come.
        let mut tx = store.tenant(&stage.cx).write().await.expect("open");
        on!(tx, conn => sqlx::query("UPDATE job SET lease_until = 0 WHERE state = 'open'").execute(conn).await.map(|_| ()))
            .expect("its time has come");
        tx.commit().await.expect("committed");
        let next = Stage::new(&store, patient(), None).await;
        next.batches.recover().await.expect("begun");
        let batch = next.ended(&waiting).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [1, 1, 0, 0, 0]));
        next.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_waits_hears_that_it_is_cancelled() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, patient(), Some(gate.clone())).await;
        let id = answered(&stage, &gate).await;
        let unread = stage.create("one").await;
        put_aside(&stage, &unread).await;
        for (id, code) in [(id, "files_not_kept"), (unread, "input_file_unreachable")] {
            stage.batches.cancel(&stage.cx, Endpoint::Embeddings, &id).await.expect("asked");
            let batch = stage.ended(&id).await;
            assert_eq!((batch.state, batch.progress.faults[0].code.as_str()), (JobState::Cancelled, code));
            assert!(batch.progress.faults[0].message.contains("the store of files is down"));
            assert_eq!(stage.files(&batch).await, (vec![], vec![]));
        }
        let mut tx = store.tenant(&stage.cx).read().await.expect("open");
        let left: i64 = on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM batch_line").fetch_one(conn).await)
            .expect("counted");
        assert_eq!((left, stage.lines.asked().len()), (0, 2));
        drop(tx);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_was_cancelled_keeps_its_answers_though_the_store_of_files_is_down_for_a_while() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, quick(), Some(gate.clone())).await;
        let id = stage.create("hold\nhold").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(2).await;
        stage.batches.cancel(&stage.cx, Endpoint::Embeddings, &id).await.expect("asked");
        stage.contents.out.store(3, Ordering::SeqCst);
        gate.add_permits(2);
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Cancelled, [2, 2, 0, 0, 0]));
        assert!(batch.progress.faults.is_empty(), "{:?}", batch.progress.faults);
        assert_eq!(stage.files(&batch).await.0.len(), 2);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

/// Makes the batch older, and looks for it now.
async fn age(stage: &Stage, id: &str, by: Duration) {
    let mut tx = stage.store.tenant(&stage.cx).write().await.expect("open");
    let micros = i64::try_from(by.as_micros()).expect("small");
    on!(tx, conn => sqlx::query("UPDATE job SET deadline = deadline - $2, lease_until = 0 WHERE id = $1")
        .bind(id).bind(micros).execute(conn).await.map(|_| ()))
    .expect("aged");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn one_that_waits_hears_that_its_time_is_over() {
    each_database(async |store: Store| {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, patient(), Some(gate.clone())).await;
        let id = answered(&stage, &gate).await;
        let unread = stage.create("one").await;
        put_aside(&stage, &unread).await;
        age(&stage, &unread, DAY).await;
        let batch = stage.ended(&unread).await;
        let code = batch.progress.faults[0].code.as_str();
        assert_eq!((batch.state, counts(&batch), code), (JobState::Expired, [0; 5], "input_file_unreachable"));

        // Answers that are there wait another week.
        age(&stage, &id, 7 * DAY).await;
        until("another try", async || (stage.find(&id).await.progress.waits == 2).then_some(())).await;
        put_aside(&stage, &id).await;
        assert_eq!(stage.find(&id).await.state, JobState::Open);
        age(&stage, &id, DAY).await;
        let batch = stage.ended(&id).await;
        let code = batch.progress.faults[0].code.as_str();
        assert_eq!((batch.state, counts(&batch), code), (JobState::Expired, [2, 1, 1, 0, 0], "files_not_kept"));
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn of_two_contents_the_first_is_not_kept_while_the_second_cannot_be() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        stage.contents.takes.store(1, Ordering::SeqCst);
        let id = stage.create("one\nfail").await;
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, batch.progress.waits), (JobState::Completed, 0));
        assert_eq!(stage.contents.discarded.load(Ordering::SeqCst), 1);
        let want = (said(Outcome::Succeeded, &[(0, "\"one\"")]), said(Outcome::Failed, &[(1, "\"fail\"")]));
        assert_eq!(stage.files(&batch).await, want);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}
