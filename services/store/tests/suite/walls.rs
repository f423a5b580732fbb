//! The second wall between tenants: row-level security on Postgres, for queries that forgot the first.

use frontdesk_api::Kind;
use frontdesk_store::{
    NewKey, Options, Store, on,
    sqlx::{self, AssertSqlSafe, Connection as _, PgConnection},
    testing::{FreshDatabase, on_postgres, server, two_tenants},
};

fn key(hash: u8) -> NewKey {
    NewKey { id: "key_1".into(), name: "k".into(), hash: [hash; 32], scopes: vec![], created_at: 0, expires_at: None }
}

const ALL: &str = "SELECT tenant FROM api_key ORDER BY tenant";

async fn seen(tx: &mut frontdesk_store::Tx) -> Vec<String> {
    on!(tx, conn => sqlx::query_scalar(ALL).fetch_all(conn).await).expect("a query without a predicate")
}

async fn do_sql(tx: &mut frontdesk_store::Tx, sql: &'static str) -> sqlx::Result<u64> {
    on!(tx, conn => sqlx::query(sql).execute(conn).await.map(|done| done.rows_affected()))
}

/// The wall as a tenant's own transactions meet it.
async fn walls_hold(store: &Store) {
    let (a, b) = two_tenants(store).await;
    store.tenant(&a).add_key(&key(1)).await.expect("a's");
    store.tenant(&b).add_key(&key(2)).await.expect("b's");

    let mut tx = store.tenant(&a).write().await.expect("a's door");
    assert_eq!(seen(&mut tx).await, ["tenant_a"], "a query without a predicate finds its own tenant's rows");
    assert_eq!(do_sql(&mut tx, "UPDATE api_key SET name = 'mine now'").await.expect("an update"), 1);
    assert_eq!(do_sql(&mut tx, "DELETE FROM api_key WHERE tenant = 'tenant_b'").await.expect("a delete"), 0);
    tx.commit().await.expect("committed");

    let mut tx = store.tenant(&a).write().await.expect("a's door");
    let forged = "INSERT INTO api_key (tenant, id, name, hash, scopes, created_at, changed_at) VALUES ('tenant_b', 'x', 'x', '\\x00', '[]', 0, 0)";
    do_sql(&mut tx, forged).await.expect_err("a row for another tenant");

    let mut tx = store.tenant(&a).write().await.expect("a's door");
    do_sql(&mut tx, "SELECT set_config('frontdesk.tenant', '', true)").await.expect("unset");
    assert!(seen(&mut tx).await.is_empty(), "no tenant, no rows");
    drop(tx);

    let mut tx = store.system().read().await.expect("the system door");
    assert_eq!(seen(&mut tx).await, ["tenant_a", "tenant_b"]);
    drop(tx);
    // The setting went with its transaction: the next one on the same connection starts without.
    for _ in 0..8 {
        let mut tx = store.tenant(&b).read().await.expect("b's door");
        assert_eq!(seen(&mut tx).await, ["tenant_b"]);
    }
}

#[tokio::test]
async fn a_query_without_a_predicate_finds_nothing_of_others() {
    on_postgres(async |store: Store| {
        walls_hold(&store).await;
        let (a, _) = two_tenants(&store).await;
        let mut tx = store.tenant(&a).write().await.expect("a's door");
        do_sql(&mut tx, "SELECT set_config('frontdesk.door', 'system', true)").await.expect("set");
        assert_eq!(seen(&mut tx).await, ["tenant_a"], "the role of tenants never passes the system door");
        for closed in ["SELECT * FROM installation", "SELECT * FROM tenant WHERE id <> 'tenant_a'"] {
            assert_eq!(do_sql(&mut tx, closed).await.expect("a query"), 0, "{closed}");
        }
        do_sql(&mut tx, "SELECT * FROM _sqlx_migrations").await.expect_err("no business of tenants");
    })
    .await;
}

#[tokio::test]
async fn an_owner_that_may_not_take_the_role_is_held_by_force() {
    let Some(server) = server() else { return };
    // The role exists by now or not; a login without rights cannot take it either way.
    let fresh = FreshDatabase::make(&server).await;
    let (database, login) = (&fresh.name, format!("{}_login", fresh.name));
    let mut admin = PgConnection::connect(&server).await.expect("the server");
    for sql in [
        format!("CREATE ROLE {login} LOGIN PASSWORD 'clerk' NOSUPERUSER NOCREATEROLE"),
        format!("ALTER DATABASE {database} OWNER TO {login}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut admin).await.expect("a plain login");
    }
    let (scheme, rest) = fresh.url.split_once("://").expect("an address");
    let at = rest.rsplit_once('@').map_or(rest, |(_, at)| at);
    let folder = tempfile::tempdir().expect("a folder");
    let options =
        Options { database_url: Some(format!("{scheme}://{login}:clerk@{at}")), ..Options::at(folder.path()) };
    let outcome = tokio::spawn(async move {
        let store = Store::open(&options).await.expect("opens");
        walls_hold(&store).await;
        store.close().await;
    })
    .await;
    fresh.drop().await;
    sqlx::raw_sql(AssertSqlSafe(format!("DROP ROLE {login}"))).execute(&mut admin).await.expect("dropped");
    outcome.expect("the walls hold");
}

#[tokio::test]
async fn connections_that_died_while_idle_are_replaced() {
    on_postgres(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        // Several at once, so that several lie idle.
        let held = [store.tenant(&a).read().await, store.tenant(&a).read().await, store.tenant(&a).read().await];
        drop(held);
        let mut tx = store.system().read().await.expect("open");
        let killed = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert!(do_sql(&mut tx, killed).await.expect("killed") >= 1);
        drop(tx);
        for _ in 0..4 {
            let mut tx = store.tenant(&a).write().await.expect("a living connection");
            tx.now().await.expect("an answer");
        }
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_a_timeout() {
    let Some(server) = server() else { return };
    let fresh = FreshDatabase::make(&server).await;
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        database_url: Some(fresh.url.clone()),
        statement_timeout: std::time::Duration::from_millis(20),
        ..Options::at(folder.path())
    };
    let store = Store::open(&options).await.expect("opens");
    let cx = frontdesk_api::Cx::internal("default", "r");
    let mut kinds = Vec::new();
    for tx in [store.tenant(&cx).read().await, store.system().read().await] {
        use frontdesk_store::Doing as _;
        let mut tx = tx.expect("a transaction");
        kinds.push(do_sql(&mut tx, "SELECT pg_sleep(600)").await.doing("sleep").expect_err("stopped").kind);
    }
    store.close().await;
    fresh.drop().await;
    assert_eq!(kinds, [Kind::Timeout, Kind::Timeout]);
}
