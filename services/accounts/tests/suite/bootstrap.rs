//! The first key, and the pepper that belongs to a database.

use frontdesk_accounts::{DEFAULT_TENANT, Pepper};
use frontdesk_api::{Kind, Scope};
use frontdesk_store::{Store, testing::each_database};

use crate::{House, a_key, refusal};

const GIVEN: &str = "chosen-by-the-operator";
const LATER: &str = "chosen-by-the-operator-later";

#[tokio::test]
async fn the_first_start_makes_an_admin_key_once() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        // A key of another tenant, admin or not, is not the operator's.
        accounts.create_key("acme", a_key(Scope::Admin)).await.expect("a key");
        accounts.create_key(DEFAULT_TENANT, a_key(Scope::Write)).await.expect("a key");
        let made = accounts.ensure_admin(None).await.expect("seen to").expect("shown once");
        let caller = accounts.authenticate(&made).expect("open");
        assert_eq!(caller.tenant, DEFAULT_TENANT);
        assert!(caller.principal.scopes.contains(&Scope::Admin));
        assert_eq!(accounts.ensure_admin(None).await.expect("seen to"), None);
        let restarted = house.gateway().await;
        assert_eq!(restarted.ensure_admin(None).await.expect("seen to"), None);
        restarted.authenticate(&made).expect("open after a restart");
        // When the last one is gone there is a way back in.
        restarted.revoke_key(DEFAULT_TENANT, &caller.principal.key_id).await.expect("revoked");
        let again = restarted.ensure_admin(None).await.expect("seen to").expect("a new one");
        restarted.authenticate(&again).expect("open");
        assert_eq!(refusal(&restarted, &made), "revoked_api_key");
    })
    .await;
}

#[tokio::test]
async fn the_operators_key_is_taken_and_another_replaces_it() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        let shops = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key").secret;
        assert_eq!(accounts.ensure_admin(Some(GIVEN)).await.expect("taken"), None, "nothing to show");
        assert!(accounts.authenticate(GIVEN).expect("open").principal.scopes.contains(&Scope::Admin));
        accounts.ensure_admin(Some(GIVEN)).await.expect("the same again");

        let there = house.gateway().await;
        accounts.ensure_admin(Some(LATER)).await.expect("taken");
        there.refresh().await.expect("refreshed");
        for gateway in [&accounts, &there, &house.gateway().await] {
            gateway.authenticate(LATER).expect("open");
            gateway.authenticate(&shops).expect("untouched");
            assert_eq!(refusal(gateway, GIVEN), "invalid_api_key");
        }
        // Without one the last one given still counts.
        assert_eq!(accounts.ensure_admin(None).await.expect("seen to"), None);
    })
    .await;
}

#[tokio::test]
async fn a_revoked_operators_key_does_not_come_back() {
    each_database(async |store: Store| {
        let accounts = House::on(store).gateway().await;
        accounts.ensure_admin(Some(GIVEN)).await.expect("taken");
        let id = accounts.authenticate(GIVEN).expect("open").principal.key_id.clone();
        accounts.revoke_key(DEFAULT_TENANT, &id).await.expect("revoked");
        accounts.ensure_admin(Some(GIVEN)).await.expect("a restart");
        assert_eq!(refusal(&accounts, GIVEN), "revoked_api_key");
        accounts.ensure_admin(Some(LATER)).await.expect("another");
        accounts.authenticate(LATER).expect("open");
    })
    .await;
}

#[tokio::test]
async fn a_poor_operators_key_is_refused_and_not_repeated() {
    let accounts = House::on(Store::temporary().await.expect("a store")).two_tenants().await;
    let taken = accounts.create_key("acme", a_key(Scope::Use)).await.expect("a key").secret;
    for poor in ["", "fifteen-letters", "with spaces in the text", "umlaute-ä-sind-nicht-gut", &"x".repeat(513)] {
        let error = accounts.ensure_admin(Some(poor)).await.expect_err("poor");
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("FRONTDESK_ADMIN_KEY")));
        assert!(poor.is_empty() || !error.message.contains(poor));
    }
    let error = accounts.ensure_admin(Some(&taken)).await.expect_err("another key's text");
    assert_eq!(error.kind, Kind::Conflict);
    let caller = accounts.authenticate(&taken).expect("untouched");
    assert_eq!(caller.tenant, "acme");
}

#[tokio::test]
async fn another_pepper_is_refused_at_the_start() {
    each_database(async |store: Store| {
        let house = House::on(store);
        house.gateway().await;
        let other = Pepper::draw().expect("random");
        let error = house.with(&other).await.err().expect("not the pepper of this database");
        assert_eq!((error.kind, error.code.as_deref()), (Kind::Invalid, Some("wrong_pepper")));
        house.gateway().await;
    })
    .await;
}
