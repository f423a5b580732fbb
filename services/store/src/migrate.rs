//! The schema, embedded: `migrations/{postgres,sqlite}`, same numbers and names on both.
//!
//! Migrations only expand, so an older program keeps working beside a newer one during an upgrade; but a
//! program does not start on a schema newer than the one it knows.

use frontdesk_api::{Error, Kind, Result};
use sqlx::{
    PgConnection, SqliteConnection,
    migrate::{MigrateError, Migrator},
};

pub(crate) static POSTGRES: Migrator = sqlx::migrate!("../../migrations/postgres");
pub(crate) static SQLITE: Migrator = sqlx::migrate!("../../migrations/sqlite");

pub(crate) async fn postgres(conn: &mut PgConnection, place: &str) -> Result<()> {
    let Err(cause) = POSTGRES.run_direct(None, conn, false).await else { return Ok(()) };
    let found = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(conn).await;
    Err(explain(cause, &POSTGRES, place, found.unwrap_or(None)))
}

pub(crate) async fn sqlite(conn: &mut SqliteConnection, place: &str) -> Result<()> {
    let Err(cause) = SQLITE.run_direct(None, conn, false).await else { return Ok(()) };
    let found = sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(conn).await;
    Err(explain(cause, &SQLITE, place, found.unwrap_or(None)))
}

/// `found` is the newest version the database has seen.
fn explain(cause: MigrateError, known: &Migrator, place: &str, found: Option<i64>) -> Error {
    let newest = known.iter().map(|m| m.version).max().unwrap_or(0);
    match cause {
        MigrateError::VersionMissing(_) if found.is_some_and(|found| found > newest) => {
            let found = found.unwrap_or(newest);
            Error::new(
                Kind::Invalid,
                format!(
                    "the schema of {place} is version {found}, this program knows up to {newest}: \
                     start a newer frontdesk, or restore the backup made before the upgrade"
                ),
            )
            .with_code("schema_too_new")
        }
        MigrateError::VersionMissing(version) => Error::new(
            Kind::Invalid,
            format!("{place} has seen a migration {version} that this program does not know: it is not a database of this frontdesk"),
        )
        .with_code("schema_unknown"),
        MigrateError::VersionMismatch(version) => Error::new(
            Kind::Invalid,
            format!("migration {version} was changed after it ran on {place}: start the frontdesk that made this database, or restore a backup"),
        )
        .with_code("schema_changed"),
        other => Error::internal(format!("could not bring the schema of {place} up to date"), other),
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection as _, PgConnection, SqliteConnection};

    use super::{POSTGRES, SQLITE};
    use crate::testing::{FreshDatabase, server};

    /// Two files with an address in one store: a client's and one that we keep ourselves.
    const BEFORE: &str = "INSERT INTO tenant (id, name, created_at) VALUES ('t', 't', 0); \
         INSERT INTO vector_store (tenant, id, name, metadata, created_at) VALUES ('t', 'v', '', '{}', 0); \
         INSERT INTO file (tenant, id, filename, purpose, bytes, hash, created_at, content) \
         VALUES ('t', 'f1', 'a', 'assistants', 0, '', 0, ''), ('t', 'f2', 'b', 'knowledge', 0, '', 0, ''); \
         INSERT INTO vector_store_file (tenant, store_id, file_id, url, status, passages, created_at) \
         VALUES ('t', 'v', 'f1', 'https://a \"x\"', 'completed', 0, 0), ('t', 'v', 'f2', 'https://b', 'completed', 0, 0);";
    const AFTER: &str = "SELECT url, attributes FROM vector_store_file ORDER BY file_id";

    fn check(rows: &[(String, String)]) {
        let set: serde_json::Value = serde_json::from_str(&rows[0].1).expect("JSON");
        assert_eq!(set, serde_json::json!({ "url": "https://a \"x\"" }));
        assert_eq!(
            (rows[0].0.as_str(), rows[1].0.as_str(), rows[1].1.as_str()),
            ("https://a \"x\"", "https://b", "{}")
        );
    }

    #[tokio::test]
    async fn an_address_that_a_client_gave_becomes_its_attribute() {
        let mut file = SqliteConnection::connect(":memory:").await.expect("a database");
        SQLITE.run_direct(Some(32), &mut file, false).await.expect("as it was");
        let before = BEFORE.replace("0, '', 0, ''", "0, x'', 0, x''");
        sqlx::raw_sql(sqlx::AssertSqlSafe(before)).execute(&mut file).await.expect("rows");
        SQLITE.run_direct(None, &mut file, false).await.expect("as it is");
        check(&sqlx::query_as(AFTER).fetch_all(&mut file).await.expect("rows"));

        let Some(server) = server() else { return };
        let fresh = FreshDatabase::make(&server).await;
        let mut conn = PgConnection::connect(&fresh.url).await.expect("a database");
        POSTGRES.run_direct(Some(32), &mut conn, false).await.expect("as it was");
        let door = "SET frontdesk.door = 'system'";
        sqlx::raw_sql(door).execute(&mut conn).await.expect("the system door");
        sqlx::raw_sql(BEFORE).execute(&mut conn).await.expect("rows");
        POSTGRES.run_direct(None, &mut conn, false).await.expect("as it is");
        let rows: Vec<(String, String)> = sqlx::query_as(AFTER).fetch_all(&mut conn).await.expect("rows");
        conn.close().await.expect("closed");
        fresh.drop().await;
        check(&rows);
    }
}
