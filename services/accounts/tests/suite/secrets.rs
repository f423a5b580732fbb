//! Secrets for tools: opened where they were kept and nowhere else, and bound to their hosts.

use frontdesk_api::{Cx, Secrets as _, egress::HostRule};
use frontdesk_store::testing::each_database;

use crate::House;

fn cx(tenant: &str) -> Cx {
    Cx::internal(tenant, "req")
}

fn hosts(rules: &[&str]) -> Vec<HostRule> {
    rules.iter().map(|rule| rule.parse().expect(rule)).collect()
}

#[tokio::test]
async fn a_secret_opens_for_its_tenant_under_its_name() {
    each_database(|store| async move {
        let house = House::on(store);
        let accounts = house.two_tenants().await;
        let (acme, bolt) = (cx("acme"), cx("bolt"));
        accounts.put_secret(&acme, "shop", "Bearer-abcdef", hosts(&["api.shop.example"])).await.expect("kept");
        let shown =
            accounts.put_secret(&acme, "shop", "Bearer-ghijkl", hosts(&["*.shop.example"])).await.expect("replaced");
        assert!(!format!("{shown:?}").contains("ghijkl"));
        let opened = accounts.find(&acme, "shop").await.expect("asked").expect("there");
        assert_eq!((opened.value.as_str(), opened.hosts.clone()), ("Bearer-ghijkl", hosts(&["*.shop.example"])));
        assert!(!format!("{opened:?}").contains("ghijkl"));
        assert!(accounts.find(&bolt, "shop").await.expect("asked").is_none());
        assert_eq!(accounts.list_secrets(&bolt).await.expect("a list"), []);
        assert!(accounts.delete_secret(&bolt, "shop").await.is_err());
        accounts.delete_secret(&acme, "shop").await.expect("deleted");
        assert!(accounts.find(&acme, "shop").await.expect("asked").is_none());
    })
    .await;
}

#[tokio::test]
async fn who_writes_to_the_database_cannot_send_a_secret_elsewhere() {
    each_database(|store| async move {
        let house = House::on(store.clone());
        let accounts = house.two_tenants().await;
        let (acme, bolt) = (cx("acme"), cx("bolt"));
        accounts.put_secret(&acme, "shop", "12345678", hosts(&["api.shop.example"])).await.expect("kept");
        let row = store.tenant(&acme).find_secret("shop").await.expect("asked").expect("there");
        assert!(!row.sealed.windows(8).any(|w| w == b"12345678"));
        let mut moved = row.clone();
        moved.hosts = hosts(&["evil.example"]);
        store.tenant(&acme).put_secret(&moved, 9).await.expect("written");
        assert!(accounts.find(&acme, "shop").await.is_err(), "other hosts");
        let mut renamed = row.clone();
        renamed.name = "other".into();
        store.tenant(&acme).put_secret(&renamed, 9).await.expect("written");
        assert!(accounts.find(&acme, "other").await.is_err(), "another name");
        store.tenant(&bolt).put_secret(&row, 9).await.expect("written");
        assert!(accounts.find(&bolt, "shop").await.is_err(), "another tenant");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_a_secret_is_refused_by_field_and_not_repeated() {
    each_database(|store| async move {
        let accounts = House::on(store).two_tenants().await;
        let long = "x".repeat(4097);
        for (name, value, rules, field) in [
            ("a b", "12345678", &["a.example"][..], "name"),
            ("", "12345678", &["a.example"], "name"),
            ("n", "short12", &["a.example"], "value"),
            ("n", long.as_str(), &["a.example"], "value"),
            ("n", "secret-1\r\nx-evil: 1", &["a.example"], "value"),
            ("n", " secret-1", &["a.example"], "value"),
            ("n", "secret-\u{f6}-1", &["a.example"], "value"),
            ("n", "12345678", &[], "hosts"),
        ] {
            let refused = accounts.put_secret(&cx("acme"), name, value, hosts(rules)).await.expect_err(field);
            assert_eq!(refused.param.as_deref(), Some(field));
            assert!(!refused.message.contains("secret-") && !refused.message.contains("short12"), "{refused}");
        }
    })
    .await;
}
