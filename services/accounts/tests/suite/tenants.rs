//! Tenants.

use frontdesk_accounts::DEFAULT_TENANT;
use frontdesk_api::{Kind, Order, PageRequest};
use frontdesk_store::{Store, testing::each_database};

use crate::House;

#[tokio::test]
async fn the_default_tenant_is_made_once() {
    each_database(async |store: Store| {
        let house = House::on(store);
        let first = house.gateway().await.load_tenant(DEFAULT_TENANT).await.expect("made");
        house.clock.set(first.created_at + 100);
        assert_eq!(house.gateway().await.load_tenant(DEFAULT_TENANT).await.expect("there"), first);
    })
    .await;
}

#[tokio::test]
async fn tenants_are_made_found_and_listed() {
    each_database(async |store: Store| {
        let accounts = House::on(store).two_tenants().await;
        let twice = accounts.create_tenant(Some("acme"), "Acme again").await.expect_err("taken");
        assert_eq!(
            (twice.kind, twice.message.as_str()),
            (Kind::Conflict, "could not create the tenant 'acme': it exists already")
        );
        let made = accounts.create_tenant(None, "  Corner Shop ").await.expect("an id of its own");
        assert!(made.id.starts_with("ten_") && made.name == "Corner Shop", "{made:?}");
        let page = PageRequest { limit: 2, order: Order::Asc, after: None };
        let page = accounts.list_tenants(&page).await.expect("a page");
        assert_eq!(page.items.iter().map(|t| t.id.as_str()).collect::<Vec<_>>(), ["acme", "bolt"]);
        assert!(page.more);
        assert_eq!(accounts.load_tenant("nobody").await.expect_err("unknown").kind, Kind::NotFound);
    })
    .await;
}

#[tokio::test]
async fn an_id_is_fit_for_addresses_and_logs() {
    let accounts = House::on(Store::temporary().await.expect("a store")).gateway().await;
    for bad in ["", "-shop", "Shop", "a shop", "shop'; --", "läden", &"x".repeat(64)] {
        let error = accounts.create_tenant(Some(bad), "Shop").await.expect_err(bad);
        assert_eq!((error.kind, error.param.as_deref()), (Kind::Invalid, Some("id")));
    }
    let error = accounts.create_tenant(Some("shop"), "two\nlines").await.expect_err("two lines");
    assert_eq!(error.param.as_deref(), Some("name"));
    accounts.create_tenant(Some("9-shops_x"), "Shops").await.expect("good");
}
