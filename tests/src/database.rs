//! The database a test runs on: one lane per process, one fresh database per test.
//!
//! `FRONTDESK_TEST_LANE` says which lane (`sqlite` if absent); the same tests run once on each.
//! On PostgreSQL the binary gets a role that owns its database and nothing else, so that row
//! security binds it as it would in production.

// A test program reads its own environment; the rule is for the rooms of the product.
#![allow(clippy::disallowed_methods)]

use sqlx::{AssertSqlSafe, Connection, Row};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The role the binary connects as on PostgreSQL.
const ROLE: &str = "frontdesk_test";
const ROLE_PASSWORD: &str = "frontdesk-test";

/// Which database this run of the tests is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Sqlite,
    Postgres,
}

/// A database for one test. Dropping it drops what was created.
#[derive(Debug)]
pub enum Database {
    /// Frontdesk keeps its own file in its data directory.
    Sqlite,
    /// Created for this test.
    Postgres { admin_url: String, name: String },
}

impl Lane {
    /// The lane `FRONTDESK_TEST_LANE` names.
    ///
    /// # Panics
    /// When it names none.
    #[must_use]
    pub fn current() -> Self {
        match std::env::var("FRONTDESK_TEST_LANE").as_deref() {
            Err(_) | Ok("" | "sqlite") => Self::Sqlite,
            Ok("postgres") => Self::Postgres,
            Ok(other) => panic!("FRONTDESK_TEST_LANE is {other:?}; allowed are sqlite, postgres"),
        }
    }
}

impl Database {
    /// A fresh, empty database on `lane`.
    ///
    /// # Panics
    /// On the PostgreSQL lane without `FRONTDESK_TEST_POSTGRES_URL`, or when that server refuses.
    #[must_use]
    pub fn create(lane: Lane) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if lane == Lane::Sqlite {
            return Self::Sqlite;
        }
        let Ok(admin_url) = std::env::var("FRONTDESK_TEST_POSTGRES_URL") else {
            panic!("the postgres lane needs FRONTDESK_TEST_POSTGRES_URL (tests/run.sh sets it)");
        };
        let name = format!("fd_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let role = format!(
            "DO $$ BEGIN CREATE ROLE {ROLE} LOGIN PASSWORD '{ROLE_PASSWORD}'; \
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        on_admin(&admin_url, vec![role, format!("CREATE DATABASE {name} OWNER {ROLE}")]);
        // Only an administrator may create the extension; a server without pgvector goes without.
        let extension = "DO $$ BEGIN CREATE EXTENSION IF NOT EXISTS vector; \
                         EXCEPTION WHEN undefined_file OR feature_not_supported THEN NULL; END $$";
        on_admin(&with_database(&admin_url, &name), vec![extension.into()]);
        Self::Postgres { admin_url, name }
    }

    /// What Frontdesk gets as `database_url`; `None` on SQLite.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        match self {
            Self::Sqlite => None,
            Self::Postgres { admin_url, name } => Some(with_role(&with_database(admin_url, name))),
        }
    }

    /// Runs a query of one text column beside Frontdesk, as a second process would, and returns its rows.
    /// `data_dir` is Frontdesk's; on SQLite its database file is found there. On PostgreSQL the query
    /// runs as administrator, past row security.
    ///
    /// # Panics
    /// When there is no database yet or the query fails; the message names it.
    pub async fn texts(&self, data_dir: &Path, query: &str) -> Vec<String> {
        let fail = |e: sqlx::Error| -> ! { panic!("query {query:?}: {e}") };
        let sql = AssertSqlSafe(query.to_owned());
        match self {
            Self::Postgres { admin_url, name } => {
                let url = with_database(admin_url, name);
                let mut db = sqlx::PgConnection::connect(&url).await.unwrap_or_else(|e| fail(e));
                let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap_or_else(|e| fail(e));
                rows.iter().map(|row| row.get(0)).collect()
            }
            Self::Sqlite => {
                let file = sqlite_file(data_dir).unwrap_or_else(|| panic!("no SQLite file in {}", data_dir.display()));
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                let mut db = sqlx::SqliteConnection::connect_with(&options).await.unwrap_or_else(|e| fail(e));
                let rows = sqlx::query(sql).fetch_all(&mut db).await.unwrap_or_else(|e| fail(e));
                rows.iter().map(|row| row.get(0)).collect()
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Postgres { admin_url, name } = self {
            on_admin(admin_url, vec![format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")]);
        }
    }
}

/// The database file in `data_dir`: the one that begins as SQLite files do.
fn sqlite_file(data_dir: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(data_dir).ok()?;
    let mut files = entries.flatten().map(|e| e.path()).filter(|p| p.is_file());
    files.find(|p| std::fs::read(p).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0")))
}

/// Runs statements on a thread of its own: callable from `Drop`, inside and outside a runtime.
fn on_admin(url: &str, statements: Vec<String>) {
    let url = url.to_owned();
    let worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut db =
                sqlx::PgConnection::connect(&url).await.map_err(|e| format!("connect to the test server: {e}"))?;
            for statement in statements {
                let result = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut db).await;
                result.map_err(|e| format!("{statement}: {e}"))?;
            }
            Ok::<(), String>(())
        })
    });
    match worker.join() {
        Ok(Ok(())) => {}
        Ok(Err(e)) if std::thread::panicking() => eprintln!("{e}"),
        Ok(Err(e)) => panic!("{e}"),
        Err(_) => eprintln!("a statement on the test server panicked"),
    }
}

/// `url` with another database; the query part stays.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, String::new()), |(b, q)| (b, format!("?{q}")));
    let authority_end = base.find("://").map_or(0, |i| i + 3);
    let server = base[authority_end..].find('/').map_or(base, |i| &base[..authority_end + i]);
    format!("{server}/{name}{query}")
}

/// `url` with the test role's name and password.
fn with_role(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let path = rest.find('/').unwrap_or(rest.len());
    let host = rest[..path].rfind('@').map_or(0, |i| i + 1);
    format!("{scheme}://{ROLE}:{ROLE_PASSWORD}@{}", &rest[host..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_keep_their_server_and_query() {
        let url = "postgresql://admin:p%40ss@127.0.0.1:5433/postgres?sslmode=disable";
        let own = with_database(url, "fd_test_1");
        assert_eq!(own, "postgresql://admin:p%40ss@127.0.0.1:5433/fd_test_1?sslmode=disable");
        assert_eq!(
            with_role(&own),
            "postgresql://frontdesk_test:frontdesk-test@127.0.0.1:5433/fd_test_1?sslmode=disable"
        );
        assert_eq!(with_database("postgresql://h", "d"), "postgresql://h/d");
    }
}
