//! Containers and their files on both databases: whose they are, who takes one over, and that no content outlives its row.

use frontdesk_api::{
    Cx, Kind, PageRequest,
    chat::Usage,
    cx::{Customer, Workspace},
    turn::{Turn, TurnState},
};

use super::*;
use crate::{
    Store, agents, conversations,
    testing::{each_database, two_tenants},
    turns::{self, Lease, OnInput, StoredTurn, TurnRequest},
};

/// A response that has ended.
async fn response(store: &Store, cx: &Cx, id: &str, session: Option<&str>) {
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    agents::ensure_inline(&mut tx, 1).await.expect("the agent of none");
    let turn = Turn {
        id: id.into(),
        session_id: session.map(str::to_owned),
        agent_id: agents::INLINE.into(),
        agent_version: 1,
        parent: None,
        state: TurnState::Completed,
        error: None,
        hand_off: None,
        usage: Usage::default(),
        created_at: 1,
        completed_at: Some(2),
    };
    let (on_input, request) = (OnInput::Finish, TurnRequest::default());
    let turn =
        StoredTurn { turn, pos: 0, epoch: 1, next_seq: 0, request, cancel_requested: false, on_input, stored: true };
    turns::add(&mut tx, &turn, Some(Lease { owner: "w", micros: 1 }), -1).await.expect("a turn");
    tx.commit().await.expect("written");
}

async fn session(store: &Store, cx: &Cx, id: &str) {
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    conversations::add(&mut tx, id, "{}", 1).await.expect("a conversation");
    tx.commit().await.expect("written");
}

/// Who runs code in this turn: in a session, or behind other turns.
fn runs(cx: &Cx, turn: &str, session: Option<&str>, after: &[&str]) -> Cx {
    let after = after.iter().map(|turn| (*turn).to_owned()).collect();
    let workspace = Workspace { id: session.unwrap_or(turn).into(), after, ..Workspace::default() };
    Cx {
        workspace: Some(workspace),
        turn: Some(turn.into()),
        turn_epoch: 1,
        session: session.map(str::to_owned),
        agent: Some("a".into()),
        ..cx.clone()
    }
}

fn of(cx: &Cx, sub: &str) -> Cx {
    Cx { customer: Some(Customer { sub: sub.into(), ..Customer::default() }), ..cx.clone() }
}

async fn claimed(store: &Store, cx: &Cx, new: &str, now: Micros) -> Option<String> {
    let turn = cx.turn.as_deref().expect("a turn");
    let known = turns::load(&mut store.tenant(cx).read().await.expect("a transaction"), turn).await.is_ok();
    if !known {
        response(store, cx, turn, None).await;
    }
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    let id = claim(&mut tx, cx, new, Some(1), now).await.expect("asked");
    tx.commit().await.expect("written");
    id
}

fn file(id: &str, container: &str, turn: Option<&str>, run: &str) -> ContainerFile {
    ContainerFile {
        id: id.into(),
        container_id: container.into(),
        name: "a.csv".into(),
        source: ASSISTANT.into(),
        turn_id: turn.map(str::to_owned),
        run: Some(run.into()),
        bytes: 1,
        hash: vec![1],
        created_at: 1,
    }
}

/// Writes a file whose content is a blob of the same name.
async fn wrote(store: &Store, cx: &Cx, file: &ContainerFile) -> Result<()> {
    store.tenant(cx).begin_blob(&file.id, "disk", 60_000_000).await.expect("noted");
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    hold(&mut tx, &Cx { turn: file.turn_id.clone(), turn_epoch: 1, ..cx.clone() }, &file.container_id).await?;
    write_file(&mut tx, file, &Place::Blob(file.id.clone())).await?;
    tx.commit().await
}

/// The contents that are to be cleared now.
async fn loose(store: &Store) -> Vec<String> {
    let found = store.system().claim_loose_blobs(60_000_000, 100).await.expect("asked");
    let mut keys: Vec<String> = found.into_iter().map(|blob| blob.key).collect();
    keys.sort();
    keys
}

#[tokio::test]
async fn a_session_has_one_container_for_each_agent_and_customer_and_a_replay_has_none() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        session(&store, &a, "conv").await;
        let here = runs(&a, "t1", Some("conv"), &[]);
        assert_eq!(claimed(&store, &here, "cntr_1", 10).await.as_deref(), Some("cntr_1"));
        assert_eq!(claimed(&store, &runs(&a, "t2", Some("conv"), &[]), "cntr_2", 20).await.as_deref(), Some("cntr_1"));
        let other_agent = Cx { agent: Some("b".into()), ..here.clone() };
        assert_eq!(claimed(&store, &other_agent, "cntr_3", 20).await.as_deref(), Some("cntr_3"));
        assert_eq!(claimed(&store, &of(&here, "mona"), "cntr_4", 20).await.as_deref(), Some("cntr_4"));
        let replay = Workspace { id: "replay_1".into(), ..Workspace::default() };
        assert_eq!(claimed(&store, &Cx { workspace: Some(replay), ..here.clone() }, "cntr_5", 20).await, None);
        assert_eq!(claimed(&store, &Cx { workspace: None, ..here }, "cntr_5", 20).await, None);
        let found = load(&mut store.tenant(&a).read().await.expect("a transaction"), "cntr_1", 20).await;
        let found = found.expect("found");
        assert_eq!((found.last_active_at, found.expires_at, found.owner), (20, 20 + MINUTE, None));
        // Whose the session is, its containers are, whoever ran the code.
        let mut tx = store.tenant(&a).write().await.expect("a transaction");
        let mona = Owner { issuer: String::new(), sub: "mona".into() };
        sessions::claim(&mut tx, "conv", &mona).await.expect("claimed");
        assert_eq!(load(&mut tx, "cntr_1", 20).await.expect("found").owner, Some(mona.clone()));
        tx.commit().await.expect("written");
        let page = PageRequest { after: None, limit: 10, order: Order::Asc };
        let seen = async |cx: &Cx, sight: &Sight, name: Option<&str>| {
            let page = store.tenant(cx).list_containers(sight, name, &page, 20).await.expect("listed");
            page.items.into_iter().map(|one| one.id).collect::<Vec<_>>()
        };
        assert_eq!(seen(&a, &Sight::All, None).await, ["cntr_1", "cntr_3", "cntr_4"]);
        assert_eq!(seen(&a, &Sight::Of(mona), Some("conv")).await, ["cntr_1", "cntr_3", "cntr_4"]);
        assert!(seen(&a, &Sight::Unowned, None).await.is_empty() && seen(&b, &Sight::All, None).await.is_empty());
        assert!(seen(&a, &Sight::All, Some("other")).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn of_a_line_the_first_that_runs_code_takes_the_container_over_and_a_branch_begins_another() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        let of_line = |turn: &str, after: &[&str]| runs(&a, turn, None, after);
        assert_eq!(claimed(&store, &of_line("r1", &[]), "cntr_1", 10).await.as_deref(), Some("cntr_1"));
        assert_eq!(claimed(&store, &of_line("r1", &[]), "cntr_9", 10).await.as_deref(), Some("cntr_1"), "once more");
        // The one between ran nothing.
        assert_eq!(claimed(&store, &of_line("r3", &["r2", "r1"]), "cntr_2", 20).await.as_deref(), Some("cntr_1"));
        assert_eq!(claimed(&store, &of_line("r4", &["r2", "r1"]), "cntr_3", 20).await.as_deref(), Some("cntr_3"));
        assert_eq!(claimed(&store, &of_line("r5", &["r4", "r2", "r1"]), "x", 20).await.as_deref(), Some("cntr_3"));
        // Another customer goes on in none of it.
        let mona = of(&of_line("r6", &["r3"]), "mona");
        assert_eq!(claimed(&store, &mona, "cntr_4", 20).await.as_deref(), Some("cntr_4"));
        // Nor anyone in one whose time is over.
        let late = 20 + MINUTE;
        assert_eq!(claimed(&store, &of_line("r7", &["r5"]), "cntr_5", late).await.as_deref(), Some("cntr_5"));
        let mut tx = store.tenant(&a).read().await.expect("a transaction");
        assert_eq!(load(&mut tx, "cntr_3", late).await.expect_err("over").code.as_deref(), Some("container_not_found"));
    })
    .await;
}

#[tokio::test]
async fn a_named_container_is_used_by_whoever_may_speak_in_it_and_keeps_its_own_time() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        let mona = of(&a, "mona");
        let owner = mona.customer.as_ref().map(Customer::owner);
        let made = StoredContainer::made("cntr_1".into(), "mine", owner, 5, 10);
        store.tenant(&mona).add_container(&made).await.expect("made");
        let named = |cx: &Cx| {
            let workspace = Workspace { id: "cntr_1".into(), container: Some("cntr_1".into()), ..Workspace::default() };
            Cx { workspace: Some(workspace), ..runs(cx, "r1", None, &[]) }
        };
        assert_eq!(claimed(&store, &named(&mona), "x", 20).await.as_deref(), Some("cntr_1"));
        let found =
            load(&mut store.tenant(&a).read().await.expect("a transaction"), "cntr_1", 20).await.expect("found");
        assert_eq!((found.expire_minutes, found.expires_at), (5, 20 + 5 * MINUTE));
        assert_eq!(claimed(&store, &named(&of(&a, "otto")), "x", 20).await, None);
        assert_eq!(claimed(&store, &named(&a), "x", 20).await, None);
        assert_eq!(claimed(&store, &named(&mona), "x", 20 + 5 * MINUTE).await, None);
    })
    .await;
}

#[tokio::test]
async fn however_a_file_goes_its_content_is_loose_from_then_on() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        session(&store, &a, "conv").await;
        response(&store, &a, "t1", Some("conv")).await;
        response(&store, &a, "r1", None).await;
        response(&store, &a, "r2", None).await;
        for (turn, session, id) in [("t1", Some("conv"), "cntr_1"), ("r1", None, "cntr_2"), ("r2", None, "cntr_3")] {
            claimed(&store, &runs(&a, turn, session, &[]), id, 10).await.expect("a container");
        }
        let files = [
            file("cfile_1", "cntr_1", Some("t1"), "k1"),
            file("cfile_2", "cntr_2", Some("r1"), "k2"),
            file("cfile_3", "cntr_2", None, "k3"),
            file("cfile_4", "cntr_3", Some("r2"), "k4"),
            file("cfile_5", "cntr_3", Some("r2"), "k5"),
        ];
        for file in &files {
            wrote(&store, &a, file).await.expect("written");
        }
        assert_eq!(loose(&store).await, Vec::<String>::new());
        // Of a turn, or a container, that is gone nothing is kept any more.
        for (gone, code) in [
            (file("cfile_6", "cntr_1", Some("nobody"), "k"), "turn_not_found"),
            (file("cfile_7", "cntr_9", None, "k"), "container_not_found"),
        ] {
            assert_eq!(wrote(&store, &a, &gone).await.expect_err("gone").code.as_deref(), Some(code));
            store.tenant(&a).let_go_of_blob(&gone.id).await.expect("let go");
        }
        assert_eq!(loose(&store).await, ["cfile_6", "cfile_7"]);
        // With its conversation.
        store.tenant(&a).delete_conversation("conv").await.expect("deleted");
        assert_eq!(loose(&store).await, ["cfile_1"]);
        // With its response, and what others left there stays.
        store.tenant(&a).delete_response("r1").await.expect("deleted");
        assert_eq!(loose(&store).await, ["cfile_2"]);
        // With the run that is made again.
        let mut tx = store.tenant(&a).write().await.expect("a transaction");
        delete_of_run(&mut tx, "cntr_3", "k4", &[]).await.expect("deleted");
        delete_of_run(&mut tx, "cntr_3", "k5", &["cfile_5".into()]).await.expect("deleted");
        tx.commit().await.expect("written");
        assert_eq!(loose(&store).await, ["cfile_4"]);
        // One that is not to be stored leaves its files, for their time.
        store.tenant(&a).forget_response("r2").await.expect("forgotten");
        assert_eq!(loose(&store).await, Vec::<String>::new());
        assert_eq!(store.tenant(&b).delete_container("cntr_2").await.expect_err("theirs").kind, Kind::NotFound);
        assert_eq!(store.system().delete_expired_containers(10 + MINUTE - 1).await.expect("asked"), 0);
        assert_eq!(store.system().delete_expired_containers(10 + MINUTE).await.expect("asked"), 2);
        assert_eq!(loose(&store).await, ["cfile_3", "cfile_5"]);
    })
    .await;
}

#[tokio::test]
async fn who_claims_a_turn_waits_for_the_files_that_are_written_for_it() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        response(&store, &a, "r1", None).await;
        let worker = runs(&a, "r1", None, &[]);
        claimed(&store, &worker, "cntr_1", 10).await.expect("a container");
        let claim = async || {
            let mut tx = store.tenant(&a).write().await?;
            let sql = "UPDATE turn SET epoch = epoch + 1 WHERE id = 'r1' RETURNING epoch";
            let epoch: i64 = on!(tx, conn => sqlx::query_scalar(sql).fetch_one(conn).await).doing("claim a turn")?;
            tx.commit().await.map(|()| epoch)
        };
        let mut tx = store.tenant(&a).write().await.expect("a transaction");
        hold(&mut tx, &worker, "cntr_1").await.expect("held");
        let early = tokio::time::timeout(std::time::Duration::from_millis(500), claim()).await;
        assert!(early.is_err(), "claimed while files are written: {early:?}");
        tx.commit().await.expect("written");
        let turn_epoch = claim().await.expect("claimed");
        let mut tx = store.tenant(&a).write().await.expect("a transaction");
        let late = hold(&mut tx, &worker, "cntr_1").await.expect_err("another's");
        assert_eq!(late.code.as_deref(), Some("turn_taken_over"));
        // Nor does it prolong the container's time, or make one.
        let late = super::claim(&mut tx, &worker, "cntr_2", Some(9), 20).await.expect_err("another's");
        assert_eq!(late.code.as_deref(), Some("turn_taken_over"));
        let found = load(&mut tx, "cntr_1", 20).await.expect("found");
        assert_eq!((found.last_active_at, found.expire_minutes), (10, 1));
        hold(&mut tx, &Cx { turn_epoch, ..worker }, "cntr_1").await.expect("its worker's");
    })
    .await;
}

#[tokio::test]
async fn a_content_in_the_row_is_read_from_there_and_by_its_tenant_alone() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        let made = StoredContainer::made("cntr_1".into(), "mine", None, 5, 10);
        store.tenant(&a).add_container(&made).await.expect("made");
        let mut tx = store.tenant(&a).write().await.expect("a transaction");
        let content = Place::Row(b"x".to_vec().into());
        write_file(&mut tx, &file("cfile_1", "cntr_1", None, "k"), &content).await.expect("written");
        tx.commit().await.expect("written");
        let placed = store.tenant(&a).find_container_content("cfile_1").await.expect("found");
        assert_eq!((placed.bytes, placed.content), (1, content));
        let hidden = store.tenant(&b).find_container_content("cfile_1").await.expect_err("another tenant's");
        assert_eq!(hidden.code.as_deref(), Some("container_file_not_found"));
        let mut tx = store.tenant(&a).read().await.expect("a transaction");
        assert_eq!(load_file(&mut tx, "cntr_2", "cfile_1").await.expect_err("elsewhere").kind, Kind::NotFound);
    })
    .await;
}
