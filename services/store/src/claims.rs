//! Who works on which turn.
//!
//! A running turn is held by a lease of the database's clock. Whoever else finds the lease passed claims the turn under
//! the next epoch and goes on with it; the one before can write no more ([`crate::turns::fence`]). A turn that waits
//! for its first worker, or was given back, is one whose lease is 0.
//!
//! A turn whose process was lost is gone on with at once, together with those it ran beside. One whose process was lost
//! twice since a step of it last ended is a suspect: it may be what ends them. A process works on one suspect at a time,
//! so what ends it then is this one, and its neighbours count no further loss.
//!
//! Invariants: a claim changes the epoch, so two workers never write under one; tenants are served in turn, whoever
//! has the longer line.

use frontdesk_api::{Micros, Result};

use crate::{
    Dialect, Doing as _, System, Tenant, Tx, on,
    turns::{Lease, Row, StoredTurn, columns},
};

/// A turn that this process holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    pub tenant: String,
    pub stored: StoredTurn,
    /// Microseconds from the claim to its deadline; negative when that has passed.
    pub left: i64,
    /// How often it was taken up since a step of it last ended, this time included.
    pub attempts: i64,
}

/// A running turn that this owner still holds.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Held {
    pub tenant: String,
    pub id: String,
    pub epoch: i64,
    pub cancel_requested: bool,
}

/// How far a turn is, for those who follow it from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Head {
    pub tenant: String,
    pub id: String,
    pub next_seq: i64,
    pub state: String,
}

/// Turns that stand in line for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line {
    pub of_tenant: i64,
    pub of_all: i64,
}

/// Which of the turns that nobody holds a claim is after.
#[derive(Clone, Copy, PartialEq)]
enum Which {
    /// Those that were lost at most once since a step of them last ended.
    Trusted,
    /// The others, those with the fewest losses first; none while this owner holds one of them.
    Suspects,
}

/// Turns of all tenants that stand still, by what they wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Standing {
    /// For a worker.
    pub in_line: i64,
    /// For the open turn of their session to end.
    pub queued: i64,
    /// For a client or a person.
    pub awaiting_input: i64,
    /// For nobody: they were given up.
    pub dead_letter: i64,
    /// Beside turns: approvals that nobody has said a word to.
    pub approvals: i64,
}

/// How many heads are asked for in one statement.
const HEADS: usize = 500;

#[derive(sqlx::FromRow)]
struct ClaimedRow {
    tenant: String,
    attempts: i64,
    deadline: Option<Micros>,
    #[sqlx(flatten)]
    row: Row,
}

impl ClaimedRow {
    fn read(self, now: Micros) -> Result<Claimed> {
        let left = self.deadline.map_or(i64::MAX, |deadline| deadline.saturating_sub(now));
        Ok(Claimed { tenant: self.tenant, stored: self.row.read()?, left, attempts: self.attempts })
    }
}

/// Takes a turn that waits for input, to go on with it: under a new epoch and running, with `timeout` microseconds
/// for its work; held by `lease`, or by nobody. None when it does not wait (any more).
///
/// # Errors
/// As any query.
pub async fn take_up(tx: &mut Tx, id: &str, lease: Option<Lease<'_>>, timeout: i64) -> Result<Option<Claimed>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let until = lease.map_or(0, |lease| now.saturating_add(lease.micros));
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1, state = 'running', lease_owner = $3, lease_until = $4, deadline = $5, \
         attempts = $6 WHERE tenant = $1 AND id = $2 AND state = 'awaiting_input' RETURNING tenant, attempts, deadline, ",
        columns!()
    );
    let row: Option<ClaimedRow> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id)
        .bind(lease.map(|lease| lease.owner)).bind(until).bind(now.saturating_add(timeout))
        .bind(i64::from(lease.is_some())).fetch_optional(conn).await)
    .doing("take a turn up")?;
    row.map(|row| row.read(now)).transpose()
}

/// Takes a turn that waits for input, to put something into its inbox: it goes on waiting, under a new epoch, and its
/// row is locked until the transaction ends. None when it does not wait (any more).
///
/// # Errors
/// As any query.
pub async fn take_waiting(tx: &mut Tx, id: &str) -> Result<Option<Claimed>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1 WHERE tenant = $1 AND id = $2 AND state = 'awaiting_input' \
         RETURNING tenant, attempts, deadline, ",
        columns!()
    );
    let row: Option<ClaimedRow> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).fetch_optional(conn).await)
            .doing("take a turn that waits")?;
    row.map(|row| row.read(now)).transpose()
}

/// Takes a turn that stands behind another of its session, to end it: under a new epoch. None when it stands there no
/// more.
///
/// # Errors
/// As any query.
pub async fn take_queued(tx: &mut Tx, id: &str) -> Result<Option<StoredTurn>> {
    let tenant = tx.tenant();
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1 WHERE tenant = $1 AND id = $2 AND state = 'queued' RETURNING ",
        columns!()
    );
    let row: Option<Row> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).fetch_optional(conn).await)
        .doing("take a turn that stands behind another")?;
    row.map(Row::read).transpose()
}

/// Takes a running turn that nobody holds, to end it: under a new epoch. None when somebody works on it.
///
/// # Errors
/// As any query.
pub async fn take_unheld(tx: &mut Tx, id: &str) -> Result<Option<StoredTurn>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1 WHERE tenant = $1 AND id = $2 AND state = 'running' AND lease_until < $3 \
         RETURNING ",
        columns!()
    );
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).bind(now).fetch_optional(conn).await)
            .doing("take a turn that nobody holds")?;
    row.map(Row::read).transpose()
}

/// Claims this running turn, if nobody holds it; like [`System::claim_turns`], none of the owner's own.
///
/// # Errors
/// As any query.
pub async fn claim_one(tx: &mut Tx, id: &str, lease: Lease<'_>) -> Result<Option<Claimed>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1, attempts = attempts + 1, lease_owner = $3, lease_until = $4 \
         WHERE tenant = $1 AND id = $2 AND state = 'running' AND lease_until < $5 \
         AND (lease_owner IS NULL OR lease_owner <> $3) RETURNING tenant, attempts, deadline, ",
        columns!()
    );
    let row: Option<ClaimedRow> = on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).bind(lease.owner)
        .bind(now.saturating_add(lease.micros)).bind(now).fetch_optional(conn).await)
    .doing("claim a turn")?;
    row.map(|row| row.read(now)).transpose()
}

/// Takes a turn whose time for waiting is over, to end it: under a new epoch. None when it does not wait any more.
///
/// # Errors
/// As any query.
pub async fn take_overdue(tx: &mut Tx, id: &str) -> Result<Option<StoredTurn>> {
    let (tenant, now) = (tx.tenant(), tx.now().await?);
    let sql = concat!(
        "UPDATE turn SET epoch = epoch + 1 WHERE tenant = $1 AND id = $2 AND state = 'awaiting_input' \
         AND deadline < $3 RETURNING ",
        columns!()
    );
    let row: Option<Row> =
        on!(tx, conn => sqlx::query_as(sql).bind(&*tenant).bind(id).bind(now).fetch_optional(conn).await)
            .doing("take a turn that waited too long")?;
    row.map(Row::read).transpose()
}

impl Tenant<'_> {
    /// Gives a turn back as if it had not been taken up: whoever looks next goes on. Its epoch is over, so a write or a
    /// renewal that was on its way changes nothing. False when it was not held at `epoch` any more.
    ///
    /// # Errors
    /// As any query.
    pub async fn give_back_turn(&self, id: &str, epoch: i64) -> Result<bool> {
        self.let_go(id, epoch, 1).await
    }

    /// Ends the hold on a turn whose worker broke: whoever looks next goes on, and the attempt counts.
    ///
    /// # Errors
    /// As any query.
    pub async fn drop_turn(&self, id: &str, epoch: i64) -> Result<bool> {
        self.let_go(id, epoch, 0).await
    }

    async fn let_go(&self, id: &str, epoch: i64, uncount: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        let done =
            on!(tx, conn => sqlx::query("UPDATE turn SET lease_until = 0, lease_owner = NULL, epoch = epoch + 1, attempts = attempts - $4 \
             WHERE tenant = $1 AND id = $2 AND epoch = $3 AND state = 'running'")
            .bind(self.id()).bind(id).bind(epoch).bind(uncount).execute(conn).await.map(|done| done.rows_affected()))
            .doing("give a turn back")?;
        tx.commit().await?;
        Ok(done == 1)
    }
}

impl System<'_> {
    /// Claims up to `limit` running turns that nobody holds; its own whose lease has passed not, since the owner may be at
    /// work on them: [`System::renew_turns`] says which those are. Of suspects one at most and none while `lease.owner` holds
    /// one. Each tenant's turns stand in line by age, and the lines are served in turn: a turn comes after as many as its
    /// tenant has in hand and before it in its own line. Over all tenants, since a process works for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn claim_turns(&self, lease: Lease<'_>, limit: i64) -> Result<Vec<Claimed>> {
        // Mostly there is nothing, and writers need not stand back for that.
        if !self.turns_unheld(lease.owner).await? {
            return Ok(vec![]);
        }
        let mut claimed = self.claim(lease, limit, Which::Trusted).await?;
        if i64::try_from(claimed.len()).is_ok_and(|n| n < limit) {
            claimed.extend(self.claim(lease, 1, Which::Suspects).await?);
        }
        Ok(claimed)
    }

    async fn claim(&self, lease: Lease<'_>, limit: i64, which: Which) -> Result<Vec<Claimed>> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        // On Postgres a row that another is claiming is passed over; what it claimed before the lock is looked at anew.
        macro_rules! claim {
            ($which:literal, $first:literal, $lock:literal) => {
                concat!(
                    "WITH hand AS ( \
                     SELECT tenant, count(*) AS n FROM turn WHERE state = 'running' AND lease_until >= $3 GROUP BY tenant), \
                     line AS ( \
                     SELECT w.tenant, w.id, row_number() OVER (PARTITION BY w.tenant ORDER BY w.created_at, w.id) + COALESCE(hand.n, 0) AS place \
                     FROM turn w LEFT JOIN hand ON hand.tenant = w.tenant WHERE w.state = 'running' AND w.lease_until < $3 \
                     AND (w.lease_owner IS NULL OR w.lease_owner <> $1) AND ",
                    $which,
                    "), picked AS ( \
                     SELECT t.tenant, t.id FROM turn t JOIN line l ON l.tenant = t.tenant AND l.id = t.id \
                     WHERE t.state = 'running' AND t.lease_until < $3 AND (t.lease_owner IS NULL OR t.lease_owner <> $1) ORDER BY ",
                    $first,
                    "l.place, t.created_at, t.id LIMIT $4",
                    $lock,
                    ") UPDATE turn SET epoch = epoch + 1, attempts = attempts + 1, lease_owner = $1, lease_until = $2 \
                     WHERE state = 'running' AND lease_until < $3 AND (tenant, id) IN (SELECT tenant, id FROM picked) \
                     RETURNING tenant, attempts, deadline, ",
                    columns!()
                )
            };
        }
        // `attempts` counts the time that was lost too: 1 is one loss, and taken up anew it is 2.
        macro_rules! among {
            ($lock:literal) => {
                match which {
                    Which::Trusted => claim!("w.attempts < 2", "", $lock),
                    Which::Suspects => claim!(
                        "w.attempts >= 2 AND NOT EXISTS (SELECT 1 FROM turn h WHERE h.state = 'running' \
                         AND h.lease_owner = $1 AND h.attempts > 2)",
                        "t.attempts, ",
                        $lock
                    ),
                }
            };
        }
        let sql = match self.store().dialect() {
            Dialect::Postgres => among!(" FOR UPDATE OF t SKIP LOCKED"),
            Dialect::Sqlite => among!(""),
        };
        let rows: Vec<ClaimedRow> = on!(tx, conn => sqlx::query_as(sql).bind(lease.owner)
            .bind(now.saturating_add(lease.micros)).bind(now).bind(limit).fetch_all(conn).await)
        .doing("claim turns")?;
        tx.commit().await?;
        rows.into_iter().map(|row| row.read(now)).collect()
    }

    async fn turns_unheld(&self, owner: &str) -> Result<bool> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        let found: Option<i64> = on!(tx, conn => sqlx::query_scalar("SELECT CAST(1 AS BIGINT) FROM turn WHERE state = 'running' AND lease_until < $1 \
             AND (lease_owner IS NULL OR lease_owner <> $2) LIMIT 1")
            .bind(now).bind(owner).fetch_optional(conn).await)
        .doing("look for turns without a worker")?;
        Ok(found.is_some())
    }

    /// Renews the lease of every running turn of `lease.owner` and says which those are. Over all tenants,
    /// since a process works for all of them.
    ///
    /// # Errors
    /// As any query.
    pub async fn renew_turns(&self, lease: Lease<'_>) -> Result<Vec<Held>> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let held = on!(tx, conn => sqlx::query_as("UPDATE turn SET lease_until = $2 WHERE lease_owner = $1 AND state = 'running' \
             RETURNING tenant, id, epoch, cancel_requested")
            .bind(lease.owner).bind(now.saturating_add(lease.micros)).fetch_all(conn).await)
        .doing("renew the leases of running turns")?;
        tx.commit().await?;
        Ok(held)
    }

    /// Ends every lease; how many turns were held. For a process that is alone with the database and has just begun:
    /// whoever held them is dead.
    ///
    /// # Errors
    /// As any query.
    pub async fn end_turn_leases(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let held = on!(tx, conn => sqlx::query("UPDATE turn SET lease_until = 0, lease_owner = NULL WHERE state = 'running' AND lease_owner IS NOT NULL")
            .execute(conn).await.map(|done| done.rows_affected()))
        .doing("end the leases of an earlier process")?;
        tx.commit().await?;
        Ok(held)
    }

    /// How many turns stand in line for a worker.
    ///
    /// # Errors
    /// As any query.
    pub async fn turns_in_line(&self, tenant: &str) -> Result<Line> {
        let mut tx = self.read().await?;
        let (of_tenant, of_all): (i64, i64) = on!(tx, conn => sqlx::query_as("SELECT COALESCE(sum(CASE WHEN tenant = $1 THEN 1 ELSE 0 END), 0), count(*) \
             FROM turn WHERE state = 'running' AND lease_owner IS NULL")
            .bind(tenant).fetch_one(conn).await)
        .doing("count the turns that wait for a worker")?;
        Ok(Line { of_tenant, of_all })
    }

    /// How many turns stand still, over all tenants, and how many approvals are open.
    ///
    /// # Errors
    /// As any query.
    pub async fn turns_standing(&self) -> Result<Standing> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT \
             (SELECT count(*) FROM turn WHERE state = 'running' AND lease_owner IS NULL) AS in_line, \
             (SELECT count(*) FROM turn WHERE state = 'queued') AS queued, \
             (SELECT count(*) FROM turn WHERE state = 'awaiting_input') AS awaiting_input, \
             (SELECT count(*) FROM turn WHERE state = 'dead_letter') AS dead_letter, \
             (SELECT count(*) FROM step s JOIN turn t ON t.tenant = s.tenant AND t.id = s.turn_id \
              WHERE s.kind = 'approval' AND s.state = 'intent' AND t.state = 'awaiting_input' AND NOT EXISTS ( \
              SELECT 1 FROM inbox i WHERE i.tenant = s.tenant AND i.turn_id = s.turn_id AND i.key = s.id)) AS approvals")
            .fetch_one(conn).await)
        .doing("count the turns that stand still")
    }

    /// Turns (tenant, id) that have waited for input longer than they may; at most 1000.
    ///
    /// # Errors
    /// As any query.
    pub async fn overdue_turns(&self) -> Result<Vec<(String, String)>> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, id FROM turn WHERE state = 'awaiting_input' AND deadline < $1 ORDER BY deadline LIMIT 1000")
            .bind(now).fetch_all(conn).await)
        .doing("look for turns that waited too long")
    }

    /// Sessions (tenant, id) in which turns stand in line and none is open; at most 100. Whoever ends a turn lets the
    /// next begin, so there are such only where two did something at the same moment.
    ///
    /// # Errors
    /// As any query.
    pub async fn stuck_sessions(&self) -> Result<Vec<(String, String)>> {
        let mut tx = self.read().await?;
        on!(tx, conn => sqlx::query_as("SELECT DISTINCT q.tenant, q.session_id FROM turn q WHERE q.state = 'queued' AND NOT EXISTS ( \
             SELECT 1 FROM turn o WHERE o.tenant = q.tenant AND o.session_id = q.session_id AND o.state IN ('running', 'awaiting_input')) LIMIT 100")
            .fetch_all(conn).await)
        .doing("look for sessions that stand still")
    }

    /// How far these turns (tenant, id) are; those that are gone are left out.
    ///
    /// # Errors
    /// As any query.
    pub async fn turn_heads(&self, turns: &[(String, String)]) -> Result<Vec<Head>> {
        let mut tx = self.read().await?;
        let mut heads = Vec::with_capacity(turns.len());
        for some in turns.chunks(HEADS) {
            let more: Vec<Head> = on!(tx, conn => {
                let mut query = sqlx::QueryBuilder::new("SELECT tenant, id, next_seq, state FROM turn WHERE (tenant, id) IN (");
                query.push_values(some, |mut row, (tenant, id)| {
                    row.push_bind(tenant).push_bind(id);
                });
                query.push(")");
                query.build_query_as().fetch_all(conn).await
            })
            .doing("look how far turns are")?;
            heads.extend(more);
        }
        Ok(heads)
    }
}
