//! What is set aside is seen while its process lives, counts as spent when it dies, and comes back when it ends well.

use frontdesk_api::Inference as _;
use frontdesk_store::{
    Dialect, Store,
    testing::{each_database, two_tenants},
};
use futures::StreamExt as _;

use crate::{Up, counted, ledger, metered, passed_on, read, report, said, typed};

fn endless() -> Up {
    Up { streaming: true, frames: || vec![Ok(said("four"))], others: Vec::new, ends: false }
}

#[tokio::test]
async fn a_slice_is_in_the_database_while_it_is_spent_from_memory() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let models = metered(&books, endless());
        let mut reply = models.chat(&a, typed("up/priced")).await.expect("an answer");
        reply.frames.next().await.expect("a frame").expect("no error");
        let seen = report(&books, &a).await;
        assert_eq!((seen.total.requests, seen.outstanding.lost), (0, 0), "it is under way");
        let set_aside = seen.outstanding.reserved;
        assert!(set_aside >= 100_000_000, "{set_aside}");
        assert_eq!(report(&books, &b).await.outstanding.reserved, 0, "they spend nothing");
        drop(reply);
        let seen = report(&books, &a).await;
        let cost = seen.total.cost.expect("priced");
        assert_eq!(seen.outstanding.reserved, set_aside - cost, "what was booked is no longer set aside");
        books.close().await;
        let outstanding = store.tenant(&a).outstanding().await.expect("read");
        assert_eq!((outstanding.reserved, outstanding.lost), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_a_dead_process_had_set_aside_counts_as_spent() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let dead = ledger(&store).await;
        let models = metered(&dead, endless());
        let reply = models.chat(&a, typed("up/priced")).await.expect("an answer");
        let before = report(&dead, &a).await.outstanding;
        // It dies here: nothing of it is heard again.
        std::mem::forget(reply);
        let next = ledger(&store).await;
        let seen = report(&next, &a).await.outstanding;
        // A SQLite file has one process; on Postgres it might live on another machine until its lease passes.
        match store.dialect() {
            Dialect::Sqlite => assert_eq!((seen.reserved, seen.lost), (0, before.reserved)),
            Dialect::Postgres => {
                assert_eq!((seen.reserved, seen.lost), (before.reserved, 0));
                store.system().end_slices().await.expect("its lease passes");
                assert_eq!(report(&next, &a).await.outstanding.lost, before.reserved);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn models_that_cost_nothing_set_nothing_aside_and_closed_books_take_no_call() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = || Up { streaming: true, frames: || vec![Ok(counted(5, 5))], others: Vec::new, ends: true };
        read(metered(&books, up()).chat(&a, passed_on("free/tiny")).await.expect("an answer")).await;
        read(metered(&books, up()).chat(&a, passed_on("up/unpriced")).await.expect("an answer")).await;
        assert_eq!(report(&books, &a).await.outstanding.reserved, 0);
        books.close().await;
        let refused = metered(&books, up()).chat(&a, passed_on("up/priced")).await.err().expect("closed");
        assert_eq!(refused.kind, frontdesk_api::Kind::Unavailable);
    })
    .await;
}
