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
