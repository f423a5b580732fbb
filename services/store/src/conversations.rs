//! OpenAI's conversations: sessions that belong to no one agent, with notes of the client's own.
//!
//! Every session has an agent in its row; a conversation's is [`agents::INLINE`], which stands for none.

use frontdesk_api::{Error, Micros, Order, Page, PageRequest, Result};

use crate::{
    Conn, Dialect, Doing as _, System, Tenant, Tx, agents, containers, on, paging,
    turns::{Row, StoredTurn, columns},
};

#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Conversation {
    pub id: String,
    /// JSON, an object of texts.
    pub metadata: String,
    /// The newest turn.
    pub head: Option<String>,
    pub created_at: Micros,
}

/// # Errors
/// As any query.
pub async fn add(tx: &mut Tx, id: &str, metadata: &str, at: Micros) -> Result<()> {
    agents::ensure_inline(tx, at).await?;
    let tenant = tx.tenant();
    on!(tx, conn => sqlx::query("INSERT INTO session (tenant, id, agent_id, agent_version, name, metadata, created_at) VALUES ($1, $2, $3, 1, '', $4, $5)")
        .bind(&*tenant).bind(id).bind(agents::INLINE).bind(metadata).bind(at).execute(conn).await.map(|_| ()))
    .doing("create a conversation")
}

/// # Errors
/// `NotFound`.
pub async fn load(tx: &mut Tx, id: &str) -> Result<Conversation> {
    let tenant = tx.tenant();
    let found: Option<Conversation> = on!(tx, conn => sqlx::query_as("SELECT id, metadata, head, created_at FROM session WHERE tenant = $1 AND id = $2 AND metadata IS NOT NULL")
        .bind(&*tenant).bind(id).fetch_optional(conn).await)
    .doing("load a conversation")?;
    found.ok_or_else(|| missing(id))
}

impl Tenant<'_> {
    /// Puts other notes in the place of the old.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_conversation(&self, id: &str, metadata: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let met = on!(tx, conn => sqlx::query("UPDATE session SET metadata = $3 WHERE tenant = $1 AND id = $2 AND metadata IS NOT NULL")
            .bind(self.id()).bind(id).bind(metadata).execute(conn).await.map(|done| done.rows_affected()))
        .doing("change a conversation")?;
        if met == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }

    /// Deletes the conversation with its turns.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_conversation(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        let gone =
            on!(tx, conn => sqlx::query("DELETE FROM session WHERE tenant = $1 AND id = $2 AND metadata IS NOT NULL")
            .bind(self.id()).bind(id).execute(conn).await.map(|done| done.rows_affected()))
            .doing("delete a conversation")?;
        if gone == 0 {
            return Err(missing(id));
        }
        tx.commit().await
    }

    /// Deletes these items of a conversation.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_items(&self, ids: &[String]) -> Result<()> {
        let mut tx = self.write().await?;
        for id in ids {
            on!(tx, conn => sqlx::query("DELETE FROM item WHERE tenant = $1 AND id = $2")
                .bind(self.id()).bind(id).execute(conn).await.map(|_| ()))
            .doing("delete an item")?;
        }
        tx.commit().await
    }

    /// The turns that are found by their id as responses; those that were asked of `model` alone where one is named.
    ///
    /// # Errors
    /// As any query.
    pub async fn list_responses(&self, page: &PageRequest, model: Option<&str>) -> Result<Page<StoredTurn>> {
        // Ids of responses begin with `resp_`; '`' comes behind '_'.
        macro_rules! list {
            ($model:literal, $rest:literal) => {
                concat!(
                    "SELECT ",
                    columns!(),
                    " FROM turn WHERE tenant = $1 AND id > 'resp_' AND id < 'resp`' AND stored AND ($4 IS NULL OR ",
                    $model,
                    " = $4) AND ",
                    $rest
                )
            };
        }
        let sql = match (self.store().dialect(), page.order) {
            (Dialect::Sqlite, Order::Asc) => {
                list!("json_extract(request, '$.response.model')", "id > $2 ORDER BY id LIMIT $3")
            }
            (Dialect::Sqlite, Order::Desc) => {
                list!("json_extract(request, '$.response.model')", "id < $2 ORDER BY id DESC LIMIT $3")
            }
            (Dialect::Postgres, Order::Asc) => {
                list!("request::json #>> '{response,model}'", "id > $2 ORDER BY id LIMIT $3")
            }
            (Dialect::Postgres, Order::Desc) => {
                list!("request::json #>> '{response,model}'", "id < $2 ORDER BY id DESC LIMIT $3")
            }
        };
        let mut tx = self.read().await?;
        let rows: Vec<Row> =
            on!(tx, conn => sqlx::query_as(sql).bind(self.id()).bind(paging::cursor(page)).bind(paging::fetch(page))
            .bind(model).fetch_all(conn).await)
            .doing("list responses")?;
        let turns = rows.into_iter().map(Row::read).collect::<Result<Vec<_>>>()?;
        Ok(Page::of(turns, page.limit))
    }

    /// Deletes a response. One in a conversation is only found no more: the conversation keeps what was said. Whatever
    /// continued it continues what came before it. The files that its code wrote go with it.
    ///
    /// # Errors
    /// As any query.
    pub async fn delete_response(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        if take_out(&mut tx, id).await? {
            containers::delete_of_turn(&mut tx, id).await?;
        }
        tx.commit().await
    }

    /// Deletes a response that was not to be stored; the files that its code wrote stay for their time.
    ///
    /// # Errors
    /// As any query.
    pub async fn forget_response(&self, id: &str) -> Result<()> {
        let mut tx = self.write().await?;
        take_out(&mut tx, id).await?;
        tx.commit().await
    }
}

/// Takes a response out of its line; false where a conversation keeps it.
async fn take_out(tx: &mut Tx, id: &str) -> Result<bool> {
    let tenant = tx.tenant();
    let kept = on!(tx, conn => sqlx::query("UPDATE turn SET stored = $3 WHERE tenant = $1 AND id = $2 AND session_id IS NOT NULL")
        .bind(&*tenant).bind(id).bind(false).execute(conn).await.map(|done| done.rows_affected()))
    .doing("delete a response")?;
    if kept > 0 {
        return Ok(false);
    }
    // Before its children are looked for: one that is just being written is waited for.
    if let Conn::Postgres(conn) = tx.conn() {
        let held = sqlx::query("SELECT 1 FROM turn WHERE tenant = $1 AND id = $2 FOR UPDATE");
        held.bind(&*tenant).bind(id).execute(conn).await.map(|_| ()).doing("delete a response")?;
    }
    on!(tx, conn => sqlx::query("UPDATE turn SET parent = (SELECT p.parent FROM turn p WHERE p.tenant = $1 AND p.id = $2) WHERE tenant = $1 AND parent = $2")
        .bind(&*tenant).bind(id).execute(conn).await.map(|_| ()))
    .doing("delete a response")?;
    on!(tx, conn => sqlx::query("DELETE FROM turn WHERE tenant = $1 AND id = $2")
        .bind(&*tenant).bind(id).execute(conn).await.map(|_| ()))
    .doing("delete a response")?;
    Ok(true)
}

impl System<'_> {
    /// Deletes the turns that have ended, were not to be stored and whose time has passed. Returns how many.
    ///
    /// # Errors
    /// As any query.
    pub async fn purge_responses(&self) -> Result<u64> {
        let mut tx = self.write().await?;
        let now = tx.now().await?;
        let gone =
            on!(tx, conn => sqlx::query("DELETE FROM turn WHERE NOT stored AND session_id IS NULL AND asked_by IS NULL AND deadline < $1 \
             AND state NOT IN ('running', 'awaiting_input')")
            .bind(now).execute(conn).await.map(|done| done.rows_affected()))
            .doing("purge responses")?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// The error for a conversation that is not there, or not to be seen.
#[must_use]
pub fn missing(id: &str) -> Error {
    Error::not_found(format!("no conversation has the id '{id}'")).with_code("conversation_not_found")
}

#[cfg(test)]
mod tests {
    use frontdesk_api::{
        Cx, Kind, PageRequest,
        chat::{Role, Usage},
        turn::{Item, ItemBody, Turn, TurnState},
    };

    use super::*;
    use crate::{
        Store,
        testing::{each_database, two_tenants},
        transcript,
        turns::{self, Lease, OnInput, StoredTurn, TurnRequest},
    };

    /// A response that has ended, with one item that says its own id. Its time has passed.
    async fn response(store: &Store, cx: &Cx, id: &str, parent: Option<&str>, session: Option<&str>, stored: bool) {
        let tenant = store.tenant(cx);
        let mut tx = tenant.write().await.expect("a transaction");
        agents::ensure_inline(&mut tx, 1).await.expect("the agent of none");
        let turn = Turn {
            id: id.into(),
            session_id: session.map(str::to_owned),
            agent_id: agents::INLINE.into(),
            agent_version: 1,
            parent: parent.map(str::to_owned),
            state: TurnState::Completed,
            error: None,
            hand_off: None,
            usage: Usage::default(),
            created_at: 1,
            completed_at: Some(2),
        };
        let (on_input, request) = (OnInput::Finish, TurnRequest { inputs: 1, ..TurnRequest::default() });
        let turn =
            StoredTurn { turn, pos: 0, epoch: 1, next_seq: 0, request, cancel_requested: false, on_input, stored };
        turns::add(&mut tx, &turn, Some(Lease { owner: "w", micros: 1 }), -1).await.expect("a turn");
        let item = Item { id: format!("msg_{id}"), turn_id: id.into(), pos: 0, body: says(id) };
        transcript::add_items(&mut tx, &[item]).await.expect("an item");
        tx.commit().await.expect("written");
        assert_eq!(tenant.load_turn(id).await.expect("the turn"), turn);
    }

    fn says(words: &str) -> ItemBody {
        ItemBody::Message { role: Role::User, text: words.into(), citations: vec![] }
    }

    async fn line(store: &Store, cx: &Cx, id: &str) -> Vec<String> {
        let mut tx = store.tenant(cx).read().await.expect("a transaction");
        let items = transcript::line(&mut tx, id).await.expect("a line");
        items.into_iter().map(|past| past.item.turn_id).collect()
    }

    #[tokio::test]
    async fn of_a_line_the_calls_alone_are_read_where_no_more_is_asked_for() {
        each_database(|store| async move {
            let (cx, _) = two_tenants(&store).await;
            response(&store, &cx, "1", None, None, true).await;
            response(&store, &cx, "2", Some("1"), None, true).await;
            let mut tx = store.tenant(&cx).write().await.expect("a transaction");
            let call = frontdesk_api::chat::ToolCall { id: "c".into(), ..Default::default() };
            let item = Item {
                id: "fc".into(),
                turn_id: "1".into(),
                pos: 1,
                body: ItemBody::FunctionCall { call, container: None },
            };
            transcript::add_items(&mut tx, &[item]).await.expect("an item");
            let ids = |past: Vec<transcript::PastItem>| past.into_iter().map(|past| past.item.id).collect::<Vec<_>>();
            assert_eq!(ids(transcript::line(&mut tx, "2").await.expect("a line")), ["msg_1", "fc", "msg_2"]);
            assert_eq!(ids(transcript::line_of_calls(&mut tx, "2").await.expect("its calls")), ["fc"]);
            tx.commit().await.expect("written");
        })
        .await;
    }

    #[tokio::test]
    async fn a_line_follows_parents_and_closes_over_what_is_deleted() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            for cx in [&a, &b] {
                for (id, parent) in [("1", None), ("2", Some("1")), ("left", Some("2")), ("right", Some("2"))] {
                    response(&store, cx, id, parent, None, true).await;
                }
            }
            assert_eq!(line(&store, &a, "left").await, ["1", "2", "left"]);
            assert_eq!(line(&store, &a, "right").await, ["1", "2", "right"]);
            assert_eq!(line(&store, &a, "nowhere").await, Vec::<String>::new());
            store.tenant(&a).delete_response("2").await.expect("deleted");
            assert_eq!(line(&store, &a, "left").await, ["1", "left"]);
            assert_eq!(store.tenant(&a).load_turn("2").await.expect_err("gone").kind, Kind::NotFound);
            assert_eq!(line(&store, &b, "left").await, ["1", "2", "left"], "another tenant's are its own");
            let mut tx = store.tenant(&b).read().await.expect("a transaction");
            let found = transcript::find_item(&mut tx, "msg_2").await.expect("asked").expect("an item");
            assert_eq!(found.turn_id, "2");
            drop(tx);
            let mut tx = store.tenant(&a).read().await.expect("a transaction");
            assert_eq!(transcript::find_item(&mut tx, "msg_2").await.expect("asked"), None);
        })
        .await;
    }

    #[tokio::test]
    async fn a_response_that_is_deleted_while_another_begins_to_continue_it_waits_for_that() {
        each_database(|store| async move {
            let (a, _) = two_tenants(&store).await;
            response(&store, &a, "root", None, None, true).await;
            response(&store, &a, "middle", Some("root"), None, true).await;
            let tenant = store.tenant(&a);
            let mut tx = tenant.write().await.expect("a transaction");
            let held = turns::hold(&mut tx, "middle").await.expect("held");
            let turn = Turn { id: "tip".into(), parent: Some("middle".into()), ..held.turn.clone() };
            let deleted = tokio::spawn({
                let (store, a) = (store.clone(), a.clone());
                async move { store.tenant(&a).delete_response("middle").await }
            });
            turns::add(&mut tx, &StoredTurn { turn, ..held }, None, 1).await.expect("a turn");
            let item = Item { id: "msg_tip".into(), turn_id: "tip".into(), pos: 0, body: says("tip") };
            transcript::add_items(&mut tx, &[item]).await.expect("an item");
            tx.commit().await.expect("written");
            deleted.await.expect("it ended").expect("deleted");
            assert_eq!(line(&store, &a, "tip").await, ["root", "tip"]);
            let mut tx = tenant.write().await.expect("a transaction");
            assert_eq!(turns::hold(&mut tx, "middle").await.expect_err("gone").kind, Kind::NotFound);
        })
        .await;
    }

    #[tokio::test]
    async fn a_conversation_is_its_tenants_and_keeps_what_was_said_in_it() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            let mut tx = store.tenant(&a).write().await.expect("a transaction");
            add(&mut tx, "conv_1", r#"{"a":"b"}"#, 5).await.expect("added");
            tx.commit().await.expect("written");
            response(&store, &a, "1", None, Some("conv_1"), true).await;
            let mine = store.tenant(&a);
            mine.update_conversation("conv_1", "{}").await.expect("changed");
            let mut tx = mine.read().await.expect("a transaction");
            let found = load(&mut tx, "conv_1").await.expect("found");
            drop(tx);
            assert_eq!((found.metadata.as_str(), found.created_at), ("{}", 5));
            // Its response is found no more, and stays.
            mine.delete_response("1").await.expect("deleted");
            assert!(!mine.load_turn("1").await.expect("it stays").stored);
            assert_eq!(store.system().purge_responses().await.expect("purged"), 0);
            assert_eq!(line(&store, &a, "1").await, ["1"]);
            mine.delete_items(&["msg_1".to_owned()]).await.expect("deleted");
            assert_eq!(line(&store, &a, "1").await, Vec::<String>::new());

            let theirs = store.tenant(&b);
            for refused in
                [theirs.update_conversation("conv_1", "{}").await, theirs.delete_conversation("conv_1").await]
            {
                assert_eq!(refused.expect_err("another tenant's").code.as_deref(), Some("conversation_not_found"));
            }
            mine.delete_conversation("conv_1").await.expect("deleted");
            assert_eq!(mine.load_turn("1").await.expect_err("gone with it").kind, Kind::NotFound);
        })
        .await;
    }

    #[tokio::test]
    async fn responses_are_listed_by_page_and_by_the_model_they_were_asked_of() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            for id in ["resp_1", "resp_2", "resp_3", "turn_1"] {
                response(&store, &a, id, None, None, id != "resp_2").await;
            }
            response(&store, &b, "resp_4", None, None, true).await;
            let mine = store.tenant(&a);
            let echo = serde_json::json!({ "response": { "model": "up/m" } }).to_string();
            let mut tx = mine.write().await.expect("a transaction");
            let asked = on!(tx, conn => sqlx::query("UPDATE turn SET request = $3 WHERE tenant = $1 AND id = $2")
                .bind(mine.id()).bind("resp_3").bind(&echo).execute(conn).await.map(|_| ()));
            asked.expect("asked of a model");
            tx.commit().await.expect("written");
            for (limit, after, order, model, ids, more) in [
                (1, None, Order::Desc, None, vec!["resp_3"], true),
                (1, Some("resp_3"), Order::Desc, None, vec!["resp_1"], false),
                (5, None, Order::Asc, None, vec!["resp_1", "resp_3"], false),
                (5, None, Order::Asc, Some("up/m"), vec!["resp_3"], false),
                (5, None, Order::Desc, Some("up/other"), vec![], false),
            ] {
                let page = PageRequest { limit, after: after.map(str::to_owned), order };
                let found = mine.list_responses(&page, model).await.expect("a page");
                let found_ids: Vec<&str> = found.items.iter().map(|stored| stored.turn.id.as_str()).collect();
                assert_eq!((found_ids, found.more), (ids, more), "{page:?} {model:?}");
            }
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_not_to_be_stored_is_purged_after_its_time_and_nothing_else() {
        each_database(|store| async move {
            let (a, b) = two_tenants(&store).await;
            response(&store, &a, "kept", None, None, true).await;
            response(&store, &a, "passing", Some("kept"), None, false).await;
            response(&store, &b, "passing", None, None, false).await;
            assert_eq!(store.system().purge_responses().await.expect("purged"), 2);
            assert!(store.tenant(&a).load_turn("kept").await.is_ok());
            assert_eq!(store.tenant(&a).load_turn("passing").await.expect_err("gone").kind, Kind::NotFound);
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_is_shown_the_agent_that_stands_for_none() {
        each_database(|store| async move {
            let (a, _) = two_tenants(&store).await;
            response(&store, &a, "1", None, None, true).await;
            let mine = store.tenant(&a);
            assert!(mine.list_agents(&PageRequest::default()).await.expect("a page").items.is_empty());
            for refused in [
                mine.load_agent(agents::INLINE).await.map(|_| ()),
                mine.publish_agent_version(agents::INLINE, 1, None, None, 3).await.map(|_| ()),
                agents::part(&mut mine.write().await.expect("a transaction"), agents::INLINE, 3).await.map(|_| ()),
            ] {
                assert_eq!(refused.expect_err("not to be seen").kind, Kind::NotFound);
            }
        })
        .await;
    }
}
