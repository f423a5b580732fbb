//! Containers: what code of a conversation works in, and the files that are kept of it.
//!
//! A conversation has one for each agent and customer whose code runs in it; of a line of responses the first to run
//! code after another takes over what that one left, as its interpreter does. Invariants: a container and its files are
//! found until their time is over, whether they are deleted by then or not; a file's content never changes, a newer
//! version is another file; a content goes with its row, by whatever way that goes (a trigger of migration 0031).

use frontdesk_api::{
    Cx, Error, Micros, Order, Page, PageRequest, Result,
    blobs::Place,
    customer::{Customer, Owner, Sight},
};

use self::seat::Seat;
use crate::{Conn, Doing as _, System, Tenant, Tx, blobs, files::Placed, on, paging, sessions};

/// Microseconds of a minute.
const MINUTE: i64 = 60_000_000;

/// Who wrote a file that code wrote.
pub const ASSISTANT: &str = "assistant";

/// Who wrote a file that a client put there.
pub const USER: &str = "user";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredContainer {
    pub id: String,
    pub name: String,
    /// None: its conversation is a line of responses, or a client made it.
    pub session_id: Option<String>,
    /// Whose it is; None: nobody's.
    pub owner: Option<Owner>,
    /// Minutes it is kept after it was used.
    pub expire_minutes: i64,
    pub created_at: Micros,
    pub last_active_at: Micros,
    pub expires_at: Micros,
}

impl StoredContainer {
    /// One that was just made, of no session. `minutes`: how long it is kept after its last use.
    #[must_use]
    pub fn made(id: String, name: &str, owner: Option<Owner>, minutes: i64, now: Micros) -> Self {
        Self {
            id,
            name: name.to_owned(),
            session_id: None,
            owner,
            expire_minutes: minutes,
            created_at: now,
            last_active_at: now,
            expires_at: now.saturating_add(minutes.saturating_mul(MINUTE)),
        }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    session_id: Option<String>,
    customer: Option<String>,
    issuer: Option<String>,
    expire_minutes: i64,
    created_at: Micros,
    last_active_at: Micros,
    expires_at: Micros,
}

impl From<Row> for StoredContainer {
    fn from(row: Row) -> Self {
        let Row { id, name, session_id, customer, issuer, expire_minutes, created_at, last_active_at, expires_at } =
            row;
        let owner = customer.map(|sub| Owner { sub, issuer: issuer.unwrap_or_default() });
        Self { id, name, session_id, owner, expire_minutes, created_at, last_active_at, expires_at }
    }
}

/// What is read of a container. One of a session is whose that is now.
macro_rules! found {
    ($more:literal) => {
        concat!(
            "SELECT * FROM (SELECT c.id, c.name, c.session_id, c.expire_minutes, c.created_at, c.last_active_at, c.expires_at, \
             CASE WHEN c.session_id IS NULL THEN c.customer ELSE s.customer END AS customer, \
             CASE WHEN c.session_id IS NULL THEN c.issuer ELSE s.issuer END AS issuer \
             FROM container c LEFT JOIN session s ON s.tenant = c.tenant AND s.id = c.session_id \
             WHERE c.tenant = $1 AND c.expires_at > $2) AS found WHERE ",
            $more
        )
    };
}

/// A file of a container, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct ContainerFile {
    pub id: String,
    pub container_id: String,
    /// In the working folder, without folders.
    pub name: String,
    /// [`ASSISTANT`] or [`USER`].
    pub source: String,
    /// The turn whose code wrote it.
    pub turn_id: Option<String>,
    /// The key of the run that did.
    pub run: Option<String>,
    pub bytes: i64,
    /// BLAKE3 of the content.
    pub hash: Vec<u8>,
    pub created_at: Micros,
}

#[derive(sqlx::FromRow)]
struct PlacedRow {
    bytes: i64,
    hash: Vec<u8>,
    content: Vec<u8>,
    blob: Option<String>,
    place: Option<String>,
}

/// The container that code of `cx` runs in, which counts as used at `now`: the one that the workspace names, the one of
/// its session, or the one that the line of responses left; where there is none, a new one with the id `new`. None where
/// the code is part of no conversation of this database, or the named one's time is over. `keep`: the minutes that a
/// conversation's own is kept from now on; None: as it is. The turn is held until the end of the transaction, as by
/// [`hold`]. The caller commits.
///
/// # Errors
/// As any query; `NotFound` where the turn is gone, `Conflict` where another worker has it.
pub async fn claim(tx: &mut Tx, cx: &Cx, new: &str, keep: Option<i64>, now: Micros) -> Result<Option<String>> {
    let (Some(workspace), Some(turn), Some(agent)) = (&cx.workspace, &cx.turn, &cx.agent) else { return Ok(None) };
    let owner = cx.customer.as_ref().map(Customer::owner);
    let seat = Seat { agent, owner: owner.as_ref() };
    let in_session = cx.session.as_ref() == Some(&workspace.id);
    if workspace.container.is_none() && !in_session && *turn != workspace.id {
        // A replay's, which leaves nothing here.
        return Ok(None);
    }
    if in_session && workspace.container.is_none() {
        // A new container refers to it: the session before its turns, as whoever deletes it takes them.
        sessions::hold(tx, &workspace.id).await?;
    }
    hold_writer(tx, turn, cx.turn_epoch).await?;
    if let Some(named) = &workspace.container {
        if !enter(tx, cx, named, now).await? {
            return Ok(None);
        }
        return use_(tx, named, keep, now).await;
    }
    let found = match in_session {
        true => seat.of_session(tx, &workspace.id, now).await?,
        false => seat.of_line(tx, turn, &workspace.after, now).await?,
    };
    if let Some(id) = found {
        return use_(tx, &id, keep, now).await;
    }
    seat.make(tx, new, cx.session.as_deref(), turn, keep, now).await.map(Some)
}

/// Makes a container that a client made and nobody has the customer's for whom `cx` asks, as it is with conversations;
/// whether `cx` may let code run in it. The caller commits.
///
/// # Errors
/// As any query.
pub async fn enter(tx: &mut Tx, cx: &Cx, id: &str, now: Micros) -> Result<bool> {
    if let Some(owner) = cx.customer.as_ref().map(Customer::owner) {
        let tenant = tx.tenant();
        on!(tx, conn => sqlx::query("UPDATE container SET customer = $3, issuer = $4 \
             WHERE tenant = $1 AND id = $2 AND customer IS NULL AND agent_id IS NULL")
            .bind(&*tenant).bind(id).bind(&owner.sub).bind(&owner.issuer).execute(conn).await.map(|_| ()))
        .doing("make a container its first customer's")?;
    }
    let found = load(tx, id, now).await;
    Ok(found.is_ok_and(|container| cx.speaks(container.owner.as_ref()).unwrap_or(false)))
}

/// Holds a container's row until the end of the transaction: what is added up of its files stays so. Where `cx` works on
/// a turn, holds that too, so that nobody else takes it meanwhile.
///
/// # Errors
/// As any query; `NotFound` where the container or the turn is gone, `Conflict` where another worker has the turn.
pub async fn hold(tx: &mut Tx, cx: &Cx, id: &str) -> Result<()> {
    // Whoever deletes a turn and its files takes the turn first, too.
    if let Some(turn) = &cx.turn {
        hold_writer(tx, turn, cx.turn_epoch).await?;
    }
    let tenant = tx.tenant();
    let held = on!(tx, conn => sqlx::query("UPDATE container SET last_active_at = last_active_at WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).execute(conn).await.map(|done| done.rows_affected()))
    .doing("hold a container")?;
    if held == 0 { Err(missing(id)) } else { Ok(()) }
}

/// Whether an earlier attempt of this run left files.
///
/// # Errors
/// As any query.
pub async fn is_of_run(tx: &mut Tx, cx: &Cx, run: &str) -> Result<bool> {
    let (tenant, turn) = (tx.tenant(), cx.turn.as_deref());
    let found: Option<i64> = on!(tx, conn => sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM container_file \
         WHERE tenant = $1 AND turn_id = $2 AND run = $3 LIMIT 1")
        .bind(&*tenant).bind(turn).bind(run).fetch_optional(conn).await)
    .doing("look for what a run wrote before")?;
    Ok(found.is_some())
}

/// Notes that a container is used, if it is there.
async fn use_(tx: &mut Tx, id: &str, keep: Option<i64>, now: Micros) -> Result<Option<String>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("UPDATE container SET last_active_at = $3, \
         expire_minutes = CASE WHEN agent_id IS NULL THEN expire_minutes ELSE coalesce($4, expire_minutes) END, \
         expires_at = $3 + CASE WHEN agent_id IS NULL THEN expire_minutes ELSE coalesce($4, expire_minutes) END * 60000000 WHERE tenant = $1 AND id = $2 AND expires_at > $3 RETURNING id")
        .bind(&*tenant).bind(id).bind(now).bind(keep).fetch_optional(conn).await)
    .doing("note that a container is used")
}

/// Containers whose time is over that one transaction deletes.
const AT_ONCE: i64 = 200;

/// A time as minutes, one at least.
#[must_use]
pub fn minutes(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_secs() / 60).unwrap_or(i64::MAX / MINUTE).max(1)
}

async fn add(tx: &mut Tx, container: &StoredContainer, turn: Option<&str>, agent: Option<&str>) -> Result<()> {
    let (tenant, owner) = (tx.tenant(), container.owner.as_ref());
    on!(tx, conn => sqlx::query("INSERT INTO container (tenant, id, name, session_id, turn_id, agent_id, customer, issuer, expire_minutes, \
         created_at, last_active_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING")
        .bind(&*tenant).bind(&container.id).bind(&container.name).bind(&container.session_id).bind(turn).bind(agent)
        .bind(owner.map(|o| &o.sub)).bind(owner.map(|o| &o.issuer)).bind(container.expire_minutes)
        .bind(container.created_at).bind(container.last_active_at).bind(container.expires_at)
        .execute(conn).await.map(|_| ()))
    .doing("make a container")
}

/// # Errors
/// `NotFound`.
pub async fn load(tx: &mut Tx, id: &str, now: Micros) -> Result<StoredContainer> {
    let tenant = tx.tenant();
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(found!("id = $3"))
        .bind(&*tenant).bind(now).bind(id).fetch_optional(conn).await)
    .doing("load a container")?;
    row.map(StoredContainer::from).ok_or_else(|| missing(id))
}

/// # Errors
/// `NotFound`, also where the file is in another container.
pub async fn load_file(tx: &mut Tx, container: &str, id: &str) -> Result<ContainerFile> {
    let tenant = tx.tenant();
    let found =
        on!(tx, conn => sqlx::query_as("SELECT id, container_id, name, source, turn_id, run, bytes, hash, created_at \
         FROM container_file WHERE tenant = $1 AND container_id = $2 AND id = $3")
        .bind(&*tenant).bind(container).bind(id).fetch_optional(conn).await)
        .doing("look up a file of a container")?;
    found.ok_or_else(|| missing_file(id))
}

/// The containers of a session or conversation, or those that a response has or that hold what its code wrote.
///
/// # Errors
/// As any query.
pub async fn of_conversation(tx: &mut Tx, id: &str) -> Result<Vec<String>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_scalar("SELECT id FROM container WHERE tenant = $1 AND (session_id = $2 OR turn_id = $2) \
         UNION SELECT container_id FROM container_file WHERE tenant = $1 AND turn_id = $2 ORDER BY 1")
        .bind(&*tenant).bind(id).fetch_all(conn).await)
    .doing("look up a conversation's containers")
}

/// The files of a container, the newest first.
///
/// # Errors
/// As any query.
pub async fn files(tx: &mut Tx, container: &str) -> Result<Vec<ContainerFile>> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query_as("SELECT id, container_id, name, source, turn_id, run, bytes, hash, created_at \
         FROM container_file WHERE tenant = $1 AND container_id = $2 ORDER BY id DESC")
        .bind(&*tenant).bind(container).fetch_all(conn).await)
    .doing("look what is in a container")
}

/// As [`crate::turns::fence`], for what is written beside the turn's rows: only the worker of `epoch` writes, and whoever
/// claims or deletes the turn waits until it has, and finds it.
///
/// # Errors
/// `NotFound` where the turn is gone, `Conflict` where another worker has it.
async fn hold_writer(tx: &mut Tx, turn: &str, epoch: i64) -> Result<()> {
    let tenant = tx.tenant();
    let sql = match tx.conn() {
        // No weaker lock makes a claim wait: it changes no key.
        Conn::Postgres(_) => "SELECT epoch FROM turn WHERE tenant = $1 AND id = $2 FOR SHARE",
        Conn::Sqlite(_) => "SELECT epoch FROM turn WHERE tenant = $1 AND id = $2",
    };
    let found: Option<i64> =
        on!(tx, conn => sqlx::query_scalar(sql).bind(&*tenant).bind(turn).fetch_optional(conn).await)
            .doing("look who works on the turn that wrote a file")?;
    match found {
        None => Err(crate::turns::missing(turn)),
        Some(found) if found != epoch => {
            let message =
                format!("another worker has the turn '{turn}' by now: what was written for it here is not kept");
            Err(Error::conflict(message).with_code("turn_taken_over"))
        }
        Some(_) => Ok(()),
    }
}

/// Writes a file behind [`hold`]; a blob that it names is kept from then on. The caller commits.
///
/// # Errors
/// `NotFound` where its container is gone; `Unavailable` when the blob was given up.
pub async fn write_file(tx: &mut Tx, file: &ContainerFile, content: &Place) -> Result<()> {
    let tenant = tx.tenant();
    let (content, blob) = match content {
        Place::Row(content) => (&content[..], None),
        Place::Blob(key) => {
            blobs::keep(tx, key).await?;
            (&[][..], Some(key))
        }
    };
    on!(tx, conn => sqlx::query("INSERT INTO container_file (tenant, id, container_id, name, source, turn_id, run, bytes, hash, content, blob, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)")
        .bind(&*tenant).bind(&file.id).bind(&file.container_id).bind(&file.name).bind(&file.source).bind(&file.turn_id)
        .bind(&file.run).bind(file.bytes).bind(&file.hash).bind(content).bind(blob).bind(file.created_at)
        .execute(conn).await.map(|_| ()))
    .doing(&format!("store the file '{}'", file.name))
    .map_err(|e| match e.kind {
        frontdesk_api::Kind::Conflict => missing(&file.container_id).with_source(e),
        _ => e,
    })
}

/// Deletes what an attempt of a run wrote, but for the files of these ids. The caller commits.
///
/// # Errors
/// As any query.
pub async fn delete_of_run(tx: &mut Tx, container: &str, run: &str, but: &[String]) -> Result<()> {
    let before = files(tx, container).await?;
    for file in before.iter().filter(|file| file.run.as_deref() == Some(run) && !but.contains(&file.id)) {
        delete_file(tx, container, &file.id).await?;
    }
    Ok(())
}

/// Deletes the files that a turn's code wrote, and the container that it left without any. The caller commits.
///
/// # Errors
/// As any query.
pub(crate) async fn delete_of_turn(tx: &mut Tx, turn: &str) -> Result<()> {
    let tenant = tx.tenant();
    for sql in [
        "DELETE FROM container_file WHERE tenant = $1 AND turn_id = $2",
        "DELETE FROM container WHERE tenant = $1 AND turn_id = $2 AND NOT EXISTS \
         (SELECT 1 FROM container_file f WHERE f.tenant = container.tenant AND f.container_id = container.id)",
    ] {
        on!(tx, conn => sqlx::query(sql).bind(&*tenant).bind(turn).execute(conn).await.map(|_| ()))
            .doing("delete the files that a response wrote")?;
    }
    Ok(())
}

async fn delete_file(tx: &mut Tx, container: &str, id: &str) -> Result<u64> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("DELETE FROM container_file WHERE tenant = $1 AND container_id = $2 AND id = $3")
        .bind(&*tenant).bind(container).bind(id).execute(conn).await.map(|done| done.rows_affected()))
    .doing("delete a file of a container")
}

impl Tenant<'_> {
    /// Adds a container that a client made.
    ///
    /// # Errors
    /// As any query.
    pub async fn add_container(&self, container: &StoredContainer) -> Result<()> {
        let mut tx = self.write().await?;
        add(&mut tx, container, None, None).await?;
        tx.commit().await
    }

    /// Those that are in `sight`, of one name where it is given.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_containers(
        &self,
        sight: &Sight,
        name: Option<&str>,
        page: &PageRequest,
        now: Micros,
    ) -> Result<Page<StoredContainer>> {
        macro_rules! in_sight {
            ($page:literal) => {
                concat!(
                    found!("($5 OR (customer IS NULL AND $6) OR (customer = $7 AND issuer = $8)) AND ($9 = '' OR name = $9) AND "),
                    $page,
                    " LIMIT $4"
                )
            };
        }
        let sql = match page.order {
            Order::Asc => in_sight!("id > $3 ORDER BY id"),
            Order::Desc => in_sight!("id < $3 ORDER BY id DESC"),
        };
        let owner = match sight {
            Sight::Of(owner) => Some(owner),
            Sight::All | Sight::Unowned => None,
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(now).bind(paging::cursor(page))
            .bind(paging::fetch(page)).bind(*sight == Sight::All).bind(*sight == Sight::Unowned)
            .bind(owner.map(|o| &o.sub)).bind(owner.map(|o| &o.issuer)).bind(name.unwrap_or_default())
            .fetch_all(conn).await)
        .doing("list containers")?;
        Ok(Page::of(rows.into_iter().map(StoredContainer::from).collect(), page.limit))
    }

    /// Deletes a container with its files.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_container(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone = on!(tx, conn => sqlx::query("DELETE FROM container WHERE tenant = $1 AND id = $2")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
        .doing("delete a container")?;
        if gone == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }

    /// # Errors
    /// As any query.
    pub async fn list_container_files(&self, container: &str, page: &PageRequest) -> Result<Page<ContainerFile>> {
        macro_rules! of_container {
            ($page:literal) => {
                concat!(
                    "SELECT id, container_id, name, source, turn_id, run, bytes, hash, created_at FROM container_file \
                     WHERE tenant = $1 AND container_id = $2 AND ",
                    $page,
                    " LIMIT $4"
                )
            };
        }
        let sql = match page.order {
            Order::Asc => of_container!("id > $3 ORDER BY id"),
            Order::Desc => of_container!("id < $3 ORDER BY id DESC"),
        };
        let mut tx = self.read().await?;
        let rows = on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(container).bind(paging::cursor(page))
            .bind(paging::fetch(page)).fetch_all(conn).await)
        .doing("list the files of a container")?;
        Ok(Page::of(rows, page.limit))
    }

    /// # Errors
    /// `NotFound`, also where the file is in another container.
    pub async fn delete_container_file(&self, container: &str, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        if delete_file(&mut tx, container, id).await? == 0 {
            return Err(missing_file(id));
        }
        tx.commit().await
    }

    /// Where the content is, and the content itself where that is the row.
    ///
    /// # Errors
    /// `NotFound` when this tenant has no such file.
    pub async fn find_container_content(&self, id: &str) -> Result<Placed> {
        let mut tx = self.read().await?;
        let found: Option<PlacedRow> =
            on!(tx, conn => sqlx::query_as("SELECT f.bytes, f.hash, f.content, f.blob, b.place FROM container_file f \
             LEFT JOIN blob b ON b.tenant = f.tenant AND b.key = f.blob WHERE f.tenant = $1 AND f.id = $2")
            .bind(self.id()).bind(id).fetch_optional(conn).await)
            .doing("load a file of a container")?;
        let PlacedRow { bytes, hash, content, blob, place } = found.ok_or_else(|| missing_file(id))?;
        let content = blob.map_or_else(|| Place::Row(content.into()), Place::Blob);
        Ok(Placed { bytes, hash, content, place: place.unwrap_or_default() })
    }
}

impl System<'_> {
    /// Deletes the containers whose time was over at `now`, with their files; how many. Over all tenants, since one sweep
    /// deletes for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_expired_containers(&self, now: Micros) -> Result<u64> {
        let mut gone = 0;
        loop {
            // Nothing is locked where there is nothing, which is nearly always.
            let mut tx = self.read().await?;
            let over: Vec<(String, String)> =
                on!(tx, conn => sqlx::query_as("SELECT tenant, id FROM container WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2")
                    .bind(now).bind(AT_ONCE).fetch_all(conn).await)
                .doing("look for containers whose time is over")?;
            drop(tx);
            if over.is_empty() {
                return Ok(gone);
            }
            let mut tx = self.write().await?;
            for (tenant, id) in &over {
                gone += on!(tx, conn => sqlx::query("DELETE FROM container WHERE tenant = $1 AND id = $2 AND expires_at <= $3")
                    .bind(tenant).bind(id).bind(now).execute(conn).await.map(|done| done.rows_affected()))
                .doing("delete containers whose time is over")?;
            }
            tx.commit().await?;
        }
    }
}

/// The error for a container that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no container has the id '{id}'")).with_code("container_not_found")
}

fn missing_file(id: &str) -> Error {
    Error::not_found(format!("this container has no file with the id '{id}'")).with_code("container_file_not_found")
}

mod seat;
#[cfg(test)]
mod tests;
