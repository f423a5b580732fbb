//! Keys: who they let in, and until when.

use std::collections::BTreeSet;

use frontdesk_accounts::Accounts;
use frontdesk_api::{Cx, Kind, Order, PageRequest, Scope};
use frontdesk_store::{Store, on, sqlx, testing::each_database};

use crate::{House, NOW, a_key, refusal};

#[tokio::test]
async fn a_key_opens_its_own_tenant_with_its_own_scopes() {
    each_database(async |store: Store| {
        let accounts = House::on(store).two_tenants().await;
        let a = accounts.create_key("acme", a_key(Scope::Write)).await.expect("a key");
        let b = accounts.create_key("bolt", a_key(Scope::Use)).await.expect("a key");
        for (made, tenant, scope) in [(&a, "acme", Scope::Write), (&b, "bolt", Scope::Use)] {
            let caller = accounts.authenticate(&made.secret).expect("open");
            assert_eq!((caller.tenant.as_str(), &caller.principal.key_id), (tenant, &made.key.id));
            assert_eq!(caller.principal.scopes, BTreeSet::from([scope]));
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_a_mistyped_one_is_told_so() {
    let accounts = House::on(Store::temporary().await.expect("a store")).two_tenants().await;
    let made = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key").secret;
    let cut = &made[..made.len() - 1];
    assert!(accounts.authenticate(cut).expect_err("cut").message.contains("mistyped"));
    let long = "x".repeat(100_000);
    for wrong in ["", "x", cut, &format!("{made} "), &made.to_uppercase(), &long] {
        assert_eq!(refusal(&accounts, wrong), "invalid_api_key");
    }
}

#[tokio::test]
async fn a_revoked_key_is_closed_at_once_and_the_other_tenants_stays_open() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        let a = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key");
        let b = accounts.create_key("bolt", a_key(Scope::Use)).await.expect("a key");
        assert_eq!(accounts.revoke_key("bolt", &a.key.id).await.expect_err("not bolt's").kind, Kind::NotFound);
        accounts.authenticate(&a.secret).expect("still open");
        accounts.revoke_key("acme", &a.key.id).await.expect("revoked");
        assert_eq!(refusal(&accounts, &a.secret), "revoked_api_key");
        accounts.authenticate(&b.secret).expect("open");
        // Neither a look at the database nor a restart opens it again, nor does revoking twice move the date.
        accounts.refresh().await.expect("refreshed");
        house.clock.set(NOW + 5);
        accounts.revoke_key("acme", &a.key.id).await.expect("again");
        for gateway in [&accounts, &house.gateway().await] {
            assert_eq!(refusal(gateway, &a.secret), "revoked_api_key");
            gateway.authenticate(&b.secret).expect("open");
        }
        let listed = accounts.list_keys("acme", &PageRequest::default()).await.expect("listed").items;
        assert_eq!(listed[0].revoked_at, Some(NOW));
    })
    .await;
}

#[tokio::test]
async fn a_key_closes_when_it_expires() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        let mut wanted = a_key(Scope::Use);
        wanted.expires_at = Some(NOW + 10);
        let made = accounts.create_key("acme", wanted.clone()).await.expect("a key").secret;
        house.clock.set(NOW + 9);
        accounts.authenticate(&made).expect("the last moment");
        house.clock.set(NOW + 10);
        assert_eq!(refusal(&accounts, &made), "expired_api_key");
        let late = accounts.create_key("acme", wanted).await.expect_err("expired already");
        assert_eq!((late.kind, late.param.as_deref()), (Kind::Invalid, Some("expires_at")));
    })
    .await;
}

#[tokio::test]
async fn another_gateway_learns_of_keys_made_and_revoked() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let (here, there) = (house.two_tenants().await, house.gateway().await);
        let made = here.create_key("acme", a_key(Scope::Use)).await.expect("a key");
        assert_eq!(refusal(&there, &made.secret), "invalid_api_key");
        there.refresh().await.expect("refreshed");
        there.authenticate(&made.secret).expect("known now");
        here.revoke_key("acme", &made.key.id).await.expect("revoked");
        there.refresh().await.expect("refreshed");
        assert_eq!(refusal(&there, &made.secret), "revoked_api_key");
    })
    .await;
}

#[tokio::test]
async fn when_a_key_was_used_is_written_later() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        let made = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key");
        let idle = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key");
        let last_used = async |id: &str| {
            let page = accounts.list_keys("acme", &PageRequest::default()).await.expect("listed");
            page.items.into_iter().find(|key| key.id == id).expect("listed").last_used_at
        };
        house.clock.set(NOW + 7);
        accounts.authenticate(&made.secret).expect("open");
        assert_eq!(last_used(&made.key.id).await, None, "not in the request's path");
        accounts.note_uses().await.expect("noted");
        assert_eq!((last_used(&made.key.id).await, last_used(&idle.key.id).await), (Some(NOW + 7), None));
        // Another gateway's earlier use does not turn the clock back, and a refresh loses no use.
        house.clock.set(NOW + 9);
        accounts.authenticate(&made.secret).expect("open");
        accounts.refresh().await.expect("refreshed");
        accounts.note_uses().await.expect("noted");
        assert_eq!(last_used(&made.key.id).await, Some(NOW + 9));
        let there = house.gateway().await;
        house.clock.set(NOW + 8);
        there.authenticate(&made.secret).expect("open");
        there.note_uses().await.expect("noted");
        assert_eq!(last_used(&made.key.id).await, Some(NOW + 9));
    })
    .await;
}

#[tokio::test]
async fn the_last_uses_are_written_when_the_server_stops() {
    let house = House::on(Store::temporary().await.expect("a store"));
    let accounts = house.two_tenants().await;
    let made = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key").secret;
    accounts.authenticate(&made).expect("open");
    let stop = frontdesk_api::cx::CancellationToken::new();
    stop.cancel();
    accounts.keep_fresh(stop).await;
    let page = accounts.list_keys("acme", &PageRequest::default()).await.expect("listed");
    assert_eq!(page.items[0].last_used_at, Some(NOW));
}

#[tokio::test]
async fn keys_are_listed_by_page_without_their_text() {
    each_database(async |store: Store| {
        let accounts = House::on(store).two_tenants().await;
        accounts.create_key("bolt", a_key(Scope::Use)).await.expect("the other tenant's");
        let mut made = Vec::new();
        for _ in 0..5 {
            made.push(accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key"));
        }
        let ids: Vec<_> = made.iter().map(|m| m.key.id.clone()).collect();
        let page = PageRequest { limit: 2, order: Order::Asc, after: Some(ids[0].clone()) };
        let page = accounts.list_keys("acme", &page).await.expect("a page");
        assert!(page.more);
        assert_eq!(page.items.iter().map(|k| &k.id).collect::<Vec<_>>(), [&ids[1], &ids[2]]);
        let newest = PageRequest { limit: 2, ..PageRequest::default() };
        let newest = accounts.list_keys("acme", &newest).await.expect("a page");
        assert_eq!(newest.items.iter().map(|k| &k.id).collect::<Vec<_>>(), [&ids[4], &ids[3]]);
        let all = accounts.list_keys("acme", &PageRequest::default()).await.expect("a page");
        assert_eq!((all.items.len(), all.more), (5, false));
        let shown = format!("{all:?} {made:?}");
        assert!(made.iter().all(|m| !shown.contains(&m.secret)), "no key's text is shown");
    })
    .await;
}

#[tokio::test]
async fn the_database_holds_no_key() {
    each_database(async |store: Store| {
        let accounts = House::on(store.clone()).two_tenants().await;
        let made = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key");
        let cx = Cx::internal("acme", "r");
        let row = store.tenant(&cx).find_key(&made.key.id).await.expect("read").expect("there");
        assert_eq!(row.hash.len(), 32);
        assert_ne!(row.hash, blake3::hash(made.secret.as_bytes()).as_bytes(), "the pepper is in it");
        let mut tx = store.tenant(&cx).read().await.expect("open");
        let named: i64 = on!(tx, conn => sqlx::query_scalar("SELECT count(*) FROM api_key WHERE id = $1 OR name = $1").bind(&made.secret).fetch_one(conn).await).expect("counted");
        assert_eq!(named, 0);
    })
    .await;
}

#[tokio::test]
async fn a_bad_key_request_names_its_field() {
    let accounts = House::on(Store::temporary().await.expect("a store")).two_tenants().await;
    let mut none = a_key(Scope::Use);
    none.scopes.clear();
    let mut unnamed = a_key(Scope::Use);
    unnamed.name = " \n".into();
    for (wanted, field) in [(none, "scopes"), (unnamed, "name")] {
        let error = accounts.create_key("acme", wanted).await.expect_err("bad");
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some(field)));
    }
    let error = accounts.create_key("nobody", a_key(Scope::Use)).await.expect_err("no tenant");
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "unknown tenant 'nobody'"));
}

#[test]
fn admins_manage_their_own_tenant_and_operators_all() {
    let may = |from: &str, tenant: &str| Accounts::may_manage(&Cx::internal(from, "r"), tenant).map_err(|e| e.kind);
    assert_eq!(may("acme", "acme"), Ok(()));
    assert_eq!(may("acme", "bolt"), Err(Kind::NotFound));
    assert_eq!(may("default", "bolt"), Ok(()));
    let mut clerk = Cx::internal("acme", "r");
    clerk.principal.scopes = BTreeSet::from([Scope::Write]);
    assert_eq!(Accounts::may_manage(&clerk, "acme").map_err(|e| e.kind), Err(Kind::Forbidden));
}
