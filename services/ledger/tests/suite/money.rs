//! Sums are exact, however many calls end at once and however often a commit is repeated.

use std::sync::Arc;

use frontdesk_api::{Cx, Inference as _};
use frontdesk_ledger::{By, UsageQuery};
use frontdesk_store::{
    Store, on, sqlx,
    testing::{each_database, two_tenants},
    usage::{SliceRow, UsageRow},
};

use crate::{Up, counted, fresh, ledger, metered, passed_on, read, report, total};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_calls_at_once_add_up() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        let books = ledger(&store).await;
        let up = Up { streaming: true, frames: || vec![Ok(counted(101, 7))], others: Vec::new, ends: true };
        let models = Arc::new(metered(&books, up));
        let calls = (0..1_000).map(|i| {
            let (models, cx) = (Arc::clone(&models), if i % 4 == 0 { b.clone() } else { a.clone() });
            tokio::spawn(async move { read(models.chat(&cx, passed_on("up/priced")).await.expect("an answer")).await })
        });
        futures::future::join_all(calls).await.into_iter().for_each(|done| drop(done.expect("a call")));
        // A report waits for them no longer than two seconds.
        books.flush().await;
        // 101 × 2 + 7 × 8 = 258 millionths of a dollar a call.
        for (cx, calls) in [(&a, 750), (&b, 250)] {
            let sum = total(&books, cx).await;
            assert_eq!((sum.requests, sum.cost), (calls, Some(calls * 258_000)));
            assert_eq!((sum.input_tokens, sum.output_tokens), (calls * 101, calls * 7));
        }
        books.close().await;
        // What was spent is what was booked: all that was set aside came back.
        for cx in [&a, &b] {
            let outstanding = store.tenant(cx).outstanding().await.expect("read");
            assert_eq!((outstanding.reserved, outstanding.lost), (0, 0));
        }
    })
    .await;
}

fn booked(cx: &Cx, id: &str, day: i64, key: &str) -> UsageRow {
    UsageRow {
        tenant: cx.tenant.clone(),
        id: id.into(),
        created_at: day * 86_400_000_000 + 5,
        operation: "chat",
        key_id: key.into(),
        asked: "alias".into(),
        provider: Some("up".into()),
        model: "up/m".into(),
        status: "ok",
        input_tokens: 2,
        cost: Some(i64::from(u32::MAX)),
        ..UsageRow::default()
    }
}

#[tokio::test]
async fn a_commit_that_is_repeated_books_nothing_twice() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let rows = [booked(&a, "1", 1, "k"), booked(&a, "2", 1, "k")];
        let slice =
            SliceRow { tenant: a.tenant.clone(), id: "s".into(), leased: 10, used: 4, opened_at: 0, returned: false };
        for _ in 0..3 {
            store.system().book(&rows, std::slice::from_ref(&slice), 60_000_000).await.expect("booked");
        }
        let books = ledger(&store).await;
        let seen = report(&books, &a).await;
        assert_eq!((seen.total.requests, seen.total.cost), (2, Some(2 * i64::from(u32::MAX))));
        assert_eq!(seen.outstanding.reserved + seen.outstanding.lost, 6);
    })
    .await;
}

/// Makes trouble for the books, or ends it.
async fn change(store: &Store, sql: &'static str) {
    let mut tx = store.system().write().await.expect("a door");
    on!(tx, conn => sqlx::query(sql).execute(conn).await.map(|_| ())).expect("changed");
    tx.commit().await.expect("committed");
}

#[tokio::test]
async fn a_database_in_trouble_loses_nothing() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        change(&store, "ALTER TABLE usage RENAME TO usage_elsewhere").await;
        let up = Up { streaming: true, frames: || vec![Ok(counted(101, 7))], others: Vec::new, ends: true };
        let models = metered(&books, up);
        for _ in 0..20 {
            read(models.chat(&a, passed_on("up/priced")).await.expect("an answer")).await;
        }
        let mut flushed = Box::pin(books.flush());
        assert!(futures::poll!(&mut flushed).is_pending());
        // The writer takes its turn at the database, and fails, before the change below gets one.
        tokio::task::yield_now().await;
        change(&store, "ALTER TABLE usage_elsewhere RENAME TO usage").await;
        flushed.await;
        let sum = total(&books, &a).await;
        assert_eq!((sum.requests, sum.cost), (20, Some(20 * 258_000)));
    })
    .await;
}

#[tokio::test]
async fn books_are_closed_though_the_database_is_in_trouble() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        let books = ledger(&store).await;
        change(&store, "ALTER TABLE usage RENAME TO usage_elsewhere").await;
        let up = Up { streaming: true, frames: || vec![Ok(counted(101, 7))], others: Vec::new, ends: true };
        read(metered(&books, up).chat(&a, passed_on("up/priced")).await.expect("an answer")).await;
        // The writer is at the database, where it would stay as long as the trouble lasts.
        let mut flushed = Box::pin(books.flush());
        assert!(futures::poll!(&mut flushed).is_pending());
        tokio::task::yield_now().await;
        tokio::time::timeout(std::time::Duration::from_secs(60), books.close()).await.expect("it gives up");
        change(&store, "ALTER TABLE usage_elsewhere RENAME TO usage").await;
    })
    .await;
}

#[tokio::test]
async fn a_report_groups_and_filters_within_its_days() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        let (one, two) = (fresh("key"), fresh("key"));
        let mut rows = vec![];
        for (i, (day, key)) in [(10, &one), (10, &two), (11, &one), (11, &one), (12, &two)].into_iter().enumerate() {
            rows.push(booked(&a, &i.to_string(), day, key));
        }
        rows.push(UsageRow { cost: None, status: "error", estimated: true, ..booked(&a, "x", 11, &two) });
        rows.push(booked(&b, "0", 11, &one));
        store.system().book(&rows, &[], 0).await.expect("booked");
        let door = store.tenant(&a);
        let day = 86_400_000_000;
        let query = UsageQuery { from: 10 * day, to: 12 * day, limit: 100, ..UsageQuery::default() };
        let by = By { day: true, key: true, ..By::default() };
        let groups = door.usage(&UsageQuery { by, ..query.clone() }).await.expect("read");
        let seen: Vec<_> =
            groups.iter().map(|g| (g.day, g.key_id.as_deref(), g.requests, g.unpriced, g.failed)).collect();
        let mut keys = [one.as_str(), two.as_str()];
        keys.sort_unstable();
        assert_eq!(seen.len(), 4);
        assert!(seen.contains(&(Some(11), Some(&one), 2, 0, 0)) && seen.contains(&(Some(11), Some(&two), 1, 1, 1)));
        assert_eq!(seen.iter().map(|g| g.0).collect::<Vec<_>>(), [Some(10), Some(10), Some(11), Some(11)]);
        let count =
            async |query: UsageQuery<'_>| door.usage(&query).await.expect("read").pop().map_or(0, |g| g.requests);
        assert_eq!(count(query.clone()).await, 5);
        assert_eq!(count(UsageQuery { from: 10 * day + 6, ..query.clone() }).await, 3, "to the microsecond");
        assert_eq!(count(UsageQuery { key_id: Some(&one), ..query.clone() }).await, 3);
        assert_eq!(count(UsageQuery { model: Some("alias"), ..query.clone() }).await, 5);
        assert_eq!(count(UsageQuery { model: Some("up/m"), provider: Some("up"), ..query.clone() }).await, 5);
        assert_eq!(count(UsageQuery { agent_id: Some("a"), ..query }).await, 0);
    })
    .await;
}
