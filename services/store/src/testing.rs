//! One behaviour suite for both databases.
//!
//! Each case runs on a fresh SQLite file and, where `FRONTDESK_TEST_POSTGRES_URL` names a server whose
//! login may make databases, on a fresh Postgres database that is dropped afterwards.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::atomic::{AtomicU32, Ordering},
};

use frontdesk_api::Cx;
use futures::FutureExt as _;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{Options, Store, StoredTenant};

/// The server that the Postgres half of the suite runs on.
pub const POSTGRES_URL: &str = "FRONTDESK_TEST_POSTGRES_URL";

/// Runs `case` on every database there is. Panics as the case does, after clearing up.
///
/// # Panics
/// When a database cannot be made, or when the case panics.
pub async fn each_database<F, Fut>(case: F)
where
    F: Fn(Store) -> Fut,
    Fut: Future<Output = ()>,
{
    let store = Store::temporary().await.expect("a temporary SQLite database");
    // On the heap: a test is as large as everything it ever waits for.
    Box::pin(case(store)).await;
    on_postgres(&case).await;
}

/// Runs `case` on a fresh Postgres database; does nothing but say so where no server is named.
///
/// # Panics
/// As [`each_database`].
pub async fn on_postgres<F, Fut>(case: F)
where
    F: Fn(Store) -> Fut,
    Fut: Future<Output = ()>,
{
    let Some(server) = server() else {
        eprintln!("skipped on Postgres: {POSTGRES_URL} names no server");
        return;
    };
    let fresh = FreshDatabase::make(&server).await;
    let store = Store::postgres(&fresh.url, &options()).await.expect("the fresh Postgres database opens");
    let outcome = AssertUnwindSafe(Box::pin(case(store.clone()))).catch_unwind().await;
    store.close().await;
    fresh.drop().await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

/// Two tenants to try one against the other: callers with every scope.
///
/// # Panics
/// When they cannot be made.
pub async fn two_tenants(store: &Store) -> (Cx, Cx) {
    for id in ["tenant_a", "tenant_b"] {
        let tenant = StoredTenant { id: id.into(), name: id.into(), created_at: 0 };
        store.system().ensure_tenant(&tenant).await.expect("a tenant");
    }
    (Cx::internal("tenant_a", "req_a"), Cx::internal("tenant_b", "req_b"))
}

/// How many turns of an agent there are, whoever may find them.
///
/// # Panics
/// When the database cannot say.
pub async fn turns_of(store: &Store, cx: &Cx, agent_id: &str) -> i64 {
    let tenant = store.tenant(cx);
    let mut tx = tenant.read().await.expect("a transaction");
    let count: Result<i64, sqlx::Error> = crate::on!(tx, conn => sqlx::query_scalar("SELECT COUNT(*) FROM turn WHERE tenant = $1 AND agent_id = $2")
        .bind(tenant.id()).bind(agent_id).fetch_one(conn).await);
    count.expect("a count")
}

/// The address of the test server, if one is named.
#[must_use]
#[allow(clippy::disallowed_methods)] // a switch of the test harness, not configuration
pub fn server() -> Option<String> {
    std::env::var(POSTGRES_URL).ok().filter(|url| !url.is_empty())
}

/// Small pools: many cases share one server.
fn options() -> Options {
    Options { max_connections: 4, ..Options::at("") }
}

/// An empty database of its own on the test server.
pub struct FreshDatabase {
    server: String,
    pub name: String,
    /// Where to reach it.
    pub url: String,
}

impl FreshDatabase {
    /// # Panics
    /// When it cannot be made.
    pub async fn make(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("frontdesk_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut admin = PgConnection::connect(server).await.expect("the test server answers");
        // Two that copy the template at once would fail each other; the lock goes with the connection.
        sqlx::query("SELECT pg_advisory_lock(7310589202)").execute(&mut admin).await.expect("lock");
        for sql in [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")] {
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("create the database");
        }
        admin.close().await.expect("close");
        Self { server: server.into(), url: at(server, &name), name }
    }

    /// Drops it, whoever is still connected.
    ///
    /// # Panics
    /// When it cannot be dropped.
    pub async fn drop(self) {
        let mut admin = PgConnection::connect(&self.server).await.expect("the test server answers");
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        sqlx::query(AssertSqlSafe(sql)).execute(&mut admin).await.expect("drop the database");
    }
}

/// `server` with its database replaced.
fn at(server: &str, database: &str) -> String {
    let (front, query) = server.split_once('?').map_or((server, None), |(f, q)| (f, Some(q)));
    let (scheme, rest) = front.split_once("://").expect("an address with a scheme");
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    let query = query.map(|q| format!("?{q}")).unwrap_or_default();
    format!("{scheme}://{host}/{database}{query}")
}
