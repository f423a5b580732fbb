//! For whose code a container is: an agent's, for one customer, in a session or in a line of responses.
//!
//! Invariant: a session has one for each such seat, and of two branches of a line only one takes over what was left.

use frontdesk_api::{Error, Micros, Result, customer::Owner};

use super::{StoredContainer, add, minutes};
use crate::{Conn, Doing as _, Tx, on};

/// For whose code a container is.
pub(super) struct Seat<'a> {
    pub(super) agent: &'a str,
    pub(super) owner: Option<&'a Owner>,
}

impl Seat<'_> {
    fn customer(&self) -> (&str, &str) {
        self.owner.map_or(("", ""), |owner| (&owner.sub, &owner.issuer))
    }

    pub(super) async fn of_session(&self, tx: &mut Tx, session: &str, now: Micros) -> Result<Option<String>> {
        let (tenant, (customer, issuer)) = (tx.tenant(), self.customer());
        on!(tx, conn => sqlx::query("DELETE FROM container WHERE tenant = $1 AND session_id = $2 AND expires_at <= $3")
            .bind(&*tenant).bind(session).bind(now).execute(conn).await.map(|_| ()))
        .doing("clear a conversation's old container")?;
        on!(tx, conn => sqlx::query_scalar("SELECT id FROM container WHERE tenant = $1 AND session_id = $2 AND agent_id = $3 \
             AND coalesce(customer, '') = $4 AND coalesce(issuer, '') = $5")
            .bind(&*tenant).bind(session).bind(self.agent).bind(customer).bind(issuer).fetch_optional(conn).await)
        .doing("look for a conversation's container")
    }

    /// Taken over from the nearest turn that left one.
    pub(super) async fn of_line(
        &self,
        tx: &mut Tx,
        turn: &str,
        after: &[String],
        now: Micros,
    ) -> Result<Option<String>> {
        let (tenant, (customer, issuer)) = (tx.tenant(), self.customer());
        let turns: Vec<&str> = std::iter::once(turn).chain(after.iter().map(String::as_str)).collect();
        macro_rules! left {
            ($listed:literal) => {
                concat!(
                    "SELECT id, turn_id FROM container WHERE tenant = $1 AND session_id IS NULL AND agent_id = $2 \
                     AND coalesce(customer, '') = $3 AND coalesce(issuer, '') = $4 AND expires_at > $5 AND turn_id ",
                    $listed
                )
            };
        }
        let left: Vec<(String, String)> = match tx.conn() {
            Conn::Postgres(conn) => {
                let query = sqlx::query_as(left!("= ANY($6)"));
                let query = query.bind(&*tenant).bind(self.agent).bind(customer).bind(issuer).bind(now);
                query.bind(&turns).fetch_all(conn).await
            }
            Conn::Sqlite(conn) => {
                let query = sqlx::query_as(left!("IN (SELECT value FROM json_each($6))"));
                let query = query.bind(&*tenant).bind(self.agent).bind(customer).bind(issuer).bind(now);
                query.bind(serde_json::json!(turns).to_string()).fetch_all(conn).await
            }
        }
        .doing("look for the container of a line of responses")?;
        for before in turns {
            let Some((id, _)) = left.iter().find(|(_, holder)| holder == before) else { continue };
            // Of two branches the first takes it.
            let taken = on!(tx, conn => sqlx::query("UPDATE container SET turn_id = $4 WHERE tenant = $1 AND id = $2 AND turn_id = $3")
                .bind(&*tenant).bind(id).bind(before).bind(turn).execute(conn).await.map(|done| done.rows_affected()))
            .doing("take over a container")?;
            if taken == 1 {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    pub(super) async fn make(
        &self,
        tx: &mut Tx,
        id: &str,
        session: Option<&str>,
        turn: &str,
        keep: Option<i64>,
        now: Micros,
    ) -> Result<String> {
        let minutes = keep.unwrap_or_else(|| minutes(frontdesk_api::code::KEEP));
        let holder = if session.is_none() { Some(turn) } else { None };
        let name = session.unwrap_or(turn);
        let container = StoredContainer::made(id.to_owned(), name, self.owner.cloned(), minutes, now);
        let container = StoredContainer { session_id: session.map(str::to_owned), ..container };
        add(tx, &container, holder, Some(self.agent)).await?;
        let Some(session) = session else { return Ok(id.to_owned()) };
        // Whoever was first.
        let found = self.of_session(tx, session, now).await?;
        found.ok_or_else(|| Error::unavailable("a conversation's container could not be made"))
    }
}
