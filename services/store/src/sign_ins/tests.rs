//! What is kept, on both databases.

use frontdesk_api::{Kind, PageRequest};
use serde_json::json;

use super::*;
use crate::testing::{each_database, two_tenants};

const HOUR: i64 = 3_600_000_000;

fn group(revision: &str) -> StoredToolgroup {
    StoredToolgroup {
        id: "shop".into(),
        provider_id: "mcp".into(),
        trust: "own".into(),
        args: json!({}),
        sealed: None,
        overrides: Some(json!({ "look": { "risk": "read" } })),
        grants: vec![],
        hash: String::new(),
        revision: revision.into(),
        created_at: 1,
        disabled_at: None,
    }
}

fn change(id: &str, action: &str) -> StoredToolgroupChange {
    StoredToolgroupChange {
        id: id.into(),
        toolgroup_id: "shop".into(),
        action: action.into(),
        key_id: "k".into(),
        detail: json!(null),
        created_at: 9,
    }
}

fn tokens(text: &str) -> Tokens {
    Tokens { sealed: text.into(), expires_at: Some(5), at: 1 }
}

/// Registers the group, and lets it in as `entry` says.
async fn put(tenant: &Tenant<'_>, revision: &str, entry: &Entry, over: &Over) -> Result<()> {
    let group = group(revision);
    let registered = Some(Registered { group: &group, tools: &[], kept: None });
    tenant.put_sign_in("shop", registered, entry, over, &[change(revision, "registered")]).await
}

async fn found(tenant: &Tenant<'_>) -> StoredSignIn {
    tenant.find_sign_in("shop").await.expect("asked").expect("there")
}

#[tokio::test]
async fn tokens_are_renewed_by_one_and_written_over_what_they_were_made_from() {
    each_database(|store| async move {
        let (a, b) = two_tenants(&store).await;
        let (mine, theirs) = (store.tenant(&a), store.tenant(&b));
        put(&mine, "r1", &Entry::Given(tokens("one")), &Over::Nothing).await.expect("registered");
        assert_eq!(mine.find_toolgroup("shop").await.expect("asked").expect("there").0, group("r1"));
        let row = StoredSignIn {
            toolgroup_id: "shop".into(),
            sealed: Some(b"one".to_vec()),
            expires_at: Some(5),
            version: 1,
            updated_at: 1,
            ..StoredSignIn::default()
        };
        assert_eq!(found(&mine).await, row);
        assert_eq!(theirs.find_sign_in("shop").await.expect("asked"), None);
        assert!(!theirs.hold_sign_in("shop", 1, HOUR).await.expect("asked"));
        assert!(mine.hold_sign_in("shop", 1, -1).await.expect("held"));
        assert!(mine.hold_sign_in("shop", 1, HOUR).await.expect("held"), "whoever had it is gone");
        assert!(!mine.hold_sign_in("shop", 1, HOUR).await.expect("asked"), "another renews it");

        // Another's call at these tokens is refused meanwhile: that is noted, and takes nothing from whoever renews.
        mine.note_sign_in("shop", 1, "more", Some("admin"), 3).await.expect("noted");
        mine.note_sign_in("shop", 0, "late", None, 3).await.expect("asked");
        mine.note_sign_in("shop", 2, "late", None, 3).await.expect("asked");
        let held_until = found(&mine).await.held_until;
        let noted = StoredSignIn { problem: Some("more".into()), scope: Some("admin".into()), held_until, ..row };
        assert_eq!(found(&mine).await, noted);
        assert!(held_until > HOUR, "by the database's clock");
        assert!(!mine.hold_sign_in("shop", 1, HOUR).await.expect("asked"), "it is renewed still");
        assert!(!theirs.renew_sign_in("shop", 1, &tokens("two")).await.expect("asked"));
        assert!(
            mine.renew_sign_in("shop", 1, &tokens("two")).await.expect("written"),
            "what was exchanged is not lost"
        );
        assert!(!mine.renew_sign_in("shop", 1, &tokens("lost")).await.expect("asked"), "made from an older one");
        assert!(!mine.hold_sign_in("shop", 1, HOUR).await.expect("asked"), "renewed already");
        let renewed = StoredSignIn { sealed: Some(b"two".to_vec()), version: 2, held_until: 0, ..noted };
        assert_eq!(mine.list_sign_ins().await.expect("a list"), [renewed], "a further scope takes a person still");

        // What cannot be renewed is left alone for a while, and kept.
        assert!(mine.hold_sign_in("shop", 2, HOUR).await.expect("held"), "nobody's any more");
        mine.pause_sign_in("shop", 2, None, HOUR).await.expect("put off");
        assert!(!mine.hold_sign_in("shop", 2, HOUR).await.expect("asked"), "not yet again");
        let paused = found(&mine).await;
        assert_eq!((paused.failures, paused.problem.as_deref(), paused.sealed.is_some()), (1, Some("more"), true));
        mine.drop_sign_in("shop", 1, "late", &change("c0", "deauthorized")).await.expect("asked");
        mine.drop_sign_in("shop", 2, "revoked", &change("c1", "deauthorized")).await.expect("let go");
        let gone = found(&mine).await;
        assert_eq!((gone.sealed, gone.problem.as_deref(), gone.version, gone.failures), (None, Some("revoked"), 3, 0));
        assert!(mine.renew_sign_in("shop", 3, &tokens("alone")).await.expect("written"));
        assert_eq!(found(&mine).await.problem, None);
        let page = mine.list_toolgroup_changes("shop", &PageRequest::default()).await.expect("a page");
        assert_eq!(page.items.iter().filter(|change| change.action == "deauthorized").count(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_registration_and_how_it_is_let_in_change_together_or_not_at_all() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        let mine = store.tenant(&a);
        let needed = Entry::Needed { problem: "nobody yet".into(), scope: None, at: 1 };
        put(&mine, "r1", &needed, &Over::Nothing).await.expect("registered");
        mine.note_landing("shop", "they said no").await.expect("noted");
        assert_eq!(found(&mine).await.problem.as_deref(), Some("they said no"));
        for over in [Over::Nothing, Over::Revision("r0".into())] {
            let refused = put(&mine, "r2", &Entry::Given(tokens("one")), &over).await.expect_err("it is there, as r1");
            assert_eq!((refused.kind, refused.code.as_deref()), (Kind::Conflict, Some("toolgroup_changed")));
        }
        assert_eq!(
            (found(&mine).await.sealed, mine.find_toolgroup("shop").await.expect("asked").expect("there").0),
            (None, group("r1"))
        );
        let over = Over::Revision("r1".into());
        put(&mine, "r2", &Entry::Given(tokens("one")), &over).await.expect("registered");
        mine.note_landing("shop", "too late").await.expect("asked");
        assert_eq!(found(&mine).await.problem, None, "it is let in");
        mine.put_sign_in("shop", None, &Entry::Given(tokens("x")), &over, &[]).await.expect_err("it is r2 now");
        mine.note_sign_in("shop", 2, "more", Some("admin"), 3).await.expect("noted");
        put(&mine, "r3", &Entry::AsBefore, &Over::Any).await.expect("registered");
        // Another tool wants another, and one of which the server says nothing wants none the less.
        mine.note_sign_in("shop", 2, "more", Some("orders admin"), 3).await.expect("noted");
        mine.note_sign_in("shop", 2, "more", None, 3).await.expect("noted");
        assert_eq!(found(&mine).await.scope.as_deref(), Some("admin orders"));
        mine.note_sign_in("shop", 2, "more", Some(&"x".repeat(MOST_SCOPE)), 3).await.expect("noted");
        assert_eq!(found(&mine).await.scope.map(|scope| scope.len()), Some(MOST_SCOPE), "the newer alone");
        put(&mine, "r4", &Entry::Good, &Over::Any).await.expect("registered");
        let good = found(&mine).await;
        assert_eq!((good.problem, good.scope, good.sealed.as_deref()), (None, None, Some(&b"one"[..])));
        put(&mine, "r5", &Entry::Forgotten, &Over::Any).await.expect("registered");
        assert_eq!(mine.find_sign_in("shop").await.expect("asked"), None);
        // Nothing was kept, and a call was refused.
        mine.note_sign_in("shop", 0, "closed", None, 3).await.expect("noted");
        assert_eq!(found(&mine).await.problem.as_deref(), Some("closed"));
    })
    .await;
}

#[tokio::test]
async fn who_comes_back_is_known_once_and_in_time() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        let (mine, system) = (store.tenant(&a), store.system());
        put(&mine, "r1", &Entry::AsBefore, &Over::Any).await.expect("registered");
        mine.add_sign_in_attempt("h1", "shop", b"kept", HOUR).await.expect("noted");
        mine.add_sign_in_attempt("late", "shop", b"kept", -1).await.expect("noted");
        let known = system.find_sign_in_attempt("h1").await.expect("asked").expect("there");
        assert_eq!((known.tenant, known.toolgroup_id, known.sealed), (a.tenant, "shop".into(), b"kept".to_vec()));
        assert!(system.take_sign_in_attempt("h1").await.expect("taken"));
        assert!(!system.take_sign_in_attempt("h1").await.expect("asked"));
        for gone in ["h1", "late", "never"] {
            assert_eq!(system.find_sign_in_attempt(gone).await.expect("asked"), None, "{gone}");
        }
        for n in 0..=MOST_ATTEMPTS {
            mine.add_sign_in_attempt(&format!("n{n}"), "shop", b"kept", HOUR + n).await.expect("noted");
        }
        assert_eq!(system.find_sign_in_attempt("n0").await.expect("asked"), None, "there are too many");
        assert!(system.find_sign_in_attempt("n1").await.expect("asked").is_some());
    })
    .await;
}

#[tokio::test]
async fn whoever_renews_what_a_group_had_in_another_life_writes_nothing() {
    each_database(|store| async move {
        let (a, _) = two_tenants(&store).await;
        let mine = store.tenant(&a);
        for (delete, [first, then, last]) in [(true, ["a1", "a2", "a3"]), (false, ["b1", "b2", "b3"])] {
            let at = |at, text: &str| Entry::Given(Tokens { at, ..tokens(text) });
            put(&mine, first, &at(100, "Ann's"), &Over::Any).await.expect("registered");
            let anns = found(&mine).await.version;
            assert!(mine.hold_sign_in("shop", anns, HOUR).await.expect("held"));
            if delete {
                mine.delete_toolgroup("shop", &change(then, "deleted")).await.expect("deleted");
            } else {
                put(&mine, then, &Entry::Forgotten, &Over::Any).await.expect("registered");
            }
            put(&mine, last, &at(200, "Bob's"), &Over::Any).await.expect("registered");
            assert!(!mine.renew_sign_in("shop", anns, &tokens("Ann's again")).await.expect("asked"));
            mine.drop_sign_in("shop", anns, "over", &change("c", "deauthorized")).await.expect("asked");
            assert_eq!(found(&mine).await.sealed.as_deref(), Some(&b"Bob's"[..]));
        }
    })
    .await;
}
