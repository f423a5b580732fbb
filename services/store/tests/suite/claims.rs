//! Who works on which turn: one at a time, tenants in turn, and whoever lost it writes no more.

use std::collections::HashSet;

use frontdesk_api::{
    Cx, Ids as _,
    agent::AgentSpec,
    chat::Usage,
    id::RandomIds,
    turn::{Turn, TurnState},
};
use frontdesk_store::{
    Store, claims,
    testing::{each_database, two_tenants},
    turns::{self, Lease, OnInput, StoredTurn, TurnRequest},
};

/// A day, in microseconds.
const LONG: i64 = 24 * 60 * 60 * 1_000_000;

async fn agent(store: &Store, cx: &Cx) -> String {
    let agent = store.tenant(cx).add_agent(&RandomIds.next("agent"), &AgentSpec::new("m"), None, 0).await;
    agent.expect("an agent").id
}

/// A running turn: held by `lease`, or standing in line.
async fn turn(store: &Store, cx: &Cx, agent: &str, created_at: i64, lease: Option<Lease<'_>>) -> String {
    let turn = Turn {
        id: RandomIds.next("turn"),
        session_id: None,
        agent_id: agent.to_owned(),
        agent_version: 1,
        parent: None,
        state: TurnState::Running,
        error: None,
        hand_off: None,
        usage: Usage::default(),
        created_at,
        completed_at: None,
    };
    let id = turn.id.clone();
    let request = TurnRequest { key_id: "key_1".into(), ..TurnRequest::default() };
    let stored = StoredTurn {
        turn,
        pos: 0,
        epoch: i64::from(lease.is_some()),
        next_seq: 0,
        request,
        cancel_requested: false,
        on_input: OnInput::Suspend,
        stored: true,
    };
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    turns::add(&mut tx, &stored, lease, LONG).await.expect("a turn");
    tx.commit().await.expect("written");
    id
}

async fn may_write(store: &Store, cx: &Cx, id: &str, epoch: i64) -> bool {
    let mut tx = store.tenant(cx).write().await.expect("a transaction");
    let passed = turns::fence(&mut tx, id, epoch, 0, false).await.expect("asked").is_some();
    tx.commit().await.expect("written");
    passed
}

#[tokio::test]
async fn a_long_line_of_one_tenant_does_not_keep_another_waiting() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        let (of_a, of_b) = (agent(&store, &a).await, agent(&store, &b).await);
        for at in 0..5 {
            turn(&store, &a, &of_a, at, None).await;
        }
        // Later than all of the other's.
        for at in 10..12 {
            turn(&store, &b, &of_b, at, None).await;
        }
        let line = store.system().turns_in_line("tenant_b").await.expect("the line");
        assert_eq!((line.of_tenant, line.of_all), (2, 7));
        let lease = Lease { owner: "w", micros: LONG };
        let mut order = vec![];
        while let Some(claimed) = store.system().claim_turns(lease, 1).await.expect("claimed").pop() {
            assert_eq!(
                (claimed.stored.epoch, claimed.attempts, claimed.stored.request.key_id.as_str()),
                (1, 1, "key_1")
            );
            order.push(claimed.tenant);
        }
        assert_eq!(order.iter().filter(|t| *t == "tenant_b").count(), 2);
        let last_of_b = order.iter().rposition(|t| t == "tenant_b").expect("one of b");
        assert!(last_of_b <= 3, "b's two are among the first four: {order:?}");
        assert_eq!(store.system().turns_in_line("tenant_b").await.expect("the line").of_all, 0);
    })
    .await;
}

#[tokio::test]
async fn many_claim_at_once_and_each_turn_is_one_workers() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        let (of_a, of_b) = (agent(&store, &a).await, agent(&store, &b).await);
        let mut all = HashSet::new();
        for at in 0..12 {
            all.insert(turn(&store, &a, &of_a, at, None).await);
            all.insert(turn(&store, &b, &of_b, at, None).await);
        }
        let claims = (0..6).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let owner = format!("w{n}");
                let mut mine = vec![];
                loop {
                    let lease = Lease { owner: &owner, micros: LONG };
                    let some = store.system().claim_turns(lease, 3).await.expect("claimed");
                    if some.is_empty() {
                        return mine;
                    }
                    mine.extend(some.into_iter().map(|claimed| claimed.stored.turn.id));
                }
            })
        });
        let mut claimed = vec![];
        for claim in claims.collect::<Vec<_>>() {
            claimed.extend(claim.await.expect("no panic"));
        }
        assert_eq!(claimed.len(), 24);
        assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), all);
    })
    .await;
}

#[tokio::test]
async fn a_turn_is_its_workers_until_the_lease_passes_and_then_the_next_ones() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let agent = agent(&store, &cx).await;
        let held = turn(&store, &cx, &agent, 0, Some(Lease { owner: "w", micros: LONG })).await;
        let over = turn(&store, &cx, &agent, 1, Some(Lease { owner: "gone", micros: -1 })).await;
        let system = store.system();
        let claimed = system.claim_turns(Lease { owner: "w", micros: LONG }, 10).await.expect("claimed");
        let [claimed] = &claimed[..] else { panic!("{claimed:?}") };
        assert_eq!((&claimed.stored.turn.id, claimed.stored.epoch, claimed.attempts), (&over, 2, 2));
        assert!(claimed.left > LONG / 2 && claimed.left <= LONG, "{}", claimed.left);
        assert!(!may_write(&store, &cx, &over, 1).await, "the one before");
        assert!(may_write(&store, &cx, &over, 2).await);

        let mut renewed: Vec<String> = system
            .renew_turns(Lease { owner: "w", micros: -1 })
            .await
            .expect("renewed")
            .into_iter()
            .map(|h| h.id)
            .collect();
        renewed.sort();
        let mut both = vec![held.clone(), over.clone()];
        both.sort();
        assert_eq!(renewed, both);
        assert!(system.renew_turns(Lease { owner: "gone", micros: LONG }).await.expect("asked").is_empty());

        // Given back, the attempt does not count; broken off, it does. Either way the epoch is over.
        let tenant = store.tenant(&cx);
        assert!(tenant.give_back_turn(&held, 1).await.expect("given back"));
        assert!(!tenant.give_back_turn(&held, 1).await.expect("asked"), "once");
        assert!(tenant.drop_turn(&over, 2).await.expect("let go"));
        assert!(!may_write(&store, &cx, &held, 1).await && !may_write(&store, &cx, &over, 2).await);
        let claimed = system.claim_turns(Lease { owner: "x", micros: LONG }, 10).await.expect("claimed");
        let mut attempts: Vec<(&str, i64, i64)> =
            claimed.iter().map(|c| (c.stored.turn.id.as_str(), c.stored.epoch, c.attempts)).collect();
        attempts.sort_by_key(|(id, ..)| *id != held);
        assert_eq!(attempts, [(held.as_str(), 3, 1), (over.as_str(), 4, 3)]);

        // A process that is alone takes everything, whoever held it.
        assert_eq!(system.end_turn_leases().await.expect("ended"), 2);
        assert_eq!(system.claim_turns(Lease { owner: "y", micros: LONG }, 10).await.expect("claimed").len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_process_that_came_too_late_to_renew_claims_nothing_that_it_works_on() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let agent = agent(&store, &cx).await;
        let late = turn(&store, &cx, &agent, 0, Some(Lease { owner: "w", micros: -1 })).await;
        let system = store.system();
        let own = Lease { owner: "w", micros: LONG };
        assert!(system.claim_turns(own, 10).await.expect("asked").is_empty());
        let waits = turn(&store, &cx, &agent, 1, None).await;
        let claimed = system.claim_turns(own, 10).await.expect("claimed");
        assert_eq!(claimed.iter().map(|c| &c.stored.turn.id).collect::<Vec<_>>(), [&waits]);
        let mut tx = store.tenant(&cx).write().await.expect("a transaction");
        assert_eq!(claims::claim_one(&mut tx, &late, own).await.expect("asked"), None);
        drop(tx);
        assert!(may_write(&store, &cx, &late, 1).await, "its worker goes on");
        let renewed = system.renew_turns(Lease { owner: "w", micros: -1 }).await.expect("renewed");
        assert_eq!(renewed.len(), 2, "it is told of it instead");
        let other = system.claim_turns(Lease { owner: "v", micros: LONG }, 10).await.expect("claimed");
        assert_eq!(other.len(), 2, "for another they are ones that nobody holds");
    })
    .await;
}

#[tokio::test]
async fn how_far_turns_are_is_asked_for_all_at_once() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let agent = agent(&store, &cx).await;
        let ids = [turn(&store, &cx, &agent, 0, None).await, turn(&store, &cx, &agent, 1, None).await];
        let mut tx = store.tenant(&cx).write().await.expect("a transaction");
        turns::fence(&mut tx, &ids[1], 0, 3, false).await.expect("asked").expect("it may write");
        tx.commit().await.expect("written");
        let mut asked: Vec<(String, String)> = ids.iter().map(|id| ("tenant_a".to_owned(), id.clone())).collect();
        asked.push(("tenant_b".to_owned(), ids[0].clone()));
        asked.push(("tenant_a".to_owned(), "turn_gone".to_owned()));
        let mut heads = store.system().turn_heads(&asked).await.expect("heads");
        heads.sort_by_key(|head| head.next_seq);
        let found: Vec<(&str, i64, &str)> =
            heads.iter().map(|h| (h.id.as_str(), h.next_seq, h.state.as_str())).collect();
        assert_eq!(found, [(ids[0].as_str(), 0, "running"), (ids[1].as_str(), 3, "running")]);
    })
    .await;
}

#[tokio::test]
async fn what_was_lost_twice_is_taken_up_one_at_a_time_until_it_gets_on() {
    each_database(|store| async move {
        let (cx, _) = two_tenants(&store).await;
        let agent = agent(&store, &cx).await;
        let system = store.system();
        let lost = async |owner: &str| {
            let claimed = system.claim_turns(Lease { owner, micros: LONG }, 10).await.expect("claimed");
            system.end_turn_leases().await.expect("its process is lost");
            claimed.into_iter().map(|c| (c.stored.turn.id, c.attempts)).collect::<Vec<_>>()
        };
        let mut all = vec![];
        for at in 0..3 {
            all.push(turn(&store, &cx, &agent, at, None).await);
        }
        // Begun, and begun again after the first loss: all of them at once.
        for attempt in 1..=2 {
            let mut claimed = lost("dead").await;
            claimed.sort();
            let mut want: Vec<(String, i64)> = all.iter().map(|id| (id.clone(), attempt)).collect();
            want.sort();
            assert_eq!(claimed, want);
        }
        // Suspects now: one at a time, and one that nobody suspects beside it.
        let fresh = turn(&store, &cx, &agent, 9, None).await;
        let lease = Lease { owner: "w", micros: LONG };
        let first = system.claim_turns(lease, 10).await.expect("claimed");
        let ids: Vec<&str> = first.iter().map(|c| c.stored.turn.id.as_str()).collect();
        assert_eq!(ids, [&fresh, &all[0]]);
        assert!(system.claim_turns(lease, 10).await.expect("asked").is_empty(), "while it has not got on");
        system.renew_turns(Lease { owner: "w", micros: -1 }).await.expect("too late");
        assert!(system.claim_turns(lease, 10).await.expect("asked").is_empty(), "nor while it has its own to renew");
        system.renew_turns(lease).await.expect("renewed");
        let other = system.claim_turns(Lease { owner: "v", micros: LONG }, 10).await.expect("claimed");
        assert_eq!(
            other.iter().map(|c| &c.stored.turn.id).collect::<Vec<_>>(),
            [&all[1]],
            "another process takes one too"
        );
        let mut tx = store.tenant(&cx).write().await.expect("a transaction");
        turns::fence(&mut tx, &all[0], first[1].stored.epoch, 0, true).await.expect("asked").expect("a step ended");
        tx.commit().await.expect("written");
        let next = system.claim_turns(lease, 10).await.expect("claimed");
        assert_eq!(next.iter().map(|c| &c.stored.turn.id).collect::<Vec<_>>(), [&all[2]]);
        // The ones that were lost less often come first, whoever is older.
        system.end_turn_leases().await.expect("all are lost");
        assert_eq!(lost("x").await.len(), 3, "two that nobody suspects any more, and one suspect");
        let mut order = vec![];
        for owner in ["a", "b", "c", "d"] {
            let one = system.claim_turns(Lease { owner, micros: LONG }, 10).await.expect("claimed");
            order.extend(one.iter().map(|claimed| claimed.attempts));
        }
        assert_eq!(order, [3, 3, 4, 5]);
    })
    .await;
}
