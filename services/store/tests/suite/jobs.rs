//! Jobs: claimed by one, held while renewed, given back, cancelled, ended by whoever holds them; and a batch's lines.

use frontdesk_api::{Cx, Page, PageRequest};
use frontdesk_store::{
    Store,
    batch_lines::{self, Answer, EndedLine, NewLine, OpenLine, Outcome},
    jobs::{self, Claimed, Held, Job, JobState, Lease, NewJob, Passed},
    on, sqlx,
    testing::{each_database, two_tenants},
};

const HOUR: i64 = 3_600_000_000;
const ALIVE: Lease<'_> = Lease { owner: "alive", micros: HOUR };
const DEAD: Lease<'_> = Lease { owner: "dead", micros: -1 };

async fn add(store: &Store, cx: &Cx, id: &str, created_at: i64) {
    add_of(store, cx, "k", id, created_at).await;
}

async fn add_of(store: &Store, cx: &Cx, kind: &str, id: &str, created_at: i64) {
    let mut tx = store.tenant(cx).write().await.expect("open");
    let asked = format!("do {id}");
    jobs::add(&mut tx, NewJob { id, kind, payload: &asked, progress: &0, window: HOUR, created_at })
        .await
        .expect("added");
    tx.commit().await.expect("committed");
}

async fn claim(store: &Store, lease: Lease<'_>, limit: i64) -> Vec<Claimed<String, i64>> {
    let claims = store.system().claim_jobs(["k", "l"], lease, limit, 7).await.expect("claimed");
    let mut claimed = claims.claimed;
    claimed.sort_by(|a, b| (&a.tenant, &a.job.id).cmp(&(&b.tenant, &b.job.id)));
    claimed
}

async fn find(store: &Store, cx: &Cx, id: &str) -> Job<String, i64> {
    store.tenant(cx).find_job("k", id).await.expect("asked").expect("there")
}

fn names(claimed: &[Claimed<String, i64>]) -> Vec<(&str, &str)> {
    claimed.iter().map(|c| (c.tenant.as_str(), c.job.id.as_str())).collect()
}

#[tokio::test]
async fn a_job_is_claimed_by_one_and_tenants_take_turns() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        for (id, at) in [("j1", 1), ("j2", 2), ("j3", 3)] {
            add(&store, &a, id, at).await;
        }
        add(&store, &b, "j1", 9).await;
        let first = claim(&store, ALIVE, 1).await;
        assert_eq!(names(&first), [("tenant_a", "j1")]);
        let job = &first[0].job;
        assert_eq!((job.payload.as_str(), job.progress, job.epoch, job.attempts), ("do j1", 0, 1, 1));
        assert!(first[0].left > HOUR / 2 && first[0].left <= HOUR, "{}", first[0].left);
        // The other tenant has nothing in hand, so its younger job comes before the older ones of this.
        assert_eq!(names(&claim(&store, ALIVE, 1).await), [("tenant_b", "j1")]);
        assert_eq!(names(&claim(&store, ALIVE, 9).await), [("tenant_a", "j2"), ("tenant_a", "j3")]);
        assert_eq!(claim(&store, ALIVE, 9).await, []);
        let other = store.system().claim_jobs::<String, i64>(["other", "more"], ALIVE, 9, 7).await.expect("claimed");
        assert_eq!(other.claimed, []);
    })
    .await;
}

#[tokio::test]
async fn tenants_take_turns_within_one_claim_and_over_both_kinds() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        for n in 1..=5 {
            add_of(&store, &a, "k", &format!("j{n}"), n).await;
        }
        add_of(&store, &b, "l", "j1", 8).await;
        add_of(&store, &b, "k", "j2", 9).await;
        let waiting = async || store.system().count_waiting_jobs(["k", "l"]).await.expect("counted");
        assert_eq!(waiting().await, 7);
        assert_eq!(names(&claim(&store, ALIVE, 3).await), [("tenant_a", "j1"), ("tenant_a", "j2"), ("tenant_b", "j1")]);
        // That one has two in hand by now, this one: its second comes before the other's third.
        assert_eq!(names(&claim(&store, ALIVE, 1).await), [("tenant_b", "j2")]);
        assert_eq!(waiting().await, 3);
        assert_eq!(claim(&store, ALIVE, 9).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_cannot_be_read_ends_by_itself_and_spoils_no_claim() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        for id in ["j1", "j2", "j3"] {
            add(&store, &a, id, 1).await;
        }
        let mut tx = store.tenant(&a).write().await.expect("open");
        on!(tx, conn => sqlx::query("UPDATE job SET progress = '{' WHERE id = 'j2'").execute(conn).await.map(|_| ()))
            .expect("spoilt");
        tx.commit().await.expect("committed");
        let claims = store.system().claim_jobs::<String, i64>(["k", "l"], ALIVE, 9, 77).await.expect("claimed");
        assert_eq!(claims.claimed.len(), 2);
        let [bad] = &claims.unreadable[..] else { panic!("one") };
        assert_eq!((bad.tenant.as_str(), bad.id.as_str()), ("tenant_a", "j2"));
        assert!(bad.error.message.contains("'j2'"), "{}", bad.error);
        let tenant = store.tenant(&a);
        assert!(!tenant.request_job_cancel("k", "j2", 5).await.expect("asked"), "it has ended");
        let page = tenant.list_jobs::<String, i64>("k", &PageRequest::default()).await.expect("listed");
        assert_eq!(page.items.iter().map(|job| job.id.as_str()).collect::<Vec<_>>(), ["j3", "j1"]);
    })
    .await;
}

#[tokio::test]
async fn whoever_finds_the_lease_passed_goes_on_and_the_first_may_not_write_any_more() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        add(&store, &a, "j1", 1).await;
        let lost = claim(&store, DEAD, 1).await;
        let taken = claim(&store, ALIVE, 1).await;
        assert_eq!((lost[0].job.epoch, taken[0].job.epoch, taken[0].job.attempts), (1, 2, 2));
        let mut tx = store.tenant(&a).write().await.expect("open");
        assert_eq!(jobs::fence(&mut tx, "j1", 1, &7).await.expect("asked"), None);
        assert_eq!(jobs::fence(&mut tx, "j1", 2, &8).await.expect("asked"), Some(Passed { cancel_requested: false }));
        tx.commit().await.expect("committed");
        let now = find(&store, &a, "j1").await;
        assert_eq!((now.progress, now.attempts), (8, 1), "it got on, so its attempts begin anew");

        let held = |epoch| Held { tenant: "tenant_a".into(), id: "j1".into(), epoch };
        let renewed = store.system().renew_jobs(&[held(1), held(2)], HOUR).await.expect("renewed");
        assert_eq!(renewed, [None, Some(Passed { cancel_requested: false })]);
        assert!(store.tenant(&a).request_job_cancel("k", "j1", 5).await.expect("asked"));
        assert!(store.tenant(&a).request_job_cancel("k", "j1", 6).await.expect("asked again"));
        assert_eq!(find(&store, &a, "j1").await.cancel_requested_at, Some(5));
        let renewed = store.system().renew_jobs(&[held(2)], HOUR).await.expect("renewed");
        assert_eq!(renewed, [Some(Passed { cancel_requested: true })]);
    })
    .await;
}

#[tokio::test]
async fn a_job_given_back_is_claimed_at_once_and_one_that_ended_never() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        add(&store, &a, "j1", 1).await;
        claim(&store, ALIVE, 1).await;
        store.tenant(&b).give_back_job("j1", 1).await.expect("not theirs");
        store.tenant(&a).give_back_job("j1", 7).await.expect("another epoch");
        assert_eq!(claim(&store, ALIVE, 1).await, []);
        store.tenant(&a).give_back_job("j1", 1).await.expect("given back");
        let late = Held { tenant: "tenant_a".into(), id: "j1".into(), epoch: 1 };
        assert_eq!(store.system().renew_jobs(&[late], HOUR).await.expect("asked"), [None], "it was given back");
        let again = claim(&store, ALIVE, 1).await;
        assert_eq!((again[0].job.epoch, again[0].job.attempts), (3, 1));
        assert_eq!(store.system().end_job_leases().await.expect("ended"), 1);
        assert_eq!(claim(&store, ALIVE, 1).await[0].job.epoch, 4);

        let mut tx = store.tenant(&a).write().await.expect("open");
        assert!(!jobs::delete(&mut tx, "k", "j1").await.expect("asked"), "it is open");
        jobs::fence(&mut tx, "j1", 4, &1).await.expect("asked").expect("held");
        jobs::end(&mut tx, "j1", JobState::Completed, 44).await.expect("ended");
        assert_eq!(jobs::fence(&mut tx, "j1", 4, &2).await.expect("asked"), None, "it has ended");
        tx.commit().await.expect("committed");
        let ended = find(&store, &a, "j1").await;
        assert_eq!((ended.state, ended.ended_at, ended.progress), (JobState::Completed, Some(44), 1));
        assert_eq!(store.system().end_job_leases().await.expect("ended"), 0);
        assert_eq!(claim(&store, ALIVE, 1).await, []);
        assert!(!store.tenant(&a).request_job_cancel("k", "j1", 5).await.expect("asked"));
        let mut tx = store.tenant(&b).write().await.expect("open");
        assert!(!jobs::delete(&mut tx, "k", "j1").await.expect("asked"), "not theirs");
        drop(tx);
        let mut tx = store.tenant(&a).write().await.expect("open");
        assert!(jobs::delete(&mut tx, "k", "j1").await.expect("deleted"));
    })
    .await;
}

#[tokio::test]
async fn jobs_are_listed_by_kind_page_by_page_and_to_their_tenant_alone() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        for id in ["j1", "j2", "j3"] {
            add(&store, &a, id, 1).await;
        }
        let page = |page: Page<Job<String, i64>>| (page.items.into_iter().map(|j| j.id).collect::<Vec<_>>(), page.more);
        let request =
            |after: Option<&str>| PageRequest { after: after.map(Into::into), limit: 2, ..PageRequest::default() };
        let list = async |cx: &Cx, kind: &str, after| {
            page(store.tenant(cx).list_jobs(kind, &request(after)).await.expect("listed"))
        };
        assert_eq!(list(&a, "k", None).await, (vec!["j3".into(), "j2".into()], true));
        assert_eq!(list(&a, "k", Some("j2")).await, (vec!["j1".into()], false));
        assert_eq!(list(&a, "other", None).await, (vec![], false));
        assert_eq!(list(&b, "k", None).await, (vec![], false));
        assert_eq!(store.tenant(&b).find_job::<String, i64>("k", "j1").await.expect("asked"), None);
    })
    .await;
}

#[tokio::test]
async fn many_lines_are_written_at_once_and_in_order() {
    each_database(async |store: Store| {
        let (a, _) = two_tenants(&store).await;
        add(&store, &a, "j1", 1).await;
        let lines: Vec<NewLine> =
            (0..1201).map(|n| NewLine { custom_id: format!("c{n}"), request: format!("{{\"n\":{n}}}") }).collect();
        let tenant = store.tenant(&a);
        let mut tx = tenant.write().await.expect("open");
        batch_lines::add(&mut tx, "j1", 3, &lines).await.expect("added");
        tx.commit().await.expect("committed");
        let there = tenant.open_lines("j1", -1, 2000).await.expect("listed");
        let want: Vec<OpenLine> = (3..)
            .zip(lines)
            .map(|(pos, NewLine { custom_id, request })| OpenLine { pos, custom_id, request })
            .collect();
        assert_eq!(there, want);
    })
    .await;
}

#[tokio::test]
async fn a_line_gets_one_outcome_and_keeps_it() {
    each_database(async |store: Store| {
        let (a, b) = two_tenants(&store).await;
        add(&store, &a, "j1", 1).await;
        let line = |n: usize| NewLine { custom_id: format!("c{n}"), request: format!("{{\"n\":{n}}}") };
        let lines: Vec<NewLine> = (0..4).map(line).collect();
        let tenant = store.tenant(&a);
        let mut tx = tenant.write().await.expect("open");
        batch_lines::add(&mut tx, "j1", 0, &lines[..2]).await.expect("added");
        // Begun again after a restart: what stands there stays.
        batch_lines::add(&mut tx, "j1", 0, &lines).await.expect("added");
        let answer =
            |succeeded, body: &str| Answer { succeeded, status: if succeeded { 200 } else { 400 }, body: body.into() };
        assert!(batch_lines::answer(&mut tx, "j1", 2, &answer(true, "{}")).await.expect("noted"));
        assert!(
            !batch_lines::answer(&mut tx, "j1", 2, &answer(false, "[]")).await.expect("asked"),
            "it has its outcome"
        );
        assert!(batch_lines::answer(&mut tx, "j1", 0, &answer(false, "[]")).await.expect("noted"));
        tx.commit().await.expect("committed");

        let open = |pos: i64| OpenLine { pos, custom_id: format!("c{pos}"), request: format!("{{\"n\":{pos}}}") };
        assert_eq!(tenant.open_lines("j1", -1, 10).await.expect("listed"), [open(1), open(3)]);
        assert_eq!(tenant.open_lines("j1", 1, 10).await.expect("listed"), [open(3)]);
        assert_eq!(store.tenant(&b).open_lines("j1", -1, 10).await.expect("listed"), []);
        let mut tx = tenant.write().await.expect("open");
        assert_eq!(batch_lines::end_open(&mut tx, "j1", Outcome::Expired).await.expect("ended"), 2);
        tx.commit().await.expect("committed");
        let ended = |pos: i64, outcome, status, body: &str| EndedLine {
            pos,
            custom_id: format!("c{pos}"),
            outcome,
            status,
            body: body.into(),
        };
        let all = [
            ended(0, Outcome::Failed, 400, "[]"),
            ended(1, Outcome::Expired, 0, ""),
            ended(2, Outcome::Succeeded, 200, "{}"),
            ended(3, Outcome::Expired, 0, ""),
        ];
        assert_eq!(tenant.ended_lines("j1", -1, 10).await.expect("listed"), all);
        assert_eq!(tenant.ended_lines("j1", 0, 1).await.expect("listed"), all[1..2]);
        let mut tx = tenant.write().await.expect("open");
        batch_lines::delete(&mut tx, "j1").await.expect("deleted");
        tx.commit().await.expect("committed");
        assert_eq!(tenant.ended_lines("j1", -1, 10).await.expect("listed"), []);
    })
    .await;
}
