//! Commits: how many writes a database has taken, and what as many cost without a server around them.
//!
//! On PostgreSQL a write is a transaction id; on SQLite it is a frame of the write-ahead log that ends a transaction
//! (SQLite's file format, section 4.1: the frame's size of the database is not zero there). Invariant: reads count
//! nothing on either.

use crate::load::percentile;
use crate::options::Options;
use serde_json::json;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, PgConnection, SqliteConnection};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Bytes of a row of the floor: about what an event or a step takes.
const PAYLOAD: usize = 500;

/// The writes of a database, as they grow.
pub(crate) enum Counter {
    Postgres(PgConnection),
    /// The log beside the file.
    Sqlite(PathBuf),
}

/// How many there were; where the log began anew in between, two marks have another salt and nothing can be said.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    salt: u64,
    writes: u64,
}

impl Mark {
    pub(crate) fn since(self, before: Self) -> Option<u64> {
        (self.salt == before.salt).then(|| self.writes.saturating_sub(before.writes))
    }
}

impl Counter {
    /// Of `--database URL`, else of the one SQLite file in `--data`.
    pub(crate) async fn of(options: &Options) -> Result<Self, String> {
        if let Some(url) = options.find("database") {
            return PgConnection::connect(url).await.map(Self::Postgres).map_err(|e| format!("{url}: {e}"));
        }
        let folder = options.find("data").ok_or("--database URL or --data FOLDER is missing")?;
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{folder}: {e}"))?;
        let log = entries.flatten().map(|entry| entry.path()).find(|path| path.to_string_lossy().ends_with("-wal"));
        log.map(Self::Sqlite).ok_or_else(|| format!("no write-ahead log in {folder}"))
    }

    pub(crate) async fn mark(&mut self) -> Result<Mark, String> {
        match self {
            Self::Postgres(db) => {
                let next: String = sqlx::query_scalar("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")
                    .fetch_one(db)
                    .await
                    .map_err(|e| e.to_string())?;
                Ok(Mark { salt: 0, writes: next.parse().map_err(|e| format!("{next}: {e}"))? })
            }
            Self::Sqlite(log) => {
                let bytes = std::fs::read(&log).map_err(|e| format!("{}: {e}", log.display()))?;
                Ok(frames(&bytes))
            }
        }
    }
}

/// The commits in a write-ahead log, since it last began anew.
fn frames(log: &[u8]) -> Mark {
    let four = |at: usize| log.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
    let (page, salt) = (four(8) as usize, (u64::from(four(16)) << 32) | u64::from(four(20)));
    let (mut at, mut writes) = (32, 0);
    while page > 0 && at + 24 + page <= log.len() {
        let own = (u64::from(four(at + 8)) << 32) | u64::from(four(at + 12));
        if own != salt {
            break;
        }
        writes += u64::from(four(at + 4) != 0);
        at += 24 + page;
    }
    Mark { salt, writes }
}

/// `bench floor`: `--conc` writers, each unit of `--commits` transactions of one row, for `--secs`.
pub(crate) async fn run(options: &Options) -> Result<(), String> {
    let (conc, commits) = (options.number("conc", 1), options.number("commits", 1).max(1));
    let until = Instant::now() + Duration::from_secs(options.number("secs", 5));
    let file = tempfile::tempdir_in(options.text("data", ".")).map_err(|e| e.to_string())?;
    let place = Arc::new(Place::open(options.find("database"), file.path().join("floor.db")).await?);
    let start = Instant::now();
    let writers = (0..conc).map(|n| tokio::spawn(writer(Arc::clone(&place), n, commits, until)));
    let mut units = vec![];
    for writer in writers.collect::<Vec<_>>() {
        units.extend(writer.await.map_err(|e| e.to_string())??);
    }
    let seconds = start.elapsed().as_secs_f64();
    place.clear().await?;
    let row = json!({
        "label": options.text("label", "floor"), "conc": conc, "commits": commits, "units": units.len(),
        "per_second": units.len() as f64 / seconds,
        "p50_ms": percentile(&mut units, 0.5) / 1000.0, "p99_ms": percentile(&mut units, 0.99) / 1000.0,
    });
    println!("{row}");
    Ok(())
}

enum Place {
    /// A connection each.
    Postgres(String),
    /// One for all: a file has one writer.
    Sqlite(Mutex<SqliteConnection>),
}

impl Place {
    async fn open(database: Option<&str>, file: PathBuf) -> Result<Self, String> {
        const TABLE: &str = "CREATE TABLE bench_floor (writer BIGINT, n BIGINT, payload TEXT, PRIMARY KEY (writer, n))";
        if let Some(url) = database {
            let place = Self::Postgres(url.to_owned());
            place.clear().await?;
            let mut db = PgConnection::connect(url).await.map_err(|e| e.to_string())?;
            sqlx::query(TABLE).execute(&mut db).await.map_err(|e| e.to_string())?;
            return Ok(place);
        }
        // As the store opens its own.
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let mut db = options.connect().await.map_err(|e| e.to_string())?;
        sqlx::query(TABLE).execute(&mut db).await.map_err(|e| e.to_string())?;
        Ok(Self::Sqlite(Mutex::new(db)))
    }

    async fn clear(&self) -> Result<(), String> {
        let Self::Postgres(url) = self else { return Ok(()) };
        let mut db = PgConnection::connect(url).await.map_err(|e| e.to_string())?;
        let gone = sqlx::query("DROP TABLE IF EXISTS bench_floor").execute(&mut db).await;
        gone.map(|_| ()).map_err(|e| e.to_string())
    }
}

const INSERT: &str = "INSERT INTO bench_floor (writer, n, payload) VALUES ($1, $2, $3)";

/// Times of units, µs.
async fn writer(place: Arc<Place>, writer: u64, commits: u64, until: Instant) -> Result<Vec<u32>, String> {
    let mut own = match &*place {
        Place::Postgres(url) => Some(PgConnection::connect(url).await.map_err(|e| e.to_string())?),
        Place::Sqlite(_) => None,
    };
    let (payload, writer, mut n, mut times) = ("x".repeat(PAYLOAD), writer as i64, 0_i64, vec![]);
    while Instant::now() < until {
        let start = Instant::now();
        for _ in 0..commits {
            n += 1;
            let done = match (&*place, &mut own) {
                (Place::Sqlite(db), _) => {
                    let mut db = db.lock().await;
                    let row = sqlx::query(INSERT).bind(writer).bind(n).bind(&payload);
                    row.execute(&mut *db).await.map(|_| ())
                }
                (Place::Postgres(_), Some(db)) => {
                    let row = sqlx::query(INSERT).bind(writer).bind(n).bind(&payload);
                    row.execute(&mut *db).await.map(|_| ())
                }
                (Place::Postgres(_), None) => Ok(()),
            };
            done.map_err(|e| e.to_string())?;
        }
        times.push(u32::try_from(start.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn commits_of_a_log_are_counted_and_reads_are_not() {
        let home = tempfile::tempdir().unwrap();
        let place = Place::open(None, home.path().join("floor.db")).await.unwrap();
        let mut counter = Counter::Sqlite(home.path().join("floor.db-wal"));
        let before = counter.mark().await.unwrap();
        let Place::Sqlite(db) = &place else { panic!("a file") };
        let mut db = db.lock().await;
        for n in 0..5_i64 {
            let mut tx = db.begin().await.unwrap();
            for m in 0..3_i64 {
                let row = sqlx::query(INSERT).bind(n).bind(m).bind("x".repeat(9_000));
                row.execute(&mut *tx).await.unwrap();
            }
            tx.commit().await.unwrap();
            let _: i64 = sqlx::query_scalar("SELECT count(*) FROM bench_floor").fetch_one(&mut *db).await.unwrap();
        }
        assert_eq!(counter.mark().await.unwrap().since(before), Some(5));
    }
}
