//! What a batch does, and that what was answered is never asked again.

use std::{sync::Arc, time::Duration};

use frontdesk_batches::{Endpoint, JobState, NewBatch, NewLine, Outcome, Pace, request_id};
use frontdesk_store::{Store, jobs::Lease, testing::each_database};
use tokio::sync::Semaphore;

use crate::{Stage, counts, quick, said, until};

#[tokio::test]
async fn lines_are_answered_once_and_go_to_the_file_of_their_outcome() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let many: String = (0..300).map(|n| format!("line {n}\n")).collect();
        let id = stage.create(&format!("one\nfail\nbusy 2\n{many}")).await;
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [303, 302, 1, 0, 0]));
        let (output, errors) = stage.files(&batch).await;
        assert_eq!((output.len(), errors), (302, said(Outcome::Failed, &[(1, "\"fail\"")])));
        assert!(output.contains(&said(Outcome::Succeeded, &[(2, "\"busy 2\"")])[0]));
        let asked = stage.lines.asked();
        assert_eq!(asked.len(), 303 + 2, "once each, and twice more while out of capacity");
        let seen = stage.lines.asked.lock().expect("unpoisoned").clone();
        assert!(seen.contains(&(request_id(&id, 0), "internal".into(), "one".into())), "{seen:?}");
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn what_was_answered_before_a_process_died_is_not_asked_again() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        // A lease that has passed as soon as it is taken, and no renewal: as good as dead from its first moment. Room for one
        // batch, so that it does not take its own up again.
        let dying = Pace { lease: Duration::ZERO, renew: Duration::from_secs(3600), batches_at_once: 1, ..quick() };
        let first = Stage::new(&store, dying, Some(gate.clone())).await;
        let id = first.create("one\ntwo\nhold a\nhold b\nlast").await;
        first.batches.recover().await.expect("begun");
        until("three answers", async || (counts(&first.find(&id).await)[1] == 3).then_some(())).await;
        first.lines.until_asked(5).await;

        let open = Arc::new(Semaphore::new(9));
        let second = Stage::new(&store, quick(), Some(open)).await;
        second.batches.recover().await.expect("begun");
        let batch = second.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [5, 5, 0, 0, 0]));
        let mut again = second.lines.asked();
        again.sort();
        assert_eq!(again, ["hold a", "hold b"], "the first never heard their answers");

        // The first hears them after all: they are another's by now.
        gate.add_permits(9);
        first.batches.shutdown(Duration::from_secs(60)).await;
        assert_eq!(first.find(&id).await, batch);
        let (output, errors) = first.files(&batch).await;
        let all = [(0, "\"one\""), (1, "\"two\""), (2, "\"hold a\""), (3, "\"hold b\""), (4, "\"last\"")];
        assert_eq!((output, errors), (said(Outcome::Succeeded, &all), vec![]));
        second.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_waits_for_what_is_being_answered_and_gives_the_rest_back() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let first = Stage::new(&store, Pace { lines_at_once: 1, ..quick() }, Some(gate.clone())).await;
        let id = first.create("hold a\nhold b").await;
        first.batches.recover().await.expect("begun");
        first.lines.until_asked(1).await;
        tokio::join!(first.batches.shutdown(Duration::from_secs(60)), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            gate.add_permits(1);
        });
        let batch = first.find(&id).await;
        assert_eq!((batch.state, counts(&batch), batch.attempts), (JobState::Open, [2, 1, 0, 0, 0], 0));

        // One that has no time is cut off; its line is asked again.
        let second = Stage::new(&store, quick(), Some(Arc::new(Semaphore::new(0)))).await;
        second.batches.recover().await.expect("begun");
        second.lines.until_asked(1).await;
        second.batches.shutdown(Duration::ZERO).await;
        assert_eq!((second.find(&id).await.attempts, second.batches.tally().running), (0, 0));
        let third = Stage::new(&store, quick(), Some(Arc::new(Semaphore::new(9)))).await;
        third.batches.recover().await.expect("begun");
        assert_eq!(counts(&third.ended(&id).await), [2, 2, 0, 0, 0]);
        assert_eq!((second.lines.asked(), third.lines.asked()), (vec!["hold b".into()], vec!["hold b".into()]));
        third.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn batches_share_the_places() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, Pace { lines_at_once: 2, ..quick() }, Some(gate.clone())).await;
        let one = stage.create("hold a\nhold b\nhold c").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(2).await;
        let other = stage.create("x").await;
        until("both to be worked on", async || (stage.batches.tally().running == 2).then_some(())).await;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(stage.lines.asked(), ["hold a", "hold b"], "there are two places");
        }
        gate.add_permits(9);
        assert_eq!(counts(&stage.ended(&one).await), [3, 3, 0, 0, 0]);
        assert_eq!(counts(&stage.ended(&other).await), [1, 1, 0, 0, 0]);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn a_line_that_waits_leaves_its_place() {
    each_database(async |store: Store| {
        // It would wait for an hour, in the only place there is.
        let pace = Pace { lines_at_once: 1, patience: Duration::from_secs(3600), ..quick() };
        let stage = Stage::new(&store, pace, None).await;
        let id = stage.create("busy 1").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_answered(1).await;
        let other = stage.create("x").await;
        assert_eq!(counts(&stage.ended(&other).await), [1, 1, 0, 0, 0]);
        stage.batches.cancel(&stage.cx, Endpoint::Embeddings, &id).await.expect("asked");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Cancelled, [1, 0, 0, 1, 0]));
        assert_eq!(stage.lines.asked(), ["busy 1", "x"]);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_that_never_gets_on_ends_as_failed() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let unread = stage.create("one").await;
        let lines = vec![NewLine { custom_id: "c0".into(), request: "one".into() }];
        let messages = stage.batches.create(&stage.cx, NewBatch::OfMessages(lines)).await.expect("a batch").id;
        for _ in 0..5 {
            let (kinds, dead) = (["batch", "msgbatch"], Lease { owner: "dead", micros: -1 });
            let claims = store.system().claim_jobs::<serde_json::Value, serde_json::Value>(kinds, dead, 9, 0).await;
            assert_eq!(claims.expect("claimed").claimed.len(), 2);
        }
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&unread).await;
        assert_eq!((batch.state, batch.progress.faults[0].code.as_str()), (JobState::Failed, "server_error"));
        let batch = until("its end", async || {
            let batch = stage.batches.find(&stage.cx, Endpoint::Messages, &messages).await.expect("there");
            Some(batch).filter(|batch| batch.state == JobState::Failed)
        })
        .await;
        assert_eq!(counts(&batch), [1, 0, 1, 0, 0]);
        assert_eq!(stage.lines.asked(), Vec::<String>::new());
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}
