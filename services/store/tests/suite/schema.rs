//! What every table keeps to, whoever adds it.

use std::collections::{BTreeMap, BTreeSet};

use frontdesk_store::{
    Conn, Store, sqlx,
    testing::{each_database, on_postgres},
};

/// Tables that are not rows of tenants.
const ABOVE_TENANTS: [&str; 2] = ["tenant", "installation"];

#[tokio::test]
async fn every_postgres_table_is_behind_the_wall() {
    on_postgres(async |store: Store| {
        let mut tx = store.system().read().await.expect("open");
        let Conn::Postgres(conn) = tx.conn() else { panic!("Postgres") };
        let tables: Vec<(String, bool, bool, i64)> = sqlx::query_as(
            "SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity, \
             (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid) \
             FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace \
             AND c.relname <> '_sqlx_migrations' ORDER BY 1",
        )
        .fetch_all(conn)
        .await
        .expect("the catalog");
        assert!(tables.len() >= 3, "{tables:?}");
        for (table, enabled, forced, policies) in tables {
            assert!(
                enabled && forced && policies >= 1,
                "{table} lacks SELECT frontdesk_guard('{table}') in its migration"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn every_primary_key_begins_with_the_tenant() {
    each_database(async |store: Store| {
        let mut tx = store.system().read().await.expect("open");
        let first: Vec<(String, String)> = match tx.conn() {
            Conn::Postgres(conn) => {
                let sql = "SELECT c.relname::text, a.attname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid \
                     JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] \
                     WHERE i.indisprimary AND c.relnamespace = current_schema()::regnamespace AND c.relname <> '_sqlx_migrations'";
                sqlx::query_as(sql).fetch_all(conn).await.expect("the catalog")
            }
            Conn::Sqlite(conn) => {
                let sql = "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c ON c.pk = 1 \
                     WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name <> '_sqlx_migrations'";
                sqlx::query_as(sql).fetch_all(conn).await.expect("the catalog")
            }
        };
        assert!(first.len() >= 3, "{first:?}");
        for (table, column) in first {
            let above = ABOVE_TENANTS.contains(&table.as_str());
            assert!(above || column == "tenant", "the primary key of {table} begins with {column}");
        }
    })
    .await;
}

/// Table → columns, without what a database needs for its own full-text search.
async fn columns(store: &Store) -> BTreeMap<String, BTreeSet<String>> {
    let mut tx = store.system().read().await.expect("open");
    let rows: Vec<(String, String)> = match tx.conn() {
        Conn::Postgres(conn) => {
            let sql = "SELECT table_name::text, column_name::text FROM information_schema.columns \
                 WHERE table_schema = current_schema() AND data_type <> 'tsvector' AND udt_name <> 'vector'";
            sqlx::query_as(sql).fetch_all(conn).await.expect("the catalog")
        }
        Conn::Sqlite(conn) => {
            let sql = "SELECT t.name, c.name FROM pragma_table_list t JOIN pragma_table_info(t.name) c \
                 WHERE t.schema = 'main' AND t.type = 'table' AND t.name NOT LIKE 'sqlite_%'";
            sqlx::query_as(sql).fetch_all(conn).await.expect("the catalog")
        }
    };
    let mut tables = BTreeMap::<_, BTreeSet<_>>::new();
    for (table, column) in rows {
        tables.entry(table).or_default().insert(column);
    }
    tables
}

#[tokio::test]
async fn both_databases_have_the_same_tables_and_columns() {
    let sqlite = columns(&Store::temporary().await.expect("SQLite")).await;
    on_postgres(async |store: Store| {
        assert_eq!(columns(&store).await, sqlite);
    })
    .await;
}
