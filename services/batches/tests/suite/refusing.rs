//! A database that takes no answers: because its disk is full, or because it will never take one of them.

use std::{sync::Arc, time::Duration};

use frontdesk_batches::{JobState, Outcome, Pace};
use frontdesk_store::{Conn, Store, on, sqlx, testing::each_database};
use tokio::sync::Semaphore;

use crate::{Stage, counts, quick, said, until};

async fn run(store: &Store, on_sqlite: &[&'static str], on_postgres: &[&'static str]) {
    let mut tx = store.system().write().await.expect("open");
    let all = if matches!(tx.conn(), Conn::Sqlite(_)) { on_sqlite } else { on_postgres };
    for sql in all {
        on!(tx, conn => sqlx::raw_sql(*sql).execute(conn).await.map(|_| ())).expect(sql);
    }
    tx.commit().await.expect("committed");
}

/// From now on each answer needs 4 MB more than there are.
async fn fill_the_disk(store: &Store) {
    let on_sqlite = [
        "CREATE TABLE filler (x BLOB)",
        "CREATE TRIGGER full BEFORE UPDATE ON batch_line BEGIN INSERT INTO filler VALUES (zeroblob(4000000)); END",
        // Of 4 KiB each.
        "PRAGMA max_page_count = 900",
    ];
    let on_postgres = [
        "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN RAISE EXCEPTION ''full'' USING ERRCODE = ''53100''; END'",
        "CREATE TRIGGER no_room BEFORE UPDATE ON batch_line FOR EACH ROW EXECUTE FUNCTION no_room()",
    ];
    run(store, &on_sqlite, &on_postgres).await;
}

async fn make_room(store: &Store) {
    run(store, &["DROP TRIGGER full"], &["DROP TRIGGER no_room ON batch_line"]).await;
}

#[tokio::test]
async fn an_answer_that_the_database_does_not_take_is_kept_and_not_asked_for_again() {
    each_database(async |store: Store| {
        let gate = Arc::new(Semaphore::new(0));
        let stage = Stage::new(&store, Pace { lines_at_once: 2, ..quick() }, Some(gate.clone())).await;
        let id = stage.create("hold a\nhold b\nfail\nlast").await;
        stage.batches.recover().await.expect("begun");
        stage.lines.until_asked(2).await;
        fill_the_disk(&store).await;
        gate.add_permits(2);
        stage.lines.until_answered(2).await;
        for _ in 0..50 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(stage.lines.asked().len(), 2, "nothing new is asked that could not be written");
        }
        assert_eq!(counts(&stage.find(&id).await)[1], 0, "nothing could be written");
        make_room(&store).await;
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [4, 3, 1, 0, 0]));
        assert_eq!(stage.lines.asked(), ["hold a", "hold b", "fail", "last"]);
        // Counted once it is committed.
        let of_end = (JobState::Completed, 1);
        let tally = until("its end to be counted", async || {
            Some(stage.batches.tally()).filter(|tally| tally.ended[0] == of_end)
        })
        .await;
        let lines = tally.lines.map(|(outcome, count)| (outcome.as_str(), count));
        assert_eq!(lines, [("succeeded", 3), ("failed", 1), ("cancelled", 0), ("expired", 0)]);
        assert_eq!(tally.waiting, 0);
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_the_database_will_never_take_has_failed_and_the_others_go_on() {
    each_database(async |store: Store| {
        let stage = Stage::new(&store, quick(), None).await;
        let trigger = "CREATE TRIGGER never BEFORE UPDATE ON batch_line WHEN NEW.answer = '\"two\"' \
                       BEGIN SELECT RAISE(ABORT, 'never'); END";
        run(&store, &[trigger], &["ALTER TABLE batch_line ADD CHECK (answer <> '\"two\"')"]).await;
        let id = stage.create("one\ntwo\nthree").await;
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Completed, [3, 2, 1, 0, 0]));
        let want = said(Outcome::Succeeded, &[(0, "\"one\""), (2, "\"three\"")]);
        assert_eq!(stage.files(&batch).await, (want, said(Outcome::Failed, &[(1, "\"Internal\"")])));
        assert_eq!(stage.lines.asked(), ["one", "two", "three"], "each once");
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}

#[tokio::test]
async fn one_whose_answers_can_in_no_way_be_written_ends_as_failed() {
    each_database(async |store: Store| {
        let pace = Pace { lease: Duration::from_millis(20), ..quick() };
        let stage = Stage::new(&store, pace, None).await;
        let trigger = "CREATE TRIGGER never BEFORE UPDATE ON batch_line WHEN NEW.answer IS NOT NULL \
                       BEGIN SELECT RAISE(ABORT, 'never'); END";
        run(&store, &[trigger], &["ALTER TABLE batch_line ADD CHECK (answer IS NULL)"]).await;
        let id = stage.create("one").await;
        stage.batches.recover().await.expect("begun");
        let batch = stage.ended(&id).await;
        assert_eq!((batch.state, counts(&batch)), (JobState::Failed, [1, 0, 1, 0, 0]));
        assert_eq!(batch.progress.faults[0].code, "server_error");
        stage.batches.shutdown(Duration::from_secs(60)).await;
    })
    .await;
}
