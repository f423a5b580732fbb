//! What tool groups are let in with at servers that ask for OAuth, and the people who are on their way to one.
//!
//! Tokens are sealed before they come here. Invariants: the version is that of the tokens, and no other change moves it, so
//! whoever renewed a version writes over that or not at all; one process at a time renews, and nobody else takes that from
//! it before its time is over; how a group is let in and what it is registered as change together, over the registration
//! they were made from; an attempt is taken once, by its hash, and not after its time.

use frontdesk_api::{Error, Micros, Result, tools::ToolDef};

use crate::{
    Conn, Doing as _, System, Tenant, Tx, on,
    tools::{StoredToolgroup, StoredToolgroupChange, add_change, put_group},
};

/// What a group is let in with.
#[derive(Debug, Clone, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredSignIn {
    pub toolgroup_id: String,
    /// None: nobody signed in.
    pub sealed: Option<Vec<u8>>,
    /// Of the token; None: it does not say.
    pub expires_at: Option<Micros>,
    /// Why a person has to sign in; None: nobody has to.
    pub problem: Option<String>,
    /// What the server asked for beside what it had given.
    pub scope: Option<String>,
    /// Of the tokens; 0: there never were any. One that was written anew begins with its time, so that nobody who holds
    /// an earlier row of the same group writes over it.
    pub version: i64,
    /// How often in a row renewing failed.
    pub failures: i64,
    /// Nobody else renews until then, by the database's clock; 0: nobody does.
    pub held_until: Micros,
    /// When the tokens changed.
    pub updated_at: Micros,
}

/// Tokens as they are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    pub sealed: Vec<u8>,
    pub expires_at: Option<Micros>,
    pub at: Micros,
}

/// What a registration comes to for how its group is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Nothing changes.
    AsBefore,
    /// What is there was good just now: nothing is wrong with it any more.
    Good,
    /// By nothing that is kept here.
    Forgotten,
    Given(Tokens),
    /// A person has to sign in first; whatever was there is let go.
    Needed {
        problem: String,
        scope: Option<String>,
        at: Micros,
    },
}

/// Over which registration something is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Over {
    /// Whatever is there.
    Any,
    /// None: there is no such group.
    Nothing,
    /// The one of this revision.
    Revision(String),
}

/// What a group is registered as: its tools in order, and what its provider made of it.
#[derive(Clone, Copy)]
pub struct Registered<'a> {
    pub group: &'a StoredToolgroup,
    pub tools: &'a [ToolDef],
    pub kept: Option<&'a [u8]>,
}

/// Someone who was sent to a server.
#[derive(Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct StoredAttempt {
    pub tenant: String,
    pub toolgroup_id: String,
    pub sealed: Vec<u8>,
}

/// The columns of a [`StoredSignIn`], as a literal.
macro_rules! columns {
    () => {
        "toolgroup_id, sealed, expires_at, problem, scope, version, failures, held_until, updated_at"
    };
}

/// Attempts of one tenant that are under way at the same time; the oldest goes.
const MOST_ATTEMPTS: i64 = 100;

impl Tenant<'_> {
    /// # Errors
    /// As any query.
    pub async fn find_sign_in(&self, group: &str) -> Result<Option<StoredSignIn>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_as(concat!("SELECT ", columns!(), " FROM sign_in WHERE tenant = $1 AND toolgroup_id = $2"))
            .bind(self.id()).bind(group).fetch_optional(conn).await)
        .doing("look up how a tool group is let in")
    }

    /// # Errors
    /// As any query.
    pub async fn list_sign_ins(&self) -> Result<Vec<StoredSignIn>> {
        let mut tx = self.glance().await?;
        on!(tx, conn => sqlx::query_as(concat!("SELECT ", columns!(), " FROM sign_in WHERE tenant = $1 ORDER BY toolgroup_id"))
            .bind(self.id()).fetch_all(conn).await)
        .doing("list how tool groups are let in")
    }

    /// Writes how the group is let in, and with it what it is registered as, where that changes too.
    ///
    /// # Errors
    /// `Conflict` where the registration is another than `over` says.
    pub async fn put_sign_in(
        &self,
        group: &str,
        registered: Option<Registered<'_>>,
        entry: &Entry,
        over: &Over,
        changes: &[StoredToolgroupChange],
    ) -> Result<()> {
        let mut tx = self.write().await?;
        check(&mut tx, group, over).await?;
        if let Some(Registered { group, tools, kept }) = registered {
            put_group(&mut tx, group, tools, kept).await?;
        }
        match entry {
            Entry::AsBefore => {}
            Entry::Good => {
                on!(tx, conn => sqlx::query("UPDATE sign_in SET problem = NULL, scope = NULL WHERE tenant = $1 AND toolgroup_id = $2 AND sealed IS NOT NULL")
                    .bind(self.id()).bind(group).execute(conn).await.map(|_| ()))
                .doing("write how a tool group is let in")?;
            }
            Entry::Forgotten => {
                on!(tx, conn => sqlx::query("DELETE FROM sign_in WHERE tenant = $1 AND toolgroup_id = $2")
                    .bind(self.id()).bind(group).execute(conn).await.map(|_| ()))
                .doing("forget how a tool group is let in")?;
            }
            Entry::Given(tokens) => {
                let row = (Some(&tokens.sealed), tokens.expires_at, None, None, tokens.at);
                replace(&mut tx, group, row).await?;
            }
            Entry::Needed { problem, scope, at } => {
                replace(&mut tx, group, (None, None, Some(problem), scope.as_ref(), *at)).await?;
            }
        }
        for change in changes {
            add_change(&mut tx, change).await?;
        }
        tx.commit().await
    }

    /// Notes why the tokens of this version do not let the group in; 0: there were none, and there is no row yet. What is
    /// kept and who renews it stay as they are. A scope comes to those that other tools wanted, as far as they fit.
    ///
    /// # Errors
    /// `Conflict`: there is no such group.
    pub async fn note_sign_in(
        &self,
        group: &str,
        version: i64,
        problem: &str,
        scope: Option<&str>,
        at: Micros,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let before: Option<Option<String>> =
            on!(tx, conn => sqlx::query_scalar("SELECT scope FROM sign_in WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(group).bind(version).fetch_optional(conn).await)
            .doing("look up what a tool group was refused for")?;
        let scope = both(before.flatten(), scope);
        on!(tx, conn => sqlx::query("INSERT INTO sign_in (tenant, toolgroup_id, problem, scope, version, held_until, failures, updated_at) \
             VALUES ($1, $2, $3, $4, 0, 0, 0, $6) \
             ON CONFLICT (tenant, toolgroup_id) DO UPDATE SET problem = excluded.problem, scope = excluded.scope WHERE sign_in.version = $5")
            .bind(self.id()).bind(group).bind(problem).bind(scope).bind(version).bind(at).execute(conn).await.map(|_| ()))
        .doing("note why a tool group is not let in")?;
        tx.commit().await
    }

    /// Notes why nobody could be let in just now, where somebody has to be.
    ///
    /// # Errors
    /// As any query.
    pub async fn note_landing(&self, group: &str, problem: &str) -> Result<()> {
        let mut tx = self.write().await?;
        on!(tx, conn => sqlx::query("UPDATE sign_in SET problem = $3 WHERE tenant = $1 AND toolgroup_id = $2 AND problem IS NOT NULL")
            .bind(self.id()).bind(group).bind(problem).execute(conn).await.map(|_| ()))
        .doing("note why a tool group is not let in")?;
        tx.commit().await
    }

    /// Takes the right to renew this version for so many microseconds; false: another has it, or renewing failed a moment
    /// ago, or it is renewed already.
    ///
    /// # Errors
    /// As any query.
    pub async fn hold_sign_in(&self, group: &str, version: i64, micros: i64) -> Result<bool> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE sign_in SET held_until = $5 WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3 AND held_until < $4")
            .bind(self.id()).bind(group).bind(version).bind(now).bind(now.saturating_add(micros)).execute(conn).await
            .map(|done| done.rows_affected()))
        .doing("take a tool group's tokens to renew them")?;
        tx.commit().await?;
        Ok(met > 0)
    }

    /// Whoever holds this version has renewed it. What a person has to do for a further scope is still to be done. False:
    /// somebody signed in meanwhile, and what they brought is newer.
    ///
    /// # Errors
    /// As any query.
    pub async fn renew_sign_in(&self, group: &str, version: i64, tokens: &Tokens) -> Result<bool> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE sign_in SET sealed = $4, expires_at = $5, updated_at = $6, version = version + 1, held_until = 0, \
             failures = 0, problem = CASE WHEN scope IS NULL THEN NULL ELSE problem END \
             WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(group).bind(version).bind(&tokens.sealed).bind(tokens.expires_at).bind(tokens.at).execute(conn).await
            .map(|done| done.rows_affected()))
        .doing("write a tool group's renewed tokens")?;
        tx.commit().await?;
        Ok(met > 0)
    }

    /// Whoever holds this version could not renew it: nobody tries for so many microseconds. `problem`: why, where nothing
    /// lets the group in meanwhile.
    ///
    /// # Errors
    /// As any query.
    pub async fn pause_sign_in(&self, group: &str, version: i64, problem: Option<&str>, micros: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query("UPDATE sign_in SET held_until = $4, failures = failures + 1, problem = coalesce($5, problem) \
             WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(group).bind(version).bind(now.saturating_add(micros)).bind(problem).execute(conn).await.map(|_| ()))
        .doing("put off renewing a tool group's tokens")?;
        tx.commit().await
    }

    /// Whoever holds this version was told that it is good for nothing any more: it is let go.
    ///
    /// # Errors
    /// As any query.
    pub async fn drop_sign_in(
        &self,
        group: &str,
        version: i64,
        problem: &str,
        change: &StoredToolgroupChange,
    ) -> Result<()> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE sign_in SET sealed = NULL, expires_at = NULL, problem = $4, scope = NULL, updated_at = $5, \
             version = version + 1, held_until = 0, failures = 0 WHERE tenant = $1 AND toolgroup_id = $2 AND version = $3")
            .bind(self.id()).bind(group).bind(version).bind(problem).bind(change.created_at).execute(conn).await
            .map(|done| done.rows_affected()))
        .doing("let a tool group's tokens go")?;
        if met > 0 {
            add_change(&mut tx, change).await?;
        }
        tx.commit().await
    }

    /// What is kept of whoever was sent last for this group and is not back yet, with its hash.
    ///
    /// # Errors
    /// As any query.
    pub async fn last_sign_in_attempt(&self, group: &str) -> Result<Option<(String, Vec<u8>)>> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query_as("SELECT id, sealed FROM sign_in_attempt WHERE tenant = $1 AND toolgroup_id = $2 AND expires_at >= $3 \
             ORDER BY expires_at DESC, id LIMIT 1")
            .bind(self.id()).bind(group).bind(now).fetch_optional(conn).await)
        .doing("look up who was sent to a server last")
    }

    /// Notes that someone was sent to a server, for so many microseconds. `id` is the hash of what they bring back.
    ///
    /// # Errors
    /// `Conflict`: there is no such group.
    pub async fn add_sign_in_attempt(&self, id: &str, group: &str, sealed: &[u8], micros: i64) -> Result<()> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query("DELETE FROM sign_in_attempt WHERE tenant = $1 AND (expires_at < $2 OR id NOT IN \
             (SELECT id FROM sign_in_attempt WHERE tenant = $1 ORDER BY expires_at DESC, id LIMIT $3))")
            .bind(self.id()).bind(now).bind(MOST_ATTEMPTS - 1).execute(conn).await.map(|_| ()))
        .doing("forget those who did not come back from a server")?;
        on!(tx, conn => sqlx::query("INSERT INTO sign_in_attempt (tenant, id, toolgroup_id, sealed, expires_at) VALUES ($1, $2, $3, $4, $5)")
            .bind(self.id()).bind(id).bind(group).bind(sealed).bind(now.saturating_add(micros)).execute(conn).await.map(|_| ()))
        .doing("note who is sent to a server")?;
        tx.commit().await
    }
}

/// Bytes of all scopes that are noted at most: a server could name another each time.
const MOST_SCOPE: usize = 4 << 10;

/// Scopes that are wanted (RFC 6749, section 3.3: words apart), each once; the newer ones alone where all are too many.
fn both(before: Option<String>, more: Option<&str>) -> Option<String> {
    let (Some(before), Some(more)) = (&before, more) else { return before.or_else(|| more.map(str::to_owned)) };
    let known = |scope: &&str| before.split_whitespace().all(|one| one != *scope);
    let all: Vec<&str> = before.split_whitespace().chain(more.split_whitespace().filter(known)).collect();
    let all = all.join(" ");
    Some(if all.len() <= MOST_SCOPE { all } else { more.to_owned() })
}

/// Holds the registration until the transaction ends, where it is the one that is meant. Also one that is not there yet:
/// whoever writes a group waits for whoever is about to.
async fn check(tx: &mut Tx, group: &str, over: &Over) -> Result<()> {
    let tenant = tx.tenant();
    if let Conn::Postgres(conn) = tx.conn() {
        // On SQLite one transaction writes at a time.
        let lock = "SELECT pg_advisory_xact_lock(hashtextextended($1 || '/' || $2, 0))";
        let held = sqlx::query(lock).bind(format!("toolgroup {tenant}")).bind(group).execute(&mut *conn).await;
        held.doing("hold a tool group")?;
    }
    let met = match over {
        Over::Any => return Ok(()),
        Over::Nothing => {
            let known: Option<i64> =
                on!(tx, conn => sqlx::query_scalar("SELECT created_at FROM toolgroup WHERE tenant = $1 AND id = $2")
                .bind(&*tenant).bind(group).fetch_optional(conn).await)
                .doing("look up a tool group")?;
            known.is_none()
        }
        Over::Revision(revision) => {
            // Written as it is: a lock, on both databases.
            let met = on!(tx, conn => sqlx::query("UPDATE toolgroup SET revision = revision WHERE tenant = $1 AND id = $2 AND revision = $3")
                .bind(&*tenant).bind(group).bind(revision).execute(conn).await.map(|done| done.rows_affected()))
            .doing("look up a tool group")?;
            met > 0
        }
    };
    if met { Ok(()) } else { Err(changed(group)) }
}

/// The group is not what it was when something was begun for it.
#[must_use]
pub fn changed(group: &str) -> Error {
    let message = format!("the tool group '{group}' was changed or deleted meanwhile: begin anew");
    Error::conflict(message).with_code("toolgroup_changed")
}

type New<'a> = (Option<&'a Vec<u8>>, Option<Micros>, Option<&'a String>, Option<&'a String>, Micros);

async fn replace(tx: &mut Tx, group: &str, (sealed, expires_at, problem, scope, at): New<'_>) -> Result<()> {
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("INSERT INTO sign_in (tenant, toolgroup_id, sealed, expires_at, problem, scope, version, held_until, failures, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, $7) \
         ON CONFLICT (tenant, toolgroup_id) DO UPDATE SET sealed = excluded.sealed, expires_at = excluded.expires_at, problem = excluded.problem, \
         scope = excluded.scope, version = CASE WHEN sign_in.version < excluded.version THEN excluded.version ELSE sign_in.version + 1 END, held_until = 0, failures = 0, updated_at = excluded.updated_at")
        .bind(&*tenant).bind(group).bind(sealed).bind(expires_at).bind(problem).bind(scope).bind(at).execute(conn).await.map(|_| ()))
    .doing("write how a tool group is let in")
}

impl System<'_> {
    /// An attempt whose time is not over. A person who comes back brings no key, and so no tenant.
    ///
    /// # Errors
    /// As any query.
    pub async fn find_sign_in_attempt(&self, id: &str) -> Result<Option<StoredAttempt>> {
        let mut tx = self.read().await?;
        let now = tx.now().await?;
        on!(tx, conn => sqlx::query_as("SELECT tenant, toolgroup_id, sealed FROM sign_in_attempt WHERE id = $1 AND expires_at >= $2")
            .bind(id).bind(now).fetch_optional(conn).await)
        .doing("look up who comes back from a server")
    }

    /// Takes the attempt out; false: somebody else did.
    ///
    /// # Errors
    /// As any query.
    pub async fn take_sign_in_attempt(&self, id: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("DELETE FROM sign_in_attempt WHERE id = $1").bind(id).execute(conn).await
            .map(|done| done.rows_affected()))
        .doing("take who comes back from a server")?;
        tx.commit().await?;
        Ok(met > 0)
    }
}

#[cfg(test)]
mod tests;
